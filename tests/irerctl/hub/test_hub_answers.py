"""JSON both ways: texts of a query become what the schema wants, bytes are base64, arrays are lists up to a bound."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire.codec import Typed
from core.wire.errors import CODES
from irerctl.hub import answers
from irerctl.hub.link import Failed, deadline_of

SCHEMA = {
    "properties": {
        "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "share": {"type": "number"},
        "on": {"type": "boolean"},
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "part": {"$ref": "#/$defs/Part"},
        "blobs": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
    },
    "$defs": {"Part": {"properties": {"data": {"type": "string", "contentEncoding": "base64"}, "note": {"type": "string"}}}},
}


def test_a_query_becomes_what_the_schema_wants():
    query = "count=7&share=2&on=TRUE&name=7&tags=a&tags=b&other=1"
    assert answers.params_of_query(query, SCHEMA) == {
        "count": 7, "share": 2, "on": True, "name": "7", "tags": ["a", "b"], "other": "1",
    }  # fmt: skip
    assert answers.params_of_query("count=&share=-1.5e3&on=maybe", SCHEMA) == {"count": None, "share": -1500.0, "on": "maybe"}
    assert answers.params_of_query("name=a%20b%26%3D%C3%A4", SCHEMA) == {"name": "a b&=ä"}


@pytest.mark.parametrize("query", ["count=1&count=2", "count", "name=%ff", "&".join(f"a{n}=1" for n in range(101))])
def test_a_query_with_two_meanings_is_refused(query):
    with pytest.raises(Failed) as refused:
        answers.params_of_query(query, SCHEMA)
    assert refused.value.body["code"] == "invalid-argument"


@given(st.binary(max_size=40))
def test_bytes_travel_as_base64_wherever_the_schema_has_them(data):
    text = json.loads(answers.encode(data))
    body = json.dumps({"part": {"data": text, "note": text}, "blobs": [{"data": text}], "name": text}).encode()
    found = answers.params_of(body, SCHEMA)
    assert found == {"part": {"data": data, "note": text}, "blobs": [{"data": data}], "name": text}


def test_what_is_not_base64_is_named():
    with pytest.raises(Failed) as refused:
        answers.params_of(b'{"blobs": [{"data": "*"}]}', SCHEMA)
    assert refused.value.body["fields"] == [{"path": "blobs[].data", "problem": "must be base64"}]


def test_arrays_are_lists_in_their_shape_up_to_a_bound():
    told = answers.result({"a": Typed.of([1, 2, 3, 4, 5, 6], "int32", (2, 3)), "b": Typed.of([0.5])})
    assert json.loads(told.body) == {"a": [[1, 2, 3], [4, 5, 6]], "b": [0.5]}
    assert answers.result(Typed.of([0] * answers.ARRAY_MAX, "uint8")).status == 200
    refused = answers.result(Typed.of([0] * (answers.ARRAY_MAX + 1), "uint8"))
    assert (refused.status, json.loads(refused.body)["code"]) == (406, "resource-exhausted")


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_status_and_a_waiting_time_where_waiting_helps(code):
    told = answers.problem({"code": code, "detail": "x", "retry_ms": 1_200})
    assert told.status == CODES[code].http
    assert ("Retry-After", "2") in told.headers and ("Content-Type", "application/problem+json") in told.headers
    assert json.loads(told.body) == {
        "title": CODES[code].title,
        "status": told.status,
        "code": code,
        "detail": "x",
        "retry_ms": 1_200,
    }


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "3600001", "9" * 30, "", "²", "1e3"])
def test_a_deadline_is_a_whole_number_within_its_bound(text):
    with pytest.raises(Failed):
        deadline_of(text, 3_600_000)
    assert deadline_of("3600000", 3_600_000) == 3_600_000


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 5_000, "it is nested too deeply"),
        (b'{"a":' * 3_000, "it is nested too deeply"),
        (b'{"a": "\xed\xa0\x80"}', "a text in it is not UTF-8"),
        (b'{"a": NaN}', "invalid character (byte 6)"),
        (b'{"a": 1e999}', "Number out of range"),
    ],
)
def test_a_body_that_is_no_json_is_told_so_in_no_interpreters_words(body: bytes, said: str) -> None:
    with pytest.raises(Failed) as refused:
        answers.params_of(body, None)
    assert refused.value.body["detail"] == f"the body is not JSON: {said}"


class Pairs(list[tuple[str, Any]]):
    """An object as it is written: what stands in it, name by name."""


NAMES = st.sampled_from(["a", "b", '":', ":", "\\", 'a"'])
WRITTEN = st.recursive(
    st.one_of(st.integers(0, 9), NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(NAMES, inner), max_size=3).map(Pairs)),
    max_leaves=8,
)


def as_written(value: Any, colon: str) -> str:
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(name)}{colon}{as_written(each, colon)}" for name, each in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(as_written(each, colon) for each in value) + "]"
    return json.dumps(value)


def is_said_once(value: Any) -> bool:
    if isinstance(value, Pairs):
        return len({name for name, _ in value}) == len(value) and all(is_said_once(each) for _, each in value)
    return not isinstance(value, list) or all(map(is_said_once, value))


@given(st.lists(st.tuples(NAMES, WRITTEN), max_size=3).map(Pairs), st.sampled_from([":", " :", ": ", "\n\t:\r "]))
def test_a_name_stands_once_in_an_object_or_the_body_is_refused(body: Pairs, colon: str) -> None:
    """However deep, whatever stands between name and colon, and whatever quotes and colons are in the texts."""
    text = as_written(body, colon)
    try:
        found = answers.params_of(text.encode(), None)
    except Failed as refused:
        assert "stands twice" in refused.body["detail"] and not is_said_once(body)
    else:
        assert is_said_once(body) and found == json.loads(text)
