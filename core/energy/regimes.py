"""When a stream is no longer what it was: a multi-scale test on the ranks of what the forecast leaves over.

Per scale w a running mean m and variance v of the scores; G_w = w (m² + v − 1 − ln v) is 2w times the Kullback-Leibler divergence
of the fast window from what is usual. A sum per scale gathers what of G_w is beyond its usual size, and a shift is told when one
sum passes its bound. The bounds H come from simulation (`python -m benchmarks.regime_bounds`), not from a textbook: no p-value is
given. After a shift the stream is new: its quantiles are learnt again, and each scale waits until there is enough to compare
with.
"""

from bisect import bisect
from typing import NamedTuple

import numpy as np

from core.energy import quantiles
from core.energy.layout import (
    AGE,
    ALERT,
    ANCHOR,
    COOLDOWN,
    COUNT,
    KEPT,
    MEAN,
    MEANS,
    QUANTILES,
    QUANTUM,
    REGIME_COUNT,
    RESTLESS,
    SCALES,
    SINCE,
    SPREAD,
    SUMS,
    VALUE_MEANS,
    VALUE_VARIANCES,
    VARIANCES,
    WARM,
    Block,
    Codes,
    Column,
    Floats,
    Rows,
    Singles,
    least,
    most,
    some,
    stretched,
)

DRIFT = np.float32(4.0)
"""What of G_w a sum leaves out at every tick."""
BOUNDS = (14.0, 11.0, 8.0, 6.0, 5.0)
"""Of the sum at each scale: at least 100,000 ticks between two false alarms of a stream."""
CALMING = np.float32(1 - 1 / 512)
"""Of how restless a stream is, per tick. Each shift adds 1; the square raises the bounds: what comes all the time is no change."""
ARMED_MIN = 128
"""Ticks before any scale is armed: after half of them a slow wave still looks like a shift."""
COOLDOWN_MIN = 32
FAST = 3
"""Scales that begin anew after a gap."""
LOCATED = 64
"""Scores that are looked through for the place of a shift."""
FURTHER = 0.5
"""Of the best cut's gain: where all that is kept is nearly as new as that, the shift began before what is kept."""
CUT_MIN = 3
"""Ticks that say nothing yet of where a shift began."""

_SCALE = np.array(SCALES, np.float32)
_PART = Column(np.float32(2) / (_SCALE + 1))
_LEAVE = Column(1 + DRIFT / _SCALE)
_BOUND = Column(np.array(BOUNDS, np.float32))
_ARMED = Column(np.array([max(ARMED_MIN, 4 * each) for each in SCALES], np.int32))
_ARMED_AT = _ARMED.figures[:, 0].tolist()
_SETTLED = _ARMED_AT[-1]
_LOW_BITS = np.array(4, np.uint64)
_HIGH_BITS = np.array(60, np.uint64)
LEAST = np.float32(1e-6)
"""Of a variance whose logarithm is taken."""
_CALMING, _LEAST, _NOUGHT, _ONE = (np.array(each, np.float32) for each in (CALMING, LEAST, 0, 1))
_NEXT = np.array(1, np.int32)


class Alarm(NamedTuple):
    """One row of a block whose sum passed the bound."""

    at: int
    scale: int
    """Which of SCALES."""
    statistic: float
    ticks: int
    """That what is new has lasted."""


def watch(block: Block, values: Floats, residuals: Floats, lost: Rows | None) -> list[Alarm]:
    """One more tick of each row: what the slow forecast left over, ranked, scored and summed."""
    f4, i4 = block.f4, block.i4
    count, age = i4[COUNT], i4[AGE]
    spread = quantiles.spread_ties(residuals, count, f4[QUANTUM], values)
    tracked = f4[QUANTILES]
    below, code, scores = quantiles.ranked(tracked, spread)
    youngest = least(age)
    warm = np.flatnonzero(age < WARM) if youngest < WARM else None
    before = f4[KEPT, warm] if warm is not None else None
    quantiles.learn(tracked, below, age, youngest)
    _push(block, code)
    _sum(f4, scores)
    sums, restless, beyond = f4[SUMS], f4[RESTLESS], f4[ALERT]
    if youngest < _SETTLED:
        armed = bisect(_ARMED_AT, youngest)
        if armed == bisect(_ARMED_AT, most(age)):
            sums[armed:] = 0
        else:
            sums *= age >= _ARMED.beside(block.size)
    if lost is not None:
        _forget(block, lost)
    np.copyto(i4[SINCE], count, where=sums <= _NOUGHT)
    restless *= _CALMING
    np.maximum.reduce(sums / _BOUND.beside(block.size), out=beyond)
    if some(restless > _ONE):
        beyond /= np.maximum(restless, _ONE) ** 2
    over = beyond > _ONE
    if warm is not None and before is not None:
        f4[KEPT, warm] = before
        quantiles.keep(block, warm, spread)
    age += _NEXT
    cooldown = i4[COOLDOWN]
    if most(cooldown):
        cooldown -= cooldown > _NEXT
    if not some(over):
        return []
    return [_alarm(block, at) for at in np.flatnonzero(over).tolist() if age[at] > WARM and not cooldown[at]]


