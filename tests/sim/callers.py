"""Callers by chance: what they ask, what they are told, and whether they were told the truth.

A caller speaks through `core.wire.calls.ClientConnection` like any program. It keeps what it asked, so that it can ask again
with the same key after a lost reply, follow a stream by its cursor, and compare every answer with what is on the disk.
"""

import json
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import trio

from core.engine import Refused
from core.engines import ENGINES
from core.fields import takes_secret
from core.proofs import consistent
from core.times import time_text
from core.wire.calls import Bye, ClientConnection, Done, Err, Item, Mark, ProtocolError, Welcome
from core.world import World
from irerd.cursors import parse_cursor
from tests.sim import knowledge, wares
from tests.sim.oracle import KINDS, Rec
from tests.sim.promises import NAMED, digest
from tests.sim.wares import POOLS, Request
from tests.sim.wires import CallerEnd

if TYPE_CHECKING:
    from tests.sim.universe import Universe

OPERATOR, OTHER_OPERATOR, VIEWER, NOBODY, ADMIN, SENSOR = 1001, 1002, 1003, 1005, 1000, 1007
PASSING = frozenset({"unavailable", "resource-exhausted", "durability-unknown"})
"""Answers that say nothing about the request itself."""
REFUSALS = frozenset({"permission-denied", "unauthenticated"})
READS = (
    ("resource.status", 6),
    ("resource.pools", 2),
    ("resource.tasks", 2),
    ("resource.health", 1),
    ("gate.breaches", 2),
    ("system.status", 2),
    ("system.health", 1),
    ("system.info", 1),
    ("system.ping", 2),
)
PATIENCE_S = 120.0
"""No call but a stream takes longer than this from a daemon in good health."""


@dataclass
class Keyed:
    """A write with an idempotency key, and all that is known of it."""

    key: str
    method: str
    params: dict[str, Any]
    sends: int = 0
    open: int = 0
    """Sends of this process's life whose answer is not there yet."""
    life: int = 0
    receipt: dict[str, Any] | None = None
    absent_after: int | None = None
    """How often it had been sent when `op_status` said that there is no such thing."""
    found_full: int = 0
    """How often it was answered that the disk is full."""


class Book:
    """Who asked for what: a record that nobody asked for has no place in a log."""

    def __init__(self) -> None:
        self.keyed: dict[tuple[str, str], list[Keyed]] = {}
        self.plain: Counter[tuple[Any, ...]] = Counter()

    def asked(self, actor: str, method: str, params: dict[str, Any], keyed: Keyed | None) -> None:
        if keyed is None:
            self.plain[actor, method, _signature(method, params)] += 1
            return
        entries = self.keyed.setdefault((actor, keyed.key), [])
        if keyed not in entries:
            entries.append(keyed)

    def why_not(self, record: Rec) -> str | None:
        """Why this record should not be there."""
        if record.actor == "irer":
            return None
        asked = _asked_by(record)
        if asked is None:
            return f"no call leads to {record.event_type}"
        method, signatures = asked
        if record.idem is None:
            for signature in signatures:
                if self.plain[record.actor, method, signature] > 0:
                    self.plain[record.actor, method, signature] -= 1
                    return None
            return f"nobody asked for it: {record.payload}"
        entries = self.keyed.get((record.actor, record.idem[1]), [])
        found = [each for each in entries if each.method == method and _signature(method, each.params) in signatures]
        if not found:
            return f"nobody asked for it with key {record.idem[1]}: {record.payload}"
        if all(each.absent_after == each.sends for each in found):
            return f"N5: op_status had said that key {record.idem[1]} was never used"
        if all(each.found_full == each.sends for each in found):
            return f"key {record.idem[1]} was refused for want of room as often as it was sent"
        return None


def _signature(method: str, params: dict[str, Any]) -> tuple[Any, ...]:
    found = wares.signature(method, params)
    if found is not None:
        return found
    if method == "resource.submit_task":
        return (
            params.get("task_id"),
            params.get("priority", "normal"),
            params.get("resource_type", "compute"),
            params.get("units", 1),
            params.get("duration_s"),
            params.get("deadline_s"),
            tuple(params.get("depends_on") or ()),
            json.dumps(params.get("job"), sort_keys=True),
        )
    return tuple(sorted(params.items()))


def _asked_by(record: Rec) -> tuple[str, list[tuple[Any, ...]]] | None:
    """The method that leads to this record, and how the request may have looked."""
    payload = record.payload
    if record.event_type == "task.submitted":
        method = "resource.submit_task"
        return method, [_signature(method, payload), _signature(method, payload | {"task_id": None})]
    if record.event_type == "task.cancelled":
        return "resource.cancel_task", [(("task_id", payload["task_id"]),)] if payload["reason"] == "request" else []
    if record.event_type == "pool.scaled":
        asked = (("pool", payload["pool"]), ("size", payload["to_units"]))
        return "resource.scale", [asked] if payload["reason"] == "request" else []
    found = wares.asked_by(record)
    return (found[0], [found[1]]) if found is not None else None


@dataclass
class Following:
    """A stream of events, over as many connections as it takes."""

    engine: str | None
    type: str | None
    position: dict[str, int] | None = None
    cursor: str | None = None
    seen: int = 0

    def wants(self, log: str, record: Rec) -> bool:
        if self.type is not None and record.event_type != self.type:
            return False
        return self.engine is None or _WORLD.engine_of_event(record.event_type) == self.engine


_WORLD = World(ENGINES)
_NAMED_BY = dict(NAMED.values())
_DOCUMENTS = {"cache.set": {"value"}, "cache.merged": {"value"}}
"""What a stream does not show as it is."""


def _without_documents(seen: dict[str, Any]) -> dict[str, Any]:
    hidden = _DOCUMENTS.get(seen["type"], set())
    return {name: value for name, value in seen["data"].items() if name not in hidden}


