"""Whoever takes nothing for half a minute, though something waits for them, is let go. Whoever is slow or silent is not."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from core.access import Peer
from irerd.session import SLOW_S, Session

PEER = Peer(0, 0, frozenset(), frozenset({"admin"}), frozenset())


class Reader:
    """A peer that says nothing, and reads a byte each so many seconds."""

    def __init__(self, each_s: float) -> None:
        self.each_s = each_s
        self.closed_at: float | None = None
        self._ready = False

    async def receive(self) -> bytes:
        await trio.sleep(math.inf)
        return b""

    def send_nowait(self, data: bytes) -> int:
        taken, self._ready = int(self._ready), False
        return taken

    async def wait_writable(self) -> None:
        await trio.sleep(self.each_s)
        self._ready = True

    def close(self) -> None:
        self.closed_at = trio.current_time()


@pytest.mark.parametrize(
    ("each_s", "waiting", "let_go"), [(math.inf, b"x" * 100, True), (SLOW_S * 0.9, b"x" * 100, False), (math.inf, b"", False)]
)
async def test_only_who_takes_nothing_of_what_waits_is_let_go(
    each_s: float, waiting: bytes, let_go: bool, autojump_clock: trio.testing.MockClock
) -> None:
    reader = Reader(each_s)
    service: Any = SimpleNamespace(turns={}, dispatch=SimpleNamespace())
    session = Session(reader, PEER, service)
    session._greeted = True
    began = trio.current_time()
    if waiting:
        session.outbox.put(waiting)
        session.outbox.flush_soon()
    with trio.move_on_after(20 * SLOW_S) as patience:
        await session.run()
    assert patience.cancelled_caught is not let_go
    assert reader.closed_at is not None
    if let_go:
        assert SLOW_S <= reader.closed_at - began <= 2 * SLOW_S
