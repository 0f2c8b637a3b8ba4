"""Points of many streams, advanced together: one pure function from rows and points to new rows and what was found.

The points of a batch are cut into waves, in each of which a stream has at most one; a wave is arithmetic on whole columns.
Nothing depends on how points were cut into batches, nor on which streams stood beside one. A point is refused by itself and harms
no other.
"""

from dataclasses import dataclass, field
from math import inf, nan
from operator import lt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.energy import bank, diagnostics, entropy, forecast, layout, regimes
from core.energy.layout import (
    ALERT,
    ANCHOR,
    COOLDOWN,
    COUNT,
    HANDFUL,
    INTEGRAL,
    LAGS,
    MEAN,
    QUANTUM,
    REGIME,
    REGIME_COUNT,
    SCALES,
    SPREAD,
    STEP,
    TIME,
    UNCOVERED,
    Block,
    Flags,
    Floats,
    Rows,
    Singles,
    Store,
    every,
    most,
    some,
)

ACCEPTED, REPEATED, OLDER, CONFLICTING, UNUSABLE = range(5)
FATES = ("accepted", "repeated", "older", "conflicting", "unusable")
"""What became of a point: repeated ones have no effect, the last three are refused."""
VALUE_MAX = 1e17
"""Greater ones are refused: their squares would not fit where variances are kept."""
GAP = 2.0
"""Median steps without a point from which on it is a gap."""
LOST = 8.0
"""Median steps after which what came just before says nothing any more."""
STEP_MEMORY = 16.0
_VALUE_MAX, _GAP, _STEP_MEMORY, _STEP_MIN, _HALF, _LESS, _ONE = (
    np.array(each) for each in (VALUE_MAX, GAP, STEP_MEMORY, 1e-9, 0.5, -0.5, 1.0)
)
_NEXT, _NONE = np.array(1, np.int32), np.array(0, np.float32)
_PER_POINT = ("fate", "expected", "half", "residual", "alert", "gap")


class Shift(NamedTuple):
    """A stream is no longer what it was."""

    row: int
    time: float
    tick: int
    located: int
    """The tick at which it began."""
    located_time: float
    scale: int
    statistic: float
    mean_before: float
    spread_before: float
    mean_after: float
    spread_after: float
    gradient: float
    """Ψ, the entropy gradient across the scales."""


class Settled(NamedTuple):
    """After a shift, and a while: which regime it is."""

    row: int
    time: float
    tick: int
    regime: int
    before: int
    known: bool
    """It has been there before."""
    replaced: int
    """The regime forgotten for it, or -1."""


@dataclass
class Findings:
    """Per point, in the order they were given; then what was found along the way."""

    fate: NDArray[np.uint8]
    expected: Floats
    """What had been forecast of it; its own value at the first point."""
    half: Singles
    """Half the width of the 95 % interval that was issued."""
    residual: Floats
    """What the detector saw: value less the slow forecast."""
    alert: Singles
    """The largest sum as a share of its bound, after the point."""
    gap: Flags
    shifts: list[Shift] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)


@dataclass
class Advanced:
    """What a batch led to; nothing has happened until it is adopted."""

    rows: Rows
    block: Block
    findings: Findings


def advance(store: Store, rows: ArrayLike, times: ArrayLike, values: ArrayLike) -> Advanced:
    """Points in the order they came, those of one stream in the order of time; the store stays as it is."""
    given = np.asarray(rows, np.intp)
    if not len(given):
        return Advanced(given, layout.fresh(0), _nothing(0))
    points = _points(np.asarray(times, np.float64), np.asarray(values, np.float64))
    if _rising(given):
        block = store.take(given)
        return Advanced(given, block, _wave(block, given, points))
    waves = _waves(given)
    order = np.argsort(waves.touched)
    block = store.take(waves.touched[order]).take(np.argsort(order))
    findings = _nothing(len(given))
    points = points.of(waves.points)
    for low, high in zip(waves.cuts[:-1], waves.cuts[1:], strict=True):
        here = slice(low, high)
        found = _wave(block.head(high - low), waves.touched, points.of(here))
        _enter(findings, here, found)
    return Advanced(waves.touched[order], block.take(order), _given_order(findings, waves.points))


