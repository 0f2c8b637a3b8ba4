"""Rules of the sign of life: the real writer, effects, refusals and loop watch, each hung on purpose, with a virtual clock.

What cannot run while the loop is held is shown on a real daemon, which is stopped in the middle.
"""

import os
import select
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from irerd import pulse as module
from irerd.effects import Effects
from irerd.loop import Lag
from irerd.notify import Notifier, watch_over
from irerd.pulse import UPKEEP_S_MAX, Pulse
from irerd.refusals import Refusals
from irerd.writer import Writer
from state.seal import measure
from tests.e2e.harness import Irerd
from tests.irerd.test_writer import new_log, pending
from tests.sim.disk import SimFiles

INTERVAL_S = 10.0


class Machine:
    """A host whose disk hangs when the test says so."""

    def __init__(self) -> None:
        self.works = trio.Event()
        self.works.set()

    def mono_us(self) -> int:
        return int(trio.current_time() * 1e6)

    def hang(self) -> None:
        self.works = trio.Event()

    async def offload(self, function: Callable[..., Any], *args: object) -> Any:
        await self.works.wait()
        return function(*args)

    async def commit(self, log: Any, data: bytes, *, alone: bool) -> None:
        await self.offload(log.commit, data)


class Ward:
    """A daemon as far as its pulse goes, its parts the real ones."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.state = "ready"
        self.lag = Lag(lambda: False)
        self.writer = Writer(self.machine, {"one": new_log(SimFiles(), "one")}, lambda logs: None)  # type: ignore[arg-type]
        world = SimpleNamespace(engines={})
        self.dispatch = SimpleNamespace(writer=self.writer, world=world, next_seq={}, read_only={}, give=lambda command, told: None)
        self.effects = Effects(self.machine, self.dispatch, None)  # type: ignore[arg-type]
        self.refusals = Refusals(self.dispatch)  # type: ignore[arg-type]
        self.pulse = Pulse(self)  # type: ignore[arg-type]

    def submit(self) -> None:
        records = [pending()]
        self.writer.submit("one", records, sum(map(measure, records)), {}, lambda receipt: None)


class Ear(Notifier):
    """Hears signs of life with their times."""

    def __init__(self) -> None:
        super().__init__(None)
        self.heard: list[float] = []

    def watchdog(self) -> bool:
        self.heard.append(trio.current_time())
        return True


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(module, "journal", lambda: SimpleNamespace(error=lambda text, why: lines.append(why)))
    return lines


@pytest.fixture
async def ward(nursery: trio.Nursery, autojump_clock: MockClock) -> AsyncIterator[Ward]:
    ward = Ward()
    ward.scopes = {name: trio.CancelScope() for name in ("effects", "refusals", "lag", "writer")}  # type: ignore[attr-defined]

    async def run(name: str, part: Any) -> None:
        with ward.scopes[name]:  # type: ignore[attr-defined]
            await part.run()

    for name in ("writer", "effects", "refusals", "lag"):
        nursery.start_soon(run, name, getattr(ward, name))
    await wait_all_tasks_blocked()
    yield ward
    ward.machine.works.set()


async def beats(ward: Ward, seconds: float, nursery: trio.Nursery) -> list[float]:
    """When signs of life were given within these seconds."""
    ear, began = Ear(), trio.current_time()
    with trio.move_on_after(seconds):
        await watch_over(ear, INTERVAL_S, ward.pulse.beats)
    return [round(at - began, 1) for at in ear.heard]


async def test_an_idle_daemon_gives_one_each_interval(
    autojump_clock: MockClock, ward: Ward, nursery: trio.Nursery, said: list[str]
) -> None:
    assert await beats(ward, 35, nursery) == [0.0, 10.0, 20.0, 30.0]
    assert ward.writer.turns >= 3 and said == []


async def test_a_writer_that_hangs_gives_none_though_nobody_asks_for_anything(
    autojump_clock: MockClock, ward: Ward, nursery: trio.Nursery, said: list[str]
) -> None:
    assert await beats(ward, 15, nursery) == [0.0, 10.0]
    ward.machine.hang()
    assert await beats(ward, 60, nursery) == [0.0], "only for the turn that was asked for before"
    assert said == ["the log writer did not move"], "told once"
    ward.machine.works.set()
    await wait_all_tasks_blocked()
    assert await beats(ward, 5, nursery) == [0.0], "and again as soon as it goes on"
    assert said == ["the log writer did not move"]


async def test_a_writer_that_hangs_in_a_group_gives_none(
    autojump_clock: MockClock, ward: Ward, nursery: trio.Nursery, said: list[str]
) -> None:
    assert ward.pulse.beats()
    await wait_all_tasks_blocked()
    ward.machine.hang()
    ward.submit()
    assert ward.pulse.beats()
    await trio.sleep(INTERVAL_S)
    assert not ward.pulse.beats()


async def test_a_writer_that_is_busy_needs_no_other_sign(autojump_clock: MockClock, ward: Ward) -> None:
    before = ward.writer.turns
    ward.submit()
    await trio.sleep(1)
    assert ward.writer.turns == before + 1


async def test_upkeep_may_take_longer_than_a_group_but_not_for_ever(autojump_clock: MockClock, ward: Ward, said: list[str]) -> None:
    assert ward.pulse.beats()
    await wait_all_tasks_blocked()
    ward.machine.hang()
    ward.writer.pause("one", lambda log: None, lambda: None)
    await wait_all_tasks_blocked()
    for _ in range(3):
        await trio.sleep(60)
        assert ward.pulse.beats()
    await trio.sleep(UPKEEP_S_MAX)
    assert ward.pulse.beats(), "noted from here on"
    await trio.sleep(INTERVAL_S)
    assert not ward.pulse.beats() and said == ["the log writer did not move"]


async def test_a_turn_asked_for_during_upkeep_is_given_after_it(autojump_clock: MockClock, ward: Ward) -> None:
    before = ward.writer.turns
    ward.machine.hang()
    ward.writer.pause("one", lambda log: None, lambda: None)
    await wait_all_tasks_blocked()
    ward.writer.ask_turn()
    ward.machine.works.set()
    await trio.sleep(0.05)
    assert ward.writer.turns == before + 1


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("effects", "the effects did not move"),
        ("lag", "the loop's own watch did not move"),
        ("writer", "the log writer did not move"),
    ],
)
async def test_a_task_that_is_gone_is_missed(
    autojump_clock: MockClock, ward: Ward, nursery: trio.Nursery, said: list[str], part: str, why: str
) -> None:
    assert await beats(ward, 15, nursery) == [0.0, 10.0]
    ward.scopes[part].cancel()  # type: ignore[attr-defined]
    await wait_all_tasks_blocked()
    assert await beats(ward, 30, nursery) == [0.0], "only for the turn that was given before"
    assert said == [why]


async def test_refusals_that_nobody_closes_are_missed_and_none_are_asked_of_who_has_nothing_to_do(
    autojump_clock: MockClock, ward: Ward, said: list[str]
) -> None:
    ward.scopes["refusals"].cancel()  # type: ignore[attr-defined]
    for _ in range(3):
        assert ward.pulse.beats()
        await trio.sleep(INTERVAL_S)
    ward.refusals.count("uid:7", "resource.scale")
    assert ward.pulse.beats()
    await trio.sleep(INTERVAL_S)
    assert not ward.pulse.beats() and said == ["the refusals did not move"]


async def test_a_loop_that_was_late_gives_none(
    autojump_clock: MockClock, ward: Ward, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ward.lag, "worst_ms", lambda: 1000.0)
    assert not ward.pulse.beats() and said == ["the event loop is late"]


@pytest.mark.parametrize("state", ["recovering", "draining"])
async def test_while_it_starts_or_stops_only_the_loop_is_owed(autojump_clock: MockClock, ward: Ward, state: str) -> None:
    assert ward.pulse.beats()
    ward.state = state
    for part in ("writer", "effects", "refusals"):
        ward.scopes[part].cancel()  # type: ignore[attr-defined]
    for _ in range(3):
        await trio.sleep(INTERVAL_S)
        assert ward.pulse.beats()


# A real daemon

LIMIT_US = 900_000
"""Signs of life come each third of it."""


def signs(notify: socket.socket, seconds: float) -> int:
    """How many were sent within that time; it ends early with the third."""
    count = 0
    while count < 3 and select.select([notify], [], [], seconds)[0]:
        count += notify.recv(65_536) == b"WATCHDOG=1"
    return count


@pytest.mark.slow
def test_a_real_daemon_gives_signs_of_life_and_one_whose_loop_is_held_gives_none(tmp_path: Path) -> None:
    irerd = Irerd(tmp_path)
    try:
        irerd.start(WATCHDOG_USEC=str(LIMIT_US))
        assert irerd.process is not None
        assert signs(irerd.notify, 10) == 3
        os.kill(irerd.process.pid, signal.SIGSTOP)
        irerd.drain_datagrams()
        assert signs(irerd.notify, LIMIT_US / 1e6) == 0
        os.kill(irerd.process.pid, signal.SIGCONT)
        assert signs(irerd.notify, 20) == 3
    finally:
        irerd.close()
