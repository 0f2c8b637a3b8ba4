"""The task that does what engines want sleeps on while groups change nothing of that, and is there for whatever they do change."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from core.engine import Command, Errand, JobEnded, Timer
from irerd.effects import Effects
from tests.irerd.served import serving


class Tick(Command):
    """Something that is due."""


class Wish:
    """A daemon of one engine that wants what it is told to want, on a log that grows when it is told to."""

    def __init__(self) -> None:
        self.wanted: list[Any] = []
        self.served: list[int] = []
        self.grows = False
        """Whether a served timer leads to a record."""
        self.full = False
        self.next_seq = {"log": 0}
        self.read_only: dict[str, str] = {}
        engine = SimpleNamespace(name="wish", log="log", follows=(), wanted=lambda state, ctx: list(self.wanted))
        self.world = SimpleNamespace(engines={"wish": engine}, states={"wish": None}, rows={"wish.job_ended": None})
        self.writer = SimpleNamespace(full=lambda log: self.full or None, durable_seq=lambda log: self.next_seq["log"] - 1)
        self.ended: list[JobEnded] = []

    def context(self, actor: Any, deciding: bool = False) -> None:
        return None

    def give(self, command: Any) -> None:
        self.served.append(self.next_seq["log"])
        if self.grows:
            self.next_seq["log"] += 1
            self.wanted = []

    def give_to(self, row: Any, ended: Any, told: Any) -> None:
        self.ended.append(ended)
        self.wanted = []
        told(SimpleNamespace(error=None))

    def mono_us(self) -> int:
        return 1


@pytest.fixture
async def wish(nursery: trio.Nursery) -> Wish:
    found: Any = Wish()

    async def errand(asked: Errand, tell: Any) -> JobEnded:
        return JobEnded(asked.id, True, "ok", "")

    found.effects = Effects(found, found, SimpleNamespace(), {"shop": errand})  # type: ignore[arg-type]
    nursery.start_soon(found.effects.run)
    await trio.testing.wait_all_tasks_blocked()
    return found  # type: ignore[no-any-return]


async def after_a_group(wish: Any) -> int:
    """How often the task turned because of one more group."""
    before = wish.effects.turns
    wish.next_seq["log"] += 1
    wish.effects.refresh(["log"])
    await trio.testing.wait_all_tasks_blocked()
    return int(wish.effects.turns - before)


async def test_a_group_that_changes_nothing_leaves_it_asleep(wish: Any) -> None:
    wish.wanted = [Timer("t", 3_600_000_000, Tick())]
    assert await after_a_group(wish) == 1, "this is new"
    assert [await after_a_group(wish) for _ in range(5)] == [0] * 5
    wish.wanted = [Timer("t", 1_800_000_000, Tick())]
    assert await after_a_group(wish) == 1, "it is due sooner"
    wish.wanted = []
    assert await after_a_group(wish) == 1


async def test_a_timer_that_changed_nothing_is_served_again_with_the_next_group(wish: Any) -> None:
    wish.wanted = [Timer("t", 1, Tick())]
    await after_a_group(wish)
    assert wish.served == [1]
    await after_a_group(wish)
    assert wish.served == [1, 2], "its log has grown"
    wish.grows = True
    await after_a_group(wish)
    assert wish.served == [1, 2, 3]
    assert await after_a_group(wish) == 0, "it is no longer wanted"


async def test_a_timer_waits_for_room_and_no_longer(wish: Any) -> None:
    wish.full = True
    wish.wanted = [Timer("t", 1, Tick())]
    await after_a_group(wish)
    assert wish.served == []
    wish.full, wish.grows = False, True
    wish.effects.stir()
    await trio.testing.wait_all_tasks_blocked()
    assert wish.served == [1]


async def test_an_errand_whose_cause_was_not_durable_begins_with_the_group_that_makes_it_so(wish: Any) -> None:
    wish.wanted = [Errand("log:3:0", "shop", {})]
    await after_a_group(wish)
    await after_a_group(wish)
    await after_a_group(wish)
    assert wish.ended == [], "record 3 is not on disk"
    await after_a_group(wish)
    assert [each.effect for each in wish.ended] == ["log:3:0"]


async def test_room_that_is_back_wakes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is wanted has changed by it, and what was due meanwhile waits for it."""
    async with serving(tmp_path) as served:
        daemon = served.daemon
        writer: Any = daemon.dispatch.writer
        turns = []
        for full in (SimpleNamespace(reason="disk-full", text="no room"), None):
            await trio.testing.wait_all_tasks_blocked()
            before = daemon.effects.turns
            with monkeypatch.context() as looked_at:
                looked_at.setattr(writer, "full", lambda log, full=full: full)
                daemon._after_look("cache_log")
                await trio.testing.wait_all_tasks_blocked()
            turns.append(daemon.effects.turns - before)
    assert min(turns) >= 1, turns
