"""What the entity engine knows, and how each event changes it.

A claim is the ordinary task that holds an awake entity's units in their pool; this engine asks the resource engine for it, watches
what becomes of it, and asks to have it cancelled when the entity sleeps.
"""

from collections import Counter, OrderedDict

import msgspec

from core.agenda import Agenda
from core.clock import Clock
from core.engine import Stamp
from core.entity.events import Asked, Correcting, Needs, Released, Reported, Spawned, Turned, Uplink, Woke
from core.entity.lifecycle import EntityType, Kept, State

DEACTIVATED_KEPT = 10_000


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
        self.releases: OrderedDict[str, str] = OrderedDict()
        """Tasks to cancel, by the id of the effect that asks for it."""
        self.gone: OrderedDict[str, None] = OrderedDict()
        """Deactivated entities, the first to be forgotten first."""
        self.counts: Counter[str] = Counter()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fleet) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def shown(self, entity: Entity) -> State:
        """Its state as the world sees it."""
        return "offline_adapting" if entity.state == "active" and not self.online else entity.state


def task_of(claim: str) -> str:
    """The name of the task that holds a claim's units."""
    return f"entity:{claim}"


def apply_spawned(fleet: Fleet, event: Spawned, stamp: Stamp) -> None:
    fleet.clock.at(stamp)
    entity = Entity(event.entity_id, event.type, stamp.seq, stamp.time_us, stamp.time_us, dict(event.labels), event.needs)
    fleet.entities[entity.entity_id] = entity
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
            fleet.claims[entity.claim] = entity.entity_id
    elif event.to_state in ("hibernating", "deactivated"):
        _give_back(fleet, entity, stamp)
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
    fleet.claims.pop(entity.claim, None)
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
