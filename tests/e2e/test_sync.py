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
from tests.campaigns import campaign, per_commit
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
    ours = here(client)
    theirs = {key: found for key, found in database.winners().items() if not key.startswith("_")}
    assert {key: (rev, document(value)) for key, (rev, value) in ours.items()} == theirs
    conflicts = {row["key"]: {row["rev"], *row["others"]} for row in client.call("cache.conflicts").result["keys"]}
    for key in ours:
        live = database.live_leaves(key)
        assert conflicts.get(key, set()) == (live if len(live) > 1 else set())
    assert client.call("cache.queue").result["count"] == 0


def document(value: Any) -> Any:
    return value if isinstance(value, dict) else {"irer:value": value}


def test_both_ways_with_conflicts_deletions_and_whatever_an_id_may_be(irerd: Irerd, server: FarEnd) -> None:
    database = server.database("both")
    irerd.config.write_text(configured(server.port, "both"))
    irerd.start()
    with irerd.client() as client:
        assert client.call("system.health").result["health"] == "ok"
        for key, value in {"a": {"n": 1}, "list": [1, 2], "a/b c?d&é+%2F#": {"x": 0.5}, "gone": {"x": 1}, "z": {"x": 1}}.items():
            client.call("cache.set", {"key": key, "value": value})
        client.call("cache.set", {"key": "large", "value": {"text": "x" * 100_000}})
        client.call("cache.delete", {"key": "gone"})
        database.put("there", text="théir \u0001 text")
        database.put("x/y&z=1+2", deep={"a": [None, True, {"b": "c"}]})
        database.put("large-there", text=["y" * 100_000])
        database.bring({"_id": "a", "_rev": "1-ffff", "_revisions": {"start": 1, "ids": ["ffff"]}, "n": 2})
        database.bring({"_id": "_design/views", "_rev": "1-a", "_revisions": {"start": 1, "ids": ["a"]}, "views": {}})
        with_file = {"_attachments": {"f": {"content_type": "text/plain", "data": "aGVsbG8="}}}
        database.put("photo", title="with a file", **with_file)
        outcome = sync(client)
        assert outcome["code"] == "ok" and outcome["result"]["compared"]
        left_out = {each["document"]: each["why"] for each in outcome["result"]["left_out"]}
        assert left_out == {"_design/views": "design", "photo": "attachments"} and outcome["result"]["skipped"] == 2
        assert (outcome["result"]["pushed"], outcome["result"]["pulled"]) == (6, 4)
        database.delete("photo")
        assert len(database.all_revisions("gone")) == 2 and not database.live_leaves("gone"), "deletions travel"
        long = "z"
        for n in range(30):
            client.call("cache.set", {"key": long, "value": {"n": n}})
            database.put("there", n=n)
        assert sync(client)["result"] == {"pushed": 1, "pulled": 2, "skipped": 0, "left_out": [], "compared": False}
        agree(client, database)
        assert sync(client)["result"] == {"pushed": 0, "pulled": 0, "skipped": 0, "left_out": [], "compared": False}


class Edits:
    """Random edits on both sides; remembers every revision that anybody made."""

    def __init__(self, seed: int, client: Client, database: FarDatabase) -> None:
        self.random = random.Random(seed)
        self.client = client
        self.database = database
        self.made: set[tuple[str, str]] = set()
        self.ended = 0

    def some(self, count: int) -> None:
        for _ in range(count):
            key = f"k{self.random.randrange(8)}/{self.random.choice('aä')}"
            self.random.choice((self.set, self.set, self.delete, self.put, self.put, self.remove, self.bring, self.resolve))(key)

    def content(self) -> dict[str, Any]:
        return {"n": self.random.randrange(1_000), "text": "ä" * self.random.choice((1, 100, 5_000, 30_000))}

    def set(self, key: str) -> None:
        value = self.random.choice((self.content(), [1, "two"], 3))
        self.made.add((key, self.client.call("cache.set", {"key": key, "value": value}).result["rev"]))

    def delete(self, key: str) -> None:
        try:
            self.made.add((key, self.client.call("cache.delete", {"key": key}).result["rev"]))
        except Error as error:
            assert error.code == "not-found"

    def put(self, key: str) -> None:
        self.made.add((key, self.database.put(key, **self.content())))

    def remove(self, key: str) -> None:
        if rev := self.database.delete(key):
            self.made.add((key, rev))

    def bring(self, key: str) -> None:
        """Another replica's edit of the same key arrives there: a conflict from the beginning."""
        ids = [f"{self.random.randrange(16**8):08x}" for _ in range(self.random.randrange(1, 4))]
        made = {"_id": key, "_rev": f"{len(ids)}-{ids[0]}", "_revisions": {"start": len(ids), "ids": ids}, **self.content()}
        self.database.bring(made)
        self.made |= {(key, f"{len(ids) - place}-{id}") for place, id in enumerate(ids)}

    def resolve(self, key: str) -> None:
        for row in self.client.call("cache.conflicts").result["keys"][:1]:
            rev = self.random.choice([row["rev"], *row["others"]])
            try:
                self.ended += len(self.client.call("cache.resolve", {"key": row["key"], "rev": rev}).result["ended"])
            except Error as error:  # a sync that goes on may have brought what comes after it
                assert error.code in ("aborted", "not-found")

    def nothing_is_lost_or_twice(self) -> None:
        there = {(key, rev) for key in {key for key, _ in self.made} for rev in self.database.all_revisions(key)}
        assert self.made <= there
        assert len(there - self.made) == self.ended, "what nobody made but those who resolved conflicts"


