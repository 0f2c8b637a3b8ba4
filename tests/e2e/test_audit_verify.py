"""`audit verify` of a real daemon: while it writes, after it ended, and when somebody was at its files."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from core.canonical import encode
from state.replay import unpack
from state.seal import sealed_line
from tests.e2e.harness import Irerd

CONFIG = "[log]\nsnapshot_records = 100\n[pools]\nscale_hold_s = 1000\n"


def submit(irerd: Irerd, first: int, count: int) -> list[Any]:
    with irerd.client() as client:
        task = {"resource_type": "network", "duration_s": 3600}
        return client.pipeline(
            [("resource.submit_task", {"task_id": f"t-{number}", **task}) for number in range(first, first + count)]
        )


def verify(irerd: Irerd, *more: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "irerctl.main", "-o", "json", "--socket", str(irerd.socket), "audit", "verify", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout or done.stderr)


def row_of(verdict: dict[str, Any], log: str) -> dict[str, Any]:
    return next(row for row in verdict["logs"] if row["log"] == log)


def durable(irerd: Irerd) -> int:
    with irerd.client() as client:
        logs = client.call("system.status").result["logs"]
    return next(log["durable_seq"] for log in logs if log["log"] == "engine_state")


def test_a_live_log_is_verified_up_to_its_durable_end_while_writes_go_on(irerd: Irerd) -> None:
    irerd.config.write_text(CONFIG)
    irerd.start()
    submit(irerd, 0, 300)
    irerd.stop()  # which leaves a snapshot
    irerd.start()
    before = durable(irerd)
    with irerd.client() as client, client.stream("audit.verify", {"replay": True}) as items:
        for number in range(1_000, 1_150, 10):
            submit(irerd, number, 10)
        rows = {row["log"]: row for row in items if row["done"]}
        verdict = items.result
    assert verdict["result"] == "limited" and all(row["ok"] for row in verdict["logs"])
    row = row_of(verdict, "engine_state")
    assert row == rows["engine_state"] and row["records"] == row["replayed"] == row["size"]
    assert before < row["records"] <= durable(irerd) + 1
    assert row["snapshots"] and {one["result"] for one in row["snapshots"]} == {"equal"}
    assert "what became durable after this began" in [item["why"] for item in verdict["not_verified"]]


def test_facts_are_compared_and_no_points_are_followed_for_it(irerd: Irerd) -> None:
    """What a stream is about to do is worked out in columns: that takes NumPy, and most of the time of a start."""
    irerd.start()
    with irerd.client() as client:
        for first in range(0, 9_000, 900):
            times = [1_767_225_600_000_000 + 10_000_000 * tick for tick in range(first, first + 900)]
            points = {"times": times, "values": [[100.0 + tick % 3] for tick in range(900)]}
            client.call("eil.sense_batch", {"source": "s", "metrics": ["power_draw"], "predict": True, **points})
    irerd.stop()  # which leaves a snapshot
    command = [sys.executable, "-X", "importtime", "-m", "state.verify", "--jsonl", "--replay", str(irerd.state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = next(row for row in map(json.loads, done.stdout.splitlines()) if row.get("log") == "energy_log" and row["done"])
    assert row["replayed"] == row["records"] > 10 and [one["result"] for one in row["snapshots"]] == ["equal"]
    taken = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "core.energy.state" in taken and "numpy" not in taken


def test_with_the_daemon_down_the_files_say_the_same_and_damage_is_named(irerd: Irerd) -> None:
    for first in (0, 60, 120):
        irerd.start()
        submit(irerd, first, 60)
        irerd.stop()  # each leaves a snapshot
    code, verdict = verify(irerd, "--state-dir", str(irerd.state), "--replay")
    assert code == 0 and verdict["result"] == "limited"
    assert [one["result"] for one in row_of(verdict, "engine_state")["snapshots"]] == ["equal"] * 3
    snapshots = sorted((irerd.state / "log.d/engine_state/snap").iterdir())
    spoil(snapshots[0])
    lie(snapshots[2])
    code, verdict = verify(irerd, "--state-dir", str(irerd.state))
    assert code == 0, "a start would not use the first, and nothing but the records speaks against the last"
    assert [one["result"] for one in row_of(verdict, "engine_state")["snapshots"]] == ["bad", "ok", "ok"]
    code, verdict = verify(irerd, "--state-dir", str(irerd.state), "--replay")
    assert code == 1 and row_of(verdict, "engine_state")["code"] == "replay-differs"
    log = irerd.state / "engine_state.jsonl"
    data = bytearray(log.read_bytes())
    line = data.index(b"\n", 5_000) + 1
    seq = data[:line].count(b"\n")
    data[line + 40] ^= 1
    log.write_bytes(data)
    code, verdict = verify(irerd, "--state-dir", str(irerd.state))
    row = row_of(verdict, "engine_state")
    assert code == 1 and verdict["result"] == "failed" and row["chain"] == "failed"
    assert (row["first_bad"]["seq"], row["first_bad"]["offset"]) == (seq, line)
    assert row_of(verdict, "gate_log")["ok"]


def spoil(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def lie(path: Path) -> None:
    """Another size of a pool, under a digest that fits."""
    line, _, body = path.read_bytes().partition(b"\n")
    header = json.loads(line)
    del header["event_hash"]
    world = msgspec.msgpack.decode(unpack(body).world)
    world["resource"]["pools"]["compute"]["size"] += 1
    body = msgspec.msgpack.encode(msgspec.structs.replace(unpack(body), world=msgspec.msgpack.encode(world)))
    header |= {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    path.write_bytes(sealed_line(encode(header)) + body)


def test_a_running_daemon_tells_of_the_damage_it_found(irerd: Irerd) -> None:
    irerd.start()
    submit(irerd, 0, 20)
    irerd.kill9()
    log = irerd.state / "engine_state.jsonl"
    data = bytearray(log.read_bytes())
    data[600] ^= 1
    log.write_bytes(data)
    irerd.start()
    code, verdict = verify(irerd)
    assert code == 1 and not row_of(verdict, "engine_state")["ok"] and row_of(verdict, "gate_log")["ok"]
    code, error = verify(irerd, "--log", "nope")
    assert code == 66 and error["code"] == "not-found" and "gate_log" in error["detail"]
