"""What the provenance engine tells. Looks only; what a tap says is in the log and not here."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from core.engine import Check, Command, Context, Nothing, Refused, Result
from core.fields import Count, Cursor, Limit, Name, Time
from core.paging import Room
from core.provenance.events import AnomalyKind, Data, Figure, ReportType, Subject, Unit
from core.provenance.model import COOLDOWN_US, Anomaly, Provenance, Tap, name_of
from core.times import time_text

LIMIT_DEFAULT = 1_000
NEWEST_SHOWN = 10
EXPORT_LIMIT_DEFAULT = 10_000
Format = Literal["prov-json", "prov-n", "jsonl"]


class ListTaps(Command):
    """Which of the newest 4,096 taps to list, the newest first.

    run_id: only those of this run
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    run_id: Name | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class ListAnomalies(Command):
    """Which of the newest 256 anomalies to list, the newest first.

    kind: only rate, burst, drift or breach
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    kind: AnomalyKind | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class AskGraph(Command):
    """Which part of the graph.

    run_id: only what belongs to this run
    limit: how many records at most, 1,000 unless told
    after: `next` of the page before
    """

    run_id: Name | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class ExportAudit(Command):
    """What to export, and as what.

    format: prov-json or prov-n, both of the W3C; or jsonl, the records themselves
    run_id: only what belongs to this run
    limit: how many records at most, 10,000 unless told: each page is a whole document
    after: `next` of the page before
    """

    format: Format = "prov-json"
    run_id: Name | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class Redact(Command):
    """What is to be looked at.

    data: as it would be given to a tap
    """

    data: Data


class TapRow(Result):
    """A tap, without what it says.

    seq: its place in provenance_log
    time: when it came
    actor: who told it
    event_type: what kind of thing
    run_id: the run it belongs to
    """

    seq: Count
    time: Time
    actor: str
    event_type: ReportType
    run_id: Name


class TapPage(Result):
    """The newest taps.

    taps: the page, the newest first
    next: give it as `after` for the page that follows; absent on the last
    """

    taps: list[TapRow]
    next: Cursor | None = None


class AnomalyRow(Result):
    """What was not as it used to be.

    seq: its place in provenance_log
    time: when it was recorded
    kind: rate, a lasting change; burst, very many at once; drift, another mix of event types; breach, many refusals
    of: whether it is one event type, one actor, one run, or all
    name: which one
    scale: over how much it was seen
    unit: seconds, or events
    count: how many were seen over that
    expected: how many would have been usual
    statistic: how unusual that is
    threshold: from which value on it is an anomaly
    evidence: the same in words
    causes: the newest records behind it, as log:seq
    """

    seq: Count
    time: Time
    kind: AnomalyKind
    of: Subject
    name: str
    scale: Count
    unit: Unit
    count: Count
    expected: Figure
    statistic: Figure
    threshold: Figure
    evidence: str
    causes: list[str]


class AnomalyPage(Result):
    """Anomalies.

    anomalies: the page, the newest first
    next: give it as `after` for the page that follows; absent on the last
    """

    anomalies: list[AnomalyRow]
    next: Cursor | None = None


class Node(Result):
    """A record, or a thing that records speak of.

    id: log:seq of a record; kind:name of a thing
    kind: record, or what kind of thing: task, token, order, run, actor and so on
    label: of a record, its event type; of a thing, its name
    time: of a record, when it was decided
    """

    id: str
    kind: str
    label: str
    time: Time | None = None


class Edge(Result):
    """How two nodes hang together. Arrows point from what came to what it came from, as W3C PROV draws them.

    source: the node that depends
    target: the node it depends on
    relation: used, generated-by, caused-by, done-by, derived-from or member-of
    rule: by which rule, of edges that a caller added
    cost: of the same, what that step cost
    """

    source: str
    target: str
    relation: str
    rule: str | None = None
    cost: float | None = None


class Graph(Result):
    """What came from what.

    nodes: records of this page, oldest first of each log, and all things that they speak of
    edges: all that leave these records
    node_count: nodes there are, of the run or of all
    edge_count: edges there are, of the run or of all
    next: give it as `after` for the page that follows; absent on the last
    """

    nodes: list[Node]
    edges: list[Edge]
    node_count: Count
    edge_count: Count
    next: Cursor | None = None


class Piece(Result):
    """A piece of an export; all pieces in order are the document.

    text: of it
    """

    text: str


class Exported(Result):
    """The end of an export.

    format: of the document
    records: of the logs that are in it
    bytes: of its text, in UTF-8
    sha256: of the same
    next: give it as `after` for the document that follows; absent after the last
    """

    format: Format
    records: Count
    bytes: Count
    sha256: str
    next: Cursor | None = None


class Redacted(Result):
    """What would be stored.

    data: without secrets, and with pseudonyms for personal data
    changed: whether it is another than what was given
    """

    data: Annotated[Any, Meta()]
    changed: bool


class Status(Result):
    """Reports, taps, edges and anomalies, in one object.

    taps: events that were tapped
    edges: edges that callers added
    reports: what engines reported of themselves
    anomalies: how many were ever recorded
    newest: the newest taps
    unusual: anomalies of the last minutes, in words
    """

    taps: Count
    edges: Count
    reports: Count
    anomalies: Count
    newest: list[TapRow]
    unusual: list[str]


def taps(provenance: Provenance, params: ListTaps, ctx: Context) -> TapPage:
    limit, before = params.limit or LIMIT_DEFAULT, _before(params.after)
    rows: list[TapRow] = []
    room = Room()
    for tap in reversed(provenance.ring):
        if (before is not None and tap.seq >= before) or params.run_id not in (None, tap.run_id):
            continue
        row = _tap_row(tap)
        if len(rows) == limit or not room.take(row):
            return TapPage(rows, str(rows[-1].seq))
        rows.append(row)
    return TapPage(rows)


def anomalies(provenance: Provenance, params: ListAnomalies, ctx: Context) -> AnomalyPage:
    limit, before = params.limit or LIMIT_DEFAULT, _before(params.after)
    rows: list[AnomalyRow] = []
    for each in reversed(provenance.anomalies):
        if (before is not None and each.seq >= before) or params.kind not in (None, each.event.kind):
            continue
        if len(rows) == limit:
            return AnomalyPage(rows, str(rows[-1].seq))
        rows.append(_anomaly_row(each))
    return AnomalyPage(rows)


def status(provenance: Provenance, params: Nothing, ctx: Context) -> Status:
    newest = list(provenance.ring)[: -NEWEST_SHOWN - 1 : -1]
    return Status(
        provenance.taps,
        provenance.edges,
        provenance.reports,
        provenance.found,
        [_tap_row(tap) for tap in newest],
        [f"{each.event.kind}: {each.event.evidence}" for each in _news(provenance, ctx)][-NEWEST_SHOWN:],
    )


def checks(provenance: Provenance, ctx: Context) -> Iterator[Check]:
    """An anomaly is news as long as the same one is not told again. Only a breach asks for a person: all else may be a busy day."""
    news = _news(provenance, ctx)
    breaches = [each for each in news if each.event.kind == "breach"]
    if not news:
        yield Check("anomalies", "ok")
        return
    last = (breaches or news)[-1].event
    more = f", and {len(news) - 1} more" if len(news) > 1 else ""
    text = f"{last.kind}: {last.evidence}{more}. See which records: irerctl provenance anomalies"
    yield Check("anomalies", "degraded" if breaches else "ok", f"{text}; it is told for {COOLDOWN_US // 60_000_000} minutes")


def _news(provenance: Provenance, ctx: Context) -> Sequence[Anomaly]:
    return [each for each in provenance.anomalies if provenance.is_raised(name_of(each.event), ctx.boot_id, ctx.mono_us)]


def _tap_row(tap: Tap) -> TapRow:
    return TapRow(tap.seq, time_text(tap.time_us), tap.actor, tap.tapped, tap.run_id)


def _anomaly_row(anomaly: Anomaly) -> AnomalyRow:
    event = anomaly.event
    fields = [getattr(event, name) for name in event.__struct_fields__]
    return AnomalyRow(anomaly.seq, time_text(anomaly.time_us), *fields)


def _before(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdecimal() and len(after) <= 16):
        text = f"after: {after[:40]!r} is no `next` of an earlier answer. Leave it out to begin with the newest"
        raise Refused("invalid-argument", text, fields=[("after", "not a `next` of an earlier answer")])
    return int(after)
