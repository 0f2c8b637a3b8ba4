"""The trajectory optimiser as a program has it: what is sent, what comes back, what is raised."""

from typing import Any

import pytest

from irerctl.client import Error
from irerctl.trajectory import Fact, NoSpine, Path, Rule, Trade, TrajectoryOptimizer
from tests.irerctl.conftest import Serve
from tests.irerctl.peer import Written

SPINE: dict[str, Any] = {
    "facts": ["A"],
    "goals": ["B"],
    "rules": [{"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0, "group": "default"}],
}
FOUND: dict[str, Any] = {
    "spine": SPINE,
    "cost": 1.0,
    "bound": 1.0,
    "score": 1.0,
    "fairness": 1.0,
    "proof": "optimal",
    "goals": ["B"],
}
PATH = Path(("A",), ("B",), (Rule("rule1", ("A",), "B", 1.0, "default"),), 1.0, 1.0, "optimal")


def test_the_source_example_asks_for_what_it_says(serve: Serve) -> None:
    peer = serve(
        {
            "trajectory.add_fact": Written({"symbol": "A", "value": True}),
            "trajectory.add_rule": Written({"rule_id": "rule1"}),
            "trajectory.search": FOUND,
            "trajectory.fold": Written({"hash": "f" * 64, "cost": 1.0}),
        }
    )
    with TrajectoryOptimizer(socket=peer.path) as optimizer:
        optimizer.add_fact("A", True)
        optimizer.add_rule("rule1", ["A"], "B", cost=1.0)
        best_path = optimizer.beam_search_optimal_spine({Fact("A", True)})
        assert best_path == PATH and best_path.spine() == SPINE
        assert optimizer.fold_to_hash(best_path) == "f" * 64
    assert [(call.m, call.p) for call in peer.calls] == [
        ("trajectory.add_fact", {"symbol": "A", "value": True}),
        ("trajectory.add_rule", {"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0, "group": "default"}),
        ("trajectory.search", {"initial": ["A"], "denied": []}),
        ("trajectory.fold", {"spine": SPINE}),
    ]


def test_denied_facts_goals_and_whatever_else_is_asked_go_along(serve: Serve) -> None:
    peer = serve({"trajectory.search": FOUND})
    with TrajectoryOptimizer(peer.path) as optimizer:
        optimizer.beam_search_optimal_spine({Fact("A"), Fact("C", False)}, goals=["B"], beam_width=8)
        optimizer.beam_search_optimal_spine(deadline_ms=100_000)
    assert [call.p for call in peer.calls] == [
        {"initial": ["A"], "denied": ["C"], "beam_width": 8, "goals": ["B"]},
        {"deadline_ms": 100_000},
    ]
    assert [call.dl for call in peer.calls] == [60_000, 130_000], "an answer is waited for longer than the search may take"


@pytest.mark.parametrize(("unreachable", "said"), [(["B", "C"], "no rules lead to B, C"), ([], "within the budgets")])
def test_no_spine_is_raised_with_what_is_out_of_reach(serve: Serve, unreachable: list[str], said: str) -> None:
    none = {"spine": None, "cost": None, "bound": None, "score": None, "fairness": None, "proof": "optimal", "goals": ["B"]}
    peer = serve({"trajectory.search": {**none, "unreachable": unreachable}})
    with TrajectoryOptimizer(peer.path) as optimizer, pytest.raises(NoSpine, match=said) as raised:
        optimizer.beam_search_optimal_spine()
    assert raised.value.unreachable == tuple(unreachable)


def test_a_closure_is_read_to_its_end(serve: Serve) -> None:
    pages = {
        None: {"atoms": [{"symbol": "A", "depth": 0, "cost": 0.0}], "count": 2, "next": "1"},
        "1": {"atoms": [{"symbol": "B", "depth": 1, "cost": 1.0}], "count": 2},
    }
    peer = serve({"trajectory.forward_chain": lambda params: pages[params.get("after")]})
    with TrajectoryOptimizer(peer.path) as optimizer:
        assert optimizer.forward_chain() == {"A", "B"}


def test_an_absent_daemon_is_an_error_of_the_client(socket_path: Any) -> None:
    with TrajectoryOptimizer(socket_path) as optimizer:
        optimizer._client.retry_s = 0.0
        with pytest.raises(Error):
            optimizer.add_fact("A")


def test_a_front_is_a_list_of_trades(serve: Serve) -> None:
    point = {"cost": 1.0, "fairness": 0.5, "score": 1.0, "goals": 1, "rules": ["rule1"], "hash": "f" * 64}
    peer = serve({"trajectory.search": {**FOUND, "front": [point], "front_count": 1}})
    with TrajectoryOptimizer(peer.path) as optimizer:
        found = optimizer.pareto_front({Fact("A")}, goals=["B"], fairness="coverage")
        assert found == [Trade(1.0, 0.5, 1.0, 1, ("rule1",), "f" * 64)]
    assert peer.calls[0].p == {"initial": ["A"], "denied": [], "goals": ["B"], "fairness": "coverage", "mode": "pareto"}
    peer.answers = {"trajectory.search": {**FOUND, "spine": None}}
    with TrajectoryOptimizer(peer.path) as optimizer:
        assert optimizer.pareto_front() == []
