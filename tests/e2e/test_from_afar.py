"""`irerctl -H ssh://HOST`, through a real ssh and a real sshd: the daemon of another machine, as if it were here.

sshd listens nowhere: each ssh starts one of its own and speaks to it over its standard input.
"""

import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Irerd

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
SSH = shutil.which("ssh")
needs_sshd = pytest.mark.skipif(not (SSHD and SSH), reason="NOT TESTED: no ssh and sshd here; Debian package openssh-server")
pytestmark = [needs_sshd, pytest.mark.slow]

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]


@pytest.fixture
def there(irerd: Irerd) -> Irerd:
    return irerd.start()


@pytest.fixture
def far_path(tmp_path: Path) -> Path:
    """What the far machine finds commands in. It has the shell's, and irerctl."""
    place = tmp_path / "far-bin"
    place.mkdir()
    program = place / "irerctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m irerctl.main "$@"\n')
    program.chmod(0o755)
    return place


@pytest.fixture
def from_afar(tmp_path: Path, far_path: Path) -> Iterator[Run]:
    """Runs irerctl here with -H ssh://far; the environment there is what is given."""
    assert SSHD and SSH
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root gives its privileges up into it
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key)], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    root = Path(__file__).parents[2]

    def run(*args: str, host: str = "ssh://far", **environment: str) -> Ran:
        there = {"PATH": f"{far_path}:/usr/bin:/bin", "PYTHONPATH": str(root), "HOME": str(tmp_path), **environment}
        lines = [
            f"HostKey {tmp_path}/host",
            f"AuthorizedKeysFile {tmp_path}/authorized",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            "PermitRootLogin prohibit-password",
            "SetEnv " + " ".join(f"{name}={value}" for name, value in there.items()),
        ]
        (tmp_path / "sshd_config").write_text("\n".join(lines) + "\n")
        ours = [
            "Host far",
            "HostName far.invalid",
            f"User {getpass.getuser()}",
            f"IdentityFile {tmp_path}/user",
            "IdentitiesOnly yes",
            "BatchMode yes",
            "StrictHostKeyChecking no",
            f"UserKnownHostsFile {tmp_path}/known",
            "LogLevel ERROR",
            f"ProxyCommand {SSHD} -i -f {tmp_path}/sshd_config -E {tmp_path}/sshd.log",
        ]
        (tmp_path / "ssh_config").write_text("\n".join(ours) + "\n")
        here = tmp_path / "here-bin"
        here.mkdir(exist_ok=True)
        wrapper = here / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {SSH} -F {tmp_path}/ssh_config "$@"\n')
        wrapper.chmod(0o755)
        environ = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}", "IRER_SOCKET": "/nowhere/here.sock"}
        command = [sys.executable, "-m", "irerctl.main", "-H", host, *args]
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, cwd=root)

    yield run


def test_reads_writes_and_streams_of_a_far_daemon_are_as_here(there: Irerd, from_afar: Run) -> None:
    where = {"IRER_SOCKET": str(there.socket)}
    seen = from_afar("status", **where)
    assert seen.returncode == 0 and seen.stdout.startswith("ok  irerd ") and seen.stderr == ""
    assert there.process is not None and f"pid {there.process.pid}" in seen.stdout
    wrote = from_afar("-o", "json", "engine", "scale", "compute", "9", "--idem", "scaled-from-afar", **where)
    assert wrote.returncode == 0, wrote.stderr
    told = json.loads(wrote.stdout)
    with there.client() as client:
        record = client.call("system.op_status", {"idem": "scaled-from-afar"}).result
    assert told["receipt"] == record["receipt"] and told["result"]["to_units"] == 9
    rows = from_afar("-o", "jsonl", "audit", "hashchain", **where)
    assert rows.returncode == 0 and all(json.loads(line)["ok"] for line in rows.stdout.splitlines() if line)
    refused = from_afar("engine", "scale", "compute", "99", **where)
    assert refused.returncode == 65 and "99 is outside 1..64" in refused.stderr


def test_a_socket_named_here_is_one_there(there: Irerd, from_afar: Run) -> None:
    assert from_afar("--socket", str(there.socket), "-o", "json", "version").returncode == 0


def test_without_a_daemon_there_the_bridge_says_so_and_so_does_irerctl(from_afar: Run) -> None:
    ran = from_afar("status", IRER_SOCKET="/nowhere/irerd.sock")
    assert ran.returncode == 69 and ran.stdout == ""
    assert ran.stderr == (
        "irerctl: on far: no daemon at /nowhere/irerd.sock (no such file). It stopped or was never started. "
        "Try: irerd &   or: systemctl start irerd\n"
    )


def test_without_irerctl_there_it_is_said_what_is_missing(from_afar: Run, far_path: Path) -> None:
    (far_path / "irerctl").unlink()
    ran = from_afar("status")
    assert ran.returncode == 69
    assert ran.stderr.startswith("irerctl: on far ssh finds no irerctl (") and "Try: ssh far irerctl version" in ran.stderr


def test_a_far_machine_that_admits_nobody_is_told_in_the_words_of_ssh(from_afar: Run, tmp_path: Path) -> None:
    (tmp_path / "authorized").write_text("")
    ran = from_afar("-o", "json", "status")
    assert ran.returncode == 69 and ran.stdout == ""
    told = json.loads(ran.stderr)
    assert told["code"] == "unavailable" and "Permission denied (publickey" in told["detail"]
