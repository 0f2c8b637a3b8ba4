"""The cheapest way through a program of a few rules: best first over the sets of atoms reached, with a landmark-cut bound.

Plain Python, so that nobody waits for a worker to start where there is next to nothing to search; and the slow twin of the compiled
search. It answers the optimum or nothing at all: what takes too many steps is for the worker.

The bound is LM-cut (Helmert and Domshlak, 2009). The additive cost would be no bound: it counts twice what two premises share.
"""

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from core.spine import Rule, pruned

RULES_MAX = 64
LOOKS_MAX = 4_000_000
"""Rules that are looked at before it is left to a worker: some tenths of a second, as nothing can end this thread from outside."""
NEVER = 2**62
UNABLE = -2
"""In place of a dearest premise: the step can never be taken."""


class Best(NamedTuple):
    """The optimum. No rules: there is no spine within the budgets."""

    rules: tuple[Rule, ...] | None
    cost_micro: int


class _Step(NamedTuple):
    """A rule in numbers: bits of its premises, the bit of its conclusion."""

    needs: int
    gives: int
    cost: int
    premises: tuple[int, ...]
    conclusion: int
    group: int
    """Place of its group among those with a budget, or -1."""


def solve(rules: Sequence[Rule], initial: Collection[str], goals: Collection[str], budgets: Mapping[str, int]) -> Best | None:
    """None: given up. The budgets say how much the rules of a group may cost together, in micro-units."""
    problem = _Problem(rules, set(initial), goals, budgets)
    start = problem.closed(0)
    spent = (0,) * len(budgets)
    best: dict[tuple[int, tuple[int, ...]], int] = {(start, spent): 0}
    came: dict[tuple[int, tuple[int, ...]], tuple[tuple[int, tuple[int, ...]], int]] = {}
    bound = problem.bound(start)
    heap = [(bound, bound, 0, 0, start, spent)] if bound < NEVER else []
    pushed = 0
    while heap:
        _, left, _, paid, atoms, spent = heappop(heap)
        if paid > best[atoms, spent]:
            continue
        if not left and atoms & problem.goals == problem.goals:
            return Best(_laid(problem, came, (atoms, spent), initial, goals), paid)
        for place, step in enumerate(problem.steps):
            if step.gives & atoms or step.needs & atoms != step.needs:
                continue
            if problem.looked > LOOKS_MAX:
                return None
            after = problem.spend(spent, step)
            if after is None:
                continue
            reached, cost = problem.closed(atoms | step.gives), paid + step.cost
            if cost >= best.get((reached, after), NEVER):
                continue
            best[reached, after] = cost
            came[reached, after] = (atoms, spent), place
            bound = problem.bound(reached)
            if bound < NEVER:
                pushed += 1
                heappush(heap, (cost + bound, bound, pushed, cost, reached, after))
    return Best(None, 0)


def _laid(
    problem: "_Problem",
    came: Mapping[tuple[int, tuple[int, ...]], tuple[tuple[int, tuple[int, ...]], int]],
    state: tuple[int, tuple[int, ...]],
    initial: Collection[str],
    goals: Collection[str],
) -> tuple[Rule, ...]:
    """The rules that were paid on the way to a state, and of those that cost nothing what is needed."""
    found = list(problem.free)
    while state in came:
        state, place = came[state]
        found.append(problem.rules[place])
    return pruned(found, initial, goals)


