"""`eil.sense` and its kin: points come, are judged one by one, and one command records all that they led to.

A point is refused by itself and harms no other. Who sent the first point of a source owns it: what its proofs earn is credited to
the owner, so nobody else may add to it, but an admin on the owner's behalf.
"""

import math
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from math import copysign
from operator import eq, itemgetter
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from core.canonical import payload_as_it_is
from core.energy import packed, proof, proving, units
from core.energy.facts import (
    METRICS_MAX,
    POINTS_MAX,
    Begun,
    Known,
    Moved,
    Points,
    Predicted,
    Provenance,
    Refusal,
    RegimeShifted,
    Sensed,
    Source,
    SourceLost,
    Text,
    Totals,
    place_of,
)
from core.energy.plans import VALUE_MAX, Plan, plan_of, whole
from core.energy.state import Energy
from core.energy.view import Expected, Promise
from core.engine import Command, Context, Decision, Made, Refused
from core.fields import INT_MAX, Name, Time
from core.times import time_us
from core.wire.codec import Typed

if TYPE_CHECKING:
    from core.energy import claims
    from core.energy.following import Followed, Said, Tick
    from core.energy.node import Step
    from core.energy.quiet import Group, Moment

COMMAND_POINTS_MAX = 2_048
IDLE_US = 3_600_000_000
"""A source that was silent for so long may be given up for another, where no more streams fit."""
LOST_TICKS_MIN = 8
"""A stream that never had so many has no usual step."""
LOST_STEPS = 8.0
NORMAL_95 = 1.959963984540054
THIRD = 3.0
"""Between two points nobody knows better than a share of what lies between them."""

_first = itemgetter(0)

FIGURE_MAX = sys.float_info.max
Figure = Annotated[float, Meta(ge=-FIGURE_MAX, le=FIGURE_MAX)]
"""Any that is finite: what cannot be used is refused by itself, not with all that came beside it."""
AHEAD_US = 366 * 86_400_000_000
"""One point of a far future would make its stream refuse every true one after it."""


class Sense(Command):
    """What the sensors of a source say at one moment.

    source: its name
    telemetry: the numbers, by metric
    timestamp: when; now without it
    context: what else is worth keeping about the moment
    """

    source: Name
    telemetry: Annotated[dict[Name, Figure], Meta(min_length=1, max_length=METRICS_MAX)]
    timestamp: Time | None = None
    context: Text = {}


class SenseBatch(Command):
    """What the sensors of a source said at many moments.

    source: its name
    metrics: which
    times: when: texts such as 2026-01-31T12:00:00Z, or whole µs since 1970 as numbers or as an int64 array, rising
    values: for each time one number for each metric, null where there is none; or a float64 array, a line for each time
    predict: whether to issue a prediction with the last point
    """

    source: Name
    metrics: Annotated[list[Name], Meta(min_length=1, max_length=METRICS_MAX)]
    times: Any
    values: Any
    predict: bool = False


class Predict(Command):
    """Asks what a source will come to.

    source: which
    horizon_s: how far ahead, from its newest point; as configured without it
    """

    source: Name
    horizon_s: Annotated[float, Meta(ge=1, le=604_800)] | None = None


class Given(NamedTuple):
    """Points as they were sent: a line for each moment, None where there is none."""

    source: str
    metrics: Sequence[str]
    times_us: Sequence[int]
    values: Sequence[Sequence[float | None]]
    context: dict[str, Any]
    claim: bool
    expected: Expected | None = None
    """The same, looked at when it was announced."""


def decide_sense(energy: Energy, command: Sense, ctx: Context) -> Decision:
    name, telemetry = command.source, command.telemetry
    source = energy.sources.get(name)
    if source is not None and (found := energy.view.ready(command, ctx.settings.eil)) is not None:
        decided = _decide_quiet(energy, source, command, *found, ctx)
        if decided is not None:
            return decided
    expected = energy.view.announced(command, source.streams) if source is not None else None
    if command.timestamp is None:
        if expected is not None and source is not None and not source.newest_us < expected.times_us[0] <= ctx.now_us:
            expected = None  # others came in between
        moment_us = expected.times_us[0] if expected is not None else ctx.now_us
    else:
        moment_us = expected.times_us[0] if expected is not None else _moment(command.timestamp, "/timestamp")
    energy.meters.admit("sense", ctx, len(telemetry))
    given = Given(name, list(telemetry), [moment_us], [list(telemetry.values())], command.context, True, expected)
    return _decide(energy, given, ctx)


