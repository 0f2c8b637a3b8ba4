"""Who dominates whom, and who stands alone: the two orders that NSGA-II selects by.

Every objective is minimised. A point with an objective that is not a number has no score: it dominates nothing, and every point
of its feasibility whose objectives are numbers dominates it. Nothing here may depend on the order in which points are given,
but for which of several equal points stands for them: the first.
"""

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
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


def thinned(points: "Points", size: int) -> list[int]:
    """Which points of one front stay when only so many may, in their order.

    The most crowded one leaves, then the most crowded of those that are left, and so on (Kukkonen and Deb 2006): leaving all
    together, as in the first NSGA-II, empties whole stretches where points were close. Copies leave first, the last of them first;
    of points as crowded as each other the one leaves whose objectives are greater, the first objective counting first.
    """
    import numpy as np

    values = np.asarray(points, np.float64)
    first, distinct = _distinct(values)
    names = first.tolist()
    if len(names) <= size:
        copies = sorted(set(range(len(values))) - set(names))
        return sorted(names + copies[: size - len(names)])
    rows = [_Row(column) for column in distinct.T]
    apart = [sum(row.gap(place) for row in rows) for place in range(len(names))]
    # What was pushed before a neighbour left is out of date; it is known by its distance.
    heap = [(distance, -place) for place, distance in enumerate(apart)]
    heapify(heap)
    left = len(names)
    while left > size:
        distance, negated = heappop(heap)
        place = -negated
        if distance != apart[place]:
            continue
        apart[place] = -1.0
        left -= 1
        for near in {near for row in rows for near in row.leave(place)}:
            apart[near] = distance = sum([row.gap(near) for row in rows])
            heappush(heap, (distance, -near))
    return sorted(name for name, distance in zip(names, apart, strict=True) if distance >= 0)


class _Row:
    """The distinct points along one objective: who stands beside whom, and how far apart a point's neighbours are."""

    def __init__(self, column: "NDArray[np.float64]") -> None:
        found, where = _along(column)
        order, along = found.tolist(), where.tolist()
        self.at = [0.0] * len(column)
        self.before = [-1] * len(column)
        self.after = [-1] * len(column)
        self.end = [False] * len(column)
        for place, value in zip(order, along, strict=True):
            self.at[place] = value
        for low, high in pairwise(order):
            self.after[low], self.before[high] = high, low
        for place in (*order[:1], *order[-1:]):
            self.end[place] = True

    def gap(self, place: int) -> float:
        low, high = self.before[place], self.after[place]
        if low >= 0 and high >= 0:
            return self.at[high] - self.at[low]
        return math.inf if self.end[place] else 0.0

    def leave(self, place: int) -> list[int]:
        """The neighbours, whose neighbour is now another."""
        low, high = self.before[place], self.after[place]
        if low >= 0:
            self.after[low] = high
        if high >= 0:
            self.before[high] = low
        return [near for near in (low, high) if near >= 0]


def crowding(points: "Points") -> "NDArray[np.float64]":
    """How far apart the neighbours of each point of one front are, summed over the objectives, each over its range.

    The ends of an objective are infinitely far. Of equal points the first stands for all and the others get 0, else copies of
    one good point would fill a population, each taken for an end. What is not finite has no distance, and adds none.
    """
    import numpy as np

    values = np.asarray(points, np.float64)
    return crowdings(values, np.zeros(len(values), np.int64))


def crowdings(points: "Points", front: "NDArray[np.int64]") -> "NDArray[np.float64]":
    """The same of many fronts at once: of each point among those of its own."""
    import numpy as np

    values = np.asarray(points, np.float64)
    if not len(values):
        return np.zeros(0)
    order = np.lexsort((*values.T[::-1], front))
    values, front = values[order], front[order]
    new = np.ones(len(values), np.bool_)
    new[1:] = (values[1:] != values[:-1]).any(axis=1) | (front[1:] != front[:-1])
    order, values, front = order[new], values[new], front[new]
    apart = np.zeros(len(values))
    for column in values.T:
        _spread_along(column, front, apart)
    found = np.zeros(len(new))
    found[order] = apart
    return found


def _spread_along(column: "NDArray[np.float64]", front: "NDArray[np.int64]", apart: "NDArray[np.float64]") -> None:
    """Adds how far apart the neighbours are along one objective, over the range of each front, whose ends are infinitely far.

    The distinct points come in the order of all their objectives, and a stable sort keeps it among equals.
    """
    import numpy as np

    order = np.lexsort((column, front))
    order = order[np.isfinite(column[order])]
    if not len(order):
        return
    # Halved, so that no difference of finite numbers is infinite.
    along, of = column[order] / 2, front[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = of[1:] != of[:-1]
    ends = np.ones(len(order), np.bool_)
    ends[:-1] = starts[1:]
    which = np.cumsum(starts) - 1
    low, high = along[starts], along[ends]
    extent = np.where(high - low > 0, high - low, 1.0)
    along = (along - low[which]) / extent[which]
    inner = ~(starts | ends)
    at = np.flatnonzero(inner)
    apart[order[at]] += along[at + 1] - along[at - 1]
    apart[order[starts | ends]] = np.inf


def _along(column: "NDArray[np.float64]") -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """Which of the distinct points have a finite value in an objective, in its order, and where in its range, 0 to 1.

    The distinct points come in the order of all their objectives, and a stable sort keeps it among equals.
    """
    import numpy as np

    order = np.argsort(column, kind="stable")
    order = order[np.isfinite(column[order])]
    # Halved, so that no difference of finite numbers is infinite.
    along = column[order] / 2
    if len(along):
        extent = along[-1] - along[0]
        along = (along - along[0]) / (extent if extent > 0 else 1.0)
    return order, along


def _distinct(values: "NDArray[np.float64]") -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """Where each distinct point stands first, and the distinct points, ordered by their objectives."""
    import numpy as np

    order = np.lexsort(values.T[::-1])
    sorted_values = values[order]
    new = np.ones(len(values), np.bool_)
    new[1:] = (sorted_values[1:] != sorted_values[:-1]).any(axis=1)
    return order[new], sorted_values[new]
