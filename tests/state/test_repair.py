"""Repair keeps exactly the longest sound beginning of a log, moves everything else aside, and does nothing when asked again.

Damage of every kind is done to a log of several segments; what must be left is worked out from which batches were touched, and not
by the code that repairs. A crash or a failure at any call leaves the old log or one that the next run finishes.
"""

import errno
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

import pytest

from state import snapshot
from state.alone import Refusal
from state.fork import repair_path
from state.fs import Files
from state.ledger import Ledger, hold, open_ledger, read_ledger
from state.log import Log, head_path
from state.prefix import longest
from state.recover import Corrupt, records_between, recover
from state.repair import Row, repair
from state.replay import Body
from state.segment import active_path
from state.verify import verify_files
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import NAME, SMALL, Ids, append, files_of, pending, stamp

ACTIVE = active_path(NAME)
HEAD = head_path(NAME)


class Made(NamedTuple):
    """A log, and what a test must know of it to say what a repair may keep."""

    disk: SimFiles
    hashes: list[str]
    ends: list[int]
    """`seq` behind each batch."""
    origin: str


def make(segments: int = 3, batches: int = 4) -> Made:
    disk = SimFiles()
    ledger = open_ledger(disk, Ids())
    origin = ledger.origin(NAME)
    log = recover(disk, NAME, origin, stamp, lambda batch: None, limits=SMALL).log
    ledger.add_log(NAME)
    ends = [1]
    for number in range(segments):
        for place in range(batches):
            append(log, [pending(number * 100 + place, 90)] * (1 + place % 3))
            ends.append(log.next_seq)
        take_snapshot(disk, log)
        if number + 1 < segments:
            log.rotate(stamp)
            ends.append(log.next_seq)
    log.write_head()
    hashes = [record.event_hash for record in records_between(log, 0, log.next_seq)]
    log.close()
    ledger.close()
    return Made(disk, hashes, ends, origin)


def take_snapshot(files: Files, log: Log) -> None:
    import msgspec

    end, edge = log.durable, log.durable_edge
    body = msgspec.msgpack.encode(Body(edge.text(), b"", b""))
    snapshot.write(files, NAME, seq=end.seq - 1, tip=end.tip, root=edge.root().hex(), schema="s", body=body)


@pytest.fixture(scope="module")
def made() -> Made:
    return make()


def clone(disk: SimFiles) -> SimFiles:
    found = SimFiles()
    for path, data in disk.tree().items():
        found.plant(path, data)
    return found


def copy(made: Made) -> SimFiles:
    return clone(made.disk)


def run(files: Files, *, dry_run: bool = False, actor: str = "uid:1000") -> Row:
    held = hold(files)
    try:
        ledger = read_ledger(files)
        assert ledger is not None
        return repair(files, NAME, ledger, actor, stamp, Ids(500 + ledger.boots), dry_run=dry_run)
    finally:
        files.close(held)


def start(files: Files) -> tuple[Log, Ledger, list[tuple[int, str, str]]]:
    """What the daemon does, snapshots apart: every record that it hands out."""
    ledger = open_ledger(files, Ids(900))
    seen: list[tuple[int, str, str]] = []
    headers = snapshot.listed(files, NAME).headers
    log = recover(
        files,
        NAME,
        ledger.origin(NAME),
        stamp,
        lambda batch: seen.extend((record.seq, record.event_hash, record.event_type) for record in batch),
        after=[(header.seq, header.tip) for header in headers],
        limits=SMALL,
    ).log
    assert all(header.seq < log.next_seq for header in headers), "no snapshot is of a record that is gone"
    return log, ledger, seen


def whole_again(files: Files, made: Made, kept: int, name: str = NAME) -> None:
    """The first `kept` records are those they were, a fork follows, and the log takes more; verification has nothing to say."""
    log, ledger, seen = start(files)
    assert [event_hash for _, event_hash, _ in seen][:kept] == made.hashes[:kept]
    assert [event_type for _, _, event_type in seen[kept:]] in (["log.segment", "log.fork"], ["log.genesis", "log.fork"]), seen[
        kept:
    ]
    assert ledger.origin(NAME) != made.origin and f"/{ledger.id}/" in ledger.origin(NAME)
    told = append(log, [pending(1)])
    log.rotate(stamp)
    append(log, [pending(2)])
    log.write_head()
    log.close()
    ledger.close()
    [row] = [row for row in verify_files(files) if row["done"] and row["log"] == NAME]
    assert row["ok"], row
    log, ledger, seen = start(files.kill())
    assert seen[told[0][0]][:2] == told[0]
    log.close()


