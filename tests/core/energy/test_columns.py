"""The columns say what one stream at a time would say, however points are cut into batches and whoever stands beside."""

import numpy as np
import pytest

from core.energy import entropy, layout, regimes
from core.energy.columns import FATES, Findings, adopt, advance
from core.energy.layout import BYTES_PER_ROW, Block, Store
from tests.core.energy.scalar_stream import Stream


def store_of(size: int) -> Store:
    store = Store()
    for _ in range(size):
        store.add()
    return store


def feed(store: Store, points: list[tuple[int, float, float]]) -> Findings:
    rows, times, values = zip(*points, strict=True)
    advanced = advance(store, rows, times, values)
    adopt(store, advanced)
    return advanced.findings


def same(one: Store, other: Store) -> bool:
    return one.dump() == other.dump()


def bits(block: Block) -> tuple[bytes, ...]:
    return block.eights.tobytes(), block.fours.tobytes(), block.banks.tobytes()


def telemetry(seed: int, ticks: int) -> list[list[tuple[float, float]]]:
    """Streams with noise, ties, constants, shifts, gaps, repeats and points that are refused."""
    chance = np.random.default_rng(seed)
    noise = chance.normal(size=(6, ticks))
    shifted = noise[0] + 3 * (np.arange(ticks) > ticks * 0.6)
    walk = 1e4 + np.cumsum(noise[1])
    waves = 5 * np.sin(np.arange(ticks) / 9) + noise[2]
    kinds = [shifted, walk, waves, np.round(noise[3]), np.full(ticks, 7.25), np.where(np.arange(ticks) > 250, noise[5], 0.0)]
    return [_unruly(chance, kind.tolist()) for kind in kinds]


def _unruly(chance: np.random.Generator, values: list[float]) -> list[tuple[float, float]]:
    points, time = [], 1000.0
    for value in values:
        time += 5.0 * float(chance.choice([1, 1, 1, 1, 1, 1, 1.2, 3, 12], p=[0.14] * 7 + [0.015, 0.005]))
        points.append((time, value))
        match int(chance.integers(60)):
            case 0:
                points.append((time, value))
            case 1:
                points.append((time, value + 1))
            case 2:
                points.append((time - 2.0, value))
            case 3:
                points.append((time + 1.0, float("nan")))
    return points


def mixed(seed: int, ticks: int) -> list[tuple[int, float, float]]:
    """All of them, one after the other in turn."""
    streams = [(row, iter(points)) for row, points in enumerate(telemetry(seed, ticks))]
    found = []
    while streams:
        for each in list(streams):
            point = next(each[1], None)
            if point is None:
                streams.remove(each)
            else:
                found.append((each[0], *point))
    return found


def close(found: object, expected: object) -> bool:
    return bool(np.allclose(np.asarray(found, float), np.asarray(expected, float), rtol=1e-5, atol=1e-7))


@pytest.mark.parametrize(("seed", "pace"), [(1, 1.0), (2, 360.0)])
def test_the_columns_say_what_a_plain_stream_says(seed: int, pace: float) -> None:
    """With points that come seconds apart, and half an hour, where they have days."""
    points = [(row, pace * time, value) for row, time, value in mixed(seed, 700)]
    twins = [Stream(regimes.BOUNDS) for _ in range(6)]
    store = store_of(6)
    fates = []
    expected, halves, residuals = [], [], []
    for row, time, value in points:
        fate = twins[row].feed(time, value)
        fates.append(fate)
        good = fate == "accepted"
        expected.append(twins[row].expected if good else np.nan)
        halves.append(twins[row].half if good else 0.0)
        residuals.append(value - twins[row].slow_expected if good else 0.0)
    findings = feed(store, points)
    assert [FATES[fate] for fate in findings.fate] == fates
    assert set(fates) == set(FATES)
    good = findings.fate == 0
    assert close(findings.expected[good], np.array(expected)[good])
    assert close(findings.half, halves) and close(findings.residual, residuals)
    shifts = sorted((shift.row, shift.tick, shift.located, shift.scale) for shift in findings.shifts)
    assert shifts == sorted((row, *shift) for row, twin in enumerate(twins) for shift in twin.shifts)
    assert {shift[0] for shift in shifts} >= {0, 5}
    for row, twin in enumerate(twins):
        _compare(store.view(row), twin)


