"""A log never goes behind its own checkpoint: no start takes one that was cut back, written anew or exchanged after it was signed.

Everything else here agrees with the files: chain, head, even snapshots. Only what was signed tells.
"""

import errno
import shutil
from pathlib import Path
from random import Random

import pytest

from core.notes import Note, key_from, public_key, read_note, signed, signed_by
from state.checkpoint import checkpoint_of, checkpoint_path, write_checkpoint
from state.fs import RealFiles
from state.ledger import open_ledger
from state.log import SyncFailed
from state.prefix import longest
from state.recover import Corrupt, recover
from state.repair import repair
from state.tree import Edge, leaf_hash
from state.verify import verify_files
from tests.core.test_notes import NOTE, SECRET, VKEY
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import (
    ACTIVE,
    GOLDEN,
    GOLDEN_ENDS,
    GOLDEN_TIPS,
    HEAD,
    NAME,
    ORIGIN,
    Ids,
    append,
    golden_disk,
    golden_head,
    head_line,
    new_log,
    pending,
    recovered,
    small_log,
    stamp,
)

PATH = checkpoint_path(NAME)


def refused(files: SimFiles) -> str:
    """Why no start takes it, and that the verifiers, deep and fast, say so too; nothing is changed."""
    before = files.tree()
    with pytest.raises(Corrupt) as corrupt:
        recovered(files)
    assert files.tree() == before
    (row,) = [row for row in verify_files(files) if row["done"]]
    assert not row["ok"]
    assert longest(files, NAME, ORIGIN).damage is not None, "a repair would mend it"
    return corrupt.value.why


def sealed_golden(data: bytes = GOLDEN, watermark: int = 0, note: str = NOTE) -> SimFiles:
    files = golden_disk(data, watermark)
    files.plant(PATH, note.encode())
    return files


def test_the_published_log_with_the_published_checkpoint_starts():
    recovery, records = recovered(sealed_golden(watermark=2))
    assert len(records) == 8 and recovery.checkpoint == read_note(NOTE)
    (row,) = [row for row in verify_files(sealed_golden(watermark=2)) if row["done"]]
    assert row["ok"] and row["sealed"] == 8


def test_a_directory_from_before_there_were_checkpoints_starts_as_it_did():
    files = golden_disk(watermark=2)
    before = files.tree()
    recovery, records = recovered(files)
    assert recovery.checkpoint is None and len(records) == 8 and files.tree() == before


def test_what_is_written_is_what_is_durable_and_nothing_else():
    files = SimFiles()
    log = new_log(files)
    append(log, [pending(1)])
    log.seal([pending(2)])  # decided, and on no disk
    note = write_checkpoint(log, SECRET)
    assert note is not None and note.checkpoint == (ORIGIN, 2, log.durable_edge.root())
    assert files.durable(PATH).decode() == note.text and checkpoint_of(files, NAME) == note
    assert signed_by(note, key_from(VKEY)) and recovered(files.kill())[0].checkpoint == note


@pytest.mark.parametrize("end", GOLDEN_ENDS[:2])
def test_a_log_that_was_cut_back_with_its_head_is_not_taken(end: int):
    batch = GOLDEN_ENDS.index(end)
    why = refused(sealed_golden(GOLDEN[:end], batch))
    assert why == "record 7 was durable, as a checkpoint shows, and is gone"


def test_a_torn_tail_in_what_was_signed_is_no_torn_tail():
    assert recovered(golden_disk(GOLDEN[:4000], 1))[0].torn is not None
    why = refused(sealed_golden(GOLDEN[:4000], 1))
    assert why == "the line does not end, and record 7 was durable, as a checkpoint shows"


def test_what_is_wrong_with_a_record_is_said_before_what_follows_from_it():
    """To whoever starts as to whoever audits: nothing is gone where a byte was changed."""
    files = sealed_golden(GOLDEN.replace(b'"units":4', b'"units":5', 1), 2)
    why = "event_hash does not match the bytes, in a batch that was durable"
    assert refused(files) == why
    assert [row["first_bad"]["why"] for row in verify_files(files) if row["done"]] == [why]


def test_a_history_written_anew_is_not_taken_though_chain_and_head_hold():
    files = SimFiles()
    log = new_log(files)
    append(log, [pending(1)])
    append(log, [pending(2)] * 2)
    note = write_checkpoint(log, SECRET)
    assert note is not None
    forged = SimFiles()
    other = new_log(forged)
    append(other, [pending(1)])
    append(other, [pending(3)] * 2)
    other.write_head()
    assert recovered(forged.kill())[0].log.next_seq == 4
    forged.plant(PATH, note.text.encode())
    assert refused(forged.kill()) == "its first 4 records are not those that were signed"


