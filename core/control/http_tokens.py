"""Tokens of the HTTP gateway: in whose name, and with which role, somebody may speak to a hub from another machine.

A token is a JSON Web Token of one form, and only the very bytes that were issued pass: what is shown is read for its id alone, then
the token of that id is made again and compared. So nothing that a token says of algorithms, keys or roles is ever followed, and no
other kind of token passes here. Whoever shows a bad one learns that it is bad and nothing else: not why, and not by the time it
takes. No token is ever stored or logged.
"""

import base64
import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from core.access import Peer
from core.canonical import encode
from core.control.model import HTTP_TOKEN_S_MAX, HTTP_TOKENS_MAX, Control, HttpRole, HttpToken
from core.control.registry import LIMIT_DEFAULT
from core.engine import NOTHING, Actor, Command, Context, Decision, Event, Refused, Result, Stamp
from core.fields import Code, Count, Cursor, Limit, Name, Secret, Time
from core.paging import Room
from core.secrets import same
from core.times import time_text

TTL_S = 43_200
"""How long a token lives when nobody says: a working day and its night."""
TYPE = "irer-http+jwt"
KEY_KIND = "http"
_HEADER = {"alg": "HS256", "typ": TYPE}
_RANKS = {"viewer": 0, "operator": 1, "engine": 1, "admin": 2}
"""Which role gives no more than which: an engine may write what it did and asked, as operators may."""
_SPARE = HttpToken("00000000-0000-4000-8000-000000000000", "nobody", "viewer", 1, 0, 0, "", "irer")
"""Made and compared where there is no such token, so that an unknown one costs the same work."""

TokenSeconds = Annotated[int, Meta(ge=1, le=HTTP_TOKEN_S_MAX)]


# --- commands ---------------------------------------------------------------------------------------------------------------


class IssueHttpToken(Command):
    """Asks for a token for the HTTP gateway.

    subject: for whom: an id, not a name or an address, for it stands in the log as it is
    role: the most that its bearer may do: viewer, operator, admin or engine; never more than who asks for it
    ttl_s: how long it lives, at most control.http_token_s_max; 12 hours unless told
    """

    subject: Name
    role: HttpRole
    ttl_s: TokenSeconds | None = None


class RevokeHttpToken(Command):
    """Ends a token of the HTTP gateway before its time.

    jti: its id, as `system.issue_http_token` gave it
    """

    jti: Name


class RotateHttpKey(Command):
    """Ends every token of the HTTP gateway, and signs those to come with another key."""


class CheckHttpToken(Command):
    """Asks whether a token is good, as a gateway does for whoever shows it.

    token: the token
    """

    token: Secret


class ListHttpTokens(Command):
    """Which tokens.

    subject: only those of this subject
    limit: how many at most, 1,000 unless told
    after: `next` of the page before
    """

    subject: Name | None = None
    limit: Limit | None = None
    after: Cursor | None = None


# --- events -----------------------------------------------------------------------------------------------------------------


class HttpTokenIssued(Event, type="http_token.issued"):
    """A token of the HTTP gateway was issued.

    jti: its id
    subject: for whom
    role: the most that its bearer may do
    ttl_s: how long it lives, in seconds
    """

    jti: Name
    subject: Name
    role: HttpRole
    ttl_s: Count


class HttpTokenRevoked(Event, type="http_token.revoked"):
    """A token of the HTTP gateway was ended before its time.

    jti: its id
    """

    jti: Name


class HttpKeyRotated(Event, type="http_token.key_rotated"):
    """Tokens of the HTTP gateway are signed with another key; those of the key before have ended.

    generation: of the new key
    """

    generation: Count


class HttpTokenRefused(Event, type="http_token.refused"):
    """Somebody showed a token to the HTTP gateway that is not good.

    cause: why it is not; they were not told: form, unknown, altered, revoked, expired or error
    jti: the id of the token that it claims to be, where there is one
    """

    cause: Code
    jti: Name | None = None


# --- answers ----------------------------------------------------------------------------------------------------------------


class IssuedHttpToken(Result):
    """A token, shown this once.

    token: for the header Authorization: Bearer TOKEN; whoever has it may use it
    jti: its id, to revoke it by
    expires_at: when its life is over
    """

    token: Secret
    jti: Name
    expires_at: Time


class CheckedHttpToken(Result):
    """Whether the token is good now. Of one that is not, nothing else is told.

    valid: whether it is
    subject: for whom it was issued
    role: the most that its bearer may do
    expires_at: when its life is over
    jti: its id: on this connection `as: "http#JTI"` is from now on a call in its name
    """

    valid: bool
    subject: Name | None = None
    role: HttpRole | None = None
    expires_at: Time | None = None
    jti: Name | None = None


