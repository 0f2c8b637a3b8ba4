"""Times as text: RFC 3339 in UTC, for people and for the wire. The log keeps its own form (state/seal.py)."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UTC_EPOCH = datetime(1970, 1, 1)
SECONDS_KEPT = 256
"""Much of what is told at a time is about the same seconds."""


def time_text(time_us: int) -> str:
    """`2026-01-01T00:00:00.001500Z`. Computed with integers: a float would lose the last digit."""
    seconds, rest_us = divmod(time_us, 1_000_000)
    return f"{_second_text(seconds)}.{rest_us:06d}Z"


@lru_cache(SECONDS_KEPT)
def _second_text(seconds: int) -> str:
    return (_UTC_EPOCH + timedelta(seconds=seconds)).isoformat()


def time_us(text: str) -> int:
    """What `time_text` made, or another time in UTC, as microseconds. ValueError for a day or an hour that does not exist."""
    passed = datetime.fromisoformat(text) - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
