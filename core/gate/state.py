"""What the gates know, and how each event changes it. The log is the truth; this is what it adds up to.

All that has a life lives on the clock of one boot: the first event of another boot ends it. Everything is bounded: a token is
forgotten when its life is over, also a revoked or used one, for then the clock alone refuses it.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.agenda import Agenda, Entry
from core.engine import Stamp
from core.fields import Frozen
from core.gate.events import (
    DOMAINS,
    KINDS,
    TTL_S_MAX,
    AnomalyKind,
    AnomalyRaised,
    Cause,
    Domain,
    KeyRotated,
    Kind,
    PolicySet,
    TokenChecked,
    TokenIssued,
    TokenRevoked,
)

CALLERS_MAX = 1_000
"""Callers counted by name; refusals of later ones count under `other`."""
TOKENS_MAX = 100_000
"""Alive at once. One caller may hold no more of them than are left free: so however many take what they can, the next still
gets some.
"""
ANOMALIES_KEPT = 20
RAISED_MAX = 10_000
WATCHED_MAX = 10_000
"""Subjects, or callers, counted apart within a minute; later ones are counted together."""
MINUTE_US = 60_000_000
COOLDOWN_US = 300_000_000
"""Quiet time after an anomaly: the same one is not raised again within it."""


class Token(msgspec.Struct):
    """A token that was issued and whose life is not over. `issued_s` is for people, `until_us` decides."""

    jti: str
    kind: Kind
    domain: Domain
    subject: str
    scopes: list[str]
    generation: int
    issued_s: int
    ttl_s: int
    until_us: int
    boot: str
    order: int
    by: str = ""
    """Who had it issued."""
    uses: int = 0
    spent: bool = False
    revoked: bool = False

    @classmethod
    def issued(cls, event: TokenIssued, now_us: int, mono_us: int, boot: str, order: int, by: str) -> "Token":
        return cls(
            jti=event.jti,
            kind=event.kind,
            domain=event.domain,
            subject=event.subject,
            scopes=list(event.scopes),
            generation=event.generation,
            issued_s=now_us // 1_000_000,
            ttl_s=event.ttl_s,
            until_us=mono_us + event.ttl_s * 1_000_000,
            boot=boot,
            order=order,
            by=by,
        )


class Policy(msgspec.Struct, metaclass=Frozen, frozen=True):
    """What one gate asks of tokens."""

    ttl_s_max: int = TTL_S_MAX
    single_use: bool = False
    rate_max: int = 600
    rev: int = 0


class Key(msgspec.Struct, metaclass=Frozen, frozen=True):
    """Which key signs tokens of a kind, and until when the one before it still holds."""

    generation: int = 1
    grace_until_us: int = 0


class Anomaly(msgspec.Struct, metaclass=Frozen, frozen=True):
    kind: AnomalyKind
    domain: Domain
    who: str
    count: int
    time_us: int


class Slowed(msgspec.Struct, metaclass=Frozen, frozen=True):
    """A caller whose wrong credentials are answered late, until a time of this boot's clock."""

    failures: int
    step: int
    time_us: int
    until_us: int


