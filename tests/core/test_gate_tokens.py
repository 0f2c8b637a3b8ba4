"""Tokens: the 25 named attacks, every bit and byte of a good one, and an oracle of who may pass, asked step by step.

Attacks are made with the real key wherever an insider could: the strictness is then the judge's, not the signature's.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import gate, nav
from core.agenda import Agenda, Entry
from core.engine import Actor, Refused
from core.gate import commands, state, tokens
from core.gate.events import DOMAINS, KINDS, AnomalyRaised, TokenChecked
from core.gate.judge import BREACHES_MAX, judge
from core.gate.state import COOLDOWN_US, MINUTE_US, Minutes
from tests.core.engine_loop import ANN, EngineLoop

REFUSED = {"allowed": False, "reason": "token-refused"}
NO_WAY = {"ok": False, "error": "token-refused"}
EVE = Actor("uid:1003", "operator", 1003)


class Gates(EngineLoop):
    """The gates and the mesh on one log, with short names for what callers do."""

    def __init__(self) -> None:
        super().__init__(nav.ENGINE)

    @property
    def gates(self) -> state.Gates:
        found = self.states["gate"]
        assert isinstance(found, state.Gates)
        return found

    def issue(self, domain: str = "wealth", subject: str = "user_001", **more: Any) -> str:
        answer = self.decide("gate.issue_token", {"domain": domain, "subject": subject, **more}).answer
        return str(answer.token)

    def told(self, method: str, **params: Any) -> dict[str, Any]:
        """What the caller gets, and nothing else."""
        decision = self.decide(method, params, EVE)
        reply = self.world.rows[method].reply
        assert reply is not None
        found = msgspec.to_builtins(reply(decision.events))
        assert decision.turned_down == ("token-refused" in found.values())
        assert isinstance(found, dict)
        return found

    def check(self, token: str, domain: str = "wealth", **more: Any) -> dict[str, Any]:
        return self.told("gate.check", token=token, domain=domain, **more)

    def go(self, token: str, domain: str = "wealth", subject: str = "user_001", **more: Any) -> dict[str, Any]:
        return self.told("nav.navigate", token=token, domain=domain, subject=subject, **more)

    def cause(self) -> str | None:
        """Of the latest check, as it is on record."""
        return [event for event in self.events if isinstance(event, TokenChecked)][-1].cause

    def key(self, kind: str = "gate", generation: int = 1) -> bytes:
        return self.secrets.token_key(kind, generation)


@pytest.fixture
def gates() -> Gates:
    return Gates()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def signed(header: bytes, claims: bytes, key: bytes, digest: str = "sha256") -> str:
    """Made here from the standard library, so that the tests do not ask the same library twice."""
    message = f"{b64(header)}.{b64(claims)}"
    return f"{message}.{b64(hmac.new(key, message.encode(), digest).digest())}"


def taken_apart(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims, _ = token.split(".")
    return unb64(header), unb64(claims)


def forged(gates: Gates, token: str, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    """The same token with other members, None for without, signed with the very key."""
    old_header, old_claims = taken_apart(token)
    new_header = {name: value for name, value in {**old_header, **(header or {})}.items() if value is not None}
    new_claims = {name: value for name, value in {**old_claims, **(claims or {})}.items() if value is not None}
    return signed(text(new_header), text(new_claims), gates.key())


def test_what_the_forger_makes_without_a_change_is_a_good_token(gates: Gates) -> None:
    """Else the attacks below would prove nothing."""
    token = gates.issue()
    assert forged(gates, token) == token
    assert gates.check(token) == {"allowed": True, "reason": "ok"} and gates.go(token) == {"ok": True, "route": "wealth/primary"}


# --- the 25 attacks


def _algorithm(name: str | None, digest: str = "sha256") -> Callable[[Gates, str], list[str]]:
    def attack(gates: Gates, token: str) -> list[str]:
        header, claims = taken_apart(token)
        header = {member: value for member, value in {**header, "alg": name}.items() if value is not None}
        made = signed(text(header), text(claims), gates.key(), digest)
        return [made, made.rpartition(".")[0] + "."]

    return attack


def _header(**members: Any) -> Callable[[Gates, str], list[str]]:
    return lambda gates, token: [forged(gates, token, header=members)]


def _claims(*several: dict[str, Any]) -> Callable[[Gates, str], list[str]]:
    return lambda gates, token: [forged(gates, token, claims=members) for members in several]


def _exp(gates: Gates, token: str) -> list[str]:
    header, claims = (text(part) for part in taken_apart(token))
    exp = str(taken_apart(token)[1]["exp"]).encode()
    others = [exp + b".0", exp + b".5", b"9223372036854775808", b"9007199254740992", b"1e3", b"-1", b"true", b'"' + exp + b'"']
    return [signed(header, claims.replace(b'"exp":' + exp, b'"exp":' + other), gates.key()) for other in others]


def _ahead(gates: Gates, token: str) -> list[str]:
    now = taken_apart(token)[1]["nbf"]
    return [forged(gates, token, claims={"nbf": now + 60}), forged(gates, token, claims={"nbf": now + 60, "iat": now + 60})]


def _expired(gates: Gates, token: str) -> list[str]:
    gates.run(300)
    return [token, forged(gates, token, claims={"until_us": gates.mono_us + 1, "exp": gates.wall_us // 1_000_000 + 60})]


def _rebooted(gates: Gates, token: str) -> list[str]:
    gates.restart(reboot=True)
    return [token]


def _used(gates: Gates, token: str) -> list[str]:
    gates.ask("gate.set_policy", {"domain": "wealth", "single_use": True})
    assert gates.go(token)["ok"]
    return [token]


def _revoked(gates: Gates, token: str) -> list[str]:
    gates.ask("gate.revoke_token", {"jti": taken_apart(token)[1]["jti"]})
    return [token]


def _encoded_anew(gates: Gates, token: str) -> list[str]:
    header, claims, signature = token.split(".")
    last = signature[-1]
    twins = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" if letter != last]
    same = [signature[:-1] + twin for twin in twins if base64.urlsafe_b64decode(signature[:-1] + twin + "=") == _decoded(signature)]
    assert same, "several last letters stand for the same signature"
    spaced = base64.urlsafe_b64encode(json.dumps(taken_apart(token)[1]).encode()).rstrip(b"=").decode()
    return [
        *(f"{header}.{claims}.{twin}" for twin in same),
        f"{header}.{claims}.{signature}=",
        f"{header}.{claims}.{signature}\n",
        f" {token}",
        f"{header}.{claims}.{base64.b64encode(_decoded(signature)).decode().rstrip('=')}+",
        f"{header}.{spaced}." + b64(hmac.new(gates.key(), f"{header}.{spaced}".encode(), "sha256").digest()),
        signed(text(taken_apart(token)[0]), json.dumps(dict(reversed(taken_apart(token)[1].items()))).encode(), gates.key()),
    ]


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _duplicates(gates: Gates, token: str) -> list[str]:
    header, claims = (text(part) for part in taken_apart(token))
    return [
        signed(header, claims.replace(b'"aud":"wealth"', b'"aud":"info","aud":"wealth"'), gates.key()),
        signed(header, claims.replace(b'"aud":"wealth"', b'"aud":"wealth","aud":"wealth"'), gates.key()),
        signed(header.replace(b'"alg":', b'"alg":"none","alg":'), claims, gates.key()),
    ]


def _cut(gates: Gates, token: str) -> list[str]:
    message, _, signature = token.rpartition(".")
    return [f"{message}.{signature[:length]}" for length in range(len(signature))] + [message, f"{token}.{signature}"]


PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----\n"
"""No key of ours, as a text that other libraries were led to take for a secret."""

ATTACKS: dict[str, tuple[Callable[[Gates, str], list[str]], set[str]]] = {
    "alg none": (_algorithm("none"), {"algorithm"}),
    "alg HS384": (_algorithm("HS384", "sha384"), {"algorithm"}),
    "alg RS256 over the key": (
        lambda gates, token: [
            *_algorithm("RS256")(gates, token),
            signed(text({**taken_apart(token)[0], "alg": "RS256"}), text(taken_apart(token)[1]), PUBLIC_KEY.encode()),
        ],
        {"algorithm"},
    ),
    "alg hs256 in small letters": (_algorithm("hs256"), {"algorithm"}),
    "alg absent": (_algorithm(None), {"algorithm"}),
    "typ absent": (_header(typ=None), {"kind"}),
    "typ of another kind": (
        lambda gates, token: [
            forged(gates, token, header={"typ": "irer-offline+jwt"}),
            forged(gates, token, header={"typ": "JWT"}),
            gates.issue(offline=True),
        ],
        {"kind"},
    ),
    "crit": (_header(crit=["exp"]), {"header"}),
    "jku": (_header(jku="https://keys.example/jwks.json"), {"header"}),
    "jwk": (_header(jwk={"kty": "oct", "k": "AAAA"}), {"header"}),
    "x5u": (_header(x5u="https://keys.example/cert.pem"), {"header"}),
    "kid as a path": (_header(kid="../../../dev/null"), {"header"}),
    "expired": (_expired, {"expired", "unknown"}),
    "nbf ahead": (_ahead, {"claims"}),
    "exp absent": (_claims({"exp": None}), {"claims"}),
    "exp a float or 2^63": (_exp, {"claims"}),
    "aud a list": (_claims({"aud": ["wealth"]}, {"aud": ["wealth", "info"]}), {"claims"}),
    "aud a prefix": (_claims({"aud": "wea"}, {"aud": "wealthy"}, {"aud": ""}, {"aud": "wealth\u0000"}), {"claims"}),
    "aud another domain": (
        lambda gates, token: [
            gates.issue("info"),
            gates.issue("myth"),
            forged(gates, gates.issue("info"), claims={"aud": "wealth"}),
        ],
        {"domain", "claims"},
    ),
    "another boot": (_rebooted, {"boot"}),
    "jti used": (_used, {"used"}),
    "jti revoked": (_revoked, {"revoked"}),
    "base64 encoded anew": (_encoded_anew, {"form", "claims"}),
    "duplicate claims": (_duplicates, {"claims", "header"}),
    "signature cut": (_cut, {"form", "signature"}),
}


def test_there_are_25_attacks() -> None:
    assert len(ATTACKS) == 25


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at the gate and on the way in, with one answer for every cause, the same work, and the cause on record only."""
    gates = Gates()
    token = gates.issue()
    assert gates.check(token)["allowed"]
    attack, causes = ATTACKS[name]
    shown = attack(gates, token)
    signatures: list[str] = []
    look = tokens._is_signed
    monkeypatch.setattr(tokens, "_is_signed", lambda text, key: signatures.append(text) or look(text, key))
    found = set()
    for each in shown:
        assert gates.check(each) == REFUSED, each
        found.add(gates.cause())
        assert gates.go(each) == NO_WAY
        found.add(gates.cause())
    assert found <= causes and found
    assert len(signatures) == 2 * len(shown), "each refusal costs the work of one signature, whatever was wrong"
    checked = [event for event in gates.events if isinstance(event, TokenChecked)]
    assert sum(not event.allowed for event in checked) == 2 * len(shown), "every refusal is on record"


