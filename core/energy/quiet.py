"""Sources in which nothing happens, side by side: what one moment adds to each of very many, worked out in columns.

Arithmetic on columns costs by the call and not by the source. So what a moment changes of a source that just goes on is a row of
figures, and the moments of a whole round are followed here at once: totals, paces, regimes, claims, and what claims that were met
teach. It is the arithmetic of `following`, `bank` and `claims`, in the same order, and comes to the same figures to the last bit.
Whatever is not quiet is left to them: shifts, refused points, modelled power, heat. Nothing is changed here until a command is
taken over.
"""

import math
from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.canonical import FIGURE_MAX, FIGURE_MIN
from core.energy import bank, claims, layout, packed, units
from core.energy.facts import Totals
from core.energy.following import FLOOR, LEVEL_DOUBT, SMOOTH, Follow, Pace, Said, kept_claim
from core.energy.layout import Floats
from core.energy.node import surrogate_energies
from core.energy.plans import Plan
from core.energy.rounds import Round

_PACE = ("time", "total", "first_time", "first_total", "last", "smooth", "off", "steps")
_NAMES = len(bank.NAMES)
_HORIZON, _MOVES = 14, _NAMES * _NAMES

_FIELD, _WIDTH = layout.places_of(
    dict(
        time=1, power_time=1, watts=1, metered=1, kelvin_time=1, kelvin=1, energy_pace=8, nats_pace=8, regime_ticks=1, name=1,
        moves=_MOVES, brier=1, brier_same=1, next=1, confidence=1, ticks=1,
        until=1, unstable_until=1, powered=1, energy_known=_HORIZON, nats_known=_HORIZON,
    )
)  # fmt: skip
_MOVED = _FIELD["until"].start
"""Fields before this one change with every moment; those from it on only when something happens, or claims are met."""
_KNOWN = slice(_FIELD["energy_known"].start, _FIELD["nats_known"].stop)
_AT = {name: place.start for name, place in _FIELD.items() if place.stop == place.start + 1}
_LINES = 21
"""Figures of a record, for each source."""
_OF_CLAIM = 5
"""The first of them that is of its claim."""
FEW_PATHS = 12
"""So many are sooner followed one by one."""
FEW_MET = 5
"""Fewer claims than these are sooner learned from one by one."""
_CLAIM, _SAID = 12, 25
"""Figures of a claim; and of the two that go with it, and which unit the energy is in."""
SAID_BYTES = 8 * _SAID
_figures, _unit, _UNIT_AT = Struct(f"{_SAID}d").unpack, Struct("d").unpack_from, 8 * (_SAID - 1)
_WITH_HALVES = [0, 1, 2, 4]
"""Of five lines, the references and the claim itself: the autoregression alone is said with no interval."""
Place = NDArray[np.intp]
Moment = tuple[float, float, float, float, float]
"""When, and the totals then: energy, surrogate, entropy in J/K, nats. A `Tick` begins with them."""


class Member(msgspec.Struct, frozen=True, gc=False):
    """A moment of one source, as it stands in a round."""

    number: int
    """Which of its asks."""
    expected: Any
    """`view.Expected`."""
    place: int
    """Of its source, among `Sources`."""
    totals: Totals
    """What its source had come to before."""


