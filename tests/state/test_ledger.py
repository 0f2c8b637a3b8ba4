"""The state directory: one holder, a key that is never made anew, and files of a later version left alone."""

import json
import os
import stat
import subprocess
import sys
from hashlib import blake2b

import pytest

from state.fs import RealFiles
from state.ledger import BadKey, BadLedger, Locked, NewerFormat, open_ledger, read_ledger
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import GOLDEN, Ids

LEDGER = "ledger.json"
KEY = "keys/ledger"


def made() -> SimFiles:
    files = SimFiles()
    ledger = open_ledger(files, Ids())
    ledger.add_log("engine_state")
    return files.kill()


def changed(files: SimFiles, **members: object) -> SimFiles:
    files.plant(
        LEDGER, json.dumps(json.loads(files.content(LEDGER)) | members, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    )
    return files


def test_a_new_ledger_is_itself_again_at_every_start():
    files = SimFiles()
    first = open_ledger(files, Ids())
    assert len(first.id) == 16 and int(first.id, 16) >= 0
    assert len(first.key) == 32
    assert (first.boots, first.logs) == (1, {})
    first.add_log("engine_state")
    first.close()
    second = open_ledger(files, Ids(50))
    assert (second.id, second.key, second.boots) == (first.id, first.key, 2)
    assert second.logs == {"engine_state": f"irer.invalid/{first.id}/engine_state"}
    assert files.stat_path(KEY).mode & 0o777 == 0o600


def test_two_ledgers_have_different_keys_and_ids():
    one, other = open_ledger(SimFiles(), Ids()), open_ledger(SimFiles(), Ids(7))
    assert one.id != other.id and one.key != other.key


def test_an_origin_is_fixed_when_the_log_is_made():
    files = made()
    ledger = open_ledger(files, Ids(), base="logs.example.org/irer")
    assert ledger.origin("engine_state") == f"irer.invalid/{ledger.id}/engine_state"
    assert ledger.origin("gate_log") == f"logs.example.org/irer/{ledger.id}/gate_log"
    with pytest.raises(ValueError, match="no name"):
        ledger.add_log("../gate")


def test_adding_a_log_is_durable_and_done_once():
    files = SimFiles()
    ledger = open_ledger(files, Ids())
    ledger.add_log("engine_state")
    assert json.loads(files.durable(LEDGER))["logs"] == ledger.logs
    ledger._files = watched = NthFails(files, 0, Killed(), CHANGES)
    ledger.add_log("engine_state")
    assert watched.calls == []


def test_a_second_holder_is_refused_and_told_who_holds():
    files = SimFiles()
    ledger = open_ledger(files, Ids())
    with pytest.raises(Locked) as locked:
        open_ledger(files, Ids())
    assert locked.value.pid == os.getpid()
    assert json.loads(files.content(LEDGER))["boots"] == 1
    ledger.close()
    assert open_ledger(files, Ids()).boots == 2


def test_a_start_on_a_full_disk_takes_what_is_there():
    """All but its own number can be had without writing, and who holds it is said by the lock."""
    files = SimFiles()
    first = open_ledger(files, Ids())
    first.add_log("engine_state")
    first.close()
    files.capacity = 0
    full = open_ledger(files, Ids())
    assert (full.id, full.logs, full.key, full.boots) == (first.id, first.logs, first.key, 2)
    with pytest.raises(Locked):
        open_ledger(files, Ids())
    full.close()
    files.capacity = None
    after = open_ledger(files.kill(), Ids())
    assert (after.id, after.logs, after.boots) == (first.id, first.logs, 2)


def test_a_new_ledger_needs_room():
    files = SimFiles(0)
    with pytest.raises(OSError):
        open_ledger(files, Ids())
    files.capacity = None
    assert open_ledger(files, Ids()).boots == 1


def test_a_refused_start_holds_nothing():
    files = made()
    files.plant(KEY, b"short")
    with pytest.raises(BadKey):
        open_ledger(files, Ids())
    files.plant(KEY, b"k" * 32)
    assert open_ledger(files, Ids()).key == b"k" * 32


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33])
def test_a_key_of_another_length_is_fatal_and_left_alone(key):
    files = made()
    files.plant(KEY, key)
    before = files.tree() | {"LOCK": b""}
    with pytest.raises(BadKey, match="never made anew"):
        open_ledger(files, Ids())
    assert files.tree() | {"LOCK": b""} == before


def test_a_missing_key_is_fatal():
    files = made()
    files.unlink(KEY)
    with pytest.raises(BadKey, match="missing"):
        open_ledger(files, Ids())
    assert files.stat_path(KEY) is None


def test_a_later_format_is_refused_and_left_alone():
    files = changed(made(), format=2, written_by="irer 9.1", more={"unknown": True})
    before = files.content(LEDGER)
    with pytest.raises(NewerFormat, match=r"format 2, written by irer 9\.1"):
        open_ledger(files, Ids())
    assert files.content(LEDGER) == before


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"rot", b'{"format":1}', b'{"format":"1"}', b"\xff"])
def test_a_damaged_ledger_is_refused_and_left_alone(raw):
    files = made()
    files.plant(LEDGER, raw)
    with pytest.raises(BadLedger, match="damaged"):
        open_ledger(files, Ids())
    assert files.content(LEDGER) == raw


def test_logs_without_a_ledger_are_never_given_a_new_one():
    files = SimFiles()
    files.plant("engine_state.jsonl", GOLDEN)
    with pytest.raises(BadLedger, match=r"engine_state\.jsonl but no ledger\.json"):
        open_ledger(files, Ids())
    assert files.stat_path(LEDGER) is None and files.stat_path(KEY) is None


def test_the_version_that_wrote_it_is_named():
    files = made()
    open_ledger(files, Ids(), written_by="irer 0.1.0")
    assert read_ledger(files).written_by == "irer 0.1.0"


def test_a_digest_stands_for_method_and_parameters_under_the_key():
    ledger = open_ledger(SimFiles(), Ids())
    expected = blake2b(b'irer/idem/1\0resource.scale\0{"pool":"compute","size":8}', digest_size=16, key=ledger.key).hexdigest()
    assert ledger.digest("resource.scale", b'{"pool":"compute","size":8}') == expected
    assert len(expected) == 32


def test_on_a_real_disk_the_lock_holds_between_processes_and_modes_are_private(tmp_path):
    files = RealFiles(tmp_path)
    ledger = open_ledger(files, Ids())
    program = (
        "import sys; from pathlib import Path; from state.fs import RealFiles; from state.ledger import Locked, open_ledger\n"
        "try: open_ledger(RealFiles(Path(sys.argv[1])), str)\n"
        "except Locked as locked: print(locked.pid)\n"
    )
    asked = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30)
    assert asked.stdout == f"{os.getpid()}\n"
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    ledger.close()
    again = open_ledger(files, Ids())
    assert again.boots == 2
    again.close()
    files.shut()
