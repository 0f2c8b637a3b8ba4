"""Is it true what was predicted, and could the sensors have told a lie: the tri-check, the verdict, and what a good claim earns.

A check that cannot fail is no check: it answers `vacuous`, and vacuous is never taken for passed. Nothing here reads a clock or a
log; the engine brings the claim as it was issued, and the evidence that it gathered itself.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

K = 4.0
"""How many spreads a residual may be from what the model says."""
ENTROPY_K = 3.0
EVIDENCE_K = 3.0
"""How many spreads a caller's account may be from our own points."""
POWER_LOW, POWER_HIGH = 0.8, 1.1
"""Of idle and of full power: what a sensor may say at all."""
AGREEMENT = 0.5
"""Of the range between idle and full power: how far power may be from what the utilisation says."""

MARGIN = 0.02
"""A claim has to gain this much to count, so that luck does not pay."""
OUTCOMES_KEPT = 200
PSEUDO_MISSES = 10
SAVINGS_MOST = 0.5

Outcome = Literal["pass", "fail", "vacuous"]
Word = Literal["valid", "invalid", "vacuous", "unverified", "not-due"]


class Check(NamedTuple):
    outcome: Outcome
    reason: str
    """A code: what decided."""
    value: float | None = None
    limit: float | None = None


class Balance(NamedTuple):
    """The first law over one step of an identified node, and over the last 32. None of it is given where no model is."""

    residual_j: float
    spread_j: float
    mean_j: float
    mean_spread_j: float


class Production(NamedTuple):
    """Entropy made in one step, with power and temperature measured apart from each other."""

    joules_per_kelvin: float
    spread: float
    claimed_spread: float
    sensor_step: float


class Feasible(NamedTuple):
    """What of one step limits are known for; None where one is not known or not measured."""

    power_w: float | None = None
    idle_w: float | None = None
    max_w: float | None = None
    warming_k: float | None = None
    warming_max_k: float | None = None
    stored_j: float | None = None
    given_off_w: float | None = None
    seconds: float | None = None
    utilisation: float | None = None
    power_derived: bool = False
    """Whether power was worked out from utilisation, so that the two must agree."""


def energy(balance: Balance | None, *, why: str = "no-model") -> Check:
    if balance is None or not balance.spread_j > 0 or not balance.mean_spread_j > 0:
        return Check("vacuous", why)
    step, mean = abs(balance.residual_j) / balance.spread_j, abs(balance.mean_j) / balance.mean_spread_j
    if not math.isfinite(step) or step > K:
        return Check("fail", "step", step, K)
    return Check("pass" if mean <= K else "fail", "mean", mean, K)


def entropy(production: Production | None, *, why: str = "one-sensor") -> Check:
    if production is None:
        return Check("vacuous", why)
    if production.claimed_spread < production.sensor_step:
        return Check("fail", "sharper-than-sensor", production.claimed_spread, production.sensor_step)
    limit = -ENTROPY_K * production.spread
    holds = production.joules_per_kelvin >= limit
    return Check("pass" if holds else "fail", "production", production.joules_per_kelvin, limit)


def feasibility(step: Feasible) -> Check:
    """Passes if every limit that is known holds; the first that does not is told."""
    known = list(_limits(step))
    if not known:
        return Check("vacuous", "no-limits")
    return next((check for check in known if check.outcome == "fail"), known[0])


def _limits(step: Feasible) -> Iterable[Check]:
    if step.power_w is not None and step.idle_w is not None:
        yield _at_least("power-low", step.power_w, POWER_LOW * step.idle_w)
    if step.power_w is not None and step.max_w is not None:
        yield _at_most("power-high", step.power_w, POWER_HIGH * step.max_w)
    if step.warming_k is not None and step.warming_max_k is not None:
        yield _at_most("slew", abs(step.warming_k), step.warming_max_k)
    if None not in (step.stored_j, step.given_off_w, step.seconds, step.max_w):
        assert step.stored_j is not None and step.given_off_w is not None
        assert step.seconds is not None and step.max_w is not None
        yield _at_most("stored", step.stored_j, max(step.max_w - step.given_off_w, 0.0) * step.seconds)
    if None not in (step.power_w, step.idle_w, step.max_w, step.utilisation) and not step.power_derived:
        assert step.power_w is not None and step.idle_w is not None
        assert step.max_w is not None and step.utilisation is not None
        expected = step.idle_w + (step.max_w - step.idle_w) * step.utilisation
        yield _at_most("utilisation", abs(step.power_w - expected), AGREEMENT * (step.max_w - step.idle_w))


def _at_most(reason: str, value: float, limit: float) -> Check:
    return Check("pass" if value <= limit else "fail", reason, value, limit)


def _at_least(reason: str, value: float, limit: float) -> Check:
    return Check("pass" if value >= limit else "fail", reason, value, limit)


