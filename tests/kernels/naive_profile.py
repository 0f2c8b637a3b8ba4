"""Slow twins of the spectral profile: plain loops that can be checked by reading. Import nothing of what they check."""

import itertools
import math
import statistics
from functools import cache

import numpy as np

Numbers = list[float]


def shells(points: int, dimensions: int) -> tuple[Numbers, list[int]]:
    """Mean |n| and number of modes of each shell, mode by mode."""
    lengths: dict[int, Numbers] = {shell: [] for shell in range(1, points // 2)}
    for n in itertools.product(range(-points // 2, points // 2), repeat=dimensions):
        length = math.sqrt(sum(part * part for part in n))
        if round(length) in lengths:
            lengths[round(length)].append(length)
    return [statistics.fmean(found) for found in lengths.values()], [len(found) for found in lengths.values()]


def shell_power(rho: np.ndarray) -> Numbers:
    """Mean |FFT(rho - mean)|² over each shell and over snapshots `(snapshots, *grid)`."""
    points, dimensions = rho.shape[-1], rho.ndim - 1
    powers: dict[int, Numbers] = {shell: [] for shell in range(1, points // 2)}
    for snapshot in rho:
        modes = np.fft.fftn(snapshot - snapshot.mean())
        for n in itertools.product(range(-points // 2, points // 2), repeat=dimensions):
            shell = round(math.sqrt(sum(part * part for part in n)))
            if shell in powers:
                powers[shell].append(abs(modes[n]) ** 2)
    return [statistics.fmean(found) for found in powers.values()]


def flatten(power: Numbers) -> Numbers:
    """Logarithm less the running median whose window shrinks alike on both sides."""
    y = [math.log(value + 1e-12 * max(power)) for value in power]
    half = max(4, round(len(y) / 6))
    flat = []
    for i, value in enumerate(y):
        reach = min(half, i, len(y) - 1 - i)
        flat.append(value - statistics.median(y[i - reach : i + reach + 1]))
    return flat


def prominence(z: Numbers, top: int) -> float:
    """Height over the higher of the two lowest places between the peak and what is higher than it, or the end."""
    higher_left = max((i for i in range(top) if z[i] > z[top]), default=-1)
    higher_right = min((i for i in range(top + 1, len(z)) if z[i] > z[top]), default=len(z))
    return z[top] - max(min(z[higher_left + 1 : top + 1]), min(z[top:higher_right]))


def peaks(z: Numbers, x: Numbers, modes: list[int]) -> Numbers:
    """Positions in rising order. A run of equal values is one place, and stands for its middle."""
    runs = [list(run) for _, run in itertools.groupby(range(len(z)), key=lambda i: z[i])]
    found = []
    for before, run, after in zip(runs, runs[1:], runs[2:], strict=False):
        i = run[(len(run) - 1) // 2]
        if z[before[-1]] < z[i] > z[after[0]] and prominence(z, i) >= max(0.5, 3 / math.sqrt(modes[i] / 2)):
            bend = z[i - 1] - 2 * z[i] + z[i + 1]
            vertex = 0.5 * (z[i - 1] - z[i + 1]) / bend if bend else 0.0
            found.append((prominence(z, i), x[i] + vertex * (x[i + 1] - x[i - 1]) / 2))
    return sorted(place for _, place in sorted(found, key=lambda pair: -pair[0])[:32])


def cost(peaks: Numbers, targets: Numbers, s: float) -> float:
    """Least cost of an alignment at one scale: match the next pair, or leave a target, or leave a peak."""
    gap = min(b - a for a, b in itertools.pairwise(targets))

    def extra(peak: float) -> float:
        return 0.2 if targets[0] - gap / 2 < s * peak < targets[-1] + gap / 2 else 0.0

    @cache
    def rest(i: int, j: int) -> float:
        if i == len(targets):
            return sum(map(extra, peaks[j:]))
        if j == len(peaks):
            return float(len(targets) - i)
        return min(
            (s * peaks[j] - targets[i]) ** 2 + rest(i + 1, j + 1),
            1.0 + rest(i + 1, j),
            extra(peaks[j]) + rest(i, j + 1),
        )

    return rest(0, 0)


def cost_by_listing(peaks: Numbers, targets: Numbers, s: float) -> float:
    """The same by trying every set of targets against every set of peaks of the same size."""
    gap = min(b - a for a, b in itertools.pairwise(targets))
    between = [targets[0] - gap / 2 < s * peak < targets[-1] + gap / 2 for peak in peaks]
    best = math.inf
    for size in range(min(len(peaks), len(targets)) + 1):
        for some in itertools.combinations(range(len(peaks)), size):
            unmatched = 0.2 * sum(inside for j, inside in enumerate(between) if j not in some)
            for those in itertools.combinations(targets, size):
                errors = sum((s * peaks[j] - t) ** 2 for j, t in zip(some, those, strict=True))
                best = min(best, errors + unmatched + len(targets) - size)
    return best


def scan(peaks: np.ndarray, targets: np.ndarray, low: float, high: float, points: int = 6_000) -> float:
    """Least cost over a scan of the scale, all scales at once: never below the true least, and as near as the scan is dense."""
    s = np.linspace(low, high, points)
    gap = np.diff(targets).min()
    table = [np.arange(len(targets) + 1.0)[:, None] * np.ones(points)]
    for peak in peaks:
        inside = (s * peak > targets[0] - gap / 2) & (s * peak < targets[-1] + gap / 2)
        extra = 0.2 * inside
        column = [table[-1][0] + extra]
        for i, target in enumerate(targets):
            column.append(np.minimum.reduce([table[-1][i] + (s * peak - target) ** 2, column[i] + 1, table[-1][i + 1] + extra]))
        table.append(np.array(column))
    return float(table[-1][-1].min())


def surrogate(field: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """rho after each mode of A was turned by its own part of a full circle, mode by mode in the order of memory."""
    modes = np.fft.fftn(field)
    for place, n in enumerate(itertools.product(*[range(size) for size in field.shape])):
        modes[n] *= complex(math.cos(2 * math.pi * phases[place]), math.sin(2 * math.pi * phases[place]))
    return np.abs(np.fft.ifftn(modes)) ** 2


def ramp_rest(index: Numbers, values: Numbers) -> float:
    """Least sum of squares of a·i^b and a·ln(i + b), over a dense scan of b."""
    i, v = np.array(index), np.array(values)
    ramps = [i**b for b in np.geomspace(1e-3, 10, 3_000)] + [np.log(i + b) for b in np.geomspace(1e-3, 1e6, 3_000) - 1]
    return min(float(((v - ramp * (ramp @ v) / (ramp @ ramp)) ** 2).sum()) for ramp in ramps if ramp.any())
