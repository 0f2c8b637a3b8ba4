"""A record is found in a closed segment without an index: near it, whatever lines are long, and by reading little."""

from itertools import accumulate
from random import Random

import pytest

from state.scan import PROBE_BYTES, Read, offset_near
from state.seal import LINE_BYTES_MAX

FIRST = 7


def segment(chance: Random) -> list[bytes]:
    most = chance.choice((10, 300, 20_000, LINE_BYTES_MAX - 40))
    sizes = [chance.choice((0, chance.randrange(most), most)) for _ in range(chance.randrange(1, 60))]
    return [b'{"x":"%s","seq":%d,"z":1}\n' % (b"y" * size, FIRST + place) for place, size in enumerate(sizes)]


def reading(data: bytes) -> Read:
    return lambda offset, size: data[offset : offset + size]


@pytest.mark.parametrize("seed", range(5))
def test_a_line_at_or_a_little_before_the_record_is_found(seed: int) -> None:
    chance = Random(seed)
    for _ in range(10):
        lines = segment(chance)
        data, starts = b"".join(lines), list(accumulate(map(len, lines), initial=0))
        for place in range(len(lines)):
            found = offset_near(reading(data), len(data), FIRST + place)
            assert found in starts and starts[place] - PROBE_BYTES - LINE_BYTES_MAX <= found <= starts[place]


def test_among_short_lines_little_is_read() -> None:
    data = b"".join(b'{"x":"%s","seq":%d,"z":1}\n' % (b"y" * 500, place) for place in range(4_000))
    sizes: list[int] = []

    def read(offset: int, size: int) -> bytes:
        sizes.append(size)
        return data[offset : offset + size]

    for seq in range(0, 4_000, 100):
        sizes.clear()
        found = offset_near(read, len(data), seq)
        assert 0 <= data.index(b',"seq":%d,' % seq) - found <= 2 * PROBE_BYTES
        assert sum(sizes) < 2 * LINE_BYTES_MAX
