"""The writer's promises, with every sync held in the test's hand: nothing leaves early, groups never overlap, failure is final."""

import errno
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any, Literal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from irerd.writer import HEAD_IDLE_US, LONE_BYTES_MAX, SHORT_BYTES_MAX, Receipt, WriteFailed, Writer
from state.log import PADDING_BYTES_MAX, Log, SyncFailed
from state.recover import records_between, recover
from state.room import ROOM
from state.seal import BATCH_BYTES_MAX, RECORDS_MAX, Pending, measure
from tests.sim.disk import CALLS, NthFails, SimFiles


class Held:
    """A host whose blocking calls wait until the test lets them go, one at a time, in the order they were asked for."""

    def __init__(self, files: SimFiles) -> None:
        self.files = files
        self.holding = False
        self.asked: list[tuple[str, trio.Event]] = []
        self.fail: OSError | None = None
        self.hastened: list[str] = []
        """What the loop may do itself."""

    def mono_us(self) -> int:
        return int(trio.current_time() * 1e6)

    async def offload(self, function: Callable[..., Any], *args: object) -> Any:
        if self.holding:
            gate = trio.Event()
            self.asked.append((f"{function.__self__.name}.{function.__name__}", gate))  # type: ignore[attr-defined]
            with trio.CancelScope(shield=True):
                await gate.wait()
        if self.fail is not None and function.__name__ == "commit":
            raise self.fail
        return function(*args)

    async def commit(self, log: Log, data: bytes, *, alone: bool) -> None:
        if alone:
            self.hastened.append(log.name)
        await self.offload(log.commit, data)

    def let_all_go(self) -> None:
        self.holding = False
        for _, gate in self.asked:
            gate.set()

    async def let_go(self) -> str:
        await wait_all_tasks_blocked()
        name, gate = self.asked.pop(0)
        gate.set()
        await wait_all_tasks_blocked()
        return name


def pending(text: str = "x", **more: Any) -> Pending:
    return Pending("task.note", b'{"text":"%b"}' % text.encode(), "uid:1", "b0071d00", 1, 1_767_225_600_000_000, **more)


def new_log(files: SimFiles, name: str) -> Log:
    return recover(files, name, f"irer.invalid/0/{name}", lambda: (1_767_225_600_000_000, 1, "b0071d00"), lambda batch: None).log


class Bench:
    """A writer over two logs on a simulated disk."""

    def __init__(self) -> None:
        self.files = SimFiles()
        self.host = Held(self.files)
        self.logs = {name: new_log(self.files, name) for name in ("one", "two")}
        self.groups: list[set[str]] = []
        self.writer = Writer(self.host, self.logs, self.groups.append)  # type: ignore[arg-type]
        self.told: list[tuple[str, Receipt | None]] = []
        self.accepted: list[str] = []

    def submit(self, log: str, name: str, count: int = 1, needs: dict[str, int] | None = None) -> None:
        records = [pending(name)] * count
        self.writer.submit(log, records, sum(map(measure, records)), needs or {}, lambda receipt: self.told.append((name, receipt)))

    def names(self) -> list[str]:
        return [name for name, _ in self.told]


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncIterator[Bench]:
    bench = Bench()
    nursery.start_soon(bench.writer.run)
    await wait_all_tasks_blocked()
    bench.host.holding = True
    yield bench
    bench.host.let_all_go()  # a group is never cancelled, so one that is held would never end


async def test_nobody_is_told_before_the_sync_that_covers_it(bench: Bench) -> None:
    bench.submit("one", "a")
    seen: list[str] = []
    bench.writer.when_durable("one", 1, lambda: seen.append("read"))
    await wait_all_tasks_blocked()
    assert bench.told == [] and seen == []
    assert await bench.host.let_go() == "one.commit"
    assert bench.told == [("a", Receipt("one", 1, bench.logs["one"].tip))] and seen == ["read"]


