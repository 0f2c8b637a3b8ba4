"""What happened in a hunt. Its log is its state: whoever reads these records in order knows all that a resume needs.

A number here is what was decided then; nobody works it out again. No record holds what a clock said.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.engine import Event
from core.fields import Code, Count, Frozen, Hash, Label, Name, privacy
from core.hunt.certificate import Figures, Judgement
from core.hunt.space import Scale
from core.sim.chunk import Flag, Grid, NormCode, ScoreCode, Settings

GENERATIONS_MAX = 10_000
POPULATION_MAX = 200
"""A generation is asked for in one command, and closed by one record: both must fit their bounds."""
LANES_MAX = 48
"""Children in one record, and runs in one call."""
PARALLEL_MAX = 64
PARAMETERS_MAX = 32
SEEDS_MAX = 9
"""So often at most a candidate is run, each time from another initial field."""

Objective = Literal["log_prime_sse", "sdg_h_norm_l2", "gap", "fitness"]
Generations = Annotated[int, Meta(ge=1, le=GENERATIONS_MAX)]
PopulationSize = Annotated[int, Meta(ge=1, le=POPULATION_MAX)]
Lanes = Annotated[int, Meta(ge=1, le=LANES_MAX)]
Parallel = Annotated[int, Meta(ge=1, le=PARALLEL_MAX)]
Seeds = Annotated[int, Meta(ge=1, le=SEEDS_MAX)]
Objectives = Annotated[list[Objective], Meta(min_length=1, max_length=3)]
Detail = Annotated[str, Meta(max_length=500), privacy("open")]
Numbers = Annotated[list[float], Meta(max_length=PARAMETERS_MAX)]
Params = Annotated[dict[Name, float], Meta(max_length=PARAMETERS_MAX)]
Outcome = Literal["ok", "diverged", "geometry", "missing"]


class Axis(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """One coordinate of the search.

    parameter: of the model
    low: the least value
    high: the greatest value
    scale: linear or log
    """

    parameter: Name
    low: float
    high: float
    scale: Scale


class RunSettings(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How each candidate of a hunt is run. It stays as it was at the start, whatever the configuration says later.

    grid: the box
    steps: how many
    dt: time of one; null takes for each run the suggested one
    settings: how the field is computed
    targets: how many primes the score aims at
    params: the parameters of the model that are not searched
    lanes: runs in one call
    parallel: calls at one time
    seeds: so often each candidate is run, from as many initial fields; the medians count
    gap_draws: draws of each null that a score is held against, for the gaps; 0 where nothing is selected by them
    """

    grid: Grid
    steps: Count
    dt: float | None
    settings: Settings
    targets: Count
    params: Params
    lanes: Lanes
    parallel: Parallel
    seeds: Seeds = 1
    gap_draws: Count = 0


