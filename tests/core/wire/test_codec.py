"""The strict profile: what a message may hold survives the trip, and everything else is refused without harm."""

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.wire.codec import (
    BUILT_IN_TAGS,
    DEPTH_MAX,
    INT_MAX,
    CodecError,
    Reader,
    Typed,
    ValuesError,
    decode,
    encode,
    number_bytes,
    put_value,
    text_bytes,
)
from core.wire.frames import HEADER_LEN
from irerctl import client

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ARRAYS = st.one_of(
    st.lists(st.floats(), max_size=4).map(Typed.of),
    st.lists(st.integers(0, 255), max_size=4).map(lambda items: Typed.of(items, "uint8")),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=6, max_size=6).map(lambda items: Typed.of(items, "int64", (2, 3))),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-INT_MAX, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.binary(max_size=8)
    | ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.dictionaries(TEXTS, VALUES, max_size=4)
READERS = pytest.mark.parametrize("read", [decode, client.decode], ids=["core", "client"])


def body_of(message: dict[str, Any]) -> bytes:
    return encode(message)[HEADER_LEN:]


def in_map(value: bytes) -> bytes:
    """A body {"a": value}."""
    return b"\xa1\x61a" + value


@given(message=MESSAGES)
def test_what_is_sent_is_what_is_read(message: dict[str, Any]) -> None:
    assert decode(body_of(message)) == message


BODIES = st.binary(max_size=60) | st.builds(
    lambda message, place, byte: changed(body_of(message), place, byte), MESSAGES, st.integers(0), st.integers(0, 255)
)
SHARED = bytes.fromhex("a161 61d81c 8101"), bytes.fromhex("a16161 d81d00")
"""A value that is marked to be shared, and one that asks for it."""


@given(st.lists(BODIES | MESSAGES.map(body_of) | st.sampled_from(SHARED), max_size=6))
def test_what_one_body_says_is_not_changed_by_those_before_it(bodies: list[bytes]) -> None:
    reader = Reader()

    def read(with_reader: Callable[[bytes], dict[str, Any]], body: bytes) -> Any:
        try:
            return with_reader(body)
        except CodecError as error:
            return str(error)

    for body in bodies:
        assert read(reader.read, body) == read(decode, body)


@settings(max_examples=300)
@given(
    body=st.binary(max_size=60)
    | st.builds(lambda message, place, byte: changed(body_of(message), place, byte), MESSAGES, st.integers(0), st.integers(0, 255))
)
def test_any_bytes_are_a_clean_message_or_refused_by_both_readers_alike(body: bytes) -> None:
    try:
        message = decode(body)
    except CodecError:
        with pytest.raises(client.ProtocolError):
            client.decode(body)
        return
    assert decode(body_of(message)) == message
    client.decode(body)


def changed(body: bytes, place: int, byte: int) -> bytes:
    place %= len(body)
    return body[:place] + bytes([byte]) + body[place + 1 :]


# Every tag there is with a value that fits it, so that a tag cbor2 learns to read is noticed.
TAG_CONTENTS: tuple[Any, ...] = (0, "", b"", [], {}, [1, 2], None, [0], "2026-01-01T00:00:00Z", bytes(16), [bytes(4), 24])
ALLOWED_TAGS = {40, 64, 70, 71, 78, 79, 85, 86}


@READERS
def test_of_all_tags_only_those_of_number_arrays_are_read(read: Any) -> None:
    contents = [cbor2.dumps(value) for value in TAG_CONTENTS]
    passed = set()
    for tag in range(65_536):
        head = b"\xa1\x61a" + cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
        for content in contents if tag < 300 or tag in BUILT_IN_TAGS else contents[:5]:
            try:
                read(head + content)
                passed.add(tag)
            except (CodecError, client.ProtocolError):
                pass
    assert passed == ALLOWED_TAGS - {40}  # 40 stands around one of the others


@READERS
@pytest.mark.parametrize("tag", [65_536, 2**32, 2**64 - 1])
def test_larger_tags_are_refused(read: Any, tag: int) -> None:
    with pytest.raises(ValueError):
        read(in_map(cbor2.dumps(cbor2.CBORTag(tag, 0))))


