"""The field solver beside what it could be measured by: `python -m benchmarks.numeric_core [--only PART …] [--write]`.

`transforms`: a step against the Fourier transforms it is made of. Both sides run in this process on the same cores, the same shape
and type, in turns. A step of the plain equation is held against 8 full complex transforms, a step of the whole two-dimensional
model against 28: four stages, of 2 and of 7 transforms each. The whole model is the one with the non-local term and the geometry.
`exponax`: Swift-Hohenberg, on the same stepper and grid as the model's, each in its own rollout. `py-pde`: the complex
Ginzburg-Landau equation to a relative error of 1e-3. `batch`: ten runs in one call of a warm worker, against a process for each.
`start`: how soon a new worker has done its first step, with and without what was compiled before.

Sides take turns, each figure is a median, errors stand beside times, and compiling is measured apart. Rows that miss their target
are printed and kept like all others.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "numeric_core.json"
PARTS = ("transforms", "exponax", "py-pde", "batch", "start")
TARGETS = {"transforms": 1.5, "exponax": 1.3, "py-pde": 5.0, "batch": 100.0, "start": 2.0}
TO = 1e-3

ROUND_S = 0.15


def prepare(cores: int) -> None:
    """Before JAX is loaded: which cores, how many threads."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])
    if cores == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_ENABLE_X64"] = "1"


