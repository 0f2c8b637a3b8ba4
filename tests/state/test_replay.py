"""What records mean, replayed: a start from a snapshot is a start from the beginning, and a false snapshot is found out."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from core.engine import Actor
from core.engines import ENGINES
from core.keys import Keys, Remembered
from core.resource import ENGINE
from core.world import BadDump, World
from state.replay import Body, Compared, load, pack, replay, replay_equals, schema, unpack
from state.seal import ZERO_HASH, Pending, Record, parse, seal
from state.snapshot import Header, read, restore, write
from state.tree import Edge, leaf_hash
from tests.core.engine_loop import EngineLoop
from tests.sim.disk import SimFiles

NAME = "engine_state"
CALLERS = [Actor("uid:1001", "operator"), Actor("uid:1002", "operator")]


def history() -> list[list[Pending]]:
    """Batches of the resource engine's records, every command that a caller gave with a key of its own."""
    loop = EngineLoop(ENGINE)
    for place in range(30):
        loop.mono_us += 1  # each command has a moment of its own
        loop.ask("submit_task", {"task_id": f"t{place}", "units": place % 4 + 1, "duration_s": 3.0}, CALLERS[place % 2])
        if place % 7 == 0:
            loop.run(2.0)
    batches: list[list[Pending]] = [[]]
    for number, (kind, payload, stamp) in enumerate(loop.records):
        idem = (f"{number:032x}", f"key-{number:08d}") if stamp.actor.startswith("uid:") else None
        if len(batches[-1]) >= 5 and batches[-1][-1].mono_us != stamp.mono_us:
            batches.append([])
        batches[-1].append(Pending(kind, payload, stamp.actor, stamp.boot_id, stamp.mono_us, stamp.time_us, idem))
    return batches


class Universe:
    """A log as its batches, and a disk for its snapshots."""

    def __init__(self) -> None:
        self.files = SimFiles()
        self.files.plant(f"log.d/{NAME}/head", b"")
        self.batches: list[list[Record]] = []
        self.lines: list[bytes] = []
        parent, offset = ZERO_HASH, 0
        for number, batch in enumerate(history()):
            self.batches.append([])
            for index, pending in enumerate(batch):
                line, parent = seal(pending, (number, index, len(batch)), parent, len(self.lines), offset)
                self.batches[-1].append(parse(line, offset))
                self.lines.append(line)
                offset += len(line)

    def edge(self, seq: int) -> Edge:
        return Edge().extend([leaf_hash(line) for line in self.lines[: seq + 1]])

    def tip_at(self, seq: int) -> str | None:
        return {record.seq: record.event_hash for batch in self.batches for record in batch}.get(seq)


class Known:
    """What a start knows so far."""

    def __init__(self) -> None:
        self.world = World(ENGINES)
        self.keys = Keys()
        self.edge: Edge | None = None

    def replay(self, batches: Sequence[Sequence[Record]]) -> "Known":
        for batch in batches:
            replay(self.world, self.keys, NAME, batch)
        return self

    def dumps(self) -> tuple[bytes, bytes]:
        return self.world.dump(NAME), self.keys.dump(NAME)

    def load(self, header: Header, raw: bytes) -> None:
        self.edge = load(self.world, self.keys, header, raw)


@pytest.fixture(scope="module")
def universe() -> Universe:
    return Universe()


def take(universe: Universe, count: int) -> Header:
    """A snapshot after so many batches, as a daemon writes it."""
    known = Known().replay(universe.batches[:count])
    last = universe.batches[count - 1][-1]
    edge = universe.edge(last.seq)
    world, keys = known.dumps()
    return write(
        universe.files,
        NAME,
        seq=last.seq,
        tip=last.event_hash,
        root=edge.root().hex(),
        schema=schema(known.world, NAME),
        body=pack(edge, keys, world),
    )


def test_from_any_batch_on_a_snapshot_and_the_rest_lead_where_the_whole_log_leads(universe: Universe) -> None:
    whole = Known().replay(universe.batches)
    assert len(whole.keys) == 30 and len(whole.world.states["resource"].tasks) == 30
    for count in range(1, len(universe.batches) + 1):
        header = take(universe, count)
        known = Known()
        found = restore(universe.files, NAME, schema(known.world, NAME), universe.tip_at, known.load)
        assert found.header == header and not found.skipped
        assert known.edge == universe.edge(header.seq) and known.edge is not None and known.edge.size == header.size
        known.replay(universe.batches[count:])
        assert known.dumps() == whole.dumps()


