"""How near the peaks of a spectrum come to the logarithms of the primes: `log_prime_sse`, least over every scale.

A score is a number or a code. A code is not a number anywhere: it takes part in no sum, order or mean, and only a CSV or JSON cell
shows it as 999, 1002 or 998. Nothing here says whether a good score means anything; `nulls` does.
"""

import math
from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

Reals = NDArray[np.float64]

TARGETS_MIN: Final = 5
NO_PEAK_COST: Final = 1.0
"""For each target that no peak is matched with."""
EXTRA_PEAK_COST: Final = 0.2
"""For each peak between the targets that is matched with none."""
TOLERANCE: Final = 1e-5
"""How near the score is to the least cost."""
RESOLVED_SHELLS: Final = 3.0
"""How far apart the two nearest targets must lie in the spectrum to be told apart."""

_EDGE = 1e-12
_NARROWEST = 1e-13


class Code(Enum):
    """Why there is no score. No arithmetic, order or truth of numbers applies to it; adding one to anything is a TypeError."""

    NO_PEAKS = "no_peaks"
    DIVERGED = "diverged"
    MISSING = "missing"


Score: TypeAlias = float | Code

_CELLS: Final = {Code.NO_PEAKS: 999.0, Code.DIVERGED: 1002.0, Code.MISSING: 998.0}
_CODES: Final = {shown: code for code, shown in _CELLS.items()}


def cell(score: Score) -> float:
    """For a cell of a CSV or JSON file and nothing else."""
    return _CELLS[score] if isinstance(score, Code) else score


def read_cell(text: str | float | None) -> Score:
    """A cell read back. An empty one is missing: read as 0 it would be the perfect score."""
    if text is None or (isinstance(text, str) and not text.strip()):
        return Code.MISSING
    value = float(text)
    if math.isnan(value):
        return Code.MISSING
    if math.isinf(value):
        return Code.DIVERGED
    return _CODES.get(value, value)


def numbers(scores: Iterable[Score]) -> Reals:
    """The real ones among the scores: what a mean may be taken of."""
    return np.array([score for score in scores if not isinstance(score, Code)], dtype=np.float64)


