"""What makes a configuration usable, and how a person is told what does not: for the file and for keys set over the socket alike.

It knows no file: where something was said is for the caller to add. Every complaint names the key and what to write instead.
"""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from core.fields import patterns
from core.notes import COSIGNER, BadNote, key_from
from core.settings import LIVE, Settings

Place = tuple[str | int, ...]
"""The way to a value: names of tables and keys, positions in arrays."""

FILE_ONLY = frozenset({"access", "cache.remote", "jobs.roots", "witness"})
"""Sections that no caller may set: nobody gives themselves a role over the socket, or names a file or a host."""


class Check:
    """Collects every problem before anything is refused, so that one look mends them all."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, place: Place, text: str) -> None:
        self.problems.append(text)

    def value(self, value: Any, kind: Any, place: Place) -> None:
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        shape = get_origin(bare) or bare
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
            if self.is_a(value, dict, "a table", place):
                self.table(value, shape, place)
        elif shape is dict:
            if self.is_a(value, dict, "a table", place):
                key_kind, value_kind = get_args(bare)
                for key, inner in value.items():
                    self.leaf(key, key_kind, (*place, key))
                    self.value(inner, value_kind, (*place, key))
        elif shape is list:
            if self.is_a(value, list, "an array", place):
                for index, inner in enumerate(value):
                    self.value(inner, get_args(bare)[0], (*place, index))
        else:
            self.leaf(value, kind, place)

    def is_a(self, value: Any, kind: type, words: str, place: Place) -> bool:
        if isinstance(value, kind):
            return True
        self.problem(place, f"{dotted(place)}: expected {words}, got {shown(value)}")
        return False

    def table(self, table: Mapping[str, Any], struct: type[msgspec.Struct], place: Place) -> None:
        kinds = get_type_hints(struct, include_extras=True)
        for key, value in table.items():
            if key in struct.__struct_fields__:
                self.value(value, kinds[key], (*place, key))
            else:
                self.problem((*place, key), f"unknown key {dotted((*place, key))}.{nearest_key(place, key, struct)}")

    def leaf(self, value: Any, kind: Any, place: Place) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            self.problem(place, f"{dotted(place)}: expected a finite number, got {value}")
            return
        try:
            msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            self.problem(place, f"{dotted(place)}: expected {expected(kind, str(error))}, got {shown(value)}")

    def relations(self, settings: Settings) -> None:
        """What no single key can say."""
        for pool in type(settings.pools).__struct_fields__:
            bounds = getattr(settings.pools, pool)
            if hasattr(bounds, "floor") and bounds.floor > bounds.ceiling:
                place = ("pools", pool)
                self.order((*place, "floor"), bounds.floor, "not be above", (*place, "ceiling"), bounds.ceiling)
        pools, retry = settings.pools, settings.retry
        if pools.scale_down_below >= pools.scale_up_above:
            down, up = ("pools", "scale_down_below"), ("pools", "scale_up_above")
            self.order(down, pools.scale_down_below, "stay below", up, pools.scale_up_above)
        if retry.base_s > retry.cap_s:
            self.order(("retry", "base_s"), retry.base_s, "not be above", ("retry", "cap_s"), retry.cap_s)
        compute = settings.compute
        if compute.retire_bytes > compute.memory_bytes:
            retire, memory = ("compute", "retire_bytes"), ("compute", "memory_bytes")
            self.order(retire, compute.retire_bytes, "not be above", memory, compute.memory_bytes)
        if compute.backend == "dask" and not compute.scheduler:
            text = "compute.scheduler: backend dask needs the address of its scheduler, as tcp://HOST:PORT or tls://HOST:PORT"
            self.problem(("compute", "backend"), text)
        for name in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
            path = getattr(compute, name)
            if path and not path.startswith("/"):
                self.problem(("compute", name), f"compute.{name}: expected an absolute path, got {shown(path)}")
            if compute.scheduler.startswith("tls:") and not path:
                self.problem(("compute", "scheduler"), f"compute.{name}: a tls:// scheduler needs it; give an absolute path")
        for name, root in settings.jobs.roots.items():
            if not root.startswith("/"):
                self.problem(("jobs", "roots", name), f"jobs.roots.{name}: expected an absolute path, got {shown(root)}")
        for name, source in settings.eil.sources.items():
            if source.idle_w > source.max_w:
                machine = ("eil", "sources", name)
                self.order((*machine, "idle_w"), source.idle_w, "not be above", (*machine, "max_w"), source.max_w)
            if len(source.power_w) not in (0, 11):
                text = (
                    f"eil.sources.{name}.power_w has {len(source.power_w)} figures: give eleven, for 0, 10 … 100 % of use, or none"
                )
                self.problem(("eil", "sources", name, "power_w"), text)

        self.witnesses(settings)
        remote = settings.cache.remote
        if bool(remote.username) != bool(remote.password_file):
            named, missing = ("username", "password_file") if remote.username else ("password_file", "username")
            text = f"cache.remote.{named} is set, and cache.remote.{missing} is not: they go together"
            self.problem(("cache", "remote", named), text)
        if "/" in remote.password_file and not remote.password_file.startswith("/"):
            text = f"cache.remote.password_file: expected an absolute path, got {shown(remote.password_file)}"
            self.problem(("cache", "remote", "password_file"), text)

    def witnesses(self, settings: Settings) -> None:
        """Each has a key that no other has, and there are as many as must agree."""
        seen: dict[bytes, str] = {}
        for name, witness in settings.witness.trusted.items():
            place = ("witness", "trusted", name)
            if witness.socket and not witness.socket.startswith("/"):
                self.problem(
                    (*place, "socket"), f"{dotted((*place, 'socket'))}: expected an absolute path, got {shown(witness.socket)}"
                )
            try:
                public = key_from(witness.vkey, COSIGNER).public
            except BadNote as bad:
                text = f"{dotted((*place, 'vkey'))}: {bad.why}. Its operator has it: irer-witness key"
                self.problem((*place, "vkey"), text)
                continue
            if public in seen:
                text = f"{dotted((*place, 'vkey'))} is also that of {seen[public]}: one witness is one voice"
                self.problem((*place, "vkey"), text)
            seen[public] = name
        if settings.witness.quorum > len(settings.witness.trusted):
            text = f"witness.quorum is {settings.witness.quorum}, and there are {len(settings.witness.trusted)} witnesses"
            self.problem(("witness", "quorum"), text)

    def order(self, low: Place, low_value: float, rule: str, high: Place, high_value: float) -> None:
        text = f"{dotted(low)} is {shown(low_value)} and must {rule} {dotted(high)}, {shown(high_value)}"
        self.problem(self.said_at(low, high), text)

    def said_at(self, low: Place, high: Place) -> Place:
        """Of two keys that do not fit, the one to complain about."""
        return high


# --- keys set one by one


def live_keys(kind: Any = Settings, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key that may be set while irer runs, with its type."""
    for name, inner in get_type_hints(kind, include_extras=True).items():
        if (not place and name not in LIVE) or ".".join((*place, name)) in FILE_ONLY:
            continue
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from live_keys(inner, (*place, name))
        else:
            yield (*place, name), inner


