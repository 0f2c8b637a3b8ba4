"""The rules of a program in columns, with atoms by number: a million of them take some bytes each, and a `Rule` is made when
somebody looks at it.

Numbers are given once and never change: an atom keeps its number and a rule its place as long as the program stays. Must never
judge: whatever a log says is taken.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any

import msgspec

from core.spine import Rule
from core.trajectory.events import StoredColumns
from core.trajectory.packs import Opened


class TableDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table as snapshots keep it: texts one a line, numbers as bytes."""

    atoms: str
    told: int
    names: str
    counts: bytes
    premises: bytes
    conclusions: bytes
    costs: bytes
    groups: str
    group_of: bytes


class Table(Mapping[str, Rule]):
    """Rules by name, in the order of their coming, which says what is derived first."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.atoms: list[str] = []
        self.number: dict[str, int] = {}
        self.told = 0
        """Atoms that packs named. Where these are all, packs may go on by number."""
        self.names: list[str] = []
        self.place: dict[str, int] = {}
        self.starts = array("q", [0])
        """The premises of the rule at a place lie from its entry to the next."""
        self.premises = array("i")
        self.conclusions = array("i")
        self.costs = array("q")
        self.groups: list[str] = []
        self.group_number: dict[str, int] = {}
        self.group_of = array("i")
        for rule in rules:
            self.take(rule)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    # --- as a mapping -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.place

    def __getitem__(self, name: str) -> Rule:
        return self.at(self.place[name])

    @property
    def literals(self) -> int:
        """Premises and conclusions of all rules."""
        return len(self.names) + len(self.premises)

    def at(self, place: int) -> Rule:
        begin, end = self.starts[place], self.starts[place + 1]
        atoms = self.atoms
        premises = tuple([atoms[number] for number in self.premises[begin:end]])
        group = self.groups[self.group_of[place]]
        return Rule(self.names[place], premises, atoms[self.conclusions[place]], self.costs[place], group)

    def from_place(self, begin: int) -> Iterator[Rule]:
        return map(self.at, range(begin, len(self.names)))

    # --- changes ----------------------------------------------------------------------------------------------------

    def take(self, rule: Rule) -> None:
        """One rule; another one of its name it takes the place of."""
        there = self.place.get(rule.rule_id)
        if there is not None:
            self.__init__([rule if place == there else self.at(place) for place in range(len(self))])  # type: ignore[misc]
            return
        self._name([rule.rule_id])
        self.premises.extend(map(self._atom, rule.premises))
        self.starts.append(len(self.premises))
        self.conclusions.append(self._atom(rule.conclusion))
        self.costs.append(rule.cost_micro)
        self.group_of.append(self._group(rule.group))

    def take_pack(self, pack: Opened) -> None:
        """As if each of its rules were taken, in a fraction of the time."""
        self.number.update(zip(pack.atoms, range(len(self.atoms), len(self.atoms) + len(pack.atoms)), strict=True))
        self.atoms.extend(pack.atoms)
        self.told += len(pack.atoms)
        self._name(pack.rule_ids)
        self.starts.extend(islice(accumulate(pack.counts, initial=self.starts[-1]), 1, None))
        self.premises.extend(pack.premises)
        self.conclusions.extend(pack.conclusions)
        self.costs.extend(pack.costs_micro)
        groups = [self._group(group) for group in pack.groups]
        self.group_of.extend(array("i", map(groups.__getitem__, pack.group_of)))

    def take_columns(self, told: StoredColumns, atoms: Sequence[str]) -> None:
        """The same of columns, whose numbers stand for these atoms."""
        self._name(told.rule_ids)
        self.starts.extend(islice(accumulate(told.counts, initial=self.starts[-1]), 1, None))
        self.premises.extend(map(self._atom, map(atoms.__getitem__, told.premises)))
        self.conclusions.extend(map(self._atom, map(atoms.__getitem__, told.conclusions)))
        self.costs.extend(told.costs_micro)
        groups = [self._group(group) for group in told.groups]
        self.group_of.extend(map(groups.__getitem__, told.group_of))

    def set_cost(self, name: str, cost_micro: int) -> None:
        self.costs[self.place[name]] = cost_micro

    def _name(self, names: Sequence[str]) -> None:
        self.place.update(zip(names, range(len(self.names), len(self.names) + len(names)), strict=True))
        self.names.extend(names)

    def _atom(self, symbol: str) -> int:
        number = self.number.setdefault(symbol, len(self.atoms))
        if number == len(self.atoms):
            self.atoms.append(symbol)
        return number

    def _group(self, group: str) -> int:
        number = self.group_number.setdefault(group, len(self.groups))
        if number == len(self.groups):
            self.groups.append(group)
        return number

    # --- dumps ------------------------------------------------------------------------------------------------------

    def dump(self) -> TableDump:
        counts = bytes([end - begin for begin, end in zip(self.starts, self.starts[1:], strict=False)])
        return TableDump(
            "\n".join(self.atoms),
            self.told,
            "\n".join(self.names),
            counts,
            _bytes(self.premises),
            _bytes(self.conclusions),
            _bytes(self.costs),
            "\n".join(self.groups),
            _bytes(self.group_of),
        )


def loaded(dumped: TableDump) -> Table:
    """Raises ValueError where that is none."""
    table = Table()
    table.atoms, table.told = _texts(dumped.atoms), dumped.told
    table.names, table.groups = _texts(dumped.names), _texts(dumped.groups)
    table.starts = array("q", accumulate(dumped.counts, initial=0))
    table.premises, table.conclusions = _numbers("i", dumped.premises), _numbers("i", dumped.conclusions)
    table.costs, table.group_of = _numbers("q", dumped.costs), _numbers("i", dumped.group_of)
    table.number = {symbol: number for number, symbol in enumerate(table.atoms)}
    table.place = {name: place for place, name in enumerate(table.names)}
    table.group_number = {group: number for number, group in enumerate(table.groups)}
    columns: list[Any] = [dumped.counts, table.conclusions, table.costs, table.group_of, table.place]
    if any(len(column) != len(table.names) for column in columns) or table.starts[-1] != len(table.premises):
        raise ValueError("columns of different lengths")
    for numbers, most in ((table.premises, table.atoms), (table.conclusions, table.atoms), (table.group_of, table.groups)):
        if numbers and not (min(numbers) >= 0 and max(numbers) < len(most)):
            raise ValueError("a number that stands for nothing")
    return table


def _texts(text: str) -> list[str]:
    return text.split("\n") if text else []


def _bytes(numbers: "array[int]") -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _numbers(kind: str, data: bytes) -> "array[int]":
    made = array(kind)
    made.frombytes(data)
    if sys.byteorder == "big":
        made.byteswap()
    return made