class Sources:
    """A row for each source that was followed in columns: all that a quiet moment changes, and what it depends on."""

    def __init__(self) -> None:
        self.rows: Floats = np.zeros((64, _WIDTH))
        self.places: dict[str, int] = {}
        """Of those whose row is what is known of them."""
        self._free: list[int] = []
        self._size = 0
        self._met: list[_Met] = []

    def enter(self, source: str, follow: Follow, streams: int, powered: bool) -> int | None:
        """The row of a source from now on; None where it is in something that only `following` can follow."""
        regime, (energy, _, nats) = follow.regime, follow.paces
        if regime.lately or regime.ticks <= 0 or len(follow.alerts) != streams or len(follow.nats) != streams:
            return None
        if not math.isnan(follow.around_k) or math.isnan(energy.time) or math.isnan(nats.time):
            return None
        place = self._free.pop() if self._free else self._grown()
        changes = regime.changes
        unstable_until = changes[0] + bank.UNSTABLE_COOLDOWNS * bank.COOLDOWN if len(changes) == bank.UNSTABLE_SHIFTS else -1
        self.rows[place] = [
            follow.time, *follow.power, follow.metered, *follow.kelvin, *_pace_row(energy), *_pace_row(nats),
            regime.ticks, bank.NAMES.index(regime.name), *(count for line in regime.counts for count in line),
            regime.brier, regime.brier_same, bank.NAMES.index(follow.next_likely), follow.confidence, follow.ticks,
            regime.until, unstable_until, powered,
            *_horizon_row(follow.horizons[0 if powered else 1]), *_horizon_row(follow.horizons[3]),
        ]  # fmt: skip
        self.places[source] = place
        return place

    def leave(self, source: str) -> None:
        """Its row is not what is known of it any more."""
        place = self.places.pop(source, None)
        if place is not None:
            self._free.append(place)

    def ticks(self, source: str) -> int:
        return int(self.rows[self.places[source], _AT["ticks"]])

    def meet(self, source: str, met: Sequence[tuple[str, Any, float, float]]) -> bool:
        """Claims about it were met: prediction, what was said, energy and entropy. Its row learns from them when all rows `settle`.
        False, and nothing has happened, where one was not said as `said_of` reads it, or is of another unit than the row.
        """
        place = self.places[source]
        powered = self.rows.item(place, _AT["powered"])
        if not all(isinstance(said, bytes) and _unit(said, _UNIT_AT)[0] == powered for _, said, _, _ in met):
            return False
        self._met += [_Met(place, said, energy, entropy) for _, said, energy, entropy in met]
        return True

    def settle(self) -> None:
        """Rows learn from what was met, one claim of each source after the other."""
        while self._met:
            some = {each.place: each for each in reversed(self._met)}
            self._met = [each for each in self._met if some[each.place] is not each] if len(some) < len(self._met) else []
            if len(some) < FEW_MET:
                for each in some.values():
                    self._learn(each)
                continue
            said = np.frombuffer(b"".join([each.said for each in some.values()])).reshape(-1, _SAID)
            outcomes = np.array([(each.energy, each.entropy) for each in some.values()])
            places = list(some)
            known = self.rows[places, _KNOWN].reshape(-1, _HORIZON).T
            learned = _learned(known, said[:, :-1].reshape(-1, _CLAIM).T, outcomes.ravel())
            self.rows[places, _KNOWN] = learned.T.reshape(len(places), -1)

    def _learn(self, met: "_Met") -> None:
        row, figures = self.rows[met.place, _KNOWN].tolist(), _figures(met.said)
        energy = claims.learned(_horizon(row[:_HORIZON]), figures[:_CLAIM], met.energy)
        nats = claims.learned(_horizon(row[_HORIZON:]), figures[_CLAIM:-1], met.entropy)
        self.rows[met.place, _KNOWN] = _horizon_row(energy) + _horizon_row(nats)

    def copy(self) -> "Sources":
        """As they stand when all has settled."""
        twin = Sources()
        twin.rows, twin.places = self.rows.copy(), dict(self.places)
        twin._free, twin._size = list(self._free), self._size
        return twin

    def follow(self, source: str, before: Follow, alerts: Sequence[float], nats: Sequence[float]) -> Follow:
        """What is known of a source, made of its row and of what was known when it was entered."""
        row = self.rows[self.places[source]].tolist()
        at, horizons = _AT, list(before.horizons)
        horizons[0 if row[at["powered"]] else 1] = _horizon(row[_FIELD["energy_known"]])
        horizons[3] = _horizon(row[_FIELD["nats_known"]])
        counts = [int(count) for count in row[_FIELD["moves"]]]
        regime = bank.Source(
            int(row[at["regime_ticks"]]),
            bank.NAMES[int(row[at["name"]])],
            (),
            before.regime.changes,
            before.regime.until,
            tuple(tuple(counts[line : line + _NAMES]) for line in range(0, _MOVES, _NAMES)),
            row[at["brier"]],
            row[at["brier_same"]],
        )
        return Follow(
            regime,
            bank.NAMES[int(row[at["next"]])],
            row[at["confidence"]],
            before.node,
            tuple(horizons),
            (_pace(row[_FIELD["energy_pace"]]), before.paces[1], _pace(row[_FIELD["nats_pace"]])),
            tuple(alerts),
            tuple(nats),
            (row[at["power_time"]], row[at["watts"]]),
            int(row[at["metered"]]),
            (row[at["kelvin_time"]], row[at["kelvin"]]),
            before.around_k,
            row[at["time"]],
            before.shifts,
            before.alarms,
            int(row[at["ticks"]]),
        )

    def _grown(self) -> int:
        if self._size == len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        self._size += 1
        return self._size - 1


