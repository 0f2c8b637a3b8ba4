"""The least a spine costs, proven: branch and bound, the node with the lowest bound first.

A node has rules that are paid for and rules that are out. Its bound is what was paid and what cuts say of the rest; cuts that none of
the newly paid rules cross are inherited. It branches on its smallest cut: the first rule in; the first out and the second in; and so
on. A cut of one rule is no choice. A rule that would lift the bound to the best spine there is goes out. Stopped at any time, it has
the best spine so far and a bound that no spine is below.
"""

from collections.abc import Generator, Iterator
from heapq import heappop, heappush
from typing import Final, NamedTuple

import numpy as np

from kernels import lmcut
from kernels.beam import Beam, Spine, affordable, plan
from kernels.horn import Flags, Ints, Longs, Task

WIDTH: Final = 8
EXPANDED: Final = 64
"""States of the beam that the first spine is from."""
NODES_MAX: Final = 100_000
"""Nodes that wait. Where there are more, the search ends with the bound it has."""
CUTS: Final = 512

FREE, PAID, OUT = 0, 1, 2


class Cut(NamedTuple):
    weight: int
    rules: Ints


class Node(NamedTuple):
    bound: int
    state: np.ndarray
    """Of each rule: free, paid for or out."""
    cuts: tuple[Cut, ...]
    paid: int
    depth: int


class Exact:
    """A search that goes on as long as somebody asks it to; `best` and `bound` hold at any time."""

    def __init__(self, task: Task, budgets: Longs | None = None) -> None:
        self.task = task
        self.budgets = np.empty(0, np.int64) if budgets is None else budgets
        self.beam = Beam(task, WIDTH, self.budgets)
        self.bound = 0
        self.finished = False
        self.nodes = 0
        self._left_out = False
        """Too many nodes waited."""

    @property
    def best(self) -> Spine | None:
        return self.beam.best

    @property
    def proof(self) -> str:
        if self.best is not None and self.bound >= self.best.cost:
            return "optimal"
        return "bound" if self.bound else "heuristic"

    def steps(self) -> Iterator[None]:
        """Each step takes some ten milliseconds at most, or as long as the additive costs of the whole task take."""
        task = self.task
        self._offer(plan(task, task.cost, np.ones(task.rules, np.bool_)))
        yield
        state = np.zeros(task.rules, np.int8)
        if self.budgets.size:
            bounded = np.append(self.budgets, np.full(int(task.group.max()) + 1, -1))[task.group]
            state[(bounded >= 0) & (task.cost > bounded)] = OUT
        root = yield from self._judged(Node(0, state, (), 0, 0))
        if self._open(root):
            for _ in self.beam.steps():
                yield
                if self.beam.expanded >= EXPANDED or not self._open(root):
                    break
        yield from self._branch(root)
        self.finished = True
        if self.best is not None and not self._left_out:
            self.bound = self.best.cost

    def _open(self, node: Node | None) -> bool:
        """Whether anything better may be below it."""
        return node is not None and (self.best is None or node.bound < self.best.cost)

    def _branch(self, root: Node | None) -> Iterator[None]:
        waiting: list[tuple[int, int, int, Node]] = []
        number = 0
        if root is not None and self._open(root):
            heappush(waiting, (root.bound, 0, 0, root))
        judged = root
        while waiting:
            self.bound = max(self.bound, waiting[0][0])
            node = heappop(waiting)[-1]
            if not self._open(node):
                return
            if node is not judged:
                self.nodes += 1
                judged = yield from self._judged(node)
                if judged is None or not self._open(judged):
                    continue
                if waiting and judged.bound > waiting[0][0]:
                    heappush(waiting, (judged.bound, -judged.depth, number, judged._replace(depth=judged.depth)))
                    number += 1
                    continue
            for child in self._children(judged):
                if self._open(child):
                    number += 1
                    heappush(waiting, (child.bound, -child.depth, number, child))
            if len(waiting) > NODES_MAX:
                self._left_out = True
                return
