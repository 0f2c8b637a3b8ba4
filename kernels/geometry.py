"""Spacetime-density gravity: a density rho_s that the field feeds, and the conformal metric it makes.

    tau d(rho_s)/dt = D_g Lap rho_s − m2 (rho_s − rho_vac) + T00(A)
    Omega⁻² = exp(B tanh(u/B)),   u = alpha ln(rho_s/rho_vac)

A density that left the domain gives no number here; the caller sees it in `rho_s` itself and ends the lane. Nothing is clipped.
"""

import math

import jax.numpy as jnp
from jax import Array

BOUND = math.log(8.0)
"""B: Omega⁻² lies between 1/8 and 8, whatever the density."""


def inverse_square(rho_s: Array, alpha: Array, rho_vac: Array) -> Array:
    """Omega⁻²."""
    return jnp.exp(BOUND * jnp.tanh(jnp.log(rho_s / rho_vac) * (alpha / BOUND)))


def log_slope(rho_s: Array, alpha: Array, rho_vac: Array) -> Array:
    """d lnOmega / d rho_s."""
    tanh = jnp.tanh(jnp.log(rho_s / rho_vac) * (alpha / BOUND))
    return -0.5 * alpha * (1 - tanh * tanh) / rho_s


def laplacian(flat: Array, inverse: Array, dimensions: int, slopes: Array | None, gradients: Array | None) -> Array:
    """Lap_g f = Omega⁻² [Lap f + (d−2) ∇lnOmega·∇f]. In two dimensions the second term is absent, and so are its inputs."""
    if dimensions == 2:
        return inverse * flat
    assert slopes is not None and gradients is not None
    return inverse * (flat + (dimensions - 2) * jnp.sum(slopes * gradients, axis=0))


def source(field: Array, gradients: Array, kappa: Array, eta: Array, core: Array) -> Array:
    """T00 = eta |∇A|² + (kappa − eta) |Im(A*∇A)|² / (rho + core), gradients along axis 0.

    This is kappa Im² / rho + eta Re² / rho without unwrapping a phase, and finite where A is 0.
    """
    rho = field.real**2 + field.imag**2
    squared = jnp.sum(gradients.real**2 + gradients.imag**2, axis=0)
    current = field.real * gradients.imag - field.imag * gradients.real
    below = rho + core
    ratio = jnp.where(below > 0, jnp.sum(current**2, axis=0) / jnp.where(below > 0, below, 1), 0)
    return eta * squared + (kappa - eta) * ratio
