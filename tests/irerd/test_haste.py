"""Which short calls the loop makes itself: those of a quick disk, and of a slow one so few that they cost it next to nothing."""

import os
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from irerd.haste import REST_TIMES, SHORT_US, SHORT_WRITE_US, SPARE_US, Haste
from irerd.host import RealHost


@pytest.mark.parametrize("call_us", [SHORT_US + 1, 10_000, 2_000_000])
def test_a_slow_disk_has_at_most_a_hundredth_of_the_loops_time(call_us: int) -> None:
    """Somebody asks at once whenever a call has ended, wherever it was made."""
    began_us = now_us = 10_000_000
    haste, waited_us = Haste(), 0
    while now_us < began_us + 1_000 * call_us:
        here, now_us = haste.worth(now_us), now_us + call_us
        if here:
            waited_us += call_us
            haste.took(call_us, now_us)
    assert 0 < waited_us <= SPARE_US + call_us + (now_us - began_us) / REST_TIMES


def test_a_quick_disk_is_always_waited_for_and_one_long_call_is_made_up_for() -> None:
    haste, now_us = Haste(), 10_000_000
    for _ in range(100):
        assert haste.worth(now_us)
        now_us += SHORT_US
        haste.took(SHORT_US, now_us)
    haste.took(SPARE_US + 3_000, now_us)
    assert not haste.worth(now_us + REST_TIMES * 3_000 - 1) and haste.worth(now_us + REST_TIMES * 3_000)


def test_a_disk_that_is_late_once_in_a_while_is_waited_for_all_the_same() -> None:
    """Nothing is saved up beyond what is spared: a disk that turns slow is met as soon after a year as after a second."""
    haste, now_us = Haste(), 10_000_000
    for _ in range(50):
        now_us += REST_TIMES * SPARE_US
        assert haste.worth(now_us)
        haste.took(SPARE_US, now_us)
    now_us += 1_000_000_000_000
    haste.took(SPARE_US // 2, now_us)
    assert haste.worth(now_us)
    haste.took(SPARE_US // 2 + 1, now_us)
    assert not haste.worth(now_us + REST_TIMES - 1) and haste.worth(now_us + REST_TIMES)


class Log:
    """Its calls take as long as they are told, and say where they were made."""

    def __init__(self, host: RealHost, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_us = 0
        self.takes_us = 0
        self.fails = False
        self.bell: int | None = None
        self.loop = threading.get_ident()
        self.made: list[tuple[str, bool]] = []
        monkeypatch.setattr(host, "mono_us", lambda: self.now_us)

    def _call(self, name: str) -> None:
        self.now_us += self.takes_us
        self.made.append((name, threading.get_ident() == self.loop))
        if self.fails:
            raise OSError("the disk")

    def begin(self, data: bytes) -> int | None:
        self._call("begin")
        return self.bell

    def sync(self) -> None:
        self._call("sync")

    def commit(self, data: bytes) -> None:
        self._call("commit")


@pytest.fixture
def host(tmp_path: Path) -> RealHost:
    return RealHost(tmp_path, {})


async def committed(host: RealHost, log: Log, takes_us: int, *, alone: bool = False) -> list[tuple[str, bool]]:
    """What was made of it, each with whether the loop made it."""
    log.takes_us, log.made = takes_us, []
    await host.commit(log, b"", alone=alone)
    return log.made


async def test_the_loop_waits_for_what_is_alone_until_one_takes_long_also_where_it_fails(
    host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(host, monkeypatch)
    assert await committed(host, log, SHORT_US, alone=True) == [("commit", True)]
    log.fails = True
    with pytest.raises(OSError, match="the disk"):
        await committed(host, log, 3_000, alone=True)
    log.fails = False
    assert ("commit", True) not in await committed(host, log, SHORT_US, alone=True)
    log.now_us += REST_TIMES * 3_000
    assert await committed(host, log, SHORT_US, alone=True) == [("commit", True)]


async def test_what_has_company_is_written_by_the_loop_and_synced_when_the_kernel_rings(
    host: RealHost, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """And not one step earlier; a cancelled writer waits for it too."""
    log = Log(host, monkeypatch)
    log.bell = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        with trio.CancelScope() as given_up:
            nursery.start_soon(committed, host, log, SHORT_US)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            given_up.shield = True
            await trio.testing.wait_all_tasks_blocked()
            assert log.made == [("begin", True)]
            os.eventfd_write(log.bell, 1)
            await trio.testing.wait_all_tasks_blocked()
            assert log.made == [("begin", True), ("sync", True)]
    finally:
        os.close(log.bell)


async def test_where_the_kernel_does_not_ring_a_thread_syncs_and_where_writing_takes_long_it_writes_too(
    host: RealHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(host, monkeypatch)
    for takes_us in (SHORT_WRITE_US, SHORT_WRITE_US + 1):
        assert await committed(host, log, takes_us) == [("begin", True), ("sync", False)]
    assert await committed(host, log, SHORT_US) == [("commit", False)]
    log.now_us += REST_TIMES * (SHORT_WRITE_US + 1)
    assert await committed(host, log, SHORT_US) == [("begin", True), ("sync", False)]