def adopt(store: Store, advanced: Advanced) -> None:
    """What was worked out is what is so from now on."""
    if len(advanced.rows):
        store.put(advanced.rows, advanced.block)


class _Points(NamedTuple):
    times: Floats
    values: Floats
    hours: Rows | int
    """Of the day, of each; or of them all, where they are of one moment."""
    moment: float
    """Which that is; NaN where there are several, or that may be."""
    usable: bool
    """Each of them can be used."""

    def of(self, places: Any) -> "_Points":
        hours = self.hours if isinstance(self.hours, int) else self.hours[places]
        return _Points(self.times[places], self.values[places], hours, self.moment, self.usable)

    def later(self, before: Floats) -> bool:
        """Than these moments, each of them."""
        return max(before.tolist()) < self.moment if self.moment == self.moment else every(self.times > before)


class _Waves(NamedTuple):
    touched: Rows
    """The rows, those with most points first."""
    points: Rows
    """The points wave by wave: the i-th of a wave belongs to the i-th row."""
    cuts: list[int]
    """Where each wave begins, and where the last one ends."""


def _points(times: Floats, values: Floats) -> _Points:
    if len(times) <= HANDFUL:
        moments = times.tolist()
        moment = moments[0]
        if moments.count(moment) == len(moments) and -inf < moment < inf and sum(map(abs, values.tolist())) <= VALUE_MAX:
            return _Points(times, values, forecast.hour_of(moment), moment, True)
    usable = every(_usable(times, values))
    hours = forecast.hours_of(times if usable else np.where(np.isfinite(times), times, 0.0))
    return _Points(times, values, hours, nan, usable)


def _rising(rows: Rows) -> bool:
    if len(rows) > HANDFUL:
        return every(rows[1:] > rows[:-1])
    numbers = rows.tolist()
    return all(map(lt, numbers, numbers[1:]))


def _usable(times: Floats, values: Floats) -> Flags:
    found: Flags = (np.abs(values) <= _VALUE_MAX) & np.isfinite(times)
    return found


def _nothing(size: int) -> Findings:
    return Findings(
        np.zeros(size, np.uint8),
        np.full(size, np.nan),
        np.zeros(size, np.float32),
        np.zeros(size),
        np.zeros(size, np.float32),
        np.zeros(size, np.bool_),
    )


def _enter(findings: Findings, here: Any, found: Findings) -> None:
    for name in _PER_POINT:
        getattr(findings, name)[here] = getattr(found, name)
    findings.shifts += found.shifts
    findings.settled += found.settled


def _given_order(findings: Findings, points: Rows) -> Findings:
    """What was found wave by wave, in the order in which the points were given."""
    back = np.empty_like(points)
    back[points] = np.arange(len(points))
    for name in _PER_POINT:
        setattr(findings, name, getattr(findings, name)[back])
    return findings


def _waves(given: Rows) -> _Waves:
    by_row = np.argsort(given, kind="stable")
    rows, starts, counts = np.unique(given[by_row], return_index=True, return_counts=True)
    place = np.empty(len(rows), np.intp)
    most_first = np.argsort(-counts, kind="stable")
    place[most_first] = np.arange(len(rows))
    group = np.repeat(np.arange(len(rows)), counts)
    nth = np.arange(len(given)) - starts[group]
    points = by_row[np.lexsort((place[group], nth))]
    return _Waves(rows[most_first], points, [0, *np.cumsum(np.bincount(nth)).tolist()])


def _wave(block: Block, touched: Rows, points: _Points) -> Findings:
    """At most one point of each row."""
    if points.usable and points.later(block.f8[TIME]):
        return _step(block, touched, points)
    fate = _fates(block, points)
    good = np.flatnonzero(fate == ACCEPTED)
    if len(good) == len(fate):
        return _step(block, touched, points)
    findings = _nothing(len(fate))
    if len(good):
        part = block.take(good)
        _enter(findings, good, _step(part, touched[good], points.of(good)))
        block.put(good, part)
    findings.fate = fate
    return findings


