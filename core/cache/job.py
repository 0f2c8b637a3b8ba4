"""The sync as a job: it begins with a record, outlives the connection and a restart, and ends with a record of what it came to.

Here is only said when one is to run. The work, done with the far end over a network, is `irerd`'s; what it takes in and confirms
comes as commands of their own, each durable before the next step, so that nothing here can be lost by an end at any moment.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.cache import drill
from core.cache.events import Remote
from core.cache.model import Cache
from core.cache.runs import Run
from core.engine import (
    NOTHING,
    CancelJob,
    Check,
    Command,
    Context,
    Decision,
    Errand,
    Event,
    JobEnded,
    JobStatus,
    Nothing,
    Refused,
    Stamp,
    Timer,
)
from core.fields import Code, Count, Frozen, Name, privacy
from core.settings import CacheRemote
from core.times import time_text

ERRAND = "cache.sync"
LEFT_OUT_MAX = 32
"""Documents named one by one in the outcome; all are counted."""
RETRY_BASE_US = 5_000_000
RETRY_CAP_US = 900_000_000
FAILURES_DEGRADED = 3

DocumentName = Annotated[str, Meta(max_length=200), privacy("public")]
Detail = Annotated[str, Meta(max_length=500), privacy("open")]


class LeftOut(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A document that was not replicated.

    document: its name
    why: attachments, design, key, document, revisions, too-large, gone, or what the far end said
    """

    document: DocumentName
    why: Code


class SyncStarted(Event, type="cache.sync_started"):
    """A sync with the far end began.

    job: its id
    remote: the far end
    """

    job: Name
    remote: Remote


class SyncEnded(Event, type="cache.sync_ended"):
    """A sync came to its end.

    job: its id
    code: ok, cancelled, or what went wrong
    detail: one line about a failure, and what to do
    pushed: revisions that the far end took
    pulled: revisions that came from it
    skipped: documents that were not replicated
    left_out: those, by name, as far as there is room
    compared: whether everything was compared, not only what had changed
    not_before_us: after a failure, when it may be tried again by itself, in µs since 1970
    caught_up: whether it stayed, and both sides were equal before it ended
    """

    job: Name
    code: Code
    detail: Detail = ""
    pushed: Count = 0
    pulled: Count = 0
    skipped: Count = 0
    left_out: Annotated[list[LeftOut], Meta(max_length=LEFT_OUT_MAX)] = []
    compared: bool = False
    not_before_us: Count = 0
    caught_up: bool = False


class BeginSync(Command):
    """A sync is due by itself."""


class _Outcome(msgspec.Struct, metaclass=Frozen, frozen=True):
    """What the work says that it came to."""

    pushed: Count = 0
    pulled: Count = 0
    skipped: Count = 0
    left_out: list[LeftOut] = []
    compared: bool = False
    caught_up: bool = False


def remote_name(remote: CacheRemote) -> str:
    """The far end as it is named in records and texts. The URL holds no user, by its type."""
    return f"{remote.url.rstrip('/')}/{remote.database}"


# --- when one runs ----------------------------------------------------------------------------------------------------------


def decide_sync(cache: Cache, command: Nothing, ctx: Context) -> Decision:
    remote = ctx.settings.cache.remote
    if not remote.url:
        text = (
            "no far end is configured, so there is nothing to sync with. An admin adds [cache.remote] with url and database to "
            "the configuration and runs: irerctl reload"
        )
        raise Refused("failed-precondition", text, reason="no-remote")
    if cache.runs.running is not None:
        text = f"sync {cache.runs.running.job} runs already. Follow it: irerctl call system.op_watch"
        raise Refused("already-running", text, reason="sync", data={"job": cache.runs.running.job})
    if not cache.online:
        text = "the cache is set offline, so it does not talk to the far end. Set it online first: irerctl call cache.set_online"
        raise Refused("failed-precondition", text, reason="offline")
    return Decision(SyncStarted(ctx.new_id(), remote_name(remote)))


def decide_begin(cache: Cache, command: BeginSync, ctx: Context) -> Decision:
    due_us = _due_us(cache, ctx)
    if due_us is None or due_us > ctx.now_us:
        return NOTHING
    return Decision(SyncStarted(ctx.new_id(), remote_name(ctx.settings.cache.remote)))


