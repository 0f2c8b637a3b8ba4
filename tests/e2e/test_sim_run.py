"""`sim.run` from the socket to the file and back, on a real daemon with real workers; and a kill -9 in the middle of a run.

What a run comes to follows from its record alone: a daemon that was killed goes on by itself and leaves the very same bytes.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Error
from tests.e2e.harness import Irerd

# Looked for and not imported: only workers load what has threads of its own.
if missing := [name for name in ("jax", "h5py", "numba") if find_spec(name) is None]:
    pytest.skip(f"no {', '.join(missing)} here", allow_module_level=True)

pytestmark = pytest.mark.slow

ASKED: dict[str, Any] = {"params": {"c3": -0.6}, "grid": {"n": 32}, "steps": 200, "seed": 7}
LONG: dict[str, Any] = {**ASKED, "steps": 4_000}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path_factory.mktemp("sim"), "[compute]\nworkers = 1\n").start()
    try:
        yield irerd
    finally:
        irerd.close()


def watched(irerd: Irerd, job_uuid: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All that was told on the way, and the end."""
    with irerd.client(timeout=120.0) as client, client.stream("system.op_watch", {"job": job_uuid}) as items:
        told = [dict(item) for item in items]
        return told, dict(items.result)


def fields_of(irerd: Irerd, job_uuid: str) -> Path:
    return irerd.state / f"data/run_{job_uuid}.h5"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_is_followed_to_its_end_and_leaves_what_it_says(daemon: Irerd, tmp_path: Path) -> None:
    with daemon.client(timeout=120.0) as client:
        job_uuid = client.call("sim.run", ASKED).result["job_uuid"]
        with pytest.raises(Error) as early:
            client.call("sim.show", {"job_uuid": job_uuid})
        assert (early.value.code, early.value.reason) == ("failed-precondition", "running")
        told, last = watched(daemon, job_uuid)
        assert {"done": 0, "total": 200, "unit": "steps"} in [item["progress"] for item in told if item.get("progress")]
        assert (last["state"], last["code"]) == ("done", "ok")
        outcome = last["result"]
        assert sha256(fields_of(daemon, job_uuid)) == outcome["artefact_sha256"]
        page = json.loads((daemon.state / f"provenance/provenance_{job_uuid}.json").read_text())
        config = json.loads((daemon.state / f"configs/config_{job_uuid}.json").read_text())
        assert page["job_uuid"] == config["job_uuid"] == job_uuid and page["artefact_sha256"] == outcome["artefact_sha256"]
        assert config["global_seed"] == 7 and config["sncgl_params"]["c3"] == -0.6
        assert client.call("sim.validate", {"job_uuid": job_uuid}).result["code"] == "ok"
        seen = client.call("sim.show", {"job_uuid": job_uuid, "points": 16}).result
        assert [(panel["name"], panel["width"], panel["height"]) for panel in seen["panels"]] == [
            ("rho", 16, 16),
            ("phase", 16, 16),
            ("rho_s", 16, 16),
        ]
        assert (seen["n"], seen["steps"], seen["artefact_sha256"]) == (32, 200, outcome["artefact_sha256"])
    drawn = irerctl(daemon, "sim", "show", job_uuid, "--png", str(tmp_path / "run.png"))
    assert drawn.returncode == 0 and (tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG"
    assert "32 x 32 points" in irerctl(daemon, "sim", "show", job_uuid).stdout


def irerctl(irerd: Irerd, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IRER_SOCKET": str(irerd.socket)}
    return subprocess.run(
        [sys.executable, "-m", "irerctl.main", *words], env=environment, text=True, capture_output=True, timeout=60
    )


def test_a_file_that_was_changed_does_not_validate(daemon: Irerd) -> None:
    with daemon.client(timeout=120.0) as client:
        job_uuid = client.call("sim.run", ASKED).result["job_uuid"]
        watched(daemon, job_uuid)
        other = client.call("sim.run", {**ASKED, "seed": 8}).result["job_uuid"]
        watched(daemon, other)
        shutil.copy(fields_of(daemon, other), fields_of(daemon, job_uuid))
        with pytest.raises(Error) as swapped:
            client.call("sim.validate", {"job_uuid": job_uuid})
        assert swapped.value.reason == "bad-output", "the file of another run is not this one's"
        raw = bytearray(fields_of(daemon, other).read_bytes())
        raw[-1] ^= 1
        fields_of(daemon, other).write_bytes(raw)
        try:
            code = client.call("sim.validate", {"job_uuid": other}).result["code"]
        except Error as damaged:
            code = damaged.reason
        assert code in ("artefact-mismatch", "bad-artefact")


@pytest.mark.parametrize("method", ["sim.show", "sim.profile", "sim.validate"])
def test_a_run_that_nobody_knows_is_not_found(daemon: Irerd, method: str) -> None:
    with daemon.client() as client:
        with pytest.raises(Error) as unknown:
            client.call(method, {"job_uuid": "00000000-0000-4000-8000-000000000000"})
        assert unknown.value.code == "not-found" and "irerctl sim list" in unknown.value.detail
        with pytest.raises(Error) as path:
            client.call(method, {"job_uuid": "../../etc/passwd"})
        assert path.value.code == "invalid-argument"


def test_what_is_refused_starts_no_worker_and_leaves_no_file(daemon: Irerd) -> None:
    with daemon.client() as client:
        before = sorted(daemon.state.glob("configs/*")), client.call("sim.list").result
        with pytest.raises(Error) as refused:
            client.call("sim.run", {**ASKED, "grid": {"n": 31}})
        assert refused.value.code == "invalid-argument" and "Near it is 32" in refused.value.detail
        assert (sorted(daemon.state.glob("configs/*")), client.call("sim.list").result) == before


def test_a_killed_daemon_goes_on_by_itself_and_leaves_the_same_bytes(daemon: Irerd, tmp_path: Path) -> None:
    with daemon.client() as client:
        job_uuid = client.call("sim.run", LONG).result["job_uuid"]
    twin = Irerd(tmp_path, "[compute]\nworkers = 1\n")
    # The logs as they are on disk now: the run is acknowledged, so its record is among them.
    shutil.copytree(daemon.state, twin.state, ignore=shutil.ignore_patterns("data", "configs", "provenance", "views"))
    try:
        twin.start()
        with twin.client(timeout=120.0) as client, client.stream("system.op_watch", {"job": job_uuid}) as items:
            assert any(item.get("progress") for item in items), "its worker has begun"
            twin.kill9()
        assert not fields_of(twin, job_uuid).exists()
        twin.start()
        _, again = watched(twin, job_uuid)
        _, undisturbed = watched(daemon, job_uuid)
        assert again["result"] == undisturbed["result"] and again["code"] == "ok"
        assert fields_of(twin, job_uuid).read_bytes() == fields_of(daemon, job_uuid).read_bytes()
    finally:
        twin.close()
