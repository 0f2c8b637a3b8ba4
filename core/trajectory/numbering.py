"""Numbers for texts, each text one, in the order in which they come: of millions in passes over arrays where NumPy is there,
else one by one. Both ways lead to the same numbers; nothing is taken for the same that only looks so to a hash.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from core.micro import MICRO

ARRAYS_FROM = 50_000
"""Texts from which on arrays are worth loading NumPy for."""
ARRAYS_BYTES_MAX = 256 << 20
_MIX = 0x9E3779B97F4A7C15


def numbered(texts: list[str]) -> tuple[list[str], "array[int]"]:
    """The texts that there are, and of each the number of what it says. The list is emptied: whoever has millions has no room for
    more of them than must be."""
    if len(texts) >= ARRAYS_FROM:
        try:
            found = _by_arrays(texts)
        except (ImportError, UnicodeEncodeError):
            found = None
        if found is not None:
            return found
    found = numbered_one_by_one(texts)
    texts.clear()
    return found


def numbered_one_by_one(texts: Iterable[str]) -> tuple[list[str], "array[int]"]:
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    each = array("i", map(numbers.__getitem__, texts))
    return list(numbers), each


def micro_of_many(costs: Sequence[float]) -> "array[int] | None":
    """Micro-units of very many costs; None where that takes a closer look at one, or arrays are not to be had. As `whole_micro` has
    it: below 10^15 micro-units no two amounts of six places are the same float, so one that comes back as the same was meant."""
    if len(costs) < ARRAYS_FROM:
        return None
    try:
        import numpy as np
    except ImportError:
        return None
    given = np.array(costs, np.float64)
    scaled = np.rint(given * MICRO)
    if not np.all((scaled / MICRO == given) & (np.abs(scaled) <= 10**15)):
        return None
    found = array("q")
    found.frombytes(scaled.astype(np.int64).tobytes())
    return found


def _by_arrays(texts: list[str]) -> tuple[list[str], "array[int]"] | None:
    """None where it cannot be told so: texts of several lines, or too much of them."""
    import numpy as np

    joined = "\n".join(texts)
    raw = joined.encode() + b"\n" + bytes(7)
    del joined
    if len(raw) > ARRAYS_BYTES_MAX or raw.count(b"\n") != len(texts):
        return None
    texts.clear()
    ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == 10).astype(np.int32)
    starts = np.append(np.int32(0), ends[:-1] + np.int32(1))
    lengths = ends - starts
    words = -(-int(lengths.max()) // 8)
    hashes = lengths.astype(np.uint64)
    for place in range(words):
        hashes ^= _word(raw, starts, lengths, place)
        hashes *= np.uint64(_MIX)
        hashes ^= hashes >> np.uint64(29)
    firsts, each = _grouped(hashes)
    like = firsts[each]
    alike = np.array_equal(lengths, lengths[like])
    for place in range(words):
        own = _word(raw, starts, lengths, place)
        alike = alike and np.array_equal(own, own[like])
    if not alike:
        return numbered_one_by_one(raw[:-8].decode().split("\n"))
    numbers = array("i")
    numbers.frombytes(each.tobytes())
    spans = zip(starts[firsts].tolist(), ends[firsts].tolist(), strict=True)
    return [raw[begin:end].decode() for begin, end in spans], numbers


def _word(raw: bytes, starts: Any, lengths: Any, place: int) -> Any:
    """Eight bytes of each text from a place on, nothing beyond its end."""
    import numpy as np

    eights = np.ndarray((len(raw) - 7,), "<u8", raw, 0, (1,))
    below = np.array([(1 << 8 * octets) - 1 for octets in range(9)], np.uint64)
    found = eights[np.minimum(starts + np.int32(8 * place), np.int32(eights.size - 1))]
    found &= below[np.clip(lengths - 8 * place, 0, 8)]
    return found


def _grouped(hashes: Any) -> tuple[Any, Any]:
    """Where each hash comes first, in the order of these places, and of each entry the number of its hash in that order."""
    import numpy as np

    order = np.argsort(hashes)
    ordered = hashes[order]
    edges = np.append(0, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)
    del ordered
    firsts = np.minimum.reduceat(order, edges)
    coming = np.argsort(firsts)
    rank = np.empty(edges.size, np.int32)
    rank[coming] = np.arange(edges.size, dtype=np.int32)
    each = np.empty(hashes.size, np.int32)
    each[order] = np.repeat(rank, np.diff(np.append(edges, hashes.size)))
    return firsts[coming], each
