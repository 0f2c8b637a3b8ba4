"""JSON both ways: what a caller sent as the parameters of a method, and what irerd said as an answer.

In JSON bytes are base64 and arrays are lists; a query string has texts only, which become what the method's schema wants. Errors
are `application/problem+json` (RFC 9457) with irer's stable code. Judges no value: that is the daemon's.
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from core.wire.codec import Typed
from core.wire.errors import CODES
from irerctl.hub.http1 import PHRASES
from irerctl.hub.link import Failed, failed
from irerctl.hub.server import Response

JSON = ("Content-Type", "application/json")
PROBLEM = ("Content-Type", "application/problem+json")
ARRAY_MAX = 65_536
"""Numbers of one array in JSON; more are had over the socket."""
_INT = re.compile(r"-?[0-9]{1,16}\Z")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
_NAME_ENDS = re.compile(rb'"[ \t\r\n]*:')
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_MEMBERS = ("detail", "reason", "fields", "data", "retry_ms", "effect", "instance", "help")

Schema = Mapping[str, Any]


class TooLong(ValueError):
    """An array that JSON is no form for."""


def _plain(value: Any) -> Any:
    if not isinstance(value, Typed):
        raise TypeError(f"{type(value).__name__} is no JSON value")
    numbers = value.numbers(finite=False)
    if len(numbers) > ARRAY_MAX:
        raise TooLong(f"an array of {len(numbers):,} numbers; over HTTP one has at most {ARRAY_MAX:,}")
    found: list[Any] = numbers.tolist()
    for size in reversed(value.shape[1:]):
        found = [found[start : start + size] for start in range(0, len(found), size)] if size else []
    return found


_encoder = msgspec.json.Encoder(enc_hook=_plain)
encode: Any = _encoder.encode
"""A value as JSON. Raises TooLong."""


def result(value: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Response:
    try:
        return Response(status, [JSON, *headers], encode(value))
    except TooLong as error:
        return problem({"code": "resource-exhausted", "detail": str(error), "reason": "array-too-long"}, 406)


def problem(body: Mapping[str, Any], status: int | None = None, **more: Any) -> Response:
    """A refusal. `retry_ms` becomes Retry-After as well, for callers who know no irer."""
    code = str(body.get("code", "internal"))
    known = CODES.get(code)
    status = status or (known.http if known else 500)
    title = body.get("title") or (known.title if known else PHRASES.get(status, code))
    said = {"title": title, "status": status, "code": code}
    said |= {name: body[name] for name in _MEMBERS if name in body} | more
    headers = [PROBLEM]
    if "retry_ms" in said:
        headers.append(("Retry-After", str(max(1, -(-int(said["retry_ms"]) // 1000)))))
    elif status == 503:
        headers.append(("Retry-After", "1"))
    if status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="irer"'))
    return Response(status, headers, encode(said))


def params_of(body: bytes, schema: Schema | None) -> dict[str, Any]:
    """The parameters that a body holds: one JSON object; nothing is no parameters. Raises Failed."""
    if not body:
        return {}
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise failed("invalid-argument", f"the body is not JSON: {_not_json(error)}", reason="not-json") from None
    if not isinstance(found, dict):
        raise failed("invalid-argument", "the body is one JSON object: the parameters by name", reason="not-an-object")
    _check_said_once(body, found)
    return with_bytes(found, schema)


def with_bytes(params: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    """The parameters as the method takes them: bytes where JSON has base64. Raises Failed."""
    if schema is not None and _takes_bytes(schema):
        return {name: _with_bytes(value, _member(schema, name), schema, name) for name, value in params.items()}
    return params


def _check_said_once(body: bytes, found: Any) -> None:
    """No name twice in one object: of two values readers take one or the other, and the request would mean two things.

    Where as many names were found as there are quotes before a colon, none stood twice: so most bodies are read once only.
    """
    try:
        if len(_NAME_ENDS.findall(body)) == _names_in(found):
            return
        json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise failed("invalid-argument", f"the body is not JSON: {_not_json(error)}", reason="not-json") from None


def _names_in(value: Any) -> int:
    """How many names the objects in it have. Raises RecursionError."""
    if isinstance(value, dict):
        inner = [each for each in value.values() if isinstance(each, dict | list)]
        return len(value) + (sum(map(_names_in, inner)) if inner else 0)
    return sum(_names_in(each) for each in value if isinstance(each, dict | list))


def _not_json(error: Exception) -> str:
    """What is wrong with it. An interpreter's own words are none for a caller."""
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeDecodeError():
            return "a text in it is not UTF-8"
        case msgspec.DecodeError():
            return str(error).removeprefix("JSON is malformed: ").partition(" - at ")[0]
    return "it cannot be read"


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        text = f"{twice[:64]!r} stands twice in one object; which one is meant?"
        raise failed("invalid-argument", text, fields=[(twice[:64], "given twice")])


