"""Entropies, physical and statistical, which never meet.

Physical entropy is in J/K, needs power, temperature and surroundings, and is a flux times its force. Statistical entropy is in nats
and is of any stream of numbers. No function here takes the one and gives the other.
"""

import math

import numpy as np

from core.energy.layout import (
    ANCHOR,
    COUNT,
    LAGS,
    ORDERS,
    PAIRS,
    QUANTUM,
    SCALES,
    SYMBOL,
    TERCILES,
    VALUE_MEANS,
    VALUE_VARIANCES,
    Block,
    Floats,
    Singles,
)

MEMORY = 1_024
"""Ticks that orders and pairs look back on."""
LN_2 = math.log(2)
GAUSS = math.log(2 * math.pi * math.e)
TERCILE_STRIDE = np.float32(2.75)
"""One over the density of a bell curve of spread 1 at its terciles."""

_PART = np.array([1 / each for each in SCALES], np.float32)[:, None]
_ORDER_OF = np.array([0, 1, 2, 0, 0, 3, 4, 5], np.int8)
"""Of three comparisons of three values; two of the eight outcomes cannot be."""
_ORDERS = np.arange(6, dtype=np.int8)[:, None]
_PAIRS = np.arange(9, dtype=np.int32)[:, None]
_TERCILES = np.array([[1 / 3], [2 / 3]], np.float32)


def observe(block: Block, values: Floats) -> None:
    """One more tick of each row, before its lags move on: spread by scale, orders of three, pairs of symbols."""
    f4, i4 = block.f4, block.i4
    count = i4[COUNT]
    start = np.float32(1) / (count + 1).astype(np.float32)
    moved = (values - block.f8[ANCHOR]).astype(np.float32)
    rate = np.maximum(_PART, start)
    means, variances = f4[VALUE_MEANS], f4[VALUE_VARIANCES]
    away = moved - means
    means += rate * away
    variances += rate * (away * (moved - means) - variances)
    slow = np.maximum(np.float32(1 / MEMORY), start)
    _order(block, values, slow)
    _pair(block, moved, slow)


def _order(block: Block, values: Floats, rate: Singles) -> None:
    """How often each order of three values in a row came."""
    newer, older = block.f8[LAGS.start], block.f8[LAGS.start + 1]
    outcome = (older < newer).astype(np.int8)
    outcome += 2 * (newer < values)
    outcome += 4 * (older < values)
    orders = block.f4[ORDERS]
    orders += rate * ((_ORDER_OF[outcome] == _ORDERS) - orders)


def _pair(block: Block, moved: Singles, rate: Singles) -> None:
    """How often each of three symbols followed each."""
    terciles = block.f4[TERCILES]
    above = moved >= terciles
    symbol = np.add.reduce(above, 0, np.int32)
    pairs = block.f4[PAIRS]
    pairs += rate * ((3 * block.i4[SYMBOL] + symbol == _PAIRS) - pairs)
    block.i4[SYMBOL] = symbol
    stride = TERCILE_STRIDE * rate * np.sqrt(block.f4[VALUE_VARIANCES.stop - 1])
    terciles += stride * (above - (np.float32(1) - _TERCILES))


def differential(block: Block) -> Floats:
    """h_w = ½ ln(2πe σ_w²), nats, a line per scale; −inf where nothing varies."""
    with np.errstate(divide="ignore"):
        return 0.5 * (GAUSS + np.log(block.f4[VALUE_VARIANCES].astype(np.float64)))


def quantised(block: Block, scale: int = len(SCALES) - 1) -> Floats:
    """max(h − ln δ, 0), nats, δ the step of the sensor: what a reading at this scale tells."""
    quantum = block.f4[QUANTUM].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = differential(block)[scale] - np.log(quantum)
    return np.where(quantum > 0, np.maximum(found, 0), 0.0)


def permutation(block: Block) -> Floats:
    """Of the orders of three values in a row, nats: at most ln 6, 0 where they only rise or fall."""
    shares = block.f4[ORDERS].astype(np.float64)
    shares = shares / np.maximum(shares.sum(axis=0), 1e-12)
    found: Floats = 0.0 - np.sum(np.where(shares > 0, shares * np.log(np.maximum(shares, 1e-300)), 0.0), axis=0)
    return found


def irreversibility(block: Block) -> Floats:
    """Nats per step, from three symbols: how far the steps there differ from the steps back. 0 where it cannot be told from 0."""
    number = np.minimum(block.i4[COUNT], 2 * MEMORY).astype(np.float64)
    counts = (block.f4[PAIRS].astype(np.float64) * number).reshape(3, 3, -1) + 0.5
    return irreversibility_of(counts, np.maximum(number, 1))


def irreversibility_of(counts: Floats, number: Floats) -> Floats:
    """(1/N) Σ n_ij ln(n_ij/n_ji) − (k−1)(k−2)/N for k symbols; `counts` (k, k, …) hold the half that nothing seen counts for."""
    symbols = counts.shape[0]
    total = np.sum(counts * np.log(counts / counts.swapaxes(0, 1)), axis=(0, 1)) / number
    found: Floats = np.maximum(total - (symbols - 1) * (symbols - 2) / number, 0.0)
    return found


def gradient(block: Block) -> Floats:
    """Ψ: how the entropy changes from scale to scale, squared and summed, against the entropy there is (at least ln 2)."""
    variances = np.maximum(block.f4[VALUE_VARIANCES].astype(np.float64), 1e-300)
    slopes = 0.5 * np.log(variances[:-1] / variances[1:]) / math.log(4)
    found: Floats = np.sum(slopes * slopes, axis=0) / np.maximum(quantised(block), LN_2)
    return found


def excess_free_energy(means: Floats, variances: Floats) -> Floats:
    """KL(fast‖slow), nats, a line per scale, from the means and variances of the scores; times T it is F − F_eq. Never below 0."""
    return np.maximum(0.5 * (means * means + variances - 1 - np.log(np.maximum(variances, 1e-12))), 0.0)


def production(power_w: Floats, kelvin: Floats, ambient_k: Floats, resistance: float, seconds: Floats) -> Floats:
    """Σ of one step, J/K: heat made at T, and heat that runs off from T to T₀. Two fluxes times their forces."""
    runs_off = (kelvin - ambient_k) / resistance
    return power_w * seconds / kelvin + runs_off * seconds * (1 / ambient_k - 1 / kelvin)
