"""What a hunt may vary: which parameters of the model, between which bounds, on which scale.

The optimiser sees the unit cube alone. A space that was made is right: whatever cannot be searched is refused when it is asked
for, never in the middle of a hunt.
"""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Literal

import msgspec

from core.engine import Refused
from core.fields import Frozen

Scale = Literal["linear", "log"]
Bounds = tuple[float, float]

COMPLAINTS_MAX = 8
"""So many are told at once; a stranger's list of wrong names does not come back longer than it was."""


class Range(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Between which values a hunt varies a parameter.

    low: the least value
    high: the greatest value
    scale: linear, or log for what matters by its ratio
    """

    low: float
    high: float
    scale: Scale = "linear"


class Parameter(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """One coordinate of the search.

    name: the model's name for it
    low: the least value
    high: the greatest value
    scale: linear or log
    """

    name: str
    low: float
    high: float
    scale: Scale = "linear"

    def value(self, unit: float) -> float:
        """0 is low and 1 is high, to the last bit."""
        return self.values([unit])[0]

    def values(self, units: Sequence[float]) -> list[float]:
        """The same for many: what is alike for all is worked out once."""
        low, high = self.low, self.high
        if self.scale == "log":
            start = math.log(low)
            extent, exp = math.log(high) - start, math.exp
            found = [exp(start + unit * extent) for unit in units]
        else:
            found = [low * (1.0 - unit) + high * unit for unit in units]
        if not units or (min(units) > 0 and max(units) < 1 and min(found) >= low and max(found) <= high):
            return found
        return [
            low if unit <= 0 else high if unit >= 1 else low if value < low else high if value > high else value
            for unit, value in zip(units, found, strict=True)
        ]

    def unit(self, value: float) -> float:
        at, start, end = map(self._along, (min(max(value, self.low), self.high), self.low, self.high))
        # Of neighbouring floats the logarithms may be the same.
        return min(max((at - start) / (end - start), 0.0), 1.0) if start < end else 0.0

    def _along(self, value: float) -> float:
        """Halved where it is linear, so that no difference of finite bounds is infinite."""
        return math.log(value) if self.scale == "log" else value / 2


class Space(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """The parameters in the order of the optimiser's coordinates.

    parameters: what is varied
    """

    parameters: tuple[Parameter, ...]

    def __len__(self) -> int:
        return len(self.parameters)

    def point(self, unit: Sequence[float]) -> dict[str, float]:
        """The model's parameters at a place of the unit cube."""
        return self.points([unit])[0]

    def points(self, units: Sequence[Sequence[float]]) -> list[dict[str, float]]:
        names = [each.name for each in self.parameters]
        columns = [each.values(along) for each, along in zip(self.parameters, zip(*units, strict=True), strict=bool(units))]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def unit(self, point: Mapping[str, float]) -> tuple[float, ...]:
        """The place of these parameters in the unit cube; what lies outside the space comes to its edge."""
        return tuple(each.unit(point[each.name]) for each in self.parameters)

    def ranges(self) -> dict[str, Range]:
        return {each.name: Range(each.low, each.high, each.scale) for each in self.parameters}


DEFAULT = Space(
    (
        Parameter("eps", 0.3, 1.5, "log"),
        Parameter("lam", 0.5, 2.0, "log"),
        Parameter("b3", 0.5, 1.5),
        Parameter("c3", -1.5, 1.5),
        Parameter("g_nl", -0.3, 3.0),
        Parameter("sigma", 0.5, 8.0, "log"),
        Parameter("a", 0.0, 0.9),
        Parameter("r", 0.3, 0.8),
        Parameter("kappa", 0.1, 1.0, "log"),
        Parameter("eta", 0.1, 1.0, "log"),
        Parameter("alpha", -1.0, 1.0),
        Parameter("rho_vac", 0.5, 2.0, "log"),
        Parameter("D_g", 0.5, 2.0, "log"),
        Parameter("m2", 0.3, 2.0, "log"),
    )
)
"""On the log scale stands what is positive and spans a factor of four or more."""

SETTINGS = {
    "tau": "the h-norm shrinks with tau whatever the field does, so every search would end at the smallest tau and call it stable",
    **dict.fromkeys(("L", "N", "d", "dt", "steps"), "it says how finely the model is worked out, not what the model is"),
    **dict.fromkeys(("seed", "seeds"), "a hunt draws its seeds itself, so that luck with one is not taken for a good point"),
}
"""What belongs to a run and is never varied, with the reason."""


def space(wanted: Mapping[str, Range], bounds: Mapping[str, Bounds]) -> Space:
    """The space of these ranges, in the order of the model's parameters, whose bounds are given; else `Refused`.

    The order does not depend on how the ranges were listed, so the same ranges are the same hunt.
    """
    complaints = ((f"space.{name}", _complaint(name, given, bounds)) for name, given in wanted.items())
    fields = list(islice(((at, text) for at, text in complaints if text), COMPLAINTS_MAX))
    if fields:
        raise Refused("invalid-argument", "; ".join(f"{at}: {text}" for at, text in fields), reason="space", fields=fields)
    if not wanted:
        text = "the space names no parameter, so there is nothing to search. Leave it out for the default, or name at least one"
        raise Refused("invalid-argument", text, reason="space", fields=[("space", text)])
    order = [name for name in bounds if name in wanted]
    return Space(tuple(Parameter(name, wanted[name].low, wanted[name].high, wanted[name].scale) for name in order))


def _complaint(name: str, given: Range, bounds: Mapping[str, Bounds]) -> str | None:
    if name in SETTINGS:
        return f"{name} is a setting of the runs and is not searched: {SETTINGS[name]}. Set it for the whole hunt instead"
    if name not in bounds:
        close = get_close_matches(name, list(bounds), n=1, cutoff=0.5)
        instead = f"Did you mean {close[0]}?" if close else f"It has {', '.join(bounds)}"
        return f"the model has no such parameter. {instead}"
    if not (math.isfinite(given.low) and math.isfinite(given.high)):
        return f"{given.low} … {given.high} has no end, so there is no point to draw. Give two finite numbers"
    if given.low >= given.high:
        return f"low {given.low} is not below high {given.high}, so nothing lies between. {_order(given)}"
    if given.scale == "log" and given.low <= 0:
        return f"low {given.low} has no logarithm. Give a low above 0, or scale linear"
    least, most = bounds[name]
    if given.low < least or given.high > most:
        return f"{given.low} … {given.high} leaves what the model takes. Stay within {least} … {most}"
    return None


def _order(given: Range) -> str:
    if given.low == given.high:
        return "To hold it at one value, leave it out of the space and set it for the whole hunt"
    return f"Write low {given.high}, high {given.low}"
