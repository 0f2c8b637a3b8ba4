"""How long the nulls of one run take on one core: `python -m benchmarks.nulls [DRAWS]`.

The field is noise with eight rings planted at the logarithms of primes, in eight snapshots, as a winner of a hunt would be: its
draws have peaks, so scoring them is work. Compiling, or reading what was compiled, stands apart; each figure is the median of
three runs, all of them shown. The aim is 999 draws with targets calibrated within two minutes.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from uuid import UUID

import numpy as np

from kernels import nulls, spectrum
from kernels.score import log_primes

SNAPSHOTS = 8
RUNS = 3
JOB = UUID(int=1)


def winner(points: int, targets: int = 8, snapshots: int = SNAPSHOTS) -> np.ndarray:
    """Rings in rho, phases without order, and a little of it changed from one snapshot to the next."""
    draw = np.random.default_rng(points)
    n = np.fft.fftfreq(points, 1 / points)
    r = np.hypot(n[:, None], n)
    places = 0.92 * spectrum.shells(points, 2).x[-2] * log_primes(targets) / log_primes(targets)[-1]
    power = np.exp(-8 * r / points) * (1 + 20 * sum(np.exp(-(((r - place) / 0.7) ** 2) / 2) for place in places))
    power[(r == 0) | (r > points // 2 - 1)] = 0
    waves = np.fft.ifft2(np.sqrt(power) * np.fft.fft2(draw.standard_normal((snapshots, *r.shape)))).real
    rough = np.fft.ifft2(np.exp(np.rint(r) % 5) * np.fft.fft2(draw.standard_normal(r.shape))).real
    return np.sqrt(1 + 0.5 * waves / np.abs(waves).max()) * np.exp(2j * np.pi * rough / rough.std())


def timed(work: Callable[[], object]) -> tuple[float, list[float]]:
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        took.append(round(time.perf_counter() - began, 3))
    return statistics.median(took), took


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else nulls.DRAWS_MIN
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    targets = log_primes(8)
    sequences = nulls.random_targets(JOB, targets)
    began = time.perf_counter()
    nulls.phase_draws(winner(16), JOB, targets, 2, sequences=sequences)
    figures: dict[str, object] = {"draws": draws, "snapshots": SNAPSHOTS, "first_call_s": round(time.perf_counter() - began, 2)}
    for points in (64, 128, 256):
        field = winner(points)
        for name, some in (("phase", None), ("phase_and_targets", sequences)):

            def work(field: np.ndarray = field, some: np.ndarray | None = some) -> nulls.Draws:
                return nulls.phase_draws(field, JOB, targets, draws, sequences=some)

            figures[f"{name}_{points}_s"], figures[f"{name}_{points}_all_s"] = timed(work)
        found = nulls.phase_draws(field, JOB, targets, 99)
        figures[f"draws_with_peaks_{points}"] = round(float(np.mean(found.status == spectrum.OK)), 2)
    figures["load"] = round(os.getloadavg()[0], 1)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
