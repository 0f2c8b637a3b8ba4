"""The gateway in hard times: requests that could mean two things, a daemon that is stuck or killed under one, and its own end."""

import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Irerd
from tests.e2e.web import Answer, Caller, Gateway, request

DRAIN_S = 5.0


@pytest.fixture(scope="module")
def irerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    daemon = Irerd(tmp_path_factory.mktemp("hard")).start()
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def hub(irerd: Irerd) -> Iterator[Gateway]:
    gateway = Gateway(irerd.socket)
    yield gateway
    gateway.close()


@pytest.fixture
def mortal(irerd: Irerd) -> Iterator[Gateway]:
    """A hub that the test may end."""
    gateway = Gateway(irerd.socket)
    yield gateway
    gateway.close()


def signalled(irerd: Irerd, number: int) -> None:
    assert irerd.process is not None
    irerd.process.send_signal(number)


def hung(irerd: Irerd) -> None:
    """Stops the daemon, and returns once the kernel has."""
    assert irerd.process is not None
    signalled(irerd, signal.SIGSTOP)
    while "T" not in Path(f"/proc/{irerd.process.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        pass


# --- one meaning ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b'{"key":"d","value":1,"value":2}',
        b'{"key":"d","value":1,"\\u0076alue":2}',
        b'{"key":"d","value":{"a":[{"b":1,"b":1}]}}',
        b'\xef\xbb\xbf{"key":"d","value":1}',
        '{"key":"d","value":1}'.encode("utf-16"),
        b'{"key":"d","value":"\\ud800"}',
        b'{"key":"d","value":"\xed\xa0\x80"}',
        b'{"key":"d","value":"\xc0\xaf"}',
        b'{"key":"d","value":9007199254740993}',
        b'{"key":"d","value":1e999}',
        b'{"key":"d","value":' + b"9" * 5_000 + b"}",
        b'{"key":"d","value":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"key":"d","value":1}{}',
        b"{'key':'d','value':1}",
    ],
    ids=lambda body: repr(body[:44]),
)
def test_a_body_that_could_mean_two_things_or_nothing_is_refused(hub, body):
    told = hub.ask("POST", "/rpc/cache.set", body)
    assert (told.status, told.json["code"]) == (400, "invalid-argument")
    assert hub.rpc("cache.get", {"key": "d"}).status == 404


@pytest.mark.slow
def test_a_wide_object_with_a_name_twice_costs_no_more_than_reading_it(hub):
    body = b"{" + b",".join(b'"k%d":1' % number for number in range(80_000)) + b',"k1":2}'
    since = time.process_time()
    told = hub.ask("POST", "/rpc/cache.set", body)
    assert told.status == 400 and "'k1' stands twice" in told.json["detail"]
    assert time.process_time() - since < 5


@pytest.mark.slow
def test_one_key_from_many_callers_at_once_is_carried_out_once(hub):
    answers: list[Answer] = []

    def ask() -> None:
        answers.append(hub.rpc("cache.set", {"key": "k", "value": 7}, Idempotency_Key="same-key-1"))

    callers = [threading.Thread(target=ask) for _ in range(20)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert {each.status for each in answers} == {200} and len({each.headers["x-irer-receipt"] for each in answers}) == 1
    assert sum(each.headers.get("x-irer-replayed") == "true" for each in answers) == len(answers) - 1


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "key"), [("é", "é"), ("mailer", "k" * 5_000), ("a b", "irk_x"), ("mailer", "irk_x")])
def test_whatever_is_wrong_with_a_proof_has_one_answer(hub, engine, key):
    told = hub.ask("GET", "/platforms/list", X_Engine_ID=engine, X_Engine_Key=key)
    assert (told.status, told.json["detail"], told.json["reason"]) == (401, "no valid engine proof", "engine-proof")


# --- a daemon that is stuck, and one that dies --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stuck_daemon_costs_the_deadline_and_what_was_not_asked_was_not_done(hub, irerd):
    hung(irerd)
    try:
        held = [hub.call().send(request("POST", "/rpc/cache.set", {"key": "h", "value": 1})) for _ in range(64)]
        assert hub.ask("GET", "/").status == 200
        with hub.call() as caller:
            told = caller.ask("POST", "/rpc/cache.set", {"key": "late", "value": 1}, X_Irer_Timeout_Ms="1")
        assert (told.status, told.json["code"], told.json["reason"]) == (504, "deadline-exceeded", "busy")
        assert told.json.get("effect", "none") == "none"
    finally:
        signalled(irerd, signal.SIGCONT)
    for caller in held:
        with caller:
            assert caller.answer().status == 200
    assert hub.rpc("cache.get", {"key": "late"}).status == 404


