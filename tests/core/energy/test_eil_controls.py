"""Rules of energy intelligence broken on purpose, each noticed by the test that is meant for it; whole, every one of them holds.

Raw values for residuals, and residuals for their ranks, are in test_regimes.py. Φ from its own window turns test_diagnostics.py red
(what forgets ever more slowly is seen), and an offset that is committed before it is durable tests/irerctl/bus/test_bus_settled.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import detect, score
from core.energy import act, node, pricing, proof, unusual
from core.micro import MICRO
from tests.core.energy import test_act, test_node, test_pricing, test_proof, test_unusual

Patch = pytest.MonkeyPatch


def entropy_of_the_same_sensor(patch: Patch) -> Callable[[], None]:
    """Σ from what the thermometer says runs off, instead of what the other sensor says comes in."""
    whole = node._entropy

    def alone(known: node.Node, a: float, b: float, seconds: float, ambient_k: float) -> tuple[float, float]:
        return whole(known._replace(power=known.theta * (1 - a) / b), a, b, seconds, ambient_k)

    patch.setattr(node, "_entropy", alone)
    return test_node.test_entropy_is_unmade_where_the_sensor_of_the_power_is_turned_round


def mint_for_every_gain(patch: Patch) -> Callable[[], None]:
    """Luck would be paid for ever."""
    whole = proof.lifted
    patch.setattr(proof, "lifted", lambda gained, most, gain: (*whole(gained, most, gain)[:2], max(gain, 0.0)))
    patch.setattr(test_proof, "lifted", proof.lifted, raising=False)
    return test_proof.test_luck_earns_next_to_nothing_and_skill_does


def heat_as_a_second_cost(patch: Patch) -> Callable[[], None]:
    """T₀ΔS is the energy that is lost, again."""
    whole = act._terms

    def twice(*told: Any) -> act.Terms:
        terms = whole(*told)
        return terms._replace(entropy_j=terms.entropy_j + 0.9 * terms.energy_j)

    patch.setattr(act, "_terms", twice)
    return test_act.test_the_price_of_uncertainty_knows_nothing_of_heat


def discount_for_who_sells(patch: Patch) -> Callable[[], None]:
    whole = pricing.total_micro

    def kind(side: pricing.Side, quantity_micro: int, list_micro: int, discount_ppm: int = 0) -> int:
        total = whole(side, quantity_micro, list_micro, discount_ppm)
        return total if side == "buy" else total * (pricing.PPM + discount_ppm) // pricing.PPM

    patch.setattr(test_pricing, "total_micro", kind)
    meant_for_it: Any = test_pricing.test_an_order_costs_its_tiers_less_the_discount_and_less_than_a_micro_unit_more
    return lambda: meant_for_it.hypothesis.inner_test(MICRO, MICRO, pricing.REPUTATION_PPM_MAX)


def threshold_of_each_file(patch: Patch) -> Callable[[], None]:
    whole = detect.told

    def suited(scores: detect.Floats) -> list[int]:
        patch.setattr(unusual, "STREAM_THRESHOLD", float(np.quantile(scores, 0.99)) / 2)
        return whole(scores)

    patch.setattr(detect, "told", suited)
    return lambda: test_unusual.test_one_threshold_holds_for_every_file(1)


def missed_windows_cost_nothing(patch: Patch) -> Callable[[], None]:
    whole = score._nab_one
    patch.setattr(score, "_nab_one", lambda windows, told, ticks: whole(windows if told else [], told, ticks))
    return test_unusual.test_a_missed_window_a_late_find_and_a_false_alarm_all_cost


@pytest.mark.parametrize(
    "broken",
    [
        entropy_of_the_same_sensor,
        mint_for_every_gain,
        heat_as_a_second_cost,
        discount_for_who_sells,
        threshold_of_each_file,
        missed_windows_cost_nothing,
    ],
)
def test_a_broken_rule_of_energy_intelligence_is_noticed(broken: Callable[[Patch], Callable[[], None]], monkeypatch: Patch) -> None:
    meant_for_it = broken(monkeypatch)
    with pytest.raises(AssertionError):
        meant_for_it()