def _due_us(cache: Cache, ctx: Context) -> int | None:
    """When the next is to begin by itself, by the wall clock; None: never."""
    remote = ctx.settings.cache.remote
    if not (remote.url and (remote.interval_s or remote.continuous) and cache.online) or cache.runs.running is not None:
        return None
    if not cache.runs.recent:
        return ctx.now_us
    if remote.continuous and cache.runs.recent[0].code == "ok":
        return ctx.now_us  # it ended only because the settings changed
    if not remote.interval_s and cache.runs.recent[0].code == "cancelled":
        return None  # whoever ended it wants it to rest until somebody asks
    last_us = cache.runs.recent[0].ended_us
    if last_us > ctx.now_us:  # the clock was put back
        last_us = ctx.now_us
    every_us = round(remote.interval_s * 1e6)
    return last_us + every_us if not cache.runs.failures else min(cache.runs.not_before_us, ctx.now_us + RETRY_CAP_US)


def wanted(cache: Cache, ctx: Context) -> Iterator[Timer | Errand]:
    running = cache.runs.running
    if running is not None:
        if cache.online:  # offline it rests, and goes on from its checkpoint
            yield Errand(effect_of(running), ERRAND, {"job": running.job})
    elif (due_us := _due_us(cache, ctx)) is not None:
        yield Timer("sync", ctx.mono_us + max(0, due_us - ctx.now_us), BeginSync())


def effect_of(run: Run) -> str:
    return f"cache_log:{run.seq}:0"


# --- how one ends -----------------------------------------------------------------------------------------------------------


def decide_ended(cache: Cache, command: JobEnded, ctx: Context) -> Decision:
    running = cache.runs.running
    if running is None or effect_of(running) != command.effect:
        return drill.decide_ended(cache, command, ctx)  # a drill's, or of a job that was cancelled meanwhile
    outcome = msgspec.convert(command.result, _Outcome)
    not_before_us = 0
    if not command.ok:
        failures = 0 if outcome.caught_up else cache.runs.failures  # it worked meanwhile
        most_us = min(RETRY_BASE_US << min(failures, 20), RETRY_CAP_US)
        not_before_us = ctx.now_us + most_us // 2 + ctx.random.randrange(most_us // 2)
    ended = SyncEnded(
        running.job,
        "ok" if command.ok else command.code,
        command.detail[:500],
        outcome.pushed,
        outcome.pulled,
        outcome.skipped,
        outcome.left_out[:LEFT_OUT_MAX],
        outcome.compared,
        not_before_us,
        outcome.caught_up,
    )
    return Decision(ended)


def decide_cancel(cache: Cache, command: CancelJob, ctx: Context) -> Decision:
    running = cache.runs.running
    if running is not None and running.job == command.job:
        return Decision(SyncEnded(running.job, "cancelled"))
    if any(run.job == command.job for run in cache.runs.recent):
        return NOTHING
    if (decision := drill.decide_cancel(cache, command, ctx)) is not None:
        return decision
    raise Refused("not-found", f"no sync is named {command.job}, and no drill. See: irerctl offline", reason="job")


def apply_started(cache: Cache, event: SyncStarted, stamp: Stamp) -> None:
    cache.runs = cache.runs.began(Run(event.job, stamp.seq, event.remote, stamp.time_us))


def apply_ended(cache: Cache, event: SyncEnded, stamp: Stamp) -> None:
    running = cache.runs.running
    assert running is not None
    result = {
        "pushed": event.pushed,
        "pulled": event.pulled,
        "skipped": event.skipped,
        "left_out": msgspec.to_builtins(event.left_out),
        "compared": event.compared,
    }
    ended = msgspec.structs.replace(running, ended_us=stamp.time_us, code=event.code, detail=event.detail, result=result)
    failed = event.code not in ("ok", "cancelled")
    failures = 0 if not failed else 1 if event.caught_up else cache.runs.failures + 1
    cache.runs = cache.runs.ended(ended, failures, event.not_before_us)


# --- looking ----------------------------------------------------------------------------------------------------------------


def jobs(cache: Cache) -> Iterator[JobStatus]:
    if cache.runs.running is not None:
        yield _status(cache.runs.running)
    yield from map(_status, cache.runs.recent)


def _status(run: Run) -> JobStatus:
    if not run.code:
        return JobStatus(run.job, ERRAND, "running", run.seq, time_text(run.started_us))
    result: dict[str, Any] = run.result
    return JobStatus(
        run.job,
        ERRAND,
        "done",
        run.seq,
        time_text(run.started_us),
        time_text(run.ended_us),
        run.code == "ok",
        run.code,
        run.detail or None,
        result,
    )


def checks(cache: Cache) -> Iterator[Check]:
    runs = cache.runs
    if runs.failures >= FAILURES_DEGRADED:
        last = runs.recent[0]
        text = f"the last {runs.failures} syncs failed ({last.code}): {last.detail} What is not synced waits, and nothing is lost"
        yield Check("sync", "degraded", text)
