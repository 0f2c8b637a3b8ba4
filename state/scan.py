"""Walks the bytes of one segment, batch by batch, up to the first byte that is not as it must be.

It judges shape, hash, form, `seq`, `parent_hash`, `commit` and alignment, and remembers where the last whole batch ends. What
a bad byte means, torn or corrupt, is recovery's to say. It reads through a function and never writes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Literal, NamedTuple

from state.seal import (
    ALIGN,
    LINE_BYTES_MAX,
    PAD_MEMBER_BYTES,
    RECORD_BYTES_MAX,
    RECORDS_MAX,
    ZERO_HASH,
    BadLine,
    Block,
    Record,
    parse,
    parse_block,
    unsealed,
)
from state.tree import leaf_hash, leaves_of

BLOCK_BYTES = 1_048_576
WALK_BYTES = 131_072
"""One step of a walk: what is larger leaves the cache of a core."""
INDEX_STEP_BYTES = 16_384
PROBE_BYTES = 8_192
"""Where a line is looked for: most are short, and to read as much as the longest may take is read for nothing."""
_LONG = 8
"""Records of a batch, from which on it is kept in columns."""
_PLACES = [b"%d" % place for place in range(RECORDS_MAX)]
_RECORD_START = b'{"actor":'
_SEQ = b',"seq":'

Read = Callable[[int, int], bytes]
"""`read(offset, size)`: that many bytes of the segment, fewer only at its end."""


class Position(NamedTuple):
    """The end of a whole batch, and what must come next."""

    offset: int
    seq: int
    batch: int
    tip: str


START = Position(0, 0, 0, ZERO_HASH)


class Bad(NamedTuple):
    """The first line that is not as it must be, and the `seq` it should have had."""

    offset: int
    seq: int
    why: str
    column: Literal["chain", "form"] = "chain"
    """Whether it is not what was sealed there, or was sealed in a wrong form."""


class Index:
    """Where batches start, one in every 16 KiB: enough to begin reading anywhere."""

    def __init__(self) -> None:
        self._seqs: list[int] = []
        self._offsets: list[int] = []

    def add(self, seq: int, offset: int) -> None:
        if not self._offsets or offset - self._offsets[-1] >= INDEX_STEP_BYTES:
            self._offsets.append(offset)
            self._seqs.append(seq)  # last: someone may be looking for a place meanwhile

    def offset_of(self, seq: int) -> int:
        """The start of a batch at or before this record."""
        place = bisect_right(self._seqs, seq) - 1
        return self._offsets[max(place, 0)] if self._offsets else 0


class Scan:
    """One walk. `end` is behind the last whole batch, `bad` is set when something follows that is none."""

    def __init__(self, read: Read, size: int, start: Position = START, *, hashing: bool = False) -> None:
        self._read = read
        self._size = size
        self._end = start
        self._given: Sequence[Record] | None = None
        """The batch behind which `_end` is not yet."""
        self.hashing = hashing
        """Whether the leaves of the tree are wanted."""
        self.leaves: list[bytes] = []
        """Those of the batch that was given last."""
        self.bad: Bad | None = None
        self._batch: Sequence[Record] = ()
        """What was read of a batch that is not whole yet, and its leaves."""
        self._leaves: list[bytes] = []

    @property
    def end(self) -> Position:
        if self._given is not None:
            last, self._given = self._given[-1], None
            self._end = Position(last.offset + last.size, last.seq + 1, last.commit[0] + 1, last.event_hash)
        return self._end

    def batches(self) -> Iterator[Sequence[Record]]:
        """Whole batches in order; ends at the end of the bytes or at `bad`."""
        for data in whole_lines(self._read, self.end.offset, self._size, WALK_BYTES):
            parsed = parse_block(data, self._offset)
            ends = self._ends(parsed[0]) if parsed is not None else None
            if parsed is None or ends is None:
                yield from self._one_by_one(data)
                if self.bad is not None:
                    return
            else:
                yield from self._at_once(*parsed, ends)
        if self._batch:
            self.bad = Bad(self._offset, self._seq, "the file ends inside a batch")

    @property
    def _offset(self) -> int:
        return self._batch[-1].offset + self._batch[-1].size if self._batch else self.end.offset

    @property
    def _seq(self) -> int:
        return self.end.seq + len(self._batch)

    @property
    def _tip(self) -> str:
        return self._batch[-1].event_hash if self._batch else self.end.tip

    def _ends(self, block: Block) -> list[int] | None:
        """Behind which of these records a batch is whole; None where one of them does not belong here, for `_misplaced` to say why.

        They follow one another. By columns: each step is taken for all of them.
        """
        _, _, commits, *_ = columns = block.columns
        count, pads, sizes, offsets = len(block), columns.pads, columns.sizes, columns.offsets
        if (block.parent_hash, columns.seqs[0]) != (self._tip, self._seq) or max(sizes) > RECORD_BYTES_MAX:
            return None
        if not self._batch and commits[0].endswith(b",0,1") and _are_ones(commits, self.end.batch):
            ends = list(range(1, count + 1))
        elif (found := self._ends_by(commits)) is not None:
            ends = found
        else:
            return None
        padded = list(compress(range(count), pads))
        if [place + 1 for place in padded] != ends:
            return None
        if any([len(pads[at]) >= ALIGN + PAD_MEMBER_BYTES or (offsets[at] + sizes[at]) % ALIGN for at in padded]):
            return None
        return ends

    def _ends_by(self, commits: Sequence[bytes]) -> list[int] | None:
        """The same by their `commit` alone, as it is written."""
        count, number, start, ends = len(commits), self.end.batch, 0, list[int]()
        place, batch = len(self._batch), self._batch[0].commit[2] if self._batch else 0
        while start < count:
            batch = batch or _last_of(commits[start])
            stop = min(count, start + batch - place)
            if not place < batch <= RECORDS_MAX:
                return None
            between = b",%d;%d," % (batch, number)
            expected = b"%d,%b,%d" % (number, between.join(_PLACES[place : place + stop - start]), batch)
            if b";".join(commits[start:stop]) != expected:
                return None
            if stop - start + place == batch:
                ends.append(stop)
                number, place, batch = number + 1, 0, 0
            start = stop
        return ends

    def _at_once(self, block: Block, lines: Sequence[bytes], ends: Sequence[int]) -> Iterator[Sequence[Record]]:
        """The whole batches in a block of which all records belong here."""
        records = block.records() if len(ends) * _LONG >= len(block) else None
        leaves, start = list[bytes](), 0
        for end in ends:
            batch: Sequence[Record] = records[start:end] if records is not None else block.cut(start, end)
            if self._batch:
                batch, self._batch = _joined(self._batch, batch), ()
            self._given = batch
            if self.hashing:
                leaves = leaves or leaves_of(lines)
                self.leaves = leaves[start:end]
                if self._leaves:
                    self.leaves, self._leaves = self._leaves + self.leaves, []
            yield batch
            start = end
        if start < len(block):
            self._batch = _joined(self._batch, block.cut(start, len(block)))
            if self.hashing:
                self._leaves += leaves[start:] or leaves_of(lines[start:])

    def _one_by_one(self, data: bytes) -> Iterator[Sequence[Record]]:
        """The same of lines of which one is not as it must be, or at the end of the file; sets `bad` at the first that is not."""
        for line in cut_lines(data):
            offset, seq, tip, batch = self._offset, self._seq, self._tip, list(self._batch)
            try:
                record = parse(line, offset)
            except BadLine as bad:
                self.bad = Bad(offset, seq, bad.why, "form" if _is_sealed(line) else "chain")
                return
            number, count = self.end.batch, batch[0].commit[2] if batch else record.commit[2]
            if why := _misplaced(record, seq, tip, (number, len(batch), count)):
                self.bad = Bad(offset, seq, why, "form" if (record.seq, record.parent_hash) == (seq, tip) else "chain")
                return
            batch.append(record)
            if self.hashing:
                self._leaves.append(leaf_hash(line))
            self._batch = batch
            if len(batch) == count:
                self._given, self._batch = batch, ()
                self.leaves, self._leaves = self._leaves, []
                yield batch


def _are_ones(commits: Sequence[bytes], number: int) -> bool:
    """Whether these are the `commit`s of batches of one record: most logs that are not busy have no others."""
    return list(commits) == [b"%d,0,1" % batch for batch in range(number, number + len(commits))]


def _last_of(commit: bytes) -> int:
    """How many records a batch has; 0 where it does not say."""
    _, _, count = commit.rpartition(b",")
    return int(count) if count.isdigit() else 0


def _joined(before: Sequence[Record], behind: Sequence[Record]) -> Sequence[Record]:
    if isinstance(before, Block) and isinstance(behind, Block):
        return before.joined(behind)
    return [*before, *behind] if before else behind


def _is_sealed(line: bytes) -> bool:
    try:
        unsealed(line)
    except BadLine:
        return False
    return True


def _misplaced(record: Record, seq: int, tip: str, commit: tuple[int, int, int]) -> str | None:
    """Why an intact line does not belong here."""
    if record.seq != seq:
        return f"seq is {record.seq}, expected {seq}"
    if record.parent_hash != tip:
        return "parent_hash is not the event_hash of the record before"
    if record.commit != commit or not 0 <= record.commit[1] < record.commit[2] <= RECORDS_MAX:
        return f"commit is {list(record.commit)}, expected {list(commit)}"
    size = record.size
    if record.pad is not None:
        if record.commit[1] + 1 != record.commit[2]:
            return "pad before the end of the batch"
        if record.pad >= ALIGN or (record.offset + size) % ALIGN:
            return f"the batch is not padded to a multiple of {ALIGN}"
        size -= record.pad + PAD_MEMBER_BYTES
    elif record.commit[1] + 1 == record.commit[2]:
        return "the last record of the batch has no pad"
    if size > RECORD_BYTES_MAX:
        return f"longer than {RECORD_BYTES_MAX} bytes"
    return None


def lines(read: Read, offset: int, end: int, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Lines with their 0x0A. What follows the last 0x0A, or is longer than any record, comes as it is, and is the last."""
    for block in line_blocks(read, offset, end, block_bytes):
        yield from block


