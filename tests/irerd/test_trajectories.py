"""No worker is believed: what it says of a program is held against the rules, and whatever does not agree is an error of ours.

The worker here is honest by way of the slow twins, unless a test has it lie.
"""

from array import array
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from core import trajectory
from core.engine import IRER, Refused
from core.spine import Rule
from core.trajectory import closure, front, reads, small
from core.trajectory.columns import Columns
from core.trajectory.question import question, snapshot
from irerd import trajectories
from irerd.session import Stream
from irerd.trajectories import TrajectoryPorts
from irerd.worker import Field, Sheet, pack, unpack
from irerd.workers import WorkFailed
from tests.core.engine_loop import EngineLoop

STREAM: Any = object.__new__(Stream)
RULES: list[dict[str, Any]] = [
    {"rule_id": "ab", "premises": ["A"], "conclusion": "B", "cost": 1.0},
    {"rule_id": "ac", "premises": ["A"], "conclusion": "C", "cost": 2.0, "group": "north"},
    {"rule_id": "bcd", "premises": ["B", "C"], "conclusion": "D", "cost": 0.5},
    {"rule_id": "bd", "premises": ["B"], "conclusion": "D", "cost": 4.0, "group": "north"},
    {"rule_id": "xy", "premises": ["X"], "conclusion": "Y", "cost": 1.0},
]

Lie = Callable[[str, dict[str, Any], dict[str, Any]], None]
"""Changes the values and the arrays of what the worker says of a job."""


def numbers(field: Field) -> list[int]:
    found = array("q" if field.dtype == "<i8" else "i")
    found.frombytes(bytes(field.data))
    return list(found)


def field(values: list[int], dtype: str = "<i4") -> Field:
    return Field(dtype, (len(values),), array("q" if dtype == "<i8" else "i", values).tobytes())


class Machine:
    """A host with one worker."""

    def __init__(self, lie: Lie | None = None, failure: Exception | None = None) -> None:
        self.jobs: list[str] = []
        self.lie, self.failure = lie, failure
        self.killed = False
        self.begun = trio.Event()
        self.endless = False

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    async def work(self, name: str, spec: bytes, *, timeout_s: float) -> bytes:
        self.jobs.append(name)
        self.begun.set()
        if self.failure is not None:
            raise self.failure
        if self.endless:
            try:
                await trio.sleep_forever()
            finally:
                self.killed = True
        values, arrays = honest(name, unpack(spec))
        if self.lie is not None:
            self.lie(name, values, arrays)
        return pack(values, arrays) if "raw" not in values else values["raw"]


def honest(name: str, sheet: Sheet) -> tuple[dict[str, Any], dict[str, Field]]:
    """The answer of a worker, thought out in plain Python. Atoms are named by their numbers."""
    columns = {each: numbers(sheet.arrays[each]) for each in ("body_start", "body", "head", "cost", "group")}
    starts = columns["body_start"]
    assert sheet.values["atoms"] == sheet.arrays["initial"].shape[0]
    rules = [
        Rule(f"{place:04}", tuple(map(str, columns["body"][starts[place] : starts[place + 1]])), str(head), cost, str(group))
        for place, (head, cost, group) in enumerate(zip(columns["head"], columns["cost"], columns["group"], strict=True))
    ]
    initial = [str(atom) for atom, holds in enumerate(bytes(sheet.arrays["initial"].data)) if holds]
    atoms = range(sheet.values["atoms"])
    if name == "closure":
        found = closure.closure(rules, initial, sheet.values["max_depth"])
        costs = closure.additive(rules, initial)
        depth = [found[str(atom)].depth if str(atom) in found else -1 for atom in atoms]
        via = [-1 if (how := found.get(str(atom))) is None or how.rule is None else how.rule for atom in atoms]
        said = {"depth": field(depth), "rule": field(via)}
        wanted = {"additive": field([costs.get(str(a), -1) for a in atoms], "<i8")} if sheet.values["costs"] else {}
        return {}, said | wanted
    goals = [str(goal) for goal in numbers(sheet.arrays["goals"])]
    if sheet.values["mode"] == "pareto":
        return honest_front(sheet, rules)
    limits = numbers(sheet.arrays["budgets"]) if "budgets" in sheet.arrays else []
    best = small.solve(rules, initial, goals, {str(group): most for group, most in enumerate(limits) if most >= 0})
    assert best is not None
    if best.rules is None:
        return {"status": "nothing", "cost": None, "bound": 0}, {"rules": field([])}
    chosen = sorted(int(rule.rule_id) for rule in best.rules)
    return {"status": "found", "cost": best.cost_micro, "bound": best.cost_micro}, {"rules": field(chosen)}


