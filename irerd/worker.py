"""A worker process, `python -P -m irerd.worker`: one job after another, each a pure function of bytes.

The only module of irerd that leads to `kernels`, by way of `irerd/work/`, and only inside the job that needs it, so that a worker
that plans never loads JAX. It must never hold a descriptor of the daemon besides its two pipes, never outlive the daemon, and never
say what went wrong by an exception's text. What it answers is untrusted until irerd/workers.py has checked it.
"""

import ctypes
import fcntl
import hashlib
import json
import math
import os
import platform
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

FRAME = struct.Struct(">II")
"""How long a head (JSON) and a body (bytes) are; both follow."""
HEAD_BYTES_MAX = 4_096
INLINE_BYTES_MAX = 1_048_576
"""What is longer travels through shared memory that the daemon makes and unlinks."""
PROGRESS_GAP_S = 0.1
ORPHANED = 3

NUMERIC_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_ENABLE_X64": "1",
    # Every entry is kept, however small and however fast it was compiled.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
"""Read once by the numeric libraries, so it must stand before the first of them is imported."""

Tell = Callable[[int, int], None]
"""Progress: how much is done, of how much."""
Job = Callable[[bytes, Tell], bytes]


class JobFailed(Exception):
    """The job could not do what was asked, and would not the next time either; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# --- values and arrays as bytes -------------------------------------------------------------------------------------------

ITEM_BYTES = {"|b1": 1, "|u1": 1, "<i4": 4, "<i8": 8, "<f4": 4, "<f8": 8, "<c8": 8, "<c16": 16}
ARRAYS_MAX, AXES_MAX, LENGTH_MAX, VALUES_BYTES_MAX = 64, 8, 2**40, 4_194_304


class BadSheet(Exception):
    """These bytes are no sheet."""


class Field(NamedTuple):
    """An array as the daemon sees it, which has no NumPy: little-endian items, the last axis fastest."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


class Sheet(NamedTuple):
    """What a specification and an outcome hold: plain values, and arrays by name."""

    values: dict[str, Any]
    arrays: dict[str, Field]


def pack(values: Mapping[str, Any], arrays: Mapping[str, Field]) -> bytes:
    listed = [[name, field.dtype, list(field.shape)] for name, field in arrays.items()]
    head = json.dumps({"values": dict(values), "arrays": listed}, allow_nan=False, sort_keys=True).encode()
    return b"".join([len(head).to_bytes(4, "big"), head, *(field.data for field in arrays.values())])


