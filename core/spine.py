"""Spines: sets of rules, each paid once, that derive goals from facts; walked through step by step, priced, ordered and folded.

Plain Python on purpose: this is what every answer of the search is held against before anybody sees it, so it shares nothing with
the compiled kernels. It believes no cost, no order and no goal that it has not worked out itself.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from core.canonical import encode

VERSION = "irer-spine-1"
COST_MICRO_MAX = 2**53
"""Sums beyond this are refused: they would not be exact everywhere."""


class Rule(NamedTuple):
    rule_id: str
    premises: tuple[str, ...]
    conclusion: str
    cost_micro: int
    group: str = "default"


class Spine(NamedTuple):
    """The facts it starts from, what it is for, and its rules in an order in which they can be applied."""

    facts: tuple[str, ...]
    goals: tuple[str, ...]
    rules: tuple[Rule, ...]


class BadSpine(Exception):
    """It does not do what it says. `code` says in which way, `at` the rule or the atom."""

    def __init__(self, code: str, at: str) -> None:
        super().__init__(f"{code}: {at}")
        self.code = code
        self.at = at


class Walk(NamedTuple):
    """What a spine comes to."""

    cost_micro: int
    depth: Mapping[str, int]
    """Of each atom: rules on the longest way to it, along this spine."""


def walk(spine: Spine) -> Walk:
    """Apply the rules one after the other. Raises BadSpine where a premise or a goal is missing, or a rule comes twice."""
    depth = dict.fromkeys(spine.facts, 0)
    seen: set[str] = set()
    cost = 0
    for rule in spine.rules:
        if rule.rule_id in seen:
            raise BadSpine("twice", rule.rule_id)
        seen.add(rule.rule_id)
        missing = next((premise for premise in rule.premises if premise not in depth), None)
        if missing is not None:
            raise BadSpine("missing-premise", f"{rule.rule_id} needs {missing}")
        if rule.cost_micro < 0:
            raise BadSpine("negative-cost", rule.rule_id)
        cost += rule.cost_micro
        here = 1 + max((depth[premise] for premise in rule.premises), default=0)
        depth[rule.conclusion] = min(depth.get(rule.conclusion, here), here)
    unreached = next((goal for goal in spine.goals if goal not in depth), None)
    if unreached is not None:
        raise BadSpine("unreached-goal", unreached)
    if cost > COST_MICRO_MAX:
        raise BadSpine("cost-precision", str(cost))
    return Walk(cost, depth)


def check(spine: Spine, program: Mapping[str, Rule], initial: Collection[str], goals: Collection[str], cost_micro: int) -> Walk:
    """That this is a spine of that program, as it is said to be: each rule as the program has it, from what is really there, for
    the goals that were asked for, at that cost, and with nothing in it that it could do without. Raises BadSpine."""
    for rule in spine.rules:
        if program.get(rule.rule_id) != rule:
            raise BadSpine("not-in-program", rule.rule_id)
    stranger = next((fact for fact in spine.facts if fact not in initial), None)
    if stranger is not None:
        raise BadSpine("not-initial", stranger)
    if set(spine.goals) != set(goals):
        raise BadSpine("other-goals", ", ".join(sorted(set(spine.goals) ^ set(goals))))
    walked = walk(spine)
    if walked.cost_micro != cost_micro:
        raise BadSpine("other-cost", str(walked.cost_micro))
    idle = redundant(spine)
    if idle is not None:
        raise BadSpine("redundant", idle)
    return walked


def redundant(spine: Spine) -> str | None:
    """A rule without which the goals are reached as well; None: each is needed."""
    if _needed_one_by_one(spine):
        return None
    for rule in spine.rules:
        rest = [other for other in spine.rules if other.rule_id != rule.rule_id]
        if reached(rest, spine.facts).issuperset(spine.goals):
            return rule.rule_id
    return None


def _needed_one_by_one(spine: Spine) -> bool:
    """Whether going back from the goals, each atom has one rule that leads to it, and all rules are met on the way. Then each is
    needed; the other way round is not said."""
    leading: dict[str, list[Rule]] = {}
    for rule in spine.rules:
        leading.setdefault(rule.conclusion, []).append(rule)
    start = set(spine.facts)
    met: set[str] = set()
    agenda = [goal for goal in spine.goals if goal in leading]
    seen = set(agenda)
    while agenda:
        atom = agenda.pop()
        if len(leading[atom]) > 1 or atom in start:
            return False
        rule = leading[atom][0]
        met.add(rule.rule_id)
        fresh = {premise for premise in rule.premises if premise in leading} - seen
        seen |= fresh
        agenda.extend(fresh)
    return len(met) == len(spine.rules)


def reached(rules: Iterable[Rule], facts: Iterable[str]) -> set[str]:
    """All that these rules derive from these facts, whatever order they stand in."""
    waiting: dict[str, list[int]] = {}
    known = set(facts)
    left = []
    agenda = list(known)
    listed = list(rules)
    for place, rule in enumerate(listed):
        needs = set(rule.premises)
        left.append(len(needs))
        for premise in needs:
            waiting.setdefault(premise, []).append(place)
        if not needs and rule.conclusion not in known:
            known.add(rule.conclusion)
            agenda.append(rule.conclusion)
    while agenda:
        for place in waiting.get(agenda.pop(), ()):
            left[place] -= 1
            conclusion = listed[place].conclusion
            if not left[place] and conclusion not in known:
                known.add(conclusion)
                agenda.append(conclusion)
    return known


def ordered(rules: Iterable[Rule], facts: Iterable[str]) -> tuple[Rule, ...]:
    """In an order in which they can be applied, ties by rule id. Rules that cannot be applied are left out."""
    listed = sorted(rules, key=lambda rule: rule.rule_id)
    known = set(facts)
    waiting: dict[str, list[int]] = {}
    left = []
    for place, rule in enumerate(listed):
        needs = {premise for premise in rule.premises if premise not in known}
        left.append(len(needs))
        for premise in needs:
            waiting.setdefault(premise, []).append(place)
    ready = [place for place, count in enumerate(left) if not count]
    heapify(ready)
    found = []
    while ready:
        rule = listed[heappop(ready)]
        found.append(rule)
        if rule.conclusion in known:
            continue
        known.add(rule.conclusion)
        for place in waiting.get(rule.conclusion, ()):
            left[place] -= 1
            if not left[place]:
                heappush(ready, place)
    return tuple(found)


def pruned(rules: Iterable[Rule], facts: Iterable[str], goals: Collection[str]) -> tuple[Rule, ...]:
    """Without what the goals do not need: the dearest rule goes first, of equals the one with the higher id."""
    kept = {rule.rule_id: rule for rule in rules}
    start = set(facts)
    for rule in sorted(kept.values(), key=lambda rule: (rule.cost_micro, rule.rule_id), reverse=True):
        rest = [other for other in kept.values() if other.rule_id != rule.rule_id]
        if reached(rest, start).issuperset(goals):
            del kept[rule.rule_id]
    return ordered(kept.values(), start)


def made(rules: Iterable[Rule], initial: Collection[str], goals: Iterable[str]) -> Spine:
    """The spine of these rules: in order, with the facts that it really starts from."""
    laid = ordered(rules, initial)
    wanted = tuple(sorted(set(goals)))
    used = {atom for rule in laid for atom in rule.premises if atom in initial} | {goal for goal in wanted if goal in initial}
    return Spine(tuple(sorted(used)), wanted, laid)


def fold(spine: Spine) -> str:
    """The name of a spine: the same for every order in which it may be written down, another for any other spine."""
    rules = {
        rule.rule_id: [rule.rule_id, sorted(set(rule.premises)), rule.conclusion, rule.cost_micro, rule.group]
        for rule in spine.rules
    }
    document = {
        "facts": sorted(set(spine.facts)),
        "goals": sorted(set(spine.goals)),
        "rules": [rules[rule_id] for rule_id in sorted(rules)],
        "v": VERSION,
    }
    return hashlib.sha256(encode(document)).hexdigest()


def fairness(rules: Iterable[Rule], groups: Collection[str], weights: Mapping[str, float]) -> float:
    """Jain's index of what each group has to bear, over its weight: 1 where all bear the same, or nothing at all."""
    borne = dict.fromkeys(sorted(groups), 0.0)
    for rule in rules:
        if rule.group in borne:
            borne[rule.group] += rule.cost_micro
    return jain(list(borne.values()), [weights.get(group, 1.0) for group in borne])