async def test_what_is_to_follow_once_all_of_a_group_is_told_is_called_once_and_after_it(bench: Bench) -> None:
    order: list[str] = []

    def sent() -> None:
        order.append("sent")

    def release(name: str) -> Any:
        def released(receipt: Receipt | None) -> None:
            assert bench.writer.releasing is not None
            bench.writer.releasing[sent] = None
            order.append(name)

        return released

    for log in ("one", "two", "one"):
        bench.writer.submit(log, [pending()], 500, {}, release(log))
    bench.host.let_all_go()
    await wait_all_tasks_blocked()
    assert order == ["one", "one", "two", "sent"] and bench.writer.releasing is None


async def test_the_end_of_what_is_durable_is_told_of_every_log(bench: Bench) -> None:
    bench.submit("one", "a", count=2)
    await wait_all_tasks_blocked()
    before = bench.writer.durable_ends
    assert before == {"one": 1, "two": 1}, "decided is not durable"
    await bench.host.let_go()
    assert bench.writer.durable_ends == {"one": 3, "two": 1}
    assert before == {"one": 1, "two": 1}, "whoever took it up still has that moment"


async def test_the_end_of_what_is_durable_follows_work_on_a_log(bench: Bench) -> None:
    done = trio.Event()
    bench.host.let_all_go()
    bench.writer.pause("two", lambda log: log.commit(log.seal([pending("upkeep")]).data), done.set)
    await done.wait()
    assert bench.writer.durable_ends == {"one": 1, "two": 2}


async def test_what_comes_during_a_sync_makes_the_next_group_together(bench: Bench) -> None:
    bench.submit("one", "a")
    await wait_all_tasks_blocked()
    for name in "bcd":
        bench.submit("one", name)
    await bench.host.let_go()
    assert bench.names() == ["a"]
    await bench.host.let_go()
    assert bench.names() == ["a", "b", "c", "d"] and bench.groups == [{"one"}, {"one"}]


