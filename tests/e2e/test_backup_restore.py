"""Backup, restore and repair of a real daemon, as an operator types them. What comes back is the state, and that shows."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Error
from tests.e2e.harness import Irerd
from tests.e2e.test_kill import Load
from tests.e2e.test_long_history import submit


def irerctl(irerd: Irerd, *words: str) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", "irerctl.main", "--socket", str(irerd.socket), *words]
    return subprocess.run(asked, capture_output=True, text=True, check=False)


def tasks(irerd: Irerd) -> set[str]:
    found: set[str] = set()
    asked: dict[str, Any] = {"limit": 1000}
    with irerd.client() as client:
        while True:
            page = client.call("resource.tasks", asked).result
            found |= {each["task_id"] for each in page["tasks"]}
            if page.get("next") is None:
                return found
            asked["after"] = page["next"]


def health(irerd: Irerd) -> dict[str, Any]:
    with irerd.client() as client:
        found: dict[str, Any] = client.call("system.health").result
    return found


def test_what_was_backed_up_under_load_comes_back_and_old_cursors_do_not(irerd: Irerd, tmp_path: Path) -> None:
    irerd.config.write_text("[pools]\nscale_hold_s = 1000\n")
    irerd.start()
    old = submit(irerd, 20)
    load = Load(irerd, 1)
    load.wait_enough()
    before = {each["task_id"] for each in load.acknowledged}
    file = tmp_path / "irer.tar"
    done = irerctl(irerd, "backup", str(file))
    load.join()
    assert done.returncode == 0 and "without its keys" in done.stdout, done.stderr
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert irerctl(irerd, "backup", str(file)).returncode == 73, "an older backup is not written over"
    assert irerctl(irerd, "backup", str(file), "--force").returncode == 0
    submit(irerd, 5, "late")
    running = irerctl(irerd, "restore", str(file), "--state-dir", str(irerd.state))
    assert running.returncode != 0 and "systemctl stop irerd" in running.stderr
    irerd.stop()
    done = irerctl(irerd, "restore", str(file), "--state-dir", str(irerd.state))
    assert done.returncode == 0, done.stderr
    assert "records there are not in the backup" in done.stdout and (tmp_path / "state.before-restore-1" / "LOCK").exists()
    irerd.start()
    found = tasks(irerd)
    assert {f"t-{number}" for number in range(20)} <= found and before <= found and not any(each[:4] == "late" for each in found)
    assert health(irerd)["health"] == "ok"
    with irerd.client() as client:
        with pytest.raises(Error) as refused, client.stream("system.watch", {"since": old[0].cursor}) as items:
            next(items)
        assert refused.value.code == "out-of-range"
        assert client.call("resource.submit_task", {"task_id": "after", "resource_type": "network"}).receipt is not None
    verified = irerctl(irerd, "audit", "verify")
    assert verified.returncode == 0 and "fork" in verified.stdout, verified.stdout + verified.stderr


def test_a_damaged_log_is_repaired_and_the_daemon_goes_on(irerd: Irerd) -> None:
    irerd.start()
    submit(irerd, 30)
    irerd.kill9()
    logs = ("engine_state", "gate_log")
    for name in logs:
        path = irerd.state / f"{name}.jsonl"
        data = bytearray(path.read_bytes())
        data[900 if name == "engine_state" else 100] ^= 1
        path.write_bytes(data)
        for each in (irerd.state / "log.d" / name).glob("snap/*"):
            each.unlink()
    irerd.start()
    assert health(irerd)["health"] == "failed"
    assert irerctl(irerd, "audit", "repair", "engine_state", "--state-dir", str(irerd.state)).returncode != 0, "it is running"
    irerd.stop()
    for name in logs:
        tried = irerctl(irerd, "audit", "repair", name, "--state-dir", str(irerd.state), "--dry-run")
        assert tried.returncode == 0 and "Nothing was changed" in tried.stdout, tried.stderr
        done = irerctl(irerd, "audit", "repair", name, "--state-dir", str(irerd.state))
        assert done.returncode == 0 and "quarantine/" in done.stdout, done.stderr
        again = irerctl(irerd, "audit", "repair", name, "--state-dir", str(irerd.state))
        assert "Nothing to repair" in again.stdout
    irerd.start()
    assert health(irerd)["health"] == "ok"
    submit(irerd, 3, "new")
    irerd.kill9()
    irerd.start()
    assert {"new-0", "new-1", "new-2"} <= tasks(irerd)
    verified = irerctl(irerd, "audit", "verify")
    assert verified.returncode == 0 and verified.stdout.count("a fork") == 2, verified.stdout


def test_a_backup_that_is_interrupted_leaves_no_file(irerd: Irerd, tmp_path: Path) -> None:
    irerd.start()
    submit(irerd, 400)
    place = tmp_path / "backups"
    place.mkdir()
    irerd.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    # As it is installed: `python -m`, interrupted in an import that runs a text, ends by the signal whatever it is told to say.
    asked = [str(Path(sys.executable).with_name("irerctl")), "--socket", str(irerd.socket), "backup", str(place / "b.tar")]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as child:
        wait_for_a_file(place, child)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)
    irerd.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    assert child.returncode == 130 and list(place.iterdir()) == []


def wait_for_a_file(place: Path, child: subprocess.Popen[bytes]) -> None:
    """Until it has begun: seen by the directory itself, not by the clock."""
    import select

    inotify = _watch(place)
    try:
        if not list(place.iterdir()):
            assert select.select([inotify], [], [], 20)[0], "it did not begin"
        assert child.poll() is None
    finally:
        os.close(inotify)


def _watch(place: Path) -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    made: int = libc.inotify_init1(os.O_CLOEXEC)
    assert libc.inotify_add_watch(made, os.fsencode(place), 0x100) >= 0
    return made
