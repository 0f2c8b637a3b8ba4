"""CDDL (RFC 8610) of every message: the envelope in both directions, then the parameters, result and items of each method.

Maps have text keys only. What a client sends is closed, what a server sends stays open. Independent tools hold the golden
frames to this text, so it keeps to the part of CDDL that they read alike: no negative ranges, no backslash in an expression.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from core.catalogue import PROTO, Catalogue
from core.publish.parts import gather, part_name, text_word, texts
from core.wire.calls import DEADLINE_MS_MAX, ID_MAX
from core.wire.errors import CODES

JsonSchema = Mapping[str, Any]

_BARE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CLASS = re.compile(r"\[[^\]]*\]")
_UTF8_BYTES_MAX = 4

_ENVELOPE = """\
; irer's wire protocol, version {proto}. Generated from the catalogue by `make api`; do not edit.
;
; A frame is D8 18 5A, a big-endian 32-bit length, and one CBOR map: tag 24 around a byte string. CDDL cannot say that the
; length always takes four bytes. Where a message says `any`, a value is a map with text keys, a list, text, bytes, an
; integer, a boolean, null, a finite float, or a typed array (RFC 8746); nothing else, and nested at most 32 deep.

frame = #6.24(bstr .cbor message)

message = client-message / server-message

; What a client sends. Closed: an unknown key is refused, for ignoring `dry` would do it for real.

client-message = hello / call / cancel / client-bye

hello = {{
  t: "hello",
  proto: [1*16 1..65535],       ; the versions the client speaks
  client: tstr,                 ; program and version, for people
}}

call = {{
  t: "call",
  id: call-id,                  ; rising on a connection
  m: tstr .regexp "^[a-z][a-z0-9_]*[.][a-z][a-z0-9_]*$",
  ? p: {{ * tstr => any }},       ; METHOD.params below
  ? dl: 1..{deadline},          ; milliseconds from when the frame is read
  ? idem: tstr .regexp "^[A-Za-z0-9._:-]{{8,64}}$",
  ? dry: bool,                  ; decide only, and say which events would be written
  ? as: tstr,                   ; the engine this connection has proved
}}

cancel = {{
  t: "cancel",
  id: call-id,
  ? why: tstr,
}}

client-bye = {{
  t: "bye",
  why: bye-why,
  ? after_ms: uint,
  ? e: error,
}}

; What a server sends. Open: an old client survives a new field.

server-message = welcome / item / mark / done / err / server-bye

welcome = {{
  t: "welcome",
  proto: 1..65535,              ; the version both speak
  server: tstr,
  instance: tstr,               ; one for each process
  boot: uint,                   ; how often this state directory was started
  limits: {{ * tstr => uint }},
  schema: tstr .regexp "^[0-9a-f]{{64}}$",
  peer: {{
    uid: uint,
    gid: uint,
    role: tstr,
    * tstr => any
  }},
  state: "recovering" / "ready" / "draining",
  * tstr => any
}}

item = {{
  t: "item",
  id: call-id,
  n: uint,                      ; 0, 1, 2 ...
  r: any,                       ; METHOD.item below
  ? cur: cursor,
  * tstr => any
}}

mark = {{
  t: "mark",
  id: call-id,
  cur: cursor,                  ; all before it has been delivered
  * tstr => any
}}

done = {{
  t: "done",
  id: call-id,
  r: any,                       ; METHOD.result below; {{}} from a write that had nothing to do
  ? rc: receipt,                ; on every reply to a call that wrote
  ? cur: cursor,
  ? replayed: bool,
  * tstr => any
}}

err = {{
  t: "err",
  id: call-id,
  e: error,
  * tstr => any
}}

server-bye = {{
  t: "bye",
  why: bye-why,
  ? after_ms: uint,
  ? e: error,
  * tstr => any
}}

; Their parts

call-id = 1..{id}

cursor = tstr                   ; opaque

bye-why = "shutdown" / "protocol" / "version" / "denied" / "limit" / "slow" / "done"

receipt = {{
  log: tstr,
  seq: uint,                    ; of the command's last record
  event_hash: tstr .regexp "^[0-9a-f]{{64}}$",
  * tstr => any
}}

