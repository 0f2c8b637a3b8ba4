"""One record, as the bytes that stand in a log for ever: sealed from its fields, and read back with every byte accounted for.

`event_hash` is the SHA-256 of the line as stored, without that member: found by length, never searched, and nothing is ever
encoded again before it is hashed. The form is described in docs/log-format.md.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple

import msgspec

from core.engine import Stamp

ALIGN = 512
"""A batch ends on a multiple of this, so that a sector destroyed by a power cut never holds acknowledged records."""
RECORDS_MAX = 256
"""Records of one batch, so also of one command."""
BATCH_BYTES_MAX = 1_048_576
"""Bytes of one batch before its last record is padded."""
RECORD_BYTES_MAX = 60_000
"""Bytes of one record, its 0x0A included, before it is padded."""
LINE_BYTES_MAX = 65_535
ZERO_HASH = "0" * 64
INTEGER_MAX = 2**53 - 1

_TAIL_BYTES = len(',"event_hash":"') + 64 + len('"}\n')
_ENVELOPE_BYTES_MAX = len(
    '{"actor":"","boot_id":"00000000","commit":[9007199254740991,255,256],"event_type":"","mono_us":9007199254740991,'
    f'"parent_hash":"{ZERO_HASH}","payload":,"seq":9007199254740991,"timestamp":9007199254.740991,"event_hash":"{ZERO_HASH}"}}\n'
)
_IDEM_BYTES = len(',"idem":{"digest":"","key":""}')

ACTOR = r"[ !#-\[\]-~]{1,64}"
"""Printable ASCII but for the two characters that JSON would escape."""
EVENT_TYPE = r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+"
_INTEGER = r"(?:0|[1-9][0-9]{0,15})"
_FIELDS = (
    rf'"actor":"({ACTOR})"',
    r'"boot_id":"([0-9a-f]{8})"',
    rf'"commit":\[({_INTEGER}),({_INTEGER}),({_INTEGER})\]',
    rf'"event_type":"(?=[a-z0-9_.]{{1,64}}")({EVENT_TYPE})"'
    + r'(?:,"idem":\{"digest":"([0-9a-f]{32})","key":"([A-Za-z0-9._:-]{8,64})"\})?',
    rf'"mono_us":({_INTEGER})(?:,"pad":"( *)")?',
    r'"parent_hash":"([0-9a-f]{64})"',
    r'"payload":(\{[^\n]*\})',
    rf'"seq":({_INTEGER})',
    r'"timestamp":((?:0|[1-9][0-9]{0,9})\.[0-9]{6})',
    r'"event_hash":"((?s:.{64}))"',  # whatever it is, it is compared with the hash of the bytes
)
_LINE = re.compile(("\\{" + ",".join(_FIELDS) + "\\}\n\\Z").encode())
_raw = msgspec.json.Decoder(msgspec.Raw)  # walks the whole value, makes nothing of it
_ACTOR = re.compile(ACTOR + r"\Z")
_EVENT_TYPE = re.compile(EVENT_TYPE + r"\Z")
_BOOT_ID = re.compile(r"[0-9a-f]{8}\Z")
_DIGEST = re.compile(r"[0-9a-f]{32}\Z")
_KEY = re.compile(r"[A-Za-z0-9._:-]{8,64}\Z")


class TooLarge(ValueError):
    """A record or a command over the limits of the format."""


class BadLine(ValueError):
    """These bytes are no record; `why` is one short sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Pending(NamedTuple):
    """One record before it has a place: all that `decide` fixed."""

    event_type: str
    payload: bytes
    actor: str
    boot_id: str
    mono_us: int
    time_us: int
    idem: tuple[str, str] | None = None
    """Digest and key, on the first record of a keyed command."""


