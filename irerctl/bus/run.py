"""Puts a bridge together and runs it until a signal ends it.

Messages of one source are answered for one after the other, in the order they came: irerd refuses a point that is older than its
stream's newest. Different sources do not wait for each other. A message is settled when all that it led to has an end: done, or put
aside as a dead letter that the broker has.
"""

import base64
import fcntl
import json
import logging
import os
import secrets
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

from irerctl import VERSION
from irerctl.aio import Client, Error, Reply
from irerctl.bus import documents
from irerctl.bus.broker import Broker, Message, NotTaken, Outgoing
from irerctl.bus.counts import Counts, write_whole
from irerctl.bus.desk import Desk
from irerctl.bus.documents import Bad
from irerctl.bus.out import Follower
from irerctl.bus.settings import Act, Sense, Settings
from irerctl.bus.topics import BadTopic, fill, pattern
from irerctl.session import Failure

LOG = logging.getLogger("irerctl.bus")
CALL_S = 30.0
DEAD_BYTES_MAX = 65_536
"""So much of a bad message goes with its reason."""

Say = Callable[[Counts], None]


class Lanes:
    """Messages of one lane in order, lanes beside each other. As many wait as the broker hands over, which it bounds."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._lanes: dict[str, deque[Callable[[], Awaitable[None]]]] = {}
        self.empty = trio.Event()
        self.empty.set()

    def put(self, lane: str, work: Callable[[], Awaitable[None]]) -> None:
        if lane in self._lanes:
            self._lanes[lane].append(work)
            return
        if not self._lanes:
            self.empty = trio.Event()
        self._lanes[lane] = deque([work])
        self._nursery.start_soon(self._run, lane)

    async def _run(self, lane: str) -> None:
        waiting = self._lanes[lane]
        while waiting:
            await waiting[0]()
            waiting.popleft()
        del self._lanes[lane]
        if not self._lanes:
            self.empty.set()


class Bridge:
    """What comes in, and what becomes of it."""

    def __init__(self, settings: Settings, broker: Broker, desk: Desk, counts: Counts) -> None:
        self._settings = settings
        self._broker = broker
        self._desk = desk
        self._counts = counts
        self._incoming = settings.incoming()
        self.lanes: Lanes | None = None

    def take(self, message: Message) -> None:
        """Called by the broker for each message, once it may be waited for."""
        assert self.lanes is not None
        self._counts.read += 1
        for read, rule in self._incoming:
            if (names := read.match(message.topic)) is not None:
                self._begin(message, rule, names)
                return
        self.lanes.put("", lambda: self._end_badly(message, "no-rule", "no rule is about this topic"))

    def _begin(self, message: Message, rule: Sense | Act, names: Mapping[str, str]) -> None:
        assert self.lanes is not None
        try:
            if isinstance(rule, Act):
                self.lanes.put(f"act {message.topic}", self._request(message, rule, names))
                return
            arrival = secrets.token_hex(16) if rule.untimed == "arrival" else None
            found = documents.samples(message, rule.source, names, rule.engine, arrival)
        except Bad as bad:
            reason, detail = bad.reason, bad.detail
            self.lanes.put("", lambda: self._end_badly(message, reason, detail))
            return
        self.lanes.put(f"sense {found.source}", lambda: self._bring(message, found))

    async def _bring(self, message: Message, samples: documents.Samples) -> None:
        refused = None
        for ask in samples.asks:
            answer = await self._desk.ask(ask)
            if isinstance(answer, Error):
                refused = refused or answer
                continue
            self._counts.samples += 1
            self._counts.repeated += answer.replayed
            if not answer.replayed:
                self._counts.points += answer.result.get("accepted", 0)
                self._counts.points_refused += sum(each["count"] for each in answer.result.get("refused", ()))
        if refused is not None:
            await self._end_badly(message, refused.reason or refused.code, refused.detail or refused.title)
        else:
            self._settle(message)

    def _request(self, message: Message, rule: Act, names: Mapping[str, str]) -> Callable[[], Awaitable[None]]:
        correlation, ask = documents.request(message, rule.engine)
        topic = fill(rule.reply, names)
        if message.reply_to is not None:
            if not may_answer(rule.reply, message.reply_to):
                raise Bad("wrong-reply", f"it wants its answer at {message.reply_to[:200]}, and answers go to {rule.reply}")
            topic = message.reply_to

        async def answer() -> None:
            said = await self._desk.ask(ask)
            body = {"correlation_id": correlation, "ok": isinstance(said, Reply)}
            if isinstance(said, Reply):
                body["result"] = said.result
                self._counts.repeated += said.replayed
            else:
                body["error"] = {"code": said.code, "reason": said.reason, "detail": said.detail or said.title}
            await self._publish(Outgoing(topic, _json(body), message.key, ask.idem, correlation))
            self._counts.requests += 1
            self._settle(message)

        return answer

    async def _end_badly(self, message: Message, reason: str, detail: str) -> None:
        self._counts.dead += 1
        LOG.info("put aside: %s at %s: %s", reason, message.topic, detail)
        body = {
            "reason": reason,
            "detail": detail,
            "topic": message.topic,
            **{name: value for name, value in (("id", message.id), ("key", message.key), ("place", message.place)) if value},
            "payload": base64.b64encode(message.payload[:DEAD_BYTES_MAX]).decode(),
            "bytes": len(message.payload),
        }
        await self._publish(Outgoing(self._settings.dead_topic, _json(body), message.key, message.id))
        self._settle(message)

    async def _publish(self, one: Outgoing) -> None:
        try:
            await self._broker.publish([one])
        except NotTaken as refused:
            self._counts.not_taken += 1
            LOG.info(
                "the broker does not take what goes to %s: %s; %s", one.topic, refused, one.payload[:2_000].decode(errors="replace")
            )

    def _settle(self, message: Message) -> None:
        self._broker.settle(message)
        self._counts.settled += 1


def may_answer(reply: str, asked: str) -> bool:
    """Whether answers may go where a message wants them: only to what `reply` could be."""
    if {"+", "#", "\0"} & set(asked):
        return False
    try:
        return pattern(reply).match(asked) is not None
    except BadTopic:
        return asked == reply


async def main(path: str, settings: Settings, broker: Broker, keys: Mapping[str, str], say: Say) -> None:
    """Carries until SIGTERM or SIGINT, and ends what is under way. Raises Failure."""
    counts = Counts()
    folder = settings.folder
    lock = _lock(folder)
    try:
        async with Client(path, CALL_S, f"irerctl.bus/{VERSION}", retry_s=0) as client, trio.open_nursery() as nursery:
            bridge = Bridge(settings, broker, Desk(client, keys, counts), counts)
            bridge.lanes = Lanes(nursery)
            nursery.start_soon(_hear, bridge.lanes, broker, settings.drain_s, nursery.cancel_scope)
            nursery.start_soon(_tell, settings, counts, broker, say)
            for rule in settings.out:
                follower = Follower(rule, settings.name, folder, broker, counts, settings.dead_topic)
                await nursery.start(follower.run, client)
            await nursery.start(broker.run, bridge.take)
            LOG.info("irerctl bus ready · %s · pid %d · socket %s", settings.name, os.getpid(), path)
    finally:
        lock.close()
        _note(settings, counts, broker)
        say(counts)


async def _hear(lanes: Lanes, broker: Broker, drain_s: float, scope: trio.CancelScope) -> None:
    """The first signal asks for an orderly end, the second does not wait for it."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await anext(signals)
            broker.stop_taking()
            nursery.start_soon(_drain, lanes, drain_s, scope)
            await anext(signals)
            scope.cancel()


