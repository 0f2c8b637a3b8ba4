"""A program of facts and rules in a file: looked through to the last rule, and cut into parts that a call takes.

There may be a million rules: that all is well is found out in a few passes over them; only where it is not they are gone through
one by one, so that the first wrong rule can be named. Must never let a part go of a program of which some rule is wrong.
"""

import gc
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, compress, islice, pairwise
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.fields import Name
from core.trajectory import packs
from core.trajectory.commands import (
    FACTS_MAX,
    GOALS_MAX,
    LITERALS_MAX,
    RULES_MAX,
    AddRule,
    RuleOf,
    whole_micro,
)
from core.trajectory.events import PACK_GROUPS_MAX, PREMISES_MAX, Fact, StoredPack, Symbol
from core.trajectory.numbering import micro_of_many, numbered, numbered_one_by_one
from core.trajectory.packs import Opened
from core.wire.errors import problem
from irerctl import fields, render
from irerctl.session import Failure

PACK_BYTES, PACK_BYTES_MAX = 40_000, 48_000
"""Of one record of the log: what is aimed at, and what fits for sure."""
PACK_RULES, PACK_FACTS = 2_000, 4_000
PART_BYTES, PART_PACKS = 400_000, 16
"""What a part is to be at most: small enough that others are served between two."""
GOALS_BESIDE_MAX = 100
"""Goals that go with the last rules; more go alone."""

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


class Program(NamedTuple):
    """A program that is well, in columns: atoms and groups by their places."""

    atoms: Sequence[str]
    """In the order in which facts and rules name them."""
    facts: "array[int]"
    """Of one that is denied, -1 - its number."""
    rule_ids: Sequence[str]
    counts: bytes
    premises: "array[int]"
    conclusions: "array[int]"
    costs_micro: "array[int]"
    groups: Sequence[str]
    group_of: "array[int]"
    goals: Sequence[str]


class _Rest(NamedTuple):
    """Of a program all but the atoms."""

    values: Sequence[bool]
    """Of its facts."""
    rule_ids: str
    """One a line: a million texts of their own would keep the memory that those around them had."""
    lengths: Sequence[int]
    """How many atoms each rule names: premises, and last what it concludes."""
    costs_micro: "array[int]"
    groups: list[str]
    group_of: "array[int]"
    goals: Sequence[str]


def _program(named: list[str], rest: _Rest) -> Program:
    """`named`: atoms of facts, then of each rule. It is emptied on the way, as there may be millions."""
    known = len(rest.values)
    atoms, flat = numbered(named)
    heads = bytearray(len(flat))
    for end in islice(accumulate(rest.lengths, initial=known - 1), 1, None):
        heads[end] = 1
    told = array("i", [number if value else -1 - number for number, value in zip(flat, rest.values, strict=False)])
    del flat[:known], heads[:known]
    conclusions = array("i", compress(flat, heads))
    premises = array("i", compress(flat, heads.translate(_OTHERS)))
    counts, premises = _each_once(bytes([length - 1 for length in rest.lengths]), premises)
    names = packs.lines(rest.rule_ids)
    return Program(atoms, told, names, counts, premises, conclusions, rest.costs_micro, rest.groups, rest.group_of, rest.goals)


_OTHERS = bytes([1, 0]) + bytes(254)


def _each_once(counts: bytes, premises: "array[int]") -> tuple[bytes, "array[int]"]:
    """Premises that a rule names twice it needs once."""
    wrong = packs.twice(counts, premises)
    if not wrong:
        return counts, premises
    found, lengths = array("i"), bytearray(counts)
    rule = done = 0
    for place in wrong:
        begin = done + sum(counts[rule:place])
        rule, end = place + 1, begin + counts[place]
        body = list(dict.fromkeys(premises[begin:end]))
        found += premises[done:begin]
        found.extend(body)
        lengths[place], done = len(body), end
    return bytes(lengths), found + premises[done:]


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
    named = [fact if isinstance(fact, str) else fact.symbol for fact in told.facts or ()]
    rest = _rest(text, told, named)
    del told  # millions of values, of which only some are needed from here on
    if rest is None:
        return None
    found = _program(named, rest)
    return found if _well(found) else None


def _rest(text: str, told: _ToldProgram, named: list[str]) -> _Rest | None:
    """All but the atoms, which go to `named`. None where something may be wrong with a name, a cost or the keys."""
    names: list[str] = []
    lengths: list[int] = []
    costs: list[float | UnsetType] = []
    groups: list[str | UnsetType] = []
    for rule in told.rules or ():  # once, as what lies scattered in memory is slow to come by
        body = rule.premises
        named += body
        named.append(rule.conclusion)
        names.append(rule.rule_id)
        lengths.append(1 + len(body))
        costs.append(rule.cost)
        groups.append(rule.group)
    every = _Count(len(names), sum(lengths) - len(names), costs.count(UNSET), groups.count(UNSET))
    if not _each_key_once(text, told, every):
        return None
    micro = _micro([1.0 if cost is UNSET else cost for cost in costs])
    in_lines = "\n".join(names)
    if micro is None or len(set(names)) < len(names) or not packs.are_names(in_lines, names):
        return None
    places, group_of = numbered_one_by_one(["default" if group is UNSET else group for group in groups])
    values = [isinstance(fact, str) or fact.value is not False for fact in told.facts or ()]
    return _Rest(values, in_lines, lengths, micro, places, group_of, told.goals or [])


