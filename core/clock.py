"""Time as an engine counts it: it goes on over reboots and never steps back, whatever the wall clock does."""

import msgspec

from core.engine import Context, Stamp
from core.fields import Frozen


class Clock:
    """The engine's own time in µs: it follows the monotonic clock of each boot, and the wall clock only across a reboot."""

    __slots__ = ("boot", "last", "offset", "wall_us")

    def __init__(self) -> None:
        self.boot = ""
        self.offset = 0
        self.last = 0
        self.wall_us = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Clock) and all(getattr(self, name) == getattr(other, name) for name in Clock.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def at(self, stamp: Stamp) -> int:
        """The time of an event, which becomes the latest known."""
        if stamp.boot_id != self.boot:
            self.offset = self._offset(stamp.boot_id, stamp.mono_us, stamp.time_us)
            self.boot = stamp.boot_id
        now = stamp.mono_us + self.offset
        if now < self.last:
            now = self.last
        self.last = now
        self.wall_us = stamp.time_us
        return now

    def now(self, ctx: Context) -> int:
        return max(self.last, ctx.mono_us + self._offset(ctx.boot_id, ctx.mono_us, ctx.now_us))

    def mono_us(self, when: int, ctx: Context) -> int:
        """A time of the engine's on the monotonic clock of this boot."""
        return when - self._offset(ctx.boot_id, ctx.mono_us, ctx.now_us)

    def _offset(self, boot: str, mono_us: int, wall_us: int) -> int:
        """On another boot time goes on from the latest event by what the wall clock says has passed since, and at least by the time
        since that boot: the wall clock of a machine without a battery may stand years behind, and nothing would ever be due."""
        if boot == self.boot or not self.boot:
            return self.offset
        return self.last + max(mono_us, wall_us - self.wall_us) - mono_us


class ClockDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    boot: str
    offset: int
    last: int
    wall_us: int


def dump_clock(clock: Clock) -> ClockDump:
    return ClockDump(clock.boot, clock.offset, clock.last, clock.wall_us)


def load_clock(dumped: ClockDump) -> Clock:
    clock = Clock()
    clock.boot, clock.offset, clock.last, clock.wall_us = dumped.boot, dumped.offset, dumped.last, dumped.wall_us
    return clock
