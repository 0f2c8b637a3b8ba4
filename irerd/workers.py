"""The pool of worker processes: jobs by name, bytes in and bytes out, each with an end.

Imports nothing numeric. A worker is untrusted: what it sends is bounded and checked here, and one that dies, hangs, grows or lies
is killed with all it started, which costs its job one attempt and the daemon nothing. Shared memory is made, read and unlinked
on this side only, and never mapped: a worker that cuts a segment short must not be able to stop the daemon.
"""

import errno
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Annotated, Literal, NamedTuple

import msgspec
import trio

from irerd.worker import FRAME, HEAD_BYTES_MAX, INLINE_BYTES_MAX, PROGRESS_GAP_S

ATTEMPTS = 3
SHARED_MEMORY = Path("/dev/shm")
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "JAX_PLATFORMS")
"""What a worker may know of the daemon's environment. Everything else stays here: secrets, and systemd's sockets."""
MESSAGES_AT_ONCE, MESSAGES_PER_S = 64, 2 / PROGRESS_GAP_S
"""A worker that says more than this of itself is broken or lying."""

Why = Literal["died", "memory", "hung", "lied"]


class Limits(NamedTuple):
    """Of the whole pool."""

    memory_bytes: int = 4 << 30
    """What a worker's data may take while a job runs."""
    retire_bytes: int = 2 << 30
    """A worker that holds more than this after a job is replaced."""
    retire_jobs: int = 200
    waiting: int = 1_024
    """Jobs that may wait for a worker."""


class Progress(NamedTuple):
    done: int
    total: int


