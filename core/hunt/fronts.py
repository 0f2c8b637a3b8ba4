"""Who dominates whom, and who stands alone: the two orders that NSGA-II selects by.

Every objective is minimised. A point with an objective that is not a number has no score: it dominates nothing, and every point
of its feasibility whose objectives are numbers dominates it. Nothing here may depend on the order in which points are given.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Points = NDArray[np.float64] | Sequence[Sequence[float]]


def dominance(points: "Points", feasibility: "Sequence[int] | None" = None) -> "NDArray[np.bool_]":
    """At [a, b]: a dominates b. The more feasible one always does (Deb et al. 2002); equal points never do."""
    import numpy as np

    values = np.asarray(points, np.float64)
    sound: NDArray[np.bool_] = np.logical_not(np.isnan(values).any(axis=1))
    no_worse = np.broadcast_to(sound[:, None], (len(values), len(values))).copy()
    better = np.zeros_like(no_worse)
    for column in values.T:
        no_worse &= column[:, None] <= column[None, :]
        better |= column[:, None] < column[None, :]
    found: NDArray[np.bool_] = (no_worse & better) | (sound[:, None] & ~sound[None, :])
    if feasibility is not None:
        of = np.asarray(feasibility, np.int64)
        found = np.where(of[:, None] == of[None, :], found, of[:, None] < of[None, :])
    return found


def ranks(points: "Points", feasibility: "Sequence[int] | None" = None, enough: int | None = None) -> "NDArray[np.int64]":
    """The front of each point, 0 the best. Fronts after the one with which `enough` points are reached are not told apart: -1."""
    import numpy as np

    above = dominance(points, feasibility)
    dominators = above.sum(axis=0)
    rank = np.full(len(above), -1, np.int64)
    wanted = len(above) if enough is None else min(enough, len(above))
    level = reached = 0
    while reached < wanted:
        front = np.flatnonzero(dominators == 0)
        rank[front] = level
        dominators -= above[front].sum(axis=0)
        dominators[front] = -1
        level, reached = level + 1, reached + len(front)
    return rank


def crowding(points: "Points") -> "NDArray[np.float64]":
    """How far apart the neighbours of each point of one front are, summed over the objectives, each over its range.

    The ends of an objective are infinitely far. Of equal points the first stands for all and the others get 0, else copies of
    one good point would fill a population, each taken for an end. What is not finite has no distance, and adds none.
    """
    import numpy as np

    values = np.asarray(points, np.float64)
    first, distinct = _distinct(values)
    apart = np.zeros(len(distinct))
    for column in distinct.T:
        # The distinct points lie in the order of all their objectives, and a stable sort keeps it among equals.
        order = np.argsort(column, kind="stable")
        order = order[np.isfinite(column[order])]
        if not len(order):
            continue
        # Halved, so that no difference of finite numbers is infinite.
        along = column[order] / 2
        extent = along[-1] - along[0]
        if extent > 0:
            apart[order[1:-1]] += (along[2:] - along[:-2]) / extent
        apart[order[[0, -1]]] = np.inf
    found = np.zeros(len(values))
    found[first] = apart
    return found


def _distinct(values: "NDArray[np.float64]") -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """Where each distinct point stands first, and the distinct points, ordered by their objectives."""
    import numpy as np

    order = np.lexsort(values.T[::-1])
    sorted_values = values[order]
    new = np.ones(len(values), np.bool_)
    new[1:] = (sorted_values[1:] != sorted_values[:-1]).any(axis=1)
    return order[new], sorted_values[new]
