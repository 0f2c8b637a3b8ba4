"""Candidates with several seeds, of which the medians count, and hunts that select by how much better than chance a score is."""

import itertools
import math
import statistics
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.component.events import ComponentFinished
from core.component.model import Figures
from core.engine import Refused
from core.hunt import events, generations, reads
from core.hunt.certify import wanted as certificates
from core.hunt.generations import _scored, individual
from core.hunt.ledger import HEADER, Projection
from core.hunt.nsga2 import NO_PEAKS, REAL_SCORE
from core.settings import Hunt as HuntSettings
from core.settings import Settings
from core.sim.chunk import Chunk, Lane, LaneOutcome
from tests.core.hunt.hunter import SMALL, Hunter, plain_formula

THREE = {**SMALL, "settings": {**SMALL["settings"], "seeds": 3, "lanes": 7}}
GAPS = {**SMALL, "objectives": ["log_prime_sse", "sdg_h_norm_l2", "gap"]}


def by_seed(lane: Lane, chunk: Chunk) -> dict[str, Any]:
    """Each run differs by its seed; some have no peaks, some diverge, and gaps are told where they are asked for."""
    said = plain_formula(lane, chunk)
    if said["log_prime_sse"] is None:
        return said
    told = {**said, "log_prime_sse": said["log_prime_sse"] + lane.seed % 13, "sdg_h_norm_l2": lane.seed % 11 / 11}
    if lane.seed % 3 == 0:
        told |= {"sdg_h_norm_l2": None, "h_code": "no_source"}
    if chunk.gap_draws:
        both = [lane.seed % 17 - 8.0, lane.seed % 19 - 9.0]
        told |= {"gap_phase": both[0] if lane.seed % 4 else None, "gap_target": both[1], "gap": min(both)}
    return told


def whole(asked: dict[str, Any], **more: Any) -> Hunter:
    hunter = Hunter(formula=by_seed, **more)
    hunter.start(asked)
    hunter.to_the_end()
    return hunter


# --- several seeds --------------------------------------------------------------------------------------------------------


def test_every_run_of_a_candidate_has_an_id_and_a_seed_and_they_are_computed_in_one_call() -> None:
    hunter = Hunter(formula=by_seed)
    hunter.start(THREE)
    namespace, errands = uuid.UUID(hunter.hunt.began.namespace), hunter.errands()
    lanes = [msgspec.convert(errand.params, Chunk).lanes for errand in errands]
    assert [len(each) for each in lanes] == [6, 6, 3], "two whole candidates fit into a call of seven"
    places = [(lane.index, lane.turn) for each in lanes for lane in each]
    assert places == list(itertools.product(range(5), range(3)))
    for lane in itertools.chain(*lanes):
        name = f"0/{lane.index}/{lane.turn}" if lane.turn else f"0/{lane.index}"
        assert lane.job_uuid == str(uuid.uuid5(namespace, name))
    hunter.to_the_end()
    every = [run for row in hunter.hunt.rows.values() for run in (row.child, *row.child.again)]
    assert len(every) == 45 and len({run.job_uuid for run in every}) == len({run.seed for run in every}) == 45


def test_more_seeds_change_neither_the_first_seed_nor_the_first_generation() -> None:
    first = [Hunter(formula=by_seed) for _ in range(2)]
    for hunter, asked in zip(first, (SMALL, THREE), strict=True):
        hunter.start(asked)
    one, three = ([row.child for row in hunter.hunt.rows.values()] for hunter in first)
    assert [(child.seed, child.params) for child in one] == [(child.seed, child.params) for child in three]
    assert all(not child.again for child in one) and b"again" not in first[0].said()[1][1]


REFERENCE = whole(THREE)


def test_a_row_is_the_median_of_its_runs_and_a_code_where_most_have_none() -> None:
    rows = [row for row in REFERENCE.hunt.rows.values() if row.outcome is not None]
    coded = 0
    for row in rows:
        said = row.outcome
        assert said is not None and len(said.runs) == 3
        for name in ("log_prime_sse", "sdg_h_norm_l2", "sdg_h_norm_l2_max"):
            values = [math.inf if getattr(run, name) is None else getattr(run, name) for run in said.runs]
            middle = statistics.median(values)
            assert getattr(said, name) == (None if middle == math.inf else middle)
        shown = next(run for run in said.runs if run.job_uuid == said.run)
        assert (shown.log_prime_sse, shown.sse_code, shown.status) == (said.log_prime_sse, said.sse_code, said.status)
        assert shown.artefact_sha256 == said.artefact_sha256 and row.run == shown.job_uuid
        coded += said.log_prime_sse is None
    assert 0 < coded < len(rows)


