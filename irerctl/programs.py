"""A program of facts and rules in a file: looked through to the last rule, and cut into parts that a call takes.

There may be a million rules: that all is well is found out in a few passes over them; only where it is not they are gone through
one by one, so that the first wrong rule can be named. Must never let a part go of a program of which some rule is wrong.
"""

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, count
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.fields import Name
from core.trajectory.commands import (
    FACTS_MAX,
    GOALS_MAX,
    LITERALS_MAX,
    RULES_MAX,
    AddRule,
    RuleOf,
    whole_micro,
)
from core.trajectory.events import PREMISES_MAX, Fact, Symbol
from core.wire.errors import problem
from irerctl import fields, render
from irerctl.session import Failure

PART_FACTS, PART_RULES = 4_000, 4_000
PART_BYTES, PART_VALUES = 200_000, 40_000
"""What a part is to be about as large as: small enough that others are served between two."""
PART_NAMES = 100_000
"""Letters of the names of a part's rules, and of those who bear them: with its atoms they are what is long in it."""
FACTS_BESIDE_BYTES = 50_000
"""Facts that the first rules go with; more go alone."""
GOALS_BESIDE_MAX = 100
"""Goals that go with the last rules; more go alone."""
VALUES_OF_RULE = 5
"""Entries of a rule in the columns, besides its premises."""

_Cost = Annotated[float, Meta(ge=0, le=1e9)]


