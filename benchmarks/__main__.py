"""`python -m benchmarks`: what `make bench` runs. With options only the servers are measured; they are the ones that take them."""

import sys

from benchmarks import optimiser
from benchmarks.rpc import main

sys.exit(main() | (optimiser.main(["--write"]) if len(sys.argv) == 1 else 0))
