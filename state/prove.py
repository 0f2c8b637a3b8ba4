"""Proofs of a log's tree, made by reading the log: where one record stands in it, and that it continues what it was before.

Of the tree nothing is kept but its right edge, so every record up to the checkpoint is read once, block by block. What is read is
not judged here: a proof from changed bytes does not lead to the root that was signed, and whoever asked compares. Records that were
pruned are represented by the subtrees that their `log.prune` tells. It takes no lock and changes nothing.
"""

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from state.fs import Files, read_at
from state.log import Log
from state.reading import lines_between
from state.retention import pruned_edge, recorded
from state.scan import BLOCK_BYTES
from state.segment import Corrupt, Layout, survey
from state.tree import Edge, leaf_hash, levels

Range = tuple[int, int]
"""Leaves from the first up to the second, which is not in it."""
_LEAF = b"\x00"


class Gone(Exception):
    """What would have to be read is not there any more."""


class Made(NamedTuple):
    """The hashes of a proof, and the line of the record that it is of."""

    path: list[bytes]
    line: bytes


def inclusion(index: int, size: int) -> list[Range]:
    """The subtrees whose roots are the proof of a leaf, from the leaf upwards. RFC 6962, 2.1.1."""
    ranges: list[Range] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _half(end - first)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def consistency(before: int, size: int) -> list[Range]:
    """The subtrees whose roots prove that a tree continues a smaller one. RFC 6962, 2.1.2."""
    if not 0 < before < size:
        return []
    ranges: list[Range] = []
    first, end = 0, size
    while before != end:
        middle = first + _half(end - first)
        if before <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first = middle
    if first:
        ranges.append((first, end))
    return ranges[::-1]


def _half(count: int) -> int:
    """The largest power of two below it."""
    return 1 << (count - 1).bit_length() - 1


def prove(files: Files, name: str, index: int, size: int) -> Made:
    """Where a record stands in the tree of `size` records. Raises Gone and Corrupt."""
    roots, line = _roots(files, name, inclusion(index, size), size, index)
    return Made(roots, line)


def prove_consistency(files: Files, name: str, before: int, size: int) -> list[bytes]:
    """That the tree of `size` records continues that of `before`. Raises Gone and Corrupt."""
    return _roots(files, name, consistency(before, size), size, None)[0]


def proof_behind(log: Log, before: Edge, size: int) -> list[bytes]:
    """The same, where the right edge of the smaller tree is known: only what came after it is read. Raises Pruned, Corrupt."""
    tops, place = {}, 0
    for level, root in zip(levels(0, before.size), before.hashes, strict=True):
        tops[place] = (place + (1 << level), root)
        place += 1 << level
    leaves = [leaf_hash(line) for line in lines_between(log, before.size, size - 1)]
    found = []
    for first, end in consistency(before.size, size):
        edge = _over((first, end), tops, before.size)
        edge = edge.extend(leaves[max(first - before.size, 0) : max(end - before.size, 0)])
        found.append(edge.root())
    return found


def _roots(files: Files, name: str, ranges: Sequence[Range], size: int, wanted: int | None) -> tuple[list[bytes], bytes]:
    """The root of each of these, which do not overlap, in one pass over the log; and the line of one record."""
    layout = survey(files, name)
    tops = _pruned(files, layout)
    kept_from = layout.first_seq
    if wanted is not None and wanted < kept_from:
        raise Gone(f"record {wanted} was pruned; the oldest that is kept is {kept_from}")
    edges = {each: _over(each, tops, kept_from) for each in ranges}
    open_ranges = sorted(each for each in ranges if each[1] > kept_from)
    line, place = b"", kept_from
    for lines in _lines(files, layout, size):
        leaves = [sha256(_LEAF + each).digest() for each in lines]
        if wanted is not None and place <= wanted < place + len(lines):
            line = lines[wanted - place] + b"\n"
        for each in open_ranges:
            first, end = max(each[0], place), min(each[1], place + len(leaves))
            if first < end:
                edges[each] = edges[each].extend(leaves[first - place : end - place])
        place += len(leaves)
        open_ranges = [each for each in open_ranges if each[1] > place]
    if place < size:
        raise Corrupt(name, 0, place, "was durable and is gone")
    return [edges[each].root() for each in ranges], line


def _pruned(files: Files, layout: Layout) -> dict[int, tuple[int, bytes]]:
    """Of each subtree that stands for pruned records: where it begins, where it ends, its root."""
    before = layout.before
    if before is None:
        return {}
    edge = pruned_edge(recorded(files, layout, before, None), before.last_seq + 1)
    if edge is None:
        raise Gone(f"the records before {layout.first_seq} were pruned, and the hashes that stand for them were not all kept")
    tops, place = {}, 0
    for level, root in zip(levels(0, edge.size), edge.hashes, strict=True):
        tops[place] = (place + (1 << level), root)
        place += 1 << level
    return tops


def _over(each: Range, tops: dict[int, tuple[int, bytes]], kept_from: int) -> Edge:
    """The tree over what of this range was pruned."""
    first, end = each
    edge, place, stop = Edge(), first, min(end, kept_from)
    while place < stop:
        top = tops.get(place)
        if top is None or top[0] > stop:
            raise Gone(f"the records before {kept_from} were pruned: of them only hashes were kept, and not the ones for this")
        edge = edge.graft([top[1]], top[0] - first)
        place = top[0]
    return edge


def _lines(files: Files, layout: Layout, size: int) -> Iterator[list[bytes]]:
    """The lines of all records up to `size`, without their 0x0A, many at a time."""
    left = size - layout.first_seq
    for segment in layout.segments:
        fd = files.open(segment.path, os.O_RDONLY)
        try:
            rest = b""
            for offset in range(0, segment.size, BLOCK_BYTES):
                if left <= 0:
                    return
                block = read_at(files, fd, offset, min(BLOCK_BYTES, segment.size - offset))
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                yield lines[:left]
                left -= len(lines)
        finally:
            files.close(fd)
