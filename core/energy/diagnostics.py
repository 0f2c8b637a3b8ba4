"""What a stream shows besides its regime: how its entropy changes across scales, how far it is from rest, whether it slows down.

Stand-ins from physics that put things in order and decide nothing. The energy of a stream is E = ½ζ², with ζ its distance from the
mean of the slow scale in spreads of that scale, which is what fixes its temperature at 1; its heat capacity is the variance of E.
A system that nears a gradual change fluctuates more and forgets more slowly, which is what `candidates` looks for at two scales at
once; a jump gives no warning, and none is claimed.
"""

from typing import NamedTuple

import numpy as np

from core.energy import entropy
from core.energy.layout import (
    AGE,
    ANCHOR,
    COUNT,
    HEAT_MEANS,
    HEAT_VARIANCES,
    LAGGED,
    LAGS,
    MEANS,
    SCALES,
    VALUE_MEANS,
    VALUE_VARIANCES,
    VARIANCES,
    WARM,
    Block,
    Flags,
    Floats,
)

ENERGY_MAX = np.float32(50.0)
"""One wild value says no more."""
WATCHED = (1, 2, 4)
"""Which of SCALES: two fast ones, and the slow one they are held against."""
KNOWN = 1_024
"""Ticks before the slow scale is one."""
RISEN = (2.0, 1.5)
"""C_w ÷ C_slow at the two fast scales, and"""
SLOWED = (0.2, 0.1)
"""lag-1 correlation above the slow one: where nothing happens, fewer than one tick in two hundred has all four."""

_PART = np.array([1 / SCALES[each] for each in WATCHED], np.float32)[:, None]
_WATCHED = list(WATCHED)


class Diagnostics(NamedTuple):
    """Of one stream. What needs more points than there were is None."""

    gradient: float
    """Ψ."""
    excess_nats: float | None
    """Free energy above that of rest, at 64 ticks, with T = 1."""
    capacity_ratio: float | None
    """C at 64 ticks ÷ C of the slow scale."""
    curvature: float | None
    """Φ = −C ÷ T at 64 ticks."""
    lag_one: float | None
    """Correlation of neighbours, at 64 ticks."""
    candidate: bool
    permutation_nats: float
    irreversibility_nats: float


def observe(block: Block, values: Floats) -> None:
    """One more tick of each row, after its means have moved and before its lags have."""
    f4 = block.f4
    anchor, centre = block.f8[ANCHOR], f4[VALUE_MEANS][_WATCHED]
    now = (values - anchor).astype(np.float32) - centre
    spread = f4[VALUE_VARIANCES][-1]
    zeta = now[2] / np.sqrt(np.where(spread > 0, spread, np.float32(np.inf)))
    energy = np.minimum(np.float32(0.5) * zeta * zeta, ENERGY_MAX)
    rate = np.maximum(_PART, np.float32(1) / (block.i4[COUNT] + 1).astype(np.float32))
    means, variances = f4[HEAT_MEANS], f4[HEAT_VARIANCES]
    away = energy - means
    means += rate * away
    variances += rate * (away * (energy - means) - variances)
    before = (block.f8[LAGS.start] - anchor).astype(np.float32) - centre
    f4[LAGGED] += rate * (now * before - f4[LAGGED])


def capacities(block: Block) -> Floats:
    """C_w ÷ C_slow at the two fast scales, a line each; 1 where nothing ever varied."""
    heat = block.f4[HEAT_VARIANCES].astype(np.float64)
    return np.where(heat[2] > 0, heat[:2] / np.maximum(heat[2], 1e-300), 1.0)


def correlations(block: Block) -> Floats:
    """Of neighbours, at the three scales, a line each."""
    variance = block.f4[VALUE_VARIANCES][_WATCHED].astype(np.float64)
    found = block.f4[LAGGED] / np.maximum(variance, 1e-300)
    return np.where(variance > 0, np.clip(found, -1, 1), 0.0)


def candidates(block: Block) -> Flags:
    """Rows that fluctuate more and forget more slowly than they used to, at both fast scales."""
    capacity, lagged = capacities(block), correlations(block)
    found: Flags = block.i4[COUNT] >= KNOWN
    for place in range(2):
        found &= (capacity[place] > RISEN[place]) & (lagged[place] - lagged[2] > SLOWED[place])
    return found


def of_row(block: Block) -> Diagnostics:
    """The only row of a block."""
    count, age = int(block.i4[COUNT, 0]), int(block.i4[AGE, 0])
    excess = entropy.excess_free_energy(block.f4[MEANS].astype(np.float64), block.f4[VARIANCES].astype(np.float64))[2, 0]
    known = count >= KNOWN
    return Diagnostics(
        float(entropy.gradient(block)[0]),
        float(excess) if age > WARM else None,
        float(capacities(block)[1, 0]) if known else None,
        -float(block.f4[HEAT_VARIANCES][1, 0]) if known else None,
        float(correlations(block)[1, 0]) if known else None,
        bool(candidates(block)[0]),
        float(entropy.permutation(block)[0]),
        float(entropy.irreversibility(block)[0]),
    )
