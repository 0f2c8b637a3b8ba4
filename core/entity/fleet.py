"""What the entity engine knows, and how each event changes it.

A claim is the ordinary task that holds an awake entity's units in their pool; this engine asks the resource engine for it, watches
what becomes of it, and asks to have it cancelled when the entity sleeps.
"""

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec

from core.agenda import Agenda
from core.clock import Clock
from core.engine import Stamp
from core.entity.events import Asked, Correcting, Needs, Released, Reported, Spawned, Turned, Uplink, Woke
from core.entity.lifecycle import EntityType, Kept, State

DEACTIVATED_KEPT = 10_000
BUCKETS = 256
"""Parts that the claims of awake entities are kept in, so that one part can be looked at."""


class Entity(msgspec.Struct, forbid_unknown_fields=True):
    """One entity. `claim` is the id of the effect that asked for its units, and of the task that holds them."""

    entity_id: str
    type: EntityType
    order: int
    spawned_us: int
    turned_us: int
    labels: dict[str, str] = {}
    needs: Needs | None = None
    state: Kept = "hibernating"
    cause: str = "spawn"
    health: float | None = None
    note: str = ""
    heard_us: int | None = None
    attempts: int = 0
    claim: str = ""
    claimed: bool = False
    """Whether the resource engine has taken the claim into its queue."""
    refused: str = ""
    """Why it has not."""


class Fleet:
    """The state of the entity engine."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.entities: dict[str, Entity] = {}
        self.online = True
        self.heard: Agenda[str] = Agenda()
        """Active entities, by when they were last heard. Those in correction are being looked after already."""
        self.attempts: Agenda[str] = Agenda()
        """Entities in correction, by when the next attempt is due."""
        self.claims: OrderedDict[str, str] = OrderedDict()
        """Claims that stand, by id, with their entity; the oldest first."""
        self.pending: dict[str, OrderedDict[str, str]] = {}
        """Those of them that are not units yet, by pool; the oldest first."""
        self.holding: list[dict[str, str]] = [{} for _ in range(BUCKETS)]
        """The others."""
        self.units: Counter[str] = Counter()
        """What those hold, by pool."""
        self.releases: OrderedDict[str, str] = OrderedDict()
        """Tasks to cancel, by the id of the effect that asks for it."""
        self.gone: OrderedDict[str, None] = OrderedDict()
        """Deactivated entities, the first to be forgotten first."""
        self.counts: Counter[str] = Counter()
        self.listed: list[Entity] = []
        """In the order of their coming, for pages; forgotten ones stay until there are as many of them as of others."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fleet) and _told(self) == _told(other)

    __hash__ = None  # type: ignore[assignment]

    def shown(self, entity: Entity) -> State:
        """Its state as the world sees it."""
        return "offline_adapting" if entity.state == "active" and not self.online else entity.state

    def listed_after(self, order: int | None) -> Iterator[Entity]:
        for place in range(0 if order is None else bisect_right(self.listed, order, key=_order), len(self.listed)):
            entity = self.listed[place]
            if self.entities.get(entity.entity_id) is entity:
                yield entity

    def put_claim(self, entity: Entity) -> None:
        """Where the claim of an entity in this state belongs."""
        assert entity.needs is not None
        self.claims.setdefault(entity.claim, entity.entity_id)
        if entity.state == "awakening":
            self.pending.setdefault(entity.needs.pool, OrderedDict())[entity.claim] = entity.entity_id
            return
        self._no_longer_pending(entity)
        bucket = self.holding[entity.order % BUCKETS]
        if entity.claim not in bucket:
            bucket[entity.claim] = entity.entity_id
            self.units[entity.needs.pool] += entity.needs.units

    def drop_claim(self, entity: Entity) -> None:
        if self.claims.pop(entity.claim, None) is None:
            return
        assert entity.needs is not None
        self._no_longer_pending(entity)
        if self.holding[entity.order % BUCKETS].pop(entity.claim, None) is not None:
            self.units[entity.needs.pool] -= entity.needs.units

    def _no_longer_pending(self, entity: Entity) -> None:
        assert entity.needs is not None
        pool = entity.needs.pool
        if pool in self.pending:
            self.pending[pool].pop(entity.claim, None)
            if not self.pending[pool]:
                del self.pending[pool]


