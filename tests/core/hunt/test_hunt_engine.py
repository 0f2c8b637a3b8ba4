"""The hunt: the same log however it was interrupted, outcomes that lie refused, stops that finish, and one id for one job."""

import ast
import copy
import sys
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import core.hunt.state
from core.canonical import event_payload
from core.component.model import Figures
from core.engine import IRER, JobEnded, Refused
from core.hunt import events, generations, reads, space
from core.hunt.generations import individual
from core.hunt.nsga2 import DIVERGED, NO_PEAKS, REAL_SCORE, offspring, select
from core.hunt.state import Candidate
from core.settings import Hunt as HuntSettings
from core.settings import Settings
from core.sim.chunk import Chunk, Lane
from core.sim.model import PARAMETERS, well_posed
from core.world import EVENTS_MAX
from state.seal import BATCH_BYTES_MAX, RECORD_BYTES_MAX
from tests.core.hunt.hunter import SMALL, Hunter, none_diverges

ROOT = Path(core.hunt.state.__file__).parents[2]
ENDS = ("hunt.stopping", "hunt.stopped", "hunt.failed", "hunt.resumed", "hunt.started")
TWO_AT_ONCE = Settings(hunt=HuntSettings(at_once=2))


def of(hunter: Hunter, kind: type[Any]) -> list[Any]:
    return [event for event in hunter.events if isinstance(event, kind)]


def refused(hunter: Hunter, verb: str, **params: Any) -> Refused:
    before = copy.deepcopy(hunter.states), list(hunter.records)
    with pytest.raises(Refused) as caught:
        hunter.ask(verb, params)
    assert (hunter.states, hunter.records) == before
    return caught.value


# --- a hunt from its start to its end -------------------------------------------------------------------------------------


def test_a_hunt_asks_for_every_candidate_once_and_ends_by_itself() -> None:
    hunter = Hunter()
    hunter.start()
    hunter.to_the_end()
    hunt = hunter.hunt
    assert (hunt.state, hunt.closed, hunt.done) == ("completed", 3, 15)
    children = [(asked.generation, child.index) for asked in of(hunter, events.HuntAsked) for child in asked.children]
    scored = [(each.generation, each.index) for each in of(hunter, events.HuntScored)]
    assert children == scored == [(generation, index) for generation in range(3) for index in range(5)]
    [completed] = of(hunter, events.HuntCompleted)
    assert completed.jobs == completed.run == 15
    assert completed.scored + completed.no_peaks + completed.diverged + completed.missing == 15


def test_null_and_absent_are_the_defaults() -> None:
    for asked in ({}, {"num_generations": None, "population_size": None, "seed": None, "space": None, "settings": None}):
        hunter = Hunter()
        hunter.start(asked)
        began = hunter.hunt.began
        assert (began.num_generations, began.population_size) == (10, 10)
        assert began.settings.grid.n == 64 and began.settings.steps == 2_000 and began.settings.params["tau"] == 1.0
        assert began.settings.settings.kernel == "ring" and began.objectives == ["log_prime_sse", "sdg_h_norm_l2"]
        assert {axis.parameter for axis in began.space} == set(space.DEFAULT.ranges())


def test_the_configured_space_is_the_default_one() -> None:
    hunter = Hunter()
    hunter.start({})
    searched = {axis.parameter: space.Range(axis.low, axis.high, axis.scale) for axis in hunter.hunt.began.space}
    assert searched == space.DEFAULT.ranges()


def test_every_candidate_lies_in_the_space_is_well_posed_and_has_all_parameters() -> None:
    config = HuntSettings()
    config = msgspec.structs.replace(config, space=msgspec.structs.replace(config.space, g_nl=[-3.0, 3.0]))
    hunter = Hunter(Settings(hunt=config))
    hunter.start({**SMALL, "population_size": 30})
    hunter.to_the_end()
    lanes = [row.child for row in hunter.hunt.rows.values()]
    fixed = hunter.hunt.began.settings.params
    for child in lanes:
        whole = {**fixed, **child.params}
        assert set(whole) == set(PARAMETERS) and well_posed(whole)
        assert all(axis.low <= child.params[axis.parameter] <= axis.high for axis in hunter.hunt.began.space)
    assert len(lanes) == 90


