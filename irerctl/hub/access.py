"""Who may ask the hub: which names it is called by, which pages may speak to it, and whose tokens it takes.

On loopback a request has the role of the hub's process, with a token the weaker of both; anywhere else there must be a token. A
browser carries no secret of ours that another site's page could borrow: there are no cookies. What is refused here never reaches
irerd; what is judged there is on record there. Must never grant what the process itself may not do.
"""

import hashlib
import hmac
import os
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, NamedTuple

import trio

from core.access import ENGINE_METHODS, LADDER, holders
from core.wire.calls import Done
from irerctl.hub.http1 import Head
from irerctl.hub.link import NO_TOKEN, Ask, Daemon, Failed, failed
from irerctl.hub.peers import Turns

TOKEN_S = 1.0
"""How long a token that was found good is not asked about again: so long a revoked one may still pass."""
TOKENS_MAX = 1_024
TOKEN_CHARS_MAX = 4_096
CHECK_TOKEN = "system.check_http_token"
CHECK_MS = 5_000
TRIES_MAX = 24
"""Credentials of one peer that are being judged, or were not good within a second: irerd answers very many late."""
TRIES_S = 1.0
JUDGED_MAX = 48
"""Tokens that are being judged at once, of all callers: fewer than one connection carries, so none waits there unseen."""
PROVED_MAX = 16
"""Likewise keys of engines. These go over the connection that all calls share, and may never fill it."""
PEERS_MAX = 1_024
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OURS = frozenset({"same-origin", "none"})


class Caller(NamedTuple):
    """Who asks. Without a token: whoever reaches the hub's loopback address."""

    subject: str | None = None
    role: str | None = None
    jti: str | None = None
    """The token's id: an irerd that tells it knows the token's callers apart by itself."""

    @property
    def who(self) -> str:
        """By what name they are one caller; empty where only their address is known."""
        return f"http:{self.subject}" if self.subject is not None else ""

    def may(self, method: Mapping[str, Any]) -> bool:
        """Whether the token's role holds what the method needs. The process's own role is judged by irerd."""
        if self.role is None:
            return True
        if self.role == "engine":
            return method["name"] in ENGINE_METHODS
        return self.role in LADDER and self.role in holders(str(method["needs"]))

    def key(self, idem: str | None) -> str | None:
        """An idempotency key as irerd hears it. Where it takes all of the hub for one, a subject's keys are kept apart here."""
        if idem is None or self.subject is None or self.jti is not None:
            return idem
        return "hub." + hashlib.sha256(f"{len(self.subject)} {self.subject} {idem}".encode()).hexdigest()[:48]


ANYBODY = Caller()


def host_name(authority: str) -> str:
    """The name in a Host header, without its port; empty for what is no host."""
    authority = authority.lower()
    if authority.startswith("["):
        name, closed, port = authority[1:].partition("]")
        return name if closed and (not port or (port[0] == ":" and port[1:].isdigit())) else ""
    name, _, port = authority.partition(":")
    return name.rstrip(".") if not port or port.isdigit() else ""


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_in(head: Head) -> str | None:
    """The token that a request shows; None where what it shows can be none."""
    scheme, _, token = head.headers.get("authorization", "").partition(" ")
    token = token.strip()
    good = scheme.lower() == "bearer" and 0 < len(token) <= TOKEN_CHARS_MAX and token.isascii()
    return token if good else None