def _decide_quiet(energy: Energy, source: Source, command: Sense, group: "Group", at: int, ctx: Context) -> Decision | None:
    """What stands in a group already: the source just goes on. None where that is not so any more, or more has to be looked at."""
    name, moment_us = command.source, group.moments_us[at]
    was, now_us = source.totals, ctx.now_us
    if was is not group.totals[at] or source is not group.facts[at] or source.lost or moment_us > now_us + AHEAD_US:
        return None
    if moment_us <= source.newest_us or (command.timestamp is None and moment_us > now_us):
        return None
    if ctx.actor.name != source.owner and ctx.actor.role not in ("admin", "irer"):
        return None
    due_us = moment_us + group.horizon_us
    if not proving.is_last(energy.claims, name, due_us):
        return None
    passed = proving.passed(energy.claims, name, source.newest_us, moment_us)
    met = _met_quiet(energy, source, passed, group, at) if passed else []
    energy.meters.admit("sense", ctx, len(command.telemetry))
    powered, totals, confidence = group.powered, group.totals_after(at), group.comes_to[at][4]
    prediction_id = f"pred_{ctx.new_id()}"
    claim = proving.Claim(
        prediction_id,
        due_us,
        group.energies[at],
        group.entropies[at],
        group.references[at],
        moment_us,
        "J" if powered else "1",
        "statistical",
        powered and not was.modelled,
    )
    points = Points(group.streams, group.moments[at], group.values[at])
    energy.view.used(name, points, group, at, prediction_id)
    count, regime, likely = len(group.streams), group.names[at], group.likely[at]
    event = Sensed(
        name,
        source.owner,
        points,
        count,
        totals,
        regime,  # type: ignore[arg-type]
        likely,  # type: ignore[arg-type]
        confidence,
        moment_us,
        claim=claim,
        due_us=due_us,
        context=command.context,
    )
    made = None if command.context else _made(event, group.figures[at])
    return Decision(event, *met, made=made)


_TOTALS = Totals()


def _made(event: Sensed, figures: Sequence[float] | None) -> Made | None:
    """The record of points of a source that just goes on, from figures as a record has them. None where it is to be looked at."""
    if figures is None or event.due_us is None or event.due_us > INT_MAX:
        return None
    energy_j, surrogate, uncovered_s, nats, confidence = figures
    was = event.totals
    sigma_j, entropy_j_k = was.sigma_j, was.entropy_j_k
    if sigma_j is not _TOTALS.sigma_j:
        if sigma_j or copysign(1.0, sigma_j) < 0:
            return None
        sigma_j = 0
    if entropy_j_k is not _TOTALS.entropy_j_k:
        if entropy_j_k or copysign(1.0, entropy_j_k) < 0:
            return None
        entropy_j_k = 0
    written = Sensed(
        event.source,
        event.owner,
        event.points,
        event.accepted,
        Totals(energy_j, surrogate, sigma_j, uncovered_s, was.modelled, entropy_j_k, nats, False, was.powered),
        event.regime,
        event.next_likely,
        confidence,
        event.newest_us,
        claim=event.claim,
        due_us=event.due_us,
    )
    payload = payload_as_it_is(written)
    return Made(payload) if payload is not None else None


def _met_quiet(energy: Energy, source: Source, passed: Sequence[proving.Claim], group: "Group", at: int) -> list[proving.ClaimsMet]:
    """Claims whose moment these points passed, of a machine of which nothing is known but what its sensors show."""
    step = group.step(at)
    if step is None:
        return []
    was, powered, roles = source.totals, group.powered, group.plan.roles
    half, quantum = _noise_of(group.noise_before(at), group.plan.metrics[roles.power][1]) if powered else (0.0, 0.0)
    checks = _unjudged(_why_vacuous(powered, powered, None, roles))
    outcomes = [
        proving.Outcome(
            claim, _own(claim, was, *step, half, quantum), checks, claim.measured and claim.energy_unit == "J" and powered
        )
        for claim in passed
    ]
    return [proving.meet(energy.claims, group.expected[at].source, outcomes)]


def foresee(energy: Energy, coming: Sequence[Sense | SenseBatch], now_us: int | None = None) -> None:
    """Commands that came together, now, and will be decided in this order: their points are advanced together. Refuses nothing.

    A sense without a time is of the moment at which it came: the first of its source, that is, for two may not be of one moment.
    """
    timeless: set[str] = set()
    energy.view.expect([each for command in coming if (each := _expected(energy, command, now_us, timeless)) is not None])


