"""The tables of the energy map say what the map says, show nothing a crash could take back, and are made anew whatever became of
the file; a question to them changes nothing and ends by itself."""

import json
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

import irerd.atlas
from core.energy.atlas import AskQuery
from core.engine import Refused
from irerd import map_tables
from irerd.atlas import LOG, Atlas
from irerd.host import ChildEnd
from irerd.map_tables import NAME
from state.fs import RealFiles
from tests.core.energy.eil_loop import BEGIN_US, EilLoop, settings, time_of

PDU = {"place": "hall-1", "feeds": ["rack-a", "rack-b"]}
HALL: dict[str, dict[str, Any]] = {"pdu": PDU, "crac": {"cools": ["rack-a", "nobody"]}}
NODE = "id, kind, name, value, unit, provenance, sigma, regime, seen"
EDGE = "source, target, relation, weight, unit, provenance, count, seen, record"


class Served:
    """As much of a daemon as the tables need."""

    def __init__(self, place: Path, loop: EilLoop) -> None:
        self.place = place
        self.loop = loop
        self.files = RealFiles(place)
        self.settings: Any = self.loop.settings
        self.world = self.loop.world
        self.ledger_id = "ledger-1"
        self.undurable = 0
        self.errors: list[BaseException] = []
        self.host = self.dispatch = self
        self.writer = self
        self.mono = 0
        self.at_work = False
        self.advanced = trio.Event()

    @property
    def next_seq(self) -> dict[str, int]:
        return {LOG: len(self.loop.records)}

    def durable_seq(self, log: str) -> int:
        return self.next_seq[log] - 1 - self.undurable

    def integrity(self, log: str) -> str:
        return "ok"

    def mono_us(self) -> int:
        self.mono += 1
        return self.mono

    def now_us(self) -> int:
        return BEGIN_US

    async def offload(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def wait_advanced(self) -> None:
        if self.at_work:
            await self.advanced.wait()
            return
        assert not (self.place / NAME).exists(), "what is not durable is not shown"
        self.undurable = 0

    async def run_child(self, module: str, request: bytes, on_output: Callable[[bytes], Any]) -> ChildEnd:
        asked = json.loads(request)
        assert (module, asked["name"]) == ("irerd.jobs", "atlas")
        await on_output(json.dumps({"ok": True, "result": map_tables.query(asked)}).encode())
        return ChildEnd(0, b"", False)

    def atlas(self) -> Atlas:
        return Atlas(cast(Any, self), self.place, lambda place, error: self.errors.append(error))

    def told(self, what: str, table: str) -> set[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self.place / NAME}?mode=ro", uri=True) as db:
            return set(db.execute(f"SELECT {what} FROM {table}"))

    def as_the_map_says(self) -> bool:
        said = self.loop.look("energy_map")
        parts = said.nodes, said.edges, said.junctions
        shown = [{tuple(getattr(each, name) for name in each.__struct_fields__) for each in part} for part in parts]
        assert len(shown[0]) > 8 and all(shown)
        return [self.told(NODE, "node"), self.told(EDGE, "edge"), self.told("*", "junction")] == shown


@pytest.fixture(scope="module")
def hall() -> EilLoop:
    """A rack whose load trebles, what feeds and cools it, a proof, and an action."""
    loop = EilLoop(settings(sources=HALL, horizon_s=100.0))
    chance = random.Random(1)
    claim = loop.sense(0.0, "rack-a", power_draw=150.0)
    for first, load in ((1, 150), (160, 450)):
        times = [time_of(10.0 * step) for step in range(first, first + 100 + 60 * (first == 1))]
        values = [[load + chance.gauss(0, 2)] for _ in times]
        loop.get("sense_batch", {"source": "rack-a", "metrics": ["power_draw"], "times": times, "values": values})
    loop.ask("proof", {"prediction_id": claim.prediction_id, "actual_state": {"energy": 1.0, "entropy": 1.0}})
    for name in ("pdu", "rack-b"):
        loop.sense(0.0, name, power_draw=1.0)
        loop.sense(10.0, name, power_draw=1.0)
    loop.sense(0.0, "crac", temperature=20.0)
    loop.ask("act", {"goal": "minimize_energy", "current_state": {"active_servers": 4, "avg_utilization": 0.5}})
    relations = {edge.relation for edge in loop.look("energy_map").edges}
    assert relations == {"feeds", "cools", "contains", "transitions", "caused", "settled"}
    return loop


@pytest.fixture
def served(tmp_path: Path, hall: EilLoop) -> Iterator[Served]:
    yield (found := Served(tmp_path, hall))
    assert not found.errors


def asked(atlas: Atlas, sql: str, limit: int | None = None) -> Any:
    return trio.run(atlas.query, AskQuery(sql, limit), None, None)


def test_the_tables_say_what_the_map_says_and_follow_it(served: Served) -> None:
    atlas = served.atlas()
    trio.run(atlas.catch_up)
    assert served.as_the_map_says()
    assert served.told("value", "meta WHERE name = 'record'") == {(str(len(served.loop.records) - 1),)}
    served.loop.sense(2_000.0, "rack-c", power_draw=5.0)
    assert not served.as_the_map_says()
    trio.run(atlas.catch_up)
    assert served.as_the_map_says()
    served.settings = settings(sources={"pdu": {"feeds": ["rack-a"]}})
    trio.run(atlas.catch_up)
    assert {row[0] for row in served.told("target", "edge WHERE relation = 'feeds'")} == {"source:rack-a"}


def test_what_is_not_durable_is_not_shown(served: Served) -> None:
    served.undurable = 3
    trio.run(served.atlas().catch_up)
    assert served.undurable == 0 and served.as_the_map_says()


def test_nothing_is_written_where_nothing_is_new_and_none_before_there_is_a_map(served: Served) -> None:
    atlas = served.atlas()
    trio.run(atlas.catch_up)
    before = os.stat(served.place / NAME).st_ino
    trio.run(atlas.catch_up)
    assert os.stat(served.place / NAME).st_ino == before
    served.loop = EilLoop(served.settings)
    served.world = served.loop.world
    (served.place / NAME).unlink()
    fresh = served.atlas()
    trio.run(fresh.catch_up)
    assert not (served.place / NAME).exists()
    assert asked(fresh, "SELECT count(*) FROM node").rows[0].values == [0]


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"no database"),
        lambda path: path.write_bytes(path.read_bytes()[:4096]),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(path.read_bytes()[:100] + os.urandom(path.stat().st_size - 100)),
    ],
    ids=["gone", "foreign", "cut", "emptied", "scribbled"],
)
@pytest.mark.parametrize("started_anew", [False, True])
def test_a_damaged_file_is_made_anew_before_anybody_is_answered_from_it(
    served: Served, harm: Callable[[Path], Any], started_anew: bool
) -> None:
    atlas = served.atlas()
    trio.run(atlas.catch_up)
    harm(served.place / NAME)
    if started_anew:
        atlas = served.atlas()
    found = asked(atlas, "SELECT name FROM node WHERE value IS NOT NULL")
    assert {row.values[0] for row in found.rows} == served.loop.state.sources.keys()
    assert served.as_the_map_says()


