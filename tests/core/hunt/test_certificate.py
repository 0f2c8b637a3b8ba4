"""What certifies a candidate and what refutes it, from figures alone; what may be asked for, and what of a worker is believed."""

import math
from typing import Any

import msgspec
import pytest

from core.engine import IRER, CancelJob, JobEnded, Refused
from core.hunt import certificate, certify
from core.hunt.certificate import Figures
from core.hunt.draws import draws
from core.hunt.engine import ENGINE
from core.hunt.events import CertificateFailed, Certified
from core.sim.chunk import Chunk, Grid, Lane
from tests.core.hunt.hunter import Hunter, none_diverges

PEAKS = [10 * math.log(prime) for prime in certificate.PRIMES]
GOOD: dict[str, Any] = {
    **{"status": "ok", "flags": [], "resolved": True, "score": 0.002, "code": None, "matched": 8, "h_max": 1e-4, "peaks": PEAKS},
    **{"p_phase": 0.001, "p_target": 0.002, "integers": True, "ramp_gain": 2.0},
}


def figures(seeds: list[int] | None = None, **changed: dict[int, dict[str, Any]]) -> list[Figures]:
    """A certificate in which all is well, but for what is changed: of each kind by place."""
    seeds = seeds or [1, 2, 3, 4, 5]
    counts = {"fresh": 5, "half_step": 3, "finer": 3}
    return [
        Figures(kind=kind, seed=seeds[at], **{**GOOD, **changed.get(kind, {}).get(at, {})})  # type: ignore[arg-type]
        for kind, count in counts.items()
        for at in range(count)
    ]


def each(count: int, **what: Any) -> dict[int, dict[str, Any]]:
    return {at: what for at in range(count)}


def test_four_of_five_seeds_and_two_of_three_of_each_refinement_certify():
    assert certificate.judge(figures()).verdict == "certified"
    one_less = figures(fresh=each(1, score=0.03), half_step={2: {"score": 0.02}}, finer={2: {"h_max": 0.5}})
    judged = certificate.judge(one_less)
    said = (judged.verdict, judged.passed, judged.half_step, judged.finer)
    assert said == ("inconclusive", 4, 1, 1), "a seed whose fresh run differs agrees with none of its refinements"
    assert certificate.judge(
        figures(fresh={4: {"score": 0.03}}, half_step={2: {"score": 0.02}}, finer={2: {"h_max": 0.5}})
    ).verdict == ("certified")
    assert certificate.judge(figures(half_step=each(2, score=0.02))).verdict == "inconclusive"
    assert certificate.judge(figures(finer=each(2, peaks=[peak + 0.51 for peak in PEAKS]))).verdict == "inconclusive"
    assert certificate.judge(figures(finer=each(2, peaks=[peak + 0.49 for peak in PEAKS]))).verdict == "certified"


@pytest.mark.parametrize(
    "short",
    [
        {"status": "geometry", "score": None, "code": "diverged", "h_max": None, "peaks": []},
        {"flags": ["unsettled"]},
        {"resolved": False},
        {"matched": 7, "peaks": []},
        {"score": 0.01},
        {"score": None, "code": "no_peaks", "peaks": []},
        {"h_max": 0.001},
        {"h_max": None},
        {"p_phase": 0.011},
        {"p_phase": None},
        {"p_target": 0.051},
        {"p_target": None},
        {"integers": False},
        {"ramp_gain": 1.38},
        {"ramp_gain": None},
    ],
    ids=str,
)
def test_whatever_two_seeds_lack_keeps_a_certificate_back_and_is_named(short):
    assert certificate.passes(figures()[0]) and not certificate.passes(figures(fresh={0: short})[0])
    judged = certificate.judge(figures(fresh=each(2, **short)))
    assert judged.verdict == "inconclusive" and judged.passed == 3 and len(judged.reasons) >= 2


def test_four_well_computed_seeds_that_are_explained_refute():
    for explained in ({"p_phase": 0.06}, {"ramp_gain": 0.0}, {"score": 0.05}):
        assert certificate.judge(figures(fresh=each(4, **explained))).verdict == "refuted"
        assert certificate.judge(figures(fresh=each(3, **explained))).verdict == "inconclusive"
        unwell = each(4, **explained, flags=["unresolved"])
        assert certificate.judge(figures(fresh=unwell)).verdict == "inconclusive", "what is badly computed refutes nothing"
    assert certificate.judge([]).verdict == "inconclusive"


def test_many_certificates_of_one_hunt_are_corrected():
    assert certificate.holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert certificate.chance(figures()) == 0.002
    assert certificate.chance(figures(fresh=each(1, p_phase=1.0))) == 0.002, "the fourth best"
    assert certificate.judge(figures(), [0.002] * 24).verdict == "certified"
    judged = certificate.judge(figures(), [0.002] * 25)
    assert judged.verdict == "inconclusive" and "all certificates" in judged.reasons[0]


