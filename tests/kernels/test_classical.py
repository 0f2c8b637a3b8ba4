"""The classical check: curvature by the book, a constraint that no choice of units can bend, and planted geometries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kernels import classical, geometry
from kernels.params import Coefficients, coefficients
from tests.kernels.runs import CURVED, SET_G, run

N, KEPT = 48, 12


def numbers(**changed: float) -> Coefficients:
    return coefficients({**SET_G, "L": 2 * math.pi, **changed})


def axes(d: int, points: int = N) -> list[np.ndarray]:
    return list(np.meshgrid(*[2 * np.pi * np.arange(points) / points] * d, indexing="ij"))


def sample(points: int = N) -> tuple[np.ndarray, np.ndarray]:
    """A field and a density with few modes."""
    x, y = axes(2, points)
    return 1.5 + 0.4 * np.exp(1j * x) - 0.5 * np.exp(-2j * y), 1.3 + 0.3 * np.cos(x) - 0.2 * np.sin(y)


# --- R


@pytest.mark.parametrize("d", [2, 3])
def test_the_curvature_of_a_wave_is_the_golden_one(d):
    x = axes(d)[0]
    log_omega = 0.3 * np.cos(x)
    found = classical.curvature(log_omega, 2 * math.pi)
    at = (slice(None), *(0,) * (d - 1))
    assert found[at][[0, N // 2]] == pytest.approx((d - 1) * np.array([0.329287, -1.093271]), abs=(d - 1) * 5e-7)
    bent = 2 * (d - 1) * -0.3 * np.cos(x) + (d - 2) * (d - 1) * (0.3 * np.sin(x)) ** 2
    assert found == pytest.approx(-np.exp(-0.6 * np.cos(x)) * bent, abs=1e-9)


def total(log_omega: np.ndarray, curved: np.ndarray) -> float:
    """The mean of R√g."""
    return float(np.mean(curved * np.exp(log_omega.ndim * log_omega)))


def test_a_closed_surface_has_no_curvature_in_all():
    """Gauss and Bonnet: on a torus its integral is 0. A gradient term in the plane would leave some over."""
    log_omega = 0.3 * np.cos(axes(2)[0])
    assert abs(total(log_omega, classical.curvature(log_omega, 2 * math.pi))) <= 1e-14
    slopes = classical.gradients(np.fft.fftn(log_omega), 2 * math.pi)
    unbalanced = -np.exp(-2 * log_omega) * sum(slope.real**2 for slope in slopes)
    assert abs(total(log_omega, classical.curvature(log_omega, 2 * math.pi) + unbalanced)) > 1e-2


def by_the_book(log_omega: np.ndarray, length: float) -> np.ndarray:
    """R from the metric itself: Christoffel symbols and the Riemann tensor, every derivative a difference of neighbours."""
    d, step = log_omega.ndim, length / log_omega.shape[-1]
    index = range(d)

    def slope(values: np.ndarray, axis: int) -> np.ndarray:
        near, far = (np.roll(values, -k, axis) - np.roll(values, k, axis) for k in (1, 2))
        return (8 * near - far) / (12 * step)

    metric = [[np.exp(2 * log_omega) * (i == j) for j in index] for i in index]
    raised = np.exp(-2 * log_omega)
    dg = [[[slope(metric[i][j], k) for k in index] for j in index] for i in index]
    gamma = [[[raised / 2 * (dg[i][j][k] + dg[i][k][j] - dg[j][k][i]) for k in index] for j in index] for i in index]
    found = np.zeros_like(log_omega)
    for j in index:
        for i in index:
            ricci = slope(gamma[i][j][j], i) - slope(gamma[i][j][i], j)
            for m in index:
                ricci = ricci + gamma[i][i][m] * gamma[m][j][j] - gamma[i][j][m] * gamma[m][j][i]
            found += raised * ricci
    return found


@pytest.mark.parametrize(("d", "points"), [(2, 128), (3, 40)])
def test_the_curvature_is_the_one_of_the_riemann_tensor(d, points):
    length = 5.0
    x = axes(d, points)
    log_omega = 0.2 * np.cos(x[0]) - 0.1 * np.sin(x[-1] + x[0]) + 0.15 * np.cos(x[1])
    found, book = classical.curvature(log_omega, length), by_the_book(log_omega, length)
    assert np.max(np.abs(found - book)) <= {2: 2e-6, 3: 3e-4}[d] * np.max(np.abs(found))


# --- The same metric, source and equation as the simulation


def test_metric_and_source_are_those_of_the_simulation():
    field, rho_s = sample()
    c = numbers(kappa=0.9, eta=0.4, alpha=1.7)
    assert np.exp(-2 * classical.log_omega(rho_s, c)) == pytest.approx(
        np.asarray(geometry.inverse_square(rho_s, c.alpha, c.rho_vac)), rel=1e-13
    )
    assert classical.log_slope(rho_s, c) == pytest.approx(np.asarray(geometry.log_slope(rho_s, c.alpha, c.rho_vac)), rel=1e-13)
    slopes = classical.gradients(np.fft.fftn(field), c.length)
    stepped = np.asarray(geometry.source(field, slopes, c.kappa, c.eta, c.core))
    assert classical.source(field, c) == pytest.approx(stepped, rel=1e-12)
    change = 1e-6
    steeper = (classical.log_omega(rho_s + change, c) - classical.log_omega(rho_s - change, c)) / (2 * change)
    assert classical.log_slope(rho_s, c) == pytest.approx(steeper, rel=1e-8)


def test_the_density_moves_as_its_equation_says():
    x, y = axes(2)
    c = numbers(D_g=1.4, m2=0.6, tau=1.5, rho_vac=1.2)
    rho_s, fed = 1.3 + 0.3 * np.cos(2 * x) - 0.2 * np.sin(y), 0.1 * np.cos(x) ** 2
    spread = -4 * 0.3 * np.cos(2 * x) + 0.2 * np.sin(y)
    assert classical.density_rate(rho_s, fed, c) == pytest.approx((1.4 * spread - 0.6 * (rho_s - 1.2) + fed) / 1.5, abs=1e-12)


@pytest.mark.parametrize(("d", "points"), [(2, N), (3, 16)])
def test_a_plane_wave_that_is_not_settled_expands_evenly_and_is_consistent(d, points):
    """Its metric is flat in space, and both what expands and what feeds it are the same everywhere, so one G explains them."""
    x = axes(d, points)
    c = numbers()
    q2, amplitude = 5.0, 0.4
    field = amplitude * np.exp(1j * (2 * x[0] + x[1]))
    found = classical.check(field, np.full((points,) * d, 1.2), c, points // 4)
    # kappa = eta: the core divides nothing, and T00 = kappa |∇A|².
    fed = c.kappa * q2 * amplitude**2
    growth = -0.5 * c.alpha / 1.2 * fed / c.tau  # at rho_vac: tanh is 0 there
    expansion = d * (d - 1) * growth**2
    assert found.status == classical.OK
    assert found.h_classical <= 1e-12 and found.curvature <= 1e-12
    assert found.expansion == pytest.approx(expansion, rel=1e-12)
    assert found.matter == pytest.approx(expansion, rel=1e-12)
    assert found.newton == pytest.approx(expansion / (2 * fed), rel=1e-12)


def test_what_a_run_does_not_keep_does_not_move_its_metric():
    field, rho_s = sample()
    c = numbers(kappa=0.9, eta=0.4)
    all_kept, few_kept = (classical.check(field, rho_s, c, kept) for kept in (N, 3))
    assert all_kept.expansion != pytest.approx(few_kept.expansion, rel=1e-6)
    assert all_kept.curvature == few_kept.curvature


def test_space_is_fed_with_the_kept_modes_alone():
    x, y = axes(2)
    inside, beyond = 1.0 + 0.3 * np.cos(11 * x) * np.sin(3 * y), 0.2 * np.cos(12 * y) + 0.1 * np.cos(2 * x - 20 * y)
    assert classical.banded(inside + beyond, KEPT) == pytest.approx(inside, abs=1e-14)


def test_the_metric_moves_as_two_instants_of_a_simulation_say():
    """∂_t lnOmega from one instant, against the difference of two that the simulation made."""
    field, rho_s = (values[::3, ::3] for values in sample())
    c, step = numbers(kappa=0.9, eta=0.4, lam5=0.0), 1e-4
    early, late = (run(CURVED, c, field, step * steps, steps, rho_s=rho_s[None]) for steps in (4, 6))
    middle = run(CURVED, c, field, step * 5, 5, rho_s=rho_s[None])
    passed = (classical.log_omega(late.rho_s[0], c) - classical.log_omega(early.rho_s[0], c)) / (2 * step)
    fed = classical.banded(classical.source(middle.A[0], c), CURVED.kept)
    growth = classical.log_slope(middle.rho_s[0], c) * classical.density_rate(middle.rho_s[0], fed, c)
    assert growth == pytest.approx(passed, abs=1e-6 * float(np.max(np.abs(passed))))


# --- The constraint

VALUES = arrays(np.float64, (4, 4), elements=st.floats(-100, 100, allow_subnormal=False).map(lambda v: round(v, 3)))


@settings(max_examples=150, deadline=None)
@given(curved=VALUES, growth=VALUES, fed=VALUES.map(np.abs), other=st.floats(0, 1e3))
def test_no_other_g_that_is_not_negative_would_leave_less(curved, growth, fed, other):
    found = classical.constraint(curved, growth**2, fed)
    if found.status == classical.FLAT:
        assert not curved.any() and not growth.any()
        return
    left = classical.norm(curved + growth**2 - 2 * found.newton * fed)
    assert found.newton >= 0
    assert 0 <= found.h_classical <= 1
    assert left <= classical.norm(curved + growth**2 - 2 * other * fed) * (1 + 1e-9) + 1e-9
    assert found.h_classical * (found.curvature + found.expansion + found.matter) == pytest.approx(left, rel=1e-9, abs=1e-9)


def planted(omega_from: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R of a wave and an expansion that make their sum positive: a matter that could be its source."""
    log_omega = 0.3 * np.cos(axes(2)[0])
    curved = classical.curvature(log_omega, 2 * math.pi)
    moving = np.full_like(curved, omega_from)
    return curved, moving, (curved + moving) / 3.4