def test_a_disk_without_room_is_told_and_tried_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = served.atlas()
    with monkeypatch.context() as patch:
        patch.setattr(served.files, "free", lambda: 0)
        trio.run(atlas.catch_up)
        (check,) = atlas.checks()
        assert check.health == "degraded" and "no room" in check.reason
    trio.run(atlas.catch_up)
    assert atlas.checks() == [] and served.as_the_map_says()


def test_where_sqlite_may_not_write_there_are_no_tables_and_that_is_said(served: Served) -> None:
    atlas = Atlas(cast(Any, served), None, lambda *_: None)
    trio.run(atlas.catch_up)
    assert list(served.place.iterdir()) == []
    with pytest.raises(Refused, match="not kept"):
        asked(atlas, "SELECT 1")


REFUSED = {
    "DELETE FROM node": "only a SELECT",
    "SELECT 1; DELETE FROM node": "only a SELECT",
    "SELECT 1; SELECT 2": "one statement",
    "CREATE TABLE x(y)": "only a SELECT",
    "PRAGMA writable_schema=ON": "only a SELECT",
    "ATTACH 'other.sqlite' AS other": "only a SELECT",
    "VACUUM INTO 'copy.sqlite'": "only a SELECT",
    "SELECT load_extension('x')": "not authorized",
    "SELECT randomblob(1000000000)": "too big",
    "SELEC": "syntax error",
    "SELECT ?": "bindings",
    "SELECT CAST(x'ff' AS TEXT)": "no text",
    "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT count(*) FROM x": "longer than",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_a_question_changes_nothing_and_ends(served: Served, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_tables, "QUERY_S", 0.05)
    monkeypatch.chdir(served.place)
    atlas = served.atlas()
    trio.run(atlas.catch_up)
    before = sha256((served.place / NAME).read_bytes()).digest(), sorted(served.place.rglob("*"))
    with pytest.raises(Refused, match=REFUSED[sql]):
        asked(atlas, sql)
    assert (sha256((served.place / NAME).read_bytes()).digest(), sorted(served.place.rglob("*"))) == before


def test_an_answer_is_what_a_frame_can_hold(served: Served) -> None:
    atlas = served.atlas()
    odd = asked(atlas, "SELECT 9e999, x'ff', 9223372036854775807, NULL, 'a'")
    assert [row.values for row in odd.rows] == [[None, "ff", 2.0**63, None, "a"]] and not odd.more
    assert asked(atlas, "SELECT name FROM node", 3).more and len(asked(atlas, "SELECT name FROM node", 3).rows) == 3
    assert asked(atlas, "SELECT id FROM node WHERE 0").columns == ["id"]
    numbers = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x LIMIT 1000) SELECT printf('%.50000c', 'x') FROM x"
    long = asked(atlas, numbers, 1_000)
    assert long.more and len(long.rows) < 25


