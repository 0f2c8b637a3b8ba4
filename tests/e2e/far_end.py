"""A real PouchDB server for tests, and a wire to it that can be cut at any byte. Where it is missing, tests say so loudly."""

import contextlib
import json
import random
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

PLACE = Path(__file__).parents[1] / "pouchdb"
MISSING = "NOT TESTED against a PouchDB server: node or its packages are missing; run: make peers"


def installed() -> bool:
    return shutil.which("node") is not None and (PLACE / "node_modules" / "express-pouchdb").is_dir()


class FarEnd:
    """The server, in memory or on a directory that can be copied while it is stopped."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory
        self.start()

    def start(self) -> None:
        arguments: list[str] = []
        if self.directory is not None:
            self.directory.mkdir(exist_ok=True)
            arguments = [str(self.directory)]
        self._process = subprocess.Popen(
            ["node", "--no-deprecation", str(PLACE / "server.js"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=PLACE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def database(self, name: str) -> "FarDatabase":
        assert self.ask("PUT", f"/{name}") == {"ok": True}
        return FarDatabase(self, name)


class FarDatabase:
    def __init__(self, server: FarEnd, name: str) -> None:
        self.server = server
        self.name = name

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return self.server.ask(method, f"/{self.name}{path}", body)

    def bring(self, *documents: dict[str, Any]) -> None:
        """Revisions made elsewhere."""
        answers = self.ask("POST", "/_bulk_docs", {"docs": documents, "new_edits": False})
        assert not [answer for answer in answers if answer.get("error")], answers

    def put(self, id: str, **members: Any) -> str:
        """An edit of the winner, whatever that is now."""
        path = f"/{quote(id, safe='')}"
        while True:
            known = self.ask("GET", path)
            rev = {"_rev": known["_rev"]} if "_rev" in known else {}
            answer = self.ask("PUT", path, {**members, **rev})
            if answer.get("error") != "conflict":  # a sync that goes on may bring another winner in between
                assert answer.get("ok"), answer
                return str(answer["rev"])

    def delete(self, id: str) -> str | None:
        while True:
            known = self.ask("GET", f"/{quote(id, safe='')}")
            if "_rev" not in known:
                return None
            answer = self.ask("DELETE", f"/{quote(id, safe='')}?rev={known['_rev']}")
            if answer.get("error") != "conflict":
                assert answer.get("ok"), answer
                return str(answer["rev"])

    def get(self, id: str) -> Any:
        return self.ask("GET", f"/{quote(id, safe='')}")

    def winners(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Of each live document what the server itself says wins, with what it holds."""
        rows = self.ask("GET", "/_all_docs?include_docs=true")["rows"]
        return {row["id"]: (row["value"]["rev"], _members(row["doc"])) for row in rows}

    def live_leaves(self, id: str) -> set[str]:
        leaves = self.ask("GET", f"/{quote(id, safe='')}?open_revs=all")
        return {leaf["ok"]["_rev"] for leaf in leaves if not leaf["ok"].get("_deleted")}

    def all_revisions(self, id: str) -> set[str]:
        """Every revision that leads to any leaf."""
        found = set()
        for leaf in self.ask("GET", f"/{quote(id, safe='')}?open_revs=all&revs=true"):
            revisions = leaf["ok"]["_revisions"]
            found |= {f"{revisions['start'] - place}-{id}" for place, id in enumerate(revisions["ids"])}
        return found


def _members(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if not name.startswith("_")}


class Wire:
    """A TCP proxy. Each connection is cut after a number of bytes of one direction, as long as there are cuts left to make.

    Of some connections all that is asked arrives twice, as by a proxy that was too quick to ask again: only one answer comes back.
    """

    def __init__(self, port: int, seed: int = 0, cuts: int = 0, bytes_max: int = 20_000, twice: float = 0.0) -> None:
        self._to = port
        self._random = random.Random(seed)
        self._left = cuts
        self._bytes_max = bytes_max
        self._twice = twice
        self.doubled = 0
        """Connections of which all was asked twice."""
        self.made = 0
        """Cuts so far."""
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, port: int) -> None:
        """From the next connection on."""
        self._to = port

    def close(self) -> None:
        self._listener.close()

    def cut_next(self, count: int) -> None:
        """So many more connections are cut, those that are made next."""
        self._left = count

    def sever(self) -> int:
        """Cut whatever is open now; answer how many connections that were."""
        ends, self._open = self._open, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.made += len(ends)
        return len(ends)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                self._open.append(near)
                cut: list[int | None] = [None, None]
                if self._left > 0:
                    self._left -= 1
                    # Half of the answers are cut before their first byte: what was asked is done, and will be asked again.
                    after = self._random.choice((0, self._random.randrange(1, 400), self._random.randrange(400, self._bytes_max)))
                    cut[self._random.randrange(2)] = after
                again = self._again()
                for source, sink, after_bytes, also in ((near, far, cut[0], again), (far, near, cut[1], None)):
                    threading.Thread(target=self._pump, args=(source, sink, after_bytes, also), daemon=True).start()

    def _again(self) -> socket.socket | None:
        """Another connection for the same requests, whose answers nobody hears."""
        if not self._twice or self._random.random() >= self._twice:
            return None
        with contextlib.suppress(OSError):
            again = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=_drain, args=(again,), daemon=True).start()
            self.doubled += 1
            return again
        return None

    def _pump(self, source: socket.socket, sink: socket.socket, left: int | None, also: socket.socket | None) -> None:
        with contextlib.suppress(OSError), also or contextlib.nullcontext():
            while data := source.recv(65_536):
                if also is not None:
                    with contextlib.suppress(OSError):
                        also.sendall(data)
                if left is not None and len(data) > left:
                    sink.sendall(data[:left])
                    self.made += 1
                    break
                sink.sendall(data)
                if left is not None:
                    left -= len(data)
        for end in (source, sink):
            with contextlib.suppress(ValueError):
                self._open.remove(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _drain(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while end.recv(65_536):
            pass
