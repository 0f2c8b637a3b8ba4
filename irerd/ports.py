"""The methods without a log: `system`, `audit` and `metrics`, answered from the daemon itself."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from core import system
from core.engine import Actor, Check, Health, Nothing, Refused
from core.keys import AGE_US_MAX
from core.times import time_text
from irerd import __version__
from irerd.config import ConfigError
from irerd.cursors import parse_cursor
from irerd.session import Stream

if TYPE_CHECKING:
    from irerd.daemon import Daemon

MARK_S = 10.0
"""A quiet stream gets a bookmark this often."""
CHUNK_RECORDS = 256


class Ports:
    """One method a row; the table below says which."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self.reads: dict[str, Callable[[Any, Actor], Any]] = {
            "system.ping": self.ping,
            "system.info": self.info,
            "system.status": self.status,
            "system.health": self.health,
            "system.describe": self.describe,
            "system.op_status": self.op_status,
            "metrics.prometheus": self.prometheus,
        }
        self.tasks: dict[str, Callable[[Any, Actor, Stream], Awaitable[Any]]] = {
            "system.reload": self.reload,
            "system.watch": self.watch,
            "audit.hashchain": self.hashchain,
        }
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
        checks = self._daemon.checks()
        return system.HealthReport(_worst(checks), checks, self._daemon.lag.worst_ms(), self._daemon.host.resident_bytes())

    def describe(self, params: system.Describe, actor: Actor) -> system.Description:
        catalogue = self._daemon.catalogue
        whole = catalogue.document()
        if params.method is None:
            return system.Description(catalogue.schema_hash(), whole["methods"], whole["events"], whole["errors"])
        name = catalogue.find(params.method).name
        return system.Description(catalogue.schema_hash(), [method for method in whole["methods"] if method["name"] == name])

    def op_status(self, params: system.OpStatus, actor: Actor) -> system.Operation:
        dispatch = self._daemon.dispatch
        caller = params.caller or actor.name
        if caller != actor.name and actor.role != "admin":
            raise Refused("permission-denied", "only an admin may ask about another caller's keys", reason="caller")
        state, known = dispatch.operation(caller, params.idem)
        if known is not None:
            return system.Operation("done", known.first_seq, system.Receipt(*dispatch.receipt_of(known)))
        if state == "pending":
            return system.Operation("pending")
        since_us = max(dispatch.keys.complete_since_us, self._daemon.host.now_us() - AGE_US_MAX)
        return system.Operation("absent", complete_since=time_text(since_us))

    def prometheus(self, params: Nothing, actor: Actor) -> system.Prometheus:
        from irerd.exposition import exposition

        return system.Prometheus(exposition(self._daemon))

    # --- tasks ------------------------------------------------------------------------------------------------------

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
        return system.Reloaded(changes["applied"], len(changes["unchanged"]), changes["needs_restart"])

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
            text = f"no event is of type {params.type}.{hint} All: irerctl api ls"
            raise Refused("not-found", text, data={"nearest": near})
        ends = {log: daemon.durable_seq(log) + 1 for log in daemon.watchable(params.engine)}
        if params.since is None:
            return ends, {}
        asked = parse_cursor(params.since, daemon.ledger_id)
        for log, seq in asked.items():
            if seq > daemon.dispatch.next_seq.get(log, 0):
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
            records = await daemon.host.offload(daemon.dispatch.stored, log, position[log], end)
            for record in records:
                position[log] = record.seq + 1
                engine = daemon.world.engine_of_event(record.event_type)
                if params.engine is not None and engine != params.engine:
                    continue
                if params.type is not None and record.event_type != params.type:
                    continue
                await stream.wait_room()
                seen = system.Seen(
                    record.event_type, log, record.seq, time_text(record.time_us), record.actor, msgspec.json.decode(record.payload)
                )
                stream.item(seen, daemon.cursors.text(elsewhere | position))
        return found

    async def hashchain(self, params: system.HashChain, actor: Actor, stream: Stream) -> system.ChainReport:
        """Walk the chains in a child process, up to what is durable now, so that no caller waits for it."""
        daemon = self._daemon
        known = sorted(daemon.world.logs)
        if params.log is not None and params.log not in known:
            raise Refused("not-found", f"no log {params.log}. There are: {', '.join(known)}", data={"nearest": known})
        request = {
            "name": "hashchain",
            "params": {"logs": [params.log] if params.log else known},
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
                    stream.item(msgspec.convert(last, system.ChainProgress))

        try:
            end = await daemon.host.run_child("irerd.jobs", json.dumps(request).encode(), show)
        except OSError:
            raise Refused("unavailable", "no process could be started to walk the chains. Try again", reason="no-process") from None
        if end.code != 0:
            raise Refused("unavailable", "the process that walks the chains ended early. Try again", reason="crashed")
        result = last.get("result")
        if result is None:
            raise Refused("internal", "the process that walks the chains gave no result. Try again", reason="bad-output")
        return msgspec.convert(result, system.ChainReport)


class _Lines:
    """Whole lines out of chunks."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return lines


_PONG = system.Pong()
_ORDER = ("ok", "degraded", "failed")


def _worst(checks: list[Check]) -> Health:
    return max((check.health for check in checks), key=_ORDER.index, default="ok")
