"""One connection: bytes in, calls to dispatch, replies out. A slow or hostile peer hurts itself and nobody else.

Replies to one receive leave in one send. Reading never stops because calls are in flight, only when the peer does not read its
replies, and for a moment where a sense is better decided in company. The end of the stream cancels every call of the connection;
what was decided is stored all the same.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import trio

from core.access import Peer
from core.engine import Actor, Command, Kept, Refused, Row
from core.fields import takes_secret
from core.paging import weight
from core.wire import calls
from core.wire.calls import BadCall, Bye, Call, Cancel, Hello, ServerConnection, Violation, Why
from core.wire.codec import VALUES_MAX, CodecError
from core.wire.errors import body as error_body
from core.wire.frames import FRAME_MAX
from irerd.bearers import CHECK_METHOD, Bearers
from irerd.cursors import Position
from irerd.dispatch import Answer, Dispatch, Permits
from irerd.host import Transport
from irerd.refusals import Refusals, most_held

HELLO_S = 5.0
READER_FRAME_MAX = calls.FRAME_MAX_READER
WRITER_FRAME_MAX = FRAME_MAX
STREAM_PAUSE_BYTES = 65_536
READ_PAUSE_BYTES = 262_144
SLOW_S = 30.0
QUICK_BYTES_MAX = 16_384
"""Of an answer that is sent the short way."""
TURN_S = 0.01
"""How long the calls of one connection are served before all others get their turn."""
TOGETHER_BYTES = 1_024
"""Who sends so much at once has many calls in it, and gains where those of other connections are looked at together with them."""
COMPANY_S = 0.005
"""How long a call that is quicker in company waits at most for the group that is being written: it could not be written before."""
ACCESS_CODES = frozenset({"unauthenticated", "permission-denied"})
ALWAYS_ANSWERED = frozenset({"system.ping", "system.info", "system.health"})
"""Methods that answer while the daemon recovers."""
PROOF_METHOD = "engines.validate"
"""Binds an engine to the connection on which it proved its key."""
JUDGE_METHOD = "actions.check"
"""Says what an engine may do. Its answer is worth something, so it is never had without its record."""
UNNAMED_METHODS = frozenset({"system.ping", "system.info", PROOF_METHOD})
"""What a caller whose only role is `engine` may call before it has said which engine it is."""
NO_PROOF = "no valid engine proof on this connection. Call engines.validate with the engine's key first"
_ENGINE_ONLY = frozenset({"engine"})
_AS_THEY_ARE = (bytes,)


class Outbox:
    """What waits to be sent to one peer."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._filled = trio.Event()
        self._drained = trio.Event()
        self.size = 0
        self.sent = 0

    def put(self, data: bytes) -> None:
        self._parts.append(data)
        self.size += len(data)

    def flush_nowait(self) -> None:
        """Send what fits at once; the sender sends the rest."""
        if not self.size:
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        taken = self._transport.send_nowait(data)
        self.sent += taken
        self.size = len(data) - taken
        self._parts = [data[taken:]] if self.size else []
        if self.size:
            self._filled.set()
        if taken:
            self._drained.set()

    def flush_soon(self) -> None:
        """Let the sender send it: what is released together leaves together."""
        self._filled.set()

    def flush_released(self) -> None:
        """Send what fits of what a group has released. Who is gone is met by the sender."""
        try:
            self.flush_nowait()
        except OSError:
            self.flush_soon()

    async def wait_below(self, size: int) -> None:
        while self.size >= size:
            if self._drained.is_set():  # others may wait for the same event: it is replaced only once it has rung
                self._drained = trio.Event()
            self._filled.set()
            await self._drained.wait()

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            self.flush_nowait()
            while self.size:
                await self._transport.wait_writable()
                self.flush_nowait()


class Stream:
    """The answering side of one streaming call."""

    def __init__(self, id: int, outbox: Outbox, may_go_on: Callable[[], bool] | None = None) -> None:
        self._id = id
        self._outbox = outbox
        self._count = 0
        self._may_go_on = may_go_on
        """Of a stream in the name of somebody who may lose that name meanwhile."""

    async def wait_room(self) -> None:
        """Until the connection has room: a slow reader costs no memory and delays only itself."""
        await self._outbox.wait_below(STREAM_PAUSE_BYTES)

    def item(self, result: Any, cursor: str | None = None) -> None:
        if self._may_go_on is not None and not self._may_go_on():
            return
        self._outbox.put(calls.item(self._id, self._count, msgspec.to_builtins(result, builtin_types=(bytes,)), cur=cursor))
        self._count += 1
        self._outbox.flush_soon()

    def mark(self, cursor: str) -> None:
        if self._may_go_on is not None and not self._may_go_on():
            return
        self._outbox.put(calls.mark(self._id, cursor))
        self._outbox.flush_soon()


