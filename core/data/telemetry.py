"""Telemetry as vectors: what a series of numbers is called, and the shape that it has, each half of it.

The name is hashed as a text's words are; the shape is what stays when level and scale are taken away: its profile in 16 parts, its
trend, how it follows itself, how rough and how spiky it is. Nothing is used but sums that are rounded once, products, quotients
and roots, so that the same series gives the same bytes on every machine.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from operator import mul

from core.data.embedding import NoEmbedding, spread, unit

NAMES, SHAPE = 224, 32
PROFILE = 16
LAGS = (1, 2, 4, 8)
FLAT = 1e-12
"""Of the greatest value: what moves by less does not move."""


def embed_series(metric: str, tags: Sequence[str], values: Sequence[float]) -> bytes:
    """256 float32 of length 1. Raises NoEmbedding."""
    if not values or not all(map(math.isfinite, values)):
        raise NoEmbedding("a series holds finite numbers: one at least, no NaN, no infinity")
    names = spread(" ".join((metric, metric, *sorted(set(tags)))), NAMES)
    return unit([*_of_length_1(names), *_of_length_1(shape(values))])


def _of_length_1(values: Sequence[float]) -> list[float]:
    length = math.sqrt(math.fsum(map(mul, values, values)))
    return [value / length for value in values] if length else list(values)


def shape(values: Sequence[float]) -> list[float]:
    """32 numbers, each from -1 to 1; of a series that does not move, only that it does not."""
    many = len(values)
    most = max(map(abs, values))
    scaled = [value / most for value in values] if most else list(values)
    mean = math.fsum(scaled) / many
    apart = [value - mean for value in scaled]
    deviation = math.sqrt(math.fsum(map(mul, apart, apart)) / many)
    if deviation <= FLAT:
        return [1.0] + [0.0] * (SHAPE - 1)
    score = [each / deviation for each in apart]
    time = [(2 * place + 1) / many - 1 for place in range(many)]
    bent = [each * each - 1 / 3 for each in time]
    ups = [late - early for early, late in pairwise(score)]
    found = [
        0.0,
        _alike(score, time),
        _alike(score, bent),
        *(_alike(score[lag:], score[:-lag]) for lag in LAGS),
        _squashed(math.fsum(each**3 for each in score) / many),
        _squashed(math.fsum(each**4 for each in score) / many - 3),
        _turns(ups),
        _turns(score),
        _squashed(max(score) - 3),
        _squashed(-min(score) - 3),
    ]
    profile = [each / 2 for each in _profile(score)]
    return (found + profile + [0.0] * SHAPE)[:SHAPE]


def _alike(one: Sequence[float], other: Sequence[float]) -> float:
    length = math.sqrt(math.fsum(map(mul, one, one)) * math.fsum(map(mul, other, other)))
    return math.fsum(map(mul, one, other)) / length if length else 0.0


def _squashed(value: float) -> float:
    return value / (1 + abs(value))


def _turns(values: Sequence[float]) -> float:
    """How often the sign changes: -1 never, 1 each time."""
    pairs = len(values) - 1
    return 2 * sum(one * other < 0 for one, other in pairwise(values)) / pairs - 1 if pairs > 0 else -1.0


def _profile(score: Sequence[float]) -> list[float]:
    """Means over 16 equal parts; a series that has fewer numbers has the nearest one in each."""
    many, found = len(score), list[float]()
    for part in range(PROFILE):
        some = score[part * many // PROFILE : (part + 1) * many // PROFILE] or score[part * many // PROFILE :][:1]
        found.append(max(-2.0, min(2.0, math.fsum(some) / len(some))))
    return found