RUNS = st.sampled_from(
    [
        ("ok", 0.5, None, 0.1, None),
        ("ok", 0.25, None, None, "no_source"),
        ("ok", 0.5, None, 0.4, None),
        ("ok", None, "no_peaks", 0.2, None),
        ("ok", None, "missing", 0.3, None),
        ("diverged", None, "diverged", None, "diverged"),
        ("geometry", None, "diverged", None, "diverged"),
    ]
)


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(RUNS, min_size=3, max_size=3))
def test_whatever_the_runs_come_to_the_row_is_possible_and_their_order_plays_no_part(runs: list[Any]) -> None:
    def said(order: list[Any]) -> events.HuntScored:
        lanes = [
            LaneOutcome(f"j{at}", status, [], sse, code, h, h_code, h, 1.0, 3, 5, True, None)
            for at, (status, sse, code, h, h_code) in enumerate(order)
        ]
        return _scored(REFERENCE.hunt, 0, lanes)

    first = said(runs)
    assert (first.log_prime_sse is None) != (first.sse_code is None) and (first.sdg_h_norm_l2 is None) != (first.h_code is None)
    ended_well = sum(status == "ok" for status, *_ in runs)
    assert (first.status == "ok") == (ended_well >= 2), "most decide"
    assert first.status == "ok" or first.sse_code == first.h_code == "diverged"
    told = {
        (each.status, each.log_prime_sse, each.sse_code, each.sdg_h_norm_l2, each.h_code)
        for each in map(said, map(list, itertools.permutations(runs)))
    }
    assert len(told) == 1


@settings(max_examples=15, deadline=None)
@given(ends=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["end", "end", "kill", "reboot"])), max_size=12))
def test_killed_anywhere_a_hunt_of_several_seeds_comes_to_the_same(ends: list[tuple[int, str]]) -> None:
    hunter = Hunter(formula=by_seed)
    hunter.start(THREE)
    for place, what in ends:
        errands = hunter.errands()
        if what == "end" and errands:
            hunter.told(hunter.computed(errands[place % len(errands)]))
        elif what != "end":
            hunter.restart(float(place), reboot=what == "reboot")
            hunter.settle()
        assert hunter.replayed_states() == hunter.states
    hunter.to_the_end()
    assert hunter.said() == REFERENCE.said()


def test_an_even_number_of_seeds_is_refused_and_so_are_more_runs_than_a_hunt_has() -> None:
    for asked, config in (({**SMALL, "settings": {"seeds": 2}}, HuntSettings()), (SMALL, HuntSettings(seeds=4))):
        hunter = Hunter(Settings(hunt=config))
        with pytest.raises(Refused, match="odd number") as caught:
            hunter.start(asked)
        assert caught.value.fields and not hunter.records
    with pytest.raises(Refused, match="each with 5 seeds, are 25,000 runs"):
        Hunter().start({"num_generations": 100, "population_size": 50, "settings": {"seeds": 5}})
    hunter = Hunter(Settings(hunt=HuntSettings(seeds=3)))
    hunter.start(SMALL)
    assert hunter.look("status").seeds == 3
    hunter.to_the_end()
    with pytest.raises(Refused, match="each with 3 seeds"):
        hunter.ask("resume", {"add_generations": 2_000})


def test_all_runs_of_a_candidate_must_have_room_in_one_call() -> None:
    large = {**SMALL, "settings": {"grid": {"n": 2048}, "lanes": 1}}
    Hunter().start(large)
    with pytest.raises(Refused) as caught:
        Hunter().start({**large, "settings": {**large["settings"], "seeds": 9}})
    assert caught.value.code == "resource-exhausted"


def test_a_call_that_is_lost_costs_whole_candidates_and_no_others() -> None:
    hunter = Hunter(formula=by_seed)
    hunter.start(THREE)
    for _ in range(2):
        hunter.told(msgspec.structs.replace(hunter.computed(hunter.errands()[0]), ok=False, code="timeout", result={}))
    rows = list(hunter.hunt.rows.values())
    assert [row.outcome is not None and row.outcome.status for row in rows[:3]] == ["missing", "missing", False]
    assert all(row.outcome is None or not row.outcome.runs for row in rows) and rows[0].finished() == []


