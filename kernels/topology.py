"""How the places where a field is low hang together as the level rises: parts that appear and grow into one, loops and cavities
that close and fill (cubical persistence by the values at the vertices), and how many there are at each level (Betti curves).

The box is a torus, or open. Union-find gives the parts; by Alexander duality, what is left above the level and touches at least at
a corner gives the holes of the highest degree; loops in three dimensions are counted by the Euler characteristic, and paired only
by gudhi. Must never answer with pairs of a field that is not finite, and depends on nothing but the values.
"""

from itertools import product
from typing import Final, NamedTuple

import numpy as np
from numba import boolean, float64, int32, int64, njit

Reals = np.ndarray[tuple[int], np.dtype[np.float64]]

OK, NOT_FINITE = range(2)
STATUS = ("ok", "not_finite")
POINTS_MAX: Final = 1 << 24
"""Of the whole grid: 256 a side in three dimensions."""
RING_MIN: Final = 3
"""Fewer points around a torus and two neighbours would be one."""


class Pairs(NamedTuple):
    """Of one degree: the level at which each appears, and the one at which it is gone (infinite: never). The longest first."""

    birth: Reals
    death: Reals

    @property
    def length(self) -> Reals:
        return self.death - self.birth


class Persistence(NamedTuple):
    status: int
    degrees: tuple[Pairs | None, ...]
    """By degree, parts first; None for the loops of three dimensions where they were not asked for."""


def persistence(field: np.ndarray, *, periodic: bool = True, shortest: float = 0.0, loops: bool = False) -> Persistence:
    """What appears and goes as the level rises past the values of a field of one, two or three dimensions.

    Pairs no longer than `shortest` are left out. With `loops`, those of degree 1 in three dimensions are worked out by gudhi.
    """
    values = _checked(field, periodic)
    if values is None:
        return Persistence(NOT_FINITE, ())
    dimensions, low = values.ndim, _below(values, periodic)
    found: list[Pairs | None] = [_pairs(low.birth, low.death, [float(values.min())], shortest)]
    if dimensions == 3:
        found.append(_loops(values, periodic, shortest) if loops else None)
    if dimensions > 1:
        # A part of what is above the level is a hole in what is below: it opens where that part joins another and fills at its top.
        # A way around the torus that closes above is one fewer below, so those of the highest degree appear where it is cut.
        high = _above(values, periodic)
        never = high.wound[:dimensions].tolist() if periodic else []
        found.append(_pairs(high.death, high.birth, never, shortest))
    if periodic:
        found.append(_pairs(np.empty(0), np.empty(0), [float(values.max())], shortest))
    return Persistence(OK, tuple(found))


def betti(field: np.ndarray, levels: np.ndarray, *, periodic: bool = True) -> np.ndarray | None:
    """How many parts, loops and cavities there are where the field is at most each level: a row for each degree, the top one that
    of the whole torus. None for a field that is not finite."""
    values = _checked(field, periodic)
    found = persistence(field, periodic=periodic)
    if values is None or found.status != OK:
        return None
    rows = [np.zeros(len(levels), np.int64) if pairs is None else _alive(pairs, levels) for pairs in found.degrees]
    if values.ndim == 3:  # the loops are not paired, but they are all that is not known of the alternating sum
        signs = [(-1) ** degree for degree in range(len(rows))]
        rows[1] = sum(sign * row for sign, row in zip(signs, rows, strict=True)) - euler(values, levels, periodic=periodic)
    return np.array(rows)


def euler(field: np.ndarray, levels: np.ndarray, *, periodic: bool = True) -> np.ndarray:
    """Vertices less edges plus squares less cubes at most so high; each as high as its highest vertex."""
    total = np.zeros(len(levels), np.int64)
    for corner in product((0, 1), repeat=field.ndim):
        cells = np.asarray(field, np.float64)
        for axis in np.flatnonzero(corner):
            cells = np.maximum(*_beside(cells, int(axis), periodic))
        total += (-1) ** sum(corner) * np.searchsorted(np.sort(cells, axis=None), levels, side="right")
    return total


