"""Forecasts with intervals that hold, and claims of totals that are judged once."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from core.energy import claims, forecast, generators, layout
from core.energy.claims import Horizon, Rates
from core.energy.columns import adopt, advance
from core.energy.layout import Store

Floats = NDArray[np.float64]


def forecasts(values: Floats, seconds: float = 1.0) -> tuple[Floats, Floats, Store]:
    store = Store()
    rows = np.array([store.add() for _ in range(values.shape[1])])
    expected, half = np.empty_like(values), np.empty_like(values)
    for tick, line in enumerate(values):
        advanced = advance(store, rows, np.full(len(rows), seconds * tick), line)
        expected[tick], half[tick] = advanced.findings.expected, advanced.findings.half
        adopt(store, advanced)
    return expected, half, store


def walks(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    return np.cumsum(chance.normal(size=(ticks, streams)), axis=0)


@pytest.mark.parametrize("kind", ["gaussian", "ar1", "t3", "poisson", "diurnal", "walk"])
def test_95_of_100_outcomes_lie_in_the_interval(kind: str) -> None:
    draw = generators.NULLS.get(kind, walks)
    values = draw(np.random.default_rng(3), 1_200, 32)
    expected, half, _ = forecasts(values)
    inside = np.abs(values - expected)[100:] <= half[100:]
    assert 0.94 <= inside.mean() <= 0.965
    assert ((inside.mean(axis=0) >= 0.93) & (inside.mean(axis=0) <= 0.975)).mean() >= 0.9


def test_a_wider_spread_widens_the_interval() -> None:
    values = generators.gaussian(np.random.default_rng(4), 1_200, 32)
    values[600:] *= 4
    expected, half, _ = forecasts(values)
    inside = np.abs(values - expected) <= half
    assert 0.93 <= inside[700:].mean() <= 0.97
    assert half[-1].mean() > 3 * half[590].mean()


def test_the_mix_is_hardly_worse_than_whoever_knows_what_is_coming() -> None:
    chance = np.random.default_rng(5)
    noise = chance.normal(size=(1_200, 24))
    second = np.zeros_like(noise)
    for tick in range(2, len(noise)):
        second[tick] = 1.6 * second[tick - 1] - 0.8 * second[tick - 2] + noise[tick]
    for values, best in ((noise, 0.798), (np.cumsum(noise, axis=0), 0.798), (second, 0.798)):
        expected, _, _ = forecasts(values)
        assert np.abs(values - expected)[400:].mean() <= 1.04 * best


def test_the_autoregression_never_leaves_what_was_seen_by_more_than_half() -> None:
    values = np.exp(np.arange(60) / 6)[:, None] * np.ones(2)
    store = Store()
    rows = np.array([store.add(), store.add()])
    for tick, line in enumerate(values):
        if tick:
            said = forecast.ahead(store.take(rows), forecast.hours_of(np.full(2, float(tick)))).experts[2]
            low, high = values[:tick].min(), values[:tick].max()
            assert (said <= high + (high - low) / 2 + 1e-9).all() and (said >= low - (high - low) / 2 - 1e-9).all()
        adopt(store, advance(store, rows, np.full(2, float(tick)), line))


@pytest.mark.parametrize("seconds", [3_600.0, 900.0])
def test_a_day_is_found_that_nobody_declared(seconds: float) -> None:
    """Every morning and evening something starts, to the hour: no autoregression of four points knows when."""
    ticks = round(20 * 86_400 / seconds)
    hours = (np.arange(ticks) * seconds / 3_600).astype(int) % 24
    values = np.random.default_rng(8).normal(size=(ticks, 8)) + 6.0 * np.isin(hours, (7, 8, 19))[:, None]
    with_days, _, _ = forecasts(values, seconds)
    without, _, _ = forecasts(values, 1.0)
    judged = slice(ticks // 4, None)
    share = np.abs(values - with_days)[judged].mean() / np.abs(values - without)[judged].mean()
    assert share < (0.75 if seconds == 3_600 else 0.97)


def test_where_days_are_alike_in_nothing_hours_cost_nothing() -> None:
    for draw in (generators.gaussian, walks):
        values = draw(np.random.default_rng(9), 1_000, 24)
        with_days, _, _ = forecasts(values, 3_600.0)
        without, _, _ = forecasts(values, 1.0)
        assert np.abs(values - with_days).mean() <= 1.01 * np.abs(values - without).mean()


def test_an_hour_that_went_wrong_yesterday_makes_nothing_unusual_and_no_shift() -> None:
    """What is subtracted before shifts are looked for, and what tells of unusual points, knows no hours."""
    values = generators.autoregressive(np.random.default_rng(10), 240, 4)
    values[120:126] += 9
    stores = [Store(), Store()]
    rows = np.arange(4)
    for store in stores:
        for _ in rows:
            store.add()
    for tick, line in enumerate(values):
        told = []
        for store, seconds in zip(stores, (1.0, 3_600.0), strict=True):
            advanced = advance(store, rows, np.full(4, seconds * tick), line)
            told.append((advanced.findings.residual.tobytes(), advanced.findings.alert.tobytes()))
            adopt(store, advanced)
        assert told[0] == told[1]


def test_weights_do_not_depend_on_the_unit() -> None:
    values = generators.autoregressive(np.random.default_rng(6), 400, 4)
    watts, _, one = forecasts(values + 10)
    milliwatts, _, other = forecasts(1024 * (values + 10))
    assert np.allclose(milliwatts, 1024 * watts, rtol=1e-9)
    rows = np.arange(4)
    assert np.allclose(forecast.weights_of(one.take(rows)), forecast.weights_of(other.take(rows)), rtol=1e-5)


def test_a_stream_in_which_nothing_happens_stays_sane() -> None:
    values = np.full((700, 2), 3.0)
    values[-1] = 5.0
    expected, half, store = forecasts(values)
    assert np.isfinite(store.take(np.arange(2)).f8).all()
    assert (expected[:-1] == 3.0).all() and (half[:-1] == 0).all()


def test_what_never_varies_in_some_way_does_not_let_the_gains_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up and down for ever tells nothing of most directions; forgetting makes the gains grow there, here fast enough to be seen."""
    monkeypatch.setattr(forecast, "FORGET", 0.97)
    _, _, store = forecasts(np.tile([1.0, -1.0], 600)[:, None])
    row = store.view(0)
    assert row.f8[layout.GAINS, 0].max() * row.f8[layout.SPREAD, 0] < 2e6


