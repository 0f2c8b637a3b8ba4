"""Where the outside gets in: clock, randomness, files, threads, sockets and child processes, one place each.

The daemon sees only `Host`; `RealHost` is this machine, the simulation brings its own with a virtual clock, a simulated
disk and memory streams. Nothing else in irerd reads a clock, draws randomness or starts a process.
"""

import math
import os
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

import trio

from core.secrets import SECRET_BYTES
from core.settings import Compute
from irerd.haste import SHORT_WRITE_US, Haste
from irerd.workers import Figures, Limits, Progress, Workers, WorkFailed, open_workers
from state.fs import Files, RealFiles

if TYPE_CHECKING:
    from irerd.cluster import Cluster

T = TypeVar("T")

ID_BYTES = 16
IDS_DRAWN = 256
OUTPUT_BYTES_MAX = 1_048_576
"""What a child may print before it is stopped."""
SECRET_FILE_BYTES_MAX = 4_096

AWAY_MAX = 32
"""Calls away from the loop that begin at once, without what `trio.to_thread` does to have each take its turn."""

Output = Callable[[bytes], Awaitable[None]]


class ChildEnd(NamedTuple):
    """How a child process came out. `code` is its exit status, negative for the signal that ended it."""

    code: int
    output: bytes
    overflowed: bool


class Unreadable(Exception):
    """A file with a secret cannot be used. Says why and what to do, and nothing of what it holds."""


class Transport(Protocol):
    """A connected byte stream that never blocks the loop."""

    async def receive(self) -> bytes:
        """Some bytes, or none at the end of the stream."""
        ...

    def send_nowait(self, data: bytes) -> int:
        """How many of the bytes the other side has room for; raises BrokenPipeError when it is gone."""
        ...

    async def wait_writable(self) -> None: ...

    def close(self) -> None: ...


class Commits(Protocol):
    """What writes sealed bytes, and makes them durable."""

    def begin(self, data: bytes) -> int | None:
        """Write, and let the bytes set out. `sync` does not have to wait once the descriptor can be read that this returns."""
        ...

    def sync(self) -> None: ...

    def commit(self, data: bytes) -> None: ...


class Host(Protocol):
    files: Files
    boot_id: str
    random: random.Random

    def now_us(self) -> int:
        """Wall time. It may jump."""
        ...

    def mono_us(self) -> int:
        """Time since this boot, suspend included. It never steps back."""
        ...

    def new_id(self) -> str: ...

    def draw(self) -> bytes:
        """32 bytes nobody can guess."""
        ...

    async def offload(self, function: Callable[..., T], *args: object) -> T:
        """Run a blocking call away from the loop. It is never abandoned: cancellation waits for it."""
        ...

    async def commit(self, log: Commits, data: bytes, *, alone: bool) -> None:
        """Write and sync sealed bytes. The loop itself writes; where they come alone, and the disk has been quick of late, it waits
        for the sync too, and else it goes on while the kernel syncs.
        """
        ...

    async def run_child(self, module: str, request: bytes, on_output: Output | None = None) -> ChildEnd:
        """Run `python -m MODULE` with the request on its standard input. Cancelling this kills it and all it started."""
        ...

    def computing(self, ledger: str, settings: Compute) -> AbstractAsyncContextManager[None]:
        """While this is open, there are workers for whoever asks. None is started before the first job."""
        ...

    async def work(
        self,
        name: str,
        spec: bytes,
        *,
        timeout_s: float,
        on_progress: Callable[[Progress], None] | None = None,
        patient: bool = False,
    ) -> bytes:
        """What a numeric job answers. Raises WorkFailed. Cancelling this kills the worker that has the job.

        One that is patient lets all others go before it: somebody may wait for those.
        """
        ...

    def work_figures(self) -> Figures | None:
        """How the workers fare; None while there are none for anybody."""
        ...

    def read_secret(self, name: str) -> bytes:
        """What a file that only this user may read holds: a path, or the name of a systemd credential. Raises Unreadable."""
        ...

    async def exchange(self, path: str, data: bytes, most: int) -> bytes:
        """What a Unix socket answers to these bytes until it closes, at most so many. Raises OSError."""
        ...

    def resident_bytes(self) -> int: ...

    def user_name(self, uid: int) -> str | None: ...


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8]


def cache_directory() -> Path:
    """Where compiled programs are kept: what systemd gives, or the user's own. It may be deleted at any time."""
    if listed := os.environ.get("CACHE_DIRECTORY"):
        return Path(listed.split(":")[0])
    return Path.home() / ".cache/irer"


@asynccontextmanager
async def _pool(workers: Workers, settings: Compute, name: str) -> AsyncIterator["Workers | Cluster"]:
    """Those here, or a cluster that falls back on them."""
    if settings.backend == "local":
        yield workers
        return
    from irerd.cluster import open_cluster

    async with open_cluster(workers, settings, name) as cluster:
        yield cluster


