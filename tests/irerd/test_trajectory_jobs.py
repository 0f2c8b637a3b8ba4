"""The jobs `closure` and `search`, as a worker runs them: bytes in, bytes out, and nothing that a kernel could stumble over."""

import time
from typing import Any

import numpy as np
import pytest

from core import spine as spines
from core.spine import Rule
from core.trajectory import closure as plain
from core.trajectory import front
from core.trajectory.question import Question, goals_of, plan
from irerd.trajectories import front_of, front_sheet
from irerd.worker import JOBS, NUMERIC, Field, Sheet, attempt, pack, unpack
from tests.kernels import domains, naive_horn

RULES = [
    Rule("r1", ("a",), "b", 1_000_000, "one"),
    Rule("r2", ("b",), "c", 500_000, "two"),
    Rule("r3", ("a",), "c", 2_000_000, "one"),
]


def field(array: Any) -> Field:
    return Field(array.dtype.newbyteorder("<").str, array.shape, array.tobytes())


def arrays(rules: list[Rule], initial: set[str], goals: tuple[str, ...] = ()) -> dict[str, Field]:
    program, holds, wanted = domains.arrays(rules, initial, goals)
    named = {name: field(getattr(program, name)) for name in ("body_start", "body", "head", "cost", "group")}
    return {**named, "initial": field(holds), **({"goals": field(wanted)} if goals else {}), "atoms": len(holds)}  # type: ignore[dict-item]


def told(done: int, total: int) -> None:
    assert 0 <= done <= total


def asked(job: str, given: dict[str, Any], **values: Any) -> Any:
    named = dict(given)
    found = attempt(job, pack({"atoms": named.pop("atoms"), **values}, named), told)
    return unpack(found) if isinstance(found, bytes) else found


def whole(sheet: Sheet, name: str) -> list[int]:
    kind, _, data = sheet.arrays[name]
    return np.frombuffer(data, kind).tolist()


def test_both_jobs_compile_and_are_known():
    assert {"closure", "search"} <= set(JOBS) and {"closure", "search"} <= NUMERIC


def test_closure_answers_what_core_works_out():
    given = arrays(RULES, {"a"})
    found = asked("closure", given, max_depth=None)
    named = domains.numbers(RULES, {"a"})
    want, cost = plain.closure(RULES, {"a"}), plain.additive(RULES, {"a"})
    for atom, place in named.items():
        assert whole(found, "depth")[place] == want[atom].depth and whole(found, "additive")[place] == cost[atom]
        assert whole(found, "rule")[place] == (-1 if want[atom].rule is None else want[atom].rule)
    assert max(whole(asked("closure", given, max_depth=0), "depth")) == 0
    assert asked("closure", given, max_depth=2**70) == found
    assert asked("closure", given, max_depth=-1) == ("bad-spec",)
    bare = asked("closure", given, max_depth=None, costs=False)
    assert set(bare.arrays) == {"depth", "rule"} and whole(bare, "depth") == whole(found, "depth"), "no costs unless wanted"
    assert asked("closure", given, max_depth=None, costs=1) == ("bad-spec",)


@pytest.mark.parametrize("mode", ["beam", "exact"])
def test_search_answers_a_spine_that_core_accepts(mode: str):
    for name, problem in domains.twelve(2).items():
        given = arrays(*problem[:3])
        found = asked("search", given, mode=mode, width=64, deadline_ms=60_000)
        assert found.values["status"] == "found" and found.values["finished"], name
        rules = [problem.rules[place] for place in whole(found, "rules")]
        spine = spines.made(rules, problem.initial, problem.goals)
        program = {rule.rule_id: rule for rule in problem.rules}
        spines.check(spine, program, problem.initial, problem.goals, found.values["cost"])
        assert found.values["bound"] <= found.values["cost"] and found.values["proof"] in ("optimal", "bound")
        assert (found.values["proof"] == "optimal") == (found.values["bound"] == found.values["cost"])
        assert mode == "beam" or found.values["proof"] == "optimal"


def fair(index: int, budgets: dict[str, int], cover: bool) -> front.Problem | None:
    rules, initial, goals = naive_horn.numbered(index, 14)
    asked = Question(rules, sorted(initial), {})
    planned = plan(asked, plain.closure(rules, initial), goals)
    owned = goals_of(asked, planned.goals) if cover else None
    within = planned.within()
    return front.problem(within, initial, budgets, {"g1": 2.0}, owned) if within.goals and within.rules else None


@pytest.mark.parametrize("cover", [False, True])
def test_a_front_from_a_worker_is_the_one_that_a_thread_finds(cover: bool):
    compared = 0
    for index in range(20):
        put = fair(index, {"g0": 9} if index % 2 else {}, cover)
        if put is None:
            continue
        here = front.solve(put)
        said = attempt("search", front_sheet(put, 60_000), told)
        assert here is not None and isinstance(said, bytes)
        found = front_of(unpack(said), put.order)
        assert found.finished and found.bound_micro == here.bound
        other = put.front()
        for laid in found.laid:
            other.offer([put.order.index(rule) for rule in laid])
        assert [point[:3] for point in other.points] == [point[:3] for point in here.points]
        compared += len(found.laid)
    assert compared > 12