error = {{
  code: error-code,
  title: tstr,
  ? detail: tstr,
  ? reason: tstr,
  ? fields: [* {{ path: tstr, problem: tstr, * tstr => any }}],
  ? data: {{ * tstr => any }},
  ? retry_ms: uint,
  ? effect: "none" / "unknown",
  ? instance: tstr,
  ? help: tstr,
  * tstr => any
}}

error-code = {codes}
"""


def cddl(catalogue: Catalogue) -> str:
    document = catalogue.document()
    codes = "\n           / ".join(json.dumps(code) for code in CODES)
    sections = [_ENVELOPE.format(proto=PROTO, deadline=DEADLINE_MS_MAX, id=ID_MAX, codes=codes)]
    sections += [_method(method) for method in document["methods"]]
    sections.append("; The events, as streams and replies show them\n")
    sections += [_rule(f"event.{name}", event["schema"], asks=False) for name, event in document["events"].items()]
    sections.append("; Types that the above use\n")
    sections += [f"{word}-text = {_text(known)}\n" for word, known in texts().items()]
    sections += [_rule(name, part, asks=asks) for name, (part, asks) in gather(document).items()]
    return "\n".join(sections)


def _method(method: Mapping[str, Any]) -> str:
    rules = [f"; {method['name']}: {method['help']}\n", _rule(f"{method['name']}.params", method["params"], asks=True)]
    for part in ("result", "item"):
        if method[part] is not None:
            rules.append(_rule(f"{method['name']}.{part}", method[part], asks=False))
    return "\n".join(rules)


def _rule(name: str, schema: JsonSchema, *, asks: bool) -> str:
    return f"{name} = {_type(schema, asks)}\n"


def _type(schema: JsonSchema, asks: bool) -> str:
    """The type in CDDL; a choice or a control comes without parentheses, `_atom` adds them where one is a part."""
    if "$ref" in schema:
        return part_name(schema["$ref"].rpartition("/")[2], asks=asks)
    if "anyOf" in schema:
        return " / ".join(_member(member, asks) for member in schema["anyOf"])
    if "enum" in schema:
        return " / ".join("nil" if value is None else json.dumps(value) for value in schema["enum"])
    match schema.get("type"):
        case "object":
            return _struct(schema, asks) if "properties" in schema else _mapping(schema, asks)
        case "array":
            return _array(schema, asks)
        case "string":
            return _string(schema)
        case "integer":
            return _integer(schema)
        case "number":
            return _number(schema)
        case "boolean":
            return "bool"
        case "null":
            return "nil"
    return "any"


def _member(schema: JsonSchema, asks: bool) -> str:
    text = _type(schema, asks)
    return f"({text})" if " .and " in text and " / " not in text else text


def _atom(schema: JsonSchema, asks: bool) -> str:
    text = _type(schema, asks)
    chosen = "anyOf" in schema or (text[0] not in "{[" and (" / " in text or " .and " in text))
    return f"({text})" if chosen else text


def _struct(schema: JsonSchema, asks: bool) -> str:
    lines = list(_fields(schema, asks))
    if not asks:
        lines.append("  * tstr => any")
    return "{\n" + "\n".join(lines) + "\n}" if lines else "{}"


def _fields(schema: JsonSchema, asks: bool) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        key = name if _BARE_KEY.match(name) else json.dumps(name)
        meaning = f"  ; {field['description']}" if "description" in field else ""
        yield f"  {'' if name in required else '? '}{key}: {_atom(field, asks)},{meaning}"


def _mapping(schema: JsonSchema, asks: bool) -> str:
    values = _atom(schema["additionalProperties"], asks) if "additionalProperties" in schema else "any"
    return f"{{ {_times(schema, 'minProperties', 'maxProperties')} tstr => {values} }}"


def _array(schema: JsonSchema, asks: bool) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(_atom(member, asks) for member in schema['prefixItems'])}]"
    member = _atom(schema["items"], asks)
    if member[0].isdigit():  # `* 0..9` would read as: none of them, at the most
        member = f"({member})"
    return f"[{_times(schema, 'minItems', 'maxItems')} {member}]"


def _times(schema: JsonSchema, least: str, most: str) -> str:
    if least not in schema and most not in schema:
        return "*"
    return f"{schema.get(least, 0)}*{schema.get(most, '')}"


def _string(schema: JsonSchema) -> str:
    if "contentEncoding" in schema:
        return _bytes(schema)
    word = text_word(schema)
    return f"{word}-text" if word else _text(schema)


def _bytes(schema: JsonSchema) -> str:
    longest = schema.get("x-irer-bytes-max")
    return "bstr" if longest is None else f"bstr .and (bstr .size (0..{longest}))"


def _text(schema: JsonSchema) -> str:
    """CDDL counts bytes, the catalogue characters; they are the same only where the expression lets nothing but ASCII through."""
    pattern = schema.get("pattern")
    parts = []
    if "maxLength" in schema:
        widest = 1 if pattern is not None and _ascii_only(pattern) else _UTF8_BYTES_MAX
        parts.append(f"(tstr .size ({schema.get('minLength', 0)}..{schema['maxLength'] * widest}))")
    if pattern is not None:
        parts.append(f"(tstr .regexp {json.dumps(_portable(pattern))})")
    if len(parts) == 1:
        return f"tstr .and {parts[0]}"
    return " .and ".join(parts) or "tstr"


def _ascii_only(pattern: str) -> bool:
    outside = _CLASS.sub("", pattern).replace("\\.", "")
    return pattern.isascii() and "[^" not in pattern and "." not in outside and not re.search(r"\\[A-Z]", pattern)


def _portable(pattern: str) -> str:
    """Tools disagree on how a backslash is written inside a CDDL text; bracket expressions need none."""
    return pattern.replace("\\d", "[0-9]").replace("\\.", "[.]")


def _integer(schema: JsonSchema) -> str:
    return _whole(_first_whole(schema), _last_whole(schema))


def _number(schema: JsonSchema) -> str:
    """A float field takes whole numbers too, and a range does not mix the two. A bound that says "finite" says nothing here."""
    bounds = {key for key, _ in (*_LOW, *_HIGH) if abs(schema.get(key, 0)) >= sys.float_info.max}
    schema = {key: value for key, value in schema.items() if key not in bounds}
    low = [f"float .{operator} {_digits(schema[key])}" for key, operator in _LOW if key in schema]
    high = [f"float .{operator} {_digits(schema[key])}" for key, operator in _HIGH if key in schema]
    if not low and not high:
        return "int / float"
    fractions = " .and ".join(f"({bound})" for bound in low + high) if low and high else (low or high)[0]
    whole = _whole(_first_whole(schema), _last_whole(schema))
    return " / ".join(f"({part})" if " .and " in part else part for part in (whole, fractions))


def _digits(value: float) -> str:
    """Without an exponent where that is possible: tools read one as a whole number."""
    return f"{value:.1f}" if abs(value) >= 1e16 else repr(float(value))


_LOW = (("minimum", "ge"), ("exclusiveMinimum", "gt"))
_HIGH = (("maximum", "le"), ("exclusiveMaximum", "lt"))


def _first_whole(schema: JsonSchema) -> int | None:
    if "exclusiveMinimum" in schema:
        return math.floor(float(schema["exclusiveMinimum"])) + 1
    return math.ceil(float(schema["minimum"])) if "minimum" in schema else None


def _last_whole(schema: JsonSchema) -> int | None:
    if "exclusiveMaximum" in schema:
        return math.ceil(float(schema["exclusiveMaximum"])) - 1
    return math.floor(float(schema["maximum"])) if "maximum" in schema else None


def _whole(low: int | None, high: int | None) -> str:
    if low is not None and low >= 0 and high is not None:
        return f"{low}..{high}"
    if low == 0:
        return "uint"
    bounds = [f"int .ge {low}"] * (low is not None) + [f"int .le {high}"] * (high is not None)
    return " .and ".join(f"({bound})" for bound in bounds) if len(bounds) > 1 else (bounds or ["int"])[0]
