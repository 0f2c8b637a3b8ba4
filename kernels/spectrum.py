"""The radial spectrum of a field and its peaks: which distances between waves stand out of a smooth background.

Reads rho = |A|² on a periodic grid of N points a side, N even, in one, two or three dimensions; a distance k is counted in shells,
that is in units of 2π/L. It never judges what a peak means (`score` does), and it never smooths a spectrum with anything that bends
where the data end: a background that bends makes peaks of its own.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

Reals = NDArray[np.float64]

OK: Final = 0
DIVERGED: Final = 1
NO_PEAKS: Final = 2

PEAKS_MAX: Final = 32
PROMINENCE_MIN: Final = 0.5
FLOOR: Final = 1e-12
"""Of the strongest shell: what lies deeper than this is as good as empty."""
ROUNDING: Final = 16
"""Times the resolution of the number type: what of a density varies less than this may be its rounding."""


class Shells(NamedTuple):
    """Where each mode of a real transform belongs."""

    bins: NDArray[np.int32]
    """Shell of each stored mode, line by line, `(lines, N/2 + 1)`; 0 belongs to none."""
    modes: Reals
    """Modes in each shell, both halves counted."""
    x: Reals
    """Mean |n| in each shell: 1.207 in the first of a plane, not 1."""
    prominence: Reals
    """What a maximum in each shell must stand out by: three deviations of a mean over its independent modes, at least .5."""


class Peaks(NamedTuple):
    x: Reals
    prominence: Reals


class Spectrum(NamedTuple):
    status: int
    x: Reals
    modes: Reals
    power: Reals
    y: Reals
    """Logarithm of the power."""
    z: Reals
    """The same without its background."""
    peaks: Peaks


@lru_cache(maxsize=32)
def shells(points: int, dimensions: int) -> Shells:
    """Shell j = round(|n|), j = 1..N/2-1; the corners beyond belong to none, for there not every direction is there."""
    whole = scipy.fft.fftfreq(points, 1 / points)
    half = np.arange(points // 2 + 1.0)
    axes = np.meshgrid(*[whole] * (dimensions - 1), half, indexing="ij")
    length = np.sqrt(sum(axis**2 for axis in axes)).reshape(-1, half.size)
    count = points // 2 - 1
    bins = np.rint(length).astype(np.int32)
    bins[bins > count] = 0
    # The other half of a real transform is this one's mirror image. The first column is its own; the last is in no shell.
    twice = np.full(bins.shape, 2.0)
    twice[:, 0] = 1.0
    modes: Reals = np.bincount(bins.ravel(), twice.ravel(), count + 1)[1:].astype(np.float64)
    x = np.bincount(bins.ravel(), (twice * length).ravel(), count + 1)[1:] / modes
    return Shells(bins, modes, x, np.maximum(PROMINENCE_MIN, 3 / np.sqrt(modes / 2)))


def density(fields: NDArray[np.complexfloating], means: Reals) -> NDArray[np.floating]:
    """|A|² less its mean, for fields `(..., *grid)`; the means are the fields' own, one for each of the leading indices.

    Taken off before the transform, for a large mean would drown small waves in its rounding.
    """
    found: NDArray[np.floating] = np.square(fields.real) + np.square(fields.imag)
    found -= means.astype(found.dtype).reshape(means.shape + (1,) * (found.ndim - means.ndim))
    return found


def shell_power(rho: NDArray[np.floating], dimensions: int) -> Reals:
    """Mean |FFT|² over each shell and over snapshots, `(..., snapshots, *grid)` to `(..., shells)`."""
    points = rho.shape[-1]
    where = shells(points, dimensions)
    modes = scipy.fft.rfftn(rho, axes=tuple(range(-dimensions, 0)))
    leading = rho.shape[: -dimensions - 1]
    snapshots = rho.shape[-dimensions - 1]
    sums = np.zeros((int(np.prod(leading, dtype=int)), where.x.size))
    _add_up(modes.reshape(sums.shape[0], -1, *where.bins.shape), where.bins, sums)
    found: Reals = (sums / (where.modes * snapshots)).reshape(*leading, -1)
    return found


@njit(cache=True)
def _add_up(modes: NDArray[np.complexfloating], bins: NDArray[np.int32], sums: Reals) -> None:
    draws, snapshots, lines, columns = modes.shape
    for draw in range(draws):
        for snapshot in range(snapshots):
            for line in range(lines):
                for column in range(columns):
                    shell = bins[line, column]
                    if shell > 0:
                        value = modes[draw, snapshot, line, column]
                        power = np.float64(value.real) ** 2 + np.float64(value.imag) ** 2
                        sums[draw, shell - 1] += power if column == 0 else 2 * power


def resolution(fields: NDArray[np.complexfloating]) -> float:
    return float(np.finfo(fields.dtype).eps)


def rounding_power(means: Reals, points: int, dimensions: int, eps: float) -> float:
    """The power a mode has in a uniform density by rounding alone: nothing below it is a wave."""
    return float(points**dimensions * (ROUNDING * eps * np.max(np.abs(means))) ** 2)


@njit(cache=True)
def flatten(power: Reals, rounding: float = 0.0) -> tuple[Reals, Reals]:
    """Logarithm of the power, and the same without its background: a running median.

    Rounding has hills of its own; a little of everything is added so that they drown, and all is flat where there is nothing else.
    The window shrinks on both sides alike towards the ends. A monotone spectrum is then its own median everywhere and keeps
    nothing; a window that is cut on one side only would leave the ends standing out.
    """
    strongest = power.max()
    if not strongest > rounding:
        return np.zeros_like(power), np.zeros_like(power)
    y = np.log(power + FLOOR * strongest + rounding)
    return y, y - _background(y)


@njit(cache=True)
def _background(y: Reals) -> Reals:
    count = y.size
    half = max(4, int(np.rint(count / 6)))
    found = np.empty_like(y)
    for middle in range(count):
        reach = min(half, middle, count - 1 - middle)
        found[middle] = np.sort(y[middle - reach : middle + reach + 1])[reach]
    return found


@njit(cache=True)
def stand_out(z: Reals, x: Reals, least: Reals) -> tuple[Reals, Reals]:
    """Positions and prominences of the most prominent inner maxima, in order of position.

    A flat top counts once, in its middle. The vertex of the parabola through three shells places a peak between them.
    """
    count = z.size
    places, heights = np.empty(count), np.empty(count)
    found = 0
    left = 1
    while left < count - 1:
        right = left
        while right < count - 1 and z[right + 1] == z[left]:
            right += 1
        if right < count - 1 and z[left - 1] < z[left] > z[right + 1]:
            middle = (left + right) // 2
            height = _prominence(z, middle)
            if height >= least[middle]:
                bend = z[middle - 1] - 2 * z[middle] + z[middle + 1]
                vertex = 0.5 * (z[middle - 1] - z[middle + 1]) / bend if bend < 0 else 0.0
                places[found] = x[middle] + vertex * (x[middle + 1] - x[middle - 1]) / 2
                heights[found] = height
                found += 1
        left = right + 1
    if found <= PEAKS_MAX:
        return places[:found], heights[:found]
    # Of equals the first: mergesort keeps their order.
    kept = np.sort(np.argsort(-heights[:found], kind="mergesort")[:PEAKS_MAX])
    return places[kept], heights[kept]


@njit(cache=True)
def _prominence(z: Reals, top: int) -> float:
    """How far one must come down before one can climb higher, or reach an end."""
    lowest_left = lowest_right = z[top]
    place = top
    while place >= 0 and z[place] <= z[top]:
        lowest_left = min(lowest_left, z[place])
        place -= 1
    place = top
    while place < z.size and z[place] <= z[top]:
        lowest_right = min(lowest_right, z[place])
        place += 1
    return float(z[top] - max(lowest_left, lowest_right))


def spectrum(fields: NDArray[np.complexfloating]) -> Spectrum:
    """Snapshots of the complex field A, `(snapshots, *grid)`, to the spectrum of rho = |A|² and its peaks."""
    dimensions, points = fields.ndim - 1, fields.shape[-1]
    where = shells(points, dimensions)
    if not np.isfinite(fields).all():
        nothing = np.zeros(where.x.size)
        return Spectrum(DIVERGED, where.x, where.modes, nothing, nothing, nothing, Peaks(np.empty(0), np.empty(0)))
    means = mean_densities(fields)
    power = shell_power(density(fields, means), dimensions)
    rounding = rounding_power(means, points, dimensions, resolution(fields))
    y, z = flatten(power, rounding)
    peaks = Peaks(*stand_out(z, where.x, where.prominence))
    return Spectrum(OK if peaks.x.size else NO_PEAKS, where.x, where.modes, power, y, z, peaks)


def mean_densities(fields: NDArray[np.complexfloating]) -> Reals:
    """Mean |A|² of each snapshot. Phases of modes do not change it (Parseval), so surrogates share it."""
    flat = fields.reshape(fields.shape[0], -1)
    found: Reals = np.mean(np.square(np.abs(flat), dtype=np.float64), axis=1)
    return found
