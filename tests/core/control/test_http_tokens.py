"""Tokens of the HTTP gateway: who gets one, what passes, every attack that an outsider or an insider with the key could try.

Attacks are made with the real key wherever an insider could: the strictness is then the judge's, not the signature's.
"""

import base64
import copy
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
import pytest

from core.control import ENGINE, http_tokens, model
from core.control.http_tokens import CheckedHttpToken, HttpTokenRefused
from core.engine import Actor, Decision, Refused
from core.settings import Control as ControlSettings
from core.settings import Settings
from tests.core.engine_loop import ANN, EngineLoop

ROOT = Actor("uid:0", "admin", 0)
NO = CheckedHttpToken(False)


@pytest.fixture
def loop() -> EngineLoop:
    return EngineLoop(ENGINE)


def issue(loop: EngineLoop, role: str = "operator", actor: Actor = ROOT, **more: Any) -> Any:
    return loop.decide("system.issue_http_token", {"subject": "ann", "role": role, **more}, actor).answer


def check(loop: EngineLoop, token: str) -> Any:
    """What the caller hears."""
    decision = loop.decide("system.check_http_token", {"token": token}, ANN)
    if not decision.events:
        assert not decision.turned_down
        return decision.answer
    assert decision.turned_down and decision.answer is None, "a refused credential is on record, and told by `reply` alone"
    return http_tokens.checked(decision.events)  # type: ignore[arg-type]


def cause(loop: EngineLoop) -> str:
    last = loop.events[-1]
    assert isinstance(last, HttpTokenRefused)
    return last.cause


def refused(loop: EngineLoop, verb: str, params: dict[str, Any], actor: Actor = ROOT) -> Refused:
    before, count = copy.deepcopy(loop.states), len(loop.records)
    with pytest.raises(Refused) as found:
        loop.ask(verb, params, actor)
    assert loop.states == before and len(loop.records) == count
    return found.value


# --- issuing ----------------------------------------------------------------------------------------------------------------


def test_an_issued_token_is_good_and_says_whose_it_is(loop: EngineLoop) -> None:
    issued = issue(loop, ttl_s=60)
    before = copy.deepcopy(loop.states)
    assert check(loop, issued.token) == CheckedHttpToken(True, "ann", "operator", issued.expires_at, issued.jti)
    assert loop.states == before and len(loop.records) == 1, "a good token leaves no record"
    assert issued.expires_at == "2026-01-01T00:01:00.000000Z"


def test_the_token_is_a_json_web_token_that_another_library_reads(loop: EngineLoop) -> None:
    issued = issue(loop, ttl_s=60)
    key = loop.secrets.token_key("http", 1)
    read = jwt.decode_complete(issued.token, key, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False})
    assert read["header"] == {"alg": "HS256", "typ": "irer-http+jwt"}
    assert read["payload"] == {"exp": 1_767_225_660, "iat": 1_767_225_600, "jti": issued.jti, "role": "operator", "sub": "ann"}


def test_neither_the_token_nor_its_signature_is_kept_or_logged(loop: EngineLoop) -> None:
    issued = issue(loop)
    signature = issued.token.rpartition(".")[2]
    assert signature not in repr(loop.states) and not any(signature.encode() in payload for _, payload, _ in loop.records)
    assert loop.world.rows["system.issue_http_token"].shown_once


def test_only_an_admin_issues_and_revokes_and_those_who_look_may_ask(loop: EngineLoop) -> None:
    needs = {name: row.needs for name, row in loop.world.rows.items() if "http_token" in name}
    assert needs == {
        "system.issue_http_token": "system:admin",
        "system.revoke_http_token": "system:admin",
        "system.check_http_token": "system:read",
        "system.http_tokens": "system:read",
    }


