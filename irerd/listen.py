"""The Unix socket: taken from the service manager or bound by us, never stolen from a daemon that lives behind it."""

import errno
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

import trio

SO_PEERGROUPS = 59
GROUPS_BYTES_MAX = 1024
BACKLOG = 512
RECEIVE_BYTES = 65_536


class SocketTaken(Exception):
    """The path belongs to somebody: a living daemon, or something that is no socket."""


class Credentials(NamedTuple):
    """Who connected, as the kernel saw it."""

    uid: int
    gid: int
    gids: tuple[int, ...]


class SocketTransport:
    """A connected Unix socket, driven without blocking the loop."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._open = True

    async def receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue

    def send_nowait(self, data: bytes) -> int:
        try:
            return self._sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    async def wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self._sock)

    def close(self) -> None:
        if self._open:
            self._open = False
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class Listener:
    """A listening socket, with the lock that keeps a second daemon off its path."""

    def __init__(self, sock: socket.socket, path: Path | None, lock: int | None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._path = path
        self._lock = lock
        self._inode = os.stat(path).st_ino if path is not None else None

    @property
    def address(self) -> str:
        return str(self._sock.getsockname())

    async def accept(self) -> tuple[SocketTransport, Credentials | None]:
        """The next caller and who they are; None where the kernel could not say."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    await trio.sleep(0.1)  # out of descriptors: those who leave make room
                    continue
                if error.errno in (errno.ECONNABORTED, errno.EPROTO, errno.EINTR):
                    continue
                raise
            return SocketTransport(sock), credentials(sock)

    def close(self) -> None:
        """Unlink only what is ours: another daemon may have taken the path since."""
        if self._path is not None:
            try:
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)
            except FileNotFoundError:
                pass
        self._sock.close()
        if self._lock is not None:
            os.close(self._lock)


def credentials(sock: socket.socket) -> Credentials | None:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, gid = struct.unpack("iII", raw)
    except OSError:
        return None
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES_MAX)
    except OSError:
        groups = b""  # ERANGE or an old kernel: no extra groups, never more than the kernel says
    return Credentials(uid, gid, struct.unpack(f"{len(groups) // 4}I", groups))


def adopt(sock: socket.socket) -> Listener:
    """A socket that the service manager listens on for us."""
    return Listener(sock, None, None)


def bind(path: Path) -> Listener:
    """Bind under a restrictive umask in a directory of our own; take over a stale socket, refuse a living one."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SocketTaken(f"another irerd is starting or running at {path}") from None
        _clear_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o117)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
        return Listener(sock, path, lock)
    except BaseException:
        os.close(lock)
        raise


def _clear_stale(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketTaken(f"{path} exists and is not a socket. Move it away, or give another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise SocketTaken(f"{path} cannot be probed ({error.strerror}); is another daemon behind it?") from None
    raise SocketTaken(f"a daemon answers at {path}. Stop it first, or give another --socket")
