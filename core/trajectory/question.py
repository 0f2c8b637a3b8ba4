"""What is asked of a program: from which facts, for which goals, without which rules. Made once, then thought about elsewhere.

Everything here is a pure function of a snapshot, so that it can run in a thread while the program goes on changing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from core.engine import Refused
from core.spine import Rule
from core.trajectory import columns
from core.trajectory.closure import Derived
from core.trajectory.columns import Closed, Columns
from core.trajectory.program import Program


class Snapshot(NamedTuple):
    """A program at one moment."""

    version: int
    costs_version: int
    facts: Mapping[str, bool]
    rules: Sequence[Rule]
    goals: Sequence[str]
    literals: int


def snapshot(program: Program, literals_max: int | None = None) -> Snapshot:
    """With more premises and conclusions than these the rules are columns; else a list."""
    parts = program.parts
    large = literals_max is not None and parts.literals > literals_max
    facts, rules = dict(parts.facts), Columns.of(parts.rules) if large else list(parts.rules.from_place(0))
    return Snapshot(program.version, program.costs_version, facts, rules, list(parts.goals), parts.literals)


class Question(NamedTuple):
    """The rules that may be used, in the program's order, and the atoms that hold from the beginning."""

    rules: Sequence[Rule]
    initial: Sequence[str]
    blocked: Mapping[str, str]
    """Rules that conclude what is denied, with what that is."""


def question(
    held: Snapshot, initial: Sequence[str] | None, denied: Sequence[str], forbidden: frozenset[str] = frozenset()
) -> Question:
    no = {symbol for symbol, value in held.facts.items() if not value}.union(denied)
    told = [symbol for symbol, value in held.facts.items() if value and symbol not in no] if initial is None else initial
    contrary = next((symbol for symbol in told if symbol in no), None)
    if contrary is not None:
        text = f"{contrary} is denied, so nothing can start from it. Leave it out of initial, or tell it: irerctl trajectory fact"
        raise Refused("invalid-argument", text, reason="denied", fields=[("initial", f"{contrary} is denied")])
    rules = held.rules
    blocked = {rule.rule_id: rule.conclusion for rule in concluding(rules, no)} if no else {}
    if blocked or forbidden:
        rules = _without(rules, forbidden.union(blocked))
    return Question(rules, list(dict.fromkeys(told)), blocked)


def concluding(rules: Sequence[Rule], symbols: Collection[str]) -> Iterator[Rule]:
    if isinstance(rules, Columns):
        return (rules[place] for place in rules.concluding(symbols).tolist())
    return (rule for rule in rules if rule.conclusion in symbols)


def _without(rules: Sequence[Rule], names: Collection[str]) -> Sequence[Rule]:
    if isinstance(rules, Columns):
        return rules.only([place for place, name in enumerate(rules.rule_ids()) if name not in names])
    return [rule for rule in rules if rule.rule_id not in names]


def needed(rules: Sequence[Rule], symbol: str) -> bool:
    """Whether a rule has this as a premise."""
    return rules.needed(symbol) if isinstance(rules, Columns) else any(symbol in rule.premises for rule in rules)


def rule_ids(rules: Sequence[Rule]) -> set[str]:
    return set(rules.rule_ids() if isinstance(rules, Columns) else (rule.rule_id for rule in rules))


def groups_of(rules: Sequence[Rule]) -> set[str]:
    return rules.used_groups() if isinstance(rules, Columns) else {rule.group for rule in rules}


class Plan(NamedTuple):
    """What a search has to work with."""

    goals: tuple[str, ...]
    unreachable: tuple[str, ...]
    rules: Sequence[Rule]
    """Those that can be applied at all and lead towards a goal."""
    groups: frozenset[str]
    """Who bears any of them."""

    def within(self) -> "Plan":
        """The same for those goals alone that can be reached."""
        lost = set(self.unreachable)
        return self._replace(goals=tuple(goal for goal in self.goals if goal not in lost), unreachable=())


def plan(asked: Question, derived: Mapping[str, Derived], goals: Sequence[str] | None) -> Plan:
    wanted = tuple(sorted(set(goals))) if goals else usual_goals(asked, derived)
    unreachable = tuple(goal for goal in wanted if goal not in derived)
    rules = _relevant(asked, derived, wanted)
    return Plan(wanted, unreachable, rules, frozenset(groups_of(rules)))


def goals_of(asked: Question, goals: Sequence[str]) -> dict[str, frozenset[str]]:
    """Of each group its goals: those that one of its rules concludes, whether or not that can ever be applied. What holds from the
    start is nobody's."""
    wanted = set(goals).difference(asked.initial)
    found: dict[str, set[str]] = {}
    for rule in concluding(asked.rules, wanted):
        found.setdefault(rule.group, set()).add(rule.conclusion)
    return {group: frozenset(own) for group, own in found.items()}


def usual_goals(asked: Question, derived: Mapping[str, Derived]) -> tuple[str, ...]:
    """What is to be reached where nobody says: what can be derived and is nobody's premise; failing that, all that is derived."""
    if isinstance(asked.rules, Columns) and isinstance(derived, Closed):
        return columns.usual_goals(asked.rules, derived)
    found = {symbol for symbol, how in derived.items() if how.rule is not None}
    premises = {premise for rule in asked.rules for premise in rule.premises}
    return tuple(sorted(found - premises)) or tuple(sorted(found))


def _relevant(asked: Question, derived: Mapping[str, Derived], goals: Sequence[str]) -> Sequence[Rule]:
    if isinstance(asked.rules, Columns) and isinstance(derived, Closed):
        return columns.relevant(asked.rules, derived, asked.initial, goals)
    start = set(asked.initial)
    leading: defaultdict[str, list[int]] = defaultdict(list)
    for place, rule in enumerate(asked.rules):
        leading[rule.conclusion].append(place)
    agenda = [goal for goal in goals if goal in derived and goal not in start]
    seen = start.union(agenda)
    found: list[int] = []
    while agenda:
        for place in leading[agenda.pop()]:
            premises = asked.rules[place].premises
            if all(premise in derived for premise in premises):
                found.append(place)
                fresh = [premise for premise in premises if premise not in seen]
                seen.update(fresh)
                agenda.extend(fresh)
    return tuple(asked.rules[place] for place in sorted(found))
