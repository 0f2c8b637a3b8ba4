"""Jobs on a Dask cluster: the same functions as in the pool of workers here, under the same rules, by `[compute] backend = "dask"`.

Dask is loaded when the first job goes there, in threads beside the loop, and never by an idle irerd. What comes back is checked as
from a worker of our own. No secret and no name of a host leaves: a job's spec, and the files that it reads. While the scheduler is
not to be reached, jobs are done here.
"""

import json
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import trio

from core.settings import Compute
from irerd.workers import ATTEMPTS, Figures, Progress, Workers, WorkFailed, _Patience

GOES = frozenset({"bssn_check", "chunk", "null_profile", "profile", "simulate", "tda_profile"})
"""Jobs that are worth the way. What people wait for at a screen, and what must answer in milliseconds, stays here."""
DRILLS = frozenset({"chatter", "crash", "digest", "echo"})
AHEAD = 2
"""Jobs that are handed over for each thread of the cluster: one that runs, and one that is there when it ends."""
CONNECT_S, WORKERS_S, AGAIN_S, FETCH_S = 10.0, 20.0, 30.0, 600.0
WORKERS_LOOKS = 50
INPUT_BYTES_MAX = 1 << 30
CODE = re.compile(r"^[a-z][a-z-]{0,39}\Z")
PLACE = re.compile(r"^[ -~]{0,200}\Z")


class Unreachable(Exception):
    """The cluster is not there, or has no worker: the job is done here."""


class Call(NamedTuple):
    """What one job takes along, and where what it brings back goes."""

    name: str
    spec: bytes
    inputs: dict[str, bytes]
    outputs: list[str]
    attempt_s: float
    outcome_bytes_max: int
    on_progress: Callable[[Progress], None] | None
    patient: bool


