"""Spacetime-density gravity: a density rho_s that the field feeds, and the conformal metric it makes.

    tau d(rho_s)/dt = D_g Lap rho_s − m2 (rho_s − rho_vac) + T00(A)
    Omega⁻² = exp(B tanh(u/B)),   u = alpha ln(rho_s/rho_vac)

A density that left the domain gives no number here; the caller sees it in `rho_s` itself and ends the lane. Nothing is clipped.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels.powers import exp2, log2

DOUBLINGS = 3
BOUND = DOUBLINGS * math.log(2)
"""B = ln 8: Omega⁻² lies between 1/8 and 8, whatever the density."""
TANH_IS_ONE = 60.0
"""Beyond this power of two tanh is 1 in every precision."""


@jax.jit
def inverse_square(rho_s: Array, alpha: Array, rho_vac: Array) -> Array:
    """Omega⁻²: with 3 = log2 8 nothing but powers of two."""
    return exp2(DOUBLINGS * _bounded(rho_s, alpha, rho_vac))


def log_slope(rho_s: Array, alpha: Array, rho_vac: Array) -> Array:
    """d lnOmega / d rho_s."""
    tanh = _bounded(rho_s, alpha, rho_vac)
    return -0.5 * alpha * (1 - tanh * tanh) / rho_s


def _bounded(rho_s: Array, alpha: Array, rho_vac: Array) -> Array:
    """tanh(u/B) = 1 − 2/(1 + w), w = exp(2u/B) = (rho_s/rho_vac)^(2 alpha/B)."""
    power = log2(jnp.asarray(rho_s * (1 / rho_vac))) * (alpha * (2 / BOUND))
    return 1 - 2 / (1 + exp2(jnp.clip(power, -TANH_IS_ONE, TANH_IS_ONE)))


def laplacian(flat: Array, inverse: Array, dimensions: int, slopes: Sequence[Array], gradients: Sequence[Array]) -> Array:
    """Lap_g f = Omega⁻² [Lap f + (d−2) ∇lnOmega·∇f]. In two dimensions the second term is absent, and nobody needs slopes."""
    if dimensions == 2:
        return inverse * flat
    along = sum(slope * gradient for slope, gradient in zip(slopes, gradients, strict=True))
    return inverse * (flat + (dimensions - 2) * along)


def screening(squares: np.ndarray, spread: Array, m2: Array, wave_step: Array) -> Array:
    """m2 + D_g k²: what the screened Poisson equation divides every mode by, that of k = 0 too, for m2 is above 0."""
    return m2 + spread * jnp.square(wave_step) * squares


def source(field: Array, gradients: Sequence[Array], kappa: Array, eta: Array, core: Array) -> Array:
    """T00 = eta |∇A|² + (kappa − eta) |Im(A*∇A)|² / (rho + core).

    This is kappa Im² / rho + eta Re² / rho without unwrapping a phase, and finite where A is 0.
    """
    squared = sum(g.real**2 + g.imag**2 for g in gradients)
    current = sum((field.real * g.imag - field.imag * g.real) ** 2 for g in gradients)
    below = field.real**2 + field.imag**2 + core
    ratio = jnp.where(below > 0, current / jnp.where(below > 0, below, 1), 0)
    return eta * squared + (kappa - eta) * ratio
