"""Talk to irerd from a program that blocks. One file on the standard library and cbor2: an application may carry it along.

    from irerctl.client import Client, Error

    with Client() as irer:                                    # the socket: IRER_SOCKET, or the first usual place that exists
        try:
            reply = irer.call("resource.scale", {"pool": "compute", "size": 8})
            print(reply.result["to_units"], reply.receipt["seq"])
        except Error as error:                                # error.code is stable, its texts are for people
            print(error.code, error.detail)
        for event in irer.stream("system.watch", {"engine": "resource"}):
            print(event["type"])

Every call has an idempotency key, so the client may ask again when the daemon restarts and nothing is done twice. It never
imports anything of irer, and never trusts the length, the depth or the numbers in what it reads. Not for several threads.
"""

import contextlib
import math
import os
import select
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from io import BytesIO
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn

import cbor2

MAGIC = b"\xd8\x18\x5a"
HEADER_LEN = 7
FRAME_MAX = 1024 * 1024 + 64 * 1024
DEPTH_MAX = 32
VALUES_MAX = 100_000
INT_MAX = 2**53 - 1
ID_MAX = 2**32 - 1
DEADLINE_MS_MAX = 3_600_000
EARLY_CALLS_MAX = 8
EARLY_BYTES_MAX = 64 * 1024
IN_FLIGHT_MAX = 64
RETRY_S = 10.0
GRACE_S = 1.0
"""How much longer than its deadline an answer is waited for, and how long a cancelled call has to say its last word."""
_DELAY_MIN_S = 0.05
_DELAY_MAX_S = 1.0
_SEND_STUCK_S = 30.0
PATH_BYTES_MAX = 107
"""The longest path that the kernel takes for a socket."""
NO_ANSWER = "no answer in time"
FATAL_BYES = frozenset({"protocol", "version", "denied", "limit"})


class Auto(Enum):
    AUTO = "auto"


AUTO: Final = Auto.AUTO
"""As `idem`: the client makes a key."""


class Error(Exception):
    """What the daemon refused, or could not do. `code` is stable; `effect` is `unknown` when it may have been done."""

    def __init__(
        self,
        code: str,
        title: str = "",
        detail: str = "",
        reason: str | None = None,
        fields: Sequence[Mapping[str, str]] = (),
        data: Mapping[str, Any] | None = None,
        retry_ms: int | None = None,
        effect: str = "none",
        help: str | None = None,
        instance: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail or title}")
        self.code = code
        self.title = title
        self.detail = detail
        self.reason = reason
        self.fields = list(fields)
        self.data = dict(data or {})
        self.retry_ms = retry_ms
        self.effect = effect
        self.help = help
        self.instance = instance


class Unreachable(Error):
    """No daemon answers at `path`. `why` says what the system said; `passing` whether waiting may help."""

    def __init__(self, path: str, why: str, effect: str = "none", *, passing: bool = True) -> None:
        super().__init__("unavailable", "the daemon cannot answer now", f"no daemon at {path} ({why})", effect=effect)
        self.path = path
        self.why = why
        self.passing = passing


def error_of(body: Mapping[str, Any]) -> Error:
    """The error a message carries. What a newer daemon adds to it is left out."""
    known = ("title", "detail", "reason", "fields", "data", "retry_ms", "effect", "help", "instance")
    return Error(str(body.get("code", "internal")), **{name: body[name] for name in known if name in body})


class Reply(NamedTuple):
    """receipt: where in the log the write stands; replayed: it was done before, under the same key."""

    result: Any
    receipt: dict[str, Any] | None
    replayed: bool
    cursor: str | None


def find_socket() -> str:
    """Where the daemon should be: IRER_SOCKET, else the first usual place that exists, else the place to expect it."""
    if named := os.environ.get("IRER_SOCKET"):
        return named
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [f"{runtime}/irer/irerd.sock"] if runtime else []
    places += ["/run/irer/irerd.sock", os.path.expanduser("~/.local/state/irer/irerd.sock")]
    return next(filter(os.path.exists, places), places[0])


# --- frames and values: the rules of core/wire, said again because this file stands alone ------------------------------


class ProtocolError(ValueError):
    """These bytes, or this value, are not a message."""


