"""The gateway beside a real daemon: each path is its method, and what goes wrong has the status that the protocol names."""

import base64
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from core.publish.routes import KNOWN, ROUTES
from tests.e2e.harness import Irerd
from tests.e2e.web import Caller, Gateway, request

DENIED = "cache.delete"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    config = f'config_version = 1\n[access]\ndeny = {{ "uid:{os.getuid()}" = ["{DENIED}"] }}\n'
    irerd = Irerd(tmp_path_factory.mktemp("gateway"), config).start()
    yield irerd
    irerd.close()


@pytest.fixture(scope="module")
def hub(daemon: Irerd) -> Iterator[Gateway]:
    gateway = Gateway(daemon.socket)
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def engine(hub: Gateway) -> dict[str, str]:
    """The headers of a registered engine."""
    told = hub.ask("POST", "/engines/register", {"engine_id": "mailer", "capabilities": {"gmail": ["send_email"]}})
    assert told.status == 200
    assert hub.rpc("platforms.define", {"platform": "gmail", "actions": {"send_email": ["mail.send"]}}).status == 200
    return {"X_Engine_ID": "mailer", "X_Engine_Key": told.json["engine_key"]}


@pytest.mark.slow
def test_a_method_answers_as_it_does_over_the_socket(hub, daemon):
    with daemon.client() as client:
        assert hub.rpc("system.info").json["instance"] == client.call("system.info").result["instance"]
        told = hub.rpc("resource.scale", {"pool": "compute", "size": 7})
        assert told.json["to_units"] == 7
        log, seq, event_hash = told.headers["x-irer-receipt"].split(":")
        seen = client.stream("system.watch", {"since": told.headers["x-irer-cursor"], "engine": "resource"})
        client.call("resource.scale", {"pool": "compute", "size": 8})
        assert next(iter(seen))["seq"] == int(seq) + 1  # the cursor is the place right behind the receipt's record
        assert (log, len(event_hash)) == ("engine_state", 64)


