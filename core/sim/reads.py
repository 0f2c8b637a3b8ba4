"""What the engine tells: the runs it knows, and the types of what workers find in a run's file. Looks only."""

from typing import Annotated, Literal

from msgspec import Meta

from core.engine import Command, Context, Refused, Result
from core.fields import Code, Count, Cursor, Hash, Limit, Name, Time, privacy, words
from core.paging import Room, order_after
from core.sim.chunk import NormCode, ScoreCode, Status
from core.sim.runs import Ended, Running, Runs
from core.times import time_text

LIMIT_DEFAULT = 1_000
PanelName = Literal["rho", "rho_mean", "phase", "rho_s", "field", "pi"]
"""In the order in which they are shown."""
POINTS_MIN, POINTS_MAX = 8, 128


RunId = Annotated[
    str,
    Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"),
    privacy("public"),
    words("the id of a run as sim.run answered it, such as 6f1b7d9e-3a52-4a63-9f0d-0d5a3c1e9b42"),
]
"""Also part of a file's name, so nothing else may stand in it."""


class OneRun(Command):
    """Which run.

    job_uuid: its id, as sim.run answered it
    """

    job_uuid: RunId


class ShowRun(Command):
    """Which run, and how fine.

    job_uuid: its id, as sim.run answered it
    points: points a side of each picture at most, 128 unless told
    """

    job_uuid: RunId
    points: Annotated[int, Meta(ge=POINTS_MIN, le=POINTS_MAX)] = POINTS_MAX


class RunRow(Result):
    """One run.

    job_uuid: its id
    state: running or done
    started_at: when it was asked for
    points: points a side
    dimensions: of the grid
    steps: how many were asked for
    seed: of the initial field
    ended_at: when it ended
    code: once it ended, how: ok, diverged, geometry, cancelled, or what went wrong
    log_prime_sse: its score, if it has one
    sdg_h_norm_l2: and how far the density of space is from rest
    """

    job_uuid: Name
    state: Literal["running", "done"]
    started_at: Time
    points: Count
    dimensions: Count
    steps: Count
    seed: Count
    ended_at: Time | None = None
    code: Code | None = None
    log_prime_sse: float | None = None
    sdg_h_norm_l2: float | None = None


class ListRuns(Command):
    """Which runs to list, the newest first.

    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    limit: Limit | None = None
    after: Cursor | None = None


class RunPage(Result):
    """Runs that go on and the last 1,000 that ended, the newest first.

    runs: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    runs: list[RunRow]
    next: Cursor | None = None


def page(runs: Runs, params: ListRuns, ctx: Context) -> RunPage:
    before = order_after("sim.list", params.after)
    limit = params.limit or LIMIT_DEFAULT
    known: list[Running | Ended] = [*runs.running.values(), *runs.ended.values()]
    known.sort(key=lambda run: run.seq, reverse=True)
    rows: list[RunRow] = []
    room = Room()
    last = before
    for run in known:
        if before is not None and run.seq >= before:
            continue
        row = _row(run)
        if len(rows) == limit or not room.take(row):
            return RunPage(rows, str(last))
        rows.append(row)
        last = run.seq
    return RunPage(rows)


def _row(run: Running | Ended) -> RunRow:
    started_at = time_text(run.started_us)
    if isinstance(run, Running):
        grid, seed = run.chunk.grid, run.chunk.lanes[0].seed
        return RunRow(run.job_uuid, "running", started_at, grid.n, grid.d, run.chunk.steps, seed)
    outcome = run.outcome
    return RunRow(
        run.job_uuid,
        "done",
        started_at,
        run.points,
        run.dimensions,
        run.steps,
        run.seed,
        time_text(run.ended_us),
        outcome.status if outcome is not None else run.code,
        outcome.log_prime_sse if outcome is not None else None,
        outcome.sdg_h_norm_l2 if outcome is not None else None,
    )


def check_finished(runs: Runs, job_uuid: str) -> None:
    """Refuses a run that has no file to look into. One that this engine does not know may be a hunt's, or old: its file tells."""
    if job_uuid in runs.running:
        text = f'run {job_uuid} goes on. Follow it: irerctl call system.op_watch \'{{"job": "{job_uuid}"}}\''
        raise Refused("failed-precondition", text, reason="running")
    ended = runs.ended.get(job_uuid)
    if ended is not None and (ended.outcome is None or ended.outcome.artefact_sha256 is None):
        code = ended.code or "no-artefact"
        text = f"run {job_uuid} ended without fields ({code}), so there is nothing to look into. Run it again: irerctl sim run"
        raise Refused("failed-precondition", text, reason="no-artefact", data={"code": code})


# --- what workers find in a run's file --------------------------------------------------------------------------------------


class Peak(Result):
    """A peak of the spectrum.

    k: its wave number
    prominence: how far it stands out, as a difference of logarithms
    prime: the one that it is matched with; null for none
    """

    k: float
    prominence: float
    prime: Count | None


