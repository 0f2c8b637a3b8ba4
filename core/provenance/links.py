"""What one record says about where things come from: the edges of the provenance graph, taken from the ids that stand in events.

Pure, and of one record at a time: a record names the things it is about, the record that caused it (an effect's id is `log:seq:n`),
and who did it. An engine that is added later is linked by the same names of fields; nothing else has to know of it.
"""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import msgspec

from core.engine import IRER, Stamp

Relation = Literal["used", "generated-by", "caused-by", "done-by", "derived-from", "member-of"]
RELATIONS: tuple[Relation, ...] = ("used", "generated-by", "caused-by", "done-by", "derived-from", "member-of")

THINGS = {
    "task_id": "task",
    "dependency": "task",
    "jti": "token",
    "engine_id": "engine",
    "entity_id": "entity",
    "order_id": "order",
    "request_id": "request",
    "subject": "subject",
    "customer": "customer",
    "platform": "platform",
    "route": "route",
    "hunt_id": "hunt",
    "job": "operation",
    "cache_job": "operation",
    "job_uuid": "job",
    "action_id": "decision",
    "undoes": "decision",
    "prediction_id": "prediction",
    "quote_id": "quote",
    "rule_id": "rule",
    "event": "event",
    "prior": "event",
    "pattern": "pattern",
}
"""Fields that name a thing, and what kind of thing."""
MAKES = frozenset("submitted issued placed spawned registered defined".split())
"""What an event about a thing is called when the thing began with it: `order.placed` makes an order."""
MADE_BY = {
    "action.checked": "request",
    "cache.drill_started": "operation",
    "cache.sync_started": "operation",
    "component.started": "operation",
    "data.sync_started": "operation",
    "energy.action_chosen": "decision",
    "energy.quoted": "quote",
    "engine.reported": "request",
    "http_token.issued": "token",
    "hunt.certifying": "operation",
    "hunt.scored": "job",
    "hunt.started": "hunt",
    "sim.started": "job",
    "trajectory.rule_added": "rule",
}
"""What began with an event that is not called after it."""
OF_ANOTHER = frozenset({"dependency", "prior", "undoes"})
"""Fields that name a thing which was there before, whatever begins with the event."""
FOLDED = "trajectory.folded"
RULES_TOLD_MAX = 64
"""Of the rules of a trajectory, those that are linked to it."""
SENSED = "energy.sensed"
TOLD_LOG = "event_log"
"""What stands here is told by its payload: an event's id is the SHA-256 of that."""
LISTED = (("patterns", "pattern", "pattern"), ("priors", "event", "event"), ("shares", "event", "event"), ("events", "", "event"))
"""Lists of such a record, the member of each row that names a thing, and what kind of thing."""
UNLINKED = frozenset({"pool.aged", "pool.resumed", "entity.reported", "provenance.anomaly"})
"""So frequent, or so much about others, that they would hide the rest."""
RUN = "run_id"
_RECORD = re.compile(r"([a-z][a-z0-9_]{0,63}):(0|[1-9][0-9]{0,15})(?::[0-9]{1,9})?\Z")


class Thing(NamedTuple):
    kind: str
    name: str


class Ref(NamedTuple):
    """A record of some log."""

    log: str
    seq: int


End = Thing | Ref


class Link(NamedTuple):
    """An edge that this record tells of. `source` depends on `target`."""

    source: End
    target: End
    relation: Relation
    rule: str | None = None
    cost: float | None = None


class Told(NamedTuple):
    """All that one record says."""

    links: list[Link]
    run: str | None


def told(
    event_type: str, payload: bytes, stamp: Stamp, idem: str | None, logs: frozenset[str], first: int | None = None
) -> Told | None:
    """None where a record is not worth a node. `idem` is the key it was asked for with, `logs` are those there are, and `first` is
    the first record of its command, where that is another one.
    """
    if event_type.startswith("log.") or event_type in UNLINKED:
        return None
    here = Ref(stamp.log, stamp.seq)
    fields = _fields.decode(payload)
    run = _text(fields, RUN)
    links = [*_documents(event_type, fields, here), *_things(event_type, fields, here)]
    if event_type.startswith("energy."):
        links += _energy(event_type, fields, here)
    if event_type == FOLDED:
        links += _folded(fields, here)
    if stamp.log == TOLD_LOG:
        links += _told_events(event_type, payload, fields, here)
    if event_type == "provenance.edge":
        links += _edge(fields, here, logs)
    cause = _record(_text(fields, "effect"), logs)
    if cause is None and stamp.actor == IRER.name:
        cause = _record(idem, logs)
    if cause is not None and cause != here:
        links.append(Link(here, cause, "caused-by"))
    if first is not None and links:
        links.append(Link(here, Ref(stamp.log, first), "caused-by"))
    if run is not None:
        links.append(Link(here, Thing("run", run), "member-of"))
    if not links:
        return None
    links.append(Link(here, Thing("actor", stamp.actor), "done-by"))
    return Told(links, run)


