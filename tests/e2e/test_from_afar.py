"""`irerctl -H ssh://HOST`, through a real ssh and a real sshd: the daemon of another machine, as if it were here.

sshd listens nowhere: each ssh starts one of its own and speaks to it over its standard input.
"""

import contextlib
import getpass
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.e2e.harness import Irerd

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
SSH = shutil.which("ssh")
needs_sshd = pytest.mark.skipif(not (SSHD and SSH), reason="NOT TESTED: no ssh and sshd here; Debian package openssh-server")
pytestmark = [needs_sshd, pytest.mark.slow]

Ran = subprocess.CompletedProcess[str]
Run = Callable[..., Ran]
Begin = Callable[..., subprocess.Popen[str]]
Prepared = Callable[..., tuple[list[str], dict[str, Any]]]


@pytest.fixture
def there(irerd: Irerd) -> Irerd:
    return irerd.start()


@pytest.fixture
def far_path(tmp_path: Path) -> Path:
    """What the far machine finds commands in. It has the shell's, and irerctl."""
    place = tmp_path / "far-bin"
    place.mkdir()
    program = place / "irerctl"
    program.write_text(f'#!/bin/sh\n{sys.executable} -m irerctl.main "$@"\nstatus=$?\necho $status 1<>{place}/ends\nexit $status\n')
    program.chmod(0o755)
    os.mkfifo(place / "ends")
    return place


@pytest.fixture
def ends(far_path: Path) -> Iterator[TextIO]:
    """The status of each bridge that has ended, in order."""
    with open(os.open(far_path / "ends", os.O_RDWR)) as pipe:
        yield pipe


@pytest.fixture
def prepared(tmp_path: Path, far_path: Path, ends: TextIO) -> Prepared:
    """The command and the environment that run irerctl here with -H ssh://far."""
    assert SSHD and SSH
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root gives its privileges up into it
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / key)], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    root = Path(__file__).parents[2]

    def prepared(*args: str, **environment: str) -> tuple[list[str], dict[str, Any]]:
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
            f"ProxyCommand setsid {SSHD} -i -f {tmp_path}/sshd_config -E {tmp_path}/sshd.log",
        ]
        (tmp_path / "ssh_config").write_text("\n".join(ours) + "\n")
        here = tmp_path / "here-bin"
        here.mkdir(exist_ok=True)
        wrapper = here / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {SSH} -F {tmp_path}/ssh_config "$@"\n')
        wrapper.chmod(0o755)
        environ = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}", "IRER_SOCKET": "/nowhere/here.sock"}
        return [sys.executable, "-m", "irerctl.main", "-H", "ssh://far", *args], {"text": True, "env": environ, "cwd": root}

    return prepared


@pytest.fixture
def from_afar(prepared: Prepared) -> Run:
    """Runs irerctl here with -H ssh://far; the environment there is what is given."""

    def run(*args: str, **environment: str) -> Ran:
        command, more = prepared(*args, **environment)
        return subprocess.run(command, capture_output=True, timeout=60, **more)

    return run


@pytest.fixture
def begin(prepared: Prepared) -> Iterator[Begin]:
    """The same, as a process that goes on, in a group of its own."""
    begun: list[subprocess.Popen[str]] = []

    def start(*args: str, **environment: str) -> subprocess.Popen[str]:
        command, more = prepared(*args, **environment)
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, start_new_session=True, **more))
        return begun[-1]

    yield start
    for child in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


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


def next_task(watching: subprocess.Popen[str]) -> str:
    assert watching.stdout is not None
    while line := watching.stdout.readline():
        if (event := json.loads(line))["type"] == "task.submitted":
            return str(event["data"]["task_id"])
    raise AssertionError(watching.communicate())


def next_end(ends: TextIO) -> str:
    said = ""
    while not said.endswith("\n"):
        assert select.select([ends], [], [], 20)[0], "no bridge ended"
        said += os.read(ends.fileno(), 1).decode()
    return said.strip()


def submit(irerd: Irerd, name: str) -> None:
    with irerd.client() as client:
        client.call("resource.submit_task", {"task_id": name, "resource_type": "compute", "duration_s": 900.0})


def test_a_watch_goes_on_over_a_restart_of_the_far_daemon_and_misses_nothing(there: Irerd, begin: Begin, ends: TextIO) -> None:
    with there.client() as client:
        since = client.call("resource.status").cursor
    submit(there, "before")
    watching = begin("-o", "jsonl", "watch", "--since", str(since), IRER_SOCKET=str(there.socket))
    assert next_task(watching) == "before"
    there.stop()
    assert [next_end(ends), next_end(ends)] == ["0", "69"], "asked again while it was away"
    there.start()
    submit(there, "after")
    assert next_task(watching) == "after"


def test_ctrl_c_cancels_the_call_over_there_and_leaves_no_ssh_behind(there: Irerd, begin: Begin) -> None:
    with there.client() as client:
        since = client.call("resource.status").cursor
        submit(there, "seen")
        watching = begin("-o", "jsonl", "watch", "--since", str(since), IRER_SOCKET=str(there.socket))
        assert next_task(watching) == "seen"
        os.killpg(watching.pid, signal.SIGINT)  # as a terminal does: to irerctl and to its ssh
        assert watching.wait(20) == 130
        with pytest.raises(ProcessLookupError):
            os.killpg(watching.pid, 0)
        told = client.call("metrics.prometheus").result["text"]
    assert 'irer_rpc_requests_total{code="cancelled",method="system.watch"} 1.0' in told
