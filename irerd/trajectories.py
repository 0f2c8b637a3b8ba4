"""What follows from the program, why, and the cheapest way: in a thread where that is quick, else in a worker.

A worker is not believed: a spine is walked through by `core/spine.py` before anybody sees it, a closure is held against all rules.
What does not agree is an error of ours and no answer. Only that nothing is below a bound, or within the budgets, is its word alone.
Who hangs up ends the work.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from core import spine as spines
from core.engine import Actor, Refused
from core.spine import BadSpine, Rule, Spine
from core.trajectory import closure, front, reads, small
from core.trajectory.closure import Derived
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
        derived = await self._closed(held, key, asked)
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
            held = self._held = snapshot(program)
        return held

    async def _offload(self, function: Callable[..., T], *args: object) -> T:
        return await self._daemon.host.offload(function, *args)

    # --- closures ---------------------------------------------------------------------------------------------------

    async def _closed(self, held: Snapshot, key: Key, asked: Question) -> Mapping[str, Derived]:
        """Costs do not matter to it, so it is kept when these change."""
        found = self._closures.pop(key, None)
        if found is None:
            if _literals(asked) <= LITERALS_HERE_MAX:
                found = await self._offload(closure.closure, asked.rules, asked.initial, key[-1])
            else:
                found, costs = await self._elsewhere(asked, key[-1])
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
                _, found = await self._elsewhere(asked, None)
        _keep(self._costs, place, found)
        return found

    async def _elsewhere(self, asked: Question, max_depth: int | None) -> tuple[Mapping[str, Derived], Mapping[str, int]]:
        names, spec = await self._offload(sheet, asked.rules, asked.initial, {"max_depth": max_depth})
        said = await self._work("closure", spec, CLOSURE_S)
        return await self._offload(derived_of, said, asked, names, max_depth), await self._offload(costs_of, said, asked, names)

    # --- search -----------------------------------------------------------------------------------------------------

    async def _found(self, asked: Question, planned: Plan, params: reads.Search, budgets: Mapping[str, int]) -> reads.Found:
        if len(planned.rules) <= small.RULES_MAX:
            best = await self._offload(small.solve, planned.rules, asked.initial, planned.goals, budgets)
            if best is not None and (best.rules is not None or budgets):
                return reads.Found(best.rules, best.cost_micro, "optimal")
        values = {"mode": params.mode, "width": params.beam_width, "deadline_ms": params.deadline_ms}
        rules = sorted(planned.rules, key=lambda rule: rule.rule_id)
        _, spec = await self._offload(sheet, rules, asked.initial, values, planned.goals, budgets)
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


def _literals(asked: Question) -> int:
    return len(asked.rules) + sum(len(rule.premises) for rule in asked.rules)


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
        spines.check(spine, {rule.rule_id: rule for rule in planned.rules}, start, planned.goals, cost)
    except BadSpine:
        raise nonsense() from None
    for group, most in budgets.items():
        if sum(rule.cost_micro for rule in spine.rules if rule.group == group) > most:
            raise nonsense()
    return spine


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
    number: dict[str, int] = {symbol: place for place, symbol in enumerate(dict.fromkeys(initial))}
    known = len(number)
    groups: dict[str, int] = {}
    starts, body, head, cost, group = array("q", [0]), array("i"), array("i"), array("q"), array("i")
    for _, premises, conclusion, cost_micro, group_name in rules:
        for premise in premises:
            body.append(number.setdefault(premise, len(number)))
        starts.append(len(body))
        head.append(number.setdefault(conclusion, len(number)))
        cost.append(cost_micro)
        group.append(groups.setdefault(group_name, len(groups)))
    arrays = {"body_start": _numbers(starts), "body": _numbers(body), "head": _numbers(head), "cost": _numbers(cost)}
    arrays["group"] = _numbers(group)
    if goals is not None:
        arrays["goals"] = _numbers(array("i", [number.setdefault(goal, len(number)) for goal in goals]))
    if budgets:
        arrays["budgets"] = _numbers(array("q", [budgets.get(name, -1) for name in groups]))
    arrays["initial"] = Field("|b1", (len(number),), bytes([1]) * known + bytes(len(number) - known))
    return list(number), pack({**values, "atoms": len(number)}, arrays)


def front_sheet(put: front.Problem, deadline_ms: int) -> bytes:
    """A question for a front, as arrays."""
    rules, coverage = put.rules, put.coverage
    arrays = {
        "body_start": _starts(rules.bodies),
        "body": _numbers(array("i", [atom for body in rules.bodies for atom in body])),
        "head": _numbers(array("i", rules.heads)),
        "cost": _numbers(array("q", rules.costs)),
        "group": _numbers(array("i", rules.groups)),
        "initial": Field("|b1", (rules.atoms,), bytes(rules.atoms)),
        "goals": _numbers(array("i", put.goals)),
        "budgets": _numbers(array("q", put.budgets)),
        "weights": Field("<f8", (len(put.weights),), array("d", put.weights).tobytes()),
    }
    if coverage is not None:
        arrays["totals"] = _numbers(array("i", coverage.totals))
        arrays["owner_start"] = _starts(coverage.owners)
        arrays["owners"] = _numbers(array("i", [owner for owners in coverage.owners for owner in owners]))
    lost = coverage.lost if coverage is not None else 0
    return pack({"mode": "pareto", "atoms": rules.atoms, "lost": lost, "deadline_ms": deadline_ms}, arrays)


def _starts(parts: Sequence[Sequence[int]]) -> Field:
    return _numbers(array("q", accumulate((len(part) for part in parts), initial=0)))


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


def _numbers(numbers: "array[int]") -> Field:
    return Field("<i8" if numbers.typecode == "q" else "<i4", (len(numbers),), numbers.tobytes())


def derived_of(said: Sheet, asked: Question, names: Sequence[str], max_depth: int | None) -> dict[str, Derived]:
    """How each atom came to hold, in the order of rounds, and in each in the order of rules."""
    depth, rule = whole(said, "depth", "<i4", len(names)), whole(said, "rule", "<i4", len(names))
    found: dict[str, Derived] = {symbol: Derived(0, None) for symbol in asked.initial}
    for level, place, atom in sorted((depth[atom], rule[atom], atom) for atom in range(len(found), len(names)) if depth[atom] >= 0):
        if not (0 <= place < len(asked.rules) and asked.rules[place].conclusion == names[atom]):
            raise nonsense()
        found[names[atom]] = Derived(level, place)
    if not _is_closure(asked, found, max_depth):
        raise nonsense()
    return found


def _is_closure(asked: Question, found: Mapping[str, Derived], max_depth: int | None) -> bool:
    """Whether each rule that can be applied in time leads to what was found no later, and by no later rule; and each that is named
    as the one that led there does so in that round."""
    named = 0
    for place, (_, premises, conclusion, _, _) in enumerate(asked.rules):
        here = 1
        for premise in premises:
            how = found.get(premise)
            if how is None:
                break
            here = max(here, how.depth + 1)
        else:
            if max_depth is not None and here > max_depth:
                continue
            led = found.get(conclusion)
            if led is None or led.depth > here or (led.depth == here and led.rule is not None and led.rule > place):
                return False
            named += led.rule == place and led.depth == here
    return named == len(found) - len(set(asked.initial))


def costs_of(said: Sheet, asked: Question, names: Sequence[str]) -> dict[str, int]:
    """What each atom costs if nothing is shared: no rule leads to it for less, and one for just that."""
    values = whole(said, "additive", "<i8", len(names))
    found = {name: value for name, value in zip(names, values, strict=True) if value >= 0}
    reached = {symbol for symbol in asked.initial if not found.get(symbol, 1)}
    for _, premises, conclusion, here, _ in asked.rules:
        for premise in premises:
            value = found.get(premise)
            if value is None:
                break
            here += value
        else:
            least = found.get(conclusion, -1)
            if not 0 <= least <= min(here, closure.FAR):
                raise nonsense()
            if least == min(here, closure.FAR):
                reached.add(conclusion)
    if len(reached) != len(found):
        raise nonsense()
    return found


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


def whole(said: Sheet, name: str, dtype: str, count: int | None) -> "array[int]":
    """An array of whole numbers as the worker must have made it."""
    field = said.arrays.get(name)
    if field is None or field.dtype != dtype or len(field.shape) != 1 or (count is not None and field.shape[0] != count):
        raise nonsense()
    numbers = array("q" if dtype == "<i8" else "i")
    numbers.frombytes(bytes(field.data))
    return numbers
