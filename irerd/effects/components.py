"""The errand of a component: has a worker look at the file of one run, and says what it found. A run whose file is not there is
turned down before a worker is asked for.

What a worker says is a stranger's word here; whether it is what the manifest promises is for the engine to judge.
"""

import json
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
import trio
from msgspec import Meta

from core.component.manifest import SUBJECT, TEXT_MAX
from core.engine import Errand, JobEnded
from core.hunt.ledger import NAME as LEDGER
from core.redact.events import TOO_LONG
from core.settings import Settings
from irerd.effects.runs import Paths
from irerd.effects.turns import Turns
from irerd.host import Host
from irerd.workers import Progress, WorkFailed
from state.fs import make_directory, sync_directory

OUTCOME_BYTES_MAX = 65_536
CAGES, FILES = "component_cages", "component_files"
"""In the state directory: where scripts run, each in a directory that goes with it, and where what they leave is kept."""
SCRIPTS_AT_ONCE, SCRIPTS_MAX = 2, 8
LONG_S = 10.0
"""A script that takes longer does not hold up those of other components: they begin beside it, up to so many in all."""
CAGE_S = 10.0
"""So much longer the cage itself may take, to copy and to look at what was left."""
DEPENDENCIES_BYTES_MAX = 65_536
Tell = Callable[[dict[str, Any]], None]


class _Script(msgspec.Struct, forbid_unknown_fields=True):
    """A user's, as it was accepted."""

    folder: str
    name: str
    sha256: str
    dependencies: str | list[str]
    paths: list[tuple[str, str]]
    files: list[tuple[str, str]]
    cpu_s: float
    memory_mb: int
    output_mb: int


class _Work(msgspec.Struct, forbid_unknown_fields=True):
    """What the engine wants done; `builtin` is empty where this version has no such component."""

    job: str
    component: str
    builtin: str
    wall_s: Annotated[float, Meta(ge=0)]
    inputs: dict[str, Any]
    variables: dict[str, Any]
    script: _Script | None = None


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """What the cage says of a script."""

    ok: bool
    code: Annotated[str, Meta(pattern="^[a-z][a-z-]{0,39}$")]
    detail: Annotated[str, Meta(max_length=300)] = ""
    outputs: dict[str, Any] = {}
    files: dict[str, tuple[str, str]] = {}
    artefact_sha256: str = ""


