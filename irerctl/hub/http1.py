"""HTTP/1.1 as the hub takes it, sans-IO: bytes of a request in, a head and a body out, or the refusal with its status.

Stricter than the standard wherever two readers of the same bytes might disagree: a bare LF, a folded header, a space before a
colon, a length said twice or in two ways, a chunk extension and a trailer are refused, never repaired. It must never accept a
request whose end is in doubt, for what follows would be read as the next one.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

HEAD_END = b"\r\n\r\n"
TARGET_BYTES_MAX = 8_192
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/([0-9])\.([0-9])\r\n")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)\r\n")
_LENGTH = re.compile(r"[0-9]{1,15}\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_CHUNK_LINE_MAX = 10
_LISTS = frozenset(
    "accept accept-charset accept-encoding accept-language cache-control connection cookie forwarded pragma te via "
    "x-forwarded-for sec-websocket-extensions sec-websocket-protocol".split()
)
"""Headers that may stand more than once, for their values are lists. Any other that does is refused: which one would count?"""
PHRASES = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}


class Bad(Exception):
    """These bytes are not a request that is carried out. The connection ends after the answer: its next byte is in doubt."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Head(NamedTuple):
    """The head of one request. Names of headers are in small letters; `length` is None where the body comes in chunks."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    length: int | None
    keep_alive: bool


def parse_head(raw: bytes, headers_max: int = 100) -> Head:
    """The head of a request. `raw` ends with the empty line. Raises Bad."""
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise Bad(400, "the request line is not one of HTTP/1.1")
    method, target, major, minor = line.groups()
    if (major, minor) != (b"1", b"1"):
        raise Bad(505, "this server speaks HTTP/1.1 only")
    if len(target) > TARGET_BYTES_MAX:
        raise Bad(414, f"a target has at most {TARGET_BYTES_MAX} bytes")
    if target[:1] != b"/" or b"#" in target:
        raise Bad(400, "a target is a path, such as /rpc/system.ping")
    headers = _headers(raw, line.end(), headers_max)
    if not headers.get("host"):
        raise Bad(400, "a request names one Host")
    path, _, query = target.decode("ascii").partition("?")
    return Head(method.decode("ascii"), path, query, headers, _length(headers), _keeps(headers))


def _headers(raw: bytes, place: int, headers_max: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    end, count = len(raw) - 2, 0
    match = _HEADER.match
    while place < end:
        found = match(raw, place)
        if found is None:
            raise Bad(400, "a header is not NAME: VALUE on one line that ends with CR LF")
        count += 1
        if count > headers_max:
            raise Bad(431, f"a request has at most {headers_max} headers")
        name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1").strip(" \t")
        if name in headers:
            if name not in _LISTS:
                raise Bad(400, f"the header {name[:40]} stands twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
        place = found.end()
    return headers


def _length(headers: Mapping[str, str]) -> int | None:
    """How the end of the body is known. It is never known in two ways."""
    coding, said = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if said is not None:
            raise Bad(400, "a length and a transfer coding contradict each other")
        if coding.lower() != "chunked":
            raise Bad(501, "the only transfer coding taken here is chunked")
        return None
    if said is None:
        return 0
    if not _LENGTH.match(said):
        raise Bad(400, "Content-Length is one number")
    return int(said)


def _keeps(headers: Mapping[str, str]) -> bool:
    said = headers.get("connection")
    return said is None or "close" not in [word.strip().lower() for word in said.split(",")]


class Chunks:
    """A body that comes in chunks. `feed` takes from the front of a buffer what belongs to the body."""

    def __init__(self, bytes_max: int) -> None:
        self.data = bytearray()
        self._bytes_max = bytes_max
        self._left = -1
        """Bytes that are missing of the present chunk with its line end; -1 where its size comes next, -2 behind the last one."""

    def feed(self, buffer: bytearray) -> bool:
        """Whether the body is whole now. Raises Bad; a giant is refused by the size it announces."""
        while buffer:
            if self._left == -2:
                return self._ended(buffer)
            if self._left == -1 and not self._size(buffer):
                return False
            if self._left > 0 and not self._chunk(buffer):
                return False
        return False

    def _size(self, buffer: bytearray) -> bool:
        found = _CHUNK_SIZE.match(buffer)
        if found is None:
            if len(buffer) >= _CHUNK_LINE_MAX or b"\n" in buffer or not re.match(rb"[0-9A-Fa-f]{1,8}\r?\Z", buffer):
                raise Bad(400, "a chunk begins with its size in hexadecimal digits and nothing else")
            return False
        size = int(found[1], 16)
        if len(self.data) + size > self._bytes_max:
            raise Bad(413, f"a body has at most {self._bytes_max} bytes")
        del buffer[: found.end()]
        self._left = size + 2 if size else -2
        return True

    def _chunk(self, buffer: bytearray) -> bool:
        taken = bytes(buffer[: self._left])
        self.data += taken
        self._left -= len(taken)
        del buffer[: len(taken)]
        if self._left:
            return False
        if self.data[-2:] != b"\r\n":
            raise Bad(400, "a chunk is longer than it said")
        del self.data[-2:]
        self._left = -1
        return True

    def _ended(self, buffer: bytearray) -> bool:
        if not b"\r\n".startswith(bytes(buffer[:2])):
            raise Bad(400, "a body has no trailers here")
        if len(buffer) < 2:
            return False
        del buffer[:2]
        return True


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as they are sent, for `response_head` to put behind others."""
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers)


def response_head(status: int, headers: list[tuple[str, str]], fixed: bytes = b"") -> bytes:
    """The head of an answer. A line end in a value would begin another header, so there is none. `fixed` are lines already."""
    lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}"]
    for name, value in headers:
        if "\r" in value or "\n" in value:
            value = value.replace("\r", " ").replace("\n", " ")
        lines.append(f"{name}: {value}")
    lines.append("")
    return b"%b%b\r\n" % ("\r\n".join(lines).encode("latin-1", "replace"), fixed)
