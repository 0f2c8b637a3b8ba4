"""What can happen at a gate, as it stands in `gate_log.jsonl` for ever. No token and no key is ever in an event.

A subject is an id that the caller chose for somebody, and ids are `public`: it is compared with what a token says, at every check
and after every restart, so it must be in the log as it is. Who would not write a name into a log gives an id that is none.
"""

from typing import Annotated, Literal

from msgspec import Meta

from core.engine import Event
from core.fields import Code, Count, Name

Domain = Literal["wealth", "info", "myth"]
Kind = Literal["gate", "offline"]
Cause = Literal[
    "form", "header", "algorithm", "kind", "generation", "claims", "signature",
    "boot", "expired", "domain", "unknown", "revoked", "used", "subject", "scope", "error",
]  # fmt: skip
"""Why a token was refused. It stands in the log and in `gate.breaches`; whoever presented the token never learns it."""
AnomalyKind = Literal["rate", "breach"]

DOMAINS: tuple[Domain, ...] = ("wealth", "info", "myth")
KINDS: tuple[Kind, ...] = ("gate", "offline")
TTL_S_MAX = 3_600

TokenSeconds = Annotated[int, Meta(ge=1, le=TTL_S_MAX)]
Grace = Annotated[int, Meta(ge=0, le=TTL_S_MAX)]
Scopes = Annotated[list[Code], Meta(max_length=16)]
Rate = Annotated[int, Meta(ge=1, le=1_000_000)]


class TokenIssued(Event, type="token.issued"):
    """A token was made. The token itself is nowhere but with whom it was given to.

    jti: its id
    kind: gate, or offline for the offline route only
    domain: the gate it opens
    subject: for whom
    ttl_s: how long it lives on the clock of this boot
    generation: of the key that signs it
    scopes: what it may be used for
    """

    jti: Name
    kind: Kind
    domain: Domain
    subject: Name
    ttl_s: TokenSeconds
    generation: Count
    scopes: Scopes = []


class TokenRevoked(Event, type="token.revoked"):
    """A token opens nothing from now on.

    jti: its id
    """

    jti: Name


class TokenChecked(Event, type="gate.checked"):
    """A token was shown at a gate.

    domain: of the gate
    kind: what kind of token the gate asked for
    allowed: whether it opened
    cause: why it did not
    jti: the token, where its signature stood
    subject: whose it is, where its signature stood
    scope: what was asked for
    passed: whether a way was taken with it
    spent: whether this was the one use it had
    """

    domain: Domain
    kind: Kind
    allowed: bool
    cause: Cause | None = None
    jti: Name | None = None
    subject: Name | None = None
    scope: Code | None = None
    passed: bool = False
    spent: bool = False


class KeyRotated(Event, type="gate.key_rotated"):
    """Tokens of a kind are signed with another key.

    kind: of the tokens
    generation: of the new key
    grace_s: how long tokens of the key before it still hold; 0 is not at all
    """

    kind: Kind
    generation: Count
    grace_s: Grace = 0


class PolicySet(Event, type="gate.policy_set"):
    """What a gate asks of tokens from now on.

    domain: of the gate
    ttl_s_max: the longest life of a new token
    single_use: whether a token opens a way once only
    rate_max: checks of one subject within a minute beyond which an anomaly is raised
    rev: revision of this policy
    """

    domain: Domain
    ttl_s_max: TokenSeconds
    single_use: bool
    rate_max: Rate
    rev: Count


class AnomalyRaised(Event, type="gate.anomaly"):
    """More at a gate than should be: `rate`, checks of one subject; `breach`, refused tokens from one caller.

    kind: rate or breach
    domain: of the gate
    count: how many within a minute
    subject: whose tokens, of a rate
    caller: who showed them, of a breach
    """

    kind: AnomalyKind
    domain: Domain
    count: Count
    subject: Name | None = None
    caller: Name | None = None
