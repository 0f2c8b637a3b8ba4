"""What follows, why, and at what cost at least: against a fixpoint and against all subsets, on programs small enough for both."""

import random
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from core import trajectory
from core.engine import Refused
from core.spine import Rule, check, fairness, goals_of, made, reached
from core.trajectory import reads, small
from core.trajectory.closure import FAR, Derived, additive, closure
from core.trajectory.program import Program
from core.trajectory.question import Question, plan, question, snapshot, usual_goals
from core.trajectory.reads import (
    Explanation,
    ForwardChain,
    Found,
    Search,
    Weights,
    answer,
    check_search,
    closure_page,
    explanation,
    out_of_reach,
)
from core.trajectory.strips import BadProblem, problem_of
from tests.core.engine_loop import EngineLoop


def programs(count: int, seed: int = 7) -> list[tuple[list[Rule], list[str], list[str]]]:
    """Rules, facts and goals by chance: cycles, rules without premises or without cost, and goals out of reach among them."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        atoms = "ABCDEFGH"[: chance.randint(3, 8)]
        rules = [
            Rule(
                f"r{place}",
                tuple(chance.sample(atoms, chance.choice([0, 1, 1, 1, 2, 2]))),
                chance.choice(atoms),
                chance.choice([0, 1, 1, 2, 3, 5]),
                chance.choice("xy"),
            )
            for place in range(chance.randint(1, 9))
        ]
        found.append((rules, chance.sample(atoms, chance.randint(0, 2)), chance.sample(atoms, chance.randint(1, 3))))
    return found


def rounds(rules: Sequence[Rule], initial: Collection[str]) -> list[set[str]]:
    """What holds after each round, by looking at every rule every time."""
    known = [set(initial)]
    while True:
        more = known[-1] | {rule.conclusion for rule in rules if known[-1].issuperset(rule.premises)}
        if more == known[-1]:
            return known
        known.append(more)


def test_closure_is_the_fixpoint_round_by_round_and_each_derivation_is_the_first() -> None:
    for rules, initial, _ in programs(1_000):
        known = rounds(rules, initial)
        found = closure(rules, initial)
        assert set(found) == known[-1] == reached(rules, initial)
        for symbol, how in found.items():
            assert how.depth == next(depth for depth, atoms in enumerate(known) if symbol in atoms)
            if how.depth:
                able = [p for p, r in enumerate(rules) if r.conclusion == symbol and known[how.depth - 1].issuperset(r.premises)]
                assert how.rule == able[0]
        for depth in range(len(known)):
            assert set(closure(rules, initial, depth)) == known[depth]


def test_the_additive_cost_is_the_least_fixpoint() -> None:
    for rules, initial, _ in programs(1_000, seed=8):
        cost = dict.fromkeys(initial, 0)
        for _ in range(len(rules) + 1):
            for rule in rules:
                if cost.keys() >= set(rule.premises):
                    here = rule.cost_micro + sum(cost[premise] for premise in set(rule.premises))
                    cost[rule.conclusion] = min(here, cost.get(rule.conclusion, here))
        assert additive(rules, initial) == cost


def test_an_additive_cost_that_is_beyond_counting_is_told_as_none() -> None:
    doubling = [Rule(f"r{n}", (f"a{n}", f"b{n}"), each, 10**15) for n in range(30) for each in (f"a{n + 1}", f"b{n + 1}")]
    rules = [rule._replace(rule_id=f"{rule.rule_id}{rule.conclusion}") for rule in doubling]
    costs = additive(rules, ["a0", "b0"])
    assert costs["a1"] == 10**15 and costs["a30"] == FAR
    asked = Question(rules, ["a0", "b0"], {})
    page = closure_page(asked, closure(rules, asked.initial), costs, ForwardChain())
    assert [atom.cost for atom in page.atoms if atom.symbol in ("a0", "a1", "a30")] == [0.0, 1e9, None]


def cheapest(rules: Sequence[Rule], initial: Collection[str], goals: Collection[str], budget: int | None) -> int | None:
    costs = []
    for chosen in range(1 << len(rules)):
        some = [rule for place, rule in enumerate(rules) if chosen >> place & 1]
        if budget is not None and sum(rule.cost_micro for rule in some if rule.group == "x") > budget:
            continue
        if reached(some, initial).issuperset(goals):
            costs.append(sum(rule.cost_micro for rule in some))
    return min(costs, default=None)


def test_small_programs_are_solved_to_the_optimum_of_all_subsets() -> None:
    solved = 0
    for number, (rules, initial, goals) in enumerate(programs(500, seed=9)):
        budget = number % 4 if number % 3 == 0 else None
        best = cheapest(rules, initial, goals, budget)
        found = small.solve(rules, initial, goals, {} if budget is None else {"x": budget})
        assert found is not None
        if best is None:
            assert found.rules is None
            continue
        assert found.rules is not None and found.cost_micro == best
        check(made(found.rules, initial, goals), {rule.rule_id: rule for rule in rules}, initial, goals, best)
        solved += 1
    assert solved > 100


def test_the_bound_of_the_start_is_never_above_the_optimum() -> None:
    for rules, initial, goals in programs(300, seed=10):
        best = cheapest(rules, initial, goals, None)
        problem = small._Problem(rules, set(initial), goals, {})
        bound = problem.bound(problem.closed(0))
        assert bound >= small.NEVER if best is None else bound <= best


def test_what_takes_too_many_steps_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [Rule(f"{goal}{way}", (), goal, 1 + way) for goal in "ABCDEF" for way in range(2)]
    assert small.solve(rules, [], list("ABCDEF"), {}) == small.Best(tuple(Rule(f"{g}0", (), g, 1) for g in "ABCDEF"), 6)
    monkeypatch.setattr(small, "LOOKS_MAX", 100)
    assert small.solve(rules, [], list("ABCDEF"), {}) is None


def test_what_is_hard_though_small_is_given_up_before_anybody_waits() -> None:
    """Two ways of much the same cost to each of many goals: looked through to the end it takes seconds of a thread."""
    ways = [(goal, way) for goal in range(16) for way in range(2)]
    rules = [Rule(f"q{g}.{w}", (f"p{g}.{w}",), f"g{g}", 10) for g, w in ways] + [
        Rule(f"p{g}.{w}", (), f"p{g}.{w}", 10 + w) for g, w in ways
    ]
    problem: list[small._Problem] = []
    kind = small._Problem

    class Seen(kind):  # type: ignore[valid-type, misc]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            problem.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small, "_Problem", Seen)
        patch.setattr(small, "LOOKS_MAX", 100_000)
        assert small.solve(rules, [], [f"g{goal}" for goal in range(16)], {}) is None
    assert 100_000 < problem[0].looked < 200_000, "one bound is the most that it goes on for"


# --- questions and answers --------------------------------------------------------------------------------------------------

RULES = [
    Rule("ab", ("A",), "B", 1_000_000),
    Rule("ac", ("A",), "C", 2_000_000, "north"),
    Rule("bcd", ("B", "C"), "D", 500_000, "north"),
    Rule("de", ("D", "B"), "E", 0),
    Rule("xe", ("X",), "E", 1),
    Rule("bf", ("B",), "F", 1_000_000),
]


def told(*rules: Rule, facts: Sequence[str] = ("A",), denied: Sequence[str] = ()) -> Program:
    loop = EngineLoop(trajectory.ENGINE)
    for symbol in (*facts, *denied):
        loop.ask("add_fact", {"symbol": symbol, "value": symbol not in denied})
    for rule in rules:
        loop.ask(
            "add_rule",
            {
                "rule_id": rule.rule_id,
                "premises": list(rule.premises),
                "conclusion": rule.conclusion,
                "cost": rule.cost_micro / 1e6,
                "group": rule.group,
            },
        )
    state = loop.state
    assert isinstance(state, Program)
    return state


def explained(program: Program, symbol: str) -> Explanation:
    held = snapshot(program)
    asked = question(held, None, ())
    return explanation(held, asked, closure(asked.rules, asked.initial), symbol)


def test_denied_atoms_block_the_rules_that_conclude_them_and_these_are_listed() -> None:
    held = snapshot(told(*RULES, denied=["C"]))
    asked = question(held, None, ())
    assert asked.blocked == {"ac": "C"} and [rule.rule_id for rule in asked.rules] == ["ab", "bcd", "de", "xe", "bf"]
    derived = closure(asked.rules, asked.initial)
    page = closure_page(asked, derived, additive(asked.rules, asked.initial), ForwardChain())
    assert [atom.symbol for atom in page.atoms] == ["A", "B", "F"] and page.blocked == {"ac": "C"} and page.next is None
    with pytest.raises(Refused) as contrary:
        question(held, ["A", "C"], ())
    assert contrary.value.reason == "denied"
    assert question(held, ["X"], ["E"]).blocked == {"ac": "C", "de": "E", "xe": "E"}


def test_a_closure_is_told_page_by_page_with_derivations() -> None:
    asked = question(snapshot(told(*RULES)), None, ())
    derived, costs = closure(asked.rules, asked.initial), additive(asked.rules, asked.initial)
    whole = closure_page(asked, derived, costs, ForwardChain())
    assert [(atom.symbol, atom.depth, atom.rule_id, atom.premises) for atom in whole.atoms] == [
        ("A", 0, None, []),
        ("B", 1, "ab", ["A"]),
        ("C", 1, "ac", ["A"]),
        ("D", 2, "bcd", ["B", "C"]),
        ("F", 2, "bf", ["B"]),
        ("E", 3, "de", ["D", "B"]),
    ]
    assert whole.atoms[-1].cost == 4.5, "B is counted where it is used, twice"
    first = closure_page(asked, derived, costs, ForwardChain(limit=4))
    rest = closure_page(asked, derived, costs, ForwardChain(limit=4, after=first.next))
    assert first.atoms + rest.atoms == whole.atoms and rest.next is None and first.count == 6


def test_an_explanation_has_each_atom_once_and_counts_each_rule_once() -> None:
    seen = explained(told(*RULES), "E")
    assert seen.holds and [step.symbol for step in seen.steps] == ["E", "D", "B", "C", "A"] and seen.cost == 3.5
    assert explained(told(*RULES), "A").steps[0].rule_id is None


def test_what_does_not_hold_is_told_what_it_lacks() -> None:
    seen = explained(told(*RULES, facts=["X"], denied=["E"]), "E")
    assert not seen.holds and [(near.rule_id, near.missing, near.blocked) for near in seen.near] == [
        ("xe", [], True),
        ("de", ["D", "B"], True),
    ]
    assert explained(told(*RULES), "X") == Explanation("X", False)
    with pytest.raises(Refused) as unknown:
        explained(told(Rule("r", ("door open",), "inside", 1)), "insite")
    assert (unknown.value.code, unknown.value.data) == ("not-found", {"nearest": ["inside"]})


def test_a_mistyped_atom_is_held_against_so_many_letters_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the atoms are: comparing thousands of long ones took seconds of a thread that nobody can end."""
    monkeypatch.setattr(reads, "LETTERS_COMPARED_MAX", 250)
    facts = [f"{place}{'x' * 99}" for place in range(3)]
    for place in range(3):
        with pytest.raises(Refused) as unknown:
            explained(told(facts=facts), f"{place}{'x' * 98}y")
        assert unknown.value.data == {"nearest": [facts[min(place, 1)]]}