def test_one_job_has_one_id_made_in_one_place() -> None:
    """The source's A-B-A mismatch: two components that each made a name for one job. Here there is no second place."""
    hunter = Hunter()
    hunter.start()
    namespace = uuid.UUID(hunter.hunt.began.namespace)
    for errand in hunter.errands():
        for lane in msgspec.convert(errand.params, Chunk).lanes:
            assert lane.job_uuid == str(uuid.uuid5(namespace, f"{lane.generation}/{lane.index}"))
    made = [
        path.relative_to(ROOT).as_posix()
        for folder in ("core/hunt", "core/sim", "irerd", "kernels", "state")
        for path in (ROOT / folder).rglob("*.py")
        if "uuid5(" in path.read_text()
    ]
    assert made == ["core/hunt/generations.py"]
    hunter.to_the_end()
    rows = hunter.hunt.rows.values()
    assert len({row.child.job_uuid for row in rows}) == len(rows)
    assert all(row.outcome is not None and row.outcome.job_uuid == row.child.job_uuid for row in rows)


# --- the same however it was interrupted -----------------------------------------------------------------------------------


def reference() -> Hunter:
    hunter = Hunter()
    hunter.start()
    hunter.to_the_end()
    return hunter


REFERENCE = reference()


@settings(max_examples=40, deadline=None)
@given(ends=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["end", "end", "kill", "reboot", "duplicate", "other job"]))))
def test_killed_anywhere_and_whichever_call_ends_first_the_log_is_the_same(ends: list[tuple[int, str]]) -> None:
    hunter = Hunter()
    hunter.start()
    last: JobEnded | None = None
    for place, what in ends:
        errands = hunter.errands()
        if what == "end" and errands:
            last = hunter.computed(errands[place % len(errands)])
            hunter.told(last)
        elif what == "duplicate" and last is not None and last.effect not in {errand.id for errand in errands}:
            before = len(hunter.records)
            hunter.told(last)
            assert len(hunter.records) == before
        elif what == "other job":
            hunter.told(JobEnded("hunt_log:99999:0", True, "ok", "", {"lanes": []}))
        elif what in ("kill", "reboot"):
            hunter.restart(float(place), reboot=what == "reboot", wall_jump_s=-3600.0 * place)
            hunter.settle()
        assert hunter.replayed_states() == hunter.states
    hunter.to_the_end()
    assert hunter.said() == REFERENCE.said()


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(1, 40))
def test_what_a_crash_cut_off_is_decided_again_alike(cut: int) -> None:
    """A command is whole or absent after a crash; what it decided is decided again, to the byte."""
    whole = REFERENCE.records
    starts = [0] + [at for at in range(1, len(whole)) if whole[at][2].mono_us != whole[at - 1][2].mono_us]
    keep = max(at for at in starts if at <= min(cut, len(whole)))
    hunter = Hunter()
    hunter.start()
    hunter.to_the_end()
    hunter.restart(keep=max(1, keep))
    hunter.settle()
    hunter.to_the_end()
    assert hunter.said() == REFERENCE.said()


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["end", "fail", "lie", "stop", "resume", "more", "kill", "cancel"]), st.integers(0, 3))
    )
)
def test_whatever_happens_the_log_is_the_whole_truth_and_no_candidate_is_counted_twice(moves: list[tuple[str, int]]) -> None:
    hunter = Hunter()
    hunt_id = hunter.start()
    for what, place in moves:
        errands = hunter.errands()
        each = errands[place % len(errands)] if errands else None
        match what:
            case "end" if each is not None:
                hunter.told(hunter.computed(each))
            case "fail" if each is not None:
                hunter.told(JobEnded(each.id, False, "timeout", "too slow"))
            case "lie" if each is not None:
                hunter.told(JobEnded(each.id, True, "ok", "", {"lanes": []}))
            case "stop" | "resume":
                try_to(hunter, what, {})
            case "more":
                try_to(hunter, "resume", {"add_generations": 1})
            case "cancel":
                hunter.ask("cancel_job", {"job": hunt_id}, IRER)
            case "kill":
                hunter.restart(1.0)
        hunter.settle()
        hunt = hunter.hunt
        assert hunter.replayed_states() == hunter.states
        assert hunt.done == sum(row.outcome is not None for row in hunt.rows.values()) <= hunt.jobs_total
        assert hunt.active or not hunter.errands()
        assert hunt.closed <= hunt.generations and len(hunt.volumes) == hunt.closed
    scored = [(event.generation, event.index) for event in of(hunter, events.HuntScored)]
    assert scored == sorted(set(scored)), "each candidate has one outcome, in the order in which they were asked for"