def _expected(energy: Energy, command: Sense | SenseBatch, now_us: int | None, timeless: set[str]) -> Expected | None:
    """The points of a command as `follow` will be asked about them. None where that cannot be said yet."""
    name = command.source
    source = energy.sources.get(name)
    if source is None:
        return None
    try:
        if isinstance(command, SenseBatch):
            metrics, moments = command.metrics, _moments(command.times)
            lines = _lines(command.values, len(moments), len(metrics))
        else:
            metrics, lines = list(command.telemetry), [list(command.telemetry.values())]
            if command.timestamp is not None:
                moments = [_moment(command.timestamp, "/timestamp")]
            elif now_us is not None and name not in timeless:
                timeless.add(name)
                moments = [now_us]
            else:
                return None
    except Refused:
        return None
    if not metrics or len(moments) * len(metrics) > COMMAND_POINTS_MAX:
        return None
    usual = energy.view.plans.get(name)
    if usual is not None and usual[0] is source.streams and usual[1] == metrics:
        plan = usual[2]
    else:
        found = _plan(source, metrics)
        if found is None:
            return None
        plan = found
        energy.view.plans[name] = source.streams, metrics, plan
    times = [moment / 1e6 for moment in moments]
    if _all_usable(lines, plan):
        facts = source if plan.complete and isinstance(command, Sense) else None
        return Expected(command, name, source.streams, plan, moments, times, lines, True, facts)  # type: ignore[arg-type]
    kinds, refused = [source.streams[place] for place in plan.streams], Counter[tuple[str, str]]()
    values = [[_usable(value, *kind, refused) for value, kind in zip(line, kinds, strict=True)] for line in lines]
    return Expected(command, name, source.streams, plan, moments, times, values, False)


def _plan(source: Source, metrics: Sequence[str]) -> Plan | None:
    """Which streams these are; None where one of them is new."""
    known = source.streams
    if len(known) == len(metrics) and all(map(eq, map(_first, known), metrics)):
        return plan_of(tuple(known), tuple(range(len(known))))
    places = place_of(source)
    try:
        return plan_of(tuple(known), tuple(places[metric] for metric in metrics))
    except KeyError:
        return None


def _all_usable(lines: Sequence[Sequence[float | None]], plan: Plan) -> bool:
    """Whether each number can be used, without a closer look."""
    if len(lines) == 1:
        for value, (low, high) in zip(lines[0], plan.bounds, strict=True):
            if value is None or not low <= value <= high:
                return False
        return True
    for column, (low, high) in zip(zip(*lines, strict=True), plan.bounds, strict=True):
        if None in column or math.isnan(sum(column)) or not (low <= min(column) and max(column) <= high):
            return False
    return True


def decide_batch(energy: Energy, command: SenseBatch, ctx: Context) -> Decision:
    if len(set(command.metrics)) != len(command.metrics):
        raise _malformed("/metrics", "a metric stands there twice")
    source = energy.sources.get(command.source)
    expected = energy.view.announced(command, source.streams) if source is not None else None
    moments: Sequence[int]
    values: Sequence[Sequence[float | None]]
    if expected is not None and expected.whole:
        moments, values = expected.times_us, expected.values
    else:
        expected, moments = None, _moments(command.times)
        values = _lines(command.values, len(moments), len(command.metrics))
    points = len(moments) * len(command.metrics)
    if points > COMMAND_POINTS_MAX:
        text = f"{points:,} points in one command; at most {COMMAND_POINTS_MAX:,} fit. Send less at once"
        raise Refused("invalid-argument", text, reason="too-many-points")
    energy.meters.admit("sense_batch", ctx, points)
    return _decide(energy, Given(command.source, command.metrics, moments, values, {}, command.predict, expected), ctx)


def decide_predict(energy: Energy, command: Predict, ctx: Context) -> Decision:
    source = energy.sources.get(command.source)
    if source is None or not source.points:
        raise unknown(energy, command.source)
    _owned(source, command.source, ctx)
    energy.meters.admit("predict", ctx)
    energy.view.drop_note()
    horizon_s = command.horizon_s if command.horizon_s is not None else ctx.settings.eil.horizon_s
    due_us = source.newest_us + round(horizon_s * 1e6)
    claim = proving.due_at(energy.claims, command.source, due_us)
    if claim is None:
        claim, _ = _claim(energy, command.source, source.streams, source.totals, source.newest_us, horizon_s, source.lost, ctx)
    return Decision(Predicted(command.source, claim, source.regime, source.next_likely, source.confidence))  # type: ignore[arg-type]


# --- what was sent ----------------------------------------------------------------------------------------------------------


def _malformed(place: str, text: str) -> Refused:
    return Refused("invalid-argument", f"{place[1:]}: {text}. See: irerctl api show eil.sense_batch", fields=[(place, text)])


