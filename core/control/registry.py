"""The registry: which engines there are, the proof of their keys, and what each may do.

A key is drawn once, shown once and kept as a keyed MAC. One that is suspended, revoked or past its grace fails on the very next
call. Whoever proves a key wrongly learns that it failed and nothing else: not why, and not by the time it takes.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta

from core.control.model import (
    ENGINES_MAX,
    GRACE_S_MAX,
    KEY_PREFIX,
    RULES_MAX,
    Capabilities,
    Control,
    EngineId,
    OldKey,
    Registered,
    Standing,
    count,
    permissions,
    recorded,
    tidy,
    written,
)
from core.engine import NOTHING, Command, Context, Decision, Event, Refused, Result, Stamp
from core.fields import Code, Count, Cursor, Hash, Limit, Name, Secret, Time
from core.paging import Room
from core.secrets import same, text
from core.times import time_text

LIMIT_DEFAULT = 1_000
NEAREST_AMONG_MAX = 1_000
NO_MAC = "0" * 64
"""Compared with where there is nothing to compare, so that an unknown engine costs the same work."""


# --- commands ---------------------------------------------------------------------------------------------------------------


class Register(Command):
    """A new engine.

    engine_id: its name, for ever: it is never given again
    capabilities: the actions it may carry out, by platform
    """

    engine_id: EngineId
    capabilities: Capabilities


class Validate(Command):
    """Prove that this connection speaks for an engine.

    engine_id: the engine
    engine_key: its key
    """

    engine_id: Name
    engine_key: Secret


class Rotate(Command):
    """A new key for an engine.

    engine_id: the engine
    grace_s: how long the old key stays good; not at all unless told
    """

    engine_id: Name
    grace_s: Annotated[float, Meta(ge=0, le=GRACE_S_MAX)] = 0.0


class Which(Command):
    """One engine.

    engine_id: the engine
    """

    engine_id: Name


class SetPermissions(Command):
    """What an engine may do. Each map that is given replaces the one before whole.

    engine_id: the engine
    allow: actions it may carry out, by platform
    deny: actions it may not, whatever allows them
    if_rev: refuse unless its permissions are still at this revision
    """

    engine_id: Name
    allow: Capabilities | None = None
    deny: Capabilities | None = None
    if_rev: Count | None = None


class ListEngines(Command):
    """Which engines, by name.

    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    limit: Limit | None = None
    after: Cursor | None = None


# --- events -----------------------------------------------------------------------------------------------------------------


class EngineRegistered(Event, type="engine.registered"):
    """An engine was registered, and a key drawn for it.

    engine_id: its name
    capabilities: the actions it may carry out, by platform
    key_mac: keyed MAC of its key
    """

    engine_id: EngineId
    capabilities: Capabilities
    key_mac: Hash


class EngineValidated(Event, type="engine.validated"):
    """An engine proved its key on a connection.

    engine_id: the engine
    key: which of its keys, counted from 1
    """

    engine_id: EngineId
    key: Count


class ProofRefused(Event, type="engine.proof_refused"):
    """Somebody failed to prove an engine's key.

    engine_id: the engine they named
    cause: why it failed; they were not told
    """

    engine_id: Name
    cause: Code


class KeyRotated(Event, type="engine.key_rotated"):
    """An engine has a new key.

    engine_id: the engine
    key: which of its keys it is, counted from 1
    key_mac: keyed MAC of the new key
    grace_us: how long the old key stays good
    """

    engine_id: EngineId
    key: Count
    key_mac: Hash
    grace_us: Count = 0


class EngineSuspended(Event, type="engine.suspended"):
    """An engine may do nothing for now.

    engine_id: the engine
    """

    engine_id: EngineId


class EngineUnsuspended(Event, type="engine.unsuspended"):
    """A suspended engine may act again.

    engine_id: the engine
    """

    engine_id: EngineId


class EngineRevoked(Event, type="engine.revoked"):
    """An engine may never act again.

    engine_id: the engine
    """

    engine_id: EngineId