def synced_at_last(irerd: Irerd, client: Client, wire: Wire) -> None:
    """As often as it takes: a wire that is cut again and again makes a sync fail, and the next goes on from there."""
    for _ in range(20):
        outcome = sync(client)
        if outcome["ok"]:
            return
        assert outcome["code"] == "unreachable"
    raise AssertionError(f"not synced after 20 times; {wire.made} cuts")


def one_seed(seed: int, place: Path, server: FarEnd) -> dict[str, int]:
    chance = random.Random(seed)
    database = server.database(f"seed{seed}")
    wire = Wire(server.port, seed, cuts=chance.randrange(2, 12), twice=0.3)
    irerd = Irerd(place, configured(wire.port, database.name, attempts=3, documents=chance.choice((1, 3, 500)), timeout_s=5))
    killed = 0
    try:
        irerd.start()
        with irerd.client() as client:
            edits = Edits(seed, client, database)
            for _ in range(2):
                edits.some(chance.randrange(3, 20))
                if chance.random() < 0.4:
                    job = client.call("cache.sync").result["job"]
                    watched = client.stream("system.op_watch", {"job": job})
                    for _ in range(chance.randrange(3)):
                        next(watched, None)
                    watched.close()
                    irerd.kill9()
                    killed += 1
                    client.close()
                    irerd.start()
                    assert ended(client, job)["code"] in ("ok", "unreachable"), "it goes on by itself"
                else:
                    synced_at_last(irerd, client, wire)
                edits.some(chance.randrange(5))
            synced_at_last(irerd, client, wire)
            agree(client, database)
            edits.nothing_is_lost_or_twice()
            verdict = client.stream("audit.verify", {"log": "cache_log", "replay": True})
            list(verdict)
            assert verdict.result["result"] != "failed"
    finally:
        irerd.close()
        wire.close()
    return {"cuts": wire.made, "killed": killed, "doubled": wire.doubled}


@pytest.mark.parametrize("seed", range(per_commit("replication")))
def test_random_edits_on_both_sides_over_a_wire_that_is_cut(seed: int, tmp_path: Path, server: FarEnd) -> None:
    print(one_seed(seed, tmp_path, server))


@pytest.mark.campaign
def test_campaign_over_a_wire_that_is_cut(tmp_path: Path, server: FarEnd) -> None:
    def one(seed: int) -> None:
        place = tmp_path / str(seed)
        place.mkdir()
        try:
            one_seed(seed, place, server)
        except Error as error:
            raise AssertionError(error) from error
        finally:
            shutil.rmtree(place)

    campaign("replication", one)


def test_a_far_end_that_was_restored_to_an_older_state_is_noticed_and_gets_everything_again(irerd: Irerd, tmp_path: Path) -> None:
    """Its backup knows neither what came later nor how far we had come; and by then others have brought it past our cursor."""
    server = FarEnd(tmp_path / "couch")
    try:
        database = server.database("db")
        wire = Wire(server.port)  # one address all the time: another one would be another far end
        irerd.config.write_text(configured(wire.port, "db", documents=2))
        irerd.start()
        with irerd.client() as client:
            client.call("cache.set", {"key": "old", "value": {"n": 1}})
            database.put("old-there", n=1)
            assert sync(client)["ok"]
            server.stop()
            shutil.copytree(tmp_path / "couch", tmp_path / "backup")
            server.start()
            wire.lead_to(server.port)
            for n in range(5):
                client.call("cache.set", {"key": f"late{n}", "value": {"n": n}})
                database.put(f"late-there{n}", n=n)
                database.bring({"_id": "torn", "_rev": f"1-{n}", "_revisions": {"start": 1, "ids": [f"{n}"]}, "n": n})
            client.call("cache.set", {"key": "old", "value": {"n": 2}})
            assert sync(client)["ok"]
            agree(client, database)
            server.stop()
            shutil.rmtree(tmp_path / "couch")
            shutil.copytree(tmp_path / "backup", tmp_path / "couch")
            server.start()
            wire.lead_to(server.port)
            for n in range(30):
                database.put("busy", n=n)
            assert "late3" not in database.winners() and "late-there3" not in database.winners()
            outcome = sync(client)
            assert outcome["ok"] and outcome["result"]["compared"]
            agree(client, database)
            assert {f"late{n}" for n in range(5)} | {f"late-there{n}" for n in range(5)} < set(database.winners())
            assert database.get("old")["n"] == 2
            assert sync(client)["result"] == {"pushed": 0, "pulled": 0, "skipped": 0, "left_out": [], "compared": False}
            database.ask("DELETE", "")
            server.database("db")  # made anew, and empty
            assert sync(client)["result"]["compared"]
            agree(client, database)
            assert "late-there3" in database.winners()
        wire.close()
    finally:
        server.stop()
