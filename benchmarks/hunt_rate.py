"""Candidates a second: a generation through irer's workers against one process per job, worker then validator, as the source
prescribes it: `python -m benchmarks.hunt_rate [--jobs N] [--rounds N] [--sizes POINTS:STEPS …]`.

Both sides have the same two cores, the same runs, warm compile caches, and leave the same files: a config, the fields and a
provenance page for each job. The processes are taken one after the other, as the source does it, and also two at a time. The larger
a run, the less a process costs beside it: the last rows are there to show where the difference ends.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CORES = 2
SIZES = ("32:200", "64:2000", "128:2000")
TARGET = 100
"""Times as many candidates at the first size: NUMERICS, section I."""


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
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.job:
        return job(given.job)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CORES:])
    sizes = [(*map(int, size.split(":")), given.jobs) for size in given.sizes]
    ours = through_workers(sizes, given.rounds)
    print(f"a generation of {given.jobs} jobs on {CORES} cores, seconds; load {os.getloadavg()[0]:.1f}")
    print("points  steps   workers: median, range      one process per job   times   two at a time   times")
    missed = False
    for number, size in enumerate(sizes):
        points, steps, jobs = size
        # The whole pipeline once, or a part of it where a process is what little of it there is.
        some = jobs if number == 0 else min(jobs, 2)
        alone = timed(processes(points, steps, some, 1)) * jobs / some
        both = timed(processes(points, steps, some, CORES)) * jobs / some
        middle = statistics.median(ours[size])
        print(
            f"{points:6} {steps:6}   {middle:8.3f} {min(ours[size]):8.3f}…{max(ours[size]):<8.3f} "
            f"{alone:14.2f} {alone / middle:14.1f} {both:12.2f} {both / middle:11.1f}",
            flush=True,
        )
        missed = missed or (number == 0 and alone / middle < TARGET)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
