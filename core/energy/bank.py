"""The regimes a stream has been in, by what they looked like, and what a source is therefore said to be in.

A stream remembers eight regimes as mean and log variance. Once things have calmed down after a shift the stream is compared with
each by symmetric Kullback-Leibler divergence: below 1 nat it is that regime again, under its old number; else a new number takes
the place of the regime least often seen. A source has names, not numbers: they are told from how many of its streams shifted.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from core.energy.layout import ANCHOR, MEAN, QUANTUM, REGIME, REGIME_COUNT, REGIMES, SPREAD, Block

SAME_NATS = 1.0
"""Below this a regime is one that was seen before."""
NAMES = ("learning", "stable", "drifting", "transition", "unstable")
SHARE = 0.2
"""Of a source's streams that must shift within one cooldown."""
PLAIN = 2.0
"""A sum beyond this many bounds changes the regime of a source by itself."""
DRIFTING = 0.5
"""Of the bound, on as many streams as would make a shift."""
UNSTABLE_SHIFTS = 3
UNSTABLE_COOLDOWNS = 10
COOLDOWN = 32
LEARNING = 64
HALF = 0.5
"""Counted for what has not happened yet."""

_MEANS, _LOGS = slice(0, REGIMES), slice(REGIMES, 2 * REGIMES)
_IDS, _USES, _TOTAL = slice(0, REGIMES), slice(REGIMES, 2 * REGIMES), 2 * REGIMES


_PLACE_OF = {name: place for place, name in enumerate(NAMES)}


class Recognised(NamedTuple):
    regime: int
    known: bool
    replaced: int


def divergence(mean_a: float, log_a: float, mean_b: float, log_b: float) -> float:
    """KL(a‖b) + KL(b‖a) of two bell curves, nats, from their means and the logarithms of their variances."""
    apart = (mean_a - mean_b) ** 2
    ratio = math.cosh(max(-300.0, min(300.0, log_a - log_b)))
    return ratio - 1 + 0.5 * min(apart * (math.exp(-log_a) + math.exp(-log_b)), 1e300)


def recognise(block: Block, at: int) -> Recognised:
    """Which regime this row is in now; the row's bank remembers it."""
    mean, log = _now(block, at)
    means, logs = block.bank[at, _MEANS], block.bank[at, _LOGS]
    ids, uses = block.bank_i4[at, _IDS], block.bank_i4[at, _USES]
    near = [(divergence(mean, log, float(means[k]), float(logs[k])), k) for k in range(REGIMES) if ids[k]]
    least, slot = min(near, default=(math.inf, 0))
    known, replaced = least < SAME_NATS, -1
    if known:
        weight = 1 / (1 + min(int(uses[slot]), 8))
        means[slot] += weight * (mean - float(means[slot]))
        logs[slot] += weight * (log - float(logs[slot]))
        uses[slot] += 1
    else:
        slot = min(range(REGIMES), key=lambda k: (int(uses[k]) if ids[k] else -1, int(ids[k])))
        replaced = int(ids[slot]) - 1
        block.bank_i4[at, _TOTAL] += 1
        ids[slot], uses[slot] = block.bank_i4[at, _TOTAL], 1
        means[slot], logs[slot] = mean, log
    block.i4[REGIME, at] = ids[slot] - 1
    return Recognised(int(ids[slot]) - 1, known, replaced)


def leave(block: Block, at: int, ticks: int) -> None:
    """Before a row leaves its regime: what was learnt of it since it was recognised, unless too much of that is already new."""
    if 4 * ticks > block.i4[REGIME_COUNT, at]:
        return
    mean, log = _now(block, at)
    for slot in range(REGIMES):
        if block.bank_i4[at, slot] == block.i4[REGIME, at] + 1 and block.bank_i4[at, slot]:
            block.bank[at, slot], block.bank[at, REGIMES + slot] = mean, log


def _now(block: Block, at: int) -> tuple[float, float]:
    """Mean and log variance as the bank keeps them; a sensor's step is the least spread there is."""
    mean = float(block.f8[MEAN, at] - block.f8[ANCHOR, at])
    least = max(float(block.f4[QUANTUM, at]) ** 2 / 12, (1e-9 * abs(float(block.f8[MEAN, at]))) ** 2, 1e-60)
    return mean, math.log(max(float(block.f8[SPREAD, at]), least))


class Told(NamedTuple):
    """What is said of a source after one more tick."""

    name: str
    next_likely: str
    confidence: float
    announced: bool
    """It has changed regime with this tick."""


def needed(streams: int) -> int:
    """Of the streams of a source: as many make a shift of it, or say that it drifts."""
    return max(1, math.ceil(SHARE * streams))


