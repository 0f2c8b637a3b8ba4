"""Who asks again as soon as it is answered is looked for instead of slept for; that costs nobody else their turn."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from irerd.listen import ALONE_S, LOOK_S, QUICK_IN_A_ROW, Attention, SocketTransport


class Watched:
    """A socket that counts how often it was read from in vain; each time some time goes by."""

    def __init__(self, sock: socket.socket, clock: trio.testing.MockClock, empty_s: float = LOOK_S / 4) -> None:
        self._sock = sock
        self._clock = clock
        self._empty_s = empty_s
        self.empty = 0

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def recv(self, count: int) -> bytes:
        try:
            return self._sock.recv(count)
        except BlockingIOError:
            self.empty += 1
            self._clock.jump(self._empty_s)
            raise


class Caller:
    def __init__(self, attention: Attention, clock: trio.testing.MockClock) -> None:
        self.far, near = socket.socketpair()
        self.near = Watched(near, clock)
        self.transport = SocketTransport(self.near, attention)

    async def ask(self) -> None:
        """One request that is there already, and its answer."""
        self.far.send(b"?")
        assert await self.transport.receive() == b"?"
        self.transport.send_nowait(b"!")

    def close(self) -> None:
        self.transport.close()
        self.far.close()


@pytest.fixture
def slept(monkeypatch) -> list[object]:
    """Each time the loop was asked to wait for a socket."""
    waits: list[object] = []
    real = trio.lowlevel.wait_readable

    async def wait_readable(sock) -> None:
        waits.append(sock)
        await real(sock)

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_readable)
    return waits


@contextmanager
def callers(count: int, attention: Attention, clock: trio.testing.MockClock) -> Iterator[list[Caller]]:
    found = [Caller(attention, clock) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.close()


async def test_a_quick_caller_is_looked_for_from_some_requests_on(mock_clock, slept):
    with callers(1, Attention(2), mock_clock) as [caller]:
        for _ in range(QUICK_IN_A_ROW + 1):  # the first is nobody's next
            await caller.ask()
        assert len(slept) == QUICK_IN_A_ROW + 1
        for _ in range(100):
            await caller.ask()
        assert len(slept) == QUICK_IN_A_ROW + 1
        assert caller.near.empty == 0


async def test_looking_ends_and_the_loop_sleeps_again(mock_clock, slept):
    with callers(1, Attention(2), mock_clock) as [caller]:
        for _ in range(QUICK_IN_A_ROW + 1):
            await caller.ask()
        before = len(slept)
        with trio.move_on_after(1) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(caller.transport.receive)
                await trio.testing.wait_all_tasks_blocked()
                assert 1 < caller.near.empty <= 6  # LOOK_S at a quarter of it each time
                assert len(slept) == before + 1
                nursery.cancel_scope.cancel()
        assert not patience.cancelled_caught
        await caller.ask()  # and the caller is a stranger again
        assert len(slept) == before + 2


async def test_one_core_is_left_to_the_caller(mock_clock, slept):
    with callers(1, Attention(1), mock_clock) as [caller]:
        for _ in range(3 * QUICK_IN_A_ROW):
            await caller.ask()
        assert len(slept) == 3 * QUICK_IN_A_ROW


async def test_a_slow_caller_is_never_looked_for(mock_clock, slept):
    with callers(1, Attention(2), mock_clock) as [caller]:
        for _ in range(3 * QUICK_IN_A_ROW):
            await caller.ask()
            mock_clock.jump(2 * LOOK_S)
            caller.far.send(b"?")
            assert await caller.transport.receive() == b"?"
            caller.transport.send_nowait(b"!")
        assert len(slept) == 6 * QUICK_IN_A_ROW


async def test_a_pipelined_caller_that_is_not_answered_is_not_looked_for(mock_clock, slept):
    with callers(1, Attention(2), mock_clock) as [caller]:
        for _ in range(QUICK_IN_A_ROW + 1):
            await caller.ask()
        before = len(slept)
        caller.far.send(b"?")
        assert await caller.transport.receive() == b"?"
        assert len(slept) == before
        with trio.CancelScope() as scope:
            scope.cancel()
            await caller.transport.receive()  # nothing was answered, so nothing is expected
        assert caller.near.empty == 0


async def test_another_caller_takes_the_attention_away(mock_clock, slept):
    with callers(2, Attention(2), mock_clock) as [one, other]:
        for _ in range(QUICK_IN_A_ROW + 1):
            await one.ask()
        await other.ask()
        before = len(slept)
        await one.ask()
        assert len(slept) == before + 1


async def test_everybody_else_has_a_turn_meanwhile(mock_clock, slept):
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with callers(1, Attention(2), mock_clock) as [caller]:
        for _ in range(QUICK_IN_A_ROW + 1):
            await caller.ask()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await trio.lowlevel.checkpoint()
            turns = 0
            for _ in range(100):
                mock_clock.jump(ALONE_S / 4)
                await caller.ask()
            nursery.cancel_scope.cancel()
    assert turns >= 20
