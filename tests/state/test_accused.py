"""What a witness said against a log is believed as long as the log has that name, and nothing of it is lost without a word."""

from pathlib import Path

import pytest

from core.notes import COSIGNER, Key, public_key
from state.accused import DAMAGED, Accusation, Accusations, accused_by, beside, outside
from state.fs import RealFiles
from state.ledger import open_ledger
from tests.sim.disk import SimFiles

KEY = Key("w.example", public_key(bytes(32)), COSIGNER)
ORIGIN = "irer.invalid/0/engine_state"
SAID = Accusation("engine_state", ORIGIN, 7, KEY.text(), "a witness has seen 9 records of it, and there are 7")


def kept(files: SimFiles, aside: SimFiles | None) -> Accusations:
    accusations = Accusations(files, aside)  # type: ignore[arg-type]
    assert accusations.of("engine_state", ORIGIN) is None
    assert accusations.keep(SAID)
    return accusations


@pytest.mark.parametrize("lost", ["neither", "beside", "outside"])
def test_it_is_there_as_long_as_one_of_both_is(lost: str) -> None:
    files, aside = SimFiles(), SimFiles()
    kept(files, aside)
    files, aside = SimFiles() if lost == "beside" else files.kill(), SimFiles() if lost == "outside" else aside.kill()
    accusations = Accusations(files, aside)  # type: ignore[arg-type]
    assert accusations.of("engine_state", ORIGIN) == SAID
    assert accusations.of("engine_state", f"{ORIGIN}2") is None, "under another name it is another history, and openly so"
    accusations.drop("engine_state", ORIGIN)
    assert Accusations(files.kill(), aside.kill()).of("engine_state", ORIGIN) is None  # type: ignore[arg-type]


def test_a_place_outside_that_is_gone_or_useless_costs_only_that_copy(tmp_path: Path) -> None:
    """A cache may be emptied at any time, by anybody's broom, and irerd goes on."""
    for name in ("gone", "useless"):
        (place := tmp_path / name).mkdir()
        aside = RealFiles(place)
        if name == "gone":
            place.rmdir()
        else:
            (place / outside(ORIGIN) / "in the way").mkdir(parents=True)
        accusations = Accusations(SimFiles(), aside)  # type: ignore[arg-type]
        assert accusations.keep(SAID) and accusations.of("engine_state", ORIGIN) == SAID
        assert accusations.drop("engine_state", ORIGIN) is (name == "gone")
        found = accusations.of("engine_state", ORIGIN)
        assert (found.why if found is not None else None) == (None if name == "gone" else DAMAGED)
        aside.shut()


def test_a_damaged_one_still_accuses_and_any_witness_may_clear_it() -> None:
    files = SimFiles()
    accusations = kept(files, None)
    fd = files.open(beside("engine_state"), 2)
    files.write(fd, b"x")
    found = accusations.of("engine_state", ORIGIN)
    assert found is not None and (found.vkey, found.why) == ("", DAMAGED)


def test_a_verifier_without_a_daemon_hears_of_it_where_it_trusts_that_witness() -> None:
    files = SimFiles()
    ledger = open_ledger(files, lambda: "x")  # type: ignore[arg-type]
    ledger.add_log("engine_state")
    said = Accusation("engine_state", ledger.origin("engine_state"), 7, KEY.text(), SAID.why)
    assert Accusations(files, None).keep(said)  # type: ignore[arg-type]
    assert accused_by(files, "engine_state", [KEY]) == SAID.why  # type: ignore[arg-type]
    assert accused_by(files, "engine_state", []) is None  # type: ignore[arg-type]
    assert accused_by(files, "gate_log", [KEY]) is None  # type: ignore[arg-type]


def test_names_outside_are_no_paths() -> None:
    assert "/" not in outside(ORIGIN) and outside(ORIGIN) != outside(f"{ORIGIN}2")
