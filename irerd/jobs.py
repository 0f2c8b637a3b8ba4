"""The child process of a named job: `python -m irerd.jobs`, a request on standard input, one line of JSON on standard output.

Imports no trio and holds no descriptor of the daemon. Says what went wrong by code, never by an exception's text. Its standard
input stays open as long as irerd lives: at its end this process exits, so no orphan outlives the daemon.
"""

import errno
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
        digest = _hash_directory(os.fsencode(path), count)
    except FileNotFoundError:
        raise JobFailed("root-missing" if not os.path.isdir(path) else "changed-while-read") from None
    except NotADirectoryError:
        raise JobFailed("root-not-a-directory" if not os.path.isdir(path) else "changed-while-read") from None
    except PermissionError:
        raise JobFailed("permission-denied") from None
    except OSError as error:
        known = {errno.ELOOP: "changed-while-read", errno.ENXIO: "changed-while-read", errno.ENAMETOOLONG: "path-too-long"}
        if error.errno not in known:
            raise
        raise JobFailed(known[error.errno]) from None
    return {"root": request["params"]["root"], "sha256": digest.hex(), **count}


class _Directory:
    """One that is being read: what is still to come of it, and the digest so far. Holds no descriptor, so depth costs none."""

    def __init__(self, path: bytes, name: bytes = b"", flags: int = 0) -> None:
        self.path = path
        self.name = name
        self.digest = hashlib.sha256(b"irer/tree/1\0")
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | flags)
        try:
            with os.scandir(opened) as entries:
                found = [(os.fsencode(entry.name), entry.stat(follow_symlinks=False).st_mode) for entry in entries]
        finally:
            os.close(opened)
        self.entries = iter(sorted(found))

    def add(self, kind: bytes, name: bytes, inner: bytes) -> None:
        self.digest.update(kind + len(name).to_bytes(4, "big") + name + inner)


def _hash_directory(root: bytes, count: dict[str, int]) -> bytes:
    """Goes down on a list of its own: a tree may be deeper than Python's stack."""
    above: list[_Directory] = []
    here = _Directory(root)
    while True:
        entry = next(here.entries, None)
        if entry is None:
            if not above:
                return here.digest.digest()
            done, here = here, above.pop()
            here.add(b"d", done.name, done.digest.digest())
            continue
        name, mode = entry
        inner = os.path.join(here.path, name)
        if stat.S_ISDIR(mode):
            above.append(here)
            here = _Directory(inner, name, os.O_NOFOLLOW)
        elif stat.S_ISREG(mode):
            here.add(b"f", name, _hash_file(inner, count))
        elif stat.S_ISLNK(mode):
            here.add(b"l", name, hashlib.sha256(os.readlink(inner)).digest())
        else:
            here.add(b"o", name, bytes(32))  # a pipe or a device has no content of its own


def _hash_file(path: bytes, count: dict[str, int]) -> bytes:
    """What was a file when it was looked at may be a pipe or a link by now: neither is waited for nor followed."""
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise JobFailed("changed-while-read")
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


def verify(request: dict[str, Any]) -> dict[str, Any]:
    """All that the logs show of themselves, a row now and then, and at last the verdict: the work behind `audit.verify`."""
    from state.ledger import BadLedger
    from state.report import Asked, report_on

    params = request["params"]
    asked = Asked(
        params.get("logs"),
        request["durable"],
        params["replay"],
        params.get("checkpoints"),
        witnesses=params.get("witnesses", ()),
        quorum=params.get("quorum", 0),
        refused=params.get("refused", {}),
    )
    last: dict[str, Any] = {}
    try:
        for last in report_on(Path(request["state_dir"]), asked):
            if "result" not in last:
                print(json.dumps(last), flush=True)
    except BadLedger:
        raise JobFailed("ledger-damaged") from None
    return last


def prove(request: dict[str, Any]) -> dict[str, Any]:
    """The hashes that prove a record, or that a log continues an earlier state: the work behind `audit.prove`."""
    from irerd.proofs import made

    return made(request)


def graph(request: dict[str, Any]) -> dict[str, Any]:
    """A page of the provenance graph: the work behind `provenance.graph`."""
    from irerd.graph import graph

    return graph(request)


def export(request: dict[str, Any]) -> dict[str, Any]:
    """The same as a PROV document, printed in pieces: the work behind `provenance.export_audit`."""
    from irerd.graph import export

    return export(request, lambda text: print(json.dumps({"piece": text}), flush=True))


def atlas(request: dict[str, Any]) -> dict[str, Any]:
    """What the tables of the energy map answer: the work behind `eil.query`."""
    from irerd.map_tables import query

    return query(request)


def drill(request: dict[str, Any]) -> dict[str, Any]:
    """A rehearsal of hours without a network, a row of progress now and then: the work behind `cache.drill`."""
    from irerd.drill import drill

    return drill(request, lambda said: print(json.dumps({"progress": said}), flush=True))


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "hash_tree": hash_tree,
    "verify_log": verify_log,
    "hashchain": hashchain,
    "verify": verify,
    "prove": prove,
    "graph": graph,
    "export": export,
    "atlas": atlas,
    "drill": drill,
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
