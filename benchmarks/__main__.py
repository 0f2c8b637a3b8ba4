"""`python -m benchmarks`: what `make bench` runs. With options only the servers are measured; they are the ones that take them."""

import subprocess
import sys

from benchmarks import optimiser
from benchmarks.rpc import main

APART = ("hunt_rate", "numeric_core", "profile")
"""Each in a process of its own: it says which cores and how many threads, before a numeric library is loaded."""


def science() -> int:
    missed = optimiser.main(["--write"])
    for name in APART:
        missed |= subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode != 0
    return int(missed)


sys.exit(main() | (science() if len(sys.argv) == 1 else 0))
