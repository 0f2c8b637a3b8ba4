"""A simulated machine is recognised, what is none is not, and a fault is no reason to believe something else."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from core.energy import node
from core.energy.node import Node, Step

RESISTANCE, CAPACITY, SECONDS, AMBIENT = 0.105, 600.0, 10.0, 298.15
Reading = tuple[float, float, float]
Fault = Callable[[Reading], Reading]


def readings(steps: int, seed: int, seconds: float = SECONDS) -> Iterator[Reading]:
    """Time, watts and kelvin of a machine under load that comes and goes; its thermometer counts whole kelvins."""
    chance = np.random.default_rng(seed)
    a = math.exp(-seconds / (RESISTANCE * CAPACITY))
    theta, load = RESISTANCE * 200, 0.0
    for step in range(steps):
        load = 0.9 * load + 0.43 * float(chance.normal())
        watts = 200 + 80 * math.tanh(load)
        kelvin = AMBIENT + theta + 0.3 * float(chance.normal())
        yield step * seconds, watts * (1 + 0.005 * float(chance.normal())), float(np.round(kelvin))
        theta = a * theta + RESISTANCE * (1 - a) * watts


def lived(points: Iterator[Reading], start: Node | None = None, fault: Fault | None = None) -> tuple[Node, list[Step]]:
    known, steps = start or Node(), []
    for reading in points:
        time, watts, kelvin = fault(reading) if fault else reading
        known, judged = node.step(known, time, watts, kelvin, AMBIENT)
        steps.append(judged)
    return known, steps


def test_resistance_and_capacity_are_found() -> None:
    found = []
    for seed in range(4):
        known, steps = lived(readings(1_500, seed))
        constants = node.constants(known)
        assert constants is not None
        found.append(constants)
        assert sum(not step.vacuous for step in steps) > 1_200
    assert np.mean([each[0] for each in found]) == pytest.approx(RESISTANCE, rel=0.02)
    assert np.mean([each[1] for each in found]) == pytest.approx(CAPACITY, rel=0.06)


def test_plain_regression_would_have_taken_noise_for_cooling() -> None:
    points = list(readings(3_000, 1))
    theta = np.array([point[2] - AMBIENT for point in points])
    watts = np.array([point[1] for point in points])
    plain, *_ = np.linalg.lstsq(np.stack([theta[:-1], watts[:-1]], axis=1), theta[1:], rcond=None)
    known, _ = lived(iter(points))
    found = node.solved(known)
    assert found is not None
    truth = math.exp(-SECONDS / (RESISTANCE * CAPACITY))
    assert abs(found[0] - truth) < 0.5 * abs(float(plain[0]) - truth)


def test_a_step_longer_than_five_time_constants_leaves_nothing_behind() -> None:
    known, _ = lived(readings(1_500, 2, seconds=400.0))
    found = node.solved(known)
    assert found is not None and found[0] == 0 and found[1] == pytest.approx(RESISTANCE, rel=0.02)
    assert node.identified(known)
    constants = node.constants(known)
    assert constants is not None and math.isnan(constants[1])


@pytest.mark.parametrize("seed", range(6))
def test_white_noise_is_no_machine(seed: int) -> None:
    chance = np.random.default_rng(seed)
    points = ((step * SECONDS, 200 + 50 * float(chance.normal()), 320 + 3 * float(chance.normal())) for step in range(1_500))
    _, steps = lived(points)
    assert sum(not step.vacuous for step in steps) <= 0.01 * len(steps)


def test_a_temperature_that_power_does_not_explain_is_no_machine() -> None:
    chance = np.random.default_rng(3)
    theta = 20.0
    known, told = Node(), 0
    for step in range(2_000):
        theta = 20 + 0.9 * (theta - 20) + float(chance.normal())
        known, judged = node.step(known, step * SECONDS, 200 + 50 * math.sin(step / 40), AMBIENT + theta, AMBIENT)
        told += not judged.vacuous
    assert told <= 20


def test_a_sound_machine_is_sound() -> None:
    known, steps = lived(readings(3_000, 5))
    judged = [step for step in steps if not step.vacuous]
    assert np.mean([abs(step.residual_j) > 4 * step.sigma_j for step in judged]) <= 0.002
    assert np.mean([abs(step.mean_j) > 4 * step.mean_sigma_j for step in judged]) <= 0.002
    assert all(step.entropy_j_k >= -3 * step.entropy_sigma for step in judged)
    assert node.coherence(known) == 1.0
    fidelity = node.fidelity(known)
    assert fidelity is not None and 0.8 < fidelity < 1


def test_entropy_is_unmade_where_the_sensor_of_the_power_is_turned_round() -> None:
    """From the thermometer alone it would hold whatever the power sensor says: a check that cannot fail is none."""
    points = list(readings(1_100, 6))
    known, _ = lived(iter(points[:1_000]))
    _, (_, *steps) = lived(iter(points[1_000:1_032]), known, FAULTS["sign"])
    judged = [step for step in steps if not step.vacuous]
    assert len(judged) >= 8 and all(step.entropy_j_k < -3 * step.entropy_sigma for step in judged)


FAULTS: dict[str, Fault] = {
    "power in kW": lambda point: (point[0], point[1] / 1000, point[2]),
    "sign": lambda point: (point[0], -point[1], point[2]),
    "power × 1.2": lambda point: (point[0], 1.2 * point[1], point[2]),
    "temperature + 2 K": lambda point: (point[0], point[1], point[2] + 2),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen_within_32_steps_and_not_learnt(name: str) -> None:
    caught = 0
    for seed in range(8):
        points = list(readings(1_200, 20 + seed))
        known, _ = lived(iter(points[:1_000]))
        after, steps = lived(iter(points[1_000:1_032]), known, FAULTS[name])
        caught += any(abs(step.residual_j) > 4 * step.sigma_j or abs(step.mean_j) > 4 * step.mean_sigma_j for step in steps)
        before, now = node.solved(known), node.solved(after)
        assert before is not None and now is not None
        assert now[1] == pytest.approx(before[1], rel=0.1)
    assert caught >= 7


def test_nothing_was_judged_before_there_was_something_to_judge_with() -> None:
    known, steps = lived(readings(40, 1))
    assert {step.vacuous for step in steps} == {"no-step", "not-identified"}
    assert node.fidelity(known) is None and node.coherence(known) is None and node.constants(known) is None


def test_an_uneven_step_is_vacuous_and_not_learnt_from() -> None:
    points = list(readings(400, 1))
    known, _ = lived(iter(points))
    last = points[-1][0]
    after, judged = node.step(known, last + 4 * SECONDS, 200.0, 320.0, AMBIENT)
    assert judged.vacuous == "uneven-step" and after.fit == known.fit
    same, judged = node.step(known, last, 200.0, 320.0, AMBIENT)
    assert judged.vacuous == "no-step" and same == known


def test_modelled_power_says_how_sure_it_is() -> None:
    table = [100.0 + 15 * point for point in range(11)]
    assert node.power_from_table(0.55, table) == (pytest.approx(182.5), pytest.approx(0.03 * 182.5))
    assert node.power_from_table(1.7, table).watts == 250 and node.power_from_table(-1, table).watts == 100
    assert node.power_from_ends(0.5, 100, 300) == (200, pytest.approx(16))


def test_parts_of_idle_power_sum_to_the_whole() -> None:
    parts = node.shared(100.0, [1, 1, 1])
    assert math.fsum(parts) == 100.0 and parts[0] == pytest.approx(100 / 3)
    assert node.shared(90.0, [0, 0, 0]) == (30, 30, 30)
    assert node.shared(90.0, []) == ()


def test_a_surrogate_orders_and_is_nought_where_nothing_varies() -> None:
    assert node.surrogate_energy(3.0, 1.5) == 2.0
    assert node.surrogate_energy(3.0, 0.0) == 0.0
