"""Measures irerd beside its peers. Nothing of irer imports it, and it reaches irerd only as any caller does: over the socket."""
