"""Large values read back: whether every blob that a log's live records name is there, and is what its name says.

Which records are live is for the engines to say, so the log is folded, from a snapshot that a start would use. Nothing is changed.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from core.keys import Keys
from core.world import World
from state import replay as meaning
from state.blobs import BadBlob, Blobs, path_of
from state.fs import Files
from state.seal import Record
from state.snapshot import Header, read


class ReadBack(NamedTuple):
    """How many blobs are named, and the first that is not what it must be: its file, and why."""

    named: int
    bad: tuple[str, str] | None = None


def names_values(world: World, log: str) -> bool:
    """Whether any engine of this log keeps large values as blobs."""
    return any(engine.blobs is not None for engine in world.logs.get(log, ()))


def read_back(
    files: Files, world: World, log: str, newest: Header | None, batches: Callable[[int], Iterable[Sequence[Record]]]
) -> ReadBack:
    """`batches` are those behind a record. Raises UnknownEvent, BadSnapshot, BadDump, Corrupt, FileNotFoundError."""
    keys, after = Keys(), -1
    if newest is not None:
        meaning.load(world, keys, newest, read(files, log, newest.seq)[1])
        after = newest.seq
    for batch in batches(after):
        meaning.replay(world, keys, log, batch)
    blobs, count = Blobs(files), 0
    for engine in world.logs[log]:
        for name in sorted(set(engine.blobs(world.states[engine.name]))) if engine.blobs is not None else ():
            count += 1
            try:
                blobs.read(name)
            except BadBlob as bad:
                return ReadBack(count, (path_of(name), str(bad)))
    return ReadBack(count)
