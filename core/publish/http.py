"""OpenAPI 3.1 of the HTTP gateway: each method is `POST /rpc/METHOD`, its parameters the body, its result the answer.

What HTTP cannot say (permission, kind, streaming) stands in `x-irer-` members. No server address and no host name is
written here: the gateway is wherever somebody started one.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from core.catalogue import Catalogue
from core.publish.parts import gather, part_name, pointed
from core.publish.routes import JOBS, ROUTES, Route
from core.wire.calls import DEADLINE_MS_MAX
from core.wire.errors import CODES

_TEXT = {"type": "string"}
_NOTHING = {"type": "object", "maxProperties": 0}
_STATUS_TEXT = {499: "Client Closed Request"}


def openapi(catalogue: Catalogue) -> dict[str, Any]:
    return _written(catalogue.document())


def served(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a daemon's own catalogue, with the paths that stand for one method each: what a gateway serves."""
    made = _written(document)
    methods = {method["name"]: method for method in document["methods"]}
    paths: dict[str, Any] = made["paths"]
    for route in ROUTES:
        if route.method in methods:
            paths[route.path] = {route.verb.lower(): _routed(route, methods[route.method])}
    for path in paths.values():
        for operation in path.values():
            operation["responses"]["default"] = {"$ref": "#/components/responses/Refused"}
    made["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "From system.issue_http_token; beyond loopback there must be one",
        }
    }
    made["security"] = [{}, {"token": []}]
    made["components"]["responses"]["Refused"] = {
        "description": "A refusal of HTTP itself, under its own status",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return made


def _written(document: Mapping[str, Any]) -> dict[str, Any]:
    namespaces = sorted({method["name"].partition(".")[0] for method in document["methods"]})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "irer",
            "version": str(document["proto"]),
            "summary": "Every method of irer over HTTP, as `irerctl hub` serves them",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": namespace} for namespace in namespaces],
        "paths": {f"/rpc/{method['name']}": {"post": _operation(method)} for method in document["methods"]},
        "components": {
            "schemas": {**_parts(document), **_events(document), "Problem": _problem()},
            "parameters": _PARAMETERS,
            "responses": dict(_refusals()),
        },
    }


def _operation(method: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": method["name"],
        "tags": [method["name"].partition(".")[0]],
        "summary": method["help"],
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _headers(method)],
        "requestBody": {
            "required": bool(method["params"].get("required")),
            "content": {"application/json": {"schema": _placed(method["params"], asks=True), "example": method["example"]}},
        },
        "responses": {**_answers(method), **_refused()},
        "x-irer-permission": method["needs"],
        "x-irer-kind": method["kind"],
        "x-irer-streams": method["streams"],
        "x-irer-since": method["since"],
    }
    if method["events"]:
        made["x-irer-events"] = method["events"]
    if method["cli"]:
        made["x-irer-cli"] = method["cli"]
    if method["shown_once"]:
        made["x-irer-shown-once"] = True
    if method["deprecated"]:
        made["deprecated"] = True
    return made


def _routed(route: Route, method: Mapping[str, Any]) -> dict[str, Any]:
    """The operation of a path that stands for one method."""
    made = _operation(method)
    made["operationId"] = f"{route.verb.lower()}{route.path.replace('/', '_')}"
    made["x-irer-method"] = route.method
    if route.verb == "GET":
        del made["requestBody"]
        made["parameters"] += list(_query(method))
    elif route.form == "start-hunt" or route.path == "/engines/validate":
        made["requestBody"]["required"] = False
    if route.engine:
        made["parameters"] += [{"$ref": "#/components/parameters/EngineId"}, {"$ref": "#/components/parameters/EngineKey"}]
    if (answer := _FORMS.get(route.form)) is not None:
        made["responses"].pop("202", None)
        made["responses"].pop("200", None)
        made["responses"] |= answer
    return made