# --- the verdict ------------------------------------------------------------------------------------------------------------


class Band(NamedTuple):
    """A claim about one quantity: what is expected, and where it lies in 95 and in 99.9 of 100 cases."""

    value: float
    low: float
    high: float
    wide_low: float
    wide_high: float


class State(NamedTuple):
    energy: float
    entropy: float


class Own(NamedTuple):
    """What irer's own points say of the moment a claim is about, with their spreads."""

    energy: float
    entropy: float
    energy_spread: float
    entropy_spread: float


class Verdict(NamedTuple):
    word: Word
    reason: str
    energy_error: float
    """In percent of the actual value."""
    entropy_error: float
    hit: bool
    """Whether both lie within the 95 % interval."""


def judge(claimed: tuple[Band, Band], told: State, own: Own | None, checks: Sequence[Check]) -> Verdict:
    """The verdict on a claim that is due. `checks` are energy, entropy and feasibility, in this order."""
    energy_band, entropy_band = claimed
    actual = State(own.energy, own.entropy) if own is not None else told
    spreads = (own.energy_spread, own.entropy_spread) if own is not None else (0.0, 0.0)
    errors = [percent_off(band.value, value, spread) for band, value, spread in zip(claimed, actual, spreads, strict=True)]
    hit = all(band.low <= value <= band.high for band, value in zip(claimed, actual, strict=True))
    within = energy_band.wide_low <= actual.energy <= energy_band.wide_high
    within = within and entropy_band.wide_low <= actual.entropy <= entropy_band.wide_high
    return Verdict(*_word(told, own, within, checks), errors[0], errors[1], hit)


def _word(told: State, own: Own | None, within: bool, checks: Sequence[Check]) -> tuple[Word, str]:
    if own is None:
        return "unverified", "no-points"
    if (
        abs(told.energy - own.energy) > EVIDENCE_K * own.energy_spread
        or abs(told.entropy - own.entropy) > EVIDENCE_K * own.entropy_spread
    ):
        return "invalid", "evidence-mismatch"
    failed = next((check for check in checks if check.outcome == "fail"), None)
    if failed is not None:
        return "invalid", failed.reason
    if all(check.outcome == "vacuous" for check in checks[:2]):
        return "vacuous", "no-physics"
    return ("valid", "within") if within else ("invalid", "outside-interval")


def percent_off(claimed: float, actual: float, spread: float) -> float:
    """Of the actual value, which counts as at least one spread."""
    scale = max(abs(actual), spread)
    if scale == 0:
        return 0.0 if claimed == actual else 100.0
    return 100 * abs(claimed - actual) / scale


# --- what it earns ----------------------------------------------------------------------------------------------------------


def interval_score(low: float, high: float, actual: float, miss: float = 0.05) -> float:
    """Width, and a fine for what lies outside (Gneiting and Raftery, 2007): honest intervals score best."""
    beyond = low - actual if actual < low else actual - high if actual > high else 0.0
    return high - low + 2 / miss * beyond


def gain(score: float, reference: float, mean_reference: float) -> float:
    """How much better a claim was than the best naive one, between -1 and 1."""
    return min(max((reference - score) / mean_reference, -1.0), 1.0) if mean_reference > 0 else 0.0


class Record:
    """How a predictor does on one source: what it gained so far, the most it ever had, and how often its intervals held."""

    def __init__(self, gained: float = 0.0, most: float = 0.0, hits: Iterable[bool] = ()) -> None:
        self.gained = gained
        self.most = most
        self.hits: deque[bool] = deque(hits, OUTCOMES_KEPT)

    def settle(self, gained: float, hit: bool) -> float:
        """Take up one settled claim; answer by how much it lifted the mark, which is what may be minted for."""
        self.hits.append(hit)
        self.gained, self.most, rise = lifted(self.gained, self.most, gained)
        return rise

    @property
    def confidence(self) -> float:
        return confidence(sum(self.hits), len(self.hits))


def lifted(gained: float, most: float, gain: float) -> tuple[float, float, float]:
    """An account after one settled claim, the most it ever had, and by how much that has risen."""
    gained += gain - MARGIN
    rise = max(gained - most, 0.0)
    return gained, most + rise, rise


def confidence(hits: int, outcomes: int) -> float:
    """The share of the last outcomes that lay in their interval."""
    return hits / (outcomes + PSEUDO_MISSES)


def minted_micro(base_micro: int, rise: float, confidence: float, saved_share: float | None) -> int:
    """Whole micro-units of PFT. `saved_share` counts only where it was measured."""
    return math.floor(base_micro * rise * confidence * savings(saved_share))


def savings(saved_share: float | None) -> float:
    return 1 + min(max(saved_share or 0.0, 0.0), SAVINGS_MOST)
