"""The machine that irerd believes it runs on: clocks, disk, child processes, and the ways in which each of them fails.

A `Machine` outlives processes. A `SimHost` is one process on it and dies for good: after its death no call returns and nothing
it does reaches the disk or a caller.
"""

import errno
import json
import os
import tempfile
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar, cast

import trio

from core.settings import Compute
from irerd import worker
from irerd.host import OUTPUT_BYTES_MAX, ChildEnd, Commits, Output
from irerd.workers import Figures, Progress, WorkFailed
from state.fs import Files, Stat, write_all
from state.prove import prove_consistency
from state.verify import verify_files
from tests.sim.disk import CHANGES, Killed, NthFails, SimFiles
from tests.sim.oracle import Oracle
from tests.sim.trace import Trace

T = TypeVar("T")

START_WALL_US = 1_767_225_600_000_000
WALL_JUMP_US_MAX = 6 * 3600 * 1_000_000
"""All jumps together stay within a day, so that no idempotency key may be forgotten."""
LOOKS_PER_INSTANT_MAX = 200_000
"""Looks at a clock that does not move: more is a loop without an end."""

KillAt = Literal["before", "after", "halfway"]


class Machine:
    """What stays when a process ends."""

    def __init__(self, random: Random, trace: Trace) -> None:
        self.random = random
        self.trace = trace
        self.disk = SimFiles()
        self._wall_offset_us = 0
        self._boots = 0
        self._booted_us = 0
        self._slept_us = 0

    def now_us(self) -> int:
        return START_WALL_US + self.virtual_us() + self._slept_us + self._wall_offset_us

    def mono_us(self) -> int:
        return 2_000_000 + self.virtual_us() + self._slept_us - self._booted_us

    @staticmethod
    def virtual_us() -> int:
        return round(trio.current_time() * 1e6)

    @property
    def boot_id(self) -> str:
        return f"{self._boots:08x}"

    def reboot(self) -> None:
        self._boots += 1
        self._booted_us = self.virtual_us() + self._slept_us

    def jump(self) -> None:
        """Somebody sets the wall clock."""
        self._wall_offset_us = self.random.randint(-WALL_JUMP_US_MAX, WALL_JUMP_US_MAX)
        self.trace.operation(f"the wall clock is now {self._wall_offset_us / 1e6:+.6f} s off")

    def sleep(self) -> None:
        """The machine sleeps: trio's clock stands still, the others go on."""
        slept_us = self.random.randint(1_000, 5_000_000)
        self._slept_us += slept_us
        self.trace.operation(f"the machine slept for {slept_us / 1e6:.6f} s")


@dataclass
class Faults:
    """What will go wrong with the files of one process. Nothing, unless told."""

    kill_at_change: int | None = None
    kill: KillAt = "before"
    kill_only: Sequence[str] = CHANGES
    """Which changes are counted."""
    nth: int | None = None
    error: int | Literal["short"] = errno.EIO
    only: Sequence[str] = CHANGES
    always: bool = False
    stall_at_offload: int | None = None
    """From this one on, calls away from the loop never return."""
    slow: float = 0.0
    """How often a call away from the loop takes long."""
    failed: bool = field(default=False, init=False)
    """Whether a call has failed by now: the daemon may then stop, or serve less. A full disk is no such failure."""


def as_it_is(files: Files) -> Files:
    return files


@dataclass(frozen=True)
class Spoiled:
    """What is made worse on purpose, to see that it shows: between the daemon and its files, or below what the oracle sees."""

    files: Callable[[Files], Files] = as_it_is
    medium: Callable[[Files], Files] = as_it_is
    faults: Callable[[Random], Faults] | None = None
    """What fails in each life instead of what chance would have."""
    fills: float = 0.6
    """How often a life in which no call fails is one on a disk that fills up."""


UNSPOILED = Spoiled()