class Array:
    """Numbers as they travel: little-endian bytes, their type, and a row-major shape."""

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, data: bytes, shape: tuple[int, ...] | None = None) -> None:
        if dtype not in _CODES:
            raise ProtocolError(f"an array of {dtype} cannot be sent; use one of {', '.join(_CODES)}")
        count, rest = divmod(len(data), array(_CODES[dtype]).itemsize)
        if rest or (shape is not None and (not shape or min(shape) < 0 or math.prod(shape) != count)):
            raise ProtocolError(f"{len(data)} bytes are no array of {dtype} of that shape")
        self.dtype = dtype
        self.data = data
        self.shape = (count,) if shape is None else shape

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        return (self.dtype, self.shape, self.data) == (other.dtype, other.shape, other.data)

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape, self.data))

    @classmethod
    def of(cls, numbers: Iterable[float], dtype: str = "float64", shape: tuple[int, ...] | None = None) -> "Array":
        items = array(_CODES[dtype], numbers)
        if sys.byteorder == "big":
            items.byteswap()
        return cls(dtype, items.tobytes(), shape)

    def numbers(self) -> "array[Any]":
        items: array[Any] = array(_CODES[self.dtype])
        items.frombytes(self.data)
        if sys.byteorder == "big":
            items.byteswap()
        return items


_CODES = {"uint8": "B", "uint32": "I", "uint64": "Q", "int32": "i", "int64": "q", "float32": "f", "float64": "d"}
_TAGS = {64: "uint8", 70: "uint32", 71: "uint64", 78: "int32", 79: "int64", 85: "float32", 86: "float64"}
_TAG_OF = {dtype: tag for tag, dtype in _TAGS.items()}
_TAG_SHAPED = 40
_BUILT_IN_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_PLAIN = frozenset({str, bytes, bool, type(None), Array})


def _deny(*_: Any) -> NoReturn:
    raise ProtocolError("this tag is not allowed")


def _allow(tag: cbor2.CBORTag, _immutable: bool) -> Array:
    value: Any = tag.value
    if tag.tag in _TAGS and type(value) is bytes:
        return Array(_TAGS[tag.tag], value)
    if tag.tag == _TAG_SHAPED and isinstance(value, list | tuple) and len(value) == 2:
        shape, plain = value
        flat = type(plain) is Array and len(plain.shape) == 1
        if flat and isinstance(shape, list | tuple) and all(type(size) is int for size in shape):
            return Array(plain.dtype, plain.data, tuple(shape))
    raise ProtocolError(f"tag {tag.tag} is not allowed")


_STRICT: dict[str, Any] = {
    "max_depth": DEPTH_MAX,
    "allow_indefinite": False,
    "allow_duplicate_keys": False,
    "strict_hashable_types": True,
    "str_errors": "strict",
    "semantic_decoders": dict.fromkeys(_BUILT_IN_TAGS, _deny),
    "tag_hook": _allow,
}


def decode(body: bytes) -> dict[str, Any]:
    """The message in a frame's body."""
    source = BytesIO(body)
    try:
        message = cbor2.CBORDecoder(source, **_STRICT).decode()
    except Exception as error:
        raise ProtocolError(f"not CBOR of the form irer reads: {error}") from error
    if type(message) is not dict or source.tell() != len(body):
        raise ProtocolError("a body is one map and nothing else")
    _clean(message)
    return message


def encode(message: dict[str, Any]) -> bytes:
    """A whole frame."""
    _clean(message)
    try:
        body = cbor2.dumps(message, default=_write_array)
    except UnicodeEncodeError:
        raise ProtocolError("a text holds half a character (a lone surrogate)") from None
    if len(body) > FRAME_MAX:
        raise ProtocolError(f"a message of {len(body)} bytes is over the limit of {FRAME_MAX}")
    return MAGIC + len(body).to_bytes(4, "big") + body


def _write_array(encoder: cbor2.CBOREncoder, value: Array) -> None:
    plain = cbor2.CBORTag(_TAG_OF[value.dtype], value.data)
    encoder.encode(plain if len(value.shape) == 1 else cbor2.CBORTag(_TAG_SHAPED, [list(value.shape), plain]))


