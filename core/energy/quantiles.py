"""The rank of a residual among those before it, and the fifteen quantiles that are kept for that.

Ranks make the detector free of scale and of the shape of the noise. Ties are spread by the golden ratio of the tick and not by
chance, over the width of the sensor's own step: so rounded and constant streams have the same ranks as any other.
"""

import numpy as np

from core.energy.layout import (
    AGE,
    ALERT,
    COUNT,
    KEPT,
    LEVELS,
    MEANS,
    QUANTILES,
    SINCE,
    SUMS,
    VARIANCES,
    WARM,
    Block,
    Codes,
    Column,
    Counts,
    Flags,
    Floats,
    Rows,
    Singles,
    beside,
)

GOLDEN = 0.6180339887
LEARN_MAX = 4_096
"""The quantiles look back no further, and learn no slower than that."""
BOLD = 1.3
"""How much more than a bell curve would need: heavier tails are learnt in time."""
ARTLESS = 1e-12
"""Of the value, and LEAST at all: no sensor tells less apart."""
LEAST = 1e-30
_SHARE = np.array([(i + 1) / 16 for i in range(LEVELS)], np.float32) - np.float32(1)
"""The level of each quantile, less one."""
NORMAL = (
    -1.862731867421652, -1.3180108973035372, -1.0099901692495805, -0.7764217611479275, -0.5791321622555556,
    -0.40225006532172536, -0.23720210932878766, -0.07841241273311217,
)  # fmt: skip
"""The normal deviate at (i + 1/2)/16."""
_SPREAD = (2 * sum(each * each for each in NORMAL) / 16) ** 0.5
SCORES = np.array([*NORMAL, *(-each for each in reversed(NORMAL))], np.float32) / np.float32(_SPREAD)
"""Of each rank: mean 0 and variance 1 over the sixteen."""
BELL = (
    -1.5341205443525463, -1.1503493803760079, -0.887146559018876, -0.6744897501960817, -0.4887764111146695,
    -0.31863936396437514, -0.15731068461017073, 0.0,
)  # fmt: skip
"""The normal deviate at (i + 1)/16."""
_DENSITY = [np.exp(-z * z / 2) / np.sqrt(2 * np.pi) for z in (*BELL, *(-z for z in reversed(BELL[:-1])))]
_STRIDE = np.array([BOLD / (each * 1.3489795003921634) for each in _DENSITY], np.float32)
"""One over the density of a bell curve whose quartiles are 1 apart."""
_UP, _DOWN = Column((1 + _SHARE) * _STRIDE), Column(_SHARE * _STRIDE)
"""How far a quantile moves that lies below the residual, and one that does not."""
_GOLDEN, _MIDDLE, _ARTLESS, _LEAST = (np.array(each) for each in (GOLDEN, 0.5, ARTLESS, LEAST))
_NEXT, _LEARN_MAX = np.array(1, np.int32), np.array(LEARN_MAX, np.int32)


def spread_ties(residuals: Floats, ticks: Counts, quantum: Singles, values: Floats) -> Singles:
    """The residuals as if the sensor had not rounded."""
    golden = ticks * _GOLDEN
    golden -= np.floor(golden)
    golden -= _MIDDLE
    golden *= np.maximum(np.maximum(_ARTLESS * np.abs(values), _LEAST), quantum)
    spread: Singles = (residuals + golden).astype(np.float32)
    return spread


def ranked(quantiles: Singles, residuals: Singles) -> tuple[Flags, Codes, Singles]:
    """Which quantiles lie below each residual, how many do, and the score of that rank."""
    below = quantiles < beside(residuals, LEVELS)
    code: Codes = np.add.reduce(below, 0, np.uint8)
    scores: Singles = SCORES.take(code)
    return below, code, scores


def learn(quantiles: Singles, below: Flags, age: Counts, youngest: int) -> None:
    """Each quantile moves towards its level; `below` says which lay below the residual."""
    ticks = age if youngest >= WARM else np.maximum(age, WARM)
    rate = (quantiles[11] - quantiles[3]) / np.minimum(ticks + _NEXT, _LEARN_MAX).astype(np.float32)
    size = len(age)
    quantiles += np.where(below, _UP.beside(size), _DOWN.beside(size)) * beside(rate, LEVELS)


def keep(block: Block, warm: Rows, residuals: Singles) -> None:
    """The first residuals of some rows are kept one by one; with the last of them there are quantiles, and the sums begin."""
    f4, age = block.f4, block.i4[AGE, warm]
    kept = age >= 0
    f4[KEPT.start + age[kept], warm[kept]] = residuals[warm[kept]]
    full = warm[age == WARM - 1]
    if len(full):
        f4[QUANTILES, full] = np.sort(f4[KEPT, full], axis=0)[1::2]
        begin_sums(block, full)


def begin_sums(block: Block, rows: Rows) -> None:
    """Scores as if nothing unusual had ever been seen."""
    block.f4[MEANS, rows] = 0
    block.f4[VARIANCES, rows] = 1
    block.f4[SUMS, rows] = 0
    block.f4[ALERT, rows] = 0
    block.i4[SINCE, rows] = block.i4[COUNT, rows]
