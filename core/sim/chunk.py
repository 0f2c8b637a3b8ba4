"""What is computed in one call, and what came of it: the one shape that a single run and a hunt's batch share.

The lanes of a chunk have the grid, the steps and the settings in common and differ in their parameters and seeds. What the work
says is checked here like input from a stranger: a metric is a number or a code that says why there is none, never both, never
neither, and never a number that stands for a code.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from core.fields import INT_MAX, Count, Frozen, Hash, Name

ERRAND = "sim.chunk"

Model = Literal["sncgl_sdg", "fmia"]
Kernel = Literal["gaussian", "ring"]
Geometry = Literal["coevolve", "off", "elliptic"]
Dealias = Literal["half", "two_thirds", "sixth", "none"]
DType = Literal["complex64", "complex128"]
InitialKind = Literal["noise", "plane_wave", "uniform", "spiral", "from_artefact"]
PumpShape = Literal["gaussian", "plane"]
Status = Literal["ok", "diverged", "geometry"]
Flag = Literal["ill_posed", "unresolved", "unsettled", "no_source"]
ScoreCode = Literal["no_peaks", "diverged", "missing"]
NormCode = Literal["no_source", "diverged", "constraint_enforced"]

Whole = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]
Real = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""Numbers whose bounds `core/sim/model.py` knows and says in words."""
Modes = Annotated[list[Annotated[int, Meta(ge=-4_096, le=4_096)]], Meta(min_length=1, max_length=3)]
Parameters = Annotated[dict[Name, Real], Meta(max_length=64)]