def interleaved(sides: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Processor seconds of each side in every round, one after the other so that both meet the same weather."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, found in zip(sides, times, strict=True):
            began = time.process_time()
            side()
            found.append(time.process_time() - began)
    return times


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def measure(points: int, precision: str, whole: bool, rounds: int) -> dict[str, Any]:
    import jax
    import numpy as np
    from jax import lax

    from kernels.params import PRECISIONS, Signature, coefficients, stack
    from kernels.simulate import program

    settings = {"eps": 0.9, "lam": 1.1, "c3": -0.6, "g_nl": 0.3 if whole else 0.0, "sigma": 1.0, "L": points * 0.625, "dt": 0.05}
    sig = Signature(points=points, precision=precision, geometry="coevolve" if whole else "off", nonlocal_term=whole, snapshots=1)
    run = coefficients(settings)._replace(alpha=0.7 if whole else 0.0)
    dk = 2 * np.pi / run.length
    rng = np.random.default_rng(1)
    complex_type, real_type = PRECISIONS[precision]
    noise = (rng.normal(size=(2, points, points)) + 1j * rng.normal(size=(2, points, points))).astype(complex_type)
    arrays = (0.1 * noise, np.full((2, points, points), 1.0, real_type), 0 * noise)
    go, numbers = program(sig), stack([run, run], 2)
    began = time.perf_counter()
    compiled = go.lower(numbers, *arrays, np.int64(1)).compile()
    compile_s = time.perf_counter() - began
    placed = [jax.device_put(part) for part in arrays]

    transforms = 28 if whole else 8
    # A turn is a transform forth and one back, so that the numbers stay what they are.
    turns = jax.jit(lambda x, n: lax.fori_loop(0, n, lambda _, y: jax.numpy.fft.ifft2(jax.numpy.fft.fft2(y)), x))
    peer = jax.device_put(noise)
    jax.block_until_ready(turns(peer, 1))
    began = time.perf_counter()
    jax.block_until_ready(turns(peer, 200))
    steps = 32 * max(1, round(ROUND_S / ((time.perf_counter() - began) / 400 * transforms) / 32))
    step_s, peer_s = interleaved(
        [
            lambda: jax.block_until_ready(compiled(numbers, *placed, np.int64(steps))),
            lambda: jax.block_until_ready(turns(peer, steps * transforms // 2)),
        ],
        rounds,
    )
    ratios = [a / b for a, b in zip(step_s, peer_s, strict=True)]
    low, middle, high = quartiles(ratios)
    return {
        "points": points,
        "type": complex_type.name,
        "model": "whole" if whole else "plain",
        "transforms": transforms,
        "step_ms": round(1e3 * statistics.median(step_s) / steps / 2, 4),
        "transforms_ms": round(1e3 * statistics.median(peer_s) / steps / 2, 4),
        "ratio": round(middle, 3),
        "ratio_quartiles": [round(low, 3), round(high, 3)],
        "compile_s": round(compile_s, 2),
        "error": error(compiled, numbers, points, dk, settings, arrays) if not whole else None,
    }


def error(compiled: Any, numbers: Any, points: int, dk: float, settings: dict[str, float], arrays: Any) -> float:
    """Largest relative error of the plane wave (2, 1) after 80 steps."""
    import numpy as np

    place = np.arange(points) * settings["L"] / points
    phase = dk * (2 * place[:, None] + place[None, :])
    q2 = 5 * dk**2
    square = settings["eps"] * (1 - q2 / 2) / settings["lam"]
    speed = 0.8 * settings["eps"] * q2 + settings["lam"] * settings["c3"] * square
    wave = np.sqrt(square) * np.exp(1j * phase)
    start = np.stack([wave, wave]).astype(arrays[0].dtype)
    found = np.asarray(compiled(numbers, start, arrays[1], arrays[2], np.int64(80))[0])[0]
    exact = wave * np.exp(-1j * speed * 80 * settings["dt"])
    return float(f"{np.max(np.abs(found - exact)) / np.sqrt(square):.1e}")


# --- exponax ----------------------------------------------------------------------------------------------------------------


class Peer:
    """The peers' process: one line of JSON there, one back."""

    def __init__(self, python: Path, core: int) -> None:
        command = [str(python), "-m", "benchmarks.numeric_peer", str(core)]
        # exponax computes in the type that JAX has unless told otherwise, float32, as we do beside it.
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "JAX_ENABLE_X64": "0"}
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
        self.versions = self._line()

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if not found:
            raise OSError("the peers' process ended")
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def swift_hohenberg(points: int, length: float, precision: str) -> Callable[..., Any]:
    """u' = .7 u − (1 + Lap)² u + u² − u³ on the stepper and grid of the model: a field on the grid in, one out."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import lax

    from kernels import etd
    from kernels.grid import Grid
    from kernels.params import PRECISIONS

    grid = Grid(2, points, points // 4, precision)
    real = PRECISIONS[precision][1]
    square = (2 * np.pi / length) ** 2 * grid.distinct

    def explicit(fields: Any) -> Any:
        u = grid.to_points_real(fields[0])
        return (grid.to_modes_real(u * u * (1 - u)),), None

    def go(field: Any, dt: Any, steps: Any) -> Any:
        z = (0.7 - (1 - square) ** 2).astype(np.complex128) * dt
        every = etd.weights(jnp.asarray(z), dt)
        own = etd.Weights(*(grid.gather(part, half=True).real.astype(real) for part in every))  # L is real here
        last = lax.fori_loop(0, steps, lambda _, u: etd.step(u, explicit, (own,))[0], (grid.to_modes_real(field),))
        return grid.to_points_real(last[0])

    return jax.jit(go)


def beside_exponax(peer: Peer | None, rounds: int, points: int = 128, length: float = 60.0, dt: float = 0.1) -> dict[str, Any]:
    import jax
    import numpy as np

    from kernels.start import noise

    steps = 200
    start = noise(1, 2, points, 0.5).real
    ours, exact = (swift_hohenberg(points, length, precision) for precision in ("f32", "f64"))
    placed = jax.device_put(start.astype(np.float32))
    reference = np.asarray(exact(start, np.float64(dt / 8), np.int64(8 * steps)))
    found = jax.block_until_ready(ours(placed, np.float64(dt), np.int64(steps)))
    row: dict[str, Any] = {"part": "exponax", "points": points, "steps": steps, "error": _apart(found, reference)}
    times: dict[str, list[float]] = {"ours": [], "exponax": []}
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/start.npy", start)
        what = {"do": "exponax", "points": points, "length": length, "dt": dt, "steps": steps}
        asked = {**what, "start": f"{place}/start.npy", "end": f"{place}/end.npy"}
        if peer is not None:
            peer.ask(**asked)
            row["exponax_error"] = _apart(np.load(f"{place}/end.npy"), reference)
        for _ in range(rounds):
            began = time.process_time()
            jax.block_until_ready(ours(placed, np.float64(dt), np.int64(steps)))
            times["ours"].append(time.process_time() - began)
            if peer is not None:
                times["exponax"].append(peer.ask(**asked)["s"])
    row["step_ms"] = round(1e3 * statistics.median(times["ours"]) / steps, 4)
    if peer is not None:
        row["exponax_step_ms"] = round(1e3 * statistics.median(times["exponax"]) / steps, 4)
        row |= _faster(times["exponax"], times["ours"])
    return row


def _apart(found: Any, exact: Any) -> float:
    import numpy as np

    return float(f"{np.max(np.abs(np.asarray(found, np.float64) - exact)) / np.max(np.abs(exact)):.1e}")


def _faster(theirs: list[float], ours: list[float]) -> dict[str, Any]:
    low, middle, high = quartiles([a / b for a, b in zip(theirs, ours, strict=True)])
    return {"faster": round(middle, 2), "faster_quartiles": [round(low, 2), round(high, 2)]}


# --- py-pde -----------------------------------------------------------------------------------------------------------------


UNTIL, LENGTH = 10.0, 40.0
OUR_CHOICES = ((16, 0.5), (16, 0.25), (16, 0.1))
PEER_CHOICES = ((112, 0.04), (128, 0.03125), (144, 0.025))
"""Points and steps; its steps are near the limit of stability, as what is wrong with it comes from the grid."""


def beside_py_pde(peer: Peer | None, rounds: int) -> dict[str, Any]:
    """Each side with the cheapest of its choices that is as exact as is asked for."""
    row: dict[str, Any] = {"part": "py-pde", "until": UNTIL, "asked_error": TO}
    runs = {choice: _plane_wave(*choice) for choice in OUR_CHOICES}
    tried = [(choice, run(), run()) for choice, run in runs.items()]
    good = [(second, error, choice) for choice, _, (second, error) in tried if error <= TO]
    _, error, choice = min(good)
    row |= {"points": choice[0], "dt": choice[1], "error": float(f"{error:.1e}")}
    row["ours_tried"] = [[*each, float(f"{error:.1e}"), round(1e3 * s, 2)] for each, _, (s, error) in tried]
    ours, theirs = [], []
    if peer is not None:
        said = [(each, peer.ask(do="py-pde", points=each[0], length=LENGTH, dt=each[1], until=UNTIL)) for each in PEER_CHOICES]
        row["py_pde_tried"] = [[*each, float(f"{one['error']:.1e}"), round(1e3 * one["s"], 2)] for each, one in said]
        fit = min((one["s"], each, one["error"]) for each, one in said if one["error"] <= TO)
        row |= {"py_pde_points": fit[1][0], "py_pde_dt": fit[1][1], "py_pde_error": float(f"{fit[2]:.1e}")}
    for _ in range(rounds):
        ours.append(runs[choice]()[0])
        if peer is not None:
            asked = {"points": row["py_pde_points"], "dt": row["py_pde_dt"], "length": LENGTH, "until": UNTIL}
            theirs.append(peer.ask(do="py-pde", **asked)["s"])
    row["ms"] = round(1e3 * statistics.median(ours), 2)
    if peer is not None:
        row["py_pde_ms"] = round(1e3 * statistics.median(theirs), 2)
        row |= _faster(theirs, ours)
    return row


def _plane_wave(points: int, dt: float) -> Callable[[], tuple[float, float]]:
    """Seconds of the processor and the largest relative error of the wave (2, 1): the whole call, both lanes and all measures."""
    import numpy as np

    from kernels.params import Signature, coefficients
    from kernels.simulate import simulate

    settings = {"eps": 1.0, "lam": 1.0, "b3": 1.0, "c3": -0.8, "g_nl": 0.0, "L": LENGTH, "dt": dt}
    sig = Signature(points=points, precision="f32", geometry="off", nonlocal_term=False, snapshots=1)
    k = 2 * np.pi / LENGTH
    place = np.arange(points) * LENGTH / points
    square = 1 - 0.5 * 5 * k**2
    wave = np.sqrt(square) * np.exp(1j * k * (2 * place[:, None] + place[None, :]))
    exact = wave * np.exp(-1j * (0.8 * 5 * k**2 - 0.8 * square) * UNTIL)
    flat = np.ones((1, points, points))

    def go() -> tuple[float, float]:
        began = time.process_time()
        found = simulate(sig, [coefficients(settings)], wave[None], flat, 0 * wave[None], None, round(UNTIL / dt))
        spent = time.process_time() - began
        return spent, float(np.max(np.abs(np.asarray(found.A)[0] - exact)) / np.sqrt(square))

    return go


# --- workers ----------------------------------------------------------------------------------------------------------------

RUNS, SIDE, STEPS = 10, 32, 200
ALONE = (
    "import sys\nfrom irerd import worker\n"
    "worker.settle({'core': int(sys.argv[1]), 'memory_bytes': 1 << 33})\n"
    "said = worker.attempt('chunk', sys.stdin.buffer.read(), lambda done, total: None)\n"
    "sys.exit(not isinstance(said, bytes))"
)
"""One process for one run, which compiles what it needs and keeps nothing."""


def chunk_of(numbers: range, place: Path) -> bytes:
    from core.sim import model
    from core.sim.chunk import Chunk, Grid, Lane, Settings, plain

    lanes = [Lane(f"00000000-0000-5000-8000-{number:012d}", number, dict(model.DEFAULTS)) for number in numbers]
    work = Chunk("sncgl_sdg", Grid(SIDE, 40.0, 2), STEPS, 0.02, Settings(), 5, lanes)
    return json.dumps({"chunk": plain(work), "files": [str(place / f"{number}.h5") for number in numbers]}).encode()


def workers(rounds: int, core: int) -> list[dict[str, Any]]:
    """Both parts that need workers: the batch, and the first step of a new one."""
    import trio

    return trio.run(_workers, rounds, core)


async def _workers(rounds: int, core: int) -> list[dict[str, Any]]:
    import trio

    from irerd.workers import open_workers

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as place:
        cache = Path(place) / "cache"
        first: dict[str, list[float]] = {"cold": [], "warm": []}
        for state in ("cold", *["warm"] * rounds):
            async with open_workers("bench", environment, cache=cache, cores=[core]) as pool:
                began = time.perf_counter()
                await pool.run("warm_up", b"", timeout_s=300)
                first[state].append(time.perf_counter() - began)
        start = {
            "part": "start",
            "what": "a new process until its first two steps are done",
            "warm_s": round(statistics.median(first["warm"]), 2),
            "cold_s": round(first["cold"][0], 2),
        }
        async with open_workers("bench", environment, cache=cache, cores=[core]) as pool:
            await pool.run("chunk", chunk_of(range(2), Path(place)), timeout_s=300)
            together, alone = [], []
            for _ in range(rounds):
                began = time.perf_counter()
                await pool.run("chunk", chunk_of(range(RUNS), Path(place)), timeout_s=300)
                together.append(time.perf_counter() - began)
        for number in range(2):
            began = time.perf_counter()
            command = [sys.executable, "-P", "-c", ALONE, str(core)]
            await trio.run_process(command, stdin=chunk_of(range(number, number + 1), Path(place)), env=environment)
            alone.append((time.perf_counter() - began) * RUNS)
    theirs, ours = statistics.median(alone), statistics.median(together)
    batch = {
        "part": "batch",
        "what": f"{RUNS} runs of {SIDE}² points and {STEPS} steps, files written; alone is ten times the mean of two processes",
        "batch_s": round(ours, 3),
        "alone_s": round(theirs, 1),
        "faster": round(theirs / ours, 1),
    }
    return [batch, start]


# --- all of it --------------------------------------------------------------------------------------------------------------


def reached(row: dict[str, Any]) -> bool | None:
    """Whether a row meets its target; None where its peer was not there."""
    match row["part"]:
        case "transforms":
            return bool(row["ratio"] <= TARGETS["transforms"])
        case "start":
            return bool(row["warm_s"] <= TARGETS["start"])
        case part:
            return bool(row["faster"] >= TARGETS[part]) if "faster" in row else None


def peers(python: Path | None, core: int) -> Peer | None:
    try:
        if python is None:
            from benchmarks.peers import install

            python = install()
        return Peer(python, core)
    except (OSError, ValueError, subprocess.CalledProcessError) as missing:
        print(f"NOT MEASURED: exponax and py-pde. Their environment could not be used ({missing})", file=sys.stderr)
        return None


def _keep(rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    """Parts that were not measured now stay as they were, each with what is said of its run."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"about": {}, "rows": []}
    parts = {row["part"] for row in rows}
    others = [row for row in kept["rows"] if row["part"] not in parts]
    told = {part: said for part, said in kept["about"].items() if part not in parts} | dict.fromkeys(sorted(parts), about)
    whole = {"targets": TARGETS, "about": told, "rows": sorted(others + rows, key=lambda row: PARTS.index(row["part"]))}
    RESULTS.write_text(json.dumps(whole, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where a target was missed, as long as a peer was there to miss it beside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--points", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--types", nargs="*", default=["f32", "f64"])
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", type=Path, help="the Python that has exponax and py-pde")
    parser.add_argument("--write", action="store_true", help=f"keep it in {RESULTS.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    core = max(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        rows.append({**row, "reached": reached(row)})
        print(json.dumps(rows[-1]), flush=True)

    for row in workers(given.rounds, core) if {"batch", "start"} & set(given.only) else ():
        keep(row)
    prepare(given.cores)
    import jax

    about = {"cores": given.cores, "jax": jax.__version__, "device": jax.devices()[0].device_kind, "load": [round(load, 1)]}
    if "transforms" in given.only:
        for whole in (False, True):
            for precision in given.types:
                for points in given.points:
                    keep({"part": "transforms", **measure(points, precision, whole, given.rounds)})
    if {"exponax", "py-pde"} & set(given.only):
        peer = peers(given.peers, core)
        about |= {"peers": peer.versions} if peer is not None else {}
        for part, beside in (("exponax", beside_exponax), ("py-pde", beside_py_pde)):
            if part in given.only:
                keep(beside(peer, given.rounds))
        if peer is not None:
            peer.close()
    about["load"].append(round(os.getloadavg()[0], 1))
    print(json.dumps(about))
    if given.write:
        about |= {"machine": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version()}
        _keep(rows, about)
    return int(any(row["reached"] is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
