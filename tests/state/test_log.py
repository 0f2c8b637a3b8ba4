"""Appending: what is refused, what is final, and that a batch is one write in the one form."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.canonical import decode, encode
from state.fs import RealFiles
from state.judge import head_of
from state.log import ForeignWriter, Full, SyncFailed, create
from state.recover import records_between
from state.room import ROOM
from state.rotation import RotationFailed
from state.scan import Scan
from state.seal import BATCH_BYTES_MAX, Pending, Record, TooLarge, measure
from tests.sim.disk import CHANGES, NthFails, SimFiles
from tests.state.logs import ACTIVE, HEAD, NAME, ORIGIN, append, new_log, pending, recovered, stamp

EIO = OSError(errno.EIO, "EIO")


def state_of(log):
    return log.next_seq, log.tip, log.next_batch, log.end


def test_a_batch_is_chained_padded_and_read_back():
    files = SimFiles()
    log = new_log(files)
    told = append(log, [pending(number, number * 40) for number in range(20)])
    assert [seq for seq, _ in told] == list(range(1, 21))
    assert log.end % 512 == 0
    assert log.durable == (log.end, 21, 2, told[-1][1])
    _, records = recovered(files.kill())
    assert [(record.seq, record.event_hash) for record in records[1:]] == told
    assert [record.pad is None for record in records[1:]] == [True] * 19 + [False]
    assert [decode(record.payload)["n"] for record in records[1:]] == list(range(20))


events = st.builds(
    Pending,
    event_type=st.sampled_from(["task.done", "a.b", "gate.refused_many", "x2." * 20 + "last"]),
    payload=st.dictionaries(st.sampled_from(["a", "b,", 'c"seq":1', "}"]), st.text(max_size=30), max_size=3).map(encode),
    actor=st.sampled_from(["irer", "uid:1000", "engine:mailer", "x" * 64, "a b,c}"]),
    boot_id=st.sampled_from(["00000000", "b7f3c1d2"]),
    mono_us=st.integers(0, 2**53 - 1),
    time_us=st.integers(0, 2**53 - 1),
    idem=st.none() | st.sampled_from([("0" * 32, "12345678"), ("f" * 32, "A._:-" * 12)]),
)


def unsealed(record: Record) -> Pending:
    return Pending(record.event_type, record.payload, record.actor, record.boot_id, record.mono_us, record.time_us, record.idem)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(events, min_size=1, max_size=6), max_size=4))
def test_whatever_is_sealed_scans_to_the_same_fields(groups):
    log = create(SimFiles(), NAME, ORIGIN, stamp)
    written = log.read(0, log.end)
    data = written + b"".join(log.seal(group).data for group in groups)
    scan = Scan(lambda offset, size: data[offset : offset + size], len(data))
    found = [record for batch in scan.batches() for record in batch][1:]
    assert scan.bad is None
    assert all(record.size - (record.pad or 0) <= measure(unsealed(record)) + len(',"pad":""') for record in found)
    assert [unsealed(record) for record in found] == [one for group in groups for one in group]


def test_limits_are_refused_and_change_nothing():
    log = new_log(SimFiles())
    before = state_of(log)
    for records in ([], [pending(1)] * 257, [pending(1, 60_000)], [pending(1), pending(2, 59_900)], [pending(1, 50_000)] * 22):
        with pytest.raises(TooLarge):
            log.seal(records)
        assert state_of(log) == before
    with pytest.raises(TooLarge):
        measure(pending(1, 60_000))


def test_the_largest_batches_are_taken():
    files = SimFiles()
    log = new_log(files)
    append(log, [pending(1, 59_500)])
    append(log, [pending(1)] * 256)
    one = pending(1, 50_000)
    append(log, [one] * (BATCH_BYTES_MAX // measure(one)))
    assert recovered(files.kill())[0].log.next_batch == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"actor": ""},
        {"actor": "x" * 65},
        {"actor": 'a"b'},
        {"actor": "a\\b"},
        {"actor": "a\nb"},
        {"actor": "é"},
        {"boot_id": "B7F3C1D2"},
        {"boot_id": "b7f3c1d"},
        {"event_type": "task"},
        {"event_type": "Task.done"},
        {"event_type": "task.done\n"},
        {"event_type": "task." + "x" * 60},
        {"idem": ("0" * 31, "12345678")},
        {"idem": ("0" * 32, "1234567")},
        {"idem": ("0" * 32, 'a"bcdefgh')},
        {"mono_us": -1},
        {"time_us": -1},
        {"payload": b"[]"},
        {"payload": b""},
        {"payload": b'{"a":\n1}'},
        {"time_us": 2**53},
        {"mono_us": 2**53},
    ],
)
def test_a_name_or_time_without_a_form_never_gets_into_a_log(wrong):
    log = new_log(SimFiles())
    before = state_of(log)
    with pytest.raises(ValueError):
        log.seal([pending(1)._replace(**wrong)])
    assert state_of(log) == before


def test_short_writes_go_on():
    files = SimFiles()
    log = new_log(files)
    log._files = NthFails(files, 1, "short", ["write"], always=True)
    told = append(log, [pending(1, 5000)])
    assert log._files.count > 8
    assert [(record.seq, record.event_hash) for record in recovered(files.kill())[1][1:]] == told


@pytest.mark.parametrize("call", ["write", "fdatasync", "stat"])
def test_a_failed_write_or_sync_is_final_and_never_retried(call):
    files = SimFiles()
    log = new_log(files)
    log._files = failing = NthFails(files, 1, EIO, [call])
    with pytest.raises(SyncFailed):
        append(log, [pending(1)])
    assert failing.count == 1
    watched = log._files = NthFails(files, 0, EIO)
    for step in (log.sync, lambda: log.write(b""), log.write_head, lambda: append(log, [pending(2)])):
        with pytest.raises(SyncFailed):
            step()
    assert watched.calls == [], "the disk was touched after a failure"
    assert log.durable.seq == 1


def test_a_long_batch_sets_out_for_the_medium_before_its_tree_is_worked_out_and_is_durable_only_by_its_sync():
    files = SimFiles()
    log = new_log(files)
    log._files = watched = NthFails(files, 0, EIO)
    before = log.durable
    log.write(log.seal([pending(number) for number in range(100)]).data)
    assert watched.calls == ["stat", "write", "begin_sync"] and log.durable == before and log.durable_edge.size == 1
    log.sync()
    assert watched.calls[3:] == ["fdatasync"] and log.durable.offset == log.end and log.durable_edge.size == 101
    log._files = NthFails(files, 1, EIO, ["begin_sync"])
    with pytest.raises(SyncFailed):
        append(log, [pending(number) for number in range(100)])
    log._files = files
    with pytest.raises(SyncFailed, match="an earlier write failed"):
        append(log, [pending(1)])


def test_a_batch_that_was_begun_has_set_out_however_short_and_is_durable_only_by_its_sync():
    files = SimFiles()
    log = new_log(files)
    log._files = watched = NthFails(files, 0, EIO)
    before = log.durable
    assert log.begin(log.seal([pending(1)]).data) is None, "these files have nothing to tell by"
    assert watched.calls == ["stat", "write", "begin_sync", "bell"] and log.durable == before
    log.sync()
    assert watched.calls[4:] == ["fdatasync"] and log.durable.offset == log.end


def test_a_full_disk_under_a_write_is_a_failed_write():
    files = SimFiles()
    log = new_log(files)
    files.capacity = files._used() + 100
    with pytest.raises(SyncFailed):
        append(log, [pending(1, 3000)])


@pytest.mark.parametrize(
    "change", [lambda files: files.plant(ACTIVE, files.content(ACTIVE) + b"x"), lambda files: files.plant(ACTIVE, b"")]
)
def test_a_foreign_writer_shows_before_anything_is_written(change):
    files = SimFiles()
    log = new_log(files)
    append(log, [pending(1)])
    change(files)
    found = files.content(ACTIVE)
    with pytest.raises(ForeignWriter):
        append(log, [pending(2)])
    assert files.content(ACTIVE) == found
    with pytest.raises(SyncFailed):
        append(log, [pending(3)])


CLAIMED = ROOM.own_bytes + ROOM.ahead_bytes


def test_room_is_claimed_before_it_is_needed():
    files = SimFiles(capacity=2 * CLAIMED)
    log = new_log(files)
    assert log.reserved_bytes == 0
    log.reserve()
    assert log.reserved_bytes == CLAIMED
    assert len(files.content(ACTIVE)) == 512, "claiming room changed the size"
    append(log, [pending(1, 3000)])
    assert log.reserved_bytes == CLAIMED - (log.end - 512)
    files.capacity = files._used()
    with pytest.raises(Full):
        log.reserve()
    append(log, [pending(2)])  # what was claimed is still there
    files.capacity = None
    log.reserve()
    assert log.reserved_bytes == CLAIMED


def test_more_is_claimed_for_what_waits_where_there_is_so_much():
    files = SimFiles(capacity=2 * CLAIMED)
    log = new_log(files)
    log.reserve(10_000)
    assert log.reserved_bytes == CLAIMED + 10_000
    log.reserve(CLAIMED)
    assert log.full is None and log.reserved_bytes == CLAIMED + 10_000, "the usual room is there, so nothing is refused"


def test_where_room_cannot_be_claimed_free_space_must_do():
    files = SimFiles(capacity=2 * CLAIMED, reserves=False)
    log = new_log(files)
    log.reserve()
    append(log, [pending(1, 3000)])
    files.capacity = files._used() + CLAIMED - 1
    with pytest.raises(Full):
        log.reserve()
    assert log.full_to_tell
    files.capacity = files._used() + 20_000  # and now others have taken it
    with pytest.raises(Full):
        log.reserve()
    assert not log.full_to_tell and not log.holds(1), "to write now would be to hope"


def filled_up(files):
    """A log that held room when the disk became full."""
    log = new_log(files)
    log.reserve()
    files.capacity = files._used() + 2_000
    append(log, [pending(1, 3_000)])
    with pytest.raises(Full):
        log.reserve()
    return log


def told(log):
    records = records_between(log, 0, log.next_seq)
    return [(record.event_type, decode(record.payload)) for record in records if record.event_type == "log.full"]


def test_a_full_log_keeps_its_own_part_says_so_once_and_takes_more_only_with_much_room():
    files = SimFiles()
    log = filled_up(files)
    assert log.full.reason == "disk-full" and "64 MiB" in log.full.text
    assert log.reserved_bytes >= ROOM.own_bytes and log.full_to_tell
    log.tell_full(stamp)
    for free in (0, CLAIMED + 10_000, ROOM.back_bytes - 1):
        files.capacity = files._used() + free
        with pytest.raises(Full):
            log.reserve()
        assert not log.full_to_tell, "it would be said twice"
    assert told(log) == [("log.full", {"free_bytes": 2_000, "reason": "disk-full"})]
    files.capacity = files._used() + ROOM.back_bytes
    log.reserve()
    assert log.full is None and log.reserved_bytes == CLAIMED
    append(log, [pending(2)])
    files.capacity = files._used()
    log.room = log.room._replace(ahead_bytes=2 * CLAIMED)
    with pytest.raises(Full):
        log.reserve()
    log.tell_full(stamp)
    assert len(told(log)) == 2, "another time is said anew"


def test_a_start_on_a_disk_that_is_still_full_does_not_say_it_again():
    files = SimFiles()
    log = filled_up(files)
    log.tell_full(stamp)
    end = log.end
    log = recovered(files.kill())[0].log
    log.room = log.room._replace(ahead_bytes=16 * CLAIMED)
    with pytest.raises(Full):
        log.reserve()
    assert log.full_to_tell
    log.tell_full(stamp)
    assert log.end == end and not log.full_to_tell


def test_a_log_that_never_held_room_on_a_full_disk_writes_nothing_until_there_is_some():
    files = SimFiles()
    log = new_log(files)
    files.capacity = files._used() + 100
    with pytest.raises(Full):
        log.reserve()
    assert not log.full_to_tell and log.reserved_bytes == 0
    files.capacity = files._used() + ROOM.own_bytes
    with pytest.raises(Full):
        log.reserve()
    assert log.full_to_tell and log.reserved_bytes == ROOM.own_bytes
    log.tell_full(stamp)
    assert len(told(log)) == 1


def test_a_new_segment_holds_room_before_the_old_one_lets_go_of_its_own():
    files = SimFiles(capacity=3 * CLAIMED)
    log = new_log(files)
    log.reserve()
    log.rotate(stamp)
    assert log.reserved_bytes == CLAIMED
    files.capacity = files._used() + CLAIMED
    with pytest.raises(RotationFailed, match="No space left"):
        log.rotate(stamp)
    assert log.reserved_bytes == CLAIMED and files.list(".").count("engine_state.next") == 0
    append(log, [pending(1)])


def test_a_failed_reservation_of_another_kind_is_final():
    files = SimFiles()
    log = new_log(files)
    log._files = NthFails(files, 1, EIO, ["reserve"])
    with pytest.raises(SyncFailed):
        log.reserve()
    with pytest.raises(SyncFailed):
        append(log, [pending(1)])


def test_the_head_names_what_is_durable_and_nothing_newer():
    files = SimFiles()
    log = new_log(files)
    told = append(log, [pending(1), pending(2)])
    end = log.end
    log.write(log.seal([pending(3)]).data)
    assert log.write_head()
    head = head_of(files, NAME)
    assert (head.batch, head.seq, head.tip, head.offset, head.segment) == (1, 2, told[-1][1], end, 0)
    assert log.head_batch == 1
    log.sync()
    assert log.head_batch == 1
    assert log.write_head()
    assert log.head_batch == head_of(files, NAME).batch == 2


def test_a_head_that_finds_no_room_leaves_the_older_one():
    files = SimFiles()
    log = new_log(files)
    append(log, [pending(1)])
    before = files.content(HEAD)
    files.capacity = files._used()
    assert not log.write_head()
    assert files.content(HEAD) == before
    assert log.head_batch == 0
    files.capacity = None
    assert log.write_head()


def test_a_head_that_fails_otherwise_is_final():
    for nth in range(1, 6):
        files = SimFiles()
        log = new_log(files)
        append(log, [pending(1)])
        log._files = NthFails(files, nth, EIO, CHANGES)
        with pytest.raises(SyncFailed):
            log.write_head()
        with pytest.raises(SyncFailed):
            append(log, [pending(2)])


def test_a_log_is_never_made_over_another():
    files = SimFiles()
    new_log(files).close()
    before = files.tree()
    with pytest.raises(FileExistsError):
        create(files, NAME, ORIGIN, stamp)
    assert files.tree() == before


def test_on_a_real_disk_room_is_claimed_without_changing_the_size(tmp_path):
    files = RealFiles(tmp_path)
    log = create(files, NAME, ORIGIN, stamp)
    log.reserve()
    assert os.stat(tmp_path / ACTIVE).st_size == 512
    append(log, [pending(1)])
    with (tmp_path / ACTIVE).open("ab") as foreign:
        foreign.write(b"x")
    with pytest.raises(ForeignWriter):
        append(log, [pending(2)])
    log.close()
    files.shut()
