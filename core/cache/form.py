"""Keys and values: what is accepted, how a value becomes bytes, and how it stands in a CouchDB document.

An object is the document itself, any other value stands under `irer:value`; a time to live is the member `irer:expires_at`. The
way there and back loses nothing, whoever wrote the document.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from core.canonical import CanonicalError, decode, encode, encode_inner
from core.engine import RECORD_VALUE_BYTES_MAX, Large, Refused
from core.times import time_text

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 1_048_576
VALUE = "irer:value"
EXPIRES = "irer:expires_at"

_MANY_DIGITS = b"0" * 16
_DIGITS = bytes(ord("0") if chr(code) in "0123456789" else ord("-") for code in range(256))
_decoded = msgspec.json.Decoder().decode
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BEFORE, _AFTER = b'{"value":', b"}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Body(msgspec.Struct, frozen=True, gc=False):
    """A value on its way into the log."""

    sha256: str
    """Of its canonical JSON."""
    size: int
    value: Any
    """What the record holds; None for a blob."""
    blob: str
    """The SHA-256 once more, if it is a blob."""
    raw: bytes = b""
    """Its canonical JSON, if it is not."""


def canonical(value: Any) -> bytes:
    """The one form of a value, as it can stand in a record. Raises Refused, saying where and why."""
    raw = encode_inner(value)
    if raw is None:
        raw = _canonical_slowly(value)
    if len(raw) > VALUE_BYTES_MAX:
        text = f"{len(raw):,} bytes as JSON; a value has at most {VALUE_BYTES_MAX:,}. Keep parts of it under keys of their own"
        raise _bad("value", text)
    return raw


def _canonical_slowly(value: Any) -> bytes:
    try:
        return encode({"value": value})[len(_BEFORE) : -len(_AFTER)]
    except CanonicalError as error:
        where = error.path.removeprefix(".") or "value"
        raise _bad(where, f"{error.why}. A value is JSON: texts, numbers, true, false, null, lists and objects") from None
    except RecursionError:
        raise _bad("value", "nested too deep") from None


def body_of(value: Any) -> Body:
    """Raises Refused. A large value comes here as the blob that it was stored as."""
    if isinstance(value, Large):
        return Body(value.sha256, len(value.raw), None, value.sha256)
    return _body(canonical(value), value)


def own_body(value: Any) -> Body:
    """The same of a value that is set here."""
    return body_of(value) if isinstance(value, Large) else _body(accepted(value), value)


def _body(raw: bytes, value: Any) -> Body:
    if len(raw) > RECORD_VALUE_BYTES_MAX:
        raise _bad("value", f"{len(raw):,} bytes as JSON are not stored in a record")
    return Body(sha256(raw).hexdigest(), len(raw), value, "", raw)


def accepted(value: Any) -> bytes:
    """The one form of a value that may be set here. Raises Refused."""
    raw = encode_inner(value)
    if raw is not None and b'"_' not in raw and len(raw) <= VALUE_BYTES_MAX:
        return raw  # nearly every one
    if isinstance(value, dict):
        for name in value:
            if isinstance(name, str) and name.startswith("_"):
                raise _bad(f"value.{name}", "a member that begins with _ is CouchDB's own. Give it another name")
    return canonical(value)


def _bad(path: str, text: str) -> Refused:
    return Refused("invalid-argument", f"{path}: {text}", fields=[(path, text)])


def check_key(key: str) -> None:
    """What its type cannot say: the bytes count, not the characters."""
    if len(key) <= KEY_BYTES_MAX and key.isascii() and key.isprintable():
        return  # nearly every one
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise _bad("key", "a key is text that can be written as UTF-8") from None
    if size > KEY_BYTES_MAX:
        raise _bad("key", f"{size} bytes as UTF-8; a key has at most {KEY_BYTES_MAX}")
    if _CONTROL.search(key) is not None:
        raise _bad("key", "a control character, such as the end of a line. Leave it out")


# --- in and out of records ------------------------------------------------------------------------------------------------


class _Stored(msgspec.Struct):
    key: str
    value: msgspec.Raw = msgspec.Raw(b"null")
    blob: str = ""
    rev: str = ""


_stored = msgspec.json.Decoder(_Stored)


def stored(payload: bytes) -> tuple[str, bytes | None]:
    """The key of a record of this log, and its value as canonical JSON; None where that is a blob or there is none."""
    try:
        found = _stored.decode(payload)
    except msgspec.MsgspecError:
        return "", None  # a record of several keys, or of none
    return found.key, None if found.blob else bytes(found.value)


def loader(raw: bytes) -> Callable[[bytes], Any]:
    """How the value is had from canonical bytes of ours: it depends on them alone."""
    if len(raw) < len(_MANY_DIGITS) or _MANY_DIGITS not in raw.translate(_DIGITS):
        return _decoded
    return decode  # an integer beyond the safe ones can only be a float


def loaded(raw: bytes) -> Any:
    """The value in canonical bytes of ours."""
    return loader(raw)(raw)


# --- CouchDB ----------------------------------------------------------------------------------------------------------------


def expires_us_of(text: Any) -> int | None:
    """The time in `irer:expires_at`, if it is one as irer writes it."""
    if not isinstance(text, str) or len(text) != len("2026-01-01T00:00:00.000000Z"):
        return None
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    us = (moment - _EPOCH) // timedelta(microseconds=1)
    return us if us > 0 and time_text(us) == text else None


def members(value: Any, expires_us: int) -> dict[str, Any]:
    """The document, without the members that begin with `_`."""
    body = {VALUE: value} if _wrapped(value, bool(expires_us)) else dict(value)
    if expires_us:
        body[EXPIRES] = time_text(expires_us)
    return body


def plain_members(raw: bytes) -> bytes | None:
    """The members of the document whose value has these canonical bytes, where they are surely its own: an object in which no text
    begins as a name does that means something.
    """
    if not raw.startswith(b"{") or b'"_' in raw or b'"irer:' in raw or loader(raw) is not _decoded:
        return None
    return raw[1:-1]


def value_of(body: dict[str, Any]) -> tuple[Any, int]:
    """The value and its time of expiry (0: none) in a document's members, `_` ones left out. Undoes `members`, and `members` it."""
    expires_us = expires_us_of(body.get(EXPIRES)) or 0
    rest = {name: value for name, value in body.items() if name != EXPIRES} if expires_us else dict(body)
    return (rest[VALUE], expires_us) if _is_wrapper(rest, bool(expires_us)) else (rest, expires_us)


def _is_wrapper(body: dict[str, Any], timed: bool) -> bool:
    return len(body) == 1 and VALUE in body and _wrapped(body[VALUE], timed)


def _wrapped(value: Any, timed: bool) -> bool:
    """Whether a value cannot be the document itself: no object, or one that would be taken for a wrapper or a time to live, or
    with members that are CouchDB's own.
    """
    if not isinstance(value, dict):
        return True
    if any(name.startswith("_") for name in value):
        return True
    if EXPIRES in value and (timed or expires_us_of(value[EXPIRES]) is not None):
        return True
    return _is_wrapper(value, timed)
