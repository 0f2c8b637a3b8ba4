"""Values too large for a record, each in a file of its own, named by the SHA-256 of its bytes.

A blob is durable before the record that names it, so a crash in between leaves one that nothing names: it goes a day later. What is
read back is hashed again; a blob that is not what its name says is refused, never handed out.
"""

import errno
from collections.abc import Collection, Iterator
from hashlib import sha256
from threading import Lock

import msgspec

from core.canonical import CanonicalError, decode, encode
from state.fs import NO_SPACE, Files, make_directory, read_all, small_write
from state.log import Full, SyncFailed, durable

DIRECTORY = "blobs"
UNNAMED = f"{DIRECTORY}/unnamed.json"
"""Since when each blob is known to be named by nothing, in µs of wall time."""
GRACE_US = 24 * 3_600_000_000
ROOM_BYTES_MIN = 67_108_864
"""Bytes that stay free after a blob: logs come first."""
TEMPORARY = ".tmp"


class BadBlob(Exception):
    """A blob that is missing or is not what its name says."""


def path_of(name: str) -> str:
    return f"{DIRECTORY}/{name[:2]}/{name}"


class Blobs:
    """Used from several threads at once."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = Lock()
        self._kept: set[str] = set()
        """Those kept since the last sweep began: it was told nothing of what names them."""
        self._recent: set[str] = set()
        """Those kept before it, since the one before: their day begins anew."""
        self._failed = False

    def keep(self, raw: bytes) -> str:
        """Store these bytes durably and say how they are called. They stay for a day, named or not.

        Raises Full, and then nothing was stored; SyncFailed, after which nothing is stored any more.
        """
        name = sha256(raw).hexdigest()
        with self._lock:
            if self._failed:
                raise SyncFailed("an earlier blob could not be made durable")
            if self._files.free() < len(raw) + ROOM_BYTES_MIN:
                raise Full("the disk has no room for a large value")
            self._kept.add(name)
            try:
                self._write(path_of(name), raw)
            except BaseException as error:
                self._failed = not isinstance(error, Full)
                raise
        return name

    def _write(self, path: str, raw: bytes) -> None:
        """Always anew: that a file is there already says nothing of whether its name or its bytes are on the medium."""
        with durable(DIRECTORY):
            make_directory(self._files, DIRECTORY)
            make_directory(self._files, path.rpartition("/")[0])
            try:
                small_write(self._files, path, raw)
            except OSError as error:
                if error.errno in NO_SPACE:
                    self._remove(path + TEMPORARY)
                raise

    def read(self, name: str) -> bytes:
        """Raises BadBlob."""
        try:
            raw = read_all(self._files, path_of(name))
        except OSError as error:
            raise BadBlob(f"{path_of(name)} cannot be read ({errno.errorcode.get(error.errno or 0, 'an error')})") from None
        if raw is None:
            raise BadBlob(f"{path_of(name)} is missing")
        if sha256(raw).hexdigest() != name:
            raise BadBlob(f"{path_of(name)} is not what it was: its SHA-256 is another")
        return raw

    # --- letting go -------------------------------------------------------------------------------------------------

    def begin_sweep(self) -> None:
        """From here on what is kept is remembered. Then ask what is named, then `sweep`."""
        with self._lock:
            self._recent, self._kept = self._kept, set()

    def sweep(self, named: Collection[str], now_us: int) -> int:
        """Delete what nothing has named for a day; gives how many that were. `named` was true at some time since `begin_sweep`."""
        if self._files.stat_path(DIRECTORY) is None:
            return 0
        since = self._since()
        unnamed: dict[str, int] = {}
        gone = 0
        for name in self._names():
            if name in named:
                continue
            seen_us = now_us if name in self._recent else min(since.get(name, now_us), now_us)
            if now_us - seen_us >= GRACE_US and self._drop(name):
                gone += 1
            else:
                unnamed[name] = seen_us
        if unnamed != since:
            with durable(DIRECTORY):
                small_write(self._files, UNNAMED, encode(unnamed))
        return gone

    def _since(self) -> dict[str, int]:
        """What cannot be read only makes things stay longer."""
        raw = read_all(self._files, UNNAMED)
        try:
            return msgspec.convert(decode(raw), dict[str, int], strict=True) if raw is not None else {}
        except (CanonicalError, msgspec.ValidationError):
            return {}

    def _names(self) -> Iterator[str]:
        for directory in self._files.list(DIRECTORY):
            if len(directory) != 2:
                continue
            for name in self._files.list(f"{DIRECTORY}/{directory}"):
                if len(name) == 64 and name.startswith(directory):
                    yield name
                elif name.endswith(TEMPORARY):
                    with self._lock:  # nobody is writing it now
                        self._remove(f"{DIRECTORY}/{directory}/{name}")

    def _drop(self, name: str) -> bool:
        with self._lock:
            if name in self._kept:
                return False
            self._remove(path_of(name))
            return True

    def _remove(self, path: str) -> None:
        if self._files.stat_path(path) is not None:
            self._files.unlink(path)
