"""A step of the field against the Fourier transforms it is made of: `python -m benchmarks.numeric_core [--cores N] [--rounds N]`.

Both sides run in this process on the same cores, the same shape and type, in turns. A step of the plain equation is held against
8 full complex transforms, a step of the whole two-dimensional model against 28: four stages, of 2 and of 7 transforms each. The
whole model is the one with the non-local term and the geometry. Compiling is measured apart, and every row carries its error
against the exact plane wave.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--points", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--types", nargs="*", default=["f32", "f64"])
    given = parser.parse_args()
    prepare(given.cores)
    import jax

    print(
        json.dumps(
            {"cores": given.cores, "jax": jax.__version__, "device": jax.devices()[0].device_kind, "load": os.getloadavg()[0]}
        )
    )
    for whole in (False, True):
        for precision in given.types:
            for points in given.points:
                print(json.dumps(measure(points, precision, whole, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