def _fates(block: Block, points: _Points) -> NDArray[np.uint8]:
    times, values = points.times, points.values
    fate = np.zeros(len(times), np.uint8)
    old = (times <= block.f8[TIME]) & (block.i4[COUNT] > 0)
    same = times == block.f8[TIME]
    fate[old] = np.where(same, np.where(values == block.f8[LAGS.start], REPEATED, CONFLICTING), OLDER)[old]
    fate[~_usable(times, values)] = UNUSABLE
    return fate


def _step(block: Block, touched: Rows, points: _Points) -> Findings:
    """One point of each row, all of them good."""
    times, values = points.times, points.values
    f8, i4 = block.f8, block.i4
    count, regime_count, cooldown = i4[COUNT], i4[REGIME_COUNT], i4[COOLDOWN]
    youngest = layout.least(count)
    if not youngest:
        first = count == 0
        forecast.begin(block, first, values)
        f8[ANCHOR, first] = values[first]
        f8[TIME, first] = times[first]
    gap, lost = _clock(block, times, values, youngest)
    said = forecast.ahead(block, points.hours)
    residuals = values - said.slow
    alarms = regimes.watch(block, values, residuals, lost)
    found = Findings(np.zeros(len(values), np.uint8), said.mixed, said.half, residuals, block.f4[ALERT].copy(), gap)
    diagnostics.observe(block, entropy.observe(block, values, youngest))
    forecast.learn(block, values, said, lost, youngest)
    f8[TIME] = times
    count += _NEXT
    regime_count += _NEXT
    for alarm in alarms:
        found.shifts.append(_shift(block, int(touched[alarm.at]), alarm))
    if most(cooldown):
        for at in np.flatnonzero(cooldown == 1).tolist():
            cooldown[at] = 0
            found.settled.append(_settled(block, int(touched[at]), at))
    return found


def _clock(block: Block, times: Floats, values: Floats, youngest: int) -> tuple[Flags, Rows | None]:
    """How long since the last point, and what lies between them. Answers which come after a gap, and which have lost touch."""
    f8, f4, count = block.f8, block.f4, block.i4[COUNT]
    passed = times - f8[TIME]
    step = f4[STEP].astype(np.float64)
    if youngest <= 1:
        step = np.where(count == 1, passed, step)
    gap = passed > _GAP * step
    share = np.minimum(np.maximum(passed / np.maximum(step, _STEP_MIN) - _ONE, _LESS), _HALF)
    share /= _STEP_MEMORY if youngest >= STEP_MEMORY else np.minimum(np.maximum(count, 1), STEP_MEMORY)
    share += _ONE
    f4[STEP] = step * share
    last = f8[LAGS.start]
    area = (values + last) * (_HALF * passed)
    lost = None
    if some(gap):
        area[gap] = 0.0
        f8[UNCOVERED, gap] += passed[gap]
        lost = np.flatnonzero(passed > LOST * step)
    f8[INTEGRAL] += area
    moved = np.abs(values - last).astype(np.float32)
    quantum = f4[QUANTUM]
    smaller = (moved < quantum) | (quantum == _NONE)
    if some(smaller):
        np.copyto(quantum, moved, where=(moved > 0) & smaller)
    return gap, lost if lost is not None and len(lost) else None


def _shift(block: Block, row: int, alarm: regimes.Alarm) -> Shift:
    f8, f4, at = block.f8, block.f4, alarm.at
    tick, time = int(block.i4[COUNT, at]), float(f8[TIME, at])
    mean, spread = float(f8[MEAN, at]), float(f8[SPREAD, at]) ** 0.5
    gradient = float(entropy.gradient(block.take(np.array([at])))[0])
    bank.leave(block, at, alarm.ticks)
    regimes.restart(block, alarm)
    return Shift(
        row,
        time,
        tick,
        tick - alarm.ticks,
        time - alarm.ticks * float(f4[STEP, at]),
        SCALES[alarm.scale],
        alarm.statistic,
        mean,
        spread,
        float(f8[MEAN, at]),
        float(f8[SPREAD, at]) ** 0.5,
        gradient,
    )


def _settled(block: Block, row: int, at: int) -> Settled:
    before = int(block.i4[REGIME, at])
    found = bank.recognise(block, at)
    return Settled(row, float(block.f8[TIME, at]), int(block.i4[COUNT, at]), found.regime, before, found.known, found.replaced)
