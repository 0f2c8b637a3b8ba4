"""The grammar of requests: however the bytes are cut they say the same, and what follows a body is left alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irerctl.hub.http1 import Bad, Chunks, parse_head, response_head

BODY_MAX = 200


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.binary(max_size=20), max_size=8), st.binary(max_size=8), st.lists(st.integers(0, 400), max_size=6))
def test_a_chunked_body_is_the_same_however_it_is_cut(parts, after, places):
    chunks, buffer, whole = Chunks(BODY_MAX), bytearray(), False
    for piece in cut(chunked(parts) + after, places):
        buffer += piece
        whole = whole or chunks.feed(buffer)
    assert whole
    assert bytes(chunks.data) == b"".join(parts)
    assert bytes(buffer) == after


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=3))
def test_no_bytes_make_a_body_beyond_its_bound(data, places):
    chunks, buffer = Chunks(10), bytearray()
    try:
        for piece in cut(data, places):
            buffer += piece
            if chunks.feed(buffer):
                break
    except Bad as bad:
        assert bad.status in (400, 413)
    assert len(chunks.data) <= 12  # the line end of a chunk that is not whole yet may be among it


@given(st.binary(max_size=120))
def test_a_head_is_read_or_refused_with_a_status(middle):
    raw = b"POST /x HTTP/1.1\r\nHost: a\r\n" + middle + b"\r\n\r\n"
    try:
        head = parse_head(raw)
    except Bad as bad:
        assert bad.status in (400, 431, 501)
    else:
        assert head.path == "/x" and head.headers["host"] == "a"
        assert not any(character in value for value in head.headers.values() for character in "\r\n\0")


def test_a_head_is_taken_apart():
    head = parse_head(b"GET /a/b?c=d&e HTTP/1.1\r\nHOST: x:1\r\nAccept: a\r\naccept:  b \r\nConnection: Keep-Alive, CLOSE\r\n\r\n")
    assert (head.method, head.path, head.query, head.length, head.keep_alive) == ("GET", "/a/b", "c=d&e", 0, False)
    assert head.headers == {"host": "x:1", "accept": "a, b", "connection": "Keep-Alive, CLOSE"}


@pytest.mark.parametrize(
    "name", ["Host", "Content-Type", "Authorization", "Origin", "X-Engine-Key", "Idempotency-Key", "Sec-Fetch-Site"]
)
def test_a_header_that_decides_something_stands_once(name):
    with pytest.raises(Bad, match="twice"):
        parse_head(f"GET / HTTP/1.1\r\nHost: a\r\n{name}: b\r\n{name}: c\r\n\r\n".encode())


def test_no_value_begins_another_header():
    assert response_head(200, [("X-A", "b\r\nX-C: d")]) == b"HTTP/1.1 200 OK\r\nX-A: b  X-C: d\r\n\r\n"