@pytest.mark.slow
def test_a_request_whose_daemon_dies_is_told_that_it_may_have_been_done(hub, irerd):
    """And with its key it is carried out once, by the next one."""
    hung(irerd)
    sent = request("POST", "/rpc/cache.set", {"key": "dying", "value": 1}, Idempotency_Key="dying-0001")
    with hub.call() as caller:
        caller.send(sent)
        assert hub.ask("GET", "/").status == 200  # the hub has read it: requests are read in the order in which they come
        irerd.kill9()
        told = caller.answer()
        assert (told.status, told.json["code"], told.json["effect"]) == (503, "unavailable", "unknown")
        irerd.start()
        while (told := caller.send(sent).answer()).status == 503:
            pass
        assert told.status == 200 and told.json["rev"].startswith("1-")


@pytest.mark.slow
def test_a_reader_goes_on_where_it_stopped_over_a_restart_and_misses_nothing(hub, irerd):
    def item(caller: Caller) -> tuple[str, str]:
        while "data" not in (event := caller.event()) or "event" in event:
            pass
        return event["id"], json.loads(event["data"])["data"]["run_id"]

    def tap(run: str) -> None:
        while hub.rpc("provenance.tap_event", {"event_type": "run.made", "data": {}, "run_id": run}).status == 503:
            pass

    with hub.call() as first:
        first.send(request("GET", "/events?engine=provenance")).events()
        tap("one")
        cursor, run = item(first)
        assert run == "one"
    tap("two")
    irerd.kill9()
    irerd.start()
    tap("three")
    with hub.call() as second:
        second.send(request("GET", "/events?engine=provenance", Last_Event_ID=cursor)).events()
        assert [item(second)[1] for _ in range(2)] == ["two", "three"]


# --- the hub's own end --------------------------------------------------------------------------------------------------------


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
def test_when_it_is_told_to_end_it_takes_nothing_new_and_finishes_what_is_under_way(mortal, irerd):
    with mortal.call() as idle, mortal.call() as busy, mortal.call() as stream, mortal.call() as tab:
        assert idle.ask("GET", "/icon.svg").status == 200
        stream.send(request("GET", "/events")).events()
        opened = request(
            "GET",
            "/events",
            Upgrade="websocket",
            Connection="Upgrade",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert tab.send(opened).head().status == 101
        hung(irerd)
        try:
            busy.send(request("POST", "/rpc/cache.set", {"key": "last", "value": 1}))
            assert idle.ask("GET", "/icon.svg").status == 200
            mortal.process.send_signal(signal.SIGTERM)
            assert idle.rest() == b"", "who asks nothing is let go at once"
            stream.rest()
            assert struct.pack(">H", 1001) in tab.rest()[-8:], "going away"
            assert refuses(mortal.port)
        finally:
            signalled(irerd, signal.SIGCONT)
        told = busy.answer()
        assert (told.status, told.headers["connection"]) == (200, "close")
        assert mortal.process.wait(DRAIN_S) == 0


@pytest.mark.slow
def test_what_does_not_finish_in_time_is_told_so_and_a_second_signal_waits_for_nothing(mortal, irerd):
    another = Gateway(irerd.socket)
    hung(irerd)
    try:
        with mortal.call() as busy, another.call() as cut:
            for hub, caller in ((mortal, busy), (another, cut)):
                caller.send(request("POST", "/rpc/cache.set", {"key": "never", "value": 1}))
                assert hub.ask("GET", "/icon.svg").status == 200
                hub.process.send_signal(signal.SIGTERM)
            while not refuses(another.port):
                pass
            another.process.send_signal(signal.SIGTERM)
            assert another.process.wait(DRAIN_S / 2) == 0 and cut.rest() == b""
            told = busy.answer()
            assert (told.status, told.json["code"], told.json["effect"]) == (503, "unavailable", "unknown")
        assert mortal.process.wait(DRAIN_S) == 0
    finally:
        signalled(irerd, signal.SIGCONT)
        another.close()


# --- many ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_hundred_idle_streams_cost_little(mortal):
    mortal.rpc("system.ping")
    before = mortal.resident_bytes()
    held = [mortal.call().send(request("GET", "/events")).events() for _ in range(200)]
    assert mortal.resident_bytes() - before < 40_000_000
    assert mortal.rpc("provenance.tap_event", {"event_type": "all.hear", "data": {}, "run_id": "r"}).status == 200
    for caller in held:
        while "data" not in caller.event():
            pass
        caller.sock.close()
    assert mortal.rpc("system.ping").status == 200
