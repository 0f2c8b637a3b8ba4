"""Checks irer's logs without irer: one file, Python 3.11, nothing but its standard library.

    python irer_verify.py DIR|FILE... [--vkey KEY]... [--witness KEY]... [--quorum N] [--json]
    python irer_verify.py FILE.tlog-proof [RECORD] [--vkey KEY]
    python irer_verify.py --continues OLD.checkpoint ANSWER.json [--vkey KEY]

DIR is a state directory, or a copy of one; a FILE is one segment of a log, and segments of one log may be given together; or a
checkpoint that was kept, to compare with the log it is of. Of every record: `event_hash`, `parent_hash`, `seq`, `commit`, the
alignment of its batch, and that its bytes are the one canonical form of its value. Of every closed segment: name, length and
SHA-256 as the next segment states them. Of every log: its head, its checkpoint, what witnesses cosigned, what was pruned, its
forks, and the RFC 6962 root of its tree.

Signatures are checked where `cryptography` can be imported and a key is known: from --vkey (a verifier key, or a file with one), or
from keys/signing in DIR; cosignatures where the witness's key is given with --witness. Else it says `signatures: not checked`. What
was not checked is always printed.

Exit 0: nothing failed (a torn tail was never acknowledged: it is told, not a failure). 1: something failed. 2: could not look.

It reads and never writes. It was written from the description of the format alone and shares no line with the daemon: when the two
disagree, one of them, or the description, is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 32
LINE_BYTES_MAX = 65_535
RECORD_BYTES_MAX = 60_000
BATCH_RECORDS_MAX = 256
SEAL_BYTES = 82

SEAL = re.compile(rb',"event_hash":"([0-9a-f]{64})"\}\n')
HEX_64 = re.compile(r"[0-9a-f]{64}")
TIMESTAMP = re.compile(r"(?!-0\.000000)-?(0|[1-9][0-9]{0,15})\.[0-9]{6}")
LOG_NAME = r"[a-z][a-z0-9_]*"
LOG_FILE = re.compile(rf"({LOG_NAME})(?:\.([0-9]{{16}}))?\.jsonl")
ANY_FILE = re.compile(r"(.+?)(?:\.([0-9]{16}))?\.jsonl", re.DOTALL)
KEY = re.compile(r"[\u0020-\u007e\u00a0-\ud7ff]{1,128}")
ESCAPES = {code: f"\\u{code:04x}" for code in range(0x20)} | {
    0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r", 0x22: '\\"', 0x5C: "\\\\"
}  # fmt: skip


class Bad(Exception):
    """What is wrong with one line, one file or one log, and the column of the table it belongs to."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(why)
        self.column = column


# --- canonical form ---------------------------------------------------------------------------------------------------------------


class Decimal(float):
    """A number that was written with a point or an exponent; it keeps its text, for `timestamp` is compared as text."""

    text: str

    def __new__(cls, text: str) -> Decimal:
        number = super().__new__(cls, text)
        number.text = text
        return number


def whole_number(text: str) -> int | float:
    """Beyond ±(2^53 - 1) only doubles exist: 1152921504606847000 is how one of them is printed."""
    if len(text) <= 17 and abs(int(text)) <= INTEGER_MAX:
        return int(text)
    return float(text)


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def parse(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=without_duplicates,
            parse_int=whole_number,
            parse_float=Decimal,
            parse_constant=refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise Bad("form", f"not strict JSON ({error})") from None
    if not isinstance(value, dict):
        raise Bad("form", "not an object")
    return value


def number_text(number: float) -> str:
    """ECMAScript's Number::toString, as RFC 8785 wants it; Python's repr finds the same shortest digits."""
    if not math.isfinite(number):
        raise Bad("form", "a number beyond the doubles")
    if number == 0:
        return "0"
    mantissa, _, exponent = repr(abs(number)).partition("e")
    before, _, after = mantissa.partition(".")
    digits = (before + after).lstrip("0")
    point = len(digits) - len(after) + int(exponent or 0)
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        text = digits.ljust(point, "0")
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        text = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1:+d}"
    return f"-{text}" if number < 0 else text


def string_text(text: str) -> str:
    return f'"{text.translate(ESCAPES)}"'


def canonical(value: Any, depth: int = 1) -> str:
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return string_text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number_text(value)
    if depth > DEPTH_MAX:
        raise Bad("form", f"deeper than {DEPTH_MAX}")
    if isinstance(value, list):
        return f"[{','.join(canonical(item, depth + 1) for item in value)}]"
    for key in value:
        if not KEY.fullmatch(key):
            raise Bad("form", f"a key outside the permitted ones: {key[:40]!a}")
    return f"{{{','.join(f'{string_text(key)}:{canonical(value[key], depth + 1)}' for key in sorted(value))}}}"


def canonical_record(members: dict[str, Any]) -> bytes:
    """`timestamp` is the one departure from RFC 8785: six decimals, always, so it is copied as text."""
    stamp = members.get("timestamp")
    parts = [
        f"{string_text(key)}:{stamp.text if key == 'timestamp' and isinstance(stamp, Decimal) else canonical(members[key])}"
        for key in sorted(members)
    ]
    try:
        return f"{{{','.join(parts)}}}".encode()
    except UnicodeEncodeError:
        raise Bad("form", "a lone surrogate") from None


# --- one line ---------------------------------------------------------------------------------------------------------------------


def is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def is_text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_idem(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"digest", "key"}:
        return False
    return is_text("[0-9a-f]{32}")(value["digest"]) and isinstance(value["key"], str)


def is_commit(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(is_count, value)) and value[1] < value[2] <= BATCH_RECORDS_MAX


MEMBERS: dict[str, Callable[[Any], bool]] = {
    "actor": is_text("[ -~]{1,64}"),
    "boot_id": is_text("[0-9a-f]{8}"),
    "commit": is_commit,
    "event_type": is_text(r"(?=.{1,64}$)[a-z0-9_]+(\.[a-z0-9_]+)+"),
    "idem": is_idem,
    "mono_us": is_count,
    "pad": is_text(" *"),
    "parent_hash": is_text("[0-9a-f]{64}"),
    "payload": lambda value: isinstance(value, dict),
    "seq": is_count,
    "timestamp": lambda value: isinstance(value, Decimal) and TIMESTAMP.fullmatch(value.text) is not None,
}
OPTIONAL = {"idem", "pad"}