class Record(NamedTuple):
    """One sealed record, read back. `payload` is its canonical bytes, `offset` and `size` are its place in its file."""

    actor: str
    boot_id: str
    commit: tuple[int, int, int]
    event_type: str
    idem: tuple[str, str] | None
    mono_us: int
    pad: int | None
    """Spaces that align the batch; None but in its last record."""
    parent_hash: str
    payload: bytes
    seq: int
    time_us: int
    event_hash: str
    offset: int
    size: int

    def stamp(self, log: str) -> Stamp:
        return Stamp(log, self.seq, self.time_us, self.mono_us, self.boot_id, self.actor)


def measure(pending: Pending) -> int:
    """The most bytes this record can take before padding, wherever it lands; raises TooLarge."""
    size = _ENVELOPE_BYTES_MAX + len(pending.actor) + len(pending.event_type) + len(pending.payload)
    if pending.idem is not None:
        size += _IDEM_BYTES + len(pending.idem[0]) + len(pending.idem[1])
    if size > RECORD_BYTES_MAX:
        raise TooLarge(f"a record of {size:,} bytes; at most {RECORD_BYTES_MAX:,} fit")
    return size


def seal(pending: Pending, commit: tuple[int, int, int], parent_hash: str, seq: int, offset: int) -> tuple[bytes, str]:
    """The line that starts at `offset`, and its `event_hash`. The last record of a batch is padded to the alignment."""
    event_type, payload, actor, boot_id, mono_us, time_us, idem = pending
    batch, index, count = commit
    if not (0 <= time_us <= INTEGER_MAX and 0 <= mono_us <= INTEGER_MAX):
        raise ValueError("a time before 1970 or beyond the safe integers")
    if payload[:1] != b"{" or b"\n" in payload:
        raise ValueError("the payload is no canonical object")
    before, after = _names(actor, boot_id, event_type)
    keyed = b"" if idem is None else _keyed(*idem)
    head = b'%b[%d,%d,%d]%b%b,"mono_us":%d' % (before, batch, index, count, after, keyed, mono_us)
    rest = b',"parent_hash":"%b","payload":%b,"seq":%d,"timestamp":%d.%06d' % (
        parent_hash.encode(),
        payload,
        seq,
        time_us // 1_000_000,
        time_us % 1_000_000,
    )
    if index == count - 1:
        bare = offset + len(head) + len(rest) + len(',"pad":""') + _TAIL_BYTES
        head = b'%b,"pad":"%b"' % (head, b" " * (-bare % ALIGN))
    body = head + rest
    event_hash = sha256(body + b"}").hexdigest()
    return b'%b,"event_hash":"%b"}\n' % (body, event_hash.encode()), event_hash


def _keyed(digest: str, key: str) -> bytes:
    if _DIGEST.match(digest) is None or _KEY.match(key) is None:
        raise ValueError(f"{(digest, key)!r} is no idempotency key with its digest")
    return b',"idem":{"digest":"%b","key":"%b"}' % (digest.encode(), key.encode())


@lru_cache(maxsize=1024)
def _names(actor: str, boot_id: str, event_type: str) -> tuple[bytes, bytes]:
    """The members around `commit`. Names repeat, so they are judged once."""
    if _ACTOR.match(actor) is None:
        raise ValueError(f"{actor!r} is no actor")
    if _BOOT_ID.match(boot_id) is None:
        raise ValueError(f"{boot_id!r} is no boot id")
    if len(event_type) > 64 or _EVENT_TYPE.match(event_type) is None:
        raise ValueError(f"{event_type!r} is no event type")
    return f'{{"actor":"{actor}","boot_id":"{boot_id}","commit":'.encode(), f',"event_type":"{event_type}"'.encode()


