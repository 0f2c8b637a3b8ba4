"""The state directory's own facts: who holds it, which ledger it is, the logs ever made, and the key of all pseudonyms.

A damaged or missing key is never made anew: every digest and pseudonym ever written stands on it. What is unclear is refused
with a name, not repaired.
"""

import os
import re
from collections.abc import Callable, Mapping
from hashlib import blake2b, sha256
from typing import Any

import msgspec

from core.canonical import CanonicalError, decode, encode
from state.fs import NO_SPACE, Files, make_directory, read_all, small_write, write_all

FORMAT = 1
BASE = "irer.invalid"
KEY_BYTES = 32
LOCK = "LOCK"
LEDGER = "ledger.json"
KEYS = "keys"
KEY = "keys/ledger"
SIGNING = "keys/signing"
OTHER_KEYS = ("pepper", "signing", "token")
"""What keeps engine keys comparable, what signs checkpoints, and what signs tokens. Once ledger.json says that they are made, they
must be there."""

_LOG_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_DIGEST_BYTES = 16


class Locked(Exception):
    """Another process holds this state directory."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"the state directory is held by {f'process {pid}' if pid else 'another process'}")
        self.pid = pid


class NewerFormat(Exception):
    """Written by a later version, in a way this one cannot read. Nothing was changed."""


class BadLedger(Exception):
    """ledger.json is damaged, or missing where there are logs."""


class BadKey(BadLedger):
    """The ledger's key is missing or has the wrong length. It is never made anew."""


class LedgerFile(msgspec.Struct, forbid_unknown_fields=True):
    """What stands in ledger.json."""

    boots: int
    format: int
    id: str
    logs: dict[str, str]
    """Every log ever made, with its origin."""
    written_by: str
    keys: list[str] = []
    """The keys that were made beside `keys/ledger`."""
    former: dict[str, list[str]] = {}
    """Origins that a log had before it was forked: a repair must know its own, even where the record of the fork is lost."""

    def rename(self, log: str, origin: str, ledger_id: str) -> None:
        """The log goes on under another origin. What callers remember of the old ledger is refused from now on."""
        before = self.logs.get(log)
        if before is not None and before != origin:
            self.former[log] = [*self.former.get(log, []), before]
        self.id, self.logs[log] = ledger_id, origin


class Ledger:
    """Held from `open_ledger` to `close`, for the daemon's life."""

    def __init__(self, files: Files, lock_fd: int, file: LedgerFile, key: bytes, others: Mapping[str, bytes], base: str) -> None:
        self._files = files
        self._lock_fd = lock_fd
        self._file = file
        self._base = base
        self.key = key
        self.pepper = others["pepper"]
        self.signing = others["signing"]
        self.token = others["token"]

    @property
    def id(self) -> str:
        return self._file.id

    @property
    def boots(self) -> int:
        """Starts of this state directory, this one included."""
        return self._file.boots

    @property
    def logs(self) -> dict[str, str]:
        return dict(self._file.logs)

    def origin(self, log: str) -> str:
        """The name a log is known by outside; fixed when it is made."""
        return self._file.logs.get(log) or f"{self._base}/{self.id}/{log}"

    def add_log(self, name: str) -> None:
        """Remember a log once it is durable. From then on its absence is damage."""
        if _LOG_NAME.match(name) is None:
            raise ValueError(f"{name!r} is no name of a log")
        if name not in self._file.logs:
            self._file.logs[name] = self.origin(name)
            store(self._files, self._file)

    def digest(self, method: str, params: bytes) -> str:
        """Says whether two keyed requests are the same, without storing what they said. `params` is canonical JSON."""
        keyed = blake2b(digest_size=_DIGEST_BYTES, key=self.key)
        keyed.update(b"irer/idem/1\0" + method.encode() + b"\0" + params)
        return keyed.hexdigest()

    def close(self) -> None:
        self._files.close(self._lock_fd)


