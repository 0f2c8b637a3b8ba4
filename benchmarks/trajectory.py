"""Closure, exact search and new costs beside clingo.

    .venv/bin/python -m benchmarks.trajectory [--cores N] [--rounds N] [--large SECONDS] [--million] [--write]

Both sides run in this process on the same cores, in processor seconds. The kernels are given arrays, clingo is given text, with an
atom of its own for each; what it takes to read that text is in its grounding time, and on these programs is most of it, so solving
stands apart. Of clingo's strategies, branch and bound and unsatisfiable cores, the better one counts. Kernels are compiled before.
Every row says whether both answered the same: null where clingo was not done in time, and such a task is left out of the sums,
which say so. Needs clingo, which comes with what tests need.
"""

import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import million, peers

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "trajectory.json"
STATE = ROOT / "benchmarks/.work"
LITERALS_PER_S_MIN, CLOSURE_RATIO_MIN, COSTS_RATIO_MIN = 20e6, 10.0, 10.0
LARGE = 10**6
"""Rules for which clingo takes minutes: it has a turn only where that is asked for, in a process of its own with a limit."""
CLINGO_BYTES_MAX = 12 * 2**30
MADE = {"random": "random_horn", "layered": "layered_horn"}


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


def clingo_closure(text: str) -> tuple[float, float, int]:
    """Seconds to ground, seconds to solve, and how many atoms hold."""
    import clingo

    began = time.process_time()
    control = clingo.Control(["--warn=none"])
    control.add("base", [], text)
    control.ground([("base", [])])
    grounded = time.process_time()
    found: list[int] = []
    control.solve(on_model=lambda model: found.append(len(model.symbols(atoms=True))))
    return grounded - began, time.process_time() - grounded, found[-1]


def clingo_apart(name: str, size: int, limit_s: int) -> dict[str, Any]:
    """The same in a process of its own, which may take so many processor seconds and so much memory: what came of it."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
        resource.setrlimit(resource.RLIMIT_AS, (CLINGO_BYTES_MAX, CLINGO_BYTES_MAX))

    code = f"from benchmarks import trajectory; trajectory.clingo_alone({name!r}, {size})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limits)
    if ran.returncode == 0:
        told: dict[str, Any] = json.loads(ran.stdout)
        return told
    late = ran.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    why = f"not done in {limit_s} s of a core" if late else f"ended with status {ran.returncode} below {CLINGO_BYTES_MAX >> 30} GiB"
    return {"why": why}


def clingo_alone(name: str, size: int) -> None:
    program, initial = globals()[MADE[name]](size)
    ground_s, solve_s, holds = clingo_closure(horn_text(program, initial))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_000
    print(json.dumps({"ground_s": ground_s, "solve_s": solve_s, "holds": holds, "peak_mb": peak_mb}))


def closure_row(name: str, size: int, rounds: int, turns_of_clingo: int, limit_s: int) -> dict[str, Any]:
    from kernels.additive import additive
    from kernels.closure import closure

    program, initial = globals()[MADE[name]](size)
    dearer = program._replace(cost=program.cost[::-1].copy())
    ours = turns({"closure": lambda: closure(program, initial), "costs": lambda: additive(dearer, initial)}, rounds)
    literals, took = int(program.body.size), statistics.median(ours["closure"])
    row = {
        "programs": name,
        "rules": int(program.head.size),
        "literals": literals,
        "closure": middle(ours["closure"]),
        "costs": middle(ours["costs"]),
        "literals_per_s": round(literals / took),
    }
    if not turns_of_clingo:
        return {**row, "same": None}
    if limit_s:
        alone = clingo_apart(name, size, limit_s)
        if "why" in alone:
            return {**row, "same": None, "clingo_why": alone["why"]}
        row["clingo_peak_mb"] = alone["peak_mb"]
        theirs = [(alone["ground_s"], alone["solve_s"], alone["holds"])]
    else:
        text = horn_text(program, initial)
        theirs = [clingo_closure(text) for _ in range(turns_of_clingo)]
    whole, grounding = middle([sum(each[:2]) for each in theirs]), middle([each[0] for each in theirs])
    return {
        **row,
        "clingo": whole,
        "grounding": grounding,
        "ratio": round(whole["ms"] / 1e3 / took, 1),
        "costs_ratio": round(grounding["ms"] / 1e3 / statistics.median(ours["costs"]), 1),
        "same": int((closure(program, initial).depth >= 0).sum()) == theirs[0][2],
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


# --- the result -------------------------------------------------------------------------------------------------------------


def sums(tasks_found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over the tasks that clingo ended in time."""
    done = [row for row in tasks_found if row["same"] is not None]
    parts = {part: round(sum(row["clingo"][part] for row in done), 1) for part in ("ground_ms", "solve_ms")}
    ours = round(sum(row["exact"]["ms"] for row in done), 1)
    return {"tasks": len(done), "unfinished_by_clingo": len(tasks_found) - len(done), "exact_ms": ours, **parts}


def judged(closures: Sequence[Mapping[str, Any]], summed: Mapping[str, Any]) -> list[dict[str, Any]]:
    def least(name: str, key: str, aim: float, unit: str, by: float = 1.0) -> dict[str, Any]:
        values = [row[key] / by for row in closures if key in row]
        low, high = round(min(values), 1), round(max(values), 1)
        told = {"name": name, "aim": f"≥ {aim:g} {unit}", "value": low, "low": low, "high": high, "unit": unit}
        return {**told, "won": min(values) >= aim}

    clingo_ms = round(summed["ground_ms"] + summed["solve_ms"], 1)
    exact_ms = summed["exact_ms"]
    whole = {"name": f"exact search, {summed['tasks']} tasks together, against clingo's grounding and solving", "unit": "ms"}
    return [
        least("closure, the slowest program", "literals_per_s", LITERALS_PER_S_MIN / 1e6, "M body literals/s", 1e6),
        least("closure, against clingo's grounding and solving, the nearest", "ratio", CLOSURE_RATIO_MIN, "×"),
        least("new costs with the closure kept, against clingo's grounding, the nearest", "costs_ratio", COSTS_RATIO_MIN, "×"),
        {**whole, "aim": f"≤ {clingo_ms:g} ms", "value": exact_ms, "low": exact_ms, "high": exact_ms, "won": exact_ms <= clingo_ms},
    ]


