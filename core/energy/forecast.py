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

from core.energy.layout import (
    AGE,
    ALERT,
    COUNT,
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
    Flags,
    Floats,
    Rows,
    Singles,
)

RATES = (0.05, 0.15, 0.35, 0.7)
ORDER = 4
FORGET = 0.999
LOSS_RATE = np.float32(0.02)
SLOW_RATE = np.float32(1 / 2_048)
HANDICAP = np.array([[1.03], [1.03], [1.0], [1.0]], np.float32)
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
DAYS = np.float32(14)
"""That an hour looks back on."""
HELP_RATE = np.float32(1 / 512)
"""How fast it is forgotten whether the hours helped."""
EXPERTS = ("naive", "smoothing", "autoregression", "mean")

_RATES = np.array(RATES)[:, None]
_PAIRS = [(i, j) for i in range(ORDER) for j in range(i, ORDER)]
_FIRST = np.array([i for i, _ in _PAIRS])
_SECOND = np.array([j for _, j in _PAIRS])
_FULL = np.array([_PAIRS.index((min(i, j), max(i, j))) for i in range(ORDER) for j in range(ORDER)])
_DIAGONAL = [_PAIRS.index((i, i)) for i in range(ORDER)]


class Hour(NamedTuple):
    """The hour of the day that the next points are of."""

    line: Rows
    """Which, of HOURS."""
    lacked: Singles
    """What the autoregression lacked in it on earlier days."""
    known: Flags
    """A day has passed, and a day has enough points."""


class Ahead(NamedTuple):
    """What is expected of the next point, from what was seen."""

    experts: Floats
    """One line each, in the order of EXPERTS."""
    mixed: Floats
    slow: Floats
    half: Singles
    """Half the width of the 95 % interval around `mixed`."""
    deviations: Floats
    """The last four values less the running mean."""
    plain: Floats
    """The autoregression, without what the hour adds."""
    hour: Hour


def ahead(block: Block, times: Floats) -> Ahead:
    """The forecast of the next value of each row, which is one of this time."""
    f8, f4 = block.f8, block.f4
    experts = np.empty((4, block.size))
    experts[0] = f8[LAGS.start]
    experts[1] = _smoothed(f8[LEVEL_OF], f4[LEVEL_LOSSES])
    deviations = f8[LAGS] - f8[MEAN]
    margin = 0.5 * (f8[HIGH] - f8[LOW])
    raw = f8[MEAN] + in_turn(f8[WEIGHTS] * deviations, 0)
    low, high = f8[LOW] - margin, f8[HIGH] + margin
    hour = _hour(block, times)
    plain = np.minimum(np.maximum(raw, low), high)
    experts[2] = plain
    experts[3] = f8[MEAN]
    slow = _mix(experts, f4[SLOW_LOSSES] * HANDICAP, 6)
    if np.count_nonzero(hour.known):
        experts[2] = np.minimum(np.maximum(raw + _added(f4, hour), low), high)
    mixed = _mix(experts, f4[LOSSES][:4], 4)
    half = np.maximum(f4[HALF], 2 * f4[QUANTUM])
    return Ahead(experts, mixed, slow, half, deviations, plain, hour)


def _hour(block: Block, times: Floats) -> Hour:
    f4 = block.f4
    line = np.minimum(np.mod(times, DAY_S) * (HOURS / DAY_S), HOURS - 1).astype(np.intp)
    step = f4[STEP]
    known = (block.i4[COUNT] * step >= DAY_S) & (step <= DAY_S / DAY_STEPS_MIN)
    return Hour(line, f4[HOUR_OF][line, np.arange(block.size)], known)


def _added(f4: Singles, hour: Hour) -> Singles:
    """What the hour lacked, by the share of it that proved right: the slope of errors on it, between 0 and 1."""
    share = f4[HOURS_HIT] / np.maximum(f4[HOURS_SIZE], TINY)
    added: Singles = hour.lacked * np.minimum(np.maximum(share, 0), 1) * hour.known
    return added


def _learn_hour(block: Block, values: Floats, said: Ahead, most: Singles, lost: Rows | None) -> None:
    f4, hour = block.f4, said.hour
    error = np.minimum(np.maximum((values - said.plain).astype(np.float32), -most), most)
    step = f4[STEP]
    days = np.minimum(np.maximum(block.i4[COUNT] * step / np.float32(DAY_S), 1), DAYS)
    rate = np.minimum(step * np.float32(HOURS / DAY_S), 1) / days
    if lost is not None:
        error[lost] = hour.lacked[lost]
    f4[HOUR_OF][hour.line, np.arange(block.size)] += rate * (error - hour.lacked)
    if np.count_nonzero(hour.known):
        help_rate = HELP_RATE * hour.known
        f4[HOURS_HIT] += help_rate * (error * hour.lacked - f4[HOURS_HIT])
        f4[HOURS_SIZE] += help_rate * (hour.lacked * hour.lacked - f4[HOURS_SIZE])