@dataclass(frozen=True)
class Record:
    seq: int
    batch: int
    index: int
    count: int
    parent_hash: str
    event_hash: str
    event_type: str
    payload: dict[str, Any]
    pad_bytes: int

    @property
    def ends_batch(self) -> bool:
        return self.index == self.count - 1


def unseal(line: bytes) -> tuple[dict[str, Any], str]:
    """The members and the hash of a sealed line. The seal is found by length: a payload may well spell `"event_hash":`."""
    if len(line) > LINE_BYTES_MAX:
        raise Bad("form", f"a line of {len(line)} bytes")
    seal = SEAL.fullmatch(line[-SEAL_BYTES:])
    if seal is None:
        raise Bad("chain", "the line does not end as a sealed line does")
    preimage = line[:-SEAL_BYTES] + b"}"
    event_hash = seal[1].decode()
    if hashlib.sha256(preimage).hexdigest() != event_hash:
        raise Bad("chain", "event_hash is not the SHA-256 of the line")
    members = parse(preimage)
    if canonical_record(members) != preimage:
        raise Bad("form", "the bytes are not the canonical form of their value")
    return members, event_hash


def read_record(line: bytes) -> Record:
    """Everything that one line shows by itself."""
    members, event_hash = unseal(line)
    for name in members.keys() ^ MEMBERS.keys():
        if name not in OPTIONAL:
            raise Bad("form", f"member {name[:40]!a} is {'missing' if name in MEMBERS else 'not part of a record'}")
    for name, value in members.items():
        if not MEMBERS[name](value):
            raise Bad("form", f"{name} has a wrong value")
    batch, index, count = members["commit"]
    if ("pad" in members) != (index == count - 1):
        raise Bad("form", "pad belongs in the last record of a batch and nowhere else")
    padding = len('"pad":"",') + len(members["pad"]) if "pad" in members else 0
    if len(line) - padding > RECORD_BYTES_MAX:
        raise Bad("form", f"more than {RECORD_BYTES_MAX} bytes before padding")
    seq, parent_hash, event_type, payload = (members[name] for name in ("seq", "parent_hash", "event_type", "payload"))
    return Record(seq, batch, index, count, parent_hash, event_hash, event_type, payload, len(members.get("pad", "")))


def intact_records(data: bytes) -> Iterator[Record]:
    """Whole lines behind damage: one may start after any 0x0A, and wherever a line's first member stands."""
    for start in re.finditer(rb'\A|(?<=\n)|(?=\{"actor":)', data):
        end = data.find(b"\n", start.start()) + 1
        if end:
            try:
                yield read_record(data[start.start() : end])
            except Bad:
                continue


# --- the tree ---------------------------------------------------------------------------------------------------------------------

Node = tuple[int, int, bytes]  # first leaf, leaves, hash


def add_node(edge: list[Node], node: Node) -> None:
    """Keeps `edge` the shortest list of whole subtrees over its leaves."""
    first, leaves, digest = node
    while edge and edge[-1][1] == leaves and edge[-1][0] + leaves == first and edge[-1][0] % (2 * leaves) == 0:
        first, _, left = edge.pop()
        digest = hashlib.sha256(b"\x01" + left + digest).digest()
        leaves *= 2
    edge.append((first, leaves, digest))


def tree_root(edge: list[Node]) -> bytes:
    if not edge:
        return hashlib.sha256(b"").digest()
    *lefts, (_, _, digest) = edge
    for _, _, left in reversed(lefts):
        digest = hashlib.sha256(b"\x01" + left + digest).digest()
    return digest