@dataclass
class Asked:
    """One call on one connection."""

    method: str
    params: dict[str, Any]
    at: float
    keyed: Keyed | None = None
    dry: bool = False
    following: Following | None = None
    about: tuple[Keyed, int] | None = None
    """What an `op_status` is about, and how often that had been sent."""
    actor: str = ""
    """As whom."""
    cache_end: int = 0
    """How much of the cache's log was durable when it was asked."""
    events_told: frozenset[str] = frozenset()
    """Of the events that it names, those that were durable by then."""
    cancelled: bool = False
    sent: bool = False
    """Whether all of it is on its way."""
    ended: trio.Event = field(default_factory=trio.Event)


class Line:
    """One connection of one caller."""

    def __init__(self, name: str, end: CallerEnd, life: int) -> None:
        self.name = name
        self.end = end
        self.life = life
        self.wire = ClientConnection()
        self.open: dict[int, Asked] = {}
        self.over = False
        self.said_bye = False
        self.faulted = False
        """We broke a rule on it, so it may end at any time."""
        self.pause_s = 0.0
        """How long the reader waits before each read."""
        self.quiet = trio.Event()
        self.welcomed = trio.Event()
        self.engines: list[str] = []
        """Those that proved their keys on it."""


class Caller:
    def __init__(self, universe: "Universe", number: int, uid: int, random: Random) -> None:
        self.universe = universe
        self.name = f"c{number}"
        self.uid = uid
        self.actor = f"uid:{uid}"
        self.random = random
        self.line: Line | None = None
        self.history: list[Keyed] = []
        self.as_history: list[tuple[str, Keyed]] = []
        self.followed: list[Following] = []
        self.tasks: list[str] = []
        self._counter = 0
        self._lines = 0
        self._nursery: trio.Nursery | None = None
        self.pace_s = random.choice((0.001, 0.01, 0.05, 0.2))

    # --- life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            if self.uid == ADMIN:
                await self._set_up(await self._connected())
            while self.universe.next_operation():
                await self._rest()
                line = await self._connected()
                await self._one(line)
            self.universe.caller_finished()
            while True:  # what is followed is followed to the end
                line = await self._connected()
                line.pause_s = 0.0
                await self._follow_up(line)
                while not line.over:
                    line.quiet = trio.Event()
                    await line.quiet.wait()

    async def _set_up(self, line: Line) -> None:
        """What an admin does first, so that others have something to use."""
        for method, params in wares.first_steps(self.random):
            await self._write(line, method, params)

    async def _rest(self) -> None:
        luck = self.random.random()
        if luck < 0.35:
            await trio.lowlevel.checkpoint()
        elif luck < 0.98:
            await trio.sleep(self.random.expovariate(1 / self.pace_s))
        else:
            await trio.sleep(self.random.uniform(0.5, 6.0))

    async def _connected(self) -> Line:
        while self.line is None or self.line.over:
            end = self.universe.connect(self.uid, f"{self.name}.{self._lines}")
            if end is None:
                await self.universe.wait_life()
                await trio.sleep(self.random.uniform(0.001, 0.1))
                continue
            line = self.line = Line(f"{self.name}.{self._lines}", end, self.universe.life)
            self._lines += 1
            await trio.sleep(self.random.uniform(0.0, 0.05))
            if self.random.random() < 0.05:
                line.pause_s = self.random.choice((0.05, 0.5))
            assert self._nursery is not None
            self._nursery.start_soon(self._read, line)
            await self._send(line, line.wire.hello(self.name))
            if self.random.random() < 0.8:
                with trio.move_on_after(1.0):
                    await line.welcomed.wait()
            await self._follow_up(line)
        return self.line

    async def _follow_up(self, line: Line) -> None:
        """Go on with the streams that an earlier connection left behind."""
        for following in list(self.followed):
            running = any(asked.following is following for asked in line.open.values())
            if not (running or line.over or line.said_bye):
                await self._watch(line, following)

    async def _read(self, line: Line) -> None:
        while True:
            if line.pause_s:
                await trio.sleep(line.pause_s)
            data = await line.end.receive()
            if not data:
                break
            try:
                messages = line.wire.receive(data)
            except ProtocolError as error:
                self.universe.blame(f"{line.name}: the daemon broke the protocol: {error}")
                return
            for message in messages:
                self._hear(line, message)
        self._lost(line)

    def _lost(self, line: Line) -> None:
        if line.over:
            return
        line.over = True
        line.welcomed.set()
        line.end.close()
        line.quiet.set()
        for asked in line.open.values():
            asked.ended.set()  # a keyed write stays open: what was sent may still be read and done in this life
        self.universe.line_lost(line)

    async def _send(self, line: Line, data: bytes) -> None:
        if not await line.end.send(data) and not line.over:
            line.quiet.set()

    # --- asking -----------------------------------------------------------------------------------------------------------

    async def _ask(
        self, line: Line, method: str, params: dict[str, Any], *, keyed: Keyed | None = None, wait: bool | None = None, **more: Any
    ) -> Asked:
        call = {name: more.pop(name) for name in ("dl", "dry", "as_") if name in more}
        actor = f"engine:{call['as_']}" if "as_" in call else self.actor
        asked = Asked(method, params, trio.current_time(), keyed, call.get("dry", False), actor=actor, **more)
        asked.cache_end = self.universe.oracle.logs["cache_log"].end
        if method == "data.cite":
            asked.events_told = frozenset(self.universe.oracle.promises.events.keys() & set(params.values()))
        id, data = line.wire.call(method, params, idem=keyed.key if keyed else None, **call)
        line.open[id] = asked
        if keyed is not None:
            if keyed.life != line.life:
                keyed.life, keyed.open = line.life, 0
            keyed.sends += 1
            keyed.open += 1
        row = _WORLD.rows.get(method)
        if row is not None and row.kind == "write" and not asked.dry:
            self.universe.book.asked(actor, method, params, keyed)
        extra = f" {call}" if call else ""
        said = str(params) if len(str(params)) < 300 else f"{str(params)[:100]}..."
        self.universe.trace.operation(f"{line.name} asks {id} {method} {said}{f' key {keyed.key}' if keyed else ''}{extra}")
        await self._send(line, data)
        asked.sent = True
        if wait if wait is not None else self.random.random() < 0.4:
            with trio.move_on_after(self.random.choice((0.001, 0.1, 2.0))):
                await asked.ended.wait()
        return asked

    async def _one(self, line: Line) -> None:
        actions = (
            (self._submit, 12),
            (self._cancel_task, 4),
            (self._scale, 3),
            (self._read_something, 10),
            (self._trade, 30),
            (self._as_engine, 6),
            (self._at_once, 3),
            (self._load, 2),
            (self._in_turn, 4),
            (self._again, 10),
            (self._operation, 8),
            (self._follow, 3),
            (self._stop_following, 2),
            (self._cancel_call, 2),
            (self._burst, 6),
            (self._reuse_key, 3),
            (self._dry, 2),
            (self._nonsense, 4),
            (self._hashchain, 1),
            (self._reload, 1),
            (self._flood, 1),
            (self._garbage, 1),
            (self._vanish, 3),
            (self._leave, 1),
            (self._strangers, 1),
            (self._change_speed, 1),
        )
        action = self.random.choices([action for action, _ in actions], [weight for _, weight in actions])[0]
        await action(line)

    def _key(self) -> str:
        self._counter += 1
        return f"{self.name}-key-{self._counter:05d}"

    def _new_task(self) -> dict[str, Any]:
        random = self.random
        self._counter += 1
        params: dict[str, Any] = {
            "resource_type": random.choice(POOLS),
            "priority": random.choice(("critical", "high", "normal", "low")),
        }
        if random.random() < 0.85:
            params["task_id"] = f"{self.name}-t{self._counter}"
            self.tasks.append(params["task_id"])
        params["units"] = random.choice((1, 1, 2, 3, 5, 9))
        if random.random() < 0.15:
            job = random.choice(
                ({"name": "hash_tree", "params": {"root": "documents"}}, {"name": "verify_log", "params": {"log": "gate_log"}})
            )
            params["job"] = job
        elif random.random() < 0.7:
            params["duration_s"] = random.choice((0.001, 0.05, 0.5, 1.5, 2.25))
        if random.random() < 0.15:
            params["deadline_s"] = random.choice((0.01, 0.5, 3.0))
        if random.random() < 0.2 and self.tasks[:-1]:
            params["depends_on"] = random.sample(self.tasks[:-1][-6:], 1)
        return params

    async def _write(self, line: Line, method: str, params: dict[str, Any], wait: bool | None = None) -> None:
        keyed = None
        if self.random.random() < 0.75:
            keyed = Keyed(self._key(), method, params)
            self.history.append(keyed)
        await self._ask(line, method, params, keyed=keyed, wait=wait)

    async def _submit(self, line: Line) -> None:
        await self._write(line, "resource.submit_task", self._new_task())

    def _drawn(self) -> Request:
        """Something to ask of the other engines, as its kind of caller would."""
        random, shelf = self.random, self.universe.shelf
        weights = (8, 5, 9, 6, 12 if self.uid == ADMIN else 2, 2, 3, 9)
        draws = (wares.entity, wares.order, wares.cache, wares.token, wares.control, wares.report, wares.look, self._knowing)
        return random.choices(draws, weights)[0](random, shelf)

    def _knowing(self, random: Random, shelf: wares.Shelf) -> Request:
        known = shelf.known
        kind = random.choices(("energy", "program", "event", "token", "checkpoint"), (10, 6, 6, 6 if self.uid == ADMIN else 2, 1))[
            0
        ]
        if kind == "energy":
            return knowledge.energy(random, known, self.actor)
        draws = {"program": knowledge.program, "event": knowledge.event, "token": knowledge.http_token}
        return draws.get(kind, knowledge.checkpoint)(random, known)

    async def _trade(self, line: Line) -> None:
        """Of any engine; mostly some requests in a row, as they need one another."""
        for _ in range(self.random.choice((1, 1, 2, 4))):
            if line.over:
                return
            method, params = self._drawn()
            if method not in _WORLD.rows:
                continue
            row = _WORLD.rows[method]
            if row.kind != "write":
                await self._ask(line, method, params)
            elif self.random.random() < 0.05 and not takes_secret(row.params):
                await self._ask(line, method, params, dry=True)
            else:
                await self._write(line, method, params)

    async def _at_once(self, line: Line) -> None:
        """Two requests in a row of which the second is judged by the first, before that can be durable."""
        for method, params in wares.pair(self.random):
            await self._ask(line, method, params, wait=False)

    async def _in_turn(self, line: Line) -> None:
        """Requests of which each needs what the one before was answered."""
        kind = self.random.choice(("trade", "prove", "revoke" if self.uid == ADMIN else "trade", "cite"))
        known = self.universe.shelf.known
        for step in range(knowledge.STEPS[kind]):
            if line.over:
                return
            self.universe.operations += step > 0
            request = knowledge.in_turn(self.random, known, self.actor, kind, step)
            if request is None:
                return
            if _WORLD.rows[request[0]].kind == "write" and self.random.random() < 0.8:
                await self._write(line, *request, wait=self.random.random() < 0.8)
            else:
                await self._ask(line, *request, wait=True)

    async def _load(self, line: Line) -> None:
        """A program in parts, each after the one before; the connection, the daemon or its caller may end in between."""
        for method, params in knowledge.load(self.random):
            if line.over:
                return
            keyed = Keyed(self._key(), method, params)
            self.history.append(keyed)
            await self._ask(line, method, params, keyed=keyed, wait=True)

    async def _as_engine(self, line: Line) -> None:
        """As an engine that proved its key on this connection, or as one that did not."""
        shelf = self.universe.shelf
        if not line.engines and shelf.engines and self.random.random() < 0.8:
            engine, key = self.random.choice(shelf.engines[-3:])
            await self._ask(line, "engines.validate", {"engine_id": engine, "engine_key": key}, wait=True)
        engine = self.random.choice(line.engines) if line.engines else "engine0"
        if self.uid == ADMIN and line.engines and self.random.random() < 0.4:
            await self._write(line, self.random.choice(("engines.suspend", "engines.revoke")), {"engine_id": engine})
        elif self.as_history and self.random.random() < 0.3:
            engine, keyed = self.random.choice(self.as_history)
            await self._ask(line, keyed.method, keyed.params, keyed=keyed, as_=engine)
            return
        method, params = wares.as_engine(self.random, shelf, engine)
        if method not in _WORLD.rows:
            return
        made = None
        if _WORLD.rows[method].kind == "write" and self.random.random() < 0.6:
            made = Keyed(self._key(), method, params)
            self.as_history.append((engine, made))
        await self._ask(line, method, params, keyed=made, as_=engine)

    async def _cancel_task(self, line: Line) -> None:
        known = self.universe.known_tasks
        task = self.random.choice(known) if known and self.random.random() < 0.9 else "no-such-task"
        await self._write(line, "resource.cancel_task", {"task_id": task})

    async def _scale(self, line: Line) -> None:
        await self._write(
            line, "resource.scale", {"pool": self.random.choice(POOLS), "size": self.random.choice((1, 3, 4, 6, 8, 40))}
        )

    async def _read_something(self, line: Line) -> None:
        method = self.random.choices([name for name, _ in READS], [weight for _, weight in READS])[0]
        params: dict[str, Any] = {}
        if method == "resource.tasks":
            params = self.random.choice(
                ({"limit": 5}, {"state": "running"}, {"state": "parked", "pool": "compute"}, {"limit": 2, "after": "9"})
            )
        await self._ask(line, method, params)

    async def _again(self, line: Line) -> None:
        """The same request with the same key: after a lost reply, or for no reason at all."""
        if self.history:
            keyed = self.random.choice(self.history[-30:])
            await self._ask(line, keyed.method, keyed.params, keyed=keyed)

    async def _operation(self, line: Line) -> None:
        if not self.history:
            return
        keyed = self.random.choice(self.history[-30:])
        idle = keyed.open == 0 or keyed.life != line.life
        await self._ask(line, "system.op_status", {"idem": keyed.key}, about=(keyed, keyed.sends if idle else -1))

    async def _follow(self, line: Line) -> None:
        if len(self.followed) >= 3:
            return
        random = self.random
        engine = random.choice((None, None, "resource", "gate", "entity", "circuit", "cache"))
        kind = random.choice((None, None, None, "task.submitted", "gate.refused", "order.closed"))
        following = Following(engine, kind)
        cursor = self.universe.cursor_of(self)
        if cursor is not None and random.random() < 0.6:
            following.cursor = cursor
            following.position = self._places(cursor)
        self.followed.append(following)
        await self._watch(line, following)

    async def _watch(self, line: Line, following: Following) -> None:
        params: dict[str, Any] = {}
        for name, value in (("engine", following.engine), ("type", following.type), ("since", following.cursor)):
            if value is not None:
                params[name] = value
        await self._ask(line, "system.watch", params, following=following, wait=False)

    async def _stop_following(self, line: Line) -> None:
        for id, asked in list(line.open.items()):
            if asked.following is not None and not asked.cancelled:
                if self.random.random() < 0.5 and asked.following in self.followed:
                    self.followed.remove(asked.following)
                asked.cancelled = True
                self.universe.trace.operation(f"{line.name} cancels {id}")
                await self._send(line, line.wire.cancel(id))
                return

    async def _cancel_call(self, line: Line) -> None:
        """Of whatever kind: a command that is decided completes all the same."""
        if line.open:
            id = self.random.choice(list(line.open))
            line.open[id].cancelled = True
            await self._send(line, line.wire.cancel(id))
        elif line.wire.open_count == 0:
            await self._send(line, line.wire.cancel(4_000_000_000))

    async def _burst(self, line: Line) -> None:
        """A pipeline in one send."""
        for _ in range(self.random.randint(3, 20)):
            if line.over:
                return
            self.universe.operations += 1
            choice = self.random.random()
            if choice < 0.5:
                params = self._new_task()
                keyed = Keyed(self._key(), "resource.submit_task", params)
                self.history.append(keyed)
                await self._ask(line, "resource.submit_task", params, keyed=keyed, wait=False)
            elif choice < 0.9:
                await self._ask(line, "resource.status", {}, wait=False)
            else:
                await self._ask(line, "system.ping", {}, wait=False)

    async def _reuse_key(self, line: Line) -> None:
        if not self.history:
            return
        keyed = self.random.choice(self.history)
        params = {"pool": self.random.choice(POOLS), "size": self.random.choice((2, 5, 7))}
        if (keyed.method, keyed.params) == ("resource.scale", params):
            return
        other = Keyed(keyed.key, "resource.scale", params)
        self.universe.reused.add((self.actor, keyed.key))
        await self._ask(line, "resource.scale", params, keyed=other)

    async def _dry(self, line: Line) -> None:
        await self._ask(line, "resource.scale", {"pool": "network", "size": self.random.choice((4, 5))}, dry=True)

    async def _nonsense(self, line: Line) -> None:
        method, params = self.random.choice(
            (
                ("resource.sclae", {}),
                ("no such method", {}),
                ("resource.job_ended", {"effect": "engine_state:1:0", "ok": True, "code": "ok"}),
                ("gate.refuse", {}),
                ("resource.submit_task", {"units": -1}),
                ("resource.submit_task", {"unknown": 1}),
                ("resource.submit_task", {"units": 1_000_000}),
                ("resource.submit_task", {"job": {"name": "rm_rf"}}),
                ("resource.submit_task", {"depends_on": ["nobody"]}),
                ("resource.tasks", {"after": "x"}),
                ("system.watch", {"since": "w1.garbage"}),
                ("system.watch", {"engine": "toaster"}),
                ("system.op_status", {"idem": "x"}),
                ("system.op_status", {"idem": "someone-elses-key", "caller": "uid:1"}),
                ("system.describe", {"method": "resource.scale"}),
                ("audit.hashchain", {"log": "nothing"}),
            )
        )
        if self.random.random() < 0.2:
            await self._ask(line, "system.ping", {}, as_="mailer")
        else:
            await self._ask(line, method, params, dl=self.random.choice((1, 50, 3_600_000)))

    async def _hashchain(self, line: Line) -> None:
        await self._ask(line, "audit.hashchain", {})

    async def _reload(self, line: Line) -> None:
        await self._ask(line, "system.reload", {})

    async def _flood(self, line: Line) -> None:
        """More than a second's worth of what may be refused."""
        for _ in range(self.random.randint(5, 40)):
            if line.over:
                return
            await self._ask(line, "system.reload" if self.uid != ADMIN else "system.ping", {}, wait=False)

    async def _garbage(self, line: Line) -> None:
        line.faulted = True
        data = self.random.choice(
            (
                b"\x00" * 9,
                b"\xd8\x18\x5a\xff\xff\xff\xff",
                b"\xd8\x18\x5a\x00\x00\x00\x01\xff",
                b"\xd8\x18\x5a\x00\x00\x00\x04\xa1at\x01",
                line.wire.hello("again"),
                self.random.randbytes(50),
            )
        )
        self.universe.trace.operation(f"{line.name} sends garbage {data[:12].hex()}")
        await self._send(line, data)

    async def _vanish(self, line: Line) -> None:
        """Gone, by a whole or a half frame, or only its writing half."""
        luck = self.random.random()
        self.universe.trace.operation(f"{line.name} vanishes")
        line.faulted = True
        if luck < 0.4:
            _, data = line.wire.call("resource.status", {})
            await self._send(line, data[: self.random.randint(1, len(data) - 1)])
        if luck < 0.7:
            line.end.close()
            self._lost(line)
        else:
            line.end.half_close()
            await self._over(line)

    async def _leave(self, line: Line) -> None:
        """Bye: calls in flight still end, and then the connection does."""
        streams = [id for id, asked in line.open.items() if asked.following is not None]
        for id in streams:
            line.open[id].cancelled = True
        line.said_bye = True
        self.universe.trace.operation(f"{line.name} says bye")
        await self._send(line, b"".join(map(line.wire.cancel, streams)) + line.wire.bye())
        await self._over(line)

    async def _over(self, line: Line) -> None:
        """Until the other end has closed too; it may be a slow one. Who waits for that reads on, or would wait for themselves."""
        line.pause_s = min(line.pause_s, 0.02)
        with trio.move_on_after(PATIENCE_S) as patience:
            while not line.over:
                line.quiet = trio.Event()
                await line.quiet.wait()
        if patience.cancelled_caught:
            open_calls = [asked.method for asked in line.open.values()]
            self.universe.blame(
                f"{line.name}: {PATIENCE_S:g} s after our end was closed the daemon still holds its own; open: {open_calls}"
            )

    async def _strangers(self, line: Line) -> None:
        """Connections that never come to a call."""
        what = self.random.choice((b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\xd8\x18", b"G"))
        uid = self.random.choice((self.uid, 65_534))
        end = self.universe.connect(uid, f"{self.name}.stranger")
        if end is None:
            return
        await end.send(what)
        with trio.move_on_after(PATIENCE_S) as patience:
            if self.random.random() < 0.5:
                await trio.sleep(self.random.uniform(0, 7))
            else:
                while await end.receive():
                    pass
        end.close()
        if patience.cancelled_caught:
            self.universe.blame(f"a stranger who said {what!r} is still connected after {PATIENCE_S:g} s")

    async def _change_speed(self, line: Line) -> None:
        line.pause_s = self.random.choice((0.0, 0.0, 0.02, 1.0))

    # --- hearing ------------------------------------------------------------------------------------------------------------

    def _hear(self, line: Line, message: Any) -> None:
        if isinstance(message, Welcome | Bye):
            line.faulted = line.faulted or (isinstance(message, Bye) and message.e is not None)
            line.welcomed.set()
            self.universe.trace.operation(f"{line.name} hears {message.__class__.__name__.lower()} {getattr(message, 'why', '')}")
            return
        asked = line.open.get(message.id)
        if asked is None:
            return  # a call sent in pieces that were never completed
        if isinstance(message, Item):
            self._hear_item(line, asked, message)
        elif isinstance(message, Mark):
            self._hear_mark(line, asked, message)
        else:
            del line.open[message.id]
            asked.ended.set()
            if asked.keyed is not None and asked.keyed.life == line.life:
                asked.keyed.open -= 1
            outcome = message.e["code"] if isinstance(message, Err) else message.rc or "done"
            self.universe.trace.operation(f"{line.name} hears {message.id} {asked.method}: {outcome}")
            if isinstance(message, Err):
                self._hear_error(line, asked, message)
            else:
                self._hear_done(line, asked, message)

    def _hear_error(self, line: Line, asked: Asked, message: Err) -> None:
        universe, code = self.universe, message.e["code"]
        if message.e.get("reason") == "disk-full":
            self._hear_full(line, asked, message)
        if code == "internal" and message.e.get("reason") not in ("crashed", "bad-output"):
            universe.blame(f"{line.name}: {asked.method} {asked.params} met a bug: {message.e}")
        elif code in REFUSALS:
            if not universe.might_fail(line.life):
                self._hear_refusal(line, asked)
        elif code in ("durability-unknown", "data-loss") and not universe.might_fail(line.life):
            universe.blame(f"{line.name}: {asked.method} {asked.params}: no call to the disk has failed, and it says {message.e}")
        elif asked.following is not None:
            self._stream_ended(line, asked, message)
        elif asked.keyed is not None and code not in PASSING and not (universe.might_fail(line.life) and code == "data-loss"):
            self._hear_refused_key(line, asked, asked.keyed, message)
        self._hear_refused(line, asked, message)

    def _hear_full(self, line: Line, asked: Asked, message: Err) -> None:
        """Only while the disk is full, or soon after; and what was refused so has no effect."""
        universe, keyed = self.universe, asked.keyed
        beside_logs = "large value" in message.e["detail"] or asked.method == "audit.checkpoint"  # no log has to say anything
        universe.found_full += not beside_logs
        if not universe.full and not universe.might_fail(line.life) and asked.at > universe.roomy_since:
            universe.blame(f"{line.name}: {asked.method} finds the disk full, and it is not")
        if keyed is not None:
            keyed.found_full += 1
            recorded = (asked.actor, keyed.key) in universe.oracle.keys and (asked.actor, keyed.key) not in universe.reused
            if keyed.found_full == keyed.sends and recorded:
                universe.blame(f"{line.name}: key {keyed.key} found the disk full whenever it was sent, and is on record")

    def _hear_refusal(self, line: Line, asked: Asked) -> None:
        """It is on record already. A refusal that cannot be stored is still one, so this holds while the disk has room."""
        self.universe.told(self.actor, line.life)
        told, recorded = self.universe.refusals_told[self.actor], self.universe.oracle.refused[self.actor]
        if self.universe.unrecorded(self.actor) > 0 and not (self.universe.full or self.actor in self.universe.excused):
            self.universe.blame(f"{line.name}: {asked.method} was refused ({told} told) before it was on record ({recorded})")

    def _hear_refused(self, line: Line, asked: Asked, message: Err) -> None:
        """A refusal tells what is: all that it was judged by is on record (N4)."""
        universe, code = self.universe, message.e["code"]
        promises = universe.oracle.promises
        if universe.might_fail(line.life):
            return
        if asked.method == "cache.get" and code == "not-found":
            end = universe.oracle.logs["cache_log"].end
            if not promises.was_missing(asked.params["key"], asked.cache_end, end):
                universe.blame(f"N4: {line.name}: {asked.params['key']} is there, and no durable record took it away: {message.e}")
        self._hear_unknown(line, asked, code)
        name = _NAMED_BY.get(asked.method)
        if code == "already-exists" and message.e.get("reason") != "shown-once" and name is not None:
            if (asked.method, asked.params.get(name)) not in promises.names:
                universe.blame(f"N4: {line.name}: {asked.method} {asked.params}: no durable record made it: {message.e}")

    def _hear_unknown(self, line: Line, asked: Asked, code: str) -> None:
        """What is durable is there: an event can be cited, and a quote that holds be traded."""
        promises = self.universe.oracle.promises
        if code != "not-found":
            return
        if asked.method == "data.cite":
            cited = asked.params.values()
            if all(id in asked.events_told for id in cited) and not promises.forgotten.intersection(cited):
                self.universe.blame(f"N1: {line.name}: {asked.params}: durable events are not found")
        elif asked.method == "eil.market_trade" and self.universe.still_quoted(asked.params["quote_id"], asked.actor):
            self.universe.blame(f"N1: {line.name}: {asked.params}: a quote that holds is not found")

    def _hear_refused_key(self, line: Line, asked: Asked, keyed: Keyed, message: Err) -> None:
        if message.e.get("reason") == "shown-once":
            if (asked.actor, keyed.key) not in self.universe.oracle.keys:
                self.universe.blame(f"N3: {line.name}: key {keyed.key} is said to be done, and no durable record has it")
        elif keyed.receipt is not None:
            self.universe.blame(f"N3: {line.name}: key {keyed.key} was done, {keyed.receipt}, and is now refused: {message.e}")
        elif message.e.get("reason") == "key-reused" and (self.actor, keyed.key) not in self.universe.reused:
            self.universe.blame(f"{line.name}: key {keyed.key} was used once, and is called reused")

    def _stream_ended(self, line: Line, asked: Asked, message: Err) -> None:
        code = message.e["code"]
        if code == "cancelled" and asked.cancelled:
            return
        if code == "compacted" and self._compacted(asked):
            following = asked.following
            assert following is not None and self._nursery is not None
            following.position = following.cursor = None  # as a program lists again, and then watches
            self._nursery.start_soon(self._follow_up, line)
            return
        if code in PASSING or (message.e.get("reason") in ("read-failed", "read-only") and self.universe.might_fail(line.life)):
            return
        self.universe.blame(f"{line.name}: a stream {asked.params} ended: {message.e}")

    def _compacted(self, asked: Asked) -> bool:
        """Whether what this stream asked for was pruned."""
        following = asked.following
        position = following.position if following is not None else None
        if position is None and "since" in asked.params:
            position = self._places(asked.params["since"])
        return any(self.universe.oracle.logs[log].was_pruned(seq) for log, seq in (position or {}).items())

    def _hear_done(self, line: Line, asked: Asked, message: Done) -> None:
        universe = self.universe
        if message.cur is not None:
            self._check_cursor(line, asked, message.cur)
        self._learn(line, asked, message)
        if asked.dry:
            if message.rc is not None or "events" not in message.r:
                universe.blame(f"{line.name}: a dry run was answered {message}")
        elif message.rc is not None:
            self._hear_receipt(line, asked, message)
        elif asked.keyed is not None and asked.keyed.receipt is not None:
            universe.blame(
                f"N3: {line.name}: key {asked.keyed.key} was done, {asked.keyed.receipt}, and is now answered {message.r}"
            )
        elif asked.method == "resource.status":
            self._check_status(line, message)
        elif asked.method == "cache.get":
            self._check_value(line, asked, message)
        elif asked.method == "actions.explain":
            pass  # it says what would be judged, and judges nothing
        elif message.r.get("allowed") is False or message.r.get("valid") is False or message.r.get("error") == "token-refused":
            if not universe.might_fail(line.life):
                self._hear_refusal(line, asked)  # one of very many: counted, without a record of its own
        elif asked.method == "system.op_status":
            self._hear_operation(line, asked, message.r)
        elif asked.method == "audit.hashchain" and not message.r["ok"] and not universe.might_fail(line.life):
            universe.blame(f"{line.name}: a chain does not hold: {message.r}")
        elif asked.following is not None:
            universe.blame(f"{line.name}: a stream came to an end by itself")
        else:
            self._hear_known(line, asked, message)

    def _hear_known(self, line: Line, asked: Asked, message: Done) -> None:
        """What was answered without a receipt, of energy, programs, events, tokens and signatures."""
        universe, promises, answer = self.universe, self.universe.oracle.promises, message.r
        if asked.method == "system.check_http_token" and answer["valid"]:
            jti = dict(universe.shelf.known.tokens).get(asked.params["token"])
            if jti is None or asked.at > universe.shelf.known.ended.get(jti, float("inf")):
                universe.blame(f"access: {line.name}: token {jti} is valid, and its end was acknowledged before, or nobody has it")
        elif asked.method == "system.revoke_http_token":
            universe.shelf.known.ended.setdefault(asked.params["jti"], trio.current_time())
        elif asked.method == "trajectory.add_fact" and not universe.might_fail(line.life):
            if (asked.params["symbol"], asked.params["value"]) not in promises.ever:
                universe.blame(f"N4: {line.name}: {asked.params} is said to be told already, and no durable record says so")
        elif asked.method == "eil.balances" and message.cur is not None and not universe.might_fail(line.life):
            seq, told = self._places(message.cur)["energy_log"], answer["accounts"]
            held = {(each["owner"], each["asset"]): each["amount_micro"] for each in told}
            if held != promises.held_books(seq):
                universe.blame(f"books: {line.name}: {told}; the records up to {seq} say {promises.held_books(seq)}")
        elif asked.method == "trajectory.status" and message.cur is not None and not universe.might_fail(line.life):
            seq = self._places(message.cur)["trajectory_log"]
            expected = promises.held_program(seq)
            if {name: answer[name] for name in expected} != expected:
                universe.blame(f"N1: {line.name}: the program is {answer}; the records up to {seq} say {expected}")
        elif asked.method == "data.events" and not universe.might_fail(line.life):
            self._check_events(line, answer["events"])
        elif asked.method == "audit.checkpoint" and not universe.might_fail(line.life):
            self._check_signed(line, asked, answer["checkpoints"])

    def _check_events(self, line: Line, events: list[dict[str, Any]]) -> None:
        for seen in events:
            record = self.universe.oracle.record("event_log", seen["seq"])
            if record is None or sha256(record.raw).hexdigest() != seen["event"]:
                self.universe.blame(f"N1: {line.name}: {seen} is told as an event; the record says {record}")

    def _check_signed(self, line: Line, asked: Asked, signed: list[dict[str, Any]]) -> None:
        """N8: what is signed is durable, and continues what was signed before."""
        universe = self.universe
        for each in signed:
            root = universe.oracle.root(each["log"], each["size"])
            if root is None or root.hex() != each["root"]:
                universe.blame(f"N8: {line.name}: {each} was signed; the records up to there have the root {root and root.hex()}")
                return
            since = asked.params.get("since")
            if since is not None:
                first = universe.oracle.root(each["log"], since) or b""
                path = [b64decode(text) for text in each["consistency"]]
                if not consistent(since, first, each["size"], root, path):
                    universe.blame(f"N8: {line.name}: {each} does not continue what was signed at {since}")
            known = universe.shelf.known.signed
            known[each["log"]] = max(known.get(each["log"], 0), each["size"])

    def _hear_receipt(self, line: Line, asked: Asked, message: Done) -> None:
        universe, receipt = self.universe, message.rc
        assert receipt is not None
        last = universe.oracle.record(receipt["log"], receipt["seq"])
        if last is None or last.event_hash != receipt["event_hash"]:
            universe.blame(f"N1: {line.name}: {asked.method} was acknowledged with {receipt}, which is not durable")
            return
        records = universe.oracle.command(receipt["log"], receipt["seq"])
        if not wares.agrees(asked.method, records, message.r):
            told = [record.payload for record in records]
            universe.blame(f"{line.name}: {asked.method} was answered {message.r}; its records say {told}")
        record, keyed = records[0], asked.keyed
        if keyed is None:
            return
        if record.idem is None or record.idem[1] != keyed.key or record.actor != asked.actor:
            universe.blame(f"N3: {line.name}: key {keyed.key} was answered with a record of {record.actor}, key {record.idem}")
        if keyed.receipt not in (None, receipt):
            universe.blame(f"N3: {line.name}: key {keyed.key} was answered {keyed.receipt}, then {receipt}")
        keyed.receipt = receipt

    def _hear_operation(self, line: Line, asked: Asked, answer: dict[str, Any]) -> None:
        if asked.about is None:
            return  # another's key
        universe, (keyed, sends) = self.universe, asked.about
        reused = (self.actor, keyed.key) in universe.reused
        if answer["state"] == "done":
            receipt = answer["receipt"]
            record = universe.oracle.record(receipt["log"], receipt["seq"])
            if record is None or record.event_hash != receipt["event_hash"]:
                universe.blame(f"N5: {line.name}: op_status of {keyed.key} says {answer}, which is not durable")
            elif keyed.absent_after == keyed.sends and not reused:
                universe.blame(f"N5: {line.name}: {keyed.key} was absent and is done, though it was not sent again")
            elif keyed.receipt not in (None, receipt):
                universe.blame(
                    f"N5: {line.name}: op_status of {keyed.key} says {receipt}; it was acknowledged with {keyed.receipt}"
                )
        elif answer["state"] == "absent":
            if keyed.receipt is not None:
                universe.blame(f"N5: {line.name}: {keyed.key} was acknowledged with {keyed.receipt} and is absent")
            if keyed.sends == sends and not reused:
                keyed.absent_after = sends
        elif sends == keyed.sends and not reused and keyed.life != line.life:
            universe.blame(f"N5: {line.name}: {keyed.key} is pending and nobody sent it to this process")

    def _learn(self, line: Line, asked: Asked, message: Done) -> None:
        """What others will use; a secret is heard once and never again."""
        universe, shelf, answer = self.universe, self.universe.shelf, message.r
        engine = asked.actor.removeprefix("engine:")
        if engine != asked.actor and asked.at > shelf.revoked.get(engine, float("inf")):
            universe.blame(f"access: {line.name}: {asked.method} was answered as {engine}, whose end was acknowledged before")
        if asked.dry or message.rc is None:
            return
        if not message.replayed or asked.method != "eil.sense":
            shelf.known.learn(asked.method, asked.params, asked.actor, answer)
        secret = answer.get("token") or answer.get("engine_key")
        if secret is not None:
            place = (message.rc["log"], message.rc["seq"])
            if message.replayed or secret in shelf.shown or place in shelf.shown.values():
                universe.blame(f"{line.name}: {asked.method}: a secret that is shown once was shown again, for {place}")
            shelf.shown[secret] = place
        if asked.method == "gate.issue_token":
            params = asked.params
            shelf.tokens.append((params["domain"], params["subject"], bool(params.get("offline")), answer["token"], answer["jti"]))
        elif asked.method in ("engines.register", "engines.rotate_key"):
            shelf.engines.append((answer["engine_id"], answer["engine_key"]))
        elif asked.method == "engines.validate" and answer["valid"]:
            line.engines.append(asked.params["engine_id"])
        elif asked.method == "system.revoke_http_token":
            shelf.known.ended.setdefault(answer["jti"], trio.current_time())
        elif asked.method == "engines.revoke":
            shelf.revoked.setdefault(asked.params["engine_id"], trio.current_time())
        elif asked.method == "cache.set":
            shelf.revs[answer["key"]] = answer["rev"]
            self._check_revision(line, asked, message)

    def _check_revision(self, line: Line, asked: Asked, message: Done) -> None:
        """A write that asked for a revision came behind that one."""
        assert message.rc is not None
        [record] = self.universe.oracle.command(message.rc["log"], message.rc["seq"]) or [None]
        if record is not None and asked.params.get("if_rev", record.payload.get("parent")) != record.payload.get("parent"):
            self.universe.blame(f"{line.name}: {asked.params} was done, behind {record.payload.get('parent')}")

    def _check_value(self, line: Line, asked: Asked, message: Done) -> None:
        """A value is what was durably set last, as far as its reader's cursor goes."""
        if self.universe.might_fail(line.life) or message.cur is None:
            return
        seq = self._places(message.cur)["cache_log"]
        held = self.universe.oracle.promises.held(asked.params["key"], seq)
        if held is None or (held.rev, held.digest) != (message.r["rev"], digest(message.r["value"])):
            self.universe.blame(
                f"N1: {line.name}: {asked.params} is answered {str(message.r)[:200]}; the records up to {seq} say {held}"
            )
        passed = self.universe.oracle.logs["cache_log"].records[seq : asked.cache_end]
        if any(not record.event_type.startswith("log.") for record in passed):
            self.universe.blame(
                f"{line.name}: {asked.params} was read at {seq}, and {asked.cache_end} was durable when it was asked"
            )

    def _check_status(self, line: Line, message: Done) -> None:
        """What a read saw, against the records below its cursor."""
        if self.universe.might_fail(line.life) or message.cur is None:
            return
        engine_state = self.universe.oracle.logs["engine_state"]
        seq = parse_cursor(message.cur, self.universe.ledger_id)["engine_state"]
        if seq >= len(engine_state.tallies):
            return  # the cursor itself has been found wanting
        tally = dict(zip(KINDS, engine_state.tallies[seq], strict=True))
        answer = message.r
        ended = {kind: tally[f"task.{kind}"] for kind in ("done", "cancelled", "expired", "parked")}
        told = {kind: answer[kind] for kind in ended}
        unfinished = sum(answer[name] for name in ("waiting", "running", "blocked", "retrying"))
        if told != ended or unfinished != tally["task.submitted"] - sum(ended.values()):
            self.universe.blame(
                f"{line.name}: a read says {told}, {unfinished} unfinished; the records up to its cursor say {tally}"
            )

    # --- cursors and streams ------------------------------------------------------------------------------------------------

    def _places(self, cursor: str) -> dict[str, int]:
        return parse_cursor(cursor, self.universe.ledger_id)

    def _check_cursor(self, line: Line, asked: Asked, cursor: str) -> bool:
        try:
            places = self._places(cursor)
        except Refused as refused:
            self.universe.blame(f"{line.name}: {asked.method} {asked.params} was answered with {cursor!r}: {refused}")
            return False
        for log, seq in places.items():
            end = self.universe.oracle.logs[log].end
            if seq > end and not self.universe.might_fail(line.life):
                self.universe.blame(
                    f"{line.name}: {asked.method} was answered with a cursor at {log} {seq}; durable is what is below {end}"
                )
                return False
        self.universe.cursors[self.name] = cursor
        return True

    def _hear_mark(self, line: Line, asked: Asked, message: Mark) -> None:
        if asked.following is not None and self._check_cursor(line, asked, message.cur):
            self._move(line, asked.following, message.cur, None)

    def _hear_item(self, line: Line, asked: Asked, message: Item) -> None:
        if asked.following is None:
            return
        universe, seen = self.universe, message.r
        record = universe.oracle.record(seen["log"], seen["seq"])
        if record is None:
            universe.blame(f"{line.name}: a stream showed {seen['log']} {seen['seq']}, which is not durable")
            return
        said = (seen["type"], seen["actor"], _without_documents(seen), seen["time"])
        payload = {name: value for name, value in record.payload.items() if name not in _DOCUMENTS.get(record.event_type, ())}
        if said != (record.event_type, record.actor, payload, time_text(record.time_us)):
            universe.blame(f"{line.name}: a stream showed {seen}; the record says {record}")
        if message.cur is None:
            universe.blame(f"{line.name}: an item without a cursor")
        elif self._check_cursor(line, asked, message.cur):
            asked.following.seen += 1
            self._move(line, asked.following, message.cur, (seen["log"], seen["seq"]))

    def _move(self, line: Line, following: Following, cursor: str, shown: tuple[str, int] | None) -> None:
        """Every wanted record once, in order: nothing between the last place and this one was left out or comes again."""
        places = self._places(cursor)
        if following.position is not None:
            for log, seq in places.items():
                before = following.position.get(log, 0)
                last = seq - 1 if shown == (log, seq - 1) else seq
                if seq < before or (shown is not None and shown[0] == log and shown[1] < before):
                    self.universe.blame(f"{line.name}: a stream went back in {log} from {before} to {seq}")
                expected = self.universe.oracle.logs[log]
                missed = [
                    record.seq
                    for record in expected.records[before:last]
                    if following.wants(log, record) and (log in following.position or not expected.was_pruned(record.seq))
                ]
                if missed:
                    self.universe.blame(
                        f"{line.name}: a stream left out {log} {missed} of what it follows ({following.engine}, {following.type})"
                    )
        elif shown is not None:
            self.universe.blame(f"{line.name}: a stream began with an item and no mark")
        if shown is not None and places.get(shown[0]) != shown[1] + 1:
            self.universe.blame(f"{line.name}: the cursor of {shown} says {places}")
        following.position, following.cursor = (following.position or {}) | places, cursor
