"""The shape of a type as a short text, so that stored bytes of another shape are known before they are read.

It covers names, order, defaults, bounds and nesting of everything within the type. Rather too much than too little: a shape that
changed without need costs a replay, one that did not change would give wrong values.
"""

from hashlib import sha256
from typing import Any

import msgspec
from msgspec import inspect

from core.canonical import encode

HOLDS = "holds"
"""Beside a type of bytes, in `extra`: what they hold."""


def digest(*parts: Any) -> str:
    """64 hex digits that stand for these types, numbers and texts in this order."""
    return sha256(encode([part if isinstance(part, int | str) else _shape(inspect.type_info(part)) for part in parts])).hexdigest()


def _shape(info: Any) -> Any:
    match info:
        case inspect.Metadata(extra=extra) if extra and HOLDS in extra:
            return [_shape(info.type), _shape(inspect.type_info(extra[HOLDS]))]
        case inspect.Metadata():
            return _shape(info.type)  # what it adds is for documents
        case msgspec.Struct():
            return [type(info).__name__, *[_shape(getattr(info, name)) for name in info.__struct_fields__]]
        case list() | tuple():
            return [_shape(part) for part in info]
        case _ if callable(info):  # classes, and what makes a default
            return f"{info.__module__}.{info.__qualname__}"
        case _:
            return repr(info)
