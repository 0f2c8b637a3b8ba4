"""Rules of rounds: points that are advanced together come to what they would have come to alone, whatever was announced."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core.energy import sensing
from core.energy.facts import RegimeShifted
from core.engine import Refused
from tests.core.energy.eil_loop import BEGIN_US, EilLoop, rows_of, settings, time_of

SOURCES = {"b": {"idle_w": 100.0, "max_w": 300.0, "surroundings_k": 295.0}}
VALUES = (1.0, 1.5, 90.0, -400.0, 1e18)


def commands(draw: random.Random, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Senses and batches of a few sources: repeated times, older ones, values that cannot be, metrics that come and go."""
    at = dict.fromkeys("abcd", 0)
    made: list[tuple[str, dict[str, Any]]] = []
    for _ in range(count):
        source = draw.choice("abcd")
        metrics = draw.sample(["power_draw", "cpu_usage", "temperature", "x"], draw.choice([1, 2, 4, 4, 4]))

        def number() -> float:
            return draw.choice(VALUES) if draw.random() < 0.1 else round(draw.gauss(1, 0.1), 2)

        at[source] += draw.choice([10, 10, 10, 10, 0, -10, 300])
        if draw.random() < 0.8:
            telemetry = {metric: number() for metric in metrics}
            made.append(("sense", {"source": source, "timestamp": time_of(max(at[source], 0)), "telemetry": telemetry}))
            continue
        times = [BEGIN_US + 1_000_000 * (at[source] + 10 * (place + 100)) for place in range(draw.choice([1, 5, 30]))]
        at[source] += 10 * (len(times) + 99)
        lines = [[number() for _ in metrics] for _ in times]
        made.append(("sense_batch", {"source": source, "metrics": metrics, "times": times, "values": lines, "predict": True}))
    return made


def asked(loop: EilLoop, verb: str, params: dict[str, Any]) -> Any:
    loop.mono_us += 1_000
    try:
        return loop.get(verb, params)
    except Refused as refused:
        return refused.code, refused.reason, str(refused), refused.data


def announce(loop: EilLoop, some: list[tuple[str, dict[str, Any]]]) -> None:
    kinds = {"sense": sensing.Sense, "sense_batch": sensing.SenseBatch}
    sensing.foresee(loop.state, [msgspec.convert(params, kinds[verb], strict=True) for verb, params in some])


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
        announce(together, said)
        for verb, params in ahead:
            assert asked(together, verb, params) == told[at]
            at += 1
            if draw.random() < 0.02:
                assert rows_of(together)  # whoever looks sees all that was taken over
    assert [(kind, payload) for kind, payload, _ in together.records] == [(kind, payload) for kind, payload, _ in alone.records]
    assert rows_of(together) == rows_of(alone)
    assert together.replayed() == together.state and rows_of(together.replayed()) == rows_of(together)


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
    assert {follow.ticks for _, follow in view.follows()} == {2}


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


KINDS = (
    ["power_draw", "temperature", "cpu_usage", "network_throughput"],
    ["x", "y"],
    ["power_draw", "ambient", "temperature"],
)


def steady(draw: random.Random, sources: int, rounds: int) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Sources of three kinds that mostly just go on, each at its own pace, after a past long enough for shifts to be seen. What is
    odd comes by chance: a metric that is away, a gap, a step, a number that cannot be, a time that was told, a second sense.
    """
    kinds = [KINDS[0 if place < sources // 2 else 1 + (place % 7 == 0)] for place in range(sources)]
    at, levels = [1_400.0] * sources, [draw.uniform(1, 100) for _ in range(sources)]

    def number(place: int, metric: str) -> float:
        if metric == "cpu_usage":
            return draw.choice([0.1, 0.2, 0.30000000000000004])
        return round(levels[place] * (1 + 0.02 * draw.gauss(0, 1)), 2)

    past = [BEGIN_US + 10_000_000 * tick for tick in range(140)]
    for place, metrics in enumerate(kinds):
        lines = [[number(place, metric) for metric in metrics] for _ in past]
        yield [("sense_batch", {"source": f"s{place}", "metrics": metrics, "times": past, "values": lines})]
    for turn in range(rounds):
        some = []
        for place in draw.sample(range(sources), sources - draw.choice([0, 0, 3])):
            for _ in range(1 + (draw.random() < 0.02)):
                at[place] += draw.choice([10.0] * 40 + [9.5, 12.0, 45.0, 0.0])
                levels[place] *= 1.5 if turn == rounds // 2 and place % 5 == 0 else 1
                telemetry = {metric: number(place, metric) for metric in kinds[place]}
                if draw.random() < 0.02:
                    telemetry[draw.choice(kinds[place])] = draw.choice(VALUES)
                if draw.random() < 0.02:
                    del telemetry[draw.choice(kinds[place])]
                some.append(("sense", {"source": f"s{place}", "timestamp": time_of(at[place]), "telemetry": telemetry}))
        yield some


@pytest.mark.parametrize("seed", range(1))
def test_sources_that_just_go_on_side_by_side_come_to_what_each_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit of each record and of all that is kept, over claims that fall due, shifts, gaps; and mostly in columns."""
    known = settings(sources={"s3": {"max_w": 300.0, "surroundings_k": 295.0}}, horizon_s=55.0)
    alone, together = EilLoop(known), EilLoop(known)
    quiet, in_columns = sensing._decide_quiet, []

    def seen(decided: Any) -> Any:
        in_columns.append(decided is not None)
        return decided

    monkeypatch.setattr(sensing, "_decide_quiet", lambda *given: seen(quiet(*given)))
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
