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


def _likeliest(here: int, counts: tuple[int, ...]) -> tuple[int, float]:
    most = max(counts)
    best = here if counts[here] == most else counts.index(most)
    return best, (counts[best] + HALF) / (sum(counts) + HALF * len(NAMES))


class Source(msgspec.Struct, frozen=True, gc=False):
    """What a source has been through, tick by tick. Never changed: `see` answers the next one."""

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
        needed = max(1, math.ceil(SHARE * streams))
        announced = bool(shifted) and tick > self.until and (len(lately) >= needed or max(each[1] for each in shifted) > PLAIN)
        changes, until = self.changes, self.until
        if announced:
            changes, lately = (*changes, tick)[-UNSTABLE_SHIFTS:], ()
            until = tick + max(COOLDOWN, *(scale for _, _, scale in shifted))
        name = self._name(tick, needed, changes, until, alerts)
        row, column = _PLACE_OF[self.name], _PLACE_OF[name]
        line = self.counts[row]
        expected, confidence = _likeliest(row, line)
        rate = 1 / min(tick, 1_024)
        missed = confidence - (column == expected)
        brier = self.brier + rate * (missed * missed - self.brier)
        same = self.brier_same + rate * (float(row != column) - self.brier_same)
        line = (*line[:column], line[column] + 1, *line[column + 1 :])
        counts = (*self.counts[:row], line, *self.counts[row + 1 :])
        likely, sure = _likeliest(column, counts[column])
        return Source(tick, name, lately, changes, until, counts, brier, same), Told(name, NAMES[likely], sure, announced)

    def _name(self, tick: int, needed: int, changes: tuple[int, ...], until: int, alerts: Sequence[float]) -> str:
        if tick <= LEARNING:
            return "learning"
        if len(changes) == UNSTABLE_SHIFTS and tick - changes[0] <= UNSTABLE_COOLDOWNS * COOLDOWN:
            return "unstable"
        if tick < until:
            return "transition"
        if max(alerts, default=0.0) <= DRIFTING:
            return "stable"
        return "drifting" if sum(each > DRIFTING for each in alerts) >= needed else "stable"

    def next(self) -> tuple[str, float]:
        """The likeliest name of the next tick, and the posterior mean of its share."""
        here = _PLACE_OF[self.name]
        best, sure = _likeliest(here, self.counts[here])
        return NAMES[best], sure

    def hazard(self) -> float:
        """How likely the next tick changes the regime."""
        changed = sum(line[NAMES.index("transition")] for i, line in enumerate(self.counts) if NAMES[i] != "transition")
        return (changed + HALF) / (self.ticks + 1)
