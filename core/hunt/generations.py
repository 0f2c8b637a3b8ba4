"""One generation: whom it asks for, and what it comes to. All arithmetic on objectives is here, and what it finds becomes an event.

Codes take no part in it: a candidate without a number in every objective has none in any, and stands behind those that have.
"""

import hashlib
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from core.hunt.draws import Draws, draws
from core.hunt.events import (
    Again,
    Child,
    FrontPoint,
    GenerationClosed,
    HuntAsked,
    HuntCompleted,
    HuntScored,
    HuntStarted,
    Objective,
    Placed,
    RunScored,
)
from core.hunt.hypervolume import hypervolume
from core.hunt.nsga2 import DIVERGED, NO_PEAKS, REAL_SCORE, Individual, Ranked, first, offspring, select
from core.hunt.space import Space
from core.hunt.start import space_of
from core.hunt.state import Candidate, Hunt, place
from core.sim.chunk import LaneOutcome
from core.sim.model import well_posed

REDRAWS_MAX = 32
"""So often candidates whose equation is ill-posed are drawn anew; those of the last round are run, and flagged."""
SEEDS_DRAW = REDRAWS_MAX
"""The stream of a generation that its seeds come from, behind those of its points."""
SEED_SHIFT = 32
FITNESS_SSE_MIN = 1e-6
FITNESS_OF_GAPS = 0.1
GAPS = ("gap_phase", "gap_target", "gap")
SSE_REACHED, H_NORM_REACHED = 0.01, 0.001
"""The source's thresholds of success."""

Place = tuple[tuple[float, ...], tuple[str, ...]]
"""A place in the unit cube, and the ids of the parents."""
Point = tuple[tuple[float, ...], tuple[str, ...], dict[str, float]]
"""The same with the parameters that are there."""


# --- asking ---------------------------------------------------------------------------------------------------------------


