"""Forecasts of one series with honest intervals: four kinds of expert, weighted by how well they did, and a conformal band.

Small and scalar, for series of hundreds of values (days of revenue). One causal pass: a forecast never sees what came after it.
The experts are naive, exponential smoothing (the best of four rates lately), an autoregression of order four by recursive least
squares, and the running mean. Weights follow w ∝ (L_min / L)^16 with L the running mean absolute error; the band follows
adaptive conformal inference (Gibbs and Candès, 2021) on the errors of the very quantity that is forecast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

RATES = (0.05, 0.15, 0.35, 0.7)
ORDER = 4
FORGET = 0.999
LOSS_KEPT = 0.98
SHARPNESS = 16
STEP = 0.15
MISS = 0.05
"""The share of outcomes that may lie outside the band."""
ERRORS_MIN = 8
"""Settled forecasts before a band is given at all."""
NAMES = ("naive", "smoothing", "autoregression", "mean")


@dataclass
class Autoregression:
    """x ≈ c + Σ a x(t-k), learnt by recursive least squares; clipped to what was seen and half of that range more."""

    weights: list[float] = field(default_factory=lambda: [0.0] * (ORDER + 1))
    spread: list[list[float]] = field(
        default_factory=lambda: [[1000.0 if i == j else 0.0 for j in range(ORDER + 1)] for i in range(ORDER + 1)]
    )
    low: float = float("inf")
    high: float = float("-inf")

    def forecast(self, lately: Sequence[float]) -> float:
        """`lately` ends with the newest value, and is scaled as all of this class is."""
        raw = self.weights[0] + sum(weight * value for weight, value in zip(self.weights[1:], reversed(lately), strict=True))
        margin = (self.high - self.low) / 2
        return min(max(raw, self.low - margin), self.high + margin)

    def learn(self, lately: Sequence[float], value: float) -> None:
        inputs = [1.0, *reversed(lately)]
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
        if len(self.lately) == ORDER:
            self.auto.learn(self.lately, value)
        if not self.seen:
            self.levels = [value] * len(RATES)
        self.levels = [level + rate * (value - level) for level, rate in zip(self.levels, RATES, strict=True)]
        self.lately = [*self.lately, value][-ORDER:]
        self.total += value
        self.seen += 1

    def weights(self) -> dict[str, float]:
        least = min(self.losses)
        raw = [1.0 if loss <= 0 else (least / loss) ** SHARPNESS for loss in self.losses]
        return {name: each / sum(raw) for name, each in zip(NAMES, raw, strict=True)}

    def path(self, steps: int) -> list[float]:
        """The mix of all experts, so many steps ahead."""
        weights = list(self.weights().values())
        paths = self._ahead(steps)
        return [self.scale * sum(w * path[step] for w, path in zip(weights, paths, strict=True)) for step in range(steps)]

    def _ahead(self, steps: int) -> list[list[float]]:
        best = min(range(len(RATES)), key=self.level_losses.__getitem__)
        flat = [self.lately[-1], self.levels[best], self.total / self.seen]
        lately = list(self.lately)
        auto = []
        for _ in range(steps):
            auto.append(self.auto.forecast(lately) if len(lately) == ORDER else flat[2])
            lately = [*lately, auto[-1]][-ORDER:]
        naive, smooth, mean = ([value] * steps for value in flat)
        return [naive, smooth, auto, mean]


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
    experts = Experts(max((abs(value) for value in series), default=1.0))
    open_forecasts: list[tuple[int, float, float | None]] = []
    band: float | None = None
    running = 0.0
    settled = covered = judged = 0
    worst = 0.0
    sums = [0.0]
    for place, value in enumerate(series):
        sums.append(sums[-1] + value)
        while open_forecasts and open_forecasts[0][0] + steps == place + 1:
            since, said, given = open_forecasts.pop(0)
            error = abs(sums[place + 1] - sums[since] - said)
            settled += 1
            worst = max(worst, error)
            running = error if settled == 1 else running + (error - running) / min(settled, 50)
            if given is not None:
                judged += 1
                covered += error <= given
            if band is not None:
                band = max(0.0, band + STEP * max(running, band / 2) * ((error > band) - MISS))
            elif settled == ERRORS_MIN:
                band = worst
        experts.see(value)
        if place + 1 >= ORDER:
            open_forecasts.append((place + 1, sum(experts.path(steps)), band))
    expected = sum(experts.path(steps)) if series else 0.0
    low = None if band is None else expected - band
    high = None if band is None else expected + band
    return Total(expected, low, high, experts.weights() if series else {}, judged, covered)