def _pace_row(pace: Pace) -> list[float]:
    return [getattr(pace, name) for name in _PACE]


def _pace(row: Sequence[float]) -> Pace:
    time, total, first_time, first_total, last, smooth, off, steps = row
    return Pace(time, total, first_time, first_total, last, smooth, off, int(steps))


def _horizon_row(known: claims.Horizon) -> list[float]:
    settled, covered, losses, loss, halves, half, scores = known
    return [settled, covered, *losses, loss, *halves, half, *scores]


def _horizon(row: Sequence[float]) -> claims.Horizon:
    settled, covered, one, two, three, four, loss, half_one, half_two, half_three, half, *scores = row
    halves = half_one, half_two, half_three
    return claims.Horizon(int(settled), int(covered), (one, two, three, four), loss, halves, half, tuple(scores))  # type: ignore[arg-type]


class _Met(NamedTuple):
    """A claim of which the outcome is known."""

    place: int
    """Of its source."""
    said: bytes
    energy: float
    entropy: float


class Group:
    """Moments of one round whose sources have the same metrics in the same order. Of some of them more must be asked: these are
    not `quiet`.
    """

    def __init__(self, sources: Sources, done: Round, plan: Plan, members: Sequence[Member], horizon_us: int, eil: object) -> None:
        self.horizon_us = horizon_us
        self.round, self.plan, self.eil = done, plan, eil
        self.expected = [each.expected for each in members]
        self.facts = [each.facts for each in self.expected]
        self.totals = [each.totals for each in members]
        self.powered = plan.power >= 0
        self.streams = list(plan.streams)
        self.places: Place = np.array([each.place for each in members], np.intp)
        self.taken: list[int] = []
        self.numbers = [each.number for each in members]
        self._sources = sources
        with np.errstate(all="ignore"):  # of what is not quiet nothing is asked
            self._look(np.array([done.begins[number] for number in self.numbers], np.intp), horizon_us / 1e6)

    def settle(self) -> None:
        """Those that were taken over stand in the rows of their sources from now on."""
        if not self.taken:
            return
        taken = self.taken
        self.round.take_over_places(self.at[taken].ravel().tolist())
        self._sources.rows[self.places[taken], :_MOVED] = self._after[taken, :_MOVED]
        self.taken = []

    # --- one of them -------------------------------------------------------------------------------------------------

    def step(self, at: int) -> tuple[Moment, Moment] | None:
        """Its totals before and after, counted from before; None where a gap lies between."""
        if self._gap[at]:
            return None
        added, surrogate, nats = self._added.item(at), self._surrogate.item(at), self.comes_to[at][3]
        return (
            (self._row.item(at, _AT["time"]), 0.0, 0.0, 0.0, self.totals[at].nats),
            (self._times.item(at), added, surrogate, 0.0, nats),
        )

    def totals_after(self, at: int) -> Totals:
        was, (energy_j, surrogate, uncovered_s, nats, _) = self.totals[at], self.comes_to[at]
        return Totals(energy_j, surrogate, was.sigma_j, uncovered_s, was.modelled, was.entropy_j_k, nats, False, self.powered)

    def noise_before(self, at: int) -> tuple[float, float]:
        """Of its power, as it stood before."""
        return self.round.noise_before(self.round.asks[self.numbers[at]].power)

    # --- what a moment adds -----------------------------------------------------------------------------------------

    def _look(self, numbers: Place, horizon_s: float) -> None:
        done, plan, findings = self.round, self.plan, self.round.advanced.findings
        points = numbers[:, None] + np.arange(len(plan.streams))
        self._row = row = self._sources.rows.take(self.places, axis=0)
        values = done.values[points].T
        times = done.times[numbers]
        rows = done.rows[points]
        self.at = at = np.searchsorted(done.advanced.rows, rows)
        """Where the rows of its streams stand in the block of the round."""
        order = [plan.streams.index(stream) for stream in range(len(plan.streams))]
        alerts = findings.alert[points][:, order]
        nats = done.nats_of_rows[at][:, order]
        quiet = ~findings.fate[points].any(axis=1)
        if done.shifts:
            quiet &= ~np.isin(rows, list(done.shifts)).any(axis=1)
        for pace in ("energy_pace", "nats_pace"):
            quiet &= times > row[:, _FIELD[pace].start]
        self._times = times
        self._watts: Floats = np.zeros(0)
        self._gap = gap = findings.gap[points[:, plan.power]] if self.powered else np.zeros(len(numbers), np.bool_)
        self._totals(times, values, points, gap, nats, quiet)
        self._after = after = row.copy()
        self._regimes(alerts)
        self._paces(times, values)
        lines, self.claims = self._claims(horizon_s, at)
        told: list[list[float]] = lines.tolist()
        self.comes_to = list(zip(*told[:_OF_CLAIM], strict=True))
        """Of each its energy, surrogate, uncovered seconds and nats, and how sure its next regime is."""
        self.energies, self.entropies = list(zip(*told[5:10], strict=True)), list(zip(*told[10:15], strict=True))
        self.references = list(map(list, zip(*(zip(*told[low : low + 2], strict=True) for low in (15, 17, 19)), strict=True)))
        """Of the claim of each, its bands and those of the naive predictors."""
        self.figures = _written(lines)
        """Of each the figures that are of no claim, as a record has them; None where those of its record are to be looked at."""
        names = bank.NAMES
        self.names = [names[each] for each in after[:, _AT["name"]].astype(np.intp).tolist()]
        self.likely = [names[each] for each in after[:, _AT["next"]].astype(np.intp).tolist()]
        self.quiet: list[bool] = quiet.tolist()
        self.alerts: list[list[float]] = alerts.tolist()
        self.nats: list[list[float]] = nats.tolist()
        self.moments_us = [each.times_us[0] for each in self.expected]
        self.moments = packed.packed_rows(np.array(self.moments_us, np.int64)[:, None])
        self.values = packed.packed_rows(np.ascontiguousarray(values.T))

    def _totals(self, times: Floats, values: Floats, points: Place, gap: NDArray[np.bool_], nats: Floats, quiet: Any) -> None:
        row, plan, done = self._row, self.plan, self.round
        self._added, uncovered, surrogate = np.zeros(len(times)), np.zeros(len(times)), np.zeros(len(times))
        if self.powered:
            self._watts = watts = values[plan.power] * units.watts(plan.units[plan.power], 1.0)
            passed = np.rint((times - row[:, _AT["power_time"]]) * 1e6) / 1e6
            quiet &= passed > 0
            added = 0.5 * (row[:, _AT["watts"]] + watts) * passed
            self._added, uncovered = np.where(gap, 0.0, added), np.where(gap, passed, 0.0)
        else:
            spreads = np.sqrt(np.maximum(done.spreads_of_rows[self.at], 0.0))
            each = surrogate_energies(done.advanced.findings.residual[points], spreads)
            for column in each.T:
                surrogate += column
            surrogate /= len(plan.streams)
        total = np.zeros(len(times))
        for column in nats.T:
            total += column
        self._nats = total
        self._surrogate = surrogate
        self._energy_j = np.array([each.energy_j for each in self.totals]) + self._added
        self._surrogates = np.array([each.surrogate for each in self.totals]) + surrogate
        self._uncovered = np.array([each.uncovered_s for each in self.totals]) + uncovered

    def _regimes(self, alerts: Floats) -> None:
        row, after = self._row, self._after
        tick = row[:, _AT["regime_ticks"]] + 1
        streams = alerts.shape[1]
        needed = max(1, math.ceil(bank.SHARE * streams))
        drifting = np.add.reduce(alerts > bank.DRIFTING, 1) >= needed
        name = np.where(drifting, 2, 1)
        name[tick < row[:, _AT["until"]]] = 3
        name[tick <= row[:, _AT["unstable_until"]]] = 4
        name[tick <= bank.LEARNING] = 0
        before = row[:, _AT["name"]].astype(np.intp)
        rate = 1 / np.minimum(tick, 1_024)
        missed = row[:, _AT["confidence"]] - (name == row[:, _AT["next"]])
        after[:, _AT["brier"]] += rate * (missed * missed - row[:, _AT["brier"]])
        after[:, _AT["brier_same"]] += rate * ((name != before) - row[:, _AT["brier_same"]])
        each = np.arange(len(tick))
        moves = after[:, _FIELD["moves"]]
        moves[each, _NAMES * before + name] += 1
        line = moves.reshape(-1, _NAMES, _NAMES)[each, name]
        most = line.max(axis=1)
        best = np.where(line[each, name] == most, name, line.argmax(axis=1))
        after[:, _AT["regime_ticks"]] = tick
        after[:, _AT["ticks"]] += 1
        after[:, _AT["name"]] = name
        after[:, _AT["next"]] = best
        after[:, _AT["confidence"]] = (most + bank.HALF) / (np.add.reduce(line, 1) + bank.HALF * _NAMES)

    def _paces(self, times: Floats, values: Floats) -> None:
        plan, row, after = self.plan, self._row, self._after
        after[:, _AT["time"]] = times
        if self.powered:
            after[:, _AT["power_time"]], after[:, _AT["watts"]] = times, self._watts
            after[:, _AT["metered"]] = plan.roles.power
        if plan.warm >= 0:
            after[:, _AT["kelvin_time"]] = times
            after[:, _AT["kelvin"]] = units.kelvin(plan.units[plan.warm], values[plan.warm])
        added = self._added if self.powered else self._surrogate
        after[:, _FIELD["energy_pace"]] = _paced(row[:, _FIELD["energy_pace"]].T, times, added, added).T
        after[:, _FIELD["nats_pace"]] = _paced(row[:, _FIELD["nats_pace"]].T, times, self._nats, 0.0).T

    # --- what is said of it -----------------------------------------------------------------------------------------

    def _claims(self, horizon_s: float, at: Place) -> tuple[Floats, bytes]:
        after, block, plan = self._after, self.round.advanced.block, self.plan
        if self.powered:
            power = at[:, plan.power]
            f8, f4 = block.f8.take(power, axis=1), block.f4[: layout.HALVES.stop].take(power, axis=1).astype(np.float64)
            scale = units.watts(plan.units[plan.power], 1.0)
            step = np.maximum(f4[layout.STEP], 1e-6)
            steps = np.maximum(np.rint(horizon_s / step), 1)
            path = _paths(f8, steps)
            each = np.arange(len(power))
            level = f8[layout.LEVEL_OF][f4[layout.LEVEL_LOSSES].argmin(axis=0), each]
            rates = np.array([f8[layout.LAGS.start] * scale, level * scale, f8[layout.MEAN] * scale, path * scale])
            doubt, quantum = f4[layout.HALVES.stop - 1] * scale, f4[layout.QUANTUM] * scale
            total, least = self._energy_j, 2 * quantum * np.minimum(f4[layout.STEP], horizon_s)
        else:
            time, _, first_time, first_total, last, smooth, off, _ = after[:, _FIELD["energy_pace"]].T
            passed = time - first_time
            mean = np.where(passed > 0, (0.0 - first_total) / np.where(passed > 0, passed, 1.0), 0.0)
            rates, doubt, total, least = np.array([last, smooth, mean, smooth]), 2 * off, self._surrogates, np.zeros(len(at))
        beyond = np.maximum(np.maximum.reduce(rates), -np.minimum.reduce(rates))
        least = np.maximum(np.maximum(least, FLOOR * (np.abs(total) + beyond * horizon_s)), 1e-12)
        known = after[:, _FIELD["energy_known"]].T
        energy = _Claims(known, total, rates, horizon_s, doubt, least)
        known, level = after[:, _FIELD["nats_known"]].T, np.zeros_like(rates)
        unsure = np.maximum(self._nats / np.maximum(after[:, _FIELD["nats_pace"].stop - 1], 1), LEVEL_DOUBT) / horizon_s
        least = np.maximum(FLOOR * np.abs(self._nats), 1e-12)
        nats = _Claims(known, self._nats, level, horizon_s, unsure, least)
        lines = np.empty((_LINES, len(at)))
        lines[0], lines[1], lines[2], lines[3] = self._energy_j, self._surrogates, self._uncovered, self._nats
        lines[4] = after[:, _AT["confidence"]]
        energy.band(lines[5:10])
        nats.band(lines[10:15])
        middles = total + rates[:3] * horizon_s
        lines[15::2], lines[16::2] = middles - energy.halves, middles + energy.halves
        said = np.empty((len(at), _SAID))
        energy.said(said[:, :12].T)
        nats.said(said[:, 12:24].T)
        said[:, 24] = self.powered
        return lines, said.tobytes()

    def said(self, at: int) -> bytes:
        """The claims about one of them, as `said_of` reads them."""
        return self.claims[SAID_BYTES * at : SAID_BYTES * (at + 1)]


