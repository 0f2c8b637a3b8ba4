"""One stream, one point at a time, in plain Python: the obvious twin of core/energy's columns.

It says the rules again from scratch and slowly. Where the columns keep single precision this does too: a rank is a whole number and
may not depend on who counts.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np

f4 = np.float32
SCALES = (4, 16, 64, 256, 1024)
RATES = (0.05, 0.15, 0.35, 0.7)


_normal = NormalDist().inv_cdf


_DEVIATES = [_normal((i + 0.5) / 16) for i in range(16)]
_SIZE = math.sqrt(sum(each**2 for each in _DEVIATES) / 16)
SCORES = [f4(f4(each) / f4(_SIZE)) for each in _DEVIATES]
STRIDES = [f4(1.3 * math.sqrt(2 * math.pi) * math.exp(_normal((i + 1) / 16) ** 2 / 2) / 1.3489795003921634) for i in range(15)]
ORDERS = [
    (False, False, False),
    (True, False, False),
    (False, True, False),
    (True, False, True),
    (False, True, True),
    (True, True, True),
]


class Stream:
    """As of the columns, one row."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.count = 0
        self.age = -8
        self.cooldown = 65
        self.restless = f4(0)
        self.kept: list[Any] = []
        self.quantiles: list[Any] = []
        self.codes: list[int] = []
        self.begin_sums()
        self.step = f4(0)
        self.quantum = f4(0)
        self.integral = self.uncovered = 0.0
        self.level_losses, self.losses, self.slow, self.learnt_half = [f4(0)] * 4, [f4(0)] * 5, [f4(0)] * 4, f4(0)
        self.weights = [0.0] * 4
        self.gains = [[0.0] * 4 for _ in range(4)]
        self.spread = 0.0
        self.regime_count = 0
        self.value_means, self.value_variances = [f4(0)] * 5, [f4(0)] * 5
        self.heat_means, self.heat_variances, self.lagged = [f4(0)] * 3, [f4(0)] * 3, [f4(0)] * 3
        self.orders = [0.0] * 6
        self.pairs = [0.0] * 9
        self.terciles = [f4(0), f4(0)]
        self.hours, self.hours_hit, self.hours_size = [f4(0)] * 24, f4(0), f4(0)
        self.symbol = 0
        self.shifts: list[tuple[int, int, int]] = []

    def begin_sums(self) -> None:
        self.means, self.variances, self.sums = [f4(0)] * 5, [f4(1)] * 5, [f4(0)] * 5
        self.since = [self.count] * 5
        self.alert = 0.0

    def feed(self, time: float, value: float) -> str:
        if not (math.isfinite(time) and abs(value) <= 1e17):
            return "unusable"
        if self.count and time <= self.time:
            if time < self.time:
                return "older"
            return "repeated" if value == self.lags[0] else "conflicting"
        if not self.count:
            self.lags, self.levels = [value] * 4, [value] * 4
            self.mean = self.low = self.high = self.anchor = value
            self.time = time
        lost = self._clock(time, value)
        experts = self._experts()
        hour = min(int(time % 86_400 / 3_600), 23)
        hourly = [*experts[:2], self._with_hour(hour), experts[3]]
        self.expected = self._mix(hourly, self.losses[:4], 4)
        handicap = [loss * f4(each) for loss, each in zip(self.slow, (1.03, 1.03, 1.0, 1.0), strict=True)]
        self.slow_expected = self._mix(experts, handicap, 6)
        self.half = max(self.learnt_half, f4(2) * self.quantum)
        alarm = self._watch(value, lost)
        self._observe(value)
        self._learn(value, experts, hourly, hour, lost)
        self.time = time
        self.count += 1
        self.regime_count += 1
        if alarm is not None:
            self._restart(*alarm)
        if self.cooldown == 1:
            self.cooldown = 0
        return "accepted"

    def _clock(self, time: float, value: float) -> bool:
        passed = time - self.time
        step = passed if self.count == 1 else float(self.step)
        share = min(max(passed / max(step, 1e-9) - 1, -0.5), 0.5)
        self.step = f4(step * (1 + share / min(max(self.count, 1), 16)))
        if passed > 2 * step:
            self.uncovered += passed
        else:
            self.integral += passed * (value + self.lags[0]) / 2
        moved = f4(abs(value - self.lags[0]))
        if moved > 0 and (moved < self.quantum or self.quantum == 0):
            self.quantum = moved
        return passed > 8 * step

    def _experts(self) -> list[float]:
        best = min(range(4), key=lambda k: self.level_losses[k])
        margin = (self.high - self.low) / 2
        raw = self.mean + sum(w * (lag - self.mean) for w, lag in zip(self.weights, self.lags, strict=True))
        return [self.lags[0], self.levels[best], min(max(raw, self.low - margin), self.high + margin), self.mean]

    def _with_hour(self, hour: int) -> float:
        added = 0.0
        if self._has_days():
            share = self.hours_hit / max(self.hours_size, f4(1e-30))
            added = float(self.hours[hour] * min(max(share, f4(0)), f4(1)))
        margin = (self.high - self.low) / 2
        raw = self.mean + sum(w * (lag - self.mean) for w, lag in zip(self.weights, self.lags, strict=True))
        return min(max(raw + added, self.low - margin), self.high + margin)

    def _has_days(self) -> bool:
        return bool(self.count * float(self.step) >= 86_400 and self.step <= 21_600)

    def _learn_hour(self, hour: int, error: Any, lost: bool) -> None:
        lacked = self.hours[hour]
        error = lacked if lost else error
        days = min(max(f4(self.count * float(self.step)) / f4(86_400), f4(1)), f4(14))
        self.hours[hour] += min(self.step / f4(3_600), f4(1)) / days * (error - lacked)
        if self._has_days():
            self.hours_hit += f4(1 / 512) * (error * lacked - self.hours_hit)
            self.hours_size += f4(1 / 512) * (lacked * lacked - self.hours_size)

    @staticmethod
    def _mix(experts: list[float], losses: list[Any], squarings: int) -> float:
        tiny = f4(1e-30)
        ratios = [(min(losses) + tiny) / (loss + tiny) for loss in losses]
        for _ in range(squarings):
            ratios = [ratio * ratio for ratio in ratios]
        shares = [float(ratio) for ratio in ratios]
        return sum(share * expert for share, expert in zip(shares, experts, strict=True)) / sum(shares)

    def _watch(self, value: float, lost: bool) -> tuple[int, int] | None:
        golden = self.count * 0.6180339887 % 1.0
        width = max(1e-12 * abs(value), 1e-30, float(self.quantum))
        residual = f4(value - self.slow_expected + (golden - 0.5) * width)
        self.restless *= f4(1 - 1 / 512)
        alarm = None
        if self.age >= 31:
            alarm = self._rank(residual, lost)
        elif self.age >= 0:
            self.kept.append(residual)
            if len(self.kept) == 31:
                self.quantiles = sorted(self.kept)[1::2]
                self.kept = []
                self.begin_sums()
        self.age += 1
        self.cooldown -= self.cooldown > 1
        return alarm

    def _rank(self, residual: Any, lost: bool) -> tuple[int, int] | None:
        below = [quantile < residual for quantile in self.quantiles]
        code = sum(below)
        width = self.quantiles[11] - self.quantiles[3]
        rate = width / f4(min(self.age + 1, 4096))
        self.quantiles = [
            quantile + stride * (f4((i + 1) / 16) - f4(not under)) * rate
            for i, (quantile, stride, under) in enumerate(zip(self.quantiles, STRIDES, below, strict=True))
        ]
        self.codes = [*self.codes, code][-64:]
        score = SCORES[code]
        for k, scale in enumerate(SCALES):
            part = f4(2 / (scale + 1))
            away = score - self.means[k]
            self.means[k] += away * part
            self.variances[k] += (away * (score - self.means[k]) - self.variances[k]) * part
            self.variances[k] = max(self.variances[k], f4(1e-6))
            gain = self.means[k] * self.means[k] + self.variances[k] - np.log(self.variances[k]) - f4(1 + 4 / scale)
            self.sums[k] = max(f4(0), self.sums[k] + gain)
            if self.age < max(128, 4 * scale):
                self.sums[k] = f4(0)
            if lost and k < 3:
                self.means[k], self.variances[k], self.sums[k] = f4(0), f4(1), f4(0)
            if self.sums[k] <= 0:
                self.since[k] = self.count
        ratios = [float(total / f4(bound)) for total, bound in zip(self.sums, self.bounds, strict=True)]
        self.alert = max(ratios) / float(max(self.restless, f4(1)) ** 2)
        if self.alert <= 1 or self.age + 1 <= 31 or self.cooldown > 0:
            return None
        scale = ratios.index(max(ratios))
        return scale, self._located(self.count - self.since[scale])

    def _located(self, since: int) -> int:
        newest_first = [float(SCORES[code]) for code in reversed(self.codes[-min(64, self.age + 1 - 31) :])]
        gains = []
        for number in range(1, len(newest_first) + 1):
            part = newest_first[:number]
            mean = sum(part) / number
            variance = max(sum(each * each for each in part) / number - mean * mean, 0.05)
            gains.append(number * (mean * mean + variance - 1 - math.log(variance)) if number > 3 else 0.0)
        best = gains.index(max(gains)) + 1
        older = best >= len(gains) - 1 or (since > len(gains) and gains[-1] >= max(gains) / 2)
        return since if older and since > best else best

    def _observe(self, value: float) -> None:
        moved = f4(value - self.anchor)
        start = f4(1) / f4(self.count + 1)
        for k, scale in enumerate(SCALES):
            rate = max(f4(1 / scale), start)
            away = moved - self.value_means[k]
            self.value_means[k] += rate * away
            self.value_variances[k] += rate * (away * (moved - self.value_means[k]) - self.value_variances[k])
        self._heat(value)
        rate = float(max(f4(1 / 1024), start))
        older, newer = self.lags[1], self.lags[0]
        seen = ORDERS.index((older < newer, newer < value, older < value))
        self.orders = [old + rate * ((k == seen) - old) for k, old in enumerate(self.orders)]
        self._pair(moved, rate)

    def _heat(self, value: float) -> None:
        spread = math.sqrt(float(self.value_variances[4]))
        away = f4(value - self.anchor) - self.value_means[4]
        energy = min(0.5 * float(away / f4(spread)) ** 2, 50.0) if spread > 0 else 0.0
        for k, scale in enumerate((1, 2, 4)):
            rate = max(1 / SCALES[scale], 1 / (self.count + 1))
            off = energy - float(self.heat_means[k])
            self.heat_means[k] = f4(self.heat_means[k] + rate * off)
            self.heat_variances[k] += f4(rate * (off * (energy - float(self.heat_means[k])) - float(self.heat_variances[k])))
            centre = float(self.value_means[scale])
            both = (value - self.anchor - centre) * (self.lags[0] - self.anchor - centre)
            self.lagged[k] += f4(rate * (both - float(self.lagged[k])))

    def _pair(self, moved: Any, rate: float) -> None:
        symbol = sum(moved >= each for each in self.terciles)
        pair = 3 * self.symbol + int(symbol)
        self.pairs = [old + rate * ((k == pair) - old) for k, old in enumerate(self.pairs)]
        self.symbol = int(symbol)
        spread = math.sqrt(float(self.value_variances[4]))
        self.terciles = [
            f4(each + f4(2.75 * rate * spread) * (f4(moved >= each) - f4(1 - share)))
            for each, share in zip(self.terciles, (1 / 3, 2 / 3), strict=True)
        ]

    def _learn(self, value: float, experts: list[float], hourly: list[float], hour: int, lost: bool) -> None:
        start = f4(1) / f4(max(self.count, 1))
        rate = max(f4(0.02), start)
        errors = [f4(abs(value - each)) for each in (*hourly, self.expected)]
        for k, error in enumerate(errors):
            self.losses[k] += rate * (error - self.losses[k])
        outside = f4(errors[4] > self.learnt_half)
        wider = max(f4(0.15), rate) * self.losses[4] * (outside - f4(0.05))
        self.learnt_half = max(f4(0), self.learnt_half + wider)
        least = min(self.slow)
        most = f4(6) * least if self.age >= 128 and least > 0 else f4("inf")
        self._learn_hour(hour, min(max(f4(value - experts[2]), -most), most), lost)
        errors[2] = f4(abs(value - experts[2]))
        for k, error in enumerate(errors[:4]):
            error = min(error, most)
            slow = max(f4(1 / 2048), f4(1) / f4(max(self.age, 1))) * f4(1 if self.alert < 0.25 else 1 / 4)
            self.slow[k] += slow * (error - self.slow[k])
            self.level_losses[k] += rate * (f4(abs(value - self.levels[k])) - self.level_losses[k])
        self._regress(value - self.mean, lost)
        self.levels = [level + share * (value - level) for level, share in zip(self.levels, RATES, strict=True)]
        self.mean += (value - self.mean) / min(self.regime_count + 1, 4096)
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.lags = [value] * 4 if lost else [value, *self.lags[:3]]

    def _regress(self, target: float, lost: bool) -> None:
        inputs = [lag - self.mean for lag in self.lags]
        along = [sum(gain * each for gain, each in zip(row, inputs, strict=True)) for row in self.gains]
        scale = 0.999 + sum(a * x for a, x in zip(along, inputs, strict=True))
        error = 0.0 if lost else target - sum(w * x for w, x in zip(self.weights, inputs, strict=True))
        self.weights = [w + a * error / scale for w, a in zip(self.weights, along, strict=True)]
        self.gains = [[self.gains[i][j] - along[i] * along[j] / scale for j in range(4)] for i in range(4)]
        forget = 0.999 if sum(self.gains[i][i] for i in range(4)) * self.spread < 1e6 else 1.0
        self.gains = [[gain / forget for gain in row] for row in self.gains]
        self.spread += (target * target - self.spread) * max(1 / 512, 1 / max(self.regime_count, 1))
        if self.gains[0][0] == 0 and self.count >= 4 and self.spread > 0:
            self.gains = [[10.0 / self.spread if i == j else 0.0 for j in range(4)] for i in range(4)]

    def _restart(self, scale: int, ticks: int) -> None:
        self.shifts.append((self.count, self.count - ticks, SCALES[scale]))
        self.age = 0
        self.restless += f4(1)
        self.cooldown = max(32, SCALES[scale]) + 1
        self.mean = self.anchor + float(self.value_means[scale])
        self.spread = float(self.value_variances[scale])
        self.regime_count = 0
