"""Closing a segment: when it is due, what it leaves, that any failure of it is survived or final, and nothing in between."""

import errno
import os
import stat
from hashlib import sha256

import pytest

from core.canonical import decode
from state.fs import RealFiles
from state.log import ForeignWriter, Full, SyncFailed
from state.recover import records_between, recover
from state.room import ROOM
from state.rotation import RotationFailed
from state.segment import Corrupt, closed_path
from state.tree import Edge, leaf_hash
from tests.sim.disk import CHANGES, NthFails, SimFiles
from tests.state.logs import (
    ACTIVE,
    BOOT_ID,
    DAY_US,
    HEAD,
    NAME,
    ORIGIN,
    SMALL,
    append,
    filled,
    new_log,
    pending,
    recovered,
    small_log,
    stamp,
)

FIRST = closed_path(NAME, 0)
NOW_US = stamp()[0]


def test_a_rotation_leaves_a_closed_file_and_a_segment_that_names_it():
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1), pending(2)])
    before, tip = files.content(ACTIVE), log.tip
    leaves = [leaf_hash(line) for line in before.splitlines(keepends=True)]
    log.rotate(stamp)
    assert files.durable(FIRST) == before
    assert files.list(".") == [FIRST, ACTIVE, "log.d"]
    _, records = recovered(files.kill())
    opening = records[-1]
    assert (opening.seq, opening.commit, opening.offset, opening.actor) == (3, (2, 0, 1), 0, "irer")
    assert opening.event_type == "log.segment"
    assert decode(opening.payload) == {
        "align": 512,
        "format": "irer-log/1",
        "hash": "sha-256",
        "log": NAME,
        "origin": ORIGIN,
        "previous": {
            "bytes": len(before),
            "event_hash": tip,
            "first_seq": 0,
            "last_seq": 2,
            "name": FIRST,
            "sha256": sha256(before).hexdigest(),
        },
        "tree": {"root": Edge().extend(leaves).root().hex(), "size": 3},
    }
    assert (log.segment, log.first_seq, log.next_seq, log.next_batch, log.end) == (3, 0, 4, 3, opening.size)
    assert log.durable == (log.end, 4, 3, opening.event_hash) and log.durable_edge == log.edge
    assert b'"segment":3' in files.durable(HEAD) and log.head_batch == 2


def test_the_log_goes_on_over_many_segments_and_reads_back_whole():
    files = SimFiles()
    told = filled(files, 6)
    recovery, records = recovered(files.kill())
    assert [(record.seq, record.event_hash) for record in records] == told
    assert [record.event_type for record in records].count("log.segment") == 5
    log = recovery.log
    for first in range(0, len(told), 3):
        for last in (first, first + 1, first + 9, len(told)):
            found = [(record.seq, record.event_hash) for record in records_between(log, first, last)]
            assert found == told[first : last + 1]


def test_the_edge_and_the_digest_after_a_restart_are_those_of_one_long_run():
    one = SimFiles()
    long = small_log(one)
    other = SimFiles()
    for number in range(40):
        log = small_log(other)
        for each in (long, log):
            append(each, [pending(number)] * (1 + number % 4))
            if each.rotation_due(NOW_US):
                each.rotate(stamp)
        assert (log.edge, log.durable_edge, log.tip) == (long.edge, long.durable_edge, long.tip)
        log.write_head()
        log.close()
        other = other.kill()
    assert one.content(ACTIVE) == other.content(ACTIVE)
    assert len(one.list(".")) > 8


def test_it_is_due_by_size_by_count_and_by_age_whichever_way_the_clock_jumps():
    log = small_log(SimFiles())
    assert not log.rotation_due(NOW_US + 2 * DAY_US), "a segment of its opening record alone is not closed for its age"
    append(log, [pending(1)])
    assert not log.rotation_due(NOW_US + DAY_US - 1)
    assert log.rotation_due(NOW_US + DAY_US) and log.rotation_due(NOW_US - DAY_US)
    log.limits = SMALL._replace(records=5)
    append(log, [pending(1)] * 2)
    assert not log.rotation_due(NOW_US)
    append(log, [pending(1)])
    assert log.rotation_due(NOW_US)
    log.rotate(stamp)
    assert not log.rotation_due(NOW_US)
    append(log, [pending(1, 4_000)])
    assert log.rotation_due(NOW_US)


def test_age_is_told_from_the_opening_record_after_a_restart():
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    log.rotate(lambda: (NOW_US + 5 * DAY_US, 1, BOOT_ID))
    append(log, [pending(1)])
    log = small_log(files.kill())
    assert not log.rotation_due(NOW_US + 5 * DAY_US + 1)
    assert log.rotation_due(NOW_US + 6 * DAY_US)


def test_nothing_is_rotated_while_a_batch_is_not_durable():
    files = SimFiles()
    log = small_log(files)
    log.write(log.seal([pending(1)]).data)
    before = files.tree()
    with pytest.raises(RuntimeError):
        log.rotate(stamp)
    assert files.tree() == before
    log.sync()
    log.rotate(stamp)


def test_a_foreign_writer_shows_at_rotation_too():
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    files.plant(ACTIVE, files.content(ACTIVE) + b"x")
    with pytest.raises(ForeignWriter):
        log.rotate(stamp)
    assert FIRST not in files.list(".")


def test_the_order_of_the_steps():
    """Each sync is there for a crash that comes right behind it."""
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    log._files = watched = NthFails(files, 0, OSError())
    log.rotate(stamp)
    made = [call for call in watched.calls if call not in ("stat", "stat_path")]
    assert made[: made.index("chmod") + 1] == [
        "open",
        "write",
        "fsync",
        "link",
        "fsync_dir",
        "rename",
        "fsync_dir",
        "truncate",
        "chmod",
    ]