class Target(Result):
    """Where the score looks for a prime.

    prime: which
    k: the wave number whose peak would be its logarithm, by the scale of the score
    """

    prime: Count
    k: float


class Spectrum(Result):
    """How strong each distance between waves is, a number for each shell of wave numbers.

    k: the wave numbers
    y: the logarithm of the power of |A|² at each
    baseline: what y would be without peaks
    peaks: of y over its baseline
    targets: the primes that the score aims at; none without a score
    scaling_factor: what k is multiplied by to lie nearest to the logarithms of the primes; null without a score
    """

    k: list[float]
    y: list[float]
    baseline: list[float]
    peaks: list[Peak]
    targets: list[Target]
    scaling_factor: float | None


class Panel(Result):
    """A picture of one field, from its lowest to its highest value.

    name: rho for |A|², rho_mean its mean along the first of 3 axes, phase the angle of A, rho_s the density of space; field, pi
    low: the value that is drawn as 0
    high: the value that is drawn as 255
    width: points in a row
    height: rows; of a field on a line one for each snapshot, the last at the bottom; of a cube those of its middle plane
    pixels: a byte for each point, row by row
    """

    name: PanelName
    low: float
    high: float
    width: Count
    height: Count
    pixels: bytes


class Picture(Result):
    """What a run looks like at its end.

    job_uuid: which
    artefact_sha256: of the file
    n: points a side of the grid itself
    l: length of a side
    d: dimensions
    steps: how many
    dt: time of one
    seed: of the initial field
    status: ok, diverged or geometry
    log_prime_sse: the score; null with a code
    sse_code: why there is none
    sdg_h_norm_l2: how far the density of space is from rest; null with a code
    h_code: why there is no such number
    panels: one for each field
    spectrum: of |A|², with its peaks; null where the field has none
    """

    job_uuid: Name
    artefact_sha256: Hash
    n: Count
    l: float  # noqa: E741 (its name in the model)
    d: Count
    steps: Count
    dt: float
    seed: Count
    status: Status
    log_prime_sse: float | None
    sse_code: ScoreCode | None
    sdg_h_norm_l2: float | None
    h_code: NormCode | None
    panels: list[Panel]
    spectrum: Spectrum | None


class Integers(Result):
    """The score against other sequences of integers.

    beaten_by: named ones that fit as well as the primes
    rank: how many of the random ones do
    sequences: how many random ones there were
    passed: whether the primes beat all named ones and nearly all random ones
    """

    beaten_by: list[str]
    rank: Count
    sequences: Count
    passed: bool


class Profile(Result):
    """A run's score, and what it is worth against chance. Everything is null where there is no score.

    job_uuid: which
    artefact_sha256: of the file
    n_targets: primes that the score aims at; more than a run's own, as few are fitted too easily
    draws: fields with scrambled phases that were scored in the same way
    log_prime_sse: the score; null with a code
    sse_code: why there is none
    scaling_factor: what wave numbers are multiplied by
    resolved: whether the grid can tell the targets apart
    n_peaks: peaks that the spectrum has
    n_matched: targets that have one
    p_phase: the share of the scrambled fields that score as well, this one counted
    p_target: how often random targets fit as well, calibrated on the scrambled fields
    gap_phase: by how much the score is below the median of 99 scrambled fields
    gap_target: the same for random targets
    integers: the score against other sequences
    ramp_gain: how much better primes fit than a smooth curve, as a logarithm
    survives: whether it holds against all of these
    """

    job_uuid: Name
    artefact_sha256: Hash
    n_targets: Count
    draws: Count
    log_prime_sse: float | None
    sse_code: ScoreCode | None
    scaling_factor: float | None
    resolved: bool
    n_peaks: Count
    n_matched: Count
    p_phase: float | None
    p_target: float | None
    gap_phase: float | None
    gap_target: float | None
    integers: Integers | None
    ramp_gain: float | None
    survives: bool


class Figure(Result):
    """One metric, as it was said and as it was found again.

    said: by the run; null with a code
    said_code: why it had no number
    found: from its file; null with a code
    found_code: why there is none
    agrees: whether they are as near as they must be
    """

    said: float | None
    said_code: str | None
    found: float | None
    found_code: str | None
    agrees: bool


class Metrics(Result):
    """Both metrics.

    log_prime_sse: the score
    sdg_h_norm_l2: how far the density of space is from rest
    """

    log_prime_sse: Figure
    sdg_h_norm_l2: Figure


class Validation(Result):
    """Whether a run's metrics follow from its file, worked out anew in another way.

    job_uuid: which
    ok: whether the file is the one that was written, and both metrics agree with it
    code: ok, or artefact-mismatch
    tolerance: how far apart the metrics may be
    hash_agrees: whether the file is the one that was written
    artefact_sha256: of the file as it is
    metrics: both, as they were said and as they were found
    """

    job_uuid: Name
    ok: bool
    code: Code
    tolerance: float
    hash_agrees: bool
    artefact_sha256: Hash
    metrics: Metrics
