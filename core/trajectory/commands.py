"""What the trajectory engine may be asked to change. A command judges and changes nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from core import spine as spines
from core.engine import NOTHING, Command, Context, Decision, Event, Refused, Result
from core.fields import INT_MAX, Count, Frozen, Hash, Name, privacy
from core.micro import MICRO, micro
from core.spine import BadSpine, Rule, Spine
from core.trajectory.events import (
    PREMISES_MAX,
    RULES_OF_RECORD,
    Cell,
    CostsSet,
    Fact,
    FactAdded,
    Folded,
    Loaded,
    RuleAdded,
    StoredRule,
    Symbol,
)
from core.trajectory.program import Parts, Program, rule_of

RULES_MAX, FACTS_MAX, LITERALS_MAX = 1_000_000, 1_000_000, 5_000_000
RULES_OF_PART, FACTS_OF_PART = 4_000, 8_000
GOALS_MAX = 1_000
RECORD_BYTES = 40_000
"""Of one record of a load, so that it stays well below what a record may hold."""
PART_BYTES_MAX = 900_000
"""Of all records of a part, so that they stay below what one command may write."""
SPINE_RULES_MAX = 10_000
RULE_BYTES, SYMBOL_BYTES, CELLS_MAX = 16_000, 24_000, 100
"""How much of a folded spine its record names."""

T = TypeVar("T")
Cost = Annotated[float, Meta(ge=0, le=1e9)]


class RuleOf(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
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


class AddRule(RuleOf, Command):
    """Adds a rule."""


class Problem(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Facts and rules, whole or a part of them.

    facts: atoms that hold, or facts with a value
    rules: rules
    goals: what is to be reached where nobody says otherwise
    """

    facts: Annotated[list[Symbol | Fact], Meta(max_length=FACTS_OF_PART)] = []
    rules: Annotated[list[RuleOf], Meta(max_length=RULES_OF_PART)] = []
    goals: Annotated[list[Symbol], Meta(max_length=GOALS_MAX)] = []


class Load(Command):
    """Replaces the whole program, at once or in parts.

    problem: facts, rules and goals, or a part of them
    part: which part this is; 0 begins anew
    more: whether another part follows; the program before stays in force until the last one is there
    load: a name for this load, the same for all its parts, so that it is never mixed with another one of yours
    """

    problem: Problem
    part: Count = 0
    more: bool = False
    load: Annotated[str, Meta(max_length=64), privacy("public")] = ""


class SetCosts(Command):
    """Gives rules other costs; what follows from what is as it was.

    costs: new cost, by rule
    """

    costs: Annotated[dict[Name, Cost], Meta(max_length=1_000)]


