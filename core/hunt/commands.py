"""What may be asked of hunts, and what is decided: also by irer itself, which takes every step that no caller has to ask for.

Outcomes enter the log in the order in which they were asked for, whichever call ended first, so that a hunt is the same however
fast its workers are and however often it was interrupted.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from core.engine import NOTHING, CancelJob, Command, Context, Decision, Errand, Event, JobEnded, Refused, Result, Timer
from core.fields import Name
from core.hunt import certify, generations
from core.hunt.events import (
    ChunkFailed,
    Generations,
    HuntFailed,
    HuntResumed,
    HuntStarted,
    HuntStopped,
    HuntStopping,
)
from core.hunt.start import Start, check_size, started
from core.hunt.state import Hunt, Hunts, Part, chunk_of, effect_of
from core.sim.chunk import ERRAND, outcomes, plain

TRIES = 2
"""So often a call is tried before its candidates count as missing."""
DETAIL_MAX = 500
AT_ONCE_US = 0
NOT_INSTALLED = (
    "a hunt needs NumPy, which is not installed where irerd runs. "
    "Install irer with its science extra (pip install 'irer[science]') and restart irerd"
)


class Which(Command):
    """Which hunt.

    hunt_id: its id; without one, the newest
    """

    hunt_id: Name | None = None


class Resume(Command):
    """Which hunt is to go on, and for how long.

    hunt_id: its id; without one, the newest
    add_generations: so many more than it was to have
    """

    hunt_id: Name | None = None
    add_generations: Generations | None = None


class Step(Command):
    """A hunt computes nothing now: how does it go on?

    hunt_id: which
    """

    hunt_id: Name


class HuntBegun(Result):
    """The hunt that began.

    hunt_id: its id; follow it with hunt.watch, or as the job of that id
    """

    hunt_id: Name


class HuntHalted(Result):
    """What a stop came to.

    hunt_id: which hunt
    state: stopping while what is being computed is finished, else stopped
    """

    hunt_id: Name
    state: Literal["stopping", "stopped"]


def halted(events: Sequence[Event]) -> HuntHalted:
    [event] = [each for each in events if isinstance(each, HuntStopping | HuntStopped)]
    return HuntHalted(event.hunt_id, "stopping" if isinstance(event, HuntStopping) else "stopped")


def begun(events: Sequence[Event]) -> HuntBegun:
    return HuntBegun(next(event.hunt_id for event in events if isinstance(event, HuntStarted)))


def find(hunts: Hunts, hunt_id: str | None) -> Hunt:
    hunt = hunts.newest() if hunt_id is None else hunts.hunts.get(hunt_id)
    if hunt is None:
        what = (
            "there was no hunt yet. Begin one: irerctl hunt start"
            if hunt_id is None
            else f"no hunt is named {hunt_id}. See: irerctl hunt list"
        )
        raise Refused("not-found", what, reason="hunt")
    return hunt


# --- callers --------------------------------------------------------------------------------------------------------------


def decide_start(hunts: Hunts, command: Start, ctx: Context) -> Decision:
    _check_room(hunts, ctx)
    _check_numbers()
    return Decision(started(command, ctx))


def _check_numbers() -> None:
    if not _numbers_there():
        raise Refused("failed-precondition", NOT_INSTALLED, reason="not-installed")


def _numbers_there() -> bool:
    try:
        import numpy  # noqa: F401 (a small install has none)
    except ImportError:
        return False
    return True


def _check_room(hunts: Hunts, ctx: Context) -> None:
    active = hunts.active()
    if len(active) >= ctx.settings.hunt.at_once:
        running = active[-1]
        text = (
            f"hunt {running.hunt_id} is running, and hunt.at_once allows {ctx.settings.hunt.at_once}. "
            "Follow it: irerctl hunt watch   or end it: irerctl hunt stop"
        )
        raise Refused("already-running", text, reason="hunt", data={"hunt_id": running.hunt_id})


def decide_stop(hunts: Hunts, command: Which, ctx: Context) -> Decision:
    """What is being computed is finished first; asked again, it is ended at once."""
    hunt = _to_stop(hunts, command.hunt_id)
    if hunt.state == "stopping":
        return Decision(HuntStopped(hunt.hunt_id, "cancelled"))
    if not hunt.active:
        return NOTHING
    return Decision(HuntStopping(hunt.hunt_id) if hunt.in_flight() else HuntStopped(hunt.hunt_id, "stopped"))


def _to_stop(hunts: Hunts, hunt_id: str | None) -> Hunt:
    active = hunts.active()
    if hunt_id is None and len(active) > 1:
        text = f"{len(active)} hunts are running. Say which is to stop: irerctl hunt list, then: irerctl hunt stop ID"
        raise Refused("failed-precondition", text, reason="which")
    return active[0] if hunt_id is None and active else find(hunts, hunt_id)


def decide_resume(hunts: Hunts, command: Resume, ctx: Context) -> Decision:
    hunt = find(hunts, command.hunt_id)
    if hunt.active:
        text = f"hunt {hunt.hunt_id} is {hunt.state} and needs no resume. Follow it: irerctl hunt watch"
        raise Refused("already-running", text, reason="hunt", data={"hunt_id": hunt.hunt_id})
    _check_room(hunts, ctx)
    _check_numbers()
    wanted_generations = hunt.generations + (command.add_generations or 0)
    if hunt.closed >= wanted_generations:
        text = (
            f"hunt {hunt.hunt_id} has closed all of its generations ({hunt.generations:,}). "
            "Say how many more: irerctl hunt resume --add-generations N"
        )
        raise Refused("failed-precondition", text, reason="completed")
    check_size(wanted_generations, hunt.began.population_size, hunt.began.settings.seeds)
    return Decision(HuntResumed(hunt.hunt_id, wanted_generations))


def decide_cancel(hunts: Hunts, command: CancelJob, ctx: Context) -> Decision:
    if (ended := certify.decide_cancel(hunts, command.job)) is not None:
        return ended
    hunt = hunts.hunts.get(command.job)
    if hunt is None:
        text = f"no hunt is named {command.job}, and a single candidate of one cannot be ended. See: irerctl hunt list"
        raise Refused("not-found", text, reason="job")
    return Decision(HuntStopped(hunt.hunt_id, "cancelled")) if hunt.active else NOTHING


# --- irer itself ----------------------------------------------------------------------------------------------------------


def wanted(hunts: Hunts, ctx: Context) -> Iterator[Timer | Errand]:
    """The calls that are to be computed now; where there is none, the next step."""
    for hunt in hunts.active():
        if hunt.due():
            yield Timer(f"step:{hunt.hunt_id}", AT_ONCE_US, Step(hunt.hunt_id))
        for part in hunt.in_flight():
            yield Errand(effect_of(part), ERRAND, plain(chunk_of(hunt, part)))
    yield from certify.wanted(hunts)


def decide_step(hunts: Hunts, command: Step, ctx: Context) -> Decision:
    hunt = hunts.hunts.get(command.hunt_id)
    if hunt is None or not hunt.due():
        return NOTHING
    if not _numbers_there():
        return Decision(HuntFailed(hunt.hunt_id, "not-installed", NOT_INSTALLED))
    if hunt.to_close():
        return _close(hunt)
    if hunt.state == "stopping":
        return Decision(HuntStopped(hunt.hunt_id, "stopped"))
    return Decision(*generations.asked(hunt))


def _close(hunt: Hunt) -> Decision:
    closed = generations.closed(hunt)
    if not closed.outcomes:
        return Decision(closed, HuntFailed(hunt.hunt_id, *_why(hunt)))
    if hunt.closed + 1 >= hunt.generations:
        return Decision(closed, generations.completed(hunt))
    return Decision(closed, HuntStopped(hunt.hunt_id, "stopped")) if hunt.state == "stopping" else Decision(closed)


def _why(hunt: Hunt) -> tuple[str, str]:
    """Why not one candidate of the generation could be run: what went wrong most often."""
    codes = [row.outcome.why for row in hunt.open_rows() if row.outcome is not None and row.outcome.why is not None]
    code = max(codes, key=codes.count) if codes else "missing"
    text = (
        f"none of the {len(hunt.open_rows())} candidates of generation {hunt.closed} could be run ({code}). "
        "Look for the reason with irerctl doctor, then go on with: irerctl hunt resume"
    )
    return code, text


def decide_ended(hunts: Hunts, command: JobEnded, ctx: Context) -> Decision:
    if (work := certify.of_effect(hunts, command.effect)) is not None:
        return certify.decide_ended(work, command)
    found = hunts.wanting(command.effect)
    if found is None:
        return NOTHING  # of a hunt that was stopped meanwhile
    hunt, part = found
    before = next(each for each in hunt.parts if not each.done)
    if before is not part:
        raise Refused("resource-exhausted", "calls that were asked for earlier have not ended yet; it is told again", reason="turn")
    said = outcomes(command.result, chunk_of(hunt, part)) if command.ok else None
    if said is not None:
        return Decision(*generations.scored(hunt, said, part.indices))
    return _failed(hunt, part, "bad-output" if command.ok else command.code, command.detail)


def _failed(hunt: Hunt, part: Part, code: str, detail: str) -> Decision:
    if part.failures + 1 < TRIES:
        return Decision(ChunkFailed(hunt.hunt_id, hunt.closed, part.number, code, detail[:DETAIL_MAX]))
    return Decision(*generations.missing(hunt, part.indices, code))