@pytest.mark.slow
def test_a_key_does_it_once(hub):
    first = hub.rpc("cache.set", {"key": "a", "value": 1}, Idempotency_Key="once-0001")
    again = hub.rpc("cache.set", {"key": "a", "value": 1}, Idempotency_Key="once-0001")
    assert (again.json, again.headers["x-irer-receipt"]) == (first.json, first.headers["x-irer-receipt"])
    assert (again.headers.get("x-irer-replayed"), first.headers.get("x-irer-replayed")) == ("true", None)
    other = hub.rpc("cache.set", {"key": "b", "value": 1}, Idempotency_Key="once-0001")
    assert (other.status, other.json["code"]) == (412, "failed-precondition")
    assert hub.rpc("system.op_status", {"idem": "once-0001"}).json["state"] == "done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "params", "headers", "status", "code"),
    [
        ("resource.scale", {"pool": "compute", "size": "nine"}, {}, 400, "invalid-argument"),
        ("resource.scale", {"pool": "compute", "size": 2**60}, {}, 400, "invalid-argument"),
        ("resource.scale", {"pool": "compute", "size": 999}, {}, 416, "out-of-range"),
        ("resource.sclae", {}, {}, 404, "not-found"),
        ("cache.set", {"key": "a", "value": 2, "if_rev": "9-00"}, {}, 409, "aborted"),
        ("system.ping", {}, {"X_Irer_Timeout_Ms": "0"}, 400, "invalid-argument"),
        ("system.ping", {}, {"X_Irer_Timeout_Ms": "1e3"}, 400, "invalid-argument"),
        ("system.ping", {}, {"Idempotency_Key": "no"}, 400, "invalid-argument"),
        ("system.ping", {}, {"X_Engine_ID": "mailer"}, 401, "unauthenticated"),
        ("system.ping", {}, {"Authorization": "Basic eDp5"}, 401, "unauthenticated"),
        (DENIED, {"key": "a"}, {}, 403, "permission-denied"),
        ("system.watch", {"engine": "nothing"}, {}, 404, "not-found"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_refusal_has_its_status_and_its_code(hub, method, params, headers, status, code):
    told = hub.rpc(method, params, **headers)
    assert (told.status, told.json["code"], told.json["status"]) == (status, code, status)
    assert told.headers["content-type"] == "application/problem+json"
    assert told.json["title"] and told.json["request_id"] == told.headers["x-request-id"]


@pytest.mark.slow
def test_a_refusal_that_reaches_the_daemon_is_on_record_there(hub, daemon):
    with hub.call() as events:
        events.send(request("GET", "/events?type=gate.refused")).events()
        hub.rpc(DENIED, {"key": "a"})
        while "data" not in (event := events.event()):
            pass
    assert json.loads(event["data"])["data"]["method"] == DENIED


@pytest.mark.slow
def test_a_method_that_the_daemon_lacks_is_unimplemented_on_every_path(hub):
    known = {method["name"] for method in hub.rpc("system.describe").json["methods"]}
    missing = [route for route in ROUTES if route.method not in known and not route.engine]
    for route in missing:
        told = hub.ask(route.verb, route.path, {} if route.verb == "POST" else None)
        assert (told.status, told.json["code"], told.json["data"]) == (501, "unimplemented", {"method": route.method})
    for method in KNOWN - known:
        assert hub.rpc(method).status == 501


@pytest.mark.slow
def test_the_served_description_is_valid_and_names_what_is_served(hub):
    document = hub.ask("GET", "/openapi.json").json
    validate(document)
    known = {method["name"] for method in hub.rpc("system.describe").json["methods"]}
    assert set(document["paths"]) == {f"/rpc/{name}" for name in known} | {each.path for each in ROUTES if each.method in known}
    for path, operations in document["paths"].items():
        for verb in operations:
            others = {"get", "post", "put"} - set(operations)
            assert {hub.ask(other.upper(), path, {} if other == "post" else None).status for other in others} == {405}, (path, verb)


@pytest.mark.slow
def test_metrics_are_prometheus_text(hub):
    told = hub.ask("GET", "/metrics")
    assert told.status == 200 and told.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE irer_connections gauge" in told.body
    families = {family.name: family for family in text_string_to_metric_families(told.body.decode())}
    assert families["irer_connections"].samples and families["irer_rpc_requests"].type == "counter"


@pytest.mark.slow
def test_pipelined_requests_are_answered_in_their_order(hub):
    sizes = [3, 4, 5, 6, 3, 4]
    with hub.call() as caller:
        caller.send(b"".join(request("POST", "/rpc/resource.scale", {"pool": "storage", "size": size}) for size in sizes))
        assert [caller.answer().json["to_units"] for _ in sizes] == sizes


# --- engines ----------------------------------------------------------------------------------------------------------------

CHECK = {"engine_id": "mailer", "platform": "gmail", "action_type": "send_email"}


@pytest.mark.slow
def test_an_engine_proves_itself_by_its_headers(hub, engine):
    told = hub.ask("POST", "/actions/check", CHECK, **engine)
    assert (told.status, told.json["allowed"], told.json["required_scopes"]) == (200, True, ["mail.send"])
    assert hub.rpc("log.query", {"engine_id": "mailer", "limit": 1}).json["records"][0]["actor"] == "engine:mailer"
    assert hub.ask("POST", "/log/engine_event", {"event_type": "mail.sent", "data": {}}, **engine).status == 200
    assert hub.ask("POST", "/engines/validate", **engine).json["valid"] is True
    assert hub.ask("GET", "/config/global", **engine).json["api_versions"]
    listed = hub.ask("GET", "/platforms/list?limit=1", **engine)
    assert [each["platform"] for each in listed.json["platforms"]] == ["gmail"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "path"),
    [(route.verb, route.path) for route in ROUTES if route.engine],
    ids=[route.path for route in ROUTES if route.engine],
)
def test_without_its_proof_an_engine_is_nobody(hub, engine, verb, path):
    body = CHECK if verb == "POST" else None
    wrong = {**engine, "X_Engine_Key": "irk_" + "0" * 43}
    for headers in (
        {},
        {"X_Engine_ID": "mailer"},
        {"X_Engine_Key": engine["X_Engine_Key"]},
        wrong,
        {**engine, "X_Engine_ID": "nobody"},
    ):
        told = hub.ask(verb, path, body, **headers)
        assert (told.status, told.json["code"]) == (401, "unauthenticated")


@pytest.mark.slow
def test_an_engine_asks_about_itself_alone(hub, engine):
    told = hub.ask("POST", "/actions/check", CHECK | {"engine_id": "other"}, **engine)
    assert (told.status, told.json["reason"]) == (403, "identity")


@pytest.mark.slow
def test_a_key_that_was_replaced_or_an_engine_that_was_suspended_is_refused_at_once(hub):
    told = hub.ask("POST", "/engines/register", {"engine_id": "turning", "capabilities": {}})
    old = {"X_Engine_ID": "turning", "X_Engine_Key": told.json["engine_key"]}
    assert hub.ask("GET", "/config/global", **old).status == 200
    new = {**old, "X_Engine_Key": hub.rpc("engines.rotate_key", {"engine_id": "turning"}).json["engine_key"]}
    assert hub.ask("GET", "/config/global", **old).status == 401
    assert hub.ask("GET", "/config/global", **new).status == 200
    assert hub.ask("GET", "/config/global", **old).status == 401  # though another key of this engine is proved
    newer = {**old, "X_Engine_Key": hub.rpc("engines.rotate_key", {"engine_id": "turning", "grace_s": 600}).json["engine_key"]}
    assert hub.ask("GET", "/config/global", **new).status == 200  # within its grace
    hub.rpc("engines.rotate_key", {"engine_id": "turning"})  # which ends with this
    newest = hub.rpc("engines.rotate_key", {"engine_id": "turning"}).json["engine_key"]
    assert hub.rpc("engines.validate", {"engine_id": "turning", "engine_key": newest}).json["valid"] is True
    assert {hub.ask("GET", "/config/global", **each).status for each in (new, newer, old)} == {401}
    new = {**old, "X_Engine_Key": newest}
    hub.rpc("engines.suspend", {"engine_id": "turning"})
    assert hub.ask("GET", "/config/global", **new).status == 401
    hub.rpc("engines.unsuspend", {"engine_id": "turning"})
    assert hub.ask("GET", "/config/global", **new).status == 200


# --- streams ----------------------------------------------------------------------------------------------------------------


def next_item(caller: Caller) -> tuple[str, dict]:
    while "data" not in (event := caller.event()):
        pass
    assert "event" not in event, event
    return event["id"], json.loads(event["data"])


def tap(hub: Gateway, run: str) -> None:
    assert hub.rpc("provenance.tap_event", {"event_type": "run.made", "data": {}, "run_id": run}).status == 200


@pytest.mark.slow
def test_events_come_as_they_happen_and_go_on_after_the_last_that_was_seen(hub):
    with hub.call() as first:
        first.send(request("GET", "/events?engine=provenance")).events()
        tap(hub, "one")
        cursor, seen = next_item(first)
    tap(hub, "two")
    with hub.call() as second:
        second.send(request("GET", "/events?engine=provenance", Last_Event_ID=cursor)).events()
        assert (seen["data"]["run_id"], next_item(second)[1]["data"]["run_id"]) == ("one", "two")
    with hub.call() as third:
        third.send(request("POST", "/rpc/system.watch", {"engine": "provenance", "since": cursor})).events()
        assert next_item(third)[1]["data"]["run_id"] == "two"


@pytest.mark.slow
def test_a_stream_with_an_end_says_its_result(hub):
    with hub.call() as caller:
        caller.send(request("POST", "/rpc/audit.hashchain", {})).events()
        while (event := caller.event()).get("event") != "end":
            assert "event" not in event
        assert json.loads(event["data"])["ok"] is True
        assert caller.rest() == b""


@pytest.mark.slow
def test_a_reader_that_takes_nothing_holds_up_nobody(hub):
    """Both share a connection to the daemon. The slow one has far more waiting than its bounds, and misses nothing in the end."""
    runs = [f"slow-{number}" for number in range(150)]
    with hub.call() as slow, hub.call() as quick:
        for caller in (slow, quick):
            caller.send(request("GET", "/events?engine=provenance")).events()
        for run in runs:
            tap(hub, run)
        for caller in (quick, slow):
            assert [next_item(caller)[1]["data"]["run_id"] for _ in runs] == runs


def frame(text: bytes, opcode: int = 1) -> bytes:
    return bytes([0x80 | opcode, 0x80 | len(text)]) + b"\0\0\0\0" + text


def messages(caller: Caller) -> Iterator[dict]:
    """The JSON messages of a WebSocket."""
    waiting = b""
    while True:
        while len(waiting) < 2 or len(waiting) < (need := _needed(waiting)):
            data = caller.more()
            assert data
            waiting += data
        start = 4 if waiting[1] == 126 else 2
        if waiting[0] == 0x81:
            yield json.loads(waiting[start:need])
        waiting = waiting[need:]


def _needed(waiting: bytes) -> int:
    if waiting[1] < 126:
        return 2 + waiting[1]
    return 4 + struct.unpack(">H", waiting[2:4])[0] if len(waiting) >= 4 else 1 << 30


@pytest.mark.slow
def test_a_websocket_tells_the_same(hub):
    key = base64.b64encode(b"0123456789abcdef").decode()
    headers = {"Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": key}
    with hub.call() as caller:
        head = caller.send(
            request("GET", "/events?engine=provenance", Origin="http://localhost", Sec_WebSocket_Protocol="irer.json.v1", **headers)
        ).head()
        assert (head.status, head.headers["sec-websocket-protocol"]) == (101, "irer.json.v1")
        tap(hub, "socket")
        told = next(each for each in messages(caller) if each["t"] == "item")
        assert told["r"]["data"]["run_id"] == "socket" and told["cur"]
        caller.send(frame(struct.pack(">H", 1000), opcode=8))
        assert caller.rest().endswith(struct.pack(">H", 1000))


# --- a daemon that goes away ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_daemon_that_is_killed_is_told_at_once_and_taken_up_again(tmp_path):
    irerd = Irerd(tmp_path).start()
    hub = Gateway(irerd.socket)
    try:
        with hub.call() as caller:
            caller.send(request("GET", "/events?engine=provenance")).events()
            tap(hub, "before")
            before = next_item(caller)[1]
            irerd.kill9()
            while caller.event().get("event") != "away":
                pass
            for told in (hub.rpc("system.ping"), hub.ask("GET", "/metrics"), hub.ask("GET", "/events")):
                assert (told.status, told.json["code"], told.json["reason"]) == (503, "unavailable", "no-daemon")
                assert int(told.headers["retry-after"]) >= 1 and told.json["detail"]
            assert hub.ask("GET", "/").status == 200
            irerd.start()
            while caller.event().get("event") != "back":
                pass
            tap(hub, "after")
            after = next_item(caller)[1]
            assert (before["data"]["run_id"], after["data"]["run_id"]) == ("before", "after")
            assert after["seq"] == before["seq"] + 1
    finally:
        hub.close()
        irerd.close()


# --- starting ---------------------------------------------------------------------------------------------------------------


def refused(*options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "irerctl.main", "hub", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return ended.returncode, ended.stderr


@pytest.mark.slow
def test_it_does_not_start_where_others_could_listen_in(hub, tmp_path):
    status, said = refused("--listen", "0.0.0.0:0")
    assert status == 65 and "without TLS" in said and "--tls-cert FILE --tls-key FILE" in said
    status, said = refused("--listen", "0.0.0.0:0", "--tls-cert", str(tmp_path / "none.pem"))
    assert status == 64 and "--tls-key" in said
    status, said = refused("--listen", f"127.0.0.1:{hub.port}")
    assert status == 69 and f"127.0.0.1:{hub.port} is taken" in said and "--listen" in said
    status, said = refused("--limit", "wonders=3")
    assert status == 64 and "body_bytes" in said