def test_usual_goals_are_what_can_be_derived_and_is_nobodys_premise() -> None:
    for rules, initial, _ in programs(500, seed=11):
        asked = Question(rules, initial, {})
        assert usual_goals(asked, closure(rules, initial)) == goals_of(rules, initial)


def test_a_plan_keeps_every_rule_that_may_be_of_use() -> None:
    for rules, initial, goals in programs(300, seed=12):
        planned = plan(Question(rules, initial, {}), closure(rules, initial), goals)
        assert planned.unreachable == tuple(sorted(set(goals) - reached(rules, initial)))
        if not planned.unreachable:
            assert cheapest(planned.rules, initial, goals, None) == cheapest(rules, initial, goals, None)
        assert planned.groups == {rule.group for rule in planned.rules}
        assert not {rule.conclusion for rule in planned.rules} & set(initial), "what holds already is nobody's burden"


def test_a_score_is_made_of_the_bound_and_of_what_each_group_bears() -> None:
    asked = question(snapshot(told(*RULES)), None, ())
    planned = plan(asked, closure(asked.rules, asked.initial), ["E"])
    assert planned.groups == {"default", "north"} and [r.rule_id for r in planned.rules] == ["ab", "ac", "bcd", "de"]
    spine = made(planned.rules, asked.initial, planned.goals)
    found = Found(planned.rules, 1_750_000, "bound")
    plain = answer(planned, found, spine, Weights())
    assert (plain.cost, plain.bound, plain.score, plain.proof) == (3.5, 1.75, 0.5, "bound")
    weighed = answer(planned, found, spine, Weights(efficiency=2.0, fairness=1.0, groups={"north": 2.5}))
    assert weighed.fairness == pytest.approx(1.0) and weighed.score == pytest.approx(2.0)
    assert plain.fairness == fairness(planned.rules, planned.groups, {}) == pytest.approx(3.5**2 / (2 * (1 + 2.5**2)))
    free = answer(planned, Found((), 0, "optimal"), made((), ["E"], ["E"]), Weights())
    assert (free.cost, free.score) == (0.0, 1.0)
    assert answer(planned, Found(None, 0, "optimal"), None, Weights()).cost is None
    assert out_of_reach(planned).spine is None


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Search(forbidden=["ab", "nobody"]), "not-found"),
        (Search(budgets={"south": 1.0}), "not-found"),
        (Search(weights=Weights(groups={"south": 1.0})), "not-found"),
        (Search(budgets={"north": 1e-7}), "invalid-argument"),
    ],
)
def test_what_cannot_be_looked_for_is_a_typed_refusal(asked: Search, code: str) -> None:
    with pytest.raises(Refused) as said:
        check_search(snapshot(told(*RULES)), asked)
    assert said.value.code == code and said.value.detail