def test_a_checkpoint_that_ends_inside_a_batch_or_is_of_another_log_is_not_taken():
    at = read_note(NOTE).checkpoint
    assert "ends inside this batch" in refused(sealed_golden(watermark=2, note=signed(at._replace(size=6), SECRET).text))
    other = signed(at._replace(origin=ORIGIN.replace("a1", "a2")), SECRET).text
    assert "its checkpoint is of irer.invalid/00000000000000a2" in refused(sealed_golden(watermark=2, note=other))


def test_no_changed_bit_of_a_checkpoint_passes_unseen():
    """A start has no eye for signatures: a bit there, or a size that leads to nothing it reads, is left to the audit."""
    raw, key, seen, left = NOTE.encode(), key_from(VKEY), 0, 0
    for place in range(0, 8 * len(raw), 3):
        data = bytearray(raw)
        data[place // 8] ^= 1 << place % 8
        files = golden_disk(watermark=2)
        files.plant(PATH, bytes(data))
        try:
            found = recovered(files)[0].checkpoint
        except Corrupt:
            seen += 1
        else:
            assert isinstance(found, Note) and not signed_by(found, key)
            left += 1
    assert seen > 250 and left < 250


@pytest.mark.parametrize("wrong", [b"", b"\xff", NOTE[:40].encode(), NOTE.replace("\n8\n", "\n0\n").encode()])
def test_a_damaged_checkpoint_is_damage(wrong: bytes):
    files = golden_disk(watermark=2)
    files.plant(PATH, wrong)
    assert "the checkpoint is damaged" in refused(files)


def test_a_checkpoint_that_cannot_be_read_is_damage_and_no_other_failure_is_passed_over():
    files = sealed_golden(watermark=2)

    class Unreadable(NthFails):
        def open(self, path: str, flags: int, mode: int = 0o600) -> int:
            if path == PATH:
                raise OSError(self.code, "no")
            return int(self._files.open(path, flags, mode))

    unreadable = Unreadable(files, -1, Killed())
    unreadable.code = errno.EIO
    with pytest.raises(Corrupt, match="the checkpoint cannot be read"):
        recovered(unreadable)
    unreadable.code = errno.EMFILE
    with pytest.raises(OSError, match="no"):
        recovered(unreadable)


@pytest.mark.parametrize(
    ("size", "root", "taken"),
    [
        (8, "right", "from the snapshot"),
        (8, "wrong", "not"),
        (4, "right", "from the snapshot"),
        (4, "wrong", "not"),
        (1, "right", "from the snapshot"),
        (1, "wrong", "from the snapshot"),
    ],
)
def test_a_start_from_a_snapshot_compares_what_it_walks(size: int, root: str, taken: str):
    """At the snapshot or behind it the log is compared. Before it nothing is read: the audit compares there, and says so."""
    leaves = [leaf_hash(line) for line in GOLDEN.splitlines(keepends=True)]
    at = Edge().extend(leaves[:size]).root() if root == "right" else bytes(32)
    files = sealed_golden(watermark=2, note=signed(read_note(NOTE).checkpoint._replace(size=size, root=at), SECRET).text)
    seen: list[int] = []

    def begin(seq: int | None) -> Edge | None:
        return Edge().extend(leaves[:4]) if seq == 3 else None

    def start() -> None:
        recover(files, NAME, ORIGIN, stamp, lambda batch: seen.append(batch[0].seq), after=[GOLDEN_TIPS[1]], on_start=begin)

    if taken == "not":
        with pytest.raises(Corrupt, match="are not those that were signed"):
            start()
    else:
        start()
        assert seen == [4]
    (row,) = [row for row in verify_files(files) if row["done"]]
    assert row["ok"] == (root == "right")


def test_a_checkpoint_of_several_segments_holds_across_a_rotation():
    files = SimFiles()
    log = small_log(files)
    for number in range(12):
        append(log, [pending(number, 300)])
        if log.rotation_due(0):
            log.rotate(stamp)
        if number == 5:
            assert write_checkpoint(log, SECRET) is not None
    log.write_head()
    assert log.segment > 0
    assert recover(files.kill(), NAME, ORIGIN, stamp, lambda batch: None).checkpoint is not None
    (row,) = [row for row in verify_files(files) if row["done"]]
    assert row["ok"] and 6 <= row["sealed"] < log.next_seq


# --- writing it -----------------------------------------------------------------------------------------------------------------


def test_a_crash_leaves_the_old_checkpoint_or_the_new_one_and_the_log_starts():
    states = 0
    nth = 0
    while True:
        nth += 1
        files = SimFiles()
        log = new_log(files)
        append(log, [pending(1)])
        first = write_checkpoint(log, SECRET)
        append(log, [pending(2)])
        second = signed(first.checkpoint._replace(size=3, root=log.durable_edge.root()), SECRET) if first else None
        log._files = NthFails(files, nth, Killed(), CHANGES, after=nth % 2 == 0)
        try:
            write_checkpoint(log, SECRET)
        except Killed:
            done = False
        else:
            done = True
        for after in (*files.crashes(Random(nth)), files.kill()):
            recovery = recovered(after)[0]
            assert recovery.checkpoint in ((second,) if done else (first, second)) and recovery.log.next_seq == 3
            states += 1
        if done:
            break
    assert states > 8


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "fsync_dir"])
def test_what_the_disk_refuses_is_told_and_a_failed_sync_is_final(call: str):
    files = SimFiles()
    log = new_log(files)
    append(log, [pending(1)])
    first = write_checkpoint(log, SECRET)
    append(log, [pending(2)])
    for code in (errno.ENOSPC, errno.EIO):
        log._files = NthFails(files, 1, OSError(code, "no"), [call])
        if code == errno.EIO or call == "fsync_dir":
            with pytest.raises(SyncFailed):
                write_checkpoint(log, SECRET)
        else:
            assert write_checkpoint(log, SECRET) is None, "no room: the older one stays"
            assert checkpoint_of(files, NAME) == first