def coverage(reached: Collection[str], goals_of: Mapping[str, Collection[str]], weights: Mapping[str, float]) -> float:
    """The same index of the share of its goals that each group sees reached."""
    groups = sorted(group for group, goals in goals_of.items() if goals)
    shares = [sum(goal in reached for goal in goals_of[group]) / len(goals_of[group]) for group in groups]
    return jain(shares, [weights.get(group, 1.0) for group in groups])


def jain(shares: Sequence[float], weights: Sequence[float]) -> float:
    """(Σx)² / (n Σx²), x each share over its weight; 1 where all are 0 (Jain, Chiu and Hawe, 1984)."""
    least = min((weight for share, weight in zip(shares, weights, strict=True) if share), default=None)
    if least is None:
        return 1.0
    # The index is the same in any unit. In this one no weight, however small, makes a share too large to be squared.
    scaled = [share * least / weight for share, weight in zip(shares, weights, strict=True)]
    return sum(scaled) ** 2 / (len(scaled) * sum(share * share for share in scaled))


class Comparison(NamedTuple):
    same: bool
    """Whether both fold to the same name."""
    cost_difference_micro: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    changed: tuple[str, ...]
    """Rules that both have, but not the same."""


def compare(a: Spine, b: Spine) -> Comparison:
    one, other = ({rule.rule_id: rule for rule in spine.rules} for spine in (a, b))
    cost = sum(rule.cost_micro for rule in other.values()) - sum(rule.cost_micro for rule in one.values())
    changed = tuple(sorted(rule_id for rule_id in one.keys() & other.keys() if _plain(one[rule_id]) != _plain(other[rule_id])))
    return Comparison(
        fold(a) == fold(b), cost, tuple(sorted(one.keys() - other.keys())), tuple(sorted(other.keys() - one.keys())), changed
    )


def _plain(rule: Rule) -> tuple[object, ...]:
    return (frozenset(rule.premises), rule.conclusion, rule.cost_micro, rule.group)


def grid(spine: Spine) -> dict[int, dict[str, int]]:
    """How many rules of each group a spine applies at each depth."""
    depth = walk(spine).depth
    counts: dict[int, dict[str, int]] = {}
    for rule in spine.rules:
        here = 1 + max((depth[premise] for premise in rule.premises), default=0)
        row = counts.setdefault(here, {})
        row[rule.group] = row.get(rule.group, 0) + 1
    return counts


def goals_of(rules: Sequence[Rule], initial: Collection[str]) -> tuple[str, ...]:
    """What is to be reached where nobody says: what can be derived and is nobody's premise; failing that, all that is derived."""
    derived = reached(rules, initial) - set(initial)
    premises = {premise for rule in rules for premise in rule.premises}
    return tuple(sorted(derived - premises)) or tuple(sorted(derived))
