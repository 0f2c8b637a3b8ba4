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
    VALUE_MEANS,
    VALUE_VARIANCES,
    VARIANCES,
    WARM,
    Block,
    Flags,
    Floats,
    Singles,
    beside,
    every,
    stretched,
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

_WATCHED = np.array(WATCHED)
_BOTH = np.array(WATCHED * 2)
_NOUGHT, _HALF, _ENERGY_MAX = (np.array(each, np.float32) for each in (0, 0.5, ENERGY_MAX))


_LEARNT = slice(HEAT_VARIANCES.start, LAGGED.stop)
"""These two stand side by side."""


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


def observe(block: Block, moved: entropy.Moved) -> None:
    """One more tick of each row, after its means have moved and before its lags have."""
    f4 = block.f4
    now, rates = moved.away.take(_WATCHED, axis=0), moved.rates.take(_BOTH, axis=0)
    spread, varied = moved.spread, moved.spread > _NOUGHT
    if not every(varied):
        spread = np.where(varied, spread, np.float32(np.inf))
    zeta = now[2] / spread
    energy = stretched(np.minimum(_HALF * zeta * zeta, _ENERGY_MAX), len(WATCHED))
    means, learnt = f4[HEAT_MEANS], f4[_LEARNT]
    away = energy - means
    means += rates[:3] * away
    seen = np.empty((len(_BOTH), block.size), np.float32)
    np.multiply(away, energy - means, out=seen[:3])
    np.multiply(now, _before(block), out=seen[3:])
    seen -= learnt
    seen *= rates
    learnt += seen


def _before(block: Block) -> Singles:
    """How far the last value lies from where the means are now."""
    last = (block.f8[LAGS.start] - block.f8[ANCHOR]).astype(np.float32)
    found: Singles = beside(last, len(WATCHED)) - block.f4[VALUE_MEANS].take(_WATCHED, axis=0)
    return found


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