class Followed(Writer):
    """A writer of which somebody sees what it writes."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.seen: list[tuple[str, int, list[int]]] = []

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        assert first_seq > self.durable_seq(log), "before it is durable"
        self.seen.append((log, first_seq, [len(records) for records in commands]))


async def test_who_follows_the_writer_sees_each_command_once_with_its_place_before_it_is_durable(bench: Bench) -> None:
    bench.host.let_all_go()
    followed = Followed(bench.host, bench.logs, bench.groups.append)
    told: list[Receipt | None] = []
    for log, count in (("one", 1), ("two", 3), ("one", 200), ("one", 56), ("two", 1)):
        records = [pending()] * count
        followed.submit(log, records, sum(map(measure, records)), {}, told.append)
    followed.stop()
    await followed.run()
    assert followed.seen == [("one", 1, [1, 200]), ("two", 1, [3, 1]), ("one", 202, [56])]
    assert [(receipt.log, receipt.seq) for receipt in told if receipt is not None] == [
        ("one", 1),
        ("one", 201),
        ("two", 3),
        ("two", 4),
        ("one", 257),
    ]


async def test_the_next_group_waits_for_every_sync_of_this_one(bench: Bench) -> None:
    bench.submit("one", "a")
    bench.submit("two", "b")
    await wait_all_tasks_blocked()
    bench.submit("one", "c")
    await bench.host.let_go()
    assert bench.told == [], "one of the two logs is synced, which is not the group"
    assert len(bench.host.asked) == 1, "and nothing of the next group is written"
    await bench.host.let_go()
    assert sorted(bench.names()) == ["a", "b"]


async def test_only_a_short_group_with_nothing_behind_it_may_be_the_loops_own(bench: Bench) -> None:
    bench.host.let_all_go()

    async def hastened() -> list[str]:
        await wait_all_tasks_blocked()
        found, bench.host.hastened = bench.host.hastened, []
        return found

    for name in ("lone", "lone again"):
        bench.submit("one", name)
        assert await hastened() == ["one"]
    bench.submit("one", "x" * LONE_BYTES_MAX)
    assert await hastened() == []
    bench.submit("one", "of one group")
    bench.submit("two", "over two logs")
    assert await hastened() == []
    bench.submit("two", "behind", needs={"one": bench.logs["one"].next_seq})
    bench.submit("one", "first")
    assert await hastened() == ["two"], "only the one behind which nothing waits"
    assert bench.groups == [{"one"}, {"one"}, {"one"}, {"one", "two"}, {"one"}, {"two"}]


async def test_a_group_in_a_thread_is_seen_to_be_written_and_one_of_the_loops_own_is_not(bench: Bench) -> None:
    seen: list[bool] = []

    async def here(log: Log, data: bytes, *, alone: bool) -> None:
        log.commit(data)

    def look() -> None:
        seen.append(bench.writer.writing)

    assert not bench.writer.writing
    bench.submit("one", "held")
    await wait_all_tasks_blocked()
    assert bench.writer.writing and not bench.writer.resting
    bench.writer.when_durable("one", 1, look)
    await bench.host.let_go()
    assert not bench.writer.writing
    bench.host.commit = here  # type: ignore[method-assign]
    bench.submit("one", "lone")
    bench.writer.when_durable("one", 2, look)
    look()
    await wait_all_tasks_blocked()
    look()
    assert seen == [False] * 4 and bench.writer.resting


async def test_who_asks_again_within_the_loops_own_group_does_not_keep_others_from_running(bench: Bench) -> None:
    """What is released may submit at once: that group is handed over, so the loop turns between any two of its own."""
    left = [6]

    def again(receipt: Receipt | None) -> None:
        if left[0]:
            left[0] -= 1
            bench.writer.submit("one", [pending()], measure(pending()), {}, again)

    bench.host.let_all_go()
    waited: list[bool] = []

    async def commit(log: Log, data: bytes, *, alone: bool) -> None:
        waited.append(alone)
        log.commit(data)

    bench.host.commit = commit  # type: ignore[method-assign]
    again(None)
    await wait_all_tasks_blocked()
    assert waited == [True, False] * 3


async def test_who_waited_for_a_group_may_still_be_part_of_the_next(bench: Bench) -> None:
    """Others asked meanwhile, so the next group is there already when this one ends."""
    bench.submit("one", "first")
    await wait_all_tasks_blocked()
    bench.submit("one", "behind")

    async def wait_and_ask() -> None:
        await bench.writer.wait_advanced()
        await trio.lowlevel.checkpoint()  # as a connection does, for those beside it
        bench.submit("one", "woken")

    async with trio.open_nursery() as woken:
        woken.start_soon(wait_and_ask)
        await wait_all_tasks_blocked()
        await bench.host.let_go()
    await bench.host.let_go()
    assert bench.names() == ["first", "behind", "woken"] and len(bench.groups) == 2


async def test_a_sync_that_fails_while_all_is_being_given_up_is_told_all_the_same() -> None:
    """Whoever cancels has a reason of its own; the exit status is to say that the disk failed."""
    bench = Bench()
    with pytest.raises(ExceptionGroup) as told, trio.CancelScope() as given_up:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.writer.run)
            await wait_all_tasks_blocked()
            bench.host.holding, bench.host.fail = True, OSError(errno.EIO, "the disk")
            bench.submit("one", "lost")
            await wait_all_tasks_blocked()
            given_up.cancel()
            bench.host.let_all_go()
    assert told.group_contains(WriteFailed) and bench.told == [("lost", None)]


async def test_what_is_long_is_written_away_from_the_loop(bench: Bench) -> None:
    there: list[int] = []

    async def commit(log: Log, data: bytes, *, alone: bool) -> None:
        there.append(len(data))
        log.commit(data)

    bench.host.let_all_go()
    bench.host.commit = commit  # type: ignore[method-assign]
    for count in (1, 2, 3):
        for _ in range(count):
            bench.submit("one", "x" * (SHORT_BYTES_MAX * 2 // 5))
        await wait_all_tasks_blocked()
    assert len(there) == 2 and max(there) <= SHORT_BYTES_MAX and bench.logs["one"].durable.seq == 7


async def test_a_busy_log_claims_more_room_at_once_and_a_calm_one_the_usual(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    bench.host.holding = False
    log, looks = bench.logs["one"], Counter[bool]()
    log.room = ROOM._replace(ahead_bytes=65_536)
    whole = log.reserve

    def reserve(waiting: int = 0, free_before: int = 0) -> None:
        looks[waiting >= log.room.ahead_bytes] += 1
        whole(waiting, free_before)

    log.reserve = reserve  # type: ignore[method-assign]

    async def write(count: int, every_s: float) -> Counter[bool]:
        looks.clear()
        for _ in range(count):
            bench.submit("one", "x" * 10_000)
            await trio.sleep(every_s)
        return looks

    log._reserved_end = log.end + log.room.own_bytes
    assert (await write(200, 0.1)).total() <= 7, "thirty times the usual room in twenty seconds"
    assert (await write(300, 30.0))[True] == 0 and looks[False] >= 20, "once what was claimed for the busy time is used up"


async def test_a_command_waits_for_what_its_decision_read_in_another_log(bench: Bench) -> None:
    bench.submit("one", "seen")
    bench.submit("two", "reader", needs={"one": 1})
    bench.submit("two", "behind it")
    assert await bench.host.let_go() == "one.commit"
    assert bench.names() == ["seen"]
    assert await bench.host.let_go() == "two.commit"
    assert bench.names() == ["seen", "reader", "behind it"]


async def test_a_batch_holds_whole_commands_only(bench: Bench) -> None:
    bench.submit("one", "first")
    await wait_all_tasks_blocked()
    for name in ("big", "more"):
        bench.submit("one", name, count=200)
    bench.submit("one", "small")
    for expected in (["first"], ["first", "big"], ["first", "big", "more", "small"]):
        await bench.host.let_go()
        assert bench.names() == expected
    assert RECORDS_MAX == 256


async def test_a_failed_sync_tells_everybody_that_nothing_is_known_and_is_never_tried_again() -> None:
    bench = Bench()
    with pytest.raises(ExceptionGroup) as raised:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.writer.run)
            await wait_all_tasks_blocked()
            bench.host.holding = True
            bench.submit("one", "a")
            await wait_all_tasks_blocked()
            bench.submit("one", "b")
            bench.submit("two", "c")
            bench.host.fail = OSError(errno.EIO, "Input/output error")
            await bench.host.let_go()
    assert raised.group_contains(WriteFailed)
    assert bench.told == [("a", None), ("b", None), ("c", None)]
    assert bench.writer.failed and bench.host.asked == []


async def test_the_head_follows_when_it_is_quiet_and_names_only_what_is_durable(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    bench.host.holding = False
    log = bench.logs["one"]
    bench.submit("one", "a")
    await wait_all_tasks_blocked()
    assert log.head_batch == 0
    await trio.sleep(HEAD_IDLE_US * 1.5e-6)
    assert log.head_batch == 1


async def test_the_head_is_at_most_five_seconds_old_under_steady_work(bench: Bench, autojump_clock: trio.testing.MockClock) -> None:
    bench.host.holding = False
    log = bench.logs["one"]
    for _ in range(80):
        bench.submit("one", "steady")
        await trio.sleep(0.1)  # virtual: never quiet for the 200 ms that would bring the head up to date
    assert log.next_batch - log.head_batch <= 51


async def test_stopping_writes_what_waits_and_then_the_heads(bench: Bench) -> None:
    bench.submit("one", "a")
    await wait_all_tasks_blocked()
    bench.submit("two", "b")
    bench.writer.stop()
    done = []
    while len(done) < 4:
        done.append(await bench.host.let_go())
    assert done == ["one.commit", "two.commit", "one.write_head", "two.write_head"]
    assert bench.names() == ["a", "b"]


def fill(bench: Bench, free: int = 0) -> None:
    bench.files.capacity = bench.files._used() + free


async def test_a_full_disk_is_noticed_before_anything_is_decided_and_so_is_its_end(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    fill(bench, 4096)
    await bench.writer.prepare()
    assert bench.writer.full("one") is not None
    nursery.start_soon(bench.writer.run)
    fill(bench, ROOM.back_bytes - 1)
    await trio.sleep(3)
    assert bench.writer.full("one") is not None, "too little room to begin anew"
    bench.files.capacity = None
    await trio.sleep(3)
    assert bench.writer.full("one") is None


async def test_so_much_room_as_is_asked_for_is_enough_for_all_logs_together(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """What the first claims of it again is not missed by the others."""
    bench = Bench()
    fill(bench, 4096)
    await bench.writer.prepare()
    nursery.start_soon(bench.writer.run)
    await trio.sleep(3)
    assert all(bench.writer.full(name) is not None for name in bench.logs)
    fill(bench, ROOM.back_bytes)
    await trio.sleep(3)
    assert all(bench.writer.full(name) is None for name in bench.logs)


async def test_nothing_is_queued_that_has_no_room_on_disk_and_irers_own_part_is_kept(bench: Bench) -> None:
    size = measure(pending("x" * 50_000))
    queued = 0
    while bench.writer.queue("one").fits(size):
        bench.submit("one", "x" * 50_000)
        queued += size
    assert BATCH_BYTES_MAX < queued <= ROOM.ahead_bytes
    log = bench.logs["one"]
    left = log.reserved_bytes - queued
    assert left >= ROOM.own_bytes and bench.writer.queue("one").fits(size, own=True)
    while bench.writer.queue("one").fits(size, own=True):
        bench.submit("one", "x" * 50_000)
    fill(bench)
    bench.host.let_all_go()
    await wait_all_tasks_blocked()
    assert not bench.writer.failed and not bench.writer.waiting("one"), "all that was taken found its room"
    assert bench.writer.full("one") is not None and log.full_to_tell, "and some is left to say that it is full"


async def test_once_written_there_is_room_for_as_much_again(bench: Bench) -> None:
    size = measure(pending("x" * 50_000))
    for _ in range(3):
        while bench.writer.queue("one").fits(size):
            bench.submit("one", "x" * 50_000)
        bench.host.let_all_go()
        await wait_all_tasks_blocked()
        assert bench.writer.queue("one").fits(BATCH_BYTES_MAX), "the largest command there may be"


async def test_each_command_that_waits_has_room_for_a_batch_of_its_own(bench: Bench) -> None:
    """Each may be written alone, and the padding of a batch is no part of what a command measures."""
    free = bench.logs["one"].reserved_bytes - ROOM.own_bytes
    for _ in range(3):
        bench.submit("one", "a")
        free -= measure(pending("a")) + PADDING_BYTES_MAX
    fits = bench.writer.queue("one").fits
    assert fits(free - PADDING_BYTES_MAX) and not fits(free - PADDING_BYTES_MAX + 1)


async def test_nobody_is_ahead_of_who_is_told_that_there_is_room(
    bench: Bench, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """The look is a call away from the loop: until its end is noticed the log stays full for all."""
    bench.host.holding = False
    fill(bench)
    bench.logs["one"].room = ROOM._replace(ahead_bytes=8 << 20)
    bench.submit("one", "a")
    await wait_all_tasks_blocked()
    assert bench.writer.full("one") is not None
    seen: list[bool] = []
    bench.writer.after_look = lambda log: seen.append(bench.writer.full(log) is None)
    bench.files.capacity = None
    whole = bench.logs["one"].reserve

    def reserve(waiting: int = 0, free_before: int = 0) -> None:
        whole(waiting)
        assert seen == [] and bench.writer.full("one") is not None

    bench.logs["one"].reserve = reserve  # type: ignore[method-assign]
    await trio.sleep(2)
    assert seen == [True]


async def test_a_full_log_is_looked_at_while_another_is_never_quiet(
    bench: Bench, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench.host.holding = False
    bench.logs["one"].room = ROOM._replace(ahead_bytes=8 << 20)
    fill(bench)
    bench.submit("one", "a")
    await wait_all_tasks_blocked()
    assert bench.writer.full("one") is not None and bench.writer.full("two") is None
    bench.files.capacity = None
    for _ in range(25):
        bench.submit("two", "b")
        await trio.sleep(0.1)
    assert bench.writer.full("one") is None


async def test_only_a_full_disk_is_looked_at_and_heads_without_room_are_not_tried_in_a_hurry(
    bench: Bench, autojump_clock: trio.testing.MockClock
) -> None:
    calls: list[str] = []
    whole = bench.host.offload

    async def offload(function: Callable[..., Any], *args: object) -> Any:
        calls.append(function.__name__)
        return await whole(function, *args)

    bench.host.offload = offload  # type: ignore[method-assign]
    bench.host.holding = False
    bench.submit("one", "a")
    await trio.sleep(1)
    calls.clear()
    await trio.sleep(3600)
    assert calls == [], "an idle writer looks at nothing"
    bench.logs["one"].room = ROOM._replace(ahead_bytes=8 << 20)
    fill(bench)
    bench.submit("one", "b")
    await trio.sleep(60)
    assert 50 <= calls.count("reserve") <= 62 and 50 <= calls.count("write_head") <= 62
    bench.files.capacity = None
    await trio.sleep(3)
    calls.clear()
    await trio.sleep(3600)
    assert calls == []


@pytest.mark.parametrize("call", ["write_head", "reserve"])
async def test_whatever_fails_for_good_is_told_to_all_who_wait(call: str) -> None:
    """Not only a group's own sync: nothing is written after it, so nothing that waits will be."""
    bench = Bench()
    with pytest.raises(ExceptionGroup) as raised:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.writer.run)
            await wait_all_tasks_blocked()
            log = bench.logs["one"]

            def fails(*args: object) -> None:
                bench.submit("two", "b")
                raise SyncFailed("one: a call failed: Input/output error")

            setattr(log, call, fails)
            log.room = ROOM._replace(ahead_bytes=8 << 20)
            bench.submit("one", "a")
    assert raised.group_contains(WriteFailed, match="one: a call failed: Input/output error")
    assert [(name, receipt is None) for name, receipt in bench.told] == [("a", False), ("b", True)] and bench.writer.failed


