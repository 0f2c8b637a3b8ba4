"""Which runs of the field go on and how the last ones came out: what the engine remembers of them, bounded.

A run that goes on after a restart is computed anew from its record; older ends than are kept here stand in the log and in the
files of each run.
"""

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from core.engine import Errand, JobStatus, Stamp
from core.fields import Frozen
from core.sim.chunk import ERRAND, Chunk, LaneOutcome, plain
from core.sim.events import RunFailed, RunFinished, RunStarted
from core.times import time_text

METHOD = "sim.run"
ENDED_MAX = 1_000
"""Runs that ended and can still be asked about by their id alone."""


class Running(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A run that goes on, or waits for a worker."""

    job_uuid: str
    seq: int
    """The record that began it."""
    started_us: int
    chunk: Chunk


class Ended(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A run that ended: with an outcome, or with a code that says why there is none."""

    job_uuid: str
    seq: int
    started_us: int
    ended_us: int
    points: int
    dimensions: int
    steps: int
    seed: int
    outcome: LaneOutcome | None = None
    code: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome is not None and self.outcome.status == "ok"


class Runs:
    """The state of the engine."""

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}
        """In the order of their coming."""
        self.ended: OrderedDict[str, Ended] = OrderedDict()
        """The first to be forgotten first."""
        self.errands: dict[str, Errand] = {}
        """The work of those that go on, by the id of its effect: made once, as it is asked for after every event."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runs) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def begun(self, run: Running) -> None:
        self.running[run.job_uuid] = run
        self.errands[effect_of(run)] = Errand(effect_of(run), ERRAND, plain(run.chunk))

    def of_effect(self, effect: str) -> Running | None:
        """The run whose work this is, while it goes on."""
        errand = self.errands.get(effect)
        return self.running[errand.params["lanes"][0]["job_uuid"]] if errand is not None else None


def effect_of(run: Running) -> str:
    return f"hunt_log:{run.seq}:0"


def apply_started(runs: Runs, event: RunStarted, stamp: Stamp) -> None:
    runs.begun(Running(event.job_uuid, stamp.seq, stamp.time_us, event.chunk))


def apply_finished(runs: Runs, event: RunFinished, stamp: Stamp) -> None:
    _end(runs, event.job_uuid, stamp, outcome=event.outcome)


def apply_failed(runs: Runs, event: RunFailed, stamp: Stamp) -> None:
    _end(runs, event.job_uuid, stamp, code=event.code, detail=event.detail)


def _end(runs: Runs, job_uuid: str, stamp: Stamp, *, outcome: LaneOutcome | None = None, code: str = "", detail: str = "") -> None:
    run = runs.running.pop(job_uuid)
    del runs.errands[effect_of(run)]
    grid, chunk = run.chunk.grid, run.chunk
    runs.ended[job_uuid] = Ended(
        job_uuid,
        run.seq,
        run.started_us,
        stamp.time_us,
        grid.n,
        grid.d,
        chunk.steps,
        chunk.lanes[0].seed,
        outcome,
        code,
        detail,
    )
    while len(runs.ended) > ENDED_MAX:
        runs.ended.popitem(last=False)


# --- looking ----------------------------------------------------------------------------------------------------------------


def jobs(runs: Runs) -> Iterator[JobStatus]:
    for run in reversed(runs.running.values()):
        yield JobStatus(run.job_uuid, METHOD, "running", run.seq, time_text(run.started_us))
    yield from map(_status, reversed(runs.ended.values()))


def _status(run: Ended) -> JobStatus:
    code = run.outcome.status if run.outcome is not None else run.code
    return JobStatus(
        run.job_uuid,
        METHOD,
        "done",
        run.seq,
        time_text(run.started_us),
        time_text(run.ended_us),
        run.ok,
        code,
        run.detail or _said(run),
        msgspec.to_builtins(run.outcome) if run.outcome is not None else {},
    )


def _said(run: Ended) -> str | None:
    if run.outcome is None or run.ok:
        return None
    why = {
        "diverged": "the field grew without bound; it stands as it was before. Try a smaller dt, or lam5 above 0",
        "geometry": "the density of space left what the method can follow. Try a smaller alpha, kappa or eta, or a smaller dt",
    }
    return f"at step {run.outcome.fail_step:,} {why[run.outcome.status]}"


# --- snapshots --------------------------------------------------------------------------------------------------------------


class RunsDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    running: list[Running]
    ended: list[Ended]


def dump(runs: Runs) -> RunsDump:
    return RunsDump(list(runs.running.values()), list(runs.ended.values()))


def load(dumped: RunsDump) -> Runs:
    runs = Runs()
    for run in dumped.running:
        runs.begun(run)
    runs.ended.update((run.job_uuid, run) for run in dumped.ended)
    return runs
