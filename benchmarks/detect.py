"""One causal pass of the detectors and forecasters over public data: alarms and forecasts out as JSON lines, nothing scored.

`python -m benchmarks.detect --data DIR --out FILE [--sets tcpd,tssb,...]`. What is read here are values and nothing else: labels
are for `python -m benchmarks.score` alone. One set of constants for every file. Without `--data` it says so and ends.
"""

import argparse
import csv
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.energy import unusual
from core.energy.columns import adopt, advance
from core.energy.layout import BYTES_PER_ROW, Store

Floats = NDArray[np.float64]
PLANETLAB_S = 300.0


class Series(NamedTuple):
    kind: str
    name: str
    values: Floats
    """One column for each metric of a source."""
    times: Floats | None = None
    """Seconds, where the series says when its points were; else each is a second."""


def _table(path: Path, separator: str = ",") -> list[list[str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.reader(file, delimiter=separator))[1:]


def _moments(texts: list[str]) -> Floats:
    """Seconds; a point that bears the time of the one before it, or an older one, came a second after that."""
    found = np.array([datetime.fromisoformat(text + "+00:00").timestamp() for text in texts])
    place = np.arange(float(len(found)))
    rising: Floats = np.maximum.accumulate(found - place) + place
    return rising


def _tcpd(data: Path) -> Iterator[Series]:
    for path in sorted((data / "tcpd/series").glob("*.json")):
        raw = json.loads(path.read_text())["series"][0]["raw"]
        yield Series("tcpd", path.stem, np.array([np.nan if each is None else each for each in raw], float)[:, None])


def _tssb(data: Path) -> Iterator[Series]:
    for path in sorted((data / "tssb/series").glob("*.gz")):
        yield Series("tssb", path.name.removesuffix(".txt.gz"), np.loadtxt(path)[:, None])


def _skab(data: Path) -> Iterator[Series]:
    for path in sorted((data / "skab/valve1").glob("*.gz")):
        rows = [row[1:9] for row in _table(path, ";")]
        yield Series("skab", path.name.removesuffix(".csv.gz"), np.array(rows, float))


def _nab(data: Path) -> Iterator[Series]:
    for path in sorted((data / "nab/data").glob("*/*.gz")):
        name = f"{path.parent.name}/{path.name.removesuffix('.gz')}"
        rows = _table(path)
        yield Series("nab", name, np.array([[float(row[1])] for row in rows]), _moments([row[0] for row in rows]))


def _planetlab(data: Path) -> Iterator[Series]:
    with np.load(next((data / "planetlab").glob("*.npz"))) as days:
        for day in days:
            for row, values in enumerate(days[day]):
                times = PLANETLAB_S * np.arange(float(len(values)))
                yield Series("planetlab", f"{day}/{row}", values.astype(float)[:, None], times)


def _etth1(data: Path) -> Iterator[Series]:
    table = _table(data / "ett/ETTh1.csv.gz")
    times = _moments([row[0] for row in table])
    rows = np.array([row[1:] for row in table], float)
    for column in range(rows.shape[1]):
        yield Series("etth1", str(column), rows[:, column : column + 1], times)


SETS: dict[str, Callable[[Path], Iterator[Series]]] = {
    "tcpd": _tcpd,
    "tssb": _tssb,
    "skab": _skab,
    "nab": _nab,
    "planetlab": _planetlab,
    "etth1": _etth1,
}


class Pass:
    """All series side by side, tick by tick: no series knows of another."""

    def __init__(self, series: list[Series]) -> None:
        self.series = series
        self.store = Store()
        self.streams = [(at, metric) for at, each in enumerate(series) for metric in range(each.values.shape[1])]
        self.rows = [self.store.add() for _ in self.streams]
        self.expected = [np.full(each.values.shape, np.nan) for each in series]
        self.half = [np.zeros(each.values.shape) for each in series]
        self.scores = [np.zeros(each.values.shape) for each in series]
        self.alarms: list[list[dict[str, Any]]] = [[] for _ in series]
        self.points, self.seconds = 0, 0.0

    def run(self) -> None:
        lengths = np.array([len(self.series[at].values) for at, _ in self.streams])
        columns = np.full((int(lengths.max()), len(self.streams)), np.nan)
        times = np.repeat(np.arange(float(len(columns)))[:, None], len(self.streams), axis=1)
        for row, (at, metric) in enumerate(self.streams):
            columns[: lengths[row], row] = self.series[at].values[:, metric]
            if (moments := self.series[at].times) is not None:
                times[: lengths[row], row] = moments
        for tick in range(len(columns)):
            rows = np.flatnonzero(np.isfinite(columns[tick]))
            if len(rows):
                self._tick(tick, rows, times[tick, rows], columns[tick, rows])

    def _tick(self, tick: int, rows: NDArray[np.intp], times: Floats, values: Floats) -> None:
        tails = unusual.tails(self.store.take(rows), times, values)
        begin = time.thread_time()
        advanced = advance(self.store, rows, times, values)
        adopt(self.store, advanced)
        self.seconds += time.thread_time() - begin
        self.points += len(rows)
        found = advanced.findings
        for place, row in enumerate(rows.tolist()):
            at, metric = self.streams[row]
            self.expected[at][tick, metric] = found.expected[place]
            self.half[at][tick, metric] = found.half[place]
            self.scores[at][tick, metric] = tails[self.series[at].values.shape[1] > 1][place]
        for shift in found.shifts:
            at, metric = self.streams[shift.row]
            # Locations count the points of a stream; missing ones are not points.
            timed = self.series[at].times is not None
            located = tick - shift.tick + shift.located if timed else int(shift.located_time + 1.5)
            told = {"metric": metric, "tick": tick, "located": located, "scale": shift.scale, "statistic": shift.statistic}
            self.alarms[at].append(told)

    def lines(self) -> Iterator[str]:
        for at, series in enumerate(self.series):
            line = {
                "set": series.kind,
                "name": series.name,
                "ticks": len(series.values),
                "alarms": self.alarms[at],
                "expected": _figures(self.expected[at]),
                "half": _figures(self.half[at], 6),
                "told": told(self.scores[at]),
            }
            yield json.dumps(line)


def told(scores: Floats) -> list[int]:
    """Which ticks are shown as unusual: of a single stream its points, of a source with several what lasts."""
    if scores.shape[1] > 1:
        level, found = 0.0, []
        for line in scores:
            level = unusual.source_level(level, line)
            found.append(int(level > unusual.SOURCE_THRESHOLD))
        return found
    level, found, quiet = 0.0, [0] * len(scores), 0
    for tick, score in enumerate(scores[:, 0].tolist()):
        level = unusual.stream_level(level, score)
        if level > unusual.STREAM_THRESHOLD and tick >= quiet:
            found[tick], quiet = 1, tick + unusual.QUIET
    return found


def _figures(values: Floats, digits: int = 9) -> list[list[float | None]]:
    return [[float(f"{each:.{digits}g}") if np.isfinite(each) else None for each in line] for line in values.T]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detect", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("detected.jsonl"))
    parser.add_argument("--sets", default=",".join(SETS))
    asked = parser.parse_args(arguments)
    if asked.data is None or not asked.data.is_dir():
        print("skipped: no data")
        return 0
    run = Pass([series for name in asked.sets.split(",") for series in SETS[name](asked.data)])
    run.run()
    with asked.out.open("w") as file:
        about = {"points": run.points, "us_per_update": run.seconds / run.points * 1e6, "bytes_per_stream": BYTES_PER_ROW}
        file.write(json.dumps({"about": about}) + "\n")
        file.writelines(line + "\n" for line in run.lines())
    print(f"{len(run.series)} series, {run.points:,} points, {run.seconds / run.points * 1e6:.2f} µs per update")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
