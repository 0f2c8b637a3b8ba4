"""The writer's promises, with every sync held in the test's hand: nothing leaves early, groups never overlap, failure is final."""

import errno
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from irerd.writer import HEAD_IDLE_S, Receipt, WriteFailed, Writer
from state.log import Log
from state.recover import recover
from state.seal import RECORDS_MAX, Pending, measure
from tests.sim.disk import SimFiles


class Held:
    """A host whose blocking calls wait until the test lets them go, one at a time, in the order they were asked for."""

    def __init__(self, files: SimFiles) -> None:
        self.files = files
        self.holding = False
        self.asked: list[tuple[str, trio.Event]] = []
        self.fail: OSError | None = None

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


async def test_what_comes_during_a_sync_makes_the_next_group_together(bench: Bench) -> None:
    bench.submit("one", "a")
    await wait_all_tasks_blocked()
    for name in "bcd":
        bench.submit("one", name)
    await bench.host.let_go()
    assert bench.names() == ["a"]
    await bench.host.let_go()
    assert bench.names() == ["a", "b", "c", "d"] and bench.groups == [{"one"}, {"one"}]


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
    await trio.sleep(HEAD_IDLE_S * 1.5)
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


async def test_a_full_disk_is_noticed_before_anything_is_decided_and_so_is_its_end(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    bench.files.capacity = sum(len(data) for data in bench.files.tree().values()) + 4096
    nursery.start_soon(bench.writer.run)
    await wait_all_tasks_blocked()
    assert bench.writer.full("one")
    bench.files.capacity = None
    await trio.sleep(3)
    assert not bench.writer.full("one")
