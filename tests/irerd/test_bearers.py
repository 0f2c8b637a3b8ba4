"""In whose name a connection may call: only of tokens that were shown on it, and never with more than it has itself."""

from typing import Any

import pytest

from core.access import Peer, Rules, judge
from core.control.http_tokens import SUBJECT_MAX, CheckedHttpToken, actor_name, id_in
from core.control.model import HTTP_TOKENS_MAX, Control, HttpToken
from core.engine import Actor, Nothing, Refused, Row
from irerd.bearers import Bearers
from irerd.dispatch import Answer

SECOND_US = 1_000_000
ROWS = {
    needs: Row(name, "write", Nothing, None, "", {}, needs=needs)
    for name, needs in [("pool.look", "pool:read"), ("pool.size", "pool:write"), ("pool.drop", "pool:admin")]
}


def token(jti: str = "t-1", role: Any = "operator", subject: str = "ann") -> HttpToken:
    return HttpToken(jti, subject, role, 60, 0, 0, "boot", "uid:0")


class Irerd:
    """As much of the dispatcher as judges a bearer."""

    def __init__(self, *tokens: HttpToken) -> None:
        self.control = Control(http_tokens={each.jti: each for each in tokens})
        self.now_us = SECOND_US

    def bearer(self, jti: str) -> HttpToken | None:
        return self.control.bearer(jti, self.now_us, self.now_us, "boot")

    def may(self, peer: Peer, row: Row) -> Any:
        return judge(Rules(), peer, row)

    def connection(self, *shown: str) -> Bearers:
        bearers = Bearers(self)  # type: ignore[arg-type]
        for jti in shown:
            bearers.bind(Answer(CheckedHttpToken(True, "ann", "operator", jti=jti)))
        return bearers


def peer(*roles: str, denied: frozenset[str] = frozenset()) -> Peer:
    return Peer(990, 990, frozenset(), frozenset(roles), denied)


def speaks(bearers: Bearers, as_: str, needs: str = "pool:read", by: Peer | None = None) -> Any:
    try:
        return bearers.speaker(as_, by or peer("operator"), ROWS[needs], unnamed=False)
    except Refused as refused:
        return refused.code, refused.reason


UNSHOWN = ("unauthenticated", "token-refused")


def test_only_a_token_that_was_shown_on_this_very_connection_is_spoken_for() -> None:
    irerd = Irerd(token("t-1"), token("t-2", subject="bob"))
    mine, other = irerd.connection("t-1"), irerd.connection("t-2")
    assert speaks(mine, "http#t-1") == Actor("http:ann", "operator", 990)
    assert speaks(other, "http#t-2") == Actor("http:bob", "operator", 990)
    assert [speaks(mine, "http#t-2"), speaks(other, "http#t-1"), speaks(mine, "http#t-3"), speaks(mine, "http#")] == 4 * [UNSHOWN]


def test_who_was_refused_is_named_only_by_a_good_token_of_this_connection() -> None:
    irerd = Irerd(token("t-1"), token("t-2", subject="bob"), token("t-3", subject="cy"))
    irerd.control.http_tokens["t-3"].revoked = True
    bearers = irerd.connection("t-1", "t-3")
    assert bearers.name_in("http#t-1") == "http:ann"
    assert [bearers.name_in(each) for each in ("http#t-2", "http#t-3", "http#none", "t-1", None)] == 5 * [None]


@pytest.mark.parametrize("judged", [CheckedHttpToken(False), CheckedHttpToken(False, jti="t-1"), {"valid": True, "jti": "t-1"}])
def test_what_was_not_found_good_is_not_bound(judged: Any) -> None:
    bearers = Irerd(token()).connection()
    bearers.bind(Answer(judged))
    bearers.bind(Answer(CheckedHttpToken(True, jti="t-1"), error=Refused("internal", "a bug")))
    assert speaks(bearers, "http#t-1") == UNSHOWN


