"""The judge against a slow, obvious oracle: role × method, custom roles, denials, unknowns."""

import itertools

import pytest

from core.access import ENGINE_METHODS, LADDER, Peer, Rules, judge, recognise
from core.engine import Nothing, Row
from core.engines import ENGINES
from core.world import World

ROWS = [row for row in World(ENGINES).rows.values() if row.kind != "internal"]
VERBS = {"read": {"viewer", "operator", "admin"}, "write": {"operator", "admin"}, "admin": {"admin"}}


def peer(*roles: str, denied: frozenset[str] = frozenset()) -> Peer:
    return Peer(1000, 1000, frozenset(), frozenset(roles), denied)


def oracle(roles: tuple[str, ...], row: Row, custom: frozenset[str], denied: frozenset[str]) -> bool:
    """Written from the rules alone: denied never, a role of the ladder by verb, the engine's seven, a custom role by name."""
    if row.name in denied:
        return False
    for role in roles:
        if role in VERBS[row.needs.split(":")[1]]:
            return True
        if role == "engine" and row.name in ENGINE_METHODS:
            return True
        if role == "sensor" and row.name in custom:
            return True
    return False


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_role_and_mixture_of_roles_agrees_with_the_oracle(row: Row) -> None:
    names = (*LADDER, "engine", "sensor")
    for count in range(len(names) + 1):
        for roles in itertools.combinations(names, count):
            for custom in (frozenset(), frozenset({row.name}), frozenset({"resource.nothing"})):
                for denied in (frozenset(), frozenset({row.name})):
                    rules = Rules(methods_of_role={"sensor": custom})
                    verdict = judge(rules, peer(*roles, denied=denied), row)
                    assert verdict.allowed == oracle(roles, row, custom, denied), (roles, custom, denied)


def test_the_role_engine_has_exactly_its_seven_methods_and_all_of_them_exist() -> None:
    allowed = {row.name for row in ROWS if judge(Rules(), peer("engine"), row).allowed}
    assert allowed == ENGINE_METHODS == {
        "system.ping", "system.info", "engines.validate", "actions.check", "platforms.list", "config.global", "log.engine_event",
    }  # fmt: skip


def test_nobody_is_anything_and_an_empty_policy_denies() -> None:
    stranger = recognise(Rules(), uid=1234, gid=1234, gids=(5, 6), own_uid=1)
    assert stranger.roles == frozenset()
    assert not any(judge(Rules(), stranger, row).allowed for row in ROWS)


def test_root_and_the_daemons_own_uid_are_admin() -> None:
    for uid in (0, 77):
        assert recognise(Rules(), uid, 9, (), own_uid=77).role == "admin"


@pytest.mark.parametrize("where", ["uid", "gid", "supplementary"])
def test_a_role_comes_by_uid_by_group_and_by_supplementary_group(where: str) -> None:
    rules = Rules(
        roles_of_uid={5: frozenset({"operator"})} if where == "uid" else {},
        roles_of_gid={6: frozenset({"operator"})} if where != "uid" else {},
    )
    found = recognise(rules, 5, 6 if where == "gid" else 1, (6,) if where == "supplementary" else (), own_uid=99)
    assert found.role == "operator"


def test_a_denial_by_group_wins_over_a_role_by_uid() -> None:
    rules = Rules(roles_of_uid={5: frozenset({"admin"})}, denied_to_gid={6: frozenset({"resource.scale"})})
    found = recognise(rules, 5, 1, (6,), own_uid=99)
    scale = next(row for row in ROWS if row.name == "resource.scale")
    pools = next(row for row in ROWS if row.name == "resource.pools")
    assert judge(rules, found, scale) == (False, "denied")
    assert judge(rules, found, pools).allowed


@pytest.mark.parametrize("uid", [0, 99], ids=["root", "own uid"])
def test_a_denial_wins_over_root_and_the_daemons_own_uid_too(uid: int) -> None:
    rules = Rules(denied_to_uid={uid: frozenset({"resource.scale"})})
    found = recognise(rules, uid, uid, (), own_uid=99)
    by_name = {row.name: row for row in ROWS}
    assert judge(rules, found, by_name["resource.scale"]) == (False, "denied")
    assert found.role == "admin" and judge(rules, found, by_name["system.reload"]).allowed


def test_a_row_with_a_permission_nobody_knows_is_refused_even_to_admins() -> None:
    row = Row("x.y", "read", Nothing, None, "", {}, needs="x:fly")
    assert judge(Rules(), peer("admin"), row) == (False, "unknown-permission")


def test_an_internal_command_is_refused_to_everybody() -> None:
    for row in World(ENGINES).rows.values():
        if row.kind == "internal":
            assert judge(Rules(), peer("admin"), row) == (False, "not-callable")
