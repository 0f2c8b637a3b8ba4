"""Blobs: durable before anything names them, whole or refused when read, gone a day after nothing names them, and no sooner."""

import errno
import json
from random import Random

import pytest

from state.blobs import DIRECTORY, GRACE_US, UNNAMED, BadBlob, Blobs, path_of
from state.fs import Files
from state.log import Full, SyncFailed
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles

ONE, TWO = b'"' + b"a" * 20_000 + b'"', b'"' + b"b" * 70_000 + b'"'
NOW = 1_767_225_600_000_000
STATES_A_CALL = 12


def names(files: SimFiles) -> list[str]:
    return sorted(path for path in files.tree() if path.startswith(DIRECTORY))


def test_what_is_kept_is_read_back_as_it_was() -> None:
    blobs = Blobs(SimFiles())
    one, two = blobs.keep(ONE), blobs.keep(TWO)
    assert one == blobs.keep(ONE) and one != two
    assert (blobs.read(one), blobs.read(two)) == (ONE, TWO)


def story(files: Files, told: list[tuple[str, bytes]]) -> None:
    blobs = Blobs(files)
    for raw in (ONE, TWO, ONE):
        told.append((blobs.keep(raw), raw))


def test_whenever_it_is_cut_what_was_told_is_there_and_nothing_else_is_believed() -> None:
    """Killed at each call that changes the disk, then a power cut that keeps any subset of what was not synced."""
    random, nth, seen = Random(7), 1, 0
    while True:
        disk, told = SimFiles(), []
        try:
            story(NthFails(disk, nth, Killed(), CHANGES), told)
        except Killed:
            pass
        else:
            break
        for after in [disk.kill(), *[disk.crash(random) for _ in range(STATES_A_CALL)]]:
            seen += 1
            for name, raw in told:
                assert Blobs(after).read(name) == raw
            for name in {path.rpartition("/")[2] for path in names(after)}:
                if len(name) == 64:
                    try:
                        assert Blobs(after).read(name) in (ONE, TWO)
                    except BadBlob:
                        pass
            story(after, again := [])
            assert [Blobs(after).read(name) for name, _ in again] == [ONE, TWO, ONE]
        nth += 1
    assert seen > 100


def test_a_blob_that_is_not_what_its_name_says_is_refused() -> None:
    files = SimFiles()
    blobs = Blobs(files)
    name = blobs.keep(ONE)
    with pytest.raises(BadBlob, match="is missing"):
        blobs.read("0" * 64)
    files.plant(path_of(name), ONE[:-1] + b"x")
    with pytest.raises(BadBlob, match="its SHA-256 is another"):
        blobs.read(name)
    assert blobs.keep(ONE) == name and blobs.read(name) == ONE, "kept again, it is whole again"


def test_a_disk_without_room_takes_none_and_says_so() -> None:
    files = SimFiles(capacity=1_000_000)
    with pytest.raises(Full):
        Blobs(files).keep(ONE)
    assert names(files) == []


def test_no_room_in_the_middle_of_a_write_leaves_nothing_behind() -> None:
    files = SimFiles()
    failing = NthFails(files, 1, OSError(errno.ENOSPC, "full"), ("write",))
    blobs = Blobs(failing)
    with pytest.raises(Full):
        blobs.keep(ONE)
    assert names(files) == []
    assert blobs.read(blobs.keep(ONE)) == ONE, "room came back"


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "fsync_dir"])
def test_after_a_call_that_failed_nothing_is_stored_any_more(call: str) -> None:
    """A sync is never retried: after a failed one the cache lies."""
    blobs = Blobs(NthFails(SimFiles(), 1, OSError(errno.EIO, "rot"), (call,)))
    for raw in (ONE, TWO):
        with pytest.raises(SyncFailed):
            blobs.keep(raw)


# --- letting go -----------------------------------------------------------------------------------------------------------


def sweep(blobs: Blobs, named: set[str], now_us: int) -> int:
    blobs.begin_sweep()
    return blobs.sweep(named, now_us)


def test_what_nothing_names_goes_a_day_after_that_was_first_seen() -> None:
    files = SimFiles()
    blobs = Blobs(files)
    named, unnamed = blobs.keep(ONE), blobs.keep(TWO)
    assert sweep(blobs, {named}, NOW) == 0
    assert sweep(Blobs(files), {named}, NOW + GRACE_US - 1) == 0, "not before, over restarts too"
    assert sweep(Blobs(files), {named}, NOW + GRACE_US) == 1
    assert [path for path in names(files) if path.endswith(unnamed)] == [] and blobs.read(named) == ONE
    assert json.loads(files.content(UNNAMED)) == {}


def test_one_that_was_named_in_between_begins_its_day_anew() -> None:
    files = SimFiles()
    name = Blobs(files).keep(ONE)
    sweep(Blobs(files), set(), NOW)
    sweep(Blobs(files), {name}, NOW + 1)
    assert sweep(Blobs(files), set(), NOW + GRACE_US) == 0
    assert sweep(Blobs(files), set(), NOW + 2 * GRACE_US) == 1


@pytest.mark.parametrize("when", ["before the sweep", "while it asks what is named"])
def test_one_that_is_kept_again_as_its_day_ends_stays(when: str) -> None:
    files = SimFiles()
    name = Blobs(files).keep(ONE)
    blobs = Blobs(files)
    sweep(blobs, set(), NOW)
    if when == "before the sweep":
        blobs.keep(ONE)
    blobs.begin_sweep()
    if when != "before the sweep":
        blobs.keep(ONE)
    assert blobs.sweep(set(), NOW + GRACE_US) == 0 and blobs.read(name) == ONE
    assert sweep(blobs, {name}, NOW + GRACE_US + 1) == 0


def test_a_clock_that_stepped_back_only_makes_things_stay() -> None:
    files = SimFiles()
    blobs = Blobs(files)
    blobs.keep(ONE)
    sweep(Blobs(files), set(), NOW + 10 * GRACE_US)
    assert sweep(Blobs(files), set(), NOW) == 0
    assert sweep(Blobs(files), set(), NOW + GRACE_US - 1) == 0


def test_unfinished_files_go_and_strangers_stay() -> None:
    files = SimFiles()
    blobs = Blobs(files)
    name = blobs.keep(ONE)
    files.plant(path_of(name) + ".tmp", b"half")
    files.plant(f"{DIRECTORY}/{name[:2]}/notes", b"mine")
    sweep(blobs, {name}, NOW)
    assert [path.rpartition("/")[2] for path in names(files)] == sorted([name, "notes"])


def test_a_list_of_the_unnamed_that_is_damaged_only_makes_things_stay() -> None:
    files = SimFiles()
    Blobs(files).keep(ONE)
    sweep(Blobs(files), set(), NOW)
    files.plant(UNNAMED, b"{")
    assert sweep(Blobs(files), set(), NOW + GRACE_US) == 0
    assert sweep(Blobs(files), set(), NOW + 2 * GRACE_US) == 1
