"""Tasks that fail and heal, and an engine that comes back: after a kill, after a reboot, under a wall clock that jumped."""

import random
from typing import Any

import pytest

from core.engine import Job, JobEnded, Refused
from core.jobs import JOBS, validate
from core.resource import ENGINE
from core.resource.commands import RESULT_BYTES_MAX, longest_wait_s
from core.resource.events import Resumed, TaskDone, TaskFailed, TaskParked, TaskRequeued, TaskStarted
from core.settings import Jobs, Pool, Retry, Settings
from core.settings import Pools as PoolSettings
from tests.core.engine_loop import EngineLoop

STILL = Pool(floor=4, ceiling=4)
FIXED = PoolSettings(STILL, STILL, STILL, STILL)
ROOTS = Jobs(roots={"docs": "/srv/docs", "music": "/srv/music"})
HASH = {"name": "hash_tree", "params": {"root": "docs"}}


def loop_of(retry: Retry | None = None, **more: Any) -> EngineLoop:
    return EngineLoop(ENGINE, Settings(pools=FIXED, jobs=ROOTS, retry=retry or Retry()), **more)


def fails(code: str = "failed", seconds: float = 1.0) -> Any:
    return lambda job: (seconds, JobEnded(job.id, False, code))


def never(job: Job) -> None:
    return None


def submit(loop: EngineLoop, name: str, **more: Any) -> None:
    loop.ask("submit_task", {"task_id": name, **more})


def seen(loop: EngineLoop, kind: type) -> list[Any]:
    return [event for event in loop.events if isinstance(event, kind)]


# --- failure and backoff -----------------------------------------------------------------------------------------------------


def test_a_task_that_keeps_failing_is_tried_as_often_as_configured_and_parked_with_its_reasons() -> None:
    codes = iter(["crashed", "timeout", "memory", "failed", "bad-output"])
    loop = loop_of(outcome=lambda job: (1.0, JobEnded(job.id, False, next(codes))))
    submit(loop, "t-1", job=HASH)
    loop.run(300)
    assert [(event.attempt, event.code) for event in seen(loop, TaskFailed)] == [
        (1, "crashed"),
        (2, "timeout"),
        (3, "memory"),
        (4, "failed"),
    ]
    assert seen(loop, TaskParked) == [TaskParked("t-1", ["crashed", "timeout", "memory", "failed", "bad-output"])]
    assert loop.state.pools["compute"].used == 0 and loop.wanted()[1] == []


def test_a_task_that_heals_is_done() -> None:
    codes = iter([False, False, True])
    loop = loop_of(outcome=lambda job: (1.0, JobEnded(job.id, next(codes), "failed", "", {"files": 1})))
    submit(loop, "t-1", job=HASH)
    loop.run(30)
    assert seen(loop, TaskDone) == [TaskDone("t-1", {"files": 1})]
    assert len(seen(loop, TaskStarted)) == 3


def test_units_are_free_while_a_task_waits_for_its_next_attempt() -> None:
    loop = loop_of(Retry(base_s=50.0), outcome=fails())
    submit(loop, "t-1", units=4, job=HASH)
    loop.run(1)
    assert (loop.state.tasks["t-1"].state, loop.state.pools["compute"].used) == ("retrying", 0)
    assert loop.wanted()[1] == []


def test_the_next_attempt_comes_exactly_when_the_event_says() -> None:
    loop = loop_of(Retry(attempts=2, base_s=50.0), outcome=fails())
    submit(loop, "t-1", job=HASH)
    loop.run(1)
    wait_s = seen(loop, TaskFailed)[0].retry_in_ms / 1000
    loop.run(wait_s - 0.001)
    assert seen(loop, TaskRequeued) == []
    loop.run(0.001)
    assert seen(loop, TaskRequeued) == [TaskRequeued("t-1")] and loop.state.tasks["t-1"].state == "running"


