"""Tokens as text: JSON Web Tokens of one form, made here and read back here. Knows keys and claims, and nothing of gates.

There is one algorithm, and it stands in this code: what a token says about algorithms is compared, never followed. A token is
taken apart by our own strict rules before a library looks at its signature, and only the very bytes that `make` writes pass: no
other order, spacing, encoding or additional member. The clock that ends tokens is the caller's business (`until_us`); the library's
checks of `exp` and `nbf` would follow a wall clock that people set, so it is asked about the signature alone.
"""

import base64
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from core.canonical import CanonicalError, decode, encode
from core.fields import Code, Count, Frozen, Name
from core.gate.events import Cause, Kind

if TYPE_CHECKING:
    from jwt import PyJWS

ALGORITHM = "HS256"
ISSUER = "irer"
TYPES: dict[Kind, str] = {"gate": "irer-gate+jwt", "offline": "irer-offline+jwt"}
TOKEN_CHARS_MAX = 4_096

_SPARE = "eyJhbGciOiJIUzI1NiJ9.e30." + "A" * 43
"""Read when a token has no form, so that its refusal costs the same work as that of one with a wrong signature."""


class Claims(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """All of them are required. `iat`, `nbf` and `exp` are for people and other programs; `boot_id` and `until_us` decide."""

    aud: Name
    boot_id: Name
    exp: Count
    gen: Count
    iat: Count
    iss: Name
    jti: Name
    nbf: Count
    scopes: Annotated[list[Code], Meta(max_length=16)]
    sub: Name
    until_us: Count


class Unfit(Exception):
    """This text is no token of ours."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause: Cause = cause


@cache
def _library() -> "PyJWS":
    """Loaded when the first token is made or shown: a daemon without gates need not carry it."""
    from jwt import PyJWS

    return PyJWS(algorithms=[ALGORITHM])


def make(claims: Claims, kind: Kind, key: bytes) -> str:
    return _library().encode(encode(msgspec.to_builtins(claims)), key, algorithm=ALGORITHM, headers={"typ": TYPES[kind]})


def read(text: str, kind: Kind, key_of: Callable[[int], bytes | None], spare_key: bytes) -> Claims:
    """What a token of this kind claims, its signature verified. Raises Unfit. `key_of` knows the generations that still hold."""
    try:
        claims, key = _taken_apart(text, kind, key_of)
    except Unfit:
        _is_signed(_SPARE, spare_key)
        raise
    if not _is_signed(text, key):
        raise Unfit("signature")
    return claims


def _taken_apart(text: str, kind: Kind, key_of: Callable[[int], bytes | None]) -> tuple[Claims, bytes]:
    parts = text.split(".", 3)
    if len(parts) != 3 or len(text) > TOKEN_CHARS_MAX:
        raise Unfit("form")
    header, payload, _ = map(_bytes, parts)
    _judge_header(header, kind)
    try:
        claims = msgspec.convert(decode(payload), Claims, strict=True)
    except (CanonicalError, msgspec.ValidationError):
        raise Unfit("claims") from None
    key = key_of(claims.gen)
    if key is None:
        raise Unfit("generation")
    return claims, key


def _bytes(part: str) -> bytes:
    """The bytes that these letters stand for. Several spellings would decode to the same; only the one we write is taken."""
    try:
        found = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Unfit("form") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=") != part.encode():
        raise Unfit("form")
    return found


def _judge_header(raw: bytes, kind: Kind) -> None:
    try:
        header: Any = decode(raw)
    except CanonicalError:
        raise Unfit("header") from None
    if not isinstance(header, dict):
        raise Unfit("header")
    if header.get("alg") != ALGORITHM:
        raise Unfit("algorithm")
    if header.get("typ") != TYPES[kind]:
        raise Unfit("kind")
    if len(header) != 2:
        raise Unfit("header")


def _is_signed(text: str, key: bytes) -> bool:
    from jwt import PyJWTError

    try:
        _library().decode_complete(text, key, algorithms=[ALGORITHM])
    except PyJWTError:
        return False
    return True
