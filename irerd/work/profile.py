"""What the nulls say about a stored run: each draw keyed by the run, so anybody can draw it again and find the same.

The sum of it is `kernels.nulls.profile`; it is done here in portions, because 999 surrogates of a large field take a while and
somebody waits.
"""

import json
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np

from irerd.work import store
from irerd.worker import JobFailed, Tell
from kernels import nulls
from kernels.score import TARGETS_MIN, Code, log_primes

PORTION: Final = 37
"""Draws between two looks at how far it is."""
GAP_DRAWS: Final = 99
"""Null draws whose median a score is compared with."""
DRAWS_MAX, TARGETS_MAX = 100_000, 32


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    artefact: str
    targets: int = nulls.TARGETS_TO_CERTIFY
    draws: int = nulls.DRAWS_MIN


def profile(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    if not (nulls.DRAWS_MIN <= asked.draws <= DRAWS_MAX and TARGETS_MIN <= asked.targets <= TARGETS_MAX):
        raise JobFailed("out-of-range")
    found = store.get(asked.artefact)
    attributes, settings, arrays = found.artefact
    try:
        job, length, well = UUID(str(attributes["job_uuid"])), float(settings["l"]), attributes["status"] == "ok"
    except (KeyError, ValueError):
        raise JobFailed("bad-artefact") from None
    said: dict[str, Any] = {
        "job_uuid": str(job),
        "artefact_sha256": found.sha256,
        "n_targets": asked.targets,
        "draws": asked.draws,
    }
    said |= judged(arrays["snaps"], job, length, asked, tell) if well else _nothing("diverged", asked.targets)
    return json.dumps(said, allow_nan=False, sort_keys=True).encode()


def _nothing(code: str, targets: int, peaks: int = 0) -> dict[str, Any]:
    """Where there is no score, nothing can be compared with it."""
    return {
        "log_prime_sse": None,
        "sse_code": code,
        "scaling_factor": None,
        "resolved": False,
        "n_peaks": peaks,
        "n_matched": 0,
        "p_phase": None,
        "p_target": None,
        "gap_phase": None,
        "gap_target": None,
        "integers": None,
        "ramp_gain": None,
        "survives": False,
    }


def judged(fields: Any, job: UUID, length: float, asked: Spec, tell: Tell) -> dict[str, Any]:
    targets = log_primes(asked.targets)
    seen, aligned = nulls.measure(fields, length, asked.targets)
    peaks, score = seen.peaks.x, aligned.score
    if isinstance(score, Code):
        return _nothing(score.value, asked.targets, int(peaks.size))
    sequences = nulls.random_targets(job, targets)
    draws = drawn(fields, job, targets, asked.draws, sequences, tell)
    rank = nulls.rank_among(peaks, score, sequences, seen.x)
    p_phase = nulls.PValue(nulls.as_good(score, draws), asked.draws)
    p_target = nulls.PValue(int(np.count_nonzero(draws.rank <= rank)), asked.draws)
    integers = nulls.integer_sequences(peaks, score, seen.x, asked.targets, job)
    gain = nulls.ramp_gain(peaks, aligned, targets)
    whole = nulls.Profile(seen, aligned, p_phase, p_target, integers, gain)
    return {
        "log_prime_sse": float(score),
        "sse_code": None,
        "scaling_factor": float(aligned.scaling_factor),
        "resolved": aligned.resolved,
        "n_peaks": int(peaks.size),
        "n_matched": int(np.count_nonzero(aligned.matched >= 0)),
        "p_phase": float(p_phase),
        "p_target": float(p_target),
        "gap_phase": nulls.gap(draws.score[:GAP_DRAWS], score),
        "gap_target": nulls.gap(nulls.target_scores(peaks, sequences[:GAP_DRAWS], seen.x), score),
        "integers": {
            "beaten_by": list(integers.beaten_by),
            "rank": integers.rank,
            "sequences": integers.sequences,
            "passed": integers.passed(),
        },
        "ramp_gain": None if isinstance(gain, Code) else float(gain),
        "survives": whole.survives(),
    }


def drawn(fields: Any, job: UUID, targets: Any, count: int, sequences: Any, tell: Tell) -> nulls.Draws:
    """Fields of scrambled phases, in portions, telling how far it is."""
    parts = []
    for first in range(0, count, PORTION):
        tell(first, count)
        parts.append(nulls.phase_draws(fields, job, targets, min(PORTION, count - first), first, sequences))
    tell(count, count)
    return nulls.Draws(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
