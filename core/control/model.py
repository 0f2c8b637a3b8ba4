"""What the gatekeeper knows: registered engines, platforms, flags and configured keys, laid out so that a judgement is lookups.

Only `apply` functions change it. It holds the keyed MACs of keys, never a key.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from core.fields import privacy, words

ENGINES_MAX = 10_000
PLATFORMS_MAX = 1_000
FLAGS_MAX = 4_000
"""With the longest of names, all of them fit the one answer of `config.global`."""
RULES_MAX = 500_000
"""Allowed and denied actions of all engines together."""
PLATFORMS_OF_ENGINE_MAX = 256
ACTIONS_MAX = 512
SCOPES_MAX = 32
GRACE_S_MAX = 2_592_000.0
HTTP_TOKENS_MAX = 10_000
HTTP_TOKEN_S_MAX = 31_536_000
KEY_PREFIX = "irk_"

EngineId = Annotated[
    str,
    Meta(min_length=1, max_length=57, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\Z"),
    privacy("public"),
    words("an engine's name: letters, digits, _ and -, a letter or digit first, at most 57 characters"),
]
"""Without a dot, so that a rule's name has one reading; with `engine:` in front it is an actor's name."""
Word = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\Z"),
    privacy("public"),
    words("a name: letters, digits, _ and -, a letter or digit first, at most 64 characters"),
]
"""A platform or an action. Without a dot, for PLATFORM.ACTION names a flag."""
Scope = Annotated[
    str,
    Meta(min_length=1, max_length=200, pattern=r"^[!#-\[\]-~]+\Z"),
    privacy("public"),
    words("a scope: printable ASCII without spaces, quotes and backslashes, at most 200 characters"),
]
FlagName = Annotated[
    str,
    Meta(min_length=1, max_length=129, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)?\Z"),
    privacy("public"),
    words("a flag: PLATFORM, PLATFORM.ACTION or a name of your own with at most one dot"),
]
Actions = Annotated[list[Word], Meta(max_length=ACTIONS_MAX)]
Capabilities = Annotated[dict[Word, Actions], Meta(max_length=PLATFORMS_OF_ENGINE_MAX)]
Scopes = Annotated[list[Scope], Meta(max_length=SCOPES_MAX)]
ScopeText = Annotated[str, Meta(max_length=SCOPES_MAX * 201), privacy("public")]
"""Scopes separated by spaces, which none of them holds. One text is stored in a fifth of the time of a list."""
ActionScopes = Annotated[dict[Word, Scopes], Meta(max_length=ACTIONS_MAX)]

Standing = Literal["active", "suspended", "revoked"]
PlatformStatus = Literal["available", "maintenance", "disabled"]
HttpRole = Literal["viewer", "operator", "admin", "engine"]

Permissions = dict[str, frozenset[str]]
"""Actions by platform."""


@dataclass(frozen=True, slots=True)
class OldKey:
    """The key before the last rotation, good for a stated time: by the boot's clock, after a reboot by the wall's."""

    mac: str
    key: int
    time_us: int
    mono_us: int
    boot_id: str
    grace_us: int

    def valid(self, now_us: int, mono_us: int, boot_id: str) -> bool:
        since_us = mono_us - self.mono_us if boot_id == self.boot_id else now_us - self.time_us
        return 0 <= since_us < self.grace_us


@dataclass(slots=True)
class Registered:
    """One engine. `key` counts its keys: the first is 1."""

    engine_id: str
    mac: str
    allow: Permissions
    registered_us: int
    registered_by: str
    key: int = 1
    standing: Standing = "active"
    deny: Permissions = field(default_factory=dict)
    rev: int = 1
    proved_us: int | None = None
    old: OldKey | None = None


@dataclass(slots=True)
class Platform:
    """What a platform can do, and the scopes each action needs."""

    actions: dict[str, tuple[str, ...]]
    status: PlatformStatus = "available"


@dataclass(slots=True)
class Flag:
    enabled: bool
    rev: int


@dataclass(slots=True)
class Key:
    """A configuration key that was set over the socket. One that was unset keeps its `rev`: it never counts backwards."""

    value: Any
    rev: int
    time_us: int
    actor: str
    is_set: bool = True


@dataclass(slots=True)
class HttpToken:
    """A token of the HTTP gateway that was issued. Its life runs on the clock of its boot, after a reboot on the wall's."""

    jti: str
    subject: str
    role: HttpRole
    ttl_s: int
    time_us: int
    mono_us: int
    boot_id: str
    issued_by: str
    revoked: bool = False

    @property
    def ends_us(self) -> int:
        """By the wall clock, for people."""
        return self.time_us + self.ttl_s * 1_000_000

    def _age_us(self, now_us: int, mono_us: int, boot_id: str) -> int:
        return mono_us - self.mono_us if boot_id == self.boot_id else now_us - self.time_us

    def lives(self, now_us: int, mono_us: int, boot_id: str) -> bool:
        return 0 <= self._age_us(now_us, mono_us, boot_id) < self.ttl_s * 1_000_000

    def is_over(self, now_us: int, mono_us: int, boot_id: str) -> bool:
        """Whether it never lives again. A wall clock that is not set yet shows a time before its issue: that passes."""
        return self._age_us(now_us, mono_us, boot_id) >= self.ttl_s * 1_000_000


