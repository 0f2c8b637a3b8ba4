"""False alarms of the regime detector on streams in which nothing ever changes, and its delays: where its bounds come from.

`python -m benchmarks.regime_bounds [TICKS]` prints, for every kind of stream, alarms per 100,000 ticks by scale, over TICKS
(1,000,000 unless told) of each, half in long streams and half in short ones; then median delays and places of shifts in Gaussian
noise. The bounds in core/energy/regimes.py are the least, to half a unit, at which no kind is told more than once in 100,000
ticks.
"""

import math
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.energy import generators
from core.energy.columns import Shift, adopt, advance
from core.energy.layout import SCALES, Store

LONG, SHORT = 20_000, 2_000
ARL = 1e5
SIZES = (0.5, 1.0, 2.0)


def shifts_of(values: NDArray[np.float64]) -> list[Shift]:
    store = Store()
    rows = np.array([store.add() for _ in range(values.shape[1])])
    found = []
    for tick, line in enumerate(values):
        advanced = advance(store, rows, np.full(len(rows), float(tick)), line)
        adopt(store, advanced)
        found += advanced.findings.shifts
    return found


class Alarms(NamedTuple):
    by_scale: Counter[int]
    ticks: int

    @property
    def per_100_000(self) -> float:
        return 1e5 * self.by_scale.total() / self.ticks


def alarms(ticks: int, seed: int) -> dict[str, Alarms]:
    """False alarms of each kind, half in long streams and half in short ones. All go side by side, and none sees another."""
    found = {name: Alarms(Counter(), 0) for name in generators.NULLS}
    for length in (LONG, SHORT):
        streams = max(1, ticks // 2 // length)
        drawn = [draw(np.random.default_rng([seed, length]), length, streams) for draw in generators.NULLS.values()]
        names = [name for name in generators.NULLS for _ in range(streams)]
        for shift in shifts_of(np.hstack(drawn)):
            found[names[shift.row]].by_scale[shift.scale] += 1
        found = {name: each._replace(ticks=each.ticks + streams * length) for name, each in found.items()}
    return found


def nulls(ticks: int, seed: int) -> None:
    for name, found in alarms(ticks, seed).items():
        by_scale = "  ".join(f"w={scale}: {found.by_scale[scale]}" for scale in SCALES)
        print(f"{name:9s} {found.per_100_000:5.2f} in 100,000   {by_scale}", flush=True)


class Delay(NamedTuple):
    size: float
    late: float
    """Median, in ticks."""
    bound: float
    away: float
    """Median distance of the place that is told."""


def delay(size: float, seed: int, before: int = 2_000, streams: int = 500) -> Delay:
    values = np.random.default_rng(seed).normal(size=(before + 500, streams))
    values[before:] += size
    first: dict[int, Shift] = {}
    for shift in shifts_of(values):
        if shift.tick > before:
            first.setdefault(shift.row, shift)
    late = np.median([first[row].tick - before if row in first else math.inf for row in range(streams)])
    away = np.median([abs(shift.located - before) for shift in first.values()])
    return Delay(size, float(late), 2 * math.log(ARL) / size**2, float(away))


def main(arguments: list[str]) -> int:
    nulls(int(arguments[0]) if arguments else 1_000_000, seed=1)
    for size in SIZES:
        found = delay(size, seed=2)
        times = f"median delay {found.late:.0f} ({found.late / found.bound:.2f} × bound of {found.bound:.0f})"
        print(f"shift of {size} σ: {times}, place off by {found.away:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
