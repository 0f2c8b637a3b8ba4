"""The component engine: what it refuses, how a hunt's jobs begin its runs, and what it believes of a worker."""

import copy
from typing import Any

import msgspec
import pytest

from core.component import ENGINE, Components, commands, outputs_of, reads, trigger
from core.component import manifest as manifests
from core.component.builtin import BSSN_CHECK, BUILTIN, NULL_PROFILE, TDA_PROFILE
from core.component.commands import RUNNING_MAX
from core.component.events import ComponentFinished, ComponentStarted
from core.component.model import BEGUN_MAX, ENDED_MAX, SUBJECTS_MAX, Figures, apply_finished, apply_started
from core.component.trigger import TRIGGERED_MAX
from core.engine import IRER, CancelJob, Errand, JobEnded, Refused, Stamp
from core.hunt import state as hunt_state
from core.hunt.events import Axis, Child, GenerationClosed, HuntAsked, HuntScored, HuntStarted, RunSettings
from core.hunt.state import Hunts
from core.settings import Component, Settings
from core.sim.chunk import Grid
from core.sim.chunk import Settings as RunAs
from tests.core.engine_loop import EngineLoop

UUID = "123e4567-e89b-42d3-a456-426614174000"
HASH = "ab" * 32
BSSN = {"code": "ok", "h_classical": 0.25, "newton": 0.0, "curvature": 1.5, "expansion": 0.5, "matter": 2.0}
PROFILE = {
    "code": "ok",
    "log_prime_sse": 0.5,
    "n_peaks": 6,
    "draws": 99,
    "draws_scored": 80,
    "rank_phase": 3,
    "rank_target": 40,
    "p_phase": None,
    "p_target": None,
    "gap_phase": 1.25,
    "gap_target": -0.5,
    "integers_beaten_by": "squares",
    "integers_rank": 90,
    "ramp_gain": 0.1,
}


def settings(triggered: list[str], winners: list[str] | None = None) -> Settings:
    return Settings(component=Component(triggered=triggered, winners=winners or []))


def loop_with(hunts: Hunts, configured: Settings | None = None) -> EngineLoop:
    loop = EngineLoop(ENGINE, configured or settings([]))
    put(loop, hunts)
    return loop


def put(loop: EngineLoop, hunts: Hunts) -> None:
    (loop.world.states if "hunt" in loop.world.states else loop.elsewhere)["hunt"] = hunts


def work(loop: EngineLoop) -> list[Errand]:
    assert ENGINE.wanted is not None
    return [each for each in ENGINE.wanted(loop.state, loop.context(IRER)) if isinstance(each, Errand)]


def end(loop: EngineLoop, errand: Errand, outputs: dict[str, Any] | None = None) -> ComponentFinished:
    """The work comes to its end, with what its component usually finds."""
    found = outputs or (BSSN if errand.params["component"] == BSSN_CHECK else PROFILE)
    (event,) = loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", {"outputs": found, "artefact_sha256": HASH}), IRER)
    assert isinstance(event, ComponentFinished)
    return event


def begun(loop: EngineLoop) -> list[tuple[str, str]]:
    return [(event.component, str(event.inputs["job_uuid"])) for event in loop.events if isinstance(event, ComponentStarted)]


# --- a hunt, as its engine would know it


