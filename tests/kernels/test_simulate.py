"""Batches: lanes that never touch each other, one program for all numbers, statuses and flags, and the twins."""

import dataclasses

import numpy as np
import pytest

from kernels import models
from kernels import simulate as module
from kernels.params import (
    DIVERGED,
    GEOMETRY,
    ILL_POSED,
    NO_SOURCE,
    OK,
    PADDING,
    UNRESOLVED,
    UNSETTLED,
    Signature,
    check,
    coefficients,
    ill_posed,
    suggested_dt,
    warnings,
)
from kernels.simulate import program, simulate
from kernels.start import from_artefact, modes_in_order, noise, pump, spiral, start, uniform
from tests.kernels import naive
from tests.kernels.runs import CURVED, FLAT, LINE, RING, SET_S, broken, relative, run, wave

DEFAULT = {"c3": -0.8, "g_nl": 0.3, "sigma": 2.0, "kappa": 0.8, "eta": 0.3, "alpha": 0.7, "L": 16.0}
TEN = Signature(points=32, precision="f32", geometry="off", width=10)
TWO = dataclasses.replace(TEN, width=2)
CURVED_TWO = Signature(points=16, precision="f32", width=2)
CURVED_SEVEN = dataclasses.replace(CURVED_TWO, width=7)


# -- the twins


@pytest.mark.parametrize("d", [1, 2])
def test_with_geometry_the_kernels_do_what_the_slow_twin_does(d):
    sig = CURVED if d == 2 else dataclasses.replace(CURVED, dimensions=1, points=32)
    c = coefficients({**DEFAULT, "dt": 0.02, "lam5": 0.05})
    field = wave(sig.points, (1, 0)[:d], 0.6) + noise(1, d, sig.points, 0.1, reach=2)
    rho_s = 1 + 0.1 * np.real(noise(2, d, sig.points, 1.0, reach=2))
    driven = pump("gaussian", 0.1, 2.0, (), c.length, d, sig.points)
    found = simulate(sig, [c], field[None], rho_s[None], driven[None], None, 100)
    exact_field, exact_rho_s = naive.Naive(c, d, sig.points, curved=True).run(field, rho_s, driven, 100)
    assert relative(found.A[0], exact_field) <= 1e-11
    assert relative(found.rho_s[0], exact_rho_s) <= 1e-11
    if d == 2:
        single = simulate(CURVED_TWO, [c], field[None], rho_s[None], driven[None], None, 100)
        assert relative(single.A[0], exact_field) <= 2e-5 and relative(single.rho_s[0], exact_rho_s) <= 2e-5


def test_without_geometry_they_solve_the_sum_over_all_pairs_of_modes():
    sig, steps = dataclasses.replace(LINE, points=32), 100
    c = coefficients({**SET_S, "dt": 0.02})
    field = noise(4, 1, 32, 0.6, reach=7)
    found = np.fft.fft(run(sig, c, field, 2.0, steps).A[0], norm="forward")
    n = np.arange(-7, 8)
    k2 = (n * 2 * np.pi / c.length) ** 2
    kernel = np.exp(-((np.arange(15) * 2 * np.pi / c.length * c.sigma) ** 2) / 2)
    modes = np.fft.fft(field, norm="forward")[n]
    exact = naive.galerkin(modes, c.gain - c.diffusion * k2, c.cubic, c.reach, kernel, 0.001, 2000)
    assert relative(found[n], exact) <= 2e-9
    local = naive.galerkin(modes, c.gain - c.diffusion * k2, c.cubic, 0.0, kernel, 0.001, 2000)
    assert relative(found[n], local) > 1e-2


# -- lanes


def ten(bad: bool) -> module.Result:
    """Ten lanes; with `bad`, the seventh is the pair of A2 that blows up."""
    runs = [coefficients({**SET_S, "c3": -0.5 - 0.05 * lane, "dt": 0.05}) for lane in range(10)]
    fields = np.stack([wave(32, (1, 1), 0.6) + noise(lane, 2, 32) for lane in range(10)])
    if bad:
        runs[6] = coefficients({**RING, "dt": 0.05})
        fields[6] = 0.6 + noise(6, 2, 32, 0.03)
    return run(TEN, runs, fields, 0.0, 400, dt=[c.dt for c in runs])


def same(a: module.Result, b: module.Result, here: list[int], there: list[int]) -> bool:
    return all(np.array_equal(one[here], two[there], equal_nan=True) for one, two in zip(a, b, strict=True))


