"""Logarithm and power of two of a whole field, in a quarter to a half of the time that the general ones take.

They are written as sums and products that a processor does for many points at once. Arguments are ordinary: `log2` takes normal
numbers above 0 and answers anything else with NaN, `exp2` takes numbers that stay well inside the exponents of their type. Both are
exact to about one unit in the last place. Must never be given more range than that: there is no overflow here, only nonsense.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

MANTISSA = {np.dtype(np.float32): (23, np.uint32, np.int32), np.dtype(np.float64): (52, np.uint64, np.int64)}
"""Of each type: bits behind the point, and whole numbers of its size."""
LOG_TERMS = {23: 5, 52: 10}
EXP_TERMS = {23: 8, 52: 14}
"""So many terms of each series leave less than a rounding."""


def log2(x: Array) -> Array:
    """From x = 2^e m with √½ ≤ m < √2: e + 2 artanh((m − 1)/(m + 1)) / ln 2."""
    bits, whole, _ = MANTISSA[np.dtype(x.dtype)]
    root = np.sqrt(np.asarray(0.5, x.dtype)).view(whole)
    one = np.asarray(1, x.dtype).view(whole)
    moved = lax.bitcast_convert_type(x, whole) + (one - root)
    exponent = lax.shift_right_logical(moved, whole(bits)).astype(jnp.int32) - int(one >> whole(bits))
    m = lax.bitcast_convert_type((moved & whole((1 << bits) - 1)) + root, x.dtype)
    s = (m - 1) / (m + 1)
    series = _sum(s * s, [2 / math.log(2) / (2 * term + 1) for term in range(LOG_TERMS[bits])])
    return jnp.where((x > 0) & (x < jnp.inf), exponent.astype(x.dtype) + s * series, jnp.nan)


def exp2(x: Array) -> Array:
    """From x = n + f with |f| ≤ ½: the series of 2^f, its exponent raised by n."""
    bits, _, whole = MANTISSA[np.dtype(x.dtype)]
    n = lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)
    series = _sum(x - n, [math.log(2) ** term / math.factorial(term) for term in range(EXP_TERMS[bits])])
    one = int(np.asarray(1, x.dtype).view(whole) >> bits)
    raised = lax.shift_left(n.astype(jnp.int32).astype(whole) + whole(one), whole(bits))
    return series * lax.bitcast_convert_type(raised, x.dtype)


def _sum(x: Array, coefficients: Sequence[float]) -> Array:
    """A polynomial by pairs (Estrin): one long chain of additions would leave a processor waiting for itself."""
    parts = [jnp.asarray(each, x.dtype) for each in coefficients]
    while len(parts) > 1:
        paired = [low + high * x for low, high in zip(parts[::2], parts[1::2], strict=False)]
        parts = paired + parts[2 * len(paired) :]
        x = x * x
    return parts[0]