def honest_front(sheet: Sheet, rules: list[Rule]) -> tuple[dict[str, Any], dict[str, Field]]:
    weights = array("d", bytes(sheet.arrays["weights"].data))
    coverage = None
    if "totals" in sheet.arrays:
        starts, owners = numbers(sheet.arrays["owner_start"]), numbers(sheet.arrays["owners"])
        listed = [owners[begin:end] for begin, end in pairwise(starts)]
        coverage = front.Coverage(listed, numbers(sheet.arrays["totals"]), sheet.values["lost"])
    made = front.Rules(
        [[int(atom) for atom in rule.premises] for rule in rules],
        [int(rule.conclusion) for rule in rules],
        [rule.cost_micro for rule in rules],
        [int(rule.group) for rule in rules],
        sheet.values["atoms"],
    )
    search = front.Front(made, numbers(sheet.arrays["goals"]), numbers(sheet.arrays["budgets"]), weights, coverage)
    for _ in search.steps():
        pass
    starts = [0, *accumulate(len(point.rules) for point in search.points)]
    flat = [rule for point in search.points for rule in point.rules]
    return {"bound": search.bound, "finished": True}, {"starts": field(starts, "<i8"), "rules": field(flat)}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is small enough to be thought out here."""
    monkeypatch.setattr(trajectories, "LITERALS_HERE_MAX", -1)
    monkeypatch.setattr(small, "RULES_MAX", -1)
    monkeypatch.setattr(front, "RULES_HERE_MAX", -1)


def daemon(machine: Machine, rules: list[dict[str, Any]] = RULES) -> tuple[TrajectoryPorts, EngineLoop]:
    async def settled() -> None:
        pass

    loop = EngineLoop(trajectory.ENGINE)
    loop.ask("load", {"problem": {"facts": ["A"], "rules": rules}})
    made: Any = SimpleNamespace(host=machine, world=loop.world, dispatch=SimpleNamespace(settled=settled))
    return TrajectoryPorts(made), loop


def ask(ports: TrajectoryPorts, params: Any) -> Any:
    methods: Mapping[type, Any] = {
        reads.ForwardChain: ports.forward_chain,
        reads.Explain: ports.explain,
        reads.Search: ports.search,
    }
    return trio.run(methods[type(params)], params, IRER, STREAM)


def refused(machine: Machine, params: Any) -> Refused:
    ports, _ = daemon(machine)
    with pytest.raises(Refused) as caught:
        ask(ports, params)
    return caught.value


QUESTIONS: list[Any] = [
    reads.ForwardChain(),
    reads.ForwardChain(max_depth=1),
    reads.ForwardChain(initial=["X", "B"], denied=["D"]),
    reads.Explain("D"),
    reads.Explain("Y"),
    reads.Search(),
    reads.Search(goals=["D", "B"], mode="exact"),
    reads.Search(goals=["Y"]),
    reads.Search(initial=["A", "X"], goals=["Y", "D"], forbidden=["bcd"]),
    reads.Search(goals=["D"], budgets={"north": 1.0}),
    reads.Search(goals=["D"], budgets={"north": 2.0}),
    reads.Search(goals=["A"]),
    reads.Search(goals=["D", "B"], mode="pareto", weights=reads.Weights(fairness=1.0)),
    reads.Search(goals=["D"], mode="pareto", budgets={"north": 1.0}),
    reads.Search(goals=["D", "C", "Y"], mode="pareto", fairness="coverage"),
    reads.Search(goals=["D", "C", "Y"], fairness="coverage"),
    reads.Search(goals=["A"], mode="pareto"),
]


@pytest.mark.parametrize("params", QUESTIONS, ids=lambda each: repr(each)[:60])
def test_here_and_in_a_worker_the_answer_is_the_same(params: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(failure=AssertionError("a small program needs no worker"))
    here = ask(daemon(machine)[0], params)
    assert not machine.jobs
    monkeypatch.setattr(trajectories, "LITERALS_HERE_MAX", -1)
    monkeypatch.setattr(small, "RULES_MAX", -1)
    monkeypatch.setattr(front, "RULES_HERE_MAX", -1)
    machine = Machine()
    assert ask(daemon(machine)[0], params) == here
    assert "closure" in machine.jobs


def test_the_source_example_is_optimal_with_a_bound() -> None:
    found = ask(daemon(Machine(), RULES[:1])[0], reads.Search(initial=["A"]))
    assert [rule.rule_id for rule in found.spine.rules] == ["ab"] and found.goals == found.spine.goals == ["B"]
    assert (found.cost, found.bound, found.score, found.proof) == (1.0, 1.0, 1.0, "optimal")


def test_a_front_holds_what_is_cheap_and_what_is_fair_and_the_weights_choose() -> None:
    asked = reads.Search(goals=["D"], mode="pareto")
    cheap = ask(daemon(Machine())[0], asked)
    told = [(point.cost, round(point.fairness, 4), point.rules) for point in cheap.front]
    assert told == [(3.5, 0.98, ["ab", "ac", "bcd"])]
    dearer = [*RULES, {"rule_id": "ad", "premises": ["A"], "conclusion": "D", "cost": 3.0}]
    ports, _ = daemon(Machine(), dearer)
    cheap = ask(ports, asked)
    assert [point.rules for point in cheap.front] == [["ad"], ["ab", "ac", "bcd"]] and cheap.front_count == 2
    assert (cheap.cost, cheap.bound, cheap.score, cheap.proof) == (3.0, 3.0, 1.0, "optimal")
    fair = ask(ports, reads.Search(goals=["D"], mode="pareto", weights=reads.Weights(efficiency=0.0, fairness=1.0)))
    assert fair.cost == 3.5 and fair.score == fair.fairness == fair.front[1].fairness and fair.front[1].score == fair.score
    assert [point.hash for point in fair.front] == [point.hash for point in cheap.front]


def test_coverage_does_without_goals_that_are_out_of_reach() -> None:
    found = ask(daemon(Machine())[0], reads.Search(goals=["C", "D", "Y"], fairness="coverage"))
    assert found.unreachable == ["Y"] and found.spine.goals == ["C", "D"] and found.goals == ["C", "D", "Y"]
    # Of the default group D is reached and Y is not; of the north both, C and D.
    assert (found.cost, round(found.fairness, 4), round(found.score, 4)) == (3.5, 0.9, 0.6667)
    none = ask(daemon(Machine())[0], reads.Search(goals=["Y"], fairness="coverage"))
    assert (none.spine, none.unreachable) == (None, ["Y"])


def test_a_front_of_coverage_does_without_what_its_budgets_do_not_allow() -> None:
    tight = {"goals": ["B", "C"], "budgets": {"north": 1.0}}
    assert ask(daemon(Machine())[0], reads.Search(**tight)).spine is None
    found = ask(daemon(Machine())[0], reads.Search(**tight, mode="pareto", fairness="coverage"))
    assert [(point.cost, point.goals) for point in found.front] == [(0.0, 0), (1.0, 1)]
    assert found.spine.goals == ["B"] and found.proof == "optimal"


def test_goals_that_no_rules_lead_to_are_named_and_an_empty_program_has_an_empty_spine() -> None:
    found = ask(daemon(Machine())[0], reads.Search(goals=["Y", "D", "nowhere"]))
    assert (found.spine, found.cost, found.unreachable) == (None, None, ["Y", "nowhere"])
    empty = ask(daemon(Machine(), [])[0], reads.Search())
    assert empty.spine.rules == [] and (empty.cost, empty.goals, empty.proof) == (0.0, [], "optimal")


def test_new_costs_keep_the_closure_and_new_rules_do_not(elsewhere: None) -> None:
    machine = Machine()
    ports, loop = daemon(machine)
    first = ask(ports, reads.Search(goals=["D"]))
    assert machine.jobs == ["closure", "search"] and first.cost == 3.5
    loop.ask("set_costs", {"costs": {"bd": 1.0}})
    assert ask(ports, reads.Search(goals=["D"])).cost == 2.0 and machine.jobs[2:] == ["search"]
    loop.ask("add_rule", {"rule_id": "ad", "premises": ["A"], "conclusion": "D", "cost": 0.25})
    assert ask(ports, reads.Search(goals=["D"])).cost == 0.25 and machine.jobs[3:] == ["closure", "search"]


def test_new_costs_are_in_the_next_closure_that_is_told() -> None:
    ports, loop = daemon(Machine())
    assert [atom.cost for atom in ask(ports, reads.ForwardChain()).atoms] == [0.0, 1.0, 2.0, 3.5]
    loop.ask("set_costs", {"costs": {"ab": 0.5}})
    assert [atom.cost for atom in ask(ports, reads.ForwardChain()).atoms] == [0.0, 0.5, 2.0, 3.0]


def values(**changed: Any) -> Lie:
    def lie(name: str, said: dict[str, Any], arrays: dict[str, Any]) -> None:
        if name == "search":
            said.update(changed)

    return lie


def arrays(job: str = "search", **changed: Any) -> Lie:
    def lie(name: str, said: dict[str, Any], told: dict[str, Any]) -> None:
        if name == job:
            told.update(changed)

    return lie


def both(cost: int, rules: list[int]) -> Lie:
    """A cost that fits the rules: only walking them through tells."""

    def lie(name: str, said: dict[str, Any], told: dict[str, Any]) -> None:
        if name == "search":
            said.update(cost=cost, bound=0)
            told.update(rules=field(rules))

    return lie


# The rules of the search are sorted by name: ab 0, ac 1, bcd 2, bd 3.
SEARCH_LIES: dict[str, Lie] = {
    "no sheet": values(raw=b"\xff\xff\xff\xff"),
    "no status": values(status="well"),
    "unreachable": values(status="unreachable"),
    "nothing, and no budget stands in the way": values(status="nothing"),
    "another cost": values(cost=3_000_000),
    "no cost": values(cost=None),
    "a bound above the cost": values(bound=3_500_001),
    "a bound below nothing": values(bound=-1),
    "a bound that is no number": values(bound=True),
    "a rule that is not there": arrays(rules=field([0, 1, 4])),
    "a rule below the first": arrays(rules=field([-1, 1, 2])),
    "a rule twice": arrays(rules=field([0, 0, 1, 2])),
    "rules as other numbers": arrays(rules=field([0, 1, 2], "<i8")),
    "no rules": arrays(rules=Field("<i4", (1, 3), field([0, 1, 2]).data)),
    "a goal that is not reached": both(3_000_000, [0, 1]),
    "a premise that is missing": both(2_500_000, [1, 2]),
    "a rule too many": both(7_500_000, [0, 1, 2, 3]),
    "nothing at all": both(0, []),
}


@pytest.mark.parametrize("lie", SEARCH_LIES)
def test_a_spine_that_cannot_be_walked_as_it_is_told_is_no_answer(lie: str, elsewhere: None) -> None:
    said = refused(Machine(SEARCH_LIES[lie]), reads.Search(goals=["D"]))
    assert (said.code, said.reason) == ("internal", "bad-output")


# The front of D is [ab, ac, bcd]: rules 0, 1 and 2.
FRONT_LIES: dict[str, Lie] = {
    "a bound that its cheapest spine is below": values(bound=3_500_001),
    "a bound below nothing": values(bound=-1),
    "finished, perhaps": values(finished=None),
    "rules that are not there": arrays(rules=field([0, 1, 9])),
    "a rule twice": arrays(rules=field([0, 1, 1])),
    "a spine twice": arrays(starts=field([0, 3, 6], "<i8"), rules=field([0, 1, 2] * 2)),
    "starts that go back": arrays(starts=field([0, 4, 2, 3], "<i8")),
    "starts beyond the end": arrays(starts=field([0, 4], "<i8")),
    "no starts": arrays(starts=field([], "<i8")),
    "a premise that is missing": arrays(starts=field([0, 2], "<i8"), rules=field([1, 2])),
    "a rule too many": arrays(starts=field([0, 4], "<i8"), rules=field([0, 1, 2, 3])),
    "one that another beats": arrays(starts=field([0, 3, 5], "<i8"), rules=field([0, 1, 2, 0, 3])),
}


@pytest.mark.parametrize("lie", FRONT_LIES)
def test_a_front_that_cannot_be_walked_is_no_answer(lie: str, elsewhere: None) -> None:
    said = refused(Machine(FRONT_LIES[lie]), reads.Search(goals=["D"], mode="pareto"))
    assert (said.code, said.reason) == ("internal", "bad-output")


def test_a_spine_beyond_its_budget_is_no_answer(elsewhere: None) -> None:
    asked = reads.Search(goals=["D"], budgets={"north": 2.0})
    assert refused(Machine(both(5_000_000, [0, 3])), asked).reason == "bad-output"
    assert ask(daemon(Machine())[0], asked).cost == 3.5


def test_what_was_not_proved_is_called_so_whatever_the_worker_calls_it(elsewhere: None) -> None:
    def said(**changed: Any) -> str:
        return str(ask(daemon(Machine(values(**changed)))[0], reads.Search(goals=["D"])).proof)

    assert said(bound=3_499_999, proof="optimal") == "bound"
    assert said(bound=0, proof="optimal") == "heuristic"
    assert said(proof="heuristic") == "optimal"


def test_a_search_that_was_stopped_before_it_found_anything_proves_nothing(elsewhere: None) -> None:
    found = ask(daemon(Machine(values(status="stopped", cost=None)))[0], reads.Search(goals=["D"]))
    assert (found.spine, found.cost, found.proof, found.unreachable) == (None, None, "heuristic", [])


# Atoms by number: A 0, B 1, C 2, D 3, X 4, Y 5; rules as in RULES.
CLOSURE_LIES: dict[str, tuple[Lie, Any]] = {
    "a rule that concludes another": (arrays("closure", rule=field([-1, 1, 1, 2, -1, -1])), reads.ForwardChain()),
    "a depth that is not": (arrays("closure", depth=field([0, 1, 1, 3, -1, -1])), reads.ForwardChain()),
    "a premise that does not hold": (
        arrays("closure", depth=field([0, 1, 1, 2, -1, 1]), rule=field([-1, 0, 1, 2, -1, 4])),
        reads.ForwardChain(),
    ),
    "an atom out of nothing": (arrays("closure", depth=field([0, 1, 1, 2, 1, -1])), reads.ForwardChain()),
    "a rule that is not there": (arrays("closure", rule=field([-1, 0, 1, 9, -1, -1])), reads.ForwardChain()),
    "too few atoms": (arrays("closure", depth=field([0, 1])), reads.ForwardChain()),
    "no depth": (arrays("closure", depth=field([0] * 6, "<i8")), reads.ForwardChain()),
    "no cost": (arrays("closure", additive=field([0, 1, -1, 1, -1, -1], "<i8")), reads.ForwardChain()),
    "an atom less": (arrays("closure", depth=field([0, 1, 1, -1, -1, -1])), reads.Explain("D")),
    "an atom less, as a goal": (arrays("closure", depth=field([0, 1, 1, -1, -1, -1])), reads.Search(goals=["D"])),
    "a later rule": (arrays("closure", depth=field([0, 1, 1, 2, -1, -1]), rule=field([-1, 0, 1, 3, -1, -1])), reads.Explain("D")),
    "a cost too low": (arrays("closure", additive=field([0, 10**6, 2 * 10**6, 3 * 10**6, -1, -1], "<i8")), reads.ForwardChain()),
    "a cost too high": (arrays("closure", additive=field([0, 10**6, 2 * 10**6, 4 * 10**6, -1, -1], "<i8")), reads.ForwardChain()),
    "the dearer of two ways": (
        arrays("closure", additive=field([0, 10**6, 2 * 10**6, 5 * 10**6, -1, -1], "<i8")),
        reads.ForwardChain(),
    ),
    "a fact that costs": (arrays("closure", additive=field([1, 10**6 + 1, 10, 10, -1, -1], "<i8")), reads.ForwardChain()),
    "a round too early": (arrays("closure", depth=field([0, 1, 1, 1, -1, -1])), reads.Explain("D")),
    "a round less than asked for": (
        arrays("closure", depth=field([0, -1, -1, -1, -1, -1]), rule=field([-1] * 6)),
        reads.ForwardChain(max_depth=1),
    ),
}


@pytest.mark.parametrize("lie", CLOSURE_LIES)
def test_a_closure_that_does_not_agree_with_the_rules_is_no_answer(lie: str, elsewhere: None) -> None:
    tampered, params = CLOSURE_LIES[lie]
    said = refused(Machine(tampered), params)
    assert (said.code, said.reason) == ("internal", "bad-output")


@pytest.mark.parametrize(
    ("failed", "code", "reason"),
    [
        (WorkFailed("not-installed", "numba"), "failed-precondition", "not-installed"),
        (WorkFailed("timeout"), "deadline-exceeded", "timeout"),
        (WorkFailed("poison", "memory"), "resource-exhausted", "memory"),
        (WorkFailed("no-memory"), "resource-exhausted", "no-memory"),
        (WorkFailed("busy"), "resource-exhausted", "busy"),
        (WorkFailed("cost-precision"), "invalid-argument", "cost-precision"),
        (WorkFailed("poison", "died"), "unavailable", "poison"),
        (WorkFailed("closed"), "unavailable", "closed"),
    ],
)
def test_every_failure_of_a_worker_has_a_code_and_a_remedy(failed: WorkFailed, code: str, reason: str, elsewhere: None) -> None:
    said = refused(Machine(failure=failed), reads.ForwardChain())
    assert (said.code, said.reason) == (code, reason) and ". " in said.detail


def test_a_spine_too_dear_to_be_priced_is_refused() -> None:
    dear = [
        {**RULES[0], "rule_id": f"r{each}", "premises": [f"a{each}"], "conclusion": f"a{each + 1}", "cost": 1e9}
        for each in range(10)
    ]
    with pytest.raises(Refused) as said:
        ask(daemon(Machine(), dear)[0], reads.Search(initial=["a0"]))
    assert (said.value.code, said.value.reason) == ("invalid-argument", "cost-precision")


def test_who_hangs_up_ends_the_work(elsewhere: None) -> None:
    async def main() -> Machine:
        machine = Machine()
        ports, _ = daemon(machine)
        await ports.forward_chain(reads.ForwardChain(), IRER, STREAM)
        machine.endless, machine.begun = True, trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ports.search, reads.Search(goals=["D"]), IRER, STREAM)
            await machine.begun.wait()
            nursery.cancel_scope.cancel()
        return machine

    assert trio.run(main).killed


def test_a_spine_that_fits_no_answer_is_refused_with_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "PAGE_VALUES_MAX", 20)
    said = refused(Machine(), reads.Search(goals=["D"]))
    assert (said.code, said.reason) == ("resource-exhausted", "spine-too-large") and "costs 3.5" in said.detail


def test_goals_that_fit_no_answer_are_refused_with_what_to_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual goals of a large program, none of which is within the budgets."""
    monkeypatch.setattr(reads, "PAGE_VALUES_MAX", 5)
    said = refused(Machine(), reads.Search(budgets={"default": 0.0, "north": 0.0}))
    assert (said.code, said.reason) == ("resource-exhausted", "spine-too-large") and "fewer goals" in said.detail


