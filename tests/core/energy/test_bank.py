"""A regime that comes back is known again; a source has names for what its streams do."""

import math

import numpy as np
import pytest

from benchmarks.public_data import adjusted_rand
from core.energy import bank, layout
from core.energy.bank import Source, divergence
from core.energy.columns import Settled, adopt, advance
from core.energy.layout import Block, Store


def looking_like(block: Block, mean: float, variance: float) -> bank.Recognised:
    block.f8[layout.MEAN, 0], block.f8[layout.SPREAD, 0] = mean, variance
    return bank.recognise(block, 0)


def test_the_divergence_is_symmetric_nought_for_the_same_and_as_in_the_books() -> None:
    assert divergence(1.0, 0.5, 1.0, 0.5) == 0
    assert divergence(1.0, 0.5, 2.0, -0.5) == pytest.approx(divergence(2.0, -0.5, 1.0, 0.5))
    a, b, apart = math.exp(0.5), math.exp(-0.5), 1.0
    one = 0.5 * (a / b - 1 - math.log(a / b) + apart / b)
    other = 0.5 * (b / a - 1 - math.log(b / a) + apart / a)
    assert divergence(1.0, 0.5, 2.0, -0.5) == pytest.approx(one + other)


def test_what_looks_the_same_is_the_same_regime() -> None:
    block = layout.fresh(1)
    assert looking_like(block, 10, 1) == (0, False, -1)
    assert looking_like(block, 20, 1) == (1, False, -1)
    assert looking_like(block, 10.3, 1.2) == (0, True, -1)
    assert looking_like(block, 10.3, 30.0) == (2, False, -1)
    assert looking_like(block, 20.1, 0.9) == (1, True, -1)


def test_the_ninth_takes_the_place_of_the_one_least_often_seen() -> None:
    block = layout.fresh(1)
    for regime in range(8):
        assert looking_like(block, 10.0 * regime, 1) == (regime, False, -1)
        if regime != 3:
            assert looking_like(block, 10.0 * regime, 1).known
    assert looking_like(block, 500.0, 1) == (8, False, 3)
    assert looking_like(block, 30.0, 1).regime == 9
    assert looking_like(block, 70.0, 1) == (7, True, -1)


def test_planted_returns_are_known_again() -> None:
    """Adjusted Rand of the regimes told against those planted; always new and always first both come to about 0."""
    chance = np.random.default_rng(4)
    planted = np.array([0, 1, 2, 0, 2, 1, 0, 2])
    means, spreads = np.array([0.0, 6.0, 0.0]), np.array([1.0, 1.0, 5.0])
    told, truth = [], []
    store = Store()
    rows = np.array([store.add() for _ in range(16)])
    now = np.zeros(16, int)
    for tick in range(len(planted) * 400):
        regime = planted[tick // 400]
        values = means[regime] + spreads[regime] * chance.normal(size=16)
        advanced = advance(store, rows, np.full(16, float(tick)), values)
        adopt(store, advanced)
        for settled in advanced.findings.settled:
            assert isinstance(settled, Settled)
            now[settled.row] = settled.regime
        told.append(now.copy())
        truth.append(regime)
    scores = [adjusted_rand(np.array(truth), np.array(told)[:, row]) for row in range(16)]
    assert np.median(scores) >= 0.6


CALM = [0.1] * 5


def seen(source: Source, ticks: int, streams: int = 5) -> Source:
    for _ in range(ticks):
        source, _ = source.see(streams, [], CALM)
    return source


def test_a_source_learns_then_is_stable_and_says_so() -> None:
    source = seen(Source(), 64)
    assert source.name == "learning"
    source = seen(source, 200)
    assert source.name == "stable"
    likely, sure = source.next()
    assert likely == "stable" and sure > 0.95
    assert 0 < source.hazard() < 0.01


def test_one_stream_of_five_is_enough_and_one_of_ten_is_not() -> None:
    five, told = seen(Source(), 100).see(5, [(3, 1.2, 16)], CALM)
    assert told.announced and told.name == five.name == "transition"
    ten, told = seen(Source(), 100, 10).see(10, [(3, 1.2, 16)], CALM * 2)
    assert not told.announced and told.name == "stable"
    _, told = ten.see(10, [(4, 1.2, 16)], CALM * 2)
    assert told.announced
    _, told = seen(Source(), 100, 10).see(10, [(3, 2.1, 16)], CALM * 2)
    assert told.announced


def test_the_same_stream_twice_is_one_stream_and_an_old_shift_is_none() -> None:
    source, _ = seen(Source(), 100, 10).see(10, [(3, 1.2, 16)], CALM * 2)
    _, told = source.see(10, [(3, 1.2, 16)], CALM * 2)
    assert not told.announced
    _, told = seen(source, bank.COOLDOWN, 10).see(10, [(4, 1.2, 16)], CALM * 2)
    assert not told.announced


def test_three_changes_in_ten_cooldowns_are_unstable() -> None:
    source = seen(Source(), 100)
    for _ in range(3):
        source, told = source.see(5, [(1, 1.5, 16)], CALM)
        assert told.announced
        source = seen(source, bank.COOLDOWN + 1)
    assert source.name == "unstable"
    assert seen(source, 10 * bank.COOLDOWN).name == "stable"


def test_what_nears_its_bound_drifts() -> None:
    source, told = seen(Source(), 100).see(5, [], [0.7, 0.1, 0.1, 0.1, 0.1])
    assert told.name == "drifting"
    assert seen(source, 1).name == "stable"


def test_what_is_said_to_come_next_beats_saying_nothing_will_change_where_things_alternate() -> None:
    source = seen(Source(), 70)
    for tick in range(300):
        source, _ = source.see(5, [], [0.7] * 5 if tick % 2 else CALM)
    assert source.brier < source.brier_same
