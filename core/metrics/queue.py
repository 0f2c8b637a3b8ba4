"""What became of each write to the cache, as its records tell: when it came, whether the far end has it, whether it went missing.

Only keys that wait to be synced are followed, and of them so many as a fixed memory holds; one write of a key that is not followed
counts as one that left the queue when the far end confirms the key. Keys are kept as digests.
"""

from hashlib import blake2b

import msgspec

from core.fields import Frozen
from core.metrics.series import DAY_US, MINUTE_US, Clock, Ring, RingDump, Series, SeriesDump

FOLLOWED_MAX = 16_384
OFFLINE_STEPS = DAY_US // MINUTE_US


class Written(msgspec.Struct):
    """A revision of our own. `parent` is the revision that it follows."""

    key: str
    rev: str
    parent: str = ""


class Expired(msgspec.Struct):
    key: str
    parent: str
    rev: str = ""


class Resolved(msgspec.Struct):
    key: str


class Merged(msgspec.Struct):
    key: str
    ids: list[str]


class Pushed(msgspec.Struct):
    keys: list[str] = []


class OnlineSet(msgspec.Struct):
    online: bool


class Drilled(msgspec.Struct):
    """How a drill came out: `survived` are those of the `attempted` commands that ended reconciled or safely queued."""

    attempted: int
    survived: int


