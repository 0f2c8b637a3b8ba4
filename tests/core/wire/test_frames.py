"""Frames: what is sent is what arrives, however it is cut; a bad header is known as soon as its bytes are there."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.wire.frames import FRAME_MAX, HEADER_LEN, MAGIC, FrameError, Frames, frame


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(marks)]


@given(bodies=st.lists(st.binary(max_size=40), max_size=6), places=st.lists(st.integers(0, 400), max_size=12))
def test_bodies_arrive_whole_and_in_order_however_the_stream_is_cut(bodies: list[bytes], places: list[int]) -> None:
    frames = Frames()
    found = [body for chunk in cut(b"".join(map(frame, bodies)), places) for body in frames.feed(chunk)]
    assert found == bodies
    assert frames.buffered == 0


@given(body=st.binary(max_size=60))
def test_one_byte_at_a_time_the_body_comes_with_its_last_byte(body: bytes) -> None:
    frames = Frames()
    *before, last = [frames.feed(bytes([byte])) for byte in frame(body)]
    assert not any(before)
    assert last == [body]


@pytest.mark.parametrize("wrong", range(len(MAGIC)))
def test_a_wrong_constant_byte_is_refused_at_that_byte(wrong: int) -> None:
    frames = Frames()
    for byte in MAGIC[:wrong]:
        assert frames.feed(bytes([byte])) == []
    with pytest.raises(FrameError) as refused:
        frames.feed(bytes([MAGIC[wrong] ^ 1]))
    assert refused.value.kind == "magic"


def test_a_giant_is_refused_by_its_header_and_nothing_of_it_is_kept() -> None:
    frames = Frames(100)
    assert frames.feed(frame(bytes(100))) == [bytes(100)]
    assert frames.feed(frame(bytes(101))[: HEADER_LEN - 1]) == []
    with pytest.raises(FrameError) as refused:
        frames.feed(frame(bytes(101))[HEADER_LEN - 1 : HEADER_LEN])
    assert refused.value.kind == "size"
    assert frames.buffered <= HEADER_LEN


def test_whole_frames_before_a_bad_one_are_not_lost() -> None:
    with pytest.raises(FrameError) as refused:
        Frames().feed(frame(b"one") + frame(b"two") + b"GET / HTTP/1.1")
    assert refused.value.bodies == [b"one", b"two"]


def test_the_first_frame_may_have_a_smaller_limit() -> None:
    frames = Frames(frame_max=100, first_max=10)
    assert frames.feed(frame(bytes(10)) + frame(bytes(100))) == [bytes(10), bytes(100)]
    with pytest.raises(FrameError):
        Frames(frame_max=100, first_max=10).feed(frame(bytes(11)))


def test_the_limit_may_be_raised_between_two_frames() -> None:
    frames = Frames(10)
    assert frames.feed(frame(b"small")) == [b"small"]
    frames.frame_max = FRAME_MAX
    assert frames.feed(frame(bytes(FRAME_MAX))) == [bytes(FRAME_MAX)]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_whole_header_with_one_wrong_byte_is_no_header_however_good_its_length(place: int) -> None:
    wrong = bytearray(frame(b"x"))
    wrong[place] ^= 1
    with pytest.raises(FrameError) as refused:
        Frames().feed(frame(b"good") + wrong)
    assert (refused.value.kind, refused.value.bodies) == ("magic", [b"good"])