class WorkFailed(Exception):
    """The job has no outcome. `code` is the job's own or one of the pool's: `poison`, `timeout`, `busy`, `closed`, `no-process`,
    `no-memory`, `bad-output`, `unknown-job`, `bad-spec`, `broken`. `detail` is for the journal: why the last attempt was lost,
    or the place of a fault of ours."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code} ({detail})" if detail else code)
        self.code = code
        self.detail = detail

    @property
    def reason(self) -> str:
        """For people: a job that every worker had too little memory for is no poison to look for."""
        return "memory" if (self.code, self.detail) == ("poison", "memory") else self.code


class Figures(NamedTuple):
    running: int
    waiting: int
    started: int
    """Processes, since the pool was opened."""
    lost: int
    """Attempts, not counting those that were cancelled or ran out of their time."""
    pids: tuple[int, ...]


# --- what a worker may say ------------------------------------------------------------------------------------------------

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Head(msgspec.Struct, tag_field="kind", forbid_unknown_fields=True):
    job: Count


class _Told(_Head, tag="progress"):
    done: Count
    total: Count


class _Want(_Head, tag="want"):
    size: Count


class _Done(_Head, tag="done"):
    pass


class _Failed(_Head, tag="failed"):
    code: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z-]{0,39}$")]
    place: Annotated[str, msgspec.Meta(max_length=200, pattern="^[ -~]*$")]


_heads = msgspec.json.Decoder(_Told | _Want | _Done | _Failed)


class _Lost(Exception):
    """This attempt brought nothing, and its worker is of no more use."""

    def __init__(self, why: Why) -> None:
        self.why = why


# --- shared memory --------------------------------------------------------------------------------------------------------


class Segments:
    """Named pieces of shared memory of one ledger. A name holds the ledger's, so that after kill -9 the next daemon on the same
    ledger, and no other, finds what was left."""

    def __init__(self, instance: str, folder: Path = SHARED_MEMORY) -> None:
        if not (instance.isascii() and instance.isalnum() and len(instance) <= 64):
            raise ValueError("an instance is named by at most 64 ASCII letters and digits")
        self._folder = folder
        self._prefix = f"irer-{instance}-"
        self._made = 0

    def sweep(self) -> int:
        """Unlink what a killed daemon left. Only while no other daemon has this ledger."""
        swept = 0
        if not self._folder.is_dir():
            return 0  # where there is no shared memory, nothing was left in it
        for path in self._folder.iterdir():
            if path.name.startswith(self._prefix):
                with suppress(FileNotFoundError, PermissionError):
                    path.unlink()
                    swept += 1
        return swept

    def make(self, size: int, content: bytes = b"") -> "Segment":
        """All its memory is taken now: a write to a page that is not to be had would end the process by a signal."""
        self._made += 1
        path = self._folder / f"{self._prefix}{os.getpid()}-{self._made}"
        segment = Segment(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), size)
        try:
            os.posix_fallocate(segment.descriptor, 0, size)
            at = 0
            while at < len(content):
                at += os.pwrite(segment.descriptor, memoryview(content)[at:], at)
        except BaseException:
            segment.close()
            raise
        return segment


class Segment(NamedTuple):
    path: Path
    descriptor: int
    size: int

    def read(self) -> bytes:
        """A copy: what the worker changes afterwards changes nothing here. Raises _Lost if it is not all there."""
        pieces = []
        at = 0
        while at < self.size:
            piece = os.pread(self.descriptor, self.size - at, at)
            if not piece:
                raise _Lost("lied")
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


# --- one worker -----------------------------------------------------------------------------------------------------------


class _Worker:
    """A process that is this one's child and leads a group of its own."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.pid = process.pid
        self.jobs = 0
        self._process = process
        self._in = process.stdin
        self._out = process.stdout
        self._buffer = bytearray()
        self._stopped = False

    async def send(self, head: Mapping[str, object], body: bytes = b"") -> None:
        text = json.dumps(head).encode()
        try:
            await self._in.send_all(FRAME.pack(len(text), len(body)) + text + body)
        except trio.BrokenResourceError:
            raise _Lost("died") from None

    async def receive(self) -> tuple[_Told | _Want | _Done | _Failed, bytes]:
        head_size, body_size = FRAME.unpack(await self._exactly(FRAME.size))
        if head_size > HEAD_BYTES_MAX or body_size > INLINE_BYTES_MAX:
            raise _Lost("lied")
        try:
            head = _heads.decode(await self._exactly(head_size))
        except (msgspec.DecodeError, msgspec.ValidationError):
            raise _Lost("lied") from None
        if head.job != self.jobs or (body_size and not isinstance(head, _Done)):
            raise _Lost("lied")
        return head, await self._exactly(body_size)

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            chunk = await self._out.receive_some()
            if not chunk:
                raise _Lost("died")
            self._buffer += chunk
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def alive(self) -> bool:
        """Without reaping it: its group keeps its number until `stop` has ended the whole of it."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def resident_bytes(self) -> int:
        """As the kernel counts it; nobody asks the worker."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return sys.maxsize

    async def stop(self) -> None:
        """Kill it and all it started, and wait until it is gone."""
        with trio.CancelScope(shield=True):
            if not self._stopped:  # later its number may be another's
                self._stopped = True
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            await self._in.aclose()
            await self._out.aclose()
            await self._process.wait()


class _Slot:
    """A core and the worker on it, if one was started."""

    def __init__(self, core: int) -> None:
        self.core = core
        self.worker: _Worker | None = None


# --- the pool -------------------------------------------------------------------------------------------------------------


class Order(NamedTuple):
    """One call of `Workers.run`."""

    name: str
    spec: bytes
    attempt_s: float
    outcome_bytes_max: int
    on_progress: Callable[[Progress], None] | None
    on_attempt: Callable[[int], None] | None


