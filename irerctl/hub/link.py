"""The hub's way to irerd: a connection that all calls share, a second for what it cannot carry, a few more for streams.

A call either ends or fails with `Failed`, whose body is as irerd would have said it: with no daemon at once, so that no HTTP
caller ever waits for one. Nothing is asked twice here; who asked may, by key. Must never speak for an engine that did not prove
its key on this very connection.
"""

import hmac
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import trio

from core.wire import errors
from core.wire.calls import Answered, Bye, ClientConnection, Done, Err, Item, Mark, ProtocolError, Welcome
from core.wire.codec import CodecError
from irerctl import VERSION
from irerctl.hub.peers import Shares

RECEIVE_BYTES = 65_536
IN_FLIGHT_MAX = 64
WELCOME_S = 10.0
DEADLINE_MS = 30_000
"""Of a call whose method names none."""
RETRY_S = 0.2
RETRY_MS = 1_000
GRACE_S = 1.0
"""How much longer than its deadline an answer is waited for."""
LATE_S = 0.5
"""How often those are looked for who wait longer than that: for all at once, so that a short call costs no timer."""
UNSENT_BYTES_MAX = 4 << 20
TOGETHER_BYTES = 65_536
"""What is gathered at most before it is sent."""
PROOF = "engines.validate"
SHOWING = "system.check_http_token"
AS_BEARER = "http#"
"""Before the id of a token in `as`: no engine's id has this sign."""
NO_PROOF = "no valid engine proof"
NO_TOKEN = "the token is not good here"
PROOFS_MAX = 4_096
QUEUE_ITEMS_MAX = 64
QUEUE_BYTES_MAX = 1 << 18
"""What may wait for one reader; a stream that can go on from a cursor is then cancelled, and taken up again there."""
STREAM_LINKS_MAX = 8
OWN_LINKS_MAX = 16
CALL_LINKS = 2
"""Streams without a cursor that may run at once: each has a connection of its own, which waits for its reader."""


