"""Provenance through a real daemon: a tap that is redacted, one graph over all logs, exports that say the same, a burst found."""

import io
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prov.model import ProvDocument

from core.wire.calls import Done
from irerctl.client import Client, Error
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw
from tests.irerd.prov_json import SCHEMA

pytestmark = pytest.mark.slow

ADDRESS = "sensitive@email.com"
PLAN = "dig at midnight"
LONG_FULFILMENT = "[circuit]\nfulfilment_s = 3600.0\n"
"""So that no order ends between two looks."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path_factory.mktemp("provenance"), LONG_FULFILMENT).start()
    with irerd.client() as client:
        client.call("provenance.tap_event", {"event_type": "user_action", "data": {"data": ADDRESS}, "run_id": "run_001"})
        client.call("provenance.add_edge", {"source": "fact_A", "target": "fact_B", "rule": "rule1", "run_id": "run_001"})
        client.call("cache.set", {"key": "secret-plan", "value": {"plan": PLAN}})
        items = [{"sku": "widget", "quantity": 1, "unit_price": 5}]
        client.call("circuit.order", {"customer": "ann@example.org", "items": items, "currency": "EUR", "order_id": "o-1"})
        token = client.call("gate.issue_token", {"domain": "wealth", "subject": "user_001"}).result["token"]
        client.call("nav.navigate", {"domain": "wealth", "token": token, "subject": "user_001"})
        client.call("eil.act", {"goal": "minimize_energy", "current_state": {"active_servers": 12, "avg_utilization": 0.68}})
        rule = {"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0}
        client.call("trajectory.add_rule", rule)
        client.call("trajectory.fold", {"spine": {"facts": ["A"], "goals": ["B"], "rules": [rule]}})
    try:
        yield irerd
    finally:
        irerd.close()


@pytest.fixture
def client(daemon: Irerd) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def exported(client: Client, **params: Any) -> tuple[str, dict[str, Any]]:
    """An export, and what its end says of it."""
    stream = client.stream("provenance.export_audit", params)
    text = "".join(piece["text"] for piece in stream)
    assert (len(text.encode()), sha256(text.encode()).hexdigest()) == (stream.result["bytes"], stream.result["sha256"])
    return text, stream.result


def graph(client: Client, **params: Any) -> dict[str, Any]:
    result = client.call("provenance.graph", params).result
    assert isinstance(result, dict)
    return result


def test_the_graph_of_a_run_is_what_was_told_of_it(client: Client) -> None:
    found = graph(client, run_id="run_001")
    assert (found["node_count"], found["edge_count"]) == (len(found["nodes"]), len(found["edges"])) == (6, 5)
    assert {"source": "thing:fact_B", "target": "thing:fact_A", "relation": "derived-from", "rule": "rule1"} in found["edges"]


def test_one_graph_links_orders_tasks_tokens_decisions_and_trajectories_to_their_causes(client: Client) -> None:
    found = graph(client)
    label = {node["id"]: node["label"] for node in found["nodes"]}
    edges = {(label[edge["source"]], edge["relation"], label[edge["target"]]) for edge in found["edges"]}
    [task] = [node["label"] for node in found["nodes"] if node["kind"] == "task"]
    [token] = [node["label"] for node in found["nodes"] if node["kind"] == "token"]
    [decision] = [node["label"] for node in found["nodes"] if node["kind"] == "decision"]
    [trajectory] = [node["label"] for node in found["nodes"] if node["kind"] == "trajectory"]
    assert {
        ("o-1", "generated-by", "order.placed"),
        ("task.submitted", "caused-by", "order.placed"),
        (task, "generated-by", "task.submitted"),
        ("task.started", "used", task),
        (token, "generated-by", "token.issued"),
        ("gate.checked", "used", token),
        ("gate.checked", "caused-by", "nav.navigated"),
        (decision, "generated-by", "energy.action_chosen"),
        (trajectory, "generated-by", "trajectory.folded"),
        ("trajectory.folded", "used", "rule1"),
        ("rule1", "generated-by", "trajectory.rule_added"),
    } <= edges


def test_pages_of_the_graph_follow_each_other(client: Client) -> None:
    whole, page = graph(client), graph(client, limit=2)
    edges = page["edges"]
    while "next" in page:
        page = graph(client, limit=2, after=page["next"])
        edges = edges + page["edges"]
    assert edges == whole["edges"]
    with pytest.raises(Error) as refused:
        graph(client, after="x")
    assert refused.value.code == "invalid-argument"


def test_exports_are_valid_equal_and_say_nothing_that_is_nobodys_business(daemon: Irerd, client: Client) -> None:
    text, end = exported(client, format="prov-json")
    Draft202012Validator(SCHEMA).validate(json.loads(text))
    notation, same = exported(client, format="prov-n")
    assert ProvDocument.deserialize(source=io.StringIO(notation), format="provn") == ProvDocument.deserialize(
        content=text, format="json"
    )
    lines, last = exported(client, format="jsonl")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert end["records"] == same["records"] > 8 and last["records"] == len(rows)
    for document in (text, notation, lines):
        assert ADDRESS not in document and PLAN not in document and "ann@example.org" not in document
    [document] = [row["data"]["value"] for row in rows if row["event_type"] == "cache.set"]
    assert document.keys() == {"bytes", "digest"}
    [stored] = [row["data"]["data"]["data"] for row in rows if row["event_type"] == "provenance.tapped"]
    assert (
        stored.startswith("pn_") and stored == client.call("provenance.redact", {"data": {"data": ADDRESS}}).result["data"]["data"]
    )
    assert sum(row["event_hash"] in (daemon.state / f"{row['log']}.jsonl").read_text() for row in rows) == len(rows)


def test_lines_of_a_run_and_pages_of_lines(client: Client) -> None:
    lines, _ = exported(client, format="jsonl", run_id="run_001")
    assert [json.loads(line)["event_type"] for line in lines.splitlines()] == ["provenance.tapped", "provenance.edge"]
    page, end = exported(client, format="jsonl", limit=5)
    pages = [page]
    while "next" in end:
        page, end = exported(client, format="jsonl", limit=5, after=end["next"])
        pages.append(page)
    whole, _ = exported(client, format="jsonl")
    assert "".join(pages) == whole


def test_the_graph_survives_a_kill_and_a_lost_index(daemon: Irerd, client: Client) -> None:
    before = graph(client, run_id="run_001")
    client.close()
    daemon.kill9()
    (daemon.state / "views" / "graph.sqlite").unlink()
    daemon.start()
    with daemon.client() as again:
        assert graph(again, run_id="run_001") == before
        assert [each["event_type"] for each in again.call("provenance.taps").result["taps"]] == ["user_action"]


def test_a_burst_is_recorded_once_with_its_causes_and_shown_in_health(daemon: Irerd, client: Client) -> None:
    raw = Raw(daemon.socket)
    told = {"event_type": "flood", "data": {}, "run_id": "run_002"}
    for _ in range(60):
        for _ in range(20):
            raw.call("provenance.tap_event", told)
        assert all(isinstance(raw.next(), Done) for _ in range(20))
    found = client.call("provenance.anomalies", {"kind": "burst"}).result["anomalies"]
    of = {(each["of"], each["name"]): each for each in found}
    assert len(of) == len(found) and {("type", "tapped flood"), ("run", "run_002")} <= of.keys()
    burst = of["run", "run_002"]
    assert burst["statistic"] > burst["threshold"] and all(cause.startswith("provenance_log:") for cause in burst["causes"])
    checks = {check["name"]: check for check in client.call("system.health").result["checks"]}
    assert checks["anomalies"]["health"] == "ok" and "burst" in checks["anomalies"]["reason"]
