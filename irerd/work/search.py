"""Every stored vector compared with one, on mapped segments: exact, and the same on every machine.

A first pass in float32 leaves those that may be among the nearest, by a bound on what rounding can do; these are compared again
with products that are exact and a sum that is rounded once, as `core.data.embedding` does it.
"""

import json
import os
from typing import Any, NamedTuple

import msgspec
import numpy as np

from core.data.embedding import Found, numbers, rank, raw_of, relevance
from irerd.worker import JobFailed, Tell

KEY = np.dtype([("seq", ">u8"), ("event", "V32")])
BLOCK = 16_384
COMPARED_AGAIN_MAX = 4_096
MAPPED_MAX = 64
"""Segments that stay mapped between two searches: mapping a page anew costs as much as comparing what it holds."""


class Segment(msgspec.Struct, forbid_unknown_fields=True):
    place: str
    rows: int
    dead: list[int] = []


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    dimension: int
    queries: list[str]
    k: int
    segments: list[Segment]


def nearest(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
        queries = [np.frombuffer(raw_of(query, asked.dimension), "<f4") for query in asked.queries]
    except (msgspec.MsgspecError, ValueError):
        raise JobFailed("bad-spec") from None
    found: list[list[Found]] = [[] for _ in queries]
    for segment in asked.segments:
        vectors, keys = mapped(segment, asked.dimension)
        for place, query in enumerate(queries):
            found[place] += _nearest(vectors, keys, query, asked.k, segment.dead)
    best = [sorted(each, key=rank)[: asked.k] for each in found]
    return json.dumps({"found": best}).encode()


class _Mapped(NamedTuple):
    vectors: Any
    keys: Any
    files: tuple[tuple[int, int], ...]
    """Which files they are: a name may come to stand for others."""


_MAPPED: dict[str, _Mapped] = {}


def mapped(segment: Segment, dimension: int) -> tuple[Any, Any]:
    """The rows of a segment, and whose they are. What is mapped of gone files is let go of first: it would hold their bytes."""
    try:
        for place in [place for place, old in _MAPPED.items() if old.files != _files(place)]:
            del _MAPPED[place]
        _check(segment, dimension)
        found = _MAPPED.pop(segment.place, None)
        if found is None or found.vectors.shape[1] != dimension or len(found.vectors) < segment.rows:
            found = _map(segment, dimension)
    except (OSError, ValueError):
        raise JobFailed("gone") from None
    _MAPPED[segment.place] = found
    if len(_MAPPED) > MAPPED_MAX:
        del _MAPPED[next(iter(_MAPPED))]
    return found.vectors[: segment.rows], found.keys[: segment.rows]


def _map(segment: Segment, dimension: int) -> _Mapped:
    files = _files(segment.place)
    vectors = np.memmap(f"{segment.place}.f32", "<f4", "r", shape=(segment.rows, dimension))
    keys = np.memmap(f"{segment.place}.ids", KEY, "r", shape=(segment.rows,))
    return _Mapped(vectors.view(np.ndarray), keys.view(np.ndarray), files)


def _check(segment: Segment, dimension: int) -> None:
    """To read beyond the end of a file that is mapped would end this process. Raises OSError, ValueError."""
    for suffix, row_bytes in ((".f32", 4 * dimension), (".ids", KEY.itemsize)):
        if os.stat(f"{segment.place}{suffix}").st_size < segment.rows * row_bytes:
            raise ValueError("a file is shorter than it was")


def _files(place: str) -> tuple[tuple[int, int], ...]:
    """Which files stand there now; none where one is missing."""
    try:
        found = [os.stat(f"{place}{suffix}") for suffix in (".f32", ".ids")]
    except FileNotFoundError:
        return ()
    return tuple((each.st_dev, each.st_ino) for each in found)


def _nearest(vectors: Any, keys: Any, query: Any, k: int, dead: list[int]) -> list[Found]:
    scores = np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), BLOCK):
        scores[first : first + BLOCK] = vectors[first : first + BLOCK] @ query
    scores[dead] = -np.inf
    live = len(vectors) - len(dead)
    if not live:
        return []
    slack = 4 * len(query) * float(np.finfo(np.float32).eps)
    edge = np.partition(scores, -min(k, live))[-min(k, live)]
    rows = np.flatnonzero(scores >= edge - slack)
    if len(rows) > COMPARED_AGAIN_MAX:  # very many are alike: those that are nearest in double precision, the oldest first
        again = (vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        rows = rows[np.argsort(-again, kind="stable")[: max(k, COMPARED_AGAIN_MAX)]]
    wanted = numbers(query.tobytes())
    return [
        Found(relevance(wanted, numbers(vectors[row].tobytes())), int(keys[row]["seq"]), bytes(keys[row]["event"]).hex())
        for row in rows.tolist()
    ]
