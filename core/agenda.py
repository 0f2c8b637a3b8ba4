"""Three small ordered things engines stand on: an agenda, a draft of one, and a steady value.

They know nothing of what they hold. Looking never changes them: `decide` and `wanted` may look as often as they like.
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

import msgspec

from core.fields import Frozen

Key = TypeVar("Key", bound=Hashable)
Entry = tuple[int, int, Key]
"""A time (or another rank), a number that keeps equal ranks in the order they came, and what it stands for."""

STALE_MAX = 64
"""Dead entries an agenda may carry beyond as many as there are live ones, before it is tidied."""


class Agenda(Generic[Key]):
    """Keys by rank: put and drop in O(log n), the first in O(1)."""

    __slots__ = ("count", "entries", "heap")

    def __init__(self) -> None:
        self.entries: dict[Key, Entry[Key]] = {}
        self.heap: list[Entry[Key]] = []
        self.count = 0

    @classmethod
    def of(cls, entries: Iterable[Entry[Key]], count: int) -> "Agenda[Key]":
        """The agenda of these live entries, to which keys were put `count` times."""
        made = cls()
        made.entries = {entry[2]: entry for entry in entries}
        made.heap = list(made.entries.values())
        heapify(made.heap)
        made.count = count
        return made

    def in_order_put(self) -> list[Entry[Key]]:
        return sorted(self.entries.values(), key=_number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Agenda) and self.entries == other.entries and self.count == other.count

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: Key) -> bool:
        return key in self.entries

    def rank(self, key: Key) -> int | None:
        entry = self.entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: Key, rank: int) -> None:
        """Adds the key, or moves it; among equal ranks it comes last."""
        self.count += 1
        entry = (rank, self.count, key)
        self.entries[key] = entry
        heappush(self.heap, entry)
        self._tidy()

    def drop(self, key: Key) -> None:
        if self.entries.pop(key, None) is not None:
            self._tidy()

    def first(self) -> Entry[Key] | None:
        return self.heap[0] if self.heap else None

    def walk(self) -> Iterator[Entry[Key]]:
        """All entries in order, lazily: the first k cost O(k log k) however long the agenda is."""
        heap = self.heap
        frontier = [(entry, 0) for entry in heap[:1]]
        while frontier:
            entry, place = heappop(frontier)
            for child in (2 * place + 1, 2 * place + 2):
                if child < len(heap):
                    heappush(frontier, (heap[child], child))
            if self._is_live(entry):
                yield entry

    def due(self, until: int, limit: int) -> list[Key]:
        """At most `limit` keys whose rank is not beyond `until`, in order."""
        found: list[Key] = []
        for rank, _, key in self.walk():
            if rank > until or len(found) == limit:
                break
            found.append(key)
        return found

    def _is_live(self, entry: Entry[Key]) -> bool:
        current = self.entries.get(entry[2])
        return current is not None and current[1] == entry[1]

    def _tidy(self) -> None:
        """Keeps the first entry live, so that looking at it needs no change, and the dead ones few."""
        heap = self.heap
        while heap and not self._is_live(heap[0]):
            heappop(heap)
        if len(heap) > 2 * len(self.entries) + STALE_MAX:
            self.heap = list(self.entries.values())
            heapify(self.heap)


class AgendaDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """An agenda of names in a snapshot."""

    count: int
    entries: list[tuple[int, int, str]]


def dump_agenda(agenda: Agenda[str]) -> AgendaDump:
    return AgendaDump(agenda.count, agenda.in_order_put())


def load_agenda(dumped: AgendaDump) -> Agenda[str]:
    return Agenda.of(dumped.entries, dumped.count)


class Draft(Agenda[Key]):
    """An agenda to try things on: it begins as another one, which stays as it is. Starting one costs nothing."""

    __slots__ = ("base", "changed", "peeked", "rest")

    def __init__(self, base: Agenda[Key]) -> None:
        super().__init__()
        self.base = base
        self.count = base.count
        self.changed: set[Key] = set()
        self.rest = base.walk()
        self.peeked = next(self.rest, None)

    def __len__(self) -> int:
        raise TypeError("a draft does not know its length")

    def __contains__(self, key: Key) -> bool:
        return self.rank(key) is not None

    def rank(self, key: Key) -> int | None:
        return super().rank(key) if key in self.changed else self.base.rank(key)

    def put(self, key: Key, rank: int) -> None:
        self.changed.add(key)
        super().put(key, rank)

    def drop(self, key: Key) -> None:
        self.changed.add(key)
        super().drop(key)

    def first(self) -> Entry[Key] | None:
        while self.peeked is not None and self.peeked[2] in self.changed:
            self.peeked = next(self.rest, None)
        mine = super().first()
        if mine is None or (self.peeked is not None and self.peeked[:2] < mine[:2]):
            return self.peeked
        return mine


class Steady:
    """Since when a value has stayed above a threshold, for any threshold: `apply` notes values and knows no settings.

    Kept is the least value since each moment, as steps. There are never more steps than different values.
    """

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steady) and self.steps == other.steps

    __hash__ = None  # type: ignore[assignment]

    def note(self, value: float, now: int) -> None:
        steps, since = self.steps, now
        while steps and steps[-1][0] >= value:
            since = steps.pop()[1]
        steps.append((value, since))

    def since_above(self, threshold: float) -> int | None:
        place = bisect_right(self.steps, threshold, key=_value)
        return self.steps[place][1] if place < len(self.steps) else None


def _number(entry: Entry[Any]) -> int:
    return entry[1]


def _value(step: tuple[float, int]) -> float:
    return step[0]
