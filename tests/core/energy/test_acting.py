"""Rules of a choice on record: bounds are never bought, what cannot be judged is out, and nothing is minted for a promise."""

import time
from typing import Any

import pytest

from core.engine import Refused
from tests.core.energy.eil_loop import EilLoop, settings

NOW = {"active_servers": 12, "avg_utilization": 0.68}
UP = [{"type": "scale_up", "target_servers": 12}]
KNOWN = {**NOW, "idle_w": 100.0, "max_w": 250.0}


def act(loop: EilLoop, state: dict[str, Any] | None = None, **more: Any) -> Any:
    return loop.get("act", {"goal": "minimize_energy", "current_state": state or NOW, **more})


def test_the_example_of_the_source_is_answered_in_its_shape() -> None:
    answer = act(EilLoop(), constraints={"max_latency_ms": 100, "min_throughput": 1000})
    assert (answer.action.type, answer.action.target_servers, answer.feasible) == ("scale_down", 10, True)
    assert answer.action.expected_energy_savings > 0 and answer.action.expected_energy_savings_provenance == "surrogate"
    assert (answer.proof.energy_conservation, answer.proof.entropy_valid, answer.proof.feasibility_check) == (None, None, None)
    assert answer.pft_reward == 0, "a surrogate promises nothing"


def test_what_is_measured_can_be_found_impossible() -> None:
    loop = EilLoop()
    expected = 12 * 100 + 0.68 * 12 * 150
    assert act(loop, {**KNOWN, "power_w": expected}).proof.feasibility_check is True
    assert act(loop, {**KNOWN, "power_w": expected / 1000}).proof.feasibility_check is False
    assert act(loop, KNOWN).proof.feasibility_check is None


def test_where_nothing_is_allowed_nothing_is_done_and_it_is_said() -> None:
    answer = act(EilLoop(), {**NOW, "avg_utilization": 1.0}, constraints={"max_latency_ms": 1, "max_replicas": 12})
    assert (answer.action.type, answer.feasible) == ("hold", False)
    assert {bound.outcome for bound in answer.bounds} >= {"broken"}


def test_hold_is_always_among_the_candidates_and_bounds_stand_outside_the_weights() -> None:
    answer = act(EilLoop(), KNOWN, constraints={"min_replicas": 12}, candidates=[{"type": "scale_down", "target_servers": 2}])
    assert answer.action.type == "hold"
    [other] = answer.alternatives
    assert (other.type, other.allowed) == ("scale_down", False) and other.energy_j < 0


@pytest.mark.parametrize(
    "candidate",
    [
        {"type": "scale_up"},
        {"type": "scale_up", "target_servers": 12},
        {"type": "scale_down", "target_servers": 13},
        {"type": "cap_power"},
        {"type": "defer"},
    ],
)
def test_a_candidate_that_lacks_what_makes_it_one_is_refused(candidate: dict[str, Any]) -> None:
    loop = EilLoop()
    with pytest.raises(Refused) as refused:
        act(loop, candidates=[candidate])
    assert refused.value.code == "invalid-argument" and refused.value.fields[0][0] == "/candidates/0" and not loop.records


def test_idle_power_above_full_power_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        act(EilLoop(), {**NOW, "idle_w": 300.0, "max_w": 250.0})
    assert refused.value.fields == (("/current_state/idle_w", "at most max_w"),)


def test_an_action_that_is_taken_back_makes_such_actions_dearer() -> None:
    loop = EilLoop()
    first = act(loop, KNOWN)
    assert first.action.type == "scale_down"
    loop.run(10)
    back = act(loop, {**KNOWN, "active_servers": 8}, constraints={"min_replicas": 12}, candidates=UP)
    assert back.action.type == "scale_up"
    habit = loop.state.actions.habits["scale_down"]
    assert (habit.undone, habit.of) == (1, 1)
    again = act(loop, KNOWN)
    first_cost, second_cost = (
        next(row.irreversibility_j for row in answer.alternatives if row.target_servers == 11) for answer in (first, again)
    )
    assert second_cost > first_cost
    assert loop.replayed() == loop.state


def test_what_comes_long_after_takes_nothing_back() -> None:
    loop = EilLoop(settings(horizon_s=90.0))
    act(loop, KNOWN)
    loop.run(91)
    act(loop, {**KNOWN, "active_servers": 8}, constraints={"min_replicas": 12}, candidates=UP)
    assert loop.state.actions.habits["scale_down"].undone == 0


def test_a_cooldown_counts_from_the_last_change_that_was_chosen() -> None:
    loop = EilLoop()
    act(loop, KNOWN)
    loop.run(30)
    quiet = {"cooldown_s": 60}
    assert act(loop, KNOWN, constraints=quiet).action.type == "hold"
    loop.run(31)
    assert act(loop, KNOWN, constraints=quiet).action.type == "scale_down"


def test_a_million_servers_are_judged_in_no_time() -> None:
    loop = EilLoop()
    began = time.process_time()
    state = {**KNOWN, "active_servers": 1_000_000, "service_time_ms": 5.0}
    fewer = [{"type": "scale_down", "target_servers": 999_000 + place} for place in range(63)]
    answer = act(loop, state, constraints={"max_latency_ms": 100}, candidates=fewer)
    assert answer.feasible and time.process_time() - began < 1
