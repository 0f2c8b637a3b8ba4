"""The rows as CSV: every candidate once, in the order of the log, and codes as the numbers that stand for them here alone."""

import csv
import io
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.canonical import event_payload
from core.component.events import ComponentFinished
from core.engine import JobEnded, Refused
from core.hunt import ledger
from core.hunt.ledger import HEADER, Projection
from core.sim.chunk import Chunk, Lane
from core.sim.model import PARAMETERS
from tests.core.hunt.hunter import SMALL, Hunter, none_diverges

SOURCE = (
    "hunt_id,job_uuid,generation,index,parent_a,parent_b,seed,status,log_prime_sse,sse_code,sdg_h_norm_l2,sdg_h_norm_l2_max,"
    "gap_phase,gap_target,fitness,rank,crowding,scaling_factor,n_peaks,n_targets,resolved,artefact_sha256"
)


def written(hunter: Hunter) -> bytes:
    projection = Projection()
    lines: dict[str, bytes] = {}
    for kind, payload, _ in hunter.records:
        found = dict(projection.fold(kind, payload))
        assert kind == "component.finished" or not set(found) & set(lines), "a row is written once"
        lines.update(found)
    return b"".join(lines.values())


def rows(hunter: Hunter) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((HEADER + written(hunter)).decode())))


def test_the_columns_are_those_that_other_programs_read() -> None:
    assert HEADER.decode().rstrip("\n") == ",".join([SOURCE, *PARAMETERS, "gap", "seeds", "run_uuid"])


def test_every_candidate_is_a_row_with_what_it_was_and_what_it_came_to() -> None:
    hunter = Hunter(formula=none_diverges)
    hunt_id = hunter.start()
    hunter.to_the_end()
    found = rows(hunter)
    assert len(found) == 15
    for row in found:
        kept = hunter.hunt.row(int(row["generation"]), int(row["index"]))
        assert kept.outcome is not None
        assert row["hunt_id"] == hunt_id and row["job_uuid"] == kept.child.job_uuid and int(row["seed"]) == kept.child.seed
        assert (
            float(row["log_prime_sse"]) == kept.outcome.log_prime_sse and float(row["sdg_h_norm_l2"]) == kept.outcome.sdg_h_norm_l2
        )
        assert [row["parent_a"], row["parent_b"]] == (list(kept.child.parents) or ["", ""])
        assert int(row["rank"]) == kept.rank and float(row["crowding"]) == (
            float("inf") if kept.crowding is None else kept.crowding
        )
        params = {**hunter.hunt.began.settings.params, **kept.child.params}
        assert {name: float(row[name]) for name in PARAMETERS} == params
        assert (row["status"], row["resolved"], row["sse_code"], row["gap_phase"]) == ("ok", "true", "", "")


def test_a_code_is_a_sentinel_here_and_never_an_empty_metric() -> None:
    codes = {0: ("no_peaks", None), 1: ("diverged", "diverged"), 2: (None, "no_source")}

    def coded(lane: Lane, chunk: Chunk) -> dict[str, Any]:
        said = none_diverges(lane, chunk)
        sse, norm = codes.get(lane.index or 0, (None, None))
        if sse is not None:
            said |= {"log_prime_sse": None, "sse_code": sse}
        if norm is not None:
            said |= {"sdg_h_norm_l2": None, "h_code": norm, "sdg_h_norm_l2_max": None}
        return said | ({"status": "diverged", "fail_step": 1} if sse == "diverged" else {})

    hunter = Hunter(formula=coded)
    hunter.start({**SMALL, "num_generations": 1, "population_size": 4, "settings": {"lanes": 1}})
    for _ in range(3):
        hunter.round()
    for _ in range(2):
        hunter.told(JobEnded(hunter.errands()[0].id, False, "timeout"))
    found = rows(hunter)
    assert [(row["log_prime_sse"], row["sse_code"]) for row in found] == [
        ("999", "no_peaks"),
        ("1002", "diverged"),
        (found[2]["log_prime_sse"], ""),
        ("998", "missing"),
    ]
    assert [row["sdg_h_norm_l2"] for row in found[1:]] == ["1002", "998", "998"]
    assert all(row["log_prime_sse"] and row["sdg_h_norm_l2"] and row["sdg_h_norm_l2_max"] for row in found)
    assert found[3]["status"] == "missing" and not found[3]["fitness"] and not found[3]["rank"]


