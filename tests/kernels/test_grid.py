"""Modes and points: what is kept, and that products of kept fields are exact."""

import numpy as np
import pytest

from kernels.grid import Grid
from kernels.params import Signature
from kernels.start import from_artefact

SHAPES = [(1, 48), (2, 20), (2, 32), (3, 12)]


def fields(d: int, points: int, keep: int, count: int = 3) -> list[np.ndarray]:
    """Random, with |n| < keep on every axis, on a grid fine enough for any use."""
    rng = np.random.default_rng(5)
    n = np.arange(-keep + 1, keep)
    found = []
    for _ in range(count):
        spectrum = np.zeros((points,) * d, complex)
        spectrum[np.ix_(*[n] * d)] = rng.normal(size=(len(n),) * d) + 1j * rng.normal(size=(len(n),) * d)
        found.append(np.fft.ifftn(spectrum, norm="forward"))
    return found


def product_error(d: int, points: int, grid: Grid) -> float:
    """The kept modes of A B* C, formed on the grid, against a grid twice as fine."""
    a, b, c = fields(d, 2 * points, grid.kept)
    fine = np.fft.fftn(a * np.conj(b) * c, norm="forward")
    exact = fine[np.ix_(*[grid.numbers] * d)]
    a, b, c = (np.asarray(grid.to_points(grid.to_modes(from_artefact(f, points)))) for f in (a, b, c))
    found = np.asarray(grid.to_modes(a * np.conj(b) * c)) / grid.count
    return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))


@pytest.mark.parametrize(("d", "points"), SHAPES)
def test_half_the_band_makes_cubic_products_exact(d, points):
    assert product_error(d, points, Grid.of(Signature(dimensions=d, points=points, precision="f64"))) <= 1e-13


def test_one_mode_more_or_the_two_thirds_rule_are_not_exact():
    one_more = Grid(2, 32, 9, "f64")  # broken variant: keeps |n| = N/4
    assert product_error(2, 32, one_more) > 1e-3
    assert product_error(2, 32, Grid.of(Signature(points=32, precision="f64", dealias="two_thirds"))) > 1e-2


@pytest.mark.parametrize(
    ("dealias", "points", "top"),
    [
        ("half", 32, 7),
        ("half", 10, 2),
        ("half", 30, 7),
        ("two_thirds", 48, 15),
        ("two_thirds", 32, 10),
        ("none", 32, 15),
        ("sixth", 48, 7),
    ],
)
def test_the_kept_modes_are_those_strictly_inside(dealias, points, top):
    grid = Grid.of(Signature(points=points, dealias=dealias))
    assert sorted(grid.numbers) == list(range(-top, top + 1))


@pytest.mark.parametrize(("d", "points"), [*SHAPES, (1, 10), (2, 30)])
def test_modes_survive_the_way_there_and_back(d, points):
    grid = Grid(d, points, -(-points // 4), "f64")
    rng = np.random.default_rng(3)
    complex_field = rng.normal(size=(2, *(points,) * d)) + 1j * rng.normal(size=(2, *(points,) * d))
    modes = grid.to_modes(complex_field)
    assert np.allclose(grid.to_modes(grid.to_points(modes)), modes, atol=1e-11)
    real = rng.normal(size=(points,) * d)
    half = grid.to_modes_real(real)
    projected = np.asarray(grid.to_points(grid.to_modes(real + 0j)))
    assert np.allclose(grid.to_points_real(half), projected.real, atol=1e-12) and np.allclose(projected.imag, 0, atol=1e-12)
    # Parseval for a field of which half the modes are stored.
    assert np.isclose(np.sum(grid.energy_weights() * np.abs(half) ** 2) / grid.count**2, np.mean(projected.real**2))


def test_rates_are_worked_out_once_for_each_length_and_land_on_their_modes():
    grid = Grid.of(Signature(points=32, precision="f64"))
    assert len(grid.distinct) < grid.squares().size / 5
    assert np.array_equal(np.asarray(grid.gather(grid.distinct.astype(float))), grid.squares())
    assert np.array_equal(np.asarray(grid.gather(grid.distinct.astype(float), half=True)), grid.squares(half=True))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_two_real_fields_in_one_transform_are_what_each_is_alone(d):
    grid, shape = Grid(d, 12, 3, "f64"), (12,) * d
    rng = np.random.default_rng(d)
    one, other = rng.normal(size=(2, *shape))
    spectrum, modes = grid.to_spectrum_beside_modes(one, other)
    assert np.allclose(spectrum, np.fft.fftn(one), atol=1e-12) and np.allclose(modes, grid.to_modes_real(other), atol=1e-12)
    first, second = grid.to_points_beside_modes(spectrum, modes)
    assert np.allclose(first, one, atol=1e-13) and np.allclose(second, grid.to_points_real(modes), atol=1e-13)
    response = np.exp(-np.asarray(grid.full_squares()) / 7)
    far, _ = grid.to_points_beside_modes(spectrum * grid.unfolded(response), modes)
    assert np.allclose(far, grid.filtered(one, response), atol=1e-13)
    assert not np.allclose(grid.to_points_beside_modes(spectrum, 1j * modes)[1], second)
