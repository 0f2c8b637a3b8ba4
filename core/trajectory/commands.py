"""What the trajectory engine may be asked to change. A command judges and changes nothing."""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice, pairwise
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from core import spine as spines
from core.engine import NOTHING, Command, Context, Decision, Event, Refused, Result
from core.fields import INT_MAX, Count, Frozen, Hash, Name, privacy
from core.micro import MICRO, micro
from core.spine import BadSpine, Rule, Spine
from core.trajectory import packs
from core.trajectory.events import (
    PREMISES_MAX,
    PREMISES_OF_RECORD,
    RULES_OF_RECORD,
    Cell,
    CostsSet,
    Fact,
    FactAdded,
    Folded,
    Loaded,
    PremiseCount,
    RuleAdded,
    StoredColumns,
    StoredPack,
    StoredRule,
    Symbol,
)
from core.trajectory.packs import Fault, Opened
from core.trajectory.program import Parts, Program, facts_of, rule_of
from core.trajectory.table import Table

RULES_MAX, FACTS_MAX, LITERALS_MAX = 1_000_000, 1_000_000, 5_000_000
RULES_OF_PART, FACTS_OF_PART = 4_000, 8_000
COLUMN_OF_PART = 30_000
"""Rules of a part, or premises of all of them, where they come as columns."""
GOALS_MAX = 1_000
RECORD_BYTES, RECORD_BYTES_MAX = 40_000, 50_000
"""Of one record of a load: what is aimed at, and what stays below what a record may hold with all that is around it."""
PACKS_OF_PART = 32
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


