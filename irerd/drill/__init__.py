"""The offline drill: a daemon in small on a clock of its own, without a network for hours, killed now and then, and then synced.

Everything that it proves anything about is the real thing: the engine, the log with its recovery, the functions of the sync and the
verification. It is the work of a child process, on two fresh directories that are gone afterwards; the live state is never touched.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from irerd.drill.rehearsal import Rehearsal

PREFIX = "irer-drill-"

Tell = Callable[[dict[str, Any]], None]


def drill(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """What became of each operation; `tell` hears how far it is."""
    params = request["params"]
    with _directory() as place:
        return Rehearsal(place, params["hours"], params["operations"], params["seed"], tell=tell).run()


@contextmanager
def _directory() -> Iterator[Path]:
    """A fresh one that goes however this process ends: whoever cancels a drill kills it, and then it can tidy nothing up.

    So a process beside it does: it holds nothing but one end of a pipe, and reads there that this one is gone.
    """
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    here, there = os.pipe()
    beside = os.fork()
    if beside == 0:
        _tidy_after(here, there, place)
    os.close(here)
    try:
        yield place
    finally:
        os.close(there)
        os.waitpid(beside, 0)


def _tidy_after(here: int, there: int, place: Path) -> None:
    """Out of reach of the signal that ends the drill, which goes to its whole group."""
    try:
        os.setsid()
        os.close(there)
        for standard in range(3):
            os.close(standard)
        os.read(here, 1)
        shutil.rmtree(place, ignore_errors=True)
    finally:
        os._exit(0)
