"""The long tests: how often each is run, in `make test` and in `make campaign`, and how often each has been run.

A campaign counts on from one run to the next: `benchmarks/campaign.json` holds a row for each, and what a run adds is written down
again and again while it goes on, so a run that is ended loses little. 0 failures in n runs say that fewer than 3/n fail.
"""

import fcntl
import json
import os
import subprocess
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COUNTS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "tests/campaign.toml").read_text())
RESULTS = ROOT / "benchmarks/campaign.json"
WRITTEN_S = 20
FAILURES_SHOWN = 3

Row = dict[str, Any]


def per_commit(row_id: str) -> int:
    """How many of these `make test` runs."""
    return int(COUNTS[row_id]["per_commit"])


def campaign(row_id: str, one: Callable[[int], Mapping[str, int] | bool | None], at_once: int = 1) -> Row:
    """Runs `one` with numbers that no run before had, for MINUTES if set, else until the count is reached, or as many again.

    It has failed if it says False or an assertion in it fails. What it says by name is counted by name.
    """
    before = _row(row_id)["count"]
    first, wanted = per_commit(row_id) + before, max(COUNTS[row_id]["campaign"] - before, 0) or COUNTS[row_id]["campaign"]
    minutes, began = float(os.environ.get("MINUTES") or "inf"), time.monotonic()
    added, told = _nothing(), began
    failures: list[str] = []
    for index in range(first, first + wanted, at_once):
        if time.monotonic() - began > 60 * minutes:
            break
        added["count"] += at_once
        try:
            found = one(index)
        except AssertionError as error:
            failures.append(f"{row_id} {index}: {error}")
            found = False
        else:
            failures += [f"{row_id} {index}"] if found is False else []
        added["failures"] += found is False
        if isinstance(found, Mapping):
            for name, hit in found.items():
                added[name] = added.get(name, 0) + int(hit)
        if (now := time.monotonic()) - told > WRITTEN_S:
            _add(row_id, added | {"seconds": now - told})
            added, told = _nothing(), now
    row = _add(row_id, added | {"seconds": time.monotonic() - told})
    assert not failures, "\n".join(failures[:FAILURES_SHOWN])
    return row


def _nothing() -> Row:
    return {"count": 0, "failures": 0, "seconds": 0.0}


def _row(row_id: str) -> Row:
    results: list[Row] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return next((row for row in results if row["id"] == row_id), {"id": row_id, **_nothing()})


def _add(row_id: str, added: Row) -> Row:
    """Several campaigns may run at once: each adds to what the file says now."""
    with RESULTS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        row = _row(row_id)
        for name, number in added.items():
            row[name] = round(row.get(name, 0) + number, 1)
        row["commit"], row["command"] = _commit(), _command()
        results: list[Row] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        others = [other for other in results if other["id"] != row_id]
        RESULTS.write_text(json.dumps(sorted([*others, row], key=lambda each: str(each["id"])), indent=2) + "\n")
    return row


def _command() -> str:
    return "make campaign" + "".join(f" {name}={os.environ[name]}" for name in ("ONLY", "MINUTES") if os.environ.get(name))


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
