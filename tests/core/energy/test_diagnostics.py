"""Diagnostics of a stream: known where nothing happens, raised where it slows down, and silent before a jump."""

import numpy as np
import pytest
from numpy.typing import NDArray

from core.energy import diagnostics, generators
from core.energy.columns import adopt, advance
from core.energy.layout import Store
from tests.core.energy.eil_loop import EilLoop

Floats = NDArray[np.float64]


def watched(values: Floats) -> tuple[NDArray[np.bool_], Store]:
    """Which rows are candidates; looked at every eight ticks."""
    store = Store()
    rows = np.array([store.add() for _ in range(values.shape[1])])
    flags = np.zeros(values.shape, bool)
    for tick, line in enumerate(values):
        advanced = advance(store, rows, np.full(len(rows), float(tick)), line)
        flags[tick] = diagnostics.candidates(advanced.block) if tick % 8 == 0 else flags[tick - 1]
        adopt(store, advanced)
    return flags, store


@pytest.mark.parametrize("kind", ["ar1", "t3", "constant"])
def test_where_nothing_happens_hardly_any_tick_is_a_candidate(kind: str) -> None:
    flags, _ = watched(generators.NULLS[kind](np.random.default_rng(1), 2_000, 16))
    assert flags.mean() < 0.005


def test_what_forgets_ever_more_slowly_is_seen_and_a_jump_is_not_foreseen() -> None:
    chance = np.random.default_rng(2)
    values = np.zeros((3_000, 10))
    for tick in range(1, len(values)):
        memory = 0.2 + 0.78 * max(tick - 1_500, 0) / 1_500
        values[tick] = memory * values[tick - 1] + chance.normal(size=10)
    flags, _ = watched(values)
    assert flags[2_300:].any(axis=0).mean() >= 0.9
    jump = chance.normal(size=(1_600, 10))
    jump[1_500:] += 6
    flags, _ = watched(jump)
    assert flags[1_400:1_500].mean() < 0.01


def test_the_heat_capacity_of_a_bell_curve_is_a_half_and_neighbours_correlate_as_they_do() -> None:
    chance = np.random.default_rng(3)
    _, store = watched(chance.normal(size=(2_000, 32)) * 7 + 100)
    rows = store.take(np.arange(32))
    assert np.median(rows.f4[diagnostics.HEAT_VARIANCES][2]) == pytest.approx(0.5, abs=0.08)
    assert np.abs(diagnostics.correlations(rows)[2]).mean() < 0.06
    _, store = watched(generators.autoregressive(chance, 2_000, 32))
    assert np.median(diagnostics.correlations(store.take(np.arange(32)))[2]) == pytest.approx(generators.AR_1, abs=0.04)


def test_a_source_that_is_asked_for_shows_them_and_says_what_it_cannot_know_yet() -> None:
    loop = EilLoop()
    for step in range(60):
        loop.sense(10.0 * step, power_draw=100.0 + step % 3)
    (found,) = loop.look("regime_status", {"source": "m"}).sources
    shown = found.streams[0].diagnostics
    assert shown.excess_free_energy is not None and shown.excess_free_energy >= 0
    assert (shown.capacity_ratio, shown.curvature, shown.lag_one, shown.transition_candidate) == (None, None, None, False)
    assert shown.irreversibility > 0.1, "it always goes up by one, by one, and down by two"
