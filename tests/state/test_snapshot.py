"""Snapshot files: whole or noticed, whatever happens to the disk, and never fewer sound ones than before."""

import errno
from hashlib import sha256
from random import Random
from typing import Any

import pytest

from core.world import BadDump
from state import snapshot
from state.log import Full, SyncFailed
from state.snapshot import (
    KEPT,
    ROOM_BYTES_MIN,
    BadSnapshot,
    Header,
    Known,
    Restored,
    Skipped,
    listed,
    name_of,
    path_of,
    read,
    restore,
    write,
)
from tests.sim.disk import CHANGES, LOOKS, Killed, NthFails, SimFiles
from tests.state.bodies_read import BodiesRead

LOG = "engine_state"
SCHEMA = "5" * 64
ROOT = "a" * 64
BODY = b"the body of a snapshot\n" * 9


def tip(seq: int) -> str:
    return sha256(b"%d" % seq).hexdigest()


def tip_at(seq: int) -> str | None:
    """A log of 1,000 records."""
    return tip(seq) if seq < 1_000 else None


def body(seq: int) -> bytes:
    return b"%d " % seq + BODY


def keep(files: Any, seq: int, **more: Any) -> Header:
    given = {"tip": tip(seq), "root": ROOT, "schema": SCHEMA, "body": body(seq)}
    return write(files, LOG, seq=seq, **{**given, **more})


def disk(*seqs: int, capacity: int | None = None) -> BodiesRead:
    files = BodiesRead(capacity)
    files.plant(f"log.d/{LOG}/head", b"")
    for seq in seqs:
        keep(files, seq)
    return files


def restored(files: Any, **more: Any) -> tuple[Restored, list[tuple[int, bytes]]]:
    loaded: list[tuple[int, bytes]] = []
    given = {"schema": SCHEMA, "tip_at": tip_at, "load": lambda header, raw: loaded.append((header.seq, raw))}
    return restore(files, LOG, **{**given, **more}), loaded


def seqs(files: Any) -> list[int]:
    return [header.seq for header in listed(files, LOG).headers]


# --- the form ---------------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_one_sealed_line_and_its_body() -> None:
    files = disk()
    header = keep(files, 7)
    line, _, rest = files.content(f"log.d/{LOG}/snap/0000000000000007.snap").partition(b"\n")
    assert rest == body(7)
    sealed = (
        f'{{"bytes":{len(body(7))},"log":"engine_state","root":"{ROOT}","schema":"{SCHEMA}","seq":7,'
        f'"sha256":"{sha256(body(7)).hexdigest()}","size":8,"tip":"{tip(7)}"}}'
    ).encode()
    assert line == sealed[:-1] + b',"event_hash":"%b"}' % sha256(sealed).hexdigest().encode()
    assert read(files, LOG, 7) == (header, body(7))
    assert listed(files, LOG).headers == [header]


def test_the_newest_is_used() -> None:
    assert restored(disk(3, 8, 5)) == (Restored(read(disk(8), LOG, 8)[0], []), [(8, body(8))])


def test_a_log_without_snapshots_is_read_from_its_beginning() -> None:
    assert restored(SimFiles()) == restored(disk()) == (Restored(None, []), [])


def test_an_empty_body_is_a_body() -> None:
    files = disk()
    keep(files, 1, body=b"")
    assert read(files, LOG, 1)[1] == b""


# --- what does not match ----------------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed() -> None:
    files = disk(3, 5)
    path = path_of(LOG, 5)
    whole = files.content(path)
    for bit in range(8 * len(whole)):
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        files.plant(path, bytes(spoiled))
        with pytest.raises(BadSnapshot):
            read(files, LOG, 5)
        outcome, loaded = restored(files)
        assert loaded == [(3, body(3))]
        assert [each.name for each in outcome.skipped] == [name_of(5)]


def test_every_cut_and_every_added_byte_is_noticed() -> None:
    files = disk(3, 5)
    path = path_of(LOG, 5)
    whole = files.content(path)
    for changed in [*(whole[:size] for size in range(len(whole))), whole + b"\0", whole + b"\n", b"\n" + whole]:
        files.plant(path, changed)
        outcome, loaded = restored(files)
        assert loaded == [(3, body(3))] and [each.name for each in outcome.skipped] == [name_of(5)]


def test_a_snapshot_under_another_name_or_of_another_log_is_not_taken() -> None:
    files = disk(3, 5)
    five = files.content(path_of(LOG, 5))
    files.plant(path_of(LOG, 6), five)
    files.plant(f"log.d/gate_log/snap/{name_of(5)}", five)
    assert seqs(files) == [5, 3]
    assert listed(files, LOG).bad == [Skipped(name_of(6), "says it is of engine_state up to record 5")]
    assert listed(files, "gate_log").headers == []
    with pytest.raises(BadSnapshot, match="of engine_state"):
        read(files, "gate_log", 5)


