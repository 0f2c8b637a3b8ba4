"""Stored vectors compared with one, on mapped segments: each of them, or those in the lists of an index that are nearest.

A first pass in float32 leaves those that may be among the nearest, by a bound on what rounding can do; these are compared again
with products that are exact and a sum that is rounded once, as `core.data.embedding` does it. So where every vector is compared the
answer is the same on every machine; by an index the vectors that are found are given as exactly, but some may be missed.
"""

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.data import index as heads
from core.data.embedding import Found, NoEmbedding, embed, numbers, rank, raw_of, relevance, text_of
from irerd.worker import JobFailed, Tell

KEY = np.dtype([("seq", ">u8"), ("event", "V32")])
BLOCK = 16_384
COMPARED_AGAIN_MAX = 4_096
MAPPED_MAX = 64
"""Segments that stay mapped between two searches: mapping a page anew costs as much as comparing what it holds."""
OPENED_MAX = 4
"""Indexes that stay in memory."""
QUICKER_AT = 0.2
"""Rows that are picked out one by one cost five times what rows in a row do: with a larger part of them all are compared."""

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class Segment(msgspec.Struct, forbid_unknown_fields=True):
    place: str
    rows: int
    dead: list[int] = []


class Lists(msgspec.Struct, forbid_unknown_fields=True):
    """Where an index is, and how much to look into: so many lists, or as many as were measured to find such a share."""

    place: str
    model: str
    probes: int | None = None
    recall: float = heads.RECALL_WANTED


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """`texts` are hashed here, and are queries then; `among` nearest queries before it are found for each one too."""

    dimension: int
    k: int
    segments: list[Segment]
    queries: list[str] = []
    texts: list[str] = []
    among: int = 0
    index: Lists | None = None


class _Part(NamedTuple):
    """Rows that are compared together; `dead` ones are passed over."""

    vectors: Any
    keys: Any
    dead: Any

    @property
    def live(self) -> int:
        return len(self.vectors) - len(self.dead)


class _Close(NamedTuple):
    """Rows of a part that may be among the nearest, with their scores."""

    part: _Part
    rows: Places
    scores: Floats


