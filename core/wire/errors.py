"""The error codes: stable words with their HTTP status and the exit status of `irerctl`. Texts may change, codes never."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from core.fields import patterns, plainly


class Code(NamedTuple):
    http: int
    exit: int
    title: str


CODES = {
    "invalid-argument": Code(400, 64, "the parameters are not acceptable"),
    "unauthenticated": Code(401, 77, "no valid proof of identity"),
    "permission-denied": Code(403, 77, "not allowed"),
    "not-found": Code(404, 66, "no such thing"),
    "already-exists": Code(409, 73, "it exists already"),
    "already-running": Code(409, 75, "one is running already"),
    "aborted": Code(409, 75, "it changed in the meantime"),
    "compacted": Code(410, 65, "the log no longer reaches back that far"),
    "out-of-range": Code(416, 65, "outside the bounds"),
    "failed-precondition": Code(412, 65, "not possible in this state"),
    "resource-exhausted": Code(429, 75, "a limit is reached"),
    "cancelled": Code(499, 130, "cancelled by the caller"),
    "deadline-exceeded": Code(504, 124, "time ran out"),
    "internal": Code(500, 70, "a bug in irer"),
    "data-loss": Code(500, 70, "a log failed verification"),
    "durability-unknown": Code(500, 74, "a sync failed; the effect is unknown"),
    "unimplemented": Code(501, 69, "known to another version of irer"),
    "unavailable": Code(503, 69, "the daemon cannot answer now"),
}

EXIT_NO = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78


class RefusedLike(Protocol):
    """What a refusal must tell; `core.engine.Refused` does."""

    code: str
    detail: str
    reason: str | None
    fields: Sequence[tuple[str, str]]
    data: dict[str, Any] | None
    retry_ms: int | None
    effect: str
    help: str | None


def make(
    code: str,
    detail: str | None = None,
    *,
    reason: str | None = None,
    fields: Sequence[tuple[str, str]] = (),
    data: Mapping[str, Any] | None = None,
    retry_ms: int | None = None,
    effect: str | None = None,
    instance: str | None = None,
    help: str | None = None,
) -> dict[str, Any]:
    """An error as it stands in a message. What is absent or usual (`effect: none`) is left out."""
    found: dict[str, Any] = {"code": code, "title": CODES[code].title}
    if detail:
        found["detail"] = detail
    if reason:
        found["reason"] = reason
    if fields:
        found["fields"] = [{"path": path, "problem": problem} for path, problem in fields]
    if data:
        found["data"] = dict(data)
    if retry_ms is not None:
        found["retry_ms"] = retry_ms
    if effect and effect != "none":
        found["effect"] = effect
    if instance:
        found["instance"] = instance
    if help:
        found["help"] = help
    return found


def body(refused: RefusedLike, instance: str | None = None) -> dict[str, Any]:
    """The error that a refusal is answered with."""
    return make(
        refused.code,
        refused.detail,
        reason=refused.reason,
        fields=refused.fields,
        data=refused.data,
        retry_ms=refused.retry_ms,
        effect=refused.effect,
        instance=instance,
        help=refused.help,
    )


def problem(error: msgspec.ValidationError, kind: Any) -> tuple[str, str]:
    """The path and the problem of one refused field: `Expected int >= 1 - at $.dl` is ("dl", "must be 1 or more").

    Where the text broke a pattern, the words of its type stand there instead.
    """
    said, _, path = str(error).partition(" - at ")
    text = in_words(said, kind) if _PATTERN in said else plainly(said, path.strip("`").removeprefix("$"), kind)
    path = path.replace("`", "").removeprefix("key in ").removeprefix("$").removeprefix(".")
    return path[:_TEXT_MAX], text[:_TEXT_MAX]


def in_words(said: str, kind: Any) -> str:
    """What a text should have been that does not match a pattern somewhere in this type."""
    known = patterns(kind)
    words = next((words for pattern, words in known.items() if said.endswith(f"{_PATTERN}{pattern!r}")), None)
    return f"must be {words or 'a text of another form'}"


_PATTERN = " matching regex "
_TEXT_MAX = 300
"""A name a caller made up may stand in the text; it may not fill a frame."""