def try_to(hunter: Hunter, verb: str, params: dict[str, Any]) -> None:
    try:
        hunter.ask(verb, params)
    except Refused as refused:
        assert refused.code in ("already-running", "failed-precondition")


def test_no_record_says_what_a_clock_said() -> None:
    hunter = Hunter()
    hunter.wall_us += 10**15
    hunter.mono_us += 10**12
    hunter.start()
    while hunter.round():
        hunter.run(17.0)
    assert hunter.said() == REFERENCE.said()


def test_applying_an_event_looks_at_no_objective() -> None:
    tree = ast.parse(Path(core.hunt.state.__file__).read_text())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert named.isdisjoint({"log_prime_sse", "sdg_h_norm_l2", "sdg_h_norm_l2_max", "fitness"})
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported.isdisjoint({"core.hunt.generations", "core.hunt.nsga2", "core.hunt.fronts", "core.hunt.hypervolume"})


# --- outcomes --------------------------------------------------------------------------------------------------------------


LIES: dict[str, Any] = {
    "another job": lambda lanes: lanes[0].update(job_uuid="0" * 32),
    "a lane too few": lambda lanes: lanes.pop(),
    "swapped": lambda lanes: lanes.reverse(),
    "a number and a code": lambda lanes: lanes[0].update(log_prime_sse=0.5, sse_code="no_peaks"),
    "neither": lambda lanes: lanes[0].update(log_prime_sse=None, sse_code=None),
    "a sentinel": lambda lanes: lanes[0].update(log_prime_sse=float("nan"), sse_code=None),
    "below nothing": lambda lanes: lanes[0].update(sdg_h_norm_l2=-0.1, h_code=None),
    "a field of its own": lambda lanes: lanes[0].update(fitness=1e9),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_outcome_that_lies_is_no_outcome(lie: Any) -> None:
    hunter = Hunter(formula=none_diverges)
    hunter.start()
    errand = hunter.errands()[0]
    ended = hunter.computed(errand)
    lie(ended.result["lanes"])
    hunter.told(ended)
    assert not of(hunter, events.HuntScored)
    [failed] = of(hunter, events.ChunkFailed)
    assert failed.code == "bad-output" and hunter.errands()[0].params == errand.params


def test_a_call_that_fails_is_tried_once_more_and_then_left_out() -> None:
    hunter = Hunter(formula=none_diverges)
    hunter.start()
    first = hunter.errands()[0]
    hunter.told(JobEnded(first.id, False, "timeout", "too slow"))
    again = hunter.errands()[0]
    assert again.id != first.id and again.params == first.params
    hunter.told(JobEnded(again.id, False, "poison", "its worker died"))
    missing = of(hunter, events.HuntScored)
    assert [(each.status, each.sse_code, each.why, each.log_prime_sse) for each in missing] == [
        ("missing", "missing", "poison", None)
    ] * 2
    hunter.to_the_end()
    closed = of(hunter, events.GenerationClosed)
    assert (closed[0].outcomes, closed[0].missing) == (3, 2)
    assert {(0, 0), (0, 1)}.isdisjoint((each.generation, each.index) for event in closed for each in event.survivors)
    success = hunter.look("status").success
    assert not success.engineering.ok and (success.engineering.provenance, success.engineering.missing) == (13, 2)


def test_a_hunt_of_which_nothing_can_be_run_fails_with_the_reason_and_can_go_on() -> None:
    hunter = Hunter()
    hunter.start()
    for _ in range(6):
        hunter.told(JobEnded(hunter.errands()[0].id, False, "no-space", "the disk is full"))
    assert hunter.hunt.state == "failed" and hunter.hunt.code == "no-space"
    status = hunter.look("status")
    assert status.state == "failed" and "no-space" in status.error and "irerctl hunt resume" in status.error
    assert hunter.engine.checks is not None
    assert [check.health for check in hunter.engine.checks(hunter.state, hunter.context())] == ["degraded"]
    hunter.ask("resume", {"add_generations": 1})
    hunter.settle()
    hunter.to_the_end()
    assert hunter.hunt.state == "completed" and hunter.hunt.closed == 4
    assert not of(hunter, events.HuntAsked)[3].children[0].parents, "there was nobody to come from"


def test_a_code_is_never_a_number_for_the_optimiser() -> None:
    hunter = Hunter()
    hunter.start({**SMALL, "population_size": 40})
    hunter.to_the_end()
    kinds = {"scored": 0, "no_peaks": 0, "diverged": 0}
    for row in hunter.hunt.rows.values():
        seen = individual(row, hunter.hunt.began.objectives)
        assert row.outcome is not None
        if row.outcome.log_prime_sse is not None:
            assert seen.feasibility == REAL_SCORE and seen.objectives == (row.outcome.log_prime_sse, row.outcome.sdg_h_norm_l2)
        else:
            assert seen.objectives == (float("inf"),) * 2
            assert seen.feasibility == (NO_PEAKS if row.outcome.sse_code == "no_peaks" else DIVERGED)
        kinds[row.outcome.sse_code or "scored"] += 1
    assert all(kinds.values()), "the formula has all of them"
    for event in of(hunter, events.GenerationClosed):
        rows = {(row.generation, row.child.index): row for row in hunter.hunt.rows.values()}
        assert all(score(rows[point.generation, point.index]) is not None for point in event.front)


def score(row: Candidate) -> float | None:
    return row.outcome.log_prime_sse if row.outcome is not None else None


def test_a_source_that_gives_no_norm_stands_behind_those_with_one() -> None:
    def sourceless(lane: Lane, chunk: Chunk) -> dict[str, Any]:
        said = none_diverges(lane, chunk)
        return {**said, "sdg_h_norm_l2": None, "h_code": "no_source", "log_prime_sse": 0.0} if lane.index == 0 else said

    hunter = Hunter(formula=sourceless)
    hunter.start()
    hunter.to_the_end()
    closed = of(hunter, events.GenerationClosed)[0]
    assert (closed.survivors[-1].generation, closed.survivors[-1].index) == (0, 0)


def test_nothing_good_is_ever_lost() -> None:
    hunter = Hunter()
    hunter.start({**SMALL, "num_generations": 8, "population_size": 10})
    hunter.to_the_end()
    closed = of(hunter, events.GenerationClosed)
    volumes = [each.hypervolume for each in closed]
    assert volumes == sorted(volumes) and volumes[-1] > volumes[0]
    rows = hunter.hunt.rows.values()
    best = max(rows, key=lambda row: (row.outcome.fitness or 0.0) if row.outcome else 0.0)
    assert closed[-1].best == best.child.job_uuid == hunter.hunt.rows[hunter.hunt.best].child.job_uuid
    least = [min(score(hunter.hunt.row(each.generation, each.index)) or 9 for each in event.survivors) for event in closed]
    assert least == sorted(least, reverse=True)


def test_children_come_from_the_population_as_it_was_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end of a front is infinitely far from its neighbours, also after it was in the log, which knows no infinity."""
    hunter = Hunter()
    hunter.start({**SMALL, "num_generations": 2, "population_size": 12})
    rows = hunter.hunt.open_rows()
    taken: list[Any] = []
    monkeypatch.setattr(generations, "offspring", lambda *given: taken.append(given[0]) or offspring(*given))
    hunter.to_the_end()
    selected = select([individual(row, hunter.hunt.began.objectives) for row in rows], 12)
    assert [(each.rank, each.crowding, each.unit) for each in taken[0]] == [
        (each.rank, each.crowding, each.unit) for each in selected
    ]
    assert any(each.crowding == float("inf") for each in selected)


def test_the_legacy_fitness_can_be_what_is_selected_by() -> None:
    hunter = Hunter(formula=none_diverges)
    hunter.start({**SMALL, "objectives": ["fitness"]})
    hunter.to_the_end()
    for event in of(hunter, events.GenerationClosed):
        found = [hunter.hunt.row(each.generation, each.index).outcome for each in event.survivors]
        fitnesses = [each.fitness for each in found if each is not None and each.fitness is not None]
        assert fitnesses == sorted(fitnesses, reverse=True) and len(fitnesses) == 5 and event.hypervolume is None


def test_both_thresholds_go_before_a_better_score_and_are_not_certified() -> None:
    def planted(lane: Lane, chunk: Chunk) -> dict[str, Any]:
        said = none_diverges(lane, chunk)
        if lane.index == 1:
            return {**said, "log_prime_sse": 1e-7, "sdg_h_norm_l2": 0.5}
        return {**said, "log_prime_sse": 0.005, "sdg_h_norm_l2": 0.0005} if lane.index == 3 else said

    hunter = Hunter(formula=planted)
    hunter.start()
    hunter.to_the_end()
    status = hunter.look("status")
    assert status.best.index == 3 and status.success.scientific.reached
    assert status.success.scientific.certificate == "not certified"


# --- what is refused -------------------------------------------------------------------------------------------------------


def test_a_second_start_is_refused_and_names_the_one_that_runs() -> None:
    hunter = Hunter()
    hunt_id = hunter.start()
    error = refused(hunter, "start", **SMALL)
    assert error.code == "already-running" and error.data == {"hunt_id": hunt_id}
    hunter.ask("stop")
    assert refused(hunter, "start").code == "already-running", "also while it stops"
    hunter.to_the_end()
    assert hunter.start() != hunt_id


def test_as_many_as_configured_may_run_and_each_is_the_hunt_it_would_be_alone() -> None:
    hunter = Hunter(TWO_AT_ONCE)
    first, second = hunter.start(seed=1), hunter.start(seed=2)
    assert refused(hunter, "start").code == "already-running"
    assert "irerctl hunt list" in refused(hunter, "stop").detail
    for place in range(400):
        if not hunter.round(place):
            break
    assert [hunt.state for hunt in hunter.hunts.hunts.values()] == ["completed"] * 2
    alone = Hunter()
    alone.start(seed=2)
    alone.to_the_end()
    points = [[row.child.params for row in hunt.rows.values()] for hunt in (hunter.hunts.hunts[second], alone.hunt)]
    assert points[0] == points[1] and first != second


@pytest.mark.parametrize(
    ("asked", "path", "says"),
    [
        ({"space": {"tau": {"low": 0.1, "high": 1.0}}}, "space.tau", "Set it for the whole hunt"),
        ({"space": {"steps": {"low": 1.0, "high": 9.0}}}, "space.steps", "how finely"),
        ({"space": {"epz": {"low": 0.1, "high": 1.0}}}, "space.epz", "Did you mean eps?"),
        ({"space": {}}, "space", "nothing to search"),
        ({"space": {"eps": {"low": 2.0, "high": 1.0}}}, "space.eps", "low"),
        ({"space": {"rho_vac": {"low": 0.0, "high": 1.0}}}, "space.rho_vac", "Stay within"),
        ({"settings": {"params": {"eps": 1.0}}}, "settings.params.eps", "searched"),
        ({"settings": {"params": {"tau": 0.0}}}, "settings.params.tau", "tau"),
        ({"settings": {"geometry": "elliptic"}}, "settings.geometry", "no sdg_h_norm_l2"),
        ({"settings": {"geometry": "off"}}, "settings.geometry", "objectives without it"),
        ({"settings": {"kernel": "gaussian"}}, "settings.kernel", "ring"),
        ({"settings": {"grid": {"n": 17}}}, "settings.grid.n", "Near it is"),
        ({"settings": {"steps": 0}}, "settings.steps", "outside"),
        ({"settings": {"targets": 4}}, "settings.targets", "5"),
        ({"objectives": ["fitness", "log_prime_sse"]}, "objectives", "alone"),
        ({"num_generations": 10_000, "population_size": 100}, "num_generations", "20,000"),
    ],
)
def test_what_makes_no_hunt_is_refused_before_it_begins(asked: dict[str, Any], path: str, says: str) -> None:
    error = refused(Hunter(), "start", **asked)
    assert path in [at for at, _ in error.fields] and says in error.detail


def test_where_numpy_is_not_installed_a_hunt_is_refused_and_one_that_ran_says_why_it_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hunter = Hunter()
    hunter.start()
    while hunter.hunt.closed < 1:
        hunter.round()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "numpy", None)
        hunter.to_the_end()
        assert (hunter.hunt.state, hunter.hunt.code) == ("failed", "not-installed")
        assert "irer[science]" in hunter.look("status").error
        assert refused(hunter, "resume").reason == refused(hunter, "start").reason == "not-installed"
    hunter.ask("resume")
    hunter.settle()
    hunter.to_the_end()
    assert [each for each in hunter.said() if each[0] not in ENDS] == [each for each in REFERENCE.said() if each[0] not in ENDS]


def test_without_a_space_of_depth_the_kernel_is_the_gaussian() -> None:
    hunter = Hunter()
    hunter.start({**SMALL, "space": {"eps": {"low": 0.5, "high": 1.5}}})
    assert hunter.hunt.began.settings.settings.kernel == "gaussian"
    assert set(hunter.hunt.rows["0/0"].child.params) == {"eps"}


def test_the_largest_hunt_fits_the_log() -> None:
    for lanes in (1, events.LANES_MAX):
        hunter = Hunter()
        before = len(hunter.records)
        hunter.start({"num_generations": 3, "population_size": events.POPULATION_MAX, "settings": {"lanes": lanes}})
        asked = [payload for kind, payload, _ in hunter.records[before:] if kind == "hunt.asked"]
        assert len(asked) <= EVENTS_MAX and sum(map(len, asked)) < BATCH_BYTES_MAX - 400 * len(asked)
        hunter.to_the_end()
        assert max(len(payload) for _, payload, _ in hunter.records) < RECORD_BYTES_MAX - 1_000
    long = 1 / 3
    placed = [events.Placed(9_999, 199, 199, long)] * events.POPULATION_MAX
    front = [events.FrontPoint(9_999, 199, [long * 1e-5, long])] * events.POPULATION_MAX
    worst = events.GenerationClosed("0" * 64, 9_999, 200, 0, placed, placed, front, long, "0" * 64)
    assert len(event_payload(worst)) < RECORD_BYTES_MAX - 1_000


# --- stop and resume -------------------------------------------------------------------------------------------------------


def test_a_stop_finishes_what_runs_and_a_resume_goes_on_where_it_was() -> None:
    hunter = Hunter()
    hunter.start({**SMALL, "settings": {**SMALL["settings"], "parallel": 2}})  # type: ignore[dict-item]
    assert len(hunter.errands()) == 2
    assert hunter.ask("stop") == [events.HuntStopping(hunter.hunt.hunt_id)]
    hunter.settle()
    assert hunter.hunt.state == "stopping" and len(hunter.errands()) == 2
    hunter.round()
    assert hunter.hunt.state == "stopping" and len(hunter.errands()) == 1, "nothing new begins"
    hunter.round()
    assert (hunter.hunt.state, hunter.hunt.code, hunter.hunt.done) == ("stopped", "stopped", 4)
    assert not hunter.errands() and hunter.ask("stop") == []
    hunter.ask("resume")
    hunter.settle()
    hunter.to_the_end()
    assert hunter.hunt.state == "completed"
    assert [each for each in hunter.said() if each[0] not in ENDS] == [each for each in REFERENCE.said() if each[0] not in ENDS]


def test_a_second_stop_ends_it_at_once() -> None:
    hunter = Hunter()
    hunter.start()
    hunter.ask("stop")
    running = hunter.computed(hunter.errands()[0])
    hunter.ask("stop")
    assert (hunter.hunt.state, hunter.hunt.code) == ("stopped", "cancelled") and not hunter.errands()
    before = len(hunter.records)
    hunter.told(running)
    assert len(hunter.records) == before, "what was ended has no outcome"


def test_a_completed_hunt_can_be_made_longer_and_only_longer() -> None:
    hunter = Hunter()
    hunter.start()
    assert refused(hunter, "resume").code == "already-running"
    hunter.to_the_end()
    error = refused(hunter, "resume")
    assert error.code == "failed-precondition" and "--add-generations" in error.detail
    assert refused(hunter, "resume", add_generations=10_000).code == "out-of-range"
    hunter.ask("resume", {"add_generations": 2})
    hunter.settle()
    hunter.to_the_end()
    longer = Hunter()
    longer.start({**SMALL, "num_generations": 5})
    longer.to_the_end()
    kinds = ("hunt.asked", "hunt.scored", "hunt.generation")
    assert [each for each in hunter.said() if each[0] in kinds] == [each for each in longer.said() if each[0] in kinds]


# --- looking ---------------------------------------------------------------------------------------------------------------


def test_status_tells_how_far_it_is_and_guesses_what_is_left() -> None:
    hunter = Hunter(formula=none_diverges)
    assert hunter.look("status").state == "idle"
    hunter.start()
    assert hunter.look("status").eta_s is None
    hunter.round()
    status = hunter.look("status")
    assert (status.state, status.generation, status.generations) == ("running", 0, 3)
    assert (status.jobs_done, status.jobs_total, status.eta_s) == (2, 15, 6)
    assert status.last.index == 1 and status.best.log_prime_sse is not None
    hunter.to_the_end()
    status = hunter.look("status")
    assert status.state == "completed" and status.eta_s is None and status.success.engineering.ok
    assert len(status.hypervolume) == 3 and all(len(point.values) == 2 for point in status.front)


def test_while_none_has_a_score_the_best_is_who_stands_before_the_others() -> None:
    """The order of the optimiser: no peaks before diverged, then the h-norm. What could not be run at all is never the best."""
    codes = {0: "diverged", 1: "missing", 2: "no_peaks", 3: "no_peaks"}
    norms = {0: None, 1: 0.01, 2: 0.5, 3: 0.25}

    def coded(lane: Lane, chunk: Chunk) -> dict[str, Any]:
        said, at = none_diverges(lane, chunk), lane.index or 0
        if lane.generation == 1 and at == 2:
            return {**said, "log_prime_sse": 4.5, "sdg_h_norm_l2": 0.9}
        code, norm = codes[at], norms[at]
        coded = {"log_prime_sse": None, "sse_code": code, "sdg_h_norm_l2": norm, "h_code": None if norm else "diverged"}
        return {**said, **coded} | ({"status": "diverged", "fail_step": 1} if code == "diverged" else {})

    hunter = Hunter(formula=coded)
    hunter.start({**SMALL, "num_generations": 2, "population_size": 4, "settings": {"lanes": 1}})
    assert hunter.look("status").best is None
    with pytest.raises(Refused, match="not-found"):
        reads.best(hunter.hunts, None)
    best = []
    while hunter.round():
        found = hunter.look("status").best
        best.append((found.generation, found.index, found.sse_code, found.log_prime_sse))
        assert reads.best(hunter.hunts, None)[1].child.job_uuid == found.job_uuid
    assert best[:4] == [(0, 0, "diverged", None), (0, 1, "missing", None), (0, 2, "no_peaks", None), (0, 3, "no_peaks", None)]
    assert best[4:6] == [(0, 3, "no_peaks", None)] * 2 and best[6:] == [(1, 2, None, 4.5)] * 2
    ended = of(hunter, events.HuntCompleted)[0]
    assert ended.best == of(hunter, events.GenerationClosed)[1].best == hunter.hunt.row(1, 2).child.job_uuid and not ended.reached
    assert of(hunter, events.GenerationClosed)[0].best == hunter.hunt.row(0, 3).child.job_uuid


def test_a_row_has_what_components_found_out_about_its_run() -> None:
    hunter = Hunter(formula=none_diverges)
    hunter.start()
    hunter.to_the_end()
    plain = hunter.look("ledger").rows
    assert all((row.gap_phase, row.gap_target, row.h_classical) == (None, None, None) for row in plain)
    figures = hunter.states["component"].figures
    for at, row in enumerate(plain[:4]):
        figures[row.job_uuid] = Figures(0.1, 0.5 * at, 10.0) if at else Figures(gap_phase=1.0)
    found = {row.job_uuid: row for row in hunter.look("ledger", {"sort": "gap_phase"}).rows}
    assert [row.job_uuid for row in list(found.values())[:4]] == [plain[at].job_uuid for at in (3, 0, 2, 1)]
    shown = found[plain[2].job_uuid]
    assert (shown.gap_phase, shown.gap_target, shown.h_classical) == (1.0, 10.0, 0.1)
    assert plain[2].fitness is not None and shown.fitness == pytest.approx(plain[2].fitness + 1.1)
    assert found[plain[0].job_uuid].fitness == plain[0].fitness, "one gap alone is none"
    assert next(iter(hunter.look("ledger", {"sort": "h_classical"}).rows)).h_classical == 0.1


def test_rows_are_sorted_best_first_with_what_is_no_number_last_and_paged() -> None:
    hunter = Hunter()
    hunter.start({**SMALL, "population_size": 20})
    hunter.to_the_end()
    for column in ("log_prime_sse", "fitness"):
        whole, after = [], None
        while True:
            page = hunter.look("ledger", {"sort": column, "limit": 7, **({"after": after} if after else {})})
            whole += page.rows
            after = page.next
            if after is None:
                break
        values = [getattr(row, column) for row in whole]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=column == "fitness") and values[len(known) :] == [None] * (60 - len(known))
        assert len({row.job_uuid for row in whole}) == 60
    assert all(row.params.keys() == PARAMETERS.keys() for row in whole)


def test_a_hunt_and_its_candidates_are_jobs() -> None:
    hunter = Hunter()
    hunt_id = hunter.start()
    hunter.round()
    assert hunter.engine.jobs is not None
    found = {job.job: job for job in hunter.engine.jobs(hunter.state)}
    assert found[hunt_id].state == "running" and found[hunt_id].progress == {"done": 2, "total": 15, "unit": "jobs"}
    done = hunter.hunt.row(0, 0).child.job_uuid
    assert found[done].state == "done" and found[hunter.hunt.row(0, 4).child.job_uuid].state == "running"
    hunter.ask("cancel_job", {"job": hunt_id}, IRER)
    job = next(iter(hunter.engine.jobs(hunter.state)))
    assert (job.state, job.ok, job.code) == ("done", False, "cancelled")


def test_only_the_rows_of_the_oldest_hunts_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.hunt.state, "ROWS_KEPT", 45)
    monkeypatch.setattr(core.hunt.state, "HUNTS_KEPT", 4)
    hunter = Hunter()
    ids = []
    for seed in range(6):
        ids.append(hunter.start(seed=seed))
        hunter.to_the_end()
    assert list(hunter.hunts.hunts) == ids[2:]
    assert [hunt.thin for hunt in hunter.hunts.hunts.values()] == [True, True, False, False]
    error = refused(hunter, "ledger", hunt_id=ids[2])
    assert error.code == "compacted" and "simulation_ledger.csv" in error.detail
    assert hunter.look("status", {"hunt_id": ids[2]}).success.engineering.ok
    hunter.ask("resume", {"hunt_id": ids[2], "add_generations": 1})
    hunter.settle()
    hunter.to_the_end()
    assert hunter.hunts.hunts[ids[2]].state == "completed" and hunter.replayed_states() == hunter.states


def test_one_seed_is_one_hunt_and_another_is_another() -> None:
    points = []
    for seed in (11, 11, 12):
        hunter = Hunter(seed=seed)
        hunter.start(seed=seed)
        points.append([child.params for asked in of(hunter, events.HuntAsked) for child in asked.children])
    assert points[0] == points[1] != points[2]


def test_why_thresholds_were_not_reached_speaks_of_peaks_before_places() -> None:
    def spectrum(n_peaks: int, resolved: bool = False) -> events.HuntScored:
        return events.HuntScored("h", 0, 0, "j", "ok", n_peaks=n_peaks, n_targets=5, resolved=resolved)

    few = reads._of_peaks([spectrum(0), spectrum(0), spectrum(1)])
    assert few == "2 spectra have no peak and none has more than 1 peak, where 5 targets need one each, so none scores below 4"
    assert reads._of_peaks([spectrum(0)]).endswith("more than 0 peaks, where 5 targets need one each")
    assert reads._of_peaks([spectrum(5, True), spectrum(9)]) == "in 1 the grid could tell the targets apart"