REFUSED = {
    "a list as body": b"\x80",
    "a number as body": b"\x01",
    "no body": b"",
    "a body cut short": b"\xa1\x61a",
    "a byte after the map": b"\xa0\x00",
    "a second map after the map": b"\xa0\xa0",
    "a key twice": b"\xa2\x61a\x01\x61a\x02",
    "a byte string as key": b"\xa1\x41a\x01",
    "a number as key": b"\xa1\x01\x01",
    "a list as key": b"\xa1\x81\x01\x01",
    "an array as key": b"\xa1\xd8\x40\x41a\x01",
    "a byte string as key within": in_map(b"\xa1\x41a\x01"),
    "NaN": in_map(b"\xf9\x7e\x00"),
    "NaN with a payload": in_map(b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x01"),
    "infinity": in_map(b"\xf9\x7c\x00"),
    "minus infinity": in_map(b"\xfb\xff\xf0\x00\x00\x00\x00\x00\x00"),
    "undefined": in_map(b"\xf7"),
    "a simple value": in_map(b"\xe0"),
    "a simple value of two bytes": in_map(b"\xf8\x20"),
    "a reserved simple value": in_map(b"\xf8\x14"),
    "an indefinite list": in_map(b"\x9f\x01\xff"),
    "an indefinite map": b"\xbf\x61a\x01\xff",
    "an indefinite text": in_map(b"\x7f\x61a\xff"),
    "an indefinite byte string": in_map(b"\x5f\x41a\xff"),
    "a break": in_map(b"\xff"),
    "half a character": in_map(b"\x63\xed\xa0\x80"),
    "a text that is not UTF-8": in_map(b"\x62\xc3\x28"),
    "a bignum": in_map(b"\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
    "2**53": in_map(b"\x1b\x00\x20\x00\x00\x00\x00\x00\x00"),
    "-2**53": in_map(b"\x3b\x00\x1f\xff\xff\xff\xff\xff\xff"),
    "2**64-1": in_map(b"\x1b" + b"\xff" * 8),
    "-2**64": in_map(b"\x3b" + b"\xff" * 8),
    "a reserved length": in_map(b"\x1c"),
    "33 levels": in_map(b"\x81" * 31 + b"\xa0"),
    "an array whose bytes do not fit": in_map(b"\xd8\x56\x47" + bytes(7)),
    "an array of text": in_map(b"\xd8\x56\x61a"),
    "a shape that does not fit": in_map(b"\xd8\x28\x82\x82\x02\x03\xd8\x40\x45" + bytes(5)),
    "a negative shape": in_map(b"\xd8\x28\x82\x82\x20\x20\xd8\x40\x41" + bytes(1)),
    "a shape of bools": in_map(b"\xd8\x28\x82\x81\xf5\xd8\x40\x41" + bytes(1)),
    "no shape": in_map(b"\xd8\x28\x82\x80\xd8\x40\x41" + bytes(1)),
    "a shape around a list": in_map(b"\xd8\x28\x82\x81\x01\x81\x01"),
    "a shape around a shape": in_map(b"\xd8\x28\x82\x81\x01\xd8\x28\x82\x82\x01\x01\xd8\x40\x41" + bytes(1)),
}


@READERS
@pytest.mark.parametrize("name", REFUSED)
def test_refused(read: Any, name: str) -> None:
    with pytest.raises((CodecError, client.ProtocolError)):
        read(REFUSED[name])


CLAIMS = [head + length for head in (b"\x9a", b"\xba", b"\x5a", b"\x7a") for length in (b"\x7f" + b"\xff" * 3, b"\xff" * 4)]
CLAIMS += [
    head + length for head in (b"\x9b", b"\xbb", b"\x5b", b"\x7b") for length in (b"\x00" * 3 + b"\xff" * 5, b"\x7f" + b"\xff" * 7)
]


@READERS
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.hex())
def test_a_huge_claimed_length_costs_no_memory(read: Any, claim: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((CodecError, client.ProtocolError)):
            read(in_map(claim + b"abc"))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@READERS
def test_thirty_two_levels_are_read(read: Any) -> None:
    value = read(in_map(b"\x81" * (DEPTH_MAX - 2) + b"\xa0"))["a"]
    for _ in range(DEPTH_MAX - 2):
        [value] = value
    assert value == {}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_nobody_sends_what_the_other_end_refuses() -> None:
    assert decode(body_of(nested(DEPTH_MAX))) == nested(DEPTH_MAX)
    for bad in (
        {"a": math.nan},
        {"a": -math.inf},
        {"a": INT_MAX + 1},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": object()},
        nested(DEPTH_MAX + 1),
    ):
        with pytest.raises(CodecError):
            encode(bad)
        with pytest.raises(client.ProtocolError):
            client.encode(bad)


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(CodecError, match="limit"):
        encode({"a": "x" * 1_200_000})


def test_too_many_values_is_an_error_that_knows_its_call() -> None:
    assert decode(body_of({"id": 7, "p": [0] * 99_998}))["id"] == 7
    with pytest.raises(ValuesError) as refused:
        decode(cbor2.dumps({"id": 7, "p": [0] * 99_999}))
    assert refused.value.message["id"] == 7


def test_a_number_array_counts_as_one_value() -> None:
    assert decode(body_of({"a": Typed.of([0] * 100_001, "uint8")}))["a"].shape == (100_001,)


def test_structs_within_a_message_become_maps() -> None:
    class Pool(msgspec.Struct):
        name: str
        raw: bytes

    assert decode(body_of({"pools": [Pool("compute", b"\x01")]})) == {"pools": [{"name": "compute", "raw": b"\x01"}]}


def test_a_reason_names_the_rule_and_quotes_nothing() -> None:
    with pytest.raises(CodecError) as refused:
        decode(b"\xa2\x66secret\x01\x66secret\x02")
    assert str(refused.value) == "a map has a key twice"


@given(items=st.lists(st.floats(width=32), max_size=5))
def test_reading_an_array_refuses_what_is_not_finite_unless_told(items: list[float]) -> None:
    sent = Typed.of(items, "float32")
    finite = all(map(math.isfinite, items))
    got = sent.numbers(finite=False)
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(got, items, strict=True))
    if finite:
        assert sent.numbers() == got
    else:
        with pytest.raises(CodecError):
            sent.numbers()


def test_finite_numbers_whose_sum_is_not_are_still_finite() -> None:
    assert list(Typed.of([1.7e308, 1.7e308]).numbers()) == [1.7e308, 1.7e308]


@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_a_text_and_a_number_stand_as_cbor_says_whatever_their_length(length: int) -> None:
    assert text_bytes("x" * length) == cbor2.dumps("x" * length)
    assert number_bytes(length) == cbor2.dumps(length)
    for value in ({"n": length}, {"n": "x" * length}, {"n": [None, True, length, -length, 0.5]}):
        parts = [b"before"]
        put_value(parts, value, 1)
        assert b"".join(parts) == b"before" + cbor2.dumps(value)
