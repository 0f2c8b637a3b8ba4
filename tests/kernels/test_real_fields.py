"""The stepper on real fields, of which half the modes are stored: two equations of others that are known well."""

import jax
import jax.numpy as jnp
import numpy as np

from kernels import etd
from kernels.grid import Grid
from tests.kernels.runs import orders, relative

GRID = Grid(1, 64, 16, "f64")


def stepped(fields, symbols, products, dt: float, steps: int) -> list[np.ndarray]:
    """Real fields on the grid, `steps` later; the products are formed on the grid and the symbols belong to the stored modes."""
    k2s = [etd.weights(jnp.asarray(symbol * dt, complex), jnp.float64(dt)) for symbol in symbols]
    by_field = [etd.Weights(*(part.real for part in weights)) for weights in k2s]

    def explicit(modes):
        return tuple(GRID.to_modes_real(one) for one in products(*map(GRID.to_points_real, modes))), None

    @jax.jit
    def go(modes):
        return jax.lax.fori_loop(0, steps, lambda _, at: etd.step(at, explicit, by_field)[0], modes)

    return [np.asarray(GRID.to_points_real(one)) for one in go(tuple(map(GRID.to_modes_real, fields)))]


def test_swift_hohenberg_rolls_have_their_height():
    """u' = eps u − (1 + Lap)² u − u³ settles at 2√(eps/3) cos x, to the first order in eps."""
    eps, x = 0.05, 2 * np.pi * np.arange(64) / 64
    k2 = (np.arange(16) * 1.0) ** 2
    (found,) = stepped([0.05 * np.cos(4 * x)], [eps - (1 - k2 / 16) ** 2], lambda u: [-(u**3)], 0.5, 800)
    height = np.abs(np.fft.rfft(found))[4] / 32
    assert abs(height / (2 * np.sqrt(eps / 3)) - 1) < 0.02
    assert relative(found, height * np.cos(4 * x)) < 0.02
    (wrong,) = stepped([0.05 * np.cos(4 * x)], [eps - (1 - k2 / 16) ** 2], lambda u: [-(u**3) / 2], 0.5, 800)
    assert abs(np.abs(np.fft.rfft(wrong))[4] / 32 / height - 1) > 0.3  # broken variant: half of the loss


def gray_scott(dt: float) -> np.ndarray:
    feed, kill, x = 0.04, 0.06, 2 * np.pi * np.arange(64) / 64
    k2 = (np.arange(16) * 2 * np.pi / 1.0) ** 2
    u = 1 - 0.4 * np.exp(4 * (np.cos(x) - 1))
    v = 0.25 * np.exp(4 * (np.cos(x - 0.3) - 1))
    symbols = [-2e-5 * k2 - feed, -1e-5 * k2 - feed - kill]
    return np.stack(stepped([u, v], symbols, lambda u, v: [feed - u * v * v, u * v * v], dt, round(64 / dt)))


def test_gray_scott_is_followed_at_fourth_order():
    exact = gray_scott(0.03125)  # an eighth of the finest
    errors = [relative(gray_scott(dt), exact) for dt in (1.0, 0.5, 0.25)]
    assert min(orders(errors)) >= 3.8 and errors[-1] < 1e-6
