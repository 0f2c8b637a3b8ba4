"""A daemon in miniature on a real socket, made of `ServerConnection`: it remembers keys and events over its own restarts.

A plan says what goes wrong, by the number of the call: so a test meets a lost reply or a restart at a known place.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.wire import calls
from core.wire.calls import BadCall, Bye, Call, Cancel, Hello, ServerConnection, Violation
from core.wire.errors import make
from core.wire.frames import FRAME_MAX

LIMITS = {"frame": FRAME_MAX, "calls": 64}
CALLS_MAX = 3000


class SmallServer:
    """What goes wrong at a call: `lose` does it and closes without a reply, `bye` answers with a bye before, `close` ends
    the connection after its reply, `refuse` says unavailable, `vanish` is `lose` and the socket is gone until `appear`."""

    def __init__(self, path: Path, plan: Mapping[int, str] | None = None, limits: Mapping[str, int] | None = None) -> None:
        self.path = path
        self.limits = {**LIMITS, **(limits or {})}
        self.written: list[Mapping[str, Any]] = []
        """Params of every write, in the order it was done."""
        self.seen: list[Call] = []
        self.late: list[Call] = []
        """Calls that came after a bye on the same connection, though no other was in flight."""
        self.cancelled: list[str] = []
        self.greeted = 0
        self._plan = dict(plan or {})
        self._replies: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._events = [{"type": "pool.scaled", "size": size} for size in range(1, 7)]
        self._lock = threading.RLock()
        self._peers: list[_Peer] = []
        self._listener: socket.socket | None = None
        self.appear()

    def __enter__(self) -> "SmallServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()

    def appear(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def vanish(self) -> None:
        """No socket, no connections; what was written is remembered."""
        with self._lock:
            listener, self._listener = self._listener, None
            peers, self._peers = self._peers, []
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self.path.unlink()
        for peer in peers:
            peer.close()

    def say_bye(self, why: calls.Why, e: dict[str, Any] | None = None) -> None:
        with self._lock:
            for peer in self._peers:
                peer.leaving = True
                peer.send(calls.bye(why, e=e))
                peer.flush()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                peer = _Peer(self, sock)
                with self._lock:
                    self._peers.append(peer)
                threading.Thread(target=peer.run, daemon=True).start()

    # --- what it does ---------------------------------------------------------------------------------------------------

    def handle(self, peer: "_Peer", call: Call) -> None:
        with self._lock:
            self.seen.append(call)
            fault = self._plan.get(len(self.seen))
        if len(self.seen) > CALLS_MAX:
            peer.send(calls.err(call.id, make("internal", "a client that asks for ever")))
            return
        if peer.leaving and not peer.open:
            self.late.append(call)
        if fault == "refuse":
            peer.send(calls.err(call.id, make("unavailable", "recovering", retry_ms=60)))
            return
        if peer.leaving:
            peer.send(calls.err(call.id, make("unavailable", "irerd is stopping")))
            return
        if fault == "bye":
            peer.leaving = True
            peer.send(calls.bye("shutdown", 10_000))
        answer = self._answer(peer, call)
        if fault == "lose":
            peer.close()
        elif fault == "vanish":
            self.vanish()
        if fault in ("lose", "vanish"):
            return
        peer.send(answer)
        if fault == "close":
            peer.close()

    def _answer(self, peer: "_Peer", call: Call) -> bytes:
        match call.m:
            case "system.ping":
                return calls.done(call.id, call.p)
            case "resource.scale":
                return self._scale(call)
            case "system.watch":
                return self._watch(call)
            case "audit.hashchain":
                items = [calls.item(call.id, n, {"records": n}) for n in range(3)]
                return b"".join(items) + calls.done(call.id, {"ok": True})
            case "test.hang":
                peer.open[call.id] = call.m
                return b""
            case "test.deaf":
                return b""
            case "test.large":
                return calls.done(call.id, {"x": "x" * 100_000})
        return calls.err(call.id, make("not-found", f"unknown method {call.m}", data={"nearest": ["system.ping"]}))

    def _scale(self, call: Call) -> bytes:
        if call.p.get("size", 0) > 64:
            return calls.err(call.id, make("out-of-range", "compute: 99 is outside 1..64", help="ask for less"))
        with self._lock:
            replayed = call.idem in self._replies
            if not replayed and not call.dry:
                self.written.append(call.p)
                receipt = {"log": "engine_state", "seq": len(self.written), "event_hash": "0" * 64}
                reply = ({"pool": call.p.get("pool"), "to_units": call.p.get("size")}, receipt)
                self._replies[call.idem or ""] = reply
            elif call.dry:
                return calls.done(call.id, {"events": [{"type": "pool.scaled"}]})
            else:
                reply = self._replies[call.idem or ""]
        return calls.done(call.id, reply[0], reply[1], f"c{reply[1]['seq']}", replayed)

    def _watch(self, call: Call) -> bytes:
        """Two events at a time, then as if the daemon stopped; at the end of them all, the end."""
        start = int(call.p.get("since", "c0")[1:])
        some = self._events[start : start + 2]
        items = [calls.item(call.id, n, event, f"c{start + n + 1}") for n, event in enumerate(some)]
        if some:
            end = calls.mark(call.id, f"c{start + len(some)}") + calls.err(call.id, make("unavailable", "irerd is stopping"))
        else:
            end = calls.done(call.id, {"seen": start})
        return b"".join(items) + end


class _Peer:
    def __init__(self, server: SmallServer, sock: socket.socket) -> None:
        self.leaving = False
        self.open: dict[int, str] = {}
        self._server = server
        self._sock = sock
        self._connection = ServerConnection()
        self._sending = threading.Lock()
        self._out = b""

    def send(self, data: bytes) -> None:
        self._out += data

    def flush(self) -> None:
        with self._sending:
            data, self._out = self._out, b""
            with contextlib.suppress(OSError):
                self._sock.sendall(data)

    def close(self) -> None:
        self.flush()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        with self._sock, contextlib.suppress(OSError):
            while data := self._sock.recv(65_536):
                for message in self._connection.receive(data):
                    self._take(message)
                self.flush()

    def _take(self, message: Any) -> None:
        match message:
            case Hello():
                self._connection.frame_max = self._server.limits["frame"]
                self._server.greeted += 1
                self.send(welcome(self._server.limits))
            case Call():
                self._server.handle(self, message)
            case BadCall():
                self.send(calls.err(message.id, message.error))
            case Cancel() if message.id in self.open:
                self._server.cancelled.append(self.open.pop(message.id))
                self.send(calls.err(message.id, make("cancelled")))
            case Violation():
                self.send(message.reply)
                self.close()
            case Bye() | Cancel():
                pass


def welcome(limits: Mapping[str, int]) -> bytes:
    return calls.welcome(
        server="irerd/0.0.test",
        instance="00000000-0000-0000-0000-000000000000",
        boot=1,
        limits=limits,
        schema="0" * 64,
        peer={"uid": os.getuid(), "gid": os.getgid(), "role": "admin"},
        state="ready",
    )
