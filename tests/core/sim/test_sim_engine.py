"""Runs as jobs: begun by a record, wanted until they end, ended once, and remembered in bounds. Nothing is lost by a restart."""

from typing import Any
from uuid import UUID

import pytest

from core import sim
from core.engine import IRER, Errand, Refused
from core.sim import commands, runs
from core.sim.chunk import ERRAND
from tests.core.engine_loop import EngineLoop

ASKED: dict[str, Any] = {"grid": {"n": 32}, "steps": 20, "seed": 7}


def outcome(job_uuid: str, **changed: Any) -> dict[str, Any]:
    return {
        "job_uuid": job_uuid,
        "status": "ok",
        "flags": [],
        "log_prime_sse": 0.25,
        "sse_code": None,
        "sdg_h_norm_l2": 0.01,
        "h_code": None,
        "sdg_h_norm_l2_max": None,
        "scaling_factor": 1.5,
        "n_peaks": 5,
        "n_targets": 5,
        "resolved": True,
        "artefact_sha256": "ab" * 32,
        **changed,
    }


def diverged(job_uuid: str) -> dict[str, Any]:
    none = {"log_prime_sse": None, "sse_code": "diverged", "sdg_h_norm_l2": None, "h_code": "diverged", "scaling_factor": None}
    return outcome(job_uuid, status="diverged", fail_step=3, **none)


def begun(loop: EngineLoop, **asked: Any) -> str:
    return str(commands.begun(loop.ask("run", {**ASKED, **asked})).job_uuid)


def errands(loop: EngineLoop) -> list[Errand]:
    return list(commands.wanted(loop.state, loop.context(IRER)))


def end(loop: EngineLoop, errand: Errand, result: dict[str, Any]) -> list[Any]:
    return loop.ask("job_ended", {"effect": errand.id, "ok": True, "code": "ok", "result": result}, IRER)


def job(loop: EngineLoop, job_uuid: str) -> Any:
    return next(each for each in runs.jobs(loop.state) if each.job == job_uuid)


@pytest.fixture
def loop() -> EngineLoop:
    return EngineLoop(sim.ENGINE)


# --- beginning --------------------------------------------------------------------------------------------------------------


def test_a_run_is_wanted_until_it_ends_and_its_outcome_is_kept(loop: EngineLoop) -> None:
    job_uuid = begun(loop)
    (errand,) = errands(loop)
    assert (errand.id, errand.name) == ("hunt_log:0:0", ERRAND)
    assert errand.params["lanes"][0]["job_uuid"] == job_uuid and errand.params["lanes"][0]["seed"] == 7
    assert job(loop, job_uuid).state == "running"
    end(loop, errand, {"lanes": [outcome(job_uuid)]})
    assert errands(loop) == []
    told = job(loop, job_uuid)
    assert (told.ok, told.code, told.result["log_prime_sse"]) == (True, "ok", 0.25)
    assert loop.replayed() == loop.state


def test_the_same_question_leads_to_the_same_work_but_for_its_name(loop: EngineLoop) -> None:
    begun(loop, params={"eps": 0.9, "c3": -0.6})
    begun(loop, params={"c3": -0.6, "eps": 0.9})
    first, second = (errand.params for errand in errands(loop))
    first["lanes"][0].pop("job_uuid"), second["lanes"][0].pop("job_uuid")
    assert first == second and list(first["lanes"][0]["params"]) == list(second["lanes"][0]["params"])


def test_a_refused_run_leaves_no_record_and_wants_nothing(loop: EngineLoop) -> None:
    with pytest.raises(Refused, match="outside its bounds"):
        loop.ask("run", {**ASKED, "params": {"eps": -1}})
    assert loop.records == [] and errands(loop) == []


def test_more_than_so_many_at_once_are_refused_until_one_has_ended(loop: EngineLoop) -> None:
    first = begun(loop)
    for _ in range(commands.RUNNING_MAX - 1):
        begun(loop)
    with pytest.raises(Refused) as refused:
        begun(loop)
    assert refused.value.code == "resource-exhausted" and refused.value.reason == "runs"
    loop.ask("cancel_job", {"job": first}, IRER)
    assert begun(loop)
    assert len(errands(loop)) == commands.RUNNING_MAX


