"""Starting, reloading, stopping and being in the way: what the service manager and the next daemon see."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.wire.calls import Bye, Done, Err, Item, Mark
from tests.e2e.harness import DidNotStart, Irerd
from tests.e2e.raw import Raw


def words(datagrams: list[str]) -> list[str]:
    """What was said, without the wording of the status."""
    found = []
    for datagram in datagrams:
        keys = [
            line.split("=", 1)[0] + ("" if line.startswith(("STATUS", "MONOTONIC")) else "=" + line.split("=", 1)[1])
            for line in datagram.split("\n")
        ]
        if keys != ["STATUS"]:
            found.append(" ".join(keys))
    return found


def test_starting_reloading_and_stopping_say_exactly_what_is_documented(irerd: Irerd) -> None:
    irerd.start()
    assert irerd.process is not None
    irerd.process.send_signal(signal.SIGHUP)
    irerd.wait_datagram("RELOADING=1")
    irerd.wait_datagram("READY=1")
    assert irerd.stop() == 0
    assert words(irerd.datagrams) == ["READY=1 STATUS", "RELOADING=1 MONOTONIC_USEC", "READY=1", "STOPPING=1"]


def test_a_crash_says_nothing_and_the_next_start_is_ready_again(irerd: Irerd) -> None:
    irerd.start()
    irerd.kill9()
    irerd.start()
    irerd.stop()
    assert words(irerd.datagrams) == ["READY=1 STATUS", "READY=1 STATUS", "STOPPING=1"]


def test_a_bad_file_at_reload_changes_nothing_and_says_why(irerd: Irerd) -> None:
    irerd.config.write_text("[pools.compute]\nceiling = 9\n")
    irerd.start()
    irerd.config.write_text("[pools.compute]\ncieling = 12\n")
    raw = Raw(irerd.socket)
    error = raw.ask("system.reload")
    assert isinstance(error, Err) and error.e["reason"] == "bad-configuration"
    assert error.e["data"]["problems"] == [
        f"{irerd.config}:2: unknown key pools.compute.cieling. Did you mean pools.compute.ceiling?"
    ]
    pools = raw.ask("resource.pools")
    assert isinstance(pools, Done) and pools.r["pools"][0]["ceiling"] == 9
    irerd.config.write_text("[pools.compute]\nceiling = 12\n")
    done = raw.ask("system.reload")
    assert isinstance(done, Done) and done.r["applied"] == ["pools.compute.ceiling"] and done.r["needs_restart"] == []
    assert len(done.r["unchanged_keys"]) == done.r["unchanged"] > 50 and "pools.compute.floor" in done.r["unchanged_keys"]
    pools = raw.ask("resource.pools")
    assert isinstance(pools, Done) and pools.r["pools"][0]["ceiling"] == 12


def test_sighup_before_ready_is_no_reason_to_die(irerd: Irerd) -> None:
    """The signal arrives as early as irerd can be said to run, while most of it is not even loaded. It is heard once there is
    something to reload, and systemd is told of that after READY=1 and not before."""
    irerd.start(wrap=(sys.executable, "-c", HUP_AT_ONCE))
    irerd.wait_datagram("READY=1")
    assert irerd.stop() == 0
    assert words(irerd.datagrams) == ["READY=1 STATUS", "RELOADING=1 MONOTONIC_USEC", "READY=1", "STOPPING=1"]
    assert "a bug in irer" not in irerd.stderr() and "configuration reloaded" in irerd.stderr()


HUP_AT_ONCE = """
import os, signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
while child.poll() is None:
    status = open(f"/proc/{child.pid}/status").read()
    safe = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigBlk", "SigCgt"))]
    if any(mask & (1 << (signal.SIGHUP - 1)) for mask in safe):
        child.send_signal(signal.SIGHUP)
        break