class Played:
    """A hunt whose events are applied as a test says."""

    def __init__(self, population: int = 3, targets: int = 5, hunt_id: str = "11111111-1111-4111-8111-111111111111") -> None:
        self.hunts = Hunts()
        self.seq = 0
        self.size = population
        self.hunt_id = hunt_id
        run = RunSettings(Grid(), 10, None, RunAs(), targets, {}, population, 1)
        axes = [Axis("eps", 0.3, 1.5, "linear")]
        self._apply(HuntStarted(hunt_id, 9, population, 1, UUID, axes, ["log_prime_sse"], [], run, {}))

    def _apply(self, event: Any) -> None:
        self.seq += 1
        apply = {
            HuntStarted: hunt_state.apply_started,
            HuntAsked: hunt_state.apply_asked,
            HuntScored: hunt_state.apply_scored,
            GenerationClosed: hunt_state.apply_generation,
        }[type(event)]
        apply(self.hunts, event, Stamp("hunt_log", self.seq, 1, 1, "00000001", "irer"))

    def job(self, generation: int, index: int) -> str:
        return f"{generation:08d}-0000-4000-8000-{index:012d}"

    def asked(self, generation: int) -> None:
        for index in range(self.size):
            child = Child(index, self.job(generation, index), 1, {"eps": 1.0}, [0.5])
            self._apply(HuntAsked(self.hunt_id, generation, index, [child]))

    def scored(self, generation: int, index: int, *, artefact: bool = True, best: bool = False, run: str | None = None) -> None:
        event = HuntScored(
            self.hunt_id,
            generation,
            index,
            self.job(generation, index),
            "ok",
            0.1,
            artefact_sha256=HASH if artefact else None,
            best=best,
            run=run,
        )
        self._apply(event)

    def closed(self, generation: int) -> None:
        self._apply(GenerationClosed(self.hunt_id, generation, self.size, 0, []))


# --- asked for by hand


def test_a_run_begins_and_ends_and_can_be_followed():
    loop = loop_with(Hunts())
    (started,) = loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})
    assert isinstance(started, ComponentStarted)
    assert started.digest == manifests.digest(BUILTIN[BSSN_CHECK]) and started.hunt_id is None
    (errand,) = work(loop)
    assert errand.id == "hunt_log:0:0" and errand.name == "component.run"
    assert errand.params["builtin"] == "bssn_check" and errand.params["inputs"] == {"job_uuid": UUID}
    assert [job.state for job in ENGINE.jobs(loop.state)] == ["running"]
    finished = end(loop, errand)
    assert (finished.ok, finished.code, finished.job_uuid, finished.artefact_sha256) == (True, "ok", UUID, HASH)
    assert finished.outputs == BSSN and finished.digest == started.digest
    assert work(loop) == []
    (job,) = ENGINE.jobs(loop.state)
    assert (job.job, job.ok, job.code) == (started.job, True, "ok")
    assert job.result == {"component": BSSN_CHECK, "version": "1.0.0", "job_uuid": UUID, "outputs": BSSN}
    assert outputs_of(loop.state, UUID) == Figures(h_classical=0.25)
    assert loop.replayed() == loop.state


@pytest.mark.parametrize(
    ("params", "code", "said"),
    [
        ({"name": "bssn_check", "inputs": {"job_uuid": UUID}}, "not-found", "Did you mean bssn-check"),
        ({"name": "x", "inputs": {"job_uuid": UUID}}, "not-found", "There are: bssn-check, null-profile"),
        ({"name": BSSN_CHECK, "inputs": {}}, "invalid-argument", "needs the input job_uuid"),
        ({"name": BSSN_CHECK, "inputs": {"job_uuid": "a"}}, "invalid-argument", "must be a UUID"),
        ({"name": BSSN_CHECK, "inputs": {"job_uuid": 7}}, "invalid-argument", "must be a UUID"),
        ({"name": BSSN_CHECK, "inputs": {"job_uuid": UUID, "job": UUID}}, "invalid-argument", "no input job."),
        (
            {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}, "variables": {"draws": 99}},
            "invalid-argument",
            "has no variable draws",
        ),
        (
            {"name": NULL_PROFILE, "inputs": {"job_uuid": UUID}, "variables": {"draws": 18}},
            "invalid-argument",
            "outside its bounds",
        ),
        ({"name": NULL_PROFILE, "inputs": {"job_uuid": UUID}, "variables": {"draws": "99"}}, "invalid-argument", "a whole number"),
        (
            {"name": NULL_PROFILE, "inputs": {"job_uuid": UUID}, "variables": {"targets": 11}},
            "invalid-argument",
            "outside its bounds",
        ),
    ],
)
def test_bad_input_is_refused_before_any_work_is_wanted(params, code, said):
    loop = loop_with(Hunts())
    before = copy.deepcopy(loop.state)
    with pytest.raises(Refused) as refused:
        loop.ask("run", params)
    assert refused.value.code == code and said in refused.value.detail
    assert loop.state == before and not loop.records and work(loop) == []


