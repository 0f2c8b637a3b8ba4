"""The witness's door: C2SP tlog-witness `add-checkpoint` over HTTP/1.1, one request a connection.

Whoever can connect may ask; what is signed depends on the checkpoint alone. So everything a stranger can take up has a bound:
bytes, time, connections. Here nothing is judged.
"""

import re
from collections.abc import Awaitable, Callable

import trio

from core.witness import PATH, REQUEST_BYTES_MAX
from irerd.host import Transport
from irerd.witness.book import TEXT, Answer

HEAD_BYTES_MAX = 8_192
REQUEST_S = 10.0
"""From the first byte of a request to the last of its answer."""
CONNECTIONS_MAX = 32
SERVER_BUSY = 503

_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/1\.[01]")
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
            409: "Conflict", 411: "Length Required", 413: "Content Too Large", 422: "Unprocessable Content",
            431: "Request Header Fields Too Large", 500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip

Judge = Callable[[str], Awaitable[Answer]]


class Refuse(Exception):
    """No request that can be judged."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.answer = Answer(status, TEXT, f"{why}\n")


class Door:
    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._inside = 0

    async def serve(self, transport: Transport) -> None:
        """One connection, from accept to end. What the judge raises ends the program."""
        self._inside += 1
        try:
            if self._inside > CONNECTIONS_MAX:
                transport.send_nowait(_response(Answer(SERVER_BUSY, TEXT, f"{CONNECTIONS_MAX} connections are open already\n")))
                return
            with trio.move_on_after(REQUEST_S):
                await _send(transport, _response(await self._answer(transport)))
        except OSError:
            pass  # whoever asked is gone
        finally:
            self._inside -= 1
            transport.close()

    async def _answer(self, transport: Transport) -> Answer:
        try:
            text = await _request(transport)
        except Refuse as refused:
            return refused.answer
        return await self._judge(text)


async def _request(transport: Transport) -> str:
    """The body of a POST to the one path. Raises Refuse."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > HEAD_BYTES_MAX:
            raise Refuse(431, f"more than {HEAD_BYTES_MAX:,} bytes of headers")
        data += await _more(transport)
    head, _, body = data.partition(b"\r\n\r\n")
    size, wants_word = _expected(head)
    if wants_word and len(body) < size:
        await _send(transport, b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < size:
        body += await _more(transport)
    try:
        return body[:size].decode()
    except UnicodeDecodeError:
        raise Refuse(400, "the request is no text") from None


def _expected(head: bytes) -> tuple[int, bool]:
    """How many bytes the body has, and whether they wait for a word first."""
    first, *lines = head.decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(first)
    fields = [(name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in lines)]
    if line is None:
        raise Refuse(400, "not a request of HTTP/1.1")
    if line[2] != PATH:
        raise Refuse(404, f"there is only {PATH} here")
    if line[1] != "POST":
        raise Refuse(405, "only POST is taken")
    lengths = [value for name, value in fields if name == "content-length"]
    if len(lengths) != 1 or not re.fullmatch("[0-9]{1,9}", lengths[0]) or any(name == "transfer-encoding" for name, _ in fields):
        raise Refuse(411, "the length of the body must be given")
    if int(lengths[0]) > REQUEST_BYTES_MAX:
        raise Refuse(413, f"more than {REQUEST_BYTES_MAX:,} bytes")
    return int(lengths[0]), ("expect", "100-continue") in [(name, value.lower()) for name, value in fields]


async def _more(transport: Transport) -> bytes:
    got = await transport.receive()
    if not got:
        raise Refuse(400, "the request ends early")
    return got


async def _send(transport: Transport, data: bytes) -> None:
    while data:
        data = data[transport.send_nowait(data) :]
        if data:
            await transport.wait_writable()


def _response(answer: Answer) -> bytes:
    body = answer.body.encode()
    head = f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
