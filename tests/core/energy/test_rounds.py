"""Rules of rounds: points that are advanced together come to what they would have come to alone, whatever was announced."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from core.energy import claims, quiet, sensing
from core.energy.facts import RegimeShifted
from core.engine import Actor
from core.times import time_text
from tests.core.energy.eil_loop import BEGIN_US, ODD, EilLoop, asked, machine, rows_of, settings, steady, time_of
from tests.core.engine_loop import ANN

SOURCES = {"b": {"idle_w": 100.0, "max_w": 300.0, "surroundings_k": 295.0}}
STRANGER = Actor("uid:1002", "operator", 1002)
ROOT = Actor("uid:0", "admin", 0)


def commands(draw: random.Random, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Senses and batches of a few sources: repeated times, older ones, values that cannot be, metrics that come and go."""
    at = dict.fromkeys("abcd", 0)
    made: list[tuple[str, dict[str, Any]]] = []
    for _ in range(count):
        source = draw.choice("abcd")
        metrics = draw.sample(["power_draw", "cpu_usage", "temperature", "x"], draw.choice([1, 2, 4, 4, 4]))

        def number() -> float:
            return draw.choice(ODD) if draw.random() < 0.1 else round(draw.gauss(1, 0.1), 2)

        at[source] += draw.choice([10, 10, 10, 10, 0, -10, 300])
        if draw.random() < 0.8:
            telemetry = {metric: number() for metric in metrics}
            made.append(("sense", {"source": source, "timestamp": time_of(max(at[source], 0)), "telemetry": telemetry}))
            continue
        times = [BEGIN_US + 1_000_000 * (at[source] + 10 * (place + 100)) for place in range(draw.choice([1, 5, 30]))]
        at[source] += 10 * (len(times) + 99)
        lines = [[number() if draw.random() < 0.99 else draw.choice([None, 1]) for _ in metrics] for _ in times]
        made.append(("sense_batch", {"source": source, "metrics": metrics, "times": times, "values": lines, "predict": True}))
    return made