class SpineOf(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A spine: rules that derive goals from facts.

    facts: it starts from
    goals: it is for
    rules: in an order in which they can be applied
    """

    facts: Annotated[list[Symbol], Meta(max_length=FACTS_OF_PART)]
    goals: Annotated[list[Symbol], Meta(max_length=SPINE_RULES_MAX)]
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

    hash: Hash
    cost: float


class RuleAnswer(Result):
    """A rule that was added.

    rule_id: its name
    """

    rule_id: Name


class CostsAnswer(Result):
    """Costs that were set.

    rules: how many
    """

    rules: Count


class LoadAnswer(Result):
    """A part of a program that was taken.

    part: which
    whole: whether the program is whole with it, and so in force
    facts: in this part
    rules: in this part
    """

    part: Count
    whole: bool
    facts: Count
    rules: Count


# --- costs ------------------------------------------------------------------------------------------------------------------


def cost_micro(cost: float, what: str, at: str) -> int:
    if cost.is_integer():
        return int(cost) * MICRO  # most are, and a large load is in a hurry
    found = micro(cost)
    if found is None:
        text = f"{what} has the cost {cost!r}: costs have at most six decimal places, so that sums are exact. Round it"
        raise Refused("invalid-argument", text, reason="cost-precision", fields=[(at, "at most six decimal places")])
    return found


def stored_rule(rule: RuleOf, what: str, at: str) -> StoredRule:
    premises = list(dict.fromkeys(rule.premises))
    return StoredRule(rule.rule_id, premises, rule.conclusion, cost_micro(rule.cost, what, at), rule.group)


def rule_shown(rule: Rule) -> RuleOf:
    return RuleOf(rule.rule_id, list(rule.premises), rule.conclusion, rule.cost_micro / MICRO, rule.group)


def spine_shown(found: Spine) -> SpineOf:
    return SpineOf(list(found.facts), list(found.goals), [rule_shown(rule) for rule in found.rules])


def spine_of(told: SpineOf, at: str = "/spine") -> Spine:
    rules = []
    for place, rule in enumerate(told.rules):
        cost = cost_micro(rule.cost, f"rule {place + 1} of the spine, {rule.rule_id},", f"{at}/rules/{place}/cost")
        rules.append(Rule(rule.rule_id, tuple(dict.fromkeys(rule.premises)), rule.conclusion, cost, rule.group))
    return Spine(tuple(told.facts), tuple(told.goals), tuple(rules))


# --- commands ---------------------------------------------------------------------------------------------------------------


def decide_fact(program: Program, command: AddFact, ctx: Context) -> Decision:
    facts = program.parts.facts
    if len(facts) >= FACTS_MAX and command.symbol not in facts:
        raise Refused(
            "resource-exhausted", f"{FACTS_MAX:,} facts are there, and no more fit. Load a smaller program", reason="facts"
        )
    if facts.get(command.symbol) is command.value:
        return NOTHING
    return Decision(FactAdded(command.symbol, command.value))


def decide_rule(program: Program, command: AddRule, ctx: Context) -> Decision:
    parts = program.parts
    rule = stored_rule(command, f"rule {command.rule_id}", "/cost")
    there = parts.rules.get(command.rule_id)
    if there is not None:
        if there == rule_of(rule):
            return NOTHING
        text = f"there is another rule {command.rule_id}. Choose a new rule_id; for another cost: irerctl trajectory costs"
        raise Refused("already-exists", text, reason="rule")
    _room(len(parts.rules) + 1, parts.literals + 1 + len(command.premises))
    return Decision(RuleAdded(*msgspec.structs.astuple(rule)))


def rule_added(events: Sequence[Event]) -> RuleAnswer:
    first = events[0]
    assert isinstance(first, RuleAdded)
    return RuleAnswer(first.rule_id)


def _room(rules: int, literals: int) -> None:
    if rules > RULES_MAX or literals > LITERALS_MAX:
        text = f"a program holds at most {RULES_MAX:,} rules with {LITERALS_MAX:,} premises and conclusions. Load a smaller one"
        raise Refused("resource-exhausted", text, reason="rules")


def decide_load(program: Program, command: Load, ctx: Context) -> Decision:
    owner = ctx.actor.name
    before = _before(program, command, owner)
    problem = command.problem
    rules = _checked(problem.rules, before)
    facts = [Fact(fact) if isinstance(fact, str) else fact for fact in problem.facts]
    if len(before.facts) + len(facts) > FACTS_MAX:
        raise Refused("resource-exhausted", f"a program holds at most {FACTS_MAX:,} facts. Load a smaller one", reason="facts")
    if len(before.goals) + len(problem.goals) > GOALS_MAX:
        raise Refused("resource-exhausted", f"a program has at most {GOALS_MAX:,} goals. Give fewer", reason="goals")
    contrary = _contrary(facts, before)
    if contrary is not None:
        text = f"{contrary} is told to hold and not to hold. Tell it once"
        raise Refused("invalid-argument", text, reason="fact", fields=[("/problem/facts", text)])
    pieces = list(_pieces(facts, rules, problem.goals))
    return Decision(
        *[
            Loaded(
                owner,
                command.load,
                command.part,
                first=not command.part and not place,
                last=not command.more and place == len(pieces) - 1,
                facts=piece_facts,
                rules=piece_rules,
                goals=piece_goals,
            )
            for place, (piece_facts, piece_rules, piece_goals) in enumerate(pieces)
        ]
    )


def _before(program: Program, command: Load, owner: str) -> Parts:
    """What of this load is there already."""
    if not command.part:
        return Parts()
    staged = program.staged
    if staged is None or (staged.owner, staged.load) != (owner, command.load):
        text = f"part {command.part} belongs to no load that is going on: another one began since, or it is done. Begin with part 0"
        raise Refused("failed-precondition", text, reason="part", data={"next_part": 0})
    if staged.next_part != command.part:
        text = f"part {command.part} does not come next: part {staged.next_part} does. Send that one; part 0 begins anew"
        raise Refused("failed-precondition", text, reason="part", data={"next_part": staged.next_part})
    return staged.parts


def loaded(events: Sequence[Event]) -> LoadAnswer:
    pieces = [event for event in events if isinstance(event, Loaded)]
    facts, rules = sum(len(piece.facts) for piece in pieces), sum(len(piece.rules) for piece in pieces)
    return LoadAnswer(pieces[-1].part, pieces[-1].last, facts, rules)


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
    """At least one, each small enough for a record, and all of them for one command."""
    room = _Room(PART_BYTES_MAX)
    pieces: list[Piece] = [(part, [], []) for part in _batches(facts, 1_024, room)]
    pieces += [([], part, []) for part in _batches(rules, RULES_OF_RECORD, room)]
    pieces += [([], [], part) for part in _batches(goals, GOALS_MAX, room)]
    return iter(pieces or [([], [], [])])


class _Room:
    def __init__(self, octets: int) -> None:
        self._left = octets

    def take(self, octets: int) -> None:
        self._left -= octets
        if self._left < 0:
            text = f"this part takes more than {PART_BYTES_MAX:,} bytes in the log. Send it in smaller parts (part, more)"
            raise Refused("resource-exhausted", text, reason="part-too-large")


def _batches(values: Sequence[T], most: int, room: _Room) -> Iterator[list[T]]:
    batch: list[T] = []
    size = 0
    for value in values:
        octets = len(msgspec.json.encode(value)) + 1
        room.take(octets)
        if batch and (len(batch) == most or size + octets > RECORD_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(value)
        size += octets
    if batch:
        yield batch


def decide_costs(program: Program, command: SetCosts, ctx: Context) -> Decision:
    unknown = next((rule_id for rule_id in command.costs if rule_id not in program.parts.rules), None)
    if unknown is not None:
        raise Refused("not-found", f"no rule is named {unknown}. All: irerctl trajectory", reason="rule")
    found = {rule_id: cost_micro(cost, f"rule {rule_id}", f"/costs/{rule_id}") for rule_id, cost in command.costs.items()}
    items = iter(found.items())
    return Decision(*[CostsSet(batch) for batch in iter(lambda: dict(islice(items, 400)), {})])


def costs_set(events: Sequence[Event]) -> CostsAnswer:
    return CostsAnswer(sum(len(event.costs) for event in events if isinstance(event, CostsSet)))


def decide_fold(program: Program, command: Fold, ctx: Context) -> Decision:
    told = spine_of(command.spine)
    walked = walk_told(told)
    cells = [Cell(depth, group, count) for depth, row in sorted(spines.grid(told).items()) for group, count in sorted(row.items())]
    return Decision(
        Folded(
            spines.fold(told),
            walked.cost_micro,
            len(set(told.facts)),
            len(set(told.goals)),
            len(told.rules),
            _first([rule.rule_id for rule in told.rules], RULE_BYTES),
            _first(dict.fromkeys(rule.conclusion for rule in told.rules), SYMBOL_BYTES),
            cells[:CELLS_MAX],
        )
    )


def _first(texts: Iterable[str], octets: int) -> list[str]:
    """As many as fit."""
    found: list[str] = []
    for text in texts:
        octets -= len(msgspec.json.encode(text)) + 1
        if octets < 0:
            break
        found.append(text)
    return found[:1_024]


_WRONG: Mapping[str, str] = {
    "missing-premise": "{at}, and nothing before it in the spine makes that hold. Put its rules in order, or add the fact",
    "unreached-goal": "its goal {at} is not reached by its rules. Add what is missing, or leave the goal out",
    "twice": "rule {at} stands in it twice. Leave one out",
    "cost-precision": f"its costs add up to more than {INT_MAX:,} micro-units, which would not be exact. Use smaller ones",
}


def walk_told(told: Spine, at: str = "/spine") -> spines.Walk:
    try:
        return spines.walk(told)
    except BadSpine as bad:
        text = _WRONG[bad.code].format(at=bad.at)
        raise Refused("invalid-argument", f"this is no spine: {text}", reason=bad.code, fields=[(at, text)]) from None


def folded(events: Sequence[Event]) -> FoldAnswer:
    first = events[0]
    assert isinstance(first, Folded)
    return FoldAnswer(first.hash, first.cost_micro / MICRO)
