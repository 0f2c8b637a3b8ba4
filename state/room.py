"""Room past the end of a log: claimed before it is needed, so that a full disk shows before a command is decided.

A part of what is claimed is irer's own: with it a log on a full disk can still say so, and still record which old segments go.
"""

from typing import Literal, NamedTuple

from core.canonical import encode
from state.fs import Files, NoSpace

FULL = "log.full"
"""A record of the log's own: from here on it took no commands, until the next record of one."""
HOPE_BYTES = 65_536
"""What must be free beside a batch that has no room of its own on a full disk."""

Claim = Literal["held", "hoped for", "none"]


class Room(NamedTuple):
    """How much is claimed past the end, and when a log that was full takes more again."""

    own_bytes: int
    """For `log.full` and `log.prune`. No command gets it."""
    ahead_bytes: int
    """For the commands that come next. At least as much as the largest of them."""
    back_bytes: int
    """Free bytes at which a full log takes more again: far above what filled it, so that it does not flutter."""


ROOM = Room(own_bytes=2_097_152, ahead_bytes=2_097_152, back_bytes=67_108_864)


class Fullness(NamedTuple):
    """Why a log takes no more."""

    reason: Literal["disk-full", "no-segment"]
    text: str
    """What happened and what to do, for a person."""
    free_bytes: int
    """What the file system had left when it was noticed."""

    def payload(self) -> bytes:
        return encode({"free_bytes": min(self.free_bytes, 2**53 - 1), "reason": self.reason})


def no_room(room: Room, free_bytes: int) -> Fullness:
    wanted = f"{room.back_bytes / 1_048_576:g} MiB"
    text = f"the disk is full: nothing more can be stored. Reads still work. Free {wanted} or more; writes then go on by themselves"
    return Fullness("disk-full", text, free_bytes)


def no_segment(why: str, free_bytes: int) -> Fullness:
    text = (
        f"no new segment could be begun ({why}), and the old one is twice as large as it should be. Reads still work. "
        "Mend that in the state directory; writes then go on by themselves"
    )
    return Fullness("no-segment", text, free_bytes)


def claim(files: Files, fd: int, start: int, end: int) -> Claim:
    """Room for the file's bytes from `start` to `end`. Where none can be claimed, free space is all there is to go by."""
    try:
        if files.reserve(fd, start, end - start):
            return "held"
    except NoSpace:
        return "none"
    return "hoped for" if files.free() >= end - start else "none"
