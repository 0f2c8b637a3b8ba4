"""Exponential time differencing of fourth order (Cox & Matthews 2002) for fields whose linear part is diagonal and complex.

    du/dt = L u + N(u)

The weights are means over a circle (Kassam & Trefethen 2005), always in complex128 and never their real part: that is right
only where L is real, and costs three orders of accuracy where it is not.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

CIRCLE_POINTS = 32

Fields = tuple[Array, ...]
Explicit = Callable[[Fields], tuple[Fields, Any]]
"""The explicit part of each field, and whatever the model saw on the way."""


class Weights(NamedTuple):
    """e = exp(z), half = exp(z/2), and the weights of the explicit parts, the time step included."""

    e: Array
    half: Array
    stage: Array
    first: Array
    middle: Array
    last: Array


def weights(z: Array, dt: Array) -> Weights:
    """Weights for z = L dt, complex128 in and out.

    The circle around z has radius 1, but 2 where |z| is near 1: there the unit circle runs through 0, and a point of it that
    comes close to 0 loses all digits in the cancellation below.
    """
    near = (jnp.abs(z) > 0.5) & (jnp.abs(z) < 1.5)
    ring = np.exp(2j * np.pi * (np.arange(CIRCLE_POINTS) + 0.5) / CIRCLE_POINTS)
    offset = jnp.where(near[..., None], 2 * ring, ring)
    w = z[..., None] + offset
    # exp(z + r) = exp(z) exp(r): one exponential for each z, none for each point.
    e, half = jnp.exp(z), jnp.exp(z / 2)
    e_w = e[..., None] * jnp.where(near[..., None], np.exp(2 * ring), np.exp(ring))
    half_w = half[..., None] * jnp.where(near[..., None], np.exp(ring), np.exp(ring / 2))
    one_by_w = jnp.conj(w) / (w.real**2 + w.imag**2)
    one_by_cube = one_by_w * one_by_w * one_by_w
    square = w * w

    def mean(values: Array) -> Array:
        # As a product of matrices it is worked out once for each z; as a sum XLA would do it again wherever a weight is read.
        return dt * jnp.matmul(values, np.full(CIRCLE_POINTS, 1 / CIRCLE_POINTS, values.dtype), precision="highest")

    return Weights(
        e=e,
        half=half,
        stage=mean((half_w - 1) * one_by_w),
        first=mean((-4 - w + e_w * (4 - 3 * w + square)) * one_by_cube),
        middle=mean(2 * (2 + w + e_w * (w - 2)) * one_by_cube),
        last=mean((-4 - 3 * w - square + e_w * (4 - w)) * one_by_cube),
    )


def step(fields: Fields, explicit: Explicit, by_field: Sequence[Weights]) -> tuple[Fields, list[Any]]:
    """One step of all fields together: every stage evaluates all explicit parts at the same, fresh state."""
    start, seen_start = explicit(fields)
    a = tuple(w.half * u + w.stage * n for u, n, w in zip(fields, start, by_field, strict=True))
    at_a, seen_a = explicit(a)
    b = tuple(w.half * u + w.stage * n for u, n, w in zip(fields, at_a, by_field, strict=True))
    at_b, seen_b = explicit(b)
    c = tuple(w.half * u + w.stage * (2 * n - n0) for u, n, n0, w in zip(a, at_b, start, by_field, strict=True))
    at_c, seen_c = explicit(c)
    after = tuple(
        w.e * u + w.first * n0 + w.middle * (na + nb) + w.last * nc
        for u, n0, na, nb, nc, w in zip(fields, start, at_a, at_b, at_c, by_field, strict=True)
    )
    return after, [seen_start, seen_a, seen_b, seen_c]
