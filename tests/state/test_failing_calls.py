"""Every call to the file system fails in turn, once or from then on, with each error there is: what follows is never a lie.

Either it is survived, or it is said and final, and the next start finds everything that was acknowledged, after a kill and after a
power cut. No batch is acknowledged after a failed sync of its log, and no failed sync is tried again.
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Literal

import pytest

from core.canonical import encode
from state import snapshot
from state.fs import Files, NoSpace
from state.log import Full, Log, SyncFailed
from state.recover import Corrupt, records_between
from state.room import Room
from state.rotation import RotationFailed
from state.verify import verify_files
from tests.sim.disk import CALLS, NthFails, SimFiles
from tests.state.logs import ACTIVE, NAME, append, ledger, pending, stamp
from tests.state.test_turns import Story, made


def empty(story: Story) -> SimFiles:
    return SimFiles()


def torn(story: Story) -> SimFiles:
    disk = made(story)
    disk.plant(ACTIVE, disk.content(ACTIVE) + b'{"actor":"uid:1000","boot_id"')
    return disk


def pruned(story: Story) -> SimFiles:
    disk = made(story)
    log, _ = story.open(disk)
    story.snapshot(log)
    log.prune(log.prunable(log.durable.seq, 0, retain_bytes=0)[:1], stamp)
    log.close()
    return disk.kill()


def on_log(step: Callable[[Files, Story, Log], None]) -> Callable[[Files, Story], None]:
    """The scenario is what is done with a log that was opened while all was well."""

    def run(files: Files, story: Story) -> None:
        log, _ = story.open(files._files)
        log._files = files
        try:
            step(files, story, log)
        except SyncFailed:
            if step not in (take_snapshot, shut_down):  # there the log is not what failed
                final(files, story, log)
            raise

    return run


def final(files: Files, story: Story, log: Log) -> None:
    """After a failure that is final nothing is touched any more, though the disk may work again."""
    log._files = watched = NthFails(files._files, 0, OSError())
    for attempt in (lambda: append(log, [pending(1)]), log.sync, log.write_head, lambda: log.rotate(stamp)):
        with pytest.raises((SyncFailed, RuntimeError)):
            attempt()
    assert not {"write", "fdatasync", "fsync", "rename", "link"} & set(watched.calls), "the disk was touched after a failure"


def append_some(files: Files, story: Story, log: Log) -> None:
    story.append(log, 200)
    story.append(log, 201, 202, 203)


def write_heads(files: Files, story: Story, log: Log) -> None:
    story.append(log, 210)
    log.write_head()
    log.write_head()


def reserve(files: Files, story: Story, log: Log) -> None:
    log.reserve()
    story.append(log, 220)
    log.reserve()


def rotate(files: Files, story: Story, log: Log) -> None:
    log.rotate(stamp)
    story.append(log, 230)


def rotate_in_spite(files: Files, story: Story, log: Log) -> None:
    """A refused rotation leaves a log that takes more."""
    try:
        log.rotate(stamp)
    except RotationFailed:
        story.append(log, 240)
        log._rotate_again_at = 0
        log.rotate(stamp)
    story.append(log, 241)


def prune(files: Files, story: Story, log: Log) -> None:
    story.snapshot(log)
    log.prune(log.prunable(log.durable.seq, 0, retain_bytes=0), stamp)
    story.append(log, 250)


SMALL_ROOM = Room(own_bytes=16_384, ahead_bytes=4_096, back_bytes=20_000)


def be_full_and_back(files: Files, story: Story, log: Log) -> None:
    """The disk fills up: it is said once, old segments go, and with room again the log takes more and turns."""
    disk: SimFiles = files._files
    log.room = SMALL_ROOM
    log.reserve()
    disk.capacity = disk._used()
    story.append(log, 300)
    with pytest.raises(Full):
        log.reserve()
    if log.full_to_tell:
        log.tell_full(stamp)
    story.snapshot(log)
    for one in log.prunable(log.durable.seq, 0, retain_bytes=0):
        log.prune([one], stamp)
    log.write_head()
    disk.capacity = None
    log.reserve()
    assert log.full is None
    log.rotate(stamp)
    story.append(log, 301)


def shut_down(files: Files, story: Story, log: Log) -> None:
    story.append(log, 310)
    log.write_head()
    end, root = log.durable, log.durable_edge.root().hex()
    with suppress(Full):
        snapshot.write(files, NAME, seq=end.seq - 1, tip=end.tip, root=root, schema="s", body=encode({"a": 1}))
    log.close()


def take_snapshot(files: Files, story: Story, log: Log) -> None:
    story.append(log, 260)
    end, root = log.durable, log.durable_edge.root().hex()
    snapshot.write(files, NAME, seq=end.seq - 1, tip=end.tip, root=root, schema="s", body=encode({"a": 1}))
    story.append(log, 261)


def read_back(files: Files, story: Story, log: Log) -> None:
    hashes = {record.seq: record.event_hash for record in records_between(log, log.first_seq, log.next_seq)}
    assert list(hashes) == list(range(log.first_seq, log.next_seq))


def opened(files: Files, story: Story) -> None:
    story.open(files)


def verify(files: Files, story: Story) -> None:
    [*_, row] = verify_files(files, [NAME])
    if not row["ok"]:
        raise Corrupt(NAME, 0, 0, row["first_bad"]["why"])


def open_the_ledger(files: Files, story: Story) -> None:
    book = ledger(files)
    book.add_log("other_log")
    book.close()


SCENARIOS: dict[str, tuple[Callable[[Story], SimFiles], Callable[[Files, Story], None]]] = {
    "make a log": (empty, opened),
    "recover": (made, opened),
    "recover a torn tail": (torn, opened),
    "recover a pruned log": (pruned, opened),
    "append": (made, on_log(append_some)),
    "write heads": (made, on_log(write_heads)),
    "reserve": (made, on_log(reserve)),
    "rotate": (made, on_log(rotate)),
    "rotate in spite": (made, on_log(rotate_in_spite)),
    "prune": (made, on_log(prune)),
    "take a snapshot": (made, on_log(take_snapshot)),
    "be full and back": (made, on_log(be_full_and_back)),
    "shut down": (made, on_log(shut_down)),
    "read back": (made, on_log(read_back)),
    "verify": (made, verify),
    "open the ledger": (empty, open_the_ledger),
}
Fault = tuple[str, OSError | Literal["short"], tuple[str, ...], bool]
FAULTS: list[Fault] = [
    *(
        (f"{errno.errorcode[code]} {'always' if always else 'once'}", error, CALLS, always)
        for code, error in (
            (errno.EIO, OSError(errno.EIO, "no")),
            (errno.EROFS, OSError(errno.EROFS, "no")),
            (errno.EMFILE, OSError(errno.EMFILE, "no")),
            (errno.ENOSPC, NoSpace(errno.ENOSPC, "no")),
        )
        for always in (False, True)
    ),
    ("short writes once", "short", ("write",), False),
    ("short writes always", "short", ("write",), True),
]


def lives(
    begin: Callable[[Story], SimFiles], run: Callable[[Files, Story], None], fault: Fault
) -> Iterator[tuple[str, SimFiles, Story]]:
    _, error, only, always = fault
    nth = 0
    while True:
        nth += 1
        story = Story()
        disk = begin(story)
        failing = NthFails(disk, nth, error, only, always=always)
        try:
            run(failing, story)
        except (Full, SyncFailed, RotationFailed, Corrupt, OSError) as failure:
            yield type(failure).__name__, disk, story
        else:
            if failing.count < nth:
                return
            yield "survived", disk, story


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_call_fails_in_turn(scenario, capsys):
    begin, run = SCENARIOS[scenario]
    said: Counter[str] = Counter()
    for fault in FAULTS:
        for outcome, disk, story in lives(begin, run, fault):
            said[outcome] += 1
            disk.capacity = None
            assert outcome != "Corrupt" or "EIO" in fault[0] or scenario == "verify", f"{fault[0]} was taken for damage"
            assert fault[1] != "short" or outcome == "survived"
            for left in (disk.crash(Random(said.total())), disk.kill()):
                holds(left, story, scenario)
    with capsys.disabled():
        print(f"\n  {scenario}: {said.total():,} failures, " + ", ".join(f"{count:,} {word}" for word, count in said.items()))


def holds(disk: SimFiles, story: Story, scenario: str) -> None:
    """A start on a disk that works finds all that was acknowledged, and goes on."""
    if scenario == "open the ledger":
        ledger(disk).close()
        return
    story = story.copy()
    log, _ = story.open(disk)
    hashes = {record.seq: record.event_hash for record in records_between(log, log.first_seq, log.next_seq)}
    lost = [seq for seq, event_hash in story.acknowledged.items() if seq >= log.first_seq and hashes.get(seq) != event_hash]
    assert not lost, f"acknowledged records {lost} are gone"
    story.append(log, 900)
    log.rotate(stamp)
    log.close()


def test_a_short_read_goes_on():
    story = Story()
    disk = made(story)

    class Short:
        def __getattr__(self, name: str) -> object:
            return getattr(disk, name)

        def pread(self, fd: int, size: int, offset: int) -> bytes:
            return disk.pread(fd, min(size, 100), offset)

    log, records = story.open(Short())  # type: ignore[arg-type]
    assert len(records) == log.next_seq


@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync", "fsync_dir", "link", "rename"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_what_a_broken_disk_says_is_never_taken_for_a_full_one(call, code):
    """In whatever is being done: an append, a head, a turn, a pruning, a word about a full disk, or a snapshot."""
    met: Counter[str] = Counter()
    for step in (append_some, write_heads, rotate, prune, be_full_and_back, shut_down):
        story = Story()
        failing = NthFails(made(story), 1, OSError(code, "no"), [call])
        try:
            on_log(step)(failing, story)
        except SyncFailed:
            met["final"] += 1
        assert failing.count <= 1, "tried again"
        met["met"] += failing.count > 0
    assert met["final"] == met["met"] > 0


def test_no_room_for_a_directory_to_become_durable_is_final_too():
    for step in (write_heads, take_snapshot):
        story = Story()
        with pytest.raises(SyncFailed):
            on_log(step)(NthFails(made(story), 1, NoSpace(errno.ENOSPC, "no"), ["fsync_dir"]), story)