class Again(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Another run of a candidate, which differs in its seed alone.

    job_uuid: its id, which every file of it carries
    seed: of its initial field
    """

    job_uuid: Name
    seed: Count


class Child(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A candidate that is to be run.

    index: its place in its generation
    job_uuid: its id, which every file of it carries
    seed: of its initial field
    params: the parameters that are searched
    unit: the same as the optimiser sees them, each from 0 to 1
    parents: the candidates it comes from; none in a first generation
    again: its other runs, where it is run with several seeds
    """

    index: Count
    job_uuid: Name
    seed: Count
    params: Params
    unit: Numbers
    parents: Annotated[list[Name], Meta(max_length=2)] = []
    again: Annotated[list[Again], Meta(max_length=SEEDS_MAX - 1)] = []


class RunScored(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one of several runs of a candidate came to.

    job_uuid: which
    status: ok, diverged or geometry
    log_prime_sse: the score
    sse_code: why there is none
    sdg_h_norm_l2: the h-norm
    h_code: why there is none
    sdg_h_norm_l2_max: its largest value in the last quarter
    gap_phase: by how much the score is better than with scrambled phases
    gap_target: by how much it is better than for random targets
    gap: the lesser of both, where draws without peaks count as meeting no target
    artefact_sha256: of the file with the fields
    """

    job_uuid: Name
    status: Outcome
    log_prime_sse: float | None = None
    sse_code: ScoreCode | None = None
    sdg_h_norm_l2: float | None = None
    h_code: NormCode | None = None
    sdg_h_norm_l2_max: float | None = None
    gap_phase: float | None = None
    gap_target: float | None = None
    gap: float | None = None
    artefact_sha256: Hash | None = None


class Placed(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """How a candidate stands among all that could survive.

    generation: in which it was run
    index: its place there
    rank: its front, 0 the best
    crowding: how far apart its neighbours there are; null at an end of the front
    """

    generation: Count
    index: Count
    rank: Count
    crowding: float | None


class FrontPoint(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A candidate that none other beats in every objective.

    generation: in which it was run
    index: its place there
    values: its objectives, in their order, each so that less is better: a gap and the legacy fitness with the sign changed
    """

    generation: Count
    index: Count
    values: Numbers


class HuntStarted(Event, type="hunt.started"):
    """A hunt began.

    hunt_id: its id
    num_generations: how many there are to be
    population_size: candidates in each
    seed: of all chance in it; the same one leads to the same hunt
    namespace: the UUID that the ids of its jobs are made from
    space: what is searched, between which bounds
    objectives: what is to be small; gap and the legacy fitness are to be large
    reference: the point up to which the hypervolume counts; none where there is one objective
    settings: how each candidate is run
    versions: of irer's parts that decide here
    """

    hunt_id: Name
    num_generations: Generations
    population_size: PopulationSize
    seed: Count
    namespace: Name
    space: Annotated[list[Axis], Meta(min_length=1, max_length=PARAMETERS_MAX)]
    objectives: Objectives
    reference: Numbers
    settings: RunSettings
    versions: Annotated[dict[Name, Label], Meta(max_length=16)]


class HuntAsked(Event, type="hunt.asked"):
    """Candidates are to be run, in one call.

    hunt_id: of which hunt
    generation: which
    chunk: number of the call within its generation
    children: the candidates
    """

    hunt_id: Name
    generation: Count
    chunk: Count
    children: Annotated[list[Child], Meta(min_length=1, max_length=LANES_MAX)]


class HuntScored(Event, type="hunt.scored"):
    """A candidate has an outcome.

    hunt_id: of which hunt
    generation: which
    index: its place there
    job_uuid: which
    status: ok, diverged, geometry, or missing where it could not be run
    log_prime_sse: the score; null with a code
    sse_code: why there is no score
    sdg_h_norm_l2: how far the density of space is from the one the field would hold; null with a code
    h_code: why there is no such number
    sdg_h_norm_l2_max: its largest value in the last quarter
    scaling_factor: what the wave numbers of the peaks are multiplied by
    n_peaks: peaks that the spectrum has
    n_targets: primes that the score aims at
    resolved: whether the grid can tell the targets apart
    flags: what deserves a word
    fail_step: of a run that did not end well, the step
    artefact_sha256: of the file with the fields
    fitness: the legacy scalar; null without a score
    best: whether it is better than all before it; without any score, whether it stands before them
    why: of a missing one, what went wrong
    gap_phase: where the hunt selects by it, by how much the score is better than with scrambled phases; null for no number
    gap_target: where the hunt selects by it, by how much the score is better than for random targets
    gap: where the hunt selects by it, the lesser of both, where draws without peaks count as meeting no target
    run: of a candidate with several seeds, the run that scores the median: it has the file, the flags and the peaks told here
    runs: of such a candidate, what each run came to; every number above is the median of theirs
    """

    hunt_id: Name
    generation: Count
    index: Count
    job_uuid: Name
    status: Outcome
    log_prime_sse: float | None = None
    sse_code: ScoreCode | None = None
    sdg_h_norm_l2: float | None = None
    h_code: NormCode | None = None
    sdg_h_norm_l2_max: float | None = None
    scaling_factor: float | None = None
    n_peaks: Count = 0
    n_targets: Count = 0
    resolved: bool = False
    flags: Annotated[list[Flag], Meta(max_length=4)] = []
    fail_step: Count | None = None
    artefact_sha256: Hash | None = None
    fitness: float | None = None
    best: bool = False
    why: Code | None = None
    gap_phase: float | None = None
    gap_target: float | None = None
    gap: float | None = None
    run: Name | None = None
    runs: Annotated[list[RunScored], Meta(max_length=SEEDS_MAX)] = []


class ChunkFailed(Event, type="hunt.chunk_failed"):
    """A call came to nothing; it is tried once more.

    hunt_id: of which hunt
    generation: which
    chunk: number of the call within its generation
    code: what went wrong
    detail: one line about it
    """

    hunt_id: Name
    generation: Count
    chunk: Count
    code: Code
    detail: Detail = ""


class GenerationClosed(Event, type="hunt.generation"):
    """Every candidate of a generation has its outcome, and it is decided which ones the next comes from.

    hunt_id: of which hunt
    generation: which
    outcomes: candidates with an outcome
    missing: candidates that could not be run
    survivors: the population from now on, best first
    others: candidates of this generation that are not in it
    front: the survivors that none other beats in every objective
    hypervolume: how much of the space of objectives the front covers; null with one objective
    best: the best candidate of the hunt so far
    """

    hunt_id: Name
    generation: Count
    outcomes: Count
    missing: Count
    survivors: Annotated[list[Placed], Meta(max_length=POPULATION_MAX)]
    others: Annotated[list[Placed], Meta(max_length=POPULATION_MAX)] = []
    front: Annotated[list[FrontPoint], Meta(max_length=POPULATION_MAX)] = []
    hypervolume: float | None = None
    best: Name | None = None


class HuntStopping(Event, type="hunt.stopping"):
    """A hunt was asked to stop: what is being computed is finished, and nothing new begun.

    hunt_id: which
    """

    hunt_id: Name


class HuntStopped(Event, type="hunt.stopped"):
    """A hunt stopped; it can go on.

    hunt_id: which
    code: stopped, or cancelled where what was being computed was ended too
    """

    hunt_id: Name
    code: Code


class HuntResumed(Event, type="hunt.resumed"):
    """A hunt that had ended goes on.

    hunt_id: which
    num_generations: how many there are to be now
    """

    hunt_id: Name
    num_generations: Generations


class HuntCompleted(Event, type="hunt.completed"):
    """A hunt has closed all its generations.

    hunt_id: which
    jobs: candidates in all
    run: of those that could be run, each with its provenance file
    scored: of those with a score
    no_peaks: of those whose spectrum has no peaks
    diverged: of those whose field left all bounds
    missing: of those without a score for a reason of ours
    reached: whether the best one is below both thresholds of the source
    best: the best candidate
    log_prime_sse: its score
    sdg_h_norm_l2: its h-norm
    """

    hunt_id: Name
    jobs: Count
    run: Count
    scored: Count
    no_peaks: Count
    diverged: Count
    missing: Count
    reached: bool
    best: Name | None = None
    log_prime_sse: float | None = None
    sdg_h_norm_l2: float | None = None


class HuntFailed(Event, type="hunt.failed"):
    """A hunt cannot go on by itself.

    hunt_id: which
    code: what went wrong
    detail: one line about it, and what to do
    """

    hunt_id: Name
    code: Code
    detail: Detail


class Found(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A candidate as its hunt has it.

    objectives: what the hunt selects by
    seeds: so often each candidate was run; of several, the numbers below are medians
    log_prime_sse: its score, with the targets of the hunt
    sdg_h_norm_l2: its h-norm
    gap_phase: where the hunt selects by it, by how much the score is better than with scrambled phases
    gap_target: the same for random targets
    gap: the lesser of both, where draws without peaks count as meeting no target
    """

    objectives: Objectives
    seeds: Seeds
    log_prime_sse: float | None = None
    sdg_h_norm_l2: float | None = None
    gap_phase: float | None = None
    gap_target: float | None = None
    gap: float | None = None


class CertificateBegun(Event, type="hunt.certifying"):
    """A candidate is to be certified, or not.

    job: its id as a job
    hunt_id: the candidate's hunt
    job_uuid: which candidate
    grid: the box, as much larger as eight targets need
    steps: how many
    dt: time of one
    settings: how
    params: every parameter of the model
    seeds: of fresh initial fields; the first three are run again with half the step, and on a finer grid
    rows: candidates of the hunt that the correction for all of it looks at
    others: what the hunt's other certificates came to, as p
    found: what the hunt found in it, and how: none of that enters the verdict
    """

    job: Name
    hunt_id: Name
    job_uuid: Name
    grid: Grid
    steps: Count
    dt: float
    settings: Settings
    params: Params
    seeds: Annotated[list[Count], Meta(max_length=8)]
    rows: Count
    others: Annotated[list[float], Meta(max_length=256)] = []
    found: Found | None = None


class Certified(Event, type="hunt.certified"):
    """What a certificate came to.

    job: its id as a job
    hunt_id: the candidate's hunt
    job_uuid: which candidate
    judgement: certified, refuted or inconclusive, and why
    p_family: how often the best of so many candidates scores as well by chance; null where files are gone
    looked_at: candidates that stand behind p_family
    figures: of every run
    found: what the hunt found in the candidate, and how
    """

    job: Name
    hunt_id: Name
    job_uuid: Name
    judgement: Judgement
    p_family: float | None = None
    looked_at: Count = 0
    figures: Annotated[list[Figures], Meta(max_length=16)] = []
    found: Found | None = None


class CertificateFailed(Event, type="hunt.certificate_failed"):
    """A certificate came to nothing: it can be asked for again.

    job: its id as a job
    hunt_id: the candidate's hunt
    job_uuid: which candidate
    code: cancelled, or what went wrong
    detail: one line about it, and what to do
    """

    job: Name
    hunt_id: Name
    job_uuid: Name
    code: Code
    detail: Detail = ""