sys.exit(child.wait())
"""


def test_sigterm_during_a_long_stream_ends_it_with_a_cursor_to_go_on_from(irerd: Irerd) -> None:
    irerd.start()
    raw = Raw(irerd.socket)
    watch = raw.call("system.watch", {"engine": "resource"})
    mark = raw.next()
    assert isinstance(mark, Mark)
    with irerd.client() as client:
        client.call("resource.submit_task", {"task_id": "seen", "resource_type": "compute"})
    item = raw.next()
    assert isinstance(item, Item) and item.r["type"] == "task.submitted" and item.r["data"]["task_id"] == "seen"
    assert irerd.stop() == 0
    rest = []
    try:
        while True:
            rest.append(raw.next())
    except EOFError:
        pass
    assert [message.why for message in rest if isinstance(message, Bye)] == ["shutdown"]
    [error] = [message for message in rest if isinstance(message, Err)]
    assert error.id == watch and error.e["code"] == "unavailable"
    irerd.start()
    again = Raw(irerd.socket)
    again.call("system.watch", {"engine": "resource", "since": item.cur})
    assert isinstance(again.next(), Mark)
    following = again.next()
    assert isinstance(following, Item) and following.r["seq"] == item.r["seq"] + 1, "nothing is missed and nothing comes twice"
    said = [json.loads(line) for line in irerd.stderr().splitlines()]
    new, begun = [line for line in said if line["text"] == "ready"]
    assert begun["records"] > new["records"] > 0, "all that it has, also what a snapshot saved it from reading"


def test_a_second_daemon_on_the_same_state_refuses_to_start(irerd: Irerd, tmp_path: Path) -> None:
    irerd.start()
    second = Irerd(tmp_path)
    try:
        with pytest.raises(DidNotStart) as refused:
            second.start()
        assert refused.value.code == 75
        assert f"another irerd runs on {irerd.state} (process {irerd.process.pid if irerd.process else 0})" in refused.value.stderr
    finally:
        second.close()
    with irerd.client() as client:
        assert client.call("system.ping").result == {}


def test_a_second_daemon_never_takes_the_socket_of_a_living_one(irerd: Irerd, tmp_path: Path) -> None:
    irerd.start()
    inode = os.stat(irerd.socket).st_ino
    second = Irerd(tmp_path / "other" if (tmp_path / "other").mkdir() is None else tmp_path)
    second.socket = irerd.socket
    try:
        with pytest.raises(DidNotStart) as refused:
            second.start()
        assert refused.value.code == 75
        assert f"irerctl --socket {irerd.socket} status" in refused.value.stderr, "what to type next"
    finally:
        second.close()
    assert os.stat(irerd.socket).st_ino == inode
    with irerd.client() as client:
        assert client.call("system.ping").result == {}


def test_a_stale_socket_is_taken_over_and_a_file_that_is_none_is_not(irerd: Irerd) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(irerd.socket))
    irerd.start()
    irerd.stop()
    irerd.socket.write_text("somebody's notes")
    with pytest.raises(DidNotStart) as refused:
        irerd.start()
    assert refused.value.code == 75 and "is not a socket" in refused.value.stderr
    assert irerd.socket.read_text() == "somebody's notes"


def test_the_socket_is_for_its_owner_and_group_alone_and_goes_with_the_daemon(irerd: Irerd) -> None:
    irerd.start()
    assert os.stat(irerd.socket).st_mode & 0o777 == 0o660
    irerd.stop()
    assert not irerd.socket.exists()


def test_a_state_directory_that_cannot_be_made_is_named(irerd: Irerd) -> None:
    irerd.state = Path("/proc/irer")
    with pytest.raises(DidNotStart) as refused:
        irerd.start()
    assert refused.value.code == 73 and "/proc/irer" in refused.value.stderr


def test_a_full_disk_at_the_start_is_named_and_nothing_is_half_made(irerd: Irerd) -> None:
    """The size limit of a process stands for the disk's: every write past it fails as on a full disk."""
    limit = "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); os.execv(sys.argv[1], sys.argv[1:])"
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert soft == resource.RLIM_INFINITY
    with pytest.raises(DidNotStart) as refused:
        irerd.start(wrap=(sys.executable, "-c", limit))
    assert refused.value.code in (73, 74), refused.value.stderr
    assert "Traceback" not in refused.value.stderr
    irerd.start()
    with irerd.client() as client:
        assert client.call("system.status").result["health"] == "ok"


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name(irerd: Irerd) -> None:
    irerd.config.write_text("config_version = 1\n\n[pools]\nscale_up_abov = 0.9\n")
    with pytest.raises(DidNotStart) as refused:
        irerd.start()
    assert refused.value.code == 78
    assert f"irerd: {irerd.config}:4: unknown key pools.scale_up_abov. Did you mean pools.scale_up_above?" in refused.value.stderr


