"""Asking for a certificate, and what becomes of it. One is worked on at a time, so that each is corrected for all before it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from core.engine import NOTHING, Command, Context, Decision, Errand, JobEnded, JobStatus, Refused
from core.fields import Frozen, Name
from core.hunt import certificate
from core.hunt.certificate import Figures
from core.hunt.events import CertificateBegun, CertificateFailed, Certified, Found, HuntScored
from core.hunt.state import CERTIFICATES_MAX, LOG, Candidate, Certifying, Hunt, Hunts
from core.sim import model
from core.sim.chunk import Chunk, Grid, Lane, plain
from core.times import time_text

ERRAND = "hunt.certify"
METHOD = "hunt.certify"
FAMILY_MAX = 1_000
"""Runs that p_family is worked out over; a larger hunt has none."""
_ELSE = "it ended early. Try again: irerctl hunt certify JOB_UUID"


class Certify(Command):
    """Which candidate is to be certified.

    job_uuid: its id; without one, the best of the newest hunt
    """

    job_uuid: Name | None = None


def decide_certify(hunts: Hunts, command: Certify, ctx: Context) -> Decision:
    hunt, row = _candidate(hunts, command.job_uuid)
    if hunt.active:
        text = f"hunt {hunt.hunt_id} is {hunt.state}, and a certificate is corrected for all its candidates. Wait for its end"
        raise Refused("failed-precondition", f"{text}: irerctl hunt watch", reason="running")
    if hunt.began.settings.settings.geometry != "coevolve":
        text = "where the geometry does not move by itself its h-norm is no success of the field, so nothing here is certified. "
        raise Refused("failed-precondition", text + "Begin one with geometry coevolve: irerctl hunt start", reason="geometry")
    initial = hunt.began.settings.settings.initial
    if initial is not None and initial.kind != "noise":
        text = f"every run of this hunt begins as {initial.kind}, which no seed changes: five seeds would be one run, five times. "
        raise Refused("failed-precondition", text + "Begin one with initial noise: irerctl hunt start", reason="initial")
    working = next((each for each in hunts.certifying.values() if not each.code), None)
    if working is not None:
        text = f"candidate {working.asked.job_uuid} is being certified. Wait for it, or end it: irerctl call system.op_cancel"
        raise Refused("already-running", text, reason="certificate", data={"job": working.asked.job})
    known = [each for each in hunt.certificates if each.job_uuid != row.child.job_uuid]
    if len(known) >= CERTIFICATES_MAX:
        text = f"hunt {hunt.hunt_id} has {CERTIFICATES_MAX} certificates: no other could be told from chance. Begin another hunt"
        raise Refused("resource-exhausted", text, reason="certificates")
    asked = _asked(hunt, row, [each.judgement.p for each in known], ctx)
    if asked.grid.n == 0:
        return Decision(asked, _too_large(hunt, asked))
    return Decision(asked)


def _candidate(hunts: Hunts, job_uuid: str | None) -> tuple[Hunt, Candidate]:
    if job_uuid is None:
        hunt = hunts.newest()
        row = hunt.rows.get(hunt.best) if hunt is not None else None
    else:
        hunt, row = hunts.candidate(job_uuid)
    if hunt is None and job_uuid is None:
        raise Refused("not-found", "there was no hunt yet. Begin one: irerctl hunt start", reason="hunt")
    if hunt is None or row is None or row.outcome is None:
        what = (
            f"no candidate {job_uuid} of a hunt is in memory" if job_uuid else "no candidate of the newest hunt was run to its end"
        )
        raise Refused("not-found", f"{what}. See: irerctl hunt ledger --sort log_prime_sse --limit 10", reason="candidate")
    if row.outcome.log_prime_sse is None or not row.outcome.scaling_factor:
        text = f"candidate {row.child.job_uuid} has no score ({row.outcome.sse_code}), so there is nothing to certify. "
        raise Refused(
            "failed-precondition", text + "Take one that has: irerctl hunt ledger --sort log_prime_sse", reason="no-score"
        )
    return hunt, row


def _asked(hunt: Hunt, row: Candidate, others: list[float], ctx: Context) -> CertificateBegun:
    run, params = hunt.began.settings, {**hunt.began.settings.params, **row.child.params}
    said = row.outcome
    assert said is not None and said.scaling_factor is not None
    times = certificate.factor(run.grid, said.scaling_factor)
    grid = Grid(run.grid.n * (times or 0), run.grid.l * (times or 1), run.grid.d)
    settings = msgspec.structs.replace(run.settings, dtype="complex128", snapshots=certificate.SNAPSHOTS)
    if times is not None:
        finest = Grid(certificate.finer(grid.n), grid.l, grid.d)
        model.check_memory(finest, settings, 2, model.room_bytes(ctx.settings.compute.memory_bytes))
    return CertificateBegun(
        job=ctx.new_id(),
        hunt_id=hunt.hunt_id,
        job_uuid=row.child.job_uuid,
        grid=grid,
        steps=run.steps,
        dt=run.dt if run.dt is not None else model.suggested_dt(params),
        settings=settings,
        params=dict(sorted(params.items())),
        seeds=certificate.seeds(hunt.began.seed, row.child.job_uuid),
        rows=sum(each.outcome is not None for each in hunt.rows.values()),  # the first ones: they end in the order of their asking
        others=others,
        found=_found(hunt, said),
    )


def _found(hunt: Hunt, said: HuntScored) -> Found:
    numbers = said.log_prime_sse, said.sdg_h_norm_l2, said.gap_phase, said.gap_target, said.gap
    return Found(hunt.began.objectives, hunt.began.settings.seeds, *numbers)


def _too_large(hunt: Hunt, asked: CertificateBegun) -> Certified:
    """Nothing is computed: what eight targets need is beyond the largest grid."""
    why = (
        f"eight targets stand apart on no grid of at most {certificate.POINTS_MAX} points a side "
        f"and a box at most {certificate.FACTOR_MAX} times as large"
    )
    judged = certificate.judge([], asked.others)
    judged = msgspec.structs.replace(judged, reasons=[why])
    return Certified(asked.job, asked.hunt_id, asked.job_uuid, judged, found=asked.found)


# --- the work -------------------------------------------------------------------------------------------------------------


def wanted(hunts: Hunts) -> Iterator[Errand]:
    for each in hunts.certifying.values():
        if not each.code:
            yield Errand(_effect(each), ERRAND, _work(hunts, each.asked))


def _effect(each: Certifying) -> str:
    return f"{LOG}:{each.seq}:0"


def _work(hunts: Hunts, asked: CertificateBegun) -> dict[str, Any]:
    """Three calls: five fresh seeds, and three of them in two other ways. And the candidates of the hunt, for p_family."""
    hunt = hunts.hunts.get(asked.hunt_id)
    rows = list(hunt.rows.values())[: asked.rows] if hunt is not None and not hunt.thin else []
    family = [row.finished() for row in rows if row.outcome is not None and row.outcome.log_prime_sse is not None]
    scores = [row.outcome.log_prime_sse for row in rows if row.outcome is not None and row.outcome.log_prime_sse is not None]
    few = 0 < sum(map(len, family)) <= FAMILY_MAX
    return {
        "job": asked.job,
        "job_uuid": asked.job_uuid,
        "hunt_id": asked.hunt_id,
        "calls": [{"kind": kind, "chunk": plain(chunk)} for kind, chunk in chunks(asked)],
        "draws": certificate.DRAWS,
        "others": asked.others,
        "family": family if few else [],
        "seeds": hunt.began.settings.seeds if hunt is not None else 1,
        "found": msgspec.to_builtins(asked.found),
        "best": min(scores) if few else None,
        "family_targets": hunt.began.settings.targets if hunt is not None else certificate.TARGETS,
    }


def chunks(asked: CertificateBegun) -> Iterator[tuple[certificate.Kind, Chunk]]:
    def chunk(grid: Grid, steps: int, dt: float, seeds: list[int]) -> Chunk:
        lanes = [Lane(asked.job_uuid, seed, asked.params) for seed in seeds]
        return Chunk("sncgl_sdg", grid, steps, dt, asked.settings, certificate.TARGETS, lanes)

    some = asked.seeds[: certificate.REFINED]
    yield "fresh", chunk(asked.grid, asked.steps, asked.dt, asked.seeds)
    yield "half_step", chunk(asked.grid, asked.steps * 2, asked.dt / 2, some)
    yield "finer", chunk(Grid(certificate.finer(asked.grid.n), asked.grid.l, asked.grid.d), asked.steps, asked.dt, some)


class _Said(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What the work says: not believed before it is checked."""

    figures: list[Figures]
    p_family: certificate.Part | None
    looked_at: int