def test_a_lane_that_diverges_says_so_and_its_neighbours_do_not_notice(monkeypatch):
    spoiled, good = ten(bad=True), ten(bad=False)
    others = [lane for lane in range(10) if lane != 6]
    assert same(spoiled, good, others, others)
    assert spoiled.status.tolist() == [OK] * 6 + [DIVERGED] + [OK] * 3
    assert 0 < spoiled.fail_step[6] <= 400 and np.all(spoiled.fail_step[others] == -1)
    assert np.all(np.isfinite(spoiled.A[6])) and spoiled.flags[6] & ILL_POSED
    broken(monkeypatch, models, "finite", lambda fields: True)
    unseen = ten(bad=True)
    assert unseen.status[6] == OK and not np.all(np.isfinite(unseen.A[6]))


def test_a_lane_of_ten_is_the_same_run_alone():
    many = ten(bad=False)
    for lane in (0, 4, 9):
        c = coefficients({**SET_S, "c3": -0.5 - 0.05 * lane, "dt": 0.05})
        alone = run(TWO, c, wave(32, (1, 1), 0.6) + noise(lane, 2, 32), 0.0, 400, dt=0.05)
        assert same(many, alone, [lane], [0])
        assert alone.status.tolist() == [OK, PADDING]


def test_so_it_is_with_geometry():
    def go(sig, lanes):
        runs = [coefficients({**DEFAULT, "alpha": 0.1 * lane - 0.3, "tau": 0.5 + lane}) for lane in lanes]
        return run(sig, runs, np.stack([noise(lane, 2, 16, 0.5, reach=3) for lane in lanes]), 0.0, 100, dt=0.05)

    many = go(CURVED_SEVEN, range(7))
    for lane in (0, 3, 6):
        assert same(many, go(CURVED_TWO, [lane]), [lane], [0])


def test_lanes_side_by_side_come_out_as_those_one_after_another(monkeypatch):
    runs = [coefficients({**DEFAULT, "alpha": alpha}) for alpha in (0.3, 0.7)]
    fields = np.stack([noise(lane, 2, 16, 0.5, reach=3) for lane in range(2)])
    one = run(CURVED, runs, fields, 0.0, 100, dt=0.05)
    monkeypatch.setattr(module, "program", lambda sig: module.batch(sig, side_by_side=True))
    two = run(CURVED, runs, fields, 0.0, 100, dt=0.05)
    assert all(np.allclose(a, b, rtol=1e-11, atol=1e-12, equal_nan=True) for a, b in zip(one, two, strict=True))


def test_a_batch_must_have_room_for_two():
    assert check(dataclasses.replace(FLAT, width=1), {}, 10) == [
        "width 1 is not a whole number from 2 to 1024; a single run is padded to 2 lanes"
    ]


def test_a_hundred_sets_of_numbers_need_one_program():
    sig = Signature(dimensions=1, points=16, precision="f64", geometry="off", snapshots=1)
    before = program.cache_info().misses
    rng = np.random.default_rng(0)
    for number in range(100):
        settings = {"eps": rng.uniform(0.3, 1.5), "L": rng.uniform(5, 80), "tau": rng.uniform(0.1, 2), "sigma": rng.uniform(0.5, 8)}
        found = run(sig, settings, noise(number, 1, 16), 0.0, int(rng.integers(1, 70)), dt=rng.uniform(0.001, 0.05))
        assert found.status[0] == OK
    assert program.cache_info().misses == before + 1 and program(sig)._cache_size() == 1
    # Broken variant: a number that the program is made for.
    run(dataclasses.replace(sig, snapshots=2), {}, noise(0, 1, 16), 0.0, 8, dt=0.05)
    assert program.cache_info().misses == before + 2


# -- ends that are not good


def test_the_ring_without_a_quintic_loss_blows_up_and_with_it_settles_into_peaks():
    sig = Signature(points=64, precision="f64", geometry="off")
    field = 0.6 * (1 + 0.05 * noise(1, 2, 64, 1.0))
    found = run(sig, [coefficients({**RING, "lam5": lam5}) for lam5 in (0.0, 0.2)], np.stack([field, field]), 0.0, 400, dt=0.05)
    assert found.status.tolist() == [DIVERGED, OK] and found.fail_step[0] < 400
    assert found.flags[0] & ILL_POSED and not found.flags[1] & ILL_POSED
    rho = np.abs(found.A[1]) ** 2
    assert 1.5 < rho.max() < 2.6
    power = np.abs(np.fft.fft2(rho - rho.mean())) ** 2
    n = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64, 1 / 64)] * 2))
    shells = [power[np.round(n) == j].mean() for j in range(1, 14)]
    assert abs((1 + np.argmax(shells)) * 0.1 - 0.31) < 0.06


