"""T19: four callers at registers of a real irerd that is killed, stopped, given a wrong clock: what they are told is one history.

Every write says by its receipt, and every read by its cursor, where in the one log it belongs. In that order each read must tell
the last write before it, each write that asked for a revision must stand right behind it, and nothing may come before what was
answered before it was asked for. A call whose answer was lost the client asks for again under its key; it counts from when it was
first made.
"""

import bisect
import os
import re
import shutil
import signal
import struct
import threading
import time
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from irerctl.client import Client, Error
from tests.campaigns import campaign, per_commit
from tests.e2e.promised import OddIrerd, history

ROW = "T19-history"
CALLERS = 4
KEYS = ("left", "right", "middle")
PATIENCE_S = 60.0
STOPPED_S = 0.05
CLOCK_STEP_S = 3_600
FAULTS_EVERY = 60
"""Operations between one fault and the next."""

Point = tuple[int, int]
"""A write's own `seq` and 0; of a read the last `seq` that it saw, and 1."""


class Operation(NamedTuple):
    invoked: float
    answered: float
    kind: str
    key: str
    name: str | None
    """Of a write its own, of a read the one that it was told."""
    point: Point | None
    """None: refused, for the revision was no longer the one asked for."""
    event_hash: str
    if_rev: str | None


class Register(threading.Thread):
    """One caller: reads, writes, and writes that ask for a revision."""

    def __init__(self, daemon: OddIrerd, name: str, wanted: int) -> None:
        super().__init__(daemon=True)
        self.done: list[Operation] = []
        self.failure: BaseException | None = None
        self._irerd, self._name, self._wanted, self._random = daemon, name, wanted, Random(name)

    def run(self) -> None:
        try:
            with Client(str(self._irerd.socket), retry_s=PATIENCE_S, timeout=PATIENCE_S) as client:
                while len(self.done) < self._wanted:
                    self._one(client)
        except BaseException as failure:
            self.failure = failure

    def _one(self, client: Client) -> None:
        key, chance = self._random.choice(KEYS), self._random.random()
        if chance < 0.4:
            self._read(client, key)
        elif chance < 0.7:
            self._write(client, key, None)
        elif (rev := self._read(client, key)) is not None:
            self._write(client, key, rev)

    def _read(self, client: Client, key: str) -> str | None:
        invoked = time.monotonic()
        try:
            reply = client.call("cache.get", {"key": key})
        except Error as error:
            if error.code != "not-found":
                raise
            return None  # an error carries no cursor, so it has no place in the order
        point = (seen(reply.cursor) - 1, 1)
        self.done.append(Operation(invoked, time.monotonic(), "read", key, reply.result["value"]["name"], point, "", None))
        return str(reply.result["rev"])

    def _write(self, client: Client, key: str, rev: str | None) -> None:
        name = f"{self._name}-{len(self.done)}"
        params: dict[str, Any] = {"key": key, "value": {"name": name}} | ({"if_rev": rev} if rev else {})
        invoked = time.monotonic()
        try:
            receipt = client.call("cache.set", params).receipt
        except Error as error:
            if rev is None or error.code not in ("conflict", "failed-precondition", "aborted"):
                raise
            self.done.append(Operation(invoked, time.monotonic(), "refused", key, name, None, "", rev))
            return
        assert receipt is not None
        self.done.append(Operation(invoked, time.monotonic(), "write", key, name, (receipt["seq"], 0), receipt["event_hash"], rev))


def seen(cursor: str | None) -> int:
    found = re.search(r"cache_log~(\d+)", cursor or "")
    assert found is not None, cursor
    return int(found[1])


class Trouble:
    """What happens to the daemon meanwhile: as much work lies between two faults, whatever time that takes."""

    def __init__(self, daemon: OddIrerd, clock: Path, random: Random) -> None:
        self._daemon, self._clock, self._random = daemon, clock, random
        self.met = {"kills": 0, "stops": 0, "clock steps": 0}

    def strike(self) -> None:
        getattr(self, self._random.choice(("_kill", "_stop", "_step", "_stop_and_step")))()

    def _kill(self) -> None:
        self._daemon.kill9()
        if self._random.random() < 0.5:
            self._step()
        self._daemon.start()
        self.met["kills"] += 1

    def _stop(self, between: bool = False) -> None:
        assert self._daemon.process is not None
        os.kill(self._daemon.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._daemon.process.pid, os.WSTOPPED | os.WNOWAIT)
        if between:
            self._step()
        threading.Event().wait(STOPPED_S)  # the fault itself: for so long nothing moves
        os.kill(self._daemon.process.pid, signal.SIGCONT)
        self.met["stops"] += 1

    def _stop_and_step(self) -> None:
        self._stop(between=True)

    def _step(self) -> None:
        wrong_us = self._random.randint(-CLOCK_STEP_S, CLOCK_STEP_S) * 1_000_000
        with open(self._clock, "r+b") as file:
            file.write(struct.pack("<q", wrong_us))
        self.met["clock steps"] += 1


