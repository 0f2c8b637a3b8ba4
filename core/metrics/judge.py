"""A second opinion on every token that opened a gate: was it let through rightly, by the rules as they stood at that record?

It shares nothing with the judge in `core/gate` but the records of `gate_log`: a bug there is not repeated here. It never judges
what it cannot know: a token that may have been issued in records that were let go.
"""

from typing import Literal

import msgspec

from core.engine import Stamp
from core.fields import Frozen

SWEPT_FROM = 1_024

Opinion = Literal["right", "wrong", "unknown"]


class Issued(msgspec.Struct):
    jti: str
    kind: str
    domain: str
    subject: str
    ttl_s: int
    generation: int
    scopes: list[str] = []


class Revoked(msgspec.Struct):
    jti: str


class Rotated(msgspec.Struct):
    kind: str
    generation: int
    grace_s: int = 0


class Policy(msgspec.Struct):
    domain: str
    single_use: bool


class Checked(msgspec.Struct):
    domain: str
    kind: str
    allowed: bool
    cause: str | None = None
    jti: str | None = None
    subject: str | None = None
    scope: str | None = None
    passed: bool = False
    spent: bool = False


class Held(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A token as its records tell."""

    kind: str
    domain: str
    subject: str
    scopes: list[str]
    generation: int
    until_us: int
    revoked: bool = False
    uses: int = 0
    spent: bool = False


class JudgeDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    boot_id: str
    whole: bool
    tokens: dict[str, Held]
    swept: int
    generations: dict[str, tuple[int, int]]
    single_use: list[str]
    asked_for: tuple[int, str]


class Judge:
    def __init__(self) -> None:
        self.boot_id = ""
        self.whole = False
        """Whether no living token can be unknown here: all records of this boot were seen."""
        self.tokens: dict[str, Held] = {}
        self.swept = 0
        """How many tokens were left when those whose life was over were forgotten last."""
        self.generations: dict[str, tuple[int, int]] = {}
        """Of each kind, the key in force, and until when tokens of the one before it hold."""
        self.single_use: set[str] = set()
        self.asked_for = (-2, "")
        """The record in which somebody asked for a way, and for whom; the check of their token is the next."""

    def come_to(self, stamp: Stamp) -> None:
        """Another boot ends every token, and every grace."""
        if stamp.boot_id == self.boot_id:
            return
        self.whole = bool(self.boot_id) or stamp.seq <= 1  # the first record of a log is the log layer's own
        self.boot_id = stamp.boot_id
        self.tokens, self.swept = {}, 0
        self.generations = {kind: (generation, 0) for kind, (generation, _) in self.generations.items()}

    def issued(self, event: Issued, stamp: Stamp) -> None:
        self.come_to(stamp)
        if len(self.tokens) >= 2 * self.swept + SWEPT_FROM:
            self.tokens = {jti: held for jti, held in self.tokens.items() if held.until_us > stamp.mono_us}
            self.swept = len(self.tokens)
        generation, grace_us = self.generations.get(event.kind, (event.generation, 0))
        self.generations[event.kind] = (max(generation, event.generation), grace_us)
        until_us = stamp.mono_us + event.ttl_s * 1_000_000
        self.tokens[event.jti] = Held(event.kind, event.domain, event.subject, event.scopes, event.generation, until_us)

    def revoked(self, event: Revoked, stamp: Stamp) -> None:
        self.come_to(stamp)
        if (held := self.tokens.get(event.jti)) is not None:
            held.revoked = True

    def rotated(self, event: Rotated, stamp: Stamp) -> None:
        self.come_to(stamp)
        self.generations[event.kind] = (event.generation, stamp.mono_us + event.grace_s * 1_000_000 if event.grace_s else 0)

    def policy(self, event: Policy, stamp: Stamp) -> None:
        self.come_to(stamp)
        (self.single_use.add if event.single_use else self.single_use.discard)(event.domain)

    def navigated(self, subject: str, stamp: Stamp) -> None:
        self.come_to(stamp)
        self.asked_for = (stamp.seq, subject)

    def allowed(self, event: Checked, stamp: Stamp) -> Opinion:
        """On a token that opened a gate; then remember that it did."""
        self.come_to(stamp)
        held = self.tokens.get(event.jti) if event.jti is not None else None
        if held is None:
            return "wrong" if event.jti is None or self.whole else "unknown"
        opinion: Opinion = "right" if self._holds(held, event, stamp) else "wrong"
        held.uses += event.passed
        held.spent = held.spent or event.spent
        return opinion

    def _holds(self, held: Held, event: Checked, stamp: Stamp) -> bool:
        generation, grace_us = self.generations[held.kind]
        signed = held.generation == generation or (held.generation == generation - 1 and stamp.mono_us < grace_us)
        used = held.spent or (held.uses > 0 and event.domain in self.single_use)
        asked_seq, asked_for = self.asked_for
        subject = event.subject == held.subject and (asked_seq != stamp.seq - 1 or asked_for == held.subject)
        return (
            signed
            and not held.revoked
            and not used
            and subject
            and held.until_us > stamp.mono_us
            and (held.kind, held.domain) == (event.kind, event.domain)
            and (event.scope is None or event.scope in held.scopes)
        )

    def dump(self) -> JudgeDump:
        copies = {jti: msgspec.structs.replace(held) for jti, held in self.tokens.items()}
        generations = dict(sorted(self.generations.items()))
        return JudgeDump(self.boot_id, self.whole, copies, self.swept, generations, sorted(self.single_use), self.asked_for)

    @classmethod
    def load(cls, dumped: JudgeDump) -> "Judge":
        judge = cls()
        judge.boot_id, judge.whole, judge.tokens, judge.swept = dumped.boot_id, dumped.whole, dumped.tokens, dumped.swept
        judge.generations, judge.single_use, judge.asked_for = dumped.generations, set(dumped.single_use), dumped.asked_for
        return judge
