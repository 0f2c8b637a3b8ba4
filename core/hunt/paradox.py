"""Whether fidelity and instability go together over a hunt's rows, as the source claims of its old solver (+0.72).

Spearman's correlation, how often chance alone gives as much, and an interval. Codes are no numbers, so a row enters only where both
of its figures are numbers. Selection alone can make two objectives correlate, so the same is asked within generations too.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from core.hunt.draws import draws

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERMUTATIONS, RESAMPLES = 1_999, 999
ROWS_MIN = 4
"""With fewer, three ranks of three are always in one of six orders, and nothing can be said."""
LEVEL = 0.95
CLAIMED = 0.72
"""By the source, for its old solver."""


class Row(NamedTuple):
    """A row that has both figures."""

    generation: int
    fidelity: float
    instability: float


class Correlation(NamedTuple):
    n: int
    rho: float | None
    """None where there are too few, or one of the two is the same everywhere."""
    p: float | None
    low: float | None
    high: float | None


def rows(given: Sequence[tuple[int, float | None, float | None]]) -> list[Row]:
    """Of generation, log_prime_sse and an instability those with two numbers; fidelity is large where the score is small."""
    return [
        Row(generation, -score, unstable)
        for generation, score, unstable in given
        if score is not None and unstable is not None and math.isfinite(score) and math.isfinite(unstable)
    ]


def overall(given: Sequence[Row], seed: int) -> Correlation:
    return _correlation(given, [0] * len(given), seed)


def within(given: Sequence[Row], seed: int) -> Correlation:
    """Ranks are compared with those of the same generation only, and only there permuted."""
    sizes: dict[int, int] = {}
    for row in given:
        sizes[row.generation] = sizes.get(row.generation, 0) + 1
    kept = [row for row in given if sizes[row.generation] >= 2]
    return _correlation(kept, [row.generation for row in kept], seed + 1)


def _correlation(given: Sequence[Row], groups: Sequence[int], seed: int) -> Correlation:
    import numpy as np

    count = len(given)
    if count < ROWS_MIN:
        return Correlation(count, None, None, None, None)
    order = sorted(range(count), key=groups.__getitem__)
    labels = np.array([groups[at] for at in order])
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), count]
    pieces = [(edges[at], edges[at + 1]) for at in range(len(edges) - 1)]
    fidelity = np.array([given[at].fidelity for at in order])
    unstable = np.array([given[at].instability for at in order])
    x, y = _ranks(fidelity, pieces), _ranks(unstable, pieces)
    rho = _pearson(x, y)
    if rho is None:
        return Correlation(count, None, None, None, None)
    size = float(np.sqrt((x @ x) * (y @ y)))
    as_far = 0
    for turn in range(PERMUTATIONS):
        shuffled = _shuffled(y, pieces, seed, turn)
        as_far += abs(float(x @ shuffled)) >= abs(rho) * size * (1 - 1e-12)
    low, high = _interval(fidelity, unstable, pieces, seed)
    return Correlation(count, rho, (1 + as_far) / (1 + PERMUTATIONS), low, high)


def _ranks(values: "NDArray[np.float64]", pieces: Sequence[tuple[int, int]]) -> "NDArray[np.float64]":
    """Mean ranks of ties, about 0 in each piece."""
    import numpy as np

    found = np.empty(values.size)
    for start, end in pieces:
        _, places, counts = np.unique(values[start:end], return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        found[start:end] = (last - (counts - 1) / 2)[places.ravel()] - (end - start + 1) / 2
    return found


def _pearson(x: Any, y: Any) -> float | None:
    import numpy as np

    size = float(np.sqrt((x @ x) * (y @ y)))
    return max(-1.0, min(1.0, float(x @ y) / size)) if size > 0 else None


def _shuffled(values: Any, pieces: Sequence[tuple[int, int]], seed: int, turn: int) -> Any:
    import numpy as np

    bits = draws(seed, turn, 1).raw(values.size)
    keys = np.empty(values.size, np.int64)
    for start, end in pieces:
        keys[start:end] = start + np.argsort(bits[start:end], kind="stable")
    return values[keys]


def _interval(fidelity: Any, unstable: Any, pieces: Sequence[tuple[int, int]], seed: int) -> tuple[float | None, float | None]:
    """Rows drawn again with repeats, in each piece as many as it has; the middle 95 % of what they come to."""
    import numpy as np

    found = []
    for turn in range(RESAMPLES):
        uniform = draws(seed, turn, 2).uniform(fidelity.size)
        picked = np.empty(fidelity.size, np.int64)
        for start, end in pieces:
            picked[start:end] = start + (uniform[start:end] * (end - start)).astype(np.int64)
        again = _pearson(_ranks(fidelity[picked], pieces), _ranks(unstable[picked], pieces))
        if again is not None:
            found.append(again)
    if len(found) < RESAMPLES // 2:
        return None, None
    edges = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(edges[0]), float(edges[1])
