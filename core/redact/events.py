"""The privacy classes of an event's fields, carried out: public as it is, open scanned, pseudonym aliased, secret refused.

What an event type needs is worked out once. A type with public fields and documents only costs one look into a table. A redacted
field still keeps its bounds, for a record that its own type refuses could never be replayed.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from core.redact.names import plain_words
from core.redact.redactor import Redactor

TOO_LONG = "[redacted:long]"
PSEUDONYM_CHARS = 35
_SAMPLE = "pn_" + 32 * "0"

Change = Callable[[Redactor, Any], Any]
EventT = TypeVar("EventT", bound=msgspec.Struct)


class ProgrammingError(TypeError):
    """An event type whose fields cannot be stored as they are classed; no caller can cause it."""


def redact_event(redactor: Redactor, event: EventT) -> EventT:
    """The event as it may be stored: itself where nothing had to change."""
    kind = type(event)
    plan = _PLANS.get(kind, _UNKNOWN)
    if plan is _UNKNOWN:
        plan = _plan(kind)
    return event if plan is None else _struct(plan, redactor, event)


def redact_events(redactor: Redactor, events: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same of several: the very ones that were given where nothing had to change."""
    changed: list[Any] | None = None
    for place, event in enumerate(events):
        if _PLANS.get(type(event), _UNKNOWN) is None:
            continue  # most have public fields only
        made = redact_event(redactor, event)
        if made is not event:
            if changed is None:
                changed = list(events)
            changed[place] = made
    return events if changed is None else tuple(changed)


Plan = tuple[tuple[str, Change], ...]
_UNKNOWN: Plan = ()
_UNDER_WAY: Plan = (("", lambda redactor, value: value),)
_PLANS: dict[type, Plan | None] = {}


def _plan(kind: type) -> Plan | None:
    """Which fields change, and how; None where none does."""
    _PLANS[kind] = _UNDER_WAY  # a type within itself ends here, and is looked up again when it is met
    try:
        found = _changes(kind)
    except BaseException:
        del _PLANS[kind]
        raise
    _PLANS[kind] = found or None
    return found or None


def _changes(kind: type) -> Plan:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    changes = []
    for field in info.fields:
        change = _change(field.type, "public", None, f"{kind.__name__}.{field.name}", plain_words(field.name))
        if change is not None:
            changes.append((field.name, change))
    return tuple(changes)


def _struct(plan: Plan, redactor: Redactor, value: Any) -> Any:
    changed = {}
    for name, change in plan:
        old = getattr(value, name)
        new = change(redactor, old)
        if new is not old:
            changed[name] = new
    return msgspec.structs.replace(value, **changed) if changed else value


def _change(info: Any, privacy: str, alias: str | None, where: str, context: str) -> Change | None:
    """What has to be done to a value of this type."""
    match info:
        case inspect.Metadata():
            extra = info.extra or {}
            return _change(info.type, extra.get("privacy", privacy), extra.get("kind", alias), where, context)
        case inspect.StrType():
            return _text(info, privacy, alias, where, context)
        case inspect.StructType():
            if privacy != "public":
                raise ProgrammingError(f"{where}: a struct is not {privacy}; its fields are")
            return _nested if _reaches_text(info.cls) else None
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return _each(info, _change(info.item_type, privacy, alias, where, context))
        case inspect.TupleType():
            return _places([_change(item, privacy, alias, where, context) for item in info.item_types])
        case inspect.DictType():
            return _entries(info, privacy, alias, where, context)
        case inspect.UnionType():
            return _either(info, privacy, alias, where, context)
        case inspect.AnyType() | inspect.RawType() | inspect.BytesType() | inspect.ByteArrayType():
            return _anything(info, privacy, where, context)
        case _:
            if privacy == "secret":
                return _refuse(where)
            return None


def _text(info: inspect.StrType, privacy: str, alias: str | None, where: str, context: str) -> Change | None:
    longest = info.max_length
    if privacy == "secret":
        return _refuse(where)
    if privacy == "pseudonym":
        if longest is not None and longest < PSEUDONYM_CHARS:
            raise ProgrammingError(f"{where}: a pseudonym has {PSEUDONYM_CHARS} characters, this field takes {longest}")
        if info.pattern is not None and re.search(info.pattern, _SAMPLE) is None:
            raise ProgrammingError(f"{where}: the field's pattern refuses a pseudonym")
        return lambda redactor, value: redactor.alias(value, alias)
    if privacy == "open":
        if longest is not None and longest < len(TOO_LONG):
            raise ProgrammingError(f"{where}: a free text of {longest} characters leaves no room for a mark")
        if info.pattern is not None:
            raise ProgrammingError(f"{where}: a free text has no pattern; say public or pseudonym")
        return lambda redactor, value: _fitted(redactor, value, longest, context)
    return None


