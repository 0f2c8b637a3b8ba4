"""The offline drill as a job: one at a time, wanted until it ends, and believed only as far as it can be true."""

from typing import Any

import msgspec
import pytest

from core.cache import ENGINE
from core.cache.drill import DrillStarted, DrillStopped
from core.engine import IRER, CancelJob, Job, JobEnded, Refused
from core.metrics.queue import Drilled as Heard
from tests.core.engine_loop import EngineLoop

GOOD: dict[str, Any] = {
    "attempted": 100,
    "survived": 100,
    "conflicts": 4,
    "kills": 2,
    "cuts": 3,
    "equal": True,
    "chains": "ok",
    "lost": [],
}
LOST = [{"key": f"drill-0000{number}", "rev": "1-a", "why": "forgotten"} for number in range(8)]


def drilling() -> EngineLoop:
    it = EngineLoop(ENGINE)
    it.ask("drill", {"hours": 2, "operations": 100})
    return it


def wanted(it: EngineLoop) -> list[Job]:
    return [effect for effect in ENGINE.wanted(it.state, it.context(IRER)) if isinstance(effect, Job)]


def end(it: EngineLoop, ok: bool = True, code: str = "ok", result: dict[str, Any] | None = None) -> None:
    [job] = wanted(it)
    it.ask("job_ended", JobEnded(job.id, ok, code, "", GOOD if result is None else result), IRER)
    assert wanted(it) == [] and it.replayed() == it.state


def test_one_runs_at_a_time_and_it_is_wanted_again_after_a_restart_from_the_same_seed() -> None:
    it = EngineLoop(ENGINE)
    [started] = it.ask("drill")
    assert isinstance(started, DrillStarted) and (started.hours, started.operations) == (24, 10_000)
    [before] = wanted(it)
    assert before.params == {"hours": 24, "operations": 10_000, "seed": started.seed} and before.timeout_s
    it.restart(down_s=10, reboot=True)
    assert wanted(it) == [before]
    with pytest.raises(Refused) as refused:
        it.ask("drill")
    assert (refused.value.code, refused.value.reason) == ("already-running", "drill") and len(it.records) == 1
    with pytest.raises(Refused):
        it.ask("cancel_job", CancelJob("another"))
    [stopped] = it.ask("cancel_job", CancelJob(started.job))
    assert isinstance(stopped, DrillStopped) and wanted(it) == []
    assert it.ask("job_ended", JobEnded(before.id, True, "ok", "", GOOD), IRER) == []
    assert it.ask("cancel_job", CancelJob(started.job)) == []
    assert it.look("status").drill is None, "a cancelled one says nothing of the cache"
    assert it.ask("drill", {"hours": 1, "operations": 10})[0].seed != started.seed


@pytest.mark.parametrize(
    "params", [{"hours": 0}, {"hours": 721}, {"operations": 9}, {"operations": 100_001}, {"hours": 1.5}, {"operations": "many"}]
)
def test_a_size_out_of_its_bounds_is_refused(params: dict[str, Any]) -> None:
    it = EngineLoop(ENGINE)
    with pytest.raises(msgspec.ValidationError):
        it.ask("drill", params)
    assert it.records == []


def test_its_outcome_is_an_event_that_the_metrics_understand_and_shows_in_the_status() -> None:
    it = drilling()
    end(it)
    assert it.records[-1][0] == "cache.drilled"
    assert msgspec.json.decode(it.records[-1][1], type=Heard) == Heard(100, 100)
    [job] = ENGINE.jobs(it.state)
    assert (job.method, job.state, job.ok, job.code) == ("cache.drill", "done", True, "ok")
    assert job.result == {**GOOD, "hours": 2, "operations": 100, "latency_tolerance": 100.0}
    last = it.look("status").drill
    assert (last.hours, last.operations, last.survived, last.latency_tolerance, last.chains) == (2, 100, 100, 100.0, "ok")
    assert [check.health for check in ENGINE.checks(it.state, it.context())] == ["ok"]


@pytest.mark.parametrize(
    ("said", "code", "tolerance"),
    [
        ({"survived": 99, "lost": LOST[:1]}, "lost", 99.0),
        ({"survived": 90, "lost": LOST, "equal": False}, "lost", 90.0),
        ({"chains": "broken"}, "chain-broken", 100.0),
    ],
)
def test_a_drill_that_found_a_fault_is_no_success_and_health_says_so(said: dict[str, Any], code: str, tolerance: float) -> None:
    it = drilling()
    end(it, result=GOOD | said)
    [job] = ENGINE.jobs(it.state)
    assert (job.ok, job.code, job.result["latency_tolerance"]) == (False, code, tolerance)
    assert [check.health for check in ENGINE.checks(it.state, it.context())] == ["ok", "degraded"]
    it.ask("drill", {"hours": 2, "operations": 100})
    end(it, ok=False, code="timeout")
    assert it.look("status").drill.latency_tolerance == tolerance, "one without an outcome changes nothing"


@pytest.mark.parametrize(
    "said",
    [
        {"survived": 101},
        {"survived": -1},
        {"attempted": 99},
        {"attempted": 0, "survived": 0},
        {"survived": 99},
        {"lost": LOST[:1]},
        {"survived": 50, "lost": LOST[:2]},
        {"survived": 50, "lost": [*LOST, LOST[0]]},
        {"survived": 99, "lost": [{"key": "a\nb", "why": "forgotten"}]},
        {"survived": 99, "lost": [{"key": "a", "why": "Because"}]},
        {"equal": False},
        {"chains": "fine"},
        {"conflicts": "many"},
        {"more": 1},
        {"survived": 2**60},
    ],
    ids=str,
)
def test_what_no_drill_can_come_to_is_not_believed(said: dict[str, Any]) -> None:
    it = drilling()
    end(it, result=GOOD | said)
    [job] = ENGINE.jobs(it.state)
    assert (job.ok, job.code, job.result) == (False, "bad-output", {}) and "Try again" in (job.detail or "")
    assert it.look("status").drill is None


@pytest.mark.parametrize("code", ["timeout", "memory", "io-error", "no-process", "crashed", "bad-output"])
def test_a_drill_that_could_not_be_done_says_why_and_what_to_do(code: str) -> None:
    it = drilling()
    end(it, ok=False, code=code, result={})
    [job] = ENGINE.jobs(it.state)
    assert job.code == code and "ry again" in (job.detail or "")
