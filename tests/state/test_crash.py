"""Power cuts and kills at every call of appending and of recovering: nothing acknowledged is lost, nothing is invented.

A script runs on a simulated disk until it is killed at its n-th call. From each such moment several disks are drawn that a
power cut could leave; on each the next start recovers, goes on, and may be killed again.
"""

from hashlib import sha256
from random import Random

import pytest

from state.fs import Files
from state.ledger import open_ledger
from state.log import Log
from state.recover import recover
from state.seal import Pending, Record
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import ACTIVE, GOLDEN, NAME, Ids, append, golden_disk, pending, recovered, stamp

GROUPS = ((1, 40), (3, 300), (1, 900), (2, 10), (1, 2000))
"""Records of each batch and the size of their text: within a sector, across several, more than a page."""
STATES_A_CALL = 80


class Story:
    """What callers were told, and all that was ever handed to the log."""

    def __init__(self) -> None:
        self.submitted: list[Pending] = []
        self.acknowledged: list[tuple[int, str]] = []

    def run(self, files: Files) -> None:
        """One life of the daemon, as the daemon does it: recover, remember the log, append, write heads."""
        ledger = open_ledger(files, Ids())
        log = self.recover(files, ledger.origin(NAME))
        ledger.add_log(NAME)
        for number, (count, size) in enumerate(GROUPS):
            log.reserve()
            records = [pending(len(self.submitted) + place, size) for place in range(count)]
            self.submitted += records
            self.acknowledged += append(log, records)
            if number % 2:
                log.write_head()
            if number == 2:
                log.rotate(stamp)
        log.write_head()
        log.close()
        ledger.close()

    def recover(self, files: Files, origin: str) -> Log:
        records: list[Record] = []
        log = recover(files, NAME, origin, stamp, records.extend).log
        self.check(records)
        return log

    def check(self, records: list[Record]) -> None:
        assert [record.seq for record in records] == list(range(len(records)))
        hashes = {record.seq: record.event_hash for record in records}
        for seq, event_hash in self.acknowledged:
            assert hashes.get(seq) == event_hash, f"acknowledged record {seq} is gone"
        kept = [record.payload for record in records if not record.event_type.startswith("log.")]
        known = [one.payload for one in self.submitted]
        assert kept == known[: len(kept)], "not a prefix of what was submitted"
        # Whatever survived unacknowledged stays from now on; what did not, never was.
        del self.submitted[len(kept) :]
        self.acknowledged = list(hashes.items())

    def copy(self) -> "Story":
        other = Story()
        other.submitted, other.acknowledged = list(self.submitted), list(self.acknowledged)
        return other


def killed_at(disk: SimFiles, story: Story, nth: int, after: bool) -> bool:
    """Whether the story reached that call and was killed there."""
    try:
        story.run(NthFails(disk, nth, Killed(), CHANGES, after=after))
    except Killed:
        return True
    return False


def settle(disk: SimFiles, story: Story) -> SimFiles:
    """Recover, and recover again: the second time changes nothing."""
    ledger = open_ledger(disk, Ids())
    origin = ledger.origin(NAME)
    story.recover(disk, origin).close()
    before = disk.tree()
    again = disk.kill()
    story.recover(again, origin).close()
    assert again.tree() == before, "recovering twice does not give the same bytes"
    return again.kill()


@pytest.mark.parametrize("after", [False, True])
def test_a_power_cut_at_every_call_loses_nothing_acknowledged(after, capsys):
    states = 0
    nth = 0
    while True:
        nth += 1
        disk, story = SimFiles(), Story()
        if not killed_at(disk, story, nth, after):
            break
        for seed in range(STATES_A_CALL):
            settle(disk.crash(Random(f"{nth} {seed}")), story.copy())
            states += 1
        settle(disk.kill(), story.copy())
        states += 1
    with capsys.disabled():
        print(f"\n  power cuts while appending and rotating: {states:,} states at {nth - 1} calls")
    assert nth > 80 and states > 6_000


