"""Every row of the public-data table: our figure, what stands beside it, and which line was reached.

`python -m benchmarks.public_data --data DIR [--write]`. The detectors and forecasters pass over the data once
(`benchmarks.detect`), the scorer alone reads labels (`benchmarks.score`), and streams in which everything is known come from
`core.energy.generators`. One set of constants for every file; nothing here chooses any. Without `--data` only what needs none is
measured, and nothing is written.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import detect, regime_bounds, report, score
from core.energy import act, generators
from core.energy.columns import adopt, advance
from core.energy.layout import Store

Floats = NDArray[np.float64]
HERE = Path(__file__).parent
TICKS = 200_000
"""Of each null generator."""
UNSERVED_MAX = 0.0005
"""Of the load: what decisions may leave undone."""
SIGMAS = 1.959963984540054
MISSED = "**MISSED**"
PLANTED = (0, 1, 2, 0, 2, 1, 0, 2)
STAY = 400


class Row(NamedTuple):
    """One measure. `line` is what it has to reach to pass and to be called strong; less is better where `less` says so."""

    area: str
    measure: str
    value: float
    passes: float
    strong: float
    less: bool
    beside: str

    @property
    def reached(self) -> str:
        if not math.isfinite(self.value):
            return MISSED
        if self._within(self.strong):
            return "strong"
        return "pass" if self._within(self.passes) else MISSED

    def _within(self, line: float) -> bool:
        return self.value <= line if self.less else self.value >= line


def beside(figures: score.Figures, measure: str) -> str:
    """Everybody else's figure for it."""
    others = [(who, found[measure]) for who, found in figures.items() if who != "ours" and measure in found]
    return ", ".join(f"{who} {value:.3g}" for who, value in others if math.isfinite(value))


def of_data(found: dict[str, score.Figures]) -> Iterator[Row]:
    table = [
        ("tcpd", "change points, TCPD 14", "F1", 0.65, 0.70, False),
        ("tcpd", "change points, TCPD 14", "Covering", 0.64, 0.67, False),
        ("tssb", "shapes, TSSB 38, streaming", "Covering", 0.45, 0.65, False),
        ("skab", "rig, SKAB valve1", "(FAR+MAR)/2", 0.29, 0.22, True),
        ("skab", "rig, SKAB valve1", "F1", 0.75, 0.78, False),
        ("nab", "anomalies, NAB 33", "score", 46.0, 56.0, False),
        ("planetlab forecasts", "PlanetLab", "relMAE", 0.78, 0.765, True),
        ("etth1 forecasts", "ETTh1", "relMAE", 0.90, 0.87, True),
        ("aws forecasts", "AWS 8", "relMAE", 0.75, 0.70, True),
        ("planetlab forecasts", "PlanetLab", "IS", 0.73, 0.71, True),
        ("etth1 forecasts", "ETTh1", "IS", 0.91, 0.87, True),
        ("aws forecasts", "AWS 8", "IS", 0.74, 0.69, True),
    ]
    for name, area, measure, passes, strong, less in table:
        if name in found:
            yield Row(area, measure, found[name]["ours"][measure], passes, strong, less, beside(found[name], measure))
    for name, area in (("planetlab forecasts", "PlanetLab"), ("etth1 forecasts", "ETTh1"), ("aws forecasts", "AWS 8")):
        if name in found:
            ours = found[name]["ours"]
            off = abs(ours["coverage"] - 0.95)
            yield Row(area, "coverage of 95 %, off by", off, 0.01, 0.01, True, f"covered {ours['coverage']:.3f}")
            if math.isfinite(ours["in_93_97"]):
                yield Row(area, "long streams covered 93–97 %", ours["in_93_97"], 0.9, 0.9, False, "")


# --- decisions --------------------------------------------------------------------------------------------------------------


def energy(servers: Floats, load: Floats) -> float:
    """In server-seconds of idle power: idle servers, and what work adds."""
    return float((servers * act.IDLE_W + (act.MAX_W - act.IDLE_W) * np.minimum(load, servers)).sum())


def unserved(servers: Floats, load: Floats) -> float:
    return float(np.maximum(load - servers, 0).sum() / load.sum())


def enough(mean: float, spread: float) -> int:
    """The fewest servers that are expected to leave no more undone than is allowed."""
    servers = max(math.ceil(mean), 1)
    while act.expected_above(mean, spread, servers) > UNSERVED_MAX * max(mean, 1e-9):
        servers += 1
    return servers


def best_margin(expected: Floats, load: Floats) -> Floats:
    """A plain forecast with the one margin that, in hindsight, was just enough: better than anybody could have known."""
    for margin in np.arange(0, float(load.max()) + 1, 0.25):
        servers = np.maximum(np.ceil(expected + margin), 1.0)
        if unserved(servers, load) <= UNSERVED_MAX:
            return servers
    return np.full(len(load), math.ceil(load.max()), float)


