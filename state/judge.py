"""What the bytes of a log mean: which batches are sound, and whether what follows them is torn or corrupt.

Torn is what a crash leaves of a batch that nobody was told of; only the active segment can have it. Everything else that is not
as it must be is corrupt. Recovery and verification share this judge, so that they never disagree; it changes nothing.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from operator import attrgetter

from core.notes import Checkpoint, Note
from core.world import LAYER
from state.fs import Files, read_at
from state.log import Digest, Head, read_head
from state.scan import Bad, Position, Scan, later_batch
from state.seal import LINE_BYTES_MAX, BadLine, Block, Record, parse
from state.segment import OPENINGS, Broken, Column, Corrupt, Layout, Segment, active_path, origin_after
from state.tree import Edge

LEAVES_HELD = 2_048
"""Hashes that are folded into the tree at once: few at a time are slow, and so are more than the cache of a core holds."""

_event_type = attrgetter("event_type")


def head_of(files: Files, name: str) -> Head | str | None:
    """The head, or why it cannot be believed, or None where there is none."""
    try:
        head = read_head(files, name)
    except BadLine as bad:
        return f"the head is damaged: {bad.why}"
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return "the head cannot be read"
    if head is not None and head.log != name:
        return f"the head is of {head.log}"
    return head


class Judge:
    """One walk over the segments of a log, from one of them to the end: first all of `batches`, then `judge`."""

    def __init__(
        self,
        files: Files,
        layout: Layout,
        head: Head | str | None,
        *,
        first: int = 0,
        edge: Edge | None = None,
        seen_seq: int = -1,
        checkpoint: Note | str | None = None,
        cosigned: Sequence[Note] | str = (),
    ) -> None:
        self._files = files
        self._name = layout.name
        self._segments = layout.segments[first:]
        self._broken = layout.broken
        self._layout = layout
        self._head = believed(head, layout)
        self._head_met = False
        self._origin: str | None = None
        """In force behind the batches so far."""
        self._checkpoint = checkpoint
        self._sealed = sealed = checkpoint.checkpoint if isinstance(checkpoint, Note) else None
        """What the log was when it was signed last: it must have been that, and go on from there."""
        self._cosigned = cosigned
        self._witnessed = [] if isinstance(cosigned, str) else [note.checkpoint for note in cosigned]
        self._points = [*self._witnessed, *([sealed] if sealed is not None else [])]
        """All that somebody signed."""
        self._seen_seq = max([seen_seq, *(point.size - 1 for point in self._points)])
        """A record that something else has seen durable."""
        self._edge = edge
        self._leaves: list[bytes] = []
        """Not in the edge yet: many at once are quicker."""
        self._scan: Scan | None = None
        self._path = active_path(layout.name)
        self._reader: _Reader | None = None
        self._start_batch = 0
        self._later: int | None = None
        """Where an intact line of a later batch stands behind the first bad byte."""
        self.size = 0
        """Of the active segment, when it was looked at."""
        self.own: list[Record] = []
        """Those of the batch that was given last which are about the log itself."""

    @property
    def end(self) -> Position:
        """Behind the last whole batch so far."""
        assert self._scan is not None
        return self._scan.end

    @property
    def bad(self) -> Bad | None:
        return self._scan.bad if self._scan is not None else None

    @property
    def edge(self) -> Edge | None:
        """Of the tree over all records so far; None until it is set, and then it is kept."""
        self._fold()
        return self._edge

    @edge.setter
    def edge(self, edge: Edge) -> None:
        self._compare(edge)
        self._edge, self._leaves = edge, []
        if self._scan is not None:
            self._scan.hashing = True

    def _fold(self) -> None:
        if self._edge is not None and self._leaves:
            self._edge, self._leaves = self._edge.extend(self._leaves), []

    def _compare(self, edge: Edge) -> None:
        """Raises Corrupt where the log is another one than was signed."""
        for point in self._points:
            if edge.size == point.size and edge.root() != point.root:
                size, by = edge.size, "cosigned" if point in self._witnessed else "signed"
                raise self._corrupt(0, size - 1, f"its first {size:,} records are not those that were {by}", column="tree")

    @property
    def digest(self) -> Digest:
        """SHA-256 of all bytes of the segment that was walked last."""
        assert self._reader is not None
        return self._reader.digest

    def batches(self) -> Iterator[Sequence[Record]]:
        """Every whole batch; raises Corrupt for one that another file contradicts, and where a closed segment is not whole."""
        last: Position | None = None
        for segment in self._segments:
            if last is not None and last[1:] != segment.opening.start[1:]:
                raise self._corrupt(0, segment.first_seq, "does not go on where the segment before it ends", segment.path)
            yield from self._segment(segment)
            if segment.path == active_path(self._name):
                return
            self._check_closed(segment)
            last = self.end
        raise self._not_there(self._broken)

    def judge(self) -> None:
        """Raises Corrupt; where it does not, `bad` is None or begins a torn tail."""
        why = self._verdict()
        if why is not None:
            offset, seq, _, column = self.bad or (self.end.offset, self.end.seq, "", "chain")
            raise self._corrupt(offset, seq, why, column=column)
        head = self._head
        if isinstance(head, Head) and not self._head_met and not head_holds(self._files, self._layout, head):
            raise self._corrupt(0, head.seq, f"batch {head.batch} is not the one the head names")
        if self._layout.origin not in (None, self._origin):
            raise self._corrupt(0, self.end.seq, f"ends with origin {self._origin}, and ledger.json names {self._layout.origin}")
        for point in self._points:
            if point.origin != self._origin:
                why = f"ends with origin {self._origin}, and its checkpoint is of {point.origin}"
                raise self._corrupt(0, self.end.seq, why)

    # --- one segment --------------------------------------------------------------------------------------------------

    def _segment(self, segment: Segment) -> Iterator[Sequence[Record]]:
        opening, head = segment.opening, self._head
        edge = self.edge
        if (
            edge is not None
            and opening.previous is not None
            and (edge.size, edge.root().hex()) != (opening.start.seq, opening.root)
        ):
            raise self._corrupt(0, segment.first_seq, "the records before it have another tree", segment.path, "tree")
        if self._origin not in (None, opening.origin):
            raise self._corrupt(0, segment.first_seq, "has another origin, and no log.fork leads to it", segment.path)
        self._origin = opening.origin
        self._path, self._start_batch = segment.path, opening.start.batch
        fd = self._files.open(segment.path, os.O_RDONLY)
        try:
            self.size = self._files.stat(fd).size
            self._reader = _Reader(self._files, fd)
            scan = self._scan = Scan(self._read, self.size, opening.start, hashing=edge is not None)
            head_batch = head.batch if isinstance(head, Head) else -1
            for batch in scan.batches():
                if self._edge is not None:
                    self._leaves += scan.leaves
                    if len(self._leaves) >= LEAVES_HELD:
                        self._fold()
                    for point in self._points:
                        if batch[-1].seq + 1 >= point.size > batch[0].seq:
                            self._check_sealed(batch[0], point)
                self.own = own_records(batch)
                for record in self.own:
                    self._note(segment, record)
                if batch[0].commit[0] == head_batch and isinstance(head, Head):
                    self._check_tip(segment, batch, head)
                yield batch
            if self.bad is not None and segment.path == active_path(self._name):
                self._later = later_batch(self._read, self.bad.offset, self.size, self.end.batch)
        finally:
            self._files.close(fd)

    def _check_sealed(self, first: Record, point: Checkpoint) -> None:
        """The batch that this record begins holds the last one that was signed: it must end it too."""
        if self.end.seq != point.size:
            why = f"a checkpoint ends inside this batch, with record {point.size - 1}"
            raise self._corrupt(first.offset, first.seq, why, column="tree")
        if (edge := self.edge) is not None:
            self._compare(edge)

    def _note(self, segment: Segment, record: Record) -> None:
        """A record about the log itself."""
        if why := misplaced_opening(record):
            raise self._corrupt(record.offset, record.seq, why, column="form")
        try:
            self._origin = origin_after(self._name, self._origin or segment.opening.origin, record)
        except BadLine as bad:
            raise self._corrupt(record.offset, record.seq, bad.why) from None

    def _check_tip(self, segment: Segment, batch: Sequence[Record], head: Head) -> None:
        last = batch[-1]
        found = (segment.first_seq, last.seq, last.event_hash, last.offset + last.size)
        if found != (head.segment, head.seq, head.tip, head.offset):
            raise self._corrupt(batch[0].offset, batch[0].seq, f"batch {head.batch} is not the one the head names")
        self._head_met = True

    def _check_closed(self, segment: Segment) -> None:
        if self.bad is not None:
            raise self._corrupt(self.bad.offset, self.bad.seq, f"{self.bad.why}, in a closed segment", column=self.bad.column)
        closed, end = segment.closed, self.end
        if closed is None:
            return
        if (end.seq - 1, end.offset, end.tip) != (closed.last_seq, closed.bytes, closed.event_hash):
            raise self._corrupt(end.offset, end.seq, f"ends with record {end.seq - 1}; it was closed with {closed.last_seq}")
        if self.digest.hexdigest() != closed.sha256:
            raise self._corrupt(end.offset, end.seq, "is not the file that was closed: its SHA-256 is another")

    # --- what is wrong ------------------------------------------------------------------------------------------------

    def _verdict(self) -> str | None:
        bad, unfinished, head = self.bad, self.end.batch, self._head
        if unfinished == self._start_batch:
            return f"the first batch is damaged: {bad.why}" if bad is not None else "the file is empty"
        if bad is not None or unfinished > 1:
            if head is None:
                return f"{bad.why}, and the head is missing" if bad else "the head is missing"
            if isinstance(head, str):
                return head
        if isinstance(self._checkpoint, str):
            return self._checkpoint
        if isinstance(self._cosigned, str):
            return self._cosigned
        watermark = head.batch if isinstance(head, Head) else 0
        if bad is not None and unfinished <= watermark:
            return f"{bad.why}, in a batch that was durable"
        if self.end.seq <= self._seen_seq:
            gone = f"record {self._seen_seq} was durable, as a {self._shown_by()} shows"
            return f"{bad.why}, and {gone}" if bad is not None else f"{gone}, and is gone"
        if bad is None:
            return f"batch {watermark} was durable and is gone" if unfinished <= watermark else None
        return f"{bad.why}, before an intact later batch at byte {self._later:,}" if self._later is not None else None

    def _shown_by(self) -> str:
        if self._sealed is not None and self._seen_seq == self._sealed.size - 1:
            return "checkpoint"
        return "witness" if any(self._seen_seq == point.size - 1 for point in self._witnessed) else "snapshot"

    def _corrupt(self, offset: int, seq: int, why: str, path: str | None = None, column: Column = "chain") -> Corrupt:
        return Corrupt(self._name, offset, seq, why, path or self._path, column)

    def _not_there(self, broken: Broken | None) -> Corrupt:
        assert broken is not None
        seq = broken.seq if broken.seq is not None else self.end.seq if self._scan is not None else 0
        return self._corrupt(0, seq, broken.why, broken.path)

    def _read(self, offset: int, size: int) -> bytes:
        assert self._reader is not None
        try:
            return self._reader(offset, size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise self._corrupt(self.end.offset, self.end.seq, f"cannot be read at byte {offset:,}") from error


def believed(head: Head | str | None, layout: Layout) -> Head | str | None:
    """A head is of a segment that there is, or of one so old that it was pruned, and names a record that is in it."""
    if not isinstance(head, Head) or not layout.segments:
        return head
    first = layout.segments[0].opening.start
    if head.seq < head.segment:
        return f"the head names record {head.seq}, and a segment that begins with record {head.segment}"
    if head.segment < first.seq and (head.seq >= first.seq or head.batch >= first.batch):
        return f"the head is of a segment that begins with record {head.segment}, and names record {head.seq}, which is not in it"
    if head.segment < first.seq or layout.broken is not None or head.segment in [segment.first_seq for segment in layout.segments]:
        return head
    return f"the head is of a segment that begins with record {head.segment}, which is not there"


def head_holds(files: Files, layout: Layout, head: Head) -> bool:
    """Whether the batch that the head names ends where it says, in a segment not walked. Of a pruned one nothing can be asked."""
    if head.segment < layout.first_seq:
        return True
    segment = next((one for one in layout.segments if one.first_seq == head.segment), None)
    return segment is not None and batch_ends(files, segment.path, segment.size, head)


def batch_ends(files: Files, path: str, size: int, head: Head) -> bool:
    """Whether a batch ends in this file where the head says, with the record it says; without walking to it."""
    if head.offset > size:
        return False
    start = max(0, head.offset - LINE_BYTES_MAX)
    fd = files.open(path, os.O_RDONLY)
    try:
        data = read_at(files, fd, start, head.offset - start)
        record = parse(data[data.rfind(b"\n", 0, -1) + 1 :])
    except BadLine:
        return False
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    finally:
        files.close(fd)
    batch, index, count = record.commit
    return (record.seq, record.event_hash, batch, index + 1) == (head.seq, head.tip, head.batch, count)


def own_records(batch: Sequence[Record]) -> list[Record]:
    """Those of a batch that are about the log itself. Most batches have none, which the few types of a long one tell at once."""
    if len(batch) == 1:
        return [batch[0]] if batch[0].event_type.startswith(LAYER) else []
    types = set(batch.columns.event_types if isinstance(batch, Block) else map(_event_type, batch))
    if not any([event_type.startswith(LAYER) for event_type in types]):
        return []
    return [record for record in batch if record.event_type.startswith(LAYER)]


def misplaced_opening(record: Record) -> str | None:
    """Only a file begins with a record that begins a file."""
    return "the log begins anew inside a file" if record.offset and record.event_type in OPENINGS else None


class _Reader:
    """Reads a file, and keeps the SHA-256 of what it read in order."""

    def __init__(self, files: Files, fd: int) -> None:
        self.digest: Digest = sha256()
        self._files = files
        self._fd = fd
        self._hashed = 0

    def __call__(self, offset: int, size: int) -> bytes:
        data = read_at(self._files, self._fd, offset, size)
        if offset == self._hashed:
            self.digest.update(data)
            self._hashed += len(data)
        return data
