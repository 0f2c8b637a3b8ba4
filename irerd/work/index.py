"""An approximate index of stored vectors: makes its lists on mapped segments, and measures what a search by them finds.

Its outcome is the whole file. It covers the rows that stand there now; what comes later is compared one by one until the next one.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.data import index as heads
from irerd.work.search import Segment, let_go_of_gone_files, mapped
from irerd.worker import JobFailed, Tell
from kernels import inverted_lists as kernel

BLOCK = 8_192
CENTROID_BYTES_MAX = 32 << 20
LEARNED_BYTES_MAX = 256 << 20
"""Rows that centroids are learned from, in memory."""

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    dimension: int
    segments: list[Segment]


class _Rows:
    """Live rows of all segments, by their place among the live ones."""

    def __init__(self, asked: Spec) -> None:
        self._parts: list[tuple[Any, Places]] = []
        self.covered: list[heads.Covered] = []
        self.where: list[Places] = []
        """Of each live row, its place among all rows."""
        first = 0
        for segment in asked.segments:
            vectors, keys = mapped(segment, asked.dimension)
            live = np.ones(segment.rows, np.bool_)
            live[segment.dead] = False
            rows = np.flatnonzero(live)
            self._parts.append((vectors, rows))
            self.where.append(first + rows)
            name = segment.place.rpartition("/")[2]
            self.covered.append(heads.Covered(name, segment.rows, sha256(keys.tobytes()).hexdigest()))
            first += segment.rows
        self.live = sum(len(rows) for _, rows in self._parts)

    def at(self, places: Places) -> Floats:
        """These live rows; the places are in order."""
        found, first = [], 0
        for vectors, rows in self._parts:
            some = places[np.searchsorted(places, first) : np.searchsorted(places, first + len(rows))] - first
            found.append(vectors[rows[some]])
            first += len(rows)
        return np.concatenate(found)

    def blocks(self) -> Iterator[tuple[Floats, Places]]:
        first = 0
        for vectors, rows in self._parts:
            for begin in range(0, len(rows), BLOCK):
                some = rows[begin : begin + BLOCK]
                whole = len(some) == some[-1] - some[0] + 1  # nothing to copy where none is dead
                yield (vectors[some[0] : some[-1] + 1] if whole else vectors[some]), first + begin + np.arange(len(some))
            first += len(rows)

    @property
    def many_blocks(self) -> int:
        return sum(-(-len(rows) // BLOCK) for _, rows in self._parts)


class _Told:
    """How far it is, in blocks of rows."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0
        tell(0, total)

    def step(self) -> None:
        self._done += 1
        self._tell(min(self._done, self._total), self._total)


def index(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    let_go_of_gone_files()
    rows = _Rows(asked)
    if not rows.live:
        raise JobFailed("nothing")
    lists = kernel.lists_wanted(rows.live, CENTROID_BYTES_MAX // (4 * asked.dimension))
    learned = rows.at(kernel.spread(rows.live, min(kernel.A_LIST * lists, max(lists, LEARNED_BYTES_MAX // (4 * asked.dimension)))))
    told = _Told(tell, kernel.TURNS * -(-len(learned) // BLOCK) + 2 * rows.many_blocks)
    centroids = _learned(learned, lists, told)
    labels = np.concatenate([_stepped(told, kernel.assigned(block, centroids)) for block, _ in rows.blocks()])
    held, begins, order = kernel.listed(labels, lists)
    centroids = np.ascontiguousarray(centroids[held])
    names = np.cumsum(held) - 1
    levels, sampled = _measured(rows, centroids, names[labels], told)
    head = heads.Head(
        heads.VERSION, asked.model, asked.dimension, len(centroids), rows.live, rows.covered, levels, sampled, "0" * 64
    )
    where = np.concatenate(rows.where)[order]
    body = centroids.astype("<f4").tobytes() + begins.astype("<u4").tobytes() + where.astype("<u4").tobytes()
    return heads.sealed(head, body)


def _stepped(told: _Told, found: Places) -> Places:
    told.step()
    return found


def _learned(rows: Floats, lists: int, told: _Told) -> Floats:
    centroids = rows[kernel.spread(len(rows), lists)].copy()
    for _ in range(kernel.TURNS):
        blocks = (rows[first : first + BLOCK] for first in range(0, len(rows), BLOCK))
        labels = np.concatenate([_stepped(told, kernel.assigned(block, centroids)) for block in blocks])
        centroids = kernel.moved(rows, labels, centroids)
    return centroids


def _measured(rows: _Rows, centroids: Floats, labels: Places, told: _Told) -> tuple[list[heads.Level], int]:
    """By stored vectors, evenly spread, and by those with noise in them: the lists that hold the nearest of all there are."""
    own = kernel.spread(rows.live, heads.SAMPLED_MAX)
    sampled = rows.at(own)
    queries = np.concatenate([kernel.noisy(sampled, noise) for noise in heads.NOISES])
    themselves = np.where(np.arange(len(queries)) < len(own), np.resize(own, len(queries)), -1)  # with noise it may be found

    def blocks() -> Iterator[tuple[Floats, Places]]:
        for block in rows.blocks():
            yield block
            told.step()

    found = kernel.neighbours(queries, themselves, blocks(), heads.K_MAX)
    near = np.where(found >= 0, labels[np.maximum(found, 0)], -1)
    tried, levels = heads.steps_of(len(centroids)), []
    for place, noise in enumerate(heads.NOISES):
        some = slice(place * len(own), (place + 1) * len(own))
        few, many = (kernel.recall(queries[some], centroids, near[some, :k], tried) for k in (10, heads.K_MAX))
        steps = [heads.Step(*step) for step in zip(tried, few, many, strict=True)]
        levels.append(heads.Level(noise, _least(queries[some], centroids, place == len(heads.NOISES) - 1), steps))
    return levels, len(own)


def _least(queries: Floats, centroids: Floats, last: bool) -> float:
    """Of each level but the last, the quarter that is least near counts to the next: what is found there is less."""
    return float(np.quantile((queries @ centroids.T).max(axis=1), 0 if last else 0.25))