def of_effect(hunts: Hunts, effect: str) -> Certifying | None:
    return next((each for each in hunts.certifying.values() if not each.code and _effect(each) == effect), None)


def decide_ended(work: Certifying, command: JobEnded) -> Decision:
    asked = work.asked
    if not command.ok:
        return Decision(failed(asked, command.code, command.detail or _ELSE))
    said = believed(asked, command.result)
    if said is None:
        return Decision(
            failed(asked, "bad-output", "what its worker said cannot be true. Try again; if it stays so: irerctl doctor")
        )
    judged = certificate.judge(said.figures, asked.others)
    told = judged, said.p_family, said.looked_at, said.figures, asked.found
    return Decision(Certified(asked.job, asked.hunt_id, asked.job_uuid, *told))


def believed(asked: CertificateBegun, result: dict[str, Any]) -> _Said | None:
    """None for what these runs cannot have come to."""
    try:
        said = msgspec.convert(result, _Said, strict=True)
    except (msgspec.ValidationError, TypeError, OverflowError):
        return None
    wanted_runs = [(kind, lane.seed) for kind, chunk in chunks(asked) for lane in chunk.lanes]
    fits = [(each.kind, each.seed) for each in said.figures] == wanted_runs and all(map(_possible, said.figures))
    return said if fits and 0 <= said.looked_at <= FAMILY_MAX else None


