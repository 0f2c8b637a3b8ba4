"""The RFC 6962 tree over all records of a log: its right edge, its root, and the subtrees that stand for a range.

The leaf of a record is its line without the 0x0A, its index is `seq`. Of the whole tree only the right edge is kept: one hash
for each complete subtree, at most 53. Nothing here reads a file.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from core.proofs import node_hash as node_hash

EMPTY_ROOT = sha256().digest()
HASH_BYTES = 32
_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(line: bytes) -> bytes:
    """Of a stored line, its 0x0A included."""
    return sha256(_LEAF + line[:-1]).digest()


def leaves_of(lines: Iterable[bytes]) -> list[bytes]:
    """The same of many, given without their 0x0A."""
    return [sha256(_LEAF + line).digest() for line in lines]


class Edge(NamedTuple):
    """A tree of `size` leaves: the roots of its complete subtrees, largest first, one for each bit of the size."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> "Edge":
        hashes, place = self.hashes, self.size
        while place & 1:  # it is the right half of a larger one
            leaf = sha256(_NODE + hashes[-1] + leaf).digest()
            hashes = hashes[:-1]
            place >>= 1
        return Edge(self.size + 1, (*hashes, leaf))

    def extend(self, leaves: Sequence[bytes]) -> "Edge":
        if len(leaves) == 1:
            return self.append(leaves[0])
        return self.graft(subtrees(self.size, leaves), self.size + len(leaves))

    def graft(self, roots: Iterable[bytes], size: int) -> "Edge":
        """Append the leaves up to `size`, given as `subtrees` gives them; raises ValueError for a wrong number of roots."""
        hashes, start = list(self.hashes), self.size
        for level, root in zip(levels(start, size), roots, strict=True):
            start += 1 << level
            place = start >> level
            while not place & 1:  # it is the right half of a larger one
                root = node_hash(hashes.pop(), root)
                place >>= 1
            hashes.append(root)
        return Edge(size, tuple(hashes))

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root

    def text(self) -> str:
        """`size:hex`, for a file."""
        return f"{self.size}:{b''.join(self.hashes).hex()}"


def edge_from(text: str) -> Edge:
    """Back from `Edge.text`; raises ValueError."""
    size, _, digits = text.partition(":")
    data = bytes.fromhex(digits)
    edge = Edge(int(size), tuple(data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)))
    if edge.size < 0 or len(data) != HASH_BYTES * edge.size.bit_count() or edge.text() != text:
        raise ValueError(f"{text[:80]!r} is no right edge of a tree")
    return edge


def levels(first: int, end: int) -> Iterator[int]:
    """The largest aligned subtrees that cover the leaves from `first` up to `end`, left to right: each is 2 ** level leaves."""
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        yield level
        first += 1 << level


def subtrees(first: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The roots of those subtrees, for the leaves that begin at index `first`."""
    left: list[bytes] = []
    right: list[bytes] = []
    row = leaves
    while row:
        if first & 1:
            left.append(row[0])
            row, first = row[1:], first + 1
        if len(row) & 1:
            right.append(row[-1])
            row = row[:-1]
        pairs = iter(row)
        row = [sha256(_NODE + one + other).digest() for one, other in zip(pairs, pairs, strict=True)]
        first >>= 1
    return left + right[::-1]
