"""Totals said in advance: what a source will have used, or made of entropy, when a claim falls due.

A claim is a rate, forecast from what was seen, times the time until then, with an interval that learns from the claims that were
settled. Beside it stand the same claims by three plain forecasters, each with its own interval: only what is better than the best
of them was worth saying. A claim is made before its outcome and judged once.
"""

from typing import NamedTuple

import msgspec

MISS = 0.05
WIDEN = 0.05
"""Neighbouring claims share most of their outcome, so the interval moves less with each than that of single steps."""
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


class Claim(msgspec.Struct, frozen=True, array_like=True):
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
    error = abs(outcome - said.expected)
    actual = (outcome - said.total) / said.horizon_s
    errors = tuple(abs(actual - rate) for rate in said.rates)
    scores = tuple(
        interval_score(each * said.horizon_s, half) / said.horizon_s for each, half in zip(errors[:3], said.halves, strict=True)
    )
    ours = interval_score(error, said.half) / said.horizon_s
    best = min(range(3), key=lambda k: known.scores[k])
    mean = known.scores[best]
    gain = min(max((scores[best] - ours) / mean, -1.0), 1.0) if known.settled and mean > 0 else 0.0
    covered = error <= said.half
    start = 1 / (known.settled + 1)
    rate = max(LOSS_RATE, start)
    after = Horizon(
        known.settled + 1,
        known.covered + covered,
        tuple(old + rate * (new - old) for old, new in zip(known.losses, errors, strict=True)),  # type: ignore[arg-type]
        known.loss + rate * (error / said.horizon_s - known.loss),
        known.halves,
        known.half,
        tuple(old + start * (new - old) for old, new in zip(known.scores, scores, strict=True)),  # type: ignore[arg-type]
    )
    return _widened(known, after, error / said.horizon_s, errors), Judged(covered, error, ours, scores[best], mean, gain)


def _widened(known: Horizon, after: Horizon, error: float, errors: tuple[float, ...]) -> Horizon:
    losses = (after.losses[0], after.losses[1], after.losses[2])
    if known.settled < START_CLAIMS:
        return after._replace(half=START * after.loss, halves=(START * losses[0], START * losses[1], START * losses[2]))
    naive, smoothing, mean = (_wider(half, loss, each) for half, loss, each in zip(known.halves, losses, errors[:3], strict=True))
    return after._replace(half=_wider(known.half, after.loss, error), halves=(naive, smoothing, mean))


def _wider(half: float, loss: float, error: float) -> float:
    return max(0.0, half + WIDEN * max(loss, half / 4) * ((error > half) - MISS))


def interval_score(error: float, half: float) -> float:
    """Width, and forty times what an outcome lies outside (Gneiting and Raftery, 2007): honest intervals pay best."""
    return 2 * half + 2 / MISS * max(error - half, 0.0)


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
