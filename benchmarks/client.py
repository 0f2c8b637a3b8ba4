"""The client process of a measurement: raw sockets and prepared bytes, so that the server is what is measured.

Speaks irer's frames, HTTP/1.1 keep-alive and redis's RESP. Every reply is looked at: anything but success ends the run.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import cbor2

sys.path.insert(0, str(Path(__file__).parent))
from measure import Measured, summary

RECEIVE_BYTES = 262_144
FIRST_ID = 65_536
"""From here on an id takes four bytes in its shortest form, so one template serves all."""
PLACEHOLDER_ID = 0x01020304
PLACEHOLDER_KEY = "bench-0000-00000000"


class Failed(Exception):
    """The server answered something else than success."""


class Language(Protocol):
    """How to ask, and how to count answers. One for each connection."""

    def greet(self, connection: socket.socket) -> None: ...

    def requests(self, count: int) -> bytes: ...

    def replies(self, data: bytes) -> int: ...


class Irer:
    """irer's frames. Ids rise; with `keyed`, every call carries an idempotency key of its own as the client library does."""

    def __init__(self, method: str, params: dict[str, Any], keyed: bool, place: int) -> None:
        call: dict[str, Any] = {"t": "call", "id": PLACEHOLDER_ID, "m": method}
        if params:
            call["p"] = params
        if keyed:
            call["idem"] = PLACEHOLDER_KEY
        frame = _frame(call)
        mark = b"\x1a" + PLACEHOLDER_ID.to_bytes(4, "big")
        self._head, _, self._tail = frame.partition(mark)
        self._head += b"\x1a"
        self._keyed = keyed
        self._place = place
        self._next = FIRST_ID
        self._rest = b""

    def greet(self, connection: socket.socket) -> None:
        connection.sendall(_frame({"t": "hello", "proto": [1], "client": "irer-bench/1"}))
        data = b""
        while len(data) < 7 or len(data) < 7 + int.from_bytes(data[3:7], "big"):
            data += _receive(connection)
        welcome = cbor2.loads(data[7:])
        if welcome.get("t") != "welcome" or welcome.get("state") != "ready":
            raise Failed(str(welcome))

    def requests(self, count: int) -> bytes:
        first, self._next = self._next, self._next + count
        head, tail = self._head, self._tail
        if self._keyed:
            key = PLACEHOLDER_KEY.encode()
            frames = (
                head + id.to_bytes(4, "big") + tail.replace(key, b"bench-%04x-%08x" % (self._place, id))
                for id in range(first, self._next)
            )
            return b"".join(frames)
        return b"".join([head + id.to_bytes(4, "big") + tail for id in range(first, self._next)])

    def replies(self, data: bytes) -> int:
        if self._rest:
            data = self._rest + data
        place = count = 0
        held = len(data)
        while place + 7 <= held:
            end = place + 7 + int.from_bytes(data[place + 3 : place + 7], "big")
            if end > held:
                break
            if data[place + 8 : place + 15] != b"\x61t\x64done":
                raise Failed(str(cbor2.loads(data[place + 7 : end])))
            count += 1
            place = end
        self._rest = data[place:]
        return count


