"""The gateway over a daemon's end whose every answer is known: hunts, tokens beyond loopback, and readers that fall behind."""

import select
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from core.catalogue import Catalogue
from core.control.hub import API_VERSIONS
from core.engine import Refused
from core.engines import ENGINES
from core.publish.routes import API_VERSION
from core.wire.calls import Item
from core.wire.errors import make
from irerctl.hub.access import TRIES_MAX, Access, Caller, host_name, is_loopback
from irerctl.hub.http1 import parse_head
from irerctl.hub.link import QUEUE_ITEMS_MAX, Ask, Daemon, Failed
from irerctl.hub.streams import Flow
from tests.e2e.web import Caller as Connection
from tests.e2e.web import Gateway, request
from tests.irerctl.conftest import Serve
from tests.irerctl.peer import Stream, Written

ROWS = (
    "hunt.start",
    "hunt.status",
    "hunt.ledger",
    "hunt.best",
    "system.ping",
    "resource.scale",
    "engines.register",
    "system.watch",
)


def described(*more: dict[str, Any]) -> dict[str, Any]:
    known = Catalogue(ENGINES).document()
    methods = [method for method in known["methods"] if method["name"] in ROWS]
    return {"schema": "0" * 64, "methods": [*methods, *more], "events": {}, "errors": {}}


@pytest.fixture
def hub(socket_path: Path, serve: Serve) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def start(answers: dict[str, Any], *options: str, **more: str) -> Gateway:
        serve({"system.describe": described(), "system.ping": {}, **answers})
        started.append(Gateway(socket_path, *options, **more))
        return started[-1]

    yield start
    for each in started:
        each.close()


# --- the hunt, as the page of the source sees it ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hunt_is_started_once_and_its_status_told(hub):
    asked: list[Any] = []
    running: list[bool] = []
    states = {"state": "idle"}

    def begin(params: Any) -> Any:
        asked.append(params)
        if running:
            return Refused("already-running", "A hunt is already in progress")
        running.append(True)
        return Written({"hunt_id": "h-1"})

    last = {"job_uuid": "0123456789ab", "log_prime_sse": 0.25, "sdg_h_norm_l2": None}
    answers: dict[str, Any] = {
        "hunt.start": begin,
        "hunt.status": lambda _: states,
        "hunt.ledger": {"rows": [{"job_uuid": "j1", "status": "ok"}, {"job_uuid": "j2", "status": "missing"}]},
        "hunt.best": lambda params: {"job_uuid": "j1", **params},
    }
    gateway = hub(answers)
    nothing = {
        "hunt_status": "Idle",
        "last_event": None,
        "last_sse": None,
        "last_h_norm": None,
        "found_files": [],
        "final_result": {},
    }
    assert gateway.ask("GET", "/api/get-status").json == nothing
    told = gateway.ask("POST", "/api/start-hunt", {"num_generations": None, "population_size": 4})
    assert (told.status, told.json) == (202, {"status": "Hunt Started", "hunt_id": "h-1"})
    again = gateway.ask("POST", "/api/start-hunt", {})
    assert (again.status, again.json["code"], again.json["message"]) == (409, "already-running", "A hunt is already in progress")
    assert again.headers["content-type"] == "application/problem+json"
    assert asked == [{"population_size": 4}, {}]
    assert gateway.rpc("hunt.start").status == 409
    for state, shown in [("running", "Running"), ("stopping", "Running"), ("stopped", "Stopped"), ("completed", "Completed")]:
        states |= {"state": state, "hunt_id": "h-1", "last": last}
        found = gateway.ask("GET", "/api/get-status").json
        assert (found["hunt_status"], found["found_files"]) == (shown, ["provenance/provenance_j1.json"])
        assert (found["last_event"], found["last_sse"], found["last_h_norm"]) == ("Analyzed 01234567...", "0.250000", None)
        ended = state in ("stopped", "completed")
        assert found["final_result"] == ({"job_uuid": "j1", "hunt_id": "h-1"} if ended else {})
    states |= {"state": "failed", "error": "disk full"}
    assert gateway.ask("GET", "/api/get-status").json["hunt_status"] == "Error: disk full"


