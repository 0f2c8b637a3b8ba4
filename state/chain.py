"""The fast walk: of every record its `event_hash` and its `parent_hash`, and nothing else, block by block.

It says that nothing was changed, removed or reordered. Whether the records have the right form is for the slow walk to say.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from state.scan import Bad, Read
from state.seal import LINE_BYTES_MAX

BLOCK_BYTES = 131_072
"""Small enough for the cache of one core: larger blocks are slower."""
_PARENT = b'"parent_hash":"'
_HASH_DIGITS = 64
_OPEN, _CLOSE = ',"event_hash":"', '"}'
_TAIL_BYTES = len(_OPEN) + _HASH_DIGITS + len(_CLOSE)


class Walk:
    """One walk along one segment. `bad` is set where it had to stop."""

    def __init__(self, read: Read, size: int, tip: str, records_max: int | None = None) -> None:
        self._read = read
        self._size = size
        self._left = records_max
        self._whole = sha256()
        self.tip = tip
        """`event_hash` of the last good record."""
        self.records = 0
        self.offset = 0
        """Behind the last good record."""
        self.bad: Bad | None = None

    @property
    def sha256(self) -> str:
        """Of all bytes read."""
        return self._whole.hexdigest()

    def blocks(self) -> Iterator[int]:
        """Yields the offset behind each block; ends at the end of the bytes, at `records_max`, or at `bad`."""
        rest = b""
        for start in range(0, self._size, BLOCK_BYTES):
            block = self._read(start, min(BLOCK_BYTES, self._size - start))
            self._whole.update(block)
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            if self._left is not None:
                lines = lines[: self._left - self.records]
            if lines and not self._hold(lines):
                self._find_bad(lines)
                return
            if self._left is not None and self.records >= self._left:
                return
            if len(rest) > LINE_BYTES_MAX:
                break
            yield start + len(block)
        if rest:
            self.bad = Bad(self.offset, self.records, "the line does not end")

    def _hold(self, lines: Sequence[bytes]) -> bool:
        """Whether these lines are intact and follow one another. By comprehension: each step for all lines at once."""
        hashes = [sha256(line[:-_TAIL_BYTES] + b"}").hexdigest() for line in lines]
        tails = _OPEN + (_CLOSE + _OPEN).join(hashes) + _CLOSE
        if b"".join([line[-_TAIL_BYTES:] for line in lines]) != tails.encode():
            return False
        starts = [line.find(_PARENT) + len(_PARENT) for line in lines]
        parents = [line[start : start + _HASH_DIGITS] for line, start in zip(lines, starts, strict=True)]
        if b"".join(parents) != (self.tip + "".join(hashes[:-1])).encode():
            return False
        self.tip = hashes[-1]
        self.records += len(lines)
        self.offset += sum(map(len, lines)) + len(lines)
        return True

    def _find_bad(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            tip = self.tip
            if not self._hold([line]):
                digest = sha256(line[:-_TAIL_BYTES] + b"}").hexdigest()
                intact = line[-_TAIL_BYTES:] == (_OPEN + digest + _CLOSE).encode()
                why = "parent_hash is not the event_hash of the record before" if intact else "event_hash does not match the bytes"
                self.bad = Bad(self.offset, self.records, why)
                self.tip = tip
                return