class PermissionsSet(Event, type="engine.permissions_set"):
    """What an engine may do has changed.

    engine_id: the engine
    allow: actions it may carry out, by platform
    deny: actions it may not, whatever allows them
    rev: revision of its permissions
    """

    engine_id: EngineId
    allow: Capabilities
    deny: Capabilities
    rev: Count


# --- answers ----------------------------------------------------------------------------------------------------------------


class IssuedKey(Result):
    """A key, shown this once.

    engine_key: keep it; nobody can show it again
    engine_id: whose it is
    key: which of its keys it is, counted from 1
    old_key_until: when the key before it stops being good
    """

    engine_key: Secret
    engine_id: Name
    key: Count
    old_key_until: Time | None = None


class Proof(Result):
    """Whether the key was right and the engine in good standing.

    valid: whether later calls on this connection may say `as` this engine
    key: which of its keys it was
    """

    valid: bool
    key: Count | None = None


class EngineView(Result):
    """One engine.

    engine_id: its name
    standing: active, suspended or revoked
    rev: revision of its permissions
    allow: actions it may carry out, by platform
    deny: actions it may not, whatever allows them
    key: which of its keys is the current one
    registered_at: when
    registered_by: by whom
    proved_at: when it last proved a key
    old_key_until: when the key before the current one stops being good
    """

    engine_id: Name
    standing: Standing
    rev: Count
    allow: dict[str, list[str]]
    deny: dict[str, list[str]]
    key: Count
    registered_at: Time
    registered_by: Name
    proved_at: Time | None = None
    old_key_until: Time | None = None


class EngineRow(Result):
    """One engine in a list.

    engine_id: its name
    standing: active, suspended or revoked
    rev: revision of its permissions
    allowed: how many actions it may carry out
    denied: how many it may not, whatever allows them
    proved_at: when it last proved a key
    """

    engine_id: Name
    standing: Standing
    rev: Count
    allowed: Count
    denied: Count
    proved_at: Time | None = None


