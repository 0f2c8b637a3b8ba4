"""What may be told to the provenance engine. A command judges and changes nothing.

Anybody who may report may also lie, so a report is evidence of what its sender said and of nothing else. Each engine that reports
has a rate; what is over it is refused, never dropped in silence.
"""

from typing import Annotated, Any

from msgspec import Meta

from core.canonical import CanonicalError, encode
from core.engine import NOTHING, Command, Context, Decision, Refused, Result
from core.fields import Count, Label, Name
from core.provenance.events import (
    CAUSES_MAX,
    AnomalyFound,
    AnomalyKind,
    Cost,
    Data,
    EdgeAdded,
    EngineReported,
    Figure,
    ReportType,
    Subject,
    Tapped,
    Unit,
)
from core.provenance.model import Provenance, name_of

DATA_BYTES_MAX = 16_384
DATA_DEPTH_MAX = 16


class EngineEvent(Command):
    """Something an engine has to report.

    event_type: what kind of thing, such as email.sent
    data: the report itself, at most 16 KiB, nested at most 16 deep
    request_id: ties reports together; drawn where none is given
    """

    event_type: ReportType
    data: Data
    request_id: Name | None = None


class TapEvent(Command):
    """Something that is to be on record.

    event_type: what kind of thing, such as user_action
    data: what is to be known about it, at most 16 KiB, nested at most 16 deep; secrets and personal data are taken out of it
    run_id: the run it belongs to, a name that stands in the log as it is
    """

    event_type: ReportType
    data: Data
    run_id: Name


class AddEdge(Command):
    """Where something came from.

    source: what it came from: any name, or a record as log:seq
    target: what came of it
    rule: by which rule
    run_id: the run in which it did
    cost: what that step cost
    """

    source: Name
    target: Name
    rule: Name
    run_id: Name
    cost: Cost | None = None


class Found(Command):
    """What the detector found. Its fields are those of the event."""

    kind: AnomalyKind
    of: Subject
    name: Label
    scale: Count
    unit: Unit
    count: Count
    expected: Figure
    statistic: Figure
    threshold: Figure
    evidence: Label
    causes: Annotated[list[Name], Meta(max_length=CAUSES_MAX)]


class Stored(Result):
    """The report is on record.

    event_type: what kind of thing
    request_id: under which it is kept
    """

    event_type: ReportType
    request_id: Name


class TapStored(Result):
    """It is on record.

    event_type: what kind of thing
    run_id: the run it belongs to
    """

    event_type: ReportType
    run_id: Name


def decide_report(provenance: Provenance, command: EngineEvent, ctx: Context) -> Decision:
    pace = provenance.paces.get(ctx.actor.name)
    rate = ctx.settings.control.events_per_s
    if pace is not None and (left_us := pace.wait_us(rate, ctx.boot_id, ctx.mono_us)):
        text = f"{ctx.actor.name} has reported {rate} events within a second. Wait, or report less often"
        raise Refused("resource-exhausted", text, reason="rate", retry_ms=-(-left_us // 1000))
    _acceptable(command.data)
    return Decision(EngineReported(command.event_type, command.data, command.request_id or ctx.new_id()))


def stored(events: list[EngineReported]) -> Stored:
    [event] = events
    return Stored(event.reported, event.request_id)


def decide_tap(provenance: Provenance, command: TapEvent, ctx: Context) -> Decision:
    _acceptable(command.data)
    return Decision(Tapped(command.event_type, command.data, command.run_id))


def tap_stored(events: list[Tapped]) -> TapStored:
    [event] = events
    return TapStored(event.tapped, event.run_id)


def decide_edge(provenance: Provenance, command: AddEdge, ctx: Context) -> Decision:
    if command.source == command.target:
        text = f"{command.source} cannot come from itself. Name what it came from as source, and what came of that as target"
        raise Refused("invalid-argument", text, fields=[("target", "the same as source")])
    return Decision(EdgeAdded(command.source, command.target, command.rule, command.run_id, command.cost))


def _unsigned(value: Any) -> Any:
    """No log tells -0 from 0."""
    return value + 0.0 if type(value) is float else value


def decide_found(provenance: Provenance, command: Found, ctx: Context) -> Decision:
    event = AnomalyFound(*[_unsigned(getattr(command, name)) for name in Found.__struct_fields__])
    return NOTHING if provenance.is_raised(name_of(event), ctx.boot_id, ctx.mono_us) else Decision(event)


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
