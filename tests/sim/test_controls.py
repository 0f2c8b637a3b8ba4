"""Negative controls: a harness that has never failed proves nothing. Each rule is broken on purpose, and a seed must notice."""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

import core.control.http_tokens
import core.energy.market
import core.gate.judge
import irerd.daemon
import irerd.writer
from core.engine import IRER, Refused
from core.keys import Keys
from core.world import World
from irerd.dispatch import Answer, Dispatch
from irerd.effects import Effects
from irerd.refusals import Refusals
from irerd.session import Session
from irerd.upkeep import Upkeep
from irerd.writer import Writer
from state.fs import Files
from state.log import Log
from tests.sim.machine import Faults, Spoiled
from tests.sim.universe import run_seed

SEEDS = range(1, 9)
MORE_SEEDS = range(1, 161)
"""For rules that few callers come to."""
SYNCS_DONE = 8


class Changed:
    """Files of which one call is another one."""

    def __init__(self, files: Files, name: str, call: Callable[..., Any]) -> None:
        self._files = files
        setattr(self, name, call)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)


def without_sync(files: Files) -> Files:
    """The first syncs, those of a start, are real."""
    count = 0

    def sync(fd: int) -> None:
        nonlocal count
        count += 1
        if count <= SYNCS_DONE:
            files.fdatasync(fd)

    return Changed(files, "fdatasync", sync)


def with_sync_retried(files: Files) -> Files:
    def retried(fd: int) -> None:
        try:
            files.fdatasync(fd)
        except OSError:
            files.fdatasync(fd)

    return Changed(files, "fdatasync", retried)


def without_directory_sync(files: Files) -> Files:
    """Of the directory that holds the segments: their names are anybody's guess after a power cut."""
    count = 0

    def sync(path: str) -> None:
        nonlocal count
        count += path == "."
        if path != "." or count <= SYNCS_DONE:
            files.fsync_dir(path)

    return Changed(files, "fsync_dir", sync)


@contextmanager
def snapshots_in_passing() -> Iterator[None]:
    """Taken while further commands are decided, as if their state were durable."""

    def serve(self: Upkeep, log: Log) -> None:
        if self._snapshot_due(log):
            self.take_snapshot(log)

    with (
        patch.object(Dispatch, "hold", lambda self, log: None),
        patch.object(Dispatch, "let_go", lambda self, log, next_seq: None),
        patch.object(Upkeep, "serve", serve),
    ):
        yield


def _prune_at_once(self: Log, segments: Any, stamp: Any) -> None:
    """The files first, the record after them."""
    sealed = self.seal(self.prune_records(segments, stamp))
    self.drop(segments, -1)
    self.commit(sealed.data)


@contextmanager
def stops_at_once() -> Iterator[None]:
    """What waits to be written is thrown away."""
    whole = Writer.stop

    def stop(self: Writer) -> None:
        for queue in self._queues.values():
            queue.waiting.clear()
        whole(self)

    with patch.object(Session, "busy", False), patch.object(Writer, "stop", stop):
        yield


def a_sync_fails(random: Random) -> Faults:
    return Faults(nth=random.randint(5, 60), error=errno.EIO, only=("fdatasync",))


def _write_hastily(whole: Callable[..., Any]) -> Callable[..., Any]:
    """Lets the replies of a group out before the group is written."""

    async def write(self: Writer, group: Any) -> None:
        for commands in group.values():
            for place, command in enumerate(commands):
                commands[place] = msgspec.structs.replace(command, release=_once(command.release))
        real_seal = {name: self._queues[name].log.seal for name in group}
        for name, commands in group.items():

            def seal(records: Any, name: str = name, commands: Any = commands) -> Any:
                sealed = real_seal[name](records)
                end = -1
                for command in commands:
                    end += len(command.records)
                    seq, event_hash, _, _ = sealed.receipts[end]
                    command.release(irerd.writer.Receipt(name, seq, event_hash))
                return sealed

            self._queues[name].log.seal = seal  # type: ignore[method-assign]
        try:
            await whole(self, group)
        finally:
            for name in group:
                del self._queues[name].log.seal

    return write


def _once(release: Callable[[Any], None]) -> Callable[[Any], None]:
    done: list[bool] = []

    def first_only(receipt: Any) -> None:
        if not done:
            done.append(True)
            release(receipt)

    return first_only


def _tell_at_once(self: Refusals, command: Any, tell: Callable[[], None]) -> None:
    tell()
    self._dispatch.give(command, lambda answer: None)


def _forgetful_apply(whole: Callable[..., None]) -> Callable[..., None]:
    """Live, but not in replay, refusals go by uncounted."""

    def apply(self: World, event: Any, stamp: Any) -> None:
        if event.event_type != "gate.refused":
            whole(self, event, stamp)

    return apply


def _ask_without_key(self: Dispatch, method: str, params: Any, idem: str, reply: Any) -> None:
    row = self.world.rows[method]
    try:
        self.write(row, self.params(row, params), IRER, reply)
    except Refused as refused:
        reply(Answer(error=refused))


def _never_used(whole: Callable[..., Any]) -> Callable[..., Any]:
    """The judge of tokens, blind to whether one was used up."""

    def objection(*arguments: Any) -> Any:
        found = whole(*arguments)
        return None if found == "used" else found

    return objection


def _traded_and_still_open(market: Any, event: Any, stamp: Any) -> None:
    market.books.book(event.postings)
    market.opened.add(event.owner)
    market.trades += 1


def _good_though_revoked(whole: Callable[..., Any]) -> Callable[..., Any]:
    def judge(*arguments: Any) -> Any:
        token, cause = whole(*arguments)
        return token, "" if cause == "revoked" else cause

    return judge


