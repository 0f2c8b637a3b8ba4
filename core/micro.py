"""Amounts as whole micro-units: decimals of at most six places, so that sums and ties are exact."""

import math
from decimal import Decimal

MICRO = 1_000_000
"""Micro-units of one unit."""


def micro(amount: float) -> int | None:
    """A decimal with at most six places in micro-units; None for a finer one, or for what is no number."""
    if not math.isfinite(amount):
        return None
    scaled = Decimal(repr(amount)) * MICRO
    return int(scaled) if scaled == scaled.to_integral_value() else None
