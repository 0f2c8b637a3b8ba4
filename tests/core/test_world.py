"""The world: what it refuses to load, and that live and replayed states are the same state."""

from typing import Any

import msgspec
import pytest

from core.canonical import event_payload
from core.engine import Engine, Event, Stamp, internal
from core.world import BadDump, UnknownEvent, World, differences
from tests.core.sample_engine import Add, Added, Sum, apply_added, decide_add, summing


def stamp(seq: int, log: str = "sum_log") -> Stamp:
    return Stamp(log, seq, 1, 1, "b0071d00", "uid:1")


def test_an_event_type_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(UnknownEvent, match=r"sum_log record 7 is a 'sum.subtracted'.*Install the version that wrote it"):
        World([summing()]).replay("sum.subtracted", b"{}", stamp(7))


def test_an_unknown_field_of_a_known_event_is_refused_too() -> None:
    with pytest.raises(UnknownEvent, match=r"record 3 .*sum\.added.*fields"):
        World([summing()]).replay("sum.added", b'{"amount":1,"twice":true}', stamp(3))


def test_a_record_in_the_wrong_log_is_refused() -> None:
    with pytest.raises(UnknownEvent):
        World([summing()]).replay("sum.added", b'{"amount":1}', stamp(0, "other_log"))


def test_records_of_the_log_layer_reach_no_engine() -> None:
    world = World([summing()])
    world.replay("log.genesis", b'{"anything":1}', stamp(0))
    assert world.states["sum"].total == 0


@pytest.mark.parametrize(
    ("event_type", "payload", "log"),
    [
        ("sum.subtracted", b"{}", "sum_log"),
        ("sum.added", b'{"amount":2,"new":1}', "sum_log"),
        ("sum.added", b'{"amount":2}', "other_log"),
    ],
)
def test_many_are_replayed_and_refused_as_one_is(event_type: str, payload: bytes, log: str) -> None:
    """What came before the refused one is applied, what belongs to the log layer is passed over, nothing after it is looked at."""
    many, one = World([summing()]), World([summing()])
    added = ("sum.added", b'{"amount":5}', stamp(1))
    with pytest.raises(UnknownEvent) as alone:
        one.replay(event_type, payload, stamp(3, log))
    one.replay(*added)
    with pytest.raises(UnknownEvent) as among:
        many.replay_all([added, ("log.head", b"{}", stamp(2)), (event_type, payload, stamp(3, log)), added])
    assert str(among.value) == str(alone.value)
    assert many.states == one.states and many.states != World([summing()]).states


@pytest.mark.parametrize(("event_type", "payload"), [("sum.subtracted", b"{}"), ("sum.added", b'{"amount":2,"new":1}')])
def test_columns_are_replayed_and_refused_as_one_is(event_type: str, payload: bytes) -> None:
    """Runs of one type are read together, and the one that is refused in such a run stops what follows it, not what came before."""
    types = ["sum.added", "sum.added", "log.head", "sum.added", event_type, "sum.added"]
    payloads = [b'{"amount":5}', b'{"amount":7}', b"{}", b'{"amount":9}', payload, b'{"amount":100}']
    columns, one = World([summing()]), World([summing()])
    with pytest.raises(UnknownEvent) as among:
        columns.replay_columns("sum_log", types, payloads, map(stamp, range(len(types))))
    with pytest.raises(UnknownEvent) as alone:
        for place, each in enumerate(zip(types, payloads, strict=True)):
            one.replay(*each, stamp(place))
    assert str(among.value) == str(alone.value)
    assert columns.states["sum"].total == one.states["sum"].total == 21
    with pytest.raises(UnknownEvent):
        columns.replay_columns("other_log", ["sum.added"], [b'{"amount":5}'], iter([stamp(0, "other_log")]))
    assert columns.states["sum"].total == 21


def test_a_command_that_leads_to_more_than_one_batch_is_a_bug_and_nothing_changes() -> None:
    world = World([summing()])
    context: Any = None
    with pytest.raises(ValueError, match="257 events"):
        world.decide(world.rows["sum.add"], Add(1, ones=256), context)
    assert len(world.decide(world.rows["sum.add"], Add(1, ones=255), context).events) == 256
    assert world.states["sum"].total == 0


@pytest.mark.parametrize("second", [summing("twin", "sum_log"), summing("twin", "twin_log")])
def test_two_engines_may_not_apply_the_same_event_type(second: Engine) -> None:
    with pytest.raises(ValueError, match=r"sum\.added"):
        World([summing(), second])


