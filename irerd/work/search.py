"""Every stored vector compared with one, on mapped segments: exact, and the same on every machine.

A first pass in float32 leaves those that may be among the nearest, by a bound on what rounding can do; these are compared again
with products that are exact and a sum that is rounded once, as `core.data.embedding` does it.
"""

import json
from typing import Any

import msgspec
import numpy as np

from core.data.embedding import Found, numbers, rank, raw_of, relevance
from irerd.worker import JobFailed, Tell

KEY = np.dtype([("seq", ">u8"), ("event", "V32")])
BLOCK = 16_384
COMPARED_AGAIN_MAX = 4_096


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
        try:
            vectors = np.memmap(f"{segment.place}.f32", "<f4", "r", shape=(segment.rows, asked.dimension))
            keys = np.memmap(f"{segment.place}.ids", KEY, "r", shape=(segment.rows,))
        except (FileNotFoundError, ValueError):
            raise JobFailed("gone") from None
        for place, query in enumerate(queries):
            found[place] += _nearest(vectors, keys, query, asked.k, segment.dead)
    best = [sorted(each, key=rank)[: asked.k] for each in found]
    return json.dumps({"found": best}).encode()


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
