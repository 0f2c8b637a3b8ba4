"""Many rules as a few texts: what a large load sends and the log keeps. Names stand one a line, numbers are little-endian bytes in
base64.

A pack says only what is new: atoms that no pack of its load named before are numbered on from those, and its rules name atoms by
number. Opening one believes it; `fault` finds the first thing that is wrong with one that somebody sent.
"""

import sys
from array import array
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec

from core.fields import Name
from core.trajectory.events import COST_MICRO_MAX, PREMISES_MAX, StoredPack, Symbol

ARRAYS_FROM = 256
"""Rules of a pack from which on NumPy looks for premises named twice: a daemon that is told small programs never has it."""

_NAME_BYTES = bytes(sorted(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@/-\n"))
_NO_FIRST = tuple(b"\n%c" % sign for sign in b"._:@/-\n")
_PLAIN_BYTES = bytes(range(0x20, 0x7F)) + b"\n"
_NO_EDGE = (b"\n\n", b"\n ", b" \n")


class Opened(NamedTuple):
    atoms: list[str]
    facts: "array[int]"
    """Numbers of atoms that hold, and -1 - number of those that are denied."""
    rule_ids: list[str]
    counts: bytes
    premises: "array[int]"
    conclusions: "array[int]"
    costs_micro: "array[int]"
    groups: list[str]
    group_of: bytes


class Fault(NamedTuple):
    """What is wrong with a pack: the field, why, and which of its rules, where it is one's."""

    field: str
    why: str
    rule: int | None = None


def opened(pack: StoredPack) -> Opened:
    """Raises ValueError where a column is no base64 of whole numbers."""
    return Opened(
        lines(pack.atoms),
        numbers("i", pack.facts),
        lines(pack.rule_ids),
        a2b_base64(pack.counts, strict_mode=True),
        numbers("i", pack.premises),
        numbers("i", pack.conclusions),
        numbers("q", pack.costs_micro),
        pack.groups,
        a2b_base64(pack.group_of, strict_mode=True),
    )


def closed(pack: Opened) -> StoredPack:
    """The pack that opens to this."""
    return StoredPack(
        "\n".join(pack.atoms),
        text(pack.facts),
        "\n".join(pack.rule_ids),
        text(pack.counts),
        text(pack.premises),
        text(pack.conclusions),
        text(pack.costs_micro),
        pack.groups,
        text(pack.group_of),
    )


def lines(told: str) -> list[str]:
    return told.split("\n") if told else []


def numbers(kind: str, told: str) -> "array[int]":
    made = array(kind)
    made.frombytes(a2b_base64(told, strict_mode=True))
    if sys.byteorder == "big":
        made.byteswap()
    return made


def text(column: "array[int] | bytes") -> str:
    if sys.byteorder == "big" and isinstance(column, array):
        column = column[:]
        column.byteswap()
    return b2a_base64(column, newline=False).decode("ascii")


# --- what is wrong ----------------------------------------------------------------------------------------------------------


def opened_or_fault(pack: StoredPack, atoms: int) -> Opened | Fault:
    """The pack, if it may follow packs with so many atoms. Whether its names are new is not asked here."""
    try:
        made = opened(pack)
    except ValueError:
        return Fault(
            _unreadable(pack), "is no base64 of whole numbers: eight bytes each of costs, one of counts and group_of, else four"
        )
    return _uneven(made, atoms + len(made.atoms)) or _unfit(pack, made) or made


def _unreadable(pack: StoredPack) -> str:
    for field, kind in {"facts": "i", "counts": "B", "premises": "i", "conclusions": "i", "costs_micro": "q"}.items():
        try:
            numbers(kind, getattr(pack, field))
        except ValueError:
            return field
    return "group_of"


def _uneven(pack: Opened, atoms: int) -> Fault | None:
    """Columns of one length, and no number that stands for nothing: else nobody knows what is whose."""
    rules = len(pack.rule_ids)
    for name in ("counts", "conclusions", "costs_micro", "group_of"):
        if (long := len(getattr(pack, name))) != rules:
            return Fault(name, f"has {long:,} entries, and there are {rules:,} rules. Give one for each rule")
    if sum(pack.counts) != len(pack.premises):
        why = f"add up to {sum(pack.counts):,}, and there are {len(pack.premises):,} premises. Make them agree"
        return Fault("counts", why)
    ranges: Mapping[str, tuple[int, int]] = {
        "counts": (0, PREMISES_MAX),
        "premises": (0, atoms - 1),
        "conclusions": (0, atoms - 1),
        "facts": (-atoms, atoms - 1),
        "costs_micro": (0, COST_MICRO_MAX),
        "group_of": (0, len(pack.groups) - 1),
    }
    for name, (least, most) in ranges.items():
        column: Sequence[int] = getattr(pack, name)
        if column and not _within(column, least, most):
            wrong = next(number for number in column if not least <= number <= most)
            return Fault(name, f"hold {wrong:,}, and may hold {least:,} to {most:,}. Name atoms and groups before their numbers")
    return None


def _within(column: Sequence[int], least: int, most: int) -> bool:
    if len(column) >= ARRAYS_FROM:
        with suppress(ImportError):
            import numpy as np

            found = np.asarray(column) if isinstance(column, array) else np.frombuffer(bytes(column), np.uint8)
            return bool(least <= found.min() and found.max() <= most)
    return least <= min(column) and max(column) <= most


def _unfit(told: StoredPack, pack: Opened) -> Fault | None:
    if not are_symbols(told.atoms, pack.atoms):
        return Fault("atoms", f"hold {_first_unfit(pack.atoms, Symbol)}. An atom is a text on one line")
    if not are_names(told.rule_ids, pack.rule_ids):
        place = next(place for place, name in enumerate(pack.rule_ids) if not _is(name, Name))
        return Fault("rule_ids", "is named by no name: letters, digits and . _ : @ / -, at most 64. Name it otherwise", place)
    rules = twice(pack.counts, pack.premises)
    return Fault("premises", "names a premise twice. Name each once", rules[0]) if rules else None


def twice(counts: bytes, premises: "array[int]") -> list[int]:
    """The rules that need an atom twice."""
    if len(counts) >= ARRAYS_FROM:
        with suppress(ImportError):
            return _twice_by_arrays(counts, premises)
    spans = enumerate(pairwise(accumulate(counts, initial=0)))
    return [place for place, (begin, end) in spans if len(set(premises[begin:end])) < end - begin]


def _twice_by_arrays(counts: bytes, premises: "array[int]") -> list[int]:
    import numpy as np

    rule_of = np.repeat(np.arange(len(counts), dtype=np.int64), np.frombuffer(counts, np.uint8))
    pairs = (rule_of << 32) | np.asarray(premises)
    pairs.sort()
    same = np.flatnonzero(pairs[1:] == pairs[:-1])
    found: list[int] = np.unique(pairs[same] >> 32).tolist()
    return found


def are_names(told: str, each: Sequence[str]) -> bool:
    """Whether texts, which `told` holds one a line, are names: in passes over all of them, as there may be a million."""
    if not each:
        return not told
    raw = b"\n%b\n" % told.encode() if told.isascii() else b"\n\n"
    if raw.translate(None, _NAME_BYTES) or any(sign in raw for sign in _NO_FIRST):
        return False
    return max(map(len, each)) <= 64


def are_symbols(told: str, each: Sequence[str]) -> bool:
    """The same of atoms. Of plain letters that is as quick; others are looked at one by one."""
    if not each:
        return not told
    if not told.isascii():
        return _is(list(each), list[Symbol])
    raw = b"\n%b\n" % told.encode()
    if raw.translate(None, _PLAIN_BYTES) or any(sign in raw for sign in _NO_EDGE):
        return False
    return max(map(len, each)) <= 120


def _is(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, strict=True)
    except (msgspec.ValidationError, UnicodeError):
        return False
    return True


def _first_unfit(texts: Sequence[str], kind: Any) -> str:
    return next(f"{each[:120]!r}" for each in texts if not _is(each, kind))


# --- making them --------------------------------------------------------------------------------------------------------------


def halves(begin: int, end: int, fits: Callable[[int, int], Any | None]) -> Iterator[Any]:
    """What `fits` makes of a span, or of its halves where it answers None. A span of one is taken to fit."""
    found = fits(begin, end)
    if found is not None:
        yield found
    elif end - begin > 1:
        middle = (begin + end) // 2
        yield from halves(begin, middle, fits)
        yield from halves(middle, end, fits)
