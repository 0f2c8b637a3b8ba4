"""What goes out: the cursor that is saved is never ahead of what the broker has."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from irerctl.aio import Error
from irerctl.bus.broker import NotTaken, Outgoing, TooLarge
from irerctl.bus.counts import Counts
from irerctl.bus.out import BATCH_MAX, QUIET_S, Follower
from irerctl.bus.settings import Out, Settings
from irerctl.session import Failure

RULE = Out(type="energy.source_lost", topic="out/{source}")


class Log:
    """A daemon whose log grows at the test's word. Its cursor is the place of the next record."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.grown = trio.Event()
        self.asked: list[dict[str, Any]] = []
        self.refusals: list[Error] = []
        self.followed = trio.Event()

    def add(self, count: int) -> None:
        self.records += [f"s{len(self.records) + number}" for number in range(count)]
        self.grown.set()
        self.grown = trio.Event()

    def stream(self, method: str, params: dict[str, Any]) -> "Stream":
        self.asked.append(params)
        return Stream(self, int(params.get("since", len(self.records))))


class Stream:
    def __init__(self, log: Log, place: int) -> None:
        self._log = log
        self._place = place
        self.cursor: str | None = str(place)

    async def __aenter__(self) -> "Stream":
        if self._log.refusals:
            raise self._log.refusals.pop()
        self._log.followed.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> dict[str, Any]:
        while self._place >= len(self._log.records):
            await self._log.grown.wait()
        await trio.lowlevel.checkpoint()
        place, self._place = self._place, self._place + 1
        self.cursor = str(self._place)
        data = {"source": self._log.records[place]}
        return {"type": RULE.type, "log": "energy_log", "seq": place, "time": "2026-01-01T00:00:00Z", "data": data}


class Broker:
    """Takes what it is given after a while; looks at the saved cursor whenever anything happens."""

    def __init__(self, file: Path, rng: random.Random, delay_s: float = 3.0) -> None:
        self._delay_s = delay_s
        self.has: list[str] = []
        self._grown = trio.Event()
        self._file = file
        self._rng = rng

    async def publish(self, many: Sequence[Outgoing]) -> None:
        assert 0 < len(many) <= BATCH_MAX
        for _ in range(self._rng.randrange(4) if self._delay_s else 0):
            self.judge()
            await trio.sleep(self._rng.random() * self._delay_s)
        self.judge()
        self.has += [each.topic.removeprefix("out/") for each in many]
        self._grown.set()
        self._grown = trio.Event()

    async def wait_last(self, last: str) -> None:
        while self.has[-1:] != [last]:
            await self._grown.wait()

    def judge(self) -> None:
        if self._file.exists():
            assert int(self._file.read_text()) <= len(self.has), "an event would be lost if the bridge ended now"


@pytest.fixture
def at_once(monkeypatch):
    """Files are written in the loop itself: the clock of these tests would run on while a thread writes."""

    async def run_sync(function: Callable[[], None]) -> None:
        await trio.lowlevel.checkpoint()
        function()

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


class Punctual(Stream):
    """Each record comes at the very moment at which the follower finds that nothing came."""

    async def __anext__(self) -> dict[str, Any]:
        self._log.add(1)
        await trio.sleep_until((self._place + 1) * QUIET_S)
        self._place += 1
        self.cursor = str(self._place)
        return {"type": RULE.type, "log": "energy_log", "seq": self._place, "time": "", "data": {"source": f"s{self._place - 1}"}}


async def test_what_comes_at_the_last_moment_is_not_passed_over(tmp_path, autojump_clock, at_once, monkeypatch):
    file = tmp_path / f"{RULE.type}.cursor"
    file.write_text("0\n")
    log, broker = Log(), Broker(file, random.Random(0), delay_s=0)
    monkeypatch.setattr(log, "stream", lambda method, params: Punctual(log, int(params["since"])))
    async with trio.open_nursery() as nursery:
        await nursery.start(follow, tmp_path, log, broker)
        for _ in range(100):
            await trio.sleep(QUIET_S)
            broker.judge()
        nursery.cancel_scope.cancel()


