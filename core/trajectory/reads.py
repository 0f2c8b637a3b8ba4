"""What the trajectory engine is asked and what it answers, and the answers made from what was thought out. Looks only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from core import spine as spines
from core.engine import Command, Context, Nothing, Refused, Result
from core.fields import Count, Cursor, Frozen, Hash, Limit, Name, Time
from core.micro import MICRO
from core.paging import PAGE_BYTES_MAX, PAGE_VALUES_MAX, Room, order_after, weight
from core.spine import Rule, Spine
from core.times import time_text
from core.trajectory.closure import FAR, Derived
from core.trajectory.columns import Closed
from core.trajectory.commands import (
    FACTS_OF_PART,
    GOALS_MAX,
    Cost,
    RuleOf,
    SpineOf,
    cost_micro,
    rule_shown,
    spine_of,
    spine_shown,
    walk_told,
)
from core.trajectory.events import Fact, Symbol
from core.trajectory.program import Program
from core.trajectory.question import Plan, Question, Snapshot, concluding, groups_of, needed, rule_ids

GoalsOf = Mapping[str, frozenset[str]]

LIMIT_DEFAULT = 1_000
BLOCKED_SHOWN_MAX = 100
STEPS_MAX, NEAR_MAX = 2_000, 20
OFTEN_DEFAULT = 100
WIDTH_DEFAULT, WIDTH_MAX = 64, 4_096
DEADLINE_MS_DEFAULT, DEADLINE_MS_MIN, DEADLINE_MS_MAX = 5_000, 10, 600_000
FRONT_SHOWN_MAX = 100
LETTERS_COMPARED_MAX = 50_000
"""Of all atoms that a mistyped one is held against: some tenths of a second at worst."""

Weight = Annotated[float, Meta(ge=0, le=1e6)]
Initial = Annotated[list[Symbol], Meta(max_length=FACTS_OF_PART)]


# --- the program ------------------------------------------------------------------------------------------------------------


class ListProgram(Command):
    """Which part of the program to list.

    limit: how many facts and rules at most, 1,000 unless told
    after: `next` of the page before
    """

    limit: Limit | None = None
    after: Cursor | None = None


class Entry(Result):
    """A fact or a rule.

    fact: the fact
    rule: the rule
    """

    fact: Fact | None = None
    rule: RuleOf | None = None


class ProgramPage(Result):
    """Facts first, then rules, each in the order of their coming.

    entries: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    entries: list[Entry]
    next: Cursor | None = None


def page(program: Program, params: ListProgram, ctx: Context) -> ProgramPage:
    begin = order_after("trajectory.program", params.after) or 0
    limit = params.limit or LIMIT_DEFAULT
    found: list[Entry] = []
    room = Room()
    for entry in islice(_entries(program, begin), limit + 1):
        if len(found) == limit or not room.take(entry):
            return ProgramPage(found, str(begin + len(found)))
        found.append(entry)
    return ProgramPage(found)


def _entries(program: Program, begin: int) -> Iterator[Entry]:
    parts = program.parts
    for symbol, value in islice(parts.facts.items(), min(begin, len(parts.facts)), None):
        yield Entry(fact=Fact(symbol, value))
    for rule in parts.rules.from_place(max(0, begin - len(parts.facts))):
        yield Entry(rule=rule_shown(rule))


class Loading(Result):
    """A program that is not whole yet.

    owner: who loads it
    next_part: the part that comes next
    facts: so far
    rules: so far
    """

    owner: str
    next_part: Count
    facts: Count
    rules: Count


class LastFold(Result):
    """The spine that was folded last.

    hash: its name
    cost: what it costs
    rules: how many it has
    folded_at: when
    times: how often
    """

    hash: Hash
    cost: float
    rules: Count
    folded_at: Time
    times: Count


class ProgramStatus(Result):
    """The program in one object.

    facts: atoms that hold
    denied: atoms that do not
    rules: how many
    literals: premises and conclusions of all rules
    goals: what is to be reached where nobody says otherwise, if the program says
    version: rises with every change of a fact or a rule, and of a cost too
    folds: spines that were folded
    last_fold: the last of them
    loading: a program that is not whole yet
    """

    facts: Count
    denied: Count
    rules: Count
    literals: Count
    goals: Count
    version: Count
    folds: Count
    last_fold: LastFold | None = None
    loading: Loading | None = None