def test_a_geometry_made_of_its_matter_is_consistent():
    curved, moving, fed = planted(1.5)
    found = classical.constraint(curved, moving, fed)
    assert found.h_classical <= 1e-14 and found.newton == pytest.approx(1.7, rel=1e-12)


def test_a_geometry_made_of_something_else_is_not():
    curved, moving, fed = planted(1.5)
    elsewhere = np.roll(fed, N // 2, axis=0)
    assert classical.constraint(curved, moving, elsewhere).h_classical > 0.2
    against = classical.constraint(-curved - moving, np.zeros_like(moving), fed)
    assert against.newton == 0 and against.h_classical == 1, "matter attracts: a negative G is no way out"


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.sampled_from([2, 3]),
    alpha=st.floats(-3, 3),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_random_fields_have_a_figure_from_0_to_1_or_a_reason(seed, d, alpha, kind):
    generator = np.random.default_rng(seed)
    shape = (8,) * d
    field = (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.result_type(kind, np.complex64))
    rho_s = np.exp(generator.normal(size=shape)).astype(kind)
    found = classical.check(field, rho_s, numbers(alpha=alpha, kappa=0.2), 2)
    if alpha == 0:
        assert found.status == classical.FLAT
    elif found.status == classical.OK:
        assert 0 <= found.h_classical <= 1 and found.newton >= 0
    else:
        assert found.status == classical.FLAT and abs(alpha) < 1e-5
    assert all(math.isfinite(value) == (found.status == classical.OK) for value in found[1:])


def test_where_nothing_can_be_said_there_is_a_reason_and_no_number():
    field, rho_s = sample()
    c = numbers()
    assert classical.check(field[0], rho_s[0], c, KEPT).status == classical.ONE_DIMENSION
    assert classical.check(field, rho_s, numbers(alpha=0.0), KEPT).status == classical.FLAT
    assert classical.check(field * 0, np.full_like(rho_s, 1.2), c, KEPT).status == classical.FLAT
    for bad in (np.nan, np.inf, 0.0, -1.0):
        spoiled = rho_s.copy()
        spoiled[3, 4] = bad
        assert classical.check(field, spoiled, c, KEPT).status == classical.NOT_FINITE
    torn = field.copy()
    torn[0, 0] = complex(0, np.nan)
    found = classical.check(torn, rho_s, c, KEPT)
    assert found.status == classical.NOT_FINITE and math.isnan(found.h_classical)


def test_rounding_of_a_settled_density_is_no_geometry():
    """A density that has come to rest in single precision: what is left of R is its last digits."""
    generator = np.random.default_rng(3)
    rho_s = (1.2 * (1 + 3e-8 * generator.normal(size=(64, 64)))).astype(np.float32)
    assert classical.check(np.zeros((64, 64), np.complex64), rho_s, numbers(), 16).status == classical.FLAT


def test_single_and_double_precision_agree():
    field, rho_s = sample()
    c = numbers(kappa=0.9, eta=0.4)
    double = classical.check(field, rho_s, c, KEPT)
    single = classical.check(field.astype(np.complex64), rho_s.astype(np.float32), c, KEPT)
    assert double.status == single.status == classical.OK
    assert np.array(single[1:]) == pytest.approx(np.array(double[1:]), rel=1e-4)
