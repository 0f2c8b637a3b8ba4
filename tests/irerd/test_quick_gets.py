"""Gets from memory: the short way tells byte for byte what the long way tells, counts the same, and never what is not on disk."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from core.cache.commands import Delete, Incoming, Merge, Set
from core.cache.model import Cache
from core.cache.reads import Get, quick_find
from core.engine import IRER, Kept
from core.wire import calls
from irerd.cursors import Cursors
from irerd.session import QUICK_BYTES_MAX, Session
from tests.irerd.test_session import PEER, Pipe
from tests.irerd.test_values import CALLER, Bench
from tests.sim.disk import SimFiles

VALUES: list[Any] = [
    None,
    1.5,
    2**53 - 1,
    1e300,
    "é" * 30,
    [[], {}],
    {"n": 1, "deep": {"er": [True] * 40}},
    "x" * (QUICK_BYTES_MAX - 40),
]
IDS = [1, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1]


def session(bench: Bench) -> Session:
    cursors = Cursors("ledger")
    service: Any = SimpleNamespace(dispatch=bench.dispatch, turns={}, cursor=cursors.text)
    return Session(Pipe(room=1 << 30), PEER, service)


class Caller:
    """Asks the same both ways."""

    def __init__(self, bench: Bench) -> None:
        self.row = bench.world.rows["cache.get"]
        self.dispatch = bench.dispatch
        self.short, self.long = session(bench), session(bench)

    def _taken(self, end: Session) -> bytes:
        end.outbox.flush_nowait()
        pipe: Any = end._transport
        taken, pipe.taken = pipe.taken, b""
        return bytes(taken)

    def quickly(self, id: int, params: Get) -> bytes | None:
        served = self.short._quick(id, self.row, params)
        taken = self._taken(self.short)
        assert bool(taken) == served
        return taken or None

    def slowly(self, id: int, params: Get) -> bytes:
        assert self.dispatch.read(self.row, params, CALLER, lambda answer: self.long._answer(id, self.row, answer))
        return self._taken(self.long)


async def test_the_short_way_tells_what_the_long_way_tells_after_any_change(autojump_clock: Any) -> None:
    bench, random, quick = Bench(SimFiles(), memory_bytes=200_000), Random(5), 0
    async with bench.writing():
        caller = Caller(bench)
        for turn in range(400):
            key = f"k{random.randrange(40)}"
            doc = bench.world.states["cache"].docs.get(key)
            match random.randrange(12):
                case 0 if doc is not None and doc.live:
                    bench.decide(Delete(key))
                case 1:
                    row = bench.world.rows["cache.merge"]
                    far = Incoming(key, random.choice([1, 2, 9]), [f"{turn:032x}"], value={"far": turn})
                    bench.dispatch.write(row, Merge([far]), IRER, lambda answer: None)
                case 2:
                    bench.decide(Set(key, turn, ttl_s=60))
                case 3 | 4 | 5 | 6 | 7 | 8:
                    bench.decide(Set(key, random.choice(VALUES)))
            if caller.dispatch.next_seq["cache_log"] > bench.writer.durable_ends["cache_log"]:
                assert caller.quickly(1, Get(key)) is None, "not on disk yet"
            await bench.dispatch.settled()
            doc = bench.world.states["cache"].docs.get(key)
            for _ in range(3):
                id = random.choice(IDS)
                told = caller.quickly(id, Get(key))
                if told is not None:
                    assert doc is not None and doc.live and not doc.expires_us
                    assert told == caller.slowly(id, Get(key))
                    quick += 1
    assert quick > 200
    [memory] = bench.dispatch.values.memory.values()
    assert any(kept.wire for kept in memory.kept.values())


async def test_another_revision_and_a_value_that_is_not_small_go_the_long_way_and_are_counted_once(autojump_clock: Any) -> None:
    bench = Bench(SimFiles())
    async with bench.writing():
        await bench.set("a", "x" * QUICK_BYTES_MAX)
        await bench.set("b", 1)
        caller = Caller(bench)
        assert caller.quickly(1, Get("a")) is None and caller.slowly(1, Get("a"))
        rev = bench.world.states["cache"].docs["b"].rev
        assert caller.quickly(1, Get("b", rev)) is None and caller.slowly(1, Get("b", rev))
        assert caller.quickly(1, Get("b")) is not None
        seen = bench.dispatch.values.seen("cache")
        assert (seen.hits, seen.misses, seen.from_memory, seen.from_disk) == (3, 0, 3, 0)
        assert bench.dispatch.calls == {("cache.get", "ok"): 3}


async def test_a_caller_that_changes_what_it_got_changes_nothing_for_others(autojump_clock: Any) -> None:
    bench = Bench(SimFiles())
    async with bench.writing():
        await bench.set("a", {"list": [1]})
        row = bench.world.rows["cache.get"]
        assert row.quick is not None
        for _ in range(3):
            kept = bench.dispatch.quick(row, Get("a"))
            assert kept is not None
            found = row.quick.answer(Get("a"), kept).value
            assert found == {"list": [1]}
            found["list"].append(2)
            del found["list"]


@pytest.mark.parametrize("asked", [0, 60])
async def test_what_is_asked_for_stays_when_others_go_and_memory_is_bounded_with_what_is_kept_for_sending(
    autojump_clock: Any, asked: int
) -> None:
    bench = Bench(SimFiles(), memory_bytes=20_000)
    values = bench.dispatch.values
    async with bench.writing():
        caller = Caller(bench)
        await bench.set("asked", {"text": "t" * 300})
        for number in range(200):
            await bench.set(f"k{number}", {"n": number, "text": "t" * 300})
            if number < asked:
                assert caller.quickly(1, Get("asked")) is not None
            memory = values.memory["cache"]
            held = sum(len(kept.raw) + len(kept.wire) + len(name) + 200 for name, kept in memory.kept.items())
            assert held <= values.seen("cache").memory_bytes <= 20_000 and memory.bytes == values.seen("cache").memory_bytes
            if number == 40:
                assert ("asked" in memory.kept) == (asked > 20)
        assert "asked" not in memory.kept and len(memory.kept) > 20, "nobody asked for long"


def test_a_cursor_of_any_length_is_told_as_the_codec_tells_it() -> None:
    for length in (0, 1, 23, 24, 255, 256, 3_000):
        cur = "c" * length
        for id in IDS:
            again = calls.done_again(id, calls.result({"key": "a", "value": [1, "two"]}), calls.cursor(cur))
            assert again == calls.done(id, {"key": "a", "value": [1, "two"]}, cur=cur)


def test_a_value_whose_key_is_gone_is_no_answer() -> None:
    """A key that was never asked for may be forgotten while its value is in memory still."""
    kept = {"gone": Kept(3, b"1")}
    assert quick_find(Cache(), Get("gone"), kept) is None
