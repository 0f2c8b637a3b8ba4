"""What is asked of a program: from which facts, for which goals, without which rules. Made once, then thought about elsewhere.

Everything here is a pure function of a snapshot, so that it can run in a thread while the program goes on changing.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from core.engine import Refused
from core.spine import Rule
from core.trajectory.closure import Derived
from core.trajectory.program import Numbers, Program


class Snapshot(NamedTuple):
    """A program at one moment."""

    version: int
    costs_version: int
    facts: Mapping[str, bool]
    rules: Sequence[Rule]
    goals: Sequence[str]
    literals: int
    numbers: Numbers | None = None
    """Of its rules, where they came with numbers: made once, and never changed after that."""


def snapshot(program: Program) -> Snapshot:
    parts = program.parts
    facts, rules = dict(parts.facts), list(parts.rules.values())
    return Snapshot(program.version, program.costs_version, facts, rules, list(parts.goals), parts.literals, parts.numbers)


class Question(NamedTuple):
    """The rules that may be used, in the program's order, and the atoms that hold from the beginning."""

    rules: Sequence[Rule]
    initial: Sequence[str]
    blocked: Mapping[str, str]
    """Rules that conclude what is denied, with what that is."""
    numbers: Numbers | None = None
    """As the program has them, if all of its rules may be used."""


def question(
    held: Snapshot, initial: Sequence[str] | None, denied: Sequence[str], forbidden: Collection[str] = frozenset()
) -> Question:
    no = {symbol for symbol, value in held.facts.items() if not value}.union(denied)
    told = [symbol for symbol, value in held.facts.items() if value and symbol not in no] if initial is None else initial
    contrary = next((symbol for symbol in told if symbol in no), None)
    if contrary is not None:
        text = f"{contrary} is denied, so nothing can start from it. Leave it out of initial, or tell it: irerctl trajectory fact"
        raise Refused("invalid-argument", text, reason="denied", fields=[("initial", f"{contrary} is denied")])
    blocked = {rule.rule_id: rule.conclusion for rule in held.rules if rule.conclusion in no} if no else {}
    rules, numbers = held.rules, held.numbers
    if blocked or forbidden:
        numbers = None
        rules = [rule for rule in rules if rule.rule_id not in blocked and rule.rule_id not in forbidden]
    return Question(rules, list(dict.fromkeys(told)), blocked, numbers)


class Plan(NamedTuple):
    """What a search has to work with."""

    goals: tuple[str, ...]
    unreachable: tuple[str, ...]
    rules: tuple[Rule, ...]
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
    return Plan(wanted, unreachable, rules, frozenset(rule.group for rule in rules))


def goals_of(asked: Question, goals: Sequence[str]) -> dict[str, frozenset[str]]:
    """Of each group its goals: those that one of its rules concludes, whether or not that can ever be applied. What holds from the
    start is nobody's."""
    wanted = set(goals).difference(asked.initial)
    found: dict[str, set[str]] = {}
    for rule in asked.rules:
        if rule.conclusion in wanted:
            found.setdefault(rule.group, set()).add(rule.conclusion)
    return {group: frozenset(own) for group, own in found.items()}


def usual_goals(asked: Question, derived: Mapping[str, Derived]) -> tuple[str, ...]:
    """What is to be reached where nobody says: what can be derived and is nobody's premise; failing that, all that is derived."""
    found = {symbol for symbol, how in derived.items() if how.rule is not None}
    premises = {premise for rule in asked.rules for premise in rule.premises}
    return tuple(sorted(found - premises)) or tuple(sorted(found))


def _relevant(asked: Question, derived: Mapping[str, Derived], goals: Sequence[str]) -> tuple[Rule, ...]:
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
