"""`make demo`: the main job end to end on embedded defaults, with a real daemon, real callers and two real `kill -9`.

Prints what happened and ends with what it proved. What was acknowledged is compared with the log file itself, read here line
by line as JSON, so that the daemon is not the witness of its own memory.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from irerctl import demo_tour
from irerctl.client import Client, Error, Unreachable
from irerctl.demo_energy import Energy
from irerctl.demo_science import Science

CALLERS = 4
LOAD_S = 1.5
PATIENCE_S = 30.0
CONFIG = """\
config_version = 1

[pools]                    # scale faster than a real machine would, so that a demo can show it
scale_hold_s = 0.4
scale_cooldown_s = 0.3

[retry]
base_s = 0.4

[jobs.roots]
demo = "{root}"
"""


class Demo:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = place / "tree"
        self.state = place / "state"
        self.socket = place / "irerd.sock"
        self.acknowledged: list[dict[str, Any]] = []
        self.daemon: subprocess.Popen[bytes] | None = None

    # --- the daemon -------------------------------------------------------------------------------------------------

    def start(self) -> float:
        began = time.monotonic()
        command = [sys.executable, "-m", "irerd.begin", "--config", str(self.place / "irerd.toml")]
        command += ["--state-dir", str(self.state), "--socket", str(self.socket)]
        with open(self.place / "irerd.log", "ab") as log:
            self.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        self.wait("irerd to be ready", self.is_ready)
        return time.monotonic() - began

    def is_ready(self) -> bool:
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise SystemExit(f"irerd ended with status {self.daemon.returncode}; see {self.place / 'irerd.log'}")
        try:
            with Client(str(self.socket), timeout=1) as client:
                return bool(client.call("system.info").result["state"] == "ready")
        except (Unreachable, Error):
            return False

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def stop(self) -> None:
        assert self.daemon is not None
        self.daemon.terminate()
        self.daemon.wait()

    @staticmethod
    def wait(what: str, ready: Callable[[], bool]) -> None:
        """Ask until it is so. A demo that waits for ever would hide a fault."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {PATIENCE_S:g} s for {what}")
            time.sleep(0.02)

    # --- the story ----------------------------------------------------------------------------------------------------

    def scaling(self) -> None:
        say("Twelve tasks of one unit want the compute pool, which has four units.")
        with Client(str(self.socket)) as client:
            for number in range(12):
                self.submit(client, {"task_id": f"scale-{number}", "resource_type": "compute", "units": 1, "duration_s": 1.2})
            grown = [0]

            def has_grown() -> bool:
                grown[0] = max(grown[0], pool(client, "compute")["units"])
                return grown[0] > 4

            self.wait("the pool to grow", has_grown)
            say(f"Utilisation stayed above 80 %: the pool grew to {grown[0]} units by itself.")
            self.wait(
                "the pool to shrink", lambda: pool(client, "compute")["units"] < grown[0] and not pool(client, "compute")["used"]
            )
            say(f"The tasks are done and it is shrinking: {pool(client, 'compute')['units']} units now.")

    def healing(self) -> None:
        say("A task runs the named job `hash_tree` over a directory that does not exist yet.")
        with Client(str(self.socket)) as client:
            job = {"name": "hash_tree", "params": {"root": "demo"}}
            self.submit(client, {"task_id": "heal-me", "resource_type": "storage", "units": 1, "job": job})
            self.wait("the first attempt to fail", lambda: task(client, "heal-me").get("state") == "retrying")
            say("It failed, and irer waits (exponential backoff, full jitter) to try again. Now the directory appears.")
            self.root.mkdir()
            (self.root / "greeting").write_text("hello\n")
            self.wait("the task to heal", lambda: task(client, "heal-me")["state"] == "done")
            found = task(client, "heal-me")
            say(f"Healed at attempt {found['attempt']}: tree hash {found['result']['sha256'][:16]}…")

    def submit(self, client: Client, params: dict[str, Any]) -> None:
        receipt = client.call("resource.submit_task", params).receipt
        assert receipt is not None
        self.acknowledged.append({"task_id": params["task_id"], **receipt})

    def load_and_kill(self, round: int) -> None:
        """Callers submit as fast as they can; the daemon dies in the middle and comes back."""
        stop = threading.Event()
        callers = [threading.Thread(target=self.load, args=(round, caller, stop)) for caller in range(CALLERS)]
        for caller in callers:
            caller.start()
        before = len(self.acknowledged)
        time.sleep(LOAD_S)
        self.kill()
        say(f"kill -9 in the middle of {CALLERS} callers, {len(self.acknowledged) - before:,} acknowledgements later.")
        seconds = self.start()
        say(f"irerd is back after {seconds:.1f} s; the callers' clients retried by themselves.")
        time.sleep(LOAD_S / 3)
        stop.set()
        for caller in callers:
            caller.join()

    def load(self, round: int, caller: int, stop: threading.Event) -> None:
        number = 0
        with Client(str(self.socket), client=f"demo-{caller}") as client:
            while not stop.is_set():
                params = {"task_id": f"load-{round}-{caller}-{number}", "resource_type": "network", "units": 1, "duration_s": 0.001}
                try:
                    self.submit(client, params)
                except (Error, Unreachable):
                    time.sleep(0.05)  # never answered, so never counted as acknowledged
                number += 1

    # --- the proof ----------------------------------------------------------------------------------------------------

    def prove(self) -> tuple[int, int]:
        """How many acknowledged tasks are missing or doubled in the log, and how many records its chain has."""
        submitted: dict[str, list[tuple[int, str]]] = {}
        records = 0
        for line, record in chain(self.state / "engine_state.jsonl"):
            records += 1
            if record["event_type"] == "task.submitted":
                submitted.setdefault(record["payload"]["task_id"], []).append((record["seq"], record["event_hash"]))
            del line
        lost = sum(submitted.get(ack["task_id"]) != [(ack["seq"], ack["event_hash"])] for ack in self.acknowledged)
        return lost, records

    def verify(self) -> str:
        command = [sys.executable, "-m", "irerctl.main", "--socket", str(self.socket), "audit", "verify"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"irerctl audit verify: {done.stdout}{done.stderr}")
        return done.stdout