async def test_nobody_has_to_ask_for_the_file_to_follow_and_to_come_back(served: Served, autojump_clock: Any) -> None:
    atlas = served.atlas()
    with trio.fail_after(1_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(atlas.run)
            await trio.sleep(1)
            assert served.as_the_map_says()
            served.loop.sense(5_000.0, "rack-d", power_draw=5.0)
            atlas.stir()
            await trio.sleep(40)
            assert served.as_the_map_says()
            (served.place / NAME).unlink()
            await trio.sleep(130)
            assert served.as_the_map_says()
            nursery.cancel_scope.cancel()


async def test_commands_on_their_way_to_the_disk_have_the_loop_to_themselves(
    served: Served, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    """A piece at a time between two groups; and where one never ends, the file is made all the same."""
    for rack in range(40):
        served.loop.sense(5_000.0, f"more-{rack}", power_draw=5.0)
    atlas, pieces, piece = served.atlas(), [0], irerd.atlas.atlas.piece
    pieces_at: list[float] = []

    def taken(*asked: Any) -> Any:
        pieces[0] += 1
        pieces_at.append(trio.current_time())
        return piece(*asked)

    monkeypatch.setattr(irerd.atlas.atlas, "piece", taken)
    monkeypatch.setattr(irerd.atlas, "STEP_SOURCES", 4)
    served.at_work = True
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(atlas.catch_up)
            for group in range(1, 6):
                await trio.testing.wait_all_tasks_blocked(0.001)
                assert pieces[0] == group
                served.mono += 1_000_000
                served.advanced.set()
                served.advanced = trio.Event()
    gaps = [after - before for before, after in pairwise(pieces_at[5:])]
    assert len(gaps) >= 5 and all(gap == pytest.approx(irerd.atlas.ASIDE_S) for gap in gaps)
    assert atlas._took_s < 1.0, "what it waited for is no work of its own"
    assert served.as_the_map_says()
