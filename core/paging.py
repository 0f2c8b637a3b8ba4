"""How many rows of a list one answer takes: a page ends by bytes and by values too, so that every page can be sent.

Pure and cheap: it weighs a row and never counts below what the row will be in a frame. It knows no list; of cursors it knows those
that are the order number of the last row.
"""

import msgspec

from core.engine import Refused

PAGE_BYTES_MAX = 1_048_576
"""A frame holds 64 KiB more, for what stands around the rows."""
PAGE_VALUES_MAX = 99_000
"""A body holds 100,000."""
LONGER_BY_MAX = 5
"""Bytes by which a value may be longer in a frame: `0.5` and its comma are four, there it is nine."""

_JSON = msgspec.json.Encoder()


class Room:
    """What is left of one answer."""

    def __init__(self) -> None:
        self._bytes = PAGE_BYTES_MAX
        self._values = PAGE_VALUES_MAX

    def take(self, row: msgspec.Struct) -> bool:
        """Whether the row still fits; if so, its room is taken. The first always does: a list must go on."""
        size, values = weight(row)
        fits = (size <= self._bytes and values <= self._values) or self._bytes == PAGE_BYTES_MAX
        if fits:
            self._bytes -= size
            self._values -= values
        return fits


def weight(row: msgspec.Struct) -> tuple[int, int]:
    """At most so many bytes in a frame, and so many values. JSON says each value with a comma or a bracket beside it, and in
    nothing but numbers is it shorter than CBOR.
    """
    text = _JSON.encode(row)
    values = 1 + text.count(b",") + text.count(b"{") + text.count(b"[")
    return len(text) + LONGER_BY_MAX * values, values


def order_after(method: str, after: str | None) -> int | None:
    """The order number that a page begins behind; None for the first page."""
    if after is None:
        return None
    if not after.isascii() or not after.isdecimal() or len(after) > 16:
        text = "not a `next` of this listing. Leave it out to begin"
        raise Refused("invalid-argument", f"{method}: after: {text}", fields=[("after", text)])
    return int(after)