# --- ending -----------------------------------------------------------------------------------------------------------------


def test_a_field_that_diverges_has_an_outcome_that_is_not_ok(loop: EngineLoop) -> None:
    job_uuid = begun(loop)
    end(loop, errands(loop)[0], {"lanes": [diverged(job_uuid)]})
    told = job(loop, job_uuid)
    assert (told.state, told.ok, told.code, told.result["fail_step"]) == ("done", False, "diverged", 3)
    assert "step 3" in told.detail and "lam5" in told.detail


def test_a_run_that_a_worker_could_not_hold_is_refused_and_one_that_it_could_begins(loop: EngineLoop) -> None:
    with pytest.raises(Refused, match="resource-exhausted"):
        loop.ask("run", {"grid": {"n": 2048}, "settings": {"snapshots": 12}})
    loop.ask("run", {"grid": {"n": 2048}, "settings": {"snapshots": 8}})


@pytest.mark.parametrize("code", ["poison", "timeout", "memory", "no-space", "not-installed", "internal"])
def test_work_that_fails_ends_the_run_with_its_code_and_words(loop: EngineLoop, code: str) -> None:
    job_uuid = begun(loop)
    loop.ask("job_ended", {"effect": errands(loop)[0].id, "ok": False, "code": code, "detail": "why, and what to do"}, IRER)
    told = job(loop, job_uuid)
    assert (told.ok, told.code, told.detail, told.result) == (False, code, "why, and what to do", {})
    assert errands(loop) == [] and loop.replayed() == loop.state


@pytest.mark.parametrize(
    "result",
    [{}, {"lanes": []}, {"lanes": [outcome("another")]}, {"lanes": [outcome("id-1", log_prime_sse=None)]}],
    ids=["nothing", "no lane", "another run", "neither number nor code"],
)
def test_what_cannot_be_true_ends_the_run_as_bad_output(loop: EngineLoop, result: dict[str, Any]) -> None:
    job_uuid = begun(loop)
    end(loop, errands(loop)[0], result)
    told = job(loop, job_uuid)
    assert (told.ok, told.code, told.result) == (False, "bad-output", {}) and told.detail


def test_a_cancelled_run_wants_nothing_and_its_late_end_changes_nothing(loop: EngineLoop) -> None:
    job_uuid = begun(loop)
    (errand,) = errands(loop)
    loop.ask("cancel_job", {"job": job_uuid}, IRER)
    assert errands(loop) == [] and job(loop, job_uuid).code == "cancelled"
    assert end(loop, errand, {"lanes": [outcome(job_uuid)]}) == []
    assert loop.ask("cancel_job", {"job": job_uuid}, IRER) == [], "a second time it is so already"
    assert job(loop, job_uuid).code == "cancelled"


def test_cancelling_what_is_not_known_is_refused(loop: EngineLoop) -> None:
    with pytest.raises(Refused) as refused:
        loop.ask("cancel_job", {"job": "nobody"}, IRER)
    assert refused.value.code == "not-found"


# --- a restart --------------------------------------------------------------------------------------------------------------


def test_after_a_restart_the_same_work_is_wanted_again(loop: EngineLoop) -> None:
    begun(loop, params={"g_nl": 2, "a": 0.5}, settings={"kernel": "ring"})
    before = errands(loop)
    loop.restart(60.0, reboot=True)
    again = errands(loop)
    assert again == before and list(again[0].params["lanes"][0]["params"]) == list(before[0].params["lanes"][0]["params"])


def test_a_snapshot_wants_the_same_work(loop: EngineLoop) -> None:
    begun(loop)
    ended = begun(loop)
    end(loop, errands(loop)[1], {"lanes": [outcome(ended)]})
    assert runs.load(runs.dump(loop.state)) == loop.state


