"""The runs of a chunk: fields computed, measured, and left in a file each. Nothing depends on the clock, the place, or on which
other runs are in the chunk: the same run writes the same bytes.

What is not finite never leaves as a number: it leaves as a code that says why there is none.
"""

import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import numpy as np

from core.sim.chunk import Chunk, Lane, LaneOutcome
from irerd.work import store
from irerd.work.profile import drawn
from irerd.worker import JobFailed, Tell
from kernels import nulls, params, simulate, spectrum, start
from kernels.artefact import Artefact, Plain
from kernels.geometry import inverse_square
from kernels.models import DIAGNOSTICS
from kernels.score import Aligned, Code, log_primes

PRECISION = {"complex64": "f32", "complex128": "f64"}
KERNEL_NAMES = {"a": "ring_a", "r": "ring_r"}
"""What the model's parameters are called where they differ in the kernels."""
KERNEL_MODELS = {"sncgl_sdg": "sncgl", "fmia": "fmia"}
PAIR = 2
"""Lanes of one call on a core, which computes them one after another: so one program serves chunks of every size."""
GAPS = ("gap_phase", "gap_target", "gap")
LIBRARIES = ("h5py", "jax", "jaxlib", "numba", "numpy", "scipy")


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """A chunk, for each of its lanes the file to write, what the fields of a call may take, and the file to begin with."""

    chunk: Chunk
    files: list[str]
    memory_bytes: int = 2 << 30
    source: str | None = None


class Source(NamedTuple):
    """Where another run ended: its field, and its space or what else it has beside that."""

    field: Any
    second: Any
    sha256: str


class Measured(NamedTuple):
    seen: spectrum.Spectrum
    aligned: Aligned


def chunk(spec: bytes, tell: Tell) -> bytes:
    asked = _asked(spec)
    work, batch = asked.chunk, _width(asked.chunk)
    sig = signature(work, batch)
    runs = [_numbers(work, lane) for lane in work.lanes]
    if any(params.check(sig, one, work.steps, asked.memory_bytes) for one in runs):
        raise JobFailed("out-of-range")
    source = _source(work, asked.source)
    if source is not None:
        work = _pinned(work, source.sha256)
    total = work.steps * len(work.lanes)
    tell(0, total)
    said: list[dict[str, Any]] = []
    sizes: list[int | None] = []
    for first in range(0, len(work.lanes), batch):
        some = slice(first, first + batch)
        result = _computed(work, sig, work.lanes[some], runs[some], source, tell, first * work.steps, total)
        for place, (lane, own) in enumerate(zip(work.lanes[some], runs[some], strict=True)):
            alive = partial(_alive, tell, (first + place + 1) * work.steps, total)
            outcome, size = _left(work, lane, own, place, result, asked.files[first + place], alive)
            said.append(outcome)
            sizes.append(size)
    tell(total, total)
    versions = {name: metadata.version(name) for name in LIBRARIES}
    whole = {"lanes": said, "bytes": sizes, "versions": versions, "source_sha256": source.sha256 if source is not None else None}
    return json.dumps(whole, allow_nan=False, sort_keys=True).encode()


def _asked(spec: bytes) -> Spec:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    if len(asked.files) != len(asked.chunk.lanes):
        raise JobFailed("bad-spec")
    return asked


def _width(work: Chunk) -> int:
    return max(PAIR, len(work.lanes)) if simulate.side_by_side() else PAIR


def signature(work: Chunk, width: int) -> params.Signature:
    if work.settings.dtype not in PRECISION:
        raise JobFailed("out-of-range")
    return params.Signature(
        dimensions=work.grid.d,
        points=work.grid.n,
        precision=PRECISION[work.settings.dtype],
        dealias=work.settings.dealias,
        geometry=work.settings.geometry,
        width=width,
        snapshots=work.settings.snapshots,
        model=KERNEL_MODELS[work.model],
    )


def _numbers(work: Chunk, lane: Lane) -> dict[str, float]:
    """A lane's numbers by the names of the kernels."""
    own = {KERNEL_NAMES.get(name, name): float(value) for name, value in lane.params.items()}
    if work.settings.kernel == "gaussian":
        own["ring_a"] = 0.0
    own["L"] = work.grid.l
    own["dt"] = params.suggested_dt(own, KERNEL_MODELS[work.model]) if work.dt is None else work.dt
    return own


# --- computing ------------------------------------------------------------------------------------------------------------


def _computed(
    work: Chunk,
    sig: params.Signature,
    lanes: Sequence[Lane],
    runs: Sequence[dict[str, float]],
    source: Source | None,
    tell: Tell,
    before: int,
    total: int,
) -> Any:
    numbers = [params.numbers(sig.model, own) for own in runs]
    shape = (work.grid.n,) * work.grid.d
    if source is not None:
        fields, second = (np.stack([part] * len(lanes)) for part in source[:2])
    else:
        fields = np.stack([_start(work, sig.model, lane.seed, c) for lane, c in zip(lanes, numbers, strict=True)])
        # Space begins empty, and the control model at rest.
        second = np.stack([np.full(shape, getattr(c, "rho_vac", 0.0)) for c in numbers])
    pump = np.broadcast_to(_pump(work), fields.shape)
    many = len(lanes)

    def told(done: int) -> None:
        tell(before + done * many, total)

    return simulate.simulate(sig, numbers, fields, second, pump, None, work.steps, told)


