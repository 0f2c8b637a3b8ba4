"""-H and bridge: what may be an address, what ssh is told, and that the bridge changes no byte."""

import contextlib
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from irerctl.far import BadAddress, Far, address, argv
from tests.irerctl.conftest import Run

# Addresses


@pytest.mark.parametrize(
    ("text", "far"),
    [
        ("ssh://edge7", Far("", "edge7", None)),
        ("ssh://ann@edge-7.example.org:2222", Far("ann", "edge-7.example.org", 2222)),
        ("ssh://a.b+c@10.0.0.7/", Far("a.b+c", "10.0.0.7", None)),
        ("ssh://ann@[fe80::1%eth0]:22", Far("ann", "fe80::1%eth0", 22)),
    ],
)
def test_an_address_is_taken_apart_and_put_together(text: str, far: Far) -> None:
    assert address(text) == far
    assert address(str(far)) == far


@pytest.mark.parametrize(
    "text",
    [
        "edge7", "http://edge7", "ssh:edge7", "ssh://", "ssh://@edge7", "ssh://ann@", "ssh://-oProxyCommand=true", "ssh://-l@edge7",
        "ssh://ann@-edge7", "ssh://edge7:0", "ssh://edge7:65536", "ssh://edge7:22x", "ssh://edge7/var/run/x.sock", "ssh://edge 7",
        "ssh://edge7;true", "ssh://$(true)@edge7", "ssh://`true`", "ssh://ann'@edge7", "ssh://edge7\n", "ssh://a@b@c", "ssh://[::1",
        "ssh://é",
    ],
)  # fmt: skip
def test_what_could_be_an_option_or_words_of_a_shell_is_no_address(text: str, run: Run) -> None:
    with pytest.raises(BadAddress):
        address(text)
    ran = run("-H", text, "status")
    assert ran.exit_code == 2 and ran.stdout == "" and "Try: irerctl --help" in ran.stderr


def test_ssh_is_told_no_option_that_came_from_the_address_and_one_word_for_each_word() -> None:
    told = argv(Far("ann", "edge7", 2222), "/srv/it's here/irerd.sock")
    assert told[0] == "ssh" and told[-3:-1] == ["--", "ann@edge7"]
    assert told[told.index("-p") + 1] == "2222"
    assert {"-T", "-a", "-x"} <= set(told[: told.index("--")])
    heard = subprocess.run(["sh", "-c", f"set -- {told[-1]}; printf '%s\\n' \"$@\""], capture_output=True, text=True, check=True)
    assert heard.stdout.splitlines() == ["irerctl", "--socket", "/srv/it's here/irerd.sock", "bridge"]
    assert argv(Far("", "edge7", None), None)[-1] == "irerctl bridge"


@pytest.mark.parametrize(
    "words",
    [("doctor",), ("bridge",), ("hub",), ("audit", "hashchain", "--state-dir", "."), ("audit", "repair", "x", "--state-dir", ".")],
)
def test_what_needs_this_machine_refuses_from_afar(run: Run, words: tuple[str, ...]) -> None:
    ran = run("-H", "ssh://ann@edge7", *words)
    assert ran.exit_code == 65 and "works on the machine it runs on" in ran.stderr and "Try: ssh ann@edge7 irerctl" in ran.stderr


def test_without_ssh_it_is_said_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = run("-H", "ssh://edge7", "status")
    assert ran.exit_code == 69
    assert ran.stderr == "irerctl: ssh cannot be run (it is not installed here). Try: apt install openssh-client\n"


# The bridge

Bridge = subprocess.Popen[bytes]


@pytest.fixture
def listener(socket_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(socket_path))
        made.listen()
        made.settimeout(20)
        yield made


@pytest.fixture
def bridge(socket_path: Path) -> Iterator[Bridge]:
    command = [sys.executable, "-m", "irerctl.main", "bridge"]
    environment = {**os.environ, "IRER_SOCKET": str(socket_path)}
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    yield child
    child.kill()
    child.wait()
    for stream in filter(None, (child.stdin, child.stdout, child.stderr)):
        with contextlib.suppress(OSError):  # what was not sent cannot be flushed any more
            stream.close()


def test_every_byte_passes_both_ways_and_one_end_leaves_the_other_open(listener: socket.socket, bridge: Bridge) -> None:
    """More than all buffers hold, in both directions at once; then input ends, and answers still come."""
    up, down = bytes(range(256)) * 8192, bytes(reversed(range(256))) * 8192
    daemon, _ = listener.accept()
    daemon.settimeout(20)
    stdin, stdout = bridge.stdin, bridge.stdout
    assert stdin is not None and stdout is not None

    def send() -> None:
        stdin.write(up)
        stdin.close()

    threading.Thread(target=send, daemon=True).start()
    threading.Thread(target=daemon.sendall, args=(down,), daemon=True).start()
    assert stdout.read(len(down)) == down
    got = b""
    while piece := daemon.recv(1 << 20):
        got += piece
    assert got == up
    daemon.sendall(b"the last word")
    daemon.close()
    assert stdout.read() == b"the last word"
    assert bridge.wait(20) == 0
    assert bridge.stderr is not None and bridge.stderr.read() == b""


def test_it_ends_with_the_daemon_though_input_stays_open_and_a_killed_one_is_an_end(
    listener: socket.socket, bridge: Bridge
) -> None:
    daemon, _ = listener.accept()
    assert bridge.stdin is not None
    bridge.stdin.write(b"never read")
    bridge.stdin.flush()
    assert daemon.recv(1, socket.MSG_PEEK) == b"n"
    daemon.close()  # what is there and was not read makes this a reset
    assert bridge.wait(20) == 0


def test_output_that_nobody_takes_ends_it(listener: socket.socket, bridge: Bridge) -> None:
    daemon, _ = listener.accept()
    assert bridge.stdout is not None
    bridge.stdout.close()
    daemon.sendall(b"x")
    assert bridge.wait(20) == 74


def test_no_daemon_is_told_on_stderr_and_by_the_status(bridge: Bridge, socket_path: Path) -> None:
    out, err = bridge.communicate(timeout=20)
    assert (bridge.returncode, out) == (69, b"")
    assert err.startswith(f"irerctl: no daemon at {socket_path} (".encode())


def test_a_person_who_types_it_is_told_what_it_is_for(socket_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "irerctl.main", "bridge"], stdin=theirs, capture_output=True, text=True, timeout=20
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert ran.returncode == 65 and ran.stdout == "" and "irerctl -H ssh://HOST status" in ran.stderr