def _written(lines: Floats) -> list[list[float] | None]:
    """The first figures of each source with 5 for 5.0, where the rest are as they are written, and none is -0.0."""
    far, whole = np.abs(lines), np.rint(lines) == lines
    plain = (far >= FIGURE_MIN) | (lines == 0) & ~np.signbit(lines)
    plain &= far < FIGURE_MAX
    plain[_OF_CLAIM:] &= ~whole[_OF_CLAIM:]
    first: list[Any] = lines[:_OF_CLAIM].T.tolist()
    for place in range(_OF_CLAIM):
        for at in np.flatnonzero(whole[place] & plain[place]).tolist():
            first[at][place] = int(first[at][place])
    for at in np.flatnonzero(~np.logical_and.reduce(plain)).tolist():
        first[at] = None
    return first


def said_of(prediction_id: str, kept: bytes) -> Said:
    figures = _figures(kept)
    return Said(prediction_id, "J" if figures[24] else "1", kept_claim(figures[:12]), "nats", kept_claim(figures[12:24]))


def _learned(known: Floats, figures: Floats, outcome: Floats) -> Floats:
    """`claims.learned` of many, a line per figure of what is known and of what was said."""
    total, seconds, expected, half = figures[:4]
    rates, halves = figures[5:9], figures[9:]
    missed = np.abs(outcome - expected)
    errors = np.vstack([np.abs((outcome - total) / seconds - rates), missed / seconds])
    settled, covered = known[:2]
    losses, before, scores = known[2:7], known[7:11], known[11:]
    start = 1 / (settled + 1)
    losses = losses + np.maximum(claims.LOSS_RATE, start) * (errors - losses)
    loss, off = losses[_WITH_HALVES], errors[_WITH_HALVES]
    wider = before + claims.WIDEN * np.maximum(loss, before / 4) * ((off > before) - claims.MISS)
    after = np.where(settled < claims.START_CLAIMS, claims.START * loss, np.maximum(wider, 0.0))
    scored = (2 * halves + claims.FINE * np.maximum(errors[:3] * seconds - halves, 0.0)) / seconds
    scores = scores + start * (scored - scores)
    return np.vstack([settled + 1, covered + (missed <= half), losses, after, scores])


