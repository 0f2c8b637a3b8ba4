"""The Model Context Protocol as a server speaks it, sans-IO: bytes in, what to do and the bytes to send out.

Two ways of speaking are known, on one connection and told apart request by request: revisions that begin with a handshake
(`initialize`), and the one whose every request names its revision itself. A message is one line of JSON. Knows no socket, no
clock and no method of irer. Must never answer a request twice, nor one that was cancelled.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

HANDSHAKES = ("2024-11-05", "2025-06-18", "2025-11-25")
"""Revisions that begin with `initialize`. 2025-03-26 alone has messages in lists, which nobody sends: its clients get another."""
BY_REQUEST = ("2026-07-28",)
META = "io.modelcontextprotocol/"
LINE_BYTES_MAX = 1 << 20
IN_FLIGHT_MAX = 32
ID_CHARS_MAX = 128
PAGE = 64
LIST_TTL_MS = 3_600_000
"""The list is made from what is installed, so it stays the same as long as the process."""

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
BUSY = -32000
UNSUPPORTED_VERSION = -32022

Id = str | int


class Said(ValueError):
    """A request that is refused by the protocol itself."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({"data": data} if data is not None else {})


class Send(NamedTuple):
    """These bytes go out."""

    data: bytes


class Begin(NamedTuple):
    """A tool is called. Its end is told with `done` or `failed`."""

    id: Id
    tool: str
    arguments: dict[str, Any]
    meta: Mapping[str, Any]
    progress: Id | None
    """Who wants to hear how far it is, by the caller's own word."""
    peer: str
    """Who calls, by its own word."""


class Stop(NamedTuple):
    """Nobody waits for the answer to this request any more."""

    id: Id


class _Open(NamedTuple):
    by_request: bool
    progress: Id | None