@settings(max_examples=30, deadline=None)
@given(moves=st.lists(st.sampled_from(["end", "end", "stop", "resume", "fail", "start"]), max_size=30))
def test_no_row_is_written_twice_or_lost_whatever_happens(moves: list[str]) -> None:
    hunter = Hunter()
    hunter.start()
    for what in moves:
        try:
            if what in ("stop", "resume", "start"):
                hunter.ask(what, SMALL if what == "start" else {})
                hunter.settle()
            elif what == "end":
                hunter.round()
            elif errands := hunter.errands():
                hunter.told(JobEnded(errands[0].id, False, "timeout"))
        except Refused:
            pass
    for hunt_id in list(hunter.hunts.hunts):
        for _ in range(2):
            if hunter.hunts.hunts[hunt_id].active:
                hunter.ask("stop", {"hunt_id": hunt_id})
    found = [(row["hunt_id"], row["generation"], row["index"]) for row in rows(hunter)]
    scored = {
        (hunt.hunt_id, str(row.generation), str(row.child.index))
        for hunt in hunter.hunts.hunts.values()
        for row in hunt.rows.values()
        if row.outcome is not None
    }
    assert len(found) == len(set(found)) and set(found) == scored


def test_the_rows_so_far_are_the_beginning_of_all_rows() -> None:
    hunter = Hunter()
    hunter.start()
    before = b""
    while hunter.round():
        now = written(hunter)
        assert now.startswith(before)
        before = now
    assert before.count(b"\n") == 15


def found_out(job_uuid: str, component: str = "null-profile", ok: bool = True, **outputs: float | None) -> tuple[str, bytes]:
    event = ComponentFinished("job", job_uuid, component, "1.0.0", "0" * 64, ok, dict(outputs), code="ok" if ok else "failed")
    return event.event_type, event_payload(event)


def test_what_a_component_finds_out_comes_into_the_row_before_or_after_it_is_written() -> None:
    hunter = Hunter(formula=none_diverges)
    hunter.start()
    hunter.to_the_end()
    plain = rows(hunter)
    early, late, failed, other = (plain[at]["job_uuid"] for at in (1, 2, 3, 4))
    known = {"gap_phase": 0.5, "gap_target": -0.25}
    stamp = hunter.records[0][2]
    hunter.records.insert(1, (*found_out(early, **known), stamp))
    for each in (
        found_out(late, gap_phase=9.0, gap_target=9.0),
        found_out(late, **known),
        found_out(failed, ok=False, **known),
        found_out(other, "bssn-check", **known),
        found_out("5c1d2c1e-9f43-4a1a-8f27-0c6a6b4c7d11", **known),
    ):
        hunter.records.append((*each, stamp))
    for before, after in zip(plain, rows(hunter), strict=True):
        changed = {name for name in before if before[name] != after[name]}
        if after["job_uuid"] in (early, late):
            assert changed == {"gap_phase", "gap_target", "fitness"}
            assert (float(after["gap_phase"]), float(after["gap_target"])) == (0.5, -0.25)
            assert float(after["fitness"]) == 1 / float(after["log_prime_sse"]) + 0.1 * 0.25
        else:
            assert not changed
    hunter.records.append((*found_out(late, gap_phase=None, gap_target=1.0), stamp))
    assert rows(hunter)[2] == plain[2] | {"gap_target": "1.0"}, "one gap alone changes no fitness"


def test_only_the_last_rows_change(monkeypatch: Any) -> None:
    monkeypatch.setattr(ledger, "WINDOW", 5)
    hunter = Hunter(formula=none_diverges)
    hunter.start()
    hunter.to_the_end()
    plain = rows(hunter)
    for row in plain:
        hunter.records.append((*found_out(row["job_uuid"], gap_phase=1.0, gap_target=1.0), hunter.records[0][2]))
    assert [row["gap_phase"] for row in rows(hunter)] == [""] * 10 + ["1.0"] * 5
