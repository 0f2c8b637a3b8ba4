"""`simulation_ledger.csv` says what the hunt log says, whatever became of the file: torn, cut, foreign, gone, or on a full disk."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from core.canonical import event_payload
from core.component.events import ComponentFinished
from core.hunt import ledger as lines
from core.hunt.ledger import HEADER, NAME, Projection
from core.hunt.state import LOG
from irerd import ledger as keeping
from irerd.ledger import TEMPORARY, SimulationLedger
from state.fs import RealFiles
from tests.core.hunt.hunter import Hunter


class Records:
    """A log as the ledger reads it: its records, the first that is still there, and the last that is durable."""

    def __init__(self, root: Path) -> None:
        self.files = Failing(root)
        self.hunter = Hunter()
        self.hunter.start()
        self.hunter.to_the_end()
        self.hunter.start()
        self.hunter.to_the_end()
        self._look_at_some()
        self.durable = len(self.hunter.records) - 1
        self.first_seq = 0
        self.errors: list[BaseException] = []

    def _look_at_some(self) -> None:
        """Results of null-profile between the records: of rows to come, of rows just written, and of old ones."""
        records, jobs = (
            self.hunter.records,
            [row.child.job_uuid for hunt in self.hunter.hunts.hunts.values() for row in hunt.rows.values()],
        )
        for turn, at in enumerate(range(12, len(records) + 12, 9)):
            outputs = {"gap_phase": None if turn % 5 == 4 else turn / 8, "gap_target": 1.5}
            event = ComponentFinished("job", jobs[turn * 7 % len(jobs)], "null-profile", "1.0.0", "0" * 64, True, outputs)
            records.insert(at, (event.event_type, event_payload(event), records[0][2]))

    def stored(self, log: str, first: int, last: int) -> list[Any]:
        assert self.first_seq <= first <= last <= self.durable
        return [Record(*record[:2]) for record in self.hunter.records[first : last + 1]]

    async def offload(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def ledger(self) -> SimulationLedger:
        """A new one, as a start makes it."""
        return SimulationLedger(
            cast(Any, self),
            cast(Any, self),
            cast(Any, {LOG: self}),
            lambda log: self.durable,
            lambda place, error: self.errors.append(error),
        )

    def whole(self) -> bytes:
        projection = Projection()
        lines: dict[str, bytes] = {}
        for kind, payload, _ in self.hunter.records[: self.durable + 1]:
            lines.update(projection.fold(kind, payload))
        return HEADER + b"".join(lines.values())


class Record:
    def __init__(self, event_type: str, payload: bytes) -> None:
        self.event_type = event_type
        self.payload = payload


class Failing(RealFiles):
    """A disk that takes only so many bytes more."""

    room: int | None = None
    written = 0

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self.written += 1
        if self.room is None:
            return super().write(fd, data)
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = super().write(fd, data[: self.room])
        self.room -= taken
        return taken


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


def caught_up(ledger: SimulationLedger) -> None:
    trio.run(ledger.catch_up)


def test_without_a_row_there_is_no_file(records: Records, tmp_path: Path) -> None:
    records.durable = 2
    ledger = records.ledger()
    caught_up(ledger)
    assert not (tmp_path / NAME).exists() and ledger.check().health == "ok"


@pytest.mark.parametrize("window", [lines.WINDOW, 7, 1])
@pytest.mark.parametrize("at_once", [1, 10])
def test_the_file_follows_the_log_and_each_start_finds_it_right(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, at_once: int
) -> None:
    monkeypatch.setattr(lines, "WINDOW", window)
    monkeypatch.setattr(keeping, "WINDOW", window)
    last = records.durable
    ledger = records.ledger()
    for durable in (*range(0, last, at_once), last):
        records.durable = durable
        caught_up(ledger)
        now = (tmp_path / NAME).read_bytes() if (tmp_path / NAME).exists() else b""
        assert now in (b"", records.whole())
        if now and durable % 3 == 0:
            written = records.files.written
            caught_up(records.ledger())
            assert (tmp_path / NAME).read_bytes() == now and records.files.written == written, "there was nothing to put right"
    assert now == records.whole() and now.count(b"\n") == 31 and not (tmp_path / TEMPORARY).exists()
    assert (b",1.5," in now) and not records.errors


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda whole: None,
    "empty": lambda whole: b"",
    "half a header": lambda whole: whole[:40],
    "torn in its last line": lambda whole: whole[:-17],
    "torn by one byte": lambda whole: whole[:-1],
    "short of rows": lambda whole: b"".join(whole.splitlines(keepends=True)[:9]),
    "a byte changed": lambda whole: whole[:2_000] + b"?" + whole[2_001:],
    "a row lost in the middle": lambda whole: b"".join(line for at, line in enumerate(whole.splitlines(keepends=True)) if at != 5),
    "rows of somebody else behind it": lambda whole: whole + b"1,2,3\n",
    "somebody else's": lambda whole: b"name,age\nann,41\n" * 400,
    "zeros after a power cut": lambda whole: whole[:-500] + bytes(500),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_whatever_became_of_the_file_a_start_makes_it_right(
    records: Records, tmp_path: Path, damage: Callable[[bytes], bytes | None]
) -> None:
    path, found = tmp_path / NAME, damage(records.whole())
    if found is not None:
        path.write_bytes(found)
    caught_up(records.ledger())
    assert path.read_bytes() == records.whole()


@pytest.mark.parametrize("damage", ["gone", "empty", "torn in its last line", "rows of somebody else behind it"])
def test_whatever_becomes_of_it_meanwhile_the_next_row_makes_it_right(records: Records, tmp_path: Path, damage: str) -> None:
    path, last = tmp_path / NAME, records.durable
    records.durable = last // 2
    ledger = records.ledger()
    caught_up(ledger)
    found = DAMAGES[damage](records.whole())
    path.unlink()
    if found is not None:
        path.write_bytes(found)
    records.durable = last
    caught_up(ledger)
    assert path.read_bytes() == records.whole()


def test_a_disk_that_is_full_when_a_row_changes_leaves_the_file_as_it_was(records: Records, tmp_path: Path) -> None:
    changes = [at for at, record in enumerate(records.hunter.records) if record[0] == "component.finished"]
    ledger = records.ledger()
    records.durable = changes[-1] - 1
    caught_up(ledger)
    before = (tmp_path / NAME).read_bytes()
    records.durable, records.files.room = changes[-1], 300
    caught_up(ledger)
    assert (tmp_path / NAME).read_bytes() == before != records.whole() and ledger.check().health == "degraded"
    caught_up(records.ledger())  # as after a kill just now: what was half written has no name that anybody reads
    assert (tmp_path / NAME).read_bytes() == before
    records.files.room = None
    caught_up(ledger)
    assert (tmp_path / NAME).read_bytes() == records.whole() and ledger.check().health == "ok"


@pytest.mark.parametrize("room", [0, 1, 700, 3_000])
def test_a_full_disk_is_told_and_tried_again_and_ends_nothing(records: Records, tmp_path: Path, room: int) -> None:
    records.files.room = room
    ledger = records.ledger()
    caught_up(ledger)
    check = ledger.check()
    assert check.health == "degraded" and NAME in check.reason and not records.errors
    records.files.room = None
    caught_up(ledger)
    assert (tmp_path / NAME).read_bytes() == records.whole() and ledger.check().health == "ok"


def test_rows_whose_records_were_let_go_stay_in_the_file(records: Records, tmp_path: Path) -> None:
    caught_up(records.ledger())
    second = next(at for at, record in enumerate(records.hunter.records) if at and record[0] == "hunt.started")
    whole = records.whole()
    records.first_seq = second
    for found in (whole, whole[:-30]):
        (tmp_path / NAME).write_bytes(found)
        caught_up(records.ledger())
        assert (tmp_path / NAME).read_bytes() == whole


def test_so_they_do_where_an_earlier_version_knew_fewer_columns_or_others(records: Records, tmp_path: Path) -> None:
    caught_up(records.ledger())
    second = next(at for at, record in enumerate(records.hunter.records) if at and record[0] == "hunt.started")
    whole = records.whole()
    hunt = next(iter(records.hunter.hunts.hunts)).encode()
    records.first_seq = second
    (tmp_path / NAME).write_bytes(older(whole) + b"torn,li")
    caught_up(records.ledger())
    now = (tmp_path / NAME).read_bytes()
    assert [line for line in now.splitlines() if not line.startswith(hunt)] == [
        line for line in whole.splitlines() if not line.startswith(hunt)
    ]
    kept = [line.split(b",") for line in now.splitlines() if line.startswith(hunt)]
    before = [line.split(b",") for line in whole.splitlines() if line.startswith(hunt)]
    assert kept == [[*cells[:-3], b"", b"", b""] for cells in before] and len(kept) > 10


def older(text: bytes) -> bytes:
    """Without the last three columns, and with one that is gone."""
    rows = [line.split(b",")[:-3] for line in text.splitlines()]
    return b"".join(b",".join([*row[:5], b"gone" if at else b"once", *row[5:]]) + b"\n" for at, row in enumerate(rows))
