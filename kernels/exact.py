"""The least a spine costs, proven: branch and bound, the node with the lowest bound first.

A node has rules that are paid for and rules that are out. Its bound is what was paid and what cuts say of the rest; cuts that none
of the newly paid rules cross are inherited. It branches on its smallest cut: the first rule in; the first out and the second in;
and so on. A cut of one rule is no choice. A rule that would lift the bound to the cost of the best spine there is goes out.
Stopped at any time, it has the best spine so far and a bound that no spine is below.
"""

from collections.abc import Generator, Iterator
from heapq import heappop, heappush
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import lmcut
from kernels.beam import Beam, Spine, plan
from kernels.horn import Ints, Longs, Task

WIDTH: Final = 4
EXPANDED: Final = 16
"""States of the beam that the first spine is from."""
NODES_MAX, NODE_BYTES_MAX = 100_000, 2**28
"""Of the nodes that wait. Where there are more, the search ends with the bound it has."""
CUTS_OF_STEP: Final = 512

FREE, PAID, OUT = 0, 1, 2


class Cuts(NamedTuple):
    weight: Longs
    start: Longs
    rules: Ints

    @property
    def total(self) -> int:
        return int(self.weight.sum())

    @property
    def size(self) -> Longs:
        return np.diff(self.start)


NONE = Cuts(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int32))


class Node(NamedTuple):
    bound: int
    state: NDArray[np.int8]
    """Of each rule: free, paid for or out."""
    paid: int
    depth: int
    cuts: Cuts
    judged: bool = False
    """Whether the cuts are its own, not those of the node above."""


