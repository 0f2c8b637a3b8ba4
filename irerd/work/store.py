"""The files of runs, as a worker meets them: it writes to the name it is given and to no other, and reads what it is shown.

Which name a file has in the end, and whether it may have it, is for the daemon to say.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from irerd.worker import JobFailed
from kernels.artefact import Artefact, BadArtefact, read, write

PIECE_BYTES = 1 << 20


class Written(NamedTuple):
    sha256: str
    size: int


class Found(NamedTuple):
    artefact: Artefact
    sha256: str


def put(path: str, artefact: Artefact) -> Written:
    """A new file, whole and on the medium before this returns."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w+b") as file:
            write(file, artefact)
            file.flush()
            os.fsync(descriptor)
            return Written(_sha256(descriptor), os.fstat(descriptor).st_size)
    except OSError:
        raise JobFailed("no-file") from None


def get(path: str) -> Found:
    """A stored run, and the hash of the very bytes that it was read from."""
    try:
        with Path(path).open("rb") as file:
            sha256 = _sha256(file.fileno())
            return Found(read(file), sha256)
    except OSError:
        raise JobFailed("no-artefact") from None
    except BadArtefact:
        raise JobFailed("bad-artefact") from None


def _sha256(descriptor: int) -> str:
    digest = hashlib.sha256()
    at = 0
    while piece := os.pread(descriptor, PIECE_BYTES, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()