def decisions(data: Path) -> Iterator[Row]:
    """How many servers bear the load of all virtual machines of a day, chosen one step ahead; against who knew it."""
    over: dict[str, list[float]] = {}
    missed = []
    with np.load(next((data / "planetlab").glob("*.npz"))) as days:
        for day in days:
            load = days[day].astype(float).sum(axis=0) / 100
            store = Store()
            row = [store.add()]
            ours = np.empty(len(load))
            for tick, value in enumerate(load):
                advanced = advance(store, row, [detect.PLANETLAB_S * tick], [value])
                adopt(store, advanced)
                found = advanced.findings
                ours[tick] = enough(float(found.expected[0]), float(found.half[0]) / SIGMAS) if tick else math.ceil(value)
            judged = slice(score.FORECAST_FROM, None)
            true = load[judged]
            least = energy(np.ceil(true), true)
            smooth = score.smoothed(load)[judged]
            chosen = {
                "ours": ours[judged],
                "static peak": np.full(len(true), math.ceil(true.max()), float),
                "reactive, best margin in hindsight": best_margin(load[score.FORECAST_FROM - 1 : -1], true),
                "SES, best margin in hindsight": best_margin(smooth, true),
            }
            for who, servers in chosen.items():
                over.setdefault(who, []).append(100 * (energy(servers, true) / least - 1))
            missed.append(100 * unserved(chosen["ours"], true))
    others = ", ".join(f"{who} {np.mean(each):.2f}" for who, each in over.items() if who != "ours")
    yield Row("decisions, PlanetLab", "% energy over clairvoyant", float(np.mean(over["ours"])), 5.6, 4.5, True, others)
    yield Row("decisions, PlanetLab", "% of the load unserved", float(np.mean(missed)), 0.05, 0.05, True, "")


# --- where everything is known ----------------------------------------------------------------------------------------------


def synthetic(ticks: int, seed: int) -> Iterator[Row]:
    for size in (0.5, 1.0):
        found = regime_bounds.delay(size, seed)
        others = f"who knows the shift {found.bound:.0f} ticks, ours {found.late:.0f}; always firing 0"
        yield Row(f"shift of {size:g} σ at ARL0 ≥ 10⁵", "median delay × bound", found.late / found.bound, 1.5, 1.25, True, others)
        if size == 1.0:
            yield Row("shift of 1 σ", "place off by, ticks", found.away, 5, 5, True, "")
    for name, told in regime_bounds.alarms(ticks, seed).items():
        plain = generators.NULLS[name](np.random.default_rng(seed), 20_000, 5)
        away = np.abs(plain - plain[:1_000].mean(axis=0)) > 3 * plain[:1_000].std(axis=0)
        others = f"beyond 3 spreads {1e5 * away.mean():.0f}"
        yield Row(f"null, {name}", "alarms in 100,000 ticks", told.per_100_000, 2, 1, True, others)


def bank(seed: int, streams: int = 32) -> Row:
    """Regimes that come back: adjusted Rand of the numbers that are told against those planted."""
    chance = np.random.default_rng(seed)
    means, spreads = (0.0, 6.0, 0.0), (1.0, 1.0, 5.0)
    truth = np.repeat(PLANTED, STAY)
    store = Store()
    rows = np.array([store.add() for _ in range(streams)])
    now, told = np.zeros(streams, int), np.zeros((len(truth), streams), int)
    for tick, regime in enumerate(truth.tolist()):
        values = means[regime] + spreads[regime] * chance.normal(size=streams)
        advanced = advance(store, rows, np.full(streams, float(tick)), values)
        adopt(store, advanced)
        for settled in advanced.findings.settled:
            now[settled.row] = settled.regime
        told[tick] = now
    ours = float(np.median([adjusted_rand(truth, told[:, row]) for row in range(streams)]))
    new = adjusted_rand(truth, np.repeat(np.arange(len(PLANTED)), STAY))
    first = adjusted_rand(truth, np.zeros_like(truth))
    others = f"always new {new:.2f}, always first {first:.2f}"
    return Row("regime bank, planted returns", "adjusted Rand", ours, 0.6, 0.85, False, others)


def adjusted_rand(one: NDArray[np.int_], other: NDArray[np.int_]) -> float:
    table = np.array([[np.sum((one == a) & (other == b)) for b in np.unique(other)] for a in np.unique(one)], float)

    def pairs(counts: NDArray[np.float64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / pairs(np.array([table.sum()]))
    return (both - expected) / ((rows + columns) / 2 - expected)


# --- the table --------------------------------------------------------------------------------------------------------------


def as_table(rows: list[Row]) -> str:
    lines = ["| area | measure | ours | pass | strong | reached | beside it |", "|---|---|--:|--:|--:|---|---|"]
    for row in rows:
        sign = "≤" if row.less else "≥"
        figures = f"{row.value:.3g} | {sign} {row.passes:g} | {sign} {row.strong:g} | {row.reached}"
        lines.append(f"| {row.area} | {row.measure} | {figures} | {row.beside} |")
    return "\n".join(lines)


def of_folder(data: Path) -> tuple[list[Row], str]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "detected.jsonl"
        detect.main(["--data", str(data), "--out", str(out)])
        about, found = score.of_file(data, out)
    ours = found["nab"]["ours"]
    told = [
        f"{about['points']:,.0f} points, {about['us_per_update']:.2f} µs an update",
        f"{about['bytes_per_stream']:.0f} bytes a stream",
        f"of NAB's windows {ours['recall']:.2f} are found, precision {ours['precision']:.2f}",
        f"{ours['false alarms a day']:.2f} false alarms a day",
    ]
    return [*of_data(found), *decisions(data)], "; ".join(told)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.public_data", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--ticks", type=int, default=TICKS, help="of each null generator")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the table into README.md and results/public_data.json")
    asked = parser.parse_args(arguments)
    given = asked.data is not None and asked.data.is_dir()
    rows, told = of_folder(asked.data) if given else ([], "no data was given: only streams in which everything is known")
    rows += [*synthetic(asked.ticks, asked.seed), bank(asked.seed)]
    text = f"{as_table(rows)}\n\nSeed {asked.seed}; {told}."
    print(text)
    if asked.write and given:
        lines = [{**row._asdict(), "reached": row.reached.strip("*")} for row in rows]
        (HERE / "results/public_data.json").write_text(json.dumps({"about": told, "rows": lines}, indent=1) + "\n")
        report.put_into(HERE / "README.md", text, "public_data")
    return int(any(row.reached == MISSED for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
