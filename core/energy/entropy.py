"""Entropies, physical and statistical, which never meet.

Physical entropy is in J/K, needs power, temperature and surroundings, and is a flux times its force. Statistical entropy is in nats
and is of any stream of numbers. No function here takes the one and gives the other.
"""

import math
from operator import add
from typing import NamedTuple

import numpy as np

from core.energy.layout import (
    ANCHOR,
    COUNT,
    HANDFUL,
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
    Column,
    Flags,
    Floats,
    Singles,
    beside,
    stretched,
)

MEMORY = 1_024
"""Ticks that orders and pairs look back on."""
LN_2 = math.log(2)
GAUSS = math.log(2 * math.pi * math.e)
TERCILE_STRIDE = np.float32(2.75)
"""One over the density of a bell curve of spread 1 at its terciles."""

_PART = Column(np.array([1 / each for each in SCALES], np.float32))
_ORDERS = Column(np.array([0, 1, 2, 5, 6, 7], np.int8))
"""Of three comparisons of three values, each worth a power of two; two of the eight outcomes cannot be."""
_PAIRS = Column(np.arange(9, dtype=np.int32))
_BELOW = np.float32(1) - np.array([1 / 3, 2 / 3], np.float32)
"""The share that lies above each tercile."""
_UP, _DOWN = Column(1 - _BELOW), Column(0 - _BELOW)
"""How far a tercile moves that the value reaches, and one that it does not."""
_BOTH = np.concatenate(
    [np.repeat(_ORDERS.figures == np.arange(8), 9, axis=1), np.tile(_PAIRS.figures == np.arange(9), 8)], dtype=np.float32
)
"""Of each outcome and each pair: which order and which pair have been seen."""
_COUNTED = slice(ORDERS.start, PAIRS.stop)
"""Orders and pairs stand side by side, and forget alike."""
_SYMBOLS = np.array(3, np.int32)
_TWICE, _FOUR_TIMES = np.array(2, np.int8), np.array(4, np.int8)
_ONE, _NEXT, _TERCILE_STRIDE = np.array(1, np.float32), np.array(1, np.int32), np.array(TERCILE_STRIDE)
_PART_OF_COUNTED = np.array(1 / SCALES[-1], np.float32)
_HALF, _GAUSS, _NOUGHT = np.array(0.5), np.array(GAUSS), np.array(0.0)


class Moved(NamedTuple):
    """What a tick did to the spreads of each row, for whoever goes on from there."""

    rates: Singles
    """How fast each scale forgets, a line each: none is slower than the row is old."""
    away: Singles
    """How far the value lies from the mean of each scale, a line each."""
    spread: Singles
    """Of the slowest scale."""


def observe(block: Block, values: Floats, youngest: int) -> Moved:
    """One more tick of each row, before its lags move on: spread by scale, orders of three, pairs of symbols."""
    f4 = block.f4
    rates = _PART.beside(block.size)
    if youngest < MEMORY:
        rates = np.maximum(rates, beside(_ONE / (block.i4[COUNT] + _NEXT).astype(np.float32), len(SCALES)))
    moved = stretched((values - block.f8[ANCHOR]).astype(np.float32), len(SCALES))
    means, variances = f4[VALUE_MEANS], f4[VALUE_VARIANCES]
    before = moved - means
    means += rates * before
    away = moved - means
    before *= away
    before -= variances
    before *= rates
    variances += before
    spread = np.sqrt(variances[-1])
    terciles, slow = f4[TERCILES], rates[-1]
    above = moved[:2] >= terciles
    seen = (_seen_of_few if block.size <= HANDFUL else _seen)(block, values, above)
    terciles += beside(_TERCILE_STRIDE * slow * spread, 2) * np.where(above, _UP.beside(block.size), _DOWN.beside(block.size))
    counted = f4[_COUNTED]
    seen -= counted
    seen *= _PART_OF_COUNTED if youngest >= MEMORY else beside(slow, len(counted))
    counted += seen
    return Moved(rates, away, spread)


def _seen(block: Block, values: Floats, above: Flags) -> Singles:
    """Which order three values in a row came in, and which of three symbols followed which, a line for each there is."""
    seen = np.empty((_COUNTED.stop - _COUNTED.start, block.size), np.float32)
    newer, older = block.f8[LAGS.start], block.f8[LAGS.start + 1]
    outcome = (older < newer).view(np.int8)
    outcome += _TWICE * (newer < values).view(np.int8)
    outcome += _FOUR_TIMES * (older < values).view(np.int8)
    np.equal(outcome, _ORDERS.beside(block.size), out=seen[:6])
    symbol = np.add.reduce(above, 0, np.int32)
    np.equal(_SYMBOLS * block.i4[SYMBOL] + symbol, _PAIRS.beside(block.size), out=seen[6:])
    block.i4[SYMBOL] = symbol
    return seen


def _seen_of_few(block: Block, values: Floats, above: Flags) -> Singles:
    """The same, from plain numbers."""
    newer, older, last = block.f8[LAGS.start].tolist(), block.f8[LAGS.start + 1].tolist(), block.i4[SYMBOL].tolist()
    symbols = list(map(add, *above.tolist()))
    places = [
        9 * ((o < n) + 2 * (n < v) + 4 * (o < v)) + 3 * before + symbol
        for o, n, v, before, symbol in zip(older, newer, values.tolist(), last, symbols, strict=True)
    ]
    block.i4[SYMBOL] = symbols
    seen: Singles = _BOTH.take(places, 1)
    return seen


def differential(block: Block) -> Floats:
    """h_w = ½ ln(2πe σ_w²), nats, a line per scale; −inf where nothing varies."""
    with np.errstate(divide="ignore"):
        return 0.5 * (GAUSS + np.log(block.f4[VALUE_VARIANCES].astype(np.float64)))


def quantised(block: Block) -> Floats:
    """max(h − ln δ, 0), nats, δ the step of the sensor: what a reading at the slowest scale tells."""
    varied, quantum = block.f4[VALUE_VARIANCES.stop - 1].astype(np.float64), block.f4[QUANTUM].astype(np.float64)
    if np.count_nonzero(varied > _NOUGHT) == np.count_nonzero(quantum) == len(varied):
        known: Floats = np.maximum(_HALF * (_GAUSS + np.log(varied)) - np.log(quantum), _NOUGHT)
        return known
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _HALF * (_GAUSS + np.log(varied)) - np.log(quantum)
    return np.where(quantum > 0, np.maximum(found, _NOUGHT), _NOUGHT)


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
