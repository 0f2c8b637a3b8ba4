"""One log to append to: its active segment, the only file of it that ever grows, and the closed segments before it.

Sealing advances the tail in memory; writing and syncing make it true. A failed write or sync is final: nothing is retried, and
this log takes nothing more until the next start has read back what the disk really holds.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import accumulate
from threading import Lock
from typing import NamedTuple, Protocol

import msgspec

from core.canonical import CanonicalError, decode, encode
from state.fs import NO_SPACE, Files, make_directory, read_all, small_write, write_all
from state.fs import read_at as read_at
from state.retention import PRUNE, prunable, prunes_of
from state.room import FULL, HOPE_BYTES, ROOM, Fullness, claim, no_room, no_segment
from state.rotation import LIMITS, Limits, RotationFailed, finish, turn
from state.scan import START, Index, Position
from state.seal import (
    ALIGN,
    BATCH_BYTES_MAX,
    LINE_BYTES_MAX,
    RECORDS_MAX,
    BadLine,
    Pending,
    TooLarge,
    measure,
    parse,
    seal,
    seal_many,
    sealed_line,
    unsealed,
)
from state.segment import GENESIS, IRER, SEGMENT, Closed, active_path, closed_path, continuation, genesis, next_path
from state.tree import Edge, leaf_hash, leaves_of

PRUNED_MAX = 128
"""Segments of one pruning: their records are one batch."""
PADDING_BYTES_MAX = ALIGN + 16
"""What the end of a batch may add to its records."""
HASTENED_BYTES_MIN = 16_384
"""A shorter batch is hashed before its way to the medium could begin."""
_TOLD_BYTES_MAX = 1_024
"""Of a `log.full`."""


class Digest(Protocol):
    """A running SHA-256."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


Stamper = Callable[[], tuple[int, int, str]]
"""What the clocks say now: wall time in us, monotonic time in us, boot id."""


class SyncFailed(Exception):
    """A write or sync failed: what reached the disk is unknown. The daemon ends, and its next start finds out."""


class ForeignWriter(SyncFailed):
    """Our own file has a size that we did not give it."""


class Full(Exception):
    """No room for the next batch."""


class Receipt(NamedTuple):
    """Where a record stands: proof for its caller, and for whoever reads it back."""

    seq: int
    event_hash: str
    offset: int
    size: int


