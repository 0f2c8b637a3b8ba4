"""What engines report: stored as said, bounded in size, depth and rate, and remembered without what it says."""

from random import Random
from typing import Any

import pytest

from core.engine import Actor, Refused
from core.provenance import DATA_BYTES_MAX, DATA_DEPTH_MAX, ENGINE, REPORTS_KEPT, SENDERS_MAX
from core.provenance.model import SLOT_US
from core.settings import Control, Settings
from tests.core.engine_loop import EngineLoop

MAILER, PLANNER = Actor("engine:mailer", "engine", 5), Actor("engine:planner", "engine", 5)


@pytest.fixture
def loop() -> EngineLoop:
    return EngineLoop(ENGINE, Settings(control=Control(events_per_s=3)))


def report(loop: EngineLoop, data: dict[str, Any] | None = None, actor: Actor = MAILER, **more: Any) -> Any:
    [event] = loop.ask("log.engine_event", {"event_type": "email.sent", "data": data or {}, **more}, actor)
    reply = loop.world.rows["log.engine_event"].reply
    assert reply is not None
    return reply([event])


def refused(loop: EngineLoop, data: dict[str, Any] | None = None, actor: Actor = MAILER) -> Refused:
    before = len(loop.records)
    with pytest.raises(Refused) as error:
        report(loop, data, actor)
    assert len(loop.records) == before
    return error.value


def nested(depth: int) -> dict[str, Any]:
    found: Any = 1
    for level in range(depth):
        found = [found] if level % 2 and level < depth - 1 else {"a": found}
    assert isinstance(found, dict)
    return found


def test_a_report_is_kept_with_its_sender_and_the_request_it_belongs_to(loop: EngineLoop) -> None:
    assert report(loop, {"took_ms": 1.5}, request_id="r-1").request_id == "r-1"
    drawn = report(loop).request_id
    assert loop.events[0].data == {"took_ms": 1.5} and drawn == loop.events[1].request_id  # type: ignore[attr-defined]
    assert [kind for kind, _, _ in loop.records] == ["engine.reported"] * 2
    assert [(each.actor, each.request_id) for each in loop.state.newest] == [("engine:mailer", "r-1"), ("engine:mailer", drawn)]


def test_data_is_bounded_in_bytes_and_in_depth(loop: EngineLoop) -> None:
    report(loop, {"a": "x" * (DATA_BYTES_MAX - len('{"a":""}'))})
    assert "16,385 bytes; 16,384 is the most" in refused(loop, {"a": "x" * (DATA_BYTES_MAX - len('{"a":""}') + 1)}).detail
    report(loop, nested(DATA_DEPTH_MAX))
    assert refused(loop, nested(DATA_DEPTH_MAX + 1)).code == "invalid-argument"


@pytest.mark.parametrize("bad", [b"bytes", 2**60, "\ud800", {"\n": 1}])
def test_what_a_log_cannot_hold_is_refused_by_name(loop: EngineLoop, bad: Any) -> None:
    error = refused(loop, {"a": bad})
    assert error.code == "invalid-argument" and error.fields[0][0] == "data"


def test_each_sender_has_a_rate_of_its_own_and_is_told_when_to_come_back(loop: EngineLoop) -> None:
    for _ in range(3):
        report(loop)
    loop.run(0.4)
    error = refused(loop)
    assert (error.code, error.reason) == ("resource-exhausted", "rate")
    assert 600 <= error.retry_ms <= 600 + SLOT_US // 1000
    report(loop, actor=PLANNER)
    loop.run((error.retry_ms - 1) / 1000)
    assert refused(loop).retry_ms == 1
    loop.run(0.001)
    for _ in range(3):
        report(loop)
    assert refused(loop).retry_ms >= 1000


@pytest.mark.parametrize("seed", range(6))
def test_no_second_wherever_it_begins_has_more_than_the_rate(loop: EngineLoop, seed: int) -> None:
    """Also not the one across the edge of two, after a burst at the end of the first."""
    random, taken = Random(seed), []
    for _ in range(300):
        loop.run(random.choice((0.0, 0.001, 0.05, 0.3, 0.97)))
        try:
            report(loop)
        except Refused as error:
            assert 0 < error.retry_ms <= 1050
            if random.random() < 0.3:
                loop.run(error.retry_ms / 1000)
                report(loop)  # it is as was said
                taken.append(loop.mono_us)
        else:
            taken.append(loop.mono_us)
    assert len(taken) > 50
    assert all(later - first >= 1_000_000 for first, later in zip(taken, taken[3:], strict=False)), "four within a second"
    assert loop.replayed() == loop.state


def test_a_rate_that_is_set_holds_from_the_next_report_on(loop: EngineLoop) -> None:
    for _ in range(3):
        report(loop)
    loop.settings = Settings(control=Control(events_per_s=4))
    report(loop)
    loop.settings = Settings(control=Control(events_per_s=1))
    assert refused(loop).retry_ms >= 1000


def test_a_restart_forgets_no_pace_and_a_reboot_begins_a_new_second(loop: EngineLoop) -> None:
    for _ in range(3):
        report(loop)
    loop.restart(0.2)
    assert refused(loop).retry_ms >= 800
    loop.restart(reboot=True)
    report(loop)


def test_memory_is_bounded_however_many_report(loop: EngineLoop) -> None:
    for number in range(SENDERS_MAX + 5):
        report(loop, actor=Actor(f"engine:e-{number}", "engine", 5))
    assert len(loop.state.paces) == SENDERS_MAX and "engine:e-4" not in loop.state.paces and "engine:e-5" in loop.state.paces
    assert len(loop.state.newest) == REPORTS_KEPT and loop.state.reports == SENDERS_MAX + 5
    assert loop.replayed() == loop.state
