"""Rules of a replay: what the log says is followed of many sources together, and comes to what each came to when it happened."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core.energy import proving, quiet, rounds, sensing, view
from core.energy.engine import ENGINE, LOG
from core.energy.state import Energy
from core.world import World
from tests.core.energy.eil_loop import KINDS, EilLoop, asked, rows_of, settings, steady, time_of

KNOWN = {"s3": {"max_w": 300.0, "surroundings_k": 295.0}}


def lived(seed: int, sources: int, turns: int) -> EilLoop:
    """Sources that mostly just go on; now and then somebody asks for a claim, proves one, or looks."""
    draw, loop = random.Random(seed), EilLoop(settings(sources=KNOWN, horizon_s=55.0))
    for some in [*steady(draw, sources, turns), *together(draw, sources)]:
        made = [msgspec.convert(params, {"sense": sensing.Sense}.get(verb, sensing.SenseBatch)) for verb, params in some]
        sensing.foresee(loop.state, made, loop.wall_us)
        for (verb, params), command in zip(some, made, strict=True):
            asked(loop, verb, command)
            if draw.random() < 0.05:
                asked(loop, "predict", {"source": params["source"], "horizon_s": draw.choice([7.5, 30.0, 55.0])})
            if draw.random() < 0.05 and loop.state.claims.source_of:
                claim = draw.choice(list(loop.state.claims.source_of))
                asked(loop, "proof", {"prediction_id": claim, "actual_state": {"energy": 1.0, "entropy": 1.0}})
    return loop


def together(draw: random.Random, sources: int) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What comes of all of them in the same way: nothing but one metric; many moments at once, and a claim."""
    named, begin_s = [f"s{place}" for place in range(sources)], 9_000

    def number() -> float:
        return round(50 + draw.gauss(0, 1), 2)

    for turn in range(3):
        time = time_of(begin_s + 10 * turn)
        yield [("sense", {"source": name, "timestamp": time, "telemetry": {"power_draw": number()}}) for name in named]
    for turn in range(3, 30, 9):
        times = [time_of(begin_s + 10 * at) for at in range(turn, turn + 9)]
        values = [[[number() for _ in KINDS[0]] for _ in times] for _ in named[: sources // 2]]
        given = {"metrics": KINDS[0], "times": times, "predict": True}
        yield [("sense_batch", {"source": name, "values": lines, **given}) for name, lines in zip(named, values, strict=False)]


def replayed(loop: EilLoop, monkeypatch: pytest.MonkeyPatch, most: int) -> tuple[Energy, Counter[str]]:
    """The state of a replay in which so many points wait at most; how often points were worked out, and how many in columns."""
    counts: Counter[str] = Counter()
    build, settle = rounds.Round.__init__, quiet.Group.settle

    def built(self: rounds.Round, store: Any, asks: Any) -> None:
        counts["rounds"] += 1
        build(self, store, asks)

    def settled(self: quiet.Group) -> None:
        counts["in columns"] += len(self.taken)
        settle(self)

    with monkeypatch.context() as patched:
        patched.setattr(view, "WAITING_POINTS_MAX", most)
        patched.setattr(rounds.Round, "__init__", built)
        patched.setattr(quiet.Group, "settle", settled)
        state: Energy = loop.replayed()
        rows_of(state)
    return state, counts


@pytest.mark.parametrize("seed", range(2))
def test_however_many_wait_each_comes_to_what_it_came_to(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit: over claims that fall due and are proved, shifts, gaps, sources of which more is known, and claims that were
    asked for.
    """
    loop = lived(seed, 12, 40)
    kinds = Counter(loop.kinds())
    assert min(kinds[f"energy.{kind}"] for kind in ("claims_met", "regime_shifted", "predicted", "proved")) > 0, kinds
    before = rows_of(loop)
    for most in (0, 600, view.WAITING_POINTS_MAX):
        state, counts = replayed(loop, monkeypatch, most)
        assert state == loop.state and rows_of(state) == before
        assert (counts["in columns"] > 200) == (most > 0), counts


def test_records_of_many_sources_cost_a_pass_for_all_and_not_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each of them meets a claim, and has to learn from it before the next."""
    loop = EilLoop(settings(horizon_s=20.0))
    for turn in range(12):
        for place in range(30):
            loop.sense(10 * turn, f"s{place}", power_draw=100.0 + turn % 3 + place)
    assert len(loop.of(proving.ClaimsMet)) > 200
    alone, each = replayed(loop, monkeypatch, 0)
    found, all_ = replayed(loop, monkeypatch, view.WAITING_POINTS_MAX)
    assert rows_of(found) == rows_of(alone) == rows_of(loop)
    assert each["rounds"] == 360 and all_["rounds"] == 12


@pytest.mark.parametrize("sources", [1, 5])
def test_claims_that_had_to_go_are_gone(sources: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = EilLoop(settings(horizon_s=100_000.0))
    for turn in range(proving.OPEN_MAX + 9):
        for place in range(sources):
            loop.sense(10 * turn, f"s{place}", power_draw=100.0 + turn % 3 + place)
    state, counts = replayed(loop, monkeypatch, view.WAITING_POINTS_MAX)
    assert len(state.view.said_of("s0")) == proving.OPEN_MAX and rows_of(state) == rows_of(loop)
    assert (counts["in columns"] > 0) == (sources > 1)


def test_what_the_log_says_a_source_had_come_to_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote it may have added up otherwise: its claims rest on that, and so does what is learned from them."""
    loop = EilLoop(settings(horizon_s=20.0))
    for turn in range(12):
        for place in range(5):
            loop.sense(10 * turn, f"s{place}", power_draw=100.0 + turn % 3 + place)
    for at, (kind, payload, stamp) in enumerate(loop.records):
        said = json.loads(payload)
        if kind == "energy.sensed" and said["source"] == "s2":
            said["totals"]["energy_j"] = 1.5 * said["totals"].get("energy_j", 0)
            loop.records[at] = kind, json.dumps(said).encode(), stamp
    alone, _ = replayed(loop, monkeypatch, 0)
    found, counts = replayed(loop, monkeypatch, view.WAITING_POINTS_MAX)
    assert rows_of(found) == rows_of(alone) != rows_of(loop) and counts["in columns"]


def test_who_asks_for_facts_only_has_the_same_facts_and_nothing_beside_them() -> None:
    loop = lived(1, 6, 20)
    world = World([ENGINE], facts_only=True)
    world.replay_all(loop.records)
    assert world.states["eil"] == loop.state and world.dump(LOG) == loop.world.dump(LOG)
    assert world.kept(LOG) == {"eil": b""} != loop.world.kept(LOG)
    world.load(LOG, loop.world.dump(LOG))
    world.take_up(LOG, loop.world.kept(LOG))
    world.replay_all(loop.records[-1:])
    assert world.kept(LOG) == {"eil": b""}, "also after a snapshot"


def test_what_waits_is_followed_when_somebody_asks_and_before_that_it_is_known_of() -> None:
    loop = EilLoop()
    for turn in range(3):
        for place in range(4):
            loop.sense(10 * turn, f"s{place}", power_draw=100.0 + turn)
    state: Energy = loop.replayed()
    assert state.view.knows("s1") and not state.view.knows("s9") and state.view._store is None
    assert repr(state.view.follow_of("s1")) == repr(loop.state.view.follow_of("s1"))
    state = loop.replayed()
    state.view.forget("s2")
    assert not state.view.knows("s2") and state.view.row("s2", 0) is None and len(state.view.said_of("s1")) == 3
    assert loop.replayed().view.alarms() == loop.state.view.alarms() != (0, 0)


@pytest.mark.parametrize("sources", [1, 40])
def test_little_waits_for_whoever_asks_first(sources: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one source are followed one by one, and whoever asks waits for all of them."""
    loop = EilLoop()
    for turn in range(800 // sources):
        for place in range(sources):
            loop.sense(10 * turn, f"s{place}", power_draw=100.0 + turn % 3 + place)
    asks: list[int] = []
    build = rounds.Round.__init__

    def built(self: rounds.Round, store: Any, given: Any) -> None:
        asks.append(len(given))
        build(self, store, given)

    state: Energy = loop.replayed()
    with monkeypatch.context() as patched:
        patched.setattr(rounds.Round, "__init__", built)
        state.view.follow_of("s0")
    assert 0 < len(asks) < view.WAITING_MAX and sum(asks) <= view.WAITING_POINTS_MAX / view.WAITING_LEAST
    assert rows_of(state) == rows_of(loop)
