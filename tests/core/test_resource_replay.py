"""Whatever is asked, in whatever order, with a crash anywhere: the log alone leads to the same state, and the sums hold."""

import copy
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.agenda import Agenda
from core.engine import Actor, Job, JobEnded, Refused
from core.resource import ENGINE
from core.resource.commands import Dispatch, decide_dispatch
from core.resource.pools import POOLS, PRIORITIES, STATES, Pools
from core.resource.queue import AGE_US
from core.settings import Jobs, Retry, Settings
from core.settings import Pool as Bounds
from core.settings import Pools as PoolSettings
from tests.core.engine_loop import EngineLoop

NAMES = st.sampled_from([f"t{place}" for place in range(12)])
CALLERS = [Actor("uid:1001", "operator"), Actor("uid:1002", "operator"), Actor("engine:mailer", "engine")]
WORK = st.sampled_from(
    [
        {},
        {"duration_s": 0.5},
        {"duration_s": 3.0},
        {"duration_s": 40.0},
        {"job": {"name": "verify_log", "params": {"log": "engine_state"}}},
    ]
)
ASKED = st.fixed_dictionaries(
    {"task_id": NAMES, "resource_type": st.sampled_from(["compute", "storage"]), "priority": st.sampled_from(PRIORITIES)},
    optional={
        "units": st.integers(1, 9),
        "deadline_s": st.sampled_from([0.1, 3.0, 50.0]),
        "depends_on": st.lists(NAMES, max_size=2),
    },
)
SUBMIT = st.builds(lambda asked, work: asked | work, ASKED, WORK)
MOVES = st.one_of(
    st.tuples(st.just("submit_task"), SUBMIT, st.sampled_from(CALLERS)),
    st.tuples(st.just("submit_task"), SUBMIT, st.sampled_from(CALLERS)),
    st.tuples(st.just("cancel_task"), st.fixed_dictionaries({"task_id": NAMES}), st.sampled_from(CALLERS)),
    st.tuples(
        st.just("scale"), st.fixed_dictionaries({"pool": st.just("compute"), "size": st.integers(1, 9)}), st.sampled_from(CALLERS)
    ),
    st.tuples(st.just("run"), st.sampled_from([0.0, 0.3, 2.0, 31.0])),
    st.tuples(st.just("restart"), st.sampled_from([0.0, 5.0]), st.booleans()),
)
SETTINGS = Settings(
    pools=PoolSettings(Bounds(2, 9), Bounds(1, 9), scale_hold_s=1.0, scale_cooldown_s=3.0),
    retry=Retry(attempts=3),
    jobs=Jobs(roots={"docs": "/d"}),
)


def outcome(job: Job) -> tuple[float, JobEnded] | None:
    """Every third job fails, every seventh never ends."""
    seq = int(job.id.split(":")[1])
    return None if seq % 7 == 0 else (0.7, JobEnded(job.id, seq % 3 != 0, "ok" if seq % 3 else "failed", "", {"records": seq}))


def check_sums(pools: Pools) -> None:
    """Everything that is kept twice agrees."""
    by_state: Counter[tuple[str, str]] = Counter((task.pool, task.state) for task in pools.tasks.values())
    for name, pool in pools.pools.items():
        tasks = [task for task in pools.tasks.values() if task.pool == name]
        assert pool.used == sum(task.units for task in tasks if task.state == "running")
        assert {state: by_state[name, state] for state in STATES} == pool.counts
        waiting = {task.task_id for task in tasks if task.state == "waiting"}
        assert waiting == {task_id for line in pool.queue.lines.values() for task_id in line.tasks}
        assert (pool.queue.tasks, pool.queue.units) == (len(waiting), sum(pools.tasks[task_id].units for task_id in waiting))
        for level, turns in enumerate(pool.queue.levels):
            assert set(turns.turns.entries) == {line.caller for line in pool.queue.lines.values() if line.level == level}
        assert set(pool.queue.aging.entries) == {line.key for line in pool.queue.lines.values() if line.level}
    running = [task for task in pools.tasks.values() if task.state == "running"]
    assert pools.effects == {task.effect: task for task in running if task.job is not None}
    assert set(pools.retries.entries) == {task.task_id for task in pools.tasks.values() if task.state == "retrying"}
    unfinished = {task.task_id for task in pools.tasks.values() if task.state in ("waiting", "blocked", "retrying", "running")}
    assert pools.waiting == len(unfinished) - len(running)
    assert set(pools.deadlines.entries) <= unfinished and set(pools.ends.entries) <= {task.task_id for task in running}
    assert set(pools.ends.entries) & set(pools.deadlines.entries) == set()
    edges = {(name, dependent) for name, names in pools.dependents.items() for dependent in names}
    assert all(pools.tasks[dependent].state == "blocked" for _, dependent in edges)
    assert Counter(dependent for _, dependent in edges) == Counter(
        {task.task_id: task.missing for task in pools.tasks.values() if task.state == "blocked"}
    )
    assert len(pools.finished) + len(pools.unsettled) + len(unfinished) == len(pools.tasks)


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, max_size=30), st.data())
def test_replay_leads_to_the_live_state_and_the_sums_hold(moves: list[tuple[Any, ...]], data: st.DataObject) -> None:
    loop = EngineLoop(ENGINE, SETTINGS, outcome=outcome)
    for move, *details in moves:
        if move == "run":
            loop.run(details[0])
        elif move == "restart":
            loop.restart(details[0], reboot=details[1])
        else:
            before = copy.deepcopy(loop.state) if len(loop.state.tasks) < 4 else None
            count = len(loop.records)
            with suppress(Refused):
                loop.ask(move, details[0], details[1])
            if len(loop.records) == count and before is not None:
                assert loop.state == before
        check_sums(loop.state)
    assert loop.replayed() == loop.state
    loop.restart(keep=data.draw(st.integers(0, len(loop.records)), label="records that survive the crash"), reboot=True, down_s=1)
    check_sums(loop.state)
    loop.run(10_000)
    check_sums(loop.state)
    assert loop.replayed() == loop.state
    assert all(loop.state.tasks[name].job is not None for name in loop.state.tasks if loop.state.tasks[name].state == "running")


