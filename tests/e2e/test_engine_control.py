"""Engine control over a real socket: an engine proves its key and is judged at every call; what is taken from it is gone at once.

The flows are those of the source, with its names and its JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.wire.calls import Done, Err
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

ENGINE_UID, OPERATOR, VIEWER_TOO = 23_011, 23_012, 23_013
CONFIG = f"""
access.engine = ["uid:{ENGINE_UID}", "uid:{VIEWER_TOO}"]
access.operator = ["uid:{OPERATOR}"]
access.viewer = ["uid:{VIEWER_TOO}"]
"""
CHECK = {"engine_id": "action", "platform": "gmail", "action_type": "send_email"}
REFUSED = "no valid engine proof on this connection. Call engines.validate with the engine's key first"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can call as somebody else")


def start(place: Path, config: str = CONFIG) -> Irerd:
    irerd = Irerd(place, config).start()
    open_to_all(irerd)
    return irerd


def open_to_all(irerd: Irerd) -> None:
    os.chmod(irerd.socket.parent, 0o755)
    os.chmod(irerd.socket, 0o666)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = start(tmp_path_factory.mktemp("control"))
    admin = Raw(irerd.socket)
    ok(admin, "platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"], "read": []}})
    try:
        yield irerd
    finally:
        irerd.close()


def call_as(daemon: Irerd, uid: int) -> Raw:
    """A connection of this uid: the kernel notes who connects."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return Raw(daemon.socket)
    finally:
        os.seteuid(0)
        os.setegid(0)


def ok(raw: Raw, method: str, params: dict[str, Any] | None = None, **more: Any) -> Any:
    end = raw.ask(method, params, **more)
    assert isinstance(end, Done), end
    return end.r


def code(raw: Raw, method: str, params: dict[str, Any] | None = None, **more: Any) -> str:
    end = raw.ask(method, params, **more)
    assert isinstance(end, Err), end
    return str(end.e["code"])


def records(daemon: Irerd, log: str = "gate_log") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (daemon.state / f"{log}.jsonl").read_bytes().splitlines()]


def on_record(raw: Raw) -> int:
    """How many records `gate_log` has; how many of them are durable is a matter of the moment."""
    return next(int(each["records"]) for each in ok(raw, "system.status")["logs"] if each["log"] == "gate_log")


def registered(admin: Raw, engine_id: str) -> str:
    asked = {"engine_id": engine_id, "capabilities": {"gmail": ["send_email"]}}
    return str(ok(admin, "engines.register", asked)["engine_key"])


def proved(raw: Raw, engine_id: str, key: str) -> dict[str, Any]:
    found = ok(raw, "engines.validate", {"engine_id": engine_id, "engine_key": key})
    assert isinstance(found, dict)
    return found


@as_root
def test_the_flow_of_the_source_from_registration_to_a_check(daemon: Irerd) -> None:
    admin = Raw(daemon.socket)
    issued = ok(admin, "engines.register", {"engine_id": "action", "capabilities": {"gmail": ["send_email"]}})
    assert issued["engine_id"] == "action" and len(issued["engine_key"]) == 47 and issued["key"] == 1
    raw = call_as(daemon, ENGINE_UID)
    assert code(raw, "actions.check", CHECK) == "unauthenticated", "with this role alone a caller says which engine it is"
    assert proved(raw, "action", issued["engine_key"]) == {"valid": True, "key": 1}
    found = ok(raw, "actions.check", CHECK, as_="action")
    assert found["allowed"] is True and found["required_scopes"] == ["mail.send"]
    assert found["rule"] == "engine:action.allow.gmail.send_email"
    record = records(daemon)[-1]
    assert (record["event_type"], record["actor"]) == ("action.checked", "engine:action")
    assert record["payload"]["request_id"] == found["request_id"] and record["payload"]["status"] == "allowed"
    assert issued["engine_key"] not in (daemon.state / "gate_log.jsonl").read_text() + daemon.stderr()