def chain(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The records of a log, each hashed and linked to the one before it, with nothing of irer's code."""
    parent = "0" * 64
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        preimage = line[:-81] + b"}"  # the last 81 bytes (82 with the line end) are the hash member
        if record["parent_hash"] != parent or hashlib.sha256(preimage).hexdigest() != record["event_hash"]:
            raise SystemExit(f"the chain is broken at record {record['seq']}")
        parent = record["event_hash"]
        yield line, record


def pool(client: Client, name: str) -> dict[str, Any]:
    return next(row for row in client.call("resource.pools").result["pools"] if row["name"] == name)


def task(client: Client, task_id: str) -> dict[str, Any]:
    return next((row for row in client.call("resource.tasks", {"limit": 10_000}).result["tasks"] if row["task_id"] == task_id), {})


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def main() -> None:
    place = Path(os.environ.get("IRER_DEMO_DIR", ".irer/demo")).absolute()
    shutil.rmtree(place, ignore_errors=True)  # a demo never meets its own past
    place.mkdir(parents=True)
    demo = Demo(place)
    (place / "irerd.toml").write_text(CONFIG.format(root=demo.root) + demo_tour.CONFIG)
    print("irer demo: a real daemon, real callers, two real kill -9\n")
    try:
        say(f"irerd is ready after {demo.start():.1f} s, on an empty state directory.")
        demo.scaling()
        demo.healing()
        tour = demo_tour.Tour(demo.socket, say, demo.wait)
        tour.take()
        Energy(demo.socket, say).take()
        science = Science(place, demo.socket, say)
        science.run()
        science.begin_hunt()
        for round in (1, 2):
            demo.load_and_kill(round)
        tour.still_there()
        science.hunt_ends()
        print(f"\n$ irerctl audit verify\n{demo.verify()}")
        demo.stop()
        lost, records = demo.prove()
        if named := demo_tour.files_with(demo.state, demo_tour.CUSTOMER):
            raise demo_tour.Untrue("the customer's name is in no file", named)
        say("The customer's name is in no file under the state directory.")
    finally:
        if demo.daemon is not None and demo.daemon.poll() is None:
            demo.kill()
    verdict = f"{len(demo.acknowledged):,} tasks acknowledged, killed -9 twice, {lost} lost, chain whole ({records:,} records)"
    print(f"\n{verdict}\n\nThe files are in {place}")
    print("Try:  make up\n      .venv/bin/irerctl status\n      .venv/bin/irerctl watch --engine resource")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