class HttpTokenRow(Result):
    """One token that is good now, without the token itself.

    jti: its id
    subject: for whom
    role: the most that its bearer may do
    issued_at: when
    issued_by: by whom
    expires_at: when its life is over
    """

    jti: Name
    subject: Name
    role: HttpRole
    issued_at: Time
    issued_by: Name
    expires_at: Time


class HttpTokenPage(Result):
    """Tokens of the HTTP gateway, the one issued first first.

    tokens: the page
    next: give it as `after` for the page that follows; absent on the last
    """

    tokens: list[HttpTokenRow]
    next: Cursor | None = None


# --- the token as text ------------------------------------------------------------------------------------------------------


def _letters(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def made(token: HttpToken, key: bytes) -> str:
    """The one text that this token has."""
    claims = {
        "exp": token.time_us // 1_000_000 + token.ttl_s,
        "iat": token.time_us // 1_000_000,
        "jti": token.jti,
        "role": token.role,
        "sub": token.subject,
    }
    signed = _letters(encode(_HEADER)) + b"." + _letters(encode(claims))
    return (signed + b"." + _letters(hmac.digest(key, signed, sha256))).decode()


class _Id(msgspec.Struct):
    jti: str


def claimed_id(text: str) -> str | None:
    """The id that a text claims to be the token of. It proves nothing."""
    parts = text.split(".", 3)
    if len(parts) != 3 or not text.isascii():
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Id).jti
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None


def _key(control: Control, ctx: Context) -> bytes:
    return ctx.secrets.token_key(KEY_KIND, control.http_key)


# --- judging ----------------------------------------------------------------------------------------------------------------


def decide_issue(control: Control, command: IssueHttpToken, ctx: Context) -> Decision:
    _check_rank(command.role, ctx.actor)
    ttl_s_max = ctx.settings.control.http_token_s_max
    ttl_s = command.ttl_s or min(TTL_S, ttl_s_max)
    if ttl_s > ttl_s_max:
        text = f"tokens of the HTTP gateway live at most {ttl_s_max:,} s here, {ttl_s:,} were asked for. Ask for less, or an admin"
        raise Refused("out-of-range", f"{text} allows more: irerctl control config set control.http_token_s_max {ttl_s}")
    if len(control.http_tokens) >= HTTP_TOKENS_MAX and not any(_is_over(token, ctx) for token in control.http_tokens.values()):
        text = (
            f"{HTTP_TOKENS_MAX:,} tokens of the HTTP gateway are alive, the most there may be. Ask for shorter lives, or try again"
        )
        raise Refused("resource-exhausted", f"{text} when some have ended: irerctl control tokens", reason="tokens")
    event = HttpTokenIssued(ctx.new_id(), command.subject, command.role, ttl_s)
    token = _issued(event, ctx.now_us, ctx.mono_us, ctx.boot_id, ctx.actor.name)
    return Decision(event, answer=IssuedHttpToken(made(token, _key(control, ctx)), token.jti, time_text(token.ends_us)))


def _check_rank(role: HttpRole, actor: Actor) -> None:
    if _RANKS[role] > _RANKS.get(actor.role, -1) or actor.role == "engine":
        text = f"a token gives at most what its issuer may do: {actor.name} is {actor.role} here, and asked for {role}"
        raise Refused("permission-denied", f"{text}. Ask an admin for it", reason="role")


def decide_revoke(control: Control, command: RevokeHttpToken, ctx: Context) -> Decision:
    token = control.http_tokens.get(command.jti)
    if token is None or _is_over(token, ctx):
        raise Refused("not-found", f"no living token of the HTTP gateway has the id {command.jti}. All: irerctl control tokens")
    return NOTHING if token.revoked else Decision(HttpTokenRevoked(command.jti))


def decide_rotate(control: Control, command: RotateHttpKey, ctx: Context) -> Decision:
    return Decision(HttpKeyRotated(control.http_key + 1))


def decide_check(control: Control, command: CheckHttpToken, ctx: Context) -> Decision:
    """A good token changes nothing; a bad one is on record. Whatever goes wrong while judging is a no."""
    token, cause = None, "error"
    try:
        token, cause = judge(control, command.token, ctx)
    except Exception:
        cause = "error"
    if token is None or cause:
        event = HttpTokenRefused(cause, token.jti if token is not None else None)
        return Decision(event, turned_down=True)
    return Decision(answer=CheckedHttpToken(True, token.subject, token.role, time_text(token.ends_us), token.jti))


def judge(control: Control, text: str, ctx: Context) -> tuple[HttpToken | None, str]:
    """The token that this text claims to be, and what is wrong with it; nothing, if it is good. The same work whatever it is."""
    jti = claimed_id(text)
    token = control.http_tokens.get(jti) if jti is not None else None
    is_same = same(made(token or _SPARE, _key(control, ctx)), text)
    if token is None:
        return None, "form" if jti is None else "unknown"
    if not is_same:
        return token, "altered"
    if token.revoked:
        return token, "revoked"
    return token, "" if token.lives(ctx.now_us, ctx.mono_us, ctx.boot_id) else "expired"


