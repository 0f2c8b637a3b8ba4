"""What a log needs now and then: a snapshot, a new segment, old segments let go, a word that it is full. Blocking, and away
from the loop.

Done between two groups, when all that was decided is durable and further commands of this log are held back: so the state that a
snapshot takes is exactly what the records up to its `seq` add up to.
"""

from collections.abc import Callable

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
from state.segment import Closed

DAY_US = 24 * 3_600_000_000
RELIEF_RETRY_US = 60_000_000
"""A full log that may not let go of a segment yet is asked again no sooner."""


class Upkeep:
    def __init__(self, host: Host, world: World, keys: Keys, settings: Callable[[], LogSettings], stamp: Stamper) -> None:
        self._host = host
        self._world = world
        self._keys = keys
        self._settings = settings
        self._stamp = stamp
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

    def begin(self, log: str, seq: int | None) -> None:
        """The snapshot a start began with, or none."""
        self._taken_at[log] = 0 if seq is None else seq + 1

    def due(self, log: Log) -> bool:
        return log.full_to_tell or self._snapshot_due(log) or log.rotation_due(self._host.now_us()) or self._relief_due(log)

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
        if self.snapshots_kept:
            return False
        since = max(self._taken_at.get(log.name, 0), self._failed_at.get(log.name, 0))
        return log.next_seq - since >= self._settings().snapshot_records

    def serve(self, log: Log) -> None:
        """All that is due. What the disk refuses is tried again later; a failed sync is final and raised."""
        if log.full_to_tell:
            log.tell_full(self._stamp)
        if self._snapshot_due(log):
            self.take_snapshot(log)
        if log.rotation_due(self._host.now_us()):
            self._rotate(log)
        self._prune(log)
        if log.full is not None:
            self._prune_tried[log.name] = self._prunable_at_best(log)

    def take_snapshot(self, log: Log) -> None:
        """Keep what the records add up to, unless a newest snapshot says the same."""
        shape = schema(self._world, log.name)
        if not shape or self._taken_at.get(log.name) == log.next_seq:
            return
        end = log.durable
        try:
            body = pack(log.durable_edge, self._keys.dump(log.name), self._world.dump(log.name), self._world.kept(log.name))
        except Exception as error:  # a snapshot only saves time: without one the daemon goes on
            self._failed_at[log.name] = end.seq
            journal().error("a bug in irer", place="snapshot", type=type(error).__name__, at=where(error))
            self._trouble(log.name, "no snapshot could be made of what it holds; a start will read the whole log")
            return
        try:
            snapshot.write(
                self._host.files,
                log.name,
                seq=end.seq - 1,
                tip=end.tip,
                root=log.durable_edge.root().hex(),
                schema=shape,
                body=body,
            )
        except Full as full:
            self._failed_at[log.name] = end.seq
            self._trouble(log.name, f"no snapshot was taken: {full}")
        else:
            self._taken_at[log.name] = end.seq
            self.troubles.pop(log.name, None)

    def _rotate(self, log: Log) -> None:
        try:
            log.rotate(self._stamp)
        except RotationFailed as failed:
            self._trouble(log.name, str(failed))
        else:
            journal().info("a new segment begins", engine=log.name, segment=log.segment)

    def _prune(self, log: Log) -> None:
        """Let go of the oldest segments, as far as the configuration says and the oldest snapshot allows."""
        settings = self._settings()
        if self.segments_kept or (not settings.retain_bytes and not settings.retain_days):
            return
        kept = snapshot.listed(self._host.files, log.name).headers
        if not kept:
            return
        try:
            snapshot.read(self._host.files, log.name, kept[-1].seq)
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
