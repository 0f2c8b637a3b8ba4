"""The only module that touches files, so that a simulated disk can stand in for the real one.

Every call blocks: the daemon makes them away from its loop. Paths are relative to one root, whose descriptor is held from the
start; they come from code alone, never from a caller. Nothing here retries, hides an error, or decides what it means.
"""

import ctypes
import errno
import fcntl
import os
import resource
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from state.begun import Begun, begin

_FALLOC_FL_KEEP_SIZE = 1
_SYNC_FILE_RANGE_WRITE = 2
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_OFFERED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class Stat(NamedTuple):
    size: int
    inode: int
    mode: int
    """Type and permissions, as `os.stat` gives them."""


class NoSpace(OSError):
    """The disk, the quota or the size limit leaves no room."""


class Files(Protocol):
    """What durable code may ask of a file system. `.` is the root directory."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int: ...

    def close(self, fd: int) -> None: ...

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """How many bytes were taken; it may be fewer than given."""
        ...

    def pread(self, fd: int, size: int, offset: int) -> bytes: ...

    def begin_sync(self, fd: int) -> None:
        """Let what was written set out for the medium. Nothing is durable before a sync says so, and that tells what went wrong."""
        ...

    def bell(self, fd: int) -> int | None:
        """A descriptor that can be read once the sync that was begun has ended, so that the next one is not waited for. None where
        there is none to tell.
        """
        ...

    def fdatasync(self, fd: int) -> None: ...

    def fsync(self, fd: int) -> None: ...

    def fsync_dir(self, path: str) -> None: ...

    def link(self, source: str, target: str) -> None: ...

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def truncate(self, fd: int, size: int) -> None: ...

    def reserve(self, fd: int, offset: int, length: int) -> bool:
        """Claim room without changing the size. False where this file system cannot; raises NoSpace where there is none."""
        ...

    def free(self) -> int:
        """Bytes this process may still use."""
        ...

    def drop_cache(self, fd: int) -> None:
        """Let the next read come from the medium."""
        ...

    def stat(self, fd: int) -> Stat: ...

    def stat_path(self, path: str) -> Stat | None: ...

    def list(self, path: str) -> list[str]: ...

    def mkdir(self, path: str, mode: int = 0o700) -> None: ...

    def chmod(self, path: str, mode: int) -> None: ...

    def lock(self, fd: int) -> bool:
        """Hold the file until it is closed. False if someone else holds it."""
        ...


class RealFiles:
    """This machine's file system, below one directory that must exist."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        libc = ctypes.CDLL(None, use_errno=True)
        self._fallocate = getattr(libc, "fallocate64", None) or libc.fallocate
        self._fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        self._fallocate.restype = ctypes.c_int
        self._sync_range = getattr(libc, "sync_file_range", None)
        if self._sync_range is not None:
            self._sync_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        self._begun: dict[int, Begun] = {}
        """Syncs that are under way, by descriptor. What one of them met is told once, so whoever syncs next asks it first."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=self._root)

    def close(self, fd: int) -> None:
        with suppress(OSError):  # nobody asked
            self._end_begun(fd)
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if fd in self._begun:
            self._begun[fd].behind = True
        return os.write(fd, data)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def begin_sync(self, fd: int) -> None:
        """The data sets out here and at once. The rest is ordered, and begins when the kernel comes to it: on a busy processor only
        once this thread rests. What fails on its way is told by the sync.
        """
        if self._sync_range is not None and self._sync_range(fd, 0, 0, _SYNC_FILE_RANGE_WRITE) != 0:
            code = ctypes.get_errno()
            if code not in _NOT_OFFERED:
                raise OSError(code, os.strerror(code))
        if fd not in self._begun and (begun := begin(fd)) is not None:
            self._begun[fd] = begun

    def bell(self, fd: int) -> int | None:
        begun = self._begun.get(fd)
        return begun.bell if begun is not None and not begun.behind else None

    def fdatasync(self, fd: int) -> None:
        if not self._end_begun(fd):
            os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        self._end_begun(fd)
        os.fsync(fd)

    def _end_begun(self, fd: int) -> bool:
        """Whether a sync that was begun has ended, and has seen all that is written. Raises what it met."""
        begun = self._begun.pop(fd, None)
        if begun is None:
            return False
        begun.end()
        return not begun.behind

    def fsync_dir(self, path: str) -> None:
        if path == ".":
            os.fsync(self._root)
            return
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def link(self, source: str, target: str) -> None:
        os.link(source, target, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target, src_dir_fd=self._root, dst_dir_fd=self._root)

    def unlink(self, path: str) -> None:
        os.unlink(path, dir_fd=self._root)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def reserve(self, fd: int, offset: int, length: int) -> bool:
        size_max = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if size_max != resource.RLIM_INFINITY and offset + length > size_max:
            raise NoSpace(errno.EFBIG, os.strerror(errno.EFBIG))  # asked to keep the size, the kernel would not look
        while self._fallocate(fd, _FALLOC_FL_KEEP_SIZE, offset, length) != 0:
            code = ctypes.get_errno()
            if code == errno.EINTR:
                continue
            if code in _NOT_OFFERED:
                return False
            raise (NoSpace if code in NO_SPACE else OSError)(code, os.strerror(code))
        return True

    def free(self) -> int:
        stat = os.fstatvfs(self._root)
        return stat.f_bavail * stat.f_frsize

    def drop_cache(self, fd: int) -> None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def stat(self, fd: int) -> Stat:
        found = os.fstat(fd)
        return Stat(found.st_size, found.st_ino, found.st_mode)

    def stat_path(self, path: str) -> Stat | None:
        try:
            found = os.stat(path, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return Stat(found.st_size, found.st_ino, found.st_mode)

    def list(self, path: str) -> list[str]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        os.mkdir(path, mode, dir_fd=self._root)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode, dir_fd=self._root)

    def lock(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def owner(self, path: str) -> tuple[int, int]:
        """Uid and gid."""
        found = os.stat(path, dir_fd=self._root, follow_symlinks=False)
        return found.st_uid, found.st_gid

    def give(self, path: str, owner: tuple[int, int], leave: str) -> None:
        """Make a directory somebody else's, with all that is in it but what is called `leave`.

        Gone into by descriptors and never over a link: whose it is by then may exchange what is in it meanwhile.
        """

        def fail(error: OSError) -> None:
            raise error

        os.chown(path, *owner, dir_fd=self._root, follow_symlinks=False)
        for _, directories, names, fd in os.fwalk(path, onerror=fail, dir_fd=self._root):
            directories[:] = [name for name in directories if name != leave]
            for name in (*directories, *names):
                os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)

    def discard(self, path: str) -> None:
        """Delete a directory and all that is in it."""
        for name in self.list(path):
            each = f"{path}/{name}"
            found = self.stat_path(each)
            if found is not None and stat.S_ISDIR(found.mode):
                self.discard(each)
            else:
                self.unlink(each)
        os.rmdir(path, dir_fd=self._root)

    def shut(self) -> None:
        """Let go of the root directory."""
        os.close(self._root)


def write_all(files: Files, fd: int, data: bytes) -> None:
    """Go on after a short write with what is left."""
    left = memoryview(data)
    while left:
        taken = files.write(fd, left)
        if taken <= 0:
            raise OSError(errno.EIO, "a write took nothing")
        left = left[taken:]


def read_at(files: Files, fd: int, offset: int, size: int) -> bytes:
    """Go on after a short read; fewer bytes only at the end of the file."""
    data = files.pread(fd, size, offset)
    while data and len(data) < size:
        more = files.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def read_all(files: Files, path: str) -> bytes | None:
    """The whole of a small file, or None where there is none."""
    try:
        fd = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        parts: list[bytes] = []
        offset = 0
        while part := files.pread(fd, 1 << 20, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)
    finally:
        files.close(fd)


def directory_of(path: str) -> str:
    return path.rpartition("/")[0] or "."


def make_directory(files: Files, path: str) -> None:
    """Make one directory, durably, unless it is there. Its name may date from a run that died before syncing it."""
    if files.stat_path(path) is None:
        files.mkdir(path)
    sync_directory(files, directory_of(path))


def small_write(files: Files, path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a small file whole: temporary name, write, sync, rename, sync the directory."""
    temporary = f"{path}.tmp"
    fd = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        write_all(files, fd, data)
        files.fsync(fd)
    finally:
        files.close(fd)
    files.rename(temporary, path)
    sync_directory(files, directory_of(path))


def sync_directory(files: Files, path: str) -> None:
    """A sync that fails is never a mere lack of room, whatever it says: what the directory holds is then unknown."""
    try:
        files.fsync_dir(path)
    except OSError as error:
        raise (OSError(errno.EIO, os.strerror(errno.EIO), path) if error.errno in NO_SPACE else error) from error
