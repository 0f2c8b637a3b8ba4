"""The witness's door: what C2SP's tlog-witness says on the wire, and a bound on everything a stranger can take up."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from core.witness import REQUEST_BYTES_MAX
from irerd.witness.book import TEXT, Answer
from irerd.witness.server import CONNECTIONS_MAX, HEAD_BYTES_MAX, REQUEST_S, Door


class Wire:
    """A connection whose far end is the test."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self.pieces = list(pieces)
        self.ends = ends
        self.sent = b""
        self.closed = False

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.pieces:
            return self.pieces.pop(0)
        if not self.ends:
            await trio.sleep_forever()
        return b""

    def send_nowait(self, data: bytes) -> int:
        self.sent += data[:100]
        return min(len(data), 100)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self.closed = True


async def judged(text: str) -> Answer:
    return Answer(409, "text/x.tlog.size", f"{len(text)}\n")


async def said(*pieces: bytes, judge: Callable[[str], Awaitable[Answer]] = judged, ends: bool = True) -> bytes:
    wire = Wire(*pieces, ends=ends)
    await Door(judge).serve(wire)
    assert wire.closed
    return wire.sent


def post(body: bytes, path: str = "/add-checkpoint", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def test_a_request_is_answered_however_it_was_cut_into_pieces() -> None:
    whole = post("old 5\n\nπ".encode())
    wanted = b"HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 2\r\nConnection: close\r\n\r\n8\n"
    assert await said(whole) == wanted
    assert await said(*(bytes([byte]) for byte in whole)) == wanted


async def test_who_waits_for_a_word_gets_it() -> None:
    head, body = post(b"x" * 2_000, more="Expect: 100-continue\r\n").split(b"\r\n\r\n")
    assert (await said(head + b"\r\n\r\n", body)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 ")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /add-checkpoint HTTP/1.1\r\n\r\n", 405),
        (post(b"", "/other"), 404),
        (b"POST /add-checkpoint HTTP/1.1\r\n\r\n", 411),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 411),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: +1\r\n\r\na", 411),
        (post(b"5\r\nabcde\r\n0\r\n\r\n", more="Transfer-Encoding: chunked\r\n"), 411),
        (post(b"x" * (REQUEST_BYTES_MAX + 1)), 413),
        (b"POST /add-checkpoint HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES_MAX + 1), 431),
        (b"hello\r\n\r\n", 400),
        (post(b"\xff\xfe"), 400),
        (post(b"abc")[:-1], 400),
        (b"", 400),
    ],
)
async def test_what_is_no_request_never_comes_to_the_judge(request_bytes: bytes, status: int) -> None:
    async def judge(text: str) -> Answer:
        raise AssertionError("judged")

    assert (await said(request_bytes, judge=judge)).startswith(b"HTTP/1.1 %d " % status)


async def test_a_slow_peer_is_let_go(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    assert await said(post(b"abc")[:-1], ends=False) == b""
    assert trio.current_time() - began == pytest.approx(REQUEST_S)


async def test_there_is_room_for_so_many_and_no_more(nursery: trio.Nursery) -> None:
    door = Door(judged)
    for _ in range(CONNECTIONS_MAX):
        nursery.start_soon(door.serve, Wire(ends=False))
    await wait_all_tasks_blocked()
    one_more = Wire(post(b"abc"))
    await door.serve(one_more)
    assert one_more.sent.startswith(b"HTTP/1.1 503 ") and one_more.closed
    nursery.cancel_scope.cancel()


async def test_a_fault_of_the_judge_is_not_swallowed() -> None:
    async def judge(text: str) -> Answer:
        raise RuntimeError("a failed sync")

    with pytest.raises(RuntimeError):
        await Door(judge).serve(Wire(post(b"abc")))
    assert TEXT.startswith("text/plain")
