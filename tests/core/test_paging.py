"""A page that ends by bytes: what is weighed is never less than what is sent, and a list always goes on."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engine import Refused
from core.paging import PAGE_BYTES_MAX, PAGE_VALUES_MAX, Room, order_after, weight
from core.wire.calls import done
from core.wire.frames import FRAME_MAX, HEADER_LEN

NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=40) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


class Line(msgspec.Struct):
    value: Any


def values_in(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(inside) + sum(map(values_in, inside))


@given(VALUES)
def test_no_row_is_heavier_in_a_frame_than_it_was_weighed(value: Any) -> None:
    size, values = weight(Line(value))
    plain = msgspec.to_builtins(Line(value), builtin_types=(bytes,))
    without = len(done(1, {"rows": []}))
    assert len(done(1, {"rows": [plain]})) - without <= size
    assert 1 + values_in(plain) <= values


def test_a_full_page_can_be_sent_whatever_fills_it() -> None:
    for value in (0.5, "x" * 1_000, [0.5] * 500, "é" * 40_000, {"a": {"b": None}}):
        room, rows = Room(), 0
        while room.take(Line(value)):
            rows += 1
        frame = done(2**32 - 1, {"rows": [{"value": value}] * rows, "next": "9" * 30}, cur="c" * 4_096)
        assert rows > 1 and len(frame) - HEADER_LEN <= FRAME_MAX
        assert rows * (1 + values_in({"value": value})) <= PAGE_VALUES_MAX


def test_a_row_too_heavy_for_any_page_stands_alone_so_that_the_list_goes_on() -> None:
    room = Room()
    assert room.take(Line("x" * (PAGE_BYTES_MAX + 1)))
    assert not room.take(Line(1))


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "\u0663", "1" * 17])
def test_a_cursor_that_no_page_gave_is_refused_by_name(after: str) -> None:
    with pytest.raises(Refused, match=r"entity\.list: after: not a `next` of this listing") as refused:
        order_after("entity.list", after)
    assert [path for path, _ in refused.value.fields] == ["after"]
    assert order_after("entity.list", None) is None and order_after("entity.list", "41") == 41
