"""Where the figures of a stream stand: one row in columns, kept in chunks of 4,096 rows.

At work a field is a line of a two-dimensional array and a stream a column of it, so that one call of NumPy does the same field of
many streams. At rest a row lies in one piece: the streams of a batch may stand anywhere, and a row that is in pieces is fetched
from as many places. Rows are taken out into a dense `Block`, advanced there, and put back when the command is applied: what is
worked out for a command that comes to nothing leaves no trace.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Counts = NDArray[np.int32]
Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]
Codes = NDArray[np.uint8]
Line = TypeVar("Line", Floats, Singles)

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
HOURS = 24
"""Of a day, of each of which a stream remembers what it adds."""
FORMAT = "energy-rows-2"


def places_of(widths: dict[str, int]) -> tuple[dict[str, slice], int]:
    """Where each field stands in a row, and how wide the row is."""
    places, at = {}, 0
    for name, width in widths.items():
        places[name] = slice(at, at + width)
        at += width
    return places, at


_F8, WIDTH_F8 = places_of(
    dict(time=1, lags=4, levels=4, mean=1, low=1, high=1, anchor=1, spread=1, weights=4, gains=10, integral=1, uncovered=1)
)
TIME, MEAN, LOW, HIGH, ANCHOR, SPREAD, INTEGRAL, UNCOVERED = (
    _F8[name].start for name in ("time", "mean", "low", "high", "anchor", "spread", "integral", "uncovered")
)
LAGS, LEVEL_OF, WEIGHTS, GAINS = (_F8[name] for name in ("lags", "levels", "weights", "gains"))

_F4, WIDTH_F4 = places_of(
    dict(
        step=1, quantum=1, level_losses=4, losses=5, slow_losses=4, half=1,
        quantiles=15, means=5, variances=5, sums=5, alert=1, restless=1,
        value_means=5, value_variances=5, orders=6, pairs=9, terciles=2,
        hours=HOURS, hours_hit=1, hours_size=1, heat_means=3, heat_variances=3, lagged=3,
    )
)  # fmt: skip
STEP, QUANTUM, HALF, ALERT, RESTLESS = (_F4[name].start for name in ("step", "quantum", "half", "alert", "restless"))
HALVES = _F4["half"]
"""HALF as lines: one, that of the mix."""
LEVEL_LOSSES, LOSSES, SLOW_LOSSES = (_F4[name] for name in ("level_losses", "losses", "slow_losses"))
QUANTILES, MEANS, VARIANCES, SUMS = (_F4[name] for name in ("quantiles", "means", "variances", "sums"))
VALUE_MEANS, VALUE_VARIANCES, ORDERS, PAIRS, TERCILES = (
    _F4[name] for name in ("value_means", "value_variances", "orders", "pairs", "terciles")
)
HOUR_OF = _F4["hours"]
HOURS_HIT, HOURS_SIZE = (_F4[name].start for name in ("hours_hit", "hours_size"))
HEAT_MEANS, HEAT_VARIANCES, LAGGED = (_F4[name] for name in ("heat_means", "heat_variances", "lagged"))
KEPT = slice(QUANTILES.start, QUANTILES.start + WARM)
"""The first residuals stand where quantiles, sums and alert will."""

_I4, WIDTH_I4 = places_of(dict(count=1, age=1, since=5, cooldown=1, symbol=1, regime=1, regime_count=1))
COUNT, AGE, COOLDOWN, SYMBOL, REGIME, REGIME_COUNT = (
    _I4[name].start for name in ("count", "age", "cooldown", "symbol", "regime", "regime_count")
)
SINCE = _I4["since"]
WIDTH_U8 = 4
"""The ranks of the last 64 ticks, four bits each, the newest lowest."""
BANK_F4 = 2 * REGIMES
BANK_I4 = 2 * REGIMES + 1
"""Per regime an identity and how often it came back; and how many there were."""

_EIGHTS = WIDTH_F8 + WIDTH_U8
_FOURS = WIDTH_F4 + WIDTH_I4
_BANK = BANK_F4 + BANK_I4
BYTES_PER_ROW = 8 * _EIGHTS + 4 * (_FOURS + _BANK)
SLAB = 250
"""Rows that are turned into columns at a time: as many as stay in the nearest memory."""
FEW = 64
"""Rows beside which a call costs more than its arithmetic."""
HANDFUL = 12
"""Rows of which plain numbers are sooner compared than arrays."""
_U8, _I4_TYPE = np.dtype(np.uint64), np.dtype(np.int32)
_EACH = np.arange(CHUNK)
_EACH.flags.writeable = False
_FIRST_LINE = [np.zeros(lines, np.intp) for lines in range(16)]


def each(size: int) -> Rows:
    """0, 1, 2 … for so many rows; to look at."""
    return _EACH[:size] if size <= CHUNK else np.arange(size)


def least(line: Counts) -> int:
    return min(line.tolist()) if len(line) < FEW else int(np.minimum.reduce(line))


def most(line: Counts) -> int:
    return max(line.tolist()) if len(line) < FEW else int(np.maximum.reduce(line))


def some(flags: Flags) -> bool:
    """One of them at least is set: to search their bytes takes less than to ask NumPy."""
    return 1 in flags.tobytes()


def every(flags: Flags) -> bool:
    return 0 not in flags.tobytes()


class Column:
    """A figure for each of some lines. Beside few rows it is written out for every row: to stretch a column costs a call several
    times its arithmetic.
    """

    __slots__ = ("_beside", "figures")

    def __init__(self, figures: Any) -> None:
        self.figures = figures[:, None]
        self.figures.flags.writeable = False
        self._beside: dict[int, Any] = {}

    def beside(self, size: int) -> Any:
        if size > FEW:
            return self.figures
        found = self._beside.get(size)
        if found is None:
            found = self._beside[size] = np.repeat(self.figures, size, axis=1)
            found.flags.writeable = False
        return found


def stretched(line: Line, lines: int) -> Line:
    """The same line so many times: for whoever works with it more than once, for the same reason."""
    found: Line = line[None].take(_FIRST_LINE[lines], 0)
    return found


def beside(line: Line, lines: int) -> Line:
    """A line to work with beside so many, once: written out for each of them if there are few rows."""
    return line if len(line) > FEW else stretched(line, lines)


class Block:
    """Some rows, side by side, a line per field: views on two arrays, of eight and of four bytes.

    The banks, which are looked at once in a regime, stay as they lie: a line per row.
    """

    __slots__ = ("banks", "eights", "f4", "f8", "fours", "i4", "size", "u8")

    def __init__(self, eights: Floats, fours: Singles, banks: Singles) -> None:
        self.eights, self.fours, self.banks = eights, fours, banks
        self.size = len(banks)
        self.f8: Floats = eights[:WIDTH_F8]
        self.u8: NDArray[np.uint64] = eights[WIDTH_F8:].view(_U8)
        self.f4: Singles = fours[:WIDTH_F4]
        self.i4: Counts = fours[WIDTH_F4:].view(_I4_TYPE)

    @property
    def bank(self) -> Singles:
        found: Singles = self.banks[:, :BANK_F4]
        return found

    @property
    def bank_i4(self) -> Counts:
        found: Counts = self.banks[:, BANK_F4:].view(np.int32)
        return found

    def head(self, size: int) -> "Block":
        """The first rows, not copied."""
        return self if size == self.size else Block(self.eights[:, :size], self.fours[:, :size], self.banks[:size])

    def take(self, places: Rows) -> "Block":
        return Block(self.eights.take(places, axis=1), self.fours.take(places, axis=1), self.banks.take(places, axis=0))

    def put(self, places: Rows, part: "Block") -> None:
        # Line by line: to name the places once for all lines is eight times slower.
        for mine, theirs in ((self.eights, part.eights), (self.fours, part.fours)):
            for line, new in zip(mine, theirs, strict=True):
                line[places] = new
        self.banks[places] = part.banks


def fresh(size: int) -> Block:
    """Rows that have seen nothing."""
    block = Block(np.zeros((_EIGHTS, size)), np.zeros((_FOURS, size), np.float32), np.zeros((size, _BANK), np.float32))
    block.i4[AGE] = -SETTLING
    block.i4[COOLDOWN] = LEARNING + 1
    block.i4[REGIME] = -1
    return block


class _Chunk:
    """4,096 rows at rest, each in one piece: a row is fetched as it lies, and only a block has columns."""

    __slots__ = ("banks", "eights", "fours")

    def __init__(self, eights: Floats, fours: Singles, banks: Singles) -> None:
        self.eights, self.fours, self.banks = eights, fours, banks

    def block(self, places: Rows) -> Block:
        """A copy of some rows, as many as are turned at a time."""
        eights, fours = self.eights.take(places, axis=0).T, self.fours.take(places, axis=0).T
        return Block(np.ascontiguousarray(eights), np.ascontiguousarray(fours), self.banks.take(places, axis=0))

    def run(self, rows: slice) -> Block:
        """The same of rows that lie side by side."""
        return Block(self.eights[rows].T.copy(), self.fours[rows].T.copy(), self.banks[rows].copy())

    def put_run(self, rows: slice, block: Block) -> None:
        self.banks[rows], self.eights[rows], self.fours[rows] = block.banks, block.eights.T, block.fours.T

    def take(self, places: Rows, block: Block, at: int) -> None:
        block.banks[at : at + len(places)] = self.banks.take(places, axis=0)
        for low in range(0, len(places), SLAB):
            part = places[low : low + SLAB]
            here = slice(at + low, at + low + len(part))
            block.eights[:, here] = self.eights.take(part, axis=0).T
            block.fours[:, here] = self.fours.take(part, axis=0).T

    def put(self, places: Rows, block: Block, at: int) -> None:
        self.banks[places] = block.banks[at : at + len(places)]
        for low in range(0, len(places), SLAB):
            part = places[low : low + SLAB]
            here = slice(at + low, at + low + len(part))
            # Made compact first: lines that lie a power of two apart would push each other out of the cache.
            self.eights[part] = np.ascontiguousarray(block.eights[:, here]).T
            self.fours[part] = np.ascontiguousarray(block.fours[:, here]).T


def _empty_chunk() -> _Chunk:
    new = fresh(CHUNK)
    return _Chunk(np.ascontiguousarray(new.eights.T), np.ascontiguousarray(new.fours.T), new.banks)


class Store:
    """All rows, chunk by chunk."""

    def __init__(self) -> None:
        self.chunks: list[_Chunk] = []
        self.size = 0
        """Rows that were ever given out; the caller gives freed ones out again."""

    def add(self) -> int:
        """One more row; its number."""
        if self.size == CHUNK * len(self.chunks):
            self.chunks.append(_empty_chunk())
        self.size += 1
        return self.size - 1

    def clear(self, row: int) -> None:
        """As if it had never seen a point: for a row whose stream was given up."""
        self.put(np.array([row]), fresh(1))

    def take(self, rows: Rows) -> Block:
        """A copy of these rows, which rise strictly."""
        run = _run(rows)
        if run is not None:
            return self.chunks[run[0]].run(run[1])
        size, parts = len(rows), _by_chunk(rows)
        if len(parts) == 1 and size <= SLAB:
            chunk, places, _ = parts[0]
            return self.chunks[chunk].block(places)
        block = Block(np.empty((_EIGHTS, size)), np.empty((_FOURS, size), np.float32), np.empty((size, _BANK), np.float32))
        for chunk, places, at in parts:
            self.chunks[chunk].take(places, block, at)
        return block

    def put(self, rows: Rows, block: Block) -> None:
        run = _run(rows)
        if run is not None:
            self.chunks[run[0]].put_run(run[1], block)
            return
        for chunk, places, at in _by_chunk(rows):
            self.chunks[chunk].put(places, block, at)

    def single(self, row: int, line: int) -> float:
        """One figure of four bytes."""
        return float(self.chunks[row // CHUNK].fours[row % CHUNK, line])

    def view(self, row: int) -> Block:
        """One row as it stands, to look at."""
        return self.take(np.array([row]))

    def dump(self) -> dict[str, Any]:
        """Everything, for a file beside a snapshot."""
        return {
            "format": FORMAT,
            "size": self.size,
            "chunks": [[chunk.eights.tobytes(), chunk.fours.tobytes(), chunk.banks.tobytes()] for chunk in self.chunks],
        }

    @classmethod
    def load(cls, kept: dict[str, Any]) -> "Store | None":
        """What was dumped; None if another version did, whose rows are worked out anew."""
        if kept.get("format") != FORMAT:
            return None
        store = cls()
        store.size = int(kept["size"])
        for eights, fours, banks in kept["chunks"]:
            store.chunks.append(
                _Chunk(
                    np.frombuffer(eights, np.float64).reshape(CHUNK, _EIGHTS).copy(),
                    np.frombuffer(fours, np.float32).reshape(CHUNK, _FOURS).copy(),
                    np.frombuffer(banks, np.float32).reshape(CHUNK, _BANK).copy(),
                )
            )
        return store


def _run(rows: Rows) -> tuple[int, slice] | None:
    """The chunk of a few rows and where they lie in it, if that is side by side: those of one source mostly do."""
    first, size = int(rows[0]), len(rows)
    if size > FEW or int(rows[-1]) - first != size - 1:
        return None
    chunk, low = divmod(first, CHUNK)
    return (chunk, slice(low, low + size)) if low + size <= CHUNK else None


def _by_chunk(rows: Rows) -> list[tuple[int, Rows, int]]:
    """Which chunk, the places in it, and where its rows stand among those asked for."""
    first, last = int(rows[0]) // CHUNK, int(rows[-1]) // CHUNK
    if first == last:
        return [(first, rows - first * CHUNK, 0)]
    cuts = np.searchsorted(rows, np.arange(first, last + 2) * CHUNK).tolist()
    return [
        (chunk, rows[low:high] - chunk * CHUNK, low)
        for chunk, low, high in zip(range(first, last + 1), cuts[:-1], cuts[1:], strict=True)
        if high > low
    ]
