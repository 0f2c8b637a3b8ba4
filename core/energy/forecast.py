"""What a stream will show next: four kinds of expert, mixed by how well they did lately, with an interval that learns its width.

Naive, exponential smoothing (the best of four rates lately), an autoregression of order four by recursive least squares on what
differs from the running mean, and the running mean. Where a stream has days, the autoregression also adds what it lacked at this
hour of earlier days, by as much as that helped lately: no season is declared. Weights follow (L_min / L)^16 with L the running
mean absolute error: free of scale, four squarings. The interval follows adaptive conformal inference (Gibbs and Candès, 2021). A
second mix, whose weights forget slowly and which knows no hours, is what the regime detector subtracts: the quick one would learn a
shift before anybody saw it, and what went wrong at this hour yesterday is no reason to look for a shift today.
"""

from typing import NamedTuple

import numpy as np

from core.energy import layout
from core.energy.layout import (
    AGE,
    ALERT,
    COUNT,
    FEW,
    GAINS,
    HALF,
    HIGH,
    HOUR_OF,
    HOURS,
    HOURS_HIT,
    HOURS_SIZE,
    LAGS,
    LEVEL_LOSSES,
    LEVEL_OF,
    LOSSES,
    LOW,
    MEAN,
    QUANTUM,
    REGIME_COUNT,
    SLOW_LOSSES,
    SPREAD,
    STEP,
    WEIGHTS,
    Block,
    Column,
    Flags,
    Floats,
    Rows,
    Singles,
    beside,
    each,
    every,
    some,
)

RATES = (0.05, 0.15, 0.35, 0.7)
ORDER = 4
FORGET = 0.999
LOSS_RATE = np.float32(0.02)
OLD = 64
"""Ticks after which that is the rate: before, nothing is forgotten."""
SLOW_RATE = np.float32(1 / 2_048)
HANDICAP = np.array([1.03, 1.03, 1.0, 1.0], np.float32)
"""What the detector's mix adds to the losses of those that follow a shift at once: where they are no better, they would hide it."""
MEAN_MAX = 4_096.0
"""The running mean looks back no further."""
DOUBTED = np.float32(0.25)
"""Of the bound: while the detector nears it, its mix learns slowly, or it would learn the shift."""
DOUBT = np.float32(1 / 4)
BELIEVABLE = np.float32(6)
"""Greater errors count as so many usual ones: else one great jump would turn the detector's mix to whoever follows it."""
KNOWN = 128
"""Ticks after which a stream has usual errors."""
WIDEN = np.float32(0.15)
MISS = np.float32(0.05)
"""The share of outcomes that may lie outside the interval."""
TINY = np.float32(1e-30)
START_GAIN = 10.0
"""How freely the autoregression learns at first, in units of the stream's own variance."""
GAIN_MAX = 1e6
"""Beyond this nothing is forgotten: where nothing happens, forgetting makes the gains grow without bound."""
DAY_S = 86_400.0
DAY_STEPS_MIN = 4
"""A stream with fewer points a day has no hours."""
DAYS = 14.0
"""That an hour looks back on."""
HELP_RATE = np.float32(1 / 512)
"""How fast it is forgotten whether the hours helped."""
EXPERTS = ("naive", "smoothing", "autoregression", "mean")

