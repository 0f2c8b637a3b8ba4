"""What the hunt engine tells: how far a hunt is, the list of them, their rows. Looks only.

A metric that is not a number is told by its code and never by a number that stands for one: those are in the CSV alone.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from core.component.model import Components, Figures, outputs_of
from core.engine import Check, Command, Context, JobStatus, Refused, Result
from core.fields import Code, Count, Cursor, Limit, Name, Object, Time
from core.hunt import certificate, certify
from core.hunt.commands import Which, find
from core.hunt.events import HuntScored, Numbers, Objective, Outcome, Params
from core.hunt.generations import H_NORM_REACHED, SSE_REACHED, fitness
from core.hunt.state import ROWS_KEPT, Candidate, Hunt, Hunts, place
from core.paging import Room, order_after
from core.times import time_text

METHOD = "hunt.start"
LEDGER = "simulation_ledger.csv"
LIMIT_DEFAULT = 1_000
JOBS_LOOKED_MAX = 2_000
"""Candidates that can be asked about as jobs: the newest."""
NOT_CERTIFIED = "not certified"

State = Literal["idle", "running", "stopping", "stopped", "completed", "failed"]
Column = Literal[
    "generation",
    "index",
    "seed",
    "status",
    "log_prime_sse",
    "sdg_h_norm_l2",
    "sdg_h_norm_l2_max",
    "gap_phase",
    "gap_target",
    "gap",
    "h_classical",
    "fitness",
    "rank",
    "crowding",
    "scaling_factor",
    "n_peaks",
]
DESCENDING = frozenset({"fitness", "crowding", "n_peaks", "gap_phase", "gap_target", "gap"})
"""Columns of which much is good: the most comes first."""


class LastRun(Result):
    """A candidate that has an outcome.

    job_uuid: which
    generation: in which it was run
    index: its place there
    log_prime_sse: the score; null with a code
    sse_code: why there is none
    sdg_h_norm_l2: the h-norm; null where there is none
    fitness: the legacy scalar, of the score alone
    """

    job_uuid: Name
    generation: Count
    index: Count
    log_prime_sse: float | None
    sse_code: Code | None = None
    sdg_h_norm_l2: float | None = None
    fitness: float | None = None


class FrontRun(Result):
    """A candidate that none other beats in every objective.

    job_uuid: which
    values: its objectives, in their order, each so that less is better: a gap and the legacy fitness with the sign changed
    """

    job_uuid: Name
    values: Numbers


class Engineering(Result):
    """Whether the hunt did what it was to do.

    ok: whether every job has an outcome and a complete provenance file
    jobs: how many there were to be
    outcomes: how many have one
    provenance: how many have a complete provenance file
    scored: how many have a score
    no_peaks: how many have no peaks
    diverged: how many diverged
    missing: how many have no score for another reason: they could not be run, or the grid has no room for the targets
    """

    ok: bool
    jobs: Count
    outcomes: Count
    provenance: Count
    scored: Count
    no_peaks: Count
    diverged: Count
    missing: Count


class Scientific(Result):
    """Whether the best candidate is below the source's thresholds.

    reached: whether it is below both
    log_prime_sse: its score
    log_prime_sse_below: the threshold of that
    sdg_h_norm_l2: its h-norm
    sdg_h_norm_l2_below: the threshold of that
    certificate: certified, refuted or inconclusive; or not certified, for reaching a threshold in a search proves nothing
    p_family: of its certificate: how often the best of so many candidates scores as well by chance
    why: how far the runs came, and what stands in the way
    """

    reached: bool
    log_prime_sse: float | None
    log_prime_sse_below: float
    sdg_h_norm_l2: float | None
    sdg_h_norm_l2_below: float
    certificate: str
    p_family: float | None = None
    why: str | None = None


class Success(Result):
    """What a hunt came to.

    engineering: whether it did what it was to do
    scientific: whether it found what it was after
    """

    engineering: Engineering
    scientific: Scientific


class CertificateRow(Result):
    """A candidate that was to be certified.

    job_uuid: which
    verdict: certified, refuted or inconclusive
    reasons: why it is not more
    p_family: how often the best of so many candidates scores as well by chance
    p_holm: of the certificate, corrected for all of this hunt
    """

    job_uuid: Name
    verdict: certificate.Verdict
    reasons: list[str]
    p_family: float | None
    p_holm: float


class HuntStatus(Result):
    """How far a hunt is.

    state: idle where there was none yet; running, stopping, stopped, completed or failed
    generation: generations that are closed
    generations: how many there are to be
    jobs_done: candidates with an outcome
    jobs_total: candidates in all
    hunt_id: which hunt
    population_size: candidates in each generation
    seed: of all chance in it
    objectives: what is to be small; gap and the legacy fitness are to be large
    seeds: so often each candidate is run; of several runs the medians count
    started_at: when it began
    ended_at: when it ended
    last: the candidate whose outcome came last
    best: the best candidate so far; while none has a score, the one that stands before the others
    eta_s: seconds that are left, guessed from the last outcomes
    error: why it failed
    front: the candidates that none other beats in every objective
    hypervolume: of each closed generation, how much of the space of objectives its front covers
    success: once it completed, what it came to
    certificates: of its candidates, those that were asked for
    """

    state: State
    generation: Count
    generations: Count
    jobs_done: Count
    jobs_total: Count
    hunt_id: Name | None = None
    population_size: Count | None = None
    seed: Count | None = None
    objectives: list[Objective] | None = None
    seeds: Count | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    last: LastRun | None = None
    best: LastRun | None = None
    eta_s: Count | None = None
    error: str | None = None
    front: list[FrontRun] | None = None
    hypervolume: list[float | None] | None = None
    success: Success | None = None
    certificates: list[CertificateRow] | None = None


class HuntRow(Result):
    """One hunt of the list.

    hunt_id: its id
    state: running, stopping, stopped, completed or failed
    started_at: when it began
    ended_at: when it ended
    generation: generations that are closed
    generations: how many there are to be
    jobs_done: candidates with an outcome
    jobs_total: candidates in all
    seed: of all chance in it
    best: the best candidate so far
    """

    hunt_id: Name
    state: State
    started_at: Time
    generation: Count
    generations: Count
    jobs_done: Count
    jobs_total: Count
    seed: Count
    ended_at: Time | None = None
    best: LastRun | None = None


class ListHunts(Command):
    """Which part of the list of hunts, the newest first.

    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    limit: Limit | None = None
    after: Cursor | None = None


