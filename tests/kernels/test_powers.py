"""Powers of two of a field: to the last digit what NumPy has, as compiled code too, and no number for what has none."""

import jax
import numpy as np
import pytest

from kernels import powers

KINDS = {"f32": (np.float32, 3e-7), "f64": (np.float64, 5e-16)}
log2, exp2 = jax.jit(powers.log2), jax.jit(powers.exp2)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_exact_to_rounding(kind):
    # Compiled: a compiler that cancels what only rounds would leave an exponent without its fraction.
    number, within = KINDS[kind]
    x = np.concatenate([np.geomspace(1e-30, 1e30, 4001), 1 + np.linspace(-1e-3, 1e-3, 4001), 2.0 ** np.arange(-9, 10)]).astype(
        number
    )
    exact = np.log2(x.astype(np.longdouble))
    assert np.max(np.abs(np.asarray(log2(x)) - exact) / np.maximum(np.abs(exact), 1)) < within
    y = np.concatenate([np.linspace(-60, 60, 4001), np.linspace(-3, 3, 4001), np.arange(-9, 10) + 0.5]).astype(number)
    assert np.max(np.abs(np.asarray(exp2(y)) / np.exp2(y.astype(np.longdouble)) - 1)) < within


def test_whole_powers_are_exact():
    whole = np.arange(-60.0, 61.0)
    assert np.array_equal(exp2(whole), 2.0**whole) and np.array_equal(log2(2.0**whole), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_logarithm_has_no_number(kind):
    nothing = np.array([0, -0.0, -1, -1e-30, np.nan, np.inf, -np.inf], KINDS[kind][0])
    assert np.all(np.isnan(log2(nothing))) and np.isnan(exp2(KINDS[kind][0]("nan")))


@pytest.mark.parametrize(("terms", "moved"), [("LOG_TERMS", log2), ("EXP_TERMS", exp2)])
def test_a_term_less_shows(terms, moved, monkeypatch):
    monkeypatch.setattr(powers, terms, {bits: count - 3 for bits, count in getattr(powers, terms).items()})
    x = np.linspace(1.0, 1.5, 101)
    function = powers.log2 if moved is log2 else powers.exp2
    exact = np.log2 if moved is log2 else np.exp2
    assert np.max(np.abs(jax.jit(lambda x: function(x))(x) - exact(x))) > 1e-15
