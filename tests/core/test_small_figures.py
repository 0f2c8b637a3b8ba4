"""Figures beyond those that are met every day have one canonical form, whoever writes it."""

import math
import struct

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.canonical import encode, event_payload
from core.engine import Event


class Told(Event, type="test.told"):
    """One figure, in several places."""

    figure: float
    more: tuple[float, float]
    named: dict[str, float] = {}


def _of_bits(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]  # type: ignore[no-any-return]


MANY = st.integers(0, 2**64 - 1).map(_of_bits).filter(math.isfinite)
SMALL = st.builds(
    lambda digits, places, negative: math.copysign(digits * 10.0**-places, -1.0 if negative else 1.0),
    st.integers(1, 10**17),
    st.integers(0, 340),
    st.booleans(),
)
EDGES = st.sampled_from([5e-324, 2.2250738585072014e-308, 9.999999999999999e-7, 1e-6, math.nextafter(1e-5, 0), 1e-5, -1e-7, -0.0])


def shown(value: float) -> str:
    """ECMAScript's Number::toString, from the shortest digits that stand for a float."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    whole, _, exponent = f"{abs(value)!r}".partition("e")
    digits, _, fraction = whole.partition(".")
    fraction = "" if fraction == "0" else fraction
    power = int(exponent or 0) - len(fraction)
    bare = (digits + fraction).lstrip("0")
    size = len(bare) + power  # value = 0.bare * 10^size
    bare = bare.rstrip("0")
    if len(bare) <= size <= 21:
        return sign + bare + "0" * (size - len(bare))
    if 0 < size <= 21:
        return f"{sign}{bare[:size]}.{bare[size:]}"
    if -6 < size <= 0:
        return f"{sign}0.{'0' * -size}{bare}"
    rest = f".{bare[1:]}" if len(bare) > 1 else ""
    return f"{sign}{bare[0]}{rest}e{'+' if size > 0 else '-'}{abs(size - 1)}"


@given(st.one_of(MANY, SMALL, EDGES))
def test_a_figure_is_written_as_the_standard_says_wherever_it_stands(value: float) -> None:
    text = shown(value)
    assert encode(value).decode() == text
    assert encode([value, {"a": value}]).decode() == f'[{text},{{"a":{text}}}]'
    payload = event_payload(Told(value, (value, 0.5), {"a": value})).decode()
    assert payload == f'{{"figure":{text},"more":[{text},0.5],"named":{{"a":{text}}}}}'
    assert msgspec.json.decode(payload, type=Told).figure == value
