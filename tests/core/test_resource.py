"""The resource engine as its callers see it: what is accepted, what is refused with which words, what runs when."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from core.engine import Actor, JobEnded, Refused
from core.resource import ENGINE
from core.resource.commands import EVENTS_MAX, EndTasks
from core.resource.events import PoolScaled, TaskCancelled, TaskDone, TaskExpired, TaskParked, TaskStarted, TaskSubmitted
from core.resource.pools import FINISHED_KEPT, RELEASED_AT_ONCE, START_UNITS, Pools
from core.resource.queue import Task
from core.resource.reads import ListTasks
from core.settings import Jobs, Pool, Settings
from core.settings import Pools as PoolSettings
from core.wire.calls import done
from core.wire.frames import FRAME_MAX
from tests.core.engine_loop import ANN, EngineLoop

BOB = Actor("uid:1002", "operator", 1002)
STILL = Pool(floor=4, ceiling=4)
FIXED = PoolSettings(STILL, STILL, STILL, STILL)
"""Pools that never change their size."""


def loop_of(**more: Any) -> EngineLoop:
    return EngineLoop(ENGINE, Settings(**{"pools": FIXED, **more}))


@pytest.fixture
def loop() -> EngineLoop:
    return loop_of()


def submit(loop: EngineLoop, name: str, actor: Actor = ANN, **more: Any) -> None:
    loop.ask("submit_task", {"task_id": name, **more}, actor)


def state_of(loop: EngineLoop, name: str) -> str:
    return str(loop.state.tasks[name].state)


def seen(loop: EngineLoop, kind: type) -> list[Any]:
    return [event for event in loop.events if isinstance(event, kind)]


def refusal(loop: EngineLoop, verb: str, params: Mapping[str, Any]) -> Refused:
    """The refusal, after seeing that nothing came of it."""
    before = len(loop.records)
    with pytest.raises(Refused) as caught:
        loop.ask(verb, params)
    assert len(loop.records) == before and loop.replayed() == loop.state
    return caught.value


# --- from submission to the end ----------------------------------------------------------------------------------------------


def test_a_task_holds_its_units_for_its_duration(loop: EngineLoop) -> None:
    submit(loop, "t-1", units=3, duration_s=2.5)
    loop.settle()
    assert (state_of(loop, "t-1"), loop.state.pools["compute"].used) == ("running", 3)
    loop.run(2.499)
    assert state_of(loop, "t-1") == "running"
    loop.run(0.001)
    assert (state_of(loop, "t-1"), loop.state.pools["compute"].used) == ("done", 0)


def test_the_events_are_those_of_the_published_log(loop: EngineLoop) -> None:
    submit(loop, "t-1", priority="high", units=4, duration_s=2.5)
    loop.run(3)
    assert [(kind, msgspec.json.decode(payload)) for kind, payload, _ in loop.records[-3:]] == [
        ("task.submitted", {"duration_s": 2.5, "priority": "high", "resource_type": "compute", "task_id": "t-1", "units": 4}),
        ("task.started", {"pool": "compute", "task_id": "t-1", "units": 4}),
        ("task.done", {"task_id": "t-1"}),
    ]
    loop.ask("scale", {"pool": "network", "size": 4})
    loop.settings = Settings()
    loop.ask("scale", {"pool": "compute", "size": 12})
    assert loop.records[-1][:2] == ("pool.scaled", b'{"from_units":4,"pool":"compute","reason":"request","to_units":12}')


def test_a_task_without_time_or_job_starts_and_ends_at_once(loop: EngineLoop) -> None:
    submit(loop, "t-1")
    loop.settle()
    assert [type(event) for event in loop.events[-3:]] == [TaskSubmitted, TaskStarted, TaskDone]


def test_submitting_alone_starts_nothing(loop: EngineLoop) -> None:
    assert [type(event) for event in loop.ask("submit_task", {"task_id": "t-1"})] == [TaskSubmitted]
    assert state_of(loop, "t-1") == "waiting"


def test_a_task_without_a_name_gets_one(loop: EngineLoop) -> None:
    assert [getattr(event, "task_id", None) for event in loop.ask("submit_task", {}) + loop.ask("submit_task", {})] == [
        "id-1",
        "id-2",
    ]


def test_units_in_use_never_exceed_the_size(loop: EngineLoop) -> None:
    for place in range(30):
        submit(loop, f"t-{place}", units=place % 4 + 1, duration_s=1 + place % 3)
    for _ in range(100):
        loop.run(0.5)
        running = [task.units for task in loop.state.tasks.values() if task.state == "running"]
        assert sum(running) == loop.state.pools["compute"].used <= START_UNITS
    assert len(seen(loop, TaskDone)) == 30


def test_a_large_task_is_not_overtaken_by_small_ones_that_would_fit(loop: EngineLoop) -> None:
    submit(loop, "first", units=2, duration_s=5)
    loop.settle()
    submit(loop, "large", units=4, duration_s=1)
    for place in range(20):
        submit(loop, f"small{place}", BOB, units=1, duration_s=1)
    loop.run(4.9)
    assert state_of(loop, "large") == "waiting" and not any(state_of(loop, f"small{place}") == "running" for place in range(20))
    loop.run(0.2)
    assert state_of(loop, "large") == "running"


def test_pools_do_not_wait_for_each_other(loop: EngineLoop) -> None:
    submit(loop, "t-1", units=4, duration_s=60)
    submit(loop, "t-2", units=4, duration_s=60)
    submit(loop, "t-3", units=4, duration_s=60, resource_type="network")
    loop.settle()
    assert [state_of(loop, f"t-{place}") for place in (1, 2, 3)] == ["running", "waiting", "running"]


def test_a_task_past_its_deadline_is_given_up_waiting_or_running(loop: EngineLoop) -> None:
    submit(loop, "running", units=4, duration_s=60, deadline_s=10)
    loop.settle()
    submit(loop, "waiting", units=1, duration_s=1, deadline_s=5)
    submit(loop, "in-time", units=1, duration_s=1, deadline_s=60)
    loop.run(5)
    assert [state_of(loop, name) for name in ("running", "waiting", "in-time")] == ["running", "expired", "waiting"]
    loop.run(4.999)
    assert state_of(loop, "running") == "running"
    loop.run(1.001)
    assert [state_of(loop, name) for name in ("running", "in-time")] == ["expired", "done"]


def test_what_ends_exactly_at_its_deadline_is_done(loop: EngineLoop) -> None:
    submit(loop, "t-1", duration_s=10, deadline_s=10)
    loop.settle()
    assert [timer.id for timer in loop.wanted()[0]] == ["ends"]
    loop.run(10)
    assert state_of(loop, "t-1") == "done"


def test_an_expired_task_does_not_start_even_if_nobody_has_noticed_yet(loop: EngineLoop) -> None:
    submit(loop, "t-1", duration_s=1, deadline_s=1)
    loop.mono_us += 2_000_000
    assert loop.ask("dispatch", {"pool": "compute"}) == [TaskExpired("t-1")]


def test_the_time_of_a_deadline_is_not_stretched_by_a_retry() -> None:
    loop = loop_of(jobs=Jobs(roots={"docs": "/srv/docs"}))
    loop.outcome = lambda job: (0.5, JobEnded(job.id, False, "failed"))
    submit(loop, "t-1", job={"name": "hash_tree", "params": {"root": "docs"}}, deadline_s=1.2)
    loop.run(1.3)
    assert state_of(loop, "t-1") == "expired"


# --- dependencies ------------------------------------------------------------------------------------------------------------


def test_a_task_waits_for_all_it_depends_on(loop: EngineLoop) -> None:
    submit(loop, "a", duration_s=1)
    submit(loop, "b", duration_s=2)
    submit(loop, "c", depends_on=["a", "b", "a"], duration_s=1)
    loop.run(1.5)
    assert state_of(loop, "c") == "blocked"
    loop.run(0.5)
    assert state_of(loop, "c") == "running"
    submit(loop, "d", depends_on=["a"])
    assert state_of(loop, "d") == "waiting", "what is done already need not be waited for"


@pytest.mark.parametrize("fate", ["cancelled", "expired", "parked"])
def test_what_depends_on_a_task_that_is_never_done_is_cancelled_however_deep(fate: str) -> None:
    loop = loop_of(jobs=Jobs(roots={"docs": "/srv/docs"}))
    loop.outcome = lambda job: (0.1, JobEnded(job.id, False, "failed"))
    work: dict[str, Any] = {"job": {"name": "hash_tree", "params": {"root": "docs"}}} if fate == "parked" else {"duration_s": 9_000}
    submit(loop, "root", deadline_s=60 if fate == "expired" else 9_000, **work)
    for depth in range(5):
        submit(loop, f"d{depth}", depends_on=[f"d{depth - 1}" if depth else "root"])
    if fate == "cancelled":
        loop.ask("cancel_task", {"task_id": "root"})
    loop.run(600)
    assert state_of(loop, "root") == fate
    assert [(event.task_id, event.reason, event.dependency) for event in seen(loop, TaskCancelled) if event.dependency] == [
        (f"d{depth}", "dependency-failed", f"d{depth - 1}" if depth else "root") for depth in range(5)
    ]
    assert not loop.state.unsettled and not loop.state.dependents


@pytest.mark.parametrize("fate", ["cancelled", "done"])
def test_a_thousand_dependents_are_told_in_rounds(loop: EngineLoop, fate: str) -> None:
    submit(loop, "root", duration_s=1)
    submit(loop, "other", duration_s=1)
    for place in range(1_000):
        submit(loop, f"t{place}", depends_on=["root", "other"] if place % 2 else ["root"], duration_s=100)
    loop.settle()
    if fate == "cancelled":
        loop.ask("cancel_task", {"task_id": "root"})
        assert len(loop.ask("settle_dependents")) == EVENTS_MAX
        loop.settle()
        assert loop.state.pools["compute"].counts["cancelled"] == 1_001
    else:
        loop.mono_us += 1_000_000
        assert loop.ask("end_tasks") == [TaskDone("root"), TaskDone("other")]
        assert loop.state.pools["compute"].queue.tasks == RELEASED_AT_ONCE
        loop.settle()
        assert loop.state.pools["compute"].counts["blocked"] == 0
        released = [task.task_id for task in loop.state.tasks.values() if task.state == "running"]
        assert released == ["t0", "t2", "t4", "t6"], "the oldest first"
    assert not loop.state.unsettled and not loop.state.dependents
    assert loop.replayed() == loop.state


@pytest.mark.parametrize("both_first", [True, False])
def test_who_waited_for_two_in_vain_is_cancelled_once(loop: EngineLoop, both_first: bool) -> None:
    submit(loop, "a", duration_s=60)
    submit(loop, "b", duration_s=60)
    for place in range(400):
        submit(loop, f"t{place}", depends_on=["a", "b"] if (place < 200) == both_first else ["b"])
    for name in ("a", "b"):
        loop.ask("cancel_task", {"task_id": name})
    first = [event.task_id for event in loop.ask("settle_dependents") if isinstance(event, TaskCancelled)]
    assert len(first) == len(set(first)) == EVENTS_MAX
    loop.settle()
    assert loop.state.pools["compute"].counts["cancelled"] == 402


def test_a_cancelled_dependent_is_forgotten_by_what_it_waited_for(loop: EngineLoop) -> None:
    submit(loop, "root", duration_s=1)
    for place in range(50):
        submit(loop, f"t{place}", depends_on=["root"])
        loop.ask("cancel_task", {"task_id": f"t{place}"})
    assert not loop.state.dependents
    loop.run(2)
    assert state_of(loop, "t0") == "cancelled"


# --- cancelling --------------------------------------------------------------------------------------------------------------


def test_cancelling_frees_the_units_and_stops_the_job() -> None:
    loop = loop_of(jobs=Jobs(roots={"docs": "/srv/docs"}))
    loop.outcome = lambda job: None
    submit(loop, "t-1", units=4, job={"name": "hash_tree", "params": {"root": "docs"}})
    loop.settle()
    assert [job.params for job in loop.wanted()[1]] == [{"root": "docs"}]
    effect = loop.wanted()[1][0].id
    loop.ask("cancel_task", {"task_id": "t-1"})
    assert loop.wanted()[1] == [] and loop.state.pools["compute"].used == 0
    assert loop.ask("job_ended", JobEnded(effect, True, "ok")) == [], "its end comes too late"


def test_cancelling_a_waiting_task_takes_it_out_of_the_queue(loop: EngineLoop) -> None:
    submit(loop, "t-1")
    loop.ask("cancel_task", {"task_id": "t-1"})
    assert not any(timer.id.startswith("dispatch") for timer in loop.wanted()[0])
    assert loop.state.pools["compute"].queue.tasks == 0


# --- refusals ----------------------------------------------------------------------------------------------------------------


def test_more_than_the_ceiling_is_refused_in_the_frozen_words() -> None:
    loop = EngineLoop(ENGINE)
    words = "compute: 99 is outside 1..64. Ask for less, or raise pools.compute.ceiling in the configuration"
    for verb, params in (("submit_task", {"units": 99}), ("scale", {"pool": "compute", "size": 99})):
        refused = refusal(loop, verb, params)
        assert (refused.code, refused.detail) == ("out-of-range", words)
    refused = refusal(loop, "scale", {"pool": "compute", "size": 0})
    words = "compute: 0 is outside 1..64. Ask for more, or lower pools.compute.floor in the configuration"
    assert (refused.code, refused.detail) == ("out-of-range", words)


REFUSALS = [
    (
        "submit_task",
        {"task_id": "t-1"},
        "already-exists",
        "task t-1 exists already (running). Choose another task_id, or leave it out",
    ),
    (
        "submit_task",
        {"depends_on": ["t-1", "t-I"]},
        "not-found",
        "no task is named t-I. Did you mean t-1? All: irerctl engine tasks",
    ),
    (
        "submit_task",
        {"task_id": "me", "depends_on": ["me"]},
        "not-found",
        "no task is named me. All: irerctl engine tasks",
    ),
    (
        "submit_task",
        {"depends_on": ["gone"]},
        "failed-precondition",
        "task gone is cancelled, so what depends on it would never start. Submit it anew under another name",
    ),
    (
        "submit_task",
        {"duration_s": 1, "job": {"name": "hash_tree", "params": {"root": "docs"}}},
        "invalid-argument",
        "a task has a duration_s or a job, not both: a job ends when its work does. Leave duration_s out; deadline_s bounds it",
    ),
    ("submit_task", {"job": {"name": "hash_treee"}}, "not-found", "no job is named hash_treee. Did you mean hash_tree?"),
    ("cancel_task", {"task_id": "t-2"}, "not-found", "no task is named t-2. Did you mean t-1? All: irerctl engine tasks"),
    ("cancel_task", {"task_id": "gone"}, "failed-precondition", "task gone is cancelled already; there is nothing to cancel"),
    ("tasks", {"after": "yesterday"}, "invalid-argument", None),
]


@pytest.mark.parametrize(("verb", "params", "code", "words"), REFUSALS)
def test_a_refusal_says_what_to_do_and_changes_nothing(verb: str, params: dict[str, Any], code: str, words: str | None) -> None:
    loop = loop_of(jobs=Jobs(roots={"docs": "/srv/docs"}))
    submit(loop, "t-1", duration_s=60)
    submit(loop, "gone", duration_s=60)
    loop.ask("cancel_task", {"task_id": "gone"})
    loop.settle()
    if verb == "tasks":
        with pytest.raises(Refused) as caught:
            loop.look(verb, params)
        refused = caught.value
    else:
        refused = refusal(loop, verb, params)
    assert refused.code == code
    assert words is None or refused.detail == words


@pytest.mark.parametrize(
    "params",
    [
        {"task_id": ""},
        {"task_id": "a b"},
        {"task_id": "x" * 65},
        {"units": 0},
        {"units": True},
        {"units": 1.5},
        {"priority": "urgent"},
        {"resource_type": "gpu"},
        {"duration_s": 0},
        {"duration_s": -1},
        {"duration_s": float("nan")},
        {"duration_s": float("inf")},
        {"deadline_s": 1e9},
        {"depends_on": ["t"] * 65},
        {"depends_on": "t"},
        {"job": {"name": "hash_tree", "command": "rm"}},
        {"colour": "red"},
    ],
)
def test_parameters_outside_their_type_are_refused_before_they_reach_the_engine(params: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(params, type(ENGINE.rows[0].params()), strict=True)


def test_the_queue_has_an_end(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.resource.commands.WAITING_MAX", 3)
    for place in range(4):
        submit(loop, f"t-{place}", duration_s=60, units=4)
        loop.settle()
    refused = refusal(loop, "submit_task", {})
    assert (refused.code, refused.reason, refused.retry_ms) == ("resource-exhausted", "queue-full", 1000)
    assert refused.detail == "3 tasks wait already. Try again later, cancel some, or raise the ceilings of the pools"
    loop.ask("cancel_task", {"task_id": "t-0"})
    loop.settle()
    submit(loop, "t-4")


def test_a_task_that_no_longer_fits_the_ceiling_is_parked_and_blocks_nobody() -> None:
    loop = EngineLoop(ENGINE)
    submit(loop, "large", units=64, duration_s=1)
    submit(loop, "small", duration_s=1)
    loop.settings = Settings(pools=FIXED)
    loop.run(2)
    assert seen(loop, TaskParked) == [TaskParked("large", ["over-ceiling"])]
    assert state_of(loop, "small") == "done"


# --- what it remembers -------------------------------------------------------------------------------------------------------


def test_the_last_finished_tasks_are_kept_and_older_ones_are_forgotten(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FINISHED_KEPT == 10_000
    monkeypatch.setattr("core.resource.pools.FINISHED_KEPT", 50)
    submit(loop, "running", duration_s=1e6)
    for place in range(500):
        submit(loop, f"t{place}")
        loop.settle()
        assert len(loop.state.arrivals) <= 2 * 51 + 1
    pools: Pools = loop.state
    assert set(pools.tasks) == {"running"} | {f"t{place}" for place in range(450, 500)}
    assert pools.pools["compute"].counts["done"] == 50
    assert [row.task_id for row in loop.look("tasks", {"limit": 2}).tasks] == ["t499", "t498"]
    submit(loop, "t0")
    assert loop.replayed() == pools


# --- reading -----------------------------------------------------------------------------------------------------------------


def test_pages_of_tasks_are_complete_and_newest_first(loop: EngineLoop) -> None:
    for place in range(25):
        submit(
            loop, f"t{place}", BOB if place % 2 else ANN, resource_type="storage" if place % 5 == 0 else "compute", duration_s=60
        )
    loop.settle()

    def pages(**params: Any) -> list[str]:
        names, after = [], None
        while True:
            page = loop.look("tasks", {**params, **({"after": after} if after else {})})
            names += [row.task_id for row in page.tasks]
            after = page.next
            if after is None:
                return names

    everything = [f"t{place}" for place in range(24, -1, -1)]
    assert pages() == pages(limit=7) == pages(limit=25) == everything
    assert pages(limit=2, pool="storage") == [name for name in everything if int(name[1:]) % 5 == 0]
    assert pages(limit=3, state="running", pool="compute") == ["t4", "t3", "t2", "t1"]
    assert len(pages(state="running")) + len(pages(state="waiting")) == 25


def test_a_page_passes_over_a_bounded_number_of_tasks(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.resource.reads.LOOKED_AT_MAX", 10)
    for place in range(25):
        submit(loop, f"t{place}", units=4 if place else 3, duration_s=60)
    loop.settle()
    first = loop.look("tasks", {"state": "running"})
    second = loop.look("tasks", {"state": "running", "after": first.next})
    third = loop.look("tasks", {"state": "running", "after": second.next})
    assert (first.tasks, second.tasks, [row.task_id for row in third.tasks], third.next) == ([], [], ["t0"], None)


def test_the_last_ten_thousand_can_be_listed_though_they_fit_no_one_answer(loop: EngineLoop) -> None:
    pools, names, after, pages = loop.state, [], None, 0
    for order in range(FINISHED_KEPT):
        task = Task(f"task-{order}", order, "uid:1000", 2, "compute", 1, loop.wall_us, attempt=1, state="done")
        pools.tasks[task.task_id] = task
        pools.arrivals.append(task)
    while pages == 0 or after is not None:
        page = loop.look("tasks", {"limit": FINISHED_KEPT, **({"after": after} if after else {})})
        assert len(done(1, msgspec.to_builtins(page), cur="c" * 4_096)) <= FRAME_MAX
        names += [row.task_id for row in page.tasks]
        after, pages = page.next, pages + 1
    assert names == [f"task-{order}" for order in range(FINISHED_KEPT - 1, -1, -1)]
    assert pages > 1


def test_a_task_row_tells_its_story() -> None:
    loop = loop_of(jobs=Jobs(roots={"docs": "/srv/docs"}))
    outcomes = iter([JobEnded("", False, "crashed", "killed by\x00 a signal\ud800"), JobEnded("", True, "ok", "", {"files": 3})])
    loop.outcome = lambda job: (2.0, msgspec.structs.replace(next(outcomes), effect=job.id))
    submit(loop, "first", duration_s=1)
    submit(
        loop,
        "t-1",
        priority="high",
        units=2,
        deadline_s=900,
        depends_on=["first"],
        job={"name": "hash_tree", "params": {"root": "docs"}},
    )
    loop.run(3)
    row = loop.look("tasks", {"state": "retrying"}).tasks[0]
    assert (row.attempt, row.reasons, row.detail, row.depends_on) == (1, ["crashed"], "killed by  a signal ", ["first"])
    assert row.submitted_at == "2026-01-01T00:00:00.000000Z" and row.started_at == "2026-01-01T00:00:01.000000Z"
    assert row.deadline_at == "2026-01-01T00:15:00.000000Z" and row.retry_at is not None and row.retry_at < "2026-01-01T00:00:04.1"
    loop.run(10)
    row = loop.look("tasks", {"limit": 1}).tasks[0]
    assert (row.state, row.attempt, row.result, row.caller, row.priority, row.units) == (
        "done",
        2,
        {"files": 3},
        "uid:1001",
        "high",
        2,
    )
    assert row.job is not None and row.job.params == {"root": "docs"} and row.retry_at is None


def test_pools_and_status_add_up(loop: EngineLoop) -> None:
    submit(loop, "a", units=3, duration_s=10)
    submit(loop, "b", units=2, duration_s=10)
    submit(loop, "c", units=2, duration_s=10, resource_type="network")
    submit(loop, "d", depends_on=["a"])
    loop.settle()
    compute, _, network, _ = loop.look("pools").pools
    assert (compute.units, compute.used, compute.running, compute.waiting, compute.waiting_units, compute.blocked) == (
        4,
        3,
        1,
        1,
        2,
        1,
    )
    assert (network.utilisation, network.floor, network.ceiling) == (0.5, 4, 4)
    status = loop.look("status")
    assert (status.pools, status.units, status.used, status.running, status.waiting, status.blocked) == (4, 16, 5, 2, 1, 1)
    loop.ask("cancel_task", {"task_id": "b"})
    loop.run(30)
    status = loop.look("status")
    assert (status.done, status.cancelled, status.running, status.used, status.health) == (3, 1, 0, 0, "ok")


def test_health_says_what_is_wrong_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = loop_of(jobs=Jobs(roots={"docs": "/srv/docs"}))
    assert loop.look("health").health == "ok"
    for place in range(3):
        submit(loop, f"t-{place}", units=4, duration_s=600)
    loop.run(4.9)
    assert loop.look("health").health == "ok", "a short queue is no trouble"
    loop.run(0.1)
    trouble = loop.look("health").pools[0].reasons[0]
    assert (trouble.code, trouble.text) == ("at-ceiling", "2 waiting, and the pool has all 4 units it may have")
    assert trouble.remedy == "wait, or raise pools.compute.ceiling in the configuration"

    loop.outcome = lambda job: (0.1, JobEnded(job.id, False, "failed"))
    submit(loop, "bad", resource_type="storage", job={"name": "hash_tree", "params": {"root": "docs"}})
    loop.run(300)
    storage = loop.look("health").pools[1]
    assert (storage.health, storage.reasons[0].code, storage.reasons[0].text) == (
        "degraded",
        "parked",
        "1 parked after their last attempt",
    )
    loop.run(3_600)
    assert loop.look("health").pools[1].health == "ok"

    loop = EngineLoop(ENGINE)
    submit(loop, "t-1", units=4, duration_s=600)
    loop.settle()
    loop.ask("scale", {"pool": "compute", "size": 2})
    assert loop.look("health").pools[0].reasons[0].remedy == "wait, or: irerctl engine scale compute 4"
    submit(loop, "t-2", units=1, duration_s=1)
    monkeypatch.setattr("core.resource.reads.WAITING_MAX", 1)
    report = loop.look("health")
    assert report.health == "failed" and report.pools[0].reasons[0].code == "queue-full"


# --- the engine and the daemon -----------------------------------------------------------------------------------------------


def test_timers_keep_their_name_and_time_while_nothing_changes(loop: EngineLoop) -> None:
    submit(loop, "a", units=3, duration_s=10, deadline_s=5)
    submit(loop, "b", units=2, duration_s=10, priority="low", deadline_s=50)
    loop.settle()
    before = loop.wanted()
    loop.mono_us += 1_000_000
    assert loop.wanted() == before
    assert {timer.id for timer in before[0]} == {"deadlines", "age:compute"}


def test_what_is_asked_for_too_early_or_twice_leads_to_nothing(loop: EngineLoop) -> None:
    submit(loop, "a", units=3, duration_s=10)
    loop.settle()
    for verb in ("end_tasks", "expire_tasks", "retry_tasks", "settle_dependents", "resume"):
        assert loop.ask(verb) == []
    for verb in ("dispatch", "age", "autoscale"):
        assert loop.ask(verb, {"pool": "compute"}) == []
    loop.mono_us += 10_000_000
    assert len(loop.ask("end_tasks", EndTasks())) == 1 and loop.ask("end_tasks", EndTasks()) == []
    assert loop.ask("job_ended", JobEnded("engine_state:7:0", True, "ok")) == []


def test_no_command_leads_to_more_events_than_fit_a_batch(loop: EngineLoop) -> None:
    for place in range(600):
        submit(loop, f"t{place}", deadline_s=5)
    loop.mono_us += 6_000_000
    for verb in ("expire_tasks", "dispatch"):
        assert EVENTS_MAX - 1 <= len(loop.ask(verb, {"pool": "compute"} if verb == "dispatch" else {})) <= EVENTS_MAX


def test_command_line_spellings_name_parameters() -> None:
    for row in ENGINE.rows:
        for word in re.findall(r"[A-Z_]{2,}", row.cli):
            assert word.lower() in row.params.__struct_fields__, row.cli
    assert [row.cli for row in ENGINE.rows if row.name == "resource.status"] == ["engine"]


def test_lists_say_the_defaults_they_document() -> None:
    assert ListTasks().limit is None and "1,000" in (ListTasks.__doc__ or "")
    assert PoolScaled.event_type == "pool.scaled"
