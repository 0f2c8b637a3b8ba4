"""What CEU, PFT and MUNT cost: list prices with their terms, and the price of an order.

List prices come of measured quantities, in floating point, and are rounded to micro-units once. From there on all is whole numbers.
A price of an order is rounded in favour of the house: half-even would let a large order gain by being cut into small ones.
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from core.micro import MICRO

Side = Literal["buy", "sell"]
QUANTITY_MAX = 1_000_000_000

DEMAND_LOW, DEMAND_HIGH = -0.5, 2.0
TIERS = ((0, 100), (1_000, 95), (10_000, 90))
"""From how many units on how many percent are paid, for the units of that tier only."""
SELL_NUMERATOR, SELL_DENOMINATOR = 8, 10
"""What the house pays is 0.8 of the list, without discounts."""
REPUTATION_PPM_MAX = 100_000
"""A tenth off, for a caller whose proofs were all valid."""
WILSON_Z = 1.959963984540054
PPM = 1_000_000


class Terms(NamedTuple):
    """What an operator sets. Prices are in units of the currency."""

    ceu_base: float
    pft_base: float
    munt_base: float
    energy_price: float
    """Of a kWh, now."""
    energy_reference: float


class Measured(NamedTuple):
    """What the engine measured, as the prices take it."""

    requested_j: float = 0.0
    supplied_j: float = 0.0
    """Exponentially weighted: what callers asked of the energy budget, and what they were granted."""
    confidence: float = 0.0
    savings: float = 1.0
    """Trailing means over settled proofs."""
    mflop_per_run: float = 1.0
    relative_interval_score: float = 1.0
    """Of the built-in predictor against the best of the naive ones; 1 is no better."""
    licences: int = 0


class Price(NamedTuple):
    """A list price of one unit, in micro-units of the currency, and the factors that lead to it."""

    micro: int
    factors: Mapping[str, float]


def demand(requested_j: float, supplied_j: float) -> float:
    """How much more is asked for than supplied, as a share of the supply."""
    if supplied_j <= 0:
        return DEMAND_HIGH if requested_j > 0 else 0.0
    return min(max((requested_j - supplied_j) / supplied_j, DEMAND_LOW), DEMAND_HIGH)


def ceu(terms: Terms, measured: Measured) -> Price:
    """Cognitive energy units: work that irer does for a caller."""
    wanted = 1 + demand(measured.requested_j, measured.supplied_j)
    energy = terms.energy_price / terms.energy_reference
    return _price({"base": terms.ceu_base, "demand": wanted, "energy_price": energy})


def pft(terms: Terms, measured: Measured) -> Price:
    """Proof tokens: predictions that came true."""
    return _price({"base": terms.pft_base, "confidence": measured.confidence, "savings": measured.savings})


def munt(terms: Terms, measured: Measured) -> Price:
    """Model units: a licence of the built-in predictor."""
    complexity = 1 + math.log2(1 + max(measured.mflop_per_run, 0.0)) / 20
    performance = max(1 - measured.relative_interval_score, 0.0)
    exclusivity = 1 + 1 / (1 + measured.licences)
    return _price({"base": terms.munt_base, "complexity": complexity, "performance": performance, "exclusivity": exclusivity})


def _price(factors: dict[str, float]) -> Price:
    return Price(round(math.prod(factors.values()) * MICRO), factors)


def reputation_ppm(valid: int, settled: int) -> int:
    """The discount of a caller, in millionths: the lower end of Wilson's interval of its valid proofs, times a tenth."""
    if not settled:
        return 0
    share, z2 = valid / settled, WILSON_Z**2
    middle = share + z2 / (2 * settled)
    spread = WILSON_Z * math.sqrt(share * (1 - share) / settled + z2 / (4 * settled**2))
    return math.floor(max(middle - spread, 0.0) / (1 + z2 / settled) * REPUTATION_PPM_MAX)


def total_micro(side: Side, quantity_micro: int, list_micro: int, discount_ppm: int = 0) -> int:
    """What an order costs, or brings, in micro-units of the currency."""
    if side == "sell":
        return list_micro * quantity_micro * SELL_NUMERATOR // (SELL_DENOMINATOR * MICRO)
    paid = 0
    for place, (start, percent) in enumerate(TIERS):
        end = TIERS[place + 1][0] * MICRO if place + 1 < len(TIERS) else quantity_micro
        paid += max(min(quantity_micro, end) - start * MICRO, 0) * percent
    return -(-list_micro * paid * (PPM - discount_ppm) // (100 * PPM * MICRO))
