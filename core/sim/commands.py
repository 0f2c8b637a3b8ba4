"""What the engine may be asked to do: begin a run, end one, and hear what one came to. Judges and changes nothing."""

from collections.abc import Iterator, Sequence

import msgspec

from core.engine import NOTHING, CancelJob, Command, Context, Decision, Errand, Event, JobEnded, Refused
from core.fields import INT_MAX, Name
from core.sim import model as bounds
from core.sim.chunk import Chunk, Grid, Lane, Model, Parameters, Real, Settings, Whole, outcomes
from core.sim.events import RunFailed, RunFinished, RunStarted
from core.sim.runs import Runs

RUNNING_MAX = 256
"""Runs that may go on or wait at once; the pool of workers takes them in turn."""


class AskRun(Command):
    """What to compute.

    model: sncgl_sdg, or fmia for the control model
    params: parameters of the model by name; those not given have their defaults
    grid: points a side, length of a side, dimensions
    steps: how many, 1 to 10,000,000
    dt: time of one, above 0 to 10; without it a step that resolves the rates of the model
    seed: of the initial field, 0 or more; the same one leads to the same run
    settings: kernel, geometry, dealias, dtype, initial field, pump and snapshots
    """

    model: Name = bounds.MODEL
    params: Parameters = {}
    grid: Grid = Grid()
    steps: Whole = bounds.STEPS
    dt: Real | None = None
    seed: Whole = 0
    settings: Settings = Settings()


class RunBegun(msgspec.Struct, frozen=True):
    """A run that goes on by itself.

    job_uuid: its id: follow it with system.op_watch, end it with system.op_cancel
    """

    job_uuid: Name


def begun(happened: Sequence[Event]) -> RunBegun:
    first = happened[0]
    assert isinstance(first, RunStarted)
    return RunBegun(first.job_uuid)


def wanted(runs: Runs, ctx: Context) -> Iterator[Errand]:
    """All that goes on; after a restart it begins anew, and comes to the same."""
    yield from runs.errands.values()


def decide_run(runs: Runs, command: AskRun, ctx: Context) -> Decision:
    asked = msgspec.structs.replace(command, settings=_sourced(runs, command.settings, command.grid))
    chunk = chunk_of(asked, ctx.new_id(), bounds.room_bytes(ctx.settings.compute.memory_bytes))
    if len(runs.running) >= RUNNING_MAX:
        text = f"{RUNNING_MAX} runs go on or wait already. Try again when one has ended, or end one: irerctl call system.op_cancel"
        raise Refused("resource-exhausted", text, reason="runs", retry_ms=5_000)
    return Decision(RunStarted(chunk.lanes[0].job_uuid, chunk))


def _sourced(runs: Runs, settings: Settings, grid: Grid) -> Settings:
    """With the hash of the file that the run is to begin with, where that is known; of other runs the file itself is looked at."""
    initial = settings.initial
    if initial is None or initial.kind != "from_artefact" or initial.job_uuid is None:
        return settings
    source, path = initial.job_uuid, "settings.initial.job_uuid"
    if source in runs.running:
        text = f"run {source} has not ended, so nothing can begin where it ends. Follow it: irerctl call system.op_watch"
        raise Refused("failed-precondition", text, reason="running", fields=[(path, text)])
    ended = runs.ended.get(source)
    if ended is None:
        return settings
    if ended.outcome is None or ended.outcome.artefact_sha256 is None:
        text = f"run {source} left no fields to begin with. Take one that did: irerctl sim list"
        raise Refused("failed-precondition", text, reason="no-source", fields=[(path, text)])
    if ended.dimensions != grid.d:
        text = f"run {source} has {ended.dimensions} dimensions, and {grid.d} are asked for. Set grid.d to {ended.dimensions}"
        raise Refused("invalid-argument", text, fields=[("grid.d", text)])
    known = ended.outcome.artefact_sha256
    if initial.artefact_sha256 not in (None, known):
        text = f"the file of run {source} has another hash, {known}. Leave artefact_sha256 out, or name that run"
        raise Refused("invalid-argument", text, fields=[("settings.initial.artefact_sha256", text)])
    return msgspec.structs.replace(settings, initial=msgspec.structs.replace(initial, artefact_sha256=known))


def chunk_of(command: AskRun, job_uuid: str, memory_bytes: int) -> Chunk:
    """The whole specification of one run, every default filled in; or a refusal."""
    grid = command.grid
    bounds.check_model(command.model)
    settings = bounds.settings_of(command.model, command.settings)
    bounds.check_grid(grid)
    bounds.check_steps(command.steps, command.dt)
    bounds.check_settings(settings, grid)
    params = bounds.checked(command.params, model=command.model)
    bounds.check_kernel(settings.kernel, params)
    if not 0 <= command.seed <= INT_MAX:
        text = f"seed {command.seed} is outside its bounds, 0 to {INT_MAX:,}"
        raise Refused("invalid-argument", text, fields=[("seed", text)])
    bounds.check_memory(grid, settings, 1, memory_bytes)
    dt = command.dt if command.dt is not None else bounds.suggested_dt(params, command.model)
    lane = Lane(job_uuid, command.seed, params)
    return Chunk(msgspec.convert(command.model, Model), grid, command.steps, dt, settings, bounds.TARGETS, [lane])


# --- how one ends -----------------------------------------------------------------------------------------------------------


_NONSENSE = "what its worker said cannot be true. Try again; if it stays so, see: irerctl doctor"
_NO_REASON = "it ended early. Try again; if it stays so, see: irerctl doctor"


def decide_ended(runs: Runs, command: JobEnded, ctx: Context) -> Decision:
    run = runs.of_effect(command.effect)
    if run is None:
        return NOTHING  # it was cancelled meanwhile
    if not command.ok:
        return Decision(RunFailed(run.job_uuid, command.code, (command.detail or _NO_REASON)[:500]))
    found = outcomes(command.result, run.chunk)
    if found is None:
        return Decision(RunFailed(run.job_uuid, "bad-output", _NONSENSE))
    return Decision(RunFinished(run.job_uuid, found[0]))


def decide_cancel(runs: Runs, command: CancelJob, ctx: Context) -> Decision:
    if command.job in runs.running:
        return Decision(RunFailed(command.job, "cancelled"))
    if command.job in runs.ended:
        return NOTHING
    raise Refused("not-found", f"no run {command.job} is known. See: irerctl sim list", reason="job")
