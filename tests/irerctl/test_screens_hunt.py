"""What a person sees of a hunt: the picture, the plain lines, and that nothing found is called certified."""

import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.hunt.reads import HuntPage, HuntStatus, LedgerPage, Paradox
from irerctl.screens import hunt
from tests.core.hunt.hunter import SMALL, Hunter
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import Stream, Written

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def answers(rounds: int = 99) -> dict[str, Any]:
    """What a daemon answers of a hunt after so many calls."""
    hunter = Hunter()
    hunter.start(SMALL)
    for _ in range(rounds):
        if not hunter.round():
            break
    return {
        name: msgspec.to_builtins(hunter.look(verb, params))
        for name, verb, params in (
            ("hunt.status", "status", {}),
            ("hunt.list", "list", {}),
            ("hunt.ledger", "ledger", {"sort": "log_prime_sse"}),
        )
    }


WHOLE, HALF = answers(), answers(4)


def test_the_answers_are_of_their_types() -> None:
    for kind, name in ((HuntStatus, "hunt.status"), (HuntPage, "hunt.list"), (LedgerPage, "hunt.ledger")):
        msgspec.convert(WHOLE[name], kind)


def test_alone_it_tells_how_far_it_is_and_that_nothing_is_certified(run: Run, serve: Serve) -> None:
    serve(WHOLE)
    said = run("hunt").stdout
    assert "completed" in said and "engineering success: 15 of 15 runs have an outcome" in said
    assert "thresholds not reached, not certified: the best has log_prime_sse" in said
    assert "irerctl hunt best" in said


def test_before_the_first_it_says_how_to_begin(run: Run, serve: Serve) -> None:
    serve({"hunt.status": {"state": "idle", "generation": 0, "generations": 0, "jobs_done": 0, "jobs_total": 0}})
    said = run("hunt").stdout
    assert "no hunt yet" in said and "irerctl hunt start" in said


def test_what_runs_has_a_line_for_a_pipe(run: Run, serve: Serve) -> None:
    serve(HALF)
    line = run("hunt", "status").stdout.splitlines()[1]
    assert re.fullmatch(
        r"generation 1 of 3  7 of 15 runs  best [\d.]+, h norm [\d.]+  front \d+  hypervolume [\d.]+  \d+ s left", line
    )


def test_the_front_is_drawn_with_a_point_for_each_place() -> None:
    front = [
        {"job_uuid": "a", "values": [0.01, 1.0]},
        {"job_uuid": "b", "values": [0.1, 0.1]},
        {"job_uuid": "c", "values": [1.0, 0.001]},
    ]
    lines = hunt.plot({"objectives": ["log_prime_sse", "sdg_h_norm_l2"], "front": front})
    grid = [line.partition("│")[2] for line in lines[1 : 1 + hunt.PLOT_ROWS]]
    points = [(row, line.index("●")) for row, line in enumerate(grid) if "●" in line]
    assert points == [(0, 0), (2, 22), (hunt.PLOT_ROWS - 1, hunt.PLOT_COLUMNS - 1)], "high on the left, low on the right"
    assert "3 candidates" in lines[0] and lines[1].startswith("    1") and lines[-1].split() == ["0.01", "1"]


@pytest.mark.parametrize("front", [[], [{"job_uuid": "a", "values": [0.5]}], [{"job_uuid": "a", "values": [0.0, 0.0]}]])
def test_a_front_of_nothing_of_one_or_at_nought_is_no_trouble(front: list[dict[str, Any]]) -> None:
    objectives = ["log_prime_sse", "sdg_h_norm_l2"][: len(front[0]["values"]) if front else 2]
    lines = hunt.plot({"objectives": objectives, "front": front})
    assert "".join(lines).count("●") == (1 if front and len(front[0]["values"]) == 2 else 0)


def test_the_picture_fits_twenty_lines_of_eighty_columns() -> None:
    lines = hunt.picture(HALF["hunt.status"])
    assert len(lines) <= 20 and max(len(ANSI.sub("", line)) for line in lines) <= 100
    assert "generation 1 of 3" in lines[1] and "7 of 15 runs" in lines[1] and "left" in lines[1]


