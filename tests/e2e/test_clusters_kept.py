"""Clusters on a real irerd with a real worker: texts of three subjects are three clusters, which keep their ids through a restart,
a lost view and more texts; and the pattern field answers over them."""

import shutil
from itertools import product
from typing import Any

import pytest

from irerctl.client import Client, Error
from tests.e2e.harness import Irerd
from tests.e2e.test_data_engine import emit, wait_for

SUBJECTS = (
    "heat pump of the {} hall draws too much power at night {}",
    "sailing boats lie at the {} pier of the old harbour {}",
    "invoices of the {} customer were paid late by bank {}",
)
WORDS = ("north", "south", "east"), ("today", "again")


def tell(client: Client, words: tuple[tuple[str, ...], ...] = WORDS) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {subject: [] for subject in SUBJECTS}
    for each in product(*words):
        for subject, events in told.items():
            events.append(emit(client, subject.format(*each)))
    return told


def found(client: Client, vectors: int) -> dict[str, Any]:
    """Clusters among so many vectors, or so few less that nobody looks again."""
    for looks in range(1, 9):
        wait_for(client, "embedding.clusters_updated", looks)
        page: dict[str, Any] = client.call("data.clusters").result
        if page["vectors"] > vectors - 8:
            return page
    raise AssertionError("clusters are looked for again and again")


def test_clusters_are_found_kept_and_carry_the_field(irerd: Irerd) -> None:
    pytest.importorskip("scipy")
    irerd.config.write_text("[data]\nsettle_s = 0.02\n")
    irerd.start()
    with irerd.client(timeout=60) as client:
        assert client.call("data.field").result == {"clusters": [], "days": [], "links": 0, "total": []}, "no clusters yet"
        told = tell(client)
        first = found(client, 18)
        assert first["code"] == "ok" and len(first["clusters"]) == 3
        for cluster in first["clusters"]:
            texts = {text["event"] for text in cluster["examples"]}
            assert sum(texts <= set(events) for events in told.values()) == 1, "a cluster is of one subject"
        heats, boats = told[SUBJECTS[0]], told[SUBJECTS[1]]
        client.call("data.cite", {"from": heats[3], "to": heats[0]})
        wait_for(client, "chain.value_distributed")
        field = client.call("data.field", {"days": 7, "steps": 70, "growth": 0, "decay": 0}).result
        assert field["total"][0] == pytest.approx(field["total"][-1], abs=1e-4) and len(field["clusters"]) == 3
        waves = client.call("data.waves", {"bins": 16, "bin_s": 60}).result
        assert waves["counted"] == 1000 and waves["modes"] == [], "one payment is no wave"
        lapped = client.call("data.overlap", {"events": [heats[0], heats[3], boats[0]]}).result
        real = lapped["real"]
        assert real[0][0] == pytest.approx(1) and real[0][1] > 0.9 > 0.2 > real[0][2] >= 0
        with pytest.raises(Error) as refused:
            client.call("data.field", {"days": 1000, "steps": 2})
        assert refused.value.code == "out-of-range"
    irerd.kill9()
    shutil.rmtree(irerd.state / "views")
    irerd.start()
    with irerd.client(timeout=60) as client:
        assert client.call("data.clusters").result == first, "they stand in the log"
        tell(client, (("west", "low", "high"), ("early", "soon")))
        grown = found(client, 36)
        assert {each["cluster"] for each in grown["clusters"]} == {each["cluster"] for each in first["clusters"]}
