"""One source, tick by tick: what its points add to its totals, which regime they show, and what it is expected to come to.

Arithmetic on the rows and on plain figures; nothing is changed here. A tick is all points of one moment. What a tick adds is worked
out from the tick before it, so history in one batch comes to what it would have come to point by point.
"""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from core.energy import bank, claims, columns, layout, proof, regimes, rounds, units
from core.energy import node as heat
from core.energy.facts import Known, Totals

SHOWN_MAX = 8
SMOOTH = 0.1
NATS_PLACES = 9
"""Beyond these the logarithm of one machine is not that of another."""
GAP_STEPS = 2.0
FLOOR = 1e-9
"""Of a total: no interval is narrower, or the last bit of a sum would be an outcome."""
HORIZONS = ("J", "1", "J/K", "nats")
NOWHERE = math.nan


class Shown(NamedTuple):
    """A shift of one stream, whether or not its source was announced to have changed."""

    stream: int
    time: float
    located: float
    scale: int
    statistic: float
    mean_before: float
    spread_before: float
    mean_after: float
    spread_after: float
    gradient: float


class Pace(NamedTuple):
    """How a total grows, for what no row of a stream forecasts."""

    time: float = NOWHERE
    total: float = 0.0
    first_time: float = NOWHERE
    first_total: float = 0.0
    last: float = 0.0
    smooth: float = 0.0
    off: float = 0.0
    """Running mean of how far a step was from the smoothed pace."""
    steps: int = 0

    @property
    def mean(self) -> float:
        passed = self.time - self.first_time
        return (self.total - self.first_total) / passed if passed > 0 else 0.0


class Said(NamedTuple):
    """A claim as it was made, for the learning of its intervals; what it is worth stands in the record."""

    prediction_id: str
    energy_unit: str
    energy: claims.Claim
    entropy_unit: str
    entropy: claims.Claim


class Follow(NamedTuple):
    """What is known of one source besides its rows and its facts. Never changed."""

    regime: bank.Source = bank.Source()
    next_likely: str = "learning"
    confidence: float = 0.0
    node: heat.Node = heat.Node()
    horizons: tuple[claims.Horizon, ...] = (claims.Horizon(),) * len(HORIZONS)
    paces: tuple[Pace, Pace, Pace] = (Pace(), Pace(), Pace())
    """Of the energy, of the physical entropy, and of the nats."""
    alerts: tuple[float, ...] = ()
    nats: tuple[float, ...] = ()
    power: tuple[float, float] = (NOWHERE, NOWHERE)
    """Time and watts of the latest power."""
    metered: int = -1
    """The stream that it came from."""
    kelvin: tuple[float, float] = (NOWHERE, NOWHERE)
    around_k: float = NOWHERE
    time: float = NOWHERE
    said: tuple[Said, ...] = ()
    shifts: tuple[Shown, ...] = ()
    """The latest few."""
    alarms: int = 0
    ticks: int = 0


class Tick(NamedTuple):
    """The totals after one moment, counted from before the command, and what the sensors showed there."""

    time: float
    energy_j: float
    surrogate: float
    entropy_j_k: float
    nats: float
    judged: heat.Step | None
    feasible: proof.Feasible
    measured: bool
    gap: bool


@dataclass
class Followed:
    """What points led to; nothing has happened until the round takes them over."""

    round: rounds.Round
    ask: rounds.Ask
    after: Follow
    fates: list[int] = field(default_factory=list)
    """Of each point that there is, in the order of moments and places."""
    kept: list[tuple[int, list[float]]] = field(default_factory=list)
    """Moments of which something was taken up: which, and the line of it, NaN where nothing was."""
    spoke: AbstractSet[int] = frozenset()
    """Streams of which something was taken up."""
    ticks: list[Tick] = field(default_factory=list)
    announced: list[tuple[float, list[Shown], str, str]] = field(default_factory=list)
    """Time, the shifts behind it, the regime before and after."""
    energy_j: float = 0.0
    sigma_j: float = 0.0
    surrogate: float = 0.0
    uncovered_s: float = 0.0
    entropy_j_k: float = 0.0
    modelled: bool = False
    """Some of the energy came from a model of the power."""


