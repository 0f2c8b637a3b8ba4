"""A message type as JSON Schema (2020-12), field by field, with the words its class docstring says about each.

This is the one place where types become data; CDDL, OpenAPI, the reference and the compatibility rules all read its output.
What cannot travel in a frame cannot be described here: such a type is an error of ours, found when the catalogue is built.
"""

import re
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

JsonSchema = dict[str, Any]

_FIELD_LINE = re.compile(r"^([a-z][a-z0-9_]*): (\S.*)$")
_NUMBER_BOUNDS = (("ge", "minimum"), ("gt", "exclusiveMinimum"), ("le", "maximum"), ("lt", "exclusiveMaximum"))
_TEXT_BOUNDS = (("min_length", "minLength"), ("max_length", "maxLength"))
_LIST_BOUNDS = (("min_length", "minItems"), ("max_length", "maxItems"))
_MAP_BOUNDS = (("min_length", "minProperties"), ("max_length", "maxProperties"))


class Words:
    """What a class docstring says: about the message, and about each of its fields."""

    def __init__(self, message: str, fields: dict[str, str]) -> None:
        self.message = message
        self.fields = fields


def words(cls: type) -> Words:
    """The docstring's text up to the first `field: meaning` line, and those lines; a base class explains what it brings."""
    fields: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            fields.update(_split(base.__dict__.get("__doc__"))[1])
    return Words(_split(cls.__dict__.get("__doc__"))[0], fields)


def _split(docstring: str | None) -> tuple[str, dict[str, str]]:
    message: list[str] = []
    fields: dict[str, str] = {}
    current = ""
    for line in (docstring or "").splitlines():
        text = line.strip()
        found = _FIELD_LINE.match(text)
        if found:
            current = found[1]
            fields[current] = found[2]
        elif current and text:
            fields[current] += " " + text
        elif text:
            message.append(text)
        else:
            current = ""
    return " ".join(message), fields


class Names:
    """One name for each struct of a catalogue, its class name; of two classes called alike, the later one carries its module's."""

    def __init__(self) -> None:
        self._of: dict[type, str] = {}
        self._taken: dict[str, type] = {}

    def of(self, cls: type) -> str:
        if cls not in self._of:
            name = cls.__name__
            if name in self._taken:
                name = cls.__module__.rpartition(".")[2].title().replace("_", "") + name
            if name in self._taken:
                raise TypeError(f"two types are called {name}: {self._taken[name]} and {cls}")
            self._of[cls] = name
            self._taken[name] = cls
        return self._of[cls]


def schema(annotation: Any, names: Names, *, asks: bool) -> JsonSchema:
    """A self-contained schema: nested structs stand once, under `$defs`.

    What a caller asks with is closed to unknown fields; what irer answers stays open, so an old client survives a new field.
    """
    writer = _Writer(names, asks)
    info = inspect.type_info(annotation)
    top = writer.struct(info) if isinstance(info, inspect.StructType) else writer.of(info)
    if writer.defs:
        top["$defs"] = writer.defs
    return top


class _Writer:
    def __init__(self, names: Names, asks: bool) -> None:
        self.names = names
        self.asks = asks
        self.defs: dict[str, JsonSchema] = {}

    def of(self, info: inspect.Type) -> JsonSchema:
        match info:
            case inspect.Metadata():
                return self._annotated(info)
            case inspect.StructType():
                return self._reference(info)
            case inspect.UnionType():
                return {"anyOf": [self.of(member) for member in info.types]}
            case inspect.ListType() | inspect.VarTupleType():
                return {"type": "array", "items": self.of(info.item_type), **_bounds(info, _LIST_BOUNDS)}
            case inspect.TupleType():
                members = [self.of(member) for member in info.item_types]
                return {"type": "array", "prefixItems": members, "items": False, "minItems": len(members)}
            case inspect.DictType():
                return self._mapping(info)
        return _plain(info)

    def _annotated(self, info: inspect.Metadata) -> JsonSchema:
        made = self.of(info.type)
        made.update(info.extra_json_schema or {})
        kind = (info.extra or {}).get("privacy", "public")
        if kind != "public":
            made["x-irer-privacy"] = kind
        return made

    def _reference(self, info: inspect.StructType) -> JsonSchema:
        name = self.names.of(info.cls)
        if name not in self.defs:
            self.defs[name] = {}
            self.defs[name] = self.struct(info)
        return {"$ref": f"#/$defs/{name}"}

    def _mapping(self, info: inspect.DictType) -> JsonSchema:
        made: JsonSchema = {"type": "object", **_bounds(info, _MAP_BOUNDS)}
        keys = self.of(info.key_type)
        if keys.get("type", "string") != "string":
            raise TypeError("a map on the wire has text keys")
        if set(keys) - {"type", "x-irer-privacy"}:
            made["propertyNames"] = keys
        values = self.of(info.value_type)
        if values:
            made["additionalProperties"] = values
        return made

    def struct(self, info: inspect.StructType) -> JsonSchema:
        said = words(info.cls)
        made: JsonSchema = {"type": "object", "title": self.names.of(info.cls)}
        if said.message:
            made["description"] = said.message
        made["properties"] = properties = {}
        required: list[str] = []
        if info.tag_field is not None:
            properties[info.tag_field] = {"enum": [info.tag]}
            required.append(info.tag_field)
        always = not self.asks and not info.cls.__struct_config__.omit_defaults
        for field in info.fields:
            properties[field.encode_name] = self._field(field, said.fields.get(field.name))
            if field.required or always:
                required.append(field.encode_name)
        if required:
            made["required"] = required
        if self.asks:
            made["additionalProperties"] = False
        return made

    def _field(self, field: inspect.Field, meaning: str | None) -> JsonSchema:
        made = self.of(field.type)
        if meaning:
            made["description"] = meaning
        default = _default(field)
        if default is not NODEFAULT:
            made["default"] = msgspec.json.decode(msgspec.json.encode(default))  # a tuple is an array there
        return made


def _plain(info: inspect.Type) -> JsonSchema:
    """A type without parts. Times and ids are text in frames, so their Python types are not wanted here."""
    match info:
        case inspect.AnyType() | inspect.RawType():
            return {}
        case inspect.NoneType():
            return {"type": "null"}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", **_bounds(info, _NUMBER_BOUNDS)}
        case inspect.FloatType():
            return {"type": "number", **_bounds(info, _NUMBER_BOUNDS)}
        case inspect.StrType():
            return {"type": "string", **_bounds(info, _TEXT_BOUNDS), **_pattern(info.pattern)}
        case inspect.BytesType():
            longest = {} if info.max_length is None else {"x-irer-bytes-max": info.max_length}
            return {"type": "string", "contentEncoding": "base64", **longest}
        case inspect.LiteralType():
            return {"enum": list(info.values)}
        case inspect.EnumType():
            return {"enum": [member.value for member in info.cls]}
    raise TypeError(f"{type(info).__name__.removesuffix('Type')} does not travel in a frame")


def _bounds(info: Any, pairs: tuple[tuple[str, str], ...]) -> JsonSchema:
    return {key: getattr(info, attribute) for attribute, key in pairs if getattr(info, attribute) is not None}


def _pattern(pattern: str | None) -> JsonSchema:
    r"""Python's `$` lets a trailing newline through, so our patterns end in `\Z`; everywhere else that is spelt `$`."""
    return {} if pattern is None else {"pattern": pattern.removesuffix(r"\Z") + "$" if pattern.endswith(r"\Z") else pattern}


def _default(field: inspect.Field) -> Any:
    if field.default_factory in (list, dict):
        return field.default_factory()
    return field.default
