"""A daemon's end of a real Unix socket for the tests of irerctl: real frames, answers from a table.

Knows nothing of engines. What it was asked is in `calls`, which call was cancelled in `cancelled`.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.engine import Refused
from core.wire import calls, errors

RECEIPT = {"log": "engine_state", "seq": 7, "event_hash": "ab" * 32}
LIMITS = {"frame": 1_114_112, "calls": 64, "streams": 64}


@dataclass
class Written:
    """The answer to a write: its first event, and the receipt."""

    event: dict[str, Any]
    receipt: dict[str, Any] = field(default_factory=lambda: dict(RECEIPT))


@dataclass
class Stream:
    """Items with their cursors, then a result; or, when `endless`, nothing more until somebody cancels."""

    items: Sequence[Any]
    result: Any = None
    endless: bool = False


Answers = Mapping[str, Any | Callable[[dict[str, Any]], Any]]


class Peer:
    def __init__(self, path: Path, answers: Answers, schema: str = "0" * 64) -> None:
        self.path = path
        self.answers = answers
        self.schema = schema
        self.calls: list[calls.Call] = []
        self.cancelled: list[int] = []
        self.asked = threading.Event()
        """Set by the first call."""
        self.quiet = threading.Event()
        """Set once a call was cancelled."""
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listener.accept()
                self._open.append(connected)
                threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        connection = calls.ServerConnection()
        with contextlib.suppress(OSError), connected:
            while data := connected.recv(65_536):
                for message in connection.receive(data):
                    connected.sendall(b"".join(self._answer(connection, message)))

    def _answer(self, connection: calls.ServerConnection, message: calls.Received) -> Iterator[bytes]:
        match message:
            case calls.Hello():
                connection.frame_max = LIMITS["frame"]
                yield self._welcome()
            case calls.Cancel():
                self.cancelled.append(message.id)
                yield calls.err(message.id, errors.make("cancelled", "cancelled by the caller"))
                self.quiet.set()
            case calls.Call():
                self.calls.append(message)
                yield from self._reply(message)
                self.asked.set()
            case calls.BadCall():
                yield calls.err(message.id, message.error)
            case calls.Violation():
                yield message.reply

    def _welcome(self) -> bytes:
        peer = {"uid": os.getuid(), "gid": os.getgid(), "role": "admin"}
        return calls.welcome(
            server="irerd/0.1.0", instance="0" * 32, boot=1, limits=LIMITS, schema=self.schema, peer=peer, state="ready"
        )

    def _reply(self, call: calls.Call) -> Iterator[bytes]:
        answer = self.answers.get(call.m, Refused("not-found", f"unknown method {call.m}. All: irerctl api ls"))
        try:
            found = answer(call.p) if callable(answer) else answer
            if isinstance(found, Refused):
                raise found
        except Refused as refused:
            yield calls.err(call.id, errors.body(refused))
            return
        match found:
            case Stream():
                for n, each in enumerate(found.items):
                    yield calls.item(call.id, n, each, f"w1.{n}")
                if not found.endless:
                    yield calls.done(call.id, found.result)
            case Written() if call.dry:
                yield calls.done(call.id, {"events": [{"type": "thing.happened", "data": found.event}]})
            case Written():
                yield calls.done(call.id, found.event, found.receipt)
            case _:
                yield calls.done(call.id, found)