def _push(block: Block, code: Codes) -> None:
    ranks = block.u8
    carried = ranks[:-1] >> _HIGH_BITS
    ranks <<= _LOW_BITS
    ranks[1:] |= carried
    ranks[0] |= code


def _sum(f4: Singles, scores: Singles) -> None:
    means, variances, sums = f4[MEANS], f4[VARIANCES], f4[SUMS]
    part, size = _PART.beside(len(scores)), len(scores)
    scores = stretched(scores, len(SCALES))
    away = scores - means
    means += away * part
    away *= scores - means
    away -= variances
    away *= part
    variances += away
    np.maximum(variances, _LEAST, out=variances)
    excess = means * means
    excess += variances
    excess -= np.log(variances)
    excess -= _LEAVE.beside(size)
    sums += excess
    np.maximum(sums, _NOUGHT, out=sums)


def _forget(block: Block, rows: Rows) -> None:
    """What the fast scales saw lies before a gap."""
    for lines, usual in ((MEANS, 0), (VARIANCES, 1), (SUMS, 0)):
        block.f4[lines.start : lines.start + FAST, rows] = usual


def _alarm(block: Block, at: int) -> Alarm:
    sums = block.f4[SUMS, at] / _BOUND.figures[:, 0]
    scale = int(sums.argmax())
    since = int(block.i4[COUNT, at]) - int(block.i4[SINCE.start + scale, at])
    return Alarm(at, scale, float(block.f4[SUMS.start + scale, at]), located(block, at, since))


def latest(block: Block, at: int) -> Singles:
    """The scores of the last ticks, the oldest first: as many as are kept and were ranked since the quantiles began."""
    words = block.u8[:, at]
    shifts = np.arange(0, 64, 4, dtype=np.uint64)
    codes = ((words[:, None] >> shifts) & np.uint64(15)).ravel()
    ranked = min(LOCATED, int(block.i4[AGE, at]) - WARM)
    return quantiles.SCORES[codes[:ranked][::-1].astype(np.intp)]


def located(block: Block, at: int, since: int) -> int:
    """How many of the latest ticks belong to what is new: the cut that explains them best, unless it lies further back."""
    scores = latest(block, at).astype(np.float64)[::-1]
    number = np.arange(1, len(scores) + 1)
    mean = np.cumsum(scores) / number
    variance = np.maximum(np.cumsum(scores * scores) / number - mean * mean, 0.05)
    gain = number * (mean * mean + variance - 1 - np.log(variance))
    gain[:CUT_MIN] = 0
    best = int(gain.argmax()) + 1
    further = best >= len(scores) - 1 or (since > len(scores) and gain[-1] >= FURTHER * gain[best - 1])
    return since if further and since > best else best


def restart(block: Block, alarm: Alarm) -> None:
    """What is new is what is usual from here on; until the cooldown ends nothing is told."""
    at, scale = alarm.at, alarm.scale
    block.i4[AGE, at] = 0
    block.f4[RESTLESS, at] += 1
    block.i4[COOLDOWN, at] = max(COOLDOWN_MIN, SCALES[scale]) + 1
    block.f8[MEAN, at] = block.f8[ANCHOR, at] + float(block.f4[VALUE_MEANS.start + scale, at])
    block.f8[SPREAD, at] = float(block.f4[VALUE_VARIANCES.start + scale, at])
    block.i4[REGIME_COUNT, at] = 0
