"""Real brokers for tests of the bridges, the wires to them, and the bridge itself as the process that people run."""

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from core.energy import packed
from tests.e2e.harness import Irerd

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
NO_MOSQUITTO = "NOT TESTED against an MQTT broker: mosquitto is missing; Debian package mosquitto"
WAIT_S = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Mosquitto:
    """A broker that keeps what it has on disk when it is stopped."""

    def __init__(self, place: Path, more: str = "allow_anonymous true\n", listener: str = "") -> None:
        self.port = free_port()
        place.mkdir()
        self._file = place / "mosquitto.conf"
        text = f"listener {self.port} 127.0.0.1\n{listener}persistence true\npersistence_location {place}/\nautosave_interval 1\n"
        self._file.write_text(text + "max_queued_messages 0\nuser root\n" + more)
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + WAIT_S
        while self._process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            select_nothing()
        raise AssertionError(f"mosquitto ended with {self._process.poll()}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def select_nothing() -> None:
    """A moment for another process, in a loop with a deadline."""
    threading.Event().wait(0.01)


class Device:
    """A publisher and reader, straight to the broker."""

    def __init__(
        self, port: int, name: str, topics: Sequence[str] = (), prepare: Callable[[Any], None] = lambda client: None
    ) -> None:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: queue.Queue[Any] = queue.Queue()
        self._subscribed = threading.Event()
        self._changed = threading.Condition()
        self._taken: set[int] = set()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        prepare(self._client)
        self._client.on_message = lambda client, userdata, message: self.heard.put(message)
        self._client.on_publish = self._published
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_connect = lambda client, *_: topics and client.subscribe([(topic, 1) for topic in topics])
        self._client.connect("127.0.0.1", port, clean_start=False)
        self._client.loop_start()
        assert not topics or self._subscribed.wait(WAIT_S)

    def publish(self, messages: Iterable[tuple[str, bytes]], properties: Any = None) -> None:
        """Returns once the broker has them."""
        wanted = {self._client.publish(topic, payload, qos=1, properties=properties).mid for topic, payload in messages}
        with self._changed:
            assert self._changed.wait_for(lambda: wanted <= self._taken, WAIT_S), "the broker did not take it"
            self._taken -= wanted

    def _published(self, client: Any, userdata: Any, mid: int, *_: Any) -> None:
        with self._changed:
            self._taken.add(mid)
            self._changed.notify_all()

    def next(self) -> tuple[str, Any, Any]:
        message = self.heard.get(timeout=WAIT_S)
        return message.topic, json.loads(message.payload), message.properties

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


Address = tuple[str, int] | str


class Wire:
    """Between two ends; it can be cut, and it can swallow what one of them says while seeming to be whole."""

    def __init__(self, to: Address, at: str | None = None) -> None:
        self._to = to
        if at is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.port = int(self._listener.getsockname()[1])
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(at)
            self._listener.listen()
        self.swallow_calls = self.swallow_answers = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        ends, self._open = self._open, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.socket(socket.AF_UNIX) if isinstance(self._to, str) else socket.socket()
                    far.connect(self._to)
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, calls: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not (self.swallow_calls if calls else self.swallow_answers):
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()


class Cluster:
    """librdkafka's own mock cluster, in a process of its own, with a producer and a reader beside it."""

    def __init__(self) -> None:
        here = Path(__file__).with_name("bus_cluster.py")
        self._process = subprocess.Popen([sys.executable, str(here)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.brokers: str = json.loads(self._process.stdout.readline())

    def ask(self, what: str, **more: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def produce(self, topic: str, records: Iterable[dict[str, Any]]) -> None:
        """Records of key, value, and headers at will. Returns once the cluster has them."""
        assert self.ask("produce", topic=topic, records=list(records)) == 0

    def read(self, topic: str, count: int) -> list[dict[str, Any]]:
        """The first so many records of a topic."""
        found = self.ask("read", topic=topic, count=count)
        assert len(found) >= count, found
        return list(found)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class Bridge:
    """`irerctl bus`, and what it says of itself."""

    def __init__(self, place: Path, kind: str, socket_path: Path | str, config: str) -> None:
        self._place = place
        self._kind = kind
        self._socket = str(socket_path)
        self.file = place / f"bus-{kind}.toml"
        self.file.write_text(f'state_dir = "{place / "bus"}"\nstatus_s = 0.1\n{config}')
        self.said: dict[str, Any] = {}

    def start(self) -> "Bridge":
        self.errors = open(self._place / "bus.err", "a")  # closed with the bridge
        arguments = ["--socket", self._socket, "-o", "jsonl", "bus", self._kind, "--config", str(self.file)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "irerctl.main", *arguments], stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.said = {}
        return self

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Reads what it says until that holds."""
        assert self.process.stdout is not None
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            line = self.process.stdout.readline()
            if not line:
                break
            self.said = json.loads(line)
            if wanted(self.said):
                return self.said
        raise AssertionError(f"{self.said}; {(self._place / 'bus.err').read_text()[-2000:]}")

    def kill9(self) -> None:
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """As systemd stops it. What it says last stays to be read."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = json.loads(line)
        status = self.process.wait(WAIT_S)
        self._ended()
        return status

    def close(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.kill9()

    def _ended(self) -> None:
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


Point = tuple[str, int, float]


def recorded(daemon: Irerd) -> list[Point]:
    """Every point that is in the log: source, time, value; of sources with one stream."""
    found: list[Point] = []
    log = daemon.state / "energy_log.jsonl"
    for line in log.read_bytes().splitlines() if log.exists() else []:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if record["event_type"] == "energy.sensed":
                points = record["payload"]["points"]
                times = packed.times(points["times"])
                values = packed.values(points["values"])
                found += [(record["payload"]["source"], time_us, value) for time_us, value in zip(times, values, strict=True)]
    return found
