"""Recovery tells a torn tail from damage, and touches nothing but the first."""

import errno
import os
from hashlib import sha256

import pytest

from core.canonical import decode, encode
from state.fs import RealFiles
from state.ledger import NewerFormat
from state.log import Full, SyncFailed
from state.recover import records_between, recover
from state.seal import Pending, seal
from state.segment import Corrupt
from tests.sim.disk import CHANGES, NthFails, SimFiles
from tests.state.logs import (
    ACTIVE,
    BOOT_ID,
    GOLDEN,
    GOLDEN_TIPS,
    HEAD,
    NAME,
    ORIGIN,
    append,
    golden_disk,
    golden_head,
    head_line,
    ledger,
    new_log,
    pending,
    recovered,
    stamp,
)


def refused(files, origin=ORIGIN):
    before = files.tree()
    handed = []
    with pytest.raises(Corrupt) as corrupt:
        recover(files, NAME, origin, stamp, handed.extend)
    assert files.tree() == before, "damage was touched"
    return corrupt.value, handed


def test_a_log_that_never_was_is_made_and_handed_out():
    files = SimFiles()
    recovery, records = recovered(files)
    assert [record.event_type for record in records] == ["log.genesis"]
    assert recovery.torn is None
    assert (recovery.log.next_seq, recovery.log.next_batch, recovery.log.end) == (1, 1, 512)
    assert recovery.log.head_batch == 0


def test_a_sound_log_is_handed_out_batch_by_batch():
    files = golden_disk(watermark=2)
    handed = []
    log = recover(files, NAME, ORIGIN, stamp, lambda batch: handed.append(len(batch))).log
    assert handed == [1, 3, 4]
    assert (log.next_seq, log.tip, log.next_batch, log.end) == (8, GOLDEN_TIPS[2][1], 3, 4096)
    assert log.head_batch == 2
    assert files.content(ACTIVE) == GOLDEN


def test_a_torn_tail_is_kept_cut_off_and_recorded():
    tail = GOLDEN[2048:3000]
    files = golden_disk(GOLDEN[:3000], watermark=1)
    recovery, records = recovered(files)
    assert recovery.torn is not None
    assert (recovery.torn.offset, recovery.torn.bytes, recovery.torn.sha256) == (2048, 952, sha256(tail).hexdigest())
    assert files.durable(recovery.torn.kept_as) == tail
    assert records[-1].event_type == "log.recovered"
    assert records[-1].commit == (2, 0, 1)
    assert records[-1].actor == "irer"
    assert decode(records[-1].payload) == {"bytes": 952, "offset": 2048, "sha256": sha256(tail).hexdigest()}
    assert files.durable(ACTIVE)[:2048] == GOLDEN[:2048]
    assert len(files.durable(ACTIVE)) % 512 == 0


def test_on_a_full_disk_a_torn_tail_is_kept_in_the_room_that_its_log_had_claimed():
    """Else a machine whose disk is full, and that loses power, would not even serve reads until somebody frees some."""
    files = SimFiles()
    log = new_log(files)
    log.reserve()
    append(log, [pending(1)])
    sound, tail = files.content(ACTIVE), b'{"actor":"uid:1000","boot_id"'
    fd = files.open(ACTIVE, os.O_WRONLY | os.O_APPEND)
    files.write(fd, tail)
    files.capacity = files._used()
    assert files.free() == 0
    after = files.kill()
    recovery, records = recovered(after)
    assert recovery.torn is not None and after.durable(recovery.torn.kept_as) == tail
    assert after.durable(ACTIVE).startswith(sound) and records[-1].event_type == "log.recovered"
    with pytest.raises(Full):  # reads only, until there is room for more than this
        recovery.log.reserve()
    assert recovery.log.full is not None


def test_a_file_that_ends_cleanly_inside_a_batch_is_torn():
    files = golden_disk(GOLDEN[: 2048 + 424], watermark=1)
    assert recovered(files)[0].torn.bytes == 424


