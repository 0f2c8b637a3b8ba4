"""What the gates tell: live tokens, policies, refusals and what was unusual. Looks only; a token itself is never among it."""

from collections.abc import Iterator

from core.engine import Check, Command, Context, Nothing, Refused, Result
from core.fields import INT_MAX, Count, Cursor, Limit, Name, Time
from core.gate.events import DOMAINS, AnomalyKind, Cause, Domain, Kind, Rate, Scopes, TokenSeconds
from core.gate.state import COOLDOWN_US, Gates, Policy, Token, anomaly_name
from core.paging import Room
from core.times import time_text

LIMIT_DEFAULT = 1_000
CALLERS_SHOWN = 10


class ListTokens(Command):
    """Which live tokens to list, the oldest first.

    domain: only those of this gate
    subject: only those of this subject
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    domain: Domain | None = None
    subject: Name | None = None
    limit: Limit | None = None
    after: Cursor | None = None


class AskPolicy(Command):
    """Whose policy.

    domain: one gate only
    """

    domain: Domain | None = None


class TokenRow(Result):
    """A token that opens its gate.

    jti: its id
    kind: gate or offline
    domain: the gate
    subject: whose it is
    scopes: what it may be used for
    expires_at: when its life is over
    used: ways taken with it
    """

    jti: Name
    kind: Kind
    domain: Domain
    subject: Name
    scopes: Scopes
    expires_at: Time
    used: Count


class TokenPage(Result):
    """Live tokens, the oldest first.

    tokens: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    tokens: list[TokenRow]
    next: Cursor | None = None


class PolicyRow(Result):
    """What one gate asks of tokens.

    domain: the gate
    ttl_s_max: the longest life of a new token, in seconds
    single_use: whether a token opens a way once only
    rate_max: checks of one subject within a minute beyond which an anomaly is raised
    rev: revision, for `if_rev`
    """

    domain: Domain
    ttl_s_max: TokenSeconds
    single_use: bool
    rate_max: Rate
    rev: Count


class PolicyTable(Result):
    """What the gates ask of tokens.

    policies: one row a gate
    """

    policies: list[PolicyRow]


class CallerRefusals(Result):
    """Refusals of one caller.

    caller: who
    refused: how often
    """

    caller: str
    refused: Count


class CauseCount(Result):
    """Tokens refused for one cause.

    cause: why
    refused: how often
    """

    cause: Cause
    refused: Count


class GateBreaches(Result):
    """Tokens shown at one gate.

    domain: the gate
    allowed: how many opened it
    refused: how many did not, as far as they are recorded one by one
    causes: why not, the most frequent first
    """

    domain: Domain
    allowed: Count
    refused: Count
    causes: list[CauseCount]


class AnomalyRow(Result):
    """More at a gate than should be.

    kind: rate, checks of one subject; breach, refused tokens from one caller
    domain: the gate
    who: the subject or the caller
    count: how many within a minute when it was raised
    at: when
    """

    kind: AnomalyKind
    domain: Domain
    who: str
    count: Count
    at: Time


class SlowedRow(Result):
    """A caller whose wrong credentials are answered late.

    caller: who
    failures: how many they showed within about a minute when they were slowed
    since: when that was
    left_s: how much longer, in seconds
    step: how often by now, within an hour of each other
    """

    caller: str
    failures: Count
    since: Time
    left_s: float
    step: Count


class Breaches(Result):
    """Refusals of access since the log began.

    refused: how many in all
    callers: the ten callers refused most often
    domains: tokens shown at each gate
    anomalies: the latest, the newest first
    slowed: callers who showed very many credentials that did not hold, and for how much longer that has consequences
    """

    refused: Count
    callers: list[CallerRefusals]
    domains: list[GateBreaches] = []
    anomalies: list[AnomalyRow] = []
    slowed: list[SlowedRow] = []


def tokens(gates: Gates, params: ListTokens, ctx: Context) -> TokenPage:
    limit, after = params.limit or LIMIT_DEFAULT, _order(params.after)
    found: list[TokenRow] = []
    room, last = Room(), after
    for token in gates.tokens.values():
        if token.order <= after or not _is_alive(gates, token, ctx):
            continue
        if params.domain not in (None, token.domain) or params.subject not in (None, token.subject):
            continue
        row = _row(token, ctx)
        if len(found) == limit or not room.take(row):
            return TokenPage(found, str(last))
        found.append(row)
        last = token.order
    return TokenPage(found)