def unpack(data: bytes) -> Sheet:
    """Checks all that can be checked without knowing what it is about: raises BadSheet, whatever the bytes are."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size or size > VALUES_BYTES_MAX:
        raise BadSheet("the values are cut short or too many")
    try:
        head = json.loads(data[4 : 4 + size], parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadSheet("the values are no JSON") from None
    if not isinstance(head, dict) or set(head) != {"values", "arrays"} or not isinstance(head["values"], dict):
        raise BadSheet("the values are no object")
    if not isinstance(head["arrays"], list) or len(head["arrays"]) > ARRAYS_MAX:
        raise BadSheet("the arrays are no short list")
    arrays: dict[str, Field] = {}
    view, at = memoryview(data), 4 + size
    for row in head["arrays"]:
        name, dtype, shape = _row(row)
        end = at + ITEM_BYTES[dtype] * math.prod(shape)
        if name in arrays or end > len(data):
            raise BadSheet("an array is there twice or cut short")
        arrays[name] = Field(dtype, shape, view[at:end])
        at = end
    if at != len(data):
        raise BadSheet("bytes follow the last array")
    return Sheet(head["values"], arrays)


def _row(row: object) -> tuple[str, str, tuple[int, ...]]:
    match row:
        case [str(name), str(dtype), list(shape)] if dtype in ITEM_BYTES and len(shape) <= AXES_MAX:
            if all(type(length) is int and 0 <= length <= LENGTH_MAX for length in shape):
                return name, dtype, tuple(shape)
    raise BadSheet("an array is described as none can be")


def _no_number(text: str) -> float:
    raise ValueError(text)


# --- the jobs -------------------------------------------------------------------------------------------------------------


def simulate(spec: bytes, tell: Tell) -> bytes:
    """Runs of the field, a lane each.

    Values: `signature`, `steps`, and `lanes`: for each its `settings`, and a `start` of a kind and a seed unless the arrays
    A0, and rho_s0 and J if wanted, bring the fields. All parts of the result come back as arrays.
    """
    import numpy as np

    from kernels import params
    from kernels.simulate import simulate as run

    sheet = unpack(spec)
    try:
        signature = params.Signature(**sheet.values["signature"])
        lanes, steps = list(sheet.values["lanes"]), sheet.values["steps"]
        settings = [dict(lane["settings"]) for lane in lanes]
    except (KeyError, TypeError, ValueError):
        raise JobFailed("bad-spec") from None
    refused = [reason for own in settings for reason in params.check(signature, own, steps)]
    if refused or not 1 <= len(lanes) <= signature.width:
        raise JobFailed("out-of-range")
    runs = [params.coefficients(own) for own in settings]
    shape = (len(lanes), *(signature.points,) * signature.dimensions)
    given = {name: _array(field) for name, field in sheet.arrays.items()}
    if any(array.shape != shape for array in given.values()) or not set(given) <= {"A0", "rho_s0", "J"}:
        raise JobFailed("bad-spec")
    fields = given["A0"] if "A0" in given else np.stack([_start(lane, signature, c) for lane, c in zip(lanes, runs, strict=True)])
    vacuum = np.reshape([c.rho_vac for c in runs], (-1, *(1,) * signature.dimensions))
    density = given.get("rho_s0", np.broadcast_to(vacuum, shape))
    pump = given.get("J", np.zeros(shape))
    result = run(signature, runs, fields, density, pump, None, steps, lambda done: tell(done, steps))
    return pack({"lanes": len(lanes)}, {name: _field(array) for name, array in result._asdict().items()})


def _start(lane: Mapping[str, Any], signature: Any, c: Any) -> Any:
    from kernels.start import start

    asked = dict(lane.get("start", {}))
    try:
        kind, seed = str(asked.pop("kind", "noise")), int(asked.pop("seed", 0))
        return start(kind, asked, seed, signature.dimensions, signature.points, c)
    except (KeyError, TypeError, ValueError):
        raise JobFailed("bad-spec") from None


def _array(field: Field) -> Any:
    import numpy as np

    return np.frombuffer(field.data, field.dtype).reshape(field.shape)


def _field(array: Any) -> Field:
    import numpy as np

    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return Field(plain.dtype.str, array.shape, plain.tobytes())


def chunk(spec: bytes, tell: Tell) -> bytes:
    """Runs of one grid and one setting, each measured and left in a file of its own."""
    from irerd.work.chunk import chunk

    return chunk(spec, tell)


def profile(spec: bytes, tell: Tell) -> bytes:
    """What the nulls say about the score of a stored run."""
    from irerd.work.profile import profile

    return profile(spec, tell)


def validate(spec: bytes, tell: Tell) -> bytes:
    """Both metrics of a stored run once more, worked out in another way."""
    from irerd.work.validate import validate

    return validate(spec, tell)


def picture(spec: bytes, tell: Tell) -> bytes:
    """A look at a stored run."""
    from irerd.work.picture import picture

    return picture(spec, tell)


def bssn_check(spec: bytes, tell: Tell) -> bytes:
    """How far the geometry of a stored run is from a classical one."""
    from irerd.work.components import bssn_check

    return bssn_check(spec, tell)


def null_profile(spec: bytes, tell: Tell) -> bytes:
    """What the score of a stored run is worth, and by how much it is better than chance."""
    from irerd.work.components import null_profile

    return null_profile(spec, tell)


def tda_profile(spec: bytes, tell: Tell) -> bytes:
    """How the density of a stored run hangs together."""
    from irerd.work.components import tda_profile

    return tda_profile(spec, tell)


def certify(spec: bytes, tell: Tell) -> bytes:
    """The runs of a certificate, of which only figures are left."""
    from irerd.work.certify import certify

    return certify(spec, tell)


def family(spec: bytes, tell: Tell) -> bytes:
    """What the best of a hunt is worth among so many."""
    from irerd.work.certify import family

    return family(spec, tell)


def paradox(spec: bytes, tell: Tell) -> bytes:
    """How two columns of a ledger go together."""
    from irerd.work.certify import paradox

    return paradox(spec, tell)


def closure(spec: bytes, tell: Tell) -> bytes:
    """What follows from facts by rules, and what it costs at least."""
    from irerd.work.trajectory import closure

    return closure(spec, tell)


def search(spec: bytes, tell: Tell) -> bytes:
    """The cheapest way from facts to goals, and what none can be below."""
    from irerd.work.trajectory import search

    return search(spec, tell)


def selftest(spec: bytes, tell: Tell) -> bytes:
    """What the detectors and checks of energy intelligence are worth."""
    from irerd.work.selftest import run

    return run(spec, tell)


def nearest(spec: bytes, tell: Tell) -> bytes:
    """Stored vectors that are nearest to one."""
    from irerd.work.search import nearest

    return nearest(spec, tell)


def index(spec: bytes, tell: Tell) -> bytes:
    """An approximate index of stored vectors, with its measured recall."""
    from irerd.work.index import index

    return index(spec, tell)


def embed(spec: bytes, tell: Tell) -> bytes:
    """Texts as vectors, by a table of token vectors."""
    from irerd.work.embedding import embed

    return embed(spec, tell)


def group(spec: bytes, tell: Tell) -> bytes:
    """Clusters among stored vectors."""
    from irerd.work.clusters import group

    return group(spec, tell)


def field(spec: bytes, tell: Tell) -> bytes:
    """What the pattern field says of the clusters."""
    from irerd.work.clusters import field

    return field(spec, tell)


def warm_up(spec: bytes, tell: Tell) -> bytes:
    """Two steps of the usual signature, so that the first real run finds its program compiled."""
    sheet = unpack(spec) if spec else Sheet({}, {})
    values = {"signature": sheet.values.get("signature", {}), "lanes": [{"settings": {}}], "steps": 2}
    simulate(pack(values, {}), tell)
    return b""


def echo(spec: bytes, tell: Tell) -> bytes:
    """Drill: what was sent."""
    return spec


def digest(spec: bytes, tell: Tell) -> bytes:
    """Drill: work for some moments. A number of rounds (4 bytes), then anything."""
    tell(0, 1)
    found = spec
    for _ in range(int.from_bytes(spec[:4], "big")):
        found = hashlib.sha256(found).digest()
    return found


def chatter(spec: bytes, tell: Tell) -> bytes:
    """Drill: far more progress than anybody wants to hear."""
    total = int(spec)
    for done in range(total):
        tell(done, total)
    return b""


def hang(spec: bytes, tell: Tell) -> bytes:
    """Drill: stop for ever in foreign code that lets no other thread of Python run, as a compiled loop may."""
    tell(0, 1)
    ctypes.PyDLL(None).pause()
    return b""


def crash(spec: bytes, tell: Tell) -> bytes:
    """Drill: end as the kernel's memory killer would end it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def allocate(spec: bytes, tell: Tell) -> bytes:
    """Drill: as many bytes as the specification says, written to, and kept by the process."""
    KEPT.append(b"\1" * int(spec))
    return b""


