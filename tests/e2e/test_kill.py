"""`kill -9` under load: every acknowledged task is in the log at its receipt, once, and the chain is whole."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from irerctl.client import Client, Error
from tests.e2e.harness import Irerd

ROUNDS = 50
CALLERS = 4
BEFORE_KILL = 60
"""Acknowledgements of a round after which the daemon is killed: work, not time, says when."""


class Load:
    """Callers that submit as fast as they can, and one that stops them when enough was acknowledged."""

    def __init__(self, daemon: Irerd, round: int) -> None:
        self.acknowledged: list[dict[str, Any]] = []
        self._enough = threading.Event()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(daemon, f"{round}-{caller}")) for caller in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _run(self, daemon: Irerd, name: str) -> None:
        number = 0
        with Client(str(daemon.socket), retry_s=0) as client:
            while not self._over.is_set():
                task_id = f"{name}-{number}"
                number += 1
                params = {"task_id": task_id, "resource_type": "network", "duration_s": 0.001}
                try:
                    receipt = client.call("resource.submit_task", params).receipt
                except Error:
                    return  # the daemon is gone: this one was never acknowledged
                assert receipt is not None
                self.acknowledged.append({"task_id": task_id, **receipt})
                if len(self.acknowledged) >= BEFORE_KILL:
                    self._enough.set()

    def wait_enough(self) -> None:
        assert self._enough.wait(60)

    def join(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def chain(path: Path) -> list[dict[str, Any]]:
    """The records, each hashed and linked, with nothing of irer's code. A torn tail would show as a line that is no JSON."""
    parent, records = "0" * 64, []
    for line in path.read_bytes().splitlines(keepends=True):
        record = json.loads(line)
        assert hashlib.sha256(line[:-82] + b"}").hexdigest() == record["event_hash"]
        assert record["parent_hash"] == parent and record["seq"] == len(records)
        parent = record["event_hash"]
        records.append(record)
    return records


def test_fifty_rounds_of_kill_9_lose_and_double_nothing(irerd: Irerd) -> None:
    acknowledged: list[dict[str, Any]] = []
    for round in range(ROUNDS):
        irerd.start()
        load = Load(irerd, round)
        load.wait_enough()
        irerd.kill9()
        load.join()
        acknowledged += load.acknowledged
    irerd.start()
    irerd.stop()
    submitted: dict[str, list[tuple[int, str]]] = {}
    for record in chain(irerd.state / "engine_state.jsonl"):
        if record["event_type"] == "task.submitted":
            submitted.setdefault(record["payload"]["task_id"], []).append((record["seq"], record["event_hash"]))
    assert len(acknowledged) >= ROUNDS * BEFORE_KILL
    for receipt in acknowledged:
        assert submitted.get(receipt["task_id"]) == [(receipt["seq"], receipt["event_hash"])], receipt
    assert all(len(places) == 1 for places in submitted.values()), "no task was recorded twice"
    print(f"{ROUNDS} rounds, {len(acknowledged):,} acknowledged, 0 lost, 0 doubled")


def test_a_lost_reply_is_asked_for_again_under_its_key_and_done_once(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        first = client.call("resource.submit_task", {"resource_type": "compute", "duration_s": 3600}, idem="the-same-key")
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        again = client.call("resource.submit_task", {"resource_type": "compute", "duration_s": 3600}, idem="the-same-key")
        assert again.replayed and again.result == first.result and again.receipt == first.receipt
        known = client.call("system.op_status", {"idem": "the-same-key"}).result
        assert known["state"] == "done" and known["receipt"] == first.receipt
        assert client.call("system.op_status", {"idem": "another-key"}).result["state"] == "absent"
        assert client.call("resource.status").result["running"] == 1
