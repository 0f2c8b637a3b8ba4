"""Faults of sensors, planted in what goes through the socket of a real daemon: the checks of section 9 of the design see them there
too, and what they can see nothing of is called vacuous and never a pass."""

from collections.abc import Iterator
from typing import Any

import pytest

from core.times import time_text
from irerctl.client import Client
from tests.e2e.harness import Irerd

np = pytest.importorskip("numpy")
selftest = pytest.importorskip("core.energy.selftest")

BEGIN_US, STEP_US = 1_767_225_600_000_000, 10_000_000
LEARNT, WINDOW = 680, 32
METRICS = ["cpu_usage", "power_draw", "temperature_k", "ambient_k"]
LIMITS = "idle_w = 90.0\nmax_w = 310.0\nsurroundings_k = 298.15\nwarming_k_s = 1.2\n"
PLANTED = ("W as kW", "power × 1.2")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    known = "".join(f"[eil.sources.m{place}]\n{LIMITS}" for place in range(len(PLANTED) + 2))
    irerd = Irerd(tmp_path_factory.mktemp("faults"), f"[eil]\nhorizon_s = {WINDOW * STEP_US / 1e6}\n{known}").start()
    try:
        with irerd.client() as client:
            yield client
    finally:
        irerd.close()


def batch(client: Client, source: str, first: int, readings: list[Any], metrics: list[str] = METRICS) -> None:
    for at in range(0, len(readings), 500):
        some = readings[at : at + 500]
        values = [[each.use, each.power_w, each.kelvin, selftest.SURROUNDINGS] for each in some]
        places = [METRICS.index(name) for name in metrics]
        times = [time_text(BEGIN_US + STEP_US * (first + at + place)) for place in range(len(some))]
        params = {
            "source": source,
            "metrics": metrics,
            "times": times,
            "values": [[row[place] for place in places] for row in values],
        }
        client.call("eil.sense_batch", params)


def claimed(client: Client, source: str, first: int, readings: list[Any], metrics: list[str] = METRICS) -> list[str]:
    """One claim for each moment of the window that follows."""
    ids = []
    for place, each in enumerate(readings, first):
        values = dict(zip(METRICS, [each.use, each.power_w, each.kelvin, selftest.SURROUNDINGS], strict=True))
        told = {name: values[name] for name in metrics}
        params = {"source": source, "timestamp": time_text(BEGIN_US + STEP_US * place), "telemetry": told}
        ids.append(client.call("eil.sense", params).result["prediction_id"])
    return ids


def checks(client: Client, ids: list[str]) -> list[dict[str, str]]:
    found = []
    for id in ids:
        proof = client.call("eil.proof", {"prediction_id": id, "actual_state": {"energy": 1.0, "entropy": 1.0}}).result
        found.append({name: each["outcome"] for name, each in proof["checks"].items()})
    return found


def judged(client: Client, place: int, fault: Any, metrics: list[str] = METRICS) -> list[dict[str, str]]:
    """What the checks say of the window in which the fault began."""
    machine = selftest.machine(np.random.Generator(np.random.Philox(40 + place)))
    source, read = f"m{place}", [next(machine) for _ in range(LEARNT)]
    batch(client, source, 0, read[:-WINDOW], metrics)
    ids = claimed(client, source, LEARNT - WINDOW, read[-WINDOW:], metrics)
    told = []
    for lasts in range(1, WINDOW + 1):
        read.append(next(machine))
        told.append(fault.spoil(read, lasts) if fault is not None else read[-1])
    batch(client, source, LEARNT, told, metrics)
    return checks(client, ids)


def test_a_sound_machine_passes_and_nothing_fails(client: Client) -> None:
    found = judged(client, 0, None)
    assert not any("fail" in each.values() for each in found)
    assert sum(each["energy"] == each["entropy"] == each["feasibility"] == "pass" for each in found) > WINDOW / 2


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_fails(client: Client, name: str) -> None:
    (fault,) = [each for each in selftest.faults([]) if each.name == name]
    assert any("fail" in each.values() for each in judged(client, 1 + PLANTED.index(name), fault))


def test_one_sensor_is_vacuous_all_the_time(client: Client) -> None:
    found = judged(client, len(PLANTED) + 1, None, ["power_draw"])
    assert {(each["energy"], each["entropy"]) for each in found} == {("vacuous", "vacuous")}
