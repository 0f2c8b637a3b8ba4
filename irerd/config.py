"""One TOML file, then flags, into one frozen struct; every complaint names the file, the line and what to write instead.

The daemon reads the file and never writes it. A file with anything wrong in it changes nothing: all its problems are
reported at once and the settings in force stay. Everything here blocks (files, the user database): call it from a thread
once the loop runs.
"""

import grp
import importlib.util
import pwd
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import msgspec

from core.access import Rules
from core.setting_rules import Check, leaves, nearest
from core.setting_rules import dotted as dotted
from core.setting_rules import toml as toml
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
    check.relations(settings)
    check.installed(settings)
    check.access(settings.access, methods)
    check.refuse()
    origins = {dotted(place): source.origin(place) for place, _ in leaves(settings)}
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


class _Check(Check):
    """Adds to every problem its place in the file."""

    def __init__(self, source: _Source) -> None:
        super().__init__()
        self.source = source

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

    def installed(self, settings: Settings) -> None:
        """What a setting needs beside irer itself. Looked for, never loaded."""
        if settings.compute.backend == "dask" and importlib.util.find_spec("distributed") is None:
            text = "compute.backend: dask is not installed here. Run: pip install 'irer[dask,science]', or set backend to local"
            self.problem(("compute", "backend"), text)

    def said_at(self, low: Place, high: Place) -> Place:
        """At the upper bound, unless only the lower one stands in the file."""
        return low if low in self.source.lines and high not in self.source.lines else high

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
                near = nearest(method, methods)
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


# --- showing and comparing


def effective(loaded: Loaded) -> str:
    """Every value in force with its origin, as TOML that reads back to the same settings."""
    rows = [(f"{dotted(place)} = {toml(value)}", loaded.origins[dotted(place)]) for place, value in leaves(loaded.settings)]
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
    return {place: value for place, value in leaves(settings) if value != {}}


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
