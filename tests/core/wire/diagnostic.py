"""CBOR diagnostic notation (RFC 8949 section 8) of a decoded message, so that a person can read the golden frames."""

import json
from typing import Any

from core.wire.codec import Typed

TAGS = {"uint8": 64, "uint32": 70, "uint64": 71, "int32": 78, "int64": 79, "float32": 85, "float64": 86}


def diagnose(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{diagnose(key)}: {diagnose(inner)}" for key, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(diagnose, value)) + "]"
        case bytes():
            return f"h'{value.hex()}'"
        case Typed():
            plain = f"{TAGS[value.dtype]}({diagnose(value.data)})"
            return plain if len(value.shape) == 1 else f"40([{diagnose(value.shape)}, {plain}])"
        case _:
            return json.dumps(value, ensure_ascii=False)
