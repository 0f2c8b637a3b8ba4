"""T17: rules of the record broken on purpose, each noticed by the test that is meant for it; whole, every one of them holds.

docs/testing.md has the table, with those that need the whole daemon and stand in tests/sim/test_controls.py.
"""

import errno
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from hashlib import sha256
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

import state.log
import state.rotation
import state.scan
from irerd.dispatch import Dispatch
from state.fs import Files
from state.judge import Judge
from state.log import Log, SyncFailed
from state.recover import Corrupt
from state.seal import BadLine, Record, parse
from tests.sim.disk import NthFails, SimFiles
from tests.state import test_crash, test_damage, test_turns
from tests.state.logs import ACTIVE, GOLDEN_TIPS, append, golden_disk, new_log, pending, recovered

Check = Callable[[], None]


# --- what must hold -------------------------------------------------------------------------------------------------------------


def power_cuts_lose_nothing() -> None:
    for nth in range(40, 101, 4):
        disk, story = SimFiles(), test_crash.Story()
        test_crash.killed_at(disk, story, nth, after=True)
        for seed in range(6):
            test_crash.settle(disk.crash(Random(f"{nth} {seed}")), story.copy())


def turns_lose_nothing() -> None:
    for disk, story in test_turns.lives(test_turns.rotate):
        for left in disk.crashes(Random(1)):
            test_turns.check(left, story.copy())


def two_batches(log: Log) -> None:
    """Nobody is told of either before both are durable, so only the order on the disk is in question."""
    first, second = log.seal([pending(1)]), log.seal([pending(2)])
    log.commit(first.data)
    log.commit(second.data)


def a_crash_is_never_taken_for_damage() -> None:
    for seed in range(60):
        disk = SimFiles()
        log = new_log(disk)
        append(log, [pending(0)])
        with patch.object(log, "sync", _stopped):
            try:
                two_batches(log)
            except KeyboardInterrupt:
                pass
        recovered(disk.crash(Random(seed)))


def _stopped() -> None:
    """The power goes before the first of the two is durable."""
    raise KeyboardInterrupt


def a_failed_sync_is_final() -> None:
    disk = SimFiles()
    log = new_log(disk)
    append(log, [pending(0)])
    log._files = NthFails(disk, 1, OSError(errno.EIO, "no"), ["fdatasync"])
    try:
        told = append(log, [pending(1)])
    except SyncFailed:
        return
    _, records = recovered(disk.crash(Random(1)))
    assert told[-1] in [(record.seq, record.event_hash) for record in records], "acknowledged, and gone"


def a_start_believes_the_medium() -> None:
    disk = SimFiles()
    log = new_log(disk)
    append(log, [pending(0)])
    log._files = NthFails(disk, 1, OSError(errno.EIO, "no"), ["fdatasync"])
    with pytest.raises(SyncFailed):
        append(log, [pending(1)])
    started = disk.kill()
    believed = hashes(recovered(started)[1])
    assert hashes(recovered(started.crash(Random(1)))[1])[: len(believed)] == believed, (
        "a start went on from what only the cache had"
    )


def hashes(records: list[Record]) -> list[str]:
    return [record.event_hash for record in records]


def a_short_write_is_gone_on_with() -> None:
    disk = SimFiles()
    log = new_log(disk)
    log._files = NthFails(disk, 1, "short", ["write"])
    told = append(log, [pending(1, 900)])
    assert told[-1][1] in hashes(recovered(disk.kill())[1])


@cache
def whole() -> test_damage.Whole:
    return test_damage.Whole()


