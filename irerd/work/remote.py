"""One job on a Dask worker: the very function that a worker of irer's own runs, with the files it reads brought and those it
writes taken.

Files live in a directory of the job's own and go when it ends. Knows nothing of irerd but the job, and holds no secret. A job that
is no longer wanted ends at its next word of progress; one that goes on for `PATIENCE_S` after that ends with its process, which
Dask's nanny replaces.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from irerd.worker import NUMERIC, NUMERIC_ENVIRONMENT, PROGRESS_GAP_S, Compiled, JobFailed, attempt

PATIENCE_S = 5.0
LOOK_S = 0.5
TRANSFER_BYTES_MAX = 2 << 30
"""What one job may bring back, its files included."""
ENDED = 3

Files = list[bytes | None]
_compiled: list[Compiled] = []


def perform(name: str, spec: bytes, topic: str, inputs: Mapping[str, bytes], outputs: list[str]) -> tuple[Any, ...]:
    """("done", outcome, files) or ("failed", code, place). Files go by the names that the spec has for them."""
    from distributed import get_worker

    worker = get_worker()
    key = str(worker.get_current_task())
    told = [0.0]

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state == "executing"

    def tell(done: int, total: int) -> None:
        if not wanted():
            raise JobFailed("cancelled")
        now = time.monotonic()
        if now - told[0] >= PROGRESS_GAP_S:
            told[0] = now
            worker.log_event(topic, {"key": key, "done": int(done), "total": int(total)})

    worker.log_event(topic, {"key": key, "began": os.getpid()})
    over = threading.Event()
    threading.Thread(target=_guard, args=(wanted, over), daemon=True).start()
    place = Path(tempfile.mkdtemp(prefix="irer-"))
    try:
        _settle(name)
        names = _brought(place, inputs, outputs)
        answer = attempt(name, _renamed(spec, names), tell)
        if _compiled and name in NUMERIC:
            _compiled[0].note()
        if not isinstance(answer, bytes):
            return ("failed", *answer)
        return _taken(answer, [Path(names[path]) for path in outputs])
    finally:
        over.set()
        shutil.rmtree(place, ignore_errors=True)


def _guard(wanted: Any, over: threading.Event) -> None:
    """Ends the process of a job that nobody wants and that does not end by itself."""
    unwanted = 0.0
    while not over.wait(LOOK_S):
        unwanted = 0.0 if wanted() else unwanted + LOOK_S
        if unwanted >= PATIENCE_S:
            os._exit(ENDED)


def _settle(name: str) -> None:
    """As a worker of irer's own is, before anything numeric is imported."""
    if "jax" not in sys.modules:
        os.environ.update(NUMERIC_ENVIRONMENT)
    if name in NUMERIC and not _compiled:
        compiled = Compiled(Path(os.environ.get("CACHE_DIRECTORY", Path.home() / ".cache/irer")))
        if compiled.open():
            _compiled.append(compiled)


def _brought(place: Path, inputs: Mapping[str, bytes], outputs: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, (path, content) in enumerate(inputs.items()):
        names[path] = str(place / f"in{number}")
        Path(names[path]).write_bytes(content)
    return names | {path: str(place / f"out{number}") for number, path in enumerate(outputs)}


def _renamed(spec: bytes, names: Mapping[str, str]) -> bytes:
    """With the names that the files have here, in the only places where the spec of a job has any."""
    if not names:
        return spec
    said = json.loads(spec)
    for member in ("artefact", "source"):
        if isinstance(said.get(member), str):
            said[member] = names.get(said[member], said[member])
    if isinstance(said.get("files"), list):
        said["files"] = [names[path] for path in said["files"]]
    return json.dumps(said).encode()


def _taken(answer: bytes, paths: list[Path]) -> tuple[Any, ...]:
    """With the files that the job wrote; it may have left one out, and the answer then says so."""
    files: Files = []
    room = TRANSFER_BYTES_MAX - len(answer)
    for path in paths:
        size = path.stat().st_size if path.exists() else 0
        room -= size
        if room < 0:
            return ("failed", "too-large")
        files.append(path.read_bytes() if path.exists() else None)
    return ("done", answer, files)
