"""Exponential time differencing on one number: the exact answers, and what taking the real part of a weight costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import etd
from tests.kernels import naive
from tests.kernels.runs import orders

DTS = [0.1, 0.05, 0.025, 0.0125]


def stuart_landau(dt: float, spoil=lambda weights: weights) -> float:
    """Error at t = 4 of u' = 3iu − |u|²u from u = 1; exact: e^{3it}/√(1+2t)."""
    weights = spoil(etd.weights(jnp.array([3j * dt]), jnp.float64(dt)))
    u = jnp.array([1.0 + 0j])

    def explicit(fields):
        return (-(jnp.abs(fields[0]) ** 2) * fields[0],), None

    def step(_, u):
        return etd.step((u,), explicit, [weights])[0][0]

    after = jax.lax.fori_loop(0, round(4 / dt), step, u)
    return abs(complex(after[0]) - np.exp(12j) / 3)


def test_a_complex_rate_keeps_fourth_order():
    errors = [stuart_landau(dt) for dt in DTS]
    assert errors[0] <= 2.6e-6 and errors[-1] <= 6.2e-10
    assert min(orders(errors)) >= 3.95


def test_the_real_part_of_the_weights_is_first_order():
    real = etd.Weights  # broken variant: right only where L is real

    def spoil(w):
        return real(w.e, w.half, *(part.real + 0j for part in (w.stage, w.first, w.middle, w.last)))

    errors = [stuart_landau(dt, spoil) for dt in DTS]
    assert errors[-1] > 1e-3 and max(orders(errors)) < 1.2


@pytest.mark.parametrize("size", [1e-9, 0.3, 0.5, 0.97, 1.0, 1.5, 4.0, 40.0, 600.0])
def test_weights_are_those_of_the_closed_forms(size):
    angle = np.pi / 2 + np.pi * np.arange(33) / 32
    z = size * np.exp(1j * angle)
    found = etd.weights(jnp.asarray(z), jnp.float64(0.5))
    exact = naive.weights(z, 0.5)
    for name in exact:
        # Stiff rates oscillate: there the argument's own last digit, times its size, is what both can know.
        assert np.allclose(getattr(found, name), exact[name], rtol=2e-12, atol=1e-14 * max(1.0, size / 10)), name


def test_a_unit_circle_through_zero_would_lose_its_digits():
    """Why the circle grows near |z| = 1: a point of it would lie on the origin."""
    ring = np.exp(2j * np.pi * (np.arange(etd.CIRCLE_POINTS) + 0.5) / etd.CIRCLE_POINTS)
    z = -ring[20] * (1 + 1e-6)
    w = z + ring  # broken variant: radius 1 everywhere
    unit = np.mean((-4 - w + np.exp(w) * (4 - 3 * w + w**2)) / w**3)
    exact = naive.weights(np.array([z]), 1.0)["first"][0]
    assert abs(unit - exact) > 1e-6
    assert abs(etd.weights(jnp.array([z]), jnp.float64(1.0)).first[0] - exact) < 1e-14
