"""A refusal that finds no room: on a full disk it is told, and on record later; where only the queue is full it waits."""

from typing import Any

import trio

from core.engine import Refused
from irerd.dispatch import Answer
from irerd.refusals import TURNED_AWAY, TURNED_AWAY_HELD_MAX, WINDOW_S, Refusals


class Gate:
    """The dispatch behind it, with or without room."""

    def __init__(self) -> None:
        self.full = True
        self.recorded: list[tuple[str, int, str, str]] = []

    def give(self, command: Any, reply: Any) -> None:
        if self.full:
            reply(Answer(error=Refused("resource-exhausted", "the disk is full", reason="disk-full")))
            return
        count = getattr(command, "count", 1)
        self.recorded.append((command.caller, count, getattr(command, "first", ""), getattr(command, "last", "")))
        reply(Answer({}))


async def test_it_is_told_at_once_and_recorded_once_there_is_room(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    gate, told = Gate(), []
    refusals = Refusals(gate)  # type: ignore[arg-type]
    nursery.start_soon(refusals.run)
    refused = Refused("permission-denied", "no")
    for method in ("a.first", "a.second", "a.third"):
        refusals.refuse("uid:7", method, refused, told.append)
    refusals.refuse("uid:8", "a.other", refused, told.append)
    assert [answer.error for answer in told] == [refused] * 4, "nobody waits for room"
    await trio.sleep(60 * WINDOW_S)
    assert gate.recorded == [] and len(told) == 4
    gate.full = False
    await trio.sleep(2 * WINDOW_S)
    assert sorted(gate.recorded) == [("uid:7", 3, "a.first", "a.third"), ("uid:8", 1, "a.other", "a.other")]
    await trio.sleep(60 * WINDOW_S)
    assert len(gate.recorded) == 2 and len(told) == 4, "once"


class Crowded(Gate):
    """A gate whose queue is full for so many tries. Nothing is wrong with its disk."""

    def __init__(self, tries: int) -> None:
        super().__init__()
        self.tries = tries

    def give(self, command: Any, reply: Any) -> None:
        self.full = False
        if self.tries:
            self.tries -= 1
            reply(Answer(error=Refused("resource-exhausted", "still writing what came before", reason="log-queue")))
            return
        super().give(command, reply)


async def test_where_only_the_queue_is_full_nobody_is_told_before_it_is_on_record(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    gate, told = Crowded(tries=3), []
    refusals = Refusals(gate)  # type: ignore[arg-type]
    nursery.start_soon(refusals.run)
    refused = Refused("permission-denied", "no")
    refusals.refuse("uid:7", "a.first", refused, lambda answer: told.append((answer.error, len(gate.recorded))))
    refusals.refuse("uid:7", "a.second", refused, lambda answer: told.append((answer.error, len(gate.recorded))))
    await trio.sleep(1.5 * WINDOW_S)
    assert gate.recorded == [] and told == []
    await trio.sleep(WINDOW_S)
    assert gate.recorded == [("uid:7", 2, "a.first", "a.second")]
    assert told == [(refused, 1)] * 2
    await trio.sleep(60 * WINDOW_S)
    assert len(gate.recorded) == 1 and len(told) == 2, "once"


async def test_a_stop_waits_for_what_is_not_yet_on_record_and_not_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    async def advanced() -> None:
        await trio.sleep(0.001)

    for tries, recorded in ((5, 1), (10_000, 0)):
        gate, told = Crowded(tries), []
        refusals = Refusals(gate)  # type: ignore[arg-type]
        refusals.refuse("uid:7", "a.first", Refused("permission-denied", "no"), told.append)
        await refusals.finish(advanced)
        assert (len(gate.recorded), len(told)) == (recorded, recorded)


async def test_of_connections_that_are_turned_away_few_wait_and_each_is_counted(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    gate, told = Crowded(0), []
    refusals = Refusals(gate)  # type: ignore[arg-type]
    nursery.start_soon(refusals.run)
    refused = Refused("resource-exhausted", "too many", reason="connections")

    async def connect() -> None:
        told.append(await refusals.turn_away("uid:7", refused))

    async with trio.open_nursery() as callers:
        for _ in range(500):
            callers.start_soon(connect)
        await trio.testing.wait_all_tasks_blocked()
        at_once = told.count(refused)
        assert 500 - len(told) <= TURNED_AWAY_HELD_MAX, "these hold a descriptor each"
        assert told.count(TURNED_AWAY) == len(told) - at_once
    assert sum(count for _, count, _, _ in gate.recorded) == 500