KEPT: list[bytes] = []


def surroundings(spec: bytes, tell: Tell) -> bytes:
    """Drill: what a job can see of the machine and of the daemon."""
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
    seen = {
        "environment": dict(os.environ),
        "descriptors": descriptors,
        "cores": sorted(os.sched_getaffinity(0)),
        "leads_its_session": os.getsid(0) == os.getpid(),
        "parent": os.getppid(),
        "loaded": sorted(name for name in ("jax", "numba", "numpy", "trio", "kernels") if name in sys.modules),
    }
    return pack(seen, {})


JOBS: dict[str, Job] = {
    "chunk": chunk,
    "profile": profile,
    "validate": validate,
    "picture": picture,
    "bssn_check": bssn_check,
    "null_profile": null_profile,
    "tda_profile": tda_profile,
    "certify": certify,
    "family": family,
    "paradox": paradox,
    "closure": closure,
    "search": search,
    "selftest": selftest,
    "nearest": nearest,
    "index": index,
    "embed": embed,
    "group": group,
    "field": field,
    "simulate": simulate,
    "warm_up": warm_up,
    "echo": echo,
    "digest": digest,
    "chatter": chatter,
    "hang": hang,
    "crash": crash,
    "allocate": allocate,
    "surroundings": surroundings,
}
NUMERIC = {
    "bssn_check",
    "certify",
    "family",
    "chunk",
    "closure",
    "null_profile",
    "profile",
    "search",
    "simulate",
    "tda_profile",
    "warm_up",
}
"""Jobs that compile."""