@as_root
def test_the_role_engine_has_its_seven_methods_and_no_other(daemon: Irerd) -> None:
    key = registered(Raw(daemon.socket), "seven")
    raw = call_as(daemon, ENGINE_UID)
    proved(raw, "seven", key)
    assert ok(raw, "platforms.list", as_="seven")["platforms"][0]["platform"] == "gmail"
    assert "wire" in ok(raw, "config.global", as_="seven")["api_versions"]
    reported = ok(raw, "log.engine_event", {"event_type": "email.sent", "data": {"n": 1}, "request_id": "r-1"}, as_="seven")
    assert reported == {"event_type": "email.sent", "request_id": "r-1"}
    assert records(daemon, "provenance_log")[-1]["actor"] == "engine:seven"
    for method, params in [("engines.get", {"engine_id": "seven"}), ("config.get", {}), ("log.query", {}), ("resource.pools", {})]:
        assert code(raw, method, params, as_="seven") == "permission-denied"
    for method in ("platforms.list", "config.global"):
        assert code(raw, method) == "unauthenticated"


@as_root
def test_a_proof_binds_one_connection_and_one_engine(daemon: Irerd) -> None:
    admin = Raw(daemon.socket)
    key, other = registered(admin, "bound"), registered(admin, "unbound")
    raw, stranger = call_as(daemon, ENGINE_UID), call_as(daemon, ENGINE_UID)
    proved(raw, "bound", key)
    about = {**CHECK, "engine_id": "bound"}
    assert ok(raw, "actions.check", about, as_="bound")["allowed"]
    for connection, name in [(stranger, "bound"), (raw, "unbound"), (raw, "nobody"), (Raw(daemon.socket), "bound")]:
        end = connection.ask("actions.check", about, as_=name)
        assert isinstance(end, Err) and (end.e["code"], end.e["detail"]) == ("unauthenticated", REFUSED)
        assert records(daemon)[-1]["event_type"].startswith("gate.refused"), "on record before its answer"
    other_one = ok(raw, "actions.check", {**CHECK, "engine_id": "unbound"}, as_="bound")
    assert (other_one["allowed"], other_one["reason"], other_one["required_scopes"]) == (False, "identity", [])
    proved(raw, "unbound", other)
    assert ok(raw, "actions.check", {**CHECK, "engine_id": "unbound"}, as_="unbound")["allowed"], "one connection may prove two"


@as_root
def test_a_viewer_who_is_an_engine_too_asks_about_no_other_engine(daemon: Irerd) -> None:
    registered(Raw(daemon.socket), "theirs")
    assert ok(call_as(daemon, VIEWER_TOO), "actions.check", {**CHECK, "engine_id": "theirs"})["reason"] == "identity"
    assert ok(call_as(daemon, OPERATOR), "actions.check", {**CHECK, "engine_id": "theirs"})["allowed"]


@as_root
@pytest.mark.parametrize("how", ["revoke", "suspend", "rotate_key"])
def test_what_is_taken_from_an_engine_is_gone_at_its_next_call_on_an_open_connection(daemon: Irerd, how: str) -> None:
    admin, engine_id = Raw(daemon.socket), f"taken-by-{how}"
    key = registered(admin, engine_id)
    raw = call_as(daemon, ENGINE_UID)
    proved(raw, engine_id, key)
    about = {**CHECK, "engine_id": engine_id}
    assert ok(raw, "actions.check", about, as_=engine_id)["allowed"]
    ok(admin, f"engines.{how}", {"engine_id": engine_id})
    for method, params in [("actions.check", about), ("platforms.list", None)]:
        assert code(raw, method, params, as_=engine_id) == "unauthenticated"
    assert proved(raw, engine_id, key) == {"valid": False}
    if how == "suspend":
        ok(admin, "engines.unsuspend", {"engine_id": engine_id})
        assert ok(raw, "actions.check", about, as_=engine_id)["allowed"]
    if how == "rotate_key":
        new = ok(admin, "engines.rotate_key", {"engine_id": engine_id, "grace_s": 600})["engine_key"]
        assert proved(raw, engine_id, new) == {"valid": True, "key": 3}
        assert ok(raw, "actions.check", about, as_=engine_id)["allowed"]


def test_a_stream_in_the_name_of_an_engine_tells_nothing_once_it_was_revoked(daemon: Irerd) -> None:
    admin, raw = Raw(daemon.socket), Raw(daemon.socket)
    for engine_id in ("heard-no-more", "goes-on"):
        proved(raw, engine_id, registered(admin, engine_id))
    streams = {raw.call("system.watch", {"type": "platform.defined"}, as_=name): name for name in ("heard-no-more", "goes-on")}
    assert {streams[raw.next().id] for _ in streams} == set(streams.values()), "both have begun"
    ok(admin, "engines.revoke", {"engine_id": "heard-no-more"})
    ok(admin, "platforms.define", {"platform": "told-to-one", "actions": {"x": []}})
    told = {streams[said.id]: said for said in (raw.next(), raw.next())}
    assert isinstance(ended := told["heard-no-more"], Err) and ended.e["code"] == "unauthenticated"
    assert told["goes-on"].r["data"]["platform"] == "told-to-one"