async def follow(folder: Path, log: Log, broker: Broker, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    await Follower(RULE, "b", folder, broker, Counts(), "dead").run(log, task_status=task_status)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
async def test_the_saved_cursor_is_never_ahead_of_the_broker(tmp_path, autojump_clock, at_once, seed):
    rng, log = random.Random(seed), Log()
    broker = Broker(tmp_path / f"{RULE.type}.cursor", rng)
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(follow, tmp_path, log, broker)
            for _ in range(rng.randrange(1, 6)):
                log.add(rng.randrange(1, 2 * BATCH_MAX))
                with trio.move_on_after(rng.choice((0.0, 0.5, 0.999, 1.0, 1.001, 4.0))):
                    await trio.sleep_forever()
                broker.judge()
            nursery.cancel_scope.cancel()
        broker.has = log.records[: int((tmp_path / f"{RULE.type}.cursor").read_text())]
    async with trio.open_nursery() as nursery:
        await nursery.start(follow, tmp_path, log, broker)
        log.add(1)
        await broker.wait_last(log.records[-1])
        nursery.cancel_scope.cancel()
    assert broker.has == log.records, "in order, and from where it was"


async def test_a_log_that_no_longer_reaches_back_is_told_and_followed_from_now(tmp_path, autojump_clock, at_once):
    (tmp_path / f"{RULE.type}.cursor").write_text("7\n")
    log, counts = Log(), Counts()
    log.add(20)
    log.refusals.append(Error("compacted"))
    broker = Broker(tmp_path / "none", random.Random(0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Follower(RULE, "b", tmp_path, broker, counts, "dead").run, log)  # type: ignore[arg-type]
        await log.followed.wait()
        log.add(1)
        await broker.wait_last("s20")
        nursery.cancel_scope.cancel()
    assert counts.gaps == 1 and broker.has == ["s20"] and "since" not in log.asked[1]


class Narrow(Broker):
    """Has no room for one of them; of what is put aside it takes none if `shut`."""

    def __init__(self, file: Path, large: str, shut: bool) -> None:
        super().__init__(file, random.Random(0), delay_s=0)
        self._large, self._shut = large, shut
        self.dead: list[dict[str, Any]] = []

    async def publish(self, many: Sequence[Outgoing]) -> None:
        if many[0].topic == "dead":
            if self._shut:
                raise NotTaken("topic authorization failed")
            self.dead += [json.loads(each.payload) for each in many]
            return
        if large := [each for each in many if each.topic == f"out/{self._large}"]:
            raise TooLarge("broker: message size too large", large[0])
        await super().publish(many)


@pytest.mark.parametrize("shut", [False, True])
async def test_an_event_too_large_for_the_broker_is_put_aside_and_holds_up_none(tmp_path, autojump_clock, at_once, caplog, shut):
    file = tmp_path / f"{RULE.type}.cursor"
    file.write_text("0\n")
    log, counts, broker = Log(), Counts(), Narrow(tmp_path / "none", "s1", shut)
    log.add(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Follower(RULE, "b", tmp_path, broker, counts, "dead").run, log)  # type: ignore[arg-type]
        with trio.fail_after(3_600):
            await broker.wait_last("s2")
            await trio.sleep(QUIET_S)
        nursery.cancel_scope.cancel()
    assert file.read_text() == "3\n"
    assert broker.has == ["s0", "s2"] and (counts.published, counts.dead, counts.not_taken) == (2, 1, 1 + shut)
    put_aside = [(each["reason"], each["id"], each["topic"]) for each in broker.dead]
    assert put_aside == ([] if shut else [("too-large", "energy_log:1", "out/s1")])
    assert "energy_log:1 is too large" in caplog.text


async def test_kafka_says_which_one_was_too_large():
    pytest.importorskip("confluent_kafka", reason="NOT TESTED: the Kafka bridge, for confluent-kafka is not installed")
    from irerctl.bus.kafka import KafkaBroker

    settings = msgspec.convert({"name": "b", "kafka": {"brokers": ["127.0.0.1:9"]}}, Settings)
    large = Outgoing("out", bytes(1_100_000))
    with pytest.raises(TooLarge) as refused:
        await KafkaBroker(settings, []).publish([large])
    assert refused.value.which is large


async def test_mqtt_sends_nothing_larger_than_the_broker_said_it_takes(autojump_clock):
    pytest.importorskip("paho.mqtt", reason="NOT TESTED: the MQTT bridge, for paho-mqtt is not installed")
    from irerctl.bus.mqtt import MqttBroker

    broker: Any = MqttBroker(msgspec.convert({"name": "b", "mqtt": {"host": "127.0.0.1", "tls": False}}, Settings), [])
    sent: list[Any] = []
    broker._client = SimpleNamespace(publish=lambda topic, *_, **__: sent.append(topic) or SimpleNamespace(rc=0, mid=len(sent)))
    broker._token = trio.lowlevel.current_trio_token()
    large = Outgoing("large", bytes(300), id="1")
    with trio.move_on_after(60):
        await broker.publish([large])
    assert not sent, "what it takes is not known yet"
    broker._connected(None, None, None, SimpleNamespace(is_failure=False), SimpleNamespace(MaximumPacketSize=300))
    with pytest.raises(TooLarge) as refused:
        await broker.publish([Outgoing("small", b"1"), large])
    assert refused.value.which is large and not sent
    with trio.move_on_after(60):
        await broker.publish([Outgoing("small", b"1")])
    assert sent == ["small"]


@pytest.mark.parametrize(("code", "said"), [("not-found", "energy.source_lost"), ("invalid-argument", "cursor")])
async def test_what_waiting_does_not_mend_ends_the_bridge_with_a_reason(tmp_path, code, said):
    log = Log()
    log.refusals.append(Error(code))
    with pytest.raises(Failure) as refused:
        await follow(tmp_path, log, Broker(tmp_path / "none", random.Random(0)))
    assert said in refused.value.body["detail"] and refused.value.body["help"]
