"""An offline drill on a real irerd: followed, told in words and as data, counted by the metrics, and ended when somebody asks."""

import json
import subprocess
import sys
from typing import Any

import pytest

from irerctl.client import Client, Error
from tests.e2e.harness import Irerd

HUGE = {"hours": 720, "operations": 20_000}


def typed(irerd: Irerd, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "irerctl.main", "--socket", str(irerd.socket), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def tolerance(client: Client) -> dict[str, Any]:
    gauges = client.call("metrics.gauges").result["gauges"]
    return next(gauge for gauge in gauges if gauge["name"] == "latency_tolerance")


def refused(client: Client, method: str, params: dict[str, Any]) -> Error:
    with pytest.raises(Error) as error:
        client.call(method, params)
    return error.value


def test_a_drill_of_300_operations_loses_nothing_and_says_so_everywhere(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        client.call("cache.set", {"key": "mine", "value": 1})
        assert tolerance(client)["window"] != "the last offline drill"
        for params, bound in (({"hours": 721}, "720"), ({"operations": 9}, "10"), ({"operations": 100_001}, "100000")):
            error = refused(client, "cache.drill", params)
            assert error.code == "invalid-argument" and bound in error.detail.replace(",", ""), error.detail
        drilled = typed(irerd, "offline", "drill", "--hours", "6", "--operations", "300")
        assert drilled.returncode == 0, drilled.stdout + drilled.stderr
        assert "100 %: 300 of 300 operations survived 6 hours without a network" in drilled.stdout
        assert "both sides are equal, and every chain verifies" in drilled.stdout
        data = json.loads(typed(irerd, "-o", "json", "offline", "drill", "--operations", "50", "--wait").stdout)
        assert (data["job"]["ok"], data["job"]["result"]["survived"], data["job"]["result"]["hours"]) == (True, 50, 24)
        status = client.call("cache.status").result
        assert (status["drill"]["survived"], status["drill"]["latency_tolerance"], status["drill"]["chains"]) == (50, 100.0, "ok")
        assert status["keys"] == 1, "the state of this daemon was not touched"
        gauge = tolerance(client)
        assert (gauge["value"], gauge["window"], gauge["provenance"]) == (100.0, "the last offline drill", "modelled")
        assert "100 % of 50 operations in 24 hours survived" in typed(irerd, "offline").stdout
    irerd.stop()
    irerd.start()
    with irerd.client() as client:
        assert client.call("cache.status").result["drill"] == status["drill"]


def test_a_drill_is_followed_ended_and_one_at_a_time_and_begins_anew_after_a_kill(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        begun = client.call("cache.drill", HUGE).result
        error = refused(client, "cache.drill", {})
        assert (error.code, error.reason) == ("already-running", "drill")
        watched = client.stream("system.op_watch", {"job": begun["job"]})
        told = next(row["progress"] for row in watched if row.get("progress"))
        assert told["phase"] == "offline" and told["of"] == HUGE["operations"]
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        watched = client.stream("system.op_watch", {"job": begun["job"]})
        assert any(row.get("progress") for row in watched), "it goes on"
        ended = client.call("system.op_cancel", {"job": begun["job"]}).result
        assert (ended["state"], ended["ok"], ended["code"]) == ("done", False, "cancelled")
        assert "drill" not in client.call("cache.status").result
        assert client.call("cache.drill", {"operations": 10}).result["job"] != begun["job"], "the next one may run"
