"""What a witness cosigned binds a log: no start takes one that is behind it, and the audit says up to where enough agree."""

from pathlib import Path

import pytest

from core.notes import COSIGNER, Checkpoint, Key, Note, cosignature, note_of, public_key, signed
from state.checkpoint import checkpoint_path
from state.cosigned import cosigned_of, cosigned_path, cosigned_paths, write_cosigned
from state.ledger import open_ledger
from state.prefix import longest
from state.quorum import vouched
from state.recover import Corrupt, recover
from state.repair import repair
from state.repair import said as told
from state.report import Asked, reports
from state.tree import Edge, leaf_hash
from state.verify import verify_files
from tests.core.test_notes import NOTE, SECRET
from tests.sim.disk import SimFiles
from tests.state.logs import GOLDEN, GOLDEN_ENDS, NAME, ORIGIN, Ids, append, golden_disk, pending, recovered, stamp
from tests.state.test_report import Kept

SECRETS = [bytes([number]) * 32 for number in range(1, 4)]
KEYS = [Key(f"w{number}.example", public_key(secret), COSIGNER) for number, secret in enumerate(SECRETS)]
LEAVES = [leaf_hash(line) for line in GOLDEN.splitlines(keepends=True)]


def cosigned(checkpoint: Checkpoint, which: int = 0) -> Note:
    mine = signed(checkpoint, SECRET)
    return note_of(checkpoint, [*mine.signatures, cosignature(checkpoint, KEYS[which].name, SECRETS[which], 1_767_225_600)])


def golden(size: int, root: bytes | None = None, origin: str = ORIGIN) -> Note:
    return cosigned(Checkpoint(origin, size, root or Edge().extend(LEAVES[:size]).root()))


def beside(note: Note, data: bytes = GOLDEN, watermark: int = 2) -> SimFiles:
    files = golden_disk(data, watermark)
    files.plant(cosigned_path(NAME, KEYS[0]), note.text.encode())
    return files


def refused(files: SimFiles) -> str:
    before = files.tree()
    with pytest.raises(Corrupt) as corrupt:
        recovered(files)
    assert files.tree() == before
    (row,) = [row for row in verify_files(files) if row["done"]]
    assert not row["ok"] and longest(files, NAME, ORIGIN).damage is not None
    return corrupt.value.why


@pytest.mark.parametrize("size", [1, 4, 8])
def test_a_log_that_goes_on_from_what_was_cosigned_starts(size: int):
    recovery, records = recovered(beside(golden(size)))
    assert len(records) == 8 and recovery.cosigned == (golden(size),)
    (row,) = [row for row in verify_files(beside(golden(size))) if row["done"]]
    assert row["ok"]


def test_cut_rewritten_or_of_another_name_it_does_not():
    """The checkpoint beside the log was made anew by whoever did it, and holds."""
    cut = beside(golden(8), GOLDEN[: GOLDEN_ENDS[1]], 1)
    cut.plant(checkpoint_path(NAME), golden(4).text.encode())
    assert refused(cut) == "record 7 was durable, as a witness shows, and is gone"
    (fast,) = [row for row in verify_files(cut, deep=False) if row["done"]]
    assert fast["first_bad"]["why"] == "record 7 was durable, as a witness shows, and is gone", "without a tree, too"
    forged = beside(golden(4, bytes(32)))
    forged.plant(checkpoint_path(NAME), NOTE.encode())
    assert refused(forged) == "its first 4 records are not those that were cosigned"
    assert "is of irer.invalid/b" in refused(beside(golden(8, origin=f"irer.invalid/b/{NAME}")))
    assert "ends inside this batch" in refused(beside(golden(6)))


@pytest.mark.parametrize("raw", [b"", b"\xff", NOTE[:50].encode()])
def test_a_damaged_one_is_damage(raw: bytes):
    files = golden_disk(watermark=2)
    files.plant(cosigned_path(NAME, KEYS[0]), raw)
    assert refused(files) == "what a witness cosigned is damaged"


def test_each_witness_has_a_file_of_its_own_and_strangers_are_left_alone():
    files = golden_disk(watermark=2)
    assert cosigned_of(files, NAME) == [] and cosigned_paths(SimFiles(), NAME) == []
    for which in range(2):
        assert write_cosigned(files, NAME, KEYS[which], cosigned(golden(4).checkpoint, which))
    files.plant(f"log.d/{NAME}/cosigned.tmp", b"")
    assert len(cosigned_of(files, NAME)) == 2 and len(cosigned_paths(files, NAME)) == 2


# --- how many agree --------------------------------------------------------------------------------------------------------------


def test_a_quorum_is_as_many_as_were_asked_for_and_each_is_one_voice():
    notes = [cosigned(Checkpoint(ORIGIN, size, bytes(32)), which) for which, size in ((0, 30), (0, 50), (1, 20), (2, 10))]
    words = {quorum: vouched(notes, KEYS, quorum)[:2] for quorum in (0, 1, 2, 3, 9)}
    assert words == {
        0: (10, "3 of 3 @ 10"),
        1: (50, "1 of 3 @ 50"),
        2: (20, "2 of 3 @ 20"),
        3: (10, "3 of 3 @ 10"),
        9: (0, "3 of 3"),
    }
    assert "9 witnesses must agree, and the keys of 3 were given" in vouched(notes, KEYS, 9).unchecked
    twice = [KEYS[0], KEYS[0], KEYS[0]._replace(name="another")]
    assert vouched(notes[:2], twice[:2], 0)[:2] == (50, "1 of 1 @ 50"), "a key that is given twice is one witness"
    assert vouched(notes[:2], twice, 2)[0] == 0, "also under another name"
    assert vouched(notes[:2], KEYS, 2)[:2] == (0, "1 of 3"), "one that signed twice is not two"
    assert vouched([], KEYS, 1)[:2] == (0, "0 of 3") and vouched([], [], 0).word == "none"
    unknown = vouched(notes, [], 0)
    assert unknown.word == "not checked" and "its key was not given" in unknown.unchecked


