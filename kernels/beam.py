"""A beam of the most promising states, layer by layer, which never answers worse where it is wider.

A state is what was paid for, closed under what costs nothing. Its children are ranked by what was paid and what a relaxed plan from
the additive costs would pay on top, then by what was paid, then by their rules. Slot i of a layer takes the best child of the slots
1 to i before it that the slots below i left. That a state was met counts for slot i only if it was at a slot no higher, at no
higher cost, and with the same burden on each group that has a budget. So the first B slots of a wider beam are those of a beam of
width B, and what is known of the best spine never changes a slot. A beam that had to leave nothing out has found the least.
"""

from collections.abc import Generator, Iterator
from heapq import heappop, heappush, heapreplace
from typing import Final, NamedTuple

import numpy as np
from numba import boolean, int64, njit, uint64
from numpy.typing import NDArray

from kernels.additive import values
from kernels.horn import B1, I4, I8, TRUTH, Flags, Ints, Longs, Task

WORK: Final = 2_000_000
"""Literals that are looked at before the caller hears again: some ten milliseconds."""
U8 = uint64[::1]
Marks = NDArray[np.uint64]


class Spine(NamedTuple):
    cost: int
    rules: tuple[int, ...]
    """Places in the task, in order."""


@njit((I8, I4, I4, I8, I4, I8, I4, I8, I8, I4, int64, int64, int64, int64, U8, U8), cache=True)
def _children(start, body, head, cost, group, wait_start, wait, room, value, via, goal, paid, first, work, one, other):
    """What each rule that can be paid for leads to, from rule `first` on. Leaves `value` and `via` as they were.

    room: of each group, what may still be paid.
    """
    atoms, rules = value.size, head.size
    found = np.empty(rules, np.int32)
    estimate = np.empty(rules, np.int64)
    mark_one, mark_other = np.empty(rules, np.uint64), np.empty(rules, np.uint64)
    ends = np.empty(rules, np.bool_)
    line, touched = np.empty(atoms, np.int32), np.empty(atoms, np.int32)
    old_value, old_via = np.empty(atoms, np.int64), np.empty(atoms, np.int32)
    queued = np.zeros(atoms, np.bool_)
    seen = np.full(atoms, -1, np.int64)
    met = np.full(atoms, -1, np.int64)
    count, looked, rule = 0, 0, first
    while rule < rules and looked < work:
        made = head[rule]
        fits = value[made] > 0 and cost[rule] > 0 and cost[rule] <= room[group[rule]]
        looked += 1
        if fits:
            for at in range(start[rule], start[rule + 1]):
                looked += 1
                if value[body[at]] != 0:
                    fits = False
                    break
        if fits:
            changed = 1
            touched[0], old_value[0], old_via[0] = made, value[made], via[made]
            seen[made] = rule
            value[made], via[made] = 0, rule
            line[0], queued[made] = made, True
            begun, length = 0, 1
            while length:
                atom = line[begun]
                begun = begun + 1 if begun + 1 < atoms else 0
                length -= 1
                queued[atom] = False
                for place in range(wait_start[atom], wait_start[atom + 1]):
                    then = wait[place]
                    new = cost[then]
                    for at in range(start[then], start[then + 1]):
                        looked += 1
                        new = min(new + value[body[at]], 2**62 - 1)
                    target = head[then]
                    if new < value[target]:
                        if seen[target] != rule:
                            seen[target] = rule
                            touched[changed], old_value[changed], old_via[changed] = target, value[target], via[target]
                            changed += 1
                        value[target], via[target] = new, then
                        if not queued[target]:
                            queued[target] = True
                            line[(begun + length) % atoms] = target
                            length += 1
            a, b = np.uint64(0), np.uint64(0)
            for at in range(changed):
                if value[touched[at]] == 0:
                    a ^= one[touched[at]]
                    b ^= other[touched[at]]
            plan = paid + cost[rule]
            if value[goal] > 0:
                line[0], length, met[goal] = goal, 1, rule
                while length:
                    length -= 1
                    then = via[line[length]]
                    plan += cost[then]
                    for at in range(start[then], start[then + 1]):
                        looked += 1
                        atom = body[at]
                        if value[atom] > 0 and met[atom] != rule:
                            met[atom] = rule
                            line[length] = atom
                            length += 1
            found[count], estimate[count], mark_one[count], mark_other[count] = rule, plan, a, b
            ends[count] = value[goal] == 0
            count += 1
            for at in range(changed):
                value[touched[at]], via[touched[at]] = old_value[at], old_via[at]
        rule += 1
    return (
        rule,
        found[:count].copy(),
        estimate[:count].copy(),
        mark_one[:count].copy(),
        mark_other[:count].copy(),
        ends[:count].copy(),
    )


