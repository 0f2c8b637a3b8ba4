"""Bridges to buses: `irerctl bus mqtt` and `irerctl bus kafka`, clients of irerd's socket like any other.

The daemon opens no port to a broker and imports no library of one. A bridge holds nothing of its own but a cursor for what goes
out: what came in is acknowledged to the broker only after irerd said that it is durable, and what went out is forgotten only
after the broker said that it has it.
"""
