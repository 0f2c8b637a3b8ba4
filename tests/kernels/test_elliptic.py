"""Space without delay: the screened Poisson equation, solved in every stage, and the limit that co-evolution has it for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc

from kernels import models, sncgl
from kernels.geometry import screening
from kernels.grid import Grid
from kernels.models import residual
from kernels.params import OK, coefficients
from kernels.start import noise
from tests.kernels.naive_waves import Enforced
from tests.kernels.runs import CURVED, SET_G, broken, orders, relative, run, wave

ENFORCED = dataclasses.replace(CURVED, geometry="elliptic")
R2, DENSITY, SPEED = 0.529821176, 1.420758823, -0.096481411
"""The fixed point of set G is one without delay too."""


def solved(grid: Grid, source: np.ndarray, c) -> np.ndarray:
    """rho_s of a given source."""
    k = 2 * np.pi / c.length
    modes = grid.to_modes_real(source + c.m2 * c.rho_vac)
    return np.asarray(grid.to_points_real(modes / screening(grid.squares(half=True), c.spread, c.m2, k)))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_inverse_is_right_on_twenty_random_modes_and_on_the_mean(d):
    grid = Grid(d, 24, 12, "f64")
    c = coefficients({**SET_G, "D_g": 1.7, "L": 9.0})
    rng = np.random.default_rng(d)
    place = np.meshgrid(*[np.arange(24) / 24] * d, indexing="ij")
    for n in (np.zeros(d, int), *rng.integers(-11, 12, size=(20, d))):
        shape = np.cos(2 * np.pi * sum(one * x for one, x in zip(n, place, strict=True)))
        k2 = np.sum(n**2) * (2 * np.pi / c.length) ** 2
        assert relative(solved(grid, shape, c), c.rho_vac + shape / (c.m2 + c.spread * k2)) <= 1e-13
    # Broken variant: the mean dropped, as a Poisson solver must that has no mass.
    assert abs(np.mean(solved(grid, np.ones((24,) * d), c)) - c.rho_vac - 1 / c.m2) < 1e-13


def test_a_bump_in_a_cube_makes_the_potential_of_yukawa():
    """(m² − Lap) u = Gaussian: its convolution with e^{−mr}/(4πr), in closed form; mL = 32, so images are far."""
    points, length, width, m = 48, 32.0, 1.5, 1.0
    grid = Grid(3, points, points // 2, "f64")
    c = coefficients({**SET_G, "D_g": 1.0, "m2": m * m, "L": length})
    x = np.meshgrid(*[(np.arange(points) - points // 2) * length / points] * 3, indexing="ij")
    r = np.sqrt(sum(axis**2 for axis in x))
    found = solved(grid, np.exp(-(r**2) / (2 * width**2)), c) - c.rho_vac
    near = (r > 0) & (r < 8)
    r = r[near]
    charge = (2 * np.pi) ** 1.5 * width**3
    tail = [np.exp(-s * m * r) * erfc((m * width - s * r / width) / np.sqrt(2)) for s in (1, -1)]
    exact = charge * np.exp((m * width) ** 2 / 2) / (8 * np.pi * r) * (tail[0] - tail[1])
    assert np.max(np.abs(found[near] - exact)) <= 1e-8 * np.max(exact)


@pytest.mark.parametrize(("d", "precision", "bound"), [(1, "f64", 1e-10), (3, "f64", 1e-10), (3, "f32", 5e-5)])
def test_the_density_held_has_no_residual_and_one_that_is_one_percent_off_shows(d, precision, bound):
    grid = Grid(d, 16, 4, precision)
    c = jax.tree.map(jnp.asarray, coefficients({**SET_G, "eta": 0.3, "L": 16.0}))
    modes = grid.to_modes(jnp.asarray(wave(16, (1, 0, 0)[:d], 0.6) + noise(4, d, 16, 0.1, reach=3), grid.complex_type))

    @jax.jit
    def left(share):
        return residual(grid, c, (modes, share.astype(grid.real_type) * sncgl.held_density(grid, c, modes)))[0]

    assert left(jnp.float64(1.0)) <= bound
    assert left(jnp.float64(1.01)) > 1e-3


def wave_error(steps: int) -> tuple[float, float]:
    field = wave(16, (2, 1), np.sqrt(R2))
    found = run(ENFORCED, SET_G, field, 4.0, steps)
    assert found.status[0] == OK and found.h[0] < 1e-10
    return relative(found.A[0], field * np.exp(-4j * SPEED)), relative(found.rho_s[0], np.full((16, 16), DENSITY))


def test_the_coupled_plane_wave_is_one_without_delay_too():
    for steps, bound in ((40, 5e-7), (80, 3e-8), (160, 2e-9)):
        assert max(wave_error(steps)) <= bound


def far(sig, tau: float, steps: int) -> np.ndarray:
    """From afar, with a field that is no single wave: A at t = 1, the density begun where the field holds it."""
    field = wave(16, (2, 1), 0.4) + wave(16, (-1, 1), 0.2)
    c = coefficients({**SET_G, "tau": tau})
    rho_s = Enforced(c, 2, 16, curved=True)
    return run(sig, c, field, 1.0, steps, rho_s=rho_s.there(rho_s.held(rho_s.back(field))).real[None]).A[0]


def test_co_evolution_tends_to_it_with_the_first_power_of_tau():
    limit = far(ENFORCED, 1.0, 320)
    apart = [relative(far(CURVED, tau, 800), limit) for tau in (0.04, 0.02, 0.01)]
    assert 0.9 < min(orders(apart)) and max(orders(apart)) < 1.1 and apart[-1] < 0.02


def test_it_is_fourth_order_whatever_tau_is_and_lost_if_space_is_solved_once_a_step(monkeypatch):
    limit = far(ENFORCED, 1.0, 320)
    errors = [relative(far(ENFORCED, 1.0, steps), limit) for steps in (10, 20, 40)]
    assert min(orders(errors)) >= 3.8
    step = models.etd.step

    def late(fields, explicit, by_field):
        frozen = explicit(fields)[0]
        return step(fields, lambda _: (frozen, None), by_field)[0], explicit(fields)[1:] * 4

    broken(monkeypatch, models.etd, "step", late)
    errors = [relative(far(ENFORCED, 1.0, steps), limit) for steps in (20, 40)]
    assert max(orders(errors)) < 1.4


def test_it_does_what_the_slow_twin_does_and_lanes_do_not_touch():
    runs = [coefficients({**SET_G, "eta": 0.3, "L": 16.0, "alpha": alpha, "dt": 0.02}) for alpha in (0.7, -0.4)]
    fields = np.stack([wave(16, (1, 0), 0.6) + noise(seed, 2, 16, 0.1, reach=3) for seed in (1, 2)])
    found = run(ENFORCED, runs, fields, 0.0, 100, dt=0.02)
    for lane, c in enumerate(runs):
        exact_field, exact_rho_s = Enforced(c, 2, 16, curved=True).run(fields[lane], 0 * fields[lane], 100)
        assert relative(found.A[lane], exact_field) <= 1e-11 and relative(found.rho_s[lane], exact_rho_s) <= 1e-11
        alone = run(ENFORCED, [c], fields[lane : lane + 1], 0.0, 100, dt=0.02)
        assert all(np.array_equal(a[lane], b[0], equal_nan=True) for a, b in zip(found, alone, strict=True))
    spoiled = run(ENFORCED, [runs[0], runs[1]._replace(gain=1e3)], fields, 0.0, 100, dt=0.02)
    assert all(np.array_equal(a[0], b[0], equal_nan=True) for a, b in zip(found, spoiled, strict=True))
    assert spoiled.status[1] != OK and np.all(np.isfinite(spoiled.A[1]))
