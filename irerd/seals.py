"""Checkpoints of the logs: who signs them, which is the newest of each, and whether it is time for another.

The writer's task makes them, between two groups, as it writes heads: when something new has been durable for ten seconds, at a
stop, and when somebody asks. A log that holds no more than the record it began with gets none by itself, so that a daemon that
nobody uses never loads the library that signs.
"""

from core.notes import Key, Note, public_key
from state.checkpoint import write_checkpoint
from state.log import Log
from state.tree import Edge


class Seals:
    def __init__(self) -> None:
        self._secret = b""
        self._public: bytes | None = None
        self._notes: dict[str, Note] = {}
        self._edges: dict[str, Edge] = {}

    def take_key(self, secret: bytes) -> None:
        self._secret = secret

    def begin(self, log: str, note: Note | None, edge: Edge | None = None) -> None:
        """The checkpoint a start found; the log was seen to continue it. `edge` is of all that the log holds now."""
        if note is not None:
            self._notes[log] = note
            if edge is not None:
                self._edges[log] = edge

    def note(self, log: str) -> Note | None:
        """The newest; it is on disk."""
        return self._notes.get(log)

    def notes(self) -> dict[str, Note]:
        """The newest of every log."""
        return dict(self._notes)

    def size(self, log: str) -> int:
        """How many records the newest vouches for."""
        note = self._notes.get(log)
        return note.checkpoint.size if note is not None else 0

    def edge(self, log: str) -> Edge | None:
        """Of the tree that the newest is of, where that is known."""
        edge = self._edges.get(log)
        return edge if edge is not None and edge.size == self.size(log) else None

    def key(self, origin: str) -> Key:
        """What the checkpoints of a log are checked with."""
        if self._public is None:
            self._public = public_key(self._secret)
        return Key(origin, self._public)

    def behind(self, log: Log) -> bool:
        """Whether something is durable that no checkpoint vouches for, and that is worth one."""
        return log.durable.seq > max(1, self.size(log.name))

    def seal(self, log: Log) -> bool:
        """Sign what is durable now. False where the disk has no room. Blocks; raises SyncFailed."""
        if log.durable.seq <= self.size(log.name):
            return True
        edge = log.durable_edge
        note = write_checkpoint(log, self._secret)
        if note is not None:
            self._notes[log.name], self._edges[log.name] = note, edge
        return note is not None
