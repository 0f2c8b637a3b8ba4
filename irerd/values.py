"""Values that engines keep on disk and not in their states: the hot ones in memory, the others read back, large ones as blobs.

A view beside the states: it may be thrown away at any time and begins empty. What it remembers is bounded, what it reads is
checked, and it never blocks the loop. Nothing in it is ever logged.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from operator import attrgetter
from typing import Any

import msgspec
import trio

from core.engine import RECORD_VALUE_BYTES_MAX, Engine, Fetch, Kept, Large, Place, Refused, Seen
from core.world import World
from irerd.host import Host
from irerd.writer import WriteFailed
from state.blobs import BadBlob, Blobs
from state.log import Full, Log, SyncFailed
from state.recover import Corrupt, Pruned, records_between
from state.seal import Pending

READERS_MAX = 4
"""Cold values read at once: the log writer needs threads too."""
ENTRY_BYTES = 280
"""What remembering a value costs beside its bytes."""
SHARE_MAX = 8
"""A value larger than this part of the memory is never remembered: it would drive out too many others."""
SWEEP_S = 3_600.0
SURELY_SMALL_BYTES = 3_000
"""Of the quick form, of which the canonical one takes at most five times as many."""
LOOKED_AT_HERE_BYTES = 20_000
"""Up to here it costs the loop little to find out."""

_quick = msgspec.json.Encoder()
_bytes = attrgetter("bytes")


class Memory:
    """The values of one engine that are in memory, and what was asked of them. The one that came last is the last."""

    __slots__ = ("bytes", "from_disk", "from_memory", "hand", "hits", "kept", "misses", "quick")

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.hand: Iterator[str] = iter(())
        """Names that are looked at next for one to let go; when they are over, all that are there by then."""
        self.bytes = 0
        self.hits = self.misses = self.from_memory = self.from_disk = 0
        self.quick = 0
        """Hits from memory that went the short way."""

    def drop(self, name: str) -> int:
        """Bytes that this frees."""
        old = self.kept.pop(name, None)
        if old is None:
            return 0
        size = _size(name, old)
        self.bytes -= size
        return size


def _size(name: str, kept: Kept) -> int:
    return len(kept.raw) + len(kept.wire) + len(name) + ENTRY_BYTES


class Values:
    def __init__(self, host: Host, world: World, memory_bytes: Callable[[], int]) -> None:
        self._host = host
        self._world = world
        self._memory_bytes = memory_bytes
        self.memory: defaultdict[str, Memory] = defaultdict(Memory)
        self._size = 0
        self._readers = trio.CapacityLimiter(READERS_MAX)
        self._broken = trio.Event()
        self.blobs = Blobs(host.files)

    # --- counting ---------------------------------------------------------------------------------------------------

    def seen(self, engine: str) -> Seen:
        of = self.memory[engine]
        return Seen(of.hits + of.quick, of.misses, of.from_memory + of.quick, of.from_disk, self._size)

    # --- memory -----------------------------------------------------------------------------------------------------

    def look(self, engine: Engine, places: Sequence[Place]) -> list[bytes] | None:
        """The values, if all are in memory."""
        found: list[bytes] = []
        memory = self.memory[engine.name]
        for place in places:
            hot = memory.kept.get(place.name)
            if hot is None or hot.seq != place.seq:
                return None
            hot.used += 1
            found.append(hot.raw)
        memory.from_memory += len(found)
        return found

    def keep_wire(self, engine: str, kept: Kept, wire: bytes) -> None:
        """What is asked for a second time is kept as it is sent, where there is room for it."""
        if kept.used > 1 and self._size + len(wire) <= self._memory_bytes():
            kept.wire = wire
            self.memory[engine].bytes += len(wire)
            self._size += len(wire)

    def note(self, engine: Engine, first_seq: int, records: Sequence[Pending]) -> None:
        """Remember the values of records that were just decided."""
        if engine.stored is None:
            return
        for seq, record in enumerate(records, first_seq):
            name, raw = engine.stored(record.payload)
            if name:
                self.put(engine.name, name, seq, raw)

    def note_large(self, engine: Engine, seq: int, record: Pending, raw: bytes) -> None:
        """The same of a record that names a blob."""
        assert engine.stored is not None
        self.put(engine.name, engine.stored(record.payload)[0], seq, raw)

    def put(self, engine: str, name: str, seq: int, raw: bytes | None) -> None:
        """Remember the value of a record; with None, that there is none in memory."""
        of = self.memory[engine]
        old = of.kept.pop(name, None)
        more = -_size(name, old) if old is not None else 0
        memory_bytes = self._memory_bytes()
        if raw is not None and len(raw) <= memory_bytes // SHARE_MAX:
            of.kept[name] = Kept(seq, raw, 1 if old is not None else 0)
            more += len(raw) + len(name) + ENTRY_BYTES
        of.bytes += more
        self._size += more
        while self._size > memory_bytes:
            self._let_one_go()

    def _let_one_go(self) -> None:
        """Of the engine that holds most, the value that came first among those that were not used since the last look."""
        of = max(self.memory.values(), key=_bytes)
        while True:
            for name in of.hand:
                kept = of.kept.get(name)
                if kept is not None and not kept.used:
                    self._size -= of.drop(name)
                    return
                if kept is not None:
                    kept.used = 0
            of.hand = iter(list(of.kept))

    # --- disk -------------------------------------------------------------------------------------------------------

    async def read(self, engine: Engine, log: Log, fetch: Fetch) -> Any:
        """The answer, once its values were read back. Raises Pruned where a record went meanwhile, and Refused."""
        async with self._readers:
            values, answer = await self._host.offload(self._read, engine, log, fetch)
        self.memory[engine.name].from_disk += len(values)
        for place, raw in zip(fetch.places, values, strict=True):
            self.put(engine.name, place.name, place.seq, raw)
        return answer

    def _read(self, engine: Engine, log: Log, fetch: Fetch) -> tuple[list[bytes], Any]:
        values = [self._value(engine, log, place) for place in fetch.places]
        return values, fetch.then(values)

    def _value(self, engine: Engine, log: Log, place: Place) -> bytes:
        assert engine.stored is not None
        try:
            if place.blob:
                return self.blobs.read(place.blob)
            [record] = records_between(log, place.seq, place.seq)
        except BadBlob as bad:
            text = f"{bad}. Restore it from a backup; all else can be read. See: irerctl doctor"
            raise Refused("data-loss", text, reason="blob") from None
        except Pruned:
            raise
        except (OSError, Corrupt, ValueError):
            raise Refused(
                "data-loss", f"{log.name} cannot be read back. See: irerctl audit hashchain", reason="read-failed"
            ) from None
        _, raw = engine.stored(record.payload)
        if raw is None:
            raise Refused(
                "data-loss", f"{log.name} record {place.seq} holds no value. See: irerctl audit hashchain", reason="value"
            )
        return raw

    # --- large values -------------------------------------------------------------------------------------------------

    @staticmethod
    def may_be_large(engine: Engine, value: Any) -> bool:
        """Whether a value may be too large for a record. What is no JSON is small: its engine will say what is wrong with it."""
        assert engine.canonical is not None
        try:
            size = len(_quick.encode(value))
        except Exception:
            return False
        if size <= SURELY_SMALL_BYTES:
            return False
        return size > LOOKED_AT_HERE_BYTES or len(engine.canonical(value)) > RECORD_VALUE_BYTES_MAX

    async def store(self, engine: Engine, value: Any, keep: bool) -> Any:
        """The value, or what stands for it once it is on disk, where it is to be kept. Raises Refused."""
        assert engine.canonical is not None
        raw = await self._host.offload(engine.canonical, value)
        if len(raw) <= RECORD_VALUE_BYTES_MAX:
            return value
        if not keep:
            return Large(sha256(raw).hexdigest(), value, raw)
        return await self.store_raw(raw, value)

    async def store_raw(self, raw: bytes, value: Any) -> Large:
        """The same for a value whose canonical JSON is known to be large."""
        try:
            name = await self._host.offload(self.blobs.keep, raw)
        except Full:
            text = "nothing was done: the disk has no room for a large value. Free some space; reads still work"
            raise Refused("resource-exhausted", text, reason="disk-full") from None
        except SyncFailed:
            self._broken.set()
            text = "a sync failed, so nothing was done; irerd is stopping and will be started again"
            raise Refused("unavailable", text, retry_ms=1000) from None
        return Large(name, value, raw)

    # --- the task -----------------------------------------------------------------------------------------------------

    async def run(self, whole: Callable[[], bool], settled: Callable[[], Any]) -> None:
        """Let go of blobs that nothing names. `whole` says whether every engine knows all that its log says, and `settled` waits
        until what is decided now is durable. Ends the daemon once a blob could not be made durable.
        """
        while True:
            with trio.move_on_after(SWEEP_S):
                await self._broken.wait()
                raise WriteFailed("blob")
            if not whole():
                continue
            self.blobs.begin_sweep()
            named = self._named()
            await settled()
            try:
                await self._host.offload(self.blobs.sweep, named, self._host.now_us())
            except (SyncFailed, OSError) as error:
                raise WriteFailed("sweep") from error
            except Full:
                continue

    def _named(self) -> set[str]:
        engines = [engine for engine in self._world.engines.values() if engine.blobs is not None]
        return {blob for engine in engines if engine.blobs is not None for blob in engine.blobs(self._world.states[engine.name])}
