"""The sync as a job of a real irerd: followed, ended, refused, begun by itself; and a password that is only in the request."""

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from irerctl.client import Client, Error
from tests.e2e.harness import Irerd

PASSWORD = "correct-horse-battery"


def refused(client: Client, method: str, params: dict[str, Any] | None = None) -> tuple[str, str | None]:
    with pytest.raises(Error) as error:
        client.call(method, params)
    return error.value.code, error.value.reason


def configured(port: int, more: str = "") -> str:
    return f'[cache.remote]\nurl = "http://127.0.0.1:{port}"\n{more}'


def test_a_sync_is_followed_and_ended_and_there_is_one_at_a_time(irerd: Irerd) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    irerd.start()
    with irerd.client() as client:
        assert refused(client, "cache.sync") == ("failed-precondition", "no-remote")
        told = refused(client, "config.set", {"key": "cache.remote.url", "value": "http://127.0.0.1:1"})
        assert told == ("failed-precondition", "file-only"), "no caller says which host gets the password"
        irerd.config.write_text(configured(silent.getsockname()[1]))
        client.call("system.reload")
        client.call("cache.set_online", {"online": False})
        assert refused(client, "cache.sync") == ("failed-precondition", "offline")
        client.call("cache.set_online", {"online": True})
        begun = client.call("cache.sync", idem="sync-0001")
        job = begun.result["job"]
        assert refused(client, "cache.sync") == ("already-running", "sync")
        watched = client.stream("system.op_watch", {"idem": "sync-0001"})
        seen = next(watched)
        assert (seen["job"], seen["state"], seen["method"]) == (job, "running", "cache.sync")
        status = client.call("system.op_status", {"job": job}).result
        assert status["state"] == "pending" and status["job"]["seq"] == begun.receipt["seq"]
        assert client.call("system.op_status", {"idem": "sync-0001"}).result["job"]["job"] == job
        connection, _ = silent.accept()
        assert connection.recv(100).startswith(b"GET /irer HTTP/1.1")
        assert client.call("system.op_cancel", {"job": job}).result["code"] == "cancelled"
        assert all(item["state"] == "running" for item in watched), "its end is the answer, and no item"
        assert watched.result["code"] == "cancelled"
        while connection.recv(65_536):
            continue  # the end of the connection: nothing goes on behind our back
        assert client.call("system.op_cancel", {"job": job}).result["code"] == "cancelled", "once more changes nothing"
        assert client.call("system.op_status", {"job": job}).result["state"] == "done"
        assert refused(client, "system.op_cancel", {"job": "none-such"}) == ("not-found", "job")
        assert refused(client, "system.op_watch", {"job": "none-such"}) == ("not-found", "job")
        assert client.call("system.op_status", {"job": "none-such"}).result["state"] == "absent"
        assert refused(client, "system.op_status", {})[0] == "invalid-argument"
        connection.close()
    silent.close()


def test_a_password_is_in_the_request_and_nowhere_else(irerd: Irerd, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o644)
    more = f'username = "ann"\npassword_file = "{secret}"\nattempts = 1\ninterval_s = 3600\n'
    irerd.config.write_text(configured(listener.getsockname()[1], more))
    irerd.start()
    with irerd.client() as client:
        [first] = _ended(client, 1)  # it began by itself
        assert first["code"] == "password-file" and "chmod 600" in first["detail"]
        secret.chmod(0o600)
        client.call("cache.sync")
        connection, _ = listener.accept()
        request = connection.recv(65_536)
        assert b"Basic YW5uOmNvcnJlY3QtaG9yc2UtYmF0dGVyeQ==" in request
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")
        _, second = _ended(client, 2)
        assert second["code"] == "unauthorized"
        connection.close()
    listener.close()
    irerd.stop()
    kept = [path for path in [*irerd.state.rglob("*"), irerd.stderr_path] if path.is_file()]
    assert any(b"unauthorized" in path.read_bytes() for path in kept)
    for path in kept:
        content = path.read_bytes()
        assert PASSWORD.encode() not in content and b"YW5uOmNvcnJlY3Q" not in content, os.fspath(path)


def _ended(client: Client, count: int) -> list[dict[str, Any]]:
    """The outcomes of so many syncs, from the log."""
    found: list[dict[str, Any]] = []
    with client.stream("system.watch", {"engine": "cache", "type": "cache.sync_ended", "since": _beginning(client)}) as events:
        for event in events:
            found.append(event["data"])
            if len(found) == count:
                break
    return found


def _beginning(client: Client) -> str:
    """A cursor before the first record of the cache's log."""
    from irerd.cursors import Cursors

    return Cursors(client.call("system.info").result["ledger"]).text({"cache_log": 0})


class Choosy(BaseHTTPRequestHandler):
    """A far end that takes one document at a time, and never the one named secret."""

    protocol_version = "HTTP/1.1"
    offered: ClassVar[list[list[str]]] = []
    local: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        if "/_local/" in self.path:
            self._say(self.local.get(self.path, {"error": "not_found"}), 200 if self.path in self.local else 404)
        else:
            self._say({"results": [], "last_seq": 0} if "/_changes" in self.path else {"update_seq": 0})

    def do_PUT(self) -> None:
        self.local[self.path] = {**self._body(), "_rev": "0-1"}
        self._say({"ok": True, "rev": "0-1"})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/_revs_diff"):
            self._say({key: {"missing": revs} for key, revs in body.items()})
            return
        self.offered.append([document["_id"] for document in body["docs"]])
        if len(body["docs"]) > 1:
            self._say({"error": "too_large"}, 413)
        else:
            self._say([{"id": "secret", "error": "forbidden", "reason": "no"}] if self.offered[-1] == ["secret"] else [])

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _say(self, body: Any, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


def test_what_the_far_end_refuses_is_named_stays_in_the_queue_and_is_offered_again(irerd: Irerd) -> None:
    Choosy.offered.clear()
    Choosy.local.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Choosy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    irerd.config.write_text(configured(server.server_address[1]))
    irerd.start()
    with irerd.client() as client:
        for key in ("a", "secret", "z"):
            client.call("cache.set", {"key": key, "value": {"of": key}})
        for pushed in (2, 0):
            watched = client.stream("system.op_watch", {"job": client.call("cache.sync").result["job"]})
            list(watched)
            assert watched.result["ok"] and watched.result["result"]["left_out"] == [{"document": "secret", "why": "forbidden"}]
            assert watched.result["result"]["pushed"] == pushed and watched.result["result"]["compared"] == bool(pushed)
            assert [row["key"] for row in client.call("cache.queue").result["keys"]] == ["secret"]
        resident = client.call("system.health").result["resident_bytes"]
    print(f"resident after a sync: {resident / (1 << 20):.1f} MiB")
    server.shutdown()
    assert Choosy.offered[0] == ["a", "secret", "z"]
    assert [offer for offer in Choosy.offered if len(offer) == 1].count(["secret"]) == 2