def params_of_query(query: str, schema: Schema | None) -> dict[str, Any]:
    """The parameters that a query string holds. Raises Failed."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=100)
    except ValueError:
        raise failed("invalid-argument", "the query string is not NAME=VALUE&NAME=VALUE in UTF-8", reason="query") from None
    found: dict[str, Any] = {}
    for name, text in pairs:
        wanted = _types(_member(schema, name), schema)
        if "array" in wanted:
            found.setdefault(name, []).append(text)
        elif name in found:
            raise failed(
                "invalid-argument", f"{name[:64]} is given twice; which one is meant?", fields=[(name[:64], "given twice")]
            )
        else:
            found[name] = _lenient(text, wanted)
    return found


def _lenient(text: str, wanted: set[str]) -> Any:
    if "boolean" in wanted and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if wanted & {"integer", "number"} and _INT.match(text):
        return int(text)
    if "number" in wanted and _FLOAT.match(text):
        return float(text)
    if "null" in wanted and text in ("null", ""):
        return None
    return text


def _member(schema: Schema | None, name: str) -> Schema:
    found = (schema or {}).get("properties", {}).get(name, {})
    return found if isinstance(found, Mapping) else {}


def _types(schema: Schema, whole: Schema | None) -> set[str]:
    """What a value may be, by JSON Schema's words."""
    schema = _resolved(schema, whole)
    kind = schema.get("type")
    found = {kind} if isinstance(kind, str) else set(kind or ())
    for option in schema.get("anyOf", ()):
        found |= _types(option, whole)
    return found


def _resolved(schema: Schema, whole: Schema | None) -> Schema:
    place = schema.get("$ref")
    return (whole or {}).get("$defs", {}).get(place.rpartition("/")[2], {}) if isinstance(place, str) else schema


def _takes_bytes(schema: Schema) -> bool:
    """The same, remembered: a schema of the catalogue lives as long as its method does."""
    known = _known.get(id(schema))
    if known is None or known[0] is not schema:
        if len(_known) >= SCHEMAS_MAX:
            _known.clear()
        known = _known[id(schema)] = schema, _has_bytes(schema)
    return known[1]


_known: dict[int, tuple[Schema, bool]] = {}
SCHEMAS_MAX = 1_024


def _has_bytes(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("contentEncoding") == "base64" or any(map(_has_bytes, schema.values()))
    return isinstance(schema, list) and any(map(_has_bytes, schema))


def _with_bytes(value: Any, schema: Schema, whole: Schema, path: str) -> Any:
    """The value with its base64 texts as bytes, where the schema says that they are."""
    schema = _resolved(schema, whole)
    if isinstance(value, str):
        if any(each.get("contentEncoding") == "base64" for each in (schema, *schema.get("anyOf", ()))):
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise failed("invalid-argument", f"{path}: not base64", fields=[(path, "must be base64")]) from None
    elif isinstance(value, list):
        return [_with_bytes(each, schema.get("items") or {}, whole, f"{path}[]") for each in value]
    elif isinstance(value, dict):
        return {name: _with_bytes(each, _member(schema, name), whole, f"{path}.{name}") for name, each in value.items()}
    return value


def problem_of(failure: Failed, **more: Any) -> Response:
    return problem(failure.body, **more)
