"""Every board and rule against a real daemon and a real hub: what a panel asks for is there, and promtool understands it."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from irerctl.dashboards import here, metrics
from irerctl.dashboards.__main__ import files
from irerctl.dashboards.boards import BOARDS
from tests.e2e.harness import Irerd
from tests.e2e.web import Gateway

PLACE = Path(__file__).parents[2] / "docs/monitoring"
HUB_RULES = PLACE / "irer-hub.rules.yml"
PROMTOOL = shutil.which("promtool")
NEEDS_PROMTOOL = pytest.mark.skipif(
    PROMTOOL is None, reason="NOT TESTED with promtool: it is missing; install Debian's package prometheus, or run: make peers"
)
RARE: dict[str, set[str]] = {
    "irer_witness_records": {"witness", "log"},
    "irer_witness_well": {"witness"},
    "eil_energy_conservation_error": set(),
    "eil_entropy_coherence_ratio": set(),
    "eil_proof_validation_rate": set(),
    "eil_api_request_rate": set(),
}
"""Lines that a daemon shows only with a witness, with proofs, with a machine it understands, or at a second look; their labels."""
EXPRESSIONS = [
    (board.uid, panel.title, line)
    for board in BOARDS.values()
    for row in board.rows
    for panel in row.panels
    for line in panel.lines
]
FIRES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    "IrerHubAway": ({'up{job="irer-hub",instance="h"}': "1x5 0x60"}, "30m", {"job": "irer-hub", "instance": "h"}),
    "IrerHubFails": ({'irer_hub_answers_total{status="5xx",instance="h"}': "0x5 0+60x60"}, "30m", {"instance": "h"}),
    "IrerHubTurnsAway": ({'irer_hub_answers_total{status="503",instance="h"}': "0x5 0+120x60"}, "30m", {"instance": "h"}),
    "IrerHubStreamsFull": ({'irer_hub_streams{instance="h"}': "9x5 250x60"}, "30m", {"instance": "h"}),
}


@pytest.fixture
def exposed(irerd: Irerd) -> Iterator[dict[str, list[dict[str, str]]]]:
    """Each metric that one scrape of the hub finds, with the labels of its lines."""
    irerd.start()
    hub = Gateway(irerd.socket)
    try:
        with irerd.client() as client:
            client.call("cache.set", {"key": "a", "value": 1})
            client.call("cache.get", {"key": "a"})
            token = client.call("gate.issue_token", {"domain": "wealth", "subject": "u"}).result["token"]
            client.call("gate.check", {"token": token, "domain": "wealth"})
            client.call("eil.act", {"goal": "minimize_energy", "current_state": {"active_servers": 2, "avg_utilization": 0.5}})
        assert hub.rpc("cache.nothing").status == 404
        answer = hub.ask("GET", "/metrics")
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
        text = answer.body.decode()
        if PROMTOOL is not None:
            judged = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
            assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")
        found: dict[str, list[dict[str, str]]] = {}
        for name, labels in re.findall(r"^([a-z_]+)(?:\{([^}]*)\})? \S+$", text, re.MULTILINE):
            found.setdefault(name, []).append(dict(re.findall(r'([a-z]+)="([^"]*)"', labels)))
        yield found
    finally:
        hub.close()


def test_the_files_are_what_the_tables_say() -> None:
    assert {Path(path).name for path in files()} == {each.name for each in PLACE.glob("*.dashboard.json")}
    for path, text in files().items():
        assert (PLACE.parents[1] / path).read_text() == text, f"{path} is out of date. Run: make api"


@pytest.mark.slow
def test_every_metric_label_and_figure_that_a_board_or_a_rule_names_is_exposed(exposed: dict[str, Any]) -> None:
    rules = [rule for group in yaml.safe_load(HUB_RULES.read_text())["groups"] for rule in group["rules"]]
    asked = [*EXPRESSIONS, *((rule["alert"], "", rule["expr"]) for rule in rules if not rule["expr"].startswith("up"))]
    assert len(EXPRESSIONS) > 40
    for board, title, line in asked:
        expr = line if isinstance(line, str) else line.expr
        selectors = re.findall(r"((?:irer|eil)_[a-z_]+)(?:\{([^}]*)\})?", expr)
        assert selectors, f"{board}, {title}: asks for nothing of irer's"
        for name, labels in selectors:
            assert name in exposed or name in RARE, f"{board}, {title}: there is no {name}"
            wanted = dict(re.findall(r'([a-z]+)="([^"]*)"', labels))
            if wanted and not wanted.keys() & {"code", "status"}:  # a code is there once something was answered with it
                assert any(wanted.items() <= each.items() for each in exposed[name]), f"{board}, {title}: no {name} has {wanted}"
        legend = "" if isinstance(line, str) else line.legend
        known = {"instance"} | {label for name, _ in selectors for each in exposed.get(name, []) for label in each}
        known |= set().union(*(RARE.get(name, set()) for name, _ in selectors))
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= known, f"{board}, {title}: {legend}"


def test_the_boards_leave_no_metric_of_the_daemon_out() -> None:
    text = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    documented = set(re.findall(r"^\| `((?:irer|eil)_[a-z_]+)` \|", text, re.MULTILINE)) - {"irer_meter_trend"}
    energy = {name for name in documented if name.startswith("eil_")}
    assert len(documented - energy) > 15 and documented - energy <= metrics(BOARDS["irer.dashboard.json"])
    assert len(energy) == 8 and energy == {
        name for name in metrics(BOARDS["irer-energy.dashboard.json"]) if name.startswith("eil_")
    }


def test_a_panel_asks_one_instance_wherever_the_metric_stands() -> None:
    assert here('sum(rate(irer_a_total{x="1"}[5m])) / irer_b') == (
        'sum(rate(irer_a_total{instance=~"$instance",x="1"}[5m])) / irer_b{instance=~"$instance"}'
    )


def test_panels_stand_beside_one_another_and_nowhere_twice() -> None:
    for text in files().values():
        board = json.loads(text)
        cells: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert not own & cells and max(x for x, _ in own) < 24, panel["title"]
            cells |= own
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        assert "127.0.0.1" not in text and {each["name"] for each in board["templating"]["list"]} == {"source", "instance"}


@NEEDS_PROMTOOL
def test_promtool_understands_every_question_and_each_alert_of_the_hub_fires_in_time(tmp_path: Path) -> None:
    """A question becomes a recording rule, for promtool checks those."""
    recorded = [
        {"record": f"panel:q{number}", "expr": here(line.expr).replace("$instance", ".*")}
        for number, (*_, line) in enumerate(EXPRESSIONS)
    ]
    page = tmp_path / "panels.yml"
    page.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in _promtool("check", "rules", "--lint=none", str(page))
    assert f"{len(FIRES)} rules found" in _promtool("check", "rules", str(HUB_RULES))
    [group] = yaml.safe_load(HUB_RULES.read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == FIRES.keys()
    tests = [_case(rule, *FIRES[rule["alert"]]) for rule in group["rules"]]
    cases = tmp_path / "cases.yml"
    cases.write_text(yaml.safe_dump({"rule_files": [str(HUB_RULES)], "evaluation_interval": "1m", "tests": tests}))
    assert "SUCCESS" in _promtool("test", "rules", str(cases))


def _case(rule: dict[str, Any], series: dict[str, str], at: str, labels: dict[str, str]) -> dict[str, Any]:
    told = {
        name: text.replace("{{ $labels.instance }}", labels["instance"]).replace("{{ $value }}", "250")
        for name, text in rule["annotations"].items()
    }
    firing = {"exp_labels": {**labels, "severity": rule["labels"]["severity"]}, "exp_annotations": told}
    return {
        "name": rule["alert"],
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [
            {"eval_time": "1m", "alertname": rule["alert"], "exp_alerts": []},
            {"eval_time": at, "alertname": rule["alert"], "exp_alerts": [firing]},
        ],
    }


def _promtool(*arguments: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