class EnginePage(Result):
    """Engines by name.

    engines: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    engines: list[EngineRow]
    next: Cursor | None = None


# --- judging ----------------------------------------------------------------------------------------------------------------


def unknown(what: str, name: str, known: Iterable[str], remedy: str) -> Refused:
    """Says what may have been meant; among very many names it does not look."""
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(name, names, n=1) if len(names) <= NEAREST_AMONG_MAX else []
    meant = f" Did you mean {near[0]}?" if near else ""
    return Refused("not-found", f"no {what} {name}.{meant} {remedy}", data={"nearest": near})


def named(control: Control, engine_id: str) -> Registered:
    engine = control.engines.get(engine_id)
    if engine is None:
        raise unknown("engine", engine_id, control.engines, "All: irerctl call engines.list")
    return engine


def _changeable(control: Control, engine_id: str) -> Registered:
    engine = named(control, engine_id)
    if engine.standing == "revoked":
        text = f"{engine_id} was revoked, and that is for ever. Register an engine of another name: engines.register"
        raise Refused("failed-precondition", text, reason="revoked")
    return engine


def check_rev(what: str, asked: int | None, rev: int, read_again: str) -> None:
    if asked is not None and asked != rev:
        text = f"{what} is at revision {rev}, not {asked}: it changed in the meantime. Read it again with {read_again}, then retry"
        raise Refused("aborted", text, data={"rev": rev})


def _check_rules(control: Control, before: int, after: int) -> None:
    if control.rules - before + after > RULES_MAX:
        text = f"all engines together have {control.rules:,} allowed and denied actions; {RULES_MAX:,} is the most. Allow fewer"
        raise Refused("resource-exhausted", text, reason="rules")


def _drawn(ctx: Context) -> str:
    return KEY_PREFIX + text(ctx.secrets.draw())


def decide_register(control: Control, command: Register, ctx: Context) -> Decision:
    if command.engine_id.startswith(KEY_PREFIX):
        text = f"engine_id begins with {KEY_PREFIX}, as keys do, and a key is never written down. Choose another name"
        raise Refused("invalid-argument", text, fields=[("engine_id", f"begins with {KEY_PREFIX}")])
    if command.engine_id in control.engines:
        said = f"{command.engine_id} is registered, and a name is never given twice. Choose another, or give this engine a new key"
        raise Refused("already-exists", f"{said}: engines.rotate_key", reason="registered")
    if len(control.engines) >= ENGINES_MAX:
        raise Refused("resource-exhausted", f"{ENGINES_MAX:,} engines are registered, which is the most", reason="engines")
    capabilities = tidy(command.capabilities)
    _check_rules(control, 0, count(capabilities))
    key = _drawn(ctx)
    event = EngineRegistered(command.engine_id, capabilities, ctx.secrets.engine_key_mac(command.engine_id, key))
    return Decision(event, answer=IssuedKey(key, command.engine_id, 1))


def decide_validate(control: Control, command: Validate, ctx: Context) -> Decision:
    """The same work and the same answer, whatever is wrong."""
    engine = control.engines.get(command.engine_id)
    mac = ctx.secrets.engine_key_mac(command.engine_id, command.engine_key)
    old = engine.old if engine is not None else None
    is_current = same(mac, engine.mac if engine is not None else NO_MAC)
    is_old = same(mac, old.mac if old is not None else NO_MAC)
    in_grace = is_old and old is not None and old.valid(ctx.now_us, ctx.mono_us, ctx.boot_id)
    if engine is None:
        cause = "unknown"
    elif not (is_current or is_old):
        cause = "wrong-key"
    elif engine.standing != "active":
        cause = engine.standing
    elif not (is_current or in_grace):
        cause = "old-key"
    else:
        return Decision(EngineValidated(command.engine_id, engine.key if is_current or old is None else old.key))
    return Decision(ProofRefused(recorded(command.engine_id), cause), turned_down=True)


def proof(events: Sequence[EngineValidated | ProofRefused]) -> Proof:
    [event] = events
    return Proof(True, event.key) if isinstance(event, EngineValidated) else Proof(False)


def decide_rotate(control: Control, command: Rotate, ctx: Context) -> Decision:
    engine = _changeable(control, command.engine_id)
    key = _drawn(ctx)
    grace_us = round(command.grace_s * 1e6)
    event = KeyRotated(engine.engine_id, engine.key + 1, ctx.secrets.engine_key_mac(engine.engine_id, key), grace_us)
    until = time_text(ctx.now_us + grace_us) if grace_us else None
    return Decision(event, answer=IssuedKey(key, engine.engine_id, event.key, until))


def decide_suspend(control: Control, command: Which, ctx: Context) -> Decision:
    engine = _changeable(control, command.engine_id)
    return Decision(EngineSuspended(engine.engine_id)) if engine.standing == "active" else NOTHING


def decide_unsuspend(control: Control, command: Which, ctx: Context) -> Decision:
    engine = _changeable(control, command.engine_id)
    return Decision(EngineUnsuspended(engine.engine_id)) if engine.standing == "suspended" else NOTHING


def decide_revoke(control: Control, command: Which, ctx: Context) -> Decision:
    engine = named(control, command.engine_id)
    return Decision(EngineRevoked(engine.engine_id)) if engine.standing != "revoked" else NOTHING


def decide_permissions(control: Control, command: SetPermissions, ctx: Context) -> Decision:
    engine = _changeable(control, command.engine_id)
    check_rev(engine.engine_id, command.if_rev, engine.rev, "engines.get")
    before = written(engine.allow), written(engine.deny)
    allow = tidy(command.allow) if command.allow is not None else before[0]
    deny = tidy(command.deny) if command.deny is not None else before[1]
    if (allow, deny) == before:
        return NOTHING
    _check_rules(control, count(engine.allow) + count(engine.deny), count(allow) + count(deny))
    return Decision(PermissionsSet(engine.engine_id, allow, deny, engine.rev + 1))


# --- facts ------------------------------------------------------------------------------------------------------------------


def apply_registered(control: Control, event: EngineRegistered, stamp: Stamp) -> None:
    allow = permissions(event.capabilities)
    control.engines[event.engine_id] = Registered(event.engine_id, event.key_mac, allow, stamp.time_us, stamp.actor)
    control.rules += count(allow)
    control.changed_seq = stamp.seq


def apply_validated(control: Control, event: EngineValidated, stamp: Stamp) -> None:
    control.engines[event.engine_id].proved_us = stamp.time_us


def apply_proof_refused(control: Control, event: ProofRefused, stamp: Stamp) -> None:
    control.proofs_refused += 1


def apply_rotated(control: Control, event: KeyRotated, stamp: Stamp) -> None:
    engine = control.engines[event.engine_id]
    old = OldKey(engine.mac, engine.key, stamp.time_us, stamp.mono_us, stamp.boot_id, event.grace_us)
    engine.old = old if event.grace_us else None
    engine.mac, engine.key = event.key_mac, event.key
    control.changed_seq = stamp.seq


def _stands_as(control: Control, engine_id: str, standing: Standing, stamp: Stamp) -> None:
    control.engines[engine_id].standing = standing
    control.changed_seq = stamp.seq


def apply_suspended(control: Control, event: EngineSuspended, stamp: Stamp) -> None:
    _stands_as(control, event.engine_id, "suspended", stamp)


def apply_unsuspended(control: Control, event: EngineUnsuspended, stamp: Stamp) -> None:
    _stands_as(control, event.engine_id, "active", stamp)


def apply_revoked(control: Control, event: EngineRevoked, stamp: Stamp) -> None:
    _stands_as(control, event.engine_id, "revoked", stamp)


def apply_permissions(control: Control, event: PermissionsSet, stamp: Stamp) -> None:
    engine = control.engines[event.engine_id]
    control.rules -= count(engine.allow) + count(engine.deny)
    engine.allow, engine.deny, engine.rev = permissions(event.allow), permissions(event.deny), event.rev
    control.rules += count(engine.allow) + count(engine.deny)
    control.changed_seq = stamp.seq


# --- reading ----------------------------------------------------------------------------------------------------------------


def _text_of(time_us: int | None) -> str | None:
    return None if time_us is None else time_text(time_us)


def get(control: Control, params: Which, ctx: Context) -> EngineView:
    engine = named(control, params.engine_id)
    old = engine.old
    until = None
    if old is not None and old.valid(ctx.now_us, ctx.mono_us, ctx.boot_id):
        until = time_text(old.time_us + old.grace_us)
    return EngineView(
        engine_id=engine.engine_id,
        standing=engine.standing,
        rev=engine.rev,
        allow=written(engine.allow),
        deny=written(engine.deny),
        key=engine.key,
        registered_at=time_text(engine.registered_us),
        registered_by=engine.registered_by,
        proved_at=_text_of(engine.proved_us),
        old_key_until=until,
    )


def page(names: Iterable[str], after: str | None, limit: int | None) -> tuple[list[str], str | None]:
    """The names of one page, in order, and the last of them where there are more."""
    rest = sorted(name for name in names if after is None or name > after)
    found = rest[: limit or LIMIT_DEFAULT]
    return found, (found[-1] if len(found) < len(rest) else None)


def listed(control: Control, params: ListEngines, ctx: Context) -> EnginePage:
    names, following = page(control.engines, params.after, params.limit)
    rows: list[EngineRow] = []
    room = Room()
    for name in names:
        found = control.engines[name]
        row = EngineRow(name, found.standing, found.rev, count(found.allow), count(found.deny), _text_of(found.proved_us))
        if not room.take(row):
            return EnginePage(rows, rows[-1].engine_id)
        rows.append(row)
    return EnginePage(rows, following)
