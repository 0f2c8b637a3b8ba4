"""What may be asked of the cache, and what it leads to.

A write never waits for a network: it succeeds, and what the far end has not confirmed waits in the queue. Nothing unsynced is
ever dropped; the one thing that is refused for want of room is more.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.cache.events import (
    REMOTES_MAX as REMOTES_MAX,
)
from core.cache.events import (
    ConflictResolved,
    Ended,
    ExpiresUs,
    Key,
    MaybeKey,
    OnlineSet,
    Remote,
    RevId,
    RevisionMerged,
    RevisionsPushed,
    RevText,
    Size,
    SyncedUpTo,
    ValueDeleted,
    ValueExpired,
    ValueSet,
    Word,
    set_payload,
)
from core.cache.form import Body, body_of, check_key, own_body
from core.cache.model import COST_BYTES, DELETED, FAR, Cache, Document
from core.engine import NOTHING, RECORD_VALUE_BYTES_MAX, Command, Context, Decision, Event, Large, Made, Refused, Result
from core.fields import Count, Frozen, Seconds
from core.revisions import ID_CHARS_MAX, REVS_LIMIT, Branch, Contradiction, Tree, merge, next_rev, rev_text, trimmed
from core.revisions import known as known_in
from core.times import time_text
from core.world import EVENTS_MAX

GENERATION_TAKEN_MAX = 900_000_000_000_000
"""Of the far end's revisions. A revision is written with at most 15 digits, and what comes must leave room for edits."""
EXPIRED_AT_ONCE_MAX = 128
ENDED_AT_ONCE_MAX = 256
"""Conflicting revisions of one key that one `resolve` ends."""
PUSHED_BYTES_MAX = 40_000
"""Of the keys in one record; more go into further ones."""
PATH_BYTES_MAX = 36_000
"""Of the ids in one record, beside which its value still fits."""
PATH_IDS_SURE = PATH_BYTES_MAX // (ID_CHARS_MAX + 3)
"""So many fit, however long they are."""


class Set(Command):
    """Gives a key a value.

    key: its name; it is not private, and is shown wherever events are
    value: any JSON value of at most 1 MiB; members of an object may not begin with _
    ttl_s: seconds after which it is gone; without it the value stays
    if_rev: only if this is the current revision
    """

    key: Key
    value: Any
    ttl_s: Seconds | None = None
    if_rev: RevText | None = None


class Delete(Command):
    """Takes a key's value away.

    key: its name
    if_rev: only if this is the current revision
    """

    key: Key
    if_rev: RevText | None = None


class SetOnline(Command):
    """Says whether the far end may be talked to.

    online: whether it may
    """

    online: bool


class Resolve(Command):
    """Ends all revisions of a key that are in conflict, but one.

    key: its name
    rev: the revision that stays
    """

    key: Key
    rev: RevText


