"""Whether a new catalogue still keeps every promise of an old one (the document of `Catalogue.document`).

A request that was good must stay good; an answer that could be read must stay readable; an event must do both, because an
old log is replayed by a new irer and watched by an old client. Texts, help and examples may change; nothing here reads them.
"""

import re
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

JsonSchema = Mapping[str, Any]
Document = Mapping[str, Any]

_STRENGTH = {"read": 0, "write": 1, "admin": 2}
_LOWER = ("minLength", "minItems", "minProperties")
_UPPER = ("maxLength", "maxItems", "maxProperties", "x-irer-bytes-max")


def compatible(old: Document, new: Document, *, new_major: bool = False) -> list[str]:
    """Every promise of `old` that `new` breaks, one sentence each. A new major version may drop what was deprecated."""
    found = [
        *_methods({row["name"]: row for row in old["methods"]}, {row["name"]: row for row in new["methods"]}, new_major),
        *_events(old["events"], new["events"]),
        *_errors(old["errors"], new["errors"]),
    ]
    return sorted(found)


def _methods(old: Mapping[str, Document], new: Mapping[str, Document], new_major: bool) -> Iterator[str]:
    for name, before in old.items():
        if name in new:
            for broken in _method(before, new[name]):
                yield f"{name}: {broken}"
        elif not (new_major and before["deprecated"]):
            yield f"{name}: removed"


def _method(old: Document, new: Document) -> Iterator[str]:
    if _strength(new["needs"]) > _strength(old["needs"]):
        yield f"needs {new['needs']}, which is stronger than {old['needs']}"
    if (old["kind"] == "write") != (new["kind"] == "write"):
        yield f"is a {new['kind']} and was a {old['kind']}"
    if old["streams"] != new["streams"]:
        yield "streams now" if new["streams"] else "no longer streams"
    if new["deadline_ms"] is not None and (old["deadline_ms"] is None or new["deadline_ms"] < old["deadline_ms"]):
        yield f"tighter bound: deadline_ms {new['deadline_ms']} was {old['deadline_ms']}"
    if new["shown_once"] and not old["shown_once"]:
        yield "a repeated key no longer gets its reply again"
    yield from _Judge(old["params"], new["params"], asked=True).problems("params")
    for part in ("result", "item"):
        if old[part] is not None and new[part] is not None:
            yield from _Judge(old[part], new[part], asked=False).problems(part)
    if old["result"] is not None and new["result"] is None:
        yield "result: removed"


def _strength(needs: str) -> int:
    return _STRENGTH.get(needs.rpartition(":")[2], len(_STRENGTH))


def _events(old: Mapping[str, Document], new: Mapping[str, Document]) -> Iterator[str]:
    for name, before in old.items():
        after = new.get(name)
        if after is None:
            yield f"event {name}: removed; an old log has it"
            continue
        if before["log"] != after["log"]:
            yield f"event {name}: reused: it was in {before['log']} and is now in {after['log']}"
        replayed = _Judge(before["schema"], after["schema"], asked=True).problems("data")
        watched = _Judge(before["schema"], after["schema"], asked=False).problems("data")
        for broken in dict.fromkeys([*replayed, *watched]):
            yield f"event {name}: reused with another meaning: {broken}"


def _errors(old: Mapping[str, Document], new: Mapping[str, Document]) -> Iterator[str]:
    for code, before in old.items():
        after = new.get(code)
        if after is None:
            yield f"error {code}: removed"
            continue
        for part in ("http", "exit"):
            if before[part] != after[part]:
                yield f"error {code}: reused: {part} {after[part]} was {before[part]}"


