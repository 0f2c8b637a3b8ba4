"""What a score is worth: the same question put to fields and sequences in which nothing is hidden.

Every draw goes through the whole pipeline: density, spectrum, peaks, and a scale fitted anew. Draws are keyed by job, null and
index, so anybody can draw number 17 of a job again, and no two jobs share one. A p-value is counted over at least 999 draws and is
never 0; its type cannot be made otherwise. Targets are never permuted against sorted peaks: both rise, so any peaks at all would
seem to fit the true order.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from kernels import spectrum as spectra
from kernels.score import (
    NO_PEAK_COST,
    TARGETS_MIN,
    TOLERANCE,
    Aligned,
    Code,
    Score,
    align,
    count_reached,
    log_primes,
    scale_range,
    unaligned,
)

Reals = NDArray[np.float64]
Complexes = NDArray[np.complexfloating]

DRAWS_MIN: Final = 999
SEQUENCES: Final = 199
"""Random sequences a rank is taken among."""
BATCH_VALUES: Final = 2**17
"""Complex values transformed at a time: as many as a core's cache holds."""

P_PHASE_MAX: Final = 0.01
P_TARGET_MAX: Final = 0.05
PRIME_LIKE_SHARE: Final = 0.05
"""Primes must rank in this best part of random sequences as dense as they are."""
RAMP_GAIN_MIN: Final = math.log(4)
TARGETS_TO_CERTIFY: Final = 8
"""Through five targets a smooth ramp runs as well as the primes do."""
SCORE_MAX: Final = 0.01


class PValue:
    """(1 + b)/(1 + m) for b of m draws at least as good as what was observed (Phipson & Smyth 2010).

    Counting the observed case among the draws makes it valid, and never 0. Under 999 draws it is refused: so coarse a figure says
    little and looks like more.
    """

    __slots__ = ("as_good", "draws")
    as_good: int
    draws: int

    def __init__(self, as_good: int, draws: int) -> None:
        if type(as_good) is not int or type(draws) is not int:
            raise TypeError("a p-value is counted: give two whole numbers")
        if draws < DRAWS_MIN:
            raise ValueError(f"a p-value needs at least {DRAWS_MIN} draws; there are {draws}. Draw more.")
        if not 0 <= as_good <= draws:
            raise ValueError(f"{as_good} of {draws} draws cannot be as good as the observed one")
        object.__setattr__(self, "as_good", as_good)
        object.__setattr__(self, "draws", draws)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a p-value does not change; count again")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a p-value does not change; count again")

    def __init_subclass__(cls) -> None:
        raise TypeError("there is one way to count a p-value")

    def __reduce__(self) -> tuple[type["PValue"], tuple[int, int]]:
        return PValue, (self.as_good, self.draws)

    def __float__(self) -> float:
        return (1 + self.as_good) / (1 + self.draws)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PValue) and (self.as_good, self.draws) == (other.as_good, other.draws)

    def __hash__(self) -> int:
        return hash((self.as_good, self.draws))

    def __repr__(self) -> str:
        return f"PValue({self.as_good}, {self.draws})"

    def at_most(self, level: float) -> bool:
        return float(self) <= level


Significance: TypeAlias = PValue | Code


def stream(job_uuid: UUID, null: str, index: int) -> np.random.Philox:
    """The draw's own random bits: a key for job and null, and a stretch of the counter for the index."""
    key = hashlib.sha256(b"irer null\0" + job_uuid.bytes + null.encode()).digest()[:16]
    return np.random.Philox(key=np.frombuffer(key, dtype="<u8"), counter=np.array([0, 0, index, 0], dtype=np.uint64))


def uniform(job_uuid: UUID, null: str, index: int, count: int) -> Reals:
    """Numbers in [0, 1) from the raw bits, so that no later release of NumPy can draw others."""
    bits = stream(job_uuid, null, index).random_raw(count)
    found: Reals = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


# --- Null 1: scrambled phases


class Draws(NamedTuple):
    """What surrogates scored, one entry a draw."""

    status: NDArray[np.int8]
    score: Reals
    """Only where the status is 0; NaN elsewhere."""
    rank: NDArray[np.int64]
    """Random target sequences each surrogate fits as well as it fits the primes; -1 where that was not asked for."""