def test_maintenance_and_a_flag_change_the_very_next_decision(daemon: Irerd) -> None:
    admin = Raw(daemon.socket)
    registered(admin, "flips")
    about = {**CHECK, "engine_id": "flips"}
    for method, params, back, reason in [
        ("platforms.set_status", {"platform": "gmail", "status": "maintenance"}, {"status": "available"}, "platform-maintenance"),
        ("config.set_flag", {"flag": "gmail.send_email", "enabled": False}, {"enabled": True}, "flag-off"),
        ("engines.set_permissions", {"engine_id": "flips", "deny": {"gmail": ["send_email"]}}, {"deny": {}}, "denied"),
    ]:
        asked = [
            admin.call(*each)
            for each in [(method, params), ("actions.check", about), (method, {**params, **back}), ("actions.check", about)]
        ]
        ends = {}
        while len(ends) < 4:
            end = admin.next()
            ends[end.id] = end
        flipped, restored = ends[asked[1]].r, ends[asked[3]].r
        assert (flipped["allowed"], flipped["reason"]) == (False, reason) and restored["allowed"] is True


def test_every_wrong_proof_gets_one_answer_and_its_cause_is_on_record(daemon: Irerd) -> None:
    admin = Raw(daemon.socket)
    key = registered(admin, "proves")
    ok(admin, "engines.revoke", {"engine_id": "proves"})
    raw = Raw(daemon.socket)
    causes = []
    for engine_id, said in [("proves", key), ("proves", key[:-1]), ("never-was", key)]:
        assert proved(raw, engine_id, said) == {"valid": False}
        record = records(daemon)[-1]
        assert record["event_type"] == "engine.proof_refused"
        causes.append(record["payload"]["cause"])
    assert causes == ["revoked", "wrong-key", "unknown"]


