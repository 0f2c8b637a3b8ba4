"""Rules of spines: what one says is worked out again, its name depends on nothing but what it is, and nothing idle is in it."""

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import spine
from core.spine import BadSpine, Rule, Spine

GOLDEN = "6f0327c68095150b09c5bc6da5e0e5938399325355779045d5a58ba37ef844c0"
SOURCE = Spine(("A",), ("B",), (Rule("rule1", ("A",), "B", 1_000_000),))


def drawn(draw: random.Random, rules: int = 12, atoms: int = 9) -> tuple[list[Rule], set[str], tuple[str, ...]]:
    """A random program with something to reach."""
    while True:
        names = [f"a{place}" for place in range(atoms)]
        initial = set(draw.sample(names, 2))
        made = [
            Rule(
                f"r{place:02}",
                tuple(draw.choices(names, k=draw.randrange(0, 4))),
                draw.choice(names),
                draw.choice([0, 1, 1_000_000, 2_500_000]),
                draw.choice(["x", "y"]),
            )
            for place in range(rules)
        ]
        goals = spine.goals_of(made, initial)
        if goals:
            return made, initial, goals


def naive(rules: list[Rule], facts: set[str]) -> set[str]:
    known = set(facts)
    while True:
        more = {rule.conclusion for rule in rules if known.issuperset(rule.premises)} - known
        if not more:
            return known
        known |= more


def test_the_sources_example_has_its_name() -> None:
    assert spine.fold(SOURCE) == GOLDEN
    assert spine.walk(SOURCE) == spine.Walk(1_000_000, {"A": 0, "B": 1})
    assert spine.goals_of(SOURCE.rules, {"A"}) == ("B",)


def test_what_is_reached_is_the_naive_fixpoint() -> None:
    draw = random.Random(1)
    for _ in range(2_000):
        rules, initial, _ = drawn(draw)
        assert spine.reached(rules, initial) == naive(rules, initial)


def test_a_pruned_spine_holds_and_nothing_in_it_is_idle() -> None:
    draw = random.Random(2)
    shared = 0
    for _ in range(500):
        rules, initial, goals = drawn(draw)
        kept = spine.pruned(rules, initial, goals)
        laid = spine.made(kept, initial, goals)
        program = {rule.rule_id: rule for rule in rules}
        cost = sum(rule.cost_micro for rule in kept)
        assert spine.check(laid, program, initial, goals, cost).cost_micro == cost
        for place in range(len(kept)):
            assert not naive([*kept[:place], *kept[place + 1 :]], initial).issuperset(goals)
        everything = spine.made(rules, initial, goals)
        idle = [
            rule.rule_id
            for rule in everything.rules
            if naive([other for other in everything.rules if other != rule], initial).issuperset(goals)
        ]
        assert (spine.redundant(everything) is None) == (not idle)
        shared += len(kept) > 2
    assert shared > 100


def test_the_order_is_one_in_which_the_rules_can_be_applied_and_always_the_same() -> None:
    draw = random.Random(3)
    for _ in range(500):
        rules, initial, _ = drawn(draw)
        laid = spine.ordered(rules, initial)
        known = set(initial)
        for rule in laid:
            assert known.issuperset(rule.premises)
            known.add(rule.conclusion)
        assert {rule.rule_id for rule in laid} == {rule.rule_id for rule in rules if known.issuperset(rule.premises)}
        assert spine.ordered(draw.sample(rules, len(rules)), initial) == laid


TAMPERED = {
    "not-in-program": SOURCE._replace(rules=(SOURCE.rules[0]._replace(cost_micro=999_999),)),
    "not-initial": Spine(("A", "C"), ("B",), SOURCE.rules),
    "other-goals": SOURCE._replace(goals=("A",)),
    "missing-premise": SOURCE._replace(facts=()),
    "unreached-goal": SOURCE._replace(rules=()),
    "twice": SOURCE._replace(rules=SOURCE.rules * 2),
    "redundant": SOURCE._replace(rules=(*SOURCE.rules, Rule("idle", ("A",), "C", 0))),
    "other-cost": SOURCE,
}


@pytest.mark.parametrize("code", TAMPERED)
def test_a_spine_that_lies_is_refused(code: str) -> None:
    program = {"rule1": SOURCE.rules[0], "idle": Rule("idle", ("A",), "C", 0)}
    cost = 2 if code == "other-cost" else 1_000_000
    with pytest.raises(BadSpine) as told:
        spine.check(TAMPERED[code], program, {"A"}, ("B",), cost)
    assert told.value.code == code


