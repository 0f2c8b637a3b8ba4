"""Points of several commands, each of another source, advanced in one pass: arithmetic on columns costs by the call and not by the
point.

A round is worked out before its commands are decided and is taken over command by command, or not at all. No figure depends on what
stood in a round together. What following needs of one command is handed on as plain numbers, for a tick of one source is too little
for arrays.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from core.energy import columns, entropy, layout

NATS_PLACES = 1e9
"""Of nats: beyond these the logarithm of one machine is not that of another."""
_LAGS, _WEIGHTS, _LEVELS = (list(range(layout.WIDTH_F8)[each]) for each in (layout.LAGS, layout.WEIGHTS, layout.LEVEL_OF))
_F8 = [layout.MEAN, layout.LOW, layout.HIGH, *_LAGS, *_WEIGHTS, *_LEVELS]
_F4 = [layout.STEP, layout.HALVES.stop - 1, layout.QUANTUM, *range(layout.WIDTH_F4)[layout.LEVEL_LOSSES]]


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


class Ask(NamedTuple):
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
        self.groups: list[Any] | None = None
        """`quiet.Group`s of it, once somebody asked for them."""
        self.begins: list[int] = []
        """Of each ask, where its points begin among all."""
        for ask in asks:
            self.begins.append(len(rows))
            if ask.whole and len(ask.times) == 1:
                rows += ask.rows
                times += [ask.times[0]] * len(ask.rows)
                values += ask.values[0]
                continue
            for time, line in zip(ask.times, ask.values, strict=True):
                for row, value in zip(ask.rows, line, strict=True):
                    if not math.isnan(value):
                        rows.append(row)
                        times.append(time)
                        values.append(value)
        self._store = store
        self.asks = asks
        self._powers = [ask.power for ask in asks if ask.power >= 0]
        self._before: dict[int, Power] | None = None
        self._after: dict[int, Power] | None = None
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

    @cached_property
    def fates(self) -> list[int]:
        found: list[int] = self.advanced.findings.fate.tolist()
        return found

    @cached_property
    def residuals(self) -> list[float]:
        found: list[float] = self.advanced.findings.residual.tolist()
        return found

    @cached_property
    def alerts(self) -> list[float]:
        found: list[float] = self.advanced.findings.alert.tolist()
        return found

    @cached_property
    def gaps(self) -> list[bool]:
        found: list[bool] = self.advanced.findings.gap.tolist()
        return found

    @cached_property
    def place(self) -> dict[int, int]:
        """Of each row, where its spread and its entropy stand."""
        rows = self.advanced.rows
        return dict(zip(rows.tolist(), range(len(rows)), strict=True))

    @property
    def spreads_of_rows(self) -> layout.Floats:
        found: layout.Floats = self.advanced.block.f8[layout.SPREAD]
        return found

    @cached_property
    def spreads(self) -> list[float]:
        found: list[float] = self.spreads_of_rows.tolist()
        return found

    @cached_property
    def nats_of_rows(self) -> layout.Floats:
        return nats(self.advanced.block)

    @cached_property
    def nats(self) -> list[float]:
        found: list[float] = self.nats_of_rows.tolist()
        return found

    def before(self, row: int) -> Power:
        """What a power said before, whose command is not taken over yet."""
        if self._before is None:
            rows = sorted(set(self._powers))
            self._before = powers(self._store.take(np.array(rows, np.intp)), rows)
        return self._before[row]

    def after(self, row: int) -> Power | None:
        """What it says with these points; None where none of them is of it."""
        if self._after is None:
            rows = sorted(self.place.keys() & set(self._powers))
            self._after = powers(self.advanced.block, rows, [self.place[row] for row in rows])
        return self._after.get(row)

    def take_over(self, rows: Sequence[int]) -> None:
        """The points of these rows have come. The store has them once `settle` is called."""
        place = self.place
        self._taken += [place[row] for row in rows if row in place]

    def settle(self) -> None:
        for group in self.groups or ():
            for at in group.taken:
                self._taken += group.at[at].tolist()
            group.settle()
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
    found: layout.Floats = np.rint(entropy.quantised(block) * NATS_PLACES) / NATS_PLACES
    return found


def powers(block: layout.Block, rows: Sequence[int], places: Sequence[int] | None = None) -> dict[int, Power]:
    """What some columns of a block say, as those of powers."""
    if not rows:
        return {}
    some = np.arange(len(rows)) if places is None else np.array(places, np.intp)
    eights = block.f8[:, some][_F8].T.tolist()
    fours = block.f4[_F4][:, some].T.tolist()
    return {row: _power(eight, four) for row, eight, four in zip(rows, eights, fours, strict=True)}


def _power(eight: list[float], four: list[float]) -> Power:
    mean, low, high = eight[:3]
    step, half, quantum, *losses = four
    level = eight[11 + losses.index(min(losses))]
    return Power(mean, low, high, tuple(eight[3:7]), tuple(eight[7:11]), level, step, half, quantum)
