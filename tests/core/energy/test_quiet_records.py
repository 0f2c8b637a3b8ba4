"""Rules of what is kept beside the facts to be quicker: records made from columns, claims that wait, rows that lie side by side."""

import gc
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from core.canonical import event_payload
from core.energy import layout, quiet, rounds, sensing
from core.energy.proving import LAPSE_US, OPEN_MAX, passed
from core.energy.view import View
from core.engine import Decision, Refused
from core.fields import INT_MAX
from tests.core.energy.eil_loop import EilLoop, rows_of, settings, time_of

SOURCES = 6


def telemetry(draw: random.Random, place: int) -> dict[str, float]:
    """Of some the power is known, one never changes, one says nothing but nought, and one falls below it."""
    figures = [round(draw.gauss(500, 5), draw.choice([0, 1, 7])), 20.0, 0.5, -0.0]
    if place % SOURCES == 1:
        figures = [250.0, 20.0, 0.5, 1.0]
    elif place % SOURCES == 2:
        figures[0] = 0.0
    elif place % SOURCES == 3:
        figures[0] = draw.choice([-1e-7, 1e-7, -3e-6])
    names = ("x", "y", "z", "v") if place % SOURCES == 4 else ("power_draw", "temperature", "cpu_usage", "x")
    return dict(zip(names, figures, strict=True))