@pytest.mark.parametrize(("points", "told"), [(192, "on 192 points a side"), (0, "no grid is fine enough")])
def test_on_which_grid_a_candidate_is_certified(points: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    hunt.draw_certifying({"job": "j", "job_uuid": "c", "grid": {"n": points, "l": 40.0, "d": 2}})
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("column", ["gap", "h_classical", "scaling_factor"])
def test_what_the_rows_are_sorted_by_stands_in_the_table(column: str, run: Run, serve: Serve) -> None:
    serve(WHOLE)
    assert column in run("hunt", "ledger", "--sort", column).stdout.splitlines()[0].split()
    assert column not in run("hunt", "ledger").stdout.splitlines()[0].split()


def test_where_the_thresholds_were_not_reached_the_best_front_is_told(run: Run, serve: Serve) -> None:
    serve(WHOLE)
    status = WHOLE["hunt.status"]
    said = run("hunt", "status").stdout
    for each in status["front"][: hunt.FRONT_SHOWN]:
        assert f"{each['job_uuid']}  log_prime_sse {each['values'][0]:.4g}  sdg_h_norm_l2 {each['values'][1]:.4g}" in said
    many = {**status, "front": [{"job_uuid": str(at), "values": [float(at), -2.0]} for at in range(7)]}
    assert hunt.front_lines({**many, "objectives": ["log_prime_sse", "gap"]})[1] == "  0  log_prime_sse 0  gap 2"
    assert len(hunt.front_lines(many)) == hunt.FRONT_SHOWN + 2 and "2 more" in hunt.front_lines(many)[-1]
    reached = {"scientific": {**status["success"]["scientific"], "reached": True}}
    assert hunt.front_lines({**many, "success": reached}) == []


def test_a_metric_without_a_number_is_its_code_in_every_row(run: Run, serve: Serve) -> None:
    serve(WHOLE)
    said = run("hunt", "ledger", "--sort", "log_prime_sse").stdout
    codes = [row["sse_code"] for row in WHOLE["hunt.ledger"]["rows"] if row["sse_code"]]
    assert codes and all(said.count(code) >= codes.count(code) for code in codes)
    assert not re.search(r"\b(999|998|1002)\b", said)


def test_start_sends_what_was_given_and_nothing_else(run: Run, serve: Serve, tmp_path: Path) -> None:
    peer = serve({"hunt.start": {"hunt_id": "h-1"}})
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"eps": {"low": 0.5, "high": 1.5}}))
    assert "hunt h-1 began" in run("hunt", "start", "--generations", "3", "--seed", "5", "--space", str(space)).stdout
    run("hunt", "start", "--objectives", "fitness", "--settings", '{"steps": 10}')
    sent = [call.p for call in peer.calls if call.m == "hunt.start"]
    assert sent == [
        {"num_generations": 3, "seed": 5, "space": {"eps": {"low": 0.5, "high": 1.5}}},
        {"objectives": ["fitness"], "settings": {"steps": 10}},
    ]


def test_the_best_is_json_also_for_a_person(run: Run, serve: Serve) -> None:
    document = {"job_uuid": "j", "sncgl_params": {"eps": 0.5}, "metrics": {}}
    serve({"hunt.best": document})
    assert json.load(io.StringIO(run("hunt", "best").stdout)) == document


def test_a_best_without_a_score_is_shown_by_its_code() -> None:
    best = {"job_uuid": "j", "generation": 0, "index": 0, "log_prime_sse": None, "sse_code": "no_peaks", "sdg_h_norm_l2": 0.25}
    assert hunt.status_line({**HALF["hunt.status"], "best": best})[1].endswith("best no_peaks, h norm 0.25")


def test_watching_no_hunt_says_so_and_how_to_begin_one(run: Run, serve: Serve) -> None:
    idle = {"state": "idle", "generation": 0, "generations": 0, "jobs_done": 0, "jobs_total": 0}
    serve({"hunt.watch": Stream([]), "hunt.status": idle})
    ran = run("hunt", "watch")
    assert ran.exit_code == 0 and "no hunt yet" in ran.stdout and "0 of 0" not in ran.stdout
    assert "irerctl hunt start" in ran.output