def _fitted(redactor: Redactor, value: str, longest: int | None, context: str) -> str:
    made = redactor.text(value, context)
    if made == value:
        return value
    return made if longest is None or len(made) <= longest else TOO_LONG


def _refuse(where: str) -> Change:
    def refuse(redactor: Redactor, value: Any) -> Any:
        if value is not None:
            raise ProgrammingError(f"{where} is secret and must not be in an event")
        return value

    return refuse


def _nested(redactor: Redactor, value: Any) -> Any:
    return redact_event(redactor, value)


def _each(info: Any, change: Change | None) -> Change | None:
    if change is None:
        return None

    def each(redactor: Redactor, values: Any) -> Any:
        if not values:
            return values
        made = [change(redactor, value) for value in values]
        return values if all(new is old for new, old in zip(made, values, strict=True)) else type(values)(made)

    return each


def _reaches_text(kind: type) -> bool:
    """Whether a struct type has anything to change within it. One that is being planned may have."""
    known = _PLANS.get(kind, _UNKNOWN)
    return (_plan(kind) if known is _UNKNOWN else known) is not None


def _places(changes: list[Change | None]) -> Change | None:
    if all(change is None for change in changes):
        return None

    def places(redactor: Redactor, values: Any) -> Any:
        made = tuple(value if change is None else change(redactor, value) for change, value in zip(changes, values, strict=True))
        return values if made == values else made

    return places


def _entries(info: inspect.DictType, privacy: str, alias: str | None, where: str, context: str) -> Change | None:
    if privacy == "open" and _plain(info.key_type) and _plain(info.value_type):
        return lambda redactor, value: _same(value, redactor.value(value, context))
    keys = _change(info.key_type, privacy, alias, where, context)
    values = _change(info.value_type, privacy, alias, where, context)
    longest = _open_text(info.value_type, privacy)
    if keys is None and longest is not None:
        return lambda redactor, value: _same(value, {name: _named(redactor, name, item, longest) for name, item in value.items()})
    if keys is None and values is None:
        return None

    def entries(redactor: Redactor, value: Any) -> Any:
        if not value:
            return value
        made = {
            (key if keys is None else keys(redactor, key)): (item if values is None else values(redactor, item))
            for key, item in value.items()
        }
        return _same(value, made)

    return entries


def _open_text(info: Any, privacy: str) -> int | None:
    """The most characters of a free text; None where it is something else, or has no bound."""
    while isinstance(info, inspect.Metadata):
        privacy = (info.extra or {}).get("privacy", privacy)
        info = info.type
    return info.max_length if isinstance(info, inspect.StrType) and privacy == "open" else None


def _named(redactor: Redactor, name: str, value: str, longest: int) -> str:
    """A text whose name is public, and may say what the text is."""
    made: str = redactor.value(value, name)
    return made if made == value or len(made) <= longest else TOO_LONG


def _same(value: Any, made: Any) -> Any:
    return value if made == value else made


def _plain(info: Any) -> bool:
    """Text and whatever without bounds of its own: names and values are then judged together."""
    while isinstance(info, inspect.Metadata):
        if "privacy" in (info.extra or {}) and info.extra is not None and info.extra["privacy"] != "open":
            return False
        info = info.type
    free = isinstance(info, inspect.StrType) and info.max_length is None and info.pattern is None
    return free or isinstance(info, inspect.AnyType)


def _either(info: inspect.UnionType, privacy: str, alias: str | None, where: str, context: str) -> Change | None:
    changes: list[tuple[type | tuple[type, ...], Change]] = []
    for member in info.types:
        change = _change(member, privacy, alias, where, context)
        if change is not None:
            changes.append((_class_of(member), change))
    if not changes:
        return None

    def either(redactor: Redactor, value: Any) -> Any:
        for kind, change in changes:
            if isinstance(value, kind):
                return change(redactor, value)
        return value

    return either


def _class_of(info: Any) -> type | tuple[type, ...]:
    while isinstance(info, inspect.Metadata):
        info = info.type
    match info:
        case inspect.StrType():
            return str
        case inspect.StructType():
            return info.cls
        case inspect.ListType():
            return list
        case inspect.VarTupleType() | inspect.TupleType():
            return tuple
        case inspect.DictType():
            return dict
        case inspect.IntType():
            return int
        case inspect.FloatType():
            return float
        case _:
            return object


def _anything(info: Any, privacy: str, where: str, context: str) -> Change | None:
    if privacy == "secret":
        return _refuse(where)
    if privacy == "pseudonym" or (privacy == "open" and not isinstance(info, inspect.AnyType)):
        raise ProgrammingError(f"{where}: only text can be {privacy}")
    if privacy == "open":
        return lambda redactor, value: _same(value, redactor.value(value, context))
    return None
