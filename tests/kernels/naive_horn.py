"""Slow twins of the kernels of Horn rules, as obvious as they can be, and other programs' answers where they are installed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from core import spine as spines
from core.spine import Rule, reached
from kernels import beam, horn
from tests.campaigns import per_commit


def random_program(
    draw: np.random.Generator, rules: int, atoms: int, costs: int = 9
) -> tuple[list[Rule], set[str], tuple[str, ...]]:
    """Bodies of nothing to three atoms, some of them twice; cycles; costs of nothing; three groups; a fact or two. The goals are
    some of what holds in the end and did not from the start, deep ones first, and now and then one that never does."""
    found = []
    for place in range(rules):
        size = int(draw.choice(4, p=[0.06, 0.34, 0.35, 0.25]))
        body = tuple(f"a{atom}" for atom in draw.integers(0, atoms, size))
        cost = int(draw.integers(1, costs)) if draw.random() < 0.85 else 0
        found.append(Rule(f"r{place:02}", body, f"a{draw.integers(0, atoms)}", cost, f"g{draw.integers(0, 3)}"))
    initial = {f"a{atom}" for atom in draw.integers(0, atoms, max(1, atoms // 8))}
    derived = [atom for atom, (depth, _) in fixpoint(found, initial).items() if depth]
    goals = tuple(sorted(set(derived[-3:] or initial) | ({f"a{draw.integers(0, atoms)}"} if draw.random() < 0.1 else set())))
    return found, initial, goals


def fixpoint(rules: Sequence[Rule], initial: Iterable[str], rounds: int | None = None) -> dict[str, tuple[int, int | None]]:
    """Depth and first rule of each atom: every rule looked at in every round."""
    found: dict[str, tuple[int, int | None]] = {atom: (0, None) for atom in initial}
    depth = 0
    while rounds is None or depth < rounds:
        depth += 1
        fresh: dict[str, tuple[int, int | None]] = {}
        for place, rule in enumerate(rules):
            if rule.conclusion not in found and all(premise in found for premise in rule.premises):
                fresh.setdefault(rule.conclusion, (depth, place))
        if not fresh:
            break
        found |= fresh
    return found


def bellman_ford(rules: Sequence[Rule], initial: Iterable[str], dearest: bool = False) -> dict[str, int]:
    """Every rule relaxed again and again, until nothing becomes cheaper."""
    cost: dict[str, int] = dict.fromkeys(initial, 0)
    changed = True
    while changed:
        changed = False
        for rule in rules:
            if all(premise in cost for premise in rule.premises):
                parts = [cost[premise] for premise in set(rule.premises)]
                new = rule.cost_micro + (max(parts, default=0) if dearest else sum(parts))
                if new < cost.get(rule.conclusion, new + 1):
                    cost[rule.conclusion] = new
                    changed = True
    return cost


def least(rules: Sequence[Rule], initial: set[str], goals: Iterable[str], budgets: Mapping[str, int] | None = None) -> int | None:
    """The cost of the cheapest set of rules that reaches the goals within what each group may pay, by trying every set of those
    that cost something."""
    free = [rule for rule in rules if not rule.cost_micro]
    dear = [rule for rule in rules if rule.cost_micro]
    best = None
    for size in range(len(dear) + 1):
        for chosen in combinations(dear, size):
            cost = sum(rule.cost_micro for rule in chosen)
            if best is not None and cost >= best:
                continue
            borne = {group: sum(rule.cost_micro for rule in chosen if rule.group == group) for group in budgets or ()}
            if all(borne[group] <= most for group, most in (budgets or {}).items()):
                best = cost if reached([*chosen, *free], initial).issuperset(goals) else best
    return best


def clingo_program(rules: Sequence[Rule], initial: Iterable[str], goals: Iterable[str]) -> str:
    """What it takes to ask for the cheapest spine: rules are chosen, and what they derive is derived in order."""
    number: dict[str, int] = {}

    def of(atom: str) -> int:
        return number.setdefault(atom, len(number))

    lines = [f"a{of(atom)}." for atom in sorted(initial)]
    for place, rule in enumerate(rules):
        body = ", ".join([f"u{place}", *(f"a{of(premise)}" for premise in set(rule.premises))])
        lines.append(f"{{u{place}}}. a{of(rule.conclusion)} :- {body}.")
        if rule.cost_micro:
            lines.append(f":~ u{place}. [{rule.cost_micro},{place}]")
    lines += [f":- not a{of(goal)}." for goal in goals]
    return "\n".join(lines)


def clingo_least(text: str, strategy: str = "bb") -> int | None:
    import clingo

    control = clingo.Control(["--warn=none", f"--opt-strategy={strategy}"])
    control.add("base", [], text)
    control.ground([("base", [])])
    best: list[int] = []
    control.solve(on_model=lambda model: best.append(sum(model.cost)))
    return best[-1] if best else None


def clingo_model(rules: Sequence[Rule], initial: Iterable[str]) -> set[str]:
    """The least model of the rules."""
    import clingo

    number: dict[str, int] = {}

    def of(atom: str) -> int:
        return number.setdefault(atom, len(number))

    lines = [f"a{of(atom)}." for atom in sorted(initial)]
    for rule in rules:
        body = ", ".join(f"a{of(premise)}" for premise in rule.premises)
        lines.append(f"a{of(rule.conclusion)} :- {body}." if body else f"a{of(rule.conclusion)}.")
    control = clingo.Control(["--warn=none"])
    control.add("base", [], "\n".join(lines))
    control.ground([("base", [])])
    found: set[str] = set()
    control.solve(on_model=lambda model: found.update(symbol.name for symbol in model.symbols(atoms=True)))
    return {atom for atom, place in number.items() if f"a{place}" in found}


def spine_of(rules: Sequence[Rule], task: horn.Task, found: beam.Spine, initial: set[str], goals: Iterable[str]) -> spines.Spine:
    """What was found, in words, after core/spine.py has looked at it."""
    places = [int(task.origin[rule]) for rule in found.rules]
    wanted = tuple(goals)
    spine = spines.made([rules[place] for place in places if place >= 0], initial, wanted)
    spines.check(spine, {rule.rule_id: rule for rule in rules}, initial, wanted, found.cost)
    return spine


def programs(row: str, *more: int) -> Iterator[tuple[list[Rule], set[str], tuple[str, ...]]]:
    """As many random programs as a commit is to be tried with."""
    for index in range(per_commit(row)):
        yield numbered(index, *more)


def numbered(index: int, most: int = 40) -> tuple[list[Rule], set[str], tuple[str, ...]]:
    draw = np.random.default_rng([17, most, index])
    rules = int(draw.integers(min(10, most // 2), most + 1))
    return random_program(draw, rules, int(draw.integers(max(4, rules // 3), 2 * rules // 3 + 3)))