# --- certificates and the paradox -------------------------------------------------------------------------------------------


def test_a_verdict_stands_beside_the_best_with_its_reasons_and_why_thresholds_were_not_reached(run: Run, serve: Serve) -> None:
    status = json.loads(json.dumps(WHOLE["hunt.status"]))
    status["success"]["scientific"] |= {"certificate": "refuted", "p_family": 0.25}
    row = {"job_uuid": "j-1", "verdict": "refuted", "reasons": ["0 of 5 fresh seeds pass"], "p_family": 0.25, "p_holm": 1.0}
    status["certificates"] = [row]
    serve({"hunt.status": status})
    said = run("hunt", "status").stdout
    assert "refuted, p_family 0.25" in said and "0 of 5 fresh seeds pass" in said and "p_holm 1" in said
    assert "never both in one" in said


def test_a_certificate_is_told_by_its_reasons_and_its_runs(run: Run, serve: Serve) -> None:
    fresh = {"kind": "fresh", "seed": 1, "status": "ok", "flags": ["unsettled"], "resolved": True, "score": 3.25, "code": None}
    fresh |= {"matched": 5, "h_max": 0.25, "p_phase": 1.0, "p_target": 0.985, "ramp_gain": -1.5}
    half = {"kind": "half_step", "seed": 1, "status": "diverged", "flags": [], "score": None, "code": "diverged", "matched": 0}
    judged = {"verdict": "inconclusive", "reasons": ["0 of 5 fresh seeds pass", "\x1b[2J"], "p_holm": 1.0, "p_family": None}
    found = {**judged, "job_uuid": "j-1", "figures": [fresh, half]}
    job = {"job": "c-1", "method": "hunt.certify", "state": "done", "seq": 3, "ok": True, "code": "ok", "result": found}
    begun = {"job": "c-1", "hunt_id": "h", "job_uuid": "j-1", "grid": {"n": 192, "l": 100.0, "d": 1}}
    serve({"hunt.certify": Written(begun), "system.op_watch": Stream([], result=job)})
    ran = run("hunt", "certify", "--wait")
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ran.exit_code == 0 and ran.stdout.startswith("inconclusive: j-1, p_holm 1, p_family -") and "\x1b" not in ran.stdout
    assert ["fresh", "ok", "unsettled", "3.25", "5", "0.25", "1", "0.985", "-1.5"] in lines
    assert ["half_step", "diverged", "diverged", "0", "-", "-", "-", "-"] in lines
    assert not any("{" in line for line in ran.stdout.splitlines())


def test_the_paradox_is_a_table_beside_what_the_source_claims(run: Run, serve: Serve) -> None:
    told = {"n": 15, "rho": -0.25, "p": 0.4, "low": -0.6, "high": 0.2}
    nothing = {"n": 0, "rho": None, "p": None, "low": None, "high": None}
    pairs = [
        {"instability": "sdg_h_norm_l2", "overall": told, "within": told},
        {"instability": "h_classical", "overall": nothing, "within": nothing},
    ]
    found = {"hunt_id": "h", "fidelity": "-log_prime_sse", "rows": 15, "pairs": pairs, "claimed": 0.72}
    msgspec.convert(found, Paradox)
    serve({"hunt.paradox": found})
    said = run("hunt", "paradox").stdout
    assert "-0.25" in said and "-0.6 to 0.2" in said and "h_classical" in said and "0.72" in said


def test_golden_parameters_are_written_once_with_their_certificate(run: Run, serve: Serve, tmp_path: Path) -> None:
    best = {"job_uuid": "j-1", "sncgl_params": {"eps": 1.0}, "certificate": {"verdict": "inconclusive"}}
    serve({"hunt.best": best})
    place = tmp_path / "golden.json"
    assert "inconclusive" in run("hunt", "export", "--out", str(place)).stdout and json.loads(place.read_text()) == best
    place.write_text("mine")
    again = run("hunt", "export", "--out", str(place))
    assert again.exit_code != 0 and place.read_text() == "mine"
    assert json.loads(run("hunt", "export", "-o", "json").stdout) == best
