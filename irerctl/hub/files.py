"""The files of the Control Hub page, read once at the start: a request names one of them or nothing, so no path leads elsewhere."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from irerctl.hub.http1 import Head
from irerctl.hub.server import Response

FOLDER = Path(__file__).parent / "page"
GZIP_BYTES_MIN = 512
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What may be served; anything else in the folder is not."""


@dataclass(frozen=True, slots=True)
class File:
    """One file, plain and packed."""

    kind: str
    data: bytes
    packed: bytes | None
    tag: str

    def response(self, head: Head) -> Response:
        headers = [("ETag", self.tag), ("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding")]
        if self.tag in [each.strip() for each in head.headers.get("if-none-match", "").split(",")]:
            return Response(304, headers)
        headers.append(("Content-Type", self.kind))
        if self.packed is not None and "gzip" in head.headers.get("accept-encoding", ""):
            return Response(200, [*headers, ("Content-Encoding", "gzip")], self.packed)
        return Response(200, headers, self.data)


class Files:
    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: dict[str, File] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (kind := TYPES.get(path.suffix)) is not None:
                self._files["/" + path.relative_to(folder).as_posix()] = _file(path.read_bytes(), kind)
        if (index := self._files.get("/index.html")) is not None:
            self._files["/"] = index

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def get(self, path: str) -> File | None:
        return self._files.get(path)


def _file(data: bytes, kind: str) -> File:
    packed = gzip.compress(data, mtime=0) if len(data) >= GZIP_BYTES_MIN else None
    if packed is not None and len(packed) >= len(data):
        packed = None
    return File(kind, data, packed, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
