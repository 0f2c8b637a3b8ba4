"""What may be asked of the cache without changing it. Values are read by whoever holds the log: here is said where they stand."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta

from core.cache.commands import found
from core.cache.drill import LastDrill, last
from core.cache.events import Key, RevText
from core.cache.form import loaded, loader
from core.cache.model import DELETED, Body, Cache, Document
from core.engine import Check, Command, Context, Fetch, Kept, Nothing, Place, Refused, Result
from core.fields import INT_MAX, Count, Limit
from core.paging import Room
from core.times import time_text

Prefix = Annotated[str, Meta(max_length=512)]


class Get(Command):
    """Asks for a value.

    key: its name
    rev: another of its current revisions, where they are in conflict
    """

    key: Key
    rev: RevText | None = None


class Entry(Result):
    """A key and its value.

    key: its name
    value: what was set
    rev: its revision
    expires_at: when it ends
    conflicts: other revisions that stand beside it; resolve says which one is to stay
    """

    key: str
    value: Any
    rev: str
    expires_at: str | None = None
    conflicts: list[str] = []


def get(cache: Cache, params: Get, ctx: Context) -> Fetch:
    key, doc = params.key, cache.docs.get(params.key)
    if doc is None or doc.branches is not None or doc.flags & DELETED or doc.expires_us or params.rev is not None:
        return _get_judged(cache, params, ctx)

    def then(values: Sequence[bytes]) -> Entry:  # nearly every one: a document never changes, so its revision can wait
        return Entry(key, loaded(values[0]), doc.rev)

    return Fetch((Place(key, doc.at, doc.blob),), then)


def quick_find(cache: Cache, params: Get, kept: Mapping[str, Kept]) -> Kept | None:
    """A value in memory of a key that was edited in one place and does not end by time: nearly every one."""
    key = params.key
    known, doc = kept.get(key), cache.docs.get(key)
    if known is None or doc is None or params.rev is not None:
        return None
    if known.of is not doc:  # a document never changes: another one stands in its place
        if doc.branches is not None or doc.flags & DELETED or doc.expires_us or known.seq != doc.at:
            return None
        known.of = doc
        if known.load is None:  # one record holds one value of one revision
            known.note, known.load = doc.rev, loader(known.raw)
    return known


def quick_answer(params: Get, known: Kept) -> Entry:
    return Entry(params.key, known.load(known.raw), known.note)


def _get_judged(cache: Cache, params: Get, ctx: Context) -> Fetch:
    """A key that ends, that is in conflict, that another revision is asked of, or that is not there."""
    doc = found(cache, params.key, ctx)
    winner = doc.rev
    rev = params.rev if params.rev is not None else winner
    conflicts: list[str] = []
    if doc.branches is None and rev == winner:
        place, expires_us = Place(params.key, doc.at, doc.blob), doc.expires_us
    else:
        body = doc.bodies.get(rev)
        if body is None:
            text = f"{params.key}: {rev} is none of its current revisions; it is at {winner}. See: irerctl cache conflicts"
            raise Refused("not-found", text, reason="rev", data={"revs": list(doc.bodies)[:100]})
        conflicts = [other for other in doc.bodies if other != rev][:100]
        place, expires_us = place_of(params.key, rev, doc, body), body.expires_us
    expires_at = time_text(expires_us) if expires_us else None

    def then(values: Sequence[bytes]) -> Entry:
        return Entry(params.key, loaded(values[0]), rev, expires_at, conflicts)

    return Fetch((place,), then)


def place_of(key: str, rev: str, doc: Document, body: Body) -> Place:
    """The winner's value goes by its key, so that a newer one takes its place; others by their revision."""
    return Place(key if rev == doc.rev else f"{key}\0{rev}", body.at, body.blob)


class ListKeys(Command):
    """Which keys to list.

    prefix: how their names begin
    limit: at most so many
    after: names after this one
    """

    prefix: Prefix = ""
    limit: Limit = 1_000
    after: Prefix = ""


class Listed(Result):
    """One key.

    key: its name
    rev: its revision
    bytes: of its value's JSON
    expires_at: when it ends
    conflicts: how many other revisions stand beside it
    """

    key: str
    rev: str
    bytes: Count
    expires_at: str | None = None
    conflicts: Count = 0


class Keys(Result):
    """Keys by name.

    keys: those found
    next: the `after` that goes on from here, where there are more
    """

    keys: list[Listed]
    next: str | None = None


def list_keys(cache: Cache, params: ListKeys, ctx: Context) -> Keys:
    keys: list[Listed] = []
    room = Room()
    start = max(params.after, params.prefix)
    for key in cache.names.after(start, included=start > params.after or not params.after):
        if not key.startswith(params.prefix):
            break
        doc = cache.docs[key]
        if 0 < doc.expires_us <= ctx.now_us:
            continue
        expires_at = time_text(doc.expires_us) if doc.expires_us else None
        row = Listed(key, doc.rev, doc.size, expires_at, len(doc.conflicts))
        if len(keys) == params.limit or not room.take(row):
            return Keys(keys, keys[-1].key)
        keys.append(row)
    return Keys(keys)


