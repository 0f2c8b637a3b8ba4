"""A line may have a true hash and still be no record, or the wrong one: each rule of the form, broken with a hash that fits."""

from collections.abc import Collection
from random import Random
from unittest.mock import patch

import pytest

import state.scan
from state.recover import Corrupt
from state.scan import BLOCK_BYTES, Position, Scan, later_batch, lines
from state.seal import BadLine, Pending, measure, parse, parse_many, seal, seal_many, sealed_line
from state.verify import verify_files
from tests.sim.disk import SimFiles
from tests.state.logs import ACTIVE, GOLDEN, GOLDEN_TIPS, HEAD, NAME, golden_disk, golden_head, pending, recovered

LINES = GOLDEN.splitlines(keepends=True)
BATCH_1 = Position(512, 1, 1, GOLDEN_TIPS[0][1])


def resealed(line: bytes, old: bytes, new: bytes) -> bytes:
    """The line with one change and a hash that is true of it."""
    assert line.count(old) == 1
    return sealed_line(line.replace(old, new)[:-82] + b"}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"actor":"uid:1000"', b'"actor":""'),
        (b'"actor":"uid:1000"', b'"actor":"' + b"x" * 65 + b'"'),
        (b'"actor":"uid:1000"', b'"actor":"caf\xc3\xa9"'),
        (b'"actor":"uid:1000"', b'"actor":"a\\"b"'),
        (b'{"actor"', b'{ "actor"'),
        (b'"boot_id":"b7f3c1d2"', b'"boot_id":"B7F3C1D2"'),
        (b"[1,0,3]", b"[1,0]"),
        (b"[1,0,3]", b"[01,0,3]"),
        (b"[1,0,3]", b"[1, 0,3]"),
        (b"[1,0,3]", b"[1.0,0,3]"),
        (b"[1,0,3]", b"[-1,0,3]"),
        (b"[1,0,3]", b"[1,0,3,3]"),
        (b"[1,0,3]", b"[1,0,10000000000000000]"),
        (b'"task.submitted"', b'"task"'),
        (b'"task.submitted"', b'"Task.submitted"'),
        (b'"task.submitted"', b'"task..submitted"'),
        (b'"task.submitted"', b'"task.' + b"x" * 60 + b'"'),
        (b'"cli-8d2f6c01"', b'"short"'),
        (b'"5f1d0c0e9b6a4f7785a3d2c1b0e9f877"', b'"5F1D0C0E9B6A4F7785A3D2C1B0E9F877"'),
        (b',"mono_us":41001500', b""),
        (b'"mono_us":41001500', b'"mono_us":9007199254740992'),
        (b'"mono_us":41001500', b'"mono_us":1e3'),
        (b'"payload":{', b'"payload":[{'),
        (b'"payload":{', b'"payload":{"a":1},"other":{'),
        (b'"payload":{', b'"payload":{{'),
        (b'"seq":1', b'"seq":01'),
        (b'"seq":1', b'"seq":-1'),
        (b'"seq":1', b'"seq":-0'),
        (b'"seq":1', b'"seq": 1'),
        (b'"seq":1', b'"seq":10000000000000000'),
        (b'"seq":1', b'"seq":"1"'),
        (b'"seq":1', b'"sec":1'),
        (b"1767225600.001500", b"1767225600.0015"),
        (b"1767225600.001500", b"1767225600"),
        (b"1767225600.001500", b"1767225600.0015000"),
        (b"1767225600.001500", b"9007199254.740992"),
        (b"1767225600.001500", b"-1.000000"),
        (b"1767225600.001500", b"01767225600.001500"),
        (b"1767225600.001500", b"1767225600.001.500"),
        (b"1767225600.001500", b"1767225600.001 50"),
        (b',"seq":1', b',"seq":1,"seq":1'),
        (b',"seq":1', b',"other":1,"seq":1'),
    ],
)
def test_a_member_out_of_form_is_no_record(old, new):
    assert parse(LINES[1]).seq == 1
    with pytest.raises(BadLine, match=r"misplaced|not a record|safe integers|no JSON object"):
        parse(resealed(LINES[1], old, new))
    assert parse_many([resealed(LINES[1], old, new)], 0) is None


