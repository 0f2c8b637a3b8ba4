"""How a whole number of units is split by weight so that the parts add up to it: the largest remainders get what is left over."""

from collections.abc import Sequence

WEIGHT_SCALE = 1_000_000


def split(units: int, weights: Sequence[float]) -> list[int]:
    """Parts of `units`, one for each weight; of equal remainders the earlier one gets more. No weight at all: equal parts."""
    whole = [max(0, round(weight * WEIGHT_SCALE)) for weight in weights]
    total = sum(whole)
    if not total:
        whole, total = [1] * len(weights), len(weights)
    parts = [units * weight // total for weight in whole]
    left = units - sum(parts)
    by_remainder = sorted(range(len(whole)), key=lambda place: (-(units * whole[place] % total), place))
    for place in by_remainder[:left]:
        parts[place] += 1
    return parts
