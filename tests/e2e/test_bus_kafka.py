"""The Kafka bridge with librdkafka's mock cluster, a real irerd, and all that can end in between: nothing lost, nothing twice."""

import contextlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.times import time_text
from tests.campaigns import campaign, per_commit
from tests.e2e.bus_peers import Bridge, Cluster, Wire, recorded
from tests.e2e.harness import Irerd

pytest.importorskip("confluent_kafka", reason="NOT TESTED: the Kafka bridge, for confluent-kafka is not installed")
pytestmark = pytest.mark.slow

START_US = 1_767_225_600_000_000
STEP_US = 10_000_000
RULES = """
[[sense]]
topic = "irer.sense"
source = "{key}"
[[act]]
topic = "irer.ask"
reply = "irer.answer"
[[out]]
type = "energy.action_chosen"
topic = "irer.act"
"""
ASKED = {"goal": "minimize_energy", "current_state": {"active_servers": 12, "avg_utilization": 0.68}}


class Plant:
    """Everything between a producer and the log."""

    def __init__(self, place: Path, more: str = "") -> None:
        place.mkdir(exist_ok=True)
        self.irerd = Irerd(place).start()
        self.cluster = Cluster()
        for topic in ("irer.sense", "irer.ask", "irer.answer", "irer.act", "irer.dead"):
            self.cluster.ask("topic", name=topic)
        self._path = str(self.irerd.socket) + ".wire"
        self.to_irerd = Wire(str(self.irerd.socket), self._path)
        text = (
            f'name = "test"\n{more}[kafka]\nbrokers = ["{self.cluster.brokers}"]\nsession_timeout_s = 2\ngroup = "first"\n{RULES}'
        )
        self.bridge = Bridge(place, "kafka", self._path, text).start()
        self.sent: dict[tuple[str, int], float] = {}
        self.records: list[dict[str, str]] = []

    def send(self, samples: list[tuple[str, float]]) -> None:
        records = []
        for source, value in samples:
            count = sum(1 for other, _ in self.sent if other == source)
            time_us = START_US + count * STEP_US
            self.sent[source, time_us] = value
            sample = {"timestamp": time_text(time_us), "telemetry": {"power_draw": value}}
            records.append({"key": source, "value": json.dumps(sample)})
        self.records += records
        self.cluster.produce("irer.sense", records)

    def repeat(self, count: int, rng: random.Random) -> None:
        """The same again, at other offsets, as from a producer that missed its acknowledgement."""
        self.cluster.produce("irer.sense", rng.choices(self.records, k=count))

    def read_again(self, group: str) -> None:
        """Every offset from the first: a group that the cluster has not met has none."""
        text = self.bridge.file.read_text()
        before = next(line for line in text.splitlines() if line.startswith("group = "))
        self.bridge.file.write_text(text.replace(before, f'group = "{group}"'))

    def wait_all(self) -> None:
        """Until every sample is in the log, and the bridge is done with whatever it was given."""
        self.bridge.until(lambda said: len(recorded(self.irerd)) >= len(self.sent) and not said["in_flight"])

    def judge(self) -> None:
        found = recorded(self.irerd)
        assert Counter((source, time_us) for source, time_us, _ in found) == Counter(self.sent.keys()), "lost, or counted twice"
        assert {(source, time_us): value for source, time_us, value in found} == self.sent

    def close(self) -> None:
        self.bridge.close()
        self.to_irerd.close()
        self.cluster.close()
        self.irerd.close()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    with contextlib.closing(made):
        yield made


