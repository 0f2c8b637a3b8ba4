"""The peers of the field solver, in the peers' environment: asked a line of JSON, answers one. Loads nothing of irer's.

`exponax`: Swift-Hohenberg, in its own rollout. `py-pde`: the complex Ginzburg-Landau equation by finite differences, compiled by
numba, against the exact plane wave. Times are of the processor, after a run that compiled.
"""

import json
import os
import sys
import time
from functools import lru_cache
from importlib.metadata import version
from typing import Any


def pin(core: int) -> None:
    os.sched_setaffinity(0, {core})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


@lru_cache
def _rollout(points: int, length: float, dt: float, steps: int) -> Any:
    import exponax  # type: ignore[import-not-found,unused-ignore]
    import jax

    stepper = exponax.stepper.reaction.SwiftHohenberg(2, length, points, dt, order=4)
    return jax.jit(exponax.repeat(stepper, steps))


def by_exponax(asked: dict[str, Any]) -> dict[str, Any]:
    import jax
    import numpy as np

    start = np.load(asked["start"]).astype(np.float32)[None]
    go = _rollout(asked["points"], asked["length"], asked["dt"], asked["steps"])
    began = time.process_time()
    found = jax.block_until_ready(go(start))
    spent = time.process_time() - began
    np.save(asked["end"], np.asarray(found)[0])
    return {"s": spent}


@lru_cache
def _stepper(points: int, length: float, dt: float) -> Any:
    """A grid, and what moves a field on it: compiled."""
    import numpy as np
    import pde  # type: ignore[import-not-found,unused-ignore]

    grid = pde.CartesianGrid([[0, length]] * 2, points, periodic=True)
    equation = pde.PDE({"A": "A + (0.5 + 0.8j) * laplace(A) - (1 - 0.8j) * A * abs(A)**2"})
    still = pde.ScalarField(grid, np.zeros((points, points)), dtype=complex)
    step = pde.RungeKuttaSolver(equation, backend="numba").make_stepper(still, dt=dt)
    step(still, 0, 2 * dt)
    return grid, step


def by_py_pde(asked: dict[str, Any]) -> dict[str, Any]:
    """A plane wave (2, 1) until t = 10: its largest relative error, which is that of the differences."""
    import numpy as np
    import pde

    points, length, dt, until = asked["points"], asked["length"], asked["dt"], asked["until"]
    grid, step = _stepper(points, length, dt)
    k = 2 * np.pi / length
    place = (np.arange(points) + 0.5) * length / points
    phase = k * (2 * place[:, None] + place[None, :])
    square = 1 - 0.5 * 5 * k**2
    speed = 0.8 * 5 * k**2 - 0.8 * square
    wave = np.sqrt(square) * np.exp(1j * phase)
    moved = pde.ScalarField(grid, wave, dtype=complex)
    began = time.process_time()
    step(moved, 0, until)
    spent = time.process_time() - began
    error = np.max(np.abs(moved.data - wave * np.exp(-1j * speed * until))) / np.sqrt(square)
    return {"s": spent, "error": float(error)}


DOES = {"exponax": by_exponax, "py-pde": by_py_pde}


def main() -> None:
    pin(int(sys.argv[1]))
    print(json.dumps({"exponax": version("exponax"), "py-pde": version("py-pde"), "jax": version("jax")}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(DOES[asked["do"]](asked)), flush=True)


if __name__ == "__main__":
    main()
