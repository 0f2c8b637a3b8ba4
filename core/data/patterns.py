"""Patterns: what events that are near one another, or lean on one another, add up to; and for how long.

A pattern's strength is a sum over its evidence of relevance × (1 + ln(1 + cited)) × 2m × 2^(−age / 7 d), where m is the Beta
mean of the event's ratings: 2m is 1 where nobody rated it. All of it fades at one pace, so between two events a pattern is told
by one number: the moment at which its strength is 1. When it will pass any threshold follows from that.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Literal, NamedTuple

import msgspec

from core.agenda import Agenda
from core.data.events import Standing

DAY_US = 86_400_000_000
HALF_LIFE_US = 7 * DAY_US
STRENGTH_DIGITS = 4
OFF_AT = 0.6
"""A crystallised pattern dissolves below this part of the threshold."""
GONE_AT = 1 / 1024
"""A pattern that is weaker than this is let go of."""
EVIDENCE_MAX = 256
"""Events of one pattern that count: the newest."""
PATTERNS_MAX = 10_000

Kind = Literal["content", "team", "model"]
Weight = Callable[[str], float]
"""What an event weighs apart from its relevance and its age."""


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    relevance: float
    time_us: int


class Pattern(msgspec.Struct):
    """One pattern. `crossing_us` is when its strength is 1, None where it has none."""

    pattern: str
    kind: Kind
    began_us: int
    evidence: dict[str, Evidence] = {}
    state: Standing = "forming"
    since_us: int = 0
    contributors: list[str] = []
    key: str = ""
    rev: str = ""
    shared: bool = False
    """Whether it was put into the cache since it crystallised."""
    crossing_us: int | None = None

    def add(self, event: str, relevance: float, time_us: int) -> str | None:
        """The event that is evidence no more, where there was too much of it."""
        self.evidence.pop(event, None)
        self.evidence[event] = Evidence(max(0.0, relevance), time_us)
        if len(self.evidence) <= EVIDENCE_MAX:
            return None
        dropped = next(iter(self.evidence))
        del self.evidence[dropped]
        return dropped


def beta_mean(ratings: Iterable[float]) -> float:
    """Of ratings from 0 to 1, with one good and one bad one that everybody gets: 1/2 where there are none."""
    rated = list(ratings)
    return (1 + math.fsum(rated)) / (2 + len(rated))


def weight(cited: int, ratings: Iterable[float]) -> float:
    return (1 + math.log1p(cited)) * 2 * beta_mean(ratings)


def crossing(evidence: Mapping[str, Evidence], weigh: Weight) -> int | None:
    """When the strength is 1. In whatever order the evidence came, the sum is the same."""
    if not evidence:
        return None
    newest = max(each.time_us for each in evidence.values())
    parts = (
        each.relevance * weigh(event) * 2.0 ** ((each.time_us - newest) / HALF_LIFE_US)
        for event, each in evidence.items()
        if newest - each.time_us < 1_000 * HALF_LIFE_US
    )
    total = math.fsum(parts)
    return newest + round(HALF_LIFE_US * math.log2(total)) if total > 0 else None


def strength(pattern: Pattern, now_us: int) -> float:
    if pattern.crossing_us is None:
        return 0.0
    return float(2.0 ** max(-1_000.0, min(30.0, (pattern.crossing_us - now_us) / HALF_LIFE_US)))


def strength_by_day(pattern: Pattern, days: int, weigh: Weight, now_us: int) -> list[float]:
    """How strong it was so many days ago, a day later, and so on until now, by what its evidence weighs now."""
    fresh = [0.0] * (days + 1)
    for event, each in pattern.evidence.items():
        ago = max(0, now_us - each.time_us)
        place = days - ago // DAY_US
        at_us = now_us - (days - max(0, place)) * DAY_US
        if (ago := at_us - each.time_us) < 1_000 * HALF_LIFE_US:
            fresh[max(0, place)] += each.relevance * weigh(event) * 2.0 ** (-max(0, ago) / HALF_LIFE_US)
    return [round(value, STRENGTH_DIGITS) for value in accumulate(fresh, lambda before, more: before * 2 ** (-1 / 7) + more)]


def later_us(threshold: float) -> int:
    """How much later than 1 a fading strength has this value."""
    return -round(HALF_LIFE_US * math.log2(threshold))


class Change(NamedTuple):
    pattern: str
    state: Standing


class Book:
    """All patterns, and when each may change next. What follows from the patterns is not compared, and not kept.

    How strong a pattern is takes a sum over all its evidence, and much of that may come at once: so it is worked out when somebody
    looks. It follows from the evidence and its weights alone, so it makes no difference when.
    """

    def __init__(self) -> None:
        self._patterns: dict[str, Pattern] = {}
        self._stale: dict[str, Weight] = {}
        """Patterns whose strength is to be worked out, and what their evidence weighs then."""
        self.of_event: dict[str, dict[str, None]] = {}
        """Patterns of which an event is evidence."""
        self.rises: Agenda[str] = Agenda()
        self.falls: Agenda[str] = Agenda()
        self.holds: Agenda[str] = Agenda()
        self.melts: Agenda[str] = Agenda()
        self.fades: Agenda[str] = Agenda()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Book) and self.patterns == other.patterns

    __hash__ = None  # type: ignore[assignment]

    @property
    def patterns(self) -> dict[str, Pattern]:
        """All of them, as strong as they are."""
        if self._stale:
            stale, self._stale = self._stale, {}
            for name, weigh in stale.items():
                pattern = self._patterns[name]
                pattern.crossing_us = crossing(pattern.evidence, weigh)
                self._plan(pattern)
        return self._patterns

    def add(self, pattern: str, kind: Kind, event: str, relevance: float, time_us: int, weigh: Weight) -> Pattern:
        """More evidence, of a pattern that may be new."""
        found = self._patterns.get(pattern)
        if found is None:
            found = self._patterns[pattern] = Pattern(pattern, kind, time_us, {}, "forming", time_us, [])
        if (dropped := found.add(event, relevance, time_us)) is not None:
            self._unlink(dropped, pattern)
        self.of_event.setdefault(event, {})[pattern] = None
        self.weighed(found, weigh)
        return found

    def weigh_anew(self, event: str, weigh: Weight) -> None:
        """An event was cited or rated: what it is evidence of is stronger or weaker now."""
        for pattern in self.of_event.get(event, ()):
            self.weighed(self._patterns[pattern], weigh)

    def forget(self, event: str, weigh: Weight) -> None:
        for name in list(self.of_event.pop(event, ())):
            pattern = self._patterns[name]
            del pattern.evidence[event]
            if pattern.evidence:
                self.weighed(pattern, weigh)
            else:
                self.drop(name)

    def drop(self, name: str) -> None:
        pattern = self._patterns.pop(name)
        self._stale.pop(name, None)
        for event in pattern.evidence:
            self._unlink(event, name)
        for agenda in (self.rises, self.falls, self.holds, self.melts, self.fades):
            agenda.drop(name)

    def turn(self, name: str, state: Standing, now_us: int) -> None:
        pattern = self.patterns[name]
        pattern.state, pattern.since_us = state, now_us
        if state == "crystallised":
            pattern.shared = False
        self._plan(pattern)

    def weighed(self, pattern: Pattern, weigh: Weight) -> None:
        """It weighs otherwise: worked out when somebody looks."""
        self._stale[pattern.pattern] = weigh

    def _unlink(self, event: str, pattern: str) -> None:
        found = self.of_event[event]
        del found[pattern]
        if not found:
            del self.of_event[event]

    def _plan(self, pattern: Pattern) -> None:
        name, state = pattern.pattern, pattern.state
        at = pattern.crossing_us if pattern.crossing_us is not None else -(1 << 62)
        for agenda in (self.rises, self.falls, self.holds, self.melts, self.fades):
            agenda.drop(name)
        if state == "forming":
            self.rises.put(name, -at)
            self.fades.put(name, at)
        elif state == "rising":
            self.falls.put(name, at)
            self.holds.put(name, pattern.since_us)
        else:
            self.melts.put(name, at)

    # --- what is due ------------------------------------------------------------------------------------------------------

    def next_us(self, threshold: float, hold_us: int, now_us: int) -> int | None:
        """When a pattern turns next; now or earlier: at once."""
        later, off, gone = later_us(threshold), later_us(threshold * OFF_AT), later_us(GONE_AT)
        patterns, times = self.patterns, list[int]()
        if not patterns:
            return None
        if (first := self.rises.first()) is not None and -first[0] + later >= now_us:
            times.append(now_us)
        if (first := self.falls.first()) is not None:
            times.append(first[0] + later + 1)
        if (first := self.holds.first()) is not None:
            times.append(first[0] + hold_us)
        if (first := self.melts.first()) is not None:
            times.append(first[0] + off + 1)
        if (first := self.fades.first()) is not None:
            times.append(first[0] + gone + 1)
        return min(times, default=None)

    def due(self, threshold: float, hold_us: int, now_us: int, limit: int) -> list[Change]:
        """Patterns that turn now. One that was strong for long enough crystallised, though it may have faded since."""
        later, off, gone = later_us(threshold), later_us(threshold * OFF_AT), later_us(GONE_AT)
        patterns, changes = self.patterns, dict[str, Standing]()
        for name in self.fades.due(now_us - gone - 1, limit):
            changes[name] = "gone"
        for name in self.rises.due(later - now_us, limit):
            changes[name] = "rising"
        for name in self.falls.due(now_us - later - 1, limit):
            changes[name] = "forming"
        for name in self.holds.due(now_us - hold_us, limit):
            pattern = patterns[name]
            if pattern.crossing_us is not None and pattern.crossing_us + later >= pattern.since_us + hold_us:
                changes[name] = "crystallised"
        for name in self.melts.due(now_us - off - 1, limit):
            changes[name] = "forming"
        return [Change(name, changes[name]) for name in sorted(changes)[:limit]]