class Workers:
    """Made by `open_workers`."""

    def __init__(
        self,
        instance: str,
        environment: Mapping[str, str],
        cache: Path | None,
        cores: Sequence[int],
        limits: Limits,
        command: Sequence[str],
        folder: Path,
    ) -> None:
        self.segments = Segments(instance, folder)
        self._environment = {name: environment[name] for name in PASSED_ON if name in environment}
        self._cache = str(cache.absolute()) if cache else ""
        self._limits = limits
        self._command = command
        self._slots = [_Slot(core) for core in cores]
        self._free = self._slots[::-1]
        self._idle = len(self._free)
        """Of the free ones, those that nobody was given yet."""
        self._eager, self._patient = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._waiting = self._running = self._started = self._lost = 0
        self._closed = False

    def figures(self) -> Figures:
        pids = tuple(slot.worker.pid for slot in self._slots if slot.worker)
        return Figures(self._running, self._waiting, self._started, self._lost, pids)

    async def run(
        self,
        name: str,
        spec: bytes,
        *,
        timeout_s: float,
        attempt_s: float | None = None,
        outcome_bytes_max: int = 64 << 20,
        on_progress: Callable[[Progress], None] | None = None,
        on_attempt: Callable[[int], None] | None = None,
        patient: bool = False,
    ) -> bytes:
        """The outcome of a job, or WorkFailed. Cancelling this kills the worker that has the job.

        The time runs from when the job has a worker, over all its attempts; a worker that is silent for `attempt_s` is taken for
        hung and costs an attempt. `on_attempt` hears the process id of each worker that gets the job. A patient job waits until no
        other does; once it has a worker it keeps it.
        """
        order = Order(name, spec, attempt_s or math.inf, outcome_bytes_max, on_progress, on_attempt)
        slot = await self._slot(patient)
        self._running += 1
        try:
            with trio.move_on_after(timeout_s):
                return await self._attempts(slot, order)
            raise WorkFailed("timeout")
        finally:
            self._running -= 1
            self._give_back(slot)

    async def warm_up(self, *, timeout_s: float, spec: bytes = b"") -> None:
        """Compile the usual program once, then load it in every worker."""
        await self.run("warm_up", spec, timeout_s=timeout_s)
        order = Order("warm_up", spec, math.inf, 0, None, None)
        held: list[_Slot] = []
        failures: list[WorkFailed] = []

        async def warm(slot: _Slot) -> None:
            try:
                await self._attempts(slot, order)
            except WorkFailed as failed:
                failures.append(failed)

        try:
            for _ in self._slots:
                held.append(await self._slot(False))
            with trio.move_on_after(timeout_s) as limit:
                async with trio.open_nursery() as nursery:
                    for slot in held:
                        nursery.start_soon(warm, slot)
        finally:
            for slot in held:
                self._give_back(slot)
        if limit.cancelled_caught or failures:
            raise failures[0] if failures else WorkFailed("timeout")

    async def _slot(self, patient: bool) -> _Slot:
        if self._closed:
            raise WorkFailed("closed")
        if self._waiting >= self._limits.waiting:
            raise WorkFailed("busy")
        self._waiting += 1
        try:
            await self._turn(patient)
        finally:
            self._waiting -= 1
        # One that runs already, and of those the one used last: whoever asks now and then warms up one worker, not all.
        slot = next((slot for slot in reversed(self._free) if slot.worker), self._free[-1])
        self._free.remove(slot)
        return slot

    async def _turn(self, patient: bool) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._idle:
            self._idle -= 1
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await (self._patient if patient else self._eager).park()  # whoever is woken has the worker that was given back

    def _give_back(self, slot: _Slot) -> None:
        self._free.append(slot)
        if not (self._eager.unpark() or self._patient.unpark()):
            self._idle += 1

    async def _attempts(self, slot: _Slot, order: Order) -> bytes:
        why: Why = "died"
        for _ in range(ATTEMPTS):
            try:
                return await self._attempt(slot, order)
            except _Lost as lost:
                why = lost.why
            except trio.TooSlowError:
                why = "hung"
            self._lost += 1
        raise WorkFailed("poison", why)

    async def _attempt(self, slot: _Slot, order: Order) -> bytes:
        """Whatever ends this early, also cancellation, ends the worker."""
        sound = False
        made: list[Segment] = []
        try:
            worker = await self._worker(slot)
            outcome = await self._exchange(worker, order, made)
            sound = True
        finally:
            for segment in made:
                segment.close()
            if slot.worker and not (sound and self._may_stay(slot.worker)):
                await slot.worker.stop()
                slot.worker = None
        if isinstance(outcome, WorkFailed):
            raise outcome
        return outcome

    def _may_stay(self, worker: _Worker) -> bool:
        return worker.jobs < self._limits.retire_jobs and worker.resident_bytes() <= self._limits.retire_bytes

    async def _worker(self, slot: _Slot) -> _Worker:
        if self._closed:
            raise WorkFailed("closed")
        if slot.worker and not slot.worker.alive():
            await slot.worker.stop()  # it died while it had nothing to do: no job pays for that
            slot.worker = None
        if slot.worker:
            return slot.worker
        with trio.CancelScope(shield=True):  # a process that was started has an owner, whatever happens meanwhile
            worker = slot.worker = await self._start()
        await worker.send({"core": slot.core, "memory_bytes": self._limits.memory_bytes, "cache": self._cache})
        return worker

    async def _start(self) -> _Worker:
        try:
            process = await trio.lowlevel.open_process(
                list(self._command),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env=self._environment,
                start_new_session=True,
                cwd="/",
            )
        except OSError:
            raise WorkFailed("no-process") from None
        self._started += 1
        return _Worker(process)

    async def _exchange(self, worker: _Worker, order: Order, made: list[Segment]) -> bytes | WorkFailed:
        worker.jobs += 1
        head = {"job": worker.jobs, "name": order.name, "segment": ""}
        if len(order.spec) <= INLINE_BYTES_MAX:
            await worker.send(head, order.spec)
        else:
            await worker.send({**head, "segment": str((await self._segment(len(order.spec), made, order.spec)).path)})
        if order.on_attempt:
            order.on_attempt(worker.pid)
        return await self._answer(worker, order, made)

    async def _answer(self, worker: _Worker, order: Order, made: list[Segment]) -> bytes | WorkFailed:
        room: Segment | None = None
        patience = _Patience(order.on_progress)
        while True:
            with trio.fail_after(order.attempt_s):
                said, body = await worker.receive()
            if max(len(body), said.size if isinstance(said, _Want) else 0) > order.outcome_bytes_max:
                raise WorkFailed("bad-output", "too long")
            match said:
                case _Told(done=done, total=total) if room is None:
                    patience.hear(Progress(done, total))
                case _Failed(code="memory"):
                    raise _Lost("memory")
                case _Failed() if room is None:
                    return WorkFailed(said.code, said.place)
                case _Want(size=size) if room is None and size > INLINE_BYTES_MAX:
                    room = await self._segment(size, made)
                    await worker.send({"segment": str(room.path)})
                case _Done() if room is None:
                    return body
                case _Done() if room and not body:
                    return await trio.to_thread.run_sync(room.read)
                case _:
                    raise _Lost("lied")

    async def _segment(self, size: int, made: list[Segment], content: bytes = b"") -> Segment:
        """In a thread, which cancellation waits for: filling it takes as long as copying does."""
        try:
            segment = await trio.to_thread.run_sync(self.segments.make, size, content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT):
                raise
            raise WorkFailed("no-memory", f"{size} bytes of shared memory") from None
        made.append(segment)
        return segment

    async def close(self) -> None:
        self._closed = True
        for slot in self._slots:
            if slot.worker:
                await slot.worker.stop()
                slot.worker = None