def test_no_more_runs_wait_than_there_is_room_for():
    loop = loop_with(Hunts())
    for _ in range(RUNNING_MAX):
        loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})
    with pytest.raises(Refused) as refused:
        loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})
    assert (refused.value.code, refused.value.reason) == ("resource-exhausted", "runs")
    end(loop, work(loop)[0])
    assert loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"outputs": BSSN},
        {"outputs": BSSN, "artefact_sha256": "short"},
        {"outputs": BSSN, "artefact_sha256": HASH, "surprise": 1},
        {"outputs": {**BSSN, "surprise": 1}, "artefact_sha256": HASH},
        {"outputs": {name: value for name, value in BSSN.items() if name != "newton"}, "artefact_sha256": HASH},
        {"outputs": {**BSSN, "newton": "much"}, "artefact_sha256": HASH},
        {"outputs": {**BSSN, "newton": float("nan")}, "artefact_sha256": HASH},
        {"outputs": {**BSSN, "code": 3}, "artefact_sha256": HASH},
        {"outputs": [], "artefact_sha256": HASH},
    ],
)
def test_a_worker_that_says_what_its_manifest_does_not_promise_is_not_believed(result):
    loop = loop_with(Hunts())
    loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})
    (errand,) = work(loop)
    (event,) = loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", result), IRER)
    assert isinstance(event, ComponentFinished)
    assert (event.ok, event.code, event.outputs, event.artefact_sha256) == (False, "bad-output", {}, None)
    assert outputs_of(loop.state, UUID) == Figures() and work(loop) == []


def test_a_failure_has_a_code_and_a_way_on_and_takes_no_figure_away():
    loop = loop_with(Hunts())
    for code in ("", "no-artefact", "timeout"):
        loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})
        (errand,) = work(loop)
        if not code:
            end(loop, errand)
            continue
        (event,) = loop.ask("job_ended", JobEnded(errand.id, False, code), IRER)
        assert isinstance(event, ComponentFinished) and not event.ok and event.code == code
        assert event.detail and event.job_uuid == UUID
        assert next(iter(ENGINE.jobs(loop.state))).ok is False
    assert outputs_of(loop.state, UUID) == Figures(h_classical=0.25)


def test_a_run_can_be_cancelled_and_its_late_end_means_nothing():
    loop = loop_with(Hunts())
    (started,) = loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})
    (errand,) = work(loop)
    (event,) = loop.ask("cancel_job", CancelJob(started.job))
    assert isinstance(event, ComponentFinished) and event.code == "cancelled"
    assert work(loop) == []
    late = JobEnded(errand.id, True, "ok", "", {"outputs": BSSN, "artefact_sha256": HASH})
    assert loop.ask("job_ended", late, IRER) == []
    assert loop.ask("cancel_job", CancelJob(started.job)) == []
    with pytest.raises(Refused, match="no run x of a component is known"):
        loop.ask("cancel_job", CancelJob("x"))
    assert outputs_of(loop.state, UUID) == Figures()


def test_null_is_no_figure_and_a_later_look_replaces_an_earlier_one():
    loop = loop_with(Hunts())
    for name, outputs, expected in (
        (NULL_PROFILE, PROFILE, Figures(None, 1.25, -0.5)),
        (BSSN_CHECK, BSSN, Figures(0.25, 1.25, -0.5)),
        (NULL_PROFILE, {**dict.fromkeys(PROFILE), "code": "no_peaks"}, Figures(0.25)),
        (BSSN_CHECK, {**dict.fromkeys(BSSN), "code": "flat"}, Figures()),
    ):
        loop.ask("run", {"name": name, "inputs": {"job_uuid": UUID}})
        end(loop, work(loop)[0], outputs)
        assert outputs_of(loop.state, UUID) == expected
    assert outputs_of(loop.state, "another") == Figures()


# --- begun by a hunt


