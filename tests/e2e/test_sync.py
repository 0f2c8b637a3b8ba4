"""Replication between a real irerd and a real PouchDB server: both ways, with conflicts, cuts, kill -9 and a restored server.

The server is the judge: what it says wins, must win here, and every leaf of one side must be a leaf of the other.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from irerctl.client import Client, Error
from tests.e2e.far_end import MISSING, FarDatabase, FarEnd, Wire, installed
from tests.e2e.harness import Irerd

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not installed(), reason=MISSING)]


@pytest.fixture(scope="module")
def server() -> Iterator[FarEnd]:
    server = FarEnd()
    yield server
    server.stop()


def configured(port: int, database: str, **more: Any) -> str:
    lines = [f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in more.items()]
    return "\n".join(["[cache.remote]", f'url = "http://127.0.0.1:{port}"', f'database = "{database}"', *lines, ""])


def sync(client: Client) -> dict[str, Any]:
    """Begin one and follow it to its end."""
    job = client.call("cache.sync").result["job"]
    return ended(client, job)


def ended(client: Client, job: str) -> dict[str, Any]:
    call = client.stream("system.op_watch", {"job": job})
    for _ in call:
        pass
    return call.result


def here(client: Client) -> dict[str, tuple[str, Any]]:
    """Our live keys with their winning revisions and documents."""
    found = {}
    after = ""
    while True:
        page = client.call("cache.list", {"after": after, "limit": 500}).result
        for row in page["keys"]:
            entry = client.call("cache.get", {"key": row["key"]}).result
            found[row["key"]] = (entry["rev"], entry["value"])
        if page.get("next") is None:
            return found
        after = page["next"]


def agree(client: Client, database: FarDatabase) -> None:
    """The same keys, the same winners with the same contents, the same conflicts."""
    ours, theirs = here(client), database.winners()
    assert ours == theirs
    conflicts = {row["key"]: {row["rev"], *row["others"]} for row in client.call("cache.conflicts").result["keys"]}
    leaves = database.leaves()
    for key in ours:
        live = {rev for rev in leaves[key] if not database.ask("GET", f"/{key}?rev={rev}").get("_deleted")} if len(leaves[key]) > 1 else set()
        assert conflicts.get(key, set()) == (live if len(live) > 1 else set())


def test_both_ways_with_conflicts_deletions_and_whatever_an_id_may_be(irerd: Irerd, server: FarEnd) -> None:
    database = server.database("both")
    irerd.config.write_text(configured(server.port, "both"))
    irerd.start()
    with irerd.client() as client:
        for key, value in {"a": {"n": 1}, "list": {"irer:value": [1, 2]}, "a/b c?d&é+%2F#": {"x": 0.5}, "gone": {"x": 1}}.items():
            client.call("cache.set", {"key": key, "value": value if key != "list" else [1, 2]})
        client.call("cache.delete", {"key": "gone"})
        database.put("there", text="théir \u0001 text")
        database.put("x/y&z=1+2", deep={"a": [None, True, {"b": "c"}]})
        database.bring({"_id": "a", "_rev": "1-ffff", "_revisions": {"start": 1, "ids": ["ffff"]}, "n": 2})
        database.bring({"_id": "_design/views", "_rev": "1-a", "_revisions": {"start": 1, "ids": ["a"]}, "views": {}})
        outcome = sync(client)
        assert outcome["ok"] and outcome["result"]["compared"]
        assert outcome["result"]["left_out"] == [{"document": "_design/views", "why": "design"}]
        print(outcome)
        print(here(client), database.winners())