@dataclass
class Control:
    engines: dict[str, Registered] = field(default_factory=dict)
    platforms: dict[str, Platform] = field(default_factory=dict)
    flags: dict[str, Flag] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    http_tokens: dict[str, HttpToken] = field(default_factory=dict)
    """By id, the one issued first first."""
    http_key: int = 1
    """Which key signs tokens of the HTTP gateway, counted from 1. Those of the key before ended with it."""
    http_tokens_refused: int = 0
    changed_seq: int = -1
    """The newest record that changed an engine's standing or a rule: what a permission rests on."""
    keys_seq: int = -1
    """The newest record that set or unset a configuration key."""
    allowed: int = 0
    denied: int = 0
    errors: int = 0
    proofs_refused: int = 0
    rules: int = 0

    def stands(self, engine_id: str, key: int, now_us: int, mono_us: int, boot_id: str) -> bool:
        """Whether this key of the engine, proved earlier, is still good."""
        engine = self.engines.get(engine_id)
        if engine is None or engine.standing != "active":
            return False
        if key == engine.key:
            return True
        old = engine.old
        return old is not None and key == old.key and old.valid(now_us, mono_us, boot_id)

    def bearer(self, jti: str, now_us: int, mono_us: int, boot_id: str) -> HttpToken | None:
        """The token of this id, shown earlier, if it is still good."""
        token = self.http_tokens.get(jti)
        return token if token is not None and not token.revoked and token.lives(now_us, mono_us, boot_id) else None

    def overrides(self) -> dict[str, Any]:
        """Configuration keys that win over the file."""
        return {name: key.value for name, key in self.keys.items() if key.is_set}


def recorded(name: str) -> str:
    """A name as it may be written down: a key that somebody put where a name belongs may not."""
    return "a-key" if name.startswith(KEY_PREFIX) else name


def count(permissions: dict[str, Any]) -> int:
    return sum(len(actions) for actions in permissions.values())


def permissions(given: dict[str, list[str]]) -> Permissions:
    return {platform: frozenset(actions) for platform, actions in given.items()}


def tidy(given: dict[str, list[str]]) -> dict[str, list[str]]:
    """One form for one meaning: sorted, each action once, no platform without one."""
    return {platform: sorted(set(given[platform])) for platform in sorted(given) if given[platform]}


def written(held: Permissions) -> dict[str, list[str]]:
    return {platform: sorted(held[platform]) for platform in sorted(held)}
