"""Records that were read many at once are those that are read one by one, whoever looks at them and however the file was cut."""

from random import Random
from typing import Any
from unittest.mock import patch

import pytest

import state.judge
import state.scan
from core.engines import ENGINES
from core.keys import Keys
from core.world import World
from state.replay import replay
from state.scan import Scan
from state.seal import RECORDS_MAX, ZERO_HASH, Block, Pending, Record, parse, parse_block, parse_many, seal_many
from state.tree import Edge, leaves_of
from tests.sim.disk import SimFiles
from tests.state.logs import NAME, new_log, recovered

GATE = "gate_log"
PAYLOADS = (
    b"{}",
    b'{"a":{"b":{}}}',
    b'{"a":"}"}',
    b'{"a":{"b":1},"seq":5,"timestamp":1.000000}',
    b'{"a":"},\\"seq\\":5"}',
    b'{"event_hash":"x","parent_hash":"y","payload":{"z":[{},{}]}}',
    b'{"text":"' + b"x" * 2_000 + b'"}',
)


def some_batch(random: Random, moment: int) -> list[Pending]:
    """Of any length; names, keys and moments change from one record to the next, or do not."""
    count = random.choice((1, 2, 7, 8, 9, 40, RECORDS_MAX))
    actors, types = random.choice((["irer"], ["irer", "uid:1000"])), random.choice((["task.note"], ["task.note", "log.noted"]))
    payloads = random.choice((PAYLOADS, PAYLOADS[:1]))
    share = random.choice((0.0, 0.3))
    return [
        Pending(
            random.choice(types),
            random.choice(payloads),
            random.choice(actors),
            random.choice(("b7f3c1d2", "b7f3c1d3")),
            moment + place // 3,
            random.choice((moment + 1_000_000, 2**53 - 1)),
            (f"{random.getrandbits(128):032x}", f"key-{moment}-{place:04}") if random.random() < share else None,
        )
        for place in range(count)
    ]


def sealed(batches: list[list[Pending]]) -> bytes:
    lines: list[bytes] = []
    parent, offset = ZERO_HASH, 0
    for number, batch in enumerate(batches):
        made, hashes = seal_many(batch, number, parent, len(lines), offset)
        lines += made
        parent, offset = hashes[-1], offset + sum(map(len, made)) + len(made)
    return b"".join([line + b"\n" for line in lines])


def scanned(data: bytes, *, hashing: bool = True) -> list[tuple[Any, list[bytes], Any]]:
    scan = Scan(lambda offset, size: data[offset : offset + size], len(data), hashing=hashing)
    found = [(batch, scan.leaves, scan.end) for batch in scan.batches()]
    assert scan.bad is None
    return found


@pytest.mark.parametrize("seed", range(12))
def test_whole_batches_are_the_same_in_blocks_of_any_size_and_line_by_line(seed: int) -> None:
    random = Random(f"blocks {seed}")
    data = sealed([some_batch(random, place * 1_000) for place in range(12)])
    with patch.object(state.scan, "parse_block", lambda block, offset: None):
        slow = scanned(data)
    assert [leaf for _, leaves, _ in slow for leaf in leaves] == leaves_of(data.split(b"\n")[:-1])
    kept = 0
    for size in (2_500, 40_000, 131_072, 1 << 22):
        with patch.object(state.scan, "WALK_BYTES", size):
            quick = scanned(data)
        kept += sum(isinstance(batch, Block) for batch, _, _ in quick)
        assert [(list(batch), leaves, end) for batch, leaves, end in quick] == slow
    assert kept, "some were kept in columns"


@pytest.mark.parametrize("seed", range(4))
def test_a_block_is_a_row_of_records_however_it_is_looked_at(seed: int) -> None:
    random = Random(f"looks {seed}")
    data = sealed([some_batch(random, place * 1_000) for place in range(4)])
    lines = data.splitlines(keepends=True)
    slow: list[Record] = []
    for line in lines:
        slow.append(parse(line, sum(record.size for record in slow[-1:]) + slow[-1].offset if slow else 0))
    assert parse_many(lines, 0) == slow
    for _ in range(20):
        parsed = parse_block(data, 0)
        assert parsed is not None
        whole, cut = parsed
        assert cut == [line[:-1] for line in lines] and whole.parent_hash == slow[0].parent_hash
        start, middle, stop = sorted(random.sample(range(len(slow) + 1), 3))
        for block in (whole.cut(start, stop), whole.cut(start, middle).joined(whole.cut(middle, stop))):
            expected = slow[start:stop]
            assert len(block) == len(expected) and (block[0], block[-1]) == (expected[0], expected[-1])
            assert list(block) == expected and block[1:3] == expected[1:3] and block[0] == expected[0]


def test_columns_are_replayed_as_records_are() -> None:
    """Keys and engines know the same after both: each command has one key and a moment of its own."""
    payload = b'{"caller":"uid:1","code":"c","method":"m","reason":"r"}'
    random = Random("replay")
    for _ in range(20):
        commands = [random.choice((1, 2, 5)) for _ in range(10)]
        moments = [moment for moment, count in enumerate(commands) for _ in range(count)]
        firsts = {sum(commands[:place]) for place in range(len(commands)) if random.random() < 0.5}
        batch = [
            Pending(
                "gate.refused",
                payload,
                "uid:1",
                "00000001",
                1 + moment,
                1_000_000 + moment,
                (f"{place:032x}", f"key-{place:08d}") if place in firsts else None,
            )
            for place, moment in enumerate(moments)
        ]
        [(columns, _, _)] = scanned(sealed([batch]))
        assert isinstance(columns, Block)
        found = []
        for each in (columns, list(columns)):
            world, keys = World(ENGINES), Keys()
            replay(world, keys, GATE, each)
            found.append((world.dump(GATE), keys.dump(GATE), len(keys)))
        assert found[0] == found[1] and found[0][2] == len(firsts)


def test_the_tree_is_the_same_however_few_leaves_are_folded_at_once() -> None:
    files = SimFiles()
    log = new_log(files)
    for place in range(9):
        log.commit(log.seal(some_batch(Random(place), place * 1_000)[:20]).data)
    edge = log.durable_edge
    assert edge == Edge().extend(leaves_of(log.read(0, log.end).split(b"\n")[:-1]))
    for most in (1, 3, 100_000):
        with patch.object(state.judge, "LEAVES_HELD", most):
            assert recovered(files.kill())[0].log.durable_edge == edge
    assert log.name == NAME
