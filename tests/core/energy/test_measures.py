"""What monitoring is told of energy intelligence: nothing without evidence, and then what sources and proofs say."""

import pytest

from core.energy import standing
from tests.core.energy.eil_loop import BEGIN_US, EilLoop, machine


def test_a_measure_says_nothing_before_there_is_evidence_and_then_what_the_sources_say() -> None:
    loop = EilLoop()
    empty = standing.measures(loop.state)
    assert (empty.conservation_error, empty.coherence, empty.valid) == (None, None, None)
    assert empty.regimes == {"learning": 0, "stable": 0, "drifting": 0, "transition": 0, "unstable": 0}
    points = list(machine(500))
    metrics = list(points[0])
    times = [BEGIN_US + 10_000_000 * place for place in range(len(points))]
    told = {"source": "m", "metrics": metrics, "times": times, "values": [[each[metric] for metric in metrics] for each in points]}
    loop.get("sense_batch", told)
    loop.sense(0, "other", x=1.0)
    found = standing.measures(loop.state)
    row = standing._whole(loop.state, "m")
    assert row.energy_fidelity is not None and found.conservation_error == pytest.approx(1 - row.energy_fidelity)
    assert found.coherence == row.entropy_coherence and 0 < found.conservation_error < 1
    assert sum(found.regimes.values()) == 2 and found.regimes["learning"] == 1
    assert found.transitions == loop.state.sources["m"].shifts
    loop.state.claims.verdicts.update(valid=3, invalid=1, vacuous=40)
    assert standing.measures(loop.state).valid == 0.75, "what could not be judged counts for nothing"
