"""The hunt's optimiser beside pymoo's NSGA-II: how much of the exact front both cover, and what a generation costs.

    .venv/bin/python -m benchmarks.optimiser [--problems zdt1 …] [--seeds 11] [--evaluations 25000] [--write]

Both sides search the same unit cube for the same functions with the same budget, crossover and mutation (simulated binary, eta 15,
in 90 % of the pairs; polynomial, eta 20, one coordinate a point). moocore judges both by the hypervolume of the last population up
to 1.1 in every objective. Time is what a generation takes without the functions. pymoo runs in the peers' environment; where that
cannot be made, its columns stay empty and the run says so.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "optimiser.json"
POPULATION = 100
REFERENCE = 1.1
BELOW_PEER_MAX = 0.002
GENERATION_MS_MAX = 2.0


class Problem(NamedTuple):
    """Zitzler, Deb and Thiele 2000; Deb, Thiele, Laumanns and Zitzler 2002; all over the unit cube."""

    dim: int
    objectives: int
    exact: float
    least: float | None
    """The share of the exact volume that is asked for. Of a sphere, 105 points of a regular lattice cover 92.8 %: none is asked."""
    function: "Callable[[Floats], Floats]"


def _two(first: "Floats", rest: "Floats", shape: "Callable[[Floats], Floats]") -> "Floats":
    import numpy as np

    return np.stack([first, rest * shape(first / rest)], axis=1)


def _linear(x: "Floats") -> "Floats":
    rest: Floats = 1 + 9 * x[:, 1:].mean(axis=1)
    return rest


def zdt1(x: "Floats") -> "Floats":
    return _two(x[:, 0], _linear(x), lambda part: 1 - part**0.5)


def zdt2(x: "Floats") -> "Floats":
    return _two(x[:, 0], _linear(x), lambda part: 1 - part**2)


def zdt3(x: "Floats") -> "Floats":
    import numpy as np

    first, rest = x[:, 0], _linear(x)
    return _two(first, rest, lambda part: 1 - part**0.5 - part * np.sin(10 * np.pi * first))


def zdt4(x: "Floats") -> "Floats":
    """All but the first coordinate go from -5 to 5."""
    import numpy as np

    wide = 10 * x[:, 1:] - 5
    rest = 1 + 10 * wide.shape[1] + (wide**2 - 10 * np.cos(4 * np.pi * wide)).sum(axis=1)
    return _two(x[:, 0], rest, lambda part: 1 - part**0.5)


def zdt6(x: "Floats") -> "Floats":
    import numpy as np

    first = 1 - np.exp(-4 * x[:, 0]) * np.sin(6 * np.pi * x[:, 0]) ** 6
    return _two(first, 1 + 9 * x[:, 1:].mean(axis=1) ** 0.25, lambda part: 1 - part**2)


def dtlz1(x: "Floats") -> "Floats":
    import numpy as np

    far = x[:, 2:] - 0.5
    scale = 0.5 * (1 + 100 * (far.shape[1] + (far**2 - np.cos(20 * np.pi * far)).sum(axis=1)))
    a, b = x[:, 0], x[:, 1]
    return np.stack([scale * a * b, scale * a * (1 - b), scale * (1 - a)], axis=1)


def dtlz2_two(x: "Floats") -> "Floats":
    import numpy as np

    scale, angle = 1 + ((x[:, 1:] - 0.5) ** 2).sum(axis=1), x[:, 0] * np.pi / 2
    return np.stack([scale * np.cos(angle), scale * np.sin(angle)], axis=1)


def dtlz2_three(x: "Floats") -> "Floats":
    import numpy as np

    scale = 1 + ((x[:, 2:] - 0.5) ** 2).sum(axis=1)
    a, b = x[:, 0] * np.pi / 2, x[:, 1] * np.pi / 2
    return np.stack([scale * np.cos(a) * np.cos(b), scale * np.cos(a) * np.sin(b), scale * np.sin(a)], axis=1)


PROBLEMS = {
    "zdt1": Problem(30, 2, 0.876667, 0.99, zdt1),
    "zdt2": Problem(30, 2, 0.543333, 0.99, zdt2),
    "zdt3": Problem(30, 2, 1.331763, 0.99, zdt3),
    "zdt4": Problem(10, 2, 0.876667, None, zdt4),
    "zdt6": Problem(10, 2, 0.507878, 0.98, zdt6),
    "dtlz1-3": Problem(7, 3, 1.310167, None, dtlz1),
    "dtlz2-2": Problem(11, 2, 0.424602, 0.98, dtlz2_two),
    "dtlz2-3": Problem(12, 3, 0.807401, None, dtlz2_three),
}


# --- the two sides ------------------------------------------------------------------------------------------------------------


class Searched(NamedTuple):
    objectives: list[list[float]]
    """Of the last population."""
    generation_ms: float


def ours(problem: Problem, seed: int, evaluations: int) -> Searched:
    import numpy as np

    from core.hunt import nsga2
    from core.hunt.draws import draws

    def tried(units: Sequence[tuple[float, ...]]) -> list[nsga2.Individual]:
        nonlocal outside_s
        began = time.perf_counter()
        found = problem.function(np.array(units))
        outside_s += time.perf_counter() - began
        return [nsga2.Individual(unit, tuple(each)) for unit, each in zip(units, found.tolist(), strict=True)]

    outside_s, generations = 0.0, evaluations // POPULATION
    began = time.perf_counter()
    individuals = tried(nsga2.first(problem.dim, POPULATION, draws(seed, 0)))
    ranked = nsga2.select(individuals, POPULATION)
    for generation in range(1, generations):
        population = [individuals[each.index] for each in ranked]
        children = nsga2.offspring(ranked, POPULATION, draws(seed, generation))
        individuals = population + tried([child.unit for child in children])
        ranked = nsga2.select(individuals, POPULATION)
    took_s = time.perf_counter() - began - outside_s
    return Searched([list(individuals[each.index].objectives) for each in ranked], 1e3 * took_s / generations)


def peer(problem: Problem, seed: int, evaluations: int) -> Searched:
    """Needs pymoo: runs in the peers' environment."""
    import numpy as np
    from pymoo.algorithms.moo.nsga2 import NSGA2  # type: ignore[import-not-found,unused-ignore]
    from pymoo.core.problem import Problem as PeerProblem  # type: ignore[import-not-found,unused-ignore]
    from pymoo.optimize import minimize  # type: ignore[import-not-found,unused-ignore]

    class Same(PeerProblem):  # type: ignore[misc,unused-ignore]
        outside_s = 0.0

        def _evaluate(self, x: "Floats", out: dict[str, Any], *_: Any, **__: Any) -> None:
            began = time.perf_counter()
            out["F"] = problem.function(x)
            Same.outside_s += time.perf_counter() - began

    searched = Same(n_var=problem.dim, n_obj=problem.objectives, xl=np.zeros(problem.dim), xu=np.ones(problem.dim))
    began = time.perf_counter()
    found = minimize(searched, NSGA2(pop_size=POPULATION), ("n_eval", evaluations), seed=seed, verbose=False, copy_algorithm=False)
    took_s = time.perf_counter() - began - Same.outside_s
    return Searched(found.pop.get("F").tolist(), 1e3 * took_s / (evaluations // POPULATION))


def peers(python: Path, name: str, seeds: int, evaluations: int) -> list[Searched]:
    command = [str(python), "-m", "benchmarks.optimiser", "--peer", "--problems", name]
    command += ["--seeds", str(seeds), "--evaluations", str(evaluations)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD})
    return [Searched(*each) for each in json.loads(ended.stdout)]


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


# --- judging ------------------------------------------------------------------------------------------------------------------


def share(problem: Problem, searched: Searched) -> float:
    import moocore  # type: ignore[import-untyped,unused-ignore]
    import numpy as np

    reference = np.full(problem.objectives, REFERENCE)
    return float(moocore.hypervolume(np.array(searched.objectives), ref=reference)) / problem.exact


def figures(shares: list[float], times: list[float]) -> dict[str, Any]:
    low, middle, high = (round(f(shares), 5) for f in (min, statistics.median, max))
    return {"share": middle, "lowest": low, "highest": high, "generation_ms": round(statistics.median(times), 3)}


def compared(problem: Problem, mine: list[Searched], theirs: list[Searched] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"asked": problem.least}
    for side, found in (("ours", mine), ("pymoo", theirs)):
        if found is not None:
            row[side] = figures([share(problem, each) for each in found], [each.generation_ms for each in found])
    row["lost"] = _lost(problem, row)
    return row


def _lost(problem: Problem, row: dict[str, Any]) -> list[str]:
    share_of_ours = row["ours"]["share"]
    lost = []
    if problem.least is not None and share_of_ours < problem.least:
        lost.append("share")
    if "pymoo" in row and share_of_ours < row["pymoo"]["share"] - BELOW_PEER_MAX:
        lost.append("pymoo")
    if row["ours"]["generation_ms"] > GENERATION_MS_MAX:
        lost.append("time")
    return lost


def line(name: str, row: dict[str, Any]) -> str:
    def side(found: dict[str, Any] | None) -> str:
        return f"{found['share']:.5f} {found['lowest']:.5f}…{found['highest']:.5f} {found['generation_ms']:6.2f}" if found else "–"

    asked = "–" if row["asked"] is None else f"{row['asked']:.2f}"
    verdict = f"LOST: {', '.join(row['lost'])}" if row["lost"] else ""
    return f"{name:8} {asked:>5}   {side(row['ours']):31}   {side(row.get('pymoo')):31} {verdict}".rstrip()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=11)
    parser.add_argument("--evaluations", type=int, default=25_000)
    parser.add_argument("--no-pymoo", action="store_true", help="our side alone")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args(argv)
    if options.peer:
        found = [peer(PROBLEMS[name], seed, options.evaluations) for name in options.problems for seed in range(options.seeds)]
        print(json.dumps(found))
        return 0
    return _compare(options)


