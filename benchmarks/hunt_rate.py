"""Candidates an hour: a generation through irer's workers against one process per job, worker then validator, as the source
prescribes it: `python -m benchmarks.hunt_rate [--jobs N] [--rounds N] [--sizes POINTS:STEPS …]`.

Both sides have the same two cores, the same runs, warm compile caches, and leave the same files: a config, the fields and a
provenance page for each job. The processes are taken one after the other, as the source does it, and also two at a time. The larger
a run, the less a process costs beside it: the last rows are there to show where the difference ends.

Then candidates that differ in a parameter, of an equation that exponax can do too: Swift-Hohenberg, a batch of them under vmap
there, and on the stepper of irer's model here, one core each, single precision, errors against a step of an eighth. exponax has no
complex fields, so it cannot run the model itself. It runs in the peers' environment, or that of `--python`; where there is none its
row is missing.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CORES = 2
SIZES = ("32:200", "64:2000", "128:2000")
TARGET = 100
"""Times as many candidates at the first size: NUMERICS, section I."""
BATCH, POINTS, LENGTH, DT, BATCH_STEPS = 10, 64, 40.0, 0.1, 200
"""Of the equation that both sides can do."""
HOUR_S = 3_600
READY = "ready\n"
ONE_CORE = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1", "OMP_NUM_THREADS": "1"}


def chunk(points: int, steps: int, lanes: int, seed: int) -> dict[str, Any]:
    import msgspec

    from core.sim import model
    from core.sim.chunk import Chunk, Grid, Lane, Settings

    runs = [
        Lane(str(uuid.uuid4()), seed + at, {**model.DEFAULTS, "eps": 0.8 + 0.01 * at, "c3": -0.5 - 0.02 * at})
        for at in range(lanes)
    ]
    return msgspec.to_builtins(Chunk("sncgl_sdg", Grid(points, 40.0, 2), steps, None, Settings(), 5, runs))


# --- one process per job ----------------------------------------------------------------------------------------------------


def job(words: list[str]) -> int:
    """A child: the worker of one job, or its validator."""
    from irerd import worker
    from irerd.host import cache_directory

    kind, place = words[0], Path(words[1])
    os.environ.update(worker.NUMERIC_ENVIRONMENT)
    cache = cache_directory()
    if cache is not None:
        worker.Compiled(cache).open()
    work = json.loads((place / "work.json").read_bytes())
    config = work["lanes"][0]
    name = config["job_uuid"]
    fields, page = place / f"run_{name}.h5", place / f"provenance_{name}.json"
    if kind == "worker":
        _kept(place / f"config_{name}.json", config)
        spec = {"chunk": work, "files": [f"{fields}.tmp"]}
        said = worker.attempt("chunk", json.dumps(spec).encode(), lambda done, total: None)
        assert isinstance(said, bytes), said
        os.rename(f"{fields}.tmp", fields)
        _kept(place / f"outcome_{name}.json", json.loads(said)["lanes"][0])
        return 0
    said = worker.attempt("validate", json.dumps({"artefact": str(fields)}).encode(), lambda done, total: None)
    assert isinstance(said, bytes), said
    _kept(page, {**config, "validated": json.loads(said), "artefact_sha256": hashlib.sha256(fields.read_bytes()).hexdigest()})
    return 0


def _kept(path: Path, page: dict[str, Any]) -> None:
    with path.with_suffix(".tmp").open("w") as file:
        json.dump(page, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".tmp").rename(path)


def processes(points: int, steps: int, jobs: int, at_once: int) -> Callable[[Path], None]:
    def one(place: Path) -> None:
        for kind in ("worker", "validator"):
            subprocess.run([sys.executable, "-m", "benchmarks.hunt_rate", "--job", kind, str(place)], check=True)

    def go(place: Path) -> None:
        places = [place / str(number) for number in range(jobs)]
        for number, each in enumerate(places):
            each.mkdir()
            (each / "work.json").write_text(json.dumps(chunk(points, steps, 1, number)))
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, places))

    return go


# --- irer -------------------------------------------------------------------------------------------------------------------


def through_workers(sizes: list[tuple[int, int, int]], rounds: int) -> dict[tuple[int, int, int], list[float]]:
    """Seconds of each generation, in a pool that stays; the first of each size is not counted."""
    import trio

    from core.engine import Errand
    from core.settings import Compute
    from irerd.effects.runs import Runs
    from irerd.host import RealHost

    found: dict[tuple[int, int, int], list[float]] = {size: [] for size in sizes}

    async def main(place: Path) -> None:
        host = RealHost(place, dict(os.environ))
        settings = Compute()
        runs = Runs(host, place, lambda: settings)

        async def call(work: dict[str, Any]) -> None:
            ended = await runs.run(Errand("bench:0:0", "sim.chunk", work), lambda row: None)
            assert ended.ok, ended

        async with host.computing("bench", settings):
            for size in sizes:
                points, steps, jobs = size
                for _ in range(rounds + 1):
                    each = -(-jobs // CORES)
                    calls = [chunk(points, steps, min(each, jobs - first), first) for first in range(0, jobs, each)]
                    began = time.perf_counter()
                    async with trio.open_nursery() as nursery:
                        for work in calls:
                            nursery.start_soon(call, work)
                    found[size].append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as place:
        trio.run(main, Path(place))
    return {size: seconds[1:] for size, seconds in found.items()}


# --- exponax ----------------------------------------------------------------------------------------------------------------


def reactivities() -> list[float]:
    return [0.5 + 0.04 * at for at in range(BATCH)]


def beside_exponax(rounds: int, python: Path | None) -> None:
    """Prints candidates an hour of both, one core each, in alternating rounds."""
    import jax
    import numpy as np

    from kernels.start import noise

    jax.config.update("jax_enable_x64", True)
    fields = np.stack([noise(at, 2, POINTS, 0.5).real for at in range(BATCH)])
    exact = np.asarray(ours_of("f64")(fields, np.float64(DT / 8), np.int64(8 * BATCH_STEPS)))
    go, placed = ours_of("f32"), jax.device_put(fields.astype(np.float32))
    found = np.asarray(go(placed, np.float64(DT), np.int64(BATCH_STEPS)), np.float64)
    times: dict[str, list[float]] = {"irer": [], "exponax": []}
    errors = {"irer": _apart(found, exact)}
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/start.npy", fields)
        with _peer(python, place) as peer:
            for _ in range(rounds):
                began = time.process_time()
                jax.block_until_ready(go(placed, np.float64(DT), np.int64(BATCH_STEPS)))
                times["irer"].append(time.process_time() - began)
                if peer is not None:
                    times["exponax"].append(_ask(peer))
        if times["exponax"]:
            errors["exponax"] = _apart(np.load(f"{place}/end.npy").astype(np.float64), exact)
    print(f"{BATCH} candidates of Swift-Hohenberg, {POINTS}², {BATCH_STEPS} steps of {DT}, one core each")
    rates = {name: HOUR_S * BATCH / statistics.median(spent) for name, spent in times.items() if spent}
    for name, rate in rates.items():
        print(f"{name:8} {rate:12,.0f} an hour   error {errors[name]:.1e}")
    if "exponax" in rates:
        print(f"irer has {rates['irer'] / rates['exponax']:.2f} times as many")


def ours_of(precision: str) -> Callable[..., Any]:
    """Fields in, fields out: the lanes one after another, as workers take them on a processor."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import lax

    from kernels import etd
    from kernels.grid import Grid
    from kernels.params import PRECISIONS

    grid, real = Grid(2, POINTS, POINTS // 4, precision), PRECISIONS[precision][1]
    square = (2 * np.pi / LENGTH) ** 2 * grid.distinct

    def explicit(fields: Any) -> Any:
        u = grid.to_points_real(fields[0])
        return (grid.to_modes_real(u * u * (1 - u)),), None

    def go(fields: Any, dt: Any, steps: Any) -> Any:
        def lane(given: Any) -> Any:
            field, reactivity = given
            z = (reactivity - (1 - square) ** 2).astype(np.complex128) * dt
            own = etd.Weights(*(grid.gather(part, half=True).real.astype(real) for part in etd.weights(z, dt)))
            last = lax.fori_loop(0, steps, lambda _, u: etd.step(u, explicit, (own,))[0], (grid.to_modes_real(field),))
            return grid.to_points_real(last[0])

        return lax.map(lane, (fields, jnp.asarray(reactivities(), jnp.float64)))

    return jax.jit(go)


def _apart(found: Any, exact: Any) -> float:
    import numpy as np

    return float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))


