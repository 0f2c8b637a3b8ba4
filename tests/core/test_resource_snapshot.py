"""The pools through their dump: nothing is lost however busy they are, and parts that do not fit each other are refused."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import core.resource.pools
from core.engine import Job, JobEnded, Refused
from core.resource import ENGINE
from core.resource.pools import Pools
from core.world import BadDump, World
from tests.core.engine_loop import EngineLoop, Outcome
from tests.core.test_every_engine import from_its_dump
from tests.core.test_resource_replay import CALLERS, MOVES, SETTINGS, check_sums, outcome

LOG = "engine_state"


def move(loop: EngineLoop, made: tuple[Any, ...]) -> None:
    name, *details = made
    if name == "run":
        loop.run(details[0])
    elif name == "restart":
        loop.restart(details[0], reboot=details[1])
    else:
        with suppress(Refused):
            loop.ask(name, details[0], details[1])


@pytest.fixture
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished tasks are soon forgotten, so that forgetting is in play too."""
    monkeypatch.setattr(core.resource.pools, "FINISHED_KEPT", 3)


@pytest.mark.usefixtures("few_kept")
def test_a_busy_engine_goes_on_from_any_of_its_dumps() -> None:
    @settings(max_examples=80, deadline=None)
    @given(st.lists(MOVES, max_size=30), st.data())
    def check(moves: list[tuple[Any, ...]], data: st.DataObject) -> None:
        loop = EngineLoop(ENGINE, SETTINGS, outcome=outcome)
        twin = from_its_dump(loop)
        for made in moves:
            move(loop, made)
            move(twin, made)
            if data.draw(st.integers(0, 3), label="dump here at 0") == 0:
                assert twin.world.dump(LOG) == loop.world.dump(LOG)
                twin = from_its_dump(twin)
                check_sums(twin.state)
                assert list(twin.state.newest_first()) == list(loop.state.newest_first())
        for each in (loop, twin):
            each.run(1_000)
        assert twin.records == loop.records and twin.state == loop.state
        assert twin.world.dump(LOG) == loop.world.dump(LOG)

    check()


def fails(job: Job) -> tuple[float, JobEnded]:
    return 0.7, JobEnded(job.id, False, "failed", "", {})


def busy(seconds: float = 2.0, outcome: Outcome = outcome) -> EngineLoop:
    """Tasks in every state, every agenda and line in use."""
    loop = EngineLoop(ENGINE, SETTINGS, outcome=outcome)
    job = {"name": "verify_log", "params": {"log": LOG}}
    for place in range(40):
        more: dict[str, Any] = [{"job": job}, {"duration_s": 3.0}, {"duration_s": 40.0}][place % 3]
        asked = {"task_id": f"t{place}", "units": place % 3 + 1, "priority": ("low", "high")[place % 2], **more}
        if place % 4 == 3:
            asked["depends_on"] = [f"t{place - 1}", f"t{place - 3}"]
        if place % 5 == 0:
            asked["deadline_s"] = 30.0 + place
        with suppress(Refused):
            loop.ask("submit_task", asked, CALLERS[place % 3])
    loop.run(seconds)
    return loop


def test_the_busy_engine_is_as_busy_as_these_tests_need() -> None:
    pools: Pools = busy().state
    assert {task.state for task in pools.tasks.values()} >= {"waiting", "blocked", "running", "retrying", "done"}
    agendas = [pools.ends, pools.deadlines, pools.retries, pools.pools["compute"].queue.aging]
    levels = [level for pool in pools.pools.values() for level in pool.queue.levels]
    agendas += [max((level.turns for level in levels), key=len), max((level.unpaid for level in levels), key=len)]
    assert all(agenda.entries for agenda in agendas)
    assert pools.effects and pools.dependents and pools.finished
    aged = busy(31.5).state.pools["compute"].queue.lines.values()
    assert any(line.level != line.priority for line in aged)
    assert busy(120.0, fails).state.pools["compute"].parked_at is not None


@pytest.mark.parametrize("loop", [busy(), busy(31.5), busy(120.0, fails)], ids=["jobs", "aged", "parked"])
def test_a_busy_engine_is_whole_in_its_dump(loop: EngineLoop) -> None:
    twin = from_its_dump(loop)
    assert twin.state == loop.state and twin.wanted() == loop.wanted()
    check_sums(twin.state)