# --- compiled programs ----------------------------------------------------------------------------------------------------


class Compiled:
    """The caches of JAX and Numba. Neither library notices every broken entry, and JAX never replaces one, so each entry has a
    sum beside the caches: an entry that does not agree with its sum, or has none, is deleted and will be compiled again."""

    def __init__(self, root: Path) -> None:
        machine = f"{_version('jaxlib')}-{_processor()}"
        self._sums = root / "sums"
        self._root = root
        self.folders = {
            "JAX_COMPILATION_CACHE_DIR": root / "jax" / machine,
            "NUMBA_CACHE_DIR": root / "numba" / machine,
        }
        self._known: dict[Path, tuple[int, int]] = {}

    def open(self) -> bool:
        """Before the first import of either library. False where nothing can be kept: then programs are compiled each time."""
        try:
            for folder in (*self.folders.values(), self._sums):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for entry, seen in self._entries():
                if self._agrees(entry):
                    self._known[entry] = seen
                else:
                    entry.unlink(missing_ok=True)
        except OSError:
            return False
        os.environ.update({variable: str(folder) for variable, folder in self.folders.items()})
        return True

    def note(self) -> None:
        """A sum for each entry that was written since the last look."""
        for entry, seen in self._entries():
            if self._known.get(entry) == seen:
                continue
            with suppress(OSError):  # it went meanwhile, or there is no room: an entry without a sum is compiled again
                part = self._sums / f"{os.getpid()}.part"
                part.write_bytes(_sum(entry))
                part.rename(self._sum_of(entry))
                self._known[entry] = seen

    def _entries(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for folder in self.folders.values():
            for entry in sorted(folder.rglob("*")):
                if ".tmp." in entry.name:
                    continue  # Numba's, about to be renamed by whoever writes it
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    if entry.is_file():
                        yield entry, (found.st_size, found.st_mtime_ns)

    def _sum_of(self, entry: Path) -> Path:
        return self._sums / hashlib.sha256(str(entry.relative_to(self._root)).encode()).hexdigest()

    def _agrees(self, entry: Path) -> bool:
        try:
            return self._sum_of(entry).read_bytes() == _sum(entry)
        except FileNotFoundError:
            return False


def _sum(entry: Path) -> bytes:
    return hashlib.sha256(entry.read_bytes()).hexdigest().encode()


def _version(package: str) -> str:
    from importlib import metadata  # the daemon imports this module too, and has no use for it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    """A program compiled for one processor may stop another with an illegal instruction."""
    found = platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(found.encode()).hexdigest()[:12]}"


# --- the process ----------------------------------------------------------------------------------------------------------