LIVE_KEYS = {".".join(place): kind for place, kind in live_keys()}


def value_of(settings: Settings, key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        found = getattr(found, name)
    return found


def with_key(settings: Settings, key: str, value: Any) -> Settings:
    """The settings with this key at this value, which must fit its type."""
    changed = _replaced(settings, key.split("."), msgspec.convert(value, LIVE_KEYS[key], strict=True))
    assert isinstance(changed, Settings)
    return changed


def _replaced(struct: msgspec.Struct, names: list[str], value: Any) -> msgspec.Struct:
    name, *rest = names
    inner = _replaced(getattr(struct, name), rest, value) if rest else value
    return msgspec.structs.replace(struct, **{name: inner})


def problems_of(settings: Settings, key: str, value: Any) -> list[str]:
    """Why this key cannot have this value beside all the others; empty when it can."""
    check = Check()
    check.value(value, LIVE_KEYS[key], tuple(key.split(".")))
    if not check.problems:
        check.relations(with_key(settings, key, value))
    return check.problems


def overlaid(settings: Settings, keys: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The file's settings with the set keys on top; and of keys that do not fit (any more), why they are left out.

    All that fit together are taken: one that the file's new values contradict costs none of the others.
    """
    left_out = {key: f"{key} is no key of this version" for key in keys if key not in LIVE_KEYS}
    waiting = {key: value for key, value in keys.items() if key in LIVE_KEYS}
    for key, value in list(waiting.items()):
        check = Check()
        check.value(value, LIVE_KEYS[key], tuple(key.split(".")))
        if check.problems:
            left_out[key] = check.problems[0]
            del waiting[key]
    together = settings
    for key, value in waiting.items():
        together = with_key(together, key, value)
    whole = Check()
    whole.relations(together)
    if not whole.problems:
        return together, left_out
    progress = True
    while waiting and progress:
        progress = False
        for key, value in list(waiting.items()):
            if not problems_of(settings, key, value):
                settings = with_key(settings, key, waiting.pop(key))
                progress = True
    return settings, left_out | {key: problems_of(settings, key, value)[0] for key, value in waiting.items()}


# --- words


def expected(kind: Any, message: str) -> str:
    """`Expected `int` >= 1, got `str`` without what it got; of a text with a pattern, its words."""
    said = next(iter(patterns(kind).values()), None)
    return said or message.removeprefix("Expected ").partition(", got ")[0].replace("`", "")


def shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    text = toml(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest_key(place: Place, key: str, struct: type[msgspec.Struct]) -> str:
    """A key of that very name elsewhere, a sibling that looks alike, or any key at all of nearly that name."""
    from difflib import get_close_matches

    by_name = {str(known[-1]): dotted(known) for known, _ in reversed(list(leaves(Settings())))}
    if key in by_name:
        return f" Did you mean {by_name[key]}?"
    beside = get_close_matches(key, struct.__struct_fields__, n=1, cutoff=0.6)
    if beside:
        return f" Did you mean {dotted((*place, beside[0]))}?"
    elsewhere = get_close_matches(key, by_name, n=1, cutoff=0.75)
    if elsewhere:
        return f" Did you mean {by_name[elsewhere[0]]}?"
    return f" Known here: {', '.join(struct.__struct_fields__)}"


def nearest(word: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every key with a value of its own; a list is one value, an empty table too."""
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from leaves(getattr(value, field), (*place, field))
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def dotted(place: Place) -> str:
    """`("access", "deny", "uid:1", 0)` as a person would write it: `access.deny."uid:1"[0]`."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            bare = re.fullmatch("[A-Za-z0-9_-]+", step)
            text += ("." if text else "") + (step if bare else _quoted(step))
    return text


def _quoted(text: str) -> str:
    """A TOML string on one line, with nothing in it that could move a terminal's cursor."""
    kept = json.dumps(text, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in kept)


def toml(value: Any) -> str:
    """A value as the file would say it, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case list():
            return f"[{', '.join(toml(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{dotted((key,))} = {toml(inner)}' for key, inner in value.items())}}}"
        case _:
            return str(value)