def _start(work: Chunk, model: str, seed: int, c: Any) -> Any:
    initial = work.settings.initial
    if initial is None:
        return start.start("noise", {}, seed, work.grid.d, work.grid.n, c, model)
    given: dict[str, Any] = {} if initial.amplitude is None else {"amplitude": initial.amplitude}
    if initial.modes is not None:
        given["modes"] = initial.modes
    try:
        return start.start(initial.kind, given, seed, work.grid.d, work.grid.n, c, model)
    except ValueError:
        raise JobFailed("out-of-range") from None


def _source(work: Chunk, path: str | None) -> Source | None:
    """Another run's last state, on this one's grid: the modes that both have. A file that is not the one meant is refused."""
    initial = work.settings.initial
    if initial is None or initial.kind != "from_artefact":
        return None
    try:
        found = store.get(path or "")
    except JobFailed as failed:
        raise JobFailed("no-source" if failed.code == "no-artefact" else "bad-source") from None
    attributes, settings, arrays = found.artefact
    pinned = initial.artefact_sha256 not in (None, found.sha256)
    if pinned or attributes.get("job_uuid") != initial.job_uuid:
        raise JobFailed("bad-source")
    own = (work.model, work.grid.d, work.grid.l)
    if (attributes.get("model", own[0]), settings.get("d"), settings.get("l")) != own:
        raise JobFailed("other-source")
    second = arrays.get("pi" if work.model == "fmia" else "rho_s")
    if second is None:
        raise JobFailed("bad-source")
    return Source(_regridded(arrays["A"], work.grid.n), _regridded(second, work.grid.n).real, found.sha256)


def _regridded(field: Any, points: int) -> Any:
    """On the same grid to the last bit."""
    return field if field.shape[0] == points else start.from_artefact(field, points)


def _pinned(work: Chunk, sha256: str) -> Chunk:
    assert work.settings.initial is not None
    initial = msgspec.structs.replace(work.settings.initial, artefact_sha256=sha256)
    return msgspec.structs.replace(work, settings=msgspec.structs.replace(work.settings, initial=initial))


def _pump(work: Chunk) -> Any:
    grid, pump = work.grid, work.settings.pump
    if pump is None:
        return np.zeros((grid.n,) * grid.d)
    modes = tuple(pump.k or (1, *(0,) * (grid.d - 1)))
    width = pump.width or grid.l / 10
    try:
        return start.pump(pump.shape, pump.amplitude, width, modes, grid.l, grid.d, grid.n)
    except ValueError:
        raise JobFailed("out-of-range") from None


# --- what is left of a lane -----------------------------------------------------------------------------------------------


def _left(
    work: Chunk, lane: Lane, own: dict[str, float], place: int, result: Any, path: str, tell: Tell
) -> tuple[dict[str, Any], int | None]:
    """A lane's outcome, and the size of its file. A run that came to nothing finite, not even at its start, leaves no file."""
    field, snaps, second = result.A[place], result.snaps[place], result.rho_s[place]
    measured = _measured(snaps, work)
    outcome = _outcome(work, lane, place, result, measured)
    if work.gap_draws and measured is not None and outcome.log_prime_sse is not None:
        outcome = msgspec.structs.replace(outcome, **_gaps(work, lane, snaps, measured, outcome.log_prime_sse, tell))
    if not (np.isfinite(field).all() and np.isfinite(snaps).all() and np.isfinite(second).all()):
        return _plain(work, outcome), None
    # The control model has no space of its own: it is empty everywhere.
    rho_s = np.ones_like(second) if work.model == "fmia" else second
    arrays = {
        "A": field,
        "rho_s": rho_s,
        "omega_inverse_square": _metric(rho_s, own, work),
        "snaps": snaps,
        "diag": result.diag[place],
        **({"pi": second} if work.model == "fmia" else {}),
        **dict(_of_spectrum(measured)),
    }
    written = store.put(path, Artefact(_attributes(outcome, lane, work), _settings(work, lane, own), arrays))
    return _plain(work, msgspec.structs.replace(outcome, artefact_sha256=written.sha256)), written.size


def _plain(work: Chunk, outcome: LaneOutcome) -> dict[str, Any]:
    """Nothing is said of gaps where nobody asked for them."""
    said: dict[str, Any] = msgspec.to_builtins(outcome)
    return said if work.gap_draws else {name: value for name, value in said.items() if name not in GAPS}


