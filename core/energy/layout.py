"""Where the figures of a stream stand: one row in columns, kept in chunks of 4,096 rows.

A field is one or more lines of a two-dimensional array of its type, a stream is a column of it, so that one call of NumPy does the
same field of many streams. Rows are taken out into a dense `Block`, advanced there, and put back when the command is applied: what
is worked out for a command that comes to nothing leaves no trace.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Counts = NDArray[np.int32]
Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]
Codes = NDArray[np.uint8]

CHUNK = 4_096
SCALES = (4, 16, 64, 256, 1024)
"""Ticks that a mean and a variance look back on."""
LEVELS = 15
"""Quantiles that are tracked, at i/16."""
WARM = 31
"""Residuals that are kept one by one until there are quantiles."""
SETTLING = 8
"""First ticks of a stream whose residuals say more of the forecasters than of the stream."""
LEARNING = 64
"""Ticks after which a stream has its first regime."""
REGIMES = 8
"""Regimes a stream remembers."""
FORMAT = "energy-rows-1"


def _fields(widths: dict[str, int]) -> tuple[dict[str, slice], int]:
    places, at = {}, 0
    for name, width in widths.items():
        places[name] = slice(at, at + width)
        at += width
    return places, at


_F8, WIDTH_F8 = _fields(
    dict(time=1, lags=4, levels=4, mean=1, low=1, high=1, anchor=1, spread=1, weights=4, gains=10, integral=1, uncovered=1)
)
TIME, MEAN, LOW, HIGH, ANCHOR, SPREAD, INTEGRAL, UNCOVERED = (
    _F8[name].start for name in ("time", "mean", "low", "high", "anchor", "spread", "integral", "uncovered")
)
LAGS, LEVEL_OF, WEIGHTS, GAINS = (_F8[name] for name in ("lags", "levels", "weights", "gains"))

_F4, WIDTH_F4 = _fields(
    dict(
        step=1, quantum=1, level_losses=4, losses=5, slow_losses=4, halves=5,
        quantiles=15, means=5, variances=5, sums=5, alert=1,
        value_means=5, value_variances=5, orders=6, pairs=9, terciles=2,
    )
)  # fmt: skip
STEP, QUANTUM, ALERT = (_F4[name].start for name in ("step", "quantum", "alert"))
LEVEL_LOSSES, LOSSES, SLOW_LOSSES, HALVES = (_F4[name] for name in ("level_losses", "losses", "slow_losses", "halves"))
QUANTILES, MEANS, VARIANCES, SUMS = (_F4[name] for name in ("quantiles", "means", "variances", "sums"))
VALUE_MEANS, VALUE_VARIANCES, ORDERS, PAIRS, TERCILES = (
    _F4[name] for name in ("value_means", "value_variances", "orders", "pairs", "terciles")
)
KEPT = slice(QUANTILES.start, QUANTILES.start + WARM)
"""The first residuals stand where quantiles, sums and alert will."""

_I4, WIDTH_I4 = _fields(dict(count=1, age=1, since=5, cooldown=1, symbol=1, regime=1, regime_count=1))
COUNT, AGE, COOLDOWN, SYMBOL, REGIME, REGIME_COUNT = (
    _I4[name].start for name in ("count", "age", "cooldown", "symbol", "regime", "regime_count")
)
SINCE = _I4["since"]
WIDTH_U8 = 4
"""The ranks of the last 64 ticks, four bits each, the newest lowest."""
BANK_F4 = 2 * REGIMES
BANK_I4 = 2 * REGIMES + 1
"""Per regime an identity and how often it came back; and how many there were."""

BYTES_PER_ROW = 8 * (WIDTH_F8 + WIDTH_U8) + 4 * (WIDTH_F4 + WIDTH_I4 + BANK_F4 + BANK_I4)
_WIDTHS: tuple[tuple[str, int, Any], ...] = (
    ("f8", WIDTH_F8, np.float64),
    ("f4", WIDTH_F4, np.float32),
    ("i4", WIDTH_I4, np.int32),
    ("u8", WIDTH_U8, np.uint64),
    ("bank", BANK_F4, np.float32),
    ("bank_i4", BANK_I4, np.int32),
)


class Block:
    """Some rows, side by side. Slices and `head` are views on the same figures."""

    __slots__ = ("bank", "bank_i4", "f4", "f8", "i4", "u8")
    f8: Floats
    f4: Singles
    i4: Counts
    u8: NDArray[np.uint64]
    bank: Singles
    bank_i4: Counts

    def __init__(self, arrays: Iterable[NDArray[Any]]) -> None:
        self.f8, self.f4, self.i4, self.u8, self.bank, self.bank_i4 = arrays

    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (self.f8, self.f4, self.i4, self.u8, self.bank, self.bank_i4)

    @property
    def size(self) -> int:
        return self.f8.shape[1]

    def head(self, size: int) -> "Block":
        return self if size == self.size else Block(array[:, :size] for array in self.arrays())

    def take(self, places: Rows) -> "Block":
        return Block(array.take(places, axis=1) for array in self.arrays())

    def put(self, places: Rows, part: "Block") -> None:
        for mine, theirs in zip(self.arrays(), part.arrays(), strict=True):
            mine[:, places] = theirs


def fresh(size: int) -> Block:
    """Rows that have seen nothing."""
    block = Block(np.zeros((width, size), dtype) for _, width, dtype in _WIDTHS)
    block.i4[AGE] = -SETTLING
    block.i4[COOLDOWN] = LEARNING + 1
    block.i4[REGIME] = -1
    return block


class Store:
    """All rows, chunk by chunk."""

    def __init__(self) -> None:
        self.chunks: list[Block] = []
        self.size = 0
        """Rows that were ever given out; the caller gives freed ones out again."""

    def add(self) -> int:
        """One more row; its number."""
        if self.size == CHUNK * len(self.chunks):
            self.chunks.append(fresh(CHUNK))
        self.size += 1
        return self.size - 1

    def clear(self, row: int) -> None:
        """As if it had never seen a point: for a row whose stream was given up."""
        self.chunks[row // CHUNK].put(np.array([row % CHUNK]), fresh(1))

    def take(self, rows: Rows) -> Block:
        """A copy of these rows, which rise strictly."""
        parts = [_copied(self.chunks[chunk], places) for chunk, places in _by_chunk(rows)]
        if len(parts) == 1:
            return parts[0]
        return Block(np.concatenate(arrays, axis=1) for arrays in zip(*(part.arrays() for part in parts), strict=True))

    def put(self, rows: Rows, block: Block) -> None:
        at = 0
        for chunk, places in _by_chunk(rows):
            _replaced(self.chunks[chunk], places, Block(array[:, at : at + len(places)] for array in block.arrays()))
            at += len(places)

    def view(self, row: int) -> Block:
        """One row as it stands, to look at."""
        at = row % CHUNK
        return Block(array[:, at : at + 1] for array in self.chunks[row // CHUNK].arrays())

    def dump(self) -> dict[str, Any]:
        """Everything, for a file beside a snapshot."""
        return {
            "format": FORMAT,
            "size": self.size,
            "chunks": [[np.ascontiguousarray(array).tobytes() for array in chunk.arrays()] for chunk in self.chunks],
        }

    @classmethod
    def load(cls, kept: dict[str, Any]) -> "Store | None":
        """What was dumped; None if another version did, whose rows are worked out anew."""
        if kept.get("format") != FORMAT:
            return None
        store = cls()
        store.size = int(kept["size"])
        for arrays in kept["chunks"]:
            store.chunks.append(
                Block(
                    np.frombuffer(raw, dtype).reshape(width, CHUNK).copy()
                    for raw, (_, width, dtype) in zip(arrays, _WIDTHS, strict=True)
                )
            )
        return store


def _by_chunk(rows: Rows) -> list[tuple[int, Rows]]:
    first, last = int(rows[0]) // CHUNK, int(rows[-1]) // CHUNK
    if first == last:
        return [(first, rows - first * CHUNK)]
    cuts = np.searchsorted(rows, np.arange(first, last + 2) * CHUNK)
    return [
        (chunk, rows[low:high] - chunk * CHUNK)
        for chunk, low, high in zip(range(first, last + 1), cuts[:-1], cuts[1:], strict=True)
        if high > low
    ]


def _copied(chunk: Block, places: Rows) -> Block:
    run = _run(places)
    if run is None:
        return chunk.take(places)
    return Block(array[:, run].copy() for array in chunk.arrays())


def _replaced(chunk: Block, places: Rows, block: Block) -> None:
    run = _run(places)
    for mine, theirs in zip(chunk.arrays(), block.arrays(), strict=True):
        if run is None:
            mine[:, places] = theirs
        else:
            mine[:, run] = theirs


def _run(places: Rows) -> slice | None:
    """Rows that lie side by side are copied far faster."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else None