def test_what_components_find_of_the_run_in_the_middle_stands_in_the_row() -> None:
    hunter = whole(THREE)
    row = next(row for row in hunter.hunt.rows.values() if row.outcome is not None and row.outcome.log_prime_sse is not None)
    assert row.outcome is not None
    hunter.states["component"].figures[row.run] = Figures(0.125, 1.0, 2.0)
    page = hunter.look("ledger", {"sort": "h_classical", "limit": 1})
    (shown,) = page.rows
    assert (shown.job_uuid, shown.run, shown.seeds, shown.gap_phase) == (row.child.job_uuid, row.run, 3, 1.0)
    _, pairs = reads.columns(hunter.hunts, hunter.states["component"], None)
    assert [pair[2] for pair in pairs[1] if pair[2] is not None] == [0.125]
    found = ComponentFinished("j", row.run, "null-profile", "1.0.0", "0" * 64, True, {"gap_phase": 1.0, "gap_target": 2.0})
    projection, lines = Projection(), {}
    for kind, payload, _ in hunter.records:
        lines.update(dict(projection.fold(kind, payload)))
    ((name, text),) = projection.fold("component.finished", msgspec.json.encode(found))
    columns, cells = HEADER.decode().rstrip().split(","), text.decode().rstrip().split(",")
    told = dict(zip(columns, cells, strict=True))
    assert name == row.child.job_uuid == told["job_uuid"] and name in lines and told["run_uuid"] == row.run
    assert (told["gap_phase"], told["gap_target"], told["seeds"]) == ("1.0", "2.0", "3")


def test_a_certificate_is_asked_for_by_any_run_and_holds_the_best_against_medians_of_as_many() -> None:
    hunter = whole({**THREE, "settings": {**THREE["settings"], "grid": {"n": 128, "l": 80.0}}})
    row = next(row for row in hunter.hunt.rows.values() if row.outcome is not None and row.outcome.log_prime_sse is not None)
    assert row.outcome is not None
    hunter.ask("certify", {"job_uuid": row.child.again[1].job_uuid})
    (begun,) = [event for event in hunter.events if isinstance(event, events.CertificateBegun)]
    assert begun.job_uuid == row.child.job_uuid and begun.found is not None
    assert (begun.found.seeds, begun.found.log_prime_sse) == (3, row.outcome.log_prime_sse)
    (errand,) = certificates(hunter.hunts)
    scored = [each for each in hunter.hunt.rows.values() if each.outcome is not None and each.outcome.log_prime_sse is not None]
    assert errand.params["seeds"] == 3 and errand.params["family"] == [each.finished() for each in scored]
    assert {len(runs) for runs in errand.params["family"]} <= {2, 3}, "of each that has a score most runs ended well"


# --- the gap --------------------------------------------------------------------------------------------------------------


def test_a_hunt_that_selects_by_the_gap_has_it_worked_out_and_one_that_does_not_has_not() -> None:
    for objectives, draws in ((["gap"], 99), (["fitness"], 99), (["log_prime_sse", "gap"], 99), (["log_prime_sse"], 0)):
        hunter = Hunter(formula=by_seed)
        hunter.start({**SMALL, "objectives": objectives})
        assert {errand.params["gap_draws"] for errand in hunter.errands()} == {draws}
        hunter.to_the_end()
        assert hunter.hunt.state == "completed"
        for row in hunter.hunt.rows.values():
            assert row.outcome is not None
            assert (row.outcome.gap is not None) == (bool(draws) and row.outcome.log_prime_sse is not None)


def test_the_gap_is_made_large_and_there_is_one_beside_every_score() -> None:
    hunter = whole({**GAPS, "population_size": 40, "num_generations": 1})
    seen = 0
    for row in hunter.hunt.rows.values():
        said, point = row.outcome, individual(row, hunter.hunt.began.objectives)
        assert said is not None
        if said.log_prime_sse is None or said.sdg_h_norm_l2 is None:
            assert point.feasibility >= NO_PEAKS
            continue
        assert said.gap is not None and point.feasibility == REAL_SCORE
        assert point.objectives == (said.log_prime_sse, said.sdg_h_norm_l2, -said.gap)
        seen += 1
    assert seen >= 4
    alone = whole({**GAPS, "objectives": ["gap"], "num_generations": 4})
    first, last = (max(-value for front in fronts for value in front.values) for fronts in fronts_of(alone))
    assert last >= first and alone.hunt.began.reference == []