def _gaps(work: Chunk, lane: Lane, snaps: Any, measured: Measured, score: float, tell: Tell) -> dict[str, float | None]:
    """Both as the component `null-profile` works them out of the file, with the same draws; and what a search goes by."""
    job, targets, seen = UUID(lane.job_uuid), log_primes(work.targets), measured.seen
    scrambled = drawn(snaps, job, targets, work.gap_draws, None, tell)
    others = nulls.target_scores(seen.peaks.x, nulls.random_targets(job, targets, work.gap_draws), seen.x)
    both = [scrambled.score, others]
    least = min(nulls.gap_of_all(draws, score, work.targets) for draws in both)
    return dict(zip(GAPS, (*(nulls.gap(draws, score) for draws in both), least), strict=True))


def _alive(tell: Tell, done: int, total: int, draws: int, of: int) -> None:
    """Steps are counted, not draws: while these go on, the count stands and says that the worker lives."""
    tell(done, total)


def _measured(snaps: Any, work: Chunk) -> Measured | None:
    """None where numbers so large stand in the field that their squares are none."""
    with np.errstate(over="ignore", invalid="ignore"):
        seen, aligned = nulls.measure(snaps, work.grid.l, work.targets)
    return Measured(seen, aligned) if np.isfinite(seen.power).all() and seen.status != spectrum.DIVERGED else None


def _outcome(work: Chunk, lane: Lane, place: int, result: Any, measured: Measured | None) -> LaneOutcome:
    status = params.STATUS[int(result.status[place])]
    well = status == "ok"
    flags = [word for bit, word in params.FLAGS.items() if int(result.flags[place]) & bit]
    aligned = measured.aligned if measured and well else None
    score = aligned.score if aligned else Code.MISSING if well else Code.DIVERGED
    real = not isinstance(score, Code)
    # What is solved for in every stage is wrong by rounding alone, and that is no success.
    enforced = work.settings.geometry == "elliptic"
    h = _finite(result.h[place]) if well and not enforced else None
    return LaneOutcome(
        job_uuid=lane.job_uuid,
        status=status,  # type: ignore[arg-type]
        flags=flags,  # type: ignore[arg-type]
        log_prime_sse=float(score) if not isinstance(score, Code) else None,
        sse_code=score.value if isinstance(score, Code) else None,
        sdg_h_norm_l2=h,
        h_code=None if h is not None else "diverged" if not well else "constraint_enforced" if enforced else "no_source",
        sdg_h_norm_l2_max=_finite(result.h_max[place]) if well and not enforced else None,
        scaling_factor=float(aligned.scaling_factor) if aligned and real else None,
        n_peaks=int(measured.seen.peaks.x.size) if measured else 0,
        n_targets=work.targets,
        resolved=bool(aligned.resolved) if aligned else False,
        artefact_sha256=None,
        fail_step=None if well else int(result.fail_step[place]),
    )


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _metric(rho_s: Any, own: dict[str, float], work: Chunk) -> Any:
    if work.settings.geometry == "off":
        return np.ones_like(rho_s)
    numbers = params.coefficients(own)
    return np.asarray(inverse_square(rho_s, rho_s.dtype.type(numbers.alpha), rho_s.dtype.type(numbers.rho_vac)))


def _of_spectrum(measured: Measured | None) -> Iterator[tuple[str, Any]]:
    if measured is None:
        return
    seen = measured.seen
    yield from {
        "spectrum/x": seen.x,
        "spectrum/modes": seen.modes,
        "spectrum/power": seen.power,
        "spectrum/y": seen.y,
        "spectrum/baseline": seen.y - seen.z,
        "peaks/x": seen.peaks.x,
        "peaks/prominence": seen.peaks.prominence,
        "peaks/matched": measured.aligned.matched,
    }.items()


def _attributes(outcome: LaneOutcome, lane: Lane, work: Chunk) -> dict[str, Plain]:
    said = _plain(work, outcome)
    said["flags"] = " ".join(outcome.flags)
    said["model"], said["seed"], said["diag_columns"] = work.model, lane.seed, " ".join(DIAGNOSTICS[KERNEL_MODELS[work.model]])
    return {name: value for name, value in said.items() if value is not None}


def _settings(work: Chunk, lane: Lane, own: dict[str, float]) -> dict[str, Plain]:
    """Under the names a person asked for it by."""
    settings = work.settings
    plain: dict[str, Plain] = {"n": work.grid.n, "l": work.grid.l, "d": work.grid.d, "steps": work.steps, "dt": own["dt"]}
    plain |= {name: getattr(settings, name) for name in ("kernel", "geometry", "dealias", "dtype", "snapshots")}
    for name in ("initial", "pump"):
        if (value := getattr(settings, name)) is not None:
            plain[name] = msgspec.json.encode(value, order="sorted").decode()
    public = {kernel: name for name, kernel in KERNEL_NAMES.items()}
    return plain | {public.get(name, name): value for name, value in own.items() if name not in ("L", "dt")}
