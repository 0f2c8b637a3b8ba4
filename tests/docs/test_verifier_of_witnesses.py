"""The verifier that shares no line with irer reads what witnesses cosigned, and says of it what irer's own says."""

import importlib.util
import sys
from pathlib import Path

import pytest

from core.notes import Note, note_of
from state.cosigned import cosigned_path
from state.quorum import vouched
from tests.sim.disk import SimFiles
from tests.state.logs import ACTIVE, GOLDEN, GOLDEN_ENDS, HEAD, NAME, golden_disk, golden_head
from tests.state.test_cosigned import KEYS, cosigned, golden

PROGRAM = Path(__file__).parents[2] / "docs/verify/irer_verify.py"
_spec = importlib.util.spec_from_file_location("irer_verify_of_witnesses", PROGRAM)
assert _spec is not None and _spec.loader is not None
verify = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = verify
_spec.loader.exec_module(verify)


def laid(place: Path, *notes: tuple[int, Note], data: bytes = GOLDEN, batch: int = 2) -> Path:
    files: SimFiles = golden_disk(data, batch)
    (place / "log.d" / NAME).mkdir(parents=True, exist_ok=True)
    (place / ACTIVE).write_bytes(files.content(ACTIVE))
    (place / HEAD).write_bytes(golden_head(batch))
    for which, note in notes:
        (place / cosigned_path(NAME, KEYS[which])).write_text(note.text)
    return place


def said(place: Path, quorum: int = 0, which: int = 3):
    witnesses = tuple(verify.witness_of_vkey(key.text()) for key in KEYS[:which])
    report = verify.check([place], None, verify.Quorum(witnesses, quorum))
    (row,) = report["logs"]
    return row, [item["why"] for item in report["not_verified"] if item["log"] == NAME]


def test_both_count_the_same_voices(tmp_path: Path) -> None:
    sizes = (8, 4, 1)
    notes = [(which, cosigned(golden(size).checkpoint, which)) for which, size in enumerate(sizes)]
    for count in range(4):
        place = laid(tmp_path / str(count), *notes[:count])
        for quorum in range(5):
            ours = vouched([note for _, note in notes[:count]], KEYS, quorum)
            row, whys = said(place, quorum)
            assert (row["verdict"], row["cosigned"]) == ("ok", ours.word), (count, quorum)
            assert any(why.startswith(f"{8 - ours.size} records under no checkpoint, not cosigned") for why in whys) == (
                ours.size < 8
            )
    once = verify.witness_of_vkey(KEYS[0].text())
    assert verify.Quorum((once, once), 2).judge([verify.read_checkpoint(notes[0][1].text.encode())]) == ("1 of 1", 0)
    row, whys = said(tmp_path / "3", which=0)
    assert row["cosigned"] == "not checked" and "cosignatures: not checked" in whys
    assert said(tmp_path / "0", which=0)[0]["cosigned"] == "none"


def test_a_log_that_is_not_what_was_cosigned_fails_without_any_key(tmp_path: Path) -> None:
    cut = laid(tmp_path / "cut", (0, golden(8)), data=GOLDEN[: GOLDEN_ENDS[1]], batch=1)
    assert said(cut, which=0)[0]["first_bad"]["why"] == "record 7 was signed and is not there"
    assert said(laid(tmp_path / "forged", (0, golden(4, bytes(32)))), which=0)[0]["verdict"] == "corrupt"
    assert "cosigned a checkpoint of" in said(laid(tmp_path / "b", (0, golden(8, origin=f"b/{NAME}"))))[0]["first_bad"]["why"]


def test_a_line_that_lies_is_a_failure_and_a_key_must_be_a_witness_s(tmp_path: Path) -> None:
    lying = note_of(golden(4).checkpoint, golden(8).signatures)
    row, _ = said(laid(tmp_path, (0, lying)))
    assert (row["verdict"], row["cosigned"]) == ("corrupt", "FAILED")
    for wrong in (KEYS[0]._replace(kind=b"\x01").text(), KEYS[0].text()[:-8] + "AAAAAAA="):
        with pytest.raises(verify.Bad):
            verify.witness_of_vkey(wrong)


def test_its_command_line_takes_witnesses_and_a_quorum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = laid(tmp_path, (0, golden(8)))
    asked = [str(place), *(part for key in KEYS for part in ("--witness", key.text())), "--quorum"]
    assert verify.main([*asked, "1"]) == 0 and "1 of 3 @ 8" in capsys.readouterr().out
    assert verify.main([*asked, "one"]) == 2


def test_a_checkpoint_that_was_kept_is_known_whatever_its_file_is_called(tmp_path: Path) -> None:
    for name, size in (("kept.checkpoint", 4), ("a month ago", 4), ("kept.jsonl", 8)):
        kept = tmp_path / name
        kept.write_text(golden(size).text)
        report = verify.check([laid(tmp_path / str(size)), kept])
        assert [(row["log"], row["verdict"]) for row in report["logs"]] == [(NAME, "ok")] and report["result"] == "limited", name
        kept.write_text(golden(size).text.replace("\n4\n", "\n5\n").replace("\n8\n", "\n7\n"))
        (row,) = verify.check([laid(tmp_path / str(size)), kept])["logs"]
        assert row["verdict"] == "corrupt", "it is compared with the log"
