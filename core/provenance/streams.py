"""How often something happens, beside how often it used to: one stream of counts, watched for bursts and for lasting changes.

*Burst*: the last 1, 10 and 60 seconds are compared with the rate before them, on the scale where counts have a spread of one
(Anscombe 1948: 2*sqrt(n + 3/8)). Streams whose counts come in clumps are given the spread they have shown.

*Rate*: the count of each ten seconds, as a residual of a slow mean on the same scale, is ranked among all that were seen before. A
rank among equals is uniform whatever the counts look like, so its normal score needs no model of them. Running mean and spread of
the scores over 4 to 256 ticks are compared with (0, 1) by their Kullback-Leibler divergence, and a CUSUM adds up what is too much.

Thresholds are simulated, by benchmarks/anomaly_thresholds.py; no p-value of a textbook stands here.
"""

from collections import deque
from math import exp, log, sqrt
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

WINDOWS_S = (1, 10, 60)
BURST_THRESHOLD = 7.0
BURST_COUNT_MIN = 10
"""Fewer are no burst, however rare they are."""
MEMORY_S = 1_800.0
"""The rate that used to be is a mean over about this long."""
LEARN_S = 120
"""A stream younger than this has no usual rate yet: it is compared with `rate_new`, or with its own where that is higher."""
SPREAD_LEARN_S = 600
SPREAD_STEP_MAX = 9.0
"""Of what it was, the most that one window may say of the spread once that is known: a burst may not make itself look usual."""
RATE_NEW = 100.0
"""What is new and quicker than this many a second is a burst."""

TICK_S = 10
SCALES = (4, 16, 64, 256)
RATE_THRESHOLD = 14.0
DRIFT_OF_CUSUM = 4.0
TICKS_MIN = 64
REST_TICKS = 32
"""After a longer silence the ticks begin anew: it was the source, or the daemon, that rested, and the silence itself is over."""
BINS = 33
BIN_WIDTH = 0.5
RANKS_MAX = 4_096.0
"""Counts that a rank remembers; older ones fade."""
MEAN_WEIGHT = 1 / 256
MEAN_MIN = 1.0
"""Of a stream with fewer in a tick the counts themselves are ranked: its mean would waver more than they do."""
GOLDEN = 0.6180339887498949
SILVER = 0.4142135623730951
SMEAR = 2.0
"""Residuals are smeared over this width, evenly and without chance: counts come in steps, and the mean below them wavers."""


class Unusual(NamedTuple):
    """What a stream shows that it did not use to."""

    kind: str
    scale_s: int
    seen: int
    expected: float
    statistic: float
    threshold: float


