"""What the entity engine tells: one entity, pages of them, the fleet in one object, and what is wrong. Looks only."""

from collections.abc import Iterator
from itertools import islice

import msgspec

from core.engine import Check, Command, Context, Nothing, Result
from core.entity.commands import One, find
from core.entity.events import Health, Labels, Needs, Note
from core.entity.fleet import Entity, Fleet, task_of
from core.entity.lifecycle import STATES, EntityType, State
from core.fields import Code, Count, Cursor, Limit, Name, Time
from core.paging import Room, order_after
from core.times import time_text

LIMIT_DEFAULT = 1_000
LOOKED_AT_MAX = 20_000
"""Entities one page may pass over while it looks for a rare kind: the loop must not be held for long."""
NAMED_MAX = 3


class EntityRow(Result):
    """One entity.

    entity_id: its name
    type: what it is
    state: hibernating, awakening, active, error_correction, offline_adapting or deactivated
    since: when it came to be so
    cause: what brought it there
    spawned_at: when it was made known
    health: what it last said of itself, of 100
    note: its own words
    heard_at: when it last reported
    attempts: attempts to put it right so far
    labels: words to sort by
    needs: units it holds while it is awake; a list leaves out those of entities that hold and wait for nothing
    claim: the task that holds them, or waits for them
    waits_for: why an awakening entity is not active yet
    """

    entity_id: Name
    type: EntityType
    state: State
    since: Time
    cause: Code
    spawned_at: Time
    health: Health | None = None
    note: Note = ""
    heard_at: Time | None = None
    attempts: Count = 0
    labels: Labels = {}
    needs: Needs | None = None
    claim: Name | None = None
    waits_for: str = ""


class ListEntities(Command):
    """Which entities to list, in the order of their coming.

    state: only those in this state
    type: only those of this type
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    state: State | None = None
    type: EntityType | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class EntityPage(Result):
    """Entities, in the order of their coming.

    entities: the page; it may hold fewer than asked for, even none, while there is a next one
    next: give it as `after` for the page that follows; absent on the last
    """

    entities: list[EntityRow]
    next: Cursor | None = None


class FleetStatus(Result):
    """The fleet in one object.

    entities: how many are known, without the deactivated
    states: how many are in each state
    online: whether the way to the outside is there
    units: units held by awake entities, by pool
    silent_for_s: the longest that an awake entity has said nothing
    """

    entities: Count
    states: dict[str, Count]
    online: bool
    units: dict[str, Count]
    silent_for_s: Count | None = None


def _row(fleet: Fleet, entity: Entity) -> EntityRow:
    return EntityRow(
        entity_id=entity.entity_id,
        type=entity.type,
        state=fleet.shown(entity),
        since=time_text(entity.turned_us),
        cause=entity.cause,
        spawned_at=time_text(entity.spawned_us),
        health=entity.health,
        note=entity.note,
        heard_at=time_text(entity.heard_us) if entity.heard_us is not None else None,
        attempts=entity.attempts,
        labels=entity.labels,
        needs=entity.needs,
        claim=task_of(entity.claim) if entity.claim else None,
        waits_for=_waits_for(entity),
    )


def _in_list(row: EntityRow) -> EntityRow:
    """In a table the needs of a sleeping entity would read as if it held them."""
    return row if row.claim is not None or row.state == "awakening" else msgspec.structs.replace(row, needs=None)


def _waits_for(entity: Entity) -> str:
    if entity.state != "awakening" or entity.needs is None:
        return ""
    units = f"{entity.needs.units} units of {entity.needs.pool}"
    if entity.refused:
        return f"{units} were refused ({entity.refused}): raise the pool's ceiling, then hibernate and awaken it again"
    return f"{units}"


def get(fleet: Fleet, params: One, ctx: Context) -> EntityRow:
    return _row(fleet, find(fleet, params.entity_id))


def page(fleet: Fleet, params: ListEntities, ctx: Context) -> EntityPage:
    after = order_after("entity.list", params.after)
    limit = params.limit or LIMIT_DEFAULT
    rows: list[EntityRow] = []
    room = Room()
    looked = 0
    last = after
    for entity in fleet.listed_after(after):
        asked_for = params.type in (None, entity.type) and params.state in (None, fleet.shown(entity))
        row = _in_list(_row(fleet, entity)) if asked_for else None
        if len(rows) == limit or looked == LOOKED_AT_MAX or (row is not None and not room.take(row)):
            return EntityPage(rows, str(last))
        looked += 1
        last = entity.order
        rows += [row] if row is not None else []
    return EntityPage(rows)


def status(fleet: Fleet, params: Nothing, ctx: Context) -> FleetStatus:
    states: dict[str, int] = {state: fleet.counts[state] for state in STATES}
    if not fleet.online:
        states["offline_adapting"], states["active"] = states["active"], 0
    units = {pool: held for pool, held in fleet.units.items() if held}
    first = fleet.heard.first()
    silent = max(0, fleet.clock.now(ctx) - first[0]) // 1_000_000 if first is not None else None
    return FleetStatus(len(fleet.entities) - len(fleet.gone), states, fleet.online, units, silent)


def checks(fleet: Fleet, ctx: Context) -> Iterator[Check]:
    sick = list(islice(fleet.attempts.entries, NAMED_MAX))
    count = fleet.counts["error_correction"]
    if count:
        more = f" and {count - len(sick)} more" if count > len(sick) else ""
        text = f"{', '.join(sick)}{more} in error_correction. See: irerctl entity list --state error_correction"
        yield Check("entities", "degraded", text)
    else:
        yield Check("entities", "ok", "" if fleet.online else "the uplink is gone; active entities adapt")
