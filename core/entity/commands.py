"""What the entity engine may be asked: by callers, and by itself once something is due. A command judges and changes nothing."""

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice

from core.engine import Asked as Answer
from core.engine import Command, Context, Decision, Event, Nothing, Refused
from core.entity.events import (
    Asked,
    Correcting,
    Health,
    Labels,
    Needs,
    Note,
    Released,
    Reported,
    Spawned,
    Turned,
    Uplink,
    Woke,
)
from core.entity.fleet import BUCKETS, Entity, Fleet, task_of
from core.entity.lifecycle import TABLE, Cause, EntityType, Kept, State
from core.fields import Name
from core.resource.pools import Pools

ENTITIES_MAX = 100_000
AT_ONCE_MAX = 64
"""Entities that one command of the engine's own looks after; the rest has its turn right behind."""
LOOKS_MAX = 256
"""Claims of each pool looked at for one answer to what is wanted: the oldest of those that are not units yet."""
HELD_LOOKS_MAX = 1_024
"""Claims that are units of which all are looked at each time; of more, one part each second, and what ended lately."""
NAMES_LOOKED_AT = 1_000
"""For a name that was mistyped: more would hold the loop."""


class Spawn(Command):
    """Makes an entity known. It hibernates until it is awakened.

    entity_id: its name, which stands in the log as it is
    type: what it is
    labels: words to sort by
    needs: units of a pool that it holds while it is awake
    """

    entity_id: Name
    type: EntityType
    labels: Labels = {}
    needs: Needs | None = None


class One(Command):
    """Which entity.

    entity_id: its name
    """

    entity_id: Name


class Report(Command):
    """A sign of life.

    entity_id: whose
    health: how well it is, from 0 to 100
    note: its own words
    """

    entity_id: Name
    health: Health
    note: Note = ""


class Settle(Nothing):
    """Look at the claims and at the uplink: what changed elsewhere changes entities."""


class FindSilent(Nothing):
    """Correct the entities that said nothing for too long."""


class Correct(Nothing):
    """Begin the attempts that are due."""


class Resume(Nothing):
    """The daemon is back."""


# --- asked by callers -----------------------------------------------------------------------------------------------------


def find(fleet: Fleet, entity_id: str) -> Entity:
    found = fleet.entities.get(entity_id)
    if found is None:
        near = get_close_matches(entity_id, islice(fleet.entities, NAMES_LOOKED_AT), n=3)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise Refused("not-found", f"no entity {entity_id}. {hint}All: irerctl entity", data={"nearest": near})
    return found


def decide_spawn(fleet: Fleet, command: Spawn, ctx: Context) -> Decision:
    if command.entity_id in fleet.entities:
        state = fleet.shown(fleet.entities[command.entity_id])
        instead = f", or: irerctl entity awaken {command.entity_id}" if (state, "awaken") in TABLE else ""
        raise Refused("already-exists", f"{command.entity_id} exists and is {state}. Choose another name{instead}")
    if len(fleet.entities) >= ENTITIES_MAX + len(fleet.gone):
        raise Refused("resource-exhausted", f"{ENTITIES_MAX:,} entities are known. Deactivate some first", reason="entities")
    if command.needs is not None:
        ceiling = ctx.settings.pools.bounds(command.needs.pool).ceiling
        if command.needs.units > ceiling:
            text = f"{command.needs.pool}: {command.needs.units} is outside 1..{ceiling}. Ask for less, or raise"
            raise Refused("out-of-range", f"{text} pools.{command.needs.pool}.ceiling in the configuration")
    return Decision(Spawned(command.entity_id, command.type, command.labels, command.needs))


def decide_awaken(fleet: Fleet, command: One, ctx: Context) -> Decision:
    entity = find(fleet, command.entity_id)
    turned = _turned(fleet, entity, "awaken")
    if entity.needs is not None:
        return Decision(turned)
    return Decision(turned, Turned(entity.entity_id, "awakening", "active", "ready"))


def decide_hibernate(fleet: Fleet, command: One, ctx: Context) -> Decision:
    return Decision(_turned(fleet, find(fleet, command.entity_id), "hibernate"))


def decide_deactivate(fleet: Fleet, command: One, ctx: Context) -> Decision:
    return Decision(_turned(fleet, find(fleet, command.entity_id), "deactivate"))


def decide_report(fleet: Fleet, command: Report, ctx: Context) -> Decision:
    entity = find(fleet, command.entity_id)
    if entity.state == "deactivated":
        raise Refused("failed-precondition", f"{entity.entity_id} is deactivated for good. Spawn another", reason="deactivated")
    events: list[Event] = [Reported(command.entity_id, command.health, command.note)]
    well = command.health >= ctx.settings.entities.unhealthy_below
    if entity.state == "active" and not well:
        events += [_turned(fleet, entity, "unhealthy"), _correcting(entity.entity_id, 1, ctx)]
    elif entity.state == "error_correction" and well:
        events.append(_turned(fleet, entity, "healthy"))
    return Decision(*events)


def decide_heal(fleet: Fleet, command: One, ctx: Context) -> Decision:
    """Begin correction anew, with all its attempts."""
    entity = find(fleet, command.entity_id)
    if entity.state != "error_correction":
        state = fleet.shown(entity)
        instead = f". Wake it: irerctl entity awaken {entity.entity_id}" if (state, "awaken") in TABLE else ""
        text = f"{entity.entity_id} is {state}; only an entity in error_correction can be healed{instead}"
        raise Refused("failed-precondition", text, reason="state")
    return Decision(_correcting(entity.entity_id, 1, ctx))