def test_what_is_asked_for_in_order_is_taken_in_micro_units() -> None:
    assert check_search(snapshot(told(*RULES)), Search(budgets={"north": 2.5}, forbidden=["ab"])) == {"north": 2_500_000}
    assert question(snapshot(told(*RULES)), None, (), frozenset({"ab"})).rules == RULES[1:]
    assert Derived(0, None).rule is None


# --- planning problems ------------------------------------------------------------------------------------------------------


def test_an_action_is_paid_once_however_many_of_its_effects_are_wanted() -> None:
    document = {
        "init": ["at a"],
        "goal": ["at b", "seen b"],
        "actions": [
            {"name": "(move a b)", "pre": ["at a", {"not": "locked"}], "add": ["at b", "seen b"], "del": ["at a"], "cost": 3},
            {"name": "wait", "pre": [], "add": []},
            {"name": "look", "pre": ["at b"], "add": ["seen a"], "group": "eyes"},
        ],
    }
    problem = problem_of(document)
    assert [rule["rule_id"] for rule in problem["rules"]] == ["move:a:b", "move:a:b/1", "move:a:b/2", "look"]
    assert problem["rules"][0]["premises"] == ["at a"] and problem["rules"][-1]["group"] == "eyes"
    loop = EngineLoop(trajectory.ENGINE)
    loop.ask("load", {"problem": problem})
    parts = loop.state.parts
    found = small.solve(list(parts.rules.values()), ["at a"], parts.goals, {})
    assert found is not None and found.cost_micro == 3_000_000


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"init": [], "actions": [], "goals": []}, "it has goals"),
        ({"init": "a"}, "init is no list"),
        ({"actions": [{"name": "a", "add": ["x"]}, {"name": "b"}]}, "action 2, b, cannot be taken"),
        ({"actions": [{"name": "a b", "add": ["x"]}, {"name": "(a,b)", "add": ["y"]}]}, "action 2, (a,b), is named like action 1"),
        ({"actions": [{"name": "()", "add": ["x"]}]}, "without letters"),
        ({"actions": [{"name": "a", "add": ["x"], "cost": -1}]}, "action 1, a, cannot be taken"),
    ],
)
def test_a_planning_problem_that_is_none_is_told_which_action_is_wrong(document: dict[str, object], said: str) -> None:
    with pytest.raises(BadProblem) as bad:
        problem_of(document)
    assert said in str(bad.value)