_RATES = Column(np.array(RATES))
_HANDICAP = Column(HANDICAP)
_OF_EACH = np.repeat(np.arange(2), ORDER)
"""Of each expert's loss in either mix, which of the two mixes it is of."""
_PAIRS = [(i, j) for i in range(ORDER) for j in range(i, ORDER)]
_FIRST = np.array([i for i, _ in _PAIRS])
_SECOND = np.array([j for _, j in _PAIRS])
_DIAGONAL = np.array([_PAIRS.index((i, i)) for i in range(ORDER)])
_TERMS = WEIGHTS.start + np.array(
    [[i, *(ORDER + _PAIRS.index((min(i, j), max(i, j))) for j in range(ORDER))] for i in range(ORDER)]
)
"""Weights and gains stand side by side: of each lag the weight, and its row of the gains."""
_BESIDE_TERMS = np.repeat(np.arange(ORDER)[:, None], ORDER + 1, axis=1)
"""The lag that each of these is multiplied with."""
_LINES = np.array([*range(LEVEL_OF.start, LEVEL_OF.stop), *[LAGS.start] * 3, MEAN, MEAN])
"""What `Ahead.lines` begin as: smoothing, the autoregression and the mix are still to come."""
_JUDGED = slice(LEVEL_LOSSES.start, LOSSES.stop)
"""So do the losses of the levels, of the experts and of the mix."""
_AT_LEVELS, _AT_EXPERTS, _AT_MIX = slice(0, 4), slice(4, 8), 8
_HALF, _TWO, _DAY, _HOUR, _LAST_HOUR, _STEP_MAX, _MEAN_MAX = (
    np.array(each) for each in (0.5, 2.0, DAY_S, HOURS / DAY_S, HOURS - 1.0, DAY_S / DAY_STEPS_MIN, MEAN_MAX)
)
_FIRST_TICK = np.array(1, np.int32)
_ONE, _SPREAD_RATE, _GAIN_MAX, _FORGET, _NO_GAIN, _DAYS = (np.array(each) for each in (1.0, 1 / 512, GAIN_MAX, FORGET, 0.0, DAYS))
_TINY, _SINGLE, _DOUBLE, _NOUGHT, _MISS, _WIDEN, _LOSS_RATE, _SLOW_RATE, _DOUBTED, _BELIEVABLE, _HOUR_SINGLE, _INFINITE = (
    np.array(each, np.float32)
    for each in (TINY, 1, 2, 0, MISS, WIDEN, LOSS_RATE, SLOW_RATE, DOUBTED, BELIEVABLE, HOURS / DAY_S, np.inf)
)


class Hour(NamedTuple):
    """The hour of the day that the next points are of."""

    place: Rows | int
    """Where it stands, of all hours of all rows; or which it is of all of them."""
    lacked: Singles
    """What the autoregression lacked in it on earlier days."""
    passed: Floats
    """Seconds that a row has been followed, as its usual step has it."""
    known: Flags | None
    """A day has passed, and a day has enough points; None where that is so of no row."""
    young: bool
    """No row has been followed for a day."""


class Ahead(NamedTuple):
    """What is expected of the next point, from what was seen."""

    lines: Floats
    """What each smoothed level, each expert and the mix say, one line each."""
    slow: Floats
    half: Singles
    """Half the width of the 95 % interval around `mixed`."""
    deviations: Floats
    """The last four values less the running mean."""
    pulled: Floats
    """The weights times these, and the gains times these, a line each."""
    plain: Floats
    """The autoregression, without what the hour adds."""
    hour: Hour

    @property
    def experts(self) -> Floats:
        """One line each, in the order of EXPERTS."""
        return self.lines[_AT_EXPERTS]

    @property
    def mixed(self) -> Floats:
        found: Floats = self.lines[_AT_MIX]
        return found


def hours_of(times: Floats) -> Rows:
    """Which of HOURS these times are of."""
    found: Rows = np.minimum(np.mod(times, _DAY) * _HOUR, _LAST_HOUR).astype(np.intp)
    return found


def hour_of(time: float) -> int:
    """The same of one time."""
    return int(min(time % DAY_S * (HOURS / DAY_S), HOURS - 1.0))


def ahead(block: Block, hours: Rows | int) -> Ahead:
    """The forecast of the next value of each row, which is of this hour."""
    f8, f4, size = block.f8, block.f4, block.size
    lags, mean, lowest, highest = f8[LAGS], f8[MEAN], f8[LOW], f8[HIGH]
    lines = f8.take(_LINES, 0)
    experts = lines[_AT_EXPERTS]
    f8[LEVEL_OF].take(f4[LEVEL_LOSSES].argmin(0) * size + each(size), out=experts[1])
    deviations = lags - beside(mean, ORDER)
    pulled = in_turn(f8.take(_TERMS, 0) * (deviations.take(_BESIDE_TERMS, 0) if size <= FEW else deviations[:, None]), 0)
    margin = _HALF * (highest - lowest)
    low, high = lowest - margin, highest + margin
    raw = mean + pulled[0]
    hour = _hour(block, hours)
    plain = np.minimum(np.maximum(raw, low), high)
    experts[2] = plain
    shares = _shares(f4)
    if hour.known is None:
        slow, lines[_AT_MIX] = _mixed(shares, experts)
    else:
        both = np.empty((2, 4, size))
        both[:] = experts
        both[1, 2] = experts[2] = np.minimum(np.maximum(raw + _added(f4, hour, hour.known), low), high)
        slow, lines[_AT_MIX] = _mixed(shares, both)
    half = np.maximum(f4[HALF], _DOUBLE * f4[QUANTUM])
    return Ahead(lines, slow, half, deviations, pulled, plain, hour)


