"""T5, T6: what a beam finds is a spine, is near the least, and never costs more where the beam is wider."""

from itertools import pairwise

import numpy as np
import pytest

from kernels import beam, exact, horn, lmcut
from tests.campaigns import campaign, per_commit
from tests.kernels import domains
from tests.kernels import naive_horn as naive

WIDTHS = (1, 2, 3, 8, 64, 10**6)


def run(task: horn.Task, width: int, kind: type[beam.Beam] = beam.Beam, budgets: np.ndarray | None = None) -> beam.Beam:
    found = kind(task, width, budgets)
    for _ in found.steps():
        pass
    assert found.finished
    return found


def least(task: horn.Task) -> int:
    search = exact.Search(task)
    for _ in search.exact():
        pass
    assert search.best is not None and search.proof == "optimal"
    return search.best.cost


def violations(index: int, kind: type[beam.Beam] = beam.Beam, most: int = 40) -> int:
    """How often a wider beam cost more; that what it finds is a spine, and without limit the least, and no bound above."""
    rules, initial, goals = naive.numbered(index, most)
    task, unreachable = horn.task(*domains.arrays(rules, initial, goals))
    if unreachable.size:
        return 0
    costs = []
    for width in WIDTHS:
        found = run(task, width, kind)
        assert found.best is not None
        naive.spine_of(rules, task, found.best, initial, goals)
        costs.append(found.best.cost)
    bad = sum(after > before for before, after in pairwise(costs))
    if kind is beam.Beam:
        assert found.complete and lmcut.bound(task) <= costs[-1] == least(task)
    return bad


def test_a_wider_beam_never_costs_more_and_without_limit_it_is_exact():
    assert sum(violations(index) for index in range(per_commit("T6"))) == 0


@pytest.mark.campaign
def test_the_same_over_many_more_programs():
    campaign("T6", lambda index: violations(index) == 0)


class Narrow(beam.Beam):
    """Keeps what was in its slots, layer by layer."""

    def __init__(self, task: horn.Task, width: int, budgets: np.ndarray | None = None) -> None:
        super().__init__(task, width, budgets)
        self.layers: list[list[tuple[int, ...] | None]] = []

    def _next(self, runs):
        found = super()._next(runs)
        self.layers.append([None if slot is None else slot.paid for slot in found])
        return found


def repeats(kind: type[Narrow], index: int) -> bool:
    """Whether the first slots of a wider beam are those of the narrower one, all the way."""
    task, unreachable = horn.task(*domains.arrays(*naive.numbered(index)))
    if unreachable.size:
        return True
    for width in (1, 2, 3, 5):
        narrow, wide = run(task, width, kind), run(task, width + 1, kind)
        assert isinstance(narrow, Narrow) and isinstance(wide, Narrow)
        for place, layer in enumerate(narrow.layers):
            other = wide.layers[place][:width] if place < len(wide.layers) else []
            length = max(len(layer), len(other))
            if [*layer, *[None] * (length - len(layer))] != [*other, *[None] * (length - len(other))]:
                return False
    return True


def test_the_first_slots_of_a_wider_beam_are_those_of_the_narrower_one():
    assert all(repeats(Narrow, index) for index in range(150))


def test_a_table_that_all_slots_share_would_break_that():
    """The broken variant: that a state was met counts wherever it was."""

    class Shared(Narrow):
        def _fresh(self, marks, rules, paid, place):
            return super()._fresh(marks, rules, paid, 0)

    assert sum(not repeats(Shared, index) for index in range(150)) > 0


def unlimited(found: domains.Arrays, kind: type[beam.Beam] = beam.Beam, budgets: list[int] | None = None) -> int | None:
    limits = None if budgets is None else np.array(budgets)
    task, unreachable = horn.task(*found, None, limits)
    assert not unreachable.size
    best = run(task, 10**6, kind, limits).best
    return best.cost if best is not None else None


@pytest.mark.parametrize("index", [827, 1327])
def test_a_state_that_was_met_at_a_higher_cost_does_not_count(index: int):
    class Any(beam.Beam):
        """The broken variant: met is met, whatever it cost."""

        def _fresh(self, marks, rules, paid, place):
            return super()._fresh(marks, rules, 0, place)

    found = domains.arrays(*naive.numbered(index))
    want = least(horn.task(*found)[0])
    assert unlimited(found) == want != unlimited(found, Any)


