"""The volume that a front dominates: exact, and never less for a point more."""

import math
import random

import pytest

from core.hunt.hypervolume import hypervolume

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([], (1, 1), 0),
        ([(0.25,), (0.5,), (2,)], (1,), 0.75),
        ([(0, 0)], (1, 1), 1),
        ([(0, 0.5), (0.5, 0)], (1, 1), 0.75),
        ([(0, 0.5), (0.5, 0), (0.5, 0.5), (0.5, 0)], (1, 1), 0.75),
        ([(0, 0, 0.5), (0.5, 0.5, 0)], (1, 1, 1), 0.5 + 0.125),
        # Beyond the reference in one objective: nothing, however good in the other, and never less than nothing.
        ([(0, 0.5), (-100, 1), (-100, 1.5), (1, 0)], (1, 1), 0.5),
        ([(0, 0.5, 0.5), (-100, 0, 2), (2, -100, 0)], (1, 1, 1), 0.25),
        ([(0, 0.5), (NAN, 0), (0, NAN), (INF, 0), (-INF, 0)], (1, 1), 0.5),
    ],
)
def test_volumes_that_are_known(points, reference, volume):
    assert hypervolume(points, reference) == pytest.approx(volume, abs=1e-15)


def test_more_objectives_are_our_own_mistake():
    with pytest.raises(ValueError, match="1 to 3"):
        hypervolume([(0, 0, 0, 0)], (1, 1, 1, 1))
    with pytest.raises(ValueError):
        hypervolume([(0, 0, 0)], (1, 1))


def front(chance: random.Random, objectives: int) -> list[tuple[float, ...]]:
    """Some with ties, some dominated, some beyond the reference of 1."""
    grid = chance.choice([3, 10, 0])
    return [
        tuple(chance.randrange(-1, grid + 2) / grid if grid else chance.uniform(-0.2, 1.1) for _ in range(objectives))
        for _ in range(chance.randrange(1, 40))
    ]


def test_it_equals_moocore_on_500_sets():
    moocore = pytest.importorskip("moocore")
    chance = random.Random(3)
    for number in range(500):
        objectives = 2 + number % 2
        points, reference = front(chance, objectives), (1.0,) * objectives
        expected = float(moocore.hypervolume(points, ref=list(reference)))
        assert hypervolume(points, reference) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_the_order_does_not_matter_and_one_more_never_takes_away():
    chance = random.Random(4)
    for number in range(200):
        points, reference = front(chance, 2 + number % 2), (1.0,) * (2 + number % 2)
        volume = hypervolume(points, reference)
        assert hypervolume(chance.sample(points, len(points)), reference) == pytest.approx(volume, rel=1e-13)
        assert hypervolume(points[:-1], reference) <= volume + 1e-15
