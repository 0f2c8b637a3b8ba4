"""One seed, one universe: the real daemon on a simulated machine, callers by chance, and an end of its process that nobody chose.

Everything runs in one trio run on a virtual clock, and everything by chance comes from the seed, so a seed is a test that can
be run again. Nothing of irerd is replaced but its `Host`.
"""

import errno
import gc
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import trio
import trio.testing

import core.world
import irerd.daemon
import irerd.journal
import irerd.ports
from core.access import Rules
from core.catalogue import Catalogue
from core.engines import ENGINES
from core.settings import Access, CacheSettings, Circuit, Entities, Jobs, Limits, Log, Pool, Pools, Retry, Settings
from core.world import World
from irerd.config import Changes, diff
from irerd.daemon import STOP_S, Daemon
from irerd.host import Transport
from irerd.journal import Journal
from irerd.listen import Credentials
from irerd.writer import WriteFailed
from state.log import Full, SyncFailed
from state.room import Room
from state.rotation import Limits as SegmentLimits
from tests.sim.callers import ADMIN, NOBODY, OPERATOR, OTHER_OPERATOR, SENSOR, VIEWER, Book, Caller, Line
from tests.sim.disk import CHANGES, LOOKS
from tests.sim.machine import UNSPOILED, Faults, Machine, SimHost, Spoiled
from tests.sim.oracle import Oracle, Rec
from tests.sim.trace import Trace
from tests.sim.wares import Shelf
from tests.sim.wires import CallerEnd, DaemonEnd
from tests.sim.wires import connect as wires

OPERATIONS = 420
SETTLE_S = 240.0
"""Virtual time within which everything that was asked for comes to an end once nothing fails any more."""
STILL_S = 5.0
"""Virtual time that a daemon with nothing to do is watched for timers that fire for nothing."""
STILL_TIMERS_MAX = 40
NAMES = ("link", "rename", "unlink", "fsync_dir")
"""What closes a segment, deletes one or keeps a snapshot: rarer than other changes, so it is counted apart."""
CLEAN_STOP_S = 2 * STOP_S
BACK_S = 4.0
"""Virtual time after which everything goes on once a full disk has room again, the slowest look at it included."""


ENDED = frozenset({"done", "cancelled", "expired", "parked"})


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True)
class Outcome:
    """What a seed came to."""

    seed: int
    violation: str | None
    digest: str
    operations: int
    lives: int
    records: int
    acknowledged: int
    virtual_s: float
    turns: int
    """How often a segment was closed."""
    prunes: int
    snapshots: int
    fulls: int
    """How often a log put on record that it was full."""
    found_full: int
    """How many calls were answered so."""
    returns: int
    """How often writes went on once there was room again."""
    last: list[str]


def run_seed(seed: int, operations: int = OPERATIONS, spoiled: Spoiled = UNSPOILED) -> Outcome:
    """One universe from its beginning to its end."""
    with _untidied():
        return _run(seed, operations, spoiled)


def _run(seed: int, operations: int, spoiled: Spoiled) -> Outcome:
    universe = Universe(seed, operations, spoiled)
    with _determined(seed), _worked_out_once(), patch.object(irerd.journal, "_journal", Listening(universe)):
        trio.run(universe.run, clock=trio.testing.MockClock(autojump_threshold=0))
    return universe.outcome()


@contextmanager
def _untidied() -> Iterator[None]:
    """Memory is tidied once nothing of a universe is wanted any more, and of the memory only what came with it."""
    before = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        if before:
            gc.enable()


@contextmanager
def _worked_out_once() -> Iterator[None]:
    """What a process works out from its code alone, and each of ours alike, is not worked out by each."""
    with (
        patch.object(irerd.daemon, "Catalogue", lambda engines: _CATALOGUE),
        patch.object(core.world, "_reader", _reader),
        patch.object(irerd.ports, "_documents_in", _documents_in),
        patch.object(World, "schema", lambda self, log: _schema(log)),
    ):
        yield


_CATALOGUE = Catalogue(list(ENGINES))
_reader = cache(core.world._reader)
_documents_in = cache(irerd.ports._documents_in)


