"""Refusals under a flood: each is counted, few are recorded one by one, and nothing is kept for those that nobody waits for."""

from typing import Any

import pytest
import trio

from core.engine import Refused
from core.gate.refusals import Refuse, RefuseMany
from irerd.dispatch import Answer
from irerd.refusals import LATER, SINGLE_MAX, WINDOW_S, Refusals, most_held

DENIED = Refused("permission-denied", "no", reason="no-role")


class Records:
    """A dispatch that records at once."""

    def __init__(self) -> None:
        self.commands: list[Any] = []

    def give(self, command: Any, reply: Any = None) -> None:
        self.commands.append(command)
        if reply is not None:
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


def test_wrong_credentials_never_take_up_every_place_on_a_connection(refusals: Refusals, records: Records) -> None:
    """Right ones come through the same connection: an application shows the tokens of all its users."""
    told: list[Answer] = []
    refusals.held_max = lambda: most_held(16)
    for slowed in (False, True):
        told.clear()
        records.commands.clear()
        refusals.is_slowed = lambda caller, slowed=slowed: slowed
        singles = 0
        for _ in range(500):
            singles += not refusals.count_instead("uid:1", "gate.check", told.append, Answer({"valid": False}))
            assert len(refusals._windows["uid:1"].waiting) <= 14
        assert singles == (0 if slowed else SINGLE_MAX)
        assert told == [Answer(error=LATER)] * (500 - singles - 14)
        refusals.close_windows()
        assert told[-14:] == [Answer({"valid": False})] * 14
        assert RefuseMany("uid:1", 500 - singles, "gate.check", "gate.check") in records.commands, "told or not, each is counted"


def test_whoever_calls_in_many_names_over_one_connection_takes_up_no_more_of_its_places(refusals: Refusals) -> None:
    """Behind a hub are many actors, and one connection: two who guess would fill it together."""
    told: list[str] = []
    refusals.held_max = lambda: most_held(16)
    refusals.is_slowed = lambda caller: True

    def shown(caller: str, uid: int) -> None:
        def tell(answer: Answer) -> None:
            told.append("later" if answer.error is LATER else "held")

        assert refusals.count_instead(caller, "nav.navigate", tell, Answer({"ok": False}), uid)

    for number in range(60):
        shown(f"http:guest-{number % 3}", 990)
    assert told == ["later"] * 46
    shown("uid:7", 7)
    assert len(told) == 46, "of another uid is counted apart"
    refusals.close_windows()
    assert told[46:] == ["held"] * 15
    shown("http:guest-1", 990)
    assert len(told) == 61, "there is room again"


def test_there_is_always_a_place_left() -> None:
    assert [most_held(calls_max) for calls_max in (1, 2, 8, 64, 65_536)] == [0, 1, 7, 56, 57_344]
