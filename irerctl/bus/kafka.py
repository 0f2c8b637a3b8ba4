"""Kafka: records are committed only up to the first that irerd has not answered for, and reading pauses while too many wait."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Record

from irerctl.bus.broker import Message, NotTaken, Outgoing, TooLarge
from irerctl.bus.desk import pause_s
from irerctl.bus.offsets import Offsets
from irerctl.bus.settings import Kafka, Settings, secret
from irerctl.bus.topics import Pattern

LOG = logging.getLogger("irerctl.bus")
POLL_S = 0.1
RECORDS_AT_ONCE = 100
COMMIT_S = 0.2
LATE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION})
"""What asking again does not mend."""


class KafkaBroker:
    """A consumer of one group and a producer, each of which librdkafka connects again by itself."""

    def __init__(self, settings: Settings, patterns: Sequence[Pattern]) -> None:
        assert settings.kafka is not None
        self.state = "connecting"
        self._settings = settings
        self._topics = sorted({each.levels[0] if len(each.levels) == 1 else "/".join(each.levels) for each in patterns})
        self._offsets = Offsets()
        self._open = 0
        self._taking = True
        self._paused = False
        self._commit_at = 0.0
        common = common_settings(settings.kafka, f"irer-{settings.name}", self._failed)
        self._producer_settings = {**common, "enable.idempotence": True, "linger.ms": 5, "delivery.timeout.ms": 30_000}
        self._producer = Producer(self._producer_settings, logger=LOG)
        self._consumer_settings = {
            **common,
            "group.id": settings.kafka.group or f"irer-{settings.name}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": round(settings.kafka.session_timeout_s * 1000),
            "heartbeat.interval.ms": round(settings.kafka.session_timeout_s * 1000 / 10),
        }

    async def run(self, take: Callable[[Message], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        if not self._topics:
            await trio.sleep_forever()
        consumer = Consumer(self._consumer_settings, logger=LOG)
        consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        try:
            while True:
                records = await trio.to_thread.run_sync(partial(self._poll, consumer))
                for record, message in records:
                    self._take_one(record, message, take)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(partial(self._leave, consumer))

    def settle(self, message: Message) -> None:
        self._open -= 1
        self._offsets.settle(message.handle)

    def stop_taking(self) -> None:
        self._taking = False

    async def publish(self, many: Sequence[Outgoing]) -> None:
        waiting = list(many)
        failures = 0
        while waiting:
            reports: list[tuple[Outgoing, KafkaError | None]] = []
            for each in waiting:
                await self._produce(each, reports)
            while len(reports) < len(waiting):
                await trio.to_thread.run_sync(self._producer.flush, POLL_S)
            errors = {id(each): error for each, error in reports if error is not None}
            for each, error in reports:
                if error is None:
                    continue
                if error.code() in LATE:
                    raise _not_taken(error, each)
                self._failed(error)
                if error.fatal():
                    self._producer = Producer(self._producer_settings, logger=LOG)
            waiting = [each for each in waiting if id(each) in errors]
            if waiting:
                failures += 1
                await trio.sleep(pause_s(failures, None))
        if many:
            self.state = "up"

    async def _produce(self, one: Outgoing, reports: list[tuple[Outgoing, KafkaError | None]]) -> None:
        named = {"id": one.id, "correlation_id": one.correlation}
        headers: list[tuple[str, str | bytes | None]] = [
            (name, value.encode()) for name, value in named.items() if value is not None
        ]

        def told(error: KafkaError | None, _: Record) -> None:
            reports.append((one, error))

        while True:
            try:
                self._producer.produce(one.topic, one.payload, key=one.key, headers=headers, on_delivery=told)
                return
            except BufferError:
                await trio.to_thread.run_sync(self._producer.poll, POLL_S)
            except KafkaException as problem:
                raise _not_taken(problem.args[0], one) from None

    # What runs in a thread

    def _poll(self, consumer: Consumer) -> list[tuple[Record, Message]]:
        self._breathe(consumer)
        self._commit(consumer)
        first = consumer.poll(POLL_S)
        room = max(0, min(RECORDS_AT_ONCE, self._settings.in_flight_max - self._open) - 1)
        records = [first] if first is not None else []
        if records and room:
            records += consumer.consume(room, 0)
        found = []
        for record in records:
            if (error := record.error()) is not None:
                self._failed(error)
            elif self._taking:
                found.append((record, _message(record)))
        if found and self.state != "up":
            self.state = "up"
        return found

    def _breathe(self, consumer: Consumer) -> None:
        """Reading pauses, polling never: who does not poll loses its partitions."""
        full = self._open >= self._settings.in_flight_max or not self._taking
        if full and not self._paused:
            consumer.pause(consumer.assignment())
            self._paused = True
        elif self._paused and self._taking and self._open <= self._settings.in_flight_max // 2:
            consumer.resume(consumer.assignment())
            self._paused = False

    def _commit(self, consumer: Consumer, *, now: bool = False) -> None:
        due = self._offsets.due()
        if not due or (time.monotonic() < self._commit_at and not now):
            return
        self._commit_at = time.monotonic() + COMMIT_S
        try:
            consumer.commit(
                offsets=[TopicPartition(topic, number, offset) for (topic, number), offset in due.items()], asynchronous=False
            )
        except KafkaException as problem:
            self._failed(problem.args[0])
        else:
            self._offsets.committed(due)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._offsets.assign([(each.topic, each.partition) for each in partitions])
        self._paused = False
        self.state = "up"
        LOG.info("kafka: reading %d partitions", len(partitions))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(consumer, now=True)
        self._lost(consumer, partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._offsets.revoke([(each.topic, each.partition) for each in partitions])

    def _leave(self, consumer: Consumer) -> None:
        self._commit(consumer, now=True)
        consumer.close()
        self._producer.flush(POLL_S)

    def _failed(self, error: KafkaError) -> None:
        """librdkafka goes on by itself; people should know why nothing comes."""
        state = error.str().lower() or error.name()
        if state != self.state:
            self.state = state
            LOG.info("kafka: %s", state)

    def _take_one(self, record: Record, message: Message, take: Callable[[Message], None]) -> None:
        topic, number, offset = record.topic(), record.partition(), record.offset()
        assert topic is not None and number is not None and offset is not None
        self._open += 1
        take(message._replace(handle=self._offsets.take((topic, number), offset)))


def _not_taken(error: KafkaError, which: Outgoing) -> NotTaken:
    why = error.str().lower()
    return TooLarge(why, which) if error.code() == KafkaError.MSG_SIZE_TOO_LARGE else NotTaken(why)


def common_settings(kafka: Kafka, client: str, failed: Callable[[KafkaError], None]) -> dict[str, Any]:
    """What consumer and producer share. Raises Failure."""
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(kafka.brokers),
        "client.id": client,
        "error_cb": failed,
        "reconnect.backoff.max.ms": 5_000,
        "socket.keepalive.enable": True,
        "log_level": 3,
    }
    if kafka.username is not None and kafka.password_file is not None:
        found |= {"sasl.mechanism": kafka.mechanism, "sasl.username": kafka.username, "sasl.password": secret(kafka.password_file)}
    secured = "SSL" if kafka.tls else "PLAINTEXT"
    found["security.protocol"] = f"SASL_{secured}" if kafka.username is not None else secured
    files = {"ssl.ca.location": kafka.ca_file, "ssl.certificate.location": kafka.cert_file, "ssl.key.location": kafka.key_file}
    return found | {name: str(path) for name, path in files.items() if path is not None}


def _message(record: Record) -> Message:
    headers: Mapping[str, Any] = dict(record.headers() or [])
    kind, time_ms = record.timestamp()
    key = record.key()
    texts = {name: _text(headers.get(name)) for name in ("id", "reply_to", "correlation_id")}
    return Message(
        record.topic() or "",
        record.value() or b"",
        id=texts["id"],
        key=_text(key),
        place=f"{record.topic()}/{record.partition()}/{record.offset()}",
        time_us=None if kind == TIMESTAMP_NOT_AVAILABLE else time_ms * 1000,
        reply_to=texts["reply_to"],
        correlation=texts["correlation_id"],
    )


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else None
