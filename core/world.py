"""Every engine's state, and the one way it changes: a decision's events applied in order, live or in replay.

Holds no clock, file or task. Who calls it (the daemon, a simulation, a verifier) brings the context and keeps the log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import msgspec.inspect

from core import shape
from core.canonical import CanonicalError, decode
from core.engine import Command, Context, Decision, Engine, Event, Row, Stamp

EVENTS_MAX = 256
"""Records one command may write: it must fit one batch."""
LAYER = "log."
"""What the types of the log layer's own records begin with."""


class UnknownEvent(Exception):
    """A record of a kind this version does not know: the log was written by another version."""


class BadDump(ValueError):
    """These bytes are no dump of these engines."""


class _Kind(NamedTuple):
    engine: str
    log: str | None
    read: Callable[[bytes], Event]
    read_all: Callable[[Sequence[bytes]], list[Event]]
    apply: Callable[[Any, Any, Stamp], None]


_packer = msgspec.msgpack.Encoder(order="deterministic")
_parts = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


@cache
def _reader(event: type[Event]) -> Callable[[bytes], Event]:
    """How a stored payload becomes the event again, every value as it was.

    msgspec reads a float of 2^53 or more, which is written without a point, back as an integer where any type will do; so an
    event with such a field is read by the rules of the canonical form.
    """
    decoder = msgspec.json.Decoder(event, strict=True)
    if not _holds_anything(msgspec.inspect.type_info(event)):
        return decoder.decode
    return lambda payload: msgspec.convert(decode(payload), event, strict=True)


@cache
def _row_reader(event: type[Event]) -> Callable[[Sequence[bytes]], list[Event]]:
    """The same of many payloads, each of which is a whole object: at one go where that is quicker."""
    if _holds_anything(msgspec.inspect.type_info(event)):
        read = _reader(event)
        return lambda payloads: list(map(read, payloads))
    rows = msgspec.json.Decoder(list[event], strict=True)  # type: ignore[valid-type]
    return lambda payloads: rows.decode(b"[%b]" % b",".join(payloads))


def _holds_anything(info: Any) -> bool:
    """Whether a value of no particular type stands anywhere within this type."""
    if isinstance(info, msgspec.inspect.AnyType):
        return True
    inner = [getattr(info, name, None) for name in ("type", "item_type", "key_type", "value_type")]
    inner += [field.type for field in getattr(info, "fields", ())]
    inner += [*getattr(info, "types", ()), *getattr(info, "item_types", ())]
    return any(_holds_anything(part) for part in inner if isinstance(part, msgspec.inspect.Type))