@njit((I8, I4, I8, I4, B1, I4, int64), cache=True)
def _reaches(start, head, wait_start, wait, available, via, goal):
    """Whether the goal follows by these rules; `via` then has the rule that led to each atom first, -1 where none did."""
    left = np.empty(head.size, np.int32)
    for rule in range(head.size):
        left[rule] = start[rule + 1] - start[rule]
    via[:] = -1
    agenda = np.empty(via.size, np.int32)
    agenda[0] = 0
    first, size = 0, 1
    while first < size:
        atom = agenda[first]
        first += 1
        for at in range(wait_start[atom], wait_start[atom + 1]):
            rule = wait[at]
            left[rule] -= 1
            made = head[rule]
            if left[rule] == 0 and available[rule] and made != 0 and via[made] == -1:
                via[made] = rule
                agenda[size] = made
                size += 1
    return via[goal] != -1


@njit((I8, I4, I4, I8, I4, I8, I4, B1, I4, int64), cache=True)
def _needed(start, body, head, wait_start, wait, made_start, made, available, order, goal):
    """An irredundant part of these rules that reaches the goal: of `order` each that can go goes. None if none does."""
    rules, atoms = head.size, made_start.size - 1
    via = np.empty(atoms, np.int32)
    needed = np.zeros(rules, np.bool_)
    if not _reaches(start, head, wait_start, wait, available, via, goal):
        return needed
    # Going back, what only one rule leads to needs that rule.
    agenda, seen = np.empty(atoms, np.int32), np.zeros(atoms, np.bool_)
    seen[0] = True
    for turn in range(2):
        if turn:
            for rule in order:
                if not needed[rule]:
                    available[rule] = False
                    available[rule] = not _reaches(start, head, wait_start, wait, available, via, goal)
            _reaches(start, head, wait_start, wait, available, via, goal)
            needed[:] = False
            seen[:] = False
            seen[0] = True
        agenda[0], size = goal, 1
        while size:
            size -= 1
            atom = agenda[size]
            ways = 0
            for at in range(made_start[atom], made_start[atom + 1]):
                ways += available[made[at]]
            if ways > 1 and not turn:
                continue
            rule = via[atom]
            needed[rule] = True
            for at in range(start[rule], start[rule + 1]):
                if not seen[body[at]]:
                    seen[body[at]] = True
                    agenda[size] = body[at]
                    size += 1
    return needed


def irredundant(task: Task, paid: Ints) -> Spine | None:
    """The spine within these rules and those that cost nothing: the dearest rule that can go goes first, of equals the last."""
    available = task.cost == 0
    available[paid] = True
    order = np.flatnonzero(available & (task.cost > 0)).astype(np.int32)
    order = order[np.lexsort((-order, -task.cost[order]))]
    csr = task.start, task.body, task.head, task.wait_start, task.wait, task.made_start, task.made
    rules = np.flatnonzero(_needed(*csr, available, order, task.goal))
    return Spine(int(task.cost[rules].sum()), tuple(rules.tolist())) if rules.size else None


def burden(task: Task, rules: Ints, groups: int) -> Longs:
    """What each group pays; groups beyond have no budget, and are not looked at."""
    borne = np.zeros(groups, np.int64)
    inside = rules[task.group[rules] < groups]
    np.add.at(borne, task.group[inside], task.cost[inside])
    return borne


