"""The golden log: made by the rules alone, it must come out of the code byte for byte, and no damage to it may pass."""

from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from core.canonical import decode, encode
from state.log import Log, Tail, create
from state.scan import Index, Position, Scan
from state.seal import ZERO_HASH, Pending, Record, parse
from state.segment import Corrupt
from state.tree import Edge
from tests.sim.disk import SimFiles
from tests.state.logs import (
    ACTIVE,
    GOLDEN,
    GOLDEN_ENDS,
    GOLDEN_TIPS,
    HEAD,
    NAME,
    ORIGIN,
    golden_disk,
    golden_head,
    recovered,
    stamp,
)


def batches(data: bytes) -> list[list[Record]]:
    scan = Scan(lambda offset, size: data[offset : offset + size], len(data))
    found = list(scan.batches())
    assert scan.bad is None
    return found


def unsealed(record: Record) -> Pending:
    return Pending(
        record.event_type,
        encode(decode(record.payload)),
        record.actor,
        record.boot_id,
        record.mono_us,
        record.time_us,
        record.idem,
    )


def test_the_golden_log_is_the_published_one():
    assert sha256(GOLDEN).hexdigest() == "6ba0f5915f650870ae9c984949720b450544ca8b829a335240f2591833d268c1"
    assert [len(batch) for batch in batches(GOLDEN)] == [1, 3, 4]
    assert [(batch[-1].seq, batch[-1].event_hash) for batch in batches(GOLDEN)] == list(GOLDEN_TIPS)
    assert [batch[-1].offset + batch[-1].size for batch in batches(GOLDEN)] == list(GOLDEN_ENDS)


def test_its_own_fields_seal_to_the_same_bytes():
    files = SimFiles()
    log = Log(files, NAME, ORIGIN, -1, Tail(Position(0, 0, 0, ZERO_HASH), Index(), Edge(), sha256()), head_batch=-1)
    sealed = [log.seal([unsealed(record) for record in batch]) for batch in batches(GOLDEN)]
    assert b"".join(batch.data for batch in sealed) == GOLDEN
    receipts = [receipt for batch in sealed for receipt in batch.receipts]
    for receipt in receipts:
        record = parse(GOLDEN[receipt.offset : receipt.offset + receipt.size], receipt.offset)
        assert (record.seq, record.event_hash) == (receipt.seq, receipt.event_hash)


def test_a_new_log_begins_with_the_golden_genesis_and_a_head():
    files = SimFiles()
    create(files, NAME, ORIGIN, stamp)
    assert files.durable(ACTIVE) == GOLDEN[:512]
    assert files.durable(HEAD) == golden_head(0)


def test_records_read_back_with_their_fields():
    record = batches(GOLDEN)[1][0]
    assert record.idem == ("5f1d0c0e9b6a4f7785a3d2c1b0e9f877", "cli-8d2f6c01")
    assert record.time_us == 1_767_225_600_001_500
    assert record.stamp(NAME).cause(2) == "engine_state:1:2"
    assert decode(batches(GOLDEN)[1][1].payload)["note"] == 'quotes " and \\ and \n and \x01; café, 東京, 😀, \u2028 stays raw'


def verdict(data: bytes, watermark: int) -> tuple[str, bytes]:
    """What recovery says of these bytes, and the bytes of the whole batches it handed out or kept."""
    files = golden_disk(data, watermark)
    try:
        recovery, records = recovered(files)
    except Corrupt:
        assert files.tree() == {ACTIVE: data, HEAD: golden_head(watermark)}, "damage was touched"
        return "corrupt", b""
    kept = records if recovery.torn is None else [record for record in records if record.event_type != "log.recovered"]
    recovery.log.close()
    return ("whole" if recovery.torn is None else "torn"), files.content(ACTIVE)[: kept[-1].offset + kept[-1].size]


def show(capsys, what: str, said: Counter[str]) -> None:
    with capsys.disabled():
        print(f"\n  golden log, {what}: {said.total():,} states, " + ", ".join(f"{count:,} {word}" for word, count in said.items()))


def test_cut_at_every_length_keeps_exactly_the_whole_batches(capsys):
    said: Counter[str] = Counter()
    for length in range(len(GOLDEN) + 1):
        word, kept = verdict(GOLDEN[:length], 0)
        said[word] += 1
        if word == "corrupt":
            assert length < 512
        else:
            end = max(end for end in GOLDEN_ENDS if end <= length)
            assert kept == GOLDEN[:end]
            assert word == ("whole" if length == end else "torn")
    assert said == {"corrupt": 512, "torn": 3582, "whole": 3}
    show(capsys, "cut at each length", said)


@pytest.mark.parametrize(("watermark", "expected"), [(0, {"corrupt": 16_384, "torn": 16_384}), (2, {"corrupt": 32_768})])
def test_no_flipped_bit_passes(watermark, expected, capsys):
    said: Counter[str] = Counter()
    for place in range(len(GOLDEN)):
        for bit in range(8):
            data = bytearray(GOLDEN)
            data[place] ^= 1 << bit
            word, kept = verdict(bytes(data), watermark)
            said[word] += 1
            if word == "torn":
                assert place >= 2048
                assert kept == GOLDEN[:2048]
    assert said == expected
    show(capsys, f"flip each bit, watermark {watermark}", said)


def test_the_verifier_printed_in_the_documentation_works():
    page = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text()
    program = page.partition("```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {}
    exec(program, found)  # noqa: S102 - it is our own page, and a reader will run it too
    assert found["chain_holds"](GOLDEN)
    lines = GOLDEN.splitlines(keepends=True)
    assert not found["chain_holds"](b"".join(lines[:3] + lines[4:]))
    assert not found["chain_holds"](GOLDEN[:-1])
    for place in range(0, len(GOLDEN), 7):
        data = bytearray(GOLDEN)
        data[place] ^= 1
        assert not found["chain_holds"](bytes(data))


def test_the_documentation_shows_the_head_and_genesis_as_they_are():
    page = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text()
    assert golden_head(2).decode().partition('"tip"')[0] in page
    assert GOLDEN[:512].decode().partition(',"payload":')[2].partition(',"seq"')[0] in page
