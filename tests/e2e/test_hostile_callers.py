"""Callers that are wrong, rude or slow: each gets a clear answer, and the daemon goes on serving everybody else."""

import socket
from collections.abc import Iterator

import pytest

from core.wire.calls import Bye, ClientConnection, Done, Err, Mark
from core.wire.codec import encode
from core.wire.frames import frame
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path_factory.mktemp("hostile")).start()
    try:
        yield irerd
        assert irerd.process is not None and irerd.process.poll() is None, irerd.stderr()
        assert "a bug in irer" not in irerd.stderr()
    finally:
        irerd.close()


@pytest.fixture(autouse=True)
def still_answers(daemon: Irerd) -> Iterator[None]:
    """Whatever a test did, the next caller is served."""
    yield
    with daemon.client() as client:
        assert client.call("system.ping").result == {}


def byes(data: bytes) -> list[Bye]:
    connection = ClientConnection()
    return [message for message in connection.receive(data) if isinstance(message, Bye)]


def test_an_http_request_is_told_about_the_hub(daemon: Irerd) -> None:
    raw = Raw(daemon.socket, hello=False)
    raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = raw.until_closed()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"irerctl hub" in answer


@pytest.mark.parametrize("opening", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 64, b"hello?\n", b"\xd8\x18\x00"])
def test_tls_and_garbage_are_told_what_is_spoken_here(daemon: Irerd, opening: bytes) -> None:
    raw = Raw(daemon.socket, hello=False)
    raw.send(opening)
    assert raw.until_closed() == b"This socket speaks irer's own frames, which begin with d8 18 5a. Talk to it with: irerctl\n"


