"""Crystallised patterns on their way to others: first each is put into the cache, then the cache syncs with its far end.

It is a job like the cache's own sync, which does the network's part. A pattern that changed is written again under the same
key; what the far end made of it meanwhile stays visible there, as any conflict does.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from core.cache.model import Cache
from core.data.events import SHARED_MAX, PatternAnchored, SharingEnded, SharingFollows, SharingStarted, Shown
from core.data.model import Data, Sync
from core.data.patterns import Pattern, strength
from core.engine import (
    NOTHING,
    Ask,
    Asked,
    CancelJob,
    Context,
    Decision,
    Event,
    JobStatus,
    Nothing,
    Refused,
    Timer,
)
from core.fields import Count, Name
from core.times import time_text

METHOD = "data.sync"
PREFIX = "data/pattern/"
RETRY_US = 300_000_000
"""After a failure irer does not share by itself for so long."""
EVIDENCE_SHOWN_MAX = 128


class BeginSync(Nothing):
    """Crystallised patterns are to be shared by themselves."""


class Follow(Nothing):
    """Look at the cache's sync: its end is the end of this one."""


class SharingBegun(msgspec.Struct, frozen=True):
    """A sync that goes on by itself.

    job: its id: follow it with system.op_watch, end it with system.op_cancel
    patterns: how many crystallised patterns go into the cache first
    """

    job: Name
    patterns: Count


def begun(happened: Sequence[Event]) -> SharingBegun:
    first = happened[0]
    assert isinstance(first, SharingStarted)
    return SharingBegun(first.job, len(first.patterns))


def unshared(data: Data) -> Iterator[Pattern]:
    return (pattern for pattern in data.book.patterns.values() if pattern.state == "crystallised" and not pattern.shared)


# --- when one runs ----------------------------------------------------------------------------------------------------------


def decide_sync(data: Data, command: Nothing, ctx: Context) -> Decision:
    if data.sync is not None:
        text = f"sync {data.sync.job} runs already. Follow it: irerctl call system.op_watch"
        raise Refused("already-running", text, reason="sync", data={"job": data.sync.job})
    if not ctx.settings.cache.remote.url:
        text = "no far end is configured, so there is nobody to share with. An admin adds [cache.remote] with url and database to "
        raise Refused("failed-precondition", f"{text}the configuration and runs: irerctl reload", reason="no-remote")
    if not ctx.peek("cache").online:
        text = "the cache is set offline, so it does not talk to the far end. Set it online first: irerctl offline off"
        raise Refused("failed-precondition", text, reason="offline")
    return Decision(_started(data, ctx))


def _started(data: Data, ctx: Context) -> SharingStarted:
    now = data.clock.now(ctx)
    shown = [Shown(pattern.pattern, round(strength(pattern, now), 6)) for pattern in islice(unshared(data), SHARED_MAX)]
    return SharingStarted(ctx.new_id(), shown)


def decide_begin(data: Data, command: BeginSync, ctx: Context) -> Decision:
    due_us = _due_us(data, ctx)
    return Decision(_started(data, ctx)) if due_us is not None and due_us <= ctx.now_us else NOTHING


def _due_us(data: Data, ctx: Context) -> int | None:
    """When to share by itself, by the wall clock; None: not at all."""
    if not ctx.settings.data.share or data.sync is not None or next(unshared(data), None) is None:
        return None
    if not ctx.settings.cache.remote.url or not ctx.peek("cache").online:
        return None
    if data.syncs and data.syncs[0].code != "ok":
        return min(data.syncs[0].ended_us, ctx.now_us) + RETRY_US
    return ctx.now_us


def wanted(data: Data, ctx: Context) -> Iterator[Ask | Timer]:
    sync = data.sync
    if sync is None:
        if (due_us := _due_us(data, ctx)) is not None:
            yield Timer("share", ctx.mono_us + max(0, due_us - ctx.now_us), BeginSync())
        return
    left = [place for place, shown in enumerate(sync.patterns) if shown.pattern not in sync.anchored]
    for place in left:
        shown = sync.patterns[place]
        key = PREFIX + shown.pattern
        yield Ask(sync.effect(place + 1), "cache.set", {"key": key, "value": _document(data, shown, sync)})
    if left:
        return
    cache: Cache = ctx.peek("cache")
    if not sync.cache_job:
        if cache.runs.running is None:
            yield Ask(sync.effect(0), "cache.sync", {})
    elif _cache_end(cache, sync) is not None:
        yield Timer("follow", 0, Follow())