def test_each_job_of_a_hunt_is_looked_at_once_in_order_and_whole():
    played = Played()
    loop = loop_with(played.hunts, settings([BSSN_CHECK, NULL_PROFILE]))
    played.asked(0)
    loop.settle()
    assert begun(loop) == []
    played.scored(0, 2)
    loop.settle()
    assert begun(loop) == [], "the jobs before it have not ended"
    played.scored(0, 0)
    played.scored(0, 1, artefact=False)
    loop.settle()
    jobs = [played.job(0, 0), played.job(0, 2)]
    assert begun(loop) == [(name, job) for job in jobs for name in (BSSN_CHECK, NULL_PROFILE)]
    for errand in work(loop):
        end(loop, errand)
    loop.settle()
    assert len(begun(loop)) == 4 and work(loop) == []
    assert outputs_of(loop.state, jobs[0]) == Figures(0.25, 1.25, -0.5)
    assert loop.replayed() == loop.state


def test_a_job_and_a_component_have_one_id_whichever_boot_finds_them():
    """So a run that began before a crash is not begun again after it."""
    found = []
    for survive in (None, 0, 1):
        played = Played()
        loop = loop_with(played.hunts, settings([BSSN_CHECK]))
        played.asked(0)
        for index in range(3):
            played.scored(0, index)
        loop.settle()
        if survive is not None:
            loop.restart(keep=survive)
            put(loop, played.hunts)
            assert len(work(loop)) == survive
            loop.settle()
        assert len(work(loop)) == 3
        found.append([payload for _, payload, _ in loop.records])
    assert found[0] == found[1] == found[2], "an interrupted hunt leads to the same records"


def test_of_a_candidate_with_several_seeds_the_run_that_scores_the_median_is_looked_at():
    played, middle = Played(population=1), "aaaaaaaa-0000-4000-8000-000000000000"
    loop = loop_with(played.hunts, settings([BSSN_CHECK], [NULL_PROFILE]))
    played.asked(0)
    played.scored(0, 0, best=True, run=middle)
    played.closed(0)
    loop.settle()
    assert sorted(begun(loop)) == [(BSSN_CHECK, middle), (NULL_PROFILE, middle)]


def test_no_more_are_begun_than_may_wait_and_the_rest_follow():
    played = Played(population=3 * TRIGGERED_MAX)
    loop = loop_with(played.hunts, settings([BSSN_CHECK]))
    played.asked(0)
    for index in range(played.size):
        played.scored(0, index)
    loop.settle()
    assert len(work(loop)) == TRIGGERED_MAX
    loop.ask("run", {"name": BSSN_CHECK, "inputs": {"job_uuid": UUID}})
    while errands := work(loop):
        end(loop, errands[0])
        loop.settle()
        assert loop.state.triggered <= TRIGGERED_MAX
    assert sorted(job for _, job in begun(loop)) == sorted([UUID, *(played.job(0, index) for index in range(played.size))])


def test_the_best_run_is_looked_at_when_its_generation_is_done():
    played = Played(targets=12)
    loop = loop_with(played.hunts, settings([BSSN_CHECK], [NULL_PROFILE]))
    played.asked(0)
    for index, best in enumerate((True, False, True)):
        played.scored(0, index, best=best)
    loop.settle()
    assert NULL_PROFILE not in dict(begun(loop))
    played.closed(0)
    loop.settle()
    assert [job for name, job in begun(loop) if name == NULL_PROFILE] == [played.job(0, 2)]
    (event,) = [event for event in loop.events if isinstance(event, ComponentStarted) and event.component == NULL_PROFILE]
    assert event.variables == {"draws": 99, "targets": 10}, "as many targets as the hunt has, where the component may"
    played.asked(1)
    played.scored(1, 0, best=True)
    played.scored(1, 1)
    played.scored(1, 2)
    for errand in work(loop):
        end(loop, errand)
    loop.settle()
    assert len([name for name, _ in begun(loop) if name == NULL_PROFILE]) == 1
    played.closed(1)
    loop.settle()
    assert [job for name, job in begun(loop) if name == NULL_PROFILE] == [played.job(0, 2), played.job(1, 0)]