def hard(contrast: float, factors=(1, 2, 4, 8), steps: int = 2000) -> module.Result:
    """A density that changes by the contrast over the box, at multiples of the suggested step."""
    sig = dataclasses.replace(CURVED_TWO, width=4)
    settings = {**DEFAULT, "alpha": 1.0, "eta": 1.0, "kappa": 1.0}
    runs = [coefficients({**settings, "dt": factor * suggested_dt(settings)}) for factor in factors]
    x = 2 * np.pi * np.arange(16) / 16
    rho_s = np.broadcast_to(contrast ** (0.5 * np.cos(x))[:, None], (4, 16, 16))
    return run(sig, runs, np.stack([noise(1, 2, 16, 1.0)] * 4), 0.0, steps, rho_s=rho_s, dt=[c.dt for c in runs])


@pytest.mark.parametrize("contrast", [1.0, 4.0])
def test_coarse_steps_end_with_a_number_or_with_a_status(contrast):
    found = hard(contrast)
    assert np.all(np.isfinite(found.A)) and np.all(np.isfinite(found.rho_s))
    failed = found.status != OK
    assert np.all(found.fail_step[failed] > 0) and np.all(found.fail_step[~failed] == -1)
    assert found.status[0] == OK


@pytest.mark.campaign
@pytest.mark.parametrize("contrast", [1.0, 2.0, 4.0, 64.0])
def test_coarse_steps_over_ten_thousand_steps(contrast):
    found = hard(contrast, steps=10_000)
    assert np.all(np.isfinite(found.A)) and np.all((found.status == OK) == (found.fail_step == -1))


def test_a_density_that_runs_out_is_no_geometry():
    """A negative feed draws rho_s below its floor; nothing clips it."""
    c = coefficients({**DEFAULT, "dt": 0.05})._replace(eta=-4.0, kappa=-4.0)
    found = run(CURVED, c, wave(16, (3, 2), 1.0), 0.0, 200, dt=0.05)
    assert found.status[0] == GEOMETRY and 0 < found.fail_step[0] < 200
    assert np.all(np.isfinite(found.rho_s[0])) and found.rho_s[0].min() > 0


def test_an_omega_that_outruns_its_block_is_no_geometry():
    """Omega⁻² grows more than twofold within 32 steps, beyond what the linear part was made for."""
    c = coefficients({**DEFAULT, "alpha": 2.0, "eta": 40.0, "kappa": 40.0, "tau": 0.05, "dt": 0.02})
    found = run(CURVED, c, wave(16, (3, 2), 1.0), 0.0, 64, dt=0.02)
    assert found.status[0] == GEOMETRY and 0 < found.fail_step[0] < 32


def test_a_field_that_is_no_number_is_diverged_from_the_start():
    found = run(FLAT, SET_S, np.full((32, 32), np.nan + 0j), 1.0, 20)
    assert found.status[0] == DIVERGED and found.fail_step[0] == 0


# -- what a run says of itself


def test_snapshots_are_evenly_spread_over_the_last_quarter_and_end_at_the_end():
    turning = coefficients({**SET_S, "lam": 0.0, "g_nl": 0.0})._replace(gain=1j)
    found = run(FLAT, turning, np.ones((32, 32), complex), 3.2, 320)
    times = np.unwrap(np.angle(found.snaps[0, :, 0, 0]))
    assert np.allclose(times - times[-1], -np.arange(7, -1, -1) * 0.1) and np.array_equal(found.snaps[0, -1], found.A[0])
    assert np.isclose(found.diag[0, -1, 0], 1.0) and np.isnan(found.h[0])
    for steps in (1, 3, 33):
        assert np.all(np.isfinite(run(FLAT, turning, np.ones((32, 32), complex), 0.1, steps).snaps))


def test_flags_say_what_to_distrust():
    still = wave(32, (2, 1), np.sqrt(0.9 * (1 - 5 / 32) / 1.4))
    assert run(FLAT, SET_S, still, 4.0, 160).flags[0] == 0
    assert run(FLAT, SET_S, uniform(2, 32, 0.01), 2.0, 64).flags[0] == UNSETTLED
    assert run(FLAT, {**SET_S, "L": 400.0}, noise(1, 2, 32, 1.0), 2.0, 64).flags[0] & UNRESOLVED
    empty = run(CURVED, DEFAULT, np.zeros((16, 16), complex), 1.0, 20)
    assert empty.flags[0] & NO_SOURCE and np.isnan(empty.h[0]) and np.isnan(empty.h_max[0])