def hash_pair(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def left_part(leaves: int) -> int:
    """How many leaves go left: the largest power of two that is smaller than all of them."""
    part = 1
    while part * 2 < leaves:
        part *= 2
    return part


def root_by_path(leaf: bytes, index: int, leaves: int, path: list[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to, by the definition of the path itself; None when the path does not fit the tree."""
    if leaves == 1:
        return None if path or index else leaf
    if not path:
        return None
    *below, other = path
    part = left_part(leaves)
    here = root_by_path(leaf, index, part, below) if index < part else root_by_path(leaf, index - part, leaves - part, below)
    if here is None:
        return None
    return hash_pair(here, other) if index < part else hash_pair(other, here)


def roots_by_path(old: int, new: int, path: list[bytes], old_root: bytes | None) -> tuple[bytes, bytes] | None:
    """The two roots that a consistency proof leads to. `old_root` stands for the old tree while all of it is still one part."""
    if old == new:
        if old_root is not None:
            return None if path else (old_root, old_root)
        return (path[0], path[0]) if len(path) == 1 else None
    if not path:
        return None
    *below, other = path
    part = left_part(new)
    if old <= part:
        inner = roots_by_path(old, part, below, old_root)
        return None if inner is None else (inner[0], hash_pair(inner[1], other))
    inner = roots_by_path(old - part, new - part, below, None)
    return None if inner is None else (hash_pair(other, inner[0]), hash_pair(other, inner[1]))


def hash_bytes(text: Any) -> bytes | None:
    """A root in a payload is spelled as every hash in a record: 64 lower-case hexadecimal digits."""
    return bytes.fromhex(text) if isinstance(text, str) and HEX_64.fullmatch(text) else None


def pruned_nodes(prune: dict[str, Any]) -> list[Node]:
    """The subtrees that stand for a pruned range, or nothing when they cannot be read."""
    roots = prune.get("roots")
    nodes: list[Node] = []
    position, end = prune["first_seq"], prune["last_seq"] + 1
    for digest in map(hash_bytes, roots if isinstance(roots, list) else []):
        if digest is None or position >= end:
            return []
        leaves = 1
        while position % (2 * leaves) == 0 and position + 2 * leaves <= end:
            leaves *= 2
        nodes.append((position, leaves, digest))
        position += leaves
    return nodes if position == end else []


# --- checkpoints ------------------------------------------------------------------------------------------------------------------

ORIGIN = re.compile(r"[!-*,-~]+")
SIZE = re.compile(r"[1-9][0-9]{0,15}")
SIGNED = re.compile(r"\u2014 ([!-*,-~]+) ([A-Za-z0-9+/]+=*)")


@dataclass(frozen=True)
class Checkpoint:
    """A signed note of how a log stood."""

    origin: str
    size: int
    root: bytes
    body: bytes
    signatures: list[tuple[str, bytes]]  # name; key id and signature


def base64_bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Bad("tree", "not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Bad("tree", "base64 that is not the one way to write its bytes")
    return data


def read_checkpoint(data: bytes) -> Checkpoint:
    """Three lines, an empty one, signatures. A checkpoint of no record says nothing."""
    try:
        body, empty, rest = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise Bad("tree", "a checkpoint that is no text") from None
    lines = body.split("\n")
    signatures = [SIGNED.fullmatch(line) for line in rest.split("\n")[:-1]]
    if not empty or not rest.endswith("\n") or None in signatures:
        raise Bad("tree", "a checkpoint without an empty line and signatures behind it")
    if len(lines) != 3 or not ORIGIN.fullmatch(lines[0]) or not SIZE.fullmatch(lines[1]) or int(lines[1]) > INTEGER_MAX:
        raise Bad("tree", "a checkpoint that is not origin, size and root")
    root = base64_bytes(lines[2])
    found = [(match[1], base64_bytes(match[2])) for match in signatures if match]
    if len(root) != 32 or any(len(signature) < 5 for _, signature in found):
        raise Bad("tree", "a root or a signature of a wrong length")
    return Checkpoint(lines[0], int(lines[1]), root, f"{body}\n".encode(), found)


def public_of_vkey(text: str) -> bytes:
    """The key in NAME+ID+KEY. The id is made of name and key, so a copy that is not whole shows."""
    name, _, rest = text.strip().partition("+")
    stated, _, key = rest.partition("+")
    data = base64_bytes(key)
    if data[:1] != b"\x01" or len(data) != 33 or key_id(name, data[1:]).hex() != stated:
        raise Bad("tree", "not a verifier key")
    return data[1:]


def key_id(name: str, public: bytes, kind: bytes = b"\x01") -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


@dataclass(frozen=True)
class Witness:
    """Who cosigns: C2SP tlog-cosignature, with Ed25519."""

    name: str
    public: bytes

    def word(self, checkpoint: Checkpoint) -> str | None:
        """ok, absent or FAILED; None: nobody can say here."""
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError:
            return None
        named = self.name, key_id(self.name, self.public, b"\x04")
        mine = [signature[4:] for who, signature in checkpoint.signatures if (who, signature[:4]) == named]
        for timed in mine:
            time = int.from_bytes(timed[:8], "big")
            try:
                message = b"cosignature/v1\ntime %d\n" % time + checkpoint.body
                Ed25519PublicKey.from_public_bytes(self.public).verify(timed[8:], message)
            except InvalidSignature:
                return "FAILED"
        return "ok" if mine else "absent"


def witness_of_vkey(text: str) -> Witness:
    name, _, rest = text.strip().partition("+")
    stated, _, key = rest.partition("+")
    data = base64_bytes(key)
    if data[:1] != b"\x04" or len(data) != 33 or key_id(name, data[1:], b"\x04").hex() != stated:
        raise Bad("tree", "not the key of a witness")
    return Witness(name, data[1:])


@dataclass(frozen=True)
class Quorum:
    """Whose cosignatures count, and how many must agree; 0: all of them."""

    witnesses: tuple[Witness, ...] = ()
    least: int = 0

    def judge(self, notes: list[Checkpoint]) -> tuple[str, int]:
        """The word for the table, and up to how many records enough of them agree."""
        if not self.witnesses:
            return ("not checked" if notes else "none"), 0
        voices = {one.public: one for one in self.witnesses}.values()  # a key that is given twice is one witness
        words = [[(one.word(note), note.size) for note in notes] for one in voices]
        said = {word for row in words for word, _ in row}
        if "FAILED" in said or None in said:
            return ("FAILED" if "FAILED" in said else "not checked"), 0
        sizes = sorted((max((size for word, size in row if word == "ok"), default=0) for row in words), reverse=True)
        size = sizes[(self.least or len(sizes)) - 1] if self.least <= len(sizes) else 0
        agree = sum(one >= max(size, 1) for one in sizes)
        return f"{agree} of {len(sizes)}" + (f" @ {size}" if size else ""), size


def public_of_secret(secret: bytes) -> bytes | None:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        return None
    return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() if len(secret) == 32 else None


def is_signed(checkpoint: Checkpoint, keys: list[bytes]) -> bool | None:
    """Whether one of the keys signed it, under the origin as its name; None: nobody can say here."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return None
    if not keys:
        return None
    found = False
    for public in keys:
        name = checkpoint.origin, key_id(checkpoint.origin, public)
        for who, signature in checkpoint.signatures:
            if (who, signature[:4]) == name:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], checkpoint.body)
                except InvalidSignature:
                    return False
                found = True
    return found


# --- one segment ------------------------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """Where the next record must stand: at the start of a log, or right behind another record."""

    seq: int = 0
    batch: int = 0
    parent_hash: str = "0" * 64


@dataclass
class Segment:
    """The whole batches of one file, and what stopped the reading."""

    name: str
    data: bytes
    size: int
    sha256: str
    header: Record | None = None
    end: int = 0
    next: Place = field(default_factory=Place)
    batch_ends: dict[int, tuple[int, int, str]] = field(default_factory=dict)  # last seq: batch, offset, event_hash
    edge: list[Node] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    told: list[Record] = field(default_factory=list)  # log.* records other than the header
    bad: Bad | None = None
    bad_offset: int = 0

    @property
    def records(self) -> int:
        return self.next.seq - self.header.seq if self.header and self.end else 0

    @property
    def forks(self) -> list[Record]:
        return [record for record in self.told if record.event_type == "log.fork"]

    @property
    def origin(self) -> str:
        """The log's identity at the end of this file: only log.fork changes it."""
        origins = [record.payload.get("new_origin") for record in self.forks]
        return str([self.header.payload["origin"] if self.header else "", *origins][-1])


def check_header(record: Record) -> None:
    """The first record of a file says what the file is."""
    payload = record.payload
    genesis = record.seq == 0
    if record.event_type != ("log.genesis" if genesis else "log.segment"):
        raise Bad("form", f"a file that begins with {record.event_type}")
    if record.count != 1:
        raise Bad("form", f"{record.event_type} is not alone in its batch")
    if payload.get("format") != "irer-log/1" or payload.get("hash") != "sha-256":
        raise Bad("form", "another format or hash than irer-log/1 and sha-256")
    if not is_count(payload.get("align")) or payload["align"] % 512 or not 512 <= payload["align"] <= 4096:
        raise Bad("form", "align is not a number of sectors")
    log, origin, previous = payload.get("log"), payload.get("origin"), payload.get("previous", ...)
    if not is_text(LOG_NAME)(log) or not isinstance(origin, str) or not origin.endswith(f"/{log}"):
        raise Bad("form", "log and origin do not belong together")
    if genesis and (previous is not None or "tree" in payload or record.batch != 0 or record.parent_hash != "0" * 64):
        raise Bad("form", "a genesis that follows something")
    if not genesis:
        numbers = isinstance(previous, dict) and set(previous) == {"bytes", "event_hash", "first_seq", "last_seq", "name", "sha256"}
        if not numbers or previous["last_seq"] != record.seq - 1 or previous["event_hash"] != record.parent_hash:
            raise Bad("chain", "log.segment does not follow what it calls its previous segment")


def read_segment(name: str, data: bytes, place: Place | None) -> Segment:
    """Reads up to the first bad byte. Without a place the first line is believed about its own."""
    segment = Segment(name, data, len(data), hashlib.sha256(data).hexdigest())
    known = place is not None
    at = place or Place()
    segment.next = Place(at.seq, at.batch, at.parent_hash)
    pending: list[tuple[Record, bytes]] = []
    offset = 0
    try:
        while offset < len(data):
            end = data.find(b"\n", offset) + 1
            if not end:
                raise Bad("chain", "the last line has no 0x0A")
            line = data[offset:end]
            record = read_record(line)
            if not known:
                at = Place(record.seq, record.batch, record.parent_hash)
                known = True
            if (record.seq, record.parent_hash) != (at.seq, at.parent_hash):
                raise Bad("chain", f"seq {record.seq} does not follow the record before it")
            if (record.batch, record.index) != (at.batch, len(pending)) or (pending and record.count != pending[0][0].count):
                raise Bad("chain", f"commit {[record.batch, record.index, record.count]} does not follow the record before it")
            if segment.header is None:
                check_header(record)
                segment.header = record
            elif record.event_type in ("log.genesis", "log.segment"):
                raise Bad("form", f"{record.event_type} inside a file")
            pending.append((record, line))
            at = Place(record.seq + 1, record.batch, record.event_hash)
            if record.ends_batch:
                align = segment.header.payload["align"]
                if end % align or record.pad_bytes >= align:
                    raise Bad("form", f"batch {record.batch} is not padded to the next multiple of {align}")
                at.batch += 1
                segment.end, segment.next = end, Place(at.seq, at.batch, at.parent_hash)
                segment.batch_ends[record.seq] = (record.batch, end, record.event_hash)
                for whole, text in pending:
                    segment.leaves.append(hashlib.sha256(b"\x00" + text[:-1]).digest())
                    add_node(segment.edge, (whole.seq, 1, segment.leaves[-1]))
                    if whole.event_type.startswith("log.") and whole is not segment.header:
                        segment.told.append(whole)
                pending = []
            offset = end
        if pending or not segment.end:
            raise Bad("chain", "the last batch is not whole" if pending else "the file is empty")
    except Bad as bad:
        segment.bad, segment.bad_offset = bad, offset
    return segment


# --- one log ----------------------------------------------------------------------------------------------------------------------


@dataclass
class Log:
    """One row of the table, and what could not be vouched for."""

    log: str
    verdict: str = "ok"  # ok, torn, corrupt
    records: int = 0
    segments: int = 0
    torn_bytes: int = 0
    chain: str = "ok"
    form: str = "ok"
    tree: str = "none"
    size: int = 0
    root: str | None = None
    sealed: str = "none"
    cosigned: str = "not checked"
    signatures: list[str] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)  # origins of the checkpoints
    first_bad: dict[str, Any] | None = None
    forks: list[dict[str, Any]] = field(default_factory=list)
    not_verified: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, bad: Bad, seq: int | None = None, offset: int | None = None, file: str | None = None) -> None:
        if self.first_bad is None or self.verdict == "torn":
            self.first_bad = {"seq": seq, "offset": offset, "file": file, "why": str(bad)}
        self.verdict = "corrupt"
        setattr(self, bad.column, "FAILED")

    def disagree(self, checkpoint: Checkpoint, why: str) -> None:
        self.sealed = "FAILED"
        self.fail(Bad("tree", why), checkpoint.size - 1, None, "checkpoint")

    def note(self, why: str, first: int | None = None, last: int | None = None) -> None:
        self.not_verified.append({"log": self.log, "from": first, "to": last, "why": why})


