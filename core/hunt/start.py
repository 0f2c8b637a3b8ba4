"""What a new hunt is made of: what the caller said, over what the configuration says. All of it is checked before it begins."""

import uuid
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from core.engine import Command, Context, Refused
from core.fields import INT_MAX, Count, Frozen, Name
from core.hunt.draws import SEED_MAX
from core.hunt.events import (
    PARAMETERS_MAX,
    Axis,
    Generations,
    HuntStarted,
    Lanes,
    Objective,
    Objectives,
    Parallel,
    PopulationSize,
    RunSettings,
    Seeds,
)
from core.hunt.space import Bounds, Parameter, Range, Scale, Space, space
from core.hunt.state import ROWS_KEPT
from core.settings import Hunt as HuntConfiguration
from core.sim import model
from core.sim.chunk import Dealias, DType, Geometry, Grid, Initial, Kernel, Pump, Settings

OBJECTIVES: list[Objective] = ["log_prime_sse", "sdg_h_norm_l2"]
TARGETS_MAX = 32
SEED_BITS = 32
H_NORM_REFERENCE = 1.0
"""A residual as large as its source: what is worse adds nothing to a hypervolume."""
GAP_DRAWS = 99
"""Of each null, where a hunt selects by gaps: as many as `null-profile` takes, so that both find the same."""
GAPS_NEEDED = frozenset({"gap", "fitness"})
ABOVE = 1e-6
"""The least value of a parameter that must be more than 0."""
Value = TypeVar("Value")
Whole = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
"""What the model takes is narrower, and is said with its reason where it is checked."""
VERSIONS = {"hunt": "1", "optimiser": "nsga2-1", "draws": "philox4x64-1"}


