"""The control model: waves of one real field with a local and a non-local hardening, and no geometry at all.

    d rho/dt = pi,    d pi/dt = D Lap rho − eta pi + eps rho − lam rho³ − g_nl rho (K*rho²)

Split in two parts that are each solved exactly: the damped linear waves, by a 2×2 exponential for every mode, and the kick that the
rest gives pi while rho stands still. Never splits the damping on one side only: each step is its own mirror image in time.
"""

from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from kernels.grid import Grid
from kernels.params import SCHEMES, Waves

Fields = tuple[Array, Array]
"""The modes of rho and of pi, half of them stored: both are real."""

_OUTER = 1 / (2 - 2 ** (1 / 3))
STRETCHES = {"strang": (1.0,), "yoshida": (_OUTER, 1 - 2 * _OUTER, _OUTER)}
"""Shares of a step that are each made in the symmetric way; Yoshida's three cancel the error of third order. The middle one goes
back in time, which these equations allow."""
assert set(STRETCHES) == set(SCHEMES)


class Turn(NamedTuple):
    """exp of the linear part over a stretch of time: what rho and pi become of rho and of pi, for every stored mode."""

    rho_rho: Array
    rho_pi: Array
    pi_rho: Array
    pi_pi: Array


def turn(grid: Grid, c: Waves, time: Array) -> Turn:
    """In double precision, once for each different |n|², then spread over the modes.

    The two rates of a mode are −eta/2 ± √delta; where delta is below 0 it swings, else it creeps or grows.
    """
    stiffness = c.stiffness * grid.distinct * (2 * jnp.pi / c.length) ** 2 - c.gain
    delta = c.damping**2 / 4 - stiffness
    angle = jnp.sqrt(jnp.abs(delta)) * time
    small = jnp.abs(angle) < 1e-4
    safe = jnp.where(small, 1.0, angle)
    sign = jnp.sign(delta)
    even = jnp.where(delta > 0, jnp.cosh(angle), jnp.cos(angle))
    odd = time * jnp.where(small, 1 + sign * angle**2 / 6, jnp.where(delta > 0, jnp.sinh(safe), jnp.sin(safe)) / safe)
    fade = jnp.exp(-c.damping * time / 2)
    parts = even + c.damping / 2 * odd, odd, -stiffness * odd, even - c.damping / 2 * odd
    return Turn(*(grid.gather((fade * part).astype(grid.real_type), half=True) for part in parts))


def turned(fields: Fields, by: Turn) -> Fields:
    rho, pi = fields
    return by.rho_rho * rho + by.rho_pi * pi, by.pi_rho * rho + by.pi_pi * pi


def push(grid: Grid, rho: Array, c: Waves, kernel: Array | None) -> Array:
    """−lam rho³ − g_nl rho (K*rho²) on the kept modes; with the `half` band exactly theirs."""
    points = grid.to_points_real(rho)
    square = points * points
    harder = c.cubic * square if kernel is None else c.cubic * square + c.reach * grid.filtered(square, kernel)
    return grid.to_modes_real(-harder * points)


class Schedule(NamedTuple):
    """A whole step: linear turns with kicks between them, one turn more than there are kicks."""

    turns: list[Turn]
    kicks: list[Array]


def schedule(grid: Grid, c: Waves, scheme: str) -> Schedule:
    """Neighbouring half turns are made as one."""
    shares = STRETCHES[scheme]
    between = [shares[0] / 2, *((one + two) / 2 for one, two in pairwise(shares)), shares[-1] / 2]
    return Schedule([turn(grid, c, c.dt * share) for share in between], [c.dt * share for share in shares])


def step(grid: Grid, fields: Fields, c: Waves, kernel: Array | None, plan: Schedule) -> Fields:
    """One step; `c` is in the precision of the fields."""
    fields = turned(fields, plan.turns[0])
    for kick, after in zip(plan.kicks, plan.turns[1:], strict=True):
        rho, pi = fields
        fields = turned((rho, pi + kick.astype(grid.real_type) * push(grid, rho, c, kernel)), after)
    return fields


def energy(grid: Grid, fields: Fields, c: Waves, kernel: Array | None) -> Array:
    """E = ∫ ½pi² + ½D|∇rho|² − ½eps rho² + ¼lam rho⁴ + ¼g_nl rho²(K*rho²): constant without damping, never growing with it."""
    rho, pi = fields
    weights = jnp.asarray(grid.energy_weights(), jnp.float64) / grid.count**2
    k2 = grid.squares(half=True) * (2 * jnp.pi / c.length) ** 2
    power, motion = (jnp.square(part.real.astype(jnp.float64)) + jnp.square(part.imag.astype(jnp.float64)) for part in (rho, pi))
    swinging = 0.5 * jnp.sum(weights * (motion + (c.stiffness * k2 - c.gain) * power))
    square = jnp.square(grid.to_points_real(rho))
    far = jnp.zeros_like(square) if kernel is None else grid.filtered(square, kernel)
    still = 0.25 * jnp.mean((square * (c.cubic * square + c.reach * far)).astype(jnp.float64))
    return (swinging + still) * c.length**grid.dimensions


def extremes(grid: Grid, rho: Array) -> Array:
    """The least and the largest value of the field."""
    points = grid.to_points_real(rho)
    return jnp.stack([jnp.min(points), jnp.max(points)])