def status(program: Program, params: Nothing, ctx: Context) -> ProgramStatus:
    parts, staged = program.parts, program.staged
    holding = sum(parts.facts.values())
    last = next(reversed(program.folds.values()), None)
    return ProgramStatus(
        holding,
        len(parts.facts) - holding,
        len(parts.rules),
        parts.literals,
        len(parts.goals),
        program.costs_version,
        program.folded,
        LastFold(last.hash, last.cost_micro / MICRO, last.rules, time_text(last.folded_us), last.times) if last else None,
        Loading(staged.owner, staged.next_part, len(staged.parts.facts), len(staged.parts.rules)) if staged else None,
    )


# --- what follows -----------------------------------------------------------------------------------------------------------


class ForwardChain(Command):
    """From where, and how far.

    initial: atoms that hold at the beginning; the program's own facts unless told
    denied: atoms that no rule may conclude, besides the program's own
    max_depth: how many rounds at most
    limit: how many atoms at most, 1,000 unless told
    after: `next` of the page before
    """

    initial: Initial | None = None
    denied: Initial = []
    max_depth: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class Atom(Result):
    """An atom that holds.

    symbol: which
    depth: the round in which it came to hold; 0 for a fact
    cost: what it costs at most: the least sum along one derivation, whatever is used twice counted twice; null: beyond counting
    rule_id: the rule that derived it first; none for a fact
    premises: of that rule
    """

    symbol: Symbol
    depth: Count
    cost: float | None
    rule_id: Name | None = None
    premises: list[Symbol] = []


class Closure(Result):
    """All that holds, in the order in which it came to hold.

    atoms: the page
    count: how many atoms hold in all
    blocked: rules that were left out, each with the denied atom that it concludes; the first 100
    blocked_count: how many these are in all
    next: give it as `after` for the page that follows; absent on the last
    """

    atoms: list[Atom]
    count: Count
    blocked: dict[Name, Symbol] = {}
    blocked_count: Count = 0
    next: Cursor | None = None


def closure_page(asked: Question, derived: Mapping[str, Derived], costs: Mapping[str, int], params: ForwardChain) -> Closure:
    begin = order_after("trajectory.forward_chain", params.after) or 0
    blocked = dict(islice(asked.blocked.items(), BLOCKED_SHOWN_MAX))
    found: list[Atom] = []
    room = Room()
    for symbol, how in _span(derived, begin, begin + (params.limit or LIMIT_DEFAULT)):
        rule = asked.rules[how.rule] if how.rule is not None else None
        cost = costs[symbol] / MICRO if costs[symbol] < FAR else None
        atom = Atom(symbol, how.depth, cost)
        if rule is not None:
            atom = Atom(symbol, how.depth, cost, rule.rule_id, list(rule.premises))
        if not room.take(atom):
            break
        found.append(atom)
    end = begin + len(found)
    return Closure(found, len(derived), blocked, len(asked.blocked), str(end) if end < len(derived) else None)


def _span(derived: Mapping[str, Derived], begin: int, end: int) -> Iterable[tuple[str, Derived]]:
    return derived.span(begin, end) if isinstance(derived, Closed) else islice(derived.items(), begin, end)


class Explain(Command):
    """What is to be explained.

    symbol: an atom
    initial: atoms that hold at the beginning; the program's own facts unless told
    denied: atoms that no rule may conclude, besides the program's own
    """

    symbol: Symbol
    initial: Initial | None = None
    denied: Initial = []


class Step(Result):
    """An atom and how it came to hold. A fact has no rule.

    symbol: which
    depth: the round in which it came to hold
    rule_id: the rule that derived it first
    premises: of that rule, each with a step of its own
    cost: of that rule
    group: of that rule
    """

    symbol: Symbol
    depth: Count
    rule_id: Name | None = None
    premises: list[Symbol] = []
    cost: float = 0.0
    group: Name = "default"


class Near(Result):
    """A rule that would conclude it, and what it lacks.

    rule_id: which
    missing: premises that do not hold
    blocked: whether it is left out because its conclusion is denied
    """

    rule_id: Name
    missing: list[Symbol]
    blocked: bool = False


class Explanation(Result):
    """Why an atom holds, or what it lacks.

    symbol: which
    holds: whether it does
    cost: of all rules in its derivation, each counted once
    steps: the derivation as a tree: the atom first, then what it needs; each atom stands there once
    more: steps that are not shown, the farthest from it
    near: if it does not hold, rules that would conclude it
    """

    symbol: Symbol
    holds: bool
    cost: float | None = None
    steps: list[Step] = []
    more: Count = 0
    near: list[Near] = []