def pairs(first: Iterable[Score], second: Iterable[Score]) -> tuple[Reals, Reals]:
    """Rows in which both are real: what a correlation may be taken of."""
    both = [(a, b) for a, b in zip(first, second, strict=True) if not isinstance(a, Code) and not isinstance(b, Code)]
    table = np.array(both, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def primes(count: int) -> NDArray[np.int64]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return np.array(found, dtype=np.int64)


def log_primes(count: int = TARGETS_MIN) -> Reals:
    found: Reals = np.log(primes(count))
    return found


class Aligned(NamedTuple):
    """Peaks beside targets at the scale that suits them best."""

    score: Score
    s: float
    """Targets a shell: s·x is near ln p. NaN without a score."""
    scaling_factor: float
    """Targets a unit of k: scaling_factor·k is near ln p."""
    resolved: bool
    matched: NDArray[np.int64]
    """Index of the peak matched with each target, or -1."""


def unaligned(code: Code, targets: int) -> Aligned:
    return Aligned(code, math.nan, math.nan, False, np.full(targets, -1, dtype=np.int64))


def scale_range(x: Reals, targets: Reals) -> tuple[float, float]:
    """Scales at which every target lies in the band from the second shell to the last but one; low > high if there is none."""
    return float(targets[-1] / x[-2]), float(targets[0] / x[1])


def log_prime_sse(peaks: Reals, x: Reals, dk: float = 1.0, count: int = TARGETS_MIN) -> Aligned:
    """The score of peaks (in shells, rising) found in a spectrum with shells at x; dk = 2π/L."""
    return align(peaks, log_primes(count), *scale_range(x, log_primes(count)), dk)


def align(peaks: Reals, targets: Reals, low: float, high: float, dk: float = 1.0) -> Aligned:
    """Peaks to targets one to one and in order at least cost, least over scales from low to high."""
    if peaks.size == 0:
        return unaligned(Code.NO_PEAKS, targets.size)
    if not low <= high:
        return unaligned(Code.MISSING, targets.size)
    cost, s, matched = least_cost(peaks, targets, low, high, np.inf, -np.inf)
    gap = float(np.min(np.diff(targets)))
    return Aligned(float(cost), float(s), float(s / dk), bool(gap / s >= RESOLVED_SHELLS), matched)


@njit(cache=True)
def reaches(peaks: Reals, targets: Reals, low: float, high: float, limit: float) -> bool:
    """Whether the least cost is at most the limit: sooner known than the cost itself. One that is above by no more than the
    tolerance may count too."""
    if peaks.size == 0 or low > high:
        return bool(targets.size <= limit + TOLERANCE)
    cost, _, _ = least_cost(peaks, targets, low, high, limit + 2 * TOLERANCE, limit + TOLERANCE)
    return bool(cost <= limit + TOLERANCE)


@njit(cache=True)
def count_reached(peaks: Reals, sequences: Reals, x_low: float, x_high: float, limit: float) -> int:
    """How many sequences of targets the peaks fit at least as well as the limit says, each at scales that keep it in the band."""
    found = 0
    for place in range(sequences.shape[0]):
        targets = sequences[place]
        if reaches(peaks, targets, targets[-1] / x_high, targets[0] / x_low, limit):
            found += 1
    return found


@njit(cache=True)
def least_cost(
    peaks: Reals, targets: Reals, low: float, high: float, ceiling: float, enough: float
) -> tuple[float, float, NDArray[np.int64]]:
    """Branch and bound over the scale: least cost (to the tolerance, from above), its scale, and who is matched with whom.

    The cost is the least of parabolas in s, with steps where a peak comes to lie between the targets. Between two steps the program
    bounds it from below by giving each pair the least error it has anywhere in an interval. Costs above the ceiling are not looked
    for, and nothing better than `enough` either.
    """
    gap = np.min(np.diff(targets))
    first, last = targets[0] - gap / 2, targets[-1] + gap / 2
    table = np.empty((targets.size + 1, peaks.size + 1))
    matched = np.full(targets.size, -1, dtype=np.int64)
    best, best_s, best_matched = ceiling, low, matched.copy()
    steps = _steps(peaks, first, last, low, high)
    for s in steps:
        cost = _program(peaks, targets, s, s, _extra(peaks, s, first, last), table)
        if cost < best:
            _trace(peaks, targets, s, _extra(peaks, s, first, last), table, best_matched)
            best, best_s = cost, s
    bounds = np.empty(steps.size - 1)
    for piece in range(steps.size - 1):
        extra = _extra(peaks, (steps[piece] + steps[piece + 1]) / 2, first, last)
        bounds[piece] = _program(peaks, targets, steps[piece], steps[piece + 1], extra, table)
    stack = np.empty((64, 3))
    for piece in np.argsort(bounds):
        if best <= enough or bounds[piece] > best - TOLERANCE:
            break
        low_end, high_end = steps[piece], steps[piece + 1]
        extra = _extra(peaks, (low_end + high_end) / 2, first, last)
        stack[0, 0], stack[0, 1], stack[0, 2] = low_end, high_end, bounds[piece]
        depth = 1
        while depth and best > enough:
            depth -= 1
            left, right, bound = stack[depth]
            if bound > best - TOLERANCE:
                continue
            middle = (left + right) / 2
            cost, s = _descend(peaks, targets, middle, low_end, high_end, extra, table, matched)
            if cost < best:
                best, best_s = cost, s
                best_matched[:] = matched
            if right - left < _NARROWEST * right:
                continue
            below = _program(peaks, targets, left, middle, extra, table)
            above = _program(peaks, targets, middle, right, extra, table)
            # The better half on top, so that the next cost is a good one and prunes the other.
            order = 0 if above <= below else 1
            stack[depth + order, 0], stack[depth + order, 1], stack[depth + order, 2] = left, middle, below
            stack[depth + 1 - order, 0], stack[depth + 1 - order, 1], stack[depth + 1 - order, 2] = middle, right, above
            depth += 2
    return best, best_s, best_matched


@njit(cache=True)
def _steps(peaks: Reals, first: float, last: float, low: float, high: float) -> Reals:
    """The ends, and where a peak crosses the edge of the targets: only there the cost jumps."""
    found = np.empty(2 * peaks.size + 2)
    found[0], found[1] = low, high
    count = 2
    for peak in peaks:
        for edge in (first / peak, last / peak):
            if low < edge < high:
                found[count] = edge
                count += 1
    return np.sort(found[:count])


@njit(cache=True)
def _extra(peaks: Reals, s: float, first: float, last: float) -> Reals:
    """What each peak costs unmatched. On the edge, but for rounding, is not between."""
    found = np.zeros(peaks.size)
    for place in range(peaks.size):
        if first + _EDGE < s * peaks[place] < last - _EDGE:
            found[place] = EXTRA_PEAK_COST
    return found


@njit(cache=True)
def _error(peak: float, target: float, low: float, high: float) -> float:
    """Least (s·x - t)² for s from low to high."""
    return max(0.0, low * peak - target, target - high * peak) ** 2


@njit(cache=True)
def _program(peaks: Reals, targets: Reals, low: float, high: float, extra: Reals, table: Reals) -> float:
    """Least cost of the first i targets and the first j peaks, for all i and j."""
    table[0, 0] = 0.0
    for j in range(peaks.size):
        table[0, j + 1] = table[0, j] + extra[j]
    for i in range(targets.size):
        table[i + 1, 0] = table[i, 0] + NO_PEAK_COST
        for j in range(peaks.size):
            pair = table[i, j] + _error(peaks[j], targets[i], low, high)
            table[i + 1, j + 1] = min(pair, table[i, j + 1] + NO_PEAK_COST, table[i + 1, j] + extra[j])
    return float(table[targets.size, peaks.size])


@njit(cache=True)
def _trace(peaks: Reals, targets: Reals, s: float, extra: Reals, table: Reals, matched: NDArray[np.int64]) -> None:
    """Who is matched with whom in a filled table."""
    matched[:] = -1
    i, j = targets.size, peaks.size
    while i and j:
        pair = table[i - 1, j - 1] + _error(peaks[j - 1], targets[i - 1], s, s)
        alone = table[i - 1, j] + NO_PEAK_COST
        spare = table[i, j - 1] + extra[j - 1]
        if pair <= alone and pair <= spare:
            matched[i - 1] = j - 1
            i, j = i - 1, j - 1
        elif alone <= spare:
            i -= 1
        else:
            j -= 1


@njit(cache=True)
def _descend(
    peaks: Reals,
    targets: Reals,
    s: float,
    low: float,
    high: float,
    extra: Reals,
    table: Reals,
    matched: NDArray[np.int64],
) -> tuple[float, float]:
    """Alignment and least squares in turn, within one piece, until neither gains: a cost that is really reached."""
    cost = _program(peaks, targets, s, s, extra, table)
    _trace(peaks, targets, s, extra, table, matched)
    while True:
        products = squares = 0.0
        for i in range(targets.size):
            if matched[i] >= 0:
                products += peaks[matched[i]] * targets[i]
                squares += peaks[matched[i]] ** 2
        if squares == 0.0:
            return cost, s
        fitted = min(max(products / squares, low), high)
        lower = _program(peaks, targets, fitted, fitted, extra, table)
        if not lower < cost:
            return cost, s
        gained = cost - lower
        cost, s = lower, fitted
        _trace(peaks, targets, s, extra, table, matched)
        if gained < _EDGE:
            return cost, s
