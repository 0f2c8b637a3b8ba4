"""The provenance methods that need the logs or the ledger's key: the graph, exports of it, and what would be stored of some data.

The graph is another process's work. Nothing of a document that the cache holds is ever in an answer: its length and a keyed digest.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from core.canonical import CanonicalError, encode
from core.engine import Actor, Refused
from core.provenance.events import Tapped
from core.provenance.reads import (
    EXPORT_LIMIT_DEFAULT,
    LIMIT_DEFAULT,
    AskGraph,
    Edge,
    ExportAudit,
    Exported,
    Graph,
    Node,
    Piece,
    Redact,
    Redacted,
)
from core.redact import redact_event
from core.times import time_text
from irerd.session import Stream
from state.seal import Record

if TYPE_CHECKING:
    from irerd.daemon import Daemon

CHUNK_RECORDS = 256
LINES_LOOKED_MAX = 200_000
"""Records that one export of a run looks through; the next one goes on where it ended."""

Shown = Callable[[Record], dict[str, Any]]


class ProvenancePorts:
    def __init__(self, daemon: "Daemon", shown: Shown) -> None:
        """`shown` gives of a record what may be seen of it."""
        self._daemon = daemon
        self._shown = shown

    async def redact(self, params: Redact, actor: Actor, stream: Stream) -> Redacted:
        """The very path that a tap takes, but for the log."""
        try:
            encode(params.data)
        except CanonicalError as error:
            raise Refused("invalid-argument", f"data cannot be stored: {error}", fields=[("data", str(error))]) from None
        event = Tapped("shown", params.data, "shown")
        stored = await self._daemon.host.offload(redact_event, self._daemon.dispatch.redactor, event)
        return Redacted(stored.data, stored.data != params.data)

    async def graph(self, params: AskGraph, actor: Actor, stream: Stream) -> Graph:
        asked = {"run_id": params.run_id, "limit": params.limit or LIMIT_DEFAULT, "after": _number(params.after)}
        result = await self._child("graph", asked, stream)
        after = result["after"]
        return Graph(
            msgspec.convert(result["nodes"], list[Node]),
            msgspec.convert(result["edges"], list[Edge]),
            result["node_count"],
            result["edge_count"],
            None if after is None else str(after),
        )

    async def export_audit(self, params: ExportAudit, actor: Actor, stream: Stream) -> Exported:
        limit = params.limit or EXPORT_LIMIT_DEFAULT
        if params.format == "jsonl":
            return await self._lines(params, limit, stream)
        asked = {
            "format": params.format,
            "run_id": params.run_id,
            "limit": limit,
            "after": _number(params.after),
            "ledger": self._daemon.ledger_id,
        }
        result = await self._child("export", asked, stream)
        after = result["after"]
        next = None if after is None else str(after)
        return Exported(params.format, result["records"], result["bytes"], result["sha256"], next)

    # --- in another process -------------------------------------------------------------------------------------------

    async def _child(self, name: str, params: dict[str, Any], stream: Stream) -> Any:
        """What a child process made of the index; pieces of a document go to the caller as they come."""
        daemon = self._daemon
        request = {
            "name": name,
            "params": params,
            "memory_bytes": daemon.settings.jobs.memory_bytes,
            "state_dir": str(daemon.state_dir),
            "durable": daemon.durable(),
        }
        rest, last = b"", b"{}"

        async def show(chunk: bytes) -> None:
            nonlocal rest, last
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b'{"piece": '):
                    await stream.wait_room()
                    stream.item(Piece(json.loads(line)["piece"]))
                else:
                    last = line

        try:
            end = await daemon.host.run_child("irerd.jobs", json.dumps(request).encode(), show)
        except OSError:
            raise Refused("unavailable", "no process could be started to read the graph. Try again", reason="no-process") from None
        outcome = json.loads(last) if end.code == 0 else {"code": "crashed"}
        if outcome.get("code") == "memory":
            text = "the graph took more memory than jobs.memory_bytes allows. Ask for fewer records with limit"
            raise Refused("resource-exhausted", text, reason="memory")
        result = outcome.get("result")
        if not isinstance(result, dict):
            text = "the process that reads the graph ended early. Try again; or delete views/graph.sqlite, which is then made anew"
            raise Refused("unavailable", text, reason=str(outcome.get("code", "crashed")))
        if "behind" in result:
            text = f"the graph is being made from the logs ({result['behind']:,} records to go). Ask again; it goes on from there"
            raise Refused("unavailable", text, reason="behind", retry_ms=100)
        return result

    # --- the records themselves ---------------------------------------------------------------------------------------

    async def _lines(self, params: ExportAudit, limit: int, stream: Stream) -> Exported:
        """One line of JSON a record, log by log."""
        daemon = self._daemon
        logs = sorted(daemon.durable())
        log, seq = self._place(params.after, logs)
        digest, size, count, looked = sha256(), 0, 0, 0
        for name in logs[logs.index(log) :]:
            first = max(seq if name == log else 0, daemon.log(name).first_seq)
            last = daemon.durable_seq(name)
            while first <= last:
                if looked >= LINES_LOOKED_MAX or count == limit:
                    return Exported("jsonl", count, size, digest.hexdigest(), f"{name}:{first}")
                end = min(last, first + CHUNK_RECORDS - 1)
                lines, first = await daemon.host.offload(self._chunk, name, first, end, params.run_id, limit - count)
                looked += CHUNK_RECORDS
                count += len(lines)
                if lines:
                    text = "".join(lines)
                    raw = text.encode()
                    digest.update(raw)
                    size += len(raw)
                    for line in lines:
                        await stream.wait_room()
                        stream.item(Piece(line))
        return Exported("jsonl", count, size, digest.hexdigest())

    def _place(self, after: str | None, logs: list[str]) -> tuple[str, int]:
        if after is None:
            return logs[0], 0
        log, _, seq = after.rpartition(":")
        if log not in logs or not (seq.isascii() and seq.isdecimal() and len(seq) <= 16):
            raise _no_next(after)
        return log, int(seq)

    def _chunk(self, log: str, first: int, last: int, run_id: str | None, limit: int) -> tuple[list[str], int]:
        """At most so many lines, and the record after the last one that was looked at. Runs away from the loop."""
        lines: list[str] = []
        for record in self._daemon.dispatch.stored(log, first, last):
            if run_id is not None and run_id.encode() not in record.payload:
                continue
            data = self._shown(record)
            if run_id is not None and data.get("run_id") != run_id:
                continue
            row = {
                "log": log,
                "seq": record.seq,
                "time": time_text(record.time_us),
                "event_type": record.event_type,
                "actor": record.actor,
                "data": data,
                "event_hash": record.event_hash,
            }
            lines.append(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n")
            if len(lines) == limit:
                return lines, record.seq + 1
        return lines, last + 1


def _number(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdecimal() and len(after) <= 18):
        raise _no_next(after)
    return int(after)


def _no_next(after: str) -> Refused:
    text = f"after: {after[:40]!r} is no `next` of an earlier answer. Leave it out to begin with the oldest"
    return Refused("invalid-argument", text, fields=[("after", "not a `next` of an earlier answer")])
