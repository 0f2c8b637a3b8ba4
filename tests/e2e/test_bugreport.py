"""`irerctl bugreport` on a daemon full of secrets: none of them is in the file, and what a report needs is."""

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from irerctl.sieve import Sieve
from tests.e2e.harness import Irerd

MARK = "planted"
CONFIG = f"""
[access]
operator = ["group:{MARK}-group", "uid:4242421"]
[access.roles.{MARK}role]
members = ["user:{MARK}-user"]
allow = ["system.ping"]
[jobs.roots]
{MARK}root = "/srv/{MARK}"
[eil.metric_units]
{MARK}_metric = "W"
"""
REVENUE = 987_654_321


@pytest.fixture
def full(tmp_path: Path) -> Any:
    """A daemon to which callers have told things, and the secrets it gave them."""
    irerd = Irerd(tmp_path, CONFIG).start()
    secrets: list[str] = []
    with irerd.client() as client:

        def tell(method: str, **params: Any) -> Any:
            return client.call(method, params).result

        tell("resource.submit_task", task_id=f"{MARK}-task", resource_type="compute", duration_s=900.0)
        tell("cache.set", key=f"{MARK}-key", value={MARK: f"{MARK}-value"})
        item = {"sku": f"{MARK}-sku", "quantity": 1, "unit_price": REVENUE}
        tell("circuit.order", customer=f"{MARK}@example.org", items=[item], currency="EUR")
        tell("entity.spawn", entity_id=f"{MARK}-entity", type="worker", labels={f"{MARK}-label": MARK})
        secrets.append(tell("engines.register", engine_id=f"{MARK}-engine", capabilities={MARK: [f"{MARK}_act"]})["engine_key"])
        secrets.append(tell("gate.issue_token", domain="wealth", subject=f"{MARK}-subject")["token"])
        tell("platforms.define", platform=MARK, actions={f"{MARK}_act": []})
        tell("config.set_flag", flag=f"{MARK}.flag", enabled=False)
        tell("config.set", key="eil.horizon_s", value=123.0)
        tell("provenance.tap_event", event_type=f"{MARK}_event", data={MARK: MARK}, run_id=f"{MARK}-run")
        tell("trajectory.add_fact", symbol=MARK)
        tell("eil.sense", source=f"{MARK}-source", telemetry={f"{MARK}_metric": 1.0})
    yield irerd, secrets
    irerd.close()


def report(irerd: Irerd, file: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "irerctl.main", "--socket", str(irerd.socket), "-o", "json", "bugreport", str(file), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


def parts_of(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        found = {}
        for member in archive.getmembers():
            stream = archive.extractfile(member)
            assert stream is not None and member.mode == 0o600 and (member.uname, member.gname) == ("", "")
            found[member.name.removeprefix("irer-bugreport/")] = stream.read()
        return found


def forbidden(irerd: Irerd, secrets: list[str]) -> list[str]:
    """All that may not be in it: what was planted, secrets and keys in any spelling, names and places of this machine."""
    found = [MARK, "4242421", str(REVENUE), *secrets, str(irerd.place), str(irerd.socket)]
    found += [name for name in (os.uname().nodename,) if len(name) > 5]  # shorter ones may be part of any word
    for key in (each for each in (irerd.state / "keys").rglob("*") if each.is_file()):
        raw = key.read_bytes()
        found += [raw.hex(), raw.decode("latin-1")] if raw else []
    return found


def test_nothing_planted_is_in_it_and_what_is_needed_is(full: Any, tmp_path: Path) -> None:
    irerd, secrets = full
    file = tmp_path / "report.tgz"
    ran = report(irerd, file)
    assert ran.returncode == 0, ran.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    whole = gzip.decompress(file.read_bytes()).decode("latin-1").lower()
    assert [secret for secret in forbidden(irerd, secrets) if secret.lower() in whole] == []
    parts = parts_of(file)
    manifest = json.loads(parts.pop("manifest.json"))
    assert {name: {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in parts.items()} == manifest
    told = json.loads(ran.stdout)
    assert [part["name"] for part in told["parts"]] == list(parts)
    assert all(name in parts["README.txt"].decode() for name in [*parts, *told["left_out"]] if name != "README.txt")
    found = {name: json.loads(body) for name, body in parts.items() if name.endswith(".json")}
    status = found["status.json"]
    assert status["engines"]["resource"]["running"] >= 1 and status["engines"]["cache"]["keys"] == 1
    assert status["engines"]["circuit"]["revenue"] == "[redacted:money]"
    assert {log["log"] for log in status["logs"]} == set(found["disk.json"]["logs"])
    assert found["verify.json"]["result"] == "limited" and all(log["ok"] for log in found["verify.json"]["logs"])
    assert found["versions.json"]["catalogue"] == found["daemon.json"]["schema"]
    assert found["configuration.json"]["values"]["eil.horizon_s"] == 123.0
    assert found["configuration.json"]["set_over_the_file"] == ["eil.horizon_s"]
    assert found["machine.json"]["kernel"] == os.uname().release and found["machine.json"]["daemon"]["VmRSS"] > 0
    assert {check["name"] for check in found["health.json"]["checks"]} >= {"loop", "gate_log", "gate wealth"}


def test_without_the_sieve_the_planted_would_be_found(full: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would prove nothing: what was planted does reach the answers that the report is made of."""
    from irerctl.main import cli

    irerd, _ = full
    monkeypatch.setattr(Sieve, "value", lambda self, value, field="": value)
    monkeypatch.setattr(Sieve, "name", lambda self, name: name)
    file = tmp_path / "report.tgz"
    ran = CliRunner().invoke(cli, ["--socket", str(irerd.socket), "bugreport", str(file), "--no-verify"])
    assert ran.exit_code == 0, ran.stderr
    whole = gzip.decompress(file.read_bytes()).decode("latin-1")
    assert MARK in whole and str(REVENUE) in whole


def test_with_the_daemon_down_it_has_what_the_machine_shows(irerd: Irerd, tmp_path: Path) -> None:
    irerd.start().stop()
    file = tmp_path / "report.tgz"
    ran = report(irerd, file, "--state-dir", str(irerd.state))
    assert ran.returncode == 0, ran.stderr
    parts, told = parts_of(file), json.loads(ran.stdout)
    assert {"daemon.json", "status.json", "health.json", "configuration.json"} <= set(told["left_out"])
    assert json.loads(parts["verify.json"])["result"] == "limited"
    assert json.loads(parts["disk.json"])["logs"]["gate_log"]["bytes"] > 0
    assert {"check": "socket", "verdict": "fail"} in json.loads(parts["doctor.json"])
    assert str(irerd.place) not in gzip.decompress(file.read_bytes()).decode("latin-1")


def test_a_file_that_is_there_stays_unless_it_is_said_twice(irerd: Irerd, tmp_path: Path) -> None:
    file = tmp_path / "report.tgz"
    file.write_bytes(b"mine")
    refused = report(irerd, file, "--no-verify")
    assert refused.returncode == 73 and "--force" in refused.stderr and file.read_bytes() == b"mine"
    assert report(irerd, file, "--no-verify", "--force").returncode == 0
    assert tarfile.open(fileobj=io.BytesIO(file.read_bytes())).getnames()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    nowhere = report(irerd, tmp_path / "no" / "report.tgz", "--no-verify")
    assert nowhere.returncode == 65 and "Give another FILE" in nowhere.stderr