def fronts_of(hunter: Hunter) -> tuple[list[events.FrontPoint], list[events.FrontPoint]]:
    closed = [event.front for event in hunter.events if isinstance(event, events.GenerationClosed) and event.front]
    return closed[0], closed[-1]


def test_the_volume_counts_gaps_above_nothing() -> None:
    hunter = whole({**GAPS, "population_size": 40})
    assert hunter.hunt.began.reference == [5.0, 1.0, 0.0]
    volumes = [volume for volume in hunter.hunt.volumes if volume is not None]
    assert len(volumes) == 3 and 0 < volumes[-1] and volumes == sorted(volumes)


def test_the_legacy_scalar_counts_the_gaps_of_the_source() -> None:
    hunter = whole({**SMALL, "objectives": ["fitness"], "population_size": 40, "num_generations": 1})
    counted = 0
    for row in hunter.hunt.rows.values():
        said = row.outcome
        assert said is not None
        if said.log_prime_sse is not None and said.gap_phase is not None and said.gap_target is not None:
            assert said.fitness == 1 / max(said.log_prime_sse, 1e-6) + 0.1 * (said.gap_phase + said.gap_target)
            assert individual(row, ["fitness"]).objectives == (-said.fitness,)
            counted += 1
    assert counted


def test_what_it_was_selected_by_is_not_changed_by_who_looks_afterwards() -> None:
    hunter = whole(GAPS)
    row = next(row for row in hunter.hunt.rows.values() if row.outcome is not None and row.outcome.gap_phase is not None)
    assert row.outcome is not None
    hunter.states["component"].figures[row.run] = Figures(0.5, 100.0, 100.0)
    shown = next(each for each in hunter.look("ledger").rows if each.job_uuid == row.child.job_uuid)
    assert (shown.gap_phase, shown.h_classical, shown.fitness) == (row.outcome.gap_phase, 0.5, row.outcome.fitness)
    sorted_by_gap = [each.gap for each in hunter.look("ledger", {"sort": "gap"}).rows if each.gap is not None]
    assert sorted_by_gap == sorted(sorted_by_gap, reverse=True) and len(sorted_by_gap) > 3
    projection, lines = Projection(), {}
    for kind, payload, _ in hunter.records:
        lines.update(dict(projection.fold(kind, payload)))
    found = ComponentFinished("j", row.run, "null-profile", "1.0.0", "0" * 64, True, {"gap_phase": 9.0, "gap_target": 9.0})
    assert projection.fold("component.finished", msgspec.json.encode(found)) == []
    assert f",{row.outcome.gap_phase},{row.outcome.gap_target},".encode() in lines[row.child.job_uuid]


@pytest.mark.parametrize(
    "lie",
    [
        {"gap_phase": math.inf},
        {"gap": math.nan},
        {"gap": None},
        {"log_prime_sse": None, "sse_code": "no_peaks"},
        {"log_prime_sse": None, "sse_code": "no_peaks", "gap": None, "gap_target": 1.0},
    ],
    ids=str,
)
def test_a_gap_that_cannot_be_is_no_outcome(lie: dict[str, Any]) -> None:
    hunter = Hunter(formula=by_seed)
    hunter.start({**GAPS, "population_size": 20, "settings": {"lanes": 20}})
    ended = hunter.computed(hunter.errands()[0])
    lane = next(lane for lane in ended.result["lanes"] if lane["log_prime_sse"] is not None)
    lane |= lie
    hunter.told(ended)
    assert [event.code for event in hunter.events if isinstance(event, events.ChunkFailed)] == ["bad-output"]


def test_a_gap_that_nobody_asked_for_is_no_outcome() -> None:
    hunter = Hunter(formula=lambda lane, chunk: {**plain_formula(lane, chunk), "gap": 1.0})
    hunter.start(SMALL)
    hunter.round()
    assert [event.code for event in hunter.events if isinstance(event, events.ChunkFailed)] == ["bad-output"]


@pytest.mark.parametrize("objectives", [["gap", "gap"], ["gap", "fitness"], ["log_prime_sse", "fitness"]])
def test_objectives_are_each_once_and_fitness_alone(objectives: list[str]) -> None:
    with pytest.raises(Refused, match="each once"):
        Hunter().start({**SMALL, "objectives": objectives})


def test_a_median_of_gaps_is_that_of_most_runs() -> None:
    assert generations._median([1.0, 3.0, 2.0], -1.0) == 2.0
    assert generations._median([None, 3.0, 2.0], -1.0) == 2.0
    assert generations._median([None, 3.0, None], -1.0) is None
