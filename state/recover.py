"""What a log holds after whatever happened: its sound batches, in order, and then a tail that is whole, torn or corrupt.

Torn is what a crash leaves of a batch that nobody was told of: it is kept in quarantine, cut off, and the cut is recorded.
Everything else is corrupt: it is named and left exactly as it was found. Recovery trusts no cache, runs at every start, and
done twice gives the same bytes.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

from core.canonical import encode
from core.notes import Note
from state.checkpoint import checkpoint_of
from state.cosigned import cosigned_of
from state.fork import repair_path
from state.fs import Files, make_directory, read_at, write_all
from state.judge import Judge, head_of
from state.ledger import read_ledger
from state.log import Digest, Full, Head, Log, Stamper, Tail, create, durable, head_directory, head_path, open_active
from state.reading import records_between as records_between
from state.retention import PRUNE, Prune, explains, read_prunes, recorded
from state.room import HOPE_BYTES
from state.rotation import LIMITS, READ_ONLY, Limits
from state.scan import BLOCK_BYTES, Index, Scan, lines
from state.seal import RECORDS_MAX, Pending, Record, parse
from state.segment import IRER, Closed, Layout, active_path, closed_firsts, closed_path, next_path, same_file, survey, twin
from state.segment import Corrupt as Corrupt
from state.segment import Pruned as Pruned
from state.tree import Edge

QUARANTINE = "quarantine"

OnBatch = Callable[[Sequence[Record]], None]
OnStart = Callable[[int | None], Edge | None]
"""Load the snapshot at this record and give the right edge of its tree, or None where it cannot be loaded: an older one, or
the beginning, follows. Called with None: begin with nothing."""
Snapshot = tuple[int, str]
"""Of a snapshot: `seq` of the last record in it, and the `event_hash` there."""


class Torn(NamedTuple):
    """The end of a batch that was never acknowledged, cut off and kept."""

    offset: int
    bytes: int
    sha256: str
    kept_as: str


class Recovery(NamedTuple):
    log: Log
    torn: Torn | None
    checkpoint: Note | None = None
    """The newest that was made of this log. The log continues it."""
    cosigned: tuple[Note, ...] = ()
    """What witnesses cosigned of it. The log continues these too."""


def _from_nothing(seq: int | None) -> Edge | None:
    return None


def recover(
    files: Files,
    name: str,
    origin: str,
    stamp: Stamper,
    on_batch: OnBatch,
    *,
    after: Sequence[Snapshot] = (),
    on_start: OnStart = _from_nothing,
    limits: Limits = LIMITS,
) -> Recovery:
    """Read a log back, or make it if it never was, and hand out every batch, those of `log.*` records too.

    `after` are snapshots, newest first: with the first that belongs to this log and loads, only what follows it is handed out,
    and older segments are only looked at from outside. `on_start` is called before any batch is.

    Raises Corrupt after the sound batches, NewerFormat, Full, SyncFailed.
    """
    if files.stat_path(repair_path(name)) is not None:
        on_start(None)
        raise Corrupt(name, 0, 0, "a repair of it was begun and is not finished: run irerctl audit repair again")
    if files.stat_path(active_path(name)) is None and not closed_firsts(files, name):
        return Recovery(_new(files, name, origin, stamp, on_batch, on_start, limits), None)
    with durable(name):
        _settle_disk(files, name)
        _settle_rotation(files, name)
    signed = checkpoint_of(files, name), cosigned_of(files, name)
    start = _Start(files, survey(files, name, origin), head_of(files, name), on_batch, on_start, *signed)
    return start.recover(after, origin, stamp, limits)


def _new(files: Files, name: str, origin: str, stamp: Stamper, on_batch: OnBatch, on_start: OnStart, limits: Limits) -> Log:
    on_start(None)
    if name in (logs_made(files) or {}) or files.stat_path(head_path(name)) is not None:
        raise Corrupt(name, 0, 0, f"{active_path(name)} is missing")
    if files.stat_path(next_path(name)) is not None:
        files.unlink(next_path(name))
    log = create(files, name, origin, stamp, limits)
    for batch in Scan(log.read, log.end).batches():
        on_batch(batch)
    return log


def logs_made(files: Files) -> dict[str, str] | None:
    """The logs that ledger.json knows; None without one."""
    ledger = read_ledger(files)
    return ledger.logs if ledger else None


# --- before anything is believed --------------------------------------------------------------------------------------------


def _settle_disk(files: Files, name: str) -> None:
    """Make durable what a run that died had only written, then forget every cached byte: after a failed sync the cache lies."""
    for path in (active_path(name), head_path(name)):
        if files.stat_path(path) is not None:
            fd = files.open(path, os.O_RDONLY)
            try:
                files.fdatasync(fd)
                files.drop_cache(fd)
            finally:
                files.close(fd)
    if files.stat_path(next_path(name)) is not None:
        files.unlink(next_path(name))
    make_directory(files, "log.d")  # and with it the names of all segments
    make_directory(files, head_directory(name))
    if files.stat_path(head_path(name)) is not None:
        files.fsync_dir(head_directory(name))


def _settle_rotation(files: Files, name: str) -> None:
    """A closed segment that begins where the active one does: it was being closed, and was not."""
    first = twin(files, name)
    if first is None:
        return
    path = closed_path(name, first)
    head = head_of(files, name)
    if isinstance(head, Head) and head.segment > first:
        raise Corrupt(name, 0, first, f"begins with record {first}, and the head is of a later segment, {head.segment}")
    if not same_file(files, active_path(name), path):
        raise Corrupt(name, 0, first, f"differs from {path}, and both begin with record {first}")
    files.unlink(path)
    files.fsync_dir(".")


# --- one start --------------------------------------------------------------------------------------------------------------


class _Seen:
    """What the walk met on its way that the log will need."""

    def __init__(self) -> None:
        self.index = Index()
        self.cuts: set[bytes] = set()
        """Payloads of `log.recovered` in the active segment."""
        self.prunes: list[Prune] = []

    def note(self, batch: Sequence[Record], own: Sequence[Record]) -> None:
        first = batch[0]
        if not first.offset:  # a segment begins
            self.index, self.cuts = Index(), set()
        self.index.add(first.seq, first.offset)
        for record in own:
            if record.event_type == "log.recovered":
                self.cuts.add(record.payload)
            elif record.event_type == PRUNE:
                self.prunes += read_prunes((record,))


class _Start:
    def __init__(
        self,
        files: Files,
        layout: Layout,
        head: Head | str | None,
        on_batch: OnBatch,
        on_start: OnStart,
        checkpoint: Note | str | None,
        cosigned: list[Note] | str,
    ) -> None:
        self._files = files
        self._checkpoint = checkpoint
        self._cosigned = cosigned
        self._layout = layout
        self._name = layout.name
        self._head = head
        self._on_batch = on_batch
        self._on_start = on_start
        self._began = False
        self._seen = _Seen()

    def recover(self, after: Sequence[Snapshot], origin: str, stamp: Stamper, limits: Limits) -> Recovery:
        if (before := self._layout.before) is not None:
            self._check_pruned(before, None)
        newest = max((seq for seq, _ in after), default=-1)
        judge = self._walk_from_any(after, newest)
        judge.judge()
        if before is not None and judge.bad is not None:
            self._check_pruned(before, judge.end.offset)
        if (judge.end.batch > 1 or judge.bad) and (known := logs_made(self._files)) is not None and self._name not in known:
            raise Corrupt(self._name, judge.end.offset, judge.end.seq, "holds records, but ledger.json has never heard of it")
        fd = open_active(self._files, self._name)
        try:
            return self._settle(judge, fd, origin, stamp, limits)
        except BaseException:
            self._files.close(fd)
            raise

    def _check_pruned(self, before: Closed, sound_bytes: int | None) -> None:
        """Before the walk, and after it once more where the end of the log is torn: what stands there explains nothing."""
        if not any(explains(prune, before) for prune in recorded(self._files, self._layout, before, sound_bytes)):
            missing = closed_path(self._name, before.first_seq)
            if not self._began:
                self._on_start(None)
            raise Corrupt(self._name, 0, before.first_seq, f"{missing} is missing", missing)

    def _walk_from_any(self, after: Sequence[Snapshot], newest: int) -> Judge:
        """The walk from the newest snapshot that belongs to this log. Damage before that one is left to an older one to tell."""
        for position in after:
            try:
                if (judge := self._walk_after(position, newest)) is not None:
                    return judge
            except Corrupt:
                if self._began:
                    raise
        return self._walk_all(newest)

    def _walk_all(self, newest: int) -> Judge:
        self._began = True
        self._on_start(None)
        if self._layout.first_seq:
            why = f"the records before {self._layout.first_seq} were pruned, and no snapshot of what they made can be used"
            raise Corrupt(self._name, 0, 0, why)
        judge = self._judge(newest, edge=Edge())
        self._seen = _Seen()
        for batch in judge.batches():
            self._seen.note(batch, judge.own)
            self._on_batch(batch)
        return judge

    def _walk_after(self, position: Snapshot, newest: int) -> Judge | None:
        """None where this snapshot is of another history, or does not load."""
        seq, _ = position
        first = self._layout.holding(seq + 1)
        if first is None:
            return None
        judge = self._judge(newest, first=first)
        self._seen = _Seen()
        start = self._layout.segments[first].opening.start
        if start.seq == seq + 1 and not self._load(position, judge, start.tip):
            return None
        for batch in judge.batches():
            self._seen.note(batch, judge.own)
            if self._began:
                self._on_batch(batch)
            elif batch[-1].seq >= seq and not (batch[-1].seq == seq and self._load(position, judge, batch[-1].event_hash)):
                return None
        return judge if self._began else None

    def _judge(self, newest: int, *, first: int = 0, edge: Edge | None = None) -> Judge:
        return Judge(
            self._files,
            self._layout,
            self._head,
            first=first,
            edge=edge,
            seen_seq=newest,
            checkpoint=self._checkpoint,
            cosigned=self._cosigned,
        )

    def _load(self, position: Snapshot, judge: Judge, tip: str) -> bool:
        seq, expected = position
        if tip != expected or (edge := self._on_start(seq)) is None or edge.size != seq + 1:
            return False
        judge.edge = edge
        self._began = True
        return True

    def _settle(self, judge: Judge, fd: int, origin: str, stamp: Stamper, limits: Limits) -> Recovery:
        files, name, end = self._files, self._name, judge.end
        active, head, edge = self._layout.segments[-1], self._head, judge.edge
        assert edge is not None
        torn, digest = None, judge.digest
        if judge.bad is not None:
            with durable(name):
                torn = _cut(files, name, fd, end.offset, active.first_seq)
            digest = _digest(files, fd, end.offset)
        tail = Tail(end, self._seen.index, edge, digest, active.first_seq, active.opening.time_us)
        closed = [segment.closed for segment in self._layout.segments if segment.closed is not None]
        head_batch = head.batch if isinstance(head, Head) else -1
        log = Log(files, name, origin, fd, tail, head_batch=head_batch, closed=closed, limits=limits)
        _make_read_only(files, name, closed)
        self._finish_pruning(log)
        _record_cuts(files, log, self._seen.cuts, stamp, self._on_batch)
        if log.head_batch < 0 and not log.write_head():
            raise Full(f"{name}: the disk has no room for its head")
        cosigned = () if isinstance(self._cosigned, str) else tuple(self._cosigned)
        return Recovery(log, torn, self._checkpoint if isinstance(self._checkpoint, Note) else None, cosigned)

    def _finish_pruning(self, log: Log) -> None:
        """A crash came after the record and before the last deletion."""
        count = 0
        for closed in log.view.closed:
            if not any(explains(prune, closed) for prune in self._seen.prunes):
                break
            count += 1
        log.drop(log.view.closed[:count], -1)


def _make_read_only(files: Files, name: str, closed: Sequence[Closed]) -> None:
    for one in closed:
        path = closed_path(name, one.first_seq)
        found = files.stat_path(path)
        if found is not None and found.mode & 0o777 != READ_ONLY:
            with suppress(OSError):
                files.chmod(path, READ_ONLY)


# --- cutting --------------------------------------------------------------------------------------------------------------


def _cut(files: Files, name: str, fd: int, offset: int, segment: int) -> Torn:
    """Keep what follows `offset`, durably, before it is cut off."""
    size = files.stat(fd).size
    if files.free() < size - offset + HOPE_BYTES:
        files.truncate(fd, size)  # what the log had claimed past its end is all the room that a full disk has for this
    make_directory(files, QUARANTINE)
    temporary = f"{QUARANTINE}/{name}.tmp"
    digest = sha256()
    copy = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for block in _blocks(files, fd, offset, size):
            digest.update(block)
            write_all(files, copy, block)
        files.fsync(copy)
    finally:
        files.close(copy)
    kept_as = f"{QUARANTINE}/{_quarantined(name, segment)}{offset:016d}.{size - offset}.{digest.hexdigest()}"
    files.rename(temporary, kept_as)
    files.fsync_dir(QUARANTINE)
    files.truncate(fd, offset)
    files.fsync(fd)
    return Torn(offset, size - offset, digest.hexdigest(), kept_as)


def _digest(files: Files, fd: int, size: int) -> Digest:
    digest = sha256()
    for block in _blocks(files, fd, 0, size):
        digest.update(block)
    return digest


def _blocks(files: Files, fd: int, start: int, end: int) -> Iterator[bytes]:
    for offset in range(start, end, BLOCK_BYTES):
        yield read_at(files, fd, offset, min(BLOCK_BYTES, end - offset))


def _quarantined(name: str, segment: int) -> str:
    return f"{name}.{segment:016d}."


def _record_cuts(files: Files, log: Log, recovered: set[bytes], stamp: Stamper, on_batch: OnBatch) -> None:
    """Append `log.recovered` for every tail in quarantine that has none yet: a crash may have come between."""
    if files.stat_path(QUARANTINE) is None:
        return
    pattern = re.compile(re.escape(_quarantined(log.name, log.segment)) + r"([0-9]{16})\.([0-9]+)\.([0-9a-f]{64})")
    cuts = [match for entry in sorted(files.list(QUARANTINE)) if (match := pattern.fullmatch(entry))]
    payloads = [
        payload
        for offset, size, digest in (match.groups() for match in cuts)
        if (payload := encode({"bytes": int(size), "offset": int(offset), "sha256": digest})) not in recovered
    ]
    for start in range(0, len(payloads), RECORDS_MAX):
        time_us, mono_us, boot_id = stamp()
        pending = [
            Pending("log.recovered", payload, IRER, boot_id, mono_us, time_us) for payload in payloads[start : start + RECORDS_MAX]
        ]
        sealed = log.seal(pending)
        log.commit(sealed.data)
        receipts = iter(lines(log.read, sealed.receipts[0].offset, log.end))
        on_batch([parse(line, receipt.offset) for line, receipt in zip(receipts, sealed.receipts, strict=True)])