def _moment(text: str, place: str) -> int:
    try:
        found = time_us(text)
    except ValueError:
        shown = f"{text} is no time that exists. Write it as 2026-01-31T12:00:00Z"
        raise Refused("invalid-argument", shown, fields=[(place, "no such day or hour")]) from None
    if found < 0:
        raise Refused("invalid-argument", "a time before 1970 cannot be kept. Check the clock", fields=[(place, "before 1970")])
    return found


_WHOLE, _LISTS, _FRACTIONS, _NUMBERS = (frozenset(kinds) for kinds in ((int,), (list,), (float,), (float, int)))
"""What a list holds that needs no closer look, each by itself."""


def _moments(given: Any) -> list[int]:
    if isinstance(given, Typed):
        if given.dtype != "int64" or len(given.shape) != 1:
            raise _malformed("/times", "an array of times has one dimension and the type int64")
        given = list(given.numbers())
    if not isinstance(given, list) or not 1 <= len(given) <= COMMAND_POINTS_MAX:
        raise _malformed("/times", f"1 to {COMMAND_POINTS_MAX:,} times are wanted")
    if _WHOLE.issuperset(map(type, given)) and min(given) >= 0 and max(given) <= INT_MAX:
        return given
    return [_one_moment(each, place) for place, each in enumerate(given)]


def _one_moment(each: Any, place: int) -> int:
    if isinstance(each, int) and not isinstance(each, bool) and 0 <= each <= INT_MAX:
        return each
    try:
        return _moment(msgspec.convert(each, Time), f"/times/{place}")
    except msgspec.ValidationError:
        raise _malformed(f"/times/{place}", "neither a time such as 2026-01-31T12:00:00Z nor whole µs since 1970") from None


def _lines(given: Any, moments: int, metrics: int) -> list[list[float | None]]:
    if isinstance(given, Typed):
        if given.dtype not in ("float64", "float32") or given.shape not in ((moments, metrics), (moments * metrics,)):
            raise _malformed("/values", f"an array of {moments} × {metrics} of float64 or float32 is wanted")
        flat = given.numbers(finite=False)
        return [list(flat[at : at + metrics]) for at in range(0, len(flat), metrics)]
    if not isinstance(given, list) or len(given) != moments:
        raise _malformed("/values", f"{moments} lines are wanted, one for each time")
    if _LISTS.issuperset(map(type, given)) and {metrics}.issuperset(map(len, given)):
        kinds = set(map(type, chain.from_iterable(given)))
        if kinds == _FRACTIONS:
            return given
        if kinds <= _NUMBERS:
            with suppress(OverflowError):
                return [list(map(float, line)) for line in given]
    lines = []
    for place, line in enumerate(given):
        line = line if isinstance(line, list) else [line]
        if len(line) != metrics:
            raise _malformed(f"/values/{place}", f"{metrics} numbers are wanted, one for each metric")
        lines.append([_number(each, f"/values/{place}") for each in line])
    return lines


def _number(each: Any, place: str) -> float | None:
    if each is None:
        return None
    if isinstance(each, bool) or not isinstance(each, int | float):
        raise _malformed(place, "a number, or null where there is none")
    try:
        return float(each)
    except OverflowError:
        return math.inf


# --- one command ------------------------------------------------------------------------------------------------------------


class _Judged(NamedTuple):
    """Points as they go on to be followed: of streams, numbers; NaN where there is none."""

    plan: Plan
    begun: list[Begun]
    values: Sequence[Sequence[float]]
    whole: bool
    """A number stands in every place."""
    refused: Counter[tuple[str, str]]


