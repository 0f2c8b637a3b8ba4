"""A sync that stays: what changes on either side goes to the other with nobody asking, over a wire that is cut, and ends cleanly.

Against a real PouchDB server. Nothing here waits for a while: the far end's own feed and the log's say when something has come.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from irerctl.client import Client, Error
from irerd.cursors import Cursors
from tests.e2e.far_end import MISSING, FarDatabase, FarEnd, Wire, installed
from tests.e2e.harness import Irerd
from tests.e2e.test_sync import Edits, agree

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not installed(), reason=MISSING)]


@pytest.fixture(scope="module")
def server() -> Iterator[FarEnd]:
    server = FarEnd()
    yield server
    server.stop()


def configured(port: int, database: str, **more: Any) -> str:
    settings = {"url": f"http://127.0.0.1:{port}", "database": database, "continuous": True, "timeout_s": 5, "attempts": 30, **more}
    return "\n".join(["[cache.remote]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items()), ""])


def seen(client: Client, kind: str, wanted: Callable[[dict[str, Any]], bool], seq: int = 0) -> dict[str, Any]:
    """The first event of this type after that record of the log of which this is true, once there is one."""
    since = Cursors(client.call("system.info").result["ledger"]).text({"cache_log": seq})
    with client.stream("system.watch", {"engine": "cache", "type": kind, "since": since}) as events:
        return next(event["data"] for event in events if wanted(event["data"]))


def came_here(client: Client, key: str, rev: str) -> None:
    seen(client, "cache.merged", lambda data: data["key"] == key and f"{data['generation']}-{data['ids'][0]}" == rev)


def confirmed(client: Client, key: str, value: Any) -> None:
    """Give it a value, and wait for the far end's word that it has it."""
    seq = client.call("cache.set", {"key": key, "value": value}).receipt["seq"]
    seen(client, "cache.pushed", lambda data: key in data["keys"], seq)


def both_ways(client: Client, database: FarDatabase, name: str) -> None:
    """Whatever was written before these two marks has gone over."""
    confirmed(client, "mark-here", {"name": name})
    came_here(client, "mark-there", database.put("mark-there", name=name))


def refused(client: Client, method: str) -> str:
    with pytest.raises(Error) as error:
        client.call(method)
    return str(error.value.code)


def test_what_changes_on_either_side_goes_over_by_itself_until_somebody_ends_it(irerd: Irerd, server: FarEnd) -> None:
    database = server.database("live")
    wire = Wire(server.port)
    database.put("there-before", n=1)
    irerd.config.write_text(configured(wire.port, "live"))
    irerd.start()
    with irerd.client() as client:
        client.call("cache.set", {"key": "here", "value": {"n": 1}})
        both_ways(client, database, "first")
        job = seen(client, "cache.sync_started", lambda data: True)["job"]
        assert refused(client, "cache.sync") == "already-running"
        agree(client, database)
        for _ in range(3):
            database.put("there", text="x" * 3_000)
            assert wire.sever(), "the feed is open all the time"
            client.call("cache.set", {"key": "here", "value": {"cuts": wire.made}})
            both_ways(client, database, f"after {wire.made} cuts")
            agree(client, database)
        assert client.call("system.op_status", {"job": job}).result["state"] == "pending", "a cut does not end it"
    irerd.kill9()
    database.put("while-down", n=1)
    irerd.start()
    with irerd.client() as client:
        both_ways(client, database, "after kill -9")
        agree(client, database)
        client.call("cache.set_online", {"online": False})
        written = client.call("cache.set", {"key": "offline", "value": {"n": 1}})
        assert client.call("cache.queue").result["count"] == 1
        client.call("cache.set_online", {"online": True})
        seen(client, "cache.pushed", lambda data: "offline" in data["keys"], written.receipt["seq"])
        assert client.call("system.op_cancel", {"job": job}).result["code"] == "cancelled"
        connections = wire.connections
        client.call("cache.set", {"key": "after", "value": {"n": 1}})
        assert client.call("cache.queue").result["count"] == 1 and wire.connections == connections, "it rests until it is asked"
        second = client.call("cache.sync").result["job"]
        both_ways(client, database, "asked again")
        agree(client, database)
        irerd.config.write_text(configured(wire.port, "live", continuous=False))
        client.call("system.reload")
        assert seen(client, "cache.sync_ended", lambda data: data["job"] == second)["code"] == "ok", "the settings ask for no more"
    wire.close()


def test_random_edits_while_the_wire_is_cut_at_random_bytes_are_the_same_on_both_sides(irerd: Irerd, server: FarEnd) -> None:
    seed = 1
    database = server.database("random")
    wire = Wire(server.port, seed, bytes_max=8_000)
    irerd.config.write_text(configured(wire.port, database.name, documents=2))
    irerd.start()
    with irerd.client() as client:
        edits = Edits(seed, client, database)
        both_ways(client, database, "at first")
        for turn in range(2):
            edits.some(6)
            wire.cut_next(3)
            wire.sever()
            edits.some(6)
            both_ways(client, database, f"turn {turn}")
            agree(client, database)
        edits.nothing_is_lost_or_twice()
    assert wire.made >= 5
    wire.close()
