"""Moments of a history that are followed in columns come to what they come to one by one, to the last bit."""

import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core.energy import bank, following, sensing
from core.energy.bank import Source, Told
from core.energy.facts import RegimeShifted
from core.energy.following import Pace, paced
from core.energy.proving import ClaimsMet
from core.engine import Refused
from tests.core.energy.eil_loop import BEGIN_US, EilLoop, machine, rows_of, settings

FEWEST = following.STRETCH_MIN
KNOWN = {"room": {"surroundings_k": 296.0, "max_w": 700.0, "warming_k_s": 0.5}, "model": {"idle_w": 100.0, "max_w": 300.0}}
METRICS = {
    "plain": ["power_draw", "temperature", "cpu_usage", "x"],
    "node": ["power_draw", "temperature_k", "ambient_k"],
    "room": ["cpu_pct", "psu_kw", "temperature"],
    "model": ["x", "cpu_usage"],
    "bare": ["x", "y", "z"],
}
USUAL = {"power_draw": 200.0, "psu_kw": 0.2, "temperature": 60.0, "cpu_usage": 0.5, "cpu_pct": 50.0}


def histories(seed: int) -> Iterator[list[dict[str, Any]]]:
    """Some batches at a time, each of another source: shifts, gaps, and now and then a point that is missing or refused."""
    draw = random.Random(seed)
    at, rig, odd = dict.fromkeys(METRICS, 0), machine(10_000, seed), draw.choice([0.0, 0.004])
    for _ in range(5):
        some = []
        for source in sorted({"bare", *draw.sample(sorted(METRICS), draw.choice([1, 2, 4]))}):
            metrics = METRICS[source] if draw.random() < 0.8 else draw.sample(METRICS[source], 2)
            times, lines, off = [], [], 1.0
            for _ in range(draw.choice([2, FEWEST - 1, FEWEST, 150, 300])):
                at[source] += draw.choice([10_000_000, 10_000_000, 9_999_999, 10_000_001]) if draw.random() < 0.99 else 500_000_000
                off = draw.choice([1.0, 1.4]) if draw.random() < 0.005 else off
                times.append(BEGIN_US + at[source])
                read = next(rig) if source == "node" else {}
                line: list[Any] = [
                    read.get(metric) or round(USUAL.get(metric, 10.0) * off * (1 + 0.03 * draw.gauss(0, 1)), 3)
                    for metric in metrics
                ]
                if draw.random() < odd:
                    line[0] = draw.choice([None, -1e31, 1e9])
                lines.append(line)
            some.append({"source": source, "metrics": metrics, "times": times, "values": lines, "predict": draw.random() < 0.6})
        yield some


def lived(seed: int) -> tuple[EilLoop, list[Any]]:
    loop = EilLoop(settings(sources=KNOWN, horizon_s=600.0))
    loop.wall_us += 86_400_000_000
    told: list[Any] = []
    for some in histories(seed):
        made = [msgspec.convert(params, sensing.SenseBatch, strict=True) for params in some]
        if seed % 2:
            sensing.foresee(loop.state, made)
        for command in made:
            loop.mono_us += 1_000
            try:
                told.append(loop.get("sense_batch", command))  # type: ignore[arg-type]
            except Refused as refused:
                told.append((refused.code, refused.reason, str(refused)))
    return loop, told


def test_in_columns_and_one_by_one_they_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ways, taken = Counter[tuple[bool, bool, bool, bool]](), following._Walk._stretch
    cut = set()

    def counted(walk: Any, times: Any, lines: Any, begin: int) -> None:
        ways[walk.physical, walk.told, walk._heated, len(walk.rows) == len(walk.plan.metrics)] += 1
        if walk.times:
            cut.add(walk.physical)
        taken(walk, times, lines, begin)

    moved = met = 0
    for seed in range(6):
        with monkeypatch.context() as patched:
            patched.setattr(following._Walk, "_stretch", counted)
            columns, told = lived(seed)
        with monkeypatch.context() as patched:
            patched.setattr(following, "STRETCH_MIN", sys.maxsize)
            single, told_singly = lived(seed)
        assert told == told_singly
        assert [each[:2] for each in columns.records] == [each[:2] for each in single.records]
        assert rows_of(columns) == rows_of(single)
        moved, met = moved + len(columns.of(RegimeShifted)), met + len(columns.of(ClaimsMet))
    for kind in ("physical", "told", "heated", "all metrics"):
        place = ("physical", "told", "heated", "all metrics").index(kind)
        assert {way[place] for way in ways} == {False, True}, kind
    assert cut == {False, True} and moved and met, "a shift in a batch, and what was added before it is not lost"


def test_a_stream_that_is_silent_in_a_batch_goes_on_drifting() -> None:
    loop = EilLoop(settings())
    loop.wall_us += 86_400_000_000
    names = []
    for turn in range(2):
        times = [BEGIN_US + 10_000_000 * (100 * turn + place) for place in range(100)]
        batch = {"source": "m", "metrics": ["x", "y"][turn:], "times": times, "values": [[1.0, 2.0][turn:]] * 100}
        loop.get("sense_batch", batch)
        view = loop.state.view
        follow = view.follow_of("m")
        names.append(follow.regime.name)
        view._follows["m"] = msgspec.structs.replace(follow, alerts=(0.9, 0.0))
    assert names == ["stable", "drifting"]


def ticks_of(source: Source, drifting: list[bool]) -> tuple[Source, Told | None]:
    told = None
    for each in drifting:
        source, told = source.see(5, [], [0.9 if each else 0.1, *[0.0] * 4])
    return source, told


def test_ticks_without_a_shift_come_to_the_same_at_once_and_one_by_one() -> None:
    """After any past: new, while a cooldown lasts, after many changes, with streams that shifted lately."""
    draw, names = random.Random(1), Counter[str]()
    for _ in range(200):
        source = Source()
        for _ in range(draw.choice([0, 60, 150])):
            shifted = [(draw.randrange(5), draw.choice([1.2, 2.5]), 16)] if draw.random() < 0.03 else []
            source, _ = source.see(5, shifted, [draw.random() * 0.6] * 5)
        chance = draw.random()
        drifting = [draw.random() < chance for _ in range(draw.choice([1, 2, 40, 400]))]
        found, told = source.go_on(drifting)
        assert (found, told) == ticks_of(source, drifting)
        names[told.name] += 1
    assert set(names) == set(bank.NAMES)


def test_a_pace_is_the_same_however_its_totals_are_handed_on() -> None:
    """Some may be no later than what was there: of these it learns nothing."""
    draw = random.Random(2)
    for _ in range(100):
        times = [draw.choice([10.0, 10.0, 0.0, -5.0, 70.0]) for _ in range(40)]
        times = [sum(times[: place + 1]) for place in range(40)]
        totals = [draw.gauss(0, 100) for _ in times]
        one = Pace()
        for time, total in zip(times, totals, strict=True):
            one = paced(one, [time], [total])
        assert paced(Pace(), times, totals) == one
        assert paced(Pace(), times, totals, last=True).total == 0.0
        assert paced(one, [], []) is one and paced(one, [one.time, one.time - 5], [7.0, 8.0]) is one
