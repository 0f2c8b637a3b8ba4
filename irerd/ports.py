"""The methods without a log: `system`, `audit` and `metrics`, answered from the daemon itself."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import trio

from core import system
from core.canonical import decode, encode
from core.control.checks import ActionChecked, Decided, DecidedPage, Query
from core.engine import Actor, Check, Event, Health, JobStatus, Nothing, Refused, Result
from core.keys import AGE_US_MAX
from core.metrics import VIEW, Figures
from core.metrics import reads as metrics
from core.times import time_text, time_us
from core.views import Now
from irerd import __version__
from irerd.components import ComponentPorts
from irerd.config import ConfigError
from irerd.cursors import parse_cursor
from irerd.energy import EnergyPorts
from irerd.hunts import HuntPorts
from irerd.judgements import JudgementPorts, decided
from irerd.proofs import ProofPorts
from irerd.provenance import ProvenancePorts
from irerd.session import Stream
from irerd.simulation import SimulationPorts
from irerd.trajectories import TrajectoryPorts
from irerd.vectors import DataPorts
from state.backup import Backup, key_check
from state.ledger import Ledger
from state.seal import Record
from state.segment import Corrupt

if TYPE_CHECKING:
    from irerd.daemon import Daemon

MARK_S = 10.0
"""A quiet stream gets a bookmark this often."""
PROGRESS_S = 0.25
"""What a job is doing is told at most this often."""
_STATES: dict[str, Literal["pending", "done"]] = {"running": "pending", "done": "done"}
CHUNK_RECORDS = 256
QUERY_RECORDS_MAX = 100_000
"""Records of `gate_log` that one answer looks through; the next one goes on where it ended."""
QUERY_LIMIT_DEFAULT = 1_000
READERS_MAX = 1
"""Searches through the logs at one time. They keep the interpreter busy, and the loop and the writer need it too."""
CLOCK_STEP_US_MAX = 86_400_000_000
"""Wall time may step back; a record that is older than asked for by more than this ends a search in time."""


class Ports:
    """One method a row; the table below says which."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self.readers = trio.CapacityLimiter(READERS_MAX)
        self.reads: dict[str, Callable[[Any, Actor], Any]] = {
            "system.ping": self.ping,
            "system.info": self.info,
            "system.status": self.status,
            "system.health": self.health,
            "system.describe": self.describe,
            "system.op_status": self.op_status,
            "metrics.gauges": self.gauges,
            "metrics.meters": self.meters,
            "metrics.history": self.history,
            "metrics.prometheus": self.prometheus,
        }
        self.provenance = ProvenancePorts(daemon, self._shown)
        self.judgements = JudgementPorts(daemon, self.readers)
        self.proofs = ProofPorts(daemon, self._result, lambda event_type: event_type in self._documents)
        self.simulation = SimulationPorts(daemon)
        self.hunts = HuntPorts(daemon, self.watch)
        self.components = ComponentPorts(daemon)
        self.trajectories = TrajectoryPorts(daemon)
        self.data = DataPorts(daemon)
        self.energy = EnergyPorts(daemon, self.watch)
        self.tasks: dict[str, Callable[[Any, Actor, Stream], Awaitable[Any]]] = {
            "system.reload": self.reload,
            "system.watch": self.watch,
            "system.op_watch": self.op_watch,
            "system.op_cancel": self.op_cancel,
            "system.backup": self.backup,
            "audit.hashchain": self.hashchain,
            "log.query": self.query,
            "actions.explain": self.judgements.explain,
            "actions.diff": self.judgements.diff,
            "audit.verify": self.verify,
            "audit.checkpoint": self.proofs.checkpoint,
            "audit.prove": self.proofs.prove,
            "audit.check_proof": self.proofs.check_proof,
            "audit.witness": self.proofs.witness,
            "provenance.graph": self.provenance.graph,
            "provenance.export_audit": self.provenance.export_audit,
            "provenance.redact": self.provenance.redact,
            "sim.show": self.simulation.show,
            "sim.profile": self.simulation.profile,
            "sim.validate": self.simulation.validate,
            "component.list": self.components.listing,
            "component.describe": self.components.describe,
            "component.accept": self.components.accept,
            "hunt.watch": self.hunts.watch,
            "hunt.best": self.hunts.best,
            "hunt.paradox": self.hunts.paradox,
            "data.events": self.data.events,
            "data.search": self.data.search,
            "data.index": self.data.index,
            "data.topology": self.data.topology,
            "data.clusters": daemon.clusters.clusters,
            "data.field": daemon.clusters.spread,
            "data.waves": daemon.clusters.waves,
            "data.overlap": daemon.clusters.overlap,
            "eil.stream": self.energy.stream,
            "eil.selftest": self.energy.selftest,
            "eil.query": daemon.atlas.query,
            "trajectory.forward_chain": self.trajectories.forward_chain,
            "trajectory.explain": self.trajectories.explain,
            "trajectory.search": self.trajectories.search,
        }
        kinds = [kind for engine in daemon.world.engines.values() for kind in engine.applies]
        self._documents = {kind.event_type: found for kind in kinds if (found := _documents_in(kind))}
        rows = [row for row in daemon.world.rows.values() if row.run is None]
        empty = [row.name for row in rows if row.name not in (self.tasks if row.kind == "task" else self.reads)]
        if empty:
            raise ValueError(f"no port serves {', '.join(empty)}")

    # --- reads ------------------------------------------------------------------------------------------------------

    def ping(self, params: Nothing, actor: Actor) -> system.Pong:
        return _PONG

    def info(self, params: Nothing, actor: Actor) -> system.Info:
        daemon = self._daemon
        return system.Info(
            version=__version__,
            pid=daemon.pid,
            uptime_s=daemon.uptime_s,
            boot=daemon.ledger.boots if daemon.ledger else 0,
            instance=daemon.instance,
            schema=daemon.catalogue.schema_hash(),
            ledger=daemon.ledger.id if daemon.ledger else "",
            state=daemon.state,
            recovered=daemon.recovered,
            limits=daemon.limits(),
        )

    def status(self, params: Nothing, actor: Actor) -> system.Status:
        daemon = self._daemon
        checks = daemon.checks()
        logs = [
            system.LogStatus(log, daemon.dispatch.next_seq.get(log, 0), daemon.durable_seq(log), daemon.integrity(log))
            for log in daemon.world.logs
        ]
        return system.Status(
            state=daemon.state,
            version=__version__,
            pid=daemon.pid,
            uptime_s=daemon.uptime_s,
            instance=daemon.instance,
            health=_worst(checks),
            problems=[f"{check.name}: {check.reason}" for check in checks if check.health != "ok"],
            engines=daemon.engine_statuses(actor),
            logs=logs,
            connections=daemon.connections,
        )

    def health(self, params: Nothing, actor: Actor) -> system.HealthReport:
        daemon = self._daemon
        checks = daemon.checks()
        return system.HealthReport(_worst(checks), checks, daemon.lag.worst_ms(), daemon.host.resident_bytes(), daemon.load())

    def describe(self, params: system.Describe, actor: Actor) -> system.Description:
        catalogue = self._daemon.catalogue
        whole = catalogue.document()
        if params.method is None:
            return system.Description(catalogue.schema_hash(), whole["methods"], whole["events"], whole["errors"])
        name = catalogue.find(params.method).name
        return system.Description(catalogue.schema_hash(), [method for method in whole["methods"] if method["name"] == name])

    def op_status(self, params: system.OpStatus, actor: Actor) -> system.Operation:
        dispatch = self._daemon.dispatch
        if (params.idem is None) == (params.job is None):
            raise Refused("invalid-argument", "name a key or a job: idem or job. See: irerctl api show system.op_status")
        if params.job is not None:
            job = self._daemon.jobs.named(params.job)
            return system.Operation("absent") if job is None else system.Operation(_STATES[job.state], job.seq, job=job)
        caller = params.caller or actor.name
        if caller != actor.name and actor.role != "admin":
            raise Refused("permission-denied", "only an admin may ask about another caller's keys", reason="caller")
        assert params.idem is not None
        state, known = dispatch.operation(caller, params.idem)
        if known is not None:
            job = self._daemon.jobs.begun_by(known.log, known.first_seq, known.last_seq)
            return system.Operation("done", known.first_seq, system.Receipt(*dispatch.receipt_of(known)), job=job)
        if state == "pending":
            return system.Operation("pending")
        if dispatch.damaged:  # its keys were not all read
            logs = ", ".join(sorted(dispatch.damaged))
            text = f"nobody can say whether that was done: {logs} did not verify. See: irerctl audit hashchain"
            raise Refused("data-loss", text, reason="read-only")
        since_us = max(dispatch.keys.complete_since_us, self._daemon.host.now_us() - AGE_US_MAX)
        return system.Operation("absent", complete_since=time_text(since_us))

    def gauges(self, params: Nothing, actor: Actor) -> metrics.Gauges:
        return metrics.Gauges(metrics.gauges(*self._figures()), self._gaps())

    def meters(self, params: Nothing, actor: Actor) -> metrics.Meters:
        return metrics.Meters(metrics.meters(*self._figures()), self._gaps())

    def history(self, params: metrics.AskHistory, actor: Actor) -> metrics.History:
        figures, now, _ = self._figures()
        return msgspec.structs.replace(metrics.history(figures, params, now), gaps=self._gaps())

    def _figures(self) -> tuple[Figures | None, Now, metrics.Reason]:
        """What the gauges are made of, the time, and why there is nothing, if so."""
        views = self._daemon.views
        follower = views.look(VIEW.name)
        missing: metrics.Reason = "failed" if views.standing(VIEW.name) == "failed" else "rebuilding"
        return follower.state if follower is not None else None, views.now(), missing

    def _gaps(self) -> list[metrics.Gap]:
        return [metrics.Gap(*gap) for gap in self._daemon.views.gaps(VIEW.name)]

    def prometheus(self, params: Nothing, actor: Actor) -> system.Prometheus:
        from irerd.exposition import exposition

        return system.Prometheus(exposition(self._daemon, self.energy))

    # --- tasks ------------------------------------------------------------------------------------------------------

    async def op_watch(self, params: system.OpWatch, actor: Actor, stream: Stream) -> JobStatus:
        """The latest only: what a slow reader missed on the way is not told again."""
        if (params.idem is None) == (params.job is None):
            raise Refused("invalid-argument", "name a job or a key: job or idem. See: irerctl api show system.op_watch")
        jobs, job_id = self._daemon.jobs, params.job
        if params.idem is not None:
            known = self._daemon.dispatch.operation(actor.name, params.idem)[1]
            begun = jobs.begun_by(known.log, known.first_seq, known.last_seq) if known is not None else None
            job_id = begun.job if begun is not None else params.idem
        assert job_id is not None
        told: JobStatus | None = None
        while True:
            job = jobs.named(job_id)
            if job is None:
                raise jobs.unknown(job_id)
            if job.state == "done":
                await self._daemon.dispatch.settled()
                return job
            if job != told:
                await stream.wait_room()
                stream.item(job)
                told = job
                with trio.move_on_after(PROGRESS_S):
                    while (now := jobs.named(job_id)) is not None and now.state == "running":
                        await jobs.wait_changed(MARK_S)
            else:
                await jobs.wait_changed(MARK_S)

    async def op_cancel(self, params: system.OpCancel, actor: Actor, stream: Stream) -> JobStatus:
        return await self._daemon.jobs.cancel(params.job, actor)

    async def reload(self, params: Nothing, actor: Actor, stream: Stream) -> system.Reloaded:
        try:
            changes = await self._daemon.reload()
        except ConfigError as error:
            raise Refused(
                "failed-precondition",
                f"the configuration file is not usable, so nothing changed: {error}",
                reason="bad-configuration",
                data={"problems": error.problems},
            ) from None
        kept = changes["unchanged"]
        return system.Reloaded(
            changes["applied"], len(kept), changes["needs_restart"], self._daemon.keys_set(), self._daemon.left_out, kept
        )

    async def watch(self, params: system.Watch, actor: Actor, stream: Stream) -> None:
        """Read from the logs whenever the connection has room; what is not yet durable is not yet there."""
        daemon = self._daemon
        position, elsewhere = self._start(params)
        stream.mark(daemon.cursors.text(elsewhere | position))
        while True:
            if not await self._deliver(params, position, elsewhere, stream):
                with trio.move_on_after(MARK_S) as quiet:
                    await daemon.wait_beyond(position)
                if quiet.cancelled_caught:
                    await stream.wait_room()
                    stream.mark(daemon.cursors.text(elsewhere | position))

    def _shown(self, record: Record) -> dict[str, Any]:
        """What a record says, but of a document only its length and a keyed digest: whoever may read it gets it from its engine."""
        documents = self._documents.get(record.event_type)
        if not documents:
            return dict(msgspec.json.decode(record.payload))
        data: dict[str, Any] = decode(record.payload)
        for name in documents & data.keys():
            assert self._daemon.ledger is not None
            raw = encode(data[name])
            data[name] = {"bytes": len(raw), "digest": self._daemon.ledger.digest("document", raw)}
        return data

    def _start(self, params: system.Watch) -> tuple[dict[str, int], dict[str, int]]:
        """Where to begin in each log that is followed; and the places in others, which the cursor only carries along."""
        daemon = self._daemon
        if params.engine is not None:
            engine = daemon.world.engines.get(params.engine)
            if engine is None or engine.log is None:
                known = sorted(name for name, found in daemon.world.engines.items() if found.log)
                text = f"no engine {params.engine} keeps a log. There are: {', '.join(known)}"
                raise Refused("not-found", text, data={"nearest": known})
            if engine.log in daemon.damage:
                text = f"{engine.log} did not verify, so its events cannot be followed. See: irerctl audit hashchain"
                raise Refused("data-loss", text, reason="read-only")
        if params.type is not None and not params.type.startswith("log.") and daemon.world.engine_of_event(params.type) is None:
            from difflib import get_close_matches

            near = get_close_matches(params.type, daemon.world.event_types, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            text = f"no event is of type {params.type}.{hint} All: irerctl api events"
            raise Refused("not-found", text, data={"nearest": near})
        ends = {log: daemon.durable_seq(log) + 1 for log in daemon.watchable(params.engine)}
        if params.since is None:
            return ends, {}
        asked = parse_cursor(params.since, daemon.ledger_id)
        for log, seq in asked.items():
            if log not in daemon.damage and seq > daemon.dispatch.next_seq.get(log, 0):
                raise Refused("out-of-range", "the cursor is ahead of the log: it was restored or repaired. List again, then watch")
        start = {log: asked.get(log, daemon.log(log).first_seq) for log in ends}
        for log, seq in start.items():
            if seq < daemon.log(log).first_seq:
                text = f"{log} begins with record {daemon.log(log).first_seq}: older ones were let go. List again, then watch"
                raise Refused("compacted", text, data={"first_seq": daemon.log(log).first_seq})
        return start, {log: seq for log, seq in asked.items() if log not in start}

    async def _deliver(self, params: system.Watch, position: dict[str, int], elsewhere: dict[str, int], stream: Stream) -> bool:
        """Send what is new, a chunk of each log at a time; answer whether there was anything."""
        daemon = self._daemon
        found = False
        for log in position:
            end = min(daemon.durable_seq(log), position[log] + CHUNK_RECORDS - 1)
            if position[log] > end:
                continue
            found = True
            async with self.readers:
                records = await daemon.host.offload(daemon.dispatch.stored, log, position[log], end)
            for record in records:
                position[log] = record.seq + 1
                engine = daemon.world.engine_of_event(record.event_type)
                if params.engine is not None and engine != params.engine:
                    continue
                if params.type is not None and record.event_type != params.type:
                    continue
                await stream.wait_room()
                data = self._shown(record)
                seen = system.Seen(record.event_type, log, record.seq, time_text(record.time_us), record.actor, data)
                stream.item(seen, daemon.cursors.text(elsewhere | position))
        return found

    async def backup(self, params: system.Backup, actor: Actor, stream: Stream) -> system.Manifest:
        """Every log as it is on disk at one instant; what is decided meanwhile is in the next backup."""
        daemon = self._daemon
        if daemon.damage:
            names = ", ".join(sorted(daemon.damage))
            text = f"{names} did not verify, and a backup would carry the damage on. See: irerctl audit hashchain"
            raise Refused("data-loss", text, reason="read-only")
        assert daemon.ledger is not None
        with daemon.keep_segments():
            async with daemon.keep_snapshots():
                taken_at = time_text(daemon.host.now_us())
                ends = await daemon.durable_ends()
                copy = Backup(daemon.host.files, ends, keys=params.keys)
                try:
                    await daemon.host.offload(copy.open)
                except BaseException:
                    await daemon.host.offload(copy.close)
                    raise
            try:
                await self._send(copy, stream)
            finally:
                await daemon.host.offload(copy.close)
        return _manifest(copy, daemon.ledger, taken_at, params.keys)

    async def _send(self, copy: Backup, stream: Stream) -> None:
        pieces, total = copy.pieces(), copy.total
        while True:
            await stream.wait_room()
            try:
                piece = await self._daemon.host.offload(next, pieces, None)
            except (Corrupt, OSError) as error:
                text = f"a file of the state is not what it was, so there is no backup ({error}). See: irerctl audit hashchain"
                raise Refused("data-loss", text) from None
            if piece is None:
                return
            stream.item(system.BackupPiece(piece.name, piece.offset, piece.data, total))

    async def query(self, params: Query, actor: Actor, stream: Stream) -> DecidedPage:
        """Recorded judgements, from the newest that is on disk backwards, a chunk at a time and off the loop."""
        daemon = self._daemon
        if GATE_LOG in daemon.damage:
            raise Refused("data-loss", f"{GATE_LOG} did not verify. See: irerctl audit hashchain", reason="read-only")
        asked = _Asked(params, daemon.durable_seq(GATE_LOG))
        limit = params.limit or QUERY_LIMIT_DEFAULT
        found: list[Decided] = []
        last, looked, oldest = asked.last, 0, daemon.log(GATE_LOG).first_seq
        while last >= oldest and len(found) < limit and looked < QUERY_RECORDS_MAX and not asked.passed:
            first = max(oldest, last - CHUNK_RECORDS + 1)
            async with self.readers:
                fitting = await daemon.host.offload(self._decided, asked, first, last)
            found += fitting
            looked += last - first + 1
            last = first - 1
        if len(found) > limit:
            found = found[:limit]
            last = found[-1].seq - 1
        return DecidedPage(found, str(last + 1) if last >= oldest and not (asked.passed and len(found) < limit) else None)

    def _decided(self, asked: "_Asked", first: int, last: int) -> list[Decided]:
        """Those of one chunk, the newest first. Runs away from the loop."""
        dispatch = self._daemon.dispatch
        found = []
        for record in reversed(dispatch.stored(GATE_LOG, first, last)):
            if record.time_us < asked.since_us - CLOCK_STEP_US_MAX:
                asked.passed = True
                break
            if record.event_type == ActionChecked.event_type and record.time_us >= asked.since_us:
                event = dispatch.world.event(record.event_type, record.payload)
                assert isinstance(event, ActionChecked)
                if asked.fits(event):
                    found.append(decided(event, record))
        return found

    async def hashchain(self, params: system.HashChain, actor: Actor, stream: Stream) -> system.ChainReport:
        """Walk the chains in a child process, up to what is durable now, so that no caller waits for it."""
        logs = self._logs_asked(params.log)
        return msgspec.convert(await self._child("hashchain", {"logs": logs}, system.ChainProgress, stream), system.ChainReport)

    async def verify(self, params: system.Verify, actor: Actor, stream: Stream) -> system.Verdict:
        """The same, with everything else that the files show, and with what they do not."""
        notes = {log: note.text for log, note in self._daemon.seals.notes().items()}  # of this instant, as the durable ends are
        witnesses = self._daemon.witnesses
        asked = {
            "logs": self._logs_asked(params.log),
            "replay": params.replay,
            "checkpoints": notes,
            "witnesses": [key.text() for key in witnesses.keys().values()],
            "quorum": witnesses.quorum,
            "refused": self._daemon.tampered,
        }
        return msgspec.convert(await self._child("verify", asked, system.LogVerdict, stream), system.Verdict)

    def _logs_asked(self, log: str | None) -> list[str]:
        known = sorted(self._daemon.world.logs)
        if log is not None and log not in known:
            raise Refused("not-found", f"no log {log}. There are: {', '.join(known)}", data={"nearest": known})
        return [log] if log is not None else known

    async def _result(self, name: str, params: dict[str, Any], stream: Stream) -> Any:
        """Of a job without rows of its own."""
        return await self._child(name, params, Result, stream)

    async def _child(self, name: str, params: dict[str, Any], item: type[Result], stream: Stream) -> Any:
        """What a child process found in the logs; its rows go to the caller as they come."""
        daemon = self._daemon
        request = {
            "name": name,
            "params": params,
            "memory_bytes": daemon.settings.jobs.memory_bytes,
            "state_dir": str(daemon.state_dir),
            "durable": daemon.durable(),  # of sound logs: a damaged one is walked to its end, so that the damage shows
        }
        lines = _Lines()
        last: dict[str, Any] = {}

        async def show(chunk: bytes) -> None:
            nonlocal last
            for line in lines.feed(chunk):
                last = json.loads(line)
                if "log" in last:
                    await stream.wait_room()
                    stream.item(msgspec.convert(last, item))

        try:
            end = await daemon.host.run_child("irerd.jobs", json.dumps(request).encode(), show)
        except OSError:
            raise Refused("unavailable", "no process could be started to read the logs. Try again", reason="no-process") from None
        if end.code != 0:
            raise Refused("unavailable", "the process that reads the logs ended early. Try again", reason="crashed")
        if last.get("code") == "memory":
            text = "reading the logs took more memory than jobs.memory_bytes allows. An admin raises it, then try again"
            raise Refused("resource-exhausted", text, reason="memory")
        result = last.get("result")
        if result is None:
            raise Refused("internal", "the process that reads the logs gave no result. Try again", reason="bad-output")
        return result


def _manifest(copy: Backup, ledger: Ledger, taken_at: str, with_keys: bool) -> system.Manifest:
    ends = copy.ends.items()
    logs = {name: system.BackedLog(end.position.seq, end.position.tip, end.edge.root().hex()) for name, end in ends}
    sent, check = copy.sent, key_check(ledger.key)
    return system.Manifest(ledger.id, __version__, taken_at, with_keys, check, logs, sent.files, sent.bytes, sent.sha256)


def _documents_in(kind: type[Event]) -> frozenset[str]:
    """The fields of an event that hold documents (core/fields.py)."""
    info = msgspec.inspect.type_info(kind)
    fields = info.fields if isinstance(info, msgspec.inspect.StructType) else ()
    return frozenset(
        field.encode_name
        for field in fields
        if isinstance(field.type, msgspec.inspect.Metadata) and (field.type.extra or {}).get("privacy") == "document"
    )


class _Lines:
    """Whole lines out of chunks."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return lines


class _Asked:
    """What a query of judgements is after, and where it begins."""

    def __init__(self, params: Query, newest: int) -> None:
        self._params = params
        self.last = newest
        self.since_us = 0
        self.passed = False
        """Whether the search has come to what is too old to be followed by anything that fits."""
        if params.after is not None:
            if not (params.after.isascii() and params.after.isdecimal() and len(params.after) <= 16):
                text = f"after: {params.after[:40]!r} is no `next` of an earlier answer. Leave it out to begin with the newest"
                raise Refused("invalid-argument", text, fields=[("after", "not a `next` of an earlier answer")])
            self.last = min(newest, int(params.after) - 1)
        if params.since is not None:
            try:
                self.since_us = time_us(params.since)
            except ValueError:
                text = f"since: {params.since} is no time that exists. Write it like 2026-01-31T12:00:00Z"
                raise Refused("invalid-argument", text, fields=[("since", "no time that exists")]) from None

    def fits(self, event: ActionChecked) -> bool:
        params = self._params
        return (
            (params.engine_id is None or params.engine_id == event.engine_id)
            and (params.platform is None or params.platform == event.platform)
            and (params.status is None or params.status == event.status)
        )


_PONG = system.Pong()
GATE_LOG = "gate_log"
_ORDER = ("ok", "degraded", "failed")


def _worst(checks: list[Check]) -> Health:
    return max((check.health for check in checks), key=_ORDER.index, default="ok")