def _query(method: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    required = method["params"].get("required", [])
    for name, schema in method["params"].get("properties", {}).items():
        yield {"name": name, "in": "query", "required": name in required, "schema": _placed(schema, asks=True)}


def _headers(method: Mapping[str, Any]) -> Iterator[str]:
    if method["kind"] == "write":
        yield "IdempotencyKey"
    if method["deadline_ms"] is not None:
        yield "TimeoutMs"
    if method["streams"]:
        yield "LastEventId"


def _answers(method: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer may be; of a method that begins a job also 202."""
    answer = _answer(method)
    if method["name"] not in JOBS:
        return {"200": answer}
    return {"200": answer, "202": {**answer, "description": "The job has begun; system.op_watch follows it"}}


def _answer(method: Mapping[str, Any]) -> dict[str, Any]:
    if not method["streams"]:
        result = _placed(method["result"], asks=False)
        if method["kind"] == "write":
            said, schema = "The result; an empty object when there was nothing to do", {"anyOf": [result, _NOTHING]}
        else:
            said, schema = "The result", result
        return {"description": said, "content": {"application/json": {"schema": schema}}}
    made: dict[str, Any] = {
        "description": "A stream: each event's data is one item, its id the cursor to go on from",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "x-irer-item": _placed(method["item"], asks=False),
    }
    if method["result"] is not None:
        made["x-irer-result"] = _placed(method["result"], asks=False)
    return made


def _placed(schema: Any, *, asks: bool) -> Any:
    return pointed(schema, lambda name: f"#/components/schemas/{part_name(name, asks=asks)}")


def _parts(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _placed(part, asks=asks) for name, (part, asks) in gather(document).items()}


def _events(document: Mapping[str, Any]) -> dict[str, Any]:
    return {f"event.{name}": _placed(event["schema"], asks=False) for name, event in document["events"].items()}


def _codes_by_status() -> dict[int, list[str]]:
    by_status: dict[int, list[str]] = {}
    for code, entry in CODES.items():
        by_status.setdefault(entry.http, []).append(code)
    return dict(sorted(by_status.items()))


def _refused() -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/Refused{status}"} for status in _codes_by_status()}


def _refusals() -> Iterator[tuple[str, Any]]:
    for status, codes in _codes_by_status().items():
        meaning = _STATUS_TEXT.get(status) or HTTPStatus(status).phrase
        schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"code": {"enum": codes}}}]}
        yield (
            f"Refused{status}",
            {
                "description": f"{meaning}: {'; '.join(f'{code}, {CODES[code].title}' for code in codes)}",
                "content": {"application/problem+json": {"schema": schema}},
            },
        )


def _problem() -> dict[str, Any]:
    """A refusal (RFC 9457) with irer's own members; texts may change, codes never."""
    return {
        "type": "object",
        "description": "Why a call was refused",
        "properties": {
            "code": {"enum": list(CODES), "description": "the stable word to decide on"},
            "title": {**_TEXT, "description": "what the code means, in general"},
            "status": {"type": "integer", "description": "the HTTP status"},
            "detail": {**_TEXT, "description": "what happened here, and what to do about it"},
            "reason": {**_TEXT, "description": "a stable word for the rule behind it"},
            "fields": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"path": _TEXT, "problem": _TEXT},
                    "required": ["path", "problem"],
                },
                "description": "each parameter that was refused",
            },
            "data": {"type": "object", "description": "more, such as the nearest names"},
            "retry_ms": {"type": "integer", "minimum": 0, "description": "when trying again is worth it"},
            "effect": {"enum": ["none", "unknown"], "default": "none", "description": "whether something may have been written"},
            "instance": {**_TEXT, "description": "finds it in the daemon's journal"},
            "help": {**_TEXT, "description": "where to read on"},
        },
        "required": ["code", "title"],
    }


_PARAMETERS: dict[str, Any] = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key with the same request is carried out once and answered again",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{8,64}$"},
    },
    "TimeoutMs": {
        "name": "X-Irer-Timeout-Ms",
        "in": "header",
        "description": "How long the caller wants to wait",
        "schema": {"type": "integer", "minimum": 1, "maximum": DEADLINE_MS_MAX},
    },
    "LastEventId": {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The cursor to go on from",
        "schema": {"type": "string"},
    },
    "EngineId": {
        "name": "X-Engine-ID",
        "in": "header",
        "required": True,
        "description": "The engine that asks",
        "schema": {"type": "string"},
    },
    "EngineKey": {
        "name": "X-Engine-Key",
        "in": "header",
        "required": True,
        "description": "Its key",
        "schema": {"type": "string"},
    },
}
_FORMS: dict[str, dict[str, Any]] = {
    "text": {"200": {"description": "Prometheus' text format", "content": {"text/plain": {"schema": _TEXT}}}},
    "start-hunt": {
        "202": {
            "description": "The hunt has begun",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"status": _TEXT, "hunt_id": _TEXT},
                        "required": ["status", "hunt_id"],
                    }
                }
            },
        }
    },
    "get-status": {
        "200": {
            "description": "The hunt, as a page shows it",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "hunt_status": {**_TEXT, "description": "Idle, Running, Completed, Stopped, or Error: and why"},
                            "last_event": {"type": ["string", "null"]},
                            "last_sse": {"type": ["string", "null"]},
                            "last_h_norm": {"type": ["string", "null"]},
                            "found_files": {"type": "array", "items": _TEXT},
                            "final_result": {"type": "object"},
                        },
                        "required": ["hunt_status", "last_event", "last_sse", "last_h_norm", "found_files", "final_result"],
                    }
                }
            },
        }
    },
}
