"""The golden frames: the bytes on the wire are fixed, for both ends and for the client that stands alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.wire.calls import ClientConnection, Hello, ServerConnection, Violation
from core.wire.codec import Typed, decode, encode
from core.wire.frames import FRAME_MAX, HEADER_LEN, MAGIC, Frames
from irerctl import client
from tests.core.wire.diagnostic import diagnose

GOLDEN = [json.loads(line) for line in Path("tests/golden/frames.jsonl").read_text(encoding="utf-8").splitlines()]
EACH = pytest.mark.parametrize("golden", GOLDEN, ids=[row["name"] for row in GOLDEN])
BY_NAME = {row["name"]: bytes.fromhex(row["hex"]) for row in GOLDEN}


def body_of(golden: dict[str, Any]) -> bytes:
    [body] = Frames().feed(bytes.fromhex(golden["hex"]))
    return body


def test_ping_and_its_reply_are_byte_for_byte_those_of_the_protocol() -> None:
    ping = "D8185A 0000001A  A3 61 74 64 63616C6C 62 6964 01 61 6D 6B 73797374656D2E70696E67"
    reply = "D8185A 0000000F  A3 61 74 64 646F6E65 62 6964 01 61 72 A0"
    assert BY_NAME["ping"] == bytes.fromhex(ping)
    assert BY_NAME["ping-reply"] == bytes.fromhex(reply)


def test_every_kind_of_message_has_a_golden_frame() -> None:
    kinds = {decode(body_of(golden))["t"] for golden in GOLDEN}
    assert kinds == {"hello", "welcome", "call", "item", "mark", "done", "err", "cancel", "bye"}


@EACH
def test_a_person_can_read_it(golden: dict[str, Any]) -> None:
    assert diagnose(decode(body_of(golden))) == golden["diagnostic"]


@EACH
def test_writing_it_again_gives_the_same_bytes(golden: dict[str, Any]) -> None:
    assert encode(decode(body_of(golden))).hex() == golden["hex"]


@EACH
def test_the_client_that_stands_alone_agrees(golden: dict[str, Any]) -> None:
    message = client.decode(body_of(golden))
    assert client.encode(message).hex() == golden["hex"]
    assert plain(message) == plain(decode(body_of(golden)))


def plain(value: Any) -> Any:
    """The same for both kinds of number array."""
    match value:
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case Typed() | client.Array():
            return (value.dtype, value.shape, value.data, list(value.numbers()))
        case _:
            return value


@pytest.mark.parametrize(
    "golden", [row for row in GOLDEN if row["from"] == "client" and row["name"] != "hello"], ids=lambda row: row["name"]
)
def test_a_server_takes_what_clients_send(golden: dict[str, Any]) -> None:
    server = ServerConnection()
    [hello] = server.receive(BY_NAME["hello"])
    server.frame_max = FRAME_MAX
    [message] = server.receive(bytes.fromhex(golden["hex"]))
    assert not isinstance(message, Violation), message
    assert hello == Hello([1], "irerctl/0.1.0")


@pytest.mark.parametrize(
    "golden", [row for row in GOLDEN if row["from"] == "server" and "id" in decode(body_of(row))], ids=lambda row: row["name"]
)
def test_a_client_takes_what_servers_send(golden: dict[str, Any]) -> None:
    message = decode(body_of(golden))
    connection = ClientConnection()
    for _ in range(message["id"]):
        connection.call("system.ping")
    connection.receive(BY_NAME["welcome"])
    before = [{"t": "item", "id": message["id"], "n": n, "r": None} for n in range(message.get("n", 0))]
    connection.receive(b"".join(map(encode, before)))
    [found] = connection.receive(bytes.fromhex(golden["hex"]))
    assert type(found).__name__.lower() == message["t"]
    assert {key: getattr(found, key) for key in message if key != "t"} == {key: message[key] for key in message if key != "t"}


def test_the_framing_is_tag_24_around_a_byte_string() -> None:
    for golden in GOLDEN:
        raw = bytes.fromhex(golden["hex"])
        assert raw[:3] == MAGIC == b"\xd8\x18\x5a"
        assert int.from_bytes(raw[3:HEADER_LEN], "big") == len(raw) - HEADER_LEN
