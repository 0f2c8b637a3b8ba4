"""The built-in components: what they find in the file of one run. Each says exactly the outputs of its manifest, a number or null;
`code` says why there are none. Nothing depends on the clock or the place: the same file leads to the same answer.
"""

import json
import math
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import numpy as np

from irerd.work import store
from irerd.work.profile import drawn
from irerd.worker import JobFailed, Tell
from kernels import classical, nulls, params, topology
from kernels.score import TARGETS_MIN, Code, Score, log_primes

DRAWS_MAX, TARGETS_MAX = 9_999, 10


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """`artefact` is the file to read; `job_uuid` whose it must be."""

    artefact: str
    job_uuid: str
    variables: dict[str, Any] = {}


class Subject(NamedTuple):
    """A run, as its file has it."""

    job: UUID
    well: bool
    """Whether it ended well. The fields of one that did not stand as they were before."""
    settings: dict[str, Any]
    arrays: dict[str, Any]
    sha256: str


def _subject(asked: Spec) -> Subject:
    found = store.get(asked.artefact)
    attributes, settings, arrays = found.artefact
    try:
        job, well = UUID(str(attributes["job_uuid"])), attributes["status"] == "ok"
    except (KeyError, ValueError):
        raise JobFailed("bad-artefact") from None
    if str(job) != asked.job_uuid:
        raise JobFailed("bad-artefact")
    return Subject(job, well, dict(settings), arrays, found.sha256)


def _asked(spec: bytes) -> Spec:
    try:
        return msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None


def _said(subject: Subject, outputs: dict[str, Any]) -> bytes:
    said = {"outputs": outputs, "artefact_sha256": subject.sha256}
    return json.dumps(said, allow_nan=False, sort_keys=True).encode()


# --- bssn-check -----------------------------------------------------------------------------------------------------------


def bssn_check(spec: bytes, tell: Tell) -> bytes:
    subject = _subject(_asked(spec))
    code, found = _classical(subject)
    figures = dict(zip(classical.Classical._fields[1:], found[1:] if found else (None,) * 5, strict=True))
    return _said(subject, {"code": code, **figures})