class Metered(NamedTuple):
    watts: float
    sigma: float
    measured: bool
    stream: int


def follow(
    done: rounds.Round,
    place: int,
    ask: rounds.Ask,
    metrics: Sequence[tuple[str, str]],
    streams: Sequence[int],
    known: Known,
    before: Follow,
) -> Followed:
    """Points of one source, which are those of this place in a round. `streams` are what the rows of the ask stand for."""
    walk = _Walk(done, ask, metrics, streams, known, before)
    found = Followed(done, ask, before)
    number = begin = done.begins[place]
    for moment, (time, line) in enumerate(zip(ask.times, ask.values, strict=True)):
        points: dict[int, tuple[float, int]] = {}
        shown = list(line)
        for at, value in enumerate(line):
            if math.isnan(value):
                continue
            if done.fates[number] == columns.ACCEPTED:
                points[streams[at]] = value, number
            else:
                shown[at] = NOWHERE
            number += 1
        if points:
            found.kept.append((moment, shown))
            walk.tick(time, points, found)
    found.fates = done.fates[begin:number]
    found.spoke = walk.spoke
    found.after = walk.done(found)
    return found


class _Walk:
    """The ticks of one command, one after the other."""

    def __init__(
        self,
        done: rounds.Round,
        ask: rounds.Ask,
        metrics: Sequence[tuple[str, str]],
        streams: Sequence[int],
        known: Known,
        before: Follow,
    ) -> None:
        self.round, self.metrics, self.known = done, metrics, known
        self.row_of = dict(zip(streams, ask.rows, strict=True))
        self.roles = units.roles(metrics)
        self.before = before
        self.regime, self.node = before.regime, before.node
        self.next_likely, self.confidence = before.next_likely, before.confidence
        self.power, self.kelvin, self.around_k, self.time = before.power, before.kelvin, before.around_k, before.time
        self.metered = before.metered
        self.energy_pace, self.flow_pace, self.nats_pace = before.paces
        self.alerts = list(before.alerts) + [0.0] * (len(metrics) - len(before.alerts))
        self.shifts = list(before.shifts)
        self.alarms, self.ticks = before.alarms, before.ticks
        self.spoke: set[int] = set()
        """Streams of which a point was taken up: of the others nothing is new, whatever was refused of them."""
        self.shifts_at = _by_time(done, self.row_of)
        self.physical = known.powered or self.roles.power >= 0

    def tick(self, time: float, points: Mapping[int, tuple[float, int]], found: Followed) -> None:
        self.ticks += 1
        self.spoke |= points.keys()
        metered = self._metered(points)
        gap = self.round.gaps[points[metered.stream][1]] if metered is not None else False
        self._energy(time, metered, gap, found)
        if not self.physical:
            found.surrogate += self._surrogate(points)
        judged = self._node(time, points, metered, found)
        feasible = self._feasible(time, points, metered, judged)
        self._regime(time, points, found)
        self._remember(time, points, metered)
        self.energy_pace = paced(self.energy_pace, time, found.energy_j if self.physical else found.surrogate)
        if judged is not None and not math.isnan(judged.entropy_j_k):
            self.flow_pace = paced(self.flow_pace, time, found.entropy_j_k)
        measured = metered is not None and metered.measured
        found.ticks.append(Tick(time, found.energy_j, found.surrogate, found.entropy_j_k, 0.0, judged, feasible, measured, gap))

    def _metered(self, points: Mapping[int, tuple[float, int]]) -> Metered | None:
        power, use = self.roles.power, self.roles.utilisation
        if power in points:
            return Metered(units.watts(self.metrics[power][1], points[power][0]), 0.0, True, power)
        if use not in points or not self.known.powered:
            return None
        share = units.share(self.metrics[use][1], points[use][0])
        if len(self.known.power_w) == heat.TABLE_POINTS:
            modelled = heat.power_from_table(share, self.known.power_w)
        else:
            modelled = heat.power_from_ends(share, self.known.idle_w, self.known.max_w)
        return Metered(modelled.watts, modelled.sigma, False, use)

    def _energy(self, time: float, metered: Metered | None, gap: bool, found: Followed) -> None:
        if metered is None:
            return
        since, watts = self.power
        passed = seconds_between(since, time)
        if not passed > 0:  # the first
            return
        if gap:
            found.uncovered_s += passed
            return
        found.energy_j += 0.5 * (watts + metered.watts) * passed
        found.sigma_j += metered.sigma * passed
        found.modelled |= not metered.measured

    def _surrogate(self, points: Mapping[int, tuple[float, int]]) -> float:
        done = self.round
        found = [
            heat.surrogate_energy(done.residuals[number], math.sqrt(max(done.spreads[done.place[self.row_of[stream]]], 0.0)))
            for stream, (_, number) in points.items()
        ]
        return math.fsum(found) / len(found)

    def _node(
        self, time: float, points: Mapping[int, tuple[float, int]], metered: Metered | None, found: Followed
    ) -> heat.Step | None:
        around = self.roles.surroundings
        if around in points:
            self.around_k = units.kelvin(self.metrics[around][1], points[around][0])
        surroundings = self.around_k if not math.isnan(self.around_k) else self.known.surroundings_k
        warm = self.roles.temperature
        if metered is None or not metered.measured or warm not in points or not surroundings > 0:
            return None
        kelvin = units.kelvin(self.metrics[warm][1], points[warm][0])
        self.node, judged = heat.step(self.node, time, metered.watts, kelvin, surroundings)
        if not math.isnan(judged.entropy_j_k):
            found.entropy_j_k += judged.entropy_j_k
        return judged

    def _feasible(
        self, time: float, points: Mapping[int, tuple[float, int]], metered: Metered | None, judged: heat.Step | None
    ) -> proof.Feasible:
        known, warm, use = self.known, self.roles.temperature, self.roles.utilisation
        since, before_k = self.kelvin
        passed = time - since
        warming = units.kelvin(self.metrics[warm][1], points[warm][0]) - before_k if warm in points and passed > 0 else None
        found = heat.constants(self.node) if judged is not None else None
        stores = found is not None and warming is not None and not math.isnan(found[1])
        surroundings = self.around_k if not math.isnan(self.around_k) else known.surroundings_k
        return proof.Feasible(
            metered.watts if metered is not None else None,
            known.idle_w or None,
            known.max_w or None,
            warming,
            known.warming_k_s * passed if known.warming_k_s and warming is not None else None,
            found[1] * warming if found is not None and warming is not None and stores else None,
            (before_k - surroundings) / found[0] if found is not None and stores else None,
            passed if passed > 0 else None,
            units.share(self.metrics[use][1], points[use][0]) if use in points else None,
            metered is not None and not metered.measured,
        )

    def _regime(self, time: float, points: Mapping[int, tuple[float, int]], found: Followed) -> None:
        for stream, (_, number) in points.items():
            self.alerts[stream] = self.round.alerts[number]
        shown = self.shifts_at.get(time, ()) if self.shifts_at else ()
        shifted = [(each.stream, each.statistic / _BOUND_OF[each.scale], each.scale) for each in shown]
        name = self.regime.name
        self.regime, told = self.regime.see(len(self.alerts), shifted, self.alerts)
        self.next_likely, self.confidence = told.next_likely, told.confidence
        if shown:
            self.alarms += len(shown)
            self.shifts = [*self.shifts, *shown][-SHOWN_MAX:]
        if told.announced:
            found.announced.append((time, list(shown), name, told.name))

    def _remember(self, time: float, points: Mapping[int, tuple[float, int]], metered: Metered | None) -> None:
        self.time = time
        if metered is not None:
            self.power, self.metered = (time, metered.watts), metered.stream
        if (warm := self.roles.temperature) in points:
            self.kelvin = (time, units.kelvin(self.metrics[warm][1], points[warm][0]))

    def done(self, found: Followed) -> Follow:
        nats = list(self.before.nats) + [0.0] * (len(self.alerts) - len(self.before.nats))
        if found.ticks:
            done = self.round
            for stream in self.spoke:
                nats[stream] = round(done.nats[done.place[self.row_of[stream]]], NATS_PLACES)
            start, end = math.fsum(self.before.nats), math.fsum(nats)
            count = len(found.ticks)
            grown = [start + (end - start) * (i + 1) / count for i in range(count)]
            found.ticks = [Tick(*tick[:4], total, *tick[5:]) for tick, total in zip(found.ticks, grown, strict=True)]
            self.nats_pace = paced(self.nats_pace, self.time, end)
        before = self.before
        return Follow(
            self.regime,
            self.next_likely,
            self.confidence,
            self.node,
            before.horizons,
            (_grown(self.energy_pace, before.paces[0]), _grown(self.flow_pace, before.paces[1]), self.nats_pace),
            tuple(self.alerts),
            tuple(nats),
            self.power,
            self.metered,
            self.kelvin,
            self.around_k,
            self.time,
            before.said,
            tuple(self.shifts),
            self.alarms,
            self.ticks,
        )


