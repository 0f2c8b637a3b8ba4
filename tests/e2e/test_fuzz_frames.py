"""Frames nobody would send, by the ten thousand, to a real daemon: each is answered clearly or costs its connection, and no more.

One conversation is a few calls whose contents are odd but which are still messages, so that they get far into the daemon; then
one frame that is broken in its bytes. Everything comes from the seed, so a failure comes out the same again.
"""

import os
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import cbor2
import pytest

from core.engines import ENGINES
from core.wire.codec import decode
from core.wire.errors import CODES
from core.wire.frames import frame
from irerctl.generic import begins_job, catalogue
from tests.campaigns import campaign, per_commit
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

ROOT = Path(__file__).parents[2]
AT_ONCE = 100_000
"""Frames that one daemon of the campaign is sent."""
LEAK_BYTES = 96 << 20
"""What the daemon may have grown by: what it was told is in its memory too."""
LIGHT_TASKS = {"system.watch", "log.query"}
LONG = {"audit.hashchain", "audit.verify", "metrics.prometheus"}
"""Reads that cost so much that they would be most of the test."""
EXAMPLES = {
    row.name: dict(row.example)
    for engine in ENGINES
    for row in engine.rows
    if (row.kind in ("read", "write") and not begins_job(row) and row.name not in LONG) or row.name in LIGHT_TASKS
}
METHODS = sorted(EXAMPLES)
ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**53 - 1, -(2**53) + 1, 0.0, -0.0, 1e-320, 1.5e308, "", " ", "\x00", "\u202e", "é" * 40,
    "x" * 5000, "../../etc/passwd", "uid:0", "{}", "%s%n", b"", b"\xff" * 40, [], {}, [[]], [None], {"": 1}, {"x" * 200: 1},
    [1] * 500,
    {"a": {"a": {"a": {"a": [1, "x"]}}}},
]  # fmt: skip
UNFIT: list[Any] = [
    2**53, -(2**63), 2**64, float("nan"), float("inf"), cbor2.undefined, cbor2.CBORTag(0, "x"), cbor2.CBORTag(2, b"\x01" * 20),
    cbor2.CBORTag(64, b"1"), cbor2.CBORSimpleValue(99), {1: 2}, {b"k": 1},
]  # fmt: skip
"""What CBOR can say and the wire does not take."""


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def odd(chance: Random) -> Any:
    if chance.random() < 0.01:
        return chance.choice(UNFIT)
    if chance.random() < 0.02:
        return nested(chance.choice([5, 30, 31, 32, 33, 200]))
    if chance.random() < 0.3:
        return chance.choice(list(EXAMPLES[chance.choice(METHODS)].values()) or [0])
    return chance.choice(ODD)