@pytest.mark.parametrize(
    ("data", "watermark", "why"),
    [
        (b"", 0, "empty"),
        (b"\0" * 4096, 0, "first batch"),
        (GOLDEN[:511], 0, "first batch"),
        (GOLDEN[512:], 0, "first batch"),
        (GOLDEN[:2048], 2, "durable and is gone"),
        (GOLDEN[:4000], 2, "in a batch that was durable"),
        (GOLDEN[:512] + GOLDEN[2048:], 0, "intact later batch"),
        (GOLDEN[:2000] + GOLDEN[2048:], 0, "intact later batch"),
        (GOLDEN[:1000] + b"\0" * 512 + GOLDEN[1512:], 0, "intact later batch"),
        (GOLDEN[:2047] + b"x" + GOLDEN[2048:], 0, "intact later batch"),
        (GOLDEN[:2048], None, "head is missing"),
        (GOLDEN[:600], None, "head is missing"),
    ],
)
def test_damage_is_named_and_left_alone(data, watermark, why):
    corrupt, handed = refused(golden_disk(data, watermark))
    assert why in corrupt.why
    assert len(handed) == (corrupt.seq if handed else 0) or handed[-1].seq < corrupt.seq
    assert (
        b"".join(GOLDEN[record.offset : record.offset + record.size] for record in handed)
        == GOLDEN[: len(handed) and handed[-1].offset + handed[-1].size]
    )


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"", "head is damaged"),
        (golden_head(1)[:-1], "head is damaged"),
        (golden_head(1).replace(b'"seq":3', b'"seq":2'), "head is damaged"),
        (golden_head(1) + b"\n", "head is damaged"),
        (head_line(1, 3, GOLDEN_TIPS[1][1], 2048, log="gate_log"), "head is of gate_log"),
        (head_line(1, 3, GOLDEN_TIPS[0][1], 2048), "not the one the head names"),
        (head_line(1, 2, GOLDEN_TIPS[1][1], 2048), "not the one the head names"),
        (head_line(1, 3, GOLDEN_TIPS[1][1], 2560), "not the one the head names"),
        (head_line(3, 11, GOLDEN_TIPS[1][1], 8192), "durable and is gone"),
    ],
)
def test_a_head_that_does_not_fit_is_damage(head, why):
    files = golden_disk()
    files.plant(HEAD, head)
    assert why in refused(files)[0].why


@pytest.mark.parametrize("head", [None, b"", b"rot"])
def test_a_log_that_is_only_its_genesis_gets_its_head_again(head):
    files = golden_disk(GOLDEN[:512], None)
    if head is not None:
        files.plant(HEAD, head)
    assert recovered(files)[0].log.head_batch == 0
    assert files.durable(HEAD) == golden_head(0)


def test_a_log_of_another_ledger_or_name_is_refused():
    assert "another ledger" in refused(golden_disk(), "irer.invalid/ffffffffffffffff/engine_state")[0].why
    files = SimFiles()
    files.plant("gate_log.jsonl", GOLDEN)
    with pytest.raises(Corrupt, match="does not begin as gate_log"):
        recover(files, "gate_log", ORIGIN, stamp, lambda batch: None)


def test_a_known_log_without_its_file_is_damage_and_never_new():
    files = SimFiles()
    book = ledger(files)
    log = recover(files, NAME, book.origin(NAME), stamp, lambda batch: None).log
    book.add_log(NAME)
    log.close()
    files.unlink(ACTIVE)
    assert "missing" in refused(files, book.origin(NAME))[0].why
    assert files.stat_path(ACTIVE) is None


def test_a_head_without_its_file_is_damage():
    files = SimFiles()
    files.plant(HEAD, golden_head(0))
    assert "missing" in refused(files)[0].why


def test_records_that_the_ledger_has_never_heard_of_are_refused():
    files = golden_disk()
    ledger_files = SimFiles()
    ledger(ledger_files)
    files.plant("ledger.json", ledger_files.content("ledger.json"))
    assert "never heard of" in refused(files)[0].why


def test_what_a_failed_creation_left_is_cleared():
    files = SimFiles()
    files.plant(f"{NAME}.next", b"half")
    assert recovered(files)[0].log.next_seq == 1
    files = golden_disk()
    files.plant(f"{NAME}.next", b"half")
    recovered(files)
    assert files.stat_path(f"{NAME}.next") is None


