"""Calls away from the loop: each in a thread of its own, never given up, and however many they are, all are made."""

import threading
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from irerd.host import AWAY_MAX, RealHost


async def test_a_call_away_from_the_loop_gives_back_what_it_returns_or_raises(tmp_path: Path) -> None:
    host = RealHost(tmp_path, {})
    assert await host.offload(lambda a, b: (a + b, threading.get_ident() != threading.main_thread().ident), 1, 2) == (3, True)
    with pytest.raises(OSError, match="the disk"):
        await host.offload(_fails, OSError("the disk"))
    assert host._away == 0


def _fails(error: Exception) -> None:
    raise error


async def test_one_that_is_cancelled_meanwhile_is_waited_for(tmp_path: Path, nursery: trio.Nursery) -> None:
    host, begun, go_on = RealHost(tmp_path, {}), trio.Event(), threading.Event()
    token, did = trio.lowlevel.current_trio_token(), list[str]()

    def call() -> None:
        token.run_sync_soon(begun.set)
        go_on.wait()
        did.append("ended")

    async def ask(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await host.offload(call)
            did.append("came back")

    scope = await nursery.start(ask)
    await begun.wait()
    scope.cancel()
    await wait_all_tasks_blocked()
    assert did == []
    go_on.set()
    while len(did) < 2:
        await trio.lowlevel.checkpoint()
    assert did == ["ended", "came back"]


async def test_one_asked_for_by_who_is_cancelled_already_is_made_all_the_same(tmp_path: Path) -> None:
    made: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await RealHost(tmp_path, {}).offload(made.append, 1)
    assert made == [1]


async def test_there_is_a_limit_to_threads_and_none_to_calls(tmp_path: Path) -> None:
    host, lock, go_on, running, most = RealHost(tmp_path, {}), threading.Lock(), threading.Event(), [0], [0]
    asked = 4 * AWAY_MAX
    limit = AWAY_MAX + int(trio.to_thread.current_default_thread_limiter().total_tokens)
    assert asked > limit
    full, token = trio.Event(), trio.lowlevel.current_trio_token()

    def call() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            if running[0] == limit:
                token.run_sync_soon(full.set)
        go_on.wait()
        with lock:
            running[0] -= 1

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(asked):
                nursery.start_soon(host.offload, call)
            try:
                await full.wait()
            finally:
                go_on.set()
    assert most[0] == limit and host._away == 0
