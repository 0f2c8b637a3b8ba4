"""The daemon, composed: recover the logs, serve callers, do what the engines want, stop in two stages.

Knows nothing of command lines, signals or systemd (that is `main`), and touches the machine only through its `Host`, so the
simulation runs this very class.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import trio

from core.access import NOBODY_UID, Peer, Rules, recognise
from core.catalogue import Catalogue
from core.energy.engine import LOG as ENERGY_LOG
from core.engine import Actor, Check, Engine, Refused
from core.hunt.state import LOG as HUNT_LOG
from core.keys import Keys
from core.metrics import CRITICAL, HITS, MISSES, NOT_THE_CALLERS, REFUSED, VIEW
from core.notes import hash_from
from core.provenance.commands import Found
from core.redact import Redactor
from core.secrets import Secrets
from core.setting_rules import overlaid
from core.settings import Settings
from core.system import Load
from core.wire import calls
from core.wire.errors import body as error_body
from core.world import BadDump, World
from irerd import __version__
from irerd.anomalies import Anomalies, Remembered, WatchedWriter
from irerd.atlas import Atlas
from irerd.clusters import Clusters
from irerd.config import Changes
from irerd.cursors import Cursors
from irerd.dispatch import GATE_SHUT, Answer, Dispatch
from irerd.effects import Effects
from irerd.effects.certificates import Certificates
from irerd.effects.children import Children
from irerd.effects.components import Components
from irerd.effects.runs import Runs
from irerd.effects.sync import Sync
from irerd.host import Host, Transport
from irerd.journal import innermost, journal, where
from irerd.ledger import SimulationLedger
from irerd.listen import Credentials
from irerd.loop import Lag, SlowSteps
from irerd.operations import Operations
from irerd.ports import Ports
from irerd.refusals import CONNECT, Refusals, most_held
from irerd.seals import Seals
from irerd.session import READER_FRAME_MAX, WRITER_FRAME_MAX, Service, Session
from irerd.upkeep import Upkeep
from irerd.vectors import Vectors
from irerd.views import Views
from irerd.witnesses import NoProof, Witnesses
from state.accused import Accusations
from state.backup import End, end_of
from state.fs import Files
from state.ledger import Ledger, open_ledger
from state.log import Log, SyncFailed, durable
from state.recover import Corrupt, recover
from state.replay import load, replay, schema, unpack
from state.room import ROOM, Room
from state.rotation import LIMITS
from state.rotation import Limits as SegmentLimits
from state.seal import Record
from state.snapshot import BadSnapshot, listed
from state.tree import Edge

STOP_S = 10.0
"""How long a stop waits for calls that run; then they are cancelled."""
LAST_REPLIES_S = 1.0
LAG_DEGRADED_MS = 1000.0
ADMIN_CONNECTIONS = 4
"""Connections that only an admin may open beyond the limits: whoever set them too low, or filled them, does not shut the door."""
RAISE = "An admin raises [limits] in irerd.toml and runs: irerctl reload"
NO_CREDENTIALS = Refused(
    "permission-denied",
    "the kernel could not say who you are, as for a caller in a user namespace of its own. Call from outside of it",
    reason="no-credentials",
)
State = Literal["recovering", "ready", "draining"]


class Configuration(Protocol):
    """Where settings come from, and come from again on a reload."""

    settings: Settings
    rules: Rules

    async def reload(self) -> Changes: ...


@dataclass
class Damage:
    """A log that did not verify. Its engine serves reads of what is sound and refuses writes."""

    seq: int
    why: str


class Daemon:
    def __init__(
        self,
        host: Host,
        configuration: Configuration,
        state_dir: Path,
        engines: Sequence[Engine],
        segments: SegmentLimits = LIMITS,
        room: Room = ROOM,
        aside: Files | None = None,
        tables: bool = False,
    ) -> None:
        """`aside` is a directory that nobody puts back together with the state directory; `tables` says that SQLite may write in
        the state directory by itself, past `host.files`.
        """
        self.host = host
        self.state_dir = state_dir
        self.world = World(engines)
        self.catalogue = Catalogue(list(engines))
        self.keys = Keys()
        self.ledger: Ledger | None = None
        self.state: State = "recovering"
        self.instance = host.new_id()
        self.pid = os.getpid()
        self.recovered = 0
        self.lag = Lag(lambda: bool(self._sessions) or self.state != "ready")
        self._slow_steps = SlowSteps(host)
        self.damage: dict[str, Damage] = {}
        self.tampered: dict[str, str] = {}
        """Logs that a witness knows otherwise, and what it says."""
        self.torn: dict[str, str] = {}
        self.own_uid = os.getuid()
        self.announce_reload: Callable[[bool], None] = lambda begins: None
        """Called with True as a reload begins and with False as it ends, however it ends."""
        self.on_settings: Callable[[Settings], None] = lambda settings: None
        """Called when other settings are in force."""
        self.left_out: dict[str, str] = {}
        """Keys set over the socket that do not fit beside the file's, and why: they are not in force."""
        self._set_keys: dict[str, Any] = {}
        """Keys set over the socket, as far as they are durable."""
        self._keys_seq = -1
        self._configuration = configuration
        self._started_us = host.mono_us()
        self._sessions: dict[Session, None] = {}  # in the order of their coming, so that two runs of one seed are alike
        self._per_uid: dict[int, int] = {}
        self._logs: dict[str, Log] = {}
        self._fallen: dict[str, Check] = {}
        """What `health` says of that which may be thrown away and failed, by the name of its check."""
        self._full: dict[str, str] = {}
        """Why a log takes no more, as was last said of it."""
        self._to_resume: dict[str, None] = {}
        """Engines that have yet to hear that the daemon is back, because their log was full."""
        self._after_next_group: list[Callable[[], None]] = []
        self._segments = segments
        self._room = room
        self.seals = Seals()
        self._upkeep = Upkeep(host, self.world, self.keys, lambda: self.settings.log, self._stamp)
        self._upkeep.beside = True
        self._keeping = trio.Lock()
        """Held while a snapshot is written down."""
        self._beside: Callable[[str], None] = lambda log: None
        """Has the snapshot that was taken of a log written down, beside whatever else is done."""
        self._idle = trio.Event()
        self._rested = trio.Event()
        self._working = trio.CancelScope()
        self._hurry = trio.Event()
        self.dispatch = Dispatch(host, self.world, self.catalogue, self.keys, configuration.settings, configuration.rules)
        self.dispatch.on_internal_error = self._internal_error
        self.dispatch.restore = self._restore
        self.refusals = Refusals(self.dispatch)
        self.dispatch.count_instead = self.refusals.count_instead
        self.refusals.now_us = host.mono_us
        self.refusals.held_max = lambda: most_held(self.settings.limits.calls)
        self.refusals.is_slowed = self._is_slowed
        children = Children(host, lambda: self.settings.jobs, state_dir, self.durable)
        sync = Sync(host, self.dispatch)
        self.runs = Runs(host, state_dir, lambda: self.settings.compute)
        components = Components(host, state_dir, lambda: self.settings, lambda text: self.dispatch.redactor.text(text))
        self.vectors = Vectors(host, self.dispatch, state_dir, self._logs, self.durable_seq)
        errands = {"cache.sync": sync.run, "sim.chunk": self.runs.run, "component.run": components.run}
        errands["data.derive"] = self.vectors.derive
        self.clusters = Clusters(self, self.vectors)
        errands["data.group"] = self.clusters.group
        errands["hunt.certify"] = Certificates(host, state_dir, lambda: self.settings.compute).run
        self.effects = Effects(host, self.dispatch, children, errands)
        self.jobs = Operations(self.dispatch, self.effects.progress)
        self.effects.on_progress = self.jobs.stir
        self.views = Views(host, [VIEW], self._logs, self._totals, self._internal_error)
        self.rows = SimulationLedger(host, self.dispatch, self._logs, self.durable_seq, self._internal_error)
        self.atlas = Atlas(self, state_dir if tables else None, self._internal_error)
        self.witnesses = Witnesses(
            host, self.seals, lambda: self.settings.witness, self._logs, self.damage.__contains__, self._proof_of, self._tampered
        )
        self.accusations = Accusations(host.files, aside)
        self.witnesses.accusations = self.accusations
        self.anomalies = Anomalies(self._give_found, self._internal_error)
        self.remembered = Remembered(host, self.anomalies)
        ports = Ports(self)
        self.dispatch.ports = ports.reads
        self.cursors = Cursors("")
        self._service = Service(
            dispatch=self.dispatch,
            refusals=self.refusals,
            tasks=ports.tasks,
            welcome=self._welcome,
            cursor=lambda position: self.cursors.text(position),
            state=lambda: self.state,
            progress=self._progress,
        )

    # --- life -------------------------------------------------------------------------------------------------------

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Recover, then serve until `stop` is called. Callers may connect from the start and are told to wait."""
        async with trio.open_nursery() as upkeep:
            upkeep.start_soon(self.lag.run)
            self._beside = lambda log: upkeep.start_soon(self._keep_snapshot, log)
            self._slow_steps.watch(self.settings.debug.step_ms_max)
            await self._recover()
            await self.witnesses.ask_at_start()
            await self._take_up_accusations()
            self._adopt_keys()
            writer = WatchedWriter(self.host, self._logs, self._after_group, self.views, self.anomalies)
            writer.after_look = self._after_look
            writer.sealer = self.seals
            self.dispatch.writer = writer
            await writer.prepare()
            try:
                async with trio.open_nursery() as work:
                    work.start_soon(writer.run)
                    self._resume(self.world.engines)
                    while any(writer.behind(log, self.dispatch.next_seq[log] - 1) for log in self._logs):
                        await writer.wait_advanced()
                    upkeep.start_soon(self._work)
                    upkeep.start_soon(self.dispatch.values.run, lambda: not self.damage, self.dispatch.settled)
                    upkeep.start_soon(self._keep_up, "views", self.views.run)
                    upkeep.start_soon(self._keep_up, "detector", self.remembered.run)
                    upkeep.start_soon(self._keep_up, "ledger", self.rows.run)
                    upkeep.start_soon(self._keep_up, "atlas", self.atlas.run)
                    upkeep.start_soon(self.witnesses.run)
                    self.effects.refresh(self.world.logs)
                    self.state = "ready"
                    on_ready()
                    await self._idle.wait()
                    self._working.cancel()  # from here on irer itself asks for nothing more
                    await self._rested.wait()
                    await self.refusals.finish(writer.wait_advanced)
                    writer.stop()
            finally:
                self._working.cancel()
                self.dispatch.abandon_held()
                await self._last_replies()
            upkeep.cancel_scope.cancel()
        await self._keep_up("views", self.views.save)
        await self._keep_up("detector", self.remembered.save)
        await self._keep_up("ledger", self.rows.catch_up)
        await self._keep_up("atlas", self.atlas.end)
        await self.witnesses.ask_at_stop()
        for name, log in self._logs.items():
            if name not in self.damage and self.dispatch.next_seq[name] == log.next_seq:
                await self.host.offload(self._upkeep.take_snapshot, log)
            log.close()
        if self.ledger is not None:
            self.ledger.close()

    async def _keep_up(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """What may be thrown away never ends the daemon, nor keeps it from a start or a stop: should it fail, `health` says so."""
        try:
            await work()
        except Exception as error:
            self._fallen[name] = Check(name, "degraded", f"{name} cannot be kept up. Nothing else is touched; restart irerd")
            self._internal_error(name, error)

    async def _work(self) -> None:
        """Effects and refusals, until the daemon stops."""
        assert self.ledger is not None
        try:
            with self._working:
                async with self.host.computing(self.ledger.id, self.settings.compute), trio.open_nursery() as nursery:
                    nursery.start_soon(self.effects.run)
                    nursery.start_soon(self.refusals.run)
                    nursery.start_soon(self.vectors.indexes.run)
        finally:
            self._rested.set()

    async def _recover(self) -> None:
        opened = partial(open_ledger, self.host.files, self.host.new_id, written_by=f"irer {__version__}")
        with _beginning("ledger.json"):
            self.ledger = await self.host.offload(opened)
        self.dispatch.ledger = self.ledger
        self.views.ledger = self.ledger.id
        self.remembered.load(self.ledger.id)
        self.dispatch.secrets = Secrets(self.ledger.pepper, self.ledger.token, self.host.draw)
        self.dispatch.redactor = Redactor(self.ledger.key, self._redaction_failed)
        self.cursors = Cursors(self.ledger.id)
        self.seals.take_key(self.ledger.signing)
        for log in self.world.logs:
            await self.host.offload(self._recover_log, log)
        if "gate_log" in self.damage:
            self._close_all()

    def _close_all(self) -> None:
        for log in self.world.logs:
            self.dispatch.read_only[log] = "gate_log did not verify, so no refusal could be recorded"

    def _tampered(self, log: str, seq: int, why: str) -> None:
        """A witness has seen another history: this one is read, marked as such, and not written on."""
        if log in self.damage:
            return
        self.damage[log] = Damage(seq, why)
        self.tampered[log] = why
        self.dispatch.damaged.add(log)
        how = f"Were old files put back? Put the newest back, or restore the newest backup, or: irerctl audit repair {log} --fork"
        self.dispatch.read_only[log] = f"{why}. {how}"
        journal().error(f"{log} was tampered with; it serves reads only", engine=log, seq=seq, why=why)
        if log == "gate_log":
            self._close_all()

    async def _take_up_accusations(self) -> None:
        """What a witness said before an earlier end holds, unless it has just cosigned the log, or is trusted no more."""
        for name, log in self._logs.items() if self.settings.witness.trusted else ():
            said = await self.host.offload(self.accusations.of, name, log.origin)
            if said is None or not self.witnesses.trusts(said.vkey):
                continue
            if self.witnesses.vouches(name, said.vkey):
                journal().info("the witness vouches for it again", engine=name, said_before=said.why)
                if not await self.host.offload(self.accusations.drop, name, log.origin):
                    journal().warning("what it said is kept in the cache directory still, and cannot be deleted there", engine=name)
            else:
                self._tampered(name, said.seq, said.why)

    async def _proof_of(self, log: str, before: int, size: int) -> list[bytes]:
        """Made by another process, which reads the whole log."""
        request = {
            "name": "prove",
            "params": {"log": log, "since": before, "size": size},
            "memory_bytes": self.settings.jobs.memory_bytes,
            "state_dir": str(self.state_dir),
        }
        end = await self.host.run_child("irerd.jobs", json.dumps(request).encode())
        found = json.loads(end.output.splitlines()[-1]).get("result", {}) if end.code == 0 and end.output else {}
        if "path" not in found:
            raise NoProof(found.get("pruned") or found.get("damage") or "the process that reads the log gave no proof")
        return [hash_from(text) for text in found["path"]]

    def _recover_log(self, log: str) -> None:
        """Runs away from the loop: replay touches only this log's engines."""
        assert self.ledger is not None
        try:
            recovery = recover(
                self.host.files,
                log,
                self.ledger.origin(log),
                self._stamp,
                lambda batch: self._replay(log, batch),
                after=[(header.seq, header.tip) for header in listed(self.host.files, log).headers],
                on_start=lambda seq: self._start_from(log, seq),
                limits=self._segments,
            )
        except Corrupt as corrupt:
            self.damage[log] = Damage(corrupt.seq, corrupt.why)
            self.dispatch.damaged.add(log)
            self.dispatch.read_only[log] = f"it did not verify at record {corrupt.seq} ({corrupt.why})"
            return
        with _beginning("ledger.json"):
            self.ledger.add_log(log)
        recovery.log.room = self._room
        self.seals.begin(log, recovery.checkpoint, recovery.log.durable_edge)
        self.witnesses.begin(log, recovery.cosigned)
        self._logs[log] = recovery.log
        self.dispatch.next_seq[log] = recovery.log.next_seq
        if recovery.torn is not None:
            self.torn[log] = f"{recovery.torn.bytes} unacknowledged bytes were cut off and kept in quarantine"

    def _stamp(self) -> tuple[int, int, str]:
        return self.host.now_us(), self.host.mono_us(), self.host.boot_id

    def _start_from(self, log: str, seq: int | None) -> Edge | None:
        """Load a snapshot, or forget everything; None: this one cannot be used."""
        self._upkeep.begin(log, seq)
        if seq is None:
            self.world.reset(log)
            self.keys.forget(log)
            return None
        try:
            header, body = self._upkeep.known.read(self.host.files, log, seq)
            if header.schema != schema(self.world, log):
                return None
            edge = load(self.world, self.keys, header, body)
        except (BadSnapshot, BadDump):
            return None
        self.dispatch.next_seq[log] = seq + 1
        return edge

    def _restore(self, log: str) -> int:
        """Engines only, for a rebuild in mid-life: the keys were never in doubt."""
        for header in listed(self.host.files, log).headers:
            try:
                if header.schema == schema(self.world, log):
                    body = unpack(self._upkeep.known.read(self.host.files, log, header.seq)[1])
                    self.world.load(log, body.world)
                    self.world.take_up(log, body.views)
                    return header.seq + 1
            except (BadSnapshot, BadDump):
                continue
        self.world.reset(log)
        return 0

    def _replay(self, log: str, batch: Sequence[Record]) -> None:
        replay(self.world, self.keys, log, batch)
        self.dispatch.next_seq[log] = batch[-1].seq + 1
        self.recovered += len(batch)

    async def _last_replies(self) -> None:
        """What was released goes out, also the news that a sync failed."""
        with trio.move_on_after(LAST_REPLIES_S, shield=True):
            await trio.lowlevel.checkpoint()
            for session in list(self._sessions):
                await session.outbox.wait_below(1)

    def _resume(self, engines: Iterable[str]) -> None:
        """Tell these engines that the daemon is back: times of another boot are put right. Those without room are told later."""
        for name in engines:
            row = self.world.rows.get(f"{name}.resume")
            if row is not None and row.kind == "internal" and self.world.engines[name].log not in self.dispatch.read_only:
                self.dispatch.give_to(row, row.params(), partial(self._resumed, name))

    def _resumed(self, engine: str, answer: Answer) -> None:
        if answer.error is not None and answer.error.code == "resource-exhausted":
            self._to_resume[engine] = None

    @contextmanager
    def keep_segments(self) -> Iterator[None]:
        """No segment is deleted meanwhile."""
        self._upkeep.segments_kept += 1
        try:
            yield
        finally:
            self._upkeep.segments_kept -= 1

    @asynccontextmanager
    async def keep_snapshots(self) -> AsyncIterator[None]:
        """No snapshot is deleted meanwhile, and none is taken."""
        self._upkeep.snapshots_kept += 1
        try:
            async with self._keeping:
                pass
            yield
        finally:
            self._upkeep.snapshots_kept -= 1

    async def durable_ends(self) -> dict[str, End]:
        """Where every log ends on disk, all at one instant between two groups. Their descriptors are borrowed."""
        assert self.dispatch.writer is not None
        ends: dict[str, End] = {}

        def take() -> None:
            if not ends:
                ends.update({name: end_of(log) for name, log in self._logs.items()})

        self._after_next_group.append(take)
        try:
            while not ends:
                if self.dispatch.writer.resting and not self.dispatch.held:
                    take()
                else:
                    await self.dispatch.writer.wait_advanced()
        except BaseException:
            for end in ends.values():
                end.active.release()
            raise
        finally:
            self._after_next_group.remove(take)
        return ends

    def _after_group(self, logs: set[str]) -> None:
        self._send_what_was_released()
        for take in self._after_next_group:
            take()
        durable = {log: self.durable_seq(log) for log in logs}
        self.views.after_group(durable)
        self.anomalies.after_group(durable)
        if ENERGY_LOG in logs:
            self.atlas.stir()
        if HUNT_LOG in logs:
            self.rows.stir()
        self.effects.refresh(self.world.logs if "gate_log" in logs and self._adopt_keys() else logs)
        self.jobs.stir()
        for name in logs:
            if name not in self.dispatch.held and self._upkeep.due(self._logs[name]):
                self._begin_upkeep(name)

    def _send_what_was_released(self) -> None:
        """At once: what else a group leads to can wait, and its callers do."""
        for session in self._sessions:
            if session.outbox.size:
                with suppress(OSError):  # who is gone is met again by the task that sends
                    session.outbox.flush_nowait()

    def _after_look(self, log: str) -> None:
        """The writer has looked whether there is room: say so when that has changed, and go on where it had to wait."""
        assert self.dispatch.writer is not None
        full = self.dispatch.writer.full(log)
        reason = full.reason if full is not None else ""
        if reason == self._full.get(log, ""):
            if log not in self.dispatch.held and self._upkeep.due(self._logs[log]):
                self._begin_upkeep(log)
            return
        self._full[log] = reason
        if full is not None:
            journal().error("nothing more can be stored", engine=log, why=full.text)
        else:
            journal().info("there is room again; writes go on", engine=log)
            waiting = [name for name in self._to_resume if self.world.engines[name].log == log]
            for name in waiting:
                del self._to_resume[name]
            self._resume(waiting)
        self._after_group({log})
        self.effects.stir()  # timers wait for room

    def _begin_upkeep(self, name: str) -> None:
        assert self.dispatch.writer is not None
        self.dispatch.hold(name)

        def done() -> None:
            self.dispatch.let_go(name, self._logs[name].next_seq)
            self.effects.refresh([name])
            if self._upkeep.to_keep(name):
                self._beside(name)

        self.dispatch.writer.pause(name, self._upkeep.serve, done)

    async def _keep_snapshot(self, name: str) -> None:
        """Write down the snapshot that was taken of a log, while commands go on. A sync that fails ends the writer, as its own."""
        async with self._keeping:
            if self._upkeep.snapshots_kept:
                self._upkeep.leave(name)
            if not self._upkeep.to_keep(name):  # or whoever was before at the lock has done it
                return
            try:
                await self.host.offload(self._upkeep.keep, name)
            except Exception as failure:
                self._fail_writer(name, failure)
        if self.state == "ready" and name not in self.dispatch.held and self._upkeep.due(self._logs[name]):
            self._begin_upkeep(name)

    def _fail_writer(self, name: str, failure: Exception) -> None:
        def fail(log: Log) -> None:
            raise failure

        assert self.dispatch.writer is not None
        if name not in self.dispatch.held:
            self.dispatch.hold(name)
        self.dispatch.writer.pause(name, fail, lambda: None)

    async def stop(self) -> None:
        """Stage one: nothing new, what runs may finish. Stage two, later or on `hurry`: it is cancelled."""
        if self.state == "draining":
            self._hurry.set()
            return
        self.state = "draining"
        for session in list(self._sessions):
            session.say_bye("shutdown", after_ms=int(STOP_S * 1000))
            session.end_streams()
        with trio.move_on_after(STOP_S):
            while any(session.busy for session in self._sessions) and not self._hurry.is_set():
                with trio.move_on_after(0.02):
                    await self._hurry.wait()
        self._idle.set()

    # --- callers ----------------------------------------------------------------------------------------------------

    async def serve(self, transport: Transport, credentials: Credentials | None) -> None:
        """One connection, from accept to end."""
        refused = self._unwelcome(credentials)
        if refused is not None or credentials is None:
            await self._turn_away(transport, credentials, refused or NO_CREDENTIALS)
            return
        peer = self._recognise(credentials)
        session = Session(transport, peer, self._service)
        if not self._sessions:
            self.lag.stir()
        self._sessions[session] = None
        self._per_uid[peer.uid] = self._per_uid.get(peer.uid, 0) + 1
        try:
            if not peer.roles and peer.uid not in self.dispatch.user_names:  # it is counted already: a crowd may come meanwhile
                self.dispatch.user_names[peer.uid] = await self.host.offload(self.host.user_name, peer.uid)
            await session.run()
        except Exception as error:
            self._internal_error("session", error)
            transport.close()
        finally:
            self._sessions.pop(session, None)
            self._per_uid[peer.uid] -= 1

    async def _turn_away(self, transport: Transport, credentials: Credentials | None, refused: Refused) -> None:
        """No connection for this one. That is a refusal of access like any other: on record first, and counted under a flood."""
        caller = f"uid:{credentials.uid}" if credentials is not None else "unknown"
        why: calls.Why = "denied" if refused.code == "permission-denied" else "limit"
        try:
            if self.state == "ready":
                refused = await self.refusals.turn_away(caller, refused)
            elif why == "denied":  # nothing can be recorded now, so nothing is judged either
                refused = Refused("unavailable", self._progress(), reason=self.state, retry_ms=200)
            else:
                self.refusals.count(caller, CONNECT)
            transport.send_nowait(calls.bye(why, e=error_body(refused)))
        except OSError:
            pass  # gone already
        finally:
            transport.close()

    def _unwelcome(self, credentials: Credentials | None) -> Refused | None:
        limits = self.settings.limits
        if credentials is None or credentials.uid == NOBODY_UID:
            return NO_CREDENTIALS
        kept = ADMIN_CONNECTIONS if "admin" in self._recognise(credentials).roles else 0
        if len(self._sessions) >= limits.connections + kept:
            text = f"{limits.connections} connections are open already, which is the limit. Try again when some have ended. {RAISE}"
            return Refused("resource-exhausted", text, reason="connections")
        if self._per_uid.get(credentials.uid, 0) >= limits.connections_per_uid + kept:
            text = (
                f"uid {credentials.uid} has {limits.connections_per_uid} connections open, which is the limit. Close one. {RAISE}"
            )
            return Refused("resource-exhausted", text, reason="connections-per-uid")
        return None

    def _recognise(self, credentials: Credentials) -> Peer:
        return recognise(self.dispatch.rules, credentials.uid, credentials.gid, credentials.gids, self.own_uid)

    def _welcome(self, peer: Peer) -> dict[str, Any]:
        return {
            "server": f"irerd/{__version__}",
            "instance": self.instance,
            "boot": self.ledger.boots if self.ledger else 0,
            "limits": self.limits(),
            "schema": self.catalogue.schema_hash(),
            "peer": {"uid": peer.uid, "gid": peer.gid, "role": peer.role},
            "state": self.state,
        }

    def limits(self) -> dict[str, int]:
        limits = self.settings.limits
        return {
            "frame": WRITER_FRAME_MAX,
            "frame_reader": READER_FRAME_MAX,
            "connections": limits.connections,
            "connections_per_uid": limits.connections_per_uid,
            "calls": limits.calls,
            "streams": limits.streams,
            "waiting": limits.waiting,
        }

    def _progress(self) -> str:
        if self.state == "recovering":
            return f"irerd is reading its logs ({self.recovered:,} records so far). Try again shortly"
        return "irerd is stopping; it takes nothing new"

    # --- configuration ----------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        return self.dispatch.settings

    def keys_set(self) -> list[str]:
        """Configuration keys that were set over the socket."""
        return sorted(self._set_keys)

    def _adopt_settings(self) -> None:
        """The file's settings, with the keys that were set over the socket on top."""
        settings, self.left_out = overlaid(self._configuration.settings, self._set_keys)
        for key, why in self.left_out.items():
            journal().warning("a key that was set with config.set is not in force", key=key, why=why)
        self.dispatch.settings, self.dispatch.file_settings = settings, self._configuration.settings
        self.witnesses.stir()
        self.atlas.stir()
        self.on_settings(settings)

    def _adopt_keys(self) -> bool:
        """Take up configuration keys that were set, once they are durable; answer whether there were any."""
        control = self.world.states.get("control")
        if control is None or control.keys_seq == self._keys_seq or control.keys_seq > self.durable_seq("gate_log"):
            return False
        self._keys_seq, self._set_keys = control.keys_seq, control.overrides()
        self._adopt_settings()
        self._slow_steps.watch(self.settings.debug.step_ms_max)
        return True

    async def reload(self) -> Changes:
        """Read the configuration again; apply what is live; judge open connections anew."""
        self.announce_reload(True)
        try:
            changes = await self._configuration.reload()
        finally:
            self.announce_reload(False)
        self._adopt_settings()
        self.dispatch.rules = self._configuration.rules
        self._slow_steps.watch(self.settings.debug.step_ms_max)
        for session in self._sessions:
            peer = session.peer
            session.rejudge(recognise(self.dispatch.rules, peer.uid, peer.gid, peer.gids, self.own_uid))
        self.effects.refresh(self.world.logs)
        journal().info("configuration reloaded", applied=changes["applied"], needs_restart=changes["needs_restart"])
        return changes

    # --- what is known about it ---------------------------------------------------------------------------------------

    @property
    def resting(self) -> bool:
        """Whether nothing that was decided is on its way to the disk."""
        return self.dispatch.writer is None or self.dispatch.writer.resting

    @property
    def uptime_s(self) -> int:
        return (self.host.mono_us() - self._started_us) // 1_000_000

    @property
    def connections(self) -> int:
        return len(self._sessions)

    @property
    def ledger_id(self) -> str:
        assert self.ledger is not None
        return self.ledger.id

    def outbox_bytes(self) -> int:
        return sum(session.outbox.size for session in self._sessions)

    def load(self) -> Load:
        """What it is busy with."""
        writer, work = self.dispatch.writer, self.host.work_figures()
        running, waiting, started, lost = work[:4] if work is not None else (0, 0, 0, 0)
        return Load(
            calls=sum(self.dispatch.calls.values()),
            refusals=self.refusals.total,
            groups=writer.groups if writer is not None else 0,
            queued={log: count for log in self._logs if writer is not None and (count := writer.waiting(log))},
            loop_lag_p99_ms=self.lag.p99_ms(),
            outbox_bytes=self.outbox_bytes(),
            jobs=self.effects.jobs_running,
            workers_running=running,
            workers_waiting=waiting,
            workers_started=started,
            workers_lost=lost,
        )

    def durable_seq(self, log: str) -> int:
        writer = self.dispatch.writer
        return writer.durable_seq(log) if writer is not None and log in self._logs else self.dispatch.next_seq.get(log, 0) - 1

    def durable(self) -> dict[str, int]:
        """The last durable record of every sound log."""
        return {log: self.durable_seq(log) for log in self._logs if log not in self.damage}

    def integrity(self, log: str) -> Literal["ok", "failed"]:
        return "failed" if log in self.damage else "ok"

    def log(self, name: str) -> Log:
        return self._logs[name]

    def watchable(self, engine: str | None) -> list[str]:
        """The sound logs, or the one of this engine."""
        return [log for log in self.durable() if engine is None or self.world.engines[engine].log == log]

    async def wait_beyond(self, position: dict[str, int]) -> None:
        """Until a log has a durable record that the position has not."""
        assert self.dispatch.writer is not None
        while not any(self.durable_seq(log) >= seq for log, seq in position.items()):
            await self.dispatch.writer.wait_advanced()

    def engine_statuses(self, actor: Actor) -> dict[str, Any]:
        ctx = self.dispatch.context(actor)
        found: dict[str, Any] = {}
        for engine in self.world.engines.values():
            row = self.world.rows.get(_SUMMARIES.get(engine.name, f"{engine.name}.status"))
            if engine.log is not None and row is not None:
                found[engine.name] = self.world.read(row, row.params(), ctx)
        return found

    def checks(self) -> list[Check]:
        checks = [
            Check(log, "failed", f"does not verify at record {damage.seq}: {damage.why}. See: irerctl audit hashchain")
            for log, damage in self.damage.items()
        ]
        writer = self.dispatch.writer
        for log in self.durable():
            if writer is not None and (full := writer.full(log)) is not None:
                checks.append(Check(log, "failed", full.text))
            elif log in self.dispatch.read_only:
                checks.append(Check(log, "degraded", f"takes no writes: {self.dispatch.read_only[log]}"))
            elif log in self._upkeep.troubles:
                checks.append(Check(log, "degraded", self._upkeep.troubles[log]))
            else:
                checks.append(Check(log, "ok", self.torn.get(log, "")))
        ctx = self.dispatch.context_of_irer()
        for engine in self.world.engines.values():
            if engine.checks is not None and self.state != "recovering":  # until then their state is being made, away from here
                checks += engine.checks(self.world.states[engine.name], ctx)
        if (shut := self._gate_shut()) is not None:
            checks.append(shut)
        for key, why in self.left_out.items():
            text = f"{key}, set with config.set, is not in force: {why}. Set it anew, or to null, or mend the file"
            checks.append(Check("settings", "degraded", text))
        kept_up = [self.views.check(), self.rows.check(), self.anomalies.check(), *self.atlas.checks()]
        checks += [*({check.name: check for check in kept_up} | self._fallen).values(), *self.witnesses.checks()]
        if (work := self.host.work_figures()) is not None and work.started:
            text = f"{work.running} jobs run, {work.waiting} wait; {work.started} workers were started, {work.lost} attempts lost"
            checks.append(Check("workers", "ok", text))
        late = self.lag.worst_ms()
        checks.append(Check("loop", "ok" if late < LAG_DEGRADED_MS else "degraded", f"the event loop was {late:.0f} ms late"))
        return checks

    def _gate_shut(self) -> Check | None:
        """Whether no token and no engine key can be judged. Who is known by their uid reads on all the same."""
        writer = self.dispatch.writer
        full = writer is not None and "gate_log" in self._logs and writer.full("gate_log") is not None
        if not full and "gate_log" not in self.dispatch.read_only:
            return None
        return Check("tokens", "failed", f"gate_log takes no writes. {GATE_SHUT}. Callers known by their uid can read")

    def _redaction_failed(self, kind: str) -> None:
        """What could not be judged is stored as `[redacted:error]`; that it happened is said by the exception's type alone."""
        journal().error("a value could not be redacted, so it was left out", type=kind)

    def _totals(self) -> dict[str, int]:
        """What the daemon counts in memory and the gauges need."""
        seen, calls = self.dispatch.values.seen("cache"), self.dispatch.calls
        refused = sum(calls.get((method, code), 0) for method in CRITICAL for code in NOT_THE_CALLERS)
        return {HITS: seen.hits, MISSES: seen.misses, REFUSED: refused}

    def _give_found(self, found: Found) -> None:
        """An anomaly is told while callers are served, and not once the daemon winds down."""
        if self.state == "ready":
            self.dispatch.give(found)

    def _is_slowed(self, caller: str) -> bool:
        gates = self.world.states.get("gate")
        return gates is not None and bool(gates.is_slowed(caller, self.host.mono_us(), self.host.boot_id))

    def _internal_error(self, place: str, error: BaseException) -> str:
        instance = self.host.new_id()
        error = innermost(error)
        journal().error("a bug in irer", place=place, type=type(error).__name__, at=where(error), instance=instance)
        return instance


@contextmanager
def _beginning(what: str) -> Iterator[None]:
    """A start may meet a directory that is not for it to write to. Whatever else fails is a failed write."""
    try:
        with durable(what):
            yield
    except SyncFailed as failed:
        if isinstance(failed.__cause__, PermissionError | FileNotFoundError | NotADirectoryError):
            raise failed.__cause__ from None
        raise


_SUMMARIES = {"gate": "gate.breaches"}
"""Engines whose one-object summary is not called `status`."""
