"""The shipped alert rules and the exposition, judged by Prometheus' own promtool: form, names, and that each alert fires in time.

For each alert there is a history in which it does not fire in the first minute, and does later.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.harness import Irerd

RULES = Path(__file__).parents[2] / "docs/monitoring/irer.rules.yml"
PROMTOOL = shutil.which("promtool")
FIRES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    # alert: series in which it fires within two hours though not at first, when it surely does, and the labels it carries
    "IrerEnergyUnaccounted": ({"eil_energy_conservation_error": "0.1x5 0.3x120"}, "90m", {}),
    "IrerEntropyUnmade": ({"eil_entropy_coherence_ratio": "0.99x5 0.8x120"}, "90m", {}),
    "IrerDecisionsSlow": ({'eil_decision_latency_seconds{percentile="99"}': "0.002x5 0.4x60"}, "30m", {"percentile": "99"}),
    "IrerProofsFail": ({"eil_proof_validation_rate": "0.9x5 0.3x120"}, "90m", {}),
    "IrerNotScraped": ({"irer_uptime_seconds": "1+60x5 _x60"}, "30m", {}),
    "IrerRestartsOften": ({"irer_uptime_seconds": "60+60x5 0+60x5 0+60x5 0+60x5 0+60x5 0+60x5"}, "30m", {}),
    "IrerLogNotSound": ({'irer_log_sound{log="orders"}': "1x5 0x60"}, "30m", {"log": "orders"}),
    "IrerLogFull": ({'irer_log_full{log="orders"}': "0x5 1x60"}, "30m", {"log": "orders"}),
    "IrerFailed": ({'irer_health_checks{health="failed"}': "0x5 2x60"}, "30m", {"health": "failed"}),
    "IrerDegraded": ({'irer_health_checks{health="degraded"}': "0x5 2x60"}, "30m", {"health": "degraded"}),
    "IrerTokenLetThrough": ({'irer_measure{name="threshold_lock"}': "100x5 99.5x60"}, "30m", {"name": "threshold_lock"}),
    "IrerGaugeBelowTarget": (
        {'irer_measure{name="resource_flow"}': "90x5 70x60", 'irer_target{name="resource_flow"}': "80x65"},
        "30m",
        {"name": "resource_flow"},
    ),
    "IrerBug": (
        {'irer_rpc_requests_total{method="cache.get",code="internal"}': "0x5 3x60"},
        "12m",
        {"method": "cache.get", "code": "internal"},
    ),
    "IrerRefusesMany": ({"irer_refusals_total": "0x5 0+120x60"}, "30m", {}),
    "IrerLoopLate": ({"irer_loop_lag_seconds": "0x5 2x60"}, "30m", {}),
    "IrerSlowReaders": ({"irer_outbox_bytes": "0x5 40000000x60"}, "30m", {}),
    "IrerConflicts": (
        {'irer_engine{engine="cache",figure="conflicts"}': "0x5 1x120"},
        "100m",
        {"engine": "cache", "figure": "conflicts"},
    ),
    "IrerViewsRebuilding": ({"irer_views_rebuilding": "0x5 1x120"}, "100m", {}),
}

pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="NOT TESTED with promtool: it is missing; install Debian's package prometheus, or run: make peers"
)


def promtool(*arguments: str, given: str | None = None) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> dict[str, dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_the_rules_are_well_formed() -> None:
    assert f"{len(FIRES)} rules found" in promtool("check", "rules", str(RULES))


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    assert rules().keys() == FIRES.keys(), "an alert without a history in which it fires"
    cases = [_case(name, *case) for name, case in FIRES.items()]
    page = tmp_path / "cases.yml"
    page.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    assert "SUCCESS" in promtool("test", "rules", str(page))


def _case(name: str, series: dict[str, str], at: str, labels: dict[str, str]) -> dict[str, Any]:
    rule = rules()[name]
    value = {"IrerFailed": "2", "IrerDegraded": "2", "IrerGaugeBelowTarget": "70", "IrerConflicts": "1"}.get(name, "")
    told = {which: _filled(text, labels, value) for which, text in rule["annotations"].items()}
    firing = {"exp_labels": {**labels, "severity": rule["labels"]["severity"]}, "exp_annotations": told}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [
            {"eval_time": "1m", "alertname": name, "exp_alerts": []},
            {"eval_time": at, "alertname": name, "exp_alerts": [firing]},
        ],
    }


def _filled(text: str, labels: dict[str, str], value: str) -> str:
    for label, word in labels.items():
        text = text.replace(f"{{{{ $labels.{label} }}}}", word)
    return text.replace("{{ $value }}", value)


def test_what_is_exposed_has_the_form_and_the_names_that_prometheus_asks_for(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        client.call("cache.set", {"key": "a", "value": {"n": 1}})
        client.call("cache.get", {"key": "a"})
        text = client.call("metrics.prometheus").result["text"]
    assert promtool("check", "metrics", given=text) == ""