class KeptTicks(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Ticks as a file has them."""

    tick: int
    count: int
    mean: float
    number: int
    bins: Annotated[list[float], Meta(min_length=BINS, max_length=BINS)]
    ranked: float
    means: Annotated[list[float], Meta(min_length=len(SCALES), max_length=len(SCALES))]
    spreads: Annotated[list[float], Meta(min_length=len(SCALES), max_length=len(SCALES))]
    sums: Annotated[list[float], Meta(min_length=len(SCALES), max_length=len(SCALES))]


class KeptStream(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A stream as a file has it."""

    second: int
    since: int
    count: int
    check_at: int
    recent: list[tuple[int, int]]
    total: int
    slow_count: float
    slow_s: float
    fano: Annotated[list[float], Meta(min_length=len(WINDOWS_S), max_length=len(WINDOWS_S))]
    ticks: KeptTicks | None


class Stream:
    """The counts of one thing. Time is whole seconds that never step back."""

    __slots__ = ("check_at", "count", "fano", "recent", "second", "since", "slow_count", "slow_s", "ticks", "total")

    def __init__(self, second: int) -> None:
        self.second = second
        self.since = second
        self.count = 0
        """In the present second."""
        self.check_at = BURST_COUNT_MIN
        """At which count of the present second bursts are looked for before it is over."""
        self.recent: deque[tuple[int, int]] = deque()
        """(second, count) of the last minute, the present second not among them."""
        self.total = 0
        """Of `recent`."""
        self.slow_count = 0.0
        self.slow_s = 0.0
        self.fano = [1.0, 1.0, 1.0]
        """Of each window, how much wider its counts are spread than those of a Poisson process; at least one."""
        self.ticks: Ticks | None = None

    def kept(self) -> KeptStream:
        """For a file, and to be written at once: it shares what goes on changing."""
        return KeptStream(
            self.second,
            self.since,
            self.count,
            self.check_at,
            list(self.recent),
            self.total,
            self.slow_count,
            self.slow_s,
            self.fano,
            self.ticks.kept() if self.ticks is not None else None,
        )

    @classmethod
    def again(cls, kept: KeptStream) -> "Stream":
        stream = cls(kept.second)
        stream.since, stream.count, stream.check_at = kept.since, kept.count, kept.check_at
        stream.recent, stream.total = deque(kept.recent), kept.total
        stream.slow_count, stream.slow_s, stream.fano = kept.slow_count, kept.slow_s, kept.fano
        stream.ticks = Ticks.again(kept.ticks) if kept.ticks is not None else None
        return stream

    def note(self, second: int, count: int, rate_new: float) -> Unusual | None:
        """This many more have happened."""
        found = None
        if second > self.second:
            found = self._pass(second, rate_new)
        self.count += count
        if self.count >= self.check_at:
            self.check_at = 2 * self.count
            found = self._burst(rate_new) or found
        return found

    def _pass(self, second: int, rate_new: float) -> Unusual | None:
        """The present second is over, and all up to `second` were empty."""
        found = self._burst(rate_new) if self.count else None
        self._learn_spread(second)
        ended, count = self.second, self.count
        if count:
            self.recent.append((ended, count))
            self.total += count
        self.second, self.count, self.check_at = second, 0, BURST_COUNT_MIN
        self._forget(second - 60)
        if self.ticks is None:
            self.ticks = Ticks(ended)
        return self.ticks.note(ended, count, second) or found

    def _forget(self, until: int) -> None:
        """What is older than a minute becomes part of the rate that used to be."""
        old_s = min(until, self.second) - max(self.since, 0)
        gone = 0
        while self.recent and self.recent[0][0] <= until:
            gone += self.recent.popleft()[1]
        self.total -= gone
        if old_s > 0:
            kept = exp(-old_s / MEMORY_S)
            self.slow_count = self.slow_count * kept + gone
            self.slow_s = self.slow_s * kept + old_s
            self.since = until

    def rate(self, rate_new: float) -> float:
        """How many a second are usual. Half a count is added: what never happened may still happen."""
        usual = (self.slow_count + 0.5) / (self.slow_s + 1.0)
        return usual if self.slow_s >= LEARN_S else max(usual, rate_new)

    def counts(self) -> tuple[int, int, int]:
        """Over the windows, up to now."""
        last10 = self.count
        for second, count in reversed(self.recent):
            if second <= self.second - 10:
                break
            last10 += count
        return self.count, last10, self.total + self.count

    def _burst(self, rate_new: float) -> Unusual | None:
        rate = self.rate(rate_new)
        worst: Unusual | None = None
        for window, count, fano in zip(WINDOWS_S, self.counts(), self.fano, strict=True):
            if count < BURST_COUNT_MIN:
                continue
            expected = rate * window
            score = 2 * (sqrt(count + 0.375) - sqrt(expected + 0.375)) / sqrt(fano)
            if score > BURST_THRESHOLD and (worst is None or score > worst.statistic):
                worst = Unusual("burst", window, count, expected, score, BURST_THRESHOLD)
        return worst

    def _learn_spread(self, second: int) -> None:
        """Windows that end here are compared with the usual rate; those in between were empty and count as such."""
        if self.slow_s < LEARN_S:
            return
        rate = self.rate(0.0)
        empty = second - self.second - 1
        weight = 1 / min(self.slow_s, MEMORY_S)
        learning = self.slow_s < SPREAD_LEARN_S
        for place, (window, count) in enumerate(zip(WINDOWS_S, self.counts(), strict=True)):
            expected = rate * window
            spread = (count - expected) ** 2 / max(expected, 0.1)
            if not learning:
                spread = min(spread, SPREAD_STEP_MAX * self.fano[place])
            fano = self.fano[place] + weight * (spread - self.fano[place])
            if empty > window:
                kept = exp(-empty * weight)
                fano = fano * kept + expected * (1 - kept)
            self.fano[place] = max(fano, 1.0)


class Ticks:
    """The counts of each ten seconds, and whether they have changed for good."""

    __slots__ = ("bins", "count", "mean", "means", "number", "ranked", "spreads", "sums", "tick")

    def __init__(self, second: int) -> None:
        self.tick = second // TICK_S
        self.count = 0
        self._begin(0.0, 0)

    def kept(self) -> KeptTicks:
        return KeptTicks(self.tick, self.count, self.mean, self.number, self.bins, self.ranked, self.means, self.spreads, self.sums)

    @classmethod
    def again(cls, kept: KeptTicks) -> "Ticks":
        ticks = cls(0)
        ticks.tick, ticks.count, ticks.mean, ticks.number = kept.tick, kept.count, kept.mean, kept.number
        ticks.bins, ticks.ranked = kept.bins, kept.ranked
        ticks.means, ticks.spreads, ticks.sums = kept.means, kept.spreads, kept.sums
        return ticks

    def _begin(self, mean: float, number: int) -> None:
        self.mean = mean
        self.number = number
        """Ticks since it began to learn."""
        self.bins = [0.0] * BINS
        self.ranked = 0.0
        self.means = [0.0] * len(SCALES)
        self.spreads = [1.0] * len(SCALES)
        self.sums = [0.0] * len(SCALES)

    def note(self, ended: int, count: int, now: int) -> Unusual | None:
        """So many in the second that ended, and none since."""
        found = None
        tick = ended // TICK_S
        if tick > self.tick:
            found = self._advance(tick)
        self.count += count
        if now // TICK_S > self.tick:
            found = self._advance(now // TICK_S) or found
        return found

    def _advance(self, tick: int) -> Unusual | None:
        """All ticks before this one are over."""
        passed = tick - self.tick
        self.tick = tick
        count, self.count = self.count, 0
        if passed > REST_TICKS:
            self._begin(float(count), 0)
            return None
        found = self._take(count)
        for _ in range(passed - 1):
            found = self._take(0) or found
        return found

    def _take(self, count: int) -> Unusual | None:
        if not self.number:
            self.mean = float(count)
        score = _score(self._rank(2 * (sqrt(count + 0.375) - sqrt(max(self.mean, MEAN_MIN) + 0.375))))
        self.number += 1
        self.mean += (count - self.mean) * max(MEAN_WEIGHT, 1 / self.number)
        for place, scale in enumerate(SCALES):
            weight = 1 / scale
            mean = self.means[place] + weight * (score - self.means[place])
            spread = (1 - weight) * (self.spreads[place] + weight * (score - self.means[place]) ** 2)
            self.means[place], self.spreads[place] = mean, spread
            if self.number < max(TICKS_MIN, 4 * scale):
                continue
            excess = scale * (mean * mean + spread - 1 - log(max(spread, 1e-9)))
            self.sums[place] = max(0.0, self.sums[place] + (excess - DRIFT_OF_CUSUM) / scale)
            if self.sums[place] > RATE_THRESHOLD:
                found = Unusual("rate", scale * TICK_S, count, self.mean, self.sums[place], RATE_THRESHOLD)
                self._begin(self.mean, 0)
                return found
        return None

    def _rank(self, residual: float) -> float:
        """Where it stands among those before it, between 0 and 1. Equals are spread without chance, by the golden section."""
        residual += SMEAR * ((SILVER * self.number) % 1.0 - 0.5)
        place = min(BINS - 1, max(0, round(residual / BIN_WIDTH) + BINS // 2))
        below = sum(self.bins[:place])
        part = (GOLDEN * self.number) % 1.0
        rank = (below + (self.bins[place] + 1) * (part + 0.5 / RANKS_MAX)) / (self.ranked + 1)
        self.bins[place] += 1
        self.ranked += 1
        if self.ranked >= RANKS_MAX:
            self.bins = [each / 2 for each in self.bins]
            self.ranked /= 2
        return min(max(rank, 1e-4), 1 - 1e-4)


def _score(rank: float) -> float:
    """The normal score of a rank, to within 0.0005 (Hastings 1955, as Abramowitz and Stegun 26.2.23 gives it)."""
    low = min(rank, 1 - rank)
    t = sqrt(-2 * log(low))
    score = t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t * t * t)
    return score if rank > 0.5 else -score
