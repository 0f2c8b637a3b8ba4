"""`python -m benchmarks [SUBJECT ...] [--write] [OPTION ...]`: the subjects that are named, each in a process of its own.

Without any argument all of them, and what they find is written: that is `make bench`. `--write` reaches those that keep a result;
other options reach every subject named. One that fails, or misses what it aims at, does not keep the others from their turn.
"""

import subprocess
import sys
from collections.abc import Sequence

SUBJECTS = {
    "rpc": "irerd beside FastAPI, grpc.aio and redis",
    "durable": "the log beside SQLite and redis, verification, starts",
    "access": "judgements beside pycasbin and cedarpy",
    "data": "vector search beside usearch and sqlite-vec, events a second, a million events",
    "offline": "cache, synchronisation, entities beside their peers",
    "revenue": "projections of the profit circuit",
    "optimiser": "the hunt's optimiser beside pymoo",
    "trajectory": "closure, exact search and new costs beside clingo",
    "hunt_rate": "runs of a hunt in an hour",
    "numeric_core": "the field solver beside its transforms, exponax, py-pde, and a process for each run",
    "nulls": "the nulls of a profile",
    "hub": "POST /v1/sense through the hub beside FastAPI, idle streams, a slow reader",
    "energy": "senses, actions and proofs by the socket",
    "public_data": "detectors and forecasts on public data (--data DIR)",
}
"""Each is a module of this folder with `main(argv) -> int`."""
WRITERS = frozenset(
    {
        "energy",
        "public_data",
        "rpc",
        "data",
        "durable",
        "access",
        "offline",
        "revenue",
        "optimiser",
        "trajectory",
        "numeric_core",
        "hub",
    }
)
"""Those that take `--write`."""


def run(subject: str, options: Sequence[str]) -> int:
    given = [option for option in options if option != "--write" or subject in WRITERS]
    print(f"== {subject}: {SUBJECTS[subject]}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{subject}", *given]).returncode


def main(argv: Sequence[str]) -> int:
    words = list(argv)
    named: list[str] = []
    while words and words[0] in SUBJECTS:
        named.append(words.pop(0))
    if words and not words[0].startswith("-"):
        print(f"no subject {words[0]}. There are: {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    if words and {"-h", "--help"} & set(words) and not named:
        print(f"{(__doc__ or '').strip()}\n\n" + "\n".join(f"  {name:14}{what}" for name, what in SUBJECTS.items()))
        return 0
    if not named and set(words) - {"--write"}:
        print(f"which subject are {' '.join(words)} for? There are: {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    options = words if argv else ["--write"]
    failed = [subject for subject in named or SUBJECTS if run(subject, options)]
    if failed:
        print(f"== not reached, or not run: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


sys.exit(main(sys.argv[1:]))
