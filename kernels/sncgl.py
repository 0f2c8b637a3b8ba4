"""The sourced non-local complex Ginzburg–Landau equation: everything of it that is stepped explicitly.

    dA/dt = gain A + diffusion Lap_g A − cubic rho A − reach A (K*rho) − quintic rho² A + J

gain and c0·diffusion·Lap are the linear part and belong to the integrator; the rest of Lap_g, and all products, are here. Every
product is formed on the full grid, so with the `half` band the cubic and the non-local terms are exact.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
from jax import Array

from kernels import geometry
from kernels.etd import Fields
from kernels.grid import Grid
from kernels.params import Coefficients, Waves

Numbers = TypeVar("Numbers", Coefficients, Waves)


class Seen(NamedTuple):
    """What a stage saw of the geometry: the least density, and the largest Omega⁻²."""

    density_min: Array
    inverse_max: Array


def response(grid: Grid, c: Coefficients | Waves) -> Array:
    """K̂ for all modes of a real grid field. With ring_a = 0 it is the Gaussian."""
    k2 = grid.full_squares() * (2 * jnp.pi / c.length) ** 2 * c.sigma**2
    ring = (jnp.exp(-k2 / 2) - c.ring_a * jnp.exp(-(c.ring_r**2) * k2 / 2)) / (1 - c.ring_a)
    return ring.astype(grid.real_type)


def typed(grid: Grid, c: Numbers) -> Numbers:
    """The numbers in the precision of the fields."""
    kinds = {True: grid.complex_type, False: grid.real_type}
    return type(c)(*(jnp.asarray(value).astype(kinds[jnp.iscomplexobj(value)]) for value in c))


def intensity(field: Array) -> Array:
    """rho = |A|²."""
    return field.real**2 + field.imag**2


def losses(field: Array, rho: Array, c: Coefficients, around: Array | None) -> Array:
    """−(cubic rho + reach K*rho + quintic rho²) A on the grid; `around` is K*rho."""
    real = c.quintic * rho * rho if around is None else c.quintic * rho * rho + c.reach * around
    return -(c.cubic * rho + real) * field


def flat_explicit(
    grid: Grid, c: Coefficients, kernel: Array | None, pump: Array, _: Array
) -> Callable[[Fields], tuple[Fields, None]]:
    """Without geometry: the losses and the pump."""
    t = typed(grid, c)

    def explicit(fields: Fields) -> tuple[Fields, None]:
        (modes,) = fields
        field = grid.to_points(modes)
        rho = intensity(field)
        around = None if kernel is None else grid.filtered(rho, kernel)
        return (grid.to_modes(losses(field, rho, t, around)) + pump,), None

    return explicit


def views(grid: Grid, modes: Array, wave_step: Array) -> tuple[Array, Array, list[Array]]:
    """A, its flat Laplacian and its gradients on the grid."""
    step = wave_step.astype(grid.real_type)
    laplacian = modes * (-grid.squares().astype(grid.real_type) * step**2)
    field, gradients = slopes(grid, modes, wave_step)
    return field, grid.to_points(laplacian), gradients


def slopes(grid: Grid, modes: Array, wave_step: Array) -> tuple[Array, list[Array]]:
    """A and its gradients on the grid."""
    step = wave_step.astype(grid.real_type)
    gradients = [modes * (1j * grid.mode(axis)).astype(grid.complex_type) * step for axis in range(grid.dimensions)]
    return grid.to_points(modes), [grid.to_points(gradient) for gradient in gradients]


def density_slopes(grid: Grid, density: Array, rho_s: Array, c: Coefficients, wave_step: Array) -> list[Array]:
    """∇lnOmega on the grid; in two dimensions nobody needs it."""
    if grid.dimensions == 2:
        return []
    step = wave_step.astype(grid.real_type)
    waves = [density * (1j * grid.mode(axis, half=True)).astype(grid.complex_type) * step for axis in range(grid.dimensions)]
    slope = geometry.log_slope(rho_s, c.alpha, c.rho_vac)
    return [slope * grid.to_points_real(wave) for wave in waves]


def curved_explicit(
    grid: Grid, c: Coefficients, kernel: Array | None, pump: Array, balance: Array
) -> Callable[[Fields], tuple[Fields, Seen]]:
    """With geometry: what the linear part with Omega⁻² = balance leaves over, the losses, and what the field feeds rho_s."""
    t = typed(grid, c)
    change = _curved(grid, c, kernel, pump, balance)

    def explicit(fields: Fields) -> tuple[Fields, Seen]:
        modes, density = fields
        changed, fed, seen = change(modes, lambda fed: density)
        return (changed, fed / t.tau), seen

    return explicit


def enforced_explicit(
    grid: Grid, c: Coefficients, kernel: Array | None, pump: Array, balance: Array
) -> Callable[[Fields], tuple[Fields, Seen]]:
    """The same where the density has no delay: in every stage it is the one that the field of that stage holds in place."""
    change = _curved(grid, c, kernel, pump, balance)
    screening = _screening(grid, typed(grid, c), 2 * jnp.pi / c.length)

    def explicit(fields: Fields) -> tuple[Fields, Seen]:
        (modes,) = fields
        changed, _, seen = change(modes, lambda fed: fed / screening)
        return (changed,), seen

    return explicit


def _curved(
    grid: Grid, c: Coefficients, kernel: Array | None, pump: Array, balance: Array
) -> Callable[[Array, Callable[[Array], Array]], tuple[Array, Array, Seen]]:
    """From the modes of A, and the density's once it is known what the field feeds it: the change of A, what is fed, what was seen.

    rho and what is fed are transformed together, and so are K*rho and rho_s on the way back. What shares a transform shares its
    rounding too, so rho goes there no larger than 1: a field that runs away is to end as such, and not by a torn geometry.
    """
    t = typed(grid, c)
    wave_step = 2 * jnp.pi / c.length
    everywhere = None if kernel is None else grid.unfolded(kernel)

    def change(modes: Array, density_of: Callable[[Array], Array]) -> tuple[Array, Array, Seen]:
        field, flat, gradients = views(grid, modes, wave_step)
        rho, around = intensity(field), None
        feeding = geometry.source(field, gradients, t.kappa, t.eta, t.core) + t.m2 * t.rho_vac
        if everywhere is None:
            fed = grid.to_modes_real(feeding)
            density = density_of(fed)
            rho_s = grid.to_points_real(density)
        else:
            scale = jnp.maximum(jnp.max(rho), 1)
            spectrum, fed = grid.to_spectrum_beside_modes(rho * (1 / scale), feeding)
            density = density_of(fed)
            around, rho_s = grid.to_points_beside_modes(spectrum * everywhere, density)
            around = around * scale
        bent, seen = _bent(grid, t, density, rho_s, flat, gradients, wave_step, balance)
        return grid.to_modes(losses(field, rho, t, around) + t.diffusion * bent) + pump, fed, seen

    return change


def held_density(grid: Grid, c: Coefficients, modes: Array) -> Array:
    """The modes of the density that this field holds in place: D_g Lap rho_s − m2 (rho_s − rho_vac) + T00 = 0."""
    wave_step = 2 * jnp.pi / c.length
    return _held(grid, typed(grid, c), *slopes(grid, modes, wave_step), wave_step)


def _held(grid: Grid, t: Coefficients, field: Array, gradients: list[Array], wave_step: Array) -> Array:
    fed = grid.to_modes_real(geometry.source(field, gradients, t.kappa, t.eta, t.core) + t.m2 * t.rho_vac)
    return fed / _screening(grid, t, wave_step)


def _screening(grid: Grid, t: Coefficients, wave_step: Array) -> Array:
    return geometry.screening(grid.squares(half=True), t.spread, t.m2, wave_step).astype(grid.real_type)


def _bent(
    grid: Grid,
    t: Coefficients,
    density: Array,
    rho_s: Array,
    flat: Array,
    gradients: list[Array],
    wave_step: Array,
    balance: Array,
) -> tuple[Array, Seen]:
    """Lap_g A less what of it the linear part has."""
    inverse = geometry.inverse_square(rho_s, t.alpha, t.rho_vac)
    bends = density_slopes(grid, density, rho_s, t, wave_step)
    bent = geometry.laplacian(flat, inverse, grid.dimensions, bends, gradients) - balance.astype(grid.real_type) * flat
    low, high = jnp.min(rho_s), jnp.max(rho_s)
    # Omega⁻² rises or falls with the density throughout, so its extremes are at the density's.
    ends = geometry.inverse_square(jnp.stack([low, high]), t.alpha, t.rho_vac)
    return bent, Seen(low, jnp.max(ends))
