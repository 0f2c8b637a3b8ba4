"""How unusual a single point is: the larger of two tails, of what the forecast left over and of the level, in powers of ten.

A tail is that of Student's distribution with four degrees of freedom, whose logarithm is nearly linear in the logarithm of the
deviation: telemetry has heavy tails, and a bell curve would call every tenth day a miracle. One threshold holds for every stream.
"""

import numpy as np

from core.energy import forecast
from core.energy.layout import ANCHOR, COUNT, LOSSES, QUANTUM, VALUE_MEANS, VALUE_VARIANCES, Block, Floats

COUNT_MIN = 64
"""Points before anything is unusual."""
SPREAD_OF_LOSS = 1.2533141373155001
"""Standard deviation of a bell curve of mean absolute value 1."""
THRESHOLD = 2.5
"""Of a single point of a single stream, from which on it is shown: minus a power of ten."""
QUIET = 200
"""Ticks in which a stream is not shown twice."""
SOURCE_RATE = 1 / 64
SOURCE_THRESHOLD = 0.46
"""Of the mean over a source's streams, smoothed: many small deviations that last."""
TAIL_MAX = 6.0
"""A single stream counts no more than this in its source."""


def tails(block: Block, values: Floats) -> Floats:
    """−log₁₀ of the tail of each next value, from what its row knew before it."""
    said = forecast.ahead(block)
    step = block.f4[QUANTUM].astype(np.float64)
    spread = np.maximum(SPREAD_OF_LOSS * block.f4[LOSSES.stop - 1].astype(np.float64), step)
    level = values - block.f8[ANCHOR] - block.f4[VALUE_MEANS.stop - 1]
    slow = np.maximum(np.sqrt(block.f4[VALUE_VARIANCES.stop - 1].astype(np.float64)), step)
    found = np.maximum(_tail(values - said.mixed, spread), _tail(level, slow))
    shown: Floats = np.where(block.i4[COUNT] >= COUNT_MIN, found, 0.0)
    return shown


def source_level(before: float, tails_of: Floats) -> float:
    """How unusual a source is with one more tick of its streams, from how unusual it was."""
    return before + SOURCE_RATE * (float(np.minimum(tails_of, TAIL_MAX).mean()) - before)


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
