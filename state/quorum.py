"""What witnesses vouch for of one log: whose cosignatures hold, and up to where enough of them agree.

Only keys that the caller has from somewhere else than the files count. A witness is one voice, however often it signed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from core.notes import Key, Note, cosigned_by

NO_KEY = "a witness cosigned, and its key was not given, so nothing shows who"
NO_LIBRARY = "cosignatures: the library that checks signatures, cryptography, is not installed here"


class Vouched(NamedTuple):
    """How many records a quorum vouches for; the same in short for a table; and what could not be said, or is false."""

    size: int
    word: str
    unchecked: str = ""
    false: str = ""


def vouched(notes: Sequence[Note], keys: Sequence[Key], quorum: int) -> Vouched:
    """`quorum`: how many witnesses must have seen a record; 0: all of them. The log was seen to continue every note.

    A key that is given twice, also under two names, is one witness.
    """
    keys = list({key.public: key for key in keys}.values())
    if not keys:
        return Vouched(0, "not checked", NO_KEY) if notes else Vouched(0, "none")
    try:
        sizes = sorted((_size(notes, key) for key in keys), reverse=True)
    except ImportError:
        return Vouched(0, "not checked", NO_LIBRARY)
    except _False as false:
        return Vouched(0, "failed", false=str(false))
    size = sizes[(quorum or len(sizes)) - 1] if quorum <= len(sizes) else 0
    agreeing = sum(one >= max(size, 1) for one in sizes)
    few = f"{quorum} witnesses must agree, and the keys of {len(sizes)} were given" if quorum > len(sizes) else ""
    return Vouched(size, f"{agreeing} of {len(sizes)}" + (f" @ {size}" if size else ""), few)


class _False(Exception):
    """A line says that it is a witness's, and is not."""


def _size(notes: Sequence[Note], key: Key) -> int:
    found = 0
    for note in notes:
        if any((one.name, one.id) == (key.name, key.id) for one in note.signatures):
            if cosigned_by(note.checkpoint, note.signatures, key) is None:
                raise _False(f"what {key.name} is said to have cosigned at {note.checkpoint.size:,} records it did not sign")
            found = max(found, note.checkpoint.size)
    return found