class Components:
    def __init__(
        self, host: Host, state_dir: Path, settings: Callable[[], Settings] = Settings, redact: Callable[[str], str] = str
    ) -> None:
        """`redact` takes secrets and persons out of a text: what a stranger's script prints is searched, as all free text is."""
        self._host = host
        self._state_dir = state_dir
        self._settings = settings
        self._redact = redact
        self._turns = Turns(SCRIPTS_AT_ONCE, SCRIPTS_MAX, LONG_S)
        self._going: set[str] = set()
        """Jobs whose scripts run or wait."""
        self._swept = False

    async def run(self, errand: Errand, progress: Tell) -> JobEnded:
        """One run of one component. May be cancelled and begun anew at any point: it writes nothing."""
        work = msgspec.convert(errand.params, _Work)
        subject = str(work.inputs.get(SUBJECT, ""))
        if not work.builtin and work.script is None:
            return JobEnded(errand.id, False, "unknown-component")
        path = Paths.of(subject).data
        if not _is_uuid(subject) or await self._host.offload(self._host.files.stat_path, path) is None:
            return JobEnded(errand.id, False, "no-artefact")
        if work.script is not None:
            return await self._in_turn(errand, work, work.script, subject)

        def tell(heard: Progress) -> None:
            progress({"done": heard.done, "total": heard.total, "unit": "draws"})

        spec = {"artefact": str(self._state_dir / path), "job_uuid": subject, "variables": work.variables}
        try:
            said = await self._host.work(work.builtin, json.dumps(spec).encode(), timeout_s=work.wall_s, on_progress=tell)
        except WorkFailed as failed:
            if failed.code == "closed":
                await trio.sleep_forever()  # irerd stops, and does it again when it is back: this is no outcome
            return JobEnded(errand.id, False, failed.reason)
        return JobEnded(errand.id, True, "ok", "", _plain(said))

    # --- scripts --------------------------------------------------------------------------------------------------------

    async def _in_turn(self, errand: Errand, work: _Work, script: _Script, subject: str) -> JobEnded:
        self._going.add(work.job)
        try:
            async with self._turns.turn(work.component, script.memory_mb << 20, self._settings().compute.memory_bytes):
                return await self._script(errand, work, script, subject)
        finally:
            self._going.discard(work.job)

    async def _script(self, errand: Errand, work: _Work, script: _Script, subject: str) -> JobEnded:
        """Nothing of it is kept unless all of it is; a run that is begun anew begins in an empty directory."""
        try:
            request = await self._host.offload(self._request, work, script, subject)
            said = await self._caged(request, work.wall_s)
            if not said.ok:
                return JobEnded(errand.id, False, said.code, said.detail)
            kept = await self._host.offload(self._keep, work.job, said.files)
            outputs = await self._host.offload(self._searched, said.outputs)
        except OSError:
            return JobEnded(errand.id, False, "disk-error")
        finally:
            await self._host.offload(_clear, self._state_dir / CAGES / work.job)
        return JobEnded(errand.id, True, "ok", "", {"outputs": outputs, "artefact_sha256": said.artefact_sha256, "files": kept})

    def _searched(self, outputs: dict[str, Any]) -> dict[str, Any]:
        found = {name: self._redact(value) if isinstance(value, str) else value for name, value in outputs.items()}
        return {name: TOO_LONG if isinstance(value, str) and len(value) > TEXT_MAX else value for name, value in found.items()}

    async def _caged(self, request: dict[str, Any], wall_s: float) -> _Said:
        """The cage keeps to the time itself; should it not, it is ended with all it began."""
        with trio.move_on_after(wall_s + CAGE_S) as limit:
            try:
                end = await self._host.run_child("irerd.cage", json.dumps(request).encode())
            except OSError:
                return _Said(False, "no-process")
        if limit.cancelled_caught:
            return _Said(False, "timeout")
        if end.code != 0 or end.overflowed:
            return _Said(False, "crashed")
        try:
            return msgspec.json.decode(end.output, type=_Said)
        except (msgspec.MsgspecError, RecursionError):
            return _Said(False, "bad-output")

    def _request(self, work: _Work, script: _Script, subject: str) -> dict[str, Any]:
        if not self._swept:
            _clear(self._state_dir / CAGES)
            self._swept = True
        settings = self._settings().component
        folder = Path(settings.directory) / script.folder
        paths = Paths.of(subject)
        of_kind = {"path:h5": paths.data, "path:json": paths.provenance, "path:csv": LEDGER}
        filled = {name: str(self._state_dir / of_kind[kind]) for name, kind in script.paths}
        given = {name: _word(value) for name, value in (*work.inputs.items(), *work.variables.items())}
        return {
            "script": str(folder / script.name),
            "script_sha256": script.sha256,
            "dependencies": _dependencies(folder, script.dependencies),
            "unconfined": settings.unconfined,
            "place": str(self._state_dir / CAGES / work.job),
            "artefact": str(self._state_dir / paths.data),
            "readable": list(filled.values()),
            "arguments": [*given.items(), *filled.items()],
            "files": script.files,
            "wall_s": work.wall_s,
            "cpu_s": script.cpu_s,
            "memory_bytes": script.memory_mb << 20,
            "output_bytes": script.output_mb << 20,
        }

    def _keep(self, job: str, found: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
        """Files get their names only now that the whole run has come to something."""
        files = self._host.files
        kept = {name: (f"{job}_{stored}", digest) for name, (stored, digest) in found.items()}
        if kept:
            make_directory(files, FILES)
            for name, (stored, _) in kept.items():
                files.rename(f"{CAGES}/{job}/{found[name][0]}", f"{FILES}/{stored}")
            sync_directory(files, FILES)
            self._make_room()
        return kept

    def _make_room(self) -> None:
        """What was left longest ago goes first, a whole run at a time, until the rest is within its bound. What a run that goes on
        left before, it leaves again; and the newest stays, whatever it takes."""
        with suppress(OSError):  # another run may tidy too, and what does not go now goes later: no run fails for that
            runs = _left(self._state_dir / FILES)
            total, most = sum(run.size for run in runs), self._settings().component.files_bytes_max
            for run in runs[:-1]:
                if total <= most:
                    return
                if run.job not in self._going:
                    for name in run.names:
                        self._host.files.unlink(f"{FILES}/{name}")
                    total -= run.size


class _Left(NamedTuple):
    """What one run left."""

    since_ns: int
    job: str
    names: list[str]
    size: int


def _left(place: Path) -> list[_Left]:
    """By run, who ended longest ago first: a file changed last when it got its name, which no script can make otherwise. What
    somebody else put there is nobody's of these."""
    found: dict[str, list[tuple[int, str, int]]] = {}
    for entry in place.iterdir():
        seen, (job, parted, _) = entry.stat(follow_symlinks=False), entry.name.partition("_")
        if parted and _is_uuid(job) and stat.S_ISREG(seen.st_mode):
            found.setdefault(job, []).append((seen.st_ctime_ns, entry.name, seen.st_size))
    runs = [
        _Left(max(since for since, _, _ in files), job, sorted(name for _, name, _ in files), sum(size for _, _, size in files))
        for job, files in found.items()
    ]
    return sorted(runs)


def _clear(place: Path) -> None:
    from irerd import cage  # what it loads, an idle irerd has no use for

    cage.clear(place)


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _dependencies(folder: Path, said: str | list[str]) -> list[str]:
    """Names, or the lines of a file that says so; a file that is not there says nothing."""
    if isinstance(said, list) or not said:
        return list(said or ())
    try:
        with (folder / said).open("rb") as file:
            return file.read(DEPENDENCIES_BYTES_MAX).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _plain(said: bytes) -> dict[str, Any]:
    """Nothing at all where it is no object: that is no outcome of any component."""
    try:
        return msgspec.json.decode(said, type=dict[str, Any]) if len(said) <= OUTCOME_BYTES_MAX else {}
    except (msgspec.MsgspecError, RecursionError):
        return {}


def _is_uuid(text: str) -> bool:
    """Ids become names of files, so here they are looked at once more, whoever asks."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
