"""Lists of vectors: what is measured is what comparing each says, each row is in one list, and chance has no part in it."""

from typing import Any

import numpy as np
import pytest

from kernels import inverted_lists as kernel


def rows(many: int, subjects: int, seed: int = 1, size: int = 16) -> Any:
    """Around so many subjects; with none, without structure."""
    chance = np.random.default_rng(seed)
    found = chance.normal(size=(many, size))
    if subjects:
        found = 0.5 * found + 2 * chance.normal(size=(subjects, size))[chance.integers(0, subjects, many)]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def made(stored: Any, lists: int) -> tuple[Any, Any]:
    centroids = stored[kernel.spread(len(stored), lists)].copy()
    for _ in range(kernel.TURNS):
        centroids = kernel.moved(stored, kernel.assigned(stored, centroids), centroids)
    return centroids, kernel.assigned(stored, centroids)


def blocks(stored: Any, size: int) -> Any:
    for first in range(0, len(stored), size):
        yield stored[first : first + size], first + np.arange(len(stored[first : first + size]))


@pytest.mark.parametrize("block", [7, 60, 1_000])
def test_neighbours_are_those_of_comparing_each(block: int) -> None:
    stored = rows(230, 5)
    own = kernel.spread(230, 12)
    found = kernel.neighbours(stored[own], own, blocks(stored, block), 9)
    for query, places in zip(own, found, strict=True):
        scores = stored @ stored[query]
        assert places.tolist() == [place for place in np.argsort(-scores, kind="stable").tolist() if place != query][:9]
    few = kernel.neighbours(stored[:3], np.array([0, 1, -1]), blocks(stored[:3], block), 9)
    assert [(row >= 0).sum() for row in few] == [2, 2, 3], "there are no more; one that stands for no row may find all"


def test_the_measure_is_that_of_looking() -> None:
    stored = rows(400, 8)
    centroids, labels = made(stored, 30)
    queries, own = stored[:40], np.arange(40)
    near = kernel.neighbours(queries, own, blocks(stored, 64), 10)
    steps = [1, 2, 5, 30]
    for step, told in zip(steps, kernel.recall(queries, centroids, labels[near], steps), strict=True):
        hits = 0
        for query, true in zip(queries, near, strict=True):
            lists = set(np.argsort(-(centroids @ query), kind="stable")[:step].tolist())
            hits += sum(int(labels[place]) in lists for place in true)
        assert told == hits / near.size
    assert kernel.recall(queries, centroids, np.full((40, 10), -1), steps) == [1.0] * 4, "of nothing, nothing is missed"


def test_structure_makes_few_lists_enough_and_the_lack_of_it_is_seen() -> None:
    for subjects, least, most in ((20, 0.9, 1.0), (0, 0.0, 0.6)):
        stored = rows(2_000, subjects, size=64)
        centroids, labels = made(stored, kernel.lists_wanted(2_000, 1_000))
        own = kernel.spread(2_000, 64)
        near = kernel.neighbours(stored[own], own, blocks(stored, 512), 10)
        [found] = kernel.recall(stored[own], centroids, labels[near], [8])
        assert least <= found <= most


@pytest.mark.parametrize("stored", [rows(1, 0), rows(300, 7), np.repeat(rows(1, 0), 50, axis=0)])
def test_each_row_is_in_one_list_and_the_same_rows_give_the_same_lists(stored: Any) -> None:
    lists = kernel.lists_wanted(len(stored), 1_000)
    centroids, labels = made(stored, lists)
    held, begins, order = kernel.listed(labels, lists)
    assert sorted(order.tolist()) == list(range(len(stored))) and begins[0] == 0 and begins[-1] == len(stored)
    for name, first, last in zip(np.flatnonzero(held), begins, begins[1:], strict=False):
        assert first < last and set(labels[order[first:last]].tolist()) == {name}
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    again, same = made(stored, lists)
    assert again.tobytes() == centroids.tobytes() and (same == labels).all()


def test_centroids_whose_rows_cancel_out_stay_and_noise_is_the_same_each_time() -> None:
    one = rows(1, 0)
    centroids = np.concatenate([one, -one])
    assert (kernel.moved(np.concatenate([one, -one]), np.array([0, 0]), centroids) == centroids).all()
    assert (kernel.moved(one[:0], np.array([], np.int64), centroids) == centroids).all()
    stored = rows(50, 3)
    assert (kernel.noisy(stored, 0) == stored).all() or np.allclose(kernel.noisy(stored, 0), stored, atol=1e-6)
    for parts, cosine in ((1.0, 0.707), (8.0, 0.124)):
        mixed = kernel.noisy(stored, parts)
        assert mixed.tobytes() == kernel.noisy(stored, parts).tobytes() and np.allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-5)
        assert abs(float((mixed * stored).sum(axis=1).mean()) - cosine) < 0.1
