"""What the bytes of a log mean: which batches are sound, and whether what follows them is torn or corrupt.

Torn is what a crash leaves of a batch that nobody was told of. Everything else that is not as it must be is corrupt. Recovery
and verification share this judge, so that they never disagree; it changes nothing.
"""

import errno
import re
from collections.abc import Iterator

import msgspec

from state.fs import Files
from state.ledger import NewerFormat
from state.log import FORMAT, Head, genesis, read_at, read_head
from state.scan import Bad, Position, Scan, later_batch
from state.seal import BadLine, Record


class Corrupt(Exception):
    """A log is not what was acknowledged. The batches before `offset` are sound; nothing was changed."""

    def __init__(self, log: str, offset: int, seq: int, why: str) -> None:
        super().__init__(f"{log}: record {seq} at byte {offset:,}: {why}")
        self.log = log
        self.offset = offset
        self.seq = seq
        self.why = why


def refuse_segments(files: Files, name: str) -> None:
    """A log of several segments was written by a later version; half of it is no log."""
    closed = [found for found in files.list(".") if re.fullmatch(rf"{name}\.[0-9]{{16}}\.jsonl", found)]
    if closed:
        raise NewerFormat(
            f"{name} has closed segments ({closed[0]}), which this version does not read. "
            "Nothing was changed. Start the version that wrote them"
        )


def head_of(files: Files, name: str) -> Head | str | None:
    """The head, or why it cannot be believed, or None where there is none."""
    try:
        head = read_head(files, name)
    except BadLine as bad:
        return f"the head is damaged: {bad.why}"
    if head is not None and (head.log != name or head.segment != 0):
        return f"the head is of {head.log}, segment {head.segment}"
    return head


class Judge:
    """One walk along the active segment as it is now: first all of `batches`, then `judge`."""

    def __init__(self, files: Files, name: str, fd: int, head: Head | str | None, origin: str | None = None) -> None:
        self.size = files.stat(fd).size
        self._files = files
        self._fd = fd
        self._name = name
        self._head = head
        self._origin = origin
        self._scan = Scan(self._read, self.size)

    @property
    def end(self) -> Position:
        """Behind the last whole batch so far."""
        return self._scan.end

    @property
    def bad(self) -> Bad | None:
        return self._scan.bad

    def batches(self) -> Iterator[list[Record]]:
        """Every whole batch; raises Corrupt for one that another file contradicts."""
        for batch in self._scan.batches():
            if batch[0].seq == 0:
                _check_genesis(self._name, batch, self._origin)
            if isinstance(self._head, Head) and batch[0].commit[0] == self._head.batch:
                _check_tip(self._name, batch, self._head)
            yield batch

    def judge(self) -> None:
        """Raises Corrupt; where it does not, `bad` is None or begins a torn tail."""
        why = self._verdict()
        if why is not None:
            raise Corrupt(
                self._name, self.bad.offset if self.bad else self.end.offset, self.bad.seq if self.bad else self.end.seq, why
            )

    def _verdict(self) -> str | None:
        bad, unfinished, head = self.bad, self.end.batch, self._head
        if bad is not None and unfinished == 0:
            return f"the first batch is damaged: {bad.why}"
        if unfinished == 0:
            return "the file is empty"
        if bad is not None or unfinished > 1:
            if head is None:
                return f"{bad.why}, and the head is missing" if bad else "the head is missing"
            if isinstance(head, str):
                return head
        watermark = head.batch if isinstance(head, Head) else 0
        if bad is None:
            return f"batch {watermark} was durable and is gone" if unfinished <= watermark else None
        if unfinished <= watermark:
            return f"{bad.why}, in a batch that was durable"
        later = later_batch(self._read, bad.offset, self.size, unfinished)
        return f"{bad.why}, before an intact later batch at byte {later:,}" if later is not None else None

    def _read(self, offset: int, size: int) -> bytes:
        try:
            return read_at(self._files, self._fd, offset, size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise Corrupt(self._name, self.end.offset, self.end.seq, f"cannot be read at byte {offset:,}") from error


def _check_genesis(name: str, batch: list[Record], origin: str | None) -> None:
    first = batch[0]
    try:
        payload = msgspec.json.decode(first.payload)
    except msgspec.DecodeError:
        raise Corrupt(name, 0, 0, "the payload of log.genesis is no JSON") from None
    if first.event_type == "log.genesis" and payload.get("format") != FORMAT:
        raise NewerFormat(f"{name} has format {payload.get('format')}; this version reads {FORMAT}. Nothing was changed")
    if first.event_type != "log.genesis" or len(batch) != 1 or first.payload != genesis(name, str(payload.get("origin"))):
        raise Corrupt(name, 0, 0, f"does not begin as {name}")
    if origin is not None and payload["origin"] != origin:
        raise Corrupt(name, 0, 0, f"belongs to another ledger: its origin is {payload['origin']}")


def _check_tip(name: str, batch: list[Record], head: Head) -> None:
    last = batch[-1]
    if (last.seq, last.event_hash, last.offset + last.size) != (head.seq, head.tip, head.offset):
        raise Corrupt(name, batch[0].offset, batch[0].seq, f"batch {head.batch} is not the one the head names")
