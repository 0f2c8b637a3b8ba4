"""What general relativity would say of the geometry that a field made: the classical check, `bssn-check`.

A slice with the metric g = Omega² δ, unit lapse and no shift satisfies the Hamiltonian constraint of Einstein's equations where

    H = R + d(d−1)(∂_t lnOmega)² − 2 G T00,    R = −Omega⁻² [2(d−1) Lap lnOmega + (d−2)(d−1) |∇lnOmega|²]

is zero. Reads A and rho_s of one instant, in NumPy, from two dimensions on. ∂_t lnOmega is what the equation of rho_s says at that
instant, fed as the simulation feeds it; no difference of snapshots is taken, so no interval between them plays a part. It never
judges: whether this geometry should be a classical one is the question that the figure is for.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from kernels.params import Coefficients

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]

OK: Final = 0
NOT_FINITE: Final = 1
"""The field or the density has no number somewhere, or the density is not above 0."""
FLAT: Final = 2
"""Neither curved nor moving by more than rounding: there is nothing that a constraint could be wrong about."""
ONE_DIMENSION: Final = 3
"""A line has no curvature."""
STATUS: Final = ("ok", "not_finite", "flat", "one_dimension")

BOUND: Final = math.log(8.0)


class Classical(NamedTuple):
    """How far from the constraint, and the root mean squares of what it is made of."""

    status: int
    h_classical: float
    """‖H‖ over the sum of the three norms below: from 0, consistent, to 1. NaN without a status of 0, as all the others."""
    newton: float
    """G: the one, of those from 0 on, that makes ‖H‖ least, so that no choice of units can be blamed."""
    curvature: float
    """‖R‖."""
    expansion: float
    """‖d(d−1)(∂_t lnOmega)²‖."""
    matter: float
    """‖2 G T00‖."""


def check(field: NDArray[np.complexfloating], rho_s: NDArray[np.floating], c: Coefficients, kept: int) -> Classical:
    """One instant of a run `(*grid)`, with the numbers it was run with; it kept the modes with |n| < `kept` on every axis."""
    dimensions = rho_s.ndim
    if dimensions < 2:
        return _without(ONE_DIMENSION)
    if not (np.isfinite(field).all() and np.isfinite(rho_s).all() and rho_s.min() > 0):
        return _without(NOT_FINITE)
    density: Reals = rho_s.astype(np.float64)
    fed = source(field.astype(np.complex128), c)
    growth = log_slope(density, c) * density_rate(density, banded(fed, kept), c)
    curved = curvature(log_omega(density, c), c.length)
    moving = dimensions * (dimensions - 1) * growth**2
    if norm(curved) + norm(moving) <= _rounding(rho_s, c):
        return _without(FLAT)
    return constraint(curved, moving, fed)


def constraint(curved: Reals, moving: Reals, fed: Reals) -> Classical:
    """h_classical of R, d(d−1)(∂_t lnOmega)² and T00, with the best G ≥ 0."""
    geometry = curved + moving
    square = float(np.vdot(fed, fed))
    newton = max(0.0, float(np.vdot(geometry, fed)) / (2 * square)) if square > 0 else 0.0
    matter = 2 * newton * fed
    parts = norm(curved), norm(moving), norm(matter)
    if not sum(parts) > 0:
        return _without(FLAT)
    # The triangle inequality keeps it at 1 at most; rounding may not.
    return Classical(OK, min(1.0, norm(geometry - matter) / sum(parts)), newton, *parts)


def _without(status: int) -> Classical:
    return Classical(status, *(math.nan,) * 5)


def norm(values: NDArray[np.floating]) -> float:
    """Root mean square over the grid."""
    return float(np.sqrt(np.mean(np.square(values))))


def _rounding(rho_s: NDArray[np.floating], c: Coefficients) -> float:
    """A norm that R may have by the rounding of rho_s alone: its number type, times what two derivatives make of it."""
    shortest = math.pi * rho_s.shape[-1] / c.length
    dimensions = rho_s.ndim
    return float((dimensions - 1) * abs(c.alpha) * np.finfo(rho_s.dtype).eps * dimensions * shortest**2)


# --- The metric


def log_omega(rho_s: Reals, c: Coefficients) -> Reals:
    """lnOmega = −½ B tanh(u/B), u = alpha ln(rho_s/rho_vac)."""
    found: Reals = -0.5 * BOUND * np.tanh(np.log(rho_s / c.rho_vac) * (c.alpha / BOUND))
    return found


def log_slope(rho_s: Reals, c: Coefficients) -> Reals:
    """d lnOmega / d rho_s."""
    tanh = np.tanh(np.log(rho_s / c.rho_vac) * (c.alpha / BOUND))
    found: Reals = -0.5 * c.alpha * (1 - tanh * tanh) / rho_s
    return found


def curvature(log_omega: Reals, length: float) -> Reals:
    """R of g = Omega² δ in as many dimensions as the grid has, in a periodic box of this length."""
    dimensions = log_omega.ndim
    modes: Complexes = scipy.fft.fftn(log_omega)
    bent = 2 * (dimensions - 1) * laplacian(modes, length).real
    if dimensions > 2:
        squares = sum(slope.real**2 for slope in gradients(modes, length))
        bent = bent + (dimensions - 2) * (dimensions - 1) * squares
    found: Reals = -np.exp(-2 * log_omega) * bent
    return found


def density_rate(rho_s: Reals, fed: Reals, c: Coefficients) -> Reals:
    """d(rho_s)/dt by its own equation."""
    spread: Reals = laplacian(scipy.fft.fftn(rho_s), c.length).real
    found: Reals = (c.spread * spread - c.m2 * (rho_s - c.rho_vac) + fed) / c.tau
    return found


def source(field: Complexes, c: Coefficients) -> Reals:
    """T00 = eta |∇A|² + (kappa − eta) |Im(A*∇A)|² / (rho + core)."""
    squared, current = np.zeros(field.shape), np.zeros(field.shape)
    for slope in gradients(scipy.fft.fftn(field), c.length):
        squared += slope.real**2 + slope.imag**2
        current += (field.real * slope.imag - field.imag * slope.real) ** 2
    below = field.real**2 + field.imag**2 + c.core
    ratio = np.divide(current, below, out=np.zeros_like(current), where=below > 0)
    found: Reals = c.eta * squared + (c.kappa - c.eta) * ratio
    return found


# --- Modes and derivatives on the periodic grid


def banded(values: Reals, kept: int) -> Reals:
    """The part in the kept modes: space is fed with no others."""
    modes: Complexes = scipy.fft.fftn(values)
    for axis, points in enumerate(values.shape):
        beyond = np.abs(scipy.fft.fftfreq(points, 1 / points)) >= kept
        modes[(slice(None),) * axis + (beyond,)] = 0
    found: Reals = scipy.fft.ifftn(modes).real
    return found


def _waves(points: int, length: float, axis: int, dimensions: int) -> Reals:
    """k along one axis, to be spread over the others."""
    shape = [1] * dimensions
    shape[axis] = points
    found: Reals = (2 * math.pi * scipy.fft.fftfreq(points, length / points)).reshape(shape)
    return found


def gradients(modes: Complexes, length: float) -> list[Complexes]:
    """Slopes along every axis. The wave of two points a period has none that a grid could show: its slope is 0 there."""
    found = []
    points = modes.shape[-1]
    for axis in range(modes.ndim):
        waves = _waves(points, length, axis, modes.ndim)
        waves = np.where(np.abs(waves) < math.pi * points / length * (1 - 1e-9), waves, 0.0)
        found.append(scipy.fft.ifftn(1j * waves * modes))
    return found


def laplacian(modes: Complexes, length: float) -> Complexes:
    squares = sum(_waves(modes.shape[-1], length, axis, modes.ndim) ** 2 for axis in range(modes.ndim))
    found: Complexes = scipy.fft.ifftn(-squares * modes)
    return found
