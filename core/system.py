"""The tables without a log: `system` and `audit`. Their rows name ports that the daemon fills; start-up fails when one is empty."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from core.engine import Check, Command, Engine, Health, JobStatus, Nothing, Result, read, task
from core.fields import Code, Count, Cursor, Hash, IdempotencyKey, Label, Name, Object, Time, privacy
from core.metrics.reads import AskHistory, Gauges, History, Meters

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


class Load(Result):
    """What the daemon is busy with. Totals count from its start.

    calls: calls answered
    refusals: refusals of access
    groups: groups of commands written and synced
    queued: commands that wait to be written, by log; logs for which none wait are left out
    loop_lag_p99_ms: of a hundred wakings of the event loop within ten seconds, 99 were not later than this
    outbox_bytes: what waits for slow readers
    jobs: tasks, jobs and questions between engines under way
    workers_running: workers that compute
    workers_waiting: computations that wait for a worker
    workers_started: worker processes
    workers_lost: computations whose worker was lost
    """

    calls: Count
    refusals: Count
    groups: Count
    queued: dict[str, Count]
    loop_lag_p99_ms: Milliseconds
    outbox_bytes: Count
    jobs: Count
    workers_running: Count
    workers_waiting: Count
    workers_started: Count
    workers_lost: Count


class HealthReport(Result):
    """The health of every subsystem.

    health: the worst of all
    checks: each subsystem
    loop_lag_ms: how late the event loop wakes, worst of the last ten seconds
    resident_bytes: memory of the daemon process
    load: what it is busy with
    """

    health: Health
    checks: list[Check]
    loop_lag_ms: Milliseconds
    resident_bytes: Count
    load: Load


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
    set_over: keys that were set with config.set and win over the file
    left_out: of those, the ones that do not fit beside what the file now says, and why
    unchanged_keys: the keys that are as they were
    """

    applied: list[str]
    unchanged: Count
    needs_restart: list[str]
    set_over: list[str] = []
    left_out: dict[str, str] = {}
    unchanged_keys: list[str] = []


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
    """Which operation: a key or a job.

    idem: an idempotency key of the caller's own
    caller: another caller's key; admins only
    job: id of a job, as the call that began it answered
    """

    idem: IdempotencyKey | None = None
    caller: Name | None = None
    job: Name | None = None


class OpWatch(Command):
    """Which job to follow.

    job: its id, as the call that began it answered
    idem: the caller's own key of the call that began it
    """

    job: Name | None = None
    idem: IdempotencyKey | None = None


class OpCancel(Command):
    """Which job to end.

    job: its id, as the call that began it answered
    """

    job: Name


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
    """What became of a keyed write, or of a job.

    state: pending, done or absent
    first_seq: the first record of the command
    receipt: of its last record
    complete_since: for absent, since when a key would be known
    job: the job that the write began, or that was asked about
    """

    state: Literal["pending", "done", "absent"]
    first_seq: Count | None = None
    receipt: Receipt | None = None
    complete_since: Time | None = None
    job: JobStatus | None = None


class Backup(Command):
    """What to copy.

    keys: also the keys, with which whoever has the backup has every secret
    """

    keys: bool = False


class BackupPiece(Result):
    """A piece of one file. Files come one after another, each from its beginning.

    name: the file
    offset: where in it the piece stands
    data: its bytes
    total: bytes of all files together
    """

    name: str
    offset: Count
    data: Annotated[bytes, Meta(max_length=65_536)]
    total: Count


class BackedLog(Result):
    """One log of a backup.

    records: up to the instant of the backup
    tip: event_hash of the last of them
    root: of the tree over all of them
    """

    records: Count
    tip: Hash
    root: Hash