class Grid(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A periodic box.

    n: points a side, 8 to 4,096: even, with no prime factor above 5
    l: length of a side, above 0 to 1,000,000
    d: dimensions, 1, 2 or 3
    """

    n: Whole = 64
    l: Real = 40.0  # noqa: E741 (its name in the model, and on the wire)
    d: Whole = 2


class Initial(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The field at the start.

    kind: noise, plane_wave, uniform, spiral, or from_artefact: where another run ended
    amplitude: its size; without it that of the kind
    modes: of a plane wave, its mode number on each axis
    job_uuid: of from_artefact, the run whose last state this one begins with; of the same model, dimensions and length of a side
    artefact_sha256: of that run's file; filled in where irer knows it, and no other file is then taken
    """

    kind: InitialKind
    amplitude: Real | None = None
    modes: Modes | None = None
    job_uuid: Name | None = None
    artefact_sha256: Hash | None = None


class Pump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A source that feeds the field all the time.

    shape: gaussian, a bump in the middle of the box, or plane, a plane wave
    amplitude: its size
    width: of a bump, in units of the box
    k: of a plane wave, its mode number on each axis
    """

    shape: PumpShape
    amplitude: Real
    width: Real | None = None
    k: Modes | None = None


class Settings(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """How the field is computed, the same for all lanes.

    kernel: of the non-local term: gaussian, or ring with the parameters a and r
    geometry: coevolve with the field, elliptic (space follows it without delay), or off; the model fmia has none
    dealias: which modes are kept: half (all products exact), two_thirds, sixth or none
    dtype: complex64 or complex128
    initial: the field at the start; without it noise of amplitude 0.1
    pump: a source that feeds the field
    snapshots: how many are taken in the last quarter, the last one at the end; 1 to 64
    """

    kernel: Kernel = "gaussian"
    geometry: Geometry = "coevolve"
    dealias: Dealias = "half"
    dtype: DType = "complex64"
    initial: Initial | None = None
    pump: Pump | None = None
    snapshots: Whole = 8


class Lane(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One run.

    job_uuid: its id, which every file of it carries
    seed: of its initial field
    params: every parameter of the model
    hunt_id: of a hunt's run, the hunt
    generation: and its generation
    index: and its place in that
    turn: and, where its candidate is run with several seeds, which of these it is, from 0
    """

    job_uuid: Name
    seed: Count
    params: Parameters
    hunt_id: Name | None = None
    generation: Count | None = None
    index: Count | None = None
    turn: Count | None = None


class Chunk(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Runs that are computed in one call.

    model: sncgl_sdg or fmia
    grid: the box
    steps: how many
    dt: time of one; null takes for each lane the suggested one
    settings: how
    targets: how many primes the score aims at
    lanes: the runs
    gap_draws: draws of each null that a score is held against; 0 holds it against none
    """

    model: Model
    grid: Grid
    steps: Count
    dt: Real | None
    settings: Settings
    targets: Count
    lanes: Annotated[list[Lane], Meta(min_length=1, max_length=1024)]
    gap_draws: Count = 0


class LaneOutcome(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What one run came to. Nothing in it depends on the clock or the place.

    job_uuid: of which
    status: ok, diverged or geometry
    flags: what deserves a word
    log_prime_sse: the score; null with a code
    sse_code: why there is no score
    sdg_h_norm_l2: how far the density of space is from the one the field would hold, at the end; null with a code
    h_code: why there is no such number
    sdg_h_norm_l2_max: its largest value in the last quarter
    scaling_factor: what the wave numbers of the peaks are multiplied by
    n_peaks: peaks that the spectrum has
    n_targets: primes that the score aims at
    resolved: whether the grid can tell the targets apart
    artefact_sha256: of the file with the fields
    fail_step: of a run that did not end well, the step
    gap_phase: median score of its own waves with scrambled phases, less the score; null where there is none or it was not asked for
    gap_target: the same of its own peaks for random targets
    gap: the lesser of both, where draws without a score count as meeting no target; there is one beside each score, where asked for
    """

    job_uuid: Name
    status: Status
    flags: Annotated[list[Flag], Meta(max_length=4)]
    log_prime_sse: float | None
    sse_code: ScoreCode | None
    sdg_h_norm_l2: float | None
    h_code: NormCode | None
    sdg_h_norm_l2_max: float | None
    scaling_factor: float | None
    n_peaks: Count
    n_targets: Count
    resolved: bool
    artefact_sha256: Hash | None
    fail_step: Count | None = None
    gap_phase: float | None = None
    gap_target: float | None = None
    gap: float | None = None


class _Said(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    lanes: list[LaneOutcome]


def plain(chunk: Chunk) -> dict[str, Any]:
    """As it stands in the errand: the same bytes live and after a restart, when parameters come back in another order."""
    said: dict[str, Any] = msgspec.to_builtins(chunk)
    for lane in said["lanes"]:
        lane["params"] = dict(sorted(lane["params"].items()))
    return said


def outcomes(result: Mapping[str, Any], chunk: Chunk) -> list[LaneOutcome] | None:
    """What the work says of each lane, in their order; None for what no chunk could come to."""
    try:
        said = msgspec.convert(dict(result), _Said, strict=True).lanes
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    if [outcome.job_uuid for outcome in said] != [lane.job_uuid for lane in chunk.lanes]:
        return None
    return said if all(_possible(outcome, chunk) for outcome in said) else None


def _possible(outcome: LaneOutcome, chunk: Chunk) -> bool:
    well = outcome.status == "ok"
    return (
        _either(outcome.log_prime_sse, outcome.sse_code)
        and _either(outcome.sdg_h_norm_l2, outcome.h_code)
        and _size(outcome.sdg_h_norm_l2_max)
        and _size(outcome.scaling_factor)
        and (outcome.log_prime_sse is None or (outcome.scaling_factor or 0) > 0)
        and (well or (outcome.log_prime_sse is None and outcome.sdg_h_norm_l2 is None))
        and (not well or "diverged" not in (outcome.sse_code, outcome.h_code))
        and (outcome.h_code == "constraint_enforced") == (well and chunk.settings.geometry == "elliptic")
        and (outcome.fail_step is None if well else outcome.fail_step is not None and outcome.fail_step <= chunk.steps)
        and len(set(outcome.flags)) == len(outcome.flags)
        and outcome.n_targets == chunk.targets
        and (outcome.gap is None) == (chunk.gap_draws == 0 or outcome.log_prime_sse is None)
        and all(gap is None or _gap(gap, outcome) for gap in (outcome.gap_phase, outcome.gap_target, outcome.gap))
    )


def _gap(gap: float, outcome: LaneOutcome) -> bool:
    """Only where one was asked for and beside a score; below 0 where chance does better."""
    return outcome.gap is not None and math.isfinite(gap)


def _either(number: float | None, code: str | None) -> bool:
    """A number or a code: exactly one of them."""
    return (number is None) != (code is None) and _size(number)


def _size(number: float | None) -> bool:
    """Both metrics are sums of squares, or norms: finite, and never below 0."""
    return number is None or (math.isfinite(number) and number >= 0)
