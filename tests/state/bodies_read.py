"""A disk that tells of which snapshots anything beyond the header was read."""

from typing import Any

from tests.sim.disk import SimFiles

NAME = "0000000000000000.snap"


class BodiesRead(SimFiles):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._opened: dict[int, str] = {}
        self.bodies: list[int] = []
        """Seqs of those snapshots, in order."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        self._opened[fd] = path
        return fd

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = super().pread(fd, size, offset)
        path = self._opened[fd]
        if offset and data and path.endswith(".snap"):
            self.bodies.append(int(path[-len(NAME) : -len(".snap")]))
        return data