TaskPort = Callable[[Command, Actor, Stream], Awaitable[Any]]
Work = Callable[[], Awaitable[Answer | None]]


class Turn:
    """Of all connections of one uid."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.came: dict[Session, bytes] = {}
        """What came on a connection that waits for the turn."""


@dataclass
class Service:
    """What a session needs of the daemon around it."""

    dispatch: Dispatch
    refusals: Refusals
    tasks: Mapping[str, TaskPort]
    welcome: Callable[[Peer], dict[str, Any]]
    cursor: Callable[[Position], str]
    state: Callable[[], str]
    """recovering, ready or draining."""
    progress: Callable[[], str]
    """What to say to a caller who comes too early or too late."""
    turns: WeakValueDictionary[int, Turn] = field(default_factory=WeakValueDictionary)
    """Of each uid that is connected: whose calls are being handled now."""


class _Reply(msgspec.Struct, frozen=True, gc=False):
    """How one call is answered, when its time has come. It holds nothing of what was asked: hundreds wait at a time."""

    session: "Session"
    id: int
    as_: str | None
    row: Row
    engine_id: str
    """Of a proof, the engine that it is of."""

    def __call__(self, answer: Answer) -> None:
        self.session.tell(self, answer)


class Session:
    def __init__(self, transport: Transport, peer: Peer, service: Service) -> None:
        self.peer = peer
        self.actor = Actor(f"uid:{peer.uid}", peer.role, peer.uid)
        self.outbox = Outbox(transport)
        self._transport = transport
        self._service = service
        self._connection = ServerConnection()
        self._in_flight: dict[int, trio.CancelScope | None] = {}
        self._streams = 0
        self._greeted = False
        self._leaving = False
        self._client_left = False
        self._over = False
        self._reading = trio.CancelScope()
        self._now = trio.lowlevel.current_clock().current_time
        """`trio.current_time`, without asking each time which run this is."""
        self._hello_due = self._now() + HELLO_S
        self._batching = False
        self._streaming: dict[int, Row] = {}
        self._forbidden: dict[int, Refused] = {}
        """Streams that a reload ended, and what their callers are told."""
        self._turn = service.turns.setdefault(peer.uid, Turn())
        self._received: list[Any] | None = None
        """What came, read already by the connection that had the turn before."""
        self._read_early: list[Any] | None = None
        """What came, read to see whether it gains from company."""
        self._has_turn = False
        self._engines: dict[str, tuple[int, Actor]] = {}
        """Engines that proved a key on this connection: which of their keys, and how they are called."""
        self._bearers = Bearers(service.dispatch)
        self._ends: Mapping[str, int] = {}
        self._cursors: dict[str, bytes] = {}
        """Of reads that are answered the short way, the cursor that goes with these ends."""
        self._permits = Permits(service.dispatch, peer)
        self._refused = 0
        """Calls whose refusal waits for its record."""

    # --- life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.outbox.run)
                nursery.start_soon(self._let_go_of_the_slow)
                with self._reading:
                    await self._receive(nursery)
                self._over = True
                await self.outbox.wait_below(1)  # as long as the peer takes something now and then
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer is gone
        finally:
            self._over = True
            self._transport.close()

    async def _receive(self, nursery: trio.Nursery) -> None:
        while not self._over:
            await self.outbox.wait_below(READ_PAUSE_BYTES)
            data = await self._next_bytes()
            if not data:
                return
            gains = await self._gains_from_company(data)
            came = self._turn.came
            came[self] = data
            try:
                if gains:
                    await trio.lowlevel.cancel_shielded_checkpoint()  # who sends and is gone was heard all the same
                await self._take_turn()
                while self._received is None and len(came) > 1 and any(other._received is not None for other in came):
                    self._give_turn()  # what was told of together is served together
                    await trio.lowlevel.checkpoint()
                    await self._take_turn()
                came.pop(self, None)  # nobody else waits for it from here on, nor reads it again
                await self._handle_all(data, nursery)
            finally:
                came.pop(self, None)
                self._read_early = self._received = None
                self._give_turn()
            self._leave_when_idle()
            self.outbox.flush_nowait()

    async def _gains_from_company(self, data: bytes) -> bool:
        """Whether this is quicker together with what comes on other connections. What could not be written yet has waited."""
        if len(data) >= TOGETHER_BYTES:
            return True
        self._read_early = self._connection.receive(data)
        dispatch = self._service.dispatch
        if not any(type(each) is Call and each.m in dispatch.foresee for each in self._read_early):
            return False
        if dispatch.writer is not None and dispatch.writer.writing:
            with trio.move_on_after(COMPANY_S, shield=True):
                await dispatch.writer.wait_advanced()
        return True

    async def _handle_all(self, data: bytes, nursery: trio.Nursery) -> None:
        self._batching = True
        now = self._now
        turn_ends = now() + TURN_S
        received = self._received if self._received is not None else self._read(data)
        for message in received:
            self._handle(message, nursery)
            if self.outbox.size >= READ_PAUSE_BYTES or now() > turn_ends:
                await self._let_others_run()
                turn_ends = now() + TURN_S
        self._batching = False

    def _read(self, data: bytes) -> list[Any]:
        """What came, beside all that came meanwhile on other connections of this uid, whose turn is next: whoever is quicker with
        many is told of it together.
        """
        received = self._parsed(data)
        came = received if self.peer.roles else []
        for other, rest in self._turn.came.items():
            if other is not self and other._received is None and other.peer.roles:
                other._received = other._parsed(rest)
                came = [*came, *other._received]
        if len(came) > 1:
            self._service.dispatch.announce([(each.m, each.p) for each in came if type(each) is Call])
        return received

    def _parsed(self, data: bytes) -> list[Any]:
        return self._read_early if self._read_early is not None else self._connection.receive(data)

    async def _let_others_run(self) -> None:
        """One receive can hold thousands of calls with large answers: it may keep neither the loop nor the memory.

        The turn is kept meanwhile, so that other callers come between and not more of this one's connections; but not while the
        peer takes nothing, for then the others would wait for it.
        """
        self._batching = False
        self.outbox.flush_nowait()
        if self.outbox.size >= READ_PAUSE_BYTES:
            self._give_turn()
            await self.outbox.wait_below(READ_PAUSE_BYTES)
            await self._take_turn()
        await trio.lowlevel.checkpoint()
        self._batching = True

    async def _take_turn(self) -> None:
        """All connections of one uid have one turn among them: who opens sixty gets no more of the loop than who opens one."""
        try:
            self._turn.lock.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.lock.acquire()
        self._has_turn = True

    def _give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turn.lock.release()

    async def _next_bytes(self) -> bytes:
        if self._greeted:
            return await self._transport.receive()
        with trio.CancelScope(deadline=self._hello_due) as patience:
            return await self._transport.receive()
        if patience.cancelled_caught:
            late = Refused("deadline-exceeded", f"no hello within {HELLO_S:g} s of connecting")
            self.outbox.put(calls.bye("protocol", e=error_body(late)))
        return b""

    async def _let_go_of_the_slow(self) -> None:
        """A peer that takes nothing for half a minute while something waits for it is let go."""
        while True:
            before = self.outbox.sent
            waiting = self.outbox.size
            await trio.sleep(SLOW_S)
            if waiting and self.outbox.size and self.outbox.sent == before:
                raise ConnectionAbortedError

    def say_bye(self, why: Why, after_ms: int | None = None) -> None:
        """Tell the peer that this end will close; its calls in flight still finish."""
        if self._over or self._leaving:
            return
        self._leaving = True
        self.outbox.put(calls.bye(why, after_ms=after_ms))
        self.outbox.flush_soon()

    def rejudge(self, peer: Peer) -> None:
        """The rules changed: from the next call on, the new ones decide."""
        self.peer = peer
        self._permits = Permits(self._service.dispatch, peer)
        self.actor = Actor(f"uid:{peer.uid}", peer.role, peer.uid)
        self._engines = {id: (key, Actor(actor.name, peer.role, peer.uid)) for id, (key, actor) in self._engines.items()}
        self._connection.frame_max = WRITER_FRAME_MAX if peer.may_write else READER_FRAME_MAX
        self._end_what_is_forbidden()

    def _end_what_is_forbidden(self) -> None:
        """A stream has no end of its own: one that its caller might not begin now is ended, and on record as a refusal."""
        dispatch = self._service.dispatch
        for id, row in self._streaming.items():
            verdict = dispatch.may(self.peer, row)
            scope = self._in_flight.get(id)
            if not verdict.allowed and scope is not None:
                self._forbidden[id] = dispatch.refusal(self.peer, row, verdict)
                scope.cancel()

    def end_streams(self) -> None:
        """Streams have no end of their own: a daemon that stops ends them, and they go on by cursor at the next one."""
        for scope in self._in_flight.values():
            if scope is not None:
                scope.cancel()

    @property
    def busy(self) -> bool:
        return bool(self._in_flight) or bool(self.outbox.size)

    def _leave_when_idle(self) -> None:
        """A client that said `bye` is answered with one, once its last call has ended."""
        if self._client_left and not self._in_flight and not self._over:
            self._over = True
            self.outbox.put(calls.bye("done"))
            self._reading.cancel()

    # --- out --------------------------------------------------------------------------------------------------------

    def _send(self, frame: bytes) -> None:
        if self._over:
            return
        self.outbox.put(frame)
        if self._batching:
            return
        writer = self._service.dispatch.writer
        if writer is not None and writer.releasing is not None:
            writer.releasing[self.outbox.flush_released] = None
        else:
            self.outbox.flush_soon()

    def _end(self, id: int, frame: bytes) -> None:
        """The one terminal frame of a call."""
        self._in_flight.pop(id, None)
        self._send(frame)
        if self._client_left and not self._batching:
            self._leave_when_idle()

    def _answer(self, id: int, row: Row, answer: Answer) -> None:
        counts, named = self._service.dispatch.calls, (row.name, "ok" if answer.error is None else answer.error.code)
        counts[named] = counts.get(named, 0) + 1
        if answer.error is not None:
            self._end(id, calls.err(id, error_body(answer.error)))
            return
        try:
            frame = self._told(id, row, answer)
        except Exception as error:  # whoever releases answers goes on, and this caller hears that something is wrong
            frame = calls.err(id, error_body(self._untold(row, answer, error)))
        self._end(id, frame)

    def _untold(self, row: Row, answer: Answer, error: Exception) -> Refused:
        """An answer that makes no frame is a bug of ours; what was asked may be done all the same."""
        instance = self._service.dispatch.on_internal_error(row.name, error)
        done = "what was asked is done and on record" if answer.receipt is not None else "nothing was written"
        return Refused("internal", f"a bug in irer: the answer could not be told; {done}", data={"instance": instance})

    def _told(self, id: int, row: Row, answer: Answer) -> bytes:
        dispatch = self._service.dispatch
        cursor = self._service.cursor(answer.position) if answer.position is not None else None
        result = msgspec.to_builtins(answer.result, builtin_types=_AS_THEY_ARE)
        if dispatch.damaged and dispatch.world.engine_of[row.name].log in dispatch.damaged:
            result["integrity"] = "failed"
        try:
            return calls.done(id, result, answer.receipt, cursor, answer.replayed)
        except CodecError:
            size, values = weight(result)
            if size <= FRAME_MAX and values <= VALUES_MAX:
                raise
            text = f"the answer is more than a frame holds ({FRAME_MAX:,} bytes, {VALUES_MAX:,} values). Ask for less: limit, after"
            return calls.err(id, error_body(Refused("resource-exhausted", text, reason="answer-too-large")))

    # --- in ---------------------------------------------------------------------------------------------------------

    def _handle(self, message: Any, nursery: trio.Nursery) -> None:
        if type(message) is Call:
            self._call(message, nursery)
        elif isinstance(message, BadCall):
            self._send(calls.err(message.id, message.error))
        elif isinstance(message, Cancel):
            scope = self._in_flight.get(message.id)
            if scope is not None:
                scope.cancel()
        elif isinstance(message, Hello):
            self._greeted = True
            self._connection.frame_max = WRITER_FRAME_MAX if self.peer.may_write else READER_FRAME_MAX
            self._send(calls.welcome(**self._service.welcome(self.peer)))
        elif isinstance(message, Bye):
            self._leaving = True
            self._client_left = True
        elif isinstance(message, Violation):
            self.outbox.put(message.reply)
            self._over = True

    def _call(self, call: Call, nursery: trio.Nursery) -> None:
        dispatch = self._service.dispatch
        allowed = row = self._permits.row(call.m)
        try:
            if row is None and ((row := dispatch.world.rows.get(call.m)) is None or row.kind == "internal"):
                row = dispatch.catalogue.find(call.m)
            self._acceptable(call, row)
            if allowed is None:
                verdict = self._permits.judge(row)
                if verdict.allowed:
                    allowed = row
            if allowed is not None:
                self._serve(call, row, self._speaker(call, row), nursery)
                return
            refused = dispatch.refusal(self.peer, row, verdict)
        except Refused as error:
            refused = error
        if row is None:
            self._send(calls.err(call.id, error_body(refused)))
        else:
            self._fail(call.id, call.as_, row, refused)

    def _acceptable(self, call: Call, row: Row) -> None:
        """Limits and the daemon's own state, before anything else is looked at."""
        state = self._service.state()
        if state != "ready" or self._leaving:
            if state == "recovering" and row.name not in ALWAYS_ANSWERED:
                raise Refused("unavailable", self._service.progress(), reason="recovering", retry_ms=200)
            if self._leaving or state == "draining":
                raise Refused("unavailable", "irerd is stopping; it takes nothing new", reason="draining", retry_ms=500)
        limits = self._service.dispatch.settings.limits
        if row.kind != "read" and len(self._in_flight) >= limits.calls and (crowded := self._crowded()) is not None:
            raise crowded
        if row.item is not None and self._streams >= limits.streams:
            raise Refused("resource-exhausted", f"{limits.streams} streams are open on this connection", reason="streams")
        if call.dry:
            self._may_be_tried(row)

    def _may_be_tried(self, row: Row) -> None:
        if row.kind != "write":
            text = f"{row.name} writes nothing, so there is nothing to try dry"
            raise Refused("invalid-argument", text, fields=[("dry", "not a write")])
        if takes_secret(row.params):
            text = f"{row.name} judges a secret, and that is never tried without a record. Call it without dry"
            raise Refused("invalid-argument", text, fields=[("dry", "not with a secret")])
        if row.name == JUDGE_METHOD:
            text = f"{row.name} judges, and no judgement is told without its record. Call it without dry"
            raise Refused("invalid-argument", text, fields=[("dry", "not of a judgement")])

    def _crowded(self) -> Refused | None:
        """What one call too many is told. Reads are answered at once, so any number of them may come."""
        calls_max = self._service.dispatch.settings.limits.calls
        if len(self._in_flight) - self._streams < calls_max:
            return None
        return Refused("resource-exhausted", f"{calls_max} calls are in flight on this connection", reason="calls", retry_ms=50)

    def _fail(self, id: int, as_: str | None, row: Row, refused: Refused) -> None:
        """Answer with an error; a refusal of access is on record first."""
        if refused.code not in ACCESS_CODES:
            self._answer(id, row, Answer(error=refused))
            return
        if self._service.state() == "recovering":
            error = Refused("unavailable", self._service.progress(), reason="recovering", retry_ms=200)
            self._answer(id, row, Answer(error=error))
            return
        caller = self._bearers.name_in(as_) or self.actor.name
        crowded = self._crowded_by_refusals() or (None if id in self._in_flight else self._crowded())
        if crowded is not None:  # any number of refused reads may come, and each would wait for the end of its second
            self._service.refusals.count(caller, row.name)
            self._answer(id, row, Answer(error=crowded))
            return
        self._in_flight[id] = None
        self._refused += 1

        def tell(answer: Answer) -> None:
            self._refused -= 1
            self._answer(id, row, answer)

        self._service.refusals.refuse(caller, row.name, refused, tell)

    def _crowded_by_refusals(self) -> Refused | None:
        """Refused calls wait for their record and never take up every place: others may call over the same connection."""
        if self._refused < max(most_held(self._service.dispatch.settings.limits.calls), 1):
            return None
        text = f"{self._refused} refusals wait for their record on this connection, so this call is told nothing. Try again"
        return Refused("resource-exhausted", f"{text} in a second", reason="calls", retry_ms=1_000)

    def _speaker(self, call: Call, row: Row) -> Actor:
        """Who asks: the peer itself, or an engine that proved its key on this connection and has not lost it since."""
        if call.as_ is None:
            if self.peer.roles == _ENGINE_ONLY and row.name not in UNNAMED_METHODS:
                text = "a caller whose only role is engine says which engine it is: engines.validate first, then `as` on each call"
                raise Refused("unauthenticated", text, reason="engine-proof")
            return self.actor
        bearer = self._bearers.speaker(call.as_, self.peer, row, unnamed=row.name in UNNAMED_METHODS)
        if bearer is not None:
            return bearer
        bound = self._engines.get(call.as_)
        if bound is None or not self._service.dispatch.stands(call.as_, bound[0]):
            raise Refused("unauthenticated", NO_PROOF, reason="engine-proof")
        return bound[1]

    def _still(self, call: Call, row: Row) -> Callable[[], object] | None:
        """Of an engine: whether it has not lost its standing by the time its command is decided."""
        return partial(self._speaker, call, row) if call.as_ is not None else None

    def _goes_on(self, call: Call, row: Row, scope: trio.CancelScope) -> bool:
        """Whether a stream in the name of an engine or a token has more to be told: one that has lost its name is ended."""
        try:
            self._speaker(call, row)
        except Refused as refused:
            self._forbidden[call.id] = refused
            scope.cancel()
            return False
        return True

    def _bind(self, engine_id: str, answer: Answer) -> None:
        """An engine proved its key: from here on this connection may speak as it."""
        if answer.error is None and answer.result.valid:
            self._engines[engine_id] = answer.result.key, Actor(f"engine:{engine_id}", self.peer.role, self.peer.uid)

    def _serve(self, call: Call, row: Row, actor: Actor, nursery: trio.Nursery) -> None:
        dispatch = self._service.dispatch
        params = dispatch.params(row, call.p)
        if row.kind == "task":
            self._begin_task(call, row, params, actor, nursery)
            return
        if row.quick is not None and call.as_ is None and self._quick(call.id, row, params):
            return
        reply = _Reply(self, call.id, call.as_, row, call.p["engine_id"] if row.name == PROOF_METHOD else "")
        self._in_flight[call.id] = None
        try:
            if row.kind == "read":
                if not dispatch.read(row, params, actor, reply):
                    self._finish_later(call, row, partial(dispatch.read_cold, row, params, actor), nursery)
            elif row.large and dispatch.may_be_large(row, params):
                self._finish_later(call, row, partial(self._write_large, call, row, params, actor, reply), nursery)
            elif call.dry:
                dispatch.dry(row, params, actor, reply)
            else:
                dispatch.write(row, params, actor, reply, call.idem, None if call.as_ is None else self._still(call, row))
        except Refused:
            raise
        except Exception as error:
            raise self._bug(row, error) from None

    def _quick(self, id: int, row: Row, params: Command) -> bool:
        """Answer a read from memory, if that is its answer as things stand. One that is asked for again is not even made again."""
        dispatch = self._service.dispatch
        kept = dispatch.quick(row, params)
        if kept is None or dispatch.writer is None:
            return False
        if dispatch.writer.durable_ends is not self._ends:
            self._ends, self._cursors = dispatch.writer.durable_ends, {}
        cursor = self._cursors.get(row.name)
        if cursor is None:
            cursor = self._cursors[row.name] = calls.cursor(self._service.cursor(dispatch.position(row)))
        wire = kept.wire
        if not wire and not (wire := self._made(row, params, kept)):
            return False
        counts, name = dispatch.calls, (row.name, "ok")
        counts[name] = counts.get(name, 0) + 1
        self._send(calls.done_again(id, wire, cursor))
        return True

    def _made(self, row: Row, params: Command, kept: Kept) -> bytes:
        """An answer from memory as it is sent; nothing where it is not small: then it goes the long way, and is counted there."""
        values, engine = self._service.dispatch.values, self._service.dispatch.world.engine_of[row.name].name
        assert row.quick is not None
        if len(kept.raw) <= QUICK_BYTES_MAX:
            with suppress(CodecError):
                wire = calls.result(msgspec.to_builtins(row.quick.answer(params, kept), builtin_types=(bytes,)))
                if len(wire) <= QUICK_BYTES_MAX:
                    values.keep_wire(engine, kept, wire)
                    return wire
        values.memory[engine].quick -= 1
        return b""

    def tell(self, told: "_Reply", answer: Answer) -> None:
        """Answer a call; with an error, where there is one."""
        row = told.row
        if told.engine_id:
            self._bind(told.engine_id, answer)
        elif row.name == CHECK_METHOD:
            self._bearers.bind(answer)
        if answer.error is not None:
            self._fail(told.id, told.as_, row, answer.error)
        else:
            self._answer(told.id, row, answer)

    def _begin_task(self, call: Call, row: Row, params: Command, actor: Actor, nursery: trio.Nursery) -> None:
        scope = trio.CancelScope()
        self._in_flight[call.id] = scope
        self._streams += row.streams
        if row.streams:
            self._streaming[call.id] = row
        stream = Stream(call.id, self.outbox, partial(self._goes_on, call, row, scope) if call.as_ is not None else None)

        async def work() -> Answer:
            return Answer(await self._service.tasks[row.name](params, actor, stream))

        nursery.start_soon(self._run_task, call, row, work, scope)

    def _finish_later(self, call: Call, row: Row, work: Work, nursery: trio.Nursery) -> None:
        """What needs the disk is finished by a task; of those there may not be more than of other calls."""
        if len(self._in_flight) - self._streams > self._service.dispatch.settings.limits.calls:
            del self._in_flight[call.id]
            crowded = self._crowded()
            assert crowded is not None
            raise crowded
        scope = self._in_flight[call.id] = trio.CancelScope()
        nursery.start_soon(self._run_task, call, row, work, scope)

    async def _write_large(
        self, call: Call, row: Row, params: Command, actor: Actor, reply: Callable[[Answer], None]
    ) -> Answer | None:
        """A write one of whose parameters is stored first. Until that is done nothing is decided, and it can be cancelled.

        A request that was made before is answered and stores nothing, so that its answer is heard on a full disk too.
        """
        dispatch = self._service.dispatch
        params = await dispatch.stored_first(row, params, keep=not call.dry and call.idem is None)
        scope, self._in_flight[call.id] = self._in_flight[call.id], None
        if call.idem is not None and not call.dry:
            if dispatch.repeats(row, params, actor, reply, call.idem, self._still(call, row)):
                return None
            self._in_flight[call.id] = scope
            params = await dispatch.kept(row, params)
            self._in_flight[call.id] = None
        if call.dry:
            dispatch.dry(row, params, actor, reply)
        else:
            dispatch.write(row, params, actor, reply, call.idem, self._still(call, row))
        return None

    def _bug(self, row: Row, error: Exception) -> Refused:
        """What a caller hears of a fault of ours: the id it can be found by, and never its text."""
        instance = self._service.dispatch.on_internal_error(row.name, error)
        return Refused("internal", "a bug in irer; nothing was written. The journal has the details", data={"instance": instance})

    async def _run_task(self, call: Call, row: Row, work: Work, scope: trio.CancelScope) -> None:
        """Serve one call that may wait. Cancel and deadline end it at any point. Where it gives None, its answer comes later."""
        deadline_ms = call.dl if call.dl is not None and row.deadline_ms is not None else row.deadline_ms
        late = trio.CancelScope(deadline=trio.current_time() + deadline_ms / 1000 if deadline_ms is not None else float("inf"))
        answer: Answer | None = Answer()
        with scope, late:
            try:
                answer = await work()
            except Refused as refused:
                answer = Answer(error=refused.with_traceback(None))  # else it holds this frame, in what is never tidied
            except Exception as error:
                answer = Answer(error=self._bug(row, error))
        if late.cancelled_caught:
            answer = Answer(error=Refused("deadline-exceeded", f"not done within {deadline_ms} ms"))
        elif scope.cancelled_caught and call.id in self._forbidden:
            answer = Answer(error=self._forbidden[call.id])
        elif scope.cancelled_caught and self._service.state() == "draining":
            text = "irerd is stopping; go on from the last cursor"
            answer = Answer(error=Refused("unavailable", text, reason="draining", retry_ms=500))
        elif scope.cancelled_caught:
            answer = Answer(error=Refused("cancelled", "cancelled by the caller"))
        self._streams -= row.streams
        self._streaming.pop(call.id, None)
        self._forbidden.pop(call.id, None)
        if answer is None:
            return
        if answer.error is not None:
            self._fail(call.id, call.as_, row, answer.error)
        else:
            self._answer(call.id, row, answer)
