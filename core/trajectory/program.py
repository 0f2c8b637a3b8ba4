"""The program of facts and rules, how each event changes it, and what is remembered of folded spines."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec

from core.engine import Stamp
from core.fields import Frozen
from core.spine import Rule
from core.trajectory import packs
from core.trajectory.events import CostsSet, Fact, FactAdded, Folded, Loaded, RuleAdded, StoredColumns, StoredRule
from core.trajectory.packs import Opened
from core.trajectory.table import Table, TableDump
from core.trajectory.table import loaded as table_of

K = TypeVar("K", str, tuple[int, str])

FOLDS_KEPT = 1_000
COUNTED_MAX = 10_000
"""Rules, atoms and cells that are counted over all folded spines; of each the rarest make room."""


class Fold(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What is remembered of a folded spine."""

    hash: str
    cost_micro: int
    rules: int
    folded_us: int
    times: int = 1


class Parts:
    """A program: facts and rules by name, in the order of their coming, which says what is derived first."""

    def __init__(self, facts: Iterable[Fact] = (), rules: Table | None = None, goals: Iterable[str] = ()) -> None:
        self.facts = {fact.symbol: fact.value for fact in facts}
        self.rules = rules if rules is not None else Table()
        self.goals = list(goals)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parts) and self._all() == other._all()

    __hash__ = None  # type: ignore[assignment]

    @property
    def literals(self) -> int:
        """Premises and conclusions of all rules."""
        return self.rules.literals

    def take_columns(self, told: StoredColumns, atoms: list[str]) -> None:
        self.rules.take_columns(told, atoms)

    def take_pack(self, pack: Opened) -> None:
        self.rules.take_pack(pack)
        self.facts.update(facts_of(pack, self.rules.atoms))

    def _all(self) -> tuple[object, ...]:
        return list(self.facts.items()), self.rules, self.goals


class ByNumber(Protocol):
    def __getitem__(self, number: int, /) -> str: ...


def facts_of(pack: Opened, atoms: ByNumber) -> Iterator[tuple[str, bool]]:
    return ((atoms[number], True) if number >= 0 else (atoms[-1 - number], False) for number in pack.facts)