async def _drain(lanes: Lanes, drain_s: float, scope: trio.CancelScope) -> None:
    """What was taken gets its end; what does not in time stays with the broker."""
    with trio.move_on_after(drain_s):
        await lanes.empty.wait()
    scope.cancel()


async def _tell(settings: Settings, counts: Counts, broker: Broker, say: Say) -> None:
    while True:
        await trio.sleep(settings.status_s)
        _note(settings, counts, broker)
        say(counts)


def _note(settings: Settings, counts: Counts, broker: Broker) -> None:
    counts.broker = broker.state
    if settings.metrics_file is not None:
        try:
            write_whole(settings.metrics_file, counts.as_metrics(settings.name), durable=False)
        except OSError as problem:
            LOG.info("%s cannot be written: %s", settings.metrics_file, problem.strerror)


def _lock(folder: Path) -> "_Lock":
    """One bridge of a name: two would take each other's session away again and again."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _Lock(folder / "lock")
    except BlockingIOError:
        text = f"a bridge of this name runs already ({folder})."
        raise Failure("already-running", text, "End that one first, or give this one another name and state_dir") from None
    except OSError as problem:
        text = f"{folder} cannot be used ({(problem.strerror or '').lower()})."
        raise Failure("failed-precondition", text, "Name a directory that this user may write: state_dir") from None


class _Lock:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