def test_a_newer_format_is_refused_clearly():
    files = SimFiles()
    newer = GOLDEN[:512]
    first = Pending("log.genesis", encode({"align": 512, "format": "irer-log/2"}), "irer", BOOT_ID, 1, 1)
    newer, tip = seal(first, (0, 0, 1), "0" * 64, 0, 0)
    files.plant(ACTIVE, newer)
    files.plant(HEAD, head_line(0, 0, tip, len(newer)))
    with pytest.raises(NewerFormat, match="irer-log/2"):
        recovered(files)


def test_the_cache_is_not_believed_after_a_failed_sync():
    """The kernel shows the lost batch until it is made to forget it; a record of it would be acknowledged and not there."""
    files = SimFiles()
    log = new_log(files)
    fails = NthFails(files, 1, OSError(errno.EIO, "EIO"), ["fdatasync"])
    log._files = fails
    with pytest.raises(SyncFailed):
        append(log, [pending(1)])
    shown = files.content(ACTIVE)
    assert len(shown) > 512 and len(files.durable(ACTIVE)) == 512
    after = files.kill()
    recovery, records = recovered(after)
    assert [record.event_type for record in records] == ["log.genesis", "log.recovered"]
    assert recovery.torn is not None
    assert after.durable(ACTIVE) == after.content(ACTIVE)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_no_failure_in_recovery_is_passed_over(code):
    """Each changing call fails in turn: a named error, and the next start finishes the work."""
    expected = golden_disk(GOLDEN[:3000])
    recovered(expected)
    nth = 0
    while True:
        nth += 1
        files = golden_disk(GOLDEN[:3000])
        failing = NthFails(files, nth, OSError(code, "no"), CHANGES)
        try:
            recover(failing, NAME, ORIGIN, stamp, lambda batch: None)
        except (SyncFailed, Full, OSError, Corrupt):
            if "open" not in failing.calls[-1:]:
                assert failing.count == nth, "something was done after a failure"
        else:
            break
        after = files.kill()
        recovered(after)
        assert after.content(ACTIVE)[:2048] == GOLDEN[:2048]
    assert nth > 15


def test_a_medium_that_cannot_be_read_is_damage():
    files = golden_disk(watermark=2)

    failing = NthFails(files, 3, OSError(errno.EIO, "EIO"), ["pread"], always=True)  # the first two are a look at how it begins
    with pytest.raises(Corrupt, match="cannot be read"):
        recover(failing, NAME, ORIGIN, stamp, lambda batch: None)


def test_records_are_read_back_from_anywhere():
    files = SimFiles()
    log = new_log(files)
    told = [("", "")]
    for number in range(300):
        told += append(log, [pending(number, 100)] * (1 + number % 3))
    sealed = log.seal([pending(1)])
    log.write(sealed.data)
    last = len(told) - 1
    for first, end in [(0, 0), (1, 1), (7, 9), (last, last), (last - 5, last + 50), (0, last), (400, 399), (last + 1, last + 5)]:
        found = list(records_between(log, first, end))
        assert [record.seq for record in found] == list(range(first, min(end, last) + 1))
        assert all((record.seq, record.event_hash) == told[record.seq] for record in found if record.seq)
        assert all(log.read(record.offset, record.size).endswith(b'"}\n') for record in found)


def test_a_record_that_rots_while_the_daemon_runs_is_found_when_read():
    files = golden_disk(watermark=2)
    log = recovered(files)[0].log
    data = bytearray(GOLDEN)
    data[2048 + 300] ^= 1
    files.plant(ACTIVE, bytes(data))
    with pytest.raises(Corrupt):
        list(records_between(log, 4, 7))


def test_a_real_disk_recovers_too(tmp_path):
    (tmp_path / "log.d" / NAME).mkdir(parents=True)
    (tmp_path / ACTIVE).write_bytes(GOLDEN[:3000])
    (tmp_path / HEAD).write_bytes(golden_head(1))
    files = RealFiles(tmp_path)
    recovery = recovered(files)[0]
    assert recovery.torn is not None
    assert (tmp_path / recovery.torn.kept_as).read_bytes() == GOLDEN[2048:3000]
    append(recovery.log, [pending(1)])
    recovery.log.reserve()
    assert recovery.log.write_head()
    recovery.log.close()
    again, found = recovered(files)
    assert again.torn is None
    assert [record.event_type for record in found][-2:] == ["log.recovered", "task.note"]
    assert os.stat(tmp_path / ACTIVE).st_size == again.log.end
    again.log.close()
    files.shut()