def asked(hunt: Hunt) -> list[HuntAsked]:
    """The next generation, one record for each call."""
    began, generation, searched = hunt.began, hunt.closed, space_of(hunt.began)
    size = began.population_size
    raw = draws(began.seed, generation, SEEDS_DRAW).raw(size * began.settings.seeds)
    seeds = [int(bits) >> SEED_SHIFT for bits in raw]  # all first ones first: more seeds change no first one
    children = [
        Child(
            index,
            job_uuid(began, generation, index),
            seeds[index],
            params,
            list(unit),
            list(parents),
            [
                Again(job_uuid(began, generation, index, turn), seeds[turn * size + index])
                for turn in range(1, began.settings.seeds)
            ],
        )
        for index, (unit, parents, params) in enumerate(_points(hunt, searched))
    ]
    together = max(1, began.settings.lanes // began.settings.seeds)
    calls = [children[start : start + together] for start in range(0, len(children), together)]
    return [HuntAsked(hunt.hunt_id, generation, number, call) for number, call in enumerate(calls)]


def job_uuid(began: HuntStarted, generation: int, index: int, turn: int = 0) -> str:
    """The one place where the id of a job is made. Everybody else gets it from the record that asked for the job."""
    name = place(generation, index)
    return _uuid5(_namespace(began.namespace), f"{name}/{turn}" if turn else name)


def _uuid5(namespace: bytes, name: str) -> str:
    """What `str(uuid.uuid5(…))` says (RFC 9562), at a third of the time, which a large generation feels."""
    digest = bytearray(hashlib.sha1(namespace + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    found = digest.hex()
    return f"{found[:8]}-{found[8:12]}-{found[12:16]}-{found[16:20]}-{found[20:]}"


@lru_cache(maxsize=16)
def _namespace(text: str) -> bytes:
    return uuid.UUID(text).bytes


def _points(hunt: Hunt, searched: Space) -> list[Point]:
    began, fixed = hunt.began, hunt.began.settings.params
    points: list[Point] = []
    for turn in range(REDRAWS_MAX):
        drawn = _drawn(hunt, began.population_size - len(points), draws(began.seed, hunt.closed, turn))
        params = searched.points([unit for unit, _ in drawn])
        points += [
            (unit, parents, at)
            for (unit, parents), at in zip(drawn, params, strict=True)
            if turn == REDRAWS_MAX - 1 or well_posed({**fixed, **at})
        ]
        if len(points) == began.population_size:
            break
    return points


def _drawn(hunt: Hunt, count: int, generator: Draws) -> list[Place]:
    if not hunt.survivors:
        return [(unit, ()) for unit in first(len(hunt.began.space), count, generator)]
    rows = [hunt.row(placed.generation, placed.index) for placed in hunt.survivors]
    population = [
        Ranked(index, placed.rank, math.inf if placed.crowding is None else placed.crowding, tuple(row.child.unit))
        for index, (placed, row) in enumerate(zip(hunt.survivors, rows, strict=True))
    ]
    return [
        (child.unit, (rows[child.parent_a].child.job_uuid, rows[child.parent_b].child.job_uuid))
        for child in offspring(population, count, generator)
    ]


# --- outcomes -------------------------------------------------------------------------------------------------------------


def scored(hunt: Hunt, outcomes: Sequence[LaneOutcome], indices: Sequence[int]) -> Iterator[HuntScored]:
    """What a call came to, with the best so far marked."""
    best, seeds = hunt.rows[hunt.best].outcome if hunt.best else None, hunt.began.settings.seeds
    for at, index in enumerate(indices):
        event = _scored(hunt, index, outcomes[at * seeds : (at + 1) * seeds])
        if best is None or _order(event) < _order(best):
            event = msgspec.structs.replace(event, best=True)
            best = event
        yield event


def missing(hunt: Hunt, indices: Sequence[int], code: str) -> Iterator[HuntScored]:
    """A call that could not be done, twice."""
    for index in indices:
        job_uuid = hunt.row(hunt.closed, index).child.job_uuid
        yield HuntScored(hunt.hunt_id, hunt.closed, index, job_uuid, "missing", sse_code="missing", why=code)


def _scored(hunt: Hunt, index: int, runs: Sequence[LaneOutcome]) -> HuntScored:
    said = _middle(runs, lambda run: (_STATUSES.index(run.status), _CODES.index(run.sse_code), run.log_prime_sse or 0.0))
    norm = _middle(runs, lambda run: (_NORM_CODES.index(run.h_code), run.sdg_h_norm_l2 or 0.0))
    gap_phase, gap_target, gap = (_median([getattr(run, name) for run in runs], -1.0) for name in GAPS)
    several = len(runs) > 1
    return HuntScored(
        hunt_id=hunt.hunt_id,
        generation=hunt.closed,
        index=index,
        job_uuid=runs[0].job_uuid,
        status=said.status,
        log_prime_sse=said.log_prime_sse,
        sse_code=said.sse_code,
        sdg_h_norm_l2=norm.sdg_h_norm_l2,
        h_code=norm.h_code,
        sdg_h_norm_l2_max=_median([run.sdg_h_norm_l2_max for run in runs]),
        scaling_factor=said.scaling_factor,
        n_peaks=said.n_peaks,
        n_targets=said.n_targets,
        resolved=said.resolved,
        flags=said.flags,
        fail_step=said.fail_step,
        artefact_sha256=said.artefact_sha256,
        fitness=fitness(said.log_prime_sse, gap_phase, gap_target),
        gap_phase=gap_phase,
        gap_target=gap_target,
        gap=gap,
        run=said.job_uuid if several else None,
        runs=[_of_several(run) for run in runs] if several else [],
    )


def _of_several(run: LaneOutcome) -> RunScored:
    return RunScored(**{name: getattr(run, name) for name in RunScored.__struct_fields__})


def _middle(runs: Sequence[LaneOutcome], order: "Callable[[LaneOutcome], Any]") -> LaneOutcome:
    """What most are not better than, and most not worse: a number only where more than half have one. The first among equals."""
    return sorted(runs, key=order)[len(runs) // 2] if len(runs) > 1 else runs[0]


def _median(values: Sequence[float | None], sign: float = 1.0) -> float | None:
    """The same of numbers alone; of those of which much is good the sign is -1. What is none stands behind all numbers."""
    if len(values) == 1:
        return values[0]
    return sorted(values, key=lambda value: math.inf if value is None else sign * value)[len(values) // 2]


def fitness(log_prime_sse: float | None, gap_phase: float | None = None, gap_target: float | None = None) -> float | None:
    """The legacy scalar: of the score alone, unless both gaps are known."""
    if log_prime_sse is None:
        return None
    gaps = 0.0 if gap_phase is None or gap_target is None else gap_phase + gap_target
    return 1.0 / max(log_prime_sse, FITNESS_SSE_MIN) + FITNESS_OF_GAPS * gaps


def reached(outcome: HuntScored) -> bool:
    """Whether both of the source's thresholds are. It is no certificate."""
    sse, norm = outcome.log_prime_sse, outcome.sdg_h_norm_l2
    return sse is not None and norm is not None and sse < SSE_REACHED and norm < H_NORM_REACHED


def _order(outcome: HuntScored) -> tuple[bool, int, float, float]:
    """The best has the least: both thresholds first, then a score, then fitness, then the h-norm.

    Without a score it is the optimiser's order: it puts all that have no peaks on one front, and behind it all that diverged. What
    has no score for a reason of ours, which the optimiser never hears of, stands between.
    """
    norm = math.inf if outcome.sdg_h_norm_l2 is None else outcome.sdg_h_norm_l2
    return (not reached(outcome), _CODES.index(outcome.sse_code), -(outcome.fitness or 0.0), norm)


_CODES = (None, "no_peaks", "missing", "diverged")
_STATUSES = ("ok", "geometry", "diverged")
_NORM_CODES = (None, "no_source", "constraint_enforced", "diverged")


# --- closing --------------------------------------------------------------------------------------------------------------


def closed(hunt: Hunt) -> GenerationClosed:
    """Who survives, of those who did so before and all that have an outcome now."""
    rows = [hunt.row(placed.generation, placed.index) for placed in hunt.survivors]
    opened = hunt.open_rows()
    own = [row for row in opened if is_outcome(row)]
    pool = rows + own
    seen = [individual(row, hunt.began.objectives) for row in pool]
    ranked = select(seen, len(pool))
    survivors, dropped = ranked[: hunt.began.population_size], ranked[hunt.began.population_size :]
    front = [
        FrontPoint(pool[each.index].generation, pool[each.index].child.index, list(seen[each.index].objectives))
        for each in survivors
        if each.rank == 0 and seen[each.index].feasibility == REAL_SCORE
    ]
    reference = hunt.began.reference
    best = hunt.rows[hunt.best].child.job_uuid if hunt.best else None
    return GenerationClosed(
        hunt_id=hunt.hunt_id,
        generation=hunt.closed,
        outcomes=len(own),
        missing=len(opened) - len(own),
        survivors=[_placed(each, pool) for each in survivors],
        others=[found for each in dropped if (found := _placed(each, pool)).generation == hunt.closed],
        front=front,
        hypervolume=hypervolume([point.values for point in front], reference) if reference else None,
        best=best,
    )


def is_outcome(row: Candidate) -> bool:
    """Whether the optimiser hears of it: what could not be run, or has no score for a reason of ours, is left out."""
    return row.outcome is not None and row.outcome.status != "missing" and row.outcome.sse_code != "missing"


def individual(row: Candidate, objectives: Sequence[Objective]) -> Individual:
    """As the optimiser sees it: every objective is made small."""
    outcome, unit = row.outcome, tuple(row.child.unit)
    assert outcome is not None
    values = [_value(outcome, objective) for objective in objectives]
    if outcome.status == "ok" and None not in values:
        return Individual(unit, tuple(value for value in values if value is not None), REAL_SCORE)
    return Individual(unit, (math.inf,) * len(values), NO_PEAKS if outcome.status == "ok" else DIVERGED)


def _value(outcome: HuntScored, objective: Objective) -> float | None:
    match objective:
        case "log_prime_sse":
            return outcome.log_prime_sse
        case "sdg_h_norm_l2":
            return outcome.sdg_h_norm_l2
        case "gap":
            return None if outcome.gap is None else -outcome.gap
        case "fitness":
            return None if outcome.fitness is None else -outcome.fitness


def _placed(each: Ranked, pool: Sequence[Candidate]) -> Placed:
    row = pool[each.index]
    return Placed(row.generation, row.child.index, each.rank, each.crowding if math.isfinite(each.crowding) else None)


def completed(hunt: Hunt) -> HuntCompleted:
    """What all generations came to."""
    best = hunt.rows[hunt.best].outcome if hunt.best else None
    return HuntCompleted(
        hunt_id=hunt.hunt_id,
        jobs=hunt.done,
        run=hunt.counts.get("run", 0),
        scored=hunt.counts.get("scored", 0),
        no_peaks=hunt.counts.get("no_peaks", 0),
        diverged=hunt.counts.get("diverged", 0),
        missing=hunt.counts.get("missing", 0),
        reached=best is not None and reached(best),
        best=best.job_uuid if best is not None else None,
        log_prime_sse=best.log_prime_sse if best is not None else None,
        sdg_h_norm_l2=best.sdg_h_norm_l2 if best is not None else None,
    )
