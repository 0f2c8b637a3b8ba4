"""Closing a segment: the steps on the disk, in the one order in which a crash at any moment loses nothing.

The new file is durable before it gets its name, the old one has its second name durably before it loses the first. Whatever
fails before the old file is touched leaves it as it was, and it goes on; a sync that fails is final, as everywhere.
"""

import errno
import os
from contextlib import suppress
from typing import NamedTuple

from state.fs import NO_SPACE, Files, NoSpace, write_all
from state.room import claim
from state.segment import active_path, next_path

READ_ONLY = 0o400
_NOTHING_DONE = NO_SPACE | {
    errno.EACCES,
    errno.EEXIST,
    errno.EMFILE,
    errno.EMLINK,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EOPNOTSUPP,
    errno.EPERM,
}
"""What a file system answers that has refused, and changed nothing. One that has become read-only is a failed write."""


class RotationFailed(Exception):
    """No new segment could be begun. The old one goes on, and it may be tried again. `why` is what the system said."""

    def __init__(self, text: str, why: str = "") -> None:
        super().__init__(text)
        self.why = why


class Limits(NamedTuple):
    """What closes a segment, whichever comes first."""

    bytes: int
    records: int
    age_us: int


LIMITS = Limits(bytes=16 << 20, records=100_000, age_us=24 * 3_600_000_000)


def turn(files: Files, name: str, opening: bytes, closed: str, held: int) -> int:
    """Give the active segment its closed name and put a new one in its place. The new one's descriptor, durable and named.

    It has room for `held` bytes before the old one gives its own up: so a log that holds room always does. Raises RotationFailed;
    any OSError is final.
    """
    fd = _new_file(files, next_path(name), opening, held)
    try:
        _refusable(files, name, closed, fd)
        files.fsync_dir(".")
    except BaseException:
        files.close(fd)
        raise
    return fd


def _new_file(files: Files, path: str, data: bytes, held: int) -> int:
    """Durable under its temporary name. Until then nothing else was touched."""
    try:
        if files.stat_path(path) is not None:
            files.unlink(path)
        fd = files.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        if held > len(data) and claim(files, fd, 0, held) == "none":
            raise NoSpace(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(files, fd, data)
        files.fsync(fd)
    except BaseException as error:
        files.close(fd)
        if isinstance(error, OSError) and error.errno in _NOTHING_DONE:
            _forget(files, path)
            raise _refused(path, error) from error
        raise
    return fd


def _refused(path: str, error: OSError) -> Exception:
    """A refusal, unless the disk is broken."""
    if error.errno in _NOTHING_DONE:
        return RotationFailed(path, os.strerror(error.errno or 0))
    return error


def _refusable(files: Files, name: str, closed: str, fd: int) -> None:
    """The second name, durable, then the exchange: each may be refused, and then the old file keeps both names for a while."""
    try:
        _link(files, active_path(name), closed)
    except OSError as error:
        if error.errno not in _NOTHING_DONE:
            raise
        _forget(files, next_path(name))
        raise _refused(closed, error) from error
    files.fsync_dir(".")
    try:
        files.rename(next_path(name), active_path(name))
    except OSError as error:
        if error.errno not in _NOTHING_DONE:
            raise
        _forget(files, closed)
        _forget(files, next_path(name))
        raise _refused(closed, error) from error


def _link(files: Files, active: str, closed: str) -> None:
    """It may be there already, from an attempt whose exchange was refused."""
    there, here = files.stat_path(closed), files.stat_path(active)
    if there is None or here is None or there.inode != here.inode:
        files.link(active, closed)


def _forget(files: Files, path: str) -> None:
    """Take a name back. If it stays, the next attempt or the next start deals with it."""
    with suppress(OSError):
        files.unlink(path)


def finish(files: Files, closed: str, fd: int, size: int) -> None:
    """What makes a closed file tidy and nothing depends on: room claimed past its end goes back, and nobody may write to it."""
    with suppress(OSError):
        files.truncate(fd, size)
    with suppress(OSError):
        files.chmod(closed, READ_ONLY)
