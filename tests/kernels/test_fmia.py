"""The control model: rates, kinks, energy, its orders, its twin; and what a splitting that is not its own mirror image would do."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from kernels import fmia, models
from kernels.params import DIVERGED, ILL_POSED, OK, PADDING, Signature, ill_posed, suggested_dt, waves
from kernels.simulate import simulate
from kernels.start import noise, start
from tests.kernels.naive_waves import Waver
from tests.kernels.runs import broken, orders, relative

LINE = Signature(dimensions=1, points=128, precision="f64", geometry="off", model="fmia")
STRANG = dataclasses.replace(LINE, scheme="strang")
PLANE = dataclasses.replace(LINE, dimensions=2, points=16)
ENERGY = models.DIAGNOSTICS["fmia"].index("energy")


def run(sig: Signature, c, rho: np.ndarray, time: float, steps: int, pi: np.ndarray | None = None):
    runs = c if isinstance(c, list) else [c]
    fields = rho if isinstance(c, list) else rho[None]
    momenta = np.zeros(fields.shape) if pi is None else pi if isinstance(c, list) else pi[None]
    return simulate(sig, runs, fields + 0j, momenta, np.zeros(fields.shape), time / steps, steps)


@pytest.mark.parametrize(("eta", "k", "golden"), [(0.4, 0.5, 0.338516), (0.4, 0.0, None), (0.0, 0.5, None)])
def test_a_small_wave_grows_at_its_rate(eta, k, golden):
    s = -eta / 2 + np.sqrt(eta**2 / 4 + 0.5 - k**2)
    assert golden is None or s == pytest.approx(golden, abs=1e-6)
    c = waves({"eps": 0.5, "lam": 1.0, "g_nl": 0.3, "eta": eta, "D": 1.0, "L": 4 * np.pi})
    shape = 1e-7 * np.cos(k * np.arange(128) / 128 * c.length)
    found = run(LINE, c, shape, 8.0, 160, pi=s * shape)
    assert np.log(np.max(found.A[0].real) / 1e-7) / 8 == pytest.approx(s, rel=1e-6)
    assert np.all(found.A[0].imag == 0) and relative(found.rho_s[0], s * found.A[0].real) < 1e-6


def test_a_wave_that_swings_and_fades_does_so_at_its_rate():
    c = waves({"eps": 0.5, "lam": 0.0, "g_nl": 0.0, "eta": 0.4, "D": 1.0, "L": 2 * np.pi})
    x = 2 * np.pi * np.arange(128) / 128
    found = run(LINE, c, np.cos(3 * x), 2.0, 7)
    w = np.sqrt(9 - 0.5 - 0.04)
    exact = np.exp(-0.4) * (np.cos(2 * w) + 0.2 / w * np.sin(2 * w))
    assert relative(found.A[0].real, exact * np.cos(3 * x)) <= 1e-13


def test_a_kink_has_its_energy_and_stays():
    """Kink and antikink of phi⁴, far apart: (2√2/3) √D eps^{3/2} / lam each, over the energy of the vacuum."""
    eps, lam, stiffness, length = 0.8, 1.3, 1.7, 60.0
    c = waves({"eps": eps, "lam": lam, "g_nl": 0.0, "eta": 0.0, "D": stiffness, "L": length})
    x = np.arange(128) * length / 128
    wide, high = np.sqrt(2 * stiffness / eps), np.sqrt(eps / lam)
    rho = high * (np.tanh((x - length / 4) / wide) - np.tanh((x - 3 * length / 4) / wide) - 1)
    found = run(LINE, c, rho, 5.0, 200)
    kinks = found.diag[0, -1, ENERGY] + eps**2 / (4 * lam) * length
    assert kinks / 2 == pytest.approx(2 * np.sqrt(2) / 3 * np.sqrt(stiffness) * eps**1.5 / lam, rel=1e-6)
    assert relative(found.A[0].real, rho) < 1e-4


def rough(d: int = 1, points: int = 128) -> np.ndarray:
    return noise(5, d, points, 1.0, reach=3, model="fmia").real


def drift(sig: Signature, steps: int) -> float:
    c = waves({"eta": 0.0, "L": 20.0})
    return abs(run(sig, c, rough(), 6.4, steps).diag[0, -1, ENERGY] - Waver(c, 1, 128).energy(rough(), np.zeros(128)))


@pytest.mark.parametrize(("sig", "order", "slack"), [(STRANG, 2.0, 0.1), (LINE, 4.0, 0.2)], ids=["strang", "yoshida"])
def test_energy_is_kept_to_the_order_of_the_scheme(sig, order, slack):
    found = orders([drift(sig, steps) for steps in (64, 128, 256)])
    assert np.all(np.abs(found - order) <= slack)


def test_damping_only_takes_energy_and_on_one_side_only_it_costs_the_order(monkeypatch):
    c = waves({"eta": 0.4, "L": 20.0})
    exact = Waver(c, 1, 128).run(rough(), np.zeros(128), 3.2, 400)
    energies = [run(LINE, c, rough(), time, round(20 * time)).diag[0, :, ENERGY] for time in (1.6, 3.2, 6.4, 12.8)]
    assert np.all(np.diff(np.concatenate(energies)) < 0)

    def errors(*counts: int) -> list[float]:
        return [relative(run(STRANG, c, rough(), 3.2, steps).rho_s[0], exact[1]) for steps in counts]

    assert min(orders(errors(32, 64, 128))) >= 1.9
    whole = fmia.schedule

    def lopsided(grid, c, scheme):
        """The linear waves without damping, and all of the damping in the second half."""
        plan = whole(grid, c._replace(damping=0.0), scheme)
        fade = jnp.exp(-c.damping * c.dt)
        last = plan.turns[-1]
        return plan._replace(turns=[*plan.turns[:-1], last._replace(pi_rho=last.pi_rho * fade, pi_pi=last.pi_pi * fade)])

    broken(monkeypatch, fmia, "schedule", lopsided)
    assert max(orders(errors(64, 128))) < 1.4


def test_it_does_what_the_slow_twin_does_at_fourth_order():
    c = waves({"eta": 0.3, "g_nl": 0.7, "sigma": 1.5, "ring_a": 0.4, "L": 10.0})
    exact_rho, exact_pi = Waver(c, 2, 16).run(rough(2, 16), 0.3 * rough(2, 16)[::-1], 2.0, 400)
    found = [run(PLANE, c, rough(2, 16), 2.0, steps, pi=0.3 * rough(2, 16)[::-1]) for steps in (20, 40, 80)]
    assert min(orders([relative(one.A[0].real, exact_rho) for one in found])) >= 3.8
    assert relative(found[-1].A[0].real, exact_rho) <= 2e-6 and relative(found[-1].rho_s[0], exact_pi) <= 1e-5
    same_rho, same_pi = Waver(c, 2, 16).split(rough(2, 16), 0.3 * rough(2, 16)[::-1], 2.0, 40)
    assert relative(found[1].A[0].real, same_rho) <= 1e-11 and relative(found[1].rho_s[0], same_pi) <= 1e-11
    energy = Waver(c, 2, 16).energy(found[-1].A[0].real, found[-1].rho_s[0])
    assert found[-1].diag[0, -1, ENERGY] == pytest.approx(energy, rel=1e-12)
    single = run(dataclasses.replace(PLANE, precision="f32"), c, rough(2, 16), 2.0, 80, pi=0.3 * rough(2, 16)[::-1])
    assert relative(single.A[0], found[-1].A[0]) <= 2e-5 and np.isnan(single.h[0])


def test_a_lane_that_diverges_says_so_and_its_neighbours_do_not_notice():
    good, bad = waves({"L": 10.0}), waves({"L": 10.0, "lam": 0.0, "g_nl": -3.0})
    fields = np.stack([rough(2, 16), 3 * rough(2, 16)])
    beside, alone = run(PLANE, [good, bad], fields, 5.0, 100), run(PLANE, [good], fields[:1], 5.0, 100)
    assert beside.status.tolist() == [OK, DIVERGED] and alone.status.tolist() == [OK, PADDING]
    assert all(np.array_equal(a[0], b[0], equal_nan=True) for a, b in zip(beside, alone, strict=True))
    assert beside.flags[1] & ILL_POSED and 0 < beside.fail_step[1] <= 100 and np.all(np.isfinite(beside.A[1]))
    assert ill_posed(bad) and not ill_posed(good)


def test_there_is_no_source_and_a_start_is_real():
    with pytest.raises(ValueError, match="no source"):
        simulate(PLANE, [waves({})], np.ones((1, 16, 16)), np.zeros((1, 16, 16)), np.ones((1, 16, 16)), None, 1)
    for kind in ("noise", "plane_wave", "uniform"):
        assert np.all(start(kind, {}, 3, 2, 16, waves({}), "fmia").imag == 0)
    drawn = [start("noise", {}, seed, 2, 16, waves({}), "fmia").real for seed in range(20)]
    assert np.mean(np.square(drawn)) == pytest.approx(0.01, rel=0.15)
    with pytest.raises(ValueError, match="real field"):
        start("spiral", {}, 3, 2, 16, waves({}), "fmia")
    assert 0 < suggested_dt({"eps": 0.0, "lam": 0.0, "g_nl": 0.0}, "fmia") == 0.05 > suggested_dt({"eps": 4.0}, "fmia") > 0
