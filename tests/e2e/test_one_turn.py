"""What comes on several connections of one uid while irerd is busy is read together: each is answered as if it had come alone.

irerd is stopped by a signal while they send, so that all of it is there when it goes on.
"""

import signal
import socket
from typing import Any

from core.wire.calls import Bye, Done, Err
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

COUNT = 12
BROKEN = b"\xd8\x18\x5a\x00\x00\x00\x03\xa1\x61\x61"
"""A frame with half a map in it."""


def senses(raw: Raw, source: str, first: int, count: int = COUNT) -> bytes:
    """More than a KiB of them: pieces of that size are looked at together."""
    out = b""
    for second in range(first, first + count):
        telemetry = {"power_draw": 300.0 + second % 3, "temperature": 40.0}
        params = {"source": source, "timestamp": f"2026-01-01T00:00:{second:02d}Z", "telemetry": telemetry}
        out += raw.connection.call("eil.sense", params)[1]
    assert len(out) > 1_024
    return out


def told(raw: Raw, most: int) -> list[Any]:
    """So many messages, or all to the end of the stream."""
    found: list[Any] = []
    try:
        while len(found) < most:
            found.append(raw.next())
    except EOFError:
        pass
    return found


def ids(messages: list[Any]) -> list[int]:
    return [each.id for each in messages if isinstance(each, Done)]


def points(irerd: Irerd, source: str) -> int:
    with irerd.client() as client:
        found: int = client.call("eil.regime_status", {"source": source}).result["sources"][0]["points"]
    return found


def test_connections_that_are_read_together_are_each_answered_for_what_they_sent(irerd: Irerd) -> None:
    irerd.start()
    assert irerd.process is not None
    good, broken, left, silent, odd = raws = [Raw(irerd.socket) for _ in range(5)]
    for number, raw in enumerate(raws):
        raw.send(senses(raw, f"s{number}", 0))
        assert ids(told(raw, COUNT)) == list(range(1, COUNT + 1))
    irerd.process.send_signal(signal.SIGSTOP)
    good.send(senses(good, "s0", 20))
    broken.send(senses(broken, "s1", 20) + BROKEN + senses(broken, "s1", 40))
    left.send(senses(left, "s2", 20) + left.connection.bye())
    silent.send(senses(silent, "s3", 20) + silent.connection.call("system.ping")[1][:-2])
    silent.sock.shutdown(socket.SHUT_WR)
    wrong = odd.connection.call("eil.sense", {"source": "s4", "telemetry": {"x": "y"}})[1]
    cancels = b"".join(odd.connection.cancel(id) for id in range(COUNT, 2 * COUNT + 1))
    odd.send(wrong + senses(odd, "s4", 20, COUNT - 1) + cancels)
    irerd.process.send_signal(signal.SIGCONT)
    second = list(range(COUNT + 1, 2 * COUNT + 1))
    assert ids(told(good, COUNT)) == second
    *answered, last = told(left, COUNT + 1)
    assert ids(answered) == second and isinstance(last, Bye) and last.why == "done"
    *answered, last = told(broken, 3 * COUNT)
    assert isinstance(last, Bye) and last.why == "protocol" and ids(answered) == second[: len(answered)]
    answered = told(silent, COUNT)
    assert ids(answered) == second[: len(answered)], "it went away, and need not be told of all"
    refused, *answered = told(odd, COUNT)
    assert isinstance(refused, Err) and (refused.id, refused.e["code"]) == (COUNT + 1, "invalid-argument")
    assert ids(answered) == second[1:], "a cancel undoes no write"
    found = [points(irerd, f"s{number}") for number in range(5)]
    assert found == [4 * COUNT] * 4 + [4 * COUNT - 2], (
        "what arrived whole before the bad bytes, or the end, is done; nothing else is"
    )
    assert all(isinstance(raw.ask("system.ping"), Done) for raw in (good, odd)), "what comes next is read by itself"
    assert irerd.stop() == 0 and "a bug in irer" not in irerd.stderr()