def policies(gates: Gates, params: AskPolicy, ctx: Context) -> PolicyTable:
    return PolicyTable([_policy_row(each, gates.policies[each]) for each in DOMAINS if params.domain in (None, each)])


def breaches(gates: Gates, params: Nothing, ctx: Context) -> Breaches:
    return Breaches(
        min(gates.refused, INT_MAX),
        [CallerRefusals(name, min(count, INT_MAX)) for name, count in gates.by_caller.most_common(CALLERS_SHOWN)],
        [_gate_row(gates, domain) for domain in DOMAINS],
        [AnomalyRow(each.kind, each.domain, each.who, each.count, time_text(each.time_us)) for each in reversed(gates.anomalies)],
        _slowed(gates, ctx),
    )


def _slowed(gates: Gates, ctx: Context) -> list[SlowedRow]:
    return [
        SlowedRow(name, each.failures, time_text(each.time_us), (each.until_us - ctx.mono_us) / 1e6, each.step)
        for name, each in gates.slowed.items()
        if gates.is_slowed(name, ctx.mono_us, ctx.boot_id)
    ]


def checks(gates: Gates, ctx: Context) -> Iterator[Check]:
    """What the daemon's health says of the gates: an anomaly is news until the same one could be raised again."""
    if slowed := _slowed(gates, ctx):
        last = slowed[-1]
        text = f"{last.failures} keys or tokens that {last.caller} showed within about a minute did not hold"
        more = f", and {len(slowed) - 1} more callers like it" if len(slowed) > 1 else ""
        remedy = f"Answers to such wait; what holds is let in as ever. To end that: irerctl gate free {last.caller}"
        yield Check("gate callers", "degraded", f"{text}{more}. {remedy}")
    for domain in DOMAINS:
        news = [
            each
            for each in gates.anomalies
            if each.domain == domain and gates.is_raised(anomaly_name(each.kind, domain, each.who), ctx.mono_us, ctx.boot_id)
        ]
        if not news:
            yield Check(f"gate {domain}", "ok")
            continue
        newest = news[-1]
        what = "tokens refused that came from" if newest.kind == "breach" else "checks of tokens of"
        more = f", and {len(news) - 1} more like it" if len(news) > 1 else ""
        text = f"{newest.count} {what} {newest.who} within a minute{more}. See who and why: irerctl gate"
        yield Check(f"gate {domain}", "degraded", f"{text}; it is told for {COOLDOWN_US // 60_000_000} minutes")


def _order(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit()):
        raise Refused(
            "invalid-argument",
            "`after` is the `next` of an earlier page. Leave it out to begin with the oldest",
            fields=[("after", "not a cursor of this list")],
        )
    return int(after[:16])


def _is_alive(gates: Gates, token: Token, ctx: Context) -> bool:
    return (
        token.boot == ctx.boot_id
        and token.until_us > ctx.mono_us
        and not token.revoked
        and not token.spent
        and gates.holds(token.kind, token.generation, ctx.mono_us, ctx.boot_id)
    )


def _row(token: Token, ctx: Context) -> TokenRow:
    expires_us = max(0, ctx.now_us + token.until_us - ctx.mono_us)
    return TokenRow(token.jti, token.kind, token.domain, token.subject, token.scopes, time_text(expires_us), token.uses)


def _policy_row(domain: Domain, policy: Policy) -> PolicyRow:
    return PolicyRow(domain, policy.ttl_s_max, policy.single_use, policy.rate_max, policy.rev)


def _gate_row(gates: Gates, domain: Domain) -> GateBreaches:
    causes = gates.causes[domain]
    counts = [CauseCount(name, count) for name, count in sorted(causes.items(), key=lambda item: (-item[1], item[0]))]
    return GateBreaches(domain, min(gates.allowed[domain], INT_MAX), min(causes.total(), INT_MAX), counts)