# --- beyond loopback --------------------------------------------------------------------------------------------------------

CHECK = {"name": "system.check_http_token", "params": {}, "streams": False, "needs": "system:read"}
ROLES = {"look": "viewer", "work": "operator", "rule": "admin", "play": "nobody-knows"}


def judged(params: dict[str, Any]) -> dict[str, Any]:
    role = ROLES.get(params["token"])
    return {"valid": False} if role is None else {"valid": True, "subject": f"s-{params['token']}", "role": role}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("tls")
    cert, key = place / "cert.pem", place / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *named], check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.mark.slow
def test_beyond_loopback_nobody_is_let_in_without_a_token_and_nothing_is_said_in_the_clear(hub, certificate):
    cert, key = certificate
    options = ("--tls-cert", str(cert), "--tls-key", str(key), "--allow-host", "localhost")
    done = Written({"pool": "compute", "to_units": 9})
    gateway = hub(
        {"system.describe": described(CHECK), "system.check_http_token": judged, "resource.scale": done, "engines.register": done},
        *options,
        listen="0.0.0.0:0",
    )
    trusting = ssl.create_default_context(cafile=str(cert))

    def ask(method: str, **headers: str) -> int:
        with Connection(gateway.port, tls=trusting) as caller:
            return caller.ask("POST", f"/rpc/{method}", {}, **headers).status

    assert ask("system.ping") == 401
    for bad in ("Bearer", "Bearer wrong", "Basic look", "look", f"Bearer {'x' * 5_000}"):
        assert ask("system.ping", Authorization=bad) == 401
    assert ask("system.ping", Authorization="Bearer look", Origin="http://localhost") == 403  # ours is https here
    assert ask("system.ping", Authorization="Bearer look", Origin="https://localhost") == 200
    assert ask("system.ping", Authorization="Bearer look", Host="127.0.0.1") == 421
    verdicts = {
        token: [ask(method, Authorization=f"Bearer {token}") for method in ("system.ping", "resource.scale", "engines.register")]
        for token in ROLES
    }
    assert verdicts == {"look": [200, 403, 403], "work": [200, 200, 403], "rule": [200, 200, 200], "play": [403, 403, 403]}
    with Connection(gateway.port, tls=trusting) as caller:  # refused before its body is sent
        assert caller.ask("POST", "/rpc/system.ping", Content_Length="900000").status == 401
    assert ask("no.method", Authorization="Bearer rule") == 404
    older = ssl.create_default_context(cafile=str(cert))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        Connection(gateway.port, tls=older)
    with Connection(gateway.port) as plain:
        plain.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in plain.rest()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokens", "keys"])
def test_guessing_keeps_nobody_waiting(hub, kind):
    """irerd answers refusals beyond ten a second late. Here it never does: so many of one peer wait, and not one more."""
    never = Stream([], endless=True)
    prove = {"name": "engines.validate", "params": {}, "streams": False, "needs": "engines:read", "kind": "write"}
    gateway = hub({"system.describe": described(CHECK, prove), "system.check_http_token": never, "engines.validate": never})

    def guess(number: int) -> dict[str, str]:
        if kind == "tokens":
            return {"Authorization": f"Bearer a.b.{number}"}
        return {"X_Engine_ID": "mailer", "X_Engine_Key": f"irk_{number}"}

    callers = [gateway.call("127.0.0.9").send(request("POST", "/rpc/system.ping", {}, **guess(number))) for number in range(40)]
    by_socket = {caller.sock: caller for caller in callers}
    while len(told := select.select(by_socket, [], [], 15)[0]) < len(callers) - TRIES_MAX:
        assert told
    assert gateway.rpc("system.ping").status == 200
    told = select.select(by_socket, [], [], 0)[0]
    assert len(told) == len(callers) - TRIES_MAX
    for caller in map(by_socket.get, told):
        answer = caller.answer()
        assert (answer.status, answer.json["reason"], answer.headers["retry-after"]) == (429, "credentials", "1")
    for each in callers:
        each.sock.close()


