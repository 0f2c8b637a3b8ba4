"""The offline drill: a daemon in small on a clock of its own, without a network for hours, killed now and then, and then synced.

Everything that it proves anything about is the real thing: the engine, the log with its recovery, the functions of the sync and the
verification. It is the work of a child process, on two fresh directories that are gone afterwards; the live state is never touched.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from irerd.drill.rehearsal import Rehearsal

PREFIX = "irer-drill-"
LEFT_S = 3_600.0
"""A directory of a drill this much older than ours was left by one that was killed: none may take so long."""

Tell = Callable[[dict[str, Any]], None]


def drill(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """What became of each operation; `tell` hears how far it is."""
    params = request["params"]
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        _tidy(place)
        return Rehearsal(place, params["hours"], params["operations"], params["seed"], tell=tell).run()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _tidy(ours: Path) -> None:
    """A drill that is cancelled is killed, and leaves its directory to the next one."""
    made = ours.stat()
    with os.scandir(ours.parent) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            found = entry.stat(follow_symlinks=False)
            if found.st_uid == made.st_uid and made.st_mtime - found.st_mtime > LEFT_S:
                shutil.rmtree(entry.path, ignore_errors=True)
