"""What it takes to call a candidate certified: fresh seeds, a finer grid, a smaller step, and nulls that do not explain it.

Pure judgement of figures that workers bring; it computes no field. A search proves nothing, because whoever tries much finds
something: so not one number that the search has seen enters a verdict. Must never make a doubtful case certified: whatever is
missing, out of bounds or not comparable makes it inconclusive.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core.fields import Count, Frozen, privacy
from core.sim.chunk import Flag, Grid, ScoreCode, Status

TARGETS = 8
SNAPSHOTS = 16
DRAWS = 999
SEEDS, REFINED = 5, 3
PASSING, AGREEING, REFUTING = 4, 2, 4
FACTOR_MAX = 4
POINTS_MAX = 512
SHELLS_APART = 3.0
SCORE_MAX, H_MAX, RAMP_GAIN_MIN = 0.01, 0.001, math.log(4)
P_PHASE_MAX, P_TARGET_MAX, P_HOLM_MAX = 0.01, 0.05, 0.05
P_EXPLAINED, SCORE_FAR = 0.05, 0.05
SCORES_APART, H_APART, SHELLS_BETWEEN = 0.005, 0.1, 0.5
SEED_FROM = 1 << 32
"""A hunt draws its seeds below this, so none of a certificate was ever seen by one."""
SEED_BITS = 48

Verdict = Literal["certified", "refuted", "inconclusive"]
Kind = Literal["fresh", "half_step", "finer"]
Part = Annotated[float, Meta(ge=0, le=1)]
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


class Figures(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one run of a certificate came to.

    kind: fresh, a new seed; half_step, with half the step; finer, on a grid with half as many points more a side
    seed: of its initial field
    status: ok, diverged or geometry
    flags: what deserves a word
    resolved: whether the grid can tell the targets apart
    score: with eight targets; null with a code
    code: why there is no score
    matched: targets that have a peak
    h_max: the largest h-norm in the last quarter
    peaks: where they are, in shells, of each target its own
    p_phase: the share of scrambled fields that score as well, of a fresh seed
    p_target: how often random targets fit as well, of a fresh seed
    integers: whether the primes beat other integers, of a fresh seed
    ramp_gain: how much better primes fit than a smooth curve, of a fresh seed
    gap_phase: by how much the score is better than with scrambled phases, of a fresh seed; null where most of those have none
    gap_target: by how much it is better than for random targets, of a fresh seed
    """

    kind: Kind
    seed: Count
    status: Status
    flags: Annotated[list[Flag], Meta(max_length=4)]
    resolved: bool
    score: float | None
    code: ScoreCode | None
    matched: Count
    h_max: float | None
    peaks: Annotated[list[float], Meta(max_length=TARGETS)] = []
    p_phase: Part | None = None
    p_target: Part | None = None
    integers: bool = False
    ramp_gain: float | None = None
    gap_phase: float | None = None
    gap_target: float | None = None

    @property
    def healthy(self) -> bool:
        return self.status == "ok" and not self.flags


Reason = Annotated[str, Meta(max_length=400), privacy("public")]


