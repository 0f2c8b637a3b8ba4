"""Gauges and meters of a real daemon, moved by what callers really do; over kill -9; and as Prometheus gets them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.engines import ENGINES
from core.metrics.reads import TARGETS
from irerctl.client import Client, Error
from tests.e2e.harness import Irerd

RULES = Path(__file__).parents[2] / "docs/monitoring/irer.rules.yml"
METRICS = Path(__file__).parents[2] / "docs/metrics.md"
LOOKS_MAX = 2_000


@pytest.fixture
def daemon(irerd: Irerd) -> Irerd:
    return irerd.start()


@pytest.fixture
def client(daemon: Irerd) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def gauges(client: Client) -> dict[str, Any]:
    """Once they are there: just after a start they are being made."""
    for _ in range(LOOKS_MAX):
        found = {each["name"]: each for each in client.call("metrics.gauges").result["gauges"]}
        if all(each.get("reason") != "rebuilding" for each in found.values()):
            return found
    raise AssertionError("the gauges are never made")


def meters(client: Client) -> dict[str, Any]:
    return {each["name"]: each for each in client.call("metrics.meters").result["meters"]}


def value(client: Client, name: str) -> Any:
    return gauges(client)[name]["value"]


def busy(client: Client) -> None:
    """Something of everything that the gauges are about."""
    for key in "ab":
        client.call("cache.set", {"key": key, "value": 1})
        client.call("cache.get", {"key": key})
    client.call("cache.set_online", {"online": False})
    client.call("cache.set", {"key": "c", "value": 1})
    with pytest.raises(Error):
        client.call("cache.get", {"key": "nowhere"})
    token = client.call("gate.issue_token", {"domain": "wealth", "subject": "u"}).result["token"]
    for given in (token, token[:-4] + "AAAA", "nonsense"):
        client.call("gate.check", {"token": given, "domain": "wealth"})
    client.call("nav.navigate", {"domain": "wealth", "subject": "u", "token": token})


def test_without_evidence_there_is_no_value_and_each_moves_with_what_callers_do(client: Client) -> None:
    found = gauges(client)
    assert {name: (each["value"], each["reason"], each["target"]) for name, each in found.items()} == {
        name: (None, "no-evidence", target) for name, target in TARGETS.items()
    }
    assert meters(client)["nav_velocity"]["value"] is None
    busy(client)
    found = gauges(client)
    assert (found["latency_tolerance"]["value"], found["latency_tolerance"]["denominator"]) == (100.0, 1)
    assert (found["threshold_lock"]["value"], found["threshold_lock"]["denominator"]) == (100.0, 2)
    assert found["threshold_lock"]["low"] < 50
    assert found["resource_flow"]["parts"] == {"hits": 2, "reads": 3, "queued": 3, "confirmed": 0}
    assert found["resource_flow"]["value"] == pytest.approx(100 * 2 / 6) and found["resource_flow"]["met"] is False
    velocity, density = meters(client)["nav_velocity"], meters(client)["gate_density"]
    assert velocity["value"] == 0.0 and density["numerator"] == 4 and 0 < density["value"] < 100
    for route in ("wealth/primary",) * 3:
        client.call("nav.report_route", {"route": route, "ok": False})
    token = client.call("gate.issue_token", {"domain": "wealth", "subject": "u"}).result["token"]
    client.call("nav.navigate", {"domain": "wealth", "subject": "u", "token": token})
    assert meters(client)["nav_velocity"]["value"] == 1.0
    history = client.call("metrics.history", {"name": "threshold_lock"}).result
    assert (history["step_s"], len(history["points"])) == (10, 360)
    assert sum(point["numerator"] for point in history["points"]) == 2


def test_a_command_that_has_no_room_while_offline_counts_against_it(irerd: Irerd) -> None:
    irerd.config.write_text("[cache]\nbytes_max = 500_000\n")
    irerd.start()
    with irerd.client() as client:
        gauges(client)
        large = ["x" * 900] * 1000
        with pytest.raises(Error):
            client.call("cache.set", {"key": "online", "value": large})
        client.call("cache.set_online", {"online": False})
        client.call("cache.set", {"key": "small", "value": 1})
        with pytest.raises(Error) as refused:
            client.call("cache.set", {"key": "large", "value": [*large, *large[:100]]})
        assert refused.value.code == "resource-exhausted"
        with pytest.raises(Error):
            client.call("cache.delete", {"key": "nowhere"})
        found = gauges(client)["latency_tolerance"]
        assert (found["value"], found["parts"]) == (50.0, {"accepted": 1, "lost": 0, "refused": 1})


def test_they_outlive_a_kill_a_clean_stop_and_the_loss_of_their_file(daemon: Irerd) -> None:
    with daemon.client() as client:
        gauges(client)
        busy(client)
        before = gauges(client)
    names = ("latency_tolerance", "threshold_lock")  # gets are in no log, so resource_flow is only kept by the file

    def again() -> dict[str, Any]:
        daemon.start()
        with daemon.client() as client:
            return gauges(client)

    daemon.kill9()
    after = again()
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    assert after["resource_flow"]["parts"] == {"hits": 0, "reads": 0, "queued": 3, "confirmed": 0}
    assert daemon.stop() == 0
    assert again() == after
    assert daemon.stop() == 0
    file = daemon.state / "views/metrics.view"
    assert file.stat().st_mode & 0o777 == 0o600
    for ruin in (file.unlink, lambda: file.write_bytes(b"ruined")):
        ruin()
        assert again() == after
        daemon.kill9()
    daemon.start()


def test_nothing_that_was_shown_at_a_gate_is_in_their_file(daemon: Irerd) -> None:
    with daemon.client() as client:
        token = client.call("gate.issue_token", {"domain": "wealth", "subject": "u"}).result["token"]
        client.call("cache.set", {"key": "a-very-private-key", "value": "a-very-private-value"})
        gauges(client)
    assert daemon.stop() == 0
    raw = (daemon.state / "views/metrics.view").read_bytes()
    import zlib

    body = zlib.decompress(raw[raw.index(b"\n") + 1 :])
    for canary in (*token.split("."), "a-very-private-key", "a-very-private-value"):
        assert canary.encode() not in raw + body


def test_prometheus_gets_them_with_words_of_the_catalogue_for_labels(client: Client) -> None:
    gauges(client)
    lines = exposed(client)
    assert "irer_measure" not in lines and len(lines["irer_target"]) == 3, "no evidence, no line"
    busy(client)
    lines = exposed(client)
    found = gauges(client)
    assert {labels["name"]: float(number) for labels, number in lines["irer_measure"]} == {
        name: pytest.approx(each["value"]) for name, each in found.items()
    }
    engines = {engine.name for engine in ENGINES}
    status = client.call("system.status").result["engines"]
    for labels, number in lines["irer_engine"]:
        assert labels["engine"] in engines and float(number) == float(status[labels["engine"]].get(labels["figure"], number))
    assert {labels["health"]: float(number) for labels, number in lines["irer_health_checks"]}["failed"] == 0
    alerts_rest_on(lines)


def alerts_rest_on(lines: "dict[str, list[tuple[dict[str, str], str]]]") -> None:
    """Every alert names metrics and labels that are among these."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(names) == len(set(names)) > 10
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and rule["labels"]["severity"] in (
            "critical",
            "warning",
        )
        assert set(rule["annotations"]) == {"summary", "description"}
        asked = re.findall(r"((?:irer|eil)_[a-z_]+)(?:\{([^}]*)\})?", rule["expr"])
        assert asked, rule
        for metric, labels in asked:
            if metric.startswith("eil_"):  # without evidence they have no line; test_promtool and test_dashboards have histories
                assert f"| `{metric}` |" in METRICS.read_text()
                continue
            assert metric in lines, f"{rule['alert']}: there is no {metric}"
            for label, wanted in re.findall(r'([a-z]+)="([^"]*)"', labels):
                known = {each[label] for each, _ in lines[metric]}
                assert wanted in known or (label, wanted) == ("code", "internal"), f"{rule['alert']}: no {label} is {wanted}"
        for text in rule["annotations"].values():
            for label in re.findall(r"\$labels\.([a-z]+)", text):
                assert any(label in each for metric, _ in asked for each, _ in lines[metric]), f"{rule['alert']}: no label {label}"


def exposed(client: Client) -> dict[str, list[tuple[dict[str, str], str]]]:
    """Of each metric its lines: labels and number."""
    found: dict[str, list[tuple[dict[str, str], str]]] = {}
    for line in client.call("metrics.prometheus").result["text"].splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line)
            assert match is not None, line
            labels = dict(re.findall(r'([a-z]+)="([^"]*)"', match[2] or ""))
            found.setdefault(match[1], []).append((labels, match[3]))
    return found
