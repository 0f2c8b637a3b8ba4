"""What a bug report may say: words of irer's own, numbers, and marks where something else stood.

An allow-list, for what is private cannot be listed: a text passes only if irer itself made it up. Must never let through what a
caller, an administrator or a file said.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

NAME, TEXT, PATH, MONEY = (f"[redacted:{kind}]" for kind in ("name", "text", "path", "money"))
MONEY_FIELDS = frozenset({"revenue", "balance", "balances", "amount", "total"})
_OUR_CODE = re.compile(r"[a-z0-9_.-]{1,64}")
_PLACES = re.compile(r"[\w.]+:\d+ [\w<>.]+( < [\w.]+:\d+ [\w<>.]+)*")
_SCRUBBED = (
    (re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`"), TEXT),
    (re.compile(r"\b(?:uid|gid|user|group|engine|owner):\S+"), NAME),
    (re.compile(r"(?<![\w.])~?/[^\s,;:)\]]+"), PATH),
    (re.compile(r"\b[\w.+-]+@[\w.-]+"), NAME),
    (re.compile(r"\b\w+://\S+"), "[redacted:address]"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "[redacted:address]"),
    (re.compile(r"[A-Za-z0-9+/_=.-]{24,}"), "[redacted:token]"),
)


def vocabulary() -> frozenset[str]:
    """Every word of the catalogue and of the configuration: names of fields, engines, logs, methods, and what may be chosen."""
    import msgspec

    from core.settings import Settings
    from irerctl.generic import catalogue

    found = catalogue()
    words = set(_words(found.document()))
    words |= (
        {row for row in found.rows} | {engine.name for engine in found.engines} | {engine.log or "" for engine in found.engines}
    )
    words |= {each for key in flat(msgspec.to_builtins(Settings())) for each in (key, *key.split("."))}
    return frozenset(words | set(_texts(msgspec.to_builtins(Settings()))))


def _words(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "example":
                continue
            yield str(key)
            yield from (map(str, value) if key == "enum" and isinstance(value, list) else _words(value))
    elif isinstance(schema, list):
        for value in schema:
            yield from _words(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def flat(settings: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    """Keys as the configuration names them, with dots."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{lead}{key}.")
        else:
            found[lead + key] = value
    return found


class Sieve:
    """Lets through what is irer's own."""

    def __init__(self, words: frozenset[str], known_here: frozenset[str] = frozenset()) -> None:
        """`known_here` are names of this machine and its people, taken out of texts wherever they stand."""
        self._words = words
        self._known_here = [re.compile(rf"\b{re.escape(name)}\b") for name in sorted(known_here, key=len, reverse=True) if name]

    def value(self, value: Any, field: str = "") -> Any:
        """A value with all its members: numbers stay, words stay if they are ours."""
        if field in MONEY_FIELDS and not isinstance(value, str):
            return MONEY
        match value:
            case str():
                return value if value in self._words else TEXT
            case Mapping():
                return dict(self._members(value))
            case list() | tuple():
                return [self.value(each, field) for each in value]
            case bool() | int() | float() | None:
                return value
        return TEXT

    def _members(self, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        strange = 0
        for key, value in values.items():
            strange += key not in self._words
            yield (key if key in self._words else f"{NAME} {strange}"), self.value(value, key)

    def name(self, name: str) -> str:
        """A name of several words, such as a configuration key, without the words that somebody else chose."""
        return "".join(
            part if part in self._words or part in (".", "/", " ") else NAME for part in re.split(r"([./ ])", name) if part
        )

    def codes(self, value: Any) -> Any:
        """What the verifier says: its words are codes, names of logs and digests."""
        match value:
            case str():
                return value if _OUR_CODE.fullmatch(value) else TEXT
            case Mapping():
                return {key: self.codes(each) for key, each in value.items() if _OUR_CODE.fullmatch(key)}
            case list() | tuple():
                return [self.codes(each) for each in value]
        return value

    def sentence(self, text: str) -> str:
        """A sentence of irer's, without what was put into it: names, paths, addresses, quotations, tokens."""
        for pattern, mark in _SCRUBBED:
            text = pattern.sub(mark, text)
        for name in self._known_here:
            text = name.sub(NAME, text)
        return text[:300]

    def journal_line(self, message: str) -> dict[str, Any]:
        """One line of the daemon's journal: its sentence, its numbers, and the fields that only irer fills."""
        start = message.find("{")
        try:
            found = json.loads(message[start:]) if start in (0, 3) else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            return {"text": self.sentence(message) if re.match(r'\s*File "[^"]*", line \d+, in \w+$', message) else TEXT}
        return {key: self._journal_field(key, value) for key, value in found.items() if _OUR_CODE.fullmatch(key)}

    def _journal_field(self, key: str, value: Any) -> Any:
        if isinstance(value, bool | int | float):
            return value
        if not isinstance(value, str):
            return TEXT
        match key:
            case "text":
                return self.sentence(value)
            case "at":
                return value if _PLACES.fullmatch(value) else TEXT
            case "time" | "instance" | "version" | "signal" | "type":
                return value if re.fullmatch(r"[A-Za-z0-9:.-]{1,40}", value) else TEXT
        return value if value in self._words else TEXT


def names_here() -> frozenset[str]:
    """Names of this machine and of its people."""
    import pwd

    people = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid >= 1000 and entry.pw_name not in ("nobody", "irer")}
    homes = {entry.pw_dir for entry in pwd.getpwall() if entry.pw_uid >= 1000}
    return frozenset({os.uname().nodename, *people, *homes, os.path.expanduser("~").rpartition("/")[2]} - {"", "root"})
