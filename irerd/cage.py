"""A component of a user's, run in a process that can do nothing else: `python -P -m irerd.cage`, a request on standard input, one
line of JSON on standard output.

The script is a copy of the very bytes that were accepted, in a directory of its own. It is watched while it runs, and ended at
the first limit that it goes beyond. What it says and leaves is looked at as a stranger's: bounded, of the form that its manifest
promises, and files that are files. Standard input stays open as long as irerd lives: at its end all of this ends.
"""

import json
import os
import re
import select
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NoReturn

from irerd import sandbox

SCRIPT: Final = "script.py"
SCRATCH: Final = "tmp"
"""In its directory: what stands here is nobody's output."""
SAID_BYTES_MAX: Final = 65_536
COMPLAINT_BYTES_MAX: Final = 8_192
ENTRIES_MAX: Final = 1_000
DEPTH_MAX: Final = 32
"""Folders within folders that are looked into."""
LOOK_S: Final = 0.02
SCRIPT_BYTES_MAX: Final = 1 << 20
SUFFIXES: Final = {"path:csv": ".csv", "path:json": ".json", "path:h5": ".h5"}
HDF5: Final = b"\x89HDF\r\n\x1a\n"
ORPHANED, UNCONFINED = 3, 117
_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


class Ended(Exception):
    """The run is over and came to nothing; `code` says why, `detail` what else is known."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    script = _script(request)
    _check_dependencies(request["dependencies"])
    found = sandbox.report()
    if not found.whole and not request["unconfined"]:
        raise Ended("no-sandbox", "; ".join(each for each in found[:2] if each.startswith("not")))
    place = Path(request["place"])
    clear(place)
    (place / SCRATCH).mkdir(parents=True, mode=0o700)
    (place / SCRIPT).write_bytes(script)
    artefact_sha256 = _sha256(request["artefact"])
    said = _Run(request, place).output()
    outputs = _outputs(said)
    return {
        "outputs": outputs,
        "files": _files(request["files"], place, request["output_bytes"]),
        "artefact_sha256": artefact_sha256,
    }


def _script(request: Mapping[str, Any]) -> bytes:
    """The bytes that were accepted, and no others."""
    try:
        fd = os.open(request["script"], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise Ended("no-script") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Ended("no-script")
    with open(fd, "rb") as file:
        raw = file.read(SCRIPT_BYTES_MAX + 1)
    if sha256(raw).hexdigest() != request["script_sha256"]:
        raise Ended("changed")
    return raw


def _check_dependencies(names: Sequence[str]) -> None:
    """Unmet ones are named, and never installed."""
    missing = []
    for line in names:
        found = _NAME.match(line.partition("#")[0])
        if found is None:
            continue
        try:
            metadata.version(found[1])
        except metadata.PackageNotFoundError:
            missing.append(found[1])
    if missing:
        raise Ended("not-installed", ", ".join(missing)[:200])


def _sha256(path: str) -> str:
    digest = sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


# --- the process ----------------------------------------------------------------------------------------------------------


class _Run:
    """One process, from its start to its end."""

    def __init__(self, request: Mapping[str, Any], place: Path) -> None:
        self._request = request
        self._place = place
        self._until = time.monotonic() + request["wall_s"]
        self._said = bytearray()
        self._complaint = bytearray()
        self._cpu_s = 0.0

    def output(self) -> bytes:
        out, told = os.pipe()
        err, complained = os.pipe()
        self._begun, begins = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become(self._request, self._place, told, complained, begins)
        for fd in (told, complained, begins):
            os.close(fd)
        status = None
        try:
            status = self._watched(pid, out, err)
        finally:
            if status is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return self._judged(status)

    def _watched(self, pid: int, out: int, err: int) -> int:
        """Until it ends, by itself or at a limit. Threads are within; it cannot make processes."""
        open_ = {out, err}
        while True:
            ready, _, _ = select.select([*open_, 0], [], [], LOOK_S)
            if 0 in ready and not os.read(0, 1):
                os.kill(pid, signal.SIGKILL)
                os._exit(ORPHANED)
            for fd in set(ready) & open_:
                if not self._heard(fd == out, os.read(fd, 65_536)):
                    open_.discard(fd)
            if time.monotonic() >= self._until:
                raise Ended("timeout")
            if _resident_bytes(pid) > self._request["memory_bytes"]:
                raise Ended("memory")
            self._check_room(self._held_bytes(pid))
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if ended:
                self._cpu_s = used.ru_utime + used.ru_stime
                for fd in open_:
                    self._drain(fd, fd == out)
                return status

    def _drain(self, fd: int, says: bool) -> None:
        os.set_blocking(fd, False)
        with suppress(BlockingIOError):
            while self._heard(says, os.read(fd, 65_536)):
                pass

    def _heard(self, says: bool, piece: bytes) -> bool:
        if says:
            self._said += piece
            if len(self._said) > SAID_BYTES_MAX:
                raise Ended("too-much-output", "on standard output")
        else:
            self._complaint = (self._complaint + piece)[-COMPLAINT_BYTES_MAX:]
        return bool(piece)

    def _check_room(self, held_bytes: int = 0) -> None:
        """What it has written, also where it took the name away again. A folder that nobody may look into hides what it holds."""
        size, entries, waiting = held_bytes, 0, [(os.fspath(self._place), 0)]
        while waiting:
            folder, depth = waiting.pop()
            for entry, seen in _entries(folder):
                entries += 1
                size += seen.st_blocks * 512
                if stat.S_ISDIR(seen.st_mode):
                    if seen.st_mode & 0o700 != 0o700:
                        raise Ended("forbidden", f"it made a folder that cannot be looked into: {_shown(os.path.basename(entry))}")
                    if depth == DEPTH_MAX:
                        raise Ended("too-much-output", f"more than {DEPTH_MAX} folders within each other")
                    waiting.append((entry, depth + 1))
                if size > self._request["output_bytes"] + SCRIPT_BYTES_MAX or entries > ENTRIES_MAX:
                    raise Ended("too-much-output", "in files")
        if size > self._request["output_bytes"] + SCRIPT_BYTES_MAX:
            raise Ended("too-much-output", "in files that it took the names of away")

    def _held_bytes(self, pid: int) -> int:
        """Of files without a name, which go on for as long as they are open or mapped."""
        if not select.select([self._begun], [], [], 0)[0]:
            return 0  # it is being confined, and is not the component yet
        try:
            return _nameless_bytes(pid, self._place)
        except (FileNotFoundError, ProcessLookupError):
            return 0
        except PermissionError:
            if self._request["unconfined"] or not _resident_bytes(pid):
                return 0  # without memory it is ending
            raise Ended("forbidden", "it hides which files it has open") from None

    def _judged(self, status: int) -> bytes:
        last = self._last_words()
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            codes = {signal.SIGXCPU: "cpu", signal.SIGXFSZ: "too-much-output", signal.SIGSYS: "forbidden"}
            # Who does not hear the kernel's first signal at the limit of processor time is killed by a second one.
            used_up = number == signal.SIGKILL and self._cpu_s >= self._request["cpu_s"]
            code = "cpu" if used_up else codes.get(signal.Signals(number), "crashed")
            raise Ended(code, f"it was ended by {signal.Signals(number).name}")
        left = os.WEXITSTATUS(status)
        if left == UNCONFINED:
            raise Ended("no-sandbox", last)
        if left:
            raise Ended(_kind(last), last or f"it ended with status {left}")
        self._check_room()
        return bytes(self._said)

    def _last_words(self) -> str:
        """The last line of what it complained of, as text that can be shown."""
        lines = self._complaint.decode("utf-8", "replace").strip().splitlines()
        return "".join(sign if sign.isprintable() else "?" for sign in (lines[-1] if lines else ""))[:200]


def _kind(last: str) -> str:
    """What Python says when a limit is met in the middle of a call."""
    if last.startswith("MemoryError") or "Cannot allocate memory" in last:
        return "memory"
    if "[Errno 27]" in last:
        return "too-much-output"
    # A link across the border of its directory is one across devices, says the kernel.
    return "forbidden" if last.startswith("PermissionError") or "[Errno 1]" in last or "[Errno 18]" in last else "crashed"


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _entries(folder: str) -> list[tuple[str, os.stat_result]]:
    """What stands there, as far as it is not gone again."""
    found = []
    with suppress(FileNotFoundError, PermissionError):
        for name in os.listdir(folder):
            with suppress(FileNotFoundError, PermissionError):
                path = os.path.join(folder, name)
                found.append((path, os.lstat(path)))
    return found


def _nameless_bytes(pid: int, place: Path) -> int:
    size = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            seen = os.stat(f"/proc/{pid}/fd/{fd}")
            if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 0:
                size += seen.st_blocks * 512
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        gone = [line.split(maxsplit=5) for line in file if line.endswith(" (deleted)\n")]
    for edges, *_, path in gone:
        if path.startswith(f"{place}/"):
            low, high = edges.split("-")
            size += int(high, 16) - int(low, 16)
    return size


def clear(place: Path) -> None:
    """Takes a folder away, whatever a stranger made of it: without end within each other, or such as nobody may look into.

    Every folder within is brought to the top before it is looked at, so no path becomes too long.
    """
    if not place.is_dir():
        return
    with suppress(OSError):
        os.chmod(place, 0o700)
        heap = tempfile.mkdtemp(dir=place)
        waiting, brought = [os.fspath(place)], 0
        while waiting:
            folder = waiting.pop()
            for path, seen in _entries(folder):
                with suppress(OSError):
                    if not stat.S_ISDIR(seen.st_mode):
                        os.unlink(path)
                    elif path != heap:
                        os.chmod(path, 0o700)
                        brought += 1
                        os.rename(path, f"{heap}/{brought}")
                        waiting.append(f"{heap}/{brought}")
            if folder != os.fspath(place):
                os.rmdir(folder)
        os.rmdir(heap)
        os.rmdir(place)


def _become(request: Mapping[str, Any], place: Path, told: int, complained: int, begins: int) -> NoReturn:
    """In the new process: be confined, then be the component, at which `begins` is closed. Never comes back."""
    try:
        sandbox.end_with_parent()
        os.chdir(place)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(told, 1)
        os.dup2(complained, 2)
        os.dup2(begins, 3, inheritable=False)
        os.closerange(4, 4_096)
        sandbox.limit(sandbox.Limits(request["cpu_s"], request["memory_bytes"], request["output_bytes"] + SCRIPT_BYTES_MAX))
        readable = [*_libraries(), *request["readable"]]
        sandbox.confine(readable, [str(place)], whole=not request["unconfined"])
    except sandbox.Unconfined as promise:
        os.write(2, f"the kernel did not confine it: {promise}\n".encode())
        os._exit(UNCONFINED)
    except BaseException:
        os._exit(UNCONFINED)
    try:
        words = [
            sys.executable,
            "-I",
            "-B",
            SCRIPT,
            *(word for name, value in request["arguments"] for word in (f"--{name}", value)),
        ]
        os.execve(sys.executable, words, _environment(place))
    finally:
        os._exit(UNCONFINED)


def _libraries() -> list[str]:
    """What Python and what is installed beside it may be read from."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent.parent)}
    system = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/null")
    return [*sorted(prefixes - {"/"}), *system, "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"]


