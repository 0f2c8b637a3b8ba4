"""Views: each record once, in the order of its log, in whatever order the logs come; made anew they equal what they were."""

import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import cache, nav
from core.engine import Stamp
from core.engines import ENGINES
from core.metrics import VIEW
from core.views import Follower, View, Written
from core.world import BadDump, World
from state.seal import Pending
from tests.core.engine_loop import EngineLoop


class Sums(msgspec.Struct):
    """Of each log a sum, and how many commands."""

    sums: dict[str, int]
    commands: dict[str, int]


def add(sums: Sums, payload: bytes, stamp: Stamp) -> None:
    sums.sums[stamp.log] = sums.sums.get(stamp.log, 0) * 3 % 1_000_003 + json.loads(payload)["amount"]


def count(sums: Sums, stamp: Stamp) -> None:
    sums.commands[stamp.log] = sums.commands.get(stamp.log, 0) + 1


def dump(sums: Sums) -> Sums:
    return Sums(dict(sums.sums), dict(sums.commands))


def load(dumped: Sums) -> Sums:
    return dumped


SUM = View("sum", 1, lambda: Sums({}, {}), {"sum.added": add}, dump, load, command=count)


def record(log: str, seq: int, amount: int = 1, kind: str = "sum.added", mono_us: int | None = None, boot: str = "b0") -> Written:
    stamp = Stamp(log, seq, seq, seq if mono_us is None else mono_us, boot, "uid:1")
    return kind, json.dumps({"amount": amount}).encode(), stamp


def test_a_record_is_taken_once_and_others_only_move_the_place_on() -> None:
    follower = Follower(SUM)
    follower.feed("a", [record("a", 0, kind="log.genesis"), record("a", 1, 5), record("a", 2, kind="other.thing")])
    follower.feed("a", [record("a", 1, 5), record("a", 2, kind="other.thing"), record("a", 3, 1)])
    assert follower.state == Sums({"a": 16}, {"a": 3}) and follower.positions == {"a": 4}
    follower.reached("a", 9)
    follower.reached("a", 2)
    follower.feed("a", [record("a", 8, 100)])
    assert follower.state == Sums({"a": 16}, {"a": 3}) and follower.position("a") == 9
    assert follower.position("b") == 0


def test_each_record_of_a_command_comes_with_its_own_place() -> None:
    places: list[int] = []
    view = View("places", 1, lambda: places, {"sum.added": lambda places, _, stamp: places.append(stamp.seq)}, dump, load)
    command = [Pending("sum.added", b"{}", "uid:1", "b0071d00", 1, 1)] * 3
    Follower(view).take_all("a", [(4, command), (7, command[:1])], lambda: None)
    assert places == [4, 5, 6, 7]


def test_records_of_one_moment_of_one_boot_are_one_command() -> None:
    follower = Follower(SUM)
    follower.feed("a", [record("a", 1, mono_us=7), record("a", 2, mono_us=7)])
    follower.feed("a", [record("a", 3, mono_us=7), record("a", 4, mono_us=8), record("a", 5, mono_us=8, boot="b1")])
    assert follower.state.commands == {"a": 3}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=40), st.integers(0, 2**30), st.integers(0, 40))
def test_made_anew_log_by_log_it_equals_what_it_was_though_it_was_saved_on_the_way(
    added: list[tuple[str, int]], seed: int, saved_at: int
) -> None:
    live, logs = Follower(SUM), {log: list[Written]() for log in "abc"}
    for place, (log, amount) in enumerate(added):
        written = record(log, len(logs[log]), amount)
        logs[log].append(written)
        live.feed(log, [written])
        if place == saved_at:
            raw = Follower.encode(live.dump())
            live = Follower(SUM)
            live.load(raw)
    anew, order = Follower(SUM), list(logs)
    random.Random(seed).shuffle(order)
    for log in order:
        anew.feed(log, logs[log])
    assert Follower.encode(anew.dump()) == Follower.encode(live.dump())
    assert anew.state == live.state and anew.positions == live.positions


def test_what_is_dumped_stays_as_it_was_while_the_view_goes_on() -> None:
    for view, kind in ((SUM, "sum.added"), (VIEW, "gate.refused")):
        follower = Follower(view)
        follower.feed("gate_log", [record("gate_log", 1, kind=kind)])
        dumped = follower.dump()
        before = Follower.encode(dumped)
        follower.feed("gate_log", [record("gate_log", 2, kind=kind)])
        assert Follower.encode(dumped) == before != Follower.encode(follower.dump())


@pytest.mark.parametrize(
    "raw", [b"", b"\x80", b"nonsense", Follower.encode(Follower(VIEW).dump())], ids=["none", "empty", "text", "other"]
)
def test_a_file_of_something_else_is_refused_and_leaves_nothing_behind(raw: bytes) -> None:
    follower = Follower(SUM)
    follower.feed("a", [record("a", 1)])
    with pytest.raises(BadDump):
        follower.load(raw)
    assert follower.state == Sums({}, {}) and follower.positions == {}


def test_another_version_or_another_shape_is_another_file() -> None:
    def other(sums: Sums) -> list[int]:
        return []

    assert len({View("sum", 2, *_rest()).shape, SUM.shape, View("sun", 1, *_rest()).shape, VIEW.shape}) == 4
    assert View("sum", 1, SUM.state, SUM.folds, other, load).shape != SUM.shape


def _rest() -> tuple:  # type: ignore[type-arg]
    return SUM.state, SUM.folds, dump, load, count


# --- the view of the gauges ---------------------------------------------------------------------------------------------------


def histories(seed: int) -> dict[str, list[Written]]:
    """What two engines did side by side, over two boots."""
    chance = random.Random(seed)
    gate, store = EngineLoop(nav.ENGINE, seed=seed), EngineLoop(cache.ENGINE, seed=seed)
    tokens: list[str] = []
    for _ in range(60):
        pick = chance.random()
        for loop in (gate, store):
            loop._pass(chance.choice((1, 30_000_000)))
        if pick < 0.2:
            tokens.append(gate.decide("gate.issue_token", {"domain": "info", "subject": "u"}).answer.token)
        elif pick < 0.5 and tokens:
            gate.decide("navigate", {"domain": "info", "subject": "u", "token": chance.choice(tokens)})
        elif pick < 0.9:
            store.decide("set", {"key": chance.choice("abc"), "value": 1})
        elif pick < 0.97:
            store.decide("set_online", {"online": chance.random() < 0.5})
        else:
            gate.restart(5, reboot=True)
            store.restart(5, reboot=True)
    return {"gate_log": gate.records, "cache_log": store.records}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_the_gauges_made_anew_from_the_logs_equal_the_live_ones(seed: int) -> None:
    logs = histories(seed)
    live = Follower(VIEW)
    queues = {log: list(records) for log, records in logs.items()}
    chance = random.Random(seed)
    while any(queues.values()):
        log = chance.choice([log for log, left in queues.items() if left])
        live.feed(log, [queues[log].pop(0)])
        if chance.random() < 0.05:
            raw = Follower.encode(live.dump())
            live = Follower(VIEW)
            live.load(raw)
    for order in (list(logs), list(reversed(logs))):
        anew = Follower(VIEW)
        for log in order:
            anew.feed(log, logs[log])
        assert Follower.encode(anew.dump()) == Follower.encode(live.dump())


def test_the_view_knows_only_event_types_that_there_are() -> None:
    """A type that an engine renamed would be counted no more, and nobody would notice."""
    assert VIEW.folds.keys() <= set(World(ENGINES).event_types)
    assert VIEW.sample_before <= VIEW.folds.keys()
