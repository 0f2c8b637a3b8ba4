"""The offline drill as a job: when one runs, and what its outcome is worth.

The rehearsal itself is done by a child process on a daemon in small of its own, far from this state; what it says is believed only
as far as it can be true. Nothing here ever touches a document.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from core.cache.model import Cache
from core.cache.runs import Drill
from core.engine import (
    NOTHING,
    CancelJob,
    Check,
    Command,
    Context,
    Decision,
    Event,
    Job,
    JobEnded,
    JobStatus,
    Refused,
    Result,
    Stamp,
)
from core.fields import Code, Count, Frozen, Name, privacy
from core.times import time_text

METHOD = "cache.drill"
JOB = "drill"
HOURS, HOURS_MAX = 24, 720
OPERATIONS, OPERATIONS_MIN, OPERATIONS_MAX = 10_000, 10, 100_000
DEADLINE_S = 900.0
LOST_MAX = 8
"""Operations named one by one in the outcome; all are counted."""

Hours = Annotated[int, Meta(ge=1, le=HOURS_MAX)]
Operations = Annotated[int, Meta(ge=OPERATIONS_MIN, le=OPERATIONS_MAX)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
Detail = Annotated[str, Meta(max_length=500), privacy("open")]


class AskDrill(Command):
    """How large the rehearsal is to be.

    hours: simulated hours without a network
    operations: that are asked of the cache within them
    """

    hours: Hours = HOURS
    operations: Operations = OPERATIONS


class Lost(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """An operation that did not survive.

    key: of the document, as the drill names its own
    rev: the revision that is missing; none where the operation was not answered rightly
    why: refused, wrong-answer, forgotten, wrong-value, missing-here, missing-there or differs
    """

    key: Name
    why: Code
    rev: Annotated[str, Meta(max_length=80), privacy("public")] = ""


class DrillStarted(Event, type="cache.drill_started"):
    """An offline drill began.

    job: its id
    hours: simulated hours without a network
    operations: that are asked of the cache within them
    seed: of all chance in it; the same one leads to the same drill
    """

    job: Name
    hours: Hours
    operations: Operations
    seed: Seed


class Drilled(Event, type="cache.drilled"):
    """An offline drill came to its end.

    job: its id
    attempted: operations that were asked of the cache while it was offline
    survived: those answered rightly whose effect was there at the end, on both sides
    hours: simulated hours without a network
    operations: how many were to be asked
    conflicts: documents that were edited on both sides
    kills: how often the simulated daemon was killed and recovered
    cuts: how often the connection was cut
    equal: whether both sides were equal at the end
    chains: whether every log of the drill verified
    lost: of the others the first
    """

    job: Name
    attempted: Count
    survived: Count
    hours: Hours
    operations: Operations
    conflicts: Count
    kills: Count
    cuts: Count
    equal: bool
    chains: Literal["ok", "broken"]
    lost: Annotated[list[Lost], Meta(max_length=LOST_MAX)] = []


class DrillStopped(Event, type="cache.drill_stopped"):
    """An offline drill ended without an outcome.

    job: its id
    code: cancelled, or what went wrong
    detail: one line about it, and what to do
    """

    job: Name
    code: Code
    detail: Detail = ""


class Outcome(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What the child says: not believed before it is checked."""

    attempted: Count
    survived: Count
    conflicts: Count
    kills: Count
    cuts: Count
    equal: bool
    chains: Literal["ok", "broken"]
    lost: Annotated[list[Lost], Meta(max_length=LOST_MAX)]


class LastDrill(Result):
    """An offline drill that ended with an outcome.

    job: its id
    ended_at: when
    hours: simulated hours without a network
    operations: that were asked of the cache within them
    survived: those whose effect was there at the end, on both sides
    latency_tolerance: of the operations, how many percent survived
    chains: whether every log of the drill verified: ok or broken
    """

    job: str
    ended_at: str
    hours: Count
    operations: Count
    survived: Count
    latency_tolerance: float
    chains: str


# --- when one runs ----------------------------------------------------------------------------------------------------------


def decide_drill(cache: Cache, command: AskDrill, ctx: Context) -> Decision:
    running = cache.drills.running
    if running is not None:
        text = f'drill {running.job} runs already. Follow it: irerctl call system.op_watch \'{{"job": "{running.job}"}}\''
        raise Refused("already-running", text, reason="drill", data={"job": running.job})
    return Decision(DrillStarted(ctx.new_id(), command.hours, command.operations, ctx.random.randrange(2**32)))


def wanted(cache: Cache) -> Iterator[Job]:
    """The one that runs; after a restart it begins anew, from the same seed."""
    if (running := cache.drills.running) is not None:
        params = {"hours": running.hours, "operations": running.operations, "seed": running.seed}
        yield Job(effect_of(running), JOB, params, DEADLINE_S)


def effect_of(drill: Drill) -> str:
    return f"cache_log:{drill.seq}:0"


# --- how one ends -----------------------------------------------------------------------------------------------------------