def test_a_payload_nested_deeper_than_anybody_can_follow_is_no_record_and_ends_nobody() -> None:
    line = resealed(LINES[1], b'"payload":{', b'"payload":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b",")
    with pytest.raises(BadLine, match="no JSON object"):
        parse(line)
    assert parse_many([line], 0) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        LINES[1][:-1],
        LINES[1] + b"\n",
        LINES[1][:-1] + b"\r\n",
        b"\xef\xbb\xbf" + LINES[1],
        LINES[1].replace(b'"event_hash":"8', b'"event_hash":"9'),
        LINES[1][:-67] + LINES[1][-67:].upper(),
        LINES[1] + LINES[2],
    ],
)
def test_what_is_no_sealed_line_is_no_record(line):
    with pytest.raises(BadLine):
        parse(line)


def test_many_at_once_are_read_as_one_by_one():
    assert parse_many(LINES, 0) == [parse(line, sum(map(len, LINES[:place]))) for place, line in enumerate(LINES)]
    random = Random("many")
    for _ in range(2_000):
        place, at = random.randrange(len(LINES)), random.randrange(300)
        line = bytearray(LINES[place])
        line[at] = random.randrange(256)
        changed = [*LINES[:place], bytes(line), *LINES[place + 1 :]]
        try:
            parse(bytes(line))
        except BadLine:
            assert parse_many(changed, 0) is None
        else:
            assert parse_many(changed, 0) == parse_many(LINES, 0), "the same byte again"
    for sealed in (
        resealed(LINES[1], b'"mono_us":41001500', b'"mono_us":9007199254740992'),
        resealed(LINES[1], b'"payload":{', b'"payload":{{'),
    ):
        assert parse_many([LINES[0], sealed], 0) is None


def scanned(data: bytes) -> tuple[int, str]:
    """Whole batches behind the genesis, and what was wrong after them."""
    whole = GOLDEN[:512] + data
    scan = Scan(lambda offset, size: whole[offset : offset + size], len(whole), BATCH_1)
    count = len(list(scan.batches()))
    return count, scan.bad.why if scan.bad else ""


def batch(
    *commits: tuple[int, int, int], seqs: tuple[int, ...] | None = None, parent: str = BATCH_1.tip, start: int = 512
) -> bytes:
    data = b""
    for place, commit in enumerate(commits):
        line, parent = seal(pending(place), commit, parent, seqs[place] if seqs else 1 + place, start + len(data))
        data += line
    return data


def test_batches_made_by_the_rules_pass():
    assert scanned(batch((1, 0, 1))) == (1, "")
    assert scanned(batch((1, 0, 2), (1, 1, 2))) == (1, "")
    assert scanned(GOLDEN[512:]) == (2, "")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (batch((1, 0, 1), seqs=(2,)), "seq is 2, expected 1"),
        (batch((1, 0, 1), seqs=(0,)), "seq is 0, expected 1"),
        (batch((1, 0, 1), parent="0" * 64), "parent_hash"),
        (batch((2, 0, 1)), "commit"),
        (batch((0, 0, 1)), "commit"),
        (batch((1, 1, 2)), "commit"),
        (batch((1, 0, 2), (1, 1, 3)), "commit"),
        (batch((1, 0, 2), (2, 1, 2)), "commit"),
        (batch((1, 0, 2), (1, 0, 2)), "commit"),
        (batch((1, 0, 257)), "commit"),
        (batch((1, 1, 1)), "commit"),
        (batch((1, 0, 1), start=513), "padded"),
        (batch((1, 0, 2)), "ends inside a batch"),
    ],
)
def test_a_sealed_line_in_the_wrong_place_is_bad(data, why):
    count, said = scanned(data)
    assert count == 0
    assert why in said


def test_pad_stands_in_the_last_record_of_a_batch_and_is_the_least():
    [line] = batch((1, 0, 1)).splitlines(keepends=True)
    pad = line.count(b" ")
    assert "no pad" in scanned(resealed(line, b',"pad":"' + b" " * pad + b'"', b""))[1]
    assert "padded" in scanned(resealed(line, b',"pad":"' + b" " * pad + b'"', b',"pad":"' + b" " * (pad + 512) + b'"'))[1]
    assert "padded" in scanned(resealed(line, b',"pad":"' + b" " * pad + b'"', b',"pad":"' + b" " * (pad - 1) + b'"'))[1]
    first, _ = batch((1, 0, 2), (1, 1, 2)).splitlines(keepends=True)
    assert "pad before" in scanned(resealed(first, b',"parent_hash"', b',"pad":"","parent_hash"'))[1]
    with pytest.raises(BadLine):
        parse(resealed(line, b'"pad":"' + b" " * pad, b'"pad":"' + b" " * (pad - 1) + b"x"))


