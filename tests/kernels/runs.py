"""What the kernel tests share: the golden sets, runs of few lines, and measured orders."""

from functools import cache

import numpy as np

from kernels import simulate as module
from kernels.params import Coefficients, Signature, coefficients
from kernels.start import plane_wave

SET_S = {"eps": 0.9, "lam": 1.1, "b3": 1.0, "c3": -0.6, "g_nl": 0.3, "sigma": 1.0, "L": 8 * np.pi}
SET_G = {**SET_S, "kappa": 0.8, "eta": 0.8, "alpha": 0.7, "rho_vac": 1.2, "D_g": 1.0, "m2": 0.6, "tau": 1.5}
RING = {"eps": 1.0, "lam": 0.2, "b3": 1.0, "c3": 0.0, "g_nl": 2.0, "sigma": 8.0, "ring_a": 0.5, "ring_r": 0.5, "L": 20 * np.pi}

FLAT = Signature(points=32, precision="f64", geometry="off")
FLAT_SINGLE = Signature(points=32, precision="f32", geometry="off")
CURVED = Signature(points=16, precision="f64", geometry="coevolve")
LINE = Signature(dimensions=1, points=256, precision="f64", geometry="off")
"""Four programs for most tests: compiling is what they cost."""


def run(sig: Signature, c: Coefficients | dict, field: np.ndarray, time: float, steps: int, rho_s=None, pump=None, dt=None):
    """One lane, or several where `c` is a list."""
    runs = c if isinstance(c, list) else [c]
    runs = [coefficients(one) if isinstance(one, dict) else one for one in runs]
    fields = field if isinstance(c, list) else field[None]
    densities = np.stack([np.full(fields.shape[1:], one.rho_vac) for one in runs]) if rho_s is None else rho_s
    pumps = np.zeros_like(fields) if pump is None else pump
    return module.simulate(sig, runs, fields, densities, pumps, time / steps if dt is None else dt, steps)


def broken(monkeypatch, place, name: str, variant) -> None:
    """For this test the programs are compiled anew, with one thing wrong; good programs stay as they are."""
    monkeypatch.setattr(place, name, variant)
    monkeypatch.setattr(module, "program", cache(module.program.__wrapped__))


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))


def orders(errors: list[float]) -> np.ndarray:
    """From halvings of the step."""
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def wave(points: int, numbers: tuple[int, ...], amplitude: float) -> np.ndarray:
    return plane_wave(len(numbers), points, numbers, amplitude)
