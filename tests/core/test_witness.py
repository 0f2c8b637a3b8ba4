"""A witness signs only what continues what it signed last; each refusal is the one that C2SP's tlog-witness names."""

from hashlib import sha256

import pytest
from nacl.signing import VerifyKey

from core.notes import (
    COSIGNER,
    BadNote,
    Checkpoint,
    Key,
    cosignature,
    cosigned_by,
    key_from,
    note_of,
    public_key,
    signatures_in,
    signed,
    time_of,
)
from core.witness import HASHES_MAX, BadRequest, Request, Seen, judge, read_request
from state.prove import consistency
from state.tree import Edge
from tests.core.test_notes import NOTE, SECRET, VKEY

ORIGIN = "irer.invalid/00000000000000a1/engine_state"
LEAVES = [sha256(b"\0%d" % number).digest() for number in range(24)]
KEYS = [key_from(VKEY)]
WITNESS = bytes(range(32, 64))


def root(size: int) -> bytes:
    return Edge().extend(LEAVES[:size]).root()


def at(size: int, secret: bytes = SECRET):
    return signed(Checkpoint(ORIGIN, size, root(size)), secret)


def proof(old: int, size: int) -> tuple[bytes, ...]:
    return tuple(Edge().extend(LEAVES[first:end]).root() for first, end in consistency(old, size))


def status(old: int, size: int, seen: int, **more) -> int:
    request = Request(old, more.get("path", proof(old, size)), more.get("note", at(size)))
    return judge(request, more.get("keys", KEYS), Seen(seen, root(seen)) if seen else Seen()).status


def test_whatever_continues_what_was_cosigned_last_is_cosigned_and_nothing_else():
    for seen in range(len(LEAVES)):
        for size in range(1, len(LEAVES)):
            assert status(seen, size, seen) == (200 if size >= seen else 400), "old stands above the checkpoint: it goes backwards"
            for old in {0, seen - 1, seen + 1} - {seen, -1}:
                assert status(old, size, seen) == (409 if old <= size else 400)


def test_a_proof_that_proves_nothing_is_told_from_another_history():
    assert status(5, 9, 5, path=()) == status(5, 9, 5, path=proof(4, 9)) == 422
    assert status(5, 9, 5, path=(bytes(32), *proof(5, 9)[1:])) == 422
    assert status(0, 9, 0, path=proof(5, 9)) == 422, "from nothing nothing is proved"
    other = signed(Checkpoint(ORIGIN, 5, bytes(32)), SECRET)
    assert status(5, 5, 5, note=other) == 409, "another root at that size"
    assert status(5, 9, 5, note=signed(Checkpoint(ORIGIN, 9, bytes(32)), SECRET)) == 422


def test_only_the_key_that_is_trusted_counts():
    assert status(0, 5, 0, keys=[]) == 404
    assert status(0, 5, 0, note=at(5, bytes(32))) == 403
    assert status(0, 5, 0, keys=[Key("irer.invalid/other", public_key(SECRET))]) == 403
    both = note_of(at(5).checkpoint, [*at(5, bytes(32)).signatures, *at(5).signatures])
    assert status(0, 5, 0, note=both) == 200, "signatures of others are left alone"


def test_a_request_is_read_back_as_it_was_written_and_in_no_other_way():
    request = Request(5, proof(5, 9), at(9))
    text = request.text()
    assert read_request(text) == request and text.startswith("old 5\n") and text.endswith("\n")
    for bad in (
        "",
        text.replace("old 5", "old 05"),
        text.replace("old 5", "old -5"),
        text.replace("old 5\n", ""),
        text.replace("\n\n", "\n"),
        text.replace("=\n", "\n"),
        "old 5\n" + "A" * 43 + "=\n" * (HASHES_MAX + 1) + text.partition("\n")[2],
        text + "more",
    ):
        with pytest.raises(BadRequest):
            read_request(bad)
    with pytest.raises(BadRequest, match="more than"):
        read_request("old 5\n" + ("A" * 43 + "=\n") * (HASHES_MAX + 1) + "\n" + NOTE)


def test_a_cosignature_says_what_c2sp_says_it_says():
    """Checked with another library, over a message that is spelled out here."""
    checkpoint = at(9).checkpoint
    one = cosignature(checkpoint, "witness.example", WITNESS, 1_679_315_147)
    key = Key("witness.example", public_key(WITNESS), COSIGNER)
    assert one.id == sha256(b"witness.example\n\x04" + key.public).digest()[:4] == key.id
    assert key_from(key.text(), COSIGNER) == key and key.text().split("+")[2].startswith("B"), "0x04 comes first"
    assert one.data[:8] == (1_679_315_147).to_bytes(8, "big") and len(one.data) == 72 and time_of(one) == 1_679_315_147
    message = f"cosignature/v1\ntime 1679315147\n{checkpoint.body()}".encode()
    VerifyKey(key.public).verify(message, one.data[8:])
    assert signatures_in(one.line()) == (one,) and cosigned_by(checkpoint, (one,), key) == one


def test_no_changed_bit_of_a_cosignature_holds():
    checkpoint = at(9).checkpoint
    one, key = cosignature(checkpoint, "w", WITNESS, 7), Key("w", public_key(WITNESS), COSIGNER)
    for place in range(8 * len(one.data)):
        data = bytearray(one.data)
        data[place // 8] ^= 1 << place % 8
        assert cosigned_by(checkpoint, (one._replace(data=bytes(data)),), key) is None
    later = cosignature(checkpoint, "w", WITNESS, 8)
    assert cosigned_by(checkpoint, (later, one), key) == later, "the newest counts"
    assert cosigned_by(checkpoint, (one, one._replace(data=later.data[:8] + one.data[8:])), key) is None, "one that lies spoils all"
    assert cosigned_by(at(8).checkpoint, (one,), key) is None
    assert cosigned_by(checkpoint, (), key) is None


def test_the_key_of_a_log_is_none_of_a_witness():
    key = Key("w", public_key(WITNESS), COSIGNER)
    with pytest.raises(BadNote, match="of a witness"):
        key_from(key.text())
    with pytest.raises(BadNote, match="of a log"):
        key_from(VKEY, COSIGNER)


@pytest.mark.parametrize("text", ["", "\n", "no line\n", "\N{EM DASH} w AAAA\n", "\N{EM DASH} w AAAAAAAAAA==\nmore\n"])
def test_lines_that_are_no_signatures_are_refused(text: str):
    with pytest.raises(BadNote):
        signatures_in(text)
