"""The hunt: an evolutionary search over the model's parameters.

What it decides stands in its log; nothing here reaches a clock, a file or chance of its own, and NumPy is loaded only where
a generation is worked out.
"""
