"""One TOML file, then flags, into one frozen struct; every complaint names the file, the line and what to write instead.

The daemon reads the file and never writes it. A file with anything wrong in it changes nothing: all its problems are
reported at once and the settings in force stay. Everything here blocks (files, the user database): call it from a thread
once the loop runs.
"""

import difflib
import grp
import json
import math
import pwd
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict, get_args, get_origin, get_type_hints

import msgspec

from core.access import Rules
from core.fields import patterns
from core.settings import LIVE, Access, Settings
from irerd.places import Path as Place
from irerd.places import places

DEFAULT_PATH = Path("/etc/irer/irerd.toml")
"""Read if it exists and no other is named."""

FILE_BYTES_MAX = 1_048_576
UID_MAX = 2**32 - 2

BUILT_IN_ROLES = ("viewer", "operator", "admin", "engine")


class ConfigError(Exception):
    """The configuration is not usable. One problem a line, each with its place."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for each key, where its value came from: `default`, `flag` or `FILE:LINE`."""

    settings: Settings
    origins: Mapping[str, str]
    path: Path | None


class Changes(TypedDict):
    """What a reload does, by key."""

    applied: list[str]
    unchanged: list[str]
    needs_restart: list[str]


class Resolved(NamedTuple):
    """Rules for the judge, in numbers, and one line for each name that exists nowhere."""

    rules: Rules
    warnings: list[str]


# --- loading


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None, *, methods: Collection[str] | None = None) -> Loaded:
    """Settings from the file, if one is named, with `overrides` (dotted key to value) on top.

    With `methods`, the names of all methods, a name in `access` that is none of them is refused: a rule that denies a
    misspelt method would deny nothing.
    """
    source = _Source(path, overrides or {})
    check = _Check(source)
    data = source.data
    check.version(data)
    check.value(data, Settings, ())
    check.refuse()
    settings = msgspec.convert(data, Settings, strict=True)
    check.relations(settings, methods)
    check.refuse()
    origins = {dotted(place): source.origin(place) for place, _ in _leaves(settings)}
    return Loaded(settings, origins, path)