def _decide(energy: Energy, given: Given, ctx: Context) -> Decision:
    source = energy.sources.get(given.source)
    if source is not None:
        _owned(source, given.source, ctx)
    latest_us = max(given.times_us)
    if latest_us > ctx.now_us + AHEAD_US:
        text = "a time more than a year ahead of this machine's clock cannot be true. Check the clocks of both"
        raise Refused("invalid-argument", text, reason="ahead")
    before = source if source is not None else Source(ctx.actor.name, [], lost=[])
    known = _known(given.source, ctx)
    judged = _judge(before, given, ctx)
    plan = judged.plan
    evicted = _room(energy, given.source, before, len(judged.begun), ctx) if judged.begun else None
    due = before.points > 0 and bool(proving.passed(energy.claims, given.source, before.newest_us, latest_us))
    earlier = energy.view.follow_of(given.source) if due else None
    times = given.expected.times if given.expected is not None else [moment / 1e6 for moment in given.times_us]
    followed = energy.view.follow(given.source, plan, known, times, judged.values, all_there=judged.whole, told=due)
    refused, repeated = _refusals(judged, followed)
    if not followed.kept and not repeated:
        raise _none_taken(refused)
    totals = _totals(before, plan, known, followed)
    newest_us = before.newest_us
    for moment, _ in followed.kept:
        newest_us = max(newest_us, given.times_us[moment])
    claim, said, again, due_us = None, None, None, None
    if given.claim:
        horizon_s = ctx.settings.eil.horizon_s
        due_us = newest_us + round(horizon_s * 1e6)
        open_claim = proving.due_at(energy.claims, given.source, due_us)
        again = open_claim.prediction_id if open_claim is not None else None
        if open_claim is None:
            lost = [metric for metric in before.lost if metric not in given.metrics] if before.lost else ()
            claim, said = _claim(energy, given.source, plan.metrics, totals, newest_us, horizon_s, lost, ctx)
    parts = _parts(judged, given.times_us, followed)
    silent = _lost(energy, given.source, before, plan, newest_us)
    spoke: Collection[str] = ()
    lost_after: Collection[str] = ()
    if before.lost or silent:
        spoke = {plan.metrics[stream][0] for stream in followed.spoke} if before.lost else ()
        lost_after = {*before.lost, *(metric for each in silent for metric in each.metrics)}.difference(spoke)
    energy.view.note([points for points, _ in parts], said)
    after = followed.after
    events: list[Any] = [
        Sensed(
            given.source,
            before.owner,
            points,
            count,
            totals,
            after.regime.name,  # type: ignore[arg-type]
            after.next_likely,  # type: ignore[arg-type]
            after.confidence,
            newest_us,
            judged.begun if first else [],
            repeated if first else 0,
            refused if first else [],
            known if first and known != before.known else None,
            claim if last else None,
            again,
            due_us,
            evicted if first else None,
            [metric for metric in before.lost if metric in spoke] if first and spoke else [],
            falls(plan.metrics, known, lost_after) if lost_after else None,
            given.context if first else {},
        )
        for (points, count), first, last in _ends(parts)
    ]
    events += silent
    if followed.announced:
        events += _shifted(given.source, plan.metrics, followed)
    if earlier is not None:
        events += _met(energy, given.source, before, plan.metrics, earlier, followed)
    return Decision(*events)


def falls(metrics: Sequence[tuple[str, str]], known: Known, lost: Collection[str]) -> Provenance | None:
    """What the total energy is worth where the sensor of the power is silent."""
    power = units.roles(metrics).power if lost else -1
    if power < 0 or metrics[power][0] not in lost:
        return None
    return "modelled" if known.powered else "surrogate"


def _ends(parts: list[tuple[Points, int]]) -> Iterable[tuple[tuple[Points, int], bool, bool]]:
    return [(part, place == 0, place == len(parts) - 1) for place, part in enumerate(parts)]


def _owned(source: Source, name: str, ctx: Context) -> None:
    if ctx.actor.name != source.owner and ctx.actor.role not in ("admin", "irer"):
        text = f"{name} belongs to {source.owner}, who sent its first point. Send yours under another name, or as an admin"
        raise Refused("permission-denied", text, reason="owner")