def spoilt(value: Any, chance: Random) -> Any:
    """The same value with one thing in it that is odd, missing, strange or twice."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        match chance.randrange(5):
            case 0:
                return {name: each for name, each in value.items() if name != key}
            case 1:
                return {**value, chance.choice(["", "x", "irer:value", "_id", "now", "ünknown"]): odd(chance)}
            case 2:
                return {(f"{key}_" if name == key else name): each for name, each in value.items()}
            case _:
                return {**value, key: spoilt(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], spoilt(value[place], chance), *value[place + chance.randrange(2) :]]
    return odd(chance)


def call(id: int, chance: Random) -> dict[str, Any]:
    """A call, mostly odd."""
    method = chance.choice(METHODS)
    message: dict[str, Any] = {"t": "call", "id": id, "m": method, "p": EXAMPLES[method]}
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        match chance.randrange(12):
            case 0:
                message["m"] = chance.choice([method[:-1], method.upper(), "", "x" * 300, "system", chance.choice(METHODS)])
            case 1:
                message[chance.choice(["idem", "dl", "as", "dry", "cur", "x"])] = chance.choice(
                    ["a-key-of-eight", "a-key-of-eight", True, 1, 50, 3_600_000, "mailer", odd(chance)]
                )
            case _:
                message["p"] = spoilt(message["p"], chance)
    return message


def random_item(chance: Random, depth: int = 0) -> bytes:
    """Bytes that begin like CBOR, and now and then stay so."""
    major, size = chance.randrange(8), chance.randrange(6)
    if depth > 6:
        return bytes([chance.randrange(256)])
    argument = chance.choice([0, 1, 2, 5, 23])
    head = bytes([major << 5 | argument])
    if chance.random() < 0.1:
        head = bytes([major << 5 | chance.choice([24, 25, 26, 27, 28, 31])]) + chance.randbytes(size)
    if major in (2, 3):
        return head + chance.randbytes(argument)
    if major in (4, 5, 6):
        count = {4: argument, 5: 2 * argument, 6: 1}[major]
        return head + b"".join(random_item(chance, depth + 1) for _ in range(min(count, 6)))
    return head


def broken(chance: Random) -> bytes:
    """One frame whose bytes are wrong somewhere."""
    kinds = chance.randrange(10)
    if kinds == 0:
        return chance.randbytes(chance.randrange(1, 400))
    if kinds == 1:
        return frame(chance.randbytes(chance.randrange(1, 400)))
    if kinds == 2:
        return frame(random_item(chance) or b"\0")
    whole = chance.choice(
        [call(1000, chance), {"t": chance.choice(["hello", "bye", "done", "item", "x", 1, None])}, {}, {"id": 2000}]
    )
    data = bytearray(cbor2.dumps(whole))
    for _ in range(chance.randrange(1, 8)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[place : place + 1] = bytes([chance.choice([0, 0x1F, 0x5F, 0x7F, 0x9F, 0xBF, 0xC0, 0xF7, 0xFB, 0xFF])])
            case 1:
                data[place : place + 1] = chance.randbytes(1)
            case 2:
                del data[place : place + chance.randrange(1, 9)]
            case 3:
                data[place:place] = chance.randbytes(chance.randrange(1, 9))
            case _:
                data[place:place] = data[max(0, place - 16) : place]
    made = frame(bytes(data) or b"\0")
    if chance.random() < 0.2:
        made = made[:3] + chance.choice([0, 1, len(data) + 1, 65_537, 1_200_000, 2**32 - 1]).to_bytes(4, "big") + made[7:]
    return made[: chance.randrange(1, len(made))] if chance.random() < 0.1 else made


def messages(data: bytes) -> list[dict[str, Any]]:
    """What the daemon said: whole messages, and nothing else. An answer to HTTP is for whoever sent a line of it."""
    found = []
    while data:
        size = int.from_bytes(data[3:7], "big")
        assert data[:3] == b"\xd8\x18\x5a" and len(data) >= 7 + size, data[:100]
        message = decode(data[7 : 7 + size])
        assert message["t"] in ("welcome", "done", "err", "item", "mark", "bye"), message
        error = message.get("e")
        if error is not None:
            assert error["code"] in CODES and error["code"] not in ("internal", "data-loss", "durability-unknown"), message
            assert error.get("detail") or error.get("title"), message
        found.append(message)
        data = data[7 + size :]
    return found


class Fuzz:
    """Conversations with one daemon."""

    def __init__(self, irerd: Irerd, chance: Random) -> None:
        self.irerd = irerd
        self.chance = chance
        self.frames = self.talks = 0
        self.codes: Counter[str] = Counter()

    def talk(self) -> None:
        """Every call ends once, or the connection does; and the broken frame is answered or it ends."""
        raw, chance = Raw(self.irerd.socket), self.chance
        waiting = set(range(1, chance.randrange(2, 24)))
        calls = [cbor2.dumps(call(id, chance)) for id in sorted(waiting)]
        ends = [cbor2.dumps({"t": "cancel", "id": id}) for id in sorted(waiting)]  # a stream has no end of its own
        raw.send(b"".join(map(frame, calls + ends)))
        said, open_still = b"", True
        while waiting and open_still:
            data = raw.sock.recv(1 << 18)
            open_still = bool(data)
            said += data
            said = self._hear(said, waiting)
        self.frames += len(calls)
        self.talks += 1
        if open_still:
            self._break(raw, said)
        raw.close()

    def _hear(self, said: bytes, waiting: set[int]) -> bytes:
        """Takes whole messages off the front; what is left is the beginning of the next."""
        while len(said) >= 7 and len(said) >= (end := 7 + int.from_bytes(said[3:7], "big")):
            [message] = messages(said[:end])
            if message["t"] in ("done", "err"):
                assert message["id"] in waiting, f"ended twice: {message}"
                waiting.discard(message["id"])
            self._count(message)
            said = said[end:]
        return said

    def _break(self, raw: Raw, said: bytes) -> None:
        wrong = broken(self.chance)
        try:
            raw.send(wrong)
            raw.sock.shutdown(1)
        except OSError:
            pass  # closed in the middle of it
        for message in messages(said + raw.until_closed()):
            self._count(message)
        self.frames += 1

    def _count(self, message: dict[str, Any]) -> None:
        self.codes.update({message["t"], *([message["e"]["code"]] if message.get("e") else [])})


def fuzz(irerd: Irerd, frames: int, seed: int) -> Fuzz:
    irerd.start()
    assert irerd.process is not None
    files = Path(f"/proc/{irerd.process.pid}/fd")
    found = Fuzz(irerd, Random(seed))
    with irerd.client() as client:
        for _ in range(20):
            found.talk()
        before, descriptors = client.call("system.health").result["resident_bytes"], len(list(files.iterdir()))
        while found.frames < frames:
            found.talk()
            if found.talks % 50 == 0:
                assert client.call("system.ping", deadline_ms=5_000).result == {}
        assert client.call("system.status").result["connections"] == 1, "every other one was let go"
        after = client.call("system.health").result["resident_bytes"]
        assert after - before < LEAK_BYTES, f"{before >> 20} MiB before, {after >> 20} MiB after"
        assert len(list(files.iterdir())) <= descriptors + 8
        with client.stream("audit.hashchain") as rows:
            assert all(row["ok"] for row in rows)
    assert "a bug in irer" not in irerd.stderr(), f"seed {seed}: {irerd.stderr()[-2000:]}"
    assert irerd.stop() == 0
    return found


def test_frames_that_are_odd_or_broken_are_answered_or_end_their_connection(irerd: Irerd) -> None:
    found = fuzz(irerd, per_commit("fuzz"), seed=1)
    assert {"done", "bye", "invalid-argument", "not-found"} <= set(found.codes), "it gets far, and not only far"


def again(irerd: Irerd, seed: int) -> None:
    try:
        fuzz(irerd, AT_ONCE, seed)
    except BaseException as failure:
        raise AssertionError(f"again: IRER_SEED={seed} .venv/bin/pytest -m campaign tests/e2e/test_fuzz_frames.py") from failure


@pytest.mark.campaign
def test_a_hundred_thousand_frames(irerd: Irerd) -> None:
    """With another seed each time; IRER_SEED says which, and then nothing is written down."""
    if "IRER_SEED" in os.environ:
        again(irerd, int(os.environ["IRER_SEED"]))
        return
    campaign("fuzz", lambda index: again(irerd, 2 + (index - per_commit("fuzz")) // AT_ONCE), at_once=AT_ONCE)


def test_every_method_that_may_be_called_lightly_is_called() -> None:
    assert len(METHODS) > 80 and set(METHODS) <= set(catalogue().rows)
