"""The entity engine: what runs out there, whether it lives, and what is done when it does not. It runs itself.

An awake entity reports; one that says nothing, or says that it is not well, is put right in bounded attempts; one that needs units
of a pool holds them as long as it is awake.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from core.agenda import AgendaDump, dump_agenda, load_agenda
from core.clock import ClockDump, dump_clock, load_clock
from core.engine import Ask, Asked, Context, Effect, Engine, Event, Nothing, Timer, internal, read, write
from core.entity import commands, events, fleet, reads
from core.entity.fleet import Entity, Fleet, task_of
from core.entity.lifecycle import Kept
from core.fields import Code, Name

AT_ONCE = 0
"""A due time that is always past."""
ASKS_MAX = 64


class EntityState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an entity is now.

    entity_id: which
    state: as it is kept; an active entity is shown as offline_adapting while the uplink is gone
    cause: what brought it there
    """

    entity_id: Name
    state: Kept
    cause: Code


def moved(happened: Sequence[Event]) -> EntityState:
    """Where the last of these events left the entity."""
    last = [event for event in happened if isinstance(event, events.Turned)][-1]
    return EntityState(last.entity_id, last.to_state, last.cause)


def wanted(state: Fleet, ctx: Context) -> Iterator[Effect]:
    for claim, entity in commands.unasked(state):
        assert entity.needs is not None
        yield Ask(
            claim,
            "resource.submit_task",
            {
                "task_id": task_of(claim),
                "priority": "high",
                "resource_type": entity.needs.pool,
                "units": entity.needs.units,
                "duration_s": 31_536_000.0,
            },
        )
    for effect, task in islice(state.releases.items(), ASKS_MAX):
        yield Ask(effect, "resource.cancel_task", {"task_id": task})
    if bool(ctx.peek("cache").online) != state.online or commands.moved_claims(state, ctx.peek("resource"), ctx.mono_us):
        yield Timer("settle", AT_ONCE, commands.Settle())
    if (first := state.heard.first()) is not None:
        silent_at = first[0] + round(ctx.settings.entities.heartbeat_s * 1e6)
        yield Timer("silent", state.clock.mono_us(silent_at, ctx), commands.FindSilent())
    if (attempt := state.attempts.first()) is not None:
        yield Timer("correct", state.clock.mono_us(attempt[0], ctx), commands.Correct())


class FleetDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clock: ClockDump
    online: bool
    entities: list[Entity]
    heard: AgendaDump
    attempts: AgendaDump
    claims: list[tuple[str, str]]
    releases: list[tuple[str, str]]
    gone: list[str]


def dump(state: Fleet) -> FleetDump:
    return FleetDump(
        dump_clock(state.clock),
        state.online,
        list(state.entities.values()),
        dump_agenda(state.heard),
        dump_agenda(state.attempts),
        list(state.claims.items()),
        list(state.releases.items()),
        list(state.gone),
    )


def load(dumped: FleetDump) -> Fleet:
    state = Fleet()
    state.clock = load_clock(dumped.clock)
    state.online = dumped.online
    state.entities = {entity.entity_id: entity for entity in dumped.entities}
    state.listed = list(dumped.entities)
    state.heard = load_agenda(dumped.heard)
    state.attempts = load_agenda(dumped.attempts)
    for _, entity_id in dumped.claims:
        state.put_claim(state.entities[entity_id])
    state.releases.update(dumped.releases)
    state.gone.update(dict.fromkeys(dumped.gone))
    state.counts.update(entity.state for entity in dumped.entities)
    return state


ENGINE = Engine(
    "entity",
    log="entities",
    state=Fleet,
    wanted=wanted,
    follows=("resource", "cache"),
    checks=reads.checks,
    dump=dump,
    load=load,
    rows=[
        write(
            "spawn",
            commands.Spawn,
            commands.decide_spawn,
            apply={events.Spawned: fleet.apply_spawned},
            help="Make an entity known; it hibernates until it is awakened",
            example={"entity_id": "worker_001", "type": "worker"},
            cli="entity spawn ENTITY_ID TYPE",
        ),
        write(
            "awaken",
            commands.One,
            commands.decide_awaken,
            apply={events.Turned: fleet.apply_turned},
            reply=moved,
            help="Wake an entity; it is active once it has the units it needs",
            example={"entity_id": "worker_001"},
            cli="entity awaken ENTITY_ID",
        ),
        write(
            "hibernate",
            commands.One,
            commands.decide_hibernate,
            apply={events.Turned: fleet.apply_turned},
            reply=moved,
            help="Send an entity to sleep and give its units back",
            example={"entity_id": "worker_001"},
            cli="entity hibernate ENTITY_ID",
        ),
        write(
            "deactivate",
            commands.One,
            commands.decide_deactivate,
            apply={events.Turned: fleet.apply_turned},
            reply=moved,
            help="Retire an entity for good",
            example={"entity_id": "worker_001"},
            cli="entity deactivate ENTITY_ID",
        ),
        write(
            "report",
            commands.Report,
            commands.decide_report,
            apply={events.Reported: fleet.apply_reported, events.Turned: fleet.apply_turned},
            help="A sign of life, and how well the entity is",
            example={"entity_id": "sensor_007", "health": 97.5},
            cli="entity report ENTITY_ID HEALTH",
        ),
        write(
            "heal",
            commands.One,
            commands.decide_heal,
            apply={events.Correcting: fleet.apply_correcting},
            help="Begin the correction of an entity anew, with all its attempts",
            example={"entity_id": "gateway_2"},
            cli="entity heal ENTITY_ID",
        ),
        read("get", commands.One, reads.get, help="One entity", example={"entity_id": "worker_001"}, cli="entity get ENTITY_ID"),
        read("list", reads.ListEntities, reads.page, help="Entities, in the order of their coming", example={}, cli="entity list"),
        read("status", Nothing, reads.status, help="The fleet in one object", example={}, cli="entity"),
        internal(
            "settle",
            commands.Settle,
            commands.decide_settle,
            apply={events.Uplink: fleet.apply_uplink, events.Turned: fleet.apply_turned},
        ),
        internal("find_silent", commands.FindSilent, commands.decide_silent, apply={events.Turned: fleet.apply_turned}),
        internal("correct", commands.Correct, commands.decide_correct, apply={events.Correcting: fleet.apply_correcting}),
        internal(
            "asked",
            Asked,
            commands.decide_asked,
            apply={events.Asked: fleet.apply_asked, events.Released: fleet.apply_released},
        ),
        internal("resume", commands.Resume, commands.decide_resume, apply={events.Woke: fleet.apply_woke}),
    ],
)
