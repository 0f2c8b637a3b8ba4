"""The tree against the words of RFC 6962, section 2.1, written down as they stand there."""

from base64 import b64decode
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.tree import EMPTY_ROOT, Edge, edge_from, leaf_hash, levels, node_hash, subtrees
from tests.state.logs import GOLDEN

LEAVES = [sha256(b"\0%d" % number).digest() for number in range(300)]


def root_of(leaves):
    """MTH: the largest power of two smaller than n leaves go left."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + root_of(leaves[:half]) + root_of(leaves[half:])).digest()


def test_the_root_is_that_of_the_rfc_at_every_size():
    edge = Edge()
    for size in range(len(LEAVES)):
        assert edge.root() == root_of(LEAVES[:size])
        assert edge.size == size and len(edge.hashes) == size.bit_count()
        assert edge_from(edge.text()) == edge
        edge = edge.append(LEAVES[size])
    assert Edge().root() == EMPTY_ROOT


def test_the_golden_log_has_the_published_roots():
    """The root at size 8 stands in the golden checkpoint, that at size 4 in the golden proof."""
    leaves = [leaf_hash(line) for line in GOLDEN.splitlines(keepends=True)]
    assert Edge().extend(leaves).root() == b64decode("d1yDO+kOUSH1EtIJs8fhW8bo5RV4PUqVhhXj9oUXe0A=")
    assert Edge().extend(leaves[:4]).root() == b64decode("PVMDkMiuAmlgS/Q1CvzKewUiTP04V0qBMK09lHZStKE=")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8))
def test_leaves_may_come_one_by_one_in_batches_or_as_subtrees(counts):
    one = many = grafted = Edge()
    for count in counts:
        leaves = LEAVES[one.size : one.size + count]
        many = many.extend(leaves)
        roots = subtrees(grafted.size, leaves)
        assert len(roots) == len(list(levels(grafted.size, grafted.size + len(leaves))))
        grafted = grafted.graft(roots, grafted.size + len(leaves))
        for leaf in leaves:
            one = one.append(leaf)
    assert one == many == grafted


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 299), st.integers(0, 299))
def test_subtrees_are_the_largest_aligned_ones(first, end):
    first, end = min(first, end), max(first, end)
    roots = subtrees(first, LEAVES[first:end])
    place = first
    for root, level in zip(roots, levels(first, end), strict=True):
        size = 1 << level
        assert place % size == 0
        assert root == root_of(LEAVES[place : place + size])
        larger = place % (2 * size) == 0 and place + 2 * size <= end
        assert not larger
        place += size
    assert place == end


def test_an_edge_that_is_none_is_refused():
    text = Edge().extend(LEAVES[:5]).text()
    for wrong in ("", "5", "-1:", "5:00", text + "00", text.replace("5:", "4:"), text.replace("5:", "05:"), text.upper() + "x"):
        with pytest.raises(ValueError):
            edge_from(wrong)
    with pytest.raises(ValueError):
        Edge().graft(LEAVES[:3], 4)
    assert node_hash(b"a", b"b") != node_hash(b"b", b"a")
