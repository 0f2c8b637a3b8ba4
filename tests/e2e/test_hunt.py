"""A hunt on a real daemon with real workers: killed anywhere it comes to the same bytes, and every job has its files."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Error
from tests.e2e.harness import Irerd

for name in ("jax", "h5py", "numba"):
    pytest.importorskip(name)

SMALL: dict[str, Any] = {
    "num_generations": 3,
    "population_size": 4,
    "seed": 7,
    "settings": {"grid": {"n": 32, "d": 1}, "steps": 64, "lanes": 2, "parallel": 2},
}
JOBS = 12
ALONE = "[component]\ntriggered = []\nwinners = []\n"
"""What looks at jobs beside the hunt has records of its own, in the order in which they end."""
END_S = 120.0


def end_of(daemon: Irerd, hunt_id: str) -> Mapping[str, Any]:
    """The hunt as a job, once it has ended."""
    with daemon.client(END_S) as client, client.stream("system.op_watch", {"job": hunt_id}) as items:
        for _ in items:
            pass
        found: Mapping[str, Any] = items.result
        return found


def payloads(daemon: Irerd) -> list[tuple[str, str]]:
    """The hunt log without its envelopes, and without certificates that were asked for afterwards."""
    lines = [json.loads(line) for line in (daemon.state / "hunt_log.jsonl").read_bytes().splitlines()]
    return [
        (each["event_type"], json.dumps(each["payload"]))
        for each in lines
        if not each["event_type"].startswith(("log.", "hunt.certif"))
    ]


def fields(daemon: Irerd) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (daemon.state / "data").iterdir()}


def rows(daemon: Irerd, hunt_id: str) -> Any:
    with daemon.client() as client:
        return client.call("hunt.ledger", {"hunt_id": hunt_id}).result["rows"]


class Begun:
    """One state directory in which a hunt has just begun, to be copied as often as it is needed."""

    def __init__(self, place: Path, asked: Mapping[str, Any] = SMALL) -> None:
        self.place = place
        first = Irerd(self._made("first"), ALONE).start()
        try:
            with first.client() as client:
                self.hunt_id = str(client.call("hunt.start", asked).result["hunt_id"])
            first.kill9()
        finally:
            first.close()
        self.state = first.state

    def _made(self, name: str) -> Path:
        made = self.place / name
        made.mkdir()
        return made

    def copy(self, name: str, workers: int) -> Irerd:
        daemon = Irerd(self._made(name), f"{ALONE}[compute]\nworkers = {workers}\n")
        shutil.copytree(self.state, daemon.state)
        return daemon


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    return Begun(tmp_path_factory.mktemp("hunt"))


@pytest.fixture(scope="module")
def whole(begun: Begun) -> Iterator[Irerd]:
    """The hunt that nobody interrupts, with two workers."""
    daemon = begun.copy("whole", 2).start()
    try:
        assert end_of(daemon, begun.hunt_id)["ok"]
        yield daemon
    finally:
        daemon.close()


def killed(begun: Begun, name: str, seed: int, kills: int, records: int) -> Irerd:
    """The same hunt with one worker, killed so often: at random records of its log, and at random moments behind them."""
    chance = random.Random(seed)
    daemon = begun.copy(name, 1)
    for at in sorted(chance.sample(range(2, records), kills)):
        daemon.start()
        wait_for(daemon, at)
        assert daemon.process is not None
        try:
            daemon.process.wait(chance.choice([0.0, 0.05, 0.4]))
        except subprocess.TimeoutExpired:
            daemon.kill9()
    daemon.start()
    return daemon


def wait_for(daemon: Irerd, record: int) -> None:
    """Until this record is durable."""
    with daemon.client(END_S) as client:
        if client.call("hunt.status").result["state"] != "running":
            return
        with client.stream("hunt.watch") as items:
            for item in items:
                if item["seq"] >= record or item["type"] == "hunt.completed":
                    return


def compare(whole: Irerd, other: Irerd, hunt_id: str) -> None:
    assert end_of(other, hunt_id)["ok"]
    assert payloads(other) == payloads(whole)
    assert rows(other, hunt_id) == rows(whole, hunt_id)
    assert other.stop() == 0, "a stop takes in what is durable"
    ledger = "simulation_ledger.csv"
    assert (other.state / ledger).read_bytes() == (whole.state / ledger).read_bytes()
    assert fields(other) == fields(whole)


def test_killed_and_resumed_it_comes_to_the_same_bytes(begun: Begun, whole: Irerd) -> None:
    with whole.client() as client:
        wait_rows(whole)
        assert client.call("hunt.status").result["state"] == "completed"
    other = killed(begun, "killed", 20260101, 2, len(payloads(whole)))
    try:
        compare(whole, other, begun.hunt_id)
    finally:
        other.close()


@pytest.mark.campaign
def test_killed_at_twenty_random_points_it_comes_to_the_same_bytes(begun: Begun, whole: Irerd) -> None:
    wait_rows(whole)
    for round in range(4):
        other = killed(begun, f"round-{round}", round, 5, len(payloads(whole)))
        try:
            compare(whole, other, begun.hunt_id)
        finally:
            other.close()


@pytest.mark.campaign
def test_killed_a_hunt_of_medians_that_selects_by_gaps_comes_to_the_same_bytes(tmp_path: Path) -> None:
    several = {**SMALL["settings"], "seeds": 3, "lanes": 6, "grid": {"n": 64, "d": 1, "l": 80.0}}
    begun = Begun(tmp_path, {**SMALL, "objectives": ["log_prime_sse", "sdg_h_norm_l2", "gap"], "settings": several})
    whole = begun.copy("whole", 2).start()
    try:
        assert end_of(whole, begun.hunt_id)["ok"]
        wait_rows(whole)
        found, files = rows(whole, begun.hunt_id), fields(whole)
        assert len(files) == 3 * JOBS and any(row["gap"] is not None for row in found), "without a score nothing is shown"
        other = killed(begun, "killed", 3, 5, len(payloads(whole)))
        try:
            compare(whole, other, begun.hunt_id)
        finally:
            other.close()
    finally:
        whole.close()


def wait_rows(daemon: Irerd) -> None:
    """Until the CSV has caught up with the log: a view is behind by a moment."""
    path = daemon.state / "simulation_ledger.csv"
    with daemon.client() as client:
        while not path.exists() or path.read_bytes().count(b"\n") < JOBS + 1:
            client.call("system.ping")


def test_every_job_has_its_files_under_its_one_id_and_success_is_told(begun: Begun, whole: Irerd) -> None:
    found = rows(whole, begun.hunt_id)
    assert len(found) == JOBS
    for row in found:
        job = row["job_uuid"]
        page = json.loads((whole.state / f"provenance/provenance_{job}.json").read_bytes())
        config = json.loads((whole.state / f"configs/config_{job}.json").read_bytes())
        assert page["job_uuid"] == config["job_uuid"] == job
        assert page["artefact_sha256"] == row["artefact_sha256"] and page["sncgl_params"] == row["params"]
        assert page["metrics"]["log_prime_sse"] == row["log_prime_sse"] and page["global_seed"] == row["seed"]
        assert (whole.state / f"data/run_{job}.h5").exists()
    with whole.client() as client:
        success = client.call("hunt.status").result["success"]
        best = client.call("hunt.best").result
    assert success["engineering"]["ok"] and success["engineering"]["provenance"] == JOBS
    assert success["scientific"]["certificate"] == "not certified"
    row = max(found, key=lambda each: each["fitness"] or 0.0)
    assert best["job_uuid"] == row["job_uuid"] and best["fitness"] == row["fitness"] and best["sncgl_params"] == row["params"]


def test_the_program_shows_all_of_it(begun: Begun, whole: Irerd) -> None:
    def told(*words: str) -> str:
        command = [sys.executable, "-m", "irerctl.main", "--socket", str(whole.socket), "hunt", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    assert "engineering success: 12 of 12 runs" in told("watch") and "not certified" in told()
    assert json.loads(told("best"))["job_uuid"] in told("ledger", "--sort", "fitness", "--limit", "1")
    assert json.loads(told("status", "-o", "json"))["hunt_id"] == begun.hunt_id


def test_a_certificate_that_no_grid_has_room_for_is_given_at_once_and_stays(begun: Begun, whole: Irerd) -> None:
    with whole.client() as client:
        job = client.call("hunt.certify").result["job"]
        told = client.call("system.op_status", {"job": job}).result["job"]
        best = client.call("hunt.best").result
        assert (told["state"], told["ok"], told["result"]["verdict"]) == ("done", True, "inconclusive")
        assert best["certificate"]["reasons"] == told["result"]["reasons"] and "no grid" in best["certificate"]["reasons"][0]
        assert client.call("hunt.status").result["success"]["scientific"]["certificate"] == "inconclusive"
        with pytest.raises(Error, match="ledger --sort"):
            client.call("hunt.certify", {"job_uuid": "123e4567-e89b-42d3-a456-426614174000"})


def test_a_stop_ends_the_call_that_runs_only_when_asked_twice(irerd: Irerd) -> None:
    irerd.start()
    endless = {**SMALL, "settings": {"grid": {"n": 32, "d": 1}, "steps": 10_000_000, "lanes": 2, "parallel": 1}}
    with irerd.client() as client:
        hunt_id = client.call("hunt.start", endless).result["hunt_id"]
        with pytest.raises(Error) as caught:
            client.call("hunt.start", SMALL)
        assert caught.value.code == "already-running" and caught.value.data == {"hunt_id": hunt_id}
        assert client.call("hunt.stop").result["state"] == "stopping"
        assert client.call("hunt.status").result["state"] == "stopping"
        assert client.call("hunt.stop").result["state"] == "stopped"
        assert client.call("system.op_status", {"job": hunt_id}).result["job"]["code"] == "cancelled"
        assert client.call("hunt.resume", {}).result["hunt_id"] == hunt_id
        assert client.call("system.op_cancel", {"job": hunt_id}).result["code"] == "cancelled"
    assert irerd.stop() == 0
    irerd.start()
    with irerd.client() as client:
        assert client.call("hunt.status").result["state"] == "stopped", "what somebody stopped does not go on by itself"