class Failed(Exception):
    """A call that was not answered with a result: the error's body."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__(str(body.get("code")))
        self.body = dict(body)


def failed(code: str, detail: str, **more: Any) -> Failed:
    return Failed(errors.make(code, detail, **more))


def too_late() -> Failed:
    return failed("deadline-exceeded", "no answer in time; ask system.op_status what became of it", effect="unknown")


def away(why: str, effect: str | None = None) -> Failed:
    """No daemon answers."""
    return failed("unavailable", f"irerd does not answer: {why}", reason="no-daemon", retry_ms=RETRY_MS, effect=effect)


class Ask(NamedTuple):
    """One call as it is sent."""

    method: str
    params: Mapping[str, Any]
    deadline_ms: int | None = None
    idem: str | None = None
    engine: str | None = None
    bearer: str | None = None
    """The id of the token in whose name it is made. An engine speaks for itself, whoever let it in."""
    who: str = ""
    """Whose turn it takes."""

    def message(self) -> dict[str, Any]:
        speaker = self.engine or (f"{AS_BEARER}{self.bearer}" if self.bearer is not None else None)
        return {"m": self.method, "p": self.params, "dl": self.deadline_ms, "idem": self.idem, "as_": speaker}


class _Waiter:
    """Who waits for the end of one call: less than an event costs, for there is one of these a request."""

    __slots__ = ("answer", "due", "late", "task")

    def __init__(self, due: float) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.answer: Done | Err | None = None
        self.due = due
        self.late = False

    async def wait(self) -> None:
        self.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._gave_up)

    def _gave_up(self, _: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)


class Inbox:
    """What has come of one stream and was not taken yet, up to a bound."""

    def __init__(self, *, resumable: bool) -> None:
        self.behind = False
        """The bound was reached: what comes now is not kept, the stream goes on later from its cursor."""
        self.lost: str | None = None
        """Why nothing more comes, though the stream did not end."""
        self.full = False
        self.wants_more: Callable[[], None] = lambda: None
        self.wants_no_more: Callable[[], None] = lambda: None
        """It fell behind just now: whoever sends makes nothing for it in vain."""
        self._resumable = resumable
        self._messages: deque[tuple[Item | Mark | Done | Err, int]] = deque()
        self._bytes = 0
        self._changed = trio.Event()

    def put(self, message: Item | Mark | Done | Err, size: int) -> None:
        if self.behind:
            return
        if self._resumable and self._over():
            self.behind = True
            self.wants_no_more()
        else:
            self._messages.append((message, size))
            self._bytes += size
            self.full = not self._resumable and self._over()
        self._changed.set()

    def lose(self, why: str) -> None:
        self.lost = why
        self._changed.set()

    async def next(self) -> Item | Mark | Done | Err | None:
        """The next message; None when no more comes, and `behind` or `lost` says why."""
        while not self._messages:
            if self.behind or self.lost is not None:
                return None
            self._changed = trio.Event()
            await self._changed.wait()
        message, size = self._messages.popleft()
        self._bytes -= size
        if self.full and not self._over():
            self.full = False
            self.wants_more()
        return message

    def _over(self) -> bool:
        return len(self._messages) >= QUEUE_ITEMS_MAX or self._bytes >= QUEUE_BYTES_MAX


class Link:
    """One connection to irerd. What is sent leaves whole and in order, whoever is cancelled."""

    def __init__(self, sock: socket.socket) -> None:
        self.welcome: Welcome | None = None
        self.calls_max = IN_FLIGHT_MAX
        self.farewell: Bye | None = None
        self.lost: str | None = None
        self.proofs: dict[str, bytes] = {}
        """Engines that proved a key here, with a keyed hash of it. One key an engine: the last one that was proved counts."""
        self.shown: set[str] = set()
        """Tokens that were shown here and found good, by id."""
        self._proving: dict[str, int] = {}
        """The last call that gave an engine's key, whoever made it: irerd binds the engine to that key."""
        self._sock = sock
        self._wire = ClientConnection()
        self._unsent = bytearray()
        self._filled = trio.Event()
        self._waiters: dict[int, _Waiter] = {}
        self._inboxes: dict[int, Inbox] = {}
        self._in_flight = 0
        self._room = trio.Event()
        self._room_is_wanted = False
        self._changed = trio.Event()
        self._hungry = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def usable(self) -> bool:
        return self.lost is None and self.farewell is None and self.welcome is not None and not self._wire.spent

    @property
    def streams(self) -> int:
        """How many it carries, as irerd counts them: one that was cancelled is one until irerd has ended it."""
        return self._wire.open_count

    @property
    def streams_max(self) -> int:
        assert self.welcome is not None
        return int(self.welcome.limits.get("streams", 64))

    async def run(self) -> None:
        """Sends and receives until the connection ends. Never raises."""
        why = "the connection ended"
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send_rest)
                    self._put(self._wire.hello(f"irerctl-hub/{VERSION}"))
                    await self._receive()
                    nursery.cancel_scope.cancel()
        except* OSError:
            pass
        except* ProtocolError as group:
            why = f"what answers there is not irerd: {group.exceptions[0]}"
        finally:
            self._end(why)

    def close(self) -> None:
        self._scope.cancel()

    def _end(self, why: str) -> None:
        self.lost = why
        for waiter in self._waiters.values():
            waiter.wake()
        for inbox in self._inboxes.values():
            inbox.lose(why)
        self._hungry.set()
        self._wake()
        self._sock.close()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
        self._wake_for_room()

    def _wake_for_room(self) -> None:
        self._room_is_wanted = False
        self._room.set()
        self._room = trio.Event()

    async def started(self) -> bool:
        """Whether irerd said who it is, in time."""
        with trio.move_on_after(WELCOME_S):
            while self.welcome is None and self.lost is None and self.farewell is None:
                await self._changed.wait()
        if self.welcome is None:
            self._scope.cancel()
        return self.welcome is not None

    async def wait_unusable(self) -> None:
        """Until nothing new may be asked here."""
        while self.usable:
            await self._changed.wait()

    # --- calls ------------------------------------------------------------------------------------------------------

    async def ask(self, ask: Ask, due: float = math.inf) -> Done:
        """Sends one call and waits for its end. Cancelled, or when the time for it is over, it tells irerd. Raises Failed."""
        await self.wait_room()
        id = self._call(ask)
        if ask.method == PROOF:
            self._unproved(str(ask.params.get("engine_id")), id)
        waiter = self._waiters[id] = _Waiter(due)
        self._in_flight += 1
        try:
            await waiter.wait()
            if waiter.late:
                raise too_late()
        except (trio.Cancelled, Failed):
            if waiter.answer is None and self.lost is None:
                self._put(self._wire.cancel(id))
            raise
        finally:
            if waiter.answer is not None or self.lost is not None:
                self._waiters.pop(id, None)
        answer = waiter.answer
        if isinstance(answer, Done):
            return answer
        if answer is None:
            raise self.refusal() or away(self.lost or "the connection ended", effect="unknown")
        raise Failed(answer.e)

    def give_up_late(self, now: float) -> None:
        """Whoever waits longer than they may need not wait any more."""
        for waiter in self._waiters.values():
            if waiter.due < now and waiter.task is not None:
                waiter.late = True
                waiter.wake()

    async def wait_room(self) -> None:
        """Until one more call may be in flight."""
        while not self.has_room and self.usable:
            self._room_is_wanted = True
            await self._room.wait()

    @property
    def has_room(self) -> bool:
        return self._in_flight < self.calls_max

    def _unproved(self, engine: str, id: int) -> None:
        """From here on it is open which of its keys the engine is bound to."""
        if len(self._proving) >= PROOFS_MAX:
            self._proving.clear()
            self.proofs.clear()
        self.proofs.pop(engine, None)
        self._proving[engine] = id

    def proved(self, engine: str, mac: bytes, id: int) -> None:
        """That call was answered yes. It counts if no other gave a key since: answers may be looked at in any order."""
        if self._proving.get(engine) == id:
            self.proofs[engine] = mac

    def knows(self, ask: Ask) -> bool:
        """Whether nobody has to be introduced here for this call."""
        return ask.engine is None and (ask.bearer is None or ask.bearer in self.shown)

    def took(self, bearer: str) -> None:
        """A token was found good here. To forget them costs no more than to show them again."""
        if len(self.shown) >= PROOFS_MAX:
            self.shown.clear()
        self.shown.add(bearer)

    def refusal(self) -> Failed | None:
        """Why irerd wants nothing to do with this hub, if that is what its last words said."""
        if self.farewell is None or self.farewell.e is None:
            return None
        return Failed(self.farewell.e)

    def _read_on(self) -> None:
        self._hungry.set()

    def _call(self, ask: Ask) -> int:
        if self.lost is not None or self.farewell is not None:
            raise self.refusal() or away(self.lost or "it is stopping")
        if len(self._unsent) > UNSENT_BYTES_MAX:
            raise failed("unavailable", "irerd is too busy to take more", reason="busy", retry_ms=RETRY_MS)
        try:
            id, data = self._wire.call(**ask.message())
        except CodecError as error:
            raise failed("invalid-argument", str(error), reason="not-sendable") from None
        self._put(data)
        return id

    # --- streams ----------------------------------------------------------------------------------------------------

    def open(self, ask: Ask, *, resumable: bool) -> tuple[int, Inbox]:
        """Begins a streaming call. Raises Failed."""
        id = self._call(ask)
        inbox = self._inboxes[id] = Inbox(resumable=resumable)
        inbox.wants_more = self._read_on
        inbox.wants_no_more = partial(self.forget, id)
        return id, inbox

    def forget(self, id: int) -> None:
        """Nobody reads this stream any more, or not for now."""
        if self._inboxes.pop(id, None) is not None and self.lost is None and id in self._wire.open_ids:
            self._put(self._wire.cancel(id))
        self._hungry.set()

    # --- bytes ------------------------------------------------------------------------------------------------------

    def _put(self, data: bytes) -> None:
        """Sends at once where nobody else asks just now. Else what all of them ask for in this turn leaves together: that
        costs irerd half of what as many pieces do.
        """
        self._unsent += data
        if self._in_flight and len(self._unsent) < TOGETHER_BYTES:
            self._filled.set()
            return
        try:
            self._send_now()
        except BlockingIOError:
            self._filled.set()
        except OSError:
            self._scope.cancel()

    def _send_now(self) -> None:
        """As much as the kernel takes."""
        while self._unsent:
            del self._unsent[: self._sock.send(self._unsent)]

    async def _send_rest(self) -> None:
        while True:
            await self._filled.wait()
            self._filled = trio.Event()
            while self._unsent:
                try:
                    self._send_now()
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._sock)

    async def _receive(self) -> None:
        while not (self.farewell is not None and not self._wire.open_count):
            while any(inbox.full for inbox in self._inboxes.values()):
                self._hungry = trio.Event()
                await self._hungry.wait()
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue
            if not data:
                return
            size = len(data)
            try:
                messages = self._wire.receive(data)
            except ProtocolError as error:
                self._deliver_all(error.messages, size)
                raise
            self._deliver_all(messages, size)

    def _deliver_all(self, messages: list[Answered], size: int) -> None:
        share = size // max(1, len(messages))
        for message in messages:
            self._deliver(message, share)

    def _deliver(self, message: Answered, size: int) -> None:
        if isinstance(message, Welcome):
            self.welcome = message
            self.calls_max = min(IN_FLIGHT_MAX, int(message.limits.get("calls", IN_FLIGHT_MAX)))
            self._wake()
            return
        if isinstance(message, Bye):
            self.farewell = message
            self._wake()
            return
        if (inbox := self._inboxes.get(message.id)) is not None:
            inbox.put(message, size)
        elif isinstance(message, Done | Err) and (waiter := self._waiters.pop(message.id, None)) is not None:
            waiter.answer = message
            waiter.wake()
            self._in_flight -= 1
            if self._room_is_wanted:
                self._wake_for_room()


