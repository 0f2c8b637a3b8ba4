"""What a log holds after whatever happened: its sound batches, in order, and then a tail that is whole, torn or corrupt.

Torn is what a crash leaves of a batch that nobody was told of: it is kept in quarantine, cut off, and the cut is recorded.
Everything else is corrupt: it is named and left exactly as it was found. Recovery trusts no cache, runs at every start, and
done twice gives the same bytes.
"""

import os
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import NamedTuple

from core.canonical import encode
from state.fs import Files, make_directory, write_all
from state.judge import Corrupt as Corrupt
from state.judge import Judge, head_of, refuse_segments
from state.ledger import read_ledger
from state.log import (
    IRER,
    Head,
    Log,
    Stamper,
    active_path,
    create,
    durable,
    first_head,
    head_directory,
    head_path,
    next_path,
    open_active,
    read_at,
)
from state.scan import BLOCK_BYTES, Index, Scan, lines, seq_of
from state.seal import RECORDS_MAX, BadLine, Pending, Record, parse

QUARANTINE = "quarantine"
READ_BYTES = 65_536
"""One read of `records_between`: most want a few records."""

OnBatch = Callable[[list[Record]], None]


class Torn(NamedTuple):
    """The end of a batch that was never acknowledged, cut off and kept."""

    offset: int
    bytes: int
    sha256: str
    kept_as: str


class Recovery(NamedTuple):
    log: Log
    torn: Torn | None


def recover(files: Files, name: str, origin: str, stamp: Stamper, on_batch: OnBatch) -> Recovery:
    """Read a log back, or make it if it never was, and hand out every batch, those of `log.*` records too.

    Raises Corrupt after the sound batches, NewerFormat, Full, SyncFailed.
    """
    refuse_segments(files, name)
    if files.stat_path(active_path(name)) is None:
        return Recovery(_new(files, name, origin, stamp, on_batch), None)
    fd = open_active(files, name)
    try:
        return _settle(files, name, fd, origin, stamp, on_batch)
    except BaseException:
        files.close(fd)
        raise


def _new(files: Files, name: str, origin: str, stamp: Stamper, on_batch: OnBatch) -> Log:
    if name in (logs_made(files) or {}) or files.stat_path(head_path(name)) is not None:
        raise Corrupt(name, 0, 0, f"{active_path(name)} is missing")
    if files.stat_path(next_path(name)) is not None:
        files.unlink(next_path(name))
    log = create(files, name, origin, stamp)
    first = Scan(log.read, log.end)
    for batch in first.batches():
        on_batch(batch)
    return log


def logs_made(files: Files) -> dict[str, str] | None:
    """The logs that ledger.json knows; None without one."""
    ledger = read_ledger(files)
    return ledger.logs if ledger else None


def _settle(files: Files, name: str, fd: int, origin: str, stamp: Stamper, on_batch: OnBatch) -> Recovery:
    with durable(name):
        _settle_disk(files, name, fd)
    index = Index()
    recovered: set[bytes] = set()

    head = head_of(files, name)
    judge = Judge(files, name, fd, head, origin)
    for batch in judge.batches():
        index.add(batch[0].seq, batch[0].offset)
        recovered.update(record.payload for record in batch if record.event_type == "log.recovered")
        on_batch(batch)
    judge.judge()
    end = judge.end
    if (end.batch > 1 or judge.bad) and (known := logs_made(files)) is not None and name not in known:
        raise Corrupt(name, end.offset, end.seq, "holds records, but ledger.json has never heard of it")
    torn = None
    if judge.bad is not None:
        with durable(name):
            torn = _cut(files, name, fd, end.offset)
    log = Log(files, name, fd, end, index, head_batch=head.batch if isinstance(head, Head) else -1)
    _record_cuts(files, log, recovered, stamp, on_batch)
    if log.head_batch < 0:
        first_head(log)
    return Recovery(log, torn)


def _settle_disk(files: Files, name: str, fd: int) -> None:
    """Make durable what a run that died had only written, then forget every cached byte: after a failed sync the cache lies."""
    files.fdatasync(fd)
    files.drop_cache(fd)
    if files.stat_path(next_path(name)) is not None:
        files.unlink(next_path(name))
    make_directory(files, "log.d")  # and with it the name of the active file
    make_directory(files, head_directory(name))
    if files.stat_path(head_path(name)) is not None:
        head_fd = files.open(head_path(name), os.O_RDONLY)
        try:
            files.fdatasync(head_fd)
            files.drop_cache(head_fd)
        finally:
            files.close(head_fd)
        files.fsync_dir(head_directory(name))


# --- cutting --------------------------------------------------------------------------------------------------------------


def _cut(files: Files, name: str, fd: int, offset: int) -> Torn:
    """Keep what follows `offset`, durably, before it is cut off."""
    size = files.stat(fd).size
    make_directory(files, QUARANTINE)
    temporary = f"{QUARANTINE}/{name}.tmp"
    digest = sha256()
    copy = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        for start in range(offset, size, BLOCK_BYTES):
            block = read_at(files, fd, start, min(BLOCK_BYTES, size - start))
            digest.update(block)
            write_all(files, copy, block)
        files.fsync(copy)
    finally:
        files.close(copy)
    kept_as = f"{QUARANTINE}/{_quarantined(name)}{offset:016d}.{size - offset}.{digest.hexdigest()}"
    files.rename(temporary, kept_as)
    files.fsync_dir(QUARANTINE)
    files.truncate(fd, offset)
    files.fsync(fd)
    return Torn(offset, size - offset, digest.hexdigest(), kept_as)


def _quarantined(name: str, segment: int = 0) -> str:
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


# --- reading back -----------------------------------------------------------------------------------------------------------


def records_between(log: Log, first: int, last: int) -> Iterator[Record]:
    """The durable records `first` to `last`, both included, each with its hash checked. Raises Corrupt."""
    durable_end = log.durable
    last = min(last, durable_end.seq - 1)
    if first > last:
        return
    offset = log.offset_of(first)
    for line in lines(log.read, offset, durable_end.offset, READ_BYTES):
        try:
            seq = seq_of(line)
            if seq >= first:
                yield parse(line, offset)
        except (BadLine, ValueError) as error:
            raise Corrupt(log.name, offset, first, str(error)) from None
        if seq >= last:
            return
        offset += len(line)