class _Patience:
    """Progress of one job, passed on at most ten times a second, from a worker that may say it far more often."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self._on_progress = on_progress
        self._begun = trio.current_time()
        self._heard = 0
        self._passed = float("-inf")

    def hear(self, progress: Progress) -> None:
        now = trio.current_time()
        self._heard += 1
        if self._heard > MESSAGES_AT_ONCE + MESSAGES_PER_S * (now - self._begun) or progress.done > progress.total:
            raise _Lost("lied")
        if self._on_progress and now - self._passed >= PROGRESS_GAP_S:
            self._passed = now
            self._on_progress(progress)


@asynccontextmanager
async def open_workers(
    instance: str,
    environment: Mapping[str, str],
    *,
    cache: Path | None = None,
    cores: Sequence[int] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it cannot be changed
    command: Sequence[str] = (sys.executable, "-P", "-m", "irerd.worker"),
    folder: Path = SHARED_MEMORY,
) -> AsyncIterator[Workers]:
    """A pool that starts a worker, one for each core, when a job needs it, and leaves none behind.

    `instance` names the ledger; what a killed daemon of the same name left in shared memory is removed now.
    """
    chosen = sorted(os.sched_getaffinity(0)) if cores is None else list(cores)
    workers = Workers(instance, environment, cache, chosen, limits, command, folder)
    workers.segments.sweep()
    try:
        yield workers
    finally:
        with trio.CancelScope(shield=True):
            await workers.close()
