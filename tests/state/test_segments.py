"""Recovery over several segments: from a snapshot or from the beginning, and every way in which files can be the wrong ones."""

import re
from random import Random

import pytest

from state.log import Log
from state.recover import records_between, recover
from state.segment import Corrupt, closed_path
from state.tree import Edge, leaf_hash
from tests.sim.disk import NthFails, SimFiles
from tests.state.logs import (
    ACTIVE,
    HEAD,
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


class Start:
    """One recovery, and in which order it told what."""

    def __init__(self, files, after=(), bad=(), edges=None) -> None:
        self.told = []
        self.records = []
        self.bad = bad
        self.edges = edges if edges is not None else edges_of(files)
        self.log: Log | None = None
        self.files = files
        self.after = after

    def run(self):
        self.log = recover(
            self.files, NAME, ORIGIN, stamp, self.on_batch, after=self.after, on_start=self.on_start, limits=SMALL
        ).log
        return self

    def refused(self):
        before = self.files.tree()
        with pytest.raises(Corrupt) as corrupt:
            self.run()
        assert self.files.tree() == before, "damage was touched"
        return corrupt.value

    def on_start(self, seq):
        self.told.append(seq)
        self.records.clear()
        return None if seq is None or seq in self.bad else self.edges[seq]

    def on_batch(self, batch):
        assert self.told, "a batch came before on_start"
        self.records += batch

    @property
    def seqs(self):
        return [record.seq for record in self.records]


def edges_of(files):
    edges, edge = [], Edge()
    for path in [*files_of(files), ACTIVE][: len(files_of(files)) + (ACTIVE not in files_of(files))]:
        for line in files.content(path).splitlines(keepends=True):
            edge = edge.append(leaf_hash(line))
            edges.append(edge)
    return edges


def batch_ends(files):
    _, records = recovered(files.kill())
    return [(record.seq, record.event_hash) for record in records if record.pad is not None]


@pytest.fixture(scope="module")
def five():
    files = SimFiles()
    told = filled(files, 5)
    return files.kill(), told


def copy_of(files):
    return files.crash(Random(0))


def test_after_a_snapshot_only_what_follows_is_handed_out(five):
    files, told = five
    edges = edges_of(files)
    whole = Start(copy_of(files), edges=edges).run()
    assert whole.told == [None] and len(whole.records) == len(told)
    for seq, tip in batch_ends(copy_of(files)):
        start = Start(copy_of(files), [(seq, tip)], edges=edges).run()
        assert start.told == [seq]
        assert start.seqs == list(range(seq + 1, len(told)))
        assert (start.log.edge, start.log.tip, start.log.durable) == (whole.log.edge, whole.log.tip, whole.log.durable)
        assert [r.event_hash for r in records_between(start.log, 0, 999)] == [event_hash for _, event_hash in told]
        start.log.rotate(stamp)  # the running digest is right although nothing before it was read
        assert len(recovered(start.files.kill())[1]) == len(told) + 1


def test_older_segments_are_looked_at_only_from_outside(five):
    files = copy_of(five[0])
    first, second = files_of(files)[:2]
    seq, tip = batch_ends(files)[-1]
    rotten = bytearray(files.content(first))
    rotten[900] ^= 1
    files.plant(first, bytes(rotten))
    edges = edges_of(five[0])
    assert Start(files, [(seq, tip)], edges=edges).run().told == [seq]
    assert Start(files, [], edges=edges).refused().file == first
    files = copy_of(five[0])
    files.plant(second, files.content(second)[:-512])
    assert Start(files, [(seq, tip)], edges=edges).refused().file == second


@pytest.mark.parametrize("wrong", ["tip", "load", "inside a batch", "other size"])
def test_a_snapshot_that_does_not_fit_is_followed_by_an_older_one_and_then_by_the_beginning(five, wrong):
    files, told = five
    ends = batch_ends(copy_of(files))
    newest, older = ends[-2], ends[len(ends) // 2]
    edges = edges_of(files)
    bad = ()
    if wrong == "tip":
        newest = newest[0], "0" * 64
    elif wrong == "load":
        bad = (newest[0],)
    elif wrong == "inside a batch":
        newest = next(one for one in reversed(told) if one not in ends)
    else:
        edges[newest[0]] = Edge()
    expected = [newest[0]] if wrong in ("load", "other size") else []
    start = Start(copy_of(files), [newest, older], bad, edges).run()
    assert start.told == [*expected, older[0]]
    assert start.seqs == list(range(older[0] + 1, len(told)))
    start = Start(copy_of(files), [newest], bad, edges).run()
    assert start.told == [*expected, None]
    assert start.seqs == list(range(len(told)))


def test_a_snapshot_of_what_is_gone_shows_that_it_is_gone(five):
    files = copy_of(five[0])
    ends = batch_ends(files)
    log = small_log(files)
    append(log, [pending(1)])
    later = log.durable.seq - 1, log.durable.tip
    log.close()
    start = Start(copy_of(five[0]), [later, ends[3]], edges=edges_of(five[0]))
    assert "as a snapshot shows, and is gone" in start.refused().why
    assert start.told == [ends[3][0]], "what is sound was not handed out"


def test_damage_before_a_snapshot_leaves_the_sound_prefix(five):
    files, told = copy_of(five[0]), five[1]
    ends = batch_ends(files)
    data = bytearray(files.content(ACTIVE))
    data[len(data) // 2] ^= 1
    files.plant(ACTIVE, bytes(data))
    newest, older = ends[-1], ends[2]
    start = Start(files, [newest, older], edges=edges_of(five[0]))
    corrupt = start.refused()
    assert start.told == [older[0]]
    assert start.seqs == list(range(older[0] + 1, start.seqs[-1] + 1)) and start.seqs[-1] < corrupt.seq < len(told)


def test_a_rotation_that_was_not_finished_is_undone(five):
    for same_inode in (True, False):
        files = copy_of(five[0])
        opening = int(recovered(copy_of(files))[0].log.segment)
        twin = closed_path(NAME, opening)
        if same_inode:
            files.link(ACTIVE, twin)
        else:
            files.plant(twin, files.content(ACTIVE))
        files.plant(f"{NAME}.next", b"half")
        assert Start(files, edges=[]).run().seqs == list(range(len(five[1])))
        assert twin not in files.list(".") and f"{NAME}.next" not in files.list(".")
    files = copy_of(five[0])
    files.plant(twin, files.content(ACTIVE) + b"x")
    assert "both begin with" in Start(files, edges=[]).refused().why


def test_closed_files_become_read_only_even_if_a_crash_came_between(five):
    files = copy_of(five[0])
    for path in files_of(files):
        if path != ACTIVE:
            files.chmod(path, 0o600)
    small_log(files)
    assert {files.stat_path(path).mode & 0o777 for path in files_of(files) if path != ACTIVE} == {0o400}


SURGERY = {
    "the first is missing": (lambda f, s, o: f.unlink(s[0]), "is missing"),
    "one in the middle is missing": (lambda f, s, o: f.unlink(s[2]), "is missing"),
    "the last closed is missing": (lambda f, s, o: f.unlink(s[3]), "is missing"),
    "the active one is missing": (lambda f, s, o: f.unlink(ACTIVE), "is missing"),
    "all closed are missing": (lambda f, s, o: [f.unlink(path) for path in s[:4]], "is missing"),
    "two changed their names": (lambda f, s, o: swap(f, s[1], s[2]), "begins with record"),
    "one was renamed": (lambda f, s, o: f.rename(s[2], closed_path(NAME, 7777)), "begins with record|is missing"),
    "an older one is the active one": (lambda f, s, o: f.rename(s[3], ACTIVE), "does not follow|is missing|segment"),
    "a closed one is the active one": (lambda f, s, o: f.plant(ACTIVE, f.content(s[1])), "does not follow|begins with|missing"),
    "one is empty": (lambda f, s, o: f.plant(s[1], b""), "the file is empty"),
    "the active one is empty": (lambda f, s, o: f.plant(ACTIVE, b""), "the file is empty"),
    "one is shorter by a batch": (lambda f, s, o: f.plant(s[1], f.content(s[1])[:-512]), "it was closed with"),
    "one is longer": (lambda f, s, o: f.plant(s[1], f.content(s[1]) + f.content(s[1])[-512:]), "."),
    "one is of another log": (lambda f, s, o: f.plant(s[1], o.content(s[1])), "."),
    "the active one is of another log": (lambda f, s, o: f.plant(ACTIVE, o.content(ACTIVE)), "."),
    "the last closed one is of another log": (lambda f, s, o: f.plant(s[3], o.content(s[3])), "."),
    "the head is of another log": (lambda f, s, o: f.plant(HEAD, o.content(HEAD)), "not the one the head names"),
    "the head is missing": (lambda f, s, o: f.unlink(HEAD), "head is missing"),
    "a foreign file stands among them": (lambda f, s, o: f.plant(closed_path(NAME, 3), b"x"), "."),
    "a foreign file stands behind them": (lambda f, s, o: f.plant(closed_path(NAME, 9000), f.content(s[0])), "begins with record"),
    "yesterday's active file": (lambda f, s, o: f.plant(ACTIVE, f.content(ACTIVE)[:1024]), "durable.* is gone"),
    "the beginning again": (lambda f, s, o: f.plant(ACTIVE, f.content(s[0])[:512]), "begins anew|both begin"),
}


def swap(files, one, other):
    first, second = files.content(one), files.content(other)
    files.plant(one, second)
    files.plant(other, first)


@pytest.mark.parametrize("what", SURGERY)
@pytest.mark.parametrize("snapshot", [False, True])
def test_wrong_files_are_damage_whether_or_not_a_snapshot_would_skip_them(five, what, snapshot):
    files = copy_of(five[0])
    ends, segments = batch_ends(files), files_of(files)
    other = SimFiles()
    elsewhere = small_log(other)
    for number in range(5):
        for place in range(4):
            append(elsewhere, [pending(number * 100 + place, 101)] * (1 + place % 3))
        if number < 4:
            elsewhere.rotate(stamp)
    elsewhere.write_head()
    operate, why = SURGERY[what]
    operate(files, segments, other)
    start = Start(files, [ends[-3]] if snapshot else [], edges=edges_of(five[0]))
    corrupt = start.refused()
    assert re.search(why, corrupt.why), corrupt.why
    hashes = dict(five[1])
    assert all(record.event_hash == hashes[record.seq] for record in start.records), "a foreign record was handed out"


def test_reading_an_old_segment_holds_no_descriptor(five):
    files = copy_of(five[0])
    log = small_log(files)
    log._files = watched = NthFails(files, 0, OSError(), ["open", "close"])
    for seq in range(log.next_seq):
        assert [record.seq for record in records_between(log, seq, seq)] == [seq]
    assert watched.calls.count("open") == watched.calls.count("close")
    stream = records_between(log, 0, 99)
    next(stream)
    assert watched.calls.count("open") == watched.calls.count("close") + 1
    stream.close()
    assert watched.calls.count("open") == watched.calls.count("close")
