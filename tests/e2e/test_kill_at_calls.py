"""T7: a real irerd under load is killed as it makes its k-th open, write, sync, link, rename, cut or send, while it starts or while
it works; what was acknowledged is there at the next start, once, and what was not never changes its mind.

strace sends the signal as the call is entered. Without strace, or where processes may not be traced, this is skipped and says so.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from irerctl.client import Unreachable
from tests.campaigns import campaign, per_commit
from tests.e2e.harness import DidNotStart
from tests.e2e.promised import Callers, OddIrerd, Promises

SYNC, SYNCED = "fdatasync,io_submit", "fdatasync,io_getevents"
"""What syncs a batch: the kernel is waited for, or ordered to and then asked. Which of them depends on how quick the disk is and
how much there is to do, so each is counted for itself, and whichever comes first to its number ends the life.
"""
CALLS = ("openat", "write", SYNC, SYNCED, "fsync", "linkat", "renameat", "ftruncate", "sendto", "fallocate", "unlinkat")
ROW = "T7-kill"
TORN = b'{"actor":"uid:1000","boot_id":"'
CHOSEN = (
    ("openat", 25),
    ("write", 60),
    (SYNC, 15),
    (SYNCED, 12),
    ("fsync", 12),
    ("linkat", 1),
    ("renameat", 4),
    ("ftruncate", 2),
    ("sendto", 90),
    ("fallocate", 5),
    ("unlinkat", 2),
)
"""Per commit: a call of each kind, some at a start, most under load."""
AT_ONCE = len(CALLS)


def untraceable() -> str:
    """Why nothing can be killed at a call here, or nothing."""
    if shutil.which("strace") is None:
        return "strace is missing (Debian package strace)"
    tried = subprocess.run(["strace", "-D", "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


@pytest.fixture
def traced() -> None:
    if why := untraceable():
        pytest.skip(f"{why}: kills at chosen system calls were NOT tested")


def strace(state: Path, call: str, nth: int) -> tuple[str, ...]:
    """Python opens a thousand files of its own: only opens below the state directory count."""
    ours = ("-P", str(state)) if call == "openat" else ()
    return ("strace", "-D", "-f", "-qq", "-o", "/dev/null", *ours, "-e", f"trace={call}", f"--inject={call}:signal=KILL:when={nth}")


def killed_at(promises: Promises, call: str, nth: int) -> bool:
    """One life under load, ended at that call; if it never comes to it, by `kill -9` when enough was acknowledged."""
    daemon = promises.daemon
    if call == "ftruncate":  # only a start that finds half a batch cuts anything
        with open(daemon.state / "engine_state.jsonl", "ab") as active:
            active.write(TORN)
    try:
        daemon.start(strace(daemon.state, call, nth))
    except DidNotStart as early:
        assert early.code == -9, early
        daemon.notify.close()
        return True
    try:
        promises.ask()
    except Unreachable:  # it came to the call before anybody gave it work
        assert daemon.process is not None and daemon.process.wait(30) == -9
        daemon.notify.close()
        return True
    callers = Callers(daemon, f"{call}-{nth}-{len(promises.told)}", enough=400 + nth)
    ended = callers.enough.wait(120) and len(callers.told) < 400 + nth
    assert daemon.process is not None
    reached = ended and daemon.process.wait(30) == -9
    daemon.kill9()
    promises.remember(callers)
    return reached


def points(place: Path, chosen: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """All in one directory, one life after the other; at its end every receipt is looked for."""
    place.mkdir(exist_ok=True)
    daemon = OddIrerd(place)
    promises = Promises(daemon)
    reached: dict[str, int] = {}
    try:
        daemon.start()
        daemon.kill9()
        for call, nth in chosen:
            reached[f"killed at {call}"] = killed_at(promises, call, nth)
        daemon.start()
        promises.ask()
        assert daemon.stop() == 0
        promises.check()
    finally:
        daemon.close()
    return reached | {"acknowledged writes": len(promises.told)}


@pytest.mark.slow
def test_a_kill_at_a_call_of_each_kind_loses_and_doubles_nothing(tmp_path: Path, traced: None) -> None:
    assert len(CHOSEN) == per_commit(ROW) and {call for call, _ in CHOSEN} == set(CALLS)
    reached = points(tmp_path / "one", CHOSEN)
    assert all(reached.values()), f"never came to some of them: {reached}"
    assert reached["acknowledged writes"] > 100, "they were killed at work, a slow machine's too"


@pytest.mark.campaign
def test_campaign_of_kills_at_every_call(tmp_path: Path, traced: None) -> None:
    """Of each kind the first call, then the second, and so on."""

    def one(index: int) -> dict[str, int]:
        nth = index // AT_ONCE
        place = tmp_path / str(index)
        found = points(place, tuple((call, nth) for call in CALLS))
        shutil.rmtree(place)
        return found

    campaign(ROW, one, at_once=AT_ONCE)
