"""What dispatch does when an engine has a bug, on a real writer over a simulated disk."""

import dataclasses
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from core import resource
from core.access import Rules
from core.catalogue import Catalogue
from core.engine import Actor, Command, Decision, Engine, Event, Refused, Stamp, write
from core.fields import Code, Name, patterns
from core.keys import Keys
from core.settings import Settings
from core.world import World
from irerd.cursors import Cursors
from irerd.dispatch import Answer, Dispatch
from irerd.writer import Writer
from state.ledger import open_ledger
from state.recover import recover
from tests.core.sample_engine import Add, Sum, summing
from tests.sim.disk import SimFiles

SUM = summing()
CALLER = Actor("uid:1", "operator", 1)


class SmallHost:
    def __init__(self) -> None:
        self.files = SimFiles()
        self.boot_id = "b0071d00"
        self.random = None

    def now_us(self) -> int:
        return 1_767_225_600_000_000

    def mono_us(self) -> int:
        return 1

    def new_id(self) -> str:
        return "an-id"

    def draw(self) -> bytes:
        return bytes(32)

    async def offload(self, function: Any, *args: Any) -> Any:
        return function(*args)

    async def commit(self, log: Any, data: bytes, *, alone: bool) -> None:
        await self.offload(log.commit, data)


class Weigh(Command):
    """Asks for a weight.

    kg: how much
    parts: of what
    """

    kg: float
    parts: list[float] = []


class Weighed(Event, type="sum.weighed"):
    """Weighed.

    kg: how much
    parts: of what
    """

    kg: float
    parts: list[float] = []


def _keep(kept: list[Weighed], event: Weighed, stamp: Stamp) -> None:
    kept.append(event)


SCALES = Engine(
    "sum",
    log="sum_log",
    state=list,
    rows=[
        write(
            "weigh",
            Weigh,
            lambda kept, command, ctx: Decision(Weighed(command.kg, command.parts)),
            apply={Weighed: _keep},
            help="Weigh",
            example={"kg": 1.0},
        )
    ],
)


class Bench:
    def __init__(self, engine: Engine = SUM) -> None:
        host: Any = SmallHost()
        self.world = World([engine])
        self.dispatch = Dispatch(host, self.world, Catalogue([engine]), Keys(), Settings(), Rules())
        self.dispatch.ledger = open_ledger(host.files, lambda: "x")
        log = recover(host.files, "sum_log", "irer.invalid/0/sum_log", lambda: (host.now_us(), 1, "b0071d00"), lambda _: None).log
        self.dispatch.ledger.add_log("sum_log")
        self.dispatch.next_seq["sum_log"] = log.next_seq
        self.dispatch.writer = self.writer = Writer(host, {"sum_log": log}, lambda logs: None)
        self.faults: list[str] = []
        self.dispatch.on_internal_error = lambda place, error: self.faults.append(place) or "instance"  # type: ignore[func-returns-value]

    @property
    def state(self) -> Sum:
        found: Sum = self.world.states["sum"]
        return found

    def add(self, amount: int) -> Answer | None:
        """The answer, if it has come."""
        told: list[Answer] = []
        self.dispatch.write(self.world.rows["sum.add"], Add(amount, ones=1), CALLER, told.append)
        return told[0] if told else None


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncIterator[Bench]:
    bench = Bench()
    nursery.start_soon(bench.writer.run)
    await trio.testing.wait_all_tasks_blocked()
    yield bench


async def test_a_bug_in_apply_writes_nothing_and_the_engine_is_rebuilt_with_what_was_not_yet_durable(bench: Bench) -> None:
    bench.add(5)
    await trio.testing.wait_all_tasks_blocked()
    bench.add(7)  # decided, and not yet written when the bug strikes
    with pytest.raises(Refused) as refused:
        bench.add(666)
    assert refused.value.code == "internal" and bench.faults == ["apply sum"]
    assert (bench.state.total, bench.state.applied) == (14, 4), "half of the broken command is gone again"
    await trio.testing.wait_all_tasks_blocked()
    records = bench.dispatch.stored("sum_log", 0, 100)
    assert [record.event_type for record in records] == ["log.genesis", *["sum.added"] * 4]
    assert b"666" not in b"".join(record.payload for record in records)
    bench.add(2)
    await trio.testing.wait_all_tasks_blocked()
    assert bench.state.total == 17


@pytest.mark.parametrize(("kg", "parts"), [(-0.0, []), (0.5, [1.0, -0.0]), (-0.0, [-0.0])])
async def test_no_state_and_no_answer_has_a_zero_that_a_replay_would_not_have(
    nursery: trio.Nursery, kg: float, parts: list[float]
) -> None:
    bench, told = Bench(SCALES), []
    nursery.start_soon(bench.writer.run)
    await trio.testing.wait_all_tasks_blocked()
    bench.dispatch.write(bench.world.rows["sum.weigh"], Weigh(kg, parts), CALLER, told.append)
    await trio.testing.wait_all_tasks_blocked()
    [live] = bench.world.states["sum"]
    [_, record] = bench.dispatch.stored("sum_log", 0, 100)
    assert repr(bench.world.event(record.event_type, record.payload)) == repr(live) == repr(told[0].result)
    assert (live.kg, live.parts) == (kg, parts)