def test_a_frame_over_the_limit_costs_the_connection_before_its_body_is_read(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    raw.send(b"\xd8\x18\x5a" + (64 << 20).to_bytes(4, "big"))
    [bye] = byes(raw.until_closed())
    assert bye.why == "limit" and bye.e is not None and bye.e["code"] == "resource-exhausted"


def test_a_truncated_frame_and_a_half_closed_socket_end_quietly(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    raw.send(encode({"t": "call", "id": 1, "m": "system.ping"})[:-3])
    raw.sock.shutdown(socket.SHUT_WR)
    assert raw.until_closed() == b""


def test_one_byte_at_a_time_is_served(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    _, data = raw.connection.call("resource.pools")
    for byte in data:
        raw.send(bytes([byte]))
    done = raw.next()
    assert isinstance(done, Done) and len(done.r["pools"]) == 4


def test_ten_thousand_calls_at_once_end_exactly_once_each(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    raw.sock.setblocking(False)
    ids = []
    out = bytearray()
    for number in range(10_000):
        id, data = (
            raw.connection.call("resource.submit_task", {"resource_type": "network", "duration_s": 0.001})
            if number % 2
            else (raw.connection.call("system.ping"))
        )
        ids.append(id)
        out += data
    ended: dict[int, Done | Err] = {}
    raw.sock.settimeout(20)
    sent = 0
    while len(ended) < len(ids):
        if sent < len(out):
            raw.sock.setblocking(False)
            try:
                sent += raw.sock.send(out[sent : sent + 65_536])
            except BlockingIOError:
                pass
        try:
            data = raw.sock.recv(1 << 20)
        except BlockingIOError:
            if sent == len(out):
                raw.sock.settimeout(20)
            continue
        assert data, "the connection was closed"
        for message in raw.connection.receive(data):
            assert isinstance(message, Done | Err) and message.id not in ended
            ended[message.id] = message
    refused = [message for message in ended.values() if isinstance(message, Err)]
    assert {message.e["code"] for message in refused} <= {"resource-exhausted"}
    assert all(isinstance(ended[id], Done) for id in ids[0::2]), "reads are answered at once and count against no limit"


def test_a_subscriber_that_never_reads_delays_only_itself(daemon: Irerd) -> None:
    deaf = Raw(daemon.socket)
    deaf.call("system.watch", {"engine": "resource"})
    assert isinstance(deaf.next(), Mark)
    with daemon.client() as client:
        before = client.call("system.health").result["resident_bytes"]
        for _ in range(20):
            client.pipeline([("resource.submit_task", {"resource_type": "storage", "duration_s": 0.001})] * 100)
        assert client.call("system.health").result["resident_bytes"] - before < 32 << 20
        found = client.call("metrics.prometheus").result["text"]
    outbox = next(float(line.split()[1]) for line in found.splitlines() if line.startswith("irer_outbox_bytes "))
    assert outbox < 2 * 65_536, "what it does not read stays in the log, not in memory"
    deaf.close()


BODIES = {
    "NaN": b"\xa4atdcallbid\x01amksystem.pingap\xa1ax\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "a tag": b"\xa4atdcallbid\x01amksystem.pingap\xa1ax\xc1\x1a\x00\x00\x00\x00",
    "a byte string as key": b"\xa4atdcallbid\x01amksystem.pingap\xa1Ax\x01",
    "undefined": b"\xa4atdcallbid\x01amksystem.pingap\xa1ax\xf7",
    "indefinite length": b"\xbfatdcallbid\x01amksystem.ping\xff",
    "bytes after the end": b"\xa3atdcallbid\x01amksystem.ping\x00",
    "lone surrogate": b"\xa4atdcallbid\x01amksystem.pingap\xa1axc\xed\xa0\x80",
    "no map": b"\x83\x01\x02\x03",
    "twice the same key": b"\xa4atdcallbid\x01bid\x02amksystem.ping",
    "too deep": b"\xa4atdcallbid\x01amksystem.pingap\xa1ax" + b"\x81" * 40 + b"\x01",
    "an unknown kind of message": b"\xa1atdshou",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_strict_costs_the_connection_and_says_why(daemon: Irerd, name: str) -> None:
    raw = Raw(daemon.socket)
    raw.send(frame(BODIES[name]))
    [bye] = byes(raw.until_closed())
    assert bye.why == "protocol" and bye.e is not None and bye.e["code"] == "invalid-argument"


def test_an_id_that_does_not_rise_costs_the_connection(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    raw.say({"t": "call", "id": 7, "m": "system.ping"})
    raw.say({"t": "call", "id": 7, "m": "system.ping"})
    assert b"rise" in raw.until_closed()


@pytest.mark.parametrize(
    ("message", "code", "field"),
    [
        ({"m": "system.ping", "dl": -5}, "invalid-argument", "dl"),
        ({"m": "system.ping", "dl": 10**9}, "invalid-argument", "dl"),
        ({"m": "system.ping", "idem": "short"}, "invalid-argument", "idem"),
        ({"m": "system.ping", "hurry": True}, "invalid-argument", ""),
        ({"m": "system.pnig"}, "not-found", None),
        ({"m": "resource.dispatch", "p": {"pool": "compute"}}, "not-found", None),
        ({"m": "resource.scale", "p": {"pool": "compute", "size": "8"}}, "invalid-argument", "size"),
        ({"m": "resource.scale", "p": {"pool": "compute", "size": 8, "now": True}}, "invalid-argument", "now"),
        ({"m": "resource.scale", "p": {"pool": "compute"}}, "invalid-argument", ""),
        ({"m": "resource.scale", "p": {"pool": "compute", "size": 99}}, "out-of-range", None),
        ({"m": "system.watch", "p": {"engine": "no-such"}}, "not-found", None),
        ({"m": "system.watch", "p": {"since": "w1.nonsense"}}, "invalid-argument", "since"),
        ({"m": "system.ping", "dry": True}, "invalid-argument", "dry"),
        ({"m": "resource.pools", "as": "mailer"}, "unauthenticated", None),
    ],
)
def test_a_wrong_call_is_answered_by_name_and_costs_nothing_else(
    daemon: Irerd, message: dict[str, object], code: str, field: str | None
) -> None:
    raw = Raw(daemon.socket)
    raw.call("system.ping")
    assert isinstance(raw.next(), Done)
    raw.connection.call("system.ping")  # takes the id that the hand-made call uses
    raw.say({"t": "call", "id": 2, **message})
    error = raw.next()
    assert isinstance(error, Err) and error.e["code"] == code, error
    if field:
        assert [entry["path"] for entry in error.e["fields"]] == [field]
    assert isinstance(raw.ask("system.ping"), Done)


def test_the_texts_that_are_frozen(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    error = raw.ask("resource.sclae")
    assert isinstance(error, Err)
    assert error.e["detail"] == "unknown method resource.sclae. Did you mean resource.scale? All: irerctl api ls"
    error = raw.ask("resource.scale", {"pool": "compute", "size": 99})
    assert isinstance(error, Err)
    assert error.e["detail"] == "compute: 99 is outside 1..64. Ask for less, or raise pools.compute.ceiling in the configuration"


def test_a_connection_without_a_hello_is_let_go(daemon: Irerd) -> None:
    raw = Raw(daemon.socket, hello=False)
    [bye] = byes(raw.until_closed())
    assert bye.e is not None and bye.e["code"] == "deadline-exceeded"


def test_cancelling_a_stream_ends_it_once(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    id = raw.call("system.watch")
    assert isinstance(raw.next(), Mark)
    raw.say({"t": "cancel", "id": id})
    error = raw.end_of(id)
    assert isinstance(error, Err) and error.e["code"] == "cancelled"
    assert isinstance(raw.ask("system.ping"), Done)


def test_a_deadline_ends_a_task_that_takes_longer(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    error = raw.ask("system.reload", dl=1)
    assert isinstance(error, Done | Err)  # a reload may win the race; what may not happen is no end at all
    assert isinstance(raw.ask("system.ping"), Done)


def test_sixty_five_connections_of_one_uid_are_one_too_many_and_an_admin_has_four_more(daemon: Irerd) -> None:
    """This test's own uid is admin, as the daemon's own is."""
    crowd = [Raw(daemon.socket) for _ in range(64 + 4)]
    late = Raw(daemon.socket, hello=False)
    [bye] = byes(late.until_closed())
    assert bye.why == "limit"
    for raw in crowd:
        assert isinstance(raw.ask("system.ping"), Done)
        raw.close()


def test_a_flood_of_large_answers_stalls_nobody_else_and_fills_no_memory(daemon: Irerd) -> None:
    with daemon.client() as client:
        client.pipeline([("resource.submit_task", {"resource_type": "database", "units": 64, "duration_s": 3600})] * 3000)
        before = client.call("system.health").result["resident_bytes"]
        flood = Raw(daemon.socket)
        flood.send(b"".join(flood.connection.call("resource.tasks", {"limit": 3000})[1] for _ in range(400)))
        for _ in range(20):
            assert client.call("system.ping", deadline_ms=2_000).result == {}
        after = client.call("system.health").result
    assert after["resident_bytes"] - before < 64 << 20
    flood.close()


@pytest.mark.parametrize("name", ["", "x" * 129, "a\x07b", "\U0001f600"])
@pytest.mark.parametrize("idem", [None, "a-key-of-eight"])
def test_a_member_name_that_cannot_be_stored_is_the_callers_error_and_no_bug(daemon: Irerd, name: str, idem: str | None) -> None:
    raw = Raw(daemon.socket)
    error = raw.ask("cache.set", {"key": "k", "value": {name: 1}}, **({"idem": idem} if idem else {}))
    assert isinstance(error, Err) and error.e["code"] == "invalid-argument", error