class Minutes:
    """How often each key came within the last minute, nearly: this minute's count and what is still near of the last one's.

    Looking never changes it. Keys beyond the bound share one count, so that more of them raise an alarm rather sooner.
    """

    __slots__ = ("before", "minute", "now")

    def __init__(self) -> None:
        self.minute = 0
        self.now: dict[str, int] = {}
        self.before: dict[str, int] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Minutes) and all(getattr(self, name) == getattr(other, name) for name in Minutes.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def _at(self, minute: int) -> tuple[dict[str, int], dict[str, int]]:
        if minute == self.minute:
            return self.now, self.before
        return {}, self.now if minute == self.minute + 1 else {}

    def _key(self, key: str, counts: dict[str, int]) -> str:
        return key if key in counts or len(counts) < WATCHED_MAX else ""

    def note(self, key: str, mono_us: int) -> None:
        minute = mono_us // MINUTE_US
        if minute != self.minute:
            self.now, self.before = self._at(minute)
            self.minute = minute
        key = self._key(key, self.now)
        self.now[key] = self.now.get(key, 0) + 1

    def count(self, key: str, mono_us: int) -> int:
        now, before = self._at(mono_us // MINUTE_US)
        left_us = MINUTE_US - mono_us % MINUTE_US
        return now.get(self._key(key, now), 0) + before.get(self._key(key, before), 0) * left_us // MINUTE_US


class Overdue:
    """How many tokens of each holder are past their life and still kept, up to some moment: what was counted once is not again.

    Not part of the state, for it follows from it: whatever changes the agenda begins it anew.
    """

    __slots__ = ("at_us", "by", "first", "rest", "total")

    def __init__(self) -> None:
        self.rest: Iterator[Entry[str]] | None = None
        self.first: Entry[str] | None = None
        """Of those that were not overdue when it was asked last."""
        self.at_us = 0
        self.by: Counter[str] = Counter()
        self.total = 0

    def __deepcopy__(self, memo: object) -> "Overdue":
        return Overdue()

    def __reduce__(self) -> tuple[type["Overdue"], tuple[()]]:
        return Overdue, ()

    def come_to(self, ends: Agenda[str], tokens: Mapping[str, Token], mono_us: int) -> None:
        if self.rest is None or mono_us < self.at_us:
            self.rest, self.by, self.total = ends.walk(), Counter(), 0
            self.first = next(self.rest, None)
        self.at_us = mono_us
        while self.first is not None and self.first[0] <= mono_us:
            self.by[tokens[self.first[2]].by] += 1
            self.total += 1
            self.first = next(self.rest, None)


def _domains() -> dict[Domain, Counter[Cause]]:
    return {domain: Counter() for domain in DOMAINS}


@dataclass
class Gates:
    """Refusals of access, live tokens, keys, policies, and what was unusual."""

    refused: int = 0
    by_caller: Counter[str] = field(default_factory=Counter)
    boot: str = ""
    tokens: dict[str, Token] = field(default_factory=dict)
    """By id, the one issued first first."""
    ends: Agenda[str] = field(default_factory=Agenda)
    """Ids by the end of their life."""
    held: Counter[str] = field(default_factory=Counter)
    """Tokens of each who had some issued."""
    issued: int = 0
    keys: dict[Kind, Key] = field(default_factory=lambda: dict.fromkeys(KINDS, Key()))
    policies: dict[Domain, Policy] = field(default_factory=lambda: dict.fromkeys(DOMAINS, Policy()))
    allowed: Counter[Domain] = field(default_factory=Counter)
    causes: dict[Domain, Counter[Cause]] = field(default_factory=_domains)
    checks: Minutes = field(default_factory=Minutes)
    """Tokens that held, by domain and subject."""
    breaches: Minutes = field(default_factory=Minutes)
    """Tokens that were refused, by domain and caller. Never by subject: what a refused token says of itself is worth nothing."""
    anomalies: deque[Anomaly] = field(default_factory=lambda: deque(maxlen=ANOMALIES_KEPT))
    raised: dict[str, int] = field(default_factory=dict)
    """When each anomaly was raised last, the oldest first."""
    overdue: Overdue = field(default_factory=Overdue, compare=False, repr=False)
    slowed: dict[str, Slowed] = field(default_factory=dict)
    """Callers who showed very many credentials that did not hold, also some whose time is over, the one slowed first first."""

    def count_refused(self, caller: str, count: int) -> None:
        self.refused += count
        name = caller if caller in self.by_caller or len(self.by_caller) < CALLERS_MAX else "other"
        self.by_caller[name] += count

    def live(self, jti: str, boot: str) -> Token | None:
        """A token of this boot, its life perhaps over."""
        return self.tokens.get(jti) if boot == self.boot else None

    def has_room(self, by: str, mono_us: int, boot: str) -> bool:
        """Whether this caller may have another token kept. Those whose life is over leave when the next event comes.

        Each of those is counted once until then, however often this is asked.
        """
        if boot != self.boot or self.held[by] < TOKENS_MAX - len(self.tokens):
            return True
        self.overdue.come_to(self.ends, self.tokens, mono_us)
        return self.held[by] - self.overdue.by[by] < TOKENS_MAX - (len(self.tokens) - self.overdue.total)

    def holds(self, kind: Kind, generation: int, mono_us: int, boot: str) -> bool:
        """Whether tokens signed with this generation of the key still do."""
        key = self.keys[kind]
        if generation == key.generation:
            return True
        return generation == key.generation - 1 and boot == self.boot and mono_us < key.grace_until_us

    def is_slowed(self, caller: str, mono_us: int, boot: str) -> bool:
        found = self.slowed.get(caller) if boot == self.boot else None
        return found is not None and mono_us < found.until_us

    def is_raised(self, name: str, mono_us: int, boot: str) -> bool:
        at = self.raised.get(name) if boot == self.boot else None
        return at is not None and mono_us - at < COOLDOWN_US

    def come_to(self, stamp: Stamp) -> None:
        """Another boot ends all that lived in the one before; time ends tokens. Every change of the agenda comes by here."""
        if self.overdue.rest is not None:
            self.overdue = Overdue()
        if stamp.boot_id != self.boot:
            self.boot = stamp.boot_id
            self.tokens = {}
            self.ends = Agenda()
            self.held = Counter()
            self.keys = {kind: Key(key.generation) for kind, key in self.keys.items()}
            self.checks, self.breaches = Minutes(), Minutes()
            self.raised = {}
            self.slowed = {}
        while (first := self.ends.first()) is not None and first[0] <= stamp.mono_us:
            self.forget(first[2])

    def forget(self, jti: str) -> None:
        self.ends.drop(jti)
        self.let_go(self.tokens.pop(jti).by)

    def let_go(self, by: str) -> None:
        """One token fewer: whoever holds none is not kept."""
        self.held[by] -= 1
        if not self.held[by]:
            del self.held[by]


def anomaly_name(kind: AnomalyKind, domain: Domain, who: Any) -> str:
    return f"{kind} {domain} {who}"


def apply_issued(gates: Gates, event: TokenIssued, stamp: Stamp) -> None:
    gates.come_to(stamp)
    gates.issued += 1
    token = Token.issued(event, stamp.time_us, stamp.mono_us, stamp.boot_id, gates.issued, stamp.actor)
    if (again := gates.tokens.get(token.jti)) is not None:
        gates.let_go(again.by)
    gates.tokens[token.jti] = token
    gates.held[token.by] += 1
    gates.ends.put(token.jti, token.until_us)


def apply_revoked(gates: Gates, event: TokenRevoked, stamp: Stamp) -> None:
    gates.come_to(stamp)
    token = gates.tokens.get(event.jti)
    if token is not None:
        token.revoked = True


def apply_rotated(gates: Gates, event: KeyRotated, stamp: Stamp) -> None:
    """Tokens of keys that ended leave at once; those of a key in its grace leave with the grace or with their life."""
    gates.come_to(stamp)
    before = gates.keys[event.kind].generation
    until_us = stamp.mono_us + event.grace_s * 1_000_000 if event.grace_s else 0
    gates.keys[event.kind] = Key(event.generation, until_us)
    for token in [token for token in gates.tokens.values() if token.kind == event.kind]:
        if not event.grace_s or token.generation != before:
            gates.forget(token.jti)
        elif token.until_us > until_us:
            gates.ends.put(token.jti, until_us)


def apply_checked(gates: Gates, event: TokenChecked, stamp: Stamp) -> None:
    gates.come_to(stamp)
    if event.cause is not None:
        gates.count_refused(stamp.actor, 1)
        gates.causes[event.domain][event.cause] += 1
        gates.breaches.note(f"{event.domain} {stamp.actor}", stamp.mono_us)
        return
    gates.allowed[event.domain] += 1
    gates.checks.note(f"{event.domain} {event.subject}", stamp.mono_us)
    token = gates.tokens.get(event.jti or "")
    if token is not None:
        token.uses += event.passed
        token.spent = token.spent or event.spent


def apply_policy(gates: Gates, event: PolicySet, stamp: Stamp) -> None:
    gates.come_to(stamp)
    gates.policies[event.domain] = Policy(event.ttl_s_max, event.single_use, event.rate_max, event.rev)


def apply_anomaly(gates: Gates, event: AnomalyRaised, stamp: Stamp) -> None:
    gates.come_to(stamp)
    who = event.subject or event.caller or ""
    gates.anomalies.append(Anomaly(event.kind, event.domain, who, event.count, stamp.time_us))
    raised = gates.raised
    raised.pop(name := anomaly_name(event.kind, event.domain, who), None)
    raised[name] = stamp.mono_us
    while len(raised) > RAISED_MAX or stamp.mono_us - next(iter(raised.values())) >= COOLDOWN_US:
        del raised[next(iter(raised))]
