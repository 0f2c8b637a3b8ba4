"""Slow twins of the kernels of Horn rules, as obvious as they can be, and other programs' answers where they are installed."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from core.spine import Rule, reached


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


def least(rules: Sequence[Rule], initial: set[str], goals: Iterable[str]) -> int | None:
    """The cost of the cheapest set of rules that reaches the goals, by trying every set of those that cost something."""
    free = [rule for rule in rules if not rule.cost_micro]
    dear = [rule for rule in rules if rule.cost_micro]
    best = None
    for size in range(len(dear) + 1):
        for chosen in combinations(dear, size):
            cost = sum(rule.cost_micro for rule in chosen)
            if (best is None or cost < best) and reached([*chosen, *free], initial).issuperset(goals):
                best = cost
    return best


def clingo_program(rules: Sequence[Rule], initial: Iterable[str], goals: Iterable[str]) -> str:
    """What it takes to ask for the cheapest spine: rules are chosen, and what they derive is derived in order."""
    number: dict[str, int] = {}

    def of(atom: str) -> int:
        return number.setdefault(atom, len(number))

    lines = [f"holds({of(atom)})." for atom in sorted(initial)]
    for place, rule in enumerate(rules):
        body = ", ".join([f"use({place})", *(f"holds({of(premise)})" for premise in set(rule.premises))])
        lines.append(f"{{use({place})}}. holds({of(rule.conclusion)}) :- {body}.")
        if rule.cost_micro:
            lines.append(f":~ use({place}). [{rule.cost_micro},{place}]")
    lines += [f":- not holds({of(goal)})." for goal in goals]
    return "\n".join(lines)


def clingo_least(text: str, strategy: str = "bb") -> int | None:
    import clingo

    control = clingo.Control(["--warn=none", f"--opt-strategy={strategy}"])
    control.add("base", [], text)
    control.ground([("base", [])])
    best: list[int] = []
    control.solve(on_model=lambda model: best.append(sum(model.cost)))
    return best[-1] if best else None