def explanation(held: Snapshot, asked: Question, derived: Mapping[str, Derived], symbol: str) -> Explanation:
    if symbol not in derived:
        return _why_not(held, asked, derived, symbol)
    order = _below(asked, derived, symbol)
    steps = [_step(asked, derived, each) for each in order]
    cost = sum(asked.rules[place].cost_micro for each in order if (place := derived[each].rule) is not None)
    return Explanation(symbol, True, cost / MICRO, steps[:STEPS_MAX], max(0, len(steps) - STEPS_MAX))


def _below(asked: Question, derived: Mapping[str, Derived], symbol: str) -> list[str]:
    order = [symbol]
    seen = {symbol}
    for each in order:
        place = derived[each].rule
        for premise in asked.rules[place].premises if place is not None else ():
            if premise not in seen:
                seen.add(premise)
                order.append(premise)
    return order


def _step(asked: Question, derived: Mapping[str, Derived], symbol: str) -> Step:
    how = derived[symbol]
    if how.rule is None:
        return Step(symbol, 0)
    rule = asked.rules[how.rule]
    return Step(symbol, how.depth, rule.rule_id, list(rule.premises), rule.cost_micro / MICRO, rule.group)


def _why_not(held: Snapshot, asked: Question, derived: Mapping[str, Derived], symbol: str) -> Explanation:
    near = [
        Near(rule.rule_id, [premise for premise in rule.premises if premise not in derived], rule.rule_id in asked.blocked)
        for rule in concluding(held.rules, {symbol})
    ]
    if not near and symbol not in held.facts and not needed(held.rules, symbol):
        raise _unknown(held, symbol)
    near.sort(key=lambda each: (each.blocked, len(each.missing)))
    return Explanation(symbol, False, near=near[:NEAR_MAX])