class _Claims:
    """`claims.claim` of many sources."""

    def __init__(self, known: Floats, total: Floats, rates: Floats, horizon_s: float, doubt: Floats, least: Floats) -> None:
        settled, losses, halves, half = known[0], known[2:6], known[7:10], known[10]
        new = settled == 0
        half = np.where(new, doubt, half)
        self.total, self.horizon_s, self.rates = total, horizon_s, rates
        self.halves = np.maximum(np.where(new, doubt, halves) * horizon_s, least)
        self.rare = np.maximum(claims.RARE * half * horizon_s, claims.RARE * least)
        self.half = np.maximum(half * horizon_s, least)
        self.expected = total + _mixed(losses, rates) * horizon_s

    def band(self, lines: Floats) -> None:
        value = self.expected
        lines[0] = value
        lines[1], lines[2], lines[3], lines[4] = value - self.half, value + self.half, value - self.rare, value + self.rare

    def said(self, lines: Floats) -> None:
        lines[0], lines[1], lines[2], lines[3], lines[4] = self.total, self.horizon_s, self.expected, self.half, self.rare
        lines[5:9], lines[9:12] = self.rates, self.halves


def _mixed(losses: Floats, rates: Floats) -> Floats:
    nought = losses <= 0
    weights = np.where(nought, 1.0, np.minimum.reduce(losses) / np.where(nought, 1.0, losses))
    for _ in range(claims.SQUARINGS):
        weights *= weights
    found: Floats = np.add.reduce(weights * rates) / np.add.reduce(weights)
    return found


