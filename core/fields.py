"""Field types with their bounds and their privacy class, so that no message invents its own.

A text field of an event must say what it is (STATE: redaction): `public` is stored as is, `secret` never, `pseudonym` as a
keyed alias, `open` is scanned, `document` is stored as given and shown nowhere else. Numbers, booleans and literals are public.
A text with a pattern says in words what it asks for, to complete "must be": no person is shown a pattern.
"""

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
