"""Pools that change their size by themselves: exactly when, to what, and never to and fro."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.agenda import Steady
from core.engine import Stamp
from core.resource import ENGINE
from core.resource import pools as resource
from core.resource.events import PoolScaled
from core.settings import Pool, Pools, Settings
from tests.core.engine_loop import EngineLoop

WIDE = Pool(floor=1, ceiling=64)


def settings_of(compute: Pool = WIDE, up: float = 0.8, down: float = 0.3, hold: float = 5.0, cooldown: float = 10.0) -> Settings:
    still = Pool(floor=4, ceiling=4)
    pools = Pools(
        compute, still, still, still, scale_up_above=up, scale_down_below=down, scale_hold_s=hold, scale_cooldown_s=cooldown
    )
    return Settings(pools=pools)


def scaled(loop: EngineLoop) -> list[tuple[float, int, int, str]]:
    """When, since the loop began, and what."""
    found: list[tuple[float, int, int, str]] = []
    for kind, payload, stamp in loop.records:
        if kind == "pool.scaled":
            event = loop.world.event(kind, payload)
            assert isinstance(event, PoolScaled)
            found.append(((stamp.mono_us - 5_000_000) / 1e6, event.from_units, event.to_units, event.reason))
    return found


def size(loop: EngineLoop) -> int:
    return int(loop.state.pools["compute"].size)


def hold(loop: EngineLoop, units: int, name: str = "t", seconds: float = 1e6) -> None:
    loop.ask("submit_task", {"task_id": name, "units": units, "duration_s": seconds})
    loop.settle()


def test_a_full_pool_grows_after_the_hold_time_and_not_before() -> None:
    loop = EngineLoop(ENGINE, settings_of())
    hold(loop, 4)
    loop.run(4.999999)
    assert scaled(loop) == []
    loop.run(0.000001)
    assert scaled(loop) == [(5.0, 4, 8, "utilisation")]


def test_an_idle_pool_shrinks_to_its_floor_with_the_cooldown_between() -> None:
    loop = EngineLoop(ENGINE, settings_of(Pool(floor=1, ceiling=64)))
    loop.run(60)
    assert scaled(loop) == [(5.0, 4, 2, "utilisation"), (15.0, 2, 1, "utilisation")]


def test_growth_stops_at_the_ceiling() -> None:
    loop = EngineLoop(ENGINE, settings_of(Pool(floor=1, ceiling=11)))
    for place in range(11):
        hold(loop, 1, f"t{place}")
    loop.run(60)
    assert scaled(loop) == [(5.0, 4, 8, "pressure"), (15.0, 8, 11, "pressure")]


@pytest.mark.parametrize("pause", [0.001, 3.0])
def test_a_load_that_drops_in_between_must_be_held_anew(pause: float) -> None:
    loop = EngineLoop(ENGINE, settings_of())
    hold(loop, 4, "first", 4.0)
    loop.run(4.0 + pause)
    hold(loop, 4, "second")
    loop.run(4.999)
    assert scaled(loop) == []
    loop.run(0.001)
    assert scaled(loop) == [(9.0 + pause, 4, 8, "utilisation")]


def test_exactly_at_the_thresholds_nothing_happens() -> None:
    for units, threshold in ((4, 0.8), (3, 0.3)):
        loop = EngineLoop(ENGINE, settings_of(Pool(floor=1, ceiling=64)))
        loop.ask("scale", {"pool": "compute", "size": 5 if threshold == 0.8 else 10})
        hold(loop, units)
        loop.run(300)
        assert len(scaled(loop)) == 1


def test_a_head_that_does_not_fit_makes_the_pool_grow_as_far_as_it_needs() -> None:
    loop = EngineLoop(ENGINE, settings_of())
    hold(loop, 1, "small")
    hold(loop, 40, "large")
    loop.run(5)
    assert scaled(loop) == [(5.0, 4, 41, "pressure")]
    assert loop.state.tasks["large"].state == "running"


def test_a_busy_pool_of_short_tasks_is_not_idle_between_two_of_them() -> None:
    """Each end leaves a moment at 75 % before the next start; what waits counts, so the hold time goes on."""
    loop = EngineLoop(ENGINE, settings_of())
    for place in range(200):
        hold(loop, 1, f"t{place}", 0.9 + place % 3 / 10)
    loop.run(5)
    assert scaled(loop) == [(5.0, 4, 8, "pressure")]


def test_nothing_shrinks_below_what_is_in_use_or_to_where_it_would_grow_again() -> None:
    loop = EngineLoop(ENGINE, settings_of(Pool(floor=1, ceiling=64)))
    loop.ask("scale", {"pool": "compute", "size": 40})
    hold(loop, 11)
    loop.run(100)
    assert scaled(loop)[1:] == [(10.0, 40, 20, "utilisation")]
    loop = EngineLoop(ENGINE, settings_of(Pool(floor=1, ceiling=64), up=0.31))
    loop.ask("scale", {"pool": "compute", "size": 40})
    hold(loop, 11)
    loop.run(100)
    assert scaled(loop)[1:] == [(10.0, 40, 36, "utilisation")]


def test_a_hand_on_the_size_starts_the_cooldown_and_may_go_below_what_is_in_use() -> None:
    loop = EngineLoop(ENGINE, settings_of())
    hold(loop, 4)
    loop.run(2)
    loop.ask("scale", {"pool": "compute", "size": 2})
    assert (loop.state.pools["compute"].used, size(loop)) == (4, 2)
    hold(loop, 1, "next", 1)
    assert loop.state.tasks["next"].state == "waiting"
    loop.run(9.999)
    assert scaled(loop)[1:] == []
    loop.run(0.001)
    assert scaled(loop)[1:] == [(12.0, 2, 5, "pressure")]
    assert loop.state.tasks["next"].state == "running"
    assert loop.ask("scale", {"pool": "compute", "size": 5}) == []


def test_a_new_configuration_moves_the_size_between_its_bounds_at_once() -> None:
    loop = EngineLoop(ENGINE, settings_of())
    hold(loop, 4)
    loop.settings = settings_of(Pool(floor=1, ceiling=3))
    loop.settle()
    assert scaled(loop) == [(0.0, 4, 3, "configuration")]
    loop.settings = settings_of(Pool(floor=7, ceiling=9))
    loop.restart()
    assert scaled(loop)[1:] == [(0.0, 3, 7, "configuration")], "at a start too, before anything else happens"
    assert loop.wanted()[0][0].id != "scale:compute" or loop.wanted()[0][0].due_us > loop.mono_us


def test_tasks_that_ended_while_the_daemon_was_down_do_not_make_a_pool_grow() -> None:
    loop = EngineLoop(ENGINE, settings_of(Pool(floor=4, ceiling=64)))
    hold(loop, 4, seconds=2)
    loop.restart(down_s=3_600)
    assert loop.ask("autoscale", {"pool": "compute"}) == []
    loop.run(60)
    assert scaled(loop) == []


def test_asked_too_early_nothing_changes() -> None:
    loop = EngineLoop(ENGINE, settings_of())
    hold(loop, 4)
    loop.run(4.9)
    assert loop.ask("autoscale", {"pool": "compute"}) == []


def test_a_pool_does_not_shrink_under_a_task_that_is_about_to_start() -> None:
    loop = EngineLoop(ENGINE, settings_of())
    loop.mono_us += 60_000_000
    loop.ask("submit_task", {"units": 1, "duration_s": 1})
    assert loop.ask("autoscale", {"pool": "compute"}) == []


@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.integers(1, 20), st.floats(0.5, 40)), max_size=25),
    st.floats(0.3, 1),
    st.floats(0, 0.6),
    st.integers(1, 6),
    st.integers(6, 40),
)
def test_sizes_stay_within_bounds_and_changes_apart(
    tasks: list[tuple[float, int, float]], up: float, down: float, floor: int, ceiling: int
) -> None:
    loop = EngineLoop(ENGINE, settings_of(Pool(floor=floor, ceiling=ceiling), up, down))
    for place, (pause, units, seconds) in enumerate(tasks):
        loop.run(pause)
        hold(loop, min(units, ceiling), f"t{place}", seconds)
        assert floor <= size(loop) <= ceiling
    loop.run(1_100)
    changes = [change for change in scaled(loop) if change[3] != "configuration"]
    assert all(later[0] - earlier[0] > 10 - 1e-6 for earlier, later in pairwise(changes))
    assert all(change[1] != change[2] for change in changes)
    assert all(task.state == "done" for task in loop.state.tasks.values()), "whatever fits the ceiling runs in the end"


@given(st.integers(1, 64), st.integers(0, 64), st.floats(0, 1), st.floats(0, 1))
def test_a_steady_load_never_makes_a_pool_swing(start: int, units: int, up: float, down: float) -> None:
    """Whatever the thresholds, also if someone configures them the wrong way round."""
    loop = EngineLoop(ENGINE, settings_of(Pool(floor=1, ceiling=64), up, down))
    if start != 4:
        loop.ask("scale", {"pool": "compute", "size": start})
    if units:
        hold(loop, units)
    loop.run(200)
    sizes = [change[2] for change in scaled(loop) if change[3] in ("utilisation", "pressure")]
    rises = [later > earlier for earlier, later in zip([start, *sizes], sizes, strict=False)]
    assert rises == sorted(rises, reverse=True) or rises == sorted(rises), "up and then down, or down and then up, and then still"
    assert len(sizes) <= 8


@given(st.lists(st.tuples(st.none() | st.integers(0, 5), st.integers(1, 4)), max_size=12))
def test_every_change_of_size_counts_as_a_new_share(moves: list[tuple[int | None, int]]) -> None:
    """As if the share were noted each time: of no load it is the same for any size, and steady since it was first."""
    pools, busy, idle = resource.Pools(), Steady(), Steady()
    pool = pools.pools["compute"]

    def note(now: int) -> None:
        load = min(pool.used, pool.size + 1)
        busy.note(load / pool.size, now)
        idle.note(-load / pool.size, now)

    for place, (used, size) in enumerate(moves):
        if used is not None:
            pool.used = used
            pool.note(10 * place)
            note(10 * place)
        event = PoolScaled("compute", pool.size, size, "request")
        resource.apply_scaled(pools, event, Stamp("engine_state", place, 10 * place + 5, 10 * place + 5, "0123abcd", "irer"))
        note(10 * place + 5)
        assert (pool.busy, pool.idle, pool.scaled_at) == (busy, idle, 10 * place + 5)
