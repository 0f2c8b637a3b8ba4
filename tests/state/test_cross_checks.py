"""Proofs and signatures once more, by other people's code: pymerkle for the tree, PyNaCl for Ed25519, which irer never uses."""

from random import Random

import pymerkle
import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from core.notes import COSIGNER, Checkpoint, Key, cosignature, public_key, signed
from core.proofs import consistent, included, leaf_hash
from irerd.witness.book import Book
from state.prove import consistency, inclusion, proof_behind, prove, prove_consistency
from state.reading import lines_between
from state.tree import Edge
from tests.sim.disk import SimFiles
from tests.state.logs import NAME, ORIGIN, append, new_log, pending

SIZE = 70


class Logged:
    """A log, and the same records in a tree of pymerkle's."""

    def __init__(self) -> None:
        self.files = SimFiles()
        self.log = new_log(self.files)
        for number in range(SIZE - 1):
            append(self.log, [pending(number)])
        self.lines = [line[:-1] for line in lines_between(self.log, 0, SIZE - 1)]
        self.tree = pymerkle.InmemoryTree(algorithm="sha256")
        for line in self.lines:
            self.tree.append_entry(line)
        self.leaves = [leaf_hash(line) for line in self.lines]

    def root(self, size: int) -> bytes:
        return Edge().extend(self.leaves[:size]).root()


@pytest.fixture(scope="module")
def logged() -> Logged:
    return Logged()


def test_the_root_at_every_size_is_the_one_that_pymerkle_finds(logged: Logged) -> None:
    assert [logged.tree.get_root(size) for size in range(SIZE + 1)] == [logged.root(size) for size in range(SIZE + 1)]


def test_every_inclusion_proof_is_taken_by_pymerkle_and_no_other_leaf_with_it(logged: Logged) -> None:
    for size in range(1, SIZE + 1):
        root = logged.root(size)
        for index in range(size):
            path = [Edge().extend(logged.leaves[first:end]).root() for first, end in inclusion(index, size)]
            leaf = logged.leaves[index]
            proof = logged.tree.prove_inclusion(index + 1, size)
            assert proof.path == [leaf, *path], "hash for hash"
            pymerkle.verify_inclusion(leaf, root, proof, index=index + 1, size=size)
            assert included(leaf, index, size, path, root)
    with pytest.raises(pymerkle.InvalidProof):
        pymerkle.verify_inclusion(bytes(32), logged.root(SIZE), proof)


def test_every_consistency_proof_holds_where_pymerkle_s_does(logged: Logged) -> None:
    """Its proofs spell the older tree out, ours are those of RFC 6962: theirs is checked against our roots, and ours beside it."""
    for later in range(1, SIZE + 1):
        for prior in range(1, later):
            roots = logged.root(prior), logged.root(later)
            pymerkle.verify_consistency(*roots, logged.tree.prove_consistency(prior, later), prior_size=prior, later_size=later)
            path = [Edge().extend(logged.leaves[first:end]).root() for first, end in consistency(prior, later)]
            assert consistent(prior, roots[0], later, roots[1], path)


def test_what_is_read_from_the_log_is_what_is_proved(logged: Logged) -> None:
    """The three ways to make a proof give the same hashes."""
    random = Random(7)
    for _ in range(60):
        prior = random.randrange(1, SIZE)
        later = random.randrange(prior + 1, SIZE + 1)
        read = prove_consistency(logged.files, NAME, prior, later)
        assert read == proof_behind(logged.log, Edge().extend(logged.leaves[:prior]), later)
        assert consistent(prior, logged.root(prior), later, logged.root(later), read)
        index = random.randrange(later)
        made = prove(logged.files, NAME, index, later)
        assert made.line[:-1] == logged.lines[index] and made.path == logged.tree.prove_inclusion(index + 1, later).path[1:]


def test_every_signature_is_taken_by_another_ed25519_and_none_that_was_changed() -> None:
    for number in range(40):
        secret = bytes([number]) * 32
        checkpoint = Checkpoint(ORIGIN, number + 1, bytes([255 - number]) * 32)
        other = SigningKey(secret)
        assert bytes(other.verify_key) == public_key(secret)
        (signature,) = signed(checkpoint, secret).signatures
        assert other.sign(checkpoint.body().encode()).signature == signature.data, "the same bytes, too"
        timed = cosignature(checkpoint, "w", secret, 1_700_000_000 + number)
        message = f"cosignature/v1\ntime {1_700_000_000 + number}\n{checkpoint.body()}".encode()
        VerifyKey(public_key(secret)).verify(message, timed.data[8:])
        with pytest.raises(BadSignatureError):
            VerifyKey(public_key(secret)).verify(message, bytes([timed.data[8] ^ 1]) + timed.data[9:])


def test_a_witness_s_answer_is_taken_by_it_too() -> None:
    book = Book(SimFiles(), lambda: 1_700_000_000)
    key = book.make_key(bytes(range(32)), "w.example")
    book.add(Key(ORIGIN, public_key(bytes(32))).text())
    note = signed(Checkpoint(ORIGIN, 5, bytes(32)), bytes(32))
    answer = book.answer(f"old 0\n\n{note.text}")
    from core.notes import signatures_in

    (line,) = signatures_in(answer.body)
    VerifyKey(key.public).verify(f"cosignature/v1\ntime 1700000000\n{note.checkpoint.body()}".encode(), line.data[8:])
    assert key.kind == COSIGNER
