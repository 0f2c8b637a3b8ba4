"""The errand of a chunk: has its runs computed by a worker, checks what comes back, and gives each file its name.

Complete or absent: a file has its name only once it is whole and on the medium, the fields before the page that tells where they
come from, and that page before the outcome is told. So a chunk may be begun anew after an end at any moment, and writes the same
bytes.
What a worker says is checked here as far as files go; what it means is checked by the engine that asked.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
import trio
from msgspec import Meta

from core.engine import Errand, JobEnded
from core.fields import Hash
from core.settings import Compute
from core.sim.chunk import Chunk, Lane, outcomes
from irerd import __version__
from irerd.host import Host
from irerd.workers import Progress, WorkFailed
from state.blobs import ROOM_BYTES_MIN
from state.fs import NO_SPACE, Files, make_directory, read_all, small_write, sync_directory

CONFIGS, DATA, PROVENANCE = "configs", "data", "provenance"
TEMPORARY = ".tmp"
PIECE_BYTES = 1 << 20
METRICS = ("log_prime_sse", "sse_code", "sdg_h_norm_l2", "h_code", "sdg_h_norm_l2_max")
GAPS = ("gap_phase", "gap_target", "gap")
"""Said where they were asked for."""
PROFILE = ("scaling_factor", "n_peaks", "n_targets", "resolved")

Tell = Callable[[dict[str, Any]], None]
Text = Annotated[str, Meta(max_length=100)]


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    """What the worker says of a chunk; each lane is checked by the type that both ends share."""

    lanes: list[dict[str, Any]]
    bytes: list[Annotated[int, Meta(ge=1, le=2**53)] | None]
    versions: Annotated[dict[Text, Text], Meta(max_length=16)]
    source_sha256: Hash | None = None


class Paths(NamedTuple):
    """The files of one run, in the state directory."""

    config: str
    data: str
    provenance: str

    @classmethod
    def of(cls, job_uuid: str) -> "Paths":
        return cls(f"{CONFIGS}/config_{job_uuid}.json", f"{DATA}/run_{job_uuid}.h5", f"{PROVENANCE}/provenance_{job_uuid}.json")


class _Failed(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class Runs:
    def __init__(self, host: Host, state_dir: Path, settings: Callable[[], Compute]) -> None:
        self._host = host
        self._state_dir = state_dir
        self._settings = settings
        self._swept = False
        self._beginning = trio.Lock()

    async def run(self, errand: Errand, progress: Tell) -> JobEnded:
        """One chunk. May be cancelled and begun anew at any point."""
        try:
            chunk = _checked(errand.params)
            lanes = await self._run(chunk, progress)
            return JobEnded(errand.id, True, "ok", "", {"lanes": lanes})
        except _Failed as failed:
            return JobEnded(errand.id, False, failed.code, failed.detail)
        except WorkFailed as failed:
            code, detail = await self._told(failed)
            return JobEnded(errand.id, False, code, detail)

    # --- one chunk ------------------------------------------------------------------------------------------------------

    async def _run(self, chunk: Chunk, progress: Tell) -> list[dict[str, Any]]:
        async with self._beginning:
            await self._on_files(self._begin)
        finished = [await self._on_files(_finished, self._host.files, chunk, lane) for lane in chunk.lanes]
        done = [page["outcome"] for page in finished if page is not None]
        if len(done) == len(chunk.lanes) and outcomes({"lanes": done}, chunk) is not None:
            return done  # an end came between the last file and the record of it
        await self._on_files(self._room, chunk)
        for lane in chunk.lanes:
            await self._on_files(small_write, self._host.files, Paths.of(lane.job_uuid).config, _bytes(_config(chunk, lane)))
        try:
            return await self._compute(chunk, finished, progress)
        finally:
            await self._host.offload(self._tidy, chunk)  # cancellation waits for it

    async def _compute(self, chunk: Chunk, finished: list[dict[str, Any] | None], progress: Tell) -> list[dict[str, Any]]:
        temporary = [str(self._state_dir / (Paths.of(lane.job_uuid).data + TEMPORARY)) for lane in chunk.lanes]
        settings = self._settings()
        spec = {"chunk": msgspec.to_builtins(chunk), "files": temporary, "memory_bytes": settings.memory_bytes // 2}
        initial = chunk.settings.initial
        source = initial.job_uuid if initial is not None else None
        if source is not None:
            spec["source"] = str(self._state_dir / Paths.of(source).data)

        def tell(heard: Progress) -> None:
            progress({"done": heard.done, "total": heard.total, "unit": "steps"})

        began_us = self._host.mono_us()
        work, hunts = json.dumps(spec).encode(), chunk.lanes[0].hunt_id is not None
        said = await self._host.work("chunk", work, timeout_s=settings.timeout_s, on_progress=tell, patient=hunts)
        wall_s = round((self._host.mono_us() - began_us) / 1e6, 6)
        answer = _answered(said, chunk)
        for lane, outcome, page in zip(chunk.lanes, answer.lanes, finished, strict=True):
            await self._on_files(self._keep, lane, outcome)
            if page is None or page["outcome"] != outcome:
                told = _provenance(_config(chunk, lane), outcome, answer.versions, wall_s)
                if source is not None:
                    told["source"] = {"job_uuid": source, "artefact_sha256": answer.source_sha256}
                await self._on_files(small_write, self._host.files, Paths.of(lane.job_uuid).provenance, _bytes(told))
        return answer.lanes

    async def _told(self, failed: WorkFailed) -> tuple[str, str]:
        if failed.code == "closed":
            await trio.sleep_forever()  # irerd stops, and does it again when it is back: this is no outcome
        return failed.reason, _text(failed.reason, failed.detail, self._settings())

    # --- files; all of these block --------------------------------------------------------------------------------------

    async def _on_files(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await self._host.offload(function, *arguments)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise _Failed("no-space", _text("no-space", "", self._settings())) from None
            what = errno.errorcode.get(error.errno or 0, "an error")
            text = f"a file of this run could not be stored ({what}): the disk failed. Look at the journal, then ask again"
            raise _Failed("disk-error", text) from None

    def _begin(self) -> None:
        """The directories, and once in a life of irerd what an earlier one left half-written."""
        for directory in (CONFIGS, DATA, PROVENANCE):
            make_directory(self._host.files, directory)
            if not self._swept:
                for name in self._host.files.list(directory):
                    if name.endswith(TEMPORARY):
                        self._host.files.unlink(f"{directory}/{name}")
        self._swept = True

    def _room(self, chunk: Chunk) -> None:
        """Before anything is computed: fields that cannot be stored are not worth computing. Logs come first."""
        item = 16 if chunk.settings.dtype == "complex128" else 8
        needed = len(chunk.lanes) * (chunk.settings.snapshots + 2) * item * chunk.grid.n**chunk.grid.d
        if self._host.files.free() < needed + ROOM_BYTES_MIN:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _keep(self, lane: Lane, outcome: dict[str, Any]) -> None:
        """A worker's file gets its name, if it is what the worker says it is."""
        files, path = self._host.files, Paths.of(lane.job_uuid).data
        if outcome["artefact_sha256"] is None:
            if files.stat_path(path) is not None:
                files.unlink(path)
            return
        if _sha256(files, path + TEMPORARY) != outcome["artefact_sha256"]:
            raise _Failed("bad-output", _text("bad-output", "its file is not what it says", self._settings()))
        files.rename(path + TEMPORARY, path)
        sync_directory(files, DATA)

    def _tidy(self, chunk: Chunk) -> None:
        """What was not kept goes; where that fails, the next start sees to it."""
        for lane in chunk.lanes:
            path = Paths.of(lane.job_uuid).data + TEMPORARY
            try:
                if self._host.files.stat_path(path) is not None:
                    self._host.files.unlink(path)
            except OSError:
                return