def test_dependents_that_are_told_in_rounds_are_told_the_rest_after_a_load() -> None:
    loop = EngineLoop(ENGINE, SETTINGS)
    loop.ask("submit_task", {"task_id": "first", "units": 1})
    for place in range(100):
        loop.ask("submit_task", {"task_id": f"t{place}", "depends_on": ["first"]})
    loop.ask("dispatch", {"pool": "compute"})
    assert loop.state.unsettled and loop.state.pools["compute"].counts["blocked"] > 0
    twin = from_its_dump(loop)
    assert twin.state == loop.state and twin.wanted() == loop.wanted()
    twin.run(1.0)
    assert twin.state.pools["compute"].counts["done"] == 101


def test_jobs_are_wanted_in_the_order_in_which_they_started() -> None:
    loop = EngineLoop(ENGINE, SETTINGS, outcome=lambda job: None)
    job = {"name": "verify_log", "params": {"log": LOG}}
    for place, priority in enumerate(["low", "normal", "high"]):
        loop.ask("submit_task", {"task_id": f"t{place}", "job": job, "priority": priority, "units": 1})
    loop.run(30.0)
    jobs = [job.id for job in loop.wanted()[1]]
    started = [task.task_id for task in loop.state.effects.values()]
    assert started == ["t2", "t1"] or started == ["t2", "t1", "t0"]
    assert [job.id for job in from_its_dump(loop).wanted()[1]] == jobs


def test_what_a_job_found_is_dumped_as_the_log_gives_it_back() -> None:
    """Live it is 5.0 and its members stand as they came; in the log it is 5, and they stand in order."""
    found = {"b": 5.0, "a": {"y": -0.0, "x": [1.0, 0.5]}, "c": 2.0**60}
    loop = EngineLoop(ENGINE, SETTINGS, outcome=lambda job: (1.0, JobEnded(job.id, True, "ok", "", found)))
    loop.ask("submit_task", {"task_id": "t", "job": {"name": "verify_log", "params": {"log": LOG}}})
    loop.run(5.0)
    assert repr(loop.state.tasks["t"].result) == repr(found)
    replayed = World([ENGINE])
    replayed.reset(LOG)
    replayed.replay_all(loop.records)
    assert replayed.dump(LOG) == loop.world.dump(LOG)
    assert repr(from_its_dump(loop).state.tasks["t"].result) == repr(replayed.states["resource"].tasks["t"].result)
    assert repr(loop.state.tasks["t"].result) == repr(found), "dumping changed the state"


def test_a_loaded_engine_shares_nothing_with_the_one_it_came_from() -> None:
    loop = busy()
    kept = loop.world.dump(LOG)
    twin = from_its_dump(loop)
    twin.run(10_000)
    assert loop.world.dump(LOG) == kept != twin.world.dump(LOG)


def plain(loop: EngineLoop) -> Any:
    return msgspec.msgpack.decode(loop.world.dump(LOG))


Break = Callable[[dict[str, Any]], object]
BREAKS: dict[str, Break] = {
    "a line with a task that is not there": lambda pools: _line(pools)["tasks"].append("nobody"),
    "a job of a task that is not there": lambda pools: pools["jobs"].append("nobody"),
    "another pool": lambda pools: pools["pools"].update(fifth=pools["pools"]["compute"]),
    "a pool less": lambda pools: pools["pools"].pop("compute"),
    "a level more": lambda pools: pools["pools"]["compute"]["queue"]["levels"].append(_level(pools)),
    "a level less": lambda pools: pools["pools"]["compute"]["queue"]["levels"].pop(),
    "a field more": lambda pools: pools.update(more=1),
    "a field less": lambda pools: pools.pop("clock"),
    "a text for a number": lambda pools: pools["clock"].update(last="5"),
    "a number for a whole one": lambda pools: pools["clock"].update(last=5.5),
    "a task with a value more": lambda pools: pools["tasks"][0].append(1),
    "a task in an unknown state": lambda pools: pools["tasks"][0].__setitem__(11, "gone"),
    "a task in an unknown pool": lambda pools: pools["tasks"][0].__setitem__(4, "gone"),
}


def _line(pools: dict[str, Any]) -> Any:
    return pools["pools"]["compute"]["queue"]["lines"][0]


def _level(pools: dict[str, Any]) -> Any:
    return pools["pools"]["compute"]["queue"]["levels"][0]


@pytest.mark.parametrize("name", BREAKS)
def test_what_does_not_fit_is_refused_and_changes_nothing(name: str) -> None:
    loop = busy()
    dumped = plain(loop)
    world = World([ENGINE])
    world.load(LOG, msgspec.msgpack.encode(dumped))
    assert world.states["resource"] == loop.state, "unbroken it is taken"
    BREAKS[name](dumped["resource"])
    with pytest.raises(BadDump):
        world.load(LOG, msgspec.msgpack.encode(dumped))
    assert world.states["resource"] == loop.state