def test_the_box_grows_until_eight_targets_stand_apart():
    """Scale s in shells: ln 19 within and ln 19 - ln 17 three shells wide."""
    for at in range(200):
        scaling, length = 0.05 + 0.02 * at, 40.0
        times = certificate.factor(Grid(64, length, 2), scaling)
        fits = []
        for more in (1, 2, 3, 4):
            shells = [math.log(prime) / (scaling * 2 * math.pi / (length * more)) for prime in certificate.PRIMES]
            fits.append(shells[-1] - shells[-2] >= 3 and shells[-1] <= 32 * more - 2 and shells[0] >= 2)
        assert times == (fits.index(True) + 1 if True in fits else None)
    assert certificate.factor(Grid(256, 160.0, 2), 0.7) == 1
    assert certificate.finer(64) == 96 and certificate.finer(50) == 80 and certificate.finer(10) == 16


def test_its_seeds_are_those_of_no_hunt_and_the_same_each_time():
    seeds = certificate.seeds(7, "a")
    assert seeds == certificate.seeds(7, "a") != certificate.seeds(8, "a") and len({*seeds, *certificate.seeds(7, "b")}) == 10
    assert all(1 << 32 <= seed < 1 << 53 for seed in seeds)
    assert all(int(raw) >> 32 < 1 << 32 for raw in draws(7, 0, 32).raw(50)), "a hunt's are below"


# --- the engine -----------------------------------------------------------------------------------------------------------


LARGE: dict[str, Any] = {"num_generations": 1, "population_size": 4, "seed": 1, "settings": {"grid": {"n": 64}, "steps": 16}}


def formula(lane: Lane, chunk: Chunk) -> dict[str, Any]:
    """Of a scale that eight targets fit."""
    return {**none_diverges(lane, chunk), "scaling_factor": 0.7}


def over() -> Hunter:
    """A hunt that has ended, with scores."""
    loop = Hunter(formula=formula)
    loop.start(LARGE)
    loop.to_the_end()
    assert loop.hunt.state == "completed"
    return loop


def ended(loop: Hunter, **changed: Any) -> Any:
    (errand,) = loop.errands()
    (working,) = [each for each in loop.hunts.certifying.values() if not each.code]
    said = {"figures": msgspec.to_builtins(figures(working.asked.seeds)), "p_family": 0.02, "looked_at": 4, **changed}
    return loop.ask("job_ended", JobEnded(errand.id, True, "ok", "", said), IRER)[0]


def test_a_certificate_is_a_job_of_eleven_fresh_runs_and_its_verdict_goes_with_the_parameters():
    loop = over()
    (begun,) = loop.ask("certify", {})
    assert begun.grid == Grid(192, 120.0, 2) and begun.settings.dtype == "complex128" and begun.settings.snapshots == 16
    (errand,) = loop.errands()
    calls = {call["kind"]: msgspec.convert(call["chunk"], Chunk) for call in errand.params["calls"]}
    fresh, half, fine = calls["fresh"], calls["half_step"], calls["finer"]
    assert [len(call.lanes) for call in calls.values()] == [5, 3, 3] and fresh.targets == 8
    assert (half.steps, half.dt) == (2 * fresh.steps, fresh.dt / 2) and (fine.grid.n, fine.grid.l) == (288, 120.0)
    asked_before = {row.child.seed for row in loop.hunt.rows.values()}
    assert not asked_before & {lane.seed for lane in fresh.lanes}
    assert len(errand.params["family"]) == 4 and errand.params["best"] == min(
        row.outcome.log_prime_sse for row in loop.hunt.rows.values()
    )
    with pytest.raises(Refused, match="is being certified"):
        loop.ask("certify", {"job_uuid": begun.job_uuid})
    event = ended(loop)
    assert isinstance(event, Certified) and event.judgement.verdict == "certified" and event.p_family == 0.02
    status = loop.look("status", {})
    assert status.success.scientific.certificate == "certified" and status.success.scientific.p_family == 0.02
    assert [(row.job_uuid, row.verdict) for row in status.certificates] == [(begun.job_uuid, "certified")]
    assert loop.replayed() == loop.state and ENGINE.load(ENGINE.dump(loop.state)) == loop.state


