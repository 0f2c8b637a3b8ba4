"""MQTT 5: a session that the broker keeps, messages acknowledged by hand, and at most so many on their way.

The broker's own limit of unacknowledged messages (receive maximum) is the back-pressure. An acknowledgement belongs to the
connection that brought the message: on a later one the same number may mean another message.
"""

import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import trio
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from irerctl.bus.broker import Message, NotTaken, Outgoing, TooLarge
from irerctl.bus.settings import Mqtt, Settings, secret
from irerctl.bus.topics import Pattern
from irerctl.session import Failure

LOG = logging.getLogger("irerctl.bus")
DELAY_S = (1, 30)
TLS_PORT, PORT = 8883, 1883
DAY_S = 86_400
LEAVE_S = 2.0
HEADER_BYTES = 9
"""Of a packet at most, besides topic, properties and payload: its kind and length, the topic's length, its number."""
ID = "id"
"""The user property that names a message."""


class MqttBroker:
    """One connection in a thread of its own, made again whenever it is lost."""

    def __init__(self, settings: Settings, patterns: Sequence[Pattern]) -> None:
        assert settings.mqtt is not None
        self.state = "connecting"
        self._settings = settings
        self._mqtt = settings.mqtt
        self._filters = sorted({each.filter for each in patterns})
        self._term = 0
        self._lock = threading.Lock()
        """Held while it is judged whether an acknowledgement is still of this connection."""
        self._taking = True
        self._open = 0
        self._waiting: dict[int, tuple[trio.Event, list[ReasonCode]]] = {}
        self._met = trio.Event()
        self._packet_max: int | None = None
        """What the broker takes at most, as it said when it was met."""
        self._client = self._made()

    def _made(self) -> Client:
        mqtt = self._mqtt
        made = Client(CallbackAPIVersion.VERSION2, client_id=f"irer-{self._settings.name}", protocol=MQTTv5, manual_ack=True)
        if mqtt.username is not None and mqtt.password_file is not None:
            made.username_pw_set(mqtt.username, secret(mqtt.password_file))
        if mqtt.tls:
            made.tls_set_context(tls_of(mqtt))
        made.reconnect_delay_set(*DELAY_S)
        made.on_connect = self._connected
        made.on_connect_fail = self._no_connection
        made.on_disconnect = self._disconnected
        made.on_subscribe = self._subscribed
        made.on_message = self._arrived
        made.on_publish = self._published
        return made

    async def run(self, take: Callable[[Message], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._take = take
        mqtt = self._mqtt
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = mqtt.session_days * DAY_S
        properties.ReceiveMaximum = self._settings.in_flight_max
        port = mqtt.port or (TLS_PORT if mqtt.tls else PORT)
        self._client.connect_async(mqtt.host, port, mqtt.keepalive_s, clean_start=False, properties=properties)
        self._client.loop_start()
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(LEAVE_S, shield=True):
                self._client.disconnect()
                await trio.to_thread.run_sync(self._client.loop_stop, abandon_on_cancel=True)

    def settle(self, message: Message) -> None:
        number, qos, term = message.handle
        self._open -= 1
        with self._lock:
            if term == self._term:
                self._client.ack(number, qos)

    def stop_taking(self) -> None:
        self._taking = False

    async def publish(self, many: Sequence[Outgoing]) -> None:
        await self._met.wait()
        packets = [(each, _properties(each)) for each in many]
        for each, properties in packets:
            # Sent, it would end the connection, and be sent again over each that follows.
            size = len(each.topic.encode()) + len(each.payload) + len(properties.pack()) + HEADER_BYTES  # type: ignore[no-untyped-call]
            if self._packet_max is not None and size > self._packet_max:
                raise TooLarge(f"the broker takes {self._packet_max:,} bytes at most, and this has {size:,}", each)
        waited: list[tuple[trio.Event, list[ReasonCode]]] = []
        for each, properties in packets:
            sent = self._client.publish(each.topic, each.payload, qos=1, properties=properties)
            if sent.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                raise NotTaken(f"it cannot be sent ({MQTTErrorCode(sent.rc).name})")
            # The broker's word comes through this loop, so it cannot have come before this line.
            waited.append((trio.Event(), []))
            self._waiting[sent.mid] = waited[-1]
        for event, _ in waited:
            await event.wait()
        for _, said in waited:
            if said and said[0].is_failure:
                raise NotTaken(str(said[0]).lower())

    # What paho's thread calls

    def _connected(
        self, client: Client, userdata: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._tell(f"refused: {str(reason).lower()}")
            return
        self._tell("up")
        self._packet_max = getattr(properties, "MaximumPacketSize", None)
        self._soon(self._met.set)
        if self._filters:
            options = partial(SubscribeOptions, qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            client.subscribe([(each, options()) for each in self._filters])

    def _subscribed(
        self, client: Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                self._tell(f"it does not let us read {topic}: {str(reason).lower()}")

    def _no_connection(self, client: Client, userdata: Any) -> None:
        self._tell(f"no answer at {self._mqtt.host}")

    def _disconnected(
        self, client: Client, userdata: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._lock:
            self._term += 1
        if self._taking and self.state == "up":  # else why it was refused says more
            self._tell(f"the connection was lost: {str(reason).lower()}")

    def _arrived(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self._soon(self._hand_over, message, self._term)

    def _published(self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None) -> None:
        self._soon(self._heard, mid, reason)

    def _soon(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            pass  # unacknowledged, so the broker keeps it

    def _tell(self, state: str) -> None:
        if state != self.state:
            self.state = state
            LOG.info("mqtt %s: %s", self._mqtt.host, state)

    # What runs in trio's loop

    def _hand_over(self, message: MQTTMessage, term: int) -> None:
        if not self._taking or (message.qos == 0 and self._open >= self._settings.in_flight_max):
            return  # without acknowledgement nothing is promised, and nothing may pile up
        self._open += 1
        properties = message.properties
        correlation = getattr(properties, "CorrelationData", None)
        self._take(
            Message(
                message.topic,
                bytes(message.payload),
                id=next((value for name, value in getattr(properties, "UserProperty", []) if name == ID), None),
                reply_to=getattr(properties, "ResponseTopic", None),
                correlation=correlation.decode(errors="replace") if correlation is not None else None,
                handle=(message.mid, message.qos, term),
            )
        )

    def _heard(self, mid: int, reason: ReasonCode) -> None:
        event, said = self._waiting.pop(mid, (None, []))
        if event is not None:
            said.append(reason)
            event.set()


def _properties(each: Outgoing) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if each.id is not None:
        properties.UserProperty = (ID, each.id)
    if each.correlation is not None:
        properties.CorrelationData = each.correlation.encode()
    properties.ContentType = "application/json"
    return properties


def tls_of(mqtt: Mqtt) -> ssl.SSLContext:
    """TLS 1.3 and nothing older. Raises Failure."""
    try:
        made = ssl.create_default_context(cafile=str(mqtt.ca_file) if mqtt.ca_file else None)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        if mqtt.cert_file is not None:
            made.load_cert_chain(mqtt.cert_file, mqtt.key_file)
    except (OSError, ssl.SSLError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        text = f"the certificates of [mqtt] cannot be used ({why.lower()})."
        raise Failure("invalid-argument", text, "Give PEM files that this user may read") from None
    return made
