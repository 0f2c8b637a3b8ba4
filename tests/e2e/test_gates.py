"""Gates over a real socket: issue, check, navigate, revoke; the record before the answer; a flood, a kill -9."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.wire.calls import Done, Item, Mark
from irerctl.client import Client, Error
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

REFUSED = {"allowed": False, "reason": "token-refused"}
FLOOD = 100


@pytest.fixture
def daemon(irerd: Irerd) -> Irerd:
    return irerd.start()


@pytest.fixture
def client(daemon: Irerd) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def records(daemon: Irerd, *kinds: str) -> list[dict[str, Any]]:
    """What is in gate_log at this moment: a reply that is here already has its record there."""
    lines = (daemon.state / "gate_log.jsonl").read_bytes().splitlines()
    found = [json.loads(line) for line in lines]
    return [record["payload"] | {"type": record["event_type"]} for record in found if record["event_type"] in kinds]


def issue(client: Client, domain: str = "wealth", **more: Any) -> dict[str, Any]:
    result = client.call("gate.issue_token", {"domain": domain, "subject": "user_001", **more}).result
    assert isinstance(result, dict)
    return result


def go(client: Client, token: str, **more: Any) -> Any:
    return client.call("nav.navigate", {"domain": "wealth", "token": token, "subject": "user_001", **more}).result


def test_a_token_from_its_issue_to_its_end(daemon: Irerd, client: Client) -> None:
    issued = issue(client, scopes=["read"])
    check = {"token": issued["token"], "domain": "wealth", "scope": "read"}
    assert client.call("gate.check", check).result == {"allowed": True, "reason": "ok"}
    assert records(daemon, "gate.checked")[-1]["jti"] == issued["jti"], "the check is on record before its answer"
    assert go(client, issued["token"]) == {"ok": True, "route": "wealth/primary"}
    [went] = records(daemon, "nav.navigated")
    assert (went["ok"], went["route"]) == (True, "wealth/primary")
    [row] = client.call("gate.list").result["tokens"]
    assert (row["jti"], row["used"], row["subject"]) == (issued["jti"], 1, "user_001")
    client.call("gate.revoke_token", {"jti": issued["jti"]})
    assert client.call("gate.check", check).result == REFUSED
    refused = records(daemon, "gate.checked")[-1]
    assert (refused["allowed"], refused["cause"], refused["jti"]) == (False, "revoked", issued["jti"])
    assert go(client, issued["token"]) == {"ok": False, "error": "token-refused"}
    breaches = client.call("gate.breaches").result
    assert breaches["refused"] == 2 and breaches["domains"][0]["causes"] == [{"cause": "revoked", "refused": 2}]
    stored = b"".join(path.read_bytes() for path in daemon.state.iterdir() if path.is_file())
    assert not any(part.encode() in stored for part in issued["token"].split(".")[1:]), "the token itself is in no file"


def test_a_token_is_shown_once_however_often_its_key_comes(client: Client) -> None:
    asked = {"domain": "info", "subject": "user_001"}
    assert client.call("gate.issue_token", asked, idem="issue-0001").result["token"]
    with pytest.raises(Error) as refused:
        client.call("gate.issue_token", asked, idem="issue-0001")
    assert refused.value.code == "already-exists"
    assert len(client.call("gate.list").result["tokens"]) == 1


def test_a_route_that_fails_gives_way_and_only_an_offline_token_goes_offline(client: Client) -> None:
    for route in ("wealth/primary", "wealth/failover"):
        assert go(client, issue(client)["token"])["route"] == route
        for _ in range(3):
            client.call("nav.report_route", {"route": route, "ok": False})
    left = go(client, issue(client)["token"])
    assert (left["ok"], left["error"]) == (False, "offline")
    assert go(client, issue(client)["token"], offline=True) == {"ok": False, "error": "token-refused"}
    assert go(client, issue(client, offline=True)["token"], offline=True) == {"ok": True, "route": "wealth/offline"}
    checks = {check["name"]: check for check in client.call("system.health").result["checks"]}
    assert checks["nav wealth"]["health"] == "failed" and checks["nav info"]["health"] == "ok"


def test_a_route_is_tried_again_by_itself(daemon: Irerd, client: Client) -> None:
    client.call("nav.set_route", {"route": "info/primary", "failures_max": 1, "cooldown_s": 1})
    raw = Raw(daemon.socket)
    raw.call("system.watch", {"type": "nav.route_changed"})
    assert isinstance(raw.next(), Mark), "it has begun"
    client.call("nav.report_route", {"route": "info/primary", "ok": False})
    items = [raw.next() for _ in range(2)]
    assert [item.r["data"]["health_to"] for item in items if isinstance(item, Item)] == ["down", "half-open"]


def test_a_flood_of_bad_tokens_is_counted_and_each_is_still_refused(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    answers = []
    for begin in range(0, FLOOD, 50):
        ids = [raw.call("gate.check", {"token": f"bad.token.{begin + each}", "domain": "myth"}) for each in range(50)]
        ends = [raw.next() for _ in ids]
        assert {end.id for end in ends} == set(ids)
        answers += [end.r for end in ends if isinstance(end, Done)]
    assert answers == [REFUSED] * FLOOD
    singly, many = records(daemon, "gate.checked"), records(daemon, "gate.refused_many")
    assert len(singly) + sum(event["count"] for event in many) == FLOOD
    assert len(many) >= 1 and len(singly) <= 10 * (FLOOD // 50) < FLOOD, "most of them share a record"
    assert {event["first"] for event in many} == {"gate.check"}
    [anomaly] = records(daemon, "gate.anomaly")
    assert (anomaly["kind"], anomaly["domain"], anomaly["count"]) == ("breach", "myth", 5)


def test_kill_9_keeps_revocations_and_what_was_used_up(daemon: Irerd, client: Client) -> None:
    client.call("gate.set_policy", {"domain": "wealth", "single_use": True})
    used, revoked, good, old = (issue(client)["token"] for _ in range(4))
    client.call("gate.revoke_token", {"jti": client.call("gate.list").result["tokens"][1]["jti"]})
    assert go(client, used)["ok"]
    other = issue(client, offline=True)["token"]
    client.call("gate.rotate_key", {"kind": "offline"})
    daemon.kill9()
    daemon.start()
    with daemon.client() as again:
        assert [go(again, token) for token in (used, revoked)] == [{"ok": False, "error": "token-refused"}] * 2
        assert go(again, other, offline=True) == {"ok": False, "error": "token-refused"}
        assert [record["cause"] for record in records(daemon, "gate.checked")[-3:]] == ["used", "revoked", "generation"]
        assert again.call("gate.check", {"token": good, "domain": "wealth"}).result["allowed"]
        assert go(again, good)["ok"] and not go(again, good)["ok"]
        daemon.kill9()
        daemon.start()
    with daemon.client() as again:
        assert not go(again, good)["ok"] and go(again, old)["ok"]
