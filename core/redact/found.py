"""What a recogniser reports."""

from typing import NamedTuple


class Find(NamedTuple):
    """A place in a text that must not be stored as it is."""

    start: int
    end: int
    kind: str
    value: str | None
    """Of personal data: the one spelling that its pseudonym is made from. None: a secret, of which nothing is kept."""