FAULTS: list[tuple[OSError | Literal["short"], bool]] = [
    ("short", False),
    ("short", True),
    *((OSError(code, "no"), always) for code in (errno.ENOSPC, errno.EIO, errno.EROFS) for always in (False, True)),
]


async def test_every_call_of_a_group_over_two_logs_fails_in_turn(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Writer and logs from the first claim of room to the heads at the end: who was told a receipt finds it after a power cut."""
    said: Counter[str] = Counter()
    for error, always in FAULTS:
        nth = 0
        while True:
            nth += 1
            bench = Bench()
            only = ("write",) if error == "short" else CALLS
            failing = NthFails(bench.files, nth, error, only, always=always)
            for log in bench.logs.values():
                log._files = failing
            failed = await a_day(bench)
            said[failed or "survived"] += 1
            assert bench.writer.failed == bool(failed) and (error != "short" or not failed)
            if failed:
                assert len(bench.told) == len(bench.accepted), "all that was taken is answered"
            else:
                assert [receipt for _, receipt in bench.told if receipt is None] == []
            holds(bench, Random(said.total()))
            if failing.count < nth:
                break
    with capsys.disabled():
        print(f"\n  a writer's day: {said.total():,} failures, " + ", ".join(f"{count:,} {word}" for word, count in said.items()))


async def a_day(bench: Bench) -> str:
    """A group over two logs, one behind it, and a stop. What has no room is not taken, as dispatch does it."""

    async def ask() -> None:
        for round in range(3):
            for name in ("one", "two"):
                if bench.writer.full(name) is None and not bench.writer.failed and bench.writer.queue(name).fits(1_000):
                    bench.accepted.append(f"{name}{round}")
                    bench.submit(name, f"{name}{round}", needs={"two": 1} if (name, round) == ("one", 1) else None)
            await wait_all_tasks_blocked()
        bench.writer.stop()

    failed = ""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(bench.writer.run)
    except* WriteFailed:
        failed = "final"
    return failed


def holds(bench: Bench, random: Random) -> None:
    for left in (bench.files.kill(), bench.files.crash(random)):
        for name in bench.logs:
            log = new_log(left, name)
            hashes = {record.seq: record.event_hash for record in records_between(log, 0, log.next_seq)}
            for _, receipt in bench.told:
                if receipt is not None and receipt.log == name:
                    assert hashes.get(receipt.seq) == receipt.event_hash, "acknowledged, and gone"
