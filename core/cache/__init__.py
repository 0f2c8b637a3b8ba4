"""The cache engine: a document store that works with no network for days, and forgets nothing that is not synced.

The log is the store: a value stands in the record that set it, or in a blob which that record names, and here is only known where.
Each key has the revisions that CouchDB would give it, so that any server of its protocol can be the far end.
"""

from collections.abc import Iterator

from core.cache import commands, drill, events, job, reads
from core.cache.form import accepted, stored
from core.cache.model import Cache, dump, load
from core.engine import (
    CancelJob,
    Check,
    Context,
    Engine,
    Errand,
    Job,
    JobEnded,
    JobStatus,
    Nothing,
    Quick,
    Timer,
    internal,
    read,
    write,
)


def wanted(cache: Cache, ctx: Context) -> Iterator[Timer | Errand | Job]:
    """The next value whose time ends, by the wall clock of now; the sync that runs, or is the next to begin by itself; a drill."""
    if (first := cache.ends.first()) is not None:
        yield Timer("expire", ctx.mono_us + max(0, first - ctx.now_us), commands.ExpireValues())
    yield from job.wanted(cache, ctx)
    yield from drill.wanted(cache)


def checks(cache: Cache, ctx: Context) -> Iterator[Check]:
    yield from reads.checks(cache, ctx)
    yield from job.checks(cache)
    yield from drill.checks(cache)


def jobs(cache: Cache) -> Iterator[JobStatus]:
    yield from job.jobs(cache)
    yield from drill.jobs(cache)


ENGINE = Engine(
    "cache",
    log="cache_log",
    state=Cache,
    wanted=wanted,
    checks=checks,
    dump=dump,
    load=load,
    stored=stored,
    blobs=Cache.blobs,
    oldest=Cache.oldest,
    canonical=accepted,
    jobs=jobs,
    rows=[
        write(
            "set",
            commands.Set,
            commands.decide_set,
            apply={events.ValueSet: events.apply_set},
            reply=commands.written,
            help="Give a key a value, online or not",
            example={"key": "greeting", "value": {"text": "hello"}, "ttl_s": 3600},
            large="value",
            cli="cache set KEY VALUE",
        ),
        read(
            "get",
            reads.Get,
            reads.get,
            result=reads.Entry,
            help="A key's value and revision",
            example={"key": "greeting"},
            cli="cache get KEY",
            quick=Quick(reads.quick_find, reads.quick_answer),
        ),
        write(
            "delete",
            commands.Delete,
            commands.decide_delete,
            apply={events.ValueDeleted: events.apply_deleted},
            reply=commands.written,
            help="Take a key's value away",
            example={"key": "old-greeting"},
            cli="cache delete KEY",
        ),
        read(
            "list",
            reads.ListKeys,
            reads.list_keys,
            help="Keys by name, with their revisions and sizes",
            example={"prefix": "gree"},
            cli="cache ls [PREFIX]",
        ),
        write(
            "set_online",
            commands.SetOnline,
            commands.decide_online,
            apply={events.OnlineSet: events.apply_online},
            help="Say whether the far end may be talked to",
            example={"online": True},
        ),
        write(
            "sync",
            Nothing,
            job.decide_sync,
            apply={job.SyncStarted: job.apply_started, job.SyncEnded: job.apply_ended},
            help="Begin to replicate with the far end, both ways",
            example={},
            cli="offline sync",
        ),
        write(
            "drill",
            drill.AskDrill,
            drill.decide_drill,
            apply={
                drill.DrillStarted: drill.apply_started,
                drill.Drilled: drill.apply_drilled,
                drill.DrillStopped: drill.apply_stopped,
            },
            help="Rehearse hours without a network on a simulated daemon",
            example={"hours": 1, "operations": 100},
            cli="offline drill",
        ),
        read("queue", reads.ListQueue, reads.queue, help="What waits to be synced, oldest first", example={}, cli="offline queue"),
        read(
            "conflicts",
            reads.ListConflicts,
            reads.conflicts,
            help="Keys that were edited in two places at once",
            example={},
            cli="offline conflicts",
        ),
        write(
            "resolve",
            commands.Resolve,
            commands.decide_resolve,
            apply={events.ConflictResolved: events.apply_resolved},
            reply=commands.resolved,
            help="Say which revision of a key is to stay",
            example={"key": "agenda", "rev": "1-474aff53efa51dd750dca394f87eb774"},
            cli="offline resolve KEY REV",
        ),
        read("status", Nothing, reads.status, help="Keys, bytes, hits, and what waits to be synced", example={}, cli="offline"),
        internal("merge", commands.Merge, commands.decide_merge, apply={events.RevisionMerged: events.apply_merged}),
        internal("pushed", commands.Pushed, commands.decide_pushed, apply={events.RevisionsPushed: events.apply_pushed}),
        internal(
            "checkpoint", commands.SetCheckpoint, commands.decide_checkpoint, apply={events.SyncedUpTo: events.apply_checkpoint}
        ),
        internal("begin_sync", job.BeginSync, job.decide_begin),
        internal("job_ended", JobEnded, job.decide_ended),
        internal("cancel_job", CancelJob, job.decide_cancel),
        internal("expire", commands.ExpireValues, commands.decide_expire, apply={events.ValueExpired: events.apply_expired}),
    ],
)
