"""What an atom costs if nothing is shared: the least, over the rules that conclude it, of the rule's cost and the costs of all its
premises (Knuth, 1977); and the same with the dearest premise alone, which is what no derivation can be below.

Settled in the order of cost, ties by the atom's place, so that cycles of rules without cost feed nobody.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import boolean, int32, int64, njit

from kernels.horn import B1, I4, I8, Flags, Ints, Longs, Program, waiting

FAR: Final = 2**62 - 1
"""That much or more. Two of them still fit in 64 bits."""


class Values(NamedTuple):
    value: Longs
    """Of each atom; -1 where it cannot be reached."""
    via: Ints
    """The rule that gives it, -1 for what holds from the start."""
    last: Ints
    """Of each rule, the premise that was settled last, and so is dearest; -1 where one is missing, or it has none."""


@njit((I8, I4, int64, int64, int32), cache=True)
def _push(keys, items, size, key, item):
    at = size
    while at > 0:
        up = (at - 1) >> 1
        if keys[up] < key or (keys[up] == key and items[up] <= item):
            break
        keys[at] = keys[up]
        items[at] = items[up]
        at = up
    keys[at] = key
    items[at] = item
    return size + 1


@njit((I8, I4, int64), cache=True)
def _pop(keys, items, size):
    """Takes the least away, which stands in place 0."""
    size -= 1
    key, item = keys[size], items[size]
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        other = child + 1
        if other < size and (keys[other] < keys[child] or (keys[other] == keys[child] and items[other] < items[child])):
            child = other
        if key < keys[child] or (key == keys[child] and item <= items[child]):
            break
        keys[at] = keys[child]
        items[at] = items[child]
        at = child
    keys[at] = key
    items[at] = item
    return size


@njit((I8, I4, I8, I8, I4, B1, B1, boolean), cache=True)
def _values(start, head, cost, wait_start, wait, usable, initial, dearest):
    atoms, rules = initial.size, head.size
    value = np.full(atoms, -1, np.int64)
    via = np.full(atoms, -1, np.int32)
    last = np.full(rules, -1, np.int32)
    settled = np.zeros(atoms, np.bool_)
    total = cost.copy()
    left = np.empty(rules, np.int64)
    keys, items = np.empty(atoms + rules + 1, np.int64), np.empty(atoms + rules + 1, np.int32)
    size = 0
    for atom in range(atoms):
        if initial[atom]:
            value[atom] = 0
            size = _push(keys, items, size, 0, np.int32(atom))
    for rule in range(rules):
        left[rule] = start[rule + 1] - start[rule]
        made = head[rule]
        if left[rule] == 0 and usable[rule] and (value[made] == -1 or cost[rule] < value[made]):
            value[made] = cost[rule]
            via[made] = rule
            size = _push(keys, items, size, cost[rule], made)
    while size:
        atom = items[0]
        size = _pop(keys, items, size)
        if settled[atom]:
            continue
        settled[atom] = True
        at_cost = value[atom]
        for place in range(wait_start[atom], wait_start[atom + 1]):
            rule = wait[place]
            left[rule] -= 1
            # An atom that a body names twice stands twice in a row here, and is paid for once.
            if not dearest and (place == wait_start[atom] or wait[place - 1] != rule):
                total[rule] = min(total[rule] + at_cost, FAR)
            if left[rule] == 0 and usable[rule]:
                last[rule] = atom
                made = head[rule]
                new = min(cost[rule] + at_cost, FAR) if dearest else total[rule]
                if value[made] == -1 or new < value[made]:
                    value[made] = new
                    via[made] = rule
                    size = _push(keys, items, size, new, made)
    return value, via, last


def values(
    start: Longs, head: Ints, cost: Longs, wait_start: Longs, wait: Ints, usable: Flags, initial: Flags, *, dearest: bool = False
) -> Values:
    return Values(*_values(start, head, cost, wait_start, wait, usable, initial, dearest))


def additive(program: Program, initial: Flags) -> Longs:
    """Of each atom, in micro-units; FAR where it is that or more, -1 where it cannot be reached."""
    wait = waiting(program.body_start, program.body, program.atoms)
    every = np.ones(program.head.size, np.bool_)
    return values(program.body_start, program.head, program.cost, *wait, every, initial).value
