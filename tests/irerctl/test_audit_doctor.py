"""audit and doctor: what they make of a whole chain, a broken one, and a daemon that is not there."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from irerctl import audit, doctor
from irerctl.session import Failure
from tests.irerctl.conftest import Run, Serve
from tests.irerctl.peer import Stream
from tests.irerctl.samples import STATUS

WHOLE = {"log": "gate_log", "records": 120, "done": True, "ok": True, "code": "chain-ok"}
WALKING = {"log": "engine_state", "records": 50, "done": False, "ok": True, "code": "walking"}
BROKEN = {
    "log": "engine_state",
    "records": 121,
    "done": True,
    "ok": False,
    "code": "chain-broken",
    "first_bad": {"seq": 121, "offset": 61_952, "why": "event_hash does not match"},
}


def report(ok: bool) -> dict[str, Any]:
    return {"ok": ok, "logs": 2, "records": 241}


def test_whole_chains_are_listed_and_exit_0(run: Run, serve: Serve) -> None:
    peer = serve({"audit.hashchain": Stream([WALKING, {**WALKING, "records": 14_081, "done": True}, WHOLE], result=report(True))})
    ran = run("audit", "hashchain")
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[-1] == "2 logs  14,201 records  every chain is whole"
    assert peer.calls[0].p == {}


def test_a_broken_chain_exits_1_and_names_the_record_and_the_reason(run: Run, serve: Serve) -> None:
    intact = {**WHOLE, "log": "cache_log"}  # comes before the broken one by name
    serve({"audit.hashchain": Stream([intact, WALKING, BROKEN], result=report(False))})
    ran = run("audit", "hashchain")
    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    assert lines[1].split() == ["engine_state", "121", "BROKEN"], "the worst news comes first"
    assert "engine_state: record 121 at byte 61,952 does not hold: event_hash does not match" in lines
    assert lines[-1].endswith("1 of 2 chains broken")
    as_json = run("-o", "json", "audit", "hashchain")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == {"ok": False, "logs": [intact, BROKEN]}


def test_progress_is_for_terminals_only(run: Run, serve: Serve, on_terminal: Any) -> None:
    serve({"audit.hashchain": Stream([WALKING, {**WHOLE, "log": "engine_state"}, WHOLE], result=report(True))})
    assert run("audit", "hashchain").stderr == ""
    assert "engine_state  50 records" in on_terminal("audit", "hashchain")


HOLDS: dict[str, Any] = {
    "log": "gate_log",
    "records": 3_117,
    "done": True,
    "ok": True,
    "code": "chain-ok",
    "segments": 1,
    **dict.fromkeys(("chain", "form", "tree"), "ok"),
    **dict.fromkeys(("sealed", "cosigned"), "none"),
    "snapshots": [{"result": "ok", "seq": 10}, {"result": "ok", "seq": 20}, {"result": "bad", "seq": 30, "why": "cut"}],
}
FAILS: dict[str, Any] = {
    **{key: value for key, value in HOLDS.items() if key != "snapshots"},
    "log": "zeta_log",
    "ok": False,
    "code": "chain-broken",
    "chain": "failed",
    **dict.fromkeys(("form", "tree"), "unknown"),
    "first_bad": {"seq": 12, "offset": 61_952, "why": "event_hash does not match", "file": "zeta_log.0000000000000000.jsonl"},
}
UNVOUCHED = [
    {"log": "gate_log", "why": "3,117 records not sealed", "from": 0, "to": 3_116},
    {"log": "zeta_log", "why": "what follows the first bad record", "from": 12},
    {"log": "all", "why": "replay (not asked for)"},
    {"log": "all", "why": "wall-clock times"},
]


def verdict(*logs: dict[str, Any], result: str = "limited") -> dict[str, Any]:
    return {"logs": list(logs), "not_verified": UNVOUCHED, "result": result}


def test_a_verification_is_a_table_then_what_was_not_verified_then_one_word(run: Run, serve: Serve) -> None:
    peer = serve({"audit.verify": Stream([{**WALKING, "stage": "reading"}, HOLDS], result=verdict(HOLDS))})
    ran = run("audit", "verify")
    assert ran.exit_code == 0 and ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "log       records  segments  chain  form  tree  sealed  cosigned  snapshots",
        "gate_log    3,117         1  ok     ok    ok    none    none      2 ok, 1 bad",
        "NOT VERIFIED",
        "  gate_log  3,117 records not sealed (0..3116)",
        "  zeta_log  what follows the first bad record (from 12)",
        "  all       replay (not asked for); wall-clock times",
        "result: limited",
    ]
    assert peer.calls[0].p == {}
    run("audit", "verify", "--replay", "--log", "gate_log")
    assert peer.calls[1].p == {"log": "gate_log", "replay": True}


def test_a_failed_verification_exits_1_and_names_the_record_in_its_file(run: Run, serve: Serve) -> None:
    failed = verdict(HOLDS, FAILS, result="failed")
    serve({"audit.verify": Stream([HOLDS, FAILS], result=failed)})
    ran = run("audit", "verify")
    lines = ran.stdout.splitlines()
    assert ran.exit_code == 1 and lines[-1] == "result: failed"
    assert lines[1].split() == ["zeta_log", "3,117", "1", "failed", "unknown", "unknown", "none", "none", "unknown"]
    place = "zeta_log in zeta_log.0000000000000000.jsonl: record 12 at byte 61,952"
    assert f"FAILED  {place} does not hold: event_hash does not match" in lines
    as_json = run("-o", "json", "audit", "verify")
    assert as_json.exit_code == 1 and json.loads(as_json.stdout) == failed
    as_lines = run("-o", "jsonl", "audit", "verify")
    assert as_lines.exit_code == 1
    assert list(map(json.loads, as_lines.stdout.splitlines())) == [HOLDS, FAILS, {"not_verified": UNVOUCHED, "result": "failed"}]


def test_progress_of_a_verification_says_what_is_being_done(serve: Serve, on_terminal: Any) -> None:
    steps = [{**WALKING, "stage": "reading", "total": 60}, {**WALKING, "stage": "replaying"}]
    serve({"audit.verify": Stream([*steps, HOLDS], result=verdict(HOLDS))})
    shown = on_terminal("audit", "verify")
    assert "engine_state  50 of 60 records" in shown and "engine_state  50 replayed" in shown


def test_a_log_that_nobody_knows_is_not_found_beside_those_that_there_are(run: Run, place: Path) -> None:
    state = place / "state"
    state.mkdir()
    (state / "gate_log.jsonl").write_bytes(b"")
    for command in ("hashchain", "verify"):
        ran = run("audit", command, "--log", "nope", "--state-dir", str(state))
        assert ran.exit_code == 66 and "no log nope" in ran.stderr and "There are: gate_log" in ran.stderr


def test_one_log_is_asked_for_by_name(run: Run, serve: Serve) -> None:
    peer = serve({"audit.hashchain": Stream([WHOLE], result=report(True))})
    assert run("audit", "hashchain", "--log", "gate_log").exit_code == 0
    assert peer.calls[0].p == {"log": "gate_log"}


def test_doctor_with_no_daemon_says_how_to_start_one_and_exits_1(run: Run, socket_path: Path) -> None:
    ran = run("doctor")
    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("fail  socket"))
    assert str(socket_path) in lines[place] and "does not exist" in lines[place]
    assert lines[place + 1].strip() == "Try: irerd &   or: systemctl start irerd"
    found = json.loads(run("-o", "json", "doctor").stdout)
    assert found["ok"] is False
    assert {finding["check"] for finding in found["findings"]} >= {"program", "caller", "socket", "unit", "state", "clock"}


def test_every_finding_that_is_not_ok_has_a_remedy(run: Run, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(socket_path))
    findings = [json.loads(line) for line in run("-o", "jsonl", "doctor").stdout.splitlines()]
    assert any(finding["verdict"] == "fail" and "refused" in finding["text"] for finding in findings)
    assert all(finding["remedy"] for finding in findings if finding["verdict"] != "ok")


def test_doctor_repeats_what_the_daemon_says_is_wrong(run: Run, serve: Serve) -> None:
    status = {**STATUS, "health": "degraded", "problems": ["disk: nearly full"], "pid": os.getpid()}
    serve({"system.status": status, "system.info": {"version": "0.9.0", "schema": "f" * 64}})
    ran = run("doctor")
    assert "warn  health    disk: nearly full" in ran.stdout
    assert ran.exit_code == 0, "a warning is no failure"
    assert "ok    role      the daemon knows you as admin" in ran.stdout
    assert "their methods differ" in ran.stdout


def test_doctor_fails_when_the_daemon_says_it_failed(run: Run, serve: Serve) -> None:
    serve({"system.status": {**STATUS, "health": "failed", "problems": ["gate_log: does not verify"]}, "system.info": {}})
    ran = run("doctor")
    assert "fail  health    gate_log: does not verify" in ran.stdout
    assert ran.exit_code == 1


def test_doctor_sees_who_holds_the_state(place: Path) -> None:
    import fcntl

    lock = place / "LOCK"
    with lock.open("w") as held:
        assert doctor.lock_owner(lock) is None
        fcntl.flock(held, fcntl.LOCK_EX)
        assert doctor.lock_owner(lock) == os.getpid()
    assert doctor.lock_owner(lock) is None
    assert doctor.lock_owner(place / "absent") is None


def test_doctor_fails_when_the_holder_does_not_answer(run: Run, place: Path) -> None:
    import fcntl

    state = place / "state"
    state.mkdir(mode=0o700)
    (state / "ledger.json").write_text("{}")
    with (state / "LOCK").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = run("doctor", "--state-dir", str(state))
    assert f"fail  lock      pid {os.getpid()} (" in ran.stdout and "does not answer" in ran.stdout
    assert ran.exit_code == 1


def test_doctor_warns_of_a_state_others_can_read(run: Run, place: Path) -> None:
    state = place / "state"
    state.mkdir()
    state.chmod(0o755)
    (state / "ledger.json").write_text("{}")
    text = run("doctor", "--state-dir", str(state)).stdout
    assert "has mode 0755" in text and f"Try: chmod 0700 {state}" in text


@pytest.mark.parametrize(("free", "verdict"), [(1 << 40, "ok"), (1 << 29, "warn"), (1 << 20, "fail")])
def test_doctor_judges_the_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, place: Path, free: int, verdict: str) -> None:
    class Room:
        f_bavail, f_frsize, f_files, f_favail = free // 4096, 4096, 10**6, 10**6

    monkeypatch.setattr(os, "statvfs", lambda path: Room)
    patient = doctor.Patient(None, "", place)  # type: ignore[arg-type]
    assert [finding.verdict for finding in doctor.check_disk(patient)] == [verdict]


def test_doctor_sees_a_clock_that_went_back(place: Path) -> None:
    log = place / "engine_state.jsonl"
    log.write_text("")
    later = log.stat().st_mtime + 3_600
    os.utime(log, (later, later))
    patient = doctor.Patient(None, "", place)  # type: ignore[arg-type]
    (finding,) = doctor.check_clock(patient)
    assert finding.verdict == "warn" and "from now" in finding.text


def test_what_the_verifier_says_when_it_cannot_work_becomes_the_error(place: Path) -> None:
    with pytest.raises(Failure) as told:
        list(audit.verified_offline(place / "nowhere"))
    assert told.value.body["code"] == "failed-precondition" and told.value.body["detail"]