def test_a_flood_of_wrong_proofs_is_counted_and_not_recorded_one_by_one(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    before = len(records(daemon))
    ids = [raw.call("engines.validate", {"engine_id": "never-was", "engine_key": f"irk_{number}"}) for number in range(60)]
    ends = [raw.next() for _ in ids]
    assert all(isinstance(end, Done) and end.r == {"valid": False} for end in ends)
    new = [record for record in records(daemon)[before:] if record["event_type"] != "gate.caller_slowed"]
    counted = sum(record["payload"].get("count", 1) for record in new)
    assert counted == 60 and len(new) < 40


def test_a_key_is_shown_once_also_to_who_asks_again_with_the_same_idempotency_key(daemon: Irerd) -> None:
    admin = Raw(daemon.socket)
    asked = {"engine_id": "once", "capabilities": {}}
    ok(admin, "engines.register", asked, idem="register-once")
    for idem in ("register-once", "register-anew"):
        assert code(admin, "engines.register", asked, idem=idem) == "already-exists"
    assert ok(admin, "engines.rotate_key", {"engine_id": "once"}, idem="rotate-once")["key"] == 2
    assert code(admin, "engines.rotate_key", {"engine_id": "once"}, idem="rotate-once") == "already-exists"


@pytest.mark.parametrize(
    "bad",
    [
        {"engine_id": "a.b", "capabilities": {}},
        {"engine_id": "x" * 58, "capabilities": {}},
        {"engine_id": "", "capabilities": {}},
        {"engine_id": "ok", "capabilities": {"gmail": "send_email"}},
        {"engine_id": "ok", "capabilities": {"g.mail": ["send"]}},
        {"engine_id": "ok", "capabilities": {"gmail": ["*"]}},
        {"engine_id": "ok", "capabilities": {"gmail": ["a"] * 513}},
        {"engine_id": "ok"},
    ],
)
def test_a_registration_that_makes_no_sense_is_refused(daemon: Irerd, bad: dict[str, Any]) -> None:
    assert code(Raw(daemon.socket), "engines.register", bad) == "invalid-argument"


def test_unknown_names_are_answers_and_never_errors(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    key = registered(raw, "knows")
    assert key
    for given, reason in [
        ({"engine_id": "nobody"}, "engine-unknown"),
        ({"engine_id": "knows", "platform": "a.b/c"}, "platform-unknown"),
        ({"engine_id": "knows", "action_type": "a.b/c"}, "action-unknown"),
        ({"engine_id": "knows", "action_type": "read"}, "not-permitted"),
    ]:
        found = ok(raw, "actions.check", {**CHECK, **given})
        assert (found["allowed"], found["reason"], found["required_scopes"]) == (False, reason, [])


def test_the_recorded_judgements_can_be_asked_for_newest_first_and_to_the_last(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    registered(raw, "asked")
    about = {**CHECK, "engine_id": "asked"}
    made = [ok(raw, "actions.check", {**about, "action_type": action}) for action in ("send_email", "read", "send_email", "fly")]
    first = ok(raw, "log.query", {"engine_id": "asked", "limit": 3})
    rest = ok(raw, "log.query", {"engine_id": "asked", "limit": 3, "after": first["next"]})
    found = first["records"] + rest["records"]
    assert [each["request_id"] for each in found] == [each["request_id"] for each in reversed(made)] and "next" not in rest
    assert {"engine_id", "platform", "action_type", "status", "timestamp", "reason", "seq"} < found[0].keys()
    assert [each["status"] for each in found] == ["denied", "allowed", "denied", "allowed"]
    denied = ok(raw, "log.query", {"engine_id": "asked", "status": "denied", "platform": "gmail"})["records"]
    assert [each["reason"] for each in denied] == ["action-unknown", "not-permitted"]
    since = ok(raw, "log.query", {"engine_id": "asked", "since": found[1]["timestamp"]})["records"]
    assert since == found[:2]
    assert ok(raw, "log.query", {"since": "2999-01-01T00:00:00Z"}) == {"records": []}
    assert code(raw, "log.query", {"since": "2026-13-01T00:00:00Z"}) == "invalid-argument"
    assert code(raw, "log.query", {"after": "x"}) == "invalid-argument"


def test_why_and_what_if_are_told_and_leave_no_record(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    registered(raw, "curious")
    about = {**CHECK, "engine_id": "curious", "action_type": "read"}
    made = ok(raw, "actions.check", about)
    before = on_record(raw)
    found = ok(raw, "actions.explain", {**about, "scopes": []})
    assert (found["allowed"], found["reason"], found["rule"]) == (made["allowed"], made["reason"], made["rule"])
    assert [step["question"] for step in found["steps"] if step["outcome"] == "denies"] == ["capability"]
    then = ok(raw, "actions.explain", {"request_id": made["request_id"]})
    assert (
        then["recorded"]["request_id"] == made["request_id"]
        and then["rule"] == made["rule"]
        and then["now"]["rule"] == made["rule"]
    )
    diff = ok(raw, "actions.diff", {"permissions": {"curious": {"allow": {"gmail": ["read"]}}}})
    assert [(each["engine_id"], each["allowed"], each["request_id"]) for each in diff["changes"] if not each["already"]] == [
        ("curious", True, made["request_id"])
    ]
    assert diff["would_allow"] == 1 and diff["would_deny"] == 0 and diff["complete"]
    for bad in ({}, {"engine_id": "curious"}):
        assert code(raw, "actions.explain", bad) == "invalid-argument" == code(raw, "actions.diff", {})
    assert code(raw, "actions.explain", {"request_id": "no-such-request"}) == "not-found"
    assert code(raw, "actions.diff", {"permissions": {"nobody": {}}}) == "not-found"
    assert on_record(raw) == before, "nothing was put on record"


@as_root
def test_an_engine_may_not_ask_why_and_a_viewer_may_and_is_told_what_an_operator_is(daemon: Irerd) -> None:
    assert code(call_as(daemon, ENGINE_UID), "actions.explain", CHECK) in ("permission-denied", "unauthenticated")
    assert code(call_as(daemon, ENGINE_UID), "actions.diff", {"flags": {"gmail": False}}) in (
        "permission-denied",
        "unauthenticated",
    )
    told = [ok(call_as(daemon, uid), "actions.explain", {**CHECK, "engine_id": "nobody"}) for uid in (VIEWER_TOO, OPERATOR)]
    assert [each["reason"] for each in told] == ["engine-unknown"] * 2


def test_who_tries_very_many_keys_is_slowed_and_what_holds_is_let_in_all_the_same(tmp_path: Path) -> None:
    irerd = start(tmp_path)
    try:
        admin, guesser = Raw(irerd.socket), Raw(irerd.socket)
        key = registered(admin, "guessed")
        for _ in range(61):
            guesser.call("engines.validate", {"engine_id": "guessed", "engine_key": "irk_guess"})
        assert [guesser.next().r for _ in range(61)] == [{"valid": False}] * 61
        [slowed] = ok(admin, "gate.breaches")["slowed"]
        assert slowed["caller"] == f"uid:{os.getuid()}" and slowed["failures"] >= 60 and slowed["step"] == 1
        guesser.call("engines.validate", {"engine_id": "guessed", "engine_key": "irk_guess"})
        assert ok(admin, "engines.validate", {"engine_id": "guessed", "engine_key": key}) == {"valid": True, "key": 1}
        assert guesser.next().r == {"valid": False}, "answered late, with its second's count"
        slowing = [record["payload"] for record in records(irerd) if record["event_type"] == "gate.caller_slowed"]
        assert slowing == [{"caller": slowed["caller"], "failures": slowed["failures"], "step": 1, "seconds": 60}]
        assert code(admin, "gate.free", {}) == "invalid-argument"
        assert ok(admin, "gate.free", {"caller": slowed["caller"]}) == {"caller": slowed["caller"]}
        assert ok(admin, "gate.breaches").get("slowed", []) == []
    finally:
        irerd.close()


def test_an_engine_that_was_registered_is_still_there_after_kill_9_and_so_is_all_that_was_set(tmp_path: Path) -> None:
    irerd = start(tmp_path, "[pools.compute]\nceiling = 9\n")
    try:
        admin = Raw(irerd.socket)
        key = registered(admin, "survives")
        ok(admin, "platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"]}})
        assert code(admin, "resource.scale", {"pool": "compute", "size": 12}) == "out-of-range"
        assert ok(admin, "config.set", {"key": "pools.compute.ceiling", "value": 20}) == {
            "key": "pools.compute.ceiling",
            "rev": 1,
            "set": True,
        }
        ok(admin, "resource.scale", {"pool": "compute", "size": 12})
        irerd.kill9()
        irerd.start()
        admin = Raw(irerd.socket)
        ok(admin, "resource.scale", {"pool": "compute", "size": 20})
        assert proved(admin, "survives", key) == {"valid": True, "key": 1}
        assert ok(admin, "actions.check", {**CHECK, "engine_id": "survives"}, as_="survives")["allowed"]
        found = ok(admin, "config.get", {"key": "pools.compute.ceiling"})
        assert found["values"] == {"pools.compute.ceiling": 20} and found["set"]["pools.compute.ceiling"]["rev"] == 1

        reloaded = ok(admin, "system.reload")
        assert (
            reloaded["set_over"] == ["pools.compute.ceiling"] and ok(admin, "config.get", {"key": "pools.compute.ceiling"}) == found
        )
        doctor = subprocess.run(
            [sys.executable, "-m", "irerctl.main", "--socket", str(irerd.socket), "-o", "json", "doctor"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        [finding] = [each for each in json.loads(doctor.stdout)["findings"] if each["check"] == "settings"]
        assert (
            finding["text"] == f"pools.compute.ceiling = 20 was set by uid:{os.getuid()} and wins over the file"
            and "null" in finding["remedy"]
        )

        irerd.config.write_text("[pools.compute]\nfloor = 30\nceiling = 40\n")
        reloaded = ok(admin, "system.reload")
        assert "must not be above" in reloaded["left_out"]["pools.compute.ceiling"]
        assert ok(admin, "config.get", {"key": "pools.compute.ceiling"})["values"] == {"pools.compute.ceiling": 40}
        assert any("config.set" in problem for problem in ok(admin, "system.status")["problems"])

        ok(admin, "config.set", {"key": "pools.compute.ceiling", "value": None})
        assert "set_over" not in ok(admin, "system.reload") and ok(admin, "system.status")["problems"] == []
    finally:
        irerd.close()


def test_a_rate_that_is_set_over_the_socket_holds_from_the_next_report_on(tmp_path: Path) -> None:
    irerd = start(tmp_path, "")
    try:
        raw = Raw(irerd.socket)
        ok(raw, "config.set", {"key": "control.events_per_s", "value": 1})
        ends = [raw.ask("log.engine_event", {"event_type": "x", "data": {}}) for _ in range(20)]
        refused = [end for end in ends if isinstance(end, Err)]
        assert refused and all(end.e["code"] == "resource-exhausted" and 0 < end.e["retry_ms"] <= 1050 for end in refused)
    finally:
        irerd.close()