@pytest.mark.parametrize(
    ("has", "may"),
    [
        ("admin", {"viewer", "operator", "engine", "admin"}),
        ("operator", {"viewer", "operator", "engine"}),
        ("viewer", {"viewer"}),
        ("engine", set()),
        ("clerk", set()),
        ("none", set()),
    ],
)
def test_a_token_gives_at_most_what_its_issuer_may_do(loop: EngineLoop, has: str, may: set[str]) -> None:
    """A role of the file's own may be allowed the method, and is still no way up."""
    for role in ("viewer", "operator", "engine", "admin"):
        actor = Actor("uid:7", has, 7)
        if role in may:
            assert check(loop, issue(loop, role, actor).token).role == role
        else:
            error = refused(loop, "system.issue_http_token", {"subject": "ann", "role": role}, actor)
            assert (error.code, error.reason) == ("permission-denied", "role")


@pytest.mark.parametrize(
    "params",
    [
        {"subject": "ann"},
        {"role": "viewer"},
        {"subject": "ann", "role": "root"},
        {"subject": "ann", "role": "Admin"},
        {"subject": "", "role": "viewer"},
        {"subject": "ann smith", "role": "viewer"},
        {"subject": "a" * 65, "role": "viewer"},
        {"subject": "ann", "role": "viewer", "ttl_s": 0},
        {"subject": "ann", "role": "viewer", "ttl_s": -1},
        {"subject": "ann", "role": "viewer", "ttl_s": 1.5},
        {"subject": "ann", "role": "viewer", "ttl_s": 31_536_001},
    ],
)
def test_what_is_no_request_for_a_token_is_none(loop: EngineLoop, params: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        loop.ask("system.issue_http_token", params, ROOT)


def test_life_is_bounded_by_the_configuration(loop: EngineLoop) -> None:
    loop.settings = Settings(control=ControlSettings(http_token_s_max=600))
    assert refused(loop, "system.issue_http_token", {"subject": "a", "role": "viewer", "ttl_s": 601}).code == "out-of-range"
    assert issue(loop).expires_at == "2026-01-01T00:10:00.000000Z", "and so is the life that nobody named"
    loop.settings = Settings()
    assert issue(loop).expires_at == "2026-01-01T12:00:00.000000Z"


def test_there_is_a_most_and_room_again_when_some_have_ended(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_tokens, "HTTP_TOKENS_MAX", 2)
    long, short = issue(loop), issue(loop, ttl_s=10)
    assert refused(loop, "system.issue_http_token", {"subject": "a", "role": "viewer"}).reason == "tokens"
    loop.run(10)
    another = issue(loop)
    assert check(loop, long.token).valid and check(loop, another.token).valid and check(loop, short.token) == NO
    assert cause(loop) == "unknown" and len(loop.state.http_tokens) == 2


# --- life -------------------------------------------------------------------------------------------------------------------


def test_a_token_ends_with_its_life_and_not_before(loop: EngineLoop) -> None:
    token = issue(loop, ttl_s=60).token
    loop.run(59.999999)
    assert check(loop, token).valid
    loop.run(0.000001)
    assert check(loop, token) == NO and cause(loop) == "expired"


@pytest.mark.parametrize(
    ("reboot", "down_s", "wall_jump_s", "good"),
    [
        (False, 10.0, 0.0, True),
        (False, 10.0, 1e6, True),
        (False, 10.0, -1e6, True),
        (False, 60.0, -1e6, False),
        (True, 10.0, 0.0, True),
        (True, 60.0, 0.0, False),
        (True, 10.0, 50.0, False),
        (True, 10.0, -11.0, False),
    ],
)
def test_a_restart_ends_no_token_and_after_a_reboot_the_wall_clock_ends_it(
    loop: EngineLoop, reboot: bool, down_s: float, wall_jump_s: float, good: bool
) -> None:
    token = issue(loop, ttl_s=60).token
    loop.restart(down_s, reboot=reboot, wall_jump_s=wall_jump_s)
    assert check(loop, token).valid == good


def test_a_clock_that_is_not_set_yet_refuses_and_forgets_nothing(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issue(loop, ttl_s=3600).token
    monkeypatch.setattr(http_tokens, "HTTP_TOKENS_MAX", 1)
    loop.restart(0, reboot=True, wall_jump_s=-1e6)
    assert check(loop, token) == NO and refused(loop, "system.issue_http_token", {"subject": "a", "role": "viewer"})
    loop.wall_us += 1_000_000_000_000
    assert check(loop, token).valid


def test_a_revoked_token_is_refused_at_once_and_for_ever(loop: EngineLoop) -> None:
    issued, other = issue(loop), issue(loop)
    assert len(loop.ask("system.revoke_http_token", {"jti": issued.jti}, ROOT)) == 1
    assert loop.ask("system.revoke_http_token", {"jti": issued.jti}, ROOT) == [], "doing it again writes nothing"
    assert check(loop, issued.token) == NO and cause(loop) == "revoked" and check(loop, other.token).valid
    loop.restart(1.0, reboot=True)
    assert check(loop, issued.token) == NO and check(loop, other.token).valid


def test_rotating_the_key_ends_every_token_at_once_and_the_next_are_signed_with_another(loop: EngineLoop) -> None:
    assert loop.world.rows["system.rotate_http_key"].needs == "system:admin"
    old = [issue(loop), issue(loop, "viewer")]
    [event] = loop.ask("system.rotate_http_key", {}, ROOT)
    assert event.generation == 2 and loop.look("system.http_tokens").tokens == []
    for token in old:
        assert not check(loop, token.token).valid and cause(loop) == "unknown"
    new = issue(loop)
    assert check(loop, new.token).valid
    header, claims, signature = new.token.split(".")
    with_the_key_before = hmac.digest(loop.secrets.token_key("http", 1), f"{header}.{claims}".encode(), "sha256")
    forged = base64.urlsafe_b64encode(with_the_key_before).rstrip(b"=").decode()
    assert signature != forged and not check(loop, f"{header}.{claims}.{forged}").valid and cause(loop) == "altered"
    loop.restart()
    assert check(loop, new.token).valid and not check(loop, old[0].token).valid
    assert loop.replayed_states() == loop.states


def test_what_does_not_live_cannot_be_revoked(loop: EngineLoop) -> None:
    issued = issue(loop, ttl_s=5)
    assert refused(loop, "system.revoke_http_token", {"jti": "no-such"}).code == "not-found"
    loop.run(5)
    assert refused(loop, "system.revoke_http_token", {"jti": issued.jti}).code == "not-found"


def test_the_list_shows_those_that_are_good_in_pages_and_no_token(loop: EngineLoop) -> None:
    issued = [issue(loop, subject=subject, ttl_s=60) for subject in ("a", "b", "a", "a")]
    loop.ask("system.revoke_http_token", {"jti": issued[2].jti}, ROOT)
    issue(loop, subject="short", ttl_s=1)
    loop.run(1)
    first = loop.look("system.http_tokens", {"limit": 2})
    rest = loop.look("system.http_tokens", {"limit": 2, "after": first.next})
    assert [row.jti for row in first.tokens + rest.tokens] == [issued[0].jti, issued[1].jti, issued[3].jti] and rest.next is None
    assert [row.jti for row in loop.look("system.http_tokens", {"subject": "a"}).tokens] == [issued[0].jti, issued[3].jti]
    assert not any(token.token in repr(first) for token in issued) and first.tokens[0].issued_by == "uid:0"
    with pytest.raises(Refused, match="`after`"):
        loop.look("system.http_tokens", {"after": "no-such"})


# --- attacks ----------------------------------------------------------------------------------------------------------------


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def taken_apart(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in token.split(".")[:2])
    return header, claims


def forged(key: bytes, header: bytes, claims: bytes, digest: str = "sha256") -> str:
    message = f"{b64(header)}.{b64(claims)}"
    return f"{message}.{b64(hmac.digest(key, message.encode(), digest))}"


Attack = Callable[[EngineLoop, str, bytes], list[str]]


def with_header(digest: str = "sha256", /, **members: Any) -> Attack:
    def attack(loop: EngineLoop, token: str, key: bytes) -> list[str]:
        header, claims = taken_apart(token)
        made = {name: value for name, value in {**header, **members}.items() if value is not None}
        signed = forged(key, text(made), text(claims), digest)
        return [signed, signed.rpartition(".")[0] + "."]

    return attack


def with_claims(*several: dict[str, Any]) -> Attack:
    def attack(loop: EngineLoop, token: str, key: bytes) -> list[str]:
        header, claims = taken_apart(token)
        made = [{name: value for name, value in {**claims, **members}.items() if value is not None} for members in several]
        return [forged(key, text(header), text(each)) for each in made]

    return attack


def _gate_tokens(loop: EngineLoop, token: str, key: bytes) -> list[str]:
    issued = [
        loop.decide("gate.issue_token", {"domain": "wealth", "subject": "ann", "offline": offline}).answer.token
        for offline in (False, True)
    ]
    return [*issued, *(f"{each.rpartition('.')[0]}.{token.rpartition('.')[2]}" for each in issued)]


def _expired(loop: EngineLoop, token: str, key: bytes) -> list[str]:
    loop.run(60)
    return [token, *with_claims({"exp": 2**53})(loop, token, key)]


def _revoked(loop: EngineLoop, token: str, key: bytes) -> list[str]:
    loop.ask("system.revoke_http_token", {"jti": taken_apart(token)[1]["jti"]}, ROOT)
    return [token]


def _spelt_otherwise(loop: EngineLoop, token: str, key: bytes) -> list[str]:
    header, claims = taken_apart(token)
    spaced = forged(key, text(header), json.dumps(claims).encode())
    reordered = forged(key, text(header), json.dumps(dict(reversed(claims.items())), separators=(",", ":")).encode())
    doubled = forged(key, text(header), text(claims).replace(b'"role":', b'"role":"admin","role":'))
    return [spaced, reordered, doubled, f"{token}=", f"{token}\n", f" {token}", f"{token}.{token}", token.swapcase()]


def _cut(loop: EngineLoop, token: str, key: bytes) -> list[str]:
    return [token[:length] for length in range(1, len(token))]


ATTACKS: dict[str, tuple[Attack, set[str]]] = {
    "alg none": (with_header(alg="none"), {"altered"}),
    "alg absent": (with_header(alg=None), {"altered"}),
    "alg hs256 in small letters": (with_header(alg="hs256"), {"altered"}),
    "alg HS512": (with_header("sha512", alg="HS512"), {"altered"}),
    "typ of a gate token": (with_header(typ="irer-gate+jwt"), {"altered"}),
    "typ absent": (with_header(typ=None), {"altered"}),
    "kid, jku, crit": (with_header(kid="../../dev/null", jku="https://keys.example/", crit=["exp"]), {"altered"}),
    "role raised, with the right key": (with_claims({"role": "admin"}, {"role": ["admin"]}), {"altered"}),
    "another subject, with the right key": (with_claims({"sub": "root"}), {"altered"}),
    "a longer life, with the right key": (with_claims({"exp": 2**53}, {"exp": None}, {"nbf": 0}), {"altered"}),
    "an id that was never issued": (with_claims({"jti": "id-77"}, {"jti": ""}), {"unknown"}),
    "no id": (with_claims({"jti": None}, {"jti": 5}, {"jti": ["id-1"]}), {"form"}),
    "another key": (lambda loop, token, key: [forged(b"k" * 32, *map(text, taken_apart(token)))], {"altered"}),
    "keys of gate tokens": (
        lambda loop, token, key: [
            forged(loop.secrets.token_key(kind, 1), *map(text, taken_apart(token))) for kind in ("gate", "offline")
        ],
        {"altered"},
    ),
    "gate tokens themselves": (_gate_tokens, {"unknown"}),
    "expired": (_expired, {"expired", "altered"}),
    "revoked": (_revoked, {"revoked"}),
    "spelt otherwise": (_spelt_otherwise, {"altered", "form"}),
    "cut": (_cut, {"altered", "form"}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(loop: EngineLoop, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with one answer for every cause and the same work; the cause is on record only."""
    token = issue(loop, ttl_s=60).token
    assert check(loop, token).valid
    attack, causes = ATTACKS[name]
    shown = attack(loop, token, loop.secrets.token_key("http", 1))
    compared: list[str] = []
    look = http_tokens.same
    monkeypatch.setattr(http_tokens, "same", lambda one, other: compared.append(other) or look(one, other))
    found = set()
    for each in shown:
        assert check(loop, each) == NO, each
        found.add(cause(loop))
    assert found and found <= causes
    assert compared == shown, "each costs the work of one signature and one comparison"
    assert loop.state.http_tokens_refused == len(shown)
    assert not any(each.encode() in payload for each in shown for _, payload, _ in loop.records if len(each) > 64)


def test_every_bit_flip_of_a_good_token_is_refused(loop: EngineLoop) -> None:
    raw, ctx = issue(loop).token.encode(), loop.context()

    def passes(changed: bytes) -> bool:
        return http_tokens.judge(loop.state, changed.decode("latin-1"), ctx)[1] == ""

    assert passes(raw)
    flips = (raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :] for place in range(len(raw)) for bit in range(8))
    assert not any(map(passes, flips))


@pytest.mark.parametrize("odd", [".", "..", "...", "é.é.é", "\ud800.a.b", "W10.W10.", "e30.e30.A", "." * 4_000, "a.b.c" * 800])
def test_odd_texts_are_refused_and_break_nothing(loop: EngineLoop, odd: str) -> None:
    deep = b64(b'{"a":' * 270)
    for each in (odd, f"{deep}.{deep}.", f"{b64(b'[' * 1_400)}." * 2):
        assert check(loop, each) == NO and cause(loop) in ("form", "unknown", "error")


def test_an_http_token_opens_no_gate(loop: EngineLoop) -> None:
    decision = loop.decide("gate.check", {"token": issue(loop).token, "domain": "wealth"})
    assert decision.turned_down and loop.events[-1].cause in ("kind", "claims", "header")  # type: ignore[attr-defined]


def test_an_error_while_judging_is_a_no(loop: EngineLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issue(loop).token

    def broken(*args: Any) -> Decision:
        raise ZeroDivisionError

    monkeypatch.setattr(http_tokens, "judge", broken)
    assert check(loop, token) == NO and cause(loop) == "error"


def test_a_token_of_another_state_directory_is_refused(loop: EngineLoop) -> None:
    token = issue(loop).token
    loop.secrets = msgspec.structs.replace(loop.secrets, token=b"u" * 32)
    assert check(loop, token) == NO and cause(loop) == "altered"


# --- the record -------------------------------------------------------------------------------------------------------------


def test_the_state_comes_back_from_a_dump_and_from_the_log(loop: EngineLoop) -> None:
    issued = [issue(loop, role) for role in ("viewer", "admin")]
    loop.ask("system.revoke_http_token", {"jti": issued[0].jti}, ROOT)
    check(loop, "a.b.c")
    live = loop.state
    loaded = ENGINE.load(ENGINE.dump(live))  # type: ignore[misc]
    assert loaded == live and list(loaded.http_tokens) == [token.jti for token in issued]
    assert loaded.http_tokens[issued[0].jti] is not live.http_tokens[issued[0].jti], "a dump shares nothing with the state"
    loop.restart(1.0)
    assert loop.state == live
    assert isinstance(loop.state.http_tokens[issued[1].jti], model.HttpToken) and check(loop, issued[1].token).role == "admin"
