"""Counts over time in a fixed amount of memory: three rings of steps, and a time that neither a clock nor a reboot can turn back.

Within a boot, time passes as the clock of that boot says, which nobody sets. From one boot to the next it goes on by what the wall
clock says has passed since the last record, or not at all where that has stepped back. Labels are made when somebody looks.
"""

from array import array

import msgspec

from core.fields import Frozen

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
STEPS_US = (10 * SECOND_US, MINUTE_US, 15 * MINUTE_US)
LENGTHS = (360, 1440, 2880)
"""10 s for an hour, a minute for a day, a quarter of an hour for 30 days. Each step is made of whole ones of the one before."""
ZERO = array("q", [0])


class ClockDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    boot_id: str
    base_us: int
    last_us: int
    wall_us: int
    begun_us: int


class Clock:
    """The time of one log. It is that of the wall at the first record, and never steps back after it."""

    __slots__ = ("_base_us", "_boot_id", "_wall_us", "begun_us", "last_us")

    def __init__(self) -> None:
        self._boot_id = ""
        self._base_us = 0
        """What to add to the clock of this boot."""
        self._wall_us = 0
        self.last_us = 0
        self.begun_us = 0
        """The time of the first record."""

    def come_to(self, boot_id: str, mono_us: int, wall_us: int) -> int:
        """A record was made at this instant."""
        if boot_id != self._boot_id:
            now_us = self.now(boot_id, mono_us, wall_us)
            if not self._boot_id:
                self.begun_us = now_us
            self._boot_id = boot_id
            self._base_us = now_us - mono_us
        self._wall_us = wall_us
        now_us = self._base_us + mono_us
        if now_us > self.last_us:
            self.last_us = now_us
        return self.last_us

    def now(self, boot_id: str, mono_us: int, wall_us: int) -> int:
        """What time it is; changes nothing."""
        if boot_id == self._boot_id:
            return max(self.last_us, self._base_us + mono_us)
        if not self._boot_id:
            return wall_us
        return self.last_us + max(0, wall_us - self._wall_us)

    def dump(self) -> ClockDump:
        return ClockDump(self._boot_id, self._base_us, self.last_us, self._wall_us, self.begun_us)

    @classmethod
    def load(cls, dumped: ClockDump) -> "Clock":
        clock = cls()
        clock._boot_id, clock._base_us, clock._wall_us = dumped.boot_id, dumped.base_us, dumped.wall_us
        clock.last_us, clock.begun_us = dumped.last_us, dumped.begun_us
        return clock


class RingDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    newest: int
    counts: bytes


class Ring:
    """Counts of the last so many steps, numbered by time divided by step."""

    __slots__ = ("_counts", "_length", "newest")

    def __init__(self, length: int) -> None:
        self._length = length
        self._counts = ZERO * length
        self.newest = 0

    def add(self, place: int, count: int) -> None:
        """What is older than the ring is long is forgotten."""
        length, counts = self._length, self._counts
        if place > self.newest:
            for stale in range(max(self.newest + 1, place - length + 1), place + 1):
                counts[stale % length] = 0
            self.newest = place
        elif place <= self.newest - length:
            return
        counts[place % length] += count

    def sum(self, first: int, last: int) -> int:
        """Over the steps from `first` to `last`, both included."""
        return sum(self.row(last, last - first + 1))

    def row(self, last: int, steps: int) -> list[int]:
        """Step by step up to `last`, the oldest first; 0 where it is not known."""
        first = last - steps + 1
        begin, end = max(first, self.newest - self._length + 1), min(last, self.newest)
        if begin > end:
            return [0] * steps
        at = begin % self._length
        known = (self._counts[at:] + self._counts[:at])[: end - begin + 1]
        return [0] * (begin - first) + known.tolist() + [0] * (last - end)

    def dump(self) -> RingDump:
        return RingDump(self.newest, self._counts.tobytes())

    @classmethod
    def load(cls, dumped: RingDump, length: int) -> "Ring":
        ring = cls(length)
        counts = array("q")
        counts.frombytes(dumped.counts)
        if len(counts) != length:
            raise ValueError(f"a ring of {len(counts)} steps, not {length}")
        ring._counts, ring.newest = counts, dumped.newest
        return ring


class SeriesDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    rings: list[RingDump]


class Series:
    """One count at every step there is. The step under way is kept apart, so that counting costs next to nothing."""

    __slots__ = ("_pending", "_place", "_rings")

    def __init__(self) -> None:
        self._rings = tuple(map(Ring, LENGTHS))
        self._place = 0
        self._pending = 0

    def add(self, time_us: int, count: int = 1) -> None:
        place = time_us // STEPS_US[0]
        if place != self._place:
            self._settle()
            self._place = place
        self._pending += count

    def _settle(self) -> None:
        if self._pending:
            time_us = self._place * STEPS_US[0]
            for ring, step_us in zip(self._rings, STEPS_US, strict=True):
                ring.add(time_us // step_us, self._pending)
            self._pending = 0

    def ring(self, tier: int) -> Ring:
        self._settle()
        return self._rings[tier]

    def last(self, now_us: int, tier: int, steps: int) -> int:
        """Over the last so many steps, the one under way included."""
        place = now_us // STEPS_US[tier]
        return self.ring(tier).sum(place - steps + 1, place)

    def row(self, now_us: int, tier: int, steps: int) -> list[int]:
        """The last so many steps, the oldest first, the one under way last."""
        return self.ring(tier).row(now_us // STEPS_US[tier], steps)

    def dump(self) -> SeriesDump:
        self._settle()
        return SeriesDump([ring.dump() for ring in self._rings])

    @classmethod
    def load(cls, dumped: SeriesDump) -> "Series":
        series = cls()
        series._rings = tuple(Ring.load(ring, length) for ring, length in zip(dumped.rings, LENGTHS, strict=True))
        return series
