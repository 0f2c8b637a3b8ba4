"""T9: a real ext4 loses its power under a real irerd at work: what was acknowledged is there after the next mount and start, once.

The file system is told to stop without writing its journal out; what it held in memory is gone with the mount. irerd meets a disk
that answers nothing but errors, and must end as for any failed write.

Every other cut finds irerd stopped between two calls to the kernel: then each sync was either over or fails, and all that it ever
acknowledges counts. The others come wherever they come, also amid a sync. There only what callers had heard before counts: ext4
(Linux 6.18) answers that a sync is done which it had under way at that moment, though its journal never comes to the disk, and
that happens to any program; no machine lives on then to hear it.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.campaigns import campaign, per_commit
from tests.e2e.disks import Disk, unmountable
from tests.e2e.promised import Callers, OddIrerd, Promises

ROW = "T9-power"
EXIT_SYNC = 74


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if why := unmountable(tmp_path):
        pytest.skip(f"{why}: power cuts on a real file system were NOT tested")
    disk = Disk(tmp_path / "disk")
    try:
        yield disk
    finally:
        disk.discard()


def on(disk: Disk, place: Path) -> OddIrerd:
    daemon = OddIrerd(place)
    daemon.state = disk.place / "state"
    return daemon


def cut(promises: Promises, disk: Disk, random: Random, *, stopped: bool) -> int:
    """One life, ended by a power cut after so many acknowledgements, at work. Answers how many came after the cut and count."""
    daemon = promises.daemon
    daemon.start()
    promises.ask()
    # A disk that is gone cannot be read either: where a call is repeated, that may be the first to be noticed.
    callers = Callers(daemon, f"cut-{len(promises.told)}", enough=random.randrange(1, 120), tolerated="read-failed")
    callers.enough.wait(60)
    assert daemon.process is not None
    if stopped:
        daemon.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED)  # all its threads, once each is out of the kernel
    before = list(callers.told)
    disk.cut_power()
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.process.wait(30) == EXIT_SYNC, daemon.stderr()
    daemon.notify.close()
    promises.remember(callers, None if stopped else before)
    disk.umount()
    disk.mount()
    return len(callers.told) - len(before) if stopped else 0


def cuts(disk: Disk, place: Path, count: int, seed: object) -> dict[str, int]:
    """One after the other on one disk; at its end every receipt is looked for."""
    random = Random(f"power {seed}")
    disk.make(256)
    disk.mount()
    daemon = on(disk, place)
    promises, late = Promises(daemon), 0
    try:
        for number in range(count):
            late += cut(promises, disk, random, stopped=number % 2 == 0)
        daemon.start()
        promises.ask()
        assert daemon.stop() == 0
        promises.check()
    finally:
        daemon.close()
    disk.umount()
    return {"acknowledged writes": len(promises.told), "of them heard of after the cut": late}


@pytest.mark.slow
def test_a_power_cut_under_load_loses_and_doubles_nothing(disk: Disk, tmp_path: Path) -> None:
    assert cuts(disk, tmp_path, per_commit(ROW), "per commit")["acknowledged writes"] > 0


CUTS_A_DISK = 5


@pytest.mark.campaign
def test_campaign_of_power_cuts(disk: Disk, tmp_path: Path) -> None:
    def one(index: int) -> dict[str, int]:
        another = Disk(tmp_path / f"disk-{index}")
        place = tmp_path / str(index)
        place.mkdir()
        try:
            return cuts(another, place, CUTS_A_DISK, index)
        finally:
            another.discard()

    campaign(ROW, one, at_once=CUTS_A_DISK)
