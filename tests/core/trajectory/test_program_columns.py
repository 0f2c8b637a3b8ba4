"""What is thought out on columns is what is thought out on a list of rules, on programs small enough for both."""

from typing import Any

import numpy as np
import pytest

from core.spine import Rule
from core.trajectory import columns
from core.trajectory.closure import additive, closure
from core.trajectory.columns import Closed, Columns, Costs, Names
from core.trajectory.question import Question, Snapshot, goals_of, groups_of, needed, plan, question, rule_ids, usual_goals
from core.trajectory.reads import ForwardChain, closure_page
from core.trajectory.table import Table
from tests.core.trajectory.test_trajectory_thought import programs


def as_columns(rules: list[Rule]) -> Columns:
    return Columns.of(Table(rules))


def closed(rules: Columns, initial: list[str]) -> tuple[Closed, Costs]:
    """As a worker's answer becomes one."""
    names, _ = rules.names.and_of(initial)
    found, cost = closure(list(rules), initial), additive(list(rules), initial)
    listed = [names[number] for number in range(len(names))]
    depth = np.array([found[name].depth if name in found else -1 for name in listed], np.int32)
    via = np.array([-1 if name not in found or (rule := found[name].rule) is None else rule for name in listed], np.int32)
    order = np.array([names.find(name) for name in found], np.int64)
    return Closed(names, depth, via, order), Costs(names, np.array([cost.get(name, -1) for name in listed], np.int64))


@pytest.mark.parametrize("rounds_max", [0, 2_000])
def test_columns_lead_to_the_same_plans_as_rules(rounds_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "ROUNDS_MAX", rounds_max)
    for rules, initial, goals in programs(250, seed=31 + rounds_max):
        listed, held = Question(rules, initial, {}), Question(as_columns(rules), initial, {})
        derived, costs = closed(as_columns(rules), initial)
        plainly, priced = closure(rules, initial), additive(rules, initial)
        assert derived == plainly and list(derived) == list(plainly) and costs == priced
        page = ForwardChain(limit=3, after="1")
        assert closure_page(held, derived, costs, page) == closure_page(listed, plainly, priced, page)
        assert usual_goals(held, derived) == usual_goals(listed, plainly)
        for wanted in (goals, None, [*goals, "nobody's"]):
            one, other = plan(held, derived, wanted), plan(listed, plainly, wanted)
            assert one._replace(rules=tuple(one.rules)) == other._replace(rules=tuple(other.rules))
        assert goals_of(held, goals) == goals_of(listed, goals)


def test_columns_without_what_is_denied_or_forbidden_are_the_rules_without_it() -> None:
    for rules, initial, goals in programs(60, seed=5):
        facts = dict.fromkeys(initial, True)
        for forbidden in (frozenset[str](), frozenset({"r1", "r3"})):
            denied = [goal for goal in goals if goal not in facts]
            listed = question(Snapshot(0, 0, facts, rules, [], 0), None, denied, forbidden)
            held = question(Snapshot(0, 0, facts, as_columns(rules), [], 0), None, denied, forbidden)
            assert held._replace(rules=list(held.rules)) == listed


def test_columns_are_a_list_of_rules_to_whoever_looks_at_one() -> None:
    rules = [Rule("b", ("x", "y"), "z", 5, "north"), Rule("a", (), "x", 0), Rule("c", ("z",), "z", 1, "north")]
    table = Table(rules)
    held = Columns.of(table)
    table.take(Rule("later", ("new",), "x", 1, "south"))
    table.set_cost("b", 9)
    assert list(held) == rules and held[1] == rules[1] and held[1:] == rules[1:] and len(held) == 3, "as it was when it was made"
    assert rule_ids(held) == rule_ids(rules) and groups_of(held) == groups_of(rules) == {"north", "default"}
    assert [needed(held, name) for name in ("x", "z", "new", "nobody's")] == [True, True, False, False]
    assert list(held.by_name()) == sorted(rules) and held.literals == 6
    assert held.names.find("new") is None


def test_names_that_only_a_question_has_get_numbers_after_all_others() -> None:
    names = Names.of(["a", "b"])
    more, numbers = names.and_of(["b", "c", "c", "d"])
    assert (numbers, len(more), more[3], more.find("d"), names.find("d"), len(names)) == ([1, 2, 2, 3], 4, "d", 3, None, 2)


def test_spans_are_all_places_of_each() -> None:
    found: Any = columns.spans(np.array([5, 0, 9]), np.array([2, 0, 3]))
    assert found.tolist() == [5, 6, 9, 10, 11] and columns.spans(np.array([], int), np.array([], int)).size == 0
