"""What the cache knows: of each key its revisions and where its values stand, never the values themselves.

There may be a million keys, so a key that was only ever edited in one place takes a few hundred bytes; one with conflicts takes
what it needs. Of each record at most one document changes, so the number of a record orders the changes too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, repeat
from operator import attrgetter, eq
from typing import Any

import msgspec

from core.cache.order import Ends, Line, Names
from core.cache.runs import Drills, Runs
from core.fields import Frozen
from core.revisions import Branch, Tree, merge, pack, unpack

COST_BYTES = 512
"""What a key takes on the disk beside its value, counted towards `cache.bytes_max`."""
DELETED = 1
QUEUED = 2
"""Holds what the far end has not confirmed."""
FAR = 4
"""The far end has heard of this key, or may have."""


class Body(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Where the value of one leaf stands."""

    at: int
    """The record."""
    size: int
    expires_us: int = 0
    blob: str = ""


class Branches(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The revisions of a document that has more than one leaf, or foreign ids; the value of each live leaf."""

    tree: tuple[tuple[bool, int, tuple[str, ...]], ...]
    bodies: dict[str, Body]


class Document(msgspec.Struct, metaclass=Frozen, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One key. All but `branches` is about the winner."""

    ids: bytes
    """Its compact path; empty where `branches` says it."""
    generation: int
    at: int
    size: int
    expires_us: int
    changed: int
    """The record that changed it last."""
    flags: int
    blob: str = ""
    branches: Branches | None = None

    @property
    def live(self) -> bool:
        return not self.flags & DELETED

    @property
    def queued(self) -> bool:
        return bool(self.flags & QUEUED)

    @property
    def rev(self) -> str:
        if self.branches is not None:
            _, generation, ids = self.branches.tree[0]
            return f"{generation}-{ids[0]}"
        return f"{self.generation}-{self.ids[:16].hex()}"

    @property
    def tree(self) -> Tree:
        if self.branches is not None:
            return tuple(Branch(*branch) for branch in self.branches.tree)
        return (unpack(not self.live, self.generation, self.ids),)

    @property
    def bodies(self) -> Mapping[str, Body]:
        """The value of each live leaf, by revision."""
        if self.branches is not None:
            return self.branches.bodies
        return {self.rev: Body(self.at, self.size, self.expires_us, self.blob)} if self.live else {}

    @property
    def conflicts(self) -> list[str]:
        """Live leaves other than the winner."""
        if self.branches is None:
            return []
        return [f"{generation}-{ids[0]}" for deleted, generation, ids in self.branches.tree[1:] if not deleted]

    @property
    def held(self) -> int:
        """Bytes counted towards `cache.bytes_max`."""
        if self.branches is None:
            return COST_BYTES + self.size
        return sum(COST_BYTES + body.size for body in self.branches.bodies.values()) or COST_BYTES


def document(tree: Tree, bodies: Mapping[str, Body], changed: int, flags: int) -> Document:
    """In its smallest form. `bodies` may hold more than the live leaves."""
    first = tree[0]
    flags = flags & ~DELETED | (DELETED if first.deleted else 0)
    body = _NONE if first.deleted else bodies[first.text]
    ids = pack(tree)
    branches = None
    if ids is None:
        live = {branch.text: bodies[branch.text] for branch in tree if not branch.deleted}
        branches = Branches(tuple((leaf.deleted, leaf.generation, leaf.ids) for leaf in tree), live)
    at = changed if body.at == changed else body.at  # one number, not two that are equal
    return Document(ids or b"", first.generation, at, body.size, body.expires_us, changed, flags, body.blob, branches)


_NONE = Body(0, 0)
_NEVER = Document(b"", 0, 0, 0, 0, -1, 0)
"""In place of one that is not there: no record changed it."""
_changed = attrgetter("changed")


def _differ_in_size_alone(old: Document, new: Document) -> bool:
    """Of what the cache counts: nearly every edit of a key that is there."""
    return (
        old.branches is None
        and new.branches is None
        and not (old.flags | new.flags) & DELETED
        and not old.blob
        and not new.blob
        and old.expires_us == new.expires_us
    )


class Checkpoint(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """How far the work with one far end has come. Recorded after its effect is confirmed."""

    cursor: str
    """The far end's own word for how far we have read it."""
    last_key: str
    """The last key that came from it: a far end that was restored does not know it any more."""
    pushed_seq: int
    """Up to this record of our log it has all our changes."""
    time_us: int


class Cache:
    def __init__(self) -> None:
        self.docs: dict[str, Document] = {}
        self.online = True
        self.checkpoints: dict[str, Checkpoint] = {}
        self.runs = Runs()
        self.drills = Drills()
        self._work_out(())

    def _work_out(self, names: Iterator[str] | tuple[str, ...]) -> None:
        """All that the documents add up to."""
        self.names = Names(names)
        self.conflicted = Names()
        self.changes = Line(self._stands)
        self.queue = Line(self._waits)
        self.ends = Ends(self._ends)
        self.live = 0
        self.bytes = 0
        self.conflicted_count = 0
        self.named: Counter[str] = Counter()
        """Blobs, by how many live leaves name them."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cache) and (self.docs, self.online, self.checkpoints, self.runs, self.drills) == (
            other.docs,
            other.online,
            other.checkpoints,
            other.runs,
            other.drills,
        )

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Cache":
        copied = Cache()
        copied.restore(dict(self.docs), self.online, dict(self.checkpoints), self.runs, self.drills)  # what they hold never changes
        return copied

    # --- what is alive in the orders ----------------------------------------------------------------------------------

    def _stands(self, keys: Sequence[str], numbers: Sequence[int]) -> list[bool]:
        return list(map(eq, map(_changed, map(self.docs.get, keys, repeat(_NEVER))), numbers))

    def _waits(self, keys: Sequence[str], numbers: Sequence[int]) -> list[bool]:
        docs = [self.docs.get(key, _NEVER) for key in keys]
        return [doc.changed == number and doc.flags & QUEUED > 0 for doc, number in zip(docs, numbers, strict=True)]

    def _ends(self, key: str, when: int) -> bool:
        doc = self.docs.get(key)
        return doc is not None and doc.expires_us == when

    # --- changes ------------------------------------------------------------------------------------------------------

    def put(self, key: str, new: Document) -> None:
        """What is known of a key from now on, changed by a later record than anything before."""
        old = self.docs.get(key)
        self.docs[key] = new
        self._count(key, old, new)
        self.changes.put(new.changed, key)
        if new.flags & QUEUED:
            self.queue.put(new.changed, key)
        if old is not None:
            self.changes.left()
            if old.flags & QUEUED:
                self.queue.left()

    def forget(self, key: str) -> None:
        old = self.docs.pop(key)
        self._count(key, old, None)
        self.changes.left()
        if old.queued:
            self.queue.left()

    def mark(self, key: str, flags: int) -> None:
        """Other flags of the same revisions."""
        old = self.docs[key]
        new = self.docs[key] = msgspec.structs.replace(old, flags=flags)
        if old.queued and not new.queued:
            self.queue.left()

    def _count(self, key: str, old: Document | None, new: Document | None) -> None:
        if old is not None and new is not None and _differ_in_size_alone(old, new):
            self.bytes += new.size - old.size
            return
        self._name_blobs(old, new)
        was, now = old is not None and old.live, new is not None and new.live
        if was != now:
            (self.names.add if now else self.names.drop)(key)
            self.live += 1 if now else -1
        self.bytes += (new.held if new is not None else 0) - (old.held if old is not None else 0)
        ended, ends = old.expires_us if old is not None else 0, new.expires_us if new is not None else 0
        if ended != ends:
            if ends:
                self.ends.put(ends, key)
            if ended:
                self.ends.left()
        was, now = old is not None and bool(old.conflicts), new is not None and bool(new.conflicts)
        if was != now:
            (self.conflicted.add if now else self.conflicted.drop)(key)
            self.conflicted_count += 1 if now else -1

    def _name_blobs(self, old: Document | None, new: Document | None) -> None:
        for doc, count in ((new, 1), (old, -1)):
            if doc is not None and (doc.blob or doc.branches is not None):
                for body in doc.bodies.values():
                    if body.blob:
                        self.named[body.blob] += count
                        if not self.named[body.blob]:
                            del self.named[body.blob]

    def restore(
        self, docs: dict[str, Document], online: bool, checkpoints: dict[str, Checkpoint], runs: Runs, drills: Drills
    ) -> None:
        """Become what a snapshot says."""
        self.docs, self.online, self.checkpoints, self.runs, self.drills = docs, online, checkpoints, runs, drills
        self._work_out(tuple(sorted(key for key, doc in docs.items() if doc.live)))
        self.live = sum(map(len, self.names.blocks))
        self.bytes = sum(doc.held for doc in docs.values())
        order = sorted(docs, key=lambda key: docs[key].changed)
        self.changes.fill([docs[key].changed for key in order], order)
        waiting = [key for key in order if docs[key].flags & QUEUED]
        self.queue.fill([docs[key].changed for key in waiting], waiting)
        for key, doc in docs.items():
            if doc.expires_us:
                self.ends.put(doc.expires_us, key)
            if doc.blob or doc.branches is not None:
                self._name_blobs(None, doc)
                if doc.conflicts:
                    self.conflicted.add(key)
                    self.conflicted_count += 1

    # --- looking ------------------------------------------------------------------------------------------------------

    def blobs(self) -> list[str]:
        """Every blob that a live leaf names."""
        return list(self.named)

    def oldest(self) -> int | None:
        """The oldest record that a value is read from; None where there is none."""
        plain = (doc.at for doc in self.docs.values() if doc.branches is None and doc.live)
        others = (body.at for doc in self.docs.values() if doc.branches is not None for body in doc.branches.bodies.values())
        return min((at for each in (plain, others) for at in each), default=None)


# --- snapshots --------------------------------------------------------------------------------------------------------------


PART_DOCUMENTS = 2_000
"""Documents encoded at once. In one go a million of them would hold up every other thread for a second."""


class CacheDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """All there is to know."""

    parts: list[bytes]
    """The documents with their keys, by their last change."""
    online: bool
    checkpoints: dict[str, Checkpoint]
    runs: Runs
    drills: Drills
    shape: Document | None = None
    """Never there: through it the schema covers what stands in `parts`."""


_part_encoder = msgspec.msgpack.Encoder(order="deterministic")
_part_decoder = msgspec.msgpack.Decoder(list[tuple[str, Document]], strict=True)


def dump(cache: Cache) -> CacheDump:
    parts: list[bytes] = []
    entries = ((key, cache.docs[key]) for _, key in cache.changes.after(-1))
    while some := list(islice(entries, PART_DOCUMENTS)):
        parts.append(_part_encoder.encode(some))
    return CacheDump(parts, cache.online, cache.checkpoints, cache.runs, cache.drills)


def load(dumped: CacheDump) -> Cache:
    docs: dict[str, Document] = {}
    for part in dumped.parts:
        for key, doc in _part_decoder.decode(part):
            # One number, not two that are equal.
            docs[key] = msgspec.structs.replace(doc, at=doc.changed) if doc.at == doc.changed else doc
    cache = Cache()
    cache.restore(docs, dumped.online, dumped.checkpoints, dumped.runs, dumped.drills)
    return cache


def grown(old: Document | None, branch: Branch, body: Body | None, changed: int, flags: int) -> Document:
    """A document once this path was merged; `body` is that of its leaf, None where that is deleted."""
    if old is None:
        ids, flags = pack((branch,)), flags & ~DELETED | (DELETED if branch.deleted else 0)
        if ids is None:
            return document((branch,), {} if body is None else {branch.text: body}, changed, flags)
        at, size, expires_us, blob = (body.at, body.size, body.expires_us, body.blob) if body is not None else (0, 0, 0, "")
        return Document(ids, branch.generation, changed if at == changed else at, size, expires_us, changed, flags, blob)
    bodies = dict(old.bodies)
    if body is not None:
        bodies[branch.text] = body
    return document(merge(old.tree, (branch,)), bodies, changed, flags)
