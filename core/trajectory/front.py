"""The front between what a spine costs and how evenly it is borne: no spine costs less and is fairer than one of it.

A spine gives each atom that it needs one rule, and never goes round in a circle; and whatever does so can spare none of its rules.
So choosing a rule for each atom, from the goals back, meets each spine once. What is left out is only what some spine already met
is no worse than, whatever is chosen next. Asked at any time it has the front so far; where it finished, that is the front.

Plain Python over numbers, for a thread where there is little to choose, and for a worker where there is more. Atoms, rules and
groups come as numbers; of rules that are equally good the ones with the lower numbers are met first.
"""

from bisect import bisect_right, insort
from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from core.spine import Rule, jain
from core.trajectory.question import Plan

BITS_MAX = 2_000
"""Atoms of which it is worked out what each cannot do without; beyond, each is known to need itself."""
SEEDS_GROUPS_MAX = 16
NODES_OF_STEP = 16
CLOSE = 1e-12
"""Two indices as near as that are the same: they are sums of rounded numbers."""
RULES_HERE_MAX, NODES_HERE_MAX = 64, 2_000
"""What is thought out in a thread: some tenths of a second, as nothing can end it from outside."""
DEARER = (2, 8, 64)
"""How much dearer the rules of a group are made for a first spine that spares it."""


class Rules(NamedTuple):
    """Rules that can be applied, by their numbers. None concludes what holds from the start."""

    bodies: Sequence[Sequence[int]]
    """Premises that do not hold from the start."""
    heads: Sequence[int]
    costs: Sequence[int]
    groups: Sequence[int]
    atoms: int


class Coverage(NamedTuple):
    """Whose goals are reached, where that is what is to be fair. A spine may then do without some."""

    owners: Sequence[Sequence[int]]
    """Of each goal, the groups whose it is."""
    totals: Sequence[int]
    """Of each group, how many goals it has, those out of reach too; of 0 it does not count."""
    lost: int
    """Goals out of reach."""


class Point(NamedTuple):
    """A spine and what it comes to."""

    cost: int
    missed: int
    """Goals that it does not reach."""
    fairness: float
    rules: tuple[int, ...]


class _Link(NamedTuple):
    """Rules that were chosen, the last one first."""

    rule: int
    before: "_Link | None"


class _Node(NamedTuple):
    """Some goals decided on, some atoms given a rule, others waiting for one."""

    goals: int
    """How many goals were decided on."""
    left: int
    """Goals that are done without, as bits of atoms."""
    pending: int
    decided: int
    paid: int
    borne: tuple[int, ...]
    reached: tuple[int, ...]
    missed: int
    chain: "_Link | None"


