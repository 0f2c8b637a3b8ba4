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
LOOK_S = 100e-6
"""How long the next request of a quick caller is looked for."""
QUICK_IN_A_ROW = 16
ALONE_S = 500e-6
"""How long one caller is served before the loop looks at everybody else."""


class SocketTaken(Exception):
    """The path belongs to somebody: a living daemon, or something that is no socket."""


class Credentials(NamedTuple):
    """Who connected, as the kernel saw it."""

    uid: int
    gid: int
    gids: tuple[int, ...]


class Attention:
    """Which caller's next request is worth looking for, instead of sleeping until the kernel says that it is there.

    A program that asks, waits for the answer and asks again leaves the daemon idle for some 50 µs each time, and to sleep and be
    woken takes as long. Only who asked so quickly `QUICK_IN_A_ROW` times with nobody in between is looked for, `LOOK_S` at a
    time, and not on a machine with a single core, where looking would keep the caller from running.
    """

    def __init__(self, cores: int) -> None:
        self._several = cores > 1
        self._on: SocketTransport | None = None
        self._quick = 0
        self._began = 0.0
        """When the loop last looked at everybody."""

    def heard(self, transport: "SocketTransport", now: float, *, quick: bool) -> None:
        """The loop woke for this one."""
        if self._on is not transport or not quick:
            self._on = transport
            self._quick = 0
        elif self._quick < QUICK_IN_A_ROW:
            self._quick += 1
        self._began = now

    async def worth(self, transport: "SocketTransport") -> bool:
        if not self._is_on(transport):
            return False
        now = trio.current_time()
        if now - self._began < ALONE_S:
            return True
        await trio.lowlevel.checkpoint()
        self._began = now
        return self._is_on(transport)

    def _is_on(self, transport: "SocketTransport") -> bool:
        return self._on is transport and self._quick == QUICK_IN_A_ROW and self._several

    def in_vain(self) -> None:
        self._quick = 0


class SocketTransport:
    """A connected Unix socket, driven without blocking the loop."""

    def __init__(self, sock: socket.socket, attention: Attention | None = None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._open = True
        self._attention = attention if attention is not None else Attention(1)
        self._answered: float | None = None
        """When the last bytes were sent, while nothing came since."""

    async def receive(self) -> bytes:
        if self._answered is not None and await self._attention.worth(self) and (data := self._look()) is not None:
            return data
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            now, answered = trio.current_time(), self._answered
            self._attention.heard(self, now, quick=answered is not None and now - answered < LOOK_S)
            self._answered = None
            return data

    def _look(self) -> bytes | None:
        """What comes within `LOOK_S`."""
        until = trio.current_time() + LOOK_S
        while True:
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                if trio.current_time() > until:
                    self._attention.in_vain()
                    return None
            else:
                self._answered = None
                return data

    def send_nowait(self, data: bytes) -> int:
        try:
            sent = self._sock.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        self._answered = trio.current_time()
        return sent

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
        self._attention = Attention(len(os.sched_getaffinity(0)))

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
            return SocketTransport(sock, self._attention), credentials(sock)

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
            raise SocketTaken(f"another irerd is starting or running at {path}. {_see(path)}") from None
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
            raise SocketTaken(f"{path} cannot be probed ({error.strerror or 'no answer in 2 s'}). {_see(path)}") from None
    raise SocketTaken(f"a daemon answers at {path}. {_see(path)}")


def _see(path: Path) -> str:
    return f"See which one: irerctl --socket {path} status. Stop that one first, or give another --socket"