class Watched:
    """The files of one process: each change is traced, told to the oracle, and may be the last."""

    def __init__(
        self,
        files: Files,
        faults: Faults,
        oracle: Oracle,
        trace: Trace,
        disk: SimFiles,
        die: Callable[[], None],
    ) -> None:
        self._files = files
        self._disk = disk
        self._faults = faults
        self._oracle = oracle
        self._trace = trace
        self._die = die
        self._paths: dict[int, str] = {}
        self._links: dict[str, str] = {}
        """Of a file with two names, the newer by the older."""
        self._changes = 0
        self.dead = False

    def _change(self, name: str, path: str, call: Callable[..., T], *arguments: Any, data: bytes = b"") -> T:
        if self.dead:
            raise Killed
        self._changes += name in self._faults.kill_only
        self._oracle.before_change(name, path, self._disk)
        last = self._changes == self._faults.kill_at_change and name in self._faults.kill_only
        if last and self._faults.kill != "after":
            if self._faults.kill == "halfway" and name == "write" and len(data) > 1:
                half = data[: len(data) // 2]
                self._oracle.wrote(path, half)
                call(arguments[0], half)
            self._end(name, path)
        try:
            result = call(*arguments)
        except OSError as error:
            self._trace.operation(f"disk: {name} {path} fails: {errno.errorcode.get(error.errno or 0)}")
            room = name != "fsync_dir"  # a sync of names wants none
            full = room and error.errno == errno.ENOSPC and self._disk.capacity is not None
            self._faults.failed = self._faults.failed or not (full or error.errno in (errno.ENOENT, errno.EEXIST))
            raise
        self._trace.note(f"disk {name} {path}", data)
        self._tell(name, path, arguments, data if name != "write" else data[: cast(int, result)])
        if last:
            self._end(name, path)
        return result

    def _tell(self, name: str, path: str, arguments: tuple[Any, ...], data: bytes) -> None:
        """The oracle hears of every change that was made, also of the last one."""
        oracle = self._oracle
        if name == "write":
            oracle.wrote(path, data)
        elif name == "open" and arguments[1] & (os.O_EXCL | os.O_TRUNC):
            oracle.begun(path)
        elif name == "fdatasync":
            oracle.synced(path)
        elif name == "fsync_dir":
            oracle.directory_synced(path)
        elif name == "rename":
            oracle.renamed(arguments[0], path, self._disk)
        elif name == "unlink":
            oracle.unlinked(path, self._disk)

    def _end(self, name: str, path: str) -> None:
        self._trace.operation(f"the process ends {self._faults.kill} {name} {path}")
        self._die()
        raise Killed

    # --- changes ------------------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            fd = self._change("open", path, self._files.open, path, flags, mode)
        else:
            fd = self._look(self._files.open, path, flags, mode)
        self._paths[fd] = path
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        whole = bytes(data)
        return self._change("write", self._paths[fd], self._files.write, fd, whole, data=whole)

    def begin_sync(self, fd: int) -> None:
        self._look(self._files.begin_sync, fd)

    def bell(self, fd: int) -> int | None:
        return self._files.bell(fd)

    def fdatasync(self, fd: int) -> None:
        self._change("fdatasync", self._paths[fd], self._files.fdatasync, fd)

    def fsync(self, fd: int) -> None:
        self._change("fsync", self._paths[fd], self._files.fsync, fd)

    def fsync_dir(self, path: str) -> None:
        self._change("fsync_dir", path, self._files.fsync_dir, path)

    def link(self, source: str, target: str) -> None:
        self._change("link", target, self._files.link, source, target)
        self._links[source] = target

    def rename(self, source: str, target: str) -> None:
        self._change("rename", target, self._files.rename, source, target)
        moved = {target: self._links.pop(target, f"{target} that was"), source: target}
        self._paths.update({fd: moved[path] for fd, path in self._paths.items() if path in moved})

    def unlink(self, path: str) -> None:
        self._change("unlink", path, self._files.unlink, path)

    def truncate(self, fd: int, size: int) -> None:
        self._change("truncate", self._paths[fd], self._files.truncate, fd, size)

    def reserve(self, fd: int, offset: int, length: int) -> bool:
        return self._change("reserve", self._paths[fd], self._files.reserve, fd, offset, length)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        self._change("mkdir", path, self._files.mkdir, path, mode)

    def chmod(self, path: str, mode: int) -> None:
        self._change("chmod", path, self._files.chmod, path, mode)

    # --- looks --------------------------------------------------------------------------------------------------------

    def _look(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except FileNotFoundError:
            raise
        except OSError:
            self._faults.failed = True
            raise

    def close(self, fd: int) -> None:
        if not self.dead:
            self._files.close(fd)
            self._paths.pop(fd, None)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return self._look(self._files.pread, fd, size, offset)

    def free(self) -> int:
        return self._look(self._files.free)

    def drop_cache(self, fd: int) -> None:
        if self.dead:
            raise Killed
        self._look(self._files.drop_cache, fd)

    def stat(self, fd: int) -> Stat:
        return self._look(self._files.stat, fd)

    def stat_path(self, path: str) -> Stat | None:
        return self._look(self._files.stat_path, path)

    def list(self, path: str) -> list[str]:
        return self._look(self._files.list, path)

    def lock(self, fd: int) -> bool:
        return self._look(self._files.lock, fd)


class SimHost:
    """One process: what `irerd.host.Host` asks for."""

    def __init__(self, machine: Machine, faults: Faults, oracle: Oracle, spoiled: "Spoiled") -> None:
        self._machine = machine
        self._faults = faults
        self._trace = machine.trace
        self.random = Random(machine.random.getrandbits(64))
        self._luck = Random(machine.random.getrandbits(64))
        self.boot_id = machine.boot_id
        self.on_death: Callable[[], None] = lambda: None
        self.dead = False
        self.spinning = False
        self.flaky = True
        """Whether a child process may fail to start."""
        files: Files = machine.disk
        if faults.nth is not None:
            error = faults.error if faults.error == "short" else OSError(faults.error, os.strerror(faults.error))
            only = ("write",) if faults.error == "short" else faults.only
            files = NthFails(files, faults.nth, error, only, always=faults.always)
        files = spoiled.medium(files)
        self._watched = Watched(files, faults, oracle, self._trace, machine.disk, self.die)
        self.files: Files = spoiled.files(self._watched)
        self._away: dict[int, trio.CancelScope] = {}
        self._offloads = 0
        self._looked_at = -1
        self._looks = 0

    # --- its end ------------------------------------------------------------------------------------------------------

    def die(self) -> None:
        """kill -9: not one instruction more."""
        if self.dead:
            return
        self.dead = self._watched.dead = True
        for scope in list(self._away.values()):
            scope.cancel()
        self.on_death()

    # --- what the daemon asks -----------------------------------------------------------------------------------------

    def now_us(self) -> int:
        return self._machine.now_us()

    def mono_us(self) -> int:
        now = self._machine.mono_us()
        if now != self._looked_at:
            self._looked_at, self._looks = now, 0
        self._looks += 1
        if self._looks > LOOKS_PER_INSTANT_MAX and not self.dead:
            self.spinning = True
            self.die()
        return now

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def draw(self) -> bytes:
        return self.random.getrandbits(256).to_bytes(32, "big")

    async def offload(self, function: Callable[..., T], *args: object) -> T:
        """The call happens at some moment, and its end is noticed at a later one."""
        self._offloads += 1
        number = self._offloads
        stalls = self._faults.stall_at_offload is not None and number >= self._faults.stall_at_offload
        with trio.CancelScope(shield=not self.dead) as away:
            self._away[number] = away
            try:
                await trio.sleep(float("inf") if stalls else self._pause_s())
                if not self.dead:
                    result = function(*args)
                    await trio.sleep(self._pause_s())
                    return result
            except Killed:
                pass
            except BaseException:
                if not self.dead:
                    raise
            finally:
                del self._away[number]
        await trio.sleep_forever()
        raise AssertionError("a process that has ended goes on")

    async def commit(self, log: Commits, data: bytes, *, alone: bool) -> None:
        """At times away from the loop, at times written by it and synced away; and at times, where it may, the loop does both and
        nobody else runs meanwhile.
        """
        how = self._luck.random() if self._faults.stall_at_offload is None else 0.0
        if how < (0.25 if alone else 0.5):
            await self.offload(log.commit, data)
            return
        try:
            if alone and how < 0.75:
                log.commit(data)
                return
            log.begin(data)
        except Killed:
            await trio.sleep_forever()
            raise
        await self.offload(log.sync)

    def _pause_s(self) -> float:
        luck = self._luck.random()
        if luck < self._faults.slow:
            return self._luck.uniform(0.05, 2.0)
        return 0.0 if luck < 0.3 else self._luck.expovariate(1 / 0.0004)

    async def run_child(self, module: str, request: bytes, on_output: Output | None = None) -> ChildEnd:
        asked = json.loads(request)
        luck = self._luck
        fate = luck.choices(
            ("ok", "failed", "crashed", "garbage", "hangs", "floods", "cannot-start"),
            (60, 10, 8, 8, 3 if on_output is None else 0, 3, 8 if self.flaky else 0),
        )[0]
        self._trace.operation(f"child {asked['name']} {asked['params']}: {fate}")
        if fate == "cannot-start":
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        await trio.sleep(float("inf") if fate == "hangs" else luck.choice((0.0, luck.uniform(0, 0.05), luck.uniform(0, 4))))
        if fate == "crashed":
            return ChildEnd(luck.choice((1, 3, -9, -11)), b"", False)
        if fate == "floods":
            return ChildEnd(-9, bytes(OUTPUT_BYTES_MAX + 1), True)
        if fate == "failed":
            output = b'{"ok": false, "code": "io-error"}\n'
        elif fate == "garbage" and on_output is None:
            output = luck.choice(GARBAGE)
        else:
            output = self._work(asked)
        if on_output is None:
            return ChildEnd(0, output, False)
        while output:
            size = luck.randint(1, len(output))
            await on_output(output[:size])
            output = output[size:]
        return ChildEnd(0, b"", False)

    def _work(self, asked: dict[str, Any]) -> bytes:
        """What `irerd.jobs` would print, worked out on the simulated disk."""
        params = asked["params"]
        if asked["name"] == "hash_tree":
            result: dict[str, Any] = {"root": params["root"], "sha256": "0" * 64, "files": 3, "bytes": 1234}
            return json.dumps({"ok": True, "code": "ok", "result": result}).encode() + b"\n"
        if asked["name"] == "prove":
            path = prove_consistency(self._machine.disk, params["log"], params["since"], params["size"])
            proof = {"ok": True, "code": "ok", "result": {"path": [b64encode(node).decode() for node in path]}}
            return json.dumps(proof).encode() + b"\n"
        logs = [params["log"]] if asked["name"] == "verify_log" else params["logs"]
        rows = list(verify_files(self._machine.disk, logs, asked["durable"]))
        ends = [row for row in rows if row["done"]]
        if asked["name"] == "verify_log":
            if not ends:
                return b'{"ok": false, "code": "no-such-log"}\n'
            if not ends[0]["ok"]:
                return b'{"ok": false, "code": "chain-broken"}\n'
            result = {"log": ends[0]["log"], "records": ends[0]["records"]}
        else:
            result = {"ok": all(row["ok"] for row in ends), "logs": len(ends), "records": sum(row["records"] for row in ends)}
        lines = [*(rows if asked["name"] == "hashchain" else ()), {"ok": True, "code": "ok", "result": result}]
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    @asynccontextmanager
    async def computing(self, ledger: str, settings: Compute) -> AsyncIterator[None]:
        yield

    async def work(
        self,
        name: str,
        spec: bytes,
        *,
        timeout_s: float,
        on_progress: Callable[[Progress], None] | None = None,
        patient: bool = False,
    ) -> bytes:
        """The very job, worked out in this process at some moment of its own; its files lie on the simulated disk."""
        luck = self._luck
        await trio.sleep(luck.choice((0.0, luck.uniform(0, 0.05), luck.uniform(0, 4))))
        told: list[Progress] = []
        with tempfile.TemporaryDirectory() as place:
            asked, back = self._brought(json.loads(spec), Path(place))
            os.environ.update(worker.NUMERIC_ENVIRONMENT)
            answer = worker.attempt(name, json.dumps(asked).encode(), lambda done, total: told.append(Progress(done, total)))
            try:
                for path, real in back.items():
                    if real.exists():
                        self._put(path, real.read_bytes())
            except Killed:
                await trio.sleep_forever()
        if on_progress is not None and told:
            on_progress(told[-1])
        self._trace.operation(f"work {name}: {'done' if isinstance(answer, bytes) else answer[0]}")
        if isinstance(answer, bytes):
            return answer
        raise WorkFailed(answer[0], answer[1] if len(answer) > 1 else "")

    def _brought(self, asked: dict[str, Any], place: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """The job's files moved to where it can reach them, and where those that it writes belong on the simulated disk."""
        back: dict[str, Path] = {}
        if "artefact" in asked:
            path = on_disk(asked["artefact"])
            (place / "artefact").write_bytes(self._machine.disk.content(path))
            return {**asked, "artefact": str(place / "artefact")}, back
        for number, file in enumerate(asked.get("files", [])):
            back[on_disk(file)] = place / str(number)
        return ({**asked, "files": [str(real) for real in back.values()]} if back else asked), back

    def _put(self, path: str, data: bytes) -> None:
        """As a worker writes it: whole, and synced."""
        fd = self.files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        write_all(self.files, fd, data)
        self.files.fsync(fd)
        self.files.close(fd)

    def work_figures(self) -> Figures | None:
        return None

    def resident_bytes(self) -> int:
        return 50_000_000

    def user_name(self, uid: int) -> str | None:
        return None if uid % 2 else f"user{uid}"


def on_disk(path: str) -> str:
    """A file that a worker was told of, by its name in the state directory, where each of a run's stands in a directory."""
    return "/".join(Path(path).parts[-2:])


GARBAGE = (
    b"",
    b"\n",
    b"Segmentation fault\n",
    b'{"ok": true}\n',
    b'{"ok": true, "code": "No Such Code!", "result": {}}\n',
    b'{"ok": true, "code": "ok", "result": {"x": 1e999}}\n',
    b'{"ok": true, "code": "ok", "result": {"x": 9007199254740993}}\n',
    b'{"ok": true, "code": "ok", "result": {"x": "\\ud800"}}\n',
    b'{"ok": true, "code": "ok", "result": [1]}\n',
    b'{"ok": true, "code": "ok", "result": {"\\u0000": 1}}\n',
    b'{"ok": true, "code": "ok", "result": {"x": "' + b"y" * 5_000 + b'"}}\n',
    b'{"ok": true, "code": "ok", "result": {"x": "' + b"y" * 20_000 + b'"}}\n',
    b'{"ok": true, "code": "ok", "result": ' + b'{"x":' * 40 + b"1" + b"}" * 40 + b"}\n",
    b"\xff\xfe\n",
    b'{"ok": true, "code": "' + b"c" * 100 + b'", "result": {}}\n',
)
