"""The catalogue's nested types, gathered from its self-contained schemas into one namespace.

A type stands once as answered, under its own name, and once as asked with, `Name.request`: the one is open to unknown
fields, the other closed.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from core import fields, schemas

JsonSchema = Mapping[str, Any]

_BOUNDS = ("minLength", "maxLength", "pattern")
_TEXTS = {
    "name": fields.Name,
    "code": fields.Code,
    "label": fields.Label,
    "hash": fields.Hash,
    "time": fields.Time,
    "cursor": fields.Cursor,
    "idempotency-key": fields.IdempotencyKey,
}
"""The texts that many messages share, by the word the documents use for them."""


@cache
def texts() -> dict[str, JsonSchema]:
    return {word: schemas.schema(annotation, schemas.Names(), asks=True) for word, annotation in _TEXTS.items()}


def text_meaning(word: str) -> str | None:
    """What a refusal says that such a text must be."""
    return next(iter(fields.patterns(_TEXTS[word]).values()), None)


def text_word(schema: JsonSchema) -> str | None:
    """The word for one of the shared texts, whatever the field it stands in says besides."""
    if schema.get("type") != "string" or "contentEncoding" in schema:
        return None
    bounds = [schema.get(name) for name in _BOUNDS]
    return next((word for word, known in texts().items() if [known.get(name) for name in _BOUNDS] == bounds), None)


def part_name(name: str, *, asks: bool) -> str:
    return f"{name}.request" if asks else name


def gather(document: Mapping[str, Any]) -> dict[str, tuple[JsonSchema, bool]]:
    """Each nested type by its part name, with whether it is asked with."""
    found: dict[str, tuple[JsonSchema, bool]] = {}
    for schema, asks in _schemas(document):
        for name, part in schema.get("$defs", {}).items():
            found[part_name(name, asks=asks)] = (part, asks)
    return dict(sorted(found.items()))


def _schemas(document: Mapping[str, Any]) -> Iterator[tuple[JsonSchema, bool]]:
    for method in document["methods"]:
        yield method["params"], True
        for part in ("result", "item"):
            if method[part] is not None:
                yield method[part], False
    for event in document["events"].values():
        yield event["schema"], False


def pointed(schema: Any, place: Callable[[str], str]) -> Any:
    """A copy without `$defs`, whose references lead to where `place` says a name now stands."""
    if isinstance(schema, Mapping):
        return {
            key: place(value.rpartition("/")[2]) if key == "$ref" else pointed(value, place)
            for key, value in schema.items()
            if key != "$defs"
        }
    if isinstance(schema, list):
        return [pointed(member, place) for member in schema]
    return schema
