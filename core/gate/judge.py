"""Does this token open this gate? The one place where a token is judged, for `gate.check` and for navigation alike.

A token must pass every question; any error on the way is a no. What the caller learns is yes or no, never the cause: that is
for the record. The signature alone opens nothing: the token must be one that was issued and is remembered, claim for claim, so
even a stolen key makes no token that opens a gate.
"""

from typing import NamedTuple

from core.engine import Context, Event
from core.gate import tokens
from core.gate.events import AnomalyKind, AnomalyRaised, Cause, Domain, Kind, TokenChecked
from core.gate.state import Gates, Token, anomaly_name
from core.gate.tokens import Claims

BREACHES_MAX = 5
"""Refused tokens from one caller within a minute that make an anomaly. Fewer than are recorded singly under a flood."""


class Judged(NamedTuple):
    """No cause: the gate opens. The token is named only where its signature stood and it is one of ours."""

    cause: Cause | None
    token: Token | None = None


def judge(
    gates: Gates, ctx: Context, text: str, kind: Kind, domain: Domain, *, subject: str | None = None, scope: str | None = None
) -> Judged:
    try:
        return _judged(gates, ctx, text, kind, domain, subject, scope)
    except tokens.Unfit as unfit:
        return Judged(unfit.cause)
    except Exception:
        return Judged("error")


def _judged(gates: Gates, ctx: Context, text: str, kind: Kind, domain: Domain, subject: str | None, scope: str | None) -> Judged:
    def key_of(generation: int) -> bytes | None:
        holds = gates.holds(kind, generation, ctx.mono_us, ctx.boot_id)
        return ctx.secrets.token_key(kind, generation) if holds else None

    claims = tokens.read(text, kind, key_of, ctx.secrets.token_key(kind, gates.keys[kind].generation))
    if claims.boot_id != ctx.boot_id:
        return Judged("boot")
    if claims.until_us <= ctx.mono_us:
        return Judged("expired")
    token = gates.live(claims.jti, ctx.boot_id)
    if token is None:
        return Judged("unknown")
    if claims != claims_of(token) or token.kind != kind:
        return Judged("claims")
    return Judged(_objection(gates, token, domain, subject, scope), token)


def _objection(gates: Gates, token: Token, domain: Domain, subject: str | None, scope: str | None) -> Cause | None:
    """What speaks against a token that is one of ours and alive."""
    if token.revoked:
        return "revoked"
    if token.domain != domain:
        return "domain"
    if token.spent or (token.uses and gates.policies[domain].single_use):
        return "used"
    if subject is not None and token.subject != subject:
        return "subject"
    if scope is not None and scope not in token.scopes:
        return "scope"
    return None


def claims_of(token: Token) -> Claims:
    return Claims(
        aud=token.domain,
        boot_id=token.boot,
        exp=token.issued_s + token.ttl_s,
        gen=token.generation,
        iat=token.issued_s,
        iss=tokens.ISSUER,
        jti=token.jti,
        nbf=token.issued_s,
        scopes=token.scopes,
        sub=token.subject,
        until_us=token.until_us,
    )


def recorded(
    gates: Gates, ctx: Context, judged: Judged, kind: Kind, domain: Domain, *, scope: str | None = None, passed: bool = False
) -> list[Event]:
    """The check as it goes on record, and the anomaly it makes. A way that was taken uses up a token where the gate says once."""
    token = judged.token
    events: list[Event] = [
        TokenChecked(
            domain=domain,
            kind=kind,
            allowed=judged.cause is None,
            cause=judged.cause,
            jti=token.jti if token else None,
            subject=token.subject if token else None,
            scope=scope,
            passed=passed,
            spent=passed and gates.policies[domain].single_use,
        )
    ]
    if judged.cause is not None:
        return events + _breach(gates, ctx, domain)
    assert token is not None
    return events + _rate(gates, ctx, domain, token.subject)


def _breach(gates: Gates, ctx: Context, domain: Domain) -> list[Event]:
    caller = ctx.actor.name
    count = _count_with_this(gates, ctx, "breach", domain, caller)
    if count < BREACHES_MAX or gates.is_raised(anomaly_name("breach", domain, caller), ctx.mono_us, ctx.boot_id):
        return []
    return [AnomalyRaised("breach", domain, count, caller=caller)]


def _rate(gates: Gates, ctx: Context, domain: Domain, subject: str) -> list[Event]:
    count = _count_with_this(gates, ctx, "rate", domain, subject)
    if count <= gates.policies[domain].rate_max:
        return []
    if gates.is_raised(anomaly_name("rate", domain, subject), ctx.mono_us, ctx.boot_id):
        return []
    return [AnomalyRaised("rate", domain, count, subject=subject)]


def _count_with_this(gates: Gates, ctx: Context, kind: AnomalyKind, domain: Domain, who: str) -> int:
    minutes = gates.checks if kind == "rate" else gates.breaches
    return 1 + (minutes.count(f"{domain} {who}", ctx.mono_us) if ctx.boot_id == gates.boot else 0)