def test_a_stream_that_changes_all_the_time_has_higher_bounds() -> None:
    """Its shifts are those of the plain stream: of five changes three."""
    noise = np.random.default_rng(8).normal(size=900)
    twin, store = Stream(regimes.BOUNDS), store_of(1)
    points = [(0, 10.0 * tick, float(noise[tick]) + 4.0 * (tick // 170 % 2)) for tick in range(900)]
    for _, time, value in points:
        twin.feed(time, value)
    found = [(shift.tick, shift.located, shift.scale) for shift in feed(store, points).shifts]
    assert found == twin.shifts and len(found) == 3


def _compare(row: Block, twin: Stream) -> None:
    f8, f4, i4 = row.f8[:, 0], row.f4[:, 0], row.i4[:, 0]
    assert (i4[layout.COUNT], i4[layout.AGE], i4[layout.COOLDOWN]) == (twin.count, twin.age, twin.cooldown)
    assert (i4[layout.REGIME_COUNT], i4[layout.SYMBOL]) == (twin.regime_count, twin.symbol)
    assert np.allclose(f4[layout.HEAT_MEANS], twin.heat_means, rtol=1e-4, atol=1e-5)
    assert np.allclose(f4[layout.HEAT_VARIANCES], twin.heat_variances, rtol=1e-3, atol=1e-5)
    assert np.allclose(f4[layout.LAGGED], twin.lagged, rtol=1e-3, atol=1e-4 * max(float(twin.value_variances[4]), 1e-3))
    assert close(f4[layout.HOUR_OF], twin.hours)
    assert close([f4[layout.HOURS_HIT], f4[layout.HOURS_SIZE]], [twin.hours_hit, twin.hours_size])
    pairs: list[tuple[object, object]] = [
        (f8[layout.LAGS], twin.lags),
        (f8[layout.LEVEL_OF], twin.levels),
        (f8[[layout.MEAN, layout.LOW, layout.HIGH, layout.SPREAD]], [twin.mean, twin.low, twin.high, twin.spread]),
        (f8[[layout.INTEGRAL, layout.UNCOVERED]], [twin.integral, twin.uncovered]),
        (f8[layout.WEIGHTS], twin.weights),
        (f4[layout.LOSSES], twin.losses),
        (f4[[layout.HALF, layout.RESTLESS]], [twin.learnt_half, twin.restless]),
        (f4[[layout.STEP, layout.QUANTUM]], [twin.step, twin.quantum]),
        (f4[layout.VALUE_VARIANCES], twin.value_variances),
        (f4[layout.ORDERS], twin.orders),
        (f4[layout.PAIRS], twin.pairs),
    ]
    if twin.age > layout.WARM:
        pairs += [(f4[layout.QUANTILES], twin.quantiles), (f4[layout.SUMS], twin.sums), (i4[layout.SINCE], twin.since)]
    for found, expected in pairs:
        assert close(found, expected), (found, expected)


def test_how_points_are_cut_into_batches_changes_nothing() -> None:
    points = mixed(3, 420)
    whole, pieces = store_of(6), store_of(6)
    at_once = feed(whole, points)
    chance = np.random.default_rng(0)
    at, shifts, expected = 0, [], []
    while at < len(points):
        size = int(chance.choice([1, 2, 5, 64, 300]))
        findings = feed(pieces, points[at : at + size])
        shifts += findings.shifts
        expected += findings.expected.tolist()
        at += size
    assert same(whole, pieces)
    assert np.array(expected).tobytes() == at_once.expected.tobytes()
    assert sorted(shifts) == sorted(at_once.shifts)
    assert shifts


def test_who_stands_beside_a_stream_changes_nothing_for_it() -> None:
    points = mixed(4, 300)
    places = [4_095, 4_096, 3, 9_000, 17, 40]
    usual, scattered = store_of(6), store_of(9_001)
    feed(usual, points)
    feed(scattered, [(places[row], time, value) for row, time, value in points])
    for row, place in enumerate(places):
        assert bits(usual.view(row)) == bits(scattered.view(place))
    assert bits(scattered.view(1_000)) == bits(layout.fresh(1))


def test_working_something_out_changes_nothing_until_it_is_adopted() -> None:
    store, twin = store_of(6), store_of(6)
    points = mixed(5, 60)
    feed(store, points[:200])
    feed(twin, points[:200])
    rows, times, values = zip(*points[200:], strict=True)
    advanced = advance(store, rows, times, values)
    assert same(store, twin)
    adopt(store, advanced)
    assert not same(store, twin)


@pytest.mark.parametrize(
    ("time", "value", "fate"),
    [
        (20.0, 2.0, "repeated"),
        (20.0, 2.5, "conflicting"),
        (10.0, 1.0, "older"),
        (30.0, float("inf"), "unusable"),
        (30.0, -2e17, "unusable"),
        (float("nan"), 1.0, "unusable"),
    ],
)
def test_a_bad_point_is_refused_by_itself(time: float, value: float, fate: str) -> None:
    store, clean = store_of(2), store_of(2)
    for each in (store, clean):
        feed(each, [(0, 10.0, 1.0), (0, 20.0, 2.0), (1, 10.0, 5.0)])
    findings = feed(store, [(0, time, value), (0, 40.0, 4.0), (1, 20.0, 6.0)])
    feed(clean, [(0, 40.0, 4.0), (1, 20.0, 6.0)])
    assert [FATES[each] for each in findings.fate] == [fate, "accepted", "accepted"]
    assert same(store, clean)


@pytest.mark.filterwarnings("error")
def test_wild_values_leave_only_finite_figures() -> None:
    chance = np.random.default_rng(9)
    wild = [10.0 ** chance.uniform(-40, 17, 400) * chance.choice([-1, 1], 400) for _ in range(4)]
    wild += [
        np.where(chance.random(400) < 0.02, 1e17, 0.0),
        np.full(400, 1e17),
        np.full(400, 1e-300),
        np.linspace(-1e17, 1e17, 400),
    ]
    store = store_of(len(wild))
    feed(store, [(row, float(tick), float(values[tick])) for tick in range(400) for row, values in enumerate(wild)])
    block = store.take(np.arange(len(wild)))
    assert np.isfinite(block.f8).all() and np.isfinite(block.f4).all() and np.isfinite(block.bank).all()
    for figures in (entropy.quantised(block), entropy.permutation(block), entropy.irreversibility(block), entropy.gradient(block)):
        assert np.isfinite(figures).all()


def test_a_gap_is_told_and_left_out_of_the_integral() -> None:
    store = store_of(1)
    steady = [(0, 10.0 * tick, 100.0) for tick in range(10)]
    findings = feed(store, [*steady, (0, 115.0, 100.0), (0, 125.0, 100.0)])
    row = store.view(0)
    assert findings.gap.tolist() == [False] * 10 + [True, False]
    assert row.f8[layout.INTEGRAL, 0] == pytest.approx(100.0 * 100)
    assert row.f8[layout.UNCOVERED, 0] == pytest.approx(25.0)


def test_the_integral_is_the_trapezoid() -> None:
    store = store_of(1)
    feed(store, [(0, 0.0, 0.0), (0, 1.0, 10.0), (0, 2.0, 10.0), (0, 3.0, 4.0)])
    assert store.view(0).f8[layout.INTEGRAL, 0] == pytest.approx(5 + 10 + 7)


def test_what_was_dumped_is_loaded_and_goes_on_alike() -> None:
    points = mixed(6, 120)
    store = store_of(4_100)
    feed(store, points[:400])
    copy = Store.load(store.dump())
    assert copy is not None and same(copy, store)
    for each in (store, copy):
        feed(each, points[400:])
    assert same(copy, store)
    assert Store.load({**store.dump(), "format": "energy-rows-0"}) is None


def test_a_stream_that_was_given_up_leaves_nothing() -> None:
    store = store_of(2)
    feed(store, [*mixed(7, 50)[:2], (0, 5e3, 1.0)])
    store.clear(0)
    assert bits(store.view(0)) == bits(layout.fresh(1))


def test_a_row_is_no_larger_than_promised() -> None:
    assert BYTES_PER_ROW <= 1_000
    store = store_of(4_096)
    assert sum(chunk.eights.nbytes + chunk.fours.nbytes + chunk.banks.nbytes for chunk in store.chunks) == BYTES_PER_ROW * 4_096
