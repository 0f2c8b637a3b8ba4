"""Canonical JSON: the numbers of RFC 8785, what is refused and where, and that the fast way writes what the slow way does."""

import datetime
import decimal
import json
import math
import struct
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import canonical
from core.canonical import (
    _LEFT_ALONE,
    CanonicalError,
    _write,
    decode,
    encode,
    encode_inner,
    event_payload,
    payload_and_sign,
    payload_around,
)

FROM_RFC_8785 = [  # appendix B: the bits of a double, and its only text
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]
SAFE = 2**53 - 1


def double(bits: str) -> float:
    [value] = struct.unpack(">d", bytes.fromhex(bits))
    return value


def slow(value: Any) -> bytes:
    parts: list[str] = []
    _write(value, parts, 0, "")
    return "".join(parts).encode()


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(("bits", "text"), FROM_RFC_8785)
def test_numbers_of_rfc_8785(bits, text):
    assert encode(double(bits)) == text.encode()
    assert encode({"x": [double(bits)]}) == b'{"x":[%b]}' % text.encode()


def test_the_example_of_rfc_8785():
    given_text = r"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    assert encode(json.loads(given_text)).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.0, "5"),
        (-0.0, "0"),
        (0, "0"),
        (SAFE, "9007199254740991"),
        (-SAFE, "-9007199254740991"),
        (2.0**60, "1152921504606847000"),
        (1e-5, "0.00001"),
        (
            "\x00\x08\t\n\x0b\x0c\r\x1f\x7f\x80/\u2028\u2029\ufeff😀",
            '"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\x7f\x80/\u2028\u2029\ufeff😀"',
        ),
        ({}, "{}"),
        ([], "[]"),
        ((1, (2,)), "[1,[2]]"),
        ({"z": [], "é": {}, "a": "", "B": 1.5}, '{"B":1.5,"a":"","z":[],"é":{}}'),
    ],
)
def test_one_form(value, text):
    assert encode(value) == text.encode()
    assert slow(value) == text.encode()


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"a": [1, {"b": math.nan}]}, ".a[1].b", "NaN"),
        ([math.inf], "[0]", "infinity"),
        ([-math.inf], "[0]", "infinity"),
        ({"n": SAFE + 1}, ".n", "integer"),
        ({"n": -SAFE - 1}, ".n", "integer"),
        ({"n": 2**70}, ".n", "integer"),
        ({"s": "\ud800"}, ".s", "surrogate"),
        ({"s": ["ok", "\udc00x"]}, ".s[1]", "surrogate"),
        ({"\ud800": 1}, None, "key"),
        ({"": 1}, None, "key"),
        ({"k" * 129: 1}, None, "key"),
        ({"a\x1f": 1}, None, "key"),
        ({"a\n": 1}, None, "key"),
        ({"a\x7f": 1}, None, "key"),
        ({"a\x9f": 1}, None, "key"),
        ({"\ue000": 1}, None, "key"),
        ({"😀": 1}, None, "key"),
        ({1: 1}, None, "key"),
        ({"b": b"bytes"}, ".b", "base64url"),
        ({"d": datetime.datetime(2026, 1, 1)}, ".d", "no JSON value"),
        ({"d": decimal.Decimal(1)}, ".d", "no JSON value"),
        ({"u": uuid.UUID(int=0)}, ".u", "no JSON value"),
        ({"s": {1, 2}}, ".s", "no JSON value"),
        (nested(33), None, "deeper"),
    ],
)
def test_what_has_no_form_is_refused_by_name(value, path, why):
    with pytest.raises(CanonicalError, match=why) as refused:
        encode(value)
    if path is not None:
        assert refused.value.path == path


def test_32_levels_are_enough_for_anyone():
    assert decode(encode(nested(32))) == nested(32)
    assert encode({"k" * 128: 1, "\ud7ff": 2, "~": 3, "\xa0": 4})


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1}',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b"1.0",
        b"1e3",
        b"-0",
        b"01",
        b"1e21",
        b"0.0000001",
        b"9007199254740993",
        b"1" + b"0" * 400,
        b'"\\u0041"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\\u001F"',
        b'"\\u000a"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\x01"',
        b"NaN",
        b"",
        b"{",
        b"{}{}",
        b"[" * 33 + b"]" * 33,
        b"[" * 100_000 + b"]" * 100_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_any_other_text_of_a_value_is_refused(raw):
    with pytest.raises(CanonicalError):
        decode(raw)


def test_digits_beyond_the_safe_integers_are_a_float():
    value = decode(b"[9007199254740991,9007199254740992,295147905179352830000,1e+21]")
    assert value == [SAFE, 2.0**53, 2.0**68, 1e21]
    assert [type(item) for item in value] == [int, float, float, float]


floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(1e-7, 1e-4),
    st.floats(2.0**52, 2.0**70),
    st.integers(-(2**60), 2**60).map(float),
    st.sampled_from([0.0, -0.0, 1e-6, 9.9e-6, 1e-5, 1e20, 1e21, 1e22, 5.0, 2.0**53, 2.0**53 - 1]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = st.text(st.characters(max_codepoint=0xD7FF, exclude_categories=["Cc", "Cs"]), min_size=1, max_size=6)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-SAFE, SAFE), floats, texts)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12)


@settings(max_examples=200, deadline=None)
@given(values)
def test_every_value_comes_back_from_one_form(value):
    raw = encode(value)
    assert raw == slow(value)
    assert decode(raw) == value
    assert json.loads(raw, parse_int=float) == value


@settings(max_examples=300, deadline=None)
@given(floats)
def test_a_number_comes_back_exactly(value):
    raw = encode(value)
    assert float(raw) == value
    assert b"e" not in raw or not 1e-6 <= abs(value) < 1e21


class Inner(msgspec.Struct, frozen=True, omit_defaults=True):
    b: float = 1.0
    a: str = ""


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    zone: str
    size: int
    ratio: float
    note: str = ""
    limit: float | None = None
    tried: bool = False
    spread: float = 0.5
    values: list[float] = []
    inner: Inner | None = None
    more: dict[str, Any] = {}


samples = st.builds(
    Sample,
    zone=texts,
    size=st.integers(-SAFE, SAFE),
    ratio=floats | st.integers(-SAFE, SAFE),
    note=texts,
    limit=st.none() | floats,
    tried=st.booleans(),
    spread=floats,
    values=st.lists(floats, max_size=3),
    inner=st.none() | st.builds(Inner, b=floats, a=texts),
    more=st.dictionaries(keys, scalars, max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(samples)
def test_an_event_is_written_as_the_slow_way_writes_its_fields(event):
    raw = event_payload(event)
    assert raw == slow(msgspec.to_builtins(event, builtin_types=_LEFT_ALONE))
    assert msgspec.convert(decode(raw), Sample) == event


@settings(max_examples=200, deadline=None)
@given(zone=texts, size=st.integers(-SAFE, SAFE), ratio=floats, limit=st.none() | floats)
def test_a_plain_event_with_any_floats_is_written_as_the_slow_way_does(zone, size, ratio, limit):
    event = Sample(zone, size, ratio, limit=limit)
    assert event_payload(event) == slow(msgspec.to_builtins(event))


def negative_zeros(value):
    if isinstance(value, dict):
        return any(map(negative_zeros, value.values()))
    if isinstance(value, list | tuple):
        return any(map(negative_zeros, value))
    return isinstance(value, float) and str(value) == "-0.0"


@settings(max_examples=300, deadline=None)
@given(samples)
def test_it_is_known_where_the_bytes_say_less_than_the_event(event):
    raw, less = payload_and_sign(event)
    assert raw == event_payload(event)
    assert less == negative_zeros(msgspec.to_builtins(event, builtin_types=_LEFT_ALONE))


class Flat(msgspec.Struct, frozen=True, omit_defaults=True):
    zone: str
    ratio: float
    limit: float | None = None
    size: int = 0


@settings(max_examples=200, deadline=None)
@given(zone=texts, ratio=floats | st.integers(-9, 9).map(float), limit=st.none() | floats, size=st.integers(-SAFE, SAFE))
def test_an_event_of_plain_values_alone_is_written_as_the_slow_way_does(zone, ratio, limit, size):
    event = Flat(zone, ratio, limit, size)
    assert event_payload(event) == slow(msgspec.to_builtins(event))


@pytest.mark.parametrize(("ratio", "written"), [(5.0, b"5"), (-0.0, b"0"), (2.0**53, b"9007199254740992"), (5.5, b"5.5")])
def test_a_whole_number_in_a_plain_event_has_no_point(ratio, written):
    assert event_payload(Flat("z", ratio)) == b'{"ratio":%b,"zone":"z"}' % written


def test_fields_at_their_default_are_left_out():
    assert event_payload(Sample("z", 1, 2.5)) == b'{"ratio":2.5,"size":1,"zone":"z"}'
    assert event_payload(Sample("z", 1, 2.0, inner=Inner(a="x"))) == b'{"inner":{"a":"x"},"ratio":2,"size":1,"zone":"z"}'


@pytest.mark.parametrize(
    "event",
    [
        Sample("\ud800", 1, 1.5),
        Sample("z", SAFE + 1, 1.5),
        Sample("z", 1, math.nan),
        Sample("z", 1, math.inf),
        Sample("z", 1, 1.5, more={"x": b"raw"}),
        Sample("z", 1, 1.5, more={"x": 2**53}),
        Sample("z", 1, 1.5, values=[math.nan]),
    ],
)
def test_an_event_that_has_no_form_is_refused(event):
    with pytest.raises(CanonicalError):
        event_payload(event)


SHARED = 12_345.0
"""A default that a field may hold as the very same object, and is then left out."""


class Leaf(msgspec.Struct, frozen=True):
    """Leaves nothing out."""

    numbers: list[Any]
    pairs: list[tuple[float, float]] = []
    note: str = "5.0,"


class Deep(msgspec.Struct, frozen=True, omit_defaults=True):
    leaf: Leaf
    whole: float = 0  # a whole number as it is written, so that what becomes one would be left out
    shared: float = SHARED
    flag: bool = True
    word: str | None = None
    leaves: list[Leaf] = []
    more: dict[str, Any] = {}


class Tagged(msgspec.Struct, frozen=True, tag="tagged", tag_field="kind"):
    zone: float


class Rows(msgspec.Struct, frozen=True, array_like=True):
    first: float
    second: Any = None


class Renamed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    zone_b: Any
    zone_a: float = 1.0


class Odd(msgspec.Struct, frozen=True):
    part: Tagged | Rows | Renamed | Leaf | None
    beside: Any = None


hostile = st.sampled_from(['5.0,"', '":1.0}', "1e16]", ",-0.0,", "\\", '\\"', "[5.0]", "null", "\ud800", "NaN", "9" * 20]) | texts
numbers = floats | st.integers(-SAFE, SAFE) | st.sampled_from([SAFE + 1, math.nan, math.inf, -math.inf])
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, hostile),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys | hostile, inner, max_size=2),
    max_leaves=5,
)
leaves = st.builds(Leaf, st.lists(anything, max_size=4), st.lists(st.tuples(floats, floats), max_size=2), hostile)
deeps = st.builds(
    Deep,
    leaves,
    st.sampled_from([0, 0.0, -0.0, 2.0, 1]) | floats,
    st.sampled_from([SHARED, float("12345"), 1.5]),
    st.booleans(),
    st.none() | hostile,
    st.lists(leaves, max_size=2),
    st.dictionaries(keys, anything, max_size=2),
)
odds = st.builds(
    Odd,
    st.one_of(
        st.none(), leaves, st.builds(Tagged, floats), st.builds(Rows, floats, anything), st.builds(Renamed, anything, floats)
    ),
    anything,
)