def kept_before(made: Made, seq: int) -> int:
    """The end of the last batch that ends at or before this record."""
    return max([end for end in made.ends if end <= seq], default=0)


# --- what can happen to a log ---------------------------------------------------------------------------------------------------


def flip(disk: SimFiles, path: str, offset: int) -> None:
    data = bytearray(disk.content(path))
    data[offset] ^= 1
    disk.plant(path, bytes(data))


def places(disk: SimFiles, path: str) -> list[tuple[int, int]]:
    """Of each record in a file its `seq` and its offset; read here without the code under test."""
    import json

    found, offset = [], 0
    for line in disk.content(path).split(b"\n")[:-1]:
        found.append((json.loads(line)["seq"], offset))
        offset += len(line) + 1
    return found


def segments(made: Made) -> list[str]:
    return files_of(made.disk)


Damage = Callable[[SimFiles, Made], int]
"""Does it, and says how many records may be kept."""


def rot(segment: int, batch: int) -> Damage:
    def damage(disk: SimFiles, made: Made) -> int:
        path = segments(made)[segment]
        seq, offset = places(disk, path)[batch]
        flip(disk, path, offset + 200)
        return kept_before(made, seq)

    return damage


def first_of(made: Made, segment: int) -> int:
    return places(made.disk, segments(made)[segment])[0][0]


def remove(number: int) -> Damage:
    def damage(disk: SimFiles, made: Made) -> int:
        disk.unlink(segments(made)[number])
        disk.fsync_dir(".")
        return first_of(made, number)

    return damage


def no_head(disk: SimFiles, made: Made) -> int:
    disk.unlink(HEAD)
    return len(made.hashes)


def bad_head(disk: SimFiles, made: Made) -> int:
    flip(disk, HEAD, 20)
    return len(made.hashes)


def cut_below_the_head(disk: SimFiles, made: Made) -> int:
    path = ACTIVE
    seq, _ = places(disk, path)[-1]
    begin = kept_before(made, seq)
    disk.plant(path, disk.content(path)[: dict(places(disk, path))[begin]])
    return begin


def cut_below_a_snapshot(disk: SimFiles, made: Made) -> int:
    """A head that is as old as the cut: only the snapshot knows better."""
    kept = first_of(made, 2) + 1
    ends = places(disk, ACTIVE)
    disk.plant(ACTIVE, disk.content(ACTIVE)[: ends[1][1]])
    from tests.state.logs import head_line

    disk.plant(HEAD, head_line(made.ends.index(kept), kept - 1, made.hashes[kept - 1], ends[1][1], segment=first_of(made, 2)))
    return kept


def short_closed_file(disk: SimFiles, made: Made) -> int:
    path = segments(made)[1]
    last = places(disk, path)[-1]
    disk.plant(path, disk.content(path)[: last[1]])
    return kept_before(made, last[0])


def empty_active(disk: SimFiles, made: Made) -> int:
    disk.plant(ACTIVE, b"")
    return first_of(made, 2)


def all_gone(disk: SimFiles, made: Made) -> int:
    for path in segments(made):
        disk.unlink(path)
    return 0


def foreign(disk: SimFiles, made: Made) -> int:
    """The first file is of another ledger."""
    disk.plant(segments(made)[0], disk.content(segments(made)[0]).replace(b"irer.invalid", b"iror.invalid"))
    return 0


def unfinished_tail_before_a_later_batch(disk: SimFiles, made: Made) -> int:
    seqs = places(disk, ACTIVE)
    flip(disk, ACTIVE, seqs[1][1] + 150)
    disk.unlink(HEAD)
    return first_of(made, 2) + 1


