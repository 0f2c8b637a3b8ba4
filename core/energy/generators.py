"""Streams in which nothing ever changes, of the kinds that are met with, and ways to change them: what the detectors are judged on.

Chance comes from the caller's generator. An array has a line per tick and a column per stream.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]

AR_1 = 0.8
PERIOD = 288
"""Ticks of a day, at five minutes each."""
AMPLITUDE = 2.0


def gaussian(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    return chance.normal(size=(ticks, streams))


def autoregressive(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    """x' = 0.8 x + noise, of spread 1, from its own stationary state on."""
    noise = chance.normal(size=(ticks, streams)) * np.sqrt(1 - AR_1**2)
    found: Floats = np.empty_like(noise)
    found[0] = chance.normal(size=streams)
    for tick in range(1, ticks):
        found[tick] = AR_1 * found[tick - 1] + noise[tick]
    return found


def heavy(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    """Student's t with three degrees of freedom, of spread 1."""
    found: Floats = chance.standard_t(3, size=(ticks, streams)) / np.sqrt(3)
    return found


def uniform(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    return chance.uniform(-np.sqrt(3), np.sqrt(3), size=(ticks, streams))


def poisson(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    return chance.poisson(4.0, size=(ticks, streams)).astype(np.float64)


def rounded(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    found: Floats = np.round(chance.normal(size=(ticks, streams)))
    return found


def constant(_: np.random.Generator, ticks: int, streams: int) -> Floats:
    return np.full((ticks, streams), 42.0)


def diurnal(chance: np.random.Generator, ticks: int, streams: int) -> Floats:
    phase = chance.uniform(0, 2 * np.pi, size=streams)
    day = 2 * np.pi * np.arange(ticks)[:, None] / PERIOD
    found: Floats = AMPLITUDE * np.sin(day + phase) + chance.normal(size=(ticks, streams))
    return found


NULLS: dict[str, Draw] = {
    "gaussian": gaussian,
    "ar1": autoregressive,
    "t3": heavy,
    "uniform": uniform,
    "poisson": poisson,
    "rounded": rounded,
    "constant": constant,
    "diurnal": diurnal,
}
