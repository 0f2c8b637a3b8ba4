"""A raw connection for tests that say what no client library would say."""

import socket
from pathlib import Path
from typing import Any

from core.wire.calls import Bye, ClientConnection, Done, Err, Item, Mark, Welcome
from core.wire.codec import encode

PATIENCE_S = 20.0


class Raw:
    """Bytes out, messages in. Waiting has an end, so a daemon that hangs fails the test."""

    def __init__(self, path: Path, hello: bool = True) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(path))
        self.connection = ClientConnection()
        self.messages: list[Any] = []
        if hello:
            self.send(self.connection.hello("test"))
            assert isinstance(self.next(), Welcome)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def say(self, message: dict[str, Any]) -> None:
        self.send(encode(message))

    def call(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> int:
        id, data = self.connection.call(method, params, **more)
        self.send(data)
        return id

    def next(self) -> Any:
        """The next message, whatever it is."""
        while not self.messages:
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError
            self.messages += self.connection.receive(data)
        return self.messages.pop(0)

    def end_of(self, id: int) -> Done | Err:
        """The terminal frame of this call; items and marks before it are passed over."""
        while True:
            message = self.next()
            if isinstance(message, Bye):
                raise AssertionError(f"bye {message.why}: {message.e}")
            if not isinstance(message, Item | Mark) and message.id == id:
                return message

    def ask(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> Done | Err:
        return self.end_of(self.call(method, params, **more))

    def until_closed(self) -> bytes:
        """All that still comes, to the end of the stream."""
        found = b""
        while True:
            try:
                data = self.sock.recv(65_536)
            except ConnectionResetError:
                return found
            if not data:
                return found
            found += data

    def close(self) -> None:
        self.sock.close()
