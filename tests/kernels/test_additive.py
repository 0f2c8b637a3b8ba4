"""T2: additive costs against relaxing every rule again and again, and beyond what 64 bits hold."""

import numpy as np
import pytest

from core.spine import Rule
from core.trajectory import closure as plain
from kernels import additive, horn
from tests.campaigns import campaign
from tests.kernels import domains
from tests.kernels import naive_horn as naive


def costs(rules: list[Rule], initial: set[str], dearest: bool = False) -> dict[str, int]:
    program, holds, _ = domains.arrays(rules, initial, ())
    wait = horn.waiting(program.body_start, program.body, program.atoms)
    usable = np.ones(program.head.size, np.bool_)
    found = additive.values(program.body_start, program.head, program.cost, *wait, usable, holds, dearest=dearest)
    if not dearest:
        assert np.array_equal(found.value, additive.additive(program, holds))
    named = domains.numbers(rules, initial)
    return {atom: int(found.value[place]) for atom, place in named.items() if found.value[place] >= 0}


def test_they_are_what_relaxing_ends_at():
    for rules, initial, _ in naive.programs("T2"):
        assert costs(rules, initial) == naive.bellman_ford(rules, initial)


def test_the_dearest_premise_alone_is_what_relaxing_ends_at_too():
    for index in range(200):
        rules, initial, _ = naive.numbered(index)
        assert costs(rules, initial, dearest=True) == naive.bellman_ford(rules, initial, dearest=True)


def test_they_are_what_core_works_out():
    for index in range(200):
        rules, initial, _ = naive.numbered(index)
        assert costs(rules, initial) == plain.additive(rules, initial)


def test_a_cycle_without_cost_feeds_nobody():
    rules = [Rule("r1", ("a",), "b", 0), Rule("r2", ("b",), "a", 0), Rule("r3", ("b", "b"), "c", 1), Rule("r4", (), "a", 7)]
    assert costs(rules, set()) == {"a": 7, "b": 7, "c": 8}
    assert costs(rules[:3], set()) == {}


def test_these_programs_tell_a_premise_paid_twice():
    def twice(rule: Rule) -> Rule:
        return rule._replace(
            premises=tuple(f"{atom}{'again' * rule.premises[:place].count(atom)}" for place, atom in enumerate(rule.premises))
        )

    wrong = 0
    for index in range(100):
        rules, initial, _ = naive.numbered(index)
        atoms = {atom for rule in rules for atom in rule.premises}
        copies = [
            Rule(f"copy {atom}{more}", (atom,), f"{atom}{more}", 0) for atom in sorted(atoms) for more in ("again", "againagain")
        ]
        doubled = naive.bellman_ford([*map(twice, rules), *copies], initial)
        wrong += any(doubled[atom] != cost for atom, cost in naive.bellman_ford(rules, initial).items())
    assert wrong > 5


def test_what_is_beyond_64_bits_is_far_and_stays_so():
    rules = [Rule("r00", (), "a0", 2**53), Rule("s00", (), "b0", 2**53)]
    for level in range(1, 30):
        rules += [Rule(f"{name}{level:02}", (f"a{level - 1}", f"b{level - 1}"), f"{head}{level}", 1) for name, head in ("ra", "sb")]
    found, exact = costs(rules, set()), naive.bellman_ford(rules, set())
    assert exact["a29"] > 2**64
    assert found == {atom: min(cost, additive.FAR) for atom, cost in exact.items()}


def test_rules_that_may_not_be_used_give_nothing():
    program, holds, _ = domains.arrays([Rule("r1", (), "a", 1), Rule("r2", (), "a", 5), Rule("r3", ("a",), "b", 1)], (), ())
    wait = horn.waiting(program.body_start, program.body, program.atoms)
    found = additive.values(program.body_start, program.head, program.cost, *wait, np.array([False, True, True]), holds)
    assert sorted(found.value.tolist()) == [5, 6] and 0 not in found.via.tolist()


@pytest.mark.campaign
def test_relaxing_over_many_more_programs():
    def agrees(index: int) -> bool:
        rules, initial, _ = naive.numbered(index)
        return costs(rules, initial) == naive.bellman_ford(rules, initial)

    campaign("T2", agrees)
