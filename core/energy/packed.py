"""Columns of numbers as they stand in a record: little-endian, then base64url. Exact to the last bit, and without NumPy."""

import base64
import binascii
import sys
from array import array
from collections.abc import Iterable
from typing import Any

WIDTH = 8
_URL = bytes.maketrans(b"+/", b"-_")


def packed_times(times_us: Iterable[int]) -> str:
    return _packed(array("q", times_us))


def packed_values(values: Iterable[float]) -> str:
    return _packed(array("d", values))


ROW_PAD = b"\0" * 2
"""What makes the bytes of a row whole groups of three."""


def packed_rows(rows: Any) -> list[str]:
    """`packed_times` or `packed_values` of each line of an array of int64 or float64, all at once."""
    count, width = len(rows), WIDTH * rows.shape[1]
    little = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    raw = little.tobytes()
    pad = ROW_PAD[: -width % 3]
    if pad:
        raw = b"".join([raw[at : at + width] + pad for at in range(0, len(raw), width)])
    text = binascii.b2a_base64(raw, newline=False).translate(_URL).decode()
    size, used = (width + len(pad)) // 3 * 4, -(-4 * width // 3)
    return [text[at : at + used] for at in range(0, count * size, size)]


def times(text: str) -> "array[int]":
    return array("q", _raw(text))


def values(text: str) -> "array[float]":
    return array("d", _raw(text))


def _packed(numbers: "array[int] | array[float]") -> str:
    if sys.byteorder == "big":
        numbers.byteswap()
    return binascii.b2a_base64(numbers, newline=False).translate(_URL).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    """The numbers as this machine has them. Whatever is not whole numbers of eight bytes is nothing."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
    whole = raw[: len(raw) - len(raw) % WIDTH]
    if sys.byteorder == "little":
        return whole
    swapped = array("Q", whole)
    swapped.byteswap()
    return swapped.tobytes()
