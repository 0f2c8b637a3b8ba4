"""The detector beside the writer: it sees what is durable and nothing sooner, and its failure touches nothing else."""

from typing import Any

import pytest

from core.provenance.commands import Found
from core.provenance.detector import Detector
from irerd.anomalies import Anomalies
from state.seal import Pending


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
