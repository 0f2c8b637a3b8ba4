"""Proofs of a log's tree (RFC 6962), checked without the log: that a record is in it, and that a later state continues an earlier.

A proof file is C2SP's tlog-proof: the index of a record, hashes, and a signed checkpoint. Whoever has it, the record and the key of
the log needs nothing else, no daemon and no files of its. Nothing here makes a proof or believes what one says of itself.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

from core.notes import SIZE_MAX, BadNote, Key, Note, hash_from, read_note, signed_by

HEADER = "c2sp.org/tlog-proof@v1"
PROOF_CHARS_MAX = 32_768
HASHES_MAX = 64
"""More than any tree of 2^53 records needs."""

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")
_EXTRA = re.compile(r"extra [A-Za-z0-9+/]*={0,2}")

Word = Literal["ok", "failed", "not checked"]


class BadProof(ValueError):
    """This text is no proof; `why` is one short sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def leaf_hash(record: bytes) -> bytes:
    """Of a record's line without the 0x0A that ends it."""
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether this leaf stands at this index of the tree with this root. RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    here, last, found = index, size - 1, leaf
    for node in path:
        if not last:
            return False
        if here & 1 or here == last:
            found = node_hash(node, found)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, node)
        here, last = here >> 1, last >> 1
    return not last and found == root


def consistent(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree of `second` records begins with the tree of `first` records. RFC 9162, 2.1.4.2."""
    if first == second:
        return not path and first_root == second_root
    if not first:
        return not path and first_root == sha256().digest()
    if not 0 < first < second:
        return False
    nodes = [first_root, *path] if not first & (first - 1) else list(path)
    if not nodes:
        return False
    here, last = first - 1, second - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if not last:
            return False
        if here & 1 or here == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            new = node_hash(new, node)
        here, last = here >> 1, last >> 1
    return not last and (old, new) == (first_root, second_root)


class Proof(NamedTuple):
    """A record's place in a log, and the checkpoint that covers it."""

    seq: int
    path: tuple[bytes, ...]
    note: Note

    def text(self) -> str:
        hashes = "".join(f"{b64encode(node).decode()}\n" for node in self.path)
        return f"{HEADER}\nindex {self.seq}\n{hashes}\n{self.note.text}"


def read_proof(text: str) -> Proof:
    """Raises BadProof. What stands in an `extra` line belongs to whoever wrote it, and counts for nothing."""
    if len(text) > PROOF_CHARS_MAX:
        raise BadProof(f"a proof of more than {PROOF_CHARS_MAX:,} characters")
    above, blank, note = text.partition("\n\n")
    lines = above.split("\n")
    if lines[0] != HEADER or not blank:
        raise BadProof(f"not a proof: it does not begin with {HEADER}, or has no checkpoint")
    rest = lines[2:] if len(lines) > 1 and _EXTRA.fullmatch(lines[1]) else lines[1:]
    index = _INDEX.fullmatch(rest[0]) if rest else None
    if index is None or int(index[1]) > SIZE_MAX:
        raise BadProof("it does not say which record it is of")
    if len(rest) - 1 > HASHES_MAX:
        raise BadProof(f"more than {HASHES_MAX} hashes")
    try:
        return Proof(int(index[1]), tuple(map(hash_from, rest[1:])), read_note(note))
    except BadNote as bad:
        raise BadProof(bad.why) from None


class Checked(NamedTuple):
    """What holds of a proof, and of what it could not be said."""

    record: Word
    """That this very record is in the tree that the checkpoint names."""
    signature: Word
    """That the key signed the checkpoint."""
    why: tuple[str, ...]
    """What failed and what was not checked, one sentence each."""

    @property
    def result(self) -> Literal["ok", "limited", "failed"]:
        words = (self.record, self.signature)
        return "failed" if "failed" in words else "limited" if "not checked" in words else "ok"


def check(proof: Proof, record: bytes | None, key: Key | None) -> Checked:
    """`record` is its line, with or without the 0x0A; `key` one that the caller has from somewhere else than the proof."""
    why: list[str] = []
    in_tree: Word = "not checked"
    if record is None:
        why.append("the record was not given, so nothing shows what the proof is a proof of")
    else:
        note = proof.note.checkpoint
        held = included(leaf_hash(record.removesuffix(b"\n")), proof.seq, note.size, proof.path, note.root)
        in_tree = "ok" if held else "failed"
        if not held:
            why.append(f"this is not record {proof.seq} of the log as the checkpoint has it")
    signature, reason = check_signature(proof.note, key)
    return Checked(in_tree, signature, (*why, *([reason] if reason else [])))


def check_signature(note: Note, key: Key | None) -> tuple[Word, str]:
    """The word, and why where it is not ok."""
    if key is None:
        return "not checked", "no key was given, so nothing shows who signed the checkpoint"
    try:
        held = signed_by(note, key)
    except ImportError:
        return "not checked", "the library that checks signatures, cryptography, is not installed here"
    if held and note.checkpoint.origin == key.name:
        return "ok", ""
    return "failed", f"the checkpoint of {note.checkpoint.origin} is not signed with the key of {key.name}"
