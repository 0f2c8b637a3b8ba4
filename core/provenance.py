"""The provenance engine: what engines report about their own work, collected in one log.

Anybody who may report may also lie, so a report is evidence of what its sender said and of nothing else. Each sender has a rate;
what is over it is refused, never dropped in silence.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.canonical import CanonicalError, encode
from core.engine import Command, Context, Decision, Engine, Event, Refused, Result, Stamp, write
from core.fields import Count, Frozen, Name, privacy, words

REPORTS_KEPT = 1_000
SENDERS_MAX = 1_000
"""Senders whose rate is remembered; the one that was silent longest goes first."""
DATA_BYTES_MAX = 16_384
DATA_DEPTH_MAX = 16
SECOND_US = 1_000_000

ReportType = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_]*(\.[a-z0-9_]+)*\Z"),
    privacy("public"),
    words("an event type: a-z, 0-9 and _ in parts joined by dots, at most 64 characters"),
]
Data = Annotated[dict[str, Any], privacy("open")]


class EngineEvent(Command):
    """Something an engine has to report.

    event_type: what kind of thing, such as email.sent
    data: the report itself, at most 16 KiB, nested at most 16 deep
    request_id: ties reports together; drawn where none is given
    """

    event_type: ReportType
    data: Data
    request_id: Name | None = None


class EngineReported(Event, type="engine.reported"):
    """An engine, or who speaks for one, reported something.

    reported: what kind of thing
    data: the report itself
    request_id: ties reports together
    """

    reported: ReportType
    data: Data
    request_id: Name


class Stored(Result):
    """The report is on record.

    event_type: what kind of thing
    request_id: under which it is kept
    """

    event_type: ReportType
    request_id: Name


@dataclass(frozen=True, slots=True)
class Report:
    """A report, without what it says."""

    seq: int
    time_us: int
    actor: str
    reported: str
    request_id: str


@dataclass(slots=True)
class Pace:
    """How many reports one sender made within its present second."""

    boot_id: str
    since_us: int
    count: int

    def left_us(self, boot_id: str, mono_us: int) -> int:
        """Of the present second; 0 where it is over."""
        return max(0, self.since_us + SECOND_US - mono_us) if boot_id == self.boot_id else 0


@dataclass
class Provenance:
    newest: deque[Report] = field(default_factory=lambda: deque(maxlen=REPORTS_KEPT))
    reports: int = 0
    paces: dict[str, Pace] = field(default_factory=dict)
    """By sender, the one that was silent longest first."""


def _depth(value: Any) -> int:
    """How deep it is nested, or one more than the most."""
    level, depth = [value], 0
    while level and depth <= DATA_DEPTH_MAX:
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        depth += any(isinstance(each, dict | list) for each in level)
        level = inner
    return depth


def _acceptable(data: dict[str, Any]) -> None:
    if _depth(data) > DATA_DEPTH_MAX:
        text = f"data is nested more than {DATA_DEPTH_MAX} deep. Send it flatter"
        raise Refused("invalid-argument", text, fields=[("data", f"nested more than {DATA_DEPTH_MAX} deep")])
    try:
        size = len(encode(data))
    except CanonicalError as error:
        raise Refused("invalid-argument", f"data cannot be stored: {error}", fields=[("data", str(error))]) from None
    if size > DATA_BYTES_MAX:
        text = f"data has {size:,} bytes; {DATA_BYTES_MAX:,} is the most. Report less at once"
        raise Refused("invalid-argument", text, fields=[("data", f"more than {DATA_BYTES_MAX:,} bytes")])


def decide_report(provenance: Provenance, command: EngineEvent, ctx: Context) -> Decision:
    pace = provenance.paces.get(ctx.actor.name)
    rate = ctx.settings.control.events_per_s
    if pace is not None and pace.count >= rate and (left_us := pace.left_us(ctx.boot_id, ctx.mono_us)):
        text = f"{ctx.actor.name} has reported {rate} events within this second. Wait, or report less often"
        raise Refused("resource-exhausted", text, reason="rate", retry_ms=-(-left_us // 1000))
    _acceptable(command.data)
    return Decision(EngineReported(command.event_type, command.data, command.request_id or ctx.new_id()))


def apply_report(provenance: Provenance, event: EngineReported, stamp: Stamp) -> None:
    provenance.reports += 1
    provenance.newest.append(Report(stamp.seq, stamp.time_us, stamp.actor, event.reported, event.request_id))
    pace = provenance.paces.pop(stamp.actor, None)
    if pace is None or not pace.left_us(stamp.boot_id, stamp.mono_us):
        pace = Pace(stamp.boot_id, stamp.mono_us, 0)
    pace.count += 1
    provenance.paces[stamp.actor] = pace
    if len(provenance.paces) > SENDERS_MAX:
        del provenance.paces[next(iter(provenance.paces))]


def stored(events: list[EngineReported]) -> Stored:
    [event] = events
    return Stored(event.reported, event.request_id)


class ProvenanceDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    newest: list[tuple[int, int, str, str, str]]
    reports: Count
    paces: list[tuple[str, str, int, int]]
    """In their order: it says who is forgotten first."""


def dump(provenance: Provenance) -> ProvenanceDump:
    return ProvenanceDump(
        [(each.seq, each.time_us, each.actor, each.reported, each.request_id) for each in provenance.newest],
        provenance.reports,
        [(actor, pace.boot_id, pace.since_us, pace.count) for actor, pace in provenance.paces.items()],
    )


def load(dumped: ProvenanceDump) -> Provenance:
    newest = deque((Report(*each) for each in dumped.newest), maxlen=REPORTS_KEPT)
    return Provenance(
        newest, dumped.reports, {actor: Pace(boot_id, since_us, count) for actor, boot_id, since_us, count in dumped.paces}
    )


ENGINE = Engine(
    "provenance",
    log="provenance_log",
    state=Provenance,
    dump=dump,
    load=load,
    rows=[
        write(
            "log.engine_event",
            EngineEvent,
            decide_report,
            apply={EngineReported: apply_report},
            reply=stored,
            help="Report an event of an engine's own work",
            example={"event_type": "email.sent", "data": {"to": 1, "took_ms": 180}},
        ),
    ],
)
