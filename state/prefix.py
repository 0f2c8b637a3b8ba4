"""The longest sound beginning of a log, whatever became of the rest: what a repair keeps, and what a restore must find whole.

Every byte that it counts was read and judged by `state.judge`. It changes nothing, and takes no word for the state of the log but
that of the files: a head, a snapshot or a ledger that says otherwise is damage, and is told.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from core.world import BadDump
from state.checkpoint import checkpoint_of
from state.cosigned import cosigned_of
from state.fs import Files
from state.judge import Judge, head_of
from state.replay import edge_of, unpack
from state.retention import PRUNE, Prune, explains, pruned_edge, read_prunes
from state.scan import Position
from state.seal import BadLine, Record
from state.segment import Corrupt, Layout, Segment, active_path, closed_firsts, closed_path, origin_after, quick_look, survey
from state.snapshot import BadSnapshot, Header, listed, read
from state.tree import Edge


class Prefix(NamedTuple):
    """What of a log is sound."""

    segments: tuple[Segment, ...]
    """Oldest first; of the last perhaps only a part. Empty: not one batch can be kept."""
    end: Position
    """Behind the last sound batch; the offset is one in the last segment."""
    edge: Edge | None
    """Of the tree over these records. None where older ones were pruned and nothing tells their tree."""
    origin: str | None
    """The one in force at the end; None where nothing is sound and nobody knows it."""
    snapshots: tuple[int, ...]
    """Of the sound ones that belong to these records, the last record in each."""
    prunes: tuple[Prune, ...]
    """What says that older records were pruned, and does not stand in these."""
    damage: Corrupt | None
    """None: the whole log is sound, but for a torn tail that the next start cuts off."""
    torn: int
    """Bytes of that tail."""

    @property
    def startable(self) -> bool:
        """Whether a daemon can begin with it: where older records were pruned, only from a snapshot."""
        return not self.segments or not self.segments[0].first_seq or (bool(self.snapshots) and self.edge is not None)


def longest(files: Files, name: str, origin: str | None, former: Iterable[str] = ()) -> Prefix:
    """`origin` is what ledger.json calls the log, `former` what it did before; None where it has never heard of it.

    Raises NewerFormat.
    """
    return _Walk(files, name, origin, frozenset(former)).run()


class _Walk:
    def __init__(self, files: Files, name: str, origin: str | None, former: frozenset[str]) -> None:
        self._files = files
        self._name = name
        self._known_as = origin
        self._former = former
        self._layout = _with_false_end(survey(files, name))
        self._headers = {header.seq: header for header in listed(files, name).headers}
        self._kept: list[Segment] = []
        self._end = Position(0, 0, 0, "")
        self._edge: Edge | None = None
        self._origins: list[str] = []
        """In force one after another."""
        self._snapshots: list[int] = []
        self._prunes: list[Prune] = []
        """What the kept records say."""

    def run(self) -> Prefix:
        if not self._layout.segments:
            broken = self._layout.broken
            return self._nothing(broken.why if broken is not None else "there is nothing")
        told = _told(self._files, self._name)
        before = self._layout.before
        if before is not None and not any(explains(prune, before) for prune in told):
            return self._nothing(f"the records before {self._layout.first_seq} are missing, and were not pruned")
        damage, torn = self._walk(pruned_edge(told, self._layout.first_seq) if before is not None else Edge())
        if not self._kept:
            return self._nothing(damage.why if damage is not None else "there is nothing")
        if self._known_as is not None and not {self._known_as, *self._former} & set(self._origins):
            return self._nothing(f"belongs to another ledger: its origin is {self._origins[-1]}")
        lost = (
            ()
            if before is None or any(explains(prune, before) for prune in self._prunes)
            else _older(told, self._kept[0].first_seq)
        )
        found = Prefix(tuple(self._kept), self._end, self._edge, self._origins[-1], tuple(self._snapshots), lost, damage, torn)
        return found if damage is not None else found._replace(damage=self._misnamed() or self._unusable(found))

    def _nothing(self, why: str) -> Prefix:
        damage = Corrupt(self._name, 0, 0, why)
        return Prefix((), Position(0, 0, 0, ""), Edge(), self._known_as, (), (), damage, 0)

    def _misnamed(self) -> Corrupt | None:
        """Sound in itself, but not what ledger.json says."""
        if self._known_as is None:
            return self._corrupt("ledger.json has never heard of it") if self._end.batch > 1 else None
        if self._known_as != self._origins[-1]:
            return self._corrupt(f"ledger.json calls it {self._known_as}, and it is now {self._origins[-1]}")
        return None

    def _unusable(self, found: Prefix) -> Corrupt | None:
        return None if found.startable else self._corrupt("older records were pruned, and no snapshot can be used in their place")

    def _corrupt(self, why: str) -> Corrupt:
        return Corrupt(self._name, self._end.offset, self._end.seq, why)

    # --- the walk -----------------------------------------------------------------------------------------------------

    def _walk(self, edge: Edge | None) -> tuple[Corrupt | None, int]:
        """Damage, and how many bytes of a torn tail follow where there is none."""
        layout = self._layout
        judge = Judge(
            self._files,
            layout,
            head_of(self._files, self._name),
            edge=edge,
            seen_seq=max(self._headers, default=-1),
            checkpoint=checkpoint_of(self._files, self._name),
            cosigned=cosigned_of(self._files, self._name),
        )
        first = layout.segments[0].opening.start
        self._note_snapshot(first.seq - 1, first.tip, judge)
        try:
            for batch in judge.batches():
                if (misled := self._take(batch)) is not None:
                    return misled, 0
                self._end = judge.end
                self._note_snapshot(batch[-1].seq, batch[-1].event_hash, judge)
                self._edge = judge.edge
            judge.judge()
        except Corrupt as damage:
            return damage, 0
        return None, judge.size - judge.end.offset

    def _take(self, batch: Sequence[Record]) -> Corrupt | None:
        """Which segment and which origin it is of; it counts only if it says nothing false of either."""
        begins = not batch[0].offset
        segment = self._layout.segments[len(self._kept)] if begins else self._kept[-1]
        origins = [segment.opening.origin] if begins and not self._kept else [self._origins[-1]]
        try:
            origins += [origin_after(self._name, origins[-1], record) for record in batch]
        except BadLine as bad:
            return Corrupt(self._name, batch[0].offset, batch[0].seq, bad.why, segment.path)
        if segment.opening.origin != origins[0] and begins:
            return Corrupt(self._name, 0, batch[0].seq, f"its origin is {segment.opening.origin}", segment.path)
        self._kept += [segment] if begins else []
        self._origins += [origin for origin in origins if not self._origins or origin != self._origins[-1]]
        self._prunes += read_prunes(batch)
        return None

    def _note_snapshot(self, seq: int, tip: str, judge: Judge) -> None:
        header = self._headers.get(seq)
        if header is None or header.tip != tip:
            return
        with suppress(BadSnapshot, BadDump, ValueError):
            edge = _edge_in(self._files, self._name, header)
            if judge.edge is None:
                judge.edge = edge
            if judge.edge == edge:
                self._snapshots.append(seq)


def _edge_in(files: Files, name: str, header: Header) -> Edge:
    _, body = read(files, name, header.seq)
    return edge_of(unpack(body), header)


def _with_false_end(layout: Layout) -> Layout:
    """A closed file that is not what the next one says is no more than a part of the log; but what of it is sound belongs to it."""
    broken = layout.broken
    if broken is None or broken.segment is None or broken.segment.path == active_path(layout.name):
        return layout
    return layout._replace(segments=(*layout.segments, broken.segment._replace(closed=None)))


def _told(files: Files, name: str) -> list[Prune]:
    """What any intact line of any file says of pruning, also one of a file that is damaged elsewhere."""
    found: list[Prune] = []
    for path in (*(closed_path(name, first) for first in closed_firsts(files, name)), active_path(name)):
        if (stat := files.stat_path(path)) is not None:
            found += read_prunes(quick_look(files, path, stat.size, PRUNE))
    return found


def _older(told: Iterable[Prune], first_seq: int) -> tuple[Prune, ...]:
    """Joined into one, where they leave no gap."""
    older = [prune for prune in told if prune.last_seq < first_seq]
    edge = pruned_edge(older, first_seq)
    if edge is None:
        return tuple(older)
    last = max(older, key=lambda prune: prune.last_seq)
    return (Prune(0, last.last_seq, last.sha256, tuple(root.hex() for root in edge.hashes)),)