def test_a_bound_token_ends_with_its_life_its_revocation_and_its_key() -> None:
    irerd = Irerd(token("old"), token("revoked"), token("rotated"))
    bearers = irerd.connection("old", "revoked", "rotated")
    irerd.now_us = 60 * SECOND_US - 1
    assert all(isinstance(speaks(bearers, f"http#{jti}"), Actor) for jti in ("old", "revoked", "rotated"))
    irerd.control.http_tokens["revoked"].revoked = True
    del irerd.control.http_tokens["rotated"]
    assert [speaks(bearers, "http#revoked"), speaks(bearers, "http#rotated")] == [UNSHOWN, UNSHOWN]
    irerd.now_us += 1
    assert speaks(bearers, "http#old") == UNSHOWN


def test_who_speaks_has_the_weaker_role_of_token_and_connection() -> None:
    roles = ["viewer", "operator", "admin", "engine"]
    irerd = Irerd(*(token(role, role) for role in roles))
    bearers = irerd.connection(*roles)
    told = {
        (role, own, needs): speaks(bearers, f"http#{role}", needs, peer(own))
        for role in roles
        for own in ("viewer", "operator", "admin", "sensor")
        for needs in ROWS
    }
    for (role, own, needs), said in told.items():
        if role == "engine" or roles.index(role) < list(ROWS).index(needs):
            assert said == ("permission-denied", "role")
        else:
            weaker = own if own == "sensor" else roles[min(roles.index(role), roles.index(own))]
            assert said.role == weaker
    denied = speaks(bearers, "http#admin", by=peer("admin", denied=frozenset({"pool.look"})))
    assert denied == ("permission-denied", "role"), "what is denied to the connection no token gives"


def test_the_role_engine_never_speaks_without_an_engine() -> None:
    irerd = Irerd(token("engine", "engine"), token("viewer", "viewer"))
    bearers = irerd.connection("engine", "viewer")
    listed = Row("platforms.list", "read", Nothing, None, "", {}, needs="platforms:read")
    unproved = []
    for jti, by in [("engine", peer("operator")), ("viewer", peer("engine"))]:
        with pytest.raises(Refused) as caught:
            bearers.speaker(f"http#{jti}", by, listed, unnamed=False)
        unproved.append((caught.value.code, caught.value.reason))
    assert unproved == 2 * [("unauthenticated", "engine-proof")]
    actor = bearers.speaker("http#engine", peer("operator"), listed, unnamed=True)
    assert actor == Actor("http:ann", "engine", 990)


def test_what_names_no_token_is_left_to_the_engines() -> None:
    """An engine may be called `http:t-1`, so the sign between is one that no engine's id has."""
    bearers = Irerd(token()).connection("t-1")
    assert [bearers.speaker(each, peer("admin"), ROWS["pool:read"], unnamed=False) for each in (None, "http:t-1", "t-1")] == 3 * [
        None
    ]
    assert id_in("http#t-1") == "t-1"


def test_tokens_of_one_subject_are_one_actor_and_of_two_subjects_two() -> None:
    subjects = ["a" * SUBJECT_MAX, "a" * (SUBJECT_MAX + 1), "a" * 64, "a" * 63 + "b", "ann", "uid:0"]
    names = [actor_name(each) for each in subjects]
    assert len(set(names)) == len(subjects)
    assert all(name.startswith("http:") and len(name) <= 64 for name in names)
    long = actor_name("a" * 64)
    assert actor_name(long.removeprefix("http:")) != long, "nor is a subject another's that is called as that one is cut"


def test_tokens_shown_one_after_another_fill_no_memory() -> None:
    irerd = Irerd(token("good"))
    bearers = irerd.connection("good", *(f"gone-{number}" for number in range(3 * HTTP_TOKENS_MAX)))
    assert len(bearers._shown) <= HTTP_TOKENS_MAX
    assert speaks(bearers, "http#good") == Actor("http:ann", "operator", 990)
