"""The conversation on a connection, as each end sees it: bytes in, messages out, and the bytes to send.

Knows no socket, no clock and no method. The server's end never raises for what a peer sends: it yields messages, an error
for one call, or the last words for the connection. Deadlines, caps on calls in flight and permissions are the session's.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta, field

from core.fields import IdempotencyKey
from core.wire.codec import (
    CodecError,
    Reader,
    ValuesError,
    clean,
    decode,
    encode,
    framed,
    number_bytes,
    put_text,
    put_value,
    text_bytes,
)
from core.wire.errors import make, problem
from core.wire.frames import FRAME_MAX, HEADER_LEN, MAGIC, FrameError, Frames

PROTO = 1
ID_MAX = 2**32 - 1
DEADLINE_MS_MAX = 3_600_000
HELLO_MAX = 4096
FRAME_MAX_READER = 64 * 1024
"""The frame limit of callers who may only read, and of everybody until the hello is answered."""
EARLY_CALLS_MAX = 8
EARLY_BYTES_MAX = 64 * 1024

Why = Literal["shutdown", "protocol", "version", "denied", "limit", "slow", "done"]
Id = Annotated[int, Meta(ge=1, le=ID_MAX)]


class FromClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", tag=str.lower):
    """Unknown keys are refused: ignoring `dry` would do it for real."""


class FromServer(msgspec.Struct, frozen=True, tag_field="t", tag=str.lower):
    """Unknown keys are ignored, so an old client survives a newer server."""


class Hello(FromClient, frozen=True):
    proto: Annotated[list[Annotated[int, Meta(ge=1, le=65_535)]], Meta(min_length=1, max_length=16)]
    client: Annotated[str, Meta(max_length=128)]


class Call(FromClient, frozen=True, gc=False):
    id: Id
    m: Annotated[str, Meta(min_length=1, max_length=128)]
    p: dict[str, Any] = {}
    dl: Annotated[int, Meta(ge=1, le=DEADLINE_MS_MAX)] | None = None
    idem: IdempotencyKey | None = None
    dry: bool = False
    as_: Annotated[str, Meta(min_length=1, max_length=64)] | None = field(default=None, name="as")


class Cancel(FromClient, frozen=True):
    id: Id
    why: Annotated[str, Meta(max_length=200)] | None = None


class Welcome(FromServer, frozen=True):
    proto: int
    server: str
    instance: str
    boot: int
    limits: dict[str, Any]
    schema: str
    peer: dict[str, Any]
    state: str


class Item(FromServer, frozen=True):
    id: Id
    n: int
    r: Any
    cur: str | None = None


class Mark(FromServer, frozen=True):
    id: Id
    cur: str


class Done(FromServer, frozen=True):
    id: Id
    r: Any
    rc: dict[str, Any] | None = None
    cur: str | None = None
    replayed: bool = False


class Err(FromServer, frozen=True):
    id: Id
    e: dict[str, Any]


class Bye(FromServer, frozen=True):
    why: str
    after_ms: int | None = None
    e: dict[str, Any] | None = None


class StrictBye(Bye, frozen=True, forbid_unknown_fields=True, tag="bye"):
    """A bye as a client may say it."""


class BadCall(msgspec.Struct, frozen=True):
    """A call that cannot be carried out as it was written. It alone is answered, with this error."""

    id: int
    error: dict[str, Any]


class Violation(msgspec.Struct, frozen=True):
    """The connection is over: send `reply`, which may be empty, and close. Nothing is read after it."""

    reply: bytes
    why: str
    detail: str


Received = Hello | Call | Cancel | Bye | BadCall | Violation
Answered = Welcome | Item | Mark | Done | Err | Bye

_CLIENT_TYPES: dict[str, type[Hello | Call | Cancel | StrictBye]] = {
    "call": Call,
    "cancel": Cancel,
    "hello": Hello,
    "bye": StrictBye,
}
_SERVER_TYPES: dict[str, type[Answered]] = {
    "done": Done,
    "item": Item,
    "err": Err,
    "mark": Mark,
    "welcome": Welcome,
    "bye": Bye,
}

_VERBS = tuple(f"{verb} ".encode() for verb in "GET HEAD POST PUT DELETE OPTIONS PATCH CONNECT TRACE PRI".split())
_VERB_LEN_MAX = max(map(len, _VERBS))
_HTTP_TEXT = b"This socket speaks irer's own frames, not HTTP. For HTTP type: irerctl hub\n"
HTTP_REPLY = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
    % (len(_HTTP_TEXT), _HTTP_TEXT)
)
STRANGER_REPLY = b"This socket speaks irer's own frames, which begin with d8 18 5a. Talk to it with: irerctl\n"
"""For whoever typed something at it by hand. A TLS client says of it that this is no TLS, which is true."""


class _Broken(Exception):
    """A rule was broken that costs the connection."""

    def __init__(self, why: Why, code: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why
        self.code = code
        self.detail = detail


class ServerConnection:
    """The server's end of one connection. Setting `frame_max`, once the peer's role is known, ends the early phase."""

    def __init__(self, frame_max: int = FRAME_MAX_READER) -> None:
        self._frames = Frames(frame_max, first_max=HELLO_MAX)
        self._reader = Reader()
        self._head: bytes | None = b""
        """What arrived before the first three bytes were known to be ours; None from then on."""
        self._early_calls = self._early_bytes = 0
        self._early = True
        self._greeted = self._leaving = self._over = False
        self._last_id = 0

    @property
    def frame_max(self) -> int:
        return self._frames.frame_max

    @frame_max.setter
    def frame_max(self, value: int) -> None:
        self._frames.frame_max = value
        self._early = False

    @property
    def greeted(self) -> bool:
        """Whether the peer has said hello."""
        return self._greeted

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return self._frames.buffered

    def receive(self, data: bytes) -> list[Received]:
        """What these bytes say. Never raises; a Violation is always last, and nothing is read after it."""
        if self._over:
            return []
        if self._head is not None and not self._is_ours(data):
            return self._answer_stranger()
        received: list[Received] = []
        broken: _Broken | None = None
        try:
            bodies = self._frames.feed(data)
        except FrameError as error:
            bodies = error.bodies
            broken = _frame_broken(error)
        try:
            for body in bodies:
                received.append(self._read(body))
        except _Broken as error:
            broken = error
        if broken is not None:
            received.append(self._end(broken))
        return received

    def _is_ours(self, data: bytes) -> bool:
        head = self._head = (self._head or b"") + data[:_VERB_LEN_MAX]
        if not MAGIC.startswith(head[:3]):
            return False
        if len(head) >= len(MAGIC):
            self._head = None
        return True

    def _answer_stranger(self) -> list[Received]:
        """Waits while this may still become an HTTP verb, so that the answer does not depend on how the bytes were cut."""
        head = self._head or b""
        if head.startswith(_VERBS):
            self._over = True
            return [Violation(HTTP_REPLY, "protocol", "HTTP was spoken to the socket")]
        if any(verb.startswith(head) for verb in _VERBS):
            return []
        self._over = True
        return [Violation(STRANGER_REPLY, "protocol", "a stranger: the first bytes are not a frame")]

    def _end(self, broken: _Broken) -> Violation:
        self._over = True
        return Violation(bye(broken.why, e=make(broken.code, broken.detail)), broken.why, broken.detail)

    def _read(self, body: bytes) -> Received:
        try:
            message = self._reader.take(body)
            if message.get("t") == "call" and (call := self._as_call(message)) is not None:
                self._check_call(call.id, len(body))
                return call
            clean(message)
        except ValuesError as error:
            return self._bad_call(
                error.message, make("resource-exhausted", str(error)), _Broken("limit", "resource-exhausted", str(error))
            )
        except CodecError as error:
            raise _Broken("protocol", "invalid-argument", str(error)) from None
        try:
            found = msgspec.convert(message, _CLIENT_TYPES[message["t"]], strict=True)
        except msgspec.ValidationError as error:
            return self._refuse(message, problem(error, _CLIENT_TYPES[message["t"]]))
        except (KeyError, TypeError):
            raise _Broken("protocol", "invalid-argument", "`t` names no message that a client may send") from None
        if type(found) is Hello:
            return self._greet(found)
        self._check_greeted()
        self._leaving = self._leaving or type(found) is StrictBye
        return found

    @staticmethod
    def _as_call(message: dict[str, Any]) -> Call | None:
        """A call, whose type says all of it but what stands within `p`. None where it is no such thing. Raises CodecError."""
        try:
            call = msgspec.convert(message, Call, strict=True)
        except Exception:
            return None  # whatever it holds, `clean` has the first word on it
        if call.p:
            clean(message, within="p")
        return call

    def _greet(self, hello: Hello) -> Hello:
        if self._greeted:
            raise _Broken("protocol", "invalid-argument", "hello is said once")
        if PROTO not in hello.proto:
            raise _Broken("version", "unimplemented", f"this server speaks protocol {PROTO}")
        self._greeted = True
        return hello

    def _check_greeted(self) -> None:
        if not self._greeted:
            raise _Broken("protocol", "invalid-argument", "the first message is hello")

    def _check_call(self, id: int, size: int) -> None:
        if not self._greeted:
            self._check_greeted()
        if id <= self._last_id:
            raise _Broken("protocol", "invalid-argument", f"the ids of calls rise: {id} is not above {self._last_id}")
        if self._leaving:
            raise _Broken("protocol", "invalid-argument", "a call came after bye")
        self._last_id = id
        if self._early:
            self._early_calls += 1
            self._early_bytes += size + HEADER_LEN
            if self._early_calls > EARLY_CALLS_MAX or self._early_bytes > EARLY_BYTES_MAX:
                detail = f"at most {EARLY_CALLS_MAX} calls and {EARLY_BYTES_MAX} bytes may come before the welcome"
                raise _Broken("limit", "resource-exhausted", detail)

    def _refuse(self, message: dict[str, Any], wrong: tuple[str, str]) -> BadCall:
        path, text = wrong
        detail = f"{path}: {text}" if path else text
        error = make("invalid-argument", detail, fields=[wrong])
        return self._bad_call(message, error, _Broken("protocol", "invalid-argument", f"{message['t']}: {detail}"))

    def _bad_call(self, message: dict[str, Any], error: dict[str, Any], otherwise: _Broken) -> BadCall:
        """The answer to one call, if this is one and says which."""
        id = message.get("id")
        if message.get("t") != "call" or type(id) is not int or not 1 <= id <= ID_MAX:
            raise otherwise
        self._check_call(id, 0)
        return BadCall(id, error)


def _frame_broken(error: FrameError) -> _Broken:
    if error.kind == "size":
        return _Broken("limit", "resource-exhausted", error.detail)
    return _Broken("protocol", "invalid-argument", error.detail)


def welcome(
    *,
    server: str,
    instance: str,
    boot: int,
    limits: Mapping[str, int],
    schema: str,
    peer: Mapping[str, Any],
    state: Literal["recovering", "ready", "draining"],
) -> bytes:
    return encode(
        {
            "t": "welcome",
            "proto": PROTO,
            "server": server,
            "instance": instance,
            "boot": boot,
            "limits": dict(limits),
            "schema": schema,
            "peer": dict(peer),
            "state": state,
        }
    )


def item(id: int, n: int, r: Any, cur: str | None = None) -> bytes:
    try:
        parts = [_ITEMS[cur is not None], number_bytes(id), b"an", number_bytes(n), b"ar"]
        put_value(parts, r, 5)
        if cur is not None:
            parts += b"ccur", text_bytes(cur)
        return framed(b"".join(parts))
    except CodecError:
        message = {"t": "item", "id": id, "n": n, "r": r}  # it says what is wrong, or makes it after all
        if cur is not None:
            message["cur"] = cur
        return encode(message)


_ITEMS = [bytes((0xA0 + members,)) + b"atditembid" for members in (4, 5)]


def mark(id: int, cur: str) -> bytes:
    return encode({"t": "mark", "id": id, "cur": cur})


def done(
    id: int, r: Any, rc: Mapping[str, Any] | tuple[str, int, str] | None = None, cur: str | None = None, replayed: bool = False
) -> bytes:
    """`rc` as a tuple is log, seq and event_hash."""
    if rc is None or isinstance(rc, tuple):
        try:  # of its parts: most of what is sent is this, and a dict of known members costs more than its bytes
            parts = [_HEADS[3 + (rc is not None) + (cur is not None) + replayed], number_bytes(id), b"ar"]
            put_value(parts, r, 8)
            if rc is not None:
                log, seq, event_hash = rc
                parts += _receipt_heads[log], number_bytes(seq), _BEFORE_HASH
                put_text(parts, event_hash)
            if cur is not None:
                parts.append(b"ccur")
                put_text(parts, cur)
            if replayed:
                parts.append(b"hreplayed\xf5")
            return framed(b"".join(parts))
        except CodecError:
            pass  # below it is said what is wrong with it, or it is made after all
    message = {"t": "done", "id": id, "r": r}
    if rc is not None:
        message["rc"] = dict(zip(("log", "seq", "event_hash"), rc, strict=True)) if isinstance(rc, tuple) else rc
    if cur is not None:
        message["cur"] = cur
    if replayed:
        message["replayed"] = True
    return encode(message)


class _ReceiptHeads(dict[str, bytes]):
    """What stands before the number of a record of each log: there are few."""

    def __missing__(self, log: str) -> bytes:
        found = b"brc\xa3clog" + text_bytes(log) + b"cseq"
        if len(self) < LOGS_MAX:
            self[log] = found
        return found


LOGS_MAX = 256
_receipt_heads = _ReceiptHeads()
_BEFORE_HASH = b"jevent_hash"
_HEADS = [bytes((0xA0 + members,)) + b"atddonebid" for members in range(7)]
_BEFORE_RESULT = b"\xa3atddonebid\x01ar"


def result(r: Any) -> bytes:
    """A result as `done_again` takes it, held to what every message is held to. Raises CodecError."""
    return encode({"t": "done", "id": 1, "r": r})[HEADER_LEN + len(_BEFORE_RESULT) :]


def cursor(cur: str) -> bytes:
    """The last member of a `done`."""
    return b"ccur" + text_bytes(cur)


def done_again(id: int, r: bytes, cur: bytes) -> bytes:
    """What `done` makes of a result and a cursor, from what `result` and `cursor` made: small, so that no limit is near."""
    return framed(b"".join((_HEADS[4], number_bytes(id), b"ar", r, cur)))


def err(id: int, error: Mapping[str, Any]) -> bytes:
    return encode({"t": "err", "id": id, "e": dict(error)})


def bye(why: Why, after_ms: int | None = None, e: Mapping[str, Any] | None = None) -> bytes:
    message: dict[str, Any] = {"t": "bye", "why": why}
    if after_ms is not None:
        message["after_ms"] = after_ms
    if e is not None:
        message["e"] = dict(e)
    return encode(message)


class ProtocolError(Exception):
    """The other end is no irerd, or a broken one. `messages` are those that came whole before it."""

    def __init__(self, detail: str, messages: Sequence[Answered] = ()) -> None:
        super().__init__(detail)
        self.messages = list(messages)


class ClientConnection:
    """The client's end of one connection: gives ids, keeps what is open, and checks that every call ends once."""

    def __init__(self) -> None:
        self._frames = Frames(FRAME_MAX)
        self._open: dict[int, int] = {}
        """Calls without a terminal frame, and how many items each has had."""
        self._last_id = 0
        self._welcomed = False
        self.frame_max = FRAME_MAX_READER
        """The longest body the server takes from us; its welcome says."""

    @property
    def open_ids(self) -> list[int]:
        return list(self._open)

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def spent(self) -> bool:
        """Whether the ids have run out; only a new connection has more."""
        return self._last_id >= ID_MAX

    def hello(self, client: str) -> bytes:
        return encode({"t": "hello", "proto": [PROTO], "client": client})

    def call(
        self,
        m: str,
        p: Mapping[str, Any] | None = None,
        dl: int | None = None,
        idem: str | None = None,
        dry: bool = False,
        as_: str | None = None,
    ) -> tuple[int, bytes]:
        if self.spent:
            raise ProtocolError("the ids of this connection have run out; open another")
        id = self._last_id + 1
        message: dict[str, Any] = {"t": "call", "id": id, "m": m}
        if p:
            message["p"] = dict(p)
        if dl is not None:
            message["dl"] = dl
        if idem is not None:
            message["idem"] = idem
        if dry:
            message["dry"] = True
        if as_ is not None:
            message["as"] = as_
        data = encode(message)
        if len(data) - HEADER_LEN > self.frame_max:
            raise CodecError(f"a call of {len(data)} bytes is over the limit of {self.frame_max}")
        self._last_id = id
        self._open[id] = 0
        return id, data

    def cancel(self, id: int, why: str | None = None) -> bytes:
        message: dict[str, Any] = {"t": "cancel", "id": id}
        if why is not None:
            message["why"] = why
        return encode(message)

    def bye(self) -> bytes:
        return bye("done")

    def receive(self, data: bytes) -> list[Answered]:
        """What the server says in these bytes. Raises ProtocolError where it breaks the rules; the connection is then lost."""
        messages: list[Answered] = []
        try:
            for body in self._frames.feed(data):
                messages.append(self._read(body))
        except FrameError as error:
            raise ProtocolError(error.detail, messages) from None
        except ProtocolError as error:
            raise ProtocolError(str(error), messages) from None
        return messages

    def _read(self, body: bytes) -> Answered:
        try:
            message = decode(body)
            found = msgspec.convert(message, _SERVER_TYPES[message["t"]], strict=True)
        except (CodecError, msgspec.ValidationError) as error:
            raise ProtocolError(str(error)) from None
        except (KeyError, TypeError):
            raise ProtocolError("`t` names no message that a server may send") from None
        if isinstance(found, Welcome):
            if self._welcomed:
                raise ProtocolError("welcome is said once")
            self._welcomed = True
            limit = found.limits.get("frame")
            self.frame_max = limit if type(limit) is int else self.frame_max
        elif not isinstance(found, Bye):
            self._follow(found)
        return found

    def _follow(self, found: Item | Mark | Done | Err) -> None:
        if not self._welcomed:
            raise ProtocolError("the first message is welcome")
        items = self._open.get(found.id)
        if items is None:
            _ended(found.id)
        if isinstance(found, Item):
            if found.n != items:
                raise ProtocolError(f"item {found.n} of call {found.id} is not the next, {items}")
            self._open[found.id] = found.n + 1
        elif not isinstance(found, Mark):
            del self._open[found.id]


def _ended(id: int) -> NoReturn:
    raise ProtocolError(f"call {id} is not open")
