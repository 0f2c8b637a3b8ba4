"""What follows from facts by rules, and what it costs at least: linear, in plain Python, for programs that a person wrote.

Larger ones go to the compiled twin in a worker (`kernels/closure.py`), which answers the same to the last derivation.
"""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from core.spine import Rule

FAR = 2**62 - 1
"""An additive cost that is so much or more: sums of sums grow fast, and nobody needs to know how far."""


class Derived(NamedTuple):
    """How an atom came to hold. A fact has no rule, and depth 0."""

    depth: int
    rule: int | None
    """Place of the rule that derived it first: in the earliest round, of these the first in order."""


def closure(rules: Sequence[Rule], initial: Iterable[str], max_depth: int | None = None) -> dict[str, Derived]:
    """All that holds, in the order in which it came to hold: round by round (Dowling and Gallier, 1984)."""
    found: dict[str, Derived] = {symbol: Derived(0, None) for symbol in initial}
    waiting: dict[str, list[int]] = {}
    left: list[int] = []
    for place, rule in enumerate(rules):
        needs = set(rule.premises)
        left.append(len(needs))
        for premise in needs:
            waiting.setdefault(premise, []).append(place)
    ready = [place for place, count in enumerate(left) if not count]
    fresh = list(found)
    depth = 0
    while (fresh or ready) and (max_depth is None or depth < max_depth):
        for symbol in fresh:
            for place in waiting.get(symbol, ()):
                left[place] -= 1
                if not left[place]:
                    ready.append(place)
        depth += 1
        fresh = []
        for place in sorted(ready):
            conclusion = rules[place].conclusion
            if conclusion not in found:
                found[conclusion] = Derived(depth, place)
                fresh.append(conclusion)
        ready = []
    return found


def additive(rules: Sequence[Rule], initial: Iterable[str]) -> dict[str, int]:
    """Of each atom that holds, the least of cost plus the costs of all premises, each counted where it is used (Knuth, 1977);
    FAR where it is that or more."""
    cost: dict[str, int] = {}
    waiting: dict[str, list[int]] = {}
    left: list[int] = []
    total = [rule.cost_micro for rule in rules]
    agenda: list[tuple[int, str]] = [(0, symbol) for symbol in sorted(set(initial))]
    for place, rule in enumerate(rules):
        needs = set(rule.premises)
        left.append(len(needs))
        for premise in needs:
            waiting.setdefault(premise, []).append(place)
        if not needs:
            agenda.append((rule.cost_micro, rule.conclusion))
    agenda.sort()
    while agenda:
        at, symbol = heappop(agenda)
        if symbol in cost:
            continue
        cost[symbol] = at
        for place in waiting.get(symbol, ()):
            left[place] -= 1
            total[place] = min(total[place] + at, FAR)
            if not left[place] and rules[place].conclusion not in cost:
                heappush(agenda, (total[place], rules[place].conclusion))
    return cost
