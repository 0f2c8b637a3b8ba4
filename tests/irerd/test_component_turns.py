"""Whose script may begin: long ones hold up nobody else, and many of one component no other. And what is kept of theirs."""

import math
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import trio
import trio.testing

from core.settings import Component, Settings
from irerd.effects.components import FILES, Components
from irerd.effects.turns import Turns
from state.fs import RealFiles

ROOM = 1 << 40


class Crowd:
    """Runs that last as long as a test says, and when each began."""

    def __init__(self, turns: Turns, nursery: trio.Nursery) -> None:
        self.turns, self.nursery = turns, nursery
        self.began: list[str] = []
        self.running = 0
        self.most = 0

    async def come(self, name: str, lasts_s: float, memory: int = 1, room: int = ROOM) -> trio.CancelScope:
        scope = trio.CancelScope()
        self.nursery.start_soon(self._run, name, lasts_s, memory, room, scope)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _run(self, name: str, lasts_s: float, memory: int, room: int, scope: trio.CancelScope) -> None:
        with scope:
            async with self.turns.turn(name, memory, room):
                self.began.append(f"{name}@{trio.current_time() - self.start:g}")
                self.running += 1
                self.most = max(self.most, self.running)
                try:
                    await trio.sleep(lasts_s)
                finally:
                    self.running -= 1

    async def __aenter__(self) -> "Crowd":
        self.start = trio.current_time()
        return self


async def told(act: Any, most: int = 4) -> Crowd:
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        crowd = Crowd(Turns(2, most, 10.0), nursery)
        await crowd.__aenter__()
        await act(crowd)
    crowd.began.sort(key=lambda each: (float(each.partition("@")[2]), each))  # who begins at one moment is told in any order
    assert not crowd.turns._running and not crowd.turns._waiting
    return crowd


async def test_two_that_sleep_for_ever_hold_up_another_component_for_ten_seconds_and_no_longer(autojump_clock):
    async def act(crowd: Crowd) -> None:
        sleepers = [await crowd.come(name, math.inf) for name in ("a", "b")]
        await crowd.come("c", 3)
        await crowd.come("c", 3)
        await crowd.come("d", 1)
        await trio.sleep(60)
        for scope in sleepers:
            scope.cancel()

    assert (await told(act)).began == ["a@0", "b@0", "c@10", "d@10", "c@13"]


async def test_another_run_of_a_component_that_sleeps_waits_for_a_place(autojump_clock):
    async def act(crowd: Crowd) -> None:
        await crowd.come("a", 100)
        await crowd.come("b", 200)
        await crowd.come("a", 1)

    assert (await told(act)).began == ["a@0", "b@0", "a@100"]


async def test_many_runs_of_one_component_do_not_stand_in_front_of_another(autojump_clock):
    async def act(crowd: Crowd) -> None:
        for _ in range(6):
            await crowd.come("a", 1)
        await crowd.come("b", 1)

    assert (await told(act)).began == ["a@0", "a@0", "a@1", "b@1", "a@2", "a@2", "a@3"]


async def test_there_are_never_more_than_so_many_nor_more_than_there_is_memory_for(autojump_clock):
    async def act(crowd: Crowd) -> None:
        for name in "abcdefgh":
            await crowd.come(name, 1_000)

    crowd = await told(act)
    assert crowd.most == 4 and crowd.began[:4] == ["a@0", "b@0", "c@10", "d@10"], "two at a time, each two of them long before"

    async def greedy(crowd: Crowd) -> None:
        for name in "abcd":
            await crowd.come(name, 100, memory=4, room=12)

    assert (await told(greedy)).began == ["a@0", "b@0", "c@10", "d@100"], "the first two take what their manifests say"


async def test_who_waits_while_all_take_long_is_let_in_beside_those_that_took_their_places_and_take_long_too(autojump_clock):
    async def act(crowd: Crowd) -> None:
        for name, lasts_s in (("a", 100), ("b", 100), ("c", 95)):
            await crowd.come(name, lasts_s)
        await trio.sleep(30)
        waiting = [await crowd.come(name, math.inf) for name in "def"]
        await trio.sleep(200)
        for scope in waiting:
            scope.cancel()

    assert (await told(act, most=3)).began == ["a@0", "b@0", "c@10", "d@100", "e@100", "f@110"]


