"""Walks along single segments, fast or thorough, in this process or several at once: what verification is made of.

For each core but one a process of its own walks every n-th segment and sends back what it found; this one walks the rest. None of
them writes a file, none waits for more work, and none outlives the walk.
"""

import errno
import os
import pickle
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

from core.canonical import CanonicalError, decode
from state.chain import Walk
from state.fs import Files, read_at
from state.judge import misplaced_opening
from state.scan import Bad, Position, Scan
from state.seal import Record
from state.segment import FORK
from state.tree import subtrees

PROGRESS_BYTES = 8_388_608
SHARED_BYTES_MIN = 8_388_608
"""Less than this is walked before another process would have begun."""


class Task(NamedTuple):
    """One segment to walk."""

    path: str
    start: Position
    size: int
    deep: bool
    records_max: int | None
    """Beside a live daemon: how many of its records are durable. None: all there are."""
    marks: tuple[int, ...] = ()
    """Records at which a deep walk is to say how the log stands there."""


class Mark(NamedTuple):
    """How a log stands behind one record."""

    event_hash: str
    roots: list[bytes]
    """Of the subtrees that stand for the records of its segment up to there."""


class Walked(NamedTuple):
    """What a walk found, up to the last good record."""

    records: int
    offset: int
    tip: str
    batch: int
    """The next one; after a fast walk the one it began with."""
    sha256: str
    """Of all bytes read: of the whole file, where nothing is bad."""
    roots: list[bytes]
    """After a deep walk, of the subtrees that stand for its records."""
    bad: Bad | None
    told: tuple[Record, ...] = ()
    """After a deep walk, the sound records about the log itself, but for the first."""
    marks: Mapping[int, Mark] = {}
    """For each record asked for at which a batch ends."""
    shared: Mapping[int, list[bytes]] = {}
    """For each fork, of the subtrees that stand for what it says was shared, from the first record of the segment on."""


Progress = Generator[int, None, Walked]
"""Yields how many records were good so far, now and then."""


def walk(files: Files, task: Task) -> Progress:
    fd = files.open(task.path, os.O_RDONLY)
    try:
        return (yield from (_deep if task.deep else _fast)(files, fd, task))
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return Walked(0, 0, "", task.start.batch, "", [], Bad(0, task.start.seq, "cannot be read"))
    finally:
        files.close(fd)


def _fast(files: Files, fd: int, task: Task) -> Progress:
    chain = Walk(lambda offset, size: read_at(files, fd, offset, size), files.stat(fd).size, task.start.tip, task.records_max)
    shown = 0
    for offset in chain.blocks():
        if offset - shown >= PROGRESS_BYTES:
            shown = offset
            yield chain.records
    bad = chain.bad._replace(seq=task.start.seq + chain.bad.seq) if chain.bad is not None else None
    return Walked(chain.records, chain.offset, chain.tip, task.start.batch, chain.sha256, [], bad)


def _deep(files: Files, fd: int, task: Task) -> Progress:
    digest = sha256()

    def read(offset: int, size: int) -> bytes:
        data = read_at(files, fd, offset, size)
        digest.update(data)
        return data

    scan = Scan(read, files.stat(fd).size, task.start, hashing=True)
    leaves: list[bytes] = []
    told: list[Record] = []
    marks: dict[int, Mark] = {}
    shared: dict[int, list[bytes]] = {}
    good = task.start
    shown = 0
    bad: Bad | None = None
    for batch in scan.batches():
        bad = _form(batch)
        if bad is not None:
            break
        for record in batch:
            if record.event_type == FORK and 0 <= (count := _shared(record) - task.start.seq) <= record.seq - task.start.seq:
                shared[record.seq] = subtrees(task.start.seq, (leaves + scan.leaves)[:count])
        leaves += scan.leaves
        good = scan.end
        told += [record for record in batch if record.offset and record.event_type.startswith("log.")]
        if batch[-1].seq in task.marks:
            marks[batch[-1].seq] = Mark(batch[-1].event_hash, subtrees(task.start.seq, leaves))
        if task.records_max is not None and len(leaves) >= task.records_max:
            break
        if good.offset - shown >= PROGRESS_BYTES:
            shown = good.offset
            yield len(leaves)
    bad = bad or scan.bad
    roots = subtrees(task.start.seq, leaves)
    return Walked(len(leaves), good.offset, good.tip, good.batch, digest.hexdigest(), roots, bad, tuple(told), marks, shared)


def _shared(record: Record) -> int:
    """How many records a fork says were shared; -1 where it says no such thing, which others judge."""
    try:
        size = decode(record.payload).get("sealed_size")
    except (CanonicalError, AttributeError):
        return -1
    return size if isinstance(size, int) else -1


def _form(batch: Sequence[Record]) -> Bad | None:
    """The first payload that is not the one form of its value, or record that stands where only a file may begin."""
    for record in batch:
        if why := misplaced_opening(record):
            return Bad(record.offset, record.seq, why, "form")
        try:
            decode(record.payload)
        except CanonicalError as error:
            return Bad(record.offset, record.seq, f"the payload is not canonical: {error}", "form")
    return None


# --- one after another, or side by side -----------------------------------------------------------------------------------------


def walk_all(files: Files, tasks: Sequence[Task], workers: int) -> Generator[int | Walked, None, None]:
    """For each task in order: how many records are good so far, now and then, and at last what was found."""
    workers = min(workers, len(tasks))
    if workers < 2 or sum(task.size for task in tasks) < SHARED_BYTES_MIN:
        for task in tasks:
            yield (yield from walk(files, task))
        return
    helpers = [_Helper(files, tasks[place::workers]) for place in range(1, workers)]
    try:
        for place, task in enumerate(tasks):
            if place % workers == 0:  # this process walks too: one less has to begin
                yield (yield from walk(files, task))
            else:
                yield helpers[place % workers - 1].receive()
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """A forked process that walks its tasks and ends. Left alone, it ends too: nobody reads what it says."""

    def __init__(self, files: Files, tasks: Sequence[Task]) -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(reading)
            _serve(files, tasks, writing)
        os.close(writing)
        self._pipe = os.fdopen(reading, "rb")

    def receive(self) -> Walked:
        found = pickle.load(self._pipe)  # noqa: S301 - our own child wrote it
        if isinstance(found, BaseException):
            raise found
        assert isinstance(found, Walked)
        return found

    def end(self) -> None:
        self._pipe.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _serve(files: Files, tasks: Sequence[Task], writing: int) -> None:
    """The child: it ends here, and runs nothing of what its parent would do at its end."""
    try:
        with os.fdopen(writing, "wb") as pipe:
            for task in tasks:
                pickle.dump(_walked(files, task), pipe)
                pipe.flush()
    finally:
        os._exit(0)


def _walked(files: Files, task: Task) -> Walked | BaseException:
    steps = walk(files, task)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        found: Walked = end.value
        return found
    except BaseException as error:
        return error
