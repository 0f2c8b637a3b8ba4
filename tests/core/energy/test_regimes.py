"""How often a stream in which nothing happens is said to have changed, how soon a change is told, and where it is said to be."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from core.energy import generators, quantiles, regimes
from core.energy.columns import Shift, adopt, advance
from core.energy.layout import Codes, Flags, Singles, Store

pytestmark = pytest.mark.slow

ARL = 1e5
STREAMS = 24
TICKS = 5_000


def shifts_of(values: NDArray[np.float64]) -> list[Shift]:
    """One line a tick, one column a stream."""
    store = Store()
    rows = np.array([store.add() for _ in range(values.shape[1])])
    found = []
    for tick, line in enumerate(values):
        advanced = advance(store, rows, np.full(len(rows), float(tick)), line)
        adopt(store, advanced)
        found += advanced.findings.shifts
    return found


def alarms(names: list[str], ticks: int, streams: int, seed: int = 5) -> dict[str, float]:
    """False ones per 100,000 ticks."""
    chance = np.random.default_rng(seed)
    values = np.concatenate([generators.NULLS[name](chance, ticks, streams) for name in names], axis=1)
    counts = dict.fromkeys(names, 0)
    for shift in shifts_of(values):
        counts[names[shift.row // streams]] += 1
    return {name: count / (ticks * streams) * 1e5 for name, count in counts.items()}


def test_where_nothing_changes_hardly_anything_is_told() -> None:
    found = alarms(list(generators.NULLS), TICKS, STREAMS)
    assert max(found.values()) <= 4.2, found
    """At most 2 in 100,000 ticks; five in 120,000 is as many as that may come to by chance, one time in fifty."""
    assert sum(found.values()) / len(found) <= 1.0, found


def test_raw_values_instead_of_residuals_would_be_told_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = regimes.watch
    monkeypatch.setattr(regimes, "watch", lambda block, values, residuals, lost: watch(block, values, values, lost))
    assert alarms(["ar1"], 1_500, 64)["ar1"] > 20


def test_residuals_instead_of_their_ranks_would_be_told_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = quantiles.ranked

    def scaled(tracked: Singles, residuals: Singles) -> tuple[Flags, Codes, Singles]:
        below, code, _ = ranked(tracked, residuals)
        width = np.maximum(tracked[11] - tracked[3], np.float32(1e-6)) / np.float32(1.349)
        return below, code, (residuals - tracked[7]) / width

    monkeypatch.setattr(quantiles, "ranked", scaled)
    assert alarms(["t3"], 1_500, 64)["t3"] > 20


@pytest.mark.parametrize(("size", "late"), [(0.5, 1.5), (1.0, 1.5)])
def test_a_shift_is_told_about_as_soon_as_can_be(size: float, late: float) -> None:
    at, streams = 1_400, 200
    values = np.random.default_rng(8).normal(size=(at + 400, streams))
    values[at:] += size
    delays, places = _first_after(shifts_of(values), at, streams)
    assert np.median(delays) <= late * 2 * math.log(ARL) / size**2
    if size == 1.0:
        assert abs(np.median(places)) <= 5 and np.median(np.abs(places)) <= 5


@pytest.mark.parametrize("at", [300, 600, 1_400])
@pytest.mark.parametrize("size", [5.0, 30.0, 1e4])
def test_no_shift_is_too_great_to_be_told_of_however_young_the_stream(at: int, size: float) -> None:
    """A jump that makes every slow forecast look hopeless must not hide behind the one forecast that follows at once."""
    streams = 16
    values = np.random.default_rng(9).normal(size=(at + 60, streams))
    values[at:] += size
    told = {shift.row for shift in shifts_of(values)}
    assert len(told) == streams


def test_a_wider_spread_is_told_too() -> None:
    at, streams = 1_400, 100
    values = np.random.default_rng(9).normal(size=(at + 300, streams))
    values[at:] *= 2
    delays, _ = _first_after(shifts_of(values), at, streams)
    assert np.median(delays) <= 100


def _first_after(shifts: list[Shift], at: int, streams: int) -> tuple[list[float], list[float]]:
    first: dict[int, Shift] = {}
    for shift in shifts:
        if shift.tick > at:
            first.setdefault(shift.row, shift)
    delays = [first[row].tick - at if row in first else math.inf for row in range(streams)]
    return delays, [shift.located - at for shift in first.values()]


def test_what_is_told_of_a_shift_is_what_happened() -> None:
    values = np.random.default_rng(10).normal(size=(1_000, 16)) + 50
    values[600:] += 6
    found = {shift.row: shift for shift in shifts_of(values) if shift.tick > 600}
    assert len(found) == 16
    for shift in found.values():
        assert shift.mean_before == pytest.approx(50, abs=0.5) and shift.spread_before == pytest.approx(1, abs=0.5)
        assert shift.mean_after - shift.mean_before > 3
        assert shift.located_time == pytest.approx(shift.located - 1, abs=1e-6)
        assert shift.statistic > regimes.BOUNDS[(4, 16, 64, 256, 1024).index(shift.scale)]


def test_after_a_shift_there_is_a_cooldown() -> None:
    values = np.random.default_rng(11).normal(size=(3_000, 16))
    values += 8 * ((np.arange(3_000) // 300) % 2)[:, None] * (np.arange(3_000) > 600)[:, None]
    last: dict[int, Shift] = {}
    pairs = 0
    for shift in shifts_of(values):
        if shift.row in last:
            pairs += 1
            assert shift.tick - last[shift.row].tick >= max(regimes.COOLDOWN_MIN, last[shift.row].scale)
        last[shift.row] = shift
    assert pairs


def test_the_scores_of_the_ranks_are_like_a_bell_curve() -> None:
    assert quantiles.SCORES.mean() == pytest.approx(0, abs=1e-6)
    assert (quantiles.SCORES**2).mean() == pytest.approx(1, abs=1e-6)
    assert (np.diff(quantiles.SCORES) > 0).all()


@pytest.mark.parametrize("name", ["gaussian", "t3", "rounded", "constant", "poisson"])
def test_ranks_are_uniform_whatever_the_noise(name: str) -> None:
    values = generators.NULLS[name](np.random.default_rng(12), 1_200, 64)
    store = Store()
    rows = np.array([store.add() for _ in range(64)])
    counts = np.zeros(16)
    for tick, line in enumerate(values):
        adopt(store, advance(store, rows, np.full(64, float(tick)), line))
        if tick >= 400:
            counts += np.bincount((store.take(rows).u8[0] & np.uint64(15)).astype(np.intp), minlength=16)
    shares = counts / counts.sum() * 16
    assert shares.min() > 0.8 and shares.max() < 1.2
