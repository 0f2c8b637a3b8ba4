"""Joins the conversation to standard input and output, and to the socket of irerd.

One task a call, so a long one keeps no other waiting and a cancelled one is cancelled in irerd. Standard input and output are read
and written by threads: they may be anything, and stay as whoever made them wants them. Must never write a word to standard output
that is no message.
"""

import logging
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import trio

from core.wire.calls import DEADLINE_MS_MAX
from irerctl import VERSION
from irerctl.aio import Client, Error, Reply
from irerctl.hub.answers import TooLong, encode, with_bytes
from irerctl.hub.link import Failed
from irerctl.mcp.conversation import Begin, Conversation, Id, Send, Stop
from irerctl.mcp.tools import ITEMS, ITEMS_MAX, WAIT_S, WAIT_S_MAX, Tool

LOG = logging.getLogger("irerctl.mcp")
RECEIVE_BYTES = 65_536
RETRY_S = 3.0
"""How long a daemon that is away is waited for: a restart, and not a person."""
DRAIN_S = 1.5
"""How long calls may go on once standard input has ended. Clients wait about two seconds, then they kill."""
RESULT_BYTES_MAX = 262_144
"""Of one answer; more would fill what an agent can keep in mind."""
PROGRESS_S = 0.25
UNSENT_MAX = 64
OURS = "irer/"
"""Before what we add to `_meta`."""

PROOF = "engines.validate"

Reader = Callable[[], bytes]
Writer = Callable[[bytes], None]


def read() -> bytes:
    return os.read(0, RECEIVE_BYTES)


def write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


class Engine(NamedTuple):
    """In whose name an agent calls, where that is not its user's own."""

    id: str
    key: str


async def main(path: str, timeout_s: float, tools: Mapping[str, Tool], instructions: str, engine: Engine | None = None) -> None:
    """Serves until standard input ends, or nobody reads standard output any more."""
    await Server(path, timeout_s, tools, instructions, engine).run(read, write)


