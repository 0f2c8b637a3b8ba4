"""Events over HTTP: server-sent events and WebSocket, from the same flow of messages.

A flow goes on by its cursor: over irerd's restarts, and after a reader that fell behind has caught up. So what may wait for one
reader is bounded, and one that takes nothing is let go by its connection; it comes back with the last cursor it saw.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import trio
from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from core.wire.calls import Done, Err, Item, Mark
from irerctl.hub.answers import TooLong, encode
from irerctl.hub.http1 import Head
from irerctl.hub.link import NO_TOKEN, Ask, Daemon, Failed, Opened, failed
from irerctl.hub.server import LAST_WORDS_S, Connection

PROTOCOL = "irer.json.v1"
FIRST_WORD_S = 0.5
"""How long a refusal is waited for before an answer is begun: after that it can only be told within the stream."""
FROM_BROWSER_BYTES_MAX = 4_096
RETRY_MS = 1_000
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Said(NamedTuple):
    """One message of a flow: item, mark, end, problem (both the last), away or back (irerd went, irerd is there again)."""

    kind: str
    value: Any = None
    cursor: str | None = None


class Flow:
    """A streaming call as one reader sees it."""

    def __init__(self, daemon: Daemon, ask: Ask, key: str | None, *, resumable: bool) -> None:
        self._daemon = daemon
        self._ask = ask
        self._key = key
        self._resumable = resumable
        since = ask.params.get("since")
        self._cursor: str | None = since if isinstance(since, str) else None
        self._opened: Opened | None = None
        self._first: Item | Mark | Done | Err | None = None
        self._refused: Mapping[str, Any] | None = None

    async def begin(self) -> None:
        """Opens it. Raises Failed where the daemon refuses at once."""
        self._opened = await self._daemon.open(self._ask, self._key, resumable=self._resumable)
        self._first = None
        try:
            with trio.move_on_after(FIRST_WORD_S):
                self._first = await self._opened.inbox.next()
            if isinstance(self._first, Err):
                raise Failed(_in_our_words(self._first.e))
        except BaseException:
            self.close()
            raise

    def refuse(self, body: Mapping[str, Any]) -> None:
        """Whoever reads may not any more: the next word is the last."""
        self._refused = body
        if self._opened is not None:
            self._opened.inbox.lose("refused")

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    async def next(self) -> Said:
        """What comes next. After `end` or `problem` nothing does."""
        if self._opened is None and self._refused is None:
            return await self._taken_up() or Said("back")
        message = None
        if self._opened is not None and self._refused is None:
            message, self._first = self._first or await self._opened.inbox.next(), None
        if self._refused is not None or self._opened is None:
            self.close()
            return Said("problem", self._refused)
        match message:
            case Item():
                self._cursor = message.cur or self._cursor
                return Said("item", message.r, message.cur)
            case Mark():
                self._cursor = message.cur
                return Said("mark", cursor=message.cur)
            case Done():
                self.close()
                return Said("end", message.r)
            case Err():
                self.close()
                return self._over(_in_our_words(message.e))
        behind = self._opened.inbox.behind
        why = self._opened.inbox.lost or "the connection ended"
        self.close()
        if behind:
            return await self._taken_up() or await self.next()
        return self._over(failed("unavailable", f"irerd does not answer: {why}", reason="no-daemon", retry_ms=RETRY_MS).body)

    def _over(self, body: Mapping[str, Any]) -> Said:
        """A passing trouble is waited out where the stream can go on from a cursor."""
        if body.get("code") == "unavailable" and self._resumable and self._cursor is not None:
            return Said("away", body)
        return Said("problem", body)

    async def _taken_up(self) -> Said | None:
        """Goes on where it stopped, as soon as there is a daemon that lets it; a problem if it does not."""
        self._ask = self._ask._replace(params={**self._ask.params, "since": self._cursor})
        while True:
            changed = self._daemon.changed
            try:
                await self.begin()
                return None
            except Failed as failure:
                if failure.body.get("code") != "unavailable":
                    return Said("problem", failure.body)
            if self._daemon.present:
                await trio.sleep(RETRY_MS / 1000)
            else:
                await changed.wait()


def _in_our_words(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """One text for a token that is no good, whoever says it."""
    if body.get("code") == "unauthenticated" and body.get("reason") == "token-refused":
        return failed("unauthenticated", NO_TOKEN, reason="token-refused").body
    return body


# --- server-sent events ---------------------------------------------------------------------------------------------------


def as_event(said: Said) -> bytes:
    """One block. A JSON text has no line end in it, so it is one line of data."""
    match said.kind:
        case "item":
            mark = b"id: %b\n" % said.cursor.encode() if said.cursor is not None and _is_line(said.cursor) else b""
            return b"%bdata: %b\n\n" % (mark, encode(said.value))
        case "mark":
            return b"id: %b\n\n" % said.cursor.encode() if said.cursor and _is_line(said.cursor) else b": \n\n"
        case "away":
            return b"event: away\ndata: %b\n\n" % encode(said.value)
        case "back":
            return b"event: back\ndata: {}\n\n"
        case "end":
            return b"event: end\ndata: %b\n\n" % encode(said.value)
    return b"event: problem\ndata: %b\n\n" % encode(said.value)


def _is_line(text: str) -> bool:
    return text.isascii() and text.isprintable()


async def send_events(connection: Connection, flow: Flow) -> None:
    """Sends until the stream ends, the reader goes, or it takes nothing for too long."""
    try:
        await connection.send(b"retry: %d\n\n" % RETRY_MS)
        while True:
            connection.patient()
            said = await flow.next()
            try:
                data = as_event(said)
            except TooLong as error:
                said = Said("problem", failed("resource-exhausted", str(error), reason="array-too-long").body)
                data = as_event(said)
            await connection.send(data)
            if said.kind in ("end", "problem"):
                return
    finally:
        flow.close()


# --- WebSocket ------------------------------------------------------------------------------------------------------------


def handshake(head: Head) -> list[tuple[str, str]]:
    """The headers that accept a WebSocket. Raises Failed for a request that is not one, or offers another protocol only."""
    headers = head.headers
    if headers.get("sec-websocket-version") != "13":
        raise failed("invalid-argument", "a WebSocket has version 13 here", reason="websocket-version")
    key = headers.get("sec-websocket-key", "")
    try:
        good = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        good = False
    if not good or head.method != "GET" or head.length != 0:
        raise failed("invalid-argument", "this is no request for a WebSocket", reason="websocket")
    accepted = base64.b64encode(hashlib.sha1((key + _ACCEPT).encode(), usedforsecurity=False).digest()).decode()
    made = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accepted)]
    offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",") if each.strip()]
    if offered and PROTOCOL not in offered:
        raise failed("invalid-argument", f"the protocol spoken here is {PROTOCOL}", reason="websocket-protocol")
    return [*made, ("Sec-WebSocket-Protocol", PROTOCOL)] if offered else made


def wants_websocket(head: Head) -> bool:
    upgrade, connection = head.headers.get("upgrade", ""), head.headers.get("connection", "")
    return upgrade.lower() == "websocket" and "upgrade" in [each.strip().lower() for each in connection.split(",")]


def as_message(said: Said) -> str:
    body: dict[str, Any] = {"t": said.kind}
    if said.value is not None:
        body["e" if said.kind in ("problem", "away") else "r"] = said.value
    if said.cursor is not None:
        body["cur"] = said.cursor
    return str(encode(body), "utf-8")


class Socket:
    """One WebSocket: messages go out, of what comes in only the frames that keep it alive and end it."""

    def __init__(self, connection: Connection, flow: Flow) -> None:
        self._connection = connection
        self._flow = flow
        self._frames = Frames(ConnectionType.SERVER)
        self._turn = trio.Lock()
        self._received = 0
        self._sending = False
        """Or given up in the middle of a frame, behind which no other may stand."""

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_all, nursery.cancel_scope)
                await self._receive_all()
                nursery.cancel_scope.cancel()
        finally:
            self._flow.close()
            if self._frames.state is ConnectionState.OPEN and not self._sending:  # the hub ends, or nobody is there
                with trio.move_on_after(LAST_WORDS_S, shield=True), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._send(CloseConnection(CloseReason.GOING_AWAY))

    async def _send_all(self, scope: trio.CancelScope) -> None:
        while True:
            said = await self._flow.next()
            try:
                text = as_message(said)
            except TooLong as error:
                said = Said("problem", failed("resource-exhausted", str(error), reason="array-too-long").body)
                text = as_message(said)
            await self._send(TextMessage(text))
            if said.kind in ("end", "problem"):
                await self._send(CloseConnection(CloseReason.NORMAL_CLOSURE))
                scope.cancel()

    async def _receive_all(self) -> None:
        while True:
            data = await self._connection.receive()
            if not data:
                return
            try:
                self._frames.receive_data(data)
                for event in self._frames.events():
                    if not await self._heeded(event):
                        return
            except RemoteProtocolError as error:
                reason = error.event_hint.code if isinstance(error.event_hint, CloseConnection) else CloseReason.PROTOCOL_ERROR
                await self._send(CloseConnection(reason))
                return

    async def _heeded(self, event: Any) -> bool:
        """Whether to go on."""
        match event:
            case Ping():
                await self._send(event.response())
            case CloseConnection():
                await self._send(event.response())
                return False
            case TextMessage() | BytesMessage():
                self._received += len(event.data)
                if self._received > FROM_BROWSER_BYTES_MAX:
                    await self._send(CloseConnection(CloseReason.MESSAGE_TOO_BIG, "this socket only tells"))
                    return False
            case Pong():
                pass
        return True

    async def _send(self, event: Any) -> None:
        async with self._turn:
            try:
                data = self._frames.send(event)
            except LocalProtocolError:  # it is closing already
                return
            self._sending = True
            await self._connection.send(data)
            self._sending = False
            self._connection.patient()