def test_a_rounded_sensor_is_never_believed_beyond_two_of_its_steps() -> None:
    values = np.full((300, 1), 20.0)
    values[::50] = 20.5
    _, half, _ = forecasts(values)
    assert (half[60:] >= 1.0).all()


def claimed(rates: Floats, horizon: int, seed: int = 0) -> tuple[float, Horizon, list[float]]:
    """Each step a claim of the sum of the next `horizon` rates, by naive, smoothing, mean and the true mean-reverting forecast."""
    totals = np.concatenate([[0.0], np.cumsum(rates)])
    known, level, covered, gains = Horizon(), float(rates[0]), 0, []
    waiting: list[tuple[int, claims.Claim]] = []
    for tick in range(1, len(rates) - horizon):
        while waiting and waiting[0][0] == tick:
            known, judged = claims.settle(known, waiting.pop(0)[1], float(totals[tick]))
            covered += judged.covered
            gains.append(judged.gain)
        level += 0.15 * (float(rates[tick - 1]) - level)
        last, mean = float(rates[tick - 1]), float(totals[tick]) / tick
        said = Rates(last, level, mean, claims.path_rate((last, 0, 0, 0), mean, (0.8, 0, 0, 0), -9e9, 9e9, horizon))
        waiting.append((tick + horizon, claims.claim(known, float(totals[tick]), said, float(horizon), 3.0)))
    return covered / known.settled, known, gains


