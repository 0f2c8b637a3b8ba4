"""The one task that writes logs: takes everything waiting, seals it, appends, syncs, and only then lets replies out.

A group is one round over all logs; the next group is written only after every sync of this one has returned. A caller may be
cancelled, a group never. A failed sync ends the daemon: it is never retried. Nothing is queued for which no room is claimed, so
a full disk is met before a command is decided and never by a write.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
import trio

from irerd.host import Host
from state.log import PADDING_BYTES_MAX, Full, Log, Sealed, SyncFailed
from state.room import Fullness
from state.seal import BATCH_BYTES_MAX, RECORDS_MAX, Pending

HEAD_IDLE_US = 200_000
HEAD_AGE_US_MAX = 5_000_000
SEAL_US = 10_000_000
"""How long something may be durable before a checkpoint vouches for it."""
LONE_BYTES_MAX = 16_384
"""A group so short that it is synced in less time than it takes to hand it over."""
SHORT_BYTES_MAX = 65_536
"""A batch so short that the loop writes and hashes it itself."""
STEPS_TO_DECIDE = 3
"""Turns of the loop after a group that somebody waited for: what is decided then is part of the next."""
CLAIM_US = 20_000_000
"""Room that lasted a shorter time was too little: more is claimed at once, up to so much."""
CLAIMED_MORE_MAX = 33_554_432
FULL_RETRY_US = 1_000_000
"""How often a full disk is looked at again. Nothing looks at one that is not full."""


class Receipt(NamedTuple):
    log: str
    seq: int
    event_hash: str


_receipt: Callable[[tuple[str, int, str]], Receipt] = partial(tuple.__new__, Receipt)
"""As `Receipt._make`, which counts again what is counted already."""


class WriteFailed(Exception):
    """The group was not synced. Nobody may be told that it happened, nor that it did not."""


Release = Callable[[Receipt | None], None]
"""Called with the receipt once the command is durable, or with None when its sync failed."""


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    records: Sequence[Pending]
    size: int
    needs: Mapping[str, int]
    release: Release
    room: int
    """The most it can take on disk, as a batch of its own."""


class _Pause(NamedTuple):
    """Work on a log for which its queue must be empty, and what to do once it is done."""

    work: Callable[[Log], None]
    then: Callable[[], None]


class Sealer(Protocol):
    """Makes the checkpoints of logs (irerd/seals.py)."""

    def behind(self, log: Log) -> bool: ...

    def seal(self, log: Log) -> bool:
        """False where there is no room for it. Blocks."""
        ...


class _Unsealed:
    """Makes no checkpoints."""

    def behind(self, log: Log) -> bool:
        return False

    def seal(self, log: Log) -> bool:
        return True


class LogQueue:
    """One log with the commands that wait for it."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.waiting: deque[_Waiting] = deque()
        self.watchers: deque[tuple[int, Callable[[], None]]] = deque()
        self.durable_seq = log.next_seq - 1
        self.bytes = 0
        """The most that all that waits can take on disk."""
        self.full = log.full
        """Taken over from the log between two steps of the loop, so that nobody is ahead of `after_look`."""
        self.pause: _Pause | None = None
        self._claimed_us: int | None = None
        self._more = 0

    def claim(self, now_us: int) -> int:
        """How much room to claim now beside the usual: a busy log is not to be held up for it several times a second."""
        short = self.full is None and self._claimed_us is not None and now_us - self._claimed_us < CLAIM_US
        self._more = min(2 * self._more + self.log.room.ahead_bytes, CLAIMED_MORE_MAX) if short else 0
        self._claimed_us = now_us
        return self.bytes + self._more

    def fits(self, size: int, *, own: bool = False) -> bool:
        """Whether room is claimed for a command of at most `size` bytes. irer's own may draw on half of its part."""
        own_bytes = self.log.room.own_bytes // 2 if own else 0
        return size + PADDING_BYTES_MAX <= self.free + own_bytes

    @property
    def free(self) -> int:
        """Room that is claimed and neither irer's own nor spoken for."""
        return self.log.reserved_bytes - self.log.room.own_bytes - self.bytes

    @property
    def low(self) -> bool:
        """Whether more room is claimed before the next group: the largest command still fits."""
        return self.free < self.log.room.ahead_bytes * 5 // 8

    def take(self) -> _Waiting:
        command = self.waiting.popleft()
        self.bytes -= command.room
        return command