def _unknown(held: Snapshot, symbol: str) -> Refused:
    from difflib import get_close_matches

    known = chain(held.facts, (rule.conclusion for rule in held.rules))
    close = get_close_matches(symbol, dict.fromkeys(_first_of(known)), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    text = f"nothing in the program is named {symbol}.{hint} All: irerctl trajectory"
    return Refused("not-found", text, reason="symbol", data={"nearest": close})


def _first_of(symbols: Iterable[str]) -> Iterator[str]:
    left = LETTERS_COMPARED_MAX
    for symbol in symbols:
        left -= len(symbol)
        if left < 0:
            return
        yield symbol


# --- search -----------------------------------------------------------------------------------------------------------------


class Weights(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the score is made of.

    efficiency: how much it counts that the cost is near its bound
    fairness: how much it counts that all groups bear alike
    groups: how much a group can bear, 1 unless told: twice as much counts half
    """

    efficiency: Weight = 1.0
    fairness: Weight = 0.0
    groups: Annotated[dict[Name, Annotated[float, Meta(gt=0, le=1e6)]], Meta(max_length=1_000)] = {}


class Search(Command):
    """What to look for.

    initial: atoms that hold at the beginning; the program's own facts unless told
    denied: atoms that no rule may conclude, besides the program's own
    goals: atoms to reach; else those of the program; else what can be derived and is nobody's premise
    mode: beam, which is quick; exact; or pareto: all spines of which no other costs less and is fairer
    beam_width: how many ways the beam follows at once; a wider one that has the time to end never finds a dearer spine
    weights: what the score is made of, by which one spine of a front is chosen; else the least cost is looked for
    fairness: cost: of what groups have to bear; coverage: of the share of its goals that each group sees reached; then a spine may
        do without goals that are out of reach, and in a front without others too
    forbidden: rules that may not be used
    budgets: what the rules of a group may cost together at most
    deadline_ms: how long it may take; then the best that was found so far is told, with what was proved
    """

    initial: Initial | None = None
    denied: Initial = []
    goals: Annotated[list[Symbol], Meta(max_length=GOALS_MAX)] | None = None
    mode: Literal["beam", "exact", "pareto"] = "beam"
    beam_width: Annotated[int, Meta(ge=1, le=WIDTH_MAX)] = WIDTH_DEFAULT
    weights: Weights = Weights()
    fairness: Literal["cost", "coverage"] = "cost"
    forbidden: Annotated[list[Name], Meta(max_length=FACTS_OF_PART)] = []
    budgets: Annotated[dict[Name, Cost], Meta(max_length=1_000)] = {}
    deadline_ms: Annotated[int, Meta(ge=DEADLINE_MS_MIN, le=DEADLINE_MS_MAX)] = DEADLINE_MS_DEFAULT


Proof = Literal["optimal", "bound", "heuristic"]


class FrontPoint(Result):
    """A spine of a front.

    cost: what its rules cost together
    fairness: its index
    score: what it comes to by the weights
    goals: how many it reaches
    rules: in an order in which they can be applied
    hash: its name
    """

    cost: float
    fairness: float
    score: float
    goals: Count
    rules: list[Name]
    hash: Hash


class SearchAnswer(Result):
    """The spine that was found, and how good it is for sure.

    spine: rules that derive the goals, in an order in which they can be applied; null: there is none, or none was found
    cost: what they cost together, each once; null without a spine
    bound: no spine for all goals that can be reached costs less than this; null without a spine
    score: efficiency · bound / cost, at most 1 and times the share of the goals, + fairness · index, each with its weight; null
        without a spine
    fairness: how alike all groups bear it, or see their goals reached, by Jain's index: 1 for all the same; null without a spine
    proof: optimal: nothing is cheaper, or the front is whole, or there is no spine; bound: nothing is below the bound; heuristic:
        nothing is proved
    goals: what was to be reached
    unreachable: goals that no rules lead to
    front: in mode pareto, the spines of which no other costs less and is fairer, the cheapest first; those with the best scores
        where they are more than 100
    front_count: how many these are in all
    """

    spine: SpineOf | None
    cost: float | None
    bound: float | None
    score: float | None
    fairness: float | None
    proof: Proof
    goals: list[Symbol]
    unreachable: list[Symbol] = []
    front: list[FrontPoint] = []
    front_count: Count = 0


def check_search(held: Snapshot, params: Search) -> dict[str, int]:
    """Refuses what cannot be looked for. The budgets in micro-units."""
    known = rule_ids(held.rules) if params.forbidden else set()
    stranger = next((rule_id for rule_id in params.forbidden if rule_id not in known), None)
    if stranger is not None:
        raise Refused(
            "not-found", f"no rule is named {stranger}, so it cannot be forbidden. All: irerctl trajectory", reason="rule"
        )
    groups = groups_of(held.rules) if params.budgets or params.weights.groups else set()
    foreign = next((group for group in (*params.budgets, *params.weights.groups) if group not in groups), None)
    if foreign is not None:
        text = f"no rule is of the group {foreign}. There are: {', '.join(sorted(groups)[:10]) or 'none'}"
        raise Refused("not-found", text, reason="group")
    return {group: cost_micro(cost, f"the budget of {group}", f"budgets/{group}") for group, cost in params.budgets.items()}


class Found(msgspec.Struct, frozen=True):
    """What a search came to. No rules: there is no spine, or none was found."""

    rules: tuple[Rule, ...] | None
    bound_micro: int
    proof: Proof


def out_of_reach(planned: Plan) -> SearchAnswer:
    return SearchAnswer(None, None, None, None, None, "optimal", list(planned.goals), list(planned.unreachable))


class FoundFront(msgspec.Struct, frozen=True):
    """What a search for a front came to: spines as sets of rules, none of them beaten by another."""

    laid: list[tuple[Rule, ...]]
    bound_micro: int
    finished: bool


def answer(planned: Plan, found: Found, spine: Spine | None, weights: Weights, owned: GoalsOf | None = None) -> SearchAnswer:
    """Of a spine that was checked. `owned`: of each group its goals, where it is their coverage that is to be fair."""
    if spine is None:
        return _none(planned, found.proof)
    cost, fairness, score = judged(planned, spine, found.bound_micro, weights, owned)
    shown, bound = spine_shown(spine), found.bound_micro / MICRO
    lost = list(planned.unreachable)
    told = SearchAnswer(shown, cost / MICRO, bound, score, fairness, found.proof, list(planned.goals), lost)
    return _fitting(told, f"the spine costs {cost / MICRO:g} and has {len(spine.rules):,} rules")


def front_answer(
    planned: Plan, found: FoundFront, front: Sequence[Spine], weights: Weights, owned: GoalsOf | None = None
) -> SearchAnswer:
    """Of spines that were checked. The one in the answer has the best score; of equals the cheapest; of these the first by name."""
    proof: Proof = "optimal" if found.finished else "bound" if found.bound_micro else "heuristic"
    if not front:
        return _none(planned, proof if found.finished else "heuristic")
    points = []
    for place, spine in enumerate(front):
        cost, fairness, score = judged(planned, spine, found.bound_micro, weights, owned)
        ids = [rule.rule_id for rule in spine.rules]
        points.append((FrontPoint(cost / MICRO, fairness, score, len(spine.goals), ids, spines.fold(spine)), place))
    points.sort(key=lambda each: (-each[0].score, each[0].cost, each[0].hash))
    best, place = points[0]
    shown = sorted((point for point, _ in points[:FRONT_SHOWN_MAX]), key=lambda point: (point.cost, point.fairness))
    told = SearchAnswer(
        spine_shown(front[place]),
        best.cost,
        found.bound_micro / MICRO,
        best.score,
        best.fairness,
        proof,
        list(planned.goals),
        list(planned.unreachable),
        shown,
        len(front),
    )
    return _fitting(told, f"the front has {len(front):,} spines, the best of which has {len(best.rules):,} rules")


def _none(planned: Plan, proof: Proof) -> SearchAnswer:
    none = SearchAnswer(None, None, None, None, None, proof, list(planned.goals), list(planned.unreachable))
    return _fitting(none, f"there is no spine, and {len(planned.goals):,} goals")


def judged(planned: Plan, spine: Spine, bound: int, weights: Weights, owned: GoalsOf | None) -> tuple[int, float, float]:
    """Cost in micro-units, fairness and score."""
    cost = sum(rule.cost_micro for rule in spine.rules)
    efficiency = min(1.0, bound / cost) if cost else 1.0
    if owned is None:
        fairness = spines.fairness(spine.rules, planned.groups, weights.groups)
    else:
        fairness = spines.coverage(spine.goals, owned, weights.groups)
        efficiency *= len(spine.goals) / len(planned.goals) if planned.goals else 1.0
    return cost, fairness, weights.efficiency * efficiency + weights.fairness * fairness


def _fitting(told: SearchAnswer, what: str) -> SearchAnswer:
    size, values = weight(told)
    if size > PAGE_BYTES_MAX or values > PAGE_VALUES_MAX:
        text = f"{what}; that many fit in no answer. Ask for fewer goals"
        raise Refused("resource-exhausted", text, reason="spine-too-large")
    return told


# --- spines -----------------------------------------------------------------------------------------------------------------


class Compare(Command):
    """Two spines.

    a: one
    b: the other
    """

    a: SpineOf
    b: SpineOf


class Comparison(Result):
    """What one spine has that the other has not.

    same: whether both have the same name
    hash_a: the name of the first
    hash_b: and of the second
    cost_a: what the first costs
    cost_b: and the second
    only_a: rules that only the first has
    only_b: rules that only the second has
    changed: rules that both have, but not the same
    """

    same: bool
    hash_a: Hash
    hash_b: Hash
    cost_a: float
    cost_b: float
    only_a: list[Name]
    only_b: list[Name]
    changed: list[Name]


def compare(program: Program, params: Compare, ctx: Context) -> Comparison:
    a, b = spine_of(params.a, "/a"), spine_of(params.b, "/b")
    walked_a, walked_b = walk_told(a, "/a"), walk_told(b, "/b")
    found = spines.compare(a, b)
    return Comparison(
        found.same,
        spines.fold(a),
        spines.fold(b),
        walked_a.cost_micro / MICRO,
        walked_b.cost_micro / MICRO,
        list(found.only_a),
        list(found.only_b),
        list(found.changed),
    )


class Occupancy(Command):
    """How much to show.

    limit: how many rules, atoms and cells of the grid at most, each with the most frequent first; 100 unless told
    """

    limit: Annotated[int, Meta(ge=1, le=5_000)] = OFTEN_DEFAULT


class RuleUse(Result):
    """How often a rule was laid.

    rule_id: which
    count: in how many folded spines
    """

    rule_id: Name
    count: Count


class AtomUse(Result):
    """How often an atom was reached.

    symbol: which
    count: in how many folded spines
    """

    symbol: Symbol
    count: Count


class CellUse(Result):
    """How often rules of a group were laid at a depth.

    depth: rules on the longest way to them, they included
    group: which
    count: how many, over all folded spines
    """

    depth: Count
    group: Name
    count: Count


class OccupancyAnswer(Result):
    """What folded spines have in common. Of very long ones only the first rules, atoms and depths are counted.

    folds: how many spines were folded
    rules: those that were laid most
    symbols: atoms that were reached most
    grid: where the rules of each group lie, by depth
    """

    folds: Count
    rules: list[RuleUse]
    symbols: list[AtomUse]
    grid: list[CellUse]


def occupancy(program: Program, params: Occupancy, ctx: Context) -> OccupancyAnswer:
    cells = sorted(program.grid.items(), key=lambda each: (-each[1], each[0]))[: params.limit]
    return OccupancyAnswer(
        program.folded,
        [RuleUse(*each) for each in _most(program.laid, params.limit)],
        [AtomUse(*each) for each in _most(program.reached, params.limit)],
        [CellUse(depth, group, count) for (depth, group), count in sorted(cells)],
    )


def _most(counts: Mapping[str, int], limit: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:limit]