class Cluster:
    """In the place of a pool: `run` and `figures` are those of `Workers`."""

    def __init__(self, local: Workers, settings: Compute, instance: str) -> None:
        self._local = local
        self._settings = settings
        self._instance = instance
        self._client: Any = None
        self._connecting = trio.Lock()
        self._not_before = 0.0
        self._heard: dict[str, Callable[[dict[str, Any]], None]] = {}
        self._eager, self._patient = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._waiting = self._running = self._begun = self._lost = 0
        self._threads = 1
        self._closed = False
        self.goes = GOES

    def figures(self) -> Figures:
        here = self._local.figures()
        return Figures(
            here.running + self._running,
            here.waiting + self._waiting,
            here.started + self._begun,
            here.lost + self._lost,
            here.pids,
        )

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
        """The outcome of a job, or WorkFailed. Cancelling this ends the job on the cluster too."""
        if name in self.goes:
            with suppress(Unreachable):
                inputs, outputs = await trio.to_thread.run_sync(_files_of, name, spec)
                call = Call(name, spec, inputs, outputs, attempt_s or float("inf"), outcome_bytes_max, on_progress, patient)
                return await self._there(call, timeout_s, on_attempt)
        return await self._local.run(
            name,
            spec,
            timeout_s=timeout_s,
            attempt_s=attempt_s,
            outcome_bytes_max=outcome_bytes_max,
            on_progress=on_progress,
            on_attempt=on_attempt,
            patient=patient,
        )

    async def close(self) -> None:
        self._closed = True
        if self._client is not None:
            with suppress(Exception):
                await trio.to_thread.run_sync(partial(self._client.close, timeout=CONNECT_S))
            self._client = None

    # --- the way there ----------------------------------------------------------------------------------------------------

    async def _connected(self) -> Any:
        """A client, and how many threads there are for it. Cancellation waits for a connection that is being made."""
        async with self._connecting:
            if trio.current_time() < self._not_before:
                raise Unreachable
            if self._client is None:
                token = trio.lowlevel.current_trio_token()

                def hear(event: tuple[float, Any]) -> None:
                    said = event[1]
                    if isinstance(said, dict):
                        with suppress(trio.RunFinishedError):
                            token.run_sync_soon(self._told, said)

                try:
                    self._client = await trio.to_thread.run_sync(_connect, self._settings, self._topic, hear)
                except Exception as error:
                    self._not_before = trio.current_time() + AGAIN_S
                    raise Unreachable from error
            for _ in range(WORKERS_LOOKS):  # those that died come back in a moment
                if threads := await self._counted():
                    self._threads = threads
                    return self._client
                await trio.sleep(WORKERS_S / WORKERS_LOOKS)
            self._not_before = trio.current_time() + AGAIN_S
            raise Unreachable

    async def _counted(self) -> int:
        try:
            return await trio.to_thread.run_sync(_threads, self._client)
        except Exception as error:
            await self._gone()
            raise Unreachable from error

    async def _gone(self) -> None:
        client, self._client = self._client, None
        self._not_before = trio.current_time() + AGAIN_S
        if client is not None:
            with suppress(Exception):
                await trio.to_thread.run_sync(partial(client.close, timeout=1.0))

    @property
    def _topic(self) -> str:
        return f"irer-{self._instance}"

    def _told(self, said: dict[str, Any]) -> None:
        key = said.get("key")
        if isinstance(key, str) and key in self._heard:
            self._heard[key](said)

    # --- one job ----------------------------------------------------------------------------------------------------------

    async def _there(self, call: Call, timeout_s: float, on_attempt: Callable[[int], None] | None) -> bytes:
        if self._closed:
            raise WorkFailed("closed")
        client = await self._connected()
        await self._turn(call.patient)
        try:
            with trio.move_on_after(timeout_s):
                return await self._attempts(client, call, on_attempt)
            raise WorkFailed("timeout")
        finally:
            self._running -= 1
            if not self._eager.unpark():
                self._patient.unpark()

    async def _turn(self, patient: bool) -> None:
        """No more is handed over than the cluster will begin soon: the rest waits here, where it can still be given up."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._waiting >= self._local._limits.waiting:
            raise WorkFailed("busy")
        self._waiting += 1
        try:
            while self._running >= AHEAD * self._threads:
                await (self._patient if patient else self._eager).park()
        finally:
            self._waiting -= 1
        self._running += 1

    async def _attempts(self, client: Any, call: Call, on_attempt: Callable[[int], None] | None) -> bytes:
        """Dask gives a job of a lost worker to another by itself, as often as its scheduler allows; each time counts here."""
        used, why = 0, "died"
        while used < ATTEMPTS:
            one = _Attempt(self, client, call, used, on_attempt)
            try:
                return await one.outcome()
            except _Given as given:
                used += max(1, one.begun)
                why = given.why
                self._lost += 1
        raise WorkFailed("poison", why)


class _Given(Exception):
    """This attempt brought nothing."""

    def __init__(self, why: str) -> None:
        self.why = why


class _Attempt:
    """One task of Dask's, which its scheduler may begin more than once."""

    def __init__(self, cluster: Cluster, client: Any, call: Call, before: int, on_attempt: Callable[[int], None] | None) -> None:
        self.begun = 0
        self._cluster, self._client, self._call, self._before, self._on_attempt = cluster, client, call, before, on_attempt
        cluster._begun += 1
        self._key = f"irer-{cluster._instance}-{os.getpid()}-{cluster._begun}"
        self._ended, self._stirred = trio.Event(), trio.Event()
        self._patience = _Patience(call.on_progress)
        self._wrong: deque[str] = deque(maxlen=1)

    async def outcome(self) -> bytes:
        cluster = self._cluster
        cluster._heard[self._key] = self._hear
        future = None
        try:
            future = await trio.to_thread.run_sync(self._submit)
            token = trio.lowlevel.current_trio_token()
            future.add_done_callback(lambda _: _soon(token, self._ended.set))
            await self._wait()
            return await self._fetched(future)
        finally:
            del cluster._heard[self._key]
            if future is not None:
                with trio.CancelScope(shield=True), suppress(Exception):
                    await trio.to_thread.run_sync(partial(_forget, future))

    def _submit(self) -> Any:
        from irerd.work.remote import perform

        call = self._call
        return self._client.submit(
            perform,
            call.name,
            call.spec,
            self._cluster._topic,
            call.inputs,
            call.outputs,
            key=self._key,
            pure=False,
            retries=0,
            priority=0 if call.patient else 10,
        )

    async def _wait(self) -> None:
        """Until it is done; every word of progress renews its patience, and only once it has begun is there any to lose."""
        while not self._ended.is_set():
            self._stirred = trio.Event()
            silent = trio.fail_after(self._call.attempt_s) if self.begun else trio.CancelScope()
            try:
                with silent:
                    await self._either()
            except trio.TooSlowError:
                raise _Given("hung") from None
            if self._wrong:
                raise _Given(self._wrong[0])

    async def _either(self) -> None:
        async with trio.open_nursery() as nursery:

            async def first(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, self._ended)
            nursery.start_soon(first, self._stirred)

    def _hear(self, said: dict[str, Any]) -> None:
        match said:
            case {"began": int(pid)}:
                self.begun += 1
                if self._before + self.begun > ATTEMPTS:
                    self._wrong.append("died")
                elif self._on_attempt:
                    self._on_attempt(pid)
            case {"done": int(done), "total": int(total)} if 0 <= done <= total <= 2**53:
                try:
                    self._patience.hear(Progress(done, total))
                except Exception:
                    self._wrong.append("lied")
            case _:
                self._wrong.append("lied")
        self._stirred.set()

    async def _fetched(self, future: Any) -> bytes:
        try:
            said = await trio.to_thread.run_sync(partial(future.result, timeout=FETCH_S), abandon_on_cancel=True)
        except Exception as error:
            name = type(error).__name__
            if name == "KilledWorker":
                raise _Given("died") from None
            if name == "MemoryError":
                raise _Given("memory") from None
            await self._cluster._gone()  # cancelled by a scheduler that went away, or what it sent was not to be read
            raise Unreachable from error
        return await trio.to_thread.run_sync(_believed, said, self._call)