class Writer:
    def __init__(self, host: Host, logs: Mapping[str, Log], after_group: Callable[[set[str]], None]) -> None:
        self._host = host
        self._queues = {name: LogQueue(log) for name, log in logs.items()}
        self._after_group = after_group
        self.durable_ends = {name: log.next_seq for name, log in logs.items()}
        """Of each log, the record after the last durable one. Replaced where it changes, so that who has it has one moment."""
        self.after_look: Callable[[str], None] = lambda log: None
        """Called after each look at a full log, and when one has become full or has room again."""
        self.sealer: Sealer = _Unsealed()
        self._to_seal: dict[str, list[trio.Event]] = {}
        """Logs whose checkpoint somebody waits for."""
        self._unsealed_since_us: int | None = None
        """Since when something is durable that no checkpoint vouches for."""
        self._busy: set[str] = set()
        """Logs for which something waits. One may be in it whose queue was emptied since."""
        self._full = {name for name, log in logs.items() if log.full is not None}
        self._group: dict[str, list[_Waiting]] = {}
        self._hastened = False
        """Whether the loop itself might wait for the sync of the last group, and has not let others run since."""
        self._work = trio.Event()
        self._stirred = False
        """Whether it was told already of commands that came since it last looked."""
        self._asked = False
        """Whether anything but commands may have come: a turn, a pause, a checkpoint that somebody waits for."""
        self._advanced: trio.Event | None = None
        """Where somebody waits for the next group."""
        self._stopping = False
        self._idle_since_us: int | None = None
        """Since when it waits for work, while it does."""
        self._wound = trio.Event()
        """Set where the timer would wake too late."""
        self._timer_us = float("inf")
        """When the timer looks again whether something is due."""
        self._quiet = False
        """Whether it was woken because something is due, and not by work."""
        self._head_written_us = host.mono_us()
        self._head_pause_us = HEAD_IDLE_US
        self._looked_us = host.mono_us()
        self._prepared = False
        self.releasing: dict[Callable[[], None], None] | None = None
        """While what is durable is told, what is to be called once all of it is: each once."""
        self.groups = 0
        self.sync_us_max = 0
        self.failed = False
        self._turns = 0
        self._turn_asked = False
        self._upkeep_began_us: int | None = None

    # --- what callers see -------------------------------------------------------------------------------------------

    def waiting(self, log: str) -> int:
        return len(self._queues[log].waiting)

    def full(self, log: str) -> Fullness | None:
        """Why this log takes no commands, if it does not."""
        return self._queues[log].full

    @property
    def writing(self) -> bool:
        """Whether a group is on its way to the disk. Nobody ever sees one that the loop itself waits for."""
        return bool(self._group)

    @property
    def at_work(self) -> bool:
        """Whether commands wait to be written, or are being written."""
        return bool(self._group or self._busy)

    @property
    def resting(self) -> bool:
        """Whether no group is on its way to the disk."""
        return not self._group

    def durable_seq(self, log: str) -> int:
        return self._queues[log].durable_seq

    def behind(self, log: str, seq: int) -> bool:
        """Whether this record is decided and not yet on disk. A damaged log has no writer and is never behind."""
        return log in self._queues and self._queues[log].durable_seq < seq

    def log(self, name: str) -> Log:
        return self._queues[name].log

    def queue(self, log: str) -> LogQueue:
        """For whoever asks several things of one log."""
        return self._queues[log]

    def submit(self, log: str, records: Sequence[Pending], size: int, needs: Mapping[str, int], release: Release) -> None:
        """Queue one command's records, of at most `size` bytes. `needs` are records of other logs that must be durable first."""
        queue, room = self._queues[log], size + PADDING_BYTES_MAX
        queue.waiting.append(_Waiting(records, size, needs, release, room))
        queue.bytes += room
        self._busy.add(log)
        if not self._stirred:
            self._stirred = True
            self._work.set()

    def when_durable(self, log: str, seq: int, release: Callable[[], None]) -> None:
        """Call back once this record is on disk, at once if it is."""
        queue = self._queues[log]
        if queue.durable_seq >= seq:
            release()
        else:
            queue.watchers.append((seq, release))

    def unwritten(self, log: str) -> list[Pending]:
        """What was decided and is not durable yet, in order."""
        commands = [*self._group.get(log, ()), *self._queues[log].waiting]
        return [record for command in commands for record in command.records]

    def pause(self, log: str, work: Callable[[Log], None], then: Callable[[], None]) -> None:
        """Have blocking work done on this log once all that waits for it is durable. Submit nothing to it until `then`."""
        self._queues[log].pause = _Pause(work, then)
        self._ask()

    async def wait_advanced(self) -> None:
        """Return after the next group."""
        if self._advanced is None:
            self._advanced = trio.Event()
        await self._advanced.wait()

    async def wait_sealed(self, log: str) -> None:
        """Return once a checkpoint of what is durable now was made, or was found to have no room."""
        done = trio.Event()
        self._to_seal.setdefault(log, []).append(done)
        self._ask()
        await done.wait()

    @property
    def turns(self) -> int:
        """How often the task has got on: groups written, and turns that were asked for."""
        return self._turns + self.groups

    def ask_turn(self) -> None:
        """Have the task do nothing, the way a long group is written: in its turn, and away from the loop."""
        self._turn_asked = True
        self._ask()

    def _ask(self) -> None:
        self._asked = True
        self._work.set()

    def upkeep_s(self) -> float:
        """How long the upkeep of a log has been going on; 0 where there is none."""
        return 0.0 if self._upkeep_began_us is None else max(self._host.mono_us() - self._upkeep_began_us, 1) / 1e6

    def stop(self) -> None:
        """Write what is waiting and the heads, then let `run` return."""
        self._stopping = True
        self._work.set()

    # --- the task ---------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Claim room, so that it is known what is full before anything is decided. `run` does it too."""
        if not self._prepared:
            self._prepared = True
            for queue in self._queues.values():
                await self._reserve(queue)

    async def run(self) -> None:
        failed: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_time)
                try:
                    await self.prepare()
                    await self._run()
                except (SyncFailed, OSError) as failure:
                    self._fail({})  # of a head or a claim of room: nobody waits for it, and what follows is unknown
                    failed = WriteFailed(_said(failure))
                    failed.__cause__ = failure
                except WriteFailed as failure:
                    failed = failure
                nursery.cancel_scope.cancel()
        finally:
            if failed is not None:
                raise failed  # out here, as it is: a nursery would make a group of it, and one that is cancelled would hide it

    async def _run(self) -> None:
        while True:
            if self._asked:
                await self._serve()
            group = self._group = self._take()
            if group:
                await self._write(group)
            elif self._stopping and not self._busy:
                await self._write_heads()
                await self._seal_all()
                return
            else:
                await self._idle()

    async def _serve(self) -> None:
        """Whatever was asked for but the writing of commands."""
        self._asked = False
        await self._take_turn()
        await self._serve_pauses()
        await self._serve_seals()

    async def _take_turn(self) -> None:
        if self._turn_asked:
            self._turn_asked = False
            await self._host.offload(_nothing)
            self._turns += 1

    async def _serve_pauses(self) -> None:
        for queue in self._queues.values():
            if queue.pause is None:
                continue
            if queue.waiting:
                self._asked = True
                continue
            pause, queue.pause = queue.pause, None
            self._upkeep_began_us = self._host.mono_us()
            try:
                await self._host.offload(pause.work, queue.log)
            except Exception as failure:
                self._fail({})
                raise WriteFailed(_said(failure)) from failure
            self._upkeep_began_us = None
            self._durable_to(queue, queue.log.next_seq - 1)
            pause.then()
            if queue.full is None and queue.low:
                await self._reserve(queue)
            self._release_watchers(queue)
            self._tell_advanced()

    def _tell_advanced(self) -> None:
        if self._advanced is not None:
            self._advanced.set()
            self._advanced = None

    async def _idle(self) -> None:
        """Wait for work; when it stays quiet, write the heads; when a log is full, see whether it still is."""
        if self._asked or self._stopping:
            return
        self._work, self._stirred = trio.Event(), False
        self._idle_since_us = self._host.mono_us()
        if self._timer_us > self._idle_since_us + self._head_pause_us:
            self._wound.set()
        await self._work.wait()
        self._idle_since_us = None
        self._hastened = False
        if self._quiet:
            self._quiet = False
            if self._heads_behind():
                await self._write_heads()
            await self._seal_in_time()
            await self._look_at_full()

    async def _keep_time(self) -> None:
        """Wake the task when something is due. One timer for as long as it takes: a new one for each group would show."""
        while True:
            wait_s = self._patience_s()
            if wait_s == 0:
                self._quiet, self._idle_since_us = True, None
                self._work.set()
                continue
            self._wound, self._timer_us = trio.Event(), self._host.mono_us() + wait_s * 1e6
            with trio.move_on_after(wait_s):
                await self._wound.wait()

    def _patience_s(self) -> float:
        """How long from now there is nothing to do without work: for ever, while heads and room are in order, or it has work."""
        if self._idle_since_us is None:
            return float("inf")
        due_us = min(
            self._idle_since_us + self._head_pause_us if self._heads_behind() else float("inf"),
            self._look_due_us() if self._any_full() else float("inf"),
            self._seal_due_us(),
        )
        return max(0.0, due_us - self._host.mono_us()) / 1e6

    def _any_full(self) -> bool:
        return bool(self._full)

    def _look_due_us(self) -> int:
        return self._looked_us + FULL_RETRY_US

    async def _look_at_full(self) -> None:
        if self._any_full() and self._host.mono_us() >= self._look_due_us():
            free = 0
            for queue in self._queues.values():
                if queue.full is not None:
                    await self._reserve(queue, free)
                    free = max(free, queue.log.free_seen)

    def _met(self, command: _Waiting) -> bool:
        return not command.needs or all(self._queues[log].durable_seq >= seq for log, seq in command.needs.items())

    def _take(self) -> dict[str, list[_Waiting]]:
        """Everything that may be written now, whole commands only, in order, within one batch a log."""
        group: dict[str, list[_Waiting]] = {}
        for name in [name for name in self._queues if name in self._busy]:
            queue = self._queues[name]
            waiting = queue.waiting
            taken: list[_Waiting] = []
            records = size = 0
            while waiting:
                command = waiting[0]
                records += len(command.records)
                size += command.size
                if taken and (records > RECORDS_MAX or size > BATCH_BYTES_MAX):
                    break
                if command.needs and not self._met(command):
                    break
                taken.append(waiting.popleft())
                queue.bytes -= command.room
            if taken:
                group[name] = taken
            if not waiting:
                self._busy.discard(name)
        return group

    async def _write(self, group: Mapping[str, list[_Waiting]]) -> None:
        began = self._host.mono_us()
        sealed = {
            name: self._sealed(self._queues[name].log, [command.records for command in commands])
            for name, commands in group.items()
        }
        try:
            self._hastened = self._is_lone(sealed)
            if len(sealed) == 1:
                [(name, batch)] = sealed.items()
                await self._commit(name, batch)
            else:
                async with trio.open_nursery() as nursery:
                    for name, batch in sealed.items():
                        nursery.start_soon(self._commit, name, batch)
        except* (SyncFailed, OSError) as failures:
            self._fail(group)
            raise WriteFailed(", ".join(map(_said, failures.exceptions))) from failures
        self.groups += 1
        self.sync_us_max = max(self.sync_us_max, self._host.mono_us() - began)
        self._group = {}
        for name, batch in sealed.items():
            self._durable_to(self._queues[name], batch.first_seq + len(batch.hashes) - 1)
        self._release(group, sealed)
        waited_for = self._advanced is not None
        self._tell_advanced()
        self._after_group(set(group))
        await self._upkeep(group)
        if waited_for:
            for _ in range(STEPS_TO_DECIDE):
                await trio.lowlevel.checkpoint()

    async def _commit(self, name: str, batch: Sealed) -> None:
        log = self._queues[name].log
        if len(batch.data) > SHORT_BYTES_MAX:
            await self._host.offload(log.commit, batch.data)
        else:
            await self._host.commit(log, batch.data, alone=self._hastened)

    def _release(self, group: Mapping[str, list[_Waiting]], sealed: Mapping[str, Sealed]) -> None:
        """Tell all who wait for what is durable now. What that fills is sent once all is told, and by no task of its own."""
        then = self.releasing = {}
        try:
            for name, commands in group.items():
                first_seq, hashes, place = sealed[name].first_seq, sealed[name].hashes, -1
                for command in commands:
                    place += len(command.records)
                    command.release(_receipt((name, first_seq + place, hashes[place])))
            for name in group:
                self._release_watchers(self._queues[name])
        finally:
            self.releasing = None
        for call in then:
            call()

    def _is_lone(self, sealed: Mapping[str, Sealed]) -> bool:
        """Whether it is little that is written, nothing waits behind it, and others had their turn since the last such group."""
        little = len(sealed) == 1 and all(len(batch.data) <= LONE_BYTES_MAX for batch in sealed.values())
        return little and not self._hastened and not self._busy

    def _sealed(self, log: Log, commands: Sequence[Sequence[Pending]]) -> Sealed:
        self.taken(log.name, log.next_seq, commands)
        return log.seal(commands[0] if len(commands) == 1 else [record for records in commands for record in records])

    def taken(self, log: str, first_seq: int, commands: Sequence[Sequence[Pending]]) -> None:
        """These commands are written now, from this record on: for whoever follows what is written."""

    def _durable_to(self, queue: LogQueue, seq: int) -> None:
        queue.durable_seq = seq
        self.durable_ends = {**self.durable_ends, queue.log.name: seq + 1}

    def _release_watchers(self, queue: LogQueue) -> None:
        while queue.watchers and queue.watchers[0][0] <= queue.durable_seq:
            queue.watchers.popleft()[1]()

    async def _upkeep(self, touched: Mapping[str, object]) -> None:
        """Room ahead of the next batch, and heads that are not older than five seconds."""
        for name in touched:
            queue = self._queues[name]
            if queue.full is None and queue.low:
                await self._reserve(queue)
        if self._full:
            await self._look_at_full()
        if self._host.mono_us() - self._head_written_us > HEAD_AGE_US_MAX:
            await self._write_heads()
        await self._seal_in_time()

    async def _reserve(self, queue: LogQueue, free_before: int = 0) -> None:
        before = queue.full
        try:
            await self._host.offload(queue.log.reserve, queue.claim(self._host.mono_us()), free_before)
        except Full:
            self._looked_us = self._host.mono_us()
        queue.full = queue.log.full
        (self._full.discard if queue.full is None else self._full.add)(queue.log.name)
        if before is not None or queue.full is not None:
            self.after_look(queue.log.name)

    def _heads_behind(self) -> bool:
        return any(queue.log.head_batch < queue.log.next_batch - 1 for queue in self._queues.values())

    async def _write_heads(self) -> None:
        """One that finds no room is tried again later: the older head stays true."""
        written = True
        for queue in self._queues.values():
            if queue.log.head_batch < queue.log.next_batch - 1:
                written = await self._host.offload(queue.log.write_head) and written
        self._head_pause_us = HEAD_IDLE_US if written else FULL_RETRY_US
        self._head_written_us = self._host.mono_us()

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _seal_due_us(self) -> float:
        """When the next checkpoints are to be made: never, while there is nothing new to vouch for."""
        if not self._unsealed():
            self._unsealed_since_us = None
            return float("inf")
        if self._unsealed_since_us is None:
            self._unsealed_since_us = self._host.mono_us()
        return self._unsealed_since_us + SEAL_US

    def _unsealed(self) -> list[Log]:
        return [queue.log for queue in self._queues.values() if self.sealer.behind(queue.log)]

    async def _seal_in_time(self) -> None:
        since, now_us = self._unsealed_since_us, self._host.mono_us()
        if (since is None or now_us >= since + SEAL_US) and now_us >= self._seal_due_us():
            await self._seal_all()

    async def _seal_all(self) -> None:
        """One that finds no room is tried again ten seconds later: the older one stays true."""
        if behind := self._unsealed():
            await self._host.offload(self._seal_each, behind)
        self._unsealed_since_us = None

    def _seal_each(self, logs: Sequence[Log]) -> None:
        for log in logs:
            self.sealer.seal(log)

    async def _serve_seals(self) -> None:
        """Those that somebody waits for."""
        while self._to_seal:
            log, waiting = self._to_seal.popitem()
            await self._host.offload(self.sealer.seal, self._queues[log].log)
            for done in waiting:
                done.set()
            if not self._unsealed():
                self._unsealed_since_us = None

    def _fail(self, group: Mapping[str, list[_Waiting]]) -> None:
        """Nothing is written any more: all who wait learn that the effect is unknown."""
        self.failed = True
        for commands in group.values():
            for command in commands:
                command.release(None)
        for queue in self._queues.values():
            while queue.waiting:
                queue.take().release(None)


def _nothing() -> None:
    """What a turn does that was only asked for."""


def _said(error: BaseException) -> str:
    """What may be shown of it: the log, the step and the system's words, never a value."""
    return str(error) if isinstance(error, SyncFailed) else type(error).__name__
