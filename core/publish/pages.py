"""The reference pages: one a namespace, one of the error codes and one contents page, in Markdown for people.

Every word on them is the catalogue's own, so a page is never wrong about the method it shows.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from core.catalogue import Catalogue
from core.publish.parts import text_meaning, text_word, texts
from core.wire.errors import CODES, EXIT_CONFIG, EXIT_NO, EXIT_USAGE

JsonSchema = Mapping[str, Any]

_NOTICE = "<!-- Generated from the catalogue by `make api`; do not edit. -->\n"
_KINDS = {
    "read": "Reads; writes nothing.",
    "write": "Writes: what it did is on disk before the reply.",
    "task": "Runs in a task of its own.",
}
_CLIENT = """\
from irerctl.client import Client, find_socket

with Client(find_socket()) as client:
"""
_MANNERS = """\
## Every method

- A write answers with what it did, and with a receipt: log, sequence number and hash of its last record.
- A write that had nothing to do answers `{}` without a receipt.
- A field that may be absent stands at its default then. New fields may appear in any result.
- A list comes in pages: ask again with `after` set to the `next` of the page before, until there is none.
- A refusal has a stable code; see [errors](errors.md).
"""


def reference(catalogue: Catalogue) -> dict[str, str]:
    """The pages, by file name inside the reference folder."""
    document = catalogue.document()
    spaces: dict[str, list[Mapping[str, Any]]] = {}
    for method in document["methods"]:
        spaces.setdefault(method["name"].partition(".")[0], []).append(method)
    pages = {f"{name}.md": _page(name, methods, document["events"]) for name, methods in sorted(spaces.items())}
    return {"README.md": _contents(spaces), **pages, "errors.md": _errors(), "events.md": _events(document["events"])}


def _contents(spaces: Mapping[str, list[Mapping[str, Any]]]) -> str:
    lines = [_NOTICE, "# Reference\n", "Every method, by namespace. [Errors](errors.md) · [Events](events.md)\n"]
    for name, methods in sorted(spaces.items()):
        lines += [f"## [{name}]({name}.md)\n", "| method | kind | permission | what it does |", "|---|---|---|---|"]
        for method in methods:
            kind = "stream" if method["streams"] else method["kind"]
            link = f"[{method['name']}]({name}.md#{_anchor(method['name'])})"
            lines.append(f"| {link} | {kind} | {method['needs']} | {method['help']} |")
        lines.append("")
    return "\n".join([*lines, _MANNERS, *_texts()])


def _texts() -> Iterator[str]:
    yield "## Kinds of text\n"
    yield "| word | what it is |\n|---|---|"
    for word, known in texts().items():
        yield f"| {word} | {text_meaning(word) or _bounds(known)} |"
    yield ""


def _anchor(heading: str) -> str:
    """How renderers of Markdown turn a heading into the target of a link."""
    return heading.lower().replace(".", "")


def _page(name: str, methods: list[Mapping[str, Any]], events: Mapping[str, Any]) -> str:
    parts = [_NOTICE, f"# {name}\n"]
    for method in methods:
        parts += _method(method)
    return "\n".join(parts)


def _method(method: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {method['name']}\n"
    if method["deprecated"]:
        yield "**Deprecated.** It goes with the next major version.\n"
    yield f"{method['help']}.\n"
    yield "\n".join(_facts(method)) + "\n"
    yield from _table("Parameters", method["params"], asks=True)
    if method["item"] is not None:
        yield from _table("Each item", method["item"])
    if method["result"] is not None:
        yield from _table("Result at the end" if method["streams"] else "Result", method["result"])
    if method["kind"] == "write":
        yield "Or `{}`, without a receipt, when there was nothing to do.\n"
    yield from _examples(method)


def _facts(method: Mapping[str, Any]) -> Iterator[str]:
    yield f"- {_KINDS[method['kind']]}{' Streams.' if method['streams'] else ''}"
    yield f"- Permission: `{method['needs']}`"
    if method["deadline_ms"] is None:
        yield "- Deadline: none; cancel it or hang up"
    else:
        yield f"- Deadline: {method['deadline_ms'] / 1000:g} s, unless the caller sets one"
    if method["cli"]:
        yield f"- On the command line: `irerctl {method['cli']}`"
    if method["events"]:
        yield "- Events: " + ", ".join(f"[`{name}`](events.md#{_anchor(name)})" for name in method["events"])
    if method["shown_once"]:
        yield "- The reply is shown once; asking again with the same key does not repeat it"
    yield f"- Since {method['since']}"


def _examples(method: Mapping[str, Any]) -> Iterator[str]:
    example = json.dumps(method["example"], ensure_ascii=False)
    shell = f"irerctl call {method['name']}"
    shell += f" {shlex.quote(example)}" if method["example"] else ""
    shell += " --stream" if method["streams"] else ""
    yield f"```sh\n{shell}\n```\n"
    yield f"```python\n{_CLIENT}{_python(method)}\n```\n"


def _python(method: Mapping[str, Any]) -> str:
    arguments = json.dumps(method["name"])
    if method["example"]:
        arguments += f", {method['example']!r}"
    if method["streams"]:
        return f"    for item in client.stream({arguments}):\n        print(item)"
    return f"    print(client.call({arguments}).result)"


def _table(title: str, schema: JsonSchema, *, asks: bool = False) -> Iterator[str]:
    yield f"**{title}**\n"
    if "properties" not in schema:
        yield f"{_type(schema)}\n"
        return
    rows = list(_rows(schema, schema, "", asks, ()))
    if not rows:
        yield "None.\n"
        return
    head = (
        ["| field | type | required | meaning |", "|---|---|---|---|"] if asks else ["| field | type | meaning |", "|---|---|---|"]
    )
    yield "\n".join(head + rows) + "\n"


def _rows(schema: JsonSchema, top: JsonSchema, path: str, asks: bool, above: tuple[str, ...]) -> Iterator[str]:
    """A line for each field, and for the fields of the types inside it; a type inside itself is only named."""
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        kind = _type(field)
        if "default" in field and field["default"] not in (None, "", [], {}):
            kind += f", default {_code(field['default'])}"
        needed = f" {'yes' if name in required else ''} |" if asks else ""
        always = "" if asks or name in required else " (may be absent)"
        yield f"| `{path}{name}` | {kind} |{needed} {_cell(field.get('description', ''))}{always} |"
        for inner, step in _inside(field):
            if inner not in above:
                yield from _rows(top["$defs"][inner], top, f"{path}{name}{step}.", asks, (*above, inner))


def _inside(schema: JsonSchema) -> Iterator[tuple[str, str]]:
    """The named types in a field, each with the step that leads to it."""
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2], ""
    for member in schema.get("anyOf", ()):
        yield from _inside(member)
    for part, step in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(part), Mapping):
            for name, further in _inside(schema[part]):
                yield name, step + further


def _type(schema: JsonSchema) -> str:
    """A type in a few words, with its bounds."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_type(member) for member in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(_code(value) for value in schema["enum"])
    kind = schema.get("type")
    match kind:
        case "string" if "contentEncoding" in schema:
            return "bytes"
        case "string":
            return text_word(schema) or _bounds(schema)
        case "integer" | "number":
            return f"{kind}{_range(schema)}"
        case "array":
            return f"list of {_type(schema.get('items') or {})}" + _span(schema, "minItems", "maxItems", " items")
        case "object":
            values = schema.get("additionalProperties")
            named = f"map of name to {_type(values)}" if isinstance(values, Mapping) else "object"
            return named + _span(schema, "minProperties", "maxProperties", " entries")
    return str(kind) if kind else "any value"