def announce(loop: EilLoop, some: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    kinds = {"sense": sensing.Sense, "sense_batch": sensing.SenseBatch}
    made = [msgspec.convert(params, kinds[verb], strict=True) for verb, params in some]
    sensing.foresee(loop.state, made)
    return made


@pytest.mark.parametrize("seed", range(4))
def test_what_was_announced_together_comes_to_the_same_as_one_by_one(seed: int) -> None:
    draw = random.Random(seed)
    given_ = commands(draw, 50)
    alone, together = EilLoop(settings(sources=SOURCES)), EilLoop(settings(sources=SOURCES))
    told = [asked(alone, verb, params) for verb, params in given_]
    at = 0
    while at < len(given_):
        ahead = given_[at : at + draw.choice([1, 4, 9, 30])]
        said = list(ahead)
        if draw.random() < 0.3:  # what is announced is not always what comes
            draw.shuffle(said)
            said = [*said[draw.randrange(len(said)) :], *commands(draw, 3)]
        made = announce(together, said)
        very = {id(params): command for (_, params), command in zip(said, made, strict=True)} if draw.random() < 0.5 else {}
        for verb, params in ahead:  # the very commands that were announced, or their like
            assert asked(together, verb, very.get(id(params), params)) == told[at]
            at += 1
            if draw.random() < 0.02:
                assert rows_of(together)  # whoever looks sees all that was taken over
    assert [(kind, payload) for kind, payload, _ in together.records] == [(kind, payload) for kind, payload, _ in alone.records]
    assert rows_of(together) == rows_of(alone)
    assert together.replayed() == together.state and rows_of(together.replayed()) == rows_of(together)


@pytest.mark.parametrize("odd", [20.5, 20, None, -400.0, 1e31, 1e18, 10**400])
def test_a_batch_that_was_announced_is_looked_at_no_less(odd: float | None) -> None:
    """Whole or not: what is no number, or none that its unit can have, is refused by itself and by its name."""
    lines = [[20.0, 1.0], [odd, 2.0], [21.0, 3.0]]
    given_ = {"source": "m", "metrics": ["temperature", "x"], "values": lines}
    batches = [
        ("sense_batch", {**given_, "times": [BEGIN_US + 1_000_000 * (at + 3 * turn) for at in range(3)]}) for turn in range(2)
    ]
    loops = EilLoop(), EilLoop()
    for verb, params in batches:
        told = asked(loops[0], verb, params)
        [command] = announce(loops[1], [(verb, params)])
        assert asked(loops[1], verb, command) == told
    assert loops[0].events == loops[1].events and loops[1].replayed() == loops[1].state
    assert bool(loops[1].of(sensing.Sensed)[-1].refused) == (odd not in (20, 20.5, None))


def test_senses_of_many_sources_that_came_together_cost_one_pass() -> None:
    loop = EilLoop()
    for place in range(20):
        loop.sense(0, f"s{place}", power_draw=100.0)
    senses = [
        ("sense", {"source": f"s{place}", "timestamp": time_of(10), "telemetry": {"power_draw": 101.0}}) for place in range(20)
    ]
    announce(loop, senses)
    view = loop.state.view
    for verb, params in senses:
        loop.get(verb, params)
        assert len(view._rounds) == 1, "each finds itself in the round that the first one led to"
    assert not view._foreseen and not view._expected
    assert {view.follow_of(name).ticks for name in loop.state.sources} == {2}


def test_nobody_works_for_what_another_announced() -> None:
    """It may be refused for want of a role, or never come; and a batch of many moments takes long."""
    loop = EilLoop()
    for name in ("a", "b", "c"):
        loop.sense(0, name, x=1.0)
    senses = [("sense", {"source": name, "timestamp": time_of(10), "telemetry": {"x": 2.0}}) for name in "ab"]
    announce(loop, senses)
    loop.sense(10, "c", x=2.0)
    loop.sense(10, "a", x=3.0)
    assert not loop.state.view._foreseen, "neither a source of which nothing was said, nor points that were not said"
    announce(loop, senses)
    assert asked(loop, *senses[1]).accepted == 1
    assert set(loop.state.view._foreseen) == {"a"}


def test_a_source_that_was_given_up_is_not_what_was_foreseen_of_it() -> None:
    """It comes back and even gets its old row, which has been others' meanwhile."""
    loop = EilLoop(settings(streams_max=2))
    for name in ("a", "b"):
        loop.sense(0, name, x=1.0)
    last = {"source": "a", "timestamp": time_of(30), "telemetry": {"x": 2.0}}
    announce(loop, [("sense", {**last, "source": "b", "timestamp": time_of(10)}), ("sense", last)])
    loop.sense(10, "b", x=2.0)
    for evicted, newcomer in (("a", "c"), ("b", "d"), ("c", "e"), ("d", "f"), ("e", "a")):
        loop.wall_us += 2 * sensing.IDLE_US
        assert loop.get("sense", {**last, "source": newcomer}).accepted == 1
        assert loop.of(sensing.Sensed)[-1].evicted == evicted
        rows_of(loop)
    assert loop.state.view._rows["a"] == {0: 0}
    fresh = EilLoop()
    fresh.sense(30, "a", x=2.0)
    assert rows_of(loop)["a", 0] == rows_of(fresh)["a", 0]


def test_what_was_only_tried_leaves_the_order_of_shifts_as_it_was() -> None:
    """Rows that were given back come again the other way round; the log and a restart know nothing of that."""
    alone, tried = EilLoop(), EilLoop()
    row = tried.world.rows["eil.sense"]
    first = {"source": "m", "timestamp": time_of(0), "telemetry": {"x": 1.0, "y": 2.0}}
    tried.world.decide(row, msgspec.convert(first, row.params), tried.context())
    for loop in (alone, tried):
        draw = random.Random(3)
        for at in range(170):
            off = draw.gauss(0, 1) + (40 if at > 155 else 0)
            loop.sense(10 * at, "m", x=1 + off, y=2 + off)
    assert [len(shift.streams) for shift in tried.of(RegimeShifted)] == [2]
    assert tried.of(RegimeShifted) == alone.of(RegimeShifted)
    assert rows_of(tried) == rows_of(tried.replayed())


def told_together(loop: EilLoop, senses: list[dict[str, Any]], now_us: int) -> list[sensing.Sense]:
    """Announced as irerd does it: the very commands that are decided afterwards."""
    some = [msgspec.convert(params, sensing.Sense, strict=True) for params in senses]
    sensing.foresee(loop.state, some, now_us)
    return some


def test_senses_without_a_time_are_of_the_moment_at_which_they_came_together() -> None:
    """So they are worked out in one pass; the second of a source is of its own moment, or it would contradict the first."""
    loop, view = EilLoop(), None
    for name in "abc":
        loop.sense(0, name, x=1.0)
    came_us = loop.wall_us = loop.wall_us + 1_000_000
    some = told_together(loop, [{"source": name, "telemetry": {"x": 2.0}} for name in "abca"], came_us)
    assert len(loop.state.view._announced) == 3, "nobody works for what the second of a source will not be"
    newest = []
    for command in some:
        loop.wall_us += 700
        loop.ask("sense", command)
        newest.append(loop.of(sensing.Sensed)[-1].newest_us)
        view = loop.state.view
    assert newest == [came_us, came_us, came_us, came_us + 4 * 700]
    assert view is not None and len(view._rounds) == 1, "the last one begins a round of its own"
    assert loop.of(sensing.Sensed)[-1].refused == []
    assert loop.replayed() == loop.state and rows_of(loop.replayed()) == rows_of(loop)


def test_a_moment_that_others_have_passed_meanwhile_is_not_that_of_a_sense_without_a_time() -> None:
    loop = EilLoop()
    loop.sense(-10, "a", x=1.0)
    [command] = told_together(loop, [{"source": "a", "telemetry": {"x": 2.0}}], loop.wall_us)
    loop.wall_us += 500
    loop.get("sense", {"source": "a", "telemetry": {"x": 3.0}})
    loop.wall_us += 500
    loop.ask("sense", command)
    assert loop.of(sensing.Sensed)[-1].newest_us == loop.wall_us
    [late] = told_together(loop, [{"source": "a", "telemetry": {"x": 2.0}}], loop.wall_us + 10_000_000)
    loop.wall_us += 500
    loop.ask("sense", late)
    assert loop.of(sensing.Sensed)[-1].newest_us == loop.wall_us, "a clock that was set back meanwhile makes no point of the future"


def test_what_was_announced_of_a_source_says_nothing_of_another_by_its_name() -> None:
    """Its metrics stand in another order now: each number still goes to the stream it was sent for."""
    loop = EilLoop(settings(streams_max=2))
    loop.sense(0, "a", x=1.0, y=2.0)
    for name, telemetry in (("b", {"z": 1.0, "q": 2.0}), ("a", {"y": 2.0, "x": 1.0})):
        if name == "b":
            [command] = told_together(
                loop, [{"source": "a", "timestamp": time_of(30), "telemetry": {"x": 5.0, "y": 6.0}}], loop.wall_us
            )
        loop.wall_us += 2 * sensing.IDLE_US
        loop.sense(10, name, **telemetry)
    loop.ask("sense", command)
    [*_, event] = loop.of(sensing.Sensed)
    assert event.points.streams == [1, 0] and loop.state.sources["a"].streams == [("y", "1"), ("x", "1")]


def test_a_horizon_that_changes_between_two_of_what_came_together_is_that_of_the_second() -> None:
    """Its claim, with its intervals, is what it would have been alone."""
    alone, together = EilLoop(settings(horizon_s=55.0)), EilLoop(settings(horizon_s=55.0))
    for turn in range(8):
        senses = [
            {"source": f"s{place}", "timestamp": time_of(10 * turn), "telemetry": {"x": float(turn + place)}} for place in range(8)
        ]
        some = told_together(together, senses, together.wall_us)
        for place, command in enumerate(some):
            if turn == 7 and place == 3:
                alone.settings = together.settings = settings(horizon_s=300.0)
            assert asked(together, "sense", command) == asked(alone, "sense", senses[place])
    assert together.records == alone.records


def beside(loop: EilLoop, after_s: float, **telemetry: float) -> None:
    """Somebody else's word about a source of which more is announced."""
    loop.get("sense", {"source": "s5", "timestamp": time_text(loop.wall_us + round(after_s * 1e6)), "telemetry": telemetry})


HAPPENS: dict[str, Callable[[EilLoop], object]] = {
    "nothing": lambda loop: None,
    "a later point": lambda loop: beside(loop, 1.0, x=5.0),
    "the very point": lambda loop: beside(loop, 0.0, x=7.0),
    "another one of that moment": lambda loop: beside(loop, 0.0, x=8.0),
    "one more metric": lambda loop: beside(loop, -1.0, y=8.0),
    "a claim about what is later": lambda loop: loop.get("predict", {"source": "s5", "horizon_s": 900.0}),
    "a claim about that very moment": lambda loop: loop.get("predict", {"source": "s5", "horizon_s": 310.0}),
    "silence": lambda loop: loop.run(200),
    "a clock that is set back": lambda loop: setattr(loop, "wall_us", loop.wall_us - 400 * 86_400_000_000),
    "a clock that is set back a little": lambda loop: setattr(loop, "wall_us", loop.wall_us - 5_000_000),
}


@pytest.mark.parametrize(("what", "caller"), [*((what, ANN) for what in HAPPENS), ("nothing", STRANGER), ("nothing", ROOT)])
def test_what_happens_between_two_of_what_came_together_counts_for_the_second(what: str, caller: Actor) -> None:
    """Of eight sources that just go on, the first two are decided; then something happens; then the others come."""
    alone, together = EilLoop(), EilLoop()
    told: list[list[Any]] = []
    for loop in (alone, together):
        answers: list[Any] = []
        told.append(answers)
        for turn in range(10):
            loop.run(10)
            at = {} if what == "a clock that is set back a little" else {"timestamp": time_text(loop.wall_us)}
            senses = [{"source": f"s{place}", "telemetry": {"x": float(turn % 3 + place)}, **at} for place in range(8)]
            senses[5]["telemetry"] = {"x": 7.0} if turn == 9 else senses[5]["telemetry"]
            coming: list[Any] = told_together(loop, senses, loop.wall_us) if loop is together else senses
            for place, each in enumerate(coming):
                if (turn, place) == (9, 2):
                    HAPPENS[what](loop)
                answers.append(asked(loop, "sense", each, caller if (turn, place) == (9, 5) else ANN))
    assert told[1] == told[0] and together.records == alone.records and rows_of(together) == rows_of(alone)
    assert isinstance(told[0][-3], tuple) == (
        caller is STRANGER or what in ("a later point", "another one of that moment", "a clock that is set back")
    ), "it is refused where it must be"


def test_machines_whose_heat_is_understood_stay_so_where_their_points_come_together() -> None:
    *past, last = machine(200)
    times = [BEGIN_US + 10_000_000 * place for place in range(len(past))]
    lines = [list(line.values()) for line in past]
    alone, together = EilLoop(), EilLoop()
    for name in "abcdef":
        for loop in (alone, together):
            loop.get("sense_batch", {"source": name, "metrics": list(last), "times": times, "values": lines})
    senses = [{"source": name, "timestamp": time_of(10 * len(past)), "telemetry": last} for name in "abcdef"]
    told = [asked(together, "sense", each) for each in told_together(together, senses, together.wall_us)]
    assert told == [asked(alone, "sense", each) for each in senses] and rows_of(together) == rows_of(alone)
    assert {each.energy_state.entropy_kind for each in told} == {"physical"}


def test_the_pace_of_a_total_is_the_same_point_by_point_and_in_one_batch() -> None:
    one_by_one, at_once = EilLoop(settings(sources=SOURCES)), EilLoop(settings(sources=SOURCES))
    draw = random.Random(4)
    shares = [[draw.random()] for _ in range(12)]
    for place, [share] in enumerate(shares):
        one_by_one.sense(10 * place, "b", cpu_usage=share)
    times = [BEGIN_US + 10_000_000 * place for place in range(12)]
    at_once.get("sense_batch", {"source": "b", "metrics": ["cpu_usage"], "times": times, "values": shares})
    paces = [loop.state.view.follow_of("b").paces[0] for loop in (one_by_one, at_once)]
    told = [(pace.last, pace.smooth, pace.off, pace.mean, pace.steps) for pace in paces]
    assert told[0] == pytest.approx(told[1], rel=1e-9) and told[0][-1] == 11


def test_a_power_is_followed_alike_alone_and_beside_others() -> None:
    """To the last bit: which way is taken depends on who came together."""
    draw = np.random.default_rng(5)
    lags, weights = draw.normal(size=(2, 4, 300)) * np.array([[[100.0]], [[0.45]]])
    low, high = lags.min(axis=0) - draw.random(300), lags.max(axis=0)
    mean, steps = lags.mean(axis=0), np.repeat([1.0, 2.0, 31.0, 32.0, 33.0, 1e6], 50)
    alone = [
        claims.path_rate(tuple(lags[:, at].tolist()), *each, int(steps[at]))
        for at, each in enumerate(zip(mean.tolist(), map(tuple, weights.T.tolist()), low.tolist(), high.tolist(), strict=True))
    ]
    assert quiet.paths(lags, mean, weights, low, high, steps).tolist() == alone


@pytest.mark.parametrize("seed", range(1))
def test_sources_that_just_go_on_side_by_side_come_to_what_each_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit of each record and of all that is kept, over claims that fall due, shifts, gaps; and mostly in columns."""
    known = settings(sources={"s3": {"max_w": 300.0, "surroundings_k": 295.0}}, horizon_s=55.0)
    alone, together = EilLoop(known), EilLoop(known)
    decide_quiet, in_columns = sensing._decide_quiet, []

    def seen(decided: Any) -> Any:
        in_columns.append(decided is not None)
        return decided

    monkeypatch.setattr(sensing, "_decide_quiet", lambda *given: seen(decide_quiet(*given)))
    for turn, some in enumerate(steady(random.Random(seed), 16, 45)):
        told = [asked(alone, verb, params) for verb, params in some]
        commands_ = [msgspec.convert(params, {"sense": sensing.Sense}.get(verb, sensing.SenseBatch)) for verb, params in some]
        sensing.foresee(together.state, commands_, together.wall_us)
        assert [asked(together, verb, each) for (verb, _), each in zip(some, commands_, strict=True)] == told
        if turn == 30:  # looked at, and taken up from a file, half way
            assert rows_of(together) == rows_of(alone)
            together.state.view.load(together.state.view.dump())
    assert [(kind, payload) for kind, payload, _ in together.records] == [(kind, payload) for kind, payload, _ in alone.records]
    assert rows_of(together) == rows_of(alone) and together.replayed() == together.state
    kinds = Counter(together.kinds())
    assert sum(in_columns) > 250 and kinds["energy.claims_met"] > 250 and kinds["energy.regime_shifted"]