def unknown(energy: Energy, name: str) -> Refused:
    from difflib import get_close_matches

    near = get_close_matches(name, energy.sources, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return Refused("not-found", f"no points of {name} have come.{hint} See: irerctl regime", data={"nearest": near})


NOTHING_KNOWN = Known()


def _known(name: str, ctx: Context) -> Known:
    said = ctx.settings.eil.sources.get(name)
    if said is None:
        return NOTHING_KNOWN
    return Known(said.idle_w, said.max_w, list(said.power_w), said.surroundings_k, said.warming_k_s)


def _judge(before: Source, given: Given, ctx: Context) -> _Judged:
    """Which streams these are, and which numbers cannot be in the unit of theirs."""
    refused: Counter[tuple[str, str]] = Counter()
    expected = given.expected
    if expected is not None and expected.whole:
        return _Judged(expected.plan, [], expected.values, True, refused)
    plan = _plan(before, given.metrics)
    if plan is not None and _all_usable(given.values, plan):
        return _Judged(plan, [], given.values, True, refused)  # type: ignore[arg-type]
    places = place_of(before)
    streams: list[int] = []
    begun: list[Begun] = []
    columns: list[list[float]] = []
    for column, metric in enumerate(given.metrics):
        place = places.get(metric)
        unit = before.streams[place][1] if place is not None else units.unit_of(metric, ctx.settings.eil.metric_units)
        numbers = [_usable(line[column], metric, unit, refused) for line in given.values]
        if place is None:
            if all(math.isnan(number) for number in numbers):
                continue
            place = len(before.streams) + len(begun)
            begun.append(Begun(metric, unit))  # type: ignore[arg-type]
        streams.append(place)
        columns.append(numbers)
    if len(before.streams) + len(begun) > METRICS_MAX:
        text = (
            f"{given.source} would have {len(before.streams) + len(begun)} metrics; at most {METRICS_MAX} fit. Use a second source"
        )
        raise Refused("resource-exhausted", text, reason="metrics")
    if not streams:
        raise _none_taken(_listed(refused))
    metrics = (*before.streams, *((each.metric, each.unit) for each in begun))
    lines = [list(line) for line in zip(*columns, strict=True)]
    return _Judged(plan_of(metrics, tuple(streams)), begun, lines, whole(lines), refused)


def _usable(value: float | None, metric: str, unit: str, refused: Counter[tuple[str, str]]) -> float:
    if value is None:
        return math.nan
    if not abs(value) <= VALUE_MAX:
        refused[metric, "unusable"] += 1
        return math.nan
    if units.mismatched(unit, value):
        refused[metric, "unit-mismatch"] += 1
        return math.nan
    return value


def _room(energy: Energy, name: str, before: Source, more: int, ctx: Context) -> str | None:
    """The source that is given up, where no more streams fit."""
    most = ctx.settings.eil.streams_max
    if not more or energy.streams + more <= most:
        return None
    idlest = next(iter(energy.sources.items()), None)
    if idlest is not None and idlest[0] != name and ctx.now_us - idlest[1].seen_us >= IDLE_US:
        if energy.streams - len(idlest[1].streams) + more <= most:
            return idlest[0]
    text = f"{energy.streams:,} streams are followed and {more:,} more do not fit. Have an admin raise eil.streams_max"
    raise Refused("resource-exhausted", text, reason="streams")


def _refusals(judged: _Judged, followed: "Followed") -> tuple[list[Refusal], int]:
    refused, repeated, metrics = judged.refused, 0, judged.plan.metrics
    if followed.round.clean or not any(followed.fates):
        return _listed(refused) if refused else [], 0
    from core.energy.columns import ACCEPTED, FATES, REPEATED

    fates = iter(followed.fates)
    for line in judged.values:
        for stream, value in zip(judged.plan.streams, line, strict=True):
            fate = ACCEPTED if math.isnan(value) else next(fates)
            if fate == REPEATED:
                repeated += 1
            elif fate != ACCEPTED:
                refused[metrics[stream][0], FATES[fate]] += 1
    return _listed(refused), repeated


def _listed(refused: Counter[tuple[str, str]]) -> list[Refusal]:
    return [Refusal(metric, why, count) for (metric, why), count in sorted(refused.items())]  # type: ignore[arg-type]


_WORDS = {
    "older": "older than the newest point of its stream. Points of one stream come in the order of time; see: irerctl regime",
    "conflicting": "another value is known for that time. What was said stands",
    "unusable": "no number that can be used. Send finite numbers below 1e17",
    "unit-mismatch": "no value that its unit can have. Say the unit in the metric's name or in eil.metric_units",
}


def _none_taken(refused: Sequence[Refusal]) -> Refused:
    if not refused:
        return Refused("invalid-argument", "there is no number in it. Send at least one", reason="empty")
    first = refused[0]
    text = f"no point was taken up. {first.metric}: {_WORDS[first.reason]}"
    data = {"refused": [msgspec.to_builtins(each) for each in refused[:METRICS_MAX]]}
    fields = [(f"/telemetry/{each.metric}", each.reason) for each in refused[:16]]
    return Refused("invalid-argument", text, reason=first.reason, fields=fields, data=data)


def _totals(before: Source, plan: Plan, known: Known, followed: "Followed") -> Totals:
    was = before.totals
    entropies = followed.after.node.entropies > 0
    return Totals(
        was.energy_j + followed.energy_j,
        was.surrogate + followed.surrogate,
        was.sigma_j + followed.sigma_j,
        was.uncovered_s + followed.uncovered_s,
        was.modelled or followed.modelled,
        was.entropy_j_k + followed.entropy_j_k,
        followed.nats,
        was.physical or entropies,
        was.powered or plan.roles.power >= 0 or (known.powered and plan.roles.utilisation >= 0),
    )


def _parts(judged: _Judged, times_us: Sequence[int], followed: "Followed") -> list[tuple[Points, int]]:
    """What was taken up, as records: at least one, each with at most so many points."""
    kept, streams = followed.kept, list(judged.plan.streams)
    if len(kept) == 1 and judged.whole and followed.round.clean:
        [(moment, line)] = kept
        return [(Points(streams, packed.packed_times([times_us[moment]]), packed.packed_values(line)), len(line))]
    lines = max(1, POINTS_MAX // len(streams))
    parts = []
    for at in range(0, max(len(kept), 1), lines):
        some = kept[at : at + lines]
        numbers = [number for _, line in some for number in line]
        count = len(numbers) - (0 if judged.whole and followed.round.clean else sum(map(math.isnan, numbers)))
        moments = packed.packed_times([times_us[moment] for moment, _ in some])
        parts.append((Points(streams, moments, packed.packed_values(numbers)), count))
    return parts


def _claim(
    energy: Energy,
    source: str,
    metrics: Sequence[tuple[str, str]],
    totals: Totals,
    newest_us: int,
    horizon_s: float,
    lost: Sequence[str],
    ctx: Context,
) -> tuple[proving.Claim, "Said"]:
    prediction_id = f"pred_{ctx.new_id()}"
    horizon_us = round(horizon_s * 1e6)
    due_us = newest_us + horizon_us
    said = energy.view.promise(source, metrics, Promise(prediction_id, horizon_us / 1e6, totals))
    power = units.roles(metrics).power
    measured = totals.powered and not totals.modelled and power >= 0 and metrics[power][0] not in lost
    about = said.energy
    total, seconds, rates = about.total, about.horizon_s, about.rates
    naive, smoothing, mean = total + rates.naive * seconds, total + rates.smoothing * seconds, total + rates.mean * seconds
    one, two, three = about.halves
    claim = proving.Claim(
        prediction_id,
        due_us,
        _band(about),
        _band(said.entropy),
        [(naive - one, naive + one), (smoothing - two, smoothing + two), (mean - three, mean + three)],
        newest_us,
        "J" if totals.powered else "1",
        "physical" if totals.physical else "statistical",
        measured,
    )
    return claim, said


def _band(said: "claims.Claim") -> proving.BandFields:
    value, half, rare = said.expected, said.half, said.half_rare
    return (value, value - half, value + half, value - rare, value + rare)


# --- what they led to -------------------------------------------------------------------------------------------------------


def _lost(energy: Energy, name: str, before: Source, plan: Plan, newest_us: int) -> list[SourceLost]:
    streams = plan.streams
    if len(streams) >= len(plan.metrics):
        return []
    from core.energy import layout

    silent: dict[str, float] = {}  # others had gone on before this: where all were away, a metric may not have had its turn yet
    for place, (metric, _) in enumerate(before.streams):
        row = energy.view.row(name, place) if place not in streams and metric not in before.lost else None
        if row is None or row.i4[layout.COUNT, 0] < LOST_TICKS_MIN:
            continue
        last = float(row.f8[layout.TIME, 0])
        if before.newest_us / 1e6 - last > LOST_STEPS * float(row.f4[layout.STEP, 0]):
            silent[metric] = newest_us / 1e6 - last
    return [SourceLost(name, list(silent), max(silent.values()), "silent")] if silent else []


def _shifted(name: str, metrics: Sequence[tuple[str, str]], followed: "Followed") -> list[RegimeShifted]:
    return [
        RegimeShifted(
            name,
            round(time * 1e6),
            was,  # type: ignore[arg-type]
            now,  # type: ignore[arg-type]
            [
                Moved(
                    metrics[each.stream][0],
                    round(each.time * 1e6),
                    max(round(each.located * 1e6), 0),
                    each.scale,
                    each.statistic,
                    each.mean_before,
                    each.spread_before,
                    each.mean_after,
                    each.spread_after,
                    each.gradient,
                )
                for each in shown
            ],
        )
        for time, shown, was, now in followed.announced
    ]


def _met(
    energy: Energy, name: str, before: Source, metrics: Sequence[tuple[str, str]], earlier: Any, followed: "Followed"
) -> list[proving.ClaimsMet]:
    """Claims whose moment these points passed, each with what was really there."""
    from core.energy.following import total_of

    if not followed.ticks or not before.points:
        return []
    newest_us = round(followed.ticks[-1].time * 1e6)
    passed = proving.passed(energy.claims, name, before.newest_us, newest_us)
    if not passed:
        return []
    start = (earlier.time, 0.0, 0.0, 0.0, total_of(earlier.nats))
    half, quantum = _noise(energy, name, metrics, followed)
    found = [_outcome(claim, before.totals, start, followed.ticks, half, quantum, units.roles(metrics)) for claim in passed]
    outcomes = [outcome for outcome in found if outcome is not None]
    return [proving.meet(energy.claims, name, outcomes)] if outcomes else []


def _noise(energy: Energy, name: str, metrics: Sequence[tuple[str, str]], followed: "Followed") -> tuple[float, float]:
    """Spread of one step of the power, and the step of its sensor, in W; nought where no sensor says it."""
    from core.energy import following

    place = following.power_stream(followed.after, metrics)
    noise = energy.view.noise_before(name, place) if place >= 0 else None
    return _noise_of(noise, metrics[place][1]) if noise is not None else (0.0, 0.0)


def _noise_of(noise: tuple[float, float], unit: str) -> tuple[float, float]:
    half, quantum = noise
    scale = units.watts(unit, 1.0)
    return half * scale / NORMAL_95, quantum * scale


def _outcome(
    claim: proving.Claim, was: Totals, start: "Moment", ticks: "list[Tick]", half: float, quantum: float, roles: units.Roles
) -> proving.Outcome | None:
    """What the first tick at its moment or after it says of a claim; `start` is what stood before all of them."""
    place = bisect_left([tick.time for tick in ticks], claim.due_us / 1e6)
    if place >= len(ticks) or ticks[place].gap:
        return None
    tick = ticks[place]
    before, after = ticks[place - 1][:5] if place else start, tick[:5]
    judged = tick.judged
    sigma = judged.entropy_sigma if judged is not None and not math.isnan(judged.entropy_sigma) else 0.0
    own = _own(claim, was, before, after, half, quantum, sigma)
    measured = claim.measured and claim.energy_unit == "J" and tick.measured
    return proving.Outcome(claim, own, _checks(claim, tick, quantum * (after[0] - before[0]), roles), measured)


def _own(
    claim: proving.Claim, was: Totals, before: "Moment", after: "Moment", half: float, quantum: float, sigma: float = 0.0
) -> proof.Own:
    """The totals at the moment of a claim, between two of its source. `was`: what they count from."""
    seconds = after[0] - before[0]
    share = (claim.due_us / 1e6 - before[0]) / seconds if seconds > 0 else 1.0
    between = 0.0 if share >= 1 else 1 / THIRD
    base, place = (was.energy_j, 1) if claim.energy_unit == "J" else (was.surrogate, 2)
    grown = after[place] - before[place]
    energy = base + before[place] + share * grown
    base, place = (was.entropy_j_k, 3) if claim.entropy_kind == "physical" else (0.0, 4)
    made = after[place] - before[place]
    entropy = base + before[place] + share * made
    return proof.Own(
        energy,
        entropy,
        max(abs(grown) * between, (half + quantum) * seconds, 1e-9 * abs(energy), 1e-12),
        max(abs(made) * between, sigma, 1e-9 * abs(entropy), 1e-12),
    )


def _checks(claim: proving.Claim, tick: "Tick", sensor_j: float, roles: units.Roles) -> proving.Checks:
    judged = tick.judged
    why = _why_vacuous(tick.feasible.power_w is not None, tick.measured, judged, roles)
    balance, production = None, None
    if judged is not None:
        from core.energy import following

        balance = following.balance(judged)
    if judged is not None and not judged.vacuous and not math.isnan(judged.entropy_sigma):
        physical = claim.entropy_kind == "physical"
        spread = (claim.entropy[2] - claim.entropy[1]) / 2 / NORMAL_95 if physical else 0.0
        per_kelvin = judged.entropy_j_k / (tick.feasible.power_w * judged.seconds) if tick.feasible.power_w else 0.0
        production = proof.Production(
            judged.entropy_j_k, judged.entropy_sigma, spread, abs(per_kelvin) * sensor_j if physical else 0.0
        )
    return proving.checked(proof.energy(balance, why=why), proof.entropy(production, why=why), proof.feasibility(tick.feasible))


@cache
def _unjudged(why: str) -> proving.Checks:
    """Of a step of which a power is known at most."""
    return proving.checked(proof.energy(None, why=why), proof.entropy(None, why=why), proof.feasibility(proof.Feasible()))


def _why_vacuous(powered: bool, measured: bool, judged: "Step | None", roles: units.Roles) -> str:
    if not powered:
        return "no-power"
    if not measured:
        return "derived-power"
    if roles.temperature < 0:
        return "one-sensor"
    if judged is None:
        return "no-surroundings"
    return judged.vacuous or "spread-not-known"
