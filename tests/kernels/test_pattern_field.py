"""The pattern field: the step against what is known exactly, waves that were planted and noise that has none, and overlaps."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import pattern_field as field


def path(points: int) -> Any:
    weights = np.diag(np.ones(points - 1), 1)
    return weights + weights.T


def vectors(many: int, seed: int, size: int = 16) -> Any:
    found = np.random.default_rng(seed).normal(size=(many, size))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


# --- the step -------------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**32), st.floats(0.01, 5), st.floats(0.01, 2))
def test_without_reaction_the_whole_is_kept_and_bounds_hold(many: int, seed: int, diffusion: float, dt: float) -> None:
    start = np.random.default_rng(seed).random(many)
    frames = field.spread(start, field.graph(vectors(many, seed)), diffusion, 0, 0, np.zeros(many), dt, 20)
    assert np.allclose(frames.sum(axis=1), start.sum(), rtol=1e-9)
    assert frames.min() >= start.min() - 1e-9 and frames.max() <= start.max() + 1e-9


def test_without_reaction_each_eigenmode_decays_by_its_own_number() -> None:
    weights = path(12)
    values, modes = np.linalg.eigh(field.laplacian(weights))
    for place in (1, 4, 11):
        start = 0.5 + 0.4 * modes[:, place]
        end = field.spread(start, weights, 0.7, 0, 0, np.zeros(12), 1e-3, 1000)[-1]
        left = (end - 0.5) @ modes[:, place] / 0.4
        assert left == pytest.approx(math.exp(-0.7 * values[place]), rel=5e-3)


def test_the_reaction_alone_is_logistic_growth_and_decay() -> None:
    end = field.spread(np.array([0.1]), np.zeros((1, 1)), 1.0, 0.8, 0.0, np.zeros(1), 1e-3, 5000)[-1, 0]
    assert end == pytest.approx(1 / (1 + 9 * math.exp(-4)), rel=1e-3)
    end = field.spread(np.array([0.9]), np.zeros((1, 1)), 1.0, 0.0, 0.5, np.zeros(1), 1e-3, 4000)[-1, 0]
    assert end == pytest.approx(0.9 * math.exp(-2), rel=1e-3)
    still = field.spread(np.array([0.0]), np.zeros((1, 1)), 1.0, 0.0, 0.5, np.full(1, 0.1), 0.1, 1000)[-1, 0]
    assert still == pytest.approx(0.2)


@pytest.mark.parametrize(("diffusion", "growth"), [(1.0, 0.1), (2.0, 0.15)])
def test_on_a_path_the_front_moves_at_the_known_speed(diffusion: float, growth: float) -> None:
    start, dt = np.zeros(480), 0.1
    start[0] = 1
    frames = field.spread(start, path(480), diffusion, growth, 0, np.zeros(480), dt, 4000)
    early, late = ((frames[at] > 0.5).sum() for at in (2000, 4000))
    assert (late - early) / (2000 * dt) == pytest.approx(2 * math.sqrt(diffusion * growth), rel=0.05)


def test_the_step_is_of_first_order() -> None:
    weights, start = path(9), np.linspace(0.05, 0.9, 9)
    ends = [field.spread(start, weights, 0.6, 0.5, 0.1, np.zeros(9), 4 / steps, steps)[-1] for steps in (40, 80, 4096)]
    errors = [float(np.abs(end - ends[-1]).max()) for end in ends[:2]]
    assert 0.8 < math.log2(errors[0] / errors[1]) < 1.2


def test_the_line_lays_what_is_alike_side_by_side() -> None:
    angles = np.linspace(0, 2.5, 20)
    order = np.random.default_rng(1).permutation(20)
    found = field.line(np.stack([np.cos(angles), np.sin(angles)], axis=1)[order])
    assert order[found].tolist() in (list(range(20)), list(range(19, -1, -1))) and found[0] < found[-1]
    assert field.line(vectors(2, 1)).tolist() == [0, 1]


# --- waves ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 24), st.integers(8, 65), st.integers(0, 2**32))
def test_power_is_that_of_the_field(places: int, times: int, seed: int) -> None:
    """Parseval: with the column of no mirror image, where there is one, it is all there."""
    values = np.random.default_rng(seed).normal(size=(places, times))
    moving = values - values.mean(axis=1, keepdims=True)
    _, powers = field.power(moving)
    edge = np.fft.rfft2(moving)[:, times // 2] if times % 2 == 0 else np.zeros(1)
    assert powers.sum() + (np.abs(edge) ** 2).sum() / values.size == pytest.approx((moving**2).sum())


@settings(max_examples=20, deadline=None)
@given(st.floats(-3.0, 3.0), st.floats(0.2, 2.9), st.floats(-3, 3), st.integers(0, 2**32))
def test_a_planted_wave_is_found_within_half_a_bin(wavenumber: float, frequency: float, phase: float, seed: int) -> None:
    places, times = 16, 64
    wave = field.Mode(2.0, wavenumber, frequency, phase, 0).at(np.arange(places), np.arange(times))
    values = wave + np.random.default_rng(seed).normal(size=(places, times))
    found = field.modes(values - field.level(values))
    assert found
    apart = (found[0].wavenumber - wavenumber + math.pi) % (2 * math.pi) - math.pi
    assert abs(apart) <= math.pi / places * 1.05
    assert abs(found[0].frequency - frequency) <= math.pi / times * 1.05


def test_a_wave_on_the_grid_is_told_back_and_goes_on() -> None:
    wave = field.Mode(3.0, -2 * math.pi * 3 / 12, 2 * math.pi * 5 / 40, 0.4, 0)
    values = wave.at(np.arange(12), np.arange(40))
    found = field.modes(values)
    assert len(found) == 1 and found[0].chance < 1e-9
    assert found[0][:4] == pytest.approx(wave[:4])
    assert found[0].at(np.arange(12), np.arange(40, 50)) == pytest.approx(wave.at(np.arange(12), np.arange(40, 50)))


def test_noise_has_waves_in_one_of_a_hundred() -> None:
    chance = np.random.default_rng(6)
    for draw in (chance.normal, lambda size: chance.poisson(2.0, size)):
        times = sum(bool(field.modes(values - field.level(values))) for values in (draw(size=(6, 32)) for _ in range(600)))
        assert times <= 13, "more than 1 % of 600, by more than 2.9 sigma"
    assert field.modes(np.zeros((4, 16))) == [] == field.modes(np.ones((4, 16)) - field.level(np.ones((4, 16))))


def test_the_chance_is_fishers() -> None:
    """Against 40,000 draws, and the exact answer for two."""
    powers = np.random.default_rng(7).exponential(size=(40_000, 20))
    shares = powers.max(axis=1) / powers.sum(axis=1)
    for share in (0.2, 0.3, 0.4):
        assert field.fisher(share, 20) == pytest.approx(float((shares >= share).mean()), abs=0.008)
    assert field.fisher(0.75, 2) == pytest.approx(0.5)
    assert field.fisher(0.01, 20) == 1 and 0 < field.fisher(0.9, 5_000) < 1e-100


# --- overlap --------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 2**32))
def test_overlaps_are_those_of_unit_waves(events: int, clusters: int, seed: int) -> None:
    belongs = field.membership(vectors(events, seed), vectors(clusters, seed + 1))
    assert np.allclose(belongs.sum(axis=1), 1)
    found = field.overlap(belongs, np.random.default_rng(seed).uniform(-9, 9, (events, clusters)))
    assert np.allclose(np.diag(found), 1) and np.allclose(found, found.conj().T)
    assert np.abs(found).max() <= 1 + 1e-9 and np.linalg.eigvalsh(found).min() >= -1e-9
    own = vectors(events, seed)
    assert field.membership(own, own).argmax(axis=1).tolist() == list(range(events))
