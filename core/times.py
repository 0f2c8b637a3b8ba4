"""Times as text: RFC 3339 in UTC, for people and for the wire. The log keeps its own form (state/seal.py)."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(time_us: int) -> str:
    """`2026-01-01T00:00:00.001500Z`. Computed with integers: a float would lose the last digit."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_us % 1_000_000:06d}Z"


def time_us(text: str) -> int:
    """What `time_text` made, or another time in UTC, as microseconds. ValueError for a day or an hour that does not exist."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
