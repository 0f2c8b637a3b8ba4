"""The gate engine: the record of every refusal of access.

A refusal is in `gate_log` before its reply goes out. A flood from one caller is counted into one event a second, so that
nobody fills the disk by asking.
"""

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from core.engine import Command, Context, Decision, Engine, Event, Nothing, Result, Stamp, internal, read
from core.fields import INT_MAX, Code, Count, Label, Name


class Refuse(Command):
    """Record one refusal.

    caller: who was refused
    method: what they asked for
    code: the error code they get
    reason: the rule that decided
    """

    caller: Name
    method: Label
    code: Code
    reason: Code


class RefuseMany(Command):
    """Record a flood of refusals of one caller as one fact.

    caller: who was refused
    count: how often
    first: the first method asked for
    last: the last method asked for
    """

    caller: Name
    count: Count
    first: Label
    last: Label


class AccessRefused(Event, type="gate.refused"):
    """A caller was refused.

    caller: who
    method: what they asked for
    code: the error code they got
    reason: the rule that decided
    """

    caller: Name
    method: Label
    code: Code
    reason: Code


class AccessRefusedMany(Event, type="gate.refused_many"):
    """A caller was refused more often than is worth a record each.

    caller: who
    count: how often within the second
    first: the first method asked for
    last: the last method asked for
    """

    caller: Name
    count: Count
    first: Label
    last: Label


@dataclass
class Gates:
    """What the refusals add up to."""

    refused: int = 0
    by_caller: Counter[str] = field(default_factory=Counter)


CALLERS_MAX = 1_000
"""Callers counted by name; refusals of later ones count under `other`."""


def decide_refuse(gates: Gates, command: Refuse, ctx: Context) -> Decision:
    return Decision(AccessRefused(command.caller, command.method, command.code, command.reason))


def decide_refuse_many(gates: Gates, command: RefuseMany, ctx: Context) -> Decision:
    return Decision(AccessRefusedMany(command.caller, command.count, command.first, command.last))


def _count(gates: Gates, caller: str, count: int) -> None:
    gates.refused += count
    name = caller if caller in gates.by_caller or len(gates.by_caller) < CALLERS_MAX else "other"
    gates.by_caller[name] += count


def apply_refused(gates: Gates, event: AccessRefused, stamp: Stamp) -> None:
    _count(gates, event.caller, 1)


def apply_refused_many(gates: Gates, event: AccessRefusedMany, stamp: Stamp) -> None:
    _count(gates, event.caller, event.count)


class GatesDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refusals of each caller, the first one refused first: among equals that is how they are listed."""

    callers: list[tuple[str, int]]


def dump(gates: Gates) -> GatesDump:
    return GatesDump(list(gates.by_caller.items()))


def load(dumped: GatesDump) -> Gates:
    by_caller = Counter(dict(dumped.callers))
    return Gates(by_caller.total(), by_caller)


class CallerRefusals(Result):
    """Refusals of one caller.

    caller: who
    refused: how often
    """

    caller: str
    refused: Count


class Breaches(Result):
    """Refusals of access since the log began.

    refused: how many in all
    callers: the ten callers refused most often
    """

    refused: Count
    callers: list[CallerRefusals]


def breaches(gates: Gates, params: Nothing, ctx: Context) -> Breaches:
    return Breaches(
        min(gates.refused, INT_MAX), [CallerRefusals(name, min(count, INT_MAX)) for name, count in gates.by_caller.most_common(10)]
    )


ENGINE = Engine(
    "gate",
    log="gate_log",
    state=Gates,
    dump=dump,
    load=load,
    rows=[
        internal("refuse", Refuse, decide_refuse, apply={AccessRefused: apply_refused}),
        internal("refuse_many", RefuseMany, decide_refuse_many, apply={AccessRefusedMany: apply_refused_many}),
        read("breaches", Nothing, breaches, help="Refusals of access, by caller", example={}, cli="gate"),
    ],
)