def test_what_does_not_belong_to_this_version_or_history_is_skipped_with_its_reason() -> None:
    files = disk(1, 4_000)
    keep(files, 2, tip=tip(99))
    keep(files, 3, schema="6" * 64)
    outcome, loaded = restored(files)
    assert loaded == [(1, body(1))] and outcome.header is not None and outcome.header.seq == 1
    assert outcome.skipped == [
        Skipped(name_of(4_000), "the log has no record 4000"),
        Skipped(name_of(3), "another version made it"),
        Skipped(name_of(2), "record 2 of the log is another one"),
    ]


def test_a_body_that_cannot_be_loaded_is_skipped() -> None:
    taken: list[int] = []

    def load(header: Header, raw: bytes) -> None:
        if header.seq == 5:
            raise BadDump("no")
        taken.append(header.seq)

    outcome, _ = restored(disk(3, 5), load=load)
    assert taken == [3] and outcome.skipped == [Skipped(name_of(5), "the body cannot be loaded: no")]


def test_what_cannot_be_read_is_skipped_whatever_call_fails() -> None:
    files = disk(3, 5)
    nth = 0
    while True:
        nth += 1
        failing = NthFails(files, nth, OSError(errno.EIO, "I/O error"), (*LOOKS, "open"))
        outcome, loaded = restored(failing)
        if failing.count < nth:
            break
        assert loaded in ([(3, body(3))], [(5, body(5))], [])
        assert outcome.skipped, failing.calls[nth - 1]
        assert loaded or outcome.header is None
    assert nth > 8


def test_other_files_in_the_directory_are_no_snapshots() -> None:
    files = disk(3)
    for name in ("0000000000000009.snap.tmp", "9.snap", "x", "0000000000000009.snapp"):
        files.plant(f"log.d/{LOG}/snap/{name}", b"x")
    assert listed(files, LOG).bad == [] and seqs(files) == [3]


# --- keeping a few ----------------------------------------------------------------------------------------------------------


def test_the_newest_three_are_kept() -> None:
    files = disk(1, 2, 3, 4, 5)
    assert seqs(files) == [5, 4, 3]
    assert len([path for path in files.tree() if "/snap/" in path]) == KEPT == 3


def keep_known(files: Any, known: Known, *seqs: int) -> None:
    for seq in seqs:
        keep(files, seq, known=known)


def rot(files: SimFiles, seq: int) -> None:
    rotten = bytearray(files.content(path_of(LOG, seq)))
    rotten[-1] ^= 1
    files.plant(path_of(LOG, seq), bytes(rotten))


def test_none_is_read_as_long_as_none_can_go() -> None:
    """They may be large, and a stop waits for it."""
    files = disk()
    keep_known(files, Known(), 1, 2, 3)
    assert files.bodies == []


def test_what_this_process_wrote_or_read_whole_is_never_read_again() -> None:
    files = disk(1, 2, 3)
    known = Known()
    assert known.read(files, LOG, 3)[1] == body(3)
    assert files.bodies == [3]
    keep_known(files, known, 4)
    assert files.bodies == [3, 2], "the one from before the start, once"
    keep_known(files, known, 5, 6, 7, 8, 9)
    assert files.bodies == [3, 2] and seqs(files) == [9, 8, 7]
    for seq in (9, 8, 7):
        known.check(files, LOG, seq)
    assert files.bodies == [3, 2]


def test_what_another_process_wrote_is_read_before_an_older_one_goes() -> None:
    files = disk(1, 2, 3)
    keep(files, 4)
    assert files.bodies == [3, 2] and seqs(files) == [4, 3, 2]


@pytest.mark.parametrize("spoil", ["gone", "cut", "header", "another"])
def test_one_that_is_known_and_no_longer_the_same_file_does_not_count(spoil: str) -> None:
    files, known = disk(1), Known()
    keep_known(files, known, 2, 3)
    path = path_of(LOG, 3)
    whole = files.content(path)
    if spoil == "gone":
        files.unlink(path)
    elif spoil == "another":  # whose header says the truth of it, and the body is bad
        keep(files, 3, body=b"another" + BODY)
        rot(files, 3)
    else:
        files.plant(path, whole[:-1] if spoil == "cut" else b"[" + whole[1:])
    with pytest.raises(BadSnapshot):
        known.check(files, LOG, 3)
    keep_known(files, known, 4)
    assert read(files, LOG, 1)[1] == body(1), "1 is one of three sound ones"


def test_one_that_is_bad_is_never_known() -> None:
    files, known = disk(1, 2), Known()
    rot(files, 2)
    for _ in range(2):
        with pytest.raises(BadSnapshot):
            known.read(files, LOG, 2)
        with pytest.raises(BadSnapshot):
            known.check(files, LOG, 2)
    keep_known(files, known, 3, 4)
    assert seqs(files) == [4, 3, 2, 1]


