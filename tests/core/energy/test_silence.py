"""Rules of silence: a source that stops is told once, by a timer of our own; history, restarts, clocks that jump are no silence."""

import pytest

from core.energy.facts import SourceLost
from core.energy.silence import Woke
from core.engine import Refused
from tests.core.energy.eil_loop import BEGIN_US, EilLoop, settings, time_of


def speaking(loop: EilLoop, times: int, step_s: float = 10.0, source: str = "m") -> None:
    for place in range(times):
        loop.run(step_s)
        now(loop, source, power_draw=100.0 + place % 3, x=1.0)


def now(loop: EilLoop, source: str = "m", **telemetry: float):  # type: ignore[no-untyped-def]
    return loop.get("sense", {"source": source, "telemetry": telemetry})


@pytest.mark.parametrize(("step_s", "silent_s"), [(1.0, 60), (10.0, 80), (600.0, 4_800), (40_000.0, 86_400)])
def test_a_source_is_lost_after_eight_of_its_pauses_within_bounds_and_once(step_s: float, silent_s: float) -> None:
    loop = EilLoop()
    speaking(loop, 10, step_s)
    loop.run(silent_s - 0.5)
    assert not loop.of(SourceLost)
    loop.run(1)
    [lost] = loop.of(SourceLost)
    assert (lost.metrics, lost.reason, lost.silent_s) == (["power_draw", "x"], "all-silent", pytest.approx(silent_s))
    loop.run(10 * silent_s)
    assert len(loop.of(SourceLost)) == 1 and not loop.wanted()[0]
    assert loop.replayed() == loop.state


def test_what_rests_on_it_is_worth_less_and_its_next_points_say_that_it_is_back() -> None:
    loop = EilLoop()
    speaking(loop, 10)
    assert now(loop, power_draw=100.0).back == []
    loop.run(200)
    row = loop.look("regime_status", {"source": "m"}).sources[0]
    assert row.lost == ["power_draw", "x"] and row.energy_state.total_energy_provenance == "surrogate"
    assert loop.look("health").status == "degraded" and loop.look("health").lost == ["m"]
    claim = loop.get("predict", {"source": "m", "horizon_s": 77})
    assert not loop.state.claims.open["m"].held(claim.prediction_id).claim.measured
    half = now(loop, x=1.0)
    assert (half.back, half.energy_state.total_energy_provenance) == (["x"], "surrogate"), "the power is still silent"
    whole = now(loop, power_draw=100.0)
    assert (whole.back, whole.energy_state.total_energy_provenance) == (["power_draw"], "measured")
    assert loop.look("health").status == "ok" and loop.state.sources["m"].lost == []
    loop.run(86_400)
    assert len(loop.of(SourceLost)) == 2, "a second silence is told too"


def test_a_metric_that_only_says_again_what_is_known_is_not_back() -> None:
    loop = EilLoop()
    for place in range(10):
        loop.sense(10 * place, power_draw=100.0, x=float(place))
    for place in range(10, 30):
        answer = loop.sense(10 * place, x=float(place))
    assert answer.energy_state.total_energy_provenance == "surrogate", "also the answer that tells of it"
    again = loop.sense(90, power_draw=100.0)
    assert (again.repeated, again.back) == (1, []) and loop.state.sources["m"].lost == ["power_draw"]


def test_history_and_sources_without_a_rhythm_end_without_being_lost() -> None:
    loop = EilLoop()
    for place in range(20):
        loop.run(10)
        loop.get("sense", {"source": "past", "timestamp": time_of(10 * place - 90 * 86_400), "telemetry": {"x": 1.0}})
    speaking(loop, 7, source="seldom")
    times = [BEGIN_US + 1_000_000 * place for place in range(2_000)]
    loop.get("sense_batch", {"source": "one", "metrics": ["x"], "times": times, "values": [[1.0]] * 2_000})
    loop.run(1_000_000)
    assert not loop.of(SourceLost)


def test_what_irer_could_not_hear_is_no_silence() -> None:
    loop = EilLoop()
    speaking(loop, 10)
    loop.restart(down_s=3_600)
    rhythm = loop.state.sources["m"].pause_us
    assert loop.of(Woke)
    loop.run(79)
    assert not loop.of(SourceLost)
    now(loop, power_draw=100.0)
    assert not loop.of(SourceLost), "nor of a metric that only has not had its turn yet"
    assert (rhythm, loop.state.sources["m"].pause_us) == (10_000_000, 79_000_000), "and no pause of the source"
    loop.run(632)
    assert loop.of(SourceLost)[0].silent_s == pytest.approx(632)
    loop.restart(down_s=10, reboot=True, wall_jump_s=1e6)
    assert len(loop.of(Woke)) == 1, "nobody is waited for, so nothing is said"
    assert loop.replayed() == loop.state


def test_a_clock_that_jumps_makes_nobody_silent() -> None:
    loop = EilLoop()
    speaking(loop, 10)
    for jump_s in (1e7, -2e7):
        loop.wall_us += round(jump_s * 1e6)
        loop.run(39)
    assert not loop.of(SourceLost)
    loop.run(3)
    assert len(loop.of(SourceLost)) == 1


def test_bursts_are_a_rhythm_too_and_a_source_given_up_is_not_waited_for() -> None:
    loop = EilLoop(settings(streams_max=4))
    for _ in range(5):
        loop.run(600)
        speaking(loop, 10, 0.5)
    assert len(loop.of(SourceLost)) == 1, "its pauses are ten minutes long, which was not known at first"
    loop.run(3_600)
    lost = len(loop.of(SourceLost))
    now(loop, "other", a=1.0, b=1.0, c=1.0)
    assert "m" not in loop.state.sources
    loop.run(1e6)
    assert len(loop.of(SourceLost)) == lost
    with pytest.raises(Refused):
        loop.get("predict", {"source": "m"})


def test_a_silence_of_long_ago_is_no_ill_health() -> None:
    loop = EilLoop()
    speaking(loop, 10)
    loop.run(100)
    assert loop.look("health").status == "degraded"
    loop.run(86_500)
    assert loop.look("health").status == "ok" and loop.look("regime_status").sources[0].lost
