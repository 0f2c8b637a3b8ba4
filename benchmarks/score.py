"""Scores what `python -m benchmarks.detect` wrote: the only reader of labels.

`python -m benchmarks.score --data DIR FILE`. Beside each of our figures stands what doing nothing, or something plain, would score.
"""

import argparse
import csv
import gzip
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Line = dict[str, Any]
MARGIN = 5
SKAB_TRAINING = 400
NAB_PROBATION = 0.15
NAB_PROBATION_MAX = 750
FORECAST_FROM = 32
"""Steps of a stream that no forecaster is judged on."""
EVERY = 20


# Change points: TCPD (van den Burg and Williams, 2020), TSSB.


def matched(truth: Iterable[int], told: Iterable[int], margin: int = MARGIN) -> int:
    """How many true change points have a told one within the margin; each told one counts once."""
    left, found = set(told), 0
    for point in sorted(truth):
        near = sorted((abs(point - each), each) for each in left if abs(point - each) <= margin)
        if near:
            left.remove(near[0][1])
            found += 1
    return found


def f1(annotators: Sequence[Iterable[int]], told: Iterable[int]) -> float:
    """The first tick is a change point that everybody finds."""
    truths = [{0, *each} for each in annotators]
    points = {0, *told}
    union = set().union(*truths)
    precision = matched(union, points) / len(points)
    recall = sum(matched(truth, points) / len(truth) for truth in truths) / len(truths)
    return 2 * precision * recall / (precision + recall)


def covering(annotators: Sequence[Iterable[int]], told: Iterable[int], ticks: int) -> float:
    """Share of each true segment that its best match covers, by length."""
    ours = _segments(told, ticks)
    return sum(_covered(_segments(each, ticks), ours, ticks) for each in annotators) / len(annotators)


def _segments(points: Iterable[int], ticks: int) -> list[tuple[int, int]]:
    edges = [0, *sorted({each for each in points if 0 < each < ticks}), ticks]
    return list(pairwise(edges))


def _covered(truth: list[tuple[int, int]], ours: list[tuple[int, int]], ticks: int) -> float:
    return sum((high - low) * max(_overlap((low, high), each) for each in ours) for low, high in truth) / ticks


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return max(shared, 0) / (max(one[1], other[1]) - min(one[0], other[0]))


# Anomalies: NAB, SKAB.


def nab(windows: list[list[tuple[int, int]]], told: list[list[int]], ticks: list[int]) -> float:
    """The standard profile: 0 for silence, 100 for the first tick of every window and nothing else."""
    number = sum(map(len, windows))
    raw = sum(_nab_one(*each) for each in zip(windows, told, ticks, strict=True))
    return 100 * (raw + number) / (2 * number) if number else math.nan


def _nab_one(windows: list[tuple[int, int]], told: list[int], ticks: int) -> float:
    probation = min(math.floor(NAB_PROBATION * ticks), math.floor(NAB_PROBATION * 5_000), NAB_PROBATION_MAX)
    best: dict[tuple[int, int], float] = {}
    score = 0.0
    for tick in sorted(told):
        if tick < probation:
            continue
        inside = next((each for each in windows if each[0] <= tick <= each[1]), None)
        if inside is not None:
            value = _sigmoid(-(inside[1] - tick + 1) / (inside[1] - inside[0] + 1)) / _sigmoid(-1.0)
            best[inside] = max(best.get(inside, -math.inf), value)
            continue
        before = [each for each in windows if each[1] < tick]
        away = (tick - before[-1][1]) / max(before[-1][1] - before[-1][0], 1) if before else math.inf
        score += 0.11 * (_sigmoid(away) if away <= 3 else -1.0)
    return score + sum(best.values()) - (len(windows) - len(best))


def _sigmoid(place: float) -> float:
    return 2 / (1 + math.exp(5 * place)) - 1


def rows_told(truth: NDArray[np.bool_], told: NDArray[np.bool_]) -> tuple[float, float]:
    """(FAR + MAR) / 2, and F1."""
    hits = float((truth & told).sum())
    false, missed = float((~truth & told).sum()), float((truth & ~told).sum())
    return (false / max((~truth).sum(), 1) + missed / max(truth.sum(), 1)) / 2, 2 * hits / max(2 * hits + false + missed, 1)


# Forecasts.


def interval_score(errors: Floats, halves: Floats) -> Floats:
    found: Floats = 2 * halves + 40 * np.maximum(errors - halves, 0)
    return found


