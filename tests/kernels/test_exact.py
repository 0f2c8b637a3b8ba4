"""T3, T4, T12: the least there is, against trying everything, against clingo, and against what can be said of whole families."""

import time

import numpy as np
import pytest

from core.spine import Rule
from kernels import exact, horn
from tests.campaigns import campaign
from tests.kernels import domains
from tests.kernels import naive_horn as naive


def solved(
    rules: list[Rule], initial: set[str], goals: tuple[str, ...], budgets: dict[str, int] | None = None
) -> exact.Search | None:
    limits = None if budgets is None else np.array(list(budgets.values()))
    groups = None if budgets is None else list(budgets)
    task, unreachable = horn.task(*domains.arrays(rules, initial, goals, groups), None, limits)
    if unreachable.size:
        return None
    search = exact.Search(task, limits)
    for _ in search.exact():
        if search.best is not None:
            assert search.bound <= search.best.cost
    assert search.finished and not search.left_out
    if search.best is not None:
        assert search.proof == "optimal" and search.bound == search.best.cost
        naive.spine_of(rules, task, search.best, initial, goals)
    return search


def cost(search: exact.Search | None) -> int | None:
    return search.best.cost if search is not None and search.best is not None else None


def test_it_is_the_least_found_by_trying_everything():
    for index in range(200):
        problem = naive.numbered(index, 10)
        assert cost(solved(*problem)) == naive.least(*problem), index


@pytest.mark.parametrize("index", [352, 588])
def test_a_bound_that_holds_of_better_spines_only_is_no_more_than_the_best_one_costs(index: int):
    assert solved(*naive.numbered(index)) is not None


def test_within_budgets_it_is_the_least_found_by_trying_everything():
    bitten = 0
    for index in range(150):
        rules, initial, goals = naive.numbered(index, 10)
        budgets = {"g0": index % 6, "g1": 2 + index % 5, "g2": -1}
        want = naive.least(rules, initial, goals, {group: most for group, most in budgets.items() if most >= 0})
        assert cost(solved(rules, initial, goals, budgets)) == want, index
        bitten += want != naive.least(rules, initial, goals)
    assert bitten > 20


def test_it_is_the_minimum_of_clingo():
    pytest.importorskip("clingo", reason="clingo is not installed: the exact search is compared with trying everything alone")
    for index, problem in enumerate(naive.programs("T3")):
        assert cost(solved(*problem)) == naive.clingo_least(naive.clingo_program(*problem)), index


@pytest.mark.campaign
def test_the_minimum_over_many_more_programs():
    pytest.importorskip("clingo", reason="clingo is not installed")

    def agrees(index: int) -> bool:
        problem = naive.numbered(index)
        return cost(solved(*problem)) == naive.clingo_least(naive.clingo_program(*problem))

    campaign("T3", agrees)


def test_on_the_twelve_domains_it_is_the_minimum_of_clingo():
    pytest.importorskip("clingo", reason="clingo is not installed: families without a closed form are compared with nothing")
    for name, problem in domains.twelve(1).items():
        assert cost(solved(*problem[:3])) == naive.clingo_least(naive.clingo_program(*problem[:3]), "usc"), name


BRANCHING = [
    (domains.proofs(15, 1), 16),
    (domains.proofs(17, 21), 18),
    (domains.proofs(16, 26), 23),
    (domains.recipes(8, 7, 66), 37),
    (naive.numbered(876, 90), 57),
]
"""Where the cheapest spine crosses the cut that is branched on more than once."""


@pytest.mark.parametrize(("problem", "least"), BRANCHING)
def test_where_it_has_to_branch_it_is_the_least(problem: domains.Problem, least: int):
    search = solved(*problem[:3])
    assert search is not None and search.nodes > 5 and cost(search) == least


def test_where_it_has_to_branch_clingo_says_the_same():
    pytest.importorskip("clingo", reason="clingo is not installed: where the search branches, its answers are compared with pins")
    for problem, least in BRANCHING:
        assert naive.clingo_least(naive.clingo_program(*problem[:3]), "usc") == least


@pytest.mark.parametrize("balls", [1, 2, 9, 200])
def test_gripper(balls: int):
    assert cost(solved(*domains.gripper(balls)[:3])) == 2 * balls + 1


@pytest.mark.parametrize("side", [2, 3, 7, 30])
def test_visitall(side: int):
    assert cost(solved(*domains.visitall(side)[:3])) == side * side - 1


def test_movie():
    assert cost(solved(*domains.movie(50)[:3])) == 7


@pytest.mark.parametrize(("passengers", "floors"), [(1, 2), (5, 4), (30, 40)])
def test_miconic(passengers: int, floors: int):
    for seed in range(3):
        problem = domains.miconic(passengers, floors, seed)
        assert cost(solved(*problem[:3])) == problem.least


def test_these_programs_tell_what_is_shared_from_what_is_paid_twice():
    """The broken variant: a search for the cheapest derivation, in which each use is paid for."""
    wrong = 0
    for index in range(100):
        rules, initial, goals = naive.numbered(index)
        values = naive.bellman_ford([*rules, Rule("all", goals, "all goals", 0)], initial)
        want = cost(solved(rules, initial, goals))
        assert (want is None) == ("all goals" not in values)
        wrong += want is not None and want != values["all goals"]
    assert wrong > 5


def test_the_same_answer_each_time():
    problem = domains.covering(30, 20, 4)
    first, second = solved(*problem[:3]), solved(*problem[:3])
    assert first is not None and second is not None
    assert (first.best, first.nodes) == (second.best, second.nodes) and first.nodes > 20


def test_stopped_anywhere_it_has_a_spine_and_a_bound_that_holds():
    problem = domains.recipes(10, 10, 1)
    least = cost(solved(*problem[:3]))
    task, _ = horn.task(*domains.arrays(*problem[:3]))
    search = exact.Search(task)
    bounds, costs = [], []
    for _ in search.exact():
        assert search.best is not None and least is not None
        bounds.append(search.bound)
        costs.append(search.best.cost)
    assert bounds == sorted(bounds) and costs == sorted(costs, reverse=True)
    assert 0 < bounds[0] and max(bounds) <= least <= min(costs) and len(bounds) > 100


def test_no_step_blocks():
    """T12, in processor time, so that a busy machine changes nothing: far below what a deadline may be late."""
    problem = domains.recipes(40, 40, 2)
    task, _ = horn.task(*domains.arrays(*problem[:3]))
    search, longest, last = exact.Search(task), 0.0, time.thread_time()
    for steps, _ in enumerate(search.exact()):
        now = time.thread_time()
        longest, last = max(longest, now - last), now
        if steps == 150:
            break
    assert not search.finished and longest <= 0.05


def test_where_too_many_nodes_wait_the_bound_is_what_it_says(monkeypatch: pytest.MonkeyPatch):
    problem = domains.recipes(10, 10, 1)
    least = cost(solved(*problem[:3]))
    monkeypatch.setattr(exact, "NODES_MAX", 20)
    task, _ = horn.task(*domains.arrays(*problem[:3]))
    search = exact.Search(task)
    for _ in search.exact():
        pass
    assert search.finished and search.left_out and search.proof == "bound" and least is not None
    assert search.best is not None and search.bound <= least <= search.best.cost