async def test_a_token_that_was_revoked_is_refused_within_a_second(socket_path, serve):
    standing = {"valid": True, "subject": "ann", "role": "operator"}
    peer = serve({"system.describe": described(CHECK), "system.check_http_token": lambda _: standing})
    head = parse_head(b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer abc\r\n\r\n")
    time = [0.0]
    async with trio.open_nursery() as nursery:
        daemon = Daemon(str(socket_path))
        await _started(nursery, daemon)
        access = Access(daemon, frozenset({"localhost"}), tokens=True, now=lambda: time[0])
        assert await access.caller(head) == await access.caller(head) == Caller("ann", "operator")
        assert [call.m for call in peer.calls].count("system.check_http_token") == 1
        standing["valid"] = False
        time[0] += 1.0
        with pytest.raises(Failed) as refused:
            await access.caller(head)
        assert refused.value.body["code"] == "unauthenticated"
        nursery.cancel_scope.cancel()


async def _started(nursery: trio.Nursery, daemon: Daemon) -> None:
    await nursery.start(daemon.run)
    assert daemon.present, daemon.why_away


def test_callers_of_one_hub_do_not_meet_in_their_keys():
    keys = {Caller(subject, "operator").key("key-0001") for subject in ("a", "b", "1 a")} | {Caller().key("key-0001")}
    assert len(keys) == 4 and all(len(key) <= 64 for key in keys if key)
    assert Caller("a", "operator").key("key-0001") == Caller("a", "viewer").key("key-0001")


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("a.example:80", "a.example"),
        ("A.example.", "a.example"),
        ("[::1]:80", "::1"),
        ("[::1", ""),
        ("a:b", ""),
        ("a:1:2", ""),
        ("[::1]x", ""),
    ],
)
def test_the_name_in_a_host_header(authority, name):
    assert host_name(authority) == name


@pytest.mark.parametrize(
    ("host", "inside"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("::", False)],
)
def test_what_is_loopback(host, inside):
    assert is_loopback(host) is inside


def test_the_version_on_every_reply_is_that_of_the_methods():
    assert API_VERSIONS["methods"] == API_VERSION


# --- streams ----------------------------------------------------------------------------------------------------------------


async def test_a_reader_that_fell_behind_is_cancelled_and_goes_on_where_it_stopped(socket_path, serve):
    """Far more comes at once than may wait: the rest is asked for again by cursor, and nothing is missing or told twice."""
    count = QUEUE_ITEMS_MAX * 3

    begun = [0]

    def since(params: dict[str, Any]) -> Stream:
        """The peer's cursors count from the beginning of each stream."""
        if "since" in params:
            begun.append(begun[-1] + int(params["since"].partition(".")[2]) + 1)
        return Stream(range(begun[-1], count), endless=True)

    peer = serve({"system.describe": described(), "system.watch": since})
    async with trio.open_nursery() as nursery:
        daemon = Daemon(str(socket_path))
        await _started(nursery, daemon)
        flow = Flow(daemon, Ask("system.watch", {}), None, resumable=True)
        with trio.fail_after(20):
            await flow.begin()
            seen: list[int] = []
            while len(seen) < count:
                said = await flow.next()
                if said.kind == "item":
                    seen.append(said.value)
                await trio.testing.wait_all_tasks_blocked()
        flow.close()
        nursery.cancel_scope.cancel()
    assert seen == list(range(count))
    assert [call.m for call in peer.calls].count("system.watch") > 1


async def test_nothing_is_made_for_a_reader_that_takes_nothing(socket_path, serve):
    """What may wait for it is full: from then on irerd makes no items of it, rather than items that are thrown away."""
    peer = serve({"system.describe": described(), "system.watch": Stream(range(QUEUE_ITEMS_MAX + 8), endless=True)})
    async with trio.open_nursery() as nursery:
        daemon = Daemon(str(socket_path))
        await _started(nursery, daemon)
        opened = await daemon.open(Ask("system.watch", {}), resumable=True)
        assert await trio.to_thread.run_sync(peer.quiet.wait, 20), "nobody cancelled it, and nobody reads it"
        taken = [await opened.inbox.next() for _ in range(QUEUE_ITEMS_MAX + 1)]
        opened.close()
        nursery.cancel_scope.cancel()
    assert [type(each) for each in taken] == [Item] * QUEUE_ITEMS_MAX + [type(None)]
    assert [call.m for call in peer.calls].count("system.watch") == len(peer.cancelled) == 1


