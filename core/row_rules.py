"""What every row of an engine's table owes its callers, checked over types alone; a test runs it over the whole catalogue.

A field without a bound, a text in a log that nobody classed, a parameter without a word of explanation: each is found here
before anyone meets it. It reads the catalogue and changes nothing; the daemon never runs it.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from core.catalogue import Catalogue
from core.engine import Engine, Event, Row
from core.fields import INT_MAX
from core.schemas import words

HELP_CHARS_MAX = 100
EVENT_TYPE_CHARS_MAX = 64
PRIVACY_CLASSES = frozenset({"public", "secret", "pseudonym", "open", "document"})

_METHOD = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\Z")
_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")
_NEEDS = re.compile(r"[a-z][a-z0-9_]*:(read|write|admin)\Z")
_SINCE = re.compile(r"\d+\.\d+\Z")
_ENDLESS = re.compile(r"[*+]|\{\d+,\}")
_LOOSE = re.compile(r"\\[dwsDWS]")


def problems(catalogue: Catalogue) -> list[str]:
    """Every rule that a row or an event breaks, one sentence each."""
    found: list[str] = []
    for row in catalogue.rows.values():
        found += [f"{row.name}: {problem}" for problem in _row(row)]
    for engine in catalogue.engines:
        for event in engine.applies:
            found += [f"event {event.event_type or event.__name__}: {problem}" for problem in _event(engine, event)]
    return found + list(_shared_event_types(catalogue))


def _row(row: Row) -> Iterator[str]:
    if not _METHOD.match(row.name):
        yield "the name is not namespace.verb in snake_case"
    if not row.help or len(row.help) > HELP_CHARS_MAX or "\n" in row.help or row.help.endswith("."):
        yield f"help is one line of at most {HELP_CHARS_MAX} characters without a full stop"
    if not _NEEDS.match(row.needs):
        yield f"needs {row.needs!r}, which is no permission"
    if not _SINCE.match(row.since):
        yield f"since {row.since!r} is no version"
    yield from _example(row)
    yield from _answers(row)
    yield from _params(row)


def _example(row: Row) -> Iterator[str]:
    try:
        msgspec.convert(dict(row.example), row.params, strict=True)
    except msgspec.ValidationError as error:
        yield f"the example is not acceptable: {error}"


def _answers(row: Row) -> Iterator[str]:
    if row.kind == "write" and row.run is not None and not row.apply:
        yield "a write applies at least one event"
    if row.item is not None and row.kind != "task":
        yield "only a task streams items"
    if row.result is None and row.item is None:
        yield "neither a result nor an item type; annotate the function's return, or say result="
    for part, annotation in (("result", row.result), ("item", row.item)):
        if isinstance(annotation, str):
            yield f"{part} is the text {annotation!r}; annotations must not be postponed"
        elif annotation is not None:
            yield from _described(annotation, part)


def _params(row: Row) -> Iterator[str]:
    if not row.params.__struct_config__.forbid_unknown_fields:
        yield "params take unknown fields"
    yield from _described(row.params, "params")
    for place in _places(inspect.type_info(row.params), "params"):
        yield from _bounded(place)


def _event(engine: Engine, event: type[Event]) -> Iterator[str]:
    if not _EVENT_TYPE.match(event.event_type) or len(event.event_type) > EVENT_TYPE_CHARS_MAX:
        yield f"the type is not dotted lower case of at most {EVENT_TYPE_CHARS_MAX} characters"
    if engine.log is None:
        yield f"engine {engine.name} has no log to write it to"
    yield from _described(event, "data")
    for place in _places(inspect.type_info(event), "data"):
        yield from _classed(place)


def _shared_event_types(catalogue: Catalogue) -> Iterator[str]:
    owners: dict[str, type[Event]] = {}
    for engine in catalogue.engines:
        for event in engine.applies:
            if owners.setdefault(event.event_type, event) is not event:
                yield f"event {event.event_type}: two events have this type"


class _Place(NamedTuple):
    """One type inside a message: where it is, and the privacy class that covers it."""

    path: str
    info: Any
    privacy: str | None


def _places(info: Any, path: str, privacy: str | None = None, above: tuple[type, ...] = ()) -> Iterator[_Place]:
    if isinstance(info, inspect.Metadata):
        yield from _places(info.type, path, (info.extra or {}).get("privacy", privacy), above)
        return
    yield _Place(path, info, privacy)
    match info:
        case inspect.StructType() if info.cls not in above:
            for field in info.fields:
                yield from _places(field.type, f"{path}.{field.encode_name}", privacy, (*above, info.cls))
        case inspect.UnionType():
            for member in info.types:
                yield from _places(member, path, privacy, above)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _places(info.item_type, f"{path}[]", privacy, above)
        case inspect.TupleType():
            for member in info.item_types:
                yield from _places(member, f"{path}[]", privacy, above)
        case inspect.DictType():
            yield from _places(info.key_type, f"{path}{{key}}", privacy, above)
            yield from _places(info.value_type, f"{path}{{}}", privacy, above)


def _described(annotation: Any, path: str) -> Iterator[str]:
    """Each field has a line of its class docstring, each line a field, and no number leaves the range JSON readers keep."""
    for place in _places(inspect.type_info(annotation), path):
        if isinstance(place.info, inspect.StructType):
            fields, said = {field.name for field in place.info.fields}, words(place.info.cls).fields
            for name in sorted(fields - set(said)):
                yield f"{place.path}.{name}: {place.info.cls.__name__}'s docstring does not explain it"
            for name in sorted(set(said) - fields):
                yield f"{place.path}: {place.info.cls.__name__}'s docstring explains {name}, which is no field"
        if isinstance(place.info, inspect.IntType) and not _public_integer(place.info):
            yield f"{place.path}: an integer needs bounds within {-INT_MAX}..{INT_MAX}"


def _public_integer(info: inspect.IntType) -> bool:
    lowest = info.ge if info.ge is not None else info.gt
    highest = info.le if info.le is not None else info.lt
    return lowest is not None and highest is not None and -INT_MAX <= lowest <= highest <= INT_MAX


def _bounded(place: _Place) -> Iterator[str]:
    """What a caller sends has an end. `Any` and the maps of a document end with the frame and its budget of values."""
    info = place.info
    match info:
        case inspect.FloatType():
            if (info.ge is None and info.gt is None) or (info.le is None and info.lt is None):
                yield f"{place.path}: a number needs a lower and an upper bound"
        case inspect.StrType() if not _is_key_of_document(place):
            if info.max_length is None and not _ends(info.pattern):
                yield f"{place.path}: a text needs a longest length"
            if info.pattern and _LOOSE.search(info.pattern):
                yield f"{place.path}: the pattern's \\d, \\w or \\s takes any script's; say [0-9]"
            if info.pattern and info.pattern.endswith("$"):
                yield f"{place.path}: the pattern's $ lets a trailing newline through; say \\Z"
        case inspect.BytesType() | inspect.ListType() | inspect.VarTupleType():
            if info.max_length is None:
                yield f"{place.path}: needs a longest length"
        case inspect.DictType():
            if info.max_length is None and not isinstance(info.value_type, inspect.AnyType):
                yield f"{place.path}: needs a largest size"


def _is_key_of_document(place: _Place) -> bool:
    return place.path.endswith("{key}") and place.info.max_length is None and place.info.pattern is None


def _ends(pattern: str | None) -> bool:
    """Whether a pattern by itself bounds the length: anchored, and without an endless repetition."""
    return bool(pattern and pattern.startswith("^") and pattern.endswith(("$", r"\Z")) and not _ENDLESS.search(pattern))


def _classed(place: _Place) -> Iterator[str]:
    """Whatever can hold text in a log says what kind of text it is."""
    if isinstance(place.info, inspect.StrType | inspect.AnyType | inspect.BytesType | inspect.RawType) and place.privacy is None:
        yield f"{place.path}: text without a privacy class"
    if place.privacy is not None and place.privacy not in PRIVACY_CLASSES:
        yield f"{place.path}: {place.privacy} is no privacy class"
