"""The verifier reads as a stranger, names the first bad record, and never writes."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from core.canonical import encode
from state.recover import recover
from state.segment import Corrupt, closed_path, genesis, survey
from state.tree import EMPTY_ROOT, Edge
from state.verify import BROKEN, OK, USAGE, main, verify_files
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import (
    ACTIVE,
    GOLDEN,
    GOLDEN_ENDS,
    HEAD,
    NAME,
    ORIGIN,
    append,
    filled,
    golden_disk,
    golden_head,
    head_line,
    ledger,
    new_log,
    pending,
    recovered,
    small_log,
    stamp,
)


def rows(files, logs=None, until=None, deep=True):
    watched = NthFails(files, 1, Killed(), [call for call in CHANGES if call != "open"], always=True)
    return list(verify_files(watched, logs, until, deep=deep))


def last(files, **more):
    return rows(files, **more)[-1]


def test_a_sound_log_holds():
    held = {"log": NAME, "records": 8, "done": True, "ok": True, "code": "chain-ok", "segments": 1}
    root = "775c833be90e5121f512d209b3c7e15bc6e8e515783d4a958615e3f685177b40"
    assert rows(golden_disk(watermark=2)) == [held | {"tree": {"root": root, "size": 8}}]
    assert list(verify_files(golden_disk(watermark=2), deep=False)) == [held]


@pytest.mark.parametrize("place", range(0, 4096, 97))
def test_a_changed_byte_is_named_by_its_record(place):
    data = bytearray(GOLDEN)
    data[place] ^= 0x20
    row = last(golden_disk(bytes(data), watermark=2))
    seq = GOLDEN[:place].count(b"\n")
    start = len(b"".join(GOLDEN.splitlines(keepends=True)[:seq]))
    assert (row["ok"], row["code"]) == (False, "chain-broken")
    assert (row["first_bad"]["seq"], row["first_bad"]["offset"]) == (seq, start)
    assert row["first_bad"]["why"]


def test_a_torn_tail_is_told_and_is_no_damage():
    row = last(golden_disk(GOLDEN[:3000], watermark=1))
    assert row["ok"] and row["records"] == 4 and row["torn_bytes"] == 952


def test_a_missing_end_is_damage():
    row = last(golden_disk(GOLDEN[:2048], watermark=2))
    assert not row["ok"] and "durable and is gone" in row["first_bad"]["why"]


def test_beside_a_live_daemon_it_stops_at_the_durable_end():
    files = golden_disk(GOLDEN + b'{"actor":"half a ba', watermark=1)
    assert last(files, until={NAME: 3})["records"] == 4
    row = last(files, until={NAME: 7})
    assert (row["ok"], row["records"], row["total"]) == (True, 8, 8)
    row = last(golden_disk(watermark=2), until={NAME: 8})
    assert not row["ok"] and "record 8 was durable and is gone" in row["first_bad"]["why"]


def test_every_log_the_ledger_knows_is_looked_for():
    files = SimFiles()
    book = ledger(files)
    book.add_log(NAME)
    book.add_log("gate_log")
    files.plant(ACTIVE, GOLDEN)
    files.plant(HEAD, golden_head(2))
    found = {row["log"]: row for row in rows(files)}
    assert found["gate_log"]["first_bad"]["why"] == "gate_log.jsonl is missing"
    assert "another ledger" in found[NAME]["first_bad"]["why"]
    assert [row["log"] for row in rows(files, logs=["gate_log"])] == ["gate_log"]


def test_progress_is_told_while_a_long_log_is_walked():
    files = SimFiles()
    log = new_log(files)
    while log.end < 9 << 20:
        append(log, [pending(log.next_seq, 50_000)] * 20)
    log.write_head()
    found = rows(files)
    assert len(found) == 2
    assert (found[0]["done"], found[0]["code"]) == (False, "walking")
    assert found[1]["records"] == log.next_seq


def test_it_agrees_with_recovery_about_every_cut():
    for length in range(0, len(GOLDEN) + 1, 61):
        files = golden_disk(GOLDEN[:length], watermark=1)
        row = last(files)
        torn = "torn_bytes" in row
        try:
            recovery = recovered(files)[0]
        except Exception:
            assert not row["ok"]
        else:
            assert row["ok"] and torn == (recovery.torn is not None)


def put(tmp_path: Path, data: bytes = GOLDEN) -> Path:
    (tmp_path / "log.d" / NAME).mkdir(parents=True)
    (tmp_path / ACTIVE).write_bytes(data)
    (tmp_path / HEAD).write_bytes(golden_head(1))
    return tmp_path


def test_the_program_answers_with_its_exit_status(tmp_path, capsys):
    put(tmp_path)
    assert main([str(tmp_path)]) == OK
    assert capsys.readouterr().out == f"{NAME}  8 records  ok\n"
    assert main([str(tmp_path), "--jsonl", "--log", NAME, "--until", f"{NAME}=3"]) == OK
    assert json.loads(capsys.readouterr().out)["records"] == 4
    (tmp_path / ACTIVE).write_bytes(GOLDEN[:600] + b"x" + GOLDEN[601:])
    assert main([str(tmp_path)]) == BROKEN
    assert f"BROKEN at record 1, byte {GOLDEN_ENDS[0]}" in capsys.readouterr().out


def test_a_directory_without_logs_is_no_success(tmp_path, capsys):
    assert main([str(tmp_path)]) == USAGE
    assert "no logs" in capsys.readouterr().err
    assert main([str(tmp_path / "absent")]) == USAGE
    put(tmp_path)
    (tmp_path / "ledger.json").write_bytes(b"rot")
    assert main([str(tmp_path)]) == BROKEN
    assert "damaged" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--until", "nonsense"])


# --- several segments, and a log that moves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [True, False])
def test_the_durable_end_may_be_in_any_segment(deep):
    files = SimFiles()
    told = filled(files, 4)
    files.plant(ACTIVE, files.content(ACTIVE) + b'{"actor":"half a ba')
    for until in range(0, len(told)):
        row = last(files, logs=[NAME], until={NAME: until}, deep=deep)
        assert row["ok"] and row["total"] == until + 1 <= row["records"]
    assert "record 99 was durable and is gone" in last(files, logs=[NAME], until={NAME: 99}, deep=deep)["first_bad"]["why"]


@pytest.mark.parametrize("deep", [True, False])
def test_a_log_that_is_rotated_and_pruned_under_the_walk_is_looked_at_anew(deep):
    """A live daemon closes and deletes segments whenever it likes; at each file that is opened, once, it does."""
    nth = 0
    while True:
        nth += 1
        files = SimFiles()
        filled(files, 3)
        log = small_log(files.kill())
        before = log.next_seq - 1
        opens = 0

        class Live:
            def __getattr__(self, name, files=files):
                return getattr(files, name)

            def open(self, *arguments, files=files, log=log, nth=nth):
                nonlocal opens
                opens += 1
                if opens == nth:
                    log.rotate(stamp)
                    log.prune(log.prunable(log.durable.seq, 0, retain_bytes=0)[:2], stamp)
                return files.open(*arguments)

        [*_, row] = verify_files(Live(), [NAME], {NAME: before}, deep=deep)
        assert row["ok"], (nth, row)
        if opens < nth:
            break
    assert nth > 6


def test_a_head_that_names_a_closed_segment_is_compared_there():
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    log.write_head()
    old = files.content(HEAD)
    log.rotate(stamp)
    log.close()
    files.plant(HEAD, old)  # a crash came before the new one
    for deep in (True, False):
        assert last(files, deep=deep)["ok"]
    assert recovered(files.kill())[1]
    files.plant(HEAD, head_line(1, 1, "0" * 64, 1024))
    for deep in (True, False):
        assert "not the one the head names" in last(files, deep=deep)["first_bad"]["why"]
    with pytest.raises(Corrupt):
        recovered(files)


def test_the_fast_walk_names_the_first_bad_record_too():
    for place in range(0, 4096, 97):
        data = bytearray(GOLDEN)
        data[place] ^= 0x20
        row = last(golden_disk(bytes(data), watermark=2), deep=False)
        seq = GOLDEN[:place].count(b"\n")
        assert (row["ok"], row["first_bad"]["seq"]) == (False, seq)
    torn = last(golden_disk(GOLDEN[:3000], watermark=1), deep=False)
    assert torn["ok"] and torn["records"] == 4 and torn["torn_bytes"] == 952


def test_the_program_walks_fast_when_asked(tmp_path, capsys):
    put(tmp_path)
    assert main([str(tmp_path), "--hashchain", "--jsonl"]) == OK
    assert "tree" not in json.loads(capsys.readouterr().out)


def test_the_fast_walk_sees_records_that_do_not_follow_one_another():
    first, second, third = GOLDEN[:512], GOLDEN[512:2048], GOLDEN[2048:]
    for data in (first + third, first + third + second):
        assert not last(golden_disk(data, watermark=0), deep=False)["ok"]
    row = last(golden_disk(first + third, watermark=1), deep=False)
    assert row["first_bad"] == {"seq": 1, "offset": 512, "why": row["first_bad"]["why"]}


def test_a_segment_that_names_another_tree_is_damage():
    """Every hash fits; only the root over the records before it is not theirs."""
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1), pending(2)])
    log.edge = Edge().extend([bytes(32)] * log.edge.size)
    log.rotate(stamp)
    log.close()
    assert "another tree" in last(files)["first_bad"]["why"]
    with pytest.raises(Corrupt, match="another tree"):
        recovered(files.kill())


# --- what a start refuses, the verifier refuses -----------------------------------------------------------------------------------


def refused(files, why, *, deep_only=False):
    """By the verifier and by a start, for the same reason."""
    for deep in (True,) if deep_only else (True, False):
        row = last(files, logs=[NAME], deep=deep)
        assert not row["ok"] and why in row["first_bad"]["why"], (deep, row)
    with pytest.raises(Corrupt, match=why):
        recovered(files.kill())


def test_what_a_torn_tail_says_was_pruned_is_missing():
    """Nothing is deleted before the record of it is durable; in a batch that is not whole it never was."""
    files = SimFiles()
    told = filled(files, 3)
    log = small_log(files)
    log.write_head()
    gone = log.view.closed[0]
    before = files.content(ACTIVE)
    sealed = log.seal([*log.prune_records([gone], stamp), pending(1)])
    files.unlink(closed_path(NAME, gone.first_seq))
    files.plant(ACTIVE, before + sealed.data)
    for deep in (True, False):
        assert last(files, deep=deep)["pruned"]["last_seq"] == gone.last_seq
    first_line = sealed.data.index(b"\n") + 1
    for cut in (first_line, first_line + 100, len(sealed.data) - 1):
        files.plant(ACTIVE, before + sealed.data[:cut])
        for deep in (True, False):
            assert f"{closed_path(NAME, 0)} is missing" in last(files, deep=deep)["first_bad"]["why"]
        with pytest.raises(Corrupt, match=f"{closed_path(NAME, 0)} is missing"):
            start_after(files.kill(), told[-1])


def start_after(files, position):
    """A start from a snapshot of which only the place in the log matters."""
    edge = Edge().extend([bytes(32)] * (position[0] + 1))
    return recover(files, NAME, ORIGIN, stamp, lambda batch: None, after=[position], on_start=lambda seq: edge if seq else None)


def test_a_head_names_a_record_of_the_segment_it_names():
    files = SimFiles()
    told = filled(files, 3)
    whole = files.content(HEAD)
    opening, closed = survey(files, NAME).segments[-1].opening, survey(files, NAME).segments[0]
    seq = closed.closed.last_seq
    batch = survey(files, NAME).segments[1].opening.start.batch - 1
    files.plant(HEAD, head_line(batch, seq, told[seq][1], closed.size))
    assert last(files)["ok"] and recovered(files.kill())[1], "an old head is a true one"
    for segment, offset in ((opening.start.seq, closed.size), (opening.start.seq, 512), (seq + 1, closed.size), (1, closed.size)):
        files.plant(HEAD, head_line(batch, seq, told[seq][1], offset, segment=segment))
        refused(files, "the head")
    files.plant(HEAD, head_line(batch, seq, "0" * 64, closed.size))
    refused(files, "not the one the head names")
    files.plant(HEAD, whole)
    assert last(files)["ok"]


def test_the_tip_in_the_head_is_checked_where_a_start_does_not_walk():
    """A start from a snapshot looks at older segments from outside; the head may still be of one of them."""
    files = SimFiles()
    told = filled(files, 3)
    closed = survey(files, NAME).segments[0]
    seq, batch = closed.closed.last_seq, survey(files, NAME).segments[1].opening.start.batch - 1
    for tip, held in ((told[seq][1], True), ("0" * 64, False)):
        disk = files.kill()
        disk.plant(HEAD, head_line(batch, seq, tip, closed.size))
        with nullcontext() if held else pytest.raises(Corrupt, match="not the one the head names"):
            start_after(disk, told[-1])


def test_of_a_head_whose_record_was_pruned_the_place_must_be_possible():
    """Nothing of it is left to compare; but it was in that segment, and before every record that is kept."""
    files = SimFiles()
    told = filled(files, 3)
    log = small_log(files)
    log.prune(log.view.closed[:2], stamp)
    first = survey(files, NAME).segments[0].opening.start
    middle = survey(files, NAME).before.first_seq
    log.close()
    for batch, seq, segment, held in (
        (first.batch - 1, first.seq - 1, middle, True),
        (1, 1, 0, True),
        (1, 1, middle, False),
        (1, first.seq, 0, False),
        (first.batch, first.seq - 1, middle, False),
    ):
        files.plant(HEAD, head_line(batch, seq, "0" * 64, 512, segment=segment))
        assert last(files)["ok"] == held, (batch, seq, segment)
        with nullcontext() if held else pytest.raises(Corrupt, match="the head"):
            start_after(files.kill(), told[-1])


@pytest.mark.parametrize("with_head", [True, False])
def test_a_log_whose_active_file_is_lost_is_missed_without_a_ledger_too(with_head):
    files = SimFiles()
    filled(files, 2)
    files.unlink(ACTIVE)
    if not with_head:
        files.unlink(HEAD)
    (row,) = rows(files)
    assert row["log"] == NAME and f"{ACTIVE} is missing" in row["first_bad"]["why"]
    files.unlink(closed_path(NAME, 0))
    assert [row["ok"] for row in rows(files)] == ([False] if with_head else [])
    assert list(verify_files(files, ["nothing"])) == []


@pytest.mark.parametrize("kind", ["log.genesis", "log.segment"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_file_begins_once(kind, closed):
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    append(log, [pending(2)._replace(event_type=kind, payload=genesis(NAME, ORIGIN))])
    append(log, [pending(3)])
    if closed:
        log.rotate(stamp)
    log.write_head()
    log.close()
    refused(files, "begins anew inside a file", deep_only=True)


def test_a_log_with_records_that_the_ledger_never_heard_of_is_damage():
    files = SimFiles()
    ledger(files).add_log("gate_log")
    filled(files, 2)
    for deep in (True, False):
        assert "never heard of it" in last(files, logs=[NAME], deep=deep)["first_bad"]["why"]
    with pytest.raises(Corrupt, match="never heard of it"):
        recovered(files.kill())


# --- the origin in force ----------------------------------------------------------------------------------------------------------

OTHER = f"irer.invalid/00000000000000b2/{NAME}"


def forked(old=ORIGIN, new=OTHER, **more):
    said = {"new_origin": new, "old_origin": old, "sealed_root": EMPTY_ROOT.hex(), "sealed_size": 0} | more
    return pending(0)._replace(event_type="log.fork", actor="irer", payload=encode(said))


def named(files, origin):
    """A ledger.json that gives the log this origin."""
    facts = {"boots": 1, "format": 1, "id": "00000000000000a1", "keys": [], "logs": {NAME: origin}, "written_by": "irer"}
    files.plant("ledger.json", encode(facts) + b"\n")
    return files


def with_records(*records, header=None, after=True):
    """One segment that ends with these, a batch each, and another one of the origin `header`."""
    files = SimFiles()
    log = small_log(files)
    append(log, [pending(1)])
    for record in records:
        append(log, [record])
    if header is not None:
        log.origin = header
        log.rotate(stamp)
        append(log, [pending(2)])
    log.write_head()
    log.close()
    return files


def test_a_fork_gives_the_log_another_origin_from_there_on():
    for header, origin in ((OTHER, OTHER), (None, OTHER)):
        files = named(with_records(forked(), header=header), origin)
        row = last(files)
        assert row["ok"] and row["forks"] == [{"seq": 2, "old_origin": ORIGIN, "new_origin": OTHER}]
        assert last(files, deep=False)["ok"]
        assert recover(files.kill(), NAME, origin, stamp, lambda batch: None).log.origin == origin
    third = f"irer.invalid/00000000000000c3/{NAME}"
    files = named(with_records(forked(), forked(OTHER, third), header=third), third)
    assert [fork["new_origin"] for fork in last(files)["forks"]] == [OTHER, third]


FORKS = {
    "a header of another origin": (lambda: with_records(header=OTHER), OTHER, "no log.fork leads to it"),
    "a fork that the next header does not follow": (
        lambda: with_records(forked(), header=ORIGIN),
        ORIGIN,
        "no log.fork leads to it",
    ),
    "a fork from another origin": (lambda: with_records(forked(OTHER, ORIGIN)), ORIGIN, "and the origin is"),
    "a fork to another log": (lambda: with_records(forked(new=f"{OTHER}_too")), ORIGIN, "no origin of"),
    "a fork that says too little": (lambda: with_records(forked(sealed_size=None)), ORIGIN, "does not say from which"),
    "a fork that ledger.json does not know": (lambda: with_records(forked()), ORIGIN, "ledger.json names"),
    "another ledger": (lambda: with_records(), OTHER, "belongs to another ledger"),
    "another ledger, behind a fork": (lambda: with_records(forked()), f"{OTHER[:-13]}/x/{NAME}", "belongs to another ledger"),
}


@pytest.mark.parametrize("name", FORKS)
def test_no_log_changes_its_origin_without_saying_so(name):
    make, origin, why = FORKS[name]
    files = named(make(), origin)
    row = last(files)
    assert not row["ok"] and why in row["first_bad"]["why"], row
    with pytest.raises(Corrupt, match=why):
        recover(files.kill(), NAME, origin, stamp, lambda batch: None)


def test_a_log_of_another_ledger_hands_nothing_out():
    files = with_records(header=ORIGIN)
    seen = []
    with pytest.raises(Corrupt, match="belongs to another ledger"):
        recover(named(files, OTHER), NAME, OTHER, stamp, seen.extend)
    assert seen == []


def test_a_fork_in_a_torn_tail_is_none():
    files = with_records(forked())
    files.plant(ACTIVE, files.content(ACTIVE)[:-1])
    files.plant(HEAD, head_line(1, 1, records_of(files)[1], 1024))
    row = last(named(files, ORIGIN))
    assert row["ok"] and row["torn_bytes"] == 1023 and "forks" not in row
    assert "another ledger" in last(named(files, OTHER))["first_bad"]["why"]
    with pytest.raises(Corrupt, match="another ledger"):
        recover(files.kill(), NAME, OTHER, stamp, lambda batch: None)


def records_of(files):
    return [line[-67:-3].decode() for line in files.content(ACTIVE).splitlines(keepends=True)]
