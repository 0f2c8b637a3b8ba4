"""T11: syncs that really fail, and really no room: irerd ends as it says it does, nothing that it acknowledged is lost, and a start
after that believes the medium, not the cache.

The medium is a file in a small memory file system: once that is full, what ext4 sends to it comes back as a failed sync, and the
kernel goes on showing programs the bytes that never arrived.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from irerctl.client import Error
from state.fs import RealFiles, write_all
from state.log import SyncFailed, create
from tests.campaigns import campaign, per_commit
from tests.e2e.disks import MIB, Disk, run, unmountable
from tests.e2e.harness import Irerd
from tests.e2e.promised import Callers, OddIrerd, Promises, history
from tests.state.logs import NAME, ORIGIN, pending, stamp

ROW = "T11-sync"
EXIT_SYNC = 74
MEDIUM_MIB = 48
FILE_MAX = 3 * MIB
JOURNAL_ROUNDS = 500


class FullMedium(Disk):
    """ext4 on a medium that somebody else fills up."""

    def __init__(self, place: Path) -> None:
        self.memory = place.with_suffix(".memory")
        self.memory.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={MEDIUM_MIB}m", "tmpfs", str(self.memory))
        super().__init__(place, self.memory / "image")

    def mount(self) -> None:
        """A loop device of Linux 6.18 calls a write done of which its file took only the first pages, a lie that no program can see
        through: so it is given one page at a time.
        """
        super().mount()
        device = subprocess.run(["losetup", "-j", str(self.image)], capture_output=True, text=True, check=True).stdout.partition(
            ":"
        )[0]
        Path("/sys/block", Path(device).name, "queue/max_sectors_kb").write_text("4")

    def settle(self) -> None:
        """Has the journal written round once, so that it has its blocks on the medium: later only data asks for more of them."""
        for number in range(JOURNAL_ROUNDS):
            fd = os.open(self.place / f"{number % 8}", os.O_WRONLY | os.O_CREAT)
            os.fsync(fd)
            os.close(fd)
            os.unlink(self.place / f"{number % 8}")

    def takes_writes(self) -> bool:
        try:
            os.close(os.open(self.place / "trial", os.O_WRONLY | os.O_CREAT))
        except OSError:
            return False
        return True

    def fill(self, left: int) -> None:
        stat = os.statvfs(self.memory)
        with open(self.memory / "ballast", "wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, stat.f_bavail * stat.f_frsize - left)

    def empty(self) -> None:
        (self.memory / "ballast").unlink()

    def discard(self) -> None:
        super().discard()
        subprocess.run(["umount", "-l", str(self.memory)], capture_output=True, check=False)


@pytest.fixture
def allowed(tmp_path: Path) -> None:
    if why := unmountable(tmp_path):
        pytest.skip(f"{why}: really failing syncs were NOT tested")


@pytest.fixture
def disk(tmp_path: Path, allowed: None) -> Iterator[FullMedium]:
    disk = FullMedium(tmp_path / "disk")
    try:
        yield disk
    finally:
        disk.discard()


def test_what_set_out_for_the_medium_and_never_arrived_is_told_by_the_sync(disk: FullMedium) -> None:
    """A long batch is on its way before it is synced. Nobody waits for it there: that it failed is told to who asks for a sync."""
    disk.make(40)
    disk.mount()
    disk.settle()
    files = RealFiles(disk.place)
    fd = files.open("log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    files.fsync(fd)
    disk.fill(0)
    write_all(files, fd, bytes(2 * MIB))
    files.begin_sync(fd)
    # Asked for through another descriptor, so that the whole way lies behind it.
    subprocess.run(["sync", "-f", str(disk.place)], capture_output=True, check=False)
    with pytest.raises(OSError):
        files.fdatasync(fd)
    files.close(fd)
    files.shut()


def test_a_long_batch_whose_sync_began_ahead_and_failed_is_never_durable(disk: FullMedium) -> None:
    disk.make(40)
    disk.mount()
    disk.settle()
    files = RealFiles(disk.place)
    log = create(files, NAME, ORIGIN, stamp)
    records = [pending(number, 300) for number in range(256)]
    log.commit(log.seal(records).data)
    disk.fill(0)
    whole = log.durable
    with pytest.raises(SyncFailed, match="sync failed"):
        for _ in range(40):
            log.commit(log.seal(records).data)
            whole = log.durable
    assert log.durable == whole and log.durable_edge.size == whole.seq < log.next_seq
    with pytest.raises(SyncFailed, match="an earlier sync failed"):
        log.sync()
    log.close()
    files.shut()


def logs_as_seen(daemon: Irerd) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(daemon.state.glob("*.jsonl"))}


def failed_once(disk: FullMedium, place: Path, random: Random) -> dict[str, int]:
    """A sync fails at work; the next start, on the same mount, must have nothing that only the cache has."""
    disk.make(128)
    disk.mount()
    disk.settle()
    daemon = OddIrerd(place, records=100_000)
    daemon.state = disk.place / "state"
    promises = Promises(daemon)
    try:
        daemon.start()
        first = Callers(daemon, "before", enough=40)
        first.enough.wait(60)
        promises.remember(first)
        os.sync()
        disk.fill(random.randrange(4, 64) * 4096)
        second = Callers(daemon, "full", enough=100_000, tolerated="disk-full read-failed")
        assert daemon.process is not None
        code = daemon.process.wait(60)
        daemon.notify.close()
        promises.remember(second)
        assert code == EXIT_SYNC and "Nothing after it was acknowledged" in daemon.stderr(), (code, daemon.stderr())
        cached = logs_as_seen(daemon)
        disk.empty()
        read_only = not disk.takes_writes()
        if read_only:  # the journal itself met the full medium: nothing can start here before it is mounted anew
            disk.umount()
            disk.mount()
        daemon.start()
        promises.ask()
        daemon.kill9()
        believed = logs_as_seen(daemon)
        disk.umount()
        disk.mount()
        medium = logs_as_seen(daemon)
        assert {name: len(data) for name, data in believed.items()} == {name: len(data) for name, data in medium.items()}
        assert believed == medium, "the start went on from bytes that the medium never had"
        daemon.start()
        promises.ask()
        assert daemon.stop() == 0
        promises.check()
    finally:
        daemon.close()
    lied = any(medium.get(name, b"")[: len(data)] != data for name, data in cached.items())
    return {"acknowledged writes": len(promises.told), "the cache showed what was lost": lied, "mounted read-only": read_only}


@pytest.mark.slow
def test_a_sync_that_really_fails_ends_irerd_and_its_cache_is_not_believed(disk: FullMedium, tmp_path: Path) -> None:
    found = failed_once(disk, tmp_path, Random("per commit"))
    assert found["acknowledged writes"] > 40


@pytest.mark.campaign
def test_campaign_of_really_failed_syncs(tmp_path: Path, allowed: None) -> None:
    assert per_commit(ROW) == 1

    def one(index: int) -> dict[str, int]:
        disk = FullMedium(tmp_path / f"disk-{index}")
        try:
            place = tmp_path / str(index)
            place.mkdir()
            return failed_once(disk, place, Random(f"full {index}"))
        finally:
            disk.discard()

    campaign(ROW, one)


def test_no_file_may_grow_any_more(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: a log that may not grow refuses writes, and takes them again in a process that may."""
    daemon = OddIrerd(tmp_path, records=100_000)
    promises = Promises(daemon)
    try:
        daemon.start(("prlimit", f"--fsize={FILE_MAX}"))
        told = grown(daemon)
        with daemon.client() as client:
            assert client.call("cache.list", {}).result
            assert client.call("system.health").result["health"] == "failed"
        assert daemon.stop() == 0
        assert max(path.stat().st_size for path in daemon.state.rglob("*") if path.is_file()) <= FILE_MAX
        daemon.start()
        with daemon.client() as client:
            client.call("cache.set", {"key": "after", "value": 1})
        assert daemon.stop() == 0
        records = history(daemon.state, "cache_log")
        assert [records[seq]["event_hash"] for seq in told] == list(told.values())
        promises.replay()
    finally:
        daemon.close()


def grown(daemon: Irerd) -> dict[int, str]:
    """What was acknowledged until it was refused, by `seq`."""
    told: dict[int, str] = {}
    with daemon.client() as client:
        for number in range(2 * FILE_MAX // 12_000):
            try:
                receipt = client.call("cache.set", {"key": f"k{number}", "value": "x" * 12_000}).receipt
            except Error as refused:
                assert (refused.code, refused.reason) == ("resource-exhausted", "disk-full"), refused
                return told
            assert receipt is not None
            told[receipt["seq"]] = receipt["event_hash"]
    raise AssertionError("no file ever was too large")
