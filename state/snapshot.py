"""Snapshots of one log: what its records up to one of them add up to, so that a start replays only what came after.

A snapshot is a convenience and never the truth. Whatever is wrong with one (a flipped bit, another version, another history) is
said, and an older one or the log from its beginning stands in for it. One is written only after the record it names is durable,
and an older one goes only once enough newer ones are known to be sound: read back whole, or written and synced by this process.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import NamedTuple

import msgspec

from core.canonical import CanonicalError, decode, encode
from core.world import BadDump
from state.fs import NO_SPACE, Files, make_directory, read_at, small_write
from state.log import Full, durable, head_directory
from state.seal import BadLine, sealed_line, unsealed

KEPT = 3
HEADER_BYTES_MAX = 4_096
ROOM_BYTES_MIN = 67_108_864
"""Bytes that stay free after a snapshot: it may never be what fills the disk."""

_NAME = re.compile(r"([0-9]{16})\.snap\Z")


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a snapshot says of itself, sealed as a record is."""

    bytes: int
    """Length of the body."""
    log: str
    root: str
    """Root of the tree over the first `size` records, 64 hex digits."""
    schema: str
    """The shape of the body."""
    seq: int
    """The last record that it holds."""
    sha256: str
    """Of the body."""
    size: int
    tip: str
    """`event_hash` of that record."""