def test_a_key_stands_for_all_records_of_its_command_and_no_others() -> None:
    """Within a batch a command is known by its moment."""
    records: list[Record] = []
    payload = b'{"caller":"uid:1","code":"c","method":"m","reason":"r"}'
    for index, (mono_us, key) in enumerate([(1, None), (2, "key-00000001"), (2, None), (2, None), (3, "key-00000002"), (4, None)]):
        idem = ("0" * 32, key) if key else None
        pending = Pending("gate.refused", payload, "uid:1", "00000001", mono_us, 1_000 + mono_us, idem)
        line, _ = seal(pending, (0, index, 6), ZERO_HASH, index, 0)
        records.append(parse(line))
    world, keys = World(ENGINES), Keys()
    replay(world, keys, "gate_log", records)
    assert keys.find("uid:1", "key-00000001", 1_005) == Remembered("0" * 32, "gate_log", 1, 3, 1_002)
    assert keys.find("uid:1", "key-00000002", 1_005) == Remembered("0" * 32, "gate_log", 4, 4, 1_003)
    assert len(keys) == 2 and world.states["gate"].refused == 6


def snapshots(universe: Universe, *counts: int) -> list[tuple[Header, bytes]]:
    return [read(universe.files, NAME, take(universe, count).seq) for count in counts]


def compared(universe: Universe, found: list[tuple[Header, bytes]]) -> Any:
    known = Known()
    return replay_equals(known.world, known.keys, NAME, iter(universe.batches), found)


def test_true_snapshots_equal_the_replay(universe: Universe) -> None:
    found = snapshots(universe, 2, 4, len(universe.batches))
    report = compared(universe, found)
    assert report.equal and report.records == sum(map(len, universe.batches))
    assert report.snapshots == [Compared(header.seq, "equal") for header, _ in found]


def _with(raw: bytes, **changes: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(unpack(raw), **changes))


def _more_units(raw: bytes) -> bytes:
    world = msgspec.msgpack.decode(unpack(raw).world)
    world["resource"]["pools"]["compute"]["size"] += 1
    return _with(raw, world=msgspec.msgpack.encode(world))


LIES: dict[str, tuple[Callable[[Header, bytes], tuple[Header, bytes]], str, str]] = {
    "a number of one engine": (lambda header, raw: (header, _more_units(raw)), "different", "other values of resource"),
    "a key less": (
        lambda header, raw: (header, _with(raw, keys=Keys().dump(NAME))),
        "different",
        "other values of the idempotency keys",
    ),
    "another history": (
        lambda header, raw: (msgspec.structs.replace(header, tip="0" * 64), raw),
        "different",
        "of the log is another one",
    ),
    "another tree": (
        lambda header, raw: (msgspec.structs.replace(header, root="0" * 64), raw),
        "different",
        "does not lead to the root",
    ),
    "no body": (lambda header, raw: (header, b""), "different", "cannot be read"),
    "no dump": (lambda header, raw: (header, _with(raw, world=b"\xc1")), "different", "cannot be read"),
    "another version": (
        lambda header, raw: (msgspec.structs.replace(header, schema="0" * 64), raw),
        "other version",
        "another version",
    ),
    "within a batch": (
        lambda header, raw: (msgspec.structs.replace(header, seq=header.seq - 1), raw),
        "not reached",
        "no batch of the log ends there",
    ),
    "beyond the log": (
        lambda header, raw: (msgspec.structs.replace(header, seq=9_999), raw),
        "not reached",
        "no batch of the log ends there",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_false_snapshot_is_named_beside_the_true_ones(universe: Universe, name: str) -> None:
    lie, result, why = LIES[name]
    first, second, third = snapshots(universe, 2, 3, 5)
    report = compared(universe, [first, lie(*second), third])
    assert report.equal == (result == "other version")
    odd = [each for each in report.snapshots if each.result != "equal"]
    assert len(report.snapshots) == 3 and [each.result for each in odd] == [result] and why in odd[0].why


def test_what_cannot_be_loaded_leaves_nothing_behind(universe: Universe) -> None:
    ((header, raw),) = snapshots(universe, 4)
    for spoiled in (
        _with(raw, keys=b""),
        _with(raw, world=b""),
        _with(raw, edge=""),
        _with(raw, edge="1:"),
        _with(raw, edge=universe.edge(1).text()),
        raw + b"\xc0",
        raw[:-1],
    ):
        known = Known()
        with pytest.raises(BadDump):
            load(known.world, known.keys, header, spoiled)
        assert known.dumps() == Known().dumps()
    known = Known()
    load(known.world, known.keys, header, raw)
    assert known.dumps() != Known().dumps()


def test_the_schema_covers_what_surrounds_the_engines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(ENGINES)
    before = schema(world, NAME)
    assert before != world.schema(NAME) and len(before) == 64
    monkeypatch.setattr("core.keys.SCHEMA", "0" * 64)
    assert schema(world, NAME) != before
    monkeypatch.setattr(World, "schema", lambda self, log: "")
    assert schema(world, NAME) == ""


def test_a_body_is_its_three_parts() -> None:
    edge = Edge().append(b"\x01" * 32)
    assert unpack(pack(edge, b"k", b"w")) == Body(edge.text(), b"k", b"w")
