"""Vectors of length 1 that belong together: spherical k-means whose number of clusters follows from how near their members are.

A cluster is cut in two where its halves are less near one another than `near`, on average over all pairs across the cut; two are
one where they are nearer than a quarter more than that. The gap between the two keeps what lies on the edge as it is. Nothing here
depends on chance, nor, but for the rounding of sums, on the order of the rows.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped,unused-ignore]

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

CLUSTERS_MAX = 1_024
ROUNDS_MAX = 16
MERGE_AT = 1.25
"""Two clusters are one from this multiple of `near`: below it what is apart stays apart, above 1 what is one stays one."""
TURNS = 12
"""Steps towards the direction in which a cluster is widest."""
HALVINGS = 6
KEPT_AT = 0.5
"""A cluster is the one of before where they share this part of the smaller one."""
BLOCK = 8_192


class Grouped(NamedTuple):
    centroids: Floats
    """One a cluster, of length 1."""
    labels: Places
    """The cluster of each row, -1 for a row that belongs to none."""


def unit_rows(rows: NDArray[Any]) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def nearest(rows: Floats, centroids: Floats) -> tuple[Places, Floats]:
    """Of each row, the nearest centroid, and their cosine."""
    labels, cosines = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    for first in range(0, len(rows), BLOCK):
        found = rows[first : first + BLOCK] @ centroids.T
        best = found.argmax(axis=1)
        labels[first : first + BLOCK] = best
        cosines[first : first + BLOCK] = found[np.arange(len(found)), best]
    return labels, cosines


def grouped(rows: Floats, before: Floats, near: float, most: int = CLUSTERS_MAX) -> Grouped:
    """Clusters of rows, going on from the centroids of before, if there are any."""
    if not len(rows):
        return Grouped(np.empty((0, rows.shape[1]), np.float32), np.empty(0, np.int64))
    labels = nearest(rows, before)[0] if len(before) else np.zeros(len(rows), np.int64)
    whole: set[bytes] = set()
    for _ in range(ROUNDS_MAX):
        labels, cut = _cut(rows, labels, near, most, whole)
        labels = _settled(rows, labels)
        labels, joined = _joined(rows, labels, MERGE_AT * near)
        if not cut and not joined:
            break
    return _close_ones(rows, _settled(rows, labels), near)


def _sums(rows: Floats, labels: Places) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of each cluster the sum of its rows, and how many they are; rows of no cluster are left out."""
    order = np.argsort(labels, kind="stable")
    order = order[np.searchsorted(labels[order], 0) :]
    sizes = np.bincount(labels[order], minlength=int(labels.max(initial=-1)) + 1)
    sums = np.zeros((len(sizes), rows.shape[1]))
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for cluster in np.flatnonzero(sizes):
        members = order[firsts[cluster] : firsts[cluster] + sizes[cluster]]
        sums[cluster] = rows[members].sum(axis=0, dtype=np.float64)
    return sums, sizes


def _dense(labels: Places) -> Places:
    """Numbers without gaps; single rows belong to no cluster."""
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    kept = np.flatnonzero(sizes >= 2)
    names = np.full(len(sizes), -1, np.int64)
    names[kept] = np.arange(len(kept))
    return np.where(labels >= 0, names[np.maximum(labels, 0)], -1)


def _settled(rows: Floats, labels: Places) -> Places:
    """Each row that belongs somewhere goes where it is nearest."""
    labels = _dense(labels)
    if labels.max(initial=-1) < 0:
        return labels
    inside = np.flatnonzero(labels >= 0)
    sums, _ = _sums(rows, labels)
    labels[inside] = nearest(rows[inside], unit_rows(sums))[0]
    return _dense(labels)


