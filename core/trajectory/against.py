"""What a worker said about a closure, held against every rule of the program: in passes over arrays, as there may be a million.

It shares nothing with the kernels, and believes no depth, no rule and no cost. NumPy is imported where it is needed: a daemon that
closes no large program never has it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.trajectory.closure import FAR
from core.trajectory.columns import Closed, Costs, Names

NEVER = 2**30
"""The depth of what does not hold: later than any round."""


class Arrays(NamedTuple):
    """A program as numbers: rule r needs body[start[r] : start[r + 1]]. What is `known` holds from the start, in that order."""

    start: Any
    body: Any
    head: Any
    cost: Any
    known: Any
    names: Names


def array_of(data: bytes | memoryview, dtype: str) -> Any:
    import numpy as np

    return np.frombuffer(data, dtype)


def places(numbers: Sequence[int]) -> Any:
    import numpy as np

    return np.array(numbers, np.int64)


def derived(told: Arrays, depth: Any, via: Any, max_depth: int | None) -> Closed | None:
    """How each atom came to hold, in the order of rounds, and in each in the order of rules; None where that cannot be so."""
    import numpy as np

    atoms, rules = len(told.names), told.head.size
    if atoms and (depth.min() < -1 or depth.max() >= NEVER):
        return None
    start = _flags(told)
    late = np.where(depth < 0, NEVER, depth)
    late[told.known] = 0
    here = 1 + _of_bodies(np.maximum, late, told, 0)
    in_time = here <= (NEVER - 1 if max_depth is None else min(max_depth, NEVER - 1))
    made = np.flatnonzero((depth >= 0) & ~start)
    by = via[made]
    if made.size and not (by.min() >= 0 and by.max() < rules):
        return None
    if not (np.all(told.head[by] == made) and np.all(in_time[by]) and np.all(here[by] == depth[made])):
        return None
    places = np.flatnonzero(in_time)
    heads, at = told.head[places], here[places]
    if np.any(late[heads] > at) or np.any(~start[heads] & (late[heads] == at) & (via[heads] > places)):
        return None
    made = made[np.lexsort((via[made], depth[made]))]
    return Closed(told.names, np.where(start, 0, depth), np.where(start, -1, via), np.append(told.known, made))


def _flags(told: Arrays) -> Any:
    import numpy as np

    found = np.zeros(len(told.names), np.bool_)
    found[told.known] = True
    return found


def costs(told: Arrays, value: Any) -> Costs | None:
    """What each atom costs if nothing is shared: no rule leads to it for less, and one for just that; None where that cannot be so.
    Sums of sums grow beyond 64 bits, so they are added in two halves."""
    import numpy as np

    if value.size and (value.min() < -1 or value.max() > FAR):
        return None
    there = value >= 0
    may = _of_bodies(np.minimum, there, told, True)
    mask = 2**31 - 1
    safe = np.where(there, value, 0)
    low = _of_bodies(np.add, safe & mask, told, 0) + (told.cost & mask)
    high = _of_bodies(np.add, safe >> 31, told, 0) + (told.cost >> 31) + (low >> 31)
    here = np.where(high >= 2**31, FAR, np.minimum((np.minimum(high, mask) << 31) + (low & mask), FAR))
    places = np.flatnonzero(may)
    least = value[told.head[places]]
    if np.any(least < 0) or np.any(least > here[places]):
        return None
    just = places[least == here[places]]
    if np.any(value[told.known]) or not _grounded(told, safe, there, just):
        return None
    return Costs(told.names, value)


def _grounded(told: Arrays, value: Any, there: Any, just: Any) -> bool:
    """Whether what is there comes from the start by rules that lead to it at just its cost. Where such a rule costs something, its
    premises cost less; only atoms of equal cost could hold each other up, so these alone are followed one by one."""
    import numpy as np

    dearest = _of_bodies(np.maximum, value, told, -1)
    held = _flags(told)
    held[told.head[just[dearest[just] < value[told.head[just]]]]] = True
    if np.any(held & ~there):
        return False
    waiting: dict[int, list[int]] = {}
    left: dict[int, int] = {}
    agenda: list[int] = []
    for rule in just[~held[told.head[just]]].tolist():
        lacking = [premise for premise in set(told.body[told.start[rule] : told.start[rule + 1]].tolist()) if not held[premise]]
        left[rule] = len(lacking)
        for premise in lacking:
            waiting.setdefault(premise, []).append(rule)
        if not lacking:
            agenda.append(rule)
    for rule in agenda:
        atom = int(told.head[rule])
        if held[atom]:
            continue
        held[atom] = True
        for other in waiting.get(atom, ()):
            left[other] -= 1
            if not left[other]:
                agenda.append(other)
    return bool(np.array_equal(held, there))


def _of_bodies(combine: Any, of_atoms: Any, told: Arrays, nothing: int) -> Any:
    """For each rule, what its premises come to; `nothing` where it has none."""
    import numpy as np

    counts = np.diff(told.start)
    found = np.full(told.head.size, nothing, of_atoms.dtype)
    some = np.flatnonzero(counts)
    if some.size:
        found[some] = combine.reduceat(of_atoms[told.body], told.start[some])
    return found
