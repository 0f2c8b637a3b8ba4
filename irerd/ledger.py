"""`simulation_ledger.csv`, kept beside the hunt log: whatever happened to the file, it says again what the log says.

A view that may be thrown away. It never holds up or ends the daemon: a file that cannot be written is told in `health` and tried
again. On a start it is compared with the log from its first line on, and goes on where it stops being right: behind a line that was
torn, in a file that somebody else wrote, or in none. New rows are appended; where a row changed, a whole new file takes its place.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping

import trio

from core.engine import Check, Refused
from core.hunt.ledger import HEADER, NAME, WINDOW, Line, Projection, recolumned
from core.hunt.state import LOG
from irerd.dispatch import Dispatch
from irerd.host import Host
from irerd.journal import journal
from state.fs import directory_of, read_all, read_at, sync_directory, write_all
from state.log import Log

CHUNK_RECORDS = 256
PIECE_BYTES = 1 << 20
TEMPORARY = f"{NAME}.tmp"
RETRY_S = 10.0


class _Lost(Exception):
    """The file is shorter than what was written to it: somebody removed it, or cut it."""


class SimulationLedger:
    def __init__(
        self,
        host: Host,
        dispatch: Dispatch,
        logs: Mapping[str, Log],
        durable_seq: Callable[[str], int],
        on_error: Callable[[str, BaseException], object],
    ) -> None:
        self._host = host
        self._dispatch = dispatch
        self._logs = logs
        self._durable_seq = durable_seq
        self._on_error = on_error
        self.trouble = ""
        self._failed = False
        self._turn = trio.Lock()
        self._news = trio.Event()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._projection = Projection()
        self._position = 0
        self._size = 0
        """Bytes of the file that are known to be right."""
        self._pending = [HEADER]
        """Lines that are still to be written, or found there."""
        self._comparing = True
        self._anchored = True
        """False while it is not known where in the file the first line that the log still leads to stands."""
        self._tail: OrderedDict[str, bytes] = OrderedDict()
        """The last lines, by their jobs: those that may still change."""
        self._base = 0
        """Where in the file the first of them stands, less `_left`."""
        self._left: list[bytes] = []
        """Lines that left them since the file was last right."""
        self._live = False
        """False while the log is still read for what it said before: until all of that is known, a line of the tail may change."""
        self._stale = False
        """Whether a line that is in the file has changed."""

    def check(self) -> Check:
        if self._failed:
            return Check("ledger", "degraded", f"{NAME} cannot be kept up. Nothing else is touched; restart irerd")
        return Check("ledger", "degraded" if self.trouble else "ok", self.trouble)

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while LOG in self._logs and not self._failed:
            await self.catch_up()
            if self.trouble:
                await trio.sleep(RETRY_S)
            else:
                await self._wait_beyond()

    async def _wait_beyond(self) -> None:
        while self._durable_seq(LOG) < self._position:
            self._news = trio.Event()
            await self._news.wait()

    def stir(self) -> None:
        """More of the log is durable."""
        self._news.set()

    async def catch_up(self) -> None:
        """Take in all that is durable now."""
        if LOG not in self._logs or self._failed:
            return
        async with self._turn:
            try:
                while await self._host.offload(self._some):
                    pass
                self.trouble = ""
            except (OSError, Refused) as error:
                self.trouble = f"{NAME} could not be written ({_said(error)}). It is tried again, and made anew from the log"
                journal().warning("the CSV ledger could not be written", why=_said(error))
            except Exception as error:
                self._failed = True
                self._on_error("ledger", error)

    # --- away from the loop -----------------------------------------------------------------------------------------------

    def _some(self) -> bool:
        """One piece of the log; answer whether there may be more. What could not be written is written before more is read."""
        try:
            if not self._size and self._position < self._logs[LOG].first_seq:
                self._take_columns()
            if not self._to_write():
                return self._read_on() or self._settled()
            self._write()
        except _Lost:
            self._begin_anew()
        return True

    def _to_write(self) -> bool:
        """A header alone makes no file."""
        return self._stale or (bool(self._pending) and (self._pending != [HEADER] or self._host.files.stat_path(NAME) is not None))

    def _read_on(self) -> bool:
        first, last = self._logs[LOG].first_seq, self._durable_seq(LOG)
        if self._position < first:
            self._position, self._anchored = first, False
        if self._position > last:
            return False
        end = min(last, self._position + CHUNK_RECORDS - 1)
        for record in self._dispatch.stored(LOG, self._position, end):
            for line in self._projection.fold(record.event_type, record.payload):
                self._take(line)
        self._position = end + 1
        return True

    def _take_columns(self) -> None:
        """The log no longer leads to the first lines. Where an earlier version wrote them they stay, with the columns of today."""
        files = self._host.files
        if (text := recolumned(read_all(files, NAME) or b"")) is None:
            return
        new = files.open(TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(files, new, text)
            files.fsync(new)
        finally:
            files.close(new)
        self._put_in_place()

    def _put_in_place(self) -> None:
        self._host.files.rename(TEMPORARY, NAME)
        sync_directory(self._host.files, directory_of(NAME))

    def _take(self, line: Line) -> None:
        if line.job_uuid in self._tail:
            self._stale = self._stale or self._live
        elif self._live:
            self._pending.append(line.text)
        self._tail[line.job_uuid] = line.text
        if len(self._tail) > WINDOW:
            _, oldest = self._tail.popitem(last=False)
            if not self._live:
                self._pending.append(oldest)
            elif self._stale:
                self._left.append(oldest)
            else:
                self._base += len(oldest)

    def _begin_to_live(self) -> None:
        """All that the log says is known: the lines that may still change are to stand in the file as they are now."""
        self._live = True
        if self._host.files.stat_path(TEMPORARY) is not None:
            self._host.files.unlink(TEMPORARY)
        if self._tail and self._size and not self._anchored:
            self._anchor(next(iter(self._tail.values())))
        self._base = self._size + sum(map(len, self._pending))
        self._pending += self._tail.values()

    def _settled(self) -> bool:
        """Once all is compared: cut off what the log does not lead to. Answer whether there is more to do."""
        if not self._live:
            self._begin_to_live()
            return True
        found = self._host.files.stat_path(NAME)
        if found is None:
            if self._size:
                raise _Lost
            return False
        if found.size < self._size:
            raise _Lost
        if self._comparing and not self._anchored:
            self._size = self._base = max(self._size, self._whole_lines())
        self._comparing = False
        if found.size > self._size:
            fd = self._host.files.open(NAME, os.O_RDWR)
            try:
                self._host.files.truncate(fd, self._size)
            finally:
                self._host.files.close(fd)
        return False

    def _write(self) -> None:
        if self._stale:
            self._rewrite()
            return
        data = b"".join(self._pending)
        files = self._host.files
        fd = files.open(NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = files.stat(fd).size
            if self._comparing:
                if self._size and not self._anchored:
                    self._anchor(data)
                if read_at(files, fd, self._size, len(data)) == data:
                    self._took(data)
                    return
                self._comparing = False
                if self._live and self._size == self._base:
                    self._stale = True  # what was there before is right, and only the tail is not: nobody is to see it cut off
                    return
            if size > self._size:
                files.truncate(fd, self._size)
            write_all(files, fd, data)
        finally:
            files.close(fd)
        self._took(data)

    def _rewrite(self) -> None:
        """A line in the middle changed: whoever reads sees the file as it was, or as it is to be."""
        files = self._host.files
        changed = b"".join([*self._left, *self._tail.values()])
        try:
            before = files.open(NAME, os.O_RDONLY)
        except FileNotFoundError:
            raise _Lost from None
        try:
            new = files.open(TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                for at in range(0, self._base, PIECE_BYTES):
                    piece = read_at(files, before, at, min(PIECE_BYTES, self._base - at))
                    if len(piece) < min(PIECE_BYTES, self._base - at):
                        raise _Lost
                    write_all(files, new, piece)
                write_all(files, new, changed)
                files.fsync(new)
            finally:
                files.close(new)
        finally:
            files.close(before)
        self._put_in_place()
        self._size = self._base + len(changed)
        self._base += sum(map(len, self._left))
        self._left.clear()
        self._pending.clear()
        self._stale = False

    def _took(self, data: bytes) -> None:
        self._size += len(data)
        self._pending.clear()

    def _anchor(self, data: bytes) -> None:
        """The beginning of the log was let go, and its lines are only here: go on where the first of the others stands."""
        which = b",".join(data.split(b",", 2)[:2])  # the hunt and the job: the rest of a line may have changed
        found = (read_all(self._host.files, NAME) or b"").find(b"\n" + which + b",")
        self._size = found + 1 if found >= 0 else self._whole_lines()
        self._anchored = True

    def _whole_lines(self) -> int:
        return (read_all(self._host.files, NAME) or b"").rfind(b"\n") + 1


def _said(error: BaseException) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