class AskRange(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Between which values a parameter is searched.

    low: the least value
    high: the greatest value
    scale: linear, or log for what matters by its ratio
    """

    low: Number
    high: Number
    scale: Scale = "linear"


class AskGrid(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """The box; what is not said is as configured.

    n: points a side
    l: length of a side
    d: dimensions
    """

    n: Whole | None = None
    l: Number | None = None  # noqa: E741 (its name in the model, and on the wire)
    d: Whole | None = None


class AskSettings(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """How each candidate is run; what is not said is as configured.

    grid: the box
    steps: how many
    dt: time of one; 0 takes for each run the suggested one
    kernel: gaussian or ring
    geometry: coevolve, elliptic (then there is no sdg_h_norm_l2 to make small), or off
    dealias: half, two_thirds, sixth or none
    dtype: complex64 or complex128
    initial: the field at the start
    pump: a source that feeds the field
    snapshots: how many are taken in the last quarter
    targets: how many primes the score aims at
    params: parameters of the model that are not searched, tau among them
    lanes: runs in one call
    parallel: calls at one time
    seeds: so often each candidate is run, from as many initial fields, and the medians count: 1, 3, 5, 7 or 9
    """

    grid: AskGrid | None = None
    steps: Whole | None = None
    dt: Number | None = None
    kernel: Kernel | None = None
    geometry: Geometry | None = None
    dealias: Dealias | None = None
    dtype: DType | None = None
    initial: Initial | None = None
    pump: Pump | None = None
    snapshots: Whole | None = None
    targets: Whole | None = None
    params: Annotated[dict[Name, Number], Meta(max_length=PARAMETERS_MAX)] | None = None
    lanes: Lanes | None = None
    parallel: Parallel | None = None
    seeds: Seeds | None = None


class Start(Command):
    """What to search, for how long.

    num_generations: how many generations, 10 unless told or configured
    population_size: candidates in each, 10 unless told or configured
    seed: of all chance in it; without one, one is drawn
    space: the parameters to search, each between its bounds; without it as configured
    objectives: some of log_prime_sse and sdg_h_norm_l2, to be small, and gap, to be large; or fitness, the legacy scalar, alone
    settings: how each candidate is run
    """

    num_generations: Generations | None = None
    population_size: PopulationSize | None = None
    seed: Count | None = None
    space: Annotated[dict[Name, AskRange], Meta(max_length=PARAMETERS_MAX)] | None = None
    objectives: Objectives | None = None
    settings: AskSettings | None = None


def started(command: Start, ctx: Context) -> HuntStarted:
    """The record that a hunt begins with, or a refusal."""
    config = ctx.settings.hunt
    generations = command.num_generations or config.num_generations
    population = command.population_size or config.population_size
    searched = space(_asked_space(command.space) if command.space is not None else _configured_space(config), _bounds())
    objectives = list(command.objectives or OBJECTIVES)
    run = _run_settings(command.settings or AskSettings(), config, searched, not GAPS_NEEDED.isdisjoint(objectives))
    check_size(generations, population, run.seeds)
    together = max(run.lanes, run.seeds)
    model.check_memory(run.grid, run.settings, together, model.room_bytes(ctx.settings.compute.memory_bytes))
    _check_objectives(objectives, run)
    seed = command.seed if command.seed is not None else ctx.random.randrange(1 << SEED_BITS)
    assert seed <= SEED_MAX
    return HuntStarted(
        hunt_id=ctx.new_id(),
        num_generations=generations,
        population_size=population,
        seed=seed,
        namespace=str(uuid.UUID(int=ctx.random.getrandbits(128), version=4)),
        space=[Axis(each.name, each.low, each.high, each.scale) for each in searched.parameters],
        objectives=objectives,
        reference=_reference(objectives, run),
        settings=run,
        versions=VERSIONS,
    )


def space_of(began: HuntStarted) -> Space:
    """The space as it was at the start, its coordinates in their order."""
    return Space(tuple(Parameter(axis.parameter, axis.low, axis.high, axis.scale) for axis in began.space))


def check_size(generations: int, population: int, seeds: int) -> None:
    runs = generations * population * seeds
    if runs > ROWS_KEPT:
        each = f", each with {seeds} seeds," if seeds > 1 else ""
        text = (
            f"{generations:,} generations of {population:,}{each} are {runs:,} runs, and one hunt has at most {ROWS_KEPT:,}. "
            "Ask for fewer, and begin another hunt after it"
        )
        raise Refused("out-of-range", text, reason="jobs", fields=[("num_generations", text)])


def _asked_space(asked: Mapping[str, AskRange]) -> dict[str, Range]:
    return {name: Range(each.low, each.high, each.scale) for name, each in asked.items()}


def _configured_space(config: HuntConfiguration) -> dict[str, Range]:
    said: dict[str, list[float]] = {name: getattr(config.space, name) for name in config.space.__struct_fields__ if name != "log"}
    return {name: Range(low, high, "log" if name in config.space.log else "linear") for name, (low, high) in said.items()}


def _bounds() -> dict[str, Bounds]:
    """What the model takes of each parameter that may be searched."""
    return {
        one.name: (max(one.low, ABOVE) if one.above else one.low, one.high)
        for one in model.PARAMETERS.values()
        if one.name != "tau"
    }


def _run_settings(asked: AskSettings, config: HuntConfiguration, searched: Space, gaps: bool) -> RunSettings:
    fixed = _fixed(asked, config, searched)
    names = {each.name for each in searched.parameters}
    ring = "a" in names or fixed.get("a", 0.0) > 0
    grid = asked.grid or AskGrid()
    run = RunSettings(
        grid=Grid(_or(grid.n, config.n), _or(grid.l, config.l), _or(grid.d, config.d)),
        steps=_or(asked.steps, config.steps),
        dt=_or(asked.dt, config.dt) or None,
        settings=Settings(
            kernel=asked.kernel or ("ring" if ring else "gaussian"),
            geometry=asked.geometry or "coevolve",
            dealias=asked.dealias or msgspec.convert(config.dealias, Dealias),
            dtype=asked.dtype or msgspec.convert(config.dtype, DType),
            initial=asked.initial,
            pump=asked.pump,
            snapshots=_or(asked.snapshots, config.snapshots),
        ),
        targets=_or(asked.targets, config.targets),
        params=fixed,
        lanes=_or(asked.lanes, config.lanes),
        parallel=_or(asked.parallel, config.parallel),
        seeds=_or(asked.seeds, config.seeds),
        gap_draws=GAP_DRAWS if gaps else 0,
    )
    _check(run, ring)
    return run


def _fixed(asked: AskSettings, config: HuntConfiguration, searched: Space) -> dict[str, float]:
    """Every parameter that is not searched."""
    given = {"tau": config.tau, "lam5": config.lam5, **(asked.params or {})}
    both = [each.name for each in searched.parameters if each.name in (asked.params or {})]
    if both:
        text = f"{both[0]} is searched, so it cannot be set as well. Leave it out of settings.params, or out of the space"
        raise Refused("invalid-argument", text, fields=[(f"settings.params.{both[0]}", text)])
    whole = model.checked(given, "settings.params")
    for each in searched.parameters:
        del whole[each.name]
    return whole


def _check(run: RunSettings, ring: bool) -> None:
    """Everything that a single run would be refused for, before a hunt of them begins."""
    with _within("settings"):
        model.check_grid(run.grid)
        model.check_steps(run.steps, run.dt)
    model.check_settings(run.settings, run.grid)
    if not model.TARGETS_MIN <= run.targets <= TARGETS_MAX:
        text = f"targets {run.targets} is outside its bounds, {model.TARGETS_MIN} to {TARGETS_MAX}"
        raise Refused("out-of-range", text, fields=[("settings.targets", text)])
    if run.seeds % 2 == 0:
        text = f"of {run.seeds} runs none is in the middle, so there is no median that one of them has. Give an odd number of seeds"
        raise Refused("out-of-range", text, fields=[("settings.seeds", text)])
    if run.settings.kernel == "gaussian" and ring:
        text = (
            "a is the depth of a ring and the kernel is gaussian: leave settings.kernel out, or a out of the space and the params"
        )
        raise Refused("invalid-argument", text, fields=[("settings.kernel", text)])


class _within:
    """Puts a path in front of those that a refusal names."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refused):
            error.fields = tuple((f"{self._path}.{path}", text) for path, text in error.fields)


def _check_objectives(objectives: list[Objective], run: RunSettings) -> None:
    if len(set(objectives)) < len(objectives) or ("fitness" in objectives and len(objectives) > 1):
        text = "objectives are some of log_prime_sse, sdg_h_norm_l2 and gap, each once; or fitness, alone"
        raise Refused("invalid-argument", text, fields=[("objectives", text)])
    if "sdg_h_norm_l2" in objectives and run.settings.geometry != "coevolve":
        text = (
            f"with geometry {run.settings.geometry} there is no sdg_h_norm_l2 to make small: "
            "take geometry coevolve, or objectives without it"
        )
        raise Refused("invalid-argument", text, fields=[("settings.geometry", text)])


def _reference(objectives: list[Objective], run: RunSettings) -> list[float]:
    """No target met, a residual as large as its source, and no better than chance."""
    if len(objectives) < 2:
        return []
    of = {"log_prime_sse": float(run.targets), "sdg_h_norm_l2": H_NORM_REFERENCE, "gap": 0.0}
    return [of[objective] for objective in objectives]


def _or(asked: Value | None, otherwise: Value) -> Value:
    return otherwise if asked is None else asked
