"""T12: a life that ends by a fault, and a recovery that meets one too, and the next, up to three deep; T5: more crash states.

A fault is a power cut or a kill before or after any call, or a call that fails once or for ever, or is short. Then the disk works
again: everything acknowledged is there, nothing stands twice, recovering again changes no byte, and the log goes on.
"""

import errno
from collections import Counter
from random import Random
from typing import Literal

import pytest

from state.fs import Files, NoSpace
from state.ledger import open_ledger
from state.log import Full, SyncFailed
from state.recover import Corrupt
from state.rotation import RotationFailed
from tests.campaigns import campaign, per_commit
from tests.sim.disk import CALLS, CHANGES, Killed, NthFails, SimFiles
from tests.state.logs import NAME, Ids
from tests.state.test_crash import Story, killed_at, settle

DEPTH_MAX = 3
ENDS = (Killed, Full, SyncFailed, RotationFailed, OSError)
ERRORS: tuple[BaseException | Literal["short"], ...] = (
    Killed(),
    Killed(),
    OSError(errno.EIO, "no"),
    OSError(errno.EROFS, "no"),
    NoSpace(errno.ENOSPC, "no"),
    "short",
)


def faulty(disk: SimFiles, random: Random, calls: int) -> NthFails:
    error = random.choice(ERRORS)
    only = ("write",) if error == "short" else CHANGES if isinstance(error, Killed) else CALLS
    always = error != "short" and not isinstance(error, Killed) and random.random() < 0.3
    return NthFails(disk, random.randrange(1, calls), error, only, always=always, after=random.random() < 0.5)


def left(disk: SimFiles, random: Random) -> SimFiles:
    """The power is cut, or the process has just ended."""
    return disk.crash(random) if random.random() < 0.6 else disk.kill()


def recovery(files: Files, story: Story) -> None:
    ledger = open_ledger(files, Ids())
    story.recover(files, ledger.origin(NAME)).close()
    ledger.close()


def lives(seed: int) -> Counter[str]:
    """One life at work, then as many faulty recoveries as chance says, then peace."""
    random, story, disk, met = Random(f"recovery {seed}"), Story(), SimFiles(), Counter[str]()
    try:
        story.run(faulty(disk, random, 110))
        met["worked on"] += 1
    except ENDS as end:
        met[type(end).__name__] += 1
    for _ in range(random.randrange(1, DEPTH_MAX + 1)):
        disk = left(disk, random)
        files = faulty(disk, random, 40)
        try:
            recovery(files, story)
            met["recovered in spite"] += 1
        except Corrupt:  # a read that fails may be taken for damage; what matters is that nothing was touched
            assert isinstance(files._error, OSError), "a crash was taken for damage"
            met["Corrupt"] += 1
        except ENDS as end:
            met[type(end).__name__] += 1
    story.run(settle(left(disk, random), story))
    return met


def test_faults_in_recovery_upon_faults_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    met = sum((lives(seed) for seed in range(per_commit("T12-recovery"))), Counter[str]())
    with capsys.disabled():
        print(
            f"\n  faults in recovery: {per_commit('T12-recovery')} stories, "
            + ", ".join(f"{n:,} {what}" for what, n in met.items())
        )
    assert {"Killed", "SyncFailed", "OSError", "recovered in spite"} <= set(met)


@pytest.mark.campaign
def test_campaign_of_faults_in_recovery() -> None:
    campaign("T12-recovery", lambda index: dict(lives(index)))


STATES_AT_ONCE = 50


def crash_states(index: int) -> None:
    """One moment of a life, and disks that a power cut there could leave: each recovers, twice to the same bytes."""
    random = Random(f"crash {index}")
    disk, story = SimFiles(), Story()
    killed_at(disk, story, random.randrange(1, 90), after=random.random() < 0.5)
    if random.random() < 0.3:  # a second life on what the first one left
        disk = left(disk, random)
        killed_at(disk, story, random.randrange(1, 90), after=random.random() < 0.5)
    for _ in range(STATES_AT_ONCE):
        settle(disk.crash(random), story.copy())


@pytest.mark.campaign
def test_campaign_of_crash_states() -> None:
    campaign("T5-crash", crash_states, at_once=STATES_AT_ONCE)
