"""One directory of a simulated disk, as files of its own, so that what moves whole directories can be crashed at every step."""

from typing import Any

from tests.sim.disk import Directory, SimFiles

PATHS = {"open": 1, "fsync_dir": 1, "link": 2, "rename": 2, "unlink": 1, "stat_path": 1, "list": 1, "mkdir": 1, "chmod": 1}
"""Of the calls that take paths, how many."""


class Inside:
    """Any files, below one directory of theirs."""

    def __init__(self, files: Any, directory: str) -> None:
        self._files = files
        self._directory = directory

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._files, name)
        count = PATHS.get(name, 0)
        if not count:
            return call
        return lambda *given: call(*[self._path(each) for each in given[:count]], *given[count:])

    def _path(self, path: str) -> str:
        return self._directory if path == "." else f"{self._directory}/{path}"


def discard(disk: SimFiles, path: str) -> None:
    """A directory and all that is in it; names are gone at once, the medium follows when its parent is synced."""
    where, name = disk._parent(path)
    assert isinstance(where.cache[name], Directory)
    where.change({name: None})


def tree(disk: SimFiles, directory: str) -> dict[str, bytes]:
    """Every file below a directory with its bytes."""
    return {path.removeprefix(f"{directory}/"): data for path, data in disk.tree().items() if path.startswith(f"{directory}/")}
