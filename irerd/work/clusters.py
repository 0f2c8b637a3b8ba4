"""Clusters among stored vectors, and what the pattern field says of them: on mapped segments, or on rows that came along.

Clusters are looked for in a sample, evenly spread over all vectors; every vector is then given to the one it is nearest to.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from core.data.embedding import NoEmbedding, raw_of, text_of
from irerd.work.search import KEY, Segment
from irerd.worker import JobFailed, Tell
from kernels import clusters as kernel
from kernels import pattern_field

SAMPLE_MAX = 32_768
BLOCK = 8_192
EXAMPLES = 3
MOVED_BELOW = 0.95
"""A centroid that turned further than this cosine is told anew."""
FRAMES_MAX = 12

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class Stored(msgspec.Struct, forbid_unknown_fields=True):
    """The vectors of one model: where they lie, or themselves."""

    dimension: int
    segments: list[Segment] = []
    rows: list[tuple[int, str, str]] = []


class GroupSpec(msgspec.Struct, forbid_unknown_fields=True):
    stored: Stored
    centroids: list[str]
    near: Annotated[float, Meta(gt=0, le=1)]


class FieldSpec(msgspec.Struct, forbid_unknown_fields=True):
    """`entries`: of a vector's record, how much of something there is in which bin."""

    stored: Stored
    centroids: list[str]
    what: str
    entries: list[tuple[int, float, int]]
    settings: dict[str, float]