def check_segment(log: Log, segment: Segment, active: bool, watermark: int) -> None:
    """Torn or corrupt: only the end of the active file may be lost, and only what no head, and no later batch, vouches for."""
    if segment.bad is None:
        return
    broken = segment.next.batch
    whole = segment.end > 0
    ahead = whole and any(record.batch > broken for record in intact_records(segment.data[segment.end :]))
    if active and whole and broken > watermark and not ahead:
        log.verdict, log.chain = "torn", "torn"
        log.first_bad = {"seq": segment.next.seq, "offset": segment.bad_offset, "file": segment.name, "why": str(segment.bad)}
        log.torn_bytes = segment.size - segment.end
        why = f"torn tail: {log.torn_bytes:,} bytes from offset {segment.end:,}, never acknowledged ({segment.bad})"
        log.note(why, segment.next.seq)
    else:
        log.fail(segment.bad, segment.next.seq, segment.bad_offset, segment.name)


FORK_MEMBERS: dict[str, Callable[[Any], bool]] = {
    "new_origin": is_text("(?s:.*)"),
    "old_origin": is_text("(?s:.*)"),
    "sealed_root": is_text("[0-9a-f]{64}"),
    "sealed_size": is_count,
}


def check_forks(log: Log, segment: Segment) -> None:
    """Each log.fork leads on from the origin in force, which is the header's until the first of them."""
    if segment.header is None:
        return
    origin = segment.header.payload["origin"]
    for record in segment.forks:
        fork = record.payload
        if set(fork) != set(FORK_MEMBERS) or not all(holds(fork[name]) for name, holds in FORK_MEMBERS.items()):
            log.fail(Bad("chain", "log.fork does not say from which origin to which"), record.seq, None, segment.name)
        elif fork["old_origin"] != origin or not fork["new_origin"].endswith(f"/{segment.header.payload['log']}"):
            why = f"log.fork from {fork['old_origin']} to {fork['new_origin']}, and the origin is {origin}"
            log.fail(Bad("chain", why), record.seq, None, segment.name)
        else:
            log.forks.append({"seq": record.seq, "old_origin": origin, "new_origin": fork["new_origin"]})
            log.note(f"a fork: before it the log was {origin}", record.seq, record.seq)
            origin = fork["new_origin"]


