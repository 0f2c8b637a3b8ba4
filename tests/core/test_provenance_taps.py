"""Taps, edges and anomalies in the engine: bounded, kept without what they say, and each anomaly recorded once in its time."""

from typing import Any

import pytest

from core.engine import IRER, Refused
from core.fields import privacy
from core.provenance import ENGINE
from core.provenance.commands import Found
from core.provenance.events import Data, EdgeAdded, Tapped
from core.provenance.model import ANOMALIES_KEPT, COOLDOWN_US, RAISED_MAX, TAPS_KEPT
from core.redact import Redactor, redact_event
from tests.core.engine_loop import EngineLoop


@pytest.fixture
def loop() -> EngineLoop:
    return EngineLoop(ENGINE)


def tap(loop: EngineLoop, data: dict[str, Any] | None = None, run_id: str = "run_001", **more: Any) -> list[Any]:
    return loop.ask("tap_event", {"event_type": "user_action", "data": data or {}, "run_id": run_id, **more})


def found(name: str = "uid:7", kind: str = "burst") -> Found:
    return Found(kind, "actor", name, 10, "s", 900, 12.5, 33.0, 7.0, f"actor {name}: 900 in 10 s", ["orders:7"])  # type: ignore[arg-type]


def checked(loop: EngineLoop) -> tuple[str, str]:
    assert ENGINE.checks is not None
    [check] = ENGINE.checks(loop.state, loop.context())
    return check.health, check.reason


def test_a_tap_is_stored_by_its_field_class_and_answered_without_what_it_says(loop: EngineLoop) -> None:
    [event] = tap(loop, {"data": "sensitive@email.com"})
    reply = loop.world.rows["provenance.tap_event"].reply
    assert reply is not None and reply([event]).__struct_fields__ == ("event_type", "run_id")
    assert privacy("open") in Data.__metadata__
    stored = redact_event(Redactor(bytes(range(32))), event)
    assert isinstance(stored, Tapped) and stored.data == {"data": "pn_3284a7d2ff06fb56ee08f8245977f278"}
    assert stored.run_id == event.run_id and stored.tapped == "user_action"


@pytest.mark.parametrize("bad", [{"a": "x" * 16_385}, {"a": b"bytes"}, {"a": 2**60}])
def test_a_tap_that_a_log_cannot_hold_is_refused(loop: EngineLoop, bad: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        tap(loop, bad)
    assert refused.value.code == "invalid-argument" and refused.value.fields[0][0] == "data" and not loop.records


def test_the_ring_holds_the_newest_taps_and_the_count_all(loop: EngineLoop) -> None:
    for number in range(TAPS_KEPT + 10):
        tap(loop, run_id=f"run-{number % 2}")
    assert len(loop.state.ring) == TAPS_KEPT and loop.state.ring[0].seq == 10
    status = loop.look("status")
    assert status.taps == TAPS_KEPT + 10 and [each.seq for each in status.newest] == list(range(4_105, 4_095, -1))
    page, seen = loop.look("taps", {"run_id": "run-1"}), list[int]()
    while True:
        seen += [each.seq for each in page.taps]
        if page.next is None:
            break
        page = loop.look("taps", {"run_id": "run-1", "after": page.next})
    assert seen == list(range(4_105, 10, -2))


@pytest.mark.parametrize("verb", ["taps", "anomalies"])
def test_a_next_of_nowhere_is_refused(loop: EngineLoop, verb: str) -> None:
    with pytest.raises(Refused) as refused:
        loop.look(verb, {"after": "x"})
    assert "Leave it out" in refused.value.detail


def test_an_edge_says_what_came_from_what_and_nothing_comes_from_itself(loop: EngineLoop) -> None:
    [event] = loop.ask("add_edge", {"source": "fact_A", "target": "fact_B", "rule": "rule1", "run_id": "run_001", "cost": 2.0})
    assert event == EdgeAdded("fact_A", "fact_B", "rule1", "run_001", 2.0) and loop.look("status").edges == 1
    with pytest.raises(Refused) as refused:
        loop.ask("add_edge", {"source": "fact_A", "target": "fact_A", "rule": "rule1", "run_id": "run_001"})
    assert refused.value.code == "invalid-argument" and len(loop.records) == 1


def test_an_anomaly_is_recorded_once_in_its_cooldown_and_shown_with_its_evidence(loop: EngineLoop) -> None:
    assert len(loop.ask("found", found(), IRER)) == 1
    loop.run(COOLDOWN_US / 1e6 - 1)
    assert loop.ask("found", found(), IRER) == []
    assert len(loop.ask("found", found("uid:8"), IRER)) == len(loop.ask("found", found(kind="rate"), IRER)) == 1
    loop.restart(1.0)
    assert len(loop.ask("found", found(), IRER)) == 1, "its time is over"
    page = loop.look("anomalies", {"limit": 3})
    assert [(each.kind, each.name) for each in page.anomalies] == [("burst", "uid:7"), ("rate", "uid:7"), ("burst", "uid:8")]
    assert page.anomalies[0].causes == ["orders:7"] and page.anomalies[0].evidence == "actor uid:7: 900 in 10 s"
    [last] = loop.look("anomalies", {"after": page.next}).anomalies
    assert last.seq == 0 and loop.look("anomalies", {"kind": "drift"}).anomalies == []


def test_health_tells_of_an_anomaly_and_only_a_breach_degrades_it(loop: EngineLoop) -> None:
    assert checked(loop) == ("ok", "")
    loop.ask("found", found(), IRER)
    health, reason = checked(loop)
    assert health == "ok" and "burst: actor uid:7: 900 in 10 s" in reason and "irerctl provenance anomalies" in reason
    loop.ask("found", found(kind="breach"), IRER)
    health, reason = checked(loop)
    assert health == "degraded" and reason.startswith("breach: ") and "and 1 more" in reason
    loop.run(COOLDOWN_US / 1e6)
    assert checked(loop) == ("ok", "")


def test_a_reboot_ends_every_cooldown(loop: EngineLoop) -> None:
    loop.ask("found", found(), IRER)
    loop.restart(reboot=True)
    assert checked(loop) == ("ok", "") and len(loop.ask("found", found(), IRER)) == 1


def test_anomalies_take_bounded_memory(loop: EngineLoop) -> None:
    for number in range(RAISED_MAX + 5):
        loop.ask("found", found(f"uid:{number}"), IRER)
    assert len(loop.state.anomalies) == ANOMALIES_KEPT and len(loop.state.raised) == RAISED_MAX
    assert loop.look("status").anomalies == RAISED_MAX + 5 and loop.replayed() == loop.state
