"""Times as text: RFC 3339 in UTC, for people and for the wire. The log keeps its own form (state/seal.py)."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UTC_EPOCH = datetime(1970, 1, 1)


def time_text(time_us: int) -> str:
    """`2026-01-01T00:00:00.001500Z`. Computed with integers: a float would lose the last digit."""
    return (_UTC_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds") + "Z"


def time_us(text: str) -> int:
    """What `time_text` made, or another time in UTC, as microseconds. ValueError for a day or an hour that does not exist."""
    passed = datetime.fromisoformat(text) - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