def test_one_that_is_not_surely_on_disk_is_not_known() -> None:
    files, known = disk(1, 2, 3), Known()
    with pytest.raises(SyncFailed):
        keep(NthFails(files, 2, OSError(errno.EIO, "I/O error"), ("fsync_dir",)), 4, known=known)
    rot(files, 4)
    with pytest.raises(BadSnapshot):
        known.check(files, LOG, 4)


def test_one_that_is_damaged_does_not_count() -> None:
    files = disk(1, 2, 3)
    for seq in (2, 3):
        rot(files, seq)
    keep(files, 4)
    keep(files, 5)
    assert seqs(files) == [5, 4, 3, 2, 1], "1 is one of three sound ones"
    keep(files, 6)
    assert seqs(files) == [6, 5, 4]


def test_one_that_is_ahead_of_the_log_neither_counts_nor_goes() -> None:
    files = disk(900, 901, 902, 903)
    for seq in (1, 2, 3, 4):
        keep(files, seq)
    assert seqs(files) == [903, 902, 901, 4, 3, 2]


def test_unfinished_ones_are_swept_away() -> None:
    files = disk(1)
    files.plant(f"log.d/{LOG}/snap/{name_of(2)}.tmp", b"half")
    keep(files, 3)
    assert not [path for path in files.tree() if path.endswith(".tmp")]


# --- faults -----------------------------------------------------------------------------------------------------------------


def sound(files: Any) -> list[int]:
    """Snapshots that can be restored, each with the very body it was given."""
    found = []
    for header in listed(files, LOG).headers:
        try:
            assert read(files, LOG, header.seq) == (header, body(header.seq))
        except BadSnapshot:
            continue
        found.append(header.seq)
    return found


@pytest.mark.parametrize("before", [(), (1,), (1, 2, 3)])
def test_a_power_cut_leaves_the_snapshots_of_before_or_the_new_one_too(before: tuple[int, ...]) -> None:
    """At every call, before and after it; an older one is gone only where the new one is there."""
    random = Random(1)
    states = 0
    for after in (False, True):
        nth = 0
        while True:
            nth += 1
            files = disk(*before)
            dying = NthFails(files, nth, Killed(), CHANGES, after=after)
            try:
                keep(dying, 9)
            except Killed:
                pass
            else:
                break
            for left in [files.kill(), *(files.crash(random) for _ in range(12))]:
                states += 1
                kept = sound(left)
                assert set(before) <= set(kept) or (9 in kept and set(before) - set(kept) <= {1}), (nth, kept)
                assert set(kept) <= {*before, 9}
                assert restored(left)[1] == [(seq, body(seq)) for seq in kept[:1]]
                keep(left, 10)
                assert sound(left)[0] == 10 and not [path for path in left.tree() if path.endswith(".tmp")]
    assert states > 100


@pytest.mark.parametrize("before", [(), (1,), (1, 2, 3)])
def test_once_it_returns_it_survives_a_power_cut(before: tuple[int, ...]) -> None:
    random = Random(2)
    files = disk(*before)
    keep(files, 9)
    assert all(sound(files.crash(random))[0] == 9 for _ in range(20))


def test_a_full_disk_leaves_everything_as_it_was() -> None:
    files = disk(1, 2, 3, capacity=ROOM_BYTES_MIN + 4_000)
    tree = files.tree()
    with pytest.raises(Full):
        keep(files, 4, body=bytes(2_500))
    assert files.tree() == tree, "a snapshot may not take the last room"
    keep(files, 4)


def test_room_that_vanishes_while_it_is_written_is_given_back() -> None:
    nth = 0
    while True:
        nth += 1
        files = disk(1, 2, 3)
        failing = NthFails(files, nth, OSError(errno.ENOSPC, "no space"), ("open", "write", "fsync", "rename"))
        try:
            keep(failing, 4)
        except Full:
            assert sound(files) == [3, 2, 1] and len([path for path in files.tree() if "/snap/" in path]) == 3
        else:
            break
    assert nth > 4


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "fsync_dir", "unlink"])
def test_any_other_failure_to_write_is_told_apart_and_costs_no_snapshot(call: str) -> None:
    files = disk(1, 2, 3)
    failing = NthFails(files, 1, OSError(errno.EIO, "I/O error"), (call,))
    with pytest.raises(SyncFailed):
        keep(failing, 4)
    assert set(sound(files)) >= {1, 2, 3}


def test_short_writes_are_gone_on_with() -> None:
    files = disk()
    keep(NthFails(files, 1, "short", ("write",), always=True), 4)
    assert sound(files) == [4]


def test_the_directory_is_made_durably_with_the_first_one() -> None:
    files = disk()
    keep(files, 4)
    assert snapshot.directory(LOG) == f"log.d/{LOG}/snap"
    assert all(sound(files.crash(Random(seed))) == [4] for seed in range(20))