def _clean(message: dict[str, Any]) -> None:
    left = VALUES_MAX
    level: list[Any] = [message]
    for _ in range(DEPTH_MAX):
        deeper: list[Any] = []
        for container in level:
            left -= len(container)
            if left < 0:
                raise ProtocolError(f"a body holds at most {VALUES_MAX} values")
            if isinstance(container, dict):
                if not all(type(key) is str for key in container):
                    raise ProtocolError("the keys of a map are texts")
                container = container.values()
            for value in container:
                _check(value, deeper)
        if not deeper:
            return
        level = deeper
    raise ProtocolError(f"nesting is deeper than {DEPTH_MAX}")


def _check(value: Any, deeper: list[Any]) -> None:
    kind = type(value)
    if kind in _PLAIN:
        return
    if kind is int:
        if not -INT_MAX <= value <= INT_MAX:
            raise ProtocolError("a whole number is beyond 2**53 - 1; send it as text")
    elif kind is float:
        if not math.isfinite(value):
            raise ProtocolError("NaN and infinity are not values")
    elif kind is dict or kind is list or kind is tuple:
        deeper.append(value)
    else:
        raise ProtocolError(f"a value of type {kind.__name__} cannot be in a message")


# --- one connection ----------------------------------------------------------------------------------------------------


class _Ended(ConnectionError):
    """The other end closed the connection."""


