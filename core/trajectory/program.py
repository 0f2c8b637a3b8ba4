"""The program of facts and rules, how each event changes it, and what is remembered of folded spines."""

from collections import OrderedDict
from collections.abc import Collection, Iterable

import msgspec

from core.engine import Stamp
from core.fields import Frozen
from core.spine import Rule
from core.trajectory.events import CostsSet, Fact, FactAdded, Folded, Loaded, RuleAdded, StoredRule

FOLDS_KEPT = 1_000
COUNTED_MAX = 10_000
"""Rules whose use is counted over all folded spines; the rarest make room."""


class Fold(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What is remembered of a folded spine."""

    hash: str
    cost_micro: int
    rules: int
    folded_us: int
    times: int = 1


class Parts(msgspec.Struct, forbid_unknown_fields=True):
    """A program: facts and rules by name, in the order of their coming."""

    facts: dict[str, bool] = msgspec.field(default_factory=dict)
    rules: dict[str, Rule] = msgspec.field(default_factory=dict)
    goals: list[str] = msgspec.field(default_factory=list)
    literals: int = 0
    """Premises of all rules, and rules."""

    def take(self, rule: Rule) -> None:
        self.rules[rule.rule_id] = rule
        self.literals += 1 + len(rule.premises)


class Staged(msgspec.Struct, forbid_unknown_fields=True):
    """A program that is not whole yet."""

    owner: str
    next_part: int
    parts: Parts = msgspec.field(default_factory=Parts)


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
        self.grid: dict[str, int] = {}
        """How many rules of a group were laid at a depth, over all folded spines; the key is both."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def initial(self) -> list[str]:
        return [symbol for symbol, value in self.parts.facts.items() if value]

    @property
    def denied(self) -> set[str]:
        return {symbol for symbol, value in self.parts.facts.items() if not value}


class ProgramDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    parts: Parts
    staged: Staged | None
    version: int
    costs_version: int
    folds: list[Fold]
    folded: int
    laid: dict[str, int]
    grid: dict[str, int]


def _copied(parts: Parts) -> Parts:
    return Parts(dict(parts.facts), dict(parts.rules), list(parts.goals), parts.literals)


def dump(program: Program) -> ProgramDump:
    staged = program.staged
    return ProgramDump(
        _copied(program.parts),
        None if staged is None else Staged(staged.owner, staged.next_part, _copied(staged.parts)),
        program.version,
        program.costs_version,
        list(program.folds.values()),
        program.folded,
        dict(program.laid),
        dict(program.grid),
    )


def load(dumped: ProgramDump) -> Program:
    program = Program()
    program.parts, program.staged = dumped.parts, dumped.staged
    program.version, program.costs_version = dumped.version, dumped.costs_version
    program.folds = OrderedDict((fold.hash, fold) for fold in dumped.folds)
    program.folded, program.laid, program.grid = dumped.folded, dumped.laid, dumped.grid
    return program


def rule_of(stored: StoredRule | RuleAdded) -> Rule:
    return Rule(stored.rule_id, tuple(stored.premises), stored.conclusion, stored.cost_micro, stored.group)


def allowed(rules: Iterable[Rule], denied: Collection[str]) -> list[Rule]:
    """The rules that conclude nothing that is denied."""
    return [rule for rule in rules if rule.conclusion not in denied]


# --- events -----------------------------------------------------------------------------------------------------------------


def apply_fact(program: Program, event: FactAdded, stamp: Stamp) -> None:
    program.parts.facts[event.symbol] = event.value
    _changed(program)


def apply_rule(program: Program, event: RuleAdded, stamp: Stamp) -> None:
    program.parts.take(rule_of(event))
    _changed(program)


def apply_loaded(program: Program, event: Loaded, stamp: Stamp) -> None:
    if event.first or program.staged is None:
        program.staged = Staged(event.owner, 0)
    staged = program.staged
    staged.parts.facts.update((fact.symbol, fact.value) for fact in event.facts)
    for stored in event.rules:
        staged.parts.take(rule_of(stored))
    staged.parts.goals.extend(event.goals)
    staged.next_part = event.part + 1
    if event.last:
        program.parts, program.staged = staged.parts, None
        _changed(program)


def apply_costs(program: Program, event: CostsSet, stamp: Stamp) -> None:
    rules = program.parts.rules
    for rule_id, cost in event.costs.items():
        rules[rule_id] = rules[rule_id]._replace(cost_micro=cost)
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
    for depth, group, count in event.grid:
        key = f"{depth} {group}"
        program.grid[key] = program.grid.get(key, 0) + count
    _forget_rarest(program.laid)
    _forget_rarest(program.grid)


def _forget_rarest(counts: dict[str, int]) -> None:
    if len(counts) > COUNTED_MAX:
        for key, _ in sorted(counts.items(), key=lambda each: (each[1], each[0]))[: COUNTED_MAX // 10]:
            del counts[key]


def stored(facts: Iterable[tuple[str, bool]]) -> list[Fact]:
    return [Fact(symbol, value) for symbol, value in facts]
