"""The files of one log: the active segment, the closed ones before it, and how each names the one it follows.

A segment begins with a record of its own: `log.genesis` in the first, `log.segment` in every other, which says by length and
hash which file came before. So a file that is missing, renamed, older or of another length shows before a record is read. What
does not fit is told, never repaired.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from core.canonical import CanonicalError, decode, encode
from state.fs import Files, read_at
from state.ledger import NewerFormat
from state.scan import BLOCK_BYTES, START, Position
from state.seal import ALIGN, INTEGER_MAX, LINE_BYTES_MAX, BadLine, Record, parse

FORMAT = "irer-log/1"
IRER = "irer"
GENESIS, SEGMENT = "log.genesis", "log.segment"
OPENINGS = frozenset({GENESIS, SEGMENT})
FORK = "log.fork"
_OPENING_BYTES = 4_096
_HASH_DIGITS = 64
_HASH_FROM_END = _HASH_DIGITS + len('"}\n')
_COMPARED_BYTES = 1_048_576


Column = Literal["chain", "form", "tree"]


class Corrupt(Exception):
    """A log is not what was acknowledged. The batches before `offset` are sound; nothing was changed."""

    def __init__(self, log: str, offset: int, seq: int, why: str, file: str | None = None, column: Column = "chain") -> None:
        super().__init__(f"{log}: record {seq} at byte {offset:,} of {file or active_path(log)}: {why}")
        self.log = log
        self.offset = offset
        self.seq = seq
        self.why = why
        self.file = file or active_path(log)
        self.column = column
        """What of the log does not hold."""


class Pruned(Corrupt):
    """Nobody gets these records here any more: they were pruned. `first_seq` is the first that is kept."""

    def __init__(self, log: str, seq: int, first_seq: int) -> None:
        super().__init__(log, 0, seq, f"pruned; the first record kept is {first_seq}")
        self.first_seq = first_seq


class Closed(NamedTuple):
    """A closed segment as the one after it names it, and when that one began."""

    first_seq: int
    last_seq: int
    bytes: int
    event_hash: str
    """Of its last record."""
    sha256: str
    closed_us: int


class Opening(NamedTuple):
    """What the first record of a segment says."""

    start: Position
    """Before that record."""
    origin: str
    previous: Closed | None
    root: str
    """Of the tree over all records before; empty in a genesis."""
    time_us: int
    sole: bool
    """Whether it is its batch, as it must be."""


class Segment(NamedTuple):
    """One file of the log, in its place."""

    path: str
    opening: Opening
    size: int
    last_hash: str
    """What stands at its end where the `event_hash` of its last record should."""
    closed: Closed | None = None
    """What the next one says of it; None in the last."""

    @property
    def first_seq(self) -> int:
        return self.opening.start.seq


class Broken(NamedTuple):
    """The first file that does not fit behind those before it."""

    path: str
    seq: int | None
    why: str
    segment: Segment | None = None
    """The file itself, where it is known what it should be: a closed one that is not what the next one says."""


class Layout(NamedTuple):
    """The files of a log that fit together, oldest first, and what breaks the row."""

    name: str
    segments: tuple[Segment, ...]
    broken: Broken | None
    origin: str | None = None
    """What ledger.json calls the log: the origin in force at its end. None where nobody says."""

    @property
    def first_seq(self) -> int:
        """The first record there is; above 0 once older ones were pruned."""
        return self.segments[0].first_seq if self.segments else 0

    @property
    def before(self) -> Closed | None:
        """What came before the first file: None, unless it was pruned or is missing."""
        return self.segments[0].opening.previous if self.segments else None

    def holding(self, seq: int) -> int | None:
        """Which of them holds this record, or will."""
        places = [place for place, segment in enumerate(self.segments) if segment.first_seq <= seq]
        return places[-1] if places else None


# --- names ------------------------------------------------------------------------------------------------------------------


def active_path(name: str) -> str:
    return f"{name}.jsonl"


def next_path(name: str) -> str:
    return f"{name}.next"


def closed_path(name: str, first_seq: int) -> str:
    return f"{name}.{first_seq:016d}.jsonl"


def closed_firsts(files: Files, name: str) -> list[int]:
    """The first seq of each closed segment there is, by the names of the files."""
    pattern = re.compile(rf"{name}\.([0-9]{{16}})\.jsonl")
    return sorted(int(match[1]) for entry in files.list(".") if (match := pattern.fullmatch(entry)))


# --- the first record of a segment ------------------------------------------------------------------------------------------


def genesis(name: str, origin: str) -> bytes:
    """The payload of the first record of a log."""
    return encode({"align": ALIGN, "format": FORMAT, "hash": "sha-256", "log": name, "origin": origin, "previous": None})


def continuation(name: str, origin: str, previous: Closed, root: str) -> bytes:
    """The payload of the first record of any later segment."""
    return encode(
        {
            "align": ALIGN,
            "format": FORMAT,
            "hash": "sha-256",
            "log": name,
            "origin": origin,
            "previous": {
                "bytes": previous.bytes,
                "event_hash": previous.event_hash,
                "first_seq": previous.first_seq,
                "last_seq": previous.last_seq,
                "name": closed_path(name, previous.first_seq),
                "sha256": previous.sha256,
            },
            "tree": {"root": root, "size": previous.last_seq + 1},
        }
    )


def opening_of(name: str, record: Record) -> Opening:
    """Read the first record of a segment; raises BadLine, or NewerFormat."""
    try:
        payload: Any = decode(record.payload)
    except CanonicalError:
        raise BadLine(f"the payload of {record.event_type} is not canonical") from None
    if record.event_type not in OPENINGS:
        raise BadLine("the first batch is damaged: it does not begin a segment")
    if payload.get("format") != FORMAT:
        raise NewerFormat(f"{name} has format {payload.get('format')}; this version reads {FORMAT}. Nothing was changed")
    origin = str(payload.get("origin"))
    previous, root = (None, "") if record.event_type == GENESIS else _previous(payload, record.time_us)
    expected = genesis(name, origin) if previous is None else continuation(name, origin, previous, root)
    if record.payload != expected or (previous is None) != (record.seq == 0) or not _names(origin, name):
        raise BadLine(f"it does not begin as {name}")
    if previous is not None and (previous.last_seq + 1, previous.event_hash) != (record.seq, record.parent_hash):
        raise BadLine("it names another end of the segment before it than its own parent_hash and seq")
    start = Position(0, record.seq, record.commit[0], record.parent_hash)
    return Opening(start, origin, previous, root, record.time_us, record.commit[1:] == (0, 1))


class _Previous(msgspec.Struct):
    bytes: int
    event_hash: str
    first_seq: int
    last_seq: int
    sha256: str


class _Tree(msgspec.Struct):
    root: str


def _previous(payload: dict[str, Any], time_us: int) -> tuple[Closed, str]:
    try:
        found = msgspec.convert(payload["previous"], _Previous, strict=True)
        root = msgspec.convert(payload["tree"], _Tree, strict=True).root
    except (KeyError, msgspec.ValidationError):
        raise BadLine("it does not say what came before") from None
    return Closed(found.first_seq, found.last_seq, found.bytes, found.event_hash, found.sha256, time_us), root


# --- the origin in force ----------------------------------------------------------------------------------------------------


class Fork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From this record on the log has another identity: others may go on from the same beginning."""

    new_origin: str
    old_origin: str
    sealed_root: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    sealed_size: Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
    """Records that both histories share, and the root of the tree over them."""