_DETAILS = {
    "timeout": "it took longer than a job may (jobs.timeout_s, and 15 minutes). Try again with fewer operations",
    "memory": "it needed more memory than jobs.memory_bytes. Try again with fewer operations, or raise it in the configuration",
    "io-error": "its temporary directory could not be used. Make room where temporary files are kept, then try again",
    "no-process": "no process could be started. Try again when the machine has room for one",
    "bad-output": "what its process said cannot be true. Try again; if it stays so, see: irerctl doctor",
    "crashed": "its process ended early. Try again; if it stays so, see: irerctl doctor",
}


def decide_ended(cache: Cache, command: JobEnded, ctx: Context) -> Decision:
    """What the end of this effect means; nothing where it is no drill's."""
    running = cache.drills.running
    if running is None or effect_of(running) != command.effect:
        return NOTHING
    if not command.ok:
        return Decision(DrillStopped(running.job, command.code, (_DETAILS.get(command.code) or command.detail)[:500]))
    outcome = _believed(command.result, running)
    if outcome is None:
        return Decision(DrillStopped(running.job, "bad-output", _DETAILS["bad-output"]))
    drilled = Drilled(
        running.job,
        outcome.attempted,
        outcome.survived,
        running.hours,
        running.operations,
        outcome.conflicts,
        outcome.kills,
        outcome.cuts,
        outcome.equal,
        outcome.chains,
        outcome.lost,
    )
    return Decision(drilled)


def _believed(said: dict[str, Any], running: Drill) -> Outcome | None:
    """None for what no drill could come to."""
    try:
        outcome = msgspec.convert(said, Outcome, strict=True)
    except msgspec.ValidationError:
        return None
    missing = running.operations - outcome.survived
    true = outcome.attempted == running.operations and len(outcome.lost) == min(missing, LOST_MAX)
    return outcome if true and (outcome.equal or missing) else None


def decide_cancel(cache: Cache, command: CancelJob, ctx: Context) -> Decision | None:
    """None where it is no drill."""
    running = cache.drills.running
    if running is not None and running.job == command.job:
        return Decision(DrillStopped(running.job, "cancelled"))
    return NOTHING if any(drill.job == command.job for drill in cache.drills.recent) else None


def apply_started(cache: Cache, event: DrillStarted, stamp: Stamp) -> None:
    cache.drills = cache.drills.began(Drill(event.job, stamp.seq, event.hours, event.operations, event.seed, stamp.time_us))


def apply_drilled(cache: Cache, event: Drilled, stamp: Stamp) -> None:
    result: dict[str, Any] = msgspec.to_builtins(event)
    del result["job"]
    result.setdefault("lost", [])
    result["latency_tolerance"] = _tolerance(event.survived, event.attempted)
    _end(cache, _code(event), "", result, stamp)


def apply_stopped(cache: Cache, event: DrillStopped, stamp: Stamp) -> None:
    _end(cache, event.code, event.detail, {}, stamp)


def _code(event: Drilled) -> str:
    return "chain-broken" if event.chains != "ok" else "ok" if event.survived == event.attempted else "lost"


def _tolerance(survived: int, attempted: int) -> float:
    """Percent, never rounded up to all."""
    return survived * 10_000 // attempted / 100 if attempted else 0.0


def _end(cache: Cache, code: str, detail: str, result: dict[str, Any], stamp: Stamp) -> None:
    running = cache.drills.running
    assert running is not None
    cache.drills = cache.drills.ended(
        msgspec.structs.replace(running, ended_us=stamp.time_us, code=code, detail=detail, result=result)
    )


# --- looking ----------------------------------------------------------------------------------------------------------------


def jobs(cache: Cache) -> Iterator[JobStatus]:
    if cache.drills.running is not None:
        yield _status(cache.drills.running)
    yield from map(_status, cache.drills.recent)


def _status(drill: Drill) -> JobStatus:
    started_at = time_text(drill.started_us)
    if not drill.code:
        return JobStatus(drill.job, METHOD, "running", drill.seq, started_at)
    ended_at, ok = time_text(drill.ended_us), drill.code == "ok"
    detail = drill.detail or None
    return JobStatus(drill.job, METHOD, "done", drill.seq, started_at, ended_at, ok, drill.code, detail, dict(drill.result))


def _last(cache: Cache) -> Drill | None:
    """The newest with an outcome."""
    return next((drill for drill in cache.drills.recent if drill.result), None)


def last(cache: Cache) -> LastDrill | None:
    drill = _last(cache)
    if drill is None:
        return None
    result = drill.result
    return LastDrill(
        job=drill.job,
        ended_at=time_text(drill.ended_us),
        hours=drill.hours,
        operations=drill.operations,
        survived=result["survived"],
        latency_tolerance=result["latency_tolerance"],
        chains=result["chains"],
    )


def checks(cache: Cache) -> Iterator[Check]:
    drill = _last(cache)
    if drill is not None and drill.code != "ok":
        lost = drill.operations - drill.result["survived"]
        broken = ", and a chain of its logs did not verify" if drill.code == "chain-broken" else ""
        text = (
            f"the last offline drill lost {lost:,} of {drill.operations:,} operations{broken}. This is a fault of irer: report it"
        )
        yield Check("drill", "degraded", text)
