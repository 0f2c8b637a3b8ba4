"""Field types with their bounds and their privacy class, so that no message invents its own.

A text field of an event must say what it is (STATE: redaction): `public` is stored as is, `secret` never, `pseudonym` as a
keyed alias, `open` is scanned, `document` is stored as given and shown nowhere else. Numbers, booleans and literals are public.
A text with a pattern says in words what it asks for, to complete "must be": no person is shown a pattern, nor
the words of the validator.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Annotated, Any, dataclass_transform, get_args, get_type_hints

import msgspec
from msgspec import Meta, inspect


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Frozen(msgspec.StructMeta):
    """The metaclass of structs that never change, so that type checkers know it of their subclasses too."""


INT_MAX = 2**53 - 1


def privacy(name: str) -> Meta:
    return Meta(extra={"privacy": name})


def words(text: str) -> Meta:
    return Meta(extra={"words": text})


@lru_cache(maxsize=256)
def patterns(kind: Any) -> Mapping[str, str | None]:
    """Every pattern anywhere in a type, with the words for it."""
    return dict(_patterns(inspect.type_info(kind), None, ()))


def _patterns(info: Any, said: str | None, above: tuple[type, ...]) -> Iterator[tuple[str, str | None]]:
    match info:
        case inspect.Metadata():
            yield from _patterns(info.type, (info.extra or {}).get("words", said), above)
        case inspect.StrType(pattern=str(pattern)):
            yield pattern, said
        case inspect.StructType() if info.cls not in above:
            for field in info.fields:
                yield from _patterns(field.type, None, (*above, info.cls))
        case inspect.UnionType():
            for member in info.types:
                yield from _patterns(member, said, above)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _patterns(info.item_type, None, above)
        case inspect.TupleType():
            for member in info.item_types:
                yield from _patterns(member, None, above)
        case inspect.DictType():
            yield from _patterns(info.key_type, None, above)
            yield from _patterns(info.value_type, None, above)


_TOKEN = re.compile(r"\.([^.\[\]]+)|\[([^\]]*)\]")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "bytes": "bytes",
    "null": "null",
}
_GIVEN = _KINDS | {"float": "a decimal number", "bool": "a truth value"}
_PARTS = {"str": "character", "array": "item", "object": "member", "bytes": "byte"}
_BOUND = re.compile(r"Expected `[a-z]+` (>=|<=|>|<) (\S+)\Z")
_LENGTH = re.compile(r"Expected `(str|array|object|bytes)` of length (>=|<=)? ?([0-9]+)(?:, got [0-9]+)?\Z")
_TYPE = re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`\Z")
_BOUNDS = {">=": "{} or more", "<=": "{} or less", ">": "more than {}", "<": "less than {}"}
_LENGTHS = {">=": "at least", "<=": "at most", None: "exactly"}


def plainly(said: str, path: str, kind: Any) -> str:
    """What the validator says is wrong with the value at a path of a type, as a person would say it."""
    if said.startswith("Invalid enum value "):
        words = _choices(_info(kind), _TOKEN.findall(path))
        return f"must be {_one_of([str(word) for word in words])}" if words else "must be another word"
    for lead, form in (
        ("Object missing required field ", "{} is missing"),
        ("Object contains unknown field ", "unknown field {}"),
    ):
        if said.startswith(lead):
            return form.format(said.removeprefix(lead).strip("`"))
    if found := _BOUND.match(said):
        return f"must be {_BOUNDS[found[1]].format(found[2].removesuffix('.0'))}"
    if found := _LENGTH.match(said):
        part = _PARTS[found[1]]
        return f"must have {_LENGTHS[found[2]]} {found[3]} {part}{'' if found[3] == '1' else 's'}"
    if (found := _TYPE.match(said)) and (wanted := _kinds(found[1].split(" | "))):
        return f"must be {_one_of(wanted)}, not {_GIVEN.get(found[2], found[2])}"
    return said.replace("`", "").replace("Expected float that's", "must be").replace("Expected int that's", "must be")


@lru_cache(maxsize=256)
def _info(kind: Any) -> Any:
    return inspect.type_info(kind)


def _kinds(names: list[str]) -> list[str]:
    found = [_KINDS.get(name, "") for name in names]
    return found if all(found) else []


def _one_of(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _choices(info: Any, tokens: list[tuple[str, str]]) -> tuple[Any, ...]:
    """The words that one of a fixed choice may be, at a path; none where no choice stands there."""
    match info:
        case inspect.Metadata():
            return _choices(info.type, tokens)
        case inspect.UnionType():
            return next(filter(None, (_choices(member, tokens) for member in info.types)), ())
        case inspect.LiteralType() if not tokens:
            return tuple(info.values)
        case inspect.StructType() if tokens:
            field = next((field for field in info.fields if field.encode_name == tokens[0][0]), None)
            return _choices(field.type, tokens[1:]) if field is not None else ()
        case inspect.ListType() | inspect.VarTupleType() if tokens:
            return _choices(info.item_type, tokens[1:])
        case inspect.TupleType() if tokens and tokens[0][1].isdigit() and int(tokens[0][1]) < len(info.item_types):
            return _choices(info.item_types[int(tokens[0][1])], tokens[1:])
        case inspect.DictType() if tokens:
            return _choices(info.value_type, tokens[1:])
    return ()


Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Limit = Annotated[int, Meta(ge=1, le=10_000)]
Name = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*\Z"),
    privacy("public"),
    words("a name: letters, digits and . _ : @ / -, a letter or digit first, at most 64 characters"),
]
Code = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*\Z"),
    privacy("public"),
    words("a code: a-z, 0-9 and . _ -, a letter or digit first, at most 64 characters"),
]
Label = Annotated[str, Meta(max_length=200), privacy("public")]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z"), privacy("public"), words("a SHA-256 hash: 64 of 0-9 and a-f")]
Time = Annotated[
    str,
    Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\Z"),
    privacy("public"),
    words("a time in UTC, such as 2026-01-31T12:00:00Z"),
]
Cursor = Annotated[str, Meta(min_length=1, max_length=4096), privacy("public")]
IdempotencyKey = Annotated[
    str,
    Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9._:-]+\Z"),
    privacy("public"),
    words("an idempotency key: 8 to 64 of letters, digits and . _ : -"),
]
Secret = Annotated[str, Meta(min_length=1, max_length=4096), privacy("secret")]
"""Never in an event, never printed: irerctl takes it from a file."""
Object = Annotated[dict[str, Any], privacy("public")]


@cache
def takes_secret(kind: type[msgspec.Struct]) -> bool:
    """Whether one of its fields is a secret: a password, a key, a token."""
    hints = get_type_hints(kind, include_extras=True)
    return any("secret" in _privacies(hint) for hint in hints.values())


def _privacies(hint: Any) -> set[str]:
    """The privacy classes named anywhere in a type."""
    found = {(note.extra or {}).get("privacy", "") for note in getattr(hint, "__metadata__", ()) if isinstance(note, Meta)}
    parts = [hint.__origin__] if hasattr(hint, "__metadata__") else get_args(hint)
    return found.union(*map(_privacies, parts))
