"""Clusters: planted ones are found, in whatever order the rows come; noise has none; and a cluster stays the one it was."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import clusters as kernel

NEAR = 0.3
NONE = np.empty((0, 256), np.float32)


def planted(groups: int, each: int, noise: int, seed: int, spread: float = 0.8, size: int = 256) -> tuple[Any, Any]:
    chance = np.random.default_rng(seed)
    middles = np.linalg.qr(chance.normal(size=(size, size)))[0][:groups]
    rows = np.repeat(middles, each, axis=0) + spread * chance.normal(size=(groups * each, size)) / np.sqrt(size)
    rows = np.concatenate([rows, chance.normal(size=(noise, size))])
    return kernel.unit_rows(rows), np.concatenate([np.repeat(np.arange(groups), each), np.full(noise, -1)])


def agreement(one: Any, other: Any) -> float:
    """The adjusted Rand index, by its definition."""
    pairs = lambda counts: float((counts * (counts - 1)).sum()) / 2  # noqa: E731
    table = np.zeros((int(one.max()) + 2, int(other.max()) + 2))
    np.add.at(table, (one + 1, other + 1), 1)
    both, a, b, every = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), len(one) * (len(one) - 1) / 2
    expected, most = a * b / every, (a + b) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


@pytest.mark.parametrize(("groups", "each", "noise"), [(2, 6, 0), (9, 15, 0), (20, 12, 60)])
def test_planted_clusters_are_found_and_noise_is_loose(groups: int, each: int, noise: int) -> None:
    rows, truth = planted(groups, each, noise, 1)
    found = kernel.grouped(rows, NONE, NEAR)
    inside = truth >= 0
    assert agreement(truth[inside], found.labels[inside]) >= 0.95
    assert (found.labels[~inside] < 0).mean() >= 0.9 if noise else len(found.centroids) == groups
    assert np.allclose(np.linalg.norm(found.centroids, axis=1), 1, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 40))
def test_shuffled_rows_agree(seed: int, groups: int, noise: int) -> None:
    rows, _ = planted(groups, 10, noise, seed, spread=1.0)
    order = np.random.default_rng(seed).permutation(len(rows))
    one, other = kernel.grouped(rows, NONE, NEAR), kernel.grouped(rows[order], NONE, NEAR)
    assert agreement(one.labels[order], other.labels) >= 0.9


def test_noise_has_no_clusters_and_nothing_has_none() -> None:
    rows, _ = planted(0, 0, 400, 2)
    assert len(kernel.grouped(rows, NONE, NEAR).centroids) <= 2
    assert not len(kernel.grouped(NONE, NONE, NEAR).centroids)
    same = np.repeat(rows[:1], 5, axis=0)
    assert kernel.grouped(same, NONE, NEAR).labels.tolist() == [0] * 5


def test_what_lies_on_the_edge_stays_as_it_was() -> None:
    """Two halves that are a little nearer than `near`: apart they stay apart, as one they stay one."""
    chance = np.random.default_rng(3)
    turn = np.arccos(NEAR * 1.15)
    middles = np.zeros((2, 256))
    middles[0, 0], middles[1, :2] = 1, (np.cos(turn), np.sin(turn))
    rows = kernel.unit_rows(np.repeat(middles, 40, axis=0) + 0.02 * chance.normal(size=(80, 256)) / 16)
    together = kernel.grouped(rows, NONE, NEAR)
    apart = kernel.grouped(rows, kernel.unit_rows(middles), NEAR)
    assert len(together.centroids) == 1 and len(apart.centroids) == 2
    assert len(kernel.grouped(rows, kernel.unit_rows(middles), 1.2 * NEAR).centroids) == 2
    assert len(kernel.grouped(rows, NONE, 1.2 * NEAR).centroids) == 2, "it is cut where its halves are not near"
    assert len(kernel.grouped(rows, kernel.unit_rows(middles), 0.9 * NEAR).centroids) == 1, "they are one where they are near"


def test_a_cluster_is_the_one_with_which_it_shares_most() -> None:
    old = np.array([0, 0, 0, 1, 1, 1, 2, -1, -1])
    new = np.array([1, 1, 1, 0, 0, 2, -1, 3, 3])
    assert kernel.kept(old, new).tolist() == [1, 0, -1, -1]
    assert kernel.kept(np.full(3, -1), np.array([0, 0, 1])).tolist() == [-1, -1]
    assert kernel.kept(np.array([0, 0, 0]), np.full(3, -1)).tolist() == []


def test_ids_last_while_clusters_grow() -> None:
    rows, truth = planted(8, 30, 40, 4)
    early = kernel.grouped(rows[::2], NONE, NEAR)
    old, cosines = kernel.nearest(rows, early.centroids)
    later = kernel.grouped(rows, early.centroids, NEAR)
    names = kernel.kept(np.where(cosines >= NEAR, old, -1), later.labels)
    named = {(int(truth[row]), int(names[later.labels[row]])) for row in range(len(rows)) if truth[row] >= 0 <= later.labels[row]}
    assert len(named) == 8 and len({name for _, name in named} - {-1}) == 8
    by_name = {name: group for group, name in named}
    for row in range(0, len(rows), 2):
        if truth[row] >= 0 <= early.labels[row // 2]:
            assert by_name[int(early.labels[row // 2])] == truth[row]