def check_shared(log: Log, segment: Segment, edge: list[Node]) -> None:
    """What a fork says was shared is what stands before it. `edge` is of the tree before this file."""
    start = segment.header.seq if segment.header else 0
    for record in segment.forks:
        size, root = record.payload["sealed_size"], record.payload["sealed_root"]
        before: list[Node] = list(edge) if size >= start else []
        for seq, leaf in enumerate(segment.leaves[: max(0, size - start)], start):
            add_node(before, (seq, 1, leaf))
        if 0 < size < start:
            log.note("the records that a fork says were shared: not compared", record.seq, record.seq)
        elif size > record.seq or tree_root(before).hex() != root:
            log.fail(
                Bad("tree", "log.fork says that other records were shared than stand before it"), record.seq, None, segment.name
            )


def check_link(log: Log, before: Segment, segment: Segment) -> None:
    if segment.header is None or before.header is None:
        return
    facts = {
        "bytes": before.size,
        "event_hash": before.next.parent_hash,
        "first_seq": before.header.seq,
        "last_seq": before.next.seq - 1,
        "name": f"{log.log}.{before.header.seq:016d}.jsonl",
        "sha256": before.sha256,
    }
    stated = segment.header.payload["previous"]
    wrong = [key for key, fact in facts.items() if stated is None or (type(stated[key]), stated[key]) != (type(fact), fact)]
    if wrong:
        why = f"{segment.name} states another {', '.join(wrong)} of {before.name}"
        log.fail(Bad("chain", why), segment.header.seq, 0, segment.name)
    if segment.header.payload["origin"] != before.origin:
        log.fail(Bad("chain", f"{segment.name} has another origin and no log.fork"), segment.header.seq, 0, segment.name)


def check_beginning(log: Log, segments: list[Segment], whole_directory: bool) -> list[Node] | None:
    """What stands before the first file: nothing, a pruned range, or something nobody showed us. None: no tree from here on."""
    header = segments[0].header
    if header is None or header.seq == 0:
        return []
    previous, last = header.payload["previous"], header.seq - 1
    prunes = [record.payload for segment in segments for record in segment.told if record.event_type == "log.prune"]
    prunes = [prune for prune in prunes if is_count(prune.get("first_seq")) and is_count(prune.get("last_seq"))]
    reached, edge = 0, list[Node]()
    for prune in sorted(prunes, key=lambda prune: prune["first_seq"]):
        nodes = pruned_nodes(prune) if prune["first_seq"] == reached and reached <= prune["last_seq"] <= last else []
        for node in nodes:
            add_node(edge, node)
        reached = prune["last_seq"] + 1 if nodes else reached
        if nodes and prune["last_seq"] == last and prune.get("sha256") != previous["sha256"]:
            log.fail(Bad("chain", "log.prune and log.segment disagree about the pruned file"), header.seq, 0, segments[0].name)
    if reached == header.seq:
        log.note("pruned: hashes only", 0, last)
        return edge
    if whole_directory:
        log.fail(Bad("chain", f"{previous['name']} is missing and no log.prune covers it"), 0, None, str(previous["name"]))
    else:
        log.note("in earlier segments, which were not given", 0, last)
    return None


def check_tree(log: Log, segments: list[Segment], edge: list[Node] | None) -> None:
    if edge is None:
        log.note("the tree: its leaves before the first file are not here")
        return
    stated = 0
    for segment in segments:
        if segment.header and segment.header.seq:
            seq, tree = segment.header.seq, segment.header.payload.get("tree")
            if (
                isinstance(tree, dict)
                and set(tree) == {"root", "size"}
                and (tree["size"], hash_bytes(tree["root"])) == (seq, tree_root(edge))
            ):
                stated += 1
            else:
                log.fail(Bad("tree", f"{segment.name} states another tree of the records before it"), seq, 0, segment.name)
        check_shared(log, segment, edge)
        for node in segment.edge:
            add_node(edge, node)
    log.size, log.root = segments[-1].next.seq, base64.b64encode(tree_root(edge)).decode()
    if log.tree != "FAILED":
        log.tree = "ok" if stated else "computed"


def check_checkpoint(log: Log, segments: list[Segment], edge: list[Node] | None, checkpoint: Checkpoint, kept: bool) -> None:
    """The log begins with the records that were signed. `edge` is of the tree before the first file; `kept`: somewhere else."""
    first, size = segments[0].header, checkpoint.size
    former = {fork["old_origin"]: fork["seq"] for fork in log.forks} if kept else {}
    if checkpoint.origin != segments[-1].origin and checkpoint.origin not in former:
        return log.disagree(checkpoint, f"the checkpoint is of {checkpoint.origin}")
    if checkpoint.origin in former and size > former[checkpoint.origin]:
        return log.disagree(
            checkpoint, f"record {size - 1} was signed, and a fork at record {former[checkpoint.origin]} left it out"
        )
    if size > segments[-1].next.seq:
        return log.disagree(checkpoint, f"record {size - 1} was signed and is not there")
    before = first.seq if first else 0
    if size < before:
        return log.note("the checkpoint: the record it ends with was pruned")
    if size > before and not any(size - 1 in segment.batch_ends for segment in segments):
        return log.disagree(checkpoint, f"the checkpoint ends with record {size - 1}, where no batch ends")
    if edge is None:
        return log.note("the checkpoint: the hashes before the first file are not here")
    edge = list(edge)
    for segment in segments:
        start = segment.header.seq if segment.header else 0
        for seq, leaf in enumerate(segment.leaves[: max(0, size - start)], start):
            add_node(edge, (seq, 1, leaf))
    if tree_root(edge) != checkpoint.root:
        return log.disagree(checkpoint, f"the first {size} records are not those that were signed")
    log.sealed = log.sealed if log.sealed == "FAILED" else str(size)
    last = segments[-1].next.seq
    if last > size and not kept:
        log.note("after the checkpoint: to cut them off would not show in it", size, last - 1)