def _paths(f8: Floats, steps: Floats) -> Floats:
    """Where the powers go, from their rows."""
    if len(steps) > FEW_PATHS:
        return paths(f8[layout.LAGS], f8[layout.MEAN], f8[layout.WEIGHTS], f8[layout.LOW], f8[layout.HIGH], steps)
    alone = [
        claims.path_rate(
            tuple(row[layout.LAGS]), row[layout.MEAN], tuple(row[layout.WEIGHTS]), row[layout.LOW], row[layout.HIGH], int(count)
        )
        for row, count in zip(f8.T.tolist(), steps.tolist(), strict=True)
    ]
    return np.array(alone)


def paths(lags: Floats, mean: Floats, weights: Floats, low: Floats, high: Floats, steps: Floats) -> Floats:
    """`claims.path_rate` of many streams, a line per lag."""
    margin = (high - low) / 2
    least, most = low - margin, high + margin
    walked = np.minimum(steps, claims.PATH_MAX).astype(np.intp)
    longest = int(walked.max())
    trail = np.empty((longest + len(lags), len(mean)))
    trail[longest:] = lags - mean
    parts = np.empty_like(lags)
    for place in range(longest - 1, -1, -1):
        value = trail[place]
        np.multiply(weights, trail[place + 1 : place + 5], out=parts)
        np.add.reduce(parts, out=value)
        value += mean
        np.maximum(value, least, out=value)
        np.minimum(value, most, out=value)
        value -= mean
    each = np.arange(len(mean))
    total = np.add.accumulate(trail[:longest][::-1])[walked - 1, each]
    rest = trail[longest - walked, each] * (steps - walked)
    found: Floats = mean + np.where(steps > walked, total + rest, total) / steps
    return found


def _paced(pace: Floats, times: Floats, total: Floats, base: Floats | float) -> Floats:
    """`following.paced` of many, a line per figure: of a total that counts from nought again after it, or goes on."""
    time, before, first_time, first_total, _, smooth, off, steps = pace
    rate = np.maximum(1 / (steps + 1), SMOOTH)
    latest = (total - before) / (times - time)
    missed = np.abs(latest - smooth)
    found = np.empty(pace.shape)
    found[0], found[1], found[2], found[3], found[4] = times, total - base, first_time, first_total - base, latest
    found[5] = smooth + rate * (latest - smooth)
    found[6] = np.where(steps > 0, off + rate * (missed - off), np.abs(latest))
    found[7] = steps + 1
    return found