def test_a_line_that_only_says_it_is_a_witness_s_is_a_failure():
    note = cosigned(Checkpoint(ORIGIN, 30, bytes(32)))
    lying = note_of(note.checkpoint._replace(size=40), note.signatures)
    assert vouched([lying], KEYS, 1).word == "failed" and "did not sign" in vouched([lying], KEYS, 1).false


def said(kept: Kept, **asked):
    *_, verdict = reports(kept.files, Asked(**asked))
    (row,) = verdict["logs"]
    return row, [item["why"] for item in verdict["not_verified"] if item["log"] == NAME], verdict["result"]


def test_the_verdict_says_how_far_the_witnesses_have_seen():
    kept, vkeys = Kept(), [key.text() for key in KEYS]
    end = kept.log.next_seq
    note = Checkpoint(kept.log.origin, end, kept.log.durable_edge.root())
    append(kept.log, [pending(1), pending(2)])
    kept.log.write_head()
    for which in range(2):
        write_cosigned(kept.files, NAME, KEYS[which], cosigned(note, which))
    row, whys, result = said(kept, witnesses=vkeys, quorum=2)
    assert (row["ok"], row["cosigned"], result) == (True, f"2 of 3 @ {end}", "limited")
    assert whys == [
        "2 records under no checkpoint, after what a quorum of witnesses cosigned: a rewrite by this uid would not show"
    ]
    row, whys, _ = said(kept, witnesses=vkeys)
    assert row["cosigned"] == "2 of 3" and whys[0].startswith(f"{end + 2} records under no checkpoint, after what a quorum")
    row, whys, _ = said(kept)
    assert row["cosigned"] == "not checked" and any("its key was not given" in why for why in whys)
    row, _, result = said(kept, witnesses=vkeys, quorum=2, refused={NAME: "a witness has seen 99 records"})
    assert (row["ok"], row["code"], row["cosigned"], result) == (False, "witness-refused", "failed", "failed")
    false = note_of(note._replace(size=1, root=Edge().root()), cosigned(note).signatures)
    kept.files.plant(cosigned_path(NAME, KEYS[0]), false.text.encode())
    assert said(kept, witnesses=vkeys)[0]["ok"] is False


# --- mending ---------------------------------------------------------------------------------------------------------------------


def test_a_log_that_a_witness_knows_otherwise_goes_on_under_a_new_name_only_when_told():
    files = SimFiles()
    ledger = open_ledger(files, Ids())
    log = recover(files, NAME, ledger.origin(NAME), stamp, lambda batch: None).log
    ledger.add_log(NAME)
    append(log, [pending(1)])
    write_cosigned(files, NAME, KEYS[0], cosigned(Checkpoint(log.origin, 2, log.durable_edge.root())))
    log.write_head()
    assert repair(files, NAME, ledger._file, "uid:0", stamp, Ids(500))["ok"], "sound files are left alone"
    would = "\n".join(told(repair(files, NAME, ledger._file, "uid:0", stamp, Ids(500), fork=True, dry_run=True), "DIR"))
    assert f"To do it: irerctl audit repair {NAME} --state-dir DIR --fork" in would and "lose" not in would
    row = repair(files, NAME, ledger._file, "uid:0", stamp, Ids(500), fork=True)
    assert "damaged" not in "".join(told(row, "DIR")), "nothing was lost, and nothing was damaged"
    assert row["kept"]["records"] == 2 and cosigned_path(NAME, KEYS[0]) in row["moved"]
    recovery = recover(files, NAME, row["new_origin"], stamp, lambda batch: None)
    assert recovery.cosigned == () and row["new_origin"] != row["old_origin"]


def test_a_fork_that_says_other_records_were_shared_is_found():
    from core.canonical import encode
    from state.seal import Pending
    from state.segment import FORK

    def forked(change):
        files = golden_disk(watermark=2)
        recovery, _ = recovered(files)
        edge = recovery.log.durable_edge
        fork = {
            "new_origin": f"irer.invalid/b/{NAME}",
            "old_origin": ORIGIN,
            "sealed_root": edge.root().hex(),
            "sealed_size": edge.size,
        }
        append(recovery.log, [Pending(FORK, encode(fork | change), "uid:0", "b7f3c1d2", 1, 1_767_225_600_000_001)])
        recovery.log.write_head()
        (row,) = [row for row in verify_files(files) if row["done"]]
        return row

    assert forked({})["ok"] and forked({})["forks"][0]["seq"] == 8
    for change in ({"sealed_root": "0" * 64}, {"sealed_size": 9}):
        row = forked(change)
        assert not row["ok"] and row["first_bad"]["seq"] == 8 and row["column"] == "tree"
    assert Path(__file__).exists()
