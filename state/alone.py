"""What a program of this layer needs of the machine when it runs by itself, with no daemon around it: clocks, chance, whose files.

Only the programs `state.repair` and `state.restore` use this, and only in their `main`.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from state.fs import RealFiles, read_all
from state.ledger import Locked


class Refusal(Exception):
    """What a person asked for cannot be done now: what happened, why, and what to type next."""


def stamp() -> tuple[int, int, str]:
    """Wall time and time since boot in us, and which boot it is."""
    files = RealFiles(Path("/proc/sys/kernel/random"))
    try:
        boot = (read_all(files, "boot_id") or b"").decode().replace("-", "")[:8]
    finally:
        files.shut()
    return time.time_ns() // 1_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000, boot


def new_id() -> str:
    return os.urandom(16).hex()


def caller() -> str:
    """Who runs this program."""
    return f"uid:{os.getuid()}"


def become_owner(place: Path) -> None:
    """Root works as the owner of the files, so that the daemon can still open what is made. Anybody else must be the owner."""
    files = RealFiles(place)
    try:
        owner = files.owner(".")
    finally:
        files.shut()
    if owner[0] == os.geteuid():
        return
    if os.geteuid() != 0:
        raise Refusal(f"{place} belongs to uid {owner[0]}, and this is uid {os.geteuid()}. Try the same with: sudo")
    os.setgroups([])
    os.setgid(owner[1])
    os.setuid(owner[0])


def counted_records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


@contextmanager
def said_plainly(place: Path) -> Iterator[None]:
    """Turns what may go wrong in taking a state directory into a sentence with a next step."""
    try:
        yield
    except Locked as locked:
        holder = f"process {locked.pid}" if locked.pid else "another process"
        raise Refusal(f"{place} is held by {holder}. Stop irerd first: systemctl stop irerd.socket irerd.service") from None
    except PermissionError as error:
        raise Refusal(f"{error.filename or place}: permission denied. Try the same with: sudo") from None