@cache
def _schema(log: str, whole: Callable[[World, str], str] = World.schema) -> str:
    return whole(_WORLD, log)


_WORLD = World(ENGINES)


@contextmanager
def _determined(seed: int) -> Iterator[None]:
    """Trio's own dice are ours, and this process has a fixed number."""
    core: Any = trio._core._run
    before = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate()
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    core._r.seed(seed)
    try:
        with patch.object(os, "getpid", lambda: 4242), patch.object(os, "getuid", lambda: 990):
            yield
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = before[0]
        core._r.setstate(before[1])


class Listening(Journal):
    """Hears the journal: a bug in irer is one even where no caller hears of it."""

    def __init__(self, universe: "Universe") -> None:
        super().__init__(io.StringIO(), "debug", person=False, prefixed=False)
        self._universe = universe

    def error(self, text: str, **fields: object) -> None:
        if text == "a bug in irer":
            self._universe.blame(f"the journal: {text}: {fields}")


class Configuration:
    """The file of settings, which somebody edits now and then."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.settings = self._drawn(Access())
        self.rules = RULES

    def _drawn(self, access: Access) -> Settings:
        random = self._random

        def pool() -> Pool:
            return Pool(floor=random.choice((1, 2)), ceiling=random.choice((4, 8, 8, 16, 64)))

        return Settings(
            access=access,
            pools=Pools(
                compute=pool(),
                storage=pool(),
                network=pool(),
                database=pool(),
                scale_hold_s=random.choice((0.2, 1.0, 5.0)),
                scale_cooldown_s=random.choice((0.1, 2.0, 10.0)),
            ),
            retry=Retry(attempts=random.choice((1, 2, 3)), base_s=random.choice((0.01, 0.5)), cap_s=1.0),
            jobs=Jobs(
                roots={"documents": "/srv/documents"}, parallel=random.choice((1, 2, 4)), timeout_s=random.choice((0.5, 6.0))
            ),
            entities=Entities(
                heartbeat_s=random.choice((0.5, 2.0, 5.0)),
                attempts=random.choice((1, 2)),
                base_s=0.05,
                cap_s=random.choice((0.1, 1.0)),
            ),
            circuit=Circuit(fulfilment_s=random.choice((0.001, 0.05, 0.5))),
            cache=CacheSettings(memory_bytes=random.choice((0, 2_000, 65_536))),
            limits=Limits(
                connections=random.choice((8, 64)),
                connections_per_uid=random.choice((3, 64)),
                calls=random.choice((2, 8, 64)),
                streams=random.choice((3, 64)),
                waiting=random.choice((2, 8, 64, 4096)),
            ),
            log=Log(
                snapshot_records=random.choice((5, 5, 20, 60, 50_000)),
                retain_bytes=random.choice((0, 0, 1, 8_192, 65_536)),
                retain_days=random.choice((0.0, 0.0, 0.0, 0.00001, 0.0001)),
            ),
        )

    def edit(self) -> None:
        """Somebody edits the file while the daemon is down."""
        self.settings = self._drawn(self.settings.access)

    async def reload(self) -> Changes:
        await trio.sleep(self._random.choice((0.0, 0.01)))
        changed = self._drawn(self.settings.access)
        changes = diff(self.settings, changed)
        self.settings = changed
        return changes


RULES = Rules(
    roles_of_uid={
        OPERATOR: frozenset({"operator"}),
        OTHER_OPERATOR: frozenset({"operator"}),
        VIEWER: frozenset({"viewer"}),
        ADMIN: frozenset({"admin"}),
        SENSOR: frozenset({"sensor"}),
    },
    methods_of_role={"sensor": frozenset({"system.ping", "resource.scale"})},
    denied_to_uid={OTHER_OPERATOR: frozenset({"resource.health"})},
)
CALLERS = (OPERATOR, OPERATOR, OTHER_OPERATOR, VIEWER, NOBODY, ADMIN, SENSOR)


@dataclass
class Ending:
    """How one life of the process goes wrong, and when."""

    kind: str
    """crash, power, stop, or none: the last life."""
    operations: int
    """How many operations it may serve before that, unless a fault comes first."""
    faults: Faults
    impatient: bool = False
    """A crash at some moment from the start on, so in recovery too."""
    fills: bool = False
    """Whether the disk fills up now and then, and gets room again."""


class Universe:
    def __init__(self, seed: int, operations: int, spoiled: Spoiled) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.trace = Trace()
        self.book = Book()
        self.oracle = Oracle(self.blame, self._judge)
        self.operations = 0
        self.life = 0
        self._damaged = self._clean = False
        self.ledger_id = ""
        self.reused: set[tuple[str, str]] = set()
        self.refusals_told: Counter[str] = Counter()
        self.cursors: dict[str, str] = {}
        self.shelf = Shelf()
        self.known_tasks: list[str] = []
        self._budget = operations
        self._spoiled = spoiled
        self._violation: str | None = None
        self._scope = trio.CancelScope()
        self._machine = Machine(Random(self.random.getrandbits(64)), self.trace)
        self._configuration = Configuration(Random(self.random.getrandbits(64)))
        self._host: SimHost | None = None
        self._daemon: Daemon | None = None
        self._serving: trio.Nursery | None = None
        self._callers: list[Caller] = []
        self._ends: dict[str, DaemonEnd] = {}
        self._alive = trio.Event()
        self._ready = trio.Event()
        self._up = trio.Event()
        """It serves, if perhaps a damaged log."""
        self._moved = trio.Event()
        self._unfinished = 0
        self._stopping = False
        self._owed: dict[str, set[int]] = {}
        """Of each connection the calls that were sent before a clean stop."""
        self._faults = Faults()
        self._virtual_s = 0.0
        self._filling = Random(f"the disk of {seed}")
        self._editing = Random(f"the settings of {seed}")
        self._room = Room(8_192, self._filling.choice((16_384, 32_768)), self._filling.choice((65_536, 262_144)))
        self.full = False
        """Whether the disk may be found full: it is, or it was a moment ago."""
        self.roomy_since = 0.0
        """What was asked after this found room, if the disk is not full again; answers may come long after."""
        self.found_full = self._returns = 0
        self._lost: Counter[str] = Counter()
        """Refusals, by caller, that were told on a full disk by a process that ended before there was room."""
        self.excused: set[str] = set()
        """Callers one of whose refusals found no room in the queue in this life: it was told first and is put on record soon."""
        self._failing_lives: set[int] = set()
        """Lives in which a call to the disk failed."""
        self._ended_full: set[int] = set()
        """The lives of such processes."""

    @property
    def may_fail(self) -> bool:
        """Whether a call to the disk has failed in this life: then the daemon may refuse, and stop."""
        return self._damaged or self._faults.failed

    def might_fail(self, life: int) -> bool:
        """The same of another life: its answers may be heard long after."""
        return self.may_fail if life == self.life else life in self._failing_lives

    @property
    def damaged(self) -> bool:
        """Whether a log did not verify at this start."""
        return self._damaged

    def unrecorded(self, actor: str) -> int:
        """Refusals that were told and could still be on record, and are not."""
        return self.refusals_told[actor] - self.oracle.refused[actor] - self._lost[actor]

    def told(self, actor: str, life: int) -> None:
        """A refusal is heard, perhaps long after it was told by a process that ended on a full disk."""
        self.refusals_told[actor] += 1
        if life in self._ended_full:
            self._lost[actor] += max(0, self.unrecorded(actor))

    # --- what callers use -------------------------------------------------------------------------------------------------

    def next_operation(self) -> bool:
        if self.operations >= self._budget:
            return False
        self.operations += 1
        self._moved.set()
        if self.random.random() < 0.01:
            self._machine.jump()
        elif self.random.random() < 0.004:
            self._machine.sleep()
        return True

    def caller_finished(self) -> None:
        self._unfinished -= 1
        self._moved.set()

    def still_quoted(self, quote_id: str, actor: str) -> bool:
        """Whether a quote is durable, was not traded and holds now."""
        machine = self._machine
        return self.oracle.promises.still_quoted(quote_id, actor, machine.boot_id, machine.mono_us())

    def connect(self, uid: int, name: str) -> CallerEnd | None:
        if self._daemon is None or self._host is None or self._host.dead or self._serving is None:
            return None
        ours, theirs = wires(name, Random(self.random.getrandbits(64)), self.trace)
        self._ends[f"{name}/{len(self._ends)}"] = ours
        self.trace.operation(f"{name} connects as {uid}")
        self._serving.start_soon(self._serve, self._daemon, ours, Credentials(uid, uid, ()))
        return theirs

    async def wait_life(self) -> None:
        await self._alive.wait()

    def cursor_of(self, caller: Caller) -> str | None:
        return self.cursors.get(caller.name)

    def line_lost(self, line: Line) -> None:
        owed = self._owed.pop(line.name, set()) & line.open.keys()
        if owed and not line.faulted:
            self.blame(f"{line.name}: a clean stop left unanswered: {[f'{id} {line.open[id].method}' for id in sorted(owed)]}")
        host, daemon = self._host, self._daemon
        if host is None or daemon is None or host.dead or line.life != self.life or self._stopping or line.faulted:
            return
        if line.said_bye:
            left = [f"{id} {asked.method}" for id, asked in line.open.items()]
            if left:
                self.blame(f"{line.name}: after our bye the daemon closed with calls unanswered: {left}")

    def blame(self, what: str) -> None:
        """A promise is broken; the first one is kept, and the universe ends."""
        if self._violation is None:
            self._violation = what
            self.trace.operation(f"VIOLATION {what}")
        if self._host is not None:
            self._host.die()
        self._scope.cancel()

    def _judge(self, log: str, record: Rec) -> None:
        first = self.oracle.command(log, record.seq)[0] is record
        why = self.book.why_not(record) if first else None
        if why is not None:
            self.blame(f"N3: {log} record {record.seq} ({record.event_type} by {record.actor}): {why}")
        if record.event_type == "task.submitted":
            self.known_tasks.append(record.payload["task_id"])
            del self.known_tasks[:-40]

    # --- the whole --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as callers:
                uids = [self.random.choice(CALLERS[:2]), *self.random.sample(CALLERS, self.random.randint(2, 4))]
                self._unfinished = len(uids)
                self._callers = [Caller(self, number, uid, Random(self.random.getrandbits(64))) for number, uid in enumerate(uids)]
                for caller in self._callers:
                    callers.start_soon(caller.run)
                for ending in self._plan():
                    await self._live(ending)
                    await trio.sleep(self.random.choice((0.0, 0.01, 3.0)))
                callers.cancel_scope.cancel()
        if self._host is not None and self._daemon is not None:  # a violation ended it
            _forget(self._host, self._daemon)
        self._virtual_s = trio.current_time()

    def outcome(self) -> Outcome:
        return Outcome(
            self.seed,
            self._violation,
            self.trace.digest(),
            self.operations,
            self.life,
            sum(log.end for log in self.oracle.logs.values()),
            len(self.oracle.keys),
            self._virtual_s,
            self.oracle.turns,
            self.oracle.prunes,
            self.oracle.snapshots_taken,
            self.oracle.fulls.total(),
            self.found_full,
            self._returns,
            self.trace.last(),
        )

    def _plan(self) -> Iterator[Ending]:
        random = self.random
        lives = random.randint(2, 5)
        for life in range(1, lives + 1):
            until = self._budget * life // (lives + 1) + random.randint(0, 20)
            kind = random.choice(("crash", "crash", "power", "power", "power", "stop", "stop"))
            quiet = kind == "stop" and self._spoiled.faults is None and random.random() < 0.7
            faults = Faults(slow=random.choice((0.0, 0.1))) if quiet else self._drawn_faults()
            plain = faults.nth is None and faults.kill_at_change is None and faults.stall_at_offload is None
            yield Ending(kind, until, faults, fills=plain and self._filling.random() < self._spoiled.fills)
            while random.random() < 0.3:  # and once more while it recovers, or soon after
                yield Ending(random.choice(("crash", "power")), until, self._early_faults(), impatient=True)
        yield Ending("none", self._budget, Faults(), fills=self._filling.random() < self._spoiled.fills / 2)

    def _drawn_faults(self) -> Faults:
        random = self.random
        if self._spoiled.faults is not None:
            return self._spoiled.faults(random)
        faults = Faults(slow=random.choice((0.0, 0.0, 0.01, 0.1)))
        luck = random.random()
        if luck < 0.35:
            faults.kill_only = random.choice((CHANGES, NAMES, NAMES))
            faults.kill_at_change = random.randint(1, 400 if faults.kill_only == CHANGES else 60)
            faults.kill = random.choice(("before", "after", "halfway"))
        elif luck < 0.5:
            faults.nth = random.randint(1, 300)
            faults.error = random.choice((errno.EIO, errno.EIO, errno.ENOSPC, errno.EROFS, "short", "short"))
            faults.only = random.choice(
                (CHANGES, ("fdatasync",), ("write",), ("fsync", "rename", "fsync_dir"), ("reserve",), LOOKS, NAMES, ("pread",))
            )
            if faults.only in (NAMES, ("pread",)):
                faults.nth = random.randint(1, 60)
            faults.always = random.random() < 0.2
        elif luck < 0.58:
            faults.stall_at_offload = random.randint(5, 200)
        return faults

    def _segments(self) -> SegmentLimits:
        random = self.random
        return SegmentLimits(
            bytes=random.choice((4_096, 4_096, 8_192, 32_768, 16 << 20)),
            records=random.choice((8, 50, 100_000)),
            age_us=random.choice((100_000, 3_000_000, 24 * 3_600_000_000)),
        )

    def _early_faults(self) -> Faults:
        faults = Faults()
        if self.random.random() < 0.7:
            faults.kill_at_change = self.random.randint(1, 30)
            faults.kill = self.random.choice(("before", "after", "halfway"))
        elif self.random.random() < 0.4:
            faults.nth = self.random.randint(1, 40)
        return faults

    # --- one life ---------------------------------------------------------------------------------------------------------

    async def _live(self, ending: Ending) -> None:
        self.life += 1
        self._damaged = self._stopping = self._clean = False
        self._faults = ending.faults
        self._ready = trio.Event()
        self._up = trio.Event()
        if self.life > 1 and self._editing.random() < 0.3:
            self._configuration.edit()
        faults = ending.faults
        self.trace.operation(f"life {self.life} begins, boot {self._machine.boot_id}; it is to end by {ending}")
        host = self._host = SimHost(self._machine, faults, self.oracle, self._spoiled)
        host.flaky = ending.kind != "none"
        daemon = self._daemon = Daemon(host, self._configuration, Path("/var/lib/irer"), ENGINES, self._segments(), self._room)
        self._ends = {}
        keep = daemon.refusals._keep

        def kept(command: Any) -> Any:
            self.excused.add(command.caller)
            return keep(command)

        daemon.refusals._keep = kept  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            self._serving = nursery

            def died() -> None:
                if not self._clean:
                    self._owed.clear()  # it was killed, or ended by a fault, while it stopped
                for end in self._ends.values():
                    end.cut(1_000_000 if self._clean else self.random.choice((0, self.random.randint(0, 300), 1_000_000)))
                nursery.cancel_scope.cancel()

            host.on_death = died
            self._alive.set()
            nursery.start_soon(self._be, host, daemon, faults)
            nursery.start_soon(self._end, host, daemon, ending)
            nursery.start_soon(self._fill, daemon, ending.fills)
        self._alive = trio.Event()
        self._serving = self._daemon = None
        self.oracle.process_ended()
        self.trace.operation(f"life {self.life} is over")
        if host.spinning:
            self.blame("the daemon looks at a clock that stands still, again and again: it spins")
        self._after_life(ending)
        self._host = None
        _forget(host, daemon)

    def _after_life(self, ending: Ending) -> None:
        if self.full or self.excused:
            self._ended_full.add(self.life)
            for actor in self.refusals_told if self.full else sorted(self.excused):
                self._lost[actor] += max(0, self.unrecorded(actor))
        self.excused.clear()
        if self.may_fail:
            self._failing_lives.add(self.life)
        if self._filling.random() < 0.5 or not self._ready.is_set():
            self._machine.disk.capacity = None
        if ending.kind == "power":
            self._machine.disk = self._machine.disk.crash(Random(self.random.getrandbits(64)))
            self._machine.reboot()
            self.trace.operation("the power was cut")
        else:
            self._machine.disk = self._machine.disk.kill()
            if self.random.random() < 0.2:
                self._machine.reboot()

    async def _be(self, host: SimHost, daemon: Daemon, faults: Faults) -> None:
        """The process around the daemon, as `irerd.main` is."""

        def ready() -> None:
            self._on_ready(host, daemon, faults)

        try:
            await daemon.run(ready)
            with trio.move_on_after(1):
                while daemon.outbox_bytes():  # noqa: ASYNC110 - as irerd.main does
                    await trio.sleep(0.01)
            if not host.dead and not self._stopping:
                self.blame("the daemon ended though nobody stopped it")
            self._clean = not host.dead
        except* Exception as failed:
            self._judge_end(list(_leaves(failed)), host, faults)
        host.die()

    def _judge_end(self, leaves: list[BaseException], host: SimHost, faults: Faults) -> None:
        """What the daemon ended by. After a failed call to the disk it may; by a fault of its own, never."""
        if host.dead:
            return
        self.trace.operation(f"the daemon stops: {[repr(leaf) for leaf in leaves]}")
        if self._machine.disk.capacity is not None and not self._ready.is_set() and all(map(_wants_room, leaves)):
            return  # a start needs a little room
        if not (faults.failed and all(isinstance(leaf, WriteFailed | SyncFailed | Full | OSError) for leaf in leaves)):
            self.blame(f"the daemon ended by {[repr(leaf) for leaf in leaves]}; a call to the disk had failed: {faults.failed}")

    def _on_ready(self, host: SimHost, daemon: Daemon, faults: Faults) -> None:
        if daemon.damage:
            self.trace.operation(f"damage: {daemon.damage}")
            self._damaged = True
            self.ledger_id = self.ledger_id or daemon.ledger_id  # its cursors name it, though nothing else was ever served
            if not faults.failed:
                self.blame(f"recovery found damage where nothing was damaged: {daemon.damage}")
            self._up.set()
            return
        self.trace.operation(f"ready: {daemon.dispatch.next_seq}, torn: {daemon.torn}")
        self.oracle.recovered(self._machine.disk)
        if self.ledger_id not in ("", daemon.ledger_id):
            self.blame(f"the ledger was {self.ledger_id} and is {daemon.ledger_id}")
        self.ledger_id = daemon.ledger_id
        self._check_replay(daemon)
        if not faults.failed and (other := self.oracle.same_keys(daemon.keys)):
            self.blame(f"N3: after a start other keys are remembered of {other} than its records hold")
        self._ready.set()
        self._up.set()

    async def _serve(self, daemon: Daemon, end: Transport, credentials: Credentials) -> None:
        await daemon.serve(end, credentials)

    async def _end(self, host: SimHost, daemon: Daemon, ending: Ending) -> None:
        random = self.random
        if ending.impatient:
            await trio.sleep(random.choice((random.expovariate(1 / 0.01), random.uniform(0, 2))))
            host.die()
            return
        watch = self._watch_life(host, daemon, ending.faults)
        while self.operations < min(ending.operations, self._budget) or (ending.kind == "none" and self._unfinished):
            self._moved = trio.Event()
            with trio.move_on_after(1.0):
                await self._moved.wait()
            next(watch)
            if ending.faults.stall_at_offload is not None and random.random() < 0.02:
                break
        if ending.kind == "none":
            await self._ready.wait()
            while self._machine.disk.capacity is not None or self.full:  # noqa: ASYNC110 - `_fill` makes room
                await trio.sleep(0.25)
            await self._settle(daemon)
        if ending.kind in ("none", "stop") and ending.faults.stall_at_offload is None:
            await self._stop(host, daemon)
        else:
            await trio.sleep(random.expovariate(1 / 0.002))
            host.die()

    def _watch_life(self, host: SimHost, daemon: Daemon, faults: Faults) -> Iterator[None]:
        """Cheap checks as it goes."""
        while True:
            self._check_replay(daemon)
            yield

    # --- a full disk ------------------------------------------------------------------------------------------------------

    async def _fill(self, daemon: Daemon, fills: bool) -> None:
        """Somebody fills the disk, perhaps before this start, and later makes room."""
        random, disk = self._filling, self._machine.disk
        if disk.capacity is None and self.full:
            self.roomy_since = trio.current_time()
        self.full = began_full = disk.capacity is not None
        await self._ready.wait()
        while fills or disk.capacity is not None:
            if disk.capacity is None:
                await self._wait_operations(random.randint(5, 60))
                if self.operations >= self._budget:
                    return
                disk.capacity = disk._used() + random.choice((0, 1_000, 10_000, 50_000))
                self.full = True
                self.trace.operation(f"the disk is full but for {disk.free()} bytes")
            said, found = self.oracle.fulls.total(), self.found_full
            await self._wait_operations(random.randint(30, 150))
            await self._make_room(daemon)
            if self.found_full > found and self.oracle.fulls.total() == said and not began_full:
                self.blame("calls were told that the disk is full, and no log says so")
            began_full = False

    async def _wait_operations(self, count: int) -> None:
        until = self.operations + count
        while self.operations < min(until, self._budget):
            self._moved = trio.Event()
            with trio.move_on_after(1.0):
                await self._moved.wait()

    async def _make_room(self, daemon: Daemon) -> None:
        """Writes go on by themselves, and what could not be put on record while it was full is by then."""
        was = [log for log in daemon._logs if (writer := daemon.dispatch.writer) is not None and writer.full(log)]
        self._machine.disk.capacity = None
        self.trace.operation(f"the disk has room again; full were {was}")
        await trio.sleep(BACK_S * (3 if self._faults.slow else 1))
        self._returns += bool(was)
        writer = daemon.dispatch.writer
        if self.may_fail or self._stopping or writer is None:
            return
        still = [log for log in daemon._logs if writer.full(log)]
        if still:  # a log that comes to be twice its size only now says so, begins a segment, and is looked at once more
            await trio.sleep(BACK_S)
            still = [] if self.may_fail or self._stopping else [log for log in still if writer.full(log)]
        if still:
            self.blame(f"the disk has had room for a while, and {still} take nothing")
        self.full = False
        self.roomy_since = trio.current_time()
        if missing := [actor for actor in self.refusals_told if self.unrecorded(actor) > 0]:
            self.blame(f"refusals of {missing} were told on a full disk, and are not on record now that it has room")

    def _check_replay(self, daemon: Daemon) -> None:
        """N6, whenever nothing waits to be written: the live state is what the records add up to."""
        writer = daemon.dispatch.writer
        if writer is None or self.may_fail or not self.oracle.watching:
            return
        for log, expected in self.oracle.logs.items():
            if writer.unwritten(log) or daemon.dispatch.next_seq[log] != expected.end:
                return
        for engine in self.oracle.same_as(daemon.world.states):
            self.blame(f"N6: the live state of {engine} is not what its log replays to")

    async def _stop(self, host: SimHost, daemon: Daemon) -> None:
        self.trace.operation("the daemon is asked to stop")
        self._stopping = True
        await self._up.wait()
        with trio.move_on_after(CLEAN_STOP_S * (10 if self.may_fail else 1)):
            if self._unfinished:
                await trio.sleep(self.random.choice((0.0, 0.0005, self.random.expovariate(1 / 0.002))))
            self._owe()
            await daemon.stop()
            await trio.sleep_forever()  # `_be` ends this life
        if host.dead:
            return
        if not self.may_fail:
            self.blame(f"a stop takes longer than {CLEAN_STOP_S:g} s")
        host.die()

    def _owe(self) -> None:
        """What was asked by now is answered before the daemon is gone, unless its caller reads too slowly."""
        if self.may_fail:
            return
        for caller in self._callers:
            line = caller.line
            if line is None or line.life != self.life:  # what was asked of a process that is gone is not owed by this one
                continue
            if not (line.over or line.faulted or line.pause_s) and line.welcomed.is_set():
                self._owed[line.name] = {id for id, asked in line.open.items() if asked.sent}

    # --- the end ----------------------------------------------------------------------------------------------------------

    async def _settle(self, daemon: Daemon) -> None:
        """Nothing fails any more and nobody asks for more: everything comes to its end, and then nothing moves."""
        with trio.move_on_after(SETTLE_S) as patience:
            while self._restless(daemon):  # noqa: ASYNC110 - looks from outside at what has no event
                await trio.sleep(0.25)
        if patience.cancelled_caught:
            self.blame(f"after {SETTLE_S:g} s without faults something still goes on: {self._restless(daemon)}")
        self._check_replay(daemon)
        if not self.may_fail:
            self.oracle.replayed(self._machine.disk)
            self._check_rest(daemon)
        before = daemon.effects.timers_fired
        await trio.sleep(STILL_S)
        fired = daemon.effects.timers_fired - before
        if fired > STILL_TIMERS_MAX:
            self.blame(f"{fired} timers fired within {STILL_S:g} s in which there was nothing to do")

    def _check_rest(self, daemon: Daemon) -> None:
        """What must be so once nothing moves any more."""
        if missing := [actor for actor in self.refusals_told if self.unrecorded(actor) > 0]:
            self.blame(f"refusals of {missing} were told and are not on record")
        fleet, pools = daemon.world.states["entity"], daemon.world.states["resource"]
        held = {name for name, task in pools.tasks.items() if name.startswith("entity:") and task.state not in ENDED}
        claimed = {f"entity:{claim}" for claim, entity in fleet.claims.items() if fleet.entities[entity].claimed}
        if held != claimed:
            self.blame(f"awake entities hold {sorted(claimed)}; the pools have {sorted(held)} for them")
        tree = self._machine.disk.tree()
        for secret in self.shelf.shown:
            for path, data in tree.items():
                if secret.encode() in data:
                    self.blame(f"{path} holds a secret that was shown")

    def _restless(self, daemon: Daemon) -> str:
        """What is not at its end yet."""
        fleet, book = daemon.world.states["entity"], daemon.world.states["circuit"]
        if left := [*fleet.releases, *book.open, *book.unqueued, *book.entity_asks]:
            return f"entities and orders: {left[:5]}"
        counts = [(name, pool.counts) for name, pool in daemon.world.states["resource"].pools.items()]
        for name, count in counts:
            if going := {state: count[state] for state in ("waiting", "blocked", "retrying", "running") if count[state]}:
                return f"pool {name}: {going}"
        for caller in self._callers:
            if caller.line is None or caller.line.over:
                continue
            for id, asked in caller.line.open.items():
                if asked.following is None:
                    return f"{caller.line.name}: call {id} {asked.method} is unanswered"
                position = asked.following.position
                if position is None:
                    return f"{caller.line.name}: a stream has not begun"
                ends = {log: self.oracle.logs[log] for log in position}
                missed = [
                    record.seq
                    for log, expected in ends.items()
                    for record in expected.records[position[log] :]
                    if asked.following.wants(log, record)
                ]
                if missed:
                    return f"{caller.line.name}: a stream has not shown {len(missed)} records yet"
        return ""


def _forget(host: SimHost, daemon: Daemon) -> None:
    """The memory of a process goes with it: what waits in one that is killed would keep itself, for some of it is never tidied."""
    dispatch = daemon.dispatch
    for part in (dispatch.writer, dispatch, daemon.refusals, daemon, host._watched, host):
        if part is not None:
            vars(part).clear()


def _wants_room(leaf: BaseException) -> bool:
    return isinstance(leaf, Full) or (isinstance(leaf, OSError) and leaf.errno == errno.ENOSPC)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
