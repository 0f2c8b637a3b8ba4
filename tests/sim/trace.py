"""Everything that happens in a universe, in order: hashed, so that two runs can be compared, and the end of it kept for people."""

from collections import deque
from hashlib import blake2b

import trio

LAST = 30


class Trace:
    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._last: deque[tuple[float, str]] = deque(maxlen=LAST)
        self.events = 0

    def note(self, what: str, data: bytes = b"") -> None:
        """One event: when it was, what it was, and the bytes that went along."""
        now = trio.current_time()
        self._hash.update(f"{now!r} {what} {len(data)}\n".encode())
        self._hash.update(data)
        self.events += 1

    def operation(self, what: str) -> None:
        """An event worth showing when a seed fails."""
        self.note(what)
        self._last.append((trio.current_time(), what))

    def digest(self) -> str:
        return self._hash.hexdigest()

    def last(self) -> list[str]:
        return [f"{at:11.6f}  {what}" for at, what in self._last]