def test_a_record_over_the_limit_is_bad():
    whole, _ = seal(pending(1, 59_600), (1, 0, 1), BATCH_1.tip, 1, 512)
    assert scanned(whole) == (1, "")
    whole, _ = seal(pending(1, 59_900), (1, 0, 1), BATCH_1.tip, 1, 512)
    assert "longer" in scanned(whole)[1]


def test_lines_end_at_0x0a_alone():
    text = "a\u2028b\u2029c\x0bd\x0ce\x1cf\x85g\rh"
    one = Pending(
        "task.note",
        b'{"t":"' + text.replace("\x0b", "").replace("\x0c", "").replace("\x1c", "").replace("\r", "").encode() + b'"}',
        "irer",
        "b7f3c1d2",
        1,
        1,
    )
    line, _ = seal(one, (1, 0, 1), BATCH_1.tip, 1, 512)
    assert list(lines(lambda offset, size: line[offset : offset + size], 0, len(line))) == [line]
    assert scanned(line) == (1, "")


@pytest.mark.parametrize("block", [1, 7, 100, 511, 512, 4096])
def test_lines_are_the_same_in_blocks_of_any_size(block):
    def read(offset: int, size: int) -> bytes:
        return GOLDEN[offset : offset + size]

    assert list(lines(read, 0, len(GOLDEN), block)) == LINES
    assert list(lines(read, 512, 1500, block)) == GOLDEN[512:1500].splitlines(keepends=True)


def test_a_line_without_end_is_not_collected_for_ever():
    asked = []

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        return b"x" * size

    scan = Scan(read, 1 << 40)
    assert list(scan.batches()) == []
    assert scan.bad is not None and scan.bad.offset == 0
    assert sum(asked) <= 2 << 20


def test_an_intact_line_is_found_wherever_it_starts():
    def later(data: bytes, number: int) -> int | None:
        return later_batch(lambda offset, size: data[offset : offset + size], 0, len(data), number)

    assert later(LINES[4], 1) == 0
    assert later(LINES[4], 2) is None
    assert later(b"garbage" + LINES[4], 1) == 7
    assert later(b'{"actor":"x","boot_id' + LINES[4], 1) == 21
    assert later(LINES[1] + b"\0" * 100 + LINES[4], 1) == len(LINES[1]) + 100
    assert later(LINES[4][:-1], 1) is None
    assert later(b"x" * 3_000_000 + LINES[4], 1) == 3_000_000
    assert later(b"x" * (BLOCK_BYTES - 100) + LINES[4], 1) == BLOCK_BYTES - 100
    assert later(b"x" * 3_000_000 + b"\n" + LINES[4], 1) == 3_000_001
    assert later(b"", 0) is None


def test_text_in_a_payload_that_looks_like_a_record_is_not_one():
    """A torn batch whose payload quotes a later record: escaped, it cannot be taken for one."""
    quoted = LINES[4].decode().replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    one = Pending("task.note", f'{{"text":"{quoted}"}}'.encode(), "irer", "b7f3c1d2", 1, 1)
    line, _ = seal(one, (1, 0, 1), BATCH_1.tip, 1, 512)
    files = SimFiles()
    files.plant(ACTIVE, GOLDEN[:512] + line[:-100])
    files.plant(HEAD, golden_head(0))
    assert recovered(files)[0].torn is not None


@pytest.mark.parametrize(
    "payload",
    [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1.0}', b'{"a":1,"a":1}', b'{"a":9007199254740993}'],
)
def test_a_payload_in_another_form_is_found_by_the_verifier(payload):
    one = pending(0)._replace(payload=payload)
    line, _ = seal(one, (1, 0, 1), BATCH_1.tip, 1, 512)
    files = golden_disk(GOLDEN[:512] + line)
    [*_, row] = verify_files(files, [NAME])
    assert not row["ok"]
    assert row["first_bad"]["seq"] == 1
    assert row["first_bad"]["offset"] == 512
    assert "not canonical" in row["first_bad"]["why"]


