"""A field on clusters: how patterns spread over them, which waves run through them, and how much two events have in common.

∂P/∂t = D∇²P + f(P), where -∇² is the Laplacian of the graph of clusters and f(P) = ρP(1 - P) - μP + input: diffusion implicit,
reaction explicit, first order in the step. V(x, t) = Σ A e^{i(kx - ωt)} over the modes that chance does not explain (Fisher 1929).
K(a, b) = Σ Ψ*_a Ψ_b with Ψ = √p e^{iφ}.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]

NEIGHBOURS = 8
SHARPNESS = 16.0
"""How steeply membership falls with the cosine."""
CHANCE = 0.01
MODES_MAX = 8
SHARE_MIN = 0.01
"""Of all that moves: what is less is no wave worth the name, and where there is no noise, rounding would have some."""
TERMS_MAX = 200


# --- the graph of clusters ------------------------------------------------------------------------------------------------


def graph(centroids: NDArray[Any]) -> Reals:
    """Weights between clusters: the cosine, where it is positive and one of them is among the other's eight nearest."""
    cosines = np.asarray(centroids, np.float64) @ np.asarray(centroids, np.float64).T
    np.fill_diagonal(cosines, 0)
    cosines = np.maximum(cosines, 0)
    if len(cosines) > NEIGHBOURS + 1:
        edge = -np.partition(-cosines, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1 : NEIGHBOURS]
        kept = cosines >= edge
        cosines = np.where(kept | kept.T, cosines, 0)
    return (cosines + cosines.T) / 2


def laplacian(weights: Reals) -> Reals:
    return np.diag(weights.sum(axis=1)) - weights


def line(centroids: NDArray[Any]) -> NDArray[np.int64]:
    """The clusters in a row, what is alike beside one another: by the Fiedler vector of all cosines, of which none is cut off, so
    that the graph is one piece. Of its two directions the one that begins with the earlier cluster."""
    if len(centroids) < 3:
        return np.arange(len(centroids))
    plain = np.asarray(centroids, np.float64)
    _, vectors = np.linalg.eigh(laplacian((1 + plain @ plain.T) / 2))
    order = np.argsort(vectors[:, 1], kind="stable")
    return order if order[0] < order[-1] else order[::-1].copy()


# --- the step -------------------------------------------------------------------------------------------------------------


def spread(
    start: Reals, weights: Reals, diffusion: float, growth: float, decay: float, given: Reals, dt: float, steps: int
) -> Reals:
    """The field after each step, the start first."""
    step = np.linalg.inv(np.eye(len(start)) + dt * diffusion * laplacian(weights))
    frames = np.empty((steps + 1, len(start)))
    frames[0] = start
    for at in range(steps):
        now = frames[at]
        told = now + dt * (growth * now * (1 - now) - decay * now + given)
        frames[at + 1] = step @ np.clip(told, 0, 1)
    return frames


# --- waves ----------------------------------------------------------------------------------------------------------------


class Mode(NamedTuple):
    amplitude: float
    wavenumber: float
    """Radians from one cluster to the next; positive: it runs up the line."""
    frequency: float
    """Radians from one bin to the next."""
    phase: float
    chance: float
    """How likely noise has a mode that stands out as much."""

    def at(self, places: NDArray[Any], times: NDArray[Any]) -> Reals:
        turned = self.wavenumber * np.asarray(places)[:, None] - self.frequency * np.asarray(times)[None, :] + self.phase
        return self.amplitude * np.cos(turned)


def level(values: Reals) -> Reals:
    """What each row would be without waves: a straight line."""
    times = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    slopes = values @ times / (times @ times)
    return values.mean(axis=1, keepdims=True) + slopes[:, None] * times


def power(values: Reals) -> tuple[Complexes, Reals]:
    """The transform of a field, places by times, and the power of each mode that is no other's mirror image."""
    moved = np.fft.rfft2(values)
    free = moved[:, 1 : (values.shape[1] + 1) // 2]
    return free, 2 * np.abs(free) ** 2 / values.size


def modes(values: Reals) -> list[Mode]:
    """The modes that chance does not explain, the strongest first, of a field without its level."""
    free, powers = power(values)
    left, count = float(powers.sum()), powers.size
    found: list[Mode] = []
    whole = float((values**2).sum())
    for flat in np.argsort(-powers, axis=None, kind="stable")[:MODES_MAX]:
        row, column = np.unravel_index(flat, powers.shape)
        if count < 2 or not powers[row, column] > SHARE_MIN * whole:
            break
        chance = fisher(float(powers[row, column]) / left, count)
        if chance > CHANCE:
            break
        height = free[row, column]
        turn = 2 * math.pi * int(row) / values.shape[0]
        wavenumber = -turn if turn < math.pi else 2 * math.pi - turn
        frequency = 2 * math.pi * (int(column) + 1) / values.shape[1]
        found.append(Mode(2 * abs(height) / values.size, wavenumber, frequency, -float(np.angle(height)), chance))
        left -= float(powers[row, column])
        count -= 1
    return found


def fisher(share: float, count: int) -> float:
    """How likely the greatest of so many powers of noise has this share of them all, or a greater one."""
    if share * count <= 1:
        return 1.0
    if math.log(count) + (count - 1) * math.log1p(-min(share, 1 - 1e-16)) < math.log(1e-6):
        return math.exp(max(-700.0, math.log(count) + (count - 1) * math.log1p(-min(share, 1 - 1e-16))))
    terms = []
    for term in range(1, min(TERMS_MAX, int(1 / share)) + 1):
        rest = 1 - term * share
        if rest <= 0:
            break
        size = math.lgamma(count + 1) - math.lgamma(term + 1) - math.lgamma(count - term + 1) + (count - 1) * math.log(rest)
        if size > 30:
            return 1.0  # sums of such terms cancel, and no share that matters has them
        terms.append(math.exp(size) if term % 2 else -math.exp(size))
    return min(1.0, max(0.0, math.fsum(terms)))


# --- overlap --------------------------------------------------------------------------------------------------------------


def membership(vectors: NDArray[Any], centroids: NDArray[Any]) -> Reals:
    """How much each vector belongs to each cluster: all add up to 1."""
    near = SHARPNESS * (np.asarray(vectors, np.float64) @ np.asarray(centroids, np.float64).T)
    near = np.exp(near - near.max(axis=1, keepdims=True))
    return np.asarray(near / near.sum(axis=1, keepdims=True))


def overlap(belongs: Reals, phases: Reals) -> Complexes:
    """K(a, b) for all pairs; `phases` is one number for each event and cluster."""
    psi = np.sqrt(belongs) * np.exp(1j * phases)
    return psi.conj() @ psi.T
