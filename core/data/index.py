"""What an approximate index says of itself: which vectors it covers, and how much a search by it was measured to find.

The file is a projection that may be thrown away at any time. It begins with `MAGIC`, the length of its head and the head as JSON;
the body behind that is for whoever looks into it. The head names what it covers by digests, so that an index of other vectors, of
another history or with a damaged body is known as such, and never answered from.

What is found by looking into a few lists depends on how like the stored vectors a question is. So it is measured at several levels
of likeness: with stored vectors themselves, and with ever more noise in them. A question is held against its own level.
"""

import struct
from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAGIC = b"irerlist"
VERSION = 1
K_MAX = 100
"""For more neighbours than this nothing is measured, and every vector is compared."""
ROWS_MIN = 8_192
"""Fewer vectors than this are compared sooner than an index is looked into."""
FRESH_SHARE = 8
"""An index is made anew when what it does not cover is a part of this size of what it does: all that is compared one by one."""
SAMPLED_MAX = 256
RECALL_WANTED = 0.95
_LENGTH = struct.Struct("<I")
HEAD_BYTES_MAX = 1 << 20

NOISES = (0.0, 1.0, 2.0, 8.0)
"""Parts of noise to one part of a stored vector; with eight, next to nothing of it is left."""
Because = Literal["small", "building", "many", "quicker", "unlike", "damaged", "none"]
"""Why every vector was compared, though an approximate answer was asked for: too few to index, the index is being made, more
neighbours were wanted than were measured, it is quicker, the question is less like the stored vectors than anything that was
measured, the index was damaged, nobody can make one."""

Size = Annotated[int, Meta(ge=0, le=2**40)]
Share = Annotated[float, Meta(ge=0, le=1)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class NoIndex(ValueError):
    """It is not one, or not one of these."""


class Covered(msgspec.Struct, forbid_unknown_fields=True):
    """The first rows of a segment, by the SHA-256 of the keys beside them."""

    name: str
    rows: Size
    keys: Digest


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """With so many lists looked into: which share of the true 10, and 100, nearest is found."""

    probes: Annotated[int, Meta(ge=1, le=2**24)]
    at_10: Share
    at_100: Share


class Level(msgspec.Struct, forbid_unknown_fields=True):
    """What is found at one level of likeness."""

    noise: Annotated[float, Meta(ge=0, le=100)]
    least: Annotated[float, Meta(ge=-1.1, le=1.1)]
    """Questions of this level are at least so near to the middle of their nearest list."""
    steps: Annotated[list[Step], Meta(min_length=1, max_length=256)]


class Head(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    model: str
    dimension: Annotated[int, Meta(ge=1, le=4_096)]
    lists: Annotated[int, Meta(ge=1, le=2**24)]
    rows: Size
    """Vectors in lists."""
    segments: list[Covered]
    levels: Annotated[list[Level], Meta(min_length=1, max_length=16)]
    """The most like first."""
    sampled: Size
    """Stored vectors that the measure was taken with, at each level."""
    body: Digest

    @property
    def covered(self) -> int:
        return sum(segment.rows for segment in self.segments)


def sealed(head: Head, body: bytes) -> bytes:
    head.body = sha256(body).hexdigest()
    said = msgspec.json.encode(head)
    return b"".join((MAGIC, _LENGTH.pack(len(said)), said, body))


def head_of(raw: bytes) -> tuple[Head, int]:
    """The head, and where the body begins. The first bytes of a file are enough. Raises NoIndex."""
    first = len(MAGIC) + _LENGTH.size
    if len(raw) < first or not raw.startswith(MAGIC):
        raise NoIndex("it is no index")
    (size,) = _LENGTH.unpack_from(raw, len(MAGIC))
    if size > HEAD_BYTES_MAX or len(raw) < first + size:
        raise NoIndex("its head is cut off")
    try:
        head = msgspec.json.decode(raw[first : first + size], type=Head)
    except msgspec.MsgspecError:
        raise NoIndex("its head is damaged") from None
    if head.version != VERSION:
        raise NoIndex("it is of another version")
    if any(level.steps[-1].probes < head.lists for level in head.levels):
        raise NoIndex("its measure does not go to the end")
    return head, first + size


def opened(raw: bytes) -> tuple[Head, bytes]:
    """Raises NoIndex where a byte of the body is not what it was."""
    head, first = head_of(raw)
    body = raw[first:]
    if sha256(body).hexdigest() != head.body:
        raise NoIndex("its body is damaged")
    return head, body


def steps_of(lists: int) -> list[int]:
    """How many lists are tried in the measure: 1, 2, 3, 4, 6, 8, 12, and so on up to all."""
    found, step = [1], 2
    while step < lists:
        found += [step] if step + step // 2 >= lists or step < 2 else [step, step + step // 2]
        step *= 2
    return [*found, lists] if found[-1] < lists else found


def level_of(head: Head, near: float) -> Level | None:
    """That of a question which is so near to the middle of its nearest list; None where nothing so unlike was measured."""
    return next((level for level in head.levels if near >= level.least), None)


def recall_at(level: Level, k: int, probes: int) -> float:
    """The measured share for so many lists or the next fewer that were tried: never more than was seen."""
    least = 0.0
    for step in level.steps:
        if step.probes <= probes:
            least = step.at_10 if k <= 10 else step.at_100
    return least


def probes_for(level: Level, k: int, wanted: float) -> int:
    """The fewest lists that were measured to find so much."""
    return next((step.probes for step in level.steps if (step.at_10 if k <= 10 else step.at_100) >= wanted), level.steps[-1].probes)
