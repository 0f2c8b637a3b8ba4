"""Three dimensions: the exact waves, the symmetries and the twins that a plane has, and the term that only a cube needs.

Grids of 16 points a side, and two programs: compiling is what they cost.
"""

import dataclasses

import numpy as np

from kernels import spectrum
from kernels.params import OK, PADDING, coefficients, field_bytes
from kernels.simulate import simulate
from kernels.start import noise, pump
from tests.kernels import naive
from tests.kernels.runs import CURVED, FLAT, SET_S, orders, relative, run, wave

CUBE = dataclasses.replace(CURVED, dimensions=3)
FLAT_CUBE = dataclasses.replace(FLAT, dimensions=3, points=16)
WHOLE = {**SET_S, "L": 16.0, "kappa": 0.8, "eta": 0.3, "alpha": 0.7, "tau": 0.8, "dt": 0.02}


def plane_wave_error(steps: int) -> float:
    """Mode (1, 1, 1): R² = eps(1 − q²/2)/(lam b3 + g_nl), w = .8 eps q² + lam c3 R²."""
    q2 = 3 / 16
    square = 0.9 * (1 - q2 / 2) / 1.4
    speed = 0.8 * 0.9 * q2 + 1.1 * -0.6 * square
    field = wave(16, (1, 1, 1), np.sqrt(square))
    return relative(run(FLAT_CUBE, SET_S, field, 4.0, steps).A[0], field * np.exp(-4j * speed))


def test_a_plane_wave_turns_as_it_should_in_a_cube():
    errors = [plane_wave_error(steps) for steps in (20, 40, 80)]
    assert errors[-1] <= 1e-7 and min(orders(errors)) >= 3.85


def test_a_uniform_cube_grows_to_its_golden_value_and_without_loss_every_mode_is_an_exponential():
    found = run(FLAT_CUBE, SET_S, np.full((16,) * 3, 0.1 + 0j), 3.0, 120)
    assert np.max(np.abs(found.A[0] - (0.664021269 + 0.242958422j))) <= 1e-8
    rng = np.random.default_rng(7)
    field = rng.normal(size=(16,) * 3) + 1j * rng.normal(size=(16,) * 3)
    found = np.fft.fftn(run(FLAT_CUBE, {**SET_S, "lam": 0.0, "g_nl": 0.0}, field, 5.0, 100).A[0])
    n = np.meshgrid(*[np.round(np.fft.fftfreq(16, 1 / 16))] * 3, indexing="ij")
    kept = np.all([np.abs(axis) < 4 for axis in n], axis=0)
    exact = np.fft.fftn(field) * kept * np.exp(5 * 0.9 * (1 - (0.5 + 0.8j) * sum(axis**2 for axis in n) / 16))
    assert relative(found, exact) <= 1e-12 and np.max(np.abs(found[~kept])) <= 1e-12 * np.max(np.abs(exact))


def start_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return wave(16, (1, 0, 0), 0.6) + noise(seed, 3, 16, 0.1, reach=2), 1 + 0.1 * noise(seed + 1, 3, 16, 1.0, reach=2).real


def test_a_cube_with_geometry_does_what_the_slow_twin_does(monkeypatch):
    c = coefficients({**WHOLE, "lam5": 0.05})
    field, rho_s = start_of(1)
    driven = pump("gaussian", 0.1, 2.0, (), c.length, 3, 16)
    exact_field, exact_rho_s = naive.Naive(c, 3, 16, curved=True).run(field, rho_s, driven, 30)

    def errors(sig):
        found = simulate(sig, [c], field[None], rho_s[None], driven[None], None, 30)
        assert found.status.tolist() == [OK, PADDING]
        return relative(found.A[0], exact_field), relative(found.rho_s[0], exact_rho_s)

    assert max(errors(CUBE)) <= 1e-11
    assert max(errors(dataclasses.replace(CUBE, precision="f32"))) <= 2e-5
    # Broken variant: the gradient term, which a plane does not have, left out of a cube.
    monkeypatch.setattr(
        naive.Naive, "laplacian", lambda twin, a, s: twin.omega_inverse(twin.there(s).real) * twin.there(-twin.k2 * a)
    )
    assert relative(naive.Naive(c, 3, 16, curved=True).run(field, rho_s, driven, 30)[0], exact_field) > 1e-4


def test_a_lane_of_cubes_is_the_same_run_alone_and_a_bad_one_is_told_apart():
    runs = [coefficients({**WHOLE, "alpha": alpha}) for alpha in (0.2, 0.7)]
    fields, densities = (np.stack(parts) for parts in zip(*map(start_of, (3, 5)), strict=True))
    both = run(CUBE, runs, fields, 0.0, 40, rho_s=densities, dt=0.02)
    for lane in range(2):
        alone = run(CUBE, [runs[lane]], fields[lane : lane + 1], 0.0, 40, rho_s=densities[lane : lane + 1], dt=0.02)
        assert all(np.array_equal(a[lane], b[0], equal_nan=True) for a, b in zip(both, alone, strict=True))
    beside = run(CUBE, [runs[0], runs[1]._replace(gain=1e3)], fields, 0.0, 40, rho_s=densities, dt=0.02)
    assert all(np.array_equal(a[0], b[0], equal_nan=True) for a, b in zip(both, beside, strict=True))
    assert beside.status[1] not in (OK, PADDING) and np.all(np.isfinite(beside.A[1])) and beside.fail_step[1] > 0


def test_a_cube_turned_at_the_start_is_turned_at_the_end():
    field, rho_s = start_of(7)
    c = coefficients(WHOLE)
    turns = {
        "phase": (lambda f: f * np.exp(0.7j), lambda s: s),
        "place": (*(lambda f: np.roll(f, (5, -3, 2), (0, 1, 2)),) * 2,),
        "parity": (*(lambda f: np.roll(f[::-1, ::-1, ::-1], (1, 1, 1), (0, 1, 2)),) * 2,),
        "swap": (*(lambda f: f.transpose(2, 0, 1),) * 2,),
    }
    for turn, turn_space in turns.values():
        fields, densities = np.stack([field, turn(field)]), np.stack([rho_s, turn_space(rho_s)])
        found = run(CUBE, [c, c], fields, 0.0, 40, rho_s=densities, dt=0.02)
        assert relative(turn(found.A[0]), found.A[1]) <= 1e-12


def test_peaks_of_a_cube_stand_where_its_waves_are():
    """Shells of a cube: a wave in one direction is found at its own length."""
    field = 1 + noise(3, 3, 32, 0.02, reach=15) + 0.1 * wave(32, (6, 0, 0), 1.0) + 0.1 * wave(32, (0, -6, 0), 1.0)
    seen = spectrum.spectrum(field[None])
    assert seen.x[0] > 1 and seen.modes[0] == 18 and seen.modes.sum() <= 32**3
    assert np.min(np.abs(seen.peaks.x - 6)) < 0.3 and len(seen.x) == 15


def test_memory_of_a_cube_grows_with_its_volume():
    assert field_bytes(dataclasses.replace(CUBE, points=32)) == 8 * field_bytes(CUBE)
