"""Parts, loops and cavities: those of a field whose answer is known, those of the slow twin, and of gudhi where it is installed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kernels import topology
from tests.kernels import naive_topology

INF = float("inf")


def pairs(found: topology.Pairs | None) -> list[tuple[float, float]]:
    assert found is not None
    return sorted(zip(found.birth.tolist(), found.death.tolist(), strict=True))


def waves(points: int, count: int, dimensions: int = 2) -> np.ndarray:
    x = np.cos(2 * np.pi * count * np.arange(points) / points)
    return sum(x.reshape([-1 if axis == each else 1 for axis in range(dimensions)]) for each in range(dimensions))


def fields(dimensions: int, side: int):
    """Few different values, so that many are equal, or any."""
    values = st.one_of(st.integers(0, 3).map(float), st.floats(-9, 9).map(lambda x: x + 0.0))
    return st.tuples(*[st.integers(3, side)] * dimensions).flatmap(lambda shape: arrays(np.float64, shape, elements=values))


@pytest.mark.parametrize(("points", "count"), [(8, 1), (16, 2), (24, 3), (64, 4)])
def test_crossed_waves_have_the_pairs_that_they_must_have(points, count):
    """cos nx + cos ny on the torus. Its edges left open would merge fewer and close no way around."""
    found = topology.persistence(waves(points, count), shortest=1e-9)
    parts, loops, whole = map(pairs, found.degrees)
    expected = [
        [(-2, INF), *[(-2, 0)] * (count**2 - 1)],
        [*[(0, 2)] * (count**2 - 1), (0, INF), (0, INF)],
        [(2, INF)],
    ]
    for own, exact in zip((parts, loops, whole), expected, strict=True):
        assert np.sort(np.array(own), axis=0) == pytest.approx(np.sort(np.array(exact, float), axis=0), abs=1e-12)
    if count > 1:
        open_box = topology.persistence(waves(points, count), shortest=1e-9, periodic=False)
        assert len(open_box.degrees) == 2 and not np.isinf(open_box.degrees[1].death).any()


@pytest.mark.parametrize(("dimensions", "side"), [(1, 12), (2, 5), (3, 3)])
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_it_is_what_the_reduced_matrix_says(dimensions, side, data):
    field, periodic = data.draw(fields(dimensions, side)), data.draw(st.booleans())
    exact = naive_topology.persistence(field, periodic)
    found = topology.persistence(field, periodic=periodic)
    assert found.status == topology.OK and len(found.degrees) == dimensions + periodic
    for degree, own in enumerate(found.degrees):
        if own is not None:
            assert pairs(own) == exact[degree], degree
        else:
            assert (degree, dimensions) == (1, 3)
    levels = np.unique(field)
    counted = topology.betti(field, levels, periodic=periodic)
    alive = [[sum(b <= level < d for b, d in of) for level in levels] for of in exact[: dimensions + periodic]]
    assert counted.tolist() == alive


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_gudhi_says_the_same(data):
    gudhi = pytest.importorskip("gudhi", reason="the oracle of topology is not installed: pip install 'irer[topology]'")
    dimensions = data.draw(st.integers(1, 3))
    field, periodic = data.draw(fields(dimensions, (40, 16, 7)[dimensions - 1])), data.draw(st.booleans())
    around = {"periodic_dimensions": [True] * dimensions} if periodic else {}
    made = (gudhi.PeriodicCubicalComplex if periodic else gudhi.CubicalComplex)(vertices=field, **around)
    made.compute_persistence(homology_coeff_field=2, min_persistence=0.0)
    for degree, own in enumerate(topology.persistence(field, periodic=periodic, loops=True).degrees):
        assert pairs(own) == sorted(map(tuple, made.persistence_intervals_in_dimension(degree).reshape(-1, 2).tolist()))


def test_a_field_that_is_moved_a_little_has_pairs_that_are_moved_no_more():
    """Stability (Cohen-Steiner, Edelsbrunner and Harer, 2007): of 200 pairs of fields."""
    gudhi = pytest.importorskip("gudhi", reason="distances of diagrams are measured by gudhi, which is not installed")
    generator = np.random.default_rng(5)
    for size in np.geomspace(1e-3, 1, 200):
        field = generator.normal(size=(10, 10))
        other = field + size * generator.uniform(-1, 1, size=field.shape)
        apart = np.abs(field - other).max()
        for one, two in zip(topology.persistence(field).degrees, topology.persistence(other).degrees, strict=True):
            assert gudhi.bottleneck_distance(np.stack(one, 1), np.stack(two, 1), 0.0) <= apart + 1e-12


def test_what_is_short_is_left_out_and_the_longest_come_first():
    field = np.array([0.0, 5.0, 1.0, 1.5, 1.25, 9.0])
    found = topology.persistence(field).degrees[0]
    assert pairs(found) == [(0.0, INF), (1.0, 5.0), (1.25, 1.5)] and (np.diff(found.length[1:]) <= 0).all()
    assert pairs(topology.persistence(field, shortest=0.25).degrees[0]) == [(0.0, INF), (1.0, 5.0)]


def test_what_is_not_finite_has_a_status_and_no_pairs():
    field = np.zeros((4, 4))
    for value in (np.nan, np.inf, -np.inf):
        field[1, 2] = value
        assert topology.persistence(field) == topology.Persistence(topology.NOT_FINITE, ())
        assert topology.betti(field, np.zeros(1)) is None


@pytest.mark.parametrize("shape", [(), (2, 8), (3, 3, 3, 3)])
def test_a_form_that_is_none_is_refused(shape):
    with pytest.raises(ValueError, match="dimensions"):
        topology.persistence(np.zeros(shape))