def conformal(errors: Floats) -> Floats:
    """The interval that a plain forecaster is given: as ours learns its own."""
    half, size = 0.0, 0.0
    found = np.empty(len(errors))
    for at, error in enumerate(errors.tolist()):
        found[at] = half
        rate = max(0.02, 1 / max(at, 1))
        size += rate * (error - size)
        half = max(0.0, half + max(0.15, rate) * size * ((error > half) - 0.05))
    return found


RATES = (0.05, 0.15, 0.35, 0.7, 1.0)


def smoothed(values: Floats) -> Floats:
    """Simple exponential smoothing, by the rate that did best lately."""
    levels, losses = [float(values[0])] * len(RATES), [0.0] * len(RATES)
    found = np.empty(len(values))
    for at, value in enumerate(values.tolist()):
        found[at] = levels[losses.index(min(losses))]
        for k, rate in enumerate(RATES):
            losses[k] += max(0.02, 1 / max(at, 1)) * (abs(value - levels[k]) - losses[k])
            levels[k] += rate * (value - levels[k])
    return found


def forecast(series: list[tuple[Floats, Floats, Floats]]) -> dict[str, float]:
    """Geometric means over streams of our error and interval score against naive's, and SES's; and coverage."""
    ratios: dict[str, list[float]] = {"relMAE": [], "relMAE_ses": [], "IS": [], "IS_ses": []}
    covered: list[tuple[float, int]] = []
    for values, expected, half in series:
        naive = np.abs(np.diff(values, prepend=values[0]))
        ses = np.abs(values - smoothed(values))
        ours = np.abs(values - expected)
        judged = slice(FORECAST_FROM, None)
        if naive[judged].sum() == 0:
            continue
        plain = interval_score(naive, conformal(naive))[judged].mean()
        ratios["relMAE"].append(ours[judged].mean() / naive[judged].mean())
        ratios["relMAE_ses"].append(ses[judged].mean() / naive[judged].mean())
        ratios["IS"].append(interval_score(ours, half)[judged].mean() / plain)
        ratios["IS_ses"].append(interval_score(ses, conformal(ses))[judged].mean() / plain)
        covered.append((float((ours <= half)[judged].mean()), len(values) - FORECAST_FROM))
    found = {name: float(np.exp(np.mean(np.log(np.maximum(each, 1e-9))))) for name, each in ratios.items()}
    whole = sum(number for _, number in covered)
    found["coverage"] = sum(share * number for share, number in covered) / whole
    long = [share for share, number in covered if number >= 1_000 - FORECAST_FROM]
    found["in_93_97"] = float(np.mean([0.93 <= share <= 0.97 for share in long])) if long else math.nan
    return found


# The figures: of each who answered, by measure.

Figures = dict[str, dict[str, float]]


def tcpd(data: Path, lines: list[Line]) -> Figures:
    labels = json.loads((data / "tcpd/annotations.json").read_text())
    told: dict[str, Callable[[Line], list[int]]] = {
        "ours": lambda line: [alarm["located"] for alarm in line["alarms"]],
        "no change": lambda line: [],
        f"every {EVERY}th": lambda line: list(range(EVERY, line["ticks"], EVERY)),
    }
    people = [list(labels[line["name"]].values()) for line in lines]
    return {
        name: {
            "F1": _mean(f1(each, points(line)) for each, line in zip(people, lines, strict=True)),
            "Covering": _mean(covering(each, points(line), line["ticks"]) for each, line in zip(people, lines, strict=True)),
        }
        for name, points in told.items()
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def tssb(data: Path, lines: list[Line]) -> Figures:
    """Beside ours the retrospective methods whose figures were published for these series."""
    labels = {row[0]: [int(each) for each in row[2:]] for row in csv.reader((data / "tssb/desc.txt").read_text().splitlines())}
    ours = _mean(covering([labels[line["name"]]], [alarm["located"] for alarm in line["alarms"]], line["ticks"]) for line in lines)
    nothing = _mean(covering([labels[line["name"]]], [], line["ticks"]) for line in lines)
    found = {"ours": {"Covering": ours}, "no change": {"Covering": nothing}}
    names = {line["name"] for line in lines}
    rows = [row for row in csv.DictReader((data / "tssb/published_covering.csv").open()) if row["dataset"] in names]
    for method in list(rows[0])[1:] if rows else []:
        found[f"{method} (published)"] = {"Covering": _mean(float(row[method]) for row in rows)}
    return found


def skab(data: Path, lines: list[Line]) -> Figures:
    truth, told = [], []
    for line in lines:
        with gzip.open(data / f"skab/valve1/{line['name']}.csv.gz", "rt", newline="") as file:
            rows = list(csv.reader(file, delimiter=";"))[1:]
        truth.append(np.array([float(row[9]) > 0 for row in rows])[SKAB_TRAINING:])
        told.append(np.array(line["told"], bool)[SKAB_TRAINING:])
    found: Figures = {}
    for name, answer in (("ours", np.concatenate(told)), ("always fire", np.ones(sum(map(len, told)), bool))):
        half, score = rows_told(np.concatenate(truth), answer)
        found[name] = {"(FAR+MAR)/2": half, "F1": score}
    return found


def anomalies(data: Path, lines: list[Line]) -> Figures:
    labels = json.loads((data / "nab/labels/combined_windows.json").read_text())
    windows, told, ticks = [], [], []
    false = caught = right = days = 0.0
    for line in lines:
        with gzip.open(data / f"nab/data/{line['name']}.gz", "rt", newline="") as file:
            times = [_moment(row[0]) for row in list(csv.reader(file))[1:]]
        spans = [
            (
                next(at for at, time in enumerate(times) if time >= _moment(low)),
                max(at for at, time in enumerate(times) if time <= _moment(high)),
            )
            for low, high in labels[line["name"]]
        ]
        points = [tick for tick, one in enumerate(line["told"]) if one]
        windows.append(spans)
        told.append(points)
        ticks.append(line["ticks"])
        wrong = sum(not any(low <= tick <= high for low, high in spans) for tick in points)
        false, right = false + wrong, right + len(points) - wrong
        caught += sum(any(low <= tick <= high for tick in points) for low, high in spans)
        days += (times[-1] - times[0]) / 86_400
    number = sum(map(len, windows))
    ours = {
        "score": nab(windows, told, ticks),
        "recall": caught / number,
        "precision": right / max(right + false, 1.0),
        "false alarms a day": false / days,
    }
    return {"ours": ours, "silence": {"score": nab(windows, [[] for _ in lines], ticks)}}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text + "+00:00").timestamp()