def fork_of(name: str, record: Record) -> Fork:
    """What a `log.fork` says; raises BadLine."""
    try:
        fork = msgspec.json.decode(record.payload, type=Fork, strict=True)
    except msgspec.MsgspecError:
        raise BadLine("a log.fork that does not say from which origin to which") from None
    if not _names(fork.new_origin, name):
        raise BadLine(f"a log.fork to {fork.new_origin}, which is no origin of {name}")
    return fork


def origin_after(name: str, origin: str, record: Record) -> str:
    """The origin in force behind this record; raises BadLine for a `log.fork` from another than there was."""
    if record.event_type != FORK:
        return origin
    fork = fork_of(name, record)
    if fork.old_origin != origin:
        raise BadLine(f"a log.fork from {fork.old_origin}, and the origin is {origin}")
    return fork.new_origin


def _names(origin: str, name: str) -> bool:
    return origin.endswith(f"/{name}")


def _leads_to(files: Files, name: str, segment: Segment, origin: str) -> bool:
    """Whether forks in this file may lead to that origin. A quick look, and only where the two differ: the walk judges each, and
    of a torn tail none."""
    now = segment.opening.origin
    if now == origin:
        return True
    with suppress(BadLine):
        for record in quick_look(files, segment.path, segment.size, FORK):
            now = origin_after(name, now, record)
            if now == origin:
                return True
    return False


def quick_look(files: Files, path: str, size: int, event_type: str) -> Iterator[Record]:
    """The records of one type in a file whose own hash holds; walking the chain is another's work. EIO: none."""
    member = f'"event_type":"{event_type}"'.encode()
    fd = files.open(path, os.O_RDONLY)
    try:
        rest = b""
        for start in range(0, size, BLOCK_BYTES):
            block = rest + read_at(files, fd, start, min(BLOCK_BYTES, size - start))
            cut = block.rfind(b"\n") + 1
            whole, rest = block[:cut], block[cut:]
            if member in whole:
                for line in whole.split(b"\n"):
                    if member in line and (record := _intact(line + b"\n")) is not None and record.event_type == event_type:
                        yield record
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    finally:
        files.close(fd)


def _intact(line: bytes) -> Record | None:
    try:
        return parse(line)
    except BadLine:
        return None


# --- all files together -----------------------------------------------------------------------------------------------------