# --- mending --------------------------------------------------------------------------------------------------------------------


def test_a_repair_of_a_log_that_was_cut_back_forks_it_and_puts_the_checkpoint_away():
    files = SimFiles()
    ledger = open_ledger(files, Ids())
    log = recover(files, NAME, ledger.origin(NAME), stamp, lambda batch: None).log
    ledger.add_log(NAME)
    ends = []
    for number in range(3):
        append(log, [pending(number)])
        ends.append((log.end, log.next_seq, log.next_batch, log.tip))
    assert write_checkpoint(log, SECRET) is not None
    offset, seq, batch, tip = ends[0]
    files.plant(ACTIVE, files.content(ACTIVE)[:offset])
    files.plant(HEAD, head_line(batch - 1, seq - 1, tip, offset))
    with pytest.raises(Corrupt):
        recover(files, NAME, ledger.origin(NAME), stamp, lambda batch: None)
    row = repair(files, NAME, ledger._file, "uid:0", stamp, Ids(500))
    assert row["kept"]["records"] == 2 and PATH in row["moved"] and row["new_origin"] != ledger._file.former[NAME][0]
    assert files.stat_path(PATH) is None
    recovery = recover(files, NAME, row["new_origin"], stamp, lambda batch: None)
    assert recovery.checkpoint is None
    note = write_checkpoint(recovery.log, SECRET)
    assert note is not None and note.checkpoint.origin == row["new_origin"]


def test_a_key_for_signing_is_made_where_there_was_none(tmp_path: Path):
    """A directory from before there were checkpoints has the other keys only."""
    files = RealFiles(tmp_path)
    ledger = open_ledger(files, Ids())
    ledger.close()
    assert len(ledger.signing) == 32 and (tmp_path / "keys/signing").stat().st_mode & 0o777 == 0o600
    before = tmp_path / "ledger.json"
    before.write_bytes(before.read_bytes().replace(b'"pepper","signing","token"', b'"pepper","token"'))
    kept = ledger.pepper, ledger.token, ledger.key
    (tmp_path / "keys/signing").unlink()
    again = open_ledger(files, Ids(100))
    again.close()
    assert (again.pepper, again.token, again.key) == kept and len(again.signing) == 32
    assert public_key(again.signing) != public_key(ledger.signing)
    shutil.rmtree(tmp_path / "keys")
    files.shut()


def test_the_golden_head_is_still_believed_beside_it():
    files = sealed_golden(watermark=1)
    assert files.content(HEAD) == golden_head(1) and recovered(files)[0].log.next_seq == 8