def test_a_power_cut_at_every_call_of_recovery_loses_nothing(capsys):
    """A first life ends in mid-append; the second is cut at every call, in recovery and after it; the third must find all."""
    states = 0
    for seed in range(12):
        random = Random(seed)
        first, story = SimFiles(), Story()
        assert killed_at(first, story, random.randrange(40, 68), after=bool(seed % 2))
        nth = 0
        while True:
            nth += 1
            disk = first.crash(Random(seed)) if seed % 3 else first.crash(Random(seed)).kill()
            second = story.copy()
            if not killed_at(disk, second, nth, after=bool(nth % 2)):
                break
            for draw in range(9):
                settle(disk.crash(Random(f"{seed} {nth} {draw}")), second.copy())
                states += 1
    with capsys.disabled():
        print(f"\n  power cuts in the life after a power cut: {states:,} states")
    assert states > 6_000


def test_a_kill_then_a_recovery_then_a_power_cut_loses_nothing():
    """What a killed daemon left in the cache is believed by the next one, so recovery must make it durable, names too."""
    for nth in range(1, 80):
        disk, story = SimFiles(), Story()
        if not killed_at(disk, story, nth, after=True):
            break
        disk = disk.kill()
        ledger = open_ledger(disk, Ids())
        log = story.recover(disk, ledger.origin(NAME))
        for seed in range(3):
            settle(disk.crash(Random(seed)), story.copy())
        ledger.add_log(NAME)
        story.submitted.append(pending(1000))
        story.acknowledged += append(log, story.submitted[-1:])
        for seed in range(5):
            settle(disk.crash(Random(seed)), story.copy())


def test_a_torn_tail_is_never_lost_before_it_is_kept():
    tail = GOLDEN[2048:3000]
    kept_as = f"{sha256(tail).hexdigest()}"
    nth = 0
    while True:
        nth += 1
        disk = golden_disk(GOLDEN[:3000], watermark=1)
        try:
            recovered(NthFails(disk, nth, Killed(), CHANGES, after=True))
        except Killed:
            pass
        else:
            break
        for seed in range(40):
            left = disk.crash(Random(f"{nth} {seed}"))
            kept = [path for path, data in left.tree().items() if path.endswith(kept_as) and data == tail]
            assert kept or left.content(ACTIVE) == GOLDEN[:3000], "a tail was cut off before it was kept"
            recovery, records = recovered(left)
            assert [path for path in left.tree() if path.endswith(kept_as)]
            assert any(record.event_type == "log.recovered" and kept_as.encode() in record.payload for record in records)
            recovery.log.close()
    assert nth > 15


def test_recovery_keeps_then_cuts_then_records_each_durably():
    disk = golden_disk(GOLDEN[:3000], watermark=1)
    watched = NthFails(disk, 0, Killed(), [call for call in CHANGES if call != "open"])
    recovered(watched)
    made = watched.calls[watched.calls.index("write") :]
    assert made == ["write", "fsync", "rename", "fsync_dir", "truncate", "fsync", "write", "fdatasync"]


def test_a_cut_that_was_not_recorded_is_recorded_at_a_later_start():
    disk, story = SimFiles(), Story()
    story.run(disk)
    disk = disk.kill()
    whole = disk.content(ACTIVE)
    disk.plant(ACTIVE, whole + b'{"actor":"uid:1000","boot_id"')
    cut = NthFails(disk, 2, Killed(), ["truncate"], after=True)
    with pytest.raises(Killed):  # the first truncation is of the lock's process id
        story.run(cut)
    disk = disk.kill()
    assert disk.content(ACTIVE) == whole
    records: list[Record] = []
    ledger = open_ledger(disk, Ids())
    recover(disk, NAME, ledger.origin(NAME), stamp, records.extend).log.close()
    assert [record.event_type for record in records][-1] == "log.recovered"
    assert b'"bytes":29' in records[-1].payload