def test_looking_and_deciding_change_nothing_however_busy_the_engine_is() -> None:
    loop = EngineLoop(ENGINE, SETTINGS, outcome=outcome)
    for place in range(60):
        params: dict[str, Any] = {
            "task_id": f"t{place}",
            "units": place % 9 + 1,
            "priority": PRIORITIES[place % 4],
            "deadline_s": 20 + place,
        }
        if place % 3 == 0:
            params["job"] = {"name": "verify_log", "params": {"log": "engine_state"}}
        elif place % 3 == 1:
            params["duration_s"] = 5.0
        if place > 10:
            params["depends_on"] = [f"t{place - 7}"] if place % 5 == 0 else []
        loop.ask("submit_task", params, CALLERS[place % 3])
    for seconds in (0.0, 1.0, 3.0, 31.0):
        loop.run(seconds)
        loop.mono_us += AGE_US
        before = copy.deepcopy(loop.state)
        loop.wanted()
        for verb in ("tasks", "pools", "status", "health"):
            loop.look(verb)
        for row in ENGINE.rows:
            if row.kind == "internal" and row.name != "resource.job_ended":
                command = row.params() if not row.params.__struct_fields__ else row.params("compute")
                loop.world.decide(row, command, loop.context())
        assert loop.state == before
        assert all(loop.state.pools[name].queue.aging.heap == before.pools[name].queue.aging.heap for name in POOLS)
        loop.mono_us -= AGE_US


@pytest.mark.parametrize("seed", range(3))
def test_nothing_starves_under_an_adversary_with_more_than_the_pool_can_do(seed: int) -> None:
    """Three callers keep a hundred critical tasks queued for ever. A fourth one's low ones, one as large as the pool, still run."""
    still = Bounds(4, 4)
    loop = EngineLoop(ENGINE, Settings(pools=PoolSettings(still, still, still, still)), seed=seed)
    victim = Actor("uid:2000", "operator")
    for name, units in (("small", 1), ("large", 4), ("medium", 2)):
        loop.ask("submit_task", {"task_id": name, "units": units, "duration_s": 1, "priority": "low"}, victim)
    count = 0
    while any(loop.state.tasks[name].state != "done" for name in ("small", "large", "medium")):
        while loop.state.pools["compute"].queue.tasks < 100:
            count += 1
            flood = {"task_id": f"f{count}", "units": loop.random.randint(1, 3), "duration_s": 1.0, "priority": "critical"}
            loop.ask("submit_task", flood, CALLERS[count % 3])
        loop.run(1.0)
        assert loop.mono_us < 200_000_000, "90 s until it has risen, then a few turns"
    started = [
        stamp.mono_us
        for kind, payload, stamp in loop.records
        if kind == "task.started" and b"f" not in payload.split(b'"task_id":"')[1][:1]
    ]
    assert len(started) == 3 and started[0] >= 90_000_000


def test_with_200_000_waiting_a_step_still_touches_only_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: what the agendas and lines are asked for while one task is submitted, started, ended and cancelled."""
    loop = EngineLoop(ENGINE, Settings(pools=PoolSettings(Bounds(4, 4))))
    pools: Pools = loop.state
    ask = loop.ask
    row = loop.world.rows["resource.submit_task"]
    stamps = loop.records
    for place in range(199_990):
        loop.world.apply(
            *_submitted(
                loop, row.params(task_id=f"t{place}", duration_s=5.0, priority=PRIORITIES[place % 4]), CALLERS[place % 3], place
            )
        )
    assert pools.waiting == 199_990 and len(stamps) == 1

    calls = 0
    original = Agenda._is_live

    def counted(self: Agenda[Any], entry: Any) -> bool:
        nonlocal calls
        calls += 1
        return original(self, entry)

    monkeypatch.setattr(Agenda, "_is_live", counted)
    ask("submit_task", {"task_id": "one", "duration_s": 1.0, "deadline_s": 60.0})
    loop.wanted()
    assert len(ask("dispatch", {"pool": "compute"})) == 4
    loop.wanted()
    ask("cancel_task", {"task_id": "t100000"})
    ask("cancel_task", {"task_id": "one"})
    assert calls < 200
    assert len(loop.look("tasks", {"limit": 5}).tasks) == 5
    assert decide_dispatch(pools, Dispatch("compute"), loop.context()).events == ()


def _submitted(loop: EngineLoop, command: Any, actor: Actor, seq: int) -> tuple[Any, Any]:
    from core.engine import Stamp

    event = loop.world.decide(loop.world.rows["resource.submit_task"], command, loop.context(actor)).events[0]
    return event, Stamp(loop.log, seq, loop.wall_us, loop.mono_us, loop.boot_id, actor.name)
