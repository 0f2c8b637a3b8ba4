"""What follows from the program, why, and the cheapest way: in a thread where that is quick, else in a worker.

A worker is not believed: a spine is walked through by `core/spine.py` before anybody sees it, a closure is held against all rules.
What does not agree is an error of ours and no answer. Only that nothing is below a bound, or within the budgets, is its word alone.
Who hangs up ends the work.
"""

from array import array
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, chain, count, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from core import spine as spines
from core.engine import Actor, Refused
from core.spine import BadSpine, Rule, Spine
from core.trajectory import against, closure, columns, front, reads, small
from core.trajectory.closure import Derived
from core.trajectory.columns import Columns, Names
from core.trajectory.program import Program
from core.trajectory.question import Plan, Question, Snapshot, goals_of, plan, question, snapshot
from irerd.session import Stream
from irerd.worker import BadSheet, Field, Sheet, pack, unpack
from irerd.workers import WorkFailed

if TYPE_CHECKING:
    from irerd.daemon import Daemon

LITERALS_HERE_MAX = 50_000
"""Premises and conclusions of a program whose closure is worked out in a thread: some hundredths of a second."""
CLOSURES_KEPT = 4
START_S = 120.0
"""What a worker may take besides the time that it was given to search: to start, and to compile at the first time."""
CLOSURE_S = 300.0

_REFUSALS = {
    "not-installed": (
        "failed-precondition",
        "a numeric library is not installed where irerd runs. Install irer with its science extra, then ask again",
    ),
    "timeout": ("deadline-exceeded", "it took far longer than it was given. Ask again, or for less: a smaller beam_width"),
    "memory": (
        "resource-exhausted",
        "it needs more memory than a worker may have. Have an admin raise compute.memory_bytes and restart irerd",
    ),
    "no-memory": ("resource-exhausted", "/dev/shm has no room to hand it over. Free some there, then ask again"),
    "cost-precision": (
        "invalid-argument",
        "its costs add up to more than is held exactly, 2^53 micro-units. Give rules smaller costs",
    ),
    "busy": ("resource-exhausted", "too many jobs wait for a worker. Wait until some are done, then ask again"),
}
_ENDED_EARLY = ("unavailable", "the worker that thought about it ended early. Ask again; if it stays so, see: irerctl doctor")

T = TypeVar("T")
Asked = reads.ForwardChain | reads.Explain | reads.Search
Key = tuple[int, tuple[str, ...] | None, tuple[str, ...], frozenset[str], int | None]