@pytest.mark.parametrize("surgery", ["swap", "drop", "double", "older", "splice"])
def test_line_surgery_is_damage(surgery):
    first, second, third = GOLDEN[:512], GOLDEN[512:2048], GOLDEN[2048:]
    data = {
        "swap": first + third + second,
        "drop": first + third,
        "double": first + second + second + third,
        "older": first + second + third[:0],
        "splice": first + second.replace(b"b7f3c1d2", b"b7f3c1d3") + third,
    }[surgery]
    with pytest.raises(Corrupt):
        recovered(golden_disk(data, watermark=2))


SECONDS = (
    (0, 999_999, 1_000_000, 2**53 - 1),
    (0, 999_999),
    (1_000_000, 1_000_001, 1_999_999),
    (1_760_000_000_000_000, 1_760_000_000_176_000, 1_760_000_000_999_999),
    (9_999_999, 10_000_000),
)
"""Moments of one batch: in several seconds, in the first of all, in one, in two of which one has a digit more."""


def test_many_are_sealed_as_one_by_one():
    """Whatever changes from one record to the next, and whatever is refused."""
    random, refused = Random("seals"), 0
    for _ in range(200):
        count, first = random.choice((1, 2, 3, 20, 256)), random.randrange(10_000)
        kinds = (("irer", "uid:1000", "%s"), ("b7f3c1d2", "b7f3c1d3"), ("task.note", "task.done"))
        actors, boots, types = (random.choice((kind, kind[:1])) for kind in kinds)  # a batch may have one name for all
        times = random.choice(SECONDS)
        records = [
            pending(place, random.choice((0, 20, 300)))._replace(
                actor=random.choice(actors),
                boot_id=random.choice(boots),
                event_type=random.choice(types),
                mono_us=random.choice((0, 1, 41_000_001, 2**53 - 1)),
                time_us=random.choice(times),
                idem=random.choice((None, ("5f1d0c0e9b6a4f7785a3d2c1b0e9f877", "cli-8d2f6c01"))),
            )
            for place in range(count)
        ]
        if random.random() < 0.3:
            wrong = {
                "actor": 'a"b',
                "boot_id": "B7F3C1D2",
                "event_type": "Task",
                "mono_us": -1,
                "time_us": 2**53,
                "payload": random.choice((b"[]", b'{"a":\n1}', b'{"t":"' + b"x" * 60_000 + b'"}')),
                "idem": ("short", "cli-8d2f6c01"),
            }
            name, place = random.choice(list(wrong)), random.randrange(count)
            records[place] = records[place]._replace(**{name: wrong[name]})
        sealed: list[bytes] | None = []
        parent, offset = "ab" * 32, first * 512
        try:
            for index, record in enumerate(records):
                measure(record)
                line, parent = seal(record, (7, index, count), parent, first + index, offset)
                sealed, offset = [*(sealed or []), line], offset + len(line)
        except ValueError:
            sealed, refused = None, refused + 1
        if sealed is None:
            with pytest.raises(ValueError):
                seal_many(records, 7, "ab" * 32, first, first * 512)
        else:
            lines_, hashes = seal_many(records, 7, "ab" * 32, first, first * 512)
            assert ([line + b"\n" for line in lines_], hashes[-1]) == (sealed, parent)
            assert hashes == [line[-67:-3].decode() for line in sealed]
    assert refused > 30


@pytest.mark.parametrize("place", [0, 3, 19])
@pytest.mark.parametrize(
    "wrong",
    [
        {"payload": b'{"a":\n1}'},
        {"payload": b"[]"},
        {"mono_us": -1},
        {"time_us": -1},
        {"time_us": 2**53},
        {"idem": ("short", "cli-8d2f6c01")},
        {"event_type": "Task"},
    ],
)
def test_one_that_is_no_record_is_refused_among_many(wrong, place):
    records = [pending(number) for number in range(20)]
    assert len(seal_many(records, 7, "ab" * 32, 1, 512)[0]) == 20
    records[place] = records[place]._replace(**wrong)
    with pytest.raises(ValueError):
        seal_many(records, 7, "ab" * 32, 1, 512)


