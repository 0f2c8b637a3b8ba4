"""The one JSON: RFC 8785 on a smaller value space, so that one value has one byte form and hashes can stand on it.

Everything that is hashed, signed or compared as bytes goes through here. It must never guess: a value it cannot represent
exactly (an integer beyond 2^53 - 1, NaN, a lone surrogate, bytes) is refused, never rounded, replaced or dropped.

msgspec's deterministic encoder writes the same bytes but for whole floats, |x| >= 2^53 and 1e-6 <= |x| < 1e-5, and it does
not refuse what must be refused. So values are judged first; where both agree msgspec writes, else `_write` does, slowly.
"""

import datetime
import decimal
import re
import uuid
from collections.abc import Iterable
from math import copysign
from typing import Any

import msgspec

INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 32
KEY_CHARS_MAX = 128

_KEY = re.compile(r"[\u0020-\u007e\u00a0-\ud7ff]{1,128}\Z")
_ESCAPED = re.compile(r'["\\\x00-\x1f]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
FIGURE_MIN, FIGURE_MAX = 1e-5, float(2**53)
"""A float that is no whole number is plain from here, and below there: msgspec writes its canonical bytes. A whole one is below
there what it is as an integer; but -0.0 is not."""
_AGREED_FLOAT_MIN, _AGREED_FLOAT_MAX = FIGURE_MIN, FIGURE_MAX
_SMALL_FLOAT = 1e-6
"""They agree again below this."""
_LEAST_AGREED_FLOAT = -_AGREED_FLOAT_MAX
_INTEGER_MIN = -INTEGER_MAX
_DEPTH_LAST = DEPTH_MAX - 1

GOOD_KEYS_MAX = 4_096
"""Keys that are remembered as good."""
_good_keys: set[str] = set()

_encoder = msgspec.json.Encoder(order="sorted")
_astuple = msgspec.structs.astuple
_replace = msgspec.structs.replace

# msgspec would turn these into text of its own choosing; left as they are, they reach `_write` and are refused.
_LEFT_ALONE = (
    bytes,
    bytearray,
    memoryview,
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
)


_AS_THEY_ARE = frozenset({str, bool, type(None)})
_CONTAINERS = frozenset({list, tuple, dict})
MIXED_DEPTH = 6
"""Levels of a value within which its parts are written by whoever can."""


class CanonicalError(ValueError):
    """This value, or this text, has no canonical form: where and why."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(f"{path}: {why}" if path else why)
        self.why = why
        self.path = path


def encode(value: Any) -> bytes:
    """The canonical bytes of None, bool, int, float, str, list, tuple and dict, nested at most 32 deep."""
    try:
        if _agreed(value, 0):
            return _encoder.encode(value)
    except UnicodeEncodeError:
        pass  # a lone surrogate: `_write` says where
    parts: list[str] = []
    _write_mixed(value, parts, 0, "")
    return "".join(parts).encode()


def encode_inner(value: Any) -> bytes | None:
    """The same of a value that will stand in an object. None where `encode` of that object is to say what is wrong."""
    try:
        return _encoder.encode(value) if _agreed(value, 1) else None
    except UnicodeEncodeError:
        return None


class _SignedZero(Exception):
    """A float is -0.0, of which the canonical form is 0."""


def _fields(event: msgspec.Struct) -> tuple[dict[str, Any], bool]:
    """Its fields with 5.0 as 5, and whether msgspec writes the canonical bytes of that."""
    fields: dict[str, Any] = msgspec.to_builtins(event, order="sorted", builtin_types=_LEFT_ALONE)
    return fields, _eased(fields, fields.items(), 0)


class _Unsure(Exception):
    """Whether msgspec writes the canonical bytes of this is not known here, or it is known that it does not."""


_Kind = tuple[tuple[str, ...], tuple[Any, ...], dict[tuple[type, ...], tuple[int, ...]]]
"""Of a struct type: the names of its fields, of each the default at which it is left out, and by the types that its values had so
far which of them are to be looked at: what is a text, a truth value or nothing is written as it is.
"""
LAYOUTS_MAX = 64
_NEVER_LEFT_OUT = object()
_KINDS: dict[type, _Kind | None] = {}
"""None where its fields do not stand in a plain object under plain names."""


def _learned(kind: type) -> _Kind | None:
    if issubclass(kind, msgspec.Struct):
        config, names, defaults = kind.__struct_config__, kind.__struct_fields__, kind.__struct_defaults__
        plain = not config.array_like and config.tag is None and not hasattr(kind, "__post_init__")
        if plain and _are_good(kind.__struct_encode_fields__):
            left_out = defaults if config.omit_defaults else ()
            _KINDS[kind] = names, (_NEVER_LEFT_OUT,) * (len(names) - len(left_out)) + left_out, {}
            return _KINDS[kind]
    _KINDS[kind] = None
    return None


def _with_whole_numbers(event: Any, depth: int) -> Any:
    """An event of which msgspec writes the canonical bytes: itself, or its like with 5 for 5.0. Raises _Unsure and _SignedZero.

    What is left out at its default is so by identity, so a default stays the very object that it is, and nothing becomes one.
    """
    known = _KINDS.get(type(event)) or _learned(type(event))
    if known is None or depth >= DEPTH_MAX:
        raise _Unsure
    names, defaults, layouts = known
    changed: dict[str, Any] | None = None
    values = _astuple(event)
    kinds = tuple(map(type, values))
    places = layouts.get(kinds)
    if places is None:
        places = tuple(place for place, kind in enumerate(kinds) if kind not in _AS_THEY_ARE)
        if len(layouts) < LAYOUTS_MAX:
            layouts[kinds] = places
    for place in places:
        value, kind = values[place], kinds[place]
        if kind is int:
            if _INTEGER_MIN <= value <= INTEGER_MAX:
                continue
            raise _Unsure
        if kind is float:
            if not value.is_integer():
                if _AGREED_FLOAT_MIN <= value < _AGREED_FLOAT_MAX or _LEAST_AGREED_FLOAT < value <= -_AGREED_FLOAT_MIN:
                    continue
                if -_SMALL_FLOAT < value < _SMALL_FLOAT:
                    continue
                raise _Unsure
            if defaults[place] is value:
                continue
            new: Any = int(value) if 0.0 < value < _AGREED_FLOAT_MAX else _whole(value)
        elif (kind is list or kind is dict) and not value and depth < _DEPTH_LAST:
            continue
        else:
            within = _part_with_whole_numbers if kind in _CONTAINERS else _with_whole_numbers
            new = within(value, depth + 1)
            if new is value:
                continue
        if defaults[place] is new:
            raise _Unsure
        if changed is None:
            changed = {}
        changed[names[place]] = new
    return event if changed is None else _replace(event, **changed)


def _part_with_whole_numbers(part: Any, depth: int) -> Any:
    """The same of a list or an object that stands in an event."""
    if depth >= DEPTH_MAX:
        raise _Unsure
    kind = type(part)
    if kind is dict:
        if not _are_good(part):
            raise _Unsure
        items: Iterable[tuple[Any, Any]] = part.items()
    else:
        items = enumerate(part)
    made: Any = None
    for place, value in items:
        kind_of = type(value)
        if kind_of is float:
            if not value.is_integer():
                if _AGREED_FLOAT_MIN <= value < _AGREED_FLOAT_MAX or _LEAST_AGREED_FLOAT < value <= -_AGREED_FLOAT_MIN:
                    continue
                if -_SMALL_FLOAT < value < _SMALL_FLOAT:
                    continue
                raise _Unsure
            new: Any = _whole(value)
        elif kind_of is str or value is None or kind_of is bool:
            continue
        elif kind_of is int:
            if _INTEGER_MIN <= value <= INTEGER_MAX:
                continue
            raise _Unsure
        else:
            within = _part_with_whole_numbers if kind_of in _CONTAINERS else _with_whole_numbers
            new = within(value, depth + 1)
            if new is value:
                continue
        if made is None:
            made = dict(part) if kind is dict else list(part)
        made[place] = new
    return part if made is None else made


def _whole(value: float) -> int:
    """A whole number as one. Raises _Unsure for those that are too large, and _SignedZero."""
    if value:
        if _LEAST_AGREED_FLOAT < value < _AGREED_FLOAT_MAX:
            return int(value)
        raise _Unsure
    if copysign(1.0, value) < 0:
        raise _SignedZero
    return 0


def _eased(container: Any, items: Iterable[tuple[Any, Any]], depth: int) -> bool:
    """Makes 5.0 into 5 throughout a list or dict that is nobody else's, and answers what `_agreed` would then say of it."""
    if depth >= DEPTH_MAX:
        return False
    agreed = type(container) is list or _are_good(container)
    for place, value in items:
        kind = type(value)
        if kind is str or kind is bool or value is None:
            continue
        if kind is float:
            if value.is_integer() and abs(value) < _AGREED_FLOAT_MAX:
                container[place] = _whole(value)
            elif not _agreed_float(value):
                agreed = False
        elif kind is int:
            agreed = agreed and -INTEGER_MAX <= value <= INTEGER_MAX
        elif kind is dict:
            agreed = _eased(value, value.items(), depth + 1) and agreed
        elif kind is list or kind is tuple:
            eased = container[place] = list(value)
            agreed = _eased(eased, enumerate(eased), depth + 1) and agreed
        else:
            agreed = False
    return agreed


def event_payload(event: msgspec.Struct) -> bytes:
    """The canonical bytes of an event, fields at their default left out where its type says so."""
    return payload_and_sign(event)[0]


def payload_and_sign(event: msgspec.Struct) -> tuple[bytes, bool]:
    """The same, and whether they say less than the event: -0.0 is 0 there, so what reads them back has another value."""
    try:
        try:
            return _encoder.encode(_with_whole_numbers(event, 0)), False
        except (_Unsure, UnicodeEncodeError):
            return _payload(event), False
    except _SignedZero:
        return encode(msgspec.to_builtins(event, order="sorted", builtin_types=_LEFT_ALONE)), True


def payload_around(event: msgspec.Struct, name: str, raw: bytes) -> bytes | None:
    """The payload of an event of whose field `name`, not at its default, these are the canonical bytes already. None where the
    other fields are to be looked at as `event_payload` does.
    """
    try:
        return _encoder.encode(_replace(_with_whole_numbers(_replace(event, **{name: None}), 0), **{name: msgspec.Raw(raw)}))
    except (_Unsure, _SignedZero, UnicodeEncodeError):
        return None


def payload_as_it_is(event: msgspec.Struct) -> bytes | None:
    """The payload of an event of which all that `event_payload` would look at is known: each number is plain, or 5 where it was 5.0
    (`FIGURE_MIN`). None where a text has no canonical form.
    """
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:
        return None


def _payload(event: msgspec.Struct) -> bytes:
    """Of an event whose values have to be looked at one by one. Raises _SignedZero."""
    fields, agreed = _fields(event)
    if agreed:
        try:
            return _encoder.encode(fields)
        except UnicodeEncodeError:
            pass  # a lone surrogate: `_write` says where
    return encode(fields)


def decode(raw: bytes) -> Any:
    """The value whose canonical bytes are exactly `raw`; any other text is refused."""
    try:
        value = _numbers(msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CanonicalError(str(error)) from None
    except RecursionError:
        raise CanonicalError(f"nested deeper than {DEPTH_MAX}") from None
    if encode(value) != raw:
        raise CanonicalError("not the canonical form of its value")
    return value


def _numbers(value: Any) -> Any:
    """A token of digits alone beyond the safe integers can only stand for a float."""
    kind = type(value)
    if kind is int:
        if -INTEGER_MAX <= value <= INTEGER_MAX:
            return value
        try:
            return float(value)
        except OverflowError:
            raise CanonicalError("a number beyond the range of a float") from None
    if kind is list:
        return [_numbers(item) for item in value]
    if kind is dict:
        return {key: _numbers(item) for key, item in value.items()}
    return value


def _agreed_float(value: float) -> bool:
    """True where msgspec's digits are RFC 8785's. False for NaN, which no comparison holds for."""
    size = abs(value)
    return (_AGREED_FLOAT_MIN <= size < _AGREED_FLOAT_MAX or size < _SMALL_FLOAT) and not value.is_integer()


def _agreed(value: Any, depth: int) -> bool:
    """True if msgspec writes the canonical bytes of `value`; False where it would not, or where there are none."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-INTEGER_MAX <= value <= INTEGER_MAX)
    if kind is float:
        return _agreed_float(value)
    if depth >= DEPTH_MAX:
        return False
    if kind is dict:
        if not _are_good(value):
            return False
        items = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        return False
    for item in items:
        if type(item) is not str and not _agreed(item, depth + 1):  # most are texts
            return False
    return True


def _are_good(keys: Iterable[Any]) -> bool:
    """Whether these are keys, and plain texts: one that only equals a text may be written otherwise."""
    for key in keys:
        if type(key) is not str or (key not in _good_keys and not _is_good(key)):
            return False
    return True


def _is_good(key: str) -> bool:
    """Keys repeat, so each is judged once; where very many do not, all are forgotten now and then."""
    if _KEY.match(key) is None:
        return False
    if len(_good_keys) >= GOOD_KEYS_MAX:
        _good_keys.clear()
    _good_keys.add(key)
    return True


def _write_mixed(value: Any, parts: list[str], depth: int, path: str) -> None:
    """As `_write`, but parts that msgspec agrees about are left to it: one odd number shall not slow a whole document."""
    kind = type(value)
    if depth < MIXED_DEPTH and kind is dict and value:
        for key in value:
            _check_key(key, path)
        for place, key in enumerate(sorted(value)):
            parts.append(f"{',' if place else '{'}{_text(key, path)}:")
            _write_part(value[key], parts, depth + 1, f"{path}.{key}")
        parts.append("}")
    elif depth < MIXED_DEPTH and kind is list and value:
        for place, item in enumerate(value):
            parts.append("," if place else "[")
            _write_part(item, parts, depth + 1, f"{path}[{place}]")
        parts.append("]")
    else:
        _write(value, parts, depth, path)


def _write_part(value: Any, parts: list[str], depth: int, path: str) -> None:
    try:
        if _agreed(value, depth):
            parts.append(_encoder.encode(value).decode())
            return
    except UnicodeEncodeError:
        pass
    _write_mixed(value, parts, depth, path)


def _check_key(key: Any, path: str) -> None:
    if not isinstance(key, str) or _KEY.match(key) is None:
        raise CanonicalError(f"a key must be 1 to {KEY_CHARS_MAX} characters of U+0020-U+D7FF, no controls", f"{path}.{key!a:.40}")


def _write(value: Any, parts: list[str], depth: int, path: str) -> None:
    """The slow twin, which needs no agreement and says where a value is refused."""
    if value is None:
        parts.append("null")
    elif value is True:
        parts.append("true")
    elif value is False:
        parts.append("false")
    elif isinstance(value, str):
        parts.append(_text(value, path))
    elif isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise CanonicalError("an integer beyond 2^53 - 1; give it as text", path)
        parts.append(str(int(value)))
    elif isinstance(value, float):
        parts.append(_float(value, path))
    elif isinstance(value, (dict, list, tuple)):
        if depth >= DEPTH_MAX:
            raise CanonicalError(f"nested deeper than {DEPTH_MAX}", path)
        if isinstance(value, dict):
            _write_object(value, parts, depth + 1, path)
        else:
            _write_array(value, parts, depth + 1, path)
    else:
        raise CanonicalError(f"{type(value).__name__} is no JSON value; bytes go as base64url text", path)


def _write_object(value: dict[Any, Any], parts: list[str], depth: int, path: str) -> None:
    for key in value:
        _check_key(key, path)
    before = "{"
    for key in sorted(value):
        parts.append(f"{before}{_text(key, path)}:")
        _write(value[key], parts, depth, f"{path}.{key}")
        before = ","
    parts.append("{}" if before == "{" else "}")


def _write_array(value: list[Any] | tuple[Any, ...], parts: list[str], depth: int, path: str) -> None:
    before = "["
    for place, item in enumerate(value):
        parts.append(before)
        _write(item, parts, depth, f"{path}[{place}]")
        before = ","
    parts.append("[]" if before == "[" else "]")


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CanonicalError("a lone surrogate", path) from None
    return '"' + _ESCAPED.sub(_escape, value) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def _float(value: float, path: str) -> str:
    """ECMAScript's Number::toString, from the same shortest digits that `repr` finds."""
    if value == 0:
        return "0"
    if value != value or value in (float("inf"), float("-inf")):
        raise CanonicalError("neither NaN nor infinity has a JSON form", path)
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))  # value = 0.digits * 10^point
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """`0.digits * 10^point`, laid out by the rules of ECMAScript: plain from 1e-6 up to 1e21, else an exponent."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    power = point - 1
    rest = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{rest}e{'+' if power >= 0 else '-'}{abs(power)}"