def _hour(block: Block, hours: Rows | int) -> Hour:
    f4 = block.f4
    place: Rows | int
    if isinstance(hours, int):
        place, lacked = hours, f4[HOUR_OF.start + hours].copy()
    else:
        place = hours * block.size + each(block.size)
        lacked = f4[HOUR_OF].take(place)
    step = f4[STEP]
    passed = block.i4[COUNT] * step
    known: Flags = passed >= _DAY
    young = not some(known)
    if not young:
        known &= step <= _STEP_MAX
    return Hour(place, lacked, passed, None if young or not some(known) else known, young)


def _added(f4: Singles, hour: Hour, known: Flags) -> Singles:
    """What the hour lacked, by the share of it that proved right: the slope of errors on it, between 0 and 1."""
    share = f4[HOURS_HIT] / np.maximum(f4[HOURS_SIZE], TINY)
    added: Singles = hour.lacked * np.minimum(np.maximum(share, 0), 1) * known
    return added


def _learn_hour(block: Block, values: Floats, said: Ahead, most: Singles | None, lost: Rows | None) -> None:
    f4, hour = block.f4, said.hour
    error = (values - said.plain).astype(np.float32)
    if most is not None:
        error = np.minimum(np.maximum(error, -most), most)
    rate = np.minimum(f4[STEP] * _HOUR_SINGLE, _SINGLE).astype(np.float64)
    if not hour.young:
        rate /= np.minimum(np.maximum(hour.passed / _DAY, _ONE), _DAYS)
    if lost is not None:
        error[lost] = hour.lacked[lost]
    learnt = hour.lacked + rate * (error - hour.lacked)
    if isinstance(hour.place, int):
        f4[HOUR_OF.start + hour.place] = learnt
    else:
        f4[HOUR_OF].put(hour.place, learnt)
    if hour.known is not None:
        help_rate = HELP_RATE * hour.known
        f4[HOURS_HIT] += help_rate * (error * hour.lacked - f4[HOURS_HIT])
        f4[HOURS_SIZE] += help_rate * (hour.lacked * hour.lacked - f4[HOURS_SIZE])


def without_hours(block: Block, said: Ahead) -> Floats:
    """The mix as if no hour had a past: what went wrong at this hour yesterday makes nothing unusual today."""
    experts = said.experts.copy()
    experts[2] = said.plain
    found: Floats = _mixed(_shares(block.f4), experts)[1]
    return found


def in_turn(lines: Floats, axis: int) -> Floats:
    """The sum of a few lines, one after the other: so the last bit is the same for one stream and for thousands."""
    found: Floats = np.add.reduce(lines, axis)
    return found


def _shares(f4: Singles) -> Floats:
    """How much each expert counts: in the mix of the detector, and in that which is told."""
    losses = np.empty((2, 4, f4.shape[1]), np.float32)
    np.multiply(f4[SLOW_LOSSES], _HANDICAP.beside(f4.shape[1]), out=losses[0])
    losses[1] = f4[LOSSES][:4]
    best = np.minimum.reduce(losses, axis=1, keepdims=True)
    best += _TINY
    losses += _TINY
    weights = (best.take(_OF_EACH, 0).reshape(losses.shape) if f4.shape[1] <= FEW else best) / losses
    for _ in range(4):
        weights *= weights
    slow = weights[0]
    slow *= slow
    slow *= slow
    return weights.astype(np.float64)


def _mixed(shares: Floats, experts: Floats) -> Floats:
    found: Floats = in_turn(shares * experts, 1) / in_turn(shares, 1)
    return found


def weights_of(block: Block) -> Floats:
    """How much each expert counts, one line each."""
    losses = block.f4[LOSSES][:4].astype(np.float64)
    raw = ((losses.min(axis=0) + TINY) / (losses + TINY)) ** 16
    found: Floats = raw / raw.sum(axis=0)
    return found


def begin(block: Block, first: Flags, values: Floats) -> None:
    """Rows whose first point this is: they expect what they see."""
    value = values[first]
    for field in (LAGS, LEVEL_OF):
        block.f8[field, first] = value
    for line in (MEAN, LOW, HIGH):
        block.f8[line, first] = value