def survey(files: Files, name: str, origin: str | None = None) -> Layout:
    """Look at the names, lengths and first records of all files of a log. Raises NewerFormat."""
    firsts = closed_firsts(files, name)
    if firsts and _is_twin(files, name, firsts[-1]):
        firsts.pop()
    row: list[Segment] = []
    for path, first in [(closed_path(name, first), first) for first in firsts] + [(active_path(name), None)]:
        try:
            segment = _look(files, name, path)
        except FileNotFoundError:
            return Layout(name, tuple(row), Broken(path, None, f"{path} is missing"), origin)
        except BadLine as bad:
            return Layout(name, tuple(row), Broken(path, first, bad.why), origin)
        if misfit := _misfit(name, row[-1] if row else None, segment, first):
            return Layout(name, tuple(row), misfit, origin)
        if row:
            row[-1] = row[-1]._replace(closed=segment.opening.previous)
            if why := _false_end(row[-1]):  # not one record of it can be believed: it may be of another log
                false = row.pop()
                return Layout(name, tuple(row), Broken(false.path, false.first_seq, f"{false.path} {why}", false), origin)
            if not _leads_to(files, name, row[-1], segment.opening.origin):
                other = Broken(path, segment.first_seq, f"has another origin than {row[-1].path}, and no log.fork leads to it")
                return Layout(name, tuple(row), other, origin)
        row.append(segment)
    if origin is not None and not _leads_to(files, name, row[-1], origin):
        why = f"belongs to another ledger: its origin is {row[-1].opening.origin}"
        return Layout(name, (), Broken(row[0].path, row[0].first_seq, why), origin)
    return Layout(name, tuple(row), None, origin)


def _look(files: Files, name: str, path: str) -> Segment:
    fd = files.open(path, os.O_RDONLY)
    try:
        size = files.stat(fd).size
        last_hash = read_at(files, fd, max(0, size - _HASH_FROM_END), _HASH_DIGITS).decode("ascii", "replace")
        return Segment(path, opening_of(name, first_record(files, fd)), size, last_hash)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise BadLine("cannot be read at byte 0") from error
    finally:
        files.close(fd)


def first_record(files: Files, fd: int) -> Record:
    """Raises BadLine where the file does not begin with a whole record."""
    data = read_at(files, fd, 0, _OPENING_BYTES)
    if b"\n" not in data:
        data = read_at(files, fd, 0, LINE_BYTES_MAX)
    if not data:
        raise BadLine("the file is empty")
    line, newline, _ = data.partition(b"\n")
    try:
        return parse(line + newline)
    except BadLine as bad:
        raise BadLine(f"the first batch is damaged: {bad.why}") from None


def _misfit(name: str, before: Segment | None, segment: Segment, first: int | None) -> Broken | None:
    """Why this file cannot stand behind that one."""
    path, opening = segment.path, segment.opening
    previous = opening.previous
    if first is not None and segment.first_seq != first:
        return Broken(path, first, f"{path} begins with record {segment.first_seq}")
    if not opening.sole or (previous is None and opening.start != START):
        return Broken(path, segment.first_seq, "the first batch is damaged: it is more than its opening record")
    if before is None:
        return None
    if previous is None:
        return Broken(path, segment.first_seq, f"{path} begins anew, and there is {before.path}")
    if previous.first_seq > before.first_seq:
        missing = closed_path(name, previous.first_seq)
        return Broken(missing, previous.first_seq, f"{missing} is missing")
    if previous.first_seq < before.first_seq:
        return Broken(path, segment.first_seq, f"{path} does not follow {before.path}")
    return None


def _false_end(segment: Segment) -> str | None:
    """Why a closed file is not the one that the next names; without reading what stands between."""
    closed = segment.closed
    assert closed is not None
    if segment.size != closed.bytes:
        return f"has {segment.size:,} bytes; it was closed with {closed.bytes:,}"
    if segment.last_hash != closed.event_hash:
        return "does not end with the record it was closed with"
    return None


def _is_twin(files: Files, name: str, first: int) -> bool:
    """Whether this closed file is the active one under its second name: a rotation that has not happened yet."""
    return twin(files, name) == first and same_file(files, active_path(name), closed_path(name, first))


def twin(files: Files, name: str) -> int | None:
    """The first seq of the active segment, where the newest closed one has the same."""
    try:
        fd = files.open(active_path(name), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        first = first_record(files, fd).seq
    except BadLine:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
    finally:
        files.close(fd)
    return first if closed_firsts(files, name)[-1:] == [first] else None


def same_file(files: Files, one: str, other: str) -> bool:
    """Whether two names stand for one file, or for two with the same bytes. One that cannot be read is no such file."""
    stats = files.stat_path(one), files.stat_path(other)
    if stats[0] is None or stats[1] is None or stats[0].size != stats[1].size:
        return False
    if stats[0].inode == stats[1].inode:
        return True
    fds = [files.open(path, os.O_RDONLY) for path in (one, other)]
    try:
        return all(
            read_at(files, fds[0], start, _COMPARED_BYTES) == read_at(files, fds[1], start, _COMPARED_BYTES)
            for start in range(0, stats[0].size, _COMPARED_BYTES)
        )
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    finally:
        for fd in fds:
            files.close(fd)
