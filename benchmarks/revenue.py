"""Projections of daily revenue against days that were held out: `python -m benchmarks.revenue [--data DIR] [--write]`.

Each series is cut off, the next days are projected from what is left, and then looked up. The kinds are made up here, each with
something that makes forecasting hard; with `--data` there are also days of public series, which are no part of irer. Beside the
projection stand the plainest ones: the last day once more, and the last week once more (seasonal naive). No constant was chosen on
the public series.
"""

import argparse
import csv
import gzip
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from core.forecast import total_of_next

RESULTS = Path(__file__).parent / "results" / "revenue.json"
COVERED_MIN, COVERED_MAX = 0.92, 0.98
"""What docs/circuit.md promises of intervals that are meant to hold 95 of 100."""
HORIZONS = (1, 7, 30)
HISTORIES = (120, 400)
WEEK = (1.1, 0.9, 0.95, 1.0, 1.2, 1.5, 0.6)
PRICES = (999, 1_999, 4_999)
Make = Callable[[random.Random, int], list[float]]


def _weekly(draw: random.Random, days: int) -> list[float]:
    return [1_000 * WEEK[day % 7] * math.exp(draw.gauss(0, 0.2)) for day in range(days)]


def _rising(draw: random.Random, days: int) -> list[float]:
    growth = draw.uniform(-0.002, 0.004)
    return [value * math.exp(growth * day) for day, value in enumerate(_weekly(draw, days))]


def _walk(draw: random.Random, days: int) -> list[float]:
    level, made = 0.0, []
    for day in range(days):
        level += draw.gauss(0, 0.05)
        made.append(1_000 * math.exp(level) * WEEK[day % 7] * math.exp(draw.gauss(0, 0.1)))
    return made


def _few(draw: random.Random, days: int) -> list[float]:
    """A shop with three orders a day."""
    made = []
    for day in range(days):
        left, count = draw.expovariate(1.0), 0
        while left < 3 * WEEK[day % 7]:
            left, count = left + draw.expovariate(1.0), count + 1
        made.append(float(sum(draw.choice(PRICES) for _ in range(count))))
    return made


def _yearly(draw: random.Random, days: int) -> list[float]:
    phase = draw.uniform(0, 2 * math.pi)
    return [value * (1 + 0.4 * math.sin(2 * math.pi * day / 365 + phase)) for day, value in enumerate(_weekly(draw, days))]


def _noise(draw: random.Random, days: int) -> list[float]:
    return [1_000 * math.exp(draw.gauss(0, 0.3)) for _ in range(days)]


def _persistent(draw: random.Random, days: int) -> list[float]:
    state, made = 0.0, []
    for _ in range(days):
        state = 0.8 * state + draw.gauss(0, 0.2)
        made.append(1_000 * math.exp(state))
    return made


def _shifted(draw: random.Random, days: int) -> list[float]:
    since, factor = draw.randrange(days // 3, days), draw.choice((0.6, 1.6))
    return [value * (factor if day >= since else 1) for day, value in enumerate(_weekly(draw, days))]


KINDS: Mapping[str, Make] = {
    "weekly": _weekly,
    "rising": _rising,
    "walk": _walk,
    "few orders": _few,
    "yearly": _yearly,
    "noise": _noise,
    "persistent": _persistent,
    "shifted": _shifted,
}


def made(kind: str, series: int, history: int, horizon: int) -> list[float]:
    return KINDS[kind](random.Random(f"{kind} {series} {history} {horizon}"), history + horizon)


class Score:
    """What projections of one kind came to."""

    def __init__(self) -> None:
        self.projections = self.covered = 0
        self.errors = [0.0, 0.0, 0.0]

    def add(self, history: Sequence[float], outcome: float, horizon: int) -> None:
        found = total_of_next(history, horizon)
        assert found.low is not None and found.high is not None
        last_week = sum(history[day % 7 - 7] for day in range(horizon))
        for place, said in enumerate((found.expected, last_week, horizon * history[-1])):
            self.errors[place] += abs(outcome - said)
        self.projections += 1
        self.covered += found.low <= outcome <= found.high

    @property
    def coverage(self) -> float:
        return self.covered / self.projections

    @property
    def to_week(self) -> float:
        return self.errors[0] / self.errors[1]

    def row(self) -> dict[str, float]:
        figures = {
            "coverage": self.coverage,
            "error_to_last_week": self.to_week,
            "error_to_last_day": self.errors[0] / self.errors[2],
        }
        return {"projections": self.projections} | {name: round(value, 3) for name, value in figures.items()}


def generated(horizon: int, series: int, histories: Sequence[int] = HISTORIES) -> dict[str, Score]:
    scores = {kind: Score() for kind in KINDS}
    for kind, score in scores.items():
        for history in histories:
            for number in range(series):
                values = made(kind, number, history, horizon)
                score.add(values[:history], sum(values[history:]), horizon)
    return scores


def overall(scores: Mapping[str, Score]) -> tuple[float, float]:
    """The share of all outcomes within their interval, and the error to that of last week, as a geometric mean of the kinds."""
    projections = sum(score.projections for score in scores.values())
    coverage = sum(score.covered for score in scores.values()) / projections
    return coverage, math.exp(statistics.mean(math.log(score.to_week) for score in scores.values()))


# --- public series ------------------------------------------------------------------------------------------------------------


def public(data: Path) -> Iterator[tuple[str, list[float]]]:
    """Whole days of what comes nearest to daily takings: taxi rides, and the load of a transformer."""
    for name, pattern, column in (("NYC taxi rides", "nyc_taxi.csv*", -1), ("ETTh1 load", "ETTh1.csv*", 1)):
        for path in sorted(data.rglob(pattern))[:1]:
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
            days: dict[str, list[float]] = {}
            for row in list(csv.reader(text.splitlines()))[1:]:
                days.setdefault(row[0][:10], []).append(float(row[column]))
            most = max(len(values) for values in days.values())
            yield name, [sum(values) for values in days.values() if len(values) == most]


def rolled(values: Sequence[float], horizon: int) -> Score:
    """Every day from the 120th on, as far as there is an outcome; at most 400 days of history, as the engine looks at."""
    score = Score()
    for end in range(120, len(values) - horizon, 3):
        score.add(values[max(0, end - 400) : end], sum(values[end : end + horizon]), horizon)
    return score


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revenue")
    parser.add_argument("--data", type=Path, help="a directory with public series")
    parser.add_argument("--series", type=int, default=15, help="of each kind and length of history")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    asked = parser.parse_args(argv)
    rows = []
    missed = 0
    for horizon in HORIZONS:
        scores = generated(horizon, asked.series)
        coverage, to_week = overall(scores)
        missed += not (COVERED_MIN <= coverage <= COVERED_MAX and to_week <= 1)
        rows += [{"series": kind, "horizon_days": horizon} | score.row() for kind, score in scores.items()]
        rows.append(
            {"series": "all", "horizon_days": horizon, "coverage": round(coverage, 3), "error_to_last_week": round(to_week, 3)}
        )
        if asked.data is not None:
            rows += [{"series": name, "horizon_days": horizon} | rolled(days, horizon).row() for name, days in public(asked.data)]
    for row in rows:
        print(json.dumps(row))
    if asked.write:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