class Front:
    """`points` at any time, the cheapest first; `bound`: no spine that reaches all goals costs less."""

    def __init__(
        self,
        rules: Rules,
        goals: Sequence[int],
        budgets: Sequence[int],
        weights: Sequence[float],
        coverage: Coverage | None = None,
    ) -> None:
        """`goals`: each once, those that do not hold from the start. `budgets`: of each group, below 0 for none; `weights` too."""
        self.points: list[Point] = []
        self.finished = False
        self.nodes = 0
        self._rules, self._goals, self._budgets, self._coverage = rules, list(goals), list(budgets), coverage
        totals = coverage.totals if coverage is not None else None
        groups = set(rules.groups) if totals is None else {group for group, total in enumerate(totals) if total}
        self._counted = sorted(groups)
        self._weights = [weights[group] for group in self._counted]
        self._width = len(weights)
        self._making: list[list[int]] = [[] for _ in range(rules.atoms)]
        for rule, head in enumerate(rules.heads):
            if head not in rules.bodies[rule]:
                self._making[head].append(rule)
        self._least = [min((rules.costs[rule] for rule in made), default=0) for made in self._making]
        self._most = [self._dearest(made) for made in self._making]
        self._sole = [self._only(made) for made in self._making]
        self._needs, self._cone = self._below()
        start = self._union(self._needs, sum(1 << goal for goal in set(goals)))
        self.bound = sum(self._least[atom] for atom in _bits(start))

    # --- what is known of each atom -------------------------------------------------------------------------------------------

    def _dearest(self, made: Sequence[int]) -> list[tuple[int, int]]:
        """What each group pays at most for an atom."""
        found: dict[int, int] = {}
        for rule in made:
            group, cost = self._rules.groups[rule], self._rules.costs[rule]
            if cost:
                found[group] = max(found.get(group, 0), cost)
        return sorted(found.items())

    def _only(self, made: Sequence[int]) -> int:
        """The one group that can pay for an atom, or -1."""
        groups = {self._rules.groups[rule] for rule in made}
        return groups.pop() if len(groups) == 1 else -1

    def _below(self) -> tuple[list[int], list[int]]:
        """Of each atom as bits: what no way to it can do without, itself included, and what any way to it may need."""
        atoms, bodies = self._rules.atoms, self._rules.bodies
        if atoms > BITS_MAX:
            return [1 << atom for atom in range(atoms)], [(1 << atoms) - 1] * atoms
        cone = [1 << atom for atom in range(atoms)]
        needs = [(1 << atoms) - 1 if self._making[atom] else 1 << atom for atom in range(atoms)]
        _, _, order = self._additive(self._rules.costs)  # premises mostly come before what they lead to: few rounds are enough
        changed = True
        while changed:
            changed = False
            for atom in order:
                wide, common = 0, -1
                for rule in self._making[atom]:
                    below = 0
                    for premise in bodies[rule]:
                        below |= needs[premise]
                        wide |= cone[premise]
                    common &= below
                common, wide = common & needs[atom] | 1 << atom, wide | 1 << atom
                if common != needs[atom] or wide != cone[atom]:
                    needs[atom], cone[atom], changed = common, wide, True
        return needs, cone

    @staticmethod
    def _union(of: Sequence[int], atoms: int) -> int:
        found = 0
        for atom in _bits(atoms):
            found |= of[atom]
        return found

    # --- the search -----------------------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[None]:
        """Each step takes some milliseconds at most, but for programs of many thousand atoms."""
        for rules in self._seeds():
            self.offer(rules)
            yield
        nothing = (0,) * self._width
        lost = self._coverage.lost if self._coverage is not None else 0
        pending = 0 if self._coverage is not None else sum(1 << goal for goal in self._goals)
        decided = 0 if self._coverage is not None else len(self._goals)
        stack = [_Node(decided, 0, pending, 0, 0, nothing, nothing, lost, None)]
        estimate, _, _ = self._additive(self._rules.costs)
        while stack:
            node = stack.pop()
            self.nodes += 1
            if not self._hopeless(node):
                stack.extend(reversed(list(self._children(node, estimate))))
            if self.nodes % NODES_OF_STEP == 0:
                yield
        self.finished = True
        self.bound = min((point.cost for point in self.points if point.missed == lost), default=self.bound)

    def offer(self, rules: Sequence[int]) -> None:
        """A spine from elsewhere, or one that was met: it must be able to spare none of its rules."""
        borne, made = [0] * self._width, set()
        for rule in rules:
            borne[self._rules.groups[rule]] += self._rules.costs[rule]
            made.add(self._rules.heads[rule])
        if any(0 <= most < cost for most, cost in zip(self._budgets, borne, strict=True)):
            return
        reached = [goal in made for goal in self._goals]
        missed = len(reached) - sum(reached) + (self._coverage.lost if self._coverage is not None else 0)
        shares = self._shares(borne, self._counts(reached))
        point = Point(sum(borne), missed, jain(shares, self._weights), tuple(sorted(rules)))
        if not any(beats(other, point) for other in self.points):
            self.points = [other for other in self.points if not beats(point, other)]
            insort(self.points, point)

    def _counts(self, reached: Sequence[bool]) -> list[int]:
        found = [0] * self._width
        if self._coverage is not None:
            for yes, owners in zip(reached, self._coverage.owners, strict=True):
                for owner in owners:
                    found[owner] += yes
        return found

    def _shares(self, borne: Sequence[float], counts: Sequence[float]) -> list[float]:
        """Of each group that counts, what has to be even: what it bears, or how many of its goals are reached."""
        if self._coverage is None:
            return [borne[group] for group in self._counted]
        totals = self._coverage.totals
        return [counts[group] / totals[group] for group in self._counted]

    def _hopeless(self, node: _Node) -> bool:
        """Whether all that is below it breaks a budget, or is no better than what was met already."""
        if node.left & (node.pending | node.decided):
            return True  # with that goal it is met elsewhere
        needed = self._union(self._needs, node.pending) & ~node.decided
        cost, least = node.paid, list(node.borne)
        for atom in _bits(needed):
            cost += self._least[atom]
            if self._sole[atom] >= 0:
                least[self._sole[atom]] += self._least[atom]
        if any(0 <= most < here for most, here in zip(self._budgets, least, strict=True)):
            return True
        if not self.points or self.points[0].cost > cost:
            return False
        return self._covered(node, cost) if self._coverage is not None else self._outdone(node, cost, least)

    def _covered(self, node: _Node, cost: int) -> bool:
        undecided = self._goals[node.goals :]
        counts = [list(node.reached), list(node.reached)]
        if undecided and self._coverage is not None:
            for owners in self._coverage.owners[node.goals :]:
                for owner in owners:
                    counts[1][owner] += 1
        lo, hi = self._shares((), counts[0]), self._shares((), counts[1])
        best = evenest(lo, hi, self._weights)
        return any(point.cost <= cost and point.missed <= node.missed and point.fairness >= best - CLOSE for point in self.points)

    def _outdone(self, node: _Node, cost: int, least: Sequence[int]) -> bool:
        """Whatever it may cost in the end, a point that costs no more is as fair as it can be at that cost."""
        most = list(least)
        for atom in _bits(self._union(self._cone, node.pending) & ~node.decided):
            for group, dearest in self._most[atom]:
                most[group] += dearest
        lo, hi = self._shares(least, ()), self._shares(most, ())
        first = bisect_right(self.points, cost, key=lambda point: point.cost) - 1
        for place in range(first, len(self.points)):
            room = float("inf")
            if place + 1 < len(self.points):
                room = self.points[place + 1].cost - sum(least)
            upper = [min(high, low + room) for low, high in zip(lo, hi, strict=True)]
            if evenest(lo, upper, self._weights) > self.points[place].fairness + CLOSE:
                return False
            if upper == hi:
                break
        return True

    def _children(self, node: _Node, estimate: Sequence[int]) -> Iterator[_Node]:
        if node.pending:
            yield from self._ruled(node, estimate)
        elif node.goals < len(self._goals):
            yield from self._chosen(node)
        else:
            self.offer(_laid(node))

    def _chosen(self, node: _Node) -> Iterator[_Node]:
        """With the next goal, and without it."""
        assert self._coverage is not None
        goal, owners = self._goals[node.goals], self._coverage.owners[node.goals]
        reached = list(node.reached)
        for owner in owners:
            reached[owner] += 1
        pending = 0 if node.decided >> goal & 1 else 1 << goal
        yield node._replace(goals=node.goals + 1, pending=pending, reached=tuple(reached))
        if pending:
            yield node._replace(goals=node.goals + 1, left=node.left | 1 << goal, missed=node.missed + 1)

    def _ruled(self, node: _Node, estimate: Sequence[int]) -> Iterator[_Node]:
        """Each rule for the atom that has the fewest to choose from."""
        bodies, costs = self._rules.bodies, self._rules.costs
        laid = {self._rules.heads[rule]: rule for rule in _laid(node)}
        atom = min(_bits(node.pending), key=lambda each: (len(self._making[each]), each))
        decided = node.decided | 1 << atom
        for rule in sorted(self._making[atom], key=lambda each: (self._ahead(each, decided, estimate), each)):
            if self._circles(atom, rule, laid):
                continue
            pending = node.pending
            for premise in bodies[rule]:
                pending |= 1 << premise
            group, borne = self._rules.groups[rule], node.borne
            borne = (*borne[:group], borne[group] + costs[rule], *borne[group + 1 :])
            yield node._replace(
                pending=pending & ~decided,
                decided=decided,
                paid=node.paid + costs[rule],
                borne=borne,
                chain=_Link(rule, node.chain),
            )

    def _ahead(self, rule: int, decided: int, estimate: Sequence[int]) -> int:
        return self._rules.costs[rule] + sum(estimate[each] for each in self._rules.bodies[rule] if not decided >> each & 1)

    def _circles(self, atom: int, rule: int, laid: dict[int, int]) -> bool:
        agenda = list(self._rules.bodies[rule])
        seen = set(agenda)
        while agenda:
            here = agenda.pop()
            if here == atom:
                return True
            if here in laid:
                fresh = set(self._rules.bodies[laid[here]]) - seen
                seen |= fresh
                agenda.extend(fresh)
        return False

    # --- first spines ---------------------------------------------------------------------------------------------------------

    def _seeds(self) -> Iterator[list[int]]:
        """Cheap spines, and such as spare one group or another."""
        yield self._cheap(self._rules.costs, self._goals)
        if self._coverage is not None:
            yield []
            for goal in self._goals:
                yield self._cheap(self._rules.costs, [goal])
            return
        groups = self._rules.groups
        for spared in self._counted[:SEEDS_GROUPS_MAX]:
            for times in DEARER:
                costs = [cost * times if group == spared else cost for cost, group in zip(self._rules.costs, groups, strict=True)]
                yield self._cheap(costs, self._goals)

    def _cheap(self, costs: Sequence[int], goals: Sequence[int]) -> list[int]:
        """Of each atom that is needed the rule that is cheapest if nothing is shared."""
        _, via, _ = self._additive(costs)
        agenda, seen, found = list(goals), set(goals), []
        while agenda:
            rule = via[agenda.pop()]
            found.append(rule)
            fresh = set(self._rules.bodies[rule]) - seen
            seen |= fresh
            agenda.extend(fresh)
        return found

    def _additive(self, costs: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
        """Of each atom what it costs if nothing is shared, and the rule that gives that (Knuth, 1977); and the atoms in
        the order in which they came to hold."""
        order: list[int] = []
        value, via = [0] * self._rules.atoms, [-1] * self._rules.atoms
        left = [len(set(body)) for body in self._rules.bodies]
        total = list(costs)
        waiting: list[list[int]] = [[] for _ in range(self._rules.atoms)]
        heap = []
        for rule, body in enumerate(self._rules.bodies):
            for premise in set(body):
                waiting[premise].append(rule)
            if not body:
                heap.append((total[rule], rule))
        heap.sort()
        while heap:
            at, rule = heappop(heap)
            atom = self._rules.heads[rule]
            if via[atom] >= 0:
                continue
            value[atom], via[atom] = at, rule
            order.append(atom)
            for then in waiting[atom]:
                left[then] -= 1
                total[then] += at
                if not left[then]:
                    heappush(heap, (total[then], then))
        return value, via, order


def _laid(node: _Node) -> list[int]:
    found: list[int] = []
    link = node.chain
    while link is not None:
        found.append(link.rule)
        link = link.before
    return found


def beats(one: Point, other: Point) -> bool:
    """Whether it is no worse in anything."""
    return one.cost <= other.cost and one.missed <= other.missed and one.fairness >= other.fairness - CLOSE


def _bits(number: int) -> Iterator[int]:
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


def evenest(lo: Sequence[float], hi: Sequence[float], weights: Sequence[float]) -> float:
    """The highest index of any shares between these: all go as near as they can to one level.

    The index grows in a share below Σx²/Σx and falls above it, and is quasi-concave: so that level, which is where it
    neither grows nor falls, gives the most. What is off it by lo > level or hi < level says where the level is.
    """
    scale = [min(weights) / weight for weight in weights]
    low = [each * by for each, by in zip(lo, scale, strict=True)]
    high = [each * by for each, by in zip(hi, scale, strict=True)]
    levels = sorted({*low, *(each for each in high if each != float("inf"))})
    begin, end = 0, len(levels)
    while begin < end:
        middle = (begin + end) // 2
        square, plain = _off(low, high, levels[middle])
        if square > levels[middle] * plain:
            begin = middle + 1
        else:
            end = middle
    found = 1.0 if not any(low) else 0.0
    for level in {*levels[max(0, begin - 1) : begin + 1], *_between(low, high, levels, begin)}:
        found = max(found, jain([min(max(level, a), b) for a, b in zip(low, high, strict=True)], [1.0] * len(low)))
    return found


def _between(low: Sequence[float], high: Sequence[float], levels: Sequence[float], place: int) -> Iterator[float]:
    """The level between two of these at which the index neither grows nor falls."""
    if 0 < place < len(levels):
        square, plain = _off(low, high, (levels[place - 1] + levels[place]) / 2)
        if plain:
            yield square / plain


def _off(low: Sequence[float], high: Sequence[float], level: float) -> tuple[float, float]:
    off = [a for a in low if a > level] + [b for b in high if b < level]
    return sum(each * each for each in off), sum(off)


# --- from words to numbers --------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """A question for a front, in numbers; `order` are the rules by their numbers."""

    rules: Rules
    goals: list[int]
    budgets: list[int]
    weights: list[float]
    coverage: Coverage | None
    order: list[Rule]

    def front(self) -> Front:
        return Front(*self[:5])


def problem(
    planned: Plan,
    initial: Collection[str],
    budgets: Mapping[str, int],
    weights: Mapping[str, float],
    owned: Mapping[str, Collection[str]] | None = None,
) -> Problem:
    """`planned` is for goals that can be reached; `owned`: of each group its goals, those out of reach too, for their coverage."""
    start = set(initial)
    order = sorted(planned.rules, key=lambda rule: rule.rule_id)
    symbols = sorted({atom for rule in order for atom in (*rule.premises, rule.conclusion)}.difference(start))
    number = {symbol: place for place, symbol in enumerate(symbols)}
    groups = sorted({rule.group for rule in order}.union(owned or ()))
    group_of = {group: place for place, group in enumerate(groups)}
    bodies = [[number[atom] for atom in dict.fromkeys(rule.premises) if atom not in start] for rule in order]
    rules = Rules(
        bodies,
        [number[rule.conclusion] for rule in order],
        [rule.cost_micro for rule in order],
        [group_of[rule.group] for rule in order],
        len(symbols),
    )
    goals = [goal for goal in planned.goals if goal not in start]
    coverage = None
    if owned is not None:
        owners = [[group_of[group] for group in sorted(owned) if goal in owned[group]] for goal in goals]
        every = {goal for own in owned.values() for goal in own}
        coverage = Coverage(owners, [len(owned.get(group, ())) for group in groups], len(every.difference(goals)))
    limits, by = [budgets.get(group, -1) for group in groups], [weights.get(group, 1.0) for group in groups]
    return Problem(rules, [number[goal] for goal in goals], limits, by, coverage, order)


def solve(asked: Problem) -> Front | None:
    """None: given up."""
    found = asked.front()
    for _ in found.steps():
        if found.nodes > NODES_HERE_MAX:
            return None
    return found
