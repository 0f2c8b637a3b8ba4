"""The methods that look into the file of one run: pictures of it, what its score is worth, and whether its metrics follow from it.

The looking is a worker's. What a worker says is checked like input from a stranger, and no path ever comes from a caller: only an
id of one form, which is part of a file's name. Who hangs up ends the work.
"""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import msgspec
from msgspec import Meta

from core.engine import Actor, Refused
from core.fields import Count, Hash
from core.sim.chunk import NormCode, ScoreCode, Status
from core.sim.reads import (
    Figure,
    Metrics,
    OneRun,
    Panel,
    PanelName,
    Peak,
    Picture,
    Profile,
    ShowRun,
    Spectrum,
    Target,
    Validation,
    check_finished,
)
from core.sim.runs import Runs
from irerd.session import Stream
from irerd.workers import WorkFailed

if TYPE_CHECKING:
    from irerd.daemon import Daemon

WORK_S_MAX = 600.0
ROWS_MAX, ROW_BYTES_MAX = 1_024, 4_096

_REFUSALS = {
    "no-artefact": ("not-found", "its file is not there any more. Compute it anew: irerctl sim run"),
    "bad-artefact": (
        "data-loss",
        "its file is not what a run leaves: it was changed or is damaged. Compute it anew: irerctl sim run",
    ),
    "not-installed": (
        "failed-precondition",
        "a numeric library is not installed where irerd runs. Install irer with its science extra, then ask again",
    ),
    "timeout": ("deadline-exceeded", "it took longer than 10 minutes. Nothing more can be said of a field so large"),
    "memory": (
        "resource-exhausted",
        "it needs more memory than a worker may have. Have an admin raise compute.memory_bytes and restart irerd",
    ),
    "no-memory": ("resource-exhausted", "/dev/shm has no room to hand it over. Free some there, then ask again"),
    "busy": ("resource-exhausted", "too many jobs wait for a worker. Wait until some are done, then ask again"),
}
_ENDED_EARLY = ("unavailable", "the worker that looked ended early. Ask again; if it stays so, see: irerctl doctor")

Answer = TypeVar("Answer")


class _Shades(msgspec.Struct, frozen=True):
    low: float
    high: float
    rows: Annotated[list[Annotated[str, Meta(max_length=2 * ROW_BYTES_MAX)]], Meta(min_length=1, max_length=ROWS_MAX)]


class _Peak(msgspec.Struct, frozen=True):
    x: float
    prominence: float
    prime: Count | None


class _Target(msgspec.Struct, frozen=True):
    prime: Count
    x: float


class _Spectrum(msgspec.Struct, frozen=True):
    """Places in shells, one of which is `dk` wide."""

    dk: float
    x: list[float]
    y: list[float]
    baseline: list[float]
    peaks: list[_Peak]
    targets: list[_Target]


class _Attributes(msgspec.Struct, frozen=True):
    status: Status
    seed: Count
    log_prime_sse: float | None = None
    sse_code: ScoreCode | None = None
    sdg_h_norm_l2: float | None = None
    h_code: NormCode | None = None
    scaling_factor: float | None = None


class _Settings(msgspec.Struct, frozen=True):
    n: Count
    l: float  # noqa: E741 (its name in the model)
    d: Count
    steps: Count
    dt: float


class _Picture(msgspec.Struct, frozen=True):
    job_uuid: str
    artefact_sha256: Hash
    attributes: _Attributes
    settings: _Settings
    fields: Annotated[dict[PanelName, _Shades], Meta(min_length=1)]
    spectrum: _Spectrum | None


class _Metrics(msgspec.Struct, frozen=True):
    log_prime_sse: Figure
    sdg_h_norm_l2: Figure


class _Validation(msgspec.Struct, frozen=True):
    job_uuid: str
    artefact_sha256: Hash
    hash_agrees: bool
    tolerance: float
    metrics: _Metrics
    agrees: bool


