"""Talk to irerd from a trio program: the twin of `irerctl.client`, for many tasks at once over one connection.

    import trio
    from irerctl.aio import Client, Error

    async def main():
        async with Client() as irer:                          # the socket: IRER_SOCKET, or the first usual place that exists
            try:
                reply = await irer.call("resource.scale", {"pool": "compute", "size": 8})
                print(reply.result["to_units"], reply.receipt["seq"])
            except Error as error:                            # error.code is stable, its texts are for people
                print(error.code, error.detail)
            async with irer.stream("system.watch", {"engine": "resource"}) as events:
                async for event in events:
                    print(event["type"])

    trio.run(main)

Cancelling a task cancels its call in the daemon. Keys, retries and restarts are as in `irerctl.client`; nothing here knows
frames or CBOR, for `core.wire` does.
"""

import math
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import trio

from core.wire.calls import Answered, Bye, ClientConnection, Done, Err, Item, Mark, ProtocolError, Welcome
from core.wire.codec import CodecError
from irerctl.client import (
    AUTO,
    DEADLINE_MS_MAX,
    FATAL_BYES,
    GRACE_S,
    IN_FLIGHT_MAX,
    NO_ANSWER,
    RETRY_S,
    Auto,
    Error,
    Reply,
    Unreachable,
    after_no_answer,
    delay_s,
    error_of,
    find_socket,
    is_passing,
    unreachable,
)

__all__ = ["AUTO", "Auto", "Client", "Error", "Reply", "Stream", "Unreachable", "find_socket"]

Connect = Callable[[], Awaitable[trio.abc.Stream]]


class _Lost(ConnectionError):
    """The connection ended before the answer."""


class _Waiter:
    """One call that waits for its terminal frame."""

    __slots__ = ("answer", "ended")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.answer: Done | Err | Item | None = None