class Search:
    """A search that goes on as long as somebody asks it to; `best` and `bound` hold at any time."""

    def __init__(self, task: Task, budgets: Longs | None = None) -> None:
        self.task = task
        self.beam = Beam(task, WIDTH, budgets)
        self.bound = 0
        self.finished = False
        """There is nothing more to look at: `best` is the least, or nothing fits the budgets, or something was left out."""
        self.left_out = False
        self.nodes = 0
        self._root: Node | None = None

    @property
    def best(self) -> Spine | None:
        return self.beam.best

    @property
    def proof(self) -> str:
        if self.best is not None and self.bound >= self.best.cost:
            return "optimal"
        return "bound" if self.bound else "heuristic"

    def exact(self) -> Iterator[None]:
        """To the end. Each step takes some ten milliseconds at most, or as long as the additive costs of the whole task take."""
        yield from self._floor()
        if self._open(self._root):
            yield from self._beam(EXPANDED)
            yield from self._branch(self._root)
        self._end()

    def wide(self, width: int) -> Iterator[None]:
        """A beam of this width, held against the bound of the start."""
        yield from self._floor()
        if self._open(self._root):
            best, self.beam = self.beam.best, Beam(self.task, width, self.beam.budgets)
            self.beam.best = best
            yield from self._beam()
            self.left_out = self._open(self._root) and not self.beam.complete
        self._end()

    def _end(self) -> None:
        self.finished = True
        if self.best is not None and not self.left_out:
            self.bound = self.best.cost

    def _beam(self, most: int | None = None) -> Iterator[None]:
        for _ in self.beam.steps():
            yield
            if not self._open(self._root) or self.beam.expanded == most:
                return

    def _floor(self) -> Iterator[None]:
        """The first spine, and the bound of the start."""
        task, budgets = self.task, self.beam.budgets
        known = Cuts(*lmcut.landmarks(task)[:3])
        self.bound = known.total
        self.beam.offer(plan(task, task.cost, np.ones(task.rules, np.bool_)))
        yield
        state = np.zeros(task.rules, np.int8)
        if budgets.size:
            most = np.append(budgets, np.full(int(task.group.max()) + 1, -1))[task.group]
            state[(most >= 0) & (task.cost > most)] = OUT
        self._root = yield from self._judge(Node(0, state, 0, 0, known))
        if self._open(self._root):
            first = self._root
            self._root = yield from self._judge(Node(0, state, 0, 0, NONE))
            if self._root is not None and self._root.bound < first.bound:
                self._root = first

    def _raise(self, bound: int) -> None:
        """What rules that went out say is said of better spines only, so it is never more than the best one costs."""
        self.bound = max(self.bound, bound if self.best is None else min(bound, self.best.cost))

    def _open(self, node: Node | None) -> bool:
        """Whether anything better may be below it."""
        return node is not None and (self.best is None or node.bound < self.best.cost)

    def _branch(self, root: Node | None) -> Iterator[None]:
        number = 0
        waiting = [(0, 0, 0, root)]
        while waiting:
            node = heappop(waiting)[-1]
            if not self._open(node):
                return
            self._raise(node.bound)
            if not node.judged:
                node = yield from self._judge(node)
                children = [node] if self._open(node) else []
            else:
                children = [child for child in self._children(node) if self._open(child)]
            for child in children:
                number += 1
                heappush(waiting, (child.bound, -child.depth, number, child))
            if len(waiting) > min(NODES_MAX, 1_000 + NODE_BYTES_MAX // self.task.rules):
                self.left_out = True
                return

    def _judge(self, node: Node) -> Generator[None, None, Node | None]:
        """With a bound of its own, and with all that follows from it; None where no better spine is below."""
        task = self.task
        self.nodes += 1
        state, paid = node.state.copy(), node.paid
        cuts = inherited(node.cuts, state)
        while cuts is not None:
            left = np.where(state == PAID, 0, task.cost)
            np.subtract.at(left, cuts.rules, np.repeat(cuts.weight, cuts.size))
            status = lmcut.MORE
            while status == lmcut.MORE:
                *found, status = lmcut.cuts(task, state != OUT, left, CUTS_OF_STEP)
                cuts = joined(cuts, Cuts(*found))
                if not node.depth:
                    self._raise(paid + cuts.total)
                yield
            node = Node(max(node.bound, paid + cuts.total), state, paid, node.depth, cuts, judged=True)
            if status == lmcut.DEAD:
                return None
            if not self._open(node):
                return node
            if self.best is not None:
                state[(state == FREE) & (paid + cuts.total + left >= self.best.cost)] = OUT
            cuts = inherited(cuts, state)
            if cuts is None:
                return None
            forced = np.unique(cuts.rules[cuts.start[:-1][cuts.size == 1]])
            if not forced.size:
                self.beam.offer(plan(task, np.where(state == PAID, 0, task.cost), state != OUT))
                return node._replace(cuts=cuts)
            if not self._pay(state, forced):
                return None
            paid += int(task.cost[forced].sum())
            cuts = inherited(cuts, state)
        return None

    def _pay(self, state: NDArray[np.int8], rules: Ints) -> bool:
        """False where some group cannot."""
        state[rules] = PAID
        return self.beam.affordable(np.flatnonzero(state == PAID))

    def _children(self, node: Node) -> Iterator[Node]:
        task, cuts = self.task, node.cuts
        if not cuts.weight.size:
            return
        smallest = int(np.lexsort((-cuts.weight, cuts.size))[0])
        choice = cuts.rules[cuts.start[smallest] : cuts.start[smallest + 1]]
        choice = choice[np.lexsort((choice, task.cost[choice]))]
        of_cut = np.repeat(np.arange(cuts.weight.size), cuts.size)
        for place, rule in enumerate(choice):
            state = node.state.copy()
            state[choice[:place]] = OUT
            if self._pay(state, choice[place : place + 1]):
                paid = node.paid + int(task.cost[rule])
                crossed = cuts.weight[np.unique(of_cut[cuts.rules == rule])]
                bound = max(node.bound, paid + cuts.total - int(crossed.sum()))
                yield Node(bound, state, paid, node.depth + 1, cuts)


def inherited(cuts: Cuts, state: NDArray[np.int8]) -> Cuts | None:
    """Those that no rule that was paid for crosses, without the rules that are out; None if one has no rule left."""
    if not cuts.weight.size:
        return cuts
    of = state[cuts.rules]
    whole = ~np.logical_or.reduceat(of == PAID, cuts.start[:-1])
    there = (of != OUT) & np.repeat(whole, cuts.size)
    size = np.add.reduceat(there.astype(np.int64), cuts.start[:-1])[whole]
    if np.any(size == 0):
        return None
    return Cuts(cuts.weight[whole], np.append(0, np.cumsum(size)), cuts.rules[there])


def joined(one: Cuts, other: Cuts) -> Cuts:
    start = np.concatenate([one.start, one.start[-1] + other.start[1:]])
    return Cuts(np.concatenate([one.weight, other.weight]), start, np.concatenate([one.rules, other.rules]))