# --- the quick way through a block is the slow way ----------------------------------------------------------------------------


def walked(data: bytes) -> tuple[object, ...]:
    scan = Scan(lambda offset, size: data[offset : offset + size], len(data), hashing=True)
    found = [(list(batch), scan.leaves, scan.end) for batch in scan.batches()]
    return found, scan.end, scan.bad


def rechained(lines: list[bytes], first: int) -> list[bytes]:
    return sealed_again(lines, range(first, len(lines)), chained=True)


def sealed_again(lines: list[bytes], places: Collection[int], *, chained: bool) -> list[bytes]:
    """The hashes of these lines are true again, and, where they are `chained`, their parents the lines before."""
    fixed: list[bytes] = []
    for place, line in enumerate(lines):
        if place not in places:
            fixed.append(line)
            continue
        body = line[:-82] + b"}"
        if fixed and chained:
            start = body.find(b'"parent_hash":"') + len(b'"parent_hash":"')
            body = body[:start] + fixed[-1][-67:-3] + body[start + 64 :]
        fixed.append(sealed_line(body))
    return fixed


EDITS = (
    (
        b'"actor":"uid:1000"',
        b'"actor":"uid:\\u0031000"',
        b'"actor":"' + b"x" * 65 + b'"',
        b'"actor":"a\nb"',
        b' "actor":"uid:1000"',
    ),
    (b'"commit":[', b'"commit":[0', b'"commit":[ ', b'"commit":[1'),
    (b',"idem":{', b',"idem":{ ', b""),
    (b'"mono_us":', b'"mono_us":0', b'"mono_us":99999999', b'"mono_us":"'),
    (b',"pad":"', b',"pad":" ', b',"pad":"' + b" " * 512, b',"pad":"x', b',"pad":"","pad":"'),
    (b',"parent_hash"', b',"pad":"","parent_hash"', b',"parent_hash":"","parent_hash"'),
    (b'"payload":{', b'"payload":{{', b'"payload":{"a":1},"b":{', b'"payload":{"\xff":1,'),
    (b'"seq":', b'"seq":0', b'"seq":1', b'"seq":-'),
    (b'"timestamp":1', b'"timestamp":9', b'"timestamp":01', b'"timestamp":1e'),
    (b'{"actor"', b'x{"actor"', b'{"actor":"a","actor"', b'\n{"actor"'),
)


def test_what_one_look_at_many_lines_accepts_is_what_line_by_line_is_accepted():
    """Each line is changed with hashes that are true of the change and without: batches, leaves, the end and what is bad agree."""
    random, lines_ = Random("blocks"), LINES + _more()
    told = set()
    for turn in range(1_000):
        place = random.randrange(len(lines_))
        old, *news = EDITS[turn % len(EDITS)]
        line = lines_[place].replace(old, random.choice(news), 1) if random.random() < 0.7 else bytearray(lines_[place])
        if isinstance(line, bytearray):
            line[random.randrange(len(line) - 83)] = random.randrange(256)
        changed = [*lines_[:place], bytes(line), *lines_[place + 1 :]]
        if random.random() < 0.1:
            changed = changed[:place] + changed[place + 1 :]
        sealing = random.random()
        if sealing < 0.6:
            changed = rechained(changed, place)
        elif sealing < 0.8:
            changed = sealed_again(changed, (place,), chained=False)
        data = b"".join(changed)
        with patch.object(state.scan, "WALK_BYTES", random.choice((700, 3_000, 131_072))):
            quick = walked(data)
            with patch.object(state.scan, "parse_block", lambda block, offset: None):
                assert quick == walked(data)
        told.add(quick[2] and quick[2].why.partition(" ")[0])  # type: ignore[attr-defined]
    assert len(told) >= 7, "each kind of fault was met"


def _more() -> list[bytes]:
    """Batches of one and of many behind the golden log."""
    made: list[bytes] = []
    parent, offset = GOLDEN_TIPS[-1][1], len(GOLDEN)
    for number, count in enumerate((1, 1, 7, 1, 9, 30, 1, 12), 3):
        for index in range(count):
            line, parent = seal(pending(len(made)), (number, index, count), parent, len(LINES) + len(made), offset)
            made.append(line)
            offset += len(line)
    return made