class Sealed(NamedTuple):
    """One batch, ready to be written."""

    data: bytes
    first_seq: int
    hashes: list[str]
    """The `event_hash` of each record."""
    offset: int
    lines: list[bytes]
    """Without their 0x0A."""

    @property
    def receipts(self) -> list[Receipt]:
        """Made for whoever asks: a writer needs the hashes alone."""
        sizes = [len(line) + 1 for line in self.lines]
        seqs = range(self.first_seq, self.first_seq + len(sizes))
        return list(map(Receipt._make, zip(seqs, self.hashes, accumulate(sizes[:-1], initial=self.offset), sizes, strict=True)))


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The watermark: this batch was durable, and ended here. Never newer than the data it names."""

    batch: int
    log: str
    offset: int
    segment: int
    seq: int
    tip: str


class Shared:
    """A descriptor that closes once its owner and the last of its readers have let go."""

    def __init__(self, files: Files, fd: int) -> None:
        self.fd = fd
        self._files = files
        self._lock = Lock()
        self._users = 1

    def borrow(self) -> bool:
        """False when it is closed already."""
        with self._lock:
            if self._users:
                self._users += 1
                return True
            return False

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self._files.close(self.fd)


class View(NamedTuple):
    """Where the records of a log are at one moment. Replaced whole, so that a reader in another thread sees one or the other."""

    closed: tuple[Closed, ...]
    """Oldest first."""
    segment: int
    """First seq of the active segment."""
    active: Shared
    places: Index
    """In the active segment."""


class Tail(NamedTuple):
    """All that appending to an active segment needs to know of what is in it."""

    end: Position
    places: Index
    edge: Edge
    digest: Digest
    """Over the whole of it so far."""
    segment: int = 0
    began_us: int = 0


class _Final:
    """What `Log._final` enters: written out, as each batch passes here twice."""

    __slots__ = ("_log", "_step")

    def __init__(self, log: "Log", step: str) -> None:
        self._log = log
        self._step = step

    def __enter__(self) -> None:
        if self._log.failed is not None:
            raise SyncFailed(f"{self._log.name}: an earlier {self._log.failed} failed")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        self._log.failed = self._step
        if isinstance(error, OSError):
            raise SyncFailed(f"{self._log.name}: {self._step} failed: {os.strerror(error.errno or 0)}") from error


class Log:
    """Made by `create` and by recovery. One thread at a time writes; reading is free at any time."""

    def __init__(
        self,
        files: Files,
        name: str,
        origin: str,
        fd: int,
        tail: Tail,
        *,
        head_batch: int,
        closed: Sequence[Closed] = (),
        limits: Limits = LIMITS,
    ) -> None:
        end = tail.end
        self.name = name
        self.origin = origin
        self.limits = limits
        self.room = ROOM
        self.full: Fullness | None = None
        """Why it takes no more commands; None while it does."""
        self.end, self.next_seq, self.next_batch, self.tip = end.offset, end.seq, end.batch, end.tip
        """`end` is an offset in the active segment."""
        self.edge = tail.edge
        """Of the tree over all records that are written."""
        self.durable = end
        """The end of what is known to be on disk."""
        self.durable_edge = tail.edge
        """Of the tree over what is known to be on disk."""
        self.head_batch = head_batch
        """The batch the head on disk names; -1 before there is one."""
        self.view = View(tuple(closed), tail.segment, Shared(files, fd), tail.places)
        self._files = files
        self._fd = fd
        self._digest = tail.digest
        self._began_us = tail.began_us
        self._written = end.offset
        self._reserved_end = end.offset
        self.free_seen = 0
        """What was free when room was looked for last."""
        self._held = True
        """Whether the room past the end is claimed; else it is only hoped for, as this file system can do no better."""
        self.full_to_tell = False
        """Whether it is full, that is not on record yet, and can be."""
        self._full_told = False
        self._sealed: deque[tuple[Position, list[bytes]]] = deque()
        """Batches that are not written yet: where each ends, and its lines without their 0x0A."""
        self._unsynced: deque[tuple[Position, Edge]] = deque()
        self.failed: str | None = None
        """The step that failed; None while none has."""
        self._rotate_again_at: int | None = None
        """Set by a failed rotation: the end at which to try once more."""
        self._rotation_refused = ""

    @property
    def segment(self) -> int:
        """First seq of the active segment."""
        return self.view.segment

    @property
    def first_seq(self) -> int:
        """The first record that is kept; above 0 once older ones were pruned."""
        return self.view.closed[0].first_seq if self.view.closed else self.view.segment

    # --- append -----------------------------------------------------------------------------------------------------

    def seal(self, records: Sequence[Pending]) -> Sealed:
        """One batch of these records behind the tail in memory; raises TooLarge and then changes nothing."""
        count = len(records)
        if not 1 <= count <= RECORDS_MAX:
            raise TooLarge(f"a batch of {count} records; it holds 1 to {RECORDS_MAX}")
        batch, seq, start = self.next_batch, self.next_seq, self.end
        lines, hashes = seal_many(records, batch, self.tip, seq, start)
        tip = hashes[-1]
        data = lines[0] + b"\n" if count == 1 else b"\n".join([*lines, b""])
        if len(data) > BATCH_BYTES_MAX + ALIGN:
            raise TooLarge(f"a batch of {len(data):,} bytes; it holds {BATCH_BYTES_MAX:,}")
        self.view.places.add(seq, start)
        self.next_batch, self.next_seq, self.end, self.tip = batch + 1, seq + count, start + len(data), tip
        self._sealed.append((Position(self.end, self.next_seq, self.next_batch, self.tip), lines))
        return Sealed(data, seq, hashes, start, lines)

    def begin(self, data: bytes) -> int | None:
        """Append sealed bytes, and let them set out for the medium. `sync` is to follow; it need not wait once the
        descriptor can be read that this returns.
        """
        self.write(data, hasten=True)
        return self._files.bell(self._fd)

    def write(self, data: bytes, *, hasten: bool = False) -> None:
        """Append sealed bytes, in the order in which they were sealed. They are not durable before `sync`.

        A long batch is on its way to the medium while its hashes are worked out here.
        """
        with self._final("write"):
            self._check_end()
            write_all(self._files, self._fd, data)
            if hasten or len(data) >= HASTENED_BYTES_MIN:
                self._files.begin_sync(self._fd)
        self._written += len(data)
        self._digest.update(data)
        while self._sealed and self._sealed[0][0].offset <= self._written:
            end, lines = self._sealed.popleft()
            self.edge = self.edge.extend(leaves_of(lines))
            self._unsynced.append((end, self.edge))

    def _check_end(self) -> None:
        size = self._files.stat(self._fd).size
        if size != self._written:
            raise ForeignWriter(
                f"{self.name} has {size:,} bytes, not the {self._written:,} that irerd wrote: someone else writes to it"
            )

    def sync(self) -> None:
        """Make all that is written durable. Never retried: after a failure the cache lies."""
        with self._final("sync"):
            self._files.fdatasync(self._fd)
        while self._unsynced:
            self.durable, self.durable_edge = self._unsynced.popleft()

    def commit(self, data: bytes) -> None:
        self.write(data)
        self.sync()

    def _final(self, step: str) -> "_Final":
        """A step after whose failure this log takes nothing more, whatever the failure is."""
        return _Final(self, step)

    # --- rotation ---------------------------------------------------------------------------------------------------

    def rotation_due(self, now_us: int) -> bool:
        """Whether the active segment is large or old enough to be closed. `now_us` is wall time, which may jump either way."""
        limits, records = self.limits, self.next_seq - self.segment
        again = self._rotate_again_at is None or self.end >= self._rotate_again_at or self._overgrown()
        large = self.end >= limits.bytes or records >= limits.records
        return again and (large or (records > 1 and abs(now_us - self._began_us) >= limits.age_us))

    def _overgrown(self) -> bool:
        """Whether rotation has failed until the segment was twice as large as it should be."""
        records = self.next_seq - self.segment
        large = self.end >= 2 * self.limits.bytes or records >= 2 * self.limits.records
        return self._rotate_again_at is not None and large

    def rotate(self, stamp: Stamper) -> None:
        """Close the active segment and go on in a new one, which begins with a record of its own: `next_seq` rises by one.

        Only between groups, with all that was sealed durable. Raises RotationFailed where the disk would not let a segment
        begin: the old one goes on, and nothing was changed. SyncFailed is final.
        """
        if self._sealed or self._unsynced:
            raise RuntimeError(f"{self.name}: rotation with a batch that is not durable")
        time_us, mono_us, boot_id = stamp()
        closed = Closed(self.segment, self.next_seq - 1, self.end, self.tip, self._digest.hexdigest(), time_us)
        payload = continuation(self.name, self.origin, closed, self.edge.root().hex())
        opening = Pending(SEGMENT, payload, IRER, boot_id, mono_us, time_us)
        line, tip = seal(opening, (self.next_batch, 0, 1), self.tip, self.next_seq, 0)
        with self._final("rotation"):
            self._check_end()
            held = len(line) + self.room.own_bytes + self.room.ahead_bytes if self.reserved_bytes else len(line)
            try:
                fd = turn(self._files, self.name, line, closed_path(self.name, closed.first_seq), held)
            except RotationFailed as failed:
                self._rotate_again_at = self.end + self.limits.bytes // 16
                self._rotation_refused = failed.why
                fd = -1
        if fd < 0:
            text = f"{self.name}: no new segment could be begun ({self._rotation_refused}); the old one goes on"
            raise RotationFailed(text, self._rotation_refused)
        self._begin(fd, line, tip, closed)
        self._reserved_end = held

    def _begin(self, fd: int, line: bytes, tip: str, closed: Closed) -> None:
        """All that the new segment changes in memory, then what may wait: the head, and the old file made read-only."""
        old, seq = self.view, self.next_seq
        index = Index()
        index.add(seq, 0)
        self.end, self.next_seq, self.next_batch, self.tip = len(line), seq + 1, self.next_batch + 1, tip
        self.edge = self.durable_edge = self.edge.append(leaf_hash(line))
        self.durable = Position(self.end, self.next_seq, self.next_batch, tip)
        self._digest = sha256(line)
        self._fd, self._began_us, self._written, self._reserved_end = fd, closed.closed_us, self.end, self.end
        self._rotate_again_at = None
        self.view = View((*old.closed, closed), seq, Shared(self._files, fd), index)
        finish(self._files, closed_path(self.name, closed.first_seq), old.active.fd, closed.bytes)
        old.active.release()
        self.write_head()

    # --- around it --------------------------------------------------------------------------------------------------

    def write_head(self) -> bool:
        """Name what is durable in the head. False if the disk has no room: the older head stays, and stays true."""
        end = self.durable
        head = Head(end.batch - 1, self.name, end.offset, self.segment, end.seq - 1, end.tip)
        with self._final("write of the head"):
            try:
                small_write(self._files, head_path(self.name), sealed_line(encode(msgspec.structs.asdict(head))))
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                return False
        self.head_batch = head.batch
        return True

    # --- room -------------------------------------------------------------------------------------------------------

    @property
    def reserved_bytes(self) -> int:
        """Room that is surely there past the end."""
        return max(0, self._reserved_end - self.end)

    def reserve(self, waiting: int = 0, free_before: int = 0) -> None:
        """Claim room past the end, for `waiting` bytes and then some. Raises Full when there is none, or when rotation has failed
        for too long: then this log is `full`, and no longer so only once there is much room again. `free_before` was free before
        other logs claimed theirs in the same look: what is much is much for all of them.
        """
        with self._final("reservation"):
            free = self.free_seen = max(self._files.free(), free_before)
            if self._overgrown():
                full: Fullness | None = no_segment(self._rotation_refused, free)
            else:
                full = None if self._claim_ahead(waiting, free) else no_room(self.room, free)
        if full is None:
            self.full, self.full_to_tell, self._full_told = None, False, False
            return
        if self.full is None or self.full.reason != full.reason:
            self.full = full
        self.full_to_tell = not self._full_told and self.holds(_TOLD_BYTES_MAX)
        raise Full(f"{self.name}: {full.text}")

    def _claim_ahead(self, waiting: int, free: int) -> bool:
        own = self.room.own_bytes
        if self.full is None or free >= self.room.back_bytes:
            for more in dict.fromkeys((waiting, 0)):
                if self._claim(own + self.room.ahead_bytes + more):
                    return True
        if self.reserved_bytes < own:
            self._claim(own)
        return False

    def _claim(self, length: int) -> bool:
        target = self.end + length
        if target > self._reserved_end:
            claimed = claim(self._files, self._fd, self._written, target)
            if claimed == "none":
                return False
            self._held = claimed == "held"
            self._reserved_end = target
        return True

    def holds(self, size: int) -> bool:
        """Whether a batch of so many bytes will find room on a full disk."""
        size += PADDING_BYTES_MAX
        return size <= self.reserved_bytes and (self._held or self._files.free() >= size + HOPE_BYTES)

    def tell_full(self, stamp: Stamper) -> None:
        """Put it on record, once while it lasts: a start on a disk that is still full does not say it again. Between groups."""
        assert self.full is not None
        if not self._ends_full():
            time_us, mono_us, boot_id = stamp()
            self.commit(self.seal([Pending(FULL, self.full.payload(), IRER, boot_id, mono_us, time_us)]).data)
        self._full_told, self.full_to_tell = True, False

    def _ends_full(self) -> bool:
        tail = self.read(max(0, self.end - LINE_BYTES_MAX), LINE_BYTES_MAX)
        return parse(tail[tail.rfind(b"\n", 0, -1) + 1 :]).event_type == FULL

    # --- retention --------------------------------------------------------------------------------------------------

    def prunable(self, below: int, now_us: int, *, retain_bytes: int | None = None, retain_us: int | None = None) -> list[Closed]:
        """The closed segments that may go: the oldest, all below record `below`, which the oldest snapshot kept must not need.

        `retain_bytes` counts closed segments only. Without a limit everything stays.
        """
        return prunable(self.view.closed, below, now_us, retain_bytes, retain_us)

    def prune_records(self, segments: Sequence[Closed], stamp: Stamper) -> list[Pending]:
        """What must be durable before these may be deleted. Reads them, changes nothing, may run beside the writer."""
        time_us, mono_us, boot_id = stamp()
        prunes = prunes_of(self._files, self.name, segments[:PRUNED_MAX])
        return [Pending(PRUNE, prune.payload(), IRER, boot_id, mono_us, time_us) for prune in prunes]

    def drop(self, segments: Sequence[Closed], recorded_seq: int) -> None:
        """Delete what `prune_records` was asked of, once its last record, `recorded_seq`, is durable. Between groups."""
        if recorded_seq >= self.durable.seq or tuple(segments) != self.view.closed[: len(segments)]:
            raise RuntimeError(f"{self.name}: these segments may not be deleted now")
        for one in segments:
            self.view = self.view._replace(closed=self.view.closed[1:])  # no reader begins in it any more
            with self._final("pruning"):
                self._files.unlink(closed_path(self.name, one.first_seq))
                self._files.fsync_dir(".")  # one by one, so that no older one can be left behind a younger that is gone

    def prune(self, segments: Sequence[Closed], stamp: Stamper) -> None:
        """All three steps at once: one batch and its sync, then the deletion. Between groups; `next_seq` rises.

        Raises Full where not even the room that is held for it suffices: nothing was changed.
        """
        segments = segments[:PRUNED_MAX]
        if not segments:
            return
        records = self.prune_records(segments, stamp)
        if self.full is not None and not self.holds(sum(map(measure, records))):
            raise Full(f"{self.name}: no room is left to record what would go")
        sealed = self.seal(records)
        self.commit(sealed.data)
        self.drop(segments, sealed.receipts[-1].seq)

    # --- read -------------------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> bytes:
        """These bytes of the active segment; fewer only at its end."""
        return read_at(self._files, self._fd, offset, size)

    def close(self) -> None:
        self.view.active.release()


# --- a new log, and its small files -----------------------------------------------------------------------------------


def head_path(name: str) -> str:
    return f"{head_directory(name)}/head"


def head_directory(name: str) -> str:
    return f"log.d/{name}"


def create(files: Files, name: str, origin: str, stamp: Stamper, limits: Limits = LIMITS) -> Log:
    """A new log, durable with its head before anything else may be appended to it."""
    if files.stat_path(active_path(name)) is not None:
        raise FileExistsError(active_path(name))
    make_directory(files, "log.d")
    make_directory(files, head_directory(name))
    time_us, mono_us, boot_id = stamp()
    first = Pending(GENESIS, genesis(name, origin), IRER, boot_id, mono_us, time_us)
    line, tip = seal(first, (0, 0, 1), START.tip, START.seq, START.offset)
    with durable(name):
        fd = files.open(next_path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(files, fd, line)
            files.fsync(fd)
        finally:
            files.close(fd)
        files.rename(next_path(name), active_path(name))
        files.fsync_dir(".")
    index = Index()
    index.add(0, 0)
    tail = Tail(Position(len(line), 1, 1, tip), index, Edge().append(leaf_hash(line)), sha256(line), 0, time_us)
    log = Log(files, name, origin, open_active(files, name), tail, head_batch=-1, limits=limits)
    first_head(log)
    return log


def first_head(log: Log) -> None:
    """Batch 1 may not be written before this is on disk."""
    try:
        if not log.write_head():
            raise Full(f"{log.name}: the disk has no room for its head")
    except BaseException:
        log.close()
        raise


def open_active(files: Files, name: str) -> int:
    return files.open(active_path(name), os.O_RDWR | os.O_APPEND)


def read_head(files: Files, name: str) -> Head | None:
    """What the head says, or None where there is none; raises BadLine."""
    raw = read_all(files, head_path(name))
    if raw is None:
        return None
    try:
        return msgspec.convert(decode(unsealed(raw)), Head, strict=True)
    except (CanonicalError, msgspec.ValidationError):
        raise BadLine("not a head") from None


@contextmanager
def durable(name: str) -> Iterator[None]:
    """Where a file must become durable before anything goes on: no room is said as such, any other failure is final."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise Full(f"{name}: the disk is full") from error
        raise SyncFailed(f"{name}: {os.strerror(error.errno or 0)}") from error
