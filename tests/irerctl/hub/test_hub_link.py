"""The hub's way to irerd, by its bytes: calls that are made together leave together, whole and in order, whoever takes them how."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from core.wire import calls
from irerctl.hub.link import TOGETHER_BYTES, Ask, Link

LIMITS = {"frame": 1 << 20, "calls": 64, "streams": 64}
WELCOME = calls.welcome(
    server="irerd/0.1.0",
    instance="0" * 32,
    boot=1,
    limits=LIMITS,
    schema="0",
    peer={"role": "admin"},
    state="ready",
)


@asynccontextmanager
async def linked(kind: socket.SocketKind) -> AsyncIterator[tuple[Link, socket.socket, calls.ServerConnection]]:
    """A link that was welcomed, and the daemon's end of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(False)
    link, wire = Link(ours), calls.ServerConnection()
    wire.frame_max = 1 << 20
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await wait_all_tasks_blocked()
        assert len(wire.receive(theirs.recv(1 << 20))) == 1
        theirs.send(WELCOME)
        assert await link.started()
        yield link, theirs, wire
        link.close()
    theirs.close()


async def test_calls_of_one_turn_leave_in_one_piece_and_a_lone_one_at_once() -> None:
    async with linked(socket.SOCK_SEQPACKET) as (link, theirs, wire):  # a packet a send, so pieces can be told apart
        answered: list[int] = []

        async def ask(number: int) -> None:
            answered.append((await link.ask(Ask("system.ping", {"number": number}))).r["number"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 0)
            await wait_all_tasks_blocked()
            assert [call.p for call in wire.receive(theirs.recv(1 << 20))] == [{"number": 0}]
            for number in range(1, 41):
                nursery.start_soon(ask, number)
            await wait_all_tasks_blocked()
            asked = wire.receive(theirs.recv(1 << 20))
            assert len(asked) == 40 and [call.id for call in asked] == sorted(call.id for call in asked)
            for call in asked:
                theirs.send(calls.done(call.id, call.p))
            theirs.send(calls.done(1, {"number": 0}))
        assert sorted(answered) == list(range(41))


async def test_more_than_the_kernel_takes_arrives_whole_and_in_order() -> None:
    async with linked(socket.SOCK_STREAM) as (link, theirs, wire):
        theirs.setblocking(False)
        got: list[calls.Call] = []
        large = "x" * (TOGETHER_BYTES * 2)

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(link.ask, Ask("cache.set", {"number": number, "value": large if number % 2 else "y"}))
            await wait_all_tasks_blocked()
            with trio.fail_after(10):
                while len(got) < 12:
                    await trio.lowlevel.wait_readable(theirs)
                    got += wire.receive(theirs.recv(65_536))
            assert sorted(call.p["number"] for call in got) == list(range(12))
            assert all(call.p["value"] == (large if call.p["number"] % 2 else "y") for call in got)
            for call in got:
                theirs.send(calls.done(call.id, {}))


async def test_a_stream_that_nobody_reads_any_more_takes_up_its_place_until_irerd_has_ended_it() -> None:
    """Another in its place would be one more than irerd lets one connection have."""
    async with linked(socket.SOCK_SEQPACKET) as (link, theirs, wire):
        id, _ = link.open(Ask("system.watch", {}), resumable=True)
        assert link.streams == 1
        link.forget(id)
        assert link.streams == 1
        await wait_all_tasks_blocked()
        assert [type(each) for each in (*wire.receive(theirs.recv(1 << 20)), *wire.receive(theirs.recv(1 << 20)))] == [
            calls.Call,
            calls.Cancel,
        ]
        theirs.send(calls.err(id, {"code": "cancelled"}))
        with trio.fail_after(10):
            while link.streams:
                await wait_all_tasks_blocked()