async def test_a_reader_whose_place_is_gone_after_a_restart_is_told_and_not_begun_anew(socket_path, serve):
    """Its cursor is older than what is left of the log: from the beginning would be twice, from now on would leave a hole."""
    old = serve({"system.describe": described(), "system.watch": Stream([1], endless=True)})
    async with trio.open_nursery() as nursery:
        daemon = Daemon(str(socket_path))
        await _started(nursery, daemon)
        flow = Flow(daemon, Ask("system.watch", {}), None, resumable=True)
        with trio.fail_after(20):
            await flow.begin()
            assert (await flow.next()).kind == "item"
            old.close()
            gone = Refused("compacted", "these records were let go")
            new = serve({"system.describe": described(), "system.watch": gone})
            said = [await flow.next() for _ in range(2)]
        assert [each.kind for each in said] == ["away", "problem"] and said[1].value["code"] == "compacted"
        assert [call.p["since"] for call in new.calls if call.m == "system.watch"] != []
        nursery.cancel_scope.cancel()


async def test_a_method_that_a_new_daemon_brings_is_served_with_no_change_here(socket_path, serve):
    old = serve({"system.describe": described()})
    async with trio.open_nursery() as nursery:
        daemon = Daemon(str(socket_path))
        await _started(nursery, daemon)
        assert "eil.sense" not in daemon.methods
        changed = daemon.changed
        old.close()
        with trio.fail_after(20):
            await changed.wait()
            serve({"system.describe": described(CHECK | {"name": "eil.sense"}) | {"schema": "1" * 64}}, "1" * 64)
            while not daemon.present:
                await daemon.changed.wait()
        assert "eil.sense" in daemon.methods
        nursery.cancel_scope.cancel()


async def test_a_daemon_that_is_not_there_is_told_at_once(socket_path):
    async with trio.open_nursery() as nursery:
        daemon = Daemon(str(socket_path))
        await nursery.start(daemon.run)
        for ask in (daemon.ask(Ask("system.ping", {})), daemon.open(Ask("system.watch", {}), resumable=True)):
            with pytest.raises(Failed) as away:
                await ask
            assert away.value.body["code"] == "unavailable" and away.value.body["retry_ms"] > 0
        nursery.cancel_scope.cancel()


async def test_a_call_without_an_answer_ends_with_its_deadline(socket_path, serve):
    peer = serve({"system.describe": described(), "resource.scale": Stream([], endless=True)})
    async with trio.open_nursery() as nursery:
        daemon = Daemon(str(socket_path))
        await _started(nursery, daemon)
        with trio.fail_after(20), pytest.raises(Failed) as late:
            await daemon.ask(Ask("resource.scale", {}, deadline_ms=1))
        assert late.value.body == make("deadline-exceeded", late.value.body["detail"], effect="unknown")
        await trio.to_thread.run_sync(peer.quiet.wait, 10)
        assert len(peer.cancelled) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_who_never_ends_a_handshake_keeps_nobody_out(hub, certificate):
    cert, key = certificate
    gateway = hub({}, "--tls-cert", str(cert), "--tls-key", str(key), "--limit", "connections=3")
    trusting = ssl.create_default_context(cafile=str(cert))
    silent = [Connection(gateway.port, f"127.0.0.{number}") for number in (5, 5, 6)]
    with Connection(gateway.port, "127.0.0.7", tls=trusting) as caller:
        assert caller.ask("GET", "/icon.svg").status == 200
        assert silent[0].more() == b"", "the oldest of who has most"
    for each in silent:
        each.sock.close()