def outcome(write: Any, event: msgspec.Struct) -> Any:
    """What is written, or that it is refused."""
    try:
        return write(event)
    except CanonicalError:
        return ("refused",)


@settings(max_examples=250, deadline=None)
@given(deeps | odds)
def test_whatever_stands_in_an_event_is_written_or_refused_as_the_slow_way_does(event):
    assert outcome(event_payload, event) == outcome(lambda each: slow(msgspec.to_builtins(each, builtin_types=_LEFT_ALONE)), event)
    written = outcome(payload_and_sign, event)
    if type(written[0]) is bytes:
        assert written[1] == negative_zeros(msgspec.to_builtins(event, builtin_types=_LEFT_ALONE))


def test_a_default_is_left_out_by_identity_and_nothing_becomes_one():
    leaf = b'"leaf":{"note":"5.0,","numbers":[],"pairs":[]}'
    assert event_payload(Deep(Leaf([]), 0, SHARED)) == b"{%b}" % leaf
    assert event_payload(Deep(Leaf([]), 0.0, float("12345"))) == b'{%b,"shared":12345,"whole":0}' % leaf


def test_an_event_within_itself_is_too_deep():
    event: Any = None
    for _ in range(33):
        event = Odd(None, [event])
    with pytest.raises(CanonicalError, match="deeper"):
        event_payload(event)


@settings(max_examples=150, deadline=None)
@given(value=anything, size=floats | st.integers(-SAFE - 1, SAFE + 1))
def test_an_event_around_a_value_that_is_written_already_is_the_same_event(value, size):
    """Where the rest of it is in doubt nothing is said."""
    raw = encode_inner(value)
    assert raw is None or encode({"v": value}) == b'{"v":%b}' % raw
    if raw is not None:
        event = Renamed(value, size)
        around = payload_around(event, "zone_b", raw)
        assert around is None or (around, False) == payload_and_sign(event)
        assert around is not None or not 1e-5 <= abs(size) <= SAFE


class Word(str):
    """Equals a text, and is none."""


class Held(msgspec.Struct, frozen=True):
    held: dict[str, Any]


def test_a_key_that_was_good_once_vouches_for_nothing_that_only_equals_it() -> None:
    """msgspec refuses such a key, so it is for `_write` to write, however often its like was seen."""
    assert encode({"seen": 1}) == encode({Word("seen"): 1}) == b'{"seen":1}'
    assert event_payload(Held({"seen": 1.0})) == event_payload(Held({Word("seen"): 1.0}))


def test_a_key_that_is_not_allowed_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(CanonicalError):
            encode({"good": 1, "bad\n": 2})
        with pytest.raises(CanonicalError):
            event_payload(Held({"good": 1, "bad\n": 2}))


def test_the_keys_that_are_remembered_have_a_bound() -> None:
    for number in range(canonical.GOOD_KEYS_MAX + 2):
        encode({f"key {number}": number})
        assert len(canonical._good_keys) <= canonical.GOOD_KEYS_MAX
    assert "key 0" not in canonical._good_keys and encode({"key 0": 0}) == b'{"key 0":0}'