def test_an_answer_is_put_together_away_from_the_loop() -> None:
    """Of a hundred thousand rules that takes a tenth of a second."""
    ports, _ = daemon(machine := Machine())
    elsewhere: list[str] = []
    offload = machine.offload

    async def told(function: Callable[..., Any], *args: Any) -> Any:
        elsewhere.append(function.__name__)
        return await offload(function, *args)

    machine.offload = told  # type: ignore[method-assign]
    ask(ports, reads.Search(goals=["D"]))
    assert elsewhere[-1] == "answer"


def test_only_so_many_closures_are_kept() -> None:
    ports, _ = daemon(Machine())
    for depth in range(20):
        ask(ports, reads.ForwardChain(max_depth=depth))
    assert len(ports._closures) == len(ports._costs) + 3 == trajectories.CLOSURES_KEPT


def _told(names: Any, spec: bytes) -> tuple[Any, ...]:
    """A sheet in words."""
    arrays = {name: _numbers_in(field) for name, field in unpack(spec).arrays.items()}
    bodies = [[names[atom] for atom in arrays["body"][begin:end]] for begin, end in pairwise(arrays["body_start"])]
    listed = [names[atom] for atom in range(len(names))]
    holding = {name for name, holds in zip(listed, arrays["initial"], strict=True) if holds}
    assert len(set(listed)) == len(listed), "each atom has one number"
    return bodies, [names[atom] for atom in arrays["head"]], arrays["cost"], holding