KINDS: dict[str, Damage] = {
    "the very first record": rot(0, 0),
    "a record of the first segment": rot(0, 3),
    "the opening of a middle segment": rot(1, 0),
    "the last record of a closed segment": rot(1, -1),
    "the opening of the active segment": rot(2, 0),
    "a record of the active segment": rot(2, 2),
    "the first segment is missing": remove(0),
    "a middle segment is missing": remove(1),
    "the active segment is missing": remove(2),
    "no head": no_head,
    "a bad head": bad_head,
    "shorter than the head says": cut_below_the_head,
    "shorter than a snapshot says": cut_below_a_snapshot,
    "a closed file is short": short_closed_file,
    "an empty active file": empty_active,
    "nothing is left": all_gone,
    "of another ledger": foreign,
    "rot before an intact batch, and no head": unfinished_tail_before_a_later_batch,
}


@pytest.mark.parametrize("kind", KINDS)
def test_repair_keeps_the_longest_sound_beginning_whatever_happened(made: Made, kind: str) -> None:
    disk = copy(made)
    kept = KINDS[kind](disk, made)
    with pytest.raises(Corrupt):
        start(clone(disk))
    before = disk.tree()
    tried = run(disk, dry_run=True)
    assert disk.tree() | {"LOCK": b""} == before | {"LOCK": b""}, "a dry run changes nothing"
    row = run(disk)
    assert not row["ok"] and row["kept"]["records"] == kept == tried["kept"]["records"]
    everything = set(disk.tree().values())
    lost_bytes = [path for path, data in before.items() if path.startswith(f"{NAME}.") and data not in everything]
    assert not lost_bytes, "every file is still somewhere, whole"
    again = disk.tree()
    second = run(disk)
    assert second["ok"] and disk.tree() == again, "a second repair does nothing"
    whole_again(disk, made, kept)


def test_any_flipped_byte_costs_exactly_what_follows_its_batch(made: Made) -> None:
    random = Random(7)
    for path in segments(made):
        rows = places(made.disk, path)
        for offset in random.sample(range(len(made.disk.content(path))), 14):
            disk = copy(made)
            flip(disk, path, offset)
            seq = max(seq for seq, start in rows if start <= offset)
            kept = kept_before(made, seq)
            if path == ACTIVE and kept == made.ends[-2]:
                continue  # the last batch: judged below
            assert run(disk)["kept"]["records"] == kept, (path, offset)
            whole_again(disk, made, kept)


def test_a_sound_log_is_not_touched_even_with_a_torn_tail(made: Made) -> None:
    disk = copy(made)
    disk.plant(ACTIVE, disk.content(ACTIVE) + b'{"actor":"uid:1')
    before = disk.tree()
    row = run(disk)
    assert row["ok"] and disk.tree() == before | {"LOCK": disk.content("LOCK")}


def test_a_snapshot_that_belongs_to_the_beginning_stays_and_others_leave(made: Made) -> None:
    disk = copy(made)
    kept = rot(1, 3)(disk, made)
    seqs = {header.seq for header in snapshot.listed(disk, NAME).headers}
    assert min(seqs) < kept < max(seqs)
    flip(disk, snapshot.path_of(NAME, min(seqs)), -1)
    row = run(disk)
    assert snapshot.listed(disk, NAME).headers == []
    assert all(f"{row['kept_as']}/{seq:016d}.snap" in disk.tree() for seq in seqs)


def test_the_fork_names_both_origins_what_was_kept_and_who_asked(made: Made) -> None:
    import json

    disk = copy(made)
    kept = rot(1, 2)(disk, made)
    root = longest(disk, NAME, made.origin).edge
    run(disk, actor="uid:4711")
    [fork] = [each for each in map(json.loads, disk.content(ACTIVE).splitlines()) if each["event_type"] == "log.fork"]
    assert root is not None
    assert fork["actor"] == "uid:4711" and fork["commit"][1:] == [0, 1]
    ledger = read_ledger(disk)
    assert ledger is not None
    assert fork["payload"] == {
        "new_origin": ledger.logs[NAME],
        "old_origin": made.origin,
        "sealed_root": root.root().hex(),
        "sealed_size": kept,
    }


