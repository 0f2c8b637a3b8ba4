"""What happened to the cache, and what each event means to the documents. Of each event at most one document changes."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.cache.model import DELETED, FAR, QUEUED, Body, Cache, Checkpoint, Document, grown
from core.canonical import payload_around
from core.engine import Event, Stamp
from core.fields import INT_MAX, Count, Frozen, privacy, words
from core.revisions import ID_CHARS_MAX, REVS_LIMIT, Branch, followed, packed_id, parse_rev

Key = Annotated[
    str,
    Meta(min_length=1, max_length=512, pattern=r"^[^_].{0,511}\Z"),
    privacy("public"),
    words("a key: 1 to 512 bytes without control characters, and no _ first"),
]
RevText = Annotated[
    str,
    Meta(min_length=3, max_length=80, pattern=r"^[1-9][0-9]{0,14}-[!-~]{1,64}\Z"),
    privacy("public"),
    words("a revision as get and list show it, such as 1-5d41402abc4b2a76b9719d911017c592"),
]
RevId = Annotated[
    str,
    Meta(min_length=1, max_length=ID_CHARS_MAX, pattern=r"^[!-~]{1,64}\Z"),
    privacy("public"),
    words("the id of a revision: 1 to 64 printable characters"),
]
Value = Annotated[Any, privacy("document")]
BlobHash = Annotated[
    str,
    Meta(max_length=64, pattern=r"^([0-9a-f]{64})?\Z"),
    privacy("public"),
    words("a SHA-256 hash: 64 of 0-9 and a-f, or nothing"),
]
Size = Annotated[int, Meta(ge=0, le=1_048_576)]
ExpiresUs = Annotated[int, Meta(ge=0, le=INT_MAX)]
Generation = Annotated[int, Meta(ge=1, le=INT_MAX)]
Remote = Annotated[str, Meta(min_length=1, max_length=200), privacy("public")]
Word = Annotated[str, Meta(max_length=4_096), privacy("public")]
MaybeKey = Annotated[str, Meta(max_length=512), privacy("public")]
MaybeRev = Annotated[str, Meta(max_length=80), privacy("public")]


class ValueSet(Event, type="cache.set"):
    """A key has a new value.

    key: its name
    rev: the new revision
    parent: the one before it; none for the first
    value: what it holds, if that is not large
    blob: SHA-256 of the canonical JSON of a large value, which is kept beside the log
    size: bytes of the value's canonical JSON
    expires_us: when it ends, in µs since 1970; 0 is never
    """

    key: Key
    rev: RevText
    size: Size
    parent: MaybeRev = ""
    value: Value = None
    blob: BlobHash = ""
    expires_us: ExpiresUs = 0


def set_payload(event: ValueSet, raw: bytes) -> bytes | None:
    """As `payload_around` makes it of an event whose value, which is not null, has these canonical bytes: its other fields are few,
    and in nearly every one of them nothing is to be escaped.
    """
    names = event.key + event.parent + event.rev
    if not (names.isascii() and names.isprintable()) or '"' in names or "\\" in names or event.blob or event.expires_us > INT_MAX:
        return payload_around(event, "value", raw)
    ends = f'"expires_us":{event.expires_us},' if event.expires_us else ""
    follows = f'"parent":"{event.parent}",' if event.parent else ""
    said = f'{{{ends}"key":"{event.key}",{follows}"rev":"{event.rev}","size":{event.size},"value":'
    return b"%b%b}" % (said.encode(), raw)


class ValueDeleted(Event, type="cache.deleted"):
    """A key has no value any more.

    key: its name
    rev: the revision that says so
    parent: the one before it
    """

    key: Key
    rev: RevText
    parent: RevText


class ValueExpired(Event, type="cache.expired"):
    """The time of a value is over.

    key: its name
    parent: the revision that ended
    rev: the deletion that follows it; none where no far end ever heard of the key, and it is forgotten altogether
    """

    key: Key
    parent: RevText
    rev: MaybeRev = ""


class Ended(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A leaf that was ended.

    parent: it
    rev: the deletion that follows it
    """

    parent: RevText
    rev: RevText


class ConflictResolved(Event, type="cache.resolved"):
    """One of several revisions stands, others were ended.

    key: its name
    rev: the revision that stands
    ended: the others
    """

    key: Key
    rev: RevText
    ended: list[Ended]


class RevisionMerged(Event, type="cache.merged"):
    """A revision came from the far end.

    key: its name
    generation: of the revision
    ids: its id, and those of the revisions before it down to one that was known
    deleted: whether it is a deletion
    value: what it holds, if that is not large
    blob: SHA-256 of the canonical JSON of a large value
    size: bytes of the value's canonical JSON
    expires_us: when it ends, in µs since 1970; 0 is never
    """

    key: Key
    generation: Generation
    ids: Annotated[list[RevId], Meta(min_length=1, max_length=REVS_LIMIT)]
    deleted: bool = False
    value: Value = None
    blob: BlobHash = ""
    size: Size = 0
    expires_us: ExpiresUs = 0