class ListQueue(Command):
    """What to list of the queue.

    limit: at most so many
    after: changes after this record of the log
    """

    limit: Limit = 1_000
    after: Count | None = None


class Waiting(Result):
    """A key that the far end does not have yet as it is here.

    key: its name
    rev: its revision
    seq: the record of the log that changed it last
    deleted: whether it was deleted
    bytes: of its value's JSON
    """

    key: str
    rev: str
    seq: Count
    deleted: bool
    bytes: Count


class Queue(Result):
    """What waits to be synced, the oldest change first.

    count: keys that wait in all
    online: whether the far end may be talked to
    keys: those found
    next: the `after` that goes on from here, where there are more
    """

    count: Count
    online: bool
    keys: list[Waiting]
    next: Count | None = None


def queue(cache: Cache, params: ListQueue, ctx: Context) -> Queue:
    keys: list[Waiting] = []
    room = Room()
    for seq, key in cache.queue.after(-1 if params.after is None else params.after):
        doc = cache.docs[key]
        row = Waiting(key, doc.rev, seq, not doc.live, doc.size)
        if len(keys) == params.limit or not room.take(row):
            return Queue(len(cache.queue), cache.online, keys, keys[-1].seq)
        keys.append(row)
    return Queue(len(cache.queue), cache.online, keys)


class ListConflicts(Command):
    """Which conflicts to list.

    limit: at most so many keys
    after: keys after this one
    """

    limit: Limit = 1_000
    after: Prefix = ""


class Conflict(Result):
    """A key with more than one current revision.

    key: its name
    rev: the one that is shown everywhere else
    others: the others, at most 100
    """

    key: str
    rev: str
    others: list[str]


class Conflicts(Result):
    """Keys that were edited in two places at once.

    count: how many there are in all
    keys: those found
    next: the `after` that goes on from here, where there are more
    """

    count: Count
    keys: list[Conflict]
    next: str | None = None


def conflicts(cache: Cache, params: ListConflicts, ctx: Context) -> Conflicts:
    keys: list[Conflict] = []
    room = Room()
    for key in cache.conflicted.after(params.after, included=not params.after):
        doc = cache.docs[key]
        row = Conflict(key, doc.rev, doc.conflicts[:100])
        if len(keys) == params.limit or not room.take(row):
            return Conflicts(cache.conflicted_count, keys, keys[-1].key)
        keys.append(row)
    return Conflicts(cache.conflicted_count, keys)


class CacheStatus(Result):
    """The cache in one object.

    online: whether the far end may be talked to
    keys: keys with a value
    bytes: what they take, and what each key costs beside its value
    bytes_max: what they may take
    queue: keys that wait to be synced
    conflicts: keys with more than one current revision
    hot_bytes: values in memory
    hits: gets that found a value, since the daemon started
    misses: gets that found none
    from_memory: values that were found in memory
    from_disk: values that were read from disk
    last_sync: when the last sync ended
    drill: the last offline drill
    """

    online: bool
    keys: Count
    bytes: Count
    bytes_max: Count
    queue: Count
    conflicts: Count
    hot_bytes: Count
    hits: Count
    misses: Count
    from_memory: Count
    from_disk: Count
    last_sync: str | None = None
    drill: LastDrill | None = None


def status(cache: Cache, params: Nothing, ctx: Context) -> CacheStatus:
    seen = ctx.seen("cache")
    last_us = max((checkpoint.time_us for checkpoint in cache.checkpoints.values()), default=0)
    return CacheStatus(
        online=cache.online,
        keys=cache.live,
        bytes=min(cache.bytes, INT_MAX),
        bytes_max=ctx.settings.cache.bytes_max,
        queue=len(cache.queue),
        conflicts=cache.conflicted_count,
        hot_bytes=seen.memory_bytes,
        hits=seen.hits,
        misses=seen.misses,
        from_memory=seen.from_memory,
        from_disk=seen.from_disk,
        last_sync=time_text(last_us) if last_us else None,
        drill=last(cache),
    )


FULL = 0.9
"""Of what the cache may take: from here on `health` says so."""


def checks(cache: Cache, ctx: Context) -> list[Check]:
    limit = ctx.settings.cache.bytes_max
    if cache.bytes < FULL * limit:
        return [Check("cache", "ok")]
    text = f"holds {cache.bytes:,} of {limit:,} bytes (cache.bytes_max). Delete some keys, or raise it in the configuration"
    return [Check("cache", "degraded", text)]
