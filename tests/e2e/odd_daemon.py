"""The real irerd with two things that are not as they are at work: segments of few records, and a wall clock that can be set.

`python odd_daemon.py RECORDS CLOCK ...`: CLOCK is a file of eight bytes, the microseconds by which the wall clock is wrong, or `-`.
"""

import functools
import mmap
import struct
import sys
import time

import irerd.main
from irerd.daemon import Daemon
from state.rotation import LIMITS


def set_wrong(path: str) -> None:
    with open(path, "rb") as file:
        shared = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    right = time.time_ns

    def wrong() -> int:
        return right() + 1_000 * int(struct.unpack_from("<q", shared)[0])

    time.time_ns = wrong


def main() -> None:
    records, clock, *arguments = sys.argv[1:]
    segments = LIMITS._replace(records=int(records))
    irerd.main.Daemon = functools.partial(Daemon, segments=segments)  # type: ignore[misc, assignment]
    if clock != "-":
        set_wrong(clock)
    irerd.main.main(arguments)


if __name__ == "__main__":
    main()
