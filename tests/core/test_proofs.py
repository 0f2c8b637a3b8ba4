"""Proofs of a tree: the vectors of RFC 6962's first implementation, the RFC's own definitions as a slow twin, and every lie.

What is checked here by shifting bits is made by `state.prove` from ranges, and by the twin below as the RFC spells it out.
"""

from hashlib import sha256

import pytest

from core.notes import key_from
from core.proofs import BadProof, check, consistent, included, leaf_hash, node_hash, read_proof
from core.system import SOME_PROOF
from state.prove import consistency, inclusion
from tests.core.test_notes import NOTE, VKEY
from tests.state.logs import GOLDEN

INPUTS = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
INPUTS.append(bytes(range(0x60, 0x70)))
ROOTS = """
6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77 d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4 76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c 5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328
""".split()
PATHS = {
    (0, 8): "96a296d2 5f083f0a 6b47aaf2",
    (5, 8): "bc1a0643 ca854ea1 d37ee418",
    (2, 3): "fac54203",
    (1, 5): "6e340b9c 5f083f0a bc1a0643",
}
"""Beginnings of the hashes."""
CONTINUED = {(1, 8): "96a296d2 5f083f0a 6b47aaf2", (6, 8): "0ebc5d34 ca854ea1 d37ee418", (2, 5): "5f083f0a bc1a0643"}


def root(leaves):
    """MTH of RFC 6962, 2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256().digest()
    half = left(len(leaves))
    return node_hash(root(leaves[:half]), root(leaves[half:]))


def left(count):
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def path(index, leaves):
    """PATH of 2.1.1."""
    if len(leaves) == 1:
        return []
    half = left(len(leaves))
    if index < half:
        return [*path(index, leaves[:half]), root(leaves[half:])]
    return [*path(index - half, leaves[half:]), root(leaves[:half])]


def subproof(before, leaves, whole):
    """SUBPROOF of 2.1.2."""
    if before == len(leaves):
        return [] if whole else [root(leaves)]
    half = left(len(leaves))
    if before <= half:
        return [*subproof(before, leaves[:half], whole), root(leaves[half:])]
    return [*subproof(before - half, leaves[half:], False), root(leaves[:half])]


LEAVES = [leaf_hash(b"%d" % number) for number in range(33)]


def test_the_published_roots_and_proofs():
    leaves = [leaf_hash(data) for data in INPUTS]
    assert [root(leaves[: size + 1]).hex() for size in range(8)] == ROOTS
    for (index, size), expected in PATHS.items():
        found = [root(leaves[first:end]) for first, end in inclusion(index, size)]
        assert " ".join(node.hex()[:8] for node in found) == expected
        assert included(leaves[index], index, size, found, bytes.fromhex(ROOTS[size - 1]))
    for (before, size), expected in CONTINUED.items():
        found = [root(leaves[first:end]) for first, end in consistency(before, size)]
        assert " ".join(node.hex()[:8] for node in found) == expected
        assert consistent(before, bytes.fromhex(ROOTS[before - 1]), size, bytes.fromhex(ROOTS[size - 1]), found)


def test_every_record_of_every_tree_has_its_proof_and_no_other():
    for size in range(1, len(LEAVES) + 1):
        whole = root(LEAVES[:size])
        for index in range(size):
            proof = path(index, LEAVES[:size])
            assert proof == [root(LEAVES[first:end]) for first, end in inclusion(index, size)]
            assert included(LEAVES[index], index, size, proof, whole)
            for wrong in {0, 1, size - 1, size, index + 1, index ^ 1} - {index}:
                assert not included(LEAVES[index], wrong, size, proof, whole), "a proof is of one place"
            assert not included(LEAVES[index - 1], index, size, proof, whole) or size == 1
            assert not included(LEAVES[index], index, size, proof[:-1], whole) or not proof
            assert not included(LEAVES[index], index, size, [*proof, whole], whole)
            for place in range(len(proof)):
                changed = [*proof[:place], sha256(proof[place]).digest(), *proof[place + 1 :]]
                assert not included(LEAVES[index], index, size, changed, whole)
    assert not included(LEAVES[0], -1, 1, [], LEAVES[0]) and not included(LEAVES[0], 0, 0, [], LEAVES[0])


def test_every_tree_continues_every_smaller_one_and_nothing_else():
    for size in range(1, len(LEAVES) + 1):
        now = root(LEAVES[:size])
        for before in range(1, size + 1):
            then, proof = root(LEAVES[:before]), subproof(before, LEAVES[:size], True)
            assert proof == [root(LEAVES[first:end]) for first, end in consistency(before, size)]
            assert consistent(before, then, size, now, proof)
            other = sha256(then).digest()
            assert not consistent(before, other, size, now, proof) and not consistent(before, then, size, other, proof)
            assert not consistent(before, then, size, now, [*proof, now])
            for place in range(len(proof)):
                changed = [*proof[:place], other, *proof[place + 1 :]]
                assert not consistent(before, then, size, now, changed)
                assert not consistent(before, then, size, now, proof[:place] + proof[place + 1 :])
            if before < size:
                assert not consistent(size, now, before, then, proof), "never backwards"
    assert consistent(0, sha256().digest(), 3, root(LEAVES[:3]), []) and not consistent(0, LEAVES[0], 3, root(LEAVES[:3]), [])


def test_the_published_proof_file():
    proof, key = read_proof(SOME_PROOF), key_from(VKEY)
    assert (proof.seq, proof.text(), proof.note.text) == (5, SOME_PROOF, NOTE)
    record = GOLDEN.split(b"\n")[5]
    assert check(proof, record, key).result == check(proof, record + b"\n", key).result == "ok"
    changed = check(proof, record.replace(b'"seq":5', b'"seq":6'), key)
    assert (changed.record, changed.signature, changed.result) == ("failed", "ok", "failed")
    assert check(proof, record, key_from(VKEY)._replace(public=bytes(32))).signature == "failed"
    unknown = check(proof, None, None)
    assert (unknown.record, unknown.signature, unknown.result) == ("not checked", "not checked", "limited") and len(
        unknown.why
    ) == 2


def test_what_is_extra_counts_for_nothing():
    with_extra = SOME_PROOF.replace("\nindex", "\nextra aXJlcg==\nindex")
    assert read_proof(with_extra) == read_proof(SOME_PROOF)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SOME_PROOF[:-1],
        SOME_PROOF.replace("@v1", "@v2"),
        SOME_PROOF.replace("index 5", "index 05"),
        SOME_PROOF.replace("index 5", "index 9007199254740992"),
        SOME_PROOF.replace("index 5\n", ""),
        SOME_PROOF.replace("index 5", "index 5\nextra aXJlcg=="),
        SOME_PROOF.replace("\n\nirer", "\nirer", 1),
        SOME_PROOF.replace("TsB/", "TsB"),
        SOME_PROOF.replace("index 5\n", "index 5\n" + "TsB/hUK+vX/F7yrZAJaQI1Rk5nQYyaRLRn++zdEXILM=\n" * 62),
        SOME_PROOF + "x" * 40_000,
    ],
)
def test_what_is_no_proof_is_refused(text: str):
    with pytest.raises(BadProof) as refused:
        read_proof(text)
    assert refused.value.why