def seconds_between(since: float, time: float) -> float:
    """Both stand for whole µs and are, today, off by a quarter of one; what lies between is whole again. NaN before the first."""
    passed = time - since
    return round(passed * 1e6) / 1e6 if passed > 0 else passed


_BOUND_OF = dict(zip(layout.SCALES, regimes.BOUNDS, strict=True))


def _by_time(done: rounds.Round, row_of: Mapping[int, int]) -> dict[float, list[Shown]]:
    """In the order of time, and of one moment by stream: which rows a source was given, no log tells."""
    if not done.shifts:
        return {}
    found: dict[float, list[Shown]] = {}
    for stream, row in sorted(row_of.items()):
        for each in done.shifts.get(row, ()):
            shown = Shown(
                stream,
                each.time,
                each.located_time,
                each.scale,
                each.statistic,
                each.mean_before,
                each.spread_before,
                each.mean_after,
                each.spread_after,
                each.gradient,
            )
            found.setdefault(each.time, []).append(shown)
    return found


# --- how totals grow --------------------------------------------------------------------------------------------------------


def paced(pace: Pace, time: float, total: float) -> Pace:
    """One more total. Totals of a command count from its beginning, so only what is added matters."""
    if math.isnan(pace.time):
        return Pace(time, total, time, total)
    passed = time - pace.time
    if not passed > 0:
        return pace
    last = (total - pace.total) / passed
    rate = max(SMOOTH, 1 / (pace.steps + 1))
    off = pace.off + rate * (abs(last - pace.smooth) - pace.off) if pace.steps else abs(last)
    smooth = pace.smooth + rate * (last - pace.smooth)
    return Pace(time, total, pace.first_time, pace.first_total, last, smooth, off, pace.steps + 1)


