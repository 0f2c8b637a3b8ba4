"""A start takes a log exactly where the verifier passes it: what one calls corrupt, the other does not serve (T4, T18)."""

import json
import random

from state.recover import recover
from state.segment import Corrupt
from state.verify import verify_files
from tests.docs.test_independent_verifier import Case, names_of_logs, random_case
from tests.sim.disk import SimFiles
from tests.state.logs import stamp


def disk_of(case: Case) -> SimFiles:
    files = SimFiles()
    for name, data in case.found.items():
        files.plant(name, data)
    if case.head is not None:
        files.plant(f"log.d/{case.log}/head", case.head)
    logs = {case.log: case.origin} if case.origin else {}
    facts = {"boots": 1, "format": 1, "id": "00000000000000a1", "logs": logs, "written_by": "irer"}
    files.plant("ledger.json", json.dumps(facts, separators=(",", ":"), sort_keys=True).encode() + b"\n")
    return files


def starts(files: SimFiles, case: Case) -> str | None:
    """Why not, or None."""
    try:
        recover(files, case.log, case.origin or f"irer.invalid/00000000000000a1/{case.log}", stamp, lambda batch: None)
    except Corrupt as damage:
        return str(damage)
    return None


def test_a_start_refuses_what_the_verifier_refuses():
    """But for two: without a snapshot no pruned log starts, and a start does not read payloads for their form."""
    compared = 0
    for seed in (1, 2):
        draw = random.Random(seed)
        for case in [random_case(draw, log) for log in names_of_logs()]:
            if case.pruned or case.forged is not None:
                continue
            files = disk_of(case)
            (*_, row) = verify_files(files, [case.log])
            why = starts(files, case)
            assert (why is None) == row["ok"], (case.what, why, row)
            compared += 1
    assert compared > 250