def read_head(name: str, path: Path) -> dict[str, Any] | None:
    """The watermark, or None when there is no head."""
    if not path.exists():
        return None
    head, _ = unseal(path.read_bytes())
    numbers = all(is_count(head.get(key)) for key in ("batch", "offset", "segment", "seq"))
    if set(head) != {"batch", "log", "offset", "segment", "seq", "tip"} or not numbers or head["log"] != name:
        raise Bad("form", "wrong members")
    return head


def check_head(log: Log, segments: list[Segment], head: dict[str, Any]) -> None:
    """The head must name the end of a batch of this log; `segment` is the first `seq` of the file that batch is in."""
    last = segments[-1].next.seq - 1
    first = segments[0].header
    if first and head["seq"] < first.seq and head["segment"] <= head["seq"] and head["batch"] < first.batch:
        log.note("the head: the record it names was pruned")
        return
    for segment in segments:
        if head["seq"] in segment.batch_ends and segment.header:
            named = (head["batch"], head["offset"], head["tip"], head["segment"])
            if named != (*segment.batch_ends[head["seq"]], segment.header.seq):
                break
            if last > head["seq"]:
                log.note("after the head: a cut back to it would not show", head["seq"] + 1, last)
            return
    why = f"the head names batch {head['batch']}, seq {head['seq']}, and the log has no such end"
    log.fail(Bad("chain", why), head["seq"], None, "head")


def oldest_first(files: list[Path]) -> list[tuple[Path, bool]]:
    """The files of a log in order, and whether each is the active one."""
    numbered = [(path, ANY_FILE.fullmatch(path.name)) for path in files]
    return sorted(((path, match is None or match[2] is None) for path, match in numbered), key=lambda file: (file[1], file[0].name))


def read_segments(log: Log, files: list[tuple[Path, bool]], watermark: int, by_hand: bool) -> list[Segment]:
    """Stops at the first file that fails: nothing behind it can be placed."""
    segments: list[Segment] = []
    twin: Path | None = None
    if len(files) > 1 and files[-1][1] and files[-1][0].read_bytes() == files[-2][0].read_bytes():
        twin = files[-2][0]
        log.note(f"an unfinished rotation: {twin.name} is the active file under its next name")
    for path, active in files:
        if path == twin:
            continue
        segment = read_segment(path.name, path.read_bytes(), segments[-1].next if segments else None)
        check_segment(log, segment, active, watermark)
        check_forks(log, segment)
        segment.data = b""
        header = segment.header
        if header is not None:
            if by_hand and not segments:
                log.log = header.payload["log"]
            elif header.payload["log"] != log.log:
                log.fail(Bad("chain", f"{path.name} is a segment of {header.payload['log']}"), header.seq, 0, path.name)
            numbered = twin if active else path
            if numbered is not None and not numbered.name.endswith(f".{header.seq:016d}.jsonl"):
                log.fail(Bad("chain", f"{numbered.name} begins with seq {header.seq}"), header.seq, 0, numbered.name)
        if segments:
            check_link(log, segments[-1], segment)
        segments.append(segment)
        if log.verdict == "corrupt":
            break
    return segments


def check_log(
    name: str,
    paths: list[Path],
    directory: Path | None,
    ledger: dict[str, str] | None = None,
    keys: list[bytes] | None = None,
    kept: list[Checkpoint] | None = None,
    quorum: Quorum | None = None,
) -> Log:
    """A log with all its files in a state directory, or some segments given by hand (no directory: then no head either)."""
    log = Log(name)
    checkpoints: list[Checkpoint] = []
    checkpoint_wrong: Bad | None = None
    if directory is not None and (directory / "log.d" / name / "checkpoint").exists():
        try:
            # Before the log is read, as the head: what it names was durable when it was written.
            checkpoints.append(read_checkpoint((directory / "log.d" / name / "checkpoint").read_bytes()))
        except Bad as bad:
            checkpoint_wrong = bad
    cosigned: list[Checkpoint] = []
    for path in sorted((directory / "log.d" / name).glob("cosigned.????????")) if directory is not None else ():
        try:
            cosigned.append(read_checkpoint(path.read_bytes()))
        except Bad as bad:
            checkpoint_wrong = Bad("tree", f"{path.name}: {bad}")
    head: dict[str, Any] | None = None
    head_wrong = Bad("chain", "the head is missing")
    files = oldest_first(paths)
    if directory is not None:
        # The head first: a daemon may be writing, and data is always older than the head that names it.
        try:
            head = read_head(name, directory / "log.d" / name / "head")
        except Bad as bad:
            head_wrong = Bad(bad.column, f"the head is bad: {bad}")
        if not files or not files[-1][1]:
            log.fail(Bad("chain", f"{name}.jsonl is missing"), None, None, f"{name}.jsonl")
    segments = read_segments(log, files, head["batch"] if head else -1, directory is None)
    log.segments = len(segments)
    log.records = sum(segment.records for segment in segments)
    if log.verdict == "corrupt":
        return log
    beginning = check_beginning(log, segments, directory is not None)
    check_tree(log, segments, list(beginning) if beginning is not None else None)
    if checkpoint_wrong:
        log.fail(checkpoint_wrong, None, None, "checkpoint")
    origins = {segments[-1].origin, *(fork["old_origin"] for fork in log.forks)}
    for checkpoint in [one for one in kept or [] if one.origin in origins] + checkpoints:
        check_checkpoint(log, segments, beginning, checkpoint, checkpoint not in checkpoints)
        log.compared.append(checkpoint.origin)
        signed = is_signed(checkpoint, keys or [])
        if signed is False:
            log.disagree(checkpoint, "the checkpoint is not signed with this key")
        log.signatures.append("FAILED" if signed is False else "ok" if signed else "not checked")
    vouched = check_cosigned(log, segments, beginning, cosigned, quorum or Quorum()) if directory is not None else 0
    if ledger is not None:
        origin, began = ledger.get(name), segments[-1].next.batch > 1 or log.verdict == "torn"
        if origin not in (None, segments[-1].origin):
            log.fail(Bad("chain", f"ledger.json names another origin, {origin}"), None, None, "ledger.json")
        if origin is None and began:
            log.fail(Bad("chain", "it holds records, and ledger.json does not name it"), None, None, "ledger.json")
    if head:
        check_head(log, segments, head)
    elif directory is None:
        log.note("no head was given: whole batches cut from the end would not show")
    elif segments[-1].next.batch > 1 or log.verdict == "torn":
        log.fail(head_wrong, None, None, "head")
    else:
        log.note("no sound head yet: nothing follows the genesis")
    last = segments[-1].next.seq - 1
    under = "" if log.sealed not in ("none", "FAILED") else "under no checkpoint, "
    first = max(last - log.records + 1, vouched)
    if first <= last:
        why = f"{under}not cosigned: a rewrite of the whole log by whoever has its keys would not show"
        log.note(f"{last - first + 1:,} record{'s' if last > first else ''} {why}", first, last)
    return log