def _beside(cells: np.ndarray, axis: int, periodic: bool) -> tuple[np.ndarray, np.ndarray]:
    if periodic:
        return cells, np.roll(cells, -1, axis)
    places = np.arange(cells.shape[axis] - 1)
    return np.take(cells, places, axis), np.take(cells, places + 1, axis)


def _alive(pairs: Pairs, levels: np.ndarray) -> np.ndarray:
    """Born at a level or below it, and not gone yet."""
    began = np.searchsorted(np.sort(pairs.birth), levels, side="right")
    return began - np.searchsorted(np.sort(pairs.death), levels, side="right")


def _checked(field: np.ndarray, periodic: bool) -> np.ndarray | None:
    values = np.ascontiguousarray(field, np.float64)
    least = RING_MIN if periodic else 1
    if not 1 <= values.ndim <= 3 or min(values.shape) < least or values.size > POINTS_MAX:
        raise ValueError(f"a field of 1 to 3 dimensions, {least} points a side and {POINTS_MAX} in all; not {values.shape}")
    return values + 0.0 if np.isfinite(values).all() else None  # no negative zero


def _pairs(birth: Reals, death: Reals, never: list[float], shortest: float) -> Pairs:
    longer = death - birth > shortest
    birth, death = birth[longer], death[longer]
    order = np.lexsort((birth, birth - death))
    endless = np.sort(np.array(never, np.float64))
    return Pairs(np.concatenate([endless, birth[order]]), np.concatenate([np.full(len(endless), np.inf), death[order]]))


# --- parts, and how they wind -----------------------------------------------------------------------------------------------


class _Merged(NamedTuple):
    birth: Reals
    death: Reals
    wound: Reals
    """Where the first, second and third independent way around the torus closed; NaN where none did."""


def _below(values: np.ndarray, periodic: bool) -> _Merged:
    """Parts of what is at most so high, joined along edges."""
    steps = np.concatenate([np.eye(values.ndim), -np.eye(values.ndim)])
    return _merge(values, steps, periodic, np.argsort(values, axis=None, kind="stable"), False)


def _above(values: np.ndarray, periodic: bool) -> _Merged:
    """Parts of what is higher, joined also across corners, from the highest down. An open box has the outside around it."""
    steps = np.array([step for step in product((-1, 0, 1), repeat=values.ndim) if any(step)])
    return _merge(values, steps, periodic, np.argsort(-values, axis=None, kind="stable"), not periodic)


def _merge(values: np.ndarray, steps: np.ndarray, periodic: bool, order: np.ndarray, outside: bool) -> _Merged:
    shape, moves = np.ones(3, np.int64), np.zeros((len(steps), 3), np.int64)
    shape[3 - values.ndim :], moves[:, 3 - values.ndim :] = values.shape, steps
    wraps = np.zeros(3, np.bool_)
    wraps[3 - values.ndim :] = periodic
    flat = np.append(values.ravel(), np.inf if outside else 0.0)
    birth, death, wound = np.empty(values.size), np.empty(values.size), np.full(3, np.nan)
    count = _union(flat, order.astype(np.int64), shape, moves, wraps, outside, birth, death, wound)
    return _Merged(birth[:count], death[:count], wound)


@njit((int32[::1], int32[:, ::1], int64), cache=True)
def _root(parent, lift, of):
    """The part that a vertex belongs to; `lift` then says how one walks from there to the vertex's place in the unrolled box."""
    root = of
    a = b = c = 0
    while parent[root] != root:
        a += lift[root, 0]
        b += lift[root, 1]
        c += lift[root, 2]
        root = parent[root]
    while parent[of] != root and of != root:
        after = parent[of]
        x, y, z = lift[of, 0], lift[of, 1], lift[of, 2]
        parent[of] = root
        lift[of, 0], lift[of, 1], lift[of, 2] = a, b, c
        a -= x
        b -= y
        c -= z
        of = after
    return root