class HuntPage(Result):
    """Hunts, the newest first.

    hunts: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    hunts: list[HuntRow]
    next: Cursor | None = None


class ListRows(Command):
    """Which rows of a hunt.

    hunt_id: its id; without one, the newest
    sort: the column to sort by, the best first; without one, as they were asked for
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    hunt_id: Name | None = None
    sort: Column | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class LedgerRow(Result):
    """One candidate.

    job_uuid: its id
    generation: in which it was run
    index: its place there
    seed: of its initial field
    status: ok, diverged, geometry or missing
    log_prime_sse: the score; null with a code
    sse_code: why there is none
    sdg_h_norm_l2: the h-norm; null with a code
    h_code: why there is none
    sdg_h_norm_l2_max: its largest value in the last quarter
    gap_phase: by how much the score is better than with scrambled phases: of the hunt if it selects by that, else of null-profile
    gap_target: the same for random targets; null where it is not known
    h_classical: of bssn-check: how far the geometry is from a classical one, 0 to 1
    fitness: the legacy scalar, with the gaps where both are known
    rank: its front when its generation was closed, 0 the best
    crowding: how far apart its neighbours were there; null at an end of the front
    scaling_factor: what the wave numbers of the peaks are multiplied by
    n_peaks: peaks that the spectrum has
    n_targets: primes that the score aims at
    resolved: whether the grid can tell the targets apart
    artefact_sha256: of the file with the fields
    parents: the candidates it comes from
    params: every parameter of the model
    gap: of a hunt that selects by it: the lesser of both gaps, where draws without peaks count as meeting no target; else null
    seeds: so often it was run; of several runs the medians stand here
    run: the run that stands for it: with several seeds the one that scores the median, whose file, flags and peaks these are
    """

    job_uuid: Name
    generation: Count
    index: Count
    seed: Count
    status: Outcome
    log_prime_sse: float | None
    sse_code: Code | None
    sdg_h_norm_l2: float | None
    h_code: Code | None
    sdg_h_norm_l2_max: float | None
    gap_phase: float | None
    gap_target: float | None
    h_classical: float | None
    fitness: float | None
    rank: Count | None
    crowding: float | None
    scaling_factor: float | None
    n_peaks: Count
    n_targets: Count
    resolved: bool
    artefact_sha256: str | None
    parents: list[Name]
    params: Params
    gap: float | None
    seeds: Count
    run: Name