def check_cosigned(log: Log, segments: list[Segment], edge: list[Node] | None, notes: list[Checkpoint], quorum: Quorum) -> int:
    """The log continues all that witnesses cosigned; up to where enough of them are known to agree."""
    for note in notes:
        if note.origin != segments[-1].origin:
            log.disagree(note, f"a witness cosigned a checkpoint of {note.origin}")
        else:
            sealed = log.sealed
            check_checkpoint(log, segments, edge, note, True)
            log.sealed = sealed if log.sealed != "FAILED" else "FAILED"
    log.cosigned, vouched = quorum.judge(notes)
    if log.cosigned == "FAILED":
        log.fail(Bad("tree", "a line says that it is a witness's, and is not"), None, None, "cosigned")
    if log.cosigned == "not checked":
        log.note("cosignatures: not checked")
    return vouched


# --- all logs ---------------------------------------------------------------------------------------------------------------------


def read_ledger(directory: Path) -> dict[str, str] | None:
    """The logs ever made and their origins; None when the file is not here or not understood."""
    try:
        logs = json.loads((directory / "ledger.json").read_bytes())["logs"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return logs if isinstance(logs, dict) and all(isinstance(origin, str) for origin in logs.values()) else None


def check_directory(
    directory: Path, keys: list[bytes], kept: list[Checkpoint], quorum: Quorum | None = None
) -> tuple[list[Log], list[str]]:
    if not keys and (directory / "keys" / "signing").is_file():
        public = public_of_secret((directory / "keys" / "signing").read_bytes())
        keys = [public] if public is not None else []
    files: dict[str, list[Path]] = {}
    others: list[str] = []
    for path in sorted(directory.iterdir()):
        match = LOG_FILE.fullmatch(path.name)
        if match:
            files.setdefault(match[1], []).append(path)
        elif path.name.endswith(".jsonl"):
            others.append(f"{path.name}: not the name of a log")
    ledger = read_ledger(directory)
    if ledger is None:
        others.append("which logs there should be: no ledger.json that tells")
    names = files.keys() | (ledger or {}).keys() | {path.parent.name for path in directory.glob("log.d/*/head")}
    return [check_log(name, files.get(name, []), directory, ledger, keys, kept, quorum) for name in sorted(names)], others


def is_kept_checkpoint(path: Path) -> bool:
    """By its name, or by a signature line behind an empty one, which no log holds: people give such a file any name."""
    if path.suffix == ".checkpoint":
        return True
    with open(path, "rb") as file:
        return b"\n\n\xe2\x80\x94 " in file.read(4096)


def check(arguments: list[Path], keys: list[bytes] | None = None, quorum: Quorum | None = None) -> dict[str, Any]:
    """The whole answer, as `--json` prints it. Raises OSError when something cannot be read, Bad for what is no checkpoint."""
    logs: list[Log] = []
    others: list[str] = []
    by_hand: dict[tuple[Path, str], list[Path]] = {}
    notes = [path for path in arguments if path.is_file() and is_kept_checkpoint(path)]
    kept = [read_checkpoint(path.read_bytes()) for path in notes]
    for path in [path for path in arguments if path not in notes]:
        if path.is_dir():
            found, unread = check_directory(path, keys or [], kept, quorum)
            logs += found
            others += unread
        else:
            file = ANY_FILE.fullmatch(path.name)
            by_hand.setdefault((path.parent, file[1] if file else path.name), []).append(path)
    logs += [check_log(name, files, None, None, keys, kept) for (_, name), files in by_hand.items()]
    compared = {origin for log in logs for origin in log.compared}
    others += [f"a checkpoint of {one.origin}: no sound log here is that one" for one in kept if one.origin not in compared]
    words = [word for log in logs for word in log.signatures]
    signatures = "FAILED" if "FAILED" in words else "ok" if words and "not checked" not in words else "not checked"
    unsigned = "" if signatures != "not checked" else "signatures, "
    others += [f"{unsigned}snapshots, blobs, replay; wall-clock times; that nothing was left unreported"]
    not_verified = [item for log in logs for item in log.not_verified] + [
        {"log": "all", "from": None, "to": None, "why": why} for why in others
    ]
    # `ok` would say that nothing is left to trust; without signatures something always is.
    result = "failed" if any(log.verdict == "corrupt" for log in logs) else "limited"
    rows = [
        {key: value for key, value in vars(log).items() if key not in ("not_verified", "signatures", "compared")} for log in logs
    ]
    return {"logs": rows, "not_verified": not_verified, "signatures": signatures, "result": result}


# --- proofs -----------------------------------------------------------------------------------------------------------------------


def check_proof(text: str, record: bytes | None, keys: list[bytes]) -> dict[str, Any]:
    """A C2SP tlog-proof: this record is number `index` of the log that the checkpoint in it is of."""
    above, empty, note = text.partition("\n\n")
    lines = [line for line in above.split("\n") if not re.fullmatch(r"extra [A-Za-z0-9+/]*=*", line)]
    index = re.fullmatch(r"index (0|[1-9][0-9]{0,15})", lines[1]) if len(lines) > 1 else None
    if lines[0] != "c2sp.org/tlog-proof@v1" or not empty or index is None:
        raise Bad("tree", "not a tlog-proof")
    checkpoint = read_checkpoint(note.encode())
    path = [base64_bytes(line) for line in lines[2:]]
    root = None
    if record is not None and int(index[1]) < checkpoint.size and all(len(node) == 32 for node in path):
        leaf = hashlib.sha256(b"\x00" + record.removesuffix(b"\n")).digest()
        root = root_by_path(leaf, int(index[1]), checkpoint.size, path)
    held = "not checked" if record is None else "ok" if root == checkpoint.root else "FAILED"
    found = {"origin": checkpoint.origin, "seq": int(index[1]), "size": checkpoint.size, "record": held}
    return found | ends(held, is_signed(checkpoint, keys))


def check_continues(old: bytes, answer: bytes, keys: list[bytes]) -> dict[str, Any]:
    """What `audit.checkpoint` answers to `since`: the new checkpoint, and the hashes that lead from the old one to it."""
    try:
        told = json.loads(answer)
        told = told.get("result", told)["checkpoints"][0]
        after, path = read_checkpoint(told["checkpoint"].encode()), [base64_bytes(text) for text in told["consistency"]]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Bad("tree", "not an answer of audit.checkpoint with since") from None
    before = read_checkpoint(old)
    fits = before.size <= after.size and before.origin == after.origin and all(len(node) == 32 for node in path)
    roots = roots_by_path(before.size, after.size, path, before.root) if fits else None
    held = "ok" if roots == (before.root, after.root) else "FAILED"
    words = {is_signed(checkpoint, keys) for checkpoint in (before, after)}
    found = {"origin": after.origin, "old": before.size, "new": after.size, "continues": held}
    return found | ends(held, False if False in words else None if None in words else True)


def ends(held: str, signed: bool | None) -> dict[str, str]:
    signatures = "not checked" if signed is None else "ok" if signed else "FAILED"
    words = (held, signatures)
    result = "failed" if "FAILED" in words else "limited" if "not checked" in words else "ok"
    return {"signatures": signatures, "result": result}


def table(report: dict[str, Any]) -> str:
    heads = ["log", "records", "segments", "chain", "form", "tree", "sealed", "cosigned", "snapshots"]
    words = ("chain", "form", "tree", "sealed", "cosigned")
    rows = [
        [log["log"], f"{log['records']:,}", str(log["segments"]), *(log[word] for word in words), "not checked"]
        for log in report["logs"]
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = []
    for row in [heads, *rows]:
        cells = zip(heads, row, widths, strict=True)
        padded = [cell.rjust(width) if head in ("records", "segments") else cell.ljust(width) for head, cell, width in cells]
        lines.append("  ".join(padded).rstrip())
    for log in report["logs"]:
        if log["verdict"] == "corrupt":
            bad = log["first_bad"]
            lines.append(f"FAILED  {log['log']}  {bad['file']}, seq {bad['seq']}, offset {bad['offset']}: {bad['why']}")
        elif log["root"]:
            lines.append(f"root    {log['log']}  {log['size']} {log['root']}")
    lines.append("NOT VERIFIED")
    width = max(len(item["log"]) for item in report["not_verified"])
    for item in report["not_verified"]:
        span = "" if item["to"] is None else f" ({item['from']}..{item['to']})"
        lines.append(f"  {item['log'].ljust(width)}  {item['why']}{span}")
    return "\n".join([*lines, f"signatures: {report['signatures']}", f"result: {report['result']}"])


USAGE = """usage: irer_verify.py DIR|FILE... [--vkey KEY]... [--witness KEY]... [--quorum N] [--json]
       irer_verify.py FILE.tlog-proof [RECORD] [--vkey KEY] [--json]
       irer_verify.py --continues OLD.checkpoint ANSWER.json [--vkey KEY] [--json]"""


def options(arguments: list[str]) -> tuple[list[Path], list[bytes], set[str], Quorum]:
    """Files, keys, flags, witnesses."""
    witnesses: list[Witness] = []
    least = "0"
    paths: list[Path] = []
    keys: list[bytes] = []
    flags: set[str] = set()
    rest = iter(arguments)
    for argument in rest:
        if argument == "--vkey":
            given = next(rest, "")
            keys.append(public_of_vkey(given if "+" in given else Path(given).read_text()))
        elif argument == "--witness":
            given = next(rest, "")
            witnesses.append(witness_of_vkey(given if "+" in given else Path(given).read_text()))
        elif argument == "--quorum":
            least = next(rest, "")
            if not least.isdecimal():
                raise Bad("form", "--quorum takes a number")
        elif argument in ("--json", "--continues"):
            flags.add(argument)
        elif argument.startswith("-"):
            raise Bad("form", f"{argument}: no such option")
        else:
            paths.append(Path(argument))
    return paths, keys, flags, Quorum(tuple(witnesses), int(least))


def answer(paths: list[Path], keys: list[bytes], flags: set[str], quorum: Quorum) -> dict[str, Any]:
    if "--continues" in flags and len(paths) == 2:
        return check_continues(paths[0].read_bytes(), paths[1].read_bytes(), keys)
    if paths[0].suffix == ".tlog-proof" and len(paths) <= 2:
        beside = paths[0].with_suffix(".json")
        record = paths[1] if len(paths) == 2 else beside if beside.exists() else None
        return check_proof(paths[0].read_text(encoding="utf-8"), record.read_bytes() if record else None, keys)
    return check(paths, keys, quorum)


def main(arguments: list[str]) -> int:
    if {"--help", "-h"} & set(arguments):
        print(USAGE)
        return 0
    try:
        paths, keys, flags, quorum = options(arguments)
        report = answer(paths, keys, flags, quorum) if paths and ("--continues" not in flags or len(paths) == 2) else None
    except OSError as error:
        print(f"irer_verify.py: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except (Bad, UnicodeDecodeError) as bad:
        print(f"irer_verify.py: {bad}\n{USAGE}", file=sys.stderr)
        return 2
    if report is None or not report.get("logs", True):
        print(USAGE if report is None else "irer_verify.py: no log here", file=sys.stderr)
        return 2
    if "--json" in flags:
        print(json.dumps(report, ensure_ascii=False, indent=2))
    elif "logs" in report:
        print(table(report))
    else:
        print("\n".join(f"{key}: {value}" for key, value in report.items()))
    return 1 if report["result"] == "failed" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
