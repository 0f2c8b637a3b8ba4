"""The MQTT bridge with a real mosquitto, a real irerd, and all that can end in between: no sample lost, none counted twice."""

import contextlib
import json
import random
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.times import time_text
from tests.campaigns import campaign, per_commit
from tests.e2e.bus_peers import MOSQUITTO, NO_MOSQUITTO, Bridge, Device, Mosquitto, Wire, free_port, recorded
from tests.e2e.harness import Irerd

pytest.importorskip("paho.mqtt", reason="NOT TESTED: the MQTT bridge, for paho-mqtt is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MOSQUITTO is None, reason=NO_MOSQUITTO)]

START_US = 1_767_225_600_000_000
STEP_US = 10_000_000
SENSE = '[[sense]]\ntopic = "plant/{source}/power"\n'


def config(port: int, rules: str = SENSE, more: str = "") -> str:
    return f'name = "test"\n{more}[mqtt]\nhost = "127.0.0.1"\nport = {port}\n{rules}'


class Plant:
    """Everything between a device and the log."""

    def __init__(self, place: Path, rules: str = SENSE, more: str = "") -> None:
        self.irerd = Irerd(place).start()
        self.broker = Mosquitto(place / "mosquitto")
        self.to_broker = Wire(("127.0.0.1", self.broker.port))
        self._path = str(self.irerd.socket) + ".wire"
        self.to_irerd = Wire(str(self.irerd.socket), self._path)
        self.bridge = Bridge(place, "mqtt", self._path, config(self.to_broker.port, rules, more)).start()
        self.bridge.until(lambda said: said["broker"] == "up")
        self.device = Device(self.broker.port, "device")
        self.sent: dict[tuple[str, int], float] = {}
        self.messages: list[tuple[str, bytes]] = []

    def send(self, source: str, value: float) -> None:
        """One more sample of that source."""
        self.send_many([(source, value)])

    def send_many(self, samples: list[tuple[str, float]]) -> None:
        messages = []
        for source, value in samples:
            count = sum(1 for other, _ in self.sent if other == source)
            time_us = START_US + count * STEP_US
            self.sent[source, time_us] = value
            sample = {"timestamp": time_text(time_us), "telemetry": {"power_draw": value}}
            messages.append((f"plant/{source}/power", json.dumps(sample).encode()))
        self.messages += messages
        self.device.publish(messages)

    def repeat(self, count: int, rng: random.Random) -> None:
        """The same again, as a device does that missed its acknowledgement."""
        self.device.publish(rng.choices(self.messages, k=count))

    def wait_quiet(self) -> dict[str, Any]:
        """Until every sample is in the log, and the broker was told to forget them all."""
        return self.bridge.until(lambda said: len(recorded(self.irerd)) >= len(self.sent) and not said["in_flight"])

    def judge(self) -> None:
        found = recorded(self.irerd)
        assert Counter((source, time_us) for source, time_us, _ in found) == Counter(self.sent.keys()), "lost, or counted twice"
        assert {(source, time_us): value for source, time_us, value in found} == self.sent

    def close(self) -> None:
        self.bridge.close()
        self.device.close()
        for wire in (self.to_broker, self.to_irerd):
            wire.close()
        self.broker.close()
        self.irerd.close()


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    with contextlib.closing(made):
        yield made


def hardship(place: Path, seed: int) -> dict[str, int]:
    """Samples of some sources, some of them twice, while brokers, connections, the daemon and the bridge come and go."""
    rng = random.Random(seed)
    place.mkdir()
    plant = Plant(place)
    with contextlib.closing(plant):
        met: Counter[str] = Counter()
        for _ in range(5):
            plant.send_many([(f"rack-{rng.randrange(5)}", float(rng.randrange(100, 400))) for _ in range(rng.randrange(5, 40))])
            plant.repeat(rng.randrange(5), rng)
            event = rng.choice(("broker", "cut", "cut-irerd", "irerd", "bridge", "both"))
            met[event] += 1
            match event:
                case "broker":
                    plant.broker.stop()
                    plant.broker.start()
                case "cut":
                    plant.to_broker.cut()
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
        plant.repeat(5, rng)
        plant.wait_quiet()
        assert plant.bridge.stop() == 0
        plant.judge()
        return dict(met)


def test_whatever_ends_meanwhile_each_sample_is_counted_once(tmp_path):
    for seed in range(per_commit("bus-mqtt")):
        hardship(tmp_path / str(seed), seed)


@pytest.mark.campaign
def test_campaign_of_hardships_on_mqtt(tmp_path):
    def one(index: int) -> dict[str, int]:
        place = tmp_path / str(index)
        try:
            return hardship(place, index)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    campaign("bus-mqtt", one)


# --- at the very moments that matter


def test_what_is_durable_but_not_acknowledged_comes_again_and_is_not_counted_again(plant):
    """The bridge dies with its acknowledgements unsaid; then irerd dies with its answers unsaid."""
    plant.to_broker.swallow_calls = True
    plant.send_many([("a", 300.0), ("b", 200.0)])
    plant.bridge.until(lambda said: said["settled"] == 2)
    plant.bridge.kill9()
    plant.to_broker.cut()
    plant.to_broker.swallow_calls = False
    assert len(recorded(plant.irerd)) == 2

    plant.bridge.start()
    said = plant.bridge.until(lambda said: said["settled"] == 2)
    assert (said["repeated"], said["points"]) == (2, 0), "the broker brought both again, and irerd knew them"

    plant.to_irerd.swallow_answers = True
    plant.send_many([("a", 310.0), ("b", 210.0)])
    plant.bridge.until(lambda said: len(recorded(plant.irerd)) == 4 and said["in_flight"] == 2)
    plant.irerd.kill9()
    plant.to_irerd.swallow_answers = False
    plant.irerd.start()
    said = plant.bridge.until(lambda said: not said["in_flight"])
    assert said["settled"] == 4 and said["repeated"] == 4
    assert plant.bridge.stop() == 0
    plant.judge()


def test_what_comes_while_the_bridge_is_away_waits_at_the_broker_even_through_its_restart(plant):
    plant.send("a", 300.0)
    plant.wait_quiet()
    assert plant.bridge.stop() == 0 and plant.bridge.said["in_flight"] == 0
    plant.send_many([("a", 310.0), ("b", 210.0)])
    plant.broker.stop()
    plant.broker.start()
    plant.bridge.start()
    said = plant.bridge.until(lambda said: said["settled"] == 2)
    assert said["points"] == 2 and said["dead"] == 0
    plant.judge()


def test_no_more_than_so_many_messages_are_ever_on_their_way(tmp_path):
    plant = Plant(tmp_path, more="in_flight_max = 5\n")
    with contextlib.closing(plant):
        plant.irerd.kill9()
        plant.send_many([(f"s{number}", 100.0) for number in range(40)])
        said = plant.bridge.until(lambda said: said["retries"] >= 20)
        assert said["read"] == said["in_flight"] == 5, "the broker keeps what nobody can take up"
        plant.irerd.start()
        plant.bridge.until(lambda said: said["settled"] == 40)
        plant.judge()


def test_a_bad_message_is_put_aside_with_its_reason_and_keeps_nobody(plant):
    reader = Device(plant.broker.port, "reader", ["irer/v1/dead"])
    bad = [b"no json", b"{}", b'{"telemetry": {"power_draw": 1}}', b'{"id": "x", "telemetry": {"power_draw": "much"}}']
    plant.device.publish([("plant/a/power", each) for each in bad])
    plant.send("a", 300.0)
    said = plant.bridge.until(lambda said: said["dead"] == 4 and said["settled"] == 5)
    assert said["points"] == 1
    reasons = Counter(reader.next()[1]["reason"] for _ in bad)
    assert reasons == {"not-json": 1, "form": 1, "no-identity": 1, "invalid-argument": 1}
    reader.close()
    plant.judge()


RULES = """
[[sense]]
topic = "plant/{source}/power"
[[act]]
topic = "plant/{cell}/ask"
reply = "plant/{cell}/answer"
[[out]]
type = "energy.action_chosen"
topic = "irer/v1/act/{owner}"
"""
ASKED = {"goal": "minimize_energy", "current_state": {"active_servers": 12, "avg_utilization": 0.68}}


def test_a_request_is_answered_and_what_was_decided_goes_out_though_the_bridge_is_killed(tmp_path):
    plant = Plant(tmp_path, RULES)
    with contextlib.closing(plant):
        reader = Device(plant.broker.port, "reader", ["plant/+/answer", "irer/v1/act/#"])
        asked = json.dumps({**ASKED, "correlation_id": "c-1"}).encode()
        plant.device.publish([("plant/north/ask", asked)])
        first, second = sorted((reader.next(), reader.next()), key=lambda message: message[0], reverse=True)
        assert first[0] == "plant/north/answer" and first[1]["correlation_id"] == "c-1" and first[1]["ok"]
        assert second[1]["type"] == "irer.energy.action_chosen" and second[1]["specversion"] == "1.0"
        assert second[1]["data"]["action_id"] == first[1]["result"]["action_id"]
        assert dict(second[2].UserProperty)["id"] == second[1]["id"]

        plant.bridge.until(lambda said: said["published"] == 1 and said["requests"] == 1)
        plant.bridge.kill9()
        with plant.irerd.client() as client:
            chosen = [client.call("eil.act", ASKED).result["action_id"] for _ in range(3)]
        plant.bridge.start()
        came = [reader.next()[1] for _ in range(3)]
        assert [each["data"]["action_id"] for each in came] == chosen, "in order, from where it was"

        plant.device.publish([("plant/north/ask", asked), ("plant/north/ask", b'{"goal": "fly", "correlation_id": "c-2"}')])
        again, refused = reader.next()[1], reader.next()[1]
        assert again == first[1], "the same request is the same decision"
        assert refused["correlation_id"] == "c-2" and refused["error"]["code"] == "invalid-argument" and not refused["ok"]
        assert plant.bridge.stop() == 0
        reader.close()


def test_what_the_broker_has_not_taken_goes_out_again_with_the_same_id(tmp_path):
    plant = Plant(tmp_path, RULES)
    with contextlib.closing(plant):
        reader = Device(plant.broker.port, "reader", ["irer/v1/act/#"])
        plant.to_broker.swallow_answers = True
        with plant.irerd.client() as client:
            action = client.call("eil.act", ASKED).result["action_id"]
        first = reader.next()[1]
        assert first["data"]["action_id"] == action
        plant.bridge.kill9()
        plant.to_broker.cut()
        plant.to_broker.swallow_answers = False
        plant.bridge.start()
        assert reader.next()[1] == first
        reader.close()


# --- whom it speaks for, and to


def test_a_rule_may_speak_as_an_engine_and_proves_it_anew_after_each_cut(tmp_path):
    key = tmp_path / "key"
    key.touch(mode=0o600)
    rules = SENSE + f'engine = "meter"\n[engines.meter]\nkey_file = "{key}"\n'
    key.write_text("irk_not-yet\n")
    plant = Plant(tmp_path, rules)
    with contextlib.closing(plant):
        plant.bridge.kill9()
        with plant.irerd.client() as client:
            issued = client.call("engines.register", {"engine_id": "meter", "capabilities": {"eil": ["sense"]}})
        key.write_text(issued.result["engine_key"] + "\n")
        plant.bridge.start()
        for count in (1, 2):
            plant.send_many([("a", 100.0), ("b", 100.0)])
            plant.bridge.until(lambda said, count=count: said["settled"] == 2 * count)
            plant.to_irerd.cut()
        plant.judge()
        owners = {row["payload"]["owner"] for row in events(plant.irerd, "energy.sensed")}
        assert owners == {"engine:meter"}


def events(daemon: Irerd, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (daemon.state / "energy_log.jsonl").read_bytes().splitlines()]
    return [row for row in rows if row["event_type"] == kind]


def test_a_wrong_password_is_told_and_a_right_one_over_tls_is_enough(tmp_path):
    certificate(tmp_path)
    port = free_port()
    (tmp_path / "passwords").write_text("bridge:secret\n")
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("NOT TESTED: passwords at a broker; mosquitto_passwd is missing")
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "passwords")], check=True)
    (tmp_path / "passwords").chmod(0o644)
    secured = f"listener {port} 127.0.0.1\ncafile {tmp_path}/cert.pem\ncertfile {tmp_path}/cert.pem\nkeyfile {tmp_path}/key.pem\n"
    more = f"allow_anonymous false\npassword_file {tmp_path}/passwords\n{secured}"
    broker = Mosquitto(tmp_path / "mosquitto", more)
    daemon = Irerd(tmp_path).start()
    word = tmp_path / "word"
    word.write_text("wrong\n")
    word.chmod(0o600)
    tls = f'tls = true\nca_file = "{tmp_path}/cert.pem"\nusername = "bridge"\npassword_file = "{word}"\n'
    bridge = Bridge(tmp_path, "mqtt", daemon.socket, config(port, tls + SENSE).replace("127.0.0.1", "localhost"))
    try:
        bridge.start()
        bridge.until(lambda said: "not authorized" in said["broker"])
        assert bridge.stop() == 0
        word.write_text("secret\n")
        bridge.start()
        bridge.until(lambda said: said["broker"] == "up")

        def prepare(client: Any) -> None:
            client.username_pw_set("bridge", "secret")
            client.tls_set_context(ssl.create_default_context(cafile=str(tmp_path / "cert.pem")))
            client.tls_insecure_set(True)

        device = Device(port, "device", prepare=prepare)
        device.publish([("plant/a/power", b'{"id": "1", "telemetry": {"power_draw": 1}}')])
        bridge.until(lambda said: said["points"] == 1)
        device.close()
    finally:
        bridge.close()
        broker.close()
        daemon.close()


def certificate(place: Path) -> None:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (place / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (place / "key.pem").write_bytes(private)
