"""A million rules from a file to the beam's answer, by the clock and in processor seconds: a part of `benchmarks.trajectory`.

`irerctl trajectory load`, then `irerctl trajectory search`, on an irerd of its own with its defaults; the closure is worked out on
the way, as nothing is kept from before. Kernels are compiled before. What each process holds at most is added up, though not all
hold it at once. A file whose last rule is wrong must be refused by its number, with nothing sent.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import peers

RULES = 10**6
GOAL = "a330131"
"""Of a million of these rules 164 are the cheapest way there, which the beam finds in a worker."""
SECONDS_MAX, BYTES_MAX = 10.0, 2e9
WRONG = ', "cost": -1}'


class Ran(NamedTuple):
    seconds: float
    cpu_s: float
    peak_mb: float
    status: int
    said: str


def written(path: Path, rules: int) -> None:
    """Bodies of one to five atoms, half as many atoms as rules and met at random, a third of them facts, ten groups."""
    draw = random.Random(1)
    atoms = max(4, rules // 2)
    with path.open("w") as file:
        facts = ", ".join(f'"a{atom}"' for atom in range(atoms) if draw.random() < 1 / 3)
        file.write(f'{{"facts": [{facts}],\n"goals": ["{GOAL}"],\n"rules": [\n')
        for rule in range(rules):
            body = ", ".join(f'"a{draw.randrange(atoms)}"' for _ in range(draw.randrange(1, 6)))
            head, cost, group = draw.randrange(atoms), draw.randrange(10**6) / 10**6, draw.randrange(10)
            told = f'{{"rule_id": "r{rule}", "premises": [{body}], "conclusion": "a{head}", "group": "g{group}", "cost": {cost}}}'
            file.write(told + (",\n" if rule < rules - 1 else "\n]}\n"))


def spoilt(path: Path, good: Path) -> None:
    """The same but for the cost of the last rule."""
    text = good.read_text()
    path.write_text(text[: text.rindex(', "cost"')] + WRONG + "\n]}\n")


def ran(socket: str, *words: str) -> Ran:
    began = time.perf_counter()
    command = [sys.executable, "-m", "irerctl.main", "--socket", socket, "--timeout", "600", "trajectory", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    return Ran(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3 * 1.024, process.returncode, said)


def workers(pid: int) -> list[int]:
    """What it started, whichever of its threads did."""
    children = (Path(task, "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir())
    return [int(child) for each in children for child in each]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1.024e-3


def once(place: peers.Place, file: Path) -> dict[str, Any]:
    with peers.irerd(place) as daemon:
        idle_s = cpu_s(daemon.pid)
        load = ran(daemon.socket, "load", str(file))
        loaded_s = cpu_s(daemon.pid)
        search = ran(daemon.socket, "search", "--mode", "beam")
        if load.status or search.status or "cost" not in search.said:
            raise RuntimeError(f"no answer: {load.said} {search.said}")
        searched_s, children = cpu_s(daemon.pid), workers(daemon.pid)
        worked_s = sum(map(cpu_s, children))
        again = ran(daemon.socket, "search", "--mode", "beam")
        return {
            "seconds": load.seconds + search.seconds,
            "load_s": load.seconds,
            "search_s": search.seconds,
            "again_s": again.seconds,
            "irerctl_cpu_s": load.cpu_s + search.cpu_s,
            "irerd_load_cpu_s": loaded_s - idle_s,
            "irerd_search_cpu_s": searched_s - loaded_s,
            "worker_cpu_s": worked_s,
            "irerctl_mb": load.peak_mb,
            "irerd_mb": peak_mb(daemon.pid),
            "worker_mb": sum(map(peak_mb, children)),
        }


def compiled(place: peers.Place, file: Path) -> None:
    """Has every kernel compiled that a search for the deepest atom of a smaller program needs."""
    with peers.irerd(place) as daemon:
        ran(daemon.socket, "load", str(file))
        many = json.loads(ran(daemon.socket, "closure", "--limit", "1", "-o", "json").said)["count"]
        last = json.loads(ran(daemon.socket, "closure", "--after", str(many - 1), "-o", "json").said)["atoms"][0]["symbol"]
        ran(daemon.socket, "search", "--mode", "beam", "--goal", last)


def refused(place: peers.Place, file: Path, rules: int) -> dict[str, Any]:
    with peers.irerd(place) as daemon:
        found = ran(daemon.socket, "load", str(file))
        status = ran(daemon.socket, "status")
    named = f"rule {rules}, r{rules - 1}," in found.said and found.status != 0
    return {
        "seconds": found.seconds,
        "cpu_s": found.cpu_s,
        "mb": round(found.peak_mb),
        "named": named and status.said.count("0 rules") == 1,
    }


def measured(place: peers.Place, rounds: int, rules: int = RULES) -> dict[str, Any]:
    good, bad, little = (place.state / f"{name}.json" for name in ("million", "wrong", "little"))
    written(good, rules)
    spoilt(bad, good)
    written(little, 30_000)
    compiled(place, little)
    each = [once(place, good) for _ in range(rounds)]
    middle = {name: round(statistics.median(one[name] for one in each), 2) for name in each[0]}
    memory = middle["irerctl_mb"] + middle["irerd_mb"] + middle["worker_mb"]
    seconds = sorted(round(one["seconds"], 2) for one in each)
    return {
        "rules": rules,
        "file_mb": round(good.stat().st_size / 1e6),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        **middle,
        "low_s": seconds[0],
        "high_s": seconds[-1],
        "together_mb": round(memory),
        "refused": refused(place, bad, rules),
    }


def judged(found: dict[str, Any]) -> list[dict[str, Any]]:
    wrong = found["refused"]
    clock = {"name": f"{found['rules']:,} rules loaded, closed and searched, by the clock on {found['cores']} cores", "unit": "s"}
    memory = {"name": "the same: memory of irerctl, irerd and worker, each at its most", "unit": "MB", "aim": "≤ 2000 MB"}
    refusal = {"name": "the same with the last rule wrong: refused by its number", "unit": "s", "aim": "≤ 10 s"}
    amount, late = found["together_mb"], round(wrong["seconds"], 2)
    verdicts = [
        {**clock, "aim": "≤ 10 s", "value": found["seconds"], "low": found["low_s"], "high": found["high_s"]}
        | {"won": found["seconds"] <= SECONDS_MAX},
        {**memory, "value": amount, "low": amount, "high": amount, "won": amount <= BYTES_MAX / 1e6},
        {**refusal, "value": late, "low": late, "high": late, "won": wrong["named"] and late <= SECONDS_MAX},
    ]
    return [{**verdict, "million": True} for verdict in verdicts]


def markdown(found: dict[str, Any]) -> list[str]:
    wrong = found["refused"]
    together = found["irerctl_cpu_s"] + found["irerd_load_cpu_s"] + found["irerd_search_cpu_s"] + found["worker_cpu_s"]
    return [
        "",
        f"A million rules ({found['file_mb']} MB of JSON, half a million atoms met at random, the worst for caches) through "
        f"`irerctl trajectory load` and `search --mode beam` on an irerd with its defaults, {found['cores']} cores, load "
        f"{found['load']:g}, medians:",
        "",
        "| | by the clock, s | of a core, s | MB at most |",
        "|---|--:|--:|--:|",
        f"| load: irerctl | {found['load_s']:g} | {found['irerctl_cpu_s']:g} (with search) | {found['irerctl_mb']:.0f} |",
        f"| load: irerd | | {found['irerd_load_cpu_s']:g} | {found['irerd_mb']:.0f} |",
        f"| first search, with the closure: irerd | {found['search_s']:g} | {found['irerd_search_cpu_s']:g} | |",
        f"| worker | | {found['worker_cpu_s']:g} | {found['worker_mb']:.0f} |",
        f"| a search after that | {found['again_s']:g} | | |",
        f"| **together** | **{found['seconds']:g}** | {together:.1f} | {found['together_mb']} |",
        f"| the last rule wrong: refused | {wrong['seconds']:.1f} | {wrong['cpu_s']:.1f} | {wrong['mb']} |",
    ]
