"""What monitoring is told of requests and decisions: from what happened since somebody looked last, and nothing before."""

from types import SimpleNamespace
from typing import Any

from irerd.energy import DECISIONS_KEPT, LOOK_US, EnergyPorts


def test_a_rate_needs_two_looks_and_decisions_are_told_by_how_many_took_less() -> None:
    now = [0]
    dispatch = SimpleNamespace(foresee={}, timed={}, calls={("eil.sense", "ok"): 5, ("cache.get", "ok"): 900})
    daemon: Any = SimpleNamespace(dispatch=dispatch, host=SimpleNamespace(mono_us=lambda: now[0]))
    ports = EnergyPorts(daemon, None)  # type: ignore[arg-type]
    assert (ports.request_rate(), ports.decision_s(0.99)) == (None, None)
    now[0] = LOOK_US // 2
    assert ports.request_rate() is None, "too soon for a second look"
    now[0] = 2 * LOOK_US
    dispatch.calls |= {("eil.sense", "ok"): 45, ("eil.act", "invalid-argument"): 60, ("cache.get", "ok"): 1_000}
    assert ports.request_rate() == 5.0
    now[0] += 1
    assert ports.request_rate() == 5.0, "another scraper meanwhile is told the same"
    for took_us in range(DECISIONS_KEPT + 100):
        dispatch.timed["eil.act"](took_us)
    assert (ports.decision_s(0.5), ports.decision_s(0.99), ports.decision_s(1)) == (599e-6, 1089e-6, 1099e-6)