class RevisionsPushed(Event, type="cache.pushed"):
    """The far end has confirmed what was sent.

    remote: the far end
    keys: those of which it has everything
    behind: those that have changed since they were sent
    """

    remote: Remote
    keys: list[Key] = []
    behind: list[Key] = []


class SyncedUpTo(Event, type="cache.checkpoint"):
    """How far the work with a far end has come.

    remote: the far end
    cursor: its own word for how far we have read it
    last_key: the last key that came from it
    pushed_seq: up to this record of this log it has all our changes
    """

    remote: Remote
    cursor: Word
    last_key: MaybeKey
    pushed_seq: Count


class OnlineSet(Event, type="cache.online_set"):
    """Whether the far end may be talked to.

    online: whether it may
    """

    online: bool


REMOTES_MAX = 16
"""Far ends of which a checkpoint is kept; the one worked with longest ago goes first."""


def apply_set(cache: Cache, event: ValueSet, stamp: Stamp) -> None:
    old = cache.docs.get(event.key)
    body = Body(stamp.seq, event.size, event.expires_us, event.blob)
    cache.put(event.key, _followed(old, event.parent, event.rev, body, stamp.seq))


def apply_deleted(cache: Cache, event: ValueDeleted | ValueExpired, stamp: Stamp) -> None:
    cache.put(event.key, _followed(cache.docs.get(event.key), event.parent, event.rev, None, stamp.seq))


def apply_expired(cache: Cache, event: ValueExpired, stamp: Stamp) -> None:
    if event.rev:
        apply_deleted(cache, event, stamp)
    elif event.key in cache.docs:
        cache.forget(event.key)


def _followed(old: Document | None, parent: str, rev: str, body: Body | None, seq: int) -> Document:
    """A document with one revision of our own more, which waits to be synced."""
    flags = old.flags | QUEUED if old is not None else QUEUED
    number, _, id = rev.partition("-")  # as its type says
    generation, packed = int(number), packed_id(id)
    if packed is None or (old.branches is not None or old.rev != parent if old is not None else bool(parent)):
        ids = (id, parse_rev(parent)[1]) if parent else (id,)
        return grown(old, Branch(body is None, generation, ids), body, seq, flags)
    ids_packed = followed(old.ids, packed) if old is not None else packed
    if body is None:
        return Document(ids_packed, generation, 0, 0, 0, seq, flags | DELETED)
    return Document(ids_packed, generation, seq, body.size, body.expires_us, seq, flags & ~DELETED, body.blob)


def apply_resolved(cache: Cache, event: ConflictResolved, stamp: Stamp) -> None:
    doc = cache.docs[event.key]
    for each in event.ended:
        generation, id = parse_rev(each.rev)
        branch = Branch(True, generation, (id, parse_rev(each.parent)[1]))
        doc = grown(doc, branch, None, stamp.seq, doc.flags | QUEUED)
    cache.put(event.key, doc)


def apply_merged(cache: Cache, event: RevisionMerged, stamp: Stamp) -> None:
    old = cache.docs.get(event.key)
    branch = Branch(event.deleted, event.generation, tuple(event.ids))
    body = None if event.deleted else Body(stamp.seq, event.size, event.expires_us, event.blob)
    doc = grown(old, branch, body, stamp.seq, (old.flags if old is not None else 0) | FAR)
    if doc.queued and [leaf.rev for leaf in doc.tree] == [branch.rev]:  # it followed all that we had: nothing of ours is news
        doc = msgspec.structs.replace(doc, flags=doc.flags & ~QUEUED)
    cache.put(event.key, doc)


def apply_pushed(cache: Cache, event: RevisionsPushed, stamp: Stamp) -> None:
    for key in event.keys:
        if (doc := cache.docs.get(key)) is not None:
            cache.mark(key, doc.flags & ~QUEUED | FAR)
    for key in event.behind:
        if (doc := cache.docs.get(key)) is not None:
            cache.mark(key, doc.flags | FAR)


def apply_checkpoint(cache: Cache, event: SyncedUpTo, stamp: Stamp) -> None:
    cache.checkpoints.pop(event.remote, None)
    cache.checkpoints[event.remote] = Checkpoint(event.cursor, event.last_key, event.pushed_seq, stamp.time_us)
    while len(cache.checkpoints) > REMOTES_MAX:
        del cache.checkpoints[next(iter(cache.checkpoints))]


def apply_online(cache: Cache, event: OnlineSet, stamp: Stamp) -> None:
    cache.online = event.online