async def test_an_answer_that_cannot_be_made_undoes_nothing_and_stops_nobody(nursery: trio.Nursery) -> None:
    """What was decided and applied goes to the disk, and what is wrong is told only then; commands behind it are answered."""
    [row] = SCALES.rows

    def broken(events: Any) -> Any:
        if events[0].kg == 13:
            raise RuntimeError
        return {"kg": events[0].kg}

    bench, told = Bench(Engine("sum", log="sum_log", state=list, rows=[dataclasses.replace(row, reply=broken)])), []
    nursery.start_soon(bench.writer.run)
    await trio.testing.wait_all_tasks_blocked()
    for kg in (13.0, 14.0):
        bench.dispatch.write(bench.world.rows["sum.weigh"], Weigh(kg), CALLER, told.append)
    assert not bench.faults and not told
    await trio.testing.wait_all_tasks_blocked()
    assert bench.faults == ["reply to sum.weigh"] and [answer.result for answer in told] == [{"kg": 14.0}]
    assert [record.payload for record in bench.dispatch.stored("sum_log", 1, 2)] == [b'{"kg":13}', b'{"kg":14}']


async def test_what_waits_for_the_disk_holds_nothing_of_what_was_asked() -> None:
    bench = Bench(SCALES)
    await bench.writer.prepare()
    parts = [1.5, 2.5]
    row = dataclasses.replace(bench.world.rows["sum.weigh"], reply=lambda events: {"kg": events[0].kg})
    bench.dispatch.write(row, Weigh(1.0, parts), CALLER, lambda answer: None)
    bench.world.states["sum"].clear()
    gc.collect()
    assert bench.writer.waiting("sum_log") == 1 and sys.getrefcount(parts) == 2


async def test_at_the_third_fault_within_an_hour_the_engine_only_reads(bench: Bench) -> None:
    for _ in range(3):
        with pytest.raises(Refused, match="internal"):
            bench.add(666)
    with pytest.raises(Refused) as refused:
        bench.add(1)
    assert refused.value.code == "data-loss" and "3 faults within an hour" in refused.value.detail
    assert bench.state.total == 0


async def test_a_damaged_log_which_no_writer_has_takes_no_writes_and_says_why(bench: Bench) -> None:
    bench.dispatch.writer = Writer(bench.dispatch.host, {}, lambda logs: None)
    bench.dispatch.read_only["sum_log"] = "record 7 does not verify"
    with pytest.raises(Refused) as refused:
        bench.add(1)
    assert (refused.value.code, refused.value.reason) == ("data-loss", "read-only") and "record 7" in refused.value.detail


async def test_a_bug_in_deciding_something_of_irers_own_is_told_and_stops_nothing(bench: Bench) -> None:
    told: list[Answer] = []
    bench.dispatch.give_to(bench.world.rows["sum.more"], Add(13, ones=1), told.append)
    assert told[0].error is not None and told[0].error.code == "internal"
    assert "words of a caller" not in told[0].error.detail
    bench.add(1)
    await trio.testing.wait_all_tasks_blocked()
    assert bench.state.total == 2


async def test_while_a_log_is_held_writes_wait_and_then_go_on_in_order(bench: Bench) -> None:
    bench.dispatch.hold("sum_log")
    foretold: list[tuple[list[int], int]] = []
    bench.dispatch.foresee["sum.add"] = lambda coming: foretold.append(([each.amount for each in coming], bench.state.total))
    told: list[int] = []
    for amount in (3, 4):
        row, params = bench.world.rows["sum.add"], Add(amount, ones=1)
        bench.dispatch.write(row, params, CALLER, lambda answer, amount=amount: told.append(amount))  # type: ignore[misc]
    await trio.testing.wait_all_tasks_blocked()
    assert told == [] and bench.state.total == 0 and not foretold
    bench.dispatch.let_go("sum_log", bench.dispatch.next_seq["sum_log"])
    await trio.testing.wait_all_tasks_blocked()
    assert told == [3, 4] and bench.state.total == 9
    assert foretold == [([3, 4], 0)], "who is quicker with many hears of all before the first is decided"


async def test_a_key_used_again_while_the_first_is_on_its_way_is_one_command(bench: Bench) -> None:
    told: list[Answer] = []
    row = bench.world.rows["sum.add"]
    for _ in range(2):
        bench.dispatch.write(row, Add(5, ones=1), CALLER, told.append, "the-same-key")
    with pytest.raises(Refused) as refused:
        bench.dispatch.write(row, Add(6, ones=1), CALLER, told.append, "the-same-key")
    assert refused.value.reason == "key-reused"
    await trio.testing.wait_all_tasks_blocked()
    assert [answer.replayed for answer in told] == [False, True] and told[0].receipt == told[1].receipt
    assert bench.state.total == 6
    bench.dispatch.write(row, Add(5, ones=1), CALLER, told.append, "the-same-key")
    assert told[2].replayed and told[2].receipt == told[0].receipt and bench.state.total == 6