class Staged:
    """A program that is not whole yet."""

    def __init__(self, owner: str, load: str, next_part: int, parts: Parts, atoms: Iterable[str] = ()) -> None:
        self.owner = owner
        self.load = load
        self.next_part = next_part
        self.parts = parts
        self.atoms = list(atoms)
        """By their numbers, as far as its rules go by these."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Staged) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Program:
    """The state of the trajectory engine."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.staged: Staged | None = None
        self.version = 0
        """Counts changes of facts and rules; what was derived holds as long as this stays."""
        self.costs_version = 0
        """Counts changes of costs too."""
        self.folds: OrderedDict[str, Fold] = OrderedDict()
        self.folded = 0
        self.laid: dict[str, int] = {}
        """How many folded spines have each rule."""
        self.reached: dict[str, int] = {}
        """In how many folded spines some rule concludes an atom."""
        self.grid: dict[tuple[int, str], int] = {}
        """How many rules of a group were laid at a depth, over all folded spines."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class PartsDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    facts: list[Fact]
    rules: TableDump
    goals: list[str]


class StagedDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    owner: str
    load: str
    next_part: int
    parts: PartsDump
    atoms: list[str]


class ProgramDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parts: PartsDump
    staged: StagedDump | None
    version: int
    costs_version: int
    folds: list[Fold]
    folded: int
    laid: dict[str, int]
    reached: dict[str, int]
    grid: list[tuple[int, str, int]]


def _dumped(parts: Parts) -> PartsDump:
    return PartsDump([Fact(*item) for item in parts.facts.items()], parts.rules.dump(), list(parts.goals))


def _loaded(dumped: PartsDump) -> Parts:
    return Parts(dumped.facts, table_of(dumped.rules), dumped.goals)


def dump(program: Program) -> ProgramDump:
    staged = program.staged
    return ProgramDump(
        _dumped(program.parts),
        None
        if staged is None
        else StagedDump(staged.owner, staged.load, staged.next_part, _dumped(staged.parts), list(staged.atoms)),
        program.version,
        program.costs_version,
        list(program.folds.values()),
        program.folded,
        dict(program.laid),
        dict(program.reached),
        [(depth, group, count) for (depth, group), count in sorted(program.grid.items())],
    )


def load(dumped: ProgramDump) -> Program:
    program = Program()
    program.parts = _loaded(dumped.parts)
    if dumped.staged is not None:
        staged = dumped.staged
        program.staged = Staged(staged.owner, staged.load, staged.next_part, _loaded(staged.parts), staged.atoms)
    program.version, program.costs_version = dumped.version, dumped.costs_version
    program.folds = OrderedDict((fold.hash, fold) for fold in dumped.folds)
    program.folded, program.laid, program.reached = dumped.folded, dict(dumped.laid), dict(dumped.reached)
    program.grid = {(depth, group): count for depth, group, count in dumped.grid}
    return program


def rule_of(stored: StoredRule) -> Rule:
    return Rule(stored.rule_id, tuple(stored.premises), stored.conclusion, stored.cost_micro, stored.group)


# --- events -----------------------------------------------------------------------------------------------------------------


def apply_fact(program: Program, event: FactAdded, stamp: Stamp) -> None:
    program.parts.facts[event.symbol] = event.value
    _changed(program)


def apply_rule(program: Program, event: RuleAdded, stamp: Stamp) -> None:
    program.parts.rules.take(rule_of(event))
    _changed(program)


def apply_loaded(program: Program, event: Loaded, stamp: Stamp) -> None:
    if event.first or program.staged is None:
        program.staged = Staged(event.owner, event.load, 0, Parts())
    staged = program.staged
    staged.parts.facts.update((fact.symbol, fact.value) for fact in event.facts)
    for stored in event.rules:
        staged.parts.rules.take(rule_of(stored))
    staged.atoms.extend(event.atoms)
    if event.columns is not None:
        staged.parts.take_columns(event.columns, staged.atoms)
    if event.pack is not None:
        staged.parts.take_pack(packs.opened(event.pack))
    staged.parts.goals.extend(event.goals)
    staged.next_part = event.part + 1
    if event.last:
        program.parts, program.staged = staged.parts, None
        _changed(program)


def apply_costs(program: Program, event: CostsSet, stamp: Stamp) -> None:
    rules = program.parts.rules
    for rule_id, cost in event.costs.items():
        rules.set_cost(rule_id, cost)
    program.costs_version += 1


def _changed(program: Program) -> None:
    program.version += 1
    program.costs_version += 1


def apply_folded(program: Program, event: Folded, stamp: Stamp) -> None:
    before = program.folds.pop(event.hash, None)
    times = before.times + 1 if before is not None else 1
    program.folds[event.hash] = Fold(event.hash, event.cost_micro, event.rules, stamp.time_us, times)
    while len(program.folds) > FOLDS_KEPT:
        program.folds.popitem(last=False)
    program.folded += 1
    for rule_id in event.rule_ids:
        program.laid[rule_id] = program.laid.get(rule_id, 0) + 1
    for symbol in event.symbols:
        program.reached[symbol] = program.reached.get(symbol, 0) + 1
    for cell in event.grid:
        key = cell.depth, cell.group
        program.grid[key] = program.grid.get(key, 0) + cell.count
    _forget_rarest(program.laid)
    _forget_rarest(program.reached)
    _forget_rarest(program.grid)


def _forget_rarest(counts: dict[K, int]) -> None:
    if len(counts) > COUNTED_MAX:
        for key, _ in sorted(counts.items(), key=lambda each: (each[1], each[0]))[: COUNTED_MAX // 10]:
            del counts[key]