def parse(line: bytes, offset: int = 0) -> Record:
    """The record in one whole line, 0x0A included; raises BadLine. Its place in the chain is the scan's to judge."""
    match = _LINE.match(line)
    if match is None:
        raise BadLine(_shape(line))
    actor, boot_id, batch, index, count, event_type, digest, key, mono, pad, parent, payload, seq, when, stored = match.groups()
    event_hash = sha256(line[:-_TAIL_BYTES] + b"}").hexdigest()
    if event_hash.encode() != stored:
        raise BadLine("event_hash does not match the bytes")
    try:
        _raw.decode(payload)
    except msgspec.DecodeError:
        raise BadLine("the payload is no JSON object") from None
    mono_us, time_us = int(mono), int(when.replace(b".", b""))
    if mono_us > INTEGER_MAX or time_us > INTEGER_MAX:
        raise BadLine("a time beyond the safe integers")
    return Record(
        actor.decode(),
        boot_id.decode(),
        (int(batch), int(index), int(count)),
        event_type.decode(),
        None if digest is None else (digest.decode(), key.decode()),
        mono_us,
        None if pad is None else len(pad),
        parent.decode(),
        payload,
        int(seq),
        time_us,
        event_hash,
        offset,
        len(line),
    )


def parse_many(lines: Sequence[bytes], offset: int) -> list[Record] | None:
    """The records in these whole lines, which begin at `offset`. Each step is taken for all of them at once: twice as fast.

    None where one of them is none, for `parse` to say which and why.
    """
    matches = [_LINE.match(line) for line in lines]
    if None in matches:
        return None
    columns = zip(*[match.groups() for match in matches if match is not None], strict=True)
    actors, boots, batches, places, counts, types, digests, keys, monos, pads, parents, payloads, seqs, times, stored = columns
    hashes = [sha256(line[:-_TAIL_BYTES] + b"}").hexdigest() for line in lines]
    if "".join(hashes).encode() != b"".join(stored):
        return None
    try:
        for payload in payloads:
            _raw.decode(payload)
    except msgspec.DecodeError:
        return None
    mono_us, time_us = list(map(int, monos)), [int(when.replace(b".", b"")) for when in times]
    if max(mono_us) > INTEGER_MAX or max(time_us) > INTEGER_MAX:
        return None
    sizes = list(map(len, lines))
    return list(
        map(
            Record._make,
            zip(
                _texts(actors),
                _texts(boots),
                zip(map(int, batches), map(int, places), map(int, counts), strict=True),
                _texts(types),
                [None if digest is None else (digest.decode(), key.decode()) for digest, key in zip(digests, keys, strict=True)],
                mono_us,
                [None if pad is None else len(pad) for pad in pads],
                _texts(parents),
                payloads,
                map(int, seqs),
                time_us,
                hashes,
                accumulate(sizes[:-1], initial=offset),
                sizes,
                strict=True,
            ),
        )
    )


def _texts(column: Sequence[bytes]) -> list[str]:
    """No member contains 0x0A, so one decoding serves them all."""
    return b"\n".join(column).decode().split("\n")


def _shape(line: bytes) -> str:
    """Why a line has not the shape of a record, in the order in which people look."""
    if not line.endswith(b"\n"):
        return "the line does not end"
    if not line.startswith(b'{"actor":"'):
        return "not a record"
    if line[-_TAIL_BYTES:-67] != b',"event_hash":"' or not line.endswith(b'"}\n'):
        return "the line does not end in an event_hash"
    return "a member is missing, misplaced or malformed"


def sealed_line(canonical: bytes) -> bytes:
    """Any canonical object sealed as a record is: its own hash becomes its last member."""
    digest = sha256(canonical).hexdigest()
    return b'%b,"event_hash":"%b"}\n' % (canonical[:-1], digest.encode())


def unsealed(line: bytes) -> bytes:
    """The canonical object inside a sealed line; raises BadLine."""
    if line[-_TAIL_BYTES:-67] != b',"event_hash":"' or not line.endswith(b'"}\n'):
        raise BadLine(_shape(line) if line.startswith(b'{"actor":"') else "the line does not end in an event_hash")
    canonical = line[:-_TAIL_BYTES] + b"}"
    if sha256(canonical).hexdigest().encode() != line[-67:-3]:
        raise BadLine("event_hash does not match the bytes")
    return canonical
