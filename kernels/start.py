"""Initial states. Chance comes from the seed given and from nowhere else: Philox, keyed by seed and model.

Modes are drawn in the order of |n|², so a finer grid continues the very same field.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kernels.params import Coefficients, Waves

KINDS = ("noise", "plane_wave", "uniform", "spiral", "from_artefact")
NOISE_REACH = 8
"""Noise holds the modes with |n| up to this."""
NOISE_AMPLITUDE = 0.1
PUMPS = ("gaussian", "plane")


def generator(seed: int, model: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, zlib.crc32(model.encode())], np.uint64)))


def modes_in_order(dimensions: int, reach: int) -> np.ndarray:
    """All mode numbers with |n| ≤ reach, by |n|², equal ones in the order of their numbers."""
    axis = np.arange(-reach, reach + 1)
    every = np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)
    squares = np.sum(every**2, axis=1)
    every, squares = every[squares <= reach**2], squares[squares <= reach**2]
    return every[np.lexsort((*every.T[::-1], squares))]


def noise(
    seed: int, dimensions: int, points: int, amplitude: float = NOISE_AMPLITUDE, reach: int = NOISE_REACH, model: str = "sncgl"
) -> np.ndarray:
    """Complex Gaussian noise; `amplitude` is the root mean square it is drawn for, on every grid the same."""
    modes = modes_in_order(dimensions, reach)
    drawn = generator(seed, model).normal(size=(len(modes), 2)) @ np.array([1, 1j])
    spectrum = np.zeros((points,) * dimensions, np.complex128)
    inside = np.all(2 * np.abs(modes) < points, axis=1)
    spectrum[tuple(modes[inside].T)] = drawn[inside] * amplitude / np.sqrt(2 * len(modes))
    return np.fft.ifftn(spectrum, norm="forward")


def plane_wave(dimensions: int, points: int, numbers: tuple[int, ...], amplitude: float) -> np.ndarray:
    phase = sum(n * place for n, place in zip(numbers, _angles(dimensions, points), strict=True))
    return amplitude * np.exp(1j * phase)


def plane_wave_amplitude(c: Coefficients, numbers: tuple[int, ...]) -> float:
    """Of the exact solution with these mode numbers, where there is one, else 0."""
    q2 = sum(n * n for n in numbers) * (2 * np.pi / c.length) ** 2
    loss = c.cubic.real + c.reach
    square = (c.gain - c.diffusion.real * q2) / loss if loss > 0 else 0.0
    return float(np.sqrt(max(square, 0.0)))


def uniform(dimensions: int, points: int, amplitude: complex) -> np.ndarray:
    return np.full((points,) * dimensions, amplitude, np.complex128)


def spiral(points: int, amplitude: float = 1.0) -> np.ndarray:
    """Four vortices of alternating charge, as a periodic box must have, each the seed of a spiral. Two dimensions."""
    x, y = _angles(2, points)
    field = np.sin(x) + 1j * np.sin(y)
    return amplitude * field / np.sqrt(0.1 + np.abs(field) ** 2)


def from_artefact(field: np.ndarray, points: int) -> np.ndarray:
    """A stored field on another grid: the modes both grids have are taken over, others are 0."""
    spectrum = np.fft.fftn(field, norm="forward")
    for axis in range(field.ndim):
        top = (min(points, field.shape[axis]) - 1) // 2
        kept = np.take(spectrum, np.arange(-top, top + 1), axis=axis)
        shape = list(spectrum.shape)
        shape[axis] = points
        spectrum = np.zeros(shape, np.complex128)
        spectrum[(slice(None),) * axis + (np.arange(-top, top + 1),)] = kept
    return np.fft.ifftn(spectrum, norm="forward")


def start(
    kind: str, settings: Mapping[str, Any], seed: int, dimensions: int, points: int, c: Coefficients | Waves, model: str = "sncgl"
) -> np.ndarray:
    """The initial field a specification names. Settings: `amplitude`, `modes` (plane wave), `field` (from_artefact).

    The field of the model fmia is real: of noise and waves it takes the real part, at the size that was asked for.
    """
    if isinstance(c, Waves):
        return _real_start(kind, settings, seed, dimensions, points, c, model)
    amplitude = complex(settings.get("amplitude", _usual_amplitude(kind, c)))
    if kind == "noise":
        return noise(seed, dimensions, points, abs(amplitude))
    if kind == "plane_wave":
        numbers = tuple(settings.get("modes", (1,) + (0,) * (dimensions - 1)))
        exact = plane_wave_amplitude(c, numbers)
        return plane_wave(dimensions, points, numbers, abs(amplitude) if "amplitude" in settings else exact)
    if kind == "uniform":
        return uniform(dimensions, points, amplitude)
    if kind == "spiral" and dimensions == 2:
        return spiral(points, abs(amplitude))
    if kind == "from_artefact":
        return from_artefact(np.asarray(settings["field"]), points)
    raise ValueError(f"no initial state {kind} in {dimensions} dimensions; there are {', '.join(KINDS)}")


def _real_start(
    kind: str, settings: Mapping[str, Any], seed: int, dimensions: int, points: int, c: Waves, model: str
) -> np.ndarray:
    loss = c.cubic + c.reach
    still = float(np.sqrt(c.gain / loss)) if loss > 0 and c.gain > 0 else 1.0
    amplitude = abs(complex(settings.get("amplitude", NOISE_AMPLITUDE if kind == "noise" else still)))
    if kind == "noise":
        return np.sqrt(2) * noise(seed, dimensions, points, amplitude, model=model).real + 0j
    if kind == "plane_wave":
        return plane_wave(dimensions, points, tuple(settings.get("modes", (1,) + (0,) * (dimensions - 1))), amplitude).real + 0j
    if kind == "uniform":
        return uniform(dimensions, points, amplitude)
    if kind == "from_artefact":
        return from_artefact(np.asarray(settings["field"]), points).real + 0j
    raise ValueError(f"no initial state {kind} for a real field in {dimensions} dimensions; there are {', '.join(KINDS)}")


def pump(
    shape: str, amplitude: complex, width: float, numbers: tuple[int, ...], length: float, dimensions: int, points: int
) -> np.ndarray:
    """J: a periodic bump in the middle of the box (`gaussian`, of this width) or a plane wave with these mode numbers."""
    if shape == "plane":
        return complex(amplitude) * plane_wave(dimensions, points, numbers, 1.0)
    if shape != "gaussian":
        raise ValueError(f"no pump {shape}; there are {', '.join(PUMPS)}")
    angles = _angles(dimensions, points)
    # 2 (1 − cos θ) is θ² near the middle and periodic everywhere.
    square = sum(2 * (1 - np.cos(angle - np.pi)) for angle in angles) * (length / (2 * np.pi)) ** 2
    return complex(amplitude) * np.exp(-square / (2 * width**2))


def _usual_amplitude(kind: str, c: Coefficients) -> float:
    return NOISE_AMPLITUDE if kind == "noise" else float(np.sqrt(c.core * 1e3))


def _angles(dimensions: int, points: int) -> list[np.ndarray]:
    return list(np.meshgrid(*[2 * np.pi * np.arange(points) / points] * dimensions, indexing="ij"))