class TrajectoryPorts:
    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._held: Snapshot | None = None
        self._closures: OrderedDict[Key, Mapping[str, Derived]] = OrderedDict()
        self._costs: OrderedDict[tuple[int, Key], Mapping[str, int]] = OrderedDict()

    async def forward_chain(self, params: reads.ForwardChain, actor: Actor, stream: Stream) -> reads.Closure:
        held = await self._snapshot()
        asked = await self._offload(question, held, params.initial, params.denied)
        key = _key(held, params, frozenset(), params.max_depth)
        derived = await self._closed(held, key, asked, with_costs=True)
        costs = await self._additive(held, key, asked)
        return await self._offload(reads.closure_page, asked, derived, costs, params)

    async def explain(self, params: reads.Explain, actor: Actor, stream: Stream) -> reads.Explanation:
        held = await self._snapshot()
        asked = await self._offload(question, held, params.initial, params.denied)
        derived = await self._closed(held, _key(held, params, frozenset(), None), asked)
        return await self._offload(reads.explanation, held, asked, derived, params.symbol)

    async def search(self, params: reads.Search, actor: Actor, stream: Stream) -> reads.SearchAnswer:
        held = await self._snapshot()
        budgets = await self._offload(reads.check_search, held, params)
        forbidden = frozenset(params.forbidden)
        asked = await self._offload(question, held, params.initial, params.denied, forbidden)
        derived = await self._closed(held, _key(held, params, forbidden, None), asked)
        planned = await self._offload(plan, asked, derived, params.goals or held.goals)
        owned = None
        if params.fairness == "coverage":
            owned = await self._offload(goals_of, asked, planned.goals)
        if planned.unreachable and (owned is None or len(planned.unreachable) == len(planned.goals)):
            return reads.out_of_reach(planned)
        within = planned.within()
        if params.mode == "pareto":
            points = await self._front(asked, within, params, budgets, owned)
            laid = await self._offload(checked_front, asked, within, points, budgets, params.weights, owned)
            return await self._offload(reads.front_answer, planned, points, laid, params.weights, owned)
        found = await self._found(asked, within, params, budgets)
        spine = await self._offload(checked, asked, within, found, budgets)
        return await self._offload(reads.answer, planned, found, spine, params.weights, owned)

    # --- the program ------------------------------------------------------------------------------------------------

    async def _snapshot(self) -> Snapshot:
        """The program as it is now, once that is on disk."""
        await self._daemon.dispatch.settled()
        program = self._daemon.world.states["trajectory"]
        assert isinstance(program, Program)
        held = self._held
        if held is None or (held.version, held.costs_version) != (program.version, program.costs_version):
            held = self._held = await self._offload(snapshot, program, LITERALS_HERE_MAX)
        return held

    async def _offload(self, function: Callable[..., T], *args: object) -> T:
        return await self._daemon.host.offload(function, *args)

    # --- closures ---------------------------------------------------------------------------------------------------

    async def _closed(self, held: Snapshot, key: Key, asked: Question, *, with_costs: bool = False) -> Mapping[str, Derived]:
        """Costs do not matter to it, so it is kept when these change; a worker tells them too where somebody waits for both."""
        found = self._closures.pop(key, None)
        if found is None:
            if _literals(asked) <= LITERALS_HERE_MAX:
                found = await self._offload(closure.closure, asked.rules, asked.initial, key[-1])
            else:
                found, costs = await self._elsewhere(asked, key[-1], with_costs)
                if costs is not None:
                    _keep(self._costs, _costs_key(held, key), costs)
        _keep(self._closures, key, found)
        return found

    async def _additive(self, held: Snapshot, key: Key, asked: Question) -> Mapping[str, int]:
        place = _costs_key(held, key)
        found = self._costs.pop(place, None)
        if found is None:
            if _literals(asked) <= LITERALS_HERE_MAX:
                found = await self._offload(closure.additive, asked.rules, asked.initial)
            else:
                _, found = await self._elsewhere(asked, None, True)
                assert found is not None
        _keep(self._costs, place, found)
        return found

    async def _elsewhere(
        self, asked: Question, max_depth: int | None, with_costs: bool
    ) -> tuple[Mapping[str, Derived], Mapping[str, int] | None]:
        names, known, spec = await self._offload(whole_sheet, asked, {"max_depth": max_depth, "costs": with_costs})
        answer = await self._work("closure", spec, CLOSURE_S)
        return await self._offload(closed_as_said, answer, unpack(spec), names, known, max_depth, with_costs)

    # --- search -----------------------------------------------------------------------------------------------------

    async def _found(self, asked: Question, planned: Plan, params: reads.Search, budgets: Mapping[str, int]) -> reads.Found:
        if len(planned.rules) <= small.RULES_MAX:
            best = await self._offload(small.solve, planned.rules, asked.initial, planned.goals, budgets)
            if best is not None and (best.rules is not None or budgets):
                return reads.Found(best.rules, best.cost_micro, "optimal")
        values = {"mode": params.mode, "width": params.beam_width, "deadline_ms": params.deadline_ms}
        rules = await self._offload(by_name, planned.rules)
        spec = await self._offload(search_sheet, rules, asked.initial, values, planned.goals, budgets)
        said = await self._work("search", spec, params.deadline_ms / 1000 + START_S)
        return await self._offload(found_of, said, rules, bool(budgets))

    async def _front(
        self, asked: Question, planned: Plan, params: reads.Search, budgets: Mapping[str, int], owned: reads.GoalsOf | None
    ) -> reads.FoundFront:
        put = await self._offload(front.problem, planned, asked.initial, budgets, params.weights.groups, owned)
        if len(put.order) <= front.RULES_HERE_MAX:
            done = await self._offload(front.solve, put)
            if done is not None:
                laid = [tuple(put.order[rule] for rule in point.rules) for point in done.points]
                return reads.FoundFront(laid, done.bound, done.finished)
        spec = await self._offload(front_sheet, put, params.deadline_ms)
        said = await self._work("search", spec, params.deadline_ms / 1000 + START_S)
        return await self._offload(front_of, said, put.order)

    async def _work(self, job: str, spec: bytes, timeout_s: float) -> Sheet:
        try:
            return unpack(await self._daemon.host.work(job, spec, timeout_s=timeout_s))
        except BadSheet:
            raise nonsense() from None
        except WorkFailed as failed:
            code = "memory" if failed.detail == "memory" else failed.code
            known, text = _REFUSALS.get(code, _ENDED_EARLY)
            raise Refused(known, f"the program could not be thought about: {text}", reason=code) from None