class SimulationPorts:
    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon

    async def show(self, params: ShowRun, actor: Actor, stream: Stream) -> Picture:
        said = await self._asked("picture", params.job_uuid, {}, _Picture)
        try:
            return picture(said, params.points)
        except ValueError:
            raise _nonsense(params.job_uuid) from None

    async def profile(self, params: OneRun, actor: Actor, stream: Stream) -> Profile:
        return await self._asked("profile", params.job_uuid, {}, Profile)

    async def validate(self, params: OneRun, actor: Actor, stream: Stream) -> Validation:
        """Against what the log says of the run where it is known, else against what the file says of itself."""
        known = self._runs.ended.get(params.job_uuid)
        outcome = known.outcome if known is not None else None
        asked: dict[str, Any] = {}
        if outcome is not None:
            said = msgspec.to_builtins(outcome)
            names = ("log_prime_sse", "sse_code", "sdg_h_norm_l2", "h_code")
            asked = {"claimed": {name: said[name] for name in names}, "sha256": outcome.artefact_sha256}
        found = await self._asked("validate", params.job_uuid, asked, _Validation)
        ok = found.agrees and found.hash_agrees
        return Validation(
            found.job_uuid,
            ok,
            "ok" if ok else "artefact-mismatch",
            found.tolerance,
            found.hash_agrees,
            found.artefact_sha256,
            Metrics(found.metrics.log_prime_sse, found.metrics.sdg_h_norm_l2),
        )

    @property
    def _runs(self) -> Runs:
        runs = self._daemon.world.states["sim"]
        assert isinstance(runs, Runs)
        return runs

    async def _asked(self, job: str, job_uuid: str, more: Mapping[str, Any], kind: type[Answer]) -> Answer:
        daemon = self._daemon
        check_finished(self._runs, job_uuid)
        place = f"data/run_{job_uuid}.h5"
        if await daemon.host.offload(daemon.host.files.stat_path, place) is None:
            text = f"there are no fields of run {job_uuid}: it is not known, has not ended, or left none. See: irerctl sim list"
            raise Refused("not-found", text, reason="run")
        spec = msgspec.json.encode({"artefact": f"{daemon.state_dir}/{place}", **more})
        try:
            said = await daemon.host.work(job, spec, timeout_s=WORK_S_MAX)
        except WorkFailed as failed:
            known, text = _REFUSALS.get(failed.reason, _ENDED_EARLY)
            raise Refused(known, f"run {job_uuid} could not be looked into: {text}", reason=failed.reason) from None
        try:
            found = msgspec.json.decode(said, type=kind)
        except msgspec.MsgspecError:
            raise _nonsense(job_uuid) from None
        if getattr(found, "job_uuid", None) != job_uuid:
            raise _nonsense(job_uuid)
        return found


def picture(said: _Picture, points: int) -> Picture:
    """What a worker saw, at most so fine. Raises ValueError for what cannot be a picture."""
    attributes, settings, fields = said.attributes, said.settings, said.fields
    return Picture(
        said.job_uuid,
        said.artefact_sha256,
        settings.n,
        settings.l,
        settings.d,
        settings.steps,
        settings.dt,
        attributes.seed,
        attributes.status,
        attributes.log_prime_sse,
        attributes.sse_code,
        attributes.sdg_h_norm_l2,
        attributes.h_code,
        [_panel(name, fields[name], points) for name in get_args(PanelName) if name in fields],
        _spectrum(said.spectrum, attributes.scaling_factor) if said.spectrum is not None else None,
    )


def _panel(name: Any, shades: _Shades, points: int) -> Panel:
    rows = [_row(text) for text in shades.rows]
    width = len(rows[0])
    if not width or any(len(row) != width for row in rows) or not (math.isfinite(shades.low) and math.isfinite(shades.high)):
        raise ValueError(name)
    across, down = _thinned(width, points), _thinned(len(rows), points)
    pixels = b"".join(bytes(rows[y][x] for x in across) for y in down)
    return Panel(name, shades.low, shades.high, len(across), len(down), pixels)


def _row(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("row") from None


def _thinned(count: int, points: int) -> Sequence[int]:
    some = min(count, points)
    return [place * count // some for place in range(some)]


def _spectrum(said: _Spectrum, factor: float | None) -> Spectrum:
    if not (len(said.x) == len(said.y) == len(said.baseline)):
        raise ValueError("spectrum")
    dk = said.dk
    return Spectrum(
        [x * dk for x in said.x],
        said.y,
        said.baseline,
        [Peak(peak.x * dk, peak.prominence, peak.prime) for peak in said.peaks],
        [Target(target.prime, target.x * dk) for target in said.targets],
        factor,
    )


def _nonsense(job_uuid: str) -> Refused:
    text = f"run {job_uuid} could not be looked into: what the worker said cannot be true. Try again; then: irerctl doctor"
    return Refused("internal", text, reason="bad-output")