class BadSnapshot(Exception):
    """This file is no whole snapshot; `why` is one short sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Skipped(NamedTuple):
    """A file that was not used, and why."""

    name: str
    why: str


class Listing(NamedTuple):
    headers: list[Header]
    """The newest first. Their bodies have not been looked at."""
    bad: list[Skipped]


class Restored(NamedTuple):
    header: Header | None
    """Of the snapshot that was loaded; None: the log is to be read from its beginning."""
    skipped: list[Skipped]


class Known:
    """Snapshots whose every byte this process has read, or written and synced. Of those only the header is looked at again.

    Bodies may be large, and a stop waits for what is read of them.
    """

    def __init__(self) -> None:
        self._headers: dict[tuple[str, int], Header] = {}

    def note(self, header: Header) -> None:
        self._headers[header.log, header.seq] = header

    def forget(self, log: str, seq: int) -> None:
        self._headers.pop((log, seq), None)

    def read(self, files: Files, log: str, seq: int) -> tuple[Header, bytes]:
        """As `read` does, and remembered if it is sound."""
        self.forget(log, seq)
        header, body = read(files, log, seq)
        self.note(header)
        return header, body

    def check(self, files: Files, log: str, seq: int) -> None:
        """Raises BadSnapshot where it is not sound. A body that is known goes by its header and its length."""
        with _opened(files, log, seq) as (header, _, _):
            if self._headers.get((log, seq)) == header:
                return
        self.read(files, log, seq)


def directory(log: str) -> str:
    return f"{head_directory(log)}/snap"


def name_of(seq: int) -> str:
    return f"{seq:016d}.snap"


def path_of(log: str, seq: int) -> str:
    return f"{directory(log)}/{name_of(seq)}"


# --- writing ----------------------------------------------------------------------------------------------------------------


def write(files: Files, log: str, *, seq: int, tip: str, root: str, schema: str, body: bytes, known: Known | None = None) -> Header:
    """Keep this body durably, then let go of what is older than the newest few sound ones. One call a log at a time.

    What is not `known` is read for that. Raises Full, and then all is as it was; SyncFailed.
    """
    known = known or Known()
    header = Header(len(body), log, root, schema, seq, sha256(body).hexdigest(), seq + 1, tip)
    data = sealed_line(encode(msgspec.structs.asdict(header))) + body
    with durable(log):
        if files.free() < len(data) + ROOM_BYTES_MIN:
            raise Full(f"{log}: the disk has no room for a snapshot")
        make_directory(files, directory(log))
        try:
            small_write(files, path_of(log, seq), data)
        except OSError as error:
            if error.errno in NO_SPACE:
                _remove_unfinished(files, log)
            raise
        known.note(header)
        _remove_unfinished(files, log)
        _remove_older(files, log, seq, known)
    return header


def _remove_older(files: Files, log: str, newest: int, known: Known) -> None:
    """Later ones than `newest` tell of a history that this log does not have: they count for nothing, and stay to be looked at."""
    found = (_NAME.match(name) for name in reversed(files.list(directory(log))))
    seqs = [int(match[1]) for match in found if match and int(match[1]) <= newest]
    if len(seqs) <= KEPT:  # none of them can go, so nothing hangs on whether they are sound
        return
    sound = 0
    for seq in seqs:
        if sound >= KEPT:
            files.unlink(path_of(log, seq))
            known.forget(log, seq)
            continue
        with suppress(BadSnapshot):
            known.check(files, log, seq)
            sound += 1


def _remove_unfinished(files: Files, log: str) -> None:
    for name in files.list(directory(log)):
        if name.endswith(".tmp"):
            with suppress(FileNotFoundError):
                files.unlink(f"{directory(log)}/{name}")


# --- reading ----------------------------------------------------------------------------------------------------------------


def listed(files: Files, log: str) -> Listing:
    """What snapshots there are. Reads only their headers; a bad one is reported and hides no other."""
    headers: list[Header] = []
    bad: list[Skipped] = []
    try:
        names = files.list(directory(log)) if files.stat_path(directory(log)) is not None else []
    except OSError as error:
        return Listing([], [Skipped(directory(log), os.strerror(error.errno or 0))])
    for name in reversed(names):
        match = _NAME.match(name)
        if match is None:
            continue
        try:
            with _opened(files, log, int(match[1])) as (header, _, _):
                headers.append(header)
        except BadSnapshot as problem:
            bad.append(Skipped(name, problem.why))
    return Listing(headers, bad)


def read(files: Files, log: str, seq: int) -> tuple[Header, bytes]:
    """One snapshot whole, every byte accounted for; raises BadSnapshot."""
    with _opened(files, log, seq) as (header, fd, start):
        body = read_at(files, fd, start, header.bytes)
    if sha256(body).hexdigest() != header.sha256:
        raise BadSnapshot("the body does not match its digest")
    return header, body


def restore(
    files: Files, log: str, schema: str, tip_at: Callable[[int], str | None], load: Callable[[Header, bytes], None]
) -> Restored:
    """Load the newest snapshot of this shape and this history.

    `tip_at` gives the `event_hash` of a record of the log, None where there is no such record. `load` raises BadDump for a body
    that it cannot take, and has then changed nothing.
    """
    headers, skipped = listed(files, log)
    for header in headers:
        try:
            _same_history(header, schema, tip_at(header.seq))
            load(*read(files, log, header.seq))
        except BadSnapshot as problem:
            skipped.append(Skipped(name_of(header.seq), problem.why))
        except BadDump as problem:
            skipped.append(Skipped(name_of(header.seq), f"the body cannot be loaded: {problem}"))
        else:
            return Restored(header, skipped)
    return Restored(None, skipped)


def _same_history(header: Header, schema: str, tip: str | None) -> None:
    if header.schema != schema:
        raise BadSnapshot("another version made it")
    if tip is None:
        raise BadSnapshot(f"the log has no record {header.seq}")
    if header.tip != tip:
        raise BadSnapshot(f"record {header.seq} of the log is another one")


@contextmanager
def _opened(files: Files, log: str, seq: int) -> Iterator[tuple[Header, int, int]]:
    """A snapshot's header, and where its body starts in which file. What cannot be read is a bad snapshot."""
    try:
        fd = files.open(path_of(log, seq), os.O_RDONLY)
        try:
            header, start = _header(files, fd)
            if (header.log, header.seq, header.size) != (log, seq, seq + 1):
                raise BadSnapshot(f"says it is of {header.log} up to record {header.seq}")
            yield header, fd, start
        finally:
            files.close(fd)
    except OSError as error:
        raise BadSnapshot(f"cannot be read: {os.strerror(error.errno or 0)}") from error


def _header(files: Files, fd: int) -> tuple[Header, int]:
    first = read_at(files, fd, 0, HEADER_BYTES_MAX)
    start = first.find(b"\n") + 1
    try:
        header = msgspec.convert(decode(unsealed(first[:start])), Header, strict=True)
    except (BadLine, CanonicalError, msgspec.ValidationError):
        raise BadSnapshot("the header is damaged") from None
    size = files.stat(fd).size
    if size != start + header.bytes:
        raise BadSnapshot(f"has {size:,} bytes, not {start + header.bytes:,}")
    return header, start
