"""An engine's own time goes on whatever the wall clock does: a fake of a machine says what it must be."""

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.clock import Clock, dump_clock, load_clock
from core.engine import IRER, Context, Stamp
from core.settings import Settings

HOUR_US = 3_600_000_000
STEPS = st.one_of(
    st.tuples(st.just("pass"), st.integers(1, 5 * HOUR_US)),
    st.tuples(st.just("event"), st.just(0)),
    st.tuples(st.just("step"), st.integers(-10_000 * HOUR_US, 10_000 * HOUR_US)),
    st.tuples(st.just("boot"), st.integers(0, 5 * HOUR_US)),
)


class Machine:
    def __init__(self) -> None:
        self.boot, self.mono_us, self.wall_us = 0, 0, 1_767_225_600_000_000

    def go_on(self, us: int) -> None:
        self.mono_us += us
        self.wall_us += us

    def stamp(self) -> Stamp:
        return Stamp("engine_state", 0, self.wall_us, self.mono_us, f"{self.boot:08x}", "irer")

    def context(self) -> Context:
        nothing: Any = None
        return Context(self.wall_us, self.mono_us, f"{self.boot:08x}", IRER, Settings(), nothing, Random(0), nothing, nothing)


@given(st.lists(STEPS, max_size=30))
def test_time_goes_on_at_least_as_fast_as_the_machine_runs(steps: list[tuple[str, int]]) -> None:
    """Within a boot exactly as fast; after another one by no less than has passed since it, however far back the wall clock is."""
    clock, machine = Clock(), Machine()
    clock.at(machine.stamp())
    ran = 0
    """For how long the machine has been running since the latest event."""
    rebooted = False
    for what, amount in steps:
        before = clock.now(machine.context())
        if what == "pass":
            machine.go_on(amount)
            ran += amount
        elif what == "step":
            machine.wall_us = max(0, machine.wall_us + amount)
        elif what == "boot":
            machine.boot, machine.mono_us, ran, rebooted = machine.boot + 1, 0, 0, True
            machine.wall_us += amount
        else:
            now = clock.at(machine.stamp())
            assert now == before == clock.last, "an event happens when it was decided"
            ran, rebooted = 0, False
        now = clock.now(machine.context())
        assert now >= clock.last + ran and (rebooted or now == clock.last + ran)
        assert load_clock(dump_clock(clock)) == clock


def test_a_machine_whose_wall_clock_fell_years_back_still_does_what_is_due() -> None:
    clock, machine = Clock(), Machine()
    due = clock.at(machine.stamp()) + 30_000_000
    machine.boot, machine.mono_us, machine.wall_us = 1, 0, 0
    machine.go_on(29_999_999)
    assert clock.now(machine.context()) == due - 1
    assert clock.mono_us(due, machine.context()) == 30_000_000, "and the daemon knows when to look"
    machine.go_on(1)
    assert clock.now(machine.context()) == due