def _grown(after: Pace, before: Pace) -> Pace:
    """The next command counts from nought again."""
    if after is before:
        return after
    time, total, first_time, first_total, last, smooth, off, steps = after
    return Pace(time, 0.0, first_time, first_total - total, last, smooth, off, steps)


def _rates(pace: Pace) -> claims.Rates:
    return claims.Rates(pace.last, pace.smooth, pace.mean, pace.smooth)


LEVEL = claims.Rates(0.0, 0.0, 0.0, 0.0)
"""Of what has a level and does not grow: it is expected to stay."""
LEVEL_DOUBT = 0.5
"""Nats that such a level may be off before anything was settled."""


def power_rates(power: rounds.Power, unit: str, horizon_s: float) -> tuple[claims.Rates, float, float]:
    """What the forecasters of the power say of its mean until then; half the interval of one step; the step of the sensor."""
    scale = units.watts(unit, 1.0)
    steps = max(1, round(horizon_s / max(power.step, 1e-6)))
    path = claims.path_rate(power.lags, power.mean, power.weights, power.low, power.high, steps)
    rates = claims.Rates(power.lags[0] * scale, power.level * scale, power.mean * scale, path * scale)
    return rates, power.half * scale, power.quantum * scale


def power_stream(follow: Follow, metrics: Sequence[tuple[str, str]]) -> int:
    """The stream that says the power now; -1 where none does, or a model stands in for it."""
    place = units.roles(metrics).power
    return place if follow.metered == place else -1