class Line:
    """The two pipes to irerd. What a job prints, or a library beneath it, goes nowhere."""

    def __init__(self) -> None:
        self._in = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
        self._out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1):
            os.dup2(nothing, standard)
        os.close(nothing)
        self._job = 0
        self._told = -math.inf
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
        fcntl.fcntl(self._in, fcntl.F_SETOWN, os.getpid())

    def receive(self) -> tuple[dict[str, Any], bytes]:
        head_size, body_size = FRAME.unpack(self._exactly(FRAME.size))
        return json.loads(self._exactly(head_size)), self._exactly(body_size)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = os.read(self._in, min(size - len(data), INLINE_BYTES_MAX))
            if not chunk:
                os._exit(ORPHANED)
            data += chunk
        return bytes(data)

    def _send(self, head: dict[str, Any], body: bytes = b"") -> None:
        text = json.dumps({**head, "job": self._job}).encode()
        left = memoryview(FRAME.pack(len(text), len(body)) + text + body)
        while left:
            left = left[os.write(self._out, left) :]

    @contextmanager
    def watched(self, job: int) -> Iterator[None]:
        """While a job runs, irerd has nothing to say, so whatever happens on its pipe is its end. The kernel then ends this
        process by SIGIO: a thread that waits for it would need Python's lock, which a compiled loop may hold for hours."""
        self._job = job
        self._told = -math.inf
        flags = fcntl.fcntl(self._in, fcntl.F_GETFL)
        fcntl.fcntl(self._in, fcntl.F_SETFL, flags | os.O_ASYNC)
        ended = select.poll()
        ended.register(self._in, select.POLLIN)
        if ended.poll(0):
            os._exit(ORPHANED)
        try:
            yield
        finally:
            fcntl.fcntl(self._in, fcntl.F_SETFL, flags)

    def tell(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= PROGRESS_GAP_S:
            self._told = now
            self._send({"kind": "progress", "done": done, "total": total})

    def done(self, outcome: bytes) -> None:
        if len(outcome) <= INLINE_BYTES_MAX:
            self._send({"kind": "done"}, outcome)
            return
        self._send({"kind": "want", "size": len(outcome)})
        room, _ = self.receive()
        with open(room["segment"], "r+b", buffering=0) as segment:
            left = memoryview(outcome)
            while left:
                left = left[segment.write(left) or 0 :]
        self._send({"kind": "done"})

    def failed(self, code: str, place: str = "") -> None:
        self._send({"kind": "failed", "code": code, "place": place})


def main() -> None:
    line = Line()
    settings, _ = line.receive()
    settle(settings)
    compiled = Compiled(Path(settings["cache"])) if settings["cache"] else None
    opened = False
    while True:
        head, spec = line.receive()
        if head["segment"]:
            spec = Path(head["segment"]).read_bytes()
        with line.watched(head["job"]):
            if compiled and head["name"] in NUMERIC and not opened:
                opened = compiled.open()
                compiled = compiled if opened else None
            answer = attempt(head["name"], spec, line.tell)
            if compiled and opened:
                compiled.note()
        del spec
        if isinstance(answer, bytes):
            line.done(answer)
        else:
            line.failed(*answer)
        del answer


def settle(settings: Mapping[str, Any]) -> None:
    """Before anything numeric is imported: one core, one thread, bounded memory, and first to go when the machine has none."""
    os.environ.update(NUMERIC_ENVIRONMENT)
    with suppress(OSError):  # a sandbox may forbid it; the kernel then places the worker
        os.sched_setaffinity(0, {settings["core"]})
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    # Of data, not of addresses: numeric libraries reserve far more addresses than they ever use.
    resource.setrlimit(resource.RLIMIT_DATA, (settings["memory_bytes"], settings["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)


def attempt(name: str, spec: bytes, tell: Tell) -> bytes | Sequence[str]:
    """The outcome, or a code and for a fault of ours the place in the source."""
    job = JOBS.get(name)
    if job is None:
        return ("unknown-job",)
    try:
        return job(spec, tell)
    except JobFailed as failed:
        return (failed.code,)
    except BadSheet:
        return ("bad-spec",)
    except MemoryError:
        return ("memory",)
    except ModuleNotFoundError as error:
        return ("not-installed", (error.name or "")[:100])
    except Exception as error:
        return ("memory",) if _is_want_of_memory(error) else ("broken", _place(error))


def _is_want_of_memory(error: Exception) -> bool:
    """JAX has no type of its own for it."""
    return type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and str(error).startswith("RESOURCE_EXHAUSTED")


def _place(error: Exception) -> str:
    """Where it happened and what kind it was: no text of it, which might hold what the caller sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "nowhere"
    return f"{type(error).__name__} {where}"


if __name__ == "__main__":
    # One module under both its names: else what a job raises would be of a class that this one has never heard of.
    sys.modules["irerd.worker"] = sys.modules["__main__"]
    main()