class _Source:
    """The raw values of a file and of flags, and where each was said."""

    def __init__(self, path: Path | None, overrides: Mapping[str, Any]) -> None:
        self.path = path
        self.lines: dict[Place, int] = {}
        self.data: dict[str, Any] = {}
        if path is not None:
            self._read(path)
        self.flags = {tuple(key.split(".")) for key in overrides}
        for key, value in overrides.items():
            self._override(key.split("."), value)

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read ({error.strerror}). Name another with --config"]) from None
        if len(raw) > FILE_BYTES_MAX:
            raise ConfigError([f"{path}: larger than {FILE_BYTES_MAX} bytes; this is no configuration file"])
        try:
            text = raw.decode().replace("\r\n", "\n")
            self.data = tomllib.loads(text)
            self.lines = places(text)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ConfigError([f"{path}:{line}: not UTF-8 text"]) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([_nottoml(path, text, str(error))]) from None
        except RecursionError:
            raise ConfigError([f"{path}: nested too deeply"]) from None

    def _override(self, keys: list[str], value: Any) -> None:
        table = self.data
        for key in keys[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                inner = table[key] = {}
            table = inner
        table[keys[-1]] = value

    def origin(self, place: Place) -> str:
        if any(place[: len(flag)] == flag for flag in self.flags):
            return "flag"
        return f"{self.path}:{self.lines[place]}" if place in self.lines else "default"

    def place(self, place: Place) -> str:
        """As `origin`, but for what is wrong at `place`: the nearest enclosing line when it has none of its own."""
        origin = self.origin(place)
        while origin == "default" and place:
            place = place[:-1]
            origin = self.origin(place)
        return str(self.path or "flag") if origin == "default" else origin


def _nottoml(path: Path, text: str, message: str) -> str:
    what, _, where = message.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", where)
    if found:
        return f"{path}:{found[1]}: not TOML: {what[0].lower()}{what[1:]} at column {found[2]}"
    return f"{path}:{text.count(chr(10)) + 1}: not TOML: {what[0].lower()}{what[1:]} at the end of the file"


# --- judging


class _Check:
    """Collects every problem before anything is refused, so that one look at the file mends them all."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.problems: list[str] = []

    def refuse(self) -> None:
        if self.problems:
            raise ConfigError(self.problems)

    def problem(self, place: Place, text: str) -> None:
        self.problems.append(f"{self.source.place(place)}: {text}")

    def version(self, data: Mapping[str, Any]) -> None:
        """First, and alone: in a newer format every other complaint would mislead."""
        said = data.get("config_version", 1)
        if isinstance(said, int) and not isinstance(said, bool) and said > 1:
            self.problem(("config_version",), f"config_version {said} is of a newer irer; this one reads 1")
            self.refuse()

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
        self.problem(place, f"{dotted(place)}: expected {words}, got {_shown(value)}")
        return False

    def table(self, table: Mapping[str, Any], struct: type[msgspec.Struct], place: Place) -> None:
        kinds = get_type_hints(struct, include_extras=True)
        for key, value in table.items():
            if key in struct.__struct_fields__:
                self.value(value, kinds[key], (*place, key))
            else:
                self.problem((*place, key), f"unknown key {dotted((*place, key))}.{_nearest_key(place, key, struct)}")

    def leaf(self, value: Any, kind: Any, place: Place) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            self.problem(place, f"{dotted(place)}: expected a finite number, got {value}")
            return
        try:
            msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            self.problem(place, f"{dotted(place)}: expected {_expected(kind, str(error))}, got {_shown(value)}")

    def relations(self, settings: Settings, methods: Collection[str] | None) -> None:
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
        for name, root in settings.jobs.roots.items():
            if not root.startswith("/"):
                self.problem(("jobs", "roots", name), f"jobs.roots.{name}: expected an absolute path, got {_shown(root)}")
        self.access(settings.access, methods)

    def order(self, low: Place, low_value: float, rule: str, high: Place, high_value: float) -> None:
        """Said at the upper bound, unless only the lower one stands in the file."""
        said = low if low in self.source.lines and high not in self.source.lines else high
        self.problem(said, f"{dotted(low)} is {_shown(low_value)} and must {rule} {dotted(high)}, {_shown(high_value)}")

    def access(self, access: Access, methods: Collection[str] | None) -> None:
        for place, member in _members(access):
            kind, _, name = member.partition(":")
            if kind in ("uid", "gid") and not (re.fullmatch("[0-9]{1,10}", name) and int(name) <= UID_MAX):
                named = "user" if kind == "uid" else "group"
                self.problem(place, f"{dotted(place)}: {kind}: takes a number; a name is written {named}:{name.strip()}")
        for role in access.roles:
            if role in BUILT_IN_ROLES or not re.fullmatch("[a-z][a-z0-9_-]{0,31}", role):
                built_in = ", ".join(BUILT_IN_ROLES)
                self.problem(("access", "roles", role), f"role {role}: expected a name of your own, a-z first, not {built_in}")
        if methods is None:
            return
        for place, method in _methods(access):
            if method not in methods:
                near = _nearest(method, methods)
                self.problem(place, f"{dotted(place)}: unknown method {method}.{near} All: irerctl api ls")


def _members(access: Access) -> Iterator[tuple[Place, str]]:
    """Every member named anywhere, with its place."""
    for role in BUILT_IN_ROLES:
        for index, member in enumerate(getattr(access, role, ())):
            yield ("access", role, index), member
    for role, custom in access.roles.items():
        for index, member in enumerate(custom.members):
            yield ("access", "roles", role, "members", index), member
    for member in access.deny:
        yield ("access", "deny", member), member


def _methods(access: Access) -> Iterator[tuple[Place, str]]:
    for role, custom in access.roles.items():
        for index, method in enumerate(custom.allow):
            yield ("access", "roles", role, "allow", index), method
    for member, denied in access.deny.items():
        for index, method in enumerate(denied):
            yield ("access", "deny", member, index), method


def _expected(kind: Any, message: str) -> str:
    """`Expected `int` >= 1, got `str`` without what it got; of a text with a pattern, its words."""
    said = next(iter(patterns(kind).values()), None)
    return said or message.removeprefix("Expected ").partition(", got ")[0].replace("`", "")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    text = toml(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest_key(place: Place, key: str, struct: type[msgspec.Struct]) -> str:
    """A sibling that looks alike; else any key at all of nearly that name."""
    beside = difflib.get_close_matches(key, struct.__struct_fields__, n=1, cutoff=0.6)
    if beside:
        return f" Did you mean {dotted((*place, beside[0]))}?"
    by_name = {str(known[-1]): dotted(known) for known, _ in reversed(list(_leaves(Settings())))}
    elsewhere = difflib.get_close_matches(key, by_name, n=1, cutoff=0.75)
    if elsewhere:
        return f" Did you mean {by_name[elsewhere[0]]}?"
    return f" Known here: {', '.join(struct.__struct_fields__)}"


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


# --- showing and comparing


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


def effective(loaded: Loaded) -> str:
    """Every value in force with its origin, as TOML that reads back to the same settings."""
    rows = [(f"{dotted(place)} = {toml(value)}", loaded.origins[dotted(place)]) for place, value in _leaves(loaded.settings)]
    width = min(max(len(text) for text, _ in rows), 56)
    return "".join(f"{text:<{width}}  # {origin}\n" for text, origin in rows)


def diff(old: Settings, new: Settings) -> Changes:
    """What a change of file means, by key. A key that vanished counts as changed."""
    before, after = _compared(old), _compared(new)
    changes = Changes(applied=[], unchanged=[], needs_restart=[])
    for place in [*after, *(place for place in before if place not in after)]:
        if place in before and place in after and before[place] == after[place]:
            changes["unchanged"].append(dotted(place))
        elif place[0] in LIVE:
            changes["applied"].append(dotted(place))
        else:
            changes["needs_restart"].append(dotted(place))
    return changes


def reloaded(old: Settings, new: Settings) -> Settings:
    """What is in force after a reload: the new values of live sections, the old ones of all others."""
    return msgspec.structs.replace(old, **{section: getattr(new, section) for section in LIVE})


def _compared(settings: Settings) -> dict[Place, Any]:
    return {place: value for place, value in _leaves(settings) if value != {}}


def _leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every key with a value of its own; a list is one value, an empty table too."""
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from _leaves(getattr(value, field), (*place, field))
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    else:
        yield place, value


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


# --- names to numbers


def resolve_members(
    access: Access,
    user_id: Callable[[str], int] = lambda name: pwd.getpwnam(name).pw_uid,
    group_id: Callable[[str], int] = lambda name: grp.getgrnam(name).gr_gid,
) -> Resolved:
    """The rules in numbers. A name that exists nowhere admits nobody and is reported; it stops nothing."""
    uids: dict[int, set[str]] = {}
    gids: dict[int, set[str]] = {}
    denied_uids: dict[int, set[str]] = {}
    denied_gids: dict[int, set[str]] = {}
    warnings: list[str] = []
    for place, member in _members(access):
        kind, _, name = member.partition(":")
        of_user = kind in ("uid", "user")
        try:
            number = int(name) if kind in ("uid", "gid") else (user_id if of_user else group_id)(name)
        except (KeyError, OSError):
            what = "nothing is denied" if place[1] == "deny" else "nobody is admitted"
            warnings.append(
                f"{dotted(place)}: {member} does not exist here; {what} by it until it does and `irerctl reload` is run"
            )
            continue
        if place[1] == "deny":
            (denied_uids if of_user else denied_gids).setdefault(number, set()).update(access.deny[member])
        else:
            role = str(place[2] if place[1] == "roles" else place[1])
            (uids if of_user else gids).setdefault(number, set()).add(role)
    allowed = {role: frozenset(custom.allow) for role, custom in access.roles.items()}
    rules = Rules(_frozen(uids), _frozen(gids), allowed, _frozen(denied_uids), _frozen(denied_gids))
    return Resolved(rules, warnings)


def _frozen(table: Mapping[int, set[str]]) -> dict[int, frozenset[str]]:
    return {number: frozenset(names) for number, names in table.items()}
