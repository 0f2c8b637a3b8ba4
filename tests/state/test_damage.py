"""Damage to any byte of any file of a log of several segments: it is said, or it is the end of a batch nobody was told of.

64 records in 12 batches and 3 segments, with a head that names the last batch but one, and a snapshot. Whatever is done to their
bytes, recovery must either refuse, having handed out only what is sound; or cut off the last batch alone; or, where only the
snapshot was touched, do without it. The verifier must agree.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest

from core.canonical import encode
from state import snapshot
from state.recover import Corrupt, Recovery, recover
from state.segment import closed_path
from state.tree import Edge
from state.verify import verify_files
from tests.campaigns import campaign, per_commit
from tests.sim.disk import SimFiles
from tests.state.logs import ACTIVE, HEAD, NAME, ORIGIN, append, files_of, head_line, new_log, pending, stamp

BATCHES = (1, 3, 8, 5), (2, 9, 1), (7, 4, 9, 12)
SCHEMA = "shape"
EDITS_AT_ONCE = 1_000


class Whole:
    """The log as it is before anything is done to it."""

    def __init__(self) -> None:
        self.disk = SimFiles()
        log = new_log(self.disk)
        number = 0
        for place, segment in enumerate(BATCHES):
            for count in segment:
                append(log, [pending(number + each, (number * 7) % 90) for each in range(count)])
                number += count
            if place == 1:
                self.edge, end = log.durable_edge, log.durable
                snapshot.write(
                    self.disk,
                    NAME,
                    seq=end.seq - 1,
                    tip=end.tip,
                    root=self.edge.root().hex(),
                    schema=SCHEMA,
                    body=encode({"n": number}),
                )
            if place < 2:
                log.rotate(stamp)
        log.close()
        self.snapshot = snapshot.path_of(NAME, end.seq - 1)
        self.records = []
        log = recover(self.disk, NAME, ORIGIN, stamp, self.records.extend).log
        self.ends = [record for record in self.records if record.pad is not None]
        last = self.ends[-2]
        self.disk.plant(HEAD, head_line(last.commit[0], last.seq, last.event_hash, last.offset + last.size, segment=log.segment))
        log.close()
        self.paths = [*(path for path in files_of(self.disk) if path != ACTIVE), ACTIVE]
        self.last_start = last.offset + last.size
        self.hashes = [record.event_hash for record in self.records]
        self.bytes = sum(len(self.disk.content(path)) for path in (*self.paths, HEAD, self.snapshot))

    def copy(self) -> SimFiles:
        return self.disk.crash(Random(0))


@pytest.fixture(scope="module")
def whole():
    return Whole()


def start(whole: Whole, disk: SimFiles) -> tuple[Recovery, list[str], int | None]:
    """A start as the daemon does it; the hashes of all records its state is made of, and the snapshot it began with."""
    held: list[str] = []
    began: list[int | None] = []

    def on_start(seq: int | None) -> Edge | None:
        began.append(seq)
        held.clear()
        if seq is None:
            return None
        try:
            snapshot.read(disk, NAME, seq)
        except snapshot.BadSnapshot:
            return None
        held.extend(whole.hashes[: seq + 1])
        return whole.edge

    after = [(header.seq, header.tip) for header in snapshot.listed(disk, NAME).headers]
    try:
        recovery = recover(
            disk,
            NAME,
            ORIGIN,
            stamp,
            lambda batch: held.extend(record.event_hash for record in batch if record.event_type != "log.recovered"),
            after=after,
            on_start=on_start,
        )
    except Corrupt:
        assert held == whole.hashes[: len(held)], "a false record was handed out"
        raise
    return recovery, held, began[-1]


def outcome(whole: Whole, disk: SimFiles, path: str, place: int) -> str:
    """What a start makes of a disk on which `path` is not what it was, from `place` on; fails where that is not the truth."""
    before = disk.tree()
    try:
        recovery, held, began = start(whole, disk)
    except Corrupt:
        assert disk.tree() == before, "damage was touched"
        return "corrupt"
    recovery.log.close()
    if recovery.torn is None:
        if (path, place) == (ACTIVE, whole.last_start) and held == whole.hashes[: whole.ends[-2].seq + 1]:
            return "the last batch gone without a trace"
        assert held == whole.hashes
        if path == whole.snapshot:
            assert began is None
            return "without the snapshot"
        assert path in whole.paths[:-1] and began is not None, "damage was passed over"
        return "not looked at"
    assert path == ACTIVE and place >= whole.last_start, "more than the last batch was taken for torn"
    assert held == whole.hashes[: whole.ends[-2].seq + 1]
    assert disk.content(ACTIVE)[: whole.last_start] == whole.disk.content(ACTIVE)[: whole.last_start]
    return "torn"


def verdict(disk: SimFiles, deep: bool) -> bool:
    [*_, row] = verify_files(disk, [NAME], deep=deep)
    return bool(row["ok"])


Change = tuple[str, int, Callable[[bytes], bytes]]


def go_through(whole: Whole, changes: Iterator[Change], capsys: pytest.CaptureFixture[str], what: str) -> Counter[str]:
    """Every change on a disk of its own. A closed segment that a snapshot lets a start skip is the verifier's to find."""
    said: Counter[str] = Counter()
    for number, (path, place, change) in enumerate(changes):
        disk = whole.copy()
        old = disk.content(path)
        new = change(old)
        if new == old:
            continue
        disk.plant(path, new)
        if number % 8 == 0 and path != whole.snapshot:
            torn = path == ACTIVE and place >= whole.last_start
            assert verdict(disk, deep=bool(number % 16)) == torn, f"the verifier is wrong about {path} at {place}"
        word = outcome(whole, disk, path, place)
        if word == "not looked at":
            disk.unlink(whole.snapshot)
            assert outcome(whole, disk, path, place) == "corrupt"
            word = "corrupt, once it was looked at"
        said[word] += 1
    with capsys.disabled():
        print(
            f"\n  {what}: {said.total():,} states of {whole.bytes:,} bytes, "
            + ", ".join(f"{n:,} {word}" for word, n in said.items())
        )
    return said