def lived(place: Path, operations: int, seed: object) -> dict[str, int]:
    """One daemon's story, and its judgement."""
    place.mkdir(exist_ok=True)
    clock = place / "clock"
    clock.write_bytes(bytes(8))
    daemon = OddIrerd(place, str(clock))
    trouble = Trouble(daemon, clock, Random(f"trouble {seed}"))
    callers = [Register(daemon, f"{seed}-{number}", operations // CALLERS) for number in range(CALLERS)]
    try:
        daemon.start()
        for caller in callers:
            caller.start()
        struck = 0
        while any(caller.is_alive() for caller in callers):
            next(caller for caller in callers if caller.is_alive()).join(0.01)
            if sum(len(caller.done) for caller in callers) // FAULTS_EVERY > struck:
                struck += 1
                trouble.strike()
        failures = [caller.failure for caller in callers if caller.failure is not None]
        assert not failures, failures
        assert daemon.stop() == 0
    finally:
        daemon.close()
    done = [one for caller in callers for one in caller.done]
    judge(done, history(daemon.state, "cache_log"))
    kinds = {f"{kind} operations": sum(one.kind == kind for one in done) for kind in ("read", "write", "refused")}
    return trouble.met | kinds


class Write(NamedTuple):
    seq: int
    name: str
    rev: str


def judge(done: list[Operation], records: list[dict[str, Any]]) -> None:
    """Whether this is one sequential history, in the order that receipts and cursors say."""
    by_key: dict[str, list[Write]] = {key: [] for key in KEYS}
    for record in records:
        if record["event_type"] == "cache.set":
            payload = record["payload"]
            by_key[payload["key"]].append(Write(record["seq"], payload["value"]["name"], payload["rev"]))
    names = [write.name for writes in by_key.values() for write in writes]
    assert len(names) == len(set(names)), "a write was done twice"
    invoked = {one.name: one.invoked for one in done if one.kind == "write"}
    for one in done:
        writes = by_key[one.key]
        if one.kind == "read":
            before = [write for write in writes if (write.seq, 0) < (one.point or (0, 0))]
            assert before and before[-1].name == one.name, f"{one} should have been told {before[-1:]}"
        elif one.kind == "write":
            assert one.point is not None
            record = records[one.point[0]]
            assert (record["event_hash"], record["payload"]["value"]["name"]) == (one.event_hash, one.name), one
            place = next(number for number, write in enumerate(writes) if write.name == one.name)
            assert one.if_rev is None or writes[place - 1].rev == one.if_rev, f"{one} stands behind {writes[place - 1]}"
        else:
            place = next(number for number, write in enumerate(writes) if write.rev == one.if_rev)
            assert place + 1 < len(writes), f"{one} was refused, but nothing came after what it asked for"
            assert invoked.get(writes[place + 1].name, 0.0) <= one.answered, f"{one} was refused for a later write"
    in_time(done)


def in_time(done: list[Operation]) -> None:
    """What was answered before another was asked for also stands before it."""
    placed = sorted((one for one in done if one.point is not None), key=lambda one: one.answered)
    answered, latest = [one.answered for one in placed], [(-1, 0)]
    for one in placed:
        latest.append(max(latest[-1], one.point or (-1, 0)))
    for one in placed:
        before = latest[bisect.bisect_left(answered, one.invoked)]
        assert (one.point or (-1, 0)) >= before, f"{one} stands before {before}, which had been answered"


@pytest.mark.slow
def test_four_callers_are_told_one_history(tmp_path: Path) -> None:
    met = lived(tmp_path, per_commit(ROW), 8)
    assert min(met.values()) > 0, met


def test_a_history_that_is_none_is_told_apart() -> None:
    """The judge himself: a stale read, a lost write, a write before its time."""
    records = [
        {
            "seq": seq,
            "event_type": "cache.set",
            "event_hash": f"h{seq}",
            "payload": {"key": "left", "value": {"name": name}, "rev": f"{seq}-r"},
        }
        for seq, name in enumerate(("a", "b", "c"))
    ]
    sound = [
        Operation(0, 1, "write", "left", "a", (0, 0), "h0", None),
        Operation(2, 3, "write", "left", "b", (1, 0), "h1", "0-r"),
        Operation(4, 5, "read", "left", "b", (1, 1), "", None),
        Operation(4, 9, "write", "left", "c", (2, 0), "h2", None),
        Operation(6, 7, "refused", "left", "x", None, "", "1-r"),
    ]
    judge(sound, records)
    for place, change in (
        (2, {"name": "a"}),
        (2, {"name": "a", "point": (0, 1)}),
        (1, {"event_hash": "other"}),
        (1, {"if_rev": "2-r"}),
        (3, {"invoked": 8.0, "answered": 9.0}),
        (4, {"if_rev": "2-r"}),
    ):
        with pytest.raises(AssertionError):
            judge([*sound[:place], sound[place]._replace(**change), *sound[place + 1 :]], records)


A_STORY = 2_000


@pytest.mark.campaign
def test_campaign_of_histories(tmp_path: Path) -> None:
    def one(index: int) -> dict[str, int]:
        found = lived(tmp_path / str(index), A_STORY, index)
        shutil.rmtree(tmp_path / str(index))
        return found

    campaign(ROW, one, at_once=A_STORY)
