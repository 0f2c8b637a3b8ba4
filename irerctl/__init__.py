"""The command line and the client libraries."""

VERSION = "0.1.0"
"""Said here as well as in `irerd`, because a client may be older or newer than its daemon; a test holds them together."""
