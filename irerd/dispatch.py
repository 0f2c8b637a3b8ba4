"""From a call to its answer: find the method, judge the caller, check the parameters, decide, apply, hand over to the writer.

The permission check stands here and nowhere else. `read` and `write` run inline and never await; the log writer lets the
replies out. What runs longer is a `task`, served by `irerd/ports.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import trio

from core.access import Peer, Rules, Verdict, judge
from core.canonical import CanonicalError, event_payload, payload_and_sign
from core.catalogue import Catalogue
from core.control.model import HttpToken
from core.engine import IRER, Actor, Command, Context, Decision, Engine, Event, Fetch, Kept, Large, Made, Place, Refused, Row, Stamp
from core.keys import Keys, Remembered
from core.redact import Redactor, redact_events
from core.secrets import Secrets
from core.settings import Settings
from core.wire.codec import Typed
from core.wire.errors import problem
from core.world import World
from irerd.config import DEFAULT_PATH
from irerd.cursors import Position
from irerd.host import Host
from irerd.values import Values
from irerd.writer import Receipt, Writer
from state.ledger import Ledger
from state.recover import Corrupt, Pruned, records_between
from state.seal import BATCH_BYTES_MAX, Pending, Record, TooLarge, measure

REBUILDS_MAX = 3
"""Rebuilds of one engine within an hour; then it serves reads only."""
HOUR_US = 3_600_000_000
FETCHES_MAX = 3
"""How often a value is looked for whose record was let go meanwhile: it stands elsewhere by then."""


GATE_SHUT = "Until then nobody gets in by a token or an engine key: each is judged on record, or not at all"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a caller gets: a result with its receipt, or an error."""

    result: Any = None
    receipt: Receipt | None = None
    error: Refused | None = None
    replayed: bool = False
    position: Position | None = None
    """Of each log, the record after the last one that this answer knows of: list, then watch from here, without a hole."""


Reply = Callable[[Answer], None]
Still = Callable[[], object]
Foresee = Callable[[Sequence[Any]], None]


class _Decided(msgspec.Struct, frozen=True, gc=False):
    """A command on its way to the disk, and all that is needed to tell of it then. Called once it is durable, or its sync failed.

    Hundreds wait at a time, so each holds no more than that: what it was decided from is let go at once.
    """

    dispatch: "Dispatch"
    row: Row
    result: Any
    """What the caller gets."""
    actor: Actor
    reply: Reply
    position: Position
    log: str
    first_seq: int
    last_seq: int
    now_us: int
    idem: str | None
    digest: str

    def __call__(self, receipt: Receipt | None) -> None:
        self.dispatch.release(self, receipt)


class _Unanswered(NamedTuple):
    """In place of a result that could not be made: it is tried again once it may be told, and what is wrong is told then."""

    decision: Decision


class _Held(NamedTuple):
    """A command that waits until its log is tidy."""

    method: str
    command: Command
    write: Callable[[], None]


class _InFlight(NamedTuple):
    """A keyed command that is decided and not yet durable, and who else asked for the same."""

    digest: str
    log: str
    first_seq: int
    others: list[Reply]


_pending: Callable[[tuple[Any, ...]], Pending] = partial(tuple.__new__, Pending)
"""As `Pending._make`, which counts again what is counted already."""
_NOTHING: Mapping[str, int] = {}
_MISSING = " is missing"


def bad_params(error: msgspec.ValidationError, row: Row) -> Refused:
    """Which parameter is wrong and how, with the page that says what would be right."""
    path, text = problem(error, row.params)
    if text.startswith("unknown field "):
        name = text.removeprefix("unknown field ")
        path = f"{path}.{name}" if path else name
        text = f"no such parameter; {row.name} takes {', '.join(row.params.__struct_fields__) or 'none'}"
    where = f"{path}: " if path else ""
    if text.endswith(_MISSING):
        name, text = text.removesuffix(_MISSING), _MISSING.strip()
        path, where = f"{path}.{name}" if path else name, f"{path}.{name} " if path else f"{name} "
    return Refused("invalid-argument", f"{row.name}: {where}{text}. See: irerctl api show {row.name}", fields=[(path, text)])