def _cut(rows: Floats, labels: Places, near: float, most: int, whole: set[bytes]) -> tuple[Places, bool]:
    """`whole` remembers what need not be cut, until it changes."""
    labels = labels.copy()
    clusters = int(labels.max(initial=-1)) + 1
    done = False
    for cluster in range(clusters):
        members = np.flatnonzero(labels == cluster)
        if len(members) < 2 or clusters >= most or members.tobytes() in whole:
            continue
        far = _half(rows[members])
        one, other = members[~far], members[far]
        across = _across(rows[one], rows[other]) if len(one) and len(other) else 1.0
        if across < near:
            labels[other] = clusters
            clusters += 1
            done = True
        else:
            whole.add(members.tobytes())
    return labels, done


def _across(one: Floats, other: Floats) -> float:
    """The mean cosine of pairs of one here and one there."""
    return float(one.mean(axis=0, dtype=np.float64) @ other.mean(axis=0, dtype=np.float64))


def _half(rows: Floats) -> NDArray[np.bool_]:
    """Which rows go apart from the others where a cluster is cut across the direction in which it is widest."""
    middle = rows.mean(axis=0)
    apart = rows - middle
    direction = apart[int((rows @ middle).argmin())]
    for _ in range(TURNS):
        turned = apart.T @ (apart @ direction)
        length = float(np.linalg.norm(turned))
        if not length:
            break
        direction = turned / length
    far = apart @ direction > 0
    for _ in range(HALVINGS):
        if far.all() or not far.any():
            break
        pair = unit_rows(np.stack([rows[~far].sum(axis=0), rows[far].sum(axis=0)]))
        moved = np.diff(rows @ pair.T, axis=1)[:, 0] > 0
        if (moved == far).all():
            break
        far = moved
    return far


def _joined(rows: Floats, labels: Places, near: float) -> tuple[Places, bool]:
    """The nearest pairs first; each cluster joins one other at a time."""
    if labels.max(initial=-1) < 1:
        return labels, False
    sums, sizes = _sums(rows, labels)
    means = sums / sizes[:, None]
    across = np.triu(means @ means.T, 1)
    first, second = np.nonzero(across >= near)
    names = np.arange(len(sizes))
    free = np.ones(len(sizes), np.bool_)
    for pair in np.argsort(-across[first, second], kind="stable"):
        a, b = first[pair], second[pair]
        if free[a] and free[b]:
            names[b], free[a], free[b] = a, False, False
    return np.where(labels >= 0, names[np.maximum(labels, 0)], -1), bool(len(first))


def _close_ones(rows: Floats, labels: Places, near: float) -> Grouped:
    """Only clusters whose members are near one another, and only members that are near their centroid."""
    if labels.max(initial=-1) < 0:
        return Grouped(np.empty((0, rows.shape[1]), np.float32), labels)
    sums, sizes = _sums(rows, labels)
    within = ((sums**2).sum(axis=1) - sizes) / np.maximum(1, sizes * (sizes - 1))
    kept = np.flatnonzero((within >= near) & (sizes >= 2))
    if not len(kept):
        return Grouped(np.empty((0, rows.shape[1]), np.float32), np.full(len(rows), -1, np.int64))
    centroids = unit_rows(sums[kept])
    labels, cosines = nearest(rows, centroids)
    return Grouped(centroids, np.where(cosines >= near, labels, -1))


def kept(old: Places, new: Places) -> Places:
    """Which cluster of before each new one is, -1 for none: the pairing that shares most rows."""
    found = np.full(int(new.max(initial=-1)) + 1, -1, np.int64)
    both = (old >= 0) & (new >= 0)
    if not both.any():
        return found
    shared = np.zeros((int(old.max()) + 1, len(found)))
    np.add.at(shared, (old[both], new[both]), 1)
    before, after = np.bincount(old[old >= 0], minlength=len(shared)), np.bincount(new[new >= 0], minlength=len(found))
    for one, other in zip(*linear_sum_assignment(-shared), strict=True):
        if shared[one, other] and shared[one, other] >= KEPT_AT * min(before[one], after[other]):
            found[other] = one
    return found
