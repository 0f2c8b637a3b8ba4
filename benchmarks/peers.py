"""The servers that are measured: irerd and its peers, each one process behind one Unix socket.

Installs the peers by itself: Python packages with their hashes into an environment of their own, redis from Debian.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENT = HERE / ".venv"
LOCK = HERE / "requirements.lock"
START_S = 20.0
STOP_S = 15.0


class Unavailable(Exception):
    """A server cannot be measured; the text says why."""


# --- installing ---------------------------------------------------------------------------------------------------------------


def install() -> Path:
    """The Python of the peers' environment, made of irer's own when it is missing, of another Python, or older than its lock."""
    python = ENVIRONMENT / "bin/python"
    stamp, held = ENVIRONMENT / ".installed", sys.version.encode() + b"\n" + LOCK.read_bytes()
    if stamp.exists() and stamp.read_bytes() == held:
        return python
    print("== installing the peers (benchmarks/requirements.lock)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-qq", "--require-hashes", "-r", str(LOCK)], check=True)
    stamp.write_bytes(held)
    return python


def redis_program() -> str:
    """Debian's redis-tools holds the server under another name; unlike redis-server it starts no service on this machine."""
    for name in ("redis-server", "redis-check-rdb"):
        if found := shutil.which(name):
            return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("== installing Debian's redis-tools", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "redis-tools"]):
            subprocess.run(["apt-get", "-qq", *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if found := shutil.which("redis-check-rdb"):
            return found
    raise Unavailable("redis is missing, and only root can install it: apt-get install redis-tools")


# --- running ------------------------------------------------------------------------------------------------------------------


class Server:
    """A server that runs."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", socket_path: str, ready_ms: float, words: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.socket = socket_path
        self.ready_ms = ready_ms
        """From the start of the process until the socket answered as it should."""
        self._process = process
        self._words = words

    def resident_mb(self) -> float:
        """Memory of the process itself, in MB of 1,000,000 bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024 / 1e6

    def alive(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        return self._words.read_text(errors="replace")[-2000:]


class Place:
    """Where a run keeps its files: state on a real disk, sockets where their paths are short."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.state = Path(tempfile.mkdtemp(prefix="run-", dir=state))
        self.sockets = Path(tempfile.mkdtemp(prefix="irer-bench-"))
        self._count = 0

    def fresh(self, name: str) -> tuple[Path, str]:
        """A directory and a socket path nobody has used."""
        self._count += 1
        directory = self.state / f"{name}-{self._count}"
        directory.mkdir()
        return directory, str(self.sockets / f"{self._count}.sock")

    def remove(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Nothing of a service manager's, and nothing that changes how Python behaves."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
    return {name: os.environ[name] for name in kept if name in os.environ}


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    socket_path: str,
    directory: Path,
    program: str | None = None,
    start_s: float = START_S,
) -> Iterator[Server]:
    words = directory / "words"
    with words.open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            list(command), executable=program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=_environment()
        )
    try:
        while not _answers(name, socket_path):
            if process.poll() is not None:
                raise Unavailable(f"{name} ended with {process.returncode}: {words.read_text(errors='replace')[-2000:]}")
            if time.perf_counter() - began > start_s:
                raise Unavailable(f"{name} did not answer within {start_s:g} s")
            time.sleep(0.002)
        yield Server(name, process, socket_path, (time.perf_counter() - began) * 1000, words)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(name: str, path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START_S)
        try:
            connection.connect(path)
            return name != "irerd" or _is_ready(connection)
        except OSError:
            return False


def _is_ready(connection: socket.socket) -> bool:
    """irerd answers while it still recovers; it counts as ready when its welcome says so."""
    import cbor2

    body = cbor2.dumps({"t": "hello", "proto": [1], "client": "irer-bench/1"})
    connection.sendall(b"\xd8\x18\x5a" + len(body).to_bytes(4, "big") + body)
    data = b""
    while len(data) < 7 or len(data) < 7 + int.from_bytes(data[3:7], "big"):
        more = connection.recv(65_536)
        if not more:
            return False
        data += more
    return bool(cbor2.loads(data[7:]).get("state") == "ready")


def irerd(place: Place, profile: Path | None = None) -> "contextlib.AbstractContextManager[Server]":
    """irerd as installed, on a state directory of its own, with every setting at its default."""
    directory, path = place.fresh("irerd")
    config = directory / "irerd.toml"
    config.write_text("config_version = 1\n")
    module = ["-m", "irerd.main"] if profile is None else ["-m", "benchmarks.profiled", str(profile)]
    command = [sys.executable, *module, "--state-dir", str(directory / "state"), "--socket", path, "--config", str(config)]
    return running("irerd", command, path, directory)


def fastapi(place: Place, python: Path) -> "contextlib.AbstractContextManager[Server]":
    directory, path = place.fresh("fastapi")
    command = [str(python), "-m", "uvicorn", "fastapi_peer:app", "--app-dir", str(HERE), "--uds", path]
    command += ["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off", "--no-access-log"]
    return running("fastapi", [*command, "--log-level", "warning"], path, directory)


def grpc(place: Place, python: Path) -> "contextlib.AbstractContextManager[Server]":
    directory, path = place.fresh("grpc")
    return running("grpc.aio", [str(python), str(HERE / "grpc_peer.py"), "serve", "--socket", path], path, directory)


def redis(place: Place, program: str, durable: bool) -> "contextlib.AbstractContextManager[Server]":
    """`durable` syncs its log before it answers, as irerd does; without it nothing is ever written."""
    directory, path = place.fresh("redis")
    command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(directory)]
    command += ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
    return running("redis", command, path, directory, program)


# --- versions -----------------------------------------------------------------------------------------------------------------


def versions(python: Path, redis_server: str | None) -> dict[str, str]:
    names = ["fastapi", "uvicorn", "uvloop", "httptools", "pydantic", "grpcio", "protobuf"]
    ask = "import sys, json; from importlib.metadata import version; print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
    found: dict[str, str] = json.loads(subprocess.check_output([str(python), "-c", ask, *names]))
    mine = ["trio", "cbor2", "msgspec"]
    found |= json.loads(subprocess.check_output([sys.executable, "-c", ask, *mine]))
    found["python"] = sys.version.split()[0]
    found["linux"] = os.uname().release
    if redis_server is not None:
        said = subprocess.check_output(["redis-server", "--version"], executable=redis_server, text=True)
        match = re.search(r"v=(\S+)", said)
        found["redis"] = match[1] if match else said.strip()
    return found
