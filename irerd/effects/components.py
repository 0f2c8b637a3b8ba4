"""The errand of a component: has a worker look at the file of one run, and says what it found. A run whose file is not there is
turned down before a worker is asked for.

What a worker says is a stranger's word here; whether it is what the manifest promises is for the engine to judge.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import trio
from msgspec import Meta

from core.component.builtin import SUBJECT
from core.engine import Errand, JobEnded
from irerd.effects.runs import Paths
from irerd.host import Host
from irerd.workers import Progress, WorkFailed

OUTCOME_BYTES_MAX = 65_536
Tell = Callable[[dict[str, Any]], None]


class _Work(msgspec.Struct, forbid_unknown_fields=True):
    """What the engine wants done; `builtin` is empty where this version has no such component."""

    job: str
    component: str
    builtin: str
    wall_s: Annotated[float, Meta(ge=0)]
    inputs: dict[str, Any]
    variables: dict[str, Any]


class Components:
    def __init__(self, host: Host, state_dir: Path) -> None:
        self._host = host
        self._state_dir = state_dir

    async def run(self, errand: Errand, progress: Tell) -> JobEnded:
        """One run of one component. May be cancelled and begun anew at any point: it writes nothing."""
        work = msgspec.convert(errand.params, _Work)
        subject = str(work.inputs.get(SUBJECT, ""))
        if not work.builtin:
            return JobEnded(errand.id, False, "unknown-component")
        path = Paths.of(subject).data
        if not _is_uuid(subject) or await self._host.offload(self._host.files.stat_path, path) is None:
            return JobEnded(errand.id, False, "no-artefact")

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