def test_a_best_run_without_a_score_is_worth_no_nulls():
    played = Played()
    loop = loop_with(played.hunts, settings([], [NULL_PROFILE]))
    played.asked(0)
    for index in range(3):
        played.scored(0, index, best=index == 0)
    row = played.hunts.hunts[played.hunt_id].rows["0/0"]
    row.outcome = msgspec.structs.replace(row.outcome, log_prime_sse=None, sse_code="no_peaks")
    played.closed(0)
    loop.settle()
    assert begun(loop) == []
    row.outcome = msgspec.structs.replace(row.outcome, log_prime_sse=3.0, sse_code=None)
    loop.settle()
    assert [name for name, _ in begun(loop)] == [NULL_PROFILE]


@pytest.mark.parametrize("named", [[BSSN_CHECK, BSSN_CHECK], [BSSN_CHECK]])
def test_a_component_named_twice_runs_once(named):
    played = Played(population=2)
    loop = loop_with(played.hunts, settings(named, [BSSN_CHECK]))
    played.asked(0)
    played.scored(0, 0, best=True)
    played.scored(0, 1)
    played.closed(0)
    loop.settle()
    assert sorted(begun(loop)) == [(BSSN_CHECK, played.job(0, index)) for index in range(2)]


def test_what_is_not_configured_does_not_run():
    played = Played()
    loop = loop_with(played.hunts)
    played.asked(0)
    for index in range(3):
        played.scored(0, index, best=True)
    played.closed(0)
    loop.settle()
    assert loop.records == []


def test_the_best_is_not_looked_at_again_however_many_jobs_follow():
    """What is remembered of winners is not used up by the jobs of a long hunt."""
    played = Played(population=1)
    loop = loop_with(played.hunts, settings([BSSN_CHECK], [NULL_PROFILE]))
    for generation in range(BEGUN_MAX + 40):
        played.asked(generation)
        played.scored(generation, 0, best=generation == 0)
        played.closed(generation)
        loop.settle()
        for errand in work(loop):
            end(loop, errand)
    assert [name for name, _ in begun(loop)].count(NULL_PROFILE) == 1
    assert [name for name, _ in begun(loop)].count(BSSN_CHECK) == BEGUN_MAX + 40


# --- memory, and what is shown


def test_memory_is_bounded_and_the_oldest_goes_first():
    components = Components()
    stamp = Stamp("hunt_log", 0, 1, 1, "00000001", "irer")
    for seq in range(SUBJECTS_MAX + 10):
        job = f"j-{seq}"
        started = ComponentStarted(job, BSSN_CHECK, "1.0.0", HASH, {"job_uuid": job}, {}, "h", seq)
        apply_started(components, started, msgspec.structs.replace(stamp, seq=2 * seq))
        finished = ComponentFinished(job, job, BSSN_CHECK, "1.0.0", HASH, True, {**BSSN, "h_classical": 0.5})
        apply_finished(components, finished, msgspec.structs.replace(stamp, seq=2 * seq + 1))
    assert len(components.figures) == SUBJECTS_MAX and len(components.ended) == ENDED_MAX
    assert len(components.begun) < SUBJECTS_MAX and not components.running and not components.errands
    assert outputs_of(components, "j-9") == Figures() and outputs_of(components, "j-10") == Figures(0.5)


def test_a_whole_number_is_the_same_from_the_log_and_live():
    """The log writes 5.0 as 5: a snapshot of what was replayed must be the very bytes of a live one."""
    loop = loop_with(Hunts())
    for name in (BSSN_CHECK, NULL_PROFILE, NULL_PROFILE):
        loop.ask("run", {"name": name, "inputs": {"job_uuid": UUID}})
    end(loop, work(loop)[0], {**BSSN, "h_classical": 1.0, "newton": 2.0**60, "matter": -0.0})
    end(loop, work(loop)[0])
    assert loop.replayed() == loop.state
    live = msgspec.msgpack.encode(ENGINE.dump(loop.state))
    assert msgspec.msgpack.encode(ENGINE.dump(loop.replayed())) == live
    assert outputs_of(loop.state, UUID) == Figures(1.0, 1.25, -0.5)
    (errand,) = work(loop)
    assert errand.params["variables"] == {"draws": 99, "targets": 5} and type(errand.params["variables"]["draws"]) is int
    (profile, _) = [job for job in ENGINE.jobs(loop.state) if job.state == "done"]
    assert profile.result is not None and profile.result["outputs"] == PROFILE
    assert type(profile.result["outputs"]["rank_phase"]) is int, "a whole number is shown as one"