class Judgement(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What the figures come to.

    verdict: certified, refuted or inconclusive
    reasons: why it is not more
    passed: fresh seeds that pass everything
    refuting: fresh seeds that speak against it
    half_step: seeds that come to the same with half the step
    finer: seeds that come to the same on a finer grid
    p: of the certificate: that so many seeds pass by chance alone
    p_holm: the same, corrected for all certificates of the hunt
    """

    verdict: Verdict
    reasons: list[Reason]
    passed: Count
    refuting: Count
    half_step: Count
    finer: Count
    p: Part
    p_holm: Part


def seeds(hunt_seed: int, job_uuid: str) -> list[int]:
    """The same for the same candidate: nobody may ask again until they please."""
    raw = (
        hashlib.sha256(f"irer certificate\0{hunt_seed}\0{job_uuid}".encode()).digest() + hashlib.sha256(job_uuid.encode()).digest()
    )
    return [SEED_FROM + int.from_bytes(raw[6 * at : 6 * at + 6], "big") % (1 << SEED_BITS) for at in range(SEEDS)]


def factor(grid: Grid, scaling_factor: float) -> int | None:
    """By how much box and grid must grow so that eight targets stand apart and within; None where that is too much."""
    targets = [math.log(prime) for prime in PRIMES]
    gap = min(high - low for low, high in pairwise(targets))
    for times in range(1, FACTOR_MAX + 1):
        points, scale = grid.n * times, scaling_factor * 2 * math.pi / (grid.l * times)
        inner, outer = 2, points // 2 - 2
        if points <= POINTS_MAX and gap / scale >= SHELLS_APART and targets[-1] / scale <= outer and targets[0] / scale >= inner:
            return times
    return None


def finer(points: int) -> int:
    """Half as many points more, or the next number that the transforms take."""
    wanted = points * 3 // 2
    while wanted % 2 or not _smooth(wanted):
        wanted += 1
    return wanted


def _smooth(number: int) -> bool:
    for divisor in (2, 3, 5):
        while number % divisor == 0:
            number //= divisor
    return number == 1


# --- judging --------------------------------------------------------------------------------------------------------------


def judge(figures: Sequence[Figures], others: Sequence[float] = ()) -> Judgement:
    """`others`: the p of the hunt's other certificates. Every figure that is missing counts against certifying."""
    fresh = [each for each in figures if each.kind == "fresh"]
    passed, refuting = sum(map(passes, fresh)), sum(map(refutes, fresh))
    of = {each.seed: each for each in fresh}
    same: dict[str, int] = {
        kind: sum(agrees(of.get(each.seed), each) for each in figures if each.kind == kind) for kind in ("half_step", "finer")
    }
    p = chance(fresh)
    p_holm = holm([p, *others])[0]
    reasons = [*_short_of(fresh, passed, same), *_corrected(p_holm)]
    verdict: Verdict = "certified" if not reasons else "refuted" if refuting >= REFUTING else "inconclusive"
    return Judgement(verdict, reasons, passed, refuting, same["half_step"], same["finer"], p, p_holm)


def passes(run: Figures) -> bool:
    return not list(_failings(run))


def _failings(run: Figures) -> Iterable[str]:
    """Everything that one seed lacks."""
    if run.status != "ok":
        yield f"ended as {run.status}"
    yield from (f"is {flag}" for flag in run.flags)
    if run.score is None:
        yield f"has no score ({run.code})"
        return
    if not run.resolved:
        yield "cannot tell the targets apart"
    if run.matched < TARGETS:
        yield f"matches {run.matched} of {TARGETS} targets"
    for name, value, most in (
        ("a score", run.score, SCORE_MAX),
        ("an h-norm", run.h_max, H_MAX),
    ):
        if value is None or not value < most:
            yield f"has {name} not below {most:g}"
    if run.p_phase is None or run.p_phase > P_PHASE_MAX:
        yield "is explained by scrambled phases"
    if run.p_target is None or run.p_target > P_TARGET_MAX:
        yield "is explained by random targets"
    if not run.integers:
        yield "is explained by other integers"
    if run.ramp_gain is None or run.ramp_gain < RAMP_GAIN_MIN:
        yield "is explained by a smooth curve"


def refutes(run: Figures) -> bool:
    """Only what is well computed speaks against a candidate."""
    if not (run.healthy and run.resolved) or run.score is None:
        return False
    explained = run.p_phase is not None and run.p_phase > P_EXPLAINED
    smooth = run.ramp_gain is not None and run.ramp_gain <= 0
    return explained or smooth or run.score >= SCORE_FAR


def agrees(first: Figures | None, second: Figures) -> bool:
    """Whether a seed comes to the same. Fields are chaotic: only what they are made of is compared."""
    if first is None or first.score is None or second.score is None or not (first.healthy and second.healthy):
        return False
    if len(first.peaks) != TARGETS or len(second.peaks) != TARGETS or first.h_max is None or second.h_max is None:
        return False
    near = all(abs(one - other) <= SHELLS_BETWEEN for one, other in zip(first.peaks, second.peaks, strict=True))
    still = max(first.h_max, second.h_max) < H_MAX or abs(first.h_max - second.h_max) <= H_APART * max(first.h_max, second.h_max)
    return near and still and abs(first.score - second.score) <= SCORES_APART


def _short_of(fresh: Sequence[Figures], passed: int, same: dict[str, int]) -> Iterable[str]:
    if passed < PASSING:
        yield f"{passed} of {SEEDS} fresh seeds pass, and {PASSING} must"
        told: dict[str, int] = {}
        for run in fresh:
            for failing in _failings(run):
                told[failing] = told.get(failing, 0) + 1
        yield from (
            f"in {count} of {SEEDS} seeds it {failing}" for failing, count in sorted(told.items(), key=lambda each: -each[1])[:8]
        )
    for kind, words in (("half_step", "with half the step"), ("finer", "on a finer grid")):
        if same[kind] < AGREEING:
            yield f"{same[kind]} of {REFINED} come to the same {words}, and {AGREEING} must"


def _corrected(p_holm: float) -> Iterable[str]:
    if p_holm > P_HOLM_MAX:
        yield f"among all certificates of this hunt chance alone does as well with p = {p_holm:.3g}, more than {P_HOLM_MAX:g}"


def chance(fresh: Sequence[Figures]) -> float:
    """That four of five seeds are this good by chance: the partial conjunction by Bonferroni (Benjamini & Heller 2008)."""
    known = sorted(1.0 if each.p_phase is None else each.p_phase for each in fresh)
    known += [1.0] * (SEEDS - len(known))
    return min(1.0, (SEEDS - PASSING + 1) * known[PASSING - 1])


def holm(values: Sequence[float]) -> list[float]:
    """Holm 1979: each as it counts where so many were asked."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found, least = [0.0] * len(values), 0.0
    for place, index in enumerate(order):
        least = max(least, min(1.0, (len(values) - place) * values[index]))
        found[index] = least
    return found
