"""What the trajectory engine may be asked to change. A command judges and changes nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from core import spine as spines
from core.engine import Command, Context, Decision, Refused, Result
from core.fields import INT_MAX, Count, Frozen, Name
from core.micro import MICRO, micro
from core.spine import BadSpine, Rule, Spine
from core.trajectory.events import (
    PREMISES_MAX,
    RULES_OF_RECORD,
    CostsSet,
    Fact,
    FactAdded,
    Folded,
    Loaded,
    RuleAdded,
    StoredRule,
    Symbol,
)
from core.trajectory.program import Parts, Program

RULES_MAX, FACTS_MAX, LITERALS_MAX = 200_000, 200_000, 2_000_000
RULES_OF_PART, FACTS_OF_PART = 4_000, 8_000
RECORD_BYTES = 40_000
"""Of one record of a load, so that it stays well below what a record may hold."""
SPINE_RULES_MAX = 10_000
GRID_MAX, COUNTED_OF_FOLD = 256, 512

T = TypeVar("T")
Cost = Annotated[float, Meta(ge=0, le=1e9)]


class RuleOf(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule.

    rule_id: its name
    premises: atoms that must hold; none: it can always be applied
    conclusion: the atom that then holds
    cost: what applying it costs, with at most six decimal places
    group: who bears it
    """

    rule_id: Name
    premises: Annotated[list[Symbol], Meta(max_length=PREMISES_MAX)]
    conclusion: Symbol
    cost: Cost = 1.0
    group: Name = "default"


class AddFact(Command):
    """Tells a fact.

    symbol: the atom
    value: whether it holds; one that does not is denied: no rule may conclude it
    """

    symbol: Symbol
    value: bool = True


class AddRule(Command):
    """Adds a rule.

    rule_id: its name
    premises: atoms that must hold; none: it can always be applied
    conclusion: the atom that then holds
    cost: what applying it costs, with at most six decimal places
    group: who bears it
    """

    rule_id: Name
    premises: Annotated[list[Symbol], Meta(max_length=PREMISES_MAX)]
    conclusion: Symbol
    cost: Cost = 1.0
    group: Name = "default"