class _Judge:
    """Compares one schema with its successor: as something callers send (`asked`), or as something they read."""

    def __init__(self, old: JsonSchema, new: JsonSchema, *, asked: bool) -> None:
        self.old = old
        self.new = new
        self.asked = asked
        self._seen: set[tuple[str, str]] = set()

    def problems(self, path: str) -> list[str]:
        return list(self._compare(self.old, self.new, path))

    def _compare(self, old: JsonSchema, new: JsonSchema, path: str) -> Iterator[str]:
        """Each alternative on the side that must fit finds its like on the other; of several likes the closest is judged."""
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"])
            if pair in self._seen:
                return
            self._seen.add(pair)
        before, after = _alternatives(old, self.old), _alternatives(new, self.new)
        for one in before if self.asked else after:
            likes = [other for other in (after if self.asked else before) if _fits(one, other)]
            if not likes:
                yield f"{path}: retyped: {'no longer takes' if self.asked else 'may now be'} {_kind(one)}"
                continue
            yield from min((list(self._alike(*((one, other) if self.asked else (other, one)), path)) for other in likes), key=len)

    def _alike(self, old: JsonSchema, new: JsonSchema, path: str) -> Iterator[str]:
        if self.asked:
            yield from _tighter(old, new, path)
        if "properties" in old or "properties" in new:
            yield from self._fields(old, new, path)
        for part, place in (("items", "[]"), ("additionalProperties", "{}"), ("propertyNames", "{key}")):
            one, other = old.get(part), new.get(part)
            if isinstance(one, Mapping) or isinstance(other, Mapping):
                yield from self._compare(_open(one), _open(other), path + place)
        yield from self._members(old.get("prefixItems", []), new.get("prefixItems", []), path)

    def _members(self, old: list[JsonSchema], new: list[JsonSchema], path: str) -> Iterator[str]:
        if len(old) != len(new):
            yield f"{path}: retyped: {len(new)} members, was {len(old)}"
            return
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from self._compare(one, other, f"{path}[{place}]")

    def _fields(self, old: JsonSchema, new: JsonSchema, path: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed, needs = set(old.get("required", ())), set(new.get("required", ()))
        for name, one in before.items():
            if name not in after:
                yield f"{path}.{name}: removed"
                continue
            yield from self._compare(one, after[name], f"{path}.{name}")
            if self.asked and name in needs - needed:
                yield f"{path}.{name}: now required"
            if not self.asked and name in needed - needs:
                yield f"{path}.{name}: no longer always there"
        if self.asked:
            for name in sorted(needs - set(before)):
                yield f"{path}.{name}: new and required"


def _alternatives(schema: JsonSchema, top: JsonSchema) -> list[JsonSchema]:
    if "$ref" in schema:
        return [top["$defs"][schema["$ref"].rpartition("/")[2]]]
    if "anyOf" in schema:
        return [leaf for member in schema["anyOf"] for leaf in _alternatives(member, top)]
    return [schema]


def _open(schema: Any) -> JsonSchema:
    """A place without a schema takes anything."""
    return schema if isinstance(schema, Mapping) else {}


def _kind(schema: JsonSchema) -> str:
    """The word for what JSON type a schema without alternatives takes; an enumeration is of its members' type."""
    if "contentEncoding" in schema:
        return "bytes"
    if "enum" in schema:
        names = {bool: "boolean", int: "integer", str: "string", type(None): "null"}
        return "/".join(sorted({names[type(value)] for value in schema["enum"]}))
    return str(schema.get("type", "anything"))


def _fits(one: JsonSchema, other: JsonSchema) -> bool:
    """Whether a value of the first is of a type that the second takes."""
    pair = (_kind(one), _kind(other))
    return pair[0] == pair[1] or pair[1] == "anything" or pair == ("integer", "number")


def _tighter(old: JsonSchema, new: JsonSchema, path: str) -> Iterator[str]:
    """Values that were taken and no longer are, by the bounds alone."""
    if "enum" in old:
        for value in old["enum"]:
            if not _takes(new, value):
                yield f"{path}: tighter bound: no longer takes {value}"
        return
    if "enum" in new:
        yield f"{path}: tighter bound: takes only {', '.join(map(str, new['enum']))}"
        return
    if _least(new) > _least(old):
        yield f"{path}: tighter bound: from {_least(new)[0]}, was {_least(old)[0]}"
    if _most(new) < _most(old):
        yield f"{path}: tighter bound: up to {_most(new)[0]}, was {_most(old)[0]}"
    for name in _LOWER:
        if new.get(name, 0) > old.get(name, 0):
            yield f"{path}: tighter bound: {name} {new[name]}, was {old.get(name, 0)}"
    for name in _UPPER:
        if new.get(name, inf) < old.get(name, inf):
            yield f"{path}: tighter bound: {name} {new[name]}, was {old.get(name, 'open')}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{path}: tighter bound: pattern {new['pattern']}, was {old.get('pattern', 'open')}"
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield f"{path}: tighter bound: unknown fields are refused now"


def _least(schema: JsonSchema) -> tuple[float, bool]:
    """The lower bound of a number, and whether the bound itself is outside."""
    return max((schema.get("minimum", -inf), False), (schema.get("exclusiveMinimum", -inf), True))


def _most(schema: JsonSchema) -> tuple[float, bool]:
    """The upper bound of a number, and whether the bound itself is inside."""
    return min((schema.get("maximum", inf), True), (schema.get("exclusiveMaximum", inf), False))


def _takes(schema: JsonSchema, value: Any) -> bool:
    """Whether one old choice is still good; the types are known to fit."""
    if "enum" in schema:
        return value in schema["enum"]
    if isinstance(value, str):
        long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", inf)
        return long_enough and re.search(schema.get("pattern", ""), value) is not None
    return _least(schema) <= (value, False) and (value, True) <= _most(schema)
