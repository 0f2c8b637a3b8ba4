"""What follows from the program, why, and the cheapest way: in a thread where that is quick, else in a worker.

A worker is believed nothing: every spine is walked through by `core/spine.py` before anybody sees it, and what it says of a closure
is held against the rules wherever it is shown. What does not agree is an error of ours, no answer. Who hangs up ends the work.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from core import spine as spines
from core.engine import Actor, Refused
from core.spine import BadSpine, Rule, Spine
from core.trajectory import closure, reads, small
from core.trajectory.closure import Derived
from core.trajectory.program import Program
from core.trajectory.question import Plan, Question, Snapshot, plan, question, snapshot
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
    "busy": ("resource-exhausted", "too many jobs wait for a worker. Wait until some are done, then ask again"),
}
_ENDED_EARLY = ("unavailable", "the worker that thought about it ended early. Ask again; if it stays so, see: irerctl doctor")

T = TypeVar("T")
Key = tuple[int, tuple[str, ...] | None, tuple[str, ...], frozenset[str], int | None]


class Closed(NamedTuple):
    """A closure: how each atom came to hold, in the order in which it did."""

    derived: Mapping[str, Derived]
    certain: bool
    """Whether it was worked out here; else a worker says so."""


class TrajectoryPorts:
    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._held: Snapshot | None = None
        self._closures: OrderedDict[Key, Closed] = OrderedDict()
        self._costs: OrderedDict[tuple[int, Key], Mapping[str, int]] = OrderedDict()

    async def forward_chain(self, params: reads.ForwardChain, actor: Actor, stream: Stream) -> reads.Closure:
        held = await self._snapshot()
        asked = await self._offload(question, held, params.initial, params.denied)
        key = _key(held, params, frozenset(), params.max_depth)
        closed = await self._closed(key, asked)
        costs = await self._additive(held, key, asked)
        return await self._offload(_page, asked, closed, costs, params)

    async def explain(self, params: reads.Explain, actor: Actor, stream: Stream) -> reads.Explanation:
        held = await self._snapshot()
        asked = await self._offload(question, held, params.initial, params.denied)
        closed = await self._closed(_key(held, params, frozenset(), None), asked)
        found = await self._offload(_explained, held, asked, closed, params.symbol)
        return found

    async def search(self, params: reads.Search, actor: Actor, stream: Stream) -> reads.SearchAnswer:
        held = await self._snapshot()
        budgets = await self._offload(reads.check_search, held, params)
        forbidden = frozenset(params.forbidden)
        asked = await self._offload(question, held, params.initial, params.denied, forbidden)
        closed = await self._closed(_key(held, params, forbidden, None), asked)
        planned = await self._offload(plan, asked, closed.derived, params.goals or held.goals)
        if planned.unreachable:
            if not closed.certain:
                await self._offload(_confirm, asked, planned)
            return reads.out_of_reach(planned)
        found = await self._found(asked, planned, params, budgets)
        spine = await self._offload(checked, asked, planned, found, budgets)
        return reads.answer(planned, found, spine, params.weights)

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

    async def _closed(self, key: Key, asked: Question) -> Closed:
        """Costs do not matter to it, so it is kept when these change."""
        found = self._closures.pop(key, None)
        if found is None:
            if _literals(asked) <= LITERALS_HERE_MAX:
                found = Closed(await self._offload(closure.closure, asked.rules, asked.initial, key[-1]), certain=True)
            else:
                found = await self._closed_elsewhere(asked, key[-1])
        _keep(self._closures, key, found)
        return found

    async def _additive(self, held: Snapshot, key: Key, asked: Question) -> Mapping[str, int]:
        place = held.costs_version, (*key[:-1], None)
        found = self._costs.pop(place, None)
        if found is None:
            if _literals(asked) <= LITERALS_HERE_MAX:
                found = await self._offload(closure.additive, asked.rules, asked.initial)
            else:
                found = await self._additive_elsewhere(asked)
        _keep(self._costs, place, found)
        return found

    async def _closed_elsewhere(self, asked: Question, max_depth: int | None) -> Closed:
        names, spec = await self._offload(sheet, asked.rules, asked.initial, (), {"max_depth": max_depth})
        said = await self._work("closure", spec, CLOSURE_S)
        return Closed(await self._offload(derived_of, said, asked, names), certain=False)

    async def _additive_elsewhere(self, asked: Question) -> Mapping[str, int]:
        names, spec = await self._offload(sheet, asked.rules, asked.initial, (), {"max_depth": None})
        said = await self._work("closure", spec, CLOSURE_S)
        return await self._offload(costs_of, said, names)

    # --- search -----------------------------------------------------------------------------------------------------

    async def _found(self, asked: Question, planned: Plan, params: reads.Search, budgets: Mapping[str, int]) -> reads.Found:
        if len(planned.rules) <= small.RULES_MAX:
            best = await self._offload(small.solve, planned.rules, asked.initial, planned.goals, budgets)
            if best is not None:
                return reads.Found(best.rules, best.cost_micro, "optimal")
        values = {"mode": params.mode, "width": params.beam_width, "deadline_ms": params.deadline_ms}
        rules = sorted(planned.rules, key=lambda rule: rule.rule_id)
        _, spec = await self._offload(sheet, rules, asked.initial, planned.goals, values, budgets)
        said = await self._work("search", spec, params.deadline_ms / 1000 + START_S)
        return await self._offload(found_of, said, rules)

    async def _work(self, job: str, spec: bytes, timeout_s: float) -> Sheet:
        try:
            return unpack(await self._daemon.host.work(job, spec, timeout_s=timeout_s))
        except BadSheet:
            raise nonsense() from None
        except WorkFailed as failed:
            code = "memory" if failed.detail == "memory" else failed.code
            known, text = _REFUSALS.get(code, _ENDED_EARLY)
            raise Refused(known, f"the program could not be thought about: {text}", reason=code) from None


def _key(
    held: Snapshot, params: reads.ForwardChain | reads.Explain | reads.Search, forbidden: frozenset[str], depth: int | None
) -> Key:
    initial = None if params.initial is None else tuple(params.initial)
    return held.version, initial, tuple(sorted(set(params.denied))), forbidden, depth


def _keep(kept: OrderedDict[Any, T], key: Any, found: T) -> None:
    kept[key] = found
    while len(kept) > CLOSURES_KEPT:
        kept.popitem(last=False)


def _literals(asked: Question) -> int:
    return len(asked.rules) + sum(len(rule.premises) for rule in asked.rules)


# --- what is shown of a closure, held against the rules -----------------------------------------------------------------------


def _page(asked: Question, closed: Closed, costs: Mapping[str, int], params: reads.ForwardChain) -> reads.Closure:
    found = reads.closure_page(asked, closed.derived, costs, params)
    if not closed.certain:
        _hold_against(asked, closed.derived, [atom.symbol for atom in found.atoms])
    return found


def _explained(held: Snapshot, asked: Question, closed: Closed, symbol: str) -> reads.Explanation:
    found = reads.explanation(held, asked, closed.derived, symbol)
    if not closed.certain:
        _hold_against(asked, closed.derived, [step.symbol for step in found.steps])
        if not found.holds and symbol in spines.reached(asked.rules, asked.initial):
            raise nonsense()
    return found


def _hold_against(asked: Question, derived: Mapping[str, Derived], symbols: Sequence[str]) -> None:
    start = set(asked.initial)
    for symbol in symbols:
        how = derived[symbol]
        if how.rule is None:
            sound = symbol in start and not how.depth
        else:
            rule = asked.rules[how.rule]
            deepest = max((derived[premise].depth if premise in derived else how.depth for premise in rule.premises), default=0)
            sound = rule.conclusion == symbol and deepest == how.depth - 1
        if not sound:
            raise nonsense()


def _confirm(asked: Question, planned: Plan) -> None:
    if spines.reached(asked.rules, asked.initial).intersection(planned.unreachable):
        raise nonsense()


# --- what a search came to ------------------------------------------------------------------------------------------------------


def checked(asked: Question, planned: Plan, found: reads.Found, budgets: Mapping[str, int]) -> Spine | None:
    """The spine, once it was walked through: rules of the program, premises present, goals reached, costs added up anew."""
    if found.rules is None:
        return None
    start = set(asked.initial)
    spine = spines.made(found.rules, start, planned.goals)
    cost = sum(rule.cost_micro for rule in found.rules)
    try:
        if len(spine.rules) != len(found.rules):
            raise nonsense()
        spines.check(spine, {rule.rule_id: rule for rule in planned.rules}, start, planned.goals, cost)
    except BadSpine:
        raise nonsense() from None
    for group, most in budgets.items():
        if sum(rule.cost_micro for rule in spine.rules if rule.group == group) > most:
            raise nonsense()
    if not 0 <= found.bound_micro <= cost or (found.proof == "optimal") != (found.bound_micro == cost):
        raise nonsense()
    return spine


def nonsense() -> Refused:
    text = "what the worker said cannot be true, so there is no answer. Try again; if it stays so, see: irerctl doctor"
    return Refused("internal", text, reason="bad-output")


# --- sheets -----------------------------------------------------------------------------------------------------------------


def sheet(
    rules: Sequence[Rule],
    initial: Sequence[str],
    goals: Sequence[str],
    values: Mapping[str, Any],
    budgets: Mapping[str, int] | None = None,
) -> tuple[list[str], bytes]:
    """A program for a worker, as arrays; and the names of its atoms, in the order of their numbers."""
    number: dict[str, int] = {symbol: place for place, symbol in enumerate(dict.fromkeys(initial))}
    known = len(number)
    groups: dict[str, int] = {}
    starts, body, head, cost, group = array("q", [0]), array("i"), array("i"), array("q"), array("i")
    for rule in rules:
        for premise in rule.premises:
            body.append(number.setdefault(premise, len(number)))
        starts.append(len(body))
        head.append(number.setdefault(rule.conclusion, len(number)))
        cost.append(rule.cost_micro)
        group.append(groups.setdefault(rule.group, len(groups)))
    wanted = array("i", [number.setdefault(goal, len(number)) for goal in goals])
    told = {str(groups[name]): most for name, most in (budgets or {}).items() if name in groups}
    arrays = {
        "body_start": Field("<i8", (len(starts),), starts.tobytes()),
        "body": Field("<i4", (len(body),), body.tobytes()),
        "head": Field("<i4", (len(head),), head.tobytes()),
        "cost": Field("<i8", (len(cost),), cost.tobytes()),
        "group": Field("<i4", (len(group),), group.tobytes()),
        "initial": Field("|b1", (len(number),), bytes([1]) * known + bytes(len(number) - known)),
        "goals": Field("<i4", (len(wanted),), wanted.tobytes()),
        "forbidden": Field("|b1", (len(head),), bytes(len(head))),
    }
    return list(number), pack({**values, "budgets": told}, arrays)


def derived_of(said: Sheet, asked: Question, names: Sequence[str]) -> dict[str, Derived]:
    """How each atom came to hold, in the order of rounds, and in each in the order of rules."""
    depth, rule = whole(said, "depth", "<i4", len(names)), whole(said, "rule", "<i4", len(names))
    if any(not -1 <= place < len(asked.rules) for place in rule):
        raise nonsense()
    found: dict[str, Derived] = {symbol: Derived(0, None) for symbol in asked.initial}
    later = sorted((depth[atom], rule[atom], atom) for atom in range(len(found), len(names)) if depth[atom] >= 0)
    for level, place, atom in later:
        if place < 0 or level < 1:
            raise nonsense()
        found[names[atom]] = Derived(level, place)
    return found


def costs_of(said: Sheet, names: Sequence[str]) -> dict[str, int]:
    values = whole(said, "additive", "<i8", len(names))
    return {name: value for name, value in zip(names, values, strict=True) if value >= 0}


def found_of(said: Sheet, rules: Sequence[Rule]) -> reads.Found:
    bound, places = said.values.get("bound"), said.arrays.get("rules")
    if type(bound) is not int or places is None:
        raise nonsense()
    chosen = whole(said, "rules", "<i4", None)
    if len(set(chosen)) != len(chosen) or any(not 0 <= place < len(rules) for place in chosen):
        raise nonsense()
    laid = tuple(rules[place] for place in chosen)
    cost = sum(rule.cost_micro for rule in laid)
    return reads.Found(laid, bound, "optimal" if bound == cost else "bound" if bound > 0 else "heuristic")


def whole(said: Sheet, name: str, dtype: str, count: int | None) -> "array[int]":
    """An array of whole numbers as the worker must have made it."""
    field = said.arrays.get(name)
    if field is None or field.dtype != dtype or len(field.shape) != 1 or (count is not None and field.shape[0] != count):
        raise nonsense()
    numbers = array("q" if dtype == "<i8" else "i")
    numbers.frombytes(bytes(field.data))
    return numbers
