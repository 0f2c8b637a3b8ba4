"""The runs of a certificate: computed, measured with eight targets, held against every null, and forgotten: only figures are left.

Also what the best of a whole hunt is worth, over the very fields of its candidates, and how its two objectives go together.
"""

import json
import math
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from core.hunt import paradox as correlations
from core.hunt.certificate import TARGETS, Figures, Kind
from core.sim.chunk import Chunk, Lane
from irerd.work import chunk as runs
from irerd.work import store
from irerd.work.profile import Spec as Nulls
from irerd.work.profile import drawn, judged
from irerd.worker import JobFailed, Tell
from kernels import nulls, params
from kernels.score import TARGETS_MIN, Code, log_primes

DRAWS_MAX, TARGETS_MAX = 9_999, 32


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """`job_uuid`, the candidate's, keys the draws: no hunt's, and the same whenever somebody asks again."""

    kind: Kind
    chunk: Chunk
    job_uuid: str
    draws: int
    memory_bytes: int


class FamilySpec(msgspec.Struct, forbid_unknown_fields=True):
    """`artefacts` are those of each candidate; of `seeds` runs those that have none, or diverged, score nothing."""

    artefacts: list[list[str]]
    seeds: int
    targets: int
    draws: int
    best: float


class ParadoxSpec(msgspec.Struct, forbid_unknown_fields=True):
    seed: int
    pairs: list[list[tuple[int, float | None, float | None]]]


def certify(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    work = asked.chunk
    sig = runs.signature(work, runs.PAIR)
    numbers = [runs._numbers(work, lane) for lane in work.lanes]
    if not nulls.DRAWS_MIN <= asked.draws <= DRAWS_MAX:
        raise JobFailed("out-of-range")
    if any(params.check(sig, one, work.steps, asked.memory_bytes) for one in numbers):
        raise JobFailed("out-of-range")
    total = work.steps * len(work.lanes)
    said: list[Figures] = []
    for first in range(0, len(work.lanes), runs.PAIR):
        some = slice(first, first + runs.PAIR)
        result = runs._computed(work, sig, work.lanes[some], numbers[some], None, tell, first * work.steps, total)
        for place, lane in enumerate(work.lanes[some]):
            said.append(_figures(asked, lane, first + place, place, result, partial(_told, tell, first * work.steps, total)))
    return json.dumps({"figures": msgspec.to_builtins(said)}, allow_nan=False).encode()


def _figures(asked: Spec, lane: Lane, number: int, place: int, result: Any, tell: Tell) -> Figures:
    work, snaps = asked.chunk, result.snaps[place]
    status = params.STATUS[int(result.status[place])]
    flags = [word for bit, word in params.FLAGS.items() if int(result.flags[place]) & bit]
    h_max = float(result.h_max[place]) if math.isfinite(result.h_max[place]) else None
    measured = runs._measured(snaps, work) if status == "ok" else None
    plain: dict[str, Any] = {"kind": asked.kind, "seed": lane.seed, "status": status, "flags": flags, "h_max": h_max}
    if measured is None or isinstance(measured.aligned.score, Code):
        code = "diverged" if measured is None else measured.aligned.score.value  # type: ignore[union-attr]
        return msgspec.convert(plain | {"resolved": False, "score": None, "code": code, "matched": 0}, Figures)
    seen, aligned = measured
    score = aligned.score
    peaks = [float(seen.peaks.x[at]) for at in aligned.matched if at >= 0]
    plain |= {
        "resolved": bool(aligned.resolved),
        "score": None if isinstance(score, Code) else float(score),
        "code": None,
        "matched": len(peaks),
        "peaks": peaks if len(peaks) == TARGETS else [],
    }
    if asked.kind == "fresh":
        own = UUID(bytes=sha256(f"irer certificate\0{asked.job_uuid}\0{number}".encode()).digest()[:16])
        told = judged(snaps, own, work.grid.l, Nulls("", work.targets, asked.draws), tell)
        kept = ("p_phase", "p_target", "ramp_gain", "gap_phase", "gap_target")
        plain |= {name: told[name] for name in kept} | {"integers": told["integers"]["passed"]}
    return msgspec.convert(plain, Figures)


def family(spec: bytes, tell: Tell) -> bytes:
    """How often the best of as many candidates scores as well where nothing is hidden (max-statistic, Westfall & Young)."""
    try:
        asked = msgspec.json.decode(spec, type=FamilySpec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    if not (nulls.DRAWS_MIN <= asked.draws <= DRAWS_MAX and TARGETS_MIN <= asked.targets <= TARGETS_MAX):
        raise JobFailed("out-of-range")
    if any(not len(runs) <= asked.seeds for runs in asked.artefacts):
        raise JobFailed("out-of-range")
    least, number, total = np.full(asked.draws, np.inf), 0, sum(map(len, asked.artefacts))
    for runs_of_one in asked.artefacts:
        found = []
        for path in runs_of_one:
            found.append(_surrogates(path, asked, partial(_told, tell, number, total)))
            number += 1
        least = nulls.family_least(least, nulls.median_draws(found, asked.seeds))
    p = float(nulls.PValue(nulls.family_as_good(asked.best, least), asked.draws))
    return json.dumps({"p_family": p}).encode()


def _surrogates(path: str, asked: FamilySpec, tell: Tell) -> nulls.Draws:
    attributes, _, arrays = store.get(path).artefact
    try:
        job = UUID(str(attributes["job_uuid"]))
    except (KeyError, ValueError):
        raise JobFailed("bad-artefact") from None
    tell(0, asked.draws)
    return drawn(arrays["snaps"], job, log_primes(asked.targets), asked.draws, None, tell)


def _told(tell: Tell, number: int, total: int, done: int, of: int) -> None:
    """Steps and candidates are counted, not draws: while these go on, the count stands and says that the worker lives."""
    tell(number, total)


def paradox(spec: bytes, tell: Tell) -> bytes:
    """Of each pair of columns the correlation over all rows, and within generations."""
    try:
        asked = msgspec.json.decode(spec, type=ParadoxSpec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    said = []
    for pair in asked.pairs:
        given = correlations.rows(pair)
        found = correlations.overall(given, asked.seed), correlations.within(given, asked.seed)
        said.append([each._asdict() for each in found])
    return json.dumps(said, allow_nan=False).encode()
