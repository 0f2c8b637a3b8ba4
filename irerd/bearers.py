"""In whose name a gateway calls: the HTTP tokens that were shown and found good on one connection.

A gateway serves many people over one connection, and to irerd they are as many actors. It shows a token here once
(`system.check_http_token`); calls that follow say whose they are with `as`, by the token's id. The id itself is no secret and opens
nothing: only where that very token was shown, for as long as it lives, and never beyond what the connection itself may do.
"""

from core.access import Peer
from core.control.http_tokens import CheckedHttpToken, actor_name, actor_of, id_in, peer_of
from core.control.model import HTTP_TOKENS_MAX, HttpToken
from core.engine import Actor, Refused, Row
from irerd.dispatch import Answer, Dispatch

CHECK_METHOD = "system.check_http_token"
"""Binds a token to the connection on which it was shown."""
NO_TOKEN = "no good token was shown on this connection by that id. Call system.check_http_token with the token first"
NO_ENGINE = "who has the role engine says which engine it is: engines.validate first, then `as` with the engine's id"


class Bearers:
    """The tokens of one connection."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._shown: set[str] = set()

    def bind(self, answer: Answer) -> None:
        """A token was judged here. Of those that are forgotten none is good any more, so their number is bounded."""
        judged = answer.result
        if answer.error is not None or not isinstance(judged, CheckedHttpToken) or not judged.valid or judged.jti is None:
            return
        if len(self._shown) >= HTTP_TOKENS_MAX and judged.jti not in self._shown:
            self._shown = {jti for jti in self._shown if self._dispatch.bearer(jti) is not None}
        self._shown.add(judged.jti)

    def name_in(self, as_: str | None) -> str | None:
        """The name of whose token `as` names, if it is good: what is refused to them is on record as refused to them."""
        jti = id_in(as_)
        token = self._dispatch.bearer(jti) if jti is not None and jti in self._shown else None
        return actor_name(token.subject) if token is not None else None

    def speaker(self, as_: str | None, peer: Peer, row: Row, *, unnamed: bool) -> Actor | None:
        """Who calls in the name of a token; None where `as` names none. Asked again when the call is decided. Raises Refused."""
        jti = id_in(as_)
        if jti is None:
            return None
        token = self._dispatch.bearer(jti) if jti in self._shown else None
        if token is None:
            raise Refused("unauthenticated", NO_TOKEN, reason="token-refused")
        weaker = peer_of(token, peer)
        verdict = self._dispatch.may(weaker, row)
        if not verdict.allowed:
            raise _too_weak(token, row)
        if "engine" in (token.role, peer.role) and not unnamed:
            raise Refused("unauthenticated", NO_ENGINE, reason="engine-proof")
        return actor_of(token, peer)


def _too_weak(token: HttpToken, row: Row) -> Refused:
    text = f"this token's role is {token.role}; {row.name} needs {row.needs}. Ask an admin for another token"
    return Refused("permission-denied", text, reason="role")
