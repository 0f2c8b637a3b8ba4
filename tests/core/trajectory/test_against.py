"""What a worker says about a closure is taken if it is true, and only then: right to the last depth, rule and cost."""

import random
from array import array
from typing import Any

import numpy as np
import pytest

from core.spine import Rule
from core.trajectory import against
from core.trajectory.against import Arrays
from core.trajectory.closure import FAR, additive, closure
from core.trajectory.columns import Names

ATOMS = 9


def program(seed: int) -> tuple[list[Rule], list[str]]:
    chance = random.Random(seed)
    dear = [0, 1, 3, 10**15] if seed % 3 else [0]
    rules = [
        Rule(
            f"r{place}",
            tuple({f"a{chance.randrange(ATOMS)}": None for _ in range(chance.choice([0, 1, 1, 2, 3]))}),
            f"a{chance.randrange(ATOMS)}",
            chance.choice(dear),
        )
        for place in range(chance.randrange(14))
    ]
    return rules, sorted({f"a{chance.randrange(ATOMS)}" for _ in range(chance.randrange(3))})


def arrays_of(rules: list[Rule], initial: list[str]) -> Arrays:
    names = [f"a{place}" for place in range(ATOMS)]
    body = [names.index(premise) for rule in rules for premise in rule.premises]
    start = np.cumsum([0, *(len(rule.premises) for rule in rules)]).astype(np.int64)
    head = np.array([names.index(rule.conclusion) for rule in rules], np.int32)
    cost, known = np.array([rule.cost_micro for rule in rules], np.int64), against.places([names.index(name) for name in initial])
    return Arrays(start, np.array(body, np.int32), head, cost, known, Names.of(names))


def names_of(told: Arrays) -> list[str]:
    return [told.names[number] for number in range(len(told.names))]


def answers(rules: list[Rule], initial: list[str], told: Arrays, most: int | None) -> tuple[Any, Any, Any]:
    found, cost = closure(rules, initial, most), additive(rules, initial)
    depth = np.array([found[name].depth if name in found else -1 for name in names_of(told)], np.int32)
    via = np.array([-1 if name not in found or (rule := found[name].rule) is None else rule for name in names_of(told)], np.int32)
    return depth, via, np.array([cost.get(name, -1) for name in names_of(told)], np.int64)


@pytest.mark.parametrize("seed", range(150))
def test_the_truth_is_taken_and_nothing_else(seed: int) -> None:
    rules, initial = program(seed)
    initial = initial[::-1] if seed % 5 else initial
    told = arrays_of(rules, initial)
    most = None if seed % 2 else seed % 4
    depth, via, value = answers(rules, initial, told, most)
    found = against.derived(told, depth, via, most)
    assert found == closure(rules, initial, most) and list(found) == list(closure(rules, initial, most)), "in the same order"
    assert against.costs(told, value) == additive(rules, initial)
    for atom in told.known.tolist():
        other = against.derived(told, _with(depth, atom, -1), _with(via, atom, 0), most)
        assert other == found, "what holds from the start nobody has to say"
    for atom in sorted(set(range(ATOMS)) - set(told.known.tolist())):
        for lie in (-2, -1, 0, 1, 2, depth[atom] + 1, depth[atom] - 1, 2**31 - 1):
            if lie != depth[atom]:
                assert against.derived(told, _with(depth, atom, lie), via, most) is None
        if depth[atom] >= 0:
            for lie in (-1, len(rules), *range(len(rules))):
                if lie != via[atom]:
                    assert against.derived(told, depth, _with(via, atom, lie), most) is None
    for atom in range(ATOMS):
        for lie in (-2, -1, 0, value[atom] + 1, value[atom] - 1, FAR, FAR + 1, 2**63 - 1):
            if 0 <= lie != value[atom] or lie < -1 or (lie == -1 and value[atom] >= 0):
                assert against.costs(told, _with(value, atom, lie)) is None


def _with(values: Any, place: int, lie: int) -> Any:
    changed = values.copy()
    changed[place] = lie
    return changed


def test_costs_beyond_sixty_four_bits_are_added_up_and_end_at_the_most() -> None:
    """Each atom costs sixty-four times the one before: after a few of them no machine number holds the sum."""
    rules = [Rule("r0", (), "a0", 10**15)]
    rules += [Rule(f"r{place}", (f"a{place - 1}",) * 64, f"a{place}", 10**15) for place in range(1, ATOMS)]
    told = arrays_of(rules, [])
    value, exact = [], 0
    for _ in rules:
        exact = 64 * exact + 10**15
        value.append(min(exact, FAR))
    assert value[-1] == FAR and 2**53 < value[1] < FAR
    assert against.costs(told, np.array(value, np.int64)) == dict(zip(names_of(told), value, strict=True))
    for place in range(ATOMS):
        assert against.costs(told, _with(np.array(value, np.int64), place, value[place] - 1)) is None


def test_a_program_without_rules_or_atoms_has_a_closure_too() -> None:
    empty = Arrays(
        *(against.array_of(array(kind, more).tobytes(), dtype) for kind, dtype, more in EMPTY), against.places([]), Names.of([])
    )
    none = np.zeros(0, np.int32)
    assert against.derived(empty, none, none, None) == {} and against.costs(empty, np.zeros(0, np.int64)) == {}


EMPTY: list[tuple[str, str, list[int]]] = [("q", "<i8", [0]), ("i", "<i4", []), ("i", "<i4", []), ("q", "<i8", [])]
