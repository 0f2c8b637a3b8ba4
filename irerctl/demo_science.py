"""What `make demo` shows of the numerics: one run of the field with its picture, and a small hunt that outlives two kill -9.

Every sentence is printed after what it says was seen in the daemon's answers or in the files; nothing is assumed of either.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from irerctl.client import Client, Error, Unreachable
from irerctl.demo_tour import Say, expect

COMPILED_S = 300.0
"""The first run on a machine compiles; later ones find it in the cache."""
GENERATIONS, POPULATION = 3, 6
RUN = ["sim", "run", "-n", "64", "--steps", "400", "--seed", "7", "--eps", "0.9", "--c3", "-0.6"]


class Science:
    def __init__(self, place: Path, socket: Path, say: Say) -> None:
        self.place = place
        self.state = place / "state"
        self.socket = socket
        self.say = say
        self.hunt_id = ""

    def client(self) -> Client:
        return Client(str(self.socket), client="demo-science", timeout=COMPILED_S)

    def wait(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + COMPILED_S
        while not ready():
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {COMPILED_S:g} s for {what}")
            time.sleep(0.1)

    def run(self) -> None:
        """One run of the field, from the command line."""
        self.say("A worker computes a field on a co-evolving geometry (the first time on a machine it compiles) …")
        began = time.monotonic()
        picture = self.place / "run.png"
        command = [sys.executable, "-m", "irerctl.main", "--socket", str(self.socket), "-o", "json", "--timeout", str(COMPILED_S)]
        done = subprocess.run([*command, *RUN, "--png", str(picture)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"irerctl {' '.join(RUN)}: {done.stdout}{done.stderr}")
        job_uuid = json.loads(done.stdout)["job_uuid"]
        provenance = self._provenance(job_uuid)
        expect("the run is on record", provenance["status"] == "ok", provenance["status"])
        with self.client() as client:
            found = client.call("sim.validate", {"job_uuid": job_uuid}).result
        expect("its metrics follow from its file", found["ok"] is True, found)
        h = provenance["metrics"]["sdg_h_norm_l2"]
        self.say(f"64 × 64 points, 400 steps, {time.monotonic() - began:.1f} s in all: h norm {h:.4f}, found again from the file.")
        self.say(f"Its picture is in {picture}.")

    def _provenance(self, job_uuid: str) -> dict[str, Any]:
        found = json.loads((self.state / "provenance" / f"provenance_{job_uuid}.json").read_text())
        assert isinstance(found, dict)
        return found

    def begin_hunt(self) -> None:
        asked = {
            "num_generations": GENERATIONS,
            "population_size": POPULATION,
            "seed": 11,
            "settings": {"grid": {"n": 48}, "steps": 300},
        }
        with self.client() as client:
            self.hunt_id = client.call("hunt.start", asked).result["hunt_id"]
            try:
                client.call("hunt.start", asked)
            except Error as refused:
                expect("one hunt at a time", refused.code == "already-running", refused.code)
        self.say(f"A hunt began: {GENERATIONS} generations of {POPULATION}. A second one beside it is refused.")

    def _rows_of_hunt(self) -> list[dict[str, str]]:
        text = (self.state / "simulation_ledger.csv").read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()
        header = lines[0].split(",") if lines else []
        rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
        return [row for row in rows if row["hunt_id"] == self.hunt_id]

    def hunt_ends(self) -> None:
        """After two kills it went on by itself; every job has its files."""
        last: dict[str, Any] = {}

        def ended() -> bool:
            try:
                with self.client() as client:
                    last.update(client.call("hunt.status").result)
            except (Error, Unreachable):
                return False
            return last["state"] in ("completed", "failed", "stopped")

        self.wait("the hunt to end", ended)
        jobs = GENERATIONS * POPULATION
        expect("the hunt came to its end", (last["state"], last["jobs_done"]) == ("completed", jobs), last)
        self.wait("the ledger, which follows the log, to have every job", lambda: len(self._rows_of_hunt()) >= jobs)
        own = self._rows_of_hunt()
        expect("the ledger has a row for each job", len(own) == len({row["job_uuid"] for row in own}) == jobs, len(own))
        for row in own:
            provenance = self._provenance(row["job_uuid"])
            expect("one id for each job", provenance["job_uuid"] == row["job_uuid"], provenance["job_uuid"])
            expect("the file is the one on record", provenance["artefact_sha256"] == row["artefact_sha256"], row)
        scored = sum(not row["sse_code"] for row in own)
        self.say(
            f"The hunt went on by itself after both: {jobs} of {jobs} jobs have an outcome, a file and its provenance, "
            f"{scored} a score."
        )
