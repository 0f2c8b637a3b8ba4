"""Tokens of the gateway, whole: a real irerd issues them, a real hub beyond loopback takes them over TLS 1.3, and no further."""

import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.wire.calls import Err, Item, Mark
from irerctl.client import Error
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw
from tests.e2e.web import Answer, Caller, Gateway, request

DENIED = "cache.delete"
STILL = "[pools]\nscale_hold_s = 86400.0\n"  # a pool that nobody uses would shrink
PROMISED_S = 1.0
"""docs/hub.md: a revoked token is refused at the latest so much later."""


class Far(NamedTuple):
    """A hub that others can reach, as one of them sees it."""

    irerd: Irerd
    hub: Gateway
    trusting: ssl.SSLContext

    def call(self) -> Caller:
        return Caller(self.hub.port, tls=self.trusting)

    def rpc(self, token: str, method: str, params: Any = None, **headers: str) -> Answer:
        with self.call() as caller:
            return caller.ask("POST", f"/rpc/{method}", params or {}, Authorization=f"Bearer {token}", **headers)

    def issue(self, role: str, subject: str = "ann", **more: Any) -> dict[str, Any]:
        with self.irerd.client() as client:
            answer = client.call("system.issue_http_token", {"subject": subject, "role": role, **more}).result
        assert isinstance(answer, dict)
        return answer

    def revoke(self, jti: str) -> None:
        with self.irerd.client() as client:
            client.call("system.revoke_http_token", {"jti": jti})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("tls")
    cert, key = place / "cert.pem", place / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *named], check=True, capture_output=True, timeout=30)
    return cert, key


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Far]:
    cert, key = certificate
    irerd = Irerd(tmp_path_factory.mktemp("far"), STILL + f'[access]\ndeny = {{ "uid:{os.getuid()}" = ["{DENIED}"] }}\n').start()
    options = ("--tls-cert", str(cert), "--tls-key", str(key), "--allow-host", "localhost")
    hub = Gateway(irerd.socket, *options, listen="0.0.0.0:0")
    yield Far(irerd, hub, ssl.create_default_context(cafile=str(cert)))
    hub.close()
    irerd.close()


@pytest.mark.slow
def test_a_caller_does_what_the_weaker_of_its_token_and_the_hub_may(far):
    with far.call() as caller:
        assert caller.sock.version() == "TLSv1.3"
    tokens = {role: far.issue(role)["token"] for role in ("viewer", "operator", "admin", "engine")}
    scale, register = {"pool": "compute", "size": 9}, {"engine_id": "e-1", "capabilities": {}}
    before = far.rpc(tokens["viewer"], "resource.pools").json
    told = {
        role: [
            far.rpc(token, method, params).status
            for method, params in [("resource.pools", {}), (DENIED, {"key": "a"}), ("system.reload", {}), ("no.method", {})]
        ]
        for role, token in tokens.items()
    }
    assert told == {
        "viewer": [200, 403, 403, 404],
        "operator": [200, 403, 403, 404],
        "admin": [200, 403, 200, 404],  # what irerd denies to the hub, no token gives
        "engine": [403, 403, 403, 404],
    }
    refused = far.rpc(tokens["viewer"], "resource.scale", scale)
    assert (refused.status, refused.json["reason"]) == (403, "role")
    assert far.rpc(tokens["viewer"], "resource.pools").json == before
    assert far.rpc(tokens["operator"], "engines.register", register).status == 403
    assert far.rpc(tokens["operator"], "resource.scale", scale).json["to_units"] == 9
    issued = far.rpc(tokens["admin"], "system.issue_http_token", {"subject": "bob", "role": "operator"})
    assert issued.status == 200 and far.rpc(issued.json["token"], "system.ping").status == 200
    assert far.rpc(tokens["operator"], "system.issue_http_token", {"subject": "bob", "role": "viewer"}).status == 403
    asked = {"idem": "any-key-01", "caller": "uid:0"}  # irerd would judge this by the hub's own role
    told = {role: far.rpc(tokens[role], "system.op_status", asked).status for role in ("viewer", "operator", "admin")}
    assert told == {"viewer": 403, "operator": 403, "admin": 200}


@pytest.mark.slow
def test_an_engine_behind_the_hub_needs_its_key_and_its_token(far):
    admin, engine = far.issue("admin")["token"], far.issue("engine")["token"]
    key = far.rpc(admin, "engines.register", {"engine_id": "mailer", "capabilities": {}}).json["engine_key"]
    headers = {"X_Engine_ID": "mailer", "X_Engine_Key": key}
    asked = {"engine_id": "mailer", "platform": "gmail", "action_type": "send"}
    assert far.rpc(engine, "actions.check", asked).status == 401
    assert far.rpc(engine, "actions.check", asked, **headers).json["reason"] == "platform-unknown"
    assert far.rpc(engine, "resource.pools", {}, **headers).status == 403
    with far.call() as caller:
        assert caller.ask("POST", "/actions/check", asked, **headers).status == 401, "the key without a token"