def _turned(fleet: Fleet, entity: Entity, cause: Cause) -> Turned:
    shown = fleet.shown(entity)
    following = TABLE.get((shown, cause))
    if following is None:
        able = [each for state, each in TABLE if state == shown and each in ("awaken", "hibernate", "deactivate")]
        can = f"It can: {', '.join(able)}" if able else "Nothing more can happen to it"
        raise Refused("failed-precondition", f"{entity.entity_id} is {shown}, so it cannot {cause}. {can}", reason="state")
    return Turned(entity.entity_id, entity.state, _kept(following), cause)


def _kept(state: State) -> Kept:
    return "active" if state == "offline_adapting" else state


def _correcting(entity_id: str, attempt: int, ctx: Context) -> Correcting:
    """Attempts have a little more or less time each, so that a fleet that failed together is not put right in one burst."""
    settings = ctx.settings.entities
    longest = min(settings.cap_s, settings.base_s * 2 ** (attempt - 1))
    return Correcting(entity_id, attempt, round(longest * 1000 * ctx.random.uniform(0.75, 1.0)))


# --- asked by the engine itself -------------------------------------------------------------------------------------------


def decide_silent(fleet: Fleet, command: FindSilent, ctx: Context) -> Decision:
    until = fleet.clock.now(ctx) - round(ctx.settings.entities.heartbeat_s * 1e6)
    events: list[Event] = []
    for entity_id in fleet.heard.due(until, AT_ONCE_MAX):
        events += [_turned(fleet, fleet.entities[entity_id], "silent"), _correcting(entity_id, 1, ctx)]
    return Decision(*events)


def decide_correct(fleet: Fleet, command: Correct, ctx: Context) -> Decision:
    events: list[Event] = []
    for entity_id in fleet.attempts.due(fleet.clock.now(ctx), AT_ONCE_MAX):
        entity = fleet.entities[entity_id]
        if entity.attempts < ctx.settings.entities.attempts:
            events.append(_correcting(entity_id, entity.attempts + 1, ctx))
        else:
            events.append(_turned(fleet, entity, "gave_up"))
    return Decision(*events)


def decide_settle(fleet: Fleet, command: Settle, ctx: Context) -> Decision:
    events: list[Event] = []
    online = bool(ctx.peek("cache").online)
    if online != fleet.online:
        events.append(Uplink(online))
    for entity, cause in moved_claims(fleet, ctx.peek("resource"), ctx.mono_us):
        if len(events) < AT_ONCE_MAX:
            events.append(Turned(entity.entity_id, entity.state, "active" if cause == "ready" else "awakening", cause))
    return Decision(*events)


def unasked(fleet: Fleet) -> Iterator[tuple[str, Entity]]:
    """Claims that the resource engine has not heard of yet."""
    for claims in fleet.pending.values():
        for claim, entity_id in islice(claims.items(), LOOKS_MAX):
            entity = fleet.entities[entity_id]
            if not entity.claimed:
                yield claim, entity


def moved_claims(fleet: Fleet, pools: Pools, mono_us: int) -> list[tuple[Entity, Cause]]:
    """Claims whose task came to run, or ended while its entity still needs it."""
    found: list[tuple[Entity, Cause]] = []
    for claims in fleet.pending.values():
        for claim, entity_id in islice(claims.items(), LOOKS_MAX):
            entity = fleet.entities[entity_id]
            if not entity.claimed:
                continue
            task = pools.tasks.get(task_of(claim))
            if task is not None and task.state == "running":
                found.append((entity, "ready"))
            elif task is None or task.state not in ("waiting", "blocked", "retrying"):
                found.append((entity, "units_lost"))
    for claim, entity_id in _held(fleet, pools, mono_us):
        task = pools.tasks.get(task_of(claim))
        if task is None or task.state not in ("running", "waiting", "blocked", "retrying"):
            found.append((fleet.entities[entity_id], "units_lost"))
    return found


def _held(fleet: Fleet, pools: Pools, mono_us: int) -> Iterator[tuple[str, str]]:
    """Claims that are units, as far as one look goes. None is passed over for ever, whatever was missed."""
    if len(fleet.claims) <= HELD_LOOKS_MAX:
        for bucket in filter(None, fleet.holding):  # most are empty, and this is asked after every group
            yield from bucket.items()
        return
    seen = set()
    for task_id in islice(reversed(pools.finished), HELD_LOOKS_MAX):
        claim = task_id.removeprefix(task_of(""))
        entity = fleet.entities.get(fleet.claims.get(claim, ""))
        if entity is not None and entity.state != "awakening":
            seen.add(claim)
            yield claim, entity.entity_id
    for claim, entity_id in fleet.holding[mono_us // 1_000_000 % BUCKETS].items():
        if claim not in seen:
            yield claim, entity_id


def decide_asked(fleet: Fleet, command: Answer, ctx: Context) -> Decision:
    if command.effect in fleet.releases:
        return Decision(Released(command.effect))
    entity_id = fleet.claims.get(command.effect)
    if entity_id is None or fleet.entities[entity_id].claimed:
        return Decision()
    return Decision(Asked(entity_id, command.effect, command.ok, command.code))


def decide_resume(fleet: Fleet, command: Resume, ctx: Context) -> Decision:
    return Decision(Woke()) if len(fleet.heard) else Decision()
