"""The only vocabulary an engine needs: commands ask, events happened, effects are work the daemon should now do.

`decide` judges and changes nothing, `apply` records a fact and never refuses, `wanted` lists the effects. Nothing here
reads a clock, draws randomness or touches a file: what the outside decided arrives in `Context` and ends up in an event.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, dataclass_transform

import msgspec

from core.fields import Code, Count, Frozen, Name
from core.secrets import Secrets
from core.settings import Settings
from core.wire.errors import CODES


class Refused(Exception):
    """The caller's error: a stable code, what happened, and what to do about it. It crosses the wire as it is."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        reason: str | None = None,
        fields: Sequence[tuple[str, str]] = (),
        data: Mapping[str, Any] | None = None,
        retry_ms: int | None = None,
        effect: Literal["none", "unknown"] = "none",
        help: str | None = None,
    ) -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}")
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.reason = reason
        self.fields: Sequence[tuple[str, str]] = tuple(fields)
        self.data = dict(data) if data else None
        self.retry_ms = retry_ms
        self.effect: str = effect
        self.help = help


class Command(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Asks. Its fields are a method's parameters; the class docstring has one `field: meaning` line for each."""


class Nothing(Command):
    """No parameters."""


class Result(msgspec.Struct, metaclass=Frozen, frozen=True, omit_defaults=True):
    """What a read answers. Unknown fields are allowed, so an old client survives a new one."""


Health = Literal["ok", "degraded", "failed"]


class Check(Result):
    """The health of one subsystem.

    name: of the subsystem
    health: ok, degraded or failed
    reason: why, and what to do
    """

    name: str
    health: Health
    reason: str = ""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class EventMeta(Frozen):
    """Takes the event type beside the class name: `class Resized(Event, type="pool.resized")`."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, type: str = "", **config: Any
    ) -> "EventMeta":
        made = super().__new__(mcls, name, bases, namespace, **config)
        made.event_type = type  # type: ignore[attr-defined]
        return made


class Event(msgspec.Struct, metaclass=EventMeta, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Happened. A changed meaning is a new type: an old log must replay for ever."""

    event_type: ClassVar[str]


class Stamp(msgspec.Struct, metaclass=Frozen, frozen=True):
    """The envelope of an event, fixed when it is decided: the same live and in replay."""

    log: str
    seq: int
    time_us: int
    mono_us: int
    boot_id: str
    actor: str

    def cause(self, place: int = 0) -> str:
        """The stable id of the effect that this event causes."""
        return f"{self.log}:{self.seq}:{place}"


class Actor(msgspec.Struct, metaclass=Frozen, frozen=True):
    """Who asks: `irer`, `uid:1000` or `engine:mailer`, with the role the judge gave."""

    name: str
    role: str
    uid: int | None = None


IRER = Actor("irer", "irer")


RECORD_VALUE_BYTES_MAX = 16_384
"""Of a value's canonical JSON in a record; a larger one is a blob, which the record names."""


class Large(NamedTuple):
    """In place of a parameter too large for a record: it is on disk by now, named by the SHA-256 of its canonical JSON."""

    sha256: str
    value: Any
    raw: bytes


class Place(NamedTuple):
    """Where a value stands that is not kept in a state: in a record of the engine's own log, or in a blob that it names."""

    name: str
    """What it is the current value of, so that one is remembered of each."""
    seq: int
    blob: str = ""


class Fetch:
    """What a read answers whose values are to be read first; `then` makes the answer of their canonical JSON, in this order."""

    __slots__ = ("places", "then")

    def __init__(self, places: Sequence[Place], then: Callable[[Sequence[bytes]], Any]) -> None:
        self.places = tuple(places)
        self.then = then


class Kept(msgspec.Struct, gc=False):
    """A stored value in memory: a view that may go at any time."""

    seq: int
    """The record that it stands in."""
    raw: bytes
    """Its canonical JSON."""
    used: int = 0
    """How often it was asked for since memory was last short."""
    of: Any = None
    """What of the state an answer was made for: while that very object stands, the answer is the same."""
    note: str = ""
    """What that answer says beside the value."""
    load: Any = None
    """How the value is had from `raw`."""
    wire: bytes = b""
    """The answer as it is sent; nothing, where it was not asked for twice yet."""


class Quick(NamedTuple):
    """How a read is answered from memory alone, without a context, where its answer cannot have changed."""

    find: Callable[[Any, Any, Mapping[str, Kept]], Kept | None]
    """Of a state, the parameters and the values in memory by name: the one that is the answer, made out to what stands now."""
    answer: Callable[[Any, Kept], Any]
    """What the read would answer, from its parameters and that. Nothing in it is shared with another answer."""


class Seen(NamedTuple):
    """What a view counts of the values that were asked for. It is not logged, and begins anew with the daemon."""

    hits: int = 0
    misses: int = 0
    from_memory: int = 0
    from_disk: int = 0
    memory_bytes: int = 0
    """What the values in memory take now."""


NOTHING_SEEN = Seen()


def _nothing_seen(engine: str) -> Seen:
    return NOTHING_SEEN


class Context(msgspec.Struct, metaclass=Frozen, frozen=True):
    """What the outside decided for one command or read. `now_us` is wall time, `mono_us` the clock that never steps back."""

    now_us: int
    mono_us: int
    boot_id: str
    actor: Actor
    settings: Settings
    new_id: Callable[[], str]
    random: random.Random
    peek: Callable[[str], Any]
    """Another engine's state, by engine name. What was seen must be durable before this command is."""
    secrets: Secrets
    seen: Callable[[str], Seen] = _nothing_seen
    """Of an engine, what was asked of its stored values. A view: only reads look at it."""
    file: Settings | None = None
    """`settings` without the keys that were set over the socket; None where there are none."""


class Made(msgspec.Struct, metaclass=Frozen, frozen=True, gc=False):
    """What was made of an event on the way to it, so that it is not made again."""

    payload: bytes
    """Its canonical bytes, as `payload_and_sign` makes them. Where those say less than the event, it is in what nobody is told."""
    name: str = ""
    """What its value is called, and that as canonical JSON, as `Engine.stored` would find them in the payload."""
    value: bytes = b""


class Decision:
    """The events a command leads to; all of one log.

    `answer` is what the caller gets instead of the first event, where it holds a secret that is shown once (the row says so).
    With no events it is the answer of a command that found nothing to change.
    `turned_down`: a credential was refused. Such events may be counted into one record a second when a caller has very many.
    `made` goes with the first event; of an engine that stores values with the only one.
    """

    __slots__ = ("answer", "events", "made", "turned_down")

    def __init__(self, *events: Event, answer: Any = None, turned_down: bool = False, made: Made | None = None) -> None:
        self.events = events
        self.answer = answer
        self.turned_down = turned_down
        self.made = made

    def __repr__(self) -> str:
        return f"Decision{self.events!r}"


NOTHING = Decision()


class Timer(msgspec.Struct, metaclass=Frozen, frozen=True):
    """Effect: put `command` before its engine once the monotonic clock of this boot reaches `due_us`."""

    id: str
    due_us: int
    command: Command


class Job(msgspec.Struct, metaclass=Frozen, frozen=True):
    """Effect: run a named job in a child process. Its end comes back as a `JobEnded` to the engine that wanted it."""

    id: str
    name: str
    params: dict[str, Any]
    timeout_s: float | None = None


class Ask(msgspec.Struct, metaclass=Frozen, frozen=True):
    """Effect: put a command before another engine, once. What it answered comes back as an `Asked` to the engine that wanted it.

    `id` is that of the event behind it and the command's idempotency key too, so that asking again after a restart is harmless.
    """

    id: str
    method: str
    params: dict[str, Any]


class Errand(msgspec.Struct, metaclass=Frozen, frozen=True):
    """Effect: work that `irerd` does itself and knows by name, over a network say. Its end comes back as a `JobEnded`.

    It is begun anew after a restart, so it must be harmless to do any part of it again.
    """

    id: str
    name: str
    params: dict[str, Any]


Effect = Timer | Job | Ask | Errand


class Asked(Command):
    """What another engine answered.

    effect: id of the effect that asked
    ok: whether it did what was asked
    code: ok, or the error code of the refusal
    detail: one line about a refusal
    result: the answer
    """

    effect: Name
    ok: bool
    code: Code
    detail: str = ""
    result: dict[str, Any] = {}


class JobEnded(Command):
    """How a job came out.

    effect: id of the effect that asked for the job
    ok: whether it did what was asked
    code: stable word for the outcome: ok, failed, crashed, timeout, memory, bad-output
    detail: one line about a failure, from the job itself
    result: what the job found
    """

    effect: Name
    ok: bool
    code: Code
    detail: str = ""
    result: dict[str, Any] = {}


class JobStatus(Result):
    """A job that a caller began, as its engine knows it. Its effect is that of the record that began it.

    job: its id
    method: what began it
    state: running or done
    seq: the record that began it
    started_at: when
    ended_at: when it ended
    ok: once it ended, whether it did what was asked
    code: once it ended, how: ok, cancelled, or what went wrong
    detail: one line about a failure, and what to do
    result: what it came to
    progress: how far it is; not kept, and shown only while it runs
    """

    job: str
    method: str
    state: Literal["running", "done"]
    seq: Count
    started_at: str
    ended_at: str | None = None
    ok: bool | None = None
    code: str | None = None
    detail: str | None = None
    result: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None


class CancelJob(Command):
    """Ends a job that runs.

    job: its id
    """

    job: Name


Decide = Callable[[Any, Any, Context], Decision]
Apply = Callable[[Any, Any, Stamp], None]
Read = Callable[[Any, Any, Context], Any]
Kind = Literal["read", "write", "task", "internal"]


@dataclass(frozen=True)
class Row:
    """One method: its name, parameters, function, and all that documents, permissions, CLI and tests are made from."""

    name: str
    kind: Kind
    params: type[Command]
    run: Callable[..., Any] | None
    """decide of a write, answer of a read; None where the daemon fills the port (system, audit)."""
    help: str
    example: Mapping[str, Any]
    apply: Mapping[type[Event], Apply] = field(default_factory=dict)
    reply: Callable[[Sequence[Event]], Any] | None = None
    result: Any = None
    """The type of the answer; of a write without `reply`, its first event."""
    item: Any = None
    """The type of one streamed item; a method with it streams."""
    cli: str = ""
    """How `irerctl` spells it, without the program: `engine scale POOL SIZE`."""
    needs: str = ""
    quick: Quick | None = None
    """Of a read of stored values, the short way."""
    large: str = ""
    """The parameter, any JSON value, that may be too large for a record: it is then stored first, and `Large` stands for it."""
    deadline_ms: int | None = 30_000
    shown_once: bool = False
    since: str = "0.1"
    deprecated: bool = False

    @property
    def streams(self) -> bool:
        return self.item is not None


def _returns(function: Callable[..., Any] | None) -> Any:
    return getattr(function, "__annotations__", {}).get("return")


def read(name: str, params: type[Command], run: Read | None, *, help: str, example: Mapping[str, Any], **more: Any) -> Row:
    """A method that only looks. Runs inline: it may not await."""
    more.setdefault("result", _returns(run))
    return Row(name, "read", params, run, help, example, **more)


def write(
    name: str,
    params: type[Command],
    decide: Decide | None,
    *,
    apply: Mapping[type[Event], Apply] | None = None,
    help: str,
    example: Mapping[str, Any],
    **more: Any,
) -> Row:
    """A method whose events are durable before its reply, which is its first event unless `reply` says otherwise."""
    apply = apply or {}
    answer = _returns(more.get("reply")) or next(iter(apply), None)
    more.setdefault("result", answer)
    return Row(name, "write", params, decide, help, example, apply, **more)


def task(name: str, params: type[Command], *, help: str, example: Mapping[str, Any], **more: Any) -> Row:
    """A method the daemon serves in a task of its own: streams, scans, work in other processes."""
    return Row(name, "task", params, None, help, example, **more)


def internal(name: str, params: type[Command], decide: Decide, *, apply: Mapping[type[Event], Apply] | None = None) -> Row:
    """A command only `irer` itself gives: what an effect came to. Not in the catalogue."""
    return Row(name, "internal", params, decide, "", {}, apply or {})


class Engine:
    """One engine's table: the last lines of its file. Rows without a dot get the engine's name in front."""

    def __init__(
        self,
        name: str,
        *,
        rows: Sequence[Row],
        log: str | None = None,
        state: Callable[[], Any] | None = None,
        wanted: Callable[[Any, Context], Iterable[Effect]] | None = None,
        checks: Callable[[Any, Context], Iterable[Check]] | None = None,
        dump: Callable[[Any], Any] | None = None,
        load: Callable[[Any], Any] | None = None,
        dump_version: int = 1,
        follows: Sequence[str] = (),
        stored: Callable[[bytes], tuple[str, bytes | None]] | None = None,
        blobs: Callable[[Any], Iterable[str]] | None = None,
        oldest: Callable[[Any], int | None] | None = None,
        canonical: Callable[[Any], bytes] | None = None,
        jobs: Callable[[Any], Iterable[JobStatus]] | None = None,
        keep: Callable[[Any], Callable[[], bytes]] | None = None,
        take_up: Callable[[Any, bytes], None] | None = None,
        blind: Callable[[Any], None] | None = None,
    ) -> None:
        """`stored` gives of a record's payload what its value is called and its canonical JSON, as a `Place` finds it; `blobs` all
        blobs that the state names, and `oldest` the oldest record that a read may still need: it is not let go. `canonical` makes
        the bytes of a parameter that may be `large`, or refuses it.

        `jobs` are those that callers began, the newest first; a row `cancel_job` ends one.

        `wanted` is asked again after each event of this engine's log, and of the logs of the engines it `follows`.

        `keep` gives what the state holds beside the facts, a view that may be thrown away, for a start from a snapshot to
        `take_up`: it is no part of a dump, and no two states are compared by it. What it gives makes the bytes, later perhaps and
        in another thread, of the state as it was when `keep` was called. A state that was made `blind` keeps no such view.

        `dump` gives the state as a struct, whose type its annotation names, and `load` makes the state from one. What can be
        worked out from the rest is not dumped. `dump_version` rises when the same log leads to other values than before.
        """
        if (dump is None) != (load is None) or (dump is not None and _returns(dump) is None):
            raise ValueError(f"{name}: dump and load go together, and dump says what it returns")
        self.name = name
        self.log = log
        self.state = state
        self.wanted = wanted
        self.checks = checks
        self.dump = dump
        self.load = load
        self.dumped: Any = _returns(dump)
        self.dump_version = dump_version
        self.follows = tuple(follows)
        self.stored = stored
        self.blobs = blobs
        self.oldest = oldest
        self.canonical = canonical
        self.jobs = jobs
        self.keep = keep
        self.take_up = take_up
        self.blind = blind
        self.rows = [self._complete(row) for row in rows]
        self.applies: dict[type[Event], Apply] = {}
        for row in self.rows:
            for event, function in row.apply.items():
                if self.applies.setdefault(event, function) is not function:
                    raise ValueError(f"{name}: two functions apply {event.event_type}")

    def _complete(self, row: Row) -> Row:
        full = row.name if "." in row.name else f"{self.name}.{row.name}"
        namespace = full.partition(".")[0]
        needs = row.needs or ("" if row.kind == "internal" else f"{namespace}:{'write' if row.kind == 'write' else 'read'}")
        return replace(row, name=full, needs=needs)
