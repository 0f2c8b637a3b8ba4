"""Energy intelligence on a real daemon: what was acknowledged survives kill -9, books balance, columns come back with snapshots."""

import json
import math
import random
import subprocess
import sys
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Array, Client, Error
from tests.e2e.harness import Irerd

BEGIN_US = 1_767_225_600_000_000
STEP_US = 10_000_000


def batch(client: Client, first: int, last: int, draw: random.Random, **more: Any) -> Any:
    """Moments of one source, as arrays."""
    times = array("q", [BEGIN_US + STEP_US * place for place in range(first, last)])
    values = array("d", [figure for _ in times for figure in (draw.gauss(300, 20), draw.gauss(50, 1))])
    params = {
        "source": "node-1",
        "metrics": ["power_draw", "temperature"],
        "times": Array("int64", times.tobytes(), (len(times),)),
        "values": Array("float64", values.tobytes(), (len(times), 2)),
    }
    return client.call("eil.sense_batch", params, **more).result


def verified(client: Client) -> bool:
    stream = client.stream("audit.verify", {"log": "energy_log", "replay": True})
    for _ in stream:
        pass
    return stream.result["result"] in ("ok", "limited")  # limited: nobody else has witnessed it


def test_what_was_acknowledged_survives_a_kill_and_no_unit_is_lost(irerd: Irerd) -> None:
    irerd.start()
    draw = random.Random(7)
    with irerd.client() as client:
        batch(client, 0, 500, draw)
        last = client.call(
            "eil.sense", {"source": "node-1", "timestamp": "2026-01-01T01:23:20Z", "telemetry": {"power_draw": 301.0}}
        ).result
        seen = []
        for place in range(60):
            order = {"asset": "CEU", "side": draw.choice(["buy", "buy", "sell"]), "quantity": draw.choice([1, 2.5, 90_000])}
            with suppress(Error):
                quote = client.call("eil.market_quote", order).result
                seen.append(client.call("eil.market_trade", {"quote_id": quote["quote_id"]}).result["quote_id"])
            if place == 30:
                open_quote = client.call("eil.market_quote", {"asset": "CEU", "side": "buy", "quantity": 1}).result["quote_id"]
        before = [client.call(method).result for method in ("eil.balances", "eil.regime_status")]
        nodes = client.call("eil.query", {"sql": "SELECT * FROM node"}).result["rows"]
    assert seen and nodes
    irerd.kill9()
    (irerd.state / "views/atlas.sqlite").write_bytes(b"no tables")
    irerd.start()
    with irerd.client() as client:
        assert client.call("eil.query", {"sql": "SELECT * FROM node"}).result["rows"] == nodes
        assert [client.call(method).result for method in ("eil.balances", "eil.regime_status")] == before
        assert not any(client.call("eil.health").result["sums"].values())
        for quote_id in seen:
            with pytest.raises(Error):
                client.call("eil.market_trade", {"quote_id": quote_id})
        client.call("eil.market_trade", {"quote_id": open_quote})  # the machine went on, so the quote still holds
        again = client.call(
            "eil.sense", {"source": "node-1", "timestamp": "2026-01-01T01:23:20Z", "telemetry": {"power_draw": 301.0}}
        ).result
        assert (again["repeated"], again["prediction_id"]) == (1, last["prediction_id"])
        assert again["energy_state"] == last["energy_state"]
        assert verified(client)


