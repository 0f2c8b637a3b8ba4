"""What may be deleted of a log, and what is left in its place: the hash of each file, and the subtrees that stand for its records.

Only oldest closed segments ever go, and only after the record that says so is durable. Until then nothing is deleted; from then
on each is missed for a stated reason, and the tree over the whole log can still be worked out.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from core.canonical import encode
from state.fs import Files, read_at
from state.seal import BadLine, Record, parse
from state.segment import Closed, Corrupt, Layout, closed_path, quick_look
from state.tree import Edge, leaf_hash, levels, subtrees

PRUNE = "log.prune"
_PRUNE_MEMBER = b'"event_type":"log.prune"'


class Prune(NamedTuple):
    """A deleted segment, as its record remembers it."""

    first_seq: int
    last_seq: int
    sha256: str
    """Of the file, of the last one where several ranges were joined."""
    roots: tuple[str, ...]
    """Of the largest aligned subtrees that cover its records, left to right."""

    def payload(self) -> bytes:
        return encode({"first_seq": self.first_seq, "last_seq": self.last_seq, "roots": list(self.roots), "sha256": self.sha256})


def prunable(closed: Sequence[Closed], below: int, now_us: int, retain_bytes: int | None, retain_us: int | None) -> list[Closed]:
    """The oldest of these segments that nothing asks to keep: all records below `below`, and too many bytes or too old."""
    kept_bytes = sum(one.bytes for one in closed)
    chosen: list[Closed] = []
    for one in closed:
        too_many = retain_bytes is not None and kept_bytes > retain_bytes
        too_old = retain_us is not None and now_us - one.closed_us > retain_us
        if one.last_seq >= below or not (too_many or too_old):
            break
        kept_bytes -= one.bytes
        chosen.append(one)
    return chosen


def prunes_of(files: Files, name: str, segments: Sequence[Closed]) -> list[Prune]:
    """What is to be recorded before these are deleted. Raises Corrupt where one is not what was closed: it is evidence, and stays.

    Records of earlier prunings that would go with them are carried on, joined into one.
    """
    lost: list[Prune] = []
    prunes = [_prune_of(files, name, closed, lost) for closed in segments]
    return [*_joined(lost), *prunes]


def _joined(lost: Sequence[Prune]) -> Iterator[Prune]:
    """One record for the range that all of these cover; the SHA-256 is that of its last file."""
    if lost:
        last = max(lost, key=lambda prune: prune.last_seq)
        edge = pruned_edge(lost, last.last_seq + 1)
        if edge is not None:
            yield Prune(0, last.last_seq, last.sha256, tuple(root.hex() for root in edge.hashes))


def _prune_of(files: Files, name: str, closed: Closed, lost: list[Prune]) -> Prune:
    path = closed_path(name, closed.first_seq)
    data = _whole(files, path, closed.bytes)
    if sha256(data).hexdigest() != closed.sha256:
        raise Corrupt(name, 0, closed.first_seq, "is not the file that was closed: its SHA-256 is another", path)
    lines = [line + b"\n" for line in data.split(b"\n")[:-1]]
    for line in lines:
        if _PRUNE_MEMBER in line:
            lost += _prune_in(line)
    leaves = [leaf_hash(line) for line in lines]
    roots = tuple(root.hex() for root in subtrees(closed.first_seq, leaves))
    return Prune(closed.first_seq, closed.last_seq, closed.sha256, roots)


def _whole(files: Files, path: str, size: int) -> bytes:
    fd = files.open(path, os.O_RDONLY)
    try:
        return read_at(files, fd, 0, size + 1)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
    finally:
        files.close(fd)


def read_prunes(records: Iterable[Record]) -> Iterator[Prune]:
    """Of sound records those that say what was deleted."""
    for record in records:
        if record.event_type == PRUNE:
            try:
                yield msgspec.json.decode(record.payload, type=_Payload).prune()
            except (msgspec.MsgspecError, ValueError):
                continue  # what it says cannot be used, so nothing may be missing on its account


class _Payload(msgspec.Struct, forbid_unknown_fields=True):
    first_seq: int
    last_seq: int
    roots: tuple[str, ...]
    sha256: str

    def prune(self) -> Prune:
        count = len(list(levels(self.first_seq, self.last_seq + 1)))
        if len(self.roots) != count or any(len(bytes.fromhex(root)) != 32 for root in self.roots):
            raise ValueError("other subtrees than the range has")
        return Prune(self.first_seq, self.last_seq, self.sha256, self.roots)


def explains(prune: Prune, missing: Closed) -> bool:
    return (prune.last_seq, prune.sha256) == (missing.last_seq, missing.sha256)


def recorded(files: Files, layout: Layout, wanted: Closed | None, sound_bytes: int | None = None) -> list[Prune]:
    """Look through the kept files, newest first, for what was deleted: up to the record of `wanted`, or all of it.

    A quick look: a line counts if its own hash holds. Where the walk along the chain has been, it says how much of the last file
    is sound: what a torn tail says was never durable, so nothing was deleted on its account.
    """
    found: list[Prune] = []
    for segment in reversed(layout.segments):
        last = segment is layout.segments[-1]
        size = segment.size if sound_bytes is None or not last else min(segment.size, sound_bytes)
        found += read_prunes(quick_look(files, segment.path, size, PRUNE))
        if wanted is not None and any(explains(prune, wanted) for prune in found):
            break
    return found


def _prune_in(line: bytes) -> Iterator[Prune]:
    try:
        yield from read_prunes([parse(line)])
    except BadLine:
        return


def pruned_edge(prunes: Iterable[Prune], first_seq: int) -> Edge | None:
    """The tree over everything deleted, from the subtrees that were kept for it; None where they leave a gap."""
    starts: Mapping[int, Prune] = {prune.first_seq: prune for prune in sorted(prunes, key=lambda prune: prune.last_seq)}
    edge = Edge()
    while edge.size < first_seq:
        prune = starts.get(edge.size)
        if prune is None or prune.last_seq >= first_seq:
            return None
        edge = edge.graft((bytes.fromhex(root) for root in prune.roots), prune.last_seq + 1)
    return edge