def _numbers_in(field: Field) -> list[int]:
    return array({"<i8": "q", "<i4": "i", "|b1": "b"}[field.dtype], bytes(field.data)).tolist()


RULES_OF_TWO = [
    {"rule_id": "r1", "premises": ["A", "B", "A"], "conclusion": "é", "cost": 1.5, "group": "north"},
    {"rule_id": "r2", "premises": [], "conclusion": "B"},
    {"rule_id": "r3", "premises": ["é"], "conclusion": "A"},
]


@pytest.mark.parametrize("initial", [None, ["é", "nobody's", "A"], []])
@pytest.mark.parametrize("way", ["at once", "in parts that name atoms again", "with a rule told later"])
def test_a_sheet_made_of_columns_says_what_one_made_of_rules_says(initial: list[str] | None, way: str) -> None:
    loop = EngineLoop(trajectory.ENGINE)
    first, rest = (RULES_OF_TWO, []) if way == "at once" else (RULES_OF_TWO[:2], RULES_OF_TWO[2:])
    loop.ask("load", {"problem": {"facts": ["A", "elsewhere"], "rules": first}, "more": way.startswith("in parts")})
    if way.startswith("in parts"):
        loop.ask("load", {"problem": {"rules": rest}, "part": 1})
    for rule in rest if way.startswith("with") else ():
        loop.ask("add_rule", rule)
    listed, held = snapshot(loop.state), snapshot(loop.state, 0)
    assert list(held.rules) == listed.rules and isinstance(held.rules, Columns)
    asked, plainly = question(held, initial, []), question(listed, initial, [])
    names, known, spec = trajectories.whole_sheet(asked, {})
    told = _told(names, spec)
    assert told == _told(*trajectories.sheet(plainly.rules, plainly.initial, {}))
    assert [names[number] for number in known] == plainly.initial
    assert told[1] == ["é", "B", "A"] and told[3] == set(initial if initial is not None else ["A", "elsewhere"])
    blocked = question(held, initial or [], ["B"])
    assert _told(*trajectories.whole_sheet(blocked, {})[::2])[1] == ["é", "A"], "a rule left out is in no sheet"
    rules, goals, budgets = trajectories.by_name(asked.rules), ["B", "nobody's goal"], {"north": 5}
    same = trajectories.sheet(trajectories.by_name(plainly.rules), plainly.initial, {"mode": "beam"}, goals, budgets)[1]
    assert trajectories.search_sheet(rules, asked.initial, {"mode": "beam"}, goals, budgets) == same, "so ties are broken alike"
