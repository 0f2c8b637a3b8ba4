"""Which streams the points of a command are, and what they have to do with physics: worked out once for very many commands.

Sources of one kind send the same metrics in the same order, so a plan is of those and of no source. Knows no rows and no values.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from core.energy import units

VALUE_MAX = 1e30
"""Whatever is beyond is no number that can be used."""
PLANS_MAX = 1_024
Metrics = Sequence[tuple[str, str]]


class Plan:
    """Points that come in one order. Never changed."""

    __slots__ = (
        "all_streams", "around", "bounds", "complete", "metrics", "power", "roles", "straight", "streams", "units", "use", "warm",
    )  # fmt: skip

    def __init__(self, metrics: tuple[tuple[str, str], ...], streams: tuple[int, ...]) -> None:
        self.metrics = metrics
        """Of the source, all of them."""
        self.streams = streams
        """Of each point of a moment, which of them it is."""
        self.all_streams = frozenset(streams)
        self.complete = sorted(streams) == list(range(len(metrics)))
        """They are all that their source has,"""
        self.straight = streams == tuple(range(len(metrics)))
        """and in its own order."""
        self.units = [metrics[stream][1] for stream in streams]
        self.bounds = [_bounds(unit) for unit in self.units]
        """Between which each number can be used without a closer look."""
        self.roles = units.roles(metrics)
        places = {stream: place for place, stream in enumerate(streams)}
        self.power, self.warm, self.around, self.use = (places.get(stream, -1) for stream in self.roles)
        """Where these stand among the points; -1 where they do not."""


@lru_cache(maxsize=PLANS_MAX)
def plan_of(metrics: tuple[tuple[str, str], ...], streams: tuple[int, ...]) -> Plan:
    return Plan(metrics, streams)


def _bounds(unit: str) -> tuple[float, float]:
    low, high = -VALUE_MAX, VALUE_MAX
    if unit == "ratio":
        high = units.RATIO_MAX
    elif unit == "%":
        high = 100 * units.RATIO_MAX
    elif units.mismatched(unit, low):
        low = 0.0
    return low, high


def whole(lines: Sequence[Sequence[float]]) -> bool:
    """Whether a number stands in every place."""
    return not any(math.isnan(value) for line in lines for value in line)