@pytest.mark.slow
def test_a_revoked_token_is_refused_within_the_second_that_is_promised_and_its_streams_end(far):
    issued = far.issue("viewer")
    bearer = {"Authorization": f"Bearer {issued['token']}"}
    with far.call() as caller, far.call() as stream:
        stream.send(request("GET", "/events", **bearer)).events()
        assert caller.ask("POST", "/rpc/system.ping", {}, **bearer).status == 200
        far.revoke(issued["jti"])
        since = time.monotonic()
        while (told := caller.ask("POST", "/rpc/system.ping", {}, **bearer)).status == 200:
            pass
        assert (told.status, told.json["reason"]) == (401, "token-refused")
        assert time.monotonic() - since < PROMISED_S + 0.5
        while (event := stream.event()).get("event") != "problem":
            assert "event" not in event and time.monotonic() - since < 2 * PROMISED_S + 5
        ended = json.loads(event["data"])
        assert (ended["code"], ended["detail"]) == ("unauthenticated", told.json["detail"]), "one text, whoever says it"
        assert stream.rest() == b""


@pytest.mark.slow
def test_the_end_of_an_answer_is_said_within_tls(far):
    """So a stream that somebody on the way cut short cannot pass for one that ended."""
    with socket.create_connection(("127.0.0.1", far.hub.port), 15) as plain:
        with far.trusting.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as caller:
            caller.sendall(request("GET", "/icon.svg", Connection="close"))
            while caller.recv(65_536):  # raises where the connection ends without a word
                pass


@pytest.mark.slow
def test_every_bad_token_gets_one_answer_and_its_cause_is_on_record(far):
    good, revoked = far.issue("operator"), far.issue("operator")
    far.revoke(revoked["jti"])
    with far.irerd.client() as client:
        gate = client.call("gate.issue_token", {"domain": "wealth", "subject": "ann"}).result["token"]
        opens = client.call("gate.check", {"token": good["token"], "domain": "wealth"}).result
    assert opens == {"allowed": False, "reason": "token-refused"}
    head, claims, signature = good["token"].split(".")
    bad = {"unknown": gate, "revoked": revoked["token"], "altered": f"{head}.{claims}.{signature[:-2]}AA", "form": "no-token"}
    told = {cause: far.rpc(token, "system.ping") for cause, token in bad.items()}
    assert {(each.status, each.json["detail"], each.json["code"], each.json["reason"]) for each in told.values()} == {
        (401, "the token is not good here", "unauthenticated", "token-refused")
    }
    logged = (far.irerd.state / "gate_log.jsonl").read_text()
    causes = [json.loads(line)["payload"]["cause"] for line in logged.splitlines() if '"http_token.refused"' in line]
    assert causes[-4:] == list(bad)
    assert not any(token.rpartition(".")[2] in logged for token in (good["token"], revoked["token"]))


@pytest.mark.slow
def test_a_token_outlives_a_restart_and_is_shown_once(far):
    with far.irerd.client() as client:
        asked = {"subject": "ann", "role": "viewer"}
        issued = client.call("system.issue_http_token", asked, idem="issue-0001").result
        with pytest.raises(Error) as again:
            client.call("system.issue_http_token", asked, idem="issue-0001")
        assert (again.value.code, again.value.reason) == ("already-exists", "shown-once")
        listed = client.call("system.http_tokens").result["tokens"]
    assert issued["jti"] in [each["jti"] for each in listed] and issued["token"] not in json.dumps(listed)
    revoked = far.issue("viewer")
    far.revoke(revoked["jti"])
    far.irerd.kill9()
    far.irerd.start()
    while (told := far.rpc(issued["token"], "system.ping")).status == 503:  # until the hub has found it again
        assert told.json["code"] == "unavailable"
    assert told.status == 200 and far.rpc(revoked["token"], "system.ping").status == 401


QUOTE = {"asset": "CEU", "side": "buy", "quantity": 1}


@pytest.mark.slow
def test_two_subjects_behind_one_hub_are_two_actors(far):
    """What one asks for, owns and repeats is not the other's: not by its id, and not by its key."""
    ann, again, bob = far.issue("operator")["token"], far.issue("operator")["token"], far.issue("operator", "bob")["token"]
    sensed = {"source": "of-ann", "telemetry": {"load": 1.0}}
    assert far.rpc(ann, "eil.sense", sensed).status == 200
    assert far.rpc(bob, "eil.sense", sensed).json["reason"] == "owner"
    assert far.rpc(again, "eil.sense", sensed).status == 200, "another token of the same subject"
    held = far.rpc(ann, "eil.market_quote", QUOTE, Idempotency_Key="the-same-key").json["quote_id"]
    asked = {"quote_id": held}
    assert far.rpc(bob, "eil.market_trade", asked).json["reason"] == "quote"
    others = far.rpc(bob, "eil.market_quote", QUOTE, Idempotency_Key="the-same-key")
    assert "x-irer-replayed" not in others.headers and others.json["quote_id"] != held
    assert far.rpc(again, "eil.market_quote", QUOTE, Idempotency_Key="the-same-key").json["quote_id"] == held
    assert far.rpc(ann, "eil.market_trade", asked).status == 200
    mine = {token: far.rpc(token, "system.op_status", {"idem": "the-same-key"}).json["receipt"]["seq"] for token in (ann, bob)}
    assert mine[ann] != mine[bob]
    listed = far.rpc(ann, "eil.balances").json
    assert "http:ann" in json.dumps(listed)


