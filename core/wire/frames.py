"""Cuts a byte stream into frames: `D8 18 5A`, a big-endian u32 length, one CBOR body.

That is CBOR tag 24 around a byte string, so any CBOR tool reads a capture. Never buffers a byte of a body before its
header has been found good: a stranger is known by its first wrong byte, a giant by its length.
"""

from struct import Struct

MAGIC = b"\xd8\x18\x5a"
HEADER_LEN = 7
FRAME_MAX = 1024 * 1024 + 64 * 1024
"""The longest body anybody may send: 1 MiB of content and room for what stands around it."""


_header = Struct(">3sI").unpack_from


class FrameError(Exception):
    """The stream cannot be followed any further. `kind` is `magic` or `size`; `bodies` are the frames whole before it."""

    def __init__(self, kind: str, detail: str, bodies: list[bytes]) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.bodies = bodies


def frame(body: bytes) -> bytes:
    return MAGIC + len(body).to_bytes(4, "big") + body


class Frames:
    """Bytes in, whole bodies out. `frame_max` bounds a body and may change at any time; `first_max` bounds the first one."""

    def __init__(self, frame_max: int = FRAME_MAX, first_max: int | None = None) -> None:
        self.frame_max = frame_max
        self._first_max = first_max
        self._buffer = bytearray()
        self._needed = 1
        """Bytes the buffer must hold before there is anything new to see: a large body is not looked at chunk by chunk."""

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are whole now. Raises FrameError at the first bad header; nothing may be fed after that."""
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            source = self._buffer
        bodies: list[bytes] = []
        start, held = 0, len(source)
        while start < held:
            body = start + HEADER_LEN
            if body > held:
                self._check_partial(source[start:held], bodies)
                self._needed = held - start + 1
                break
            magic, size = _header(source, start)
            if magic != MAGIC:
                self._check_partial(source[start:body], bodies)
            limit = self.frame_max if self._first_max is None else self._first_max
            if size > limit:
                raise FrameError("size", f"a frame of {size} bytes is over the limit of {limit}", bodies)
            end = body + size
            if end > held:
                self._needed = end - start
                break
            bodies.append(source[body:end] if source is data else bytes(source[body:end]))
            self._first_max = None
            start = end
        if source is data:
            if start < held:
                self._buffer += data[start:]
        else:
            del self._buffer[:start]
        return bodies

    @staticmethod
    def _check_partial(head: bytes | bytearray, bodies: list[bytes]) -> None:
        if head[:3] != MAGIC[: len(head)]:
            raise FrameError("magic", "these bytes are not a frame of irer, which begins with d8 18 5a", bodies)
