"""A component of one's own on a real daemon: the example is found, accepted as it is, and run; a hostile one is stopped."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Error
from tests.e2e.harness import Irerd

np = pytest.importorskip("numpy")
artefact = pytest.importorskip("kernels.artefact")

EXAMPLE = Path(__file__).parents[2] / "docs/examples/ring-radius"
JOB = "123e4567-e89b-42d3-a456-426614174000"
POINTS, LENGTH, RING = 32, 20.0, 5
TOLD = '{"who": "ask jane.roe@example.com, card 4111 1111 1111 1111"}'


@pytest.fixture
def irerd(tmp_path: Path) -> Iterator[Irerd]:
    own = tmp_path / "own"
    shutil.copytree(EXAMPLE, own / "ring-radius")
    write(own / "endless", {"name": "endless", "limits": {"cpu_s": 1}}, "while True: pass")
    write(own / "broken", {"name": "broken", "outputs": [{"name": "a", "type": "colour"}]}, "")
    write(own / "talkative", {"name": "talkative", "outputs": [{"name": "who", "type": "string"}]}, f"print({TOLD!r})")
    (own / "no component").mkdir()
    daemon = Irerd(tmp_path, f'[component]\ntriggered = []\nwinners = []\ndirectory = "{own}"\n').start()
    place = daemon.state / f"data/run_{JOB}.h5"
    place.parent.mkdir(exist_ok=True)
    x = np.arange(POINTS) * 2 * np.pi / POINTS
    field = np.sqrt(2 + np.cos(RING * x)[:, None] * np.ones(POINTS)).astype(np.complex64)
    settings = {"n": POINTS, "l": LENGTH, "d": 2, "steps": 1, "dt": 0.1, "dtype": "complex64", "geometry": "off"}
    arrays = {"A": field, "rho_s": field.real, "snaps": field[None], "diag": np.zeros((1, 6))}
    with place.open("w+b") as file:
        artefact.write(file, artefact.Artefact({"job_uuid": JOB, "status": "ok"}, settings, arrays))
    try:
        yield daemon
    finally:
        daemon.close()


def write(folder: Path, manifest: Mapping[str, Any], script: str) -> None:
    folder.mkdir()
    whole = {"version": "1.0.0", "script_to_run": "script.py", "inputs": [{"name": "job_uuid", "type": "string:uuid"}], **manifest}
    (folder / "component_manifest.json").write_text(json.dumps(whole))
    (folder / "script.py").write_text(script)


def listed(irerd: Irerd) -> dict[str, Any]:
    with irerd.client() as client:
        found = client.call("component.list").result
    assert found["sandbox"]["files"].startswith("landlock") or "not enforced" in found["sandbox"]["files"]
    return {each["name"]: each for each in found["components"] if each["kind"] == "user"}


def accepted(irerd: Irerd, name: str) -> None:
    with irerd.client() as client:
        client.call("component.accept", {"name": name, "digest": listed(irerd)[name]["digest"]})


def ran(irerd: Irerd, name: str, **variables: Any) -> Mapping[str, Any]:
    with irerd.client() as client:
        job = client.call("component.run", {"name": name, "inputs": {"job_uuid": JOB}, "variables": variables}).result["job"]
        with client.stream("system.op_watch", {"job": job}) as items:
            for _ in items:
                pass
            return dict(items.result)


def test_the_example_runs_once_it_is_accepted_and_a_hostile_one_costs_nobody_else_anything(irerd: Irerd) -> None:
    there = listed(irerd)
    assert {name: each["state"] for name, each in there.items()} == {
        "ring-radius": "new",
        "endless": "new",
        "broken": "invalid",
        "talkative": "new",
    }
    assert "outputs" in there["broken"]["reason"]
    if not there or "not enforced" in str(sandbox_of(irerd)):
        pytest.skip("NOT TESTED: this kernel confines nobody")
    with irerd.client() as client, pytest.raises(Error, match="accepted first"):
        client.call("component.run", {"name": "ring-radius", "inputs": {"job_uuid": JOB}})
    accepted(irerd, "ring-radius")
    accepted(irerd, "endless")
    ended = ran(irerd, "endless")
    assert (ended["ok"], ended["code"]) == (False, "cpu") and "limits.cpu_s" in ended["detail"]
    found = ran(irerd, "ring-radius", first=2)
    assert found["ok"] and found["result"]["outputs"]["radius"] == pytest.approx(2 * np.pi * RING / LENGTH)
    rows = (irerd.state / "component_files" / found["result"]["files"]["rings"]).read_text().splitlines()
    assert rows[0] == "k,power" and len(rows) > POINTS // 2
    accepted(irerd, "talkative")
    assert ran(irerd, "talkative")["result"]["outputs"]["who"].startswith("ask pn_"), "a stranger's words are searched"
    assert not list((irerd.state / "component_cages").iterdir())
    irerd.stop()
    logs = [path.read_bytes() for path in irerd.state.glob("*.jsonl")]
    assert len(logs) > 5 and not any(b"jane.roe" in log or b"4111 1111" in log for log in logs)
    irerd.start()
    assert listed(irerd)["ring-radius"]["state"] == "ready", "what was accepted stands in the log"
    script = irerd.place / "own/ring-radius/ring_radius.py"
    script.write_text(script.read_text() + "# one byte more\n")
    assert listed(irerd)["ring-radius"]["state"] == "changed" and ran(irerd, "ring-radius")["code"] == "changed"
    with irerd.client() as client:
        assert client.call("system.health").result


def sandbox_of(irerd: Irerd) -> Any:
    with irerd.client() as client:
        return client.call("component.list").result["sandbox"]