def _possible(run: Figures) -> bool:
    # A p-value is counted over so many draws, and the observed case is among them.
    counted = all(p is None or p * (certificate.DRAWS + 1) >= 0.999 for p in (run.p_phase, run.p_target))
    sizes = all(value is None or 0 <= value < 1e300 for value in (run.score, run.h_max))
    gaps = all(gap is None or (run.score is not None and abs(gap) < 1e300) for gap in (run.gap_phase, run.gap_target))
    return counted and sizes and gaps and (run.score is None) != (run.code is None) and run.matched <= certificate.TARGETS


def failed(asked: CertificateBegun, code: str, detail: str = "") -> CertificateFailed:
    return CertificateFailed(asked.job, asked.hunt_id, asked.job_uuid, code, detail[:500])


def decide_cancel(hunts: Hunts, job: str) -> Decision | None:
    """None where this is no certificate."""
    work = hunts.certifying.get(job)
    if work is None:
        return None
    return NOTHING if work.code else Decision(failed(work.asked, "cancelled"))


# --- looking --------------------------------------------------------------------------------------------------------------


def current(hunt: Hunt, job_uuid: str) -> dict[str, Any] | None:
    """The certificate of a candidate as it counts now: certificates that came later count against it too."""
    place = next((at for at, each in enumerate(hunt.certificates) if each.job_uuid == job_uuid), None)
    if place is None:
        return None
    own = hunt.certificates[place]
    p_holm = certificate.holm([each.judgement.p for each in hunt.certificates])[place]
    judged = own.judgement
    if judged.verdict == "certified" and p_holm > certificate.P_HOLM_MAX:
        judged = msgspec.structs.replace(judged, verdict="inconclusive", reasons=["certificates that came later count against it"])
    told = msgspec.to_builtins(msgspec.structs.replace(judged, p_holm=p_holm))
    return {
        **told,
        "job_uuid": job_uuid,
        "p_family": own.p_family,
        "looked_at": own.looked_at,
        "found": msgspec.to_builtins(own.found),
        "figures": msgspec.to_builtins(own.figures),
    }


def jobs(hunts: Hunts) -> Iterator[JobStatus]:
    for job, each in reversed(hunts.certifying.items()):
        started_at = time_text(each.started_us)
        if not each.code:
            yield JobStatus(job, METHOD, "running", each.seq, started_at)
            continue
        hunt = hunts.hunts.get(each.asked.hunt_id)
        found = current(hunt, each.asked.job_uuid) if hunt is not None and each.code == "ok" else None
        ended_at, ok = time_text(each.ended_us), each.code == "ok"
        yield JobStatus(job, METHOD, "done", each.seq, started_at, ended_at, ok, each.code, each.detail or None, found)