def _key(held: Snapshot, params: Asked, forbidden: frozenset[str], depth: int | None) -> Key:
    initial = None if params.initial is None else tuple(params.initial)
    return held.version, initial, tuple(sorted(set(params.denied))), forbidden, depth


def _costs_key(held: Snapshot, key: Key) -> tuple[int, Key]:
    """However deep a closure goes, the costs are those without an end."""
    return held.costs_version, (*key[:-1], None)


def _keep(kept: OrderedDict[Any, T], key: Any, found: T) -> None:
    kept[key] = found
    while len(kept) > CLOSURES_KEPT:
        kept.popitem(last=False)


def by_name(rules: Sequence[Rule]) -> Sequence[Rule]:
    return rules.by_name() if isinstance(rules, Columns) else sorted(rules, key=attrgetter("rule_id"))


def _literals(asked: Question) -> int:
    if isinstance(asked.rules, Columns):
        return asked.rules.literals
    return len(asked.rules) + sum(map(len, map(attrgetter("premises"), asked.rules)))


# --- what a search came to ------------------------------------------------------------------------------------------------------


def checked(asked: Question, planned: Plan, found: reads.Found, budgets: Mapping[str, int]) -> Spine | None:
    """The spine, once it was walked through: rules of the program, premises present, goals reached, costs added up anew."""
    if found.rules is None:
        return None
    start = set(asked.initial)
    spine = spines.made(found.rules, start, planned.goals)
    cost = sum(rule.cost_micro for rule in found.rules)
    if cost > spines.COST_MICRO_MAX:
        known, text = _REFUSALS["cost-precision"]
        raise Refused(known, f"no spine can be priced: {text}", reason="cost-precision")
    try:
        if len(spine.rules) != len(found.rules):
            raise nonsense()
        spines.check(spine, _own(planned.rules, spine), start, planned.goals, cost)
    except BadSpine:
        raise nonsense() from None
    for group, most in budgets.items():
        if sum(rule.cost_micro for rule in spine.rules if rule.group == group) > most:
            raise nonsense()
    return spine


def _own(rules: Sequence[Rule], spine: Spine) -> dict[str, Rule]:
    """The program's own rules of the names that a spine has."""
    if isinstance(rules, Columns):
        names = {rule.rule_id for rule in spine.rules}
        return {name: rules[place] for place, name in enumerate(rules.rule_ids()) if name in names}
    return {rule.rule_id: rule for rule in rules}


def checked_front(
    asked: Question,
    planned: Plan,
    found: reads.FoundFront,
    budgets: Mapping[str, int],
    weights: reads.Weights,
    owned: reads.GoalsOf | None,
) -> list[Spine]:
    """Each of the front, walked through like any other spine, for those goals that it reaches if it need not reach all; and none
    that another beats."""
    start = set(asked.initial)
    points, found_spines = [], []
    for laid in found.laid:
        goals = planned.goals
        if owned is not None:
            made = start.union(rule.conclusion for rule in laid)
            goals = tuple(goal for goal in goals if goal in made)
        spine = checked(asked, planned._replace(goals=goals), reads.Found(laid, 0, "heuristic"), budgets)
        if spine is None or (len(goals) == len(planned.goals) and sum(rule.cost_micro for rule in laid) < found.bound_micro):
            raise nonsense()
        found_spines.append(spine)
        cost, fairness, _ = reads.judged(planned, spine, 0, weights, owned)
        points.append(front.Point(cost, len(planned.goals) - len(spine.goals), fairness, ()))
    if any(front.beats(one, other) for one in points for other in points if one is not other):
        raise nonsense()
    return found_spines


def nonsense() -> Refused:
    text = "what the worker said cannot be true, so there is no answer. Try again; if it stays so, see: irerctl doctor"
    return Refused("internal", text, reason="bad-output")


# --- sheets -----------------------------------------------------------------------------------------------------------------


