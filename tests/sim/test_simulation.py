"""T13: seeds of the whole daemon. Each is a universe with crashes, power cuts, failing disks and callers who do what they like.

Run one again with `IRER_SEED=123 .venv/bin/pytest tests/sim -k seed`; docs/testing.md says what it simulates.
"""

import json
import os
import subprocess
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.sim.universe import Outcome, run_seed

ROOT = Path(__file__).parents[2]
COUNTS = tomllib.loads((ROOT / "tests/campaign.toml").read_text())["T13"]
RESULTS = ROOT / "benchmarks/campaign.json"
COMMAND = "make campaign"
TWICE_EVERY = 100
"""One seed in so many runs twice, and must come out the same to the last byte."""
FAILURES_SHOWN = 5


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def explained(outcome: Outcome) -> str:
    """Enough to run it again and to begin to understand it."""
    lines = [
        f"seed {outcome.seed} at commit {commit()}: {outcome.violation}",
        f"  the last operations of {outcome.operations}, in life {outcome.lives}:",
        *(f"  {line}" for line in outcome.last),
        f"  again: IRER_SEED={outcome.seed} .venv/bin/pytest tests/sim -k seed",
    ]
    return "\n".join(lines)


def once(seed: int) -> Outcome:
    """A seed, and at times its repetition."""
    outcome = run_seed(seed)
    if outcome.violation is None and (seed % TWICE_EVERY == 0 or "IRER_SEED" in os.environ):
        again = run_seed(seed)
        assert again.digest == outcome.digest, f"seed {seed} came out differently the second time: something is not simulated"
    return outcome


def chosen_seeds() -> Iterable[int]:
    if "IRER_SEED" in os.environ:
        return [int(os.environ["IRER_SEED"])]
    return range(1, COUNTS["per_commit"] + 1)


def summed(outcomes: list[Outcome]) -> str:
    parts = (("operations", "operations"), ("lives", "lives"), ("records", "records"), ("virtual_s", "s of time"))
    return ", ".join(f"{sum(getattr(outcome, name) for outcome in outcomes):,.0f} {unit}" for name, unit in parts)


@pytest.mark.slow
def test_every_seed_keeps_every_promise(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.process_time()
    outcomes: list[Outcome] = []
    failures: list[Outcome] = []
    for seed in chosen_seeds():
        outcome = once(seed)
        outcomes.append(outcome)
        if outcome.violation is not None:
            failures.append(outcome)
            if len(failures) == FAILURES_SHOWN:
                break
    spent_s = time.process_time() - began
    with capsys.disabled():
        print(f"\nsimulator: {len(outcomes)} seeds, {len(outcomes) / spent_s:.1f} seeds/s, {summed(outcomes)}")
    if failures:
        pytest.fail("\n\n".join(map(explained, failures)), pytrace=False)


def test_other_seeds_are_other_universes() -> None:
    assert len({run_seed(seed, operations=40).digest for seed in range(1, 5)}) == 4


def row_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    row = next((row for row in results if row["id"] == "T13"), None)
    if row is None:
        row = {"id": "T13", "count": 0, "failures": 0, "seconds": 0.0, "commit": "", "command": COMMAND}
        results.append(row)
    return row


@pytest.mark.campaign
def test_campaign_of_seeds() -> None:
    """Goes on where the last run stopped, for MINUTES if that is set, else until the count is reached, or as many again."""
    results: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    row = row_of(results)
    first = COUNTS["per_commit"] + 1 + row["count"]
    wanted = max(COUNTS["campaign"] - row["count"], 0) or COUNTS["campaign"]
    minutes = os.environ.get("MINUTES")
    began = time.monotonic()
    failures: list[Outcome] = []
    for seed in range(first, first + wanted):
        if minutes is not None and time.monotonic() - began > 60 * float(minutes):
            break
        outcome = once(seed)
        row["count"] += 1
        if outcome.violation is not None:
            row["failures"] += 1
            failures.append(outcome)
            if len(failures) == FAILURES_SHOWN:
                break
    row |= {"seconds": round(row["seconds"] + time.monotonic() - began, 1), "commit": commit()}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    if failures:
        pytest.fail("\n\n".join(map(explained, failures)), pytrace=False)
