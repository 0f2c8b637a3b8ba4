"""The loop's own watch: what it measures, whom it blames, and that it stops when it is told to."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio

from irerd import loop
from irerd.loop import GROWN, YOUNG, Lag, SlowSteps, Sweeper


class Clock:
    """A host that only knows the time, which the test moves."""

    def __init__(self) -> None:
        self.now_us = 0

    def mono_us(self) -> int:
        return self.now_us


class Said:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, text: str, **fields: Any) -> None:
        self.lines.append({"text": text, **fields})


async def test_the_task_that_held_the_loop_is_named_while_the_watch_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said, clock = Said(), Clock()
    monkeypatch.setattr(loop, "journal", lambda: said)
    steps = SlowSteps(clock)  # type: ignore[arg-type]

    async def slow() -> None:
        clock.now_us += 60_000

    async def quick() -> None:
        clock.now_us += 40_000

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            nursery.start_soon(quick)

    steps.watch(50.0)
    await both()
    assert [(line["task"].rpartition(".")[2], line["ms"]) for line in said.lines] == [("slow", 60.0)]
    steps.watch(0.0)
    await both()
    assert len(said.lines) == 1


async def test_switching_the_watch_on_blames_nobody_for_the_time_before(monkeypatch: pytest.MonkeyPatch) -> None:
    said, clock = Said(), Clock()
    monkeypatch.setattr(loop, "journal", lambda: said)
    clock.now_us = 3_600_000_000
    steps = SlowSteps(clock)  # type: ignore[arg-type]
    for _ in range(2):
        steps.watch(50.0)
        await trio.lowlevel.checkpoint()
        steps.watch(0.0)
        clock.now_us += 60_000_000
    assert said.lines == []


async def test_lag_is_the_longest_lateness_of_the_last_ten_seconds(
    mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    lag = Lag()
    nursery.start_soon(lag.run)
    await trio.testing.wait_all_tasks_blocked()
    for late_s in (0.0, 0.25, 0.0):
        mock_clock.jump(loop.SAMPLE_S + late_s)
        await trio.testing.wait_all_tasks_blocked()
    assert lag.worst_ms() == pytest.approx(250)
    for _ in range(round(loop.KEPT_S / loop.SAMPLE_S)):
        mock_clock.jump(loop.SAMPLE_S)
        await trio.testing.wait_all_tasks_blocked()
    assert lag.worst_ms() == pytest.approx(0, abs=0.01)


async def test_one_late_waking_in_a_hundred_is_the_worst_and_not_the_99th(
    mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    lag = Lag()
    assert lag.p99_ms() == 0
    nursery.start_soon(lag.run)
    await trio.testing.wait_all_tasks_blocked()
    for late_s in [0.003, 0.002, *[0.0] * 96]:
        mock_clock.jump(loop.SAMPLE_S + late_s)
        await trio.testing.wait_all_tasks_blocked()
    assert lag.p99_ms() == lag.worst_ms() == pytest.approx(3), "of fewer than a hundred it is the worst"
    for _ in range(2):
        mock_clock.jump(loop.SAMPLE_S)
        await trio.testing.wait_all_tasks_blocked()
    assert (lag.worst_ms(), lag.p99_ms()) == (pytest.approx(3), pytest.approx(2))


async def test_an_idle_loop_is_looked_at_once_a_second_and_at_once_again_when_somebody_comes(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    busy = False
    looked: list[float] = []

    def somebody() -> bool:
        looked.append(trio.current_time())
        return busy

    lag = Lag(somebody)
    began = trio.current_time()
    nursery.start_soon(lag.run)
    await trio.sleep(9.5)
    assert len(looked) == 10, "once a second while nobody is there"
    busy = True
    lag.stir()
    await trio.sleep(1.05)
    assert [round(at - began, 2) for at in looked[10:]] == [round(9.5 + step / 10, 2) for step in range(11)]
    busy = False
    await trio.sleep(3.0)
    assert len(looked) == 10 + 11 + 3


async def test_a_late_loop_is_seen_while_it_is_idle_and_forgotten_after_ten_seconds(
    mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    lag = Lag(lambda: False)
    nursery.start_soon(lag.run)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(loop.IDLE_SAMPLE_S + 0.25)
    await trio.testing.wait_all_tasks_blocked()
    assert lag.worst_ms() == pytest.approx(250)
    for _ in range(round(loop.KEPT_S)):
        mock_clock.jump(loop.IDLE_SAMPLE_S)
        await trio.testing.wait_all_tasks_blocked()
    assert lag.worst_ms() == pytest.approx(0, abs=0.01)


async def test_callers_who_come_and_go_all_the_time_do_not_keep_it_from_looking(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    lag = Lag(lambda: True)
    nursery.start_soon(lag.run)
    for _ in range(50):
        lag.stir()
        await trio.sleep(0.01)
    assert len(lag._samples) >= 4


@pytest.mark.parametrize(
    ("wait_s", "counts", "resting", "swept"),
    [
        (1.0, (YOUNG, 0, 0), True, [0]),
        (0.0, (GROWN - 1, 501, 101), True, []),
        (0.0, (GROWN, 0, 0), True, [0]),
        (0.0, (GROWN, 0, 0), False, []),
        (1.0, (YOUNG - 1, 501, 101), True, []),
        (1.0, (YOUNG, 501, 101), False, []),
        (1.0, (YOUNG, 500, 100), True, [0]),
        (1.0, (YOUNG, 501, 100), True, [1]),
        (1.0, (YOUNG, 0, 101), True, [2]),
    ],
)
async def test_new_objects_are_looked_through_where_the_loop_has_nothing_to_do_and_older_ones_in_their_turn(
    monkeypatch: pytest.MonkeyPatch, wait_s: float, counts: tuple[int, int, int], resting: bool, swept: list[int]
) -> None:
    """Not for a few, with something to run only for many, and never while what is new only waits for the disk."""
    collected: list[int] = []
    collector = SimpleNamespace(get_count=lambda: counts, get_threshold=lambda: (10_000, 500, 100), collect=collected.append)
    monkeypatch.setattr(loop, "gc", collector)
    Sweeper(lambda: resting).before_io_wait(wait_s)
    assert collected == swept
