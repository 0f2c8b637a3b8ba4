"""Points of several commands, each of another source, advanced in one pass: arithmetic on columns costs by the call and not by the
point.

A round is worked out before its commands are decided and is taken over command by command, or not at all. No figure depends on what
stood in a round together. What following needs of one command is handed on as plain numbers, for a tick of one source is too little
for arrays.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from core.energy import columns, entropy, layout

NATS_PLACES = 1e9
"""Of nats: beyond these the logarithm of one machine is not that of another."""


Told = TypeVar("Told")


class _Once(Generic[Told]):
    """Worked out when it is asked for first, and then an attribute like any other."""

    def __init__(self, work_out: Callable[[Any], Told]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __get__(self, instance: Any, owner: Any) -> Told:
        found = instance.__dict__[self._work_out.__name__] = self._work_out(instance)
        return found


_NATS_PLACES = np.array(NATS_PLACES)


class Power(NamedTuple):
    """What the row of a power says."""

    mean: float
    low: float
    high: float
    lags: tuple[float, ...]
    weights: tuple[float, ...]
    level: float
    """At the rate that did best lately."""
    step: float
    half: float
    """Of the 95 % interval of one step."""
    quantum: float


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Points of one command: a line for each moment, a place in it for each row, NaN where there is none."""

    source: str
    rows: Sequence[int]
    times: Sequence[float]
    values: Sequence[Sequence[float]]
    power: int
    """The row of the power; -1 where it is none of these."""
    whole: bool = False
    """A number stands in every place."""


class Round:
    """What the points of some commands would lead to."""

    def __init__(self, store: layout.Store, asks: Sequence[Ask]) -> None:
        rows: list[int] = []
        times: list[float] = []
        values: list[float] = []
        self.grouped = False
        """Whether somebody looked for `quiet.Group`s in it. They know it and not it them, or only the collector would free them."""
        self.begins: list[int] = []
        """Of each ask, where its points begin among all."""
        for ask in asks:
            self.begins.append(len(rows))
            if ask.whole:
                moments, size = len(ask.times), len(ask.rows)
                rows += [*ask.rows] * moments
                times += ask.times if size == 1 else [ask.times[0]] * size if moments == 1 else np.repeat(ask.times, size).tolist()
                values += chain.from_iterable(ask.values)
                continue
            for time, line in zip(ask.times, ask.values, strict=True):
                for row, value in zip(ask.rows, line, strict=True):
                    if not math.isnan(value):
                        rows.append(row)
                        times.append(time)
                        values.append(value)
        self._store = store
        self.asks = asks
        self._taken: list[int] = []
        self.rows = np.array(rows, np.intp)
        self.times = np.array(times, np.float64)
        self.values = np.array(values, np.float64)
        """Of each point."""
        self.advanced = columns.advance(store, self.rows, self.times, self.values)
        self.clean = not np.count_nonzero(self.advanced.findings.fate)
        """Every point was accepted."""
        self.shifts: dict[int, list[columns.Shift]] = {}
        for shift in self.advanced.findings.shifts:
            self.shifts.setdefault(shift.row, []).append(shift)

    @_Once
    def fates(self) -> list[int]:
        found: list[int] = self.advanced.findings.fate.tolist()
        return found

    @_Once
    def residuals(self) -> list[float]:
        found: list[float] = self.advanced.findings.residual.tolist()
        return found

    @_Once
    def alerts(self) -> list[float]:
        found: list[float] = self.advanced.findings.alert.tolist()
        return found

    @_Once
    def gaps(self) -> list[bool]:
        found: list[bool] = self.advanced.findings.gap.tolist()
        return found

    @_Once
    def place(self) -> dict[int, int]:
        """Of each row, where its spread and its entropy stand."""
        rows = self.advanced.rows
        return dict(zip(rows.tolist(), range(len(rows)), strict=True))

    @property
    def spreads_of_rows(self) -> layout.Floats:
        found: layout.Floats = self.advanced.block.f8[layout.SPREAD]
        return found

    @_Once
    def spreads(self) -> list[float]:
        found: list[float] = self.spreads_of_rows.tolist()
        return found

    @_Once
    def nats_of_rows(self) -> layout.Floats:
        return nats(self.advanced.block)

    @_Once
    def nats(self) -> list[float]:
        found: list[float] = self.nats_of_rows.tolist()
        return found

    def noise_before(self, row: int) -> tuple[float, float]:
        """Of a power whose command is not taken over yet."""
        return noise(self._store, row)

    def after(self, row: int) -> Power | None:
        """What a power says with these points; None where none of them is of it."""
        place = self.place.get(row)
        return None if place is None else power_of(self.advanced.block, place)

    def take_over(self, rows: Sequence[int]) -> None:
        """The points of these rows have come. The store has them once `settle` is called."""
        place = self.place
        self._taken += [place[row] for row in rows if row in place]

    def take_over_places(self, places: Iterable[int]) -> None:
        """The same of rows whose places in the block are known."""
        self._taken += places

    def settle(self) -> None:
        if not self._taken:
            return
        advanced = self.advanced
        if len(self._taken) == len(advanced.rows):
            self._store.put(advanced.rows, advanced.block)
        else:
            places = np.array(sorted(self._taken), np.intp)
            self._store.put(advanced.rows[places], advanced.block.take(places))
        self._taken = []


def nats(block: layout.Block) -> layout.Floats:
    """Of each row, rounded."""
    found: layout.Floats = np.rint(entropy.quantised(block) * _NATS_PLACES) / _NATS_PLACES
    return found


def noise(store: layout.Store, row: int) -> tuple[float, float]:
    """Half the 95 % interval of one step, and the step of the sensor."""
    return store.single(row, layout.HALF), store.single(row, layout.QUANTUM)


def power_of(block: layout.Block, at: int) -> Power:
    """What a column of a block says, as that of a power."""
    eights, fours = block.f8[:, at].tolist(), block.f4[: layout.HALVES.stop, at].tolist()
    losses = fours[layout.LEVEL_LOSSES]
    return Power(
        eights[layout.MEAN],
        eights[layout.LOW],
        eights[layout.HIGH],
        tuple(eights[layout.LAGS]),
        tuple(eights[layout.WEIGHTS]),
        eights[layout.LEVEL_OF][losses.index(min(losses))],
        fours[layout.STEP],
        fours[layout.HALF],
        fours[layout.QUANTUM],
    )
