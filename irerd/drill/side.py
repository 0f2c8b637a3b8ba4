"""One replica of a drill: the real engine over a real log, with a clock that only the drill moves.

Nothing is acknowledged before its batch is on disk, and whoever kills it gets back what the disk says and nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

from core.cache.commands import ExpireValues
from core.cache.model import Cache
from core.canonical import event_payload
from core.engine import IRER, Actor, Command, Context, Engine, Event, Fetch, Place, Stamp, Timer
from core.keys import Keys
from core.secrets import SECRET_BYTES, Secrets
from core.settings import Settings
from core.world import World
from state.fs import RealFiles
from state.ledger import open_ledger
from state.log import Log
from state.recover import recover
from state.replay import replay
from state.rotation import Limits
from state.seal import RECORDS_MAX, Pending, Record

LOG = "cache_log"
CALLER = Actor("uid:1000", "operator", 1000)
BOOT_US = 5_000_000
SEGMENTS = Limits(bytes=1 << 20, records=100_000, age_us=6 * 3_600_000_000)
"""Small ones, so that a drill closes some."""


class Clock:
    """Wall time of everybody in the drill, in µs since 1970."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def reach(self, now_us: int) -> None:
        """Time never steps back."""
        self.now_us = max(self.now_us, now_us)


class Side:
    def __init__(self, place: Path, engine: Engine, clock: Clock, chance: Random) -> None:
        place.mkdir()
        self.place = place
        self.kills = 0
        self._engine = engine
        self._clock = clock
        self._chance = chance
        self._settings = Settings()
        self._files = RealFiles(place)
        self._ledger = open_ledger(self._files, self._new_id, written_by="irer drill")
        self._secrets = Secrets(self._ledger.pepper, self._ledger.token, lambda: chance.randbytes(SECRET_BYTES))
        self._boots = 0
        self._world: World
        self._log: Log
        self._waiting: list[Pending] = []
        """Decided and applied, not yet on disk."""
        self._payloads: dict[int, bytes] = {}
        self._begin(reboot=True)
        self._ledger.add_log(LOG)

    # --- life -------------------------------------------------------------------------------------------------------

    def _begin(self, reboot: bool) -> None:
        if reboot:
            self._boots += 1
            self._booted_us = self._clock.now_us
        self._world = World([self._engine])
        self._payloads = {}
        self._waiting = []
        self._log = recover(self._files, LOG, self._ledger.origin(LOG), self._stamp, self._replay, limits=SEGMENTS).log

    def _replay(self, batch: Sequence[Record]) -> None:
        replay(self._world, Keys(), LOG, batch)
        for record in batch:
            self._payloads[record.seq] = record.payload

    def kill(self) -> None:
        """At any moment: what was not synced is there, gone, or torn somewhere; then a new start, perhaps of the whole machine."""
        self.kills += 1
        if self._waiting:
            data = self._log.seal(self._waiting).data
            self._log.write(data[: self._chance.randrange(len(data))])
        self._log.close()
        self._begin(reboot=self._chance.random() < 0.3)

    def close(self) -> None:
        self._log.close()
        self._ledger.close()
        self._files.shut()

    # --- commands -----------------------------------------------------------------------------------------------------

    @property
    def cache(self) -> Cache:
        return cast(Cache, self._world.states[self._engine.name])

    @property
    def end(self) -> int:
        """The record after the last."""
        return self._log.next_seq + len(self._waiting)

    def ask(self, verb: str, command: Command, actor: Actor = CALLER) -> Sequence[Event]:
        """Decide and apply. It is acknowledged once `commit` returns. Raises Refused."""
        self._clock.now_us += 1  # each command has a moment of its own
        decision = self._world.decide(self._world.rows[f"{self._engine.name}.{verb}"], command, self._context(actor))
        if len(self._waiting) + len(decision.events) > RECORDS_MAX:
            self.commit()
        for event in decision.events:
            time_us, mono_us, boot_id = self._stamp()
            payload = event_payload(event)
            self._payloads[self.end] = payload
            self._world.apply(event, Stamp(LOG, self.end, time_us, mono_us, boot_id, actor.name))
            self._waiting.append(Pending(event.event_type, payload, actor.name, boot_id, mono_us, time_us))
        return decision.events

    def give(self, verb: str, command: Command) -> None:
        """On behalf of irer itself, until it is on disk."""
        self.ask(verb, command, IRER)
        self.commit()

    def look(self, verb: str, command: Command) -> Any:
        """The answer of a read. Raises Refused."""
        found = self._world.read(self._world.rows[f"{self._engine.name}.{verb}"], command, self._context(CALLER))
        return found.then([self.value(place) for place in found.places]) if isinstance(found, Fetch) else found

    def value(self, place: Place) -> bytes:
        """What stands there, as canonical JSON."""
        assert self._engine.stored is not None
        raw = self._engine.stored(self._payloads[place.seq])[1]
        if raw is None:
            raise LookupError(place.seq)
        return raw

    def expire(self) -> list[Event]:
        """Serve the timers that are due."""
        events: list[Event] = []
        assert self._engine.wanted is not None
        while True:
            ctx = self._context(IRER)
            due = [each for each in self._engine.wanted(self.cache, ctx) if isinstance(each, Timer) and each.due_us <= ctx.mono_us]
            if not any(isinstance(timer.command, ExpireValues) for timer in due):
                return events
            happened = self.ask("expire", ExpireValues(), IRER)
            if not happened:
                return events
            events += happened

    def commit(self) -> None:
        if self._waiting:
            self._log.commit(self._log.seal(self._waiting).data)
            self._waiting = []
        if self._log.rotation_due(self._clock.now_us):
            self._log.rotate(self._stamp)

    # --- what the outside decides -------------------------------------------------------------------------------------

    def _stamp(self) -> tuple[int, int, str]:
        now_us = self._clock.now_us
        return now_us, now_us - self._booted_us + BOOT_US, f"{self._boots:08x}"

    def _context(self, actor: Actor) -> Context:
        time_us, mono_us, boot_id = self._stamp()
        return Context(
            time_us,
            mono_us,
            boot_id,
            actor,
            self._settings,
            self._new_id,
            self._chance,
            self._world.states.__getitem__,
            self._secrets,
        )

    def _new_id(self) -> str:
        drawn = self._chance.randbytes(16).hex()
        return f"{drawn[:8]}-{drawn[8:12]}-{drawn[12:16]}-{drawn[16:20]}-{drawn[20:]}"