class Daemon:
    """irerd as the hub sees it: connected to or not, and then with its methods."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.methods: dict[str, dict[str, Any]] = {}
        """Every method of the daemon, as its own `system.describe` says. Kept while it is away, and asked for anew after that."""
        self.document: dict[str, Any] | None = None
        self.schema = ""
        self.changed = trio.Event()
        """Set, and made anew, whenever the daemon came or went."""
        self.why_away = "it was not asked yet"
        self._link: Link | None = None
        self._judge: Link | None = None
        self._second: Link | None = None
        self._shares = Shares(CALL_LINKS * IN_FLIGHT_MAX)
        self._stream_links: list[Link] = []
        self._own_links = 0
        self._opening = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._key = os.urandom(32)

    @property
    def present(self) -> bool:
        return self._link is not None and self._link.usable

    @property
    def role(self) -> str:
        """What this process may do there, by the daemon's own word."""
        return str(self._link.welcome.peer.get("role")) if self._link is not None and self._link.welcome is not None else ""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stays connected, for ever. `started` once the first attempt is over, however it ended."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._give_up_late)
            first = True
            while True:
                link = await self._connect()
                if link is not None and await self._learn(link):
                    self._link = link
                    self._shares.places = CALL_LINKS * link.calls_max
                    self._turn()
                if first:
                    task_status.started()
                    first = False
                if self._link is not None:
                    await self._link.wait_unusable()
                    self.why_away = self._link.lost or "it is stopping"
                    self._link = None
                    self._turn()
                await trio.sleep(RETRY_S)

    async def _give_up_late(self) -> None:
        while True:
            await trio.sleep(LATE_S)
            for link in (self._link, self._second):
                if link is not None:
                    link.give_up_late(trio.current_time())

    def _turn(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def _connect(self) -> Link | None:
        assert self._nursery is not None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self.path)
        except BlockingIOError:
            sock.close()
            self.why_away = "too many others wait to be let in"
            return None
        except OSError as error:
            sock.close()
            self.why_away = f"{self.path}: {(error.strerror or str(error)).lower()}"
            return None
        link = Link(sock)
        self._nursery.start_soon(link.run)
        if await link.started():
            return link
        refusal = link.refusal()
        self.why_away = str(refusal.body.get("detail")) if refusal is not None else link.lost or "it said no welcome in time"
        return None

    async def _learn(self, link: Link) -> bool:
        """Asks what the daemon can do. It may still be recovering, and then it says no: later."""
        assert link.welcome is not None
        if self.document is not None and link.welcome.schema == self.schema and link.welcome.state == "ready":
            return True
        try:
            with trio.fail_after(WELCOME_S):
                found = (await link.ask(Ask("system.describe", {}))).r
        except trio.TooSlowError:
            self.why_away = "it did not say in time what it can do"
        except Failed as failure:
            self.why_away = str(failure.body.get("detail") or failure.body.get("title"))
        else:
            self.document = {name: found[name] for name in ("methods", "events", "errors")} | {"proto": 1}
            self.methods = {method["name"]: method for method in found["methods"]}
            self.schema = found["schema"]
            return True
        link.close()
        return False

    # --- asking -----------------------------------------------------------------------------------------------------

    def _present(self) -> Link:
        if self._link is None or not self._link.usable:
            raise away(self.why_away)
        return self._link

    def knows(self, engine: str, key: str) -> bool:
        """Whether this key of the engine was proved already."""
        mac = self.mac(engine, key)
        known = [link.proofs.get(engine) for link in (self._link, self._second) if link is not None and link.usable]
        return any(each is not None and hmac.compare_digest(each, mac) for each in known)

    async def ask(self, ask: Ask, key: str | None = None) -> Done:
        """The answer to one call. The key of an engine, or the token in whose name it is, is shown first where it was not yet.
        Raises Failed.
        """
        link = self._present()
        due = trio.current_time() + (ask.deadline_ms or DEADLINE_MS) / 1000 + GRACE_S
        if not (link.has_room and link.knows(ask) and self._shares.take_nowait(ask.who)):
            link = await self._made_ready(ask, key or "", due)
        try:
            return await link.ask(ask, due)
        finally:
            self._shares.give(ask.who)

    async def _made_ready(self, ask: Ask, key: str, due: float) -> Link:
        """The connection for a call, once it is its turn and irerd knows there who asks. Its share is taken. Raises Failed."""
        with trio.move_on_at(due):
            await self._shares.take(ask.who)
            try:
                link = await self._call_link()
                await self._introduce(link, ask, key)
                await link.wait_room()
                return link
            except BaseException:
                self._shares.give(ask.who)
                raise
        raise failed("deadline-exceeded", "irerd answers nobody just now, and was not asked", reason="busy", retry_ms=RETRY_MS)

    async def judge(self, ask: Ask) -> Done:
        """The same over a connection of its own, for what strangers may ask as often as they like. Raises Failed."""
        self._present()
        async with self._opening:
            if self._judge is None or not self._judge.usable:
                self._judge = await self._connect()
            link = self._judge
        if link is None:
            raise away(self.why_away)
        with trio.move_on_after((ask.deadline_ms or DEADLINE_MS) / 1000):
            return await link.ask(ask)
        raise failed("unavailable", "irerd is too busy to judge this", reason="busy", retry_ms=RETRY_MS)

    async def _call_link(self) -> Link:
        """The connection that calls share, as long as it has room; then the second."""
        link = self._present()
        if link.has_room:
            return link
        async with self._opening:
            if self._second is None or not self._second.usable:
                self._second = await self._connect()
            return self._second or link

    def mac(self, engine: str, key: str) -> bytes:
        return hmac.digest(self._key, f"{len(engine)} {engine} {key}".encode(), "sha256")

    async def prove(self, engine: str, key: str) -> None:
        """Raises Failed where this is not the engine's key."""
        self._present()
        with trio.move_on_after(DEADLINE_MS / 1000):
            await self._prove(await self._call_link(), engine, key)
            return
        raise failed("deadline-exceeded", "no answer in time")

    async def _introduce(self, link: Link, ask: Ask, key: str) -> None:
        """Each connection learns for itself in whose name it is called."""
        if ask.engine is not None:
            await self._prove(link, ask.engine, key)
        elif ask.bearer is not None and ask.bearer not in link.shown:
            answer = (await link.ask(Ask(SHOWING, {"token": key}))).r
            if answer.get("jti") != ask.bearer:
                raise failed("unauthenticated", NO_TOKEN, reason="token-refused")
            link.took(ask.bearer)

    def forget_bearer(self, bearer: str) -> None:
        """The daemon takes no more calls in its name."""
        for link in (self._link, self._second, *self._stream_links):
            if link is not None:
                link.shown.discard(bearer)

    async def _prove(self, link: Link, engine: str, key: str) -> None:
        mac = self.mac(engine, key)
        if (known := link.proofs.get(engine)) is not None and hmac.compare_digest(known, mac):
            return
        try:
            answer = await link.ask(Ask(PROOF, {"engine_id": engine, "engine_key": key}))
        except Failed as failure:
            if failure.body.get("code") == "invalid-argument":  # what can be no engine's name, or no key
                raise failed("unauthenticated", NO_PROOF, reason="engine-proof") from None
            raise
        if not answer.r.get("valid"):
            raise failed("unauthenticated", NO_PROOF, reason="engine-proof")
        link.proved(engine, mac, answer.id)

    def forget_proof(self, engine: str) -> None:
        """The daemon refused what was proved: the next request proves anew."""
        for link in (self._link, self._second):
            if link is not None:
                link.proofs.pop(engine, None)

    async def open(self, ask: Ask, key: str | None = None, *, resumable: bool) -> "Opened":
        """Begins a streaming call. Raises Failed."""
        self._present()
        link = await self._stream_link(resumable)
        try:
            await self._introduce(link, ask, key or "")
            id, inbox = link.open(ask, resumable=resumable)
        except BaseException:
            if not resumable:
                self._let_go(link)
            raise
        return Opened(self, link, id, inbox, own=not resumable)

    async def _stream_link(self, resumable: bool) -> Link:
        return await (self._shared_link() if resumable else self._own_link())

    async def _shared_link(self) -> Link:
        """A connection that has room for one more stream."""
        async with self._opening:
            self._stream_links = [link for link in self._stream_links if link.usable]
            for link in self._stream_links:
                if link.streams < link.streams_max:
                    return link
            if len(self._stream_links) >= STREAM_LINKS_MAX:
                raise failed(
                    "resource-exhausted", "too many streams are open through this hub", reason="streams", retry_ms=RETRY_MS
                )
            made = await self._connect()
            if made is None:
                raise away(self.why_away)
            self._stream_links.append(made)
            return made

    async def _own_link(self) -> Link:
        if self._own_links >= OWN_LINKS_MAX:
            text = f"{OWN_LINKS_MAX} long answers are being streamed through this hub, which is the most"
            raise failed("resource-exhausted", text, reason="streams", retry_ms=RETRY_MS)
        self._own_links += 1
        try:
            if (made := await self._connect()) is not None:
                return made
            raise away(self.why_away)
        except BaseException:
            self._own_links -= 1
            raise

    def _let_go(self, link: Link) -> None:
        self._own_links -= 1
        link.close()


class Opened:
    """A streaming call that runs."""

    def __init__(self, daemon: Daemon, link: Link, id: int, inbox: Inbox, *, own: bool) -> None:
        self.inbox = inbox
        self._daemon = daemon
        self._link = link
        self._id = id
        self._own = own

    def close(self) -> None:
        """Ends the call, if it has not ended. Once."""
        self._link.forget(self._id)
        if self._own:
            self._own = False
            self._daemon._let_go(self._link)


def deadline_of(text: str | None, highest: int) -> int | None:
    """The milliseconds that a header names; None without one. Raises Failed."""
    if text is None:
        return None
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else math.inf
    if not 1 <= value <= highest:
        raise failed("invalid-argument", f"X-Irer-Timeout-Ms is a whole number of milliseconds, 1..{highest}", reason="timeout")
    return int(value)