class Incoming(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A revision of the far end, as `form.incoming` makes it of a document.

    key: of the document
    generation: of the revision
    ids: its id, and those of the revisions before it
    deleted: whether it is a deletion
    value: what it holds; a large one as the blob that it was stored as
    expires_us: when it ends; 0 is never
    size: bytes of its value's canonical JSON, where that was made before; 0 is not known
    """

    key: Key
    generation: Annotated[int, Meta(ge=1, le=GENERATION_TAKEN_MAX)]
    ids: Annotated[list[RevId], Meta(min_length=1, max_length=REVS_LIMIT)]
    deleted: bool = False
    value: Any = None
    expires_us: ExpiresUs = 0
    size: Size = 0


class Merge(Command):
    """Takes in revisions of the far end; at most 256 new ones, of at most 1 MiB together.

    documents: the revisions
    """

    documents: Annotated[list[Incoming], Meta(max_length=EVENTS_MAX)]


class Sent(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What the far end has confirmed of a key.

    key: its name
    revs: the leaves that it has
    """

    key: Key
    revs: Annotated[list[RevText], Meta(max_length=1_000)]


class Pushed(Command):
    """Records what the far end has confirmed.

    remote: the far end
    documents: what it has
    """

    remote: Remote
    documents: Annotated[list[Sent], Meta(max_length=1_000)]


class SetCheckpoint(Command):
    """Records how far the work with the far end has come, after its effect is confirmed.

    remote: the far end
    cursor: its own word for how far we have read it
    last_key: the last key that came from it
    pushed_seq: up to this record of this log it has all our changes
    """

    remote: Remote
    cursor: Word
    last_key: MaybeKey
    pushed_seq: Count


class ExpireValues(Command):
    """Removes values whose time is over."""


class Written(Result):
    """A key after a write.

    key: its name
    rev: its current revision
    expires_at: when it ends
    """

    key: str
    rev: str
    expires_at: str | None = None


class Resolved(Result):
    """A key after a conflict was resolved.

    key: its name
    rev: the revision that stands
    ended: the revisions that do not
    """

    key: str
    rev: str
    ended: list[str]


# --- a value is set or deleted ----------------------------------------------------------------------------------------------


def decide_set(cache: Cache, command: Set, ctx: Context) -> Decision:
    check_key(command.key)
    body = own_body(command.value)
    old = cache.docs.get(command.key)
    _expect(command.key, old, command.if_rev)
    expires_us = ctx.now_us + max(1, round(command.ttl_s * 1e6)) if command.ttl_s is not None else 0
    parent, generation = (old.rev, old.generation + 1) if old is not None else ("", 1)
    rev = next_rev(parent, deleted=False, body=body.sha256, expires_us=expires_us, generation=generation)
    _expect_room(cache, body.size + COST_BYTES - (_held_by_winner(old) if old is not None else 0), ctx)
    event = ValueSet(command.key, rev, body.size, parent, body.value, body.blob, expires_us)
    payload = set_payload(event, body.raw) if body.value is not None else None
    return Decision(event, made=Made(payload, command.key, body.raw) if payload is not None else None)


def _held_by_winner(doc: Document) -> int:
    return COST_BYTES + doc.size if not doc.flags & DELETED else COST_BYTES if doc.branches is None else 0


def written(events: Sequence[Event]) -> Written:
    event = events[0]
    if isinstance(event, ValueSet):
        return Written(event.key, event.rev, time_text(event.expires_us) if event.expires_us else None)
    assert isinstance(event, ValueDeleted)
    return Written(event.key, event.rev)


def decide_delete(cache: Cache, command: Delete, ctx: Context) -> Decision:
    doc = found(cache, command.key, ctx)
    _expect(command.key, doc, command.if_rev)
    return Decision(ValueDeleted(command.key, next_rev(doc.rev, deleted=True), doc.rev))


def found(cache: Cache, key: str, ctx: Context) -> Document:
    """A key that has a value now. Raises Refused, saying why it has none."""
    doc = cache.docs.get(key)
    if doc is None:
        text = f"{key}: no such key: it was never set, or its time ended and it was forgotten. See: irerctl cache ls"
        raise Refused("not-found", text, reason="never-set")
    if not doc.live:
        raise Refused("not-found", f"{key}: it was deleted (revision {doc.rev}). Set it again to use it", reason="deleted")
    if 0 < doc.expires_us <= ctx.now_us:
        text = f"{key}: its time ended at {time_text(doc.expires_us)}. Set it again, with a longer ttl_s if it is to stay"
        raise Refused("not-found", text, reason="expired")
    return doc


def _expect(key: str, doc: Document | None, if_rev: str | None) -> None:
    """Raises Refused where the caller has read another revision than the current one."""
    if if_rev is None or (doc is not None and doc.rev == if_rev):
        return
    now = f"it is at {doc.rev}" if doc is not None else "it is not there"
    text = f"{key}: {now}, not at {if_rev}. Read it again, then retry with the revision that you get"
    raise Refused("aborted", text, reason="if-rev", data={"rev": doc.rev} if doc is not None else None)


def _expect_room(cache: Cache, more: int, ctx: Context) -> None:
    limit = ctx.settings.cache.bytes_max
    if more > 0 and cache.bytes + more > limit:
        text = (
            f"the cache holds {cache.bytes:,} bytes, and {more:,} more would pass cache.bytes_max ({limit:,}). "
            "Delete some keys, or raise cache.bytes_max in the configuration and run: irerctl reload"
        )
        raise Refused("resource-exhausted", text, reason="cache-full")


def decide_online(cache: Cache, command: SetOnline, ctx: Context) -> Decision:
    return NOTHING if cache.online == command.online else Decision(OnlineSet(command.online))


# --- conflicts ----------------------------------------------------------------------------------------------------------------


def decide_resolve(cache: Cache, command: Resolve, ctx: Context) -> Decision:
    doc = found(cache, command.key, ctx)
    leaves = [doc.rev, *doc.conflicts]
    if command.rev not in leaves:
        text = (
            f"{command.key}: {command.rev} is none of its current revisions ({', '.join(leaves[:4])}). See: irerctl cache conflicts"
        )
        raise Refused("aborted", text, reason="rev", data={"revs": leaves[:100]})
    others = [rev for rev in leaves if rev != command.rev][:ENDED_AT_ONCE_MAX]
    if not others:
        return NOTHING
    ended = [Ended(rev, next_rev(rev, deleted=True)) for rev in others]
    return Decision(ConflictResolved(command.key, command.rev, ended))


def resolved(events: Sequence[Event]) -> Resolved:
    event = events[0]
    assert isinstance(event, ConflictResolved)
    return Resolved(event.key, event.rev, [each.parent for each in event.ended])


# --- the far end --------------------------------------------------------------------------------------------------------------


def decide_merge(cache: Cache, command: Merge, ctx: Context) -> Decision:
    """What is known already leads to nothing. All or none of the rest."""
    trees: dict[str, Tree] = {}
    events: list[RevisionMerged] = []
    for each in command.documents:
        tree = trees.get(each.key)
        if tree is None:
            doc = cache.docs.get(each.key)
            tree = doc.tree if doc is not None else ()
        branch = _branch(each)
        if not tree:
            trees[each.key] = (branch,)
            events.append(_merged(each, branch))
            continue
        if known_in(tree, branch.rev):
            continue
        try:
            trees[each.key] = merge(tree, (branch,))
        except Contradiction as contradiction:
            raise Refused("invalid-argument", f"{each.key}: {contradiction}", reason="revisions") from None
        events.append(_merged(each, trimmed(tree, branch)))
    _expect_room(cache, sum(event.size + COST_BYTES for event in events if not event.deleted), ctx)
    return Decision(*events)


def _branch(each: Incoming) -> Branch:
    check_key(each.key)
    if len(each.ids) > each.generation:
        text = f"{each.key}: {len(each.ids)} revisions up to generation {each.generation}"
        raise Refused("invalid-argument", text, reason="revisions")
    if len(each.ids) <= PATH_IDS_SURE:
        return Branch(each.deleted, each.generation, tuple(each.ids))
    ids: list[str] = []
    room = PATH_BYTES_MAX
    for id in each.ids:
        room -= len(id) + 3
        if room < 0:
            break
        ids.append(id)
    return Branch(each.deleted, each.generation, tuple(ids))


def _merged(each: Incoming, branch: Branch) -> RevisionMerged:
    ids = list(branch.ids)
    if each.deleted:
        return RevisionMerged(each.key, branch.generation, ids, True)
    if 0 < each.size <= RECORD_VALUE_BYTES_MAX and not isinstance(each.value, Large):
        return RevisionMerged(each.key, branch.generation, ids, False, each.value, "", each.size, each.expires_us)
    body: Body = body_of(each.value)
    return RevisionMerged(each.key, branch.generation, ids, False, body.value, body.blob, body.size, each.expires_us)


def decide_pushed(cache: Cache, command: Pushed, ctx: Context) -> Decision:
    """Only what is still as it was sent leaves the queue."""
    events: list[RevisionsPushed] = []
    whole: list[str] = []
    behind: list[str] = []
    size = 0
    for sent in {each.key: each for each in command.documents}.values():
        doc = cache.docs.get(sent.key)
        if doc is None:
            continue
        if doc.rev in sent.revs if doc.branches is None else {rev_text(leaf.rev) for leaf in doc.tree} <= set(sent.revs):
            if not doc.queued and doc.flags & FAR:
                continue
            whole.append(sent.key)
        elif doc.flags & FAR:
            continue
        else:
            behind.append(sent.key)
        size += len(sent.key.encode()) * 2 + 3
        if size > PUSHED_BYTES_MAX:
            events.append(RevisionsPushed(command.remote, whole, behind))
            whole, behind, size = [], [], 0
    if whole or behind:
        events.append(RevisionsPushed(command.remote, whole, behind))
    return Decision(*events)


def decide_checkpoint(cache: Cache, command: SetCheckpoint, ctx: Context) -> Decision:
    known = cache.checkpoints.get(command.remote)
    said = (command.cursor, command.last_key, command.pushed_seq)
    if known is not None and (known.cursor, known.last_key, known.pushed_seq) == said:
        return NOTHING
    return Decision(SyncedUpTo(command.remote, *said))


# --- time -----------------------------------------------------------------------------------------------------------------------


def decide_expire(cache: Cache, command: ExpireValues, ctx: Context) -> Decision:
    """A deletion of which every replica makes the same revision; of a key that no far end has heard of, nothing is left."""
    events: list[Event] = []
    for key in cache.ends.due(ctx.now_us, EXPIRED_AT_ONCE_MAX):
        doc = cache.docs[key]
        unknown = not doc.flags & FAR and doc.branches is None
        events.append(ValueExpired(key, doc.rev, "" if unknown else next_rev(doc.rev, deleted=True)))
    return Decision(*events)