class RealHost:
    def __init__(self, state_dir: Path, child_environment: Mapping[str, str]) -> None:
        self.files: Files = RealFiles(state_dir)
        self.boot_id = boot_id()
        self.random = random.Random(secrets.randbits(128))
        self._environment = dict(child_environment)
        self._drawn = bytearray()
        self._workers: Workers | Cluster | None = None
        self._silent_s = math.inf
        self._syncing, self._writing = Haste(), Haste(SHORT_WRITE_US)
        self._away = 0
        """Calls that are made away from the loop now."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def mono_us(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000

    def new_id(self) -> str:
        """A random UUID, version 4 (RFC 9562). Randomness is drawn for many at a time: a system call each would show."""
        if not self._drawn:
            self._drawn = bytearray(os.urandom(ID_BYTES * IDS_DRAWN))
        drawn = self._drawn[-ID_BYTES:]
        del self._drawn[-ID_BYTES:]
        drawn[6] = drawn[6] & 0x0F | 0x40
        drawn[8] = drawn[8] & 0x3F | 0x80
        text = drawn.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def draw(self) -> bytes:
        return os.urandom(SECRET_BYTES)

    async def offload(self, function: Callable[..., T], *args: object) -> T:
        if self._away == AWAY_MAX:
            with trio.CancelScope(shield=True):
                return await trio.to_thread.run_sync(function, *args)
        task, tell = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token().run_sync_soon

        def back(outcome: Any) -> None:
            tell(trio.lowlevel.reschedule, task, outcome)

        self._away += 1
        try:
            trio.lowlevel.start_thread_soon(partial(function, *args), back)
            return cast(T, await trio.lowlevel.wait_task_rescheduled(_not_given_up))
        finally:
            self._away -= 1

    async def commit(self, log: Commits, data: bytes, *, alone: bool) -> None:
        began_us = self.mono_us()
        waits = alone and self._syncing.worth(began_us)
        haste = self._syncing if waits else self._writing
        if not haste.worth(began_us):
            await self.offload(log.commit, data)
            return
        try:
            if waits:
                log.commit(data)
                return
            bell = log.begin(data)
        finally:
            ended_us = self.mono_us()
            haste.took(ended_us - began_us, ended_us)
        if bell is None:
            await self.offload(log.sync)
            return
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(bell)
        log.sync()

    async def run_child(self, module: str, request: bytes, on_output: Output | None = None) -> ChildEnd:
        # The pipe to its standard input stays open while the child may live: a child reads its end as "irerd is gone" and
        # exits, so kill -9 of the daemon leaves no orphan. (PR_SET_PDEATHSIG would fire when trio's spawning thread retires.)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", module],
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=self._environment,
            start_new_session=True,
            cwd="/",
        )
        assert process.stdin is not None and process.stdout is not None
        output = bytearray()
        overflowed = False
        try:
            try:
                await process.stdin.send_all(len(request).to_bytes(4, "big") + request)
            except trio.BrokenResourceError:
                pass  # it ended before reading; its exit status tells why
            async for received in process.stdout:
                chunk = bytes(received)
                if on_output is not None:
                    await on_output(chunk)  # while this waits, the pipe fills and the child waits too
                    continue
                output += chunk
                if len(output) > OUTPUT_BYTES_MAX:
                    overflowed = True
                    break
            if overflowed:
                _kill_group(process.pid)
            return ChildEnd(await process.wait(), bytes(output), overflowed)
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    _kill_group(process.pid)
                await process.stdin.aclose()
                await process.stdout.aclose()
                await process.wait()

    @asynccontextmanager
    async def computing(self, ledger: str, settings: Compute) -> AsyncIterator[None]:
        available = sorted(os.sched_getaffinity(0))
        wanted = settings.workers or len(available)
        cores = [available[number % len(available)] for number in range(wanted)]
        limits = Limits(settings.memory_bytes, settings.retire_bytes, settings.retire_jobs)
        name = ledger.replace("-", "")
        async with open_workers(name, self._environment, cache=cache_directory(), cores=cores, limits=limits) as workers:
            self._silent_s = settings.silent_s
            async with _pool(workers, settings, name) as self._workers:
                try:
                    yield
                finally:
                    self._workers = None

    async def work(
        self,
        name: str,
        spec: bytes,
        *,
        timeout_s: float,
        on_progress: Callable[[Progress], None] | None = None,
        patient: bool = False,
    ) -> bytes:
        if self._workers is None:
            raise WorkFailed("closed")
        silent_s = self._silent_s
        return await self._workers.run(
            name, spec, timeout_s=timeout_s, attempt_s=silent_s, on_progress=on_progress, patient=patient
        )

    def work_figures(self) -> Figures | None:
        return self._workers.figures() if self._workers is not None else None

    def read_secret(self, name: str) -> bytes:
        import stat

        path = Path(name if name.startswith("/") else os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", "/"), name))
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise Unreadable(f"{name} is no file. Put the secret, and nothing else, into a file of its own")
                if status.st_mode & 0o077 and name.startswith("/"):
                    mode = stat.S_IMODE(status.st_mode)
                    raise Unreadable(f"{name} has mode {mode:04o}, so others may read it. Run: chmod 600 {name}")
                return file.read(SECRET_FILE_BYTES_MAX).rstrip(b"\r\n")
        except FileNotFoundError:
            raise Unreadable(f"{name} is not there. Make it, or name another in the configuration") from None
        except OSError as error:
            raise Unreadable(f"{name} cannot be read ({error.strerror}). Let irerd's user read it, and nobody else") from None

    async def exchange(self, path: str, data: bytes, most: int) -> bytes:
        got = b""
        try:
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(data)
                while len(got) < most and (more := await stream.receive_some(most - len(got))):
                    got += bytes(more)
        except (trio.BrokenResourceError, RuntimeError):  # the latter: there is no such socket
            if not got:
                raise ConnectionResetError("no answer") from None
        return got

    def resident_bytes(self) -> int:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def user_name(self, uid: int) -> str | None:
        import pwd

        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return None


def _kill_group(pid: int) -> None:
    import signal

    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _not_given_up(_: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
