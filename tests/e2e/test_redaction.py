"""Planted secrets and personal data never reach the disk, the journal or another reader, whichever engine they were told to."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Irerd

MAIL = "sensitive.person@email-provider.com"
CARD = "4111 1111 1111 1111"
KEY = "AKIAQ7KDMSPLWX4RTEZN"
PASSWORD = "hunter2-Xq9vLm3TzPw8"
PLANTED = (MAIL, CARD, "4111111111111111", KEY, PASSWORD)
WINDOW = 8

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("entity.spawn", {"entity_id": "worker_001", "type": "worker"}),
    ("entity.report", {"entity_id": "worker_001", "health": 50, "note": f"call {MAIL}, card {CARD}, key {KEY}"}),
    ("circuit.order", {"customer": MAIL, "items": [{"sku": "widget", "quantity": 1, "unit_price": 5}], "currency": "EUR"}),
    ("log.engine_event", {"event_type": "mailer.sent", "data": {"to": MAIL, "password": PASSWORD, "nested": [{"card": CARD}]}}),
    ("log.engine_event", {"event_type": "mailer.sent", "data": {MAIL: KEY, "aws_access_key_id": KEY}}),
]


def files_under(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and "keys" not in path.parts}


def windows(text: str) -> set[bytes]:
    return {text[place : place + WINDOW].encode() for place in range(len(text) - WINDOW + 1)}


@pytest.mark.slow
def test_no_window_of_a_planted_secret_is_in_any_byte_that_was_written_or_said(tmp_path: Path) -> None:
    daemon = Irerd(tmp_path).start()
    try:
        with daemon.client() as client:
            shown = [client.call(method, params).result for method, params in CALLS]
            shown.append(client.call("entity.get", {"entity_id": "worker_001"}).result)
            shown.append(client.call("circuit.orders", {}).result)
            dry = client.call("entity.report", CALLS[1][1], dry=True).result
        again = client_of(daemon, CALLS[2])
        daemon.stop()
    finally:
        daemon.close()
    written = files_under(daemon.state)
    assert any(b"pn_" in data for data in written.values()), "a pseudonym stands where a person stood"
    for secret in PLANTED:
        for window in windows(secret):
            assert not [path for path, data in written.items() if window in data], (secret, window)
            assert window not in repr([shown, dry, again]).encode(), (secret, window)
            assert window not in daemon.stderr().encode(), (secret, window)


def client_of(daemon: Irerd, call: tuple[str, dict[str, Any]]) -> Any:
    with daemon.client() as client:
        return client.call(*call).result


@pytest.mark.slow
def test_one_person_has_one_pseudonym_in_every_log(tmp_path: Path) -> None:
    daemon = Irerd(tmp_path).start()
    try:
        with daemon.client() as client:
            order = client.call(*CALLS[2]).result
            client.call("entity.spawn", {"entity_id": "e", "type": "agent"})
            report = client.call("entity.report", {"entity_id": "e", "health": 1, "note": f"ask {MAIL}"}).result
    finally:
        daemon.close()
    assert order["customer"].startswith("pn_") and order["customer"] in report["note"]
