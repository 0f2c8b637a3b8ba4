"""The errand of a certificate: has its runs computed and the hunt's candidates held against chance, and leaves a file of it.

What the workers say is put together here and judged by the engine; the file says what the engine will say, and stands before that
does. All of it may be begun anew, and comes to the same.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from msgspec import Meta

from core.engine import Errand, JobEnded
from core.hunt import certificate
from core.hunt.certificate import Figures
from core.settings import Compute
from core.sim.chunk import Chunk
from irerd import __version__
from irerd.effects.runs import Paths
from irerd.effects.runs import _text as words
from irerd.host import Host
from irerd.workers import Progress, WorkFailed
from state.fs import make_directory, small_write

CERTIFICATES = "certificates"
SHARES = {"fresh": 5, "half_step": 6, "finer": 7}
"""How long each call takes, roughly, beside the others; every candidate of the hunt counts as a fiftieth."""
SHARE = 100
UNREADABLE = frozenset({"no-artefact", "bad-artefact"})
"""Of a candidate's file; what a certificate says of its own runs does not depend on it."""

Tell = Callable[[dict[str, Any]], None]


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    kind: certificate.Kind
    chunk: Chunk


class _Work(msgspec.Struct, forbid_unknown_fields=True):
    """What the engine wants done."""

    job: str
    job_uuid: str
    hunt_id: str
    calls: list[_Call]
    draws: int
    others: list[float]
    family: list[list[str]]
    seeds: int
    found: dict[str, Any] | None
    best: float | None
    family_targets: int


class _Ran(msgspec.Struct, forbid_unknown_fields=True):
    figures: list[Figures]


class _Family(msgspec.Struct, forbid_unknown_fields=True):
    p_family: Annotated[float, Meta(gt=0, le=1)]


class Certificates:
    def __init__(self, host: Host, state_dir: Path, settings: Callable[[], Compute]) -> None:
        self._host = host
        self._state_dir = state_dir
        self._settings = settings

    async def run(self, errand: Errand, progress: Tell) -> JobEnded:
        work = msgspec.convert(errand.params, _Work)
        meter = _Meter(work, progress)
        try:
            figures = await self._runs(work, meter)
            p_family = await self._family(work, meter)
            result = {
                "figures": msgspec.to_builtins(figures),
                "p_family": p_family,
                "looked_at": len(work.family) if p_family else 0,
            }
            await self._host.offload(self._leave, work, figures, result)
        except WorkFailed as failed:
            if failed.code == "closed":
                await trio.sleep_forever()  # irerd stops, and does it again when it is back: this is no outcome
            return JobEnded(errand.id, False, failed.reason, words(failed.reason, failed.detail, self._settings()))
        except OSError:
            return JobEnded(errand.id, False, "disk-error", "its file could not be written. Look whether the disk is full (df)")
        return JobEnded(errand.id, True, "ok", "", result)

    async def _runs(self, work: _Work, meter: "_Meter") -> list[Figures]:
        """All calls at once, as far as there are workers; interactive work goes first."""
        found: dict[str, list[Figures]] = {}
        failed: list[WorkFailed] = []

        async def one(call: _Call, scope: trio.CancelScope) -> None:
            spec = {
                "kind": call.kind,
                "chunk": msgspec.to_builtins(call.chunk),
                "job_uuid": work.job_uuid,
                "draws": work.draws,
                "memory_bytes": self._settings().memory_bytes // 2,
            }
            try:
                said = await self._work("certify", spec, lambda heard: meter.hear(call.kind, heard))
                found[call.kind] = _as(said, _Ran).figures
            except WorkFailed as reason:
                failed.append(reason)
                scope.cancel()

        async with trio.open_nursery() as nursery:
            for call in work.calls:
                nursery.start_soon(one, call, nursery.cancel_scope)
        if failed:
            raise failed[0]
        return [each for call in work.calls for each in found[call.kind]]

    async def _family(self, work: _Work, meter: "_Meter") -> float | None:
        """None where the hunt is too large, or files of its candidates are gone or damaged: then nobody can tell."""
        paths = [[Paths.of(job_uuid).data for job_uuid in runs] for runs in work.family]
        there = [await self._host.offload(self._host.files.stat_path, path) is not None for runs in paths for path in runs]
        if not paths or not all(there) or work.best is None:
            return None
        spec = {
            "artefacts": [[str(self._state_dir / path) for path in runs] for runs in paths],
            "seeds": work.seeds,
            "targets": work.family_targets,
            "draws": work.draws,
            "best": work.best,
        }
        try:
            found: _Family = _as(await self._work("family", spec, lambda heard: meter.hear("family", heard)), _Family)
        except WorkFailed as failed:
            if failed.reason in UNREADABLE:
                return None
            raise
        return found.p_family

    async def _work(self, name: str, spec: dict[str, Any], hear: Callable[[Progress], None]) -> bytes:
        raw = json.dumps(spec).encode()
        return await self._host.work(name, raw, timeout_s=self._settings().timeout_s, on_progress=hear, patient=True)

    def _leave(self, work: _Work, figures: list[Figures], result: dict[str, Any]) -> None:
        """Beside the other files of the run, for whoever takes its parameters along."""
        judged = msgspec.to_builtins(certificate.judge(figures, work.others))
        page = {
            "job_uuid": work.job_uuid,
            "hunt_id": work.hunt_id,
            "found": work.found,
            **judged,
            **result,
            "versions": {"irer": __version__},
        }
        make_directory(self._host.files, CERTIFICATES)
        raw = json.dumps(page, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
        small_write(self._host.files, f"{CERTIFICATES}/certificate_{work.job_uuid}.json", raw)


class _Meter:
    """How far all of it is, in hundredths of each part."""

    def __init__(self, work: _Work, progress: Tell) -> None:
        self._progress = progress
        self._total = {call.kind: SHARES[call.kind] * SHARE for call in work.calls} | {"family": 2 * sum(map(len, work.family))}
        self._done = dict.fromkeys(self._total, 0)

    def hear(self, part: str, heard: Progress) -> None:
        if heard.total:
            self._done[part] = max(self._done[part], self._total[part] * min(heard.done, heard.total) // heard.total)
        self._progress({"done": sum(self._done.values()), "total": sum(self._total.values()), "unit": "parts"})


def _as(said: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(said, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        raise WorkFailed("bad-output", "no figures") from None
