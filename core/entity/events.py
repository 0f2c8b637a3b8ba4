"""What can happen to an entity, as the log keeps it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from core.engine import Event
from core.entity.lifecycle import Cause, EntityType, Kept
from core.fields import Code, Count, Frozen, Name, privacy
from core.resource.events import PoolName

Health = Annotated[float, Meta(ge=0, le=100)]
Note = Annotated[str, Meta(max_length=500), privacy("open")]
LabelText = Annotated[str, Meta(max_length=200), privacy("open")]
Labels = Annotated[dict[Name, LabelText], Meta(max_length=16)]


class Needs(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What an entity holds of a resource pool while it is awake.

    pool: which pool
    units: how many of its units
    """

    pool: PoolName
    units: Annotated[int, Meta(ge=1, le=1_000_000)]


class Spawned(Event, type="entity.spawned"):
    """An entity is known from now on; it hibernates.

    entity_id: its name
    type: what it is
    labels: words to sort by
    needs: units it holds while it is awake
    """

    entity_id: Name
    type: EntityType
    labels: Labels = {}
    needs: Needs | None = None


class Turned(Event, type="entity.turned"):
    """An entity changed its state.

    entity_id: which
    from_state: where it was
    to_state: where it is
    cause: why, as the table of its life names it
    """

    entity_id: Name
    from_state: Kept
    to_state: Kept
    cause: Cause


class Reported(Event, type="entity.reported"):
    """An entity said that it lives, and how well.

    entity_id: which
    health: from 0 to 100
    note: its own words
    """

    entity_id: Name
    health: Health
    note: Note = ""


class Correcting(Event, type="entity.correcting"):
    """An attempt to put an entity right begins: whoever runs the entity sees this and acts. A healthy report ends it.

    entity_id: which
    attempt: the how manieth since it went wrong
    retry_in_ms: how long it has until the next
    """

    entity_id: Name
    attempt: Count
    retry_in_ms: Count


class Asked(Event, type="entity.asked"):
    """The resource engine answered: it queued the entity's claim, or refused it.

    entity_id: whose
    effect: id of the effect that asked
    ok: whether the claim stands in the queue
    code: ok, or why not
    """

    entity_id: Name
    effect: Name
    ok: bool
    code: Code


class Released(Event, type="entity.released"):
    """Units that an entity held, or asked for, are given back.

    effect: id of the effect that gave them back
    """

    effect: Name


class Uplink(Event, type="entity.uplink"):
    """The way to the outside went or came back: active entities adapt, all at once.

    online: whether it is there
    """

    online: bool


class Woke(Event, type="entity.fleet_resumed"):
    """The daemon is back: silence while it was away counts against nobody."""