SURVIVED = {("open", 1), ("write", 1), ("fsync", 1), ("link", 1), ("rename", 1)}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_every_call_of_a_rotation_fails_in_turn(code):
    """Either the old segment goes on and the next attempt succeeds, or all is final and the next start finds everything."""
    nth = 0
    while True:
        nth += 1
        files = SimFiles()
        log = small_log(files)
        told = append(log, [pending(1), pending(2)])
        log._files = failing = NthFails(files, nth, OSError(code, "no"), CHANGES)
        before = log.next_seq, log.tip, log.edge, log.end
        try:
            log.rotate(stamp)
        except RotationFailed:
            assert (log.next_seq, log.tip, log.edge, log.end) == before
            told += append(log, [pending(3)])
            log._rotate_again_at = 0
            log.rotate(stamp)
            told += append(log, [pending(4)])
        except SyncFailed:
            with pytest.raises(SyncFailed):
                append(log, [pending(3)])
        else:
            if failing.count < nth:
                break
            told += append(log, [pending(3)])  # what failed was tidying up
        for after in (files.kill(), files):
            recovery, records = recovered(after)
            assert set(told) <= {(record.seq, record.event_hash) for record in records}
            append(recovery.log, [pending(9)])
            recovery.log.rotate(stamp)
    assert nth > 12


@pytest.mark.parametrize("call", ["link", "rename", "write", "fsync"])
def test_a_refusal_is_survived_and_a_broken_disk_is_final(call):
    for code, expected in ((errno.ENOSPC, RotationFailed), (errno.EIO, SyncFailed)):
        files = SimFiles()
        log = small_log(files)
        append(log, [pending(1)])
        log._files = NthFails(files, 1, OSError(code, "no"), [call])
        with pytest.raises(expected):
            log.rotate(stamp)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_directory_that_does_not_sync_is_final_whatever_it_says(nth):
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    log._files = NthFails(files, nth, OSError(errno.ENOSPC, "no"), ["fsync_dir"])
    with pytest.raises(SyncFailed):
        log.rotate(stamp)


def test_a_refused_rotation_goes_on_to_twice_the_size_and_then_takes_no_more():
    files = SimFiles()
    log = small_log(files)
    log._files = NthFails(files, 1, OSError(errno.ENOSPC, "no"), ["link"], always=True)
    tries = 0
    with pytest.raises(Full, match="twice"):
        while True:
            append(log, [pending(1, 600)])
            if log.rotation_due(NOW_US):
                tries += 1
                with pytest.raises(RotationFailed):
                    log.rotate(stamp)
            log.reserve()
    assert 2 * SMALL.bytes <= log.end <= 2 * SMALL.bytes + 1_536
    assert 3 <= tries <= 17
    log._files = files
    assert log.rotation_due(NOW_US)
    log.rotate(stamp)
    log.reserve()
    append(log, [pending(2)])
    _, records = recovered(files.kill())
    assert len(records) == log.next_seq


def test_a_file_that_blocks_the_closed_name_is_not_overwritten():
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    files.plant(FIRST, b"something else")
    with pytest.raises(RotationFailed):
        log.rotate(stamp)
    assert files.content(FIRST) == b"something else"
    append(log, [pending(2)])


def test_a_stream_that_was_reading_goes_on_through_rotations():
    files = SimFiles()
    log = small_log(files)
    told = [record[1] for record in append(log, [pending(n, 3_000) for n in range(40)])]
    stream = records_between(log, 1, 10_000)
    seen = [next(stream).event_hash]
    for _ in range(3):
        log.rotate(stamp)
        seen.append(next(stream).event_hash)
        append(log, [pending(1)])
    seen += [record.event_hash for record in stream]
    assert seen == told
    assert len(files._handles) == 1, "a closed segment stays open"


def test_a_segment_rotted_or_lost_while_the_daemon_runs_is_told_to_its_reader():
    files = SimFiles()
    filled(files, 3)
    log = small_log(files.kill())
    data = bytearray(files.content(FIRST))
    data[data.index(b"xxxx")] ^= 1
    log._files.plant(FIRST, bytes(data))
    with pytest.raises(Corrupt, match="does not match"):
        list(records_between(log, 1, 2))
    log._files.unlink(FIRST)
    with pytest.raises(Corrupt, match="is missing"):
        list(records_between(log, 1, 2))


def test_on_a_real_disk(tmp_path):
    files = RealFiles(tmp_path)
    log = recover(files, NAME, ORIGIN, stamp, lambda batch: None, limits=SMALL).log
    log.reserve()
    append(log, [pending(1, 100)] * 9)
    whole = (tmp_path / ACTIVE).read_bytes()
    log.rotate(stamp)
    closed = os.stat(tmp_path / FIRST)
    assert stat.S_IMODE(closed.st_mode) == 0o400
    assert closed.st_blocks * 512 < ROOM.own_bytes, "the room claimed past the end was not given back"
    assert (tmp_path / FIRST).read_bytes() == whole
    assert stat.S_IMODE(os.stat(tmp_path / ACTIVE).st_mode) == 0o600
    log.reserve()
    told = append(log, [pending(2)])
    assert [record.event_hash for record in records_between(log, told[0][0], 99)] == [told[0][1]]
    log.close()
    again, records = recovered(files)
    assert len(records) == 12 and again.log.segment == 10
    again.log.close()
    files.shut()


def test_without_limits_of_its_own_a_log_rotates_at_16_mib():
    log = new_log(SimFiles())
    assert log.limits == (16 << 20, 100_000, DAY_US)
