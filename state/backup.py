"""What goes into a backup: every log up to one durable instant, and what else a state directory cannot be made again without.

Where each log ends is noted in memory, between two groups of the writer. Everything else is read later, piece by piece, while the
daemon goes on: files that only grow are read up to the noted end, through descriptors that a rotation does not close. Each closed
file is compared with its digest on the way, so that no rot is carried away unseen.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b, sha256
from typing import NamedTuple

import msgspec

from core.canonical import encode
from state import snapshot
from state.fs import Files, read_at
from state.ledger import KEYS, LEDGER
from state.log import Head, Log, Shared, head_path
from state.scan import Position
from state.seal import sealed_line
from state.segment import Closed, Corrupt, active_path, closed_path
from state.tree import Edge

PIECE_BYTES = 65_536
MANIFEST = "manifest.json"
FILES = "files.sha256"
"""In a backup: every other file of it but the manifest, in the form that `sha256sum -c` reads."""
BLOBS = "blobs"
RUNS = ("configs", "data", "provenance")
"""What the runs of a field leave behind: their files are named by the log, and cannot be made again from it."""

_LOG = "[a-z][a-z0-9_]{0,63}"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SHAPES = re.compile(
    rf"ledger\.json|({_LOG})(?:\.[0-9]{{16}})?\.jsonl|log\.d/({_LOG})/(?:head|snap/[0-9]{{16}}\.snap)"
    r"|blobs/([0-9a-f]{2})/\3[0-9a-f]{62}|keys/[a-z][a-z0-9_]{0,63}"
    rf"|configs/config_{_UUID}\.json|data/run_{_UUID}\.h5|provenance/provenance_{_UUID}\.json"
)
"""Every name that a backup may have; no other is ever written. None leads out of the directory."""
_PART = re.compile("[0-9a-f]{2}")


def known(name: str) -> bool:
    """Whether a file of a state directory that is worth keeping can have this name."""
    return _SHAPES.fullmatch(name) is not None


def key_check(key: bytes) -> str:
    """Tells whether a key is the one a backup was made under, and nothing about it."""
    return blake2b(b"irer/backup/1", digest_size=16, key=key).hexdigest()


class End(NamedTuple):
    """Where a log ended on disk at one instant. `active` is borrowed, and whoever has this gives it back."""

    closed: tuple[Closed, ...]
    segment: int
    position: Position
    edge: Edge
    active: Shared


def end_of(log: Log) -> End:
    """Between two groups, when nothing changes the log. Looks at no file."""
    view = log.view
    if not view.active.borrow():
        raise RuntimeError(f"{log.name} is closed")
    return End(view.closed, view.segment, log.durable, log.durable_edge, view.active)


class Piece(NamedTuple):
    name: str
    offset: int
    data: bytes


class _Source(NamedTuple):
    """One file that is to be read: its name in the backup, its length, and where its bytes are."""

    name: str
    size: int
    read: Callable[[int, int], bytes]
    check: Callable[[str, bytes], str | None]
    """Of its SHA-256 and its last bytes, why they are not what they were."""
    may_go: bool = False
    """Whether it may be deleted before it is read; then nothing needs it."""


def _anything(digest: str, last: bytes) -> None:
    return None


class Listing:
    """The files of a backup as they come: how many, how long, and the digest of the list that names them all."""

    def __init__(self) -> None:
        self.files = 0
        self.bytes = 0
        self._digest = sha256()

    def add(self, name: str, size: int, digest: str) -> None:
        self.files += 1
        self.bytes += size
        self._digest.update(list_line(name, digest))

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def list_line(name: str, digest: str) -> bytes:
    return f"{digest}  {name}\n".encode()


def _named_by_content(path: str) -> Callable[[str, bytes], str | None]:
    name = path.rpartition("/")[2]
    return lambda digest, _: None if digest == name else f"{path} is not what its name says"


class Backup:
    """One backup: `open` it at once, take `pieces` at leisure, ask for what was sent, `close` it. All of it blocks."""

    def __init__(self, files: Files, ends: Mapping[str, End], *, keys: bool) -> None:
        self._files = files
        self.ends = ends
        self._keys = keys
        self._sources: list[_Source] = []
        self._held: dict[str, int] = {}
        """Descriptors of files that may be deleted meanwhile."""
        self._open: tuple[str, int] | None = None
        self._closed = False
        self.sent = Listing()

    @property
    def total(self) -> int:
        return sum(source.size for source in self._sources)

    def open(self) -> None:
        """Find and hold all that is not in the logs. Until it returns, no snapshot may be deleted, and until `close` no segment."""
        self._add(LEDGER)
        for name, end in sorted(self.ends.items()):
            self._add_log(name, end)
        for path in self._blobs():
            self._add_named(path, _named_by_content(path))
        for place in RUNS:
            for each in self._files.list(place) if self._files.stat_path(place) is not None else ():
                if known(path := f"{place}/{each}"):
                    self._add_named(path, _anything)
        for each in self._files.list(KEYS) if self._keys else ():
            if known(f"{KEYS}/{each}"):
                self._add(f"{KEYS}/{each}")

    def _blobs(self) -> Iterator[str]:
        if self._files.stat_path(BLOBS) is None:
            return
        for part in [part for part in self._files.list(BLOBS) if _PART.fullmatch(part)]:
            yield from (path for each in self._files.list(f"{BLOBS}/{part}") if known(path := f"{BLOBS}/{part}/{each}"))

    def _add_named(self, path: str, check: Callable[[str, bytes], str | None]) -> None:
        """Too many to hold them all. One that a record names stays; and those of all records up to the end are here by now."""
        if (stat := self._files.stat_path(path)) is not None:
            self._sources.append(
                _Source(path, stat.size, lambda offset, size: self._read_closed(path, offset, size), check, may_go=True)
            )

    def _add_log(self, name: str, end: End) -> None:
        for closed in end.closed:
            self._add_closed(name, closed)
        tip = end.position.tip.encode()
        self._sources.append(
            _Source(
                active_path(name),
                end.position.offset,
                lambda offset, size: read_at(self._files, end.active.fd, offset, size),
                lambda _, last: None if last[-67:-3] == tip else f"record {end.position.seq - 1} is not what was sealed",
            )
        )
        for header in snapshot.listed(self._files, name).headers:
            if header.seq < end.position.seq:
                self._add(snapshot.path_of(name, header.seq))
        self._add_bytes(head_path(name), head_of_end(name, end))

    def _add_closed(self, name: str, closed: Closed) -> None:
        path = closed_path(name, closed.first_seq)
        self._sources.append(
            _Source(
                path,
                closed.bytes,
                lambda offset, size: self._read_closed(path, offset, size),
                lambda digest, _: None if digest == closed.sha256 else f"{path} is not the file that was closed",
            )
        )

    def _add(self, path: str) -> None:
        """A file that may be replaced or deleted meanwhile: what it is now is what is kept."""
        fd = self._held[path] = self._files.open(path, os.O_RDONLY)
        self._sources.append(
            _Source(path, self._files.stat(fd).size, lambda offset, size: read_at(self._files, fd, offset, size), _anything)
        )

    def _add_bytes(self, name: str, data: bytes) -> None:
        self._sources.append(_Source(name, len(data), lambda offset, size: data[offset : offset + size], _anything))

    def _read_closed(self, path: str, offset: int, size: int) -> bytes:
        """One such file is open at a time: there may be thousands."""
        if self._open is None or self._open[0] != path:
            self._let_go()
            self._open = (path, self._files.open(path, os.O_RDONLY))
        return read_at(self._files, self._open[1], offset, size)

    def _let_go(self) -> None:
        if self._open is not None:
            fd, self._open = self._open[1], None
            self._files.close(fd)

    def pieces(self) -> Iterator[Piece]:
        """Every file, in order, at most 64 KiB at a time. Raises Corrupt where one is not what it was."""
        for source in self._sources:
            yield from self._pieces_of(source)

    def _pieces_of(self, source: _Source) -> Iterator[Piece]:
        digest, data = sha256(), b""
        for offset in range(0, source.size or 1, PIECE_BYTES):
            count = min(PIECE_BYTES, source.size - offset)
            try:
                data = source.read(offset, count)
            except FileNotFoundError:
                if source.may_go and not offset:
                    return
                raise
            if len(data) != count:
                raise _changed(source.name, "is shorter than it was")
            digest.update(data)
            yield Piece(source.name, offset, data)
        if (why := source.check(digest.hexdigest(), data)) is not None:
            raise _changed(source.name, why)
        self.sent.add(source.name, source.size, digest.hexdigest())

    def close(self) -> None:
        self._let_go()
        while self._held:
            self._files.close(self._held.popitem()[1])
        if not self._closed:
            self._closed = True
            for end in self.ends.values():
                end.active.release()


def _changed(name: str, why: str) -> Corrupt:
    return Corrupt(log_of(name) or name, 0, 0, why, name)


def head_of_end(name: str, end: End) -> bytes:
    at = end.position
    head = Head(at.batch - 1, name, at.offset, end.segment, at.seq - 1, at.tip)
    return sealed_line(encode(msgspec.structs.asdict(head)))


def log_of(name: str) -> str | None:
    """The log that a file of a backup belongs to; None for what belongs to all."""
    match = _SHAPES.fullmatch(name)
    return (match[1] or match[2]) if match else None
