"""What the tests of irerctl share: a peer on a real socket, and three ways to run the program."""

import os
import pty
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from irerctl.main import cli
from tests.irerctl.peer import Answers, Peer

Run = Callable[..., Result]
Serve = Callable[..., Peer]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="irerctl-") as made:
        yield Path(made)


@pytest.fixture
def socket_path(place: Path) -> Path:
    return place / "irerd.sock"


@pytest.fixture
def serve(socket_path: Path) -> Iterator[Serve]:
    """Starts a peer that answers from a table."""
    peers: list[Peer] = []

    def start(answers: Answers, schema: str = "0" * 64) -> Peer:
        peers.append(Peer(socket_path, answers, schema))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def run(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs irerctl in this process, piped."""
    monkeypatch.setenv("IRER_SOCKET", str(socket_path))
    monkeypatch.setenv("HOME", str(socket_path.parent))
    for name in ("STATE_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*args: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(args), input=input)

    return invoke


@pytest.fixture
def process(socket_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts irerctl as a process of its own, piped."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "IRER_SOCKET": str(socket_path)}
        command = [sys.executable, "-m", "irerctl.main", *args]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def on_terminal(socket_path: Path) -> Callable[..., str]:
    """Runs irerctl on a terminal of 80 columns and returns all that it printed there."""

    def show(*args: str, **environment: str) -> str:
        ours, theirs = pty.openpty()
        settings = {**os.environ, "IRER_SOCKET": str(socket_path), "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **environment}
        child = subprocess.Popen(
            [sys.executable, "-m", "irerctl.main", *args], stdin=theirs, stdout=theirs, stderr=theirs, env=settings
        )
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 65_536):
                text += chunk
        except OSError:
            pass  # Linux reports the end of a terminal as an error
        finally:
            os.close(ours)
            child.wait()
        return text.decode().replace("\r\n", "\n")

    return show
