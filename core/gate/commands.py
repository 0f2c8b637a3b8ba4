"""What the gates may be asked to do: issue and revoke tokens, judge one, change keys and policies. Changes nothing by itself."""

from collections.abc import Sequence
from typing import Literal

from core.engine import NOTHING, Command, Context, Decision, Event, Refused, Result
from core.fields import Code, Count, Name, Secret, Time
from core.gate import tokens
from core.gate.events import (
    Domain,
    Grace,
    KeyRotated,
    Kind,
    PolicySet,
    Rate,
    Scopes,
    TokenChecked,
    TokenIssued,
    TokenRevoked,
    TokenSeconds,
)
from core.gate.judge import claims_of, judge, recorded
from core.gate.state import TOKENS_MAX, Gates, Token
from core.times import time_text

TTL_S = 300
"""How long a token lives when nobody says."""
FULL_RETRY_MS = 10_000


class IssueToken(Command):
    """Asks for a token.

    domain: the gate it opens: wealth, info or myth
    subject: for whom: an id, not a name or an address, for it stands in the log as it is
    ttl_s: how long it lives, at most what the gate's policy allows; 300 unless told
    scopes: what it may be used for
    offline: a token of another kind, good for the offline route only
    """

    domain: Domain
    subject: Name
    ttl_s: TokenSeconds | None = None
    scopes: Scopes | None = None
    offline: bool = False


class IssuedToken(Result):
    """A token, shown this once.

    token: the token; whoever has it may use it
    jti: its id, to revoke it by
    expires_at: when its life is over, if nobody moves the wall clock and the machine stays up
    """

    token: Secret
    jti: Name
    expires_at: Time


class CheckToken(Command):
    """Asks whether a token opens a gate. It is not used up by that.

    token: the token
    domain: the gate
    scope: what it is to be used for; without it scopes are not looked at
    offline: judge a token of the offline kind
    """

    token: Secret
    domain: Domain
    scope: Code | None = None
    offline: bool = False


class CheckedToken(Result):
    """Whether the token opens the gate.

    allowed: whether it does
    reason: ok or token-refused; why it was refused stands in gate_log only
    """

    allowed: bool
    reason: Literal["ok", "token-refused"]


class RevokeToken(Command):
    """Ends a token before its time.

    jti: its id, as `gate.issue_token` gave it
    """

    jti: Name


class RotateKey(Command):
    """Signs tokens of a kind with another key from now on.

    kind: gate or offline
    grace_s: how long tokens of the present key still hold; without it they end at once
    """

    kind: Kind
    grace_s: Grace = 0


class SetPolicy(Command):
    """Changes what a gate asks of tokens. What is left out stays as it is.

    domain: the gate
    ttl_s_max: the longest life of a new token, in seconds
    single_use: whether a token opens a way once only
    rate_max: checks of one subject within a minute beyond which an anomaly is raised
    if_rev: only if the policy still has this revision
    """

    domain: Domain
    ttl_s_max: TokenSeconds | None = None
    single_use: bool | None = None
    rate_max: Rate | None = None
    if_rev: Count | None = None


def decide_issue(gates: Gates, command: IssueToken, ctx: Context) -> Decision:
    policy = gates.policies[command.domain]
    ttl_s = command.ttl_s or min(TTL_S, policy.ttl_s_max)
    if ttl_s > policy.ttl_s_max:
        raise Refused(
            "out-of-range",
            f"{command.domain}: tokens live at most {policy.ttl_s_max} s here, {ttl_s} were asked for. Ask for less, or an admin "
            f"allows more: irerctl gate set-policy {command.domain} --ttl-s-max {ttl_s}",
        )
    if not gates.has_room(ctx.actor.name, ctx.mono_us, ctx.boot_id):
        held = gates.held[ctx.actor.name]
        raise Refused(
            "resource-exhausted",
            f"{held:,} tokens that {ctx.actor.name} had issued are alive, and {len(gates.tokens):,} of at most {TOKENS_MAX:,} in "
            "all: nobody may hold more than are left free. Ask for shorter lives, or try again when some have ended",
            reason="tokens",
            retry_ms=FULL_RETRY_MS,
        )
    kind: Kind = "offline" if command.offline else "gate"
    event = TokenIssued(
        jti=ctx.new_id(),
        kind=kind,
        domain=command.domain,
        subject=command.subject,
        ttl_s=ttl_s,
        generation=gates.keys[kind].generation,
        scopes=sorted(set(command.scopes or ())),
    )
    token = Token.issued(event, ctx.now_us, ctx.mono_us, ctx.boot_id, 0, ctx.actor.name)
    text = tokens.make(claims_of(token), kind, ctx.secrets.token_key(kind, event.generation))
    return Decision(event, answer=IssuedToken(text, event.jti, time_text(ctx.now_us + ttl_s * 1_000_000)))


def decide_check(gates: Gates, command: CheckToken, ctx: Context) -> Decision:
    kind: Kind = "offline" if command.offline else "gate"
    judged = judge(gates, ctx, command.token, kind, command.domain, scope=command.scope)
    events = recorded(gates, ctx, judged, kind, command.domain, scope=command.scope)
    return Decision(*events, turned_down=judged.cause is not None)


def answer_check(events: Sequence[Event]) -> CheckedToken:
    checked = events[0]
    assert isinstance(checked, TokenChecked)
    return CheckedToken(checked.allowed, "ok" if checked.allowed else "token-refused")


def decide_revoke(gates: Gates, command: RevokeToken, ctx: Context) -> Decision:
    token = gates.live(command.jti, ctx.boot_id)
    if token is None or token.until_us <= ctx.mono_us:
        raise Refused("not-found", f"no living token has the id {command.jti}. All: irerctl gate tokens")
    return NOTHING if token.revoked else Decision(TokenRevoked(command.jti))


def decide_rotate(gates: Gates, command: RotateKey, ctx: Context) -> Decision:
    return Decision(KeyRotated(command.kind, gates.keys[command.kind].generation + 1, command.grace_s))


def decide_policy(gates: Gates, command: SetPolicy, ctx: Context) -> Decision:
    policy = gates.policies[command.domain]
    if command.if_rev is not None and command.if_rev != policy.rev:
        raise Refused(
            "aborted",
            f"the policy of {command.domain} has revision {policy.rev}, not {command.if_rev}. Read it again, then retry: "
            f"irerctl gate policy {command.domain}",
            reason="rev",
        )
    event = PolicySet(
        domain=command.domain,
        ttl_s_max=policy.ttl_s_max if command.ttl_s_max is None else command.ttl_s_max,
        single_use=policy.single_use if command.single_use is None else command.single_use,
        rate_max=policy.rate_max if command.rate_max is None else command.rate_max,
        rev=policy.rev + 1,
    )
    if (event.ttl_s_max, event.single_use, event.rate_max) == (policy.ttl_s_max, policy.single_use, policy.rate_max):
        return NOTHING
    return Decision(event)
