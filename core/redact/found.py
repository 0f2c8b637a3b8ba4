"""What a recogniser reports, and how one asks cheaply whether it has anything to do."""

from typing import NamedTuple


class Find(NamedTuple):
    """A place in a text that must not be stored as it is."""

    start: int
    end: int
    kind: str
    value: str | None
    """Of personal data: the one spelling that its pseudonym is made from. None: a secret, of which nothing is kept."""


def contains_any(text: str, words: tuple[str, ...]) -> bool:
    for word in words:  # a generator would cost as much again, and this is asked of every line
        if word in text:
            return True
    return False