@njit((int64[:, ::1], int64, int64[::1]), cache=True)
def _independent(ways, known, way):
    """Whether this way around is none that the known ones come to."""
    if known == 0:
        return way[0] != 0 or way[1] != 0 or way[2] != 0
    first = ways[0]
    x = first[1] * way[2] - first[2] * way[1]
    y = first[2] * way[0] - first[0] * way[2]
    z = first[0] * way[1] - first[1] * way[0]
    if known == 1:
        return x != 0 or y != 0 or z != 0
    return known == 2 and ways[1, 0] * x + ways[1, 1] * y + ways[1, 2] * z != 0


@njit(
    (float64[::1], int64[::1], int64[::1], int64[:, ::1], boolean[::1], boolean, float64[::1], float64[::1], float64[::1]),
    cache=True,
)
def _union(values, order, shape, moves, wraps, outside, birth, death, wound):
    """Vertices come in their order; of two parts that meet, the younger ends. Returns how many ended."""
    size = order.size
    parent = np.full(size + 1, -1, np.int32)
    lift = np.zeros((size + 1, 3), np.int32)
    place = np.empty(size + 1, np.int32)
    ways, known = np.zeros((3, 3), np.int64), 0
    here, way = np.empty(3, np.int64), np.empty(3, np.int64)
    count = 0
    if outside:
        parent[size], place[size] = size, -1
    for at in range(size):
        vertex = order[at]
        level = values[vertex]
        parent[vertex], place[vertex] = vertex, at
        here[2] = vertex % shape[2]
        here[1] = vertex // shape[2] % shape[1]
        here[0] = vertex // (shape[2] * shape[1])
        edge = False
        for move in range(moves.shape[0]):
            other, there = 0, True
            for axis in range(3):
                next = here[axis] + moves[move, axis]
                if next < 0 or next >= shape[axis]:
                    if wraps[axis]:
                        next -= shape[axis] * (1 if next > 0 else -1)
                    else:
                        there, edge = False, True
                other = other * shape[axis] + next
            if not there or parent[other] < 0:
                continue
            mine, its = _root(parent, lift, vertex), _root(parent, lift, other)
            if mine == its:
                if known < 3:
                    turned = False
                    for axis in range(3):
                        way[axis] = lift[vertex, axis] + moves[move, axis] - lift[other, axis]
                        turned = turned or way[axis] != 0
                    if turned and _independent(ways, known, way):
                        ways[known] = way
                        wound[known] = level
                        known += 1
                continue
            elder, younger = (mine, its) if place[mine] < place[its] else (its, mine)
            if values[younger] != level:
                birth[count], death[count] = values[younger], level
                count += 1
            sign = 1 if younger == its else -1
            for axis in range(3):
                lift[younger, axis] = sign * (lift[vertex, axis] + moves[move, axis] - lift[other, axis])
            parent[younger] = elder
        if outside and edge:
            mine = _root(parent, lift, vertex)
            if mine != size:
                if values[mine] != level:
                    birth[count], death[count] = values[mine], level
                    count += 1
                parent[mine] = size
    return count


# --- loops in three dimensions ----------------------------------------------------------------------------------------------


def _loops(values: np.ndarray, periodic: bool, shortest: float) -> Pairs:
    """By gudhi, which is an extra (`topology`): ModuleNotFoundError where it is not installed."""
    import gudhi

    # Its vertices lie in another order than ours; the axes of a field are all alike to it.
    around = {"periodic_dimensions": [True] * values.ndim} if periodic else {}
    made = (gudhi.PeriodicCubicalComplex if periodic else gudhi.CubicalComplex)(vertices=values, **around)
    made.compute_persistence(homology_coeff_field=2, min_persistence=0.0)
    found = made.persistence_intervals_in_dimension(1).reshape(-1, 2)
    endless = np.isinf(found[:, 1])
    return _pairs(found[~endless, 0], found[~endless, 1], sorted(found[endless, 0].tolist()), shortest)