def test_h_max_is_the_largest_of_the_last_quarter():
    found = run(CURVED, DEFAULT, noise(1, 2, 16, 0.7), 10.0, 400)
    assert found.h_max[0] >= np.max(found.diag[0, :, 2]) > 0 and found.h[0] == found.diag[0, -1, 2]


# -- before a worker starts


@pytest.mark.parametrize(
    ("change", "settings", "steps", "word"),
    [
        ({"points": 33}, {}, 10, "even"),
        ({"points": 28}, {}, 10, "prime factor above 5"),
        ({"points": 4}, {}, 10, "from 8"),
        ({"dimensions": 4}, {}, 10, "dimensions 4"),
        ({"dimensions": 3, "points": 256}, {}, 10, "bytes"),
        ({"geometry": "curved"}, {}, 10, "geometry curved"),
        ({"model": "kdv"}, {}, 10, "model kdv"),
        ({"model": "fmia"}, {}, 10, "fmia has no geometry"),
        ({"model": "fmia", "geometry": "off"}, {"tau": 1.0}, 10, "no parameter"),
        ({"model": "fmia", "geometry": "off", "scheme": "euler"}, {}, 10, "scheme euler"),
        ({"points": 4096, "width": 100}, {}, 10, "bytes"),
        ({"snapshots": 0}, {}, 10, "snapshots 0"),
        ({"nonlocal_term": False}, {}, 10, "non-local term"),
        ({}, {}, 0, "steps 0"),
        ({}, {}, True, "steps True"),
        ({}, {"eps": float("nan")}, 10, "eps nan"),
        ({}, {"sigma": float("inf")}, 10, "sigma inf"),
        ({}, {"tau": 0}, 10, "tau 0"),
        ({}, {"ring_a": 1.0}, 10, "ring_a 1"),
        ({}, {"gamma": 1.0}, 10, "no parameter"),
    ],
)
def test_what_cannot_run_is_refused_with_its_bound(change, settings, steps, word):
    [reason] = check(dataclasses.replace(Signature(), **change), settings, steps)
    assert word in reason


def test_what_can_run_is_not_refused_and_may_be_warned_of():
    assert check(Signature(), {"eps": 0.9, "alpha": -1}, 2000) == []
    assert warnings({}) == [] and "coarse" in warnings({"dt": 0.3})[0]
    [said] = warnings({"tau": 0.001, "dt": 0.01})
    assert "tau" in said
    assert ill_posed(coefficients(RING)) and not ill_posed(coefficients({**RING, "lam5": 0.2}))
    assert ill_posed(coefficients({"lam": 0.1, "g_nl": -0.2})) and not ill_posed(coefficients({}))


# -- initial states


def test_a_finer_grid_continues_the_same_noise():
    coarse, fine = noise(9, 2, 32), noise(9, 2, 64)
    assert np.allclose(fine[::2, ::2], coarse, atol=1e-15) and not np.allclose(noise(10, 2, 32), coarse)
    assert np.array_equal(noise(9, 2, 32), coarse) and not np.allclose(noise(9, 2, 32, model="other"), coarse)
    assert np.mean([np.mean(np.abs(noise(seed, 2, 32)) ** 2) for seed in range(20)]) == pytest.approx(0.01, rel=0.1)
    order = np.sum(modes_in_order(2, 8) ** 2, axis=1)
    assert np.all(np.diff(order) >= 0) and order[-1] <= 64 and len(order) == 197


def test_the_other_starts():
    c = coefficients(SET_S)
    assert relative(start("plane_wave", {"modes": (2, 1)}, 0, 2, 32, c), wave(32, (2, 1), np.sqrt(0.542410714))) < 1e-8
    assert np.all(start("uniform", {"amplitude": 0.3}, 0, 1, 16, c) == 0.3)
    field = spiral(64)
    around = [field[30, 30], field[34, 30], field[34, 34], field[30, 34], field[30, 30]]
    assert abs(np.sum(np.angle(np.divide(around[1:], around[:-1])))) == pytest.approx(2 * np.pi)  # a vortex in the middle
    small = noise(1, 2, 32, reach=5)
    assert np.allclose(from_artefact(small, 48)[:: 48 // 16, :: 48 // 16], small[::2, ::2])
    assert np.allclose(from_artefact(from_artefact(small, 48), 32), small)
    with pytest.raises(ValueError, match="no initial state"):
        start("knot", {}, 0, 2, 32, c)
