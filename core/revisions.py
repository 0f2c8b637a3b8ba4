"""Revision trees as CouchDB knows them: merged by a path, one deterministic winner, conflicts that stay visible.

A tree is the paths to its leaves, the winner first. It is a value: whoever merges the same paths, in whatever order and however
often, has the same tree. Nothing here knows what a revision says, or where that is kept.

A document that was only ever edited in one place has one path of hexadecimal ids, and there are very many of those: they have a
compact form of 16 bytes a revision.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

REVS_LIMIT = 1_000
"""Revisions of one path that are remembered, as in CouchDB."""
ID_BYTES = 16
ID_CHARS_MAX = 64

Rev = tuple[int, str]
"""Generation and id."""


class Contradiction(ValueError):
    """Two paths give one revision two parents: they are of no common tree."""


class Branch(NamedTuple):
    """A leaf, and the way back from it as far as it is known."""

    deleted: bool
    generation: int
    ids: tuple[str, ...]
    """The leaf's first, then those before it. There are never more than `generation`."""

    @property
    def rev(self) -> Rev:
        return self.generation, self.ids[0]

    @property
    def text(self) -> str:
        return f"{self.generation}-{self.ids[0]}"


Tree = tuple[Branch, ...]
"""In normal form: no leaf is within another's path, the winner first, then the others as they would win."""


def rev_text(rev: Rev) -> str:
    return f"{rev[0]}-{rev[1]}"


def parse_rev(text: str) -> Rev:
    """Raises ValueError for what is no revision."""
    generation, dash, id = text.partition("-")
    if not (dash and generation.isascii() and generation.isdigit() and generation[0] != "0" and len(generation) <= 15):
        raise ValueError(f"{text!a:.80} is no revision: a number, a dash and an id")
    if not 1 <= len(id) <= ID_CHARS_MAX:
        raise ValueError(f"{text!a:.80} is no revision: its id has 1 to {ID_CHARS_MAX} characters")
    return int(generation), id


def rank(branch: Branch) -> tuple[bool, int, str]:
    """Not deleted wins over deleted, then the higher generation, then the greater id."""
    return not branch.deleted, branch.generation, branch.ids[0]


def merge(one: Tree, other: Iterable[Branch], limit: int = REVS_LIMIT) -> Tree:
    """Both at once, stemmed. Raises Contradiction."""
    parents: dict[Rev, Rev | None] = {}
    leaves: dict[Rev, bool] = {}
    for branch in (*one, *other):
        _graft(parents, branch)
        leaves[branch.rev] = branch.deleted or leaves.get(branch.rev, False)
    inner = set(parents.values())
    branches = [Branch(deleted, rev[0], _path(parents, rev, limit)) for rev, deleted in leaves.items() if rev not in inner]
    return tuple(sorted(branches, key=rank, reverse=True))


def _graft(parents: dict[Rev, Rev | None], branch: Branch) -> None:
    generation, ids = branch.generation, branch.ids
    if not 1 <= len(ids) <= generation:
        raise ValueError(f"{len(ids)} revisions up to generation {generation}")
    child: Rev | None = None
    for place, id in enumerate(ids):
        node = (generation - place, id)
        if child is not None:
            known = parents[child]
            if known is not None and known != node:
                raise Contradiction(f"{rev_text(child)} would come both from {rev_text(known)} and from {rev_text(node)}")
            parents[child] = node
        parents.setdefault(node, None)
        child = node


def _path(parents: Mapping[Rev, Rev | None], rev: Rev, limit: int) -> tuple[str, ...]:
    ids: list[str] = []
    at: Rev | None = rev
    while at is not None and len(ids) < limit:
        ids.append(at[1])
        at = parents[at]
    return tuple(ids)


def winner(tree: Tree) -> Branch:
    return tree[0]


def conflicts(tree: Tree) -> list[Branch]:
    """Live leaves other than the winner, as they would win."""
    return [branch for branch in tree[1:] if not branch.deleted]


def known(tree: Tree, rev: Rev) -> bool:
    """Whether this revision is in the tree, a leaf or not."""
    generation, id = rev
    for branch in tree:
        place = branch.generation - generation
        if 0 <= place < len(branch.ids) and branch.ids[place] == id:
            return True
    return False


class Missing(NamedTuple):
    """What of some revisions is not there, and from which leaves they may come."""

    missing: list[str]
    possible_ancestors: list[str]


def missing(tree: Tree, revs: Iterable[str]) -> Missing:
    """The answer to `_revs_diff` for one document. Raises ValueError for what is no revision."""
    absent = [rev for rev in dict.fromkeys(parse_rev(text) for text in revs) if not known(tree, rev)]
    highest = max((generation for generation, _ in absent), default=0)
    return Missing([rev_text(rev) for rev in absent], [branch.text for branch in tree if branch.generation < highest])


def trimmed(tree: Tree, branch: Branch) -> Branch:
    """The new part of a path, down to the first revision from which the tree knows the rest: merging it leads to the same tree."""
    kept = len(branch.ids)
    while kept > 1 and known(tree, (branch.generation - kept + 1, branch.ids[kept - 1])):
        kept -= 1
    return branch._replace(ids=branch.ids[: kept + 1])


# --- the compact form of one path -----------------------------------------------------------------------------------------


def pack(tree: Tree) -> bytes | None:
    """The ids of a tree of one path, 16 bytes each, newest first; None where there are more, or other ids than 32 hex digits."""
    if len(tree) != 1:
        return None
    packed = [packed_id(id) for id in tree[0].ids]
    return None if None in packed else b"".join(id for id in packed if id is not None)


def packed_id(id: str) -> bytes | None:
    if len(id) != 2 * ID_BYTES:
        return None
    try:
        packed = bytes.fromhex(id)
    except ValueError:
        return None
    return packed if packed.hex() == id else None


def unpack(deleted: bool, generation: int, packed: bytes) -> Branch:
    return Branch(deleted, generation, unpacked_ids(packed))


def unpacked_ids(packed: bytes) -> tuple[str, ...]:
    text = packed.hex()
    if len(packed) == ID_BYTES:
        return (text,)
    return tuple([text[at : at + 2 * ID_BYTES] for at in range(0, len(text), 2 * ID_BYTES)])


def followed(packed: bytes, id: bytes, limit: int = REVS_LIMIT) -> bytes:
    """The compact path with one revision more."""
    return id + packed[: (limit - 1) * ID_BYTES]


# --- our own revisions ------------------------------------------------------------------------------------------------------


def next_rev(parent: str, *, deleted: bool, body: str = "", expires_us: int = 0, generation: int = 0) -> str:
    """The revision that follows `parent` ("" for the first) with this content, of which `body` is the SHA-256.

    The same edit of the same revision is the same revision wherever it is made: two replicas that both delete what has expired
    do not disagree. `generation` is its own, where that is known.
    """
    if not generation:
        generation = parse_rev(parent)[0] + 1 if parent else 1
    said = f"irer/rev/1\0{parent}\0{int(deleted)}\0{expires_us}\0{body}"
    return f"{generation}-{sha256(said.encode()).hexdigest()[: 2 * ID_BYTES]}"
