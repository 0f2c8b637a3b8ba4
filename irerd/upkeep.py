"""What a log needs now and then: a snapshot, a new segment, old segments let go, a word that it is full. Blocking, and away
from the loop.

Done between two groups, when all that was decided is durable and further commands of this log are held back: so the state that a
snapshot takes is exactly what the records up to its `seq` add up to. To write it down takes much longer than to take it, and is
done once the commands go on.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

from core.keys import Keys
from core.settings import Log as LogSettings
from core.world import World
from irerd.host import Host
from irerd.journal import journal, where
from state import snapshot
from state.log import Full, Log, Stamper
from state.recover import Corrupt
from state.replay import pack, schema
from state.rotation import RotationFailed
from state.scan import Position
from state.segment import Closed
from state.tree import Edge

DAY_US = 24 * 3_600_000_000
RELIEF_RETRY_US = 60_000_000
"""A full log that may not let go of a segment yet is asked again no sooner."""


class Picture(NamedTuple):
    """What the records of a log add up to at one of them. Nothing of it changes any more."""

    end: Position
    edge: Edge
    schema: str
    keys: bytes
    world: bytes
    views: dict[str, Callable[[], bytes]]


class Upkeep:
    def __init__(self, host: Host, world: World, keys: Keys, settings: Callable[[], LogSettings], stamp: Stamper) -> None:
        self._host = host
        self._world = world
        self._keys = keys
        self._settings = settings
        self._stamp = stamp
        self._schema = cache(partial(schema, world))
        self._taken_at: dict[str, int] = {}
        """Of each log, the seq after the newest snapshot."""
        self._failed_at: dict[str, int] = {}
        self._prune_tried: dict[str, object] = {}
        """Of each full log, what was to go when that was last tried."""
        self.troubles: dict[str, str] = {}
        self.segments_kept = 0
        """How many read old segments and need them to stay."""
        self.snapshots_kept = 0
        """Likewise of snapshots, of which a new one would push out the oldest."""
        self.beside = False
        """Whether somebody looks after each `serve` for what is `to_keep`."""
        self._pictures: dict[str, Picture] = {}
        """Of each log, the one that was taken and is not written down yet."""
        self.known = snapshot.Known()
        """Snapshots that were written or read whole since the start: a new one does not ask for them to be read again."""
        self._to_prune: set[str] = set()
        """Logs that have a new snapshot, and so perhaps segments that it needs no more."""

    def begin(self, log: str, seq: int | None) -> None:
        """The snapshot a start began with, or none."""
        self._taken_at[log] = 0 if seq is None else seq + 1

    def due(self, log: Log) -> bool:
        if log.full_to_tell or self._snapshot_due(log) or log.rotation_due(self._host.now_us()) or self._relief_due(log):
            return True
        return log.name in self._to_prune and self._prunable_at_best(log) is not None

    def _relief_due(self, log: Log) -> bool:
        """Whether a full log might let go of segments now. It does not grow, so nothing else would ask."""
        return log.full is not None and bool(tried := self._prunable_at_best(log)) and self._prune_tried.get(log.name) != tried

    def _prunable_at_best(self, log: Log) -> object:
        """Something else whenever it is worth another try to prune; nothing where the configuration keeps everything."""
        settings, now_us = self._settings(), self._host.now_us()
        if self.segments_kept or (not settings.retain_bytes and not settings.retain_days):
            return None
        count = len(self._chosen(log, log.next_seq))
        return (settings.retain_bytes, settings.retain_days, log.first_seq, count, now_us // RELIEF_RETRY_US) if count else None

    def _chosen(self, log: Log, below: int) -> list[Closed]:
        settings = self._settings()
        return log.prunable(
            below,
            self._host.now_us(),
            retain_bytes=settings.retain_bytes or None,
            retain_us=round(settings.retain_days * DAY_US) or None,
        )

    def _snapshot_due(self, log: Log) -> bool:
        if self.snapshots_kept or log.name in self._pictures:
            return False
        since = max(self._taken_at.get(log.name, 0), self._failed_at.get(log.name, 0))
        return log.next_seq - since >= self._settings().snapshot_records

    def serve(self, log: Log) -> None:
        """All that is due. What the disk refuses is tried again later; a failed sync is final and raised."""
        if log.full_to_tell:
            log.tell_full(self._stamp)
        if self._snapshot_due(log):
            if self.beside and log.full is None:
                self._take_picture(log)
            else:
                self.take_snapshot(log)
        if log.rotation_due(self._host.now_us()):
            self._rotate(log)
        self._prune(log)
        if log.full is not None:
            self._prune_tried[log.name] = self._prunable_at_best(log)

    def take_snapshot(self, log: Log) -> None:
        """Keep what the records add up to, unless a newest snapshot says the same."""
        self._take_picture(log)
        if self.to_keep(log.name):
            self.keep(log.name)

    def _take_picture(self, log: Log) -> None:
        shape = self._schema(log.name)
        if not shape or self._taken_at.get(log.name) == log.next_seq:
            return
        end, edge, name = log.durable, log.durable_edge, log.name
        try:
            picture = Picture(end, edge, shape, self._keys.dump(name), self._world.dump(name), self._world.pictures(name))
        except Exception as error:
            self._fail(name, end, error)
        else:
            self._pictures[name] = picture

    def _fail(self, log: str, end: Position, error: Exception) -> None:
        """A snapshot only saves time: without one the daemon goes on."""
        self._failed_at[log] = end.seq
        journal().error("a bug in irer", place="snapshot", type=type(error).__name__, at=where(error))
        self._trouble(log, "no snapshot could be made of what it holds; a start will read the whole log")

    def to_keep(self, log: str) -> bool:
        """Whether a snapshot of this log was taken that is not written down."""
        return log in self._pictures

    def leave(self, log: str) -> None:
        """Do without the one that was taken: another is due."""
        self._pictures.pop(log, None)

    def keep(self, log: str) -> None:
        """Write down what was taken, however far the log has come since. One call at a time; a failed sync is raised."""
        picture = self._pictures[log]
        end, edge = picture.end, picture.edge
        try:
            views = {name: made() for name, made in picture.views.items()}
            body = pack(edge, picture.keys, picture.world, views)
        except Exception as error:
            del self._pictures[log]
            self._fail(log, end, error)
            return
        try:
            root = edge.root().hex()
            snapshot.write(
                self._host.files,
                log,
                seq=end.seq - 1,
                tip=end.tip,
                root=root,
                schema=picture.schema,
                body=body,
                known=self.known,
            )
        except Full as full:
            self._failed_at[log] = end.seq
            self._trouble(log, f"no snapshot was taken: {full}")
        else:
            self._taken_at[log] = end.seq
            self._to_prune.add(log)
            self.troubles.pop(log, None)
        finally:
            del self._pictures[log]

    def _rotate(self, log: Log) -> None:
        try:
            log.rotate(self._stamp)
        except RotationFailed as failed:
            self._trouble(log.name, str(failed))
        else:
            journal().info("a new segment begins", engine=log.name, segment=log.segment)

    def _prune(self, log: Log) -> None:
        """Let go of the oldest segments, as far as the configuration says and the oldest snapshot allows."""
        self._to_prune.discard(log.name)
        settings = self._settings()
        if self.segments_kept or (not settings.retain_bytes and not settings.retain_days):
            return
        kept = snapshot.listed(self._host.files, log.name).headers
        if not kept:
            return
        try:
            self.known.read(self._host.files, log.name, kept[-1].seq)  # whole: what it stands for is deleted
        except snapshot.BadSnapshot as bad:
            self._trouble(log.name, f"old segments stay, because the snapshot at {kept[-1].seq} is not whole ({bad.why})")
            return
        answered_from = self._keys.first_seq(log.name)  # a key that is remembered is answered from its records
        below = min(kept[-1].seq + 1, log.next_seq if answered_from is None else answered_from)
        for engine in self._world.logs[log.name]:  # a value that a read may still need stays
            if engine.oldest is not None and (oldest := engine.oldest(self._world.states[engine.name])) is not None:
                below = min(below, oldest)
        segments = self._chosen(log, below)
        if not segments:
            return
        try:
            for some in [[one] for one in segments] if log.full is not None else [segments]:  # what frees room takes some first
                log.prune(some, self._stamp)
        except Full as full:
            self._trouble(log.name, f"old segments stay: {full}")
            return
        except (Corrupt, OSError) as error:
            text = f"old segments stay, because one cannot be read ({type(error).__name__}). See: irerctl audit hashchain"
            self._trouble(log.name, text)
            return
        journal().info("old segments were let go", engine=log.name, count=len(segments), first_seq=log.first_seq)

    def _trouble(self, log: str, text: str) -> None:
        if self.troubles.get(log) != text:
            journal().warning(text, engine=log)
        self.troubles[log] = text