class Dispatch:
    def __init__(
        self,
        host: Host,
        world: World,
        catalogue: Catalogue,
        keys: Keys,
        settings: Settings,
        rules: Rules,
    ) -> None:
        self.host = host
        self.world = world
        self.catalogue = catalogue
        self.keys = keys
        self.ledger: Ledger | None = None
        self.settings = settings
        self.file_settings = settings
        """Without the keys that were set over the socket."""
        self.config_file = DEFAULT_PATH
        """What an admin edits."""
        self.rules = rules
        self.writer: Writer | None = None
        self.values = Values(host, world, lambda: self.settings.cache.memory_bytes)
        self.ports: Mapping[str, Callable[..., Any]] = {}
        self.read_only: dict[str, str] = {}
        """Logs that take no writes, with the reason."""
        self.damaged: set[str] = set()
        """Logs that did not verify: reads of their engines say so."""
        self.next_seq: dict[str, int] = {}
        self.secrets = Secrets(host.draw(), host.draw(), host.draw)
        """Those of the state directory once it is open; until then, ones that fit nothing."""
        self.redactor = Redactor(self.secrets.pepper)
        """Likewise: it stands on the ledger's key once that is read."""
        self.count_instead: Callable[[str, str, Reply, Answer, int | None], bool] = lambda *given: False
        """Asked when a credential was turned down: whether it is only counted, because this caller has had very many."""
        self.user_names: dict[int, str | None] = {}
        """Names of callers without a role, looked up when they connected: a directory service may be slow."""
        self.calls: dict[tuple[str, str], int] = {}
        """Answers given, by method and code."""
        self.on_internal_error: Callable[[str, BaseException], str] = lambda where, error: ""
        """Writes the fault to the journal and answers the id it can be found by."""
        self.restore: Callable[[str], int] = self._from_nothing
        """Makes the engines of a log what some snapshot says, or new; answers the first record to replay after that."""
        self.held: dict[str, list[_Held]] = {}
        """Logs whose upkeep is under way, with the writes that wait for its end."""
        self.foresee: dict[str, Foresee] = {}
        """By method, who works on commands together: told of those that came in one piece before they are decided one by one."""
        self._converted: dict[int, tuple[Mapping[str, Any], Command]] = {}
        """What was announced, by the identity of what was given, which is kept with it."""
        self.timed: dict[str, Callable[[int], None]] = {}
        """By method, who is told how long each command took to be on disk, in µs."""
        self._in_flight: dict[tuple[str, str], _InFlight] = {}
        self._rebuilds: dict[str, list[int]] = {}
        self._peeked: dict[str, int] = {}
        self._last_moment_us = 0
        self._ends: Mapping[str, int] = {}
        self._durable_ends: Mapping[str, int] = {}
        """What the writer said when `_ends` was made of it."""

    # --- contexts ---------------------------------------------------------------------------------------------------

    def context(self, actor: Actor, mono_us: int | None = None, *, deciding: bool = False) -> Context:
        """`deciding`: something may be done because of what is seen, so all of it must have verified."""
        host = self.host
        return Context(  # without the names of its fields, which would cost more than all the rest
            host.now_us(),
            host.mono_us() if mono_us is None else mono_us,
            host.boot_id,
            actor,
            self.settings,
            host.new_id,
            host.random,
            self._peek_whole if deciding else self._peek,
            self.secrets,
            self.values.seen,
            self.file_settings,
        )

    def _moment_us(self) -> int:
        """Each command has a moment of its own: that is how replay knows where one ends and the next begins in a batch."""
        now_us = self.host.mono_us()
        self._last_moment_us = now_us if now_us > self._last_moment_us else self._last_moment_us + 1
        return self._last_moment_us

    def context_of_irer(self) -> Context:
        return self.context(IRER)

    def _peek(self, engine: str) -> Any:
        log = self.world.engines[engine].log
        if log is not None and log not in self.damaged:
            self._peeked[log] = self.next_seq[log] - 1
        return self.world.states[engine]

    def _peek_whole(self, engine: str) -> Any:
        log = self.world.engines[engine].log
        if log in self.damaged:
            text = f"{log} did not verify, and without it this cannot be decided. See: irerctl audit hashchain"
            raise Refused("data-loss", text, reason="read-only")
        return self._peek(engine)

    # --- judging ----------------------------------------------------------------------------------------------------

    def stands(self, engine_id: str, key: int) -> bool:
        """Whether an engine that proved this key may still use it. Asked at every call, so a revocation holds from the next on."""
        control = self.world.states.get("control")
        now_us, mono_us = self.host.now_us(), self.host.mono_us()
        return control is not None and bool(control.stands(engine_id, key, now_us, mono_us, self.host.boot_id))

    def bearer(self, jti: str) -> HttpToken | None:
        """The token of the HTTP gateway of this id, if whoever showed it may still call in its name. Asked at every call."""
        control = self.world.states.get("control")
        return control.bearer(jti, self.host.now_us(), self.host.mono_us(), self.host.boot_id) if control is not None else None

    def _permitted_by(self, actor: Actor) -> dict[str, int]:
        """What a call rests on before it is judged: of an engine, the last change of any engine's standing."""
        if not actor.name.startswith("engine:"):
            return {}
        control = self.world.states.get("control")
        return {"gate_log": control.changed_seq} if control is not None else {}

    def may(self, peer: Peer, row: Row) -> Verdict:
        """Any error while judging is a refusal."""
        try:
            return judge(self.rules, peer, row)
        except Exception as error:
            self.on_internal_error("judge", error)
            return Verdict(False, "error")

    def refusal(self, peer: Peer, row: Row, verdict: Verdict) -> Refused:
        name = self.user_names.get(peer.uid)
        who = f"uid {peer.uid} ({name})" if name else f"uid {peer.uid}"
        has = "has no role here" if not peer.roles else f"is {peer.role} here"
        if verdict.reason == "denied":
            advice = f"An admin takes {row.name} out of access.deny in {self.config_file} and runs: irerctl reload"
            return Refused("permission-denied", f"{who} is denied {row.name} by access.deny. {advice}", reason="denied")
        role = {"read": "viewer", "write": "operator"}.get(row.needs.rpartition(":")[2], "admin")
        return Refused(
            "permission-denied",
            f"{who} {has}. {row.name} needs {row.needs}. "
            f'An admin adds access.{role} = ["uid:{peer.uid}"] to {self.config_file} and runs: irerctl reload',
            reason=verdict.reason,
        )

    # --- one call ---------------------------------------------------------------------------------------------------

    def announce(self, calls: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Calls came in one piece: a hint to engines that are quicker with many, on which no answer depends."""
        coming: list[tuple[str, Command]] = []
        self._converted.clear()
        for method, given in calls:
            if method in self.foresee:
                try:
                    command = msgspec.convert(given, self.world.rows[method].params, strict=True)
                except msgspec.ValidationError:
                    continue  # it is told when its turn comes
                self._converted[id(given)] = given, command
                coming.append((method, command))
        self._foretell(coming)

    def _foretell(self, coming: Iterable[tuple[str, Command]]) -> None:
        """Tell whoever works on commands together which come next, by method."""
        by_engine: dict[Foresee, list[Command]] = {}
        for method, command in coming:
            if (foresee := self.foresee.get(method)) is not None:
                by_engine.setdefault(foresee, []).append(command)
        for foresee, commands in by_engine.items():
            try:
                foresee(commands)
            except Exception as error:  # what is worked out too early is worked out again
                self.on_internal_error("foresee", error)

    def params(self, row: Row, given: Mapping[str, Any]) -> Command:
        """The very command that was announced, where one was made of these."""
        if self._converted:
            known, command = self._converted.pop(id(given), (None, None))
            if known is given and command is not None and type(command) is row.params:
                return command
        try:
            return msgspec.convert(given, row.params, strict=True)
        except msgspec.ValidationError as error:
            raise bad_params(error, row) from None

    def read(self, row: Row, params: Command, actor: Actor, reply: Reply) -> bool:
        """Answer from the state; the answer goes out once all it saw is on disk. False where it is first to be read from there:
        then nothing was answered, and `read_cold` does it.
        """
        engine = self.world.engine_of[row.name]
        if engine.log is None:
            result = self.ports[row.name](params, actor)
            logs = tuple(self.world.logs) if row.name == "system.status" or getattr(params, "job", None) is not None else ()
            answer = Answer(result, position=self._position_of_all() if logs else None)
            self._once_durable(self._permitted_by(actor) | self._newest(logs), reply, answer)
            return True
        self._peeked = self._permitted_by(actor)
        try:
            result = self._looked(engine, row, params, actor)
        except Refused as refused:
            self._refuse_once_durable(self._peeked | self._newest((engine.log,)), reply, refused)
            return True
        needed = self._peeked | self._newest((engine.log,))
        if isinstance(result, Fetch):
            found = self.values.look(engine, result.places)
            if found is None:
                return False
            result = result.then(found)
        self._once_durable(needed, reply, Answer(result, position=self._position(engine.log)))
        return True

    def quick(self, row: Row, params: Command) -> Kept | None:
        """A value in memory that is the answer to this read as things stand, all of it on disk. None where `read` is to see."""
        engine = self.world.engine_of[row.name]
        name, log = engine.name, engine.log
        assert row.quick is not None and log is not None
        if self.writer is None or self.writer.durable_ends.get(log, -1) < self.next_seq.get(log, 0):
            return None
        memory = self.values.memory[name]
        kept = row.quick.find(self.world.states[name], params, memory.kept)
        if kept is not None:
            kept.used += 1
            memory.quick += 1
        return kept

    def position(self, row: Row) -> Position:
        """What goes with an answer of this row that was drawn from what is durable."""
        log = self.world.engine_of[row.name].log
        assert log is not None
        return self._position(log)

    def _newest(self, logs: Iterable[str]) -> dict[str, int]:
        return {log: self.next_seq.get(log, 0) - 1 for log in logs}

    def _behind(self, needed: Mapping[str, int]) -> list[tuple[str, int]]:
        return [(log, seq) for log, seq in needed.items() if self.writer is not None and self.writer.behind(log, seq)]

    def _once_durable(self, needed: Mapping[str, int], reply: Reply, answer: Answer) -> None:
        """Whatever an answer was drawn from is on disk before it is told."""
        behind = self._behind(needed)
        if not behind:
            reply(answer)
            return
        assert self.writer is not None
        left = len(behind)

        def durable() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                reply(answer)

        for log, seq in behind:
            self.writer.when_durable(log, seq, durable)

    def _refuse_once_durable(self, needed: Mapping[str, int], reply: Reply, refused: Refused) -> None:
        """A refusal tells what is, as a read does: raised where all that it was judged by is on disk, else told once it is."""
        if not self._behind(needed):
            raise refused
        self._once_durable(needed, reply, Answer(error=refused))

    def _looked(self, engine: Engine, row: Row, params: Command, actor: Actor) -> Any:
        """What a read of an engine answers, counted where it is about stored values."""
        try:
            result = self.world.read(row, params, self.context(actor))
        except Refused as refused:
            if engine.stored is not None and refused.code == "not-found":
                self.values.memory[engine.name].misses += 1
            raise
        if isinstance(result, Fetch):
            self.values.memory[engine.name].hits += 1
        return result

    async def read_cold(self, row: Row, params: Command, actor: Actor) -> Answer:
        """The answer of a read whose values are on disk. What it saw is durable before they are read."""
        engine = self.world.engine_of[row.name]
        log = engine.log
        assert log is not None and self.writer is not None
        if log in self.damaged:
            raise Refused("data-loss", f"{log} did not verify. See: irerctl audit hashchain", reason="read-only")
        for _ in range(FETCHES_MAX):
            self._peeked = self._permitted_by(actor)
            position = self._position(log)
            try:
                fetch: Fetch | Refused = self.world.read(row, params, self.context(actor))
            except Refused as refused:
                fetch = refused
            for name, seq in self._behind(self._peeked | self._newest((log,))):
                await self._durable(name, seq)
            if isinstance(fetch, Refused):
                raise fetch
            assert isinstance(fetch, Fetch)
            try:
                return Answer(await self.values.read(engine, self.writer.log(log), fetch), position=position)
            except Pruned:
                continue
        raise Refused("unavailable", f"{log} is being tidied. Try again shortly", reason="pruned", retry_ms=100)

    async def fetch(self, engine: Engine, places: Sequence[Place]) -> list[bytes]:
        """Stored values as canonical JSON, for what irer itself sends elsewhere: nothing leaves that is not durable.

        Raises Pruned where one stands elsewhere by now: look again in the state. Refused where one cannot be read.
        """
        assert engine.log is not None and self.writer is not None
        await self._durable(engine.log, max([place.seq for place in places], default=-1))
        found = self.values.look(engine, places)
        if found is None:
            answer = await self.values.read(engine, self.writer.log(engine.log), Fetch(places, list))
            found = list(answer)
        return found

    async def _durable(self, log: str, seq: int) -> None:
        assert self.writer is not None
        done = trio.Event()
        self.writer.when_durable(log, seq, done.set)
        await done.wait()

    async def settled(self) -> None:
        """Until all that is decided now is durable."""
        for log, seq in self.next_seq.items():
            if self.writer is not None and self.writer.behind(log, seq - 1):
                await self._durable(log, seq - 1)

    def may_be_large(self, row: Row, params: Command) -> bool:
        """Whether a parameter may be too large for a record: then it is `stored` first. Raises Refused."""
        return bool(row.large) and self.values.may_be_large(self.world.engine_of[row.name], getattr(params, row.large))

    async def stored_first(self, row: Row, params: Command, keep: bool) -> Command:
        """The parameters with what stands for a large one, once that is on disk; `keep` is False where it is only tried."""
        value = await self.values.store(self.world.engine_of[row.name], getattr(params, row.large), keep)
        return msgspec.structs.replace(params, **{row.large: value})

    async def kept(self, row: Row, params: Command) -> Command:
        """The same where it was only tried before: what stands for a large one is on disk now."""
        value = getattr(params, row.large)
        if not isinstance(value, Large):
            return params
        return msgspec.structs.replace(params, **{row.large: await self.values.store_raw(value.raw, value.value)})

    def repeats(self, row: Row, params: Command, actor: Actor, reply: Reply, idem: str, still: Still | None) -> bool:
        """Whether this key was used before; then the answer is on its way. `write` asks again. Raises Refused."""
        log = self.world.engine_of[row.name].log
        assert self.ledger is not None
        if log in self.held:
            return False
        if still is not None:
            still()
        return self._repeat(row, actor, idem, self.ledger.digest(row.name, _canonical(row, params)), reply)

    def _position(self, seen: str) -> Position:
        """Up to the newest record of the log that was looked at, and of the others only up to what is durable."""
        writer = self.writer
        if writer is None:
            return self._position_of_all()
        if self._durable_ends is not writer.durable_ends:
            self._durable_ends = writer.durable_ends
            self._ends = {**self.next_seq, **writer.durable_ends}
        if seen not in self.next_seq:  # not one record of it verified
            return Position(self._ends)
        return Position(self._ends, seen, self.next_seq[seen])

    def _position_of_all(self) -> Position:
        """Up to the newest record of every log."""
        return Position(dict(self.next_seq))

    def write(
        self, row: Row, params: Command, actor: Actor, reply: Reply, idem: str | None = None, still: Still | None = None
    ) -> None:
        """Decide, apply and queue for the writer; `reply` comes once it is durable. `still` raises Refused where the caller may not
        any more: between a call and its decision others may come.
        """
        engine, writer = self.world.engine_of[row.name], self.writer
        log = engine.log
        assert log is not None and writer is not None
        if log in self.held:
            self._hold(log, row, params, actor, reply, partial(self.write, row, params, actor, reply, idem, still))
            return
        if still is not None:
            still()
        digest = ""
        if idem is not None:
            assert self.ledger is not None
            digest = self.ledger.digest(row.name, _canonical(row, params))
            if self._repeat(row, actor, idem, digest, reply):
                return
        if log in self.read_only:
            self._writable(log, actor)  # before its queue is asked for: a damaged log has none
        queue = writer.queue(log)
        if writer.failed or queue.full is not None or len(queue.waiting) >= self.settings.limits.waiting:
            self._writable(log, actor)
        self._peeked = self._permitted_by(actor)
        ctx = self.context(actor, self._moment_us(), deciding=True)
        try:
            decision = self._redacted(self.world.decide(row, params, ctx))
        except Refused as refused:
            self._refuse_once_durable(self._peeked | self._newest((log,)), reply, refused)
            return
        events = decision.events
        if not events:
            nothing = decision.answer if decision.answer is not None else {}
            self._once_durable(self._peeked | self._newest((log,)), reply, Answer(nothing))
            return
        if decision.turned_down and self.count_instead(actor.name, row.name, reply, Answer(_answer(row, decision)), actor.uid):
            return
        peeked = self._peeked
        needs = {name: seq for name, seq in peeked.items() if name != log and writer.behind(name, seq)} if peeked else _NOTHING
        first_seq = self.next_seq[log]
        records, size, stored = self._records(events, ctx, (digest, idem) if idem is not None else None, decision.made)
        if stored is not events:
            events, decision = stored, Decision(*stored, answer=decision.answer, turned_down=decision.turned_down)
        if not queue.fits(size, own=actor is IRER):
            text = f"{log} is still writing what came before. Nothing was done; try again shortly"
            raise Refused("resource-exhausted", text, reason="log-queue", retry_ms=100)
        self._apply(engine, log, events, ctx, first_seq)
        next_seq = self.next_seq[log] = first_seq + len(events)
        if engine.stored is not None:
            if decision.made is not None:
                self.values.put(engine.name, decision.made.name, first_seq, decision.made.value)
            else:
                self.values.note(engine, first_seq, records)
        if row.large and isinstance(large := getattr(params, row.large), Large):
            self.values.note_large(engine, first_seq, records[0], large.raw)
        if idem is not None:
            self._in_flight[actor.name, idem] = _InFlight(digest, log, first_seq, [])
        try:
            result = _answer(row, decision)
        except Exception:
            result = _Unanswered(decision)
        position = self._position(log)
        decided = _Decided(self, row, result, actor, reply, position, log, first_seq, next_seq - 1, ctx.now_us, idem, digest)
        writer.submit(log, records, size, needs, decided)

    def release(self, decided: _Decided, receipt: Receipt | None) -> None:
        """A command is durable, or its sync failed: tell all who asked for it."""
        row, others = decided.row, None
        if (told := self.timed.get(row.name)) is not None and receipt is not None:
            told(max(0, self.host.now_us() - decided.now_us))
        if decided.idem is not None:
            others = self._in_flight.pop((decided.actor.name, decided.idem)).others
            if receipt is not None:
                entry = Remembered(decided.digest, decided.log, decided.first_seq, decided.last_seq, decided.now_us)
                self.keys.remember(decided.actor.name, decided.idem, entry)
        try:
            if receipt is None or type(decided.result) is _Unanswered:
                answer = self._outcome(row, decided.result, receipt, decided.position)
            else:
                answer = Answer(decided.result, receipt, None, False, decided.position)
            decided.reply(answer)
            if others:
                once = row.shown_once and receipt is not None
                again = Answer(error=_shown_once(row)) if once else msgspec.structs.replace(answer, replayed=True)
                for other in others:
                    other(again)
        except Exception as error:  # the command is durable: a fault in telling it may not stop the writer
            self.on_internal_error(f"reply to {row.name}", error)

    def _redacted(self, decision: Decision) -> Decision:
        """Before an event is applied, stored or shown: what no log may hold is gone from it."""
        made = redact_events(self.redactor, decision.events)
        if made is decision.events:
            return decision
        return Decision(*made, answer=decision.answer, turned_down=decision.turned_down)

    # --- upkeep -----------------------------------------------------------------------------------------------------

    def hold(self, log: str) -> None:
        """Decide nothing for this log until `let_go`: its state is to be exactly what its durable records add up to."""
        self.held[log] = []

    def let_go(self, log: str, next_seq: int) -> None:
        """Decide what waited, which by now is all of one moment: whoever is quicker with many is told so."""
        self.next_seq[log] = next_seq
        held = self.held.pop(log)
        self._foretell((each.method, each.command) for each in held)
        for each in held:
            each.write()

    def abandon_held(self) -> None:
        """The writer has ended: writes that waited for upkeep learn that nothing was done."""
        for log in list(self.held):
            for each in self.held.pop(log):
                each.write()

    def _hold(self, log: str, row: Row, params: Command, actor: Actor, reply: Reply, again: Callable[[], None]) -> None:
        if actor is not IRER and len(self.held[log]) >= self.settings.limits.waiting:
            raise Refused("resource-exhausted", f"{log} is being tidied. Try again shortly", reason="log-queue", retry_ms=100)

        def write() -> None:
            try:
                again()
            except Refused as refused:
                reply(Answer(error=refused))
            except Exception as error:
                instance = self.on_internal_error(row.name, error)
                reply(Answer(error=Refused("internal", "a bug in irer; nothing was written", data={"instance": instance})))

        self.held[log].append(_Held(row.name, params, write))

    def dry(self, row: Row, params: Command, actor: Actor, reply: Reply) -> None:
        """The events a write would lead to. Nothing changes."""
        log = self.world.engine_of[row.name].log
        assert log is not None
        self._peeked = self._permitted_by(actor)
        try:
            events = self._redacted(self.world.decide(row, params, self.context(actor, deciding=True))).events
        except Refused as refused:
            self._refuse_once_durable(self._peeked | self._newest((log,)), reply, refused)
            return
        told = {"events": [{"type": event.event_type, "data": msgspec.to_builtins(event)} for event in events]}
        self._once_durable(self._peeked | self._newest((log,)), reply, Answer(told))

    def give(self, command: Command, reply: Reply | None = None) -> None:
        """A command of irer's own: what a timer, a job or a refusal leads to."""
        row = self.world.internal[type(command)]
        self.give_to(row, command, reply)

    def give_to(self, row: Row, command: Command, reply: Reply | None = None) -> None:
        """Never raises: what irer asks of itself may be refused or meet a bug, and the daemon goes on."""
        try:
            self.write(row, command, IRER, reply or _ignore)
        except Refused as refused:
            if reply is not None:
                reply(Answer(error=refused))
        except Exception as error:
            self.on_internal_error(row.name, error)
            if reply is not None:
                reply(Answer(error=Refused("internal", "a bug in irer; nothing was written")))

    def ask(self, method: str, params: Mapping[str, Any], idem: str, reply: Reply) -> None:
        """What one engine asks of another: irer's own command, keyed, so that it is done once however often it is asked."""
        row = self.world.rows[method]
        try:
            self.write(row, self.params(row, params), IRER, reply, idem)
        except Refused as refused:
            reply(Answer(error=refused))
        except Exception as error:
            self.on_internal_error(row.name, error)
            reply(Answer(error=Refused("internal", "a bug in irer; nothing was written")))

    # --- idempotency ------------------------------------------------------------------------------------------------

    def _repeat(self, row: Row, actor: Actor, idem: str, digest: str, reply: Reply) -> bool:
        """Whether this key was used before; then the answer is on its way."""
        pending = self._in_flight.get((actor.name, idem))
        if pending is not None:
            self._same(actor, pending.digest, digest, idem)
            pending.others.append(reply)
            return True
        known = self.keys.find(actor.name, idem, self.host.now_us())
        if known is None:
            return False
        self._same(actor, known.digest, digest, idem)
        if row.shown_once:
            raise _shown_once(row)
        reply(self.recall(row, known))
        return True

    def _same(self, actor: Actor, known: str, digest: str, idem: str) -> None:
        """An effect is known by its id alone: what it asks for may be worded by settings that have changed since."""
        if known != digest and actor is not IRER:
            raise Refused(
                "failed-precondition",
                f"the idempotency key {idem} was used for another request. Use a new key for a new request",
                reason="key-reused",
            )

    def recall(self, row: Row, known: Remembered) -> Answer:
        """The answer to a command that is in the log."""
        records = self.stored(known.log, known.first_seq, known.last_seq)
        events = [self.world.event(record.event_type, record.payload) for record in records]
        receipt = Receipt(known.log, known.last_seq, records[-1].event_hash)
        return msgspec.structs.replace(self._outcome(row, _answer(row, Decision(*events)), receipt), replayed=True)

    def stored(self, log: str, first_seq: int, last_seq: int) -> list[Record]:
        """Records read back from the file. A disk that cannot read them is the disk's fault, and named so."""
        assert self.writer is not None
        if log in self.damaged:
            raise Refused("data-loss", f"{log} did not verify. See: irerctl audit hashchain", reason="read-only")
        try:
            return list(records_between(self.writer.log(log), first_seq, last_seq))
        except Pruned:
            raise Refused("compacted", f"records of {log} from {first_seq} on were let go. List again, then go on") from None
        except (OSError, Corrupt):
            raise Refused("data-loss", f"{log} cannot be read back. See: irerctl audit hashchain", reason="read-failed") from None

    def receipt_of(self, known: Remembered) -> Receipt:
        [record] = self.stored(known.log, known.last_seq, known.last_seq)
        return Receipt(known.log, known.last_seq, record.event_hash)

    def operation(self, caller: str, idem: str) -> tuple[str, Remembered | None]:
        """pending, done or absent."""
        if (caller, idem) in self._in_flight:
            return "pending", None
        known = self.keys.find(caller, idem, self.host.now_us())
        return ("done", known) if known is not None else ("absent", None)

    # --- the parts of a write ---------------------------------------------------------------------------------------

    def _writable(self, log: str, actor: Actor) -> None:
        """irer's own commands pass the queue limit: there are few of them by design, and a refusal of access must be recorded."""
        assert self.writer is not None
        if log in self.read_only:
            text = f"{log} takes no writes: {self.read_only[log]}. {_shut(log)}See: irerctl doctor"
            raise Refused("data-loss", text, reason="read-only")
        if self.writer.failed:
            raise Refused("unavailable", "a sync failed; irerd is stopping and will be started again", retry_ms=1000)
        if (full := self.writer.full(log)) is not None:
            raise Refused("resource-exhausted", f"nothing was done: {full.text}. {_shut(log)}".rstrip(), reason=full.reason)
        if actor is not IRER and self.writer.waiting(log) >= self.settings.limits.waiting:
            raise Refused(
                "resource-exhausted",
                f"{self.settings.limits.waiting} commands wait for {log} already. Try again shortly",
                reason="log-queue",
                retry_ms=100,
            )

    def _records(
        self, events: tuple[Event, ...], ctx: Context, idem: tuple[str, str] | None, made: Made | None = None
    ) -> tuple[list[Pending], int, tuple[Event, ...]]:
        """The records of one command, their most bytes, and the events as they will be read back: no log tells -0.0 from 0, so what
        is applied and told does not either. What does not fit the log is refused before anything changes.
        """
        records: list[Pending] = []
        size = 0
        signed = False
        name, boot_id, mono_us, now_us = ctx.actor.name, ctx.boot_id, ctx.mono_us, ctx.now_us
        try:
            for event in events:
                payload, less = payload_and_sign(event) if made is None else (made.payload, False)
                record = _pending((event.event_type, payload, name, boot_id, mono_us, now_us, idem))
                size += measure(record)
                records.append(record)
                signed = signed or less
                idem = made = None
        except CanonicalError as error:
            raise Refused("invalid-argument", f"a value cannot be stored: {error}") from None
        except TooLarge as error:
            raise Refused("invalid-argument", f"this cannot be stored: {error}. Send less at once") from None
        if size > BATCH_BYTES_MAX:
            raise Refused("invalid-argument", f"{size:,} bytes in one command; at most {BATCH_BYTES_MAX:,} fit. Send less at once")
        if signed:
            events = tuple(self.world.event(record.event_type, record.payload) for record in records)
        return records, size, events

    def _apply(self, engine: Engine, log: str, events: tuple[Event, ...], ctx: Context, first_seq: int) -> None:
        try:
            for seq, event in enumerate(events, first_seq):
                self.world.apply(event, Stamp(log, seq, ctx.now_us, ctx.mono_us, ctx.boot_id, ctx.actor.name))
        except Exception as error:
            self.on_internal_error(f"apply {engine.name}", error)
            self._rebuild(log)
            raise Refused("internal", "a bug in irer; nothing was written", reason="apply") from error

    def _from_nothing(self, log: str) -> int:
        self.world.reset(log)
        return 0

    def _rebuild(self, log: str) -> None:
        """Start the engines of this log anew from the file and what still waits to be written."""
        assert self.writer is not None
        now = self.host.mono_us()
        recent = [at for at in self._rebuilds.get(log, []) if at > now - HOUR_US] + [now]
        self._rebuilds[log] = recent
        if len(recent) >= REBUILDS_MAX:
            self.read_only[log] = f"{len(recent)} faults within an hour"
        durable = self.writer.durable_seq(log)
        first = self.restore(log)
        stored = (
            (record.event_type, record.payload, record.stamp(log))
            for record in records_between(self.writer.log(log), first, durable)
        )
        decided = (
            (pending.event_type, pending.payload, Stamp(log, seq, pending.time_us, pending.mono_us, pending.boot_id, pending.actor))
            for seq, pending in enumerate(self.writer.unwritten(log), durable + 1)
        )
        self.world.replay_all(chain(stored, decided))

    def _outcome(self, row: Row, result: Any, receipt: Receipt | None, position: Position | None = None) -> Answer:
        if receipt is None:
            text = "a sync failed, so whether this was stored is not known. irerd is stopping; ask system.op_status afterwards"
            return Answer(error=Refused("durability-unknown", text, effect="unknown"), position=position)
        if type(result) is _Unanswered:
            result = _answer(row, result.decision)
        return Answer(result, receipt, None, False, position)


class Permits:
    """What one peer may call, as far as it was judged: the same rules judge the same."""

    __slots__ = ("_dispatch", "_peer", "_rows", "_rules")

    def __init__(self, dispatch: Dispatch, peer: Peer) -> None:
        self._dispatch, self._peer = dispatch, peer
        self._rules: Rules | None = None
        self._rows: dict[str, Row] = {}

    def row(self, method: str) -> Row | None:
        """Of a method that the rules in force were found to allow; of any other it is to be judged."""
        if self._dispatch.rules is not self._rules:
            self._rules, self._rows = self._dispatch.rules, {}
        return self._rows.get(method)

    def judge(self, row: Row) -> Verdict:
        verdict = self._dispatch.may(self._peer, row)
        if verdict.allowed:
            self.row(row.name)  # what other rules allowed is forgotten first
            self._rows[row.name] = row
        return verdict


def _as_asked(row: Row, params: Command) -> Command:
    """The parameters as the digest of a keyed request covers them: of a large one, or an array of numbers, its hash."""
    hashed: dict[str, dict[str, Any]] = {}
    for name in params.__struct_fields__:
        match getattr(params, name):
            case Large() as large:
                hashed[name] = {"sha256": large.sha256}
            case Typed() as numbers:
                shape = list(numbers.shape)
                hashed[name] = {"dtype": numbers.dtype, "shape": shape, "sha256": sha256(numbers.data).hexdigest()}
    return msgspec.structs.replace(params, **hashed) if hashed else params


def _shut(log: str) -> str:
    """What else a log means that takes no writes."""
    return f"{GATE_SHUT}. " if log == "gate_log" else ""


def _answer(row: Row, decision: Decision) -> Any:
    if decision.answer is not None:
        return decision.answer
    return row.reply(decision.events) if row.reply is not None else decision.events[0]


def _shown_once(row: Row) -> Refused:
    text = f"{row.name} was done with this key, and its answer held a secret that is shown once. Revoke or rotate that secret"
    return Refused("already-exists", f"{text}, and ask with a new key", reason="shown-once")


def _canonical(row: Row, params: Command) -> bytes:
    """What was asked, in the one form whose digest stands for it."""
    try:
        return event_payload(_as_asked(row, params))
    except CanonicalError as error:
        raise Refused("invalid-argument", f"{row.name}: a value cannot be stored: {error}") from None


def _ignore(answer: Answer) -> None:
    pass