def _checked(params: Mapping[str, Any]) -> Chunk:
    """Ids become names of files, so here they are looked at once more, whoever asks."""
    try:
        chunk = msgspec.convert(dict(params), Chunk, strict=True)
    except msgspec.ValidationError:
        raise _Failed("bad-spec", "this chunk is none that this version computes. Begin the run anew: irerctl sim run") from None
    if not all(_is_uuid(lane.job_uuid) for lane in chunk.lanes) or len({lane.job_uuid for lane in chunk.lanes}) < len(chunk.lanes):
        raise _Failed("bad-spec", "the runs of this chunk are not named by different UUIDs. Begin it anew: irerctl sim run")
    initial = chunk.settings.initial
    if initial is not None and initial.job_uuid is not None and not _is_uuid(initial.job_uuid):
        raise _Failed("bad-spec", "the run that this one begins with is not named by a UUID. Begin it anew: irerctl sim run")
    return chunk


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _answered(said: bytes, chunk: Chunk) -> _Answer:
    try:
        answer = msgspec.json.decode(said, type=_Answer)
    except msgspec.MsgspecError:
        answer = None
    if answer is None or outcomes({"lanes": answer.lanes}, chunk) is None:
        raise WorkFailed("bad-output", "no outcome of this chunk")
    return answer


# --- what stands in the pages of a run ------------------------------------------------------------------------------------


