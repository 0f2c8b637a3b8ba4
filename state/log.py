"""The active segment of one log: the only file of it that is ever appended to.

Sealing advances the tail in memory; writing and syncing make it true. A failed write or sync is final: nothing is retried, and
this log takes nothing more until the next start has read back what the disk really holds.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from core.canonical import CanonicalError, decode, encode
from state.fs import NO_SPACE, Files, NoSpace, make_directory, read_all, small_write, write_all
from state.scan import START, Index, Position
from state.seal import (
    ALIGN,
    BATCH_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORDS_MAX,
    BadLine,
    Pending,
    TooLarge,
    measure,
    seal,
    sealed_line,
    unsealed,
)

FORMAT = "irer-log/1"
IRER = "irer"
RESERVE_BYTES = 2_097_152
"""Room kept past the end, so that a full disk shows before a command is decided."""
_SURELY_FITS_BYTES = RECORD_BYTES_MAX - 2_048

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
    receipts: list[Receipt]


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The watermark: this batch was durable, and ended here. Never newer than the data it names."""

    batch: int
    log: str
    offset: int
    segment: int
    seq: int
    tip: str


class Log:
    """Made by `create` and by recovery. One thread at a time writes; reading is free at any time."""

    def __init__(self, files: Files, name: str, fd: int, end: Position, index: Index, head_batch: int, segment: int = 0) -> None:
        self.name = name
        self.segment = segment
        """First seq of the active segment."""
        self.end, self.next_seq, self.next_batch, self.tip = end.offset, end.seq, end.batch, end.tip
        self.durable = end
        """The end of what is known to be on disk."""
        self.head_batch = head_batch
        """The batch the head on disk names; -1 before there is one."""
        self._files = files
        self._fd = fd
        self._index = index
        self._written = end.offset
        self._reserved_end = end.offset
        self._sealed: deque[Position] = deque()
        self._failed: str | None = None

    # --- append -----------------------------------------------------------------------------------------------------

    def seal(self, records: Sequence[Pending]) -> Sealed:
        """One batch of these records behind the tail in memory; raises TooLarge and then changes nothing."""
        count = len(records)
        if not 1 <= count <= RECORDS_MAX:
            raise TooLarge(f"a batch of {count} records; it holds 1 to {RECORDS_MAX}")
        batch, seq, offset, tip = self.next_batch, self.next_seq, self.end, self.tip
        parts: list[bytes] = []
        receipts: list[Receipt] = []
        for index, pending in enumerate(records):
            if len(pending.payload) > _SURELY_FITS_BYTES:
                measure(pending)
            line, tip = seal(pending, (batch, index, count), tip, seq, offset)
            parts.append(line)
            receipts.append(Receipt(seq, tip, offset, len(line)))
            seq += 1
            offset += len(line)
        if offset - self.end > BATCH_BYTES_MAX + ALIGN:
            raise TooLarge(f"a batch of {offset - self.end:,} bytes; it holds {BATCH_BYTES_MAX:,}")
        self._index.add(self.next_seq, self.end)
        self.next_batch, self.next_seq, self.end, self.tip = batch + 1, seq, offset, tip
        self._sealed.append(Position(offset, seq, batch + 1, tip))
        return Sealed(b"".join(parts), receipts)

    def write(self, data: bytes) -> None:
        """Append sealed bytes, in the order in which they were sealed. They are not durable before `sync`."""
        with self._final("write"):
            size = self._files.stat(self._fd).size
            if size != self._written:
                raise ForeignWriter(
                    f"{self.name} has {size:,} bytes, not the {self._written:,} that irerd wrote: someone else writes to it"
                )
            write_all(self._files, self._fd, data)
        self._written += len(data)

    def sync(self) -> None:
        """Make all that is written durable. Never retried: after a failure the cache lies."""
        with self._final("sync"):
            self._files.fdatasync(self._fd)
        while self._sealed and self._sealed[0].offset <= self._written:
            self.durable = self._sealed.popleft()

    def commit(self, data: bytes) -> None:
        self.write(data)
        self.sync()

    @contextmanager
    def _final(self, step: str) -> Iterator[None]:
        if self._failed is not None:
            raise SyncFailed(f"{self.name}: an earlier {self._failed} failed")
        try:
            yield
        except OSError as error:
            self._failed = step
            raise SyncFailed(f"{self.name}: {step} failed: {os.strerror(error.errno or 0)}") from error
        except BaseException:
            self._failed = step
            raise

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

    @property
    def reserved_bytes(self) -> int:
        """Room that is surely there past the end."""
        return max(0, self._reserved_end - self.end)

    def reserve(self) -> None:
        """Claim room past the end; raises Full when there is none."""
        target = self.end + RESERVE_BYTES
        with self._final("reservation"):
            claimed = self._claim(target)
        if not claimed:
            raise Full(f"{self.name}: the disk has no room for another batch")
        self._reserved_end = target

    def _claim(self, target: int) -> bool:
        try:
            claimed = self._files.reserve(self._fd, self._written, target - self._written)
        except NoSpace:
            return False
        return claimed or self._files.free() >= RESERVE_BYTES

    # --- read -------------------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> bytes:
        """These bytes of the active segment; fewer only at its end."""
        return read_at(self._files, self._fd, offset, size)

    def offset_of(self, seq: int) -> int:
        """Where a batch starts, at or a little before this record."""
        return self._index.offset_of(seq)

    def close(self) -> None:
        self._files.close(self._fd)


# --- a new log, and its small files -----------------------------------------------------------------------------------


def active_path(name: str) -> str:
    return f"{name}.jsonl"


def next_path(name: str) -> str:
    return f"{name}.next"


def head_path(name: str) -> str:
    return f"{head_directory(name)}/head"


def head_directory(name: str) -> str:
    return f"log.d/{name}"


def genesis(name: str, origin: str) -> bytes:
    """The payload of the first record of a log."""
    return encode({"align": ALIGN, "format": FORMAT, "hash": "sha-256", "log": name, "origin": origin, "previous": None})


def create(files: Files, name: str, origin: str, stamp: Stamper) -> Log:
    """A new log, durable with its head before anything else may be appended to it."""
    if files.stat_path(active_path(name)) is not None:
        raise FileExistsError(active_path(name))
    make_directory(files, "log.d")
    make_directory(files, head_directory(name))
    time_us, mono_us, boot_id = stamp()
    first = Pending("log.genesis", genesis(name, origin), IRER, boot_id, mono_us, time_us)
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
    log = Log(files, name, open_active(files, name), Position(len(line), 1, 1, tip), index, head_batch=-1)
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


def read_at(files: Files, fd: int, offset: int, size: int) -> bytes:
    """Go on after a short read; fewer bytes only at the end of the file."""
    data = files.pread(fd, size, offset)
    while data and len(data) < size:
        more = files.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


@contextmanager
def durable(name: str) -> Iterator[None]:
    """Where a file must become durable before anything goes on: no room is said as such, any other failure is final."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise Full(f"{name}: the disk is full") from error
        raise SyncFailed(f"{name}: {os.strerror(error.errno or 0)}") from error
