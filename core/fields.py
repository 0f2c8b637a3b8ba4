"""Field types with their bounds and their privacy class, so that no message invents its own.

A text field of an event must say what it is (STATE: redaction): `public` is stored as is, `secret` never, `pseudonym` as a
keyed alias, `open` is scanned, `document` is stored as given and shown nowhere else. Numbers, booleans and literals are public.
"""

from typing import Annotated, Any, dataclass_transform

import msgspec
from msgspec import Meta


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Frozen(msgspec.StructMeta):
    """The metaclass of structs that never change, so that type checkers know it of their subclasses too."""


INT_MAX = 2**53 - 1


def privacy(name: str) -> Meta:
    return Meta(extra={"privacy": name})


Count = Annotated[int, Meta(ge=0, le=INT_MAX)]
Integer = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Limit = Annotated[int, Meta(ge=1, le=10_000)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*\Z"), privacy("public")]
Code = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*\Z"), privacy("public")]
Label = Annotated[str, Meta(max_length=200), privacy("public")]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z"), privacy("public")]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z\Z"), privacy("public")]
Cursor = Annotated[str, Meta(min_length=1, max_length=4096), privacy("public")]
IdempotencyKey = Annotated[str, Meta(min_length=8, max_length=64, pattern=r"^[A-Za-z0-9._:-]+\Z"), privacy("public")]
Secret = Annotated[str, Meta(min_length=1, max_length=4096), privacy("secret")]
"""Never in an event, never printed: irerctl takes it from a file."""
Object = Annotated[dict[str, Any], privacy("public")]