def surrogate_power(fields: Complexes, job_uuid: UUID, first: int, draws: int) -> Iterator[Reals]:
    """Shell spectra of surrogates `(some, shells)`, until all are drawn.

    Each mode of A gets a phase of its own, the same in all snapshots, and rho is formed anew: A keeps its spectrum and the changes
    from snapshot to snapshot, and loses what its waves are to one another. Phases of rho itself would change nothing, for the score
    reads only the size of its modes.
    """
    dimensions, grid = fields.ndim - 1, fields.shape[1:]
    axes = tuple(range(-dimensions, 0))
    modes = scipy.fft.fftn(fields, axes=axes)
    means = spectra.mean_densities(fields)
    together = max(1, BATCH_VALUES // fields.size)
    for start in range(first, first + draws, together):
        some = min(together, first + draws - start)
        turned = np.empty((some, *modes.shape), dtype=modes.dtype)
        for place in range(some):
            phases = uniform(job_uuid, "phase", start + place, math.prod(grid))
            _turn(modes.reshape(modes.shape[0], -1), phases, turned[place].reshape(modes.shape[0], -1))
        found = scipy.fft.ifftn(turned, axes=axes, overwrite_x=True)
        rho = spectra.density(found, np.broadcast_to(means, (some, means.size)))
        yield spectra.shell_power(rho, dimensions)


@njit(cache=True)
def _turn(modes: Complexes, phases: Reals, turned: Complexes) -> None:
    for mode in range(phases.size):
        angle = 2 * np.pi * phases[mode]
        turn = complex(np.cos(angle), np.sin(angle))
        for snapshot in range(modes.shape[0]):
            turned[snapshot, mode] = modes[snapshot, mode] * turn


def phase_draws(
    fields: Complexes, job_uuid: UUID, targets: Reals, draws: int, first: int = 0, sequences: Reals | None = None
) -> Draws:
    """Scores of draws first, first + 1, ...: the whole pipeline for each, and the rank among the sequences where they are given."""
    points, dimensions = fields.shape[-1], fields.ndim - 1
    where = spectra.shells(points, dimensions)
    rounding = spectra.rounding_power(spectra.mean_densities(fields), points, dimensions, spectra.resolution(fields))
    status = np.full(draws, spectra.NO_PEAKS, dtype=np.int8)
    score = np.full(draws, np.nan)
    rank = np.full(draws, -1, dtype=np.int64)
    place = 0
    for powers in surrogate_power(fields, job_uuid, first, draws):
        for power in powers:
            peaks, _ = spectra.stand_out(spectra.flatten(power, rounding)[1], where.x, where.prominence)
            found = align(peaks, targets, *scale_range(where.x, targets)).score
            if not isinstance(found, Code):
                status[place], score[place] = spectra.OK, found
            if sequences is not None:
                rank[place] = rank_among(peaks, found, sequences, where.x)
            place += 1
    return Draws(status, score, rank)


def as_good(observed: float, draws: Draws) -> int:
    """Draws that score at least as well. What is nearer than a score is known counts as a tie; no peaks is never as good."""
    real = draws.status == spectra.OK
    return int(np.count_nonzero(draws.score[real] <= observed + TOLERANCE))


# --- Null 5: the best of many


def median_draws(runs: Sequence[Draws], seeds: int) -> Draws:
    """What candidates score in each draw that are run with an odd number of seeds and judged by the median; a run that is not there
    scores nothing, as one without peaks. Of one seed they are the draws of its run."""
    draws = runs[0].score.size if runs else 0
    scores = np.full((seeds, draws), np.inf)
    for place, run in enumerate(runs):
        scores[place] = np.where(run.status == spectra.OK, run.score, np.inf)
    middle = np.sort(scores, axis=0)[seeds // 2]
    real = np.isfinite(middle)
    status = np.where(real, spectra.OK, spectra.NO_PEAKS).astype(np.int8)
    return Draws(status, np.where(real, middle, np.nan), np.full(draws, -1, dtype=np.int64))


def family_least(least: Reals, draws: Draws) -> Reals:
    """Of each draw the least score over all candidates so far; where none has peaks it stays infinite."""
    found: Reals = np.fmin(least, np.where(draws.status == spectra.OK, draws.score, np.inf))
    return found


def family_as_good(best: float, least: Reals) -> int:
    """Draws in which the best of as many surrogates scores as well as the best of the candidates (Westfall & Young 1993)."""
    return int(np.count_nonzero(least <= best + TOLERANCE))


# --- Null 2: random targets


def random_targets(job_uuid: UUID, targets: Reals, count: int = SEQUENCES) -> Reals:
    """Rising sequences with the ends and the length of the targets, `(count, targets)`."""
    found = np.empty((count, targets.size))
    found[:, 0], found[:, -1] = targets[0], targets[-1]
    for index in range(count):
        inner = np.sort(uniform(job_uuid, "random targets", index, targets.size - 2))
        found[index, 1:-1] = targets[0] + (targets[-1] - targets[0]) * inner
    return found


def rank_among(peaks: Reals, score: Score, sequences: Reals, x: Reals) -> int:
    """How many of the sequences the peaks fit as well as they fit the primes. Not a p-value: ln p lies amid random sequences, so
    noise ranks well too often. Only beside the ranks of surrogates does it say anything. Without a score every sequence is as good.
    """
    if isinstance(score, Code):
        return int(sequences.shape[0])
    return int(count_reached(peaks, sequences, x[1], x[-2], score))


# --- Null 3: other integers


def _composites(count: int) -> list[int]:
    return [n for n in range(4, 4 * count + 5) if any(n % d == 0 for d in range(2, math.isqrt(n) + 1))][:count]


def _fibonacci(count: int) -> list[int]:
    found = [2, 3]
    while len(found) < count:
        found.append(found[-1] + found[-2])
    return found


def named_sequences(count: int) -> dict[str, Reals]:
    """Logarithms of sequences somebody might have thought of first. All begin at 2 or later: ln 1 is 0 at every scale."""
    whole = {
        "composites": _composites(count),
        "squares": [n * n for n in range(2, count + 2)],
        "odd numbers": list(range(3, 2 * count + 3, 2)),
        "integers": list(range(2, count + 2)),
        "Fibonacci": _fibonacci(count),
    }
    return {name: np.log(np.array(values, dtype=np.float64)) for name, values in whole.items()}


def prime_like(job_uuid: UUID, length: int, count: int = SEQUENCES) -> Reals:
    """Logarithms of random sequences as dense as the primes: m is kept with probability 1/ln m."""
    integers = np.arange(2, 40 * length)
    chance = 1 / np.log(integers)
    found = np.empty((count, length))
    for index in range(count):
        kept = integers[uniform(job_uuid, "prime-like", index, integers.size) < chance]
        found[index] = np.log(kept[:length])
    return found


class Integers(NamedTuple):
    beaten_by: tuple[str, ...]
    """Named sequences that fit as well as the primes or better."""
    rank: int
    """Random sequences of prime-like density that do."""
    sequences: int

    def passed(self) -> bool:
        return not self.beaten_by and 1 + self.rank <= PRIME_LIKE_SHARE * (1 + self.sequences)


def integer_sequences(peaks: Reals, score: Score, x: Reals, count: int, job_uuid: UUID) -> Integers:
    named = named_sequences(count)
    if isinstance(score, Code):
        return Integers(tuple(named), SEQUENCES, SEQUENCES)
    better = tuple(name for name, values in named.items() if count_reached(peaks, values[None], x[1], x[-2], score))
    return Integers(better, rank_among(peaks, score, prime_like(job_uuid, count), x), SEQUENCES)


# --- Null 4: smooth ramps

_RAMP_GRID = 200
_RAMP_REFINED = 60
_RSS_TINY = 1e-12
"""Below this both fits are perfect, and neither is better."""


def ramp_gain(peaks: Reals, aligned: Aligned, targets: Reals) -> Score:
    """ln(RSS_ramp/RSS_prime) over the matched, scaled peaks, with the best of a·i^b and a·ln(i + b).

    Anything that rises and bends a little looks like ln p at few targets; this asks whether ln p is better than that.
    """
    if isinstance(aligned.score, Code):
        return aligned.score
    index = np.flatnonzero(aligned.matched >= 0)
    scaled: Reals = aligned.s * peaks[aligned.matched[index]]
    prime = float(np.sum((scaled - targets[index]) ** 2))
    ramp = _best_ramp((index + 1).astype(np.float64), scaled)
    return math.log((ramp + _RSS_TINY) / (prime + _RSS_TINY))


@njit(cache=True)
def _best_ramp(i: Reals, values: Reals) -> float:
    """Over b from 1e-3 to 10 for powers, and from 1e-3 to 1e6 above -1 for logarithms, both on a logarithmic scale."""
    best = np.inf
    for kind in range(2):
        low, high = np.log(1e-3), np.log(10.0 if kind == 0 else 1e6)
        step = (high - low) / _RAMP_GRID
        place, least = low, np.inf
        for at in range(_RAMP_GRID + 1):
            rest = _ramp_rest(i, values, low + at * step, kind)
            if rest < least:
                place, least = low + at * step, rest
        left, right = place - step, place + step
        for _ in range(_RAMP_REFINED):
            third = (right - left) / 3
            if _ramp_rest(i, values, left + third, kind) < _ramp_rest(i, values, right - third, kind):
                right -= third
            else:
                left += third
        best = min(best, least, _ramp_rest(i, values, (left + right) / 2, kind))
    return best


@njit(cache=True)
def _ramp_rest(i: Reals, values: Reals, log_b: float, kind: int) -> float:
    """Sum of squares that is left with the best a."""
    b = np.exp(log_b)
    products = squares = 0.0
    for place in range(i.size):
        ramp = i[place] ** b if kind == 0 else np.log(i[place] - 1 + b)
        products += ramp * values[place]
        squares += ramp * ramp
    a = products / squares if squares > 0 else 0.0
    rest = 0.0
    for place in range(i.size):
        ramp = i[place] ** b if kind == 0 else np.log(i[place] - 1 + b)
        rest += (values[place] - a * ramp) ** 2
    return rest


# --- How much better than chance


def gap(scores: Reals, score: float) -> float | None:
    """The median score of null draws, NaN where one has none, less the score: above 0 is better than chance.

    None where most draws have no score: the median of the rest would stand for fields that are not like most.
    """
    real = scores[np.isfinite(scores)]
    return float(np.median(real)) - score if 2 * real.size > scores.size else None


def gap_of_all(scores: Reals, score: float, targets: int) -> float:
    """The same over all draws, for a search: one without a score meets no target, and costs what that costs, 1 for each.

    So there is always a number. Where scrambled fields have no peaks at all, peaks at the right places are worth the most; to leave
    such a candidate without a gap would be to select against what is looked for.
    """
    return float(np.median(np.where(np.isfinite(scores), scores, targets * NO_PEAK_COST))) - score


def target_scores(peaks: Reals, sequences: Reals, x: Reals) -> Reals:
    """What the same peaks score for other targets, NaN where they have no score."""
    found = (align(peaks, own, *scale_range(x, own)).score for own in sequences)
    return np.array([math.nan if isinstance(score, Code) else score for score in found])


# --- All of them


class Profile(NamedTuple):
    """The score of a run and what the nulls say about it."""

    spectrum: spectra.Spectrum
    aligned: Aligned
    p_phase: Significance
    p_target: Significance
    integers: Integers
    ramp_gain: Score

    def survives(self) -> bool:
        """Whether no null explains the peaks. A certificate asks for this of fresh runs, and for more."""
        return (
            not isinstance(self.p_phase, Code)
            and not isinstance(self.p_target, Code)
            and self.p_phase.at_most(P_PHASE_MAX)
            and self.p_target.at_most(P_TARGET_MAX)
            and self.outside_of_fields()
        )

    def outside_of_fields(self) -> bool:
        """The part that needs no surrogate fields: a good score of eight targets that neither ramps nor other integers explain."""
        return no_sequence_explains(self.aligned, self.integers, self.ramp_gain)


def no_sequence_explains(aligned: Aligned, integers: Integers, gain: Score) -> bool:
    return (
        not isinstance(aligned.score, Code)
        and not isinstance(gain, Code)
        and aligned.matched.size >= TARGETS_TO_CERTIFY
        and bool((aligned.matched >= 0).all())
        and aligned.resolved
        and aligned.score < SCORE_MAX
        and integers.passed()
        and gain >= RAMP_GAIN_MIN
    )


def measure(fields: Complexes, length: float, count: int = TARGETS_MIN) -> tuple[spectra.Spectrum, Aligned]:
    """Spectrum and score without nulls: all that a step of a hunt needs."""
    targets = log_primes(count)
    seen = spectra.spectrum(fields)
    if seen.status == spectra.DIVERGED:
        return seen, unaligned(Code.DIVERGED, count)
    return seen, align(seen.peaks.x, targets, *scale_range(seen.x, targets), 2 * math.pi / length)


def profile(fields: Complexes, job_uuid: UUID, length: float, count: int = TARGETS_TO_CERTIFY, draws: int = DRAWS_MIN) -> Profile:
    """Spectrum, score and nulls of snapshots `(snapshots, *grid)` of A in a box of this length."""
    PValue(draws, draws)  # too few are refused before the work, not after it
    targets = log_primes(count)
    seen, aligned = measure(fields, length, count)
    peaks = seen.peaks.x
    p_phase, p_target = _significance(fields, job_uuid, seen, aligned, targets, draws)
    integers = integer_sequences(peaks, aligned.score, seen.x, count, job_uuid)
    return Profile(seen, aligned, p_phase, p_target, integers, ramp_gain(peaks, aligned, targets))


def _significance(
    fields: Complexes, job_uuid: UUID, seen: spectra.Spectrum, aligned: Aligned, targets: Reals, draws: int
) -> tuple[Significance, Significance]:
    if isinstance(aligned.score, Code):
        return aligned.score, aligned.score
    sequences = random_targets(job_uuid, targets)
    found = phase_draws(fields, job_uuid, targets, draws, sequences=sequences)
    rank = rank_among(seen.peaks.x, aligned.score, sequences, seen.x)
    return PValue(as_good(aligned.score, found), draws), PValue(int(np.count_nonzero(found.rank <= rank)), draws)
