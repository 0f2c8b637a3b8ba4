"""A refusal that finds no room in the log is told all the same, and is on record, counted, as soon as there is room."""

from typing import Any

import trio

from core.engine import Refused
from irerd.dispatch import Answer
from irerd.refusals import WINDOW_S, Refusals


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
