"""`python -m benchmarks`: what `make bench` runs."""

import sys

from benchmarks.rpc import main

sys.exit(main())
