#!/usr/bin/env bash
# Hunt on a small grid, wait for the end, and print the parameters of the best candidate. Run it as an operator.
set -euo pipefail

irerctl hunt start --generations 2 --population 4 --seed "${1:-7}" --follow \
  --settings '{"grid": {"n": 32, "d": 1}, "steps": 64, "lanes": 2}' >&2

irerctl hunt ledger --sort log_prime_sse --limit 3 >&2
irerctl hunt best | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["sncgl_params"], indent=2))'
