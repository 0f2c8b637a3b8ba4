"""The record of every refusal of access: one event each, or under a flood one event a second that counts them."""

from core.engine import Command, Context, Decision, Event, Stamp
from core.fields import Code, Count, Label, Name
from core.gate.state import Gates


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


def decide_refuse(gates: Gates, command: Refuse, ctx: Context) -> Decision:
    return Decision(AccessRefused(command.caller, command.method, command.code, command.reason))


def decide_refuse_many(gates: Gates, command: RefuseMany, ctx: Context) -> Decision:
    return Decision(AccessRefusedMany(command.caller, command.count, command.first, command.last))


def apply_refused(gates: Gates, event: AccessRefused, stamp: Stamp) -> None:
    gates.count_refused(event.caller, 1)


def apply_refused_many(gates: Gates, event: AccessRefusedMany, stamp: Stamp) -> None:
    gates.count_refused(event.caller, event.count)