def test_costs_are_never_below_nought_nor_too_large_to_be_exact() -> None:
    for cost, code in ((-1, "negative-cost"), (2**53 + 1, "cost-precision")):
        with pytest.raises(BadSpine, match=code):
            spine.walk(SOURCE._replace(rules=(SOURCE.rules[0]._replace(cost_micro=cost),)))


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_name_does_not_depend_on_how_a_spine_is_written_down(seed: int, shuffle: random.Random) -> None:
    rules, initial, goals = drawn(random.Random(seed), rules=8)
    one = spine.made(rules, initial, goals)
    mixed = [rule._replace(premises=(*shuffle.sample(rule.premises, len(rule.premises)), *rule.premises[:1])) for rule in one.rules]
    shuffle.shuffle(mixed)
    again = Spine((*reversed(one.facts), *one.facts), tuple(reversed(one.goals)), (*mixed, *mixed[:2]))
    assert spine.fold(again) == spine.fold(one)


def test_spines_that_differ_have_different_names() -> None:
    """A tenth of the campaign's million: one cost, one premise, one group, one goal changed at a time."""
    draw = random.Random(4)
    names: set[str] = set()
    count = 0
    while count < 100_000:
        rules, initial, goals = drawn(draw, rules=5, atoms=6)
        one = spine.made(rules, initial, goals)._replace(facts=(f"f{count}", *sorted(initial)))
        for place in range(len(one.rules)):
            for changed in (
                one.rules[place]._replace(cost_micro=one.rules[place].cost_micro + 1),
                one.rules[place]._replace(group="z"),
                one.rules[place]._replace(conclusion="elsewhere"),
            ):
                names.add(spine.fold(one._replace(rules=(*one.rules[:place], changed, *one.rules[place + 1 :]))))
                count += 1
        names.add(spine.fold(one))
        count += 1
    assert len(names) == count


def test_fairness_is_jains_index() -> None:
    rules = [Rule("a", (), "p", 3_000_000, "x"), Rule("b", (), "q", 1_000_000, "y")]
    assert spine.fairness(rules, {"x", "y"}, {}) == pytest.approx(0.8)
    assert spine.fairness(rules, {"x", "y"}, {"x": 3.0}) == 1.0
    assert spine.fairness([], {"x", "y"}, {}) == spine.fairness(rules, (), {}) == 1.0
    assert spine.fairness(rules, {"x", "y", "z"}, {}) == pytest.approx(16 / 30)


def test_no_weight_is_too_small_for_fairness() -> None:
    """A share over such a weight is beyond what can be squared, or beyond every number."""
    rules = [Rule("a", (), "p", 3_000_000, "x"), Rule("b", (), "q", 1_000_000, "y")]
    for least in (1e-200, 5e-324):
        assert spine.fairness(rules, {"x", "y"}, {"x": least}) == pytest.approx(0.5)
        assert spine.fairness(rules, {"x", "y"}, {"x": least, "y": least}) == pytest.approx(0.8)
        assert spine.fairness(rules, {"x", "y", "z"}, {"z": least}) == pytest.approx(16 / 30), "z bears nothing"


def test_a_spine_from_many_facts_is_looked_through_in_time_that_grows_as_it_does() -> None:
    """No fact is looked for one by one: that took minutes of a thread that nobody can end."""

    class Facts(tuple[str, ...]):
        looked = 0

        def __contains__(self, atom: object) -> bool:
            Facts.looked += 1
            return super().__contains__(atom)

    count = 300
    rules = tuple(Rule(f"r{place}", (f"f{place}",), f"g{place}", 1) for place in range(count))
    facts = Facts(f"f{place}" for place in range(count))
    laid = Spine(facts, tuple(f"g{place}" for place in range(count)), rules)
    spine.check(laid, {rule.rule_id: rule for rule in rules}, set(facts), laid.goals, count)
    assert Facts.looked == 0


def test_two_spines_are_compared_rule_by_rule() -> None:
    dearer = SOURCE._replace(rules=(SOURCE.rules[0]._replace(cost_micro=1_500_000), Rule("more", (), "C", 7)))
    assert spine.compare(SOURCE, SOURCE) == spine.Comparison(True, 0, (), (), ())
    assert spine.compare(SOURCE, dearer) == spine.Comparison(False, 500_007, (), ("more",), ("rule1",))
    draw = random.Random(5)
    folded = [spine.made(rules[:4], initial, ()) for rules, initial, _ in (drawn(draw) for _ in range(30))]
    for one, other in combinations(folded, 2):
        forth, back = spine.compare(one, other), spine.compare(other, one)
        assert forth.cost_difference_micro == -back.cost_difference_micro and forth.only_a == back.only_b


def test_the_grid_counts_every_rule_once() -> None:
    draw = random.Random(6)
    for _ in range(100):
        rules, initial, goals = drawn(draw)
        one = spine.made(rules, initial, goals)
        counts = spine.grid(one)
        assert sum(sum(row.values()) for row in counts.values()) == len(one.rules)
        assert all(depth >= 1 for depth in counts)
