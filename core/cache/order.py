"""Orders over very many keys, a few bytes a key: by name, by their last change, and by when they end.

They hold the keys that others hold too, and never the truth: each is worked out again from the documents.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import compress

BLOCK_KEYS = 1_024
SLACK = 64
"""Dead entries an order may carry beyond as many as there are live ones, before it is tidied."""


class Names:
    """Keys by name."""

    __slots__ = ("blocks", "firsts")

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """`keys` come in order."""
        every = list(keys)
        self.blocks = [every[at : at + BLOCK_KEYS] for at in range(0, len(every), BLOCK_KEYS)] or [[]]
        self.firsts = [block[0] if block else "" for block in self.blocks]

    def _place(self, key: str) -> int:
        return max(0, bisect_right(self.firsts, key) - 1)

    def add(self, key: str) -> None:
        place = self._place(key)
        block = self.blocks[place]
        insort(block, key)
        self.firsts[place] = block[0]
        if len(block) > 2 * BLOCK_KEYS:
            self.blocks[place : place + 1] = [block[:BLOCK_KEYS], block[BLOCK_KEYS:]]
            self.firsts[place : place + 1] = [block[0], block[BLOCK_KEYS]]

    def drop(self, key: str) -> None:
        place = self._place(key)
        block = self.blocks[place]
        del block[bisect_left(block, key)]
        if block:
            self.firsts[place] = block[0]
        elif len(self.blocks) > 1:
            del self.blocks[place], self.firsts[place]

    def after(self, key: str, *, included: bool = False) -> Iterator[str]:
        """In order, from this key on."""
        place = self._place(key)
        block = self.blocks[place]
        start = bisect_left(block, key) if included else bisect_right(block, key)
        yield from block[start:]
        for block in self.blocks[place + 1 :]:
            yield from block


class Line:
    """Keys by a number that only rises, each at its newest one."""

    __slots__ = ("alive", "dead", "keys", "numbers")

    def __init__(self, alive: Callable[[Sequence[str], Sequence[int]], list[bool]]) -> None:
        """`alive` says of keys whether each still stands at its number."""
        self.alive = alive
        self.numbers = array("q")
        self.keys: list[str] = []
        self.dead = 0

    def __len__(self) -> int:
        return len(self.keys) - self.dead

    def fill(self, numbers: list[int], keys: list[str]) -> None:
        """An empty line becomes this one."""
        self.numbers, self.keys, self.dead = array("q", numbers), keys, 0

    def put(self, number: int, key: str) -> None:
        self.numbers.append(number)
        self.keys.append(key)

    def left(self) -> None:
        """One entry has died."""
        self.dead += 1
        if 2 * self.dead > len(self.keys) + SLACK:
            alive = self.alive(self.keys, self.numbers)
            self.numbers = array("q", compress(self.numbers, alive))
            self.keys = list(compress(self.keys, alive))
            self.dead = 0

    def after(self, number: int) -> Iterator[tuple[int, str]]:
        for place in range(bisect_right(self.numbers, number), len(self.keys)):
            key, at = self.keys[place], self.numbers[place]
            if self.alive((key,), (at,))[0]:
                yield at, key


class Ends:
    """Keys by the time at which they end."""

    __slots__ = ("alive", "count", "heap")

    def __init__(self, alive: Callable[[str, int], bool]) -> None:
        self.alive = alive
        self.heap: list[tuple[int, str]] = []
        self.count = 0

    def put(self, when: int, key: str) -> None:
        heappush(self.heap, (when, key))
        self.count += 1

    def left(self) -> None:
        """One entry has died. The first is always a live one, so that looking at it needs no change."""
        self.count -= 1
        while self.heap and not self.alive(self.heap[0][1], self.heap[0][0]):
            heappop(self.heap)
        if len(self.heap) > 2 * self.count + SLACK:
            self.heap = sorted({entry for entry in self.heap if self.alive(entry[1], entry[0])})
            heapify(self.heap)

    def first(self) -> int | None:
        return self.heap[0][0] if self.heap else None

    def due(self, until: int, limit: int) -> list[str]:
        """At most `limit` keys that end no later than `until`, in order. Looks only."""
        found: list[str] = []
        frontier = [(self.heap[0], 0)] if self.heap else []
        while frontier and len(found) < limit:
            (when, key), place = heappop(frontier)
            if when > until:
                break
            for child in (2 * place + 1, 2 * place + 2):
                if child < len(self.heap):
                    heappush(frontier, (self.heap[child], child))
            if self.alive(key, when) and key not in found:
                found.append(key)
        return found
