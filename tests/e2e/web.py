"""A real `irerctl hub` for tests, and a raw HTTP caller that says what no client library would say."""

import json
import re
import select
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

START_S = 20.0
PATIENCE_S = 15.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection: bytes out, whole answers in. Waiting has an end, so a hub that hangs fails the test."""

    def __init__(
        self, port: int, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None, receive_bytes: int | None = None
    ) -> None:
        plain = socket.socket()
        if receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.settimeout(PATIENCE_S)
        plain.bind((source, 0))
        plain.connect(("127.0.0.1", port))
        self.sock = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        self._waiting = b""

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> "Caller":
        """What a hub that has already refused does not take is not needed."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def ask(self, verb: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send(request(verb, path, body, **headers)).answer()

    def more(self) -> bytes:
        """What comes next, empty at the end."""
        try:
            return self.sock.recv(65_536)
        except ConnectionResetError:
            return b""

    def until(self, mark: bytes) -> bytes:
        while mark not in self._waiting:
            data = self.more()
            assert data, f"the connection ended; so far {self._waiting[-300:]!r}"
            self._waiting += data
        found, _, self._waiting = self._waiting.partition(mark)
        return found + mark

    def head(self) -> Answer:
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        return Answer(
            int(first.split()[1]), {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, b""
        )

    def answer(self) -> Answer:
        found = self.head()
        size = int(found.headers.get("content-length", 0))
        while len(self._waiting) < size:
            data = self.more()
            assert data, "the answer ended before its length"
            self._waiting += data
        body, self._waiting = self._waiting[:size], self._waiting[size:]
        return found._replace(body=body)

    def rest(self) -> bytes:
        """Everything to the end of the connection."""
        while data := self.more():
            self._waiting += data
        return self._waiting

    def event(self) -> dict[str, str]:
        """The next server-sent event."""
        found: dict[str, str] = {}
        for line in self.until(b"\n\n").decode().splitlines():
            name, colon, value = line.partition(": ")
            if colon:
                assert name not in found, f"two lines of {name} in one event"
                found[name] = value
        return found

    def events(self) -> "Caller":
        head = self.head()
        assert head.status == 200 and head.headers["content-type"] == "text/event-stream", head
        return self


def request(verb: str, path: str, body: Any = None, **headers: str) -> bytes:
    """A good request; a header given here replaces the usual one, an empty one leaves it out."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    usual = {"Host": "localhost"} | (
        {"Content-Type": "application/json", "Content-Length": str(len(data))} if verb == "POST" else {}
    )
    given = usual | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{verb} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value), "", ""]
    return "\r\n".join(lines).encode("latin-1") + data


class Gateway:
    """A hub on a free port, over one socket."""

    def __init__(self, path: Path, *options: str, listen: str = "127.0.0.1:0") -> None:
        command = [sys.executable, "-m", "irerctl.main", "--socket", str(path), "hub", "--listen", listen, *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        ready, _, _ = select.select([self.process.stderr], [], [], START_S)
        line = self.process.stderr.readline() if ready else ""
        found = re.search(r"https?://\S+:(\d+)/", line)
        assert found, f"the hub did not say where it listens: {line}"
        self.port = int(found[1])

    def call(self, source: str = "127.0.0.1", receive_bytes: int | None = None) -> Caller:
        return Caller(self.port, source, receive_bytes=receive_bytes)

    def ask(self, verb: str, path: str, body: Any = None, **headers: str) -> Answer:
        with self.call() as caller:
            return caller.ask(verb, path, body, **headers)

    def rpc(self, method: str, params: Any = None, **headers: str) -> Answer:
        return self.ask("POST", f"/rpc/{method}", {} if params is None else params, **headers)

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def close(self) -> str:
        """Ends it, and gives all that it said; a bug that it met fails the test."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=PATIENCE_S)
        assert "a bug in the hub" not in said, said
        return said