def _config(chunk: Chunk, lane: Lane) -> dict[str, Any]:
    """Under the keys that the source gives them."""
    settings = msgspec.to_builtins(chunk.settings)
    simulation = {
        "model": chunk.model,
        "N_grid": chunk.grid.n,
        "L_domain": chunk.grid.l,
        "dimensions": chunk.grid.d,
        "T_steps": chunk.steps,
        "dt": chunk.dt,
        "targets": chunk.targets,
        **settings,
        **({"gap_draws": chunk.gap_draws} if chunk.gap_draws else {}),
    }
    named = {name: value for name in ("hunt_id", "generation", "index", "turn") if (value := getattr(lane, name)) is not None}
    return {
        "job_uuid": lane.job_uuid,
        "global_seed": lane.seed,
        "simulation": simulation,
        "sncgl_params": dict(lane.params),
        **({"hunt": named} if named else {}),
    }


def _provenance(config: dict[str, Any], outcome: dict[str, Any], versions: dict[str, str], wall_s: float) -> dict[str, Any]:
    return {
        **config,
        "status": outcome["status"],
        "fail_step": outcome["fail_step"],
        "flags": outcome["flags"],
        "metrics": {name: outcome[name] for name in (*METRICS, *(name for name in GAPS if name in outcome))},
        "profile": {name: outcome[name] for name in PROFILE},
        "artefact_sha256": outcome["artefact_sha256"],
        "config_sha256": sha256(_bytes(config)).hexdigest(),
        "versions": {"irer": __version__, **versions},
        "wall_s": wall_s,
    }


def _bytes(page: dict[str, Any]) -> bytes:
    return json.dumps(page, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def _finished(files: Files, chunk: Chunk, lane: Lane) -> dict[str, Any] | None:
    """The page of a run that is complete already, with its outcome: of this very run, and with the very fields it tells of."""
    raw = read_all(files, Paths.of(lane.job_uuid).provenance)
    config = _config(chunk, lane)
    try:
        page = msgspec.json.decode(raw or b"", type=dict[str, Any])
        same = page["config_sha256"] == sha256(_bytes(config)).hexdigest()
        parts = {**page["metrics"], **page["profile"]}
        plain = {name: page[name] for name in ("status", "fail_step", "flags", "artefact_sha256")}
        outcome = {"job_uuid": lane.job_uuid, **plain, **parts}
    except (msgspec.MsgspecError, KeyError, TypeError):
        return None
    if not same or _sha256(files, Paths.of(lane.job_uuid).data) != outcome["artefact_sha256"]:
        return None
    return {**page, "outcome": outcome}


def _sha256(files: Files, path: str) -> str | None:
    """None where there is no such file."""
    try:
        fd = files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        digest = sha256()
        for piece in _pieces(files, fd):
            digest.update(piece)
        return digest.hexdigest()
    finally:
        files.close(fd)


def _pieces(files: Files, fd: int) -> Iterator[bytes]:
    at = 0
    while piece := files.pread(fd, PIECE_BYTES, at):
        yield piece
        at += len(piece)


# --- words ----------------------------------------------------------------------------------------------------------------


def _text(code: str, detail: str, settings: Compute) -> str:
    """What happened, why, and what to type next."""
    found = {
        "poison": (
            "no result: three workers in a row were lost with this job (the last one died, hung or was killed from outside). "
            "Look at: irerctl call system.health, and at the kernel's log; then ask again"
        ),
        "memory": (
            f"no result: it needs more memory than a worker may have, {settings.memory_bytes:,} bytes. "
            "Take fewer points or snapshots, or have an admin raise compute.memory_bytes and restart irerd"
        ),
        "timeout": (
            f"no result: it was stopped after {settings.timeout_s:,.0f} s, the longest a job may compute. "
            "Take fewer steps or runs at once, or have an admin raise compute.timeout_s and restart irerd"
        ),
        "busy": (
            "not begun: too many jobs wait for a worker. Wait until some are done (irerctl call system.health shows it), "
            "then ask again"
        ),
        "no-process": "not begun: the system lets irerd start no worker. See the limit of processes (ulimit -u), then ask again",
        "no-memory": "no result: /dev/shm has no room for what is handed over. Free some there, then ask again",
        "no-space": "no result: the disk has no room for the fields. Free some space (df shows where), then ask again",
        "no-file": "no result: the worker could not write its file. Look whether the disk is full (df), then ask again",
        "no-source": "not computed: the file of the run that it begins with is not there. Take one that is: irerctl sim list",
        "bad-source": (
            "not computed: the file of the run that it begins with was changed or is damaged. "
            "Compute that one anew, or take another: irerctl sim list"
        ),
        "other-source": (
            "not computed: the run that it begins with has another model, other dimensions or another length of a side. "
            "Ask for those of that run, which irerctl sim show tells"
        ),
        "out-of-range": "not computed: the model does not take these numbers. See the bounds: irerctl api show sim.run",
        "not-installed": (
            f"not computed: {detail or 'a numeric library'} is not installed where irerd runs. "
            "Install irer with its science extra (pip install 'irer[science]'), then ask again"
        ),
    }
    bug = f"no result: a bug in irer ({code}{f', {detail}' if detail else ''}). Tell its makers what you asked, and this text"
    return found.get(code, bug)[:500]