def said(after: Follow, power: rounds.Power | None, power_unit: str, prediction_id: str, horizon_s: float, totals: Totals) -> Said:
    """The claim about this source, from what is known now. `power` is the row of its power, where a sensor says it."""
    energy_unit, entropy_unit = "J" if totals.powered else "1", "J/K" if totals.physical else "nats"
    energy_pace, flow_pace, nats_pace = after.paces
    if power is not None:
        rates, doubt, quantum = power_rates(power, power_unit, horizon_s)
    else:
        rates, doubt, quantum = _rates(energy_pace), 2 * energy_pace.off, 0.0
    total = totals.energy_j if totals.powered else totals.surrogate
    energy = claims.claim(after.horizons[HORIZONS.index(energy_unit)], total, rates, horizon_s, doubt)
    energy = _floored(energy, 2 * quantum * after_step(power, horizon_s))
    pace = flow_pace if totals.physical else nats_pace
    entropy_rates = _rates(pace) if totals.physical else LEVEL
    entropy_total = totals.entropy_j_k if totals.physical else totals.nats
    unsure = 2 * pace.off if totals.physical else max(LEVEL_DOUBT, totals.nats / max(pace.steps, 1)) / horizon_s
    spread = claims.claim(after.horizons[HORIZONS.index(entropy_unit)], entropy_total, entropy_rates, horizon_s, unsure)
    return Said(prediction_id, energy_unit, energy, entropy_unit, _floored(spread, 0.0))


def after_step(power: rounds.Power | None, horizon_s: float) -> float:
    return min(power.step, horizon_s) if power is not None else 0.0


def _floored(claim: claims.Claim, least: float) -> claims.Claim:
    floor = max(least, FLOOR * (abs(claim.total) + max(map(abs, claim.rates)) * claim.horizon_s), 1e-12)
    one, two, three = claim.halves
    halves = (max(one, floor), max(two, floor), max(three, floor))
    total, horizon_s, expected, half, half_rare, rates, _ = claim
    return claims.Claim(total, horizon_s, expected, max(half, floor), max(half_rare, claims.RARE * floor), rates, halves)


def settled(after: Follow, prediction_id: str, energy: float, entropy_total: float) -> Follow:
    """A claim was met: its intervals learn from that."""
    place = next((place for place, each in enumerate(after.said) if each.prediction_id == prediction_id), None)
    if place is None:
        return after
    made = after.said[place]
    horizons = dict(zip(HORIZONS, after.horizons, strict=True))
    horizons[made.energy_unit], _ = claims.settle(horizons[made.energy_unit], made.energy, energy)
    horizons[made.entropy_unit], _ = claims.settle(horizons[made.entropy_unit], made.entropy, entropy_total)
    rest = after.said[:place] + after.said[place + 1 :]
    return after._replace(horizons=tuple(horizons[name] for name in HORIZONS), said=rest)


def balance(judged: heat.Step | None) -> proof.Balance | None:
    """What the first law says of a step, where it says anything."""
    if judged is None or judged.vacuous or math.isnan(judged.mean_j):
        return None
    return proof.Balance(judged.residual_j, judged.sigma_j, judged.mean_j, judged.mean_sigma_j)