def _document(data: Data, shown: Shown, sync: Sync) -> dict[str, Any]:
    """A pattern as others see it: no text, only ids of events and how near they are."""
    pattern = data.book.patterns.get(shown.pattern)
    if pattern is None:
        return {"pattern": shown.pattern, "strength": shown.strength, "at": time_text(sync.started_us), "events": []}
    newest = list(pattern.evidence.items())[-EVIDENCE_SHOWN_MAX:]
    return {
        "pattern": shown.pattern,
        "kind": pattern.kind,
        "strength": shown.strength,
        "at": time_text(sync.started_us),
        "contributors": pattern.contributors,
        "events": [{"event": event, "relevance": each.relevance} for event, each in newest],
    }


# --- how it goes ------------------------------------------------------------------------------------------------------------


def decide_asked(data: Data, command: Asked, ctx: Context) -> Decision:
    sync = data.sync
    if sync is None:
        return NOTHING  # it was cancelled meanwhile
    if command.effect == sync.effect(0):
        job = command.result.get("job")
        if command.ok and isinstance(job, str) and not sync.cache_job:
            return Decision(SharingFollows(sync.job, job, command.effect))
        return NOTHING if sync.cache_job else Decision(_failed(sync, command))
    for place, shown in enumerate(sync.patterns):
        if command.effect == sync.effect(place + 1) and shown.pattern not in sync.anchored:
            if not command.ok:
                return Decision(_failed(sync, command))
            key, rev = PREFIX + shown.pattern, str(command.result.get("rev", ""))[:200]
            return Decision(PatternAnchored(shown.pattern, key, rev, command.effect))
    return NOTHING


def _failed(sync: Sync, command: Asked) -> SharingEnded:
    code = command.code if not command.ok else "bad-output"
    return SharingEnded(sync.job, code, command.detail[:500], len(sync.anchored))


def _cache_end(cache: Cache, sync: Sync) -> SharingEnded | None:
    """How the cache's sync came out; None while it runs."""
    if cache.runs.running is not None and cache.runs.running.job == sync.cache_job:
        return None
    run = next((run for run in cache.runs.recent if run.job == sync.cache_job), None)
    if run is None:
        text = "what became of the cache's sync is not known any more. See: irerctl offline"
        return SharingEnded(sync.job, "unknown", text, len(sync.anchored))
    counted = [int(run.result.get(name, 0)) for name in ("pushed", "pulled")]
    return SharingEnded(sync.job, run.code, run.detail[:500], len(sync.anchored), *counted)


def decide_follow(data: Data, command: Follow, ctx: Context) -> Decision:
    sync = data.sync
    if sync is None or not sync.cache_job:
        return NOTHING
    ended = _cache_end(ctx.peek("cache"), sync)
    return NOTHING if ended is None else Decision(ended)


def decide_cancel(data: Data, command: CancelJob, ctx: Context) -> Decision:
    if data.sync is not None and data.sync.job == command.job:
        return Decision(SharingEnded(command.job, "cancelled", "", len(data.sync.anchored)))
    if any(sync.job == command.job for sync in data.syncs):
        return NOTHING
    raise Refused("not-found", f"no sync of patterns is named {command.job}. See: irerctl data", reason="job")


def jobs(data: Data) -> Iterator[JobStatus]:
    if data.sync is not None:
        yield JobStatus(data.sync.job, METHOD, "running", data.sync.seq, time_text(data.sync.started_us))
    for sync in data.syncs:
        yield JobStatus(
            sync.job,
            METHOD,
            "done",
            sync.seq,
            time_text(sync.started_us),
            time_text(sync.ended_us),
            sync.code == "ok",
            sync.code,
            sync.detail or None,
            sync.result,
        )
