"""What was deleted is missed for a stated reason, its hashes stand for it, and nothing else may be missing."""

import pytest

from core.canonical import decode
from state.fs import RealFiles
from state.recover import Corrupt, Pruned, records_between, recover
from state.retention import Prune, pruned_edge, read_prunes
from state.seal import Record
from state.segment import closed_path
from state.tree import Edge
from state.verify import verify_files, verify_logs
from tests.sim.disk import SimFiles
from tests.state.logs import (
    ACTIVE,
    BOOT_ID,
    DAY_US,
    NAME,
    ORIGIN,
    SMALL,
    append,
    files_of,
    filled,
    pending,
    recovered,
    small_log,
    stamp,
)

NOW_US = stamp()[0]
ALL = 1 << 53


def full_tree(files: SimFiles) -> Edge:
    return recovered(files.kill())[0].log.edge


def reopened(files, log):
    """A start from the newest end, as a daemon with a snapshot there would make it."""
    end, edge = log.durable, log.durable_edge
    handed: list[Record] = []
    again = recover(
        files,
        NAME,
        ORIGIN,
        stamp,
        handed.extend,
        after=[(end.seq - 1, end.tip)],
        on_start=lambda seq: edge if seq else None,
        limits=SMALL,
    ).log
    return again, handed


def row_of(files, **more):
    [*_, row] = verify_files(files, [NAME], **more)
    return row


@pytest.fixture
def files():
    disk = SimFiles()
    filled(disk, 6)
    return disk.kill()


def test_without_a_limit_everything_stays(files):
    log = small_log(files)
    assert len(log.view.closed) == 5
    assert log.prunable(ALL, NOW_US + 1000 * DAY_US) == []


def test_the_oldest_go_by_bytes_or_by_age_and_none_that_a_snapshot_needs(files):
    log = small_log(files)
    sizes = [one.bytes for one in log.view.closed]
    for keep in range(6):
        chosen = log.prunable(ALL, NOW_US, retain_bytes=sum(sizes[keep:]))
        assert chosen == list(log.view.closed[:keep])
        assert log.prunable(ALL, NOW_US, retain_bytes=sum(sizes[keep:]) - 1) == list(log.view.closed[: keep + 1])
    assert log.prunable(ALL, NOW_US + DAY_US, retain_us=DAY_US) == []
    assert len(log.prunable(ALL, NOW_US + DAY_US + 1, retain_us=DAY_US)) == 5
    last = log.view.closed[2].last_seq
    assert len(log.prunable(last, NOW_US, retain_bytes=0)) == 2
    assert len(log.prunable(last + 1, NOW_US, retain_bytes=0)) == 3


def test_age_is_counted_from_the_closing_of_a_segment():
    files = SimFiles()
    log = small_log(files)
    for day in range(4):
        append(log, [pending(day)])
        log.rotate(lambda day=day: (NOW_US + day * DAY_US, 1, BOOT_ID))
    log = small_log(files.kill())
    for days in range(6):
        assert len(log.prunable(ALL, NOW_US + days * DAY_US + 1, retain_us=DAY_US)) == max(0, min(4, days))


def test_a_pruned_range_is_recorded_and_its_hashes_stand_for_it(files):
    before = full_tree(files)
    log = small_log(files)
    first = log.view.closed[0]
    chosen = log.prunable(ALL, NOW_US, retain_bytes=0)[:2]
    log.prune(chosen, stamp)
    assert files_of(files)[0] == closed_path(NAME, chosen[1].last_seq + 1)
    assert log.first_seq == chosen[1].last_seq + 1
    records = list(records_between(log, log.first_seq, ALL))
    written = [record for record in records if record.event_type == "log.prune"]
    assert [record.actor for record in written] == ["irer", "irer"]
    payload = decode(written[0].payload)
    assert (payload["first_seq"], payload["last_seq"], payload["sha256"]) == (0, first.last_seq, first.sha256)
    assert pruned_edge(read_prunes(written), log.first_seq).size == log.first_seq
    row = row_of(files)
    assert row["ok"] and row["pruned"] == {"first_seq": 0, "last_seq": log.first_seq - 1, "checked": "hashes only"}
    assert row["records"] == log.next_seq - log.first_seq
    assert row["tree"] == {"root": log.edge.root().hex(), "size": log.next_seq}
    assert before.size == log.next_seq - 2


def test_nobody_gets_pruned_records_and_is_told_so(files):
    log = small_log(files)
    log.prune(log.prunable(ALL, NOW_US, retain_bytes=0)[:2], stamp)
    for first in (0, log.first_seq - 1):
        with pytest.raises(Pruned) as pruned:
            list(records_between(log, first, ALL))
        assert pruned.value.first_seq == log.first_seq
    assert next(records_between(log, log.first_seq, ALL)).event_type == "log.segment"


def test_after_pruning_a_start_needs_a_snapshot(files):
    log = small_log(files)
    log.prune(log.prunable(ALL, NOW_US, retain_bytes=0)[:2], stamp)
    again, handed = reopened(files.kill(), log)
    assert handed == [] and again.first_seq == log.first_seq
    assert (again.edge, again.tip, again.view.closed) == (log.edge, log.tip, log.view.closed)
    with pytest.raises(Corrupt, match="were pruned, and no snapshot"):
        recovered(files.kill())


