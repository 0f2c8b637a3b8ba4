"""`irerctl mcp`: the methods of irerd as tools of the Model Context Protocol, for an AI agent that runs on this machine.

`tools` makes them from the catalogue, `conversation` is the protocol (JSON-RPC 2.0, sans-IO), `run` joins it to standard input and
output and to the socket, `command` is what a person types. A client of the socket like any other: an agent may never do more than
the user it runs as, and nothing but messages of the protocol goes to standard output.
"""