class World:
    def __init__(self, engines: Sequence[Engine], *, facts_only: bool = False) -> None:
        """`facts_only`: nobody asks for more than what states are compared by."""
        self._facts_only = facts_only
        self.engines = {engine.name: engine for engine in engines}
        self.states: dict[str, Any] = {}
        self.rows: dict[str, Row] = {}
        self.engine_of: dict[str, Engine] = {}
        self.internal: dict[type[Command], Row] = {}
        self.logs: dict[str, list[Engine]] = {}
        self._kinds: dict[str, _Kind] = {}
        for engine in engines:
            self._add(engine)
        for log in self.logs:
            self.reset(log)

    def _add(self, engine: Engine) -> None:
        for row in engine.rows:
            if row.name in self.rows:
                raise ValueError(f"two rows are named {row.name}")
            self.rows[row.name] = row
            self.engine_of[row.name] = engine
            if row.kind == "internal":
                self.internal.setdefault(row.params, row)
        if engine.log is not None:
            self.logs.setdefault(engine.log, []).append(engine)
        for event, apply in engine.applies.items():
            if event.event_type in self._kinds:
                raise ValueError(f"two engines apply {event.event_type}")
            if event.event_type.startswith(LAYER):
                raise ValueError(f"{event.event_type} belongs to the log layer")
            self._kinds[event.event_type] = _Kind(engine.name, engine.log, _reader(event), _row_reader(event), apply)

    def reset(self, log: str) -> None:
        """Forget what the engines of this log know, before a replay."""
        for engine in self.logs[log]:
            if engine.state is not None:
                self._begin(engine, engine.state())

    def _begin(self, engine: Engine, state: Any) -> None:
        if self._facts_only and engine.blind is not None:
            engine.blind(state)
        self.states[engine.name] = state

    @property
    def event_types(self) -> list[str]:
        return sorted(self._kinds)

    def engine_of_event(self, event_type: str) -> str | None:
        """The engine an event type belongs to; None for records of the log layer itself."""
        kind = self._kinds.get(event_type)
        return kind.engine if kind else None

    def decide(self, row: Row, params: Command, ctx: Context) -> Decision:
        """What the command leads to. Changes nothing; raises Refused."""
        if row.run is None:
            raise ValueError(f"{row.name} has no function")
        decision: Decision = row.run(self.states[self.engine_of[row.name].name], params, ctx)
        if type(decision) is not Decision:
            raise TypeError(f"{row.name} answered {type(decision).__name__}, not a Decision")
        if len(decision.events) > EVENTS_MAX:
            raise ValueError(f"{row.name} led to {len(decision.events)} events; at most {EVENTS_MAX} fit one batch")
        return decision

    def read(self, row: Row, params: Command, ctx: Context) -> Any:
        if row.run is None:
            raise ValueError(f"{row.name} has no function")
        return row.run(self.states[self.engine_of[row.name].name], params, ctx)

    def apply(self, event: Event, stamp: Stamp) -> None:
        kind = self._kinds[event.event_type]
        kind.apply(self.states[kind.engine], event, stamp)

    def replay(self, event_type: str, payload: bytes, stamp: Stamp) -> None:
        """Apply a stored record. `log.*` records belong to the log layer and reach no engine."""
        kind = self._kinds.get(event_type)
        if kind is None and event_type.startswith(LAYER):
            return
        if kind is None or stamp.log != kind.log:
            raise UnknownEvent(
                f"{stamp.log} record {stamp.seq} is a {event_type!r}, which this version does not know. "
                "Nothing was changed. Install the version that wrote it, or restore a backup made by this one"
            )
        try:
            event = kind.read(payload)
        except (msgspec.ValidationError, CanonicalError) as error:
            raise UnknownEvent(
                f"{stamp.log} record {stamp.seq} ({event_type}) has fields this version does not know: {error}. "
                "Nothing was changed. Install the version that wrote it, or restore a backup made by this one"
            ) from None
        kind.apply(self.states[kind.engine], event, stamp)

    def replay_all(self, records: Iterable[tuple[str, bytes, Stamp]]) -> None:
        """The same of many: a start lasts as long as this loop."""
        kinds, states = self._kinds, self.states
        for event_type, payload, stamp in records:
            try:
                engine, log, read, _, apply = kinds[event_type]
                event = read(payload)
            except (KeyError, msgspec.ValidationError, CanonicalError):
                self.replay(event_type, payload, stamp)  # what belongs to no engine, or an error with its reason
                continue
            if log != stamp.log:
                self.replay(event_type, payload, stamp)
            apply(states[engine], event, stamp)

    def replay_columns(self, log: str, event_types: Sequence[str], payloads: Sequence[bytes], stamps: Iterator[Stamp]) -> None:
        """The same of records of one log, each of whose payloads is a whole object: those of one type are read at one go."""
        end = 0
        for event_type, count in _runs(event_types):
            start, end = end, end + count
            kind = self._kinds.get(event_type)
            try:
                events = kind.read_all(payloads[start:end]) if kind is not None and kind.log == log else []
            except (msgspec.ValidationError, CanonicalError):
                events = []
            if kind is None or not events:  # what belongs to no engine, or an error with its reason
                for payload, stamp in zip(payloads[start:end], stamps, strict=False):
                    self.replay(event_type, payload, stamp)
                continue
            state, apply = self.states[kind.engine], kind.apply
            for event, stamp in zip(events, stamps, strict=False):
                apply(state, event, stamp)

    def event(self, event_type: str, payload: bytes) -> Event:
        """A stored event of a type this world knows."""
        return self._kinds[event_type].read(payload)

    def schema(self, log: str) -> str:
        """Stands for the shape of this log's dumps: only bytes dumped under the same one may be loaded.

        Empty where an engine cannot be dumped: such a log is always replayed from its beginning.
        """
        engines = self._stateful(log)
        if any(engine.dump is None for engine in engines):
            return ""
        return shape.digest(*[part for engine in engines for part in (engine.name, engine.dump_version, engine.dumped)])

    def dump(self, log: str) -> bytes:
        """What the engines of this log know now. The same records lead to the same bytes, on whatever way."""
        dumped: dict[str, Any] = {}
        for engine in self._stateful(log):
            if engine.dump is None:
                raise ValueError(f"{engine.name} cannot be dumped")
            dumped[engine.name] = engine.dump(self.states[engine.name])
        return _packer.encode(dumped)

    def load(self, log: str, raw: bytes) -> None:
        """Replace what the engines of this log know. Raises BadDump, and then nothing has changed."""
        engines = self._stateful(log)
        try:
            parts = _parts.decode(raw)
            if parts.keys() != {engine.name for engine in engines}:
                raise BadDump(f"holds {', '.join(sorted(parts)) or 'nothing'}")
            states = {engine.name: _loaded(engine, parts[engine.name]) for engine in engines}
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
            raise error if isinstance(error, BadDump) else BadDump(f"{type(error).__name__}: {error}") from None
        for engine in engines:
            self._begin(engine, states[engine.name])

    def kept(self, log: str) -> dict[str, bytes]:
        """The views that the engines of this log hold in their states, by engine. They may be thrown away."""
        return {name: made() for name, made in self.pictures(log).items()}

    def pictures(self, log: str) -> dict[str, Callable[[], bytes]]:
        """The same as things stand now, made into bytes by whoever has the time for it."""
        return {engine.name: engine.keep(self.states[engine.name]) for engine in self.logs[log] if engine.keep is not None}

    def take_up(self, log: str, kept: Mapping[str, bytes]) -> None:
        """Views that were kept beside a dump which was just loaded."""
        for engine in self.logs[log]:
            if engine.take_up is not None and (raw := kept.get(engine.name)):
                engine.take_up(self.states[engine.name], raw)

    def _stateful(self, log: str) -> list[Engine]:
        return sorted((engine for engine in self.logs[log] if engine.state is not None), key=lambda engine: engine.name)


def _runs(event_types: Sequence[str]) -> Iterable[tuple[str, int]]:
    """How many of one type follow one another. Most batches are of one type alone."""
    if event_types.count(event_types[0]) == len(event_types):
        return [(event_types[0], len(event_types))]
    return [(event_type, len(list(alike))) for event_type, alike in groupby(event_types)]


def _loaded(engine: Engine, part: msgspec.Raw) -> Any:
    if engine.load is None:
        raise BadDump(f"{engine.name} cannot be loaded")
    return engine.load(msgspec.msgpack.decode(part, type=engine.dumped, strict=True))


def differences(one: bytes, other: bytes) -> list[str]:
    """The engines of which two dumps say different things."""
    parts = _parts.decode(one), _parts.decode(other)
    return sorted(name for name in parts[0].keys() | parts[1].keys() if parts[0].get(name) != parts[1].get(name))