def user(**changed: Any) -> manifests.Manifest:
    ports = [manifests.Port("job_uuid", "string:uuid"), manifests.Port("fields", "path:h5")]
    whole = {
        "script_to_run": "look.py",
        "inputs": ports,
        "outputs": [manifests.Port("radius", "float"), manifests.Port("rings", "path:csv")],
        "tunable_variables": [manifests.Variable("first", "First", "float", 1.0, 0.0, 9.5)],
        **changed,
    }
    return manifests.Manifest("my look", "1.0.0", **whole)


def found(manifest: manifests.Manifest, script: str = HASH, folder: str = "look") -> reads.Found:
    return reads.Found(folder, manifest, script, "")


def adopt(loop: EngineLoop, here: reads.Found) -> list[Any]:
    assert here.manifest is not None
    return list(loop.ask("adopt", reads.adopted([here], commands.AcceptComponent(here.manifest.name, here.digest)), IRER))


def test_components_are_listed_and_described_with_when_they_run_here():
    here = settings([BSSN_CHECK], [NULL_PROFILE])
    listing = reads.listing(Components(), [], here)
    assert [(row.name, row.trigger, row.kind, row.state) for row in listing.components] == [
        (BSSN_CHECK, "job", "builtin", "ready"),
        (NULL_PROFILE, "winner", "builtin", "ready"),
        (TDA_PROFILE, "manual", "builtin", "ready"),
    ]
    described = reads.described(Components(), [], NULL_PROFILE, here)
    assert described.manifest == BUILTIN[NULL_PROFILE] and described.digest == listing.components[1].digest
    assert reads.described(Components(), [], NULL_PROFILE, settings([])).trigger == "manual"
    with pytest.raises(Refused, match="no component is named tda"):
        reads.described(Components(), [], "tda", here)


# --- components of users


def test_what_is_found_runs_only_once_it_is_accepted_and_only_as_it_was_then():
    loop, there = loop_with(Hunts()), found(user())

    def state(*now: reads.Found) -> list[str]:
        return [row.state for row in reads.listing(loop.state, now, Settings()).components if row.kind == "user"]

    assert state(there) == ["new"]
    with pytest.raises(Refused, match="accepted first"):
        loop.ask("run", {"name": "my look", "inputs": {"job_uuid": UUID}})
    (accepted,) = adopt(loop, there)
    assert (accepted.digest, accepted.script_sha256, accepted.folder) == (there.digest, HASH, "look")
    assert adopt(loop, there) == [], "twice is once"
    assert [state(there), state(), state(found(user(), "cd" * 32)), state(found(user(description="another")))] == [
        ["ready"],
        ["missing"],
        ["changed"],
        ["changed"],
    ]
    with pytest.raises(Refused, match="Look at it again"):
        reads.adopted([found(user(), "cd" * 32)], commands.AcceptComponent("my look", there.digest))
    broken = reads.Found("broken", None, "", "name: two are named alike")
    row = next(each for each in reads.listing(loop.state, [there, broken], Settings()).components if each.folder == "broken")
    assert (row.state, row.reason) == ("invalid", "name: two are named alike")
    assert loop.replayed() == loop.state


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"script_to_run": "", "builtin": "null_profile"}, "irer itself"),
        ({"inputs": []}, "job_uuid"),
        ({"inputs": [manifests.Port("job_uuid", "string")]}, "job_uuid"),
        ({"outputs": [manifests.Port(f"x{at}", "int", "long" * 400) for at in range(20)]}, "characters"),
    ],
)
def test_a_manifest_that_cannot_be_run_is_not_accepted(changed, why):
    loop = loop_with(Hunts())
    with pytest.raises(Refused, match=why):
        adopt(loop, found(user(**changed)))
    with pytest.raises(Refused, match="name of another component"):
        adopt(loop, found(manifests.Manifest(NULL_PROFILE, "1.0.0", script_to_run="x.py", inputs=user().inputs)))
    assert loop.state == Components()