class Conversation:
    def __init__(self, listed: Sequence[Mapping[str, Any]], version: str, instructions: str) -> None:
        self.skipped = 0
        """Lines that were too long to be kept."""
        self._listed = {str(tool["name"]): tool for tool in listed}
        self._info = {"name": "irer", "title": "irer", "version": version}
        self._instructions = instructions
        self._revision: str | None = None
        self._peer = ""
        self._open: dict[Id, _Open] = {}
        self._told: dict[Id, float] = {}
        self._buffer = bytearray()
        self._skipping = False

    @property
    def in_flight(self) -> int:
        return len(self._open)

    # --- what comes in ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> Iterator[Send | Begin | Stop]:
        """What these bytes ask for, message by message. Never raises for what a peer sends."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if self._skipping:
                self._skipping = False
            elif len(line) > LINE_BYTES_MAX:
                yield self._too_long()
            elif line.strip():
                yield from self._heard(line)
        if len(self._buffer) > LINE_BYTES_MAX:
            self._buffer.clear()
            if not self._skipping:
                self._skipping = True
                yield self._too_long()

    def _too_long(self) -> Send:
        self.skipped += 1
        return self._refuse(None, Said(INVALID_REQUEST, f"a message has at most {LINE_BYTES_MAX} bytes; this one was not read"))

    def _heard(self, line: bytes) -> Iterator[Send | Begin | Stop]:
        try:
            message = _decoded(line)
        except Said as refused:
            yield self._refuse(None, refused)
            return
        if "method" not in message and "id" in message and ("result" in message or "error" in message):
            return  # an answer, and nothing was asked
        id = message.get("id")
        if "id" not in message:
            yield from self._noticed(message)
            return
        try:
            yield self._answered(_id(id), message)
        except Said as refused:
            yield self._refuse(id if _is_id(id) else None, refused)

    def _noticed(self, message: Mapping[str, Any]) -> Iterator[Stop]:
        """A notification has no answer, not even a refusal."""
        params = message.get("params")
        if message.get("method") == "notifications/cancelled" and isinstance(params, dict):
            id = params.get("requestId")
            if _is_id(id) and id in self._open:
                self._close(id)
                yield Stop(id)

    def _answered(self, id: Id, message: Mapping[str, Any]) -> Send | Begin:
        method, params = message.get("method"), message.get("params", {})
        if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
            raise Said(INVALID_REQUEST, 'a request is {"jsonrpc": "2.0", "id": …, "method": …, "params": {…}}')
        if id in self._open:
            raise Said(INVALID_REQUEST, f"request {id!r} is still being answered; give each its own id")
        if not isinstance(params, dict):
            raise Said(INVALID_PARAMS, "params is one JSON object")
        meta = params.get("_meta", {})
        if not isinstance(meta, dict):
            raise Said(INVALID_PARAMS, "_meta is one JSON object")
        by_request = f"{META}protocolVersion" in meta or method == "server/discover"
        return self._of_itself(id, method, params, meta) if by_request else self._after_handshake(id, method, params, meta)

    def _of_itself(self, id: Id, method: str, params: dict[str, Any], meta: dict[str, Any]) -> Send | Begin:
        """A request that names its revision."""
        revision = meta.get(f"{META}protocolVersion")
        if revision not in BY_REQUEST:
            data = {"supported": [*BY_REQUEST, *HANDSHAKES], "requested": revision}
            raise Said(UNSUPPORTED_VERSION, f"this revision is not spoken request by request; {BY_REQUEST[-1]} is", data)
        if not isinstance(meta.get(f"{META}clientCapabilities"), dict):
            raise Said(INVALID_PARAMS, f"_meta names {META}clientCapabilities, which may be an empty object")
        peer = _peer(meta.get(f"{META}clientInfo"))
        match method:
            case "server/discover":
                said = {"supportedVersions": list(BY_REQUEST), **self._abilities(), **_KEPT}
                return self._reply(id, said, by_request=True)
            case "tools/list":
                return self._reply(id, self._page(params) | _KEPT, by_request=True)
            case "tools/call":
                return self._begun(id, params, meta, peer, by_request=True)
        raise Said(METHOD_NOT_FOUND, f"this server has no {method[:64]}")

    def _after_handshake(self, id: Id, method: str, params: dict[str, Any], meta: dict[str, Any]) -> Send | Begin:
        match method:
            case "initialize":
                wanted = params.get("protocolVersion")
                if not isinstance(wanted, str):
                    raise Said(INVALID_PARAMS, "protocolVersion is a text")
                self._revision = wanted if wanted in HANDSHAKES else HANDSHAKES[-1]
                self._peer = _peer(params.get("clientInfo"))
                said = {"protocolVersion": self._revision, "serverInfo": self._info, **self._abilities()}
                return self._reply(id, said)
            case "ping":
                return self._reply(id, {})
            case _ if self._revision is None:
                text = f"initialize comes first, or each request names {META}protocolVersion in its _meta"
                raise Said(INVALID_REQUEST, text)
            case "tools/list":
                return self._reply(id, self._page(params))
            case "tools/call":
                return self._begun(id, params, meta, self._peer)
        raise Said(METHOD_NOT_FOUND, f"this server has no {method[:64]}")

    def _abilities(self) -> dict[str, Any]:
        return {"capabilities": {"tools": {"listChanged": False}}, "instructions": self._instructions}

    def _page(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The tools that follow the one the cursor names."""
        names, cursor, start = list(self._listed), params.get("cursor"), 0
        if cursor is not None:
            if not isinstance(cursor, str) or cursor not in self._listed:
                raise Said(INVALID_PARAMS, "this cursor came from no list of this server; begin without one")
            start = names.index(cursor) + 1
        shown = names[start : start + PAGE]
        page: dict[str, Any] = {"tools": [self._listed[name] for name in shown]}
        return page | ({"nextCursor": shown[-1]} if start + PAGE < len(names) else {})

    def _begun(self, id: Id, params: Mapping[str, Any], meta: dict[str, Any], peer: str, *, by_request: bool = False) -> Begin:
        tool, arguments = params.get("name"), params.get("arguments", {})
        if not isinstance(tool, str) or tool not in self._listed:
            raise Said(INVALID_PARAMS, f"there is no tool {str(tool)[:64]!r} here; tools/list names them")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise Said(INVALID_PARAMS, "arguments is one JSON object")
        progress = meta.get("progressToken")
        if progress is not None and not _is_id(progress):
            raise Said(INVALID_PARAMS, "progressToken is a text or a whole number")
        if len(self._open) >= IN_FLIGHT_MAX:
            raise Said(BUSY, f"{IN_FLIGHT_MAX} calls are being answered, which is the most; wait for one")
        self._open[id] = _Open(by_request, progress)
        return Begin(id, tool, arguments, meta, progress, peer)

    # --- what goes out ------------------------------------------------------------------------------------------------

    def done(self, id: Id, content: bytes, meta: Mapping[str, Any] | None = None) -> Send | None:
        """The answer of a tool, a JSON object as it is written; None when nobody waits for it any more."""
        said = {
            "content": [{"type": "text", "text": content.decode()}],
            "structuredContent": msgspec.Raw(content),
            "isError": False,
        }
        return self._end(id, said, meta)

    def failed(self, id: Id, text: str, meta: Mapping[str, Any] | None = None) -> Send | None:
        """A tool that failed says so as its answer: an agent may then do it better."""
        return self._end(id, {"content": [{"type": "text", "text": text}], "isError": True}, meta)

    def progress(self, id: Id, progress: float, total: float | None, message: str) -> Send | None:
        """How far a tool is; None where nobody asked, or it is no further than was told."""
        request = self._open.get(id)
        if request is None or request.progress is None or progress <= self._told.get(id, -1):
            return None
        self._told[id] = progress
        params = {"progressToken": request.progress, "progress": progress, "message": message}
        if total is not None:
            params["total"] = total
        return Send(_line({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))

    def _end(self, id: Id, said: dict[str, Any], meta: Mapping[str, Any] | None) -> Send | None:
        request = self._open.get(id)
        if request is None:
            return None
        self._close(id)
        return self._reply(id, said | ({"_meta": dict(meta)} if meta else {}), by_request=request.by_request)

    def _close(self, id: Id) -> None:
        self._open.pop(id, None)
        self._told.pop(id, None)

    def _reply(self, id: Id, said: dict[str, Any], *, by_request: bool = False) -> Send:
        if by_request:
            said = {**said, "resultType": "complete", "_meta": {**said.get("_meta", {}), f"{META}serverInfo": self._info}}
        return Send(_line({"jsonrpc": "2.0", "id": id, "result": said}))

    def _refuse(self, id: Id | None, refused: Said) -> Send:
        return Send(_line({"jsonrpc": "2.0", "id": id, "error": refused.error}))


_KEPT = {"ttlMs": LIST_TTL_MS, "cacheScope": "private"}
_encoder = msgspec.json.Encoder()


def _line(message: Mapping[str, Any]) -> bytes:
    return _encoder.encode(message) + b"\n"


def _decoded(line: bytes) -> dict[str, Any]:
    """One message. A name that stands twice in an object would mean two things. Raises Said."""
    try:
        message = msgspec.json.decode(line)
        json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Said(PARSE_ERROR, f"this line is no JSON: {error}") from None
    if not isinstance(message, dict):
        raise Said(INVALID_REQUEST, "a message is one JSON object on a line; lists of them are not taken")
    return message


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice in one object")


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= ID_CHARS_MAX
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


def _id(value: Any) -> Id:
    if not _is_id(value):
        raise Said(INVALID_REQUEST, f"an id is a whole number or a text of at most {ID_CHARS_MAX} characters")
    found: Id = value
    return found


def _peer(info: Any) -> str:
    """Who calls, as one short word for the daemon; whatever it says of itself is believed by nobody."""
    if not isinstance(info, dict):
        return ""
    said = f"{info.get('name', '')}/{info.get('version', '')}"
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in said)[:64]
