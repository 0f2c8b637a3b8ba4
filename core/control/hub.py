"""The configuration hub: feature flags, versions, and configuration keys set over the socket, which win over the file.

A key is judged here by the rules and in the words of the file. The daemon takes it up once it is durable. Who may do what is
never set here: it stands in the file alone.
"""

from typing import Annotated, Any

from msgspec import Meta

from core.catalogue import PROTO
from core.control.model import FLAGS_MAX, Control, Flag, FlagName, Key
from core.control.registry import check_rev
from core.engine import NOTHING, Command, Context, Decision, Event, Nothing, Refused, Result, Stamp
from core.fields import Count, Name, Time, privacy
from core.setting_rules import FILE_ONLY, LIVE_KEYS, nearest, overlaid, problems_of, value_of
from core.times import time_text

API_VERSIONS = {"wire": str(PROTO), "methods": "0.1"}
KeyName = Annotated[str, Meta(min_length=1, max_length=128), privacy("public")]
Value = Annotated[Any, privacy("public")]


class SetFlag(Command):
    """A feature flag.

    flag: its name; one named PLATFORM or PLATFORM.ACTION that is off denies
    enabled: on or off
    if_rev: refuse unless the flag is still at this revision; 0 is one that was never set
    """

    flag: FlagName
    enabled: bool
    if_rev: Count | None = None


class FlagSet(Event, type="config.flag_set"):
    """A feature flag was set.

    flag: its name
    enabled: on or off
    rev: its revision
    """

    flag: FlagName
    enabled: bool
    rev: Count


class GlobalConfig(Result, omit_defaults=False):
    """What every engine may know.

    flags: each flag that was ever set, on or off; one that is absent is on
    api_versions: of the wire and of the methods
    revs: the revision of each flag
    """

    flags: dict[str, bool]
    api_versions: dict[str, str]
    revs: dict[str, Count]


class GetKeys(Command):
    """Which configuration keys.

    key: only this one, such as pools.compute.ceiling
    """

    key: KeyName | None = None


class SetKey(Command):
    """A configuration key that a reload would apply. Not `access`: that stands in the file alone.

    key: such as pools.compute.ceiling
    value: as the file would have it; null goes back to what the file says
    if_rev: refuse unless the key is still at this revision; 0 is one that was never set
    """

    key: KeyName
    value: Any
    if_rev: Count | None = None


class KeySet(Event, type="config.key_set"):
    """A configuration key was set, and wins over the file.

    key: which
    value: its value
    rev: its revision
    """

    key: KeyName
    value: Value
    rev: Count


class KeyUnset(Event, type="config.key_unset"):
    """A configuration key goes back to what the file says.

    key: which
    rev: its revision
    left_out: keys set over the socket that fitted beside the old value and not beside the file's: out of force from here on
    """

    key: KeyName
    rev: Count
    left_out: list[KeyName] = []


class KeyChanged(Result):
    """A configuration key as it will be once this answer is out.

    key: which
    rev: its revision
    set: whether it wins over the file
    left_out: other keys that were set and do not fit beside this one any more: not in force, and `irerctl status` says why
    """

    key: str
    rev: Count
    set: bool
    left_out: list[str] = []


class SetKeyRow(Result):
    """A configuration key that was set over the socket.

    value: its value
    rev: its revision
    by: who set it
    at: when
    """

    value: Any
    rev: Count
    by: Name
    at: Time


class KeysInForce(Result, omit_defaults=False):
    """Configuration keys.

    values: what is in force, by key
    set: of those, the ones that were set over the socket and win over the file
    revs: the revision of each key that was ever set
    """

    values: dict[str, Any]
    set: dict[str, SetKeyRow]
    revs: dict[str, Count]


# --- flags ------------------------------------------------------------------------------------------------------------------


def decide_flag(control: Control, command: SetFlag, ctx: Context) -> Decision:
    known = control.flags.get(command.flag)
    rev = known.rev if known is not None else 0
    check_rev(f"the flag {command.flag}", command.if_rev, rev, "config.global")
    if known is not None and known.enabled == command.enabled:
        return NOTHING
    if known is None and len(control.flags) >= FLAGS_MAX:
        raise Refused("resource-exhausted", f"there are {FLAGS_MAX:,} flags, which is the most. Use one of them", reason="flags")
    return Decision(FlagSet(command.flag, command.enabled, rev + 1))


