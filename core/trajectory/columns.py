"""The rules of a large program at one moment, as arrays: what a question of a million of them is thought out on.

A list of rules to whoever looks at one, and columns to whoever goes through all. NumPy is imported where it is needed, so that a
daemon that is asked about small programs never has it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, overload

from core.spine import Rule
from core.trajectory.closure import Derived
from core.trajectory.table import Table

ROUNDS_MAX = 2_000
"""Rounds in which atoms are gone back from together; a program deeper than that is followed rule by rule from there on."""


class Names:
    """Atoms by number: those of a table as it was, and after them those that only a question names."""

    def __init__(self, atoms: Sequence[str], number: Mapping[str, int], size: int) -> None:
        self._atoms = atoms
        self._number = number
        self._size = size
        self._more: list[str] = []
        self._more_number: dict[str, int] = {}

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        return cls(names, {name: number for number, name in enumerate(names)}, len(names))

    def __len__(self) -> int:
        return self._size + len(self._more)

    def __getitem__(self, number: int) -> str:
        return self._atoms[number] if number < self._size else self._more[number - self._size]

    def find(self, name: str) -> int | None:
        number = self._number.get(name)
        return number if number is not None and number < self._size else self._more_number.get(name)

    def and_of(self, names: Iterable[str]) -> tuple["Names", list[int]]:
        """These and others that have no number yet, and the numbers of those."""
        found = Names(self._atoms, self._number, self._size)
        found._more, found._more_number = list(self._more), dict(self._more_number)
        numbers = []
        for name in names:
            number = found.find(name)
            if number is None:
                number = found._more_number[name] = len(found)
                found._more.append(name)
            numbers.append(number)
        return found, numbers


class Columns(Sequence[Rule]):
    """Rule r needs body[start[r] : start[r + 1]]. Texts are shared with the table, which only ever adds to them; arrays are not."""

    def __init__(
        self, names: Names, ids: Sequence[str], groups: Sequence[str], place: Any, start: Any, body: Any, head: Any, rest: "Rest"
    ) -> None:
        self.names = names
        self.groups = groups
        self.place = place
        """Of each rule, where it stands in the program."""
        self.start = start
        self.body = body
        self.head = head
        self.cost, self.group = rest
        self._ids = ids

    @classmethod
    def of(cls, table: Table) -> "Columns":
        import numpy as np

        arrays = (table.starts, table.premises, table.conclusions, table.costs, table.group_of)
        start, body, head, cost, group = (np.array(np.frombuffer(each, f"=i{each.itemsize}")) for each in arrays)
        names = Names(table.atoms, table.number, len(table.atoms))
        return cls(names, table.names, list(table.groups), np.arange(head.size), start, body, head, Rest(cost, group))

    def __len__(self) -> int:
        return int(self.head.size)

    @overload
    def __getitem__(self, at: int) -> Rule: ...
    @overload
    def __getitem__(self, at: slice) -> list[Rule]: ...
    def __getitem__(self, at: int | slice) -> Rule | list[Rule]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        names = self.names
        premises = tuple([names[atom] for atom in self.body[self.start[at] : self.start[at + 1]].tolist()])
        group = self.groups[int(self.group[at])]
        return Rule(self.rule_id(at), premises, names[int(self.head[at])], int(self.cost[at]), group)

    def __iter__(self) -> Iterator[Rule]:
        return map(self.__getitem__, range(len(self)))

    @property
    def literals(self) -> int:
        return int(self.head.size + self.body.size)

    def rule_id(self, at: int) -> str:
        return self._ids[int(self.place[at])]

    def rule_ids(self) -> list[str]:
        return [self._ids[place] for place in self.place.tolist()]

    def used_groups(self) -> set[str]:
        import numpy as np

        return {self.groups[group] for group in np.unique(self.group).tolist()}

    def only(self, at: Any) -> "Columns":
        """Those rules alone, in that order."""
        import numpy as np

        counts = np.diff(self.start)[at]
        start = np.append(0, np.cumsum(counts))
        body = self.body[spans(self.start[at], counts)]
        rest = Rest(self.cost[at], self.group[at])
        return Columns(self.names, self._ids, self.groups, self.place[at], start, body, self.head[at], rest)

    def by_name(self) -> "Columns":
        import numpy as np

        ids = self.rule_ids()
        return self.only(np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64))

    def concluding(self, names: Iterable[str]) -> Any:
        """Places of the rules that conclude any of these."""
        import numpy as np

        wanted = np.zeros(len(self.names), np.bool_)
        wanted[[number for name in names if (number := self.names.find(name)) is not None]] = True
        return np.flatnonzero(wanted[self.head])

    def needed(self, name: str) -> bool:
        """Whether a rule has this as a premise."""
        number = self.names.find(name)
        return number is not None and bool((self.body == number).any())


class Rest(NamedTuple):
    cost: Any
    group: Any


def spans(starts: Any, counts: Any) -> Any:
    """All places from each start on, as many as are counted."""
    import numpy as np

    ends = np.cumsum(counts)
    total = int(ends[-1]) if ends.size else 0
    return np.arange(total) + np.repeat(starts - (ends - counts), counts)


class Closed(Mapping[str, Derived]):
    """How each atom came to hold, in the order in which it did; an entry is made when somebody looks at it."""

    def __init__(self, names: Names, depth: Any, via: Any, order: Any) -> None:
        self.names = names
        self.depth = depth
        """-1 where it does not hold."""
        self.via = via
        self.order = order

    def __len__(self) -> int:
        return int(self.order.size)

    def __iter__(self) -> Iterator[str]:
        return map(self.names.__getitem__, self.order.tolist())

    def __contains__(self, name: object) -> bool:
        number = self.names.find(name) if isinstance(name, str) else None
        return number is not None and bool(self.depth[number] >= 0)

    def __getitem__(self, name: str) -> Derived:
        number = self.names.find(name)
        if number is None or self.depth[number] < 0:
            raise KeyError(name)
        return self._at(number)

    def _at(self, number: int) -> Derived:
        depth, via = int(self.depth[number]), int(self.via[number])
        return Derived(depth, via if via >= 0 else None)

    def span(self, begin: int, end: int) -> list[tuple[str, Derived]]:
        return [(self.names[number], self._at(number)) for number in self.order[begin:end].tolist()]

    def holding(self, atoms: int) -> Any:
        """Of the first so many atoms, which hold."""
        return self.depth[:atoms] >= 0


class Costs(Mapping[str, int]):
    """What each atom that holds costs if nothing is shared."""

    def __init__(self, names: Names, value: Any) -> None:
        self._names = names
        self._value = value

    def __len__(self) -> int:
        return int((self._value >= 0).sum())

    def __iter__(self) -> Iterator[str]:
        return map(self._names.__getitem__, (self._value >= 0).nonzero()[0].tolist())

    def __getitem__(self, name: str) -> int:
        number = self._names.find(name)
        if number is None or self._value[number] < 0:
            raise KeyError(name)
        return int(self._value[number])


# --- what leads to a goal -----------------------------------------------------------------------------------------------------


def usual_goals(rules: Columns, derived: Closed) -> tuple[str, ...]:
    """As of a list of rules: what is derived and nobody's premise; failing that, all that is derived."""
    import numpy as np

    made = derived.via >= 0
    last = made.copy()
    last[rules.body] = False
    names = derived.names
    return tuple(sorted(names[number] for number in np.flatnonzero(last if last.any() else made).tolist()))