def test_a_stolen_key_makes_no_token_that_was_never_issued(gates: Gates) -> None:
    token = gates.issue()
    for claims in ({"jti": "id-77"}, {"sub": "root"}, {"scopes": ["admin"]}, {"until_us": 2**53 - 1}, {"iss": "else"}, {"gen": 0}):
        assert gates.check(forged(gates, token, claims=claims)) == REFUSED
    assert gates.check(token)["allowed"]


# --- every bit and byte


def test_every_bit_flip_and_every_byte_deletion_of_a_good_token_is_refused(gates: Gates) -> None:
    token = gates.issue(scopes=["read"])
    raw = token.encode()
    ctx = gates.context()

    def opens(changed: bytes) -> bool:
        return judge(gates.gates, ctx, changed.decode("latin-1"), "gate", "wealth").cause is None

    assert opens(raw)
    flipped = [raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :] for place in range(len(raw)) for bit in range(8)]
    assert len(flipped) == 8 * len(raw) > 2_000 and not any(map(opens, flipped))
    assert not any(opens(raw[:place] + raw[place + 1 :]) for place in range(len(raw)))
    assert not any(opens(raw[:place] + raw[place : place + 1] + raw[place:]) for place in range(len(raw))), "doubled bytes too"


@pytest.mark.parametrize("odd", ["", ".", "..", "...", "é.é.é", "\ud800.a.b", "a.b.c" * 900, "W10.W10.", "." * 4_000, "e30.e30.A"])
def test_odd_texts_are_refused_and_break_nothing(gates: Gates, odd: str) -> None:
    if odd:
        decision = judge(gates.gates, gates.context(), odd, "gate", "wealth")
        assert decision.cause in ("form", "header", "algorithm") and decision.token is None
    deep = b64(b"[" * 2_900)
    assert judge(gates.gates, gates.context(), f"{deep}.{deep}.", "gate", "wealth").cause in ("form", "header")