def test_columns_come_back_with_a_snapshot_and_facts_without_it(tmp_path: Path) -> None:
    """The same points on a daemon that was stopped between them, and on one that was not."""
    answers = []
    for name, stops in (("once", False), ("twice", True)):
        place = tmp_path / name
        place.mkdir()
        irerd = Irerd(place)
        draw = random.Random(3)
        try:
            irerd.start()
            with irerd.client() as client:
                batch(client, 0, 900, draw)
            if stops:
                assert irerd.stop() == 0
                assert list((irerd.state).rglob("*.snap")), "it stopped in peace, so there is a snapshot"
                irerd.start()
            with irerd.client() as client:
                batch(client, 900, 1_000, draw)
                params = {"source": "node-1", "horizon_s": 60}
                found = client.call("eil.predict", params).result
                whole = client.call("eil.regime_status", {"source": "node-1"}).result
                assert verified(client)
            answers.append(({key: value for key, value in found.items() if key != "prediction_id"}, whole))
        finally:
            irerd.close()
    assert answers[0] == answers[1]
    assert answers[0][1]["sources"][0]["energy_state"]["regime"] != "learning"


def test_a_key_makes_a_batch_of_arrays_count_once_and_the_stream_tells_of_it(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as watching, irerd.client() as client:
        stream = watching.stream("eil.stream")
        first = batch(client, 0, 50, random.Random(1), idem="batch-000001")
        again = batch(client, 0, 50, random.Random(1), idem="batch-000001")
        assert first == again and first["accepted"] == 100
        with pytest.raises(Error) as refused:
            batch(client, 0, 50, random.Random(2), idem="batch-000001")
        assert refused.value.reason == "key-reused"
        told = next(iter(stream))
        assert (told["type"], told["data"]["source"], told["data"]["accepted"]) == ("energy.sensed", "node-1", 100)
        assert client.call("eil.health").result["points"] == 100


def test_what_no_number_can_be_is_refused_point_by_point_by_a_real_daemon(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        times = Array("int64", array("q", [BEGIN_US, BEGIN_US + 1, BEGIN_US + 2]).tobytes(), (3,))
        values = Array("float64", array("d", [1.0, math.nan, math.inf]).tobytes(), (3, 1))
        answer = client.call("eil.sense_batch", {"source": "s", "metrics": ["x"], "times": times, "values": values}).result
        assert answer["accepted"] == 1 and answer["refused"] == [{"metric": "x", "reason": "unusable", "count": 2}]


def test_the_commands_show_numbers_with_their_units_and_exit_by_the_verdict(irerd: Irerd) -> None:
    irerd.start()

    def irerctl(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "irerctl.main", "--socket", str(irerd.socket), *words]
        return subprocess.run(command, capture_output=True, text=True)

    first = irerctl("sense", "rack-01", "power_draw=300", "x=1", "--timestamp", "2026-01-01T00:00:00Z")
    assert first.returncode == 0 and "0.0 J (measured)" in first.stdout
    sent = irerctl("-o", "json", "sense", "rack-01", "power_draw=310", "cpu_usage=75", "--timestamp", "2026-01-01T00:00:10Z")
    prediction_id = json.loads(sent.stdout)["result"]["prediction_id"]
    shown = irerctl("regime", "rack-01").stdout
    assert "3,050.0 J" in shown and "learning" in shown and "power_draw" in shown
    proof = irerctl("proof", prediction_id, "--actual-state", '{"energy": 1, "entropy": 2}', "--timestamp", "2026-01-01T00:05:10Z")
    assert proof.returncode == 1 and "unverified" in proof.stdout and "vacuous" in proof.stdout
    assert irerctl("sense", "rack-01", "power_draw").returncode == 2
    older = irerctl("sense", "rack-01", "power_draw=1", "--timestamp", "2025-01-01T00:00:00Z")
    assert older.returncode not in (0, 2) and "older than the newest point" in older.stderr
    bounds = '{"max_latency_ms": 100, "min_throughput": 1000}'
    state = '{"active_servers": 12, "avg_utilization": 0.68}'
    chosen = irerctl("act", "minimize_energy", "--current-state", state, "--constraints", bounds).stdout
    assert "scale down to 10 servers" in chosen and "(surrogate)" in chosen and "energy conservation vacuous" in chosen
    assert "none yet" in irerctl("market").stdout and "1 source" in irerctl("energy").stdout
