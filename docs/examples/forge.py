"""Writes a log anew with one value changed, as somebody could who has the daemon's own uid: every hash holds again.

    python forge.py LOG.jsonl OLD NEW

OLD and NEW are as long as one another, so that no line moves. For docs/tamper.md: it shows what a chain of hashes alone does not.
"""

import hashlib
import json
import sys
from pathlib import Path

ZEROS, SEAL = b"0" * 64, 82


def sealed(members: bytes) -> bytes:
    """The line of these members: its last one is the hash of all before it."""
    return members[:-1] + b',"event_hash":"' + hashlib.sha256(members).hexdigest().encode() + b'"}\n'


def forged(log: bytes, old: bytes, new: bytes) -> bytes:
    """The same log with `new` for `old`, and the chain made to fit."""
    lines, was, now = b"", ZEROS, ZEROS
    for line in log.splitlines(keepends=True):
        members = line[:-SEAL] + b"}"
        line_anew = sealed(members.replace(old, new).replace(b'"parent_hash":"' + was, b'"parent_hash":"' + now))
        lines, was, now = lines + line_anew, line[-67:-3], line_anew[-67:-3]
    return lines


def main(path: Path, old: str, new: str) -> None:
    log = forged(path.read_bytes(), old.encode(), new.encode())
    path.write_bytes(log)
    head = path.parent / "log.d" / path.stem / "head"
    members = json.loads(head.read_bytes())
    del members["event_hash"]
    members["tip"] = log[: members["offset"]].splitlines(keepends=True)[-1][-67:-3].decode()
    head.write_bytes(sealed(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
