"""Persistence the slow and obvious way: every cell of the grid, its boundary, and the reduction of the whole matrix over two
elements (Edelsbrunner and Harer, Computational Topology, 2010, VII.1). Knows nothing of duality, union-find or winding.
"""

from itertools import product

import numpy as np


def cells(field: np.ndarray, periodic: bool) -> list[tuple[float, int, frozenset]]:
    """Height, dimension and vertices of each cell."""
    found = []
    for corner in product(*map(range, field.shape)):
        for axes in product((0, 1), repeat=field.ndim):
            vertices = [tuple(c + s for c, s in zip(corner, step, strict=True)) for step in product(*[range(a + 1) for a in axes])]
            if periodic:
                vertices = [tuple(v % n for v, n in zip(vertex, field.shape, strict=True)) for vertex in vertices]
            elif any(v >= n for vertex in vertices for v, n in zip(vertex, field.shape, strict=True)):
                continue
            found.append((max(float(field[vertex]) for vertex in vertices), sum(axes), (corner, axes)))
    return sorted(found, key=lambda cell: cell[:2])


def boundary(name, shape: tuple[int, ...], periodic: bool) -> list:
    corner, axes = name
    found = []
    for axis in np.flatnonzero(axes):
        for step in (0, 1):
            at = list(corner)
            at[axis] += step
            if periodic:
                at[axis] %= shape[axis]
            without = list(axes)
            without[axis] = 0
            found.append((tuple(at), tuple(without)))
    return found


def persistence(field: np.ndarray, periodic: bool = True) -> list[list[tuple[float, float]]]:
    """Of each degree, all pairs that last, sorted."""
    every = cells(field, periodic)
    place = {name: at for at, (_, _, name) in enumerate(every)}
    columns: list[set[int]] = []
    lowest: dict[int, int] = {}
    found: list[list[tuple[float, float]]] = [[] for _ in range(field.ndim + 1)]
    for at, (height, dimension, name) in enumerate(every):
        column: set[int] = set()
        for face in boundary(name, field.shape, periodic):
            column ^= {place[face]}
        while column and max(column) in lowest:
            column ^= columns[lowest[max(column)]]
        columns.append(column)
        if column:
            lowest[max(column)] = at
            born = every[max(column)]
            if born[0] != height:
                found[dimension - 1].append((born[0], height))
    dead = set(lowest)
    for at, (height, dimension, _) in enumerate(every):
        if at not in dead and not columns[at]:
            found[dimension].append((height, float("inf")))
    return [sorted(pairs) for pairs in found]
