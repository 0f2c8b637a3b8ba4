"""What `audit verify` says of a log with its snapshots: what holds, what does not, and always what nobody could vouch for."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from core.canonical import encode
from core.engines import ENGINES
from core.keys import Keys
from core.notes import Key, Note, public_key, signed
from core.world import World
from state import snapshot
from state.checkpoint import checkpoint_path, write_checkpoint
from state.log import Log
from state.replay import pack, replay, schema, unpack
from state.report import Asked, reports
from state.seal import Pending, Record, seal, sealed_line
from state.snapshot import Header, path_of, read
from state.tree import Edge, edge_from
from state.verify import BROKEN, OK, USAGE, main
from tests.core.test_notes import SECRET
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import ACTIVE, HEAD, NAME, append, filled, head_line, pending, small_log, stamp
from tests.state.logs import records_between as between
from tests.state.test_replay import history

Row = dict[str, Any]


class Kept:
    """A log of the resource engine in several segments, with a snapshot after some of its batches, as a daemon leaves it."""

    def __init__(self, snapshots: tuple[int, ...] = (2, 5, 7), rotate_after: tuple[int, ...] = (3, 6)) -> None:
        self.files = SimFiles()
        self.world, self.keys = World(ENGINES), Keys()
        self.log = small_log(self.files)
        self.seqs: list[int] = []
        for number, batch in enumerate(history()):
            self.add(batch)
            if number in snapshots:
                self.snapshot()
            if number in rotate_after:
                self.log.rotate(stamp)
        self.log.write_head()

    def add(self, batch: list[Pending]) -> None:
        first = self.log.next_seq
        append(self.log, batch)
        replay(self.world, self.keys, NAME, list(between(self.log, first, self.log.next_seq)))

    def snapshot(self) -> Header:
        log = self.log
        self.seqs.append(log.next_seq - 1)
        return snapshot.write(
            self.files,
            NAME,
            seq=log.next_seq - 1,
            tip=log.tip,
            root=log.edge.root().hex(),
            schema=schema(self.world, NAME),
            body=pack(log.edge, self.keys.dump(NAME), self.world.dump(NAME)),
        )

    def change(self, seq: int, change: Callable[[Header, bytes], tuple[Header, bytes]]) -> None:
        """The snapshot as somebody makes it who can seal a header, which nobody needs a key for."""
        header, body = change(*read(self.files, NAME, seq))
        self.files.plant(path_of(NAME, seq), sealed_line(encode(msgspec.structs.asdict(header))) + body)

    def prune(self, count: int) -> None:
        self.log.prune(self.log.view.closed[:count], stamp)
        self.log.write_head()


def said(files: SimFiles, **asked: Any) -> Row:
    """The verdict; nothing on the disk may change."""
    watched = NthFails(files, 1, Killed(), [call for call in CHANGES if call != "open"], always=True)
    *rows, verdict = reports(watched, Asked(**asked))
    assert [row for row in rows if row["done"]] == verdict["logs"]
    return verdict


def row_of(files: SimFiles, **asked: Any) -> Row:
    (row,) = said(files, **asked)["logs"]
    return row


def whys(verdict: Row, log: str = NAME) -> str:
    return "\n".join(item["why"] for item in verdict["not_verified"] if item["log"] == log)


def results(row: Row) -> list[str]:
    return [one["result"] for one in row["snapshots"]]


def test_a_sound_log_holds_and_what_nobody_vouches_for_is_listed() -> None:
    kept = Kept()
    verdict = said(kept.files)
    (row,) = verdict["logs"]
    assert {name: row[name] for name in ("chain", "form", "tree")} == {"chain": "ok", "form": "ok", "tree": "ok"}
    assert (row["records"], row["segments"], row["size"]) == (kept.log.next_seq, 3, kept.log.next_seq)
    assert row["root"] == kept.log.edge.root().hex()
    assert (row["sealed"], row["cosigned"]) == ("none", "none"), "nobody signed it"
    assert row["snapshots"] == [{"seq": seq, "result": "ok"} for seq in kept.seqs]
    assert verdict["result"] == "limited"
    (unsealed,) = [item for item in verdict["not_verified"] if item["log"] == NAME]
    assert (unsealed["from"], unsealed["to"]) == (0, kept.log.next_seq - 1) and "would not show" in unsealed["why"]
    assert [item["why"] for item in verdict["not_verified"] if item["log"] == "all"] == [
        "replay (not asked for)",
        "wall-clock times",
        "that nothing was left unreported",
    ]


def test_replay_leads_to_every_snapshot() -> None:
    kept = Kept()
    verdict = said(kept.files, replay=True)
    (row,) = verdict["logs"]
    assert results(row) == ["equal"] * 3 and row["replayed"] == kept.log.next_seq
    assert verdict["result"] == "limited" and "replay" not in whys(verdict, "all")


def _with(raw: bytes, **changes: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(unpack(raw), **changes))


def _sealed(header: Header, raw: bytes, **changes: Any) -> tuple[Header, bytes]:
    """With a digest and length that fit."""
    from hashlib import sha256

    return msgspec.structs.replace(header, bytes=len(raw), sha256=sha256(raw).hexdigest(), **changes), raw


def _another_edge(header: Header, raw: bytes) -> tuple[Header, bytes]:
    edge = edge_from(unpack(raw).edge)
    other = Edge(edge.size, (bytes(32), *edge.hashes[1:]))
    return _sealed(header, _with(raw, edge=other.text()), root=other.root().hex())


def _more_units(header: Header, raw: bytes) -> tuple[Header, bytes]:
    world = msgspec.msgpack.decode(unpack(raw).world)
    world["resource"]["pools"]["compute"]["size"] += 1
    return _sealed(header, _with(raw, world=msgspec.msgpack.encode(world)))


REFUSED_AT_START: dict[str, tuple[Callable[[Header, bytes], tuple[Header, bytes]], str, str]] = {
    "a flipped bit": (lambda header, raw: (header, raw[:-1] + bytes([raw[-1] ^ 1])), "bad", "does not match its digest"),
    "cut": (lambda header, raw: (header, raw[:-1]), "bad", "bytes, not"),
    "another history": (lambda header, raw: _sealed(header, raw, tip="0" * 64), "bad", "is another one"),
    "another root": (lambda header, raw: _sealed(header, raw, root="0" * 64), "bad", "does not lead to the root"),
    "no body": (lambda header, raw: _sealed(header, b""), "bad", "cannot be loaded"),
    "another version": (lambda header, raw: _sealed(header, raw, schema="0" * 64), "other-version", "another version"),
}


@pytest.mark.parametrize("name", REFUSED_AT_START)
def test_a_snapshot_that_a_start_refuses_is_told_and_is_no_failure(name: str) -> None:
    change, result, why = REFUSED_AT_START[name]
    kept = Kept()
    kept.change(kept.seqs[1], change)
    for replayed in (False, True):
        verdict = said(kept.files, replay=replayed)
        (row,) = verdict["logs"]
        good = "equal" if replayed else "ok"
        assert row["ok"] and sorted(results(row)) == sorted([good, result, good])
        assert verdict["result"] == "limited" and why in whys(verdict) and f"snapshot {kept.seqs[1]}" in whys(verdict)


def test_a_snapshot_of_another_tree_that_a_start_would_believe_is_a_failure() -> None:
    kept = Kept()
    kept.change(kept.seqs[1], _another_edge)
    verdict = said(kept.files)
    (row,) = verdict["logs"]
    assert verdict["result"] == "failed" and row["code"] == "snapshot-false" and results(row) == ["ok", "false", "ok"]
    assert row["first_bad"]["file"] == path_of(NAME, kept.seqs[1]) and "another root" in row["first_bad"]["why"]


def test_what_only_the_replay_can_see_is_a_failure() -> None:
    """Digest, tip and tree all fit: nothing but the meaning of the records speaks against it."""
    kept = Kept()
    kept.change(kept.seqs[1], _more_units)
    assert said(kept.files)["result"] == "limited"
    verdict = said(kept.files, replay=True)
    (row,) = verdict["logs"]
    assert verdict["result"] == "failed" and row["code"] == "replay-differs" and results(row) == ["equal", "false", "equal"]
    assert "other values of resource" in row["first_bad"]["why"] and row["first_bad"]["seq"] == kept.seqs[1]


def test_a_pruned_range_reads_hashes_only_and_replay_begins_at_the_oldest_snapshot() -> None:
    kept = Kept(snapshots=(4, 6, 7))
    kept.prune(1)
    verdict = said(kept.files, replay=True)
    (row,) = verdict["logs"]
    last = row["pruned"]["last_seq"]
    assert row["ok"] and row["tree"] == "ok" and row["records"] == kept.log.next_seq - last - 1
    assert results(row) == ["ok", "equal", "equal"], "the oldest is where it begins"
    told = {(item.get("from"), item.get("to")) for item in verdict["not_verified"] if item["log"] == NAME}
    assert (0, last) in told and (0, kept.seqs[0]) in told
    assert "hashes only" in whys(verdict) and f"began with the snapshot at {kept.seqs[0]}" in whys(verdict)
    for seq in kept.seqs:
        kept.change(seq, lambda header, raw: (header, raw[:-1]))
    row = row_of(kept.files)
    assert row["code"] == "no-snapshot" and "no snapshot of what they made" in row["first_bad"]["why"]


def test_a_snapshot_whose_record_is_gone_says_that_the_log_lost_it() -> None:
    kept = Kept(snapshots=(7,), rotate_after=())
    first = between(kept.log, 0, 5)
    end = sum(record.size for record in first)
    content = kept.files.content(ACTIVE)
    whole = content[:512]
    assert end > len(whole)
    kept.files.plant(ACTIVE, whole)
    kept.files.unlink(HEAD)
    row = row_of(kept.files)
    assert not row["ok"] and f"record {kept.seqs[0]} was durable, as a snapshot shows" in row["first_bad"]["why"]


def test_beside_a_live_daemon_it_says_nothing_of_what_is_newer() -> None:
    kept = Kept()
    until = kept.seqs[1]
    verdict = said(kept.files, until={NAME: until}, replay=True)
    (row,) = verdict["logs"]
    assert row["ok"] and results(row) == ["equal", "equal"] and row["replayed"] == until + 1
    assert "what became durable after this began" in whys(verdict, "all")


def test_a_torn_tail_and_what_follows_the_head_are_told() -> None:
    kept = Kept()
    old_head = kept.files.content(HEAD)
    end = kept.log.next_seq
    kept.add(history()[0][:1])
    kept.files.plant(HEAD, old_head)
    kept.files.plant(ACTIVE, kept.files.content(ACTIVE) + b'{"actor":"half a ba')
    verdict = said(kept.files)
    (row,) = verdict["logs"]
    assert row["ok"] and row["torn_bytes"] == 19
    assert "19 torn bytes" in whys(verdict)
    (behind,) = [item for item in verdict["not_verified"] if item["why"].startswith("after the head")]
    assert (behind["from"], behind["to"]) == (end, end)


def _other_tree(log: Log) -> None:
    log.edge = Edge().extend([bytes(32)] * log.edge.size)


def _bit(files: SimFiles) -> None:
    data = bytearray(files.content(ACTIVE))
    data[700] ^= 1
    files.plant(ACTIVE, bytes(data))


def _unaligned(files: SimFiles, log: Log) -> None:
    """Sealed as if it stood one byte further on, and named by the head."""
    line, tip = seal(pending(2), (log.next_batch, 0, 1), log.tip, log.next_seq, log.end + 1)
    files.plant(ACTIVE, files.content(ACTIVE) + line)
    files.plant(HEAD, head_line(log.next_batch, log.next_seq, tip, log.end + len(line)))


DAMAGE: dict[str, tuple[Callable[[SimFiles, Log], None], str]] = {
    "a flipped bit": (lambda files, log: _bit(files), "chain"),
    "a lost file": (lambda files, log: files.unlink(ACTIVE), "chain"),
    "a payload that is not canonical": (
        lambda files, log: (append(log, [pending(2)._replace(payload=b'{"n": 1}')]), log.write_head()) and None,
        "form",
    ),
    "a batch that is not aligned": (lambda files, log: _unaligned(files, log), "form"),
    "another tree": (lambda files, log: (_other_tree(log), log.rotate(stamp)) and None, "tree"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_log_that_does_not_hold_is_failed_in_its_column_and_unknown_in_the_others(name: str) -> None:
    harm, column = DAMAGE[name]
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1, 200)])
    log.write_head()
    harm(files, log)
    verdict = said(files, replay=True)
    (row,) = verdict["logs"]
    assert verdict["result"] == "failed" and not row["ok"] and row["first_bad"]["why"]
    assert {each: row[each] for each in ("chain", "form", "tree")} == dict.fromkeys(("chain", "form", "tree"), "unknown") | {
        column: "failed"
    }
    assert "snapshots" not in row and "replay: the log does not hold" in whys(verdict)


def test_records_of_another_version_are_not_replayed_and_that_is_said() -> None:
    files = SimFiles()
    filled(files, 2)
    verdict = said(files, replay=True)
    assert verdict["result"] == "limited" and "which this version does not know" in whys(verdict)


def test_large_values_that_nothing_names_are_not_read_back_and_that_is_said() -> None:
    kept = Kept()
    assert "large values" not in whys(said(kept.files), "all")
    kept.files.plant("blobs/00/00", b"")
    assert "large values that no live record names: not read back" in whys(said(kept.files), "all")
    assert "blobs" not in row_of(kept.files), "no engine of this log keeps any"


def test_progress_is_told_in_both_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.replay.PROGRESS_RECORDS", 10)
    kept = Kept()
    stages = [row.get("stage") for row in reports(kept.files, Asked(replay=True)) if "result" not in row]
    assert stages.index("reading") < stages.index("replaying") < stages.index(None)


def test_replay_holds_one_snapshot_at_a_time() -> None:
    """Its memory is that of one daemon, whatever the log holds: bodies are read when their turn comes."""
    kept = Kept()
    held: list[int] = []
    batches = [[record] for record in between(kept.log, 0, kept.log.next_seq)]

    def body(seq: int) -> Callable[[], bytes]:
        def get() -> bytes:
            held.append(seq)
            return read(kept.files, NAME, seq)[1]

        return get

    from state.replay import replaying

    by_batch: dict[int, list[Record]] = {}
    for (record,) in batches:
        by_batch.setdefault(record.commit[0], []).append(record)
    found = [(read(kept.files, NAME, seq)[0], body(seq)) for seq in kept.seqs]
    steps = replaying(World(ENGINES), Keys(), NAME, iter(by_batch.values()), found)
    assert held == []
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    assert held == kept.seqs and end.value.value.equal


# --- the program ------------------------------------------------------------------------------------------------------------------


def test_the_program_reports_and_exits_as_it_found(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Kept()
    for path, data in kept.files.tree().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    assert main([str(tmp_path), "--report"]) == OK
    *_, verdict = map(json.loads, capsys.readouterr().out.splitlines())
    assert verdict["result"] == "limited" and results(verdict["logs"][0]) == ["ok"] * 3
    assert main([str(tmp_path), "--replay"]) == OK
    *_, verdict = map(json.loads, capsys.readouterr().out.splitlines())
    assert results(verdict["logs"][0]) == ["equal"] * 3
    assert main([str(tmp_path), "--report", "--log", "nope"]) == USAGE
    told = capsys.readouterr()
    assert json.loads(told.out) == {"code": "no-such-log", "log": "nope", "known": [NAME]} and f"There are: {NAME}" in told.err
    (tmp_path / ACTIVE).write_bytes(b"rot")
    assert main([str(tmp_path), "--report"]) == BROKEN


# --- checkpoints ----------------------------------------------------------------------------------------------------------------


def sealed(kept: Kept, secret: bytes = SECRET) -> Note:
    note = write_checkpoint(kept.log, secret)
    assert note is not None
    kept.files.plant("keys/signing", SECRET)
    return note


def words(verdict: Row) -> list[tuple[int, int, str]]:
    return [(item["from"], item["to"], item["why"].partition(":")[0]) for item in verdict["not_verified"] if item["log"] == NAME]


def test_what_a_checkpoint_vouches_for_and_what_came_after_it():
    kept = Kept()
    note = sealed(kept)
    size, last = note.checkpoint.size, kept.log.next_seq - 1
    verdict = said(kept.files)
    assert verdict["logs"][0]["sealed"] == str(size) and verdict["result"] == "limited"
    assert words(verdict) == [(0, last, f"{size} records not cosigned, for there is no witness")]
    append(kept.log, [pending(1), pending(2)])
    kept.log.write_head()
    verdict = said(kept.files)
    assert verdict["logs"][0]["sealed"] == str(size)
    assert words(verdict)[:1] == [(size, size + 1, "2 records after the last checkpoint")]


def test_beside_a_daemon_the_checkpoint_of_that_instant_is_compared():
    """One on disk may be newer than what is walked."""
    kept = Kept()
    old = sealed(kept)
    until = kept.log.next_seq - 1
    append(kept.log, [pending(1)])
    sealed(kept)
    row = said(kept.files, until={NAME: until}, checkpoints={NAME: old.text})["logs"][0]
    assert (row["ok"], row["sealed"]) == (True, str(old.checkpoint.size))
    assert said(kept.files, until={NAME: until})["logs"][0]["sealed"] == "none"


def test_a_checkpoint_of_another_key_is_a_failure_and_without_a_key_it_is_said():
    kept = Kept()
    sealed(kept, bytes(32))
    verdict = said(kept.files)
    row = verdict["logs"][0]
    assert (verdict["result"], row["sealed"], row["code"], row["tree"]) == ("failed", "failed", "checkpoint-false", "ok")
    assert row["first_bad"]["file"] == "log.d/engine_state/checkpoint" and "not signed with the key" in row["first_bad"]["why"]
    kept.files.unlink("keys/signing")
    verdict = said(kept.files)
    assert verdict["result"] == "limited" and verdict["logs"][0]["sealed"] == str(kept.log.next_seq)
    assert words(verdict)[0][2] == "the signature of the checkpoint"
    vkey = Key("any.log", public_key(bytes(32))).text()
    assert words(said(kept.files, vkey=vkey))[0][2] != "the signature of the checkpoint"


def test_a_log_that_went_behind_its_checkpoint_fails():
    kept = Kept()
    note = sealed(kept)
    more = note.checkpoint._replace(size=note.checkpoint.size + 1)
    kept.files.plant(checkpoint_path(NAME), signed(more, SECRET).text.encode())
    verdict = said(kept.files)
    assert verdict["result"] == "failed" and "as a checkpoint shows, and is gone" in verdict["logs"][0]["first_bad"]["why"]
    other = note.checkpoint._replace(root=bytes(32))
    kept.files.plant(checkpoint_path(NAME), signed(other, SECRET).text.encode())
    row = said(kept.files)["logs"][0]
    assert (row["ok"], row["tree"], row["sealed"]) == (False, "failed", "none")