def test_an_error_while_judging_is_a_no(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    token = gates.issue()

    def broken(*args: Any) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(tokens, "_is_signed", broken)
    assert gates.check(token) == REFUSED and gates.cause() == "error"


# --- kinds, gates, boots


def test_a_token_opens_its_own_gate_for_its_own_kind_and_subject_only(gates: Gates) -> None:
    """Domain of the token × domain asked × kind of the token × kind asked × subject."""
    for domain in DOMAINS:
        for offline in (False, True):
            token = gates.issue(domain, offline=offline)
            for asked in DOMAINS:
                for asked_offline in (False, True):
                    fits = domain == asked and offline == asked_offline
                    assert gates.check(token, asked, offline=asked_offline)["allowed"] is fits
                    for subject in ("user_001", "user_002"):
                        went = gates.go(token, asked, subject, offline=asked_offline)
                        assert went["ok"] is (fits and subject == "user_001"), (domain, asked, offline, asked_offline, subject)
                        assert went["ok"] or went == NO_WAY


def test_the_two_kinds_have_two_keys(gates: Gates) -> None:
    assert len({gates.key(kind, generation) for kind in ("gate", "offline", "http") for generation in range(4)}) == 12
    header, claims = taken_apart(gates.issue(offline=True))
    made = signed(text({**header, "typ": "irer-gate+jwt"}), text(claims), gates.key("offline"))
    assert gates.check(made) == REFUSED and gates.cause() == "signature"


def test_a_token_outlives_a_kill_but_no_reboot_and_minds_no_wall_clock(gates: Gates) -> None:
    token = gates.issue(ttl_s=100)
    gates.restart(10.0, wall_jump_s=-86_400)
    assert gates.check(token)["allowed"], "the wall clock was set back a day"
    gates.restart(10.0, wall_jump_s=30 * 86_400)
    assert gates.check(token)["allowed"], "and on by a month"
    gates.run(79.9)
    assert gates.check(token)["allowed"]
    gates.run(0.1)
    assert gates.check(token) == REFUSED and gates.cause() == "expired"
    token = gates.issue()
    gates.restart(reboot=True)
    for kind in (False, True):
        assert gates.check(token, offline=kind) == REFUSED
    assert gates.look("gate.list") == gate.reads.TokenPage([])


def test_a_scope_must_be_one_of_the_tokens(gates: Gates) -> None:
    token = gates.issue(scopes=["read", "act"])
    assert gates.check(token)["allowed"] and gates.check(token, scope="act")["allowed"]
    assert gates.check(token, scope="admin") == REFUSED and gates.cause() == "scope"
    assert gates.check(gates.issue(), scope="read") == REFUSED


# --- single use


def test_a_single_use_token_is_used_up_by_a_way_that_was_given_and_by_nothing_else(gates: Gates) -> None:
    gates.ask("gate.set_policy", {"domain": "wealth", "single_use": True})
    token = gates.issue()
    assert gates.check(token)["allowed"] and gates.check(token)["allowed"], "asking tells, and uses nothing up"
    assert gates.go(token, subject="user_002") == NO_WAY, "neither does a refusal"
    for route in ("wealth/primary", "wealth/failover"):
        gates.ask("nav.set_route", {"route": route, "enabled": False})
    assert gates.go(token)["error"] == "offline", "nor a way that there was not"
    gates.ask("nav.set_route", {"route": "wealth/failover", "enabled": True})
    assert gates.go(token) == {"ok": True, "route": "wealth/failover"}
    for _ in range(2):
        assert gates.go(token) == NO_WAY and gates.check(token) == REFUSED and gates.cause() == "used"
        gates.restart()
    gates.ask("gate.set_policy", {"domain": "wealth", "single_use": False})
    assert gates.check(token) == REFUSED, "what is used up stays so"


def test_tokens_used_before_a_gate_became_single_use_are_used_up(gates: Gates) -> None:
    used, fresh = gates.issue(), gates.issue()
    assert gates.go(used)["ok"] and gates.go(used)["ok"]
    gates.ask("gate.set_policy", {"domain": "wealth", "single_use": True})
    assert gates.go(used) == NO_WAY and gates.go(fresh)["ok"]


# --- issuing, revoking, keys, policies


def test_a_token_is_in_no_event_and_no_state_and_is_shown_by_the_answer_only(gates: Gates) -> None:
    decision = gates.decide("gate.issue_token", {"domain": "wealth", "subject": "user_001", "scopes": ["b", "a", "b"]})
    answer = decision.answer
    gates.check(answer.token)
    gates.go(answer.token)
    told = b"".join(payload for _, payload, _ in gates.records) + gates.world.dump("gate_log") + repr(gates.gates).encode()
    for part in answer.token.split("."):
        assert part.encode() not in told
    _, claims = taken_apart(answer.token)
    assert claims["scopes"] == ["a", "b"] and claims["jti"] == answer.jti and claims["exp"] - claims["iat"] == 300
    assert answer.expires_at == "2026-01-01T00:05:00.000000Z"
    assert gates.world.rows["gate.issue_token"].shown_once


def test_a_token_lives_300_s_unless_told_and_never_longer_than_the_gate_allows(gates: Gates) -> None:
    gates.ask("gate.set_policy", {"domain": "info", "ttl_s_max": 120})
    with pytest.raises(Refused, match=r"info: tokens live at most 120 s here, 121 were asked for.*--ttl-s-max 121") as refused:
        gates.issue("info", ttl_s=121)
    assert refused.value.code == "out-of-range"
    lives = [taken_apart(gates.issue("info", **more))[1] for more in ({}, {"ttl_s": 120}, {"ttl_s": 1})]
    assert [claims["exp"] - claims["iat"] for claims in lives] == [120, 120, 1]
    with pytest.raises(msgspec.ValidationError):
        gates.issue(ttl_s=3_601)


def test_a_revoked_token_is_named_once_and_forgotten_with_its_life(gates: Gates) -> None:
    jti = taken_apart(gates.issue(ttl_s=60))[1]["jti"]
    assert gates.ask("gate.revoke_token", {"jti": jti}) and not gates.ask("gate.revoke_token", {"jti": jti})
    assert gates.look("gate.list").tokens == []
    gates.run(60)
    with pytest.raises(Refused, match="no living token has the id id-1") as refused:
        gates.ask("gate.revoke_token", {"jti": jti})
    assert refused.value.code == "not-found"
    gates.issue()
    assert list(gates.gates.tokens) == ["id-2"], "no memory is kept of what the clock refuses"


def test_rotating_a_key_ends_its_tokens_at_once_or_after_the_grace(gates: Gates) -> None:
    gate_token, offline_token = gates.issue(), gates.issue(offline=True)
    gates.ask("gate.rotate_key", {"kind": "gate"})
    assert gates.check(gate_token) == REFUSED and gates.cause() == "generation"
    assert gates.check(offline_token, offline=True)["allowed"], "the other kind has a key of its own"
    second = gates.issue()
    gates.ask("gate.rotate_key", {"kind": "gate", "grace_s": 60})
    third = gates.issue()
    gates.run(59.9)
    assert gates.check(second)["allowed"] and gates.check(third)["allowed"]
    gates.run(0.1)
    assert gates.check(second) == REFUSED and gates.check(third)["allowed"]
    gates.ask("gate.rotate_key", {"kind": "gate", "grace_s": 3_600})
    gates.ask("gate.rotate_key", {"kind": "gate", "grace_s": 3_600})
    assert gates.check(third) == REFUSED and gates.cause() == "generation", "a grace is for the key before, no older one"
    assert {token.generation for token in gates.gates.tokens.values() if token.kind == "gate"} == set()


def test_a_policy_changes_only_at_the_revision_that_was_read(gates: Gates) -> None:
    gates.ask("gate.set_policy", {"domain": "myth", "rate_max": 7, "if_rev": 0})
    assert not gates.ask("gate.set_policy", {"domain": "myth", "rate_max": 7}), "nothing new, no record"
    with pytest.raises(Refused, match="revision 1, not 0") as refused:
        gates.ask("gate.set_policy", {"domain": "myth", "single_use": True, "if_rev": 0})
    assert refused.value.code == "aborted"
    rows = {row.domain: row for row in gates.look("gate.policy").policies}
    assert (rows["myth"].rate_max, rows["myth"].rev, rows["wealth"].rev) == (7, 1, 0)
    assert [row.domain for row in gates.look("gate.policy", {"domain": "myth"}).policies] == ["myth"]


def test_only_admins_change_keys_and_policies() -> None:
    rows = {row.name: row.needs for row in gate.ENGINE.rows if row.kind != "internal"}
    assert {name for name, needs in rows.items() if needs == "gate:admin"} == {"gate.set_policy", "gate.rotate_key", "gate.free"}
    assert rows["gate.issue_token"] == rows["gate.check"] == rows["gate.revoke_token"] == "gate:write"


def test_live_tokens_have_a_bound_and_those_that_end_make_room(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    """One caller alone may hold half of them: no more than are left free."""
    monkeypatch.setattr(state, "TOKENS_MAX", 6)
    for ttl_s in (10, 20, 30):
        gates.issue(ttl_s=ttl_s)
    with pytest.raises(Refused) as refused:
        gates.issue()
    assert refused.value.code == "resource-exhausted" and refused.value.retry_ms
    gates.run(10)
    gates.issue(ttl_s=5)
    assert [token.jti for token in gates.gates.tokens.values()] == ["id-2", "id-3", "id-4"]
    gates.restart(reboot=True)
    for _ in range(3):
        gates.issue()
    assert len(gates.gates.tokens) == 3 == len(gates.gates.ends)


@pytest.mark.parametrize("seed", range(4))
def test_room_is_what_counting_all_tokens_anew_would_say(gates: Gates, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    random = Random(seed)
    monkeypatch.setattr(state, "TOKENS_MAX", 12)
    for _ in range(200):
        gates.run(random.choice((0, 0, 1, 5)))
        for who in (ANN, EVE):
            now = gates.context()
            alive = [token for token in gates.gates.tokens.values() if token.until_us > now.mono_us]
            mine = sum(token.by == who.name for token in alive)
            for _ in range(2):
                assert gates.gates.has_room(who.name, now.mono_us, now.boot_id) == (mine < 12 - len(alive))
        with suppress(Refused):
            gates.ask(
                "gate.issue_token", {"domain": "wealth", "subject": "s", "ttl_s": random.randint(1, 20)}, random.choice((ANN, EVE))
            )
        if random.random() < 0.1:
            gates.ask("gate.rotate_key", {"kind": "gate", "grace_s": random.choice((0, 3))}, ANN)
    assert gates.replayed() == gates.state


def test_many_refusals_count_each_overdue_token_once(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "TOKENS_MAX", 2_000)
    looked, next_of = [0], Agenda.walk

    def walk(agenda: Agenda[str]) -> Iterator[Entry[str]]:
        for entry in next_of(agenda):
            looked[0] += 1
            yield entry

    for number in range(1_000):
        gates.ask("gate.issue_token", {"domain": "wealth", "subject": "s", "ttl_s": 10 if number % 2 else 60}, ANN)
    gates.run(30)
    kept = gates.gates.tokens
    monkeypatch.setattr(state, "TOKENS_MAX", 1_000)  # so 500 of Ann's are over, 500 hold, and no more are left free
    monkeypatch.setattr(Agenda, "walk", walk)
    for _ in range(300):
        with pytest.raises(Refused):
            gates.ask("gate.issue_token", {"domain": "wealth", "subject": "s"}, ANN)
    assert len(kept) == 1_000 and looked[0] == 501, "not 300 times that"


def test_lists_go_on_where_the_page_before_ended(gates: Gates) -> None:
    for number in range(7):
        gates.issue(("wealth", "info")[number % 2], f"user_{number}")
    first = gates.look("gate.list", {"limit": 3})
    assert [row.subject for row in first.tokens] == ["user_0", "user_1", "user_2"] and first.next is not None
    rest = gates.look("gate.list", {"limit": 4, "after": first.next})
    assert [row.subject for row in rest.tokens] == ["user_3", "user_4", "user_5", "user_6"] and rest.next is None
    assert [row.subject for row in gates.look("gate.list", {"domain": "info"}).tokens] == ["user_1", "user_3", "user_5"]
    assert [row.jti for row in gates.look("gate.list", {"subject": "user_4"}).tokens] == ["id-5"]
    with pytest.raises(Refused, match="`after` is the `next`"):
        gates.look("gate.list", {"after": "x"})


# --- what is unusual


def anomalies(gates: Gates) -> list[AnomalyRaised]:
    return [event for event in gates.events if isinstance(event, AnomalyRaised)]


def test_refused_tokens_of_one_caller_are_an_anomaly_once_in_a_cooldown(gates: Gates) -> None:
    for _ in range(BREACHES_MAX - 1):
        gates.check("no token")
    gates.ask("gate.check", {"token": "no token", "domain": "wealth"}, ANN)
    assert anomalies(gates) == [], "another caller's do not count"
    gates.check("no token", "info")
    assert anomalies(gates) == [], "nor do those at another gate"
    gates.check("no token")
    assert anomalies(gates) == [AnomalyRaised("breach", "wealth", BREACHES_MAX, caller="uid:1003")]
    for _ in range(20):
        gates.go("no token")
    assert len(anomalies(gates)) == 1
    health = {check.name: check for check in gate.reads.checks(gates.gates, gates.context())}
    assert health["gate wealth"].health == "degraded" and "uid:1003" in health["gate wealth"].reason
    assert health["gate info"].health == "ok"
    gates.run(COOLDOWN_US / 1e6)
    assert all(check.health == "ok" for check in gate.reads.checks(gates.gates, gates.context()))
    for _ in range(BREACHES_MAX):
        gates.check("no token")
    assert len(anomalies(gates)) == 2 and len(gates.gates.raised) == 1
    told = gates.look("gate.breaches")
    assert [(row.kind, row.domain, row.who) for row in told.anomalies] == [("breach", "wealth", "uid:1003")] * 2
    wealth = told.domains[0]
    assert (wealth.domain, wealth.refused, wealth.causes[0].cause) == ("wealth", 2 * BREACHES_MAX + 21, "form")
    assert told.refused == wealth.refused + 1 and told.callers[0].caller == "uid:1003"


def test_more_checks_of_one_subject_than_the_gate_allows_are_an_anomaly_and_still_pass(gates: Gates) -> None:
    gates.ask("gate.set_policy", {"domain": "wealth", "rate_max": 3})
    mine, other = gates.issue(), gates.issue(subject="user_002")
    assert all(gates.check(token)["allowed"] for token in (mine, mine, other, other, mine))
    assert anomalies(gates) == []
    assert gates.go(mine)["ok"]
    assert anomalies(gates) == [AnomalyRaised("rate", "wealth", 4, subject="user_001")]
    assert gates.check(mine)["allowed"] and len(anomalies(gates)) == 1


def test_what_a_refused_token_says_of_itself_is_counted_against_nobody(gates: Gates) -> None:
    gates.ask("gate.set_policy", {"domain": "wealth", "rate_max": 1})
    stolen = forged(gates, gates.issue(), claims={"jti": "id-99"})
    for _ in range(9):
        gates.check(stolen)
        gates.go("x.y.z", subject="user_001")
    assert {event.kind for event in anomalies(gates)} == {"breach"}
    assert gates.gates.checks == Minutes()


@given(steps=st.lists(st.tuples(st.integers(0, 90_000_000), st.sampled_from("ab")), max_size=40))
def test_a_minute_is_counted_nearly_and_looking_changes_nothing(steps: list[tuple[int, str]]) -> None:
    """Between what came within this minute of the clock and what came within this one and the last."""
    minutes, came, now = Minutes(), [], 0
    for passed, key in steps:
        now += passed
        minutes.note(key, now)
        came.append((now, key))
        for each in "ab":
            least = sum(k == each and at // MINUTE_US == now // MINUTE_US for at, k in came)
            most = sum(k == each and at // MINUTE_US >= now // MINUTE_US - 1 for at, k in came)
            assert least <= minutes.count(each, now) <= most
    assert minutes.count("a", now + 2 * MINUTE_US) == 0


def test_what_is_counted_within_a_minute_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "WATCHED_MAX", 2)
    minutes = Minutes()
    for key in "abcdc":
        minutes.note(key, 1)
    assert minutes.now == {"a": 1, "b": 1, "": 3} and minutes.count("e", 1) == 3


# --- the oracle


@dataclass
class Known:
    """A token as somebody with pencil and paper would keep it."""

    text: str
    jti: str
    kind: str
    domain: str
    subject: str
    scopes: list[str]
    at_us: int
    ttl_s: int
    boot: str
    rotations_before: int
    revoked: bool = False
    uses: int = 0
    used_up: bool = False


class Oracle:
    """Says who may pass by asking everything anew from the list of what was done."""

    def __init__(self) -> None:
        self.single = dict.fromkeys(DOMAINS, False)
        self.rotations: dict[str, list[tuple[int, str, int]]] = {kind: [] for kind in KINDS}

    def passes(self, gates: Gates, known: Known, kind: str, domain: str, subject: str | None, scope: str | None) -> bool:
        since = self.rotations[known.kind][known.rotations_before :]
        return (
            known.kind == kind
            and known.domain == domain
            and known.boot == gates.boot_id
            and gates.mono_us < known.at_us + known.ttl_s * 1_000_000
            and not known.revoked
            and not known.used_up
            and not (known.uses and self.single[domain])
            and subject in (None, known.subject)
            and (scope is None or scope in known.scopes)
            and (
                not since
                or (len(since) == 1 and since[0][1] == gates.boot_id and gates.mono_us < since[0][0] + since[0][2] * 1_000_000)
            )
        )


SUBJECTS, SCOPES = ("user_001", "user_002"), ("read", "act")
STEPS = st.one_of(
    st.tuples(
        st.just("issue"),
        st.sampled_from(DOMAINS[:2]),
        st.sampled_from(SUBJECTS),
        st.sampled_from([1, 50, 300]),
        st.lists(st.sampled_from(SCOPES), max_size=2),
        st.booleans(),
    ),
    st.tuples(st.just("check"), st.integers(0, 30), st.sampled_from(DOMAINS[:2]), st.sampled_from([None, *SCOPES]), st.booleans()),
    st.tuples(st.just("go"), st.integers(0, 30), st.sampled_from(DOMAINS[:2]), st.sampled_from(SUBJECTS), st.booleans()),
    st.tuples(st.just("same"), st.integers(0, 30)),
    st.tuples(st.just("revoke"), st.integers(0, 30)),
    st.tuples(st.just("rotate"), st.sampled_from(KINDS), st.sampled_from([0, 20])),
    st.tuples(st.just("single"), st.sampled_from(DOMAINS[:2]), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 20.0, 250.0])),
    st.tuples(st.just("restart"), st.booleans()),
)


@settings(max_examples=250, deadline=None)
@given(steps=st.lists(STEPS, max_size=40))
def test_the_gate_opens_for_whom_the_oracle_says_and_for_nobody_else(steps: list[tuple[Any, ...]]) -> None:
    gates, oracle, all_known = Gates(), Oracle(), list[Known]()

    def shown(place: int) -> Known | None:
        return all_known[place % len(all_known)] if all_known else None

    def went(known: Known, domain: str, subject: str, offline: bool) -> None:
        kind = "offline" if offline else "gate"
        passes = oracle.passes(gates, known, kind, domain, subject, None)
        assert gates.go(known.text, domain, subject, offline=offline)["ok"] is passes
        known.uses += passes
        known.used_up |= passes and oracle.single[domain]

    for step in steps:
        match step:
            case ("issue", domain, subject, ttl_s, scopes, offline):
                token = gates.issue(domain, subject, ttl_s=ttl_s, scopes=scopes, offline=offline)
                kind = "offline" if offline else "gate"
                jti = taken_apart(token)[1]["jti"]
                rotations = len(oracle.rotations[kind])
                all_known.append(Known(token, jti, kind, domain, subject, scopes, gates.mono_us, ttl_s, gates.boot_id, rotations))
            case ("check", place, domain, scope, offline) if known := shown(place):
                passes = oracle.passes(gates, known, "offline" if offline else "gate", domain, None, scope)
                asked = {"scope": scope} if scope else {}
                assert gates.check(known.text, domain, offline=offline, **asked)["allowed"] is passes
            case ("go", place, domain, subject, offline) if known := shown(place):
                went(known, domain, subject, offline)
            case ("same", place) if known := shown(place):
                went(known, known.domain, known.subject, known.kind == "offline")
            case ("revoke", place) if known := shown(place):
                try:
                    gates.ask("gate.revoke_token", {"jti": known.jti})
                except Refused as refused:
                    assert refused.code == "not-found"
                known.revoked = True
            case ("rotate", kind, grace_s):
                gates.ask("gate.rotate_key", {"kind": kind, "grace_s": grace_s})
                oracle.rotations[kind].append((gates.mono_us, gates.boot_id, grace_s))
            case ("single", domain, single):
                gates.ask("gate.set_policy", {"domain": domain, "single_use": single})
                oracle.single[domain] = single
            case ("wait", seconds):
                gates.run(seconds)
            case ("restart", reboot):
                gates.restart(reboot=reboot)
    listed = {row.jti for row in gates.look("gate.list").tokens}
    alive = {each.jti for each in all_known if oracle.passes(gates, each, each.kind, each.domain, each.subject, None)}
    assert alive <= listed <= alive | {each.jti for each in all_known if each.uses}
    assert gates.replayed_states() == gates.states


def test_a_digest_is_what_the_standard_says() -> None:
    """RFC 7515, appendix A.1: the forger of these tests signs as the standard does."""
    key = base64.urlsafe_b64decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==")
    header, claims = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6"
    message = f"{header}.{claims}Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    digest = hmac.new(key, message.encode(), hashlib.sha256).digest()
    assert b64(digest) == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert commands.TTL_S == 300