@pytest.mark.parametrize(("index", "budgets"), [(200, [4, -1, -1]), (841, [6, -1, -1]), (2780, [4, 4, 4])])
def test_a_state_that_was_met_with_another_burden_does_not_count(index: int, budgets: list[int]):
    class Blind(beam.Beam):
        """The broken variant: who paid is forgotten."""

        def _fresh(self, marks, rules, paid, place):
            limits, self.budgets = self.budgets, self.budgets[:0]
            found = super()._fresh(marks, rules, paid, place)
            self.budgets = limits
            return found

    rules, initial, goals = naive.numbered(index, 14)
    found = domains.arrays(rules, initial, goals, ["g0", "g1", "g2"])
    limits = {f"g{group}": most for group, most in enumerate(budgets) if most >= 0}
    assert unlimited(found, budgets=budgets) == naive.least(rules, initial, goals, limits) != unlimited(found, Blind, budgets)


def test_on_twelve_domains_it_is_near_the_least():
    gaps, narrow = [], []
    for seed in range(3):
        for problem in domains.twelve(seed).values():
            task, unreachable = horn.task(*domains.arrays(*problem[:3]))
            want = least(task)
            assert not unreachable.size
            found, poor = run(task, 64).best, run(task, 1).best
            assert found is not None and poor is not None
            naive.spine_of(problem.rules, task, found, problem.initial, problem.goals)
            gaps.append((found.cost - want) / max(want, 1))
            narrow.append((poor.cost - want) / max(want, 1))
    assert np.median(gaps) == 0 and np.quantile(gaps, 0.95) <= 0.1 and max(gaps) <= 0.25
    assert max(narrow) > max(gaps)


@pytest.mark.campaign
def test_on_many_more_of_the_twelve_domains():
    """Of every twelve in a row, one of each domain; gaps are counted, none may be above a quarter."""
    gaps: list[float] = []

    def near(index: int) -> dict[str, bool]:
        problem = list(domains.twelve(3 + index // 12).values())[index % 12]
        task, _ = horn.task(*domains.arrays(*problem[:3]))
        want, found = least(task), run(task, 64).best
        assert found is not None
        gaps.append((found.cost - want) / max(want, 1))
        assert gaps[-1] <= 0.25
        return {"dearer": gaps[-1] > 0, "by_a_tenth": gaps[-1] > 0.1}

    campaign("T5-beam", near)
    assert np.median(gaps) == 0 and np.quantile(gaps, 0.95) <= 0.1


def test_budgets_hold_whatever_the_width_and_without_limit_it_is_exact():
    tried = 0
    for index in range(120):
        rules, initial, goals = naive.numbered(index, 10)
        budgets = {"g0": index % 5, "g1": 3 + index % 4}
        limits = np.array([*budgets.values(), -1])
        found = domains.arrays(rules, initial, goals, ["g0", "g1", "g2"])
        task, unreachable = horn.task(*found, None, limits)
        if unreachable.size:
            continue
        want = naive.least(rules, initial, goals, budgets)
        best = run(task, 10**6, budgets=limits).best
        assert (best.cost if best is not None else None) == want
        tried += want is None or want != naive.least(rules, initial, goals)
        narrow = run(task, 2, budgets=limits).best
        if narrow is not None:
            spine = naive.spine_of(rules, task, narrow, initial, goals)
            for group, most in budgets.items():
                assert sum(rule.cost_micro for rule in spine.rules if rule.group == group) <= most
    assert tried > 20


def test_it_has_an_answer_after_its_first_step_and_the_same_one_each_time():
    problem = domains.recipes(12, 12, 5)
    task, _ = horn.task(*domains.arrays(*problem[:3]))
    search = beam.Beam(task, 32)
    next(search.steps())
    assert search.best is not None and not search.finished
    assert run(task, 8).best == run(task, 8).best
    assert run(task, 32).best.cost <= search.best.cost


def test_of_what_is_idle_the_dearest_goes_first_and_of_equals_the_last():
    task, _ = horn.task(*domains.arrays(*TWO_WAYS))
    every = np.arange(task.rules, dtype=np.int32)
    found = beam.irredundant(task, every)
    assert found is not None
    assert [TWO_WAYS[0][place].rule_id for place in task.origin[list(found.rules)] if place >= 0] == ["a", "c", "d"]
    assert beam.irredundant(task, every[:1]) is None


TWO_WAYS = (
    [
        naive.Rule("a", ("x", "y"), "u", 2),
        naive.Rule("b", ("x", "z"), "u", 2),
        naive.Rule("c", ("y", "u"), "v", 1),
        naive.Rule("d", ("v",), "goal", 0),
        naive.Rule("e", ("x",), "v", 4),
    ],
    {"x", "y", "z"},
    ("goal", "u"),
)
