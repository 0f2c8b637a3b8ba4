"""Rotation and pruning, cut by power or killed at every call, with every subset of the names that were not yet durable, and
then once more at every call of the recovery that follows: nothing acknowledged is lost, nothing stands twice, and it goes on.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random

import pytest

from state.fs import Files
from state.log import Log
from state.recover import Pruned, records_between, recover
from state.rotation import RotationFailed
from state.seal import Record
from state.tree import Edge
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import NAME, ORIGIN, SMALL, append, pending, stamp


class Story:
    """What was handed to the log and what was acknowledged, by `seq`; `kept` is the snapshot that a pruned log needs."""

    def __init__(self) -> None:
        self.submitted: list[bytes] = []
        self.acknowledged: dict[int, str] = {}
        self.kept: tuple[int, str, Edge] | None = None

    def copy(self) -> "Story":
        other = Story()
        other.submitted, other.acknowledged, other.kept = list(self.submitted), dict(self.acknowledged), self.kept
        return other

    def open(self, files: Files) -> tuple[Log, list[Record]]:
        records: list[Record] = []
        after = [self.kept[:2]] if self.kept else []

        def on_start(seq: int | None) -> Edge | None:
            records.clear()
            return self.kept[2] if self.kept and seq is not None else None

        return recover(files, NAME, ORIGIN, stamp, records.extend, after=after, on_start=on_start, limits=SMALL).log, records

    def append(self, log: Log, *numbers: int) -> None:
        records = [pending(number, 60) for number in numbers]
        self.submitted += [record.payload for record in records]
        self.acknowledged |= dict(append(log, records))

    def snapshot(self, log: Log) -> None:
        self.kept = log.durable.seq - 1, log.durable.tip, log.durable_edge


Script = Callable[[Files, Story], None]


def rotate(files: Files, story: Story) -> None:
    log, _ = story.open(files)
    story.append(log, 100, 101)
    log.rotate(stamp)
    story.append(log, 102)
    log.close()


def rotate_twice(files: Files, story: Story) -> None:
    log, _ = story.open(files)
    log.rotate(stamp)
    log.rotate(stamp)
    story.append(log, 103)
    log.write_head()
    log.close()


def rotate_again(files: Files, story: Story) -> None:
    """The first attempt is refused where the new file should get its name."""
    log, _ = story.open(files)
    log._files = NthFails(files, 1, PermissionError(1, "no"), ["rename"])
    with pytest.raises(RotationFailed):
        log.rotate(stamp)
    story.append(log, 104)
    log._files = files
    log._rotate_again_at = 0
    log.rotate(stamp)
    story.append(log, 105)
    log.close()


def prune(files: Files, story: Story) -> None:
    log, _ = story.open(files)
    log.rotate(stamp)
    story.snapshot(log)
    log.prune(log.prunable(log.durable.seq, 0, retain_bytes=0), stamp)
    story.append(log, 106)
    log.close()


def prune_then_rotate(files: Files, story: Story) -> None:
    log, _ = story.open(files)
    story.append(log, 107)
    log.rotate(stamp)
    story.snapshot(log)
    oldest = log.prunable(log.durable.seq, 0, retain_bytes=0)[:2]
    sealed = log.seal(log.prune_records(oldest, stamp))
    log.commit(sealed.data)
    log.rotate(stamp)
    log.drop(oldest, sealed.receipts[-1].seq)
    story.append(log, 108)
    log.close()


def made(story: Story) -> SimFiles:
    disk = SimFiles()
    log, _ = story.open(disk)
    for segment in range(3):
        story.append(log, segment * 10, segment * 10 + 1)
        story.append(log, segment * 10 + 2)
        if segment < 2:
            log.rotate(stamp)
    log.close()
    return disk.kill()


def lives(script: Script) -> Iterator[tuple[SimFiles, Story]]:
    """The disk and the story at every call of the script."""
    nth = 0
    while True:
        nth += 1
        story = Story()
        disk = made(story)
        try:
            script(NthFails(disk, nth, Killed(), CHANGES, after=True), story)
        except Killed:
            yield disk, story
        else:
            yield disk, story
            return


def fingerprint(disk: SimFiles) -> tuple[object, ...]:
    """Equal disks go on equally: bytes and names, which names are one file, and what of it is durable."""
    names = tuple((path, data, disk.stat_path(path).inode, disk.durable(path)) for path, data in sorted(disk.tree().items()))
    return (*names, sum(1 for _ in disk.crashes(Random(0))))


def check(disk: SimFiles, story: Story) -> None:
    """The promise, then that it goes on, then the promise again."""
    for _ in range(2):
        log, records = story.open(disk)
        first = records[0].seq if records else log.next_seq
        assert [record.seq for record in records] == list(range(first, log.next_seq))
        assert first == (story.kept[0] + 1 if story.kept and first else 0)
        every = list(records_between(log, log.first_seq, log.next_seq))
        assert [record.seq for record in every] == list(range(log.first_seq, log.next_seq))
        assert every[len(every) - len(records) :] == records
        hashes = {record.seq: record.event_hash for record in every}
        lost = {seq for seq, event_hash in story.acknowledged.items() if seq >= log.first_seq and hashes.get(seq) != event_hash}
        assert not lost, f"acknowledged records {lost} are gone"
        assert not story.kept or log.first_seq <= story.kept[0] + 1
        if log.first_seq:
            with pytest.raises(Pruned):
                list(records_between(log, log.first_seq - 1, log.first_seq))
        else:
            payloads = [record.payload for record in every if not record.event_type.startswith("log.")]
            assert payloads == story.submitted[: len(payloads)]
            story.submitted = payloads
        before = disk.tree()
        log.close()
        disk = disk.kill()
        log, _ = story.open(disk)
        assert disk.tree() == before, "recovering twice does not give the same bytes"
        story.append(log, 900)
        log.rotate(stamp)
        story.append(log, 901)
        log.close()
        disk = disk.kill()


@pytest.mark.parametrize("script", [rotate, rotate_twice, rotate_again, prune, prune_then_rotate])
def test_every_subset_of_names_at_every_call_and_a_crash_in_recovery(script, capsys):
    states = distinct = 0
    seen: set[object] = set()
    random = Random(script.__name__)
    for disk, story in lives(script):
        for state in (disk.kill(), *disk.crashes(random)):
            states += 1
            mark = fingerprint(state), len(story.acknowledged)
            if mark in seen:
                continue
            seen.add(mark)
            distinct += 1
            for inner, inner_story in recoveries(state, story):
                for after in (inner.kill(), *inner.crashes(random)):
                    states += 1
                    mark = fingerprint(after), len(story.acknowledged)
                    if mark not in seen:
                        seen.add(mark)
                        distinct += 1
                        check(after, inner_story.copy())
            check(state, story.copy())
    with capsys.disabled():
        print(f"\n  {script.__name__}: {states:,} crash states, {distinct:,} of them different")
    assert states > 400


def recoveries(state: SimFiles, story: Story) -> Iterator[tuple[SimFiles, Story]]:
    """The same disk, with a recovery that is killed at each of its calls."""
    nth = 0
    while True:
        nth += 1
        disk = deepcopy(state)
        other = story.copy()
        try:
            other.open(NthFails(disk, nth, Killed(), CHANGES, after=True))
        except Killed:
            yield disk, other
        else:
            return