class _Link:
    """One connection shared by many tasks. Frames leave whole, whoever is cancelled."""

    def __init__(self, path: str, stream: trio.abc.Stream, name: str) -> None:
        self.wire = ClientConnection()
        self.welcome: Welcome | None = None
        self.farewell: Bye | None = None
        self.lost = False
        self.error: Error | None = None
        self.changed = trio.Event()
        """Set, and made anew, whenever a waiting task should look again."""
        self.scope = trio.CancelScope()
        self._path = path
        self._stream = stream
        self._waiters: dict[int, _Waiter] = {}
        self._unsent = bytearray(self.wire.hello(name))
        self._filled = trio.Event()
        self._filled.set()

    @property
    def usable(self) -> bool:
        return not (self.lost or self.farewell is not None or self.wire.spent)

    async def run(self) -> None:
        """Sends and receives until the connection ends."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send)
                    await self._receive()
                    nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # whoever waits is told below
        finally:
            self.lost = True
            for waiter in self._waiters.values():
                waiter.ended.set()
            self._wake()
            await trio.aclose_forcefully(self._stream)

    async def start(self) -> None:
        """Until the daemon has said who it is. Raises OSError, or its refusal."""
        while self.welcome is None:
            self.check()
            await self.changed.wait()

    def check(self) -> None:
        """Raises why nothing can be asked here, if that is so for good."""
        if self.error is not None:
            raise self.error
        if self.lost:
            refusal = _refusal(self.farewell)
            raise refusal or _Lost("the connection ended")

    async def wait_room(self) -> bool:
        """Until one more call may be in flight here; False when this connection takes no more."""
        limit = IN_FLIGHT_MAX if self.welcome is None else min(IN_FLIGHT_MAX, int(self.welcome.limits.get("calls", IN_FLIGHT_MAX)))
        while self.usable and self.wire.open_count >= limit:
            await self.changed.wait()
        return self.usable

    async def ask(self, message: dict[str, Any]) -> Done | Err | Item:
        """Sends one call and waits for its end. Cancelled, it tells the daemon."""
        id, data = self.wire.call(**message)
        waiter = self._waiters[id] = _Waiter()
        self._put(data)
        try:
            await waiter.ended.wait()
        except trio.Cancelled:
            self._put(self.wire.cancel(id))
            raise
        finally:
            del self._waiters[id]
        if waiter.answer is None:
            self.check()
            raise _Lost("the connection ended")
        if isinstance(waiter.answer, Item):
            self._put(self.wire.cancel(id))
        return waiter.answer

    def _put(self, data: bytes) -> None:
        self._unsent += data
        self._filled.set()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            data, self._unsent = bytes(self._unsent), bytearray()
            await self._stream.send_all(data)

    async def _receive(self) -> None:
        while not (self.farewell is not None and not self.wire.open_count):
            data = await self._stream.receive_some()
            if not data:
                return
            try:
                messages = self.wire.receive(bytes(data))
            except ProtocolError as error:
                messages = error.messages
                self.error = Unreachable(self._path, f"what answers there is not irerd: {error}", passing=False)
            for message in messages:
                self._deliver(message)
            self._wake()
            if self.error is not None:
                return

    def _deliver(self, message: Answered) -> None:
        if isinstance(message, Welcome):
            self.welcome = message
        elif isinstance(message, Bye):
            self.farewell = message
        elif not isinstance(message, Mark):
            waiter = self._waiters.get(message.id)
            if waiter is not None and waiter.answer is None:
                waiter.answer = message
                waiter.ended.set()


def _refusal(farewell: Bye | None) -> Error | None:
    if farewell is None or farewell.why not in FATAL_BYES:
        return None
    return error_of(farewell.e or {"code": "permission-denied", "detail": f"the daemon said bye: {farewell.why}"})


class _Patience:
    """How long an absent daemon has been waited for."""

    def __init__(self, retry_s: float, deadline: float = math.inf) -> None:
        self._retry_s = retry_s
        self._deadline = deadline
        self.reset()

    def reset(self) -> None:
        self._since = math.inf
        self._failures = 0

    async def wait(self, retry_ms: int | None = None) -> bool:
        """Sleeps until it is time to try again; False when it is not worth it any more."""
        now = trio.current_time()
        self._since = min(self._since, now)
        if now - self._since >= self._retry_s or now >= self._deadline:
            return False
        self._failures += 1
        await trio.sleep(delay_s(self._failures, retry_ms))
        return True


class Client:
    """A connection to irerd that tasks share, opened when needed and again when lost."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = 30.0,
        client: str = "irerctl.aio",
        *,
        retry_s: float = RETRY_S,
        connect: Connect | None = None,
    ) -> None:
        """`timeout` is every call's deadline; `retry_s` is how long an absent daemon is waited for (0: not at all)."""
        self.path = os.fspath(path) if path is not None else find_socket()
        self.timeout = timeout
        self.retry_s = retry_s
        self._name = client
        self._connect = connect or self._connect_unix
        self._connecting = trio.Lock()
        self._link: _Link | None = None
        self._manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> "Client":
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the connection. The error of the body leaves as it is: it is not wrapped in a group."""
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(None, None, None)

    async def welcome(self) -> Welcome:
        """What the daemon says of itself: server, instance, limits, schema, peer, state."""
        patience = _Patience(self.retry_s)
        while True:
            try:
                link = await self._usable()
            except OSError as lost:
                error = unreachable(self.path, lost)
                if not (is_passing(error) and await patience.wait()):
                    raise error from lost
            else:
                assert link.welcome is not None
                return link.welcome

    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        idem: str | Auto | None = AUTO,
        deadline_ms: int | None = None,
        dry: bool = False,
        as_: str | None = None,
    ) -> Reply:
        """The answer to one call. Raises Error. Without a key (`idem=None`) a lost answer is not asked for again."""
        if isinstance(idem, Auto):
            idem = None if dry else os.urandom(16).hex()
        message: dict[str, Any] = {"m": method, "p": params, "idem": idem, "dry": dry, "as_": as_}
        seconds = self.timeout if deadline_ms is None else deadline_ms / 1000
        deadline = math.inf if seconds is None else trio.current_time() + seconds
        unsure = _Unsure(repeatable=dry or idem is not None, dry=dry)
        with trio.move_on_at(deadline + GRACE_S):
            return await self._ask_patiently(message, deadline, unsure)
        data = {"idem": idem} if idem is not None else None
        raise Error("deadline-exceeded", "time ran out", NO_ANSWER, data=data, effect=unsure.effect, help=after_no_answer(idem))

    async def pipeline(
        self, calls: Iterable[tuple[str, Mapping[str, Any] | None]], *, deadline_ms: int | None = None
    ) -> list[Reply | Error]:
        """Many calls at once: their outcomes, in the order asked. An error stands in its place."""
        outcomes: dict[int, Reply | Error] = {}
        asked = enumerate(calls)

        async def work() -> None:
            for place, (method, params) in asked:
                try:
                    outcomes[place] = await self.call(method, params, deadline_ms=deadline_ms)
                except Error as error:
                    outcomes[place] = error

        async with trio.open_nursery() as nursery:
            for _ in range(IN_FLIGHT_MAX):
                nursery.start_soon(work)
        return [outcomes[place] for place in sorted(outcomes)]

    def stream(self, method: str, params: Mapping[str, Any] | None = None, *, as_: str | None = None) -> "Stream":
        """The items of a streaming method, over a connection of its own. Use it with `async with`."""
        return Stream(self, method, params, as_)

    async def _ask_patiently(self, message: dict[str, Any], deadline: float, unsure: "_Unsure") -> Reply:
        patience = _Patience(self.retry_s, deadline)
        while True:
            try:
                answer = await self._ask(message, deadline, unsure)
                if isinstance(answer, Done):
                    return Reply(answer.r, answer.rc, answer.replayed, answer.cur)
                error = error_of(answer.e)
                again = error.effect == "none" or unsure.repeatable
            except OSError as lost:
                error = unreachable(self.path, lost)
                error.effect = unsure.effect
                again = unsure.repeatable or not unsure.sent
            if not (again and is_passing(error) and await patience.wait(error.retry_ms)):
                raise error

    async def _ask(self, message: dict[str, Any], deadline: float, unsure: "_Unsure") -> Done | Err:
        """One attempt."""
        link = await self._usable()
        while not await link.wait_room():
            link = await self._usable()
        left_ms = None if math.isinf(deadline) else round((deadline - trio.current_time()) * 1000)
        dl = None if left_ms is None else min(max(left_ms, 1), DEADLINE_MS_MAX)
        before, unsure.sent = unsure.sent, True
        try:
            answer = await link.ask({**message, "dl": dl})
        except CodecError as error:
            unsure.sent = before
            raise Error("invalid-argument", "the parameters are not acceptable", str(error)) from error
        except Error as error:
            error.effect = unsure.effect
            raise
        unsure.sent = before
        if isinstance(answer, Item):
            raise Error("failed-precondition", "not possible in this state", f"{message['m']} streams; ask for it as a stream")
        return answer

    async def _usable(self) -> _Link:
        """A connection on which something new may be sent."""
        if self._link is not None and self._link.usable:
            return self._link
        async with self._connecting:
            if self._link is None or not self._link.usable:
                if self._nursery is None:
                    raise RuntimeError("use the client inside `async with`")
                self._link = None
                link = _Link(self.path, await self._connect(), self._name)
                self._nursery.start_soon(link.run)
                try:
                    await link.start()
                except BaseException:
                    link.scope.cancel()
                    raise
                self._link = link
            return self._link

    async def open_stream(self) -> trio.abc.Stream:
        return await self._connect()

    async def _connect_unix(self) -> trio.abc.Stream:
        sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        try:
            await sock.connect(self.path)
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)


class _Unsure:
    """What is known about one call: whether it may have been done without our having heard of it."""

    def __init__(self, *, repeatable: bool, dry: bool) -> None:
        self.repeatable = repeatable
        self.sent = False
        self._dry = dry

    @property
    def effect(self) -> str:
        return "unknown" if self.sent and not self._dry else "none"


class Stream:
    """The items of one streaming call. `cursor` is the place reached; after a restart the stream goes on from there."""

    def __init__(self, client: Client, method: str, params: Mapping[str, Any] | None, as_: str | None) -> None:
        self.cursor: str | None = None
        self.result: Any = None
        """What the stream said when it ended by itself."""
        self._client = client
        self._method = method
        self._params = dict(params or {})
        self._as = as_
        self._stream: trio.abc.Stream | None = None
        self._wire = ClientConnection()
        self._messages: deque[Answered] = deque()
        self._farewell: Bye | None = None
        self._patience = _Patience(client.retry_s)
        self._seen = self._over = False

    async def __aenter__(self) -> "Stream":
        await self._ensure()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._over:
            try:
                message = await self._next()
                if isinstance(message, Item):
                    self._reach(message.cur)
                    self._seen = True
                    return message.r
                await self._heed(message)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as lost:
                await self._recover(lost)
        raise StopAsyncIteration

    async def cancel(self) -> None:
        """Stop the stream, and give it a second to say how it ended."""
        self._over = True
        if self._stream is not None:
            with trio.move_on_after(GRACE_S):
                try:
                    for id in self._wire.open_ids:
                        await self._stream.send_all(self._wire.cancel(id))
                    while self._wire.open_ids:
                        await self._next()
                except (OSError, trio.BrokenResourceError, Error):
                    pass  # it ended, one way or the other
        await self.aclose()

    async def aclose(self) -> None:
        """The end of its connection ends the call."""
        self._over = True
        await self._drop()

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _ensure(self) -> trio.abc.Stream:
        while self._stream is None:
            try:
                await self._open()
            except (OSError, trio.BrokenResourceError) as lost:
                await self._recover(lost)
            except CodecError as error:
                await self.aclose()
                raise Error("invalid-argument", "the parameters are not acceptable", str(error)) from error
        return self._stream

    async def _open(self) -> None:
        self._wire, self._farewell = ClientConnection(), None
        self._messages.clear()
        params = self._params | ({"since": self.cursor} if self.cursor is not None else {})
        hello = self._wire.hello(self._client._name)
        _, call = self._wire.call(self._method, params, as_=self._as)
        stream = await self._client.open_stream()
        try:
            await stream.send_all(hello + call)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        self._stream = stream

    async def _next(self) -> Answered:
        while not self._messages:
            data = await (await self._ensure()).receive_some(65_536)
            if not data:
                raise _Lost("the connection ended")
            try:
                self._messages.extend(self._wire.receive(bytes(data)))
            except ProtocolError as error:
                await self.aclose()
                raise Unreachable(self._client.path, f"what answers there is not irerd: {error}", passing=False) from None
        return self._messages.popleft()

    async def _heed(self, message: Answered) -> None:
        if isinstance(message, Bye):
            self._farewell = message
        elif isinstance(message, Mark):
            self._reach(message.cur)
        elif isinstance(message, Err):
            await self._retry(error_of(message.e))
        elif isinstance(message, Done):
            self._reach(message.cur)
            self.result = message.r
            await self.aclose()

    def _reach(self, cursor: str | None) -> None:
        self.cursor = cursor if cursor is not None else self.cursor
        self._patience.reset()

    async def _recover(self, lost: BaseException) -> None:
        error = lost if isinstance(lost, OSError) else _Lost("the connection ended")
        await self._retry(_refusal(self._farewell) or unreachable(self._client.path, error))

    async def _retry(self, error: Error) -> None:
        """Waits to ask again, or raises: a stream without cursors cannot go on from the middle."""
        await self._drop()
        whole = self.cursor is not None or not self._seen
        if not (whole and is_passing(error) and await self._patience.wait(error.retry_ms)):
            self._over = True
            raise error
