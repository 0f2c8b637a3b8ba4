"""Rotation and snapshots in a real daemon: history is cut into segments, and a start reads only what came after the snapshot."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from core.wire.calls import Item, Mark
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw
from tests.e2e.test_kill import chain

STILL = "[pools]\nscale_hold_s = 86400.0\n"
"""Pools that grow or shrink meanwhile would be another state."""


def submit(irerd: Irerd, count: int, name: str = "t") -> list[Any]:
    with irerd.client() as client:
        found: list[Any] = []
        for start in range(0, count, 500):
            calls = [
                ("resource.submit_task", {"task_id": f"{name}-{number}", "resource_type": "network", "duration_s": 3600})
                for number in range(start, min(start + 500, count))
            ]
            found += client.pipeline(calls)
        return found


def status(irerd: Irerd) -> tuple[Any, int]:
    with irerd.client() as client:
        engines = client.call("system.status").result["engines"]
        return engines, client.call("system.info").result["recovered"]


def test_a_start_reads_only_what_came_after_the_newest_snapshot(irerd: Irerd) -> None:
    irerd.config.write_text(STILL + "[log]\nsnapshot_records = 100\n")
    irerd.start()
    submit(irerd, 450)
    for more in range(1_000):  # a snapshot is written beside the commands, when it is
        if list((irerd.state / "log.d/engine_state/snap").glob("*.snap")):
            break
        submit(irerd, 1, f"more-{more}")
    before, _ = status(irerd)
    irerd.kill9()
    snapshots = sorted((irerd.state / "log.d/engine_state/snap").glob("*.snap"))
    assert 1 <= len(snapshots) <= 3, "three are kept"
    irerd.start()
    after, recovered = status(irerd)
    assert after == before
    records = len(chain(irerd.state / "engine_state.jsonl"))
    assert records >= 450 and recovered <= records - 100, f"{recovered} of {records} records were replayed"


def test_a_clean_stop_leaves_a_snapshot_so_that_a_start_replays_nothing(irerd: Irerd) -> None:
    irerd.config.write_text(STILL)
    irerd.start()
    submit(irerd, 50)
    before, _ = status(irerd)
    irerd.stop()
    irerd.start()
    after, recovered = status(irerd)
    assert after == before and recovered == 0


def test_a_snapshot_that_is_damaged_only_costs_time(irerd: Irerd) -> None:
    irerd.config.write_text(STILL)
    irerd.start()
    submit(irerd, 50)
    before, _ = status(irerd)
    irerd.stop()
    for path in (irerd.state / "log.d/engine_state/snap").iterdir():
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    irerd.start()
    after, recovered = status(irerd)
    assert after == before and recovered >= 50


def test_a_long_log_is_cut_into_segments_and_stays_one_history(irerd: Irerd) -> None:
    irerd.config.write_text(STILL)
    irerd.start()
    replies = submit(irerd, 36_000)
    first = irerd.state / "engine_state.0000000000000000.jsonl"
    assert first.exists() and os.stat(first).st_mode & 0o777 == 0o400
    assert first.stat().st_size >= 16 << 20
    irerd.kill9()
    irerd.start()
    whole: dict[int, str] = {}
    parent = "0" * 64
    for path in sorted(irerd.state.glob("engine_state*.jsonl")):
        for record in records(path):
            assert record["parent_hash"] == parent and record["seq"] == len(whole)
            parent = whole[record["seq"]] = record["event_hash"]
    assert all(whole[reply.receipt["seq"]] == reply.receipt["event_hash"] for reply in replies)
    hashchain = subprocess.run(
        [sys.executable, "-m", "irerctl.main", "--socket", str(irerd.socket), "audit", "hashchain"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert hashchain.returncode == 0 and "every chain is whole" in hashchain.stdout, hashchain.stdout + hashchain.stderr
    with irerd.client() as client:
        again = client.call("system.op_status", {"idem": "no-such-key"}).result
        assert again["state"] == "absent"
    raw = Raw(irerd.socket)
    raw.call("system.watch", {"engine": "resource", "since": replies[0].cursor})
    assert isinstance(raw.next(), Mark)
    expected = replies[0].receipt["seq"] + 1
    while expected < 36_000:
        message = raw.next()
        if isinstance(message, Item):
            assert message.r["seq"] >= expected, "in order, each once"
            expected = message.r["seq"] + 1


def records(path: Path) -> list[dict[str, Any]]:
    import hashlib
    import json

    found = []
    for line in path.read_bytes().splitlines(keepends=True):
        record = json.loads(line)
        assert hashlib.sha256(line[:-82] + b"}").hexdigest() == record["event_hash"]
        found.append(record)
    return found