@contextmanager
def _peer(python: Path | None, place: str) -> Iterator["subprocess.Popen[str] | None"]:
    if python is None:
        yield None
        return
    command = [str(python), "-m", "benchmarks.hunt_rate", "--exponax", place]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "JAX_ENABLE_X64": "0"}
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
    assert peer.stdin is not None and peer.stdout is not None
    ready = peer.stdout.readline() == READY
    if not ready:
        print("NOT MEASURED: exponax does not run there", file=sys.stderr)
    try:
        yield peer if ready else None
    finally:
        peer.stdin.close()
        peer.wait()


def _ask(peer: "subprocess.Popen[str]") -> float:
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write("again\n")
    peer.stdin.flush()
    return float(peer.stdout.readline())


def exponax_side(place: Path) -> int:
    """Runs where exponax is: a line in, a batch computed, the seconds of the processor out. The first batch compiles."""
    import exponax  # type: ignore[import-not-found,unused-ignore]
    import jax
    import jax.numpy as jnp
    import numpy as np

    def lane(field: Any, reactivity: Any) -> Any:
        stepper = exponax.stepper.reaction.SwiftHohenberg(2, LENGTH, POINTS, DT, order=4, reactivity=reactivity)
        return exponax.repeat(stepper, BATCH_STEPS)(field)

    go = jax.jit(jax.vmap(lane))
    start = jnp.asarray(np.load(place / "start.npy")[:, None], jnp.float32)
    given = jnp.asarray(reactivities(), jnp.float32)
    np.save(place / "end.npy", np.asarray(go(start, given))[:, 0])
    print(READY, end="", flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        jax.block_until_ready(go(start, given))
        print(time.process_time() - began, flush=True)
    return 0


def _peers_python(given: str | None) -> Path | None:
    from benchmarks.peers import install

    try:
        return Path(given) if given else install()
    except (OSError, subprocess.CalledProcessError) as missing:
        print(f"NOT MEASURED: exponax. The peers' environment could not be made ({missing})", file=sys.stderr)
        return None


# --- both -------------------------------------------------------------------------------------------------------------------


def timed(go: Callable[[Path], None]) -> float:
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        go(Path(place))
        return time.perf_counter() - began


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    parser.add_argument(
        "--python", help="of an environment with exponax; without it the peers' own, which is made if it is missing"
    )
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--exponax", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.job:
        return job(given.job)
    os.environ.update(ONE_CORE)
    if given.exponax:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
        return exponax_side(Path(given.exponax))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CORES:])
    sizes = [(*map(int, size.split(":")), given.jobs) for size in given.sizes]
    ours = through_workers(sizes, given.rounds)
    print(f"a generation of {given.jobs} jobs on {CORES} cores, seconds; load {os.getloadavg()[0]:.1f}")
    print("points  steps   workers: median, range    an hour   one process per job   times   two at a time   times")
    missed = False
    for number, size in enumerate(sizes):
        points, steps, jobs = size
        # The whole pipeline once, or a part of it where a process is what little of it there is.
        some = jobs if number == 0 else min(jobs, 2)
        alone = timed(processes(points, steps, some, 1)) * jobs / some
        both = timed(processes(points, steps, some, CORES)) * jobs / some
        middle = statistics.median(ours[size])
        print(
            f"{points:6} {steps:6}   {middle:8.3f} {min(ours[size]):8.3f}…{max(ours[size]):<8.3f} {HOUR_S * jobs / middle:8,.0f} "
            f"{alone:14.2f} {alone / middle:14.1f} {both:12.2f} {both / middle:11.1f}",
            flush=True,
        )
        missed = missed or (number == 0 and alone / middle < TARGET)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    beside_exponax(2 * given.rounds + 1, _peers_python(given.python))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