@contextmanager
def shown_again() -> Iterator[None]:
    """A repeated key is answered with what the first one was answered, its secret too."""
    told: dict[tuple[str, str], Answer] = {}
    whole = Dispatch.write

    def write(self: Dispatch, row: Any, params: Any, actor: Any, reply: Any, idem: str | None = None, still: Any = None) -> None:
        def remember(answer: Answer) -> None:
            if answer.error is None and idem is not None:
                told[actor.name, idem] = answer
            reply(answer)

        if row.shown_once and idem is not None and (actor.name, idem) in told:
            reply(msgspec.structs.replace(told[actor.name, idem], replayed=True))
        else:
            whole(self, row, params, actor, remember if row.shown_once else reply, idem, still)

    with patch.object(Dispatch, "write", write):
        yield


def _refuse_at_once(self: Dispatch, needed: Any, reply: Any, refused: Refused) -> None:
    raise refused


def _forget_the_cause(self: Effects, effect: str) -> bool:
    return self._dispatch.writer is not None


CONTROLS: dict[str, tuple[Spoiled, Callable[[], AbstractContextManager[Any]], str]] = {
    "no fdatasync": (Spoiled(files=without_sync), nullcontext, "N1|durable|on record"),
    "a flush that lies": (Spoiled(medium=without_sync), nullcontext, "N1|durable|damage|on the medium"),
    "a sync tried again": (
        Spoiled(files=with_sync_retried, faults=a_sync_fails),
        nullcontext,
        "N1|damage|on the medium|durable is what is below",
    ),
    "reply before sync": (
        Spoiled(),
        lambda: patch.object(Writer, "_write", _write_hastily(Writer._write)),
        "which is not durable|durable is what is below",
    ),
    "read released early": (
        Spoiled(),
        lambda: patch.object(Writer, "behind", lambda self, log, seq: False),
        "durable is what is below",
    ),
    "keys forgotten": (Spoiled(), lambda: patch.object(Keys, "find", lambda self, caller, key, now_us: None), "N3|N5"),
    "refusal told before its record": (
        Spoiled(),
        lambda: patch.object(Refusals, "_record", _tell_at_once),
        "before it was on record",
    ),
    "state that is not in the log": (Spoiled(), lambda: patch.object(World, "apply", _forgetful_apply(World.apply)), "N6"),
    "rotation without syncing the directory": (Spoiled(files=without_directory_sync), nullcontext, "N1|damage|durable|on record"),
    "snapshot of what is not durable": (Spoiled(), snapshots_in_passing, "N6"),
    "deleted before that is on record": (Spoiled(), lambda: patch.object(Log, "prune", _prune_at_once), "no durable record"),
    "a stop that waits for nobody": (Spoiled(), stops_at_once, "left unanswered|N6"),
    "an effect asked for without its key": (
        Spoiled(),
        lambda: patch.object(Dispatch, "ask", _ask_without_key),
        "not under the key|not under its effect's key",
    ),
    "an effect before its cause": (Spoiled(), lambda: patch.object(Effects, "_durable", _forget_the_cause), "N9"),
    "a token that is never used up": (
        Spoiled(),
        lambda: patch.object(core.gate.judge, "_objection", _never_used(core.gate.judge._objection)),
        "was used up",
    ),
    "no wait across logs": (Spoiled(), lambda: patch.object(Writer, "_met", lambda self, command: True), "N4"),
    "a secret shown again": (Spoiled(), shown_again, "was shown again"),
    "an engine that never falls": (
        Spoiled(),
        lambda: patch.object(Dispatch, "stands", lambda self, engine_id, key: True),
        "access",
    ),
    "a refusal told of what is not durable": (
        Spoiled(),
        lambda: patch.object(Dispatch, "_refuse_once_durable", _refuse_at_once),
        "N4",
    ),
    "a quote that stays open": (
        Spoiled(),
        lambda: patch.object(core.energy.market, "apply_traded", _traded_and_still_open),
        "traded a second time",
    ),
    "a token that is good though revoked": (
        Spoiled(),
        lambda: patch.object(core.control.http_tokens, "judge", _good_though_revoked(core.control.http_tokens.judge)),
        "its end was acknowledged before",
    ),
    "a stream of what is not durable": (
        Spoiled(),
        lambda: patch.object(irerd.daemon.Daemon, "durable_seq", lambda self, log: self.dispatch.next_seq.get(log, 0) - 1),
        "durable|chain does not hold|errand data.derive",
    ),
}

BEGIN = {
    "a token that is good though revoked": 38,
    "a token that is never used up": 145,
    "an engine that never falls": 14,
    "deleted before that is on record": 9,
    "no wait across logs": 11,
}
"""Seeds that are known to come to it early: those before them are tried last."""
RARE = frozenset(
    {
        "an effect before its cause",
        "deleted before that is on record",
        "a token that is never used up",
        "a stop that waits for nobody",
        "a quote that stays open",
        "a token that is good though revoked",
        "no wait across logs",
        "a secret shown again",
        "an engine that never falls",
        "a refusal told of what is not durable",
        "a stream of what is not durable",
    }
)


def _seeds(control: str) -> list[int]:
    if control not in RARE:
        return list(SEEDS)
    return sorted(MORE_SEEDS, key=lambda seed: seed < BEGIN.get(control, 0))


@pytest.mark.parametrize("control", CONTROLS)
def test_a_broken_rule_is_noticed(control: str) -> None:
    spoiled, broken, expected = CONTROLS[control]
    with broken():
        for seed in _seeds(control):
            outcome = run_seed(seed, spoiled=spoiled)
            if outcome.violation is not None:
                break
    assert outcome.violation is not None, f"{control}: {len(_seeds(control))} seeds, and nothing was noticed"
    assert re.search(expected, outcome.violation), outcome.violation
