"""Which way a line of numbers goes, without believing in any single one of them; and how far a quotient of few can be trusted."""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import median

Z = 1.959963984540054
"""Of the standard normal distribution: 95 % lie within it on both sides."""
POINTS_MIN = 8
"""Fewer have no direction: even a strictly rising line of less would be called one too readily."""

Interval = tuple[int, float]
"""When, counted in intervals, and how much."""


def slope(points: Sequence[Interval]) -> float | None:
    """The median of the slopes of all pairs (Theil 1950, Sen 1968). None where there is no pair."""
    slopes = [(v - u) / (t - s) for place, (s, u) in enumerate(points) for t, v in points[place + 1 :]]
    return median(slopes) if slopes else None


def direction(points: Sequence[Interval]) -> int:
    """1 rising, -1 falling, 0 neither, by the test of Mann and Kendall at 5 %, ties counted in its variance."""
    if (count := len(points)) < POINTS_MIN:
        return 0
    values = [value for _, value in points]
    score = sum((v > u) - (v < u) for place, u in enumerate(values) for v in values[place + 1 :])
    spread = count * (count - 1) * (2 * count + 5) - sum(n * (n - 1) * (2 * n + 5) for n in Counter(values).values())
    if spread == 0 or abs(score) - 1 <= Z * sqrt(spread / 18):
        return 0
    return 1 if score > 0 else -1


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Between which two per cent values the true share lies, 19 times of 20 (Wilson 1927). `whole` is not 0."""
    share, square = part / whole, Z * Z
    middle = (share + square / (2 * whole)) / (1 + square / whole)
    half = Z / (1 + square / whole) * sqrt(share * (1 - share) / whole + square / (4 * whole * whole))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)
