"""Our end of a replication: what the cache has, its values, and the commands that take in and confirm.

Every command is durable before `give` returns, and nothing is handed out that is not: the far end never knows what a crash
could take back from us.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import trio

from core.cache.commands import Merge
from core.cache.model import Cache
from core.cache.sync import Arrived, Leaf, batches, incoming, outgoing_raw
from core.engine import Command, Fetch, Place, Refused
from irerd.dispatch import Answer, Dispatch
from irerd.host import Host
from state.recover import Pruned

LOG = "cache_log"
NO_ROOM_S = 0.1


class Here:
    def __init__(self, host: Host, dispatch: Dispatch) -> None:
        self._host = host
        self._dispatch = dispatch

    @property
    def cache(self) -> Cache:
        cache = self._dispatch.world.states["cache"]
        assert isinstance(cache, Cache)
        return cache

    @property
    def end(self) -> int:
        """The record after the last."""
        return self._dispatch.next_seq[LOG]

    async def settled(self) -> None:
        await self._dispatch.settled()

    async def advanced(self) -> None:
        """Until something more is on disk, of whichever log."""
        assert self._dispatch.writer is not None
        await self._dispatch.writer.wait_advanced()

    async def give(self, command: Command) -> None:
        """Until it is durable. A full queue only delays it. Raises Refused."""
        await self._durable(command, self._given(command))

    def _given(self, command: Command) -> "_Answered":
        """Put before the engine: what it answers comes once it is durable."""
        answered = _Answered()
        self._dispatch.give_to(self._dispatch.world.internal[type(command)], command, answered.tell)
        return answered

    async def _durable(self, command: Command, answered: "_Answered") -> None:
        while True:
            await answered.event.wait()
            error = answered.error
            if error is None:
                return
            if error.reason != "log-queue":
                raise error
            await trio.sleep(NO_ROOM_S)
            answered = self._given(command)

    # --- out ----------------------------------------------------------------------------------------------------------

    async def documents(self, leaves: Sequence[Leaf]) -> bytes | None:
        """The body of `_bulk_docs`; None where a value has moved meanwhile, so that the leaves are to be looked up again."""
        values: dict[Place, bytes] = {}
        cold: list[Place] = []
        engine = self._dispatch.world.engines["cache"]
        for place in (leaf.place for leaf in leaves if leaf.place is not None):
            found = self._dispatch.values.look(engine, [place])
            if found is None:
                cold.append(place)
            else:
                values[place] = found[0]
        if cold:
            assert self._dispatch.writer is not None
            try:
                read = await self._dispatch.values.read(engine, self._dispatch.writer.log(LOG), Fetch(cold, list))
            except Pruned:
                return None
            values |= zip(cold, read, strict=True)
        body: bytes = await self._host.offload(_encoded, leaves, values)
        return body

    # --- in -----------------------------------------------------------------------------------------------------------

    async def merge(self, documents: Sequence[Mapping[str, Any]]) -> tuple[int, list[tuple[str, str]]]:
        """Take them in; how many were, and of the others the names and why."""
        arrived, left_out = await self._host.offload(_arrived, documents)
        under_way = []
        for batch in batches(arrived):  # they become durable together
            command = await self._command(batch)
            under_way.append((batch, command, self._given(command)))
        merged = 0
        for batch, command, answered in under_way:
            merged += await self._merged(batch, command, answered, left_out)
        return merged, left_out

    async def _command(self, arrived: Sequence[Arrived]) -> Merge:
        """What takes them in. Large values are stored first."""
        ready = []
        for each in arrived:
            said = each.incoming
            if each.large is not None:
                said = msgspec.structs.replace(said, value=await self._dispatch.values.store_raw(each.large, said.value))
            ready.append(said)
        return Merge(ready)

    async def _merged(
        self, arrived: Sequence[Arrived], command: Merge, answered: "_Answered", left_out: list[tuple[str, str]]
    ) -> int:
        try:
            await self._durable(command, answered)
        except Refused as refused:
            if refused.code != "invalid-argument":
                raise
            if len(arrived) == 1:
                left_out.append((arrived[0].incoming.key, refused.reason or "document"))
                return 0
            merged, half = 0, len(arrived) // 2  # one of them, or all of them together, are more than can be
            for some in (arrived[:half], arrived[half:]):
                again = await self._command(some)
                merged += await self._merged(some, again, self._given(again), left_out)
            return merged
        return len(arrived)


class _Answered:
    """What became of a command, once that is known."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.error: Refused | None = None

    def tell(self, answer: Answer) -> None:
        self.error = answer.error
        self.event.set()


def _encoded(leaves: Sequence[Leaf], values: Mapping[Place, bytes]) -> bytes:
    docs = b",".join([outgoing_raw(leaf, None if leaf.place is None else values[leaf.place]) for leaf in leaves])
    return b'{"docs":[%b],"new_edits":false}' % docs


def _arrived(documents: Sequence[Mapping[str, Any]]) -> tuple[list[Arrived], list[tuple[str, str]]]:
    arrived: list[Arrived] = []
    left_out: list[tuple[str, str]] = []
    for document in documents:
        try:
            arrived.append(incoming(document))
        except Refused as refused:
            left_out.append((str(document.get("_id")), refused.reason or "document"))
    return arrived, left_out
