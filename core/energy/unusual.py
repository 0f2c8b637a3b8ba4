"""How unusual a point is: two tails, of what the forecast left over and of the level, in powers of ten, added and smoothed.

A tail is that of Student's distribution with four degrees of freedom, whose logarithm is nearly linear in the logarithm of the
deviation: telemetry has heavy tails, and a bell curve would call every tenth day a miracle. One threshold holds for every stream.
What lasts a little counts for more than what is gone with the next point; how much of it is left is kept by the caller.
"""

from typing import NamedTuple

import numpy as np

from core.energy import forecast
from core.energy.layout import ANCHOR, COUNT, LOSSES, QUANTUM, SLOW_LOSSES, VALUE_MEANS, VALUE_VARIANCES, Block, Floats

COUNT_MIN = 64
"""Points before anything is unusual."""
SPREAD_OF_LOSS = 1.2533141373155001
"""Standard deviation of a bell curve of mean absolute value 1."""
STREAM_RATE = 1 / 8
STREAM_THRESHOLD = 1.75
"""Of the smoothed tails of one stream, from which on it is shown."""
QUIET = 100
"""Ticks in which a stream is not shown twice."""
STREAM_MAX = 12.0
"""One point says no more than this of its stream."""
SOURCE_RATE = 1 / 128
SOURCE_THRESHOLD = 0.46
"""Of the mean over the streams of a source, smoothed: many small deviations that last."""
SOURCE_MAX = 6.0
"""One point says no more than this of its source."""


class Tails(NamedTuple):
    stream: Floats
    """Of what is left over against its usual size, and of the level: their sum."""
    source: Floats
    """Of what is left over against its size lately, and of the level: the larger."""


def tails(block: Block, times: Floats, values: Floats) -> Tails:
    """−log₁₀ of the tails of each next value, from what its row knew before it."""
    error = values - forecast.without_hours(block, forecast.ahead(block, forecast.hours_of(times)))
    step = block.f4[QUANTUM].astype(np.float64)
    usual = np.maximum(SPREAD_OF_LOSS * block.f4[SLOW_LOSSES].min(axis=0), step)
    level = values - block.f8[ANCHOR] - block.f4[VALUE_MEANS.stop - 1]
    slow = np.maximum(np.sqrt(block.f4[VALUE_VARIANCES.stop - 1].astype(np.float64)), step)
    lately = np.maximum(SPREAD_OF_LOSS * block.f4[LOSSES.stop - 1].astype(np.float64), step)
    of_level = _tail(level, slow)
    known = block.i4[COUNT] >= COUNT_MIN
    stream = np.minimum(_tail(error, usual) + of_level, STREAM_MAX) * known
    return Tails(stream, np.minimum(np.maximum(_tail(error, lately), of_level), SOURCE_MAX) * known)


def stream_level(before: float, tail: float) -> float:
    """How unusual a stream is with one more point, from how unusual it was."""
    return before + STREAM_RATE * (tail - before)


def source_level(before: float, tails_of: Floats) -> float:
    """How unusual a source is with one more tick of its streams."""
    return before + SOURCE_RATE * (float(tails_of.mean()) - before)


def _tail(away: Floats, spread: Floats) -> Floats:
    """Two-sided, Student's with four degrees of freedom: 1 − (3/2) u + ½ u³ with u = t/√(4 + t²)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread > 0, np.abs(away) / spread, np.where(away == 0, 0.0, np.inf))
    t = np.minimum(t, 1e6)
    rest = 4 / (4 + t * t)
    u = np.sqrt(1 - rest)
    # 1 − u loses every digit where the tail is thin.
    short = rest / (1 + u)
    found: Floats = -np.log10(np.maximum(short * short * (2 + u) / 2, 1e-30))
    return found
