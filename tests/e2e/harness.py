"""A real irerd for tests: started, waited for by its own readiness datagram (never by sleeping), killed, started again."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from irerctl.client import Client

START_S = 30.0


class DidNotStart(Exception):
    """irerd ended before it was ready."""

    def __init__(self, code: int, stderr: str) -> None:
        super().__init__(f"irerd ended with status {code}: {stderr}")
        self.code = code
        self.stderr = stderr


class Irerd:
    """One state directory and, at times, a daemon on it."""

    def __init__(self, place: Path, config: str = "") -> None:
        self.place = place
        self.state = place / "state"
        # A Unix socket's path is short; pytest's directories are not.
        self._short = tempfile.TemporaryDirectory(prefix="irer-")
        self.socket = Path(self._short.name) / "irerd.sock"
        self.config = place / "irerd.toml"
        self.config.write_text(config)
        self.process: subprocess.Popen[str] | None = None
        self.datagrams: list[str] = []

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "irerd.begin",
            *("--config", str(self.config)),
            *("--state-dir", str(self.state)),
            *("--socket", str(self.socket)),
        ]

    def start(self, wrap: tuple[str, ...] = (), **environment: str) -> "Irerd":
        """Start and return once READY=1 has come."""
        notify_path = Path(self._short.name) / "notify"
        notify_path.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(notify_path))
        self.stderr_path = self.place / "stderr.log"
        with open(self.stderr_path, "ab") as stderr:
            self.process = subprocess.Popen(
                [*wrap, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                env={**os.environ, "NOTIFY_SOCKET": str(notify_path), **environment},
            )
        self.wait_datagram("READY=1")
        return self

    def wait_datagram(self, line: str, timeout_s: float = START_S) -> None:
        """Read what it tells the service manager until a datagram has this line; fail at once when the process ends."""
        assert self.process is not None
        end = os.pidfd_open(self.process.pid)
        try:
            while True:
                ready, _, _ = select.select([self.notify, end], [], [], timeout_s)
                if self.notify in ready:
                    self.datagrams.append(self.notify.recv(65_536).decode())
                    if line in self.datagrams[-1].split("\n"):
                        return
                elif ready:
                    raise DidNotStart(self.process.wait(), self.stderr())
                else:
                    raise TimeoutError(f"no {line} within {timeout_s} s; so far {self.datagrams}; {self.stderr()}")
        finally:
            os.close(end)

    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def client(self, timeout: float = 30.0) -> Client:
        return Client(str(self.socket), timeout=timeout)

    def kill9(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.notify.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.drain_datagrams()
            self.notify.close()

    def drain_datagrams(self) -> None:
        self.notify.setblocking(False)
        try:
            while True:
                self.datagrams.append(self.notify.recv(65_536).decode())
        except BlockingIOError:
            pass

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._short.cleanup()
