"""Entropies of signals whose entropy is known, and heat that flows the way heat flows."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from core.energy import entropy, layout
from core.energy.columns import adopt, advance
from core.energy.layout import Block, Store

Floats = NDArray[np.float64]


def rows_after(values: Floats) -> Block:
    store = Store()
    rows = np.array([store.add() for _ in range(values.shape[1])])
    for tick, line in enumerate(values):
        adopt(store, advance(store, rows, np.full(len(rows), float(tick)), line))
    return store.take(rows)


def noise(ticks: int, streams: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(size=(ticks, streams))


def test_a_bell_curve_has_the_entropy_of_a_bell_curve() -> None:
    found = entropy.differential(rows_after(3.0 * noise(2_200, 8) + 1e5))
    assert found[-1].mean() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 9), abs=0.05)
    assert found.shape == (5, 8)


def test_a_rounded_reading_tells_its_spread_in_steps() -> None:
    block = rows_after(np.round(20 * noise(2_200, 8)))
    assert entropy.quantised(block).mean() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 400), abs=0.05)
    assert entropy.quantised(rows_after(np.full((200, 2), 4.0))).tolist() == [0.0, 0.0]


def test_orders_of_three_are_all_alike_in_noise_and_one_in_a_ramp() -> None:
    assert entropy.permutation(rows_after(noise(1_500, 16))).mean() == pytest.approx(math.log(6), abs=0.01)
    ramp = np.arange(1_200.0)[:, None] * np.ones(2)
    assert entropy.permutation(rows_after(ramp)).max() < 0.02
    saw = np.tile([0.0, 1.0, 0.5, 1.5], 300)[:, None]
    assert 0.5 < entropy.permutation(rows_after(saw))[0] < math.log(4) + 0.01


def test_what_runs_alike_both_ways_is_reversible_and_a_saw_is_not() -> None:
    assert entropy.irreversibility(rows_after(noise(1_500, 16))).max() < 0.02
    back_and_forth = np.sin(np.arange(1_200) / 5)[:, None]
    saw = (np.arange(1_200.0) % 9)[:, None]
    assert entropy.irreversibility(rows_after(saw))[0] > 10 * max(entropy.irreversibility(rows_after(back_and_forth))[0], 0.01)


def test_two_symbols_are_never_irreversible() -> None:
    counts = np.array([[200.5, 80.5], [80.5, 40.5]])
    assert entropy.irreversibility_of(counts, np.array(400.0)) == 0
    assert entropy.irreversibility_of(np.array([[1.0, 50, 1], [1, 1, 50], [50, 1, 1]]), np.array(156.0)) > 1


def test_the_gradient_is_nought_where_every_scale_varies_alike() -> None:
    flat, steep = layout.fresh(1), layout.fresh(1)
    for block, variances in ((flat, [4.0] * 5), (steep, [1.0, 4.0, 16.0, 64.0, 256.0])):
        block.f4[layout.VALUE_VARIANCES, 0] = variances
        block.f4[layout.QUANTUM, 0] = 0.01
    assert entropy.gradient(flat)[0] == pytest.approx(0)
    expected = 4 * 0.25 / (0.5 * math.log(2 * math.pi * math.e * 256) - math.log(0.01))
    assert entropy.gradient(steep)[0] == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(entropy.gradient(layout.fresh(3))).all()


def test_excess_free_energy_is_never_negative_and_nought_in_balance() -> None:
    means, variances = np.meshgrid(np.linspace(-3, 3, 7), np.linspace(0.05, 4, 9))
    found = entropy.excess_free_energy(means, variances)
    assert (found >= 0).all()
    assert entropy.excess_free_energy(np.zeros(1), np.ones(1))[0] == 0


def test_heat_makes_entropy_both_ways() -> None:
    ambient, resistance = np.array([298.0]), 0.1
    hot = entropy.production(np.array([200.0]), np.array([318.0]), ambient, resistance, np.array([10.0]))
    assert hot[0] == pytest.approx(200 * 10 / 318 + 200 * 10 * (1 / 298 - 1 / 318))
    idle_hot = entropy.production(np.array([0.0]), np.array([318.0]), ambient, resistance, np.array([10.0]))
    idle_cold = entropy.production(np.array([0.0]), np.array([278.0]), ambient, resistance, np.array([10.0]))
    assert idle_hot[0] > 0 and idle_cold[0] > 0
    generating = entropy.production(np.array([-300.0]), np.array([318.0]), ambient, resistance, np.array([10.0]))
    assert generating[0] < 0


def test_no_order_at_all_is_told_as_nought_and_not_as_less() -> None:
    found = entropy.permutation(rows_after(np.array([[1.0]])))
    assert found.tolist() == [0.0] and math.copysign(1, found[0]) == 1