def _compare(options: argparse.Namespace) -> int:
    python = None if options.no_pymoo else _peers_python()
    print("problem  asked   ours: median, range, ms a generation   pymoo: the same")
    rows = {}
    for name in options.problems:
        problem = PROBLEMS[name]
        mine = [ours(problem, seed, options.evaluations) for seed in range(options.seeds)]
        theirs = peers(python, name, options.seeds, options.evaluations) if python else None
        rows[name] = compared(problem, mine, theirs)
        print(line(name, rows[name]), flush=True)
    if options.write:
        about = {
            "evaluations": options.evaluations,
            "seeds": options.seeds,
            "population": POPULATION,
            "load": os.getloadavg()[0],
            "versions": {"python": platform.python_version(), "numpy": version("numpy"), "moocore": version("moocore")}
            | ({"pymoo": _peers_version(python)} if python else {}),
        }
        RESULTS.write_text(json.dumps({**about, "problems": rows}, indent=2) + "\n")
    return int(any(row["lost"] for row in rows.values()))


def _peers_python() -> Path | None:
    from benchmarks.peers import install

    try:
        return install()
    except (OSError, subprocess.CalledProcessError) as missing:
        print(f"NOT MEASURED: pymoo. The peers' environment could not be made ({missing})", file=sys.stderr)
        return None


def _peers_version(python: Path) -> str:
    program = "from importlib.metadata import version; print(version('pymoo'))"
    return subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
