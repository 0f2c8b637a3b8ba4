"""The flow of the source in one go, on a real irerd and a real PouchDB server, with kill -9 in between: content comes in, gets its
embedding, finds its priors, cites one, strengthens a pattern, distributes value, is shared, and all of it is linked."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.data.embedding import embed, nearest, numbers, unit
from irerctl.client import Client, Error
from tests.e2e.far_end import MISSING, FarDatabase, FarEnd, installed
from tests.e2e.harness import Irerd

TEXTS = [
    "the heat pump of the north hall draws too much power at night",
    "too much power is drawn by the heat pumps in the north hall",
    "a sailing boat lies at the eastern pier of the harbour",
]
QUICK = "[data]\nthreshold = 1.0\nhold_s = 0.05\nsettle_s = 0.05\n"
READS = ("data.status", "data.patterns", "data.value", "data.topology")


@pytest.fixture
def far() -> Iterator[FarDatabase]:
    if not installed():
        pytest.skip(MISSING)
    server = FarEnd()
    yield server.database("irer")
    server.stop()


def emit(client: Client, text: str) -> str:
    told = client.call("data.emit", {"family": "local", "type": "content_created", "data": {"text": text}}).result
    return str(told["event"])


def wait_for(client: Client, name: str, many: int = 1) -> list[dict[str, Any]]:
    """Those events of one type, once there are so many: list, then watch from there."""
    family, _, kind = name.partition(".")
    page = client.call("data.events", {"family": family, "type": kind}).result
    found = [event["data"] for event in reversed(page["events"])]
    if len(found) < many:
        with client.stream("system.watch", {"engine": "data", "type": name, "since": page["cursor"]}) as items:
            for item in items:
                found.append(item["data"])
                if len(found) == many:
                    break
    return found


def told(client: Client) -> dict[str, Any]:
    """All that does not follow the clock."""
    seen = {method: client.call(method).result for method in READS}
    for pattern in seen["data.patterns"]["patterns"]:
        del pattern["strength"], pattern["since"]
        pattern.pop("falls_at", None)
    return seen


def test_the_flow_of_the_source_from_a_text_to_a_shared_pattern(irerd: Irerd, far: FarDatabase) -> None:
    remote = f'[cache.remote]\nurl = "http://127.0.0.1:{far.server.port}"\n'
    irerd.config.write_text(QUICK + "share = true\n" + remote)
    irerd.start()
    with irerd.client() as client:
        first, second = emit(client, TEXTS[0]), emit(client, TEXTS[1])
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        boat = emit(client, TEXTS[2])
        wait_for(client, "embedding.priors_found", 3)
        hits = client.call("data.search", {"query": TEXTS[0], "k": 2}).result["hits"]
        assert [hit["event"] for hit in hits] == [first, second] and hits[0]["relevance"] == pytest.approx(1, abs=1e-6)
        cited = client.call("data.cite", {"from": second, "to": first}).result
        assert cited["relevance"] == pytest.approx(0.762701)
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        [paid] = wait_for(client, "chain.value_distributed")
        assert paid["shares"] == [{"event": first, "units": 1000}]
        [crystal] = wait_for(client, "local.value_crystallized")
        [anchored] = wait_for(client, "chain.pattern_anchored")
        wait_for(client, "embedding.topology_updated")
        key = f"data/pattern/{crystal['pattern']}"
        assert anchored["key"] == key
        while not client.call("system.op_status", {"job": _job(client)}).result["state"] == "done":
            client.call("system.ping")
        assert {each["event"] for each in far.get(key)["events"]} >= {first, second}
        before = told(client)
        linked(client, first, second, crystal["pattern"], key)
    irerd.kill9()
    irerd.start()
    with irerd.client() as client:
        assert told(client) == before, "the log alone leads there"
        assert client.call("data.search", {"query": "sailing boats", "k": 1}).result["hits"][0]["event"] == boat
    irerd.stop()
    irerd.start()
    with irerd.client(timeout=60) as client:
        assert told(client) == before, "so does a snapshot"
        verdict = client.stream("audit.verify", {"replay": True})
        for _ in verdict:
            pass
        assert verdict.result["result"] != "failed", verdict.result


def _job(client: Client) -> str:
    """The sync that began by itself."""
    records = client.stream("system.watch", {"engine": "data", "type": "data.sync_started", "since": _beginning(client)})
    return str(next(records)["data"]["job"])


def _beginning(client: Client) -> str:
    page = client.call("data.events", {"limit": 1}).result
    head, _, _ = page["cursor"].rpartition("~")
    return f"{head}~0"


def linked(client: Client, first: str, second: str, pattern: str, key: str) -> None:
    """From the document at the far end back to the text that it began with."""
    edges: set[tuple[str, str]] = set()
    after: dict[str, str] = {}
    while True:
        page = client.call("provenance.graph", after).result
        edges |= {(edge["source"], edge["target"]) for edge in page["edges"]}
        if not page.get("next"):
            break
        after = {"after": page["next"]}
    assert (f"event:{second}", f"event:{first}") in edges, "what cites comes from what it cites"
    reached, waiting = set(), [next(source for source, _ in edges if source.startswith(f"document:{key} "))]
    while waiting:
        here = waiting.pop()
        if here not in reached:
            reached.add(here)
            waiting += [target for source, target in edges if source == here]
    assert {f"pattern:{pattern}", f"event:{first}", f"event:{second}"} <= reached, sorted(reached)


def test_a_sync_of_patterns_is_a_job_that_fails_in_words(irerd: Irerd) -> None:
    irerd.config.write_text('[cache.remote]\nurl = "http://127.0.0.1:1"\nattempts = 1\n')
    irerd.start()
    with irerd.client() as client:
        job = client.call("data.sync").result["job"]
        watched = client.stream("system.op_watch", {"job": job})
        for _ in watched:
            pass
        assert watched.result["ok"] is False and watched.result["detail"]


def test_a_thousand_vectors_are_searched_by_a_worker_and_the_answer_is_exact(irerd: Irerd) -> None:
    pytest.importorskip("numpy")
    irerd.start()
    many, rows = 1_001, []
    with irerd.client(timeout=60) as client:
        for number in range(many):
            data = {"state": f"state {number}", "by": "test"}
            event = client.call("data.emit", {"family": "chain", "type": "state_authorized", "data": data}).result["event"]
            vector = [float((number * step) % 101 - 50) for step in (1, 7, 31, 57)] + [1.0]
            given = {"event": event, "model": "mine", "dimension": 5, "vector": vector}
            reply = client.call("data.emit", {"family": "embedding", "type": "embedding_generated", "data": given})
            assert reply.receipt is not None
            rows.append((reply.receipt["seq"], event, numbers(unit(vector))))
        query = [3.0, -1.0, 4.0, 1.0, -5.0]
        found = client.call("data.search", {"vector": query, "model": "mine", "k": 25}).result
        assert found["compared"] == many
        expected = nearest(numbers(unit(query)), rows, 25)
        assert [(hit["event"], hit["relevance"]) for hit in found["hits"]] == [(each.event, each.relevance) for each in expected]
        health = client.call("system.health").result["checks"]
        assert any(check["name"] == "workers" for check in health), "a worker did it"
        assert client.call("data.index", {"model": "mine"}).result["state"] == "none"
        while client.call("data.index", {"model": "mine", "make": True}).result["state"] != "ready":
            pass
        index = client.call("data.index", {"model": "mine"}).result
        assert (index["vectors"], index["covered"], "failed" in index) == (many, many, False)
        assert {row["at_10"] for row in index["recall"] if row["probes"] == index["lists"]} == {1.0}
        asked = {"vector": query, "model": "mine", "k": 25, "method": "approximate"}
        few = client.call("data.search", asked).result
        assert (few["method"], few["because"], few["hits"]) == ("exact", "small", found["hits"])


def test_hostile_searches_are_refused_with_a_reason(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        emit(client, TEXTS[0])
        wait_for(client, "embedding.vector_stored")
        nan = struct.unpack("<f", b"\0\0\xc0\x7f")[0]
        for params, reason in (
            ({}, None),
            ({"query": "x", "vector": [1.0]}, None),
            ({"query": "?!"}, "text"),
            ({"query": "x" * 20_000}, None),
            ({"query": "x", "model": "other"}, "model"),
            ({"vector": [1.0] * 256}, "model"),
            ({"vector": [1.0] * 256, "model": "unknown"}, "model"),
            ({"vector": [1.0] * 255, "model": "hashed-256"}, "dimension"),
            ({"vector": [nan] * 256, "model": "hashed-256"}, None),
            ({"vector": [0.0] * 256, "model": "hashed-256"}, "vector"),
            ({"query": "heat", "probes": 3}, None),
            ({"query": "heat", "recall": nan, "method": "approximate"}, None),
            ({"query": "heat", "recall": 0.9, "probes": 3, "method": "approximate"}, None),
        ):
            with pytest.raises(Error) as refused:
                client.call("data.search", params)
            assert refused.value.code == "invalid-argument" and refused.value.reason == reason, params
        assert len(embed(TEXTS[0])) == 1024
        assert client.call("data.search", {"query": "heat"}).result["compared"] == 1


def test_an_idle_daemon_that_embeds_and_searches_has_loaded_no_numpy(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        emit(client, TEXTS[0])
        wait_for(client, "embedding.priors_found")
        client.call("data.search", {"query": "heat"})
    assert irerd.process is not None
    assert "numpy" not in Path(f"/proc/{irerd.process.pid}/maps").read_text()


def test_a_secret_in_a_text_is_nowhere_and_its_id_is_that_of_what_is_stored(irerd: Irerd) -> None:
    irerd.start()
    with irerd.client() as client:
        event = emit(client, "write to ann@example.org about the heat pump")
        wait_for(client, "embedding.priors_found")
        hit = client.call("data.search", {"query": "heat pump"}).result["hits"][0]
        assert hit["event"] == event and "ann@example.org" not in hit["text"]
    irerd.stop()
    for path in irerd.state.rglob("*"):
        assert not path.is_file() or b"ann@example.org" not in path.read_bytes(), path


def test_the_commands_tell_the_same_story(irerd: Irerd) -> None:
    irerd.config.write_text(QUICK)
    irerd.start()

    def ctl(*words: str) -> str:
        environment = {**os.environ, "IRER_SOCKET": str(irerd.socket)}
        command = [sys.executable, "-m", "irerctl.main", "data", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first, second = (ctl("emit", "local", "content_created", json.dumps({"text": text})).strip() for text in TEXTS[:2])
    ctl("cite", second, first)
    with irerd.client() as client:
        wait_for(client, "chain.value_distributed")
    assert first in ctl("search", "heat pump", "--k", "1")
    assert json.loads(ctl("topology", "-o", "json"))["edges"] == 1
    assert first in ctl("topology") and "1,000 units" in ctl("value") and f"p-{first[:16]}" in ctl("patterns")
    assert "citation_tracked" in ctl("events", "--family", "vector") and "citations  1" in ctl()