def open_ledger(files: Files, new_id: Callable[[], str], *, base: str = BASE, written_by: str = "irer") -> Ledger:
    """Take the state directory, or make it one. Raises Locked, NewerFormat, BadKey or BadLedger."""
    lock_fd = hold(files)
    try:
        file = read_ledger(files)
        if file is None:
            file = _begin(files, new_id)
        key = _read_key(files, KEY)
        others = {name: _other_key(files, file, name, new_id) for name in OTHER_KEYS}
        files.fsync_dir(KEYS)  # a run that was killed may have made the key and not its name durable
        as_it_was = (file.boots > 0, file.keys)
        file.keys = sorted({*file.keys, *others})
        file.boots += 1
        file.written_by = written_by
        try:
            store(files, file)
        except OSError as error:
            if error.errno not in NO_SPACE or as_it_was != (True, file.keys):
                raise
            # Nothing but this start is missing from it: what is there can be read, and the next start has the same number.
        return Ledger(files, lock_fd, file, key, others, base)
    except BaseException:
        files.close(lock_fd)
        raise


def read_ledger(files: Files) -> LedgerFile | None:
    """What ledger.json says, or None where there is none. Takes no lock: the file is only ever replaced whole."""
    raw = read_all(files, LEDGER)
    if raw is None:
        return None
    try:
        found: Any = decode(raw.removesuffix(b"\n"))
    except CanonicalError as error:
        raise BadLedger(f"{LEDGER} is damaged: {error}. Restore it from a backup") from None
    if isinstance(found, dict) and isinstance(version := found.get("format"), int) and version > FORMAT:
        raise NewerFormat(
            f"{LEDGER} has format {version}, written by {found.get('written_by', 'a later version')}; this version knows {FORMAT}. "
            "Nothing was changed. Start the version that wrote it"
        )
    try:
        return msgspec.convert(found, LedgerFile, strict=True)
    except msgspec.ValidationError as error:
        raise BadLedger(f"{LEDGER} is damaged: {error}. Restore it from a backup") from None


def hold(files: Files) -> int:
    """Take the state directory until this descriptor is closed. Raises Locked."""
    fd = files.open(LOCK, os.O_RDWR | os.O_CREAT)
    try:
        if not files.lock(fd):
            holder = files.pread(fd, 32, 0).strip()
            raise Locked(int(holder) if holder.isdigit() else None)
        _say_who(files, fd)
    except BaseException:
        files.close(fd)
        raise
    return fd


def _say_who(files: Files, fd: int) -> None:
    """For people. It is the lock that holds, not what stands in it: a disk without room for that takes nothing away."""
    try:
        files.truncate(fd, 0)
        write_all(files, fd, b"%d\n" % os.getpid())
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise


def _begin(files: Files, new_id: Callable[[], str]) -> LedgerFile:
    """A ledger that never was. The key comes first: ledger.json says that there must be one."""
    if orphan := next((name for name in files.list(".") if name.endswith(".jsonl")), None):
        raise BadLedger(f"there is {orphan} but no {LEDGER}. Restore it from a backup; it is not made anew")
    make_directory(files, KEYS)
    if files.stat_path(KEY) is None:
        small_write(files, KEY, _new_key("ledger", new_id))
    return LedgerFile(0, FORMAT, sha256(f"irer/ledger/id\0{new_id()}".encode()).hexdigest()[:16], {}, "")


def make_keys(files: Files, file: LedgerFile, new_id: Callable[[], str]) -> None:
    """All keys anew, for a state directory whose own are lost: what was written under them can no longer be compared."""
    make_directory(files, KEYS)
    for name in ("ledger", *OTHER_KEYS):
        small_write(files, f"{KEYS}/{name}", _new_key(name, new_id))
    file.keys = sorted(OTHER_KEYS)


def _new_key(name: str, new_id: Callable[[], str]) -> bytes:
    return sha256((f"irer/{name}/key\0" + "\0".join(new_id() for _ in range(4))).encode()).digest()


def _other_key(files: Files, file: LedgerFile, name: str, new_id: Callable[[], str]) -> bytes:
    path = f"{KEYS}/{name}"
    if name not in file.keys and files.stat_path(path) is None:
        small_write(files, path, _new_key(name, new_id))
    return _read_key(files, path)


def _read_key(files: Files, path: str) -> bytes:
    key = read_all(files, path)
    if key is None:
        raise BadKey(f"{path} is missing. Restore it from a backup; it is never made anew")
    if len(key) != KEY_BYTES:
        raise BadKey(f"{path} has {len(key)} bytes, not {KEY_BYTES}. Restore it from a backup; it is never made anew")
    return key


def store(files: Files, file: LedgerFile) -> None:
    small_write(files, LEDGER, encode(msgspec.structs.asdict(file)) + b"\n")
