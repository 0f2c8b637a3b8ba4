"""Signed notes and verifier keys: the published checkpoint byte for byte, and nothing that differs in one bit is taken for it."""

from base64 import b64encode

import pytest

from core.notes import BadNote, Checkpoint, Key, key_from, public_key, read_note, signed, signed_by

SECRET = bytes(range(32))
ORIGIN = "irer.invalid/00000000000000a1/engine_state"
VKEY = f"{ORIGIN}+bb121b00+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
NOTE = f"""{ORIGIN}
8
d1yDO+kOUSH1EtIJs8fhW8bo5RV4PUqVhhXj9oUXe0A=

\N{EM DASH} {ORIGIN} uxIbAOP/ZJzeQkc+qqeo0+Y1Z4by2H5AA+OJmblxJcpT9RUQm5hjIOeyz2GazcMNPlw2+KH4qYdDsXsBRNJvvY1XDgA=
"""


def test_the_published_checkpoint_comes_out_byte_for_byte():
    note = read_note(NOTE)
    assert (note.checkpoint.origin, note.checkpoint.size, note.text) == (ORIGIN, 8, NOTE)
    assert signed(note.checkpoint, SECRET) == note
    key = Key(ORIGIN, public_key(SECRET))
    assert key.text() == VKEY and key_from(VKEY) == key and key_from(f"{VKEY}\n") == key
    assert signed_by(note, key)


def test_a_changed_bit_is_never_taken_for_it():
    raw, key = NOTE.encode(), key_from(VKEY)
    refused = unsigned = 0
    for place in range(8 * len(raw)):
        data = bytearray(raw)
        data[place // 8] ^= 1 << place % 8
        try:
            assert not signed_by(read_note(data.decode()), key)
            unsigned += 1
        except (BadNote, UnicodeDecodeError):
            refused += 1
    assert refused + unsigned == 8 * len(raw) and min(refused, unsigned) > 100


def test_another_key_or_another_name_did_not_sign_it():
    note = read_note(NOTE)
    assert not signed_by(note, Key(ORIGIN, public_key(bytes(32))))
    assert not signed_by(note, Key("irer.invalid/00000000000000a1/gate_log", public_key(SECRET)))
    wrong = signed(Checkpoint(ORIGIN, 9, note.checkpoint.root), SECRET).signatures
    assert not signed_by(note._replace(signatures=wrong), key_from(VKEY)), "a signature of something else"
    assert not signed_by(note._replace(signatures=(*note.signatures, *wrong)), key_from(VKEY)), "one that lies spoils all"


def test_signatures_of_others_are_left_alone():
    """A witness signs below: its line counts for nothing here, and does no harm."""
    witness = f"\N{EM DASH} witness.example {b64encode(b'abcd' + bytes(72)).decode()}\n"
    note = read_note(NOTE + witness)
    assert len(note.signatures) == 2 and signed_by(note, key_from(VKEY))
    assert not signed_by(read_note(NOTE.rpartition("\N{EM DASH}")[0] + witness), key_from(VKEY))


@pytest.mark.parametrize(
    "text",
    [
        "",
        NOTE[:-1],
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\n8\n", "\n08\n"),
        NOTE.replace("\n8\n", "\n-8\n"),
        NOTE.replace("\n8\n", "\n9007199254740992\n"),
        NOTE.replace("\n8\n", "\n8\nan extension\n"),
        NOTE.replace("0A=\n\n", "0A\n\n"),
        NOTE.replace("0A=\n\n", "0B=\n\n"),
        NOTE.replace("d1yD", ""),
        NOTE.replace(f"{ORIGIN}\n8", f"{ORIGIN} x\n8"),
        NOTE.replace("\N{EM DASH}", "-"),
        NOTE + "\n",
        NOTE + "\N{EM DASH} short AAAA\n",
        NOTE + "x" * 20_000,
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str):
    with pytest.raises(BadNote) as refused:
        read_note(text)
    assert refused.value.why


@pytest.mark.parametrize(
    "text", ["", "a+b", VKEY[:-4], VKEY.replace("bb121b00", "bb121b01"), VKEY.replace("+AQ", "+BA"), f"x{VKEY}"]
)
def test_a_key_that_was_not_copied_whole_is_refused(text: str):
    with pytest.raises(BadNote):
        key_from(text)
