"""T1: the closure against the naive fixpoint, against the plain one of core, and against clingo's least model."""

import numpy as np
import pytest

from core.spine import Rule
from core.trajectory import closure as plain
from kernels.closure import closure
from kernels.horn import Program
from tests.campaigns import campaign
from tests.kernels import domains
from tests.kernels import naive_horn as naive


def derived(rules: list[Rule], initial: set[str], rounds: int | None = None) -> dict[str, tuple[int, int | None]]:
    """The kernel's answer, in words."""
    program, holds, _ = domains.arrays(rules, initial, ())
    depth, rule = closure(program, holds, rounds)
    assert not np.any((depth <= 0) & (rule >= 0))
    named = domains.numbers(rules, initial)
    return {
        atom: (int(depth[place]), int(rule[place]) if rule[place] >= 0 else None)
        for atom, place in named.items()
        if depth[place] >= 0
    }


def test_it_is_the_naive_fixpoint_to_the_first_rule_of_each_atom():
    for index, (rules, initial, _) in enumerate(naive.programs("T1")):
        rounds = None if index % 2 else index % 7
        assert derived(rules, initial, rounds) == naive.fixpoint(rules, initial, rounds), index


def test_it_is_what_core_works_out():
    for index in range(200):
        rules, initial, _ = naive.numbered(index)
        rounds = None if index % 2 else index % 7
        want = {atom: (found.depth, found.rule) for atom, found in plain.closure(rules, initial, rounds).items()}
        assert derived(rules, initial, rounds) == want


def countdown(rules: list[Rule], initial: set[str], empty: bool, repeats: bool) -> set[str]:
    """What a countdown reaches that starts no rule of an empty body, or counts an atom that is named twice on one side only."""
    left = [len(rule.premises) for rule in rules]
    known = set(initial) | ({rule.conclusion for rule in rules if not rule.premises} if empty else set())
    agenda = list(known)
    while agenda:
        atom = agenda.pop()
        for place, rule in enumerate(rules):
            times = rule.premises.count(atom)
            left[place] -= times if repeats else bool(times)
            if times and not left[place] and rule.conclusion not in known:
                known.add(rule.conclusion)
                agenda.append(rule.conclusion)
    return known


def test_these_programs_tell_a_wrong_countdown_from_a_right_one():
    wrong = {(True, True): 0, (False, True): 0, (True, False): 0}
    for index in range(100):
        rules, initial, _ = naive.numbered(index)
        for way in wrong:
            wrong[way] += countdown(rules, initial, *way) != set(naive.fixpoint(rules, initial))
    assert wrong[True, True] == 0 and wrong[False, True] > 5 and wrong[True, False] > 5


def test_a_long_chain_is_as_deep_as_it_is_long():
    count = 50_000
    order = np.random.default_rng(3).permutation(count)
    start = np.arange(count + 1, dtype=np.int64)
    body, head = np.arange(count, dtype=np.int32)[order], np.arange(1, count + 1, dtype=np.int32)[order]
    program = Program(start, body, head, np.zeros(count, np.int64), np.zeros(count, np.int32), count + 1)
    initial = np.zeros(count + 1, np.bool_)
    initial[0] = True
    assert np.array_equal(closure(program, initial).depth, np.arange(count + 1))
    assert int((closure(program, initial, 100).depth >= 0).sum()) == 101


def test_no_rules_and_no_atoms_are_no_trouble():
    empty = Program(np.zeros(1, np.int64), *(np.empty(0, np.int32),) * 2, np.empty(0, np.int64), np.empty(0, np.int32), 0)
    assert closure(empty, np.empty(0, np.bool_)).depth.size == 0


def test_it_is_the_least_model_of_clingo():
    pytest.importorskip("clingo", reason="clingo is not installed: the least model is compared with the naive fixpoint alone")
    for rules, initial, _ in naive.programs("T1-clingo"):
        assert set(derived(rules, initial)) == naive.clingo_model(rules, initial)


@pytest.mark.campaign
def test_the_fixpoint_over_many_more_programs():
    def agrees(index: int) -> bool:
        rules, initial, _ = naive.numbered(index)
        return derived(rules, initial) == naive.fixpoint(rules, initial)

    campaign("T1", agrees)


@pytest.mark.campaign
def test_the_least_model_over_many_more_programs():
    pytest.importorskip("clingo", reason="clingo is not installed")

    def agrees(index: int) -> bool:
        rules, initial, _ = naive.numbered(index)
        return set(derived(rules, initial)) == naive.clingo_model(rules, initial)

    campaign("T1-clingo", agrees)
