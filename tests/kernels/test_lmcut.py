"""T7: the bound is never above what the cheapest spine costs, and each cut is one that every spine crosses."""

import numpy as np
import pytest

from core.spine import Rule
from kernels import exact, horn, lmcut
from tests.kernels import domains
from tests.kernels import naive_horn as naive


def task_of(rules: list[Rule], initial: set[str], goals: tuple[str, ...]) -> horn.Task | None:
    found, unreachable = horn.task(*domains.arrays(rules, initial, goals))
    return None if unreachable.size else found


def least(task: horn.Task) -> int:
    search = exact.Search(task)
    for _ in search.exact():
        pass
    assert search.best is not None
    return search.best.cost


def reaches(task: horn.Task, without: np.ndarray) -> bool:
    known, before = {horn.TRUTH}, 0
    while len(known) > before:
        before = len(known)
        for rule in np.flatnonzero(~without).tolist():
            if known.issuperset(task.body[task.start[rule] : task.start[rule + 1]].tolist()):
                known.add(int(task.head[rule]))
    return task.goal in known


def test_the_bound_is_never_above_the_least_found_by_trying_everything():
    tight = 0
    for index in range(150):
        rules, initial, goals = naive.numbered(index, 9)
        task = task_of(rules, initial, goals)
        if task is not None:
            want = naive.least(rules, initial, goals)
            assert want is not None and lmcut.bound(task) <= want
            tight += lmcut.bound(task) == want
    assert tight > 100


def all_cuts(task: horn.Task, found: lmcut.Cuts, left: np.ndarray) -> None:
    assert np.all(found.weight > 0)
    paid = np.zeros(task.rules, np.int64)
    for cut, weight in enumerate(found.weight):
        crossed = np.zeros(task.rules, np.bool_)
        crossed[found.rules[found.start[cut] : found.start[cut + 1]]] = True
        assert not reaches(task, crossed)
        paid[crossed] += weight
    assert np.all(paid <= task.cost) and np.array_equal(task.cost - paid, left)


def test_every_cut_is_crossed_by_every_spine_and_no_rule_is_counted_for_more_than_it_costs():
    for index in range(150):
        task = task_of(*naive.numbered(index))
        if task is None:
            continue
        left = task.cost.copy()
        found = lmcut.cuts(task, np.ones(task.rules, np.bool_), left)
        assert found.status == lmcut.DONE
        all_cuts(task, found, left)
        known = lmcut.landmarks(task)
        left = task.cost.copy()
        np.subtract.at(left, known.rules, np.repeat(known.weight, np.diff(known.start)))
        all_cuts(task, known, left)


def test_rounds_in_portions_end_where_rounds_at_once_do():
    problem = domains.recipes(8, 8, 2)
    task = task_of(*problem[:3])
    assert task is not None
    usable, left, portions, weights = np.ones(task.rules, np.bool_), task.cost.copy(), 0, 0
    status = lmcut.MORE
    while status == lmcut.MORE:
        weight, _, _, status = lmcut.cuts(task, usable, left, most=2)
        portions, weights = portions + 1, weights + int(weight.sum())
    assert portions > 3 and status == lmcut.DONE
    assert weights <= least(task)
    assert lmcut.cuts(task, usable, left).weight.size == 0


def test_without_its_rules_the_goal_is_dead():
    task = task_of(*domains.movie(2)[:3])
    assert task is not None
    assert lmcut.cuts(task, task.origin < 0, task.cost.copy()).status == lmcut.DEAD


def test_what_is_known_of_the_families():
    for problem in (domains.gripper(20), domains.visitall(8), domains.movie(5), domains.miconic(20, 15, 3)):
        task = task_of(*problem[:3])
        assert task is not None and lmcut.bound(task) == problem.least


def test_a_premise_that_is_not_the_dearest_would_stop_the_rounds(monkeypatch: pytest.MonkeyPatch):
    """The broken variant: any premise at all, the one that a body names first."""
    right = lmcut.values

    def wrong(*given, **more):
        found = right(*given, **more)
        first = next(task.body[task.start[:-1]] for task in [seen[-1]])
        return found._replace(last=np.where(found.last >= 0, first, found.last).astype(np.int32))

    seen: list[horn.Task] = []
    broken = 0
    monkeypatch.setattr(lmcut, "values", wrong)
    for index in range(150):
        task = task_of(*naive.numbered(index))
        if task is not None:
            seen.append(task)
            found = lmcut.cuts(task, np.ones(task.rules, np.bool_), task.cost.copy(), most=200)
            broken += found.status == lmcut.MORE or bool(np.any(found.weight <= 0))
    assert broken > 10