class Manifest(Result):
    """What a backup holds: every log up to the same instant.

    ledger: id of the state directory
    version: of irerd
    taken_at: when
    with_keys: whether the keys are in it
    key_check: tells whether a key is the one that this backup goes with
    logs: each log, by name
    files: how many files came
    bytes: of all of them together
    sha256: of the list of them, a line `DIGEST  NAME` for each in the order in which they came, as `sha256sum` writes it
    """

    ledger: str
    version: str
    taken_at: Time
    with_keys: bool
    key_check: str
    logs: dict[str, BackedLog]
    files: Count
    bytes: Count
    sha256: Hash


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
    file: the file, where it is not the active segment
    """

    offset: Count
    why: str
    seq: Count | None = None
    file: str | None = None


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


class Verify(Command):
    """What to ask of the logs.

    log: only this log
    replay: also fold every log from its beginning and compare the snapshots
    """

    log: Name | None = None
    replay: bool = False


class SnapshotVerdict(Result):
    """One snapshot beside its log.

    result: ok; equal to the replay; of another version; bad, so that a start would use an older one; or false, so that a start
        would believe it though the log says otherwise
    seq: the last record that it holds
    why: what is wrong
    """

    result: Literal["ok", "equal", "other-version", "bad", "false"]
    seq: Count | None = None
    why: str | None = None


class ForkSeen(Result):
    """Where a log went on under another name.

    seq: the record that says so
    old_origin: before it
    new_origin: from it on
    """

    seq: Count
    old_origin: str
    new_origin: str


class PrunedRange(Result):
    """Records that were let go.

    first_seq: the first of them
    last_seq: the last
    checked: what is left to check: hashes only
    """

    first_seq: Count
    last_seq: Count
    checked: Literal["hashes only"]


Column = Literal["ok", "failed", "unknown"]


class LogVerdict(Result):
    """How far one log is verified; once it is done, the whole row.

    log: its name
    records: records found whole so far
    done: whether this log is finished
    total: how many there are, where that is known
    stage: reading, or replaying
    ok: whether all of it holds
    code: chain-ok, or what is wrong
    segments: files it is in
    chain: hashes, parents, files and head: ok of all records, failed, or unknown behind the first bad record
    form: the form of every record, its place in its batch, the alignment
    tree: the tree over all records, wherever it is stated
    root: its root
    size: records under that root
    sealed: how many records the newest checkpoint vouches for, from the first on; none, or failed
    cosigned: how many witnesses agree, and up to how many records from the first on; none, not checked, or failed
    snapshots: those that are kept, the oldest first
    forks: where the log got another origin
    pruned: what was let go
    torn_bytes: an end that was never acknowledged, which the next start cuts off
    replayed: records that were folded
    blobs: large values that live records name: all of them were read back
    first_bad: the first record that does not hold
    """

    log: str
    records: Count
    done: bool
    total: Count | None = None
    stage: Literal["reading", "replaying"] | None = None
    ok: bool | None = None
    code: Code | None = None
    segments: Count | None = None
    chain: Column | None = None
    form: Column | None = None
    tree: Column | None = None
    root: Hash | None = None
    size: Count | None = None
    sealed: str | None = None
    cosigned: str | None = None
    snapshots: list[SnapshotVerdict] | None = None
    forks: list[ForkSeen] | None = None
    pruned: PrunedRange | None = None
    torn_bytes: Count | None = None
    replayed: Count | None = None
    blobs: Count | None = None
    first_bad: FirstBad | None = None


class NotVerified(Result):
    """Something nobody vouched for.

    log: its name, or all
    why: what it is
    from_: the first record
    to: the last record
    """

    log: str
    why: str
    from_: Count | None = field(name="from", default=None)
    to: Count | None = None


class Verdict(Result):
    """The end of a verification.

    logs: a row for each
    not_verified: what could not be vouched for; never empty
    result: ok, limited where something could not be vouched for, or failed
    """

    logs: list[LogVerdict]
    not_verified: list[NotVerified]
    result: Literal["ok", "limited", "failed"]


class AskCheckpoint(Command):
    """Of which log, and from where on.

    log: only this log
    since: how many records an earlier checkpoint of it vouched for; the answer proves that this one continues it
    """

    log: Name | None = None
    since: Count | None = None


class LogCheckpoint(Result):
    """How a log stood, signed.

    log: its name
    origin: the name that it is known by elsewhere
    size: how many records it had
    root: of the tree over them
    checkpoint: the signed note, as C2SP describes it
    vkey: the verifier key that it is signed with
    since: how many records the earlier checkpoint vouched for
    consistency: hashes in base64, which prove that this state continues that one
    """

    log: str
    origin: str
    size: Count
    root: Hash
    checkpoint: str
    vkey: str
    since: Count | None = None
    consistency: list[str] | None = None


class Checkpoints(Result):
    """The newest checkpoints.

    checkpoints: one for each log
    """

    checkpoints: list[LogCheckpoint]


class AskWitness(Command):
    """What to carry to a witness, or what came back from it.

    log: which log
    witness: the name it has in irerd.toml; needed for what came back
    old: how many records the witness says that it cosigned last; without it what is known here
    checkpoint: the checkpoint that was carried to it
    cosignature: the line that it answered
    """

    log: Name
    witness: Name | None = None
    old: Count | None = None
    checkpoint: Annotated[str, Meta(max_length=16_384), privacy("public")] | None = None
    cosignature: Annotated[str, Meta(max_length=4_096), privacy("public")] | None = None


class Carried(Result):
    """A request for a witness, or that its answer holds.

    log: its name
    origin: the name that it is known by elsewhere
    size: how many records the checkpoint vouches for
    old: how many the witness cosigned before
    request: the text to carry to it
    kept: whether its cosignature was checked and is kept now
    """

    log: str
    origin: str
    size: Count
    old: Count
    request: str | None = None
    kept: bool = False


class Prove(Command):
    """Which record.

    log: the log that it is in
    seq: its number there
    """

    log: Name
    seq: Count


class Proven(Result):
    """That a record is in a log, for anybody to check.

    log: its name
    seq: number of the record
    size: how many records the checkpoint vouches for
    proof: a tlog-proof file, as C2SP describes it
    vkey: the verifier key; to be had from somewhere else than the proof
    record: the record's line; left out where it holds a document and the caller is no admin
    """

    log: str
    seq: Count
    size: Count
    proof: str
    vkey: str
    record: str | None = None


class CheckProof(Command):
    """A proof, and what it is checked against.

    proof: the text of a tlog-proof file
    record: the record's line; without it only the signature is checked
    vkey: the verifier key; without it this daemon's, for its own logs
    """

    proof: Annotated[str, Meta(max_length=32_768), privacy("public")]
    record: Annotated[str, Meta(max_length=65_536), privacy("document")] | None = None
    vkey: Label | None = None


Held = Literal["ok", "failed", "not checked"]


class ProofChecked(Result):
    """What holds of a proof.

    origin: the log that it is of
    seq: number of the record
    size: how many records the checkpoint vouches for
    root: of the tree over them
    record: that this very record is in that log
    signature: that the key signed the checkpoint
    why: what failed and what was not checked
    result: ok, limited where something was not checked, or failed
    """

    origin: str
    seq: Count
    size: Count
    root: Hash
    record: Held
    signature: Held
    why: list[str]
    result: Literal["ok", "limited", "failed"]


class Prometheus(Result):
    """Metrics in Prometheus' text format.

    text: the exposition
    """

    text: str


SOME_PROOF = (
    "c2sp.org/tlog-proof@v1\nindex 5\n"
    "TsB/hUK+vX/F7yrZAJaQI1Rk5nQYyaRLRn++zdEXILM=\n"
    "eU4QYSmbxhiofcCBulyE31TePUXh1VjPSUvJmfhUgOY=\n"
    "PVMDkMiuAmlgS/Q1CvzKewUiTP04V0qBMK09lHZStKE=\n"
    "\n"
    "irer.invalid/00000000000000a1/engine_state\n8\nd1yDO+kOUSH1EtIJs8fhW8bo5RV4PUqVhhXj9oUXe0A=\n"
    "\n"
    "\N{EM DASH} irer.invalid/00000000000000a1/engine_state "
    "uxIbAOP/ZJzeQkc+qqeo0+Y1Z4by2H5AA+OJmblxJcpT9RUQm5hjIOeyz2GazcMNPlw2+KH4qYdDsXsBRNJvvY1XDgA=\n"
)
"""Of record 5 of tests/golden/golden_log.jsonl, signed with the key that anybody can make: the bytes 0 to 31."""


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
        task(
            "backup",
            Backup,
            help="Copy the whole state, every log up to one instant",
            example={},
            item=BackupPiece,
            result=Manifest,
            needs="system:admin",
            deadline_ms=None,
        ),
        read(
            "op_status",
            OpStatus,
            None,
            help="What became of a keyed write, or of a job",
            example={"idem": "cli-8d2f6c01"},
            result=Operation,
        ),
        task(
            "op_watch",
            OpWatch,
            help="Follow a job until it ends",
            example={"job": "0f6c2a54-9d3b-4c61-8f0e-5a7b1c2d3e4f"},
            item=JobStatus,
            result=JobStatus,
            deadline_ms=None,
        ),
        task(
            "op_cancel",
            OpCancel,
            help="End a job",
            example={"job": "0f6c2a54-9d3b-4c61-8f0e-5a7b1c2d3e4f"},
            result=JobStatus,
            needs="system:write",
        ),
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
        task(
            "verify",
            Verify,
            help="Check all that the logs show, and say what they do not",
            example={},
            item=LogVerdict,
            result=Verdict,
            deadline_ms=None,
            cli="audit verify",
        ),
        task(
            "checkpoint",
            AskCheckpoint,
            help="Sign how the logs stand now",
            example={"log": "engine_state", "since": 1},
            result=Checkpoints,
            deadline_ms=None,
            cli="audit checkpoint",
        ),
        task(
            "prove",
            Prove,
            help="Prove that a record is in a log, to anybody",
            example={"log": "engine_state", "seq": 0},
            result=Proven,
            deadline_ms=None,
            cli="audit prove LOG SEQ",
        ),
        task(
            "witness",
            AskWitness,
            help="Carry a checkpoint to a witness by hand, and its cosignature back",
            example={"log": "engine_state"},
            result=Carried,
            deadline_ms=None,
            cli="audit witness LOG",
        ),
        task(
            "check_proof",
            CheckProof,
            help="Check a proof that somebody has",
            example={"proof": SOME_PROOF},
            result=ProofChecked,
            cli="audit check PROOF",
        ),
    ],
)

METRICS = Engine(
    "metrics",
    rows=[
        read("gauges", Nothing, None, help="How well it does, in three numbers", example={}, result=Gauges, cli="metrics"),
        read(
            "meters",
            Nothing,
            None,
            help="How often ways change and gates are asked",
            example={},
            result=Meters,
            cli="metrics meters",
        ),
        read(
            "history",
            AskHistory,
            None,
            help="A gauge or a meter over time, up to 30 days",
            example={"name": "threshold_lock"},
            result=History,
            cli="metrics history NAME",
        ),
        read(
            "prometheus",
            Nothing,
            None,
            help="The daemon's own metrics for Prometheus",
            example={},
            result=Prometheus,
            cli="metrics --prom",
        ),
    ],
)

TABLES = [SYSTEM, AUDIT, METRICS]
