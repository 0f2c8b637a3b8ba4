"""Programs of Horn rules as arrays, and the part of one that a search is about.

A rule has a body of atoms that must hold, one head that then holds, and a cost in micro-units. Costs are whole numbers, so sums and
ties are exact. What the order of rules decides, it decides by their places: who wants ties broken by name sorts the rules by name.
Never calls a compiled function of another file from a compiled one: Numba's cache looks only at the file that a function stands in,
and would go on with what the other one was.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import boolean, int32, int64, njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]

TOTAL_MAX: Final = 2**53
GROUPS_MAX: Final = 2**20
ALIKE_MAX: Final = 64
"""Rules of one head that are held against each other; more are all kept."""
TRUTH: Final = 0
"""The atom of a task that stands for all that holds from the start."""

I4, I8, B1 = int32[::1], int64[::1], boolean[::1]


class Program(NamedTuple):
    """Rules by place: the body of rule r is body[body_start[r] : body_start[r + 1]]."""

    body_start: Longs
    body: Ints
    head: Ints
    cost: Longs
    group: Ints
    atoms: int


class Task(NamedTuple):
    """What is left of a program for given goals: rules that can be applied and may be of use. Atom 0 holds from the start, and the
    last atom is the goal, which the last rule concludes from all goals at no cost."""

    start: Longs
    body: Ints
    head: Ints
    cost: Longs
    group: Ints
    origin: Ints
    """Place of each rule in the program; -1 for the last."""
    wait_start: Longs
    wait: Ints
    """Of each atom, the rules that need it."""
    made_start: Longs
    made: Ints
    """Of each atom, the rules that conclude it."""
    goal: int

    @property
    def rules(self) -> int:
        return int(self.head.size)

    @property
    def atoms(self) -> int:
        return self.goal + 1


def fault(program: Program, initial: Flags, goals: Ints | None = None) -> str | None:
    """What no kernel could bear, in a word; None: nothing."""
    start, body, head, cost, group, atoms = program
    types = ((start, np.int64), (body, np.int32), (head, np.int32), (cost, np.int64), (group, np.int32), (initial, np.bool_))
    if any(array.ndim != 1 or array.dtype != dtype or not array.flags.c_contiguous for array, dtype in types):
        return "type"
    rules = head.size
    if start.size != rules + 1 or cost.size != rules or group.size != rules or initial.size != atoms:
        return "shape"
    if start[0] != 0 or start[-1] != body.size or np.any(np.diff(start) < 0):
        return "shape"
    named = (body, head) if goals is None else (body, head, goals)
    if any(array.size and (array.min() < 0 or array.max() >= atoms) for array in named):
        return "atom"
    if rules and (group.min() < 0 or group.max() >= GROUPS_MAX):
        return "group"
    return "cost" if rules and (cost.min() < 0 or cost.max() > TOTAL_MAX) else None


def total(cost: Longs) -> int:
    """The sum, however large it is."""
    return (int((cost >> 32).sum()) << 32) + int((cost & 0xFFFFFFFF).sum())


@njit((I8, I4, int64), cache=True)
def _transposed(start, body, atoms):
    found = np.zeros(atoms + 1, np.int64)
    for atom in body:
        found[atom + 1] += 1
    for atom in range(atoms):
        found[atom + 1] += found[atom]
    place = found[:-1].copy()
    rules = np.empty(body.size, np.int32)
    for rule in range(start.size - 1):
        for at in range(start[rule], start[rule + 1]):
            atom = body[at]
            rules[place[atom]] = rule
            place[atom] += 1
    return found, rules


def waiting(start: Longs, body: Ints, atoms: int) -> tuple[Longs, Ints]:
    """Of each atom, the rules whose bodies hold it, in order, and as often as they do."""
    found: tuple[Longs, Ints] = _transposed(start, body, atoms)
    return found


def making(head: Ints, atoms: int) -> tuple[Longs, Ints]:
    """Of each atom, the rules that conclude it."""
    return waiting(np.arange(head.size + 1), head, atoms)


@njit((I8, I4, I4, I8, I4, I8, I4, B1, B1, I4), cache=True)
def _relevant(start, body, head, wait_start, wait, made_start, made, allowed, initial, goals):
    """Which atoms can be reached, and which rules can be applied and lead on to a goal."""
    atoms, rules = initial.size, head.size
    reached = initial.copy()
    left = np.empty(rules, np.int64)
    agenda = np.empty(atoms, np.int32)
    size = 0
    for rule in range(rules):
        left[rule] = start[rule + 1] - start[rule]
        if left[rule] == 0 and allowed[rule] and not reached[head[rule]]:
            reached[head[rule]] = True
    for atom in range(atoms):
        if reached[atom]:
            agenda[size] = atom
            size += 1
    while size:
        size -= 1
        atom = agenda[size]
        for at in range(wait_start[atom], wait_start[atom + 1]):
            rule = wait[at]
            left[rule] -= 1
            if left[rule] == 0 and allowed[rule] and not reached[head[rule]]:
                reached[head[rule]] = True
                agenda[size] = head[rule]
                size += 1
    kept = np.zeros(rules, np.bool_)
    needed = initial.copy()
    for goal in goals:
        if reached[goal] and not needed[goal]:
            needed[goal] = True
            agenda[size] = goal
            size += 1
    while size:
        size -= 1
        atom = agenda[size]
        for at in range(made_start[atom], made_start[atom + 1]):
            rule = made[at]
            if left[rule] or not allowed[rule]:
                continue
            itself = False
            for place in range(start[rule], start[rule + 1]):
                itself |= body[place] == atom
            if itself:
                continue
            kept[rule] = True
            for place in range(start[rule], start[rule + 1]):
                premise = body[place]
                if not needed[premise]:
                    needed[premise] = True
                    agenda[size] = premise
                    size += 1
    return reached, kept


@njit((I8, I4, I4, I4, int64), cache=True)
def _bodies(start, body, kept, number, atoms):
    """The bodies of the rules kept, in new numbers, each atom once; TRUTH alone where nothing else is needed."""
    found = np.empty(kept.size + 1, np.int64)
    found[0] = 0
    atom_of = np.empty(body.size + kept.size, np.int32)
    seen = np.full(atoms, -1, np.int64)
    size = 0
    for place in range(kept.size):
        rule = kept[place]
        for at in range(start[rule], start[rule + 1]):
            atom = number[body[at]]
            if atom != 0 and seen[atom] != place:
                seen[atom] = place
                atom_of[size] = atom
                size += 1
        if size == found[place]:
            atom_of[size] = 0
            size += 1
        found[place + 1] = size
    return found, atom_of[:size].copy()


@njit((I8, I4, I8, I4, B1, I8, I4, int64), cache=True)
def _dominated(start, body, cost, group, bounded, made_start, made, most):
    """Rules beside which another concludes the same from no more, at no higher cost, and burdens no group that has a bound."""
    atoms = made_start.size - 1
    out = np.zeros(cost.size, np.bool_)
    mark = np.full(atoms, -1, np.int64)
    for atom in range(atoms):
        if made_start[atom + 1] - made_start[atom] > most:
            continue
        for here in range(made_start[atom], made_start[atom + 1]):
            rule = made[here]
            own = 0
            for at in range(start[rule], start[rule + 1]):
                mark[body[at]] = rule
                own += body[at] != 0
            mark[0] = rule
            for there in range(made_start[atom], made_start[atom + 1]):
                other = made[there]
                if other == rule or out[other] or cost[other] > cost[rule]:
                    continue
                if bounded[group[other]] and group[other] != group[rule] and cost[other]:
                    continue
                inside = True
                needs = 0
                for at in range(start[other], start[other + 1]):
                    inside &= mark[body[at]] == rule
                    needs += body[at] != 0
                same = cost[other] == cost[rule] and needs == own
                if inside and (other < rule or not same):
                    out[rule] = True
                    break
    return out


def task(
    program: Program, initial: Flags, goals: Ints, allowed: Flags | None = None, budgets: Longs | None = None
) -> tuple[Task, Ints]:
    """The task of these goals, and the goals that cannot be reached: where there are any, the task is about the others.

    `budgets` of each group, below 0 for none, are looked at only so far as a rule is not left out for one that another group pays.
    """
    start, body, head, _, group, atoms = program
    may = np.ones(head.size, np.bool_) if allowed is None else allowed
    wait, made = waiting(start, body, atoms), making(head, atoms)
    reached, useful = _relevant(start, body, head, *wait, *made, may, initial, goals)
    wanted = np.unique(goals)
    kept = np.flatnonzero(useful).astype(np.int32)
    found = _numbered(program, initial, wanted[reached[wanted]], kept)
    bounded = np.zeros(int(group.max(initial=0)) + 1, np.bool_)
    if budgets is not None:
        bounded[: budgets.size] = budgets[: bounded.size] >= 0
    out = _dominated(found.start, found.body, found.cost, found.group, bounded, found.made_start, found.made, ALIKE_MAX)
    if out.any():
        found = _numbered(program, initial, wanted[reached[wanted]], kept[~out[:-1]])
    return found, wanted[~reached[wanted]]


def _numbered(program: Program, initial: Flags, goals: Ints, kept: Ints) -> Task:
    heads = program.head[kept]
    number = np.full(program.atoms, -1, np.int32)
    own = np.unique(np.concatenate([heads, goals[~initial[goals]]]))
    number[own] = np.arange(1, own.size + 1)
    number[initial] = TRUTH
    goal = own.size + 1
    start, body = _bodies(program.body_start, program.body, kept, number, goal + 1)
    last = np.unique(number[goals]).astype(np.int32)
    last = last[last != TRUTH] if np.any(last != TRUTH) else np.array([TRUTH], np.int32)
    start, body = np.append(start, start[-1] + last.size), np.concatenate([body, last])
    head = np.append(number[heads], np.int32(goal))
    cost, group = np.append(program.cost[kept], 0), np.append(program.group[kept], np.int32(0))
    origin = np.append(kept, np.int32(-1))
    return Task(start, body, head, cost, group, origin, *waiting(start, body, goal + 1), *making(head, goal + 1), goal)
