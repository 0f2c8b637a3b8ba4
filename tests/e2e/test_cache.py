"""The cache of a real daemon: values of every size come back over the socket, from memory and disk, before and after kill -9."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.wire.calls import Done, Err, Item
from irerctl.client import Client, Error
from tests.e2e.harness import Irerd
from tests.e2e.raw import Raw

SMALL_MEMORY = "[cache]\nmemory_bytes = 65536\n"
LARGEST = "x" * (1_048_576 - 2)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Irerd]:
    irerd = Irerd(tmp_path, SMALL_MEMORY).start()
    try:
        yield irerd
    finally:
        irerd.close()


def values() -> dict[str, Any]:
    """Of every size that matters: in a record, just as large as a record takes, a blob, the largest."""
    sizes = {"none": None, "edge": "e" * 16_382, "beyond": "b" * 16_383, "largest": LARGEST}
    structured = {"list": [{"n": number, "half": number + 0.5} for number in range(3_000)]}
    small = {f"small-{number:03}": {"n": number, "text": "t" * 800} for number in range(120)}
    return {**sizes, **structured, **small, "five": 5.0, "great": 1e300}


def get(client: Client, key: str) -> Any:
    return client.call("cache.get", {"key": key}).result["value"]


def test_every_value_comes_back_from_memory_or_disk_and_after_a_kill(daemon: Irerd) -> None:
    given = values()
    with daemon.client() as client:
        for key, value in given.items():
            answer = client.call("cache.set", {"key": key, "value": value})
            assert answer.result["rev"].startswith("1-") and answer.receipt is not None
        assert {key: get(client, key) for key in given} == given
        assert isinstance(get(client, "five"), int), "5.0 comes back as 5"
        status = client.call("cache.status").result
        assert status["hot_bytes"] <= 65_536 and status["from_disk"] >= 4 and status["from_memory"] >= 1
        assert (status["hits"], status["misses"]) == (len(given) + 1, 0)
    daemon.kill9()
    daemon.start()
    with daemon.client() as client:
        assert {key: get(client, key) for key in given} == given
        queue = client.call("cache.queue").result
        assert queue["count"] == len(given) and [each["key"] for each in queue["keys"]] == list(given)
    assert daemon.stop() == 0
    daemon.start()
    with daemon.client() as client:
        assert {key: get(client, key) for key in given} == given, "from a snapshot"


def test_only_large_values_are_blobs_and_each_is_named_by_a_record(daemon: Irerd) -> None:
    with daemon.client() as client:
        for key, size in (("edge", 16_382), ("beyond", 16_383), ("same", 16_383)):
            client.call("cache.set", {"key": key, "value": "b" * size})
    records = [json.loads(line) for line in (daemon.state / "cache_log.jsonl").read_bytes().splitlines()]
    named = [record["payload"]["blob"] for record in records if "blob" in record["payload"]]
    files = [path.name for path in (daemon.state / "blobs").glob("??/*")]
    assert len(named) == 2 and set(named) == set(files) == {named[0]}


def test_gets_of_cold_values_do_not_hold_up_others(daemon: Irerd) -> None:
    """They are asked for first, and what needs no disk is answered before them or after them, all of it."""
    with daemon.client() as client:
        for number in range(20):
            client.call("cache.set", {"key": f"large-{number}", "value": f"{number}" * 50_000})
    raw = Raw(daemon.socket)
    cold = [raw.call("cache.get", {"key": f"large-{number}"}) for number in range(20)]
    pings = [raw.call("system.ping") for _ in range(20)]
    found = {}
    while len(found) < 40:
        message = raw.next()
        assert isinstance(message, Done), message
        found[message.id] = message.r
    for number, id in enumerate(cold):
        assert found[id]["value"] == f"{number}" * 50_000
    assert set(pings) <= set(found)


def test_a_large_write_is_keyed_tried_dry_and_refused_as_a_small_one_is(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    large = "l" * 40_000
    tried = raw.ask("cache.set", {"key": "a", "value": large}, dry=True)
    assert isinstance(tried, Done) and tried.r["events"][0]["data"]["size"] == 40_002
    assert not (daemon.state / "blobs").exists(), "trying stores nothing"
    first = raw.ask("cache.set", {"key": "a", "value": large}, idem="key-00000001")
    again = raw.ask("cache.set", {"key": "a", "value": large}, idem="key-00000001")
    assert isinstance(first, Done) and isinstance(again, Done)
    assert again.r == first.r and again.rc == first.rc and again.replayed
    other = raw.ask("cache.set", {"key": "a", "value": large + "!"}, idem="key-00000001")
    assert isinstance(other, Err) and other.e["reason"] == "key-reused"
    (blob,) = (daemon.state / "blobs").glob("??/*")
    blob.unlink()
    assert raw.ask("cache.set", {"key": "a", "value": large}, idem="key-00000001").r == first.r
    assert not blob.exists(), "what was asked before is looked up and stores nothing: its answer is heard on a full disk too"
    assert isinstance(raw.ask("cache.set", {"key": "b", "value": large}, idem="key-00000002"), Done) and blob.exists()
    aborted = raw.ask("cache.set", {"key": "a", "value": large, "if_rev": "1-a"})
    assert isinstance(aborted, Err) and aborted.e["code"] == "aborted"
    assert isinstance(found := raw.ask("cache.get", {"key": "a"}), Done) and found.r["rev"] == first.r["rev"]


BAD = [
    ({"key": "a", "value": LARGEST + "x"}, "value"),
    ({"key": "a", "value": b"bytes"}, "value"),
    ({"key": "a", "value": {"_id": "x", "text": "t" * 30_000}}, "value._id"),
    ({"key": "a", "value": ["t" * 30_000, {"a\x00": 1}]}, "value[1].'a\\x00'"),
    ({"key": "_a", "value": 1}, "key"),
    ({"key": "a", "value": 1, "ttl_s": 0}, "ttl_s"),
]


def test_bad_input_is_refused_by_name_and_stores_nothing(daemon: Irerd) -> None:
    raw = Raw(daemon.socket)
    for params, path in BAD:
        error = raw.ask("cache.set", params)
        assert isinstance(error, Err) and error.e["code"] == "invalid-argument", error
        assert [field["path"] for field in error.e["fields"]] == [path]
    assert isinstance(status := raw.ask("cache.status"), Done) and status.r["keys"] == 0
    assert not (daemon.state / "blobs").exists()


def test_whoever_watches_sees_no_document(daemon: Irerd) -> None:
    secret = "the recipe of the house"
    watcher, raw = Raw(daemon.socket), Raw(daemon.socket)
    seen = raw.ask("cache.status")
    assert isinstance(seen, Done) and seen.cur
    id = watcher.call("system.watch", {"engine": "cache", "since": seen.cur})  # whichever connection is heard first
    raw.ask("cache.set", {"key": "recipe", "value": {"text": secret, "great": 1e17}})
    while not isinstance(message := watcher.next(), Item):
        pass
    assert message.id == id and message.r["data"]["key"] == "recipe"
    assert set(message.r["data"]["value"]) == {"bytes", "digest"} and secret not in repr(message.r)
    assert secret in (daemon.state / "cache_log.jsonl").read_text(), "while the cache itself keeps it as it was given"


def test_a_blob_that_rotted_is_named_and_all_else_goes_on(daemon: Irerd) -> None:
    with daemon.client() as client:
        client.call("cache.set", {"key": "rotten", "value": "r" * 40_000})
        client.call("cache.set", {"key": "sound", "value": "s" * 40_000})
        [rotten] = [path for path in (daemon.state / "blobs").glob("??/*") if b"r" * 10 in path.read_bytes()]
        rotten.write_bytes(rotten.read_bytes()[:-1] + b"x")
        with pytest.raises(Error) as refused:
            get(client, "rotten")
        assert refused.value.code == "data-loss" and rotten.name in str(refused.value)
        assert get(client, "sound") == "s" * 40_000
        client.call("cache.set", {"key": "rotten", "value": "new"})
        assert get(client, "rotten") == "new"