def without_hours(block: Block, said: Ahead) -> Floats:
    """The mix as if no hour had a past: what went wrong at this hour yesterday makes nothing unusual today."""
    experts = said.experts.copy()
    experts[2] = said.plain
    return _mix(experts, block.f4[LOSSES][:4], 4)


def in_turn(lines: Floats, axis: int) -> Floats:
    """The sum of a few lines, one after the other: so the last bit is the same for one stream and for thousands."""
    found: Floats = np.add.reduce(lines, axis)
    return found


def _smoothed(levels: Floats, losses: Singles) -> Floats:
    best: Floats = levels[losses.argmin(axis=0), np.arange(levels.shape[1])]
    return best


def _mix(experts: Floats, losses: Singles, squarings: int) -> Floats:
    weights = (np.minimum.reduce(losses) + TINY) / (losses + TINY)
    for _ in range(squarings):
        weights *= weights
    shares = weights.astype(np.float64)
    mixed: Floats = in_turn(shares * experts, 0) / in_turn(shares, 0)
    return mixed


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


def learn(block: Block, values: Floats, said: Ahead, lost: Rows | None) -> None:
    """The outcome of what was said. The lags of the rows in `lost` begin anew: before them lies a gap."""
    f8, f4 = block.f8, block.f4
    count = block.i4[COUNT]
    errors = np.empty((5, block.size), np.float32)
    np.abs(values - said.experts, out=errors[:4], casting="same_kind")
    np.abs(values - said.mixed, out=errors[4], casting="same_kind")
    start = np.float32(1) / np.maximum(count, 1).astype(np.float32)
    rate = np.maximum(LOSS_RATE, start)
    _judge(f4, errors, rate)
    young = np.float32(1) / np.maximum(block.i4[AGE], 1).astype(np.float32)
    errors[2] = np.abs(values - said.plain)
    most = _most(block)
    _learn_hour(block, values, said, most, lost)
    believed = np.maximum(SLOW_RATE, young) * np.where(f4[ALERT] < DOUBTED, np.float32(1), DOUBT)
    f4[SLOW_LOSSES] += believed * (np.minimum(errors[:4], most) - f4[SLOW_LOSSES])
    level_errors = np.abs(values - f8[LEVEL_OF]).astype(np.float32)
    f4[LEVEL_LOSSES] += rate * (level_errors - f4[LEVEL_LOSSES])
    _regress(block, values - f8[MEAN], said.deviations, lost)
    f8[LEVEL_OF] += _RATES * (values - f8[LEVEL_OF])
    f8[MEAN] += (values - f8[MEAN]) / np.minimum(block.i4[REGIME_COUNT] + 1.0, MEAN_MAX)
    np.minimum(f8[LOW], values, out=f8[LOW])
    np.maximum(f8[HIGH], values, out=f8[HIGH])
    lags = f8[LAGS]
    lags[3] = lags[2]
    lags[2] = lags[1]
    lags[1] = lags[0]
    lags[0] = values
    if lost is not None:
        lags[:, lost] = values[lost]


def _most(block: Block) -> Singles:
    """The greatest error that is believed, of each row."""
    losses = block.f4[SLOW_LOSSES]
    least = np.minimum.reduce(losses)
    most: Singles = np.where((block.i4[AGE] >= KNOWN) & (least > 0), BELIEVABLE * least, np.float32(np.inf))
    return most


def _judge(f4: Singles, errors: Singles, rate: Singles) -> None:
    """Running losses, and the half-width that 95 of 100 errors of the mix stay below."""
    half, losses = f4[HALF], f4[LOSSES]
    losses += rate * (errors - losses)
    outside = (errors[4] > half).astype(np.float32)
    half += np.maximum(WIDEN, rate) * losses[4] * (outside - MISS)
    np.maximum(half, 0, out=half)


def _regress(block: Block, target: Floats, deviations: Floats, lost: Rows | None) -> None:
    f8 = block.f8
    gains, weights, spread = f8[GAINS], f8[WEIGHTS], f8[SPREAD]
    count = block.i4[COUNT]
    projected = gains[_FULL].reshape(ORDER, ORDER, -1) * deviations
    along = in_turn(projected, 1)
    scale = FORGET + in_turn(along * deviations, 0)
    error = target - in_turn(weights * deviations, 0)
    if lost is not None:
        error[lost] = 0.0
    weights += along * (error / scale)
    gains -= along[_FIRST] * along[_SECOND] / scale
    trace = in_turn(gains[_DIAGONAL], 0)
    gains /= np.where(trace * spread < GAIN_MAX, FORGET, 1.0)
    spread += (target * target - spread) * np.maximum(1 / 512, 1.0 / np.maximum(block.i4[REGIME_COUNT], 1))
    dormant = (gains[0] == 0) & (count >= ORDER) & (spread > 0)
    if np.count_nonzero(dormant):
        for line in _DIAGONAL:
            gains[line, dormant] = START_GAIN / spread[dormant]