def rounds_of(loop: EilLoop, seed: int, rounds: int, begin: int = 0) -> list[tuple[sensing.Sense, Decision]]:
    """Many sources of each kind, side by side; now and then one comes late, or with something to say beside it."""
    draw, found = random.Random(seed), []
    at = dict.fromkeys(range(5 * SOURCES), begin)
    for _ in range(rounds):
        coming = []
        for place in at:
            at[place] += draw.choice([10] * 40 + [500, 20_000])
            told: dict[str, Any] = {"source": f"s{place}", "timestamp": time_of(at[place]), "telemetry": telemetry(draw, place)}
            if draw.random() < 0.03:
                told["context"] = {"job": "a", "share": draw.choice([5.0, -0.0])}
            coming.append(msgspec.convert(told, sensing.Sense, strict=True))
        sensing.foresee(loop.state, coming)
        loop.mono_us += 10_000_000
        for command in coming:
            found.append((command, loop.decide("sense", command)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_record_that_was_made_from_columns_is_the_one_of_its_event(seed: int) -> None:
    loop = EilLoop(settings(horizon_s=45.0))
    counts = Counter[str]()
    for command, decision in rounds_of(loop, seed, 60):
        made = decision.made
        counts["made" if made is not None else "context" if command.context else "else"] += 1
        counts["several"] += made is not None and len(decision.events) > 1
        if made is not None:
            assert made.payload == event_payload(decision.events[0]) and (made.name, made.value) == ("", b"")
            assert not command.context
    assert counts["made"] > 900 and counts["several"] > 100 and counts["else"] > 20, counts
    assert loop.replayed() == loop.state


def test_rounds_that_are_over_are_gone_without_the_collector_of_garbage() -> None:
    loop = EilLoop(settings(horizon_s=45.0))
    gc.collect()
    gc.disable()
    try:
        made = sum(decision.made is not None for _, decision in rounds_of(loop, 1, 60))
        sensing.foresee(loop.state, [])
        loop.state.view.dump()
        left = Counter(type(each) for each in gc.get_objects() if isinstance(each, rounds.Round | quiet.Group | sensing.Sense))
    finally:
        gc.enable()
    assert made > 900 and not left, left


def test_figures_that_are_to_be_looked_at_are_left_to_whoever_does() -> None:
    plain = [1.5, 2.0, 0.0, 3.25, 0.5, *[0.25] * 16]
    odd = {0: [-0.0, 2.0**53, float("nan"), float("inf"), 1e-6], 20: [4.0, 0.0, -0.0, 3e-6]}
    lines = [plain]
    for place, values in odd.items():
        lines += [[*plain[:place], value, *plain[place + 1 :]] for value in values]
    with np.errstate(all="ignore"):
        first, *rest = quiet._written(np.array(lines).T)
    assert first == [1.5, 2, 0, 3.25, 0.5] and [type(each) for each in first] == [float, int, int, float, float]
    assert rest == [None] * len(rest)


@pytest.mark.parametrize("seed", range(3))
def test_the_claims_that_wait_are_those_that_were_not_met(seed: int) -> None:
    """However they go: too many, due too long ago, proved, or under another horizon."""
    draw, loop, at = random.Random(seed), EilLoop(settings(horizon_s=300.0)), 0
    counts = Counter[str]()
    for step in range(400):
        at += draw.choice([10] * 140 + [1_000, 50_000, 90_000])
        loop.mono_us += 10_000_000
        if step % 100 == 99:
            loop.settings = settings(horizon_s=draw.choice([15.0, 45.0, 3_000.0]))
        claim = loop.sense(at, power_draw=round(draw.gauss(500, 5), 1)).prediction_id
        own = loop.state.claims.open["m"]
        assert loop.state.claims.source_of == dict.fromkeys(own.ids, "m")
        newest_us = loop.state.sources["m"].newest_us
        assert all(held.claim.due_us + LAPSE_US > newest_us for held in map(own.held, own.ids))
        counts["long ago"] += any(held.claim.due_us + 45_000_000_000 < newest_us for held in map(own.held, own.ids))
        if draw.random() < 0.1:
            told = {"prediction_id": draw.choice([*own.ids, claim]), "actual_state": {"energy": 1.0, "entropy": 1.0}}
            if draw.random() < 0.5:
                told |= {"predicted_state": {"energy": 1.0, "entropy": 1.0}, "timestamp": time_of(at)}
            try:
                counts[loop.get("proof", told).verdict] += 1
            except Refused as refused:
                counts[refused.reason] += 1
        all_held = list(map(own.held, own.ids))
        waiting = [held.claim for held in all_held if held.met is None]
        assert passed(loop.state.claims, "m", 0, INT_MAX) == waiting
        assert {each.prediction_id for each in loop.state.view.said_of("m")} == {each.prediction_id for each in waiting}
        counts["full"] += len(own) == OPEN_MAX
        counts["met"] += len(own) > len(waiting)
    assert counts["full"] and counts["met"] > 100 and counts["invalid"] and counts["not-due"] and counts["long ago"], counts
    assert loop.replayed().claims == loop.state.claims


@pytest.mark.parametrize("low", [0, 7, layout.CHUNK - 3, layout.CHUNK])
def test_rows_side_by_side_are_taken_and_put_as_any_others_are(low: int) -> None:
    store, draw = layout.Store(), np.random.default_rng(low)
    for _ in range(layout.CHUNK + 200):
        store.add()
    for size in (1, 4, layout.FEW, layout.FEW + 1, 150):
        rows = np.arange(low, low + size)
        block = layout.fresh(size)
        block.eights[:], block.fours[:] = draw.random(block.eights.shape), draw.random(block.fours.shape)
        block.banks[:] = draw.random(block.banks.shape)
        store.put(rows, block)
        found = store.take(rows)
        for mine, theirs in ((found.eights, block.eights), (found.fours, block.fours), (found.banks, block.banks)):
            assert mine.tobytes() == theirs.tobytes() and mine.flags.c_contiguous and mine.flags.owndata
        for at, row in enumerate(rows.tolist()):
            chunk, place = store.chunks[row // layout.CHUNK], row % layout.CHUNK
            assert chunk.eights[place].tobytes() == block.eights[:, at].tobytes()
            assert chunk.fours[place].tobytes() == block.fours[:, at].tobytes()
        found.eights[:] = 0
        assert store.take(rows).eights.tobytes() == block.eights.tobytes(), "what was taken is a copy"
    assert not store.view(low + 150).eights.any() and (low == 0 or not store.view(low - 1).eights.any())


def test_a_picture_is_of_its_moment_and_disturbs_nobody() -> None:
    """It is made into bytes while commands go on, so whatever they change is not in it; and nothing leaves its row for it."""
    loop = EilLoop(settings(horizon_s=45.0))
    rounds_of(loop, 1, 30)
    view, then, later = loop.state.view, View(), View()
    ahead = dict(view._ahead)
    picture, at_once = view.picture(), view.dump()
    assert ahead and view._ahead == ahead
    kinds = {type(each) for own in view._said.values() for each in own.values()}
    assert len(kinds) == 2, "some were said in columns and some alone"
    then.load(at_once)
    known = rows_of(SimpleNamespace(view=then))
    assert known == rows_of(loop)
    rounds_of(loop, 2, 30, 10_000_000)
    later.load(picture())
    assert rows_of(SimpleNamespace(view=later)) == known != rows_of(loop)


def test_claims_in_a_file_that_are_none_are_left_with_all_else_in_it() -> None:
    loop, spoilt = EilLoop(settings(horizon_s=45.0)), View()
    rounds_of(loop, 1, 30)
    whole = msgspec.msgpack.decode(loop.state.view.dump())
    assert len(whole) == 4 and any(isinstance(each, bytes) for row in whole[3] for each in row[3].values())
    for row in whole[3]:
        row[3] = {name: each[:-8] if isinstance(each, bytes) else each for name, each in row[3].items()}
    spoilt.load(msgspec.msgpack.encode(whole))
    assert not spoilt._follows and not spoilt._rows
