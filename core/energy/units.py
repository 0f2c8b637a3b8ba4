"""What the numbers of a stream are in: from the configuration, else from the metric's name, else nothing is known of them.

The first unit of a stream stays. A value that cannot be in that unit is refused by itself, and its stream goes on.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Unit = Literal["W", "kW", "°C", "K", "°F", "%", "ratio", "B/s", "1"]

NAMES: Mapping[str, Unit] = {
    "power_draw": "W",
    "temperature": "°C",
    "cpu_usage": "ratio",
    "network_throughput": "B/s",
}
SUFFIXES: Mapping[str, Unit] = {
    "_w": "W",
    "_kw": "kW",
    "_c": "°C",
    "_k": "K",
    "_f": "°F",
    "_pct": "%",
    "_ratio": "ratio",
    "_bytes_s": "B/s",
}
RATIO_MAX = 1.5
"""Above this a ratio is a percentage in disguise."""
SURROUNDINGS = ("ambient", "inlet")
"""A temperature with one of these words in its name is that of the surroundings."""
ZERO_C = 273.15


def unit_of(metric: str, configured: Mapping[str, str]) -> Unit:
    if (said := configured.get(metric)) is not None:
        return said  # type: ignore[return-value]
    if (known := NAMES.get(metric)) is not None:
        return known
    fitting = [suffix for suffix in SUFFIXES if metric.endswith(suffix)]
    return SUFFIXES[max(fitting, key=len)] if fitting else "1"


def mismatched(unit: str, value: float) -> bool:
    """Whether no value in this unit can be so: the sensor speaks another one."""
    if unit == "ratio":
        return value > RATIO_MAX
    if unit == "%":
        return value > 100 * RATIO_MAX
    return unit in _KELVIN and kelvin(unit, value) < 0


_KELVIN = frozenset({"°C", "K", "°F"})


def kelvin(unit: str, value: float) -> float:
    if unit == "°C":
        return value + ZERO_C
    return (value - 32) / 1.8 + ZERO_C if unit == "°F" else value


def watts(unit: str, value: float) -> float:
    return value * 1000 if unit == "kW" else value


def share(unit: str, value: float) -> float:
    return value / 100 if unit == "%" else value


class Roles(NamedTuple):
    """Which streams of a source have a meaning in physics, by place; -1 where none has."""

    power: int = -1
    temperature: int = -1
    surroundings: int = -1
    utilisation: int = -1


def roles(metrics: Sequence[tuple[str, str]]) -> Roles:
    """From names and units, in the order in which the streams came. Of several that fit, the known name wins, then the first."""
    return _roles(metrics if type(metrics) is tuple else tuple(metrics))


@lru_cache(maxsize=256)
def _roles(metrics: tuple[tuple[str, str], ...]) -> Roles:
    """Remembered, because sources of one kind are many and each point asks."""

    def first(known: str, fits: Sequence[str], *, around: bool | None = None) -> int:
        found = -1
        for place, (name, unit) in enumerate(metrics):
            if unit not in fits or (around is not None and any(word in name for word in SURROUNDINGS) != around):
                continue
            if name == known:
                return place
            found = place if found < 0 else found
        return found

    temperatures = ("°C", "K", "°F")
    return Roles(
        first("power_draw", ("W", "kW")),
        first("temperature", temperatures, around=False),
        first("ambient", temperatures, around=True),
        first("cpu_usage", ("ratio", "%")),
    )
