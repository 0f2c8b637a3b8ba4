"""The connections of the hub: reads requests, has them answered one after the other, and lets go of whoever takes too long.

`serve` starts it. One task a connection; a next request is not read before the last is answered, so what a peer may have waiting
here is one request and the bytes of one receive. Must never wait for a peer without an end, nor hold more of it than a bound.
"""

import logging
import math
import os
import select
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Protocol

import msgspec
import trio
from msgspec import Meta

from irerctl.hub.http1 import HEAD_END, Bad, Chunks, Head, parse_head, response_head
from irerctl.hub.peers import one_of

LOG = logging.getLogger("irerctl.hub")
RECEIVE_BYTES = 65_536
GONE_S = 0.5
"""How often callers that wait for an answer are looked after: whoever went away is not waited for any longer."""
LAST_WORDS_S = 1.0
LAST_RECEIVES_MAX = 64
DRAIN_S = 5.0
"""How long requests that are under way may take to finish once the hub is told to end. systemd's own patience is longer."""
SMALL_BYTES = 16_384
BACKLOG = 128

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Bound = Annotated[int, Meta(ge=1, le=1 << 24)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one peer, and all of them, may take of the hub."""

    connections: Bound = 512
    connections_per_peer: Bound = 256
    streams: Bound = 256
    header_bytes: Bound = 16_384
    body_bytes: Bound = 1_048_576
    bodies_bytes: Annotated[int, Meta(ge=1, le=1 << 32)] = 67_108_864
    head_s: Seconds = 10.0
    body_s: Seconds = 30.0
    idle_s: Seconds = 60.0
    send_s: Seconds = 30.0


@dataclass(slots=True)
class Request:
    """One request, whole."""

    head: Head
    body: bytes
    peer: str
    secure: bool
    connection: "Connection"


@dataclass(slots=True)
class Response:
    """One answer; or, with `takeover`, what is done with the connection after the head until it is closed."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    takeover: "Callable[[Connection], Awaitable[None]] | None" = None
    fixed: bytes = b""
    """Headers that are the same on every answer, as they are sent."""


class App(Protocol):
    """What a server serves."""

    async def admits(self, head: Head, peer: str, secure: bool) -> Response | None:
        """A refusal that can be told before the body is read."""

    async def answer(self, request: Request) -> Response:
        """The answer to one request. Never raises for what a caller sent."""

    def refused(self, bad: Bad, head: Head | None) -> Response:
        """What a peer hears whose bytes are no request."""

    def cut(self, head: Head) -> Response:
        """What a peer hears whose request takes longer than a server that ends will wait."""


class Connection:
    """One peer. Its bytes come through a buffer, its deadline moves with what is being waited for."""

    def __init__(self, stream: trio.abc.Stream, raw: trio.SocketStream, peer: str, server: "Server") -> None:
        self.raw = raw
        self.peer = peer
        self.secure = isinstance(stream, trio.SSLStream)
        self.calling = trio.CancelScope()
        """Around the answer that is being worked out; cancelled when the peer is gone."""
        self._stream = stream
        self._server = server
        self._buffer = bytearray()
        self._scope = trio.CancelScope()
        self._until = math.inf
        self.idle_until = math.inf
        """When it is let go for having asked nothing. Looked at twice a second, like who is gone."""
        self._served = False
        self._idle = False
        self._streaming = False
        self._cut = False
        self._late: Bad | None = None
        """What a peer is told that takes too long with what it is sending now."""

    @property
    def is_asking(self) -> bool:
        """Whether it waits for a request, or for the rest of one."""
        return self._idle or self._late is not None

    @property
    def beside(self) -> int:
        """How many are connected, this one among them."""
        return self._server.connections

    async def run(self) -> None:
        with self._scope, self._server.known(self):
            try:
                await self._serve()
            except Bad as bad:
                await self._last(self._server.app.refused(bad, None))
        if self._scope.cancelled_caught and self._late is not None:
            with trio.move_on_after(LAST_WORDS_S):
                await self._last(self._server.app.refused(self._late, None))

    async def _serve(self) -> None:
        while not self._server.draining and (head := await self._next_head()) is not None:
            keep = head.keep_alive
            self._late = None
            self.patient()
            response = await self._server.app.admits(head, self.peer, self.secure)
            if response is None:
                size = self._server.limits.body_bytes if head.length is None else head.length
                with nullcontext() if size <= SMALL_BYTES else self._server.holding(size):
                    body = await self._body(head)
                    response = await self._answered(Request(head, body, self.peer, self.secure, self))
                if response is None:
                    return
            elif head.length != 0:
                keep = False  # the body was not read, so the next byte is not a request's first
            if response.takeover is not None:
                await self._taken_over(response, response.takeover)
                return
            small = len(response.body) <= SMALL_BYTES
            with nullcontext(response) if small else self._server.sending(response, head) as response:
                if not keep or self._server.draining:
                    await self._last(response, head)
                    return
                await self._tell(response, head, keep=True)

    async def _answered(self, request: Request) -> Response | None:
        """The answer; None when nobody is there any more to hear it."""
        self._late = None
        self.patient()  # the call has a deadline of its own
        with trio.CancelScope() as self.calling, self._server.tabs.watched(self):
            return await self._server.app.answer(request)
        if self._cut:
            return self._server.app.cut(request.head)
        return None

    async def _taken_over(self, response: Response, takeover: "Callable[[Connection], Awaitable[None]]") -> None:
        self._streaming = True
        await self.send(response_head(response.status, response.headers, response.fixed))
        self.patient()
        with trio.CancelScope() as self.calling, self._server.tabs.watched(self):
            await takeover(self)
            await self._linger()

    async def _next_head(self) -> Head | None:
        """The next request's head; None when the peer has nothing more to ask."""
        limits, buffer = self._server.limits, self._buffer
        self._late = None
        if not buffer:
            self.idle_until = trio.current_time() + (limits.idle_s if self._served else limits.head_s)
            self._idle = True
            if not await self._more():
                return None
            self._idle = False
        else:
            await trio.lowlevel.checkpoint()  # whoever asks much at once lets others ask in between
        self._served = True
        seen = 0
        while (end := buffer.find(HEAD_END, seen, limits.header_bytes + len(HEAD_END))) < 0:
            if len(buffer) >= limits.header_bytes:
                raise Bad(431, f"the head of a request has at most {limits.header_bytes} bytes")
            if buffer[:1] < b"!" or (b"\n" in buffer[seen:] and b"\r\n" not in buffer):
                raise Bad(400, "the first line is no request line that ends with CR LF")
            seen = max(0, len(buffer) - len(HEAD_END) + 1)
            if self._late is None:
                self._late = Bad(408, f"a request's head is whole within {limits.head_s:g} s")
                self._within(limits.head_s)
            if not await self._more():
                return None
        raw = bytes(buffer[: end + len(HEAD_END)])
        del buffer[: len(raw)]
        return parse_head(raw)

    async def _body(self, head: Head) -> bytes:
        limits = self._server.limits
        if head.length == 0:
            return b""
        if head.length is not None and head.length > limits.body_bytes:
            raise Bad(413, f"a body has at most {limits.body_bytes} bytes")
        if head.length is None or len(self._buffer) < head.length:
            self._late = Bad(408, f"a request's body is whole within {limits.body_s:g} s")
            self._within(limits.body_s)
        if (expected := head.headers.get("expect")) is not None:
            if expected.lower() != "100-continue":
                raise Bad(417, "the only expectation met here is 100-continue")
            if not self._buffer:
                await self._stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        if head.length is None:
            chunks = Chunks(limits.body_bytes)
            while not chunks.feed(self._buffer):
                await self._more_of_a_body()
            return bytes(chunks.data)
        while len(self._buffer) < head.length:
            await self._more_of_a_body()
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        return body

    async def _more(self) -> bool:
        data = await self._received()
        self._buffer += data
        return bool(data)

    async def _received(self) -> bytes:
        """The next bytes. Of a plain connection they are read as soon as they are there, with no turn of the loop in between."""
        if self.secure:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        while True:
            await trio.lowlevel.wait_readable(self.raw.socket)
            try:
                return os.read(self.raw.socket.fileno(), RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def _more_of_a_body(self) -> None:
        if not await self._more():
            raise Bad(400, "the body ended before its length")

    async def receive(self) -> bytes:
        """What the peer says on a connection that was taken over."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        return await self._received()

    async def send(self, data: bytes) -> None:
        """Sends all of it; a peer that takes nothing for too long is let go."""
        self._late = None
        rest = data if self.secure else self._sent_at_once(data)
        if rest:
            self._within(self._server.limits.send_s)
            await self._stream.send_all(rest)

    def _sent_at_once(self, data: bytes) -> memoryview:
        """What the kernel has no room for just now."""
        try:
            return memoryview(data)[os.write(self.raw.socket.fileno(), data) :]
        except BlockingIOError:
            return memoryview(data)
        except OSError as error:
            raise trio.BrokenResourceError from error

    def _within(self, seconds: float) -> None:
        self._until = self._scope.deadline = trio.current_time() + seconds

    def patient(self) -> None:
        """Nothing is being sent: there is no hurry."""
        if self._until != math.inf:
            self._until = self._scope.deadline = math.inf

    async def _last(self, response: Response, head: Head | None = None) -> None:
        """An answer after which nothing is read."""
        await self._tell(response, head, keep=False)
        await self._linger()

    async def _tell(self, response: Response, head: Head | None, *, keep: bool) -> None:
        """A large body is sent as it is: one that many are sent stays one."""
        if len(response.body) <= SMALL_BYTES:
            await self.send(_written(response, head, keep=keep))
            return
        body, response.body = response.body, b""
        await self.send(_written(response, head, keep=keep, size=len(body)))
        if head is None or head.method != "HEAD":
            await self.send(body)

    async def _linger(self) -> None:
        """Closing with bytes unread would take back what was just sent."""
        with trio.move_on_after(LAST_WORDS_S):
            if isinstance(self._stream, trio.SSLStream):  # else nobody could tell this end from one that was cut by somebody else
                with suppress(trio.BrokenResourceError):
                    await self._stream.unwrap()
            await self.raw.send_eof()
            for _ in range(LAST_RECEIVES_MAX):
                if not await self.raw.receive_some(RECEIVE_BYTES):
                    return

    def drop(self) -> None:
        """The peer is gone, or in the way."""
        self.calling.cancel()

    def drop_if_idle(self, now: float) -> None:
        if self._idle and self.idle_until < now:
            self._scope.cancel()

    def finish(self) -> None:
        """The hub ends: who asks nothing now is let go, and streams go on elsewhere. A request that is under way is answered."""
        if self._idle:
            self._scope.cancel()
        elif self._streaming:
            self.calling.cancel()

    def cut(self) -> None:
        """The time for finishing is over: a word instead of the answer."""
        self._cut = True
        self.calling.cancel()


def _written(response: Response, head: Head | None, *, keep: bool, size: int | None = None) -> bytes:
    """`size` is that of a body which is sent by itself."""
    headers = response.headers
    if response.status != 304:
        headers.append(("Content-Length", str(len(response.body) if size is None else size)))
    if not keep:
        headers.append(("Connection", "close"))
    body = b"" if head is not None and head.method == "HEAD" else response.body
    return response_head(response.status, headers, response.fixed) + body


class Tabs:
    """Who waits for an answer, and whether they are still there: a closed tab ends its call.

    Looked at twice a second for all of them at once, so that a short call costs nothing. A caller that only closed its sending
    half has that long to get its answer.
    """

    def __init__(self) -> None:
        self._waiting: dict[Connection, float] = {}

    def watched(self, connection: Connection) -> "_Watched":
        return _Watched(self._waiting, connection)

    def look(self) -> None:
        before = trio.current_time() - GONE_S
        long = {each.raw.socket.fileno(): each for each, since in self._waiting.items() if since <= before}
        if long:
            poll = select.poll()
            for number in long:
                poll.register(number, select.POLLRDHUP)
            for number, _ in poll.poll(0):
                long[number].drop()


class _Watched:
    __slots__ = ("_connection", "_waiting")

    def __init__(self, waiting: dict[Connection, float], connection: Connection) -> None:
        self._waiting = waiting
        self._connection = connection

    def __enter__(self) -> None:
        self._waiting[self._connection] = trio.current_time()

    def __exit__(self, *_: object) -> None:
        self._waiting.pop(self._connection, None)


@dataclass(eq=False, slots=True)
class Seat:
    """One connection's place, from before its handshake on."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    connection: Connection | None = None

    @property
    def is_spare(self) -> bool:
        """Whether nothing is asked here yet, or any more: whoever loses it may ask again."""
        return self.connection is None or self.connection.is_asking


class Server:
    """All connections, and whose they are."""

    def __init__(self, app: App, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self.app = app
        self.limits = limits
        self.tabs = Tabs()
        self.draining = False
        self._tls = tls
        self._connections: set[Connection] = set()
        self._left = trio.Event()
        self._seats: dict[str, dict[Seat, None]] = {}
        """Of each peer, the one it has had longest first."""
        self._all = 0
        self._held = 0
        self._sent = 0

    @property
    def connections(self) -> int:
        return self._all

    @contextmanager
    def known(self, connection: Connection) -> Iterator[None]:
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    async def look_after(self) -> None:
        """Lets go of whoever is gone or asks nothing. For all of them at once, so that a request costs no timer."""
        while True:
            await trio.sleep(GONE_S)
            self.tabs.look()
            now = trio.current_time()
            for connection in list(self._connections):
                connection.drop_if_idle(now)

    async def wait_empty(self) -> None:
        """Until nobody is connected any more."""
        while self._all:
            self._left = trio.Event()
            await self._left.wait()

    def drain(self) -> None:
        """Takes nothing new."""
        self.draining = True
        for connection in list(self._connections):
            connection.finish()

    def cut(self) -> None:
        for connection in list(self._connections):
            connection.cut()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Room for a large body, from its first byte to the answer. Small ones need none, so giants never keep them out."""
        if self._held + size > self.limits.bodies_bytes:
            raise Bad(503, "too many large bodies are being sent at once")
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    @contextmanager
    def sending(self, response: Response, head: Head) -> Iterator[Response]:
        """Room for a large answer until it is sent; readers who take nothing may not fill this process with such ones."""
        size = len(response.body)
        if self._sent + size > self.limits.bodies_bytes:
            response, size = self.app.refused(Bad(503, "too many large answers are being sent at once"), head), 0
        self._sent += size
        try:
            yield response
        finally:
            self._sent -= size

    async def accept(self, raw: trio.SocketStream) -> None:
        """One connection from its first byte to its last. Never raises for what a peer does."""
        try:
            peer = one_of(str(raw.socket.getpeername()[0]))
        except OSError:  # it is gone already
            await trio.aclose_forcefully(raw)
            return
        full = self._all >= self.limits.connections
        if len(self._seats.get(peer, ())) >= self.limits.connections_per_peer or (full and not self._makes_room(peer)):
            await self._turn_away(raw)
            return
        self._all += 1
        seat = Seat()
        self._seats.setdefault(peer, {})[seat] = None
        try:
            with seat.scope:
                await self._run(raw, peer, seat)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # the peer is gone
        except* Exception:
            LOG.exception("a bug in the hub")
        finally:
            self._all -= 1
            self._leaves(peer, seat)
            self._left.set()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(raw)

    def _makes_room(self, peer: str) -> bool:
        """All places are taken: who has more of them than this peer gives up the oldest on which nothing is being worked out."""
        mine = len(self._seats.get(peer, ()))
        for other in sorted(self._seats, key=lambda each: len(self._seats[each]), reverse=True):
            if len(self._seats[other]) <= mine:
                return False
            for seat in self._seats[other]:
                if seat.is_spare:
                    seat.scope.cancel()
                    self._leaves(other, seat)
                    return True
        return False

    def _leaves(self, peer: str, seat: Seat) -> None:
        held = self._seats.get(peer, {})
        held.pop(seat, None)
        if not held:
            self._seats.pop(peer, None)

    async def _run(self, raw: trio.SocketStream, peer: str, seat: Seat) -> None:
        if self._tls is None:
            seat.connection = Connection(raw, raw, peer, self)
            await seat.connection.run()
            return
        secure = trio.SSLStream(raw, self._tls, server_side=True, https_compatible=True)
        with trio.fail_after(self.limits.head_s):
            await secure.do_handshake()
        seat.connection = Connection(secure, raw, peer, self)
        await seat.connection.run()

    async def _turn_away(self, raw: trio.SocketStream) -> None:
        """One too many: a word where it can be said at once, and no waiting."""
        response = self.app.refused(Bad(503, "too many connections are open"), None)
        if self._tls is None:
            with suppress(OSError), socket.socket(fileno=os.dup(raw.socket.fileno())) as now:
                now.send(_written(response, None, keep=False), socket.MSG_DONTWAIT)
        await trio.aclose_forcefully(raw)


async def serve(server: Server, listeners: Iterable[trio.SocketListener], told: trio.Event) -> None:
    """Serves until it is told to end, and then finishes what is under way. The one function that starts a server."""
    async with trio.open_nursery() as around:
        around.start_soon(server.look_after)
        async with trio.open_nursery() as callers:
            async with trio.open_nursery() as doors:
                doors.start_soon(partial(trio.serve_listeners, server.accept, list(listeners), handler_nursery=callers))
                await told.wait()
                doors.cancel_scope.cancel()
            server.drain()
            callers.start_soon(_hurried, server, callers.cancel_scope)
        around.cancel_scope.cancel()


async def _hurried(server: Server, scope: trio.CancelScope) -> None:
    """Waits for those who are being answered, and not for ever."""
    with trio.move_on_after(DRAIN_S):
        await server.wait_empty()
        scope.cancel()
        return
    server.cut()
    await trio.sleep(LAST_WORDS_S)
    scope.cancel()