class Problem(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Facts and rules, whole or a part of them.

    facts: atoms that hold, or facts with a value
    rules: rules
    goals: what is to be reached where nobody says otherwise
    """

    facts: Annotated[list[Symbol | Fact], Meta(max_length=FACTS_OF_PART)] = []
    rules: Annotated[list[RuleOf], Meta(max_length=RULES_OF_PART)] = []
    goals: Annotated[list[Symbol], Meta(max_length=1_000)] = []


class Load(Command):
    """Replaces the whole program, at once or in parts.

    problem: facts, rules and goals, or a part of them
    part: which part this is; 0 begins anew
    more: whether another part follows; the program before stays in force until the last one is there
    """

    problem: Problem
    part: Count = 0
    more: bool = False


class SetCosts(Command):
    """Gives rules other costs; what follows from what is as it was.

    costs: new cost, by rule
    """

    costs: Annotated[dict[Name, Cost], Meta(min_length=1, max_length=1_000)]


class SpineOf(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A spine: rules that derive goals from facts.

    facts: it starts from
    goals: it is for
    rules: in an order in which they can be applied
    """

    facts: Annotated[list[Symbol], Meta(max_length=FACTS_OF_PART)]
    goals: Annotated[list[Symbol], Meta(max_length=1_000)]
    rules: Annotated[list[RuleOf], Meta(max_length=SPINE_RULES_MAX)]


class Fold(Command):
    """Folds a spine to its name.

    spine: as `search` answered it, or your own
    """

    spine: SpineOf


class FoldAnswer(Result):
    """The name of a spine.

    hash: 64 hexadecimal digits, the same however the spine is written down
    cost: what it costs
    """

    hash: str
    cost: float


class LoadAnswer(Result):
    """How much of a program is there.

    part: the part that was taken
    whole: whether the program is whole, and so in force
    facts: so far
    rules: so far
    """

    part: Count
    whole: bool
    facts: Count
    rules: Count


# --- costs ------------------------------------------------------------------------------------------------------------------


def cost_micro(cost: float, what: str, at: str) -> int:
    found = micro(cost)
    if found is None:
        text = f"{what} has the cost {cost!r}: costs have at most six decimal places, so that sums are exact. Round it"
        raise Refused("invalid-argument", text, reason="cost-precision", fields=[(at, "at most six decimal places")])
    return found


def stored_rule(rule: RuleOf | AddRule, what: str, at: str) -> StoredRule:
    premises = list(dict.fromkeys(rule.premises))
    return StoredRule(rule.rule_id, premises, rule.conclusion, cost_micro(rule.cost, what, at), rule.group)


def rule_shown(rule: Rule) -> RuleOf:
    return RuleOf(rule.rule_id, list(rule.premises), rule.conclusion, rule.cost_micro / MICRO, rule.group)


def spine_shown(found: Spine) -> SpineOf:
    return SpineOf(list(found.facts), list(found.goals), [rule_shown(rule) for rule in found.rules])


def spine_of(told: SpineOf) -> Spine:
    rules = []
    for place, rule in enumerate(told.rules):
        cost = cost_micro(rule.cost, f"rule {place + 1} of the spine, {rule.rule_id},", f"/spine/rules/{place}/cost")
        rules.append(Rule(rule.rule_id, tuple(dict.fromkeys(rule.premises)), rule.conclusion, cost, rule.group))
    return Spine(tuple(told.facts), tuple(told.goals), tuple(rules))


# --- commands ---------------------------------------------------------------------------------------------------------------


def decide_fact(program: Program, command: AddFact, ctx: Context) -> Decision:
    facts = program.parts.facts
    if len(facts) >= FACTS_MAX and command.symbol not in facts:
        raise Refused(
            "resource-exhausted", f"{FACTS_MAX:,} facts are there, and no more fit. Load a smaller program", reason="facts"
        )
    return Decision(FactAdded(command.symbol, command.value))


def decide_rule(program: Program, command: AddRule, ctx: Context) -> Decision:
    parts = program.parts
    if command.rule_id in parts.rules:
        text = f"there is a rule {command.rule_id} already. Choose another rule_id; to change its cost: irerctl trajectory costs"
        raise Refused("already-exists", text, reason="rule")
    _room(len(parts.rules) + 1, parts.literals + 1 + len(command.premises))
    rule = stored_rule(command, f"rule {command.rule_id}", "/cost")
    return Decision(RuleAdded(rule.rule_id, rule.premises, rule.conclusion, rule.cost_micro, rule.group))


def _room(rules: int, literals: int) -> None:
    if rules > RULES_MAX or literals > LITERALS_MAX:
        text = f"a program holds at most {RULES_MAX:,} rules with {LITERALS_MAX:,} premises and conclusions. Load a smaller one"
        raise Refused("resource-exhausted", text, reason="rules")


def decide_load(program: Program, command: Load, ctx: Context) -> Decision:
    owner = ctx.actor.name
    staged = program.staged if command.part else None
    if command.part and (staged is None or staged.owner != owner or staged.next_part != command.part):
        there = staged.next_part if staged is not None and staged.owner == owner else 0
        text = f"part {command.part} does not come next: part {there} does. Send that one; part 0 begins anew"
        raise Refused("failed-precondition", text, reason="part", data={"next_part": there})
    before = staged.parts if staged is not None else Parts()
    rules = _checked(command.problem.rules, before)
    facts = [Fact(fact) if isinstance(fact, str) else fact for fact in command.problem.facts]
    if len(before.facts) + len(facts) > FACTS_MAX:
        raise Refused("resource-exhausted", f"a program holds at most {FACTS_MAX:,} facts. Load a smaller one", reason="facts")
    contrary = _contrary(facts, before)
    if contrary is not None:
        text = f"{contrary} is told to hold and not to hold. Tell it once"
        raise Refused("invalid-argument", text, reason="fact", fields=[("/problem/facts", text)])
    pieces = list(_pieces(facts, rules, command.problem.goals))
    events = [
        Loaded(
            owner,
            command.part,
            first=not command.part and not place,
            last=not command.more and place == len(pieces) - 1,
            facts=piece_facts,
            rules=piece_rules,
            goals=piece_goals,
        )
        for place, (piece_facts, piece_rules, piece_goals) in enumerate(pieces)
    ]
    whole = LoadAnswer(command.part, not command.more, len(before.facts) + len(facts), len(before.rules) + len(rules))
    return Decision(*events, answer=whole)


def _checked(rules: Sequence[RuleOf], before: Parts) -> list[StoredRule]:
    """Each rule, or the first that is wrong with its number."""
    found: dict[str, StoredRule] = {}
    literals = before.literals
    for place, rule in enumerate(rules):
        number = len(before.rules) + place + 1
        if rule.rule_id in found or rule.rule_id in before.rules:
            text = f"rule {number}, {rule.rule_id}, has the name of a rule before it. Give each rule a name of its own"
            raise Refused("invalid-argument", text, reason="rule", fields=[(f"/problem/rules/{place}/rule_id", "is there twice")])
        found[rule.rule_id] = stored_rule(rule, f"rule {number}, {rule.rule_id},", f"/problem/rules/{place}/cost")
        literals += 1 + len(rule.premises)
    _room(len(before.rules) + len(found), literals)
    return list(found.values())


def _contrary(facts: Iterable[Fact], before: Parts) -> str | None:
    told = dict(before.facts)
    return next((fact.symbol for fact in facts if told.setdefault(fact.symbol, fact.value) != fact.value), None)


Piece = tuple[list[Fact], list[StoredRule], list[str]]


def _pieces(facts: Sequence[Fact], rules: Sequence[StoredRule], goals: Sequence[str]) -> Iterator[Piece]:
    """At least one, each small enough for a record."""
    fact_parts = list(_batches(facts, 1_024))
    rule_parts = list(_batches(rules, RULES_OF_RECORD))
    goal_parts = list(_batches(goals, 1_024))
    yielded = False
    for part in fact_parts:
        yield part, [], []
        yielded = True
    for batch in rule_parts:
        yield [], batch, []
        yielded = True
    for names in goal_parts:
        yield [], [], names
        yielded = True
    if not yielded:
        yield [], [], []


def _batches(values: Sequence[T], most: int) -> Iterator[list[T]]:
    batch: list[T] = []
    size = 0
    for value in values:
        weight = len(msgspec.json.encode(value)) + 1
        if batch and (len(batch) == most or size + weight > RECORD_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(value)
        size += weight
    if batch:
        yield batch


def decide_costs(program: Program, command: SetCosts, ctx: Context) -> Decision:
    unknown = next((rule_id for rule_id in command.costs if rule_id not in program.parts.rules), None)
    if unknown is not None:
        raise Refused("not-found", f"no rule is named {unknown}. All: irerctl trajectory", reason="rule")
    found = {rule_id: cost_micro(cost, f"rule {rule_id}", f"/costs/{rule_id}") for rule_id, cost in command.costs.items()}
    items = iter(found.items())
    batches = iter(lambda: dict(islice(items, 512)), {})
    return Decision(*[CostsSet(batch) for batch in batches], answer={"rules": len(found)})


def decide_fold(program: Program, command: Fold, ctx: Context) -> Decision:
    told = spine_of(command.spine)
    walked = walk_told(told)
    rows = sorted(spines.grid(told).items())
    cells = [(depth, group, count) for depth, row in rows for group, count in sorted(row.items())]
    event = Folded(
        spines.fold(told),
        walked.cost_micro,
        len(set(told.facts)),
        len(set(told.goals)),
        len(told.rules),
        [rule.rule_id for rule in told.rules[:COUNTED_OF_FOLD]],
        cells[:GRID_MAX],
    )
    return Decision(event)


_WRONG: Mapping[str, str] = {
    "missing-premise": "{at}, and nothing before it in the spine makes that hold. Put its rules in order, or add the fact",
    "unreached-goal": "its goal {at} is not reached by its rules. Add what is missing, or leave the goal out",
    "twice": "rule {at} stands in it twice. Leave one out",
    "cost-precision": f"its costs add up to more than {INT_MAX:,} micro-units, which would not be exact. Use smaller ones",
}


def walk_told(told: Spine) -> spines.Walk:
    try:
        return spines.walk(told)
    except BadSpine as bad:
        text = _WRONG[bad.code].format(at=bad.at)
        raise Refused("invalid-argument", f"this is no spine: {text}", reason=bad.code, fields=[("/spine", text)]) from None


def folded(events: Sequence[Folded]) -> FoldAnswer:
    return FoldAnswer(events[0].hash, events[0].cost_micro / MICRO)