def line_blocks(read: Read, offset: int, end: int, block_bytes: int) -> Iterator[list[bytes]]:
    """The same, as many at a time as one read brings."""
    return map(cut_lines, whole_lines(read, offset, end, block_bytes))


def cut_lines(data: bytes) -> list[bytes]:
    *whole, rest = data.split(b"\n")
    cut = [line + b"\n" for line in whole]
    return [*cut, rest] if rest else cut


def whole_lines(read: Read, offset: int, end: int, block_bytes: int) -> Iterator[bytes]:
    """The same, not cut: blocks that end with a 0x0A, and at last what follows the last of them."""
    rest = b""
    while offset < end:
        block = read(offset, min(block_bytes, end - offset))
        if not block:
            break
        offset += len(block)
        cut = block.rfind(b"\n") + 1
        if cut:
            yield b"".join((rest, memoryview(block)[:cut]))
            rest = b""
        rest += block[cut:]
        if len(rest) > LINE_BYTES_MAX:
            break
    if rest:
        yield rest


def later_batch(read: Read, offset: int, end: int, batch: int) -> int | None:
    """The offset of an intact line of a later batch than this, wherever it starts; None if there is none.

    A damaged 0x0A joins two lines, so a record is looked for at each place where one could start.
    """
    for start, piece in _pieces(read, offset, end):
        place = 0
        while place >= 0:
            try:
                record = parse(piece[place:], start + place)
            except BadLine:
                place = piece.find(_RECORD_START, place + 1)
                continue
            if record.commit[0] > batch:
                return start + place
            break
    return None