def hardship(place: Path, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    plant = Plant(place)
    with contextlib.closing(plant):
        met: Counter[str] = Counter()
        for _ in range(4):
            plant.send([(f"rack-{rng.randrange(5)}", float(rng.randrange(100, 400))) for _ in range(rng.randrange(5, 40))])
            plant.repeat(rng.randrange(5), rng)
            event = rng.choice(("broker", "cut-irerd", "irerd", "bridge", "both", "rewind"))
            met[event] += 1
            match event:
                case "broker":
                    plant.cluster.ask("down")
                    plant.cluster.ask("up")
                case "cut-irerd":
                    plant.to_irerd.cut()
                case "irerd":
                    plant.irerd.kill9()
                    plant.irerd.start()
                case "bridge":
                    plant.bridge.kill9()
                    plant.bridge.start()
                case "both":
                    plant.irerd.kill9()
                    plant.bridge.kill9()
                    plant.irerd.start()
                    plant.bridge.start()
                case "rewind":
                    plant.bridge.until(lambda said: True)  # a signal in its first moments would simply end it
                    assert plant.bridge.stop() == 0
                    plant.read_again(f"again-{sum(met.values())}")
                    plant.bridge.start()
        plant.repeat(5, rng)
        plant.wait_all()
        assert plant.bridge.stop() == 0
        plant.judge()
        return dict(met)


def test_whatever_ends_meanwhile_each_sample_is_counted_once(tmp_path):
    for seed in range(per_commit("bus-kafka")):
        hardship(tmp_path / str(seed), seed)


@pytest.mark.campaign
def test_campaign_of_hardships_on_kafka(tmp_path):
    def one(index: int) -> dict[str, int]:
        place = tmp_path / str(index)
        try:
            return hardship(place, index)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    campaign("bus-kafka", one)


def test_what_is_durable_but_not_committed_comes_again_and_is_not_counted_again(plant):
    """The bridge dies before its commit; then irerd dies with its answers unsaid."""
    plant.cluster.ask("spoil_commits", count=1000)
    plant.send([("a", 300.0), ("b", 200.0)])
    plant.bridge.until(lambda said: said["settled"] == 2)
    plant.bridge.kill9()
    assert plant.cluster.ask("committed", group="first", topic="irer.sense") == 0 and len(recorded(plant.irerd)) == 2
    plant.cluster.ask("allow_commits")

    plant.bridge.start()
    said = plant.bridge.until(lambda said: said["settled"] == 2)
    assert (said["repeated"], said["points"]) == (2, 0), "the cluster brought both again, and irerd knew them"

    plant.to_irerd.swallow_answers = True
    plant.send([("a", 310.0), ("b", 210.0)])
    plant.bridge.until(lambda said: len(recorded(plant.irerd)) == 4 and said["in_flight"] == 2)
    plant.irerd.kill9()
    plant.to_irerd.swallow_answers = False
    plant.irerd.start()
    said = plant.bridge.until(lambda said: not said["in_flight"])
    assert said["repeated"] == 4
    assert plant.bridge.stop() == 0
    assert plant.cluster.ask("committed", group="first", topic="irer.sense") == 4
    plant.judge()


def test_reading_pauses_while_too_many_wait_and_bad_records_keep_nobody(tmp_path):
    plant = Plant(tmp_path, more="in_flight_max = 5\n")
    with contextlib.closing(plant):
        plant.bridge.until(lambda said: said["broker"] == "up")
        plant.irerd.kill9()
        plant.send([(f"s{number}", 100.0) for number in range(40)])
        said = plant.bridge.until(lambda said: said["retries"] >= 20)
        assert said["read"] == said["in_flight"] == 5, "the cluster keeps what nobody can take up"
        plant.irerd.start()
        plant.cluster.produce("irer.sense", [{"key": "a", "value": "no json"}, {"value": '{"telemetry": {"power_draw": 1}}'}])
        plant.bridge.until(lambda said: said["settled"] == 42)
        found = {json.loads(record["value"])["reason"] for record in plant.cluster.read("irer.dead", 2)}
        assert found == {"not-json", "no-source"}
        assert plant.bridge.stop() == 0
        assert plant.cluster.ask("committed", group="first", topic="irer.sense") == 42
        plant.judge()


def test_a_request_is_answered_and_what_was_decided_goes_out_though_the_bridge_is_killed(plant):
    asked = {"key": "north", "value": json.dumps(ASKED), "headers": {"correlation_id": "c-1"}}
    plant.cluster.produce("irer.ask", [asked])
    plant.bridge.until(lambda said: said["published"] == 1 and said["requests"] == 1)
    (answer,) = plant.cluster.read("irer.answer", 1)
    (event,) = plant.cluster.read("irer.act", 1)
    told, decided = json.loads(answer["value"]), json.loads(event["value"])
    assert answer["headers"]["correlation_id"] == told["correlation_id"] == "c-1" and answer["key"] == "north"
    assert decided["data"]["action_id"] == told["result"]["action_id"] and event["headers"]["id"] == decided["id"]

    plant.bridge.kill9()
    with plant.irerd.client() as client:
        chosen = [client.call("eil.act", ASKED).result["action_id"] for _ in range(3)]
    plant.cluster.produce("irer.ask", [asked])
    plant.bridge.start()
    plant.bridge.until(lambda said: said["published"] == 3 and said["requests"] >= 1)
    came = [json.loads(record["value"])["data"]["action_id"] for record in plant.cluster.read("irer.act", 4)]
    assert came == [told["result"]["action_id"], *chosen], "in order, from where it was"
    assert json.loads(plant.cluster.read("irer.answer", 2)[1]["value"]) == told, "the same request is the same decision"
