"""What the gauges and meters say, each with all it was worked out from. Looks only.

A gauge without evidence has no value: never 100 for want of anything that went wrong.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from core.engine import Command, Refused, Result
from core.fields import INT_MAX, Count, Time
from core.metrics.figures import CACHE_LOG, GATE_LOG, Figures
from core.metrics.series import LENGTHS, MINUTE_US, SECOND_US, STEPS_US, Series
from core.metrics.trend import Interval, direction, slope, wilson
from core.times import time_text, time_us
from core.views import Now

GaugeName = Literal["latency_tolerance", "threshold_lock", "resource_flow"]
MeterName = Literal["nav_velocity", "gate_density"]
Percent = Annotated[float, Meta(ge=0, le=100)]
Reason = Literal["no-evidence", "rebuilding", "failed"]
Provenance = Literal["measured", "modelled"]

UNITS: dict[str, str] = {
    "latency_tolerance": "percent",
    "threshold_lock": "percent",
    "resource_flow": "percent",
    "nav_velocity": "switches per minute",
    "gate_density": "gates per 100 commands",
}
TARGETS: dict[GaugeName, float] = {"latency_tolerance": 100.0, "threshold_lock": 95.0, "resource_flow": 80.0}
INTERVALS = 32
"""Whole minutes that a trend looks back on."""
METER_STEPS = 6
"""Steps of ten seconds in the minute of a meter."""
DAY_MINUTES, HOUR_STEPS = 1440, 360

HOW: dict[GaugeName | MeterName, str] = {
    "latency_tolerance": "100 x commands to the cache (set, delete, resolve) that were taken while it was offline and are synced "
    "or wait in the queue, divided by all that were asked for while offline. Refused for a reason of the daemon's, and lost ones, "
    "count against it. Over the last 24 hours of offline time; without any, of the last offline drill",
    "threshold_lock": "100 x bad tokens that were refused at a gate, divided by all bad tokens shown. Each token that opened a "
    "gate is judged again by the rules as they stood; one that should have been refused was let through. low and high are "
    "Wilson's 95 % interval",
    "resource_flow": "100 x (gets of the cache that found a value + queued writes that the far end confirmed), divided by "
    "(gets + writes that were queued). At most 100, for what is confirmed now may have been queued before",
    "nav_velocity": "How often the route given into a domain was another than the one before it, in the last minute",
    "gate_density": "100 x tokens judged at a gate and refusals of access, divided by commands on record and refusals, in the "
    "last minute",
}


class Gauge(Result):
    """One gauge.

    name: which
    value: per cent; null where there is nothing to work it out from
    unit: of the value
    target: what it should be at least
    numerator: above the line
    denominator: below the line
    window: over which time
    provenance: measured, or modelled where a drill stands in for what did not happen
    computed_how: the formula in words
    reason: why there is no value
    met: whether the value reaches the target
    low: the true share is hardly below this
    high: nor above this
    parts: what numerator and denominator are made of
    """

    name: GaugeName
    value: Percent | None
    unit: Literal["percent"]
    target: Percent
    numerator: Count
    denominator: Count
    window: str
    provenance: Provenance
    computed_how: str
    reason: Reason | None = None
    met: bool | None = None
    low: Percent | None = None
    high: Percent | None = None
    parts: dict[str, Count] = {}


class Gap(Result):
    """Records that a view knows nothing of: they were let go, or cannot be read.

    log: which
    first_seq: the first of them
    last_seq: the last
    """

    log: str
    first_seq: Count
    last_seq: Count


class Gauges(Result):
    """The three gauges.

    gauges: each with target and formula
    gaps: records that are missing in what they were worked out from
    """

    gauges: list[Gauge]
    gaps: list[Gap] = []


class Trend(Result):
    """Which way a meter goes.

    slope: the middle one of the slopes between any two of the intervals, in the meter's unit a minute; null for want of intervals
    sign: 1 rising, -1 falling, 0 neither: whether chance alone would hardly look like this (Mann-Kendall, 5 %)
    intervals: whole minutes that it looks back on, at most 32
    """

    slope: float | None
    sign: Annotated[int, Meta(ge=-1, le=1)]
    intervals: Count


class Meter(Result):
    """One meter.

    name: which
    value: null where there is nothing to work it out from
    unit: of the value
    numerator: above the line
    denominator: below the line
    window: over which time
    provenance: measured
    computed_how: the formula in words
    trend: which way it goes
    reason: why there is no value
    """

    name: MeterName
    value: Annotated[float, Meta(ge=0)] | None
    unit: str
    numerator: Count
    denominator: Count
    window: str
    provenance: Provenance
    computed_how: str
    trend: Trend
    reason: Reason | None = None


class Meters(Result):
    """The two meters.

    meters: each with trend and formula
    gaps: records that are missing in what they were worked out from
    """

    meters: list[Meter]
    gaps: list[Gap] = []


class AskHistory(Command):
    """Which history.

    name: a gauge or a meter
    since: from when on, at most 30 days back; the last hour unless told
    """

    name: GaugeName | MeterName
    since: Time | None = None


class Point(Result):
    """One step.

    at: its begin
    value: worked out from this step alone; null where nothing happened in it
    numerator: above the line
    denominator: below the line
    """

    at: Time
    value: Annotated[float, Meta(ge=0)] | None
    numerator: Count
    denominator: Count


class History(Result):
    """A gauge or a meter, step by step, the oldest first. The last step is under way.

    name: which
    unit: of the values
    step_s: seconds of a step: 10 for the last hour, 60 for the last day, 900 for the last 30 days
    points: the steps
    gaps: records that are missing in what they were worked out from
    """

    name: str
    unit: str
    step_s: Count
    points: list[Point]
    gaps: list[Gap] = []


class Share(NamedTuple):
    """Above and below the line, and what they are made of."""

    numerator: int
    denominator: int
    parts: dict[str, int]

    @property
    def percent(self) -> float | None:
        return min(100.0, 100 * self.numerator / self.denominator) if self.denominator else None


# --- gauges -------------------------------------------------------------------------------------------------------------------


def gauges(figures: Figures | None, now: Now, missing: Reason = "rebuilding") -> list[Gauge]:
    if figures is None:
        return [_gauge(name, Share(0, 0, {}), "none yet", missing) for name in TARGETS]
    tolerance, window, provenance = _tolerance(figures, now)
    lock, flow = _lock(figures, now), _flow(figures, now)
    return [
        _gauge("latency_tolerance", tolerance, window, provenance=provenance),
        _gauge("threshold_lock", lock, "24 h"),
        _gauge("resource_flow", flow, "1 h"),
    ]


def _gauge(
    name: GaugeName, share: Share, window: str, missing: Reason = "no-evidence", provenance: Provenance = "measured"
) -> Gauge:
    value, target = share.percent, TARGETS[name]
    low, high = wilson(share.numerator, share.denominator) if name == "threshold_lock" and share.denominator else (None, None)
    return Gauge(
        name,
        value,
        "percent",
        target,
        min(share.numerator, INT_MAX),
        min(share.denominator, INT_MAX),
        window,
        provenance,
        HOW[name],
        missing if value is None else None,
        value >= target if value is not None else None,
        low,
        high,
        share.parts,
    )


def _tolerance(figures: Figures, now: Now) -> tuple[Share, str, Provenance]:
    accepted, lost, refused = figures.queue.of_day(figures.now_us(CACHE_LOG, now))
    if accepted or refused:
        return _tolerated(accepted, lost, refused), "24 h of offline time", "measured"
    attempted, survived = figures.queue.drill
    if attempted:
        return Share(survived, attempted, {"lost_or_refused": attempted - survived}), "the last offline drill", "modelled"
    return Share(0, 0, {}), "24 h of offline time", "measured"


def _tolerated(accepted: int, lost: int, refused: int) -> Share:
    return Share(max(0, accepted - lost), accepted + refused, {"accepted": accepted, "lost": lost, "refused": refused})


def _lock(figures: Figures, now: Now) -> Share:
    now_us = figures.now_us(GATE_LOG, now)
    refused, let_through, not_judged = (
        series.last(now_us, 1, DAY_MINUTES) for series in (figures.refused, figures.let_through, figures.not_judged)
    )
    return Share(refused, refused + let_through, {"refused": refused, "let_through": let_through, "not_judged": not_judged})


def _flow(figures: Figures, now: Now) -> Share:
    cache_us, here_us = figures.now_us(CACHE_LOG, now), figures.sampled.now(*now)
    hits, reads = (series.last(here_us, 0, HOUR_STEPS) for series in (figures.hits, figures.reads))
    queued, drained = (series.last(cache_us, 0, HOUR_STEPS) for series in (figures.queue.queued, figures.queue.drained))
    return _flowed(hits, reads, queued, drained)


def _flowed(hits: int, reads: int, queued: int, drained: int) -> Share:
    parts = {"hits": hits, "reads": reads, "queued": queued, "confirmed": drained}
    return Share(min(hits + drained, reads + queued), reads + queued, parts)


# --- meters -------------------------------------------------------------------------------------------------------------------


def meters(figures: Figures | None, now: Now, missing: Reason = "rebuilding") -> list[Meter]:
    return [_meter(name, figures, now, missing) for name in ("nav_velocity", "gate_density")]


def _meter(name: MeterName, figures: Figures | None, now: Now, missing: Reason) -> Meter:
    value, share, points = None, Share(0, 0, {}), list[Interval]()
    if figures is not None:
        missing = "no-evidence"
        minute = _row(figures, name, now, 0, METER_STEPS)
        denominators = [each.denominator for each in minute]
        share = Share(sum(each.numerator for each in minute), (max if name == "nav_velocity" else sum)(denominators), {})
        value = _value(name, share, METER_STEPS * STEPS_US[0])
        points = _intervals(figures, name, now)
    trend = Trend(slope(points), direction(points), len(points))
    reason = missing if value is None else None
    numerator, denominator = min(share.numerator, INT_MAX), min(share.denominator, INT_MAX)
    return Meter(name, value, UNITS[name], numerator, denominator, "1 min", "measured", HOW[name], trend, reason)


def _intervals(figures: Figures, name: MeterName, now: Now) -> list[Interval]:
    """The whole minutes before the one under way, none from before the first record."""
    clocks = [each.clock for each in figures.logs.values()]
    known = max((clock.now(*now) // MINUTE_US - clock.begun_us // MINUTE_US for clock in clocks), default=0)
    minutes = _row(figures, name, now, 1, min(INTERVALS, known) + 1)[:-1]
    values = [_value(name, share, MINUTE_US) for share in minutes]
    return [(place, value) for place, value in enumerate(values) if value is not None]


def _value(name: GaugeName | MeterName, share: Share, span_us: int) -> float | None:
    if name == "nav_velocity":
        return share.numerator * MINUTE_US / span_us if share.denominator else None
    return share.percent


# --- step by step -------------------------------------------------------------------------------------------------------------


def history(figures: Figures | None, params: AskHistory, now: Now) -> History:
    tier, steps = _reach(params.since, now)
    step_us = STEPS_US[tier]
    last_us = now.time_us - now.time_us % step_us
    row = _row(figures, params.name, now, tier, steps) if figures is not None else []
    points = [
        Point(
            time_text(max(0, last_us - age * step_us)),
            _value(params.name, share, step_us),
            min(share.numerator, INT_MAX),
            min(share.denominator, INT_MAX),
        )
        for age, share in zip(range(steps - 1, -1, -1), row, strict=False)
    ]
    return History(params.name, UNITS[params.name], step_us // SECOND_US, points)


def _reach(since: str | None, now: Now) -> tuple[int, int]:
    """The finest steps that reach back so far, and how many."""
    if since is None:
        return 0, LENGTHS[0]
    try:
        back_us = max(0, now.time_us - time_us(since))
    except ValueError:
        text = f"since: {since} is no time that exists. Write it like 2026-01-31T12:00:00Z"
        raise Refused("invalid-argument", text, fields=[("since", "no time that exists")]) from None
    for tier, (step_us, length) in enumerate(zip(STEPS_US, LENGTHS, strict=True)):
        if back_us // step_us < length:
            return tier, back_us // step_us + 1
    return len(LENGTHS) - 1, LENGTHS[-1]


def _row(figures: Figures, name: GaugeName | MeterName, now: Now, tier: int, steps: int) -> list[Share]:
    """What stands above and below the line in each of the last so many steps, the one under way last."""
    gate_us, cache_us, here_us = figures.now_us(GATE_LOG, now), figures.now_us(CACHE_LOG, now), figures.sampled.now(*now)
    queue = figures.queue

    def rows(time_us: int, *series: Series) -> Iterator[tuple[int, ...]]:
        return zip(*(each.row(time_us, tier, steps) for each in series), strict=True)

    match name:
        case "latency_tolerance":
            return [_tolerated(*counts) for counts in rows(cache_us, queue.accepted, queue.lost, queue.refused)]
        case "threshold_lock":
            return [Share(refused, refused + wrong, {}) for refused, wrong in rows(gate_us, figures.refused, figures.let_through)]
        case "resource_flow":
            read, written = rows(here_us, figures.hits, figures.reads), rows(cache_us, queue.queued, queue.drained)
            return [_flowed(*some, *more) for some, more in zip(read, written, strict=True)]
        case "nav_velocity":
            known_from = _first_known(figures, gate_us, tier, steps)
            return [
                Share(switches, int(place >= known_from), {}) for place, (switches,) in enumerate(rows(gate_us, figures.switches))
            ]
    commands = [each.commands.row(each.clock.now(*now), tier, steps) for each in figures.logs.values()]
    gates = figures.gates.row(gate_us, tier, steps)
    return [Share(gate, sum(counts), {}) for gate, *counts in zip(gates, *commands, strict=True)]


def _first_known(figures: Figures, gate_us: int, tier: int, steps: int) -> int:
    """Of the last so many steps the first in which routes could have been switched; none where no route was ever given."""
    if not figures.routes:
        return steps
    begun = figures.clock(GATE_LOG).begun_us // STEPS_US[tier]
    return begun - (gate_us // STEPS_US[tier] - steps + 1)
