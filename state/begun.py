"""A sync that the kernel carries out while this thread goes on with something else.

Linux takes such an order (`IOCB_CMD_FDSYNC`) for any file; what it answers in the end is what `fdatasync` would have answered. It
is never relied upon: where an order is not taken, nothing has happened, and the file is synced in the usual way.
"""

import ctypes
import errno
import os
import platform
from contextlib import suppress

_FDSYNC = 3
_KIND = platform.machine(), ctypes.sizeof(ctypes.c_void_p)
_SETUP, _SUBMIT, _WAIT = {("x86_64", 8): (206, 209, 208), ("aarch64", 8): (0, 2, 4)}.get(_KIND, (-1, -1, -1))
"""The numbers of `io_setup`, `io_submit` and `io_getevents`, which the C library has no names for."""

_call = ctypes.CDLL(None, use_errno=True).syscall
_brief_call = ctypes.PyDLL(None, use_errno=True).syscall
"""Keeps the interpreter: what waits for nothing shall not have to wait for its turn either."""
for _each in (_call, _brief_call):
    _each.restype = ctypes.c_long
    _each.argtypes = [ctypes.c_long, ctypes.c_ulong, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]


class _Order(ctypes.Structure):
    """What the kernel calls an `iocb`."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("flags_of_call", ctypes.c_uint32),
        ("kind", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("event_fd", ctypes.c_uint32),
    )


_RINGS = 1
"""A flag of an order: its end is counted in a descriptor, which can be waited for."""


class _Event(ctypes.Structure):
    _fields_ = (("data", ctypes.c_uint64), ("order", ctypes.c_uint64), ("result", ctypes.c_int64), ("more", ctypes.c_int64))


class Begun:
    """A sync that was begun. `end` is to be called once, by whoever wants to know how it went."""

    def __init__(self) -> None:
        """Raises OSError where the kernel takes no orders."""
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """A descriptor that can be read once this has ended, until `end` was told how it went."""
        context = ctypes.c_ulong(0)
        if _brief_call(_SETUP, 1, ctypes.addressof(context), None, None, None) != 0:
            failure = _error()
            os.close(self.bell)
            raise failure
        self.behind = False
        """Whether something was written since, which this sync need not have seen."""
        self._context = context.value
        self._order = _Order(kind=_FDSYNC, flags=_RINGS, event_fd=self.bell)
        self._orders = (ctypes.c_void_p * 1)(ctypes.addressof(self._order))
        self._event = _Event()

    def _begin(self, fd: int) -> bool:
        self.behind, self._order.fd = False, fd
        return bool(_brief_call(_SUBMIT, self._context, 1, ctypes.addressof(self._orders), None, None) == 1)

    def end(self) -> None:
        """Wait for it. Raises the OSError that it ended with."""
        while _call(_WAIT, self._context, 1, 1, ctypes.addressof(self._event), None) != 1:
            if ctypes.get_errno() != errno.EINTR:
                raise _error()
        with suppress(BlockingIOError):  # then it rings in a moment, and what is begun next is waited for in `end`
            os.eventfd_read(self.bell)
        _idle.append(self)
        if self._event.result != 0:
            code = -int(self._event.result)
            raise OSError(code, os.strerror(code))


_idle: list[Begun] = []
"""Those that have ended: each is used again and again, by whichever thread."""


def begin(fd: int) -> Begun | None:
    """Order a sync of all that is written to this file. None where that cannot be had: then nothing was begun. That is so in a
    process that was forked, for those it has from its parent are not its own.
    """
    try:
        begun = _idle.pop() if _idle else Begun()
    except (IndexError, OSError):
        return None
    if begun._begin(fd):
        return begun
    _idle.append(begun)
    return None


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