def test_a_users_component_is_held_to_its_manifest_and_its_files_are_told():
    loop = loop_with(Hunts())
    adopt(loop, found(user()))
    with pytest.raises(Refused, match="no input fields"):
        loop.ask("run", {"name": "my look", "inputs": {"job_uuid": UUID, "fields": "/etc/passwd"}})
    for result, code in (
        ({"outputs": {"radius": 1.5}, "files": {"rings": ["j_rings.csv", HASH]}}, "ok"),
        ({"outputs": {"radius": 1.5}}, "bad-output"),
        ({"outputs": {"radius": 1.5}, "files": {"rings": ["../rings.csv", HASH]}}, "bad-output"),
        ({"outputs": {"radius": 1.5}, "files": {"rings": ["a.csv", HASH], "more": ["b.csv", HASH]}}, "bad-output"),
        ({"outputs": {"radius": "1.5"}, "files": {"rings": ["j_rings.csv", HASH]}}, "bad-output"),
    ):
        loop.ask("run", {"name": "my look", "inputs": {"job_uuid": UUID}})
        (errand,) = work(loop)
        assert errand.params["script"]["folder"] == "look" and errand.params["script"]["paths"] == [["fields", "path:h5"]]
        (event,) = loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", {"artefact_sha256": HASH, **result}), IRER)
        assert event.code == code
    loop.ask("run", {"name": "my look", "inputs": {"job_uuid": UUID}})
    (errand,) = work(loop)
    (event,) = loop.ask("job_ended", JobEnded(errand.id, False, "cpu", "it was ended by SIGXCPU"), IRER)
    assert event.code == "cpu" and "limits.cpu_s" in event.detail and "SIGXCPU" in event.detail
    done = [job for job in ENGINE.jobs(loop.state) if job.ok]
    assert done[0].result is not None and done[0].result["files"] == {"rings": "j_rings.csv"}
    assert loop.replayed() == loop.state
    live = msgspec.msgpack.encode(ENGINE.dump(loop.state))
    assert msgspec.msgpack.encode(ENGINE.dump(loop.replayed())) == live
    assert ENGINE.load(ENGINE.dump(loop.state)) == loop.state


def test_what_runs_when_another_version_is_accepted_is_not_believed():
    loop = loop_with(Hunts())
    adopt(loop, found(user()))
    loop.ask("run", {"name": "my look", "inputs": {"job_uuid": UUID}})
    (errand,) = work(loop)
    adopt(loop, found(user(), "cd" * 32))
    result = {"outputs": {"radius": 1.5}, "files": {"rings": ["j_rings.csv", HASH]}, "artefact_sha256": HASH}
    (event,) = loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", result), IRER)
    assert event.code == "bad-output"


def test_a_users_component_looks_at_a_hunts_jobs_too_and_what_cannot_run_by_itself_is_told():
    played = Played()
    played.asked(0)
    played.scored(0, 0)
    loop = loop_with(played.hunts, settings(["my look", BSSN_CHECK]))
    loop.run(0.0)
    assert [name for name, _ in begun(loop)] == [BSSN_CHECK], "not before it is accepted"
    assert ["not accepted" in each.reason for each in trigger.checks(loop.state, loop.context(IRER))] == [True]
    adopt(loop, found(user()))
    other = loop_with(played.hunts, settings(["my look"]))
    adopt(other, found(user()))
    other.run(0.0)
    assert [name for name, _ in begun(other)] == ["my look"] and not list(trigger.checks(other.state, other.context(IRER)))
    asking = [*user().inputs, manifests.Port("level", "float")]
    adopt(other, found(user(inputs=asking)))
    assert ["asks for more" in each.reason for each in trigger.checks(other.state, other.context(IRER))] == [True]