def relevant(rules: Columns, derived: Closed, initial: Sequence[str], goals: Iterable[str]) -> Columns:
    """Rules that can be applied and lead towards a goal, in the program's order."""
    import numpy as np

    atoms = len(derived.names)
    seen = np.zeros(atoms, np.bool_)
    seen[[number for name in initial if (number := derived.names.find(name)) is not None]] = True
    held = derived.depth >= 0
    counts = np.diff(rules.start)
    lacking = np.append(0, np.cumsum(~held[rules.body]))
    may = lacking[rules.start[1:]] == lacking[rules.start[:-1]]
    places = np.flatnonzero(may)
    places = places[np.argsort(rules.head[places], kind="stable")]
    made_start = np.append(0, np.cumsum(np.bincount(rules.head[places], minlength=atoms)))
    kept = np.zeros(len(rules), np.bool_)
    wanted = [number for name in goals if (number := derived.names.find(name)) is not None]
    front = np.array([number for number in dict.fromkeys(wanted) if held[number] and not seen[number]], np.int64)
    seen[front] = True
    rounds = 0
    while front.size and rounds < ROUNDS_MAX:
        rounds += 1
        found = places[spans(made_start[front], made_start[front + 1] - made_start[front])]
        kept[found] = True
        premises = rules.body[spans(rules.start[found], counts[found])]
        front = np.unique(premises[~seen[premises]]).astype(np.int64)
        seen[front] = True
    if front.size:
        _followed(rules, front.tolist(), (made_start, places), seen, kept)
    return rules.only(np.flatnonzero(kept))


def _followed(rules: Columns, agenda: list[int], made: tuple[Any, Any], seen: Any, kept: Any) -> None:
    """The same one by one: for programs in which each atom leads to few others, and very deep ones."""
    starts, places = made[0].tolist(), made[1].tolist()
    begin, body, known = rules.start.tolist(), rules.body.tolist(), bytearray(seen.tobytes())
    found: list[int] = []
    while agenda:
        atom = agenda.pop()
        for rule in places[starts[atom] : starts[atom + 1]]:
            found.append(rule)
            for premise in body[begin[rule] : begin[rule + 1]]:
                if not known[premise]:
                    known[premise] = 1
                    agenda.append(premise)
    kept[found] = True


# --- numbers for a search -------------------------------------------------------------------------------------------------------


class Numbered(NamedTuple):
    """Rules with their atoms, and groups, in new numbers: those that hold first, then as they come in the rules."""

    atoms: int
    known: int
    body: Any
    head: Any
    goals: Any
    group: Any
    groups: list[str]


def numbered(rules: Columns, initial: Sequence[str], goals: Sequence[str]) -> Numbered:
    names, own = rules.names.and_of(chain(initial, goals))
    import numpy as np

    first, wanted = np.array(own[: len(initial)], np.int64), np.array(own[len(initial) :], np.int64)
    order = _as_they_come(len(names), (first, rules.body, rules.head, wanted))
    number = np.full(len(names), -1, np.int32)
    number[order] = np.arange(order.size)
    groups = _as_they_come(len(rules.groups), (rules.group,))
    place = np.full(len(rules.groups), -1, np.int32)
    place[groups] = np.arange(groups.size)
    listed = [rules.groups[group] for group in groups.tolist()]
    known = int(np.unique(first).size)
    return Numbered(order.size, known, number[rules.body], number[rules.head], number[wanted], place[rules.group], listed)


def _as_they_come(most: int, told: Iterable[Any]) -> Any:
    """Each number once, in the order in which it is met first."""
    import numpy as np

    flat = np.concatenate([np.asarray(each, np.int64) for each in told])
    met = np.full(most, flat.size, np.int64)
    met[flat[::-1]] = np.arange(flat.size)[::-1]
    return np.argsort(met, kind="stable")[: int((met < flat.size).sum())]