def learn(block: Block, values: Floats, said: Ahead, lost: Rows | None, youngest: int) -> None:
    """The outcome of what was said. The lags of the rows in `lost` begin anew: before them lies a gap. `youngest` is the least
    count of them all.
    """
    f8, f4, i4 = block.f8, block.f4, block.i4
    off = beside(values, len(said.lines)) - said.lines
    errors = np.abs(off).astype(np.float32)
    rate: Singles = _LOSS_RATE
    if youngest < OLD:
        rate = np.maximum(rate, _SINGLE / np.maximum(i4[COUNT], _FIRST_TICK).astype(np.float32))
    _judge(f4, errors, rate)
    errors = errors[_AT_EXPERTS]
    if said.hour.known is not None:
        errors[2] = np.abs(values - said.plain)
    ages = i4[AGE]
    most = _most(block, layout.least(ages)) if layout.most(ages) >= KNOWN else None
    _learn_hour(block, values, said, most, lost)
    believed = np.maximum(_SLOW_RATE, _SINGLE / np.maximum(ages, _FIRST_TICK).astype(np.float32))
    doubted = f4[ALERT] < _DOUBTED
    if not every(doubted):
        believed *= np.where(doubted, np.float32(1), DOUBT)
    losses = f4[SLOW_LOSSES]
    missed = (errors if most is None else np.minimum(errors, beside(most, len(losses)))) - losses
    missed *= beside(believed, len(losses))
    losses += missed
    mean = f8[MEAN]
    target = off[_AT_EXPERTS][3]
    _regress(block, target, said, lost)
    moved = off[_AT_LEVELS]
    moved *= _RATES.beside(len(values))
    f8[LEVEL_OF] += moved
    mean += target / np.minimum(i4[REGIME_COUNT] + _ONE, _MEAN_MAX)
    np.minimum(f8[LOW], values, out=f8[LOW])
    np.maximum(f8[HIGH], values, out=f8[HIGH])
    lags = f8[LAGS]
    lags[1:] = lags[:-1]
    lags[0] = values
    if lost is not None:
        lags[:, lost] = values[lost]


def _most(block: Block, youngest: int) -> Singles:
    """The greatest error that is believed, of each row."""
    least = np.minimum.reduce(block.f4[SLOW_LOSSES])
    known, most = least > _NOUGHT, _BELIEVABLE * least
    if youngest < KNOWN:
        known &= block.i4[AGE] >= KNOWN
    return most if every(known) else np.where(known, most, _INFINITE)


def _judge(f4: Singles, errors: Singles, rate: Singles) -> None:
    """Running losses, and the half-width that 95 of 100 errors of the mix stay below."""
    half, losses = f4[HALF], f4[_JUDGED]
    change = errors - losses
    change *= rate if rate is _LOSS_RATE else beside(rate, len(losses))
    losses += change
    outside = (errors[_AT_MIX] > half).astype(np.float32)
    outside -= _MISS
    outside *= (_WIDEN if rate is _LOSS_RATE else np.maximum(_WIDEN, rate)) * losses[_AT_MIX]
    half += outside
    np.maximum(half, _NOUGHT, out=half)


def _regress(block: Block, target: Floats, said: Ahead, lost: Rows | None) -> None:
    f8 = block.f8
    gains, weights, spread = f8[GAINS], f8[WEIGHTS], f8[SPREAD]
    along = said.pulled[1:]
    scale = _FORGET + in_turn(along * said.deviations, 0)
    error = target - said.pulled[0]
    if lost is not None:
        error[lost] = 0.0
    weights += along * beside(error / scale, ORDER)
    gains -= along.take(_FIRST, 0) * along.take(_SECOND, 0) / beside(scale, len(_PAIRS))
    bounded = in_turn(gains.take(_DIAGONAL, 0), 0) * spread < _GAIN_MAX
    gains /= _FORGET if every(bounded) else np.where(bounded, _FORGET, _ONE)
    spread += (target * target - spread) * np.maximum(_SPREAD_RATE, _ONE / np.maximum(block.i4[REGIME_COUNT], _FIRST_TICK))
    dormant = gains[0] == _NO_GAIN
    if some(dormant):
        _wake(block, dormant & (block.i4[COUNT] >= ORDER) & (spread > 0))


def _wake(block: Block, dormant: Flags) -> None:
    if some(dormant):
        gains = block.f8[GAINS]
        for line in _DIAGONAL.tolist():
            gains[line, dormant] = START_GAIN / block.f8[SPREAD, dormant]