class _Told(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A rule as it stands in a file: atoms and names are judged later, each once."""

    rule_id: str
    premises: Annotated[list[str], Meta(max_length=PREMISES_MAX)]
    conclusion: str
    cost: _Cost | UnsetType = UNSET
    group: str | UnsetType = UNSET


class _ToldFact(msgspec.Struct, forbid_unknown_fields=True):
    symbol: str
    value: bool | UnsetType = UNSET


class _ToldProgram(msgspec.Struct, forbid_unknown_fields=True):
    facts: Annotated[list[str | _ToldFact], Meta(max_length=FACTS_MAX)] | UnsetType = UNSET
    rules: Annotated[list[_Told], Meta(max_length=RULES_MAX)] | UnsetType = UNSET
    goals: Annotated[list[str], Meta(max_length=GOALS_MAX)] | UnsetType = UNSET


class Rules(NamedTuple):
    """Rules, a list for each of their fields, and atoms and groups by their places."""

    atoms: Sequence[str]
    rule_ids: Sequence[str]
    counts: Sequence[int]
    premises: Sequence[int]
    conclusions: Sequence[int]
    costs: Sequence[float]
    groups: Sequence[str]
    group_of: Sequence[int]


def _rules(
    rule_ids: Sequence[str],
    bodies: Sequence[Sequence[str]],
    conclusions: Sequence[str],
    costs: Sequence[float],
    groups: Sequence[str],
) -> Rules:
    number, place_of = _numbers(), _numbers()
    atom, group = number.__getitem__, place_of.__getitem__
    counts, premises = list(map(len, bodies)), list(map(atom, chain.from_iterable(bodies)))
    heads, whose = list(map(atom, conclusions)), list(map(group, groups))
    return Rules(list(number), rule_ids, counts, premises, heads, costs, list(place_of), whose)


def _numbers() -> defaultdict[str, int]:
    """What is asked for the first time gets the next number."""
    return defaultdict(count().__next__)


class Program(NamedTuple):
    """A program that is well."""

    facts: Sequence[Any]
    """Atoms, or objects of a symbol and a value."""
    rules: Rules
    goals: Sequence[str]


@contextmanager
def without_collections() -> Iterator[None]:
    """Millions of values are made here, and none in a circle: looking for circles again and again takes longer than all else."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


# --- what is well -----------------------------------------------------------------------------------------------------------


def at_once(text: str) -> Program | None:
    """The program that a text holds. None where something may be wrong with it, which only a closer look can tell."""
    try:
        told = msgspec.json.decode(text, type=_ToldProgram)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    facts: list[Any] = list(told.facts or ())
    plain = [fact if isinstance(fact, str) else msgspec.to_builtins(fact) for fact in facts]
    rules = told.rules or []
    costs, groups = [rule.cost for rule in rules], [rule.group for rule in rules]
    bodies = [rule.premises for rule in rules]
    if not _each_key_once(text, told, _Count(len(rules), sum(map(len, bodies)), costs.count(UNSET), groups.count(UNSET))):
        return None
    found = _rules(
        [rule.rule_id for rule in rules],
        bodies,
        [rule.conclusion for rule in rules],
        [1.0 if cost is UNSET else cost for cost in costs],
        ["default" if group is UNSET else group for group in groups],
    )
    goals = told.goals or []
    return Program(plain, found, goals) if _well(found) and _well_told(plain, goals) else None


class _Count(NamedTuple):
    """Of all rules of a file."""

    rules: int
    premises: int
    costless: int
    """Without a member that says what it costs."""
    groupless: int


def _each_key_once(text: str, told: _ToldProgram, every: _Count) -> bool:
    """A decoder takes the last of two values under one key, and nobody would know. Each text stands between two quotation marks, so
    their number says how many keys there are; one within a text only leads to a closer look."""
    facts, goals = told.facts or [], told.goals or []
    objects = [fact for fact in facts if not isinstance(fact, str)]
    keys = sum(given is not UNSET for given in (told.facts, told.rules, told.goals)) + 5 * every.rules
    keys += len(objects) + sum(fact.value is not UNSET for fact in objects) - every.costless - every.groupless
    texts = len(facts) + len(goals) + 3 * every.rules + every.premises - every.groupless
    return text.count('"') == 2 * (keys + texts)


def _well(rules: Rules) -> bool:
    names = set(rules.rule_ids)
    if len(names) < len(rules.rule_ids) or len(rules.rule_ids) + len(rules.premises) > LITERALS_MAX:
        return False
    if None in map(whole_micro, set(rules.costs)):
        return False
    return _are(Name, rules.rule_ids) and _are(Name, rules.groups) and _are(Symbol, rules.atoms)


def _well_told(facts: Sequence[Any], goals: Sequence[str]) -> bool:
    holds: dict[str, bool] = {}
    for fact in facts:
        symbol, value = (fact, True) if isinstance(fact, str) else (fact["symbol"], fact.get("value", True))
        if holds.setdefault(symbol, value) != value:
            return False
    return _are(Symbol, holds) and _are(Symbol, goals)


def _are(kind: Any, texts: Any) -> bool:
    try:
        msgspec.convert(list(texts), list[kind], strict=True)
    except msgspec.ValidationError:
        return False
    return True


# --- what is not ------------------------------------------------------------------------------------------------------------


def one_by_one(file: str, document: Mapping[str, Any]) -> Program:
    """The program that a document holds; else the first fact or rule that cannot be taken, by its number."""
    strange = sorted(set(document) - {"facts", "rules", "goals"})
    if strange:
        _bad(file, f"it has {render.clean(', '.join(strange))}; a program has facts, rules and goals")
    for name, most in (("facts", FACTS_MAX), ("rules", RULES_MAX), ("goals", GOALS_MAX)):
        if not isinstance(document.get(name, []), list):
            _bad(file, f"{name} is no list")
        if len(document.get(name, ())) > most:
            _bad(file, f"it has {len(document[name]):,} {name}, and a program has at most {most:,}")
    _check_facts(file, document)
    _check_rules(file, document)
    for place, goal in enumerate(document.get("goals", ())):
        _convertible(file, f"goal {place + 1}", {"symbol": goal}, Fact)
    return program_of(document)


def program_of(document: Mapping[str, Any]) -> Program:
    """A document of which nothing is wrong."""
    told = document.get("rules", ())
    rules = _rules(
        [rule["rule_id"] for rule in told],
        [rule["premises"] for rule in told],
        [rule["conclusion"] for rule in told],
        [rule.get("cost", 1.0) for rule in told],
        [rule.get("group", "default") for rule in told],
    )
    return Program(document.get("facts", ()), rules, document.get("goals", ()))


def _check_facts(file: str, document: Mapping[str, Any]) -> None:
    told: dict[str, bool] = {}
    for place, fact in enumerate(document.get("facts", ())):
        given: Any = {"symbol": fact} if isinstance(fact, str) else fact
        _convertible(file, f"fact {place + 1}", given, Fact)
        if told.setdefault(given["symbol"], given.get("value", True)) != given.get("value", True):
            _bad(file, f"fact {place + 1}, {given['symbol']}, is told to hold and not to hold")


def _check_rules(file: str, document: Mapping[str, Any]) -> None:
    seen: dict[str, int] = {}
    literals = 0
    for place, rule in enumerate(document.get("rules", ())):
        told = rule.get("rule_id") if isinstance(rule, Mapping) else None
        name = f"rule {place + 1}{f', {render.clean(str(told))},' if told is not None else ''}"
        _convertible(file, name, rule, RuleOf)
        if whole_micro(float(rule.get("cost", 1))) is None:
            _bad(file, f"{name} has the cost {rule['cost']!r}, and costs have at most six decimal places")
        if seen.setdefault(str(told), place) != place:
            _bad(file, f"{name} has the name of rule {seen[str(told)] + 1}")
        literals += 1 + len(rule["premises"])
        if literals > LITERALS_MAX:
            _bad(file, f"up to {name} it has more than {LITERALS_MAX:,} premises and conclusions, which is the most of a program")


def _convertible(file: str, name: str, value: Any, kind: type[Any]) -> None:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        path, text = problem(error, AddRule if kind is RuleOf else kind)
        _bad(file, f"{name} cannot be taken: {f'{path}: ' if path else ''}{text}")


def _bad(file: str, why: str) -> None:
    raise Failure("invalid-argument", f"{file}: {why}.", "Nothing was changed. Put it right, then load it again")


def read(file: str, text: str) -> Program:
    """The program in a text; `file` is what it is called where something is wrong with it."""
    found = at_once(text)
    return found if found is not None else one_by_one(file, document(file, text))


def document(file: str, text: str) -> dict[str, Any]:
    try:
        found = fields.json_of(text)
    except fields.NotJson as bad:
        raise Failure("invalid-argument", f"{file}: its contents {bad}.", "Give a file of JSON") from None
    if not isinstance(found, dict):
        raise Failure("invalid-argument", f"{file} holds no object.", 'Give one such as {"facts": ["A"], "rules": [], "goals": []}')
    return found


# --- parts ------------------------------------------------------------------------------------------------------------------


def parts(program: Program) -> Iterator[dict[str, Any]]:
    """The problem of each part, small enough for one call; at least one. Facts first, goals with the last."""
    pieces: list[dict[str, Any]] = [{"facts": batch} for batch in _batches(program.facts, PART_FACTS)]
    for columns in _columns(program.rules):
        facts = pieces[-1].get("facts") if pieces else None
        if facts is not None and "columns" not in pieces[-1] and len(msgspec.json.encode(facts)) <= FACTS_BESIDE_BYTES:
            pieces[-1]["columns"] = columns
        else:
            pieces.append({"columns": columns})
    if not pieces or len(program.goals) > GOALS_BESIDE_MAX:
        pieces.append({})
    if program.goals:
        pieces[-1]["goals"] = list(program.goals)
    yield from pieces


def _batches(values: Sequence[Any], most: int) -> Iterator[list[Any]]:
    """By number, and by bytes where these are many."""
    batch: list[Any] = []
    size = 0
    for value in values:
        octets = len(msgspec.json.encode(value))
        if batch and (len(batch) >= most or size + octets > PART_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(value)
        size += octets
    if batch:
        yield batch


def _columns(rules: Rules) -> Iterator[dict[str, Any]]:
    """Atoms first, as numbers are to stand for something; the last of them with the first rules."""
    last: list[str] = []
    for batch in _batches(rules.atoms, PART_VALUES):
        if last:
            yield _column(last, rules, slice(0), slice(0))
        last = batch
    starts = list(accumulate(rules.counts, initial=0))
    for begin, end in _spans(rules, starts):
        yield _column(last, rules, slice(begin, end), slice(starts[begin], starts[end]))
        last = []


def _column(atoms: list[str], rules: Rules, own: slice, bodies: slice) -> dict[str, Any]:
    whose = rules.group_of[own]
    place_of = {group: place for place, group in enumerate(dict.fromkeys(whose))}
    return {
        "atoms": atoms,
        "rule_ids": rules.rule_ids[own],
        "counts": rules.counts[own],
        "premises": rules.premises[bodies],
        "conclusions": rules.conclusions[own],
        "costs": rules.costs[own],
        "groups": [rules.groups[group] for group in place_of],
        "group_of": [place_of[group] for group in whose],
    }


def _spans(rules: Rules, starts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """From which rule to which each part goes: as a part has room for."""
    rules_in_all = len(rules.rule_ids)
    begin = 0
    while begin < rules_in_all:
        end = min(rules_in_all, begin + PART_RULES)
        while end - begin > 1 and not _has_room(rules, starts, begin, end):
            end = begin + (end - begin) // 2
        yield begin, end
        begin = end


def _has_room(rules: Rules, starts: Sequence[int], begin: int, end: int) -> bool:
    groups = map(rules.groups.__getitem__, set(rules.group_of[begin:end]))
    names = sum(map(len, rules.rule_ids[begin:end])) + sum(map(len, groups))
    return names <= PART_NAMES and starts[end] - starts[begin] + VALUES_OF_RULE * (end - begin) <= PART_VALUES
