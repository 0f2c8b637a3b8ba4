"""The gatekeeper as it stands in a snapshot: what cannot be worked out from the rest, in an order that only the log decides."""

from typing import Any

import msgspec

from core.canonical import decode, encode
from core.control.model import (
    Control,
    Flag,
    HttpRole,
    HttpToken,
    Key,
    OldKey,
    Platform,
    PlatformStatus,
    Registered,
    Standing,
    count,
    permissions,
    written,
)
from core.fields import Frozen


class Dump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    pass


class OldKeyDump(Dump):
    mac: str
    key: int
    time_us: int
    mono_us: int
    boot_id: str
    grace_us: int


class RegisteredDump(Dump):
    mac: str
    allow: dict[str, list[str]]
    deny: dict[str, list[str]]
    registered_us: int
    registered_by: str
    key: int
    standing: Standing
    rev: int
    proved_us: int | None
    old: OldKeyDump | None


class PlatformDump(Dump):
    actions: dict[str, list[str]]
    status: PlatformStatus


class KeyDump(Dump):
    value: bytes
    """Canonical JSON: the value may be of any kind."""
    rev: int
    time_us: int
    actor: str
    is_set: bool


class HttpTokenDump(Dump):
    jti: str
    subject: str
    role: HttpRole
    ttl_s: int
    time_us: int
    mono_us: int
    boot_id: str
    issued_by: str
    revoked: bool


class ControlDump(Dump):
    engines: dict[str, RegisteredDump]
    platforms: dict[str, PlatformDump]
    flags: dict[str, tuple[bool, int]]
    keys: dict[str, KeyDump]
    http_tokens: list[HttpTokenDump]
    """In the order in which they were issued."""
    http_key: int
    http_tokens_refused: int
    changed_seq: int
    keys_seq: int
    allowed: int
    denied: int
    errors: int
    proofs_refused: int


def dump(control: Control) -> ControlDump:
    return ControlDump(
        engines={name: _engine(engine) for name, engine in control.engines.items()},
        platforms={
            name: PlatformDump({action: list(scopes) for action, scopes in platform.actions.items()}, platform.status)
            for name, platform in control.platforms.items()
        },
        flags={name: (flag.enabled, flag.rev) for name, flag in control.flags.items()},
        keys={name: KeyDump(encode(key.value), key.rev, key.time_us, key.actor, key.is_set) for name, key in control.keys.items()},
        http_tokens=[_http_token(token) for token in control.http_tokens.values()],
        http_key=control.http_key,
        http_tokens_refused=control.http_tokens_refused,
        changed_seq=control.changed_seq,
        keys_seq=control.keys_seq,
        allowed=control.allowed,
        denied=control.denied,
        errors=control.errors,
        proofs_refused=control.proofs_refused,
    )


def _engine(engine: Registered) -> RegisteredDump:
    old = engine.old
    return RegisteredDump(
        engine.mac,
        written(engine.allow),
        written(engine.deny),
        engine.registered_us,
        engine.registered_by,
        engine.key,
        engine.standing,
        engine.rev,
        engine.proved_us,
        OldKeyDump(old.mac, old.key, old.time_us, old.mono_us, old.boot_id, old.grace_us) if old is not None else None,
    )


def _http_token(token: HttpToken) -> HttpTokenDump:
    return HttpTokenDump(
        token.jti,
        token.subject,
        token.role,
        token.ttl_s,
        token.time_us,
        token.mono_us,
        token.boot_id,
        token.issued_by,
        token.revoked,
    )


def load(dumped: ControlDump) -> Control:
    engines = {name: _loaded(name, engine) for name, engine in dumped.engines.items()}
    return Control(
        engines=engines,
        platforms={
            name: Platform({action: tuple(scopes) for action, scopes in platform.actions.items()}, platform.status)
            for name, platform in dumped.platforms.items()
        },
        flags={name: Flag(enabled, rev) for name, (enabled, rev) in dumped.flags.items()},
        keys={name: _key(key) for name, key in dumped.keys.items()},
        http_tokens={token.jti: HttpToken(**msgspec.structs.asdict(token)) for token in dumped.http_tokens},
        http_key=dumped.http_key,
        http_tokens_refused=dumped.http_tokens_refused,
        changed_seq=dumped.changed_seq,
        keys_seq=dumped.keys_seq,
        allowed=dumped.allowed,
        denied=dumped.denied,
        errors=dumped.errors,
        proofs_refused=dumped.proofs_refused,
        rules=sum(count(engine.allow) + count(engine.deny) for engine in engines.values()),
    )


def _loaded(name: str, dumped: RegisteredDump) -> Registered:
    old = dumped.old
    return Registered(
        name,
        dumped.mac,
        permissions(dumped.allow),
        dumped.registered_us,
        dumped.registered_by,
        dumped.key,
        dumped.standing,
        permissions(dumped.deny),
        dumped.rev,
        dumped.proved_us,
        OldKey(old.mac, old.key, old.time_us, old.mono_us, old.boot_id, old.grace_us) if old is not None else None,
    )


def _key(dumped: KeyDump) -> Key:
    value: Any = decode(dumped.value)
    return Key(value, dumped.rev, dumped.time_us, dumped.actor, dumped.is_set)