def test_check_config_prints_every_value_with_its_origin(irerd: Irerd) -> None:
    irerd.config.write_text("[pools.compute]\nceiling = 9\n")
    done = subprocess.run([*irerd.command(), "--check-config"], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["pools.compute.ceiling", "=", "9", "#", f"{irerd.config}:2"] in lines
    assert ["pools.compute.floor", "=", "1", "#", "default"] in lines
    assert not irerd.state.exists()


def test_a_state_directory_of_a_later_version_is_refused_and_left_alone(irerd: Irerd) -> None:
    irerd.start()
    irerd.stop()
    ledger = irerd.state / "ledger.json"
    ledger.write_text(ledger.read_text().replace('"format":1', '"format":2'))
    before = {path: path.read_bytes() for path in irerd.state.rglob("*") if path.is_file() and path.name != "LOCK"}
    with pytest.raises(DidNotStart) as refused:
        irerd.start()
    assert refused.value.code == 65 and "Nothing was changed" in refused.value.stderr
    assert {path: path.read_bytes() for path in irerd.state.rglob("*") if path.is_file() and path.name != "LOCK"} == before


def test_a_damaged_log_is_read_only_and_the_others_go_on(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        for _ in range(5):
            client.call("resource.submit_task", {"resource_type": "compute", "duration_s": 3600})
    irerd.stop()
    path = irerd.state / "engine_state.jsonl"
    raw = bytearray(path.read_bytes())
    raw[700] ^= 1
    path.write_bytes(raw)
    irerd.start()
    caller = Raw(irerd.socket)
    error = caller.ask("resource.submit_task", {"resource_type": "compute"})
    assert isinstance(error, Err) and error.e["code"] == "data-loss"
    lost = caller.ask("system.op_status", {"idem": "a-key-that-may-stand-there"})
    assert isinstance(lost, Err) and (lost.e["code"], lost.e["reason"]) == ("data-loss", "read-only"), "absent would be a guess"
    status = caller.ask("system.status")
    assert isinstance(status, Done) and status.r["health"] == "failed"
    found = {log["log"]: log["integrity"] for log in status.r["logs"]}
    assert found == {**dict.fromkeys(found, "ok"), "engine_state": "failed"} and "gate_log" in found
    pools = caller.ask("resource.pools")
    assert isinstance(pools, Done) and pools.r["integrity"] == "failed"
    refused = caller.ask("resource.pools", as_="nobody")
    assert isinstance(refused, Err) and refused.e["code"] == "unauthenticated", "a refusal can still be recorded"
    assert path.read_bytes() == bytes(raw), "damage is left as it was found"


def test_a_walk_along_a_damaged_chain_goes_past_what_was_recovered_and_names_the_damage(irerd: Irerd) -> None:
    irerd.start()
    irerd.stop()
    path = irerd.state / "engine_state.jsonl"
    raw = bytearray(path.read_bytes())
    raw[700] ^= 1
    path.write_bytes(raw)
    irerd.start()
    caller = Raw(irerd.socket)
    id = caller.call("audit.hashchain")
    items: dict[str, dict[str, object]] = {}
    while not isinstance(message := caller.next(), Done | Err):
        assert isinstance(message, Item) and message.id == id
        items[message.r["log"]] = message.r
    assert isinstance(message, Done) and message.r["ok"] is False
    assert items["engine_state"]["ok"] is False and items["gate_log"]["ok"] is True
    assert items["engine_state"]["first_bad"]["seq"] == 1  # type: ignore[index]
