"""Refusals under a flood: each is counted, few are recorded one by one, and nothing is kept for those that nobody waits for."""

from typing import Any

import pytest
import trio

from core.engine import Refused
from core.gate.refusals import Refuse, RefuseMany
from irerd.dispatch import Answer
from irerd.refusals import SINGLE_MAX, WINDOW_S, Refusals

DENIED = Refused("permission-denied", "no", reason="no-role")


class Records:
    """A dispatch that records at once."""

    def __init__(self) -> None:
        self.commands: list[Any] = []

    def give(self, command: Any, reply: Any) -> None:
        self.commands.append(command)
        reply(Answer({}))


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def refusals(records: Records) -> Refusals:
    return Refusals(records)  # type: ignore[arg-type]


def test_each_refusal_is_on_record_once_whether_or_not_anybody_waits_for_it(refusals: Refusals, records: Records) -> None:
    told: list[Answer] = []
    refusals.count("uid:1", "a.first")
    for _ in range(SINGLE_MAX + 3):
        refusals.refuse("uid:1", "a.method", DENIED, told.append)
    for _ in range(1_000):
        refusals.count("uid:1", "a.last")
    assert len(told) == SINGLE_MAX and refusals.total == SINGLE_MAX + 1_004
    assert len(refusals._windows["uid:1"].waiting) == 3, "nothing is kept for what is only counted"
    refusals.close_windows()
    assert len(told) == SINGLE_MAX + 3
    assert [type(command) for command in records.commands] == [Refuse] * SINGLE_MAX + [RefuseMany]
    assert records.commands[-1] == RefuseMany("uid:1", 1_004, "a.first", "a.last")
    refusals.close_windows()
    assert len(records.commands) == SINGLE_MAX + 1, "a second without refusals has no record"


async def test_a_window_is_closed_a_second_after_it_was_opened_and_nobody_wakes_without_one(
    refusals: Refusals, records: Records, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    nursery.start_soon(refusals.run)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        before = len(records.commands)
        await trio.sleep(7.3)
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf"), "asleep for good"
        refusals.count("uid:1", "a.method")
        await trio.sleep(WINDOW_S - 0.01)
        assert len(records.commands) == before
        await trio.sleep(0.02)
        assert records.commands[before:] == [RefuseMany("uid:1", 1, "a.method", "a.method")]