class _Problem:
    """Rules as bits, those that cost something in the order of their names; what costs nothing is always applied."""

    def __init__(self, rules: Sequence[Rule], initial: set[str], goals: Collection[str], budgets: Mapping[str, int]) -> None:
        ordered = sorted(rules, key=lambda rule: rule.rule_id)
        self.rules = [rule for rule in ordered if rule.cost_micro]
        self.free = [rule for rule in ordered if not rule.cost_micro]
        self.budgets = list(budgets.values())
        self._groups = {group: place for place, group in enumerate(budgets)}
        symbols = {symbol for rule in rules for symbol in (*rule.premises, rule.conclusion)} | set(goals)
        self._number = {symbol: place for place, symbol in enumerate(sorted(symbols - initial))}
        self.steps = [self._step(rule) for rule in self.rules]
        self._free = [self._step(rule) for rule in self.free]
        numbers = [self._number[goal] for goal in goals if goal in self._number]
        self.goals = sum(1 << number for number in set(numbers))
        count = len(self._number)
        self.looked = 0
        """How often a rule was looked at for a bound, which is nearly all of the work."""
        self._all = [*self.steps, *self._free, _Step(self.goals, 1 << count, 0, tuple(sorted(set(numbers))), count, -1)]

    def _step(self, rule: Rule) -> _Step:
        premises = tuple(sorted({self._number[premise] for premise in rule.premises if premise in self._number}))
        conclusion = self._number.get(rule.conclusion)
        gives = 0 if conclusion is None else 1 << conclusion
        needs = sum(1 << premise for premise in premises)
        group = self._groups.get(rule.group, -1)
        return _Step(needs, gives, rule.cost_micro, premises, -1 if conclusion is None else conclusion, group)

    def spend(self, spent: tuple[int, ...], step: _Step) -> tuple[int, ...] | None:
        """What the budgets are used for after a step; None where one is not enough."""
        if step.group < 0:
            return spent
        total = spent[step.group] + step.cost
        if total > self.budgets[step.group]:
            return None
        return (*spent[: step.group], total, *spent[step.group + 1 :])

    def closed(self, atoms: int) -> int:
        """With all that follows at no cost."""
        changed = True
        while changed:
            changed = False
            for step in self._free:
                if not step.gives & atoms and step.needs & atoms == step.needs and step.gives:
                    atoms |= step.gives
                    changed = True
        return atoms

    def bound(self, atoms: int) -> int:
        """What it costs at least from here; NEVER where the goals cannot be reached."""
        costs = [step.cost for step in self._all]
        goal = len(self._number)
        total = 0
        while True:
            dearest, value = self._dearest(atoms, costs)
            if value[goal] >= NEVER:
                return NEVER
            if not value[goal]:
                return total
            cut = self._cut(atoms, costs, dearest)
            least = min(costs[place] for place in cut)
            total += least
            for place in cut:
                costs[place] -= least

    def _dearest(self, atoms: int, costs: Sequence[int]) -> tuple[list[int], list[int]]:
        """Of each atom what its dearest chain costs at least, and of each step its dearest premise (-1: none, or UNABLE)."""
        value = [0 if atoms >> number & 1 else NEVER for number in range(len(self._number) + 1)]
        left = [sum(not atoms >> premise & 1 for premise in step.premises) for step in self._all]
        dearest = [-1] * len(self._all)
        heap: list[tuple[int, int]] = []
        for place, step in enumerate(self._all):
            if not left[place]:
                self._reach(heap, value, step, costs[place])
        done = atoms
        while heap:
            at, number = heappop(heap)
            if done >> number & 1:
                continue
            done |= 1 << number
            self.looked += len(self._all)
            for place, step in enumerate(self._all):
                if step.needs >> number & 1:
                    left[place] -= 1
                    dearest[place] = number  # they come in the order of their values, so the last one is the dearest
                    if not left[place]:
                        self._reach(heap, value, step, at + costs[place])
        return [UNABLE if left[place] else number for place, number in enumerate(dearest)], value

    @staticmethod
    def _reach(heap: list[tuple[int, int]], value: list[int], step: _Step, cost: int) -> None:
        if step.conclusion >= 0 and cost < value[step.conclusion]:
            value[step.conclusion] = cost
            heappush(heap, (cost, step.conclusion))

    def _cut(self, atoms: int, costs: Sequence[int], dearest: Sequence[int]) -> list[int]:
        """Steps of which every way to the goals takes one: those that lead into what reaches the goal at no cost from outside."""
        zone = 1 << len(self._number)
        changed = True
        while changed:
            changed = False
            self.looked += len(self._all)
            for place, step in enumerate(self._all):
                if not costs[place] and step.gives & zone and dearest[place] >= 0 and not zone >> dearest[place] & 1:
                    zone |= 1 << dearest[place]
                    changed = True
        before = atoms & ~zone
        changed = True
        cut: set[int] = set()
        while changed:
            changed = False
            self.looked += len(self._all)
            for place, step in enumerate(self._all):
                source = dearest[place]
                if source == UNABLE or not step.gives or place in cut or (source >= 0 and not before >> source & 1):
                    continue
                if step.gives & zone:
                    cut.add(place)
                elif not step.gives & before:
                    before |= step.gives
                    changed = True
        return sorted(cut)