class LedgerPage(Result):
    """Rows of a hunt.

    hunt_id: whose
    rows: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    hunt_id: Name
    rows: list[LedgerRow]
    next: Cursor | None = None


class WatchHunts(Command):
    """Follow what happens in hunts.

    since: the cursor to go on behind; without one, from now on
    """

    since: Cursor | None = None


class Correlation(Result):
    """Spearman's correlation of two columns.

    n: rows with both as numbers
    rho: from -1 to 1; null with too few rows, or where one of the two is always the same
    p: how often rows put together by chance go together as much
    low: of the interval that holds 95 of 100 of what drawing rows again comes to
    high: the other end of it
    """

    n: Count
    rho: float | None
    p: float | None
    low: float | None
    high: float | None


class Together(Result):
    """How fidelity and one instability go together.

    instability: which
    overall: over all rows
    within: the same within generations, as selection alone can make columns go together
    """

    instability: str
    overall: Correlation
    within: Correlation


class Paradox(Result):
    """Whether the runs that score well are the unstable ones.

    hunt_id: whose rows
    fidelity: what is called so: a small log_prime_sse
    rows: rows with an outcome
    pairs: with sdg_h_norm_l2, and with h_classical of bssn-check
    claimed: what the source says of its old solver; nothing here bears it out
    """

    hunt_id: Name
    fidelity: str
    rows: Count
    pairs: list[Together]
    claimed: float


class BestRun(Result):
    """The provenance document of the best candidate, and where it was found.

    job_uuid: which run: of a candidate with several seeds the one that scores the median
    hunt_id: in which hunt
    generation: in which generation
    candidate: the candidate; the same as the run where it has one
    seeds: so often the candidate was run
    medians: of several runs, the medians that the hunt selects by
    fitness: the legacy scalar, with the gaps where both are known; null without a score, and then metrics has the code
    global_seed: of its initial field
    simulation: the grid, the steps and the settings
    sncgl_params: the parameters of the model: the golden ones
    metrics: what it came to
    profile: its spectrum, in short
    status: how the run ended
    versions: of what computed it
    artefact_sha256: of the file with the fields
    wall_s: how long its call took
    certificate: what a certificate of it came to, with all its figures; null where none was asked for
    """

    job_uuid: Name
    hunt_id: Name
    generation: Count
    candidate: Name
    seeds: Count
    fitness: float | None
    global_seed: Count
    simulation: Object
    sncgl_params: Object
    metrics: Object
    profile: Any = None
    status: Any = None
    versions: Object = {}
    artefact_sha256: str | None = None
    wall_s: float | None = None
    medians: Object | None = None
    certificate: Object | None = None


# --- one hunt -------------------------------------------------------------------------------------------------------------


def status(hunts: Hunts, params: Which, ctx: Context) -> HuntStatus:
    if params.hunt_id is None and not hunts.hunts:
        return HuntStatus("idle", 0, 0, 0, 0)
    hunt = find(hunts, params.hunt_id)
    began = hunt.began
    return HuntStatus(
        state=_state(hunt),
        generation=hunt.closed,
        generations=hunt.generations,
        jobs_done=hunt.done,
        jobs_total=hunt.jobs_total,
        hunt_id=hunt.hunt_id,
        population_size=began.population_size,
        seed=began.seed,
        objectives=began.objectives,
        seeds=began.settings.seeds,
        started_at=time_text(hunt.started_us),
        ended_at=time_text(hunt.ended_us) if hunt.ended_us else None,
        last=_run(hunt, hunt.last),
        best=_run(hunt, hunt.best),
        eta_s=_eta_s(hunt, ctx.now_us),
        error=hunt.detail or None,
        front=[FrontRun(hunt.row(each.generation, each.index).child.job_uuid, each.values) for each in hunt.front],
        hypervolume=hunt.volumes[-100:],
        success=_success(hunt) if hunt.completed is not None else None,
        certificates=[_certificate(hunt, each.job_uuid) for each in hunt.certificates] or None,
    )


def _certificate(hunt: Hunt, job_uuid: str) -> CertificateRow:
    found = certify.current(hunt, job_uuid)
    assert found is not None
    return CertificateRow(job_uuid, found["verdict"], found["reasons"], found["p_family"], found["p_holm"])


def _state(hunt: Hunt) -> State:
    match hunt.state:
        case "running" | "stopping" | "stopped" | "completed" | "failed":
            return hunt.state
    raise AssertionError(hunt.state)


def _run(hunt: Hunt, name: str) -> LastRun | None:
    if not name:
        return None
    row = hunt.rows[name]
    assert row.outcome is not None
    said = row.outcome
    return LastRun(said.job_uuid, said.generation, said.index, said.log_prime_sse, said.sse_code, said.sdg_h_norm_l2, said.fitness)


def _eta_s(hunt: Hunt, now_us: int) -> int | None:
    """From the first to the last moment that is remembered, so many outcomes came in."""
    (first_us, before), (last_us, after) = hunt.pace[0], hunt.pace[-1]
    if not hunt.active or after == before or last_us <= first_us:
        return None
    left_us = (hunt.jobs_total - hunt.done) * (last_us - first_us) // (after - before)
    return int(max(0, left_us - max(0, now_us - last_us)) // 1_000_000)


def _success(hunt: Hunt) -> Success:
    ended = hunt.completed
    assert ended is not None
    engineering = Engineering(
        ok=ended.run == hunt.jobs_total,
        jobs=hunt.jobs_total,
        outcomes=ended.jobs,
        provenance=ended.run,
        scored=ended.scored,
        no_peaks=ended.no_peaks,
        diverged=ended.diverged,
        missing=ended.missing,
    )
    known = certify.current(hunt, ended.best) if ended.best else None
    scientific = Scientific(
        ended.reached,
        ended.log_prime_sse,
        SSE_REACHED,
        ended.sdg_h_norm_l2,
        H_NORM_REACHED,
        known["verdict"] if known else NOT_CERTIFIED,
        known["p_family"] if known else None,
        None if ended.reached or hunt.thin else _why(hunt),
    )
    return Success(engineering, scientific)


def _why(hunt: Hunt) -> str:
    """What a person would ask of a hunt that did not reach both thresholds: how near each came, and what the runs were like."""
    said = [row.outcome for row in hunt.rows.values() if row.outcome is not None]
    scores = [each.log_prime_sse for each in said if each.log_prime_sse is not None]
    norms = [each.sdg_h_norm_l2 for each in said if each.sdg_h_norm_l2 is not None]
    parts = [
        f"of {len(said):,} runs {sum(score < SSE_REACHED for score in scores):,} have a score below {SSE_REACHED:g}"
        + (f" (the best {min(scores):.4g})" if scores else ""),
        f"and {sum(norm < H_NORM_REACHED for norm in norms):,} an h-norm below {H_NORM_REACHED:g}"
        + (f" (the best {min(norms):.4g})" if norms else ""),
    ]
    unsettled = sum("unsettled" in each.flags for each in said)
    spectra = [each for each in said if each.status == "ok"]
    return f"{parts[0]} {parts[1]}, never both in one; {_of_peaks(spectra)}, and {unsettled:,} had not settled at their end"


def _of_peaks(spectra: list[HuntScored]) -> str:
    """Why scores are what they are: every target without a peak costs 1, so peaks come before their places."""
    most, targets = max((each.n_peaks for each in spectra), default=0), max((each.n_targets for each in spectra), default=0)
    if most < targets:
        none, at_most = sum(not each.n_peaks for each in spectra), f"{most} peak" + "s" * (most != 1)
        least = f", so none scores below {targets - most}" if most else ""
        return f"{none:,} spectra have no peak and none has more than {at_most}, where {targets} targets need one each{least}"
    return f"in {sum(each.resolved for each in spectra):,} the grid could tell the targets apart"


def best(hunts: Hunts, hunt_id: str | None) -> tuple[Hunt, Candidate]:
    """The best candidate of a hunt."""
    hunt = find(hunts, hunt_id)
    if not hunt.best:
        text = f"no candidate of hunt {hunt.hunt_id} was run to its end yet. See: irerctl hunt status"
        raise Refused("not-found", text, reason="best")
    return hunt, hunt.rows[hunt.best]


# --- lists ----------------------------------------------------------------------------------------------------------------


def page(hunts: Hunts, params: ListHunts, ctx: Context) -> HuntPage:
    after = order_after("hunt.list", params.after)
    limit = params.limit or LIMIT_DEFAULT
    rows: list[HuntRow] = []
    room = Room()
    last = 0
    for hunt in reversed(hunts.hunts.values()):
        if after is not None and hunt.seq >= after:
            continue
        row = _row(hunt)
        if len(rows) == limit or not room.take(row):
            return HuntPage(rows, str(last))
        rows.append(row)
        last = hunt.seq
    return HuntPage(rows)


def _row(hunt: Hunt) -> HuntRow:
    return HuntRow(
        hunt_id=hunt.hunt_id,
        state=_state(hunt),
        started_at=time_text(hunt.started_us),
        generation=hunt.closed,
        generations=hunt.generations,
        jobs_done=hunt.done,
        jobs_total=hunt.jobs_total,
        seed=hunt.began.seed,
        ended_at=time_text(hunt.ended_us) if hunt.ended_us else None,
        best=_run(hunt, hunt.best),
    )


def rows(hunts: Hunts, params: ListRows, ctx: Context) -> LedgerPage:
    hunt = find(hunts, params.hunt_id)
    if hunt.thin:
        text = (
            f"the rows of hunt {hunt.hunt_id} are no longer in memory ({ROWS_KEPT:,} are kept). They are in simulation_ledger.csv"
        )
        raise Refused("compacted", text, reason="rows")
    components = ctx.peek("component")
    skip = order_after("hunt.ledger", params.after) or 0
    limit = params.limit or LIMIT_DEFAULT
    found = [row for row in hunt.rows.values() if row.outcome is not None]
    if params.sort is not None:
        column = params.sort
        found.sort(key=lambda row: _sorted_by(row, column, components))
    told: list[LedgerRow] = []
    room = Room()
    for row in found[skip : skip + limit]:
        shown = _ledger_row(hunt, row, components)
        if not room.take(shown):
            break
        told.append(shown)
    end = skip + len(told)
    return LedgerPage(hunt.hunt_id, told, str(end) if end < len(found) else None)


def _sorted_by(row: Candidate, column: Column, components: Components) -> tuple[bool, Any]:
    """The best first; what is no number comes last, in the order in which it was asked for."""
    value = _column(row, column, components)
    if value is None:
        return (True, 0)
    return (False, -value if column in DESCENDING else value)


def _column(row: Candidate, column: Column, components: Components) -> Any:
    match column:
        case "generation":
            return row.generation
        case "index" | "seed":
            return getattr(row.child, column)
        case "rank" | "crowding":
            return getattr(row, column)
        case "gap_phase" | "gap_target" | "h_classical":
            return getattr(_known(row, components), column)
        case "fitness":
            return fitness_of(row, components)
    return getattr(row.outcome, column)


def fitness_of(row: Candidate, components: Components) -> float | None:
    assert row.outcome is not None
    known = _known(row, components)
    return fitness(row.outcome.log_prime_sse, known.gap_phase, known.gap_target)


def _known(row: Candidate, components: Components) -> Figures:
    """What components found out about it; the gaps that it was selected by stay what they were then."""
    said, known = row.outcome, outputs_of(components, row.run)
    if said is None or said.gap is None:
        return known
    return msgspec.structs.replace(known, gap_phase=said.gap_phase, gap_target=said.gap_target)


def _ledger_row(hunt: Hunt, row: Candidate, components: Components) -> LedgerRow:
    said, known = row.outcome, _known(row, components)
    assert said is not None
    return LedgerRow(
        job_uuid=said.job_uuid,
        generation=said.generation,
        index=said.index,
        seed=row.child.seed,
        status=said.status,
        log_prime_sse=said.log_prime_sse,
        sse_code=said.sse_code,
        sdg_h_norm_l2=said.sdg_h_norm_l2,
        h_code=said.h_code,
        sdg_h_norm_l2_max=said.sdg_h_norm_l2_max,
        gap_phase=known.gap_phase,
        gap_target=known.gap_target,
        h_classical=known.h_classical,
        fitness=fitness_of(row, components),
        rank=row.rank,
        crowding=row.crowding,
        scaling_factor=said.scaling_factor,
        n_peaks=said.n_peaks,
        n_targets=said.n_targets,
        resolved=said.resolved,
        artefact_sha256=said.artefact_sha256,
        parents=list(row.child.parents),
        params={**hunt.began.settings.params, **row.child.params},
        gap=said.gap,
        seeds=hunt.began.settings.seeds,
        run=row.run,
    )


# --- the paradox ------------------------------------------------------------------------------------------------------------

INSTABILITIES = ("sdg_h_norm_l2", "h_classical")
PARADOX_ROWS_MAX = 5_000


def columns(
    hunts: Hunts, components: Components, hunt_id: str | None
) -> tuple[Hunt, list[list[tuple[int, float | None, float | None]]]]:
    """Of each instability the generation, the score and it, of the newest rows with an outcome."""
    hunt = find(hunts, hunt_id)
    if hunt.thin:
        raise Refused("compacted", f"the rows of hunt {hunt.hunt_id} are no longer in memory. They are in {LEDGER}", reason="rows")
    told = [(row.generation, row.outcome, row.run) for row in hunt.rows.values() if row.outcome is not None]
    told = told[-PARADOX_ROWS_MAX:]
    sdg: list[tuple[int, float | None, float | None]] = [(at, said.log_prime_sse, said.sdg_h_norm_l2) for at, said, _ in told]
    classical = [(at, said.log_prime_sse, outputs_of(components, job).h_classical) for at, said, job in told]
    return hunt, [sdg, classical]


# --- jobs and health ------------------------------------------------------------------------------------------------------


def jobs(hunts: Hunts) -> Iterator[JobStatus]:
    """Hunts, the newest first; then their newest candidates."""
    newest = list(reversed(hunts.hunts.values()))
    yield from map(_job, newest)
    yield from certify.jobs(hunts)
    looked = 0
    for hunt in newest:
        for row in reversed(hunt.rows.values()):
            if looked == JOBS_LOOKED_MAX:
                return
            looked += 1
            yield _candidate_job(row)


def _job(hunt: Hunt) -> JobStatus:
    known: dict[str, Any] = {"hunt_id": hunt.hunt_id, "generation": hunt.closed, "jobs_done": hunt.done}
    if hunt.best:
        known["best"] = hunt.rows[hunt.best].child.job_uuid
    started_at = time_text(hunt.started_us)
    if hunt.active:
        progress = {"done": hunt.done, "total": hunt.jobs_total, "unit": "jobs"}
        return JobStatus(hunt.hunt_id, METHOD, "running", hunt.seq, started_at, progress=progress)
    ended_at, ok = time_text(hunt.ended_us), hunt.code == "ok"
    return JobStatus(hunt.hunt_id, METHOD, "done", hunt.seq, started_at, ended_at, ok, hunt.code, hunt.detail or None, known)


def _candidate_job(row: Candidate) -> JobStatus:
    job, started_at, said = row.child.job_uuid, time_text(row.asked_us), row.outcome
    if said is None:
        return JobStatus(job, METHOD, "running", row.seq, started_at)
    code = "ok" if said.status == "ok" else said.why or said.status
    result = {
        "hunt_id": said.hunt_id,
        "place": place(said.generation, said.index),
        "log_prime_sse": said.log_prime_sse,
        "sse_code": said.sse_code,
        "sdg_h_norm_l2": said.sdg_h_norm_l2,
        "h_code": said.h_code,
        "artefact_sha256": said.artefact_sha256,
    }
    return JobStatus(job, METHOD, "done", row.seq, started_at, time_text(row.ended_us), said.status == "ok", code, None, result)


def checks(hunts: Hunts, ctx: Context) -> Iterator[Check]:
    hunt = hunts.newest()
    if hunt is not None and hunt.state == "failed":
        yield Check("hunt", "degraded", hunt.detail)