def nearest(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
        hashed = [_hashed(text) for text in asked.texts]
        raws = [raw for raw in hashed if raw] + [raw_of(query, asked.dimension) for query in asked.queries]
        queries = [np.frombuffer(raw, "<f4") for raw in raws]
    except (msgspec.MsgspecError, ValueError):
        raise JobFailed("bad-spec") from None
    if any(len(query) != asked.dimension for query in queries):
        raise JobFailed("bad-spec")
    let_go_of_gone_files()
    parts = [_Part(*mapped(each, asked.dimension), np.array(each.dead, np.int64)) for each in asked.segments]
    how: dict[str, Any] = {}
    if asked.index is not None and len(queries) == 1:
        how = _by_lists(asked, parts, queries[0])
        parts = how.pop("parts", parts)
    said = {"found": _nearest(parts, queries, asked.k), "compared": sum(part.live for part in parts), **how}
    if asked.texts:
        said["vectors"] = [text_of(raw) for raw in hashed]
    if asked.among:
        said["among"] = _among(queries, asked.among)
    return json.dumps(said).encode()


def _hashed(text: str) -> bytes:
    try:
        return embed(text)
    except NoEmbedding:
        return b""


# --- mapped files -----------------------------------------------------------------------------------------------------------


class _Mapped(NamedTuple):
    vectors: Any
    keys: Any
    files: tuple[tuple[int, int], ...]
    """Which files they are: a name may come to stand for others."""


_MAPPED: dict[str, _Mapped] = {}


def let_go_of_gone_files() -> None:
    """What is mapped of files that are gone would hold their bytes."""
    for place in [place for place, old in _MAPPED.items() if old.files != _files(place)]:
        del _MAPPED[place]


def mapped(segment: Segment, dimension: int) -> tuple[Any, Any]:
    """The rows of a segment, and whose they are."""
    try:
        files = _check(segment, dimension)
        found = _MAPPED.pop(segment.place, None)
        if found is None or found.files != files or found.vectors.shape[1] != dimension or len(found.vectors) < segment.rows:
            found = _map(segment, dimension, files)
    except (OSError, ValueError):
        raise JobFailed("gone") from None
    _MAPPED[segment.place] = found
    if len(_MAPPED) > MAPPED_MAX:
        del _MAPPED[next(iter(_MAPPED))]
    return found.vectors[: segment.rows], found.keys[: segment.rows]


def _map(segment: Segment, dimension: int, files: tuple[tuple[int, int], ...]) -> _Mapped:
    vectors = np.memmap(f"{segment.place}.f32", "<f4", "r", shape=(segment.rows, dimension))
    keys = np.memmap(f"{segment.place}.ids", KEY, "r", shape=(segment.rows,))
    return _Mapped(vectors.view(np.ndarray), keys.view(np.ndarray), files)


def _check(segment: Segment, dimension: int) -> tuple[tuple[int, int], ...]:
    """Which files it is. To read beyond the end of one that is mapped would end this process. Raises OSError, ValueError."""
    found = []
    for suffix, row_bytes in ((".f32", 4 * dimension), (".ids", KEY.itemsize)):
        stat = os.stat(f"{segment.place}{suffix}")
        if stat.st_size < segment.rows * row_bytes:
            raise ValueError("a file is shorter than it was")
        found.append((stat.st_dev, stat.st_ino))
    return tuple(found)


def _files(place: str) -> tuple[tuple[int, int], ...]:
    """Which files stand there now; none where one is missing."""
    try:
        found = [os.stat(f"{place}{suffix}") for suffix in (".f32", ".ids")]
    except FileNotFoundError:
        return ()
    return tuple((each.st_dev, each.st_ino) for each in found)


# --- comparing --------------------------------------------------------------------------------------------------------------


def _nearest(parts: Sequence[_Part], queries: Sequence[Floats], k: int) -> list[list[Found]]:
    """Of each query the k nearest rows of these parts."""
    if not queries:
        return []
    close: list[list[_Close]] = [[] for _ in queries]
    for part in parts:
        if part.live:
            scores = _scores(part.vectors, queries)
            scores[:, part.dead] = -np.inf
            for place, query in enumerate(queries):
                rows = _edge(part, scores[place], query, k)
                close[place].append(_Close(part, rows, scores[place][rows]))
    return [_best(query, each, k) for query, each in zip(queries, close, strict=True)]


def _among(queries: Sequence[Floats], k: int) -> list[list[tuple[float, int]]]:
    """Of each query the nearest of those before it, and their places."""
    if not queries:
        return []
    asked = np.stack(queries)
    scores, values = asked @ asked.T, [numbers(query.tobytes()) for query in queries]
    found: list[list[tuple[float, int]]] = []
    for place, query in enumerate(queries):
        before = scores[place, :place]
        least = np.partition(before, -k)[-k] - _slack(query) if place > k else -np.inf
        near = [(relevance(values[place], values[each]), each) for each in np.flatnonzero(before >= least).tolist()]
        found.append(sorted(near, key=lambda one: (-one[0], one[1]))[:k])
    return found


def _scores(vectors: Any, queries: Sequence[Floats]) -> Floats:
    """In blocks, so that a row is read once for all queries."""
    asked = np.stack(queries)
    scores = np.empty((len(queries), len(vectors)), np.float32)
    for first in range(0, len(vectors), BLOCK):
        block = vectors[first : first + BLOCK]
        scores[:, first : first + BLOCK] = asked @ block.T if len(asked) > 1 else block @ asked[0]
    return scores


def _slack(query: Floats) -> float:
    return 4 * len(query) * float(np.finfo(np.float32).eps)


def _edge(part: _Part, scores: Floats, query: Floats, k: int) -> Places:
    """The rows that may be among the k nearest of this part."""
    edge = np.partition(scores, -min(k, part.live))[-min(k, part.live)]
    rows = np.flatnonzero(scores >= edge - _slack(query))
    if len(rows) > COMPARED_AGAIN_MAX:  # very many are alike: those that are nearest in double precision, the oldest first
        again = (part.vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        rows = rows[np.argsort(-again, kind="stable")[: max(k, COMPARED_AGAIN_MAX)]]
    return rows


def _best(query: Floats, close: Sequence[_Close], k: int) -> list[Found]:
    """Of those that are close in their parts, the nearest of all."""
    scores = np.concatenate([each.scores for each in close]) if close else np.empty(0, np.float32)
    least = np.partition(scores, -k)[-k] - _slack(query) if len(scores) > k else -np.inf
    wanted = numbers(query.tobytes())
    found = [_found(wanted, each.part, row) for each in close for row in each.rows[each.scores >= least].tolist()]
    return sorted(found, key=rank)[:k]


def _found(wanted: Sequence[float], part: _Part, row: int) -> Found:
    near = relevance(wanted, numbers(part.vectors[row].tobytes()))
    return Found(near, int(part.keys[row]["seq"]), bytes(part.keys[row]["event"]).hex())


# --- by the lists of an index -----------------------------------------------------------------------------------------------


class _Opened(NamedTuple):
    head: heads.Head
    centroids: Floats
    begins: Any
    where: Any
    """All rows of the lists, one list behind the other; places among all rows that it covers."""
    file: tuple[int, ...]
    known: dict[str, tuple[tuple[int, int], ...]]
    """Segments whose keys were found to be those that it covers, and which files that was."""


_OPENED: dict[str, _Opened] = {}


def _by_lists(asked: Spec, parts: Sequence[_Part], query: Floats) -> dict[str, Any]:
    """The parts to compare, and what is to be said of them; why all are compared, where they are."""
    assert asked.index is not None
    try:
        found = _open(asked.index, asked.dimension)
        covered = _covered(found, asked.segments, parts)
    except (OSError, ValueError):
        _OPENED.pop(asked.index.place, None)
        return {"because": "damaged"}
    head, scores = found.head, found.centroids @ query
    level = heads.level_of(head, float(scores.max()))
    if level is None:
        return {"because": "unlike", "lists": head.lists}
    probes = min(asked.index.probes or heads.probes_for(level, asked.k, asked.index.recall), head.lists)
    fresh = _fresh(head, asked.segments, parts, covered)
    while True:
        places = _looked_into(found, scores, probes)
        if len(places) > QUICKER_AT * head.rows:
            return {"because": "quicker", "lists": head.lists}
        picked = fresh + _picked(head, places, parts, covered)
        if probes == head.lists or sum(part.live for part in picked) >= asked.k:
            break
        probes = min(2 * probes, head.lists)  # so few lists do not hold as many as are wanted
    recall = heads.recall_at(level, asked.k, probes)
    said = {"method": "approximate", "probes": probes, "lists": head.lists, "recall": recall, "sampled": head.sampled}
    return {"parts": picked, **said}


def _looked_into(found: _Opened, scores: Floats, probes: int) -> Places:
    """Rows of the nearest lists, in the order of all rows."""
    chosen = np.argpartition(-scores, probes - 1)[:probes]
    some = [found.where[found.begins[each] : found.begins[each + 1]] for each in chosen.tolist()]
    return np.sort(np.concatenate(some).astype(np.int64))


def _picked(head: heads.Head, places: Places, parts: Sequence[_Part], covered: dict[str, int]) -> list[_Part]:
    """These rows, of the segments that are still there."""
    found, first = [], 0
    for each in head.segments:
        if each.name in covered:
            part = parts[covered[each.name]]
            low, high = np.searchsorted(places, (first, first + each.rows))
            rows = places[low:high] - first
            dead = np.flatnonzero(np.isin(rows, part.dead)) if len(part.dead) else part.dead
            found.append(_Part(part.vectors[rows], part.keys[rows], dead))
        first += each.rows
    return found


def _fresh(head: heads.Head, segments: Sequence[Segment], parts: Sequence[_Part], covered: dict[str, int]) -> list[_Part]:
    """What came since, or stands in segments that were written anew: each of it is compared."""
    told = {each.name: each.rows for each in head.segments if each.name in covered}
    found = []
    for segment, part in zip(segments, parts, strict=True):
        first = told.get(_name(segment), 0)
        if first < len(part.vectors):
            found.append(_Part(part.vectors[first:], part.keys[first:], part.dead[part.dead >= first] - first))
    return found


def _name(segment: Segment) -> str:
    return segment.place.rpartition("/")[2]


def _open(asked: Lists, dimension: int) -> _Opened:
    """Raises OSError, ValueError for what is no index of this model."""
    stat = os.stat(asked.place)
    file = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _OPENED.get(asked.place)
    if known is not None and known.file == file:
        return known
    with open(asked.place, "rb") as stored:
        head, body = heads.opened(stored.read())
    middle = 4 * head.lists * dimension
    end = middle + 4 * (head.lists + 1)
    if head.model != asked.model or head.dimension != dimension or len(body) != end + 4 * head.rows:
        raise heads.NoIndex("it is of another model, or cut off")
    centroids = np.frombuffer(body[:middle], "<f4").reshape(head.lists, dimension)
    begins, where = np.frombuffer(body[middle:end], "<u4"), np.frombuffer(body[end:], "<u4")
    if begins[0] or begins[-1] != head.rows or (begins[1:] < begins[:-1]).any() or where.max(initial=0) >= head.covered:
        raise heads.NoIndex("its lists are none")
    _OPENED[asked.place] = _Opened(head, centroids, begins, where, file, {})
    if len(_OPENED) > OPENED_MAX:
        del _OPENED[next(iter(_OPENED))]
    return _OPENED[asked.place]


def _covered(found: _Opened, segments: Sequence[Segment], parts: Sequence[_Part]) -> dict[str, int]:
    """Which segments that it covers are still there. Raises NoIndex where one of that name holds others."""
    there = {_name(segment): place for place, segment in enumerate(segments)}
    covered: dict[str, int] = {}
    for each in found.head.segments:
        place = there.get(each.name)
        if place is None:
            continue
        files = _MAPPED[segments[place].place].files if segments[place].place in _MAPPED else ()
        if not files or found.known.get(each.name) != files:
            keys = parts[place].keys[: each.rows]
            if len(keys) < each.rows or sha256(keys.tobytes()).hexdigest() != each.keys:
                raise heads.NoIndex("it covers other vectors")
            found.known[each.name] = files
        covered[each.name] = place
    return covered
