"""What a replicator needs of the cache, as pure functions: what has changed, what is missing, and documents both ways.

It knows no network. Sizes are bounded, so that a batch is what one request and one command can hold.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from core.cache.commands import Incoming
from core.cache.form import canonical, check_key, loaded, members, plain_members, value_of
from core.cache.model import FAR, Cache
from core.cache.reads import place_of
from core.engine import RECORD_VALUE_BYTES_MAX, Place, Refused
from core.revisions import REVS_LIMIT, Missing, missing, parse_rev, unpacked_ids

_json = msgspec.json.Encoder()

RECORD_BYTES = 1_024
"""Of a record beside its key, its revisions and its value."""


class Change(NamedTuple):
    """A document as its last change left it."""

    seq: int
    """Record of the log; each change has its own."""
    key: str
    revs: list[str]
    """All leaves, the winner first."""
    fresh: bool = False
    """No far end has confirmed any revision of it: it need not be asked whether it is there."""


class Leaf(NamedTuple):
    """One leaf as it is sent: `place` says where its value stands, None for a deletion."""

    key: str
    rev: str
    generation: int
    ids: tuple[str, ...]
    place: Place | None
    size: int
    expires_us: int


def changes_since(cache: Cache, seq: int, limit: int) -> list[Change]:
    """At most `limit` documents that changed after record `seq`, the oldest change first."""
    return _changes(cache, cache.changes.after(seq), limit)


def waiting(cache: Cache, seq: int, limit: int) -> list[Change]:
    """The same, of what the far end has not confirmed."""
    return _changes(cache, cache.queue.after(seq), limit)


def _changes(cache: Cache, entries: Iterable[tuple[int, str]], limit: int) -> list[Change]:
    found: list[Change] = []
    for seq, key in entries:
        if len(found) == limit:
            break
        doc = cache.docs[key]
        revs = [doc.rev] if doc.branches is None else [leaf.text for leaf in doc.tree]
        found.append(Change(seq, key, revs, not doc.flags & FAR))
    return found


def leaf_bodies(cache: Cache, key: str, revs: Iterable[str] | None = None) -> list[Leaf]:
    """The leaves of a document, or those of them that are asked for."""
    doc = cache.docs.get(key)
    if doc is None:
        return []
    wanted = None if revs is None else set(revs)
    if doc.branches is None:
        rev = doc.rev
        if wanted is not None and rev not in wanted:
            return []
        place = Place(key, doc.at, doc.blob) if doc.live else None
        size, expires_us = (doc.size, doc.expires_us) if doc.live else (0, 0)
        return [Leaf(key, rev, doc.generation, unpacked_ids(doc.ids), place, size, expires_us)]
    bodies = doc.bodies
    leaves: list[Leaf] = []
    for leaf in doc.tree:
        if wanted is not None and leaf.text not in wanted:
            continue
        body = bodies.get(leaf.text)
        place = place_of(key, leaf.text, doc, body) if body is not None else None
        size, expires_us = (body.size, body.expires_us) if body is not None else (0, 0)
        leaves.append(Leaf(key, leaf.text, leaf.generation, leaf.ids, place, size, expires_us))
    return leaves


def revs_diff(cache: Cache, asked: Mapping[str, Iterable[str]]) -> dict[str, Missing]:
    """Of documents and revisions those that are not here: the answer to `_revs_diff`. Raises Refused for what is no revision."""
    found: dict[str, Missing] = {}
    for key, revs in asked.items():
        doc = cache.docs.get(key)
        if doc is not None and doc.branches is None and revs == [doc.rev]:
            continue
        try:
            absent = missing(doc.tree if doc is not None else (), revs)
        except ValueError as error:
            raise Refused("invalid-argument", f"{key}: {error}", reason="revisions") from None
        if absent.missing:
            found[key] = absent
    return found


def outgoing(leaf: Leaf, value: Any) -> dict[str, Any]:
    """The document to send with `new_edits=false`; `value` is what stands at its place."""
    body = {} if leaf.place is None else members(value, leaf.expires_us)
    body |= {"_id": leaf.key, "_rev": leaf.rev, "_revisions": {"start": leaf.generation, "ids": list(leaf.ids)}}
    if leaf.place is None:
        body["_deleted"] = True
    return body


def outgoing_raw(leaf: Leaf, raw: bytes | None) -> bytes:
    """The same as JSON; `raw` is the value's canonical one, which mostly stands in the document as it is."""
    plain = plain_members(raw) if raw is not None and not leaf.expires_us else None
    if plain is None:
        return _json.encode(outgoing(leaf, None if raw is None else loaded(raw)))
    own = {"_id": leaf.key, "_rev": leaf.rev, "_revisions": {"start": leaf.generation, "ids": leaf.ids}}
    head = _json.encode(own)[:-1]
    return b"%b,%b}" % (head, plain) if plain else head + b"}"


class Arrived(NamedTuple):
    """A document of the far end, to be merged. `large` is its value's canonical JSON where that is to be stored as a blob first;
    `Large` then takes the place of `incoming.value`."""

    incoming: Incoming
    large: bytes | None
    size: int
    """Bytes that its record takes, at most."""


BATCH_BYTES_MAX = 900_000
BATCH_RECORDS_MAX = 256


def batches(arrived: Iterable[Arrived]) -> Iterator[list[Arrived]]:
    """What one `Merge` each can hold. One that is refused is to be given again document by document: one bad one spoils it."""
    batch: list[Arrived] = []
    size = 0
    for each in arrived:
        if batch and (size + each.size > BATCH_BYTES_MAX or len(batch) == BATCH_RECORDS_MAX):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += each.size
    if batch:
        yield batch


def incoming(document: Mapping[str, Any]) -> Arrived:
    """Raises Refused, saying which document cannot be taken in and why: it is left out, and the others go on."""
    key = document.get("_id")
    name = str(key)[:80] if isinstance(key, str) else "a document without _id"
    if document.get("_attachments"):
        text = f"{name}: it has attachments, which the cache does not hold. Remove them there, or keep it out of this database"
        raise Refused("unimplemented", text, reason="attachments")
    try:
        generation, id = parse_rev(str(document.get("_rev")))
        revisions = document.get("_revisions") or {"start": generation, "ids": [id]}
        if revisions["start"] != generation or revisions["ids"][0] != id:
            raise ValueError("_rev and _revisions do not agree")
        body = {name: value for name, value in document.items() if not name.startswith("_")}
        deleted = document.get("_deleted") is True
        value, expires_us = (None, 0) if deleted else value_of(body)
        raw = canonical(value)
        ids = list(revisions["ids"])[:REVS_LIMIT]
        said = {"key": key, "generation": generation, "ids": ids, "deleted": deleted, "expires_us": expires_us, "size": len(raw)}
        made = msgspec.convert(said, Incoming, strict=True)
        key = made.key
        check_key(key)
    except (ValueError, LookupError, TypeError, msgspec.ValidationError) as error:
        raise Refused("invalid-argument", f"{name}: it is no document that can be merged ({error})", reason="document") from None
    large = raw if len(raw) > RECORD_VALUE_BYTES_MAX else None
    size = RECORD_BYTES + 2 * len(key.encode()) + sum(len(id) + 3 for id in ids) + (len(raw) if large is None else 0)
    return Arrived(Incoming(key, made.generation, made.ids, deleted, value, made.expires_us, made.size), large, size)
