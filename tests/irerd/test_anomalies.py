"""The detector beside the writer: it sees what is durable and nothing sooner, and its failure touches nothing else.

What it has learnt is kept in a file, which costs nothing but that when it is lost.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from core.engine import Stamp
from core.provenance.commands import Found
from core.provenance.detector import Detector
from irerd import anomalies
from irerd.anomalies import PATH, Anomalies, Remembered
from state.fs import Files, RealFiles
from state.seal import Pending
from tests.irerd.served import serving


class Beside:
    """Logs as a writer sees them: commands are decided, and later durable."""

    def __init__(self) -> None:
        self.next_seq = {"orders": 1, "gate_log": 1}
        self.found: list[Found] = []
        self.faults: list[str] = []
        self.anomalies = Anomalies(self.found.append, lambda where, error: self.faults.append(where))

    def decide(self, log: str, count: int, records: int = 1) -> None:
        for _ in range(count):
            made = [Pending("order.placed", b"{}", "uid:7", "00000001", 5_000_000, 0)] * records
            self.anomalies.taken(log, self.next_seq[log], [made])
            self.next_seq[log] += records


def test_a_burst_is_told_once_it_is_durable_with_its_records() -> None:
    beside = Beside()
    beside.decide("orders", 300, records=2)
    beside.anomalies.after_group({"orders": 0, "gate_log": 0})
    assert beside.found == []
    beside.anomalies.after_group({"orders": 599})
    assert {(each.kind, each.of, each.name) for each in beside.found} == {
        ("burst", "type", "order.placed"),
        ("burst", "actor", "uid:7"),
    }
    assert beside.found[0].causes[-1] == f"orders:{beside.found[0].count}"
    told = len(beside.found)
    beside.anomalies.after_group({"orders": 600})
    assert len(beside.found) == told and beside.anomalies.check().health == "ok"


def test_a_command_counts_only_when_all_its_records_are_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Detector, "note", lambda self, kind, payload, stamp: seen.append(stamp.seq) or [])
    beside = Beside()
    beside.decide("orders", 2, records=3)
    beside.anomalies.after_group({"orders": 2})
    assert seen == []
    beside.anomalies.after_group({"orders": 5})
    assert seen == [1, 2, 3]


def test_a_detector_that_fails_is_told_in_health_and_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> list[Found]:
        raise ArithmeticError

    monkeypatch.setattr(Detector, "note", broken)
    beside = Beside()
    for _ in range(2):
        beside.decide("orders", 1)
        beside.anomalies.after_group({"orders": beside.next_seq["orders"] - 1})
    assert beside.faults == ["anomalies"] and beside.found == []
    check = beside.anomalies.check()
    assert check.health == "degraded" and "restart irerd" in check.reason


class Host:
    def __init__(self, files: Files) -> None:
        self.files = files

    async def offload(self, function: Callable[..., Any], *given: object) -> Any:
        return function(*given)


def learnt(beside: Beside) -> int:
    detector = beside.anomalies._detector
    return sum(each.stream.count for each in detector.watched.values()) if detector is not None else -1


def remembered(place: Path, beside: Beside) -> Remembered:
    return Remembered(Host(RealFiles(place)), beside.anomalies)  # type: ignore[arg-type]


def kept_by_another(place: Path) -> None:
    beside = Beside()
    beside.decide("orders", 5)
    beside.anomalies.after_group({"orders": 5})
    kept = remembered(place, beside)
    kept.load("ours")
    trio.run(kept.save)


def flipped(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize(
    ("ledger", "spoil", "count"),
    [
        ("ours", lambda raw: raw, 10),
        ("another", lambda raw: raw, 0),
        ("ours", flipped, 0),
        ("ours", lambda raw: raw[:40], 0),
        ("ours", lambda raw: b"", 0),
    ],
)
def test_what_was_learnt_is_taken_up_where_the_file_is_whole_and_of_this_directory(
    tmp_path: Path, ledger: str, spoil: Callable[[bytes], bytes], count: int
) -> None:
    kept_by_another(tmp_path)
    file = tmp_path / PATH
    file.write_bytes(spoil(file.read_bytes()))
    beside = Beside()
    remembered(tmp_path, beside).load(ledger)
    assert learnt(beside) == count


def test_a_file_of_another_version_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_by_another(tmp_path)
    monkeypatch.setattr(anomalies, "SHAPE", "0" * 64)
    beside = Beside()
    remembered(tmp_path, beside).load("ours")
    assert learnt(beside) == 0


def test_nothing_is_written_where_nothing_was_learnt_since_and_a_full_disk_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_by_another(tmp_path)
    file = tmp_path / PATH
    beside = Beside()
    kept = remembered(tmp_path, beside)
    kept.load("ours")
    before = file.stat().st_ino
    trio.run(kept.save)
    monkeypatch.setattr(RealFiles, "free", lambda self: 1_000)
    beside.decide("orders", 1)
    beside.anomalies.after_group({"orders": 1})
    trio.run(kept.save)
    assert file.stat().st_ino == before
    monkeypatch.undo()
    trio.run(kept.save)
    assert file.stat().st_ino != before


def test_a_daemon_goes_on_with_what_the_one_before_it_learnt(tmp_path: Path) -> None:
    async def lives() -> list[set[Any]]:
        found = []
        for _ in range(2):
            async with serving(tmp_path) as served:
                detector = served.daemon.anomalies._detector
                assert detector is not None
                found.append(set(detector.watched))
                detector.note("task.done", b"{}", Stamp("engine_state", 1, 0, 0, "b0071d00", "uid:7"))
        return found

    first, second = trio.run(lives)
    assert ("burst", "type", "task.done") in second - first
