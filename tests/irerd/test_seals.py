"""When checkpoints are made: ten seconds after something is durable, at a stop, when asked; never beside a group or for nothing."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from core.notes import read_note, signed_by
from irerd.seals import Seals
from irerd.writer import SEAL_US, Receipt, WriteFailed
from state.checkpoint import checkpoint_of, checkpoint_path
from state.seal import measure
from tests.irerd.test_writer import Bench, pending
from tests.sim.disk import NthFails

SEAL_S = SEAL_US / 1e6
SECRET = bytes(range(32))


def sealing() -> tuple[Bench, Seals]:
    bench, seals = Bench(), Seals()
    seals.take_key(SECRET)
    bench.writer.sealer = seals
    return bench, seals


def sizes(bench: Bench) -> dict[str, int]:
    """What the checkpoints on disk vouch for."""
    notes = {name: checkpoint_of(bench.files, name) for name in bench.logs}
    assert not any(isinstance(note, str) for note in notes.values())
    return {name: note.checkpoint.size for name, note in notes.items() if note is not None and not isinstance(note, str)}


async def test_ten_seconds_after_something_is_durable_it_is_signed(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    bench, seals = sealing()
    nursery.start_soon(bench.writer.run)
    await trio.sleep(60)
    assert sizes(bench) == {}, "a log with nothing but its beginning is not worth one"
    bench.submit("one", "a")
    await trio.sleep(SEAL_S - 0.5)
    bench.submit("one", "b")
    assert sizes(bench) == {}
    await trio.sleep(1)
    assert sizes(bench) == {"one": 3}, "what is durable by then, and only of the log that has something new"
    note = seals.note("one")
    assert note is not None and signed_by(note, seals.key(note.checkpoint.origin))
    assert bench.files.durable(checkpoint_path("one")).decode() == note.text
    bench.submit("two", "c")
    await trio.sleep(SEAL_S + 0.5)
    assert sizes(bench) == {"one": 3, "two": 2} and seals.notes().keys() == {"one", "two"}


async def test_where_nothing_is_new_nothing_is_done(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    bench, _ = sealing()
    nursery.start_soon(bench.writer.run)
    bench.submit("one", "a")
    await trio.sleep(SEAL_S + 1)
    before = bench.files.stat_path(checkpoint_path("one"))
    assert bench.writer._patience_s() == float("inf"), "no timer is left"
    await trio.sleep(3600)
    assert bench.files.stat_path(checkpoint_path("one")) == before


async def test_a_writer_that_is_never_idle_signs_too(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    bench, seals = sealing()
    at_once = bench.host.offload

    async def slowly(function: Callable[..., Any], *args: object) -> Any:
        await trio.sleep(0.01)
        return await at_once(function, *args)

    def again(receipt: Receipt | None) -> None:
        bench.writer.submit("one", [pending()], measure(pending()), {}, again)

    bench.host.offload = slowly  # type: ignore[method-assign]
    nursery.start_soon(bench.writer.run)
    again(None)
    again(None)
    await trio.sleep(SEAL_S - 1)
    assert not seals.notes()
    await trio.sleep(2)
    assert 500 < sizes(bench)["one"] <= bench.logs["one"].durable.seq
    nursery.cancel_scope.cancel()


async def test_a_stop_signs_all_that_is_new(autojump_clock: MockClock) -> None:
    bench, _ = sealing()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.writer.run)
        bench.submit("one", "a")
        bench.writer.stop()
    assert sizes(bench) == {"one": 2}


async def test_whoever_asks_gets_one_of_what_is_durable_and_never_of_what_is_not(nursery: trio.Nursery) -> None:
    bench, seals = sealing()
    nursery.start_soon(bench.writer.run)
    await wait_all_tasks_blocked()
    bench.host.holding = True
    bench.submit("one", "a")
    await wait_all_tasks_blocked()
    nursery.start_soon(bench.writer.wait_sealed, "one")
    await wait_all_tasks_blocked()
    assert [name for name, _ in bench.host.asked] == ["one.commit"], "not beside a group"
    bench.host.asked[0][1].set()
    bench.host.holding = False
    await bench.writer.wait_sealed("one")
    assert seals.size("one") == sizes(bench)["one"] == 2 == bench.logs["one"].durable.seq
    await bench.writer.wait_sealed("two")
    assert sizes(bench)["two"] == 1, "asked for, a log gets one however short it is"


async def test_no_room_for_one_leaves_the_older_and_is_tried_again(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    bench, seals = sealing()
    nursery.start_soon(bench.writer.run)
    bench.submit("one", "a")
    await trio.sleep(1)
    await bench.writer.wait_sealed("one")
    bench.submit("one", "b")
    log = bench.logs["one"]
    await trio.sleep(1)
    log._files = NthFails(bench.files, 1, OSError(errno.ENOSPC, "no"), ["rename"])
    await trio.sleep(SEAL_S)
    assert sizes(bench) == {"one": 2}
    await trio.sleep(SEAL_S)
    assert sizes(bench) == {"one": 3} == {"one": seals.size("one")}


async def test_a_sync_of_one_that_fails_ends_the_daemon(autojump_clock: MockClock) -> None:
    bench, _ = sealing()
    with pytest.RaisesGroup(WriteFailed):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.writer.run)
            bench.submit("one", "a")
            await trio.sleep(1)
            bench.logs["one"]._files = NthFails(bench.files, 1, OSError(errno.EIO, "no"), ["fsync"])
            await trio.sleep(2 * SEAL_S)
    assert bench.writer.failed


async def test_a_start_goes_on_from_the_checkpoint_it_found() -> None:
    bench, seals = sealing()
    note = read_note("irer.invalid/0/one\n1\n" + "A" * 43 + "=\n\n\N{EM DASH} x AAAAAAAA\n")
    seals.begin("one", note)
    seals.begin("two", None)
    assert seals.size("one") == 1 and seals.note("one") == note and seals.note("two") is None
    assert not seals.behind(bench.logs["one"]) and seals.seal(bench.logs["one"]) and seals.note("one") == note
