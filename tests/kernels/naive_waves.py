"""The slow twins of what has no geometry to step: the enforced density, and the control model. NumPy on whole grids with a mask.

Nothing here is shared with the kernels but the numbers of a run.
"""

import numpy as np
import scipy.linalg

from kernels.params import DEALIAS, Waves
from tests.kernels import naive


class Enforced(naive.Naive):
    """S-NCGL whose density is, in every stage, the one that the field of that stage holds in place."""

    def held(self, modes: np.ndarray) -> np.ndarray:
        c = self.c
        fed = self.back(self.source(modes)) + self.back(np.full(modes.shape, c.m2 * c.rho_vac))
        return fed / (c.m2 + c.spread * self.k2)

    def explicit(self, modes, density, pump, c0):
        change, _ = super().explicit(modes, self.held(modes), pump, c0)
        return change, np.zeros_like(modes)

    def run(self, field, pump, steps):
        a, none = self.back(field), np.zeros(field.shape, complex)
        for number in range(steps):
            if number % 32 == 0:
                inverse = self.omega_inverse(self.there(self.held(a)).real)
                c0 = max((inverse.min() + inverse.max()) / 2, inverse.max() / 1.5)
                w = naive.weights(self.c.dt * (self.c.gain - self.c.diffusion * c0 * self.k2 + 0j), self.c.dt)
            a, _ = self.step(a, none, pump, c0, w, w)
        return self.there(a), self.there(self.held(a)).real


class Waver:
    """The control model by classical Runge–Kutta with small steps: no splitting, no exponential."""

    def __init__(self, c: Waves, dimensions: int, points: int, dealias: str = "half") -> None:
        self.c = c
        n = np.meshgrid(*[np.round(np.fft.fftfreq(points, 1 / points))] * dimensions, indexing="ij")
        self.k2 = sum((2 * np.pi / c.length * axis) ** 2 for axis in n)
        self.mask = np.all([np.abs(axis) * DEALIAS[dealias] < points for axis in n], axis=0)
        s = self.k2 * c.sigma**2
        self.kernel = (np.exp(-s / 2) - c.ring_a * np.exp(-(c.ring_r**2) * s / 2)) / (1 - c.ring_a)

    def kept(self, field: np.ndarray) -> np.ndarray:
        return np.fft.ifftn(np.fft.fftn(field) * self.mask).real

    def far(self, rho: np.ndarray) -> np.ndarray:
        return np.fft.ifftn(self.kernel * np.fft.fftn(rho**2)).real

    def slope(self, rho: np.ndarray, pi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c = self.c
        bend = np.fft.ifftn(-self.k2 * np.fft.fftn(rho)).real
        return pi, self.kept(
            c.stiffness * bend - c.damping * pi + c.gain * rho - (c.cubic * rho**2 + c.reach * self.far(rho)) * rho
        )

    def energy(self, rho: np.ndarray, pi: np.ndarray) -> float:
        c = self.c
        bend = np.fft.ifftn(-self.k2 * np.fft.fftn(rho)).real
        still = (c.cubic * rho**2 + c.reach * self.far(rho)) * rho**2 / 4
        return float(np.mean(pi**2 / 2 - c.stiffness * rho * bend / 2 - c.gain * rho**2 / 2 + still) * c.length**rho.ndim)

    def split(self, rho: np.ndarray, pi: np.ndarray, time: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """By Yoshida's splitting, as the kernels go: with a general matrix exponential for every mode, and no two turns merged."""
        c, outer = self.c, 1 / (2 - 2 ** (1 / 3))
        rho, pi, h = self.kept(rho), self.kept(pi), time / steps
        matrices = np.zeros((*self.k2.shape, 2, 2))
        matrices[..., 0, 1], matrices[..., 1, 0], matrices[..., 1, 1] = 1, c.gain - c.stiffness * self.k2, -c.damping
        shares = (outer, 1 - 2 * outer, outer)
        turns = [scipy.linalg.expm(matrices * h * share / 2) for share in shares]
        for _ in range(steps):
            for share, turn in zip(shares, turns, strict=True):
                rho, pi = self.turned(turn, rho, pi)
                pi = pi - h * share * self.kept((c.cubic * rho**2 + c.reach * self.far(rho)) * rho)
                rho, pi = self.turned(turn, rho, pi)
        return rho, pi

    def turned(self, turn: np.ndarray, rho: np.ndarray, pi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = np.einsum("...ij,...j->...i", turn, np.stack([np.fft.fftn(rho), np.fft.fftn(pi)], -1))
        return np.fft.ifftn(both[..., 0]).real, np.fft.ifftn(both[..., 1]).real

    def run(self, rho: np.ndarray, pi: np.ndarray, time: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
        rho, pi, h = self.kept(rho), self.kept(pi), time / steps
        for _ in range(steps):
            a = self.slope(rho, pi)
            b = self.slope(rho + h / 2 * a[0], pi + h / 2 * a[1])
            c = self.slope(rho + h / 2 * b[0], pi + h / 2 * b[1])
            d = self.slope(rho + h * c[0], pi + h * c[1])
            rho, pi = (x + h / 6 * (p + 2 * q + 2 * r + s) for x, p, q, r, s in zip((rho, pi), a, b, c, d, strict=True))
        return rho, pi