def test_only_so_many_ends_are_remembered_the_oldest_goes_first(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ENDED_MAX", 3)
    names = [begun(loop) for _ in range(5)]
    for name in names:
        loop.ask("cancel_job", {"job": name}, IRER)
    assert list(loop.state.ended) == names[2:]
    with pytest.raises(Refused):
        loop.ask("cancel_job", {"job": names[0]}, IRER)


# --- looking ----------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_page_by_page_without_a_gap(loop: EngineLoop) -> None:
    names = [begun(loop, seed=seed) for seed in range(5)]
    end(loop, errands(loop)[3], {"lanes": [outcome(names[3])]})
    seen, after = [], None
    for _ in range(3):
        page = loop.look("list", {"limit": 2, **({"after": after} if after else {})})
        seen += page.runs
        after = page.next
    assert [row.job_uuid for row in seen] == names[::-1] and after is None
    assert [row.state for row in seen] == ["running", "done", "running", "running", "running"]
    assert (seen[1].log_prime_sse, seen[1].code, seen[1].seed) == (0.25, "ok", 3)


def test_only_a_run_that_ended_with_fields_can_be_looked_into(loop: EngineLoop) -> None:
    going, gone, well = begun(loop), begun(loop), begun(loop)
    loop.ask("cancel_job", {"job": gone}, IRER)
    end(loop, errands(loop)[1], {"lanes": [outcome(well)]})
    for job_uuid, reason in ((going, "running"), (gone, "no-artefact")):
        with pytest.raises(Refused) as refused:
            sim.reads.check_finished(loop.state, job_uuid)
        assert (refused.value.code, refused.value.reason) == ("failed-precondition", reason)
    sim.reads.check_finished(loop.state, well)
    sim.reads.check_finished(loop.state, "of-a-hunt-or-old")


# --- where another run ended


def from_run(source: str, **more: Any) -> dict[str, Any]:
    return {"settings": {"initial": {"kind": "from_artefact", "job_uuid": source, **more}}}


class Named(EngineLoop):
    """Whose ids are those that a run has."""

    def _new_id(self) -> str:
        self.ids += 1
        return str(UUID(int=self.ids))


@pytest.fixture
def named() -> EngineLoop:
    return Named(sim.ENGINE)


def test_a_run_begins_with_the_very_file_that_another_one_left(named: EngineLoop):
    loop, source = named, begun(named)
    with pytest.raises(Refused, match="has not ended") as refused:
        begun(loop, **from_run(source))
    assert refused.value.code == "failed-precondition"
    end(loop, errands(loop)[0], {"lanes": [outcome(source)]})
    begun(loop, **from_run(source))
    initial = errands(loop)[0].params["settings"]["initial"]
    assert initial == {"kind": "from_artefact", "job_uuid": source, "artefact_sha256": "ab" * 32}
    begun(loop, **from_run(source, artefact_sha256="ab" * 32))
    with pytest.raises(Refused, match="another hash"):
        begun(loop, **from_run(source, artefact_sha256="cd" * 32))
    with pytest.raises(Refused, match=r"has 2 dimensions, and 1 are asked for"):
        begun(loop, grid={"n": 32, "d": 1}, **from_run(source))


def test_a_run_without_fields_is_nothing_to_begin_with(named: EngineLoop):
    loop, source = named, begun(named)
    end(loop, errands(loop)[0], {"lanes": [outcome(source, artefact_sha256=None)]})
    with pytest.raises(Refused, match="left no fields"):
        begun(loop, **from_run(source))


@pytest.mark.parametrize(
    ("initial", "text"),
    [
        ({"kind": "from_artefact"}, "needs the job_uuid"),
        ({"kind": "from_artefact", "job_uuid": "a/b"}, "needs the job_uuid"),
        ({"kind": "from_artefact", "job_uuid": "123e4567-e89b-42d3-a456-426614174000", "amplitude": 2.0}, "leave amplitude out"),
        ({"kind": "from_artefact", "job_uuid": "123e4567-e89b-42d3-a456-426614174000", "modes": [1, 1]}, "leave them out"),
        ({"kind": "noise", "job_uuid": "123e4567-e89b-42d3-a456-426614174000"}, "no other run"),
    ],
)
def test_what_begins_nowhere_is_refused(loop: EngineLoop, initial: dict[str, Any], text: str):
    with pytest.raises(Refused, match=text):
        begun(loop, settings={"initial": initial})
    assert not errands(loop)


def test_a_run_that_is_not_remembered_is_looked_for_where_its_file_would_be(loop: EngineLoop):
    source = "123e4567-e89b-42d3-a456-426614174000"
    begun(loop, **from_run(source))
    assert errands(loop)[0].params["settings"]["initial"] == {"kind": "from_artefact", "job_uuid": source}