async def test_who_is_cancelled_while_it_waits_leaves_no_gap(autojump_clock):
    async def act(crowd: Crowd) -> None:
        await crowd.come("a", 5)
        await crowd.come("b", 5)
        waiting = await crowd.come("c", 5)
        await crowd.come("d", 5)
        waiting.cancel()

    assert (await told(act)).began == ["a@0", "b@0", "d@5"]


# --- what is kept ---------------------------------------------------------------------------------------------------------


def kept(components: Components, place: Path, job: str, *sizes: int) -> None:
    """As a run leaves it, at a time of its own."""
    before = max((entry.stat().st_ctime_ns for entry in os.scandir(place / FILES)), default=0) if (place / FILES).is_dir() else 0
    job = job_of(job)
    cage = place / "component_cages" / job
    cage.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, size in enumerate(sizes):
        (cage / f"out{number}.csv").write_bytes(bytes(size))
        while (cage / f"out{number}.csv").stat().st_ctime_ns <= before:
            os.chmod(cage / f"out{number}.csv", 0o600)
        found[f"out{number}"] = (f"out{number}.csv", "0" * 64)
    components._keep(job, found)


def job_of(name: str) -> str:
    return str(UUID(int=ord(name)))


def there(place: Path) -> set[str]:
    """Names of what is there, with the letter that stands for a run."""
    found = (entry.name.partition("_") for entry in os.scandir(place / FILES))
    return {f"{chr(UUID(job).int)}_{stored}" if stored else job for job, _, stored in found}


def made(place: Path, most: int) -> Components:
    class Host:
        files = RealFiles(place)

    settings = msgspec.structs.replace(Settings(), component=Component(files_bytes_max=most))
    return Components(Host(), place, lambda: settings)  # type: ignore[arg-type]


def test_what_was_left_longest_ago_goes_first_and_a_whole_run_at_a_time(tmp_path):
    components = made(tmp_path, 100)
    for job in ("z", "b", "c"):
        kept(components, tmp_path, job, 20, 20)
    assert there(tmp_path) == {"b_out0.csv", "b_out1.csv", "c_out0.csv", "c_out1.csv"}, "by when it ended, not by its name"
    kept(components, tmp_path, "a", 10, 10)
    assert len(there(tmp_path)) == 6, "what fits stays"
    kept(components, tmp_path, "h", 500)
    assert there(tmp_path) == {"h_out0.csv"}, "the newest stays, whatever it takes"


def test_what_a_run_left_that_goes_on_again_stays_and_a_lower_bound_applies_from_the_next_on(tmp_path):
    components = made(tmp_path, 1_000)
    for job in ("a", "b", "c"):
        kept(components, tmp_path, job, 40)
    lower = made(tmp_path, 100)
    lower._going.add(job_of("a"))
    kept(lower, tmp_path, "d", 10)
    assert there(tmp_path) == {"a_out0.csv", "c_out0.csv", "d_out0.csv"}, "a is begun anew after a crash"


def test_what_somebody_else_put_there_stays_and_counts_for_nothing(tmp_path):
    components = made(tmp_path, 50)
    kept(components, tmp_path, "a", 20)
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(500))
    (tmp_path / FILES / "notes").write_bytes(bytes(500))
    (tmp_path / FILES / f"{job_of('f')}_folder").mkdir()
    (tmp_path / FILES / f"{job_of('l')}_link").symlink_to(outside)
    kept(components, tmp_path, "b", 20)
    kept(components, tmp_path, "c", 20)
    assert there(tmp_path) == {"notes", "f_folder", "l_link", "b_out0.csv", "c_out0.csv"}
    assert outside.stat().st_size == 500


def test_a_run_has_left_its_files_though_no_room_could_be_made(tmp_path):
    components = made(tmp_path, 50)
    kept(components, tmp_path, "a", 40)
    components._host.files.unlink = gone  # type: ignore[method-assign]
    kept(components, tmp_path, "b", 40)
    assert there(tmp_path) == {"a_out0.csv", "b_out0.csv"}


def gone(path: str) -> None:
    raise FileNotFoundError(path)


def test_a_run_that_leaves_no_file_makes_no_folder(tmp_path):
    components = made(tmp_path, 1)
    assert components._keep("a", {}) == {} and not (tmp_path / FILES).exists()
