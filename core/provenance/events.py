"""What can happen in the provenance engine, as it stands in `provenance_log.jsonl` for ever."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from core.engine import Event
from core.fields import Count, Label, Name, privacy, words

ReportType = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_]*(\.[a-z0-9_]+)*\Z"),
    privacy("public"),
    words("an event type: a-z, 0-9 and _ in parts joined by dots, at most 64 characters"),
]
Data = Annotated[dict[str, Any], privacy("open")]
Cost = Annotated[float, Meta(ge=0, le=1e15)]
Figure = Annotated[float, Meta(ge=-1e15, le=1e15)]
AnomalyKind = Literal["rate", "burst", "drift", "breach"]
Subject = Literal["type", "actor", "run", "all"]
Unit = Literal["s", "events"]
CAUSES_MAX = 8


class EngineReported(Event, type="engine.reported"):
    """An engine, or who speaks for one, reported something.

    reported: what kind of thing
    data: the report itself
    request_id: ties reports together
    """

    reported: ReportType
    data: Data
    request_id: Name


class Tapped(Event, type="provenance.tapped"):
    """Somebody wants it on record that this happened.

    tapped: what kind of thing
    data: what is to be known about it
    run_id: the run it belongs to
    """

    tapped: ReportType
    data: Data
    run_id: Name


class EdgeAdded(Event, type="provenance.edge"):
    """One thing came from another.

    source: what it came from
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


class AnomalyFound(Event, type="provenance.anomaly"):
    """What happens is not what used to happen.

    kind: rate, a lasting change; burst, very many at once; drift, another mix of event types; breach, many refusals
    of: whether it is one event type, one actor, one run, or all together
    name: which one; of a drift, the event type that changed most
    scale: over how much it was seen
    unit: of the scale: seconds, or events
    count: how many were seen over that
    expected: how many would have been usual
    statistic: how unusual that is; see docs/provenance.md
    threshold: from which value on it is an anomaly
    evidence: the same in words
    causes: the newest records behind it, as log:seq
    """

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