def test_a_log_that_was_pruned_is_repaired_though_the_record_that_says_so_was_lost(made: Made) -> None:
    disk = copy(made)
    log, ledger, _ = start(disk)
    take_snapshot(disk, log)
    log.prune(log.prunable(log.durable.seq, 0, retain_bytes=0)[:1], stamp)
    prune_seq = log.next_seq - 1
    append(log, [pending(9)])
    log.write_head()
    log.close()
    ledger.close()
    disk = disk.kill()
    flip(disk, ACTIVE, dict(places(disk, ACTIVE))[prune_seq - 1] + 150)
    row = run(disk)
    assert row["kept"]["records"] < prune_seq
    assert longest(disk, NAME, read_ledger(disk).logs[NAME]).damage is None  # type: ignore[union-attr]
    [found] = [row for row in verify_files(disk) if row["done"]]
    assert found["ok"], found
    for header in snapshot.listed(disk, NAME).headers:
        disk.unlink(snapshot.path_of(NAME, header.seq))
    flip(disk, ACTIVE, 150)
    with pytest.raises(Refusal, match="were pruned, and no snapshot"):
        run(disk)


def test_a_log_that_lost_the_file_with_its_fork_is_still_known_as_its_own(made: Made) -> None:
    disk = copy(made)
    rot(2, 0)(disk, made)
    kept = run(disk)["kept"]["records"]
    start(disk)[1].close()
    disk.unlink(ACTIVE)
    row = run(disk)
    assert row["kept"]["records"] == kept and row["old_origin"] == made.origin
    whole_again(disk, made, kept)


def test_what_was_once_cut_off_a_file_that_is_gone_is_not_told_of_the_new_one(made: Made) -> None:
    disk = copy(made)
    disk.plant(ACTIVE, disk.content(ACTIVE) + b'{"actor":"uid:1')
    log, ledger, _ = start(disk)
    log.close()
    ledger.close()
    disk = disk.kill()
    [cut] = disk.list("quarantine")
    kept = rot(2, 0)(disk, made)
    row = run(disk)
    assert f"quarantine/{cut}" in row["moved"] and disk.content(f"{row['kept_as']}/{cut}") == b'{"actor":"uid:1'
    whole_again(disk, made, kept)


def test_a_daemon_that_runs_is_not_disturbed(made: Made) -> None:
    from state.ledger import Locked

    disk = copy(made)
    ledger = open_ledger(disk, Ids())
    with pytest.raises(Locked):
        run(disk)
    ledger.close()


# --- a crash at any step ----------------------------------------------------------------------------------------------------------

STEPS: list[str] = ["a record of the first segment", "the opening of a middle segment", "nothing is left", "a bad head"]


def crashes(made: Made, kind: str) -> Iterator[tuple[SimFiles, int]]:
    """The disk after a power cut at, or a kill after, each change that a repair makes."""
    nth = 0
    while True:
        nth += 1
        disk = copy(made)
        kept = KINDS[kind](disk, made)
        for path in (".", f"log.d/{NAME}"):
            disk.fsync_dir(path)
        failing = NthFails(disk, nth, Killed(), CHANGES, after=bool(nth % 2))
        try:
            run(failing)  # type: ignore[arg-type]
        except Killed:
            random = Random(nth)
            yield disk.crash(random), kept
            yield disk.crash(random), kept
            yield disk.kill(), kept
        else:
            return


@pytest.mark.parametrize("kind", STEPS)
def test_a_crash_at_any_step_leaves_a_log_that_the_next_repair_finishes(made: Made, kind: str) -> None:
    count = 0
    for disk, kept in crashes(made, kind):
        count += 1
        try:
            _, _, seen = start(clone(disk))
        except Corrupt:
            pass
        else:
            assert repair_path(NAME) not in disk.tree(), "no start takes a log whose repair has begun"
            assert [event_hash for _, event_hash, _ in seen][:kept] == made.hashes[:kept], "a start takes a repaired log or none"
        row = run(disk)
        assert row["kept"]["records"] == kept or row["ok"]
        again = disk.tree()
        assert run(disk)["ok"] and disk.tree() == again
        whole_again(disk, made, kept)
    assert count > 60


def test_an_error_of_any_call_leaves_a_log_that_the_next_repair_finishes(made: Made) -> None:
    nth = 0
    while True:
        nth += 1
        disk = copy(made)
        kept = rot(1, 2)(disk, made)
        failing = NthFails(disk, nth, OSError(errno.ENOSPC, "full"), CHANGES)
        try:
            run(failing)  # type: ignore[arg-type]
        except OSError:
            disk = disk.kill()
            run(disk)
            whole_again(disk, made, kept)
        if failing.count < nth:
            break
    assert nth > 40
