"""The world: what it refuses to load, and that live and replayed states are the same state."""

from typing import Any

import msgspec
import pytest

from core.canonical import event_payload
from core.engine import Command, Context, Decision, Engine, Event, Stamp, internal, write
from core.fields import Count
from core.world import UnknownEvent, World


class Add(Command):
    """Add to the sum.

    amount: how much
    """

    amount: Count


class Added(Event, type="sum.added"):
    """It was added.

    amount: how much
    """

    amount: Count


class Sum:
    def __init__(self) -> None:
        self.total = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sum) and other.total == self.total


def decide_add(state: Sum, command: Add, ctx: Context) -> Decision:
    return Decision(*[Added(command.amount)] * command.amount)


def apply_added(state: Sum, event: Added, stamp: Stamp) -> None:
    state.total += event.amount


def engine(name: str = "sum", log: str = "sum_log") -> Engine:
    return Engine(
        name, log=log, state=Sum, rows=[write("add", Add, decide_add, apply={Added: apply_added}, help="h", example={"amount": 1})]
    )


def stamp(seq: int, log: str = "sum_log") -> Stamp:
    return Stamp(log, seq, 1, 1, "b0071d00", "uid:1")


def test_an_event_type_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(UnknownEvent, match=r"sum_log record 7 is a 'sum.subtracted'.*Install the version that wrote it"):
        World([engine()]).replay("sum.subtracted", b"{}", stamp(7))


def test_an_unknown_field_of_a_known_event_is_refused_too() -> None:
    with pytest.raises(UnknownEvent, match=r"record 3 .*sum\.added.*fields"):
        World([engine()]).replay("sum.added", b'{"amount":1,"twice":true}', stamp(3))


def test_a_record_in_the_wrong_log_is_refused() -> None:
    with pytest.raises(UnknownEvent):
        World([engine()]).replay("sum.added", b'{"amount":1}', stamp(0, "other_log"))


def test_records_of_the_log_layer_reach_no_engine() -> None:
    world = World([engine()])
    world.replay("log.genesis", b'{"anything":1}', stamp(0))
    assert world.states["sum"].total == 0


def test_a_command_that_leads_to_more_than_one_batch_is_a_bug_and_nothing_changes() -> None:
    world = World([engine()])
    context: Any = None
    with pytest.raises(ValueError, match="257 events"):
        world.decide(world.rows["sum.add"], Add(257), context)
    assert len(world.decide(world.rows["sum.add"], Add(256), context).events) == 256
    assert world.states["sum"].total == 0


def test_rebuilding_forgets_what_was_not_in_the_records() -> None:
    world = World([engine()])
    for seq in range(3):
        world.apply(Added(5), stamp(seq))
    world.rebuild("sum_log", [("sum.added", msgspec.json.encode(Added(5)), stamp(0))])
    assert world.states["sum"].total == 5


@pytest.mark.parametrize("second", [engine("twin", "sum_log"), engine("twin", "twin_log")])
def test_two_engines_may_not_apply_the_same_event_type(second: Engine) -> None:
    with pytest.raises(ValueError, match=r"sum\.added"):
        World([engine(), second])


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