def test_one_event_type_has_one_apply_function_within_an_engine() -> None:
    def other(state: Sum, event: Added, stamp: Stamp) -> None:
        """Another."""

    with pytest.raises(ValueError, match="two functions"):
        Engine(
            "sum",
            log="sum_log",
            state=Sum,
            rows=[internal("a", Add, decide_add, apply={Added: apply_added}), internal("b", Add, decide_add, apply={Added: other})],
        )


class Noted(Event, type="sum.noted"):
    """Something was noted.

    value: of any kind
    """

    value: dict[str, Any]


def test_a_value_of_any_kind_is_replayed_as_the_very_value_it_was() -> None:
    seen: list[Any] = []
    world = World(
        [
            Engine(
                "sum",
                log="sum_log",
                state=Sum,
                rows=[internal("note", Add, decide_add, apply={Noted: lambda state, event, stamp: seen.append(event.value)})],
            )
        ]
    )
    value = {"huge": 2.0**60, "list": [1, {"deep": -(2.0**53)}], "text": "5", "tiny": 1e-7}
    world.replay("sum.noted", event_payload(Noted(value)), stamp(0))
    assert repr(seen) == repr([value])


class SumDump(msgspec.Struct, frozen=True):
    total: int


def dump_sum(state: Sum) -> SumDump:
    return SumDump(state.total)


def load_sum(dumped: SumDump) -> Sum:
    made = Sum()
    made.total = dumped.total
    return made


def load_small(dumped: SumDump) -> Sum:
    if dumped.total > 9:
        raise ValueError("too large")
    return load_sum(dumped)


def bare(name: str, **more: Any) -> Engine:
    return Engine(name, log="sum_log", state=Sum, rows=[], **more)


def pair(load: Any = load_sum) -> World:
    return World([bare("one", dump=dump_sum, load=load_sum), bare("two", dump=dump_sum, load=load)])


def test_a_log_is_dumped_and_loaded_with_all_its_engines() -> None:
    world, again = pair(), pair()
    world.states["one"].total, world.states["two"].total = 1, 2
    again.load("sum_log", world.dump("sum_log"))
    assert (again.states["one"].total, again.states["two"].total) == (1, 2)
    turned = World(list(reversed(list(world.engines.values()))))
    turned.load("sum_log", world.dump("sum_log"))
    assert turned.dump("sum_log") == world.dump("sum_log") and turned.schema("sum_log") == world.schema("sum_log")


ONE = msgspec.msgpack.encode({"one": {"total": 1}, "two": {"total": 2}})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        ONE[:-1],
        ONE + b"\xc0",
        msgspec.msgpack.encode({"one": {"total": 1}}),
        msgspec.msgpack.encode({"one": {"total": 1}, "two": {"total": 2}, "three": {"total": 3}}),
        msgspec.msgpack.encode({"one": {"total": 1}, "two": {"total": "2"}}),
        msgspec.msgpack.encode({"one": {"total": 1}, "two": {"total": 10}}),
        msgspec.msgpack.encode([1]),
    ],
)
def test_a_dump_is_loaded_whole_or_not_at_all(raw: bytes) -> None:
    world = pair(load_small)
    world.load("sum_log", ONE)
    before = dict(world.states)
    with pytest.raises(BadDump):
        world.load("sum_log", raw)
    assert all(world.states[name] is before[name] for name in before)
    assert world.dump("sum_log") == ONE


def test_a_log_with_an_engine_that_cannot_be_dumped_has_no_schema() -> None:
    world = World([bare("one", dump=dump_sum, load=load_sum), bare("two")])
    assert world.schema("sum_log") == ""
    with pytest.raises(ValueError, match="two cannot be dumped"):
        world.dump("sum_log")
    with pytest.raises(BadDump, match="two cannot be loaded"):
        world.load("sum_log", ONE)


def test_the_schema_tells_versions_and_engines_apart() -> None:
    def schema(*engines: Engine) -> str:
        return World(list(engines)).schema("sum_log")

    one = bare("one", dump=dump_sum, load=load_sum)
    schemas = {
        schema(one),
        schema(bare("one", dump=dump_sum, load=load_sum, dump_version=2)),
        schema(bare("uno", dump=dump_sum, load=load_sum)),
        schema(one, bare("two", dump=dump_sum, load=load_sum)),
    }
    assert len(schemas) == 4 and "" not in schemas


def test_dump_and_load_go_together_and_say_their_type() -> None:
    for more in ({"dump": dump_sum}, {"load": load_sum}, {"dump": lambda state: SumDump(0), "load": load_sum}):
        with pytest.raises(ValueError, match="go together"):
            bare("one", **more)


def test_differences_are_named_by_engine() -> None:
    world = pair()
    before = world.dump("sum_log")
    world.states["two"].total = 7
    assert differences(before, before) == [] and differences(before, world.dump("sum_log")) == ["two"]