def settled_plainly(known: Horizon, said: claims.Claim, outcome: float) -> Horizon:
    """What the intervals learn of an outcome, one figure like the other."""
    actual, missed = (outcome - said.total) / said.horizon_s, abs(outcome - said.expected)
    error = missed / said.horizon_s
    errors = [abs(actual - rate) for rate in said.rates]
    bands = zip(errors[:3], said.halves, strict=True)
    scores = [claims.interval_score(each * said.horizon_s, half) / said.horizon_s for each, half in bands]
    start = 1 / (known.settled + 1)

    def nearer(olds: Sequence[float], news: Sequence[float], rate: float) -> tuple[float, ...]:
        return tuple(old + rate * (new - old) for old, new in zip(olds, news, strict=True))

    def wider(half: float, loss: float, off: float) -> float:
        if known.settled < claims.START_CLAIMS:
            return claims.START * loss
        return max(0.0, half + claims.WIDEN * max(loss, half / 4) * ((off > half) - claims.MISS))

    *losses, loss = nearer((*known.losses, known.loss), (*errors, error), max(claims.LOSS_RATE, start))
    halves = tuple(map(wider, known.halves, losses, errors))
    half, told = wider(known.half, loss, error), nearer(known.scores, scores, start)
    return Horizon(known.settled + 1, known.covered + (missed <= said.half), tuple(losses), loss, halves, half, told)


def test_what_an_outcome_teaches_is_the_same_to_the_last_bit_however_it_is_written() -> None:
    draw, known = random.Random(2), Horizon()
    for total in range(100):
        rates = Rates(*(draw.gauss(1, 1) for _ in range(4)))
        said = claims.claim(known, float(total), rates, draw.uniform(1, 300), 0.5)
        outcome = total + said.horizon_s * draw.gauss(1, 0.5)
        after, judged = claims.settle(known, said, outcome)
        assert after == settled_plainly(known, said, outcome)
        best = min(range(3), key=lambda k: known.scores[k])
        assert judged.reference_mean == known.scores[best] and -1 <= judged.gain <= 1
        known = after


@pytest.mark.parametrize("kind", ["gaussian", "ar1", "diurnal"])
def test_95_of_100_claims_of_totals_hold(kind: str) -> None:
    share, known, _ = claimed(generators.NULLS[kind](np.random.default_rng(7), 4_000, 1)[:, 0] + 100, 30)
    assert 0.92 <= share <= 0.975
    assert known.settled > 3_900


def test_only_what_beats_every_plain_forecast_gains() -> None:
    chance = np.random.default_rng(8)
    _, _, skilled = claimed(generators.autoregressive(chance, 4_000, 1)[:, 0], 4)
    _, _, none = claimed(np.full(500, 3.0), 4)
    assert np.mean(skilled[500:]) > 0.01
    assert set(none) == {0.0}


def test_the_mix_is_no_worse_than_the_best_plain_forecast_of_what_hardly_changes() -> None:
    """Claims that overlap repeat one another: whoever learns from each as if it were new follows chance."""
    gains = []
    for seed in range(4):
        noise = np.random.default_rng([9, seed]).normal(size=2_500)
        values = np.zeros(len(noise))
        for tick in range(1, len(noise)):
            values[tick] = 0.99 * values[tick - 1] + noise[tick]
        gains.append(np.mean(claimed(values + 300, 30)[2][500:]))
    assert np.mean(gains) > -0.05


def test_a_path_comes_to_rest_at_the_mean() -> None:
    near = claims.path_rate((12.0, 10.0, 10.0, 10.0), 10.0, (0.5, 0.0, 0.0, 0.0), 0.0, 20.0, 1)
    far = claims.path_rate((12.0, 10.0, 10.0, 10.0), 10.0, (0.5, 0.0, 0.0, 0.0), 0.0, 20.0, 10_000)
    assert near == pytest.approx(11.0)
    assert far == pytest.approx(10.0002, abs=1e-6)