@pytest.mark.parametrize(
    "change",
    [
        {"weights": None},
        {"weights": field(np.array([1.0, 0.0, 1.0]))},
        {"weights": field(np.array([1.0]))},
        {"weights": field(np.array([[1.0], [1.0], [1.0]]))},
        {"budgets": None},
        {"goals": None},
        {"initial": "all"},
        {"goals": "twice"},
        {"totals": field(np.array([1], np.int32))},
        {"owner_start": None},
        {"owner_start": field(np.array([0, 99]))},
        {"owners": field(np.array([7], np.int32))},
    ],
)
def test_what_is_no_question_for_a_front_is_refused(change: dict[str, Any]):
    put = next(put for index in range(20) if (put := fair(index, {}, True)) is not None and len(put.weights) == 3)
    sheet = unpack(front_sheet(put, 1_000))
    parts = dict(sheet.arrays)
    for name, new in change.items():
        before = parts.pop(name)
        if new == "all":
            parts[name] = Field("|b1", before.shape, b"\1" * before.shape[0])
        elif new == "twice":
            parts[name] = Field("<i4", (2 * before.shape[0],), bytes(before.data) * 2)
        elif new is not None:
            parts[name] = new
    assert attempt("search", pack(sheet.values, parts), told) == ("bad-spec",)
    assert isinstance(attempt("search", pack(sheet.values, sheet.arrays), told), bytes)


def search(given: dict[str, Any], **values: Any) -> Any:
    return asked("search", given, **{"mode": "exact", "width": 4, "deadline_ms": 10_000, **values})


def test_forbidden_rules_and_budgets_are_kept():
    given = arrays(RULES, {"a"}, ("c",))
    assert whole(search(given), "rules") == [0, 1]
    assert whole(search({**given, "forbidden": field(np.array([False, True, False]))}), "rules") == [2]
    assert whole(search({**given, "budgets": field(np.array([-1, 499_999]))}), "rules") == [2]
    for mode in ("exact", "beam"):
        nothing = search({**given, "budgets": field(np.array([999_999]))}, mode=mode)
        assert (nothing.values["status"], nothing.values["cost"], whole(nothing, "rules")) == ("nothing", None, [])


def test_goals_out_of_reach_are_named():
    found = search(arrays(RULES[1:2], {"a"}, ("a", "c")))
    assert found.values["status"] == "unreachable"
    assert whole(found, "unreachable") == [domains.numbers(RULES[1:2], {"a"}, ("a", "c"))["c"]]


def test_a_deadline_is_kept_and_the_answer_has_a_bound():
    """T12, in processor time: a busy machine may make it later, but does not make this fail."""
    problem = domains.recipes(40, 40, 2)
    given = arrays(*problem[:3])
    search(arrays(RULES, {"a"}, ("c",)))
    for mode in ("exact", "beam"):
        began = time.thread_time()
        found = search(given, mode=mode, width=64, deadline_ms=50)
        assert time.thread_time() - began <= 0.15
        assert not found.values["finished"] and found.values["proof"] == "bound" and 0 < found.values["bound"]


def test_totals_beyond_what_is_exact_are_refused():
    dear = [rule._replace(cost_micro=2**53) for rule in RULES[:2]]
    assert search(arrays(dear, {"a"}, ("c",))) == ("cost-precision",)
    assert search(arrays(dear, {"a"}, ("b",))).values["cost"] == 2**53


@pytest.mark.parametrize(
    "change",
    [
        {"atoms": None},
        {"atoms": -1},
        {"atoms": 2},
        {"goals": field(np.array([3], np.int32))},
        {"goals": field(np.array([0]))},
        {"head": field(np.array([1, 2, -1], np.int32))},
        {"body_start": field(np.array([0, 1, 2, 2**40]))},
        {"cost": field(np.array([1.0, 1.0, 1.0]))},
        {"cost": field(np.array([1, 1, -1]))},
        {"group": field(np.zeros((3, 1), np.int32))},
        {"forbidden": field(np.array([False]))},
        {"more": field(np.array([0]))},
    ],
)
def test_what_makes_no_program_is_refused(change: dict[str, Any]):
    assert search({**arrays(RULES, {"a"}, ("c",)), **change}) == ("bad-spec",)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"mode": "pareto"}, "bad-spec"),
        ({"mode": "widest"}, "bad-spec"),
        ({"width": "wide"}, "bad-spec"),
        ({"deadline_ms": None}, "bad-spec"),
        ({"deadline_ms": 0}, "out-of-range"),
        ({"width": 0}, "out-of-range"),
        ({"width": 65_537}, "out-of-range"),
    ],
)
def test_what_cannot_be_asked_is_refused(values: dict[str, Any], code: str):
    assert search(arrays(RULES, {"a"}, ("c",)), **values) == (code,)


def test_no_program_is_too_small():
    empty = {name: field(np.zeros(0, kind)) for name, kind in (("body", "i4"), ("head", "i4"), ("cost", "i8"), ("group", "i4"))}
    given = {**empty, "body_start": field(np.zeros(1, np.int64)), "initial": field(np.zeros(0, np.bool_)), "atoms": 0}
    assert whole(asked("closure", given, max_depth=None), "depth") == []
    assert search({**given, "goals": field(np.zeros(0, np.int32))}).values["cost"] == 0