def sheet(
    rules: Sequence[Rule],
    initial: Sequence[str],
    values: Mapping[str, Any],
    goals: Sequence[str] | None = None,
    budgets: Mapping[str, int] | None = None,
) -> tuple[list[str], bytes]:
    """A program for a worker, as arrays; and the names of its atoms in the order of their numbers, those that hold first."""
    number, groups = _numbers(), _numbers()
    named, group = number.__getitem__, groups.__getitem__
    known = len(set(map(named, initial)))
    bodies = [rule.premises for rule in rules]
    arrays = {
        "body_start": _starts(map(len, bodies)),
        "body": _numbers_of("i", map(named, chain.from_iterable(bodies))),
        "head": _numbers_of("i", [named(rule.conclusion) for rule in rules]),
        "cost": _numbers_of("q", [rule.cost_micro for rule in rules]),
        "group": _numbers_of("i", [group(rule.group) for rule in rules]),
    }
    if goals is not None:
        arrays["goals"] = _numbers_of("i", map(named, goals))
    if budgets:
        arrays["budgets"] = _numbers_of("q", [budgets.get(name, -1) for name in groups])
    return _sheet(list(number), known, values, arrays)


def _sheet(names: list[str], known: int, values: Mapping[str, Any], arrays: Mapping[str, Field]) -> tuple[list[str], bytes]:
    initial = Field("|b1", (len(names),), bytes([1]) * known + bytes(len(names) - known))
    return names, pack({**values, "atoms": len(names)}, {**arrays, "initial": initial})


def search_sheet(
    rules: Sequence[Rule], initial: Sequence[str], values: Mapping[str, Any], goals: Sequence[str], budgets: Mapping[str, int]
) -> bytes:
    """As `sheet` has it, to the last bit; of columns in passes over arrays."""
    if not isinstance(rules, Columns):
        return sheet(rules, initial, values, goals, budgets)[1]
    found = columns.numbered(rules, initial, goals)
    arrays = {
        "body_start": _field(rules.start, "<i8"),
        "body": _field(found.body, "<i4"),
        "head": _field(found.head, "<i4"),
        "cost": _field(rules.cost, "<i8"),
        "group": _field(found.group, "<i4"),
        "goals": _field(found.goals, "<i4"),
    }
    if budgets:
        arrays["budgets"] = _numbers_of("q", [budgets.get(name, -1) for name in found.groups])
    holds = Field("|b1", (found.atoms,), bytes([1]) * found.known + bytes(found.atoms - found.known))
    return pack({**values, "atoms": found.atoms}, {**arrays, "initial": holds})


def whole_sheet(asked: Question, values: Mapping[str, Any]) -> tuple[Names, list[int], bytes]:
    """All rules that may be used, their atoms, and the numbers of those that hold. Of columns they are the program's own."""
    rules = asked.rules
    if not isinstance(rules, Columns):
        listed, spec = sheet(rules, asked.initial, values)
        return Names.of(listed), list(range(len(asked.initial))), spec
    names, known = rules.names.and_of(asked.initial)
    holds = bytearray(len(names))
    for number in known:
        holds[number] = 1
    arrays = {
        "body_start": _field(rules.start, "<i8"),
        "body": _field(rules.body, "<i4"),
        "head": _field(rules.head, "<i4"),
        "cost": _field(rules.cost, "<i8"),
        "group": Field("<i4", (len(rules),), bytes(4 * len(rules))),
        "initial": Field("|b1", (len(names),), bytes(holds)),
    }
    return names, known, pack({**values, "atoms": len(names)}, arrays)


def _field(numbers: Any, dtype: str) -> Field:
    return Field(dtype, numbers.shape, numbers.astype(dtype, copy=False).tobytes())


def front_sheet(put: front.Problem, deadline_ms: int) -> bytes:
    """A question for a front, as arrays."""
    rules, coverage = put.rules, put.coverage
    arrays = {
        "body_start": _starts(map(len, rules.bodies)),
        "body": _numbers_of("i", [atom for body in rules.bodies for atom in body]),
        "head": _numbers_of("i", rules.heads),
        "cost": _numbers_of("q", rules.costs),
        "group": _numbers_of("i", rules.groups),
        "initial": Field("|b1", (rules.atoms,), bytes(rules.atoms)),
        "goals": _numbers_of("i", put.goals),
        "budgets": _numbers_of("q", put.budgets),
        "weights": Field("<f8", (len(put.weights),), array("d", put.weights).tobytes()),
    }
    if coverage is not None:
        arrays["totals"] = _numbers_of("i", coverage.totals)
        arrays["owner_start"] = _starts(map(len, coverage.owners))
        arrays["owners"] = _numbers_of("i", [owner for owners in coverage.owners for owner in owners])
    lost = coverage.lost if coverage is not None else 0
    return pack({"mode": "pareto", "atoms": rules.atoms, "lost": lost, "deadline_ms": deadline_ms}, arrays)


