"""Which components run by themselves: after each job of a hunt, and after a generation for the best run so far.

Jobs are looked at in the order of their places, whatever order they end in, so that the same hunt leads to the same runs. The hunt
never waits for any of this, and only hunts that go on, and the newest, are looked at.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import msgspec

from core.component import manifest as manifests
from core.component.builtin import NULL_PROFILE
from core.component.commands import started
from core.component.events import ComponentStarted
from core.component.manifest import SUBJECT
from core.component.model import Components
from core.engine import NOTHING, Check, Command, Context, Decision, Errand, Timer
from core.hunt.state import Candidate, Hunt, Hunts, place

TRIGGERED_MAX = 8
"""Runs that nobody asked for which may go on or wait at once."""
AT_ONCE = 0
TARGETS = 5, 10


class Trigger(Command):
    """Jobs of a hunt are to be looked at."""


def wanted(components: Components, ctx: Context) -> Iterator[Timer | Errand]:
    """All that goes on; after a restart it begins anew, and comes to the same."""
    yield from components.errands.values()
    if next(_due(components, ctx), None) is not None:
        yield Timer("trigger", AT_ONCE, Trigger())


def checks(components: Components, ctx: Context) -> Iterator[Check]:
    """Whether what is configured to run by itself can."""
    settings = ctx.settings.component
    for name in dict.fromkeys([*settings.triggered, *settings.winners]):
        manifest = components.manifests.get(name)
        if manifest is None:
            text = f"{name} is to run by itself and is not accepted here. See: irerctl component ls"
            yield Check("component", "degraded", text)
        elif any(port.name != SUBJECT for port in manifests.asked_of(manifest).inputs):
            text = f"{name} is to run by itself and asks for more than {SUBJECT}. Take it out of [component], then: irerctl reload"
            yield Check("component", "degraded", text)


def decide_trigger(components: Components, command: Trigger, ctx: Context) -> Decision:
    due = list(_due(components, ctx))
    return Decision(*due) if due else NOTHING


def _due(components: Components, ctx: Context) -> Iterator[ComponentStarted]:
    """What is to begin now: of one job, or of one hunt's best."""
    settings, room = ctx.settings.component, TRIGGERED_MAX - components.triggered
    if room <= 0 or not (settings.triggered or settings.winners):
        return
    winners = [name for name in settings.winners if name not in settings.triggered]
    for hunt in _looked_at(ctx.peek("hunt")):
        best, jobs = _of_the_best(components, hunt, winners), _of_jobs(components, hunt, settings.triggered)
        if found := {event.job: event for event in (*best, *jobs)}:
            yield from found.values()
            return


def _looked_at(hunts: Hunts) -> list[Hunt]:
    newest = hunts.newest()
    active = hunts.active()
    return [*active, newest] if newest is not None and newest not in active else active


def _of_jobs(components: Components, hunt: Hunt, names: list[str]) -> Iterator[ComponentStarted]:
    """The next job with a file, and every component for it."""
    at, size = components.reached.get(hunt.hunt_id, 0), hunt.began.population_size
    while names and (row := hunt.rows.get(place(*divmod(at, size)))) is not None and row.outcome is not None:
        found = [event for name in names if (event := _begun(components, hunt, row, name, at)) is not None]
        if found:
            yield from found
            return
        at += 1


def _of_the_best(components: Components, hunt: Hunt, names: list[str]) -> Iterator[ComponentStarted]:
    """Once its generation is closed: before that another one may be better. Without a score there is nothing to compare."""
    row = hunt.rows.get(hunt.best)
    if row is not None and row.generation < hunt.closed and row.outcome is not None and row.outcome.log_prime_sse is not None:
        for name in names:
            if (event := _begun(components, hunt, row, name, None)) is not None:
                yield event


def _begun(components: Components, hunt: Hunt, row: Candidate, name: str, at: int | None) -> ComponentStarted | None:
    """None where there is no file to look at, or where this has been begun already."""
    if row.outcome is None or row.outcome.artefact_sha256 is None:
        return None
    manifest, job_uuid = components.manifests.get(name), row.run
    if manifest is None or any(port.name != SUBJECT for port in manifests.asked_of(manifest).inputs):
        return None  # not accepted, or it needs what only a person can give: `checks` says so
    tuned: dict[str, Any] = {}
    if name == NULL_PROFILE:
        tuned["targets"] = min(max(hunt.began.settings.targets, TARGETS[0]), TARGETS[1])
    job = str(uuid5(UUID(job_uuid), f"{name}/{manifest.version}"))
    if job in components.begun or job in components.running:
        return None
    event = started(components, job, manifest, {SUBJECT: job_uuid}, manifests.variables_of(manifest, tuned))
    return msgspec.structs.replace(event, hunt_id=hunt.hunt_id, place=at)
