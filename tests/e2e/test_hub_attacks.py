"""What strangers send to the hub: each thing is refused with its status, changes nothing, and the hub lives on."""

import json
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.e2e.harness import Irerd
from tests.e2e.web import Gateway, request

HEAD_BYTES, BODY_BYTES, PER_PEER = 16_384, 1_048_576, 20
PING = b"POST /rpc/system.ping HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = PING + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"POST /rpc/resource.scale HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n"
NEXT += b'{"pool":"compute","size":9}'
"""What an attacker hopes is read as a request of its own."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    nothing_by_itself = "[pools]\nscale_hold_s = 86400.0\n"  # a pool that nobody uses would shrink
    irerd = Irerd(tmp_path_factory.mktemp("attacked"), nothing_by_itself).start()
    yield irerd
    irerd.close()


@pytest.fixture(scope="module")
def attacked(daemon: Irerd) -> Iterator[Gateway]:
    limits = {"head_s": 0.5, "body_s": 0.5, "connections_per_peer": PER_PEER, "bodies_bytes": BODY_BYTES * 5 // 2, "streams": 3}
    gateway = Gateway(daemon.socket, *(word for name, value in limits.items() for word in ("--limit", f"{name}={value}")))
    yield gateway
    gateway.close()


@pytest.fixture
def hub(attacked: Gateway, daemon: Irerd) -> Iterator[Gateway]:
    """The hub; after the test it must still answer, and no pool may have another size."""
    before = attacked.rpc("resource.pools").json
    yield attacked
    assert attacked.process.poll() is None
    assert attacked.rpc("resource.pools").json == before


GET = b"GET / HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
SMUGGLED = {
    "a length and a transfer coding": (PING + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (PING + b"Content-Length: 2\r\nContent-Length: 70\r\n\r\n{}", 400),
    "the same length twice": (PING + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a list of lengths": (PING + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    "a length with a sign": (PING + b"Content-Length: +2\r\n\r\n{}", 400),
    "a length in hexadecimal": (PING + b"Content-Length: 0x2\r\n\r\n{}", 400),
    "a length in other digits": (PING + "Content-Length: ²\r\n\r\n{}".encode("latin-1"), 400),
    "a folded header": (PING + b"X-A: b\r\n Content-Length: 2\r\n\r\n{}", 400),
    "a line that ends with LF alone": (GET + HOST + b"X-A: b\nX-B: c\r\n\r\n", 400),
    "lines that all end with LF alone": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
    "a CR within a value": (GET + HOST + b"X-A: b\rX-B: c\r\n\r\n", 400),
    "a NUL within a value": (GET + HOST + b"X-A: b\0c\r\n\r\n", 400),
    "a space before the colon": (PING + b"Content-Length : 2\r\n\r\n{}", 400),
    "a header without a name": (GET + HOST + b": x\r\n\r\n", 400),
    "a header without a colon": (GET + HOST + b"nothing\r\n\r\n", 400),
    "a space before the first header": (GET + b" X: y\r\n" + HOST + b"\r\n", 400),
    "an empty line before the request": (b"\r\n" + GET + HOST + b"\r\n", 400),
    "another transfer coding": (PING + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "a disguised transfer coding": (PING + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "a transfer coding twice": (PING + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    "a chunk extension": (CHUNKED + b"2;a=b\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk extension of line ends": (CHUNKED + b"2;\n{}\r\n0\r\n\r\n", 400),
    "a chunk longer than it said": (CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n", 400),
    "a chunk size with a sign": (CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk size with a prefix": (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk size that ends with LF alone": (CHUNKED + b"2\n{}\r\n0\r\n\r\n", 400),
    "a chunk size beyond every bound": (CHUNKED + b"ffffffffffffffff2\r\n{}\r\n0\r\n\r\n", 400),
    "a trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n", 400),
    "no Host": (GET + b"\r\n", 400),
    "two Hosts": (GET + HOST + HOST + b"\r\n", 400),
    "HTTP/1.0 without a Host": (b"GET / HTTP/1.0\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a target with a host": (b"GET http://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a target that is a star": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a target for a tunnel": (b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a fragment": (b"GET /#x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces in the request line": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tab in the request line": (b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "bytes beyond ASCII in the target": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "TLS": (bytes.fromhex("16030100f8010000f40303") + b"\0" * 32, 400),
    "an Expect of another kind": (PING + b"Expect: wonders\r\nContent-Length: 2\r\n\r\n", 417),
    "a long target": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a long header": (GET + HOST + b"X-A: " + b"a" * HEAD_BYTES + b"\r\n\r\n", 431),
    "a head without an end": (GET + HOST + b"X-A: b\r\n" * 4_000, 431),
    "many headers": (GET + HOST + b"".join(b"X-%d: b\r\n" % n for n in range(101)) + b"\r\n", 431),
    "a body with GET": (b"GET /metrics HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}", 400),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMUGGLED)
def test_bytes_whose_end_is_in_doubt_are_refused_and_nothing_after_them_is_read(hub, name):
    sent, status = SMUGGLED[name]
    with hub.call() as caller:
        answer = caller.send(sent + NEXT).answer()
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.headers["connection"] == "close"
        assert caller.rest() == b""


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["TRACE", "TRACK", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "get", "GET", "HEAD"])
def test_a_method_is_called_with_post_alone(hub, verb):
    answer = hub.ask(verb, "/rpc/resource.scale?pool=compute&size=9") if verb != "HEAD" else _head_only(hub, "/rpc/resource.scale")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def _head_only(hub, path):
    with hub.call() as caller:
        return caller.send(request("HEAD", path)).head()


@pytest.mark.slow
@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_no_header_turns_one_verb_into_another(hub, header):
    assert hub.ask("GET", "/rpc/system.ping", **{header: "POST"}).status == 405
    assert hub.ask("POST", "/metrics", {}, **{header: "GET"}).status == 405


PATHS = [
    "/../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%252f..%252fetc/passwd", "/....//etc/passwd",
    "/..\\..\\etc\\passwd", "/%5c..%5cetc", "//etc/passwd", "/./index.html", "/index.html%00.js", "/index.html/", "/..;/index.html",
    "/.git/config", "/__init__.py", "/../gateway.py", "/%c0%ae%c0%ae/x", "/rpc/../rpc/system.ping", "/rpc/", "/rpc/a/b",
    "/page/../../gateway.py", "/INDEX.HTML",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_page(hub, path):
    for verb in ("GET", "POST"):
        answer = hub.ask(verb, path, {} if verb == "POST" else None)
        assert answer.status == 404 and answer.json["code"] == "not-found"
        assert b"root:" not in answer.body and b"import" not in answer.body


# --- other people's pages ---------------------------------------------------------------------------------------------------

SCALE = {"pool": "compute", "size": 9}


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_may_not_speak_to_the_hub(hub, headers):
    answer = hub.rpc("resource.scale", SCALE, **headers)
    assert (answer.status, answer.json["reason"]) == (403, "origin")
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "set-cookie"]
    for path in ("/events", "/metrics", "/openapi.json", "/api/get-status"):
        assert hub.ask("GET", path, **headers).status == 403


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "", "json", "application/json; a=b"],
)
def test_a_form_is_no_call(hub, kind):
    answer = hub.rpc("resource.scale", SCALE, Content_Type=kind)
    assert (answer.status, answer.json["reason"]) == (415, "content-type")


@pytest.mark.slow
def test_leave_is_never_given_to_another_site(hub):
    answer = hub.ask("OPTIONS", "/rpc/system.ping", Origin="http://evil.example", Access_Control_Request_Method="POST")
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080", "[::1", "localhost:x", "0.0.0.0:80"],
)
def test_a_foreign_name_that_leads_here_is_not_ours(hub, host):
    for answer in (
        hub.rpc("resource.scale", SCALE, Host=host, Origin=f"http://{host}"),
        hub.ask("GET", "/", Host=host),
        hub.ask("GET", "/events", Host=host),
    ):
        assert (answer.status, answer.json["reason"]) == (421, "host")


@pytest.mark.slow
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:18", "[::1]:8080"])
def test_our_own_names_are_ours(hub, host):
    assert hub.rpc("system.ping", Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin").status == 200


# --- too much, too slowly ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_giant_is_refused_by_what_it_announces(hub):
    """The body is never sent, so an answer shows that nobody waited for it."""
    with hub.call() as caller:
        assert caller.send(PING + b"Content-Length: 10737418240\r\nExpect: 100-continue\r\n\r\n").answer().status == 413
    with hub.call() as caller:
        assert caller.send(CHUNKED + b"7fffffff\r\n").answer().status == 413
    with hub.call() as caller:
        chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
        assert caller.send(CHUNKED + chunk * (BODY_BYTES // 65_536) + b"1\r\n").answer().status == 413


@pytest.mark.slow
def test_large_bodies_have_a_bound_together_and_never_keep_small_ones_out(hub):
    """Two of three are let in, and are only begun; the bound of this hub is two and a half."""
    begun = [hub.call().send(PING + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % BODY_BYTES) for _ in range(2)]
    assert [caller.head().status for caller in begun] == [100, 100]
    assert hub.ask("POST", "/rpc/system.ping", b" " * BODY_BYTES).status == 503
    assert hub.rpc("system.ping").status == 200
    for caller in begun:
        caller.sock.close()


@pytest.mark.slow
def test_readers_who_take_nothing_fill_the_hub_with_no_more_answers_than_it_has_room_for(hub):
    """The bound of this hub is two and a half megabytes, and some of an answer fits the kernel."""
    hub.rpc("cache.set", {"key": "big", "value": "x" * 1_000_000})
    held = []
    for _ in range(PER_PEER - 1):
        caller = hub.call("127.0.0.7", receive_bytes=2_048)
        held.append(caller.send(request("POST", "/rpc/cache.get", {"key": "big"})))
    told = [caller.head().status for caller in held]
    assert told.count(200) >= 2 and told.count(503) >= PER_PEER - 1 - told.count(200) > 0
    assert hub.rpc("system.ping").status == 200
    for caller in held:
        caller.sock.close()


@pytest.mark.slow
def test_a_body_of_many_tiny_chunks_is_read_like_any_other(hub):
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"pool":"nowhere","size":9}') + b"0\r\n\r\n"
    head = NEXT.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    with hub.call() as caller:
        assert caller.send(head + body + request("GET", "/icon.svg")).answer().status == 400
        assert caller.answer().status == 200


@pytest.mark.slow
def test_deep_and_wide_json_is_the_callers_error(hub):
    for body in (
        b"[" * 500_000,
        b'{"a":' * 100_000,
        json.dumps({"a": [0] * 200_000}).encode(),
        b"[]",
        b"{",
        b'{"a": NaN}',
        b"\xff",
    ):
        answer = hub.ask("POST", "/rpc/resource.scale", body)
        assert (answer.status, answer.json["code"]) == (400, "invalid-argument")


@pytest.mark.slow
def test_those_who_dawdle_are_let_go_and_hold_up_nobody(hub):
    """Half a head, half a body, nothing at all: each is told or closed when its time is over, and others are served meanwhile."""
    halves = [hub.call("127.0.0.3").send(PING[:40]) for _ in range(PER_PEER // 2)]
    bodies = [hub.call("127.0.0.4").send(PING + b"Content-Length: 2\r\n\r\n{") for _ in range(PER_PEER // 4)]
    silent = [hub.call("127.0.0.5") for _ in range(PER_PEER // 4)]
    assert hub.rpc("system.ping").status == 200
    for caller in halves + bodies:
        with caller:
            assert caller.answer().status == 408
            assert caller.rest() == b""
    for caller in silent:
        with caller:
            assert caller.rest() == b""


@pytest.mark.slow
def test_streams_have_a_bound_of_their_own(hub):
    held = [hub.call().send(request("GET", "/events")).events() for _ in range(3)]
    told = hub.ask("GET", "/events")
    assert (told.status, told.json["reason"], told.headers["retry-after"]) == (429, "streams", "5")
    for caller in held:
        with caller:
            caller.sock.shutdown(socket.SHUT_WR)
            caller.rest()  # only once it has ended there is it not counted any more
    with hub.call() as caller:
        caller.send(request("GET", "/events")).events()


@pytest.mark.slow
def test_one_peer_may_not_take_every_connection(hub):
    """Each is asked once, so that it is known to be open; the next is turned away, and another peer is not."""
    held = [hub.call("127.0.0.2") for _ in range(PER_PEER)]
    assert {caller.ask("GET", "/icon.svg").status for caller in held} == {200}
    with hub.call("127.0.0.2") as one_more:
        turned_away = one_more.answer()
        assert (turned_away.status, turned_away.headers["retry-after"]) == (503, "1")
    assert hub.rpc("system.ping").status == 200
    for caller in held:
        caller.sock.close()


@pytest.mark.slow
def test_half_closed_callers_are_answered_and_half_requests_are_not(hub):
    with hub.call() as caller:
        caller.send(request("POST", "/rpc/system.ping", {}))
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.answer().status == 200
        assert caller.rest() == b""
    with hub.call() as caller:
        caller.send(PING)
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.rest() == b""
    with hub.call() as caller:
        caller.send(PING + b"Content-Length: 5\r\n\r\n{}")
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.answer().status == 400
    with hub.call() as caller:
        caller.send(request("GET", "/events")).events()
        caller.sock.shutdown(socket.SHUT_WR)
        assert caller.rest()  # it ends: nobody is left to tell


@pytest.mark.slow
def test_resets_in_the_middle_cost_nothing(hub):
    for sent in (PING, request("POST", "/rpc/system.ping", {}), request("GET", "/events")):
        caller = hub.call()
        caller.send(sent)
        caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.sock.close()


# --- names that would be something else -------------------------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script>\r\n\r\nevent: end\ndata: {}\n\n<img src=x onerror=alert(1)>"


@pytest.mark.slow
def test_what_is_stored_comes_back_as_data_and_nothing_else(hub):
    """Every kind of answer says what it is, and no stored text can end an event, a header or an answer."""
    with hub.call() as events:
        events.send(request("GET", "/events?engine=provenance")).events()
        told = hub.rpc("provenance.tap_event", {"event_type": "page.made", "data": {"name": EVIL}, "run_id": "evil-1"})
        assert told.status == 200
        while "data" not in (event := events.event()):
            assert "event" not in event
        assert set(event) == {"id", "data"}
        assert json.loads(event["data"])["data"]["data"]["name"] == EVIL
    for method, params in [
        ("resource.scale", {"pool": EVIL, "size": 9}),
        (EVIL.partition("\r")[0].replace("/", "").replace(" ", ""), {}),
    ]:
        answer = hub.rpc(method, params)
        assert answer.status in (400, 404)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    told = hub.rpc("system.ping", X_Request_Id="<script>")
    assert told.headers["x-request-id"] != "<script>"
    assert hub.rpc("system.ping", X_Request_Id="mine-1").headers["x-request-id"] == "mine-1"


@pytest.mark.slow
def test_every_answer_forbids_scripts_from_elsewhere_and_frames(hub):
    for answer in (hub.ask("GET", "/"), hub.rpc("system.ping"), hub.rpc("no.method"), hub.ask("GET", "/nothing")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (answer.headers["x-content-type-options"], answer.headers["x-frame-options"]) == ("nosniff", "DENY")
        assert answer.headers["x-irer-api-version"] and answer.headers["x-request-id"]


# --- WebSocket --------------------------------------------------------------------------------------------------------------

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Version": "8"}, 400),
        ({"Sec_WebSocket_Protocol": "soap"}, 400),
    ],
    ids=str,
)
def test_a_websocket_that_is_not_ours_is_not_opened(hub, changed, status):
    assert hub.ask("GET", "/events", **UPGRADE | changed).status == status


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
        (b"\x8f\x80\0\0\0\0", 1002),  # no such kind of frame
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 8_000, 1009),  # a giant
    ],
    ids=["unmasked", "reserved", "unknown", "giant"],
)
def test_frames_against_the_rules_end_a_websocket(hub, sent, code):
    with hub.call() as caller:
        assert caller.send(request("GET", "/events", **UPGRADE)).head().status == 101
        frames = caller.send(sent).rest()
        assert struct.pack(">H", code) in frames[frames.rindex(b"\x88") :]
