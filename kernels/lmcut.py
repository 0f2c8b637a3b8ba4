"""A bound that no spine can be below: cuts through the task, each of which every spine must cross (Helmert and Domshlak, 2009).

Each round takes of every rule its dearest premise. Rules that lead from what costs something into the zone from which the goal
costs nothing more are a cut: a spine has one of them. Its cheapest rule's cost goes into the bound, and off all of them. The trap
is the premise: were it a cheaper one, rules that cost nothing any more could stand in a cut, and the round would add nothing.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import int64, njit

from kernels.additive import values
from kernels.horn import B1, I4, I8, TRUTH, Flags, Ints, Longs, Task

DONE: Final = 0
MORE: Final = 1
"""So many cuts as were asked for; there may be others."""
DEAD: Final = 2
"""The goal cannot be reached."""


class Cuts(NamedTuple):
    weight: Longs
    start: Longs
    rules: Ints
    """Those of cut i are rules[start[i] : start[i + 1]]."""
    status: int


@njit((I8, I4, I4, I8, I4, I8, I4, B1, I8, I8, I4, int64, int64, int64), cache=True)
def _cuts(start, body, head, wait_start, wait, made_start, made, usable, left, value, last, goal, most, work):
    """Cuts until the goal costs nothing, or there are so many, or so much was looked at. Changes `left`, `value` and `last`."""
    atoms, rules = value.size, head.size
    weights, ends = np.empty(most, np.int64), np.zeros(most + 1, np.int64)
    flat = np.empty(2 * rules + 1_024, np.int32)
    zone, before = np.zeros(atoms, np.int64), np.zeros(atoms, np.int64)
    agenda = np.empty(atoms, np.int32)
    queued = np.zeros(atoms, np.bool_)
    count, looked = 0, 0
    status = 1
    while True:
        if value[goal] <= 0:
            status = 0 if value[goal] == 0 else 2
            break
        if count == most or looked >= work or flat.size - ends[count] < rules:
            break
        mark = count + 1
        # From the goal back, along rules that cost nothing any more.
        zone[goal] = mark
        agenda[0] = goal
        size = 1
        while size:
            size -= 1
            atom = agenda[size]
            for at in range(made_start[atom], made_start[atom + 1]):
                rule = made[at]
                looked += 1
                if left[rule] == 0 and usable[rule] and last[rule] >= 0 and zone[last[rule]] != mark:
                    zone[last[rule]] = mark
                    agenda[size] = last[rule]
                    size += 1
        # From the start on, until a rule leads into that zone.
        end = ends[count]
        before[0] = mark
        agenda[0] = 0
        size = 1
        weight = np.int64(-1)
        while size:
            size -= 1
            atom = agenda[size]
            for at in range(wait_start[atom], wait_start[atom + 1]):
                rule = wait[at]
                looked += 1
                if last[rule] != atom or not usable[rule]:
                    continue
                made_atom = head[rule]
                if zone[made_atom] == mark:
                    flat[end] = rule
                    end += 1
                    if weight == -1 or left[rule] < weight:
                        weight = left[rule]
                elif before[made_atom] != mark:
                    before[made_atom] = mark
                    agenda[size] = made_atom
                    size += 1
        weights[count] = weight
        # What has become cheaper makes others cheaper: first come, first served, each atom at most once in the line.
        first, length = 0, 0
        for at in range(ends[count], end):
            rule = flat[at]
            left[rule] -= weight
            new = value[last[rule]] + left[rule]
            if new < value[head[rule]]:
                value[head[rule]] = new
                if not queued[head[rule]]:
                    queued[head[rule]] = True
                    agenda[length] = head[rule]
                    length += 1
        while length:
            atom = agenda[first]
            first = first + 1 if first + 1 < atoms else 0
            length -= 1
            queued[atom] = False
            for at in range(wait_start[atom], wait_start[atom + 1]):
                rule = wait[at]
                looked += 1
                if last[rule] != atom:
                    continue
                worst = atom
                for place in range(start[rule], start[rule + 1]):
                    if value[body[place]] > value[worst]:
                        worst = body[place]
                looked += start[rule + 1] - start[rule]
                last[rule] = worst
                new = value[worst] + left[rule]
                if usable[rule] and new < value[head[rule]]:
                    value[head[rule]] = new
                    if not queued[head[rule]]:
                        queued[head[rule]] = True
                        agenda[(first + length) % atoms] = head[rule]
                        length += 1
        count += 1
        ends[count] = end
    return weights[:count].copy(), ends[: count + 1].copy(), flat[: ends[count]].copy(), status


def cuts(task: Task, usable: Flags, left: Longs, most: int = 1_024, work: int = 2_000_000) -> Cuts:
    """Cuts of what the rules still cost, `left`, which is lowered by them: called again with it, it goes on where it stopped."""
    initial = np.zeros(task.atoms, np.bool_)
    initial[TRUTH] = True
    found = values(task.start, task.head, left, task.wait_start, task.wait, usable, initial, dearest=True)
    csr = task.start, task.body, task.head, task.wait_start, task.wait, task.made_start, task.made
    return Cuts(*_cuts(*csr, usable, left, found.value, found.last, task.goal, most, work))


@njit((I8, I4, I8, I4, int64), cache=True)
def _landmarks(start, body, made_start, made, goal):
    """Atoms without which there is no goal: what every rule that concludes one of them needs is one too."""
    atoms = made_start.size - 1
    found = np.zeros(atoms, np.bool_)
    shared, counted = np.zeros(atoms, np.int64), np.full(atoms, -1, np.int64)
    agenda = np.empty(atoms, np.int32)
    found[goal] = True
    agenda[0], size = goal, 1
    while size:
        size -= 1
        atom = agenda[size]
        ways = made_start[atom + 1] - made_start[atom]
        for way in range(made_start[atom], made_start[atom + 1]):
            for at in range(start[made[way]], start[made[way] + 1]):
                premise = body[at]
                if counted[premise] != atom:
                    counted[premise], shared[premise] = atom, 0
                shared[premise] += 1
                if shared[premise] == ways and not found[premise]:
                    found[premise] = True
                    agenda[size] = premise
                    size += 1
    return found


def landmarks(task: Task) -> Cuts:
    """A cut for each atom that no spine can do without: all rules that conclude it, as each rule concludes one. Where they cost
    something they are cuts of their own, and often more of them than rounds would find."""
    found = _landmarks(task.start, task.body, task.made_start, task.made, task.goal)
    ways = np.diff(task.made_start)
    cheapest = np.zeros(task.atoms, np.int64)
    cheapest[ways > 0] = np.minimum.reduceat(task.cost[task.made], task.made_start[:-1][ways > 0])
    dear = found & (cheapest > 0)
    return Cuts(cheapest[dear], np.append(0, np.cumsum(ways[dear])), task.made[np.repeat(dear, ways)], MORE)


def bound(task: Task) -> int:
    """The better of two, from the start: rounds alone, and rounds after the landmarks."""
    first = landmarks(task)
    left = task.cost.copy()
    np.subtract.at(left, first.rules, np.repeat(first.weight, np.diff(first.start)))
    return max(_rounds(task, task.cost.copy()), int(first.weight.sum()) + _rounds(task, left))


def _rounds(task: Task, left: Longs) -> int:
    usable, found, status = np.ones(task.rules, np.bool_), 0, MORE
    while status == MORE:
        weight, _, _, status = cuts(task, usable, left)
        found += int(weight.sum())
    return found