def apply_flag(control: Control, event: FlagSet, stamp: Stamp) -> None:
    control.flags[event.flag] = Flag(event.enabled, event.rev)
    control.changed_seq = stamp.seq


def global_config(control: Control, params: Nothing, ctx: Context) -> GlobalConfig:
    names = sorted(control.flags)
    return GlobalConfig(
        {name: control.flags[name].enabled for name in names}, dict(API_VERSIONS), {name: control.flags[name].rev for name in names}
    )


# --- keys -------------------------------------------------------------------------------------------------------------------


def _known(key: str) -> None:
    if key in LIVE_KEYS:
        return
    if any(f"{key}.".startswith(f"{place}.") for place in FILE_ONLY):
        text = f"{key} stands in the file alone: nobody takes a role or names a host otherwise. Edit it there, then: irerctl reload"
        raise Refused("failed-precondition", text, reason="file-only")
    inner = [name for name in LIVE_KEYS if name.startswith(f"{key}.")]
    if inner:
        text = f"{key} is a table; set one of its keys: {', '.join(inner)}"
        raise Refused("invalid-argument", text, fields=[("key", "a table, not a key")])
    text = f"no key {key} can be set while irer runs.{nearest(key, LIVE_KEYS)} All: irerctl call config.get"
    raise Refused("not-found", text)


def decide_key(control: Control, command: SetKey, ctx: Context) -> Decision:
    known = control.keys.get(command.key)
    if command.value is not None or known is None:  # a key that was set in an older version can still be unset
        _known(command.key)
    rev = known.rev if known is not None else 0
    check_rev(command.key, command.if_rev, rev, "config.get")
    if command.value is None:
        if known is None or not known.is_set:
            return NOTHING
        return Decision(KeyUnset(command.key, rev + 1, _out_of_force(control, command.key, ctx)))
    settings, _ = overlaid(ctx.settings, control.overrides())
    problems = problems_of(settings, command.key, command.value)
    if problems:
        text = "; ".join(problems)
        raise Refused("invalid-argument", f"{text}. Nothing was changed", fields=[("value", problem) for problem in problems])
    if known is not None and known.is_set and known.value == command.value:
        return NOTHING
    return Decision(KeySet(command.key, command.value, rev + 1))


def _out_of_force(control: Control, key: str, ctx: Context) -> list[str]:
    """The keys that would not be in force any more without this one."""
    file, before = ctx.file or ctx.settings, control.overrides()
    after = {name: value for name, value in before.items() if name != key}
    return sorted(overlaid(file, after)[1].keys() - overlaid(file, before)[1].keys())


def apply_key(control: Control, event: KeySet, stamp: Stamp) -> None:
    control.keys[event.key] = Key(event.value, event.rev, stamp.time_us, stamp.actor)
    control.keys_seq = stamp.seq


def apply_unset(control: Control, event: KeyUnset, stamp: Stamp) -> None:
    control.keys[event.key] = Key(None, event.rev, stamp.time_us, stamp.actor, is_set=False)
    control.keys_seq = stamp.seq


def changed(events: list[KeySet | KeyUnset]) -> KeyChanged:
    [event] = events
    if isinstance(event, KeySet):
        return KeyChanged(event.key, event.rev, True)
    return KeyChanged(event.key, event.rev, False, event.left_out)


def keys(control: Control, params: GetKeys, ctx: Context) -> KeysInForce:
    if params.key is not None:
        _known(params.key)
    names = sorted(LIVE_KEYS) if params.key is None else [params.key]
    ever = {name: control.keys[name] for name in names if name in control.keys}
    return KeysInForce(
        {name: value_of(ctx.settings, name) for name in names},
        {name: SetKeyRow(key.value, key.rev, key.actor, time_text(key.time_us)) for name, key in ever.items() if key.is_set},
        {name: key.rev for name, key in ever.items()},
    )