class Http:
    """HTTP/1.1 keep-alive."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""

    def greet(self, connection: socket.socket) -> None:
        pass

    def requests(self, count: int) -> bytes:
        return self._request * count

    def replies(self, data: bytes) -> int:
        data = self._rest + data
        count = 0
        while (end := data.find(b"\r\n\r\n")) >= 0:
            if not data.startswith(b"HTTP/1.1 200"):
                raise Failed(data[:200].decode(errors="replace"))
            length = data.index(b"content-length: ") + 16
            end += 4 + int(data[length : data.index(b"\r\n", length)])
            if len(data) < end:
                break
            data = data[end:]
            count += 1
        self._rest = data
        return count


class Redis:
    """RESP: SET of one small key."""

    _REQUEST = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"
    _REPLY = b"+OK\r\n"

    def __init__(self) -> None:
        self._rest = b""

    def greet(self, connection: socket.socket) -> None:
        pass

    def requests(self, count: int) -> bytes:
        return self._REQUEST * count

    def replies(self, data: bytes) -> int:
        data = self._rest + data
        count, rest = divmod(len(data), len(self._REPLY))
        if data.count(self._REPLY) != count:
            raise Failed(data[:200].decode(errors="replace"))
        self._rest = data[len(data) - rest :]
        return count


def _frame(message: dict[str, Any]) -> bytes:
    body = cbor2.dumps(message)
    return b"\xd8\x18\x5a" + struct.pack(">I", len(body)) + body


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(RECEIVE_BYTES)
    if not data:
        raise Failed("the server closed the connection")
    return data


GET = b"GET /ping HTTP/1.1\r\nHost: bench\r\n\r\n"
POST = b"POST /rpc/system.ping HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
TASK = {"priority": "normal", "resource_type": "compute", "units": 1, "duration_s": 3600.0}
"""Holds its unit for longer than any run, so that what is measured is accepting tasks, not running them."""


CHECK = {"engine_id": "action", "platform": "gmail", "action_type": "send_email"}


def language(name: str, place: int) -> Language:
    if name == "irer-ping":
        return Irer("system.ping", {}, False, place)
    if name == "irer-submit":
        return Irer("resource.submit_task", TASK, False, place)
    if name == "irer-submit-keyed":
        return Irer("resource.submit_task", TASK, True, place)
    if name == "irer-check":
        return Irer("actions.check", CHECK, False, place)
    if name == "http-get":
        return Http(GET)
    if name == "http-post":
        return Http(POST)
    return Redis()


LANGUAGES = ("irer-ping", "irer-submit", "irer-submit-keyed", "irer-check", "http-get", "http-post", "redis-set")


def connect(path: str, spoken: Language) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(path)
    spoken.greet(connection)
    return connection


# --- the ways to load a server ----------------------------------------------------------------------------------------------


def ping_pong(connection: socket.socket, spoken: Language, seconds: float) -> list[int]:
    """One request in flight."""
    connection.setblocking(True)  # a socket with a time limit costs a second system call for each operation
    clock = time.perf_counter_ns
    send, receive, requests, replies = connection.sendall, connection.recv, spoken.requests, spoken.replies
    latencies: list[int] = []
    began = clock()
    until = began + int(seconds * 1e9)
    while began < until:
        send(requests(1))
        while not replies(receive(RECEIVE_BYTES) or _closed()):
            pass
        ended = clock()
        latencies.append(ended - began)
        began = ended
    return latencies


def _closed() -> bytes:
    raise Failed("the server closed the connection")


def windows(connections: dict[socket.socket, Language], window: int, seconds: float) -> int:
    """On each connection `window` requests in flight: as many new ones go out as replies came in."""
    selector = selectors.DefaultSelector()
    for connection, spoken in connections.items():
        connection.setblocking(True)
        selector.register(connection, selectors.EVENT_READ, spoken)
    flying = 0
    for connection, spoken in connections.items():
        connection.sendall(spoken.requests(window))
        flying += window
    until = time.perf_counter() + seconds
    done = 0
    while flying:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]
            count = key.data.replies(_receive(connection))
            done += count
            flying -= count
            if time.perf_counter() < until:
                flying += count
                connection.sendall(key.data.requests(count))
    selector.close()
    return done


def window_of_one(connection: socket.socket, spoken: Language, window: int, seconds: float) -> int:
    """The same on a single connection, without a selector."""
    connection.setblocking(True)
    connection.sendall(spoken.requests(window))
    flying, done = window, 0
    until = time.perf_counter() + seconds
    while flying:
        count = spoken.replies(_receive(connection))
        done += count
        flying -= count
        if time.perf_counter() < until:
            flying += count
            connection.sendall(spoken.requests(count))
    return done


def background(connection: socket.socket, spoken: Language, rate: float, seconds: float) -> dict[str, float]:
    """An even load that waits for nobody: what is due is sent, whatever has been answered."""
    connection.setblocking(False)
    began = time.perf_counter()
    sent = answered = 0
    while (elapsed := time.perf_counter() - began) < seconds:
        due = int(elapsed * rate) - sent
        if due:
            sent += due
            connection.send(spoken.requests(due))
        try:
            answered += spoken.replies(_receive(connection))
        except BlockingIOError:
            pass
        time.sleep(max(0.0, (sent + 1) / rate - (time.perf_counter() - began)))
    return {"rate": round(answered / (time.perf_counter() - began), 1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=["ping-pong", "windows", "background"])
    parser.add_argument("language", choices=LANGUAGES)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--warmup", type=float, default=0.25)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--server", type=int, default=0, help="its process id, to measure its processor time")
    parser.add_argument("--profile", action="store_true", help="tell the server when the measured stretch begins and ends")
    options = parser.parse_args()
    spoken = {}
    for place in range(options.connections):
        words = language(options.language, place)
        spoken[connect(options.socket, words)] = words
    connection, words = next(iter(spoken.items()))
    if options.how == "background":
        print("going", flush=True)
        print(json.dumps(background(connection, words, options.rate, options.seconds)))
        return

    def load(seconds: float) -> tuple[int, list[int]]:
        if options.how == "ping-pong":
            latencies = ping_pong(connection, words, seconds)
            return len(latencies), latencies
        if len(spoken) == 1:
            return window_of_one(connection, words, options.window, seconds), []
        return windows(spoken, options.window, seconds), []

    load(options.warmup)
    if options.profile:
        os.kill(options.server, signal.SIGUSR1)
    measured = Measured(options.server)
    measured.end(*load(options.seconds))
    if options.profile:
        os.kill(options.server, signal.SIGUSR2)
    print(json.dumps(summary(measured)))


if __name__ == "__main__":
    try:
        main()
    except (Failed, OSError) as error:
        sys.exit(f"benchmarks/client.py: {error}")