def test_the_same_candidate_has_one_certificate_and_later_ones_count_against_it():
    loop = over()
    loop.ask("certify", {})
    ended(loop)
    best = loop.hunt.certificates[0].job_uuid
    loop.ask("certify", {"job_uuid": best})
    assert loop.errands()[0].params["others"] == []
    ended(loop)
    assert len(loop.hunt.certificates) == 1, "the newest of a candidate"
    own = loop.hunt.certificates[0]
    for at in range(26):
        loop.hunt.certificates.append(msgspec.structs.replace(own, job_uuid=f"other {at}"))
    now = certify.current(loop.hunt, best)
    assert now is not None and (own.judgement.verdict, now["verdict"]) == ("certified", "inconclusive")


@pytest.mark.parametrize(
    "lie",
    [
        {"figures": []},
        {"figures": msgspec.to_builtins(figures([9, 8, 7, 6, 5]))},
        {"p_family": 0.0001, "more": 1},
        {"p_family": 2.0},
        {"looked_at": -1},
        {"looked_at": 5_000},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_worker_that_cannot_be_right_certifies_nothing(lie):
    loop = over()
    loop.ask("certify", {})
    event = ended(loop, **lie)
    assert isinstance(event, CertificateFailed) and event.code == "bad-output" and not loop.hunt.certificates
    loop.ask("certify", {})
    (working,) = [each for each in loop.hunts.certifying.values() if not each.code]
    zero = [msgspec.structs.replace(run, p_phase=0.0) for run in figures(working.asked.seeds)]
    assert ended(loop, figures=msgspec.to_builtins(zero)).code == "bad-output", "no p-value is 0"


def test_what_cannot_be_certified_is_refused_and_what_is_cancelled_can_be_asked_for_again():
    running = Hunter(formula=formula)
    running.start(LARGE)
    with pytest.raises(Refused, match="no candidate of the newest hunt was run"):
        running.ask("certify", {})
    running.to_the_end()
    running.ask("resume", {"add_generations": 1})
    with pytest.raises(Refused, match="Wait for its end"):
        running.ask("certify", {})
    loop = over()
    (begun,) = loop.ask("certify", {})
    (event,) = loop.ask("cancel_job", CancelJob(begun.job), IRER)
    assert isinstance(event, CertificateFailed) and event.code == "cancelled" and not loop.errands()
    assert loop.ask("cancel_job", CancelJob(begun.job), IRER) == []
    assert {job.job: job.code for job in ENGINE.jobs(loop.state)}[begun.job] == "cancelled"
    loop.ask("certify", {})
    held = Hunter(formula=formula)
    held.start({**LARGE, "objectives": ["log_prime_sse"], "settings": {**LARGE["settings"], "geometry": "off"}})
    held.to_the_end()
    with pytest.raises(Refused, match="geometry"):
        held.ask("certify", {})
    none = Hunter(formula=lambda lane, chunk: {**formula(lane, chunk), "log_prime_sse": None, "sse_code": "no_peaks"})
    none.start(LARGE)
    none.to_the_end()
    with pytest.raises(Refused, match="nothing to certify"):
        none.ask("certify", {})


@pytest.mark.parametrize("kind", ["plane_wave", "uniform", "spiral", "from_artefact"])
def test_runs_that_no_seed_changes_are_never_five_witnesses(kind):
    source = {"job_uuid": "123e4567-e89b-42d3-a456-426614174000"} if kind == "from_artefact" else {}
    loop = Hunter(formula=formula)
    loop.start({**LARGE, "settings": {**LARGE["settings"], "initial": {"kind": kind, **source}}})
    loop.to_the_end()
    with pytest.raises(Refused, match=f"begins as {kind}.*irerctl hunt start"):
        loop.ask("certify", {})
    assert not loop.hunts.certifying


def test_a_hunt_that_goes_on_meanwhile_changes_nothing_in_a_certificate():
    loop = Hunter(formula=formula)
    loop.start({**LARGE, "settings": {**LARGE["settings"], "lanes": 2, "parallel": 1}})
    loop.round()
    loop.ask("stop", {})
    loop.ask("stop", {})
    (begun,) = loop.ask("certify", {})
    (errand,) = loop.errands()
    assert begun.rows == len(errand.params["family"]) == 2 < len(loop.hunt.rows)
    loop.ask("resume", {})
    hunting = next(each for each in loop.errands() if each.name == "sim.chunk")
    assert loop.told(loop.computed(hunting))
    assert [each for each in loop.errands() if each.name == errand.name] == [errand]


def test_what_no_grid_is_large_enough_for_is_inconclusive_at_once():
    loop = Hunter(formula=none_diverges)
    loop.start(LARGE)
    loop.to_the_end()
    _, judged = loop.ask("certify", {})
    assert judged.judgement.verdict == "inconclusive" and "no grid" in judged.judgement.reasons[0] and not loop.errands()
    assert loop.replayed() == loop.state
