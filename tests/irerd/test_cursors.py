"""Cursors: what many answers of one moment share is written once, and each is told as it would be alone."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from irerd.cursors import Cursors, Position, parse_cursor

LOGS = ("log", "gate_log", "1", "a-log")
"""One's name stands within another's, and one looks like a number."""
MOMENTS = st.lists(st.fixed_dictionaries(dict.fromkeys(LOGS, st.integers(0, 2**53 - 1))), min_size=1, max_size=3)
LOOKS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(LOGS), st.integers(0, 2**53 - 1)), max_size=12)


@given(moments=MOMENTS, looks=LOOKS)
def test_answers_of_several_moments_in_any_order_are_told_as_each_would_be_alone(moments: Any, looks: Any) -> None:
    cursors = Cursors("a-ledger")
    for number, log, seq in looks:
        ends = moments[number % len(moments)]
        assert cursors.text(Position(ends, log, seq)) == Cursors("a-ledger").text({**ends, log: seq})


def test_a_position_of_no_log_of_its_own_is_its_ends() -> None:
    ends = {"engine_state": 4, "gate_log": 7}
    text = Cursors("a-ledger").text(Position(ends))
    assert parse_cursor(text, "a-ledger") == ends
