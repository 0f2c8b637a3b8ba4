"""Tools from the catalogue: which methods an agent is shown, under which names, and how an answer looks to it.

Reads alone unless more is asked for. What would show an agent a secret that is shown once is left out unless it is named in full:
whatever an agent sees is kept in its transcript. Judges nobody: who may do what is irerd's to say, whatever is listed here.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from core.publish.routes import JOBS

LEFT_OUT = frozenset({"system.backup", "system.describe"})
"""A file in pieces, and what `tools/list` says already."""
KINDS = ("read", "write", "admin")
"""What may be shown; each with those before it."""
ITEMS_MAX = 1_000
ITEMS = 100
"""How many items of a stream are gathered, unless told."""
WAIT_S_MAX = 300
WAIT_S = 10
"""How long they are waited for, unless told."""
GATHER: dict[str, Any] = {
    "max_items": {
        "type": "integer",
        "minimum": 1,
        "maximum": ITEMS_MAX,
        "default": ITEMS,
        "description": "stop after so many items",
    },
    "wait_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": WAIT_S_MAX,
        "default": WAIT_S,
        "description": "stop after so many seconds",
    },
}
"""What every streaming tool takes besides its own parameters: an answer has an end."""


class Unknown(ValueError):
    """A word that names no method and no group of methods."""


class Tool(NamedTuple):
    method: str
    streams: bool
    params: Mapping[str, Any]
    """The method's own schema."""
    listed: dict[str, Any]
    """As `tools/list` shows it."""


def name_of(method: str) -> str:
    """Many clients take letters, digits, _ and - only."""
    return method.replace(".", "_")


def tools(document: Mapping[str, Any], kinds: Iterable[str] = ("read",), only: Sequence[str] = ()) -> dict[str, Tool]:
    """The tools by name, in the order of the catalogue. Raises Unknown."""
    methods: list[Mapping[str, Any]] = document["methods"]
    known = {method["name"] for method in methods} | {method["name"].partition(".")[0] for method in methods}
    for word in only:
        if word not in known:
            raise Unknown(word)
    shown = [method for method in methods if _is_shown(method, frozenset(kinds), frozenset(only))]
    return {name_of(method["name"]): _tool(method) for method in shown}


def _is_shown(method: Mapping[str, Any], kinds: frozenset[str], only: frozenset[str]) -> bool:
    name = method["name"]
    if name in LEFT_OUT or method["needs"].partition(":")[2] not in kinds or (method["kind"] == "write" and "write" not in kinds):
        return False
    if method["shown_once"]:
        return name in only
    return not only or name in only or name.partition(".")[0] in only


def _tool(method: Mapping[str, Any]) -> Tool:
    listed = {
        "name": name_of(method["name"]),
        "title": method["help"],
        "description": _described(method),
        "inputSchema": _with_end(method["params"]) if method["streams"] else method["params"],
        "outputSchema": _gathered(method) if method["streams"] else _answer(method),
        "annotations": {"readOnlyHint": _only_reads(method), "openWorldHint": method["name"].endswith(".sync")},
    }
    return Tool(method["name"], method["streams"], method["params"], listed)


def _only_reads(method: Mapping[str, Any]) -> bool:
    return method["kind"] != "write" and str(method["needs"]).endswith(":read")


def _described(method: Mapping[str, Any]) -> str:
    said = [f"{method['help']}.", f"irer method {method['name']}, permission {method['needs']}."]
    if method["streams"]:
        said.append(
            "Streams: gathers items until it ends, max_items or wait_s; go on from `cursor` with `since` where that is taken."
        )
    if method["name"] in JOBS:
        said.append("Begins a job and answers at once: system_op_watch or system_op_status follows it by its id.")
    if method["deprecated"]:
        said.append("Deprecated.")
    said.append(f"Example: {json.dumps(method['example'], ensure_ascii=False)}")
    return " ".join(said)


def _with_end(params: Mapping[str, Any]) -> dict[str, Any]:
    return {**params, "properties": {**params.get("properties", {}), **GATHER}}


def _answer(method: Mapping[str, Any]) -> dict[str, Any]:
    """A write that finds nothing to do answers an empty object."""
    result = method["result"]
    if method["kind"] != "write":
        return dict(result)
    whole, parts = _apart(result)
    return {"type": "object", "anyOf": [whole, {"type": "object", "maxProperties": 0}], **({"$defs": parts} if parts else {})}


def _gathered(method: Mapping[str, Any]) -> dict[str, Any]:
    item, parts = _apart(method["item"])
    result, more = _apart(method["result"]) if method["result"] is not None else ({"type": "null"}, {})
    parts = parts | more
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": item},
            "more": {"type": "boolean", "description": "whether it has not ended"},
            "result": {"anyOf": [result, {"type": "null"}], "description": "what it said when it ended"},
            "cursor": {"type": ["string", "null"], "description": "the place reached"},
        },
        "required": ["items", "more", "result", "cursor"],
        **({"$defs": parts} if parts else {}),
    }


def _apart(schema: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema and its parts, which are pointed at from the root."""
    return {name: value for name, value in schema.items() if name != "$defs"}, dict(schema.get("$defs", {}))
