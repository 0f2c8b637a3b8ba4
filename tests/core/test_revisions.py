"""Revision trees: the same in whatever order they are merged, CouchDB's winner, a compact form that says what the long one says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.revisions import (
    Branch,
    Contradiction,
    Tree,
    conflicts,
    followed,
    known,
    merge,
    missing,
    next_rev,
    pack,
    parse_rev,
    rev_text,
    trimmed,
    unpack,
    winner,
)

# --- a slow, obvious twin: every revision by itself, in one history that all replicas share --------------------------------


class World:
    """One history: each revision has one parent. Replicas know parts of it."""

    def __init__(self, parents: list[int], deleted: list[bool], hexadecimal: bool) -> None:
        self.parents = [None if number == 0 else parent % number for number, parent in enumerate(parents)]
        self.deleted = deleted
        self.hexadecimal = hexadecimal

    def generation(self, number: int) -> int:
        parent = self.parents[number]
        return 1 if parent is None else 1 + self.generation(parent)

    def id(self, number: int) -> str:
        scattered = number * 2_654_435_761 % 2**32
        return f"{scattered:032x}" if self.hexadecimal else f"r{scattered}"

    def path(self, number: int, length: int | None = None) -> Branch:
        """The way back to the beginning, or only some of it."""
        ids, at = [], number
        while at is not None and (length is None or len(ids) < length):
            ids.append(self.id(at))
            at = self.parents[at]
        return Branch(self.deleted[number], self.generation(number), tuple(ids))

    def ancestors(self, number: int) -> set[int]:
        parent = self.parents[number]
        return set() if parent is None else {parent} | self.ancestors(parent)

    def leaves(self, heads: set[int]) -> list[int]:
        """Of revisions that were told, those no other one follows, as they win: not deleted, higher, greater."""
        inner = set().union(*[self.ancestors(head) for head in heads]) if heads else set()
        return sorted(heads - inner, key=lambda head: (not self.deleted[head], self.generation(head), self.id(head)), reverse=True)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(1, 12))
    parents = draw(st.lists(st.integers(0, 1_000), min_size=count, max_size=count))
    deleted = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return World(parents, deleted, draw(st.booleans()))


def heads_of(world: World) -> st.SearchStrategy[set[int]]:
    return st.sets(st.integers(0, len(world.parents) - 1), max_size=6)


def tree_of(world: World, heads: set[int]) -> Tree:
    return merge((), [world.path(head) for head in sorted(heads)])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_merging_is_the_same_in_any_order_and_agrees_with_the_oracle(data: st.DataObject) -> None:
    world = data.draw(worlds())
    told = [data.draw(heads_of(world)) for _ in range(3)]
    one, two, three = [tree_of(world, heads) for heads in told]
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    whole = merge(merge(one, two), three)
    assert merge(whole, one) == merge(whole, whole) == whole
    leaves = world.leaves(set().union(*told))
    assert [leaf.rev for leaf in whole] == [(world.generation(leaf), world.id(leaf)) for leaf in leaves]
    assert [leaf.deleted for leaf in whole] == [world.deleted[leaf] for leaf in leaves]
    if whole:
        assert winner(whole) == whole[0]
        assert [leaf.rev for leaf in conflicts(whole)] == [leaf.rev for leaf in whole[1:] if not leaf.deleted]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_part_of_a_path_leads_to_the_same_tree_as_the_whole(data: st.DataObject) -> None:
    world = data.draw(worlds())
    tree = tree_of(world, data.draw(heads_of(world)))
    branch = world.path(data.draw(st.integers(0, len(world.parents) - 1)))
    part = trimmed(tree, branch)
    assert merge(tree, (part,)) == merge(tree, (branch,))
    told = [id for place, id in enumerate(part.ids) if known(tree, (part.generation - place, id))]
    assert len(told) <= 1 or known(tree, branch.rev)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_missing_is_what_was_not_told(data: st.DataObject) -> None:
    world = data.draw(worlds())
    heads = data.draw(heads_of(world))
    tree = tree_of(world, heads)
    asked = sorted(data.draw(heads_of(world)))
    there = set(heads).union(*[world.ancestors(head) for head in heads]) if heads else set()
    found = missing(tree, [rev_text((world.generation(number), world.id(number))) for number in asked])
    absent = [number for number in asked if number not in there]
    assert found.missing == [rev_text((world.generation(number), world.id(number))) for number in absent]
    highest = max((world.generation(number) for number in absent), default=0)
    assert found.possible_ancestors == [leaf.text for leaf in tree if leaf.generation < highest]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_compact_form_says_the_same(data: st.DataObject) -> None:
    world = data.draw(worlds())
    head = data.draw(st.integers(0, len(world.parents) - 1))
    branch = world.path(head, data.draw(st.none() | st.integers(1, 4)))
    packed = pack((branch,))
    assert (packed is not None) == world.hexadecimal
    if packed is not None:
        assert unpack(branch.deleted, branch.generation, packed) == branch
        after = next_rev(branch.text, deleted=False, body="0" * 64)
        generation, id = parse_rev(after)
        longer = merge((branch,), (Branch(False, generation, (id, branch.ids[0])),))
        assert pack(longer) == followed(packed, bytes.fromhex(id))


def chain(length: int, start: int = 1) -> Branch:
    ids = tuple(f"{number:032x}" for number in range(start + length - 1, start - 1, -1))
    return Branch(False, start + length - 1, ids)


def test_no_more_than_a_thousand_revisions_of_a_path_are_remembered() -> None:
    assert merge((), (chain(1_000),)) == (chain(1_000),)
    assert merge((), (chain(1_001),)) == (chain(1_000, start=2),)
    packed = pack((chain(1_000),))
    assert packed is not None
    longer = followed(packed, bytes.fromhex(f"{1_001:032x}"))
    assert longer == pack((chain(1_000, start=2),)) and len(longer) == 16_000


def test_two_parents_of_one_revision_are_refused() -> None:
    with pytest.raises(Contradiction, match="2-c would come both from 1-a and from 1-b"):
        merge((Branch(False, 2, ("c", "a")),), (Branch(False, 2, ("c", "b")),))
    assert merge((Branch(False, 2, ("c",)),), (Branch(False, 2, ("c", "b")),)) == (Branch(False, 2, ("c", "b")),)


def test_a_leaf_that_is_told_both_ways_is_deleted_whoever_is_heard_first() -> None:
    live, dead = Branch(False, 1, ("a",)), Branch(True, 1, ("a",))
    assert merge((live,), (dead,)) == merge((dead,), (live,)) == (dead,)


@pytest.mark.parametrize("branch", [Branch(False, 1, ("a", "b")), Branch(False, 1, ())])
def test_a_path_longer_than_its_generation_is_none(branch: Branch) -> None:
    with pytest.raises(ValueError, match="revisions up to generation 1"):
        merge((), (branch,))


@pytest.mark.parametrize("text", ["", "1", "1-", "-a", "0-a", "01-a", "x-a", "1-" + "a" * 65, "²-a", "1" * 16 + "-a"])
def test_what_is_no_revision_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no revision"):
        parse_rev(text)


def test_the_same_edit_is_the_same_revision_and_any_other_is_another() -> None:
    first = next_rev("", deleted=False, body="a" * 64)
    assert first == next_rev("", deleted=False, body="a" * 64) and first.startswith("1-")
    others = {
        next_rev("", deleted=False, body="b" * 64),
        next_rev("", deleted=True, body="a" * 64),
        next_rev("", deleted=False, body="a" * 64, expires_us=1),
        next_rev(first, deleted=False, body="a" * 64),
        next_rev("1-a", deleted=False, body="a" * 64),
    }
    assert len(others | {first}) == 6
    assert parse_rev(next_rev(first, deleted=False))[0] == 2
    assert pack((Branch(False, 1, (parse_rev(first)[1],)),)) is not None, "our own ids have the compact form"


def test_the_id_of_a_revision_stays_what_it_is() -> None:
    """Another formula would make two revisions of one edit wherever two versions meet."""
    assert next_rev("", deleted=False, body="0" * 64) == "1-6726df47a8d3510d7fed592fc6180923"