async def test_a_command_too_large_for_one_batch_is_refused_before_anything_changes(bench: Bench) -> None:
    with pytest.raises(Refused) as refused:
        bench.dispatch._records(tuple([Huge("x" * 40_000)] * 30), bench.dispatch.context(CALLER), None)
    assert refused.value.code == "invalid-argument" and "in one command" in refused.value.detail
    with pytest.raises(Refused, match="invalid-argument"):
        bench.dispatch._records((Huge("x" * 70_000),), bench.dispatch.context(CALLER), None)


class Huge(Event, type="sum.huge"):
    """Large.

    text: much of it
    """

    text: str


def test_a_wrong_parameter_is_refused_in_words_with_the_page_to_read() -> None:
    bench = Bench()
    row = World([resource.ENGINE]).rows["resource.submit_task"]
    for given, path, problem in (
        ({"task_id": "no spaces, please"}, "task_id", patterns(Name)),
        ({"job": {"name": "UPPER"}}, "job.name", patterns(Code)),
        ({"depends_on": ["a", "b\n"]}, "depends_on[1]", patterns(Name)),
    ):
        with pytest.raises(Refused) as refused:
            bench.dispatch.params(row, given)
        [words] = problem.values()
        assert refused.value.detail == f"resource.submit_task: {path}: must be {words}. See: irerctl api show resource.submit_task"
        assert list(refused.value.fields) == [(path, f"must be {words}")]


async def test_a_hint_refuses_nothing_and_a_bug_in_who_is_told_harms_no_call(bench: Bench) -> None:
    told: list[Any] = []
    bench.dispatch.foresee["sum.add"] = told.append
    bench.dispatch.announce([("sum.add", {"amount": 1, "ones": 1}), ("sum.other", {}), ("sum.add", {"amount": "one"})])
    assert told == [[Add(1, ones=1)]], "what is no such command is refused when it is called, and not before"
    given = {"amount": 2, "ones": 1}
    bench.dispatch.announce([("sum.add", given)])
    row = bench.dispatch.world.rows["sum.add"]
    made = bench.dispatch.params(row, given)
    assert made is told[1][0], "the very command that was announced"
    assert bench.dispatch.params(row, given) is not made and bench.dispatch.params(row, {**given}) == made
    bench.dispatch.foresee["sum.add"] = lambda coming: coming[7]
    bench.dispatch.announce([("sum.add", {"amount": 1, "ones": 1})])
    assert bench.faults == ["foresee"] and bench.state.applied == 0


@pytest.mark.parametrize(
    ("given", "path", "said"),
    [
        ({}, "kg", "sum.weigh: kg is missing. See: irerctl api show sum.weigh"),
        ({"kg": "x"}, "kg", "sum.weigh: kg: must be a number, not a text. See: irerctl api show sum.weigh"),
        (
            {"kg": 1, "parts": ["x"]},
            "parts[0]",
            "sum.weigh: parts[0]: must be a number, not a text. See: irerctl api show sum.weigh",
        ),
    ],
)
async def test_what_is_wrong_with_the_parameters_is_named_by_its_path_and_in_words(given: Any, path: str, said: str) -> None:
    dispatch = Bench(SCALES).dispatch
    with pytest.raises(Refused) as refused:
        dispatch.params(dispatch.world.rows["sum.weigh"], given)
    assert (refused.value.detail, [name for name, _ in refused.value.fields]) == (said, [path])


async def test_an_answer_stands_behind_its_own_record_and_behind_what_was_durable_elsewhere_when_decided(bench: Bench) -> None:
    """Whoever lists and then watches from here may miss nothing of another log that was decided meanwhile."""
    dispatch, writer, text = bench.dispatch, bench.writer, Cursors("").text
    told: list[Answer] = []
    wanted: list[str] = []
    dispatch.next_seq["other"] = 9
    for durable in (4, 4, 7):
        if writer.durable_ends.get("other") != durable:
            writer.durable_ends = {**writer.durable_ends, "other": durable}
        dispatch.write(bench.world.rows["sum.add"], Add(5, ones=1), CALLER, told.append)
        wanted.append(text({"sum_log": dispatch.next_seq["sum_log"], "other": durable}))
    writer.durable_ends = {**writer.durable_ends, "other": 8}
    await trio.testing.wait_all_tasks_blocked()
    assert [text(answer.position or {}) for answer in told] == wanted
    ends = {"sum_log": dispatch.next_seq["sum_log"], "other": 8}
    assert text(dispatch._position("damaged")) == text(ends), "no record of it verified, and it can be asked about"
