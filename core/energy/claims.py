"""Totals said in advance: what a source will have used, or made of entropy, when a claim falls due.

A claim is a rate, forecast from what was seen, times the time until then, with an interval that learns from the claims that were
settled. Beside it stand the same claims by three plain forecasters, each with its own interval: only what is better than the best
of them was worth saying. A claim is made before its outcome and judged once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

MISS = 0.05
WIDEN = 0.05
"""Neighbouring claims share most of their outcome, so the interval moves less with each than that of single steps."""
FINE = 2 / MISS
LOSS_RATE = 0.005
"""Claims made at every point share most of their outcome: of two hundred in a row only a few say something of their own."""
SQUARINGS = 4
"""What was off by so much is believed less by the sixteenth power of that: squared, for no two machines raise to a power alike."""
RARE = 2.5
"""How much wider the interval is that 999 of 1,000 outcomes lie in."""
START = 2.5
"""The first intervals, in running errors: that of a bell curve."""
START_CLAIMS = 32
REFERENCES = ("naive", "smoothing", "mean")
PATH_MAX = 32
"""Steps that the autoregression is followed; it has come to rest by then."""


class Rates(NamedTuple):
    """What each forecaster expects of the rate until the claim is due, per second."""

    naive: float
    smoothing: float
    mean: float
    autoregression: float


class Horizon(NamedTuple):
    """What settled claims of one total of one source have taught, all per second of the horizon. Never changed."""

    settled: int = 0
    covered: int = 0
    losses: tuple[float, float, float, float] = (0.0,) * 4
    loss: float = 0.0
    halves: tuple[float, float, float] = (0.0,) * 3
    half: float = 0.0
    scores: tuple[float, float, float] = (0.0,) * 3
    """Running mean interval score of the references."""


class Claim(msgspec.Struct, frozen=True, array_like=True, gc=False):
    total: float
    """When the claim was made."""
    horizon_s: float
    expected: float
    half: float
    """Of the 95 % interval."""
    half_rare: float
    """Of the 99.9 % interval."""
    rates: Rates
    halves: tuple[float, float, float]
    """Of the references."""


class Judged(NamedTuple):
    covered: bool
    error: float
    score: float
    """Interval score of the 95 % interval: less is better."""
    reference: float
    """Of the reference that was best so far, on this claim."""
    reference_mean: float
    """Its running mean: what a gain is measured in."""
    gain: float
    """Within -1 and 1."""


def path_rate(last: tuple[float, ...], mean: float, weights: tuple[float, ...], low: float, high: float, steps: int) -> float:
    """The mean of what an autoregression expects of the next steps; `last` has the newest value first."""
    one, two, three, four = last
    one, two, three, four = one - mean, two - mean, three - mean, four - mean
    by_one, by_two, by_three, by_four = weights
    margin = (high - low) / 2
    least, most = low - margin, high + margin
    total = 0.0
    walked = max(1, min(steps, PATH_MAX))
    value = 0.0
    for _ in range(walked):
        value = by_one * one + by_two * two + by_three * three + by_four * four + mean
        value = (least if value < least else most if value > most else value) - mean
        one, two, three, four = value, one, two, three
        total += value
    return mean + (total + value * (steps - walked) if steps > walked else total) / max(steps, 1)


def claim(known: Horizon, total: float, rates: Rates, horizon_s: float, doubt: float, least: float = 0.0) -> Claim:
    """`doubt` is half the width of the interval of a single step, per second: the width before anything was settled. No interval is
    narrower than `least` to each side.
    """
    rate = _mixed(known.losses, rates)
    half = known.half if known.settled else doubt
    one, two, three = known.halves if known.settled else (doubt, doubt, doubt)
    halves = (max(one * horizon_s, least), max(two * horizon_s, least), max(three * horizon_s, least))
    rare = max(RARE * half * horizon_s, RARE * least)
    return Claim(total, horizon_s, total + rate * horizon_s, max(half * horizon_s, least), rare, rates, halves)


def settle(known: Horizon, said: Claim, outcome: float) -> tuple[Horizon, Judged]:
    """The total when it was due."""
    seconds = said.horizon_s
    error, actual = abs(outcome - said.expected), (outcome - said.total) / seconds
    best = known.scores.index(min(known.scores))
    usual = known.scores[best]
    reference = interval_score(abs(actual - said.rates[best]) * seconds, said.halves[best]) / seconds
    ours = interval_score(error, said.half) / seconds
    gain = min(max((reference - ours) / usual, -1.0), 1.0) if known.settled and usual > 0 else 0.0
    after = learned(known, (said.total, seconds, said.expected, said.half, said.half_rare, *said.rates, *said.halves), outcome)
    return after, Judged(error <= said.half, error, ours, reference, usual, gain)


def learned(known: Horizon, figures: Sequence[float], outcome: float) -> Horizon:
    """What a claim teaches, of which these are the figures, one after the other."""
    total, seconds, expected, half, _, naive, smoothing, mean, autoregression, half_one, half_two, half_three = figures
    settled, error, actual = known.settled, abs(outcome - expected), (outcome - total) / seconds
    one, two, three, four = abs(actual - naive), abs(actual - smoothing), abs(actual - mean), abs(actual - autoregression)
    scored_one = interval_score(one * seconds, half_one) / seconds
    scored_two = interval_score(two * seconds, half_two) / seconds
    scored_three = interval_score(three * seconds, half_three) / seconds
    covered = error <= half
    start = 1 / (settled + 1)
    rate = max(LOSS_RATE, start)
    off = error / seconds
    was_one, was_two, was_three, was_four = known.losses
    loss = known.loss + rate * (off - known.loss)
    loss_one, loss_two = was_one + rate * (one - was_one), was_two + rate * (two - was_two)
    loss_three, loss_four = was_three + rate * (three - was_three), was_four + rate * (four - was_four)
    if settled < START_CLAIMS:
        half, halves = START * loss, (START * loss_one, START * loss_two, START * loss_three)
    else:
        half_one, half_two, half_three = known.halves
        half = _wider(known.half, loss, off)
        halves = (_wider(half_one, loss_one, one), _wider(half_two, loss_two, two), _wider(half_three, loss_three, three))
    score_one, score_two, score_three = known.scores
    return Horizon(
        settled + 1,
        known.covered + covered,
        (loss_one, loss_two, loss_three, loss_four),
        loss,
        halves,
        half,
        (
            score_one + start * (scored_one - score_one),
            score_two + start * (scored_two - score_two),
            score_three + start * (scored_three - score_three),
        ),
    )


def _wider(half: float, loss: float, error: float) -> float:
    wider = half + WIDEN * (loss if loss > half / 4 else half / 4) * ((error > half) - MISS)
    return wider if wider > 0.0 else 0.0


def interval_score(error: float, half: float) -> float:
    """Width, and forty times what an outcome lies outside (Gneiting and Raftery, 2007): honest intervals pay best."""
    return 2 * half + FINE * (error - half if error > half else 0.0)


def _mixed(losses: tuple[float, ...], rates: Rates) -> float:
    if not any(rates):
        return 0.0  # nothing that anybody expects: so it is whoever is believed
    least = min(losses)
    one, two, three, four = [1.0 if loss <= 0 else _weight(least / loss) for loss in losses]
    expected = one * rates.naive + two * rates.smoothing + three * rates.mean + four * rates.autoregression
    return expected / (one + two + three + four)


def _weight(share: float) -> float:
    for _ in range(SQUARINGS):
        share *= share
    return share