def checked(events: Sequence[HttpTokenRefused]) -> CheckedHttpToken:
    """One answer for every cause."""
    return CheckedHttpToken(False)


def _is_over(token: HttpToken, ctx: Context) -> bool:
    return token.is_over(ctx.now_us, ctx.mono_us, ctx.boot_id)


# --- who calls --------------------------------------------------------------------------------------------------------------

AS = "http#"
"""Before the id of a token in `as`. No engine's id holds this sign, so the one is never taken for the other."""
SUBJECT_MAX = 58
"""Characters of a subject that stand whole in its actor's name. A cut one has one more, so none is called as another is cut."""


def id_in(as_: str | None) -> str | None:
    """The id of the token that a call is made with; None where it is an engine's, or nobody's."""
    return as_.removeprefix(AS) if as_ is not None and as_.startswith(AS) else None


def actor_name(subject: str) -> str:
    """Tokens of one subject are one actor, so what it owns stays its own when it gets another token."""
    if len(subject) <= SUBJECT_MAX:
        return f"http:{subject}"
    return f"http:{subject[:26]}-{sha256(subject.encode()).hexdigest()[:32]}"


def actor_of(token: HttpToken, peer: Peer) -> Actor:
    """Whom a token's calls are on record as, with the weaker of two roles: one that is no rung of the ladder gives nothing."""
    weaker = min(token.role, peer.role, key=lambda role: _RANKS.get(role, -1) if role != "engine" else -1)
    return Actor(actor_name(token.subject), weaker, peer.uid)


def peer_of(token: HttpToken, peer: Peer) -> Peer:
    """The caller with no role but the token's. What is denied to the connection stays denied."""
    return peer._replace(roles=frozenset({token.role}))


# --- facts ------------------------------------------------------------------------------------------------------------------


def _issued(event: HttpTokenIssued, time_us: int, mono_us: int, boot_id: str, actor: str) -> HttpToken:
    return HttpToken(event.jti, event.subject, event.role, event.ttl_s, time_us, mono_us, boot_id, actor)


def apply_issued(control: Control, event: HttpTokenIssued, stamp: Stamp) -> None:
    """With the first that does not fit, those whose life is over are forgotten: the clock refuses them, then and now."""
    tokens = control.http_tokens
    if len(tokens) >= HTTP_TOKENS_MAX:
        over = [jti for jti, token in tokens.items() if token.is_over(stamp.time_us, stamp.mono_us, stamp.boot_id)]
        for jti in over:
            del tokens[jti]
    tokens[event.jti] = _issued(event, stamp.time_us, stamp.mono_us, stamp.boot_id, stamp.actor)


def apply_revoked(control: Control, event: HttpTokenRevoked, stamp: Stamp) -> None:
    token = control.http_tokens.get(event.jti)
    if token is not None:
        token.revoked = True


def apply_rotated(control: Control, event: HttpKeyRotated, stamp: Stamp) -> None:
    control.http_key = event.generation
    control.http_tokens.clear()


def apply_refused(control: Control, event: HttpTokenRefused, stamp: Stamp) -> None:
    control.http_tokens_refused += 1


# --- reading ----------------------------------------------------------------------------------------------------------------


def listed(control: Control, params: ListHttpTokens, ctx: Context) -> HttpTokenPage:
    """Those that are good now."""
    found: list[HttpTokenRow] = []
    room, limit = Room(), params.limit or LIMIT_DEFAULT
    for token in _after(control, params.after):
        if params.subject not in (None, token.subject) or token.revoked or not token.lives(ctx.now_us, ctx.mono_us, ctx.boot_id):
            continue
        times = time_text(token.time_us), token.issued_by, time_text(token.ends_us)
        row = HttpTokenRow(token.jti, token.subject, token.role, *times)
        if len(found) == limit or not room.take(row):
            return HttpTokenPage(found, found[-1].jti)
        found.append(row)
    return HttpTokenPage(found)


def _after(control: Control, jti: str | None) -> list[HttpToken]:
    """Those that were issued after the one of this id."""
    tokens = list(control.http_tokens.values())
    if jti is None:
        return tokens
    place = next((place for place, token in enumerate(tokens) if token.jti == jti), None)
    if place is None:
        text = (
            "`after` is the `next` of an earlier page, whose last token is forgotten by now. Leave it out to begin with the oldest"
        )
        raise Refused("invalid-argument", text, fields=[("after", "no token that is known")])
    return tokens[place + 1 :]
