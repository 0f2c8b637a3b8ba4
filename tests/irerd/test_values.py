"""Values on disk: read back when memory has let them go, a large one durable before the record that names it, gone when unnamed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio

from core import cache
from core.access import Rules
from core.cache.commands import Delete, Set
from core.cache.reads import Entry, Get
from core.cache.sync import leaf_bodies, waiting
from core.canonical import encode
from core.catalogue import Catalogue
from core.engine import Actor, Nothing, Refused
from core.keys import Keys
from core.settings import CacheSettings, Settings
from core.settings import Log as LogSettings
from core.world import World
from irerd.dispatch import Answer, Dispatch
from irerd.upkeep import Upkeep
from irerd.writer import WriteFailed, Writer
from state.blobs import BadBlob, Blobs, path_of
from state.ledger import open_ledger
from state.recover import recover
from state.replay import replay
from state.rotation import LIMITS, Limits
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles

CALLER = Actor("uid:1", "operator", 1)
LARGE = "x" * 20_000
NOW = 1_767_225_600_000_000
DAY_S = 24 * 3_600


class SmallHost:
    def __init__(self, files: Any) -> None:
        self.files = files
        self.boot_id = "b0071d00"
        self.random = Random(1)

    def now_us(self) -> int:
        return NOW + self.mono_us()

    def mono_us(self) -> int:
        try:
            return round(trio.current_time() * 1e6)
        except RuntimeError:
            return 1

    def new_id(self) -> str:
        return "an-id"

    def draw(self) -> bytes:
        return bytes(32)

    async def offload(self, function: Any, *args: Any) -> Any:
        return function(*args)

    async def commit(self, log: Any, data: bytes, *, alone: bool) -> None:
        await self.offload(log.commit, data)


class Bench:
    """Recovered from a disk, as a start does it."""

    def __init__(self, files: Any, memory_bytes: int = 1 << 20, limits: Limits = LIMITS) -> None:
        host: Any = SmallHost(files)
        self.files = files
        self.world = World([cache.ENGINE])
        settings = Settings(cache=CacheSettings(memory_bytes=memory_bytes))
        self.keys = Keys()
        self.dispatch = Dispatch(host, self.world, Catalogue([cache.ENGINE]), self.keys, settings, Rules())
        self.dispatch.ledger = open_ledger(files, lambda: "x")

        def stamp() -> tuple[int, int, str]:
            return host.now_us(), host.mono_us(), host.boot_id

        self.stamp = stamp
        self.log = recover(
            files,
            "cache_log",
            "irer.invalid/0/cache_log",
            stamp,
            lambda batch: replay(self.world, self.keys, "cache_log", batch),
            limits=limits,
        ).log
        self.dispatch.ledger.add_log("cache_log")
        self.dispatch.next_seq["cache_log"] = self.log.next_seq
        self.dispatch.writer = self.writer = Writer(host, {"cache_log": self.log}, lambda logs: None)
        self.host = host

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        await self.writer.prepare()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.writer.run)
            yield
            self.writer.stop()

    def decide(self, params: Any) -> list[Answer]:
        row = self.world.rows["cache.set" if isinstance(params, Set) else "cache.delete"]
        told: list[Answer] = []
        self.dispatch.write(row, params, CALLER, told.append)
        return told

    async def set(self, key: str, value: Any) -> Answer:
        """As a session does it, to the end."""
        row, params = self.world.rows["cache.set"], Set(key, value)
        if self.dispatch.may_be_large(row, params):
            params = await self.dispatch.stored_first(row, params, keep=True)  # type: ignore[assignment]
        told = self.decide(params)
        await self.dispatch.settled()
        return told[0]

    def get_hot(self, key: str) -> list[Answer]:
        told: list[Answer] = []
        self.dispatch.read(self.world.rows["cache.get"], Get(key), CALLER, told.append)
        return told

    async def get_cold(self, key: str) -> Any:
        answer = await self.dispatch.read_cold(self.world.rows["cache.get"], Get(key), CALLER)
        assert isinstance(answer.result, Entry)
        return answer.result.value


async def test_what_memory_has_no_room_for_is_read_from_disk(autojump_clock: Any) -> None:
    bench = Bench(SimFiles(), memory_bytes=10_000)
    async with bench.writing():
        for number in range(50):
            await bench.set(f"k{number}", {"n": number, "text": "t" * 500})
        seen = bench.dispatch.values.seen("cache")
        assert 0 < seen.memory_bytes <= 10_000
        hot = [number for number in range(50) if bench.get_hot(f"k{number}")]
        assert hot == list(range(50))[-len(hot) :] and 5 < len(hot) < 20, "those used last"
        for number in range(50):
            assert await bench.get_cold(f"k{number}") == {"n": number, "text": "t" * 500}
        assert bench.dispatch.values.seen("cache").memory_bytes <= 10_000
        assert len(bench.get_hot("k49")) == 1, "what was read is remembered"


async def test_a_new_value_takes_the_place_of_the_old_one_in_memory(autojump_clock: Any) -> None:
    bench = Bench(SimFiles())
    async with bench.writing():
        await bench.set("a", 1)
        size = bench.dispatch.values.seen("cache").memory_bytes
        await bench.set("a", 2)
        assert bench.get_hot("a")[0].result.value == 2
        assert bench.dispatch.values.seen("cache").memory_bytes == size
        await bench.set("a", LARGE)
        assert bench.get_hot("a")[0].result.value == LARGE


async def test_a_cold_value_waits_until_it_is_durable(autojump_clock: Any) -> None:
    bench = Bench(SimFiles(), memory_bytes=0)
    await bench.writer.prepare()
    bench.decide(Set("a", "not yet on disk"))
    assert bench.get_hot("a") == []
    found: list[Any] = []

    async def ask() -> None:
        found.append(await bench.get_cold("a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        assert found == []
        async with bench.writing():
            await bench.dispatch.settled()
            await trio.sleep(1)
    assert found == ["not yet on disk"]


async def test_what_irer_sends_elsewhere_is_durable_first_and_comes_whole(autojump_clock: Any) -> None:
    bench = Bench(SimFiles(), memory_bytes=5_000)
    await bench.writer.prepare()
    for key in ("a", "b"):
        bench.decide(Set(key, f"value of {key}"))
    state = bench.world.states["cache"]
    found: list[bytes] = []

    async def send() -> None:
        places = [leaf.place for change in waiting(state, -1, 10) for leaf in leaf_bodies(state, change.key) if leaf.place]
        found.extend(await bench.dispatch.fetch(cache.ENGINE, places))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(1)
        assert found == []
        async with bench.writing():
            await bench.dispatch.settled()
            await bench.set("c", LARGE)
            await trio.sleep(1)
            assert found == [b'"value of a"', b'"value of b"']
            await send()
    assert found[2:] == [b'"value of a"', b'"value of b"', encode(LARGE)]


async def test_hits_and_misses_are_counted_and_not_logged(autojump_clock: Any) -> None:
    bench = Bench(SimFiles())
    async with bench.writing():
        await bench.set("a", 1)
        records = bench.log.next_seq
        bench.get_hot("a")
        with pytest.raises(Refused):
            bench.get_hot("b")
        seen = bench.dispatch.values.seen("cache")
        assert (seen.hits, seen.misses, seen.from_memory, seen.from_disk) == (1, 1, 1, 0)
        status: list[Answer] = []
        bench.dispatch.read(bench.world.rows["cache.status"], Nothing(), CALLER, status.append)
        assert (status[0].result.hits, status[0].result.misses) == (1, 1)
        assert bench.log.next_seq == records


# --- large values ---------------------------------------------------------------------------------------------------------


async def story(files: Any, told: list[str]) -> None:
    bench = Bench(files, memory_bytes=0)
    async with bench.writing():
        for key in ("a", "b"):
            answer = await bench.set(key, f"{key}{LARGE}")
            assert answer.receipt is not None
            told.append(key)


def killed_at(disk: SimFiles, nth: int, told: list[str]) -> bool:
    try:
        trio.run(story, NthFails(disk, nth, Killed(), CHANGES), told)
    except BaseExceptionGroup as group:
        if group.split(Killed)[1] is None:
            return True
        raise
    except Killed:
        return True
    return False


def test_killed_anywhere_no_record_names_a_blob_that_is_not_there() -> None:
    """Killed at each call that changes the disk, then a power cut that keeps any subset of what was not synced."""
    random, nth, unnamed = Random(3), 1, 0
    while True:
        disk, told = SimFiles(), list[str]()
        if not killed_at(disk, nth, told):
            break
        for after in [disk.kill(), *[disk.crash(random) for _ in range(4)]]:
            try:
                bench = Bench(after)
            except Exception as error:
                assert not told, f"killed at {nth}: {error}"
                continue
            state = bench.world.states["cache"]
            assert set(told) <= set(state.docs), f"killed at {nth}: acknowledged and gone"
            for name in state.blobs():
                Blobs(after).read(name)
            files = [path for path in after.tree() if path.startswith("blobs/") and not path.endswith(".tmp")]
            unnamed += len(files) > len(state.blobs())
        nth += 1
    assert unnamed, "a kill between blob and record leaves a blob that nothing names"


async def test_a_blob_that_nothing_names_goes_after_a_day_and_one_that_is_named_stays(autojump_clock: Any) -> None:
    bench = Bench(SimFiles())
    row = bench.world.rows["cache.set"]
    await bench.writer.prepare()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.writer.run)
        nursery.start_soon(bench.dispatch.values.run, lambda: True, bench.dispatch.settled)
        await bench.set("a", LARGE)
        [named] = bench.world.states["cache"].blobs()
        lost = await bench.dispatch.stored_first(row, Set("b", LARGE + "b"), keep=True)
        name = lost.value.sha256  # type: ignore[attr-defined]
        await trio.sleep(DAY_S - 1)
        assert bench.files.stat_path(path_of(name)) is not None
        await trio.sleep(3 * 3_600)
        assert bench.files.stat_path(path_of(name)) is None
        await trio.sleep(10 * DAY_S)
        assert await bench.get_cold("a") == LARGE
        await bench.set("a", "small")
        await trio.sleep(2 * DAY_S)
        with pytest.raises(BadBlob):
            bench.dispatch.values.blobs.read(named)
        nursery.cancel_scope.cancel()


async def test_a_blob_that_cannot_be_made_durable_ends_the_daemon(autojump_clock: Any) -> None:
    bench = Bench(SimFiles())
    bench.dispatch.values.blobs = Blobs(NthFails(bench.files, 1, OSError(5, "rot"), ("fsync",)))
    with pytest.raises(BaseExceptionGroup) as ended:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.dispatch.values.run, lambda: True, bench.dispatch.settled)
            with pytest.raises(Refused) as refused:
                await bench.set("a", LARGE)
            assert refused.value.code == "unavailable"
            await trio.sleep_forever()
    assert ended.group_contains(WriteFailed)
    assert bench.world.states["cache"].docs == {}


# --- what is let go of a log ----------------------------------------------------------------------------------------------------


async def test_a_segment_with_a_value_that_a_read_may_need_is_kept(autojump_clock: Any) -> None:
    bench = Bench(SimFiles(), memory_bytes=0, limits=Limits(bytes=1 << 20, records=10, age_us=1 << 60))
    upkeep = Upkeep(bench.host, bench.world, bench.keys, lambda: LogSettings(snapshot_records=10, retain_bytes=1), bench.stamp)

    async def write(params: Any) -> None:
        bench.decide(params)
        await bench.dispatch.settled()
        if upkeep.due(bench.log):
            upkeep.serve(bench.log)
            bench.dispatch.next_seq["cache_log"] = bench.log.next_seq
            bench.writer._queues["cache_log"].durable_seq = bench.log.next_seq - 1

    async with bench.writing():
        await write(Set("old", "kept"))
        for number in range(100):
            await write(Set("new", number))
        assert bench.log.segment > 60 and bench.log.first_seq == 0
        assert await bench.get_cold("old") == "kept"
        await write(Delete("old"))
        for number in range(60):
            await write(Set("new", number))
        assert bench.log.first_seq > 60
        assert await bench.get_cold("new") == 59