def _likeliest(here: int, counts: Sequence[int]) -> tuple[int, float]:
    most = max(counts)
    best = here if counts[here] == most else counts.index(most)
    return best, (counts[best] + HALF) / (sum(counts) + HALF * len(NAMES))


_LEARNING, _STABLE, _DRIFTING, _TRANSITION, _UNSTABLE = range(len(NAMES))


def _place(tick: int, changes: tuple[int, ...], until: int, drifting: bool) -> int:
    """Which of NAMES a source has at a tick."""
    if tick <= LEARNING:
        return _LEARNING
    if len(changes) == UNSTABLE_SHIFTS and tick - changes[0] <= UNSTABLE_COOLDOWNS * COOLDOWN:
        return _UNSTABLE
    if tick < until:
        return _TRANSITION
    return _DRIFTING if drifting else _STABLE


class Source(msgspec.Struct, frozen=True, gc=False):
    """What a source has been through, tick by tick. Never changed: `see` and `go_on` answer the next one."""

    ticks: int = 0
    name: str = "learning"
    lately: tuple[tuple[int, int], ...] = ()
    """Streams that shifted within the last cooldown, and when."""
    changes: tuple[int, ...] = ()
    """Ticks at which the source changed regime, the latest few."""
    until: int = 0
    """End of the cooldown."""
    counts: tuple[tuple[int, ...], ...] = ((0,) * len(NAMES),) * len(NAMES)
    brier: float = 0.0
    """Running mean of the squared error of what was said to come next."""
    brier_same: float = 0.0
    """And of saying that nothing will change."""

    def see(self, streams: int, shifted: Sequence[tuple[int, float, int]], alerts: Sequence[float]) -> tuple["Source", Told]:
        """One more tick: rows that shifted with statistic ÷ bound and scale, and the alert of each stream."""
        tick = self.ticks + 1
        lately = self.lately
        if lately or shifted:
            again = {row for row, _, _ in shifted}
            kept = tuple(each for each in lately if tick - each[1] <= COOLDOWN and each[0] not in again)
            lately = (*kept, *((row, tick) for row, _, _ in shifted))[-256:]
        enough = needed(streams)
        announced = bool(shifted) and tick > self.until and (len(lately) >= enough or max(each[1] for each in shifted) > PLAIN)
        changes, until = self.changes, self.until
        if announced:
            changes, lately = (*changes, tick)[-UNSTABLE_SHIFTS:], ()
            until = tick + max(COOLDOWN, *(scale for _, _, scale in shifted))
        drifting = max(alerts, default=0.0) > DRIFTING and sum(each > DRIFTING for each in alerts) >= enough
        return self._gone_on([_place(tick, changes, until, drifting)], lately, changes, until, announced=announced)

    def go_on(self, drifting: Sequence[bool]) -> tuple["Source", Told]:
        """One more tick for each of these, and no stream shifts in any: whether as many drift as would make a shift."""
        last = self.ticks + len(drifting)
        lately = tuple(each for each in self.lately if last - each[1] <= COOLDOWN)
        changes, until = self.changes, self.until
        places = [_place(tick, changes, until, each) for tick, each in enumerate(drifting, self.ticks + 1)]
        return self._gone_on(places, lately, changes, until)

    def _gone_on(
        self,
        places: Sequence[int],
        lately: tuple[tuple[int, int], ...],
        changes: tuple[int, ...],
        until: int,
        *,
        announced: bool = False,
    ) -> tuple["Source", Told]:
        """After some ticks, each with the place of its name."""
        tick, brier, same = self.ticks, self.brier, self.brier_same
        here, counts = _PLACE_OF[self.name], [*self.counts]
        line = [*counts[here]]
        expected, confidence = _likeliest(here, line)
        for place in places:
            tick += 1
            rate = 1 / min(tick, 1_024)
            missed = confidence - (place == expected)
            brier += rate * (missed * missed - brier)
            same += rate * ((place != here) - same)
            line[place] += 1
            if place != here:
                counts[here] = tuple(line)
                here, line = place, [*counts[place]]
            expected, confidence = _likeliest(here, line)
        counts[here] = tuple(line)
        name = NAMES[here]
        after = Source(tick, name, lately, changes, until, tuple(counts), brier, same)
        return after, Told(name, NAMES[expected], confidence, announced)

    def next(self) -> tuple[str, float]:
        """The likeliest name of the next tick, and the posterior mean of its share."""
        here = _PLACE_OF[self.name]
        best, sure = _likeliest(here, self.counts[here])
        return NAMES[best], sure

    def hazard(self) -> float:
        """How likely the next tick changes the regime."""
        changed = sum(line[NAMES.index("transition")] for i, line in enumerate(self.counts) if NAMES[i] != "transition")
        return (changed + HALF) / (self.ticks + 1)
