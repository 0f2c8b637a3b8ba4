"""The trio client: the twin of the blocking one, for many tasks at once; what a task gives up is cancelled in the daemon."""

import contextlib
import io
import socket
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from core.wire import calls
from core.wire.errors import make
from irerctl import aio, client
from irerctl.aio import Client, Error, Reply, Unreachable
from tests.irerctl.small_server import LIMITS, SmallServer, welcome

Serve = Callable[..., SmallServer]


@pytest.fixture
def small(place: Path) -> Iterator[Serve]:
    """Starts a small server; ends it."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(SmallServer(place / "irerd.sock", *args, **kwargs))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once; how long they wait is a test of its own."""
    monkeypatch.setattr(client, "_DELAY_MIN_S", 0.0)
    monkeypatch.setattr(client, "_DELAY_MAX_S", 0.001)


def test_the_example_runs(small: Serve, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRER_SOCKET", str(small().path))
    lines = [line for line in (aio.__doc__ or "").splitlines()[1:] if line.startswith("    ") or not line]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(textwrap.dedent("\n".join(lines)), {})  # noqa: S102 - the example is ours
    assert said.getvalue().splitlines() == ["8 1"] + ["pool.scaled"] * 6


async def test_many_tasks_share_one_connection(small: Serve) -> None:
    server = small()
    results = {}

    async def ask(irer: Client, number: int) -> None:
        results[number] = (await irer.call("system.ping", {"n": number})).result

    async with Client(server.path) as irer, trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(ask, irer, number)
    assert results == {number: {"n": number} for number in range(200)}
    assert server.greeted == 1
    assert len({call.idem for call in server.seen}) == 200


async def test_no_more_are_in_flight_than_the_daemon_takes(small: Serve) -> None:
    server = small(limits={"calls": 3})
    async with Client(server.path) as irer:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(irer.call, "test.hang")
            await wait_until(lambda: len(server.seen) == 3)
            with trio.move_on_after(0.02) as patience:
                await irer.call("system.ping")
            assert patience.cancelled_caught
            nursery.cancel_scope.cancel()
        assert (await irer.call("system.ping")).result == {}
    assert [call.m for call in server.seen] == ["test.hang"] * 3 + ["system.ping"]


async def test_errors_leave_as_they_are(small: Serve) -> None:
    with pytest.raises(Error) as refused:
        async with Client(small().path) as irer:
            await irer.call("resource.scale", {"size": 99})
    assert (refused.value.code, refused.value.help) == ("out-of-range", "ask for less")
    with pytest.raises(ZeroDivisionError):
        async with Client("/nowhere") as irer:
            raise ZeroDivisionError


FAULTS = {120: "lose", 250: "bye", 333: "refuse", 334: "refuse", 500: "close", 700: "lose", 701: "lose", 800: "bye"}


async def test_a_thousand_calls_over_restarts_none_lost_or_doubled(small: Serve, hasty: None) -> None:
    server = small(FAULTS)
    async with Client(server.path) as irer:
        replies = [await irer.call("resource.scale", {"size": 1, "number": number}) for number in range(1000)]
    assert [params["number"] for params in server.written] == list(range(1000))
    assert [reply.receipt["seq"] for reply in replies if reply.receipt] == list(range(1, 1001))


async def test_a_thousand_pipelined_calls_over_restarts_none_lost_or_doubled(small: Serve, hasty: None) -> None:
    server = small(FAULTS)
    async with Client(server.path) as irer:
        outcomes = await irer.pipeline([("resource.scale", {"size": 1, "number": number}) for number in range(1000)])
    assert sorted(params["number"] for params in server.written) == list(range(1000))
    sequence = {params["number"]: seq for seq, params in enumerate(server.written, 1)}
    assert [outcome.receipt["seq"] for outcome in outcomes if isinstance(outcome, Reply) and outcome.receipt] == [
        sequence[number] for number in range(1000)
    ]


async def wait_until(holds: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not holds():
            await trio.lowlevel.checkpoint()


async def test_after_a_bye_the_old_connection_still_answers_what_was_asked_there(small: Serve) -> None:
    server = small()
    async with Client(server.path) as irer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(irer.call, "test.hang")
            await wait_until(lambda: server.seen)
            server.say_bye("shutdown")
            while server.greeted < 2:
                assert (await irer.call("system.ping")).result == {}
            assert server.cancelled == []
            nursery.cancel_scope.cancel()
        await wait_until(lambda: server.cancelled == ["test.hang"])


async def test_a_missing_socket_is_waited_for(small: Serve, hasty: None) -> None:
    server = small({2: "vanish"})
    attempts = []

    async def connect() -> trio.abc.Stream:
        attempts.append(server.path.exists())
        if len(attempts) == 4:
            server.appear()
        sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        try:
            await sock.connect(str(server.path))
        except OSError:
            sock.close()
            raise
        return trio.SocketStream(sock)

    async with Client(server.path, connect=connect) as irer:
        replies = [await irer.call("resource.scale", {"size": 1, "number": number}) for number in range(3)]
    assert attempts == [True, False, False, False]
    assert [params["number"] for params in server.written] == [0, 1, 2]
    assert [reply.replayed for reply in replies] == [False, True, False]


async def test_an_absent_daemon_is_not_waited_for_for_ever(place: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with Client(place / "irerd.sock", timeout=None) as irer:
        before = trio.current_time()
        with pytest.raises(Unreachable) as failure:
            await irer.call("system.ping")
    assert 10 <= trio.current_time() - before < 12
    assert (failure.value.path, failure.value.why, failure.value.effect) == (str(place / "irerd.sock"), "no such file", "none")


async def test_a_lost_answer_without_a_key_is_not_asked_again(small: Serve) -> None:
    server = small({1: "lose"})
    async with Client(server.path) as irer:
        with pytest.raises(Unreachable) as failure:
            await irer.call("resource.scale", {"size": 1}, idem=None)
    assert failure.value.effect == "unknown"
    assert len(server.written) == 1


async def test_a_cancelled_task_cancels_its_call(small: Serve) -> None:
    server = small()
    async with Client(server.path) as irer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(irer.call, "test.hang")
            await wait_until(lambda: server.seen)
            nursery.cancel_scope.cancel()
        assert (await irer.call("system.ping")).result == {}
    assert server.cancelled == ["test.hang"]
    assert server.greeted == 1


async def test_an_answer_that_does_not_come_is_given_up_a_second_after_the_deadline(
    small: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "GRACE_S", 0.01)
    server = small()
    async with Client(server.path) as irer:
        with pytest.raises(Error) as late:
            await irer.call("test.deaf", deadline_ms=20)
        assert (late.value.code, late.value.effect) == ("deadline-exceeded", "unknown")
        assert late.value.data == {"idem": server.seen[0].idem}
        assert (await irer.call("system.ping")).result == {}
    assert server.greeted == 1


@pytest.mark.parametrize("why", sorted(client.FATAL_BYES))
async def test_a_daemon_that_does_not_want_us_is_not_asked_again(place: Path, why: calls.Why) -> None:
    with scripted(place, calls.bye(why, e=make("permission-denied", "uid 1 has no role here"))) as path:
        async with Client(path) as irer:
            with pytest.raises(Error) as refused:
                await irer.call("system.ping")
    assert (refused.value.code, refused.value.detail) == ("permission-denied", "uid 1 has no role here")


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", welcome(LIMITS) + calls.done(9, {}), b"\xd8\x18\x5a\xff\xff\xff\xff"]
)
async def test_what_is_no_irerd_is_said_so_at_once(place: Path, said: bytes) -> None:
    with scripted(place, said) as path:
        async with Client(path) as irer:
            with pytest.raises(Unreachable, match="not irerd"):
                await irer.call("system.ping")


@contextlib.contextmanager
def scripted(place: Path, said: bytes) -> Iterator[Path]:
    """Says the same to the first caller, whatever they say, and hangs up."""
    path = place / "scripted.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            listener.close()
            with sock:
                sock.recv(65_536)
                sock.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        thread.join()


async def test_a_stream_goes_on_after_a_restart_where_it_was(small: Serve, hasty: None) -> None:
    server = small()
    async with Client(server.path) as irer, irer.stream("system.watch", {"engine": "resource"}) as events:
        seen = [(event["size"], events.cursor) async for event in events]
    assert seen == [(size, f"c{size}") for size in range(1, 7)]
    assert [call.p.get("since") for call in server.seen] == [None, "c2", "c4", "c6"]
    assert events.result == {"seen": 6}


async def test_a_stream_without_cursors_is_not_joined_in_the_middle(place: Path) -> None:
    with scripted(place, welcome(LIMITS) + calls.item(1, 0, {"records": 1})) as path:
        async with Client(path) as irer, irer.stream("audit.hashchain") as items:
            assert await anext(items) == {"records": 1}
            with pytest.raises(Unreachable):
                await anext(items)


async def test_a_stream_that_is_cancelled_says_so(small: Serve) -> None:
    server = small()
    async with Client(server.path) as irer, irer.stream("test.hang") as items:
        await wait_until(lambda: server.seen)
        await items.cancel()
        assert [item async for item in items] == []
    assert server.cancelled == ["test.hang"]


async def test_a_streaming_method_that_is_called_is_told_so(small: Serve) -> None:
    async with Client(small().path) as irer:
        with pytest.raises(Error, match="streams"):
            await irer.call("audit.hashchain")
        assert (await irer.call("system.ping")).result == {}


async def test_what_cannot_be_sent_costs_nothing_else(small: Serve) -> None:
    server = small(limits={"frame": 70_000})
    async with Client(server.path) as irer:
        for bad in ({"x": float("nan")}, {"x": "x" * 80_000}, {"x": object()}):
            with pytest.raises(Error) as refused:
                await irer.call("system.ping", bad)
            assert (refused.value.code, refused.value.effect) == ("invalid-argument", "none")
        assert (await irer.call("system.ping", {"n": 1})).result == {"n": 1}
    assert len(server.seen) == 1


async def test_the_welcome_can_be_asked_for(small: Serve) -> None:
    async with Client(small().path) as irer:
        assert (await irer.welcome()).peer["role"] == "admin"