def bytes_of(whole: Whole, step: int) -> Iterator[tuple[str, int]]:
    for path in (*whole.paths, HEAD, whole.snapshot):
        for place in range(0, len(whole.disk.content(path)), step):
            yield path, place


def test_the_log_is_what_it_should_be(whole):
    assert len(whole.records) == 64 and len(whole.ends) == 14 and len(whole.paths) == 3
    assert outcome_of_nothing(whole) == whole.hashes
    assert verdict(whole.copy(), True) and verdict(whole.copy(), False)


def outcome_of_nothing(whole: Whole) -> list[str]:
    recovery, held, began = start(whole, whole.copy())
    assert recovery.torn is None and began is not None
    return held


def test_every_file_cut_at_every_third_byte(whole, capsys):
    def changes() -> Iterator[Change]:
        for path, place in bytes_of(whole, 3):
            yield path, place, lambda data, place=place: data[:place]

    said = go_through(whole, changes(), capsys, "cut at every third byte")
    assert said.pop("the last batch gone without a trace") == 1, "of a batch nobody was told of, cut off to the byte"
    assert set(said) == {"corrupt", "torn", "without the snapshot"}


def test_bits_flipped_in_every_file(whole, capsys):
    random = Random("flips")
    places = list(bytes_of(whole, 1))

    def changes() -> Iterator[Change]:
        for _ in range(4_000):
            path, place = random.choice(places)
            mask = 1 << random.randrange(8)
            yield path, place, lambda data, place=place, mask=mask: flipped(data, place, mask)

    said = go_through(whole, changes(), capsys, "bits flipped")
    assert set(said) == {"corrupt", "corrupt, once it was looked at", "torn", "without the snapshot"}


def flipped(data: bytes, place: int, mask: int) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def test_bytes_changed_inserted_and_deleted_anywhere(whole, capsys):
    go_through(whole, edits(whole, Random("edits"), per_commit("T3-edits")), capsys, "bytes changed, inserted, deleted")


