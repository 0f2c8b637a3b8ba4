"""Approximate indexes beside the vectors: when one is made, where its file stands, and when it goes.

A projection of a projection: nothing reads it but a search that asks for an approximate answer, and whatever is wrong with it costs
such a search no more than being exact. One is made by a worker that lets all other work go first, when somebody searches by it and
it is missing, damaged, or covers too little of what is stored.
"""

import os
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import NamedTuple

import trio

from core.data import index as heads
from core.engine import Refused
from irerd.host import Host
from irerd.journal import journal
from irerd.workers import Progress, WorkFailed
from state.fs import read_at, small_write

SUFFIX = ".index"
MAKE_S_MAX = 1_800.0
RETRY_S = 60.0
"""What could not be made is not tried again sooner."""
TRIES = 3
ROOM_BYTES_MIN = 67_108_864


class Kept(NamedTuple):
    """An index that stands in a file."""

    head: heads.Head
    bytes: int


class Making(NamedTuple):
    """One that is being made: how far, and what ends it."""

    progress: Progress
    scope: trio.CancelScope


class Indexes:
    def __init__(self, host: Host, folder: str, spec: Callable[[str], Awaitable[tuple[bytes, int] | None]]) -> None:
        """`spec` gives what a worker is to index of a model, and how often all vectors were begun anew before; None: nothing."""
        self._host = host
        self._folder = folder
        self._spec = spec
        self._kept: dict[str, Kept | None] = {}
        """As far as somebody asked: what stands in the file, None for nothing that is of use."""
        self._wanted: dict[str, None] = {}
        self._stir = trio.Event()
        self._failed: dict[str, tuple[str, int]] = {}
        """Why one could not be made, and when it may be tried again."""
        self.making: dict[str, Making] = {}
        self.age = 0
        """How often all was begun anew."""

    # --- what there is ----------------------------------------------------------------------------------------------------

    def name(self, model: str) -> str:
        """Of its file. A model is called as its caller likes."""
        return f"{sha256(model.encode()).hexdigest()[:16]}{SUFFIX}"

    def kept(self, model: str) -> Kept | None:
        """What stands in the file. Runs away from the loop."""
        if model not in self._kept:
            self._kept[model] = self._read(model)
        return self._kept[model]

    def _read(self, model: str) -> Kept | None:
        files, path = self._host.files, f"{self._folder}/{self.name(model)}"
        found = files.stat_path(path)
        if found is None:
            return None
        fd = files.open(path, os.O_RDONLY)
        try:
            raw = read_at(files, fd, 0, min(found.size, heads.HEAD_BYTES_MAX + 64))
        finally:
            files.close(fd)
        try:
            head, _ = heads.head_of(raw)
        except heads.NoIndex:
            return None
        return Kept(head, found.size) if head.model == model else None

    def failed(self, model: str) -> str:
        """Why the last one was not made, for as long as it is not tried again."""
        why, until_us = self._failed.get(model, ("", 0))
        return why if self._host.mono_us() < until_us else ""

    # --- making -----------------------------------------------------------------------------------------------------------

    def want(self, model: str) -> None:
        """Have it made, if that does not go on already and did not just fail."""
        if model not in self.making and not self.failed(model):
            self._wanted[model] = None
            self._stir.set()

    def make(self, model: str) -> None:
        """Have it made now, whatever became of the last one."""
        self._failed.pop(model, None)
        self.want(model)

    def stop(self, model: str) -> None:
        self._wanted.pop(model, None)
        if model in self.making:
            self.making[model].scope.cancel()

    async def run(self) -> None:
        """Makes what is wanted, one at a time, until it is cancelled."""
        while True:
            await self._stir.wait()
            self._stir = trio.Event()
            while self._wanted:
                model = next(iter(self._wanted))
                del self._wanted[model]
                with trio.CancelScope() as scope:
                    self.making[model] = Making(Progress(0, 0), scope)
                    try:
                        await self._made(model)
                    finally:
                        del self.making[model]

    async def _made(self, model: str) -> None:
        try:
            for _ in range(TRIES):
                try:
                    await self._make(model)
                except WorkFailed as failed:
                    if failed.code != "gone":  # a segment was written anew meanwhile
                        raise
                else:
                    self._failed.pop(model, None)
                    return
            raise WorkFailed("gone")
        except (WorkFailed, OSError) as error:
            why = error.reason if isinstance(error, WorkFailed) else "disk"
            self._failed[model] = (why, self._host.mono_us() + round(RETRY_S * 1e6))
            if why != "not-installed":
                journal().warning("no index was made; searches are exact meanwhile", model=model, reason=why)

    async def _make(self, model: str) -> None:
        asked = await self._spec(model)
        if asked is None:
            return
        spec, age = asked

        def tell(progress: Progress) -> None:
            self.making[model] = self.making[model]._replace(progress=progress)

        raw = await self._host.work("index", spec, timeout_s=MAKE_S_MAX, on_progress=tell, patient=True)
        try:
            head, _ = heads.head_of(raw)
        except heads.NoIndex:
            raise WorkFailed("bad-output") from None
        if head.model != model:
            raise WorkFailed("bad-output")
        await self._host.offload(self._write, model, Kept(head, len(raw)), raw, age)

    def _write(self, model: str, kept: Kept, raw: bytes, age: int) -> None:
        """Nothing, where all was begun anew meanwhile: then it covers what is there no more."""
        if self._host.files.free() < ROOM_BYTES_MIN + len(raw):
            raise OSError("no room")
        if age != self.age:
            return
        small_write(self._host.files, f"{self._folder}/{self.name(model)}", raw)
        self._kept[model] = kept

    # --- letting go -------------------------------------------------------------------------------------------------------

    def drop(self, model: str) -> None:
        """Its file goes. Runs away from the loop."""
        self._kept[model] = None
        path = f"{self._folder}/{self.name(model)}"
        if self._host.files.stat_path(path) is not None:
            self._host.files.unlink(path)

    def tidy(self, tables: dict[str, dict[str, int]]) -> None:
        """Of these models' segments, by their rows, some are gone: an index of which less than half is left goes too."""
        for model, kept in list(self._kept.items()):
            if kept is not None and (model not in tables or 2 * self.covered(kept, tables[model]) < kept.head.covered):
                self.drop(model)

    @staticmethod
    def covered(kept: Kept, segments: dict[str, int]) -> int:
        """Rows of these segments that it covers."""
        return sum(each.rows for each in kept.head.segments if segments.get(each.name, 0) >= each.rows)

    def begin_anew(self) -> None:
        """All segments come anew, some under names of before."""
        self.age += 1
        for model in list(self._kept):
            self._kept[model] = None
        files = self._host.files
        if files.stat_path(self._folder) is not None:
            for name in files.list(self._folder):
                if name.endswith((SUFFIX, f"{SUFFIX}.tmp")):
                    files.unlink(f"{self._folder}/{name}")


def check_choice(method: str, probes: int | None, recall: float | None) -> None:
    """What says how far an approximate search looks is of no use to an exact one."""
    if method == "exact" and (probes is not None or recall is not None):
        field = "probes" if probes is not None else "recall"
        text = f"{field} is for an approximate search; an exact one compares every vector. Add: --method approximate"
        raise Refused("invalid-argument", text, fields=[(field, "only with method approximate")])
    if probes is not None and recall is not None:
        text = "give probes or recall, not both: either says how far the search looks. See: irerctl data index"
        raise Refused("invalid-argument", text, fields=[("recall", "not beside probes")])