def plan(task: Task, cost: Longs, usable: Flags) -> Spine | None:
    """What the additive costs lead back along, from the goal to the start: of each atom one rule, so none of them is idle."""
    start = np.zeros(task.atoms, np.bool_)
    start[TRUTH] = True
    found = values(task.start, task.head, cost, task.wait_start, task.wait, usable, start)
    if found.value[task.goal] < 0:
        return None
    rules = back(task, found.value, found.via)
    return Spine(int(task.cost[rules].sum()), tuple(rules.tolist()))


@njit((I8, I4, I8, I4, int64, boolean), cache=True)
def _back(start, body, value, via, goal, free):
    agenda, seen = np.empty(value.size, np.int32), np.zeros(value.size, np.bool_)
    rules = np.empty(value.size, np.int32)
    agenda[0], size, count = goal, 1, 0
    while size:
        size -= 1
        rule = via[agenda[size]]
        if rule < 0:
            continue
        rules[count] = rule
        count += 1
        for at in range(start[rule], start[rule + 1]):
            atom = body[at]
            if not seen[atom] and (free or value[atom] > 0):
                seen[atom] = True
                agenda[size] = atom
                size += 1
    return rules[:count].copy()


def back(task: Task, value: Longs, via: Ints, free: bool = True) -> Ints:
    """Rules on the way back from the goal; `free`: through what costs nothing too, back to the start."""
    return np.sort(_back(task.start, task.body, value, via, task.goal, free))


class Slot(NamedTuple):
    paid: tuple[int, ...]
    cost: int
    reached: Flags
    """Closed once it is expanded."""
    marks: tuple[int, int]
    ends: bool


class Children(NamedTuple):
    """Of one slot, best first."""

    rule: Ints
    estimate: Longs
    paid: Longs
    one: Marks
    other: Marks
    ends: Flags
    slot: Slot


Entry = tuple[int, int, tuple[int, ...], int, int]
"""Estimate, paid, rules, then where the child stands: the run, and the place in it."""


