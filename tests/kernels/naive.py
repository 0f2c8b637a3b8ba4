"""The slow twin of the kernels: NumPy on whole grids with a mask, one run at a time, weights in closed form. The oracle.

Nothing here is shared with the kernels but the numbers of a run. What is written as a loop is compiled by Numba.
"""

import numba
import numpy as np

from kernels.params import DEALIAS, Coefficients


def phi(z: complex) -> tuple[complex, complex, complex]:
    """phi_1, phi_2, phi_3: by their series near 0, by recurrence elsewhere. No contour."""
    if abs(z) < 1:
        terms = [1.0 + 0j]
        for j in range(1, 30):
            terms.append(terms[-1] * z / j)
        factorial = np.cumprod([1.0, *range(1, 35)])
        powers = [z**j for j in range(30)]
        return tuple(sum(power / factorial[j + k] for j, power in enumerate(powers)) for k in (1, 2, 3))
    one = (np.exp(z) - 1) / z
    two = (one - 1) / z
    return one, two, (two - 0.5) / z


def weights(z: np.ndarray, dt: float) -> dict[str, np.ndarray]:
    table = {key: np.array([phi(key)]) for key in set(z.ravel().tolist()) | set((z / 2).ravel().tolist())}
    whole = np.array([table[key][0] for key in z.ravel().tolist()]).reshape(*z.shape, 3)
    half = np.array([table[key][0] for key in (z / 2).ravel().tolist()]).reshape(*z.shape, 3)
    one, two, three = whole[..., 0], whole[..., 1], whole[..., 2]
    return {
        "e": np.exp(z),
        "half": np.exp(z / 2),
        "stage": dt / 2 * half[..., 0],
        "first": dt * (one - 3 * two + 4 * three),
        "middle": dt * (2 * two - 4 * three),
        "last": dt * (4 * three - two),
    }


class Naive:
    """One run: A and rho_s on the whole grid, every transform a whole one."""

    def __init__(self, c: Coefficients, dimensions: int, points: int, curved: bool, dealias: str = "half") -> None:
        self.c, self.curved, self.d = c, curved, dimensions
        n = np.meshgrid(*[np.round(np.fft.fftfreq(points, 1 / points))] * dimensions, indexing="ij")
        self.k = [2 * np.pi / c.length * axis for axis in n]
        self.k2 = sum(k**2 for k in self.k)
        self.mask = np.all([np.abs(axis) * DEALIAS[dealias] < points for axis in n], axis=0)
        s = self.k2 * c.sigma**2
        self.kernel = (np.exp(-s / 2) - c.ring_a * np.exp(-(c.ring_r**2) * s / 2)) / (1 - c.ring_a)

    def there(self, modes: np.ndarray) -> np.ndarray:
        return np.fft.ifftn(modes)

    def back(self, field: np.ndarray) -> np.ndarray:
        return np.fft.fftn(field) * self.mask

    def omega_inverse(self, rho_s: np.ndarray) -> np.ndarray:
        bound = np.log(8)
        return np.exp(bound * np.tanh(self.c.alpha * np.log(rho_s / self.c.rho_vac) / bound))

    def source(self, modes: np.ndarray) -> np.ndarray:
        c, field = self.c, self.there(modes)
        gradients = [self.there(1j * k * modes) for k in self.k]
        square = sum(np.abs(g) ** 2 for g in gradients)
        current = sum(np.imag(np.conj(field) * g) ** 2 for g in gradients)
        return c.eta * square + (c.kappa - c.eta) * current / (np.abs(field) ** 2 + c.core)

    def laplacian(self, modes: np.ndarray, density: np.ndarray) -> np.ndarray:
        """Lap_g A, the slope of lnOmega by differentiating its logarithm as written."""
        c, bound = self.c, np.log(8)
        rho_s = self.there(density).real
        u = c.alpha * np.log(rho_s / c.rho_vac)
        total = self.there(-self.k2 * modes)
        for k in self.k:
            slope = -0.5 * c.alpha / np.cosh(u / bound) ** 2 * self.there(1j * k * density).real / rho_s
            total = total + (self.d - 2) * slope * self.there(1j * k * modes)
        return self.omega_inverse(rho_s) * total

    def explicit(self, modes: np.ndarray, density: np.ndarray, pump: np.ndarray, c0: float) -> tuple[np.ndarray, np.ndarray]:
        c, field = self.c, self.there(modes)
        rho = np.abs(field) ** 2
        far = np.fft.ifftn(self.kernel * np.fft.fftn(rho)).real
        change = -c.cubic * rho * field - c.reach * field * far - c.quintic * rho**2 * field + pump
        if not self.curved:
            return self.back(change), 0 * density
        change = change + c.diffusion * (self.laplacian(modes, density) - c0 * self.there(-self.k2 * modes))
        return self.back(change), self.back(self.source(modes) + c.m2 * c.rho_vac) / c.tau

    def run(self, field: np.ndarray, rho_s: np.ndarray, pump: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        c, a, s = self.c, self.back(field), self.back(rho_s)
        for number in range(steps):
            if number % 32 == 0:
                inverse = self.omega_inverse(self.there(s).real)
                c0 = max((inverse.min() + inverse.max()) / 2, inverse.max() / 1.5) if self.curved else 1.0
                w = weights(c.dt * (c.gain - c.diffusion * c0 * self.k2 + 0j), c.dt)
                v = weights(-c.dt * (c.spread * self.k2 + c.m2) / c.tau + 0j, c.dt)
            a, s = self.step(a, s, pump, c0, w, v)
        return self.there(a), self.there(s).real

    def step(self, a, s, pump, c0, w, v):
        na, ns = self.explicit(a, s, pump, c0)
        a1, s1 = w["half"] * a + w["stage"] * na, v["half"] * s + v["stage"] * ns
        na1, ns1 = self.explicit(a1, s1, pump, c0)
        a2, s2 = w["half"] * a + w["stage"] * na1, v["half"] * s + v["stage"] * ns1
        na2, ns2 = self.explicit(a2, s2, pump, c0)
        a3, s3 = w["half"] * a1 + w["stage"] * (2 * na2 - na), v["half"] * s1 + v["stage"] * (2 * ns2 - ns)
        na3, ns3 = self.explicit(a3, s3, pump, c0)
        return (
            w["e"] * a + w["first"] * na + w["middle"] * (na1 + na2) + w["last"] * na3,
            v["e"] * s + v["first"] * ns + v["middle"] * (ns1 + ns2) + v["last"] * ns3,
        )


@numba.njit(cache=False)
def galerkin(a, linear, cubic, reach, kernel, dt, steps):
    """The one-dimensional equation without geometry by classical Runge–Kutta on its modes: the cubic term is a sum over all pairs
    of modes, so there is no grid, no transform and nothing to alias. a[j] is the mode j − (len(a) − 1)/2."""
    top = (len(a) - 1) // 2
    for _ in range(steps):
        total = np.zeros_like(a)
        slope = np.zeros_like(a)
        for stage in range(4):
            share = 0.0 if stage == 0 else (1.0 if stage == 3 else 0.5)
            at = a + share * dt * slope
            slope = linear * at
            for p in range(-top, top + 1):
                for q in range(-top, top + 1):
                    pair = at[p + top] * np.conj(at[q + top])
                    for r in range(-top, top + 1):
                        n = p - q + r
                        if -top <= n <= top:
                            slope[n + top] -= (cubic + reach * kernel[abs(p - q)]) * pair * at[r + top]
            total += slope * (1.0 if stage in (0, 3) else 2.0)
        a = a + dt / 6 * total
    return a
