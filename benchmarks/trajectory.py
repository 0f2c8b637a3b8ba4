"""Closure and exact search beside clingo: `python -m benchmarks.trajectory [--cores N] [--rounds N] [--large]`.

Both sides run in this process on the same cores. The kernels are given arrays, clingo is given text, with an atom of its own for
each; what it takes to read that text is in its grounding time, and on these programs is most of it, so solving stands apart. Of
clingo's strategies, branch and bound and unsatisfiable cores, the better one counts. Kernels are compiled before. Every row says
whether both answered the same: null where clingo was not done in time, and such a task is left out of the sums, which say so.
Needs clingo, which comes with what tests need.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any


def turns(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each side, one after the other in every round, so that both meet the same weather."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.process_time()
            side()
            found[name].append(time.process_time() - began)
    return found


def middle(times: list[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else (times[0],) * 3
    return {"ms": round(1e3 * median, 3), "low_ms": round(1e3 * low, 3), "high_ms": round(1e3 * high, 3)}


# --- closure ----------------------------------------------------------------------------------------------------------------


def random_horn(rules: int, seed: int = 1) -> Any:
    """Bodies of one to five atoms, half as many atoms as rules, a third of them facts."""
    import numpy as np

    from kernels.horn import Program

    draw = np.random.default_rng([seed, rules])
    start = np.append(0, np.cumsum(draw.integers(1, 6, rules)))
    atoms = max(4, rules // 2)
    body = draw.integers(0, atoms, start[-1]).astype(np.int32)
    cost = draw.integers(0, 10**6, rules)
    program = Program(start, body, draw.integers(0, atoms, rules).astype(np.int32), cost, np.zeros(rules, np.int32), atoms)
    return program, draw.random(atoms) < 1 / 3


def layered_horn(rules: int, seed: int = 1, depth: int = 100) -> Any:
    """Layers, each of which is derived from the one before, two atoms at a time."""
    import numpy as np

    from kernels.horn import Program

    draw = np.random.default_rng([seed, rules, depth])
    width = max(2, rules // depth // 2)
    layer = np.repeat(np.arange(1, depth), 2 * width)
    head = (layer * width + np.tile(np.arange(2 * width) % width, depth - 1)).astype(np.int32)
    body = ((layer - 1)[:, None] * width + draw.integers(0, width, (layer.size, 2))).astype(np.int32).ravel()
    nothing = np.zeros(layer.size, np.int32)
    program = Program(2 * np.arange(layer.size + 1), body, head, np.ones(layer.size, np.int64), nothing, width * depth)
    return program, np.arange(width * depth) < width


def horn_text(program: Any, initial: Any) -> str:
    lines = [f"a{atom}." for atom in initial.nonzero()[0].tolist()]
    body, start = program.body.tolist(), program.body_start.tolist()
    for rule, head in enumerate(program.head.tolist()):
        lines.append(f"a{head} :- " + ", ".join(f"a{atom}" for atom in body[start[rule] : start[rule + 1]]) + ".")
    return "\n".join(lines)


def clingo_count(text: str) -> int:
    import clingo

    control = clingo.Control(["--warn=none"])
    control.add("base", [], text)
    control.ground([("base", [])])
    found: list[int] = []
    control.solve(on_model=lambda model: found.append(len(model.symbols(atoms=True))))
    return found[-1]


def closure_row(name: str, made: Any, rounds: int) -> dict[str, Any]:
    from kernels.additive import additive
    from kernels.closure import closure

    program, initial = made
    text = horn_text(program, initial)
    ours = turns({"closure": lambda: closure(program, initial), "additive": lambda: additive(program, initial)}, rounds)
    theirs = turns({"clingo": lambda: clingo_count(text)}, min(rounds, 3))
    literals, took = int(program.body.size), statistics.median(ours["closure"])
    return {
        "programs": name,
        "rules": int(program.head.size),
        "literals": literals,
        "closure": middle(ours["closure"]),
        "additive": middle(ours["additive"]),
        "literals_per_s": round(literals / took),
        "clingo": middle(theirs["clingo"]),
        "ratio": round(statistics.median(theirs["clingo"]) / took, 1),
        "same": int((closure(program, initial).depth >= 0).sum()) == clingo_count(text),
    }


# --- the least --------------------------------------------------------------------------------------------------------------


def tasks() -> dict[str, Any]:
    """29: two of each of the twelve domains, and five larger ones."""
    from tests.kernels import domains

    found = {f"{name} {seed}": problem for seed in (0, 1) for name, problem in domains.twelve(seed).items()}
    larger = {
        "gripper 200": domains.gripper(200),
        "visitall 30": domains.visitall(30),
        "miconic 30": domains.miconic(30, 40, 1),
        "logistics 5": domains.logistics(5, 12, 1),
        "covering 40": domains.covering(40, 30, 1),
    }
    return found | larger


def clingo_parts(text: str, strategy: str, limit_s: float) -> tuple[float, float, int | None]:
    """Seconds to ground, seconds to solve, and the least; None where it was not done in time."""
    import clingo

    began = time.process_time()
    control = clingo.Control(["--warn=none", f"--opt-strategy={strategy}"])
    control.add("base", [], text)
    control.ground([("base", [])])
    grounded = time.process_time()
    best: list[int] = []
    with control.solve(on_model=lambda model: best.append(sum(model.cost)), async_=True) as handle:
        done = handle.wait(limit_s)
        handle.cancel()
        proven = done and handle.get().exhausted
    return grounded - began, time.process_time() - grounded, best[-1] if proven and best else None


def exact(arrays: Any) -> Any:
    from kernels.exact import Search
    from kernels.horn import task

    found, _ = task(*arrays)
    search = Search(found)
    for _ in search.exact():
        pass
    return search


def least_row(name: str, problem: Any, rounds: int, limit_s: float) -> dict[str, Any]:
    from tests.kernels import domains
    from tests.kernels import naive_horn as naive

    text, arrays = naive.clingo_program(*problem[:3]), domains.arrays(*problem[:3])
    search = exact(arrays)
    ours = turns({"exact": lambda: exact(arrays)}, rounds)["exact"]
    theirs = {way: clingo_parts(text, way, limit_s) for way in ("bb", "usc")}
    best = min(theirs, key=lambda way: (theirs[way][2] is None, sum(theirs[way][:2])))
    return {
        "task": name,
        "rules": len(problem.rules),
        "least": search.best.cost,
        "nodes": search.nodes,
        "exact": middle(ours),
        "clingo": {"strategy": best, "ground_ms": round(1e3 * theirs[best][0], 3), "solve_ms": round(1e3 * theirs[best][1], 3)},
        "same": theirs[best][2] == search.best.cost if theirs[best][2] is not None else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds that clingo has for a task")
    parser.add_argument("--large", action="store_true", help="programs of a million rules too, which clingo takes minutes for")
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-given.cores :])
    sizes = (10**4, 10**5, 10**6) if given.large else (10**4, 10**5)
    for size in sizes:
        for name, made in (("random", random_horn(size)), ("layered", layered_horn(size))):
            print(json.dumps(closure_row(name, made, given.rounds)), flush=True)
    rows = []
    for name, problem in tasks().items():
        rows.append(least_row(name, problem, given.rounds, given.limit))
        print(json.dumps(rows[-1]), flush=True)
    done = [row for row in rows if row["same"] is not None]
    theirs = {part: round(sum(row["clingo"][part] for row in done), 1) for part in ("ground_ms", "solve_ms")}
    ours = round(sum(row["exact"]["ms"] for row in done), 1)
    print(json.dumps({"tasks": len(done), "unfinished_by_clingo": len(rows) - len(done), "exact_ms": ours, **theirs}))


if __name__ == "__main__":
    main()