class Beam:
    """A search that goes on as long as somebody asks it to. `best` is the best spine so far."""

    def __init__(self, task: Task, width: int, budgets: Longs | None = None) -> None:
        self.task = task
        self.width = width
        self.budgets = np.empty(0, np.int64) if budgets is None else budgets
        self.best: Spine | None = None
        self.finished = False
        """Nothing is left to look at."""
        self.complete = True
        """Nothing was left out so far: if it is finished too, nothing is better than the best."""
        self.expanded = 0
        numbers = np.arange(1, task.atoms + 1, dtype=np.uint64)
        self._scattered = scattered(numbers), scattered(numbers + np.uint64(2**32))
        self._met: dict[tuple[object, ...], list[tuple[int, int]]] = {}

    def affordable(self, rules: Longs) -> bool:
        """Whether no group pays more than it may for them."""
        return not self.budgets.size or bool(
            np.all((self.budgets < 0) | (burden(self.task, rules, self.budgets.size) <= self.budgets))
        )

    def offer(self, spine: Spine | None) -> None:
        if spine is not None and self.affordable(np.array(spine.rules, np.int64)):
            better = self.best is None or _rank(spine) < _rank(self.best)
            self.best = spine if better else self.best

    def steps(self) -> Iterator[None]:
        """Each step takes some ten milliseconds at most, or as long as the additive costs of the whole task take."""
        start = np.zeros(self.task.atoms, np.bool_)
        start[TRUTH] = True
        layer: list[Slot | None] = [Slot((), 0, start, (0, 0), False)]
        while any(slot is not None for slot in layer):
            runs: list[Children | None] = []
            for slot in layer:
                if slot is None or slot.ends:
                    self.offer(slot and irredundant(self.task, np.array(slot.paid, np.int32)))
                    runs.append(None)
                else:
                    runs.append((yield from self._expanded(slot)))
            layer = self._next(runs)
            yield
        self.finished = True

    def _expanded(self, slot: Slot) -> Generator[None, None, Children | None]:
        task = self.task
        usable = np.ones(task.rules, np.bool_)
        found = values(task.start, task.head, task.cost, task.wait_start, task.wait, usable, slot.reached)
        self.expanded += 1
        closed = slot._replace(reached=found.value == 0)
        on_top = back(task, found.value, found.via, free=False)
        self.offer(irredundant(task, np.concatenate([np.array(slot.paid, np.int32), on_top])))
        if found.value[task.goal] == 0:
            return None
        room = self._room(slot)
        parts, first = [], 0
        while first < task.rules:
            first, *part = _children(*task[:5], *task[6:8], room, *found[:2], task.goal, slot.cost, first, WORK, *self._scattered)
            parts.append(part)
            yield
        rule, estimate, one, other, ends = (np.concatenate(column) for column in zip(*parts, strict=True))
        paid = slot.cost + task.cost[rule]
        order = np.lexsort((rule, paid, estimate))
        return Children(rule[order], estimate[order], paid[order], one[order], other[order], ends[order], closed)

    def _room(self, slot: Slot) -> Longs:
        groups = max(int(self.task.group.max()) + 1, self.budgets.size)
        room = np.full(groups, 2**62, np.int64)
        bounded = np.flatnonzero(self.budgets >= 0)
        borne = burden(self.task, np.array(slot.paid, np.int64), self.budgets.size)
        room[bounded] = (self.budgets - borne)[bounded]
        return room

    def _next(self, runs: list[Children | None]) -> list[Slot | None]:
        """The next layer: slot i from the runs 1 to i, as far as the slots below left them. A slot may stay empty."""
        pool: list[Entry] = []
        taken: list[Slot | None] = []
        for place in range(self.width):
            run = runs[place] if place < len(runs) else None
            if run is not None and run.rule.size:
                heappush(pool, _entry(run, place, 0))
            if not pool and place >= len(runs):
                break
            taken.append(self._take(pool, runs, place))
        if self.complete:
            self.complete = self._take(pool, runs, self.width) is None
        return taken

    def _take(self, pool: list[Entry], runs: list[Children | None], place: int) -> Slot | None:
        while pool:
            _, paid, rules, run_place, at = pool[0]
            run = runs[run_place]
            assert run is not None
            if at + 1 < run.rule.size:
                heapreplace(pool, _entry(run, run_place, at + 1))
            else:
                heappop(pool)
            before = run.slot.marks
            marks = before[0] ^ int(run.one[at]), before[1] ^ int(run.other[at])
            if self._fresh(marks, rules, paid, place):
                reached = run.slot.reached.copy()
                reached[self.task.head[run.rule[at]]] = True
                return Slot(rules, paid, reached, marks, bool(run.ends[at]))
        return None

    def _fresh(self, marks: tuple[int, int], rules: tuple[int, ...], paid: int, place: int) -> bool:
        """Whether this slot has not met that state as cheap, nor any slot below; if so, it has from now on."""
        key = (*marks, *burden(self.task, np.array(rules, np.int64), self.budgets.size)[self.budgets >= 0].tolist())
        met = self._met.setdefault(key, [])
        if any(slot <= place and cost <= paid for slot, cost in met):
            return False
        met.append((place, paid))
        return True


def _rank(spine: Spine) -> tuple[int, int, tuple[int, ...]]:
    return spine.cost, len(spine.rules), spine.rules


def _entry(run: Children, place: int, at: int) -> Entry:
    rules = tuple(sorted((*run.slot.paid, int(run.rule[at]))))
    return int(run.estimate[at]), int(run.paid[at]), rules, place, at


def scattered(numbers: Marks) -> Marks:
    """A mark for each number, in which no two sums of few are likely to agree (splitmix64)."""
    found = numbers * np.uint64(0x9E3779B97F4A7C15)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))