def _starts(counts: Iterable[int]) -> Field:
    return _numbers_of("q", accumulate(counts, initial=0))


def front_of(said: Sheet, rules: Sequence[Rule]) -> reads.FoundFront:
    """A front as a worker says that it is, in words; each of its spines is still to be checked."""
    starts, flat = whole(said, "starts", "<i8", None), whole(said, "rules", "<i4", None)
    bound, finished = said.values.get("bound"), said.values.get("finished")
    if type(bound) is not int or bound < 0 or type(finished) is not bool or not starts or starts[0] or starts[-1] != len(flat):
        raise nonsense()
    if any(begin > end for begin, end in pairwise(starts)) or any(not 0 <= place < len(rules) for place in flat):
        raise nonsense()
    laid = [tuple(rules[place] for place in flat[begin:end]) for begin, end in pairwise(starts)]
    if any(len(set(each)) != len(each) for each in laid) or len(set(laid)) != len(laid):
        raise nonsense()
    return reads.FoundFront(laid, bound, finished)


def _numbers() -> defaultdict[str, int]:
    """What is asked for the first time gets the next number."""
    return defaultdict(count().__next__)


def _numbers_of(kind: str, numbers: Iterable[int]) -> Field:
    made = array(kind, numbers)
    return Field("<i8" if kind == "q" else "<i4", (len(made),), made.tobytes())


def closed_as_said(
    answer: Sheet, told: Sheet, names: Names, known: Sequence[int], max_depth: int | None, with_costs: bool
) -> tuple[Mapping[str, Derived], Mapping[str, int] | None]:
    """How each atom came to hold and what it costs, once that was held against every rule."""
    depth, via = (_array(whole_field(answer, name, "<i4", len(names))) for name in ("depth", "rule"))
    start, body, head, cost = (_array(told.arrays[name]) for name in ("body_start", "body", "head", "cost"))
    arrays = against.Arrays(start, body, head, cost, against.places(known), names)
    derived = against.derived(arrays, depth, via, max_depth)
    costs = against.costs(arrays, _array(whole_field(answer, "additive", "<i8", len(names)))) if with_costs else None
    if derived is None or (with_costs and costs is None):
        raise nonsense()
    return derived, costs


def _array(field: Field) -> Any:
    return against.array_of(field.data, field.dtype)


def found_of(said: Sheet, rules: Sequence[Rule], bounded: bool) -> reads.Found:
    """What a search says that it came to: `nothing` is an answer only where budgets may stand in the way."""
    match said.values.get("status"):
        case "nothing" if bounded:
            return reads.Found(None, 0, "optimal")
        case "stopped":
            return reads.Found(None, 0, "heuristic")
        case "found":
            return _laid(said, rules)
    raise nonsense()


def _laid(said: Sheet, rules: Sequence[Rule]) -> reads.Found:
    bound, chosen = said.values.get("bound"), whole(said, "rules", "<i4", None)
    if type(bound) is not int or len(set(chosen)) != len(chosen) or any(not 0 <= place < len(rules) for place in chosen):
        raise nonsense()
    laid = tuple(rules[place] for place in chosen)
    cost = sum(rule.cost_micro for rule in laid)
    if said.values.get("cost") != cost or not 0 <= bound <= cost:
        raise nonsense()
    return reads.Found(laid, bound, "optimal" if bound == cost else "bound" if bound > 0 else "heuristic")


def whole(said: Sheet, name: str, dtype: str, long: int | None) -> "array[int]":
    """An array of whole numbers as the worker must have made it."""
    field = whole_field(said, name, dtype, long)
    numbers = array("q" if dtype == "<i8" else "i")
    numbers.frombytes(bytes(field.data))
    return numbers


def whole_field(said: Sheet, name: str, dtype: str, long: int | None) -> Field:
    field = said.arrays.get(name)
    if field is None or field.dtype != dtype or len(field.shape) != 1 or (long is not None and field.shape[0] != long):
        raise nonsense()
    return field