def markdown(result: Mapping[str, Any]) -> str:
    from benchmarks.report import targets

    about, summed = result["about"], result["sums"]
    lines = [
        f"At {about['measured']}, commit {about['commit']}: {about['cpu']}, {about['cores']} core, load {about['load']:g}; "
        f"processor time, medians of {about['rounds']} rounds. "
        f"clingo {about['clingo']}, numba {about['numba']}, python {about['python']}.",
        "",
        targets(result["targets"]),
        "",
        "| programs | rules | body literals | closure ms | M literals/s | clingo ms | × "
        "| new costs ms | clingo grounds ms | × | same |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in result["closures"]:
        figures = [f"{row['rules']:,}", f"{row['literals']:,}", f"{row['closure']['ms']:g}", f"{row['literals_per_s'] / 1e6:.1f}"]
        there = "clingo" in row
        figures += [f"{row['clingo']['ms']:,.0f}", f"{row['ratio']:g}"] if there else [row.get("clingo_why", "not asked"), ""]
        figures += [f"{row['costs']['ms']:g}"]
        figures += [f"{row['grounding']['ms']:,.0f}", f"{row['costs_ratio']:g}", _yes(row["same"])] if there else ["", "", ""]
        lines.append(f"| {row['programs']} | {' | '.join(figures)} |")
    if result.get("million"):
        lines += million.markdown(result["million"])
    lines += [
        "",
        f"Exact search over {summed['tasks']} tasks: {summed['exact_ms']:g} ms; clingo grounds them in {summed['ground_ms']:g} ms "
        f"and solves them in {summed['solve_ms']:g} ms. "
        f"It did not end {summed['unfinished_by_clingo']} within {about['limit_s']:g} s; these count on neither side.",
        "",
        "| task | rules | least | nodes | exact ms | clingo: strategy | grounds ms | solves ms | same |",
        "|---|--:|--:|--:|--:|---|--:|--:|---|",
    ]
    for row in result["tasks"]:
        clingo = row["clingo"]
        told_figures = f"{row['rules']:,} | {row['least']} | {row['nodes']} | {row['exact']['ms']:g} | {clingo['strategy']}"
        told = f"{clingo['ground_ms']:g} | {clingo['solve_ms']:g} | {_yes(row['same'])}"
        lines.append(f"| {row['task']} | {told_figures} | {told} |")
    return "\n".join(lines)


def _yes(same: bool | None) -> str:
    return "not ended" if same is None else "yes" if same else "**NO**"


def _about(given: argparse.Namespace) -> dict[str, Any]:
    cpu = next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    versions = {name: version(name) for name in ("clingo", "numba")}
    return {
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "commit": commit.strip() or "unknown",
        "cpu": cpu,
        "cores": given.cores,
        "load": round(os.getloadavg()[0], 1),
        "rounds": given.rounds,
        "limit_s": given.limit,
        "python": platform.python_version(),
        **versions,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=10.0, help="seconds that clingo has for a task")
    parser.add_argument(
        "--large", type=int, default=0, metavar="SECONDS", help="ask clingo for a million rules too, with this limit"
    )
    parser.add_argument("--million", action="store_true", help="only a million rules through irerctl and irerd, on all cores")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} and the table of README.md")
    given = parser.parse_args(argv)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    whole = _million(min(given.rounds, 3)) if given.million or given.write else before.get("million")
    result = before if given.million else _beside_clingo(given)
    verdicts = [verdict for verdict in result["targets"] if "million" not in verdict]
    result |= {"million": whole, "targets": [*verdicts, *(million.judged(whole) if whole else [])]}
    print(json.dumps({"sums": result["sums"], "targets": result["targets"]}), flush=True)
    if given.write:
        from benchmarks.report import put_into

        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        put_into(ROOT / "benchmarks" / "README.md", markdown(result), "trajectory")
    wrong = any(row["same"] is False for row in [*result["closures"], *result["tasks"]])
    return int(wrong or any(not verdict["won"] for verdict in result["targets"]))


def _million(rounds: int) -> dict[str, Any]:
    place = peers.Place(STATE)
    try:
        found = million.measured(place, rounds)
    finally:
        place.remove()
    print(json.dumps({"million": found}), flush=True)
    return found


def _beside_clingo(given: argparse.Namespace) -> dict[str, Any]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-given.cores :])
    about = _about(given)
    closures = []
    for size in (10**4, 10**5, LARGE):
        for name in MADE:
            asked = 3 if size == 10**4 else int(size < LARGE or given.large > 0)
            closures.append(closure_row(name, size, given.rounds, asked, given.large if size == LARGE else 0))
            print(json.dumps(closures[-1]), flush=True)
    exact_rows = []
    for name, problem in tasks().items():
        exact_rows.append(least_row(name, problem, given.rounds, given.limit))
        print(json.dumps(exact_rows[-1]), flush=True)
    summed = sums(exact_rows)
    return {"about": about, "targets": judged(closures, summed), "closures": closures, "sums": summed, "tasks": exact_rows}


if __name__ == "__main__":
    raise SystemExit(main())
