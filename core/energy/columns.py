"""Points of many streams, advanced together: one pure function from rows and points to new rows and what was found.

The points of a batch are cut into waves, in each of which a stream has at most one; a wave is arithmetic on whole columns.
Nothing depends on how points were cut into batches, nor on which streams stood beside one. A point is refused by itself and harms
no other.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.energy import bank, diagnostics, entropy, forecast, layout, regimes
from core.energy.layout import (
    ALERT,
    ANCHOR,
    COOLDOWN,
    COUNT,
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
    points = _Points(np.asarray(times, np.float64), np.asarray(values, np.float64), _nothing(len(given)))
    if not len(given):
        return Advanced(given, layout.fresh(0), points.findings)
    touched, waves = _waves(given)
    if len(waves) == 1 and touched is given:
        block = store.take(given)
        _wave(block, given, waves[0], points)
        return Advanced(given, block, points.findings)
    order = np.argsort(touched)
    block = store.take(touched[order])
    if len(waves) > 1:
        block = block.take(np.argsort(order))
    for wave in waves:
        _wave(block.head(len(wave)), touched, wave, points)
    if len(waves) > 1:
        block = block.take(order)
    return Advanced(touched[order], block, points.findings)


def adopt(store: Store, advanced: Advanced) -> None:
    """What was worked out is what is so from now on."""
    if len(advanced.rows):
        store.put(advanced.rows, advanced.block)


class _Points(NamedTuple):
    times: Floats
    values: Floats
    findings: Findings


def _nothing(size: int) -> Findings:
    return Findings(
        np.zeros(size, np.uint8),
        np.full(size, np.nan),
        np.zeros(size, np.float32),
        np.zeros(size),
        np.zeros(size, np.float32),
        np.zeros(size, np.bool_),
    )


def _waves(given: Rows) -> tuple[Rows, list[Rows]]:
    """The rows touched, those with most points first, and the points wave by wave: the i-th of a wave belongs to the i-th row."""
    if len(given) == 1 or bool((given[1:] > given[:-1]).all()):
        return given, [np.arange(len(given))]
    by_row = np.argsort(given, kind="stable")
    rows, starts, counts = np.unique(given[by_row], return_index=True, return_counts=True)
    place = np.empty(len(rows), np.intp)
    most_first = np.argsort(-counts, kind="stable")
    place[most_first] = np.arange(len(rows))
    group = np.repeat(np.arange(len(rows)), counts)
    nth = np.arange(len(given)) - starts[group]
    points = by_row[np.lexsort((place[group], nth))]
    return rows[most_first], np.split(points, np.cumsum(np.bincount(nth))[:-1])


def _wave(block: Block, touched: Rows, wave: Rows, points: _Points) -> None:
    times, values = points.times[wave], points.values[wave]
    fate = _fates(block, times, values)
    if not np.count_nonzero(fate):
        _step(block, touched, times, values, wave, points.findings)
        return
    points.findings.fate[wave] = fate
    good = np.flatnonzero(fate == ACCEPTED)
    if len(good):
        part = block.take(good)
        _step(part, touched[good], times[good], values[good], wave[good], points.findings)
        block.put(good, part)


def _fates(block: Block, times: Floats, values: Floats) -> NDArray[np.uint8]:
    fate = np.zeros(len(times), np.uint8)
    old = (times <= block.f8[TIME]) & (block.i4[COUNT] > 0)
    if np.count_nonzero(old):
        same = times == block.f8[TIME]
        fate[old] = np.where(same, np.where(values == block.f8[LAGS.start], REPEATED, CONFLICTING), OLDER)[old]
    usable = (np.abs(values) <= VALUE_MAX) & np.isfinite(times)
    if np.count_nonzero(usable) < len(usable):
        fate[~usable] = UNUSABLE
    return fate


def _step(block: Block, touched: Rows, times: Floats, values: Floats, wave: Rows, findings: Findings) -> None:
    """One point of each row, all of them good."""
    f8, i4 = block.f8, block.i4
    first = i4[COUNT] == 0
    if np.count_nonzero(first):
        forecast.begin(block, first, values)
        f8[ANCHOR, first] = values[first]
        f8[TIME, first] = times[first]
    gap, lost = _clock(block, times, values)
    said = forecast.ahead(block, times)
    findings.expected[wave] = said.mixed
    findings.half[wave] = said.half
    findings.residual[wave] = values - said.slow
    findings.gap[wave] = gap
    alarms = regimes.watch(block, values, said.slow, lost)
    findings.alert[wave] = block.f4[ALERT]
    entropy.observe(block, values)
    diagnostics.observe(block, values)
    forecast.learn(block, values, said, lost)
    f8[TIME] = times
    i4[COUNT] += 1
    i4[REGIME_COUNT] += 1
    for alarm in alarms:
        findings.shifts.append(_shift(block, int(touched[alarm.at]), alarm))
    ended = i4[COOLDOWN] == 1
    for at in np.flatnonzero(ended).tolist() if np.count_nonzero(ended) else ():
        i4[COOLDOWN, at] = 0
        findings.settled.append(_settled(block, int(touched[at]), at))


def _clock(block: Block, times: Floats, values: Floats) -> tuple[Flags, Rows | None]:
    """How long since the last point, and what lies between them. Answers which come after a gap, and which have lost touch."""
    f8, f4, count = block.f8, block.f4, block.i4[COUNT]
    passed = times - f8[TIME]
    step = f4[STEP].astype(np.float64)
    second = count == 1
    if np.count_nonzero(second):
        step = np.where(second, passed, step)
    gap = passed > GAP * step
    share = np.minimum(np.maximum(passed / np.maximum(step, 1e-9) - 1, -0.5), 0.5)
    f4[STEP] = step * (1 + share / np.minimum(np.maximum(count, 1), STEP_MEMORY))
    last = f8[LAGS.start]
    area = 0.5 * passed * (values + last)
    if np.count_nonzero(gap):
        area[gap] = 0.0
        f8[UNCOVERED, gap] += passed[gap]
    f8[INTEGRAL] += area
    moved = np.abs(values - last).astype(np.float32)
    quantum = f4[QUANTUM]
    np.copyto(quantum, moved, where=(moved > 0) & ((moved < quantum) | (quantum == 0)))
    lost = passed > LOST * step
    return gap, np.flatnonzero(lost) if np.count_nonzero(lost) else None


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
