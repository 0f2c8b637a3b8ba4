"""What systemd and irerd say to each other: readiness, status, watchdog, and sockets it opened for us.

Works the same without systemd: then nothing is sent and nothing was inherited. A message that cannot be delivered is
dropped, for no supervisor may stop the daemon. The variables are taken out of the environment when they are read, so that
no child process ever speaks in our name.
"""

import os
import socket
import stat
import time
from collections.abc import Callable, Collection, MutableMapping
from contextlib import suppress

import trio

LISTEN_FDS_START = 3
LISTEN_FDS_MAX = 64
SEND_TIMEOUT_S = 1.0
LATE_LOOK_S = 1.0
"""One late moment may not cost two signs of life: with the third the daemon would be killed."""


class Notifier:
    """Sends to one notify socket; with no address it does nothing."""

    def __init__(self, address: str | None = None) -> None:
        # Only these two forms name a datagram socket; a leading @ stands for the NUL of an abstract one.
        self._address = address if address and address[0] in "/@" and len(address) > 1 else None

    @property
    def connected(self) -> bool:
        return self._address is not None

    def ready(self, status: str = "") -> bool:
        return self.send(READY="1", STATUS=status) if status else self.send(READY="1")

    def reloading(self, mono_us: int | None = None) -> bool:
        """Both keys in one datagram, as the manager requires. It compares with CLOCK_MONOTONIC: no other clock will do."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000 if mono_us is None else mono_us
        return self.send(RELOADING="1", MONOTONIC_USEC=now)

    def stopping(self, status: str = "") -> bool:
        return self.send(STOPPING="1", STATUS=status) if status else self.send(STOPPING="1")

    def status(self, text: str) -> bool:
        return self.send(0.0, STATUS=text)

    def watchdog(self) -> bool:
        return self.send(0.0, WATCHDOG="1")

    def extend(self, usec: int) -> bool:
        """Start, reload or stop may take this much longer from now on."""
        return self.send(0.0, EXTEND_TIMEOUT_USEC=usec)

    def send(self, timeout_s: float = SEND_TIMEOUT_S, /, **fields: str | int) -> bool:
        """One datagram, one line a field. Waits at most `timeout_s` for room; 0 for what the next one repeats anyway."""
        lines = (f"{key}={str(value).translate(_ONE_LINE)}" for key, value in fields.items())
        return self._deliver("\n".join(lines).encode(), timeout_s)

    def _deliver(self, payload: bytes, timeout_s: float) -> bool:
        if self._address is None:
            return False
        to = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(timeout_s)
            sender.sendto(payload, to)
            return True
        return False


_ONE_LINE = {ord("\n"): " ", ord("\r"): " ", 0: " "}
"""A line break in a status would begin another field."""


def from_environment(environ: MutableMapping[str, str] = os.environ) -> Notifier:
    """The notifier that `NOTIFY_SOCKET` names, if any."""
    return Notifier(environ.pop("NOTIFY_SOCKET", None))


def watchdog_interval(environ: MutableMapping[str, str] = os.environ) -> float | None:
    """Seconds between two signs of life: a third of what the manager allows. None: it expects none from this process."""
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    return int(usec) / 3_000_000 if usec.isascii() and usec.isdecimal() and int(usec) > 0 else None


async def watch_over(notifier: Notifier, interval_s: float | None, on_time: Callable[[], bool]) -> None:
    """A sign of life at once and then each interval; where there is none to give, as soon as there is one again."""
    while interval_s is not None:
        alive = on_time()
        if alive:
            notifier.watchdog()
        await trio.sleep(interval_s if alive else min(interval_s, LATE_LOOK_S))


def listen_fds(
    names: Collection[str],
    on_stranger: Callable[[str], None] = lambda description: None,
    environ: MutableMapping[str, str] = os.environ,
) -> dict[str, socket.socket]:
    """The listening Unix stream sockets that were opened for us under `names`, one a name.

    Every other descriptor handed over is closed and described to `on_stranger`. Descriptors meant for another process are
    not ours to touch.
    """
    count, pid, labels = (environ.pop(key, "") for key in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    environ.pop("LISTEN_PIDFDID", None)
    if pid != str(os.getpid()) or not (count.isascii() and count.isdecimal()):
        return {}
    label_of = dict(enumerate(labels.split(":"))) if labels else {}
    taken: dict[str, socket.socket] = {}
    for place in range(min(int(count), LISTEN_FDS_MAX)):
        label = label_of.get(place, "unknown")
        wanted = label in names and label not in taken
        try:
            inherited, reason = _adopt(LISTEN_FDS_START + place, wanted)
        except OSError as error:
            inherited, reason = None, error.strerror or "not usable"
        if inherited is not None:
            taken[label] = inherited
        else:
            on_stranger(f"descriptor {LISTEN_FDS_START + place} named {label}: {reason}")
    return taken


def _adopt(fd: int, wanted: bool) -> tuple[socket.socket | None, str]:
    """The descriptor as a socket of ours, or closed and the reason."""
    os.set_inheritable(fd, False)
    if not wanted:
        os.close(fd)
        return None, "not a name that is listened on, or given twice"
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        os.close(fd)
        return None, "not a socket"
    found = socket.socket(fileno=fd)
    if found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM and _listens(found):
        found.setblocking(False)
        return found, ""
    found.close()
    return None, "not a listening Unix stream socket"


def _listens(candidate: socket.socket) -> bool:
    return candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
