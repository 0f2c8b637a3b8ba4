"""Every file under docs/examples works as it stands."""

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Irerd

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def run(daemon: Irerd, *command: str) -> str:
    environment = {**os.environ, "IRER_SOCKET": str(daemon.socket), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_shell_script_does_its_night_shift_in_order(irerd: Irerd) -> None:
    irerd.start()
    assert "night shift tonight done" in run(irerd, str(EXAMPLES / "night-shift.sh"), "tonight")
    with irerd.client() as client:
        tasks = {task["task_id"]: task for task in client.call("resource.tasks").result["tasks"]}
    collect, pack, store = (tasks[f"{step}-tonight"] for step in ("collect", "pack", "store"))
    assert collect["finished_at"] <= pack["started_at"] and pack["finished_at"] <= store["started_at"]


def test_the_program_may_be_run_twice_and_the_work_is_done_once(irerd: Irerd) -> None:
    irerd.start()
    first = run(irerd, sys.executable, str(EXAMPLES / "app.py"), "once")
    irerd.kill9()
    irerd.start()
    assert run(irerd, sys.executable, str(EXAMPLES / "app.py"), "once") == first
    with irerd.client() as client:
        assert client.call("resource.status").result["done"] == 1


def test_the_small_hunt_ends_with_the_parameters_of_its_best(irerd: Irerd) -> None:
    for name in ("jax", "h5py", "numba"):
        pytest.importorskip(name)
    irerd.config.write_text("[component]\ntriggered = []\nwinners = []\n")
    irerd.start()
    found = json.loads(run(irerd, str(EXAMPLES / "small-hunt.sh")))
    with irerd.client() as client:
        assert client.call("hunt.best").result["sncgl_params"] == found


def test_the_knowledge_script_tells_the_whole_story(irerd: Irerd) -> None:
    irerd.start()
    told = run(irerd, str(EXAMPLES / "shared-knowledge.sh"))
    assert "1 citation, 1 part" in told and "1,000 units distributed in all" in told and "there is no far end" in told


def test_the_drop_in_is_one() -> None:
    drop_in = configparser.ConfigParser(strict=True)
    drop_in.optionxform = str  # type: ignore[assignment, method-assign]
    drop_in.read_string((EXAMPLES / "irerd-edge.conf").read_text())
    assert drop_in.sections() == ["Service"]
    assert {"MemoryMax", "CPUQuota"} <= set(drop_in["Service"])


def test_every_example_is_named_in_the_readme() -> None:
    text = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"({path.name})" in text
