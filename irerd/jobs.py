"""The child process of a named job: `python -m irerd.jobs`, a request on standard input, one line of JSON on standard output.

Imports no trio and holds no descriptor of the daemon. Says what went wrong by code, never by an exception's text. Its standard
input stays open as long as irerd lives: at its end this process exits, so no orphan outlives the daemon.
"""

import hashlib
import json
import os
import resource
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20
ORPHANED = 3


class JobFailed(Exception):
    """The job could not do what was asked; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# --- the jobs -------------------------------------------------------------------------------------------------------------


def hash_tree(request: dict[str, Any]) -> dict[str, Any]:
    """One digest over names, kinds and contents below a configured directory, so that any change of any file shows."""
    path = request["roots"].get(request["params"]["root"])
    if path is None:
        raise JobFailed("root-not-configured")
    count = {"files": 0, "bytes": 0}
    try:
        digest = _hash_directory(Path(path), count)
    except FileNotFoundError:
        raise JobFailed("root-missing" if not os.path.isdir(path) else "changed-while-read") from None
    except NotADirectoryError:
        raise JobFailed("root-not-a-directory") from None
    except PermissionError:
        raise JobFailed("permission-denied") from None
    return {"root": request["params"]["root"], "sha256": digest.hex(), **count}


def _hash_directory(path: Path, count: dict[str, int]) -> bytes:
    digest = hashlib.sha256(b"irer/tree/1\0")
    for entry in sorted(os.scandir(path), key=lambda entry: os.fsencode(entry.name)):
        mode = entry.stat(follow_symlinks=False).st_mode
        name = os.fsencode(entry.name)
        if stat.S_ISDIR(mode):
            kind, inner = b"d", _hash_directory(Path(entry.path), count)
        elif stat.S_ISREG(mode):
            kind, inner = b"f", _hash_file(entry.path, count)
        elif stat.S_ISLNK(mode):
            kind, inner = b"l", hashlib.sha256(os.fsencode(os.readlink(entry.path))).digest()
        else:
            kind, inner = b"o", bytes(32)  # a pipe or a device has no content of its own
        digest.update(kind + len(name).to_bytes(4, "big") + name + inner)
    return digest.digest()


def _hash_file(path: str, count: dict[str, int]) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            count["bytes"] += len(chunk)
    count["files"] += 1
    return digest.digest()


def verify_log(request: dict[str, Any]) -> dict[str, Any]:
    """Walk one chain from its first record to what was durable when the job began."""
    from state.verify import verify_logs

    log = request["params"]["log"]
    rows = [row for row in verify_logs(Path(request["state_dir"]), [log], request["durable"]) if row["done"]]
    if not rows:
        raise JobFailed("no-such-log")
    if not rows[0]["ok"]:
        raise JobFailed("chain-broken")
    return {"log": log, "records": rows[0]["records"]}


def hashchain(request: dict[str, Any]) -> dict[str, Any]:
    """Walk the chains and print a row of progress now and then: the work behind `audit.hashchain`."""
    from state.verify import verify_logs

    logs = 0
    records = 0
    ok = True
    for row in verify_logs(Path(request["state_dir"]), request["params"].get("logs"), request["durable"], deep=False):
        print(json.dumps(row), flush=True)
        if row["done"]:
            logs += 1
            records += row["records"]
            ok = ok and row["ok"]
    return {"ok": ok, "logs": logs, "records": records}


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "hash_tree": hash_tree,
    "verify_log": verify_log,
    "hashchain": hashchain,
}


# --- the process ----------------------------------------------------------------------------------------------------------


def _exit_with_parent() -> None:
    while os.read(0, 4096):
        continue
    os._exit(ORPHANED)


def main() -> None:
    size = int.from_bytes(_read_exactly(4), "big")
    request = json.loads(_read_exactly(size))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"], request["memory_bytes"]))
    os.nice(5)
    try:
        outcome = {"ok": True, "code": "ok", "result": JOBS[request["name"]](request)}
    except JobFailed as failed:
        outcome = {"ok": False, "code": failed.code}
    except MemoryError:
        outcome = {"ok": False, "code": "memory"}
    except OSError:
        outcome = {"ok": False, "code": "io-error"}
    print(json.dumps(outcome), flush=True)
    os._exit(0)


def _read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            sys.exit(ORPHANED)
        data += chunk
    return data


if __name__ == "__main__":
    main()