class Tries:
    """Who shows credentials that are not known to be good, and how many in vain: guessing may keep nobody else waiting."""

    def __init__(self, now: Callable[[], float], places: int) -> None:
        self._now = now
        self._turns = Turns(places)
        self._pending: Counter[str] = Counter()
        self._vain: dict[str, deque[float]] = {}

    @asynccontextmanager
    async def one(self, peer: str) -> AsyncIterator[None]:
        """Around the judging of one credential, once it is this peer's turn. Raises Failed where there were too many."""
        peer = "loopback" if is_loopback(peer) else peer
        if self._pending[peer] + self._lately(peer) >= TRIES_MAX:
            text = "too many tokens or keys that came from here were not good. Wait a second"
            raise failed("resource-exhausted", text, reason="credentials", retry_ms=int(TRIES_S * 1000))
        self._pending[peer] += 1
        try:
            async with self._turns.one(peer):
                yield
        except BaseException as error:  # who does not wait for the answer tried all the same
            if not (isinstance(error, Failed) and error.body.get("code") == "unavailable"):
                self._vain.setdefault(peer, deque(maxlen=TRIES_MAX)).append(self._now())
            raise
        finally:
            self._pending[peer] -= 1
            if not self._pending[peer]:
                del self._pending[peer]

    def _lately(self, peer: str) -> int:
        before = self._now() - TRIES_S
        if len(self._vain) > PEERS_MAX:
            self._vain = {each: times for each, times in self._vain.items() if times[-1] > before}
        times = self._vain.get(peer, ())
        return sum(time > before for time in times)


class Access:
    def __init__(
        self, daemon: Daemon, hosts: frozenset[str], *, tokens: bool, now: Callable[[], float] = trio.current_time
    ) -> None:
        self._daemon = daemon
        self._hosts = hosts
        self._now = now
        self._tokens = tokens
        """Whether nobody may ask without one."""
        self.tokens = Tries(now, JUDGED_MAX)
        self.keys = Tries(now, PROVED_MAX)
        self._key = os.urandom(32)
        self._good: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    def check_host(self, head: Head) -> None:
        """A name of ours: a foreign name that leads here is how a page of another site would reach this machine's ports."""
        if host_name(head.headers["host"]) not in self._hosts:
            text = "this hub does not go by that name. Start it with --allow-host NAME, or use the address it listens on"
            raise failed("permission-denied", text, reason="host")

    def check_origin(self, head: Head, secure: bool) -> None:
        """No page but ours may speak to this hub, whatever it sends."""
        origin, site = head.headers.get("origin"), head.headers.get("sec-fetch-site")
        ours = f"{'https' if secure else 'http'}://{head.headers['host'].lower()}"
        if (origin is not None and origin.lower() != ours) or (site is not None and site not in OURS):
            raise failed("permission-denied", "only pages that this hub served may speak to it", reason="origin")

    async def caller(self, head: Head, peer: str = "") -> Caller:
        """Who asks. Raises Failed: one text for every fault of a token."""
        said = head.headers.get("authorization")
        if said is None:
            if self._tokens:
                raise failed(
                    "unauthenticated",
                    "send Authorization: Bearer TOKEN. An admin makes one: irerctl control tokens issue SUBJECT ROLE",
                )
            return ANYBODY
        if (token := token_in(head)) is None:
            raise self._refused()
        mac = hmac.digest(self._key, token.encode(), "sha256")
        now = self._now()
        found = self._good.get(mac)
        if found is not None and now < found[0]:
            return found[1]
        if found is not None:
            caller = await self._judged(token, self._daemon.ask)
        else:
            async with self.tokens.one(peer):
                caller = await self._judged(token, self._daemon.judge)
        self._good[mac] = now + TOKEN_S, caller
        self._good.move_to_end(mac)
        while len(self._good) > TOKENS_MAX:
            self._good.popitem(last=False)
        return caller

    async def _judged(self, token: str, ask: Callable[[Ask], Awaitable[Done]]) -> Caller:
        if self._daemon.present and CHECK_TOKEN not in self._daemon.methods:
            raise failed("unimplemented", "this irerd knows no HTTP tokens, so nobody can be let in with one", reason="no-tokens")
        answer = (await ask(Ask(CHECK_TOKEN, {"token": token}, CHECK_MS))).r
        if not isinstance(answer, dict) or answer.get("valid") is not True or not answer.get("subject") or not answer.get("role"):
            raise self._refused()
        jti = answer.get("jti")
        return Caller(str(answer["subject"]), str(answer["role"]), str(jti) if jti else None)

    def _refused(self) -> Exception:
        return failed("unauthenticated", NO_TOKEN, reason="token-refused")
