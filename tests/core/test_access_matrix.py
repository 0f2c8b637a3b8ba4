"""Who gets through, whole: role × method × domain × state of a token, against an oracle written from the documents alone.

The oracle shares no table with the judges: roles, verbs, the engine's seven and the life of a token stand in it as words.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from core import control
from core.access import Peer, Rules, judge
from core.engine import Actor, Row
from core.engines import ENGINES
from core.gate import tokens
from core.gate.judge import judge as judge_token
from core.secrets import Secrets
from core.world import World
from tests.campaigns import campaign, per_commit
from tests.core.engine_loop import EngineLoop

ROWS = [row for row in World(ENGINES).rows.values() if row.kind != "internal"]
DOMAINS = ("wealth", "info", "myth")
ISSUER = Actor("uid:0", "admin", 0)
ROLES: tuple[tuple[str, ...], ...] = ((), ("viewer",), ("operator",), ("admin",), ("engine",), ("sensor",), ("engine", "viewer"))
STATES = (
    "good", "of another subject", "offline", "http", "expired", "revoked", "used up", "of a key before", "of another boot",
    "forged", "made elsewhere", "no token",
)  # fmt: skip
TAKES_TOKEN = ("gate.check", "gate.check offline", "nav.navigate", "nav.navigate offline", "system.check_http_token")


# --- the oracle -------------------------------------------------------------------------------------------------------------


def gets_through(roles: tuple[str, ...], denied: bool, method: str, needs: str, own: str, asked: str, state: str) -> bool:
    """Whether the caller is answered, and with yes where the question is a token's. From docs/protocol.md and docs/gates.md."""
    reads, writes = needs.endswith(":read"), needs.endswith(":write")
    engines_seven = "system.ping system.info engines.validate actions.check platforms.list config.global log.engine_event".split()
    may = (
        "admin" in roles
        or ("operator" in roles and (reads or writes))
        or ("viewer" in roles and reads)
        or ("engine" in roles and method in engines_seven)
        or ("sensor" in roles and method in ("gate.check", "eil.sense"))
    )
    if denied or not may:
        return False
    if method == "system.check_http_token":
        return state == "http"
    if method in ("gate.check", "nav.navigate"):
        whose = ("good",) if method == "nav.navigate" else ("good", "of another subject")
        return (asked == f"{own} for gates" and state in whose) or (asked == f"{own} offline" and state == "offline")
    return True


# --- what happens -----------------------------------------------------------------------------------------------------------


class Gates(EngineLoop):
    """The gates with a token in each state, of one domain, signed with a key of its own choice."""

    def __init__(self, state: str, domain: str, key: int) -> None:
        super().__init__(control.ENGINE)
        self.secrets = Secrets(b"p" * 32, bytes([key]) * 32, self._draw)
        self.token = self._in(state, domain)

    def _in(self, state: str, domain: str) -> str:
        issue = {"domain": domain, "subject": "user_002" if state == "of another subject" else "user_001", "ttl_s": 60}
        if state == "http":
            return str(self.decide("system.issue_http_token", {"subject": "user_001", "role": "viewer"}, ISSUER).answer.token)
        if state == "offline":
            return str(self.decide("gate.issue_token", {**issue, "offline": True}, ISSUER).answer.token)
        answer = self.decide("gate.issue_token", issue, ISSUER).answer
        match state:
            case "expired":
                self.run(60)
            case "revoked":
                self.ask("gate.revoke_token", {"jti": answer.jti}, ISSUER)
            case "used up":
                self.ask("gate.set_policy", {"domain": domain, "single_use": True}, ISSUER)
                self.ask("nav.navigate", {"domain": domain, "token": answer.token, "subject": "user_001"}, ISSUER)
            case "of a key before":
                self.ask("gate.rotate_key", {"kind": "gate"}, ISSUER)
            case "of another boot":
                self.restart(reboot=True)
            case "forged":
                return str(answer.token[:-2]) + ("AA" if not answer.token.endswith("AA") else "BA")
            case "made elsewhere":
                claims = msgspec.convert(_claims(answer.token), tokens.Claims)
                return tokens.make(claims, "gate", b"another key" * 3)
            case "no token":
                return "e30.e30.AAAA"
        return str(answer.token)

    def opens(self, method: str, actor: Actor, domain: str, offline: bool) -> bool:
        """What this caller is told. Nothing is put on record here: the next question meets the same token."""
        params: dict[str, Any] = {"token": self.token}
        if method != "system.check_http_token":
            params |= {"domain": domain, "offline": offline}
        if method == "nav.navigate":
            params |= {"subject": "user_001"}
        row = self.world.rows[method]
        decision = self.world.decide(row, msgspec.convert(params, row.params), self.context(actor))
        reply = row.reply
        assert reply is not None
        answer = decision.answer or reply(decision.events)
        found = getattr(answer, "allowed", None), getattr(answer, "ok", None), getattr(answer, "valid", None)
        assert decision.turned_down is (True not in found)
        return True in found


