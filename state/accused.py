"""What a witness said against a log, kept until that same witness cosigns the log again, or the log goes on under another name.

A witness that has seen more of a log than there is ends the writing there, and it must stay so where the next start cannot ask.
So this lies beside the log, and once more outside of the state directory, for whoever puts an old directory back takes away what
lies in it. It is evidence and no lock: whoever has the daemon's uid can delete both, and then only the witness knows.
"""

import errno
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256

import msgspec

from core.canonical import CanonicalError, decode, encode
from core.notes import Key
from state.fs import NO_SPACE, Files, make_directory, read_all, small_write, sync_directory
from state.ledger import BadLedger, NewerFormat, read_ledger
from state.log import durable, head_directory
from state.seal import BadLine, sealed_line, unsealed

DAMAGED = "what a witness said against it, at an earlier start, is damaged and cannot be read"


class Accusation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One log that a witness knows otherwise."""

    log: str
    origin: str
    """The log's name when that was said. Under another it is another history, and openly so."""
    seq: int
    """From which record on it may be another."""
    vkey: str
    """Of the witness. Empty where that cannot be read any more: then any witness that is trusted may clear it."""
    why: str


class Accusations:
    def __init__(self, files: Files, aside: Files | None) -> None:
        """`aside` is a directory that no restore of the state directory touches; None where there is none to be had."""
        self._files = files
        self._aside = aside

    def keep(self, said: Accusation) -> bool:
        """False where no disk has room for it. Blocks, as all of this does."""
        data = sealed_line(encode(msgspec.structs.asdict(said)))
        kept = False
        with suppress(OSError):  # a cache may be emptied at any time: that costs this copy and nothing else
            kept = self._aside is not None and _written(self._aside, outside(said.origin), data)
        with durable(said.log):
            make_directory(self._files, "log.d")
            make_directory(self._files, head_directory(said.log))
            return _written(self._files, beside(said.log), data) or kept

    def of(self, log: str, origin: str) -> Accusation | None:
        """What is kept against the log of this name."""
        found = _read(self._files, beside(log), log, origin)
        if found is None and self._aside is not None:
            try:
                found = _read(self._aside, outside(origin), log, origin)
            except OSError:  # something stands there, and what was said cannot be read
                found = Accusation(log, origin, 0, "", DAMAGED)
        return found

    def drop(self, log: str, origin: str) -> bool:
        """That witness cosigned it again. False where the copy outside cannot be deleted."""
        with durable(log):
            _gone(self._files, beside(log), head_directory(log))
        try:
            if self._aside is not None:
                _gone(self._aside, outside(origin), ".")
        except OSError:
            return False
        return True


def accused_by(files: Files, log: str, keys: Sequence[Key]) -> str | None:
    """What lies beside a log that nobody holds, if one of these witnesses said it."""
    try:
        ledger = read_ledger(files)
    except (BadLedger, NewerFormat):
        return None
    origin = ledger.logs.get(log) if ledger is not None else None
    found = _read(files, beside(log), log, origin) if origin is not None else None
    return found.why if found is not None and (not found.vkey or found.vkey in {key.text() for key in keys}) else None


def beside(log: str) -> str:
    return f"{head_directory(log)}/accused"


def outside(origin: str) -> str:
    """An origin may be no file name."""
    return f"accused-{sha256(origin.encode()).hexdigest()[:32]}"


def _written(files: Files, path: str, data: bytes) -> bool:
    try:
        small_write(files, path, data)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        return False
    return True


def _read(files: Files, path: str, log: str, origin: str) -> Accusation | None:
    try:
        raw = read_all(files, path)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raw = b""
    if raw is None:
        return None
    try:
        found = msgspec.convert(decode(unsealed(raw)), Accusation, strict=True)
    except (BadLine, CanonicalError, msgspec.ValidationError):
        return Accusation(log, origin, 0, "", DAMAGED)
    return found if (found.log, found.origin) == (log, origin) else None


def _gone(files: Files, path: str, directory: str) -> None:
    if files.stat_path(path) is not None:
        files.unlink(path)
        sync_directory(files, directory)