class Waiting(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The writes of one key that the far end has not confirmed."""

    rev: str
    """The last of our own."""
    writes: int = 0
    offline: int = 0
    """Of the writes, those that were made with no network."""
    step: int = 0
    """The step of offline time in which the last of those was."""
    met: bool = False
    """Whether a revision of the far end came since: then a write need not follow our own last one."""


class QueueDump(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    online: bool
    offline_us: int
    since_us: int
    waiting: list[tuple[bytes, Waiting]]
    """In their order: it says which is forgotten first."""
    accepted_of_day: RingDump
    lost_of_day: RingDump
    refused_of_day: RingDump
    accepted: SeriesDump
    lost: SeriesDump
    refused: SeriesDump
    queued: SeriesDump
    drained: SeriesDump
    drill: tuple[int, int]


class Queue:
    """Writes to the cache over time, and over *offline time*, which passes only while the cache is offline."""

    def __init__(self) -> None:
        self.online = True
        self._offline_us = 0
        self._since_us = 0
        self._waiting: dict[bytes, Waiting] = {}
        """By digest of the key, the one that has waited longest first."""
        self._accepted_of_day, self._lost_of_day, self._refused_of_day = (Ring(OFFLINE_STEPS) for _ in range(3))
        self.accepted, self.lost, self.refused, self.queued, self.drained = (Series() for _ in range(5))
        self.drill = (0, 0)
        """Attempted and survived, of the last drill."""

    # --- offline time -------------------------------------------------------------------------------------------------

    def offline_us(self, now_us: int) -> int:
        return self._offline_us + (0 if self.online else max(0, now_us - self._since_us))

    def _step(self, now_us: int) -> int:
        return self.offline_us(now_us) // MINUTE_US

    def set_online(self, event: OnlineSet, now_us: int) -> None:
        self._offline_us = self.offline_us(now_us)
        self._since_us, self.online = now_us, event.online

    def count_refused(self, count: int, now_us: int) -> None:
        """Commands that the daemon could not take; only those while offline are of interest."""
        if not self.online:
            self._refused_of_day.add(self._step(now_us), count)
            self.refused.add(now_us, count)

    def of_day(self, now_us: int) -> tuple[int, int, int]:
        """Accepted, lost and refused within the last day of offline time."""
        last = self._step(now_us)
        first = last - OFFLINE_STEPS + 1
        accepted, lost, refused = (
            ring.sum(first, last) for ring in (self._accepted_of_day, self._lost_of_day, self._refused_of_day)
        )
        return accepted, lost, refused

    # --- writes -------------------------------------------------------------------------------------------------------

    def wrote(self, event: Written, clock: Clock) -> None:
        """Set or deleted by a caller."""
        self._accept(clock)
        waiting = self._of(event.key, event.rev)
        if waiting.writes and not waiting.met and event.parent != waiting.rev:
            self._lose(waiting, clock)
        self._queue(waiting, event.rev, clock, asked=True)

    def resolved(self, event: Resolved, clock: Clock) -> None:
        """A caller's choice between revisions. Which one is the last of our own is open from here on."""
        self._accept(clock)
        waiting = self._of(event.key, "")
        waiting.met = True
        self._queue(waiting, waiting.rev, clock, asked=True)

    def expired(self, event: Expired, clock: Clock) -> None:
        """The time of a value is over, as its writer wanted. Nobody asked for anything now."""
        waiting = self._of(event.key, event.parent)
        if waiting.writes and not waiting.met and event.parent != waiting.rev:
            self._lose(waiting, clock)
        if event.rev:
            self._queue(waiting, event.rev, clock, asked=False)
        else:
            self._drain(event.key, clock)

    def merged(self, event: Merged, clock: Clock) -> None:
        """A revision of the far end. Where it follows ours, the far end has ours."""
        waiting = self._waiting.get(_digest(event.key))
        if waiting is None:
            return
        if waiting.rev.partition("-")[2] in event.ids:
            self._drain(event.key, clock)
        else:
            waiting.met = True

    def pushed(self, event: Pushed, clock: Clock) -> None:
        for key in event.keys:
            self._drain(key, clock, unknown=1)

    def drilled(self, event: Drilled) -> None:
        self.drill = (event.attempted, min(event.survived, event.attempted))

    def _accept(self, clock: Clock) -> None:
        if not self.online:
            self._accepted_of_day.add(self._step(clock.last_us), 1)
            self.accepted.add(clock.last_us)

    def _of(self, key: str, rev: str) -> Waiting:
        digest = _digest(key)
        waiting = self._waiting.get(digest)
        if waiting is None:
            waiting = self._waiting[digest] = Waiting(rev)
            if len(self._waiting) > FOLLOWED_MAX:
                del self._waiting[next(iter(self._waiting))]
        return waiting

    def _queue(self, waiting: Waiting, rev: str, clock: Clock, *, asked: bool) -> None:
        self.queued.add(clock.last_us)
        waiting.rev = rev
        waiting.writes += 1
        if asked and not self.online:
            waiting.offline += 1
            waiting.step = self._step(clock.last_us)

    def _lose(self, waiting: Waiting, clock: Clock) -> None:
        """What came after our last write does not follow it, and nothing from the far end explains why."""
        if waiting.offline:
            self._lost_of_day.add(waiting.step, waiting.offline)
            self.lost.add(clock.last_us, waiting.offline)
        waiting.writes = waiting.offline = 0

    def _drain(self, key: str, clock: Clock, unknown: int = 0) -> None:
        waiting = self._waiting.pop(_digest(key), None)
        count = waiting.writes if waiting is not None else unknown
        if count:
            self.drained.add(clock.last_us, count)

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def dump(self) -> QueueDump:
        return QueueDump(
            self.online,
            self._offline_us,
            self._since_us,
            [(key, msgspec.structs.replace(waiting)) for key, waiting in self._waiting.items()],
            self._accepted_of_day.dump(),
            self._lost_of_day.dump(),
            self._refused_of_day.dump(),
            self.accepted.dump(),
            self.lost.dump(),
            self.refused.dump(),
            self.queued.dump(),
            self.drained.dump(),
            self.drill,
        )

    @classmethod
    def load(cls, dumped: QueueDump) -> "Queue":
        queue = cls()
        queue.online, queue._offline_us, queue._since_us = dumped.online, dumped.offline_us, dumped.since_us
        queue._waiting, queue.drill = dict(dumped.waiting), dumped.drill
        rings = (dumped.accepted_of_day, dumped.lost_of_day, dumped.refused_of_day)
        queue._accepted_of_day, queue._lost_of_day, queue._refused_of_day = (Ring.load(ring, OFFLINE_STEPS) for ring in rings)
        series = (dumped.accepted, dumped.lost, dumped.refused, dumped.queued, dumped.drained)
        queue.accepted, queue.lost, queue.refused, queue.queued, queue.drained = map(Series.load, series)
        return queue


def _digest(key: str) -> bytes:
    return blake2b(key.encode() if key.isascii() else key.encode(errors="surrogatepass"), digest_size=8).digest()
