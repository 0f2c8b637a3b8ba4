"""Forecasts of one series with honest intervals: five kinds of expert, weighted by how well they did, and a conformal band.

Small and scalar, for series of hundreds of values (days of revenue). One causal pass: a forecast never sees what came after it.
The experts are naive, exponential smoothing (the best of four rates lately), an autoregression of order four and over the season
by recursive least squares, the running mean, and the last season once more. Weights follow w ∝ (L_min / L)^16 with L the running
mean absolute error of the very quantity that is forecast, as soon as some of it is settled, and of the next value before; the band
follows adaptive conformal inference (Gibbs and Candès, 2021) on the errors of that quantity.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

RATES = (0.05, 0.15, 0.35, 0.7)
ORDER = 4
SEASON = 7
"""Days of a week: a season that is declared, not searched for."""
LAGS: tuple[int, ...] = (*range(1, ORDER + 1), SEASON)
FORGET = 0.999
LOSS_KEPT = 0.98
SHARPNESS = 16
STEP = 0.15
MISS = 0.05
"""The share of outcomes that may lie outside the band."""
ERRORS_MIN = 8
"""Settled forecasts before a band is given at all."""
NAMES = ("naive", "smoothing", "autoregression", "mean", "week")


@dataclass
class Autoregression:
    """x ≈ c + Σ a x(t-k) over the lags, learnt by recursive least squares; clipped to what was seen and half of that range more."""

    weights: list[float] = field(default_factory=lambda: [0.0] * (len(LAGS) + 1))
    spread: list[list[float]] = field(
        default_factory=lambda: [[1000.0 if i == j else 0.0 for j in range(len(LAGS) + 1)] for i in range(len(LAGS) + 1)]
    )
    low: float = float("inf")
    high: float = float("-inf")

    def forecast(self, lately: Sequence[float]) -> float:
        """`lately` ends with the newest value, and is scaled as all of this class is."""
        raw = self.weights[0] + sum(weight * lately[-lag] for weight, lag in zip(self.weights[1:], LAGS, strict=True))
        margin = (self.high - self.low) / 2
        return min(max(raw, self.low - margin), self.high + margin)

    def learn(self, lately: Sequence[float], value: float) -> None:
        inputs = [1.0, *(lately[-lag] for lag in LAGS)]
        projected = [sum(p * x for p, x in zip(row, inputs, strict=True)) for row in self.spread]
        scale = FORGET + sum(p * x for p, x in zip(projected, inputs, strict=True))
        error = value - sum(weight * x for weight, x in zip(self.weights, inputs, strict=True))
        for i, gain in enumerate(p / scale for p in projected):
            self.weights[i] += gain * error
            self.spread[i] = [(old - gain * p) / FORGET for old, p in zip(self.spread[i], projected, strict=True)]

    def see(self, value: float) -> None:
        self.low, self.high = min(self.low, value), max(self.high, value)


class Experts:
    """All experts over one series, fed value by value."""

    def __init__(self, scale: float) -> None:
        self.scale = scale or 1.0
        self.seen = 0
        self.lately: list[float] = []
        self.total = 0.0
        self.levels = [0.0] * len(RATES)
        self.level_losses = [0.0] * len(RATES)
        self.losses = [0.0] * len(NAMES)
        self.auto = Autoregression()

    def see(self, value: float) -> None:
        value /= self.scale
        if self.seen:
            for k, said in enumerate(self._ahead(1)):
                self.losses[k] += (1 - LOSS_KEPT) * (abs(value - said[0]) - self.losses[k])
            for k, level in enumerate(self.levels):
                self.level_losses[k] += (1 - LOSS_KEPT) * (abs(value - level) - self.level_losses[k])
        self.auto.see(value)
        if len(self.lately) == SEASON:
            self.auto.learn(self.lately, value)
        if not self.seen:
            self.levels = [value] * len(RATES)
        self.levels = [level + rate * (value - level) for level, rate in zip(self.levels, RATES, strict=True)]
        self.lately = [*self.lately, value][-SEASON:]
        self.total += value
        self.seen += 1

    def totals(self, steps: int) -> list[float]:
        """What each expert says that the next values will add up to."""
        return [self.scale * sum(path) for path in self._ahead(steps)]

    def _ahead(self, steps: int) -> list[list[float]]:
        best = min(range(len(RATES)), key=self.level_losses.__getitem__)
        flat = [self.lately[-1], self.levels[best], self.total / self.seen]
        lately = list(self.lately)
        auto = []
        for _ in range(steps):
            auto.append(self.auto.forecast(lately) if len(lately) == SEASON else flat[2])
            lately = [*lately, auto[-1]][-SEASON:]
        naive, smooth, mean = ([value] * steps for value in flat)
        week = [self.lately[step % len(self.lately)] for step in range(steps)]
        return [naive, smooth, auto, mean, week]


def weights(losses: Sequence[float]) -> list[float]:
    least = min(losses)
    raw = [1.0 if loss <= 0 else (least / loss) ** SHARPNESS for loss in losses]
    return [each / sum(raw) for each in raw]


def _mixed(losses: Sequence[float], said: Sequence[float]) -> float:
    return sum(weight * each for weight, each in zip(weights(losses), said, strict=True))


@dataclass(frozen=True)
class Total:
    """The sum of the next values. Without enough settled forecasts there is no band: it would be invented."""

    expected: float
    low: float | None
    high: float | None
    weights: dict[str, float]
    settled: int
    """Earlier forecasts of the same kind whose outcome is known."""
    covered: int
    """Those whose outcome lay in the band that was given then."""


def total_of_next(series: Sequence[float], steps: int) -> Total:
    """The sum of the `steps` values after this series, with a band that 95 of 100 outcomes lie in."""
    if not series:
        return Total(0.0, None, None, {}, 0, 0)
    experts = Experts(max((abs(value) for value in series), default=1.0))
    past = _Past()
    open_forecasts: deque[tuple[int, float, list[float], float | None]] = deque()
    sums = [0.0]
    for place, value in enumerate(series):
        sums.append(sums[-1] + value)
        if open_forecasts and open_forecasts[0][0] + steps == place + 1:
            since, said, each, given = open_forecasts.popleft()
            past.settle(sums[place + 1] - sums[since], said, each, given)
        experts.see(value)
        if place + 1 >= ORDER:
            each = experts.totals(steps)
            open_forecasts.append((place + 1, _mixed(past.losses_or(experts.losses), each), each, past.band))
    losses = past.losses_or(experts.losses)
    expected = _mixed(losses, experts.totals(steps))
    low = None if past.band is None else expected - past.band
    high = None if past.band is None else expected + past.band
    return Total(expected, low, high, dict(zip(NAMES, weights(losses), strict=True)), past.judged, past.covered)


class _Past:
    """What became of the forecasts whose outcome is known."""

    def __init__(self) -> None:
        self.band: float | None = None
        self.settled = self.judged = self.covered = 0
        self._running = self._worst = 0.0
        self._losses = [0.0] * len(NAMES)

    def losses_or(self, first: list[float]) -> list[float]:
        """How far each expert was off in the quantity itself; before any is settled, what it was off by in the next value."""
        return self._losses if self.settled >= ERRORS_MIN else first

    def settle(self, outcome: float, said: float, each: Sequence[float], given: float | None) -> None:
        self.settled += 1
        error = abs(outcome - said)
        self._worst = max(self._worst, error)
        self._running += (error - self._running) / min(self.settled, 50)
        share = max(1 - LOSS_KEPT, 1 / self.settled)
        self._losses = [loss + share * (abs(outcome - one) - loss) for loss, one in zip(self._losses, each, strict=True)]
        if given is not None:
            self.judged += 1
            self.covered += error <= given
        if self.band is not None:
            self.band = max(0.0, self.band + STEP * max(self._running, self.band / 2) * ((error > self.band) - MISS))
        elif self.settled == ERRORS_MIN:
            self.band = self._worst
