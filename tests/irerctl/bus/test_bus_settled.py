"""Nothing is acknowledged or committed before irerd has said that it is on disk, on either bus."""

import json
from typing import Any

import msgspec
import pytest
import trio

from irerctl.aio import Error, Reply
from irerctl.bus.broker import Message
from irerctl.bus.counts import Counts
from irerctl.bus.run import Bridge, Lanes
from irerctl.bus.settings import Settings

SETTINGS = {
    "name": "b",
    "sense": [{"topic": "irer.sense", "source": "{document}"}],
    "act": [{"topic": "irer.ask", "reply": "irer.act"}],
}
SAMPLE = {"source": "a", "timestamp": "2026-01-01T00:00:00Z", "telemetry": {"power_draw": 1.0}}
REQUEST = {"correlation_id": "r", "goal": "minimize_energy", "current_state": {"active_servers": 2, "avg_utilization": 0.5}}


class Slow:
    """A daemon that answers, and a broker that takes answers, when the test says so."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked, self.durable = trio.Event(), trio.Event()
        self.offered, self.taken = trio.Event(), trio.Event()

    async def ask(self, ask: Any) -> Any:
        self.asked.set()
        await self.durable.wait()
        return self.answer

    async def publish(self, many: Any) -> None:
        self.offered.set()
        await self.taken.wait()


@pytest.mark.parametrize(
    ("topic", "body", "answer", "goes_out"),
    [
        ("irer.sense", SAMPLE, Reply({"accepted": 1}, None, False, None), False),
        ("irer.sense", SAMPLE, Error("invalid-argument", reason="older"), True),
        ("irer.ask", REQUEST, Reply({"action_id": "x"}, None, False, None), True),
    ],
    ids=["sample", "dead letter", "request"],
)
async def test_no_offset_is_committed_before_it_is_durable(autojump_clock, topic, body, answer, goes_out):
    pytest.importorskip("confluent_kafka", reason="NOT TESTED: the Kafka bridge, for confluent-kafka is not installed")
    from irerctl.bus.kafka import KafkaBroker

    settings = msgspec.convert({**SETTINGS, "kafka": {"brokers": ["127.0.0.1:9"]}}, Settings)
    broker: Any = KafkaBroker(settings, [])
    broker._offsets.assign([("irer.sense", 0), ("irer.ask", 0)])
    slow = Slow(answer)
    broker.publish = slow.publish
    bridge = Bridge(settings, broker, slow, Counts())
    record: Any = type("Record", (), {"topic": lambda _: topic, "partition": lambda _: 0, "offset": lambda _: 7})()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            bridge.lanes = Lanes(nursery)
            broker._take_one(record, Message(topic, json.dumps(body).encode()), bridge.take)
            await slow.asked.wait()
            await trio.sleep(10)
            assert broker._offsets.due() == {}, "irerd has not answered yet"
            slow.durable.set()
            if goes_out:
                await slow.offered.wait()
                await trio.sleep(10)
                assert broker._offsets.due() == {}, "the broker has not taken yet what this led to"
            slow.taken.set()
            await bridge.lanes.empty.wait()
    assert broker._offsets.due() == {(topic, 0): 8}