def rot_is_never_cut() -> None:
    size = len(whole().disk.content(ACTIVE))
    for place in range(100, whole().last_start, size // 12):
        disk = whole().copy()
        disk.plant(ACTIVE, test_damage.flipped(disk.content(ACTIVE), place, 1))
        test_damage.outcome(whole(), disk, ACTIVE, place)


def the_golden_log_is_read() -> None:
    _, records = recovered(golden_disk())
    assert [(record.seq, record.event_hash) for record in records if record.pad is not None] == list(GOLDEN_TIPS)


def an_error_while_judging_denies() -> None:
    """There are no rules, so judging fails."""
    dispatch: Any = SimpleNamespace(rules=None, on_internal_error=lambda place, error: None)
    peer: Any = None
    assert not Dispatch.may(dispatch, peer, peer).allowed


# --- how it is broken -----------------------------------------------------------------------------------------------------------


class Without:
    """Files of which some calls do nothing: those of one name, by their number from 1."""

    def __init__(self, files: Files, name: str, numbers: tuple[int, ...]) -> None:
        self._files, self._name, self._numbers, self._count = files, name, numbers, 0

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(self._files, name)
        self._count += 1
        return (lambda *_: None) if self._count in self._numbers else getattr(self._files, name)


def turn_without(function: str, call: str, number: int, place: Any = state.rotation) -> AbstractContextManager[Any]:
    step = getattr(place, function)
    return patch.object(place, function, lambda files, *rest: step(Without(files, call, (number,)), *rest))


def sync_later(self: Log, data: bytes) -> None:
    """A batch is told of once it is written, and synced before the next one."""
    if self._sealed and len(self._sealed) > 1:
        self.sync()
    self.write(data)


def both_at_once(log: Log) -> None:
    first, second = log.seal([pending(1)]), log.seal([pending(2)])
    log.write(first.data)
    log.write(second.data)
    log.sync()


def sync_again(once: Callable[[Log], None]) -> Callable[[Log], None]:
    def sync(self: Log) -> None:
        try:
            once(self)
        except SyncFailed:
            self.failed = None
            once(self)

    return sync


def written_anew(line: bytes, offset: int = 0) -> Record:
    """The hash is taken of what a JSON library makes of the line, not of its bytes."""
    value = json.loads(line)
    stored = value.pop("event_hash")
    if sha256(json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()).hexdigest() != stored:
        raise BadLine("event_hash does not match the bytes")
    return parse(line, offset)


def may_in_doubt(self: Any, peer: Any, row: Any) -> Any:
    return SimpleNamespace(allowed=True)


def hashing_anew() -> AbstractContextManager[Any]:
    return patch.multiple(state.scan, parse=written_anew, parse_block=lambda block, offset: None)


CONTROLS: dict[str, tuple[Check, Callable[[], AbstractContextManager[Any]]]] = {
    "no fdatasync": (power_cuts_lose_nothing, lambda: patch.object(SimFiles, "fdatasync", lambda self, fd: None)),
    "reply before sync": (power_cuts_lose_nothing, lambda: patch.object(Log, "commit", sync_later)),
    "next file renamed unsynced": (turns_lose_nothing, lambda: turn_without("_new_file", "fsync", 1)),
    "no directory sync between link and rename": (turns_lose_nothing, lambda: turn_without("_refusable", "fsync_dir", 1)),
    "no directory sync after rename": (turns_lose_nothing, lambda: turn_without("turn", "fsync_dir", 2, state.log)),
    "batch k+1 before sync k": (
        a_crash_is_never_taken_for_damage,
        lambda: patch.dict(globals(), two_batches=both_at_once),
    ),
    "sync retried": (a_failed_sync_is_final, lambda: patch.object(Log, "sync", sync_again(Log.sync))),
    "cache kept": (a_start_believes_the_medium, lambda: patch.object(SimFiles, "drop_cache", lambda self, fd: None)),
    "short write taken as done": (
        a_short_write_is_gone_on_with,
        lambda: patch.object(state.log, "write_all", lambda files, fd, data: files.write(fd, data)),
    ),
    "rot cut as torn": (rot_is_never_cut, lambda: patch.object(Judge, "_verdict", lambda self: None)),
    "re-serialise before hash": (the_golden_log_is_read, hashing_anew),
    "rule error = allow": (an_error_while_judging_denies, lambda: patch.object(Dispatch, "may", may_in_doubt)),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_broken_rule_of_the_record_is_noticed(control: str) -> None:
    holds, broken = CONTROLS[control]
    holds()
    with broken(), pytest.raises((AssertionError, Corrupt)):
        holds()
