"""What can happen to a program of facts and rules, as the log keeps it. Costs are whole micro-units: their sums are exact."""

from typing import Annotated

import msgspec
from msgspec import Meta

from core.engine import Event
from core.fields import INT_MAX, Count, Frozen, Hash, Name, privacy, words

RULES_OF_RECORD = 1_024
"""Rules in one record, as far as their bytes allow."""
PREMISES_OF_RECORD = 16_384
PREMISES_MAX = 64
COST_MICRO_MAX = 10**15
"""Of one rule."""
PACK_CHARS_MAX, PACK_GROUPS_MAX = 60_000, 256

_SIGN = "!-~\u00a1-\u2027\u202a-\ud7fb\uf900-\ufffd\U00010000-\U0003fffd"
"""Whatever is written on one line, but for spaces; by its ranges, as not every reader of a grammar knows how to leave some out."""
Symbol = Annotated[
    str,
    Meta(min_length=1, max_length=120, pattern=f"^[{_SIGN}]([ \u00a0{_SIGN}]*[{_SIGN}])?\\Z"),
    words("an atom: 1 to 120 characters on one line, with no space at either end"),
    privacy("public"),
]
CostMicro = Annotated[int, Meta(ge=0, le=INT_MAX)]
PremiseCount = Annotated[int, Meta(ge=0, le=PREMISES_MAX)]
Premises = Annotated[list[Symbol], Meta(max_length=PREMISES_MAX)]


class Fact(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fact.

    symbol: the atom
    value: whether it holds; one that does not is denied: no rule may conclude it
    """

    symbol: Symbol
    value: bool = True


class StoredRule(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule, as the log keeps it.

    rule_id: its name
    premises: atoms that must hold
    conclusion: the atom that then holds
    cost_micro: what applying it costs, in micro-units
    group: who bears it
    """

    rule_id: Name
    premises: Premises
    conclusion: Symbol
    cost_micro: CostMicro
    group: Name = "default"


class StoredColumns(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Rules, as the log keeps many: a list for each of their fields, and atoms by number, which is a fraction as long.

    rule_ids: their names
    counts: how many premises each has
    premises: of all of them, one rule's after another's, by their numbers
    conclusions: what each concludes, by its number
    costs_micro: what applying each costs, in micro-units
    groups: who bears any of them
    group_of: place of whoever bears each
    """

    rule_ids: Annotated[list[Name], Meta(max_length=RULES_OF_RECORD)]
    counts: Annotated[list[PremiseCount], Meta(max_length=RULES_OF_RECORD)]
    premises: Annotated[list[Count], Meta(max_length=PREMISES_OF_RECORD)]
    conclusions: Annotated[list[Count], Meta(max_length=RULES_OF_RECORD)]
    costs_micro: Annotated[list[CostMicro], Meta(max_length=RULES_OF_RECORD)]
    groups: Annotated[list[Name], Meta(max_length=RULES_OF_RECORD)]
    group_of: Annotated[list[Count], Meta(max_length=RULES_OF_RECORD)]


Column = Annotated[str, Meta(max_length=PACK_CHARS_MAX), privacy("public")]


class StoredPack(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Facts and rules as the log keeps very many: names one a line, whole numbers as little-endian bytes in base64.

    atoms: that no pack before named, one a line, numbered on from theirs; the first of a load is 0
    facts: numbers of atoms that hold, four bytes each; of one that does not, -1 - its number
    rule_ids: names of the rules, one a line
    counts: how many premises each has, one byte each
    premises: of all of them, one rule's after another's, by their numbers, four bytes each
    conclusions: what each concludes, by its number, four bytes each
    costs_micro: what applying each costs, in micro-units, eight bytes each
    groups: who bears any of them
    group_of: place in groups of whoever bears each, one byte each
    """

    atoms: Column = ""
    facts: Column = ""
    rule_ids: Column = ""
    counts: Column = ""
    premises: Column = ""
    conclusions: Column = ""
    costs_micro: Column = ""
    groups: Annotated[list[Name], Meta(max_length=PACK_GROUPS_MAX)] = []
    group_of: Column = ""


class FactAdded(Event, type="trajectory.fact_added"):
    """A fact was told, or told otherwise.

    symbol: the atom
    value: whether it holds
    """

    symbol: Symbol
    value: bool


class RuleAdded(StoredRule, Event, type="trajectory.rule_added"):
    """A rule was added."""


class Loaded(Event, type="trajectory.loaded"):
    """A piece of a whole program. The first one begins it anew, aside; with the last it takes the place of the one before.

    owner: who loads it
    load: which of their loads this is
    part: which part of it
    first: whether it begins
    last: whether the program is whole with it
    facts: of this piece
    rules: of this piece, as logs kept them before there were columns
    goals: of this piece
    atoms: that rules of this piece and of those after it name, numbered on from those before; the first of a load is 0
    columns: rules of this piece
    pack: facts and rules of this piece, where these are very many
    """

    owner: Name
    load: Annotated[str, Meta(max_length=64), privacy("public")]
    part: Count
    first: bool
    last: bool
    facts: Annotated[list[Fact], Meta(max_length=1_024)] = []
    rules: Annotated[list[StoredRule], Meta(max_length=128)] = []
    goals: Annotated[list[Symbol], Meta(max_length=1_024)] = []
    atoms: Annotated[list[Symbol], Meta(max_length=1_024)] = []
    columns: StoredColumns | None = None
    pack: StoredPack | None = None


class CostsSet(Event, type="trajectory.costs_set"):
    """Rules cost something else from now on; what follows from what is as it was.

    costs: new cost in micro-units, by rule
    """

    costs: Annotated[dict[Name, CostMicro], Meta(max_length=1_024)]


class Cell(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """Rules of a group that a spine applies at one depth.

    depth: rules on the longest way to them, they included
    group: which
    count: how many
    """

    depth: Count
    group: Name
    count: Count


class Folded(Event, type="trajectory.folded"):
    """A spine was folded to its name.

    hash: its name, 64 hexadecimal digits
    cost_micro: what it costs, in micro-units
    facts: it starts from
    goals: it is for
    rules: how many it has
    rule_ids: its rules, as many as a record takes, for the counts of what is laid most
    symbols: what they conclude, as many as a record takes
    grid: how many rules of each group it applies at each depth, as much as a record takes
    """

    hash: Hash
    cost_micro: CostMicro
    facts: Count
    goals: Count
    rules: Count
    rule_ids: Annotated[list[Name], Meta(max_length=1_024)] = []
    symbols: Annotated[list[Symbol], Meta(max_length=1_024)] = []
    grid: Annotated[list[Cell], Meta(max_length=256)] = []