class _Connection:
    """A socket with the conversation on it: ids, what is open, the hello and the last words. Raises OSError when it is lost."""

    def __init__(self, path: str, sock: socket.socket, client: str) -> None:
        self.path = path
        self.welcome: dict[str, Any] | None = None
        self.farewell: dict[str, Any] | None = None
        self.open: dict[int, int] = {}
        """Calls without a terminal frame, and how many items each has had."""
        self._abandoned: set[int] = set()
        self._sock = sock
        self._unsent = encode({"t": "hello", "proto": [1], "client": client})
        self._last_id = self._early_calls = self._early_bytes = 0
        self._buffer = bytearray()
        self._inbox: deque[dict[str, Any]] = deque()
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)

    @property
    def leaving(self) -> bool:
        """Whether nothing new may be sent here: the daemon said bye, or the ids have run out."""
        return self.farewell is not None or self._last_id >= ID_MAX

    @property
    def in_flight_max(self) -> int:
        return (
            IN_FLIGHT_MAX if self.welcome is None else min(IN_FLIGHT_MAX, int(self.welcome["limits"].get("calls", IN_FLIGHT_MAX)))
        )

    def close(self) -> None:
        self._sock.close()

    def call(self, message: dict[str, Any]) -> int:
        """Sends a call with the next id. The first one leaves together with the hello."""
        id = self._last_id + 1
        data = encode({"t": "call", "id": id, **message})
        self._check_room(data)
        self._last_id = id
        self.open[id] = 0
        self._send(data)
        return id

    def cancel(self, id: int) -> None:
        if id in self.open:
            self._send(encode({"t": "cancel", "id": id}))

    def abandon(self, id: int) -> None:
        """Stop a call and no longer care how it ends."""
        with contextlib.suppress(OSError):
            self.cancel(id)
        if self.open.pop(id, None) is not None:
            self._abandoned.add(id)
        self._inbox = deque(message for message in self._inbox if message.get("id") != id)

    def wait_welcome(self, until: float | None) -> dict[str, Any]:
        self._send(b"")
        while self.welcome is None:
            if not self._fill(until):
                raise TimeoutError("no welcome in time")
        return self.welcome

    def look(self) -> None:
        """Take what has arrived, without waiting: a bye, or the end, is seen before the next call is sent into it."""
        while self._fill(0.0):
            pass

    def next(self, until: float | None) -> dict[str, Any] | None:
        """The next message about a call, or a bye; None when `until` has passed."""
        while not self._inbox:
            if not self._fill(until):
                return None
        return self._inbox.popleft()

    def _check_room(self, data: bytes) -> None:
        """Until it is welcomed a client may send little; after that it knows its limit, and keeps it."""
        if self.welcome is None:
            self._early_calls += 1
            self._early_bytes += len(data)
            if self._early_calls <= EARLY_CALLS_MAX and self._early_bytes <= EARLY_BYTES_MAX:
                return
            welcome = self.wait_welcome(time.monotonic() + _SEND_STUCK_S)
        else:
            welcome = self.welcome
        limit = int(welcome["limits"].get("frame", FRAME_MAX))
        if len(data) - HEADER_LEN > limit:
            raise ProtocolError(f"a call of {len(data)} bytes is over the limit of {limit}")

    def _send(self, data: bytes) -> None:
        """Sends, and reads while it cannot: two ends that both only write would wait for each other."""
        left = memoryview(self._unsent + data)
        self._unsent = b""
        while left:
            try:
                left = left[self._sock.send(left, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait_writable()
            except OSError:
                self.look()  # the last words may say why
                raise

    def _wait_writable(self) -> None:
        either = select.poll()
        either.register(self._sock, select.POLLIN | select.POLLOUT)
        ready = either.poll(_SEND_STUCK_S * 1000)
        if not ready:
            raise TimeoutError("the daemon takes nothing")
        if ready[0][1] & select.POLLIN:
            self._fill(0.0)

    def _fill(self, until: float | None) -> bool:
        """Reads once, at the latest when `until` has passed; False when nothing came."""
        left_ms = None if until is None else max(0.0, until - time.monotonic()) * 1000
        if not self._readable.poll(left_ms):
            return False
        data = self._sock.recv(65_536)
        if not data:
            raise _Ended("the connection ended")
        self._buffer += data
        self._cut()
        return True

    def _cut(self) -> None:
        buffer, start = self._buffer, 0
        while len(buffer) - start >= HEADER_LEN:
            size = int.from_bytes(buffer[start + 3 : start + HEADER_LEN], "big")
            if buffer[start : start + 3] != MAGIC or size > FRAME_MAX:
                raise Unreachable(self.path, "what answers there is not irerd", passing=False)
            end = start + HEADER_LEN + size
            if end > len(buffer):
                break
            self._take(bytes(buffer[start + HEADER_LEN : end]))
            start = end
        del buffer[:start]

    def _take(self, body: bytes) -> None:
        try:
            message = decode(body)
            kind = message["t"]
            if kind == "welcome":
                message["limits"].get("frame")
                self.welcome = message
            elif kind == "bye":
                self.farewell = message
                self._inbox.append(message)
            elif self._is_wanted(kind, message):
                self._inbox.append(message)
        except (ProtocolError, KeyError, TypeError, AttributeError) as error:
            raise Unreachable(self.path, f"what answers there is not irerd: {error}", passing=False) from error

    def _is_wanted(self, kind: str, message: dict[str, Any]) -> bool:
        id = message["id"]
        if id in self._abandoned:
            if kind in ("done", "err"):
                self._abandoned.discard(id)
            return False
        items = self.open[id]
        if kind == "item":
            if message["n"] != items:
                raise ProtocolError("an item is missing")
            self.open[id] = items + 1
        elif kind in ("done", "err"):
            del self.open[id]
        elif kind != "mark":
            raise ProtocolError("an unknown message")
        return True

    def refusal(self) -> Error | None:
        """Why the daemon wants nothing to do with us, if that is what its bye said."""
        if self.farewell is None or self.farewell.get("why") not in FATAL_BYES:
            return None
        return error_of(
            self.farewell.get("e") or {"code": "permission-denied", "detail": f"the daemon said bye: {self.farewell['why']}"}
        )


# --- the client --------------------------------------------------------------------------------------------------------


class _Request:
    """One call until it has an outcome, over as many attempts as it takes."""

    def __init__(self, message: dict[str, Any], deadline_s: float | None) -> None:
        self.message = message
        self.outcome: Reply | Error | None = None
        self.sent_unanswered = False
        """It was sent and the connection ended before the answer: it may have been done."""
        self.failing_since: float | None = None
        self.deadline: float | None = None
        self._deadline_s = deadline_s

    @property
    def repeatable(self) -> bool:
        return "idem" in self.message or "dry" in self.message

    def start(self, now: float) -> dict[str, Any]:
        """The message of this attempt, with what is left of the time."""
        if self._deadline_s is None:
            return self.message
        if self.deadline is None:
            self.deadline = now + self._deadline_s
        left_ms = round((self.deadline - now) * 1000)
        return {**self.message, "dl": min(max(left_ms, 1), DEADLINE_MS_MAX)}

    def may_wait(self, now: float, retry_s: float) -> bool:
        """Whether there is time for another attempt."""
        if self.failing_since is None:
            self.failing_since = now
        return now - self.failing_since < retry_s and (self.deadline is None or now < self.deadline)

    @property
    def effect(self) -> str:
        return "unknown" if self.sent_unanswered and "dry" not in self.message else "none"

    def too_late(self) -> Error:
        idem = self.message.get("idem")
        data = {"idem": idem} if idem is not None else None
        return Error("deadline-exceeded", "time ran out", NO_ANSWER, data=data, effect=self.effect, help=after_no_answer(idem))


class Client:
    """A connection to irerd, opened when needed and again when lost. A write is done once, however often it had to be asked."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        timeout: float | None = 30.0,
        client: str = "irerctl.client",
        *,
        retry_s: float = RETRY_S,
        connect: Callable[[], socket.socket] | None = None,
    ) -> None:
        """`timeout` is every call's deadline; `retry_s` is how long an absent daemon is waited for (0: not at all)."""
        self.path = os.fspath(path) if path is not None else find_socket()
        self.timeout = timeout
        self.retry_s = retry_s
        self._name = client
        self._connect = connect or self._connect_unix
        self._connection: _Connection | None = None
        self._failures = 0
        self._not_before = 0.0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def welcome(self) -> dict[str, Any]:
        """What the daemon says of itself: server, instance, limits, schema, peer, state."""
        patience = _Patience(self.retry_s)
        until = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            try:
                return self._usable().wait_welcome(until)
            except OSError as lost:
                error = self._verdict(lost)
                self.close()
                if not is_passing(error) or not patience.wait():
                    raise error from lost

    def call(
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
        request = self._request(method, params, idem, deadline_ms, dry, as_)
        self._run([request])
        if isinstance(request.outcome, Error):
            raise request.outcome
        assert request.outcome is not None
        return request.outcome

    def pipeline(
        self, calls: Iterable[tuple[str, Mapping[str, Any] | None]], *, deadline_ms: int | None = None
    ) -> list[Reply | Error]:
        """Many calls at once, without waiting for each: their outcomes, in the order asked. An error stands in its place."""
        requests = [self._request(method, params, AUTO, deadline_ms, False, None) for method, params in calls]
        self._run(requests)
        return [request.outcome for request in requests if request.outcome is not None]

    def stream(self, method: str, params: Mapping[str, Any] | None = None, *, as_: str | None = None) -> "Stream":
        """The items of a streaming method, over a connection of its own."""
        return Stream(self, method, params, as_)

    def cancel(self) -> None:
        """Stop what is in flight, and give it a second to say how it ended."""
        connection = self._connection
        if connection is None:
            return
        try:
            _cancel_all(connection)
        finally:
            if connection.open:
                self.close()

    def _request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        idem: str | Auto | None,
        deadline_ms: int | None,
        dry: bool,
        as_: str | None,
    ) -> _Request:
        message: dict[str, Any] = {"m": method}
        if params:
            message["p"] = dict(params)
        if dry:
            message["dry"] = True
        elif isinstance(idem, Auto):
            message["idem"] = os.urandom(16).hex()
        elif idem is not None:
            message["idem"] = idem
        if as_ is not None:
            message["as"] = as_
        return _Request(message, self.timeout if deadline_ms is None else deadline_ms / 1000)

    def _run(self, requests: Sequence[_Request]) -> None:
        """Gives every request its outcome."""
        waiting, flying = deque(requests), dict[int, _Request]()
        try:
            while waiting or flying:
                try:
                    self._launch(waiting, flying)
                    if flying:
                        self._collect(waiting, flying)
                except OSError as lost:
                    self._recover(self._verdict(lost), waiting, flying)
                except Error as error:
                    self._recover(error, waiting, flying)
        except KeyboardInterrupt:
            self.cancel()
            raise

    def _launch(self, waiting: deque[_Request], flying: dict[int, _Request]) -> None:
        """Sends what may be sent now."""
        if not waiting:
            return
        now = time.monotonic()
        if now < self._not_before:
            if flying:
                return
            time.sleep(self._not_before - now)
            now = self._not_before
        connection = self._connection if flying and self._connection is not None else self._usable()
        while waiting and not connection.leaving and len(flying) < connection.in_flight_max:
            request = waiting[0]
            message = request.start(now)
            try:
                id = connection.call(message)
                flying[id] = request
            except ProtocolError as error:
                request.outcome = Error("invalid-argument", "the parameters are not acceptable", str(error))
            waiting.popleft()

    def _collect(self, waiting: deque[_Request], flying: dict[int, _Request]) -> None:
        """Takes one message, or finds that the oldest call has waited long enough."""
        connection = self._connection
        assert connection is not None
        oldest = next(iter(flying.values()))
        until = None if oldest.deadline is None else oldest.deadline + GRACE_S
        if waiting and self._not_before > time.monotonic():
            until = min(self._not_before, until or math.inf)
        message = connection.next(until)
        if message is None:
            self._give_up(flying, connection)
        elif message["t"] != "bye":
            self._settle(message, waiting, flying, connection)

    def _give_up(self, flying: dict[int, _Request], connection: _Connection) -> None:
        now = time.monotonic()
        for id, request in list(flying.items()):
            if request.deadline is not None and now >= request.deadline + GRACE_S:
                request.sent_unanswered = True
                request.outcome = request.too_late()
                connection.abandon(id)
                del flying[id]

    def _settle(
        self, message: dict[str, Any], waiting: deque[_Request], flying: dict[int, _Request], connection: _Connection
    ) -> None:
        id, kind = message["id"], message["t"]
        request = flying[id]
        if kind == "done":
            request.outcome = Reply(message["r"], message.get("rc"), message.get("replayed", False), message.get("cur"))
            self._failures = 0
        elif kind == "err":
            error = error_of(message["e"])
            again = is_passing(error) and (error.effect == "none" or request.repeatable)
            if again and request.may_wait(time.monotonic(), self.retry_s):
                self._hold(error.retry_ms)
                waiting.append(request)
            else:
                request.outcome = error
        else:
            connection.abandon(id)
            request.outcome = Error(
                "failed-precondition", "not possible in this state", f"{request.message['m']} streams; ask for it as a stream"
            )
        del flying[id]

    def _recover(self, error: Error, waiting: deque[_Request], flying: dict[int, _Request]) -> None:
        """The connection is gone, or there is none: decide for each request whether it may be asked again."""
        self.close()
        now = time.monotonic()
        for request in reversed(flying.values()):
            request.sent_unanswered = True
            if request.repeatable:
                waiting.appendleft(request)
            else:
                request.outcome = _with_effect(error, "unknown")
        flying.clear()
        for request in list(waiting):
            if not (is_passing(error) and request.may_wait(now, self.retry_s)):
                request.outcome = _with_effect(error, request.effect)
        still = [request for request in waiting if request.outcome is None]
        waiting.clear()
        waiting.extend(still)
        if waiting:
            self._hold(None)

    def _hold(self, retry_ms: int | None) -> None:
        self._failures += 1
        self._not_before = time.monotonic() + delay_s(self._failures, retry_ms)

    def _verdict(self, lost: OSError) -> Error:
        """What a lost connection means to the caller."""
        refusal = self._connection.refusal() if self._connection is not None else None
        return refusal or unreachable(self.path, lost)

    def _usable(self) -> _Connection:
        """A connection on which something new may be sent."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.look()
                if not self._connection.leaving:
                    return self._connection
            refusal = self._connection.refusal()
            self.close()
            if refusal is not None:
                raise refusal
        self._connection = self.open_connection()
        return self._connection

    def open_connection(self) -> _Connection:
        return _Connection(self.path, self._connect(), self._name)

    def _connect_unix(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            raise
        return sock


class Stream:
    """The items of one streaming call. `cursor` is the place reached; after a restart the stream goes on from there."""

    def __init__(self, client: Client, method: str, params: Mapping[str, Any] | None, as_: str | None) -> None:
        self.cursor: str | None = None
        self.result: Any = None
        """What the stream said when it ended by itself."""
        self._client = client
        self._message: dict[str, Any] = {"m": method} | ({"as": as_} if as_ is not None else {})
        self._params = dict(params or {})
        self._connection: _Connection | None = None
        self._patience = _Patience(client.retry_s)
        self._seen = self._over = False
        self._ensure()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __next__(self) -> Any:
        while not self._over:
            try:
                message = self._ensure().next(None)
                assert message is not None
                if self._is_item(message):
                    return message["r"]
            except OSError as lost:
                self._recover(lost)
            except Error:
                self.close()
                raise
            except KeyboardInterrupt:
                self.cancel()
                raise
        raise StopIteration

    def cancel(self) -> None:
        """Stop the stream, and give it a second to say how it ended."""
        if self._connection is not None:
            _cancel_all(self._connection)
        self.close()

    def close(self) -> None:
        """The end of its connection ends the call."""
        self._over = True
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ensure(self) -> _Connection:
        while self._connection is None:
            try:
                self._connection = self._client.open_connection()
                params = self._params | ({"since": self.cursor} if self.cursor is not None else {})
                self._connection.call(self._message | ({"p": params} if params else {}))
            except OSError as lost:
                self._recover(lost)
            except ProtocolError as error:
                self.close()
                raise Error("invalid-argument", "the parameters are not acceptable", str(error)) from error
        return self._connection

    def _is_item(self, message: dict[str, Any]) -> bool:
        """Takes a message in; whether it is an item to hand out."""
        kind = message["t"]
        self.cursor = message.get("cur", self.cursor)
        if kind == "err":
            self._retry(error_of(message["e"]))
        elif kind != "bye":
            self._patience.reset()
        if kind == "done":
            self.result = message["r"]
            self.close()
        self._seen = self._seen or kind == "item"
        return bool(kind == "item")

    def _recover(self, lost: OSError) -> None:
        refusal = self._connection.refusal() if self._connection is not None else None
        self._retry(refusal or unreachable(self._client.path, lost))

    def _retry(self, error: Error) -> None:
        """Waits to ask again, or raises: a stream without cursors cannot go on from the middle."""
        self._drop()
        whole = self.cursor is not None or not self._seen
        if not (whole and is_passing(error) and self._patience.wait(error.retry_ms)):
            self._over = True
            raise error


class _Patience:
    """How long an absent daemon has been waited for."""

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self.reset()

    def reset(self) -> None:
        self._since: float | None = None
        self._failures = 0

    def wait(self, retry_ms: int | None = None) -> bool:
        """Sleeps until it is time to try again; False when it is not worth it any more."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since >= self._retry_s:
            return False
        self._failures += 1
        time.sleep(delay_s(self._failures, retry_ms))
        return True


def is_passing(error: Error) -> bool:
    """Whether the same question may have an answer in a moment."""
    return error.passing if isinstance(error, Unreachable) else error.code == "unavailable"


def delay_s(failures: int, retry_ms: int | None) -> float:
    """50 ms to 1 s, doubling, with jitter so that a thousand clients do not come back in step."""
    most = min(_DELAY_MAX_S, _DELAY_MIN_S * 2.0 ** min(failures, 10))
    jittered = _DELAY_MIN_S + (most - _DELAY_MIN_S) * os.urandom(1)[0] / 255
    return min(_DELAY_MAX_S, max(jittered, (retry_ms or 0) / 1000))


def after_no_answer(idem: str | None) -> str:
    """What a caller does next who waited in vain: whether it was done is known by the key."""
    if idem is None:
        return "Wait longer (--timeout), or look at: irerctl doctor"
    return f"""A write may be done all the same. Ask: irerctl call system.op_status '{{"idem": "{idem}"}}'"""


def unreachable(path: str, lost: OSError) -> Unreachable:
    words = {ConnectionRefusedError: "connection refused", FileNotFoundError: "no such file", PermissionError: "permission denied"}
    if too_long := len(os.fsencode(path)) > PATH_BYTES_MAX:
        why = f"a socket's path has at most {PATH_BYTES_MAX} bytes"
    else:
        why = words.get(type(lost), str(lost.strerror or lost).lower())
    error = Unreachable(path, why, passing=not (too_long or isinstance(lost, PermissionError)))
    error.__cause__ = lost
    return error


def _with_effect(error: Error, effect: str) -> Error:
    """The same error for one of several calls."""
    if isinstance(error, Unreachable):
        found: Error = Unreachable(error.path, error.why, effect, passing=error.passing)
    else:
        found = Error(
            error.code, error.title, error.detail, error.reason, error.fields, error.data, error.retry_ms, effect, error.help
        )
    found.__cause__ = error.__cause__
    return found


def _cancel_all(connection: _Connection) -> None:
    with contextlib.suppress(OSError, Unreachable):
        for id in list(connection.open):
            connection.cancel(id)
        until = time.monotonic() + GRACE_S
        while connection.open and connection.next(until) is not None:
            pass
