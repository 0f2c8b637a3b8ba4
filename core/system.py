"""The tables without a log: `system` and `audit`. Their rows name ports that the daemon fills; start-up fails when one is empty."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from core.engine import Check, Command, Engine, Health, Nothing, Result, read, task
from core.fields import Code, Count, Cursor, Hash, IdempotencyKey, Label, Name, Object, Time

Milliseconds = Annotated[float, Meta(ge=0)]


class Pong(Result):
    """The daemon is there."""


class Info(Result):
    """Who answers, and within which bounds.

    version: of irerd
    pid: process id
    uptime_s: seconds since this process was ready to answer
    boot: how often this state directory was started
    instance: id of this process
    schema: SHA-256 of the catalogue
    ledger: id of the state directory
    state: recovering, ready or draining
    recovered: records read back so far while recovering
    limits: bounds on callers, by name
    """

    version: str
    pid: Count
    uptime_s: Count
    boot: Count
    instance: str
    schema: str
    ledger: str
    state: Literal["recovering", "ready", "draining"]
    recovered: Count
    limits: dict[str, Count]


class LogStatus(Result):
    """One log, as this daemon sees it.

    log: its name
    records: how many it holds
    durable_seq: the last record that is on disk
    integrity: ok, or failed when recovery found damage
    """

    log: str
    records: Count
    durable_seq: Annotated[int, Meta(ge=-1, le=2**53 - 1)]
    integrity: Literal["ok", "failed"]


class Status(Result):
    """Every engine in one object, worst news first.

    state: recovering, ready or draining
    version: of irerd
    pid: process id
    uptime_s: seconds since start
    instance: id of this process
    health: the worst of all subsystems
    problems: what is wrong, one sentence each
    engines: the status of each engine, by name
    logs: every log
    connections: open connections
    """

    state: Literal["recovering", "ready", "draining"]
    version: str
    pid: Count
    uptime_s: Count
    instance: str
    health: Health
    problems: list[str]
    engines: dict[str, Any]
    logs: list[LogStatus]
    connections: Count


class HealthReport(Result):
    """The health of every subsystem.

    health: the worst of all
    checks: each subsystem
    loop_lag_ms: how late the event loop wakes, worst of the last ten seconds
    resident_bytes: memory of the daemon process
    """

    health: Health
    checks: list[Check]
    loop_lag_ms: Milliseconds
    resident_bytes: Count


class Describe(Command):
    """Which part of the catalogue.

    method: one method only, by its full name
    """

    method: Label | None = None


class Description(Result):
    """The catalogue.

    schema: its SHA-256
    methods: every method: parameters, results, events, permission, kind, help, example
    events: every event type with its log and schema; only when the whole catalogue is asked for
    errors: every error code; likewise
    """

    schema: str
    methods: list[Object]
    events: Object = {}
    errors: Object = {}


class Reloaded(Result):
    """What a reload did, by configuration key.

    applied: keys whose new value is in force
    unchanged: how many keys are as they were
    needs_restart: keys that changed in the file and take effect at the next start
    """

    applied: list[str]
    unchanged: Count
    needs_restart: list[str]


class Watch(Command):
    """Which events to follow.

    engine: only this engine's
    type: only this event type
    since: a cursor to go on from; without it the stream begins now
    """

    engine: Name | None = None
    type: Name | None = None
    since: Cursor | None = None


class Seen(Result):
    """One durable event.

    type: the event type
    log: the log it is in
    seq: its place there
    time: wall time when it was decided
    actor: who caused it
    data: the event's own fields
    """

    type: str
    log: str
    seq: Count
    time: Time
    actor: str
    data: Object


class OpStatus(Command):
    """Which operation.

    idem: an idempotency key of the caller's own
    caller: another caller's key; admins only
    """

    idem: IdempotencyKey
    caller: Name | None = None


class Receipt(Result):
    """Where a write stands.

    log: the log
    seq: the last record of the command
    event_hash: that record's hash
    """

    log: str
    seq: Count
    event_hash: Hash


class Operation(Result):
    """What became of a keyed write.

    state: pending, done or absent
    first_seq: the first record of the command
    receipt: of its last record
    complete_since: for absent, since when a key would be known
    """

    state: Literal["pending", "done", "absent"]
    first_seq: Count | None = None
    receipt: Receipt | None = None
    complete_since: Time | None = None


class HashChain(Command):
    """Which chains to walk.

    log: only this log
    """

    log: Name | None = None


class FirstBad(Result):
    """The first record that does not hold.

    offset: byte in the file
    why: what is wrong with it
    seq: the record it should have been, where that is known
    """

    offset: Count
    why: str
    seq: Count | None = None


class ChainProgress(Result):
    """How far the walk along one chain is.

    log: its name
    records: records found whole so far
    done: whether this log is finished
    ok: whether all of it holds so far
    code: chain-ok, chain-broken or walking
    first_bad: the first record that does not hold
    """

    log: str
    records: Count
    done: bool
    ok: bool
    code: Code
    first_bad: FirstBad | None = None


class ChainReport(Result):
    """The end of a walk along the chains.

    ok: whether every chain holds
    logs: how many were walked
    records: how many records hold
    """

    ok: bool
    logs: Count
    records: Count


class Prometheus(Result):
    """Metrics in Prometheus' text format.

    text: the exposition
    """

    text: str


SYSTEM = Engine(
    "system",
    rows=[
        read("ping", Nothing, None, help="See whether the daemon answers", example={}, result=Pong),
        read("info", Nothing, None, help="Version, limits and identity of the daemon", example={}, result=Info),
        read("status", Nothing, None, help="Every engine in one object, worst news first", example={}, result=Status, cli="status"),
        read("health", Nothing, None, help="Each subsystem: ok, degraded or failed, and why", example={}, result=HealthReport),
        read(
            "describe",
            Describe,
            None,
            help="The catalogue of methods, as data",
            example={"method": "system.ping"},
            result=Description,
        ),
        task(
            "reload",
            Nothing,
            help="Read the configuration file again and apply what changed",
            example={},
            result=Reloaded,
            needs="system:admin",
            cli="reload",
        ),
        task(
            "watch",
            Watch,
            help="Follow events as they become durable",
            example={"engine": "resource"},
            item=Seen,
            deadline_ms=None,
            cli="watch",
        ),
        read("op_status", OpStatus, None, help="What became of a keyed write", example={"idem": "cli-8d2f6c01"}, result=Operation),
    ],
)

AUDIT = Engine(
    "audit",
    rows=[
        task(
            "hashchain",
            HashChain,
            help="Walk every chain, record by record",
            example={},
            item=ChainProgress,
            result=ChainReport,
            deadline_ms=None,
            cli="audit hashchain",
        ),
    ],
)

METRICS = Engine(
    "metrics",
    rows=[
        read("prometheus", Nothing, None, help="The daemon's own metrics for Prometheus", example={}, result=Prometheus),
    ],
)

TABLES = [SYSTEM, AUDIT, METRICS]