@pytest.mark.parametrize("place", range(5))
def test_what_no_record_explains_is_missing(files, place):
    log = small_log(files)
    log.prune(log.prunable(ALL, NOW_US, retain_bytes=0)[:1], stamp)
    end = (log.durable, log.durable_edge)
    log.close()
    left = [path for path in files_of(files) if path != ACTIVE]
    if place >= len(left):
        return
    files.unlink(left[place])
    before = files.tree()
    with pytest.raises(Corrupt, match="is missing"):
        recover(
            files,
            NAME,
            ORIGIN,
            stamp,
            lambda batch: None,
            after=[(end[0].seq - 1, end[0].tip)],
            on_start=lambda seq: end[1],
            limits=SMALL,
        )
    assert files.tree() == before
    assert not row_of(files)["ok"] and "is missing" in row_of(files)["first_bad"]["why"]


def test_a_record_about_another_file_explains_nothing(files):
    log = small_log(files)
    chosen = log.prunable(ALL, NOW_US, retain_bytes=0)[:1]
    [record] = log.prune_records(chosen, stamp)
    false = Prune(0, chosen[0].last_seq, "0" * 64, tuple(decode(record.payload)["roots"]))
    append(log, [record._replace(payload=false.payload())])
    log.close()
    files.unlink(closed_path(NAME, 0))
    with pytest.raises(Corrupt, match="is missing"):
        recovered(files)


def test_nothing_is_deleted_before_its_record_is_durable(files):
    log = small_log(files)
    chosen = log.prunable(ALL, NOW_US, retain_bytes=0)[:1]
    sealed = log.seal(log.prune_records(chosen, stamp))
    before = files.list(".")
    with pytest.raises(RuntimeError):
        log.drop(chosen, sealed.receipts[-1].seq)
    log.write(sealed.data)
    with pytest.raises(RuntimeError):
        log.drop(chosen, sealed.receipts[-1].seq)
    log.sync()
    with pytest.raises(RuntimeError):
        log.drop(log.view.closed[1:2], sealed.receipts[-1].seq)
    assert files.list(".") == before
    log.drop(chosen, sealed.receipts[-1].seq)
    assert len(files.list(".")) == len(before) - 1


def test_a_deletion_that_a_crash_interrupted_is_finished_by_the_next_start(files):
    log = small_log(files)
    chosen = log.prunable(ALL, NOW_US, retain_bytes=0)[:2]
    end, edge = log.durable, log.durable_edge
    log.commit(log.seal(log.prune_records(chosen, stamp)).data)
    files = files.kill()
    again = recover(
        files, NAME, ORIGIN, stamp, lambda batch: None, after=[(end.seq - 1, end.tip)], on_start=lambda seq: edge if seq else None
    ).log
    assert again.first_seq == chosen[1].last_seq + 1
    assert files_of(files)[0] == closed_path(NAME, again.first_seq)


def test_a_segment_that_rotted_is_evidence_and_is_not_pruned(files):
    log = small_log(files)
    path = closed_path(NAME, 0)
    data = bytearray(files.content(path))
    data[600] ^= 1
    files.plant(path, bytes(data))
    before, end = files.tree(), log.end
    with pytest.raises(Corrupt, match="SHA-256"):
        log.prune(log.prunable(ALL, NOW_US, retain_bytes=0)[:1], stamp)
    assert (files.tree(), log.end) == (before, end)


def test_records_of_pruning_are_carried_on_when_they_are_pruned_themselves(files):
    """However often: the tree over everything can be worked out from what is kept."""
    log = small_log(files)
    for number in range(12):
        log.prune(log.prunable(log.durable.seq, NOW_US, retain_bytes=0)[:2], stamp)
        append(log, [pending(number, 200)] * 3)
        log.rotate(stamp)
        row = row_of(files)
        assert row["ok"] and row["tree"] == {"root": log.edge.root().hex(), "size": log.next_seq}
        again, _ = reopened(files.kill(), log)
        again.close()
    assert log.first_seq > 80 and len(log.view.closed) < 4


def test_several_segments_side_by_side_give_what_one_process_gives(tmp_path):
    files = RealFiles(tmp_path)
    log = recover(files, NAME, ORIGIN, stamp, lambda batch: None).log
    for number in range(5):
        for _ in range(4):
            append(log, [pending(number, 2_000)] * 256)
        if number < 4:
            log.rotate(stamp)
    log.write_head()
    for deep in (False, True):
        alone = list(verify_logs(tmp_path, [NAME], deep=deep, workers=1))
        together = list(verify_logs(tmp_path, [NAME], deep=deep, workers=3))
        assert alone[-1] == together[-1] and alone[-1]["ok"] and alone[-1]["records"] == log.next_seq
        assert [row["records"] for row in together] == sorted(row["records"] for row in together)
    path = tmp_path / closed_path(NAME, log.view.closed[3].first_seq)
    data = bytearray(path.read_bytes())
    data[300_000] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    for deep in (False, True):
        alone = list(verify_logs(tmp_path, [NAME], deep=deep, workers=1))[-1]
        together = list(verify_logs(tmp_path, [NAME], deep=deep, workers=2))[-1]
        assert alone["first_bad"] == together["first_bad"] and not alone["ok"]
        assert alone["first_bad"]["file"] == path.name
    log.close()
    files.shut()
