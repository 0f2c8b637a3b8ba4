"""One source, tick by tick: what its points add to its totals, which regime they show, and what it is expected to come to.

Arithmetic on the rows and on plain figures; nothing is changed here. A tick is all points of one moment. What a tick adds is worked
out from the tick before it, so history in one batch comes to what it would have come to point by point.
"""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from core.energy import bank, claims, columns, layout, proof, regimes, rounds, units
from core.energy import node as heat
from core.energy.facts import Known, Totals
from core.energy.layout import Flags, Floats
from core.energy.plans import Plan

SHOWN_MAX = 8
SMOOTH = 0.1
FLOOR = 1e-9
"""Of a total: no interval is narrower, or the last bit of a sum would be an outcome."""
HORIZONS = ("J", "1", "J/K", "nats")
NOWHERE = math.nan
STRETCH_MIN = 8
"""Fewer moments than these are followed one by one: a call on columns costs as much as some arithmetic without."""


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


class Pace(msgspec.Struct, frozen=True, array_like=True, gc=False):
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


class Said(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A claim as it was made, for the learning of its intervals; what it is worth stands in the record."""

    prediction_id: str
    energy_unit: str
    energy: claims.Claim
    entropy_unit: str
    entropy: claims.Claim


class Follow(msgspec.Struct, frozen=True, array_like=True, gc=False):
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


class Metered(NamedTuple):
    watts: float
    sigma: float
    measured: bool
    stream: int
    number: int
    """Of its point, in the round."""


@dataclass(slots=True)
class Followed:
    """What points led to; nothing has happened until the round takes them over."""

    round: rounds.Round
    ask: rounds.Ask
    after: Follow
    fates: list[int] = field(default_factory=list)
    """Of each point that there is, in the order of moments and places; none where every point of the round was accepted."""
    kept: list[tuple[int, Sequence[float]]] = field(default_factory=list)
    """Moments of which something was taken up: which, and the line of it, NaN where nothing was."""
    spoke: AbstractSet[int] = frozenset()
    """Streams of which something was taken up."""
    ticks: list[Tick] = field(default_factory=list)
    """Where somebody wanted to know."""
    announced: list[tuple[float, list[Shown], str, str]] = field(default_factory=list)
    """Time, the shifts behind it, the regime before and after."""
    energy_j: float = 0.0
    sigma_j: float = 0.0
    surrogate: float = 0.0
    uncovered_s: float = 0.0
    entropy_j_k: float = 0.0
    nats: float = 0.0
    """Of all its streams, as they stand with these points."""
    modelled: bool = False
    """Some of the energy came from a model of the power."""


def follow(
    done: rounds.Round, place: int, ask: rounds.Ask, plan: Plan, known: Known, before: Follow, *, told: bool = True
) -> Followed:
    """Points of one source, which are those of this place in a round; `plan` says what the rows of the ask stand for.

    `told`: whether somebody will ask what every single moment showed.
    """
    walk = _Walk(done, ask, plan, known, before, told)
    found = walk.found
    begin = done.begins[place]
    if done.clean and ask.whole:
        walk.spoke, found.kept = plan.all_streams, list(enumerate(ask.values))
        walk.all_accepted(ask.times, ask.values, begin)
    else:
        number = begin
        for moment, (time, line) in enumerate(zip(ask.times, ask.values, strict=True)):
            number = walk.judged(moment, time, line, number)
        found.fates = done.fates[begin:number]
    found.spoke = walk.spoke
    found.after = walk.done()
    return found


class _Walk:
    """The ticks of one command, one after the other."""

    __slots__ = (
        "alarms",
        "alerts",
        "around_k",
        "before",
        "confidence",
        "flow_times",
        "flows",
        "found",
        "kelvin",
        "known",
        "metered",
        "next_likely",
        "node",
        "physical",
        "plan",
        "power",
        "regime",
        "round",
        "rows",
        "shifts",
        "shifts_at",
        "spoke",
        "ticks",
        "time",
        "times",
        "told",
        "totals",
    )

    def __init__(self, done: rounds.Round, ask: rounds.Ask, plan: Plan, known: Known, before: Follow, told: bool) -> None:
        self.round, self.plan, self.known = done, plan, known
        self.found = Followed(done, ask, before)
        self.rows = ask.rows
        self.before, self.told = before, told
        self.regime, self.node = before.regime, before.node
        self.next_likely, self.confidence = before.next_likely, before.confidence
        self.power, self.kelvin, self.around_k, self.time = before.power, before.kelvin, before.around_k, before.time
        self.metered = before.metered
        self.times: list[float] = []
        self.totals: list[float] = []
        """The moments, and what they came to in that which a claim is about: energy, or what stands for it."""
        self.flow_times: list[float] = []
        self.flows: list[float] = []
        """The same of the physical entropy, where it is known."""
        self.alerts = [*before.alerts, *[0.0] * (len(plan.metrics) - len(before.alerts))]
        self.shifts = before.shifts
        self.alarms, self.ticks = before.alarms, before.ticks
        self.spoke: AbstractSet[int] = frozenset()
        """Streams of which a point was taken up: of the others nothing is new, whatever was refused of them."""
        self.shifts_at = _by_time(done, plan.streams, ask.rows) if done.shifts else {}
        self.physical = known.powered or plan.roles.power >= 0

    def judged(self, moment: int, time: float, line: Sequence[float], number: int) -> int:
        """A moment of which some points may be missing or refused. Answers where those of the next begin in the round."""
        numbers, shown, size = [-1] * len(line), list(line), 0
        for at, value in enumerate(line):
            if math.isnan(value):
                continue
            if self.round.fates[number] == columns.ACCEPTED:
                numbers[at] = number
                size += 1
            else:
                shown[at] = NOWHERE
            number += 1
        if size:
            self.found.kept.append((moment, shown))
            self.spoke = self.spoke | {stream for stream, each in zip(self.plan.streams, numbers, strict=True) if each >= 0}
            self.tick(time, line, numbers, size)
        return number

    def all_accepted(self, times: Sequence[float], lines: Sequence[Sequence[float]], begin: int) -> None:
        """Moments with a point of each row, which begin there in the round. Between two at which a stream shifts all go alike."""
        size, low = len(self.rows), 0
        shifting = [at for at, time in enumerate(times) if time in self.shifts_at] if self.shifts_at else []
        alike = self.plan.power >= 0 or not self.physical
        for high in (*shifting, len(times)):
            if alike and high - low >= STRETCH_MIN:
                self._stretch(times[low:high], lines[low:high], begin + low * size)
                low = high
            for at in range(low, min(high + 1, len(times))):
                self.tick(times[at], lines[at], range(begin + at * size, begin + (at + 1) * size), size)
            low = high + 1

    def tick(self, time: float, line: Sequence[float], numbers: Sequence[int], size: int) -> None:
        """Points of one moment: `numbers` says where each stands in the round, -1 where none does, and `size` of them do."""
        done, found = self.round, self.found
        self.ticks += 1
        metered = self._metered(line, numbers)
        gap = metered is not None and done.gaps[metered.number]
        if metered is not None:
            self._energy(time, metered, gap)
        if not self.physical:
            found.surrogate += self._surrogate(numbers, size)
        self._shown(time, line, numbers, metered, gap)
        self._regime(time, numbers, size)
        self.times.append(time)
        self.totals.append(found.energy_j if self.physical else found.surrogate)

    def _stretch(self, times: Sequence[float], lines: Sequence[Sequence[float]], begin: int) -> None:
        """Many moments with a point of each row, none of which shifts: `tick` of one after the other, in columns. If anything says
        the power it is its sensor. The points begin there in the round.
        """
        done, found = self.round, self.found
        count, size = len(times), len(self.rows)
        self.ticks += count
        totals = self._energies(times, begin) if self.physical else self._surrogates(count, begin)
        for at in range(count) if self.told or self._heated else (count - 1,):
            number = begin + at * size
            if self.physical:
                found.energy_j = totals[at]
            else:
                found.surrogate = totals[at]
            numbers = range(number, number + size)
            metered = self._metered(lines[at], numbers)
            self._shown(times[at], lines[at], numbers, metered, metered is not None and done.gaps[metered.number])
        self._regimes(count, begin)
        self.times += times
        self.totals += totals

    @property
    def _heated(self) -> bool:
        """What its sensors show may be judged as heat."""
        plan = self.plan
        around = plan.around >= 0 or not math.isnan(self.around_k) or self.known.surroundings_k > 0
        return plan.power >= 0 and plan.warm >= 0 and around

    def _shown(self, time: float, line: Sequence[float], numbers: Sequence[int], metered: Metered | None, gap: bool) -> None:
        """What the sensors show at a moment, its points being counted already."""
        plan, found = self.plan, self.found
        judged = None
        if plan.around >= 0 and numbers[plan.around] >= 0:
            self.around_k = units.kelvin(plan.units[plan.around], line[plan.around])
        warm = plan.warm
        kelvin = units.kelvin(plan.units[warm], line[warm]) if warm >= 0 and numbers[warm] >= 0 else NOWHERE
        if metered is not None and metered.measured and not math.isnan(kelvin):
            judged = self._node(time, metered.watts, kelvin)
        if self.told:
            use = plan.use
            share = units.share(plan.units[use], line[use]) if use >= 0 and numbers[use] >= 0 else None
            feasible = self._feasible(time, metered, kelvin, share, judged)
            measured = metered is not None and metered.measured
            found.ticks.append(Tick(time, found.energy_j, found.surrogate, found.entropy_j_k, 0.0, judged, feasible, measured, gap))
        self.time = time
        if metered is not None:
            self.power, self.metered = (time, metered.watts), metered.stream
        if not math.isnan(kelvin):
            self.kelvin = (time, kelvin)
        if judged is not None and not math.isnan(judged.entropy_j_k):
            self.flow_times.append(time)
            self.flows.append(found.entropy_j_k)

    def _metered(self, line: Sequence[float], numbers: Sequence[int]) -> Metered | None:
        plan, known = self.plan, self.known
        power, use = plan.power, plan.use
        if power >= 0 and numbers[power] >= 0:
            return Metered(units.watts(plan.units[power], line[power]), 0.0, True, plan.roles.power, numbers[power])
        if not known.powered or use < 0 or numbers[use] < 0:
            return None
        share = units.share(plan.units[use], line[use])
        if len(known.power_w) == heat.TABLE_POINTS:
            modelled = heat.power_from_table(share, known.power_w)
        else:
            modelled = heat.power_from_ends(share, known.idle_w, known.max_w)
        return Metered(modelled.watts, modelled.sigma, False, plan.roles.utilisation, numbers[use])

    def _energy(self, time: float, metered: Metered, gap: bool) -> None:
        since, watts = self.power
        passed = seconds_between(since, time)
        if not passed > 0:  # the first
            return
        found = self.found
        if gap:
            found.uncovered_s += passed
            return
        found.energy_j += 0.5 * (watts + metered.watts) * passed
        found.sigma_j += metered.sigma * passed
        found.modelled |= not metered.measured

    def _energies(self, times: Sequence[float], begin: int) -> list[float]:
        """The energy as of each moment, whose power its sensor says."""
        plan, found, size = self.plan, self.found, len(self.rows)
        own = slice(begin + plan.power, begin + len(times) * size, size)
        watts: Floats = units.watts(plan.units[plan.power], self.round.values[own])  # type: ignore[assignment, arg-type]
        gaps: Flags = self.round.advanced.findings.gap[own]
        since, before = self.power
        passed = np.rint(np.diff(times, prepend=since) * 1e6) / 1e6
        known = passed > 0
        added = 0.5 * (np.append(before, watts[:-1]) + watts) * passed
        found.uncovered_s = _running(found.uncovered_s, np.where(known & gaps, passed, 0.0))[-1]
        return _running(found.energy_j, np.where(known & ~gaps, added, 0.0))

    def _surrogates(self, count: int, begin: int) -> list[float]:
        """What stands for it as of each moment."""
        done, size = self.round, len(self.rows)
        residuals = done.advanced.findings.residual[begin : begin + count * size].reshape(count, size)
        spreads = np.sqrt(np.maximum([done.spreads[done.place[row]] for row in self.rows], 0.0))
        total = np.zeros(count)
        with np.errstate(all="ignore"):
            for column in heat.surrogate_energies(residuals, spreads).T:
                total += column
            return _running(self.found.surrogate, total / size)

    def _surrogate(self, numbers: Sequence[int], size: int) -> float:
        done, found = self.round, 0.0
        for row, number in zip(self.rows, numbers, strict=True):
            if number >= 0:
                found += heat.surrogate_energy(done.residuals[number], math.sqrt(max(done.spreads[done.place[row]], 0.0)))
        return found / size

    def _node(self, time: float, watts: float, kelvin: float) -> heat.Step | None:
        surroundings = self.around_k if not math.isnan(self.around_k) else self.known.surroundings_k
        if not surroundings > 0:
            return None
        self.node, judged = heat.step(self.node, time, watts, kelvin, surroundings)
        if not math.isnan(judged.entropy_j_k):
            self.found.entropy_j_k += judged.entropy_j_k
        return judged

    def _feasible(
        self, time: float, metered: Metered | None, kelvin: float, share: float | None, judged: heat.Step | None
    ) -> proof.Feasible:
        known = self.known
        since, before_k = self.kelvin
        passed = time - since
        warming = kelvin - before_k if passed > 0 and not math.isnan(kelvin) else None
        found = heat.constants(self.node) if judged is not None else None
        slack_j = proof.K * judged.sigma_j if judged is not None and not judged.vacuous else NOWHERE
        stores = found is not None and warming is not None and not math.isnan(found[1] * slack_j)
        surroundings = self.around_k if not math.isnan(self.around_k) else known.surroundings_k
        return proof.Feasible(
            metered.watts if metered is not None else None,
            known.idle_w or None,
            known.max_w or None,
            warming,
            known.warming_k_s * passed if known.warming_k_s and warming is not None else None,
            # What the noise of the thermometer alone may seem to store was not stored for sure.
            found[1] * warming - slack_j if found is not None and warming is not None and stores else None,
            (before_k - surroundings) / found[0] if found is not None and stores else None,
            passed if passed > 0 else None,
            share,
            metered is not None and not metered.measured,
        )

    def _alert(self, numbers: Sequence[int], size: int) -> None:
        alerts, found = self.alerts, self.round.alerts
        if self.plan.straight and size == len(alerts):
            alerts[:] = found[numbers[0] : numbers[0] + size]
        else:
            for stream, number in zip(self.plan.streams, numbers, strict=True):
                if number >= 0:
                    alerts[stream] = found[number]

    def _regimes(self, count: int, begin: int) -> None:
        alerts, size, plan = self.alerts, len(self.rows), self.plan
        own = self.round.advanced.findings.alert[begin : begin + count * size].reshape(count, size)
        others = sum(each > bank.DRIFTING for stream, each in enumerate(alerts) if stream not in plan.all_streams)
        drifting = np.count_nonzero(own > bank.DRIFTING, axis=1) + others >= bank.needed(len(alerts))
        self.regime, told = self.regime.go_on(drifting.tolist())
        self.next_likely, self.confidence = told.next_likely, told.confidence
        last = begin + (count - 1) * size
        self._alert(range(last, last + size), size)

    def _regime(self, time: float, numbers: Sequence[int], size: int) -> None:
        alerts = self.alerts
        self._alert(numbers, size)
        shown = self.shifts_at.get(time, ()) if self.shifts_at else ()
        shifted = [(each.stream, each.statistic / _BOUND_OF[each.scale], each.scale) for each in shown] if shown else ()
        name = self.regime.name
        self.regime, told = self.regime.see(len(alerts), shifted, alerts)
        self.next_likely, self.confidence = told.next_likely, told.confidence
        if shown:
            self.alarms += len(shown)
            self.shifts = (*self.shifts, *shown)[-SHOWN_MAX:]
        if told.announced:
            self.found.announced.append((time, list(shown), name, told.name))

    def done(self) -> Follow:
        before, found = self.before, self.found
        nats = [*before.nats, *[0.0] * (len(self.alerts) - len(before.nats))]
        nats_pace = before.paces[2]
        if found.kept:
            places, values = self.round.place, self.round.nats
            for stream, row in zip(self.plan.streams, self.rows, strict=True):
                if stream in self.spoke:
                    nats[stream] = values[places[row]]
        found.nats = end = total_of(nats)
        if found.kept:
            if found.ticks:
                start, count = total_of(before.nats), len(found.ticks)
                grown = [*(start + (end - start) * (i + 1) / count for i in range(count - 1)), end]
                found.ticks = [Tick(*tick[:4], total, *tick[5:]) for tick, total in zip(found.ticks, grown, strict=True)]
            nats_pace = paced(nats_pace, (self.time,), (end,))
        energy_pace = paced(before.paces[0], self.times, self.totals, last=True)
        flow_pace = paced(before.paces[1], self.flow_times, self.flows, last=True)
        return Follow(
            self.regime,
            self.next_likely,
            self.confidence,
            self.node,
            before.horizons,
            (energy_pace, flow_pace, nats_pace),
            tuple(self.alerts),
            tuple(nats),
            self.power,
            self.metered,
            self.kelvin,
            self.around_k,
            self.time,
            self.shifts,
            self.alarms,
            self.ticks,
        )


def total_of(nats: Sequence[float]) -> float:
    """One stream after the other: so the last bit is the same for one source and for a thousand side by side."""
    total = 0.0
    for each in nats:
        total += each
    return total


def _running(total: float, added: Floats) -> list[float]:
    """What it comes to with each of these, one after the other."""
    found: list[float] = np.add.accumulate(np.append(total, added))[1:].tolist()
    return found


def seconds_between(since: float, time: float) -> float:
    """Both stand for whole µs and are, today, off by a quarter of one; what lies between is whole again. NaN before the first."""
    passed = time - since
    return round(passed * 1e6) / 1e6 if passed > 0 else passed


_BOUND_OF = dict(zip(layout.SCALES, regimes.BOUNDS, strict=True))


def _by_time(done: rounds.Round, streams: Sequence[int], rows: Sequence[int]) -> Mapping[float, list[Shown]]:
    """In the order of time, and of one moment by stream: which rows a source was given, no log tells."""
    found: dict[float, list[Shown]] = {}
    for stream, row in sorted(zip(streams, rows, strict=True)):
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


def paced(pace: Pace, times: Sequence[float], totals: Sequence[float], *, last: bool = False) -> Pace:
    """Some more totals. Those of a command count from its beginning, so only what is added matters.

    `last`: no more of this command comes, and the next one counts from nought again.
    """
    if not times:
        return pace
    now, before, first_time, first_total, latest, smooth, off, steps = msgspec.structs.astuple(pace)
    for time, total in zip(times, totals, strict=True):
        passed = time - now
        if passed > 0:
            rate = 1 / (steps + 1)
            rate = rate if rate > SMOOTH else SMOOTH
            latest = (total - before) / passed
            off = off + rate * (abs(latest - smooth) - off) if steps else abs(latest)
            smooth += rate * (latest - smooth)
            steps += 1
        elif math.isnan(now):
            first_time, first_total = time, total
        else:
            continue
        now, before = time, total
    if now == pace.time:
        return pace
    base = before if last else 0.0
    return Pace(now, before - base, first_time, first_total - base, latest, smooth, off, steps)


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
    energy_pace, flow_pace, nats_pace = after.paces
    least = 0.0
    if power is not None:
        rates, doubt, quantum = power_rates(power, power_unit, horizon_s)
        least = 2 * quantum * min(power.step, horizon_s)
    else:
        rates, doubt = _rates(energy_pace), 2 * energy_pace.off
    if totals.powered:
        unit, total, known = "J", totals.energy_j, after.horizons[0]
    else:
        unit, total, known = "1", totals.surrogate, after.horizons[1]
    energy = claims.claim(known, total, rates, horizon_s, doubt, _floor(total, rates, horizon_s, least))
    if totals.physical:
        kind, total, known = "J/K", totals.entropy_j_k, after.horizons[2]
        rates, unsure = _rates(flow_pace), 2 * flow_pace.off
    else:
        kind, total, known = "nats", totals.nats, after.horizons[3]
        rates, unsure = LEVEL, max(LEVEL_DOUBT, totals.nats / max(nats_pace.steps, 1)) / horizon_s
    return Said(
        prediction_id, unit, energy, kind, claims.claim(known, total, rates, horizon_s, unsure, _floor(total, rates, horizon_s))
    )


def _floor(total: float, rates: claims.Rates, horizon_s: float, least: float = 0.0) -> float:
    """No interval is narrower than this."""
    return max(least, FLOOR * (abs(total) + max(*rates, -min(rates)) * horizon_s), 1e-12)


def settled(after: Follow, made: Said, energy: float, entropy_total: float) -> Follow:
    """A claim was met: its intervals learn from that."""
    horizons = list(after.horizons)
    for unit, claim, outcome in ((made.energy_unit, made.energy, energy), (made.entropy_unit, made.entropy, entropy_total)):
        place = HORIZONS.index(unit)
        horizons[place], _ = claims.settle(horizons[place], claim, outcome)
    return msgspec.structs.replace(after, horizons=tuple(horizons))


def kept_claim(figures: Sequence[float]) -> claims.Claim:
    """A claim from its figures in a row."""
    total, horizon_s, expected, half, rare, *rest = figures
    one, two, three = rest[4:]
    return claims.Claim(total, horizon_s, expected, half, rare, claims.Rates(*rest[:4]), (one, two, three))


def balance(judged: heat.Step) -> proof.Balance | None:
    """What the first law says of a step, where it says anything."""
    if judged.vacuous or math.isnan(judged.mean_j):
        return None
    return proof.Balance(judged.residual_j, judged.sigma_j, judged.mean_j, judged.mean_sigma_j)
