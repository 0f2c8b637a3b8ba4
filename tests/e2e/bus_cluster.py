"""A process that holds librdkafka's mock cluster while its input is open: one JSON object a line in, one answer a line out.

The mock cluster is reached through librdkafka itself, for only there can its brokers be taken away and its answers be spoilt. It
must be no part of the test's own process: its threads would still be there when another test forks.
"""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition

BROKERS = 1
PARTITIONS = 2
OFFSET_COMMIT = 8
NOT_COORDINATOR = 16
READ_S = 30.0


def library() -> ctypes.CDLL:
    beside = Path(confluent_kafka.__file__).parent
    found = sorted([*(beside.parent / "confluent_kafka.libs").glob("librdkafka*"), *beside.glob("librdkafka*")])
    return ctypes.CDLL(str(found[0]))


class Mock:
    def __init__(self) -> None:
        self._lib = lib = library()
        lib.rd_kafka_conf_new.restype = lib.rd_kafka_new.restype = lib.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        error = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
        lib.rd_kafka_conf_set(conf, b"log_level", b"0", error, ctypes.c_size_t(512))
        self._handle = ctypes.c_void_p(lib.rd_kafka_new(0, conf, error, ctypes.c_size_t(512)))
        self._cluster = ctypes.c_void_p(lib.rd_kafka_mock_cluster_new(self._handle, BROKERS))
        lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, ctypes.c_int32(0))
        self.brokers = lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._producer: Producer | None = None

    def topic(self, name: str) -> int:
        return int(self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), PARTITIONS, BROKERS))

    def down(self) -> int:
        """Every connection ends, and no new one is taken."""
        return int(self._lib.rd_kafka_mock_broker_set_down(self._cluster, ctypes.c_int32(1)))

    def up(self) -> int:
        return int(self._lib.rd_kafka_mock_broker_set_up(self._cluster, ctypes.c_int32(1)))

    def spoil_commits(self, count: int) -> int:
        """The next so many commits are refused."""
        errors = (ctypes.c_int * count)(*[NOT_COORDINATOR] * count)
        self._lib.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(OFFSET_COMMIT), ctypes.c_size_t(count), errors
        )
        return 0

    def allow_commits(self) -> int:
        self._lib.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(OFFSET_COMMIT))
        return 0

    def produce(self, topic: str, records: list[dict[str, Any]]) -> int:
        self._producer = self._producer or Producer({"bootstrap.servers": self.brokers, "enable.idempotence": True, "log_level": 0})
        for record in records:
            headers = list(record.get("headers", {}).items())
            more = {"timestamp": record["timestamp"]} if "timestamp" in record else {}
            self._producer.produce(topic, record["value"], key=record.get("key"), headers=headers, **more)
        return int(self._producer.flush(READ_S))

    def read(self, topic: str, count: int) -> list[dict[str, Any]]:
        settings = {"bootstrap.servers": self.brokers, "group.id": "reader", "log_level": 0, "enable.auto.commit": False}
        reader = Consumer(settings)
        reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        found = []
        while len(found) < count:
            record = reader.poll(READ_S)
            if record is None:
                break
            if record.error() is None:
                headers = {name: value.decode() for name, value in record.headers() or []}
                found.append({"key": (record.key() or b"").decode(), "value": record.value().decode(), "headers": headers})
        reader.close()
        return found

    def committed(self, group: str, topic: str) -> int:
        """How many records the group need not read again."""
        reader = Consumer({"bootstrap.servers": self.brokers, "group.id": group, "log_level": 0})
        places = reader.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], timeout=READ_S)
        reader.close()
        return sum(max(place.offset, 0) for place in places)


def main() -> None:
    mock = Mock()
    print(json.dumps(mock.brokers), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(getattr(mock, asked.pop("do"))(**asked)), flush=True)


if __name__ == "__main__":
    main()
