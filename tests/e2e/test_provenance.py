"""Provenance through a real daemon: a tap that is redacted, one graph over all logs, and exports that say the same."""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prov.model import ProvDocument

from irerctl.client import Client
from tests.docs.prov_json import SCHEMA
from tests.e2e.harness import Irerd

pytestmark = pytest.mark.slow

ADDRESS = "sensitive@email.com"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path_factory.mktemp("provenance")).start()
    with irerd.client() as client:
        client.call("provenance.tap_event", {"event_type": "user_action", "data": {"data": ADDRESS}, "run_id": "run_001"})
        client.call("provenance.add_edge", {"source": "fact_A", "target": "fact_B", "rule": "rule1", "run_id": "run_001"})
        client.call("cache.set", {"key": "secret-plan", "value": {"plan": "dig at midnight"}})
        client.call("cache.set", {"key": "secret-plan", "value": {"plan": "dig at noon"}})
        client.call(
            "circuit.order",
            {"customer": "ann", "items": [{"sku": "w", "quantity": 1, "unit_price": 5}], "currency": "EUR", "order_id": "o-1"},
        )
    try:
        yield irerd
    finally:
        irerd.close()


@pytest.fixture
def client(daemon: Irerd) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def whole(client: Client, **params: Any) -> tuple[str, dict[str, Any]]:
    """An export, and what its end says of it."""
    stream = client.stream("provenance.export_audit", params)
    text = "".join(piece["text"] for piece in stream)
    return text, stream.result