@pytest.mark.campaign
def test_many_more_bytes_changed_inserted_and_deleted(whole, capsys):
    def edited(index: int) -> None:
        go_through(whole, edits(whole, Random(f"edits {index}"), EDITS_AT_ONCE), capsys, "more bytes changed, inserted, deleted")

    campaign("T3-edits", edited, at_once=EDITS_AT_ONCE)


def edits(whole: Whole, random: Random, count: int) -> Iterator[Change]:
    places = list(bytes_of(whole, 1))
    for number in range(count):
        path, place = random.choice(places)
        new = bytes([random.randrange(256)])
        kind = number % 3
        yield path, place, lambda data, at=place, new=new, kind=kind: data[:at] + new[: kind != 2] + data[at + (kind != 1) :]


# --- surgery on lines and files -------------------------------------------------------------------------------------------------


def surgeries(whole: Whole, other: SimFiles) -> Iterator[tuple[str, Callable[[SimFiles], object]]]:
    for path in whole.paths:
        lines = whole.disk.content(path).splitlines(keepends=True)
        foreign = other.content(path).splitlines(keepends=True)
        for place in range(len(lines)):
            yield f"{path}: line {place} dropped", plant(path, lines[:place] + lines[place + 1 :])
            yield f"{path}: line {place} twice", plant(path, lines[: place + 1] + lines[place:])
            if place:
                yield (
                    f"{path}: lines {place - 1} and {place} exchanged",
                    plant(path, [*lines[: place - 1], lines[place], lines[place - 1], *lines[place + 1 :]]),
                )
            if place and place < len(foreign):
                yield f"{path}: line {place} of another log", plant(path, [*lines[:place], foreign[place], *lines[place + 1 :]])
                yield f"{path}: from line {place} on another log", plant(path, [*lines[:place], *foreign[place:]])
    for path in whole.paths:
        yield f"{path} missing", lambda disk, path=path: disk.unlink(path)
        yield f"{path} empty", plant(path, [])
        yield f"{path} of another log", plant(path, [other.content(path)])
        for other_path in whole.paths:
            if path != other_path:
                yield f"{path} is {other_path}", plant(path, [whole.disk.content(other_path)])
        yield f"{path} renamed", lambda disk, path=path: disk.rename(path, closed_path(NAME, 999))
        yield f"{path} with a foreign writer", plant(path, [whole.disk.content(path), b'{"hello": "world"}\n'])


def plant(path: str, lines: list[bytes]) -> Callable[[SimFiles], object]:
    return lambda disk: disk.plant(path, b"".join(lines))


def test_surgery_on_lines_and_files(whole, capsys):
    foreign = SimFiles()
    log = recover(foreign, NAME, ORIGIN.replace("a1", "a2"), stamp, lambda batch: None).log
    for place, segment in enumerate(BATCHES):
        for count in segment:
            append(log, [pending(5000 + count, 33)] * count)
        if place < 2:
            log.rotate(stamp)
    assert files_of(foreign) == files_of(whole.disk)
    last = whole.ends[-2]
    tail = len([record for record in whole.records if record.seq > last.seq])
    said: Counter[str] = Counter()
    for what, operate in surgeries(whole, foreign):
        disk = whole.copy()
        disk.unlink(whole.snapshot)
        before = disk.tree()
        operate(disk)
        if disk.tree() == before:
            continue
        damaged = disk.tree()
        try:
            recovery, held, _ = start(whole, disk)
        except Corrupt:
            assert disk.tree() == damaged, "damage was touched"
            said["corrupt"] += 1
        else:
            assert recovery.torn is not None and held[: last.seq + 1] == whole.hashes[: last.seq + 1], what
            assert len(held) in (last.seq + 1, last.seq + 1 + tail), what
            said["torn"] += 1
    with capsys.disabled():
        print(f"\n  surgery: {said.total()} operations, " + ", ".join(f"{n} {word}" for word, n in said.items()))
    assert said.total() >= 300