class Server:
    def __init__(
        self, path: str, timeout_s: float, tools: Mapping[str, Tool], instructions: str, engine: Engine | None = None
    ) -> None:
        self._path = path
        self._engine = engine
        self._proving = trio.Lock()
        self._proofs = 0
        """How often the engine's key was found good: once for each connection."""
        self._timeout_s = timeout_s
        self._tools = tools
        self._conversation = Conversation([tool.listed for tool in tools.values()], VERSION, instructions)
        self._calls: dict[Id, trio.CancelScope] = {}
        self._outbox, self._unsent = trio.open_memory_channel[bytes](UNSENT_MAX)
        self._client: Client | None = None
        self._idle = trio.Event()

    async def run(self, reader: Reader, writer: Writer) -> None:
        async with trio.open_nursery() as around:
            around.start_soon(self._write_all, writer, around.cancel_scope)
            async with trio.open_nursery() as callers:
                await self._read_all(reader, callers)
                with trio.move_on_after(DRAIN_S):
                    while self._calls:
                        self._idle = trio.Event()
                        await self._idle.wait()
                callers.cancel_scope.cancel()
            await self._outbox.aclose()

    async def _write_all(self, writer: Writer, scope: trio.CancelScope) -> None:
        async for data in self._unsent:
            try:
                await trio.to_thread.run_sync(writer, data, abandon_on_cancel=True)
            except OSError:  # nobody reads it any more
                scope.cancel()
                return

    async def _read_all(self, reader: Reader, callers: trio.Nursery) -> None:
        """The client that calls are made with is opened by the first of them: only then is it known who calls."""
        while data := await trio.to_thread.run_sync(reader, abandon_on_cancel=True):
            for each in self._conversation.receive(data):
                match each:
                    case Send():
                        await self._outbox.send(each.data)
                    case Begin():
                        if self._client is None:
                            self._client = await callers.start(self._connected, each.peer)
                        scope = self._calls[each.id] = trio.CancelScope()
                        callers.start_soon(self._called, self._client, each, scope)
                    case Stop():
                        self._calls[each.id].cancel()

    async def _connected(self, peer: str, task_status: trio.TaskStatus[Client]) -> None:
        name = f"irerctl-mcp/{VERSION}" + (f" {peer}" if peer else "")
        async with Client(self._path, self._timeout_s, name, retry_s=RETRY_S) as client:
            task_status.started(client)
            await trio.sleep_forever()

    # --- one call -----------------------------------------------------------------------------------------------------

    async def _called(self, client: Client, begin: Begin, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await self._tell(await self._ended(client, begin))
        except Exception:
            LOG.exception("a bug in irerctl mcp, tool %s", begin.tool)
            await self._tell(self._conversation.failed(begin.id, f"internal: a bug in irerctl mcp. Try: irerctl call {begin.tool}"))
        finally:
            if self._calls.get(begin.id) is scope:
                del self._calls[begin.id]
            self._idle.set()

    async def _tell(self, send: Send | None) -> None:
        if send is not None:
            await self._outbox.send(send.data)

    async def _ended(self, client: Client, begin: Begin) -> Send | None:
        conversation, tool = self._conversation, self._tools[begin.tool]
        try:
            params = with_bytes(begin.arguments, tool.params)
            said, meta = await (
                self._gathered(client, tool, params, begin) if tool.streams else self._asked(client, tool, params, begin)
            )
            content = encode(said)
        except (Error, Failed) as failure:
            return conversation.failed(begin.id, *_told(failure))
        except TooLong as long:
            return conversation.failed(begin.id, f"{long}. Ask for less, or over the socket: irerctl call {tool.method}")
        if len(content) > RESULT_BYTES_MAX:
            text = (
                f"the answer has {len(content):,} bytes, and an agent is told at most {RESULT_BYTES_MAX:,}. Ask for less, by limit"
            )
            return conversation.failed(begin.id, text, meta)
        return conversation.done(begin.id, content, meta)

    async def _gathered(
        self, client: Client, tool: Tool, params: dict[str, Any], begin: Begin
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A stream as one answer: its items until it ends, or as many as were asked for."""
        most = _number(params.pop("max_items", ITEMS), "max_items", 1, ITEMS_MAX)
        wait_s = _number(params.pop("wait_s", WAIT_S), "wait_s", 0.001, WAIT_S_MAX)
        items: list[Any] = []
        size, told, more = 0, -math.inf, True
        async with client.stream(tool.method, params) as stream:
            with trio.move_on_after(wait_s):
                async for item in stream:
                    items.append(item)
                    size += len(encode(item))
                    if (now := trio.current_time()) - told >= PROGRESS_S:
                        told = now
                        await self._tell(self._conversation.progress(begin.id, len(items), None, _word(item)))
                    if len(items) >= most or size > RESULT_BYTES_MAX // 2:
                        break
                else:
                    more = False
            cursor, result = stream.cursor, stream.result
        return {"items": items, "more": more, "result": result, "cursor": cursor}, {}

    async def _asked(self, client: Client, tool: Tool, params: dict[str, Any], begin: Begin) -> tuple[Any, dict[str, Any]]:
        meta = begin.meta
        more: dict[str, Any] = {"dry": meta.get(f"{OURS}dry") is True}
        if isinstance(key := meta.get(f"{OURS}idem"), str):
            more["idem"] = key
        if (ms := meta.get(f"{OURS}timeout_ms")) is not None:
            more["deadline_ms"] = int(_number(ms, f"{OURS}timeout_ms", 1, DEADLINE_MS_MAX))
        reply = await self._spoken(client, tool.method, params, more)
        found = {"receipt": reply.receipt, "cursor": reply.cursor, "replayed": reply.replayed or None}
        return reply.result, {f"{OURS}{name}": value for name, value in found.items() if value is not None}

    # --- in whose name ------------------------------------------------------------------------------------------------

    async def _spoken(self, client: Client, method: str, params: dict[str, Any], more: dict[str, Any]) -> Reply:
        """A call as the user, or as the engine: its key is proved before the first, and again where irerd was restarted since."""
        if self._engine is None:
            return await client.call(method, params, **more)
        if not self._proofs:
            await self._prove(client, self._engine, 0)
        proofs = self._proofs
        try:
            return await client.call(method, params, as_=self._engine.id, **more)
        except Error as error:
            if error.reason != "engine-proof":
                raise
        await self._prove(client, self._engine, proofs)
        return await client.call(method, params, as_=self._engine.id, **more)

    async def _prove(self, client: Client, engine: Engine, proofs: int) -> None:
        """`proofs` is how many there were before: another call may have been quicker. Raises Error."""
        async with self._proving:
            if self._proofs != proofs:
                return
            found = await client.call(PROOF, {"engine_id": engine.id, "engine_key": engine.key})
            if not found.result.get("valid"):
                text = f"irerd takes no such key of engine {engine.id}. An admin tells why: irerctl control permissions {engine.id}"
                raise Error("unauthenticated", "no valid proof of identity", text)
            self._proofs += 1


def _number(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Error("invalid-argument", f"{name} is a number, {low:g}..{high:g}")
    return value


def _word(item: Any) -> str:
    """What an item is about, in one word."""
    said = item if isinstance(item, dict) else {}
    return str(next((said[name] for name in ("type", "stage", "state", "log") if said.get(name)), ""))[:64]


def _told(failure: Error | Failed) -> tuple[str, dict[str, Any]]:
    """A failure as an agent reads it: what happened, why, what to do; and as a program does."""
    from irerctl.session import body_of

    body = body_of(failure) if isinstance(failure, Error) else failure.body
    assert body is not None
    parts = [f"{body['code']}:", str(body.get("detail") or body.get("title") or "")]
    parts += [f"{each['path']} {each['problem']}." if isinstance(each, dict) else str(each) for each in body.get("fields", ())]
    if body.get("effect") == "unknown":
        parts.append("It may have been done all the same: system_op_status tells.")
    if help := body.get("help"):
        parts.append(str(help))
    return " ".join(part for part in parts if part), {f"{OURS}error": body}
