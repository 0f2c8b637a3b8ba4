"""What follows from what holds, by rules: a countdown in rounds, in time that grows as the program does (Dowling, Gallier, 1984).

core/trajectory/closure.py is the slow twin. Empty bodies hold in the first round; a body that names an atom twice counts it twice,
on both sides of the countdown.
"""

from typing import NamedTuple

import numpy as np
from numba import int64, njit

from kernels.horn import B1, I4, I8, Flags, Ints, Program, waiting


class Closure(NamedTuple):
    depth: Ints
    """Round in which an atom came to hold; 0 from the start, -1 never."""
    rule: Ints
    """Which derived it: of its first round the first in order; -1 where none did."""


@njit((I8, I4, I8, I4, B1, int64), cache=True)
def _rounds(start, head, wait_start, wait, initial, most):
    atoms, rules = initial.size, head.size
    depth = np.full(atoms, -1, np.int32)
    via = np.full(atoms, -1, np.int32)
    left = np.empty(rules, np.int32)
    fresh = np.empty(atoms, np.int32)
    size = 0
    for atom in range(atoms):
        if initial[atom]:
            depth[atom] = 0
            fresh[size] = atom
            size += 1
    begun = size
    if most > 0:
        for rule in range(rules):
            left[rule] = start[rule + 1] - start[rule]
            if left[rule] == 0 and depth[head[rule]] == -1:
                depth[head[rule]] = 1
                via[head[rule]] = rule
                fresh[size] = head[rule]
                size += 1
    first, last, level = 0, begun, 1
    while first < size and level <= most:
        for at in range(first, last):
            atom = fresh[at]
            for place in range(wait_start[atom], wait_start[atom + 1]):
                rule = wait[place]
                left[rule] -= 1
                if left[rule] == 0:
                    made = head[rule]
                    if depth[made] == -1:
                        depth[made] = level
                        via[made] = rule
                        fresh[size] = made
                        size += 1
                    elif depth[made] == level and rule < via[made]:
                        via[made] = rule
        first, last, level = last, size, level + 1
    return depth, via


def closure(program: Program, initial: Flags, max_depth: int | None = None) -> Closure:
    """All that holds after so many rounds; None: after all of them."""
    most = program.atoms + 1 if max_depth is None else min(max_depth, program.atoms + 1)
    wait_start, wait = waiting(program.body_start, program.body, program.atoms)
    return Closure(*_rounds(program.body_start, program.head, wait_start, wait, initial, most))