def _pieces(read: Read, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    """What ends in 0x0A, with its offset; of a longer piece the last bytes that could be a record."""
    rest = b""
    while offset < end:
        block = read(offset, min(BLOCK_BYTES, end - offset))
        if not block:
            return
        start = offset - len(rest)
        offset += len(block)
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            cut = max(0, len(line) + 1 - LINE_BYTES_MAX)
            yield start + cut, line[cut:] + b"\n"
            start += len(line) + 1
        rest = rest[-LINE_BYTES_MAX:]


def seq_of(line: bytes) -> int:
    """The `seq` of a stored line, without parsing the rest of it."""
    place = line.rfind(_SEQ)
    return int(line[place + len(_SEQ) : line.index(b",", place + 1)])


def offset_near(read: Read, size: int, seq: int) -> int:
    """The start of a line at or a little before this record, in a segment that holds it: by halving, without an index."""
    low, high = 0, size
    while high - low > PROBE_BYTES:
        middle = (low + high) // 2
        line = b""
        for probe in (PROBE_BYTES, 2 * LINE_BYTES_MAX):
            block = read(middle, probe)
            begin = block.find(b"\n") + 1
            end = block.find(b"\n", begin) + 1
            if begin and end:
                line = block[begin:end]
                break
        if line and seq_of(line) <= seq:
            low = middle + begin
        else:
            high = middle
    return low