class _Table:
    """Blocks of live rows, in the order of their records."""

    def __init__(self, stored: Stored) -> None:
        self.dimension = stored.dimension
        self._blocks: list[tuple[Any, Places, list[str] | Any, NDArray[np.bool_]]] = []
        for segment in stored.segments:
            try:
                vectors: Any = np.memmap(f"{segment.place}.f32", "<f4", "r", shape=(segment.rows, stored.dimension))
                keys = np.memmap(f"{segment.place}.ids", KEY, "r", shape=(segment.rows,))
            except (FileNotFoundError, ValueError):
                raise JobFailed("gone") from None
            live = np.ones(segment.rows, np.bool_)
            live[segment.dead] = False
            self._blocks.append((vectors, keys["seq"].astype(np.int64), keys["event"], live))
        if stored.rows:
            vectors = _vectors([vector for _, _, vector in stored.rows], stored.dimension)
            seqs = np.array([seq for seq, _, _ in stored.rows], np.int64)
            self._blocks.append((vectors, seqs, [event for _, event, _ in stored.rows], np.ones(len(seqs), np.bool_)))

    @property
    def live(self) -> int:
        return sum(int(live.sum()) for _, _, _, live in self._blocks)

    def sample(self, most: int) -> Floats:
        """So many rows at most, evenly spread."""
        every = max(1, -(-self.live // most))
        picked, at = [], 0
        for vectors, _, _, live in self._blocks:
            places = np.flatnonzero(live)
            chosen = places[(-at) % every :: every]
            at += len(places)
            picked.append(np.asarray(vectors[chosen], np.float32))
        return np.concatenate(picked) if picked else np.empty((0, self.dimension), np.float32)

    def pieces(self) -> Iterator[tuple[Floats, Any, Places]]:
        """Live rows with what names their events and where they stand there."""
        for vectors, _, events, live in self._blocks:
            for first in range(0, len(live), BLOCK):
                places = first + np.flatnonzero(live[first : first + BLOCK])
                if len(places):
                    yield np.asarray(vectors[places], np.float32), events, places

    def of_records(self, records: Places) -> tuple[Floats, NDArray[np.bool_]]:
        """The vectors of these records, and which of them there are."""
        found = np.zeros((len(records), self.dimension), np.float32)
        there = np.zeros(len(records), np.bool_)
        for vectors, seqs, _, live in self._blocks:
            places = np.searchsorted(seqs, records)
            inside = np.minimum(places, len(seqs) - 1)
            hit = (places < len(seqs)) & (seqs[inside] == records) & live[inside]
            found[hit], there[hit] = vectors[inside[hit]], True
        return found, there


def _vectors(texts: Sequence[str], dimension: int) -> Floats:
    try:
        raw = b"".join(raw_of(text, dimension) for text in texts)
    except NoEmbedding:
        raise JobFailed("bad-spec") from None
    return np.frombuffer(raw, "<f4").reshape(len(texts), dimension)


def _text(vector: NDArray[Any]) -> str:
    return text_of(np.ascontiguousarray(vector, "<f4").tobytes())


# --- clusters ---------------------------------------------------------------------------------------------------------------


def group(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=GroupSpec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    table, before = _Table(asked.stored), _vectors(asked.centroids, asked.stored.dimension)
    rows = table.sample(SAMPLE_MAX)
    tell(0, 2)
    found = kernel.grouped(rows, before, asked.near)
    old = _near_ones(rows, before, asked.near)[0] if len(before) else np.full(len(rows), -1, np.int64)
    names = kernel.kept(old, found.labels)
    tell(1, 2)
    sizes, near, examples = _counted(table, found.centroids, asked.near)
    clusters = [
        {
            "before": int(names[place]),
            "centroid": _text(found.centroids[place]),
            "moved": bool(names[place] >= 0 and float(before[names[place]] @ found.centroids[place]) < MOVED_BELOW),
            "size": int(sizes[place]),
            "near": float(near[place]),
            "examples": examples[place],
        }
        for place in np.flatnonzero(sizes).tolist()
    ]
    return json.dumps({"clusters": clusters, "vectors": table.live, "loose": table.live - int(sizes.sum())}).encode()


def _near_ones(rows: Floats, centroids: Floats, near: float) -> tuple[Places, Floats]:
    labels, cosines = kernel.nearest(rows, centroids)
    return np.where(cosines >= near, labels, -1), cosines


def _counted(table: _Table, centroids: Floats, near: float) -> tuple[Places, NDArray[np.float64], list[list[str]]]:
    """Of all rows: how many each cluster has, how near they are, and whose are nearest."""
    many = len(centroids)
    sizes, sums = np.zeros(many, np.int64), np.zeros(many)
    best: list[list[tuple[float, str]]] = [[] for _ in range(many)]
    if not many:
        return sizes, sums, []
    for rows, events, places in table.pieces():
        labels, cosines = _near_ones(rows, centroids, near)
        inside = labels >= 0
        sizes += np.bincount(labels[inside], minlength=many)
        sums += np.bincount(labels[inside], weights=cosines[inside], minlength=many)
        order = np.argsort(-cosines, kind="stable")
        order = order[labels[order] >= 0]
        for cluster in np.unique(labels[inside]).tolist():
            first = order[labels[order] == cluster][:EXAMPLES].tolist()
            named = [(-float(cosines[row]), _event(events, int(places[row]))) for row in first]
            best[cluster] = sorted(best[cluster] + named)[:EXAMPLES]
    return sizes, sums / np.maximum(sizes, 1), [[event for _, event in each] for each in best]


def _event(events: Any, place: int) -> str:
    found = events[place]
    return found if isinstance(found, str) else bytes(found).hex()


# --- the field --------------------------------------------------------------------------------------------------------------


def field(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=FieldSpec)
        answer = {"spread": _spread, "waves": _waves, "overlap": _overlap}[asked.what]
    except (msgspec.MsgspecError, KeyError):
        raise JobFailed("bad-spec") from None
    centroids = _vectors(asked.centroids, asked.stored.dimension)
    if not len(centroids):
        raise JobFailed("bad-spec")
    vectors, there = _Table(asked.stored).of_records(np.array([record for record, _, _ in asked.entries], np.int64))
    entries = [entry for entry, known in zip(asked.entries, there.tolist(), strict=True) if known]
    return json.dumps(answer(centroids, vectors[there], entries, asked.settings)).encode()


def _spread(centroids: Floats, vectors: Floats, entries: Any, settings: dict[str, float]) -> dict[str, Any]:
    """It begins where patterns are strong now: strength s as s/(1 + s), so that it is between 0 and 1."""
    order = pattern_field.line(centroids)
    centroids = centroids[order]
    strong = np.zeros(len(centroids))
    if entries:
        np.add.at(strong, kernel.nearest(vectors, centroids)[0], [amount for _, amount, _ in entries])
    start = strong / (1 + strong)
    weights = pattern_field.graph(centroids)
    steps, dt = int(settings["steps"]), settings["days"] / settings["steps"]
    frames = pattern_field.spread(
        start, weights, settings["diffusion"], settings["growth"], settings["decay"], settings["given"] * start, dt, steps
    )
    shown = np.unique(np.linspace(0, steps, min(FRAMES_MAX, steps + 1)).round().astype(int))
    return {
        "line": order.tolist(),
        "days": (shown * dt).tolist(),
        "values": frames[shown].T.tolist(),
        "links": int(np.count_nonzero(np.triu(weights))),
    }


def _waves(centroids: Floats, vectors: Floats, entries: Any, settings: dict[str, float]) -> dict[str, Any]:
    order = pattern_field.line(centroids)
    centroids = centroids[order]
    bins, ahead = int(settings["bins"]), int(settings["ahead"])
    values = np.zeros((len(centroids), bins))
    if entries:
        places = kernel.nearest(vectors, centroids)[0]
        np.add.at(values, (places, [place for _, _, place in entries]), [amount for _, amount, _ in entries])
    level = pattern_field.level(values)
    moving = values - level
    modes = pattern_field.modes(moving)
    whole = float((moving**2).sum())
    along = np.arange(len(centroids))
    told = sum((mode.at(along, np.arange(bins)) for mode in modes), np.zeros_like(values))
    later = np.arange(bins, bins + ahead)
    slope = level[:, 1:2] - level[:, :1]
    coming = (
        level[:, -1:] + slope * (later - bins + 1) + sum((mode.at(along, later) for mode in modes), np.zeros((len(values), ahead)))
    )
    return {
        "line": order.tolist(),
        "modes": [mode._asdict() for mode in modes],
        "explained": float((told**2).sum()) / whole if whole else 0.0,
        "counted": float(values.sum()),
        "tested": int(pattern_field.power(moving)[1].size),
        "ahead": coming.tolist(),
    }


def _overlap(centroids: Floats, vectors: Floats, entries: Any, settings: dict[str, float]) -> dict[str, Any]:
    """The amount of an entry is its time, in hours."""
    order = pattern_field.line(centroids)
    belongs = pattern_field.membership(vectors, centroids[order])
    hours = np.array([amount for _, amount, _ in entries])
    phases = settings["wavenumber"] * np.arange(len(centroids))[None, :] - settings["frequency"] * hours[:, None]
    found = pattern_field.overlap(belongs, phases)
    return {"records": [record for record, _, _ in entries], "real": found.real.tolist(), "imaginary": found.imag.tolist()}
