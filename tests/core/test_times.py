"""Moments as text: one text for each, which says the same moment when it is read back."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.times import SECONDS_KEPT, time_text, time_us

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999_999), timezones=st.just(UTC))


@given(MOMENTS)
def test_a_moment_is_told_to_the_microsecond_and_read_back(moment: datetime) -> None:
    us = (moment - EPOCH) // timedelta(microseconds=1)
    assert time_text(us) == moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    assert time_us(time_text(us)) == us


def test_seconds_that_were_told_before_are_told_the_same_however_many_came_between() -> None:
    told = {us: time_text(us) for us in range(0, 3 * SECONDS_KEPT * 1_000_000, 500_000)}
    assert len(set(told.values())) == len(told)
    assert {us: time_text(us) for us in told} == told


def test_before_1970_the_fraction_still_runs_forward() -> None:
    assert time_text(-1) == "1969-12-31T23:59:59.999999Z"
    assert time_text(0) == "1970-01-01T00:00:00.000000Z"
