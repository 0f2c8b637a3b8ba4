"""Programs as arrays: what is refused, and what of a program a search has to look at."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.spine import Rule
from kernels import horn
from kernels.beam import irredundant
from tests.kernels import domains
from tests.kernels import naive_horn as naive

ROOT = Path(__file__).parents[2]
RULES = [
    Rule("r1", ("a", "b", "a"), "c", 3),
    Rule("r2", (), "d", 0, "other"),
    Rule("r3", ("c", "d"), "e", 2**53),
]


def sound() -> domains.Arrays:
    return domains.arrays(RULES, {"a", "b"}, ("e",))


def test_a_sound_program_has_no_fault():
    program, initial, goals = sound()
    assert horn.fault(program, initial, goals) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"body_start": np.array([0, 3, 3, 6])}, "shape"),
        ({"body_start": np.array([0, 4, 3, 5])}, "shape"),
        ({"body_start": np.array([1, 3, 3, 5])}, "shape"),
        ({"body_start": np.array([0, 3, 5])}, "shape"),
        ({"cost": np.array([1, 2])}, "shape"),
        ({"head": np.array([0, 1], np.int32)}, "shape"),
        ({"group": np.array([0], np.int32)}, "shape"),
        ({"head": np.array([0, 1, 5], np.int32)}, "atom"),
        ({"body": np.array([0, 1, 0, -1, 1], np.int32)}, "atom"),
        ({"body": np.array([0, 1, 0, 2, 1])}, "type"),
        ({"cost": np.array([1.0, 2.0, 3.0])}, "type"),
        ({"cost": np.array([0, 0, -1])}, "cost"),
        ({"cost": np.array([0, 0, 2**53 + 1])}, "cost"),
        ({"group": np.array([0, 0, -1], np.int32)}, "group"),
        ({"group": np.array([0, 0, 2**20], np.int32)}, "group"),
        ({"atoms": 4}, "shape"),
    ],
)
def test_what_no_kernel_could_bear_is_named(change, fault):
    program, initial, goals = sound()
    assert horn.fault(program._replace(**change), initial, goals) == fault


def test_a_goal_that_is_no_atom_is_a_fault():
    program, initial, _ = sound()
    assert horn.fault(program, initial, np.array([program.atoms], np.int32)) == "atom"


def test_sums_do_not_overflow():
    assert horn.total(np.full(2_048, 2**53)) == 2_048 * 2**53


def kept(rules: list[Rule], initial: set[str], goals: tuple[str, ...], budgets: list[int] | None = None) -> list[str]:
    found, unreachable = horn.task(*domains.arrays(rules, initial, goals), None, None if budgets is None else np.array(budgets))
    assert not unreachable.size
    return [rules[place].rule_id for place in found.origin[:-1]]


def test_only_rules_that_can_be_applied_and_lead_to_a_goal_are_kept():
    rules = [
        Rule("idle", ("a",), "aside", 1),
        Rule("itself", ("goal", "a"), "goal", 1),
        Rule("known", ("b",), "a", 1),
        Rule("never", ("missing",), "b", 1),
        Rule("one", ("a",), "b", 1),
        Rule("two", ("b", "a", "b"), "goal", 1),
    ]
    assert kept(rules, {"a"}, ("goal",)) == ["one", "two"]


def test_of_rules_that_do_the_same_the_cheaper_that_needs_no_more_is_kept_and_of_twins_the_first():
    rules = [
        Rule("dear", ("a", "x"), "goal", 2),
        Rule("more", ("a", "x", "y"), "goal", 1),
        Rule("same", ("x", "a"), "goal", 1),
        Rule("twin", ("a", "x", "x"), "goal", 1),
        Rule("x", (), "x", 1),
        Rule("y", ("a",), "y", 1),
        Rule("z", ("y",), "goal", 0),
    ]
    assert kept(rules, {"a"}, ("goal",)) == ["same", "x", "y", "z"]


def test_a_dearer_rule_stays_where_another_group_would_have_to_pay():
    rules = [Rule("a", ("x",), "goal", 2, "g0"), Rule("b", ("x",), "goal", 1, "g1")]
    assert kept(rules, {"x"}, ("goal",)) == ["b"]
    assert kept(rules, {"x"}, ("goal",), [-1, 0]) == ["a", "b"]


def test_goals_that_cannot_be_reached_are_named_and_a_rule_that_is_not_allowed_reaches_none():
    program, initial, goals = sound()
    assert horn.task(program, initial, goals, np.array([True, False, True]))[1].tolist() == goals.tolist()
    assert horn.task(program, initial, goals)[1].size == 0


def test_a_goal_that_holds_already_costs_nothing():
    program, initial, _ = sound()
    task, unreachable = horn.task(program, initial, np.flatnonzero(initial).astype(np.int32))
    found = irredundant(task, np.empty(0, np.int32))
    assert not unreachable.size and found is not None and found.cost == 0 and task.rules == 1


def test_nothing_that_a_spine_might_need_is_left_out():
    for index in range(150):
        rules, initial, goals = naive.numbered(index, 9)
        task, unreachable = horn.task(*domains.arrays(rules, initial, goals))
        want = naive.least(rules, initial, goals)
        assert bool(unreachable.size) == (want is None)
        if want is not None:
            assert naive.least([rules[place] for place in task.origin[:-1]], initial, goals) == want


def compiled(tree: ast.Module) -> list[ast.FunctionDef]:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [node for node in found if any("njit" in ast.unparse(each) for each in node.decorator_list)]


def borrowed(source: str) -> set[str]:
    """Names from other files of ours that a compiled function uses."""
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kernels")]
    ours = {alias.asname or alias.name for node in imports for alias in node.names}
    used = {
        name.id for function in compiled(tree) for part in function.body for name in ast.walk(part) if isinstance(name, ast.Name)
    }
    return ours & used


@pytest.mark.parametrize("name", ["horn", "closure", "additive", "lmcut", "beam", "exact"])
def test_what_is_compiled_stands_in_one_file(name: str):
    """Numba looks only at that file to see whether what it has kept is still right."""
    assert borrowed((ROOT / "kernels" / f"{name}.py").read_text()) == set()


def test_a_name_from_another_file_would_be_seen():
    assert borrowed("from kernels.horn import waiting\n@njit(cache=True)\ndef _one(a):\n    return waiting(a)\n") == {"waiting"}


def test_whoever_plans_loads_no_jax():
    command = "import sys, irerd.work.trajectory; assert 'numba' in sys.modules; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
