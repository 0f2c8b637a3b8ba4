"""Vectors of length 1 in lists, by the centroid each is nearest to: what an approximate search looks into.

Spherical k-means from evenly spread beginnings. Nothing depends on chance: the same rows give the same lists. How much is found by
looking into the nearest lists alone is measured, never assumed: for vectors without structure it is little, and that is the answer.
"""

from collections.abc import Iterable
from math import isqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

A_LIST = 40
"""Rows of a list that centroids are learned from, about."""
TURNS = 6


def lists_wanted(rows: int, most: int) -> int:
    """With five times the square root, to find the lists costs about as much as to look into them, and few rows share a list that
    have nothing else in common."""
    return max(1, min(most, rows, isqrt(25 * rows)))


def spread(rows: int, many: int) -> Places:
    """So many places, evenly spread; all of them where there are no more."""
    many = min(rows, many)
    return np.arange(many, dtype=np.int64) * rows // max(1, many)


def assigned(rows: Floats, centroids: Floats) -> Places:
    """Of each row the list it belongs to; of equals the first."""
    return np.asarray((rows @ centroids.T).argmax(axis=1), np.int64)


def moved(rows: Floats, labels: Places, centroids: Floats) -> Floats:
    """Centroids in the middle of their rows. One without rows, or whose rows cancel out, stays where it is."""
    found = centroids.copy()
    if not len(rows):
        return found
    order = np.argsort(labels, kind="stable")
    held, firsts = np.unique(labels[order], return_index=True)
    sums = np.add.reduceat(rows[order], firsts, axis=0, dtype=np.float64)
    lengths = np.linalg.norm(sums, axis=1)
    some = lengths > 1e-6
    found[held[some]] = (sums[some] / lengths[some, None]).astype(np.float32)
    return found


def listed(labels: Places, lists: int) -> tuple[NDArray[np.bool_], NDArray[np.uint32], NDArray[np.uint32]]:
    """Which lists hold anything; where each of those begins and the last one ends; and its rows, in their order."""
    sizes = np.bincount(labels, minlength=lists)
    held = sizes > 0
    begins = np.concatenate([[0], np.cumsum(sizes[held])]).astype(np.uint32)
    return held, begins, np.argsort(labels, kind="stable").astype(np.uint32)


def noisy(rows: Floats, parts: float) -> Floats:
    """With so many parts of noise to one of the row, at length 1: the same noise each time."""
    noise = np.random.default_rng(0).normal(size=rows.shape)
    mixed = rows + parts * noise / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-30)
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, mixed / np.maximum(lengths, 1e-30), rows).astype(np.float32)


def neighbours(queries: Floats, own: Places, blocks: Iterable[tuple[Floats, Places]], k: int) -> Places:
    """Of each query the places of its k nearest rows but for itself (`own`), by comparing all; -1 where there are fewer."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    places = np.full((len(queries), k), -1, np.int64)
    for rows, at in blocks:
        scores = queries @ rows.T
        scores[own[:, None] == at[None, :]] = -np.inf
        scores = np.concatenate([best, scores], axis=1)
        known = np.concatenate([places, np.broadcast_to(at, (len(queries), len(at)))], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k] if scores.shape[1] <= 2 * k else _first(scores, k)
        best, places = np.take_along_axis(scores, order, 1), np.take_along_axis(known, order, 1)
    return np.where(np.isneginf(best), -1, places)


def _first(scores: Floats, k: int) -> Places:
    part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, part, 1), axis=1, kind="stable")
    return np.take_along_axis(part, order, 1)


def recall(queries: Floats, centroids: Floats, near: Places, steps: Iterable[int]) -> list[float]:
    """Which share of the neighbours (`near`: their lists, -1 for none) is found by looking into so many lists. Of nothing, all."""
    ranks = np.empty((len(queries), len(centroids)), np.int64)
    order = np.argsort(-(queries @ centroids.T), axis=1, kind="stable")
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(len(centroids)), order.shape), 1)
    there = near >= 0
    found = np.take_along_axis(ranks, np.maximum(near, 0), 1)
    many = int(there.sum())
    return [float(((found < step) & there).sum()) / many if many else 1.0 for step in steps]