class RuleColumns(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Many rules: a list for each of their fields, and atoms by number, which is read several times as fast as rules are.

    atoms: that no columns of the parts before named, numbered on from theirs; the first of a load is 0
    rule_ids: names of the rules
    counts: how many premises each has
    premises: of all of them, one rule's after another's, by their numbers
    conclusions: what each concludes, by its number
    costs: what applying each costs, with at most six decimal places
    groups: who bears any of them
    group_of: place in groups of whoever bears each
    """

    atoms: Annotated[list[Symbol], Meta(max_length=COLUMN_OF_PART)]
    rule_ids: Annotated[list[Name], Meta(max_length=COLUMN_OF_PART)]
    counts: Annotated[list[PremiseCount], Meta(max_length=COLUMN_OF_PART)]
    premises: Annotated[list[Count], Meta(max_length=COLUMN_OF_PART)]
    conclusions: Annotated[list[Count], Meta(max_length=COLUMN_OF_PART)]
    costs: Annotated[list[Cost], Meta(max_length=COLUMN_OF_PART)]
    groups: Annotated[list[Name], Meta(max_length=COLUMN_OF_PART)]
    group_of: Annotated[list[Count], Meta(max_length=COLUMN_OF_PART)]


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
    columns: rules, where there are many; then `rules` stays empty
    packs: facts and rules, where there are very many; then all rules of the load come so
    """

    facts: Annotated[list[Symbol | Fact], Meta(max_length=FACTS_OF_PART)] = []
    rules: Annotated[list[RuleOf], Meta(max_length=RULES_OF_PART)] = []
    goals: Annotated[list[Symbol], Meta(max_length=GOALS_MAX)] = []
    columns: RuleColumns | None = None
    packs: Annotated[list[StoredPack], Meta(max_length=PACKS_OF_PART)] = []


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
    found = whole_micro(cost)
    if found is None:
        text = f"{what} has the cost {cost!r}: costs have at most six decimal places, so that sums are exact. Round it"
        raise Refused("invalid-argument", text, reason="cost-precision", fields=[(at, "at most six decimal places")])
    return found


def whole_micro(cost: float) -> int | None:
    """As `micro` has it, without a decimal in between where that is sure: below 10^15 micro-units no two amounts of six places are
    the same float, so one that comes back as the same was meant. A large load is in a hurry."""
    scaled = round(cost * MICRO)
    return scaled if scaled / MICRO == cost and abs(scaled) <= 10**15 else micro(cost)


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
    before, atoms_before = _before(program, command, owner)
    problem = command.problem
    columns = _columns(problem, len(atoms_before))
    rules = _checked(columns, before, _names(problem, atoms_before))
    facts = [Fact(fact) if isinstance(fact, str) else fact for fact in problem.facts]
    opened = _opened(problem, before)
    atoms = _Atoms(before.rules.atoms, opened)
    told = [(fact.symbol, fact.value) for fact in facts]
    told += chain.from_iterable(facts_of(pack, atoms) for pack in opened)
    if len(before.facts) + len(told) > FACTS_MAX:
        raise Refused("resource-exhausted", f"a program holds at most {FACTS_MAX:,} facts. Load a smaller one", reason="facts")
    if len(before.goals) + len(problem.goals) > GOALS_MAX:
        raise Refused("resource-exhausted", f"a program has at most {GOALS_MAX:,} goals. Give fewer", reason="goals")
    contrary = _contrary(told, before)
    if contrary is not None:
        text = f"{contrary} is told to hold and not to hold. Tell it once"
        raise Refused("invalid-argument", text, reason="fact", fields=[("/problem/facts", text)])
    pieces = list(_pieces(facts, columns.atoms, rules, problem.packs, problem.goals))
    return Decision(
        *[
            Loaded(
                owner,
                command.load,
                command.part,
                first=not command.part and not place,
                last=not command.more and place == len(pieces) - 1,
                facts=piece.facts,
                goals=piece.goals,
                atoms=piece.atoms,
                columns=piece.columns,
                pack=piece.pack,
            )
            for place, piece in enumerate(pieces)
        ]
    )


def _before(program: Program, command: Load, owner: str) -> tuple[Parts, Sequence[str]]:
    """What of this load is there already, and the atoms that have numbers."""
    if not command.part:
        return Parts(), ()
    staged = program.staged
    if staged is None or (staged.owner, staged.load) != (owner, command.load):
        text = f"part {command.part} belongs to no load that is going on: another one began since, or it is done. Begin with part 0"
        raise Refused("failed-precondition", text, reason="part", data={"next_part": 0})
    if staged.next_part != command.part:
        text = f"part {command.part} does not come next: part {staged.next_part} does. Send that one; part 0 begins anew"
        raise Refused("failed-precondition", text, reason="part", data={"next_part": staged.next_part})
    return staged.parts, staged.atoms


def loaded(events: Sequence[Event]) -> LoadAnswer:
    pieces = [event for event in events if isinstance(event, Loaded)]
    facts = sum(len(piece.facts) for piece in pieces)
    rules = sum(len(piece.columns.rule_ids) for piece in pieces if piece.columns is not None)
    for pack in (piece.pack for piece in pieces if piece.pack is not None):
        facts += len(packs.numbers("i", pack.facts))
        rules += pack.rule_ids.count("\n") + 1 if pack.rule_ids else 0
    return LoadAnswer(pieces[-1].part, pieces[-1].last, facts, rules)


def _opened(problem: Problem, before: Parts) -> list[Opened]:
    """Packs that were looked through, or the first rule that is wrong with its number."""
    if not problem.packs:
        return []
    table = before.rules
    if problem.rules or problem.columns is not None or table.told < len(table.atoms):
        text = "its rules come in packs and otherwise too. Send all rules of a load in packs, or none"
        raise Refused("invalid-argument", text, reason="columns", fields=[("/problem/packs", text)])
    found: list[Opened] = []
    names, symbols = set[str](), set[str]()
    literals = before.literals
    for place, pack in enumerate(problem.packs):
        made = packs.opened_or_fault(pack, len(table.atoms) + len(symbols))
        rules_before = len(table) + len(names)
        if isinstance(made, Fault):
            raise _faulty(made, pack, place, rules_before)
        _new_names(made.rule_ids, table, names, rules_before)
        names.update(made.rule_ids)
        before_it = len(symbols)
        symbols.update(made.atoms)
        if len(symbols) - before_it < len(made.atoms) or not table.number.keys().isdisjoint(made.atoms):
            text = f"packs[{place}].atoms name an atom that was named before. Name each once"
            raise Refused("invalid-argument", text, reason="columns", fields=[(f"/problem/packs/{place}/atoms", text)])
        literals += len(made.rule_ids) + len(made.premises)
        _room(rules_before + len(made.rule_ids), literals)
        found.append(made)
    if len(table.atoms) + len(symbols) > LITERALS_MAX + FACTS_MAX:
        text = f"a program numbers at most {LITERALS_MAX + FACTS_MAX:,} atoms. Load a smaller program"
        raise Refused("resource-exhausted", text, reason="atoms")
    return found


def _faulty(fault: Fault, pack: StoredPack, place: int, rules_before: int) -> Refused:
    at = f"/problem/packs/{place}/{fault.field}"
    if fault.rule is None:
        text = f"packs[{place}].{fault.field} {fault.why}"
        return Refused("invalid-argument", text, reason="columns", fields=[(at, text)])
    name = packs.lines(pack.rule_ids)[fault.rule]
    text = f"rule {rules_before + fault.rule + 1}, {name[:120]!r}, {fault.why}"
    return Refused("invalid-argument", text, reason="rule", fields=[(at, text)])


class _Atoms:
    """Atoms by number: those that are there, and those that packs name after them."""

    def __init__(self, before: Sequence[str], opened: Sequence[Opened]) -> None:
        self._before = before
        self._more = [atom for pack in opened for atom in pack.atoms]

    def __getitem__(self, number: int) -> str:
        there = len(self._before)
        return self._before[number] if number < there else self._more[number - there]


def _names(problem: Problem, atoms_before: Sequence[str]) -> Sequence[Any]:
    """What each number of a problem's columns names; of a list of rules the numbers themselves, as each atom has one there."""
    if problem.columns is None:
        return range(sys.maxsize)
    own = problem.columns.atoms
    if len(atoms_before) + len(own) > LITERALS_MAX:
        text = f"a program numbers at most {LITERALS_MAX:,} atoms. Give each one number, and load a smaller program"
        raise Refused("resource-exhausted", text, reason="atoms")
    return [*atoms_before, *own] if own else atoms_before


def _checked(told: RuleColumns, before: Parts, names: Sequence[Any]) -> StoredColumns:
    """All rules as the log keeps them, or the first that is wrong with its number."""
    _even(told, len(names))
    _new_names(told.rule_ids, before.rules, (), len(before.rules))
    _room(len(before.rules) + len(told.rule_ids), before.literals + len(told.rule_ids) + len(told.premises))
    costs = [amount for cost in told.costs if (amount := whole_micro(cost)) is not None]
    if len(costs) < len(told.costs):
        _too_fine(told, before)
    named = _bodies(told.counts, tuple(map(names.__getitem__, told.premises)))
    bodies = [
        body if len(set(atoms)) == len(body) else _each_once(body, atoms)
        for body, atoms in zip(_bodies(told.counts, tuple(told.premises)), named, strict=True)
    ]
    counts, premises = list(map(len, bodies)), list(chain.from_iterable(bodies))
    return StoredColumns(told.rule_ids, counts, premises, told.conclusions, costs, told.groups, told.group_of)


def _bodies(counts: Iterable[int], premises: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    """The premises of each rule."""
    end = 0
    for count in counts:
        begin, end = end, end + count
        yield premises[begin:end]


def _each_once(body: Sequence[int], atoms: Sequence[Any]) -> tuple[int, ...]:
    """The first number of each atom: two may stand for one, and a rule needs it once."""
    first: dict[Any, int] = {}
    for number, atom in zip(body, atoms, strict=True):
        first.setdefault(atom, number)
    return tuple(first.values())


def _too_fine(told: RuleColumns, before: Parts) -> None:
    for place, cost in enumerate(told.costs):
        cost_micro(cost, f"rule {len(before.rules) + place + 1}, {told.rule_ids[place]},", f"/problem/rules/{place}/cost")


def _columns(problem: Problem, atoms: int) -> RuleColumns:
    """All rules of a problem in the one form; its atoms are numbered from `atoms` on."""
    rules, told = problem.rules, problem.columns
    if told is None:
        return columns_of(rules, atoms)
    if rules:
        text = "its rules come as a list and as columns. Choose one of them"
        raise Refused("invalid-argument", text, reason="columns", fields=[("/problem/rules", text)])
    return told


def columns_of(rules: Sequence[RuleOf], atoms: int) -> RuleColumns:
    named = [symbol for rule in rules for symbol in (*rule.premises, rule.conclusion)]
    number = {symbol: atoms + place for place, symbol in enumerate(dict.fromkeys(named))}
    place_of = {group: place for place, group in enumerate(dict.fromkeys(rule.group for rule in rules))}
    return RuleColumns(
        list(number),
        [rule.rule_id for rule in rules],
        [len(rule.premises) for rule in rules],
        [number[premise] for rule in rules for premise in rule.premises],
        [number[rule.conclusion] for rule in rules],
        [rule.cost for rule in rules],
        list(place_of),
        [place_of[rule.group] for rule in rules],
    )


def _even(told: RuleColumns, atoms: int) -> None:
    """Columns of one length, and no number that stands for nothing: else nobody knows what is whose."""
    rules = len(told.rule_ids)
    for name in ("counts", "conclusions", "costs", "group_of"):
        if (long := len(getattr(told, name))) != rules:
            _uneven(name, f"has {long:,} entries, and there are {rules:,} rules. Give one for each rule")
    if sum(told.counts) != len(told.premises):
        _uneven("counts", f"add up to {sum(told.counts):,}, and there are {len(told.premises):,} premises. Make them agree")
    for name, most in (("premises", atoms), ("conclusions", atoms), ("group_of", len(told.groups))):
        if (largest := max(getattr(told, name), default=-1)) >= most:
            _uneven(name, f"name number {largest:,}, and numbers go up to {most - 1:,}. Name each atom and group before its number")


def _uneven(name: str, why: str) -> None:
    text = f"columns.{name} {why}"
    raise Refused("invalid-argument", text, reason="columns", fields=[(f"/problem/columns/{name}", text)])


def _new_names(names: Sequence[str], table: Table, more: Collection[str], rules_before: int) -> None:
    """Names that no rule has: none of the table, none of `more`, and none of two of these."""
    own = set(names)
    clash = not table.place.keys().isdisjoint(own) or not own.isdisjoint(more)  # the other way round it would go through all rules
    if len(own) == len(names) and not clash:
        return
    seen: set[str] = set()
    for place, name in enumerate(names):
        if name in seen or name in table or name in more:
            text = f"rule {rules_before + place + 1}, {name}, has the name of a rule before it. Give each rule a name of its own"
            raise Refused("invalid-argument", text, reason="rule", fields=[(f"/problem/rules/{place}/rule_id", "is there twice")])
        seen.add(name)


def _contrary(facts: Iterable[tuple[str, bool]], before: Parts) -> str | None:
    """The first that is told to hold and not to hold."""
    own: dict[str, bool] = {}
    for symbol, value in facts:
        if own.setdefault(symbol, value) != value or before.facts.get(symbol, value) != value:
            return symbol
    return None


class _Piece(NamedTuple):
    """What one record of a load holds."""

    facts: list[Fact] = []
    atoms: list[str] = []
    columns: StoredColumns | None = None
    pack: StoredPack | None = None
    goals: list[str] = []


def _pieces(
    facts: Sequence[Fact], atoms: Sequence[str], rules: StoredColumns, told: Sequence[StoredPack], goals: Sequence[str]
) -> Iterator[_Piece]:
    """At least one, each small enough for a record, and all of them for one command; atoms before the rules that name them."""
    room = _Room(PART_BYTES_MAX)
    pieces = [_Piece(facts=part) for part in _batches(facts, 1_024, room)]
    pieces += [_Piece(atoms=part) for part in _batches(atoms, 1_024, room)]
    pieces += [_Piece(columns=part) for part in _column_batches(rules, room)]
    pieces += [_Piece(pack=pack) for pack in _weighed(told, room)]
    pieces += [_Piece(goals=part) for part in _batches(goals, GOALS_MAX, room)]
    return iter(pieces or [_Piece()])


class _Room:
    def __init__(self, octets: int) -> None:
        self._left = octets

    def take(self, octets: int) -> None:
        self._left -= octets
        if self._left < 0:
            text = f"this part takes more than {PART_BYTES_MAX:,} bytes in the log. Send it in smaller parts (part, more)"
            raise Refused("resource-exhausted", text, reason="part-too-large")


def _weighed(told: Sequence[StoredPack], room: _Room) -> Iterator[StoredPack]:
    """Each as it came: whoever made it made it small enough for a record."""
    for place, pack in enumerate(told):
        octets = len(msgspec.json.encode(pack))
        if octets > RECORD_BYTES_MAX:
            text = f"packs[{place}] takes {octets:,} bytes, and a record of the log holds {RECORD_BYTES_MAX:,}. Make smaller packs"
            raise Refused("invalid-argument", text, reason="columns", fields=[(f"/problem/packs/{place}", text)])
        room.take(octets)
        yield pack


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


def _column_batches(rules: StoredColumns, room: _Room) -> Iterator[StoredColumns]:
    """Cut into as few as records hold, by halves: most are about as long as others, and nobody weighs a million one by one."""
    if not rules.rule_ids:
        return
    whole = len(msgspec.json.encode(rules))
    room.take(whole)
    many = max(-(-whole // RECORD_BYTES), -(-len(rules.rule_ids) // RULES_OF_RECORD), -(-len(rules.premises) // PREMISES_OF_RECORD))
    for part in _cut(rules, many):
        yield from _small(part)


def _small(rules: StoredColumns) -> Iterator[StoredColumns]:
    if len(msgspec.json.encode(rules)) <= RECORD_BYTES_MAX and len(rules.premises) <= PREMISES_OF_RECORD:
        yield rules
    else:
        for part in _cut(rules, 2):
            yield from _small(part)


def _cut(rules: StoredColumns, many: int) -> Iterator[StoredColumns]:
    """So many of about the same number of rules."""
    starts = [0, *accumulate(rules.counts)]
    edges = sorted({len(rules.rule_ids) * place // many for place in range(many + 1)})
    for begin, end in pairwise(edges):
        used = dict.fromkeys(rules.group_of[begin:end])
        place_of = {group: place for place, group in enumerate(used)}
        yield StoredColumns(
            rules.rule_ids[begin:end],
            rules.counts[begin:end],
            rules.premises[starts[begin] : starts[end]],
            rules.conclusions[begin:end],
            rules.costs_micro[begin:end],
            [rules.groups[group] for group in used],
            [place_of[group] for group in rules.group_of[begin:end]],
        )


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
