"""One record, as the bytes that stand in a log for ever: sealed from its fields, and read back with every byte accounted for.

`event_hash` is the SHA-256 of the line as stored, without that member: found by length, never searched, and nothing is ever
encoded again before it is hashed. The form is described in docs/log-format.md.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from itertools import accumulate, repeat
from operator import itemgetter
from typing import Annotated, Any, NamedTuple, overload

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
_SURELY_FITS_BYTES = RECORD_BYTES_MAX - 2_048
_AT_ONCE_MIN = 16
"""Shorter batches are sealed sooner record by record."""
ZERO_HASH = "0" * 64
INTEGER_MAX = 2**53 - 1

_TAIL_BYTES = len(',"event_hash":"') + 64 + len('"}\n')
_TAIL_FROM_END = 1 - _TAIL_BYTES
"""Where the tail begins in a line without its 0x0A."""
PAD_MEMBER_BYTES = len(',"pad":""')
_ENVELOPE_BYTES_MAX = len(
    '{"actor":"","boot_id":"00000000","commit":[9007199254740991,255,256],"event_type":"","mono_us":9007199254740991,'
    f'"parent_hash":"{ZERO_HASH}","payload":,"seq":9007199254740991,"timestamp":9007199254.740991,"event_hash":"{ZERO_HASH}"}}\n'
)
_IDEM_BYTES = len(',"idem":{"digest":"","key":""}')
_DIGEST_CHARS = 32
_KEY_AT = _DIGEST_CHARS + len('","key":"')

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
_PARENT, _PAYLOAD = '_hash":"', '","payload":'
_OPEN, _CLOSE = ',"event_hash":"', '"}'
_ROWS = re.compile(
    b"(?ms)^"
    rb'(.{10}[^"]*+.{33})([^]]*+)(.{16}[^"]*+)"'
    rb'(?:,"mono_us":|,"idem":\{"digest":"([0-9a-f]{32}","key":"[A-Za-z0-9._:-]{8,64})"\},"mono_us":)([0-9]{1,16}+)'
    rb'(?:,"parent|(,"pad":" *+"),"parent)(.{84})'
    rb'(\{(?:[^}]*+|[^\n]*)\}),"seq":([0-9]{1,16}+),"timestamp":([1-9][0-9]{0,9}+\.[0-9]{6})(.{81})\n'
)
"""The columns of many lines. What is of one length is taken as it lies, with the names of the members around it, and what repeats
with those before it: each column is then held against what must stand there, at once. It is looser than `_LINE` only in what is
judged so; where it is narrower, `parse` has the last word.
"""
_encode_numbers = msgspec.json.Encoder().encode
_first_byte = itemgetter(slice(1))
_PLACES = [b"%d" % place for place in range(RECORDS_MAX)]
_raw = msgspec.json.Decoder(msgspec.Raw)  # walks the whole value, makes nothing of it
_integers = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(le=INTEGER_MAX)]])  # takes no leading zeros
_commits = msgspec.json.Decoder(list[tuple[int, int, int]])
_MAKER_MEMBERS = re.compile(rf'\{{"actor":"({ACTOR})","boot_id":"([0-9a-f]{{8}})","commit":\[\Z'.encode())
_TYPE_MEMBER = re.compile(rf'\],"event_type":"((?=[a-z0-9_.]{{1,64}}\Z){EVENT_TYPE})\Z'.encode())
_COMMIT, _HEX = re.compile(rf"{_INTEGER},{_INTEGER},{_INTEGER}\Z".encode()), re.compile(rb"[0-9a-f]{64}\Z")
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


def seal_many(records: Sequence[Pending], batch: int, parent_hash: str, seq: int, offset: int) -> tuple[list[bytes], list[str]]:
    """The lines of one batch, without their 0x0A, and their `event_hash`es: as `seal` makes them one by one, in half the time."""
    count = len(records)
    lines: list[bytes] = []
    hashes: list[str] = []
    if count >= _AT_ONCE_MIN:
        tip, add_body, add_hash = parent_hash.encode(), lines.append, hashes.append
        for form, place, keyed, mono, payload, at, time in _columns(records[:-1], batch, count, seq):
            body = form % (place, keyed, mono, tip, payload, at, time)
            event_hash = sha256(body + b"}").hexdigest()
            tip = event_hash.encode()
            add_body(body)
            add_hash(event_hash)
        tails = _framed(hashes, _OPEN, _CLOSE + "\n").split(b"\n")
        lines = [body + tail for body, tail in zip(lines, tails, strict=False)]
        offset, parent_hash = offset + sum(map(len, lines)) + len(lines), event_hash
    for index in range(len(lines), count):
        if len(records[index].payload) > _SURELY_FITS_BYTES:
            measure(records[index])
        line, parent_hash = seal(records[index], (batch, index, count), parent_hash, seq + index, offset)
        offset += len(line)
        lines.append(line[:-1])
        hashes.append(parent_hash)
    return lines, hashes


_Row = tuple[bytes, bytes, bytes, int, bytes, int, bytes]


def _columns(records: Sequence[Pending], batch: int, count: int, seq: int) -> Iterable[_Row]:
    """The first records of a batch of `count`, judged and put in columns: of each the form that holds its names, its place, the
    member of its key, its `mono_us`, payload, `seq`, and what the form does not say of its time.
    """
    event_types, payloads, actors, boots, monos, times, idems = zip(*records, strict=True)
    ordered, monos_ordered = sorted(times), sorted(monos)  # mostly they are, and then this is one look at each
    earliest, latest = ordered[0], ordered[-1]
    if earliest < 0 or latest > INTEGER_MAX or monos_ordered[0] < 0 or monos_ordered[-1] > INTEGER_MAX:
        raise ValueError("a time before 1970 or beyond the safe integers")
    joined = b"".join(payloads)
    if set(map(_first_byte, payloads)) != {b"{"} or b"\n" in joined:
        raise ValueError("the payload is no canonical object")
    if len(joined) > _SURELY_FITS_BYTES:
        for record in records:
            measure(record)
    start, moments = _moments(times, earliest, latest)
    if all([column.count(column[0]) == len(column) for column in (event_types, actors, boots)]):  # most batches
        form: Iterable[bytes] = repeat(_form(actors[0], boots[0], event_types[0], batch, count, start))
    else:
        names = list(zip(actors, boots, event_types, strict=True))
        forms = {each: _form(*each, batch, count, start) for each in set(names)}
        form = map(forms.__getitem__, names)
    keyed = [_keyed(*idem) if idem is not None else b"" for idem in idems] if any(idems) else repeat(b"")
    return zip(form, _PLACES, keyed, monos, payloads, range(seq, seq + count), moments, strict=False)


def _moments(times_us: Sequence[int], earliest: int, latest: int) -> tuple[bytes, list[bytes]]:
    """What the times of all begin with, and of each the rest. Most batches lie in one second."""
    second = earliest // 1_000_000
    if not second or second != latest // 1_000_000:
        return b"", [b"%d.%06d" % divmod(time, 1_000_000) for time in times_us]
    return b"%d." % second, (b"," + _encode_numbers(times_us)[1:-1]).split(b",%d" % second)[1:]


def _form(actor: str, boot_id: str, event_type: str, batch: int, count: int, start: bytes) -> bytes:
    """What is hashed of a record whose names are these and whose time begins so, but for the last brace, with holes."""
    before, after = _names(actor, boot_id, event_type)
    opened = before.replace(b"%", b"%%")  # an actor may be called so
    holes = b'%b,"mono_us":%d,"parent_hash":"%b","payload":%b,"seq":%d,"timestamp":'
    return b"%b[%d,%%b,%d]%b%b%b%%b" % (opened, batch, count, after, holes, start)


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
    except (msgspec.DecodeError, RecursionError):  # nothing is stored that is nested so deep
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


class Columns(NamedTuple):
    """The members of records, each in a row of its own; those that few look at as they were written."""

    actors: Sequence[str]
    boot_ids: Sequence[str]
    commits: Sequence[bytes]
    event_types: Sequence[str]
    idems: Sequence[tuple[str, str] | None]
    monos_us: Sequence[int]
    pads: Sequence[bytes]
    """With the name of the member; empty where there is none."""
    payloads: Sequence[bytes]
    seqs: Sequence[int]
    times_us: Sequence[int]
    hashes: Sequence[str]
    offsets: Sequence[int]
    sizes: Sequence[int]


class Block(Sequence[Record]):
    """Records that follow one another, kept as columns. One is made where somebody looks at it: most are only replayed."""

    __slots__ = ("_made", "_seen", "columns", "parent_hash")

    def __init__(self, columns: Columns, parent_hash: str) -> None:
        self.columns = columns
        self.parent_hash = parent_hash
        """Of the first: that of any other is the hash of the one before."""
        self._made: list[Record] | None = None
        self._seen: dict[int, Record] = {}

    def __len__(self) -> int:
        return len(self.columns.seqs)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        if self._made is not None or isinstance(place, slice):
            return self.records()[place]
        if (record := self._seen.get(place)) is None:
            record = self._seen[place] = self._one(range(len(self))[place])
        return record

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records())

    def records(self) -> list[Record]:
        if self._made is None:
            actors, boots, commits, types, idems, monos, pads, *rest = columns = self.columns
            lengths = [len(pad) - PAD_MEMBER_BYTES if pad else None for pad in pads]
            parents = [self.parent_hash, *columns.hashes[:-1]]
            judged = _commits.decode(b"[[%b]]" % b"],[".join(commits))
            made = zip(actors, boots, judged, types, idems, monos, lengths, parents, *rest, strict=True)
            self._made = list(map(_record, made))
        return self._made

    def _one(self, place: int) -> Record:
        columns = self.columns
        actor, boot_id, _, event_type, idem, mono_us, _, *rest = [column[place] for column in columns]
        commit, pad = tuple(map(int, columns.commits[place].split(b","))), columns.pads[place]
        length = len(pad) - PAD_MEMBER_BYTES if pad else None
        parent = columns.hashes[place - 1] if place else self.parent_hash
        return _record((actor, boot_id, commit, event_type, idem, mono_us, length, parent, *rest))

    def cut(self, start: int, stop: int) -> "Block":
        parent = self.columns.hashes[start - 1] if start else self.parent_hash
        return Block(Columns._make([column[start:stop] for column in self.columns]), parent)

    def joined(self, behind: "Block") -> "Block":
        """These, and those that follow them."""
        columns = [[*one, *other] for one, other in zip(self.columns, behind.columns, strict=True)]
        return Block(Columns._make(columns), self.parent_hash)


def parse_block(block: bytes, offset: int) -> tuple[Block, list[bytes]] | None:
    """The records in a block of whole lines which begins at `offset`, each step taken for all of them at once: four times as fast.
    With them the lines without their 0x0A. Their `commit`s are not judged yet: who knows what they must be compares them.

    None where one of them is no record, or does not follow the one before: for `parse` to say which and why.
    """
    *lines, rest = block.split(b"\n")
    rows = _ROWS.findall(block)
    if rest or not lines or len(rows) != len(lines):
        return None
    makers, commits, types, keyed, monos, pads, parents, payloads, seqs, times, stored = zip(*rows, strict=True)
    hashes = [sha256(line[:_TAIL_FROM_END] + b"}").hexdigest() for line in lines]
    first = parents[0][len(_PARENT) : -len(_PAYLOAD)]
    if b"".join(stored) != _framed(hashes, _OPEN, _CLOSE) or _HEX.match(first) is None:
        return None
    if b"".join(parents) != _framed([first.decode(), *hashes[:-1]], _PARENT, _PAYLOAD) or not _are_objects(payloads):
        return None
    maker_names, type_names = _named(makers, _MAKER_MEMBERS), _named(types, _TYPE_MEMBER)
    if maker_names is None or type_names is None:
        return None
    (actors, boot_ids), (event_types,) = maker_names, type_names
    at = int(seqs[0])
    block_seqs = list(range(at, at + len(seqs)))
    try:
        monos_us = _integers.decode(b"[%b]" % b",".join(monos))
        times_us = _integers.decode(b"[%b]" % b",".join(times).replace(b".", b""))
    except msgspec.DecodeError:
        return None
    if b"[%b]" % b",".join(seqs) != _encode_numbers(block_seqs):
        return None
    sizes = [len(line) + 1 for line in lines]
    offsets = list(accumulate(sizes[:-1], initial=offset))
    names = actors, boot_ids, commits, event_types, _idems(keyed)
    columns = Columns(*names, monos_us, pads, payloads, block_seqs, times_us, hashes, offsets, sizes)
    return Block(columns, first.decode()), lines


def _framed(hashes: Iterable[str], before: str, behind: str) -> bytes:
    return (before + (behind + before).join(hashes) + behind).encode()


_record: Callable[[tuple[Any, ...]], Record] = partial(tuple.__new__, Record)
"""As `Record._make`, which counts again what is counted already."""


def _named(column: Sequence[bytes], shape: re.Pattern[bytes]) -> list[Sequence[str]] | None:
    """A row for each name in the shape. They repeat, so each is judged and made a text once; None where one has not this shape."""
    if column.count(column[0]) == len(column):
        match = shape.match(column[0])
        return [[name.decode()] * len(column) for name in match.groups()] if match is not None else None
    found = {each: [name.decode() for name in match.groups()] for each in set(column) if (match := shape.match(each)) is not None}
    try:
        return list(zip(*[found[each] for each in column], strict=True))
    except KeyError:
        return None


def _are_objects(payloads: Iterable[bytes]) -> bool:
    try:
        for _ in map(_raw.decode, payloads):
            continue
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _idems(keyed: Sequence[bytes]) -> list[tuple[str, str] | None]:
    if not any(keyed):
        return [None] * len(keyed)
    return [(each[:_DIGEST_CHARS].decode(), each[_KEY_AT:].decode()) if each else None for each in keyed]


def parse_many(lines: Sequence[bytes], offset: int) -> list[Record] | None:
    """The same of lines that are cut already, each with its 0x0A."""
    parsed = parse_block(b"".join(lines), offset)
    if parsed is None or not all(map(_COMMIT.match, parsed[0].columns.commits)):
        return None
    return parsed[0].records()


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