def _claims(token: str) -> Any:
    return msgspec.json.decode(tokens._bytes(token.split(".")[1]))


def cases(key: int) -> Iterator[tuple[bool, bool, tuple[Any, ...]]]:
    """Each cell of the matrix: what happens, what the oracle says, and which cell it is."""
    callers = list(itertools.product(ROLES, (False, True)))
    rules = Rules(methods_of_role={"sensor": frozenset({"gate.check", "eil.sense"})})
    by_name = {row.name: row for row in ROWS}

    def verdict(row: Row, roles: tuple[str, ...], denied: bool) -> bool:
        return judge(rules, Peer(7, 7, frozenset(), frozenset(roles), frozenset({row.name} if denied else ())), row).allowed

    for row in ROWS:
        if row.name not in {spelled.split()[0] for spelled in TAKES_TOKEN}:
            for roles, denied in callers:
                yield (
                    verdict(row, roles, denied),
                    gets_through(roles, denied, row.name, row.needs, "", "", ""),
                    (row.name, roles, denied),
                )
    for state, own in itertools.product(STATES, DOMAINS):
        gates = Gates(state, own, key)
        for spelled, asked, (roles, denied) in itertools.product(TAKES_TOKEN, DOMAINS, callers):
            method, _, offline = spelled.partition(" ")
            actor = Actor("uid:7", roles[0] if roles else "none", 7)
            happens = verdict(by_name[method], roles, denied) and gates.opens(method, actor, asked, bool(offline))
            where = f"{asked} offline" if offline else f"{asked} for gates"
            says = gets_through(roles, denied, method, by_name[method].needs, own, where, state)
            yield happens, says, (spelled, asked, own, state, roles, denied)


def matrix(key: int) -> bool:
    seen: Counter[bool] = Counter()
    for happens, says, cell in cases(key):
        assert happens is says, (key, cell)
        seen[happens] += 1
    assert sum(seen.values()) > len(STATES) * len(DOMAINS) ** 2 * len(TAKES_TOKEN) * 2 * len(ROLES)
    assert seen[True] > 500 < seen[False]
    return every_bit_and_byte(key)


def every_bit_and_byte(key: int) -> bool:
    """Of a token of each kind: no bit turned, no byte left out, doubled or put in, and nothing cut passes."""
    for state, kind in (("good", "gate"), ("offline", "offline"), ("http", "http")):
        gates = Gates(state, "wealth", key)
        ctx, raw = gates.context(), gates.token.encode()

        def passes(shown: bytes, gates: Gates = gates, ctx: Any = ctx, kind: Any = kind) -> bool:
            text = shown.decode("latin-1")
            if kind == "http":
                return not control.http_tokens.judge(gates.state, text, ctx)[1]
            return judge_token(gates.states["gate"], ctx, text, kind, "wealth").cause is None

        assert passes(raw)
        places = range(len(raw))
        assert not any(passes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]) for at in places for bit in range(8))
        assert not any(passes(raw[:at] + raw[at + 1 :]) or passes(raw[:at] + raw[at : at + 1] + raw[at:]) for at in places)
        assert not any(passes(raw[:at]) or passes(raw[at + 1 :]) or passes(raw[:at] + b"." + raw[at:]) for at in places)
    return True


def test_whoever_gets_through_is_whom_the_oracle_lets_through_and_nobody_else() -> None:
    for key in range(1, 1 + per_commit("T15")):
        assert matrix(key)


@pytest.mark.campaign
def test_the_same_with_other_keys() -> None:
    campaign("T15", lambda index: matrix(1 + index))


def test_every_method_that_takes_a_token_is_in_the_matrix() -> None:
    takes = {row.name for row in ROWS if "token" in row.params.__struct_fields__}
    assert takes == {spelled.split()[0] for spelled in TAKES_TOKEN}
