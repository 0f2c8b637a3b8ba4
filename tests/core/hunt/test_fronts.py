"""Who dominates whom, and who is crowded: against slow twins that say the rule word by word."""

import math
import random

import numpy as np
import pytest

from core.hunt.fronts import crowding, crowdings, dominance, ranks, thinned

INF, NAN = math.inf, math.nan


def dominates(one, other) -> bool:
    """(feasibility, objectives) each. The rule, word by word."""
    if one[0] != other[0]:
        return one[0] < other[0]
    if any(map(math.isnan, one[1])):
        return False
    if any(map(math.isnan, other[1])):
        return True
    pairs = list(zip(one[1], other[1], strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def peeled(points) -> list[int]:
    """Fronts one after the other, each found by asking everybody about everybody."""
    found, level = [-1] * len(points), 0
    while -1 in found:
        left = [place for place, rank in enumerate(found) if rank == -1]
        front = [place for place in left if not any(dominates(points[other], points[place]) for other in left)]
        for place in front:
            found[place] = level
        level += 1
    return found


def points(chance: random.Random, objectives: int, count: int):
    """With ties, copies, infinities of both signs and what is not a number."""
    special = [INF, INF, -INF, NAN] if chance.random() < 0.6 else []
    values = [*(chance.choice([1.0, 0.1]) * number for number in range(chance.choice([2, 5, 40]))), -0.0, *special]
    return [(chance.choice([0, 0, 0, 1, 2]), tuple(chance.choice(values) for _ in range(objectives))) for _ in range(count)]


def test_dominance_and_fronts_equal_brute_force_on_1000_sets():
    chance = random.Random(1)
    for number in range(1_000):
        given = points(chance, 1 + number % 3, chance.randrange(1, 22))
        feasibility, objectives = [each[0] for each in given], [each[1] for each in given]
        assert dominance(objectives, feasibility).tolist() == [[dominates(a, b) for b in given] for a in given]
        expected = peeled(given)
        assert ranks(objectives, feasibility).tolist() == expected
        enough = chance.randrange(1, len(given) + 1)
        last = sorted(expected)[enough - 1]
        assert ranks(objectives, feasibility, enough).tolist() == [rank if rank <= last else -1 for rank in expected]


def test_what_is_not_a_number_never_dominates_and_stands_last():
    given = [(0.0, NAN), (5.0, 5.0), (NAN, NAN), (INF, INF), (-INF, NAN)]
    assert dominance(given)[[0, 2, 4]].any() == False  # noqa: E712
    assert ranks(given).tolist() == [2, 0, 2, 1, 2]


def test_any_real_score_stands_before_any_without_peaks_and_those_before_any_that_diverged():
    assert ranks([(9.0, 9.0), (0.0, 0.0), (-5.0, -5.0), (8.0, 8.0)], [0, 1, 2, 0]).tolist() == [1, 2, 3, 0]


def test_crowding_is_the_distance_of_the_neighbours_over_the_range():
    found = crowding([(0.0, 10.0), (1.0, 6.0), (2.0, 5.0), (4.0, 0.0)]).tolist()
    assert found == [INF, pytest.approx(2 / 4 + 5 / 10), pytest.approx(3 / 4 + 6 / 10), INF]


def test_a_copy_is_never_an_end():
    front = [(0.0, 4.0), (1.0, 3.0), (2.0, 2.0), (4.0, 0.0)]
    alone = crowding(front).tolist()
    copied = crowding([front[0], *front, front[0], front[3], front[1]]).tolist()
    assert copied == [alone[0], 0.0, alone[1], alone[2], alone[3], 0.0, 0.0, 0.0]
    assert crowding([(1.0, 1.0)] * 4).tolist() == [INF, 0.0, 0.0, 0.0]


def test_what_is_not_finite_has_no_distance_and_spoils_no_other():
    found = crowding([(0.0, INF), (1.0, 3.0), (2.0, 2.0), (3.0, 1.0), (-INF, NAN)]).tolist()
    assert found == [INF, INF, pytest.approx(2 / 3 + 1), INF, 0.0]
    assert crowding([(-1.7e308, 1.0), (0.0, 0.0), (1.7e308, -1.0)]).tolist() == [INF, pytest.approx(2.0), INF]
    assert crowding([(5.0, 1.0), (5.0, 1.0)]).tolist() == [INF, 0.0]


def one_by_one(front, size: int) -> list[int]:
    """The most crowded leaves, everything is worked out anew, and so on; the range stays that of the whole front."""
    copies = [place for place in range(len(front)) if front[place] in front[:place]]
    left = [place for place in range(len(front)) if place not in copies]
    extents = [[f(front[place][k] / 2 for place in left) for f in (min, max)] for k in range(len(front[0]))]
    if len(left) < size:
        return sorted(left + copies[: size - len(left)])
    while len(left) > size:
        apart = []
        for place in left:
            total = 0.0
            for k, (low, high) in enumerate(extents):
                row = sorted(left, key=lambda other: (front[other][k], front[other]))
                at = row.index(place)
                ends = at in (0, len(row) - 1)
                over, under = ((front[row[at + side]][k] / 2 - low) / (high - low or 1.0) for side in ((0, 0) if ends else (1, -1)))
                total += INF if ends else over - under
            apart.append((total, tuple(-value for value in front[place]), place))
        left.remove(min(apart)[2])
    return left


def test_thinning_equals_one_by_one():
    chance = random.Random(2)
    for number in range(300):
        grid = chance.choice([4, 0])
        front = [
            tuple(chance.randrange(grid) / 4 if grid else chance.random() for _ in range(1 + number % 3))
            for _ in range(chance.randrange(1, 16))
        ]
        size = chance.randrange(1, len(front) + 1)
        assert thinned(front, size) == one_by_one(front, size), (front, size)


def test_a_close_pair_leaves_one_behind():
    """All together, both would leave, and the middle of the front would be empty."""
    front = [(0.0, 1.0), (0.1, 0.9), (0.49, 0.51), (0.5, 0.5), (0.51, 0.49), (0.9, 0.1), (1.0, 0.0)]
    kept = thinned(front, 5)
    assert len(set(kept) & {2, 3, 4}) == 1 and {0, 6} <= set(kept)


def test_who_stands_where_does_not_depend_on_the_order():
    chance = random.Random(5)
    for number in range(100):
        given = points(chance, 2 + number % 2, 20)
        order = chance.sample(range(20), 20)
        feasibility, objectives = [each[0] for each in given], [each[1] for each in given]
        found = ranks(objectives, feasibility).tolist()
        again = ranks([objectives[place] for place in order], [feasibility[place] for place in order]).tolist()
        assert again == [found[place] for place in order]
        distinct = [tuple(chance.choice([chance.random(), 0.5]) for _ in range(3)) for _ in range(20)]
        distinct = list(dict.fromkeys(distinct))
        order = chance.sample(range(len(distinct)), len(distinct))
        apart = crowding(distinct).tolist()
        assert crowding([distinct[place] for place in order]).tolist() == [apart[place] for place in order]


def test_the_crowding_of_many_fronts_at_once_is_that_of_each_alone():
    chance = random.Random(9)
    for number in range(200):
        given = points(chance, 1 + number % 3, chance.randrange(1, 30))
        front = np.array([chance.randrange(4) for _ in given])
        objectives = np.array([each[1] for each in given])
        found = crowdings(objectives, front)
        for level in range(4):
            members = np.flatnonzero(front == level)
            assert found[members].tolist() == crowding(objectives[members]).tolist()
