"""The flows of the source documents, typed as people type them, against a real irerd."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from irerctl.main import cli
from tests.e2e.harness import Irerd

Typed = Callable[..., Result]
CONFIG = "[circuit]\nfulfilment_s = 0.05\n\n[entities]\nheartbeat_s = 60\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path_factory.mktemp("irerctl"), CONFIG).start()
    yield irerd
    irerd.close()


@pytest.fixture
def typed(daemon: Irerd, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.setenv("IRER_SOCKET", str(daemon.socket))

    def invoke(*words: str, input: str | None = None, status: int = 0) -> Result:
        ran = CliRunner().invoke(cli, list(words), input=input)
        assert ran.exit_code == status, (words, ran.output)
        return ran

    return invoke


def data(ran: Result) -> Any:
    return json.loads(ran.stdout)


def test_an_engine_registers_proves_itself_and_is_judged(typed: Typed, tmp_path: Path) -> None:
    typed("control", "platforms", "define", "gmail", "--actions", '{"send_email": ["mail.send"]}')
    key = tmp_path / "key"
    typed("control", "register", "action", "--capabilities", '{"gmail": ["send_email"]}', "--out", str(key))
    typed("control", "validate", "action", "--engine-key", f"@{key}")
    typed("control", "validate", "action", "--engine-key", "-", input="irk_another-key", status=1)
    ask = ("-o", "json", "control", "check", "action", "gmail", "send_email")
    allowed = data(typed(*ask))["result"]
    assert (allowed["allowed"], allowed["required_scopes"]) == (True, ["mail.send"])
    typed("control", "platforms", "set", "gmail", "maintenance")
    denied = data(typed(*ask, status=1))["result"]
    assert (denied["allowed"], denied["reason"]) == (False, "platform-maintenance")
    typed("control", "platforms", "set", "gmail", "available")
    typed("control", "flags", "set", "gmail.send_email", "off")
    assert data(typed(*ask, status=1))["result"]["rule"] == "flag:gmail.send_email"
    records = data(typed("-o", "json", "control", "log", "--engine-id", "action"))["records"]
    assert [(each["status"], each["request_id"]) for each in records][1:] == [
        ("denied", denied["request_id"]),
        ("allowed", allowed["request_id"]),
    ]
    assert "flag:gmail.send_email" in typed("control").stdout
    typed("control", "config", "set", "retry.attempts", "9")
    assert data(typed("-o", "json", "control", "config", "retry.attempts"))["values"] == {"retry.attempts": 9}
    typed("control", "config", "set", "retry.attempts", "null")
    assert data(typed("-o", "json", "control", "config", "retry.attempts"))["set"] == {}


def test_a_token_goes_from_hand_to_hand_and_never_over_a_command_line(typed: Typed) -> None:
    issued = typed("gate", "issue", "wealth", "user_001", "--scopes", "read")
    token, jti = issued.stdout, issued.stderr.split()[1]
    assert token.count(".") == 2 and jti in typed("gate", "tokens").stdout
    typed("gate", "check", "wealth", "--scope", "read", "--token", "-", input=token)
    went = typed("-o", "json", "nav", "go", "wealth", "--subject", "user_001", "--token", "-", input=token)
    assert data(went)["result"] == {"ok": True, "route": "wealth/primary"}
    typed("nav", "report", "wealth/primary", "--ok")
    typed("gate", "check", "info", "--token", "-", input=token, status=1)
    typed("gate", "revoke", jti)
    typed("gate", "check", "wealth", "--token", "-", input=token, status=1)
    assert jti not in typed("gate", "tokens").stdout
    text = typed("gate").stdout
    assert "1 domain" in text and "1 revoked" in text


def test_an_entity_an_order_and_the_cache(typed: Typed) -> None:
    typed("entity", "spawn", "worker_001", "worker", "--needs", '{"pool": "storage", "units": 1}')
    typed("entity", "awaken", "worker_001")
    typed("entity", "report", "worker_001", "97.5", "--note", "well")
    assert data(typed("-o", "json", "entity", "get", "worker_001"))["health"] == 97.5
    assert "worker_001" in typed("entity").stdout
    items = '[{"sku": "widget", "quantity": 2, "unit_price": 1999}]'
    typed("order", "o-1", "--customer", "ann@example.org", "--currency", "EUR", "--items", items, status=2)
    typed("order", "--order-id", "o-1", "--customer", "ann@example.org", "--currency", "EUR", "--items", items)
    listed = typed("order", "list").stdout
    assert "39.98 EUR" in listed and "ann@example.org" not in listed
    assert data(typed("-o", "json", "wealth"))["revenue"][0]["revenue"] == 3998
    typed("offline", "on")
    typed("cache", "set", "greeting", '{"text": "hello"}', "--ttl-s", "3600")
    typed("cache", "set", "nothing", "null")
    assert data(typed("cache", "get", "greeting")) == {"text": "hello"}
    assert typed("cache", "get", "nothing").stdout == "null\n"
    assert data(typed("-o", "json", "offline", "queue"))["count"] == 2
    typed("offline", "sync", status=65)
    typed("offline", "off")
    typed("cache", "delete", "greeting")
    typed("cache", "get", "greeting", status=66)


def test_every_overview_is_there_for_people_and_as_one_value(typed: Typed) -> None:
    for name in (
        "status",
        "engine",
        "gate",
        "nav",
        "control",
        "entity",
        "cache",
        "offline",
        "order",
        "wealth",
        "metrics",
        "provenance",
    ):
        assert typed(name).stdout.strip()
        assert isinstance(data(typed("-o", "json", name)), dict)
    assert "# TYPE irer_" in typed("metrics", "--prom").stdout
    assert len(typed("status").stdout.splitlines()) <= 20
