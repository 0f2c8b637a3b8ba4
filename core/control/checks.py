"""`actions.check`: every judgement, yes or no, is a record of its own before its answer goes out. And what is read of them."""

from typing import Annotated, Literal

from msgspec import Meta

from core.control.model import Control, ScopeText, recorded
from core.control.policy import ERROR, Ruling, judge
from core.engine import Command, Context, Decision, Event, Result, Stamp
from core.fields import Code, Count, Cursor, Label, Name, Time

Outcome = Literal["allowed", "denied", "error"]
QueryLimit = Annotated[int, Meta(ge=1, le=1_000)]


class Check(Command):
    """An action that an engine wants to carry out.

    engine_id: the engine
    platform: where
    action_type: what
    """

    engine_id: Name
    platform: Name
    action_type: Name


class ActionChecked(Event, type="action.checked"):
    """An engine's action was judged.

    request_id: of this judgement
    engine_id: the engine asked about
    platform: where it wanted to act
    action_type: what it wanted to do
    status: allowed, denied, or error when judging failed, which denies
    reason: stable word for why
    rule: the rule that decided
    scopes: what the platform asks for, when allowed; separated by spaces, as OAuth writes them
    """

    request_id: Name
    engine_id: Name
    platform: Name
    action_type: Name
    status: Outcome
    reason: Code
    rule: Label
    scopes: ScopeText = ""


class Judgement(Result, omit_defaults=False):
    """May it?

    allowed: whether the engine may
    required_scopes: what the platform asks for; empty when not allowed
    reason: stable word for why
    rule: the rule that decided
    request_id: under which this is on record
    """

    allowed: bool
    required_scopes: list[str]
    reason: Code
    rule: Label
    request_id: Name


def _ruling(control: Control, command: Check, ctx: Context) -> tuple[Outcome, Ruling]:
    """Whatever goes wrong while judging is a denial, and on record."""
    try:
        ruling = judge(control, ctx.actor, command.engine_id, command.platform, command.action_type)
    except Exception:
        return "error", ERROR
    return ("allowed" if ruling.allowed else "denied"), ruling


def decide_check(control: Control, command: Check, ctx: Context) -> Decision:
    status, ruling = _ruling(control, command, ctx)
    return Decision(
        ActionChecked(
            ctx.new_id(),
            recorded(command.engine_id),
            recorded(command.platform),
            recorded(command.action_type),
            status,
            ruling.reason,
            ruling.rule,
            " ".join(ruling.scopes),
        )
    )


def apply_checked(control: Control, event: ActionChecked, stamp: Stamp) -> None:
    if event.status == "allowed":
        control.allowed += 1
    elif event.status == "denied":
        control.denied += 1
    else:
        control.errors += 1


def judgement(events: list[ActionChecked]) -> Judgement:
    [event] = events
    return Judgement(event.status == "allowed", event.scopes.split(), event.reason, event.rule, event.request_id)


class Query(Command):
    """Which judgements, the newest first.

    engine_id: only those about this engine
    platform: only those on this platform
    status: only those that came out so
    since: only those made then or later
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    engine_id: Name | None = None
    platform: Name | None = None
    status: Outcome | None = None
    since: Time | None = None
    limit: QueryLimit | None = None
    after: Cursor | None = None


class Decided(Result, omit_defaults=False):
    """One judgement on record.

    request_id: of the judgement
    engine_id: the engine asked about
    platform: where it wanted to act
    action_type: what it wanted to do
    status: allowed, denied or error
    timestamp: when
    reason: stable word for why
    rule: the rule that decided
    actor: who asked
    seq: its place in gate_log
    """

    request_id: Name
    engine_id: Name
    platform: Name
    action_type: Name
    status: Outcome
    timestamp: Time
    reason: Code
    rule: Label
    actor: Name
    seq: Count


class DecidedPage(Result):
    """Judgements, the newest first.

    records: the page; it may hold fewer than asked for, even none, while there is a next one
    next: give it as `after` for the page that follows; absent on the last
    """

    records: list[Decided]
    next: Cursor | None = None