def _micro(costs: Sequence[float]) -> "array[int] | None":
    """As `whole_micro` has each; None where there is none for one."""
    quick = micro_of_many(costs)
    if quick is not None:
        return quick
    found = [whole_micro(cost) for cost in costs]
    return array("q", [micro for micro in found if micro is not None]) if None not in found else None


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


def _well(found: Program) -> bool:
    if len(found.rule_ids) + len(found.premises) > LITERALS_MAX:
        return False
    denied = {-1 - number for number in found.facts if number < 0}
    if denied and not denied.isdisjoint(found.facts):
        return False
    if not packs.are_symbols("\n".join(found.atoms), found.atoms):
        return False
    return _are(Name, found.groups) and _are(Symbol, found.goals)


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
    facts = [
        (fact, True) if isinstance(fact, str) else (fact["symbol"], fact.get("value", True)) for fact in document.get("facts", ())
    ]
    bodies = [[*rule["premises"], rule["conclusion"]] for rule in told]
    rest = _Rest(
        [value for _, value in facts],
        "\n".join([rule["rule_id"] for rule in told]),
        [len(body) for body in bodies],
        array("q", [micro for rule in told if (micro := whole_micro(float(rule.get("cost", 1)))) is not None]),
        *numbered_one_by_one([rule.get("group", "default") for rule in told]),
        document.get("goals", ()),
    )
    return _program([*(symbol for symbol, _ in facts), *chain.from_iterable(bodies)], rest)


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
    last: dict[str, Any] = {}
    for part in _parted(_packs(program)):
        if last:
            yield last
        last = {"packs": part}
    if last and len(program.goals) > GOALS_BESIDE_MAX:
        yield last
        last = {}
    yield {**last, "goals": list(program.goals)} if program.goals else last


def _parted(made: Iterator[tuple[StoredPack, int]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    size = 0
    for pack, octets in made:
        if part and (len(part) >= PART_PACKS or size + octets > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(msgspec.to_builtins(pack))
        size += octets
    if part:
        yield part


def _packs(program: Program) -> Iterator[tuple[StoredPack, int]]:
    """Packs and their bytes: facts first, each with the atoms that it is the first to name."""
    cut = _Cut(program)
    for begin in range(0, len(program.facts), PACK_FACTS):
        yield from packs.halves(begin, min(begin + PACK_FACTS, len(program.facts)), cut.facts)
    rules = len(program.rule_ids)
    many = max(1, -(-cut.octets() // PACK_BYTES), -(-rules // PACK_RULES))
    for begin, end in pairwise(sorted({rules * place // many for place in range(many + 1)})):
        yield from packs.halves(begin, end, cut.rules)


class _Cut:
    """Cuts packs off a program, one after the other, and knows how far its atoms and premises were told."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._atoms = 0
        self._premises = 0

    def octets(self) -> int:
        """About what all rules take."""
        told = self._program
        return len(told.premises) * 16 // 3 + 20 * len(told.rule_ids) + sum(map(len, told.rule_ids)) + sum(map(len, told.atoms))

    def facts(self, begin: int, end: int) -> tuple[StoredPack, int] | None:
        facts = self._program.facts[begin:end]
        named = max(max(facts), -1 - min(facts)) + 1
        return self._if_small(end - begin, named, 0, _NO_RULES._replace(atoms=self._new(named), facts=facts))

    def rules(self, begin: int, end: int) -> tuple[StoredPack, int] | None:
        told = self._program
        counts, whose = told.counts[begin:end], told.group_of[begin:end]
        groups = {group: place for place, group in enumerate(dict.fromkeys(whose))}
        if len(groups) > PACK_GROUPS_MAX:
            return None
        premises = told.premises[self._premises : self._premises + sum(counts)]
        conclusions = told.conclusions[begin:end]
        named = max(max(premises, default=-1), max(conclusions)) + 1
        pack = Opened(
            self._new(named),
            array("i"),
            list(told.rule_ids[begin:end]),
            counts,
            premises,
            conclusions,
            told.costs_micro[begin:end],
            [told.groups[group] for group in groups],
            bytes(map(groups.__getitem__, whose)),
        )
        return self._if_small(end - begin, named, len(premises), pack)

    def _new(self, named: int) -> list[str]:
        return list(self._program.atoms[self._atoms : named])

    def _if_small(self, entries: int, named: int, premises: int, pack: Opened) -> tuple[StoredPack, int] | None:
        made = packs.closed(pack)
        octets = len(msgspec.json.encode(made))
        if octets > PACK_BYTES_MAX and entries > 1:
            return None
        self._atoms = max(self._atoms, named)
        self._premises += premises
        return made, octets


_NO_RULES = packs.opened(StoredPack())