@pytest.mark.parametrize(("attempt", "bound_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (99, 60.0)])
def test_the_bound_of_the_wait_doubles_up_to_its_cap(attempt: int, bound_s: float) -> None:
    assert longest_wait_s(Retry(), attempt) == bound_s


def test_waits_are_spread_over_all_of_their_bound() -> None:
    """Full jitter: 400 tasks that fail together do not come back together. The quarters are even, within five sigma."""
    loop = loop_of(Retry(attempts=2, base_s=8.0), outcome=fails(seconds=0.1), seed=7)
    for place in range(400):
        submit(loop, f"t{place}", job=HASH)
    loop.run(60)
    waits = [event.retry_in_ms for event in seen(loop, TaskFailed)]
    assert len(waits) == 400 and all(0 <= wait <= 8_000 for wait in waits)
    quarters = [sum(1 for wait in waits if low <= wait < low + 2_000) for low in range(0, 8_000, 2_000)]
    assert all(57 <= count <= 143 for count in quarters), quarters


@pytest.mark.parametrize(
    "result",
    [
        {"text": "x" * RESULT_BYTES_MAX},
        {"number": 2**60},
        {"nan": float("nan")},
        {"lone": "\ud800"},
        {"": 1},
    ],
)
def test_a_result_that_cannot_be_kept_is_a_failed_attempt(result: dict[str, Any]) -> None:
    loop = loop_of(outcome=lambda job: (1.0, JobEnded(job.id, True, "ok", "", result)))
    submit(loop, "t-1", job=HASH)
    loop.run(1)
    assert [event.code for event in seen(loop, TaskFailed)] == ["bad-output"]


def test_an_outcome_that_comes_twice_or_for_an_earlier_attempt_counts_once() -> None:
    loop = loop_of(Retry(base_s=0.001), outcome=never)
    submit(loop, "t-1", job=HASH)
    loop.settle()
    first = loop.wanted()[1][0].id
    assert loop.ask("job_ended", JobEnded(first, False, "failed")) != []
    assert loop.ask("job_ended", JobEnded(first, False, "failed")) == []
    loop.run(1)
    second = loop.wanted()[1][0].id
    assert second != first
    assert loop.ask("job_ended", JobEnded(first, True, "ok")) == []
    assert loop.ask("job_ended", JobEnded(second, True, "ok")) == [TaskDone("t-1")]


def test_an_effect_is_named_after_the_event_that_caused_it_and_knows_its_time() -> None:
    loop = loop_of(outcome=never)
    submit(loop, "t-1", job=HASH, deadline_s=90)
    submit(loop, "t-2", job=HASH)
    loop.settle()
    started = [stamp.cause() for kind, _, stamp in loop.records if kind == "task.started"]
    assert loop.wanted()[1] == [
        Job(started[0], "hash_tree", {"root": "docs"}, 90.0),
        Job(started[1], "hash_tree", {"root": "docs"}, None),
    ]


# --- coming back -------------------------------------------------------------------------------------------------------------


def test_a_job_runs_again_under_its_old_name_after_a_kill() -> None:
    loop = loop_of(outcome=never)
    submit(loop, "t-1", job=HASH)
    loop.settle()
    before = loop.wanted()[1]
    for reboot in (False, True):
        loop.restart(down_s=5, reboot=reboot)
        assert loop.wanted()[1] == before
    assert loop.ask("job_ended", JobEnded(before[0].id, True, "ok")) == [TaskDone("t-1")]


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize(("down_s", "left_s"), [(0, 6), (2.5, 3.5), (6, 0), (500, 0)])
def test_a_task_holds_its_units_until_its_time_whatever_happens_in_between(reboot: bool, down_s: float, left_s: float) -> None:
    loop = loop_of()
    submit(loop, "t-1", units=4, duration_s=10)
    loop.run(4)
    loop.restart(down_s, reboot=reboot)
    if left_s:
        loop.run(left_s - 0.001)
        assert (loop.state.tasks["t-1"].state, loop.state.pools["compute"].used) == ("running", 4)
        loop.run(0.001)
    loop.settle()
    assert loop.state.tasks["t-1"].state == "done"


def test_deadlines_waits_and_ages_go_on_across_a_reboot() -> None:
    loop = loop_of(Retry(attempts=2, base_s=60.0), outcome=fails(), seed=3)
    submit(loop, "failed", job=HASH, resource_type="storage")
    loop.run(1)
    wait_s = seen(loop, TaskFailed)[0].retry_in_ms / 1000
    assert wait_s > 12
    submit(loop, "running", units=4, duration_s=500)
    loop.settle()
    submit(loop, "late", priority="low", deadline_s=40)
    loop.run(10)
    loop.restart(down_s=0.5, reboot=True)
    due = {timer.id: (timer.due_us - loop.mono_us) / 1e6 for timer in loop.wanted()[0]}
    assert due == {"ends": 489.5, "deadlines": 29.5, "retries": pytest.approx(wait_s - 10.5), "age:compute": 19.5}


def test_another_boot_is_recorded_once() -> None:
    loop = loop_of()
    submit(loop, "t-1", duration_s=100)
    loop.run(1)
    loop.restart(reboot=True)
    loop.restart()
    loop.restart()
    assert seen(loop, Resumed) == [Resumed(), Resumed()]
    assert loop.state.clock.boot == loop.boot_id


@pytest.mark.parametrize("jump_s", [-1_000_000, 40])
def test_a_wall_clock_that_jumps_matters_only_across_a_reboot(jump_s: float) -> None:
    loop = loop_of()
    submit(loop, "t-1", duration_s=100)
    loop.run(10)
    loop.restart(wall_jump_s=jump_s)
    assert loop.wanted()[0][0].due_us == loop.mono_us + 90_000_000
    loop.wall_us += round(jump_s * 1e6)
    assert loop.wanted()[0][0].due_us == loop.mono_us + 90_000_000
    loop.run(1)
    submit(loop, "t-2", duration_s=1)
    loop.restart(wall_jump_s=jump_s, reboot=True)
    left_s = 89 - loop.mono_us // 1_000_000 if jump_s < 0 else 49  # at least since that boot the time did pass
    assert loop.wanted()[0][0].due_us == loop.mono_us + left_s * 1_000_000
    loop.run(left_s - 0.001)
    assert loop.state.tasks["t-1"].state == "running"
    loop.run(0.001)
    assert loop.state.tasks["t-1"].state == "done"


def test_a_clock_that_steps_back_within_a_boot_makes_no_task_wait_longer() -> None:
    loop = loop_of()
    submit(loop, "t-1", units=4, duration_s=100)
    loop.run(10)
    submit(loop, "t-2", priority="low", units=4)
    loop.mono_us -= 7_000_000
    submit(loop, "t-3", priority="low", units=4)
    times = [loop.state.tasks[name].ready_at for name in ("t-2", "t-3")]
    assert times == sorted(times)
    assert loop.replayed() == loop.state


def test_even_without_resume_another_boot_is_understood() -> None:
    """Should a crash come between replay and the first event, times are still right."""
    loop = loop_of()
    submit(loop, "t-1", duration_s=100)
    loop.run(10)
    loop.restart(down_s=5, reboot=True, keep=None)
    loop.records.pop()
    loop.world.reset(loop.log)
    loop.world.replay_all(loop.records)
    assert loop.wanted()[0][0].due_us == loop.mono_us + 85_000_000
    submit(loop, "t-2", duration_s=1, units=4)
    assert loop.wanted()[0][0].due_us == loop.mono_us + 85_000_000


# --- the registry of jobs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_job_has_an_example_that_is_accepted(name: str) -> None:
    settings = Settings(jobs=Jobs(roots={"documents": "/srv/documents"}))
    assert isinstance(validate(name, JOBS[name].example, settings), JOBS[name].params)
    assert JOBS[name].help and all(
        f"    {field}: " in (JOBS[name].params.__doc__ or "") for field in JOBS[name].params.__struct_fields__
    )


@pytest.mark.parametrize(
    ("name", "params", "code", "words", "field"),
    [
        ("hash", {}, "not-found", "no job is named hash. Did you mean hash_tree?", None),
        ("rm", {"root": "/"}, "not-found", "no job is named rm. There are: hash_tree, verify_log", None),
        (
            "hash_tree",
            {"root": "doc"},
            "not-found",
            "no directory is named doc. Did you mean docs?; an admin adds jobs.roots.doc to the configuration",
            "job.params.root",
        ),
        ("hash_tree", {}, "invalid-argument", None, "job.params"),
        ("hash_tree", {"root": "docs", "command": "rm"}, "invalid-argument", None, "job.params"),
        ("hash_tree", {"root": "../etc"}, "invalid-argument", None, "job.params.root"),
        ("hash_tree", {"root": "/etc"}, "invalid-argument", None, "job.params.root"),
        ("hash_tree", {"root": 1}, "invalid-argument", None, "job.params.root"),
        ("verify_log", {"log": "../LOCK"}, "invalid-argument", None, "job.params.log"),
        ("verify_log", {"log": "engine_state\n"}, "invalid-argument", None, "job.params.log"),
        ("verify_log", {"log": "engine_state.jsonl"}, "invalid-argument", None, "job.params.log"),
    ],
)
def test_what_is_not_in_the_registry_or_the_configuration_is_refused(
    name: str, params: dict[str, Any], code: str, words: str | None, field: str | None
) -> None:
    with pytest.raises(Refused) as caught:
        validate(name, params, Settings(jobs=ROOTS))
    assert caught.value.code == code
    assert words is None or caught.value.detail == words
    assert [path for path, _ in caught.value.fields] == ([field] if field else [])


def test_without_roots_the_refusal_says_so() -> None:
    with pytest.raises(Refused, match=r"None is configured; an admin adds jobs\.roots\.docs to the configuration"):
        validate("hash_tree", {"root": "docs"}, Settings())


def test_jitter_comes_from_the_context_alone() -> None:
    """The same seed draws the same waits, whatever the process drew before."""

    def waits() -> list[int]:
        random.random()
        loop = loop_of(outcome=fails(), seed=11)
        submit(loop, "t-1", job=HASH)
        loop.run(100)
        return [event.retry_in_ms for event in seen(loop, TaskFailed)]

    assert waits() == waits()