@pytest.mark.slow
def test_nobody_speaks_for_a_token_that_was_not_shown_on_their_own_connection(far):
    ann, bob = far.issue("operator"), far.issue("viewer", "bob")
    with far.irerd.client() as shown, far.irerd.client() as other:

        def told(client: Any, jti: str, method: str = "resource.pools", params: Any = None) -> Any:
            try:
                return client.call(method, params or {}, as_=f"http#{jti}").result
            except Error as refused:
                return refused.code, refused.reason

        unshown = "unauthenticated", "token-refused"
        assert told(shown, ann["jti"]) == unshown, "the id alone"
        for each in (ann, bob):
            assert shown.call("system.check_http_token", {"token": each["token"]}).result["jti"] == each["jti"]
        quoted = told(shown, ann["jti"], "eil.market_quote", QUOTE)["quote_id"]
        assert told(other, ann["jti"]) == unshown, "shown on another connection"
        assert told(shown, bob["jti"], "resource.scale", {"pool": "compute", "size": 9}) == ("permission-denied", "role")
        assert told(shown, ann["jti"], "system.reload") == ("permission-denied", "role"), "an admin's connection"
        assert told(shown, bob["jti"], "system.op_status", {"idem": "any-key-01", "caller": "uid:0"})[0] == "permission-denied"
        with pytest.raises(Error) as not_mine:  # nor does whoever carries it own what is its
            shown.call("eil.market_trade", {"quote_id": quoted})
        assert not_mine.value.code == "not-found"
        far.revoke(ann["jti"])
        assert told(shown, ann["jti"]) == unshown and "pools" in told(shown, bob["jti"])
        shown.call("system.rotate_http_key")
        assert told(shown, bob["jti"]) == unshown
        assert "pools" in shown.call("resource.pools").result


@pytest.mark.slow
def test_a_stream_in_the_name_of_a_token_ends_with_it(far):
    """Of what happens after the token was revoked its bearer is told nothing, whoever carries the stream; others go on."""
    ann, bob = far.issue("operator"), far.issue("operator", "bob")
    carrier = Raw(far.irerd.socket)
    try:
        for each in (ann, bob):
            carrier.ask("system.check_http_token", {"token": each["token"]})
        names = {carrier.call("system.watch", {"engine": "cache"}, as_=f"http#{each['jti']}"): each["jti"] for each in (ann, bob)}
        heard: dict[str, list[Any]] = {jti: [] for jti in names.values()}
        with far.irerd.client() as other:
            while sum(map(len, heard.values())) < 2:  # each stream's mark: it has begun
                heard[names[carrier.next().id]].append("begun")
            far.revoke(ann["jti"])
            other.call("cache.set", {"key": "after", "value": 1})
        while len(heard[ann["jti"]]) + len(heard[bob["jti"]]) < 4:
            said = carrier.next()
            if isinstance(said, Item | Err):
                told = (said.e["code"], said.e["reason"]) if isinstance(said, Err) else said.r["data"]["key"]
                heard[names[said.id]].append(told)
    finally:
        carrier.close()
    assert heard == {ann["jti"]: ["begun", ("unauthenticated", "token-refused")], bob["jti"]: ["begun", "after"]}


@pytest.mark.slow
def test_what_is_refused_to_a_token_is_on_record_under_its_subject(far):
    bob, carrier = far.issue("viewer", "bob"), Raw(far.irerd.socket)
    try:
        carrier.ask("system.check_http_token", {"token": bob["token"]})
        watching = carrier.call("system.watch", {"type": "gate.refused"})
        assert isinstance(begun := carrier.next(), Mark) and begun.id == watching
        asked = carrier.call("resource.scale", {"pool": "compute", "size": 9}, as_=f"http#{bob['jti']}")
        heard = {said.id: said for said in (carrier.next(), carrier.next())}
    finally:
        carrier.close()
    assert heard[asked].e["reason"] == "role"
    assert heard[watching].r["data"] == {
        "caller": "http:bob",
        "method": "resource.scale",
        "code": "permission-denied",
        "reason": "role",
    }


@pytest.mark.slow
def test_a_header_that_looks_like_another_caller_is_none(far):
    """X-Engine-ID is an engine's: whatever stands in it, nobody speaks for another's token by it."""
    ann, bob = far.issue("operator"), far.issue("operator", "bob")
    assert far.rpc(ann["token"], "eil.market_quote", QUOTE).status == 200
    asked = {
        name: far.rpc(bob["token"], "eil.market_quote", QUOTE, X_Engine_ID=name, X_Engine_Key=ann["jti"])
        for name in (f"http#{ann['jti']}", f"http:{ann['jti']}", "http:ann")
    }
    assert {(each.status, each.json["reason"]) for each in asked.values()} == {(401, "engine-proof")}