def _things(event_type: str, fields: Mapping[str, msgspec.Raw], here: Ref) -> list[Link]:
    subject, _, verb = event_type.rpartition(".")
    made = MADE_BY.get(event_type) or (subject.rpartition(".")[2] if verb in MAKES else None)
    links = []
    for field, kind in THINGS.items():
        name = _text(fields, field) if field in fields else None
        if name is None:
            continue
        thing = Thing(kind, name)
        begins = kind == made and field not in OF_ANOTHER
        links.append(Link(thing, here, "generated-by") if begins else Link(here, thing, "used"))
    links += [Link(here, Thing("task", name), "used") for name in _texts(fields, "depends_on")]
    return links


def _energy(event_type: str, fields: Mapping[str, msgspec.Raw], here: Ref) -> Iterator[Link]:
    """A prediction begins with the record that issues it. That points came is worth a node only where a prediction came of it."""
    claim = _value(fields, "claim")
    name = claim.get("prediction_id") if isinstance(claim, dict) else None
    if isinstance(name, str):
        yield Link(Thing("prediction", name), here, "generated-by")
    yield from _listed(fields, here, "met", "prediction_id", "prediction")
    if (source := _text(fields, "source")) is not None and (event_type != SENSED or name is not None):
        yield Link(here, Thing("source", source), "used")


def _folded(fields: Mapping[str, msgspec.Raw], here: Ref) -> Iterator[Link]:
    """A trajectory is called by the hash that it is folded to, and comes from its rules."""
    if (name := _text(fields, "hash")) is not None:
        yield Link(Thing("trajectory", name), here, "generated-by")
    for rule in _texts(fields, "rule_ids")[:RULES_TOLD_MAX]:
        yield Link(here, Thing("rule", rule), "used")


def _documents(event_type: str, fields: Mapping[str, msgspec.Raw], here: Ref) -> list[Link]:
    """Of a document only its key and its revisions are ever here, never what it says."""
    if not event_type.startswith("cache.") or (key := _text(fields, "key")) is None:
        return []
    rev, parent = _text(fields, "rev"), _text(fields, "parent")
    if rev is None and (ids := _texts(fields, "ids")) and "generation" in fields:
        generation = int(bytes(fields["generation"]))
        rev, parent = f"{generation}-{ids[0]}", f"{generation - 1}-{ids[1]}" if len(ids) > 1 else None
    if not rev:
        return []
    made = Thing("document", f"{key} {rev}")
    links = [Link(made, here, "generated-by")]
    if parent:
        links.append(Link(made, Thing("document", f"{key} {parent}"), "derived-from"))
    return links


def _told_events(event_type: str, payload: bytes, fields: Mapping[str, msgspec.Raw], here: Ref) -> Iterator[Link]:
    """An event that stands for itself says its own type; one that cites comes from what it cites."""
    if "type" in fields:
        yield Link(Thing("event", sha256(payload).hexdigest()), here, "generated-by")
    ends = [_text(fields, name) for name in ("from", "to")]
    if event_type == "vector.citation_tracked" and ends[0] and ends[1]:
        yield Link(Thing("event", ends[0]), Thing("event", ends[1]), "derived-from", "cites")
        yield from (Link(here, Thing("event", end), "used") for end in ends if end)
    if event_type == "embedding.pattern_detected" and (name := _text(fields, "pattern")):
        yield Link(Thing("pattern", name), here, "generated-by")
    for field, member, kind in LISTED:
        yield from _listed(fields, here, field, member, kind)


def _listed(fields: Mapping[str, msgspec.Raw], here: Ref, field: str, member: str, kind: str) -> Iterator[Link]:
    """Things of a list: its texts, or one member of each of its rows."""
    rows = _value(fields, field)
    for row in rows if isinstance(rows, list) else ():
        found = row.get(member) if isinstance(row, dict) else row
        if isinstance(found, str):
            yield Link(here, Thing(kind, found), "used")


def _edge(fields: Mapping[str, msgspec.Raw], here: Ref, logs: frozenset[str]) -> list[Link]:
    source, target = _text(fields, "source") or "", _text(fields, "target") or ""
    cost = msgspec.json.decode(fields["cost"]) if "cost" in fields else None
    ends = [_record(name, logs) or Thing("thing", name) for name in (target, source)]
    return [Link(ends[0], ends[1], "derived-from", _text(fields, "rule"), None if cost is None else float(cost))]


def _record(text: str | None, logs: frozenset[str]) -> Ref | None:
    """The record that `log:seq`, or the id of an effect of it, names."""
    match = _RECORD.match(text) if text else None
    return Ref(match[1], int(match[2])) if match is not None and match[1] in logs else None


def _text(fields: Mapping[str, msgspec.Raw], name: str) -> str | None:
    found = _value(fields, name)
    return found if isinstance(found, str) and found else None


def _texts(fields: Mapping[str, msgspec.Raw], name: str) -> list[str]:
    found = _value(fields, name)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = fields.get(name)
    return None if raw is None else msgspec.json.decode(raw)


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