def _bounds(schema: JsonSchema) -> str:
    pattern = f", {_code(schema['pattern'])}" if "pattern" in schema else ""
    return "text" + _span(schema, "minLength", "maxLength", " characters") + pattern


def _span(schema: JsonSchema, least: str, most: str, unit: str) -> str:
    if most in schema:
        return f", {schema.get(least, 0)} to {schema[most]}{unit}"
    return f", at least {schema[least]}{unit}" if least in schema else ""


def _range(schema: JsonSchema) -> str:
    """The bounds; the widest public integer goes without saying."""
    parts = []
    for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below")):
        if key in schema and abs(schema[key]) < 2**53 - 1:
            parts.append(f"{word} {schema[key]}")
    return (" " + " ".join(parts)) if parts else ""


def _code(value: Any) -> str:
    return f"`{_cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}`"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _errors() -> str:
    lines = [_NOTICE, "# Errors\n"]
    lines.append("Codes are stable; texts are not. A question answered “no” is a result, not an error.\n")
    lines += ["| code | HTTP | exit status | when |", "|---|---|---|---|"]
    lines += [f"| `{code}` | {entry.http} | {entry.exit} | {entry.title} |" for code, entry in CODES.items()]
    lines.append("")
    lines.append(
        f"Other exit statuses of `irerctl`: 0 yes · {EXIT_NO} it ran and the answer is no · {EXIT_USAGE} usage · "
        f"{EXIT_CONFIG} bad configuration.\n"
    )
    return "\n".join(lines)


def _events(events: Mapping[str, Any]) -> str:
    lines = [_NOTICE, "# Events\n", "What a log can hold and `system.watch` shows, by event type.\n"]
    for name, event in events.items():
        lines.append(f"## {name}\n")
        described = event["schema"].get("description")
        lines.append(f"{described + ' ' if described else ''}In `{event['log']}.jsonl`.\n")
        lines += _table("Data", event["schema"])
    return "\n".join(lines)