def _soon(token: trio.lowlevel.TrioToken, function: Callable[[], None]) -> None:
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(function)


def _believed(said: Any, call: Call) -> bytes:
    """The outcome, its files stored under the names that were given; or why there is none."""
    match said:
        case ("failed", "memory", *_):
            raise _Given("memory")
        case ("failed", str(code), *more) if CODE.match(code) and all(isinstance(one, str) and PLACE.match(one) for one in more):
            raise WorkFailed(code, more[0] if more else "")
        case ("done", bytes(outcome), list(files)) if len(files) == len(call.outputs):
            if len(outcome) > call.outcome_bytes_max:
                raise WorkFailed("bad-output", "too long")
            if not all(content is None or isinstance(content, bytes) for content in files):
                raise _Given("lied")
        case _:
            raise _Given("lied")
    for path, content in zip(call.outputs, files, strict=True):
        if content is not None:
            _store(path, content)
    return outcome


def _store(path: str, content: bytes) -> None:
    """As a worker of ours does; whether it is what the outcome says it is, is for the one who asked to see."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        raise WorkFailed("no-file") from None


def _files_of(name: str, spec: bytes) -> tuple[dict[str, bytes], list[str]]:
    """The content of the files that a job reads, by their names, and the names of those it writes."""
    if name in DRILLS or name == "simulate":
        return {}, []
    said = json.loads(spec)
    inputs = {path: _content(path) for member in ("artefact", "source") if isinstance(path := said.get(member), str)}
    return {path: content for path, content in inputs.items() if content is not None}, list(said.get("files", ()))


def _content(path: str) -> bytes | None:
    """None where there is none: the job then says so itself. Too much of it is not worth the way."""
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_size > INPUT_BYTES_MAX:
                raise Unreachable
            return file.read()
    except OSError:
        return None


# --- Dask, in threads -----------------------------------------------------------------------------------------------------


def _connect(settings: Compute, topic: str, hear: Callable[[tuple[float, Any]], None]) -> Any:
    import distributed

    dask: Any = distributed
    tls = {name: getattr(settings, name) or None for name in ("tls_ca_file", "tls_cert_file", "tls_key_file")}
    security = dask.Security(
        tls_ca_file=tls["tls_ca_file"],
        tls_client_cert=tls["tls_cert_file"],
        tls_client_key=tls["tls_key_file"],
        require_encryption=settings.scheduler.startswith("tls:"),
    )
    client = dask.Client(settings.scheduler, timeout=CONNECT_S, security=security, set_as_default=False, name="irerd")
    client.subscribe_topic(topic, hear)
    return client


def _threads(client: Any) -> int:
    return sum(client.ncores().values())


def _forget(future: Any) -> None:
    future.cancel(force=True)
    future.release()


@asynccontextmanager
async def open_cluster(local: Workers, settings: Compute, instance: str) -> AsyncIterator[Cluster]:
    """Nothing is connected before the first job that goes there."""
    cluster = Cluster(local, settings, instance)
    try:
        yield cluster
    finally:
        with trio.CancelScope(shield=True):
            await cluster.close()
