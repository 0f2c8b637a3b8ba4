"""What W3C's PROV-JSON (member submission of 24 April 2013) allows, as a JSON schema in our own words."""

from typing import Any

_NAME = {"type": "string", "pattern": "^([A-Za-z_][A-Za-z0-9_.-]*|_)?:?[^\\s]+$"}
_TYPED = {
    "type": "object",
    "properties": {"$": {"type": "string"}, "type": {"type": "string"}, "lang": {"type": "string"}},
    "required": ["$"],
    "additionalProperties": False,
}
_LITERAL = {"anyOf": [{"type": ["string", "number", "boolean"]}, _TYPED]}
_VALUE = {"anyOf": [_LITERAL, {"type": "array", "items": _LITERAL, "minItems": 1}]}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})?$"}


def _record(needed: tuple[str, ...] = (), may: tuple[str, ...] = (), times: tuple[str, ...] = ()) -> dict[str, Any]:
    """Of one kind, by id: the text of the submission allows several with one id, its schema does not."""
    names = {f"prov:{name}": _NAME for name in (*needed, *may)} | {f"prov:{name}": _TIME for name in times}
    one = {
        "type": "object",
        "properties": names,
        "required": [f"prov:{name}" for name in needed],
        "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_.-]*:[^\\s]+$"},
        "additionalProperties": _VALUE,
    }
    return {"type": "object", "propertyNames": _NAME, "additionalProperties": one}


SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "prefix": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9_-]+$"},
            "additionalProperties": {"type": "string", "pattern": "^[a-z][a-z0-9+.-]*:"},
        },
        "entity": _record(),
        "activity": _record(times=("startTime", "endTime")),
        "agent": _record(),
        "wasGeneratedBy": _record(("entity",), ("activity",), ("time",)),
        "used": _record(("activity",), ("entity",), ("time",)),
        "wasInformedBy": _record(("informed", "informant")),
        "wasDerivedFrom": _record(("generatedEntity", "usedEntity"), ("activity", "generation", "usage")),
        "wasAssociatedWith": _record(("activity",), ("agent", "plan")),
        "wasInfluencedBy": _record(("influencee", "influencer")),
    },
}
"""Of the relations, those that irer writes: any other would be a mistake."""
