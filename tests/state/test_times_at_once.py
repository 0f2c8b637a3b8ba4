"""The times of a long batch are judged together: one out of bounds is refused wherever it stands. They may come in any order."""

from random import Random

import pytest

from state.seal import INTEGER_MAX, ZERO_HASH, Pending, parse_block, seal_many

COUNT = 20


def batch(times_us: list[int], monos_us: list[int]) -> list[Pending]:
    times = zip(monos_us, times_us, strict=True)
    return [Pending("task.note", b"{}", "irer", "b7f3c1d2", mono_us, time_us) for mono_us, time_us in times]


@pytest.mark.parametrize("place", (0, 1, COUNT // 2, COUNT - 1))
@pytest.mark.parametrize("wrong", (-1, INTEGER_MAX + 1))
@pytest.mark.parametrize("which", (0, 1))
def test_a_time_out_of_bounds_is_refused_wherever_it_stands(which: int, wrong: int, place: int) -> None:
    columns = [[5_000_000] * COUNT, [7] * COUNT]
    seal_many(batch(*columns), 1, ZERO_HASH, 0, 0)
    columns[which][place] = wrong
    with pytest.raises(ValueError, match="safe integers"):
        seal_many(batch(*columns), 1, ZERO_HASH, 0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_times_in_any_order_are_sealed_as_they_are(seed: int) -> None:
    random = Random(f"times {seed}")
    second = random.choice((1, 1_767_225_600, INTEGER_MAX // 1_000_000)) * 1_000_000
    times = [min(INTEGER_MAX, second + random.randrange(random.choice((10, 999_999, 3_000_000)))) for _ in range(COUNT)]
    monos = [random.choice((0, INTEGER_MAX, random.randrange(INTEGER_MAX))) for _ in range(COUNT)]
    lines, _ = seal_many(batch(times, monos), 1, ZERO_HASH, 0, 0)
    parsed = parse_block(b"".join([line + b"\n" for line in lines]), 0)
    assert parsed is not None
    assert [(record.time_us, record.mono_us) for record in parsed[0]] == list(zip(times, monos, strict=True))