def _told(fleet: Fleet) -> dict[str, Any]:
    """What two equal fleets have in common: of the list for pages only what it shows."""
    return vars(fleet) | {"listed": None, "units": +fleet.units}


def _order(entity: Entity) -> int:
    return entity.order


def task_of(claim: str) -> str:
    """The name of the task that holds a claim's units."""
    return f"entity:{claim}"


def apply_spawned(fleet: Fleet, event: Spawned, stamp: Stamp) -> None:
    fleet.clock.at(stamp)
    entity = Entity(event.entity_id, event.type, stamp.seq, stamp.time_us, stamp.time_us, dict(event.labels), event.needs)
    fleet.entities[entity.entity_id] = entity
    fleet.listed.append(entity)
    fleet.counts["hibernating"] += 1


def apply_turned(fleet: Fleet, event: Turned, stamp: Stamp) -> None:
    now = fleet.clock.at(stamp)
    entity = fleet.entities[event.entity_id]
    fleet.counts[entity.state] -= 1
    fleet.counts[event.to_state] += 1
    entity.state, entity.cause, entity.turned_us = event.to_state, event.cause, stamp.time_us
    fleet.attempts.drop(entity.entity_id)
    if event.to_state == "active":
        fleet.heard.put(entity.entity_id, now)
    else:
        fleet.heard.drop(entity.entity_id)
    if event.to_state != "error_correction":
        entity.attempts = 0
    if event.to_state == "awakening":
        entity.refused = ""
        _drop_claim(fleet, entity)
        if entity.needs is not None:
            entity.claim, entity.claimed = stamp.cause(), False
            fleet.put_claim(entity)
    elif event.to_state in ("hibernating", "deactivated"):
        _give_back(fleet, entity, stamp)
    elif entity.claim:
        fleet.put_claim(entity)
    if event.to_state == "deactivated":
        fleet.gone[entity.entity_id] = None
        _forget(fleet)


def apply_reported(fleet: Fleet, event: Reported, stamp: Stamp) -> None:
    now = fleet.clock.at(stamp)
    entity = fleet.entities[event.entity_id]
    entity.health, entity.note, entity.heard_us = event.health, event.note, stamp.time_us
    if entity.state == "active":
        fleet.heard.put(entity.entity_id, now)


def apply_correcting(fleet: Fleet, event: Correcting, stamp: Stamp) -> None:
    now = fleet.clock.at(stamp)
    fleet.entities[event.entity_id].attempts = event.attempt
    fleet.attempts.put(event.entity_id, now + event.retry_in_ms * 1000)


def apply_asked(fleet: Fleet, event: Asked, stamp: Stamp) -> None:
    fleet.clock.at(stamp)
    entity = fleet.entities.get(event.entity_id)
    if entity is not None and entity.claim == event.effect:
        entity.claimed, entity.refused = event.ok, "" if event.ok else event.code
        if not event.ok:
            _drop_claim(fleet, entity)


def apply_released(fleet: Fleet, event: Released, stamp: Stamp) -> None:
    fleet.clock.at(stamp)
    fleet.releases.pop(event.effect, None)


def apply_uplink(fleet: Fleet, event: Uplink, stamp: Stamp) -> None:
    fleet.clock.at(stamp)
    fleet.online = event.online


def apply_woke(fleet: Fleet, event: Woke, stamp: Stamp) -> None:
    now = fleet.clock.at(stamp)
    for _, _, entity_id in fleet.heard.in_order_put():
        fleet.heard.put(entity_id, now)


def _drop_claim(fleet: Fleet, entity: Entity) -> None:
    fleet.drop_claim(entity)
    entity.claim, entity.claimed = "", False


def _give_back(fleet: Fleet, entity: Entity, stamp: Stamp) -> None:
    """Also a claim that was asked for and not answered: cancelling what is not there does no harm."""
    if entity.claim:
        fleet.releases[stamp.cause()] = task_of(entity.claim)
        _drop_claim(fleet, entity)


def _forget(fleet: Fleet) -> None:
    while len(fleet.gone) > DEACTIVATED_KEPT:
        oldest, _ = fleet.gone.popitem(last=False)
        del fleet.entities[oldest]
        fleet.counts["deactivated"] -= 1
    if len(fleet.listed) > 2 * len(fleet.entities):
        fleet.listed = list(fleet.entities.values())