def _environment(place: Path) -> dict[str, str]:
    """Of irerd's nothing."""
    scratch = str(place / SCRATCH)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    # HDF5 asks for locks on the files it reads, and a file that only may be read gives none.
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": scratch,
        "TMPDIR": scratch,
        "HDF5_USE_FILE_LOCKING": "FALSE",
        **threads,
    }


# --- what it says and leaves ----------------------------------------------------------------------------------------------


def _outputs(said: bytes) -> dict[str, Any]:
    """One JSON object, whatever else the engine will say to it."""
    try:
        found = json.loads(said or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Ended("bad-output", "what it printed is no JSON object") from None
    if not isinstance(found, dict):
        raise Ended("bad-output", "what it printed is no JSON object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(text)


def _files(declared: Sequence[Sequence[str]], place: Path, most: int) -> dict[str, list[str]]:
    """Each declared file by its name and SHA-256, and nothing that was not declared."""
    wanted = {f"{name}{SUFFIXES[kind]}": (name, kind) for name, kind in declared}
    found: dict[str, list[str]] = {}
    for entry in sorted(os.scandir(place), key=lambda each: each.name):
        if entry.name in (SCRIPT, SCRATCH):
            continue
        if entry.name not in wanted:
            raise Ended("undeclared-output", f"a file that no output is named after: {_shown(entry.name)}")
        name, kind = wanted[entry.name]
        raw = _regular(entry.path, entry.name, most)
        if not _is(raw, kind):
            raise Ended("bad-output", f"{entry.name} is no {kind.removeprefix('path:').upper()}")
        found[name] = [entry.name, sha256(raw).hexdigest()]
    if missing := [name for name, _ in wanted.values() if name not in found]:
        raise Ended("bad-output", f"it left no file for {missing[0]}")
    return found


def _regular(path: str, name: str, most: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise Ended("bad-output", f"{name} is no file of its own") from None
    seen = os.fstat(fd)
    if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1:
        os.close(fd)
        raise Ended("bad-output", f"{name} is no file of its own")
    with open(fd, "rb") as file:
        if seen.st_size > most:
            raise Ended("too-much-output", f"{name} has {seen.st_size:,} bytes")
        raw = file.read(most + 1)
        os.fsync(fd)
        return raw


def _is(raw: bytes, kind: str) -> bool:
    if kind == "path:h5":
        return raw.startswith(HDF5)
    try:
        text = raw.decode()
        if kind == "path:json":
            json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return False
    return kind != "path:csv" or "\0" not in text


def _shown(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name)[:60]


def main() -> None:
    size = int.from_bytes(_exactly(4), "big")
    request = json.loads(_exactly(size))
    try:
        answer: dict[str, Any] = {"ok": True, "code": "ok", **run(request)}
    except Ended as ended:
        answer = {"ok": False, "code": ended.code, "detail": ended.detail}
    except OSError as error:
        answer = {"ok": False, "code": "disk-error", "detail": error.strerror or ""}
    sys.stdout.write(json.dumps(answer, allow_nan=False, sort_keys=True) + "\n")


def _exactly(size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        piece = os.read(0, size - len(got))
        if not piece:
            os._exit(ORPHANED)
        got += piece
    return bytes(got)


if __name__ == "__main__":
    main()
