"""What a witness knows, on disk: its key, the logs that its operator trusts, and of each the checkpoint it cosigned last.

Looking, judging and keeping are one step under one lock, also between the server and somebody at a terminal. Nothing is signed
before what it says is on disk, and a file that cannot be read is a fault and never a log that is seen for the first time.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

import msgspec

from core.canonical import CanonicalError, decode, encode
from core.notes import COSIGNER, KEY_BYTES, BadNote, Key, cosignature, is_name, key_from, public_key
from core.witness import BAD, CONFLICT, COSIGNED, SIZE_TYPE, BadRequest, Seen, judge, read_request
from state.fs import Files, make_directory, read_all, small_write
from state.log import durable
from state.seal import BadLine, sealed_line, unsealed

KEY, LOCK, LOGS = "key", "LOCK", "logs"
TURN_S = 5.0
"""How long one waits for another's turn, which is a few milliseconds."""
PAUSE_S = 0.002
LOGS_MAX = 1_024
TEXT, LINES = "text/plain; charset=utf-8", "text/x.tlog.signatures"


class BadBook(Exception):
    """A file of the witness is not what it wrote; the text says which and what to do."""


class Busy(Exception):
    """Somebody else's turn does not end."""


class Known(msgspec.Struct, forbid_unknown_fields=True):
    """One log: its verifier key, and what was cosigned last."""

    root: str
    size: int
    time: int
    vkey: str


class Answer(NamedTuple):
    status: int
    kind: str
    body: str


class Book:
    def __init__(self, files: Files, now_s: Callable[[], int]) -> None:
        self._files = files
        self._now_s = now_s

    # --- the key ------------------------------------------------------------------------------------------------------

    def make_key(self, secret: bytes, name: str | None = None) -> Key:
        """Once, at the first start, behind the directory for logs: a crash between the two leaves one that holds nothing. Later the
        key that there is."""
        with self._turn():
            if self._files.stat_path(KEY) is None:
                if self._files.stat_path(LOGS) is not None and self._files.list(LOGS):
                    raise BadBook(f"{KEY} is missing, and logs were cosigned with it. Restore it; it is never made anew")
                called = name or f"irer.invalid/witness/{sha256(public_key(secret)).hexdigest()[:16]}"
                if not is_name(called):
                    raise BadBook(f"{called!r} cannot be the name of a key: no spaces and no +, at most 255 characters")
                with durable(KEY):
                    make_directory(self._files, LOGS)
                    small_write(self._files, KEY, secret + called.encode())
            key = self._key()[0]
            if name not in (None, key.name):
                raise BadBook(f"the key is there already, and its name is {key.name}: a name never changes. Leave --name out")
            return key

    def key(self) -> Key:
        return self._key()[0]

    def _key(self) -> tuple[Key, bytes]:
        raw = read_all(self._files, KEY)
        if raw is None:
            raise BadBook(f"there is no {KEY} yet. Make one with: irer-witness key")
        secret, name = raw[:KEY_BYTES], raw[KEY_BYTES:].decode(errors="replace")
        if not is_name(name):
            raise BadBook(f"{KEY} is damaged. Restore it; it is never made anew")
        return Key(name, public_key(secret), COSIGNER), secret

    # --- the logs -----------------------------------------------------------------------------------------------------

    def add(self, vkey: str) -> bool:
        """Trust a log; False where it was trusted already. Raises BadNote, and BadBook where its key would be another."""
        key = key_from(vkey)
        with self._turn():
            known = self._known(key.name)
            if known is not None:
                if known.vkey != key.text():
                    raise BadBook(f"{key.name} is known with another key. One log has one key for ever: is this the same log?")
                return False
            if len(self._files.list(LOGS)) >= LOGS_MAX:
                raise BadBook(f"{LOGS_MAX:,} logs are known already, and that is the limit")
            seen = Seen()
            self._keep(key.name, Known(seen.root.hex(), seen.size, 0, key.text()))
            return True

    def logs(self) -> dict[str, Known]:
        """By origin."""
        found = [self._read(f"{LOGS}/{each}") for each in self._files.list(LOGS) if not each.endswith(".tmp")]
        return {key_from(known.vkey).name: known for known in found if known is not None}

    def _known(self, origin: str) -> Known | None:
        known = self._read(_path(origin))
        if known is not None and key_from(known.vkey).name != origin:
            raise BadBook(f"{_path(origin)} is of another log. Restore it")
        return known

    def _read(self, path: str) -> Known | None:
        raw = read_all(self._files, path)
        if raw is None:
            return None
        try:
            known = msgspec.convert(decode(unsealed(raw)), Known, strict=True)
            if len(bytes.fromhex(known.root)) == KEY_BYTES and key_from(known.vkey) and known.size >= 0:
                return known
        except (BadLine, CanonicalError, msgspec.ValidationError, BadNote, ValueError):
            pass
        raise BadBook(f"{path} is damaged. Restore it from a backup: without it this log's past is not known")

    def _keep(self, origin: str, known: Known) -> None:
        with durable(_path(origin)):
            small_write(self._files, _path(origin), sealed_line(encode(msgspec.structs.asdict(known))))

    # --- cosigning ----------------------------------------------------------------------------------------------------

    def answer(self, text: str) -> Answer:
        """What an `add-checkpoint` is answered. Raises BadBook, Busy, Full, and SyncFailed, after which nobody may go on."""
        try:
            request = read_request(text)
        except BadRequest as bad:
            return Answer(BAD, TEXT, f"{bad.why}\n")
        at = request.note.checkpoint
        with self._turn():
            known = self._known(at.origin)
            seen = Seen(known.size, bytes.fromhex(known.root)) if known is not None else Seen()
            status, why = judge(request, [key_from(known.vkey)] if known is not None else [], seen)
            if status == CONFLICT:
                return Answer(status, SIZE_TYPE, f"{seen.size}\n")
            if status != COSIGNED or known is None:
                return Answer(status, TEXT, f"{why}\n")
            key, secret = self._key()
            now_s = max(self._now_s(), known.time)
            self._keep(at.origin, Known(at.root.hex(), at.size, now_s, known.vkey))
        return Answer(COSIGNED, LINES, cosignature(at, key.name, secret, now_s).line())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One at a time, in whatever process."""
        fd = self._files.open(LOCK, os.O_RDWR | os.O_CREAT)
        try:
            until = time.monotonic() + TURN_S
            while not self._files.lock(fd):
                if time.monotonic() > until:
                    raise Busy(f"another irer-witness has held the directory for {TURN_S:.0f} s. Try again")
                time.sleep(PAUSE_S)
            yield
        finally:
            self._files.close(fd)


def _path(origin: str) -> str:
    """An origin may be no file name."""
    return f"{LOGS}/{sha256(origin.encode()).hexdigest()[:32]}"
