"""What irerd promises under load, however it ends: callers who remember what they were told, a reader who needs none of its code.

The reader holds the files to N1 to N3 and N9 of docs/testing.md: every receipt in its log, at its `seq`, with its hash; a whole
chain; no key and no task twice; one outcome of each task. N5 is what `op_status` says of calls that were never answered.
"""

import hashlib
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from irerctl.client import Client, Error
from tests.e2e.harness import Irerd

CALLERS = 4
RECORDS = 40
"""Of a segment: under load a new one begins again and again."""
CONFIG = "[log]\nsnapshot_records = 50\n[pools]\nscale_hold_s = 1000\n"


class OddIrerd(Irerd):
    """irerd with short segments and snapshots often, and on demand a clock that goes wrong."""

    def __init__(self, place: Path, clock: str = "-", records: int = RECORDS) -> None:
        super().__init__(place, CONFIG)
        self._odd = (str(records), clock)

    def command(self) -> list[str]:
        program = str(Path(__file__).with_name("odd_daemon.py"))
        python, _, _, *arguments = super().command()
        return [python, program, *self._odd, *arguments]

    def start(self, wrap: tuple[str, ...] = (), **environment: str) -> "Irerd":
        return super().start(wrap, PYTHONPATH=str(Path(__file__).parents[2]), **environment)


class Told(NamedTuple):
    """One acknowledged call."""

    key: str
    log: str
    seq: int
    event_hash: str


ENDS = ("unavailable", "durability-unknown", "cancelled")
"""What a call is told whose daemon is gone."""


class Callers:
    """They write as fast as they can, each call under a key; now and then one repeats a call, and must be told the same."""

    def __init__(self, daemon: Irerd, name: str, enough: int, tolerated: str = "") -> None:
        self.told: list[Told] = []
        self.unanswered: list[str] = []
        self.wrong: list[str] = []
        self.enough = threading.Event()
        self._wanted = enough
        self._tolerated = tolerated.split()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(daemon, f"{name}-{caller}"), daemon=True) for caller in range(CALLERS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, daemon: Irerd, name: str) -> None:
        random, number, key = Random(name), 0, ""
        try:
            with Client(str(daemon.socket), retry_s=0) as client:
                while not self._over.is_set():
                    number += 1
                    key = f"key-{name}-{number}"
                    method, params = self._call(random, f"{name}-{number}")
                    try:
                        receipt = client.call(method, params, idem=key).receipt
                    except Error as refused:
                        if refused.reason == "disk-full" and refused.reason in self._tolerated:
                            continue
                        raise
                    assert receipt is not None
                    self.told.append(Told(key, receipt["log"], receipt["seq"], receipt["event_hash"]))
                    if number % 8 == 0 and client.call(method, params, idem=key).receipt != receipt:
                        self.wrong.append(key)
                    if len(self.told) >= self._wanted:
                        self.enough.set()
        except (Error, OSError) as error:
            if isinstance(error, Error) and error.code not in ENDS and error.reason not in self._tolerated:
                self.wrong.append(f"{key}: {error.code} {error.reason} {error.detail}")
            if key:
                self.unanswered.append(key)
        finally:
            self.enough.set()

    @staticmethod
    def _call(random: Random, name: str) -> tuple[str, dict[str, Any]]:
        if random.random() < 0.5:
            return "resource.submit_task", {"task_id": name, "resource_type": "network", "duration_s": 0.001}
        size = random.choice((10, 400, 3_000, 20_000 if random.random() < 0.1 else 100))
        return "cache.set", {"key": f"k{random.randrange(5)}", "value": {"name": name, "text": "x" * size}}

    def join(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a caller waits for ever"


class Promises:
    """All that was told, over several lives of the daemon."""

    def __init__(self, daemon: Irerd) -> None:
        self.daemon = daemon
        self.told: list[Told] = []
        self._answers: dict[str, Any] = {}
        self._to_ask: list[str] = []

    def remember(self, callers: Callers, told: list[Told] | None = None) -> None:
        """With `told`, only that was acknowledged in time; of the rest anything may be."""
        callers.join()
        assert not callers.wrong, callers.wrong
        in_time = callers.told if told is None else told
        self.told += in_time
        self._to_ask += [*callers.unanswered, *(one.key for one in callers.told[len(in_time) :])]

    def ask(self) -> None:
        """N5: what a start says of a call that was never answered it says for ever."""
        with self.daemon.client() as client:
            for key in [*self._to_ask, *list(self._answers)[-20:]]:
                answer = client.call("system.op_status", {"idem": key}).result
                said = (answer["state"], answer.get("receipt"))
                assert said[0] in ("done", "absent"), (key, said)
                assert self._answers.setdefault(key, said) == said, key
        self._to_ask = []

    def check(self) -> None:
        """After a stop: the files, whole."""
        logs = {name: history(self.daemon.state, name) for name in ("engine_state", "cache_log")}
        lost = [one for one in self.told if not stands(logs[one.log], one)]
        assert not lost, f"{len(lost)} acknowledged records are not there: {lost[:3]}"
        for name, records in logs.items():
            keys = Counter(record["idem"]["key"] for record in records if "idem" in record)
            assert not [key for key, count in keys.items() if count > 1], f"a key twice in {name}"
            for key, (state, receipt) in self._answers.items():
                if receipt is None or receipt["log"] == name:
                    assert keys[key] == (state == "done"), (key, state)
        for kind in ("task.submitted", "task.done"):
            tasks = Counter(record["payload"]["task_id"] for record in logs["engine_state"] if record["event_type"] == kind)
            assert not [task for task, count in tasks.items() if count > 1], f"{kind} twice"
        self.replay()

    def replay(self) -> None:
        """N6 and N7: irer's own verifier, which folds every log from its beginning and compares the snapshots."""
        command = [sys.executable, "-m", "irerctl.main", "-o", "json", "audit", "verify", "--replay"]
        done = subprocess.run([*command, "--state-dir", str(self.daemon.state)], capture_output=True, text=True, check=False)
        verdict = json.loads(done.stdout or "{}")
        assert verdict.get("result") in ("ok", "limited"), done.stdout + done.stderr
        assert all(one["result"] == "equal" for row in verdict["logs"] for one in row["snapshots"]), verdict


def stands(records: list[dict[str, Any]], told: Told) -> bool:
    return told.seq < len(records) and records[told.seq]["event_hash"] == told.event_hash


def history(state: Path, log: str) -> list[dict[str, Any]]:
    """Every record of a log, each hashed and linked, over all its segments. A torn tail would show as a line that is no JSON."""
    parent, records = "0" * 64, []
    for path in sorted(state.glob(f"{log}.*jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            record = json.loads(line)
            assert hashlib.sha256(line[:-82] + b"}").hexdigest() == record["event_hash"], (path.name, record["seq"])
            assert record["parent_hash"] == parent and record["seq"] == len(records), (path.name, record["seq"])
            parent = record["event_hash"]
            records.append(record)
    return records
