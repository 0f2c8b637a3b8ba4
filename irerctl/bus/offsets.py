"""Which records of a partition may be committed: all up to the first that is not settled, and none beyond it."""

from collections import deque
from threading import Lock
from typing import NamedTuple

Partition = tuple[str, int]


class Taken(NamedTuple):
    """One record as it was handed over."""

    partition: Partition
    offset: int
    term: int


class _Row:
    __slots__ = ("open", "settled", "term")

    def __init__(self, term: int) -> None:
        self.term = term
        self.open: deque[int] = deque()
        self.settled: set[int] = set()


class Offsets:
    """Records are taken in the poller's thread and settled in another."""

    def __init__(self) -> None:
        self._rows: dict[Partition, _Row] = {}
        self._lock = Lock()
        self._term = 0
        self._next: dict[Partition, int] = {}

    def assign(self, partitions: list[Partition]) -> None:
        """These are ours from here on. What was taken from them before is no longer ours to settle."""
        with self._lock:
            self._term += 1
            for each in partitions:
                self._rows[each] = _Row(self._term)
                self._next.pop(each, None)

    def revoke(self, partitions: list[Partition]) -> None:
        with self._lock:
            for each in partitions:
                self._rows.pop(each, None)
                self._next.pop(each, None)

    def take(self, partition: Partition, offset: int) -> Taken:
        with self._lock:
            row = self._rows.setdefault(partition, _Row(self._term))
            row.open.append(offset)
            return Taken(partition, offset, row.term)

    def settle(self, taken: Taken) -> None:
        with self._lock:
            row = self._rows.get(taken.partition)
            if row is None or row.term != taken.term:
                return
            row.settled.add(taken.offset)
            while row.open and row.open[0] in row.settled:
                self._next[taken.partition] = row.open.popleft() + 1
                row.settled.discard(self._next[taken.partition] - 1)

    def due(self) -> dict[Partition, int]:
        """The next offset to read, of each partition where that moved since it was last committed."""
        with self._lock:
            return dict(self._next)

    def committed(self, done: dict[Partition, int]) -> None:
        with self._lock:
            for partition, offset in done.items():
                if self._next.get(partition) == offset:
                    del self._next[partition]