def forecasts(data: Path, lines: list[Line]) -> Figures:
    from benchmarks.detect import SETS

    known = {series.name: series for series in SETS[lines[0]["set"]](data)}
    rows, yesterday = [], []
    for line in lines:
        series = known[line["name"]]
        values = series.values[:, 0]
        rows.append((values, np.array(line["expected"][0], float), np.array(line["half"][0], float)))
        yesterday.append((values, series.times))
    found = forecast(rows)
    return {
        "ours": {name: found[name] for name in ("relMAE", "IS", "coverage", "in_93_97")},
        "naive": {"relMAE": 1.0, "IS": 1.0},
        "SES": {"relMAE": found["relMAE_ses"], "IS": found["IS_ses"]},
        "yesterday": {"relMAE": _yesterday(yesterday)},
    }


def _yesterday(series: list[tuple[Floats, Floats | None]]) -> float:
    """The value of a day before, against naive, where there is a day before."""
    ratios = []
    for values, times in series:
        step = float(np.median(np.diff(times))) if times is not None else math.nan
        day = round(86_400 / step) if step > 0 else len(values)
        naive = np.abs(np.diff(values))[day:]
        if len(values) > 2 * day and naive.sum() > 0:
            ratios.append(np.abs(values[day:] - values[:-day])[1:].mean() / naive.mean())
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else math.nan


def of_file(data: Path, path: Path) -> tuple[dict[str, float], dict[str, Figures]]:
    """What is said of the pass, and the figures of every set that is in it."""
    sets: dict[str, list[Line]] = {}
    with path.open() as file:
        about = json.loads(file.readline())["about"]
        for text in file:
            line = json.loads(text)
            sets.setdefault(line["set"], []).append(line)
    found: dict[str, Figures] = {}
    for name, score in (("tcpd", tcpd), ("tssb", tssb), ("skab", skab), ("nab", anomalies)):
        if name in sets:
            found[name] = score(data, sets[name])
    amazon = [line for line in sets.get("nab", []) if line["name"].startswith("realAWS")]
    for name, lines in (("planetlab", sets.get("planetlab", [])), ("etth1", sets.get("etth1", [])), ("aws", amazon)):
        if lines:
            found[f"{name} forecasts"] = forecasts(data, lines)
    return about, found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("file", type=Path, nargs="?", default=Path("detected.jsonl"))
    asked = parser.parse_args(arguments)
    if asked.data is None or not asked.data.is_dir():
        print("skipped: no data")
        return 0
    about, found = of_file(asked.data, asked.file)
    print(json.dumps(about))
    for name, figures in found.items():
        for who, measures in figures.items():
            print(f"{name:20s} {who:22s} " + "  ".join(f"{measure} {value:.3f}" for measure, value in measures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