def _classical(subject: Subject) -> tuple[str, classical.Classical | None]:
    if not subject.well:
        return "diverged", None
    settings = subject.settings
    try:
        if settings["geometry"] == "off":
            return "flat", None  # its metric is that of empty space, whatever stands in rho_s
        if settings["geometry"] == "elliptic":
            return "no_rate", None  # space has no equation of motion there: how fast it moves stands in no single instant
        own = {name: float(settings[name]) for name in params.DEFAULTS if name in settings}
        c = params.coefficients({**own, "L": float(settings["l"])})
        kept = -(-int(settings["n"]) // params.DEALIAS[settings["dealias"]])
    except (KeyError, TypeError, ValueError):
        raise JobFailed("bad-artefact") from None
    if not c.tau > 0:
        raise JobFailed("out-of-range")
    found = classical.check(subject.arrays["A"], subject.arrays["rho_s"], c, kept)
    if found.status == classical.OK and not all(map(math.isfinite, found)):
        return classical.STATUS[classical.NOT_FINITE], None
    return classical.STATUS[found.status], found if found.status == classical.OK else None


# --- null-profile ---------------------------------------------------------------------------------------------------------

JUDGED: Final = (
    "draws_scored",
    "rank_phase",
    "rank_target",
    "p_phase",
    "p_target",
    "gap_phase",
    "gap_target",
    "integers_beaten_by",
    "integers_rank",
    "ramp_gain",
)
"""What is said only beside a score."""


def null_profile(spec: bytes, tell: Tell) -> bytes:
    asked = _asked(spec)
    draws, count = _whole(asked, "draws", 1, DRAWS_MAX), _whole(asked, "targets", TARGETS_MIN, TARGETS_MAX)
    subject = _subject(asked)
    fields = subject.arrays["snaps"]
    try:
        length = float(subject.settings["l"])
    except (KeyError, TypeError, ValueError):
        raise JobFailed("bad-artefact") from None
    score: Score = Code.DIVERGED
    seen = None
    if subject.well:
        seen, aligned = nulls.measure(fields, length, count)
        score = aligned.score
    outputs: dict[str, Any] = {
        "code": score.value if isinstance(score, Code) else "ok",
        "log_prime_sse": None if isinstance(score, Code) else float(score),
        "n_peaks": int(seen.peaks.x.size) if seen else 0,
        "draws": draws,
        **dict.fromkeys(JUDGED),
    }
    if seen is not None and not isinstance(score, Code):
        outputs |= _phases(fields, subject.job, seen, score, count, draws, tell)
        outputs |= _sequences(subject.job, seen, score, count, draws)
        gain = nulls.ramp_gain(seen.peaks.x, aligned, log_primes(count))
        outputs["ramp_gain"] = None if isinstance(gain, Code) else float(gain)
    return _said(subject, outputs)


def _whole(asked: Spec, name: str, low: int, high: int) -> int:
    value = asked.variables.get(name)
    if type(value) is not int or not low <= value <= high:
        raise JobFailed("out-of-range")
    return value


def _phases(fields: Any, job: UUID, seen: Any, score: float, count: int, draws: int, tell: Tell) -> dict[str, Any]:
    """What fields of scrambled phases score, and how they rank among random targets."""
    targets = log_primes(count)
    sequences = nulls.random_targets(job, targets)
    found = drawn(fields, job, targets, draws, sequences, tell)
    rank = nulls.rank_among(seen.peaks.x, score, sequences, seen.x)
    as_good, as_high = nulls.as_good(score, found), int(np.count_nonzero(found.rank <= rank))
    enough = draws >= nulls.DRAWS_MIN
    return {
        "draws_scored": int(np.count_nonzero(np.isfinite(found.score))),
        "rank_phase": as_good,
        "rank_target": as_high,
        "p_phase": float(nulls.PValue(as_good, draws)) if enough else None,
        "p_target": float(nulls.PValue(as_high, draws)) if enough else None,
        "gap_phase": nulls.gap(found.score, score),
    }


def _sequences(job: UUID, seen: Any, score: float, count: int, draws: int) -> dict[str, Any]:
    """What the very same peaks score for other targets: random ones, and those of other integers."""
    peaks, x = seen.peaks.x, seen.x
    scores = nulls.target_scores(peaks, nulls.random_targets(job, log_primes(count), draws), x)
    integers = nulls.integer_sequences(peaks, score, x, count, job)
    return {
        "gap_target": nulls.gap(scores, score),
        "integers_beaten_by": ", ".join(integers.beaten_by),
        "integers_rank": integers.rank,
    }


# --- tda-profile ----------------------------------------------------------------------------------------------------------

LEVELS, BARS_MAX = 64, 24
COUNTED: Final = ("parts", "loops", "cavities")
LONGEST: Final = ("longest_part", "longest_loop", "longest_cavity")
SHAPED: Final = ("low", "high", *COUNTED, *LONGEST, "entropy", "betti_0", "betti_1", "betti_2", "bars")


def tda_profile(spec: bytes, tell: Tell) -> bytes:
    asked = _asked(spec)
    threshold, above, paired = (asked.variables.get(name) for name in ("threshold", "superlevel", "pair_loops"))
    if not (isinstance(threshold, int | float) and 0 <= threshold <= 1 and type(above) is type(paired) is bool):
        raise JobFailed("out-of-range")
    subject = _subject(asked)
    outputs: dict[str, Any] = dict.fromkeys(SHAPED)
    if not subject.well:
        return _said(subject, {"code": "diverged", **outputs})
    density = np.abs(subject.arrays["A"].astype(np.complex128)) ** 2
    if not np.isfinite(density).all():
        return _said(subject, {"code": "not_finite", **outputs})
    low, high = float(density.min()), float(density.max())
    outputs |= {"low": low, "high": high}
    if not high - low > ROUNDING * np.finfo(subject.arrays["A"].real.dtype).eps * high:
        return _said(subject, {"code": "flat", **outputs})
    try:
        outputs |= _shape(-density if above else density, float(threshold) * (high - low), paired, -1.0 if above else 1.0)
    except ValueError:
        raise JobFailed("out-of-range") from None
    return _said(subject, {"code": "ok", **outputs})


ROUNDING: Final = 64
"""A density that varies by no more roundings than this is one value."""


def _shape(field: Any, shortest: float, paired: bool, sign: float) -> dict[str, Any]:
    """What the levels of a field go through; `sign` turns them into those of the density."""
    span = float(np.ptp(field))
    every = topology.persistence(field, loops=paired).degrees[: field.ndim]
    counts = topology.betti(field, np.linspace(field.min(), field.max(), LEVELS))
    assert counts is not None, "it was looked at for what is not finite"
    outputs: dict[str, Any] = {f"betti_{degree}": " ".join(map(str, counts[degree].tolist())) for degree in range(field.ndim)}
    bars: list[tuple[float, int, str]] = []
    for degree, pairs in enumerate(every):
        if pairs is None:
            continue
        ended = pairs.length[np.isfinite(pairs.length)]
        outputs[COUNTED[degree]] = int(np.count_nonzero(pairs.length > shortest))
        outputs[LONGEST[degree]] = float(ended[0] / span) if ended.size else 0.0
        bars += _bars(degree, pairs, sign)
        if degree == 0:
            outputs["entropy"] = _entropy(ended)
    return {**outputs, "bars": "; ".join(text for _, _, text in sorted(bars)[:BARS_MAX])}


def _entropy(lengths: Any) -> float:
    shares = lengths / lengths.sum() if lengths.size else lengths
    return float(-np.sum(shares * np.log(shares))) + 0.0


def _bars(degree: int, pairs: Any, sign: float) -> list[tuple[float, int, str]]:
    """The longest first; those that never end before all others."""
    found = []
    for birth, death, length in zip(*(part[:BARS_MAX].tolist() for part in (*pairs, pairs.length)), strict=True):
        gone = f"{sign * death:.6g}" if math.isfinite(death) else "-"
        found.append((-length, degree, f"{degree} {sign * birth + 0.0:.6g} {gone}"))
    return found
